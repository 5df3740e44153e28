"""Plain logs: ``key=value`` or ``key: value`` anywhere in a line, and the tables that Stable-Baselines3 prints."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from dkl.doctor.readers.gathering import Gathering, UnreadableLogError, heard, unheard

_NUMBER = r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf(?:inity)?)\b"
# A name, = or :, and a number that ends there: no time, no version, no first of several.
_PAIR = re.compile(
    rf"""(?<![\w./\-])(?P<quote>['"]?)(?P<name>[A-Za-z_][\w./\-]{{0,200}}+(?:\([\w()]{{0,40}}\))?(?:\[\d+\])?)(?P=quote)\s*[=:]\s*
    (?:(?:tensor|(?:np\.|numpy\.)?float\d*)\(\s*)?['"]?(?P<value>{_NUMBER})(?![\w:/]|\.\w|,\d)""",
    re.IGNORECASE | re.VERBOSE,
)
_MOMENT = re.compile(
    r"(?<![\w/])(?P<word>(?:global|train|env)[ _]?steps?|steps?|iter(?:ation)?|it|update|epoch)\b['\"]?\s*[=:#]?\s*"
    r"\[?\s*"
    r"(?P<number>\d[\d_]*(?:\.\d+)?)(?!\w|[:.]\d)",
    re.IGNORECASE,
)
# How far a progress bar is: how many of how many, before its times.
_BAR = re.compile(r"\|\s*(?P<number>\d+)/(?P<total>\d+)\s*\[")
_CELL = re.compile(rf"^\|(?P<indent>\s*)(?P<name>\S.*?)\s*\|\s*(?P<value>{_NUMBER})?\s*\|\s*$", re.IGNORECASE)
# A table is as wide as a terminal; a longer line is none of its rows.
_WIDEST = 1000
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def is_table(head: str) -> bool:
    """Whether text holds a table as Stable-Baselines3 prints it."""
    return any(_cell(line) for line in head.splitlines())


def _cell(line: str) -> re.Match[str] | None:
    return _CELL.match(line) if len(line) < _WIDEST else None


def read_table(path: Path, into: Gathering) -> None:
    """Tables of ``| name | value |`` between lines of dashes, each a row; a name without value begins a group."""
    group, row = "", dict[str, float]()
    for line in _lines(path, into.passed):
        cell = _cell(line)
        if cell and cell["value"] is None:
            group = f"{cell['name'].rstrip('/')}/"
        elif cell and not cell["name"].endswith("..."):
            # What belongs to a group is indented below its name.
            inside = group if len(cell["indent"]) > 1 else ""
            row[f"{inside}{cell['name']}"] = _float(cell["value"])
        elif line.lstrip().startswith("--") and row:
            into.row(row)
            group, row = "", {}
    if row:
        into.row(row)


def read_pairs(path: Path, into: Gathering) -> None:
    """Every name with a number in every line.

    A line's step is what follows a word such as step, iteration or epoch, or how far its progress bar is; a line
    without goes with the step last named, unless several of them follow it: then the order counts.

    Raises
    ------
    UnreadableLogError
        If no line has any.
    """
    carried = _is_carried(path)
    last: tuple[float | None, float | None] = (None, None)
    found = False
    for line in _lines(path, into.passed):
        moment = _moment(line)
        last = moment if moment[0] is not None else last
        pairs = {match["name"]: _float(match["value"]) for match in _PAIR.finditer(line)}
        if pairs:
            found = True
            into.row(pairs, *(last if carried else (None, None)))
    if not found:
        raise UnreadableLogError(f"{into.source}: no line has a name and a number, such as kl=0.01 or kl: 0.01")


# So many lines with numbers are looked at to learn how a log counts.
_LOOKED_AT = 1000


def _is_carried(path: Path) -> bool:
    """Whether lines without a step belong to the step last named: not where one name comes twice for one step."""
    seen: set[str] = set()
    looked_at = 0
    for line in _lines(path):
        own = _moment(line)[0] is not None
        names = {match["name"] for match in _PAIR.finditer(line)}
        if own:
            seen = set()
        elif names & seen:
            return False
        seen |= names
        looked_at += bool(names)
        if looked_at == _LOOKED_AT:
            break
    return True


def _moment(line: str) -> tuple[float | None, float | None]:
    """The step and the epoch that a line names; without a step, its epoch is its step."""
    named: dict[str, float] = {}
    for match in _MOMENT.finditer(line):
        word = match["word"].lower()
        named.setdefault("epoch" if word == "epoch" else "step", float(match["number"].replace("_", "")))
    bar = _BAR.search(line)
    if bar and "step" not in named:
        # The bar of an epoch counts within it.
        return float(bar["number"]) + named.get("epoch", 0.0) * float(bar["total"]), None
    return named.get("step", named.get("epoch")), named.get("epoch")


def _float(text: str) -> float:
    return float(text.replace("_", ""))


def _lines(path: Path, passed: Callable[[int], None] = unheard) -> Iterator[str]:
    # A progress bar returns to the beginning of its line: what it wrote before stands for itself.
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for line in heard(file, passed):
            yield _COLOURS.sub("", line.rstrip("\n"))
