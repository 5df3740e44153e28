"""The guide's shell examples, run as they stand on the shipped example."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest

from .conftest import Run

_GUIDE = Path(__file__).parents[2] / "docs" / "compare.md"
_CHECKER = doctest.OutputChecker()
_LENIENT = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _examples() -> list[tuple[str, str, int]]:
    """Return each command that reads only the example or nothing, what it shows, and its exit code."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", _GUIDE.read_text(encoding="utf-8"), re.DOTALL):
        steps = [step.partition("\n") for step in block.split("$ ")[1:]]
        for (line, _, shown), following in zip(steps, [*steps[1:], ("", "", "")], strict=True):
            code = int(following[2]) if following[0] == "echo $?" else 0
            if line.startswith("dkl ") and ("--example" in line or "missing" in line) and "jq" not in line:
                found.append((line, shown, code))
    return found


@pytest.mark.parametrize(("line", "shown", "code"), _examples(), ids=[example[0] for example in _examples()])
def test_a_shell_example(run: Run, monkeypatch: pytest.MonkeyPatch, line: str, shown: str, code: int) -> None:
    command, _, filtered = line.partition(" | grep ^")
    if not filtered:
        for name, value in (("COLUMNS", "80"), ("FORCE_COLOR", "1"), ("NO_COLOR", "1")):
            monkeypatch.setenv(name, value)
    done = run(*shlex.split(command)[1:])
    printed = "".join(row for row in done.output.splitlines(keepends=True) if row.startswith(filtered))
    assert done.exit_code == code
    assert _CHECKER.check_output(shown, printed, _LENIENT), printed


def test_there_are_shell_examples() -> None:
    assert len(_examples()) == 5
