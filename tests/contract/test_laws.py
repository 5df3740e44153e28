"""The laws that every divergence keeps, on every representation, array library and dtype."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

import dkl
from dkl.divergences import Divergence

from .backends import BACKENDS, Backend
from .members import BLIND, MEMBERS
from .samples import KINDS, hand_in, sample

#: Relative error that rounding the inputs' logarithms to the dtype can cause on pairs that are not close.
ROUNDING = {"float64": 1e-12, "float32": 2e-5}


@dataclass(frozen=True, eq=False)
class Measured:
    """A member's values on the sample, by block, as handed in one way to one library."""

    member: Divergence
    kind: str
    dtype: str
    backend: Backend
    values: np.ndarray
    own: bool
    result_dtype: str

    def block(self, name: str) -> np.ndarray:
        return self.values[sample().blocks[name]]

    @property
    def rounding(self) -> float:
        return ROUNDING[self.dtype]

    def __str__(self) -> str:
        return f"{self.kind}, {self.dtype}"


@cache
def measured(member: Divergence, kind: str, dtype: str, backend: Backend) -> Measured:
    s = sample()
    left, right = KINDS[kind]
    result = member(hand_in(left, s.p, backend, dtype), hand_in(right, s.q, backend, dtype))
    values = backend.to_numpy(result).astype(np.float64)
    return Measured(member, kind, dtype, backend, values, backend.is_own(result), backend.dtype_name(result))


def non_negative(m: Measured) -> Iterator[str]:
    for i in np.flatnonzero(~(m.values >= 0)):
        yield f"row {i}: {m.values[i]}"


def zero_for_equal_pairs(m: Measured) -> Iterator[str]:
    # Two conversions may round the same number differently.
    moved = _moved(m, _rows("pp")) if len(set(KINDS[m.kind])) > 1 else 0.0
    for i in np.flatnonzero(~(m.block("pp") <= moved)):
        yield f"row {i}: {m.block('pp')[i]}"


def positive_for_different_pairs(m: Measured) -> Iterator[str]:
    if m.member.name not in BLIND:
        for i in np.flatnonzero(~sample().equal & ~(m.block("pq") > 0)):
            yield f"row {i}: {m.block('pq')[i]}"


def symmetric_where_claimed(m: Measured) -> Iterator[str]:
    forth, back = m.block("pq"), m.block("qp")
    # One conversion on either side of a mixed pair breaks its symmetry by rounding.
    mixed = len(set(KINDS[m.kind])) > 1
    same = _near(forth, back, m, _moved(m, _rows("pq")) if mixed and m.member.symmetric else 0.0)
    if m.member.symmetric:
        for i in np.flatnonzero(~same):
            yield f"row {i}: {forth[i]} and {back[i]}"
    elif same.all():
        yield "no pair shows the asymmetry"


def below_the_upper_bound(m: Measured) -> Iterator[str]:
    bound = m.member.upper_bound
    for i in np.flatnonzero(~(m.values <= bound * (1 + m.rounding))):
        yield f"row {i}: {m.values[i]} exceeds {bound}"


def upper_bound_on_disjoint_supports(m: Measured) -> Iterator[str]:
    at = m.block("pq")[sample().disjoint]
    if not (at.size and np.allclose(at, m.member.upper_bound, rtol=m.rounding, atol=0)):
        yield f"{at} is not {m.member.upper_bound}"


def merging_outcomes_never_increases_it(m: Measured) -> Iterator[str]:
    fine, coarse = m.block("pq"), m.block("merged")
    for i in np.flatnonzero(~(coarse <= fine * (1 + m.rounding) + 2 * _moved(m, _rows("pq")))):
        yield f"row {i}: {fine[i]} became {coarse[i]}"


def jointly_convex(m: Measured) -> Iterator[str]:
    """Or quasi-convex, for the functions of an f-divergence that are no more than increasing."""
    value = m.block("pq")
    following = np.roll(value, -1)
    convex = hasattr(m.member, "f") or m.member.name == "bhattacharyya" or getattr(m.member, "order", 2) <= 1
    highest = (value + following) / 2 if convex else np.maximum(value, following)
    moved = _moved(m, _rows("pq")) + _moved(m, np.roll(_rows("pq"), -1)) + _moved(m, _rows("mean"))
    for i in np.flatnonzero(~(m.block("mean") <= highest * (1 + m.rounding) + moved)):
        yield f"rows {i} and {i + 1}: the mean pair has {m.block('mean')[i]}, which is above {highest[i]}"


def the_same_in_every_representation(m: Measured) -> Iterator[str]:
    exact = measured(m.member, "probs", "float64", BACKENDS["numpy"])
    every = np.arange(m.values.size)
    for i in np.flatnonzero(~_near(m.values, exact.values, m, _moved(m, every))):
        yield f"row {i}: {m.values[i]} instead of {exact.values[i]}"


def of_the_inputs_own_kind(m: Measured) -> Iterator[str]:
    if not m.own:
        yield "the result is no array of the library"
    left, right = (kind in ("probs", "counts") for kind in KINDS[m.kind])
    expected = "float64" if left != right else m.dtype
    if m.result_dtype != expected:
        yield f"the result is {m.result_dtype} and not {expected}"


def _moved(m: Measured, rows: np.ndarray) -> np.ndarray:
    """How far a value can move when the logarithms behind it are rounded, log by log, by up to δ.

    A KL of K is ½ E[L²] to leading order in the log-ratios L, so it moves by δ·√(2K), a Rényi divergence or power of
    order a by about |a| times that; a distance that is of first order in L moves by δ.
    """
    # A generator written by hand is given p/q, whose rounding does the same.
    if set(KINDS[m.kind]) <= {"probs", "counts"} and not isinstance(m.member, dkl.FDivergence):
        return np.zeros(rows.shape)
    delta = 20 * float(np.finfo(m.dtype).eps)
    if m.member.name in ("tv", "hellinger", "renyi(inf)", "hockey_stick"):
        return np.full(rows.shape, delta)
    kl = np.minimum(measured(dkl.kl, "probs", "float64", BACKENDS["numpy"]).values[rows], 1.0)
    return (delta * np.sqrt(2 * kl) + delta**2) * (1 + abs(_finite_order(m.member)))


def _rows(name: str) -> np.ndarray:
    return np.arange(sample().p.shape[0])[sample().blocks[name]]


def _near(x: np.ndarray, y: np.ndarray, m: Measured, moved: np.ndarray | float = 0.0) -> np.ndarray:
    finite = np.isfinite(x) & np.isfinite(y)
    difference = np.abs(np.where(finite, x, 0.0) - np.where(finite, y, 0.0))
    return np.where(finite, difference <= m.rounding * np.where(finite, y, 0.0) + moved, x == y)


def _finite_order(member: Divergence) -> float:
    order = getattr(member, "order", 1.0)
    return order if math.isfinite(order) else 1.0


LAWS: tuple[Callable[[Measured], Iterator[str]], ...] = (
    non_negative,
    zero_for_equal_pairs,
    positive_for_different_pairs,
    symmetric_where_claimed,
    below_the_upper_bound,
    upper_bound_on_disjoint_supports,
    merging_outcomes_never_increases_it,
    jointly_convex,
    the_same_in_every_representation,
    of_the_inputs_own_kind,
)


@pytest.mark.parametrize("member", MEMBERS, ids=lambda d: d.name)
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(law: Callable[[Measured], Iterator[str]], member: Divergence, backend: Backend) -> None:
    broken = [
        f"{kind}, {dtype}: {what}"
        for kind in KINDS
        for dtype in ("float64", "float32")
        for what in law(measured(member, kind, dtype, backend))
    ]
    assert not broken, f"{len(broken)} breaches; " + "\n".join(broken[:6])


@pytest.mark.parametrize("member", MEMBERS, ids=lambda d: d.name)
def test_half_precision_is_read_exactly_and_summed_in_float32(member: Divergence, backend: Backend) -> None:
    # Multiples of 1/16 are exact in both half formats. The shape is that of the laws' sample, for compilers.
    p = np.resize(np.array([[4, 8, 4, 0, 0, 0], [1, 2, 12, 1, 0, 0], [16, 0, 0, 0, 0, 0]]) / 16, sample().p.shape)
    q = np.resize(np.array([[8, 4, 2, 2, 0, 0], [1, 2, 12, 1, 0, 0], [1, 5, 0, 10, 0, 0]]) / 16, sample().p.shape)
    expected = backend.to_numpy(member(*(backend.asarray(x, "float32") for x in (p, q))))
    for half in backend.halves:
        result = member(*(backend.asarray(x, half) for x in (p, q)))
        assert backend.dtype_name(result) == "float32"
        np.testing.assert_array_equal(backend.to_numpy(result), expected)
        logits = member(*(dkl.Logits(backend.asarray(8 * x, half)) for x in (p, q)))
        assert backend.dtype_name(logits) == "float32"
        same = member(*(dkl.Logits(backend.asarray(8 * x, "float32")) for x in (p, q)))
        np.testing.assert_array_equal(backend.to_numpy(logits), backend.to_numpy(same))
