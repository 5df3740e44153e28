"""What is printed and what is written: tables, the README's short table, and JSON that is whole or not there."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .contest import Entry, Result
from .peers import OURS
from .startup import BARE, IMPORT
from .timing import Times
from .truth import WRONG
from .work import Pair, Work

_METHOD = (
    "Contestants run in turn on the same arrays, each round beginning with another one; medians over the rounds. "
    "× faster: how many times faster dkl is; × read: how many times longer than a compiled loop that only reads both "
    "inputs; both are medians of the ratios within a round. error: the largest relative one, of the value and of the "
    f"gradient, against extended precision; above {WRONG:g} an answer is wrong. memory: the peak of one call beyond "
    "its inputs, in a call of its own."
)


@dataclass
class Report:
    """Everything that a run has found.

    Parameters
    ----------
    environment
        From `machine.describe`.
    quick
        Whether shapes and rounds were cut short.
    results
        Of the work.
    near
        The errors on nearly equal pairs: the pair, its KL, and how everybody did.
    startup
        The seconds of whole processes, by program.
    """

    environment: Mapping[str, Any]
    quick: bool
    results: list[Result] = field(default_factory=list)
    near: list[tuple[Pair, float, tuple[Entry, ...]]] = field(default_factory=list)
    startup: dict[str, Times] = field(default_factory=dict)

    @property
    def ours_is_wrong(self) -> bool:
        """Whether dkl failed somewhere or gave a wrong answer."""
        entries = [e for r in self.results for e in r.entries] + [e for _, _, es in self.near for e in es]
        return any(e.name == OURS and (e.wrong or (e.left_out or "").startswith("failed")) for e in entries)


def heading(report: Report) -> str:
    """Say in a few lines what was measured with, and how far to trust it."""
    there = report.environment
    lines = [
        f"{there['machine']}: {there['cpu']}, {there['cores']} cores, {there['system']}, {there['date']}",
        ", ".join(f"{name} {version}" for name, version in there["versions"].items()),
        f"dkl from {there['dkl_from']}; threads {there['threads']}, OMP_WAIT_POLICY {there['omp_wait_policy']}",
    ]
    if report.quick:
        lines.append("Quick: smaller shapes, fewer of them and fewer rounds. Too little to quote.")
    if (there["load"] or 0) > there["cores"] / 4:
        lines.append(f"The machine was not idle: a load of {there['load']} before the run. Times are too long.")
    if there["truth_epsilon"] > 1e-17:
        lines.append("numpy.longdouble is no wider than float64 here: errors below 1e-15 mean nothing.")
    if there["memory_method"] != "high water":
        lines.append(f"Memory is {there['memory_method']} here: short peaks may be missed.")
    return "\n".join(lines)


def show(report: Report, console: Console) -> None:
    """Print everything."""
    console.print(heading(report), highlight=False)
    if report.results:
        console.print(f"\n{_METHOD}", highlight=False)
    for result in report.results:
        console.print(_contest_table(result))
    for given in dict.fromkeys(pair.given for pair, _, _ in report.near):
        console.print(_near_table(report, given))
    if report.startup:
        console.print(_startup_table(report.startup))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column(columns[0], no_wrap=True)
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


def _contest_table(result: Result) -> Table:
    work = result.work
    unit = "µs/call" if work.per_call else "ns/element"
    table = _table(work.name, "", unit, "× faster", "× read", "error", "memory")
    for entry in (*result.entries, *([result.read] if result.read else [])):
        if entry.left_out:
            table.add_row(entry.name, "—", "", "", "", "")
            continue
        table.add_row(
            entry.name,
            _number(_shown_time(entry, work)),
            "" if entry.name == OURS else _number(result.speedup(entry)),
            _number(result.over_read(entry)),
            _error(entry),
            _bytes(entry.extra_bytes),
        )
    left_out = [f"{e.name}: {e.left_out}" for e in result.entries if e.left_out]
    if left_out:
        table.caption, table.caption_justify = "\n".join(left_out), "left"
    return table


def _near_table(report: Report, given: str) -> Table:
    columns = [(kl, {e.name: e for e in entries}) for pair, kl, entries in report.near if pair.given == given]
    pair = next(pair for pair, _, _ in report.near if pair.given == given)
    title = f"near/{given}: relative error of KL, {pair.dtype} rows of {pair.outcomes:,}, by what the KL is"
    table = _table(title, "", *(f"{kl:.1e}" for kl, _ in columns))
    for name in columns[0][1]:
        table.add_row(name, *(_error(entries[name]) for _, entries in columns))
    return table


def _startup_table(startup: Mapping[str, Times]) -> Table:
    table = _table("import: a process, and what it takes beyond the bare interpreter", "", "ms", "beyond")
    for name, times in startup.items():
        beyond = "" if name == BARE else f"{_beyond(startup, name) * 1e3:.0f}"
        table.add_row(name, f"{times.median * 1e3:.0f}", beyond)
    return table


def _beyond(startup: Mapping[str, Times], name: str) -> float:
    """Return what a program takes longer than the bare interpreter, in seconds."""
    return startup[name].median - startup[BARE].median


def _shown_time(entry: Entry, work: Work) -> float | None:
    if entry.times is None:
        return None
    return entry.times.median * (1e6 if work.per_call else 1e9 / work.pair.elements)


def _number(x: float | None) -> str:
    if x is None:
        return "—"
    return f"{x:.0f}" if x >= 100 else f"{x:.2g}" if x < 1 else f"{x:.1f}"


def _error(entry: Entry) -> str:
    if entry.error is None:
        return "failed" if entry.left_out else "—"
    return f"wrong: {entry.error:.0e}" if entry.wrong else f"{entry.error:.0e}"


def _bytes(x: int | None) -> str:
    return "—" if x is None else f"{x / 1e6:.0f} MB" if x >= 1e6 else "<1 MB"


def markdown(report: Report, lines: Mapping[str, Work]) -> str:
    """Return the README's short table: dkl's time, and how many times longer each peer takes.

    Parameters
    ----------
    report
        What was found.
    lines
        The work of each line by its title, from `work.main_lines`.
    """
    found = {result.work: result for result in report.results}
    rows = {title: found[work] for title, work in lines.items() if work in found}
    names = list(dict.fromkeys(e.name for result in rows.values() for e in result.entries if e.name != OURS))
    table = [
        ["", OURS, "error", "memory", "× the read limit", *(f"{name} ÷ dkl" for name in names)],
        [":--", *["--:"] * (4 + len(names))],
    ]
    for title, result in rows.items():
        if result.ours is None or result.ours.times is None:
            continue
        entries = {entry.name: entry for entry in result.entries}
        unit = "µs a call" if result.work.per_call else "ns/element"
        time = f"{_number(_shown_time(result.ours, result.work))} {unit}"
        peers = [_against(result, entries.get(name)) for name in names]
        read = _number(result.over_read(result.ours))
        table.append([title, time, _error(result.ours), _bytes(result.ours.extra_bytes), read, *peers])
    if IMPORT in report.startup:
        took = f"{_beyond(report.startup, IMPORT) * 1e3:.0f} ms"
        table.append([f"`{IMPORT}`, beyond the bare interpreter", took, *["—"] * (3 + len(names))])
    body = "\n".join(f"| {' | '.join(row)} |" for row in table)
    return f"{body}\n\n{heading(report)}"


def _against(result: Result, entry: Entry | None) -> str:
    if entry is None or entry.times is None:
        return "—"
    ratio = f"{_number(result.speedup(entry))} ×"
    return f"{ratio} (wrong: {entry.error:.0e})" if entry.wrong else ratio


def to_dict(report: Report) -> dict[str, Any]:
    """Return everything in JSON's types; an error that is no number is null, and its answer is marked wrong."""
    return {
        **report.environment,
        "quick": report.quick,
        "method": _METHOD,
        "wrong_above": WRONG,
        "results": [_result(result) for result in report.results],
        "near": [
            {
                "given": pair.given,
                "dtype": pair.dtype,
                "shape": list(pair.shape),
                "kl": kl,
                "contestants": [_entry(entry) for entry in entries],
            }
            for pair, kl, entries in report.near
        ],
        "startup": [{"program": name, **_times(times)} for name, times in report.startup.items()],
    }


def _result(result: Result) -> dict[str, Any]:
    work = result.work
    contestants = [
        {
            **_entry(entry),
            "ns_per_element": None if entry.times is None else entry.times.median * 1e9 / work.pair.elements,
            "times_dkl": result.speedup(entry),
            "times_read": result.over_read(entry),
        }
        for entry in (*result.entries, *([result.read] if result.read else []))
    ]
    return {
        "name": work.name,
        "member": work.member,
        "given": work.pair.given,
        "task": work.task,
        "dtype": work.pair.dtype,
        "shape": list(work.pair.shape),
        "contestants": contestants,
    }


def _entry(entry: Entry) -> dict[str, Any]:
    def finite(x: float | None) -> float | None:
        return x if x is not None and math.isfinite(x) else None

    return {
        "name": entry.name,
        "value_error": finite(entry.value_error),
        "gradient_error": finite(entry.gradient_error),
        "wrong": entry.wrong,
        "extra_bytes": entry.extra_bytes,
        "left_out": entry.left_out,
        **({} if entry.times is None else _times(entry.times)),
    }


def _times(times: Times) -> dict[str, Any]:
    lower, upper = times.quartiles
    return {
        "seconds": {
            "median": times.median,
            "lower_quartile": lower,
            "upper_quartile": upper,
            "min": min(times.seconds),
            "max": max(times.seconds),
            "rounds": list(times.seconds),
            "calls_per_round": times.calls,
        }
    }


def write_json(path: str | os.PathLike[str], report: Report) -> None:
    """Write everything to a file, whole or not at all: what was there before stays until all is written."""
    target = Path(path)
    content = json.dumps(to_dict(report), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    partial = target.with_name(f".{target.name}-{secrets.token_hex(8)}")
    try:
        with open(partial, "x", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
