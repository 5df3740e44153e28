"""Reading a side into counts: the reference in up to two passes, the current side in one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from dkl.comparison.errors import DataError
from dkl.comparison.planning import SAMPLE_ROWS, RowSample, numeric_plan
from dkl.comparison.sources import SchemaChangedError, TableSource
from dkl.methods.tables import (
    CategoricalPlan,
    ColumnCounts,
    ColumnPlan,
    Family,
    TableCounts,
    UnmeasurableTypeError,
    UnmeasurableValueError,
    ValueCounts,
    count,
    domain,
    family,
    numbers,
    zero,
)

Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)`` while data is read; both in the same unit, whichever that is."""

_WORKERS = 2
"""Threads that count; the kernel's searches and hashes run outside Python's lock."""

_AHEAD = 3
"""Batches that may wait for the counting threads, which bounds the memory."""

CATEGORICAL: tuple[Family, ...] = ("text", "boolean", "null")
"""Families whose values are cells of their own."""


@dataclass(frozen=True, slots=True)
class ReferenceState:
    """All that a comparison needs to know about its reference: each column's cells and their counts.

    Parameters
    ----------
    description, format
        Where the reference came from.
    rows
        Its rows.
    bins, max_categories, seed
        The settings that its cells were chosen by.
    types
        Each column's Arrow type, as text, in the table's order; columns that cannot be measured included.
    families
        What each measurable column holds.
    unmeasurable
        Why each of the others cannot be measured.
    plans, counts
        Each measurable column's cells and its rows in them.
    notes
        What a reader of the result should know.
    """

    description: str
    format: str
    rows: int
    bins: int
    max_categories: int
    seed: int
    types: Mapping[str, str]
    families: Mapping[str, Family]
    unmeasurable: Mapping[str, str]
    plans: Mapping[str, ColumnPlan]
    counts: Mapping[str, ColumnCounts]
    notes: tuple[str, ...] = field(default=())


class _Reader(Protocol):
    """What one pass over a source accumulates, from the columns that it names."""

    columns: list[str]

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in the next batch."""


R = TypeVar("R", bound=_Reader)


def families_of(schema: pa.Schema) -> tuple[dict[str, Family], dict[str, str]]:
    """Split a schema into what each column holds and why the others cannot be measured."""
    families: dict[str, Family] = {}
    unmeasurable: dict[str, str] = {}
    for column in schema:
        try:
            families[column.name] = family(column.type)
        except UnmeasurableTypeError as error:
            unmeasurable[column.name] = str(error)
    return families, unmeasurable


def _read(source: TableSource, start: Callable[[], R], progress: Progress | None) -> R:
    """Feed a source to a reader; where its types turn out wider than they looked, start afresh with a new one."""
    while True:
        reader = start()
        try:
            for batch, done in source.batches(reader.columns):
                reader.add(batch)
                if progress is not None:
                    progress(min(done, source.total), source.total)
        except SchemaChangedError:
            continue
        return reader


class _Tally:
    """Counts batches by plans on threads, at most a few batches behind."""

    def __init__(self, pool: ThreadPoolExecutor, plans: Mapping[str, ColumnPlan], description: str) -> None:
        self.columns = list(plans)
        self._plans = plans
        self._pool = pool
        self._description = description
        self._total = zero(plans)
        self._waiting: list[dict[str, Future[TableCounts]]] = []
        self.unmeasurable: dict[str, str] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Count one more batch."""
        plans = ((name, plan) for name, plan in self._plans.items() if name not in self.unmeasurable)
        tasks = {name: self._pool.submit(count, batch, {name: plan}) for name, plan in plans}
        self._waiting.append(tasks)
        self._rows(batch.num_rows)
        if len(self._waiting) > _AHEAD:
            self._collect()

    def _rows(self, rows: int) -> None:
        self._total = TableCounts(self._total.rows + rows, self._total.columns)

    def _collect(self) -> None:
        columns: dict[str, Any] = dict(self._total.columns)
        for name, task in self._waiting.pop(0).items():
            try:
                state = self._result(task).columns[name]
            except UnmeasurableValueError as error:
                self.unmeasurable[name] = str(error)
            else:
                columns[name] = columns[name] + state
        self._total = TableCounts(self._total.rows, columns)

    def _result(self, task: Future[TableCounts]) -> TableCounts:
        try:
            return task.result()
        except (pa.ArrowException, UnicodeError, OverflowError) as error:
            raise DataError(f"{self._description}: a column cannot be counted: {error}") from None

    def total(self) -> TableCounts:
        """Return the counts of all batches, without the columns that `unmeasurable` then names."""
        while self._waiting:
            self._collect()
        columns = {name: state for name, state in self._total.columns.items() if name not in self.unmeasurable}
        return TableCounts(self._total.rows, columns)


class _Survey:
    """The reference's first pass: categorical columns are counted, and rows are sampled for the others."""

    def __init__(self, pool: ThreadPoolExecutor, source: TableSource, only: frozenset[str] | None, seed: int) -> None:
        wanted = [column for column in source.schema if only is None or column.name in only]
        self.schema = pa.schema(wanted)
        self.families, self.unmeasurable = families_of(self.schema)
        self.columns = list(self.families)
        self._categorical = [name for name, kind in self.families.items() if kind in CATEGORICAL]
        self._tally = _Tally(pool, {name: CategoricalPlan() for name in self._categorical}, source.description)
        self.sample = RowSample(SAMPLE_ROWS, seed)
        self.rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in one more batch."""
        self._tally.add(batch)
        self.sample.add(batch)
        self.rows += batch.num_rows

    def categories(self) -> dict[str, Any]:
        """Return the categorical columns' counts."""
        return dict(self._tally.total().columns)


def survey(
    source: TableSource,
    columns: Iterable[str] | None,
    *,
    bins: int,
    max_categories: int,
    seed: int,
    progress: Progress | None = None,
) -> ReferenceState:
    """Choose the reference's cells and count its rows in them.

    The first pass counts categorical columns and samples rows to cut numeric ones by; the second counts those, and
    any column with too many values to count in one go.
    """
    with ThreadPoolExecutor(_WORKERS) as pool:
        only = None if columns is None else frozenset(columns)
        halves = None if progress is None else (lambda done, total: progress(done, 2 * total))
        first = _read(source, lambda: _Survey(pool, source, only, seed), halves)
        counts: dict[str, ColumnCounts] = first.categories()
        plans: dict[str, ColumnPlan] = {name: CategoricalPlan() for name in counts}
        again: dict[str, ColumnPlan] = {}
        unmeasurable: dict[str, str] = {}
        for name, kind in first.families.items():
            if kind not in CATEGORICAL:
                kept = domain(first.schema.field(name).type)
                try:
                    sample = numbers(first.sample.column(name))
                except UnmeasurableValueError as error:
                    unmeasurable[name] = str(error)
                else:
                    again[name] = numeric_plan(sample, kept, kind, bins)
            elif counts[name].overflow:  # type: ignore[union-attr]  # categorical columns have value counts
                frequent = CategoricalPlan(capacity=2 * SAMPLE_ROWS).count(first.sample.column(name)).counts
                best = sorted(frequent, key=lambda value: (-frequent[value], value))[:max_categories]
                again[name] = CategoricalPlan(pinned=frozenset(best))
        if again:
            second = None if progress is None else (lambda done, total: progress(total + done, 2 * total))
            tally = _read(source, lambda: _Tally(pool, again, source.description), second)
            counts |= tally.total().columns
            plans |= again
            unmeasurable |= tally.unmeasurable
    names = [name for name in first.schema.names if name in counts]
    return ReferenceState(
        description=source.description,
        format=source.format,
        rows=first.rows,
        bins=bins,
        max_categories=max_categories,
        seed=seed,
        types={column.name: str(column.type) for column in first.schema},
        families={name: first.families[name] for name in names},
        unmeasurable=first.unmeasurable | unmeasurable,
        plans={name: plans[name] for name in names},
        counts={name: counts[name] for name in names},
        notes=tuple(source.notes),
    )


def comparable(one: Family, other: Family) -> bool:
    """Say whether two columns' values can share cells: numbers with numbers, otherwise like with like."""
    numeric = {"integer", "real"}
    return one == other or "null" in (one, other) or {one, other} <= numeric


def current_plan(state: ReferenceState, name: str, current: Family) -> ColumnPlan:
    """Return the cells that the current side's column is counted in.

    They are the reference's, with two additions: a text column's known values all keep their counts, however many
    new ones come; and a reference of nulls alone takes its kind from the current side.
    """
    plan, known = state.plans[name], state.counts[name]
    if state.families[name] == "null" and current not in CATEGORICAL:
        return numeric_plan(numbers(pa.nulls(0)), "float64", current, state.bins)
    if isinstance(plan, CategoricalPlan) and isinstance(known, ValueCounts):
        return CategoricalPlan(pinned=frozenset(known.counts), capacity=plan.capacity)
    return plan


def tally(
    source: TableSource,
    plans_for: Callable[[pa.Schema], Mapping[str, ColumnPlan]],
    progress: Progress | None = None,
) -> tuple[TableCounts, dict[str, str]]:
    """Count a side in given cells, in one pass; ``plans_for(schema)`` is asked again if the types widen.

    Returns
    -------
    counts, unmeasurable
        The counts, and why the columns that they lack cannot be counted.
    """
    with ThreadPoolExecutor(_WORKERS) as pool:
        start = partial(lambda: _Tally(pool, plans_for(source.schema), source.description))
        counting = _read(source, start, progress)
        return counting.total(), counting.unmeasurable
