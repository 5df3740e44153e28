"""The plane for a pair of densities of vectors of length 2: the product of two lines, each cut in pieces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from dkl._array import is_numpy, widest
from dkl.divergences import Csiszar, Divergence
from dkl.families.base import Distribution
from dkl.methods.landmarks import apart, plane_landmarks
from dkl.methods.nodes import UNDERFLOW, Numbers, heights, putter, weighted_pair
from dkl.methods.quadrature.kronrod import gauss_kronrod
from dkl.methods.quadrature.line import FAR, Piece, log_cosh, pieces_about
from dkl.methods.quadrature.panels import Sums
from dkl.pairs import Pair


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
        _, kronrod, gauss = gauss_kronrod(15)
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
        marks = [*plane_landmarks(p), *plane_landmarks(q)]
        axes = []
        for axis in (0, 1):
            inside = apart([pair[axis] for pair in marks])
            bounds = [-math.inf, *(0.5 * (a.at + b.at) for a, b in pairwise(inside)), math.inf]
            axes.append(
                [
                    piece
                    for m, left, right in zip(inside, bounds[:-1], bounds[1:], strict=True)
                    for piece in pieces_about(m.at, m.width, 0, left, right)
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
        nodes, kronrod, _ = gauss_kronrod(15)
        which = which.astype(int)
        places, logs = [], []
        for axis in (0, 1):
            half = 0.5 * (high - low)[:, axis, None]
            v = 0.5 * (low + high)[:, axis, None] + half * nodes
            shapes = np.array([(p.anchor, p.width) for p in self.axes[axis]])[which[:, axis]]
            anchor, width = shapes[:, :1], shapes[:, 1:]
            places.append(anchor + width * np.sinh(v))
            logs.append(np.log(kronrod) + np.log(half) + np.log(width) + log_cosh(v))
        one, two = np.broadcast_arrays(places[0][:, :, None], places[1][:, None, :])
        x = np.stack([one, two], axis=-1).reshape(len(low), 225, 2)
        log_w = (logs[0][:, :, None] + logs[1][:, None, :]).reshape(len(low), 225)
        log_p, log_q = (heights(side, x.reshape(-1, 2)).reshape(len(low), 225) for side in (self.p, self.q))
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

    def beyond(self, divergence: Divergence, panels: Boxes, sums: Sums) -> tuple[str | None, float]:
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
        near = (np.abs(panels.x) < FAR).all(axis=-1)
        used = ((height > -math.inf) & ((height + panels.log_w > UNDERFLOW) | near)).ravel()
        put = putter(p, q)
        logs = [widest(xp, side.log_prob(put(panels.x.reshape(-1, 2)[used]))) for side in (p, q)]
        return weighted_pair(xp, logs[0], logs[1], xp.astype(put(panels.log_w.ravel()[used]), logs[0].dtype))
