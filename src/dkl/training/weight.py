"""The weight β of a KL term, as a loss reads it: a number, not what makes one."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from dkl._array import compiling, real_number
from dkl.training.controllers import AdaptiveKL, TargetKL
from dkl.training.schedules import Capacity


def kl_weight(beta: Any) -> float | Tensor:
    """Check β: one number, finite and not negative; inside a tensor it is looked at on the CPU only."""
    if isinstance(beta, Tensor):
        return _single(beta)
    if isinstance(beta, (AdaptiveKL, TargetKL)):
        raise TypeError(f"beta = {beta!r} is the controller, not its weight: give beta=controller.beta")
    if isinstance(beta, Capacity):
        raise TypeError(
            f"beta = {beta!r} is a schedule of the KL, not of its weight: leave the KL out of the loss by beta=0, and "
            "add schedule.penalty(kl, step)"
        )
    if callable(beta):
        raise TypeError(f"beta = {beta!r} is the schedule, not its value: call it, beta=schedule(step)")
    weight = real_number(beta, "beta")
    if not 0 <= weight < math.inf:
        raise ValueError(f"beta = {beta!r} must be at least 0 and finite")
    return weight


def weighted(weight: float | Tensor, kl: Tensor) -> Tensor:
    """β·KL, where a KL of weight 0 costs nothing, an infinite one too."""
    if isinstance(weight, Tensor):
        return weight * torch.where(weight == 0, 0.0, kl)
    return weight * kl if weight else torch.zeros_like(kl)


def _single(beta: Tensor) -> Tensor:
    if beta.numel() != 1:
        raise ValueError(f"beta has shape {tuple(beta.shape)}: it is one weight for all rows")
    beta = beta.reshape(())
    if beta.device.type == "cpu" and not compiling() and not 0 <= float(beta.detach()) < math.inf:
        raise ValueError(f"beta = {float(beta.detach()):g} must be at least 0 and finite")
    return beta
