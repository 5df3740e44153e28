"""Figures of what a comparison of tables found."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import matplotlib.dates
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator

from dkl.comparison.quantities import short
from dkl.comparison.result import Cell, ColumnComparison, Comparison, Measured, VerdictWord
from dkl.plots.colours import CURRENT as _CURRENT
from dkl.plots.colours import REFERENCE as _REFERENCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_BARS = 20
_LABEL_LETTERS = 16
_SECONDS_A_DAY = 86_400

_LOG_FROM = 1000.0
"""Edges that span more than this factor are drawn on a logarithmic axis."""

_NEEDLE = 3.0
"""A single value between intervals is drawn in its place up to this many times their highest density."""

_SMALLEST, _LARGEST = 1e-100, 1e100
"""Widths and places beyond these overflow in matplotlib's arithmetic."""

_FACTORS = {"nats": 1.0, "bits": 1 / math.log(2)}

_VERDICTS: dict[VerdictWord, str] = {
    "different": "different",
    "no_difference_found": "no difference found",
    "below_threshold": "different, but by too little to matter",
    "cannot_tell": "different, perhaps by too little to matter",
}

UnitName = Literal["nats", "bits"]


@dataclass(frozen=True)
class _Bar:
    """A cell, or several: its place on the axis, both sides' shares of rows, and what it adds to JS in nats.

    An open bar has no width of its own: a tail of the line, or categories taken together.
    """

    left: float
    right: float
    reference: float
    current: float
    contribution: float
    label: str = ""
    open: bool = False

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def middle(self) -> float:
        return self.left / 2 + self.right / 2

    @property
    def density(self) -> float:
        return max(self.reference, self.current) / self.width

    @property
    def color(self) -> str:
        return _CURRENT if self.contribution > 0 else _REFERENCE


@dataclass(frozen=True)
class _Size:
    """The unit of JS, and the power of ten in which contributions are told."""

    unit: UnitName
    power: int

    @classmethod
    def fitting(cls, column: ColumnComparison, unit: UnitName) -> _Size:
        largest = max(abs(cell.contribution) for cell in column.cells) * _FACTORS[unit]
        return cls(unit, 0 if largest == 0 else 3 * max(0, math.ceil(-math.log10(10 * largest) / 3)))

    def __call__(self, contribution: float) -> float:
        return contribution * _FACTORS[self.unit] * 10.0**self.power

    def __str__(self) -> str:
        return (rf"$10^{{-{self.power}}}$ " if self.power else "") + self.unit


def comparison(
    column: ColumnComparison, *, axes: Sequence[Axes] | None = None, unit: UnitName = "nats"
) -> tuple[Axes, Axes]:
    """Draw one column: both distributions, and under them what each cell adds to their JS.

    Numbers and dates are drawn as densities over their own axis, so that an area is a share of rows. What has no place
    or no width on it (null, NaN, infinities, single values with many rows among others with few) follows to its right.
    Open tails are pale: nothing is known of their width. Categories are pairs of bars, those that carry most of JS
    first.

    Parameters
    ----------
    column
        A measured column of a `dkl.comparison.Comparison`.
    axes
        Two axes, for the distributions and for the contributions; by default those of a new figure.
    unit
        Unit of JS, "nats" or "bits".

    Returns
    -------
    tuple of matplotlib.axes.Axes
        The two axes; ``axes[0].figure`` is their figure.

    Raises
    ------
    ValueError
        If the column was not measured or there are not two axes.

    Examples
    --------
    >>> import dkl
    >>> found = dkl.compare({"sky": ["blue"] * 90 + ["grey"] * 10}, {"sky": ["blue"] * 40 + ["grey"] * 60})
    >>> top, bottom = dkl.plots.comparison(found["sky"])
    >>> top.get_title(loc="left"), [tick.get_text() for tick in bottom.get_xticklabels()]
    ('sky', ['grey', 'blue'])
    """
    if column.js is None:
        raise ValueError(f"column {column.name!r} was not measured ({column.verdict.sentence}): nothing to draw")
    if axes is None:
        axes = Figure(figsize=(8, 5.6), layout="constrained").subplots(2, 1, height_ratios=(3, 2))
    if len(axes) != 2:
        raise ValueError(f"axes holds {len(axes)}: two are needed, for the distributions and for the contributions")
    top, bottom = axes
    size = _Size.fitting(column, unit)
    if column.kind == "categorical" or not _has_room(column.cells):
        _draw_categories(column, top, bottom, size)
    else:
        _draw_numbers(column, top, bottom, size)
    _explain(column, column.js, top, bottom, size)
    return top, bottom


def comparisons(found: Comparison, *, most: int = 6, unit: UnitName = "nats") -> Figure:
    """Draw the columns that differ most, each as `comparison` does.

    Parameters
    ----------
    found
        A comparison of two tables.
    most
        The most columns to draw.
    unit
        Unit of JS, "nats" or "bits".

    Returns
    -------
    matplotlib.figure.Figure
        A new figure, not registered with pyplot; ``figure.savefig("drift.png")`` writes it.

    Raises
    ------
    ValueError
        If no column was measured.
    """
    measured = [column for column in found.columns if column.js is not None]
    if not measured:
        raise ValueError("no column was measured: nothing to draw")
    differing = [column for column in measured if column.verdict.word != "no_difference_found"]
    drawn = sorted(differing or measured, key=_js, reverse=True)[:most]
    across = 1 if len(drawn) == 1 else 2
    down = math.ceil(len(drawn) / across)
    figure = Figure(figsize=(8 * across, 5.2 * down + 0.9), layout="constrained")
    figure.suptitle(_heading(found, len(drawn), len(differing), len(measured)), fontsize="large")
    parts = figure.subfigures(down, across, squeeze=False, wspace=0.05, hspace=0.05)
    for column, part in zip(drawn, parts.flat, strict=False):
        comparison(column, axes=part.subplots(2, 1, height_ratios=(3, 2)), unit=unit)
    return figure


def _js(column: ColumnComparison) -> float:
    return 0.0 if column.js is None else column.js.value


def _heading(found: Comparison, drawn: int, differing: int, measured: int) -> str:
    names = (side.description.rpartition("/")[2] for side in (found.reference, found.current))
    sides = "  →  ".join(_text(name, 60 if drawn > 1 else 36) for name in names)
    of = f"of {measured} {'column' if measured == 1 else 'columns'}"
    if not differing:
        return f"{sides}\nnone {of} differs by more than chance; largest JS first"
    shown = "" if drawn == differing else f"; the {drawn} that differ most"
    return f"{sides}\n{differing} {of} {'differs' if differing == 1 else 'differ'} by more than chance{shown}"


def _explain(column: ColumnComparison, js: Measured, top: Axes, bottom: Axes, size: _Size) -> None:
    """Write what the axes show: the result, the sides, the units."""
    factor = _FACTORS[size.unit]
    interval = (
        "" if js.interval is None else ", interval {} to {}".format(*(short(end * factor) for end in js.interval))
    )
    result = f"{_VERDICTS[column.verdict.word]}: JS {short(js.value * factor)} {size.unit}{interval}"
    top.set_title(_text(column.name, 60), loc="left", pad=36, fontweight="bold")
    top.annotate(result, (0, 1), (0, 23), xycoords="axes fraction", textcoords="offset points")
    sides = [
        Patch(color=_REFERENCE, label=f"reference, {column.rows_reference:,} rows"),
        Patch(color=_CURRENT, label=f"current, {column.rows_current:,} rows"),
    ]
    if any(cell.kind == "interval" and math.inf in (cell.upper, -(cell.lower or 0)) for cell in column.cells):
        sides.append(Patch(facecolor="0.9", edgecolor="0.6", linestyle=":", label="open tail, width not to scale"))
    top.legend(handles=sides, loc="lower left", bbox_to_anchor=(-0.02, 0.98), ncols=3, frameon=False, fontsize="small")
    bottom.set_title(
        "up: current has more; down: reference has more", loc="left", fontsize="small", color="0.35", pad=3
    )
    bottom.set_ylabel(f"adds to JS\n({size})")
    bottom.axhline(0, color="0.3", lw=0.8)
    top.tick_params(labelbottom=False)
    for axis in (top, bottom):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="0.9", lw=0.6)
        axis.set_axisbelow(True)


def _text(name: str, letters: int) -> str:
    """Return a name from a file as matplotlib should print it: no formula, on one line, of bearable length."""
    printable = "".join(letter if letter.isprintable() else "·" for letter in name)
    shortened = printable if len(printable) <= letters else printable[: letters - 1] + "…"
    return shortened.replace("$", r"\$")


# Categories


def _draw_categories(column: ColumnComparison, top: Axes, bottom: Axes, size: _Size) -> None:
    bars = _category_bars(column.cells)
    for bar in bars:
        if not bar.open:  # the others together would dwarf the categories that the figure is about
            top.bar(bar.middle - 0.2, bar.reference, 0.4, color=_REFERENCE)
            top.bar(bar.middle + 0.2, bar.current, 0.4, color=_CURRENT)
        bottom.bar(bar.middle, size(bar.contribution), 0.8, color=bar.color)
    top.set_ylabel("share of rows")
    for axis in (top, bottom):
        axis.set_xticks([bar.middle for bar in bars])
        axis.set_xlim(-0.6, len(bars) - 0.4)
    labels = [bar.label for bar in bars]
    if max(map(len, labels)) * len(labels) > 70:
        bottom.set_xticklabels(labels, rotation=45, ha="right", rotation_mode="anchor")
    else:
        bottom.set_xticklabels(labels)


def _category_bars(cells: Sequence[Cell]) -> list[_Bar]:
    """Return bars at 0, 1, 2, ...: the cells by what they add to JS, and those beyond the room as one open bar."""
    ranked = sorted(cells, key=lambda cell: -abs(cell.contribution))
    alone = ranked if len(ranked) <= _MOST_BARS else ranked[: _MOST_BARS - 1]
    bars = [_bar(place - 0.5, place + 0.5, [cell], cell.label) for place, cell in enumerate(alone)]
    rest = ranked[len(alone) :]
    if rest:
        others = _bar(len(bars) - 0.5, len(bars) + 0.5, rest, "")
        label = f"{len(rest)} others, net\n({others.reference:.1%} → {others.current:.1%})"
        bars.append(replace(others, label=label, open=True))
    return bars


def _bar(left: float, right: float, cells: Sequence[Cell], label: str) -> _Bar:
    return _Bar(
        left,
        right,
        sum(cell.reference_share for cell in cells),
        sum(cell.current_share for cell in cells),
        sum(cell.contribution for cell in cells),
        _text(label, _LABEL_LETTERS),
        open=any(cell.kind == "interval" and not _is_bounded(cell) for cell in cells),
    )


# Numbers and dates


@dataclass(frozen=True)
class _Scale:
    """How a column's values lie on its axis.

    ``step`` is the width of a single value, in the axis's units: 1 for whole numbers and days, each of which stands for
    itself and half the way to its neighbours; 0 where values are continuous.
    """

    per: str
    step: float = 0.0
    seconds: int = 1
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        if math.isinf(value):
            return value
        return math.log10(value) if self.logarithmic else value / self.seconds


def _draw_numbers(column: ColumnComparison, top: Axes, bottom: Axes, size: _Size) -> None:
    scale = _scale(column)
    line, apart = _number_bars(column.cells, scale)
    for bar in (*line, *apart):
        pale = 0.35 if bar.open else 1.0
        rows = bar.reference / bar.width
        top.bar(bar.left, rows, bar.width, align="edge", color=_REFERENCE, alpha=0.45 * pale)
        adds = size(bar.contribution)
        bottom.bar(bar.left, adds, bar.width, align="edge", color=bar.color, ec="white", lw=0.4, alpha=pale)
    inner = [bar for bar in line if not bar.open]
    for run in (inner, *([bar] for bar in (*line, *apart) if bar.open or bar in apart)):
        edges = [*(bar.left for bar in run), *(bar.right for bar in run[-1:])]
        for side, color, width in (("reference", _REFERENCE, 0.8), ("current", _CURRENT, 2.0)):
            if run:
                heights = [getattr(bar, side) / bar.width for bar in run]
                top.stairs(heights, edges, color=color, lw=width, ls=":" if run[0].open else "-")
    top.set_ylabel(f"share of rows\nper {scale.per}")
    _label_numbers(line, apart, scale, (top, bottom))


def _scale(column: ColumnComparison) -> _Scale:
    on_line = [cell for cell in column.cells if cell.lower is not None]
    ends = sorted({end for cell in on_line for end in _ends(cell) if math.isfinite(end)})
    dates = column.kind == "temporal" and str(column.reference_type).startswith(("date", "timestamp"))
    seconds, per = (_SECONDS_A_DAY, "day") if dates else (1, "second" if column.kind == "temporal" else "unit")
    step = 0.0
    if ends and all(end % seconds == 0 for end in ends):
        step = 1.0
    elif ends and 2 * sum(cell.kind == "value" for cell in on_line) >= len(on_line):
        step = min((after - before for before, after in itertools.pairwise(ends)), default=seconds) / seconds
    if column.kind == "numeric" and ends and ends[0] > 0 and ends[-1] > _LOG_FROM * ends[0]:
        return _Scale("factor of 10", logarithmic=True)
    return _Scale(per, step, seconds)


def _ends(cell: Cell) -> tuple[float, float]:
    assert cell.lower is not None  # of cells on the line only
    assert cell.upper is not None
    return cell.lower, cell.upper


def _is_bounded(cell: Cell) -> bool:
    return all(map(math.isfinite, _ends(cell)))


def _has_room(cells: Sequence[Cell]) -> bool:
    """Say whether an axis can tell the ends of the cells apart; whole numbers beyond 2**53 may share their floats."""
    ends = [end for cell in cells if cell.lower is not None for end in _ends(cell) if math.isfinite(end)]
    widths = [_ends(cell)[1] - _ends(cell)[0] for cell in cells if cell.kind == "interval" and _is_bounded(cell)]
    return all(_SMALLEST < width < _LARGEST for width in widths) and all(abs(end) < _LARGEST for end in ends)


def _share(cell: Cell) -> float:
    return max(cell.reference_share, cell.current_share)


def _number_bars(cells: Sequence[Cell], scale: _Scale) -> tuple[list[_Bar], list[_Bar]]:
    """Return the bars on the line, tails at its ends, and the bars of what has no place or no width on it."""
    line: list[_Bar] = []
    apart: list[Cell] = []
    bounded = [cell for cell in cells if cell.kind == "interval" and _is_bounded(cell)]
    densities = [_share(cell) / (scale(_ends(cell)[1]) - scale(_ends(cell)[0])) for cell in bounded]
    needle = _NEEDLE * scale.step * max(densities, default=math.inf)
    for before, cell, after in zip((None, *cells), cells, (*cells[1:], None), strict=False):
        on_line = cell.lower is not None and _ends(cell) != (-math.inf, math.inf)
        alone = cell.kind == "value" and not any(other and other.kind == "value" for other in (before, after))
        widthless = cell.kind == "value" and scale.step == 0
        if not on_line or widthless or (alone and _share(cell) > needle):
            apart.append(cell)
            continue
        lower, upper = map(scale, _ends(cell))
        half = scale.step / 2
        left = lower + (half if cell.label.startswith("(") else -half)
        right = upper - (half if cell.label.endswith(")") else -half)
        line.append(_bar(left, right, [cell], cell.label))
    line = _with_tails(line, scale.step)
    return line, _set_apart(apart, line)


def _with_tails(line: Sequence[_Bar], step: float) -> list[_Bar]:
    """Give open tails twice their neighbour's width, or more where they would tower over the rest."""
    inner = [bar for bar in line if not bar.open]
    known = [abs(end) for bar in line for end in (bar.left, bar.right) if math.isfinite(end)]
    spare = step or max(known, default=0.0) or 1.0
    room = (inner[-1].right - inner[0].left) / 3 if inner else spare
    tallest = max((bar.density for bar in inner), default=0.0)
    bars = []
    for bar in line:
        beside = 2 * inner[0 if math.isinf(bar.left) else -1].width if inner else spare
        enough = max(bar.reference, bar.current) / tallest if tallest else 0.0
        width = max(beside, min(room, enough))
        left = bar.right - width if math.isinf(bar.left) else bar.left
        bars.append(replace(bar, left=left, right=left + width if math.isinf(bar.right) else bar.right))
    return bars


def _set_apart(cells: Sequence[Cell], line: Sequence[_Bar]) -> list[_Bar]:
    """Place cells to the right of the line, wide enough that none towers over it; their areas are shares as well."""
    start, stop = (line[0].left, line[-1].right) if line else (0.0, 1.0)
    span = stop - start
    tallest = max((bar.density for bar in line), default=0.0)
    largest = max(map(_share, cells), default=0.0)
    width = max(span / 20, min(span / 5, largest / tallest if tallest else span))
    bars = []
    for place, cell in enumerate(cells):
        left = stop + span / 16 + place * 1.8 * width
        label = "any number" if cell.kind == "interval" else cell.label
        bar = replace(_bar(left, left + width, [cell], label), open=False)
        bars.append(replace(bar, label=f"={bar.label}") if cell.kind == "value" else bar)
    return bars


def _label_numbers(line: Sequence[_Bar], apart: Sequence[_Bar], scale: _Scale, axes: Sequence[Axes]) -> None:
    ticks: list[tuple[float, str]] = []
    if line:
        start, stop = line[0].left, line[-1].right
        found, common = _ticks(start, stop, scale)
        ticks = [(place, label) for place, label in found if start <= place <= stop]
        axes[-1].set_xlabel(common)
    ticks += [(bar.middle, bar.label) for bar in apart]
    start, stop = (line or apart)[0].left, (apart or line)[-1].right
    for axis in axes:
        axis.set_xlim(start - 0.02 * (stop - start), stop + 0.02 * (stop - start))
        axis.set_xticks([place for place, _ in ticks])
        if line and apart:
            axis.axvline((line[-1].right + apart[0].left) / 2, color="0.7", lw=0.8, ls=(0, (2, 3)))
    axes[-1].set_xticklabels([label for _, label in ticks])


def _ticks(start: float, stop: float, scale: _Scale) -> tuple[list[tuple[float, str]], str]:
    """Return round places on the axis with their labels, and what all labels leave out, such as the year of days."""
    if scale.logarithmic:
        powers = [round(math.log10(value)) for value in LogLocator(numticks=9).tick_values(10**start, 10**stop)]
        return [(float(power), rf"$10^{{{power}}}$") for power in powers], ""
    if scale.seconds == _SECONDS_A_DAY:
        dates: Any = matplotlib.dates  # which has no types
        locator = dates.AutoDateLocator(minticks=3, maxticks=7)
        formatter = dates.ConciseDateFormatter(locator)
        places = [float(place) for place in locator.tick_values(dates.num2date(start), dates.num2date(stop))]
        return list(zip(places, formatter.format_ticks(places), strict=True)), formatter.get_offset()
    places = [float(place) for place in MaxNLocator(8, steps=[1, 2, 5, 10]).tick_values(start, stop)]
    return [(place, f"{place:,.10g}") for place in places], ""
