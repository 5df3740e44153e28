"""The power family: everything that is a multiple of one integral, ∫ p^a q^(1−a), and its limits KL at a = 0 and 1.

References
----------
.. [1] T. Minka, "Divergence measures and message passing", Microsoft Research TR-2005-173 (2005).
.. [2] A. Cichocki, S. Amari, "Families of alpha- beta- and gamma-divergences", Entropy 12 (2010).
"""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dkl._array import Array, Namespace, epsilon
from dkl.divergences.base import Edges, Member, label, real_parameter
from dkl.pairs import Outcomes


def power_terms(o: Outcomes, a: float, b: float) -> Array:
    """q·f_a(p/q) with f_a(t) = (t^a − 1 − a·(t − 1)) / (a·(a − 1)), for every real order a.

    With L = log(p/q) this is q·L² times the second divided difference of exp at the nodes 0, a·L and L, which is
    continuous through a = 0, where it gives KL(Q‖P), and a = 1, KL(P‖Q). Nodes less than 1 apart take the Taylor
    series of the divided difference; nodes further apart take its recursion, sorted so that it cannot cancel.

    Both exponents are given, a of p and b = 1 − a of q: near an end, subtracting again would lose the small one.
    """
    if b == 0:
        return o.kl_terms
    if a < 0.5:
        return power_terms(o.swapped, b, a)
    xp = o.xp
    if not o.from_logs and a in (0.5, 2.0):
        # From probabilities the two simplest orders need no logarithm: (√p − √q)² and (p − q)²/q.
        if a == 2.0:
            return 0.5 * o.difference * (o.difference / o.q)
        return 2.0 * (o.difference / (xp.sqrt(o.p) + xp.sqrt(o.q))) ** 2
    L = o.log_ratio
    if a == 0.5:
        p_larger = L > 0  # and not |L|, whose slope at 0 some libraries call 0
        return 2.0 * xp.where(p_larger, o.p, o.q) * xp.expm1(0.5 * xp.where(p_larger, -L, L)) ** 2
    s = xp.abs(L)
    span = max(1.0, a)
    near = s * span < 1
    return xp.where(near, _power_near(o, a, span, near), _power_far(o, a, b, near))


def log_power(o: Outcomes, a: float) -> Array:
    """log(p^a q^(1−a)), from the side with the larger exponent, so that an order near 0 or 1 keeps its digits."""
    return o.log_p + (a - 1) * o.log_ratio if a >= 0.5 else o.log_q + a * o.log_ratio


def _power_near(o: Outcomes, a: float, span: float, near: Array) -> Array:
    # Σ_k h_k(0, aL, L) / (k + 2)!, with h_k the complete homogeneous polynomial, L^k · (1 + a + … + a^k).
    xp = o.xp
    y = span * o.xp.where(near, o.log_ratio, 0.0)
    eps = epsilon(xp, y.dtype)
    coefficients, homogeneous, k = [0.5], 1.0, 0
    # h_k is at most k + 1: the number of terms depends on the dtype alone, whatever the order.
    while 2 * (k + 1) / math.factorial(k + 2) > eps / 4:
        k += 1
        homogeneous = homogeneous / span + (a / span) ** k
        coefficients.append(homogeneous / math.factorial(k + 2))
    series = coefficients[-1] + 0.0 * y
    for coefficient in reversed(coefficients[:-1]):
        series = series * y + coefficient
    return o.q * (y / span) ** 2 * series


def _power_far(o: Outcomes, a: float, b: float, near: Array) -> Array:
    xp = o.xp
    L = xp.where(near, 1.0, o.log_ratio)
    s = xp.abs(L)
    exponent = xp.where(near, 0.0, o.log_p - b * L)
    # A term that leaves the floating range is infinite, and like every infinite term has gradient 0.
    overflow = exponent > math.log(float(xp.finfo(s.dtype).max))
    power = xp.exp(xp.where(overflow, 0.0, exponent))
    p_larger = L > 0
    # The highest and the middle node, and the gaps from p to the power and from the power (or from p) to q.
    if a < 1:
        high, middle = xp.where(p_larger, o.p, o.q), power
        first, second = _fall(xp, s, b), _fall(xp, s, a)
    else:
        high, middle = xp.where(p_larger, power, o.q), o.p
        first, second = _fall(xp, s, -b), _fall(xp, s, 1.0)
    above, below = xp.where(p_larger, first, second), xp.where(p_larger, second, first)
    return xp.where(overflow, math.inf, (high * above - middle * below) / max(1.0, a))


def _fall(xp: Namespace, s: Array, rate: float) -> Array:
    """(1 − exp(−rate·s))/rate, the integral of exp(−rate·x) over [0, s]."""
    return -xp.expm1(-rate * s) / rate


def power_log_gradient(o: Outcomes, a: float, b: float) -> tuple[Array, Array]:
    """The derivatives of ``power_terms`` with respect to log p and log q.

    They are p·(t^(a−1) − 1)/(a − 1) and −q·(t^a − 1)/a with t = p/q, and their limits p·L at a = 1 and −q·L at a = 0.
    """
    if a < 0.5:
        in_q, in_p = power_log_gradient(o.swapped, b, a)
        return in_p, in_q
    xp, L = o.xp, o.log_ratio
    if b == 0:
        return o.p * L, -o.difference
    if not o.from_logs and a in (0.5, 2.0):
        if a == 2.0:
            ratio = o.difference / o.q
            return o.p * ratio, -0.5 * o.difference * (2.0 + ratio)
        root_p, root_q = xp.sqrt(o.p), xp.sqrt(o.q)
        apart = 2.0 * o.difference / (root_p + root_q)
        return root_p * apart, -root_q * apart
    exponent = o.log_p - b * L
    overflow = exponent > math.log(float(xp.finfo(L.dtype).max))
    power = xp.exp(xp.where(overflow, 0.0, exponent))

    def rise(base: Array, rate: float) -> Array:
        near = xp.abs(rate * L) < 1
        return xp.where(near, base * xp.expm1(xp.where(near, rate * L, 0.0)), power - base) / rate

    return xp.where(overflow, 0.0, rise(o.p, -b)), xp.where(overflow, 0.0, -rise(o.q, a))


class Power(Member, ABC):
    """A multiple of Σ q·f_a(p/q), which is (∫ p^a q^(1−a) − 1) / (a·(a − 1)) and its limits KL at a = 0 and a = 1.

    Its conjugate is ((1 + (a − 1)·u)^(a/(a−1)) − 1)/a, with exp(u) − 1 at a = 1 and −log(1 − u) at a = 0.
    """

    if TYPE_CHECKING:

        @property
        def order(self) -> float:
            """The order a: the exponent of p."""

    @property
    def scale(self) -> float:
        """The multiple."""
        return 1.0

    @property
    def symmetric(self) -> bool:
        """Only at order 1/2."""
        return self.order == 0.5

    @property
    def unit(self) -> str:
        """Nats in the limits of order 0 and 1, where the divergence is a KL."""
        return "nats" if self.order in (0.0, 1.0) else ""

    @property
    def f_zero(self) -> float:
        """scale/a for a > 0, else inf."""
        return self.scale / self.order if self.order > 0 else math.inf

    @property
    def slope_inf(self) -> float:
        """scale/(1 − a) for a < 1, else inf."""
        return self.scale / (1 - self.order) if self.order < 1 else math.inf

    @property
    def slopes(self) -> Edges:
        """f'(0) is finite for a > 1, and its mirror image for a < 0."""
        a = self.order
        return Edges(self.scale / (1 - a) if a > 1 else math.inf, self.scale / a if a < 0 else math.inf)

    def inside(self, shared: Outcomes) -> Array:
        """The terms of the power integral, scaled."""
        terms = power_terms(shared, self.order, 1 - self.order)
        return terms if self.scale == 1 else self.scale * terms

    def log_gradient(self, shared: Outcomes) -> tuple[Array, Array]:
        """Of the power integral, scaled."""
        in_p, in_q = power_log_gradient(shared, self.order, 1 - self.order)
        return (in_p, in_q) if self.scale == 1 else (self.scale * in_p, self.scale * in_q)

    def _conjugate(self, xp: Namespace, u: Array) -> Array:
        if self.scale == 0:  # Tsallis of order 0: f is 1 at t = 0 and 0 elsewhere
            return 0.0 * u
        a, v = self.order, u / self.scale
        if a == 1:
            return self.scale * xp.expm1(v)
        base = xp.maximum((a - 1) * v, xp.full_like(v, -1.0))  # 1 + base = t^(a−1) at the supremum; t = 0 below
        edge = base <= -1
        log_t = xp.log1p(xp.where(edge, 0.0, base)) / (a - 1)
        inner = log_t if a == 0 else xp.expm1(a * log_t) / a
        at_edge = math.inf if 0 <= a < 1 else -1 / a
        return self.scale * xp.where(edge, at_edge, inner)


@dataclass(frozen=True, repr=False)
class KL(Power):
    """Kullback-Leibler divergence Σ p·log(p/q), in [0, ∞]: what it costs to believe Q where P is true.

    Called as ``dkl.kl(p, q, *, axis=-1, base=None, method=None)``; see :meth:`Divergence.__call__`.

    Infinite where q = 0 < p; its terms are p·log(p/q) − p + q ≥ 0. The gradient at p = 0 is given as 0.

    References
    ----------
    .. [1] S. Kullback, R. Leibler, "On information and sufficiency", Annals of Mathematical Statistics 22
       (1951), eq. 2.4.

    Examples
    --------
    >>> import dkl
    >>> float(dkl.kl([0.9, 0.1], [0.5, 0.5]))
    0.3680642071684971
    """

    name: ClassVar[str] = "kl"
    symbol: ClassVar[str] = "KL(P‖Q)"
    direction: ClassVar[str] = "from P to Q: the mean of log(p/q) under P, the first argument"
    order: ClassVar[float] = 1.0


@dataclass(frozen=True, repr=False)
class ReverseKL(Power):
    """KL(Q‖P), in [0, ∞]: the Kullback-Leibler divergence with the arguments exchanged.

    Called as ``dkl.reverse_kl(p, q, *, axis=-1, base=None, method=None)``; see :meth:`Divergence.__call__`.

    Infinite where p = 0 < q.

    References
    ----------
    .. [1] S. Kullback, R. Leibler, "On information and sufficiency", Annals of Mathematical Statistics 22
       (1951), eq. 2.5.

    Examples
    --------
    >>> import dkl
    >>> float(dkl.reverse_kl([0.9, 0.1], [0.5, 0.5]))  # doctest: +ELLIPSIS
    0.510825623765990...
    """

    name: ClassVar[str] = "reverse_kl"
    symbol: ClassVar[str] = "KL(Q‖P)"
    direction: ClassVar[str] = "from Q to P: the mean of log(q/p) under Q, the second argument"
    order: ClassVar[float] = 0.0


@dataclass(frozen=True, repr=False)
class Chi2(Power):
    """Pearson's χ², Σ (p − q)²/q, in [0, ∞]: a pure number.

    Called as ``dkl.chi2(p, q, *, axis=-1, base=None, method=None)``; see :meth:`Divergence.__call__`.

    Infinite where q = 0 < p. One more than the second moment of p/q under Q.

    References
    ----------
    .. [1] K. Pearson, "On the criterion that a given system of deviations …", Philosophical Magazine 50 (1900).

    Examples
    --------
    >>> import dkl
    >>> float(dkl.chi2([0.5, 0.5], [0.25, 0.75]))  # doctest: +ELLIPSIS
    0.333333333333333...
    """

    name: ClassVar[str] = "chi2"
    symbol: ClassVar[str] = "χ²(P‖Q)"
    direction: ClassVar[str] = "of P against the reference Q, which divides"
    order: ClassVar[float] = 2.0
    scale: ClassVar[float] = 2.0


@dataclass(frozen=True, repr=False)
class NeymanChi2(Power):
    """Neyman's χ², Σ (p − q)²/p, in [0, ∞]: Pearson's with the arguments exchanged.

    Called as ``dkl.neyman_chi2(p, q, *, axis=-1, base=None, method=None)``; see :meth:`Divergence.__call__`.

    Infinite where p = 0 < q.

    References
    ----------
    .. [1] J. Neyman, "Contribution to the theory of the χ² test", Berkeley Symposium (1949).

    Examples
    --------
    >>> import dkl
    >>> round(float(dkl.neyman_chi2([0.5, 0.5], [0.25, 0.75])), 12)
    0.25
    """

    name: ClassVar[str] = "neyman_chi2"
    symbol: ClassVar[str] = "χ²(Q‖P)"
    direction: ClassVar[str] = "of Q against the reference P, which divides"
    order: ClassVar[float] = -1.0
    scale: ClassVar[float] = 2.0


@dataclass(frozen=True, repr=False)
class SquaredHellinger(Power):
    """Squared Hellinger distance ½ Σ (√p − √q)² = 1 − Σ √(pq), in [0, 1].

    Called as ``dkl.squared_hellinger(p, q, *, axis=-1, base=None, method=None)``; see :meth:`Divergence.__call__`.

    References
    ----------
    .. [1] E. Hellinger, "Neue Begründung der Theorie quadratischer Formen …", Crelle's Journal 136 (1909).

    Examples
    --------
    >>> import dkl
    >>> float(dkl.squared_hellinger([1.0, 0.0], [0.0, 1.0]))
    1.0
    """

    name: ClassVar[str] = "squared_hellinger"
    symbol: ClassVar[str] = "H²(P, Q)"
    order: ClassVar[float] = 0.5
    scale: ClassVar[float] = 0.25
    metric_power: ClassVar[float | None] = 0.5


@dataclass(frozen=True)
class Tsallis(Power):
    """Tsallis relative entropy (∫ p^a q^(1−a) − 1)/(a − 1); KL(P‖Q) at order 1.

    Parameters
    ----------
    order : float
        a ≥ 0, finite. Order 0 is Q's mass outside P's support.

    Examples
    --------
    >>> import dkl
    >>> float(dkl.Tsallis(2)([0.5, 0.5], [0.25, 0.75])) == float(dkl.chi2([0.5, 0.5], [0.25, 0.75]))
    True
    """

    order: float
    direction: ClassVar[str] = "of P relative to Q"

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", real_parameter(self.order, "order", 0.0))
        if math.isinf(self.order):
            raise ValueError("order = inf lies outside the domain of a Tsallis divergence, [0, ∞)")

    @property
    def name(self) -> str:
        """``tsallis(order)``."""
        return f"tsallis({label(self.order)})"

    @property
    def symbol(self) -> str:
        """Tₐ(P‖Q)."""
        return f"T_{self.order:g}(P‖Q)"

    @property
    def scale(self) -> float:
        """The order itself."""
        return self.order

    @property
    def f_zero(self) -> float:
        """1 at every order."""
        return 1.0

    @property
    def unit(self) -> str:
        """Nats at order 1, where it is KL."""
        return "nats" if self.order == 1 else ""


#: Minka's α from each convention's own parameter. Sources: minka [1]; amari: S. Amari, Information Geometry and Its
#: Applications (2016), where the exponents of p and q are (1 − α)/2 and (1 + α)/2; renyi_order: the exponent of p, as
#: in Rényi's divergence; tfp: tfp.vi.amari_alpha, whose D_f[p, q] is E_q f(p/q); pyro: pyro.infer.RenyiELBO, whose α is
#: the exponent of the variational q (Li and Turner, "Rényi divergence variational inference", 2016).
ALPHA_CONVENTIONS: dict[str, Callable[[float], float]] = {
    "minka": lambda alpha: alpha,
    "amari": lambda alpha: (1 - alpha) / 2,
    "renyi_order": lambda alpha: alpha,
    "tfp": lambda alpha: alpha,
    "pyro": lambda alpha: 1 - alpha,
}


@dataclass(frozen=True)
class Alpha(Power):
    """Minka's α-divergence, (1 − ∫ p^α q^(1−α)) / (α·(1 − α)).

    α → 1 is KL(P‖Q), α → 0 is KL(Q‖P), α = 1/2 four times the squared Hellinger distance, α = 2 half of χ².

    Parameters
    ----------
    alpha : float
        Any real number, read by ``convention``.
    convention : {"minka", "amari", "renyi_order", "tfp", "pyro"}
        Whose α it is. The divergence is the same; only its parameter is translated.

    Examples
    --------
    >>> import dkl
    >>> p, q = [0.5, 0.5], [0.25, 0.75]
    >>> dkl.Alpha(-1, "amari")(p, q) == dkl.Alpha(1)(p, q) == dkl.kl(p, q)
    np.True_
    """

    alpha: float
    convention: str = "minka"
    direction: ClassVar[str] = "of P relative to Q, towards KL(P‖Q) as α → 1 and KL(Q‖P) as α → 0"

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", real_parameter(self.alpha, "alpha"))
        if math.isinf(self.alpha):
            raise ValueError(f"alpha = {self.alpha} must be finite")
        if self.convention not in ALPHA_CONVENTIONS:
            known = ", ".join(map(repr, ALPHA_CONVENTIONS))
            raise ValueError(f"convention = {self.convention!r} is not one of {known}")

    @property
    def order(self) -> float:
        """The exponent of p: Minka's α."""
        return ALPHA_CONVENTIONS[self.convention](self.alpha)

    @property
    def name(self) -> str:
        """``alpha(α)`` in Minka's convention."""
        return f"alpha({label(self.order)})"

    @property
    def symbol(self) -> str:
        """D_α(P‖Q)."""
        return f"D_α={self.order:g}(P‖Q)"
