"""Gamma distributions, and all that are one of a power of the outcome."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from dkl._array import Array, Namespace, to_numpy
from dkl.families.constraints import Constraint, positive, real, whole
from dkl.families.exponential import ExponentialFamily
from dkl.families.log_gamma import gamma_rest_divergence
from dkl.families.moments import degrees_above, hold, inverse_digamma
from dkl.families.special import digamma, gammaln, log, log_ratio, ratio_excess, reciprocal, weighted_excess
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

    fusible: ClassVar[bool] = True
    constraints: ClassVar[dict[str, Constraint]] = {"shape": positive, "rate": positive, "scale": positive}
    means: ClassVar[dict[str, Constraint]] = {"E[log x]": real, "E[x]": positive}

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
        log = log_ratio(xp, a, its_a) + log_ratio(xp, over, under)
        return weighted_excess(xp, its_a, apart, log) + gamma_rest_divergence(xp, its_a, a)

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

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return (log(xp, x), x)

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        shape = 0.5 * degrees_above(xp, cls._gap(xp, *means))
        return {"shape": shape, "rate": shape / means[1]}

    @classmethod
    def _gap(cls, xp: Namespace, of_log: Array, mean: Array) -> Array:
        """Log E[x] − E[log x], which is log α − ψ(α)."""
        most = xp.log(mean)
        hold(xp, f"{cls.__name__}: E[log x]", of_log, of_log < most, "below log E[x]", most)
        return most - of_log


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
    means: ClassVar[dict[str, Constraint]] = {"E[x]": positive}

    def __init__(self, rate: Any = 1.0) -> None:
        super(Gamma, self).__init__(rate=rate)

    @property
    def _a(self) -> Array:
        return 0.0 * self._b + 1.0

    def _kl(self, other: Any) -> Array:
        if not isinstance(other, Exponential):
            return super()._kl(other)
        return ratio_excess(self.xp, other._b, self._b)

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[x]."""
        return (self.mean(),)

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return (x,)

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        return {"rate": 1.0 / means[0]}


class ChiSquared(Gamma):
    """χ² distribution: the sum of ``df`` squared standard normal numbers.

    Parameters
    ----------
    df : array_like
        Degrees of freedom, positive.
    """

    constraints: ClassVar[dict[str, Constraint]] = {"df": positive}
    means: ClassVar[dict[str, Constraint]] = {"E[log x]": real}

    def __init__(self, df: Any) -> None:
        super(Gamma, self).__init__(df=df)

    @property
    def _a(self) -> Array:
        return 0.5 * self.parameters["df"]

    @property
    def _b(self) -> Array:
        return 0.0 * self.parameters["df"] + 0.5

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[log x]."""
        return (self._handed_back(digamma(self.xp, self._a) + math.log(2.0)),)

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return (log(xp, x),)

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        # Above it the degrees of freedom leave the floating range.
        hold(xp, "ChiSquared: E[log x]", means[0], means[0] < 709.0, "below 709, the logarithm of the largest number")
        return {"df": 2.0 * inverse_digamma(xp, means[0] - math.log(2.0))}


class Erlang(Gamma):
    """Erlang distribution: the sum of ``shape`` exponential waiting times.

    Parameters
    ----------
    shape : array_like
        A positive whole number.
    rate, scale : array_like
        Of each waiting time: one of them.

    Notes
    -----
    As the shape is whole, the members have not all mean parameters that gamma distributions have.
    ``from_mean_parameters`` gives the member q with the least KL(p‖q) for every p with these means all the same: the
    likelihood is concave in the shape, and the better of the two whole numbers beside Gamma's shape is the best. Its
    gradient is that of the rate alone, for this shape.
    """

    constraints: ClassVar[dict[str, Constraint]] = {"shape": whole, "rate": positive, "scale": positive}

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        gap = cls._gap(xp, *means)
        below = xp.floor(0.5 * degrees_above(xp, gap))
        below = xp.where(below < 1.0, 1.0, below)
        # One more than n adds (n + 1)·log(1 + 1/n) − 1 − gap to the mean log-likelihood, and what is before the gap is
        # (n + 1)·(r − 1 − log r) with r = n/(n + 1).
        gain = (below + 1.0) * ratio_excess(xp, below, below + 1.0) - gap
        shape = xp.where(gain > 0, below + 1.0, below)
        return {"shape": shape, "rate": shape / means[1]}


class InverseGamma(Gamma):
    """Distribution of 1/x for a gamma-distributed x.

    Parameters
    ----------
    shape, scale : array_like
        α and β of the density βᵅ x^(−α−1) exp(−β/x)/Γ(α), positive.
    """

    constraints: ClassVar[dict[str, Constraint]] = {"shape": positive, "scale": positive}
    means: ClassVar[dict[str, Constraint]] = {"E[log x]": real, "E[1/x]": positive}

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

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return (log(xp, x), reciprocal(xp, x))

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        of_log, inverse = means
        least = -xp.log(inverse)
        hold(xp, "InverseGamma: E[log x]", of_log, of_log > least, "above −log E[1/x]", least)
        shape = 0.5 * degrees_above(xp, of_log - least)
        return {"shape": shape, "scale": shape / inverse}


class _ChiScaled(ExponentialFamily):
    """``scale`` times the length of a vector of standard normal numbers, of a fixed dimension.

    KL(p‖q) = dimension/2·(r − 1 − log r) with r = (scale_p/scale_q)².
    """

    dimension: ClassVar[int]
    fusible: ClassVar[bool] = True
    constraints: ClassVar[dict[str, Constraint]] = {"scale": positive}
    means: ClassVar[dict[str, Constraint]] = {"E[x²]": positive}

    def __init__(self, scale: Any = 1.0) -> None:
        super().__init__(scale=scale)

    @property
    def support(self) -> Support:
        """Positive numbers."""
        return Interval(0.0)

    def mixed(self, other: Any, weight: float) -> tuple[Any, Array]:
        """The member between the two by the smaller scale and the quotient of both, whose squares do not overflow."""
        xp = self.xp
        first = self.scale < other.scale
        small, large = xp.where(first, self.scale, other.scale), xp.where(first, other.scale, self.scale)
        share = xp.where(first, weight, 1.0 - weight)
        k = share + (1.0 - share) * (small / large) ** 2
        inside = k > 0
        return type(self)._raw(self, scale=small / xp.sqrt(xp.where(inside, k, 1.0))), inside

    def _natural(self) -> tuple[Array, ...]:
        return (self.scale**-2,)

    def _with_natural(self, theta: tuple[Array, ...]) -> Any:
        return type(self)._raw(self, scale=theta[0] ** -0.5)

    def _inside(self, theta: tuple[Array, ...]) -> Array:
        return theta[0] > 0

    def _kl(self, other: Any) -> Array:
        return 0.5 * self.dimension * ratio_excess(self.xp, self.scale, other.scale, 2.0)

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
        return (self._handed_back(self.dimension * self.scale**2),)

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return (x * x,)

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        return {"scale": xp.sqrt(means[0] / cls.dimension)}


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
