"""Families that are exponential once one parameter is fixed: a transformation of the outcome has the law Exponential.

Members with different fixed parameters have closed forms of KL of their own; see :mod:`dkl.methods.pairs_closed`.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from dkl._array import Array, Namespace, expm1_minus
from dkl.families.constraints import Constraint, positive, real
from dkl.families.exponential import ExponentialFamily
from dkl.families.moments import hold
from dkl.families.special import falling_exp, gammaln, log_ratio, ratio_excess
from dkl.supports import Interval, Support


class Pareto(ExponentialFamily):
    """Pareto distribution with density α·s^α/x^(α+1) from the scale s on.

    Parameters
    ----------
    scale, alpha : array_like
        The smallest outcome s and the index α of the tail, positive.

    Notes
    -----
    log(x/s) is exponential with rate α: with equal scales KL(p‖q) = r − 1 − log r, r = α_q/α_p; if P's scale is the
    larger, α_q·log(s_p/s_q) is added, and if it is the smaller, KL is infinite.

    Examples
    --------
    >>> import dkl
    >>> from dkl.families.fixed import Pareto
    >>> round(float(dkl.kl(Pareto(1.0, 1.0), Pareto(1.0, 2.0))), 12)
    0.30685281944
    """

    fusible: ClassVar[bool] = True
    constraints: ClassVar[dict[str, Constraint]] = {"scale": positive, "alpha": positive}
    known: ClassVar[tuple[str, ...]] = ("scale",)
    means: ClassVar[dict[str, Constraint]] = {"E[log x]": real}

    def __init__(self, scale: Any, alpha: Any) -> None:
        super().__init__(scale=scale, alpha=alpha)

    @property
    def support(self) -> Support:
        """From the scale on."""
        return Interval(self.scale)

    def _natural(self) -> tuple[Array, ...]:
        return (self.alpha,)

    def _with_natural(self, theta: tuple[Array, ...]) -> Any:
        return self._raw(self, scale=self.scale, alpha=theta[0])

    def _inside(self, theta: tuple[Array, ...]) -> Array:
        return theta[0] > 0

    def _kl(self, other: Any) -> Array:
        return ratio_excess(self.xp, other.alpha, self.alpha) + 0.0 * self.scale

    def _log_prob(self, x: Array) -> Array:
        return self.xp.log(self.alpha / self.scale) - (self.alpha + 1.0) * log_ratio(self.xp, x, self.scale)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return self.numbers("scale") * np.exp(rng.standard_exponential(shape) / self.numbers("alpha"))

    def _mean(self) -> Array:
        finite = self.alpha > 1
        return self.xp.where(finite, self.scale * self.alpha / self.xp.where(finite, self.alpha - 1.0, 1.0), math.inf)

    def _var(self) -> Array:
        finite = self.alpha > 2
        a = self.xp.where(finite, self.alpha, 3.0)
        return self.xp.where(finite, self.scale**2 * a / ((a - 1.0) ** 2 * (a - 2.0)), math.inf)

    def _entropy(self) -> Array:
        return self.xp.log(self.scale / self.alpha) + 1.0 / self.alpha + 1.0

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[log x]."""
        return (self._handed_back(self.xp.log(self.scale) + 1.0 / self.alpha),)

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return (xp.log(x),)

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        least = xp.log(known["scale"])
        hold(xp, "Pareto: E[log x]", means[0], means[0] > least, "above log scale", least)
        return {"alpha": 1.0 / (means[0] - least)}


class Weibull(ExponentialFamily):
    """Weibull distribution of a positive number whose power k is exponential.

    Parameters
    ----------
    scale, concentration : array_like
        λ and the shape k, positive; the density is (k/λ)·(x/λ)^(k−1)·exp(−(x/λ)^k).

    Notes
    -----
    With equal k, KL(p‖q) = r − 1 − log r, r = (λ_p/λ_q)^k.

    Examples
    --------
    >>> import dkl
    >>> from dkl.families.fixed import Weibull
    >>> round(float(dkl.kl(Weibull(1.0, 2.0), Weibull(2.0, 2.0))), 12)
    0.63629436112
    """

    constraints: ClassVar[dict[str, Constraint]] = {"scale": positive, "concentration": positive}
    known: ClassVar[tuple[str, ...]] = ("concentration",)
    means: ClassVar[dict[str, Constraint]] = {"E[xᵏ]": positive}

    def __init__(self, scale: Any, concentration: Any) -> None:
        super().__init__(scale=scale, concentration=concentration)

    @property
    def support(self) -> Support:
        """Positive numbers."""
        return Interval(0.0)

    def _natural(self) -> tuple[Array, ...]:
        return (self.scale**-self.concentration,)

    def _with_natural(self, theta: tuple[Array, ...]) -> Any:
        k = self.concentration
        return self._raw(self, scale=theta[0] ** (-1.0 / k), concentration=k)

    def _inside(self, theta: tuple[Array, ...]) -> Array:
        return theta[0] > 0

    def _kl(self, other: Any) -> Array:
        return expm1_minus(self.xp, other.concentration * log_ratio(self.xp, self.scale, other.scale))

    def _log_prob(self, x: Array) -> Array:
        xp, k = self.xp, self.concentration
        z = xp.log(xp.where(x > 0, x, 1e-320) / self.scale)
        return xp.log(k / self.scale) + (k - 1.0) * z + falling_exp(xp, k * z)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return self.numbers("scale") * rng.weibull(self.numbers("concentration"), size=shape)

    def _log_moment(self, n: int) -> Array:
        """Log E[(x/λ)ⁿ]."""
        return gammaln(self.xp, 1.0 + n / self.concentration)

    def _mean(self) -> Array:
        return self.scale * self.xp.exp(self._log_moment(1))

    def _var(self) -> Array:
        return self._mean() ** 2 * self.xp.expm1(self._log_moment(2) - 2.0 * self._log_moment(1))

    def _entropy(self) -> Array:
        k = self.concentration
        return np.euler_gamma * (1.0 - 1.0 / k) + self.xp.log(self.scale / k) + 1.0

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[xᵏ]."""
        return (self._handed_back(self.scale**self.concentration),)

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return (x ** known["concentration"],)

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        return {"scale": means[0] ** (1.0 / known["concentration"])}


class Laplace(ExponentialFamily):
    """Laplace distribution with density exp(−|x − μ|/s)/(2s).

    Parameters
    ----------
    loc, scale : array_like
        μ, and s, positive.

    Notes
    -----
    With r = s_p/s_q and d = |μ_p − μ_q|/s_p, KL(p‖q) = (r − 1 − log r) + r·(exp(−d) − 1 + d), two non-negative parts.
    Members with equal ``loc`` are an exponential family.

    Examples
    --------
    >>> import dkl
    >>> from dkl.families.fixed import Laplace
    >>> round(float(dkl.kl(Laplace(0.0, 1.0), Laplace(0.0, 2.0))), 12)
    0.19314718056
    """

    fusible: ClassVar[bool] = True
    constraints: ClassVar[dict[str, Constraint]] = {"loc": real, "scale": positive}
    known: ClassVar[tuple[str, ...]] = ("loc",)
    means: ClassVar[dict[str, Constraint]] = {"E|x − μ|": positive}

    def __init__(self, loc: Any = 0.0, scale: Any = 1.0) -> None:
        super().__init__(loc=loc, scale=scale)

    @property
    def support(self) -> Support:
        """All numbers."""
        return Interval()

    def _natural(self) -> tuple[Array, ...]:
        return (1.0 / self.scale,)

    def _with_natural(self, theta: tuple[Array, ...]) -> Any:
        return self._raw(self, loc=self.loc, scale=1.0 / theta[0])

    def _inside(self, theta: tuple[Array, ...]) -> Array:
        return theta[0] > 0

    def _kl(self, other: Any) -> Array:
        xp = self.xp
        distance = xp.abs(self.loc - other.loc)
        apart, ratio = distance / self.scale, self.scale / other.scale
        # Far away each part has its own factor: of their product one might vanish and the other overflow.
        near = apart < 2.0
        far = distance / other.scale + ratio * xp.expm1(-xp.where(near, 2.0, apart))
        near_ratio = xp.where(ratio < math.inf, ratio, 0.0)
        shift = xp.where(near, near_ratio * expm1_minus(xp, -xp.where(near, apart, 0.0)), far)
        return ratio_excess(xp, self.scale, other.scale) + shift

    def _log_prob(self, x: Array) -> Array:
        return -self.xp.abs(x - self.loc) / self.scale - self.xp.log(2.0 * self.scale)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return rng.laplace(self.numbers("loc"), self.numbers("scale"), size=shape)

    def _mean(self) -> Array:
        return self.loc + 0.0 * self.scale

    def _var(self) -> Array:
        return 2.0 * self.scale**2

    def _entropy(self) -> Array:
        return 1.0 + self.xp.log(2.0 * self.scale)

    def mean_parameters(self) -> tuple[Any, ...]:
        """E|x − μ|."""
        return (self._handed_back(self.scale),)

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return (xp.abs(x - known["loc"]),)

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        return {"scale": means[0]}


__all__ = ["Laplace", "Pareto", "Weibull"]
