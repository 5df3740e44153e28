"""The log-ratio of two policies at the actions that one of them took, and what becomes of it under a mask."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from dkl._array import compiling, expm1_minus, first_failing, namespace_of, real_floating
from dkl.training.reduction import visible


def log_ratio(other: Tensor, taken: Tensor, mask: Tensor | None, names: tuple[str, str]) -> Tensor:
    """Log of the other policy's probability over the one's that took the action, in float32 at least; 0 under the mask.

    Whoever took an action gave it a positive probability, so its logarithm is finite; the other's may be −inf.
    """
    for name, x in zip(names, (other, taken), strict=True):
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} must be a tensor of log-probabilities, got a {type(x).__name__}")
    if other.shape != taken.shape:
        raise ValueError(
            f"{names[0]} of shape {tuple(other.shape)} and {names[1]} of shape {tuple(taken.shape)} must have the same "
            "shape: one log-probability for each action that was taken"
        )
    other, taken = (visible(x, mask) for x in (other, taken))
    check_entries(names[0], other, other < math.inf, "finite or −inf")
    check_entries(names[1], taken, torch.isfinite(taken), "finite, for this policy took the action")
    wide = torch.promote_types(torch.promote_types(other.dtype, taken.dtype), torch.float32)
    return other.to(wide) - taken.to(wide)


def check_entries(name: str, x: Tensor, good: Tensor, wanted: str) -> None:
    """Raise a ValueError that names the first entry that is not good; only on the CPU, where looking costs no wait."""
    if compiling() or x.device.type != "cpu" or bool(good.all()):
        return
    at, value = first_failing(x, good)
    raise ValueError(f"{name}{at} = {value:.6g} must be {wanted}; mask= leaves entries out, whatever they hold")


def check_same_shape(name: str, x: Tensor, like: Tensor, what: str) -> None:
    """Raise a ValueError unless there is one entry for each row."""
    if x.shape != like.shape:
        raise ValueError(
            f"{name} of shape {tuple(x.shape)} must have one entry for each {what}, shape {tuple(like.shape)}"
        )


def exponential_excess(d: Tensor) -> Tensor:
    """exp(d) − 1 − d ≥ 0, without cancellation near 0: with d = log(ref/π) the third of Schulman's estimators."""
    xp: Any = namespace_of(d=d)
    value: Tensor = expm1_minus(xp, *real_floating(xp, d))
    return value
