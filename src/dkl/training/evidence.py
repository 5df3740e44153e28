"""Bounds of the evidence log p(x) from importance weights, of which the ELBO is one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dkl._array import compiling, expm1_minus, first_failing, holds, logsumexp, namespace_of, real_floating, real_number
from dkl.training.reduction import Reduction, reduced, visible


def iwae_bound(log_w: Tensor, *, mask: Tensor | None = None, reduction: Reduction = "mean") -> Tensor:
    """The importance-weighted bound log(1/K·Σ w), between the ELBO and log p(x) in expectation.

    Parameters
    ----------
    log_w : Tensor
        log p(x, z) − log q(z|x) of K samples z drawn from q, along the last axis; shape (rows, K). −inf is a weight of
        0.
    mask : Tensor, optional
        Which rows count, of the shape of the rows.
    reduction : {"mean", "sum", "none"}
        Over rows.

    Returns
    -------
    Tensor
        Nats, in float32 at least: a bound from below, so that −``iwae_bound(…)`` is a loss. Its gradient weighs each
        sample by its share of the weights.

    Raises
    ------
    ValueError
        If there is no sample, or a log-weight is NaN or +inf (looked for on the CPU, outside of ``torch.compile``).

    References
    ----------
    .. [1] Y. Burda, R. Grosse, R. Salakhutdinov, "Importance weighted autoencoders", ICLR (2016), equation 8.

    Examples
    --------
    >>> import torch
    >>> from dkl.training import iwae_bound
    >>> log_w = torch.log(torch.tensor([[1.0, 2.0, 6.0]]))
    >>> iwae_bound(log_w).exp()
    tensor(3.)
    """
    return renyi_bound(log_w, 0.0, mask=mask, reduction=reduction)


def renyi_bound(log_w: Tensor, alpha: float, *, mask: Tensor | None = None, reduction: Reduction = "mean") -> Tensor:
    """The variational Rényi bound log(1/K·Σ w^(1−α))/(1 − α), falling in α.

    Parameters
    ----------
    log_w, mask, reduction
        As for :func:`iwae_bound`.
    alpha : float
        The order of Rényi's divergence, −inf and inf included: 1 is the ELBO (the mean of ``log_w``), 0 the
        importance-weighted bound, −inf the largest log-weight, inf the smallest. Of one sample all are the same.

    Returns
    -------
    Tensor
        Nats, in float32 at least, and continuous in α also through 1. At α = 0 and above it bounds log p(x) from below
        in expectation; for negative α the bound of infinitely many samples lies above, that of few on either side [1].

    Raises
    ------
    ValueError
        As for :func:`iwae_bound`, or if α is NaN.

    References
    ----------
    .. [1] Y. Li, R. E. Turner, "Rényi divergence variational inference", NeurIPS (2016), equation 6 and theorem 2.

    Examples
    --------
    >>> import math, torch
    >>> from dkl.training import renyi_bound
    >>> log_w = torch.log(torch.tensor([[1.0, 2.0, 6.0]]))
    >>> [round(float(renyi_bound(log_w, alpha).exp()), 4) for alpha in (-math.inf, -1.0, 0.0, 0.5, 1.0, math.inf)]
    [6.0, 3.6968, 3.0, 2.6284, 2.2894, 1.0]
    """
    order = real_number(alpha, "alpha")
    if math.isnan(order):
        raise ValueError("alpha = nan is no order")
    if not log_w.dtype.is_floating_point:
        raise TypeError(f"log_w must hold floating-point numbers, got {log_w.dtype}")
    if log_w.ndim == 0 or log_w.shape[-1] == 0:
        raise ValueError(f"log_w has shape {tuple(log_w.shape)}: its last axis holds the samples, at least one")
    if mask is not None and mask.shape != log_w.shape[:-1]:
        rows = tuple(log_w.shape[:-1])
        raise ValueError(f"mask has shape {tuple(mask.shape)}, but the rows {rows}: give one number for each row")
    xp = namespace_of(log_w=log_w)
    (logs,) = real_floating(xp, visible(log_w, None if mask is None else mask[..., None]))
    _check(logs)
    return reduced(_of_rows(xp, logs, 1.0 - order), reduction, mask)


def _check(logs: Tensor) -> None:
    if compiling() or logs.device.type != "cpu":
        return
    good = logs.detach() < math.inf
    if holds(good.all()) is False:
        index, value = first_failing(logs, good)
        raise ValueError(f"log_w{index} = {value} is no logarithm of a weight: it is finite, or −inf for a weight of 0")


def _of_rows(xp: object, logs: Tensor, power: float) -> Tensor:
    """log(mean of w^power)/power."""
    if power == 0:
        return logs.mean(-1)
    # Beyond the dtype's range a power is infinite to rounding.
    extreme = logs.amax(-1) if power > 0 else logs.amin(-1)
    if abs(power) > torch.finfo(logs.dtype).max:
        return extreme
    # There the bound is −inf, and its slope that of the extreme itself.
    nothing = torch.isinf(extreme)
    logs = torch.where(nothing[..., None], 0.0, logs)
    centre = logs.mean(-1, keepdim=True)
    apart = power * (logs - torch.where(torch.isfinite(centre), centre, 0.0))
    near = (apart.detach().abs() < 0.5).all(-1)
    # About the mean, where the first order is 0, the second is all there is of a small power.
    small = torch.where(near[..., None], apart, 0.0)
    close = torch.log1p(expm1_minus(xp, small).mean(-1)) / power + torch.where(near, centre[..., 0], 0.0)
    # About the extreme, whose term is 1: the others' may underflow, and none overflows.
    start = torch.where(nothing, 0.0, extreme.detach())
    about = torch.where(near[..., None], 0.0, logs - start[..., None])
    far = start + (logsumexp(xp, power * about) - math.log(logs.shape[-1])) / power
    return torch.where(nothing, extreme, torch.where(near, close, far))
