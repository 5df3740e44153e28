"""Gamma distributions, and all that are one of a power of the outcome."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from dkl._array import Array, to_numpy
from dkl.families.base import Constraint, ExponentialFamily, positive, whole
from dkl.families.special import digamma, excess, gamma_rest_divergence, gammaln
from dkl.supports import Interval, Support

EULER = 0.57721566490153286061


class Gamma(ExponentialFamily):
    """Gamma distribution with density βᵅ x^(α−1) exp(−βx)/Γ(α).

    Parameters
    ----------
    shape : array_like
        α, positive.
    rate, scale : array_like
        β or 1/β, positive: one of them; the rate is 1 if nothing is given. The mean is α/β.

    Notes
    -----
    With the quotient r of the means, KL(p‖q) = α_q·(r − 1 − log r) + g(α_q) − g(α_p) − g'(α_p)·(α_q − α_p), where
    g(α) = log Γ(α) − α·log α + α is convex: two non-negative parts.

    Examples
    --------
    >>> import dkl
    >>> round(float(dkl.kl(dkl.families.Gamma(2, 1), dkl.families.Gamma(1, 1))), 12)
    0.422784335098
    """

    constraints: ClassVar[dict[str, Constraint]] = {"shape": positive, "rate": positive, "scale": positive}

    def __init__(self, shape: Any, rate: Any = None, *, scale: Any = None) -> None:
        if rate is not None and scale is not None:
            raise TypeError(f"{type(self).__name__} takes one of rate and scale")
        super().__init__(shape=shape, rate=1.0 if rate is None and scale is None else rate, scale=scale)

    @property
    def family(self) -> type:
        """Gamma, for its special cases too."""
        return Gamma

    @property
    def _a(self) -> Array:
        return self.parameters["shape"]

    @property
    def _b(self) -> Array:
        known = self.parameters
        return known["rate"] if "rate" in known else 1.0 / known["scale"]

    @property
    def support(self) -> Support:
        """Positive numbers."""
        return Interval(0.0)

    def _natural(self) -> tuple[Array, ...]:
        return (self._a + 0.0 * self._b, self._b + 0.0 * self._a)

    def _with_natural(self, theta: tuple[Array, ...]) -> Any:
        return Gamma._raw(self, shape=theta[0], rate=theta[1])

    def _inside(self, theta: tuple[Array, ...]) -> Array:
        return (theta[0] > 0) & (theta[1] > 0)

    def _kl(self, other: Any) -> Array:
        """α_q·(r − 1 − log r) + the divergence of g, with r the quotient of the means, from differences taken first."""
        xp, a, its_a = self.xp, self._a, other._a
        # r = α_p·β_q/(α_q·β_p), by the rates or by the scales, whichever were given.
        by_scale = self._by_scale and other._by_scale
        over, under = (self.scale, other.scale) if by_scale else (other._b, self._b)
        apart = ((a - its_a) / its_a) * (over / under) + (over - under) / under
        ratio = (a / its_a) * (over / under)
        return its_a * excess(xp, apart, ratio) + gamma_rest_divergence(xp, its_a, a)

    @property
    def _by_scale(self) -> bool:
        return self.family is Gamma and "scale" in self.parameters

    def _log_prob(self, x: Array) -> Array:
        x = self.xp.where(x > 0, x, 1e-320)
        a, b = self._a, self._b
        return a * self.xp.log(b) + (a - 1.0) * self.xp.log(x) - b * x - gammaln(self.xp, a)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return rng.gamma(to_numpy(self._a), size=shape) / to_numpy(self._b)

    def _mean(self) -> Array:
        return self._a / self._b

    def _var(self) -> Array:
        return self._a / self._b**2

    def _entropy(self) -> Array:
        a, xp = self._a, self.xp
        return a - xp.log(self._b) + gammaln(xp, a) + (1.0 - a) * digamma(xp, a)

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[log x] and E[x]."""
        return self._handed_back(digamma(self.xp, self._a) - self.xp.log(self._b)), self.mean()


class Exponential(Gamma):
    """Exponential distribution with density λ·exp(−λx).

    Parameters
    ----------
    rate : array_like
        λ, positive; the mean is 1/λ.

    Examples
    --------
    >>> import dkl
    >>> round(float(dkl.kl(dkl.families.Exponential(1.0), dkl.families.Exponential(2.0))), 12)
    0.30685281944
    """

    constraints: ClassVar[dict[str, Constraint]] = {"rate": positive}

    def __init__(self, rate: Any = 1.0) -> None:
        super(Gamma, self).__init__(rate=rate)

    @property
    def _a(self) -> Array:
        return 0.0 * self._b + 1.0


class ChiSquared(Gamma):
    """χ² distribution: the sum of ``df`` squared standard normal numbers.

    Parameters
    ----------
    df : array_like
        Degrees of freedom, positive.
    """

    constraints: ClassVar[dict[str, Constraint]] = {"df": positive}

    def __init__(self, df: Any) -> None:
        super(Gamma, self).__init__(df=df)

    @property
    def _a(self) -> Array:
        return 0.5 * self.parameters["df"]

    @property
    def _b(self) -> Array:
        return 0.0 * self.parameters["df"] + 0.5


class Erlang(Gamma):
    """Erlang distribution: the sum of ``shape`` exponential waiting times.

    Parameters
    ----------
    shape : array_like
        A positive whole number.
    rate, scale : array_like
        Of each waiting time: one of them.
    """

    constraints: ClassVar[dict[str, Constraint]] = {"shape": whole, "rate": positive, "scale": positive}


class InverseGamma(Gamma):
    """Distribution of 1/x for a gamma-distributed x.

    Parameters
    ----------
    shape, scale : array_like
        α and β of the density βᵅ x^(−α−1) exp(−β/x)/Γ(α), positive.
    """

    constraints: ClassVar[dict[str, Constraint]] = {"shape": positive, "scale": positive}

    def __init__(self, shape: Any, scale: Any = 1.0) -> None:
        super(Gamma, self).__init__(shape=shape, scale=scale)

    @property
    def family(self) -> type:
        """Its own."""
        return InverseGamma

    @property
    def _b(self) -> Array:
        return self.parameters["scale"]

    def _with_natural(self, theta: tuple[Array, ...]) -> Any:
        return InverseGamma._raw(self, shape=theta[0], scale=theta[1])

    def _log_prob(self, x: Array) -> Array:
        x = self.xp.where(x > 0, x, 1e-320)
        return super()._log_prob(1.0 / x) - 2.0 * self.xp.log(x)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return 1.0 / super()._sample(shape, rng)

    def _mean(self) -> Array:
        finite = self._a > 1
        return self.xp.where(finite, self._b / self.xp.where(finite, self._a - 1.0, 1.0), math.inf)

    def _var(self) -> Array:
        finite = self._a > 2
        a = self.xp.where(finite, self._a, 3.0)
        return self.xp.where(finite, self._b**2 / ((a - 1.0) ** 2 * (a - 2.0)), math.inf)

    def _entropy(self) -> Array:
        a, xp = self._a, self.xp
        return a + xp.log(self._b) + gammaln(xp, a) - (1.0 + a) * digamma(xp, a)

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[log x] and E[1/x]."""
        return self._handed_back(self.xp.log(self._b) - digamma(self.xp, self._a)), self._handed_back(self._a / self._b)


class _ChiScaled(ExponentialFamily):
    """``scale`` times the length of a vector of standard normal numbers, of a fixed dimension.

    KL(p‖q) = dimension/2·(r − 1 − log r) with r = (scale_p/scale_q)².
    """

    dimension: ClassVar[int]
    fusible: ClassVar[bool] = True
    constraints: ClassVar[dict[str, Constraint]] = {"scale": positive}

    def __init__(self, scale: Any = 1.0) -> None:
        super().__init__(scale=scale)

    @property
    def support(self) -> Support:
        """Positive numbers."""
        return Interval(0.0)

    def _natural(self) -> tuple[Array, ...]:
        return (self.scale**-2,)

    def _with_natural(self, theta: tuple[Array, ...]) -> Any:
        return type(self)._raw(self, scale=theta[0] ** -0.5)

    def _inside(self, theta: tuple[Array, ...]) -> Array:
        return theta[0] > 0

    def _kl(self, other: Any) -> Array:
        ratio = self.scale / other.scale
        apart = (self.scale - other.scale) / other.scale * (1.0 + ratio)
        return 0.5 * self.dimension * excess(self.xp, apart, ratio, 2.0)

    def _log_prob(self, x: Array) -> Array:
        n, xp = self.dimension, self.xp
        z = xp.where(x > 0, x, 1e-320) / self.scale
        constant = (0.5 * n - 1.0) * math.log(2.0) + math.lgamma(0.5 * n)
        # At n = 1 the density at 0 is not 0, and its logarithm knows no log x.
        power = (n - 1.0) * xp.log(z) if n > 1 else 0.0
        return power - 0.5 * z * z - constant - xp.log(self.scale)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return self.numbers("scale") * np.sqrt(rng.chisquare(self.dimension, size=shape))

    def _moment(self, n: float) -> Array:
        """E[xⁿ] = (scale·√2)ⁿ·Γ((dimension + n)/2)/Γ(dimension/2)."""
        a = 0.5 * self.dimension
        return (self.scale * math.sqrt(2.0)) ** n * math.exp(math.lgamma(a + n / 2) - math.lgamma(a))

    def _mean(self) -> Array:
        return self._moment(1)

    def _var(self) -> Array:
        return self._moment(2) - self._moment(1) ** 2

    def _entropy(self) -> Array:
        n = self.dimension
        # ψ(1/2), ψ(1) and ψ(3/2), by ψ(x + 1) = ψ(x) + 1/x [DLMF 5.4.12 and 5.4.13].
        psi = {1: -EULER - 2 * math.log(2), 2: -EULER, 3: -EULER - 2 * math.log(2) + 2.0}[n]
        return self.xp.log(self.scale) + (math.lgamma(0.5 * n) + 0.5 * (n - math.log(2.0) - (n - 1.0) * psi))

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[x²]."""
        return (self._handed_back(self._moment(2)),)


class HalfNormal(_ChiScaled):
    """Distribution of the absolute value of a normal x with mean 0.

    Parameters
    ----------
    scale : array_like
        The standard deviation of x.
    """

    dimension: ClassVar[int] = 1


class Rayleigh(_ChiScaled):
    """Distribution of the length of a vector of two normal numbers with mean 0.

    Parameters
    ----------
    scale : array_like
        Their standard deviation.
    """

    dimension: ClassVar[int] = 2


class Maxwell(_ChiScaled):
    """Distribution of the length of a vector of three normal numbers with mean 0.

    Parameters
    ----------
    scale : array_like
        Their standard deviation.
    """

    dimension: ClassVar[int] = 3


__all__ = [
    "ChiSquared", "Erlang", "Exponential", "Gamma", "HalfNormal", "InverseGamma", "Maxwell", "Rayleigh",
]  # fmt: skip
