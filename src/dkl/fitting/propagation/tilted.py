"""Moments of many tilted densities at once: cavity times factor, each on a line, by adaptive quadrature.

A factor may be narrow against the cavity, far in its tail, bent or cut off. So each density's mode and width are
searched first, in logarithms, on grids that reach from a quarter of a width to thousands of them; panels that double in
size away from the mode carry the rules of Gauss and Kronrod with 21 points, and the worst are halved until their errors
do not count. Smooth densities whose place and width were well guessed, as they are once the sites hardly move, need
none of it: there the trapezoidal rule with 53 points is right to all digits, and twice its step tells so. All densities
go through each step together.

References
----------
.. [1] R. Piessens, E. de Doncker-Kapenga, C. Überhuber, D. Kahaner, QUADPACK (1983), section 2.2.1.1 (the error).
.. [2] L. N. Trefethen, J. A. C. Weideman, "The exponentially convergent trapezoidal rule", SIAM Review 56 (2014).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dkl.methods.nodes import Numbers
from dkl.methods.quadrature.kronrod import gauss_kronrod

#: A function of places u (k, m) and the densities (k,) that the rows belong to.
OnLines = Callable[[Numbers, Numbers], Numbers]
#: What means are asked of: a function of u, the densities, and the centres and widths (k, 1) that go with them.
Statistics = Callable[[Numbers, Numbers, Numbers, Numbers], Numbers]

# A grid about the supposed mode, in widths: from a quarter to a few thousand.
_GRID = 0.3 * np.sinh(0.8 * np.arange(-12.0, 13.0))
_SEARCHES = 40
# Where that shows nothing: a grid whose steps are a thousandth of a width, or of the distance.
_DENSE = np.sinh(np.linspace(-8.0, 8.0, 16_385))
# Farther out there is no mass, and squares would overflow.
_FAR = 1e100
# Edges of panels in widths; of a normal density all but 1e-18 lies within the last of the first.
_EDGES = np.concatenate([[0.0, 2.0, 5.0, 9.0], 9.0 * 2.0 ** np.arange(1.0, 60.0)])
# Below the top by more than this, a density does not count: exp(−40) is 4e-18.
_DEPTH = 40.0
_HALVINGS = 64
# A density that leaps at the end of a panel by more than this share of what it is there is looked at as a jump.
_JUMP = 0.01
# The trapezoidal rule of step h is right to about the square of what it is with 2h, where a density is smooth [2].
_STEP = 0.36
_COARSE = 1e-11
_TRAPEZOID = _STEP * np.arange(-26.0, 27.0)
# Panels are halved until QUADPACK's bounds of their errors, which the errors themselves stay far below, are this share
# of the whole.
_RTOL = 1e-12
# Where outcomes themselves are rounded no halving helps, and every panel asks for it: so many of a density at most.
_AT_ONCE = 4096


@dataclass(frozen=True)
class Moments:
    """Of each density: what it integrates to, and means under it.

    Attributes
    ----------
    log_mass : array, shape (n,)
    means : array, shape (p, n)
        Those of the statistics, under the density once it is normalised.
    centre, width : array, shape (n,)
        What the statistics were told: about where its mode is, and how wide it is there.
    found : array of bool, shape (n,)
        Whether there is a finite mass; where not, the rest says nothing.
    """

    log_mass: Numbers
    means: Numbers
    centre: Numbers
    width: Numbers
    found: Numbers


def moments(
    log_density: OnLines,
    statistics: Statistics,
    centre: Numbers,
    width: Numbers,
    rounding: Numbers | float = 0.0,
) -> Moments:
    """Integrate densities on lines.

    Parameters
    ----------
    log_density : callable
        ``log_density(u, which)`` at places of shape (k, m), of the densities ``which`` of shape (k,).
    statistics : callable
        ``statistics(u, which, centre, width)``, of shape (p, k, m): what the means are asked of. It is told mode and
        width of the density of each row, shape (k, 1), by which a variance can be taken without cancellation.
    centre, width : array, shape (n,)
        Where to begin the search, and the scale there.
    rounding : float or array, shape (n,)
        The relative error of the densities: no more is asked of their integrals.

    Returns
    -------
    Moments
        Right to about 1e-13 of the mass and of the means' own spread, for densities with finitely many bends and jumps.
        A mode that is narrower than its distance from ``centre`` by thousands of widths and stands on a plateau may not
        be seen.
    """
    rounding = np.broadcast_to(rounding, centre.shape)
    easy = _smooth(log_density, statistics, centre, width, rounding)
    hard = np.flatnonzero(~easy.found)
    if not hard.size:
        return easy
    rest = _searched(
        lambda u, rows: log_density(u, hard[rows]),
        lambda u, rows, at, scale: statistics(u, hard[rows], at, scale),
        centre[hard],
        width[hard],
        rounding[hard],
    )
    for mine, its in (
        (easy.log_mass, rest.log_mass), (easy.centre, rest.centre), (easy.width, rest.width), (easy.found, rest.found)
    ):  # fmt: skip
        mine[hard] = its
    easy.means[:, hard] = rest.means
    return easy


def _smooth(
    log_density: OnLines, statistics: Statistics, centre: Numbers, width: Numbers, rounding: Numbers
) -> Moments:
    """By the trapezoidal rule about the guess; found is where that is enough."""
    which = np.arange(len(centre))
    at, scale = centre.astype(float), width.astype(float)
    u = at[:, None] + scale[:, None] * _TRAPEZOID
    logs = log_density(u, which)
    top = logs.max(axis=1)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        y = np.exp(logs - top[:, None])
        t = statistics(u, which, at[:, None], scale[:, None])
        terms = np.concatenate([y[None], np.where(y > 0, t * y, 0.0)])
        fine = _STEP * terms.sum(axis=-1)
        coarse = 2.0 * _STEP * terms[..., ::2].sum(axis=-1)
        size = _STEP * np.abs(terms).sum(axis=-1)
        ends = np.abs(terms[..., [0, -1]]).max(axis=-1)
        share = np.maximum(_COARSE, _noise(rounding, top))
        found = ((np.abs(fine - coarse) <= share * size) & (ends <= 1e-14 * size)).all(axis=0) & np.isfinite(top)
        return Moments(top + np.log(fine[0] * scale), fine[1:] / fine[0], at, scale, found)


def _noise(rounding: Numbers, top: Numbers) -> Numbers:
    """What differences of sums of densities are worth: their own error and that of their logarithms, some times."""
    made: Numbers = rounding + 8.0 * np.spacing(np.where(np.isfinite(top), np.abs(top), 0.0))
    return made


def _searched(
    log_density: OnLines, statistics: Statistics, centre: Numbers, width: Numbers, rounding: Numbers
) -> Moments:
    """By adaptive quadrature about modes that are searched first."""
    at, scale, top, reach, found = _located(log_density, centre, width)
    first, proper = _panels(log_density, at, scale, top, reach, found)
    found &= proper
    first = first[found[first[:, 0].astype(int)]]
    log_mass = np.full(len(centre), math.nan)
    rtol = np.maximum(_RTOL, _noise(rounding, top))
    total, above = _integrated(log_density, statistics, at, scale, top, first, rtol)
    means = np.full((len(above), len(centre)), math.nan)
    found &= (total > 0) & np.isfinite(total) & np.isfinite(above).all(axis=0)
    log_mass[found] = top[found] + np.log(total[found])
    means[:, found] = above[:, found] / total[found]
    return Moments(log_mass, means, at, scale, found)


def _located(
    log_density: OnLines, centre: Numbers, width: Numbers
) -> tuple[Numbers, Numbers, Numbers, Numbers, Numbers]:
    """Mode, width there, top of the logarithm, distance up to which it counts, and whether there is one."""
    n = len(centre)
    at, scale = centre.astype(float).copy(), width.astype(float).copy()
    top, reach, seen = np.full(n, -math.inf), np.zeros(n), at.copy()
    open_ = np.arange(n)
    last = len(_GRID) - 1
    for turn in range(_SEARCHES):
        if turn == 1:
            # Where nothing was seen, it is looked for between the points, once.
            open_ = _looked_for(log_density, at, scale, open_, top)
        u = at[open_, None] + scale[open_, None] * _GRID
        logs = log_density(u, open_)
        rows = np.arange(len(open_))
        best = np.argmax(logs, axis=1)
        height = logs[rows, best]
        lost = height == -math.inf
        edge = (best == 0) | (best == last)
        inner = np.clip(best, 1, last - 1)
        here, left, right = (u[rows, inner + k] for k in (0, -1, 1))
        with np.errstate(invalid="ignore"):
            drops = [height - logs[rows, inner + k] for k in (-1, 1)]
        vertex, wide = _parabola(here - left, right - here, *(np.where(lost | edge, 0.0, drop) for drop in drops))
        # A vertex beyond a jump: back to the highest place that was seen, and no farther.
        new_at = np.where(lost, seen[open_], np.where(edge, u[rows, best], here + vertex))
        new_scale = np.where(lost, scale[open_], np.where(edge, 50.0 * scale[open_], wide))
        change = new_scale / scale[open_]
        near = np.abs(new_at - at[open_]) <= new_scale
        known = top[open_] > -math.inf
        done = np.where(lost, known, ~edge & near & (change > 0.5) & (change < 2.0))
        counts = logs > (height - _DEPTH)[:, None]
        distance = np.where(counts, np.abs(u - new_at[:, None]), 0.0).max(axis=1)
        distance = np.where(lost, reach[open_], distance)
        seen[open_] = np.where(lost, seen[open_], u[rows, best])
        at[open_], scale[open_], reach[open_] = new_at, new_scale, distance
        top[open_] = np.where(lost, top[open_], height)
        open_ = open_[~done & (np.abs(new_at) + _GRID[-1] * new_scale < _FAR) & (new_scale > 0)]
        if not open_.size:
            break
    # A mode at a jump is narrowed without end: what was reached is good enough, as panels are halved there.
    near = np.abs(at) + _GRID[-1] * scale < _FAR
    return at, scale, top, reach, np.isfinite(top) & near & (scale > 0)


def _looked_for(log_density: OnLines, at: Numbers, scale: Numbers, open_: Numbers, top: Numbers) -> Numbers:
    """Of densities that are still open those that are known; at and scale of those seen on a dense grid are set."""
    lost = open_[top[open_] == -math.inf]
    for k in lost:
        u = at[k] + scale[k] * _DENSE
        logs = log_density(u[None], np.array([k]))[0]
        best = int(np.clip(np.argmax(logs), 1, len(u) - 2))
        if logs.max() > -math.inf:
            at[k], scale[k], top[k] = u[best], u[best + 1] - u[best], logs.max()
    kept: Numbers = open_[top[open_] > -math.inf]
    return kept


def _parabola(left: Numbers, right: Numbers, drop_left: Numbers, drop_right: Numbers) -> tuple[Numbers, Numbers]:
    """The vertex of the parabola through three points, of which the middle is the highest, and the width of its normal.

    Of a drop without end what a jump needs is a smaller width, not none.
    """
    a, b = np.minimum(drop_left, 50.0) / left, np.minimum(drop_right, 50.0) / right
    curvature = 2.0 * (a + b) / (left + right)
    flat = curvature <= 0
    curvature = np.where(flat, 1.0, curvature)
    # The slope at the middle, from those of the two chords.
    slope = (a * right - b * left) / (left + right)
    vertex = np.clip(slope / curvature, -left, right)
    return np.where(flat, 0.0, vertex), np.where(flat, left + right, 1.0 / np.sqrt(curvature))


def _panels(
    log_density: OnLines, at: Numbers, scale: Numbers, top: Numbers, reach: Numbers, found: Numbers
) -> tuple[Numbers, Numbers]:
    """Panels as rows of (density, low, high), and which densities come to an end."""
    proper = found.copy()
    made = []
    for side in (-1.0, 1.0):
        # The first edge beyond which the density does not count any more.
        ends = np.full(len(at), -1)
        open_ = np.flatnonzero(found)
        for low, high in ((2, 4), *((k, min(k + 6, len(_EDGES))) for k in range(4, len(_EDGES), 6))):
            u = at[open_, None] + side * scale[open_, None] * _EDGES[low:high]
            below = log_density(u, open_) <= (top[open_] - _DEPTH)[:, None]
            below &= _EDGES[low:high] * scale[open_, None] >= reach[open_, None]
            first = np.where(below.any(axis=1), low + np.argmax(below, axis=1), -1)
            ends[open_] = first
            open_ = open_[first < 0]
            if not open_.size:
                break
        proper &= ends > 0
        for k in range(1, len(_EDGES)):
            rows = np.flatnonzero(ends >= k)
            if not rows.size:
                break
            inner, outer = (at[rows] + side * scale[rows] * _EDGES[j] for j in (k - 1, k))
            made.append(np.stack([rows, np.minimum(inner, outer), np.maximum(inner, outer)], axis=1))
    panels = np.concatenate(made) if made else np.zeros((0, 3))
    return panels[panels[:, 1] < panels[:, 2]], proper


def _extrapolating(nodes: Numbers, at: float) -> Numbers:
    """The weights of three values whose parabola is asked elsewhere."""
    a, b, c = nodes
    return np.array([
        (at - b) * (at - c) / ((a - b) * (a - c)),
        (at - a) * (at - c) / ((b - a) * (b - c)),
        (at - a) * (at - b) / ((c - a) * (c - b)),
    ])  # fmt: skip


def _integrated(
    log_density: OnLines,
    statistics: Statistics,
    at: Numbers,
    scale: Numbers,
    top: Numbers,
    panels: Numbers,
    rtol: Numbers,
) -> tuple[Numbers, Numbers]:
    """∫ and ∫T of exp(log-density − top), of each density; T as rows."""
    nodes, kronrod, gauss = (np.pad(x, 1, constant_values=0.0) for x in gauss_kronrod(21))
    # The ends have no weight: they tell of a jump between them and the last node, where both rules are blind.
    nodes[0], nodes[-1] = -1.0, 1.0
    gap, outer = 1.0 + nodes[1], _extrapolating(nodes[1:4], -1.0)
    n = len(at)
    kept: Numbers | None = None
    sizes: Numbers | None = None
    for _ in range(_HALVINGS):
        which, low, high = panels[:, 0].astype(int), panels[:, 1], panels[:, 2]
        half = 0.5 * (high - low)
        u = (0.5 * (low + high))[:, None] + half[:, None] * nodes
        with np.errstate(over="ignore", invalid="ignore"):
            y = np.exp(log_density(u, which) - top[which][:, None])
            t = statistics(u, which, at[which][:, None], scale[which][:, None])
            # Where a density is nothing, a statistic that is infinite adds nothing.
            terms = np.concatenate([y[None], np.where(y > 0, t * y, 0.0)])
        # A density that grows without end has no finite sums, and is left out below.
        with np.errstate(over="ignore", invalid="ignore"):
            whole = half * (terms @ kronrod)
            spread = half * (np.abs(terms - (whole / (2.0 * half))[..., None]) @ kronrod)
            size = half * (np.abs(terms) @ kronrod)
            rough = np.abs(whole - half * (terms @ gauss))
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.where(spread > 0, spread * np.minimum(1.0, (200.0 * rough / spread) ** 1.5), 0.0)
        blind = np.zeros(len(panels))
        for end, inner in ((0, y[:, 1:4]), (-1, y[:, -2:-5:-1])):
            with np.errstate(over="ignore", invalid="ignore"):
                jump = np.abs(y[:, end] - inner @ outer)
            blind += np.where(jump > _JUMP * np.maximum(y[:, end], inner[:, 0]), gap * half * jump, 0.0)
        error[0] += blind
        if kept is None or sizes is None:
            kept, sizes = np.zeros((len(terms), n)), np.zeros((len(terms), n))
        of_panels = np.stack([np.bincount(which, z, minlength=n) for z in size])
        total = sizes + of_panels
        middle = 0.5 * (low + high)
        bad = (error > (rtol * total)[:, which]).any(axis=0) & (low < middle) & (middle < high)
        bad &= np.isfinite(error).all(axis=0)
        bad &= np.bincount(which[bad], minlength=n)[which] <= _AT_ONCE
        good = ~bad
        kept += np.stack([np.bincount(which[good], z[good], minlength=n) for z in whole])
        sizes += np.stack([np.bincount(which[good], z[good], minlength=n) for z in size])
        if not bad.any():
            break
        rest = panels[bad]
        panels = np.concatenate([
            np.stack([rest[:, 0], rest[:, 1], middle[bad]], axis=1),
            np.stack([rest[:, 0], middle[bad], rest[:, 2]], axis=1),
        ])  # fmt: skip
    assert kept is not None
    return kept[0], kept[1:]
