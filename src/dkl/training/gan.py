"""Generative adversarial networks: what the discriminator and the generator minimise, and what the game is worth.

With P the data and Q the generator's distribution, the game's value is V(D, Q) = E_P[log D] + E_Q[log(1 − D)]. The best
discriminator is D* = p/(p + q), and leaves C(Q) = V(D*, Q) = −log 4 + 2·JS(P, Q) to the generator. A discriminator's
score is a logit, log D/(1 − D): D itself rounds to 1, and its logarithm's gradient with it.

References
----------
.. [1] I. Goodfellow et al., "Generative adversarial nets", NeurIPS (2014), eq. 1, Proposition 1 and Theorem 1.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.nn.functional import softplus

from dkl import rules
from dkl._array import Array, Namespace, as_array, as_scalar, first_failing, holds, is_numpy, namespace_of
from dkl.divergences import js
from dkl.families import Normal
from dkl.families.base import Distribution, beside
from dkl.representations import Axis, FiniteOutcomes, Representation, interpret, outcome_pair
from dkl.training.reduction import Reduction, reduced
from dkl.training.scores import of_both, read_scores


def gan_value(p: Any, q: Any, *, axis: Axis = -1, method: str | None = None) -> Any:
    """What the game is worth against the best discriminator, C(Q) = −log 4 + 2·JS(P, Q).

    Parameters
    ----------
    p : array_like, representation or distribution
        The data's distribution; any pair that ``dkl.js`` measures.
    q : array_like, representation or distribution
        The generator's.
    axis, method
        As in calling a divergence.

    Returns
    -------
    array or scalar
        In nats, from −log 4, where P and Q are equal, to 0, where they share nothing; differentiable as ``dkl.js`` is.

    Raises
    ------
    ValueError, TypeError
        As in calling a divergence.

    References
    ----------
    .. [1] I. Goodfellow et al., "Generative adversarial nets", NeurIPS (2014), Theorem 1.

    Examples
    --------
    >>> from dkl.training import gan_value
    >>> float(gan_value([1.0, 0.0], [0.0, 1.0]))
    0.0
    >>> from dkl.families import Normal
    >>> float(gan_value(Normal(0, 1), Normal(0, 1)))  # −log 4
    -1.3862943611198906
    """
    return 2.0 * js(p, q, axis=axis, method=method) - math.log(4.0)


def optimal_discriminator(p: Any, q: Any, *, at: Any = None, axis: Axis = -1, logits: bool = False) -> Any:
    """The best discriminator D* = p/(p + q), calculated as the sigmoid of log p − log q.

    Parameters
    ----------
    p : array_like, representation or distribution
        The data's distribution.
    q : array_like, representation or distribution
        The generator's.
    at : array_like, optional
        The outcomes at which to evaluate it, for distributions; a list of outcomes is evaluated at each of them.
    axis : int, tuple of int, or None
        The axis of outcomes of a list.
    logits : bool
        Return log p − log q itself, whose digits and gradient are there also where D* rounds to 0 or 1.

    Returns
    -------
    array or scalar
        Of the shape of the broadcast pair, or of ``at`` and the batch. Where neither P nor Q has mass, which no sample
        reaches, it is 1/2. Differentiable, but for the outcomes that one side alone can have.

    Raises
    ------
    ValueError
        For arrays that are no probabilities, outcomes ``at`` which to evaluate a list, and NaN among the outcomes.
    TypeError
        For distributions without ``at``, and objects without a density, such as ``dkl.Samples``.

    References
    ----------
    .. [1] I. Goodfellow et al., "Generative adversarial nets", NeurIPS (2014), Proposition 1.

    Examples
    --------
    >>> from dkl.training import optimal_discriminator
    >>> optimal_discriminator([0.75, 0.25, 0.0], [0.25, 0.25, 0.5])
    array([0.75, 0.5 , 0.  ])
    >>> from dkl.families import Normal
    >>> float(optimal_discriminator(Normal(0, 1), Normal(8, 1), at=8.0, logits=True))
    -32.0
    """
    rules.load()
    left, right = interpret(p), interpret(q)
    lists = left.measured_as(), right.measured_as()
    if at is None and all(isinstance(side, FiniteOutcomes) for side in lists):
        pair, layout = outcome_pair(*lists, axis)  # type: ignore[arg-type]
        in_p, in_q = pair.in_p, pair.in_q
        score = _score(pair.xp, in_p, in_q, pair.shared.log_ratio)
        return as_scalar(layout.scatter(pair.xp, score if logits else _sigmoid(pair.xp, score)))
    left, right = _densities(left, right, at)
    xp = left.xp
    if type(left) is type(right) is Normal:
        score = _score_of_normals(left, right, at)
        return as_scalar(score if logits else _sigmoid(xp, score))
    log_p, log_q = xp.broadcast_arrays(*(as_array(xp, side.log_prob(at), "log_prob") for side in (left, right)))
    in_p, in_q = log_p > -math.inf, log_q > -math.inf
    both = in_p & in_q
    score = _score(xp, in_p, in_q, xp.where(both, log_p, 0.0) - xp.where(both, log_q, 0.0))
    return as_scalar(score if logits else _sigmoid(xp, score))


def discriminator_value(
    real_logits: Tensor, fake_logits: Tensor, *, real_mask: Tensor | None = None, fake_mask: Tensor | None = None
) -> Tensor:
    """The game's value for a given discriminator, from its logits on samples: E_P[log D] + E_Q[log(1 − D)].

    Parameters
    ----------
    real_logits : Tensor
        log D/(1 − D) on samples of P, any shape, one for each row.
    fake_logits : Tensor
        The same on samples of Q, which may be more or fewer.
    real_mask, fake_mask : Tensor, optional
        Which rows count.

    Returns
    -------
    Tensor
        At most 0, in nats. Over all discriminators its expectation is at most ``gan_value(p, q)``; a discriminator that
        has learnt these very samples by heart exceeds it.

    Raises
    ------
    ValueError, TypeError
        As :func:`gan_discriminator_loss`.

    Examples
    --------
    >>> import torch
    >>> from dkl.training import discriminator_value
    >>> discriminator_value(torch.zeros(3), torch.zeros(5))  # D = 1/2 everywhere: −log 4
    tensor(-1.3863)
    """
    return -gan_discriminator_loss(real_logits, fake_logits, real_mask=real_mask, fake_mask=fake_mask)


def gan_discriminator_loss(
    real_logits: Tensor,
    fake_logits: Tensor,
    *,
    reduction: Reduction = "mean",
    real_mask: Tensor | None = None,
    fake_mask: Tensor | None = None,
) -> Tensor:
    """What the discriminator minimises: −log D on real rows plus −log(1 − D) on generated rows.

    Parameters
    ----------
    real_logits : Tensor
        log D/(1 − D) on real rows, any shape, one for each row.
    fake_logits : Tensor
        The same on generated rows.
    reduction : {"mean", "sum", "none"}
        Over the real and over the generated rows, each by itself; the two are added. ``"none"`` needs equal shapes.
    real_mask, fake_mask : Tensor, optional
        Which rows count.

    Returns
    -------
    Tensor
        Non-negative, in nats; float32 at least. With ``"mean"`` it is −V(D, Q), which is 2·log 2 for D = 1/2.

    Raises
    ------
    ValueError
        For NaN (looked for on the CPU only), a mask that does not fit, unequal shapes with ``reduction="none"``.
    TypeError
        For what is no tensor of floating numbers.

    References
    ----------
    .. [1] I. Goodfellow et al., "Generative adversarial nets", NeurIPS (2014), Algorithm 1.

    Examples
    --------
    >>> import torch
    >>> from dkl.training import gan_discriminator_loss
    >>> gan_discriminator_loss(torch.tensor([1e4, 2e4]), torch.tensor([-1e4]))
    tensor(0.)
    """
    real = read_scores(real_logits, "real_logits", real_mask)
    fake = read_scores(fake_logits, "fake_logits", fake_mask)
    return of_both(softplus(-real), softplus(fake), reduction, real_mask, fake_mask)


def gan_generator_loss(
    fake_logits: Tensor, *, saturating: bool = False, reduction: Reduction = "mean", mask: Tensor | None = None
) -> Tensor:
    """What the generator minimises: −log D, or with ``saturating`` the game's own log(1 − D).

    Parameters
    ----------
    fake_logits : Tensor
        log D/(1 − D) on generated rows, any shape, one for each row, with the generator's graph behind it.
    saturating : bool
        The game as written: its gradient, σ(logit) times the logit's, vanishes where the discriminator is sure that the
        row is generated. The loss that does not saturate has 1 − σ(logit) instead. Both have the same fixed point, but
        only the first descends JS.
    reduction : {"mean", "sum", "none"}
        Over rows.
    mask : Tensor, optional
        Which rows count.

    Returns
    -------
    Tensor
        In nats, float32 at least.

    Raises
    ------
    ValueError, TypeError
        As :func:`gan_discriminator_loss`.

    References
    ----------
    .. [1] I. Goodfellow et al., "Generative adversarial nets", NeurIPS (2014), section 3.

    Examples
    --------
    >>> import torch
    >>> from dkl.training import gan_generator_loss
    >>> logit = torch.tensor([-32.0], requires_grad=True)  # a discriminator that is sure
    >>> for saturating in (True, False):
    ...     (slope,) = torch.autograd.grad(gan_generator_loss(logit, saturating=saturating), logit)
    ...     print(f"{slope.item():.1e}")
    -1.3e-14
    -1.0e+00
    """
    fake = read_scores(fake_logits, "fake_logits", mask)
    return reduced(-softplus(fake) if saturating else softplus(-fake), reduction, mask)


def _densities(p: Representation, q: Representation, at: Any) -> tuple[Distribution, Distribution]:
    """Both sides as distributions of one array library, which is that of the outcomes."""
    for name, side in (("p", p), ("q", q)):
        if isinstance(side, FiniteOutcomes) and at is not None:
            raise ValueError(f"at= belongs to distributions; {name} is a list of outcomes, and each is evaluated")
        if not isinstance(side, Distribution):
            raise TypeError(f"{name} is a {type(side).__name__}, which has no density to evaluate")
    if at is None:
        raise TypeError("distributions are evaluated at outcomes: give them as at=")
    xp = namespace_of(at=at)
    points = as_array(xp, at, "at")
    if xp.isdtype(points.dtype, "real floating") and holds(xp.all(number := ~xp.isnan(points))) is False:
        raise ValueError(f"at{first_failing(points, number)[0]} is not a number, and so no outcome")
    sides = [side if is_numpy(xp) or not is_numpy(side.xp) else side.moved(xp, at) for side in (p, q)]  # type: ignore[attr-defined]
    moved: tuple[Distribution, Distribution] = beside(*sides)
    return moved


def _score(xp: Namespace, in_p: Array, in_q: Array, log_ratio: Array) -> Array:
    one_side = xp.where(in_p, xp.full_like(log_ratio, math.inf), xp.where(in_q, -math.inf, 0.0 * log_ratio))
    return xp.where(in_p & in_q, log_ratio, one_side)


def _score_of_normals(p: Normal, q: Normal, at: Any) -> Array:
    """½·(b − a)·(b + a) + log(σ_q/σ_p) with a, b the distances in units of σ, whose squares may overflow."""
    xp = p.xp
    x = xp.astype(as_array(xp, at, "at", like=p.loc), p.loc.dtype)
    possible = xp.isfinite(x)
    from_p = xp.where(possible, x, 0.0) - p.loc
    between = q._standard(p.loc - q.loc)
    a, b = p._standard(from_p), q._standard(from_p)
    score = 0.5 * (b - a + between) * (b + between + a) + 0.5 * (q._log_v - p._log_v)
    return xp.where(possible, score, 0.0)


def _sigmoid(xp: Namespace, x: Array) -> Array:
    # By the exponential that is at most 1; not of −|x|, whose slope at 0 some libraries call 0.
    positive = x > 0
    decay = xp.exp(xp.where(positive, -x, x))
    return xp.where(positive, 1.0, decay) / (1.0 + decay)
