"""KL of the normal distributions that an encoder gives: each latent dimension's, in the log-variance form."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

import dkl
from dkl._array import compiling, expm1_minus, first_failing, holds, namespace_of, real_floating
from dkl.adapters import adapted
from dkl.families import Normal
from dkl.kernels.formulas import Formula
from dkl.methods.autograd import evaluated, looped
from dkl.training.reduction import visible

# Of the continued fraction: 3, 5, 7, …, every other one times 4, up to where less than ε of a dtype is left at l = 1.
_DENOMINATORS = {torch.float32: (12, 5, 28), torch.float64: (12, 5, 28, 9, 44, 13)}


def gaussian_kl(mu: Tensor, log_var: Tensor, prior: Any = None, *, mask: Tensor | None = None) -> Tensor:
    """KL(N(mu, exp(log_var)) ‖ prior) of each latent dimension, for N(0, 1) as the prior ½·(mu² + e^l − 1 − l).

    Parameters
    ----------
    mu, log_var : Tensor
        The encoder's means and logarithms of its variances, with rows first; their shapes broadcast.
    prior : (Tensor, Tensor) or Normal, optional
        N(0, 1) if not given; else its mean and log-variance, a ``dkl.families.Normal``, or a
        ``torch.distributions.Normal``; gradients reach it too.
    mask : Tensor, optional
        Which rows count, of the shape of the first axes: the KL of others is 0, with gradient 0, whatever they hold.

    Returns
    -------
    Tensor
        Nats, of the inputs' shape, one number for each dimension; in float32 at least, so that half precision does not
        overflow. Never negative, right to the last digits also where both are near 0, for every log-variance of which
        half the exponential is in the dtype's range: up to 89 in float32. Beyond that it is infinite; a gradient is
        never NaN.

    Raises
    ------
    ValueError
        If shapes do not broadcast, or the prior is no normal distribution; on the CPU, outside of ``torch.compile``, if
        an input is NaN. Elsewhere numbers are not looked at.

    Notes
    -----
    Cost: one exponential for each dimension and for its slope. Large tensors in the CPU's memory go through one
    compiled loop each way, in float64.

    Examples
    --------
    >>> import torch
    >>> from dkl.training import gaussian_kl
    >>> gaussian_kl(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1e-3, 0.0, 1.0]))
    tensor([2.5008e-07, 5.0000e-01, 2.3591e+00])
    """
    mean, log_variance = _latents(mu, log_var, mask)
    if prior is None:
        kl = _standard_kl(mean, log_variance)
    elif isinstance(prior, tuple) and len(prior) == 2 and all(isinstance(x, Tensor) for x in prior):
        loc, log_prior = (visible(_spread(x, mean), beside(mask, mean)) for x in prior)
        mean, log_variance, loc, log_prior = real_floating(namespace_of(mu=mean), mean, log_variance, loc, log_prior)
        # 1/σ in two factors, which stay finite up to where every difference but 0 has an infinite square.
        root = torch.exp(-0.25 * log_prior.clamp(min=-4.0 * _largest_exponent(log_prior)))
        kl = _standard_kl((mean - loc) * root * root, log_variance - log_prior)
    else:
        known = prior if isinstance(prior, Normal) else adapted(prior)
        if type(known) is not Normal:
            raise ValueError(
                f"prior = {prior!r} is no normal distribution of each dimension: give (mu, log_var) as tensors, a "
                "dkl.families.Normal or a torch.distributions.Normal"
            )
        kl = dkl.kl(Normal(mean, log_variance=log_variance), known)
        if kl.shape != mean.shape:
            raise ValueError(
                f"the prior is a batch of shape {tuple(known.batch_shape)}, which does not broadcast to "
                f"{tuple(mean.shape)}, the shape of mu"
            )
    _check(kl, mu=mean, log_var=log_variance)
    return visible(kl, beside(mask, kl))


def _latents(mu: Tensor, log_var: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    for name, x in (("mu", mu), ("log_var", log_var)):
        if not isinstance(x, Tensor) or not x.dtype.is_floating_point:
            raise TypeError(f"{name} must be a floating-point tensor, got {getattr(x, 'dtype', type(x).__name__)}")
    mean, log_variance = real_floating(namespace_of(mu=mu), mu, log_var)
    if mean.shape != log_variance.shape:
        try:
            mean, log_variance = torch.broadcast_tensors(mean, log_variance)
        except RuntimeError:
            raise ValueError(
                f"mu has shape {tuple(mu.shape)} and log_var {tuple(log_var.shape)}: they do not broadcast"
            ) from None
    if mask is None:
        return mean, log_variance
    kept = beside(mask, mean)
    return visible(mean, kept), visible(log_variance, kept)


def _spread(x: Tensor, mean: Tensor) -> Tensor:
    try:
        return x.expand(mean.shape)
    except RuntimeError:
        raise ValueError(
            f"the prior has a tensor of shape {tuple(x.shape)}, which does not broadcast to {tuple(mean.shape)}, the "
            "shape of mu"
        ) from None


def beside(mask: Tensor | None, x: Tensor) -> Tensor | None:
    """A mask of the first axes, with as many axes as x."""
    if mask is None:
        return None
    if mask.shape != x.shape[: mask.ndim]:
        raise ValueError(
            f"mask has shape {tuple(mask.shape)} and the rows {tuple(x.shape)}: give one number for each row"
        )
    return mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))


def _check(kl: Tensor, **inputs: Tensor) -> None:
    """Name the input that made a KL NaN, where looking does not make an accelerator wait."""
    # A sum of what is never negative is NaN only where a part is.
    if compiling() or kl.device.type != "cpu" or holds(torch.isnan(kl.detach().sum())) is not True:
        return
    for name, x in inputs.items():
        good = ~torch.isnan(x)
        if not good.all():
            raise ValueError(
                f"{name}{first_failing(x, good)[0]} is NaN, which is no parameter of a normal distribution"
            )
    raise ValueError("the KL is NaN: a parameter of the prior is NaN, or one of either side infinite")


_STANDARD = Formula(("mu", "log_var"), lambda xp, mu, log_var: 0.5 * (mu**2 + expm1_minus(xp, log_var)))


def _standard_kl(mu: Tensor, log_var: Tensor) -> Tensor:
    """The KL from N(0, 1): by one compiled loop over what is large and lies in memory, else by few operations."""
    known = (mu, log_var)
    made: Tensor = evaluated(_STANDARD, *known) if looped(known) else _StandardKL.apply(*known)[0]
    return made


class _StandardKL(torch.autograd.Function):  # type: ignore[misc]
    """½·(mu² + e^l − 1 − l), and ½·(e^l − 1) beside it for the way back.

    With e = e^l − 1 and c = z/(3 + z/(5 + z/(7 + …))), z = l²/4, the continued fraction of tanh(l/2) [1], e − l is
    l·(e/2 − c)/(1 + c), which does not cancel near 0. Its terms are multiplied by 4 by turns, which spares the division
    of l².

    References
    ----------
    .. [1] NIST Digital Library of Mathematical Functions, equation 4.39.1.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(mu: Tensor, log_var: Tensor) -> tuple[Tensor, Tensor]:
        """Each step in place of one before: memory is what it costs."""
        slope = _half_expm1(log_var)
        square = log_var * log_var
        *above, last = _DENOMINATORS[log_var.dtype]
        c = square / last
        for denominator in reversed(above):
            c = square / c.add_(denominator)
        near = slope.sub(c).mul_(log_var).div_(c.mul_(2.0).add_(2.0))
        kl = torch.where(square < 1.0, near, slope.sub(log_var, alpha=0.5))
        # An infinite slope times a weight of 0 would be NaN.
        return kl.add_((0.5 * mu).mul_(mu)), slope.clamp(max=torch.finfo(slope.dtype).max)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
        """Keep the exponential for the way back, and what it was made of for the way back of that."""
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs, output[1])

    @staticmethod
    def backward(ctx: Any, passed: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        """The slopes mu and ½·(e^l − 1), as functions of the inputs if they are to be differentiated again."""
        mu, log_var, slope = ctx.saved_tensors
        if torch.is_grad_enabled():
            # The exponent is cut, not the exponential: one that is infinite has a slope of NaN even then.
            slope = _half_expm1(log_var.clamp(max=_largest_exponent(log_var) + math.log(2.0)))
        return passed * mu, passed * slope


def _largest_exponent(x: Tensor) -> float:
    """Where the exponential leaves the dtype's range, a rounding before."""
    limits = torch.finfo(x.dtype)
    return math.log(float(limits.max)) * (1.0 - float(limits.eps))


def _half_expm1(x: Tensor) -> Tensor:
    """½·(e^x − 1) as e^(x/2)·sinh(x/2), which is finite for a log 2 longer than e^x."""
    # Far below, where it is −½ to the last digit, sinh would overflow.
    x = x.clamp(min=-_largest_exponent(x))
    # Halved twice, so that no step of the way back is larger than the slope.
    return torch.exp(0.5 * x).mul(torch.sinh(0.5 * x))
