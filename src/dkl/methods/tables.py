"""The table kernel: Arrow record batches in, a small mergeable state of integer counts out.

A *plan* says which cells a column has; counting a batch by a plan gives a *state*; states of one plan add up. Addition
is associative and commutative and gives the same integers as counting everything at once, so batches may come in any
split and any order, from any engine that hands out Arrow, on any number of threads.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Family = Literal["integer", "real", "temporal", "time", "duration", "text", "boolean", "null"]
"""What a column's values are, whatever their width or encoding. Integers and reals are compared as numbers."""

Domain = Literal["int64", "uint64", "float64"]
"""The number type in which a numeric column's values meet its edges."""

Number = int | float

CAPACITY = 100_000
"""Distinct values of a column that are counted one by one before the rest is counted together."""


class UnmeasurableTypeError(TypeError):
    """A column's type has no cells to count, such as a list or a struct."""


class UnmeasurableValueError(ValueError):
    """A column holds values that its cells cannot tell apart, such as a time beyond the years of microseconds."""


def family(arrow_type: pa.DataType) -> Family:
    """Say what a column of an Arrow type holds.

    Raises
    ------
    UnmeasurableTypeError
        For nested and binary types.

    Examples
    --------
    >>> import pyarrow as pa
    >>> family(pa.dictionary(pa.int8(), pa.string())), family(pa.uint16()), family(pa.date32())
    ('text', 'integer', 'temporal')
    """
    kinds = pa.types
    if kinds.is_dictionary(arrow_type):
        return family(arrow_type.value_type)
    found: list[tuple[bool, Family]] = [
        (kinds.is_null(arrow_type), "null"),
        (kinds.is_boolean(arrow_type), "boolean"),
        (kinds.is_integer(arrow_type), "integer"),
        (kinds.is_floating(arrow_type) or kinds.is_decimal(arrow_type), "real"),
        (kinds.is_date(arrow_type) or kinds.is_timestamp(arrow_type), "temporal"),
        (kinds.is_time(arrow_type), "time"),
        (kinds.is_duration(arrow_type), "duration"),
        (kinds.is_string(arrow_type) or kinds.is_large_string(arrow_type) or _is_string_view(arrow_type), "text"),
    ]
    for holds, name in found:
        if holds:
            return name
    raise UnmeasurableTypeError(
        f"values of type {arrow_type} have no cells to count: flatten or cast them to numbers, text or dates"
    )


def domain(arrow_type: pa.DataType) -> Domain:
    """Return the number type in which a column's values are compared; integers keep all their digits.

    Examples
    --------
    >>> import pyarrow as pa
    >>> domain(pa.int8()), domain(pa.uint64()), domain(pa.float32()), domain(pa.timestamp("s"))
    ('int64', 'uint64', 'float64', 'int64')
    """
    if pa.types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    if arrow_type == pa.uint64():
        return "uint64"
    return "float64" if family(arrow_type) == "real" else "int64"


def numbers(array: pa.Array) -> npt.NDArray[Any]:
    """Return a column's values, nulls left out, in the type of its `domain`.

    Dates and times become whole microseconds (since 1970, or since midnight), decimals double precision.

    Raises
    ------
    UnmeasurableValueError
        If a date or a duration is so large that its microseconds overflow.
    """
    array = array.drop_null() if array.null_count else array
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = family(array.type)
    if kind == "null":
        return np.empty(0)
    if kind in ("temporal", "time", "duration"):
        array = _microseconds(array)
    elif pa.types.is_decimal(array.type):
        array = array.cast(pa.float64())
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=domain(array.type))


_IN_A_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def _microseconds(array: pa.Array) -> pa.Array:
    """Return dates, times or durations as whole microseconds; finer ones are cut off, which moves no row by more."""
    if pa.types.is_date32(array.type):
        whole, factor = array.cast(pa.int32()).cast(pa.int64()), 86_400_000_000
    elif pa.types.is_date64(array.type):
        whole, factor = array.cast(pa.int64()), 1_000
    else:
        per_second = _IN_A_SECOND[array.type.unit]
        whole = array.cast(pa.int32() if pa.types.is_time32(array.type) else pa.int64()).cast(pa.int64())
        if per_second > 1_000_000:
            values = whole.to_numpy(zero_copy_only=False)
            return pa.array(values // (per_second // 1_000_000))
        factor = 1_000_000 // per_second
    try:
        return pc.multiply_checked(whole, pa.scalar(factor, pa.int64()))
    except pa.ArrowInvalid:
        raise UnmeasurableValueError("holds times beyond the years that microseconds reach") from None


@dataclass(frozen=True, slots=True, eq=False)
class NumericCounts:
    """Counts of a numeric column.

    Parameters
    ----------
    cells
        int64, one entry a cell of the plan.
    null, nan, positive_infinity, negative_infinity
        Rows that no finite cell holds.
    minimum, maximum
        Range of the finite values; None where there are none.
    """

    cells: npt.NDArray[np.int64]
    null: int = 0
    nan: int = 0
    positive_infinity: int = 0
    negative_infinity: int = 0
    minimum: Number | None = None
    maximum: Number | None = None

    @property
    def rows(self) -> int:
        """Rows counted, missing values included."""
        return int(self.cells.sum()) + self.null + self.nan + self.positive_infinity + self.negative_infinity

    def __add__(self, other: NumericCounts) -> NumericCounts:
        lows = [low for low in (self.minimum, other.minimum) if low is not None]
        highs = [high for high in (self.maximum, other.maximum) if high is not None]
        return NumericCounts(
            self.cells + other.cells,
            self.null + other.null,
            self.nan + other.nan,
            self.positive_infinity + other.positive_infinity,
            self.negative_infinity + other.negative_infinity,
            min(lows) if lows else None,
            max(highs) if highs else None,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NumericCounts):
            return NotImplemented
        same = all(
            getattr(self, name) == getattr(other, name)
            for name in ("null", "nan", "positive_infinity", "negative_infinity", "minimum", "maximum")
        )
        return same and np.array_equal(self.cells, other.cells)

    __hash__ = None  # type: ignore[assignment]  # equal states hold equal arrays, which have no hash


@dataclass(frozen=True, eq=False)
class NumericPlan:
    """Cells of a numeric column, cut out of the line by ``n`` rising cuts into ``n + 1`` cells.

    A cut lies *at* a value (the cell to its left holds the value) or just *below* it (the cell to its right does); a
    value with both cuts has a cell of its own. The cuts marked coarse bound the cells that divergences are computed
    on; the others subdivide those for the Wasserstein distance.

    Parameters
    ----------
    domain
        The number type of the cuts.
    values
        Where the cuts lie, rising.
    below
        Whether each cut lies just below its value; of two cuts on one value this one comes first.
    coarse
        Whether each cut bounds a coarse cell.
    family
        What the numbers stand for: numbers, dates, times or durations.
    """

    domain: Domain
    values: tuple[Number, ...]
    below: tuple[bool, ...]
    coarse: tuple[bool, ...]
    family: Family = "real"

    @cached_property
    def _last_left(self) -> dict[str, npt.NDArray[Any]]:
        """For each domain, the largest number left of each cut."""
        values = np.asarray(self.values, dtype=self.domain)
        below = np.asarray(self.below, dtype=bool)
        reals = values.astype(np.float64)
        with np.errstate(over="ignore", under="ignore"):  # left of the lowest float is -inf, without a warning
            before = np.nextafter(reals, -np.inf)
        last_left: dict[str, npt.NDArray[Any]] = {"float64": np.where(below, before, reals)}
        if self.domain != "float64":
            lowest = np.iinfo(self.domain).min
            last_left[self.domain] = np.where(below, np.maximum(values, lowest + 1) - values.dtype.type(1), values)
        return last_left

    def zero(self) -> NumericCounts:
        """Return the state of no rows."""
        return NumericCounts(np.zeros(len(self.values) + 1, dtype=np.int64))

    def count(self, array: pa.Array) -> NumericCounts:
        """Count one Arrow array of any numeric or temporal type."""
        values = numbers(array)
        if self.domain == "float64" or values.dtype == np.float64:
            return self._count_reals(values.astype(np.float64, copy=False), array.null_count)
        return self._count_integers(values, array.null_count)

    # The values are sorted and the edges searched among them, not the other way round: NumPy sorts a batch by vector
    # instructions, which takes a tenth of the time of searching each value among hundreds of edges.

    def _count_reals(self, values: npt.NDArray[np.float64], null: int) -> NumericCounts:
        ordered = np.sort(values)  # NaN comes last
        edges = np.concatenate([[-np.inf], self._last_left["float64"], [np.finfo(np.float64).max, np.inf]])
        upto = np.searchsorted(ordered, edges, side="right")
        first, last = int(upto[0]), int(upto[-2])
        return NumericCounts(
            np.diff(upto[:-1]).astype(np.int64),
            null=null,
            nan=len(ordered) - int(upto[-1]),
            positive_infinity=int(upto[-1]) - last,
            negative_infinity=first,
            minimum=float(ordered[first]) if last > first else None,
            maximum=float(ordered[last - 1]) if last > first else None,
        )

    def _count_integers(self, values: npt.NDArray[Any], null: int) -> NumericCounts:
        ordered = np.sort(values)
        lowest, highest = (int(ordered[0]), int(ordered[-1])) if len(ordered) else (None, None)
        if ordered.dtype != self.domain:  # what lies beyond the other type's range belongs to an outermost cell
            limits = np.iinfo(self.domain)
            if ordered.dtype == np.uint64:
                ordered = np.minimum(ordered, np.uint64(limits.max))
            else:
                ordered = np.maximum(ordered, 0)
            ordered = ordered.astype(self.domain)
        upto = np.searchsorted(ordered, self._last_left[self.domain], side="right")
        cells = np.diff(upto, prepend=0, append=len(ordered)).astype(np.int64)
        return NumericCounts(cells, null=null, minimum=lowest, maximum=highest)


@dataclass(frozen=True, slots=True)
class ValueCounts:
    """Counts of a categorical column's values.

    Parameters
    ----------
    counts
        Rows of each value.
    null
        Rows without a value.
    overflow
        Rows of the values that found no space; see `CategoricalPlan`.
    level
        How often the space was halved over.
    plan
        The plan that the counts were made by.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    null: int = 0
    overflow: int = 0
    level: int = 0
    plan: CategoricalPlan = field(default_factory=lambda: CategoricalPlan())

    @property
    def rows(self) -> int:
        """Rows counted, missing values included."""
        return sum(self.counts.values()) + self.null + self.overflow

    def __add__(self, other: ValueCounts) -> ValueCounts:
        level, overflow = max(self.level, other.level), self.overflow + other.overflow
        sides = []
        for state in (self, other):
            thinned, dropped = (dict(state.counts), 0) if state.level == level else self.plan.thin(state.counts, level)
            sides.append(thinned)
            overflow += dropped
        few, counts = sorted(sides, key=len)
        for value, count in few.items():
            counts[value] = counts.get(value, 0) + count
        return self.plan.fit(counts, self.null + other.null, overflow, level)


@dataclass(frozen=True, slots=True)
class CategoricalPlan:
    """Cells of a categorical column: every value has its own, in bounded memory.

    Up to `capacity` distinct values are counted besides the pinned ones. Beyond that, the half of them with smaller
    checksums stay, then a quarter, and so on, and the rows of the others are counted together. Which values stay thus
    depends on the set of values alone, not on the order in which they come: what stays in the whole stays in each
    part, so its count is exact (Wegman's adaptive sampling).

    Parameters
    ----------
    pinned
        Values that always keep their count: the frequent ones, if their column has more than `capacity` values.
    capacity
        Distinct values counted besides the pinned ones.
    """

    pinned: frozenset[str] = frozenset()
    capacity: int = CAPACITY

    def zero(self) -> ValueCounts:
        """Return the state of no rows."""
        return ValueCounts(plan=self)

    def count(self, array: pa.Array) -> ValueCounts:
        """Count one Arrow array of text or booleans, dictionary-encoded or not."""
        if pa.types.is_null(array.type):
            return ValueCounts(null=len(array), plan=self)
        array, null = without_views(array), array.null_count
        found = pc.value_counts(array.drop_null() if null else array)
        values = found.field("values")
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        counts: dict[str, int] = {}
        # A dictionary may list one value twice, or null.
        for value, count in zip(values.cast(pa.string()).to_pylist(), found.field("counts").to_pylist(), strict=True):
            if value is None:
                null += count
            else:
                counts[value] = counts.get(value, 0) + count
        return self.fit(counts, null, 0, 0)

    def fit(self, counts: dict[str, int], null: int, overflow: int, level: int) -> ValueCounts:
        """Return the state of these counts, at the lowest level from this one up at which they fit the capacity."""
        while len(counts) > self.capacity and len(counts) - len(self.pinned & counts.keys()) > self.capacity:
            level += 1
            counts, dropped = self.thin(counts, level)
            overflow += dropped
        return ValueCounts(counts, null, overflow, level, self)

    def thin(self, counts: Mapping[str, int], level: int) -> tuple[dict[str, int], int]:
        """Return the counts of the values that stay at a level, and the rows of those that do not.

        At each level half of the values stay: those whose checksum begins with as many zero bits. The checksum is the
        same in every process, unlike `hash`.
        """
        below = (1 << 32) >> level
        kept = {
            value: count
            for value, count in counts.items()
            if zlib.crc32(value.encode()) < below or value in self.pinned
        }
        return kept, sum(counts.values()) - sum(kept.values())


def without_views(array: pa.Array) -> pa.Array:
    """Return text in Arrow's view layout, which few of its functions can read, in the plain one."""
    if pa.types.is_dictionary(array.type) and _is_string_view(array.type.value_type):
        return pa.DictionaryArray.from_arrays(array.indices, array.dictionary.cast(pa.string()))
    return array.cast(pa.string()) if _is_string_view(array.type) else array


def _is_string_view(arrow_type: pa.DataType) -> bool:
    """Say whether this is Arrow's view type for text, which old versions of pyarrow lack."""
    is_string_view = getattr(pa.types, "is_string_view", None)
    return bool(is_string_view is not None and is_string_view(arrow_type))


ColumnPlan = NumericPlan | CategoricalPlan
ColumnCounts = NumericCounts | ValueCounts


@dataclass(frozen=True, slots=True)
class TableCounts:
    """Counts of a whole table: its rows and one state a column.

    Examples
    --------
    >>> import pyarrow as pa
    >>> plans = {"sky": CategoricalPlan()}
    >>> batch = pa.RecordBatch.from_pydict({"sky": ["blue", "grey", "blue", None]})
    >>> twice = count(batch, plans) + count(batch, plans)
    >>> twice.rows, twice.columns["sky"].counts, twice.columns["sky"].null
    (8, {'blue': 4, 'grey': 2}, 2)
    """

    rows: int
    columns: Mapping[str, ColumnCounts]

    def __add__(self, other: TableCounts) -> TableCounts:
        columns: dict[str, Any] = {
            name: state + other.columns[name]  # type: ignore[operator]  # one plan gives one class of states
            for name, state in self.columns.items()
        }
        return TableCounts(self.rows + other.rows, columns)


def zero(plans: Mapping[str, ColumnPlan]) -> TableCounts:
    """Return the state of a table without rows."""
    return TableCounts(0, {name: plan.zero() for name, plan in plans.items()})


def count(batch: pa.RecordBatch, plans: Mapping[str, ColumnPlan]) -> TableCounts:
    """Count one record batch by its columns' plans.

    Parameters
    ----------
    batch
        A record batch (or table) that holds every planned column; other columns are left alone.
    plans
        Each column's plan by its name.
    """
    return TableCounts(batch.num_rows, {name: _count_column(batch, name, plan) for name, plan in plans.items()})


def _count_column(batch: Any, name: str, plan: ColumnPlan) -> ColumnCounts:
    column = batch.column(name)
    total: Any = plan.zero()
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        total = total + plan.count(chunk)
    return total  # type: ignore[no-any-return]  # a sum of one plan's states is such a state
