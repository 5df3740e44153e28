"""The page of the documentation that lists every cause: what it is, how it is told, what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dkl.doctor.case import CAUSES
from dkl.doctor.causes import load
from dkl.doctor.finding import Advice, Cause
from dkl.doctor.roles import DECISIVE, ROLES
from dkl.doctor.words import counted

HEAD = """# What the doctor finds

Every cause that `dkl doctor` looks for: what it is, which series it is told by, what to do, what makes sure of it, and
what would not help. [How often the doctor is right](doctor-confusion.md) tells which of the fixes were tried, and on
which runs. `python -m scripts.make_doctor_runs causes` remakes this page.
"""


def page(called: Mapping[str, str]) -> str:
    """The page, a section for each kind of training by the name that it is called."""
    load()
    # By file, whichever was imported first.
    registered = sorted(CAUSES, key=lambda pair: pair[1].__module__)
    parts = [HEAD]
    for kind, title in called.items():
        causes = [known for known, _ in registered if known.kind == kind]
        parts.append(f"## {title}\n\n{counted(len(causes), 'cause')}.\n")
        parts += [line for known in causes for line in _cause(known)]
    return "\n".join(parts).rstrip() + "\n"


def _cause(known: Cause) -> Iterator[str]:
    yield f"### {known.name}\n\n{known.because}\n"
    yield f"*Told by* {_needed(known)}.\n"
    yield from _advised("What to do, the best first", "1.", known.fixes)
    yield from _advised("To make sure", "-", known.checks)
    if known.not_helping:
        yield "**What would not help**\n"
        yield from (f"- {reason}" for reason in known.not_helping)
        yield ""
    yield f"*Described in* {known.reference}\n"


def _needed(known: Cause) -> str:
    meanings = ROLES[known.kind]
    if not known.needs:
        return f"`{'` or `'.join(DECISIVE[known.kind])}`, and surer by what else is logged"
    return "; ".join(f"`{role}` ({meanings[role]})" if role in meanings else f"`{role}`" for role in known.needs)


def _advised(title: str, mark: str, some: Sequence[Advice]) -> Iterator[str]:
    if not some:
        return
    yield f"**{title}**\n"
    room = " " * (len(mark) + 1)
    for one in some:
        yield f"{mark} {one.text}\n"
        if one.code:
            lines = ["```python", *one.code.strip("\n").split("\n"), "```"]
            yield "\n".join((room + line).rstrip() for line in lines) + "\n"
