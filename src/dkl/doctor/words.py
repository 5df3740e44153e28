"""What a diagnosis says in sentences, and a series as a chart of letters: the same on a terminal and on a page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dkl.doctor.case import CAUSES
from dkl.doctor.causes import load
from dkl.doctor.finding import SEVERITIES, Diagnosis, Evidence, Finding, Fix
from dkl.doctor.roles import ROLES
from dkl.doctor.series import Numbers, Series

# A series of positive values that spans more than this factor is drawn on a logarithmic scale.
_LOG_FROM = 50.0
# What is farther from a series' median than this times the distance of its quartiles is a peak, and not its noise.
_OUTSTANDING = 6.0
_BLOCKS = " ▁▂▃▄▅▆▇█"
_BROKEN = "×"


def summary(diagnosis: Diagnosis) -> str:
    """The answer in one sentence."""
    found = [finding for finding in diagnosis.findings if finding.severity != "note"]
    if found:
        first, *others = found
        more = f", and {counted(len(others), 'further finding')}" if others else ""
        return f"{first.severity.capitalize()}: {first.name} ({first.sure}){more}."
    if diagnosis.status == "cannot tell":
        return f"Cannot tell: {_why_not(diagnosis)}"
    missing = len(diagnosis.missing)
    looked = looked_for(diagnosis)
    sought = f"none of the {counted(looked, 'cause')} that these series can show" if looked > 1 else "nothing"
    unlooked = f"; {missing} more could not be looked for" if missing else ""
    notes = f", with {counted(len(diagnosis.findings), 'remark')}" if diagnosis.findings else ""
    return f"Healthy{notes}: {sought} was found{unlooked}."


def looked_for(diagnosis: Diagnosis) -> int:
    """How many causes could be looked for."""
    load()
    return sum(known.kind == diagnosis.kind and known.name not in diagnosis.missing for known, _ in CAUSES)


def at_or_above(diagnosis: Diagnosis, severity: str) -> bool:
    """Whether any finding is as severe as this, or more."""
    limit = [str(one) for one in SEVERITIES].index(severity)
    return any(SEVERITIES.index(finding.severity) >= limit for finding in diagnosis.findings)


def heading(finding: Finding) -> str:
    """A finding's name as a heading."""
    name = finding.name
    # A Greek letter's capital is another letter to the eye.
    return name[:1].upper() + name[1:] if name[:1].isascii() else name


def fixes(finding: Finding) -> tuple[Fix, ...]:
    """What to do, in order of preference: what fits the run better replaces what fits the cause."""
    return finding.fixes or finding.cause.fixes


def unlooked(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    """The causes that could not be looked for, those that lack the same series together: their names, what to log."""
    together: dict[tuple[str, ...], list[str]] = {}
    for cause, lacking in diagnosis.missing.items():
        together.setdefault(tuple(lacking), []).append(cause)
    meanings = ROLES.get(diagnosis.kind or "", {})
    for roles, causes in together.items():
        logged = "; ".join(f"{role} ({meanings[role]})" if role in meanings else role for role in roles)
        yield ", ".join(causes), f"log {logged}"


def shown(evidence: Evidence) -> tuple[Series, ...]:
    """The series of an evidence that are worth a drawing: one that stays at a value is told by its number."""
    return tuple(series for series in evidence.series if np.unique(series.finite.values).size > 1)


def figure(number: float) -> str:
    """A number for people: three significant digits, whole numbers of thousands with separators.

    Examples
    --------
    >>> figure(4812.3), figure(0.01234), figure(3.2e9), figure(float("inf"))
    ('4,812', '0.0123', '3.2e+09', '∞')
    """
    if np.isinf(number):
        return "∞" if number > 0 else "-∞"
    return f"{number:,.0f}" if 1000 <= abs(number) < 1e7 else f"{number:.3g}"


def counted(count: int, noun: str) -> str:
    """A number of things."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def is_logarithmic(values: Numbers) -> bool:
    """Whether finite values are better drawn on a logarithmic scale."""
    return bool(values.size and values.min() > 0 and values.max() > _LOG_FROM * values.min())


@dataclass(frozen=True)
class Chart:
    """A series drawn in letters, from the top line to the bottom line."""

    lines: list[str]
    #: What the top and the bottom stand for.
    high: float
    low: float
    logarithmic: bool
    #: The first and the last letter of the steps to look at; None for all of them.
    span: tuple[int, int] | None
    #: Whether a letter stands for values that are NaN or infinite.
    broken: bool


def chart(series: Series, width: int, height: int = 1, steps: tuple[float, float] | None = None) -> Chart:
    """Draw a series as bars of eighths of a letter.

    Parameters
    ----------
    series : Series
        With a finite value at least.
    width, height : int
        Letters and lines, at most and exactly.
    steps : (float, float), optional
        The steps to look at.

    Notes
    -----
    Where several entries share a letter, it stands for their median, or for one of them that stands out of the whole
    series, so that no peak is lost; the greatest of all and the least are kept. A letter with a value that is no finite
    number is ``×``.

    Examples
    --------
    >>> import numpy as np
    >>> chart(Series("kl", np.arange(5.0), np.array([0.0, 1.0, 2.0, np.nan, 8.0])), width=10).lines
    ['▁▂▃×█']
    """
    values, first, last = _cells(series, width)
    finite = np.isfinite(values)
    everything = series.finite.values
    least, greatest = float(everything.min()), float(everything.max())
    logarithmic = is_logarithmic(everything) and least > 0
    heights, low, high = np.where(finite, values, least), least, greatest
    if logarithmic:
        heights, low, high = np.log(heights), float(np.log(low)), float(np.log(high))
    eighths = 8 * height
    with np.errstate(over="ignore", invalid="ignore"):
        # Halved first: the range of floats is twice as wide as a float.
        share = (heights / 2 - low / 2) / (high / 2 - low / 2) if high > low else np.full(heights.shape, 0.5)
    filled = np.clip(np.rint(share * (eighths - 1)) + 1, 1, eighths).astype(int)
    lines = []
    for line in reversed(range(height)):
        letters = [_BLOCKS[min(8, max(0, fill - 8 * line))] for fill in filled]
        lines.append(
            "".join(c if good else _BROKEN if line == 0 else " " for c, good in zip(letters, finite, strict=True))
        )
    span = None
    if steps is not None:
        inside = np.flatnonzero((last >= steps[0]) & (first <= steps[1]))
        if inside.size and inside.size < values.size:
            span = int(inside[0]), int(inside[-1])
    return Chart(
        lines,
        greatest,
        least,
        logarithmic,
        span,
        not bool(np.isfinite(series.values).all()),
    )


def _cells(series: Series, width: int) -> tuple[Numbers, Numbers, Numbers]:
    """What each letter stands for: a value, and its first and last step."""
    steps, values = series.steps, series.values
    if values.size <= width:
        return values, steps, steps
    edges = np.linspace(steps[0], steps[-1], width + 1)
    starts = np.searchsorted(steps, edges[:-1], side="left")
    ends = np.append(starts[1:], values.size)
    # Halved, as differences may be twice as wide as a float.
    quarter, middle, three_quarters = np.quantile(series.finite.values / 2, [0.25, 0.5, 0.75])
    extremes = series.finite.values.max() / 2, series.finite.values.min() / 2
    made = np.empty(width)
    for cell, (start, end) in enumerate(zip(starts, ends, strict=True)):
        part = values[start:end] / 2
        if not part.size:
            # Nothing was logged here: what was last logged stands.
            made[cell] = made[cell - 1]
        elif np.isfinite(part).all():
            farthest = part[np.argmax(np.abs(part - middle))]
            stands_out = abs(farthest - middle) > _OUTSTANDING * (three_quarters - quarter)
            extreme = next((value for value in extremes if value in part), None)
            made[cell] = 2 * (farthest if stands_out else np.median(part) if extreme is None else extreme)
        else:
            made[cell] = np.nan
    return made, edges[:-1], edges[1:]


def _why_not(diagnosis: Diagnosis) -> str:
    """Why nothing can be told: the last note, or where the kind of training is unknown the first statement."""
    said = diagnosis.statements[:1] if diagnosis.kind is None else diagnosis.notes[-1:]
    return said[0] if said else "these series do not hold what decides."
