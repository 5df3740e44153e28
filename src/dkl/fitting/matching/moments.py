"""Moment matching: the member with the target's mean statistics, which has the least KL from the target [1, 3.6].

Here by its outcomes, quadrature or samples; :mod:`~dkl.fitting.matching.formulas` knows the means of some.

References
----------
.. [1] M. J. Wainwright, M. I. Jordan, "Graphical Models, Exponential Families, and Variational Inference", Foundations
   and Trends in Machine Learning 1 (2008).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from dkl.density import Density
from dkl.divergences import kl
from dkl.families.base import Distribution
from dkl.families.directional import Circle
from dkl.families.outcomes import Categorical
from dkl.fitting.direct.places import FLOOR
from dkl.fitting.matching.boundary import no_member
from dkl.fitting.matching.members import (
    MEANS,
    NoMemberError,
    distinct,
    has_means,
    hold_support,
    members,
    statistics,
    support_of,
)
from dkl.fitting.measuring import RTOL, measured
from dkl.fitting.points import DRAWN, Points, Scaled, on_host, points
from dkl.fitting.problem import FORWARD, Problem, fitter, need, whole_number
from dkl.fitting.result import Fit, Optimum
from dkl.methods.nodes import Numbers
from dkl.methods.quadrature.adaptive import integrate
from dkl.mixture import Mixture
from dkl.representations import Counts, FiniteOutcomes
from dkl.supports import Integers, Interval

# A statistic that is so much larger than where all but this tail of the mass lies, and still matters, has no mean.
_TAIL = 1e-4
_FAR = 1e75
# Statistics beyond this come from where numbers end.
_END = 1e120
_MATTERS = 1e-3
# Mass that is missing, or lies nearer to a bound than numbers come, up to which the means are still known.
_LOST = 1e-6


SEEN = "needs outcomes, or a density on numbers or in the plane, or one to draw from"


@fitter("moment matching", takes=("samples",))
def by_points(problem: Problem) -> Fit:
    """By the means over the target's outcomes, the nodes of its quadrature, or samples drawn from it.

    ``samples`` says how many are drawn where nothing else can look at the target (65,536 if not given); then
    ``details["stderr"]`` holds the standard errors of the matched means.
    """
    family, target = problem.family, problem.target
    need(problem.forward, FORWARD)
    need(has_means(family), MEANS)
    need(not isinstance(target, Counts), "of counts is maximum likelihood")
    need(isinstance(target, FiniteOutcomes) or can_be_seen(target), SEEN)
    drawn = whole_number(problem.option("samples", DRAWN), "samples", 2)
    raw = points(target, rng=problem.rng(), samples=drawn)
    hold_support(family, target, raw, problem.known)
    support = support_of(family, raw.x, problem.known)
    found = distinct(inwards(raw, support))
    try:
        made = members(family, found.x, found.weights, problem.known)
    except NoMemberError as none:
        hold_finite(family, found, problem.known)
        return no_member(problem, found, "moment matching", none)
    hold_finite(family, found, problem.known)
    if found.method == "quadrature":
        finer = distinct(inwards(nodes_beside(problem.target, made, found), support))
        made = members(family, finer.x, finer.weights, problem.known)
    divergence, normaliser = measured(problem, made, found)
    details: dict[str, Any] = {} if normaliser is None else {"log_normaliser": found.log_mass}
    reason = None
    if raw.method == "monte_carlo":
        spread = [_spread(t) for t in statistics(family, raw.x, problem.known)]
        details["stderr"] = {name: s / math.sqrt(drawn) for name, s in zip(family.means, spread, strict=True)}
        reason = f"the means are those of {drawn} samples drawn from the target; details['stderr'] has their errors"
    value = float(divergence.value)
    endless = isinstance(target, Distribution) and float(getattr(target.support, "high", 0.0)) == math.inf
    if value == math.inf and endless and issubclass(family, Categorical):
        raise ValueError(
            f"every member is infinitely far: the target, {target!r}, has mass beyond {int(found.x.max())}, the last "
            "outcome that counts, and a Categorical has finitely many; fit a family such as Poisson"
        )
    lost = _at_bound(family, raw, support, problem.known)
    # A family's members are normalised: what is missing of 1 was not seen.
    if normaliser is not None and _is_normalised(target):
        lost = max(lost, abs(float(np.expm1(found.log_mass))))
    if lost > _LOST:
        reason = (
            f"{lost:.3g} of the target's mass lies nearer to a bound, or farther out, than numbers come: neither the "
            "member nor the divergence is known"
        )
    return Fit(
        made, divergence, "moment matching", lost <= _LOST, (Optimum(made, value),), normaliser=normaliser,
        reason=reason,
        details=details, problem=problem,
    )  # fmt: skip


def _is_normalised(target: Any) -> bool:
    """Whether its mass is 1 by its kind: that of a density of one's own may be anything."""
    if isinstance(target, Mixture):
        return all(_is_normalised(part) for part in target.each)
    return isinstance(target, Distribution) and not isinstance(target, Density)


def _at_bound(family: Any, raw: Points, support: Any, known: Any) -> float:
    """The mass of nodes that rounding put on a bound of the support, where a statistic is infinite."""
    if raw.method != "quadrature" or not isinstance(support, Interval) or isinstance(support, Circle):
        return 0.0
    on = (raw.x == support.low) | (raw.x == support.high)
    if not on.any():
        return 0.0
    finite = [np.isfinite(t.reshape(len(t), -1)).all(axis=-1) for t in statistics(family, raw.x[on], known)]
    return float(raw.weights[on][~np.all(finite, axis=0)].sum())


def inwards(found: Points, support: Any) -> Points:
    """Nodes on a bound of the support, where rounding put them, moved to the next number inside."""
    if found.method != "quadrature" or not isinstance(support, Interval) or isinstance(support, Circle):
        return found
    low, high = np.nextafter(support.low, math.inf), np.nextafter(support.high, -math.inf)
    return replace(found, x=np.clip(found.x, low, high))


def nodes_beside(target: Any, made: Any, found: Points) -> Points:
    """The nodes of the divergence to a member: they see where its log-density, and so the statistic, is not smooth.

    The same nodes as before, where those lose some of the mass: next to a pole of the density they may.
    """
    scaled = Scaled(on_host(target), -found.log_mass)
    with np.errstate(all="ignore"):
        panels = integrate(kl, scaled, made, RTOL[scaled.event_ndim], floor=FLOOR).panels
    logs = (panels.log_p + panels.log_w).ravel()
    kept = logs > -700.0
    shares = np.exp(logs[kept])
    if not abs(shares.sum() - 1.0) <= _LOST:
        return found
    x = panels.x.reshape(logs.size, *found.x.shape[1:])[kept]
    return replace(found, x=x, weights=shares / shares.sum())


def _spread(values: Numbers) -> Numbers:
    """The standard deviation over the outcomes."""
    return np.asarray(np.std(values, axis=0, ddof=1))


def can_be_seen(target: Any) -> bool:
    """Whether sums, quadrature or samples may look at it."""
    if not isinstance(target, Distribution):
        return False
    low = isinstance(target.support, Interval | Integers) or target.event_shape == (2,)
    return low or bool(getattr(target, "can_sample", True))


def hold_finite(family: Any, found: Points, known: Any) -> None:
    """Raise a ValueError if a mean statistic is infinite, or that of a quadrature comes from where numbers end."""
    if found.method not in ("quadrature", "exact"):
        return
    with np.errstate(all="ignore"):
        for name, t in zip(family.means, statistics(family, found.x, known), strict=True):
            size = np.abs(t).reshape(len(t), -1).max(axis=-1)
            content = found.weights * size
            total = content.sum()
            finite = math.isfinite(total)
            if finite and (found.method == "exact" or _far_content(size, found.weights) <= _MATTERS * total):
                continue
            raise ValueError(
                f"every member is infinitely far: the target's {name}, which {family.__name__} must match, is infinite "
                "or comes from where numbers end; fit a family with heavier tails, or bound the target"
            )


def _far_content(size: Numbers, weights: Numbers) -> float:
    """What comes to the mean of a statistic from far beyond nearly all of the mass: the median may be next to 0."""
    order = np.argsort(size)
    within = weights[order].cumsum()
    nearly_all = float(size[order][min(int(np.searchsorted(within, 1.0 - _TAIL)), len(size) - 1)])
    median = float(size[order][min(int(np.searchsorted(within, 0.5)), len(size) - 1)])
    # Of the heaviest tails no node lies far beyond nearly all of the mass: they reach to where numbers end themselves.
    end = max(_END, 1e100 * median)
    far = size > min(_FAR * max(nearly_all, 1e-200), end)
    return float((weights[far] * size[far]).sum())


__all__ = ["by_points", "can_be_seen", "hold_finite", "inwards", "nodes_beside"]
