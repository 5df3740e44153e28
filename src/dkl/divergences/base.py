"""What a divergence is, and what an f-divergence owes the rest of the house.

An f-divergence is D_f(P‖Q) = Σ q·f(p/q) with f convex and f(1) = 0. Every member is written so that f'(1) = 0 too,
which makes each term non-negative and leaves the sum unchanged for normalised P and Q. Its terms come from the
:class:`dkl.pairs.Outcomes` of a pair, in a form that does not cancel where P and Q nearly agree. Two limits say what
happens at the edge of the supports: an outcome with p = 0 < q adds q·f(0), one with q = 0 < p adds p·lim f(t)/t. All
the rest (representations, batches, gradients, tests, plots) follows.

References
----------
.. [1] I. Csiszár, "Information-type measures of difference of probability distributions and indirect observations",
   Studia Scientiarum Mathematicarum Hungarica 2 (1967).
.. [2] F. Liese, I. Vajda, "On divergences and informations in statistics and information theory", IEEE Transactions on
   Information Theory 52 (2006).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from dkl import pairs, rules
from dkl._array import (
    Array,
    Namespace,
    as_array,
    as_scalar,
    first_failing,
    holds,
    namespace_of,
    overflowing,
    real_floating,
    real_number,
    tree_sum,
)
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

    if TYPE_CHECKING:
        # Given by each member as a class attribute, a field or a property.
        @property
        def name(self) -> str:
            """The name under which rules and reports know it."""

        @property
        def symbol(self) -> str:
            """How it is written, such as ``"KL(P‖Q)"``."""

        @property
        def symmetric(self) -> bool:
            """Whether D(P, Q) = D(Q, P)."""

    @property
    def direction(self) -> str:
        """Which way it points, in words."""
        return "symmetric in P and Q"

    @property
    def unit(self) -> str:
        """``"nats"`` for a member made of logarithms, which ``base`` can rescale; ``""`` for a pure number."""
        return ""

    @property
    def metric_power(self) -> float | None:
        """The largest power r for which Dʳ is a metric, or None where none is known."""
        return None

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

    @property
    def core(self) -> Member | None:
        """The member whose sum decides this one, for the fused kernels; None if no sum of terms does."""
        return None

    def finish(self, xp: Namespace, total: Array, mass_p: Array, mass_q: Array) -> Array:
        """The divergence from its core's sum and the masses of P and Q; NaN where these do not decide it to the digits.

        The masses are 1 but for rounding.
        """
        return total

    def __repr__(self) -> str:
        return f"dkl.{self.name}"

    def __call__(self, p: Any, q: Any, *, axis: Axis = -1, base: float | None = None, method: str | None = None) -> Any:
        """Measure the divergence between P and Q.

        Parameters
        ----------
        p, q : array_like or representation
            A raw array holds probabilities; ``dkl.LogProbs``, ``dkl.Logits`` and ``dkl.Counts`` wrap anything else.
            Shapes broadcast as in NumPy; both must list the same outcomes.
        axis : int, tuple of int, or None
            The axis of outcomes; None for all of them.
        base : float, optional
            The base of the logarithm: 2 for bits. Nats by default. Only for members with a unit.
        method : str, optional
            Force one of ``dkl.rules.METHODS`` instead of the first that fits.

        Returns
        -------
        array or scalar
            Of the inputs' own array library, shape of the broadcast pair without ``axis``, never negative,
            differentiable by that library. float16 and bfloat16 come back as float32, integers as the default float.

        Raises
        ------
        ValueError
            For an entry or row that is not what its wrapper says (not checked inside jax.jit, torch.compile and vmap,
            where values cannot be seen), shapes that do not broadcast, an axis that does not exist, a bad base.
        TypeError
            For objects that are not numbers, arrays of two libraries, or a pair that no rule measures.

        Notes
        -----
        O(outcomes) time and memory. Gradients with respect to an entry are those of the sum Σ q·f(p/q) with f'(1) = 0.
        They are returned as 0 where the true one is infinite (an entry at zero, for most members) and where an infinite
        term does not depend on it. They differ from those of a form with another f'(1) by a constant across the
        outcomes, which no change that keeps the sum at 1 can see.
        """
        return rules.evaluate(self, p, q, axis=axis, base=base, method=method).value


class Csiszar(Divergence, ABC):
    """An f-divergence, Σ q·f(p/q)."""

    if TYPE_CHECKING:

        @property
        def f(self) -> Callable[[Any], Any]:
            """The generator, convex with f(1) = 0, elementwise on any array of t = p/q ≥ 0."""

        @property
        def f_zero(self) -> float:
            """f(0)."""

        @property
        def slope_inf(self) -> float:
            """The limit of f(t)/t for t → ∞."""

        @property
        def conjugate(self) -> Callable[[Any], Any]:
            """The convex conjugate sup over t ≥ 0 of u·t − f(t), elementwise; inf beyond ``slope_inf``."""

    @property
    def slopes(self) -> Edges:
        """The gradient of a term with respect to the probability that is 0, where P is and where Q is, if finite."""
        return Edges(math.inf, math.inf)

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
            Shape of the broadcast pair; non-negative; their sum along ``axis`` is the divergence, in nats where it has
            a unit. For ``dkl.kl`` a term is p·log(p/q) − p + q.

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

    @property
    def core(self) -> Member | None:
        """Itself."""
        return self

    @abstractmethod
    def log_gradient(self, shared: Outcomes) -> tuple[Array, Array]:
        """p·f'(t) and q·(f(t) − t·f'(t)) at t = p/q: the derivatives of ``inside`` with respect to log p and log q."""

    @overflowing
    def f(self, t: Any) -> Any:
        """The generator f(t) at t = p/q ≥ 0, with f(1) = f'(1) = 0; elementwise."""
        xp = namespace_of(t=t)
        (t,) = real_floating(xp, as_array(xp, t, "t"))
        if holds(xp.all(t >= 0)) is False:
            at, value = first_failing(t, t >= 0)
            raise ValueError(f"t{at} = {value:g} is no ratio of probabilities: it lies in [0, ∞]")
        finite = t < math.inf
        value = self.terms(pairs.from_probabilities(xp, xp.where(finite, t, 1.0), xp.ones_like(t)))
        return as_scalar(xp.where(finite, value, math.inf if self.slope_inf > 0 else 0.0))

    @overflowing
    def conjugate(self, u: Any) -> Any:
        """The convex conjugate sup over t ≥ 0 of u·t − f(t); elementwise, inf where it has no finite value."""
        xp = namespace_of(u=u)
        (u,) = real_floating(xp, as_array(xp, u, "u"))
        finite = u <= self.slope_inf
        value = xp.where(finite, self._conjugate(xp, xp.where(finite, u, 0.0)), math.inf)
        return as_scalar(xp.where(u == u, value, u))  # NaN stays NaN

    @abstractmethod
    def _conjugate(self, xp: Namespace, u: Array) -> Array:
        """The conjugate for u ≤ slope_inf."""


def real_parameter(value: Any, name: str, low: float = -math.inf) -> float:
    """A real parameter of a member, checked."""
    number = real_number(value, name)
    if not number >= low:
        raise ValueError(f"{name} = {number:g} lies outside the domain, [{low:g}, ∞]")
    return number


def label(parameter: float) -> str:
    """A parameter as it stands in a member's name: different for different numbers."""
    return f"{parameter:.0f}" if parameter == round(parameter, 0) and abs(parameter) < 1e15 else repr(parameter)
