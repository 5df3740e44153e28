"""The causes of distillation: on the labelled runs, and on losses made by PyTorch's own functions, entry by entry."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dkl.doctor import Diagnosis, diagnose
from scripts.make_doctor_runs import judged, stored

CLASSES, ROWS, STEPS = 50, 32, 12

Loss = Callable[[Tensor, Tensor], Tensor]


def log_of(
    loss: Loss, *, temperature: float = 1.0, measured: bool = True, kept: float = 1.0, label_weight: float = 0.0
) -> dict[str, list[float]]:
    """The log of a student that walks from nothing to its teacher; all but the loss is written in NumPy-like sums."""
    random = torch.Generator().manual_seed(0)
    log: dict[str, list[float]] = {}
    for step in range(STEPS):
        teacher = 5 * torch.randn(ROWS, CLASSES, generator=random, dtype=torch.float64)
        student = teacher * step / STEPS + 0.1 * torch.randn(ROWS, CLASSES, generator=random, dtype=torch.float64)
        p, q = ((x / temperature).softmax(-1) for x in (teacher, student))
        plain_p, plain_q = teacher.softmax(-1), student.softmax(-1)
        labels = torch.multinomial(plain_p, 1, generator=random)
        entries = {
            "step": step,
            "kl_loss": loss(student, teacher),
            "ce_loss": -plain_q.gather(-1, labels).log().mean(),
            "student_entropy": -(plain_q * plain_q.log()).sum(-1).mean(),
            "teacher_entropy": -(plain_p * plain_p.log()).sum(-1).mean(),
            "temperature": temperature,
            "label_weight": label_weight,
            "kept": kept + 0.01 * (step % 3) if kept < 1 else 1.0,
        }
        if measured:
            entries["forward_kl"] = (p * (p / q).log()).sum(-1).mean()
            entries["reverse_kl"] = (q * (q / p).log()).sum(-1).mean()
        entries["kl_loss"] *= entries["kept"]
        for name, value in entries.items():
            log.setdefault(name, []).append(float(value))
    return log


def right(student: Tensor, teacher: Tensor) -> Tensor:
    return functional.kl_div(student.log_softmax(-1), teacher.softmax(-1), reduction="batchmean")


def exchanged(student: Tensor, teacher: Tensor) -> Tensor:
    return right(teacher, student)


def everything(student: Tensor, teacher: Tensor) -> Tensor:
    return functional.kl_div(student.log_softmax(-1), teacher.softmax(-1), reduction="none").mean()


def at_four(student: Tensor, teacher: Tensor) -> Tensor:
    return right(student / 4, teacher / 4)


def the(diagnosis: Diagnosis) -> str:
    """The first finding above a note."""
    return next((f.name for f in diagnosis.findings if f.severity != "note"), diagnosis.status)


CASES: dict[str, tuple[Loss, dict[str, Any], dict[str, Any], str]] = {
    "right": (right, {}, {"direction": "forward", "classes": CLASSES}, "healthy"),
    "right, nothing measured": (right, {"measured": False}, {"direction": "forward", "classes": CLASSES}, "healthy"),
    "right at 4": (lambda s, t: 16 * at_four(s, t), {"temperature": 4.0, "label_weight": 0.5}, {}, "healthy"),
    "exchanged": (exchanged, {}, {"direction": "forward"}, "KL in the other direction"),
    "exchanged, nothing known": (exchanged, {}, {}, "healthy"),
    "exchanged, nothing measured": (
        exchanged,
        {"measured": False},
        {"direction": "forward"},
        "KL in the other direction",
    ),
    "forward where reverse is meant": (right, {}, {"direction": "reverse"}, "KL in the other direction"),
    "probabilities": (
        lambda s, t: functional.kl_div(s.softmax(-1), t.softmax(-1), reduction="batchmean"),
        {},
        {},
        "F.kl_div without logarithms",
    ),
    "logits": (
        lambda s, t: functional.kl_div(s, t.softmax(-1), reduction="batchmean"),
        {},
        {},
        "F.kl_div without logarithms",
    ),
    "logarithms": (
        lambda s, t: functional.kl_div(s.log_softmax(-1), t.log_softmax(-1), reduction="batchmean"),
        {},
        {},
        "F.kl_div with a teacher's logarithms",
    ),
    "everything": (everything, {}, {"classes": CLASSES}, "divided by the number of classes"),
    "everything, classes unknown": (everything, {}, {}, "divided by the number of classes"),
    "everything, nothing measured": (
        everything,
        {"measured": False},
        {"classes": CLASSES},
        "divided by the number of classes",
    ),
    "everything at 4": (
        lambda s, t: 16 * everything(s / 4, t / 4),
        {"temperature": 4.0},
        {"classes": CLASSES},
        "divided by the number of classes",
    ),
    "no square": (at_four, {"temperature": 4.0, "label_weight": 0.5}, {}, "temperature squared is missing"),
    "no square, no labels": (at_four, {"temperature": 4.0}, {}, "healthy"),
    "padding": (right, {"kept": 0.4}, {}, "padding is counted"),
    "padding, nothing measured": (right, {"kept": 0.4, "measured": False}, {}, "padding is counted"),
    "sum": (lambda s, t: ROWS * right(s, t), {"label_weight": 0.5}, {"batch_size": ROWS}, "summed over the batch"),
    "sum, batch unknown": (lambda s, t: ROWS * right(s, t), {"label_weight": 0.5}, {}, "summed over the batch"),
    "sum, no labels": (lambda s, t: ROWS * right(s, t), {}, {"batch_size": ROWS}, "healthy"),
}


@pytest.mark.parametrize("name", CASES)
def test_losses_of_pytorch(name: str) -> None:
    loss, options, known, expected = CASES[name]
    diagnosis = diagnose(log_of(loss, **options), kind="distillation", **known)
    assert the(diagnosis) == expected
    for finding in diagnosis.findings:
        assert 0 < finding.confidence <= 1
        assert all("kl_loss" in evidence.text or evidence.series for evidence in finding.evidence)


@pytest.mark.parametrize(("beta", "expected"), [(0.01, True), (0.99, True), (0.5, False)])
@pytest.mark.parametrize("known", [True, False])
def test_the_ends_of_an_interpolation(beta: float, expected: bool, known: bool) -> None:
    def loss(student: Tensor, teacher: Tensor) -> Tensor:
        p, q = teacher.softmax(-1), student.softmax(-1)
        m = beta * p + (1 - beta) * q
        return (beta * p * (p / m).log() + (1 - beta) * q * (q / m).log()).sum(-1).mean()

    diagnosis = diagnose(log_of(loss), kind="distillation", **({"interpolation": beta} if known else {}))
    assert the(diagnosis) == ("interpolation near its end" if expected else "healthy")


def test_an_end_itself_by_hand_is_the_kl_and_by_the_formula_is_nothing() -> None:
    by_hand = diagnose(log_of(right), kind="distillation", interpolation=0.0)
    by_formula = diagnose(log_of(lambda s, t: 0 * right(s, t)), kind="distillation", interpolation=0.0)
    assert the(by_hand) == "healthy"
    assert the(by_formula) == "interpolation near its end"


def test_the_words_name_the_argument() -> None:
    """Which of the two was given shows by a bound: −Σ p·q is never below −1."""
    said = {}
    for name in ("probabilities", "logits"):
        log = log_of(CASES[name][0])
        (finding,) = diagnose(log, kind="distillation").findings
        said[name] = finding.evidence[1].text
        assert finding.severity == "error"
    assert "the student's probabilities" in said["probabilities"]
    assert "the student's logits" in said["logits"]


def test_the_labels_share_is_said() -> None:
    log = log_of(at_four, temperature=4.0, label_weight=0.5)
    (finding,) = diagnose(log, kind="distillation").findings
    # 0.5 beside 0.5/16.
    assert "weighs as 0.941" in finding.evidence[1].text
    assert finding.severity == "warning"


def test_the_divergence_is_what_the_labels_leave_of_the_loss() -> None:
    log = log_of(everything, label_weight=0.25)
    soft, hard = (np.array(log[name]) for name in ("kl_loss", "ce_loss"))
    log["loss"] = list(0.75 * soft + 0.25 * hard)
    del log["kl_loss"]
    diagnosis = diagnose(log, kind="distillation", classes=CLASSES)
    np.testing.assert_allclose(diagnosis.roles["kl"].values, soft, rtol=1e-12)
    assert the(diagnosis) == "divided by the number of classes"
    assert "kl is (loss − 0.25·ce_loss)/0.75: what the labels leave of the loss." in diagnosis.statements


def test_a_loss_alone_is_the_divergence() -> None:
    log = log_of(lambda s, t: functional.kl_div(s, t.softmax(-1), reduction="batchmean"))
    diagnosis = diagnose(
        {"step": log["step"], "loss": log["kl_loss"], "student_entropy": log["student_entropy"]}, kind="distillation"
    )
    assert the(diagnosis) == "F.kl_div without logarithms"
    assert diagnosis.roles["kl"].name == "loss"


def test_rounding_below_zero_is_nothing() -> None:
    values = [0.3, 0.1, 0.01, -1e-4, 1e-4, -1e-4, -1e-4, -1e-4]
    assert diagnose({"step": range(8), "kl_loss": values}, kind="distillation").status == "healthy"


def test_nan_in_the_middle_is_another_matter() -> None:
    log = log_of(right)
    log["kl_loss"][6:] = [math.nan] * 6
    names = [finding.name for finding in diagnose(log, kind="distillation").findings]
    assert "F.kl_div with a teacher's logarithms" not in names


def test_an_unknown_direction_is_refused() -> None:
    with pytest.raises(ValueError, match="direction='backward' is none of 'forward', 'reverse'"):
        diagnose(log_of(right), kind="distillation", direction="backward")


@pytest.mark.parametrize("half", ["tuning", "held-out"])
def test_the_labelled_runs(half: str) -> None:
    score = judged(run for run in stored("distillation") if run.half == half)
    assert score.faulty >= 30
    assert score.right >= 0.9 * score.faulty
    assert score.false_alarms <= 0.05 * score.healthy
