"""A diagnosis on a terminal: the answer first, then each finding with its evidence, and what the answer rests on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dkl.cli.words import clean
from dkl.doctor import Diagnosis, Evidence, Finding, Series
from dkl.doctor.finding import Advice
from dkl.doctor.words import chart, figure, fixes, heading, shown, summary, unlooked

_SEVERE = {"error": "bold red", "warning": "bold yellow", "note": "bold cyan"}
_STATUS = {"healthy": "bold green", "cannot tell": "bold yellow"}
_INDENT = 3
# Letters of a chart at most, and beside it what its numbers take.
_WIDEST, _BESIDE = 64, 14
# Lines of a chart, where a terminal is wide enough for it to be more than a smear.
_HIGH, _FLAT, _WIDE = 3, 1, 60


class Report:
    """One run's report, which rich lays out for the width that it finds.

    Parameters
    ----------
    source
        The run's file or folder.
    answer
        Its diagnosis, or why it could not be read.
    """

    def __init__(self, source: str, answer: Diagnosis | str) -> None:
        self._source, self._answer = source, answer

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the report's parts, from the answer to what it rests on."""
        answer, width = self._answer, options.max_width
        if isinstance(answer, str):
            yield Text(f"Could not be read: {clean(answer)}", style="bold yellow")
            yield Text()
            return
        worst = answer.worst or "note"
        yield Text(clean(summary(answer)), style=_STATUS.get(answer.status) or _SEVERE[worst])
        yield Text(clean(self._source), style="dim")
        for number, finding in enumerate(answer.findings, 1):
            yield Text()
            yield from _finding(number, finding, width)
        if not answer.findings:
            yield from _course(answer, width)
        yield from _section("What was inferred, and is relied on", answer.statements)
        yield from _section("What was out of order in the log", answer.notes)
        yield from _section("What could not be looked for", [f"{names}: {what}" for names, what in unlooked(answer)])
        yield Text()


def _finding(number: int, finding: Finding, width: int) -> Iterator[RenderableType]:
    style = _SEVERE[finding.severity]
    yield Text.assemble(
        (f"{number}. {clean(heading(finding))}", style), (f"  {finding.severity}, {finding.sure}", "dim")
    )
    parts: list[RenderableType] = [Text(clean(finding.cause.because)), Text(), Text("Evidence", style="bold")]
    for evidence in finding.evidence:
        parts.append(_item("•", evidence.text))
        parts += [Padding(_drawn(series, width - _INDENT - 2, evidence), (0, 0, 0, 2)) for series in shown(evidence)]
    if advised := fixes(finding):
        parts += [Text(), Text("What to do, the best first", style="bold")]
        parts += [part for place, fix in enumerate(advised, 1) for part in _advised(f"{place}.", fix)]
    if finding.cause.checks:
        parts += [Text(), Text("To make sure", style="bold")]
        parts += [part for check in finding.cause.checks for part in _advised("?", check)]
    if finding.cause.not_helping:
        parts += [Text(), Text("What would not help", style="bold")]
        parts += [_item("✗", text) for text in finding.cause.not_helping]
    parts += [Text(), Text(f"Described in: {clean(finding.cause.reference)}", style="dim")]
    yield Padding(Group(*parts), (0, 0, 0, _INDENT))


def _course(diagnosis: Diagnosis, width: int) -> Iterator[RenderableType]:
    """Where there is nothing to report, the KL all the same."""
    series = diagnosis.roles.get("kl") or diagnosis.roles.get("kl_weighted")
    if series is not None and series.finite.values.size > 1:
        yield Text()
        yield Padding(_drawn(series, width - _INDENT), (0, 0, 0, _INDENT))


def _drawn(series: Series, width: int, evidence: Evidence | None = None) -> RenderableType:
    """A series as a small chart, its numbers beside it, and a line under the steps to look at."""
    room = max(8, min(_WIDEST, width - _BESIDE))
    made = chart(series, room, _HIGH if width >= _WIDE else _FLAT, None if evidence is None else evidence.steps)
    first, last = float(series.steps[0]), float(series.steps[-1])
    head = f"{clean(series.name)}, steps {first:,.10g} to {last:,.10g}"
    head += ", logarithmic" if made.logarithmic else ""
    head += "; × is NaN or infinite" if made.broken else ""
    lines: list[RenderableType] = [Text(head, style="dim")]
    numbers = [figure(made.high), *[""] * (len(made.lines) - 2), figure(made.low)]
    if len(made.lines) == 1:
        numbers = [f"{figure(made.low)} … {figure(made.high)}"]
    for letters, number in zip(made.lines, numbers, strict=True):
        line = Text(letters, style="blue", no_wrap=True)
        if made.span is not None:
            line.stylize("yellow", made.span[0], made.span[1] + 1)
        lines.append(Text.assemble(line, (f" {number}", "dim"), no_wrap=True))
    if made.span is not None:
        start, stop = made.span
        lines.append(Text(" " * start + "▔" * (stop - start + 1), style="yellow", no_wrap=True))
    if evidence is not None and evidence.level is not None:
        name, level = evidence.level
        lines.append(Text(f"to compare with: {clean(name)}, {figure(level)}", style="dim"))
    return Group(*lines)


def _advised(mark: str, advice: Advice) -> Iterator[RenderableType]:
    yield _item(mark, advice.text)
    if advice.code:
        code = "\n".join(clean(line) for line in advice.code.strip("\n").split("\n"))
        # Code is to be copied, so a long line is broken by the terminal alone.
        yield Padding(Text(code, style="cyan", overflow="ignore", no_wrap=True), (0, 0, 0, 6))


def _item(mark: str, text: str) -> RenderableType:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(mark, Text(clean(text)))
    return grid


def _section(title: str, lines: Sequence[str]) -> Iterator[RenderableType]:
    if lines:
        yield Text()
        yield Text(title, style="bold")
        yield from (_item("•", line) for line in lines)
