"""The likelihoods of a decoder: what the data cost, in nats, given what the decoder says of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from dkl._array import compiling, first_failing, holds, log_softmax, namespace_of, real_floating, real_number
from dkl.families.continuous_bernoulli import log_mass, mean

Likelihood = Literal[
    "bernoulli", "bernoulli_logits", "categorical_logits", "continuous_bernoulli_logits", "gaussian", "laplace"
]


def negative_log_likelihood(
    x: Tensor, x_recon: Tensor, likelihood: Likelihood = "bernoulli", *, scale: float | Tensor = 1.0
) -> Tensor:
    """−log p(x) of each number of the data, under a likelihood with the decoder's outputs as its parameters.

    Parameters
    ----------
    x : Tensor
        The data.
    x_recon : Tensor
        The decoder's outputs, of the data's shape; with one axis more, the last, for ``"categorical_logits"``.
    likelihood : str
        What the outputs are, and so what x may be:

        - ``"bernoulli_logits"``: log-odds, finite; x in [0, 1]. Prefer it to probabilities: those of float32 cannot say
          1 − 10⁻⁹.
        - ``"bernoulli"``: probabilities in [0, 1], both ends included; x in [0, 1]. x = 0 at a probability of 0 costs
          nothing, x > 0 there is infinite.
        - ``"continuous_bernoulli_logits"``: η of the density proportional to exp(η·x), x in [0, 1] [1]. With grey
          values, neither of the two above is a density.
        - ``"gaussian"``, ``"laplace"``: the mean, with ``scale`` as the standard deviation, or the width b.
        - ``"categorical_logits"``: logits of the classes, along the last axis; x holds the classes' integer numbers.
    scale : float or Tensor
        For ``"gaussian"`` and ``"laplace"``, positive; it broadcasts against x, and may be learned.

    Returns
    -------
    Tensor
        Nats, of x's shape, with all constants: the likelihood is normalised. In float32 at least.

    Raises
    ------
    ValueError
        If the shapes differ, the likelihood has no such name, or takes no scale, or none of that shape. On the CPU,
        outside of ``torch.compile``: if a number lies outside its domain. Elsewhere numbers are not looked at.
    TypeError
        If classes are not integers, or the scale is neither a number nor a tensor.

    References
    ----------
    .. [1] G. Loaiza-Ganem, J. P. Cunningham, "The continuous Bernoulli: fixing a pervasive error in variational
       autoencoders", NeurIPS (2019).

    Examples
    --------
    >>> import torch
    >>> from dkl.training import negative_log_likelihood
    >>> negative_log_likelihood(torch.tensor([1.0, 0.0, 1.0]), torch.tensor([0.5, 0.0, 1.0]))
    tensor([0.6931, 0.0000, 0.0000])
    """
    if likelihood not in get_args(Likelihood):
        raise ValueError(f"likelihood = {likelihood!r} is none of {', '.join(map(repr, get_args(Likelihood)))}")
    if likelihood == "categorical_logits":
        return _categorical(x, x_recon)
    if x.shape != x_recon.shape:
        raise ValueError(f"x has shape {tuple(x.shape)} and x_recon {tuple(x_recon.shape)}: reshape one of them")
    if not x_recon.dtype.is_floating_point:
        raise TypeError(f"x_recon must hold floating-point numbers, got {x_recon.dtype}")
    data, output = real_floating(namespace_of(x=x), x, x_recon)
    if likelihood in _WITH_SCALE:
        _hold("x", data, torch.isfinite, f"is no number of the likelihood {likelihood!r}: it must be finite")
        _hold("x_recon", output, torch.isfinite, "is no mean: it must be finite")
        _check_scale(scale, data)
        return _WITH_SCALE[likelihood](data, output, scale)
    if isinstance(scale, Tensor) or scale != 1.0:
        raise ValueError(f"the likelihood {likelihood!r} has no scale: leave it out")
    _hold("x", data, _in_unit_interval, f"lies outside [0, 1], where the likelihood {likelihood!r} lives")
    return _WITHOUT_SCALE[likelihood](data, output)


def _hold(name: str, x: Tensor, good: Callable[[Tensor], Tensor], what: str) -> None:
    """Name the first number that is not good, where looking at it does not make an accelerator wait."""
    if compiling() or x.device.type != "cpu":
        return
    held = good(x.detach())
    if holds(held.all()) is False:
        index, value = first_failing(x, held)
        raise ValueError(f"{name}{index} = {value:g} {what}")


def _check_scale(scale: float | Tensor, x: Tensor) -> None:
    if not isinstance(scale, Tensor):
        scale = torch.as_tensor(real_number(scale, "scale"), dtype=torch.float64)
    off = x.ndim - scale.ndim
    if off < 0 or any(s not in (1, n) for s, n in zip(scale.shape, x.shape[off:], strict=True)):
        raise ValueError(
            f"scale of shape {tuple(scale.shape)} does not broadcast to x of shape {tuple(x.shape)}: give one number, "
            "or one for each of x"
        )
    _hold("scale", scale, lambda s: (s > 0) & (s < math.inf), "must be positive and finite")


def _in_unit_interval(x: Tensor) -> Tensor:
    return (x >= 0) & (x <= 1)


def _bernoulli(x: Tensor, p: Tensor) -> Tensor:
    _hold("x_recon", p, _in_unit_interval, "is no probability: for log-odds use likelihood='bernoulli_logits'")
    # A part without weight must not see its logarithm of 0, or the gradient would be NaN.
    ones, zeros = x > 0, x < 1
    of_ones = x * torch.log(torch.where(ones, p, 1.0))
    of_zeros = (1.0 - x) * torch.log1p(-torch.where(zeros, p, 0.0))
    return -of_ones - of_zeros  # in this form no zero is negative


def _bernoulli_logits(x: Tensor, a: Tensor) -> Tensor:
    _hold("x_recon", a, torch.isfinite, "is no log-odds: it must be finite")
    return torch.nn.functional.binary_cross_entropy_with_logits(a, x, reduction="none")


def _continuous_bernoulli_logits(x: Tensor, n: Tensor) -> Tensor:
    _hold("x_recon", n, torch.isfinite, "is no natural parameter: it must be finite")
    made: Tensor = _ContinuousBernoulli.apply(x, n)
    return made


class _ContinuousBernoulli(torch.autograd.Function):  # type: ignore[misc]
    """A(η) − η·x with the slope A'(η) − x, which the parts |η| would leave undefined at η = 0."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, n: Tensor) -> Tensor:
        """By its distance to the end at which the density is largest, where nothing cancels."""
        return n.abs() * torch.where(n > 0, 1.0 - x, x) + log_mass(namespace_of(n=n), n)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Keep the inputs."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, passed: Tensor) -> tuple[Tensor, Tensor]:
        """In operations that can be differentiated again."""
        x, n = ctx.saved_tensors
        return -passed * n, passed * (mean(namespace_of(n=n), n) - x)


def _gaussian(x: Tensor, loc: Tensor, scale: float | Tensor) -> Tensor:
    return 0.5 * ((x - loc) / scale) ** 2 + _log(scale) + 0.5 * math.log(2 * math.pi)


def _laplace(x: Tensor, loc: Tensor, scale: float | Tensor) -> Tensor:
    return (x - loc).abs() / scale + _log(scale) + math.log(2)


def _log(scale: float | Tensor) -> float | Tensor:
    return torch.log(scale) if isinstance(scale, Tensor) else math.log(scale)


def _categorical(x: Tensor, logits: Tensor) -> Tensor:
    if x.dtype.is_floating_point or x.dtype == torch.bool:
        raise TypeError(f"x must hold the integer numbers of classes for 'categorical_logits', got {x.dtype}")
    if logits.ndim != x.ndim + 1 or logits.shape[:-1] != x.shape:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and x_recon {tuple(logits.shape)}: x_recon has one axis more, the last, "
            "for the classes"
        )
    classes = logits.shape[-1]
    _hold("x", x, lambda c: (c >= 0) & (c < classes), f"is none of the {classes} classes, 0 to {classes - 1}")
    _hold("x_recon", logits, lambda a: a < math.inf, "is no logit: it is finite, or −inf for a class that cannot be")
    _hold("x_recon", logits.amax(-1), lambda a: a > -math.inf, "in every class: a row needs one that can be")
    xp = namespace_of(x_recon=logits)
    # In this form no zero is negative.
    return 0.0 - log_softmax(xp, *real_floating(xp, logits)).gather(-1, x.long()[..., None])[..., 0]


_WITHOUT_SCALE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bernoulli": _bernoulli,
    "bernoulli_logits": _bernoulli_logits,
    "continuous_bernoulli_logits": _continuous_bernoulli_logits,
}
_WITH_SCALE: dict[str, Callable[[Tensor, Tensor, float | Tensor], Tensor]] = {
    "gaussian": _gaussian,
    "laplace": _laplace,
}
