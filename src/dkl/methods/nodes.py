"""Places with weights, as outcomes of a pair: what quadrature, sums and Monte Carlo share.

A divergence's terms are homogeneous: at a place with weight w its term for (w·p, w·q) is w times that for (p, q). So
places and weights make a pair of outcomes (:mod:`dkl.pairs`) of which every member of the family takes its total, in
logarithms, by the definition that it has for tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dkl._array import Array, Namespace, device_of, to_numpy
from dkl.families.base import Distribution
from dkl.pairs import Outcomes, Pair

Numbers = np.ndarray[Any, Any]

# Below exp(this) a number underflows.
UNDERFLOW = -745.0


def weighted_pair(xp: Namespace, log_p: Array, log_q: Array, log_w: Array) -> Pair:
    """The pair of outcomes (w·p, w·q), along the last axis, from the logarithms of p, q and w.

    A node where one density underflows, and the other is nothing at all, belongs to neither.
    """
    p_none, q_none = log_p == -math.inf, log_q == -math.inf
    in_p = ~p_none & ~(q_none & (log_p + log_w < UNDERFLOW))
    in_q = ~q_none & ~(p_none & (log_q + log_w < UNDERFLOW))
    both = in_p & in_q
    lp, lq, lw = xp.where(both, log_p, 0.0), xp.where(both, log_q, 0.0), xp.where(both, log_w, 0.0)
    shared = Outcomes(xp, xp.exp(lp + lw), xp.exp(lq + lw), lp - lq, True, _log_p=lp + lw, _log_q=lq + lw)
    p = xp.where(in_p, xp.exp(xp.where(in_p, log_p + log_w, 0.0)), 0.0)
    q = xp.where(in_q, xp.exp(xp.where(in_q, log_q + log_w, 0.0)), 0.0)
    return Pair(xp, p, q, in_p, in_q, shared)


def putter(p: Distribution, q: Distribution) -> Callable[[Numbers], Array]:
    """How numbers get beside the parameters of a pair."""
    like = next((x for side in (p, q) for x in side.parameters.values()), None)
    device = None if like is None else device_of(like)
    return lambda x: p.xp.asarray(np.asarray(x), device=device)


def heights(distribution: Distribution, x: Numbers) -> Numbers:
    """The log-density of NumPy's, without a word about what overflows."""
    with np.errstate(all="ignore"):
        return np.asarray(to_numpy(distribution.log_prob(x)), dtype=float)


def not_normalised(name: str, side: Distribution, mass: float, verb: str) -> str:
    """What to say of a density whose mass is not 1."""
    where = "sample= would say where it is"
    if getattr(side, "can_sample", False):
        where = (
            "may lie beyond the reach of numbers: further out than 1e150, or nearer to an end of its support than they "
            "are apart, which the density of log(x) or of logit(x) in its place would show"
        )
    if mass < 1e-3:
        return f"{name}, {side!r}, {verb} to {mass:.6g}: none of its mass was found, and {where}"
    return (
        f"{name}, {side!r}, {verb} to {mass:.6g}, not to 1: subtract log({mass:.6g}) from its log_prob; if it is "
        f"normalised, some of its mass was not found, and {where}"
    )
