"""Direct minimisation: the divergence by quadrature or sums, descended from many starts to every local optimum.

Each descent is a trust-region Newton method (SciPy's) in the units of the member that it has reached, followed by
Newton steps on fresh nodes. A stationary point where the curvature is negative is left along it. Where the divergence
falls towards the edge of what is finite, or towards a parameter of 0 or ∞, there is no optimum, and that is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import optimize

from dkl._array import to_numpy
from dkl.density import Density
from dkl.divergences import Divergence
from dkl.families.base import Distribution
from dkl.families.directional import Unrolled, VonMises
from dkl.families.exponential import ExponentialFamily
from dkl.families.outcomes import Categorical
from dkl.fitting.direct.coordinates import around, distance
from dkl.fitting.direct.objective import Objective, visible
from dkl.fitting.direct.starts import starts
from dkl.fitting.measuring import divergence_to, normaliser, tolerance
from dkl.fitting.points import Points, Scaled, on_host, points
from dkl.fitting.problem import Problem, fitter, need, whole_number
from dkl.fitting.result import Boundary, Fit, Optimum
from dkl.methods import measure
from dkl.methods.by_row import decided
from dkl.methods.nodes import Numbers
from dkl.mixture import Mixture
from dkl.representations import FiniteOutcomes
from dkl.supports import Integers

#: Starts on a line and in a plane, if it is not said how many.
STARTS = {0: 16, 1: 8}
# A descent is begun anew, in the units of where it is, so many times at most.
_ROUNDS = 12
_STEPS = 30
# Beyond so many units in all a parameter runs away.
_AWAY = 40.0
# Where the last round still went so far, it goes on for ever.
_MOVING = 2.0
# No slope is steeper: beyond, SciPy's algebra overflows.
_STEEPEST = 1e100
# Optima nearer than this, in units of their own, are one.
_SAME = 1e-3
# A descent whose gradient vanishes as near as this to an optimum goes there.
_NEAR = 1e-2
# Newton's steps are taken without looking where they are shorter than this, so many at most, until one is as short as
# what counts as settled: nodes of a relative error of 1e-7 allow no shorter one.
_SHORT = 0.1
_POLISH = 8
_SETTLED = 1e-5
_TOO_LARGE = "the divergence exceeds the largest number"


@dataclass
class Descent:
    """Where one start led.

    Attributes
    ----------
    member : Distribution
    value : float
        The divergence there.
    kind : {"optimum", "wall", "boundary", "infinite", "unfinished"}
    said : str
        What happens there, unless it is an optimum.
    trace : list of float
    """

    member: Any
    value: float
    kind: str
    said: str = ""
    trace: list[float] = field(default_factory=list)


@fitter("direct minimisation", takes=("starts", "rtol", "progress"))
def direct(problem: Problem) -> Fit:
    """Minimise the divergence itself, for numbers, whole numbers and vectors of length 2.

    Options
    -------
    starts : int
        From how many members to begin: 16, or 8 in the plane.
    rtol : float
        The relative error of the divergence on the way: 1e-10, or 1e-7 in the plane.
    progress : callable
        Called with the starts done and all of them.
    """
    target = minimised(problem)
    seen, normalised = prepared(target)
    count = whole_number(problem.option("starts", STARTS[target.event_ndim]), "starts")
    return descended(problem, normalised, seen, begun(problem, normalised, seen, count))


def minimised(problem: Problem) -> Any:
    """The target as a distribution of NumPy's, if direct minimisation is for it; else it declines."""
    target: Any = problem.target
    if isinstance(target, FiniteOutcomes):
        target = listed(points(target))
    need(isinstance(target, Distribution), "needs a density, a list of outcomes or counts")
    target = on_host(target)
    if isinstance(target, VonMises) and problem.family is not VonMises:
        target = Unrolled.of(target)  # beside numbers an angle is one from −π to π
    need(problem.family is not Categorical, "knows no gradients of a Categorical")
    need(decided(problem.divergence), f"needs a sum of terms, and no sum decides {problem.divergence.name}")
    need(visible(target), "looks at numbers, whole numbers and vectors of length 2 alone")
    need(int(problem.family.event_ndim) == target.event_ndim, "needs outcomes of the family's own shape")
    return target


def listed(of: Points) -> Density:
    """A list of outcomes as a distribution of whole numbers."""
    last = int(of.x.max())
    logs = np.full(last + 1, -math.inf)
    logs[of.x.astype(int)] = np.log(of.weights)

    def listed_outcomes(x: Any) -> Any:
        return logs[np.clip(np.asarray(x).astype(int), 0, last)]

    return Density(listed_outcomes, support=Integers(0, last))


def prepared(target: Distribution) -> tuple[Points, Distribution]:
    """The points of a target, and the target with an integral of 1.

    Raises
    ------
    ValueError
        If quadrature finds no integral.
    """
    seen = points(target)
    return seen, target if normaliser(seen) is None else Scaled(target, -seen.log_mass)


def begun(problem: Problem, target: Distribution, seen: Points, count: int) -> list[Any]:
    """Members of the family to start from.

    Raises
    ------
    ValueError
        If no member matches any part of the target.
    """
    rng = problem.rng()
    if not isinstance(problem.family, type):
        from dkl.fitting.matching.mixing import starts as of_mixtures

        made: list[Any] = of_mixtures(problem.family, seen, count, rng, problem.known)
    else:
        made = starts(problem.family, problem.known, target, seen, count, rng)
    if type(target) is problem.family and _shares(target, problem.known):
        made.insert(0, target)  # no other member is nearer, whatever divergence measures it
    if not made:
        raise ValueError(
            f"no {problem.family.__name__} matches any part of the target, {problem.target!r}: their supports do not "
            "go together"
        )
    if isinstance(made[0].support, Integers) != isinstance(target.support, Integers):
        raise ValueError(
            f"every {problem.family.__name__} is as far as can be: it lives on {made[0].support.name}, and the target, "
            f"{problem.target!r}, on {target.support.name}; fit a family of the same kind"
        )
    return made


def _shares(target: Distribution, known: Mapping[str, Any]) -> bool:
    """Whether a member of the family has the parameters that are kept fixed."""
    return all(float(to_numpy(target.parameters[name])) == float(value) for name, value in known.items())


def descended(problem: Problem, target: Distribution, seen: Points, members: list[Any]) -> Fit:
    """Descend from each member, and gather what was found."""
    progress = problem.option("progress", None)
    rtol = tolerance(problem, target)
    descents: list[Descent] = []
    for k, start in enumerate(members):
        reached = [d.member for d in descents if d.kind == "optimum"]
        descents.append(descend(problem.divergence, target, start, rtol, reached))
        if progress is not None:
            progress(k + 1, len(members))
    walls = sorted((d for d in descents if d.kind == "wall"), key=lambda d: d.value)
    descents = [d for d in descents if d.kind != "wall"]
    if walls:
        # The best of them is led along the edge; the others met the same edge higher up.
        best = min((d.value for d in descents if d.kind == "optimum"), default=math.inf)
        walked = along_the_wall(problem.divergence, target, walls[0], rtol, best)
        descents += [walked, *(replace(d, kind="boundary") for d in walls[1:])]
    return answered(problem, target, seen, descents)


def descend(
    divergence: Divergence, target: Distribution, start: Any, rtol: float, reached: Sequence[Any] = ()
) -> Descent:
    """Go down from one member; not to the end where it comes near an optimum that was reached before."""
    if start is target:
        return Descent(start, _value(divergence, target, start, rtol), "optimum")
    for here in raised(start):
        objective = Objective(divergence, target, around(here), rtol)
        zero = np.zeros(objective.coordinates.size)
        value = objective.value(zero)
        if math.isfinite(value):
            break
    else:
        said = Objective(divergence, target, around(start), rtol).reason(zero)
        return Descent(start, math.inf, "infinite", said or measure(target, start, divergence).reason or _TOO_LARGE)
    trace, gone, last, way = [value], 0.0, math.inf, zero
    if _step(objective) is not None:
        # Newton's method is at home from the first: no way to go, as where an optimum of a neighbour is followed.
        here, settled = _polished(objective, divergence, target, rtol)
        if settled:
            return Descent(here, _value(divergence, target, here, rtol), "optimum", trace=trace)
    if not (np.isfinite(objective.gradient(zero)).all() and np.isfinite(objective.hessian(zero)).all()):
        return _without_slopes(divergence, target, here, rtol, trace, reached)
    for _ in range(_ROUNDS):
        u, finished = _trusted(objective, trace)
        gone = max(gone, float(np.abs(u).max()))
        way = way + u
        moved = objective.coordinates.limits(way)
        here = objective.coordinates.member(u)
        objective = Objective(divergence, target, around(here), rtol)
        zero = np.zeros_like(u)
        gradient, curvature = objective.gradient(zero), objective.hessian(zero)
        if not ((np.abs(curvature) < _STEEPEST).all() and (np.abs(gradient) < _STEEPEST).all()):
            break  # a density that jumps has no slope
        spectrum, directions = np.linalg.eigh(curvature)
        flat = 1e-6 * max(1.0, abs(objective.value(zero)))
        joined = next((one for one in reached if finished and distance(one, here) < _NEAR), None)
        if joined is not None:
            return Descent(joined, _value(divergence, target, joined, rtol), "optimum", trace=trace)
        if finished and np.abs(gradient).max() < 1e-3 * max(1.0, abs(objective.value(zero))):
            if spectrum[0] < -flat:
                # A saddle: on along the direction in which it falls, to the side of the lower value.
                aside = [0.3 * sign * directions[:, 0] for sign in (1.0, -1.0)]
                here = objective.coordinates.member(min(aside, key=objective.value))
                objective = Objective(divergence, target, around(here), rtol)
                continue
            here, settled = _polished(objective, divergence, target, rtol)
            if settled:
                return Descent(here, _value(divergence, target, here, rtol), "optimum", trace=trace)
        if not finished:
            wall = _wall(objective, gradient)
            if wall is not None:
                beyond = f"beyond it {wall.rstrip('.')}"
                return Descent(here, _value(divergence, target, here, rtol), "wall", beyond, trace)
        now = objective.value(zero)
        if gone > _AWAY or not now < last - 1e-9 * max(1.0, abs(now)):
            break
        last = now
    away = gone > _AWAY or np.abs(u).max() > _MOVING
    said = f"the divergence falls as {moved}" if away else f"the descent did not come to an end; last it went {moved}"
    return Descent(here, _value(divergence, target, here, rtol), "boundary" if away else "unfinished", said, trace)


def _without_slopes(
    divergence: Divergence, target: Distribution, here: Any, rtol: float, trace: list[float], reached: Sequence[Any]
) -> Descent:
    """Down by values alone, where densities jump: by Nelder and Mead's method, begun anew where it stopped."""
    for xatol in (1e-3, 1e-6, 1e-8, 1e-8):
        objective = Objective(divergence, target, around(here), rtol)
        zero = np.zeros(objective.coordinates.size)
        simplex = np.vstack([zero, 0.1 * np.eye(zero.size)])
        found = optimize.minimize(
            objective.value, zero, method="Nelder-Mead",
            options={"initial_simplex": simplex, "xatol": xatol, "fatol": 1e-14, "maxiter": 200 * zero.size},
        )  # fmt: skip
        here = objective.coordinates.member(found.x)
        trace.append(float(found.fun))
        joined = next((one for one in reached if distance(one, here) < _NEAR), None)
        if joined is not None:
            return Descent(joined, _value(divergence, target, joined, rtol), "optimum", trace=trace)
        if np.abs(found.x).max() < 1e-5:
            return Descent(here, _value(divergence, target, here, rtol), "optimum", trace=trace)
    said = f"the descent did not come to an end; last it went {objective.coordinates.limits(found.x)}"
    return Descent(here, _value(divergence, target, here, rtol), "unfinished", said, trace)


class _NoSlopeError(ArithmeticError):
    """A divergence that has no derivative where it was asked: it jumps."""


def _trusted(objective: Objective, trace: list[float]) -> tuple[Numbers, bool]:
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

    least = 1e-7 * max(1.0, abs(objective.value(zero)))
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


def _polished(objective: Objective, divergence: Divergence, target: Distribution, rtol: float) -> tuple[Any, bool]:
    """Newton steps on fresh nodes until they are as small as the nodes allow, and whether they settled."""
    sizes = [math.inf]
    zero = np.zeros(objective.coordinates.size)
    for _ in range(_POLISH):
        step = _step(objective)
        size = math.inf if step is None else float(np.abs(step).max())
        if step is None or size < 1e-12 or size > 0.5 * sizes[-1]:
            break
        objective = Objective(divergence, target, around(objective.coordinates.member(step)), rtol)
        sizes.append(size)
    return objective.coordinates.member(zero), min(sizes[-1], size) < _SETTLED


def _value(divergence: Divergence, target: Distribution, member: Any, rtol: float) -> float:
    objective = Objective(divergence, target, around(member), rtol)
    return objective.final(np.zeros(objective.coordinates.size))


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


def along_the_wall(divergence: Divergence, target: Distribution, start: Descent, rtol: float, best: float) -> Descent:
    """From where a descent met the edge of what is finite, along it to where the divergence is least.

    Roughly at first, and to the digits only where that is lower than the best optimum.
    """
    here, trace = start.member, list(start.trace)
    for xatol in (1e-3, 1e-6, 1e-9):
        objective = Objective(divergence, target, around(here), rtol)
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
    return Descent(here, _value(divergence, target, here, rtol), "boundary", start.said, trace)


def raised(member: Any) -> Iterator[Any]:
    """A member, and the narrower and wider ones that are its powers but for a factor, in an exponential family."""
    yield member
    if not isinstance(member, ExponentialFamily):
        return
    for power in (2.0, 0.5, 4.0, 0.25, 10.0, 0.1):
        theta = tuple(power * np.asarray(x) for x in member._natural())
        if bool(np.all(member._inside(theta))):
            yield member._with_natural(theta)


def answered(problem: Problem, target: Distribution, seen: Points, descents: list[Descent]) -> Fit:
    """The best of what was found, and all of it.

    Raises
    ------
    ValueError
        If every start is infinitely far from the target.
    """
    finite = [d for d in descents if d.kind != "infinite"]
    if not finite:
        raise ValueError(
            f"every {problem.family.__name__} is infinitely far from the target: {descents[0].said}"
        )  # fmt: skip
    optima = merged([d for d in finite if d.kind == "optimum"], len(descents))
    edges = [d for d in finite if d.kind == "boundary"]
    integral = normaliser(seen)
    details: dict[str, Any] = {} if integral is None else {"log_normaliser": seen.log_mass}
    best = min((d.value for d in finite if d.kind == "optimum"), default=math.inf)
    lowest = min(edges, key=lambda d: d.value, default=None)
    details |= {"starts": len(descents), "infinite_starts": len(descents) - len(finite)}
    common: dict[str, Any] = {
        "optima": optima, "normaliser": integral, "details": details, "problem": problem,
    }  # fmt: skip
    if lowest is not None and (not optima or lowest.value < best - 1e-9 * max(1.0, abs(best))):
        said = (
            f"no {problem.family.__name__} is the best: the infimum, {lowest.value:.6g}, lies on the boundary, near "
            f"{lowest.member!r}; {lowest.said}"
        )
        return Fit(
            None, None, "direct minimisation", False, trace=tuple(lowest.trace), reason=said,
            boundary=Boundary(lowest.value, lowest.member, lowest.said), **common,
        )  # fmt: skip
    unfinished = [d for d in finite if d.kind == "unfinished"]
    if not optima:
        open_end = min(unfinished, key=lambda d: d.value)
        return Fit(
            open_end.member, divergence_to(target, open_end.member, problem), "direct minimisation", False,
            trace=tuple(open_end.trace), reason=open_end.said, **common,
        )  # fmt: skip
    chosen = optima[0]
    trace = next(d.trace for d in finite if d.kind == "optimum" and distance(chosen.distribution, d.member) < _SAME)
    reason = f"{len(unfinished)} of {len(descents)} starts did not come to an end" if unfinished else None
    return Fit(
        chosen.distribution, divergence_to(target, chosen.distribution, problem), "direct minimisation", True,
        trace=tuple(trace), reason=reason, **common,
    )  # fmt: skip


def merged(descents: list[Descent], of: int) -> tuple[Optimum, ...]:
    """The different optima, the best first; of equally good ones the one with the smaller parameters."""
    groups: list[list[Descent]] = []
    for d in sorted(descents, key=lambda d: d.value):
        for group in groups:
            if distance(group[0].member, d.member) < _SAME:
                group.append(d)
                break
        else:
            groups.append([d])
    optima = [Optimum(group[0].member, group[0].value, len(group) / of) for group in groups]
    return tuple(sorted(optima, key=lambda o: (float(f"{o.value:.9g}"), _numbers(o.distribution))))


def _numbers(member: Any) -> tuple[float, ...]:
    parts = [member, *(member.each if isinstance(member, Mixture) else ())]
    return tuple(
        float(f"{x:.6g}") for part in parts for y in part.given.values() for x in np.ravel(to_numpy(y)).tolist()
    )
