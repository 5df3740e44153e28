"""Where a generator with a kink has it: at the places where both densities are equal, between which all is smooth."""

from __future__ import annotations

from functools import partial

import numpy as np

from dkl.divergences import Divergence
from dkl.divergences.symmetric import TotalVariation
from dkl.methods.nodes import Numbers, heights
from dkl.methods.quadrature.line import Line, Nodes

# Steps of the search for a crossing at most, and where it ends: a panel that ends so near to a kink is smooth to the
# last digit, since the square of the distance counts.
_STEPS = 20
_EQUAL = 1e-8
# Where a node holds less than exp(this) of the mass, no kink counts.
_NOTHING = -50.0


def has_kink(divergence: Divergence) -> bool:
    """Whether the divergence's generator has a kink where both densities are equal."""
    return isinstance(divergence, TotalVariation)


def cut_at_crossings(line: Line, panels: Nodes) -> Nodes:
    """The panels of the line with their ends also where P and Q have the same density."""
    order = np.lexsort((panels.low, panels.piece))
    which, v = np.repeat(panels.piece[order], panels.v.shape[-1]), panels.v[order].ravel()
    with np.errstate(invalid="ignore"):
        ratio = (panels.log_p - panels.log_q)[order].ravel()
        counts = (np.maximum(panels.log_p, panels.log_q) + panels.log_w)[order].ravel() > _NOTHING
    known = np.flatnonzero(np.isfinite(ratio) & counts)
    a, b = known[:-1], known[1:]
    met = (which[a] == which[b]) & (ratio[a] * ratio[b] < 0)
    if not met.any():
        return panels
    a, b = a[met], b[met]
    pieces, found = which[a], _crossings(line, which[a], v[a], v[b], ratio[a], ratio[b])
    inside = (panels.piece == pieces[:, None]) & (panels.low < found[:, None]) & (found[:, None] < panels.high)
    cut = inside.any(axis=0)
    low, high, at = [], [], []
    for k in np.flatnonzero(cut):
        edges = np.unique(np.concatenate([[panels.low[k]], found[inside[:, k]], [panels.high[k]]]))
        low += edges[:-1].tolist()
        high += edges[1:].tolist()
        at += [int(panels.piece[k])] * (edges.size - 1)
    return panels[~cut].joined(line.lay(np.array(at), np.array(low), np.array(high))) if cut.any() else panels


def _crossings(line: Line, which: Numbers, a: Numbers, b: Numbers, at_a: Numbers, at_b: Numbers) -> Numbers:
    """Where log p = log q between two v of a piece each, at which the difference has different signs."""
    found, before = a, np.zeros_like(a)
    for _ in range(_STEPS):
        # Regula falsi, with half of the height at an end that stays a second time (the Illinois rule).
        found = np.clip(b - at_b * (b - a) / (at_b - at_a), a, b)
        between = _ratio(line, which, found)
        if not (np.abs(between) > _EQUAL).any():
            break
        left = between * at_a > 0
        stays = np.where(before == np.where(left, 1.0, -1.0), 0.5, 1.0)
        a, b = np.where(left, found, a), np.where(left, b, found)
        at_a, at_b = np.where(left, between, stays * at_a), np.where(left, stays * at_b, between)
        before = np.where(left, 1.0, -1.0)
    return found


def _ratio(line: Line, which: Numbers, v: Numbers) -> Numbers:
    """Log p − log q at places of the pieces."""
    anchor, width, side = (np.array([getattr(p, n) for p in line.pieces])[which] for n in ("anchor", "width", "side"))
    with np.errstate(all="ignore"):
        x = anchor + np.where(side != 0, side * np.exp(v), width * np.sinh(v))
        log_p, log_q = (line.asked(partial(heights, one), x, v, which) for one in (line.p, line.q))
        return np.asarray(np.nan_to_num(log_p - log_q))
