"""The divergence from a target to a member as a function of the member's coordinates, with exact derivatives.

The nodes of quadrature, or the outcomes of a sum, make the divergence a sum of terms in log q at places x_i. Its
gradient is Σ_i ∂D/∂log q_i · ∂log q_i/∂u, the first factor by the definition of the divergence and the second, the
score, by central differences of the sixth order, which are right to some 1e-12. In an exponential family the score is
linear in the sufficient statistic: it is differenced at a few places and known at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from dkl._array import namespace_of
from dkl.divergences import Csiszar, Divergence, Member
from dkl.families.base import Distribution
from dkl.families.exponential import MeanParametrised
from dkl.fitting.direct.places import FLOOR, Places, looked_at
from dkl.methods.by_row import decided
from dkl.methods.nodes import Numbers, heights, weighted_pair
from dkl.methods.quadrature.kinks import has_kink
from dkl.pairs import Pair
from dkl.supports import Integers, Interval, Vectors

# Central differences of the sixth order: offsets in steps, and weights. With a step of 1/50 what is left out is
# 1/140·h⁶ = 5e-13, and rounding is as little.
_OFFSETS = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
_WEIGHTS = np.array([-1.0, 9.0, -45.0, 45.0, -9.0, 1.0]) / 60.0
_STEP = 1.0 / 50.0
# The step of second derivatives, which need no more than six digits.
_SECOND = 1e-3
# Panels at most: a density with a kink that needs more is known well enough on the way.
_PANELS = {0: 2_000, 1: 6_000}
# From so many places on an exponential family is differenced at a few.
_MANY = 256
_FEW = 192
# By how much their linearity may be missed.
_LINEAR = 1e-7
# What has a smaller share of the masses and of the terms is not looked at.
_LEAST = 1e-18


def applies(divergence: Divergence, target: Distribution) -> bool:
    """Whether a divergence is a sum of terms, and a target one that sums or quadrature can look at."""
    return decided(divergence) and visible(target)


def visible(target: Distribution) -> bool:
    """Whether sums or quadrature can look at a target."""
    support = target.support
    plane = type(support) is Vectors and support.dimension == 2
    return plane or isinstance(support, Interval | Integers)


class Objective:
    """D(target‖member) over the coordinates around a member.

    Parameters
    ----------
    divergence : Divergence
        One that a sum of terms decides.
    target : Distribution
        Of NumPy's, normalised; numbers, whole numbers or vectors of length 2.
    coordinates : Coordinates
    rtol : float
        The relative error of the values.
    """

    def __init__(self, divergence: Divergence, target: Distribution, coordinates: Any, rtol: float) -> None:
        core = divergence if isinstance(divergence, Csiszar) else divergence.core
        if not isinstance(core, Csiszar):
            raise TypeError(f"{divergence.name} is decided by no sum of terms: it has no gradient by them")
        self.divergence, self.core, self.target, self.coordinates = divergence, core, target, coordinates
        self.rtol = rtol
        #: Whether it has no kinks over the coordinates: a sum of |p − q| has one wherever two of its terms are equal.
        self.smooth = not (has_kink(core) and isinstance(target.support, Integers))
        self._seen: dict[bytes, tuple[float, Places | None]] = {}
        self._derived: dict[tuple[str, bytes], Numbers] = {}

    def value(self, u: Numbers) -> float:
        """The divergence (of its core, of which it is an increasing function); inf where it is infinite."""
        return self._at(u)[0]

    def gradient(self, u: Numbers) -> Numbers:
        """Its derivatives; 0 where it is infinite."""
        return self._once("gradient", self._gradient, u)

    def hessian(self, u: Numbers) -> Numbers:
        """Its second derivatives; the unit matrix where it is infinite."""
        return self._once("hessian", self._hessian, u)

    def _once(self, name: str, derivative: Callable[[Numbers], Numbers], u: Numbers) -> Numbers:
        key = name, u.tobytes()
        if key not in self._derived:
            self._derived[key] = derivative(u)
        return self._derived[key]

    def _gradient(self, u: Numbers) -> Numbers:
        value, places = self._at(u)
        if places is None or not math.isfinite(value):
            return np.zeros_like(u)
        return self.gradient_at(u, places)

    def _hessian(self, u: Numbers) -> Numbers:
        """Σ φ''·s·sᵀ + Σ φ'·∂²log q, with φ the terms as functions of log q and s the score."""
        value, places = self._at(u)
        if places is None or not math.isfinite(value):
            return np.eye(u.size)
        with np.errstate(all="ignore"):
            log_q = self._log_q(u[None], places)[:, 0]
            slopes = self._slopes(places, log_q)
            bent = self._bends(places, log_q, slopes)
            used = np.isfinite(slopes) & np.isfinite(bent) & np.isfinite(log_q)
            score = self._spread(u, places, log_q, used, _scores)
            curved = self._spread(u, places, log_q, used, _curvatures)
            made = (score * bent[used, None]).T @ score
            made[np.triu_indices(u.size)] += slopes[used] @ curved
            if has_kink(self.core) and not places.x.ndim > 1 and not isinstance(self.target.support, Integers):
                made += self._at_crossings(places, log_q, used, score)
        upper = np.triu(made)
        return np.asarray(upper + upper.T - np.diag(np.diagonal(upper)))

    def _at_crossings(self, places: Places, log_q: Numbers, used: Numbers, score: Numbers) -> Numbers:
        """What a kink of |p − q|/2 adds to the second derivatives: where p = q, q·s·sᵀ over the slope of log(p/q)."""
        order = np.argsort(places.x[used])
        x, log_q, score = places.x[used][order], log_q[used][order], score[order]
        ratio = places.log_p[used][order] - log_q
        at = np.flatnonzero(ratio[:-1] * ratio[1:] <= 0)
        slope = np.abs(ratio[at + 1] - ratio[at]) / (x[at + 1] - x[at])
        share = np.where(slope > 0, np.exp(0.5 * (log_q[at] + log_q[at + 1])) / np.where(slope > 0, slope, 1.0), 0.0)
        there = 0.5 * (score[at] + score[at + 1])
        return np.asarray((there * share[:, None]).T @ there)

    def final(self, u: Numbers) -> float:
        """The divergence itself there, where :meth:`value` is its core's."""
        value, places = self._at(u)
        if places is None or not math.isfinite(value):
            return math.inf
        with np.errstate(all="ignore"):
            pair = self._pair(places, places.asked(partial(heights, self.coordinates.member(u))))
            return float(self.divergence.total(pair))

    def error(self, u: Numbers) -> float:
        """What quadrature or the sum may have left out of the value there, and what rounding blurs.

        A log-ratio d that is off by δ moves ½E[d²], which the divergence is next to 0, by √(2D)·δ + δ².
        """
        value, places = self._at(u)
        if places is None or not math.isfinite(value):
            return 0.0
        p = np.exp(places.log_p + places.log_w)
        blur = 8.0 * float(np.finfo(float).eps) * (1.0 + float(p @ np.abs(np.where(p > 0, places.log_p, 0.0))))
        return places.error * max(value, FLOOR) + math.sqrt(2.0 * value) * blur + blur * blur

    def reason(self, u: Numbers) -> str | None:
        """Why the divergence is infinite there."""
        places = self._at(u)[1]
        return None if places is None else places.diverges

    def _at(self, u: Numbers) -> tuple[float, Places | None]:
        key = u.tobytes()
        if key not in self._seen:
            if len(self._seen) > 8:
                self._seen.clear()
            self._seen[key] = self._measured(u)
        return self._seen[key]

    def _measured(self, u: Numbers) -> tuple[float, Places | None]:
        try:
            with np.errstate(all="ignore"):
                member = self.coordinates.member(u)
        except (ValueError, FloatingPointError, OverflowError):
            return math.inf, None  # beyond the floating range
        outside = self._outside(member)
        if outside is not None:
            none = np.empty(0)
            return math.inf, Places(none, none, none, none, 0.0, outside)
        try:
            places = self._places(member)
        except np.linalg.LinAlgError:
            places = None  # ends of two supports a few numbers apart leave quadrature no room
        if places is None:
            return math.inf, None
        if places.diverges:
            return math.inf, places
        with np.errstate(all="ignore"):
            pair = self._pair(places, places.log_q)
            value = float(self.core.total(pair))
        return (value if not math.isnan(value) else math.inf), places

    def _outside(self, member: Distribution) -> str | None:
        """Why the divergence is infinite, if the supports alone make it so: what lies outside may underflow."""
        name, edges = self.divergence.symbol, self.divergence.edges
        sides = ((edges.p_zero, "Q", member.support, "P", self.target.support),
                 (edges.q_zero, "P", self.target.support, "Q", member.support))  # fmt: skip
        for edge, one, narrow, other, wide in sides:
            if math.isinf(edge) and isinstance(narrow, Interval) and not bool(np.all(narrow.within(wide))):
                return f"{name} is infinite: {one} lives on {narrow.name}, {other} on {wide.name}."
        return None

    def _places(self, member: Distribution) -> Places | None:
        found = looked_at(self.core, self.target, member, self.rtol, _PANELS[self.target.event_ndim])
        if found is None:
            return None
        with np.errstate(all="ignore"):
            pair = self._pair(found, found.log_q)
            terms = np.asarray(self.core.terms(pair))
            finite = np.where(np.isfinite(terms), terms, 0.0)
            kept = (pair.p > _LEAST) | (pair.q > _LEAST) | (finite > _LEAST * finite.sum())
        return found if isinstance(self.target.support, Integers) else found[kept]

    def _pair(self, places: Places, log_q: Numbers) -> Pair:
        return weighted_pair(namespace_of(), places.log_p, log_q, places.log_w)

    def gradient_at(self, u: Numbers, places: Places) -> Numbers:
        """The derivatives of the sum over some places, kept where they are."""
        with np.errstate(all="ignore"):
            log_q = self._log_q(u[None], places)[:, 0]
            slopes = self._slopes(places, log_q)
            used = (slopes != 0) & np.isfinite(slopes) & np.isfinite(log_q)
            made: Numbers = slopes[used] @ self._spread(u, places, log_q, used, _scores)
        return made

    def _log_q(self, us: Numbers, places: Places, at: Any = slice(None)) -> Numbers:
        """The log-densities of several members at some of the places, a column each."""
        members = self.coordinates.member(us)
        return places.asked(lambda x: heights(members, x[:, None]), at)

    def _slopes(self, places: Places, log_q: Numbers) -> Numbers:
        """∂D/∂log q at each place."""
        pair = self._pair(places, log_q)
        if isinstance(self.core, Member):
            inside = np.asarray(self.core.log_gradient(pair.shared)[1])
        else:
            # A generator of one's own: its terms, differenced.
            around = [np.asarray(self.core.terms(self._pair(places, log_q + t * _STEP))) for t in _OFFSETS]
            inside = np.tensordot(_WEIGHTS, around, axes=1) / _STEP
        with np.errstate(invalid="ignore"):
            alone = np.where(pair.q > 0, pair.q * self.core.f_zero, 0.0)
        slopes: Numbers = np.where(pair.in_both, inside, np.where(pair.in_q, alone, 0.0))
        return slopes

    def _bends(self, places: Places, log_q: Numbers, slopes: Numbers) -> Numbers:
        """∂²D/∂(log q)² at each place."""
        if has_kink(self.core):
            return slopes  # in proportion to q, but for what the kink adds
        bent: Numbers = self._slopes(places, log_q + _SECOND) - self._slopes(places, log_q - _SECOND)
        return bent / (2.0 * _SECOND)

    def _spread(self, u: Numbers, places: Places, log_q: Numbers, used: Numbers, differences: Any) -> Numbers:
        """Derivatives of log q by u at the places in use, one row a place.

        In an exponential family they are linear in the sufficient statistic: differences at a few places tell them.
        """
        linear = issubclass(self._family, MeanParametrised) and int(used.sum()) > _MANY
        if not linear:
            return np.asarray(differences(lambda us: self._log_q(us, places, used), u))
        if places.statistic is None:
            places.statistic = self._statistic(places, np.isfinite(log_q))
        statistic = places.statistic[used]
        at = self._few(statistic)
        some = np.flatnonzero(used)[at]
        found = differences(lambda us: self._log_q(us, places, some), u)
        # A log-density is rounded by its size: large ones, far out, may not outweigh those where the mass is.
        weights = 1.0 / (1.0 + np.abs(log_q[some]))[:, None]
        centre, width = statistic[at].mean(axis=0), statistic[at].std(axis=0)
        standard = (statistic - centre) / np.where(width > 0, width, 1.0)
        design = np.column_stack([np.ones(len(standard)), standard])
        if not (np.isfinite(design).all() and np.isfinite(found).all()):
            return np.asarray(differences(lambda us: self._log_q(us, places, used), u))
        # Every second place tells the factors, and the others whether they are right.
        factors = np.linalg.lstsq(weights[::2] * design[at[::2]], weights[::2] * found[::2], rcond=1e-13)[0]
        missed = weights[1::2] * np.abs(design[at[1::2]] @ factors - found[1::2])
        if not (missed <= _LINEAR * (1.0 + weights[1::2] * np.abs(found[1::2]))).all():
            return np.asarray(differences(lambda us: self._log_q(us, places, used), u))
        return np.asarray(design @ factors)

    @property
    def _family(self) -> type:
        family: type = getattr(self.coordinates, "family", object)
        return family

    @staticmethod
    def _few(statistic: Numbers) -> Numbers:
        """Places spread over the range of every component of the statistic."""
        each = np.linspace(0, len(statistic) - 1, _FEW // statistic.shape[1]).astype(int)
        return np.unique([np.argsort(column)[each] for column in statistic.T])

    def _statistic(self, places: Places, inside: Numbers) -> Numbers:
        """The sufficient statistic where the family has mass, NaN elsewhere."""

        def columns(x: Numbers) -> Numbers:
            with np.errstate(all="ignore"):
                parts = self.coordinates.family.sufficient_statistics(x, **self.coordinates.fixed)
            return np.column_stack([np.asarray(t).reshape(len(x), -1) for t in parts])

        made = places.asked(columns)
        made[~inside] = math.nan
        return made


Heights = Callable[[Numbers], Numbers]


def _scores(log_q: Heights, u: Numbers) -> Numbers:
    """∂/∂u of log-densities, a column each."""
    steps = (_STEP * _OFFSETS[:, None, None] * np.eye(u.size)).reshape(-1, u.size)
    values = log_q(u + steps).reshape(-1, _OFFSETS.size, u.size)
    return np.asarray(np.tensordot(values, _WEIGHTS, axes=(1, 0)) / _STEP)


def _curvatures(log_q: Heights, u: Numbers) -> Numbers:
    """∂²/∂u∂u of log-densities: the upper triangle, a column each."""
    rows, columns = np.triu_indices(u.size)
    unit = _SECOND * np.eye(u.size)
    corners = [(a * unit[rows] + b * unit[columns]) for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
    values = log_q(u + np.concatenate(corners)).reshape(-1, 4, rows.size)
    mixed = values[:, 0] - values[:, 1] - values[:, 2] + values[:, 3]
    return np.asarray(mixed / (4.0 * _SECOND**2))
