"""Closed forms of KL for pairs outside one exponential family, in both directions, and Jeffreys as their sum.

Pairs of one kind have a formula without cancellation each. For the others KL(p‖q) = −E_p[log q] − H(p), and E_p[log q]
needs only a few expectations under p: of x, x², log x, log(1 − x), exp(−t·x), |x − m|. Each is written once for a p,
and what is needed of it once for a q; the pairs follow. Their two parts cancel where q comes close to p. Where it can
be p (a Beta or a continuous Bernoulli that is uniform, a Weibull that is exponential), both go to the family of both;
where it only comes near (a normal one to a gamma with a large shape), the pair is declined, for quadrature to measure.

In a batch of which some members of P leave the support of Q, KL is infinite for those alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import singledispatch
from typing import Any

import numpy as np

from dkl._array import Array, Namespace, epsilon, expm1_minus, holds, overflowing
from dkl.divergences import Divergence, kl
from dkl.estimate import Estimate
from dkl.families.base import Distribution, beside
from dkl.families.continuous_bernoulli import ContinuousBernoulli
from dkl.families.directional import Circle
from dkl.families.dirichlet import Beta
from dkl.families.exponential import ExponentialFamily
from dkl.families.fixed import Laplace, Pareto, Weibull
from dkl.families.gamma import Exponential, Gamma, InverseGamma
from dkl.families.log_gamma import gamma_rest_curvature
from dkl.families.normal import LogNormal, Normal
from dkl.families.others import Cauchy, GeneralizedNormal, Gumbel, Uniform
from dkl.families.outcomes import TwoOutcomes
from dkl.families.special import (
    digamma,
    full_like,
    gammaln,
    integral_difference,
    integral_divergence,
    log_ratio,
    ratio_excess,
    trigamma,
)
from dkl.methods.closed_form import answered, no_axis
from dkl.methods.expectations import mean_distance, mean_exp, mean_log, mean_log_rest, normaliser, or_infinite
from dkl.representations import Probs, outcome_pair
from dkl.rules import evaluate, rule
from dkl.supports import all_within

Formula = Callable[[Any, Any], Array | None]

# The relative error to which a difference of two expectations may come; closer pairs are left to other methods.
_RTOL = 1e-10


def closed(p: type, q: type) -> Callable[[Formula], Formula]:
    """Register a formula of KL for p and q in one array library; it declines by None."""

    def register(formula: Formula) -> Formula:
        _register("kl", p, q, lambda one, other: formula(one, other))
        _register("reverse_kl", q, p, lambda one, other: formula(other, one))
        return formula

    return register


def _register(name: str, p: type, q: type, formula: Formula) -> None:
    @rule(name, p, q, "closed_form")
    @overflowing
    def measured(
        divergence: Divergence, p: Any, q: Any, *, axis: Any = -1, explain: bool = False, **options: Any
    ) -> Estimate | None:
        no_axis(axis)
        p, q = beside(p, q)
        value = formula(p, q)
        if value is None:
            return None
        value = p.xp.broadcast_to(value, np.broadcast_shapes(tuple(value.shape), p.batch_shape, q.batch_shape))
        return _answered(divergence, p, q, value, explain)


def _answered(divergence: Divergence, p: Any, q: Any, value: Array, explain: bool) -> Estimate:
    reason = None
    if explain and all_within(p.support, q.support) is False:
        reason = f"{divergence.symbol} is infinite: P lives on {p.support.name}, Q on {q.support.name}."
    elif explain:
        reason = f"{divergence.symbol} is infinite, or exceeds the largest number: an expectation of its formula is."
    return answered(divergence, p, q, value, "closed_form", reason, explain)


@rule("jeffreys", Distribution, Distribution, "closed_form")
def _jeffreys(
    divergence: Divergence, p: Any, q: Any, *, axis: Any = -1, explain: bool = False, **options: Any
) -> Estimate | None:
    """KL both ways, where each has a closed form."""
    if _of_one_family(p, q) and not p.known:
        return None  # the family's own rule answers
    try:
        there, back = (evaluate(kl, x, y, method="closed_form", axis=axis) for x, y in ((p, q), (q, p)))
    except TypeError:
        return None
    p, q = beside(p, q)
    return _answered(divergence, p, q, p.xp.asarray(there.value + back.value), explain)


def _of_one_family(p: Any, q: Any) -> bool:
    return isinstance(p, ExponentialFamily) and isinstance(q, ExponentialFamily) and p.family is q.family


def _register_trials(name: str, formula: Formula) -> None:
    @rule(name, TwoOutcomes, TwoOutcomes, "closed_form")
    def trials(divergence: Divergence, p: Any, q: Any, *, axis: Any = -1, explain: bool = False, **options: Any) -> Any:
        """Of two Bernoulli distributions; an infinite one is left to the list, which names the outcome."""
        if axis != -1 or p.of is None or q.of is None:
            return None
        one, other = beside(p.of, q.of)
        value = formula(one, other)
        if value is None or holds(one.xp.any(one.xp.isinf(value))) is not False:
            return None
        return answered(divergence, one, other, value, "closed_form", explain=explain)


_register_trials("kl", lambda p, q: p._binary_kl(q))
_register_trials("reverse_kl", lambda p, q: q._binary_kl(p))
_register_trials("jeffreys", lambda p, q: p._binary_kl(q) + q._binary_kl(p))


@closed(Laplace, Laplace)
def _laplace(p: Any, q: Any) -> Array:
    return p._kl(q)


@closed(Cauchy, Cauchy)
def _cauchy(p: Any, q: Any) -> Array:
    """log(1 + ((s_p − s_q)² + (μ_p − μ_q)²)/(4·s_p·s_q)), https://arxiv.org/abs/1905.10965, eq. 13."""
    xp, huge = p.xp, _huge(p.xp, p.scale)
    apart, wider, ratio = (p.loc - q.loc) / q.scale, (p.scale - q.scale) / q.scale, p.scale / q.scale
    ordinary = (xp.abs(apart) < huge) & (xp.abs(wider) < huge) & (ratio > 1.0 / huge)
    square = (xp.where(ordinary, apart, 0.0) ** 2 + xp.where(ordinary, wider, 0.0) ** 2) / (
        4.0 * xp.where(ordinary, ratio, 1.0)
    )
    # √square by halves and roots, none of which leaves the floating range before it does.
    one, two = xp.abs(0.5 * p.loc - 0.5 * q.loc), xp.abs(0.5 * p.scale - 0.5 * q.scale)
    large, small = xp.where(one > two, one, two), xp.where(one > two, two, one)
    some = large > 0
    log_large, quotient = xp.log(xp.where(some, large, 1.0)), xp.where(some, small, 0.0) / xp.where(some, large, 1.0)
    log_root = log_large + 0.5 * xp.log1p(quotient**2) - 0.5 * (xp.log(p.scale) + xp.log(q.scale))
    return xp.where(ordinary, xp.log1p(square), 2.0 * xp.where(ordinary, 0.0, log_root))


def _huge(xp: Namespace, like: Array) -> float:
    """Up to this a number's square, times as much, is a float."""
    return math.pow(xp.finfo(like.dtype).max, 0.32)


@closed(Gumbel, Gumbel)
def _gumbel(p: Any, q: Any) -> Array:
    # Halves, of which the difference does not overflow.
    return _gumbel_kl(p.xp, 2.0 * ((0.5 * q.loc - 0.5 * p.loc) / q.scale), p.scale, q.scale)


@closed(Weibull, Weibull)
def _weibull(p: Any, q: Any) -> Array:
    # −log x is of Gumbel's law with the scale 1/k, and −log λ for its loc.
    u = q.concentration * log_ratio(p.xp, p.scale, q.scale)
    return _gumbel_kl(p.xp, u, q.concentration, p.concentration)


def _gumbel_kl(xp: Namespace, u: Array, mine: Array, its: Array) -> Array:
    """(exp(v) − 1 − v) + log Γ(1 + x) − ψ(1)·x with v = u + log Γ(2 + x), of two scales whose quotient is 1 + x.

    The second part is the divergence of log Γ from 1, so that both are non-negative.
    """
    x = (mine - its) / its
    near = xp.abs(x) < 0.5
    z = xp.where(near, x, 0.0)
    one, two = z * 0.0 + 1.0, z * 0.0 + 2.0
    # What is lost in 1 + x, if that is tiny, the logarithm of the quotient has.
    far = xp.where(near, 1.0, mine / its)
    finite = far < _huge(xp, far)
    far = xp.where(finite, far, 1.0)
    log_gamma = gammaln(xp, 1.0 + far)
    level = xp.where(near, integral_difference(xp, two, z, lambda s: digamma(xp, s)), log_gamma)
    shape = xp.where(
        near,
        integral_divergence(xp, one, z, lambda s: trigamma(xp, s)),
        log_gamma - log_ratio(xp, mine, its) + np.euler_gamma * (far - 1.0),
    )
    # Where v leaves the floating range so does exp(v), without inf − inf.
    v = u + level
    return or_infinite(xp, finite & (v < math.inf), expm1_minus(xp, xp.where(v < math.inf, v, 0.0)) + shape)


@closed(Pareto, Pareto)
def _pareto(p: Any, q: Any) -> Array:
    xp = p.xp
    inside = p.scale >= q.scale
    step = log_ratio(xp, xp.where(inside, p.scale, q.scale), q.scale)
    return or_infinite(xp, inside, ratio_excess(xp, q.alpha, p.alpha) + q.alpha * step)


@closed(GeneralizedNormal, GeneralizedNormal)
def _generalized_normal(p: Any, q: Any) -> Array | None:
    """t·(ρ − 1 − log ρ) + h(t), t = 1/β_q, with ρ = 1 at the best scale of q, and h(t) what the shapes leave then.

    With s = 1/β_p: log ρ = β_q·log(α_p/α_q) + k(t), k(t) = log Γ(s + s/t) − log Γ(s) − log t, k(s) = 0, and
    h'' = ψ'(t) − 1/t − 1/t² + s²/t³·ψ'(s + s/t), h(s) = h'(s) = 0.
    """
    xp = p.xp
    same = p.loc == q.loc
    if holds(xp.all(same)) is False:
        return None
    s, t = 1.0 / p._beta, 1.0 / q._beta
    # t − s, from the difference of the shapes.
    step = (p._beta - q._beta) / (p._beta * q._beta)
    near = (xp.abs(step) < 0.5 * s) & (xp.abs(step) < 0.5 * t)
    by, a, b = xp.where(near, step, 0.0), xp.where(near, s, 1.0 + 0.0 * s), xp.where(near, 1.0, t)
    far = xp.where(near, 1.0, s)

    def slope(r: Array) -> Array:
        c = a[..., None]
        return -(c * digamma(xp, c + c / r) / r + 1.0) / r

    def bend(r: Array) -> Array:
        c = a[..., None]
        small = r < 1
        low = trigamma(xp, 1.0 + xp.where(small, r, 1.0)) - 1.0 / r
        rest = xp.where(small, low, gamma_rest_curvature(xp, xp.where(small, 1.0, r)) - 1.0 / r**2)
        return rest + (c / r) ** 2 / r * trigamma(xp, c + c / r)

    level = gammaln(xp, far + far / b) - gammaln(xp, far)
    k = xp.where(near, integral_difference(xp, a, by, slope), level - xp.log(b))
    plain = xp.log(b / far) + gammaln(xp, b) - gammaln(xp, far) + b - far - b * xp.log(b) + b * level
    h = xp.where(near, integral_divergence(xp, a, by, bend), plain)
    value = t * expm1_minus(xp, q._beta * log_ratio(xp, p.scale, q.scale) + k) + h
    # Where a tracer hides the locations, nothing can be declined: what is not known is then no number.
    return xp.where(same, value, math.nan)


@rule(Divergence, Uniform, Uniform, "closed_form")
def _uniform(
    divergence: Divergence, p: Any, q: Any, *, axis: Any = -1, explain: bool = False, **options: Any
) -> Estimate:
    """Three outcomes: where only P lives, where both do, where only Q does; so for every member of the family."""
    no_axis(axis)
    p, q = beside(p, q)
    xp = p.xp
    low, high, shift, more = xp.broadcast_arrays(p.low, p.high, q.low - p.low, q.high - p.high)
    # How far P reaches beyond Q at each end, and Q beyond P.
    zero = 0.0 * shift
    only_p = xp.where(shift > 0, shift, zero) + xp.where(more < 0, -more, zero)
    only_q = xp.where(shift < 0, -shift, zero) + xp.where(more > 0, more, zero)
    shared = (high - low) - only_p
    meet = shared > 0
    rows = []
    for alone, width in ((only_p, p.high - p.low), (only_q, q.high - q.low)):
        share = xp.where(meet, alone / width, 1.0 + zero)
        rows.append((share, xp.where(meet, shared / width, zero)))
    left = Probs(xp.stack([rows[0][0], rows[0][1], zero], axis=-1))
    right = Probs(xp.stack([zero, rows[1][1], rows[1][0]], axis=-1))
    value = divergence.total(outcome_pair(left, right)[0])
    return _answered(divergence, p, q, value, explain)


@singledispatch
def _cross(q: Any, p: Any) -> Array | None:
    """−E_p[log q], by what the log-density of q is made of; None where an expectation is not known."""
    return None


@_cross.register(Normal)
def _(q: Any, p: Any) -> Array:
    xp = p.xp
    square = p._var() + (p._mean() - q.loc) ** 2
    return 0.5 * (math.log(2.0 * math.pi) + q._log_v + square * xp.exp(-q._log_v))


@_cross.register(LogNormal)
def _(q: Any, p: Any) -> None:
    return None


@_cross.register(Gamma)
def _(q: Any, p: Any) -> Array | None:
    xp, a = p.xp, q._a
    constant = gammaln(xp, a) - a * xp.log(q._b) + q._b * p._mean()
    if isinstance(q, Exponential):
        return constant
    log_x = mean_log(p)
    return None if log_x is None else constant - (a - 1.0) * log_x


@_cross.register(InverseGamma)
def _(q: Any, p: Any) -> None:
    return None


@_cross.register(Beta)
def _(q: Any, p: Any) -> Array | None:
    xp, a, b = p.xp, q.a, q.b
    log_x, log_rest = mean_log(p), mean_log_rest(p)
    if log_x is None or log_rest is None:
        return None
    return gammaln(xp, a) + gammaln(xp, b) - gammaln(xp, a + b) - (a - 1.0) * log_x - (b - 1.0) * log_rest


@_cross.register(ContinuousBernoulli)
def _(q: Any, p: Any) -> Array:
    return normaliser(p.xp, q._logit) - q._logit * p._mean()


@_cross.register(Gumbel)
def _(q: Any, p: Any) -> Array | None:
    xp = p.xp
    tail = mean_exp(p, 1.0 / q.scale, q.loc)
    return None if tail is None else xp.log(q.scale) + (p._mean() - q.loc) / q.scale + tail


@_cross.register(Laplace)
def _(q: Any, p: Any) -> Array | None:
    distance = mean_distance(p, q.loc)
    return None if distance is None else p.xp.log(2.0 * q.scale) + distance / q.scale


@_cross.register(Pareto)
def _(q: Any, p: Any) -> Array | None:
    log_x = mean_log(p)
    if log_x is None:
        return None
    return (q.alpha + 1.0) * log_x - p.xp.log(q.alpha) - q.alpha * p.xp.log(q.scale)


@_cross.register(Uniform)
def _(q: Any, p: Any) -> Array:
    return p.xp.log(q.high - q.low)


def _as_beta(p: Any) -> Any:
    """A uniform number from 0 to 1 as the member of Beta that it is."""
    one = full_like(p.xp, p.low, 1.0) + 0.0 * p.low
    return Beta._raw(p, a=one, b=one)


def _as_continuous_bernoulli(p: Any) -> Any:
    return ContinuousBernoulli._raw(p, logits=0.0 * p.low)


def _is_standard(p: Any) -> bool:
    return holds(p.xp.all((p.low == 0) & (p.high == 1))) is True


def _register_uniform(family: type, member: Callable[[Any], Any]) -> None:
    """A family on the numbers from 0 to 1 of which the uniform one is a member."""

    @closed(family, Uniform)
    def to_uniform(p: Any, q: Any) -> Array:
        # KL to the uniform from 0 to 1, and what a wider one adds.
        inside = (q.low <= 0) & (q.high >= 1)
        wider = p.xp.where(inside, (0.0 - q.low) + (q.high - 1.0), 0.0)
        return or_infinite(p.xp, inside, p._kl(member(q)) + p.xp.log1p(wider))

    @closed(Uniform, family)
    def from_uniform(p: Any, q: Any) -> Array | None:
        return member(p)._kl(q) if _is_standard(p) else _general(p, q)


@closed(Exponential, Weibull)
def _exponential_weibull(p: Any, q: Any) -> Array:
    return _weibull(_as_weibull(p), q)


@closed(Weibull, Exponential)
def _weibull_exponential(p: Any, q: Any) -> Array:
    return _weibull(p, _as_weibull(q))


def _as_weibull(p: Any) -> Any:
    return Weibull._raw(p, scale=1.0 / p._b, concentration=1.0 + 0.0 * p._b)


@singledispatch
def _largest(p: Any) -> Any:
    """The size of the terms that make an entropy or a log-normaliser, which may be far larger than their sum."""
    return 1.0


@_largest.register(Gamma)
def _(p: Any) -> Array:
    return p._a * (1.0 + p.xp.abs(p.xp.log(p._a)) + p.xp.abs(p.xp.log(p._b))) + 1.0


@_largest.register(Beta)
def _(p: Any) -> Array:
    return (p.a + p.b) * (1.0 + p.xp.log1p(p.a + p.b))


@closed(Distribution, Distribution)
def _general(p: Any, q: Any) -> Array | None:
    """−E_p[log q] − H(p), where p has an entropy and the expectations that q asks for."""
    xp = p.xp
    if _of_one_family(p, q) or p.event_ndim or q.event_ndim or isinstance(p.support, Circle):
        return None  # of angles the mean is another
    inside = p.support.within(q.support)
    if inside is False or (not isinstance(inside, bool) and holds(xp.any(inside)) is False):
        return None
    try:
        cross = _cross(q, p)
        if cross is None:
            return None
        value = cross - p._entropy()
    except NotImplementedError:
        return None
    # What rounding may leave of the difference must keep as many digits as a quadrature gives, or the dtype holds.
    rounding = 4.0 * epsilon(xp, value.dtype) * (xp.abs(cross) + _largest(p) + _largest(q))
    if holds(xp.all(value * max(_RTOL, epsilon(xp, p.dtype)) >= rounding)) is False:
        return None
    value = xp.where(value > 0, value, 0.0)
    return value if isinstance(inside, bool) else or_infinite(xp, inside, value)


_register_uniform(Beta, _as_beta)
_register_uniform(ContinuousBernoulli, _as_continuous_bernoulli)
