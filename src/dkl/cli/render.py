"""A comparison on a terminal: a table with sparklines, and the cells that carry each difference."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dkl.cli.words import KL_NAMES, ROW_FIGURES, ROW_NAMES, TOP_CELLS, VERDICTS, Words, clean, js_of, probability
from dkl.comparison import ArrayComparison, ColumnComparison, RowSummary
from dkl.comparison.result import VerdictWord

_SPARKS = 9, 24
"""Characters of a sparkline: at least, where the others leave room for it at all, and at most."""

_ROOM_FOR_BARS = 76
"""Width of the terminal from which on the bars of contributions are drawn."""

_BLOCKS = " ▁▂▃▄▅▆▇█"

_REFERENCE, _CURRENT = "cyan", "yellow"
_DRAWN = (("▂▅█", "share of rows cell by cell; numbers are cut so that each cell holds about as many rows of R"),)

_STYLES: dict[VerdictWord, str] = {
    "different": "bold yellow",
    "cannot_tell": "yellow",
    "below_threshold": "none",
    "no_difference_found": "dim",
    "not_measured": "dim",
}


class Report:
    """The whole report, which rich lays out for the width that it finds.

    Parameters
    ----------
    words
        The comparison's figures and sentences.
    """

    def __init__(self, words: Words) -> None:
        self._words = words

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the report's parts, from what is compared to what the figures mean."""
        words, width = self._words, options.max_width
        yield self._header()
        yield Text()
        yield Text(words.summary(), style="bold")
        if words.shown:
            yield Text()
            yield _columns_table(words, console, options)
        for array in words.arrays:
            yield Text()
            yield _array_report(words, array, console, options)
        if words.differing:
            yield Text()
            yield Text("Where they differ", style="bold")
            yield _cells_table(words, width)
        yield from _section("Infinite", words.infinities())
        yield from _section("Notes", words.notes())
        yield from _section(
            "How to read this",
            itertools.chain(_DRAWN if words.shown else (), words.legend(chance=bool(words.differing))),
            "dim",
        )

    def _header(self) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_column(justify="right", no_wrap=True)
        comparison = self._words.comparison
        for title, side, style in (
            ("reference R", comparison.reference, _REFERENCE),
            ("current C", comparison.current, _CURRENT),
        ):
            grid.add_row(Text(title, style=style), Text(clean(side.description)), Text(f"{side.rows:,} rows"))
        return grid


def sparkline(shares: Sequence[float], width: int, top: float | None = None) -> str:
    """Draw shares as blocks, neighbours averaged where there are more of them than fit.

    Parameters
    ----------
    shares
        One share a cell.
    width
        The most characters to use.
    top
        The average share that fills a character; by default the largest.

    Examples
    --------
    >>> sparkline([0.0, 0.1, 0.2, 0.7], width=8)
    ' ▁▂█'
    """
    means = _grouped(shares, width)
    top = max(means, default=0.0) if top is None else top
    if top <= 0:
        return " " * len(means)
    return "".join(_BLOCKS[0 if mean <= 0 else max(1, min(8, round(8 * mean / top)))] for mean in means)


def _grouped(shares: Sequence[float], width: int) -> list[float]:
    count = min(len(shares), width)
    ends = [len(shares) * index // count for index in range(count + 1)] if count else [0]
    return [sum(shares[start:stop]) / (stop - start) for start, stop in itertools.pairwise(ends)]


def _sparklines(column: ColumnComparison, width: int) -> tuple[Text, Text]:
    sides = [[cell.reference_share for cell in column.cells], [cell.current_share for cell in column.cells]]
    top = max((mean for side in sides for mean in _grouped(side, width)), default=0.0)
    before, after = (sparkline(side, width, top) for side in sides)
    return Text(before, style=_REFERENCE), Text(after, style=_CURRENT)


def _table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)


def _name(entry: ColumnComparison | ArrayComparison) -> Text:
    return Text(clean(entry.name), style="bold")


def _verdict(column: ColumnComparison) -> Text:
    return Text(VERDICTS[column.verdict.word], style=_STYLES[column.verdict.word])


def _columns_table(words: Words, console: Console, options: ConsoleOptions) -> Table:
    """Return the richest table that has room: columns on one line, then on two, without sparklines, with JS alone."""
    endless = options.update(width=10_000)
    least, most = _SPARKS
    for build in (_wide_table, _stacked_table):
        spare = options.max_width - console.measure(build(words, least), options=endless).maximum
        if spare >= 0:
            return build(words, min(most, least + spare // 2))
    without = _stacked_table(words, 0)
    fits = console.measure(without, options=endless).maximum <= options.max_width
    return without if fits else _stacked_table(words, 0, complete=False)


def _wide_table(words: Words, room: int) -> Table:
    table = _table()
    table.add_column("column", no_wrap=True, overflow="ellipsis", max_width=16)
    table.add_column("kind", no_wrap=True)
    table.add_column("reference", no_wrap=True, width=room)
    table.add_column("current", no_wrap=True, width=room)
    for title in (f"JS {words.unit}", f"[{words.level}]", *KL_NAMES.values(), "TV", "W1", "p"):
        table.add_column(Text(title), justify="right", no_wrap=True)
    table.add_column("difference", no_wrap=True)
    for column in words.shown:
        table.add_row(
            _name(column),
            Text(column.kind or "", style="dim"),
            *_sparklines(column, room),
            words.value(column.js),
            Text(words.interval(js_of(column)), style="dim"),
            words.value(column.kl_reference_current),
            words.value(column.kl_current_reference),
            words.value(column.tv),
            words.distance(column),
            probability(column.test),
            _verdict(column),
        )
    return table


def _stacked_table(words: Words, room: int, *, complete: bool = True) -> Table:
    table = _table()
    table.add_column(Text("column\nkind"), no_wrap=True, overflow="ellipsis", max_width=16)
    if room:
        table.add_column(Text("reference\ncurrent"), no_wrap=True, width=room)
    table.add_column(Text(f"JS {words.unit}\n[{words.level}]"), justify="right", no_wrap=True)
    if complete:
        table.add_column(Text("\n".join(KL_NAMES.values())), justify="right", no_wrap=True)
        table.add_column(Text("TV\nW1"), justify="right", no_wrap=True)
    table.add_column(Text("difference\np"), no_wrap=True)
    for column in words.shown:
        cells = [_two(_name(column), Text(column.kind or "", style="dim"))]
        if room:
            cells.append(_two(*_sparklines(column, room)))
        cells.append(_two(words.value(column.js), Text(words.interval(js_of(column)), style="dim")))
        if complete:
            cells.append(_two(words.value(column.kl_reference_current), words.value(column.kl_current_reference)))
            cells.append(_two(words.value(column.tv), words.distance(column)))
        cells.append(_two(_verdict(column), Text(probability(column.test), style="dim")))
        table.add_row(*cells)
    return table


def _two(above: str | Text, below: str | Text) -> Text:
    """Stack two lines in a cell, each with its own style."""
    return Text.assemble(above, "\n", below)


def _array_report(words: Words, array: ArrayComparison, console: Console, options: ConsoleOptions) -> RenderableType:
    """Return an array's figures, in one table if it fits and else in two, and what is said of single rows."""
    measured = array.measured
    table = _rows_table(words, measured)
    fits = console.measure(table, options=options.update(width=10_000)).maximum + 2 <= options.max_width
    tables = [table] if fits else [_rows_table(words, measured[:2]), _rows_table(words, measured[2:])]
    findings = Table.grid(padding=(0, 2, 0, 0))
    findings.add_column(no_wrap=True)
    findings.add_column(overflow="fold")
    for title, finding in words.row_findings(array):
        findings.add_row(title, finding)
    sentence = Text.assemble(_name(array), f"  {words.array_sentence(array)}")
    return Group(sentence, *(Padding(part, (0, 0, 0, 2)) for part in (*tables, findings)))


def _rows_table(words: Words, measured: Sequence[RowSummary]) -> Table:
    """Return the figures over the rows, a column for each quantity."""
    table = _table()
    table.add_column(no_wrap=True)
    for one in measured:
        table.add_column(Text(f"{ROW_NAMES[one.key]}\n{words.unit_of(one).strip()}"), justify="right", no_wrap=True)
    for title, attribute in {"mean": "mean", "± its error": "stderr", **ROW_FIGURES}.items():
        table.add_row(title, *(words.row_figure(one, getattr(one, attribute)) for one in measured))
    if any(one.infinite for one in measured):
        table.add_row("infinite rows", *(f"{one.infinite:,}" for one in measured))
    return table


def _cells_table(words: Words, width: int) -> Table:
    bar = 0 if width < _ROOM_FOR_BARS else max(9, min(16, (width - 66) // 2))
    table = _table()
    table.add_column("column", no_wrap=True, overflow="ellipsis", max_width=16)
    table.add_column("cell", no_wrap=True, overflow="ellipsis", max_width=max(14, width - 46 - 2 * bar))
    for title in ("R", "C", "of JS"):
        table.add_column(title, justify="right", no_wrap=True)
    if bar:
        table.add_column(
            Text.assemble(("less in C".rjust(bar)[-bar:], _REFERENCE), " ", ("more", _CURRENT)), no_wrap=True
        )
    for column in words.differing:
        js, cells = js_of(column), column.top(TOP_CELLS)
        chance = "" if js.bias is None else f"chance {words.number(js, js.bias)}"
        sides = [_name(column), Text(f"JS {words.value(js)}", style="dim"), Text(chance, style="dim")]
        for side, cell in itertools.zip_longest(sides, cells, fillvalue=None):
            figures: list[RenderableType] = [side or ""]
            if cell is not None:
                figures += [
                    Text(clean(cell.label)),
                    f"{cell.reference_share:.2%}",
                    f"{cell.current_share:.2%}",
                    f"{cell.contribution / js.value:+.0%}",
                    _signed_bar(cell.contribution / abs(cells[0].contribution), bar),
                ]
            table.add_row(*figures[: len(table.columns)])
    return table


def _signed_bar(fraction: float, width: int) -> Text:
    """Draw a bar to the left or to the right of the middle, at least half a character long."""
    halves = max(1, round(2 * width * abs(fraction)))
    if fraction < 0:
        return Text((("▐" if halves % 2 else "") + "█" * (halves // 2)).rjust(width), style=_REFERENCE)
    return Text(" " * (width + 1) + "█" * (halves // 2) + ("▌" if halves % 2 else ""), style=_CURRENT)


def _section(title: str, lines: Iterable[tuple[str, str]], style: str = "none") -> Iterator[RenderableType]:
    """Yield a titled list of names and sentences; nothing if there are none."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(overflow="fold", max_width=24)
    grid.add_column(overflow="fold")
    for name, sentence in lines:
        grid.add_row(Text(name, style="bold" if style == "none" else style), Text(sentence, style=style))
    if grid.row_count:
        yield Text()
        yield Text(title, style="bold")
        yield grid
