"""Expectations in closed form that entropies across families are made of: of log x, exp(t·x), |x − m|."""

from __future__ import annotations

import math
from functools import singledispatch
from typing import Any

import numpy as np

from dkl._array import Array, Namespace
from dkl.families.continuous_bernoulli import ContinuousBernoulli, log_mass
from dkl.families.dirichlet import Beta
from dkl.families.fixed import Laplace, Pareto, Weibull
from dkl.families.gamma import Exponential, Gamma, InverseGamma
from dkl.families.inverse_gaussian import InverseGaussian
from dkl.families.normal import LogNormal, Normal
from dkl.families.others import Gumbel, Kumaraswamy, Uniform
from dkl.families.special import (
    digamma,
    gammaln,
    log_ratio,
    special,
)


def or_infinite(xp: Namespace, finite: Array, value: Array) -> Array:
    """The value where it is finite, elsewhere ∞."""
    return xp.where(finite, value, math.inf)


def normaliser(xp: Namespace, n: Array) -> Array:
    """A(η) of the continuous Bernoulli family: log((1 − exp(−|η|))/|η|), and η where that is positive."""
    return log_mass(xp, n) + xp.where(n > 0, n, 0.0)


@singledispatch
def mean_log(p: Any) -> Array | None:
    """E[log x]."""
    return None


@mean_log.register(Gamma)
def _(p: Any) -> Array:
    return digamma(p.xp, p._a) - p.xp.log(p._b)


@mean_log.register(InverseGamma)
def _(p: Any) -> Array:
    return p.xp.log(p._b) - digamma(p.xp, p._a)


@mean_log.register(Beta)
def _(p: Any) -> Array:
    return digamma(p.xp, p.a) - digamma(p.xp, p.a + p.b)


@mean_log.register(LogNormal)
def _(p: Any) -> Array:
    return p.loc


@mean_log.register(Weibull)
def _(p: Any) -> Array:
    return p.xp.log(p.scale) - np.euler_gamma / p.concentration


@mean_log.register(Pareto)
def _(p: Any) -> Array:
    return p.xp.log(p.scale) + 1.0 / p.alpha


@mean_log.register(InverseGaussian)
def _(p: Any) -> Array:
    return p.mean_log()


@mean_log.register(Kumaraswamy)
def _(p: Any) -> Array:
    return -(digamma(p.xp, p.b + 1.0) + np.euler_gamma) / p.a


@mean_log.register(Uniform)
def _(p: Any) -> Array:
    return mean_log_between(p.xp, p.low, p.high)


def mean_log_between(xp: Namespace, low: Array, high: Array) -> Array:
    """Of a uniform number: (h·log h − l·log l)/(h − l) − 1; for bounds that are not negative, elsewhere anything."""
    low, high = xp.where(low >= 0, low, 0.0), xp.where(high > 0, high, 1.0)
    # log h + l·log(h/l)/(h − l) − 1, in which only a part that is small for small l depends on l.
    some = (low > 0) & (low < high)
    small, large = xp.where(some, low, 1.0), xp.where(some, high, 2.0)
    rest = xp.where(some, small * log_ratio(xp, large, small) / (large - small), 0.0)
    return xp.log(high) + rest - 1.0


@singledispatch
def mean_log_rest(p: Any) -> Array | None:
    """E[log(1 − x)]."""
    return None


@mean_log_rest.register(Beta)
def _(p: Any) -> Array:
    return digamma(p.xp, p.b) - digamma(p.xp, p.a + p.b)


@mean_log_rest.register(Uniform)
def _(p: Any) -> Array:
    return mean_log_between(p.xp, 1.0 - p.high, 1.0 - p.low)


@mean_log_rest.register(Kumaraswamy)
def _(p: Any) -> Array:
    """−1/b, that of log(1 − x^a), and the mean of log((1 − x)/(1 − x^a)), which is smooth: by quadrature.

    With 1 − x^a = u^(1/b) and u uniform, y = −log u is exponential.
    """
    xp = p.xp
    nodes, weights = exponential_nodes()
    deviates, weights = (xp.asarray(z, dtype=p.a.dtype) for z in (nodes, weights))
    log_rest = -deviates / p.b[..., None]
    high = log_rest < -0.5
    power = -xp.expm1(xp.where(high, -1.0, log_rest))
    low_log = xp.log(xp.where(power > 0, power, 1e-320))
    log_x = xp.where(high, xp.log1p(-xp.exp(xp.where(high, log_rest, -1.0))), low_log) / p.a[..., None]
    rest = -xp.expm1(log_x)
    some = rest > 1e-300
    # Where x^a rounds to 1, 1 − x is (1 − x^a)/a.
    smooth = xp.where(some, xp.log(xp.where(some, rest, 1.0)) - log_rest, -xp.log(p.a)[..., None])
    return xp.sum(weights * smooth, axis=-1) - 1.0 / p.b


def exponential_nodes() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Nodes y and weights for ∫ f(y)·exp(−y) dy over the positive numbers: y = exp(v − exp(−v)), evenly in v."""
    v = np.arange(-5.0, 4.2, 1 / 32)
    y = np.exp(v - np.exp(-v))
    return y, np.exp(-y) * y * (1.0 + np.exp(-v)) / 32


@singledispatch
def mean_exp(p: Any, t: Array, m: Array) -> Array | None:
    """E[exp(−t·(x − m))] for t > 0; in one exponential, for either part of it may leave the floating range."""
    return None


@mean_exp.register(Normal)
def _(p: Any, t: Array, m: Array) -> Array:
    return p.xp.exp(t * (0.5 * t * p._v + (m - p.loc)))


@mean_exp.register(Gamma)
def _(p: Any, t: Array, m: Array) -> Array:
    return p.xp.exp(t * m - p._a * p.xp.log1p(t / p._b))


@mean_exp.register(InverseGaussian)
def _(p: Any, t: Array, m: Array) -> Array:
    # λ/μ·(1 − √(1 + 2μ²t/λ)), without its cancellation.
    z = 2.0 * p._mu**2 * t / p._lambda
    return p.xp.exp(t * m - (p._lambda / p._mu) * z / (1.0 + p.xp.sqrt(1.0 + z)))


@mean_exp.register(Laplace)
def _(p: Any, t: Array, m: Array) -> Array:
    finite = t * p.scale < 1
    z = p.xp.where(finite, t * p.scale, 0.0)
    return or_infinite(p.xp, finite, p.xp.exp(t * (m - p.loc)) / ((1.0 - z) * (1.0 + z)))


@mean_exp.register(Gumbel)
def _(p: Any, t: Array, m: Array) -> Array:
    return p.xp.exp(gammaln(p.xp, 1.0 + t * p.scale) + t * (m - p.loc))


@mean_exp.register(Uniform)
def _(p: Any, t: Array, m: Array) -> Array:
    z = t * (p.high - p.low)
    return p.xp.exp(t * (m - p.low)) * (-p.xp.expm1(-z) / z)


@mean_exp.register(ContinuousBernoulli)
def _(p: Any, t: Array, m: Array) -> Array:
    return p.xp.exp(normaliser(p.xp, p._logit - t) - normaliser(p.xp, p._logit) + t * m)


@mean_exp.register(LogNormal)
@mean_exp.register(InverseGamma)
def _(p: Any, t: Array, m: Array) -> None:
    return None


@singledispatch
def mean_distance(p: Any, m: Array) -> Array | None:
    """E|x − m|."""
    return None


@mean_distance.register(Normal)
def _(p: Any, m: Array) -> Array:
    xp, away = p.xp, p.loc - m
    z = away * xp.exp(-0.5 * p._log_v)
    return math.sqrt(2.0 / math.pi) * xp.exp(0.5 * (p._log_v - z * z)) + away * special(xp, "erf")(z / math.sqrt(2.0))


@mean_distance.register(LogNormal)
def _(p: Any, m: Array) -> None:
    return None


@mean_distance.register(Laplace)
def _(p: Any, m: Array) -> Array:
    away = p.xp.abs(p.loc - m)
    return away + p.scale * p.xp.exp(-away / p.scale)


@mean_distance.register(Uniform)
def _(p: Any, m: Array) -> Array:
    xp, middle, half = p.xp, p._mean(), 0.5 * (p.high - p.low)
    away = xp.abs(m - middle)
    return xp.where(away < half, 0.5 * (half + away * away / half), away)


@mean_distance.register(Exponential)
def _(p: Any, m: Array) -> Array:
    xp = p.xp
    inside = xp.where(m > 0, m, 0.0)
    return 1.0 / p._b - m + 2.0 * (inside + xp.expm1(-p._b * inside) / p._b)
