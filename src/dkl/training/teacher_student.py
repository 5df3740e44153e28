"""P from the teacher, Q from the student: what the losses of distillation share, row by row."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dkl._array import first_failing, namespace_of, real_floating, real_number
from dkl.divergences import Divergence
from dkl.pairs import from_logits
from dkl.representations import Logits

#: The labels' share of the loss where they are given and it is not.
LABEL_WEIGHT = 0.5


@dataclass(frozen=True)
class Objective:
    """What a row of a student's logits costs beside the teacher's: a divergence, and the label where there is one.

    The parameters are those of :func:`dkl.training.distillation_loss`, and whether labels are given.
    """

    divergence: Divergence
    temperature: float
    temperature_squared: bool
    reverse: bool
    label_weight: float | None
    labelled: bool

    def __post_init__(self) -> None:
        if not isinstance(self.divergence, Divergence):
            raise TypeError(f"divergence = {self.divergence!r} is no divergence: give dkl.kl, dkl.JS(0.1), …")
        if not 0 < real_number(self.temperature, "temperature") < math.inf:
            raise ValueError(f"temperature = {self.temperature:g} must be positive and finite; 1 changes nothing")
        if self.label_weight is None:
            return
        if not 0 <= real_number(self.label_weight, "label_weight") <= 1:
            raise ValueError(f"label_weight = {self.label_weight:g} lies outside [0, 1]: it is the labels' share")
        if self.label_weight and not self.labelled:
            raise ValueError(
                f"label_weight = {self.label_weight:g}, but there are no labels: give labels=, or leave it out"
            )

    @property
    def share(self) -> float:
        """The labels' share of a row's loss."""
        return LABEL_WEIGHT * self.labelled if self.label_weight is None else self.label_weight

    def rows(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        """The loss of each row, in float32 at least, of logits before the temperature."""
        share = self.share
        # A share of 0 is left out: beside an infinite loss it would make NaN of it.
        if labels is None or share == 0:
            return self._divergence(student, teacher)
        student = student.to(_working(student))  # once, so that the gradients of both terms meet in it
        surprise = functional.cross_entropy(student, labels.long(), reduction="none")
        if share == 1:
            return surprise
        return (1 - share) * self._divergence(student, teacher) + share * surprise

    def _divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.temperature != 1:
            student, teacher = (x.to(_working(x)) / self.temperature for x in (student, teacher))
        p, q = (student, teacher) if self.reverse else (teacher, student)
        if student.device.type == "cpu":
            value = self.divergence(Logits(p), Logits(q))
        else:
            # The same sums without the checks, each of which would wait for the device.
            xp = namespace_of(p=p, q=q)
            value = self.divergence.total(from_logits(xp, *real_floating(xp, p, q)))
        # T twice: its square may overflow where the divergence is 0.
        squared = self.temperature_squared and self.temperature != 1
        return value * self.temperature * self.temperature if squared else value


def _working(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def kept_rows(mask: Tensor | None, labels: Tensor | None, ignore_index: int, rows: tuple[int, ...]) -> Tensor | None:
    """Which rows count, of a shape of rows: those of the mask whose label is not to be ignored; None for all."""
    kept = None
    if mask is not None:
        try:
            kept = torch.broadcast_to(mask != 0, rows)
        except RuntimeError:
            raise ValueError(
                f"mask of shape {tuple(mask.shape)} does not broadcast against rows of shape {rows}: "
                "give one number for each row"
            ) from None
    if labels is not None:
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise TypeError(f"labels must be integers, the index of a word each, got {labels.dtype}")
        if tuple(labels.shape) != rows:
            raise ValueError(f"labels of shape {tuple(labels.shape)} must have one entry for each row, shape {rows}")
        labelled = labels != ignore_index
        kept = labelled if kept is None else kept & labelled
    return kept


def check_labels(labels: Tensor, kept: Tensor, words: int) -> None:
    """Raise a ValueError that names the first label of the rows that count which is no word."""
    good = ((labels >= 0) & (labels < words)) | ~kept
    if not bool(good.all()):
        at, value = first_failing(labels, good)
        raise ValueError(
            f"labels{at} = {value:.0f} is none of the {words} words: mask that row, or name the value by ignore_index"
        )


def check_entries(name: str, entries: Tensor, kept: Tensor | None, infinite: bool) -> None:
    """Raise a ValueError that names the first entry of the rows that count which is NaN or +inf, or any infinity."""
    good = entries < math.inf if infinite else torch.isfinite(entries)
    if kept is not None:
        good |= ~kept[..., None]
    if not bool(good.all()):
        at, value = first_failing(entries, good)
        wanted = "finite or −inf" if infinite else "finite"
        raise ValueError(f"{name}{at} = {value:.6g} must be {wanted}; mask= leaves rows out, whatever they hold")
