"""Normal distributions of a number, and what is made of one by a transformation that changes no divergence."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self

import numpy as np

from dkl._array import Array, Namespace, expm1_minus, to_numpy
from dkl.families.constraints import Constraint, positive, real
from dkl.families.exponential import ExponentialFamily
from dkl.families.moments import hold
from dkl.families.special import log, ratio_excess
from dkl.supports import Interval, Support


class Normal(ExponentialFamily):
    """Normal distribution with mean ``loc``, its width given in one of four ways.

    Parameters
    ----------
    loc : array_like
        The mean.
    scale, variance, log_variance, precision : array_like
        Exactly one of them; ``scale`` is the standard deviation, 1 if nothing is given. ``log_variance`` is what a
        variational autoencoder's encoder gives: neither it nor its gradient overflows before the answer does.

    Notes
    -----
    KL(p‖q) = ½·(r − 1 − log r) + (μ_p − μ_q)²/(2σ_q²) with r = σ_p²/σ_q², both parts non-negative.

    Examples
    --------
    >>> import dkl
    >>> float(dkl.kl(dkl.families.Normal(0, 1), dkl.families.Normal(1, 2)))  # doctest: +ELLIPSIS
    0.443147180559945...
    >>> float(dkl.kl(dkl.families.Normal(2.0, log_variance=1.0), dkl.families.Normal(0.0, 1.0)))  # doctest: +ELLIPSIS
    2.35914091422952...
    """

    fusible: ClassVar[bool] = True
    constant_carrier: ClassVar[bool] = True
    constraints: ClassVar[dict[str, Constraint]] = {
        "loc": real,
        "scale": positive,
        "variance": positive,
        "log_variance": real,
        "precision": positive,
    }
    means: ClassVar[dict[str, Constraint]] = {"E[x]": real, "E[x²]": real}

    def __init__(
        self,
        loc: Any = 0.0,
        scale: Any = None,
        *,
        variance: Any = None,
        log_variance: Any = None,
        precision: Any = None,
    ) -> None:
        given = [x for x in (scale, variance, log_variance, precision) if x is not None]
        if len(given) > 1:
            raise TypeError(f"{type(self).__name__} takes one of scale, variance, log_variance and precision")
        super().__init__(
            loc=loc,
            scale=scale if given else 1.0,
            variance=variance,
            log_variance=log_variance,
            precision=precision,
        )

    @property
    def _v(self) -> Array:
        """The variance."""
        known, xp = self.parameters, self.xp
        if "scale" in known:
            return known["scale"] ** 2
        if "variance" in known:
            return known["variance"]
        return xp.exp(known["log_variance"]) if "log_variance" in known else 1.0 / known["precision"]

    @property
    def _log_v(self) -> Array:
        """Its logarithm."""
        known, xp = self.parameters, self.xp
        if "scale" in known:
            return 2.0 * xp.log(known["scale"])
        if "log_variance" in known:
            return known["log_variance"]
        return xp.log(known["variance"]) if "variance" in known else -xp.log(known["precision"])

    @property
    def support(self) -> Support:
        """All numbers."""
        return Interval()

    def _natural(self) -> tuple[Array, ...]:
        precision = 1.0 / self._v
        return (self.loc * precision, precision)

    def _with_natural(self, theta: tuple[Array, ...]) -> Self:
        loc, precision, xp = theta[0] / theta[1], theta[1], self.xp
        # The width in the terms of this member's, so that the difference of the two is that of two given numbers.
        if "scale" in self.parameters:
            return self._raw(self, loc=loc, scale=1.0 / xp.sqrt(precision))
        if "variance" in self.parameters:
            return self._raw(self, loc=loc, variance=1.0 / precision)
        if "log_variance" in self.parameters:
            return self._raw(self, loc=loc, log_variance=-xp.log(precision))
        return self._raw(self, loc=loc, precision=precision)

    def _inside(self, theta: tuple[Array, ...]) -> Array:
        return theta[1] > 0

    def mixed(self, other: Self, weight: float) -> tuple[Self, Array]:
        """The member between the two, from the narrower one and the quotient of the variances: no square overflows."""
        xp = self.xp
        name = next(n for n in self.parameters if n != "loc")
        mine, its = self.parameters[name], other._width(name)
        # Large precisions are narrow.
        mine_first = mine > its if name == "precision" else mine < its
        narrow, wide = xp.where(mine_first, mine, its), xp.where(mine_first, its, mine)
        if name == "log_variance":
            quotient = xp.exp(narrow - wide)
        elif name == "precision":
            quotient = wide / narrow
        else:
            quotient = (narrow / wide) ** 2 if name == "scale" else narrow / wide
        # The mixture's variance is that of the narrower over k, k = a + (1 − a)·quotient if that is this one.
        share = xp.where(mine_first, weight, 1.0 - weight)
        rest = (1.0 - share) * quotient
        inside = share + rest > 0
        k = xp.where(inside, share + rest, 1.0)
        near, far = xp.where(mine_first, self.loc, other.loc), xp.where(mine_first, other.loc, self.loc)
        width = {
            "scale": lambda: narrow / xp.sqrt(k),
            "variance": lambda: narrow / k,
            "log_variance": lambda: narrow - xp.log(k),
            "precision": lambda: narrow * k,
        }[name]()
        return self._raw(self, loc=near + (far - near) * (rest / k), **{name: width}), inside

    def _width(self, name: str) -> Array:
        """The parameter of that name, whichever was given."""
        xp = self.xp
        if name in self.parameters:
            return self.parameters[name]
        if name == "scale":
            return xp.sqrt(self._v)
        if name == "variance":
            return self._v
        return self._log_v if name == "log_variance" else 1.0 / self._v

    def _kl(self, other: Self) -> Array:
        """½·(r − 1 − log r) + (μ_p − μ_q)²/(2σ_q²)."""
        return 0.5 * self._width_part(other) + 0.5 * other._standard(self.loc - other.loc) ** 2

    def _standard(self, x: Array) -> Array:
        """X over the standard deviation, whose reciprocal may overflow where x is 0."""
        known, xp = self.parameters, self.xp
        if "scale" in known:
            return x / known["scale"]
        if "log_variance" in known:
            half = xp.exp(-0.25 * known["log_variance"])
            return x * half * half
        return x / xp.sqrt(known["variance"]) if "variance" in known else x * xp.sqrt(known["precision"])

    def _log_supremum(self, other: Self) -> Array:
        """log(σ_q/σ_p) + (μ_p − μ_q)²/(2·(σ_q² − σ_p²)) if Q is the wider, 0 of equals, else infinite."""
        xp = self.xp
        log = 0.5 * (other._log_v - self._log_v)
        wider = log > 0
        # σ_q² − σ_p² in units of σ_q².
        less = -xp.expm1(-2.0 * xp.where(wider, log, 1.0))
        apart = other._standard(self.loc - other.loc)
        equal = (log == 0) & (apart == 0)
        return xp.where(wider, log + 0.5 * apart**2 / less, xp.where(equal, 0.0 * log, math.inf))

    def _width_part(self, other: Self) -> Array:
        """R − 1 − log r with r the quotient of the variances, from the parameters as they were given."""
        xp, mine, its = self.xp, self.parameters, other.parameters
        if "log_variance" in mine or "log_variance" in its:
            return expm1_minus(xp, self._log_v - other._log_v)
        if "scale" in mine and "scale" in its:
            return ratio_excess(xp, mine["scale"], its["scale"], 2.0)
        if "precision" in mine and "precision" in its:
            return ratio_excess(xp, its["precision"], mine["precision"])
        return ratio_excess(xp, self._v, other._v)

    def _log_prob(self, x: Array) -> Array:
        return -0.5 * (self._standard(x - self.loc) ** 2 + self._log_v + math.log(2 * math.pi))

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return to_numpy(self.loc) + np.exp(0.5 * to_numpy(self._log_v)) * rng.standard_normal(shape)

    def _mean(self) -> Array:
        return self.loc + 0.0 * self._v

    def _var(self) -> Array:
        return self._v + 0.0 * self.loc

    def _entropy(self) -> Array:
        return 0.5 * (self._log_v + math.log(2 * math.pi) + 1.0) + 0.0 * self.loc

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[x] and E[x²]."""
        return self.mean(), self._handed_back(self.loc**2 + self._v)

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return (x, x * x)

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        loc, square = means
        first, second = cls.means
        hold(xp, f"{cls.__name__}: {second}", square, square > loc**2, f"above {first}²", loc**2)
        return {"loc": loc, "scale": xp.sqrt(square - loc**2)}


class LogNormal(Normal):
    """Distribution of exp(x) for a normal x.

    Parameters
    ----------
    loc, scale, variance, log_variance, precision : array_like
        Those of the logarithm; see :class:`Normal`.

    Examples
    --------
    >>> import dkl
    >>> float(dkl.kl(dkl.families.LogNormal(0, 1), dkl.families.LogNormal(1, 1)))
    0.5
    """

    constant_carrier: ClassVar[bool] = False

    means: ClassVar[dict[str, Constraint]] = {"E[log x]": real, "E[(log x)²]": real}

    @property
    def support(self) -> Support:
        """Positive numbers."""
        return Interval(0.0)

    def _log_prob(self, x: Array) -> Array:
        log_x = self.xp.log(self.xp.where(x > 0, x, 1.0))
        return self.xp.where(x > 0, super()._log_prob(log_x) - log_x, -math.inf)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return np.exp(super()._sample(shape, rng))

    def _mean(self) -> Array:
        return self.xp.exp(self.loc + 0.5 * self._v)

    def _var(self) -> Array:
        return self.xp.expm1(self._v) * self.xp.exp(2.0 * self.loc + self._v)

    def _entropy(self) -> Array:
        return super()._entropy() + self.loc

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[log x] and E[(log x)²]."""
        return self._handed_back(self.loc + 0.0 * self._v), self._handed_back(self.loc**2 + self._v)

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return super()._statistics(xp, log(xp, x), known)
