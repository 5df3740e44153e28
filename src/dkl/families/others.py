"""Distributions that are no exponential family: no formula of one holds for them, only those written for a pair."""

from __future__ import annotations

import math
import sys
from typing import Any, ClassVar

import numpy as np

from dkl._array import Array, first_failing, holds
from dkl.families.base import Distribution
from dkl.families.constraints import Constraint, positive, real
from dkl.families.log_gamma import digamma_half_step, gammaln_half_step
from dkl.families.special import digamma, falling_exp, gammaln
from dkl.supports import Interval, Support


class Uniform(Distribution):
    """Uniform distribution of a number from ``low`` to ``high``.

    Parameters
    ----------
    low, high : array_like
        The bounds, ``low`` the smaller.

    Examples
    --------
    >>> import dkl
    >>> import dkl.methods.pairs_closed
    >>> from dkl.families.others import Uniform
    >>> float(dkl.tv(Uniform(0.0, 1.0), Uniform(0.0, 2.0)))
    0.5
    """

    constraints: ClassVar[dict[str, Constraint]] = {"low": real, "high": real}

    def __init__(self, low: Any = 0.0, high: Any = 1.0) -> None:
        super().__init__(low=low, high=high)
        # By halves, which do not overflow.
        half = 0.5 * self.high - 0.5 * self.low
        if holds(self.xp.all(half < 0.5 * sys.float_info.max)) is False:
            at, _ = first_failing(half, half < 0.5 * sys.float_info.max)
            raise ValueError(
                f"Uniform: high − low{at} exceeds the largest number: give bounds that are not so far apart"
            )
        width = self.high - self.low
        if holds(self.xp.all(width > 0)) is False:
            at, value = first_failing(width, width > 0)
            raise ValueError(f"Uniform: high − low{at} = {value:g} is not positive: low must be the smaller bound")

    @property
    def support(self) -> Support:
        """Between the bounds."""
        return Interval(self.low, self.high)

    def _log_prob(self, x: Array) -> Array:
        return 0.0 * x - self.xp.log(self.high - self.low)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return rng.uniform(self.numbers("low"), self.numbers("high"), size=shape)

    def _mean(self) -> Array:
        return self.low + 0.5 * (self.high - self.low)

    def _var(self) -> Array:
        return (self.high - self.low) ** 2 / 12.0

    def _entropy(self) -> Array:
        return self.xp.log(self.high - self.low)


class _LocationScale(Distribution):
    """A distribution on all numbers, moved by ``loc`` and stretched by ``scale``."""

    constraints: ClassVar[dict[str, Constraint]] = {"loc": real, "scale": positive}

    def __init__(self, loc: Any = 0.0, scale: Any = 1.0) -> None:
        super().__init__(loc=loc, scale=scale)

    @property
    def support(self) -> Support:
        """All numbers."""
        return Interval()


class Cauchy(_LocationScale):
    """Cauchy distribution with density 1/(π·s·(1 + ((x − μ)/s)²)); it has no mean.

    Parameters
    ----------
    loc, scale : array_like
        The median μ, and s, half the distance of the quartiles, positive.

    Notes
    -----
    KL(p‖q) = KL(q‖p) = log(1 + ((s_p − s_q)² + (μ_p − μ_q)²)/(4·s_p·s_q)) [1].

    References
    ----------
    .. [1] F. Chyzak, F. Nielsen, "A closed-form formula for the Kullback–Leibler divergence between Cauchy
       distributions", arXiv:1905.10965 (2019).

    Examples
    --------
    >>> import dkl
    >>> import dkl.methods.pairs_closed
    >>> from dkl.families.others import Cauchy
    >>> round(float(dkl.kl(Cauchy(0.0, 1.0), Cauchy(1.0, 1.0))), 12)
    0.223143551314
    """

    def _log_prob(self, x: Array) -> Array:
        # log(1 + z²) = 2·log|z| + log1p(z⁻²) beyond 1, where z² might overflow.
        z = self.xp.abs((x - self.loc) / self.scale)
        far = z > 1
        large, small = self.xp.where(far, z, 1.0), self.xp.where(far, 0.0, z)
        tail = self.xp.where(far, 2.0 * self.xp.log(large) + self.xp.log1p(large**-2), self.xp.log1p(small**2))
        return -self.xp.log(math.pi * self.scale) - tail

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return self.numbers("loc") + self.numbers("scale") * rng.standard_cauchy(shape)

    def _mean(self) -> Array:
        return self.xp.full_like(self.loc + self.scale, math.nan)

    def _var(self) -> Array:
        return self.xp.full_like(self.loc + self.scale, math.nan)

    def _entropy(self) -> Array:
        return self.xp.log(4.0 * math.pi * self.scale)


class Gumbel(_LocationScale):
    """Gumbel distribution of the largest of many numbers, with distribution function exp(−exp(−(x − μ)/β)).

    Parameters
    ----------
    loc, scale : array_like
        The mode μ, and β, positive.

    Examples
    --------
    >>> import dkl
    >>> import dkl.methods.pairs_closed
    >>> from dkl.families.others import Gumbel
    >>> round(float(dkl.kl(Gumbel(0.0, 1.0), Gumbel(1.0, 1.0))), 12)
    0.718281828459
    """

    def _log_prob(self, x: Array) -> Array:
        z = (x - self.loc) / self.scale
        return -z + falling_exp(self.xp, -z) - self.xp.log(self.scale)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return rng.gumbel(self.numbers("loc"), self.numbers("scale"), size=shape)

    def _mean(self) -> Array:
        return self.loc + np.euler_gamma * self.scale

    def _var(self) -> Array:
        return math.pi**2 / 6.0 * self.scale**2

    def _entropy(self) -> Array:
        return self.xp.log(self.scale) + (np.euler_gamma + 1.0)


class Logistic(_LocationScale):
    """Logistic distribution, with distribution function 1/(1 + exp(−(x − μ)/s)).

    Parameters
    ----------
    loc, scale : array_like
        The mean μ, and s, positive.

    Examples
    --------
    >>> import dkl
    >>> from dkl.families.others import Logistic
    >>> float(Logistic(0.0, 1.0).entropy())
    2.0
    """

    def _log_prob(self, x: Array) -> Array:
        z = self.xp.abs((x - self.loc) / self.scale)
        return -z - 2.0 * self.xp.log1p(self.xp.exp(-z)) - self.xp.log(self.scale)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return rng.logistic(self.numbers("loc"), self.numbers("scale"), size=shape)

    def _mean(self) -> Array:
        return self.loc + 0.0 * self.scale

    def _var(self) -> Array:
        return math.pi**2 / 3.0 * self.scale**2 + 0.0 * self.loc

    def _entropy(self) -> Array:
        return self.xp.log(self.scale) + 2.0 + 0.0 * self.loc


class GeneralizedNormal(Distribution):
    """Generalized normal distribution with density β·exp(−(|x − μ|/α)^β)/(2α·Γ(1/β)).

    Parameters
    ----------
    loc, scale, shape : array_like
        μ, α and β, the latter two positive: β = 2 is normal with variance α²/2, β = 1 Laplace.

    Notes
    -----
    KL is closed for equal ``loc``.

    Examples
    --------
    >>> import dkl
    >>> import dkl.methods.pairs_closed
    >>> from dkl.families.others import GeneralizedNormal
    >>> round(float(dkl.kl(GeneralizedNormal(0.0, 1.0, 2.0), GeneralizedNormal(0.0, 2.0, 2.0))), 12)
    0.31814718056
    """

    constraints: ClassVar[dict[str, Constraint]] = {"loc": real, "scale": positive, "shape": positive}

    def __init__(self, loc: Any, scale: Any, shape: Any) -> None:
        super().__init__(loc=loc, scale=scale, shape=shape)

    @property
    def _beta(self) -> Array:
        return self.parameters["shape"]

    @property
    def support(self) -> Support:
        """All numbers."""
        return Interval()

    def _log_prob(self, x: Array) -> Array:
        xp, b = self.xp, self._beta
        z = xp.abs(x - self.loc) / self.scale
        power = xp.where(z > 0, xp.exp(b * xp.log(xp.where(z > 0, z, 1.0))), 0.0)
        return xp.log(b / (2.0 * self.scale)) - gammaln(xp, 1.0 / b) - power

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        inverse = 1.0 / self.numbers("shape")
        sign = rng.choice(np.asarray([-1.0, 1.0]), size=shape)
        return self.numbers("loc") + self.numbers("scale") * sign * rng.gamma(inverse, size=shape) ** inverse

    def _mean(self) -> Array:
        return self.loc + 0.0 * (self.scale + self._beta)

    def _var(self) -> Array:
        b = self._beta
        moment = self.xp.exp(gammaln(self.xp, 3.0 / b) - gammaln(self.xp, 1.0 / b))
        return self.scale**2 * moment + 0.0 * self.loc

    def _entropy(self) -> Array:
        b = self._beta
        return 1.0 / b - self.xp.log(b / (2.0 * self.scale)) + gammaln(self.xp, 1.0 / b) + 0.0 * self.loc


class Kumaraswamy(Distribution):
    """Kumaraswamy distribution of a number from 0 to 1, with density a·b·x^(a−1)·(1 − x^a)^(b−1).

    Parameters
    ----------
    a, b : array_like
        Its shapes, positive.

    Examples
    --------
    >>> from dkl.families.others import Kumaraswamy
    >>> round(float(Kumaraswamy(2.0, 1.0).mean()), 12)
    0.666666666667
    """

    constraints: ClassVar[dict[str, Constraint]] = {"a": positive, "b": positive}

    def __init__(self, a: Any, b: Any) -> None:
        super().__init__(a=a, b=b)

    @property
    def support(self) -> Support:
        """Between 0 and 1."""
        return Interval(0.0, 1.0)

    def _log_prob(self, x: Array) -> Array:
        xp = self.xp
        log_x = xp.log(xp.where(x > 0, x, 1e-320))
        rest = -xp.expm1(self.a * log_x)
        return (
            xp.log(self.a * self.b) + (self.a - 1.0) * log_x + (self.b - 1.0) * xp.log(xp.where(rest > 0, rest, 1e-320))
        )

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        log_rest = -rng.standard_exponential(shape) / self.numbers("b")
        return (-np.expm1(log_rest)) ** (1.0 / self.numbers("a"))

    def _moment(self, n: int) -> Array:
        xp, y = self.xp, 1.0 + n / self.a
        return xp.exp(xp.log(self.b) + gammaln(xp, y) + gammaln(xp, self.b) - gammaln(xp, y + self.b))

    def _mean(self) -> Array:
        return self._moment(1)

    def _var(self) -> Array:
        return self._moment(2) - self._moment(1) ** 2

    def _entropy(self) -> Array:
        harmonic = digamma(self.xp, self.b + 1.0) + np.euler_gamma
        return 1.0 - 1.0 / self.b + (1.0 - 1.0 / self.a) * harmonic - self.xp.log(self.a * self.b)


class StudentT(Distribution):
    """Student's t distribution, moved and stretched.

    Parameters
    ----------
    df : array_like
        Degrees of freedom ν, positive.
    loc, scale : array_like
        The median, and the scale, positive.

    Examples
    --------
    >>> from dkl.families.others import StudentT
    >>> float(StudentT(4.0).var())
    2.0
    """

    constraints: ClassVar[dict[str, Constraint]] = {"df": positive, "loc": real, "scale": positive}

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0) -> None:
        super().__init__(df=df, loc=loc, scale=scale)

    @property
    def support(self) -> Support:
        """All numbers."""
        return Interval()

    @property
    def _log_constant(self) -> Array:
        """Of the standard density at 0."""
        xp, v = self.xp, self.df
        return gammaln_half_step(xp, 0.5 * v) - 0.5 * xp.log(math.pi * v)

    def _log_prob(self, x: Array) -> Array:
        z = (x - self.loc) / self.scale
        return self._log_constant - self.xp.log(self.scale) - 0.5 * (self.df + 1.0) * self.xp.log1p(z * z / self.df)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return self.numbers("loc") + self.numbers("scale") * rng.standard_t(self.numbers("df"), size=shape)

    def _mean(self) -> Array:
        whole = self.loc + 0.0 * (self.scale + self.df)
        return self.xp.where(self.df > 1, whole, math.nan)

    def _var(self) -> Array:
        xp, v = self.xp, self.df
        finite = v > 2
        some = self.scale**2 * v / xp.where(finite, v - 2.0, 1.0) + 0.0 * self.loc
        return xp.where(finite, some, xp.where(v > 1, math.inf, math.nan))

    def _entropy(self) -> Array:
        xp, v = self.xp, self.df
        spread = 0.5 * (v + 1.0) * digamma_half_step(xp, 0.5 * v)
        return spread - self._log_constant + xp.log(self.scale) + 0.0 * self.loc


__all__ = ["Cauchy", "GeneralizedNormal", "Gumbel", "Kumaraswamy", "Logistic", "StudentT", "Uniform"]
