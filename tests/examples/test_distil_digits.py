"""The distilled students, for a short time: the direction of the KL decides what they become, and faults show."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from examples.distil_digits import STUDENTS, Settings, calibration_error, main, run, told

SHORT = Settings(steps=250, teacher_steps=200, log_every=125)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks so small are slowed down by a second thread, the more so the busier the machine is."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def summaries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("distil")
    return {name: run(replace(SHORT, beta=beta), folder / name) for name, beta in STUDENTS.items()}


def test_the_direction_decides_how_sure_a_student_is(summaries: dict[str, dict[str, Any]]) -> None:
    forward, middle, reverse = (summaries[name] for name in ("forward_kl", "jsd", "reverse_kl"))
    assert forward["teacher_accuracy"] > 0.9
    assert all(s["accuracy"] > 0.3 for s in summaries.values())
    # Forward KL covers, reverse KL commits itself; each wins by its own measure.
    assert forward["student__entropy"] > middle["student__entropy"] > reverse["student__entropy"]
    assert forward["test__forward_kl"] < reverse["test__forward_kl"]
    assert reverse["test__reverse_kl"] < forward["test__reverse_kl"]
    assert len(forward["dropped"]) <= len(reverse["dropped"])


def test_a_run_can_be_repeated(summaries: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    again = run(SHORT, tmp_path / "again")
    assert again == summaries["forward_kl"]
    other = run(replace(SHORT, steps=1, teacher_steps=1, seed=1), tmp_path / "other")
    assert other["loss"] != again["history"][0]["loss"]


def test_what_is_written(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--out", str(tmp_path), "--steps", "3", "--hidden", "4"], catch_exceptions=False)
    assert result.exit_code == 0
    for name in STUDENTS:
        assert f"{name}: accuracy" in result.output
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [1, 3]
        assert {"loss", "grad_norm", "accuracy", "student/entropy", "test/forward_kl"} <= set(lines[0])
        assert list((tmp_path / name).glob("events.out.tfevents.*"))
    assert (tmp_path / "distil_digits.png").read_bytes().startswith(b"\x89PNG")


def test_sides_in_the_wrong_order_are_the_other_direction(tmp_path: Path) -> None:
    brief = replace(SHORT, steps=2, teacher_steps=2)
    wrong = run(replace(brief, exchanged=True), tmp_path / "wrong")
    meant = run(replace(brief, beta=1.0), tmp_path / "meant")
    assert wrong["loss"] == pytest.approx(meant["loss"], rel=1e-5)
    assert wrong["loss"] != pytest.approx(run(brief, tmp_path / "right")["loss"], rel=1e-3)


def test_a_run_that_breaks_down_says_so(tmp_path: Path) -> None:
    summary = run(replace(SHORT, steps=60, teacher_steps=2, learning_rate=1e37, log_every=1), tmp_path / "run")
    assert summary["stopped"] < 60
    assert summary["loss"] == math.inf
    assert f"stopped at step {summary['stopped']}" in told("forward_kl", summary)


def test_the_split_must_leave_something(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="training_rows = 1797 must leave some of the 1797 digits"):
        run(replace(SHORT, training_rows=1797), tmp_path / "run")


def test_calibration_error_by_hand() -> None:
    sure = torch.tensor([0.95, 0.97, 0.55, 0.52, 1.0])
    right = torch.tensor([True, False, True, False, True])
    expected = (abs(0.95 + 0.97 + 1.0 - 2) + abs(0.55 + 0.52 - 1)) / 5
    assert calibration_error(sure, right) == pytest.approx(expected, rel=1e-6)
