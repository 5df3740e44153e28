"""Adaptive quadrature of pairs of densities: the divergence of the nodes, weighted, as if they were outcomes.

A divergence's terms are homogeneous: at a node with weight w its term for (w·p, w·q) is w times that for (p, q). So the
nodes and weights of a quadrature make a pair of outcomes (:mod:`dkl.pairs`) of which every member of the family takes
its total, in logarithms, by the definition that it has for tables. What is left to this file is to place the nodes.

The axis is cut at the ends of both supports and between the landmarks of P and Q: their means and deviations, those of
a mixture's components, quantiles of samples, or what a search finds. Around a landmark c of width s, x = c + s·sinh(v):
uniform inside, logarithmic outside, out to 1e150. At an end a of a support x = a ± exp(v), and where numbers are too
coarse to come closer, log p and log q go on as α·v + c + β·exp(v) + …, a power times a smooth function, fitted where
they can be resolved. Intervals of v are halved where the rule of Gauss and Kronrod [1] sees an error in
the masses of P and Q, in the divergence, or in ∫ p^a q^(1−a). A mass that does not come to 1 says that something was
not found.

References
----------
.. [1] R. Piessens, E. de Doncker-Kapenga, C. Überhuber, D. Kahaner, QUADPACK (1983).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from dkl._array import Array, Namespace, device_of, is_numpy, logsumexp, namespace_of, to_numpy, widest
from dkl.density import Density
from dkl.divergences import Csiszar, Divergence, Member
from dkl.divergences.power import log_power
from dkl.estimate import Estimate
from dkl.families.base import Distribution
from dkl.methods.by_row import by_row, decided
from dkl.mixture import Mixture, detached
from dkl.pairs import Outcomes, Pair
from dkl.rules import rule
from dkl.supports import Interval, Vectors

Numbers = np.ndarray[Any, Any]

#: Relative error at which the answer is given without a word, on a line and in a plane.
RTOL, RTOL_PLANE = 1e-10, 1e-6
#: Relative error up to which an answer is given at all; beyond it Monte Carlo is asked.
_WORST = 1e-4
#: How far from 1 a mass may be found.
_MASS = 1e-6
_FARTHEST, _FAR = 1e150, 1e12
_MOST = {1: 20_000, 2: 12_000}
_ROUNDS = 60
# Below exp(this) a number underflows.
_UNDERFLOW = -745.0


# The rule of Gauss with 10 points inside that of Kronrod with 21, and 7 inside 15, on [−1, 1] [1].
_KRONROD_21 = (
    (0.995657163025808080735527280689003, 0.011694638867371874278064396062192, 0.0),
    (0.973906528517171720077964012084452, 0.032558162307964727478818972459390, 0.066671344308688137593568809893332),
    (0.930157491355708226001207180059508, 0.054755896574351996031381300244580, 0.0),
    (0.865063366688984510732096688423493, 0.075039674810919952767043140916190, 0.149451349150580593145776339657697),
    (0.780817726586416897063717578345042, 0.093125454583697605535065465083366, 0.0),
    (0.679409568299024406234327365114874, 0.109387158802297641899210590325805, 0.219086362515982043995534934228163),
    (0.562757134668604683339000099272694, 0.123491976262065851077958109831074, 0.0),
    (0.433395394129247190799265943165784, 0.134709217311473325928054001771707, 0.269266719309996355091226921569469),
    (0.294392862701460198131126603103866, 0.142775938577060080797094273138717, 0.0),
    (0.148874338981631210884826001129720, 0.147739104901338491374841515972068, 0.295524224714752870173892994651338),
    (0.0, 0.149445554002916905664936468389821, 0.0),
)
_KRONROD_15 = (
    (0.991455371120812639206854697526329, 0.022935322010529224963732008058970, 0.0),
    (0.949107912342758524526189684047851, 0.063092092629978553290700663189204, 0.129484966168869693270611432679082),
    (0.864864423359769072789712788640926, 0.104790010322250183839876322541518, 0.0),
    (0.741531185599394439863864773280788, 0.140653259715525918745189590510238, 0.279705391489276667901467771423780),
    (0.586087235467691130294144838258730, 0.169004726639267902826583426598550, 0.0),
    (0.405845151377397166906606412076961, 0.190350578064785409913256402421014, 0.381830050505118944950369775488975),
    (0.207784955007898467600689403773245, 0.204432940075298892414161999234649, 0.0),
    (0.0, 0.209482141084727828012999174891714, 0.417959183673469387755102040816327),
)


@cache
def _kronrod(points: int) -> tuple[Numbers, Numbers, Numbers]:
    """Nodes in ascending order, their weights, and those of Gauss's rule."""
    table = np.array(_KRONROD_21 if points == 21 else _KRONROD_15)
    nodes = np.concatenate([-table[:-1, 0], table[::-1, 0]])
    kronrod, gauss = (np.concatenate([table[:-1, k], table[::-1, k]]) for k in (1, 2))
    return nodes, kronrod, gauss


def weighted_pair(xp: Namespace, log_p: Array, log_q: Array, log_w: Array) -> Pair:
    """The pair of outcomes (w·p, w·q), along the last axis, from the logarithms of p, q and w.

    A node where one density underflows, and the other is nothing at all, belongs to neither.
    """
    p_none, q_none = log_p == -math.inf, log_q == -math.inf
    in_p = ~p_none & ~(q_none & (log_p + log_w < _UNDERFLOW))
    in_q = ~q_none & ~(p_none & (log_q + log_w < _UNDERFLOW))
    both = in_p & in_q
    lp, lq, lw = xp.where(both, log_p, 0.0), xp.where(both, log_q, 0.0), xp.where(both, log_w, 0.0)
    shared = Outcomes(xp, xp.exp(lp + lw), xp.exp(lq + lw), lp - lq, True, _log_p=lp + lw, _log_q=lq + lw)
    p = xp.where(in_p, xp.exp(xp.where(in_p, log_p + log_w, 0.0)), 0.0)
    q = xp.where(in_q, xp.exp(xp.where(in_q, log_q + log_w, 0.0)), 0.0)
    return Pair(xp, p, q, in_p, in_q, shared)


# Where the mass is.


@dataclass(frozen=True)
class Landmark:
    """A place where there is mass, and how wide it lies."""

    at: float
    width: float


def landmarks(distribution: Distribution) -> list[Landmark]:
    """Where a distribution of numbers has its mass: by its moments, by its samples, or by searching."""
    if isinstance(distribution, Mixture):
        return [mark for part in distribution.each for mark in landmarks(part)]
    if not isinstance(distribution, Density):
        try:
            at, width = float(to_numpy(distribution.mean())), float(to_numpy(distribution.std()))
        except NotImplementedError:
            at = width = math.nan
        if abs(at) < _FARTHEST and 0 < width < _FARTHEST:
            return [Landmark(at, width)]
    if getattr(distribution, "can_sample", True):
        try:
            return _of_sample(distribution)
        except NotImplementedError:
            pass
    return _found(distribution)


def _of_sample(distribution: Distribution) -> list[Landmark]:
    drawn = np.sort(np.asarray(to_numpy(distribution.sample(4096, rng=0)), dtype=float))
    drawn = drawn[np.isfinite(drawn)]
    if not drawn.size:
        return []
    # 32 quantiles, each as wide as its nearer neighbour is far, so that narrow heaps are seen as narrow.
    at = np.quantile(drawn, (np.arange(32) + 0.5) / 32, method="nearest")
    at = np.unique(at)
    if at.size == 1:
        return [Landmark(float(at[0]), max(abs(float(at[0])), 1.0) * 1e-3)]
    gaps = np.diff(at)
    nearer = np.minimum(np.append(gaps, math.inf), np.append(math.inf, gaps))
    return [Landmark(float(x), float(w)) for x, w in zip(at, nearer, strict=True)]


def _found(distribution: Distribution) -> list[Landmark]:
    """The peaks of the log-density that a search on an axis uniform in the logarithm of |x| finds."""
    from scipy.optimize import minimize_scalar

    low, high = _ends(distribution)
    steps = np.concatenate([np.linspace(-12, 12, 1201), np.linspace(12, 60, 97)[1:]])
    grid = np.concatenate([-np.exp(steps[::-1]), [0.0], np.exp(steps)])
    if math.isfinite(low) and math.isfinite(high):
        inner = low + (high - low) * np.concatenate([np.exp(-steps[steps > 0]), 1 - np.exp(-steps[steps > 0])])
        grid = np.sort(np.concatenate([inner, np.linspace(low, high, 1026)]))
    elif math.isfinite(low):
        grid = low + np.exp(steps)
    elif math.isfinite(high):
        grid = high - np.exp(steps[::-1])
    grid = np.unique(grid[(grid > low) & (grid < high)])
    height = _heights(distribution, grid)
    inside = np.flatnonzero((height[1:-1] > height[:-2]) & (height[1:-1] >= height[2:]) & (height[1:-1] > -math.inf))
    marks = []
    for k in inside[:64] + 1:
        fit = minimize_scalar(
            lambda x: -float(np.maximum(_heights(distribution, np.array([x]))[0], -1e300)),
            bounds=(grid[k - 1], grid[k + 1]),
            method="bounded",
            options={"xatol": 1e-12 * (grid[k + 1] - grid[k - 1])},
        )
        at = float(fit.x)
        top = -float(fit.fun)
        # The width at which the density has fallen to a half, by halving.
        width = float(grid[k + 1] - grid[k - 1])
        for _ in range(200):
            beside = _heights(distribution, np.array([at - width, at + width]))
            if not (beside < top - 1.0).all() or width < 4 * np.spacing(abs(at)):
                break
            width /= 2
        marks.append(Landmark(at, max(width, np.spacing(abs(at)) * 4, 1e-300)))
    return marks


def _heights(distribution: Distribution, x: Numbers) -> Numbers:
    with np.errstate(all="ignore"):
        return np.asarray(to_numpy(distribution.log_prob(x)), dtype=float)


def _ends(distribution: Distribution) -> tuple[float, float]:
    support = distribution.support
    return float(to_numpy(support.low)), float(to_numpy(support.high))  # type: ignore[attr-defined]


def _all_ends(distribution: Distribution) -> set[float]:
    parts = distribution.each if isinstance(distribution, Mixture) else []
    return set(_ends(distribution)).union(*(_all_ends(part) for part in parts))


# The axis: pieces, each with its own coordinate v.


@dataclass(frozen=True)
class Piece:
    """x = anchor + width·sinh(v), or at an end of a support x = anchor ± exp(v), for v between ``low`` and ``high``."""

    anchor: float
    width: float
    side: int
    low: float
    high: float
    #: Below this v the densities at an end are continued.
    resolved: float = -math.inf

    def edges(self) -> Numbers:
        """Where its first intervals end: fine near the anchor, coarse far away."""
        if self.side:
            steps = np.concatenate([np.arange(0, 12, 1.0), np.arange(12, 48, 3.0), np.arange(48, 2000, 16.0)])
            inner = self.high - steps[steps < self.high - max(self.low, self.resolved)]
            far = []
            if self.low < self.resolved:
                far = [self.resolved, *np.linspace(self.resolved, self.low, 9)[1:]]
            else:
                far = [self.low]
            return np.unique(np.concatenate([inner, far]))
        steps = np.concatenate([np.arange(0, 6, 0.75), np.arange(6, 30, 2.0), np.arange(30, 800, 16.0)])
        both = np.concatenate([-steps, steps])
        return np.unique(np.concatenate([[self.low, self.high], both[(both > self.low) & (both < self.high)]]))


def cut(p: Distribution, q: Distribution) -> list[Piece]:
    """The pieces of the line on which P or Q lives."""
    ends = sorted(_all_ends(p) | _all_ends(q))
    marks = landmarks(p) + landmarks(q)
    pieces: list[Piece] = []
    for a, b in pairwise(ends):
        inside = _apart([m for m in marks if a + _closest(a) < m.at < b - _closest(b)])
        if not inside and not (math.isfinite(a) or math.isfinite(b)):
            inside = [Landmark(0.0, 1.0)]
        anchors: list[tuple[float, float, int]] = [(m.at, m.width, 0) for m in inside]
        if math.isfinite(a):
            anchors.insert(0, (a, 1.0, 1))
        if math.isfinite(b):
            anchors.append((b, 1.0, -1))
        bounds = [a, *(0.5 * x[0] + 0.5 * y[0] for x, y in pairwise(anchors)), b]
        for (at, width, side), left, right in zip(anchors, bounds[:-1], bounds[1:], strict=True):
            pieces += _piece(at, width, side, left, right)
    return pieces


def _closest(end: float) -> float:
    """How near to an end of a support numbers are fine enough: many millions of their spacings."""
    return max(abs(end) * 2.0**-26, 1e-290) if math.isfinite(end) else 0.0


def _piece(at: float, width: float, side: int, left: float, right: float) -> Iterator[Piece]:
    if side:
        length = abs((right if side > 0 else left) - at)
        length = min(length, _FARTHEST)
        if length <= 0:
            return
        low = math.log(min(_closest(at), 1e-3 * length))
        yield Piece(at, 1.0, side, low, math.log(length), low)
        return
    low, high = (math.asinh(max(-_FARTHEST, min(_FARTHEST, b - at)) / width) for b in (left, right))
    if low < high:
        yield Piece(at, width, 0, low, high)


def _apart(marks: list[Landmark]) -> list[Landmark]:
    """In order, and of those much closer than they are wide, the narrowest."""
    kept: list[Landmark] = []
    for mark in sorted(marks, key=lambda m: m.at):
        if kept and mark.at - kept[-1].at <= 0.5 * min(mark.width, kept[-1].width):
            if mark.width < kept[-1].width:
                kept[-1] = mark
        else:
            kept.append(mark)
    return kept


# Nodes.


@dataclass(frozen=True)
class Continued:
    """What log p is at an end of a support below the resolution, linear in its values at a few points nearby."""

    points: Numbers
    weights: Numbers

    def at(self, values: Array, v: Numbers, xp: Namespace = np) -> Array:
        """The values continued to v."""
        rows = _basis(v) @ self.weights
        return xp.sum(xp.asarray(rows, dtype=values.dtype) * values, axis=-1)


def _basis(v: Numbers) -> Numbers:
    d = np.exp(v)
    return np.stack([np.ones_like(v), v, d, d * d], axis=-1)


def _continuation(piece: Piece) -> Continued:
    v = piece.resolved + math.log(16.0) * np.arange(4)
    d = np.exp(v)
    x = piece.anchor + piece.side * d
    exact = np.log(np.abs(x - piece.anchor))
    basis = _basis(exact)
    scale = np.max(np.abs(basis), axis=0)
    scale = np.where(scale > 1e-200, scale, 1.0)
    return Continued(x, np.linalg.pinv(basis / scale, rcond=1e-14) / scale[:, None])


@dataclass
class Nodes:
    """Panels of nodes on the line: places, logarithms of both densities and of the weights, and the rule inside."""

    piece: Numbers
    low: Numbers
    high: Numbers
    x: Numbers
    v: Numbers
    log_p: Numbers
    log_q: Numbers
    log_w: Numbers
    weights: Numbers
    gauss: Numbers

    @property
    def rules(self) -> list[Numbers]:
        """The weights of Gauss's rule over those of Kronrod's."""
        return [self.gauss]

    def __getitem__(self, at: Any) -> Nodes:
        return Nodes(*(getattr(self, name)[at] for name in self.__dataclass_fields__))

    def joined(self, other: Nodes) -> Nodes:
        """These panels and others."""
        names = self.__dataclass_fields__
        return Nodes(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names))


@dataclass
class Line:
    """The line for a pair of densities: how nodes are laid into its pieces and the densities asked for."""

    p: Distribution
    q: Distribution
    pieces: list[Piece] = field(default_factory=list)
    continued: list[Continued | None] = field(default_factory=list)
    dimension: int = 1

    @classmethod
    def of(cls, p: Distribution, q: Distribution) -> Line:
        """Cut for P and Q, with the behaviour at the ends of the supports found."""
        made = cls(p, q)
        for piece in cut(p, q):
            made._add(piece)
        return made

    def _add(self, piece: Piece) -> None:
        if not piece.side:
            self.pieces.append(piece)
            self.continued.append(None)
            return
        fit, low = _continuation(piece), piece.low
        rates: list[float] = []
        if piece.high - piece.resolved > 14.0 * math.log(2.0):
            probe = piece.resolved + math.log(4.0) + math.log(16.0) * np.arange(3)
            x = piece.anchor + piece.side * np.exp(probe)
            exact = np.log(np.abs(x - piece.anchor))
            for side in (self.p, self.q):
                values, truth = _heights(side, fit.points), _heights(side, x)
                if np.isfinite(values).all() and np.isfinite(truth).all():
                    made = fit.at(values, exact)
                    if (np.abs(made - truth) > 1e-9 * (1 + np.abs(truth))).any():
                        rates = []
                        break
                    two = fit.at(values, np.array([piece.resolved - 20.0, piece.resolved - 10.0]))
                    rates.append(float(two[1] - two[0]) / 10.0)
                elif not (values == -math.inf).all():
                    rates = []
                    break
        if rates:
            slowest = min(1.0 + rate for rate in rates)
            reach = 60.0 / slowest if slowest > 1e-3 else 60_000.0
            low = piece.resolved - reach
            self.continued.append(fit)
        else:
            # As near as a thousand spacings of the numbers there: the rule is made for where they are.
            low = min(low, math.log(abs(piece.anchor) * 2.0**-42)) if piece.anchor else low
            self.continued.append(None)
        resolved = piece.resolved if rates else -math.inf
        self.pieces.append(Piece(piece.anchor, piece.width, piece.side, low, piece.high, resolved))

    def first(self) -> Nodes:
        """The panels to begin with."""
        which, low, high = [], [], []
        for k, piece in enumerate(self.pieces):
            edges = piece.edges()
            which += [k] * (edges.size - 1)
            low += edges[:-1].tolist()
            high += edges[1:].tolist()
        return self.lay(np.array(which), np.array(low), np.array(high))

    def halves(self, panels: Nodes, worse: Numbers) -> Nodes:
        """Each panel as two."""
        middle = 0.5 * (panels.low + panels.high)
        return self.lay(
            np.concatenate([panels.piece, panels.piece]),
            np.concatenate([panels.low, middle]),
            np.concatenate([middle, panels.high]),
        )

    def splittable(self, panels: Nodes) -> Numbers:
        """Which panels are wide enough, in v and in x, to be halved again."""
        wide = panels.high - panels.low > 1e-14 * np.maximum(1.0, np.abs(panels.low))
        apart = np.abs(np.diff(panels.x, axis=-1)).min(axis=-1) > 0
        below = panels.v[:, -1] < self._resolved(panels.piece)
        splittable: Numbers = wide & (apart | below)
        return splittable

    def seams(self, divergence: Divergence, panels: Nodes) -> Numbers:
        """The error that a jump between the last node of a panel and the first of the next may hide, for each sum.

        Both panels are smooth there, but what they foretell of their common end is not the same.
        """
        nodes, kronrod, gauss = _kronrod(21)
        # Where rounding moved the nodes, their common end is foretold only roughly.
        rough = np.where((panels.gauss != gauss / kronrod).any(axis=-1), 1e-3, 0.0)
        order = np.lexsort((panels.low, panels.piece))
        half = 0.5 * (panels.high - panels.low)
        legendre = np.linalg.inv(np.polynomial.legendre.legvander(nodes, 20))
        low_end, high_end = (np.polynomial.legendre.legvander(np.array([t]), 20)[0] @ legendre for t in (-1.0, 1.0))
        met = panels.piece[order[1:]] == panels.piece[order[:-1]]
        found = np.zeros((order.size, 3))
        for k, y in enumerate(_terms(divergence, panels)[1]):
            with np.errstate(all="ignore"):
                density = y / (panels.weights * half[:, None])
                left, right = density @ low_end, density @ high_end
                after, before = left[order[1:]], right[order[:-1]]
                jump = np.where(met, np.abs(after - before), 0.0)
                least = np.maximum(rough[order[1:]], rough[order[:-1]]) * np.maximum(np.abs(after), np.abs(before))
                jump = np.where(jump > least, jump, 0.0)
            for side in (order[1:], order[:-1]):
                found[side, k] += np.nan_to_num(jump, posinf=0.0) * (1.0 - nodes[-1]) * half[side]
        return found

    def _resolved(self, which: Numbers) -> Numbers:
        return np.array([p.resolved for p in self.pieces])[which]

    def lay(self, which: Numbers, low: Numbers, high: Numbers) -> Nodes:
        """Nodes and densities of panels."""
        nodes, kronrod, gauss = _kronrod(21)
        half = 0.5 * (high - low)[:, None]
        v = 0.5 * (low + high)[:, None] + half * nodes
        anchor, width, side = (np.array([getattr(p, n) for p in self.pieces])[which][:, None] for n in _SHAPE)
        end = side != 0
        with np.errstate(all="ignore"):
            step = np.where(end, np.where(side < 0, -1.0, 1.0) * np.exp(np.where(end, v, 0.0)), 0.0)
            step = np.where(end, step, width * np.sinh(np.where(end, 0.0, v)))
            x = anchor + step
            below = v < self._resolved(which)[:, None]
            # The numbers that x is rounded to lie elsewhere: the rule is made anew for where they are.
            found = np.where(end, np.log(np.abs(x - anchor)), np.arcsinh((x - anchor) / width))
            moved = np.where(below | ~np.isfinite(found), v, found)
            ratio = gauss / kronrod * np.ones_like(v)
            weights = kronrod * np.ones_like(v)
            off = (moved - v) / half
            shifted = (np.abs(off).max(axis=-1) > 1e-12) & ~below.any(axis=-1)
            v = np.where(shifted[:, None], moved, v)
            if shifted.any():
                self._refit(weights, ratio, nodes + np.where(shifted[:, None], off, 0.0), shifted)
            log_jacobian = np.where(end, v, np.log(width) + _log_cosh(np.where(end, 0.0, v)))
            log_w = np.log(weights) + np.log(half) + log_jacobian
            log_p, log_q = (self._asked(side, x, v, which) for side in (self.p, self.q))
        return Nodes(which, low, high, x, v, log_p, log_q, log_w, weights, ratio)

    @staticmethod
    def _refit(weights: Numbers, ratio: Numbers, nodes: Numbers, shifted: Numbers) -> None:
        """The interpolating rules for nodes that were moved, where they are still in order."""
        rows = np.flatnonzero(shifted)
        rows = rows[(np.diff(nodes[rows], axis=-1) > 1e-3).all(axis=-1)]
        if not rows.size:
            return
        _, _, gauss = _kronrod(21)
        moments = np.zeros(21)
        moments[0] = 2.0
        t = nodes[rows]
        full = np.linalg.solve(np.moveaxis(np.polynomial.legendre.legvander(t, 20), -1, -2), moments[:, None])[..., 0]
        inner = np.flatnonzero(gauss)
        part = np.linalg.solve(
            np.moveaxis(np.polynomial.legendre.legvander(t[:, inner], inner.size - 1), -1, -2),
            moments[: inner.size, None],
        )[..., 0]
        good = (full > 0).all(axis=-1)
        weights[rows[good]] = full[good]
        new = np.zeros((rows.size, 21))
        new[:, inner] = part
        ratio[rows[good]] = new[good] / full[good]

    def _asked(self, side: Distribution, x: Numbers, v: Numbers, which: Numbers) -> Numbers:
        value = _heights(side, x)
        # At a singular point itself, which has no mass, the density may be infinite.
        value = np.where(value == math.inf, -math.inf, value)
        for k, fit in enumerate(self.continued):
            if fit is None:
                continue
            at = (which == k)[:, None] & (v < self.pieces[k].resolved)
            if at.any():
                made = fit.at(_heights(side, fit.points), v[at])
                value[at] = np.where(np.isfinite(made), made, -math.inf)
        return value

    def beyond(self, divergence: Divergence, panels: Nodes, sums: _Sums) -> tuple[str | None, float]:
        """Why the integral diverges, if it does, and else what lies beyond the last panels relative to the whole."""
        total = sums.values[:, 2].sum()
        if not np.isfinite(total) and divergence.upper_bound == math.inf and isinstance(divergence, Csiszar):
            return self._overflow(divergence, panels), 0.0
        content = sums.values[:, 2]
        if not isinstance(divergence, Csiszar):
            content = np.exp(sums.log_power - sums.log_power.max())
        if not content.sum() > 0 or not np.isfinite(content).all():
            return None, 0.0
        content = content / content.sum()
        tail = 0.0
        for k, piece in enumerate(self.pieces):
            here = np.flatnonzero(panels.piece == k)
            here = here[np.argsort(panels.low[here])]
            for outer, order in (("low", here), ("high", here[::-1])):
                if order.size < 2 or not _open(piece, outer):
                    continue
                width = panels.high[order[:2]] - panels.low[order[:2]]
                last, before = content[order[:2]] / width
                if last * width[0] < 1e-14:
                    continue
                if last >= 0.999 * before:
                    where = "∞" if outer == "high" else "−∞"
                    if piece.side:
                        where = format(piece.anchor, "g") if outer == "low" else "∞" if piece.side > 0 else "−∞"
                    return (
                        f"{divergence.symbol} is infinite: towards x = {where} its integrand falls no faster than one "
                        "over the distance, as far as numbers reach."
                    ), 0.0
                rate = math.log(before / last) / (0.5 * width.sum())
                tail += last / rate
        return None, tail

    def _overflow(self, divergence: Divergence, panels: Nodes) -> str:
        pair = weighted_pair(namespace_of(), panels.log_p, panels.log_q, panels.log_w)
        for holder, other, weights, only, edge in (
            ("P", "Q", pair.p, pair.in_p & ~pair.in_q, divergence.edges.q_zero),
            ("Q", "P", pair.q, pair.in_q & ~pair.in_p, divergence.edges.p_zero),
        ):
            mass = weights[only].sum() if only.any() else 0.0
            if math.isinf(edge) and mass > 0:
                at = panels.x[only][np.argmax(weights[only])]
                return (
                    f"{divergence.symbol} is infinite: {other} has density 0 about x = {at:.6g} and elsewhere, where "
                    f"{holder} has {mass:.6g} of its mass."
                )
        with np.errstate(all="ignore"):
            terms = np.asarray(divergence.terms(pair))  # type: ignore[attr-defined]
        at = panels.x[~np.isfinite(terms)]
        return (
            f"{divergence.symbol} is infinite, or exceeds the largest float64: its integrand does, from about "
            f"x = {at[np.argmin(np.abs(at))]:.6g} on."
        )

    def pair(self, panels: Nodes, p: Distribution, q: Distribution) -> Pair:
        """All nodes as one pair, with the densities of the library in which the answer is wanted."""
        xp = p.xp
        if is_numpy(xp):
            return weighted_pair(xp, panels.log_p.ravel(), panels.log_q.ravel(), panels.log_w.ravel())
        put = putter(p, q)
        # Numbers far out, which another library may not hold, are left out where they carry no mass.
        height = np.maximum(panels.log_p, panels.log_q)
        used = (height > -math.inf) & ((height + panels.log_w > _UNDERFLOW) | (np.abs(panels.x) < _FAR))
        used = used.ravel()
        x, v, which = panels.x.ravel()[used], panels.v.ravel()[used], np.repeat(panels.piece, 21)[used]
        logs = []
        for side in (p, q):
            value = side.log_prob(put(x))
            for k, fit in enumerate(self.continued):
                at = (which == k) & (v < self.pieces[k].resolved)
                if fit is not None and at.any():
                    near = widest(xp, side.log_prob(put(fit.points)))
                    if not np.isfinite(to_numpy(near)).all():
                        continue  # this side has no mass there
                    filled = np.where(at, v, 0.0)
                    value = xp.where(put(at), fit.at(near, filled, xp), value)
            logs.append(widest(xp, value))
        return weighted_pair(xp, logs[0], logs[1], xp.astype(put(panels.log_w.ravel()[used]), logs[0].dtype))


_SHAPE = ("anchor", "width", "side")


def putter(p: Distribution, q: Distribution) -> Callable[[Numbers], Array]:
    """How numbers get beside the parameters of a pair."""
    like = next((x for side in (p, q) for x in side.parameters.values()), None)
    device = None if like is None else device_of(like)
    return lambda x: p.xp.asarray(np.asarray(x), device=device)


def _log_cosh(v: Numbers) -> Numbers:
    log_cosh: Numbers = np.abs(v) + np.log1p(np.exp(-2 * np.abs(v))) - math.log(2.0)
    return log_cosh


# Adaptation.


@dataclass(frozen=True)
class Integral:
    """What the panels came to: their nodes, an estimate of the relative error, and the masses found."""

    space: Any
    panels: Any
    error: float
    masses: tuple[float, float]
    mass_errors: tuple[float, float]
    evaluations: int
    #: Why it is infinite, if the integral diverges.
    diverges: str | None = None


@dataclass
class _Sums:
    """One row per panel: masses of P and Q, the divergence's terms (by both rules), and the power integral in logs."""

    values: Numbers
    errors: Numbers
    log_power: Numbers
    log_error: Numbers
    #: The axis along which the error is largest.
    worse: Numbers

    def joined(self, keep: Numbers, other: _Sums) -> _Sums:
        """Some of these, and others."""
        return _Sums(*(np.concatenate([getattr(self, n)[keep], getattr(other, n)]) for n in self.__dataclass_fields__))


def _terms(divergence: Divergence, panels: Any) -> tuple[Pair, tuple[Numbers, Numbers, Numbers]]:
    """The pair of all nodes, one row per panel: p, q and the terms of the sum that decides, each with its weight."""
    panels = _counted(divergence, panels)
    pair = weighted_pair(namespace_of(), panels.log_p, panels.log_q, panels.log_w)
    core = divergence if isinstance(divergence, Csiszar) else divergence.core
    assert isinstance(core, Csiszar)
    with np.errstate(all="ignore"):
        return pair, (pair.p, pair.q, np.asarray(core.terms(pair)))


def _counted(divergence: Divergence, panels: Any) -> Any:
    """The panels, for a generator of one's own without nodes where both densities underflow: f may not bear them."""
    if isinstance(divergence, Member) or not isinstance(divergence, Csiszar):
        return panels
    none = np.maximum(panels.log_p, panels.log_q) + panels.log_w < _UNDERFLOW
    return replace(panels, log_p=np.where(none, -math.inf, panels.log_p), log_q=np.where(none, -math.inf, panels.log_q))


def _sums(divergence: Divergence, panels: Any) -> _Sums:
    pair, nodes = _terms(divergence, panels)
    core = divergence if isinstance(divergence, Csiszar) else divergence.core
    with np.errstate(all="ignore"):
        of_each = [_by_both(y, panels.rules) for y in nodes]
        values, errors = (np.stack([x[k] for x in of_each], -1) for k in (0, 1))
        none = np.full(values.shape[:1], -math.inf)
        log_value = log_error = none
        if core is not divergence:
            shared = np.asarray(log_power(pair.shared, divergence.core.order))  # type: ignore[union-attr]
            logs = np.where(pair.in_both, shared, -math.inf)
            top = logs.max(axis=-1)
            top = np.where(np.isfinite(top), top, 0.0)
            of_each.append(_by_both(np.exp(logs - top[:, None]), panels.rules))
            log_value, log_error = (np.log(x) + top for x in of_each[-1][:2])
        worse = np.argmax(sum(_relative(x[2]) for x in of_each), axis=0)
        return _Sums(values, errors, log_value, log_error, worse)


def _relative(differences: Numbers) -> Numbers:
    largest = differences.max()
    return differences / largest if 0 < largest < math.inf else np.nan_to_num(differences, posinf=1.0)


def _by_both(y: Numbers, rules: list[Numbers]) -> tuple[Numbers, Numbers, Numbers]:
    """Sums of weighted terms by Kronrod's rule, how far Gauss's is from them, and along which axis."""
    value = y.sum(axis=-1)
    differences = np.stack([np.abs((y * (1.0 - gauss)).sum(axis=-1)) for gauss in rules])
    difference = differences.sum(axis=0)
    # QUADPACK takes a power of the difference, which the smooth deserve; rounding noise would hide behind it. At a kink
    # both rules err alike, so that their difference alone would be no bound.
    difference = 4.0 * difference
    return value, np.where(np.isfinite(difference), difference, np.abs(value)), differences


def integrate(divergence: Divergence, p: Distribution, q: Distribution, rtol: float) -> Integral:
    """Adapt panels to one pair of NumPy's until the divergence has the relative error asked for, or cannot.

    The error of the result is relative.
    """
    space: Any = Line.of(p, q) if not p.event_ndim else Plane.of(p, q)
    panels = space.first()
    sums = _sums(divergence, panels)
    evaluations = panels.x.size
    best, stalled = math.inf, 0
    error = math.inf
    for _ in range(_ROUNDS):
        totals, errors = sums.values.sum(axis=0), sums.errors.sum(axis=0)
        relevant, error = _measures(divergence, sums, totals, errors)
        masses_met = errors[0] <= 1e-9 and errors[1] <= 1e-9
        if error <= rtol and masses_met and space.dimension == 1:
            np.maximum(sums.errors, space.seams(divergence, panels), out=sums.errors)
            errors = sums.errors.sum(axis=0)
            relevant, error = _measures(divergence, sums, totals, errors)
            masses_met = errors[0] <= 1e-9 and errors[1] <= 1e-9
            best, stalled = math.inf, 0
        if error <= rtol and masses_met:
            break
        if not math.isfinite(error) and masses_met:
            break
        worst = max(error if math.isfinite(error) else 0.0, errors[:2].max())
        stalled = 0 if worst < 0.7 * best else stalled + 1
        best = min(best, worst)
        share = 0.25 / len(panels.low)
        wanted = (relevant > rtol * share) | (sums.errors[:, :2] > 1e-9 * share).any(axis=-1)
        wanted &= space.splittable(panels)
        if not wanted.any() or len(panels.low) > _MOST[space.dimension] or stalled > (3 if best < 1e-6 else 12):
            break
        new = space.halves(panels[wanted], sums.worse[wanted])
        evaluations += new.x.size
        sums = sums.joined(~wanted, _sums(divergence, new))
        panels = panels[~wanted].joined(new)
    totals = sums.values.sum(axis=0)
    reason, tail = space.beyond(divergence, panels, sums)
    (p_mass, q_mass), (p_error, q_error) = totals[:2], sums.errors.sum(axis=0)[:2]
    masses, mass_errors = (float(p_mass), float(q_mass)), (float(p_error), float(q_error))
    return Integral(space, panels, error + tail, masses, mass_errors, evaluations, reason)


def _measures(divergence: Divergence, sums: _Sums, totals: Numbers, errors: Numbers) -> tuple[Numbers, float]:
    """The relative error of the divergence that each panel brings, and their sum."""
    total = totals[2]
    by_terms = sums.errors[:, 2] / total if 0 < total < math.inf else sums.errors[:, 2]
    if isinstance(divergence, Csiszar):
        # An infinite sum needs no more panels, but the masses may.
        return (by_terms, float(by_terms.sum())) if np.isfinite(total) else (0.0 * sums.errors[:, 0], math.inf)
    log_total = float(logsumexp(namespace_of(), sums.log_power))
    if abs(log_total) < 0.5 and np.isfinite(total):
        # The function of the sum has at most about the sum's relative error here.
        return 2.0 * by_terms, 2.0 * float(by_terms.sum())
    if log_total == -math.inf:
        return 0.0 * by_terms, 0.0
    if divergence.unit:
        # The logarithm of the integral: its error is the integral's relative one, over the logarithm itself.
        relative = np.exp(sums.log_error - log_total) / max(abs(log_total), 1e-300)
        return relative, float(relative.sum())
    return by_terms, float(by_terms.sum())


def _open(piece: Piece, outer: str) -> bool:
    """Whether the line goes on where a piece ends: towards infinity, or to the end of a support."""
    if piece.side:
        return outer == "low" or piece.high > math.log(0.5 * _FARTHEST)
    bound = piece.low if outer == "low" else piece.high
    return abs(bound) > math.asinh(0.5 * _FARTHEST / piece.width)


# In the plane.


@dataclass
class Boxes:
    """Panels of the plane: like those of the line, with a rule along each axis."""

    pieces: Numbers
    low: Numbers
    high: Numbers
    x: Numbers
    log_p: Numbers
    log_q: Numbers
    log_w: Numbers

    @property
    def rules(self) -> list[Numbers]:
        """Gauss's rule along one axis, Kronrod's along the other."""
        _, kronrod, gauss = _kronrod(15)
        ratio, ones = gauss / kronrod, np.ones(15)
        return [np.outer(ratio, ones).ravel(), np.outer(ones, ratio).ravel()]

    def __getitem__(self, at: Any) -> Boxes:
        return Boxes(*(getattr(self, name)[at] for name in self.__dataclass_fields__))

    def joined(self, other: Boxes) -> Boxes:
        """These panels and others."""
        names = self.__dataclass_fields__
        return Boxes(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names))


@dataclass
class Plane:
    """The plane for a pair of densities of vectors of length 2: the product of two lines, each cut in pieces."""

    p: Distribution
    q: Distribution
    axes: tuple[list[Piece], list[Piece]]
    dimension: int = 2

    @classmethod
    def of(cls, p: Distribution, q: Distribution) -> Plane:
        """Cut along each axis between the landmarks of P and Q."""
        marks = [*_plane_landmarks(p), *_plane_landmarks(q)]
        axes = []
        for axis in (0, 1):
            inside = _apart([pair[axis] for pair in marks])
            bounds = [-math.inf, *(0.5 * (a.at + b.at) for a, b in pairwise(inside)), math.inf]
            axes.append(
                [
                    piece
                    for m, left, right in zip(inside, bounds[:-1], bounds[1:], strict=True)
                    for piece in _piece(m.at, m.width, 0, left, right)
                ]
            )
        return cls(p, q, (axes[0], axes[1]))

    def first(self) -> Boxes:
        """The panels to begin with."""
        rows = []
        for axis in self.axes:
            steps = np.array([0, 1.5, 3.0, 5.0, 9.0, 20.0])
            both = np.concatenate([-steps, steps])
            row = []
            for k, piece in enumerate(axis):
                edges = np.unique([piece.low, piece.high, *both[(both > piece.low) & (both < piece.high)]])
                row += [(k, a, b) for a, b in pairwise(edges)]
            rows.append(np.array(row))
        one, two = (np.repeat(rows[0], len(rows[1]), axis=0), np.tile(rows[1], (len(rows[0]), 1)))
        return self.lay(*(np.stack([one[:, k], two[:, k]], axis=-1) for k in range(3)))

    def lay(self, which: Numbers, low: Numbers, high: Numbers) -> Boxes:
        """Nodes and densities of panels."""
        nodes, kronrod, _ = _kronrod(15)
        which = which.astype(int)
        places, logs = [], []
        for axis in (0, 1):
            half = 0.5 * (high - low)[:, axis, None]
            v = 0.5 * (low + high)[:, axis, None] + half * nodes
            shapes = np.array([(p.anchor, p.width) for p in self.axes[axis]])[which[:, axis]]
            anchor, width = shapes[:, :1], shapes[:, 1:]
            places.append(anchor + width * np.sinh(v))
            logs.append(np.log(kronrod) + np.log(half) + np.log(width) + _log_cosh(v))
        one, two = np.broadcast_arrays(places[0][:, :, None], places[1][:, None, :])
        x = np.stack([one, two], axis=-1).reshape(len(low), 225, 2)
        log_w = (logs[0][:, :, None] + logs[1][:, None, :]).reshape(len(low), 225)
        log_p, log_q = (_heights(side, x.reshape(-1, 2)).reshape(len(low), 225) for side in (self.p, self.q))
        return Boxes(which, low, high, x, log_p, log_q, log_w)

    def halves(self, panels: Boxes, worse: Numbers) -> Boxes:
        """Each panel as two, across the axis of the larger error."""
        along = np.eye(2)[worse]
        middle = 0.5 * (panels.low + panels.high)
        return self.lay(
            np.concatenate([panels.pieces, panels.pieces]),
            np.concatenate([panels.low, np.where(along > 0, middle, panels.low)]),
            np.concatenate([np.where(along > 0, middle, panels.high), panels.high]),
        )

    def splittable(self, panels: Boxes) -> Numbers:
        """Which panels are wide enough to be halved again."""
        splittable: Numbers = (panels.high - panels.low).min(axis=-1) > 1e-9
        return splittable

    def beyond(self, divergence: Divergence, panels: Boxes, sums: _Sums) -> tuple[str | None, float]:
        """Whether the integral leaves the floating range."""
        total = sums.values[:, 2].sum()
        if isinstance(divergence, Csiszar) and divergence.upper_bound == math.inf and not np.isfinite(total):
            return f"{divergence.symbol} is infinite, or exceeds the largest float64: its integrand does.", 0.0
        return None, 0.0

    def pair(self, panels: Boxes, p: Distribution, q: Distribution) -> Pair:
        """All nodes as one pair, with the densities of the library in which the answer is wanted."""
        xp = p.xp
        if is_numpy(xp):
            return weighted_pair(xp, panels.log_p.ravel(), panels.log_q.ravel(), panels.log_w.ravel())
        height = np.maximum(panels.log_p, panels.log_q)
        near = (np.abs(panels.x) < _FAR).all(axis=-1)
        used = ((height > -math.inf) & ((height + panels.log_w > _UNDERFLOW) | near)).ravel()
        put = putter(p, q)
        logs = [widest(xp, side.log_prob(put(panels.x.reshape(-1, 2)[used]))) for side in (p, q)]
        return weighted_pair(xp, logs[0], logs[1], xp.astype(put(panels.log_w.ravel()[used]), logs[0].dtype))


def _plane_landmarks(distribution: Distribution) -> list[tuple[Landmark, Landmark]]:
    if isinstance(distribution, Mixture):
        return [marks for part in distribution.each for marks in _plane_landmarks(part)]
    try:
        at, width = (np.asarray(to_numpy(x), dtype=float) for x in (distribution.mean(), distribution.std()))
    except NotImplementedError:
        at = width = np.full(2, math.nan)
    if not (np.isfinite(at).all() and np.isfinite(width).all() and (width > 0).all()):
        try:
            drawn = np.asarray(to_numpy(distribution.sample(4096, rng=0)), dtype=float)
        except NotImplementedError:
            return [(Landmark(0.0, 1.0), Landmark(0.0, 1.0))]
        at = np.median(drawn, axis=0)
        width = np.maximum(np.subtract(*np.quantile(drawn, [0.75, 0.25], axis=0)), 1e-12 * (1 + np.abs(at)))
    return [(Landmark(float(at[0]), float(width[0])), Landmark(float(at[1]), float(width[1])))]


# The rule.


@rule(Divergence, Distribution, Distribution, "quadrature")
def quadrature(
    divergence: Divergence, p: Any, q: Any, *, axis: Any = -1, rtol: float | None = None, **options: Any
) -> Estimate | None:
    """Integrate the terms of the divergence over the line or the plane.

    Declines for other outcomes, for a divergence that no integral decides, and where the relative error stays above
    1e-4 or mass was not found.
    """
    dimension = _dimension(p, q)
    if dimension is None or not decided(divergence):
        return None
    wanted = (RTOL if dimension == 1 else RTOL_PLANE) if rtol is None else rtol

    def short(worst: float) -> str | None:
        came = f"quadrature of {divergence.symbol} came to a relative error of about {worst:.1g}"
        return f"{came}, not of rtol = {wanted:g}" if worst > wanted else None

    return by_row(divergence, p, q, wanted, _measured, "quadrature", short)


def _dimension(p: Distribution, q: Distribution) -> int | None:
    sides = (p.support, q.support)
    if all(isinstance(s, Interval) for s in sides):
        return 1
    return 2 if all(type(s) is Vectors and s.dimension == 2 for s in sides) else None


def _measured(divergence: Divergence, p: Any, q: Any, rtol: float) -> tuple[Array, float, str | None] | None:
    """The value, its relative error and why it is infinite; None where Monte Carlo should be asked."""
    like = np.zeros((), dtype=np.float64)
    numpy = namespace_of()
    hosts = [side if is_numpy(side.xp) else detached(side).moved(numpy, like) for side in (p, q)]
    found = integrate(divergence, hosts[0], hosts[1], rtol)
    if not max(found.mass_errors) < 0.1 * _MASS:
        return None
    for name, side, mass in zip("pq", hosts, found.masses, strict=True):
        if abs(mass - 1.0) > _MASS:
            if isinstance(side, Density) and found.space.dimension == 1:
                raise ValueError(not_normalised(name, side, mass, "integrates"))
            return None
    xp = p.xp
    if found.diverges:
        return xp.asarray(math.inf, dtype=xp.float64), 0.0, found.diverges
    if not found.error <= _WORST:
        return None
    with np.errstate(all="ignore"):
        value = divergence.total(found.space.pair(_counted(divergence, found.panels), p, q))
    return value, found.error, None


def not_normalised(name: str, side: Distribution, mass: float, verb: str) -> str:
    """What to say of a density whose mass is not 1."""
    if mass < 1e-3:
        return f"{name}, {side!r}, {verb} to {mass:.6g}: none of its mass was found, and sample= would say where it is"
    return (
        f"{name}, {side!r}, {verb} to {mass:.6g}, not to 1: subtract log({mass:.6g}) from its log_prob; if it is "
        "normalised, some of its mass was not found, and sample= would say where it is"
    )
