"""The line for a pair of densities: cut in pieces, each with a coordinate of its own, and nodes laid into them.

It is cut at the ends of both supports and between the landmarks of P and Q. Around a landmark c of width s,
x = c + s·sinh(v): uniform inside, logarithmic outside, out to 1e150. At an end a of a support x = a ± exp(v), and where
numbers are too coarse to come closer, log p and log q go on as α·v + c + β·exp(v) + …, a power times a smooth function,
fitted where they can be resolved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from dkl._array import is_numpy, namespace_of, to_numpy, widest
from dkl.divergences import Csiszar, Divergence
from dkl.families.base import Distribution
from dkl.methods.landmarks import FARTHEST, Landmark, all_ends, apart, landmarks
from dkl.methods.nodes import UNDERFLOW, Numbers, heights, putter, weighted_pair
from dkl.methods.quadrature.continuation import Continued, continuation
from dkl.methods.quadrature.kronrod import gauss_kronrod
from dkl.methods.quadrature.panels import Sums, terms
from dkl.pairs import Pair

#: Numbers beyond this are left out in another library than NumPy where they carry no mass.
FAR = 1e12
# Where a side has less of its mass than this, a density of 0 of the other may be an overflow on the way to it.
_DOUBTFUL = 1e-20


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
    ends = sorted(all_ends(p) | all_ends(q))
    marks = landmarks(p) + landmarks(q)
    pieces: list[Piece] = []
    for a, b in pairwise(ends):
        inside = apart([m for m in marks if a + _closest(a) < m.at < b - _closest(b)])
        if not inside and not (math.isfinite(a) or math.isfinite(b)):
            inside = [Landmark(0.0, 1.0)]
        anchors: list[tuple[float, float, int]] = [(m.at, m.width, 0) for m in inside]
        if math.isfinite(a):
            anchors.insert(0, (a, 1.0, 1))
        if math.isfinite(b):
            anchors.append((b, 1.0, -1))
        bounds = [a, *(0.5 * x[0] + 0.5 * y[0] for x, y in pairwise(anchors)), b]
        for (at, width, side), left, right in zip(anchors, bounds[:-1], bounds[1:], strict=True):
            pieces += pieces_about(at, width, side, left, right)
    return pieces


def _closest(end: float) -> float:
    """How near to an end of a support numbers are fine enough: many millions of their spacings."""
    return max(abs(end) * 2.0**-26, 1e-290) if math.isfinite(end) else 0.0


def pieces_about(at: float, width: float, side: int, left: float, right: float) -> Iterator[Piece]:
    """The piece around a landmark or, on one side, at an end of a support, from ``left`` to ``right``; or none."""
    if side:
        length = abs((right if side > 0 else left) - at)
        length = min(length, FARTHEST)
        if length <= 0:
            return
        low = math.log(min(_closest(at), 1e-3 * length))
        yield Piece(at, 1.0, side, low, math.log(length), low)
        return
    low, high = (math.asinh(max(-FARTHEST, min(FARTHEST, b - at)) / width) for b in (left, right))
    if low < high:
        yield Piece(at, width, 0, low, high)


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
        fit, low = continuation(piece), piece.low
        rates: list[float] = []
        if piece.high - piece.resolved > 14.0 * math.log(2.0):
            probe = piece.resolved + math.log(4.0) + math.log(16.0) * np.arange(3)
            x = piece.anchor + piece.side * np.exp(probe)
            exact = np.log(np.abs(x - piece.anchor))
            for side in (self.p, self.q):
                values, truth = heights(side, fit.points), heights(side, x)
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
        nodes, kronrod, gauss = gauss_kronrod(21)
        # Where rounding moved the nodes, their common end is foretold only roughly.
        rough = np.where((panels.gauss != gauss / kronrod).any(axis=-1), 1e-3, 0.0)
        order = np.lexsort((panels.low, panels.piece))
        half = 0.5 * (panels.high - panels.low)
        legendre = np.linalg.inv(np.polynomial.legendre.legvander(nodes, 20))
        low_end, high_end = (np.polynomial.legendre.legvander(np.array([t]), 20)[0] @ legendre for t in (-1.0, 1.0))
        met = panels.piece[order[1:]] == panels.piece[order[:-1]]
        found = np.zeros((order.size, 3))
        for k, y in enumerate(terms(divergence, panels)[1]):
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
        nodes, kronrod, gauss = gauss_kronrod(21)
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
            log_jacobian = np.where(end, v, np.log(width) + log_cosh(np.where(end, 0.0, v)))
            log_w = np.log(weights) + np.log(half) + log_jacobian
            log_p, log_q = (self.asked(partial(heights, side), x, v, which[:, None]) for side in (self.p, self.q))
        return Nodes(which, low, high, x, v, log_p, log_q, log_w, weights, ratio)

    @staticmethod
    def _refit(weights: Numbers, ratio: Numbers, nodes: Numbers, shifted: Numbers) -> None:
        """The interpolating rules for nodes that were moved, where they are still in order."""
        rows = np.flatnonzero(shifted)
        rows = rows[(np.diff(nodes[rows], axis=-1) > 1e-3).all(axis=-1)]
        if not rows.size:
            return
        _, _, gauss = gauss_kronrod(21)
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

    def asked(self, of: Callable[[Numbers], Numbers], x: Numbers, v: Numbers, which: Numbers) -> Numbers:
        """A log-density, or anything that behaves like one at the ends of supports, continued where numbers end.

        Parameters
        ----------
        of : callable
            Of outcomes of any shape: values of that shape, and any axes of their own after it.
        x, v : array
            The nodes, and their coordinates in their pieces.
        which : array
            The piece of each; its shape broadcasts with theirs.
        """
        value = of(x)
        # At a singular point itself, which has no mass, the density may be infinite.
        value = np.where(value == math.inf, -math.inf, value)
        for k, fit in enumerate(self.continued):
            if fit is None:
                continue
            at = (which == k) & (v < self.pieces[k].resolved)
            if at.any():
                near = of(fit.points)
                made = fit.at(np.moveaxis(near, 0, -1), v[at].reshape(-1, *(1,) * (near.ndim - 1)))
                value[at] = np.where(np.isfinite(made), made, -math.inf)
        return value

    def beyond(self, divergence: Divergence, panels: Nodes, sums: Sums) -> tuple[str | None, float]:
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
                said = (
                    f"{divergence.symbol} is infinite: {other} has density 0 about x = {at:.6g} and elsewhere, where "
                    f"{holder} has {mass:.6g} of its mass"
                )
                # So far out it may be the log-density that fails.
                return f"{said}; or its log_prob overflows there." if mass < _DOUBTFUL else f"{said}."
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
        used = (height > -math.inf) & ((height + panels.log_w > UNDERFLOW) | (np.abs(panels.x) < FAR))
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


def log_cosh(v: Numbers) -> Numbers:
    """The logarithm of cosh, without overflow."""
    value: Numbers = np.abs(v) + np.log1p(np.exp(-2 * np.abs(v))) - math.log(2.0)
    return value


def _open(piece: Piece, outer: str) -> bool:
    """Whether the line goes on where a piece ends: towards infinity, or to the end of a support."""
    if piece.side:
        return outer == "low" or piece.high > math.log(0.5 * FARTHEST)
    bound = piece.low if outer == "low" else piece.high
    return abs(bound) > math.asinh(0.5 * FARTHEST / piece.width)
