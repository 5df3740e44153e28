"""Places at which a member of a family looks at a target: nodes of quadrature or a sum, or samples of the member."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from dkl._array import namespace_of, to_numpy
from dkl.divergences import reverse_kl
from dkl.estimate import Estimate
from dkl.families.base import Distribution
from dkl.fitting.direct.places import FLOOR, Places, looked_at
from dkl.fitting.points import on_host
from dkl.fitting.variational.charts import Chart
from dkl.fitting.variational.differentiable import shown
from dkl.fitting.variational.slopes import Seen
from dkl.methods.nodes import Numbers, heights, weighted_pair
from dkl.mixture import detached
from dkl.supports import Integers

# Relative error of the divergence by the nodes, and panels at most.
_RTOL = 1e-12
_PANELS = 2_000
# Nodes with a smaller share of the mass are not looked at.
_LEAST = 1e-18
# Mass that may lie where numbers end.
_LOST = 1e-6

LogProb = Callable[[Numbers], Numbers]


class InfiniteError(ArithmeticError):
    """A member is infinitely far from the target, or cannot be looked at; the text says why, as a clause."""


Look = Callable[[Any], Seen]


def by_nodes(target: Distribution, chart: Chart, named: Any) -> Look:
    """A look at a target of numbers or whole numbers, by quadrature or a sum for each member.

    Parameters
    ----------
    target : Distribution
        Of NumPy's, with an integral of 1.
    chart : Chart
    named : Representation
        The target as it was given, for messages.

    Returns
    -------
    callable
        Of a member: a :class:`Seen`, or an InfiniteError.
    """

    def look(member: Any) -> Seen:
        if not bool(np.all(member.support.within(target.support))):
            raise InfiniteError(f"it lives on {member.support.name}, and the target on {target.support.name}")
        found = looked_at(reverse_kl, target, member, _RTOL, _PANELS)
        if found is None:
            raise InfiniteError("the outcomes are too many to be summed")
        with np.errstate(all="ignore"):
            heavy = found.log_q + found.log_w > math.log(_LEAST)
        kept = found[heavy]
        if not kept.x.size:
            raise InfiniteError(f"none of the mass of {member!r} was found")
        hold_mass(named, member, kept.x, kept.log_p)
        if found.diverges:
            raise InfiniteError(found.diverges.rstrip("."))
        with np.errstate(all="ignore"):
            divergence = _estimate(target, found)
            statistic = kept.asked(chart.statistics)
        return _seen(chart, member, statistic, kept.log_p - kept.log_q, kept.log_q + kept.log_w, divergence)

    return look


def _estimate(target: Distribution, found: Places) -> Estimate:
    """KL(q‖p) by nodes.

    A log-ratio d that is off by δ moves ½E[d²], which the divergence is next to 0, by √(2D)·δ + δ².
    """
    pair = weighted_pair(namespace_of(), found.log_p, found.log_q, found.log_w)
    value = float(reverse_kl.total(pair))
    size = np.where(pair.q > 0, np.abs(found.log_q), 0.0)
    blur = 8.0 * float(np.finfo(float).eps) * (1.0 + float(pair.q @ size))
    return Estimate(
        np.float64(value), np.float64(0.0), "exact" if isinstance(target.support, Integers) else "quadrature",
        reverse_kl.name, reverse_kl.direction, reverse_kl.unit,
        error=np.float64(found.error * max(value, FLOOR) + math.sqrt(2.0 * value) * blur + blur * blur),
    )  # fmt: skip


def by_samples(target: Distribution, log_p: LogProb, chart: Chart, count: int, rng: np.random.Generator) -> Look:
    """A look at any target, by samples drawn anew from each member.

    Parameters
    ----------
    target : Distribution
        For messages.
    log_p : callable
        Its log-density, whose integral does not matter, of outcomes along the first axis.
    chart : Chart
    count : int
        How many samples.
    rng : numpy.random.Generator

    Returns
    -------
    callable
        Of a member: a :class:`Seen`, or an InfiniteError.
    """

    def look(member: Any) -> Seen:
        x = np.asarray(to_numpy(member.sample(count, rng=rng)), dtype=float)
        log_q, statistic = heights(member, x), chart.statistics(x)
        excess = np.full(count, math.nan)
        known = np.isfinite(statistic).all(axis=1) & np.isfinite(log_q)
        asked = log_p(x[known])
        hold_mass(target, member, x[known], asked)
        excess[known] = asked - log_q[known]
        return _seen(chart, member, statistic, excess, np.full(count, -math.log(count)), None)

    return look


def _seen(
    chart: Chart, member: Any, statistic: Numbers, excess: Numbers, log_mass: Numbers, divergence: Estimate | None
) -> Seen:
    known = np.isfinite(statistic).all(axis=1) & np.isfinite(excess)
    lost = 1.0 - float(np.exp(log_mass[known]).sum())
    if not lost <= _LOST:
        raise InfiniteError(
            f"{lost:.3g} of the mass of {member!r} lies nearer to a bound, or farther, than numbers come"
        )
    natural, total = chart.natural(member), math.log1p(-lost)
    centre = np.exp(log_mass[known] - total) @ statistic[known]
    apart = statistic[known] - centre
    if not apart.any():
        raise InfiniteError(f"{member!r} has all of its mass at one place, as far as numbers tell")
    return Seen(member, natural, apart, log_mass[known] - total, excess[known], divergence is None, divergence)


def hold_mass(target: Any, member: Any, x: Numbers, log_p: Numbers) -> None:
    """Raise a ValueError if a member has mass where the target has none: all members live where this one does."""
    if not (log_p == -math.inf).any():
        return
    at = np.ravel(x[int(np.argmin(log_p))])
    raise ValueError(
        f"every {type(member).__name__} is infinitely far from the target, {target!r}, which has density 0 at x = "
        f"{shown(at)}, where each of them has some; fit a family that lives where the target does"
    )


def log_density(target: Distribution) -> LogProb:
    """A target's log-density for NumPy's outcomes, asked in its own library or, if it takes only those, by tensors.

    Raises
    ------
    ValueError
        Of what it gives, where that is no number.
    """
    host = on_host(target)

    def log_p(x: Numbers) -> Numbers:
        try:
            value = host.log_prob(x)
        except TypeError:
            torch = sys.modules.get("torch")
            if torch is None:
                raise
            like = torch.zeros((), dtype=torch.float64)
            moved: Any = detached(target).moved(namespace_of(like=like), like)
            with torch.no_grad():
                value = moved.log_prob(torch.as_tensor(x))
        made = np.asarray(to_numpy(value), dtype=float)
        bad = np.isnan(made) | (made == math.inf)
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            raise ValueError(f"the target, {target!r}, has log_prob {made[at]} at {x[at]}: it must be a number")
        return made

    return log_p
