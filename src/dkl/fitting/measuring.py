"""The divergence from a target to a member that was fitted to it, and the target's integral.

A member may all but equal its target. Then no digits are left that a relative error could be asked of: errors are
absolute from :data:`dkl.fitting.direct.objective.FLOOR` on.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dkl._array import real_number
from dkl.divergences import Divergence
from dkl.estimate import Estimate
from dkl.families.base import Distribution
from dkl.fitting.direct.coordinates import around
from dkl.fitting.direct.objective import Objective, applies
from dkl.fitting.points import Points, Scaled, on_host
from dkl.fitting.problem import Problem
from dkl.methods import measure
from dkl.methods.nodes import Numbers
from dkl.representations import FiniteOutcomes, LogProbs, Probs
from dkl.supports import Integers

#: Relative error of the divergence on a line and in a plane.
RTOL = {0: 1e-10, 1: 1e-7}


def tolerance(problem: Problem, target: Distribution) -> float:
    """The relative error of the divergence that was asked for, or the usual one."""
    rtol = real_number(problem.option("rtol", RTOL[target.event_ndim]), "rtol")
    if not 0 < rtol < 1:
        raise ValueError(f"rtol = {rtol!r} is no relative error: it lies strictly between 0 and 1")
    return rtol


def measured(problem: Problem, member: Any, seen: Points) -> tuple[Estimate, Estimate | None]:
    """The divergence from a problem's target to a member, and the target's integral if that is not 1.

    Parameters
    ----------
    problem : Problem
    member : Distribution
        Of NumPy's.
    seen : Points
        Those of the target.
    """
    target: Any = problem.target
    if isinstance(target, FiniteOutcomes):
        return of_shares(seen.x, seen.weights, member, problem), None
    integral = normaliser(seen)
    if integral is not None:
        target = Scaled(on_host(target), -seen.log_mass)
    return divergence_to(target, member, problem), integral


def divergence_to(target: Distribution, member: Any, problem: Problem) -> Estimate:
    """By the closed form where there is one, else by quadrature or sums with an absolute error, else by samples."""
    try:
        return measure(target, member, problem.divergence, method="closed_form")
    except TypeError:
        host = on_host(target)
        if applies(problem.divergence, host):
            return estimated(problem.divergence, host, member, tolerance(problem, host))
        return measure(target, member, problem.divergence, rng=problem.seed)


def estimated(divergence: Divergence, target: Distribution, member: Any, rtol: float) -> Estimate:
    """By quadrature or a sum, with its error, which is absolute next to 0."""
    objective = Objective(divergence, target, around(member), rtol)
    zero = np.zeros(objective.coordinates.size)
    value, error = objective.final(zero), objective.error(zero)
    method = "exact" if isinstance(target.support, Integers) else "quadrature"
    return Estimate(
        np.float64(value), np.float64(0.0), method, divergence.name, divergence.direction, divergence.unit,
        reason=objective.reason(zero), error=np.float64(error),
    )  # fmt: skip


def of_shares(x: Numbers, shares: Numbers, member: Any, problem: Problem) -> Estimate:
    """The divergence from shares of whole numbers to a distribution of them: the rest of it stands for the others."""
    log_q = np.asarray(member.log_prob(x))
    with np.errstate(divide="ignore"):
        log_rest = np.log(max(0.0, 1.0 - float(np.exp(log_q).sum())))
    p = np.append(shares, 0.0)
    return measure(Probs(p, normalize=True), LogProbs(np.append(log_q, log_rest)), problem.divergence)


def normaliser(seen: Points) -> Estimate | None:
    """The integral of a target; None where it is 1 as far as it is known."""
    if abs(seen.log_mass) <= 4.0 * max(seen.mass_error, 1e-9):
        return None
    with np.errstate(over="ignore"):
        value = np.float64(np.exp(seen.log_mass))
    return Estimate(
        value, np.float64(0.0), seen.method, "normaliser", "the integral of the target", "",
        error=np.float64(seen.mass_error * value) if math.isfinite(value) else np.float64(0.0),
    )  # fmt: skip
