"""A teacher of handwritten digits distilled into a student far too small for it: which way the KL points decides how.

The student's hidden layer has two units, so it cannot agree with the teacher everywhere. Forward KL(teacher‖student)
charges it for every digit that the teacher thinks possible and the student does not: it hedges, and stays uncertain.
Reverse KL(student‖teacher) charges it for what it says and the teacher does not: it commits itself, and may give up a
digit altogether. Between the two lies the Jensen-Shannon divergence.

``python -m examples.distil_digits --out DIR`` trains one student by each and draws them side by side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

import dkl
from dkl.training import distillation_loss, generalized_jsd
from dkl.training.reduction import Reduction
from examples.recording import SEED, NumberRange, Recorder, progress

#: The students by the β of generalised distillation that each is trained with.
STUDENTS = {"forward_kl": 0.0, "jsd": 0.5, "reverse_kl": 1.0}
DIGITS = 10


@dataclass(frozen=True)
class Settings:
    """How one student is distilled: everything that goes wrong in practice is a setting.

    Attributes
    ----------
    seed : int
        Of the split of the data, the weights and the batches.
    beta : float
        0 for forward KL, 1 for reverse KL, and between them the teacher's share in the mixture of JSD.
    temperature : float
        By which both sides' logits are divided.
    temperature_squared : bool
        Whether the loss is multiplied by its square.
    label_weight : float
        The share of the cross-entropy with the right digits.
    reduction : {"mean", "sum"}
        Over the batch; ``"sum"`` makes the gradient as many times larger as the batch has rows.
    learning_rate : float
        Of the student's Adam.
    gradient_clip : float, optional
        The largest norm of the student's gradient.
    steps, batch_size, hidden : int
        Of the student.
    exchanged : bool
        Hand teacher and student over in the wrong order, as is easily done.
    over_everything : bool
        Take the mean over rows and classes, as ``F.kl_div`` does unless it is told not to.
    kl_div : {"probabilities", "logits", "logarithms"}, optional
        Use ``F.kl_div``, and hand it the student's probabilities or its logits, where logarithms of probabilities
        belong, or the teacher's logarithms, where probabilities belong.
    padding : float
        The share of a batch's rows that are empty, as in a batch of texts of different lengths.
    padding_counted : bool
        Take the mean over these rows too.
    teacher_steps, teacher_hidden : int
        Of the teacher.
    teacher_learning_rate : float
        Adam's.
    training_rows : int
        How many of the 1,797 digits are trained on; the rest is for judging.
    log_every : int
        Steps between two lines of the metrics.
    """

    seed: int = 0
    beta: float = 0.0
    temperature: float = 1.0
    temperature_squared: bool = True
    label_weight: float = 0.0
    reduction: Reduction = "mean"
    learning_rate: float = 0.02
    gradient_clip: float | None = None
    steps: int = 1000
    batch_size: int = 64
    hidden: int = 2
    exchanged: bool = False
    over_everything: bool = False
    kl_div: Literal["probabilities", "logits", "logarithms"] | None = None
    padding: float = 0.0
    padding_counted: bool = False
    teacher_steps: int = 300
    teacher_hidden: int = 128
    teacher_learning_rate: float = 3e-3
    training_rows: int = 1200
    log_every: int = 20


@dataclass(frozen=True)
class Digits:
    """Pixels in [0, 1] and labels, for training and for judging."""

    pixels: Tensor
    labels: Tensor
    test_pixels: Tensor
    test_labels: Tensor

    @classmethod
    def split(cls, rows: int, random: torch.Generator) -> Digits:
        """scikit-learn's digits in random order, the first so many for training."""
        x, y = load_digits(return_X_y=True)
        if not 0 < rows < len(y):
            raise ValueError(f"training_rows = {rows} must leave some of the {len(y)} digits on each side")
        order = torch.randperm(len(y), generator=random)
        pixels, labels = torch.tensor(x / 16, dtype=torch.float32)[order], torch.tensor(y)[order]
        return cls(pixels[:rows], labels[:rows], pixels[rows:], labels[rows:])

    def batch(self, size: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random rows for training, with replacement."""
        rows = torch.randint(len(self.labels), (size,), generator=random)
        return self.pixels[rows], self.labels[rows]


def network(hidden: int, random: torch.Generator) -> nn.Sequential:
    """One hidden layer from 64 pixels to 10 logits."""
    layers = nn.Sequential(nn.Linear(64, hidden), nn.Tanh(), nn.Linear(hidden, DIGITS))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight, generator=random)
            nn.init.zeros_(layer.bias)
    return layers


def teach(digits: Digits, settings: Settings, random: torch.Generator) -> nn.Sequential:
    """A teacher trained on the labels."""
    teacher = network(settings.teacher_hidden, random)
    optimizer = torch.optim.Adam(teacher.parameters(), lr=settings.teacher_learning_rate)
    for _ in range(settings.teacher_steps):
        pixels, labels = digits.batch(settings.batch_size, random)
        optimizer.zero_grad()
        functional.cross_entropy(teacher(pixels), labels).backward()
        optimizer.step()
    return teacher.requires_grad_(False)


@dataclass(frozen=True)
class Batch:
    """Logits of both sides, labels, and which rows are more than padding."""

    student: Tensor
    teacher: Tensor
    labels: Tensor
    kept: Tensor

    def soft_loss(self, settings: Settings) -> Tensor:
        """The part of the loss that is a divergence, before its share."""
        if settings.kl_div is not None:
            return self._by_pytorch(settings)
        loss = distillation_loss(
            self.student,
            self.teacher,
            generalized_jsd(settings.beta),
            temperature=settings.temperature,
            temperature_squared=settings.temperature_squared,
            reverse=settings.exchanged,
            mask=self.kept,
            reduction=settings.reduction,
        )
        if settings.over_everything:
            loss = loss / DIGITS
        # As by `(loss * mask).mean()`: padding adds nothing to the sum, but to the number of rows.
        return loss * self.kept.float().mean() if settings.padding_counted else loss

    def _by_pytorch(self, settings: Settings) -> Tensor:
        student, teacher = self.student[self.kept], self.teacher[self.kept]
        said = {
            "probabilities": (student.softmax(-1), teacher.softmax(-1)),
            "logits": (student, teacher.softmax(-1)),
            "logarithms": (student.log_softmax(-1), teacher.log_softmax(-1)),
        }[settings.kl_div or "logits"]
        return functional.kl_div(*said, reduction="batchmean")

    def hard_loss(self) -> Tensor:
        """The cross-entropy with the right digits."""
        return functional.cross_entropy(self.student[self.kept], self.labels[self.kept])

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def measured(self, settings: Settings) -> dict[str, float]:
        """What the soft loss should be: both KLs at the temperature, without its square, over the rows that count."""
        both = {"forward_kl": dkl.kl, "reverse_kl": dkl.reverse_kl}
        return {
            name: float(
                distillation_loss(
                    self.student,
                    self.teacher,
                    divergence,
                    temperature=settings.temperature,
                    temperature_squared=False,
                    mask=self.kept,
                )
            )
            for name, divergence in both.items()
        }


@torch.no_grad()  # type: ignore[untyped-decorator]
def judged(student: nn.Module, teacher: nn.Module, digits: Digits) -> dict[str, float]:
    """How the student does on digits that it has not seen, as metrics."""
    logits, wanted = student(digits.test_pixels), teacher(digits.test_pixels)
    if not bool(torch.isfinite(logits).all()):
        return {"accuracy": math.nan}
    p, q = wanted.softmax(-1), logits.softmax(-1)
    sure, said = q.max(-1)
    right = said == digits.test_labels
    return {
        "accuracy": float(right.float().mean()),
        "agreement": float((said == wanted.argmax(-1)).float().mean()),
        "calibration_error": calibration_error(sure, right),
        "student__entropy": float(dkl.entropy(q).mean()),
        "teacher__entropy": float(dkl.entropy(p).mean()),
        "test__forward_kl": float(distillation_loss(logits, wanted, dkl.kl)),
        "test__reverse_kl": float(distillation_loss(logits, wanted, dkl.reverse_kl)),
        "test__js": float(distillation_loss(logits, wanted, dkl.js)),
    }


def calibration_error(sure: Tensor, right: Tensor, bins: int = 10) -> float:
    """The expected calibration error: |confidence − accuracy| in bins of equal width, weighted by their counts."""
    index = (sure * bins).long().clamp(max=bins - 1)
    gaps = torch.zeros(bins).index_add(0, index, sure - right.float())
    return float(gaps.abs().sum() / len(sure))


@torch.no_grad()  # type: ignore[untyped-decorator]
def recall(model: nn.Module, digits: Digits) -> list[float]:
    """Of each digit's test images, the share that the model calls by its name."""
    said = model(digits.test_pixels).argmax(-1)
    return [float((said[digits.test_labels == digit] == digit).float().mean()) for digit in range(DIGITS)]


def batched(
    digits: Digits, student: nn.Module, teacher: nn.Module, settings: Settings, random: torch.Generator
) -> Batch:
    """Random rows as both sides see them, some of them padding: without ink, and never all."""
    pixels, labels = digits.batch(settings.batch_size, random)
    kept = torch.ones(len(labels), dtype=torch.bool)
    if settings.padding:
        kept = torch.rand(len(labels), generator=random) >= settings.padding
        kept[0] = True
        pixels = pixels * kept[:, None]
    return Batch(student(pixels), teacher(pixels), labels, kept)


def run(settings: Settings, out: str | Path) -> dict[str, Any]:
    """Train a teacher and distil it into one student.

    Parameters
    ----------
    settings : Settings
        How.
    out : str or Path
        The folder of the run: ``metrics.jsonl`` and TensorBoard events.

    Returns
    -------
    dict
        The last judgement on the test digits, ``teacher_accuracy``, ``recall`` and ``teacher_recall`` by digit,
        ``dropped``, the digits of which the student recalls less than a tenth, the ``history`` of what was logged, and
        ``stopped``, the step at which a logit or the loss was no longer finite, or None.
    """
    random = torch.Generator().manual_seed(settings.seed)
    digits = Digits.split(settings.training_rows, random)
    teacher = teach(digits, settings, random)
    student = network(settings.hidden, random)
    optimizer = torch.optim.Adam(student.parameters(), lr=settings.learning_rate)
    history: list[dict[str, float]] = []
    stopped = None
    with Recorder(out) as record, progress(f"student, {generalized_jsd(settings.beta)!r}", settings.steps) as advance:
        for step in range(1, settings.steps + 1):
            batch = batched(digits, student, teacher, settings, random)
            if not bool(torch.isfinite(batch.student).all()):
                stopped = step
                break
            soft, hard = batch.soft_loss(settings), batch.hard_loss()
            # A part of no weight may be infinite.
            share = settings.label_weight
            loss = soft if share == 0 else hard if share == 1 else (1 - share) * soft + share * hard
            optimizer.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(student.parameters(), settings.gradient_clip or math.inf)
            optimizer.step()
            stopped = None if bool(torch.isfinite(loss)) else step
            if stopped or step in (1, settings.steps) or step % settings.log_every == 0:
                metrics = {
                    "loss": float(loss.detach()),
                    "distillation_loss": float(soft.detach()),
                    "cross_entropy": float(hard.detach()),
                    "temperature": settings.temperature,
                    "label_weight": settings.label_weight,
                    "kept": float(batch.kept.float().mean()),
                    **batch.measured(settings),
                    "grad_norm": float(norm),
                    "learning_rate": settings.learning_rate,
                    **judged(student, teacher, digits),
                }
                record.log(step, **metrics)
                history.append({"step": float(step), **metrics})
            advance(loss=float(loss.detach()))
            if stopped:
                break
    recalled = recall(student, digits)
    return {
        **(history[-1] if history else {}),
        "teacher_accuracy": float((teacher(digits.test_pixels).argmax(-1) == digits.test_labels).float().mean()),
        "recall": recalled,
        "teacher_recall": recall(teacher, digits),
        "dropped": [digit for digit, share in enumerate(recalled) if share < 0.1],
        "history": history,
        "stopped": stopped,
    }


def drawn(summaries: dict[str, dict[str, Any]]) -> Figure:
    """All students in one picture: how far they are from the teacher both ways, how sure, and what they know."""
    figure = Figure(figsize=(12, 6.8), layout="constrained")
    grid = figure.add_gridspec(2, 3)
    curves = [figure.add_subplot(grid[0, k]) for k in range(3)]
    bars = figure.add_subplot(grid[1, :])
    for name, summary in summaries.items():
        steps = [line["step"] for line in summary["history"]]
        for ax, metric in zip(curves, ("test__forward_kl", "test__reverse_kl", "student__entropy"), strict=True):
            ax.plot(steps, [line.get(metric, math.nan) for line in summary["history"]], label=name)
    for ax, label in zip(curves, ("KL(teacher‖student)", "KL(student‖teacher)", "entropy"), strict=True):
        ax.set(xlabel="step", ylabel=f"{label}, nats", ylim=(0, None))
    first = next(iter(summaries.values()))
    curves[2].axhline(first["history"][-1]["teacher__entropy"], color="grey", linestyle=":", label="teacher")
    curves[2].legend(fontsize="small")
    shares = {"teacher": first["teacher_recall"], **{name: s["recall"] for name, s in summaries.items()}}
    width = 0.8 / len(shares)
    for k, (name, share) in enumerate(shares.items()):
        where = np.arange(DIGITS) + (k - (len(shares) - 1) / 2) * width
        bars.bar(where, share, width, label=name, color="grey" if name == "teacher" else f"C{k - 1}")
    bars.set(xlabel="digit", ylabel="share of the digit's test images recognised", xticks=range(DIGITS), ylim=(0, 1.2))
    bars.legend(fontsize="small", ncols=len(shares))
    return figure


def told(name: str, summary: dict[str, Any]) -> str:
    """One student in words."""
    if summary["stopped"] is not None:
        return f"{name}: stopped at step {summary['stopped']}, where its logits or its loss were no longer finite"
    dropped = ", ".join(map(str, summary["dropped"])) or "none"
    return (
        f"{name}: accuracy {summary['accuracy']:.1%} (teacher {summary['teacher_accuracy']:.1%}), entropy "
        f"{summary['student__entropy']:.2f} nats (teacher {summary['teacher__entropy']:.2f}), calibration error "
        f"{summary['calibration_error']:.1%}, KL(teacher‖student) {summary['test__forward_kl']:.2f}, "
        f"KL(student‖teacher) {summary['test__reverse_kl']:.2f}; digits dropped: {dropped}"
    )


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for metrics and the picture.")
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Of the data's split, the weights and the batches."
)
@click.option("--steps", type=click.IntRange(1), default=Settings.steps, show_default=True, help="Of each student.")
@click.option(
    "--hidden", type=click.IntRange(1), default=Settings.hidden, show_default=True, help="Units of a student."
)
@click.option(
    "--temperature",
    type=NumberRange(1e-3, 1e3),
    default=Settings.temperature,
    show_default=True,
    help="Divides both sides' logits.",
)
def main(out: Path, seed: int, steps: int, hidden: int, temperature: float) -> None:
    """Distil a teacher of digits into one small student by each of forward KL, JSD and reverse KL."""
    # Matrices as small as these are multiplied faster by one thread than by several that wait for each other.
    torch.set_num_threads(1)
    summaries = {}
    for name, beta in STUDENTS.items():
        settings = replace(Settings(seed=seed, steps=steps, hidden=hidden, temperature=temperature), beta=beta)
        summaries[name] = run(settings, out / name)
        click.echo(told(name, summaries[name]))
    drawn(summaries).savefig(out / "distil_digits.png", dpi=110)
    click.echo(f"picture: {out / 'distil_digits.png'}")


if __name__ == "__main__":
    main()
