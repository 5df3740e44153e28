"""`compare` and `save_reference`: both sides opened, counted, measured, and judged together."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from dkl.comparison.arrays import MOST_TESTED_ROWS, compare_arrays
from dkl.comparison.columns import compare_column, conclude
from dkl.comparison.errors import ColumnError, DataError
from dkl.comparison.inference import adjust
from dkl.comparison.opening import open_side
from dkl.comparison.quantities import ColumnStatus
from dkl.comparison.reference import write_reference
from dkl.comparison.result import ColumnComparison, Comparison, Settings, Side, Verdict
from dkl.comparison.scan import (
    Progress,
    ReferenceState,
    comparable,
    current_plan,
    families_of,
    survey,
    tally,
)
from dkl.comparison.sources import ArraySource, TableSource, temporary_directory
from dkl.comparison.text import TextSource
from dkl.comparison.writing import check_target
from dkl.methods.tables import ColumnCounts, ColumnPlan, NumericCounts, NumericPlan, TableCounts

_WORKERS = 2
_MOST_RESAMPLES = 1_000_000
_DEFAULTS = Settings()


def compare(
    reference: Any,
    current: Any,
    *,
    bins: int = _DEFAULTS.bins,
    max_categories: int = _DEFAULTS.max_categories,
    columns: Sequence[str] | str | None = None,
    resamples: int = _DEFAULTS.resamples,
    seed: int = _DEFAULTS.seed,
    level: float = _DEFAULTS.level,
    alpha: float = _DEFAULTS.alpha,
    ignore_below: float = _DEFAULTS.ignore_below,
    as_: str | None = None,
    format: str | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Measure how far current data have moved from a reference, column by column.

    Parameters
    ----------
    reference, current
        Tables or arrays. Tables: a path to CSV, Parquet, Feather or Arrow IPC, or JSON lines (text also gzipped);
        "-" for standard input; pandas, Polars, pyarrow, anything with an Arrow C stream; a dict of columns; for the
        reference also a file that `save_reference` wrote. Arrays, outcomes along the last axis and compared row by
        row: NumPy arrays of probabilities, `dkl.Probs`, `LogProbs`, `Logits` or `Counts`, .npy, .npz and
        .safetensors. `dkl.Samples` is a table of observations.
    bins
        Equal-frequency bins of a numeric column, cut by the reference; heavy ties and missing values come on top.
    max_categories
        Categories that keep a cell of their own, by their rows on both sides together; the rarer ones share the cell
        OTHER, or UNSEEN if the reference lacks them.
    columns
        The columns, or arrays, to compare, or the one; all by default.
    resamples
        Bootstrap resamples for the intervals, and permuted tables where the test needs them.
    seed
        Seed of the random draws; equal data, settings and seed give equal answers.
    level
        Level of the intervals, between 0 and 1.
    alpha
        A p-value below it, adjusted for the number of columns, is called a difference.
    ignore_below
        JS in nats below which a difference does not matter.
    as_
        What the numbers of a raw array are: "probs", "log-probs", "logits", "counts" or "samples".
    format
        Format of files whose name does not say it.
    progress
        Called as ``progress(done, total)`` while each side is read.

    Returns
    -------
    Comparison
        One entry a column; columns that cannot be compared say why.

    Raises
    ------
    DataError
        If a side cannot be read or nothing can be compared; a ValueError. For `columns` that are not there, its
        subclass ColumnError.

    Notes
    -----
    Tables stream through in batches, so their size is not limited by memory: a reference is read twice, and the
    current side once.

    Examples
    --------
    >>> import dkl
    >>> found = dkl.compare({"sky": ["blue"] * 90 + ["grey"] * 10}, {"sky": ["blue"] * 40 + ["grey"] * 60})
    >>> found["sky"].verdict.word, round(found["sky"].tv.value, 3)
    ('different', 0.5)
    >>> [(cell.label, cell.reference, cell.current) for cell in found["sky"].cells]
    [('blue', 90, 40), ('grey', 10, 60)]
    """
    settings = _checked(
        bins=bins,
        max_categories=max_categories,
        resamples=resamples,
        seed=seed,
        level=level,
        alpha=alpha,
        ignore_below=ignore_below,
    )
    columns = (columns,) if isinstance(columns, str) else columns
    with temporary_directory() as directory:
        if _is_standard_input(reference) and _is_standard_input(current):
            raise DataError("standard input can be only one side: give the other as a file")
        left = open_side(reference, "reference", Path(directory), as_, format)
        right = open_side(current, "current", Path(directory), as_, format)
        if isinstance(right, ReferenceState):
            raise DataError(f"{right.description}: a saved reference can only stand on the reference's side")
        if isinstance(left, ArraySource) != isinstance(right, ArraySource):
            raise DataError(
                f"{left.description} and {right.description}: one is a table and the other an array; "
                "observations in an array need Samples or --as samples"
            )
        if isinstance(left, ArraySource) and isinstance(right, ArraySource):
            if columns is not None:
                _check_columns(columns, [*left.arrays, *right.arrays], "on neither side", "array")
                left, right = left.only(columns), right.only(columns)
            return _compare_arrays(left, right, settings, progress)
        assert not isinstance(left, ArraySource)  # ruled out by the two tests above
        assert not isinstance(right, ArraySource)
        return _compare_tables(left, right, columns, settings, progress)


def save_reference(
    reference: Any,
    path: str | os.PathLike[str],
    *,
    bins: int = _DEFAULTS.bins,
    max_categories: int = _DEFAULTS.max_categories,
    columns: Sequence[str] | str | None = None,
    seed: int = _DEFAULTS.seed,
    as_: str | None = None,
    format: str | None = None,
    progress: Progress | None = None,
) -> ReferenceState:
    """Count a reference and save its cells and counts as JSON, to be compared with later.

    ``compare(path, current)`` then gives the answer that ``compare(reference, current)`` gives. The file holds counts,
    edges and the category names, and no rows. It is written whole or not at all.

    Parameters
    ----------
    reference
        A table; see `compare`.
    path
        Where to write.
    bins, max_categories, columns, seed, as_, format, progress
        See `compare`.

    Returns
    -------
    ReferenceState
        The state, which `compare` also takes in the place of a reference.

    Raises
    ------
    DataError
        If the reference cannot be read, or the file not written: it may not be the reference itself.
    """
    settings = _checked(bins=bins, max_categories=max_categories, seed=seed)
    columns = (columns,) if isinstance(columns, str) else columns
    check_target(path, [reference])
    with temporary_directory() as directory:
        source = open_side(reference, "reference", Path(directory), as_, format)
        if isinstance(source, ArraySource):
            raise DataError(
                f"{source.description}: arrays of distributions are their own summary; save them as they are"
            )
        if columns is not None:
            known = list(source.types) if isinstance(source, ReferenceState) else source.schema.names
            _check_columns(columns, known, f"not in {source.description}")
        state = _reference_state(source, columns, settings, progress)
    write_reference(state, path)
    return state


def _is_standard_input(data: Any) -> bool:
    return isinstance(data, str) and data == "-"


def _checked(**given: Any) -> Settings:
    """Return the settings as Python's own numbers, each in its range."""
    whole = ("bins", "max_categories", "resamples", "seed")
    settings = Settings(**{name: _number(name, value, whole=name in whole) for name, value in given.items()})
    wrong = [
        (settings.bins < 2, f"bins = {settings.bins}: at least 2 are needed"),
        (settings.max_categories < 1, f"max_categories = {settings.max_categories}: at least 1 is needed"),
        (settings.resamples < 100, f"resamples = {settings.resamples}: an interval needs at least 100"),
        (
            settings.resamples > _MOST_RESAMPLES,
            f"resamples = {settings.resamples}: at most {_MOST_RESAMPLES:,} are drawn",
        ),
        (settings.seed < 0, f"seed = {settings.seed}: give a whole number of at least 0"),
        (not 0 < settings.level < 1, f"level = {settings.level}: give a probability such as 0.95"),
        (not 0 < settings.alpha < 1, f"alpha = {settings.alpha}: give a probability such as 0.01"),
        (
            not 0 <= settings.ignore_below < math.inf,
            f"ignore_below = {settings.ignore_below}: give nats of JS, at least 0 and finite",
        ),
    ]
    for is_wrong, message in wrong:
        if is_wrong:
            raise ValueError(message)
    return settings


def _number(name: str, value: Any, *, whole: bool) -> Any:
    noun = "a whole number" if whole else "a number"
    wrong = TypeError(f"{name} is {value!r}, a {type(value).__name__}: give {noun}")
    if isinstance(value, str | bytes):
        raise wrong
    try:
        return operator.index(value) if whole else float(value)
    except TypeError:
        raise wrong from None


def _compare_arrays(left: ArraySource, right: ArraySource, settings: Settings, progress: Progress | None) -> Comparison:
    arrays, tested = compare_arrays(left, right, settings, progress)
    rows = sum(_rows(array.shape) for array in arrays if array.shape is not None)
    counts = [array for array in arrays if array.reference_representation == array.current_representation == "counts"]
    notes: list[str] = []
    if any(_rows(array.shape) > MOST_TESTED_ROWS for array in counts if array.shape is not None):
        notes.append(f"of the rows of counts, the first {MOST_TESTED_ROWS} of each array are tested one by one")
    return Comparison(
        reference=Side(left.description, left.format, rows),
        current=Side(right.description, right.format, rows),
        settings=settings,
        columns=_judged(tested, settings),
        arrays=tuple(arrays),
        notes=tuple(notes),
    )


def _rows(shape: tuple[int, ...]) -> int:
    rows = 1
    for length in shape[:-1]:
        rows *= length
    return rows


def _reference_state(
    source: TableSource | ReferenceState, columns: Sequence[str] | None, settings: Settings, progress: Progress | None
) -> ReferenceState:
    if isinstance(source, ReferenceState):
        for name in ("bins", "max_categories"):
            saved, wanted = getattr(source, name), getattr(settings, name)
            if wanted not in (saved, getattr(_DEFAULTS, name)):
                raise DataError(
                    f"the saved reference of {source.description} has {name} = {saved}, which cannot become {wanted} "
                    "without its rows: save it anew"
                )
        return source
    state = survey(
        source,
        columns,
        bins=settings.bins,
        max_categories=settings.max_categories,
        seed=settings.seed,
        progress=progress,
    )
    if state.rows == 0:
        raise DataError(f"{source.description}: has columns but no rows")
    return state


def _compare_tables(
    left: TableSource | ReferenceState,
    right: TableSource,
    columns: Sequence[str] | None,
    settings: Settings,
    progress: Progress | None,
) -> Comparison:
    names = list(left.types if isinstance(left, ReferenceState) else left.schema.names)
    others = right.schema.names
    if columns is not None:
        _check_columns(columns, [*names, *others], "on neither side")
        if not set(columns) & set(names) & set(others):
            raise ColumnError(
                f"{left.description} and {right.description} have none of the named columns in common: {_some(columns)}"
            )
    if not set(names) & set(others):
        raise DataError(
            f"{left.description} and {right.description} have no column in common: "
            f"{_some(names)} against {_some(others)}"
        )
    state = _reference_state(left, columns, settings, progress)
    settings = replace(settings, bins=state.bins, max_categories=state.max_categories)
    only = None if columns is None else frozenset(columns)
    _read_as_the_reference(right, state)
    counted, beyond = tally(
        right, lambda schema: _plans(state, schema, only) | _watched(right, state, schema, only), progress
    )
    if counted.rows == 0:
        raise DataError(f"{right.description}: has columns but no rows")
    found = _columns(state, right.schema, counted, beyond, only, settings)
    notes = [f"reference: {note}" for note in state.notes] + [f"current: {note}" for note in right.notes]
    return Comparison(
        reference=Side(state.description, state.format, state.rows),
        current=Side(right.description, right.format, counted.rows),
        settings=settings,
        columns=found,
        notes=tuple(notes),
    )


def _check_columns(columns: Sequence[str], known: Sequence[str], where: str, noun: str = "column") -> None:
    for name in columns:
        if name not in known:
            raise ColumnError(f"{noun} {name!r} is {where}; there are: {', '.join(dict.fromkeys(known))}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _read_as_the_reference(source: TableSource, state: ReferenceState) -> None:
    """Where types were guessed from text, take as text what is text in the reference: a date, or a truth value."""
    if not isinstance(source, TextSource):
        return
    families, _ = families_of(source.schema)
    guessed = [
        name
        for name, kind in families.items()
        if state.families.get(name) == "text" and kind in ("temporal", "time", "boolean")
    ]
    source.read_as_text(guessed)


def _plans(state: ReferenceState, schema: pa.Schema, only: frozenset[str] | None) -> dict[str, ColumnPlan]:
    """Return the plans of the wanted columns that both sides have and that can share cells."""
    families, _ = families_of(schema)
    return {
        name: current_plan(state, name, kind)
        for name, kind in families.items()
        if (only is None or name in only) and name in state.families and comparable(state.families[name], kind)
    }


def _watched(
    source: TableSource, state: ReferenceState, schema: pa.Schema, only: frozenset[str] | None
) -> dict[str, ColumnPlan]:
    """Return plans that only keep reading columns that are text in the reference and looked like numbers here.

    A word further down in a text file makes them text as well; if none comes, the types do differ.
    """
    if not isinstance(source, TextSource):
        return {}
    families, _ = families_of(schema)
    return {
        name: NumericPlan("float64", (), (), ())
        for name, kind in families.items()
        if (only is None or name in only) and state.families.get(name) == "text" and not comparable("text", kind)
    }


def _columns(
    state: ReferenceState,
    schema: pa.Schema,
    counted: TableCounts,
    beyond: Mapping[str, str],
    only: frozenset[str] | None,
    settings: Settings,
) -> tuple[ColumnComparison, ...]:
    plans = _plans(state, schema, only)
    types = {field.name: str(field.type) for field in schema}
    families, unmeasurable = families_of(schema)
    unmeasurable |= beyond

    def one(name: str) -> ColumnComparison:
        here, there = state.types.get(name), types.get(name)
        if here is None or there is None:
            status: ColumnStatus = "only_in_reference" if there is None else "only_in_current"
            side = "the reference" if there is None else "the current data"
            return _unmeasured(name, status, here, there, f"only in {side}")
        if name in state.unmeasurable or name in unmeasurable:
            reason = state.unmeasurable.get(name) or unmeasurable[name]
            return _unmeasured(name, "not_measurable", here, there, f"cannot be measured: {reason}")
        if name not in plans:
            reason = (
                f"the types differ: {state.families[name]} ({here}) in the reference and {families[name]} ({there}) "
                "in the current data; convert one of them"
            )
            return _unmeasured(name, "type_mismatch", here, there, reason)
        before = _of_one_kind(plans[name], state.counts[name])
        return compare_column(name, (here, there), plans[name], before, counted.columns[name], settings)

    names = [*state.types, *(name for name in schema.names if name not in state.types)]
    names = [name for name in names if only is None or name in only]
    with ThreadPoolExecutor(_WORKERS) as pool:  # the draws run outside Python's lock
        return _judged(list(pool.map(one, names)), settings)


def _of_one_kind(plan: ColumnPlan, reference: ColumnCounts) -> ColumnCounts:
    """Give a reference of nulls alone the kind of counts that the current side's plan makes."""
    if isinstance(plan, NumericPlan) and not isinstance(reference, NumericCounts):
        return replace(plan.zero(), null=reference.null)
    return reference


def _unmeasured(name: str, status: ColumnStatus, here: str | None, there: str | None, why: str) -> ColumnComparison:
    return ColumnComparison(name, status, None, here, there, Verdict("not_measured", why))


def _judged(columns: Sequence[ColumnComparison], settings: Settings) -> tuple[ColumnComparison, ...]:
    """Adjust the p-values over the measured columns and draw each verdict."""
    tests = {column.name: column.test.p_value for column in columns if column.test is not None}
    adjusted: Mapping[str, float] = dict(zip(tests, adjust(list(tests.values())), strict=True))
    return tuple(
        conclude(column, adjusted[column.name], settings) if column.name in adjusted else column for column in columns
    )
