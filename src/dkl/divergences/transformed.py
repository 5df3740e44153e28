"""Monotone functions of a power integral that are not sums of terms: Rényi, Bhattacharyya, Hellinger."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from dkl._array import Array, Namespace, logsumexp, root
from dkl.divergences.base import Divergence, Edges, Member, label, real_parameter
from dkl.divergences.power import SquaredHellinger, Tsallis, log_power
from dkl.pairs import Pair


@dataclass(frozen=True)
class Renyi(Divergence):
    """Rényi divergence log(∫ p^a q^(1−a))/(a − 1), continuous in its order through 0, 1 and ∞.

    Parameters
    ----------
    order : float
        a in [0, ∞]. Order 0 is −log Q(p > 0), 1/2 twice the Bhattacharyya distance, 1 is KL(P‖Q), 2 is log(1 + χ²), ∞
        the logarithm of the largest p/q.

    References
    ----------
    .. [1] T. van Erven, P. Harremoës, "Rényi divergence and Kullback-Leibler divergence", IEEE Transactions on
       Information Theory 60 (2014), eq. 9 and Theorems 4 to 7.

    Examples
    --------
    >>> import dkl, math
    >>> float(dkl.Renyi(math.inf)([0.5, 0.5], [0.25, 0.75]))  # log 2
    0.6931471805599453
    """

    order: float
    direction: ClassVar[str] = "of P relative to Q"
    unit: ClassVar[str] = "nats"
    upper_bound: ClassVar[float] = math.inf

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", real_parameter(self.order, "order", 0.0))

    @property
    def name(self) -> str:
        """``renyi(order)``."""
        return f"renyi({label(self.order)})"

    @property
    def symbol(self) -> str:
        """D_a(P‖Q)."""
        return f"D_{'∞' if math.isinf(self.order) else format(self.order, 'g')}(P‖Q)"

    @property
    def symmetric(self) -> bool:
        """Only at order 1/2."""
        return self.order == 0.5

    @property
    def edges(self) -> Edges:
        """Mass of P that Q lacks makes it infinite from order 1 on."""
        return Edges(1.0, math.inf) if self.order >= 1 else Edges(1.0, 1.0)

    @property
    def core(self) -> Member | None:
        """Tsallis' divergence of the same order; none at ∞, where no sum decides."""
        return None if self.order == math.inf else Tsallis(self.order)

    def finish(self, xp: Namespace, total: Array, mass_p: Array, mass_q: Array) -> Array:
        """The same two forms as ``total``, from T alone.

        The integral that T leaves, 1 + (a − 1)·T, has lost digits where little is left of it.
        """
        a = self.order
        if a == 1:
            return total
        integral = (a - 1) * total + (a * mass_p + (1 - a) * mass_q)
        decided = (integral > 0.02) & (integral < math.inf)
        by_sum = xp.log(xp.where(decided, integral, 1.0))
        near = xp.abs(by_sum) < 0.5
        by_series = xp.log1p(xp.where(near & decided, (a - 1) * total, 0.0))
        return xp.where(decided, xp.where(near, by_series, by_sum) / (a - 1), math.nan)

    def total(self, pair: Pair) -> Array:
        """log(1 + (a − 1)·T)/(a − 1) with T Tsallis' divergence; by log-sum-exp where 1 + (a − 1)·T is far from 1."""
        xp, a = pair.xp, self.order
        uncovered = xp.any(pair.in_p & ~pair.in_q, axis=-1)
        if a == math.inf:
            largest = xp.max(xp.where(pair.in_both, pair.shared.log_ratio, -math.inf), axis=-1)
            return xp.where(uncovered, math.inf, xp.maximum(largest, xp.zeros_like(largest)))
        if a == 1:
            return Tsallis(1).total(pair)
        by_sum = logsumexp(xp, xp.where(pair.in_both, log_power(pair.shared, a), -math.inf))
        near = xp.abs(by_sum) < 0.5
        # Rows that are not near take no part in the series, where their terms could overflow.
        by_series = xp.log1p((a - 1) * Tsallis(a).total(pair.rows(near)))
        value = xp.where(near, by_series, by_sum) / (a - 1)
        return xp.where(uncovered, math.inf, value) if a > 1 else value


@dataclass(frozen=True, repr=False)
class Bhattacharyya(Divergence):
    """Bhattacharyya distance −log Σ √(pq), in [0, ∞]: half the Rényi divergence of order 1/2.

    Called as ``dkl.bhattacharyya(p, q, *, axis=-1, base=None, method=None)``; see :meth:`Divergence.__call__`.

    Infinite where P and Q share no outcome.

    References
    ----------
    .. [1] A. Bhattacharyya, "On a measure of divergence between two statistical populations …", Bulletin of the
       Calcutta Mathematical Society 35 (1943).

    Examples
    --------
    >>> import dkl
    >>> round(float(dkl.bhattacharyya([0.5, 0.5], [1.0, 0.0])), 12)
    0.34657359028
    """

    name: ClassVar[str] = "bhattacharyya"
    symbol: ClassVar[str] = "B(P, Q)"
    symmetric: ClassVar[bool] = True
    unit: ClassVar[str] = "nats"
    upper_bound: ClassVar[float] = math.inf
    edges: ClassVar[Edges] = Edges(1.0, 1.0)

    @property
    def core(self) -> Member | None:
        """That of Rényi's."""
        return Renyi(0.5).core

    def finish(self, xp: Namespace, total: Array, mass_p: Array, mass_q: Array) -> Array:
        """Half of Rényi's."""
        return 0.5 * Renyi(0.5).finish(xp, total, mass_p, mass_q)

    def total(self, pair: Pair) -> Array:
        """Half of Rényi's."""
        return 0.5 * Renyi(0.5).total(pair)


@dataclass(frozen=True, repr=False)
class Hellinger(Divergence):
    """Hellinger distance √(1 − Σ √(pq)) in [0, 1], a metric; its gradient at P = Q, where it has a kink, is given as 0.

    Examples
    --------
    >>> import dkl
    >>> float(dkl.hellinger([1.0, 0.0], [0.0, 1.0]))
    1.0
    """

    name: ClassVar[str] = "hellinger"
    symbol: ClassVar[str] = "H(P, Q)"
    symmetric: ClassVar[bool] = True
    metric_power: ClassVar[float | None] = 1.0
    upper_bound: ClassVar[float] = 1.0
    edges: ClassVar[Edges] = Edges(0.5, 0.5)

    @property
    def core(self) -> Member | None:
        """The squared distance."""
        return SquaredHellinger()

    def finish(self, xp: Namespace, total: Array, mass_p: Array, mass_q: Array) -> Array:
        """Its root."""
        return root(xp, total)

    def total(self, pair: Pair) -> Array:
        """The root of the squared distance."""
        return root(pair.xp, SquaredHellinger().total(pair))
