"""One column's comparison, from both sides' counts to the verdict."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from dkl.comparison import inference
from dkl.comparison.planning import SAMPLE_ROWS
from dkl.comparison.quantities import OWN_UNIT, Quantity, short
from dkl.comparison.result import Cell, CellKind, ColumnComparison, Measured, Settings, Test, Verdict
from dkl.divergences import js, kl, tv
from dkl.methods.tables import ColumnCounts, ColumnPlan, Family, Number, NumericCounts, NumericPlan, ValueCounts
from dkl.representations import Counts
from dkl.smoothing import smooth

PSEUDO_COUNT = 0.5
"""Added to each cell of both sides for the smoothed value beside an infinite KL (Jeffreys' prior)."""

_WIDEST = 2.0**1000
"""Span of a column up to which distances of many resamples can be added without leaving the floating range."""

_NAMED = 5
"""Cells that a reason names before it says "and n more"."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """A cell before it has shares: its name, its place, both sides' rows, and `spacings` as in the test."""

    label: str
    kind: CellKind
    lower: float | None
    upper: float | None
    reference: int
    current: int
    spacings: int = 0


@dataclass(frozen=True, slots=True)
class _Fine:
    """The finer cells under a numeric column's slots, for the Wasserstein distance and its chance level.

    ``reference`` and ``current`` count the fine cells of the line, then the missing values; ``starts`` says where each
    coarse cell begins among them; ``points`` and ``widths`` place the cells of the line; no points where its length
    is near the largest float.
    """

    reference: npt.NDArray[np.int64]
    current: npt.NDArray[np.int64]
    starts: npt.NDArray[np.intp]
    points: npt.NDArray[np.float64] | None
    widths: npt.NDArray[np.float64]
    unit: str


def compare_column(
    name: str,
    types: tuple[str, str],
    plan: ColumnPlan,
    reference: ColumnCounts,
    current: ColumnCounts,
    settings: Settings,
) -> ColumnComparison:
    """Compare one column from its counts.

    Parameters
    ----------
    name
        The column's name; with the seed it seeds the random draws, so that columns do not depend on one another.
    types
        The Arrow types of both sides.
    plan
        The cells that the current side was counted in.
    reference, current
        Both sides' counts.
    settings
        What the comparison runs with.

    Notes
    -----
    The test's p-value is not adjusted for other columns yet and the verdict is drawn from it as it is;
    `conclude` does both once all columns are known.
    """
    if isinstance(plan, NumericPlan) and isinstance(reference, NumericCounts) and isinstance(current, NumericCounts):
        fine = _fine_cells(plan, reference, current)
        slots, notes = _numeric_slots(plan, fine, reference, current), []
        kind: Literal["numeric", "temporal", "categorical"] = (
            "numeric" if plan.family in ("integer", "real") else "temporal"
        )
        if fine.points is None:
            notes.append("its values are too large to be added up, so there is no Wasserstein distance")
        if {"double", "float", "halffloat"} & set(types) and any("int" in one for one in types):
            notes.append(
                f"{types[0]} in the reference and {types[1]} in the current data: compared as double precision"
            )
        if any(one.startswith("decimal") for one in types):
            notes.append("decimals are compared as double precision")
    elif isinstance(reference, ValueCounts) and isinstance(current, ValueCounts):
        fine = None
        slots, notes = _categorical_slots(reference, current, settings.max_categories)
        kind = "categorical"
    else:  # the caller decides by the families; reaching this is a defect in it
        raise TypeError(f"column {name!r}: the plan and the counts are of different kinds")
    for side, counts in (("reference", reference), ("current data", current)):
        if counts.null == counts.rows:
            notes.append(f"every value is null in the {side}")
    rng = np.random.default_rng([settings.seed, zlib.crc32(name.encode())])
    measured = _measure(slots, fine, settings, rng)
    overflow = any(isinstance(side, ValueCounts) and side.overflow > 0 for side in (reference, current))
    tested = _tested(slots, settings, overflow=overflow)
    before, after, spacings = (
        np.array([getattr(slot, name) for slot in tested]) for name in ("reference", "current", "spacings")
    )
    found = inference.significance(before, after, settings.resamples, rng, spacings)
    test = Test(found.statistic, found.degrees, found.p_value, found.p_value, found.method, found.permutations)
    column = ColumnComparison(
        name=name,
        status="measured",
        kind=kind,
        reference_type=types[0],
        current_type=types[1],
        verdict=Verdict("cannot_tell", ""),
        rows_reference=reference.rows,
        rows_current=current.rows,
        cells=_cells(slots),
        test=test,
        notes=tuple(notes),
        js=measured["js"],
        kl_reference_current=measured["kl_reference_current"],
        kl_current_reference=measured["kl_current_reference"],
        tv=measured["tv"],
        wasserstein=measured.get("wasserstein"),
    )
    return conclude(column, found.p_value, settings)


def conclude(column: ColumnComparison, p_adjusted: float, settings: Settings) -> ColumnComparison:
    """Return the column with its adjusted p-value and the verdict that follows."""
    assert column.test is not None  # of measured columns only
    assert column.js is not None
    assert column.js.interval is not None  # JS is never infinite
    low, high = column.js.interval
    ignore = settings.ignore_below
    chance = f"= {p_adjusted:.2g}" if p_adjusted > 0 else f"< {np.finfo(np.float64).tiny:.0e}"
    where = (
        f"JS {short(column.js.value)} nats, {100 * settings.level:.4g} % interval [{short(low)}, {short(high)}], "
        f"adjusted p {chance}"
    )
    if column.test.method == "one value only" and len(column.cells) == 1:
        verdict = Verdict("no_difference_found", "no difference: both sides hold one and the same value only")
    elif column.test.method == "one value only":
        verdict = Verdict("no_difference_found", f"no difference found: every value is too rare to be tested ({where})")
    elif p_adjusted >= settings.alpha:
        verdict = Verdict("no_difference_found", f"no difference found ({where})")
    elif high < ignore:
        verdict = Verdict("below_threshold", f"different, but by less than {short(ignore)} nats ({where})")
    elif low >= ignore:
        verdict = Verdict("different", f"different ({where})")
    else:
        verdict = Verdict(
            "cannot_tell",
            f"different, but whether by more than {short(ignore)} nats cannot be told from so few rows ({where})",
        )
    return replace(column, test=replace(column.test, p_adjusted=p_adjusted), verdict=verdict)


def _cells(slots: Sequence[_Slot]) -> tuple[Cell, ...]:
    before = np.array([slot.reference for slot in slots], dtype=np.float64)
    after = np.array([slot.current for slot in slots], dtype=np.float64)
    p, q = before / before.sum(), after / after.sum()
    terms = np.asarray(js.pointwise(Counts(before), Counts(after)))
    signed = np.where(q > p, terms, -terms)
    return tuple(
        Cell(
            slot.label,
            slot.kind,
            slot.lower,
            slot.upper,
            slot.reference,
            slot.current,
            float(p[index]),
            float(q[index]),
            float(signed[index]) + 0.0,  # no negative zero
        )
        for index, slot in enumerate(slots)
    )


def _measure(
    slots: Sequence[_Slot], fine: _Fine | None, settings: Settings, rng: np.random.Generator
) -> dict[str, Measured]:
    before = np.array([slot.reference for slot in slots])
    after = np.array([slot.current for slot in slots])
    if fine is None:
        drawn = inference.resample_count(len(slots), settings.resamples)
        chance = inference.draw_without_difference(before, after, drawn, rng)
    else:
        drawn = inference.resample_count(int(np.count_nonzero(fine.reference + fine.current)), settings.resamples)
        chance = inference.draw_without_difference(
            fine.reference, fine.current, drawn, rng, starts=fine.starts, points=fine.points
        )
    bias = inference.bias_without_difference(before, after)
    found = {
        "js": _js(before, after, bias / 4, chance.js, settings, rng),
        "kl_reference_current": _kl("kl_reference_current", slots, before, after, bias, settings),
        "kl_current_reference": _kl("kl_current_reference", slots, after, before, bias, settings),
        "tv": _distance(
            "tv",
            "share of rows",
            float(tv(Counts(before), Counts(after))),
            chance.tv,
            inference.tv_deviation(before, after),
            settings,
        ),
    }
    if fine is not None and fine.points is not None and chance.wasserstein is not None:
        value = _wasserstein(fine)
        if value is not None:
            distance, resolution = value
            line = len(fine.points)
            deviation = inference.wasserstein_deviation(fine.reference[:line], fine.current[:line], fine.points)
            moved = _distance("wasserstein", fine.unit, distance, chance.wasserstein, deviation, settings)
            found["wasserstein"] = replace(moved, resolution=resolution)
    return found


_Counts: TypeAlias = npt.NDArray[np.int64]


def _js(
    before: _Counts,
    after: _Counts,
    bias: float,
    chance: npt.NDArray[np.float64],
    settings: Settings,
    rng: np.random.Generator,
) -> Measured:
    value, bound = float(js(Counts(before), Counts(after))), js.upper_bound
    interval = inference.divergence_interval(
        value, inference.js_noise(before, after, chance, rng), settings.level, bound
    )
    return Measured("js", "nats", value, bias, value - bias, interval, bound)


def _kl(
    key: Quantity,
    slots: Sequence[_Slot],
    rows: _Counts,
    predicted_by: _Counts,
    bias: float,
    settings: Settings,
) -> Measured:
    value = float(kl(Counts(rows), Counts(predicted_by)))
    if math.isfinite(value):
        interval = inference.divergence_interval(
            value, inference.kl_noise(rows, predicted_by), settings.level, math.inf
        )
        return Measured(key, "nats", value, bias, value - bias, interval)
    smoothed = float(kl(smooth(Counts(rows), PSEUDO_COUNT), smooth(Counts(predicted_by), PSEUDO_COUNT)))
    how = f"pseudo-count 1/2 added to each of the {len(slots)} cells on both sides"
    reason = _reason(slots, "current" if key == "kl_reference_current" else "reference")
    return Measured(key, "nats", value, reason=reason, smoothed=smoothed, smoothing=how)


def _distance(
    key: Quantity,
    unit: str,
    value: float,
    chance: npt.NDArray[np.float64],
    deviation: float,
    settings: Settings,
) -> Measured:
    bound = 1.0 if key == "tv" else math.inf
    known = chance[~np.isnan(chance)]
    bias = float(known.mean()) if len(known) else 0.0
    interval = inference.distance_interval(value, chance, deviation, settings.level, bound)
    return Measured(key, unit, value, bias, value - bias, interval, bound)


def _reason(slots: Sequence[_Slot], lacking: Literal["reference", "current"]) -> str:
    """Name the cells that one side lacks, and the share of the other side's rows that they carry."""
    other: Literal["reference", "current"] = "current" if lacking == "reference" else "reference"
    missing = [slot for slot in slots if getattr(slot, lacking) == 0 and getattr(slot, other) > 0]
    missing.sort(key=lambda slot: -int(getattr(slot, other)))
    share = 100 * sum(getattr(slot, other) for slot in missing) / sum(getattr(slot, other) for slot in slots)
    names = ", ".join(slot.label for slot in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    sides = {"reference": "the reference", "current": "the current data"}
    cells = "1 cell that holds" if len(missing) == 1 else f"{len(missing)} cells that hold"
    return f"{sides[lacking]} has no row in {cells} {share:.3g} % of {sides[other]}: {names}{more}"


# Categorical columns


def _categorical_slots(
    reference: ValueCounts, current: ValueCounts, max_categories: int
) -> tuple[list[_Slot], list[str]]:
    """List the frequent values, OTHER, the further values that only the current side has, and null.

    Frequent is what both sides together hold most of. Ranked by the reference alone, the values that chance favoured
    there would come out on top, and two halves of one table would differ.
    """
    notes: list[str] = []
    pooled = dict(reference.counts)
    for value, count in current.counts.items():
        if value in pooled or not reference.overflow:
            pooled[value] = pooled.get(value, 0) + count
    ranked = sorted(pooled, key=lambda value: (-pooled[value], value))
    overflow = bool(reference.overflow or current.overflow)
    keep = max_categories if len(ranked) > max_categories + 1 or overflow else len(ranked)
    frequent = [(reference.counts.get(value, 0), current.counts.get(value, 0), value) for value in ranked[:keep]]
    frequent.sort(key=lambda row: (-row[0], -row[1], row[2]))
    slots = [_Slot(value if value.strip() else repr(value), "value", None, None, *rows) for *rows, value in frequent]
    rare = [value for value in ranked[keep:] if value in reference.counts]
    new = [value for value in ranked[keep:] if value not in reference.counts]
    other = [sum(side.counts.get(value, 0) for value in rare) for side in (reference, current)]
    unseen = sum(current.counts[value] for value in new)
    if reference.overflow:
        # Which values the reference lacks cannot be known, for it had too many to remember.
        other = [
            side.rows - side.null - sum(getattr(slot, name) for slot in slots)
            for side, name in ((reference, "reference"), (current, "current"))
        ]
        notes.append(
            f"the reference has more than {len(reference.counts):,} distinct values, so values that are new in the "
            "current data cannot be told from its rare ones; both are in OTHER"
        )
    else:
        unseen += current.overflow
        if rare:
            share = 100 * other[0] / reference.rows
            notes.append(
                f"OTHER holds {len(rare):,} of the reference's values, the rarest, in {share:.3g} % of its rows"
            )
    if any(other):
        slots.append(_Slot("OTHER", "other", None, None, other[0], other[1]))
    if unseen:
        more = "more than " if current.overflow else ""
        notes.append("with so many rare values, some are unseen by chance: the p-value allows for that, JS does not")
        slots.append(_Slot(f"UNSEEN ({more}{len(new):,} further values)", "unseen", None, None, 0, unseen))
    slots.append(_Slot("null", "null", None, None, reference.null, current.null))
    return [slot for slot in slots if slot.reference or slot.current], notes


def _tested(slots: Sequence[_Slot], settings: Settings, *, overflow: bool) -> list[_Slot]:
    """Return cells that are chosen without regard to which side a row is on, as the test requires.

    That a value is unseen or rare was read off the reference: those become one cell. So do, where a side had more
    values than could be remembered, all that are not so frequent that they were certain to be remembered.
    """
    rows = sum(slot.reference + slot.current for slot in slots)
    least = SAMPLE_ROWS / settings.max_categories  # the most rows of the sample that a value left out of it can have
    certain = rows * (least + 5 * math.sqrt(least) + 10) / SAMPLE_ROWS if overflow else 0.0
    alone: list[_Slot] = []
    together: list[_Slot] = []
    for slot in slots:
        mixed = slot.kind in ("other", "unseen") or (slot.kind == "value" and slot.reference + slot.current < certain)
        (together if mixed else alone).append(slot)
    before, after = (sum(getattr(slot, side) for slot in together) for side in ("reference", "current"))
    return [*alone, _Slot("", "other", None, None, before, after)]


# Numeric columns


def _fine_cells(plan: NumericPlan, reference: NumericCounts, current: NumericCounts) -> _Fine:
    line = len(plan.values) + 1
    ends = np.flatnonzero(np.asarray(plan.coarse, dtype=bool)) + 1
    starts = np.concatenate([[0], ends, np.arange(line, line + len(_MISSING))]).astype(np.intp)
    scale, unit = _UNITS.get(plan.family, (1, OWN_UNIT))
    lows = [side.minimum for side in (reference, current) if side.minimum is not None]
    highs = [side.maximum for side in (reference, current) if side.maximum is not None]
    points: npt.NDArray[np.float64] | None = np.zeros(line)
    widths = np.zeros(line)
    # A span near the largest float leaves no distances to speak of; floats overflow, whole numbers do not.
    span = float(max(highs)) - float(min(lows)) if lows else 0.0
    if span > _WIDEST:
        points = None
    elif lows:
        # Relative to the minimum: microseconds since 1970 or large integers would lose digits as floats.
        origin = min(lows)
        inner = np.array([float((value - origin) / scale) for value in plan.values])
        top = float((max(highs) - origin) / scale)
        left = np.clip(np.concatenate([[0.0], inner]), 0.0, top)
        right = np.clip(np.concatenate([inner, [top]]), 0.0, top)
        points, widths = left / 2 + right / 2, right - left
    return _Fine(
        np.concatenate([reference.cells, [getattr(reference, name) for name, _, _ in _MISSING]]),
        np.concatenate([current.cells, [getattr(current, name) for name, _, _ in _MISSING]]),
        starts,
        points,
        widths,
        unit,
    )


_MISSING: tuple[tuple[str, str, CellKind], ...] = (
    ("negative_infinity", "-inf", "-inf"),
    ("positive_infinity", "+inf", "+inf"),
    ("nan", "NaN", "nan"),
    ("null", "null", "null"),
)
"""Rows without a place on the line: the state's field, the label, the kind."""

_UNITS: dict[Family, tuple[int, str]] = {
    "temporal": (86_400_000_000, "days"),
    "time": (1_000_000, "seconds"),
    "duration": (1_000_000, "seconds"),
}
"""Microseconds in the unit in which a distance in time is told."""


def _wasserstein(fine: _Fine) -> tuple[float, float] | None:
    """Return the distance between the values on the line, and how far it may be from the raw data's.

    Every row is taken to lie in the middle of its fine cell, from which it is at most half a width away: by the
    triangle inequality the distance is wrong by no more than both sides' mean half-width.
    """
    if fine.points is None:
        return None
    line = len(fine.points)
    before, after = fine.reference[:line], fine.current[:line]
    if not before.sum() or not after.sum():
        return None
    p, q = before / before.sum(), after / after.sum()
    distance = float(np.abs(np.cumsum(p - q))[:-1] @ np.diff(fine.points))
    return distance, float((p + q) @ fine.widths / 2)


def _numeric_slots(plan: NumericPlan, fine: _Fine, reference: NumericCounts, current: NumericCounts) -> list[_Slot]:
    before = np.add.reduceat(fine.reference, fine.starts).tolist()
    after = np.add.reduceat(fine.current, fine.starts).tolist()
    cuts = [(value, below) for value, below, coarse in zip(plan.values, plan.below, plan.coarse, strict=True) if coarse]
    text = _Formatter(plan.family, [value for value, _ in cuts])
    slots: list[_Slot] = []
    for index in range(len(cuts) + 1):
        left = cuts[index - 1] if index else None
        right = cuts[index] if index < len(cuts) else None
        counts = before[index], after[index]
        if left is not None and right is not None and left[0] == right[0]:
            value = _seconds(left[0], plan.family)
            slots.append(_Slot(text(left[0]), "value", value, value, *counts))
            continue
        start = "(-inf" if left is None else f"{'[' if left[1] else '('}{text(left[0])}"
        stop = "inf)" if right is None else f"{text(right[0])}{')' if right[1] else ']'}"
        lower = -math.inf if left is None else _seconds(left[0], plan.family)
        upper = math.inf if right is None else _seconds(right[0], plan.family)
        # A bin of k rows that ends at the last of them has k gaps; one that ends elsewhere has one more.
        open_end = right is None or right[1]
        spacings = counts[0] + open_end if counts[0] else 0
        slots.append(_Slot(f"{start}, {stop}", "interval", lower, upper, *counts, spacings))
    for place, (_, label, kind) in enumerate(_MISSING, len(cuts) + 1):
        slots.append(_Slot(label, kind, None, None, before[place], after[place]))
    return [slot for slot in slots if slot.reference or slot.current]


def _seconds(value: Number, family: Family) -> float:
    return value / 1_000_000 if family in _UNITS else float(value)


class _Formatter:
    """Prints a column's edges with no more digits than tell them apart."""

    def __init__(self, family: Family, values: Sequence[Number]) -> None:
        self._family = family
        distinct = set(values)
        self._unit: Literal["D", "s", "us"] = "us"
        for unit, microseconds in (("D", 86_400_000_000), ("s", 1_000_000)):
            if all(value % microseconds == 0 for value in distinct):
                self._unit = unit  # type: ignore[assignment]  # a literal out of the tuple above
                break
        self._digits = next(
            (digits for digits in (4, 6, 9, 12) if len({f"{value:.{digits}g}" for value in distinct}) == len(distinct)),
            17,
        )

    def __call__(self, value: Number) -> str:
        """Return the value's text."""
        if self._family == "temporal":
            return str(np.datetime_as_string(np.datetime64(int(value), "us"), unit=self._unit))
        if self._family == "time":
            return (
                str(np.datetime_as_string(np.datetime64(int(value), "us"), unit="us"))
                .partition("T")[2]
                .rstrip("0")
                .rstrip(".")
            )
        if self._family == "duration":
            return f"{value / 1_000_000:.9g} s"
        return str(value) if isinstance(value, int) else f"{value:.{self._digits}g}"
