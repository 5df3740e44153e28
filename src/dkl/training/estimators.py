"""KL(π‖ref) from the actions that π took: estimators of its value, and which of them has its gradient.

Everything is a function of d = log(ref/π) at the action taken. Which estimator is right depends on what is asked of
it: as a number to look at, k3 and k1 are unbiased; as a loss to differentiate, on actions that π itself took, only k2
has the gradient of KL(π‖ref), for the derivative of the sampling is missing from it. Inside the reward, where the
policy gradient brings that derivative, it is k1.

References
----------
.. [1] J. Schulman, "Approximating KL divergence", http://joschu.net/blog/kl-approx.html (2020).
.. [2] Y. Tang, R. Munos, "On a few pitfalls in KL divergence gradient estimation for RL", arXiv:2506.09477 (2025).
.. [3] A. Amini, T. Vieira, R. Cotterell, "Better estimation of the KL divergence between language models",
   arXiv:2504.10637 (2025).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from dkl._array import real_number
from dkl.training.policy import policy_kl
from dkl.training.ratios import exponential_excess, log_ratio
from dkl.training.reduction import Reduction, reduced, visible

Estimator = Literal["k1", "k2", "k3"]
Placement = Literal["loss", "reward"]
Unit = Literal["token", "sequence"]

_TERMS: dict[str, Callable[[Tensor], Tensor]] = {
    "k1": lambda d: -d,
    "k2": lambda d: 0.5 * d * d,
    "k3": exponential_excess,
}


class BiasedGradientWarning(UserWarning):
    """What is differentiated is an estimator of a KL, but its gradient does not estimate the gradient of that KL."""


class KLEstimate(NamedTuple):
    """An estimated KL in nats, to be read: neither number carries a gradient.

    Attributes
    ----------
    value : Tensor
        The mean; of no rows at all 0.
    stderr : Tensor
        Its standard error; inf where there are fewer than two independent rows to tell it from.
    """

    value: Tensor
    stderr: Tensor


def kl_estimate(
    log_prob: Tensor,
    ref_log_prob: Tensor,
    estimator: Estimator = "k3",
    *,
    unit: Unit = "token",
    mask: Tensor | None = None,
) -> KLEstimate:
    """Estimate KL(π‖ref) from actions that π took, with the standard error.

    Parameters
    ----------
    log_prob, ref_log_prob : Tensor
        log π and log ref of the same actions, which π took; shape (rows,), or (…, tokens) for sequences.
    estimator : {"k1", "k2", "k3"}
        With d = log(ref/π): −d, which is unbiased and may be negative; d²/2, which is biased; exp(d) − 1 − d, which is
        unbiased and never negative [1]_. Its variance is infinite where that of ref/π is.
    unit : {"token", "sequence"}
        The mean over all tokens, or over sequences of the sum over their tokens.
    mask : Tensor, optional
        Which tokens count; what stands in the others, NaN too, is not looked at.

    Returns
    -------
    KLEstimate
        ``value`` and ``stderr``, in nats, in float32 at least. The tokens of one sequence depend on each other, so that
        sequences, the rows along the last axis, are the independent observations for either unit. The mean over tokens
        is a ratio of two sums over sequences, and its error that of a ratio, to first order.

    Raises
    ------
    ValueError
        For names that do not exist, shapes that differ, and entries that are NaN, +inf, or −inf in ``log_prob``, which
        is looked for on the CPU only; for a sequence without an axis of tokens.

    Notes
    -----
    The value is for reading and carries no gradient: it would not be that of the KL. To train on one, see
    :func:`kl_loss`.

    Examples
    --------
    >>> import torch
    >>> from dkl.training import kl_estimate
    >>> log_prob, ref_log_prob = torch.tensor([-0.5, -1.0, -2.0]), torch.tensor([-0.7, -0.8, -2.0])
    >>> kl_estimate(log_prob, ref_log_prob, "k1")
    KLEstimate(value=tensor(0.), stderr=tensor(0.1155))
    >>> kl_estimate(log_prob, ref_log_prob, "k3").value
    tensor(0.0134)
    """
    _hold("estimator", estimator, Estimator)
    with torch.no_grad():
        d = log_ratio(ref_log_prob, log_prob, mask, ("ref_log_prob", "log_prob"))
        return _averaged(_TERMS[estimator](d), mask, unit)


def kl_estimate_from_logits(
    logits: Any, ref_logits: Any, *, unit: Unit = "token", mask: Tensor | None = None
) -> KLEstimate:
    """Estimate KL(π‖ref) by the exact KL at every place that π reached, with the standard error.

    The action itself is summed over and not drawn, so this is the Rao-Blackwell form of k1: it is unbiased too, never
    negative, and its variance never larger [3]_. What is left to chance is where the sequences lead.

    Parameters
    ----------
    logits, ref_logits : Tensor or distribution
        As ``old`` and ``new`` of :func:`policy_kl`: of π and of the reference.
    unit, mask
        As for :func:`kl_estimate`.

    Returns
    -------
    KLEstimate
        ``value`` and ``stderr``, for reading: without a gradient. To train on the exact KL at the places reached, with
        those held fixed, use :func:`policy_kl`, which has it.

    Raises
    ------
    ValueError
        As :func:`policy_kl`, and as :func:`kl_estimate` for the unit.

    Examples
    --------
    >>> import torch
    >>> from dkl.training import kl_estimate_from_logits
    >>> kl_estimate_from_logits(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.zeros(2, 2))
    KLEstimate(value=tensor(0.0555), stderr=tensor(0.0555))
    """
    with torch.no_grad():
        return _averaged(policy_kl(logits, ref_logits, mask=mask, reduction="none"), mask, unit)


def kl_loss(
    log_prob: Tensor,
    ref_log_prob: Tensor,
    estimator: Estimator = "k2",
    *,
    on_policy: bool,
    placement: Placement = "loss",
    behavior_log_prob: Tensor | None = None,
    clamp: float | None = None,
    unit: Unit = "token",
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Penalise KL(π‖ref), as a loss or inside the reward, and say so where its gradient is not that of the penalty.

    Parameters
    ----------
    log_prob, ref_log_prob : Tensor
        log π and log ref of the same actions.
    estimator : {"k1", "k2", "k3"}
        As for :func:`kl_estimate`.
    on_policy : bool
        Whether π, as it is now, took the actions. It no longer did after the first step of an optimiser on them.
    placement : {"loss", "reward"}
        ``"loss"``: to be differentiated. ``"reward"``: one penalty for each token, without a gradient, to be subtracted
        from the reward of the action when it is taken; with ``reduction="none"``.
    behavior_log_prob : Tensor, optional
        log-probabilities under the policy that took the actions, if that was another; each token is weighted by
        π/behavior. It corrects the drawing of that action, not that of what came before it.
    clamp : float, optional
        Cut each token's estimate to [−clamp, clamp].
    unit : {"token", "sequence"}
        What a row is: a token, or a sequence, whose estimates are summed over the last axis.
    mask, reduction
        As in all losses: which tokens count, and the mean or the sum over rows, or each.

    Returns
    -------
    Tensor
        In nats, float32 at least; to be multiplied by β.

    Warns
    -----
    BiasedGradientWarning
        Where the expected gradient is not that of KL(π‖ref), with what it is and what to do.

    Raises
    ------
    ValueError
        For actions of another policy without its log-probabilities; for a reward with a reduction or off policy; as
        :func:`kl_estimate`.

    Notes
    -----
    What each does when π took the actions [2]_, which :func:`audit_estimator` measures:

    ===========  =========================  =================================
    estimator    as a loss: ∇ of            in the reward: ∇ of
    ===========  =========================  =================================
    k1           nothing: 0 in expectation  KL(π‖ref)
    k2           KL(π‖ref)                  neither; the second moment of d
    k3           KL(ref‖π)                  KL(π‖ref) − KL(ref‖π)
    clamped      0 beyond the clamp         a bounded penalty
    ===========  =========================  =================================

    With ``behavior_log_prob`` the ratio is differentiated for k1 and k3, whose mean is the KL for every π, and held
    fixed for k2; so all three have the gradient of KL(π‖ref). ``behavior_log_prob=log_prob.detach()`` gives that on
    policy as well.

    As a loss, each token's gradient is that of its own KL at a prefix that is held fixed. That an early token leads to
    prefixes of larger KL enters through the reward only.

    Examples
    --------
    >>> import torch
    >>> from dkl.training import kl_loss
    >>> log_prob, ref_log_prob = torch.tensor([-0.5, -1.0], requires_grad=True), torch.tensor([-0.7, -0.8])
    >>> kl_loss(log_prob, ref_log_prob, "k2", on_policy=True)
    tensor(0.0200, grad_fn=<DivBackward0>)
    >>> kl_loss(log_prob, ref_log_prob, "k1", on_policy=True, placement="reward", reduction="none")
    tensor([ 0.2000, -0.2000])
    """
    _hold("estimator", estimator, Estimator)
    _hold("placement", placement, Placement)
    _hold("unit", unit, Unit)
    if not on_policy and behavior_log_prob is None:
        raise ValueError(
            "behavior_log_prob is missing: with on_policy=False another policy took the actions, and without the ratio "
            "to its log-probabilities neither value nor gradient is that of the KL; if this policy took them, say "
            "on_policy=True"
        )
    if on_policy and behavior_log_prob is not None:
        raise ValueError(
            "on_policy = True beside behavior_log_prob: if another policy took the actions, say on_policy=False; if "
            "this one did, leave its log-probabilities out"
        )
    if placement == "reward" and not (on_policy and reduction == "none"):
        raise ValueError(
            'placement = "reward" gives the penalty of each action when it is taken: use on_policy=True, with the '
            'log-probabilities of the policy that took it, and reduction="none"'
        )
    if clamp is not None and not 0 < (clamp := real_number(clamp, "clamp")) < math.inf:
        raise ValueError(f"clamp = {clamp:g} must be positive and finite; None leaves the estimates alone")
    why = _gradient_bias(estimator, placement, on_policy, clamp)
    if why is not None:
        warnings.warn(why, BiasedGradientWarning, stacklevel=2)
    d = log_ratio(ref_log_prob, log_prob, mask, ("ref_log_prob", "log_prob"))
    values = _TERMS[estimator](d)
    if clamp is not None:
        values = values.clamp(-clamp, clamp)
    if behavior_log_prob is not None:
        log_weight = log_ratio(log_prob, behavior_log_prob, mask, ("log_prob", "behavior_log_prob"))
        # Kept inside the floating range, for 0·∞ is no penalty.
        floats = torch.finfo(log_weight.dtype)
        weight = log_weight.clamp(math.log(floats.tiny), math.log(floats.max)).exp()
        values = (weight.detach() if estimator == "k2" else weight) * values
    if unit == "sequence":
        values, mask = _by_sequence(values, mask)
    loss = reduced(values, reduction, mask)
    return loss.detach() if placement == "reward" else loss


def _gradient_bias(estimator: str, placement: str, on_policy: bool, clamp: float | None) -> str | None:
    """What is wrong with the expected gradient, in words; None if nothing is."""
    if clamp is not None:
        rest = "has no gradient beyond it" if placement == "loss" else "bounds the penalty"
        return (
            f"{estimator} clamped at {clamp:g} {rest}, where the policy is farthest from the reference, so its "
            "gradient is not that of KL(π‖ref): leave the clamp out, and clip the gradient's norm if that is too large"
        )
    if placement == "reward" and estimator != "k1":
        instead = "KL(π‖ref) − KL(ref‖π), nearly 0 close to the reference" if estimator == "k3" else "no KL"
        return (
            f"{estimator} in the reward makes a policy gradient of {instead}, not of KL(π‖ref): use k1 there, and "
            f"{estimator} for reading only"
        )
    if placement == "loss" and on_policy and estimator != "k2":
        instead = "0, in expectation" if estimator == "k1" else "that of KL(ref‖π)"
        return (
            f"the gradient of {estimator} as a loss is {instead}, not that of KL(π‖ref): use k2 as a loss, k1 in the "
            "reward, or on_policy=False with behavior_log_prob=log_prob.detach(), whose ratio carries what is missing"
        )
    return None


def _hold(name: str, given: Any, kind: Any) -> None:
    if given not in get_args(kind):
        raise ValueError(f"{name} = {given!r} is none of {', '.join(map(repr, get_args(kind)))}")


def _by_sequence(values: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The sums over the last axis, and which sequences have a token that counts."""
    if values.ndim < 2:
        raise ValueError(
            f'unit = "sequence" of values of shape {tuple(values.shape)}: there is no axis of tokens beside one of '
            "sequences; sums over whole sequences are rows of their own: unit='token'"
        )
    kept = None if mask is None else torch.broadcast_to(mask != 0, values.shape).any(-1)
    return visible(values, mask).sum(-1), kept


def _averaged(values: Tensor, mask: Tensor | None, unit: Unit) -> KLEstimate:
    """The mean for each unit and its standard error over sequences."""
    _hold("unit", unit, Unit)
    counts = torch.ones_like(values) if mask is None else torch.broadcast_to(mask != 0, values.shape).to(values.dtype)
    values = visible(values, mask)
    if unit == "sequence":
        values, _ = _by_sequence(values, None)
        counts = (counts.sum(-1) > 0).to(values.dtype)
    elif values.ndim > 1:
        values, counts = values.sum(-1), counts.sum(-1)
    total = counts.sum()
    value = values.sum() / total.clamp(min=1)
    n = (counts > 0).sum()
    off = torch.where(counts > 0, values - value * counts, 0.0)
    variance = off.square().sum() * n / (n - 1).clamp(min=1)
    stderr = torch.where((n > 1) & torch.isfinite(value), variance.sqrt() / total.clamp(min=1), torch.inf)
    return KLEstimate(value, stderr)
