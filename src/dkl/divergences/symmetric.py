"""Symmetric members that need neither a power nor a mixture: Jeffreys, total variation, triangular."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from dkl._array import Array, Namespace
from dkl.divergences.base import Edges, Member
from dkl.pairs import Outcomes


@dataclass(frozen=True, repr=False)
class Jeffreys(Member):
    """Jeffreys' divergence KL(P‖Q) + KL(Q‖P) = Σ (p − q)·log(p/q), in [0, ∞].

    Called as ``dkl.jeffreys(p, q, *, axis=-1, base=None, method=None)``; see :meth:`Divergence.__call__`.

    Infinite where one of p and q is 0 and the other is not. Known in credit scoring as the population stability index.

    References
    ----------
    .. [1] H. Jeffreys, "An invariant form for the prior probability in estimation problems", Proceedings of the Royal
       Society A 186 (1946), eq. 1.

    Examples
    --------
    >>> import dkl
    >>> round(float(dkl.jeffreys([0.9, 0.1], [0.1, 0.9])), 12)
    3.515559323738
    """

    name: ClassVar[str] = "jeffreys"
    symbol: ClassVar[str] = "J(P, Q)"
    symmetric: ClassVar[bool] = True
    unit: ClassVar[str] = "nats"
    f_zero: ClassVar[float] = math.inf
    slope_inf: ClassVar[float] = math.inf

    def inside(self, shared: Outcomes) -> Array:
        """(p − q)·log(p/q)."""
        return shared.difference * shared.log_ratio

    def log_gradient(self, shared: Outcomes) -> tuple[Array, Array]:
        """p·log(p/q) + (p − q), and −q·log(p/q) − (p − q)."""
        d, L = shared.difference, shared.log_ratio
        return shared.p * L + d, -(shared.q * L) - d

    def _conjugate(self, xp: Namespace, u: Array) -> Array:
        # At the supremum 1/t = W solves W + log W = 1 − u, and f*(u) = 1/W − 1 − log W. Newton on the convex left side
        # in log W comes down to the root from above.
        target = 1 - u
        log_w = xp.where(target > 1, xp.log(xp.where(target > 1, target, 1.0)), target)
        for _ in range(12):
            w = xp.exp(log_w)
            log_w = log_w - (log_w + w - target) / (1 + w)
        return xp.expm1(-log_w) - log_w


@dataclass(frozen=True, repr=False)
class TotalVariation(Member):
    """Total variation distance ½ Σ |p − q| in [0, 1]: the largest difference in probability of any event.

    Called as ``dkl.tv(p, q, *, axis=-1, base=None, method=None)``; see :meth:`Divergence.__call__`.

    A metric. At p = q, where it has a kink, the gradient is given as 0.

    References
    ----------
    .. [1] A. Tsybakov, Introduction to Nonparametric Estimation (2009), Lemma 2.1.

    Examples
    --------
    >>> import dkl
    >>> float(dkl.tv([0.9, 0.1], [0.5, 0.5]))
    0.4
    """

    name: ClassVar[str] = "tv"
    symbol: ClassVar[str] = "TV(P, Q)"
    symmetric: ClassVar[bool] = True
    metric_power: ClassVar[float | None] = 1.0
    f_zero: ClassVar[float] = 0.5
    slope_inf: ClassVar[float] = 0.5
    slopes: ClassVar[Edges] = Edges(-0.5, -0.5)

    def inside(self, shared: Outcomes) -> Array:
        """|p − q|/2."""
        d = shared.difference
        # At the kink some libraries give abs a derivative of 1; 0 is the one that descends nowhere.
        return 0.5 * shared.xp.where(d == 0, 0.0, shared.xp.abs(d))

    def log_gradient(self, shared: Outcomes) -> tuple[Array, Array]:
        """±p/2 and ∓q/2 by which is larger, 0 at the kink."""
        xp, d = shared.xp, shared.difference
        half = xp.where(d > 0, 0.5, xp.where(d < 0, -0.5, 0.0 * d))
        return shared.p * half, -shared.q * half

    def _conjugate(self, xp: Namespace, u: Array) -> Array:
        return xp.maximum(u, xp.full_like(u, -0.5))


@dataclass(frozen=True, repr=False)
class Triangular(Member):
    """Triangular discrimination Σ (p − q)²/(p + q), in [0, 2].

    References
    ----------
    .. [1] F. Topsøe, "Some inequalities for information divergence and related measures of discrimination", IEEE
       Transactions on Information Theory 46 (2000).
    """

    name: ClassVar[str] = "triangular"
    symbol: ClassVar[str] = "Δ(P, Q)"
    symmetric: ClassVar[bool] = True
    metric_power: ClassVar[float | None] = 0.5
    f_zero: ClassVar[float] = 1.0
    slope_inf: ClassVar[float] = 1.0
    slopes: ClassVar[Edges] = Edges(-3.0, -3.0)

    def inside(self, shared: Outcomes) -> Array:
        """(p − q)·(p − q)/(p + q)."""
        return shared.difference * self._contrast(shared)

    def log_gradient(self, shared: Outcomes) -> tuple[Array, Array]:
        """With c = (p − q)/(p + q), p·c·(2 − c) and −q·c·(2 + c)."""
        c = self._contrast(shared)
        return shared.p * (c * (2.0 - c)), -shared.q * (c * (2.0 + c))

    def _contrast(self, shared: Outcomes) -> Array:
        """(p − q)/(p + q); from logs, where p + q may underflow, it is tanh(½ log(p/q))."""
        if shared.from_logs:
            return shared.xp.tanh(0.5 * shared.log_ratio)
        return shared.difference / (shared.p + shared.q)

    def _conjugate(self, xp: Namespace, u: Array) -> Array:
        inner = xp.maximum(u, xp.full_like(u, -3.0))
        return xp.where(u < -3, -1.0, 4 - inner - 4 * xp.sqrt(1 - inner))
