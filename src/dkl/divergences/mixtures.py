"""KL to a mixture of P and Q, and the Jensen-Shannon divergence made of two of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from dkl._array import Array, Namespace
from dkl.divergences.base import Edges, Member, label, real_parameter
from dkl.pairs import Outcomes


def _weight(value: float, one_allowed: bool) -> float:
    weight = real_parameter(value, "weight")
    if not (0 < weight < 1 or (one_allowed and weight == 1)):
        raise ValueError(f"weight = {weight:g} lies outside the domain, (0, 1{']' if one_allowed else ')'}")
    return weight


@dataclass(frozen=True)
class SkewKL(Member):
    """KL(P‖(1 − w)·P + w·Q): KL made finite by mixing a little of P into Q; KL itself at w = 1.

    Parameters
    ----------
    weight : float
        The share w of Q in the mixture, in (0, 1].

    References
    ----------
    .. [1] L. Lee, "Measures of distributional similarity", ACL (1999), whose α is this weight.

    Examples
    --------
    >>> import dkl
    >>> float(dkl.SkewKL(0.5)([1.0, 0.0], [0.0, 1.0]))  # doctest: +ELLIPSIS
    0.693147180559945...
    """

    weight: float
    direction: ClassVar[str] = "from P to the mixture: the mean of log(p/m) under P, the first argument"
    symmetric: ClassVar[bool] = False
    unit: ClassVar[str] = "nats"

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", _weight(self.weight, one_allowed=True))

    @property
    def name(self) -> str:
        """``skew_kl(weight)``."""
        return f"skew_kl({label(self.weight)})"

    @property
    def symbol(self) -> str:
        """KL(P‖M)."""
        return f"KL(P‖{1 - self.weight:g}P+{self.weight:g}Q)"

    @property
    def f_zero(self) -> float:
        """The weight."""
        return self.weight

    @property
    def slope_inf(self) -> float:
        """−log(1 − w) − w."""
        return math.inf if self.weight == 1 else -math.log1p(-self.weight) - self.weight

    @property
    def slopes(self) -> Edges:
        """At q = 0 the slope in q is v − v/(1 − v)."""
        w = self.weight
        return Edges(math.inf, math.inf if w == 1 else -w * w / (1 - w))

    def inside(self, shared: Outcomes) -> Array:
        """p·log(p/m) − p + m."""
        return shared.mixed(self.weight, 1 - self.weight).kl_terms

    def log_gradient(self, shared: Outcomes) -> tuple[Array, Array]:
        """p·log(p/m) + (1 − w)·p·(1 − p/m), and w·q·(1 − p/m)."""
        w = self.weight
        pair = shared.mixed(w, 1 - w)
        # With 1 − p/m as (m − p)/m, where each share of m is at most 1 and an underflow of both harmless.
        fall = -pair.difference / shared.xp.where(pair.q > 0, pair.q, 1.0)
        return shared.p * (pair.log_ratio + (1 - w) * fall), w * shared.q * fall

    def _conjugate(self, xp: Namespace, u: Array) -> Array:
        # At the supremum r = p/m solves log r − (1 − w)·r = u + w − 1, and f*(u) = w·(r − 1). Newton's method on the
        # concave left side in log r climbs to the smaller root from below; it is slow only at u = slope_inf.
        k, target = 1 - self.weight, u + (self.weight - 1)
        log_r = target
        for _ in range(60 if k else 0):
            grown = k * xp.exp(log_r)
            log_r = log_r + (target + grown - log_r) / xp.maximum(1 - grown, xp.full_like(grown, 1e-8))
        return self.weight * xp.expm1(log_r)


@dataclass(frozen=True, repr=False)
class JS(Member):
    """Jensen-Shannon divergence w·KL(P‖M) + (1 − w)·KL(Q‖M) with M = w·P + (1 − w)·Q.

    Parameters
    ----------
    weight : float
        The share w of P in the mixture, in (0, 1); 1/2 is the symmetric divergence, in [0, log 2].

    References
    ----------
    .. [1] J. Lin, "Divergence measures based on the Shannon entropy", IEEE Transactions on Information Theory 37
       (1991), eq. 4.1.
    .. [2] D. Endres, J. Schindelin, "A new metric for probability distributions", IEEE Transactions on Information
       Theory 49 (2003): √JS is a metric.

    Examples
    --------
    >>> import dkl
    >>> float(dkl.js([1.0, 0.0], [0.0, 1.0], base=2))
    1.0
    """

    weight: float = 0.5
    unit: ClassVar[str] = "nats"

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", _weight(self.weight, one_allowed=False))

    @property
    def symmetric(self) -> bool:
        """Only at weight 1/2."""
        return self.weight == 0.5

    @property
    def name(self) -> str:
        """``js`` or ``js(weight)``."""
        return "js" if self.symmetric else f"js({label(self.weight)})"

    @property
    def symbol(self) -> str:
        """JS(P, Q)."""
        return "JS(P, Q)" if self.symmetric else f"JS_{self.weight:g}(P, Q)"

    @property
    def direction(self) -> str:
        """Symmetric, or which share P has."""
        return "symmetric in P and Q" if self.symmetric else f"P has weight {self.weight:g} in the mixture"

    def __repr__(self) -> str:
        return "dkl.js" if self.symmetric else f"JS(weight={self.weight!r})"

    @property
    def metric_power(self) -> float | None:
        """√JS is a metric."""
        return 0.5 if self.symmetric else None

    @property
    def f_zero(self) -> float:
        """−(1 − w)·log(1 − w)."""
        return -(1 - self.weight) * math.log1p(-self.weight)

    @property
    def slope_inf(self) -> float:
        """−w·log w."""
        return -self.weight * math.log(self.weight)

    def inside(self, shared: Outcomes) -> Array:
        """w·(p·log(p/m) − p + m) + (1 − w)·(q·log(q/m) − q + m)."""
        w = self.weight
        if self.symmetric:
            return shared.js_terms
        return w * shared.mixed(1 - w, w).kl_terms + (1 - w) * shared.swapped.mixed(w, 1 - w).kl_terms

    def log_gradient(self, shared: Outcomes) -> tuple[Array, Array]:
        """w·p·log(p/m) and (1 − w)·q·log(q/m): the rest cancels."""
        w = self.weight
        return (
            w * (shared.p * shared.mixed(1 - w, w).log_ratio),
            (1 - w) * (shared.q * shared.swapped.mixed(w, 1 - w).log_ratio),
        )

    def _conjugate(self, xp: Namespace, u: Array) -> Array:
        # (1 − w)·log m with m = (1 − w)/(1 − w·exp(u/w)), the mixture's ratio to q at the supremum.
        w = self.weight
        share = w * xp.exp(u / w)
        below = share < 1
        log_m = math.log1p(-w) - xp.log1p(-xp.where(below, share, 0.0))
        return xp.where(below, (1 - w) * log_m, math.inf)
