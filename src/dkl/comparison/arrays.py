"""Arrays of distributions, row by row: each row's divergences exactly, then their summary."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dkl.comparison.array_result import ArrayComparison, RowSummary
from dkl.comparison.columns import compare_column
from dkl.comparison.errors import DataError
from dkl.comparison.quantities import Quantity, short
from dkl.comparison.result import ColumnComparison, Settings
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
_WORST = 5

_MEASURES: dict[Quantity, tuple[Divergence, str]] = {
    "js": (js, "nats"),
    "kl_reference_current": (kl, "nats"),
    "kl_current_reference": (reverse_kl, "nats"),
    "tv": (tv, "share of mass"),
}


def compare_arrays(
    reference: ArraySource, current: ArraySource, settings: Settings, progress: Any = None
) -> tuple[list[ArrayComparison], list[ColumnComparison]]:
    """Compare the arrays that both sides name, and say which they do not share.

    Returns
    -------
    arrays, columns
        A row-by-row comparison of each array; and for arrays of counts the significance of each of their first
        rows, as categorical columns whose values are the outcomes' numbers.
    """
    if len(reference.arrays) == 1 and len(current.arrays) == 1:  # one against one: their names do not matter
        pairs = [(*reference.arrays, *current.arrays)]
    else:
        pairs = [(name, name) for name in reference.arrays if name in current.arrays]
    if not pairs:
        raise DataError(
            f"{reference.description} and {current.description} have no array in common: "
            f"{', '.join(reference.arrays)} against {', '.join(current.arrays)}"
        )
    arrays: list[ArrayComparison] = []
    columns: list[ColumnComparison] = []
    for done, (left, right) in enumerate(pairs):
        arrays.append(_compare_one(left, reference, current, right))
        if arrays[-1].reference_representation == "counts" == arrays[-1].current_representation:
            tested, notes = _tested_rows(left, reference.load(left), current.load(right), settings)
            columns += tested
            arrays[-1] = replace(arrays[-1], notes=(*arrays[-1].notes, *notes))
        if progress is not None:
            progress(done + 1, len(pairs))
    shared_left, shared_right = {left for left, _ in pairs}, {right for _, right in pairs}
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


def _compare_one(name: str, reference: ArraySource, current: ArraySource, other: str) -> ArrayComparison:
    p, q = reference.load(name), current.load(other)
    kinds = _kind(p), _kind(q)
    x, y = np.asarray(p.array), np.asarray(q.array)
    if x.shape != y.shape:
        raise DataError(
            f"array {name!r}: {reference.description} has shape {x.shape} and {current.description} {y.shape}; "
            "both must list the same rows and outcomes (compare samples with Samples or --as samples)"
        )
    if x.ndim == 0 or x.size == 0:
        raise DataError(f"array {name!r}: shape {x.shape} holds no distribution; the last axis lists the outcomes")
    values: dict[Quantity, list[npt.NDArray[np.float64]]] = {key: [] for key in _MEASURES}
    for start, block_p, block_q in _blocks(p, q, x, y):
        for side, source in ((block_p, reference), (block_q, current)):
            _check(side, _place(source, name if source is reference else other), start, x.shape[:-1])
        for key, (divergence, _) in _MEASURES.items():
            values[key].append(np.atleast_1d(np.asarray(divergence(block_p, block_q), dtype=np.float64)))
    shape = x.shape[:-1]
    found = {key: _summary(key, np.concatenate(parts), shape) for key, parts in values.items()}
    rows = int(np.prod(shape))
    mean = found["js"]
    sentence = (
        f"{rows:,} {'row' if rows == 1 else 'rows'} of {x.shape[-1]:,} outcomes: "
        f"JS {short(mean.mean)} nats on average, {short(mean.maximum)} at most"
    )
    return ArrayComparison(
        name,
        "measured",
        sentence,
        kinds[0],
        kinds[1],
        x.shape,
        js=found["js"],
        kl_reference_current=found["kl_reference_current"],
        kl_current_reference=found["kl_current_reference"],
        tv=found["tv"],
    )


def _kind(side: FiniteOutcomes) -> str:
    return next(name for name, kind in REPRESENTATIONS.items() if isinstance(side, kind))


def _blocks(
    p: FiniteOutcomes, q: FiniteOutcomes, x: npt.NDArray[Any], y: npt.NDArray[Any]
) -> Iterator[tuple[int, FiniteOutcomes, FiniteOutcomes]]:
    """Yield runs of rows, so that a memory-mapped file larger than memory passes through it piece by piece."""
    outcomes = x.shape[-1]
    x, y = x.reshape(-1, outcomes), y.reshape(-1, outcomes)
    step = max(1, _BLOCK_ENTRIES // outcomes)
    for start in range(0, len(x), step):
        yield start, _with(p, x[start : start + step]), _with(q, y[start : start + step])


def _with(side: FiniteOutcomes, block: npt.NDArray[Any]) -> FiniteOutcomes:
    if isinstance(side, Probs):
        return Probs(np.ascontiguousarray(block), normalize=side.normalize)
    return type(side)(np.ascontiguousarray(block))


def _check(side: FiniteOutcomes, where: str, start: int, shape: tuple[int, ...]) -> None:
    """Let a side's own checks speak, of the file by its name and of the row by its place in the whole array."""

    def whole(index: re.Match[str]) -> str:
        row, *outcome = map(int, index[1].split(", "))
        leading = [int(i) for i in np.unravel_index(start + row, shape)] if shape else []
        return f"entry [{', '.join(map(str, [*leading, *outcome]))}]"

    try:
        tv(side, side)
    except (ValueError, TypeError) as error:
        message = re.sub(r"\b[pq]\[([\d, ]+)\]", whole, one_line(error))
        hint = "" if "Samples" in message else "; observations instead of distributions need Samples or --as samples"
        raise DataError(f"{where}: {message}{hint}") from None


def _place(source: ArraySource, name: str) -> str:
    return source.description if name == "array" else f"{source.description}, array {name!r}"


def _summary(key: Quantity, values: npt.NDArray[np.float64], shape: tuple[int, ...]) -> RowSummary:
    finite = values[np.isfinite(values)]
    worst = np.argsort(-values, kind="stable")[:_WORST]
    with np.errstate(invalid="ignore"):
        mean = float(values.mean())
    ordered = np.quantile(values, [0.5, 0.95], method="inverted_cdf")
    return RowSummary(
        key,
        _MEASURES[key][1],
        mean,
        float(ordered[0]),
        float(ordered[1]),
        float(values.max()),
        float(finite.mean()) if len(finite) else None,
        len(values) - len(finite),
        tuple((tuple(int(i) for i in np.unravel_index(row, shape)), float(values[row])) for row in worst if shape)
        or (((), float(values[0])),),
    )


def _tested_rows(
    name: str, p: FiniteOutcomes, q: FiniteOutcomes, settings: Settings
) -> tuple[list[ColumnComparison], list[str]]:
    x, y = np.asarray(p.array), np.asarray(q.array)
    shape = x.shape[:-1]
    x, y = x.reshape(-1, x.shape[-1])[:MOST_TESTED_ROWS], y.reshape(-1, y.shape[-1])[:MOST_TESTED_ROWS]
    if not (_whole(x) and _whole(y)):
        return [], []
    columns: list[ColumnComparison] = []
    large = 0
    plan = CategoricalPlan()
    for row in range(len(x)):
        place = ", ".join(map(str, (int(i) for i in np.unravel_index(row, shape)))) if shape else ""
        title = f"{name}[{place}]" if place else name
        before, after = _counted(x[row]), _counted(y[row])
        if max(before.rows, after.rows) > MOST_TESTED_TOTAL:
            large += 1
        else:
            columns.append(compare_column(title, ("counts", "counts"), plan, before, after, settings))
    rows = "1 row holds" if large == 1 else f"{large} rows hold"
    notes = [f"{rows} more than 2^53 counts: compared, but not tested"] if large else []
    return columns, notes


def _counted(row: npt.NDArray[Any]) -> ValueCounts:
    return ValueCounts({str(outcome): int(count) for outcome, count in enumerate(row.tolist()) if count})


def _whole(counts: npt.NDArray[Any]) -> bool:
    """Say whether these are counts of rows rather than weights, so that sampling theory speaks of them."""
    return counts.dtype.kind in "iub" or bool(np.all(counts == np.floor(counts)))
