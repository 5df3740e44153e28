"""The family: each divergence defined once, by what it does to a single outcome.

An f-divergence is D_f(P‖Q) = Σ q·f(p/q), with f convex and f(1) = 0; every member here is written so that f'(1) = 0
too, which makes each term non-negative and leaves the sum unchanged for normalised P and Q. Its terms come from the
:class:`dkl.pairs.Outcomes` of a pair (p, q, p − q, log(p/q)), in a form that does not cancel where P and Q nearly agree. Two limits say
what happens at the edge of the supports: an outcome with p = 0 < q adds q·f(0), one with q = 0 < p adds
p·lim f(t)/t. All the rest (representations, batches, gradients, tests, plots) follows.

Rényi, Tsallis, α, Hellinger, Bhattacharyya and both χ² are functions of one integral, ∫ p^a q^(1−a): :class:`Power`.

References
----------
.. [1] I. Csiszár, "Information-type measures of difference of probability distributions and indirect observations",
   Studia Scientiarum Mathematicarum Hungarica 2 (1967).
.. [2] F. Liese, I. Vajda, "On divergences and informations in statistics and information theory", IEEE Transactions on
   Information Theory 52 (2006).
.. [3] T. van Erven, P. Harremoës, "Rényi divergence and Kullback-Leibler divergence", IEEE Transactions on Information
   Theory 60 (2014).
.. [4] T. Minka, "Divergence measures and message passing", Microsoft Research TR-2005-173 (2005).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from dkl import pairs, rules
from dkl._array import Array, Namespace, as_array, epsilon, expm1_minus, logsumexp, namespace_of, overflowing, real_floating, root, tree_sum
from dkl.pairs import Outcomes, Pair
from dkl.representations import Axis, FiniteOutcomes, interpret, outcome_pair


class Edges(NamedTuple):
    """Two numbers about the edges of the supports: where P is 0, and where Q is 0."""

    p_zero: float
    q_zero: float


class Divergence(ABC):
    """How far Q is from P, as one number that is 0 if and only if they are equal.

    Members are called like functions, on any representation of the pair.
    """

    #: The name under which rules and reports know it.
    name: str
    #: Whether D(P, Q) = D(Q, P).
    symmetric: bool
    #: How the divergence is written, such as ``"KL(P‖Q)"``.
    symbol: str
    #: Which way it points, in words.
    direction: str = "symmetric in P and Q"
    #: ``"nats"`` for a member made of logarithms, which ``base`` can rescale; ``""`` for a pure number.
    unit: str = ""
    #: The largest power r for which Dʳ is a metric, or None where none is known.
    metric_power: float | None = None

    @property
    @abstractmethod
    def upper_bound(self) -> float:
        """The least upper bound over all pairs, in nats where there is a unit; inf if there is none."""

    @property
    @abstractmethod
    def edges(self) -> Edges:
        """What a unit of mass adds where P has none, and where Q has none; inf if it alone makes D infinite."""

    @abstractmethod
    def total(self, pair: Pair) -> Array:
        """The divergence of a pair laid out by :mod:`dkl.pairs`, one number for each row."""

    def __repr__(self) -> str:
        return f"dkl.{self.name}"

    def __call__(
        self, p: Any, q: Any, *, axis: Axis = -1, base: float | None = None, method: str | None = None
    ) -> Any:
        """Measure the divergence between P and Q.

        Parameters
        ----------
        p, q : array_like or representation
            A raw array holds probabilities; ``dkl.LogProbs``, ``dkl.Logits`` and ``dkl.Counts`` wrap anything else. Shapes
            broadcast as in NumPy; both must list the same outcomes.
        axis : int, tuple of int, or None
            The axis of outcomes; None for all of them.
        base : float, optional
            The base of the logarithm: 2 for bits. Nats by default. Only for members with a unit.
        method : str, optional
            Force one of ``dkl.rules.METHODS`` instead of the first that fits.

        Returns
        -------
        array or scalar
            Of the inputs' own array library, shape of the broadcast pair without ``axis``, never negative, differentiable
            by that library. float16 and bfloat16 come back as float32, integers as the default float.

        Raises
        ------
        ValueError
            For an entry or row that is not what its wrapper says (not checked inside jax.jit, torch.compile and vmap,
            where values cannot be seen), shapes that do not broadcast, an axis that does not exist, a bad base.
        TypeError
            For objects that are not numbers, arrays of two libraries, or a pair that no rule measures.

        Notes
        -----
        O(outcomes) time and memory. Gradients with respect to an entry are those of the sum Σ q·f(p/q) with f'(1) = 0. They
        are returned as 0 where the true one is infinite (an entry at zero, for most members) and where an infinite
        term does not depend on it. They differ from those of a form with another f'(1) by a constant across the
        outcomes, which no change that keeps the sum at 1 can see.
        """
        return rules.evaluate(self, p, q, axis=axis, base=base, method=method).value


class Csiszar(Divergence, ABC):
    """An f-divergence, Σ q·f(p/q)."""

    #: The generator, convex with f(1) = 0, elementwise on any array of t = p/q ≥ 0.
    f: Callable[[Any], Any]
    #: f(0).
    f_zero: float
    #: lim f(t)/t for t → ∞.
    slope_inf: float
    #: The convex conjugate f*(u) = sup over t ≥ 0 of u·t − f(t), elementwise; inf beyond ``slope_inf``.
    conjugate: Callable[[Any], Any]
    #: The gradient of a term with respect to the probability that is 0, where P is and where Q is; inf if infinite.
    slopes: Edges = Edges(math.inf, math.inf)

    @abstractmethod
    def inside(self, shared: Outcomes) -> Array:
        """q·f(p/q) for outcomes with p > 0 and q > 0."""

    @property
    def edges(self) -> Edges:
        """f(0) and lim f(t)/t."""
        return Edges(self.f_zero, self.slope_inf)

    @property
    def upper_bound(self) -> float:
        """f(0) + lim f(t)/t, reached by P and Q that share no outcome ([2], Theorem 5)."""
        return self.f_zero + self.slope_inf

    def terms(self, pair: Pair) -> Array:
        """q·f(p/q) for every outcome of a pair."""
        return pair.assemble(
            self.inside(pair.shared), (self.f_zero, self.slopes.p_zero), (self.slope_inf, self.slopes.q_zero)
        )

    def total(self, pair: Pair) -> Array:
        """The sum of the terms along the last axis."""
        return tree_sum(pair.xp, self.terms(pair))

    @overflowing
    def pointwise(self, p: Any, q: Any, *, axis: Axis = -1) -> Any:
        """The terms of the sum, q·f(p/q), one for each outcome.

        Parameters
        ----------
        p, q, axis
            As in calling the divergence; the pair must be over finitely many outcomes.

        Returns
        -------
        array
            Shape of the broadcast pair; non-negative; their sum along ``axis`` is the divergence, in nats where it has a
            unit. For ``dkl.kl`` a term is p·log(p/q) − p + q.

        Examples
        --------
        >>> import dkl
        >>> dkl.tv.pointwise([0.5, 0.5], [0.25, 0.75])
        array([0.125, 0.125])
        """
        left, right = interpret(p), interpret(q)
        for name, side in (("p", left), ("q", right)):
            if not isinstance(side, FiniteOutcomes):
                raise TypeError(f"{name} is a {type(side).__name__}, which has no list of outcomes to take terms of")
        pair, layout = outcome_pair(left, right, axis)  # type: ignore[arg-type]
        return layout.scatter(pair.xp, self.terms(pair))


class Member(Csiszar, ABC):
    """An f-divergence of the house, whose generator and conjugate follow from its terms and its formula."""

    @overflowing
    def f(self, t: Any) -> Any:
        """The generator f(t) at t = p/q ≥ 0, with f(1) = f'(1) = 0; elementwise."""
        xp = namespace_of(t=t)
        (t,) = real_floating(xp, as_array(xp, t, "t"))
        return self.terms(pairs.from_probabilities(xp, t, xp.ones_like(t)))

    @overflowing
    def conjugate(self, u: Any) -> Any:
        """The convex conjugate sup over t ≥ 0 of u·t − f(t); elementwise, inf where it has no finite value."""
        xp = namespace_of(u=u)
        (u,) = real_floating(xp, as_array(xp, u, "u"))
        finite = u <= self.slope_inf
        return xp.where(finite, self._conjugate(xp, xp.where(finite, u, 0.0)), math.inf)

    @abstractmethod
    def _conjugate(self, xp: Namespace, u: Array) -> Array:
        """The conjugate for u ≤ slope_inf."""


# ------------------------------------------------------------------------------------- the power family: ∫ p^a q^(1−a)


def power_terms(o: Outcomes, a: float) -> Array:
    """q·f_a(p/q) with f_a(t) = (t^a − 1 − a·(t − 1)) / (a·(a − 1)), for every real order a.

    With L = log(p/q) this is q·L² times the second divided difference of exp at the nodes 0, a·L and L, which is
    continuous through a = 0, where it gives KL(Q‖P), and a = 1, KL(P‖Q). Nodes less than 1 apart take the Taylor
    series of the divided difference; nodes further apart take its recursion, sorted so that it cannot cancel.
    """
    if a == 1:
        return _kl_terms(o.xp, o.p, o.q, o.log_ratio)
    if a < 0.5:
        return power_terms(o.swapped, 1 - a)
    xp, L = o.xp, o.log_ratio
    s = xp.abs(L)
    if a == 0.5:
        return 2.0 * xp.where(L > 0, o.p, o.q) * xp.expm1(-0.5 * s) ** 2
    span = max(1.0, a)
    near = s * span < 1
    return xp.where(near, _power_near(o, a, span, near), _power_far(o, a, span, near))


def _power_near(o: Outcomes, a: float, span: float, near: Array) -> Array:
    # Σ_k h_k(0, aL, L) / (k + 2)!, with h_k the complete homogeneous polynomial, L^k · (1 + a + … + a^k).
    xp = o.xp
    y = span * o.xp.where(near, o.log_ratio, 0.0)
    eps = epsilon(xp, y.dtype)
    coefficients, homogeneous, k = [0.5], 1.0, 0
    while 2 * coefficients[-1] > eps / 4:
        k += 1
        homogeneous = homogeneous / span + (a / span) ** k
        coefficients.append(homogeneous / math.factorial(k + 2))
    series = coefficients[-1] + 0.0 * y
    for coefficient in reversed(coefficients[:-1]):
        series = series * y + coefficient
    return o.q * (y / span) ** 2 * series


def _power_far(o: Outcomes, a: float, span: float, near: Array) -> Array:
    xp = o.xp
    L = xp.where(near, 1.0, o.log_ratio)
    s = xp.abs(L)
    power = xp.exp(xp.where(near, 0.0, o.log_q + a * L))
    p_larger = L > 0
    if a < 1:
        high, middle = xp.where(p_larger, o.p, o.q), power
        above, below = xp.where(p_larger, 1 - a, a) * s, xp.where(p_larger, a, 1 - a) * s
    else:
        high, middle = xp.where(p_larger, power, o.q), o.p
        above, below = xp.where(p_larger, a - 1, 1.0) * s, xp.where(p_larger, 1.0, a - 1) * s
    return s / span * (high * _mean_decay(xp, above) - middle * _mean_decay(xp, below))


def _mean_decay(xp: Namespace, gap: Array) -> Array:
    """(1 − exp(−g))/g, the mean of exp(−x) over [0, g]."""
    positive = gap > 0
    g = xp.where(positive, gap, 1.0)
    return xp.where(positive, -xp.expm1(-g) / g, 1.0)


def _kl_terms(xp: Namespace, p: Array, r: Array, log_ratio: Array) -> Array:
    """p·log(p/r) − p + r = p·(exp(u) − 1 − u) with u = log(r/p)."""
    near = log_ratio > -1
    u = -xp.where(near, log_ratio, 0.0)
    return xp.where(near, p * expm1_minus(xp, u), (r - p) + p * xp.where(near, 0.0, log_ratio))


class Power(Member, ABC):
    """A multiple of Σ q·f_a(p/q), which is (∫ p^a q^(1−a) − 1) / (a·(a − 1)) and its limits KL at a = 0 and a = 1.

    Its conjugate is ((1 + (a − 1)·u)^(a/(a−1)) − 1)/a, with exp(u) − 1 at a = 1 and −log(1 − u) at a = 0.
    """

    #: The order a: the exponent of p.
    order: float
    #: The multiple.
    scale: float = 1.0

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
        return Edges(
            self.scale / (1 - a) if a > 1 else math.inf, self.scale / a if a < 0 else math.inf
        )

    def inside(self, shared: Outcomes) -> Array:
        """The terms of the power integral, scaled."""
        terms = power_terms(shared, self.order)
        return terms if self.scale == 1 else self.scale * terms

    def _conjugate(self, xp: Namespace, u: Array) -> Array:
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
    """Kullback-Leibler divergence Σ p·log(p/q): what it costs to believe Q where P is true."""

    name: ClassVar[str] = "kl"
    symbol: ClassVar[str] = "KL(P‖Q)"
    direction: ClassVar[str] = "from P to Q: the mean of log(p/q) under P, the first argument"
    order: ClassVar[float] = 1.0


@dataclass(frozen=True, repr=False)
class ReverseKL(Power):
    """KL(Q‖P): the Kullback-Leibler divergence with the arguments exchanged."""

    name: ClassVar[str] = "reverse_kl"
    symbol: ClassVar[str] = "KL(Q‖P)"
    direction: ClassVar[str] = "from Q to P: the mean of log(q/p) under Q, the second argument"
    order: ClassVar[float] = 0.0


@dataclass(frozen=True, repr=False)
class Chi2(Power):
    """Pearson's χ², Σ (p − q)²/q."""

    name: ClassVar[str] = "chi2"
    symbol: ClassVar[str] = "χ²(P‖Q)"
    direction: ClassVar[str] = "of P against the reference Q, which divides"
    order: ClassVar[float] = 2.0
    scale: ClassVar[float] = 2.0


@dataclass(frozen=True, repr=False)
class NeymanChi2(Power):
    """Neyman's χ², Σ (p − q)²/p: Pearson's with the arguments exchanged."""

    name: ClassVar[str] = "neyman_chi2"
    symbol: ClassVar[str] = "χ²(Q‖P)"
    direction: ClassVar[str] = "of Q against the reference P, which divides"
    order: ClassVar[float] = -1.0
    scale: ClassVar[float] = 2.0


@dataclass(frozen=True, repr=False)
class SquaredHellinger(Power):
    """Squared Hellinger distance ½ Σ (√p − √q)² = 1 − Σ √(pq), in [0, 1]."""

    name: ClassVar[str] = "squared_hellinger"
    symbol: ClassVar[str] = "H²(P, Q)"
    order: ClassVar[float] = 0.5
    scale: ClassVar[float] = 0.25
    metric_power: ClassVar[float | None] = 0.5


def _order(value: float, name: str, low: float) -> float:
    """A real parameter of a member, checked."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    if not value >= low:
        raise ValueError(f"{name} = {value} lies outside the domain, [{low:g}, ∞]")
    return float(value)


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
        object.__setattr__(self, "order", _order(self.order, "order", 0.0))
        if math.isinf(self.order):
            raise ValueError("order = inf lies outside the domain of a Tsallis divergence, [0, ∞)")

    @property
    def name(self) -> str:
        """``tsallis(order)``."""
        return f"tsallis({self.order:g})"

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


#: Minka's α from each convention's own parameter. Sources: minka [4]; amari: S. Amari, Information Geometry and Its
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
        object.__setattr__(self, "alpha", _order(self.alpha, "alpha", -math.inf))
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
        return f"alpha({self.order:g})"

    @property
    def symbol(self) -> str:
        """D_α(P‖Q)."""
        return f"D_α={self.order:g}(P‖Q)"


# ------------------------------------------------------------------------------------------- mixtures of P and Q


def _log_mixture(xp: Namespace, log_ratio: Array, weight: float) -> Array:
    """log(weight·p/q + 1 − weight) from log(p/q), for a weight in (0, 1]."""
    if weight == 1:
        return log_ratio
    near = xp.abs(log_ratio) < 1
    close = xp.log1p(weight * xp.expm1(xp.where(near, log_ratio, 0.0)))
    # Further out, the larger of the two exponentials is taken out of the sum.
    L = xp.where(near, 1.0, log_ratio)
    rising = L > 0
    share = xp.where(rising, weight, 1 - weight)
    far = xp.where(rising, L, 0.0) + xp.log(share + (1 - share) * xp.exp(-xp.abs(L)))
    return xp.where(near, close, far)


def _skew_terms(o: Outcomes, weight: float) -> Array:
    """The terms of KL(P‖M) with M = (1 − weight)·P + weight·Q."""
    mixture = (1 - weight) * o.p + weight * o.q
    return _kl_terms(o.xp, o.p, mixture, -_log_mixture(o.xp, -o.log_ratio, weight))


def _weight(value: float, one_allowed: bool) -> float:
    weight = _order(value, "weight", 0.0)
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
        return f"skew_kl({self.weight:g})"

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
        return _skew_terms(shared, self.weight)

    def _conjugate(self, xp: Namespace, u: Array) -> Array:
        # At the supremum r = p/m solves log r − (1 − w)·r = u + w − 1, and f*(u) = w·(r − 1). Newton's method on the
        # concave left side in log r climbs to the smaller root from below; it is slow only at u = slope_inf.
        k, target = 1 - self.weight, u + (self.weight - 1)
        log_r = target
        for _ in range(60 if k else 0):
            grown = k * xp.exp(log_r)
            log_r = log_r + (target + grown - log_r) / xp.maximum(1 - grown, xp.full_like(grown, 1e-8))
        return self.weight * xp.expm1(log_r)


@dataclass(frozen=True)
class JS(Member):
    """Jensen-Shannon divergence w·KL(P‖M) + (1 − w)·KL(Q‖M) with M = w·P + (1 − w)·Q.

    Parameters
    ----------
    weight : float
        The share w of P in the mixture, in (0, 1); 1/2 is the symmetric divergence, in [0, log 2].

    References
    ----------
    .. [1] J. Lin, "Divergence measures based on the Shannon entropy", IEEE Transactions on Information Theory 37 (1991),
       eq. 4.1.
    .. [2] D. Endres, J. Schindelin, "A new metric for probability distributions", IEEE Transactions on Information Theory
       49 (2003): √JS is a metric.

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
        return "js" if self.symmetric else f"js({self.weight:g})"

    @property
    def symbol(self) -> str:
        """JS(P, Q)."""
        return "JS(P, Q)" if self.symmetric else f"JS_{self.weight:g}(P, Q)"

    @property
    def direction(self) -> str:
        """Symmetric, or which share P has."""
        return "symmetric in P and Q" if self.symmetric else f"P has weight {self.weight:g} in the mixture"

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
        return w * _skew_terms(shared, 1 - w) + (1 - w) * _skew_terms(shared.swapped, w)

    def _conjugate(self, xp: Namespace, u: Array) -> Array:
        # (1 − w)·log m with m = (1 − w)/(1 − w·exp(u/w)), the mixture's ratio to q at the supremum.
        w = self.weight
        share = w * xp.exp(u / w)
        below = share < 1
        log_m = math.log1p(-w) - xp.log1p(-xp.where(below, share, 0.0))
        return xp.where(below, (1 - w) * log_m, math.inf)


# ------------------------------------------------------------------------------------------------ other f-divergences


@dataclass(frozen=True, repr=False)
class Jeffreys(Member):
    """Jeffreys' divergence KL(P‖Q) + KL(Q‖P) = Σ (p − q)·log(p/q)."""

    name: ClassVar[str] = "jeffreys"
    symbol: ClassVar[str] = "J(P, Q)"
    symmetric: ClassVar[bool] = True
    unit: ClassVar[str] = "nats"
    f_zero: ClassVar[float] = math.inf
    slope_inf: ClassVar[float] = math.inf

    def inside(self, shared: Outcomes) -> Array:
        """(p − q)·log(p/q)."""
        return shared.difference * shared.log_ratio

    def _conjugate(self, xp: Namespace, u: Array) -> Array:
        # At the supremum 1/t = W solves W + log W = 1 − u, and f*(u) = W + 1/W + u − 2. Newton on the convex left side
        # in log W comes down to the root from above.
        target = 1 - u
        log_w = xp.where(target > 1, xp.log(xp.where(target > 1, target, 1.0)), target)
        for _ in range(12):
            w = xp.exp(log_w)
            log_w = log_w - (log_w + w - target) / (1 + w)
        return xp.expm1(log_w) + xp.expm1(-log_w) + u


@dataclass(frozen=True, repr=False)
class TotalVariation(Member):
    """Total variation distance ½ Σ |p − q| in [0, 1]: the largest difference in probability of any event."""

    name: ClassVar[str] = "tv"
    symbol: ClassVar[str] = "TV(P, Q)"
    symmetric: ClassVar[bool] = True
    metric_power: ClassVar[float | None] = 1.0
    f_zero: ClassVar[float] = 0.5
    slope_inf: ClassVar[float] = 0.5
    slopes: ClassVar[Edges] = Edges(-0.5, -0.5)

    def inside(self, shared: Outcomes) -> Array:
        """|p − q|/2."""
        return 0.5 * shared.xp.abs(shared.difference)

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
        """(p − q)·tanh(½ log(p/q)), since (p − q)/(p + q) is that tanh."""
        return shared.difference * shared.xp.tanh(0.5 * shared.log_ratio)

    def _conjugate(self, xp: Namespace, u: Array) -> Array:
        inner = xp.maximum(u, xp.full_like(u, -3.0))
        return xp.where(u < -3, -1.0, 4 - inner - 4 * xp.sqrt(1 - inner))


@dataclass(frozen=True)
class FDivergence(Csiszar):
    """Anybody's own f-divergence Σ q·f(p/q).

    Parameters
    ----------
    name : str
        What reports call it.
    f : callable
        The generator: convex on t > 0 with f(1) = 0, elementwise on arrays of the library it is used with. Write it with
        f'(1) = 0 (add a multiple of t − 1) if its terms are to be non-negative one by one.
    f_zero : float
        lim f(t) for t → 0; inf if there is none. Mandatory: without it mass outside P's support would be lost.
    slope_inf : float
        lim f(t)/t for t → ∞; likewise for Q's support.
    conjugate : callable, optional
        sup over t ≥ 0 of u·t − f(t), elementwise. Without it the supremum is found numerically, on NumPy arrays.

    Raises
    ------
    ValueError
        If f(1) is not 0 or a limit is NaN or −inf.

    Notes
    -----
    Its terms are computed as written; P and Q that nearly agree keep only the digits that f itself keeps near t = 1.

    Examples
    --------
    >>> import dkl
    >>> hockey = dkl.FDivergence("hockey_stick", lambda t: (t - 2) * (t > 2), f_zero=0.0, slope_inf=1.0)
    >>> float(hockey([0.9, 0.1], [0.3, 0.7]))  # doctest: +ELLIPSIS
    0.3...
    """

    name: str
    f: Callable[[Any], Any]
    f_zero: float
    slope_inf: float
    conjugate: Callable[[Any], Any] | None = None
    symmetric: bool = False

    def __post_init__(self) -> None:
        for limit in ("f_zero", "slope_inf"):
            value = getattr(self, limit)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value) or value == -math.inf:
                raise ValueError(f"{limit} = {value!r} is no limit of a convex function: give a number or math.inf")
        at_one = float(self.f(np.ones(1))[0])
        if not abs(at_one) <= 1e-12:
            raise ValueError(f"f(1) = {at_one:.6g}, but a divergence between equal distributions is 0: subtract it from f")
        if self.conjugate is None:
            object.__setattr__(self, "conjugate", self._numeric_conjugate)

    @property
    def symbol(self) -> str:
        """name(P‖Q)."""
        return f"{self.name}(P‖Q)"

    @property
    def direction(self) -> str:
        """Of P relative to Q."""
        return "symmetric in P and Q" if self.symmetric else "of P relative to Q: the mean of f(p/q) under Q"

    def inside(self, shared: Outcomes) -> Array:
        """q·f(p/q), by its slope at infinity where p/q leaves the floating range."""
        xp = shared.xp
        far = shared.log_ratio > math.log(float(xp.finfo(shared.p.dtype).max)) - 1
        ratio = xp.where(far, 1.0, xp.exp(xp.where(far, 0.0, shared.log_ratio)))
        slope = shared.p * self.slope_inf if math.isfinite(self.slope_inf) else xp.full_like(shared.p, math.inf)
        return xp.where(far, slope, shared.q * self.f(ratio))

    def _numeric_conjugate(self, u: Any) -> Any:
        """sup over t of u·t − f(t), by bounded search in log t; about half the digits of a float."""
        from scipy.optimize import minimize_scalar

        def at(v: float) -> float:
            if v > self.slope_inf:
                return math.inf
            best = minimize_scalar(
                lambda s: float(self.f(np.exp([s]))[0]) - v * math.exp(s), bounds=(-40.0, 40.0), method="bounded",
                options={"xatol": 1e-10},
            )
            return max(-float(best.fun), -self.f_zero)

        return np.vectorize(at, otypes=[float])(u)


# -------------------------------------------------------------------------------- functions of an f-divergence


@dataclass(frozen=True)
class Renyi(Divergence):
    """Rényi divergence log(∫ p^a q^(1−a))/(a − 1), continuous in its order through 0, 1 and ∞.

    Parameters
    ----------
    order : float
        a in [0, ∞]. Order 0 is −log Q(p > 0), 1/2 twice the Bhattacharyya distance, 1 is KL(P‖Q), 2 is log(1 + χ²), ∞ the
        logarithm of the largest p/q.

    References
    ----------
    .. [1] T. van Erven, P. Harremoës, "Rényi divergence and Kullback-Leibler divergence", IEEE Transactions on Information
       Theory 60 (2014), eq. 9 and Theorems 4 to 7.

    Examples
    --------
    >>> import dkl
    >>> float(dkl.Renyi(math.inf)([0.5, 0.5], [0.25, 0.75]))  # log 2
    0.6931471805599453
    """

    order: float
    direction: ClassVar[str] = "of P relative to Q"
    unit: ClassVar[str] = "nats"
    upper_bound: ClassVar[float] = math.inf

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", _order(self.order, "order", 0.0))

    @property
    def name(self) -> str:
        """``renyi(order)``."""
        return f"renyi({self.order:g})"

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

    def total(self, pair: Pair) -> Array:
        """log(1 + (a − 1)·T)/(a − 1) with T Tsallis' divergence; by log-sum-exp where 1 + (a − 1)·T is far from 1."""
        xp, a = pair.xp, self.order
        uncovered = xp.any(pair.in_p & ~pair.in_q, axis=-1)
        if a == math.inf:
            largest = xp.max(xp.where(pair.in_both, pair.shared.log_ratio, -math.inf), axis=-1)
            return xp.where(uncovered, math.inf, xp.maximum(largest, xp.zeros_like(largest)))
        if a == 1:
            return kl.total(pair)
        exponent = pair.shared.log_q + a * pair.shared.log_ratio
        by_sum = logsumexp(xp, xp.where(pair.in_both, exponent, -math.inf))
        near = xp.abs(by_sum) < 0.5
        # Rows that are not near take no part in the series, where their terms could overflow.
        by_series = xp.log1p((a - 1) * Tsallis(a).total(pair.rows(near)))
        value = xp.where(near, by_series, by_sum) / (a - 1)
        return xp.where(uncovered, math.inf, value) if a > 1 else value


@dataclass(frozen=True, repr=False)
class Bhattacharyya(Divergence):
    """Bhattacharyya distance −log Σ √(pq), half the Rényi divergence of order 1/2."""

    name: ClassVar[str] = "bhattacharyya"
    symbol: ClassVar[str] = "B(P, Q)"
    symmetric: ClassVar[bool] = True
    unit: ClassVar[str] = "nats"
    upper_bound: ClassVar[float] = math.inf
    edges: ClassVar[Edges] = Edges(1.0, 1.0)

    def total(self, pair: Pair) -> Array:
        """Half of Rényi's."""
        return 0.5 * Renyi(0.5).total(pair)


@dataclass(frozen=True, repr=False)
class Hellinger(Divergence):
    """Hellinger distance √(1 − Σ √(pq)) in [0, 1], a metric. Its gradient at P = Q, where it has a kink, is given as 0."""

    name: ClassVar[str] = "hellinger"
    symbol: ClassVar[str] = "H(P, Q)"
    symmetric: ClassVar[bool] = True
    metric_power: ClassVar[float | None] = 1.0
    upper_bound: ClassVar[float] = 1.0
    edges: ClassVar[Edges] = Edges(0.5, 0.5)

    def total(self, pair: Pair) -> Array:
        """The root of the squared distance."""
        return root(pair.xp, squared_hellinger.total(pair))


kl = KL()
reverse_kl = ReverseKL()
jeffreys = Jeffreys()
js = JS()
tv = TotalVariation()
hellinger = Hellinger()
squared_hellinger = SquaredHellinger()
bhattacharyya = Bhattacharyya()
chi2 = Chi2()
neyman_chi2 = NeymanChi2()
triangular = Triangular()

#: Every ready member, in the order in which tables list them.
FAMILY: tuple[Divergence, ...] = (
    kl, reverse_kl, jeffreys, js, tv, hellinger, squared_hellinger, bhattacharyya, chi2, neyman_chi2, triangular,
)  # fmt: skip
