"""Arrays of distributions, row by row: each row's divergences exactly, then their summary.

Both sides pass through memory once, in blocks of rows; what is kept is one number a row for each quantity.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dkl._array import is_half
from dkl.comparison.array_files import StoredArray, native
from dkl.comparison.array_result import ArrayComparison
from dkl.comparison.columns import compare_column
from dkl.comparison.errors import DataError
from dkl.comparison.quantities import Quantity, short
from dkl.comparison.result import ColumnComparison, Settings
from dkl.comparison.row_statistics import agreement, most_likely, place, summary
from dkl.comparison.sources import ArraySource, one_line
from dkl.divergences import Divergence, js, kl, reverse_kl, tv
from dkl.methods.tables import CategoricalPlan, ValueCounts
from dkl.representations import Counts, FiniteOutcomes, Logits, LogProbs, Probs

REPRESENTATIONS: dict[str, type[FiniteOutcomes]] = {
    "probs": Probs,
    "log-probs": LogProbs,
    "logits": Logits,
    "counts": Counts,
}
"""What an array of distributions may hold, by the name that `as_` takes."""

MOST_TESTED_ROWS = 100
"""Rows of counts that are also tested one by one, as categorical columns."""

MOST_TESTED_TOTAL = 1 << 53
"""Rows that a vector of counts may hold to be tested; beyond it, double precision does not count them one by one."""

_BLOCK_ENTRIES = 1 << 20
"""Entries of each side that are in memory at a time, rows being whole: measuring takes up to 180 bytes for each."""

_MEASURES: dict[Quantity, tuple[Divergence, str]] = {
    "js": (js, "nats"),
    "kl_reference_current": (kl, "nats"),
    "kl_current_reference": (reverse_kl, "nats"),
    "tv": (tv, "share of mass"),
}


def compare_arrays(
    reference: ArraySource,
    current: ArraySource,
    settings: Settings,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[ArrayComparison], list[ColumnComparison]]:
    """Compare the arrays that both sides name, and say which they do not share.

    Parameters
    ----------
    reference, current
        Both sides.
    settings
        What rows of counts are tested with.
    progress
        Called as ``progress(done, total)`` after each block of rows, in entries of one side's arrays.

    Returns
    -------
    arrays, columns
        A row-by-row comparison of each array; and for arrays of counts the significance of each of their first
        rows, as categorical columns whose values are the outcomes' numbers.

    Raises
    ------
    DataError
        If arrays of one name have different shapes or hold no distributions, or a file cannot be read.
    """
    if len(reference.arrays) == 1 and len(current.arrays) == 1:  # one against one: their names do not matter
        names = [(*reference.arrays, *current.arrays)]
    else:
        names = [(name, name) for name in reference.arrays if name in current.arrays]
    if not names:
        raise DataError(
            f"{reference.description} and {current.description} have no array in common: "
            f"{', '.join(reference.arrays)} against {', '.join(current.arrays)}"
        )
    pairs = [_Pair(left, _Side.of(reference, left), _Side.of(current, right)) for left, right in names]
    for pair in pairs:  # all of them before the first is measured, which may take long
        pair.check()
    total = sum(pair.rows * pair.outcomes for pair in pairs)
    done = 0

    def advance(entries: int) -> None:
        nonlocal done
        done += entries
        if progress is not None:
            progress(done, total)

    arrays: list[ArrayComparison] = []
    columns: list[ColumnComparison] = []
    for pair in pairs:
        array, tested = pair.compare(settings, advance)
        arrays.append(array)
        columns += tested
    shared_left, shared_right = {left for left, _ in names}, {right for _, right in names}
    arrays += [
        ArrayComparison(name, "only_in_reference", "only in the reference", None, None)
        for name in reference.arrays
        if name not in shared_left
    ]
    arrays += [
        ArrayComparison(name, "only_in_current", "only in the current data", None, None)
        for name in current.arrays
        if name not in shared_right
    ]
    return arrays, columns


@dataclass(frozen=True)
class _Side:
    """One side's array: what it is in, its representation, and its numbers in a file or in memory."""

    description: str
    where: str
    outcomes: FiniteOutcomes
    array: StoredArray | npt.NDArray[Any]

    @classmethod
    def of(cls, source: ArraySource, name: str) -> _Side:
        outcomes = source.load(name)
        array = outcomes.array if isinstance(outcomes.array, StoredArray) else np.asarray(outcomes.array)
        where = source.description if name == "array" else f"{source.description}, array {name!r}"
        return cls(source.description, where, outcomes, array)

    @property
    def kind(self) -> str:
        return next(name for name, kind in REPRESENTATIONS.items() if isinstance(self.outcomes, kind))

    def blocks(self, rows: int) -> Generator[FiniteOutcomes]:
        """Yield so many rows at a time, all leading axes joined."""
        array = self.array
        with closing(array.blocks(rows) if isinstance(array, StoredArray) else _memory_blocks(array, rows)) as blocks:
            for block in blocks:
                yield replace(self.outcomes, array=self._widened(block))

    def _widened(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return half precision as float32, in which NumPy is much faster.

        Not where the row must sum to 1, because how nearly depends on the type.
        """
        if is_half(block.dtype) and isinstance(self.outcomes, Logits | Counts):
            return block.astype(np.float32)
        return block


def _memory_blocks(array: npt.NDArray[Any], rows: int) -> Generator[npt.NDArray[Any]]:
    outcomes, leading = array.shape[-1], array.shape[:-1]
    if array.ndim <= 2 or array.flags.c_contiguous:
        flat = array.reshape(-1, outcomes)
        for start in range(0, len(flat), rows):
            yield native(flat[start : start + rows])
        return
    total = int(np.prod(leading))  # joining the axes of such a view would copy it whole
    for start in range(0, total, rows):
        yield native(array[np.unravel_index(np.arange(start, min(start + rows, total)), leading)])


@dataclass(frozen=True)
class _Pair:
    """Two arrays of one shape."""

    name: str
    reference: _Side
    current: _Side

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.reference.array.shape)

    @property
    def leading(self) -> tuple[int, ...]:
        return self.shape[:-1]

    @property
    def outcomes(self) -> int:
        return self.shape[-1]

    @property
    def rows(self) -> int:
        return self.reference.array.size // self.outcomes

    def check(self) -> None:
        """Raise if there are no rows, or not the same on both sides."""
        shape, other = self.shape, tuple(self.current.array.shape)
        if shape != other:
            raise DataError(
                f"array {self.name!r}: {self.reference.description} has shape {shape} and "
                f"{self.current.description} {other}; both must list the same rows and outcomes "
                "(compare samples with Samples or --as samples)"
            )
        if not shape or not self.reference.array.size:
            raise DataError(
                f"array {self.name!r}: shape {shape} holds no distribution; the last axis lists the outcomes"
            )

    def compare(
        self, settings: Settings, advance: Callable[[int], None]
    ) -> tuple[ArrayComparison, list[ColumnComparison]]:
        values: dict[Quantity, npt.NDArray[np.float64]] = {key: np.empty(self.rows) for key in _MEASURES}
        agreeing = tied = 0
        both_counts = self.reference.kind == self.current.kind == "counts"
        tests = _CountTests(self.name, self.leading, settings) if both_counts else None
        step = max(1, _BLOCK_ENTRIES // self.outcomes)
        with closing(self.reference.blocks(step)) as left, closing(self.current.blocks(step)) as right:
            for start, p, q in zip(range(0, self.rows, step), left, right, strict=True):
                stop = min(start + step, self.rows)
                for key, (divergence, _) in _MEASURES.items():
                    values[key][start:stop] = self._measured(divergence, p, q, start)
                (top_p, tied_p), (top_q, tied_q) = most_likely(p.array), most_likely(q.array)
                agreeing += int(np.count_nonzero(top_p == top_q))
                tied += int(np.count_nonzero(tied_p | tied_q))
                if tests is not None:
                    tests.add(start, p.array, q.array)
                advance((stop - start) * self.outcomes)
        found = {key: summary(key, _MEASURES[key][1], rows, self.leading) for key, rows in values.items()}
        mean = found["js"]
        sentence = (
            f"{self.rows:,} {'row' if self.rows == 1 else 'rows'} of {self.outcomes:,} outcomes: "
            f"JS {short(mean.mean)} nats on average, {short(mean.maximum)} at most"
        )
        array = ArrayComparison(
            self.name,
            "measured",
            sentence,
            self.reference.kind,
            self.current.kind,
            self.shape,
            js=found["js"],
            kl_reference_current=found["kl_reference_current"],
            kl_current_reference=found["kl_current_reference"],
            tv=found["tv"],
            top_1=agreement(agreeing, tied, self.rows),
            notes=() if tests is None else tests.notes,
        )
        return array, [] if tests is None else tests.columns

    def _measured(
        self, divergence: Divergence, p: FiniteOutcomes, q: FiniteOutcomes, start: int
    ) -> npt.NDArray[np.float64]:
        try:
            return np.asarray(divergence(p, q), dtype=np.float64)
        except (ValueError, TypeError) as error:
            for side, block in ((self.reference, p), (self.current, q)):
                self._blame(side, block, start)
            raise DataError(f"array {self.name!r}: {one_line(error)}") from None

    def _blame(self, side: _Side, block: FiniteOutcomes, start: int) -> None:
        """Raise if a side cannot be measured even with itself; name its file, and the place in the whole array."""

        def whole(index: re.Match[str]) -> str:
            row, *outcome = map(int, index[1].split(", "))
            at = ", ".join(map(str, (*place(start + row, self.leading), *outcome)))
            return f"{'entry' if outcome else 'row'} [{at}]"

        try:
            tv(block, block)
        except (ValueError, TypeError) as error:
            message = re.sub(r"\b[pq]\[([\d, ]+)\]", whole, one_line(error))
            hint = (
                ""
                if "Samples" in message
                else "; say what it holds by --as logits, --as counts or --as samples, in Python by as_ or a wrapper "
                "such as dkl.Samples"
            )
            raise DataError(f"{side.where}: {message}{hint}") from None


class _CountTests:
    """The significance of the first rows of two arrays of counts, row by row.

    Weights that are no whole numbers are not tested, because they say nothing of how many observations there were.
    """

    def __init__(self, name: str, leading: tuple[int, ...], settings: Settings) -> None:
        self.columns: list[ColumnComparison] = []
        self._name = name
        self._leading = leading
        self._settings = settings
        self._whole = True
        self._large = 0

    def add(self, start: int, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> None:
        """Test those rows of a block that are among the first."""
        for row in range(min(len(x), MOST_TESTED_ROWS - start)):
            self._whole = self._whole and _is_whole(x[row]) and _is_whole(y[row])
            if not self._whole:
                self.columns, self._large = [], 0
                return
            before, after = _counted(x[row]), _counted(y[row])
            if max(before.rows, after.rows) > MOST_TESTED_TOTAL:
                self._large += 1
                continue
            at = ", ".join(map(str, place(start + row, self._leading)))
            title = f"{self._name}[{at}]" if at else self._name
            self.columns.append(
                compare_column(title, ("counts", "counts"), CategoricalPlan(), before, after, self._settings)
            )

    @property
    def notes(self) -> tuple[str, ...]:
        rows = "1 row holds" if self._large == 1 else f"{self._large} rows hold"
        return (f"{rows} more than 2^53 counts: compared, but not tested",) if self._large else ()


def _counted(row: npt.NDArray[Any]) -> ValueCounts:
    return ValueCounts({str(outcome): int(count) for outcome, count in enumerate(row.tolist()) if count})


def _is_whole(counts: npt.NDArray[Any]) -> bool:
    """Say whether these are counts of rows rather than weights, so that sampling theory speaks of them."""
    return counts.dtype.kind in "iub" or bool(np.all(counts == np.floor(counts)))
