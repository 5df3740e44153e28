"""Diagnoses as one page that needs nothing but itself: its styles and its drawings are in it, and no script."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape

import numpy as np

from dkl.doctor.finding import Advice, Diagnosis, Evidence, Finding
from dkl.doctor.series import Numbers, Series
from dkl.doctor.words import figure, fixes, heading, is_logarithmic, shown, summary, unlooked

# A drawing's size in its own units, and the room around it for what is written.
_WIDE, _HIGH = 640, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 10, 22
# More points than these on one line cannot be told apart.
_BINS = 400
_MOST_BROKEN = 60

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --dim: #5f6670; --paper: #ffffff; --card: #f6f7f9; --rule: #d5d9de;
  --line: #0072b2; --error: #b3261e; --warning: #8a5a00; --note: #1f6f43; --span: #e69f00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --dim: #9aa3ad; --paper: #14171a; --card: #1e2226;
  --rule: #383e45; --line: #5cb3e6; --error: #ff8a80; --warning: #f0b95a; --note: #7fd1a0; } }
body { margin: 0 auto; max-width: 52rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.1rem; color: var(--dim); font-weight: 600; } h2 { font-size: 1.35rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: 1.1rem; margin: 0; } h4 { font-size: .95rem; margin: 1rem 0 .25rem; }
article { background: var(--card); border: 1px solid var(--rule); border-left: .3rem solid var(--mark);
  border-radius: .4rem; padding: 1rem; margin: 1rem 0; }
.error { --mark: var(--error); } .warning { --mark: var(--warning); } .note { --mark: var(--note); }
.source, .how, dt { color: var(--dim); } .how { margin: 0 0 .5rem; } .how b { color: var(--mark); }
pre { overflow-x: auto; background: var(--paper); border: 1px solid var(--rule); border-radius: .3rem; padding: .6rem;
  font: .85rem/1.4 ui-monospace, monospace; overflow-wrap: normal; }
figure { margin: .5rem 0; } figcaption { font-size: .85rem; color: var(--dim); }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--dim); font: 11px system-ui, sans-serif; }
.axis { stroke: var(--rule); } .curve { fill: none; stroke: var(--line); stroke-width: 1.5; }
.span { fill: var(--span); opacity: .22; } .level { stroke: var(--ink); stroke-dasharray: 5 4; }
.broken { stroke: var(--error); stroke-width: 2; }
"""


def page(runs: Sequence[tuple[str, Diagnosis | str]]) -> str:
    """Write diagnoses as one page of HTML.

    Parameters
    ----------
    runs : sequence of (str, Diagnosis or str)
        Each run's source with its diagnosis, or with the reason why it could not be read.

    Returns
    -------
    str
        A whole page. It asks for nothing beside itself, and its policy forbids it to; what comes from the log is
        escaped. It is light or dark as the reader's system is.

    Examples
    --------
    >>> import dkl
    >>> log = {"kl": [3.1, 4.2, 5.0], "beta": [1.0, 1.0, 1.0], "reconstruction": [9.0, 8.0, 7.0]}
    >>> page([("mine.csv", dkl.doctor.diagnose(log))])[:15]
    '<!doctype html>'
    """
    title = "dkl doctor" if len(runs) != 1 else f"dkl doctor: {runs[0][0]}"
    body = "\n".join(part for source, answer in runs for part in _run(source, answer))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>dkl doctor</h1>\n{body}\n"
        "</body>\n</html>\n"
    )


def _run(source: str, answer: Diagnosis | str) -> Iterator[str]:
    yield "<section>"
    if isinstance(answer, str):
        yield f'<h2>Could not be read</h2><p class="source">{_text(source)}</p><p>{_text(answer)}</p></section>'
        return
    yield f'<h2>{_text(summary(answer))}</h2><p class="source">{_text(source)}</p>'
    for finding in answer.findings:
        yield from _finding(finding)
    if not answer.findings:
        yield from (drawing(answer.roles[role]) for role in ("kl", "kl_weighted", "loss") if _drawable(answer, role))
    yield from _listed("What was inferred, and is relied on", answer.statements)
    yield from _listed("What was out of order in the log", answer.notes)
    yield from _listed("What could not be looked for", (f"{names}: {what}" for names, what in unlooked(answer)))
    yield "</section>"


def _text(text: str) -> str:
    """Escaped, and with halves of letters, which UTF-8 cannot hold, written as numbers."""
    return escape(text.encode("utf-8", "backslashreplace").decode())


def _drawable(diagnosis: Diagnosis, role: str) -> bool:
    return role in diagnosis.roles and diagnosis.roles[role].finite.values.size > 1


def _finding(finding: Finding) -> Iterator[str]:
    yield f'<article class="{finding.severity}"><h3>{_text(heading(finding))}</h3>'
    yield f'<p class="how"><b>{finding.severity}</b> · {finding.sure}</p><p>{_text(finding.cause.because)}</p>'
    yield "<h4>Evidence</h4>"
    for evidence in finding.evidence:
        yield f"<p>{_text(evidence.text)}</p>"
        yield from (drawing(series, evidence) for series in shown(evidence))
    if advised := fixes(finding):
        yield f"<h4>What to do, the best first</h4><ol>{_advised(advised)}</ol>"
    if finding.cause.checks:
        yield f"<h4>To make sure</h4><ul>{_advised(finding.cause.checks)}</ul>"
    yield from _listed("What would not help", finding.cause.not_helping)
    yield f'<p class="source">Described in: {_text(finding.cause.reference)}</p></article>'


def _advised(some: Iterable[Advice]) -> str:
    return "".join(
        f"<li>{_text(one.text)}{f'<pre><code>{_text(one.code)}</code></pre>' if one.code else ''}</li>" for one in some
    )


def _listed(title: str, lines: Iterable[str]) -> Iterator[str]:
    items = "".join(f"<li>{_text(line)}</li>" for line in lines)
    if items:
        yield f"<h4>{title}</h4><ul>{items}</ul>"


def drawing(series: Series, evidence: Evidence | None = None) -> str:
    """Draw a series as SVG, with the steps and the level that an evidence is about.

    Parameters
    ----------
    series : Series
        With two finite values at least; a step at which it is NaN or infinite is marked.
    evidence : Evidence, optional
    """
    finite = series.finite
    level = None if evidence is None else evidence.level
    logarithmic = is_logarithmic(finite.values) and (level is None or level[1] > 0)
    steps, values = _thin(finite)
    heights = _scaled(values, logarithmic)
    bounds = [float(heights.min()), float(heights.max())]
    if level is not None and math.isfinite(level[1]):
        bounds.append(float(_scaled(np.array([level[1]]), logarithmic)[0]))
    low, high = min(bounds), max(bounds)
    first, last = float(series.steps[0]), float(series.steps[-1])
    inner = _WIDE - _LEFT - _RIGHT, _HIGH - _TOP - _BOTTOM

    def x(step: float) -> float:
        # Halved, so that the widest range of floats is one too.
        share = (step / 2 - first / 2) / (last / 2 - first / 2) if last > first else 0.5
        return round(_LEFT + inner[0] * min(max(share, 0.0), 1.0), 1)

    def y(height: float) -> float:
        share = (height / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.5
        return round(_TOP + inner[1] * (1 - share), 1)

    parts = []
    if evidence is not None and evidence.steps is not None:
        start, stop = (x(step) for step in evidence.steps)
        parts.append(
            f'<rect class="span" x="{start}" y="{_TOP}" width="{max(stop - start, 2):.1f}" height="{inner[1]}"/>'
        )
    bottom = _TOP + inner[1]
    parts.append(f'<line class="axis" x1="{_LEFT}" y1="{bottom}" x2="{_WIDE - _RIGHT}" y2="{bottom}"/>')
    points = " ".join(f"{x(step)},{y(height)}" for step, height in zip(steps.tolist(), heights.tolist(), strict=True))
    parts.append(f'<polyline class="curve" points="{points}"/>')
    parts += [
        f'<line class="broken" x1="{at}" y1="{bottom - 8}" x2="{at}" y2="{bottom + 4}"/>'
        for at in map(x, _broken(series))
    ]
    if level is not None and math.isfinite(level[1]):
        at = y(float(_scaled(np.array([level[1]]), logarithmic)[0]))
        parts.append(f'<line class="level" x1="{_LEFT}" y1="{at}" x2="{_WIDE - _RIGHT}" y2="{at}"/>')
    for height in dict.fromkeys((low, high)):
        number = math.exp(height) if logarithmic else height
        parts.append(f'<text x="{_LEFT - 6}" y="{y(height) + 4}" text-anchor="end">{figure(number)}</text>')
    for step, anchor in {first: "start", last: "end"}.items():
        parts.append(f'<text x="{x(step)}" y="{_HIGH - 5}" text-anchor="{anchor}">{step:,.10g}</text>')
    caption = [series.name]
    caption += ["logarithmic"] if logarithmic else []
    caption += [f"dashed: {level[0]}, {figure(level[1])}"] if level is not None else []
    caption += ["red marks: NaN or infinite"] if len(finite) < len(series) else []
    return (
        f'<figure><svg viewBox="0 0 {_WIDE} {_HIGH}" role="img" aria-label="{_text(series.name)} by step">'
        f"{''.join(parts)}</svg><figcaption>{_text(' · '.join(caption))}, by step</figcaption></figure>"
    )


def _scaled(values: Numbers, logarithmic: bool) -> Numbers:
    return np.log(values) if logarithmic else values


def _thin(series: Series) -> tuple[Numbers, Numbers]:
    """The least and the greatest of each part of a long series, in their order."""
    steps, values = series.steps, series.values
    if values.size <= 2 * _BINS:
        return steps, values
    kept = {0, values.size - 1}
    for part in np.array_split(np.arange(values.size), _BINS):
        kept |= {int(part[np.argmin(values[part])]), int(part[np.argmax(values[part])])}
    places = np.array(sorted(kept))
    return steps[places], values[places]


def _broken(series: Series) -> list[float]:
    steps = series.steps[~np.isfinite(series.values)]
    places = np.unique(np.linspace(0, steps.size - 1, _MOST_BROKEN).astype(int)) if steps.size else np.empty(0, int)
    return [float(step) for step in steps[places]]
