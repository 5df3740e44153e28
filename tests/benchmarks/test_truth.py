"""The benchmark's truth, held to mpmath by the textbook's formulas."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf

from benchmarks.truth import EPSILON, Truth, truths
from benchmarks.work import GIVEN, MEMBERS, Pair

# As good as the platform's long double allows.
_CLOSE = 1e-15 if EPSILON < 1e-17 else 1e-11
Row = Sequence[mpf]


def _normalised(row: Row) -> Row:
    total = mpmath.fsum(row)
    return [x / total for x in row]


def _softmax(row: Row) -> Row:
    return _normalised([mp.exp(x) for x in row])


def _kl(p: Row, q: Row) -> mpf:
    return mpmath.fsum(a * mp.log(a / b) for a, b in zip(p, q, strict=True))


def _js(p: Row, q: Row) -> mpf:
    m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return (_kl(p, m) + _kl(q, m)) / 2


def _sum(term: Callable[[mpf, mpf], mpf], p: Row, q: Row) -> mpf:
    return mpmath.fsum(term(a, b) for a, b in zip(p, q, strict=True))


TEXTBOOK: dict[str, Callable[[Row, Row], mpf]] = {
    "kl": _kl,
    "js": _js,
    "tv": lambda p, q: _sum(lambda a, b: abs(a - b), p, q) / 2,
    "renyi2": lambda p, q: mp.log(_sum(lambda a, b: a * a / b, p, q)),
    "hellinger": lambda p, q: mp.sqrt(1 - _sum(lambda a, b: mp.sqrt(a * b), p, q)),
}


def _measured(member: str, given: str, x: Row, y: Row) -> mpf:
    as_probabilities = _softmax if given == "logits" else _normalised
    return TEXTBOOK[member](as_probabilities(x), as_probabilities(y))


def _row(x: np.ndarray) -> Row:
    return [mpf(float(entry)) for entry in x]


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize(("dtype", "kl"), [("float32", 0.5), ("float64", 0.5), ("float32", 1e-9), ("float32", 1e-12)])
def test_values(member: str, given: str, dtype: str, kl: float) -> None:
    pair = Pair(given, dtype, (4, 33), kl)
    x, y = pair.arrays()
    truth = truths(pair, x, y, [member])[member]
    assert len(truth.rows) == 4
    with mp.workdps(60):
        for row, value in zip(truth.rows, truth.value, strict=True):
            right = _measured(member, given, _row(x[row]), _row(y[row]))
            # The long double as the sum of two floats, so that mpmath sees all of it.
            high = float(value)
            answer = mpf(high) + mpf(float(value - np.longdouble(high)))
            assert abs(answer / right - 1) < _CLOSE


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("member", MEMBERS)
def test_gradients(member: str, given: str) -> None:
    pair = Pair(given, "float64", (5,))
    x, y = pair.arrays()
    truth = truths(pair, x, y, [member])[member]
    with mp.workdps(40):
        rows = [_row(x), _row(y)]
        for side in (0, 1):

            def along(step: mpf, index: int, side: int = side) -> mpf:
                moved = [list(row) for row in rows]
                moved[side][index] += step
                return _measured(member, given, *moved)

            right = [float(mp.diff(lambda step, i=i: along(step, i), 0)) for i in range(5)]
            found = truth.gradient[side][0].astype(float)
            if given == "probabilities":  # a constant across the outcomes is not seen by whoever keeps the sum at 1
                right, found = right - np.mean(right), found - found.mean()
            np.testing.assert_allclose(found, right, rtol=1e-13, atol=1e-15)


@pytest.fixture(params=GIVEN)
def case(request: pytest.FixtureRequest) -> tuple[Pair, Truth]:
    pair = Pair(request.param, "float64", (3, 6))
    return pair, truths(pair, *pair.arrays(), ["kl"])["kl"]


def test_an_error_is_seen_at_its_size(case: tuple[Pair, Truth]) -> None:
    _, truth = case
    value = truth.value.astype(float)
    assert truth.value_error(value) < 1e-15
    value[1] *= 1 + 1e-6
    assert truth.value_error(value) == pytest.approx(1e-6, rel=1e-6)
    value[1] = math.nan
    assert truth.value_error(value) == math.inf


def test_an_error_of_a_gradient_is_seen_at_its_size(case: tuple[Pair, Truth]) -> None:
    pair, truth = case
    by_p, by_q = (side.astype(float) for side in truth.gradient)
    assert truth.gradient_error((by_p, by_q)) < 1e-14
    assert truth.gradient_error((by_p, 1.001 * by_q)) == pytest.approx(1e-3, rel=1e-6)
    shifted = truth.gradient_error((by_p + 1.0, by_q))
    assert shifted < 1e-14 if pair.given == "probabilities" else shifted > 0.1
    by_q[2, 3] = math.nan
    assert truth.gradient_error((by_p, by_q)) == math.inf


def test_pairs_are_seeded_alike_in_both_dtypes_and_nearly_normalised() -> None:
    pair = Pair("probabilities", "float64", (3, 50), 1e-6)
    p, q = pair.arrays()
    again, _ = replace(pair, dtype="float32").arrays()
    np.testing.assert_array_equal(p.astype(np.float32), again)
    np.testing.assert_allclose([p.sum(axis=-1), q.sum(axis=-1)], 1, rtol=1e-15)
    kl = truths(pair, p, q, ["kl"])["kl"].value.astype(float)
    assert np.all((kl > 1e-7) & (kl < 1e-5))
