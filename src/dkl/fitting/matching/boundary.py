"""Where the likelihood grows towards, if no member has the greatest."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dkl.fitting.matching.members import NoMemberError, has_means, statistics, support_of, weighted
from dkl.fitting.points import Points
from dkl.fitting.problem import Problem
from dkl.fitting.result import Boundary, Fit
from dkl.methods.nodes import Numbers
from dkl.supports import Integers


def no_member(problem: Problem, found: Points, method: str, none: NoMemberError) -> Fit:
    """The answer where the likelihood has no maximum: where it grows towards."""
    near, infimum, reason = none.near, none.infimum, str(none)
    if near is None and has_means(problem.family):
        near, infimum = _towards(problem, found)
    return Fit(
        None, None, method, True, boundary=Boundary(infimum, near, reason), reason=reason, problem=problem
    )  # fmt: skip


def _towards(problem: Problem, found: Points) -> tuple[Any, float]:
    """A member near the boundary, and the mean of −log q there: −∞ if that falls without end."""
    family, known = problem.family, problem.known
    means = [weighted(found.weights, t, 0) for t in statistics(family, found.x, known)]
    seen: list[tuple[Any, float]] = []
    if not all(np.isfinite(m).all() for m in means):
        return None, -math.inf
    # One mean alone keeps its digits near 0; of two the difference counts.
    steps = (1e-9, 1e-6)
    for step in (1e-300, 1e-15, *steps) if len(means) == 1 else steps:
        # Apart first: means that are moved together may stay where they were but for rounding.
        for one, other in ((1.0, -1.0), (-1.0, 1.0), (1.0, 1.0), (-1.0, -1.0)):
            near = _beside(family, means, known, (one * step, other * step))
            if near is None:
                continue
            with np.errstate(all="ignore"):
                value = -float(found.weights @ np.asarray(near.log_prob(found.x)))
            if math.isfinite(value):
                seen.append((near, value))
                break
    if not seen:
        return None, -math.inf
    if len(found.x) == 1 and isinstance(support_of(family, found.x, known), Integers) and seen[0][1] < 1e-6:
        return seen[0][0], 0.0  # all of the mass comes to the one outcome
    falls = len(seen) > 1 and seen[-1][1] - seen[0][1] > 1.0
    return seen[0][0], -math.inf if falls else seen[0][1]


def _beside(family: Any, means: list[Numbers], known: Any, steps: tuple[float, float]) -> Any:
    """The member of means moved by relative steps; None where there is none."""
    moved = [m + step * np.maximum(np.abs(m), 1.0) for m, step in zip(means, steps, strict=False)]
    try:
        return family.from_mean_parameters(*moved, **known)
    except (ValueError, OverflowError):  # no member has these means either
        return None


__all__ = ["no_member"]
