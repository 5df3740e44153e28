"""What an estimator of KL(π‖ref) really does to a policy: every action in turn, nothing left to chance."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from dkl._array import first_failing
from dkl.training.estimators import BiasedGradientWarning, Estimator, Placement, kl_loss
from dkl.training.policy import policy_kl

Custom = Callable[[Tensor, Tensor], Tensor]

# Relative to the sizes that went into a difference: far above rounding in float64, far below what could matter.
_SAME = 1e-9


class EstimatorAudit(NamedTuple):
    """What one action drawn makes of value and gradient, on average and how widely.

    Attributes
    ----------
    verdict : str
        One sentence.
    value, value_bias, value_variance : float
        The mean of the estimator, how much it is above KL(π‖ref), and its variance for one action, in nats.
    gradient, gradient_bias : Tensor
        The expected gradient with respect to the logits, and how it differs from that of KL(π‖ref).
    gradient_variance : float
        The trace of the covariance matrix of the gradient for one action.
    kl : float
        KL(π‖ref).
    kl_gradient : Tensor
        Its gradient with respect to the logits.
    """

    verdict: str
    value: float
    value_bias: float
    value_variance: float
    gradient: Tensor
    gradient_bias: Tensor
    gradient_variance: float
    kl: float
    kl_gradient: Tensor


def audit_estimator(
    estimator: Estimator | Custom,
    placement: Placement,
    logits: Tensor,
    ref_logits: Tensor,
    *,
    behavior_logits: Tensor | None = None,
    clamp: float | None = None,
) -> EstimatorAudit:
    """Measure the bias and the variance of an estimator's value and gradient, by going through all actions.

    Parameters
    ----------
    estimator : {"k1", "k2", "k3"} or callable
        As for :func:`kl_loss`; or a function of (log_prob, ref_log_prob) to the estimate for each action, with the
        gradient that it would have in training.
    placement : {"loss", "reward"}
        ``"loss"``: the estimate is differentiated. ``"reward"``: it is a number in the reward, and the gradient is the
        policy gradient, estimate·∇log π.
    logits, ref_logits : Tensor
        The policy π and the reference, shape (actions,).
    behavior_logits : Tensor, optional
        The policy that draws the actions, if it is not π; then the estimates are weighted by the ratio π/behavior as in
        :func:`kl_loss`. Not for a function, which weights as it likes.
    clamp : float, optional
        As for :func:`kl_loss`. Not for a function.

    Returns
    -------
    EstimatorAudit
        Unpacks as ``verdict, value, value_bias, value_variance, gradient, gradient_bias, …``; in float64.

    Raises
    ------
    ValueError
        For logits of another shape, where KL(π‖ref) is infinite, and as :func:`kl_loss`.

    Notes
    -----
    O(actions²). No expectation is sampled: the numbers are exact to rounding.

    Examples
    --------
    >>> import torch
    >>> from dkl.training import audit_estimator
    >>> logits, ref_logits = torch.tensor([1.0, 0.0, -1.0]), torch.tensor([0.0, 0.5, 0.0])
    >>> print(audit_estimator("k3", "loss", logits, ref_logits).verdict)
    k3 as a loss: the value is unbiased, but the gradient is that of KL(ref‖π), not that of KL(π‖ref).
    >>> print(audit_estimator("k2", "loss", logits, ref_logits).verdict)
    k2 as a loss: the value is 7.0% too high, but the gradient is that of KL(π‖ref).
    """
    if placement not in ("loss", "reward"):
        raise ValueError(f"placement = {placement!r} is none of 'loss', 'reward'")
    if callable(estimator) and not (behavior_logits is None and clamp is None):
        raise ValueError("behavior_logits and clamp are for k1, k2 and k3: a function weights and clamps as it likes")
    if placement == "reward" and behavior_logits is not None:
        raise ValueError("behavior_logits beside a reward, which is given when π itself takes the action")
    policy = _checked("logits", logits).detach().double().requires_grad_()
    reference = _checked("ref_logits", ref_logits, logits).detach().double()
    drawing = policy.detach() if behavior_logits is None else _checked("behavior_logits", behavior_logits, logits)
    weights = drawing.detach().double().softmax(-1)
    # An action that is never drawn adds nothing; its log-probability is no finite number.
    drawn = torch.nonzero(weights > 0)[:, 0]
    weights = weights[drawn]

    exact = policy_kl(policy, reference)
    if not math.isfinite(float(exact.detach())):
        bad = torch.isneginf(reference) & ~torch.isneginf(policy)
        at, _ = first_failing(reference, ~bad)
        raise ValueError(f"ref_logits{at} = -inf forbids an action that π takes: KL(π‖ref) is infinite, as is any bias")
    log_prob, ref_log_prob = (x.log_softmax(-1)[drawn] for x in (policy, reference))
    if callable(estimator):
        values = estimator(log_prob, ref_log_prob)
        if values.shape != log_prob.shape:
            raise ValueError(
                f"the estimator gave shape {tuple(values.shape)} for log-probabilities of shape {tuple(log_prob.shape)}"
                ": it must give one estimate for each action"
            )
    else:
        behavior = None if behavior_logits is None else weights.log()
        with warnings.catch_warnings():
            # The verdict says it.
            warnings.simplefilter("ignore", BiasedGradientWarning)
            values = kl_loss(
                log_prob,
                ref_log_prob,
                estimator,
                on_policy=behavior is None,
                placement=placement,
                behavior_log_prob=behavior,
                clamp=clamp,
                reduction="none",
            )
    differentiated = values.detach() * log_prob if placement == "reward" else values
    gradients = _gradients(differentiated, policy)
    value, gradient = values.detach() @ weights, weights @ gradients
    toward = _gradients(exact[None], policy)[0]
    candidates = {"that of KL(π‖ref)": toward, "0": torch.zeros_like(toward)}
    if bool((torch.isneginf(reference) | ~torch.isneginf(policy)).all()):  # else KL(ref‖π) is infinite
        back = _gradients(policy_kl(reference, policy)[None], policy)[0]
        candidates |= {"that of KL(ref‖π)": back, "that of KL(π‖ref) − KL(ref‖π)": toward - back}
    size = float(weights @ gradients.abs().sum(-1)) + float(toward.abs().sum())
    kl = float(exact.detach())
    bias = float(value) - kl
    # A function may take a difference of the logarithms, with their rounding.
    rounding = 4.0 * torch.finfo(torch.float64).eps * float(weights @ log_prob.detach().abs().nan_to_num(posinf=0.0))
    room = rounding + _SAME * max(kl, float(weights @ values.detach().abs()))
    name = getattr(estimator, "__name__", "the estimator") if callable(estimator) else estimator
    how = "as a loss" if placement == "loss" else "in the reward"
    clamped = "" if clamp is None else f" clamped at {clamp:g}"
    off = "" if behavior_logits is None else ", on actions of another policy"
    return EstimatorAudit(
        f"{name}{clamped} {how}{off}: {_verdict(bias, room, kl, gradient, candidates, size)}",
        float(value),
        bias,
        float(weights @ (values.detach() - value).square()),
        gradient,
        gradient - toward,
        float(weights @ (gradients - gradient).square().sum(-1)),
        kl,
        toward,
    )


def _checked(name: str, logits: Tensor, like: Tensor | None = None) -> Tensor:
    if logits.ndim != 1 or not logits.numel():
        raise ValueError(f"{name} of shape {tuple(logits.shape)} must be the logits of one policy, shape (actions,)")
    if like is not None and logits.shape != like.shape:
        raise ValueError(f"{name} of shape {tuple(logits.shape)} must list the actions of logits, {tuple(like.shape)}")
    if not bool((logits < math.inf).all()):
        at, value = first_failing(logits.detach(), logits.detach() < math.inf)
        raise ValueError(f"{name}{at} = {value:g} is no logit: it is finite, or −inf for an action never taken")
    if bool(torch.isneginf(logits).all()):
        raise ValueError(f"{name} are −inf throughout: a policy takes some action")
    return logits


def _gradients(values: Tensor, policy: Tensor) -> Tensor:
    """The gradient of each value, a row each."""
    if not values.requires_grad:
        return policy.new_zeros(values.shape[0], policy.shape[0])
    each = torch.eye(values.shape[0], dtype=values.dtype)
    return torch.autograd.grad(values, policy, each, is_grads_batched=True, retain_graph=True)[0]


def _verdict(bias: float, room: float, kl: float, gradient: Tensor, candidates: dict[str, Tensor], size: float) -> str:
    """What the numbers say; ``room`` is the value's, ``size`` that of the gradient's parts, for their rounding."""
    unbiased = abs(bias) <= room
    if kl == 0:
        return "π and the reference are equal here, where no gradient tells one estimator from another."
    share = 100.0 * abs(bias) / kl
    percent = f"{share:.1f}%" if share >= 0.1 else f"{share:.1g}%"
    value = "unbiased" if unbiased else f"{percent} too {'high' if bias > 0 else 'low'}"
    right, toward = next(iter(candidates.items()))
    met = next((name for name, c in candidates.items() if float((gradient - c).abs().sum()) <= _SAME * size), None)
    link = "and" if unbiased == (met == right) else "but"
    if met is None:
        cosine = float(torch.nn.functional.cosine_similarity(gradient, toward, dim=0))
        longer = float(gradient.norm() / toward.norm())
        met = f"no KL's: {longer:.2g} times as long as that of KL(π‖ref), at a cosine of {cosine:.2g} to it"
    elif met != right:
        met = f"{met}, not {right}"
    return f"the value is {value}, {link} the gradient is {met}."
