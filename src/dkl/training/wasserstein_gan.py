"""The Wasserstein GAN: a critic of slope 1 measures how far mass must travel, also where P and Q share nothing.

W₁(P, Q) = sup E_P[c] − E_Q[c] over all c with |c(x) − c(y)| ≤ |x − y|. A network is held near that by a penalty on its
gradient.

References
----------
.. [1] M. Arjovsky, S. Chintala, L. Bottou, "Wasserstein generative adversarial networks", ICML (2017), eq. 2 and 3.
.. [2] I. Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS (2017), eq. 3 and Algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dkl._array import is_half, real_number
from dkl.training.reduction import Reduction, reduced, visible
from dkl.training.scores import of_both, read_scores


def wgan_critic_loss(
    real_scores: Tensor,
    fake_scores: Tensor,
    *,
    reduction: Reduction = "mean",
    real_mask: Tensor | None = None,
    fake_mask: Tensor | None = None,
) -> Tensor:
    """What a Wasserstein critic minimises, beside :func:`gradient_penalty`: −E_P[c] + E_Q[c].

    Parameters
    ----------
    real_scores : Tensor
        The critic on real rows, any shape, one for each row.
    fake_scores : Tensor
        The same on generated rows.
    reduction : {"mean", "sum", "none"}
        Over the real and over the generated rows, each by itself; the two are added. ``"none"`` needs equal shapes.
    real_mask, fake_mask : Tensor, optional
        Which rows count.

    Returns
    -------
    Tensor
        With ``"mean"``, minus a lower bound on W₁(P, Q) in the unit of the data, for a critic whose slope is at most 1.
        A penalty holds the slope near 1 only where it was sampled, so in practice it is an estimate and no bound.

    Raises
    ------
    ValueError
        For NaN (looked for on the CPU only), a mask that does not fit, unequal shapes with ``reduction="none"``.
    TypeError
        For what is no tensor of floating numbers.

    Examples
    --------
    >>> import torch
    >>> from dkl.training import wgan_critic_loss
    >>> real, fake = torch.tensor([0.0, 1.0]), torch.tensor([5.0, 6.0])
    >>> wgan_critic_loss(-real, -fake)  # the critic c(x) = −x: mass travels by 5
    tensor(-5.)
    """
    real = read_scores(real_scores, "real_scores", real_mask)
    fake = read_scores(fake_scores, "fake_scores", fake_mask)
    return of_both(-real, fake, reduction, real_mask, fake_mask)


def wgan_generator_loss(fake_scores: Tensor, *, reduction: Reduction = "mean", mask: Tensor | None = None) -> Tensor:
    """What the generator minimises against a Wasserstein critic: −E_Q[c].

    Parameters
    ----------
    fake_scores : Tensor
        The critic on generated rows, any shape, with the generator's graph behind it.
    reduction : {"mean", "sum", "none"}
        Over rows.
    mask : Tensor, optional
        Which rows count.

    Returns
    -------
    Tensor

    Raises
    ------
    ValueError, TypeError
        As :func:`wgan_critic_loss`.
    """
    return reduced(-read_scores(fake_scores, "fake_scores", mask), reduction, mask)


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    *,
    weight: float = 10.0,
    one_sided: bool = False,
    reduction: Reduction = "mean",
    mask: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The penalty on a critic's slope, weight·(|∇c(x̂)| − 1)², at random points x̂ between real and generated rows.

    Parameters
    ----------
    critic : callable
        From rows to one score each, treating each row by itself: no batch normalisation.
    real, fake : Tensor
        Rows along the first axis, of one shape. Their own gradients are not followed: the penalty trains the critic.
    weight : float
        λ ≥ 0.
    one_sided : bool
        Penalise only slopes above 1: there is then no barrier at slope 0, see below.
    reduction : {"mean", "sum", "none"}
        Over rows.
    mask : Tensor, optional
        Which rows count, shape (rows,).
    generator : torch.Generator, optional
        The source of randomness, on the device of the rows.

    Returns
    -------
    Tensor
        Non-negative, float32 at least; one number, or one for each row. Its gradient with respect to the critic's
        parameters runs through the critic's own gradient (double backward). It is finite also where the critic is flat:
        there the norm has a kink, whose slope is given as 0. NaN where the critic's slope is not finite.

    Raises
    ------
    ValueError
        For rows of different shapes, a critic that does not give one score for each row or does not depend on its input
        differentiably, a mask that does not fit, a negative weight.
    TypeError
        For rows that are no tensors of floating numbers.

    Notes
    -----
    One forward and two backward passes through the critic. ``torch.compile`` cannot trace ``torch.autograd.grad`` and
    breaks the graph here: compile the critic. Works under ``torch.no_grad`` too, for a figure to report.

    Between two points at a distance d a linear critic of slope m pays −d·m + λ·(|m| − 1)². Its minimum is at
    m = 1 + d/(2λ), so that the estimate of W₁ is too large by that factor; and for λ > d/2 there is a second one at
    m = −1 + d/(2λ), in the wrong direction, where a critic in one dimension that starts there stays.

    References
    ----------
    .. [1] I. Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS (2017), eq. 3.

    Examples
    --------
    >>> import torch
    >>> from dkl.training import gradient_penalty
    >>> steep = torch.tensor([3.0, 4.0])  # a linear critic of slope 5: 10·(5 − 1)²
    >>> gradient_penalty(lambda x: x @ steep, torch.zeros(2, 2), torch.ones(2, 2))
    tensor(160.)
    """
    if not 0 <= real_number(weight, "weight") < math.inf:
        raise ValueError(f"weight = {weight!r} must be a non-negative finite number")
    between = _between(real, fake, mask, generator)
    with torch.enable_grad():
        between.requires_grad_(True)
        scores = critic(between)
        rows = between.shape[0]
        if scores.numel() != rows:
            raise ValueError(
                f"the critic gave scores of shape {tuple(scores.shape)} for {rows} rows: one for each is needed"
            )
        if not scores.requires_grad:
            raise ValueError("the critic does not depend on its input by differentiable operations, so it has no slope")
        (slope,) = torch.autograd.grad(scores.sum(), between, create_graph=True, allow_unused=True)
        if slope is None:
            raise ValueError("the critic's scores do not depend on its input, so that it has no slope there")
        excess = _norm(slope.flatten(1)) - 1
        penalty = weight * (excess.clamp(min=0) if one_sided else excess) ** 2
    return reduced(penalty if torch.is_grad_enabled() else penalty.detach(), reduction, mask)


def _between(real: Tensor, fake: Tensor, mask: Tensor | None, generator: torch.Generator | None) -> Tensor:
    """Points between real and generated rows, uniformly along each segment."""
    for name, x in (("real", real), ("fake", fake)):
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise TypeError(f"{name} must be a tensor of floating numbers, got {getattr(x, 'dtype', type(x).__name__)}")
    if real.shape != fake.shape or real.ndim < 2:
        raise ValueError(
            f"real of shape {tuple(real.shape)} and fake of shape {tuple(fake.shape)} must have one shape, (rows, …)"
        )
    rows = (real.shape[0], *(1,) * (real.ndim - 1))
    if mask is not None:
        if tuple(mask.shape) != rows[:1]:
            raise ValueError(f"mask of shape {tuple(mask.shape)} must be of shape {rows[:1]}: one number for each row")
        real, fake = visible(real, mask.reshape(rows)), visible(fake, mask.reshape(rows))
    share = torch.rand(rows, generator=generator, device=real.device, dtype=real.dtype)
    return torch.lerp(fake.detach(), real.detach(), share)


def _norm(x: Tensor) -> Tensor:
    """The Euclidean norm of each row, without overflow, and with gradient 0 at 0."""
    x = x.float() if is_half(x.dtype) else x
    largest = x.detach().abs().amax(dim=1) if x.shape[1] else x.new_zeros(x.shape[0])
    scale = torch.where(largest > 0, largest, 1.0)
    squares = ((x / scale[:, None]) ** 2).sum(dim=1)
    # Not ``squares > 0``, which is false of NaN: a critic that diverged must not pass for a flat one.
    flat = squares == 0
    return scale * torch.where(flat, 0.0, torch.sqrt(torch.where(flat, 1.0, squares)))
