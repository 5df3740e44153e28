"""From several starts to the different optima of expectation maximisation: how far each is led, and when it is enough.

Every start is led roughly, those that came to one place are merged, and the best of them are led to the end. Of
observations the starts race, and the best ends where they tell no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dkl.fitting.matching.iteration import SAME, Climb, Mixing
from dkl.fitting.matching.members import NoMemberError
from dkl.fitting.matching.starting import places_of
from dkl.fitting.problem import Problem
from dkl.methods.nodes import Numbers
from dkl.mixture import Mixture

#: Of n observations so much over n may be left, but not less than the second: δ²/2 nats of the log-likelihood are
#: δ standard errors of the parameters, here 0.1.
TELLING, LEAST = 5e-3, 1e-9
#: On the way to telling starts apart less is enough.
ROUGH = 1e-7
# What may be left to gain where another optimum is better.
_ALMOST = 1e-9
# The logarithms of shares are moved by so much to leave a saddle.
_ASIDE = 0.3
# Starts that race have so many iterations; the better half of those that have not ended then twice as many more.
_HEAT = 64
_EPS = float(np.finfo(float).eps)


def climbed(
    problem: Problem, mixing: Mixing, begun: list[Mixture], rtol: float, limit: int
) -> tuple[list[Climb], list[Climb]]:
    """The different optima, the best first, and the starts that collapsed."""
    progress = problem.option("progress", None)
    rough: list[Climb] = []
    for k, start in enumerate(begun):
        known = [c for c in rough if not c.collapsed]
        rough.append(mixing.climb(start, max(rtol, ROUGH), limit, known))
        if progress is not None:
            progress(k + 1, len(begun))
    collapsed = [c for c in rough if c.collapsed]
    climbs: list[Climb] = []
    for group in _merged([c for c in rough if not c.collapsed], mixing.w):
        spent = len(group.trace)
        # Of what is not the best, half of the digits tell where it is and how much worse.
        enough = rtol if not climbs else max(rtol, _ALMOST)
        if enough < ROUGH and spent < limit:
            on = mixing.climb(group.mixture, enough, limit - spent + 1)
            group = replace(on, trace=group.trace + on.trace[1:], starts=group.starts)
        if not group.collapsed:
            group = _beside(mixing, group, enough, limit, problem.rng())
        (collapsed if group.collapsed else climbs).append(group)
    climbs = _merged(climbs, mixing.w)
    if climbs and len(climbs[0].trace) < limit:
        # What was behind at first may be the best in the end.
        best, spent = climbs[0], len(climbs[0].trace)
        on = mixing.climb(best.mixture, rtol, limit - spent + 1)
        if not on.collapsed:
            climbs[0] = replace(on, trace=best.trace + on.trace[1:], starts=best.starts)
    return climbs, collapsed


def raced(
    problem: Problem, mixing: Mixing, begun: list[Mixture], count: float, limit: int
) -> tuple[list[Climb], list[Climb], int]:
    """The same of observations, as far as they tell: also how many starts were left behind on the way."""
    progress = problem.option("progress", None)
    ended: list[Climb] = []
    collapsed: list[Climb] = []
    running, heat, left = [Climb(start, np.empty(0)) for start in begun], _HEAT, 0
    while running:
        on: list[Climb] = []
        for start in running:
            climb = _on(mixing, start, ROUGH, min(len(start.trace) + heat, limit), ended)
            if climb.collapsed:
                collapsed.append(climb)
            else:
                (ended if climb.converged or len(climb.trace) >= limit else on).append(climb)
            if progress is not None and (not on or on[-1] is not climb):
                progress(len(ended) + len(collapsed) + left, len(begun))
        running, heat = sorted(on, key=_height)[: (len(on) + 1) // 2], 2 * heat
        left += len(on) - len(running)
        if progress is not None and len(running) < len(on):
            progress(len(ended) + len(collapsed) + left, len(begun))
    climbs: list[Climb] = []
    floored = mixing.minimum_scale > 0  # at a floor the slope need not vanish
    for climb in sorted(_merged(ended, mixing.w), key=_height):
        behind = bool(climbs) and _height(climb) > min(map(_height, climbs))
        enough = telling(count) / max(1.0, abs(_height(climb)))
        last = min(limit, len(climb.trace) + 4 * _HEAT) if behind else limit
        group = _on(mixing, climb, enough, last, climbs)
        # On a plateau the gains say less than what is left: the slope tells.
        while not (behind or group.collapsed or floored or enough < _EPS or len(group.trace) >= limit):
            if mixing.decrement(group.mixture) <= telling(count):
                break
            enough *= 0.1
            group = _on(mixing, group, enough, last, climbs)
        if not group.collapsed:
            group = _beside(mixing, group, enough, last, problem.rng())
        (collapsed if group.collapsed else climbs).append(group)
    return _merged(climbs, mixing.w), collapsed, left


def _height(climb: Climb) -> float:
    return climb.trace[-1]


def _on(mixing: Mixing, climb: Climb, rtol: float, limit: int, known: Sequence[Climb] = ()) -> Climb:
    """The climb led on, to so many iterations in all."""
    spent = max(len(climb.trace) - 1, 0)
    if spent + 1 >= limit and climb.trace:
        return climb
    on = mixing.climb(climb.mixture, rtol, limit - spent, known)
    return replace(on, trace=climb.trace[:spent] + on.trace, starts=climb.starts)


def telling(count: float) -> float:
    """What may be left to gain of the mean of −log q, in nats, for all that so many observations tell."""
    return max(TELLING / count, LEAST)


def _beside(mixing: Mixing, climb: Climb, rtol: float, limit: int, rng: np.random.Generator) -> Climb:
    """Where two components are one: the end of a climb from beside there, if it is lower, for this is a saddle."""
    logs = mixing.logs(climb.mixture)
    weights = climb.mixture.numbers("weights")
    kept = np.flatnonzero(weights > 1e-6)
    own = logs[kept] - np.log(weights[kept])[:, None]
    apart = [np.abs(own[i] - own[j]) @ mixing.w for i in range(len(kept)) for j in range(i)]
    if not apart or min(apart) > SAME:
        return climb
    # To each its own part of the outcomes, by where they lie and how far out: what is drawn for each alone cancels.
    places = places_of(mixing)
    seen = np.concatenate([places, np.minimum(places**2, 4.0)], axis=-1)
    shares = np.exp(logs - climb.log_q + _ASIDE * rng.standard_normal((len(logs), seen.shape[-1])) @ seen.T)
    try:
        start = mixing.matching(shares / shares.sum(axis=0))
    except NoMemberError:
        return climb
    other = mixing.climb(start, rtol, limit)
    lower = other.trace[-1] < climb.trace[-1] - 10.0 * rtol * max(1.0, abs(climb.trace[-1]))
    return replace(other, starts=climb.starts) if lower else climb


def _merged(climbs: list[Climb], w: Numbers) -> list[Climb]:
    """Those with different densities, the best first: the order of the components makes no difference."""
    kept: list[Climb] = []
    for climb in sorted(climbs, key=lambda c: c.trace[-1]):
        for k, other in enumerate(kept):
            if other.near(climb.log_q, w):
                kept[k] = replace(other, starts=other.starts + climb.starts)
                break
        else:
            kept.append(climb)
    return kept
