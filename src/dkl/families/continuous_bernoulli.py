"""The continuous Bernoulli distribution: the exponential distribution cut to the numbers from 0 to 1."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from dkl._array import Array, Namespace, to_numpy
from dkl.families.constraints import Constraint, probability
from dkl.families.exponential import ExponentialFamily
from dkl.families.moments import bessel_concentration
from dkl.families.outcomes import OneProbability, one_of
from dkl.families.special import integral_divergence
from dkl.supports import Interval, Support

# B_2k/(2k)!: the coefficients of E'(η) = Σ B_2k·η^(2k−1)/(2k)!, which converges for |η| < 2π.
_COEFFICIENTS = (
    1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000, 1 / 74724249600,
    -3617 / 10670622842880000, 43867 / 5109094217170944000, -174611 / 802857662698291200000,
)  # fmt: skip


class ContinuousBernoulli(OneProbability, ExponentialFamily):
    """Continuous Bernoulli distribution of a number from 0 to 1, with density proportional to λ^x·(1 − λ)^(1−x).

    Parameters
    ----------
    probs : array_like
        λ, strictly between 0 and 1; it is not the mean.
    logits : array_like
        η = log(λ/(1 − λ)), instead.

    Notes
    -----
    The log-normaliser is A(η) = η/2 + E(η), E(η) = log(sinh(η/2)/(η/2)) even and convex, and
    KL(p‖q) = E(η_q) − E(η_p) − E'(η_p)·(η_q − η_p), nearby the integral of E''(η) = 1/η² − 1/(4·sinh²(η/2)).

    References
    ----------
    .. [1] G. Loaiza-Ganem, J. P. Cunningham, "The continuous Bernoulli: fixing a pervasive error in variational
       autoencoders", arXiv:1907.06845 (2019).

    Examples
    --------
    >>> import dkl
    >>> from dkl.families.continuous_bernoulli import ContinuousBernoulli
    >>> round(float(dkl.kl(ContinuousBernoulli(0.9), ContinuousBernoulli(0.5))), 12)
    0.179631116
    """

    means: ClassVar[dict[str, Constraint]] = {"E[x]": probability}

    def __init__(self, probs: Any = None, *, logits: Any = None) -> None:
        one_of("ContinuousBernoulli", probs, logits)
        super().__init__(probs=probs, logits=logits)

    @property
    def support(self) -> Support:
        """Between 0 and 1."""
        return Interval(0.0, 1.0)

    def _natural(self) -> tuple[Array, ...]:
        return (self._logit,)

    def _with_natural(self, theta: tuple[Array, ...]) -> Any:
        return self._raw(self, **self._of_logit(theta[0]))

    def _inside(self, theta: tuple[Array, ...]) -> Array:
        return self.xp.isfinite(theta[0])

    def _kl(self, other: Any) -> Array:
        xp, x, y = self.xp, self._logit, other._logit
        step = self._logit_step(other)
        # E'' varies by the distance to its poles ±2πi, or by |η| where that is larger.
        near = (xp.abs(step) < 4.0) | (xp.abs(step) < 0.5 * xp.abs(x))
        start, by = xp.where(near, x, 0.0 * y), xp.where(near, step, 0.0)
        close = integral_divergence(xp, start, by, lambda s: curvature(xp, s))
        return xp.where(near, close, _far(xp, xp.where(near, 0.0, x), xp.where(near, 8.0, y)))

    def _log_prob(self, x: Array) -> Array:
        xp, n = self.xp, self._logit
        # From the end at which the density is largest: η·x − A(η) = |η|·(z − 1) − log of the rest, z = x or 1 − x.
        z = xp.where(n > 0, 1.0 - x, x)
        return -xp.abs(n) * z - log_mass(xp, n)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        n = np.broadcast_to(to_numpy(self._logit), shape)
        size, u = np.abs(n), rng.random(shape)
        steep = size > 1e-8
        safe = np.where(steep, size, 1.0)
        z = np.where(steep, -np.log1p(u * np.expm1(-safe)) / safe, u)
        return np.where(n > 0, 1.0 - z, z)

    def _mean(self) -> Array:
        return mean(self.xp, self._logit)

    def _var(self) -> Array:
        return curvature(self.xp, self._logit)

    def _entropy(self) -> Array:
        xp, n = self.xp, self._logit
        # −E[log density] = |η|·E[z] + the log of the mass, z as in the density.
        return xp.abs(n) * mean(xp, -xp.abs(n)) + log_mass(xp, n)

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[x]."""
        return (self.mean(),)

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return (x,)

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        m = means[0]
        # 2·E[x] − 1 = coth(η/2) − 2/η is I_{3/2}/I_{1/2} at η/2, and nearly η/6 near 0.
        up, tilt = m > 0.5, 2.0 * (m - 0.5)
        some = tilt != 0
        length = xp.where(some, xp.where(up, tilt, -tilt), 0.5)
        size = 2.0 * bessel_concentration(xp, 0.5, length, xp.where(some, 2.0 * xp.where(up, 1.0 - m, m), 0.5))
        return {"logits": xp.where(some, xp.where(up, size, -size), 6.0 * tilt)}


def log_mass(xp: Namespace, n: Array) -> Array:
    """log((1 − exp(−|η|))/|η|): E(η) − |η|/2."""
    size = xp.abs(n)
    some = size > 1e-4
    far = xp.where(some, size, 1.0)
    near = xp.where(some, 0.0, size)
    return xp.where(
        some, xp.log(-xp.expm1(-far) / far), xp.log1p(-near / 2.0 * (1.0 - near / 3.0 * (1.0 - near / 4.0)))
    )


def mean(xp: Namespace, n: Array) -> Array:
    """A'(η), from 0 to 1: ½ + E'(η) near 0, else 1/(1 − exp(−η)) − 1/η from the end where it does not cancel."""
    near = xp.abs(n) < 1.0
    close = 0.5 + _series(xp.where(near, n, 0.0), slope=True)
    low = -xp.where(near, 1.0, xp.abs(n))
    # Of −|η|: 1/|η| − 1/(exp(|η|) − 1) = 1/|η| − exp(−|η|)/(1 − exp(−|η|)).
    below = -1.0 / low + xp.exp(low) / xp.expm1(low)
    return xp.where(near, close, xp.where(n < 0, below, 1.0 - below))


def curvature(xp: Namespace, n: Array) -> Array:
    """E''(η) > 0, the variance."""
    near = xp.abs(n) < 1.0
    far = xp.where(near, 1.0, xp.abs(n))
    # 1/(4·sinh²(η/2)) = exp(−η)/(1 − exp(−η))².
    beyond = 1.0 / far**2 - xp.exp(-far) / xp.expm1(-far) ** 2
    return xp.where(near, _series(xp.where(near, n, 0.0), slope=False), beyond)


def _series(n: Array, slope: bool) -> Array:
    """E' or E'' by the power series."""
    z, total = n * n, 0.0 * n
    for k in range(len(_COEFFICIENTS), 0, -1):
        c = _COEFFICIENTS[k - 1]
        total = (c if slope else (2 * k - 1) * c) + z * total
    return n * total if slope else total


def _far(xp: Namespace, x: Array, y: Array) -> Array:
    """The divergence of E of two numbers far apart, its part |η|/2 on the side of x, which has none, taken out."""
    across = xp.where((x > 0) == (y > 0), 0.0, xp.abs(y))
    # E'(η) − sign(η)/2 is the mean less the end next to it.
    slope = xp.where(x > 0, -1.0, 1.0 + 0.0 * x) * mean(xp, -xp.abs(x))
    return log_mass(xp, y) + across - log_mass(xp, x) - slope * (y - x)


__all__ = ["ContinuousBernoulli"]
