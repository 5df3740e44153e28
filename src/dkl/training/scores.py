"""What every adversarial loss is given: one score for each row, checked, in a dtype in which it is safe to sum."""

from __future__ import annotations

import torch
from torch import Tensor

from dkl._array import first_failing, holds, is_half
from dkl.training.reduction import Reduction, reduced, visible


def read_scores(scores: Tensor, name: str, mask: Tensor | None = None) -> Tensor:
    """Scores in float32 at least, with 0 where the mask is 0.

    NaN is looked for on the CPU only: elsewhere it would make the program wait for the device.
    """
    if not isinstance(scores, Tensor) or not scores.is_floating_point():
        kind = scores.dtype if isinstance(scores, Tensor) else type(scores).__name__
        raise TypeError(f"{name} must be a tensor of floating numbers, one score for each row, got {kind}")
    scores = visible(scores.float() if is_half(scores.dtype) else scores, mask, name=name)
    if scores.device.type == "cpu":
        number = ~torch.isnan(scores)
        if holds(torch.all(number)) is False:
            at, _ = first_failing(scores, number)
            raise ValueError(f"{name}{at} is not a number: the network has diverged, or its input holds NaN")
    return scores


def of_both(
    real: Tensor, fake: Tensor, reduction: Reduction, real_mask: Tensor | None, fake_mask: Tensor | None
) -> Tensor:
    """The loss on real rows plus that on generated rows, each reduced over its own rows."""
    if reduction == "none" and real.shape != fake.shape:
        raise ValueError(
            f"reduction = 'none' sets real and generated rows side by side, but their shapes are {tuple(real.shape)} "
            f"and {tuple(fake.shape)}: choose 'mean' or 'sum'"
        )
    return reduced(real, reduction, real_mask) + reduced(fake, reduction, fake_mask)
