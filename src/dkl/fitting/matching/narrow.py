"""The likeliest members of families whose mean statistics cancel where the outcomes lie close together.

The shape of a gamma distribution is known by log E[x] − E[log x], of which nothing is left for outcomes around 1e8 that
differ by 1. With d = x/m − 1, for m the mean, it is E[d − log(1 + d)]: no digit is lost. So it is with the others here:
what is left of the difference is the mean of what is not negative, taken around the mean itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dkl._array import namespace_of
from dkl.families.directional import VonMises, VonMisesFisher
from dkl.families.dirichlet import Beta
from dkl.families.gamma import Gamma, InverseGamma
from dkl.families.inverse_gaussian import InverseGaussian
from dkl.families.log_gamma import gamma_rest_curvature, gamma_rest_slope
from dkl.families.moments import bessel_concentration, degrees_above
from dkl.families.special import excess
from dkl.methods.nodes import Numbers

# The mean square of x/m − 1 below which the outcomes lie close together, and cancellation costs digits.
_CLOSE = 1e-3

# Newton's steps: the start is right to the order of the mean square that is close to 0.
_NEWTON = 8

Mean = Callable[..., Numbers]


def narrow_member(family: Any, x: Numbers, weights: Numbers) -> Any:
    """The member of the greatest likelihood by forms that do not cancel; None where the means serve as well.

    Parameters
    ----------
    family : type
    x : array, shape (n, *event_shape) or (*rows, n, *event_shape)
    weights : array, shape (*rows, n)
    """
    way = _WAYS.get(family)
    if way is None:
        return None

    def mean(values: Numbers, event: int = 0) -> Numbers:
        w = weights[(..., *(None,) * event)]
        return np.asarray((w * values).sum(axis=-1 - event))

    return way(x, mean)


def _about(x: Numbers, mean: Mean) -> tuple[Numbers, Numbers] | None:
    """The mean, and d = x/mean − 1; None unless all rows are close together."""
    centre = mean(x)
    d = (x - centre[..., None]) / centre[..., None]
    # What rounding left of the mean.
    rest = mean(d)
    centre, d = centre * (1.0 + rest), (d - rest[..., None]) / (1.0 + rest[..., None])
    return (centre, d) if (mean(d * d) < _CLOSE).all() else None


def _shape(d: Numbers, mean: Mean) -> Numbers:
    xp = namespace_of()
    return np.asarray(0.5 * degrees_above(xp, mean(np.asarray(excess(xp, d)))))


def _gamma(x: Numbers, mean: Mean) -> Any:
    about = _about(x, mean)
    if about is None:
        return None
    shape = _shape(about[1], mean)
    return Gamma(shape, shape / about[0])


def _inverse_gamma(x: Numbers, mean: Mean) -> Any:
    """That of 1/x, whose quotients to their mean come from those of x."""
    about = _about(x, mean)
    if about is None:
        return None
    centre, d = about
    other = -d / (1.0 + d)  # centre/x − 1
    rest = mean(other)
    shape = _shape((other - rest[..., None]) / (1.0 + rest[..., None]), mean)
    return InverseGamma(shape, shape * centre / (1.0 + rest))


def _inverse_gaussian(x: Numbers, mean: Mean) -> Any:
    """E[1/x] − 1/m is E[d²/(1 + d)]/m."""
    about = _about(x, mean)
    return None if about is None else InverseGaussian(about[0], about[0] / mean(about[1] ** 2 / (1.0 + about[1])))


def _von_mises(x: Numbers, mean: Mean) -> Any:
    """1 − R is E[2·sin²((x − μ)/2)]."""
    loc = np.arctan2(mean(np.sin(x)), mean(np.cos(x)))
    loc = loc + np.arctan2(mean(np.sin(x - loc[..., None])), mean(np.cos(x - loc[..., None])))
    short = mean(2.0 * np.sin(0.5 * (x - loc[..., None])) ** 2)
    if not (short < _CLOSE).all():
        return None
    return VonMises(loc, np.asarray(bessel_concentration(namespace_of(), 0.0, 1.0 - short, short)))


def _von_mises_fisher(x: Numbers, mean: Mean) -> Any:
    """1 − R is E[|x − μ|²]/2."""
    centre = mean(x, 1)
    direction = centre / np.linalg.norm(centre, axis=-1, keepdims=True)
    short = mean(0.5 * ((x - direction[..., None, :]) ** 2).sum(axis=-1))
    if not (short < _CLOSE).all():
        return None
    nu = 0.5 * x.shape[-1] - 1.0
    return VonMisesFisher(direction, np.asarray(bessel_concentration(namespace_of(), nu, 1.0 - short, short)))


def _beta(x: Numbers, mean: Mean) -> Any:
    """By Newton's method in log(a + b) and in δ, with a/(a + b) = m·(1 + δ) for m = E[x].

    With φ(d) = d − log(1 + d) and g' = ψ − log the score is 0 where log(1 + δ) + g'(a) − g'(a + b) = −E[φ(x/m − 1)],
    and so for 1 − x.
    """
    xp = namespace_of()
    one, other = _about(x, mean), _about(1.0 - x, mean)
    if one is None or other is None:
        return None
    (m, d), (rest, e) = one, other
    # The distances are exact on the side where the numbers are denser.
    low, odds = (m < 0.5)[..., None], m / rest
    d, e = np.where(low, d, -e / odds[..., None]), np.where(low, -d * odds[..., None], e)
    aims = -mean(np.asarray(excess(xp, d))), -mean(np.asarray(excess(xp, e)))
    total, step = rest / (mean(d * d) * m), 0.0 * m
    for _ in range(_NEWTON):
        a, b = total * m * (1.0 + step), total * rest * (1.0 - step * odds)
        slopes = [np.asarray(gamma_rest_slope(xp, z)) for z in (a, b, total)]
        bends = [np.asarray(gamma_rest_curvature(xp, z)) for z in (a, b, total)]
        miss = (
            np.log1p(step) + slopes[0] - slopes[2] - aims[0],
            np.log1p(-step * odds) + slopes[1] - slopes[2] - aims[1],
        )
        by_step = 1.0 / (1.0 + step) + bends[0] * total * m, -odds / (1.0 - step * odds) - bends[1] * total * m
        by_total = bends[0] * a - bends[2] * total, bends[1] * b - bends[2] * total
        determinant = by_step[0] * by_total[1] - by_step[1] * by_total[0]
        step = step - (miss[0] * by_total[1] - miss[1] * by_total[0]) / determinant
        total = total * np.exp(-(by_step[0] * miss[1] - by_step[1] * miss[0]) / determinant)
    return Beta(total * m * (1.0 + step), total * rest * (1.0 - step * odds))


_WAYS: dict[Any, Callable[[Numbers, Mean], Any]] = {
    Beta: _beta,
    Gamma: _gamma,
    InverseGamma: _inverse_gamma,
    InverseGaussian: _inverse_gaussian,
    VonMises: _von_mises,
    VonMisesFisher: _von_mises_fisher,
}

__all__ = ["narrow_member"]
