"""The elementary functions of the loops against mpmath over their whole range, in units of the last place."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from mpmath import mp, mpf
from numba import njit

from dkl.kernels import polynomials
from dkl.kernels.build import built

PRECISIONS = ("float32", "float64")


@cache
def primitives(precision: str) -> ModuleType:
    return built(("decorators", precision, "primitives"))


@cache
def elementwise(precision: str, name: str, arguments: int) -> Callable[..., np.ndarray]:
    """A primitive over arrays, vectorised as it is in the loops."""
    function = getattr(primitives(precision), name)
    if arguments == 1:

        @njit(error_model="numpy")
        def over(x, out):
            for i in range(x.size):
                out[i] = function(x[i])
    elif arguments == 2:

        @njit(error_model="numpy")
        def over(x, y, out):
            for i in range(x.size):
                out[i] = function(x[i], y[i])
    else:

        @njit(error_model="numpy")
        def over(x, y, z, out):
            for i in range(x.size):
                out[i] = function(x[i], y[i], z[i])

    def call(*columns: np.ndarray) -> np.ndarray:
        out = np.empty_like(columns[0])
        over(*columns, out)
        return out

    return call


def _mixed(rng: np.random.Generator, low: float, high: float, centre: float, n: int = 1500) -> np.ndarray:
    """Evenly over a range, and ever more closely around the point where digits are lost."""
    scales = np.exp2(rng.uniform(-30, np.log2(max(high - centre, centre - low)), n))
    near = np.clip(centre + scales * rng.choice([-1, 1], n), low, high)
    return np.concatenate([rng.uniform(low, high, n), near, [low, high]])


def _positive(rng: np.random.Generator, finfo: np.finfo, n: int = 1500) -> np.ndarray:
    """Over all exponents, subnormal numbers among them, and around 1."""
    exponents = rng.uniform(np.log2(float(finfo.smallest_subnormal)), np.log2(float(finfo.max)), n)
    around = 1 + np.exp2(rng.uniform(-30, -1, n)) * rng.choice([-1, 1], n)
    return np.concatenate([np.exp2(exponents), around, [float(finfo.smallest_subnormal), float(finfo.max), 1.0]])


# Name, the exact function, where it is tried, the point around which more closely, and how many ulp it may be off.
RANGES = {
    "exp": (mp.exp, lambda f: (np.log(float(f.smallest_normal)), np.log(float(f.max)) * (1 - 1e-6)), 0.0, 1.0),
    "expm1": (mp.expm1, lambda f: (-40.0, np.log(float(f.max)) * (1 - 1e-6)), 0.0, 2.5),
    "expm1_minus": (lambda x: mp.expm1(x) - x, lambda f: (-40.0, np.log(float(f.max)) * (1 - 1e-6)), 0.0, 14.0),
    "bounded_exp": (mp.exp, lambda f: (-80.0, 80.0), 0.0, 1.0),
    "tanh": (mp.tanh, lambda f: (-30.0, 30.0), 0.0, 2.0),
    "log1p": (mp.log1p, lambda f: (-1 + 1e-3, 1e30), 0.0, 2.0),
    "excess": (lambda x: x - mp.log1p(x), lambda f: (-1 + 1e-3, 1e30), 0.0, 10.0),
}


def _ulp_off(got: np.ndarray, exact: list[mpf], finfo: np.finfo) -> np.ndarray:
    """Errors in units of the last place of the exact value, or of the smallest normal number below it."""
    unit = [mpf(float(finfo.eps)) * max(abs(e), mpf(float(finfo.smallest_normal))) for e in exact]
    return np.array([float(abs(mpf(float(g)) - e) / u) for g, e, u in zip(got, exact, unit, strict=True)])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", list(RANGES))
def test_functions_of_one_number(name: str, precision: str) -> None:
    exact, span, centre, allowed = RANGES[name]
    finfo = np.finfo(precision)
    x = _mixed(np.random.default_rng(1), *span(finfo), centre).astype(precision)
    with mp.workdps(60):
        off = _ulp_off(elementwise(precision, name, 1)(x), [exact(mpf(float(v))) for v in x], finfo)
    assert off.max() <= allowed, f"{off.max()} ulp at {x[off.argmax()]!r}"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_logarithm_of_every_size(precision: str) -> None:
    finfo = np.finfo(precision)
    x = _positive(np.random.default_rng(2), finfo).astype(precision)
    x = x[(x > 0) & (x < np.inf)]
    with mp.workdps(60):
        off = _ulp_off(elementwise(precision, "log", 1)(x), [mp.log(mpf(float(v))) for v in x], finfo)
    assert off.max() <= 1.0, f"{off.max()} ulp at {x[off.argmax()]!r}"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_ends_of_the_ranges(precision: str) -> None:
    finfo = np.finfo(precision)
    ends = np.array([-np.inf, -1e4, 1e4, np.inf, 0.0], precision)
    np.testing.assert_array_equal(elementwise(precision, "exp", 1)(ends), [0, 0, np.inf, np.inf, 1])
    np.testing.assert_array_equal(elementwise(precision, "expm1", 1)(ends), [-1, -1, np.inf, np.inf, 0])
    assert elementwise(precision, "log", 1)(np.array([np.inf], precision))[0] == np.inf
    assert elementwise(precision, "bounded_exp", 1)(np.array([-np.inf], precision))[0] == 0
    assert np.isfinite(elementwise(precision, "bounded_exp", 1)(np.array([1e4], precision)))[0]
    # exp reaches down through the subnormal numbers.
    low = np.log(float(finfo.smallest_subnormal)) * 0.995
    got = elementwise(precision, "exp", 1)(np.array([low], precision))[0]
    assert 0 < got < finfo.smallest_normal


def _pairs(precision: str) -> tuple[np.ndarray, np.ndarray]:
    """Two probabilities of every size, half of them close to each other, where p − q is exact."""
    rng, finfo = np.random.default_rng(3), np.finfo(precision)
    low = np.log2(float(finfo.smallest_subnormal))
    p = np.exp2(rng.uniform(low, 0, 3000)).astype(precision)
    q = np.exp2(rng.uniform(low, 0, 3000)).astype(precision)
    q[::2] = (p * (1 + np.exp2(rng.uniform(-22, 1, 3000)) * rng.choice([-0.5, 1], 3000))).astype(precision)[::2]
    kept = (p > 0) & (q > 0)
    return p[kept], q[kept]


EXACT = {
    "log_quotient": (lambda p, q: mp.log(p / q), 2.5),
    "kl_term": (lambda p, q: p * mp.log(p / q) - p + q, 12.0),
    "js_term": (lambda p, q: (p * mp.log(2 * p / (p + q)) + q * mp.log(2 * q / (p + q))) / 2, 30.0),
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", list(EXACT))
def test_terms_of_probabilities_of_every_size(name: str, precision: str) -> None:
    exact, allowed = EXACT[name]
    p, q = _pairs(precision)
    with mp.workdps(60):
        values = [exact(mpf(float(x)), mpf(float(y))) for x, y in zip(p, q, strict=True)]
        off = _ulp_off(elementwise(precision, name, 3)(p, q, p - q), values, np.finfo(precision))
    worst = off.argmax()
    assert off.max() <= allowed, f"{off.max()} ulp at {p[worst]!r}, {q[worst]!r}"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_pair_from_its_logarithms(precision: str) -> None:
    """p, q and p − q, given log p, log q and a log(p/q) far more precise than their difference."""
    rng, finfo = np.random.default_rng(5), np.finfo(precision)
    log_p = -np.exp2(rng.uniform(-20, 6, 2000)).astype(precision)
    log_ratio = (np.exp2(rng.uniform(-40, 4, 2000)) * rng.choice([-1, 1], 2000)).astype(precision)
    log_q = log_p - log_ratio
    kept = (log_q < 0) & (log_q > -80)
    log_p, log_q, log_ratio = log_p[kept], log_q[kept], log_ratio[kept]
    function = primitives(precision).pair_from_logs
    made = np.array([function(*row) for row in zip(log_p, log_q, log_ratio, strict=True)], precision).T
    with mp.workdps(60):
        for name, got in zip(("p", "q", "p − q"), made, strict=True):
            exact = []
            for a, b, u in zip(log_p, log_q, log_ratio, strict=True):
                larger = mp.exp(mpf(float(max(a, b))))
                smaller = larger * mp.exp(-abs(mpf(float(u))))
                p, q = (larger, smaller) if u > 0 else (smaller, larger)
                exact.append({"p": p, "q": q, "p − q": p - q}[name])
            assert _ulp_off(got, exact, finfo).max() < 4, name


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_pair_of_which_one_is_missing(precision: str) -> None:
    function = primitives(precision).pair_from_logs
    real = np.dtype(precision).type
    zero, none = real(0), real(-np.inf)
    assert function(zero, none, real(np.inf)) == (1, 0, 1)
    assert function(none, zero, real(-np.inf)) == (0, 1, -1)
    assert function(none, none, real(-np.inf)) == (0, 0, 0)


def test_the_script_prints_the_polynomials() -> None:
    root = Path(__file__).parents[2]
    made = subprocess.run(
        [sys.executable, root / "scripts" / "fit_polynomials.py"], capture_output=True, text=True, check=True
    )
    space: dict[str, object] = {}
    exec(made.stdout, space)
    for name in ("EXP_32", "EXP_64", "LOG_32", "ATANH_64"):
        np.testing.assert_allclose(space[name], getattr(polynomials, name), rtol=1e-15)
