"""Direct minimisation: the divergence by quadrature or sums, descended from many starts to every local optimum.

Where the divergence falls towards the edge of what is finite, or towards a parameter of 0 or ∞, there is no optimum,
and that is said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dkl._array import to_numpy
from dkl.density import Density
from dkl.families import Uniform
from dkl.families.base import Distribution
from dkl.families.directional import Unrolled, VonMises
from dkl.families.outcomes import Categorical
from dkl.fitting.direct.coordinates import distance
from dkl.fitting.direct.descent import Descent, descend, without_slopes
from dkl.fitting.direct.edges import along_the_wall, to_the_limit
from dkl.fitting.direct.landscape import Landscape
from dkl.fitting.direct.objective import visible
from dkl.fitting.direct.remembered import remembered
from dkl.fitting.direct.starts import starts
from dkl.fitting.measuring import divergence_to, normaliser, tolerance
from dkl.fitting.points import Points, Scaled, on_host, points
from dkl.fitting.problem import Problem, fitter, need, whole_number
from dkl.fitting.result import Boundary, Fit, Optimum
from dkl.methods.by_row import decided
from dkl.methods.landmarks import ends
from dkl.mixture import Mixture
from dkl.representations import FiniteOutcomes
from dkl.supports import Integers, Interval

#: Starts on a line and in a plane, if it is not said how many.
STARTS = {0: 16, 1: 8}
# Where densities have no slopes a start costs a hundred times as much: after so many in a row that found nothing new
# they end.
_NOTHING_NEW = 3
# Optima nearer than this, in units of their own, are one.
_SAME = 1e-3


@fitter("direct minimisation", takes=("starts", "rtol", "progress"))
def direct(problem: Problem) -> Fit:
    """Minimise the divergence itself, for numbers, whole numbers and vectors of length 2.

    Options
    -------
    starts : int
        From how many members to begin: 16, or 8 in the plane. Fewer are taken where densities have no slopes, as those
        of a Uniform, once three in a row have found nothing new.
    rtol : float
        The relative error of the divergence on the way: 1e-10, or 1e-7 in the plane.
    progress : callable
        Called with the starts done and all of them.
    """
    target = minimised(problem)
    seen, normalised = prepared(target)
    if problem.family is Uniform and problem.forward:
        return answered(problem, normalised, seen, [covering(problem, normalised)])
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


def covering(problem: Problem, target: Distribution) -> Descent:
    """The uniform distribution with the least KL(target‖fit), −h(target) + log(width): the narrowest that covers."""
    need(isinstance(target.support, Interval), "knows no Uniform on whole numbers")
    low, high = ends(target)
    if not math.isfinite(low) or not math.isfinite(high):
        raise ValueError(
            f"every Uniform is infinitely far from the target: {problem.target!r} lives on {target.support.name}, "
            "which none covers; fit by dkl.reverse_kl, or bound the target"
        )
    member = Uniform(low, high)
    ground = Landscape(problem.divergence, target, tolerance(problem, target))
    return Descent(member, ground.value(member), "optimum")


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
        from dkl.fitting.matching.starting import starts as of_mixtures

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
    ground = Landscape(problem.divergence, remembered(target), tolerance(problem, target))
    descents: list[Descent] = []
    known = 0
    for k, start in enumerate(members):
        reached = [d.member for d in descents if d.kind == "optimum"]
        descents.append(descend(ground, start, reached))
        new = not any(distance(descents[-1].member, one) < _SAME for one in reached)
        known = 0 if new or not descents[-1].by_values else known + 1
        if progress is not None:
            progress(len(members) if known == _NOTHING_NEW else k + 1, len(members))
        if known == _NOTHING_NEW:
            break
    return answered(problem, target, seen, _led_to_the_edges(ground, descents))


def _led_to_the_edges(ground: Landscape, descents: list[Descent]) -> list[Descent]:
    """Those that met an edge or ran away, with the best of each kind led on to where that ends."""
    made = [d for d in descents if d.kind not in ("wall", "away")]
    walls = sorted((d for d in descents if d.kind == "wall"), key=lambda d: d.value)
    if walls:
        # The best of them is led along the edge; the others met the same edge higher up.
        best = min((d.value for d in made if d.kind == "optimum"), default=math.inf)
        made += [along_the_wall(ground, walls[0], best), *(replace(d, kind="boundary") for d in walls[1:])]
    reached = [d.member for d in made if d.kind == "optimum"]
    limits: dict[str, Descent] = {}
    for away in sorted((d for d in descents if d.kind == "away"), key=lambda d: d.value):
        found = limits.get(away.said) or to_the_limit(ground, away)
        if found.kind == "boundary":
            limits[away.said] = found
        else:
            found = without_slopes(ground, found.member, found.trace, reached)
        made.append(found)
    return made


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
