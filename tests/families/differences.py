"""Gradients held to central differences, whose steps are the members of one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch


def assert_gradient(
    function: Callable[..., torch.Tensor], at: Sequence[torch.Tensor], *, step: float, rtol: float, atol: float
) -> None:
    """Hold PyTorch's gradient of one value to its differences along each entry of each argument.

    The value is asked for once at the point and once at all steps from it, so ``function`` must take leading axes.
    """
    found = torch.autograd.grad(function(*at), at)
    lengths = [x.numel() for x in at]
    moves = step * torch.eye(sum(lengths), dtype=at[0].dtype)
    moves = torch.cat([moves, -moves]).split(lengths, dim=-1)
    with torch.no_grad():
        values = function(*(x + move.reshape(-1, *x.shape) for x, move in zip(at, moves, strict=True)))
    above, below = values.reshape(2, -1)
    slopes = ((above - below) / (2 * step)).split(lengths)
    for i, (got, slope) in enumerate(zip(found, slopes, strict=True)):
        torch.testing.assert_close(
            got, slope.reshape(got.shape), rtol=rtol, atol=atol, msg=lambda text, i=i: f"argument {i}: {text}"
        )
