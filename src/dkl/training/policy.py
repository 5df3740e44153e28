"""A policy and the one before it: their exact KL, and the losses of proximal policy optimisation (PPO).

The old policy took the actions and is P, the new one is Q: KL(old‖new). The ratio is that of the action *taken*; the
KL is over all actions.

References
----------
.. [1] J. Schulman, F. Wolski, P. Dhariwal, A. Radford, O. Klimov, "Proximal policy optimization algorithms",
   arXiv:1707.06347 (2017).
.. [2] C. C.-Y. Hsu, C. Mendler-Dünner, M. Hardt, "Revisiting design choices in proximal policy optimization",
   arXiv:2009.10897 (2020).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dkl._array import compiling, first_failing, namespace_of, real_floating, real_number
from dkl.divergences import kl
from dkl.families.base import Distribution
from dkl.families.outcomes import Categorical
from dkl.pairs import from_logits
from dkl.representations import Logits, Representation, interpret
from dkl.training.ratios import check_entries, check_same_shape, exponential_excess, log_ratio
from dkl.training.reduction import Reduction, reduced, visible
from dkl.training.weight import kl_weight, weighted


class PPOClipLoss(NamedTuple):
    """The clipped loss, and what to watch beside it, without gradients.

    Attributes
    ----------
    loss : Tensor
        To be minimised.
    kl : Tensor
        KL(old‖new) in nats, estimated from the actions taken (k3).
    ratio_mean, ratio_min, ratio_max : Tensor
        Of new/old at the actions taken; on data of the old policy the mean is 1 but for chance.
    clip_fraction : Tensor
        The share of rows whose ratio has left [1 − clip, 1 + clip].
    stopped_fraction : Tensor
        The share of rows that the clip leaves without a gradient: those that left it the way their advantage pushes.
    """

    loss: Tensor
    kl: Tensor
    ratio_mean: Tensor
    ratio_min: Tensor
    ratio_max: Tensor
    clip_fraction: Tensor
    stopped_fraction: Tensor


class PPOKLLoss(NamedTuple):
    """The penalised loss and its parts.

    Attributes
    ----------
    loss : Tensor
        ``policy_loss + beta·kl``, to be minimised.
    policy_loss : Tensor
        −ratio·advantage.
    kl : Tensor
        The exact KL(old‖new) in nats; reduced as the loss is.
    ratio_mean, ratio_min, ratio_max : Tensor
        Of new/old at the actions taken, without gradients.
    """

    loss: Tensor
    policy_loss: Tensor
    kl: Tensor
    ratio_mean: Tensor
    ratio_min: Tensor
    ratio_max: Tensor


def policy_kl(old: Any, new: Any, *, mask: Tensor | None = None, reduction: Reduction = "mean") -> Tensor:
    """Calculate the exact KL(old‖new) of two policies.

    Parameters
    ----------
    old, new : Tensor or distribution
        A tensor holds logits with the actions along the last axis; −inf forbids an action. Continuous actions come as
        distributions of PyTorch or of ``dkl.families``: ``Independent(Normal(loc, scale), 1)`` or
        ``DiagonalNormal(loc, scale)``, whose KL is the sum over the components of the action.
    mask : Tensor, optional
        Which rows count. Logits of the others are not looked at; a distribution's parameters must be valid in all.
    reduction : {"mean", "sum", "none"}
        Over the rows, which are all axes but the action's.

    Returns
    -------
    Tensor
        In nats, never negative, float32 at least; inf where the new policy forbids what the old one may do. The
        gradient reaches both sides: detach the one that is held fixed.

    Raises
    ------
    ValueError
        For logits that are NaN or +inf or all −inf (looked for on the CPU only), numbers of actions that differ, and a
        batch of numbers of two or more axes, of which one might be the action's.

    Notes
    -----
    O(rows · actions); through the compiled loops for large tensors on the CPU, twice differentiable.

    Examples
    --------
    >>> import torch
    >>> from dkl.training import policy_kl
    >>> old, new = torch.tensor([[0.0, 0.0, -torch.inf]]), torch.tensor([[1.0, 0.0, -torch.inf]])
    >>> policy_kl(old, new)
    tensor(0.1201)
    >>> from torch.distributions import Independent, Normal
    >>> policy_kl(Independent(Normal(torch.zeros(4, 2), 1.0), 1), Independent(Normal(torch.ones(4, 2), 1.0), 1))
    tensor(1.)
    """
    if isinstance(old, Tensor) and isinstance(new, Tensor) and old.ndim and new.ndim and old.shape[-1] != new.shape[-1]:
        raise ValueError(
            f"old of shape {tuple(old.shape)} and new of shape {tuple(new.shape)} must have the same actions along the "
            "last axis"
        )
    old, new = (_rows_of_actions(name, x, mask) for name, x in (("old", old), ("new", new)))
    unseen = compiling() or any(isinstance(x, Logits) and x.array.device.type != "cpu" for x in (old, new))
    if unseen and isinstance(old, Logits) and isinstance(new, Logits):
        # The same sum without the checks, each of which would wait for the device.
        xp = namespace_of(old=old.array, new=new.array)
        values = kl.total(from_logits(xp, *torch.broadcast_tensors(*real_floating(xp, old.array, new.array))))
    else:
        values = torch.as_tensor(kl(old, new))  # of numbers, where neither side has tensors
    return reduced(values, reduction, mask)


def ppo_clip_loss(
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantages: Tensor,
    clip: float | tuple[float, float] = 0.2,
    *,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> PPOClipLoss:
    """Calculate the clipped surrogate loss −min(r·A, clip(r, 1 − ε, 1 + ε)·A) with r = new/old of the action taken.

    Parameters
    ----------
    log_prob, old_log_prob : Tensor
        log-probabilities of the actions that the old policy took, under the new policy and under the old.
    advantages : Tensor
        One for each action, used as they are.
    clip : float or (float, float)
        ε > 0, or how far the ratio may fall below 1 and how far rise above.
    mask : Tensor, optional
        Which rows count; what stands in the others, NaN too, is not looked at.
    reduction : {"mean", "sum", "none"}
        Of the loss.

    Returns
    -------
    PPOClipLoss
        ``loss, kl, ratio_mean, ratio_min, ratio_max, clip_fraction, stopped_fraction``, float32 at least.

    Raises
    ------
    ValueError
        For shapes that differ, a clip outside its domain, entries that are NaN or infinite (looked for on the CPU only;
        ``log_prob`` may be −inf), and for an ``old_log_prob`` that requires a gradient.

    Notes
    -----
    [1]_, equation 7. The clip is no bound on the KL: it takes the gradient from a row once its ratio is outside, but
    other rows may carry it farther, and actions that were not taken are not seen at all [2]_. Watch ``kl``. A ratio
    beyond the largest float makes the loss infinite only where the advantage is negative, and never NaN.

    Examples
    --------
    >>> import torch
    >>> from dkl.training import ppo_clip_loss
    >>> made = ppo_clip_loss(torch.log(torch.tensor([0.6, 0.1])), torch.log(torch.tensor([0.4, 0.2])), torch.ones(2))
    >>> made.loss, made.clip_fraction, made.stopped_fraction
    (tensor(-0.8500), tensor(1.), tensor(0.5000))
    """
    low, high = _clip_range(clip)
    d = log_ratio(log_prob, old_log_prob, mask, ("log_prob", "old_log_prob"))
    _hold_fixed("old_log_prob", old_log_prob, "log_prob", log_prob)
    advantages = _advantages(advantages, d, mask)
    upwards, downwards = (advantages > 0) & (d > math.log1p(high)), (advantages < 0) & (d < math.log1p(-low))
    # Where the clip binds, and where there is no advantage, no gradient passes; nor may an overflow that it hides.
    stopped = upwards | downwards
    still = stopped | (advantages == 0)
    ratio = torch.where(still, 0.0, d).exp()
    bound = torch.where(upwards, 1.0 + high, 1.0 - low)
    loss = reduced(-torch.where(stopped, bound, ratio) * advantages, reduction, mask)
    with torch.no_grad():
        left = (d > math.log1p(high)) | (d < math.log1p(-low))
        return PPOClipLoss(
            loss,
            reduced(exponential_excess(d), mask=mask),
            *_ratio_statistics(d, mask),
            reduced(left.to(d.dtype), mask=mask),
            reduced(stopped.to(d.dtype), mask=mask),
        )


def ppo_kl_loss(
    old: Any,
    new: Any,
    actions: Tensor,
    advantages: Tensor,
    beta: float | Tensor,
    *,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> PPOKLLoss:
    """Calculate the penalised surrogate loss −r·A + β·KL(old‖new), r of the action taken and KL over all actions.

    Parameters
    ----------
    old, new : Tensor or distribution
        The two policies, as for :func:`policy_kl`. The old one took the actions, and is held fixed: what was recorded
        of it, without a gradient.
    actions : Tensor
        The actions taken: indices beside logits, outcomes beside distributions.
    advantages : Tensor
        One for each row, used as they are.
    beta : float or Tensor
        The weight of the penalty, ≥ 0; of an :class:`AdaptiveKL` its ``beta``.
    mask, reduction
        As for :func:`ppo_clip_loss`.

    Returns
    -------
    PPOKLLoss
        ``loss, policy_loss, kl, ratio_mean, ratio_min, ratio_max``.

    Raises
    ------
    ValueError
        As :func:`policy_kl`; for an index that is no action, an action that the old policy forbids, shapes that differ
        and a negative β (values are looked at on the CPU only); for an old policy that requires a gradient, as one does
        that was taken for the new.
    TypeError
        For indices that are not integers, and a schedule or a controller as β.

    Notes
    -----
    [1]_, equation 8.

    Examples
    --------
    >>> import torch
    >>> from dkl.training import ppo_kl_loss
    >>> old, new = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
    >>> made = ppo_kl_loss(old, new, torch.tensor([0]), torch.tensor([1.0]), beta=0.5)
    >>> made.policy_loss, made.kl, made.loss
    (tensor(-1.4621), tensor(0.1201), tensor(-1.4021))
    """
    weight = kl_weight(beta)
    each_kl = policy_kl(old, new, mask=mask, reduction="none")
    log_prob, old_log_prob = (_log_prob(name, x, actions, mask) for name, x in (("new", new), ("old", old)))
    _hold_fixed("old", old_log_prob, "new", log_prob)
    d = log_ratio(log_prob, old_log_prob, mask, ("new.log_prob(actions)", "old.log_prob(actions)"))
    advantages = _advantages(advantages, d, mask)
    ratio = torch.where(advantages == 0, 0.0, d).exp()
    policy_loss = reduced(-ratio * advantages, reduction, mask)
    divergence = reduced(each_kl, reduction, mask)
    loss = policy_loss + weighted(weight, divergence)
    return PPOKLLoss(loss, policy_loss, divergence, *_ratio_statistics(d.detach(), mask))


def _hold_fixed(old_name: str, old: Tensor, new_name: str, new: Tensor) -> None:
    """Raise a ValueError where the gradient would reach the policy that took the actions."""
    if not (torch.is_grad_enabled() and old.requires_grad):
        return
    swapped = "" if new.requires_grad else f", and {new_name} does not, as if the two were swapped"
    raise ValueError(
        f"{old_name} requires a gradient{swapped}: the policy that took the actions is held fixed; record it under "
        "torch.no_grad(), or pass it through .detach()"
    )


def _rows_of_actions(name: str, x: Any, mask: Tensor | None) -> Representation:
    """Logits with harmless rows under the mask, or a distribution whose batch is the rows."""
    if isinstance(x, Tensor):
        if x.ndim == 0:
            raise ValueError(f"{name} is a single number: logits need an axis of actions")
        x = visible(x, None if mask is None else mask[..., None])
        check_entries(name, x, x < math.inf, "finite or −inf")
        return Logits(x)
    side = interpret(x)
    if (
        isinstance(side, Distribution)
        and not (side.event_ndim or isinstance(side, Categorical))
        and len(side.batch_shape) > 1
    ):
        raise ValueError(
            f"{name} is a batch of numbers of shape {tuple(side.batch_shape)}, whose last axis may be that of an "
            "action's components, to be summed over, or another axis of rows: make it one action by "
            "torch.distributions.Independent(…, 1), or flatten the rows to one axis"
        )
    return side


def _log_prob(name: str, policy: Any, actions: Tensor, mask: Tensor | None) -> Tensor:
    """The log-probability of the actions taken."""
    if not isinstance(policy, Tensor):
        value: Tensor = interpret(policy).log_prob(actions)  # type: ignore[attr-defined]
        return value
    if actions.is_floating_point() or actions.is_complex() or actions.dtype == torch.bool:
        raise TypeError(f"actions must be integers, the index of the action taken in each row, got {actions.dtype}")
    if actions.shape != policy.shape[:-1]:
        raise ValueError(
            f"actions of shape {tuple(actions.shape)} must have one index for each row of {name}, shape "
            f"{tuple(policy.shape[:-1])}"
        )
    # Padding such as −100 is no index.
    actions = visible(actions, mask, 0)
    n = policy.shape[-1]
    if not compiling() and actions.device.type == "cpu":
        good = (actions >= 0) & (actions < n)
        if not bool(good.all()):
            at, value_at = first_failing(actions, good)
            raise ValueError(f"actions{at} = {value_at:.0f} is none of the {n} actions: mask that row")
    logits = visible(policy, None if mask is None else mask[..., None])
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return torch.log_softmax(logits, -1).gather(-1, actions.long()[..., None])[..., 0]


def _advantages(advantages: Tensor, like: Tensor, mask: Tensor | None) -> Tensor:
    check_same_shape("advantages", advantages, like, "action")
    advantages = visible(advantages, mask)
    check_entries("advantages", advantages, torch.isfinite(advantages), "finite")
    return advantages.to(torch.promote_types(advantages.dtype, like.dtype))


def _clip_range(clip: float | tuple[float, float]) -> tuple[float, float]:
    both = clip if isinstance(clip, tuple) else (clip, clip)
    low, high = (real_number(c, "clip") for c in both)
    if not (0 < low < 1 and 0 < high < math.inf):
        raise ValueError(f"clip = {clip!r} does not leave the ratio a range around 1: below 1 it lies in (0, 1)")
    return low, high


def _ratio_statistics(d: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, least and largest ratio over the rows that count; 1 of none."""
    ratio = d.detach().exp()
    kept = torch.ones_like(d, dtype=torch.bool) if mask is None else torch.broadcast_to(mask != 0, d.shape)
    if d.numel() == 0:
        return (ratio.new_ones(()),) * 3
    some = kept.any()
    mean = torch.where(some, reduced(ratio, mask=mask), 1.0)
    least = torch.where(some, torch.where(kept, ratio, torch.inf).amin(), 1.0)
    most = torch.where(some, torch.where(kept, ratio, -torch.inf).amax(), 1.0)
    return mean, least, most
