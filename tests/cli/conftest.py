"""The command line in this process and in one of its own, and small tables to run it on."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from dkl.cli.group import dkl

COMMAND = [sys.executable, "-W", "error", "-c", "from dkl.cli.main import main; main()"]

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Run the command line in this process; any exception but an exit is the test's failure."""

    def invoke(*arguments: object, **options: object) -> Result:
        result = CliRunner().invoke(dkl, [str(one) for one in arguments], prog_name="dkl", **options)  # type: ignore[arg-type]
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


def spawn(*arguments: object, env: dict[str, str] | None = None, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [*COMMAND, *(str(one) for one in arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"} | (env or {}),
        check=False,
        **options,  # type: ignore[call-overload]
    )


def write_csv(path: Path, **columns: object) -> Path:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))  # type: ignore[call-overload]
    return path


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    """Two tables: x has moved, y has not, and z has a value that the reference lacks."""
    rng = np.random.default_rng(5)
    n = 2000
    y = rng.normal(size=n)
    before = write_csv(tmp_path / "before.csv", x=rng.normal(size=n), y=y, z=rng.choice(["a", "b"], n))
    z = rng.choice(["a", "b", "new"], n, p=[0.5, 0.48, 0.02])
    after = write_csv(tmp_path / "after.csv", x=rng.normal(size=n) + 0.5, y=rng.permutation(y), z=z)
    return before, after


@pytest.fixture(autouse=True)
def _colourless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the terminal that runs the tests out of them."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE", "_DKL_COMPLETE"):
        monkeypatch.delenv(name, raising=False)
