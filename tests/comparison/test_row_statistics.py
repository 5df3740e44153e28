"""What is said of all rows: known values, ties, infinities, extremes."""

import math
import warnings

import numpy as np
import pytest

from dkl.comparison.row_statistics import agreement, most_likely, summary


def _figures(values):
    found = summary("js", "nats", np.asarray(values, dtype=float), (len(values),))
    return found.median, found.percentile_90, found.percentile_95, found.percentile_99, found.percentile_99_9


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (1, (1, 1, 1, 1, 1)),
        (2, (1, 2, 2, 2, 2)),
        (10, (5, 9, 10, 10, 10)),
        (20, (10, 18, 19, 20, 20)),
        (1000, (500, 900, 950, 990, 999)),
        (1001, (501, 901, 951, 991, 1000)),
    ],
)
def test_quantiles_of_the_first_numbers(rows, expected):
    values = np.random.default_rng(0).permutation(np.arange(1.0, rows + 1))
    assert _figures(values) == expected


def test_infinite_rows_are_the_largest():
    found = summary("tv", "x", np.array([*range(98), math.inf, math.inf], dtype=float), (10, 10))
    assert (found.percentile_95, found.percentile_99, found.maximum, found.infinite) == (94, math.inf, math.inf, 2)
    assert (found.mean, found.stderr, found.finite_mean) == (math.inf, None, 48.5)
    assert found.finite_stderr == pytest.approx(np.arange(98).std(ddof=1) / math.sqrt(98))
    assert found.worst[:3] == (((9, 8), math.inf), ((9, 9), math.inf), ((9, 7), 97))
    nothing = summary("tv", "x", np.full(3, math.inf), (3,))
    assert (nothing.mean, nothing.finite_mean, nothing.finite_stderr, nothing.infinite) == (math.inf, None, None, 3)


def test_worst_rows_of_equal_value_come_in_order():
    found = summary("tv", "x", np.array([1.0, 0, 3, 1, 1, 1, 1, 2]), (8,))
    assert found.worst == (((2,), 3.0), ((7,), 2.0), ((0,), 1.0), ((3,), 1.0), ((4,), 1.0))
    assert summary("tv", "x", np.array([0.0, 1.0]), (2,)).worst == (((1,), 1.0), ((0,), 0.0))


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e150, 1e307])
def test_the_mean_neither_overflows_nor_warns(scale):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = summary("tv", "x", scale * np.array([2.0, 4.0] * 30), (60,))
    assert found.mean == pytest.approx(3 * scale)
    assert found.stderr == pytest.approx(scale * np.std([2, 4] * 30, ddof=1) / math.sqrt(60))


def test_most_likely_outcomes():
    rows = np.array([[1, 3, 3], [2, 2, 2], [5, 1, 0], [0, -np.inf, 0]])
    first, tied = most_likely(rows)
    assert (first.tolist(), tied.tolist()) == ([1, 0, 0, 0], [True, True, False, True])
    first, tied = most_likely(rows[2:3])
    assert (first.tolist(), tied.tolist()) == ([0], [False])


@pytest.mark.parametrize(("rows", "total"), [(0, 5), (3, 4), (5, 5), (17, 1000)])
def test_agreement_is_a_mean_of_zeros_and_ones(rows, total):
    found = agreement(rows, 0, total)
    ones = np.arange(total) < rows
    assert found.share == pytest.approx(ones.mean())
    assert found.stderr == pytest.approx(ones.std(ddof=1) / math.sqrt(total))
