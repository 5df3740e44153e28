"""Distributions of directions: angles on a circle, unit vectors on a sphere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from dkl._array import Array, Namespace, device_of, epsilon, first_failing, holds
from dkl.families.bessel import curvature, log_mass, normaliser_divergence, ratio, short_of_one
from dkl.families.constraints import Constraint, positive, real
from dkl.families.exponential import ExponentialFamily
from dkl.families.moments import bessel_concentration, hold
from dkl.families.outcomes import real_vector
from dkl.supports import Interval, Sphere, Support


@dataclass(frozen=True, eq=False)
class Circle(Interval):
    """Angles, which are the same after 2π; integrals go from −π to π."""

    low: Any = -math.pi
    high: Any = math.pi

    @property
    def name(self) -> str:  # type: ignore[override]
        """The circle."""
        return "the circle"

    def contains(self, xp: Namespace, x: Array) -> Array:
        """Every finite angle."""
        return xp.isfinite(x)

    def interior(self, xp: Namespace, x: Array) -> Array:
        """0."""
        return 0.0 * xp.where(xp.isfinite(x), x, 0.0)

    def within(self, other: Support) -> Any:
        """In a circle, and in an interval that holds the angles from −π to π."""
        return isinstance(other, Circle) or super().within(other)


class VonMises(ExponentialFamily):
    """Von Mises distribution of an angle, with density exp(κ·cos(x − μ))/(2π·I₀(κ)).

    Parameters
    ----------
    loc : array_like
        The mean direction μ in radians, any finite number.
    concentration : array_like
        κ, positive.

    Notes
    -----
    With A = log I₀ and R = I₁/I₀, KL(p‖q) = A(κ_q) − A(κ_p) − R(κ_p)·(κ_q − κ_p) + κ_q·R(κ_p)·2·sin²((μ_p − μ_q)/2),
    two non-negative parts; see :mod:`dkl.families.bessel`. ``mean`` is the circular mean, ``var`` the circular
    variance 1 − R(κ).

    References
    ----------
    .. [1] K. V. Mardia, P. E. Jupp, Directional Statistics (2000), section 3.5.4.

    Examples
    --------
    >>> import dkl
    >>> from dkl.families.directional import VonMises
    >>> round(float(dkl.kl(VonMises(0.0, 2.0), VonMises(1.0, 1.0))), 12)
    0.430460876278
    """

    constraints: ClassVar[dict[str, Constraint]] = {"loc": real, "concentration": positive}
    means: ClassVar[dict[str, Constraint]] = {"E[cos x]": real, "E[sin x]": real}

    def __init__(self, loc: Any = 0.0, concentration: Any = 1.0) -> None:
        super().__init__(loc=loc, concentration=concentration)

    @property
    def support(self) -> Support:
        """The circle."""
        return Circle()

    def _natural(self) -> tuple[Array, ...]:
        return (self.concentration * self.xp.cos(self.loc), self.concentration * self.xp.sin(self.loc))

    def _with_natural(self, theta: tuple[Array, ...]) -> Any:
        xp = self.xp
        square = theta[0] ** 2 + theta[1] ** 2
        # Of two opposite directions of equal weight the circle itself is left, in no direction.
        some = square > 0
        length = xp.where(some, xp.sqrt(xp.where(some, square, 1.0)), 0.0)
        loc = xp.atan2(xp.where(some, theta[1], 0.0), xp.where(some, theta[0], 1.0))
        return self._raw(self, loc=loc, concentration=length)

    def _inside(self, theta: tuple[Array, ...]) -> Array:
        return self.xp.isfinite(theta[0])

    def _kl(self, other: Any) -> Array:
        half = 2.0 * self.xp.sin(0.5 * (self.loc - other.loc)) ** 2
        return _kl(self.xp, 0.0, self.concentration, other.concentration, half)

    def _log_prob(self, x: Array) -> Array:
        xp, k = self.xp, self.concentration
        return -2.0 * k * xp.sin(0.5 * (x - self.loc)) ** 2 - log_mass(xp, 0.0, k) - math.log(2.0 * math.pi)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return rng.vonmises(self.numbers("loc"), self.numbers("concentration"), size=shape)

    def _mean(self) -> Array:
        return self.loc + 0.0 * self.concentration

    def _var(self) -> Array:
        return short_of_one(self.xp, 0.0, self.concentration)

    def _entropy(self) -> Array:
        k, xp = self.concentration, self.xp
        return math.log(2.0 * math.pi) + log_mass(xp, 0.0, k) + k * short_of_one(xp, 0.0, k)

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[cos x] and E[sin x]."""
        length = ratio(self.xp, 0.0, self.concentration)
        return self._handed_back(length * self.xp.cos(self.loc)), self._handed_back(length * self.xp.sin(self.loc))

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return (xp.cos(x), xp.sin(x))

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        _, concentration = _of_mean_vector(xp, "VonMises: the length of (E[cos x], E[sin x])", xp.stack(means, axis=-1))
        return {"loc": xp.atan2(means[1], means[0]), "concentration": concentration}


class Unrolled(VonMises):
    """A von Mises distribution as one of the numbers from −π to π: what it is beside a distribution on the line."""

    @classmethod
    def of(cls, circular: VonMises) -> Self:
        """The same angles."""
        made = object.__new__(cls)
        made.__dict__.update(circular.__dict__)
        return made

    @property
    def support(self) -> Support:
        """From −π to π."""
        return Interval(-math.pi, math.pi)

    def _mean(self) -> Array:
        raise NotImplementedError("the mean of angles as numbers has no closed form")

    def _var(self) -> Array:
        raise NotImplementedError("the variance of angles as numbers has no closed form")


class VonMisesFisher(ExponentialFamily):
    """Von Mises–Fisher distribution of a unit vector, with density proportional to exp(κ·μ·x).

    Parameters
    ----------
    mean_direction : array_like
        The unit vector μ along the last axis, its length 1 within √ε of its dtype.
    concentration : array_like
        κ, positive.

    Notes
    -----
    As of :class:`VonMises`, with ν = d/2 − 1, A = log(I_ν(κ)/κ^ν), R = I_{ν+1}/I_ν and |μ_p − μ_q|²/2 for 2·sin².
    ``var`` is the variance of each component.

    References
    ----------
    .. [1] K. V. Mardia, P. E. Jupp, Directional Statistics (2000), section 9.3.2.

    Examples
    --------
    >>> import dkl
    >>> from dkl.families.directional import VonMisesFisher
    >>> round(float(dkl.kl(VonMisesFisher([1.0, 0.0, 0.0], 2.0), VonMisesFisher([0.0, 1.0, 0.0], 1.0))), 12)
    0.640848610972
    """

    constraints: ClassVar[dict[str, Constraint]] = {"mean_direction": real_vector, "concentration": positive}
    means: ClassVar[dict[str, Constraint]] = {"E[x]": real_vector}
    event_ndim: ClassVar[int] = 1

    def __init__(self, mean_direction: Any, concentration: Any = 1.0) -> None:
        super().__init__(mean_direction=mean_direction, concentration=concentration)
        xp, mu = self.xp, self.mean_direction
        if mu.shape[-1] < 2:
            raise ValueError(
                f"VonMisesFisher: mean_direction of shape {tuple(mu.shape)} has a last axis of length {mu.shape[-1]}: "
                "directions need at least two dimensions"
            )
        length = xp.sqrt(xp.sum(mu * mu, axis=-1))
        good = xp.abs(length - 1.0) <= math.sqrt(epsilon(xp, self.dtype))
        if holds(xp.all(good)) is False:
            at, value = first_failing(length, good)
            raise ValueError(
                f"VonMisesFisher: mean_direction{at} has length {value:.9g}, not 1: divide it by its length"
            )

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The dimension."""
        return tuple(self.mean_direction.shape[-1:])

    @property
    def _nu(self) -> float:
        return 0.5 * int(self.mean_direction.shape[-1]) - 1.0

    @property
    def support(self) -> Support:
        """The sphere."""
        return Sphere(self.mean_direction.shape[-1])

    def _natural(self) -> tuple[Array, ...]:
        return (self.concentration[..., None] * self.mean_direction,)

    def _with_natural(self, theta: tuple[Array, ...]) -> Any:
        xp, vector = self.xp, theta[0]
        square = xp.sum(vector * vector, axis=-1)
        some = square > 0
        length = xp.sqrt(xp.where(some, square, 1.0))
        first = xp.where(xp.arange(vector.shape[-1], device=device_of(vector)) == 0, 1.0, 0.0 * vector)
        direction = xp.where(some[..., None], vector / length[..., None], first)
        return self._raw(self, mean_direction=direction, concentration=xp.where(some, length, 0.0))

    def _inside(self, theta: tuple[Array, ...]) -> Array:
        return self.xp.all(self.xp.isfinite(theta[0]), axis=-1)

    def _kl(self, other: Any) -> Array:
        half = 0.5 * self.xp.sum((self.mean_direction - other.mean_direction) ** 2, axis=-1)
        return _kl(self.xp, self._nu, self.concentration, other.concentration, half)

    def _log_prob(self, x: Array) -> Array:
        xp, k = self.xp, self.concentration
        half = 0.5 * xp.sum((x - self.mean_direction) ** 2, axis=-1)
        return -k * half - log_mass(xp, self._nu, k) - self._log_area

    @property
    def _log_area(self) -> float:
        """Log of the sphere's area, 2·π^(d/2)/Γ(d/2)."""
        half = self._nu + 1.0
        return math.log(2.0) + half * math.log(math.pi) - math.lgamma(half)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        from scipy.stats import vonmises_fisher

        d = self.event_shape[0]
        count = math.prod(shape) // max(math.prod(self.batch_shape), 1)
        directions = np.broadcast_to(self.numbers("mean_direction"), (*self.batch_shape, d)).reshape(-1, d)
        concentrations = np.broadcast_to(self.numbers("concentration"), self.batch_shape).reshape(-1)
        drawn = [
            np.reshape(vonmises_fisher(mu / np.linalg.norm(mu), k).rvs(count, random_state=rng), (count, d))
            for mu, k in zip(directions, concentrations, strict=True)
        ]
        return np.reshape(np.stack(drawn, axis=1), (*shape, d)) if drawn else np.empty((*shape, d))

    def _mean(self) -> Array:
        return ratio(self.xp, self._nu, self.concentration)[..., None] * self.mean_direction

    def _var(self) -> Array:
        # E[(x·μ)²] = 1 − (d − 1)·R/κ, and each direction across μ has R/κ.
        xp, k, mu = self.xp, self.concentration[..., None], self.mean_direction
        across = ratio(xp, self._nu, k) / k
        return across * (1.0 - mu * mu) + curvature(xp, self._nu, k) * mu * mu

    def _entropy(self) -> Array:
        k, xp = self.concentration, self.xp
        return self._log_area + log_mass(xp, self._nu, k) + k * short_of_one(xp, self._nu, k)

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[x]."""
        return (self._handed_back(self._mean()),)

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return (x,)

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        direction, concentration = _of_mean_vector(xp, "VonMisesFisher: the length of E[x]", means[0])
        return {"mean_direction": direction, "concentration": concentration}

    @classmethod
    def _hold_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> None:
        if means[0].shape[-1] < 2:
            raise ValueError(
                "VonMisesFisher: E[x] has a last axis of length 1: directions need at least two dimensions"
            )


def _of_mean_vector(xp: Namespace, name: str, mean: Array) -> tuple[Array, Array]:
    """The direction of a mean of directions, and the concentration."""
    largest = xp.max(xp.abs(mean), axis=-1, keepdims=True)
    some = largest > 0
    scaled = mean / xp.where(some, largest, 1.0)
    one = xp.sqrt(xp.sum(scaled * scaled, axis=-1))
    length = largest[..., 0] * one
    # Of length 0 is the uniform distribution's alone, which has no direction.
    hold(xp, name, length, length > 0, "positive")
    hold(xp, name, length, length < 1, "below 1")
    concentration = bessel_concentration(xp, 0.5 * int(mean.shape[-1]) - 1.0, length, 1.0 - length)
    return scaled / one[..., None], concentration


def _kl(xp: Namespace, nu: float, mine: Array, its: Array, half: Array) -> Array:
    """The divergence of A, and what the directions add: ``half`` is 1 − cos of the angle between them."""
    return normaliser_divergence(xp, nu, its, mine) + its * ratio(xp, nu, mine) * half


__all__ = ["VonMises", "VonMisesFisher"]
