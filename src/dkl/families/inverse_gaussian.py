"""The inverse Gaussian distribution: when a Brownian motion with drift first reaches a level."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from dkl._array import Array, Namespace
from dkl.families.constraints import Constraint, positive
from dkl.families.exponential import ExponentialFamily
from dkl.families.moments import hold
from dkl.families.special import ratio_excess, reciprocal, scaled_exp1
from dkl.supports import Interval, Support


class InverseGaussian(ExponentialFamily):
    """Inverse Gaussian distribution with density √(λ/(2πx³))·exp(−λ(x − μ)²/(2μ²x)).

    Parameters
    ----------
    mean, shape : array_like
        μ and λ, positive; the variance is μ³/λ.

    Notes
    -----
    KL(p‖q) = ½·(r − 1 − log r) + λ_q·(μ_p − μ_q)²/(2·μ_q²·μ_p) with r = λ_q/λ_p. SciPy's ``invgauss(m, scale=s)`` has
    μ = m·s, λ = s.

    Examples
    --------
    >>> import dkl
    >>> from dkl.families.inverse_gaussian import InverseGaussian
    >>> round(float(dkl.kl(InverseGaussian(1.0, 2.0), InverseGaussian(2.0, 1.0))), 12)
    0.22157359028
    """

    fusible: ClassVar[bool] = True
    constraints: ClassVar[dict[str, Constraint]] = {"mean": positive, "shape": positive}
    means: ClassVar[dict[str, Constraint]] = {"E[x]": positive, "E[1/x]": positive}

    def __init__(self, mean: Any, shape: Any = 1.0) -> None:
        super().__init__(mean=mean, shape=shape)

    @property
    def _mu(self) -> Array:
        return self.parameters["mean"]

    @property
    def _lambda(self) -> Array:
        return self.parameters["shape"]

    @property
    def support(self) -> Support:
        """Positive numbers."""
        return Interval(0.0)

    def _natural(self) -> tuple[Array, ...]:
        return (self._lambda / self._mu**2, self._lambda + 0.0 * self._mu)

    def _with_natural(self, theta: tuple[Array, ...]) -> Any:
        return self._raw(self, mean=self.xp.sqrt(theta[1] / theta[0]), shape=theta[1])

    def _inside(self, theta: tuple[Array, ...]) -> Array:
        return (theta[0] > 0) & (theta[1] > 0)

    def _kl(self, other: Any) -> Array:
        xp, mine, its = self.xp, self._mu, other._mu
        # √λ_q·(μ_p − μ_q)/(μ_q·√μ_p) from quotients of which none overflows before the whole.
        larger = mine > its
        apart = (mine - its) / xp.where(larger, mine, its)
        spread = xp.sqrt(other._lambda) / its
        z = apart * xp.where(larger, xp.sqrt(mine) * spread, xp.sqrt(other._lambda) / xp.sqrt(mine))
        return 0.5 * ratio_excess(xp, other._lambda, self._lambda) + 0.5 * z**2

    def mixed(self, other: Any, weight: float) -> tuple[Any, Array]:
        """The member between the two, from √λ/μ and the quotient of both: no square overflows."""
        xp = self.xp
        mine, its = (xp.sqrt(x._lambda) / x._mu for x in (self, other))
        first = mine > its
        large, small = xp.where(first, mine, its), xp.where(first, its, mine)
        share = xp.where(first, weight, 1.0 - weight)
        k = share + (1.0 - share) * (small / large) ** 2
        shape = weight * self._lambda + (1.0 - weight) * other._lambda
        inside = (k > 0) & (shape > 0)
        shape = xp.where(inside, shape, self._lambda)
        mean = xp.sqrt(shape) / xp.sqrt(xp.where(inside, k, 1.0)) / large
        return self._raw(self, mean=mean, shape=shape), inside

    def _log_prob(self, x: Array) -> Array:
        xp, mu = self.xp, self._mu
        some = x > 0
        x = xp.where(some, x, mu)
        value = 0.5 * xp.log(self._lambda / (2.0 * math.pi)) - 1.5 * xp.log(x)
        return xp.where(some, value - 0.5 * self._lambda * ((x - mu) / mu) ** 2 / x, -math.inf)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return rng.wald(self.numbers("mean"), self.numbers("shape"), size=shape)

    def _mean(self) -> Array:
        return self._mu + 0.0 * self._lambda

    def _var(self) -> Array:
        return self._mu**3 / self._lambda

    def mean_log(self) -> Array:
        """E[log x] = log μ − exp(2λ/μ)·E₁(2λ/μ)."""
        return self.xp.log(self._mu) - scaled_exp1(self.xp, 2.0 * self._lambda / self._mu)

    def _entropy(self) -> Array:
        return 0.5 * self.xp.log(2.0 * math.pi / self._lambda) + 1.5 * self.mean_log() + 0.5

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[x] and E[1/x]."""
        return self.mean(), self._handed_back(1.0 / self._mu + 1.0 / self._lambda)

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return (x, reciprocal(xp, x))

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        mean, inverse = means
        least = 1.0 / mean
        hold(xp, "InverseGaussian: E[1/x]", inverse, inverse > least, "above 1/E[x]", least)
        return {"mean": mean, "shape": mean / (inverse * mean - 1.0)}


__all__ = ["InverseGaussian"]
