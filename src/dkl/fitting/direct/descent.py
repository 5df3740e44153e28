"""One descent: from a member down to a local optimum, or to where the divergence has none.

It is a trust-region Newton method (SciPy's) in the units of the member that it has reached, roughly first, followed by
Newton steps on fresh nodes. A stationary point where the curvature is negative is left along it. Where densities jump,
values alone lead down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import optimize

from dkl.families.exponential import ExponentialFamily
from dkl.families.others import GeneralizedNormal
from dkl.fitting.direct.coordinates import distance
from dkl.fitting.direct.landscape import Landscape
from dkl.fitting.direct.objective import Objective
from dkl.methods import measure
from dkl.methods.nodes import Numbers
from dkl.supports import Integers

# A descent is begun anew, in the units of where it is, so many times at most.
_ROUNDS = 12
_STEPS = 30
# Beyond so many units in all a parameter runs away.
_AWAY = 40.0
# What went so far may run away.
_MOVING = 1.0
# No slope is steeper: beyond, SciPy's algebra overflows.
_STEEPEST = 1e100
# The step over which curvature is looked for among values.
_BENT = 2e-2
# A descent whose gradient vanishes as near as this to an optimum goes there.
_NEAR = 1e-2
# Newton's steps are taken without looking where they are shorter than this, so many at most, until one is as short as
# what counts as settled: nodes of a relative error of 1e-7 allow no shorter one.
_SHORT = 0.1
_POLISH = 8
_SETTLED = 1e-5
# What counts as no slope, relative to the divergence.
_LEVEL = 1e-7
_TOO_LARGE = "the divergence exceeds the largest number"


@dataclass
class Descent:
    """Where one start led.

    Attributes
    ----------
    member : Distribution
    value : float
        The divergence there.
    kind : {"optimum", "wall", "away", "boundary", "infinite", "unfinished"}
    said : str
        What happens there, unless it is an optimum: of what runs away where it goes, "df → ∞".
    trace : list of float
    running, direction : int
        Which number runs away, and with which sign.
    by_values : bool
        Whether the slopes had to be differences of values, or there were none.
    """

    member: Any
    value: float
    kind: str
    said: str = ""
    trace: list[float] = field(default_factory=list)
    running: int = 0
    direction: int = 1
    by_values: bool = False


def descend(ground: Landscape, start: Any, reached: Sequence[Any] = ()) -> Descent:
    """Go down from one member; not to the end where it comes near an optimum that was reached before."""
    if start is ground.target:
        return Descent(start, ground.value(start), "optimum")
    for here in raised(start):
        objective = ground.around(here)
        zero = np.zeros(objective.coordinates.size)
        value = objective.value(zero)
        if math.isfinite(value):
            break
    else:
        said = ground.around(start).reason(zero)
        said = said or measure(ground.target, start, ground.divergence).reason or _TOO_LARGE
        return Descent(start, math.inf, "infinite", said)
    trace, gone, last, way = [value], 0.0, math.inf, zero
    if objective.smooth and _step(objective) is not None:
        # Newton's method is at home from the first: no way to go, as where an optimum of a neighbour is followed.
        if ground.by_values:
            end = objective.coordinates.member(_step(objective))
            joined = next((one for one in reached if distance(one, end) < _NEAR), None)
            if joined is not None:
                return Descent(joined, ground.value(joined), "optimum", trace=trace)
        here, settled = _polished(ground, objective)
        if settled:
            return Descent(here, ground.value(here), "optimum", trace=trace)
    if not _has_slopes(objective):
        return _by_values(ground, here, trace, reached)
    now_at = ground.roughly()
    objective = now_at.around(here)
    for _ in range(_ROUNDS):
        u, finished = trusted(objective, trace)
        gone = max(gone, float(np.abs(u).max()))
        way = way + u
        moved = objective.coordinates.limits(way)
        here = objective.coordinates.member(u)
        objective = now_at.around(here)
        zero = np.zeros_like(u)
        joined = next((one for one in reached if finished and distance(one, here) < _NEAR), None)
        if joined is not None:
            return Descent(joined, ground.value(joined), "optimum", trace=trace)
        gradient, curvature = objective.gradient(zero), objective.hessian(zero)
        if not ((np.abs(curvature) < _STEEPEST).all() and (np.abs(gradient) < _STEEPEST).all()):
            break  # a density that jumps has no slope
        now = objective.value(zero)
        scale = max(1.0, abs(now))
        spectrum, directions = np.linalg.eigh(curvature)
        if finished and np.abs(gradient).max() < 1e-3 * scale:
            if spectrum[0] < -1e-6 * scale:
                # A saddle: on along the direction in which it falls, to the side of the lower value.
                aside = [0.3 * sign * directions[:, 0] for sign in (1.0, -1.0)]
                here = objective.coordinates.member(min(aside, key=objective.value))
                objective = now_at.around(here)
                continue
            here, settled = _polished(ground, ground.around(here))
            if settled:
                return Descent(here, ground.value(here), "optimum", trace=trace)
        if not finished:
            wall = _wall(objective, gradient)
            if wall is not None:
                beyond = f"beyond it {wall.rstrip('.')}"
                return Descent(here, ground.value(here), "wall", beyond, trace)
            if not (_slopes_hold(objective, gradient) and _curvature_holds(objective, curvature)):
                return _by_values(ground, here, trace, reached)
        if now_at is not ground:
            now_at = ground
            objective = ground.around(here)
        elif gone > _AWAY or not now < last - 1e-9 * scale:
            break
        last = now
    at = int(np.argmax(np.abs(way)))
    # What still falls the way that it went may do so for ever.
    if gone > _AWAY or (abs(way[at]) > _MOVING and not gradient[at] * way[at] > 0):
        return Descent(here, ground.value(here), "away", moved, trace, at, 1 if way[at] > 0 else -1)
    return without_slopes(ground, here, trace, reached)


def _has_slopes(objective: Objective) -> bool:
    if not objective.smooth:
        return False
    zero = np.zeros(objective.coordinates.size)
    return bool(np.isfinite(objective.gradient(zero)).all() and np.isfinite(objective.hessian(zero)).all())


def _slopes_hold(objective: Objective, gradient: Numbers) -> bool:
    """Whether values change along the gradient as it says."""
    size = float(np.linalg.norm(gradient))
    if not size > 0:
        return True
    ahead = 1e-3 * gradient / size
    change = objective.value(ahead) - objective.value(-ahead)
    return abs(change / (2e-3 * size) - 1.0) < 0.1


def _curvature_holds(objective: Objective, curvature: Numbers) -> bool:
    """Whether values bend along each coordinate as it says: of members with a cusp, which moves, they do not."""
    middle = objective.value(np.zeros(len(curvature)))
    noise = 20.0 * objective.rtol * middle / _BENT**2
    for said, step in zip(np.diagonal(curvature), _BENT * np.eye(len(curvature)), strict=True):
        found = (objective.value(step) - 2.0 * middle + objective.value(-step)) / _BENT**2
        if math.isfinite(found) and abs(found - said) > 0.5 * max(abs(found), abs(said)) + noise:
            return False
    return True


def _by_values(ground: Landscape, here: Any, trace: list[float], reached: Sequence[Any]) -> Descent:
    """Down by differences of values, and where those tell no slopes either, by values alone."""
    if ground.by_values or isinstance(ground.target.support, Integers):
        return without_slopes(ground, here, trace, reached)
    made = descend(replace(ground, by_values=True), here, reached)
    return replace(made, trace=trace + made.trace, by_values=True)


def without_slopes(ground: Landscape, here: Any, trace: list[float], reached: Sequence[Any]) -> Descent:
    """Down by values alone, where densities jump: by Nelder and Mead's method, begun anew where it stopped."""
    for xatol in (1e-3, 1e-6, 1e-8, 1e-8):
        objective = ground.around(here)
        zero = np.zeros(objective.coordinates.size)
        simplex = np.vstack([zero, 0.1 * np.eye(zero.size)])
        found = optimize.minimize(
            objective.value, zero, method="Nelder-Mead",
            options={"initial_simplex": simplex, "xatol": xatol, "fatol": math.inf, "maxiter": 200 * zero.size},
        )  # fmt: skip
        here = objective.coordinates.member(found.x)
        trace.append(float(found.fun))
        joined = next((one for one in reached if distance(one, here) < _NEAR), None)
        if joined is not None:
            return Descent(joined, ground.value(joined), "optimum", trace=trace)
        if np.abs(found.x).max() < 1e-5:
            return Descent(here, ground.value(here), "optimum", trace=trace)
    said = f"the descent did not come to an end; last it went {objective.coordinates.limits(found.x)}"
    return Descent(here, ground.value(here), "unfinished", said, trace)


class _NoSlopeError(ArithmeticError):
    """A divergence that has no derivative where it was asked: it jumps."""


def trusted(objective: Objective, trace: list[float]) -> tuple[Numbers, bool]:
    """Some steps of a trust-region Newton method: where they lead, and whether the gradient vanishes there."""
    zero = np.zeros(objective.coordinates.size)
    last = [zero]

    def smooth(derivative: Callable[[Numbers], Numbers]) -> Callable[[Numbers], Numbers]:
        def checked(u: Numbers) -> Numbers:
            made = derivative(u)
            if not (np.abs(made) < _STEEPEST).all():
                raise _NoSlopeError
            return made

        return checked

    def taken(u: Numbers) -> None:
        last[0] = u
        trace.append(objective.value(u))

    least = max(_LEVEL, 10.0 * objective.rtol) * max(1.0, abs(objective.value(zero)))
    try:
        with np.errstate(all="ignore"):
            found = optimize.minimize(
                objective.value,
                zero,
                jac=smooth(objective.gradient),
                hess=smooth(objective.hessian),
                method="trust-exact",
                options={"gtol": least, "maxiter": _STEPS, "initial_trust_radius": 0.5, "max_trust_radius": 4.0},
                callback=taken,
            )
    except _NoSlopeError:
        return last[0], False
    return found.x, bool(found.success)


def _step(objective: Objective) -> Numbers | None:
    """Newton's step where the curvature is positive and the step is short; else None."""
    zero = np.zeros(objective.coordinates.size)
    gradient, curvature = objective.gradient(zero), objective.hessian(zero)
    if not (np.isfinite(curvature).all() and np.isfinite(gradient).all()):
        return None
    spectrum = np.linalg.eigvalsh(curvature)
    if not spectrum[0] > 1e-12 * spectrum[-1]:
        return None
    step = np.asarray(-np.linalg.solve(curvature, gradient))
    return step if np.abs(step).max() < _SHORT else None


def _polished(ground: Landscape, objective: Objective) -> tuple[Any, bool]:
    """Newton steps on fresh nodes until they are as small as the nodes allow, and whether they settled."""
    sizes = [math.inf]
    zero = np.zeros(objective.coordinates.size)
    for _ in range(_POLISH):
        step = _step(objective)
        size = math.inf if step is None else float(np.abs(step).max())
        if step is None or size < 1e-12 or size > 0.5 * sizes[-1]:
            break
        objective = ground.around(objective.coordinates.member(step))
        sizes.append(size)
        if ground.by_values and size < _SETTLED:
            break  # differences of values tell no more: the next step is as much shorter as they are wrong
    return objective.coordinates.member(zero), min(sizes[-1], size) < _SETTLED


def _wall(objective: Objective, gradient: Numbers) -> str | None:
    """Why the divergence is infinite a little further down, if it is."""
    steepest = float(np.abs(gradient).max())
    if not 0 < steepest < math.inf:
        return None
    gradient = gradient / steepest
    size = float(np.linalg.norm(gradient))
    for reach in (1e-4, 1e-3):
        ahead = -reach * gradient / size
        if not math.isfinite(objective.value(ahead)):
            return objective.reason(ahead) or _TOO_LARGE
    return None


def raised(member: Any) -> Iterator[Any]:
    """A member, and the narrower and wider ones that are its powers but for a factor, in an exponential family.

    Of generalised normal distributions those of heavier tails.
    """
    yield member
    if isinstance(member, GeneralizedNormal):
        for shape in (0.5, 0.25):
            yield GeneralizedNormal(member.numbers("loc"), member.numbers("scale"), shape)
    if not isinstance(member, ExponentialFamily):
        return
    for power in (2.0, 0.5, 4.0, 0.25, 10.0, 0.1):
        theta = tuple(power * np.asarray(x) for x in member._natural())
        if bool(np.all(member._inside(theta))):
            yield member._with_natural(theta)
