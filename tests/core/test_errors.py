"""What is refused: each error names the argument, the index, the value and the fix."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dkl

from ..contract.backends import Backend

GOOD = [0.5, 0.25, 0.25]

VALUES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    # values of entries
    "negative probability": (
        lambda: dkl.kl([0.5, 0.75, -0.25], GOOD),
        ValueError,
        "p[2] = -0.25 is negative, so it is no probability; pass logits as dkl.Logits, log-probabilities as "
        "dkl.LogProbs",
    ),
    "NaN probability": (
        lambda: dkl.kl(GOOD, [0.5, math.nan, 0.5]),
        ValueError,
        "q[1] = nan is not a number, so it is no probability",
    ),
    "infinite probability": (
        lambda: dkl.kl([0.5, math.inf, 0.5], GOOD),
        ValueError,
        "p[1] = inf is infinite, so it is no probability",
    ),
    "in a batch": (
        lambda: dkl.js([GOOD, [0.5, -1e-3, 0.501]], GOOD),
        ValueError,
        "p[1, 1] = -0.001 is negative",
    ),
    "negative count": (
        lambda: dkl.kl(dkl.Counts([3, -1, 2]), dkl.Counts([1, 1, 1])),
        ValueError,
        "p[1] = -1 is negative, so it is no count; a count is at least 0",
    ),
    "NaN logit": (
        lambda: dkl.kl(dkl.Logits([1.0, math.nan]), dkl.Logits([0.0, 0.0])),
        ValueError,
        "p[1] = nan is not a number, so it is no logit: it must be finite or −inf",
    ),
    "infinite logit": (
        lambda: dkl.kl(dkl.Logits([0.0, 0.0]), dkl.Logits([1.0, math.inf])),
        ValueError,
        "q[1] = inf is +inf, so it is no logit",
    ),
    "NaN log-probability": (
        lambda: dkl.kl(dkl.LogProbs([0.0, math.nan]), [1.0, 0.0]),
        ValueError,
        "p[1] = nan is not a number, so it is no log-prob",
    ),
    # rows
    "row sum": (
        lambda: dkl.kl([0.5, 0.6], [0.5, 0.5]),
        ValueError,
        "p sums to 1.1, not to 1 within 1.5e-08: dkl.Probs(…, normalize=True) divides by the sum, dkl.Counts takes "
        "counts, "
        "dkl.Logits takes logits",
    ),
    "row sum in a batch": (
        lambda: dkl.kl([[0.5, 0.5], [0.5, 0.4]], [0.5, 0.5]),
        ValueError,
        "p[1] sums to 0.9, not to 1",
    ),
    "row sum of float32": (
        lambda: dkl.kl(np.array([0.5, 0.501], dtype="f4"), [0.5, 0.5]),
        ValueError,
        "not to 1 within 0.00035",
    ),
    "row sum of log-probabilities": (
        lambda: dkl.kl(dkl.LogProbs([0.0, 0.0]), dkl.LogProbs([-0.7, -0.7])),
        ValueError,
        "the exponentials of p sum to exp(0.693147181), not to 1 within 1.5e-08: dkl.Logits(…) takes log-probabilities "
        "that "
        "are not normalised",
    ),
    "zero row to normalise": (
        lambda: dkl.kl(dkl.Probs([0.0, 0.0], normalize=True), [0.5, 0.5]),
        ValueError,
        "p sums to 0: only a row with a positive, finite sum can be normalised",
    ),
    "zero row of counts": (
        lambda: dkl.kl(dkl.Counts([[1, 2], [0, 0]]), [0.5, 0.5]),
        ValueError,
        "p[1] sums to 0: only a row with a positive",
    ),
    "all logits masked": (
        lambda: dkl.kl([0.5, 0.5], dkl.Logits([-math.inf, -math.inf])),
        ValueError,
        "every logit of q is -inf: at least one outcome must be possible",
    ),
    # shapes and axes
    "mismatched lengths": (
        lambda: dkl.kl(GOOD, [0.5, 0.5]),
        ValueError,
        "p of shape (3,) and q of shape (2,) do not broadcast",
    ),
    "one outcome against many": (
        lambda: dkl.kl(GOOD, [1.0]),
        ValueError,
        "p has 3 outcomes along axis 0 and q has 1: both must list the same outcomes",
    ),
    "shapes that do not broadcast": (
        lambda: dkl.kl([GOOD] * 2, [GOOD] * 3),
        ValueError,
        "p of shape (2, 3) and q of shape (3, 3) do not broadcast",
    ),
    "axis too large": (
        lambda: dkl.kl(GOOD, GOOD, axis=1),
        ValueError,
        "axis = 1 does not exist: p and q broadcast to 1 dimensions, shape (3,)",
    ),
    "axis too small": (lambda: dkl.kl(GOOD, GOOD, axis=-2), ValueError, "axis = -2 does not exist"),
    "axis twice": (
        lambda: dkl.kl([GOOD], [GOOD], axis=(1, -1)),
        ValueError,
        "axis = (1, -1) must name each axis of outcomes once",
    ),
    "no axis": (
        lambda: dkl.kl([GOOD], [GOOD], axis=()),
        ValueError,
        "axis = () must name each axis of outcomes once, and at least",
    ),
    "axis a float": (
        lambda: dkl.kl(GOOD, GOOD, axis=0.0),
        TypeError,
        "axis = 0.0 must be an integer, a tuple of integers or None",
    ),
    "axis a bool": (lambda: dkl.kl(GOOD, GOOD, axis=True), TypeError, "axis = True must be an integer"),
    "axis a string": (
        lambda: dkl.kl(GOOD, GOOD, axis="last"),
        TypeError,
        "must be an integer, a tuple of integers or None",
    ),
    "no outcomes": (
        lambda: dkl.kl([], []),
        ValueError,
        "axis = 0 has length 0: a distribution needs at least one outcome",
    ),
    "no outcomes in a batch": (
        lambda: dkl.kl(np.empty((3, 0)), np.empty((3, 0))),
        ValueError,
        "has length 0: a distribution needs at least one outcome",
    ),
    "scalars": (
        lambda: dkl.kl(0.5, 0.5),
        ValueError,
        "p and q are single numbers: a distribution needs an axis of outcomes",
    ),
    # what is no number
    "strings": (lambda: dkl.kl(["a", "b"], GOOD), TypeError, "p must hold real numbers, got a list of dtype <U1"),
    "a string": (lambda: dkl.kl("abc", GOOD), TypeError, "p must hold real numbers, got a str of dtype <U3"),
    "complex": (
        lambda: dkl.kl([0.5 + 0j, 0.5], [0.5, 0.5]),
        TypeError,
        "p must hold real numbers, got a list of dtype complex128",
    ),
    "complex array": (
        lambda: dkl.kl([0.5, 0.5], np.array([0.5 + 0j, 0.5])),
        TypeError,
        "q must hold real numbers, got an array of dtype complex128",
    ),
    "object array": (
        lambda: dkl.kl(np.array([0.5, None], dtype=object), [0.5, 0.5]),
        TypeError,
        "p must hold real numbers, got an array of dtype object",
    ),
    "None": (lambda: dkl.kl(None, GOOD), TypeError, "p must hold real numbers, got a NoneType"),
    "dict": (lambda: dkl.kl({"a": 1.0}, GOOD), TypeError, "p must hold real numbers, got a dict"),
    "ragged": (
        lambda: dkl.kl([[0.5, 0.5], [1.0]], [0.5, 0.5]),
        TypeError,
        "p is a list that is not a rectangular array",
    ),
    "dates": (
        lambda: dkl.kl(np.array(["2024-01-01"], dtype="M8[D]"), [1.0]),
        TypeError,
        "p must hold real numbers, got an array of dtype datetime64",
    ),
    # base
    "base 1": (
        lambda: dkl.kl(GOOD, GOOD, base=1),
        ValueError,
        "base = 1 is no base of a logarithm here: give a number above 1",
    ),
    "base 0": (lambda: dkl.kl(GOOD, GOOD, base=0), ValueError, "base = 0 is no base of a logarithm"),
    "base negative": (lambda: dkl.entropy(GOOD, base=-2), ValueError, "base = -2 is no base of a logarithm"),
    "base NaN": (
        lambda: dkl.cross_entropy(GOOD, GOOD, base=math.nan),
        ValueError,
        "base = nan is no base of a logarithm",
    ),
    "base infinite": (lambda: dkl.kl(GOOD, GOOD, base=math.inf), ValueError, "base = inf is no base of a logarithm"),
    "base a string": (lambda: dkl.kl(GOOD, GOOD, base="e"), TypeError, "base must be a real number, got 'e'"),
    "base of a pure number": (
        lambda: dkl.tv(GOOD, GOOD, base=2),
        ValueError,
        "base = 2 does not apply: tv is a pure number, not made of logarithms",
    ),
    # parameters
    "order negative": (lambda: dkl.Renyi(-0.5), ValueError, "order = -0.5 lies outside the domain, [0, ∞]"),
    "order NaN": (lambda: dkl.Renyi(math.nan), ValueError, "order = nan lies outside the domain"),
    "order a string": (lambda: dkl.Renyi("2"), TypeError, "order must be a real number, got '2'"),
    "order a bool": (lambda: dkl.Renyi(True), TypeError, "order must be a real number, got True"),
    "order None": (lambda: dkl.Tsallis(None), TypeError, "order must be a real number, got None"),
    "Tsallis of order inf": (
        lambda: dkl.Tsallis(math.inf),
        ValueError,
        "order = inf lies outside the domain of a Tsallis divergence, [0, ∞)",
    ),
    "Tsallis negative": (lambda: dkl.Tsallis(-1), ValueError, "order = -1 lies outside the domain"),
    "alpha infinite": (lambda: dkl.Alpha(math.inf), ValueError, "alpha = inf must be finite"),
    "alpha minus infinity": (lambda: dkl.Alpha(-math.inf), ValueError, "alpha = -inf must be finite"),
    "alpha NaN": (lambda: dkl.Alpha(math.nan), ValueError, "alpha = nan"),
    "convention": (
        lambda: dkl.Alpha(0.5, "bishop"),
        ValueError,
        "convention = 'bishop' is not one of 'minka', 'amari', 'renyi_order', 'tfp', 'pyro'",
    ),
    "JS weight 0": (lambda: dkl.JS(0), ValueError, "weight = 0 lies outside the domain, (0, 1)"),
    "JS weight 1": (lambda: dkl.JS(1), ValueError, "weight = 1 lies outside the domain, (0, 1)"),
    "JS weight negative": (lambda: dkl.JS(-0.5), ValueError, "weight = -0.5 lies outside the domain"),
    "skew weight 0": (lambda: dkl.SkewKL(0), ValueError, "weight = 0 lies outside the domain, (0, 1]"),
    "skew weight 2": (lambda: dkl.SkewKL(2), ValueError, "weight = 2 lies outside the domain, (0, 1]"),
    "skew weight a string": (lambda: dkl.SkewKL("a"), TypeError, "weight must be a real number, got 'a'"),
    "f(1) not 0": (
        lambda: dkl.FDivergence("x", lambda t: t**2, 0.0, math.inf)([0.5, 0.5], [0.3, 0.7]),
        ValueError,
        "f(1) = 1, but the divergence of equal distributions is 0: subtract it from f",
    ),
    "f not convex": (
        lambda: dkl.FDivergence("x", lambda t: -((t - 1) ** 2), -1.0, 0.0)([0.5, 0.5], [0.3, 0.7]),
        ValueError,
        "f is not convex near t = ",
    ),
    "a limit too small": (
        lambda: dkl.FDivergence("x", lambda t: (t - 1) ** 2, 0.0, 0.0)([0.5, 0.5], [0.3, 0.7]),
        ValueError,
        "exceeds f_zero + slope_inf·t = 0: a limit is too small",
    ),
    "f infinite inside": (
        lambda: dkl.FDivergence("x", lambda t: np.where(t > 2, np.inf, t - 1), -1.0, math.inf)([0.5, 0.5], [0.3, 0.7]),
        ValueError,
        "f must be finite for 0 < t < ∞",
    ),
    "f not elementwise": (
        lambda: dkl.FDivergence("x", lambda t: 0.0, 0.0, 0.0)([0.5, 0.5], [0.3, 0.7]),
        TypeError,
        "f must be elementwise: of 65 numbers it made 0.0",
    ),
    "a masked array": (
        lambda: dkl.kl(np.ma.array([0.5, 0.5, 0.7], mask=[0, 0, 1]), [0.5, 0.3, 0.2]),
        TypeError,
        "p is a masked array, whose mask would be lost",
    ),
    "f_zero NaN": (
        lambda: dkl.FDivergence("x", lambda t: t - 1, math.nan, 1.0),
        ValueError,
        "f_zero = nan is no limit of a convex function: give a number or math.inf",
    ),
    "slope_inf −inf": (
        lambda: dkl.FDivergence("x", lambda t: t - 1, 0.0, -math.inf),
        ValueError,
        "slope_inf = -inf is no limit",
    ),
    "f_zero missing": (lambda: dkl.FDivergence("x", lambda t: t - 1), TypeError, "f_zero"),
    "f_zero a string": (
        lambda: dkl.FDivergence("x", lambda t: t - 1, "0", 1.0),
        TypeError,
        "f_zero must be a real number, got '0'",
    ),
    # siblings
    "entropy of negative": (lambda: dkl.entropy([1.5, -0.5]), ValueError, "p[1] = -0.5 is negative"),
    "entropy of samples": (
        lambda: dkl.entropy(dkl.Samples([1.0])),
        TypeError,
        "p is a Samples, which has no list of outcomes to sum over",
    ),
    "cross-entropy with samples": (
        lambda: dkl.cross_entropy(GOOD, dkl.Samples([1.0])),
        TypeError,
        "q is a Samples, which has no list of outcomes",
    ),
    "pointwise of samples": (
        lambda: dkl.kl.pointwise(dkl.Samples([1.0]), GOOD),
        TypeError,
        "p is a Samples, which has no list of outcomes",
    ),
    "smooth above 1": (lambda: dkl.smooth(GOOD, 1.5), ValueError, "epsilon = 1.5 lies outside [0, 1]"),
    "smooth below 0": (lambda: dkl.smooth(GOOD, -0.1), ValueError, "epsilon = -0.1 lies outside [0, 1]"),
    "smooth NaN": (lambda: dkl.smooth(GOOD, math.nan), ValueError, "epsilon = nan lies outside [0, 1]"),
    "smooth counts by inf": (
        lambda: dkl.smooth(dkl.Counts([1, 2]), math.inf),
        ValueError,
        "epsilon = inf lies outside [0, ∞)",
    ),
    "smooth counts below 0": (
        lambda: dkl.smooth(dkl.Counts([1, 2]), -1),
        ValueError,
        "epsilon = -1 lies outside [0, ∞)",
    ),
    "smooth by a string": (lambda: dkl.smooth(GOOD, "a"), TypeError, "epsilon must be a real number, got 'a'"),
    "smooth by a bool": (lambda: dkl.smooth(GOOD, True), TypeError, "epsilon must be a real number, got True"),
    "smooth samples": (
        lambda: dkl.smooth(dkl.Samples([1.0]), 0.1),
        TypeError,
        "p is a Samples, which has no list of outcomes to smooth over",
    ),
    "smooth along two axes": (
        lambda: dkl.smooth([GOOD], 0.1, axis=(0, 1)),
        TypeError,
        "axis = (0, 1) must be one integer",
    ),
    "smooth bad row": (lambda: dkl.smooth([0.5, 0.6], 0.1), ValueError, "p sums to 1.1"),
    # transport
    "points with samples": (
        lambda: dkl.wasserstein(dkl.Samples([1.0]), dkl.Samples([2.0]), points=[1.0]),
        TypeError,
        "samples are points themselves: points and q_points belong to probabilities",
    ),
    "samples against probabilities": (
        lambda: dkl.wasserstein(dkl.Samples([1.0]), GOOD),
        TypeError,
        "p is a Samples and q a Probs: give both as Samples or neither",
    ),
    "too few points": (
        lambda: dkl.wasserstein(GOOD, GOOD, points=[0.0, 1.0]),
        ValueError,
        "points lists 2 places for 3 outcomes",
    ),
    "infinite point": (
        lambda: dkl.wasserstein(GOOD, GOOD, points=[0.0, math.inf, 1.0]),
        ValueError,
        "points[1] = inf is not a finite place",
    ),
    "NaN point in space": (
        lambda: dkl.wasserstein([0.5, 0.5], [0.5, 0.5], points=[[0.0, 1.0], [0.0, math.nan]]),
        ValueError,
        "points[1, 1] = nan is not a finite place",
    ),
    "points of three dimensions": (
        lambda: dkl.wasserstein(GOOD, GOOD, points=np.zeros((3, 1, 1))),
        ValueError,
        "points has shape (3, 1, 1): give (n,) numbers on a line or (n, d) points in space",
    ),
    "q_points alone": (
        lambda: dkl.wasserstein(GOOD, GOOD, q_points=[0.0, 1.0, 2.0]),
        ValueError,
        "q_points needs points: where P's outcomes lie",
    ),
    "q_points of another number": (
        lambda: dkl.wasserstein([0.5, 0.5], [1.0], points=[0.0, 1.0], q_points=[0.0, 1.0]),
        ValueError,
        "q of shape (1,) does not match its 2 points",
    ),
    "points of different spaces": (
        lambda: dkl.wasserstein([0.5, 0.5], [1.0], points=[0.0, 1.0], q_points=[[0.0, 1.0]]),
        ValueError,
        "their spaces differ",
    ),
    "a batch in space": (
        lambda: dkl.wasserstein([[0.5, 0.5]] * 2, [0.5, 0.5], points=[[0.0, 1.0], [1.0, 0.0]]),
        ValueError,
        "points in space take one pair at a time, got a batch of shape (2,)",
    ),
    "no samples": (lambda: dkl.wasserstein(dkl.Samples([]), dkl.Samples([1.0])), ValueError, "p has shape (0,)"),
    "wasserstein of negative": (
        lambda: dkl.wasserstein([1.5, -0.5], [0.5, 0.5]),
        ValueError,
        "p[1] = -0.5 is negative",
    ),
    # bounds
    "bounds of nothing": (lambda: dkl.bounds(), TypeError, "give at least one value, such as dkl.bounds(kl=0.1)"),
    "bounds of the unknown": (
        lambda: dkl.bounds(wasserstein=1.0),
        TypeError,
        "'wasserstein' is not a divergence with known bounds: kl",
    ),
    "bounds of an uncovered member": (
        lambda: dkl.bounds({dkl.Tsallis(3): 0.1}),
        TypeError,
        "no inequality is known for tsallis(3); known are kl, reverse_kl",
    ),
    "bounds outside the range": (lambda: dkl.bounds(tv=1.5), ValueError, "tv = 1.5 lies outside its range, [0, 1]"),
    "bounds negative": (lambda: dkl.bounds(kl=-0.1), ValueError, "kl = -0.1 lies outside its range, [0, inf]"),
    "bounds NaN": (lambda: dkl.bounds(kl=math.nan), ValueError, "kl = nan lies outside its range"),
    "bounds a string": (lambda: dkl.bounds(kl="0.1"), TypeError, "kl must hold real numbers, got a str"),
    "bounds of several": (
        lambda: dkl.bounds(kl=[0.1, 0.2]),
        TypeError,
        "kl must be one number in nats",
    ),
    "bounds by a name in a mapping": (lambda: dkl.bounds({"kl": 0.1}), TypeError, "'kl' is no divergence"),
    "bounds that contradict": (lambda: dkl.bounds(kl=0.01, tv=0.9), ValueError, "no pair has these values together"),
    # the package
    "unknown name": (lambda: dkl.divergence, AttributeError, "module 'dkl' has no attribute 'divergence'"),
}


@pytest.mark.parametrize("what", VALUES)
def test_refused(what: str) -> None:
    call, kind, message = VALUES[what]
    with pytest.raises(kind, match=re.escape(message)):
        call()


def test_bad_values_are_found_in_every_library(backend: Backend) -> None:
    bad = backend.asarray(np.array([[0.5, 0.5], [1.25, -0.25]]))
    good = backend.asarray(np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match=re.escape("q[1, 1] = -0.25 is negative")):
        dkl.kl(good, bad)
    with pytest.raises(ValueError, match=re.escape("p[0] sums to 2")):
        dkl.js(backend.asarray(np.array([[1.0, 1.0]])), good)
    with pytest.raises(ValueError, match=re.escape("p[1] = nan")):
        dkl.kl(dkl.Logits(backend.asarray(np.array([0.0, math.nan]))), dkl.Logits(good))
    with pytest.raises(TypeError, match=r"must hold real numbers, got an array of dtype .*complex"):
        dkl.kl(backend.asarray(np.array([0.5, 0.5]), "complex64"), good)


def test_another_axis_is_reported_by_its_row() -> None:
    columns = np.array([[0.5, 0.5, 0.2], [0.5, 0.5, 0.2]])
    with pytest.raises(ValueError, match=re.escape("p[2] sums to 0.4")):
        dkl.kl(columns, np.full((2, 1), 0.5), axis=0)


def test_tolerance_by_dtype() -> None:
    for dtype, within, beyond in (("f8", 1e-8, 1e-7), ("f4", 3e-4, 1e-3), ("f2", 2e-2, 1e-1)):
        near, far = (np.array([0.5, 0.5 + off], dtype=dtype) for off in (within, beyond))
        assert dkl.kl(near, near) == 0
        with pytest.raises(ValueError, match="not to 1 within"):
            dkl.kl(far, far)


def test_two_array_libraries_do_not_mix(backend: Backend) -> None:
    mine, other = np.array([0.5, 0.5]), backend.asarray(np.array([0.5, 0.5]))
    if backend.name == "numpy":
        assert dkl.kl(mine, other) == 0
        return
    library = {"array-api-strict": "array_api_strict", "jax": "jax.numpy"}.get(backend.name, backend.name)
    with pytest.raises(TypeError, match=f"p is from numpy and q is from {library}: convert one of them"):
        dkl.kl(mine, other)
    with pytest.raises(TypeError, match="convert one of them, so that both come from the same array library"):
        dkl.cross_entropy(other, dkl.Logits(mine))


def test_wrappers_do_not_nest() -> None:
    with pytest.raises(TypeError, match="p must hold real numbers, got a Probs"):
        dkl.kl(dkl.Logits(dkl.Probs([0.5, 0.5])), [0.5, 0.5])
