"""Where a divergence falls without an optimum: along the edge of what is finite, and towards a parameter of 0 or ∞."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize

from dkl.fitting.direct.coordinates import around
from dkl.fitting.direct.descent import Descent, trusted
from dkl.fitting.direct.landscape import Landscape
from dkl.fitting.direct.objective import Objective
from dkl.methods.nodes import Numbers

# What runs away is led on by factors of 4, so many times at most.
_PACE = math.log(4.0)
_STAGES = 24
# Where a stage changes less, the limit is reached: relative, and so much in all, to which a slope that counts as none
# leaves the others of the best.
_STILL = 1e-10
_BLUR = 1e-13
# A divergence whose steps shrink less from stage to stage has no limit that they tell.
_SLOWEST = 0.9
# How well a limit has to be foretold, by its own change from one stage to the next.
_FORETOLD = 1e-8


def along_the_wall(ground: Landscape, start: Descent, best: float) -> Descent:
    """From where a descent met the edge of what is finite, along it to where the divergence is least.

    Roughly at first, and to the digits only where that is lower than the best optimum.
    """
    here, trace = start.member, list(start.trace)
    for xatol in (1e-3, 1e-6, 1e-9):
        objective = ground.around(here)
        zero = np.zeros(objective.coordinates.size)
        simplex = np.vstack([zero, -20.0 * xatol ** (2 / 3) * np.eye(zero.size)])
        found = optimize.minimize(
            objective.value, zero, method="Nelder-Mead",
            options={"initial_simplex": simplex, "xatol": xatol, "fatol": 1e-13, "maxiter": 100 * zero.size},
        )  # fmt: skip
        here = objective.coordinates.member(found.x)
        trace.append(float(found.fun))
        if found.fun > best + 0.1 * abs(best):
            break
    return Descent(here, ground.value(here), "boundary", start.said, trace)


@dataclass
class _Held:
    """The coordinates around a member but for one number, which stays."""

    free: Any
    at: int

    @property
    def size(self) -> int:
        return int(self.free.size) - 1

    @property
    def family(self) -> type:
        family: type = getattr(self.free, "family", object)
        return family

    @property
    def fixed(self) -> dict[str, Any]:
        fixed: dict[str, Any] = self.free.fixed
        return fixed

    def member(self, u: Numbers) -> Any:
        return self.free.member(np.insert(u, self.at, 0.0, axis=-1))


def to_the_limit(ground: Landscape, start: Descent) -> Descent:
    """From where a number ran away, on along it to the limit of the divergence there.

    The number is moved by equal steps, of a factor of 4 where it is a positive parameter, and the others made the best
    beside it. A divergence that falls as a power of the parameter falls by a geometric series then, whose limit
    Aitken's process tells. It is a boundary where the divergence falls all the way; else the descent is not finished.
    """
    here, at = start.member, start.running
    ahead = np.zeros(around(here).size)
    ahead[at] = math.copysign(_PACE, start.direction)
    values, trace, limit = [ground.value(here)], list(start.trace), None
    for _ in range(_STAGES):
        found = _beside(ground, here, ahead, at)
        if found is None:
            break
        member, ahead, value = found
        if value > values[-1] + _still(values[-1]):
            return Descent(here, values[-1], "unfinished", start.said, trace)
        here = member
        values.append(value)
        trace.append(value)
        limit = extrapolated(values)
        if limit is not None:
            break
    if limit is None:
        said = f"the divergence falls on as {start.said}, and how far is not known: the infimum is at most that"
        return Descent(here, values[-1], "boundary", said, trace)
    return Descent(here, limit, "boundary", f"the divergence falls to it as {start.said}", trace)


def _beside(ground: Landscape, here: Any, ahead: Numbers, at: int) -> tuple[Any, Numbers, float] | None:
    """The best member a step ahead, the step that leads to it, and its value; None where no number is finite."""
    try:
        with np.errstate(all="ignore"):
            guess = around(here).member(ahead)
            objective = Objective(ground.divergence, ground.target, _Held(around(guess), at), ground.rtol)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError):
        return None
    u = np.zeros(objective.coordinates.size)
    if not math.isfinite(objective.value(u)):
        return None
    if u.size:
        u, finished = trusted(objective, [])
        if not finished:
            u = _by_values(objective, u)
    value = objective.final(u)
    step = ahead + np.insert(u, at, 0.0)
    return (objective.coordinates.member(u), step, value) if math.isfinite(value) else None


def _by_values(objective: Objective, start: Numbers) -> Numbers:
    """Down by values alone, for members whose densities are all but jumps: no difference tells their slopes."""
    for size in (1e-2, 1e-4):
        simplex = np.vstack([start, start + size * np.eye(start.size)])
        found = optimize.minimize(
            objective.value, start, method="Nelder-Mead",
            options={"initial_simplex": simplex, "xatol": 1e-4 * size, "fatol": _BLUR, "maxiter": 60 * start.size},
        )  # fmt: skip
        start = found.x
    return np.asarray(start)


def _still(value: float) -> float:
    return max(_STILL * value, _BLUR)


def extrapolated(values: Sequence[float]) -> float | None:
    """The limit of values that fall by steps which become a geometric series, never below 0; None where they do not.

    By Aitken's process: after the steps d and r·d there are r²·d, r³·d, … to come.
    """
    falls = (-np.diff(values)).tolist()
    told = []
    for fall, before, value in zip(falls[1:], falls, values[2:], strict=False):
        ratio = fall / before if before > 0 else 0.0
        told.append(value - fall * ratio / (1.0 - ratio) if 0.0 <= ratio < _SLOWEST else math.nan)
    settled = len(told) > 1 and abs(told[-1] - told[-2]) <= _FORETOLD * max(abs(told[-1]), 1.0)
    if falls and falls[-1] <= _still(values[-1]):
        limit = told[-1] if told and math.isfinite(told[-1]) else values[-1]
    elif settled:
        limit = told[-1]
    else:
        return None
    return float(limit) if limit > _BLUR else 0.0
