"""Dirichlet distributions of shares, and Beta, of one share."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from dkl._array import Array, Namespace, device_of, to_numpy
from dkl.families.constraints import Constraint, positive
from dkl.families.exponential import ExponentialFamily
from dkl.families.log_gamma import digamma_step, gamma_rest_divergence
from dkl.families.moments import dirichlet_concentration, hold
from dkl.families.special import all_but_each, digamma, gammaln, log, log_ratio, weighted_excess
from dkl.supports import Interval, Simplex, Support

_positive_vector = Constraint("positive and finite", positive.met, 1)
_negative = Constraint("negative and finite", lambda xp, x: (x < 0) & xp.isfinite(x))
_negative_vector = Constraint("negative and finite", _negative.met, 1)


def _kl_of_shares(xp: Any, p: Array, q: Array) -> Array:
    """Of two vectors of concentrations: the log-normaliser is Σ log Γ(α) − log Γ(Σα), and log Γ is x·log x − x + g(x).

    The large parts make Σα_q·KL of the mean shares of Q and P, by the chain rule; of g the sum is left.
    """
    total_p, total_q = xp.sum(p, axis=-1), xp.sum(q, axis=-1)
    share_p = p / total_p[..., None]
    # The quotient of the shares less 1 is (share_p·Σ(q − p) − (q − p))/q, from differences that are exact; where p and
    # q are not of one size, so that these cancel, the logarithms do better.
    total = xp.sum(q - p, axis=-1)
    step, steps = log_ratio(xp, p, q), log_ratio(xp, total_q, total_p)[..., None]
    log = step + steps
    close = (xp.abs(step) < 1.0) & (xp.abs(steps) < 1.0)
    apart = xp.where(close, (share_p * total[..., None] - (q - p)) / q, xp.expm1(xp.where(close, 0.0, log)))
    large = xp.sum(weighted_excess(xp, q, apart, log), axis=-1)
    parts = large + xp.sum(gamma_rest_divergence(xp, q, p), axis=-1)
    finite = parts < math.inf
    return xp.where(finite, xp.where(finite, parts, 0.0) - gamma_rest_divergence(xp, total_q, total_p, total), math.inf)


class Dirichlet(ExponentialFamily):
    """Dirichlet distribution over shares that sum to 1.

    Parameters
    ----------
    concentration : array_like
        Positive numbers along the last axis, one for each share.

    Examples
    --------
    >>> import dkl
    >>> float(dkl.kl(dkl.families.Dirichlet([1.0, 1.0]), dkl.families.Dirichlet([1.0, 1.0])))
    0.0
    """

    constraints: ClassVar[dict[str, Constraint]] = {"concentration": _positive_vector}
    means: ClassVar[dict[str, Constraint]] = {"E[log x]": _negative_vector}
    event_ndim: ClassVar[int] = 1

    def __init__(self, concentration: Any) -> None:
        super().__init__(concentration=concentration)
        if self.concentration.shape[-1] < 2:
            raise ValueError("Dirichlet: concentration has a last axis of length 1: shares need at least two")

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The number of shares."""
        return tuple(self.concentration.shape[-1:])

    @property
    def support(self) -> Support:
        """The simplex."""
        return Simplex(self.concentration.shape[-1])

    def _natural(self) -> tuple[Array, ...]:
        return (self.concentration,)

    def _with_natural(self, theta: tuple[Array, ...]) -> Any:
        return self._raw(self, concentration=theta[0])

    def _inside(self, theta: tuple[Array, ...]) -> Array:
        return self.xp.all(theta[0] > 0, axis=-1)

    def _kl(self, other: Any) -> Array:
        return _kl_of_shares(self.xp, self.concentration, other.concentration)

    def _log_supremum(self, other: Any) -> Array:
        """Σ d·log(d/Σd) − log B(p) + log B(q) with d = p − q, if no d is negative; else infinite, at a share of 0."""
        xp, d = self.xp, self.concentration - other.concentration
        some, total = d > 0, xp.sum(d, axis=-1)[..., None]
        shares = xp.where(some, d, 1.0) / xp.where(some, total, 1.0)
        parts = xp.where(some, d * xp.log(shares), 0.0 * d)
        parts = parts + gammaln(xp, other.concentration) - gammaln(xp, self.concentration)
        totals = gammaln(xp, xp.sum(self.concentration, axis=-1)) - gammaln(xp, xp.sum(other.concentration, axis=-1))
        value = xp.sum(parts, axis=-1) + totals
        return xp.where(xp.all(d >= 0, axis=-1), xp.where(value > 0, value, 0.0 * value), math.inf)

    def _log_prob(self, x: Array) -> Array:
        xp, c = self.xp, self.concentration
        logs = (c - 1.0) * xp.log(xp.where(x > 0, x, 1e-320))
        return xp.sum(logs - gammaln(xp, c), axis=-1) + gammaln(xp, xp.sum(c, axis=-1))

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        # By logarithms, so that small concentrations do not give 0/0.
        c = np.broadcast_to(self.numbers("concentration"), (*shape, *self.event_shape))
        logs = np.log(rng.gamma(c + 1.0)) + np.log(rng.random(c.shape)) / c
        shares = np.exp(logs - logs.max(axis=-1, keepdims=True))
        return shares / shares.sum(axis=-1, keepdims=True)

    def _mean(self) -> Array:
        return self.concentration / self.xp.sum(self.concentration, axis=-1)[..., None]

    def _var(self) -> Array:
        m, total = self._mean(), self.xp.sum(self.concentration, axis=-1)[..., None]
        return m * (1.0 - m) / (total + 1.0)

    def _entropy(self) -> Array:
        xp, c = self.xp, self.concentration
        total = xp.sum(c, axis=-1)
        log_b = xp.sum(gammaln(xp, c), axis=-1) - gammaln(xp, total)
        n = float(c.shape[-1])
        return log_b + (total - n) * digamma(xp, total) - xp.sum((c - 1.0) * digamma(xp, c), axis=-1)

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[log x]."""
        xp, c = self.xp, self.concentration
        return (self._handed_back(-digamma_step(xp, c, all_but_each(xp, c))),)

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return (log(xp, x),)

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        return {"concentration": _of_mean_logs(xp, "Dirichlet: E[log x]", means[0])}

    @classmethod
    def _hold_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> None:
        if means[0].shape[-1] < 2:
            raise ValueError("Dirichlet: E[log x] has a last axis of length 1: shares need at least two")


def _of_mean_logs(xp: Namespace, name: str, logs: Array) -> Array:
    """The concentrations of the means of the logarithms along the last axis."""
    first = xp.argmax(logs, axis=-1, keepdims=True) == xp.arange(logs.shape[-1], device=device_of(logs))
    # 1 − Σ exp(E[log x]), from the largest, which may be nearly all.
    largest = xp.sum(xp.where(first, -xp.expm1(logs), 0.0), axis=-1)
    short = largest - xp.sum(xp.where(first, 0.0, xp.exp(logs)), axis=-1)
    hold(xp, f"{name}, the sum of the exponentials", 1.0 - short, short > 0, "below 1")
    return dirichlet_concentration(xp, logs, short)


class Beta(ExponentialFamily):
    """Beta distribution with density x^(a−1)·(1 − x)^(b−1)/B(a, b).

    Parameters
    ----------
    a, b : array_like
        Positive.

    Examples
    --------
    >>> import dkl, numpy as np
    >>> big = np.float32(1e6)
    >>> print(f"{dkl.kl(dkl.families.Beta(big, big), dkl.families.Beta(np.float32(1.01e6), np.float32(1.01e6))):.3g}")
    2.48e-05
    """

    constraints: ClassVar[dict[str, Constraint]] = {"a": positive, "b": positive}
    means: ClassVar[dict[str, Constraint]] = {"E[log x]": _negative, "E[log(1 − x)]": _negative}

    def __init__(self, a: Any, b: Any) -> None:
        super().__init__(a=a, b=b)

    @property
    def support(self) -> Support:
        """Between 0 and 1."""
        return Interval(0.0, 1.0)

    @property
    def _both(self) -> Array:
        return self.xp.stack(self.xp.broadcast_arrays(self.a, self.b), axis=-1)

    def _natural(self) -> tuple[Array, ...]:
        return (self.a + 0.0 * self.b, self.b + 0.0 * self.a)

    def _with_natural(self, theta: tuple[Array, ...]) -> Any:
        return self._raw(self, a=theta[0], b=theta[1])

    def _inside(self, theta: tuple[Array, ...]) -> Array:
        return (theta[0] > 0) & (theta[1] > 0)

    def _kl(self, other: Any) -> Array:
        return _kl_of_shares(self.xp, self._both, other._both)

    def _log_prob(self, x: Array) -> Array:
        xp = self.xp
        x = xp.where(x > 0, x, 1e-320)
        some = x < 1
        log_rest = xp.where(some, xp.log1p(-xp.where(some, x, 0.0)), math.log(1e-320))
        log_beta = gammaln(xp, self.a) + gammaln(xp, self.b) - gammaln(xp, self.a + self.b)
        return (self.a - 1.0) * xp.log(x) + (self.b - 1.0) * log_rest - log_beta

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return rng.beta(to_numpy(self.a), to_numpy(self.b), size=shape)

    def _mean(self) -> Array:
        return self.a / (self.a + self.b)

    def _var(self) -> Array:
        total = self.a + self.b
        return self.a * self.b / (total**2 * (total + 1.0))

    def _entropy(self) -> Array:
        xp, a, b = self.xp, self.a, self.b
        log_beta = gammaln(xp, a) + gammaln(xp, b) - gammaln(xp, a + b)
        of_each = (a - 1.0) * digamma(xp, a) + (b - 1.0) * digamma(xp, b)
        return log_beta - of_each + (a + b - 2.0) * digamma(xp, a + b)

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[log x] and E[log(1 − x)]."""
        xp, (a, b) = self.xp, self.xp.broadcast_arrays(self.a, self.b)
        return self._handed_back(-digamma_step(xp, a, b)), self._handed_back(-digamma_step(xp, b, a))

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        # log(1 − x) of the least x, too.
        some = x < 1
        return (log(xp, x), xp.where(some, xp.log1p(-xp.where(some, x, 0.0)), -math.inf))

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        both = xp.stack(xp.broadcast_arrays(*means), axis=-1)
        found = _of_mean_logs(xp, "Beta: (E[log x], E[log(1 − x)])", both)
        return {"a": found[..., 0], "b": found[..., 1]}


__all__ = ["Beta", "Dirichlet"]
