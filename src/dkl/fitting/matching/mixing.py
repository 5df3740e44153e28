"""Expectation maximisation: mixtures of so many members of a family, with the least KL from the target [1].

The target is outcomes with weights: observations, counts, the nodes of a quadrature. From each of several starts
(:mod:`~dkl.fitting.matching.starting`) the iteration (:mod:`~dkl.fitting.matching.iteration`) goes to an optimum of
the mean of −log q. Of a target that is known by its density it differs from the KL by the target's entropy alone.

A component that closes in on one outcome drives the likelihood to infinity, which is no optimum but a defect of the
question [2, section 9.2.1]: such a start is dropped, and told.

References
----------
.. [1] A. P. Dempster, N. M. Laird, D. B. Rubin, "Maximum likelihood from incomplete data via the EM algorithm",
   Journal of the Royal Statistical Society B 39 (1977).
.. [2] C. M. Bishop, "Pattern Recognition and Machine Learning" (2006), sections 9.2 and 9.3.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from dkl._array import real_number
from dkl.families.multivariate import DiagonalNormal, MultivariateNormal
from dkl.families.normal import Normal
from dkl.fitting.matching.boundary import no_member
from dkl.fitting.matching.climbing import ROUGH, climbed, raced, telling
from dkl.fitting.matching.iteration import Climb, Mixing
from dkl.fitting.matching.likelihood import hold_open, observations, observed
from dkl.fitting.matching.members import (
    CENTRED,
    MEANS,
    NoMemberError,
    distinct,
    has_means,
    hold_support,
    support_of,
)
from dkl.fitting.matching.moments import SEEN, can_be_seen, hold_finite, inwards
from dkl.fitting.matching.starting import starts
from dkl.fitting.measuring import measured, of_shares
from dkl.fitting.points import DRAWN, Points, points
from dkl.fitting.problem import FORWARD, Problem, fitter, need, whole_number
from dkl.fitting.result import Boundary, Fit, Optimum
from dkl.mixture import Mixture, MixtureFamily
from dkl.representations import Counts, FiniteOutcomes, Samples
from dkl.supports import Integers

#: Starts, if it is not said how many: a third of each kind.
STARTS = 9
#: Iterations of one start at most.
ITERATIONS = 10_000
#: What may be left to gain of the mean of −log q, relative to it (to 1, of what is smaller), unless it is observed.
RTOL = 1e-12


@fitter(
    "expectation maximisation",
    takes=("initial", "max_iterations", "minimum_scale", "progress", "rtol", "samples", "starts", "weights"),
)
def expectation_maximisation(problem: Problem) -> Fit:
    """Of mixture families whose components are matched by their means: every local optimum that the starts lead to.

    Options
    -------
    starts : int
        How many mixtures to start from: 9. A third begins with clusters, a third with the surroundings of drawn
        outcomes, a third with random shares.
    initial : Mixture
        The one mixture to start from, instead.
    rtol : float
        What may be left to gain of the mean of −log q, relative to it, or to 1 if it is smaller. If it is not asked
        for: 1e-12 of a density; of n observations or draws 5e-3/n nats, which is a tenth of a standard error of all
        parameters together, but not below 1e-9. What is left of the best optimum is told by its slope. Starts on
        observations race then: of those that have not ended after 64 iterations the worse half is left where it is,
        after 128 more half of the rest, and so on. With ``rtol`` each is followed to its end.
    max_iterations : int
        Of one start: 10,000.
    minimum_scale : float
        The least standard deviation of normal components, in every direction: the best mixture under that
        constraint. There is none if it is not asked for.
    weights : array_like
        Of samples, non-negative.
    samples : int
        How many are drawn from a target that neither sums nor quadrature can look at: 65,536.
    progress : callable
        Called with the starts done and all of them.

    Of observations and draws ``details["tolerance"]`` is what may be left to gain, in nats, and ``details["left"]``
    the number of starts that were left behind.
    """
    family, target = problem.family, problem.target
    need(problem.forward, FORWARD)
    need(isinstance(family, MixtureFamily), "is for families of mixtures, dkl.Mixture.of(family, k)")
    need(has_means(family.component), MEANS)
    need(isinstance(target, Samples | FiniteOutcomes) or can_be_seen(target), SEEN)
    floor, rtol, limit = _wished(problem)
    raw = points(
        target, rng=problem.rng(), weights=problem.option("weights", None),
        samples=whole_number(problem.option("samples", DRAWN), "samples", 2),
    )  # fmt: skip
    component = family.component
    hold_support(component, target, raw, problem.known)
    found = _prepared(component, raw, problem)
    try:
        if found.method == "samples":
            hold_open(component, found, problem.known)
    except NoMemberError as none:
        return no_member(problem, found, "expectation maximisation", none)
    hold_finite(component, found, problem.known)
    mixing = Mixing(family, found, problem.known, floor)
    begun, missed = _begun(problem, mixing, found)
    count, left = observations(target, raw), 0
    if _observed(problem, found):
        climbs, collapsed, left = raced(problem, mixing, begun, count, limit)
    else:
        climbs, collapsed = climbed(problem, mixing, begun, rtol, limit)
    bounded = isinstance(support_of(component, found.x, problem.known), Integers)
    lower = [c for c in collapsed if not climbs or c.trace[-1] < climbs[0].trace[-1] - ROUGH * abs(c.trace[-1])]
    if bounded and lower:
        return _in_a_limit(problem, found, lower)
    if bounded and not climbs:
        limit_alone = NoMemberError(f"{_said(collapsed, missed)}: the likelihood is greatest in a limit, no member's")
        return no_member(problem.with_(family=component), found, "expectation maximisation", limit_alone)
    if not climbs:
        return _collapsed(problem, collapsed, missed)
    return _answered(problem, mixing, found, count, climbs, collapsed, missed, left)


def _wished(problem: Problem) -> tuple[float, float, int]:
    component = problem.family.component
    floor = real_number(problem.option("minimum_scale", 0.0), "minimum_scale")
    if "minimum_scale" in problem.options:
        if component not in CENTRED:
            raise TypeError(f"minimum_scale is for normal components, and these are {component.__name__}s")
        if not 0 < floor < math.inf:
            raise ValueError(f"minimum_scale = {floor!r} must be positive: without it there is no floor")
    rtol = real_number(problem.option("rtol", RTOL), "rtol")
    if not 0 < rtol < 1:
        raise ValueError(f"rtol = {rtol!r} is no relative error: it lies strictly between 0 and 1")
    return floor, rtol, whole_number(problem.option("max_iterations", ITERATIONS), "max_iterations")


def _prepared(component: Any, raw: Points, problem: Problem) -> Points:
    """The points without those of no weight; where equal ones matter, or are likely, each once."""
    if component in CENTRED and raw.x.ndim > 1:
        kept = raw.weights > 0
        return raw if kept.all() else replace(raw, x=raw.x[kept], weights=raw.weights[kept])
    return distinct(inwards(raw, support_of(component, raw.x, problem.known)))


def _begun(problem: Problem, mixing: Mixing, found: Points) -> tuple[list[Mixture], int]:
    """The mixtures to start from, and how many starts had none."""
    initial = problem.option("initial", None)
    if initial is None:
        count = whole_number(problem.option("starts", STARTS), "starts")
        made = starts(
            mixing.family, found, count, problem.rng(), problem.known, minimum_scale=mixing.minimum_scale
        )  # fmt: skip
        return made, count - len(made)
    if "starts" in problem.options:
        raise TypeError("initial is the one start: leave starts out")
    parts: Any = initial.components if isinstance(initial, Mixture) else None
    if type(parts) is not mixing.component or parts.batch_shape != (mixing.family.components,):
        raise TypeError(f"initial must be one member of {mixing.family!r}, got {initial!r}")
    return [Mixture(_by_width(parts), initial.numbers("weights"))], 0


def _by_width(parts: Any) -> Any:
    """Normal components by the widths with which the iteration works."""
    if isinstance(parts, MultivariateNormal):
        return MultivariateNormal(parts.loc, parts._covariance())
    if isinstance(parts, DiagonalNormal):
        return DiagonalNormal(parts.loc, np.sqrt(parts._each._v))
    return type(parts)(parts.loc, np.sqrt(parts._v)) if isinstance(parts, Normal) else parts


def _observed(problem: Problem, found: Points) -> bool:
    """Whether the points are observations or draws, which tell so many digits, and nobody asked for more."""
    return found.method in ("samples", "monte_carlo") and "rtol" not in problem.options


def _said(collapsed: list[Climb], missed: int) -> str | None:
    """What became of the starts that led nowhere."""
    told = []
    if collapsed:
        told.append(
            f"{sum(c.starts for c in collapsed)} starts were dropped, as a component closed in on a point where the "
            f"likelihood has no bound ({collapsed[0].collapsed})"
        )
    if missed:
        told.append(f"{missed} starts had no component for one of their parts")
    return "; ".join(told) or None


def _in_a_limit(problem: Problem, found: Points, lower: list[Climb]) -> Fit:
    """No likelihood of whole numbers exceeds 1: of a component that closes in on one the limit is measured."""
    best = min(lower, key=lambda c: c.trace[-1])
    reason = (
        f"the likelihood is greatest where a component has all of its mass on one outcome, which no "
        f"{problem.family.component.__name__} has ({best.collapsed}); the infimum is that of the last mixture before"
    )
    infimum = float(of_shares(found.x, found.weights, best.mixture, problem).value)
    return Fit(
        None, None, "expectation maximisation", True, trace=tuple(best.trace),
        boundary=Boundary(infimum, best.mixture, reason), reason=reason,
        details={"collapsed": sum(c.starts for c in lower)}, problem=problem,
    )  # fmt: skip


def _collapsed(problem: Problem, collapsed: list[Climb], missed: int) -> Fit:
    """No start came to an optimum."""
    advice = "; give fewer components" + (", or minimum_scale=" if problem.family.component in CENTRED else "")
    reason = f"no start came to an optimum: {_said(collapsed, missed)}{advice}"
    near = min(collapsed, key=lambda c: c.trace[-1]).mixture if collapsed else None
    return Fit(
        None, None, "expectation maximisation", True, boundary=Boundary(-math.inf, near, reason), reason=reason,
        details={"collapsed": sum(c.starts for c in collapsed)}, problem=problem,
    )  # fmt: skip


def _answered(
    problem: Problem,
    mixing: Mixing,
    found: Points,
    count: float,
    climbs: list[Climb],
    collapsed: list[Climb],
    missed: int,
    left: int,
) -> Fit:
    best, target = climbs[0], problem.target
    details: dict[str, Any] = {"iterations": len(best.trace), "collapsed": sum(c.starts for c in collapsed)}
    told, normaliser = [], None
    if isinstance(target, Samples | Counts):
        divergence, value, more, said = observed(problem, mixing.component, best.mixture, found, count)
        details |= more
        told.append(said)
    elif isinstance(target, FiniteOutcomes):
        divergence = of_shares(found.x, found.weights, best.mixture, problem)
        value = float(divergence.value)
    else:
        divergence, normaliser = measured(problem, best.mixture, found)
        if normaliser is not None:
            details["log_normaliser"] = found.log_mass
        value = float(divergence.value)
    if _observed(problem, found):
        details |= {"tolerance": telling(count), "left": left}
    if found.method == "monte_carlo":
        told.append(f"the optimum is that of {len(found.x)} samples drawn from the target")
    if not best.converged:
        told.append(f"the best start did not converge in {len(best.trace)} iterations: raise max_iterations")
    dropped = _said(collapsed, missed)
    if dropped:
        told.append(dropped)
    if left:
        told.append(f"starts left on the way, as others were ahead: {left}; rtol= follows each to its end")
    of = sum(c.starts for c in (*climbs, *collapsed)) + missed + left
    optima = tuple(Optimum(c.mixture, value + (c.trace[-1] - best.trace[-1]), c.starts / of) for c in climbs)
    return Fit(
        best.mixture, divergence, "expectation maximisation", best.converged, optima, tuple(best.trace), normaliser,
        reason="; ".join(told) or None, details=details, problem=problem,
    )  # fmt: skip


__all__ = ["expectation_maximisation"]
