"""From one value a row to what is said of all rows: mean, exact quantiles, the worst rows, agreement."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dkl.comparison.array_result import Agreement, RowSummary
from dkl.comparison.quantities import Quantity

WORST = 5
"""Rows that are named for their values."""

_PER_MILLE = {
    "median": 500,
    "percentile_90": 900,
    "percentile_95": 950,
    "percentile_99": 990,
    "percentile_99_9": 999,
}
_LARGE = 480  # values below 2**480 can be squared and summed


def summary(key: Quantity, unit: str, values: npt.NDArray[np.float64], shape: tuple[int, ...]) -> RowSummary:
    """Summarise one divergence over all rows.

    Parameters
    ----------
    key, unit
        The quantity.
    values
        One value a row, in the order of the array; at least one.
    shape
        The array's leading dimensions.
    """
    finite = values[np.isfinite(values)] if np.isinf(values).any() else values
    infinite = len(values) - len(finite)
    mean, stderr = _mean(finite) if len(finite) else (None, None)
    ordered = np.sort(values)
    return RowSummary(
        key,
        unit,
        mean=math.inf if infinite or mean is None else mean,
        stderr=None if infinite else stderr,
        # In whole numbers, because 0.999 times a number of rows may be rounded past the row that is meant.
        **{name: float(ordered[-(-len(ordered) * share // 1000) - 1]) for name, share in _PER_MILLE.items()},
        maximum=float(ordered[-1]),
        finite_mean=mean,
        finite_stderr=stderr,
        infinite=infinite,
        worst=tuple((place(row, shape), float(values[row])) for row in _worst(values, ordered)),
    )


def agreement(rows: int, tied: int, total: int) -> Agreement:
    """Return the share of rows that agree, with the standard error of a share."""
    share = rows / total
    stderr = math.sqrt(share * (1 - share) / (total - 1)) if total > 1 else None
    return Agreement(rows, share, stderr, tied)


def most_likely(rows: npt.NDArray[Any]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Return the place of each row's first largest entry, and whether it has others as large."""
    first = rows.argmax(axis=1)
    largest = rows == np.take_along_axis(rows, first[:, None], axis=1)
    if np.count_nonzero(largest) == len(rows):  # counting all of them is much the fastest, and ties are rare
        return first, np.zeros(len(rows), dtype=np.bool_)
    return first, np.count_nonzero(largest, axis=1) > 1


def place(row: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the index in the leading dimensions of a row by its number."""
    return tuple(int(index) for index in np.unravel_index(row, shape)) if shape else ()


def _mean(values: npt.NDArray[np.float64]) -> tuple[float, float | None]:
    """Return the mean and its standard error; neither overflows where no value does."""
    excess = max(0, math.frexp(float(values.max()))[1] - _LARGE)
    scaled = np.ldexp(values, -excess) if excess else values
    mean = math.ldexp(float(scaled.mean()), excess)
    if len(values) == 1:
        return mean, None
    return mean, math.ldexp(float(scaled.std(ddof=1)) / math.sqrt(len(values)), excess)


def _worst(values: npt.NDArray[np.float64], ordered: npt.NDArray[np.float64]) -> list[int]:
    """Return the numbers of the rows with the largest values, largest first and the first of equals first."""
    least = ordered[-min(WORST, len(ordered))]
    above = np.flatnonzero(values > least)
    level = np.flatnonzero(values == least)[: WORST - len(above)]
    rows = np.concatenate([above, level])
    return [int(row) for row in rows[np.argsort(-values[rows], kind="stable")]]
