"""From one value for each row to the number that is minimised: masks and means, the same for every loss."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Reduction = Literal["mean", "sum", "none"]


def visible(values: Tensor, mask: Tensor | None, fill: float = 0.0, name: str = "values") -> Tensor:
    """Values with ``fill`` where the mask is 0, so that not even a NaN there reaches the result or its gradient."""
    if mask is None:
        return values
    if not _fits(mask, values):
        raise ValueError(
            f"the mask of shape {tuple(mask.shape)} does not broadcast to the {name} of shape {tuple(values.shape)}: "
            "give one number for each of them"
        )
    return torch.where(mask != 0, values, fill)


def _fits(mask: Tensor, values: Tensor) -> bool:
    # Beside values of shape (n, 1) a mask of shape (n,) would make n × n of them.
    off = values.ndim - mask.ndim
    return off >= 0 and all(m in (1, n) for m, n in zip(mask.shape, values.shape[off:], strict=True))


def reduced(values: Tensor, reduction: Reduction = "mean", mask: Tensor | None = None) -> Tensor:
    """Reduce one value for each row over all rows that the mask keeps.

    Parameters
    ----------
    values : Tensor
        One value for each row: what is summed over outcomes or latent dimensions is summed already.
    reduction : {"mean", "sum", "none"}
        ``"mean"`` divides by the number of rows kept, ``"none"`` keeps the shape, with 0 where the mask is 0.
    mask : Tensor, optional
        Which rows count: booleans, or numbers of which 0 says no; broadcasts against ``values``.

    Returns
    -------
    Tensor
        The mean of no rows at all is 0, with a gradient of 0.

    Raises
    ------
    ValueError
        If the reduction has no such name, or the mask does not broadcast.

    Examples
    --------
    >>> import torch
    >>> from dkl.training.reduction import reduced
    >>> reduced(torch.tensor([1.0, 3.0, torch.nan]), mask=torch.tensor([True, True, False]))
    tensor(2.)
    """
    if reduction not in get_args(Reduction):
        raise ValueError(f"reduction = {reduction!r} is none of {', '.join(map(repr, get_args(Reduction)))}")
    seen = visible(values, mask)
    if reduction == "none":
        return seen
    total = seen.sum()
    if reduction == "sum":
        return total
    if mask is None:
        return total / max(seen.numel(), 1)
    kept = torch.broadcast_to(mask != 0, seen.shape).sum()
    return total / kept.clamp(min=1)
