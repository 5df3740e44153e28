"""Moment matching: the member with the target's mean statistics, which has the least KL from the target [1, 3.6].

In closed form where the target's means are known, and elsewhere by its outcomes, quadrature or samples.

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

from dkl._array import Array, as_scalar, holds, to_numpy
from dkl.density import Density
from dkl.divergences import kl
from dkl.families.base import Distribution
from dkl.families.directional import Circle
from dkl.families.exponential import MeanParametrised
from dkl.families.multivariate import DiagonalNormal, LowRankNormal, MultivariateNormal, VectorNormal
from dkl.families.normal import LogNormal, Normal
from dkl.families.outcomes import Categorical
from dkl.fitting.direct.objective import FLOOR
from dkl.fitting.matching.members import (
    NoMemberError,
    distinct,
    hold_support,
    members,
    statistics,
    support_of,
    weighted,
)
from dkl.fitting.measuring import RTOL, measured
from dkl.fitting.points import DRAWN, Points, Scaled, on_host, points
from dkl.fitting.problem import FORWARD, Problem, fitter, need, whole_number
from dkl.fitting.result import Boundary, Fit, Optimum
from dkl.methods import measure
from dkl.methods.nodes import Numbers
from dkl.methods.quadrature.adaptive import integrate
from dkl.mixture import Mixture, member
from dkl.representations import Counts, FiniteOutcomes, outcomes
from dkl.supports import Integers, Interval, Vectors

# Of a larger batch only a divergence with a formula is measured.
_MEASURED = 1024
# A statistic that is so much larger than where all but this tail of the mass lies, and still matters, has no mean.
_TAIL = 1e-4
_FAR = 1e75
# Statistics beyond this come from where numbers end.
_END = 1e120
_MATTERS = 1e-3
# Mass that is missing, or lies nearer to a bound than numbers come, up to which the means are still known.
_LOST = 1e-6


MEANS = "needs a family whose members are known by the means of their statistics"
SEEN = "needs outcomes, or a density on numbers or in the plane, or one to draw from"


def has_means(family: Any) -> bool:
    """Whether every mean of its statistics belongs to a member."""
    return isinstance(family, type) and issubclass(family, MeanParametrised) and not issubclass(family, LowRankNormal)


@fitter("moment matching", batched=True)
def closed(problem: Problem) -> Fit:
    """By the formulas of the target's means, for a whole batch at once.

    They are known of a member of the same family with equal known parameters (which is its own best member), of a
    mixture of such members, of every distribution with a mean and a variance for normal families, and of a list of
    outcomes for :class:`~dkl.families.Categorical`. Parameters stay in the target's array library, with gradients.
    """
    family, target = problem.family, problem.target
    need(problem.forward, FORWARD)
    need(has_means(family), MEANS)
    made = _closed(family, target, problem.known)
    need(made is not None, "has no formula for the target's means")
    shape = tuple(made.batch_shape)
    size = math.prod(shape)
    divergence, reason = None, None
    if size <= _MEASURED:
        divergence = measure(target, made, problem.divergence, rng=problem.seed)
    else:
        reason = f"the divergences of {size} pairs are not measured: dkl.measure(target, fit.distribution) does it"
    optima: tuple[Any, ...] = ()
    if divergence is not None:
        optima = of_batch(made, np.broadcast_to(to_numpy(divergence.value), shape))
        optima = optima if shape else optima[0]
    return Fit(
        made, divergence, "moment matching", True, optima, reason=reason, problem=None if shape else problem
    )  # fmt: skip


def of_batch(made: Any, values: Numbers) -> tuple[tuple[Optimum, ...], ...]:
    """The one optimum of each target of a batch; none of a batch that is too large to be looked at one by one."""
    if values.size > _MEASURED:
        return ()
    return tuple((Optimum(member(made, row), float(values[row])),) for row in np.ndindex(*values.shape))


def _closed(family: Any, target: Any, known: Any) -> Any:
    if issubclass(family, Categorical):
        listed = target.measured_as()
        if not isinstance(listed, FiniteOutcomes) or isinstance(listed, Counts):
            return None
        x = outcomes(listed)[1]
        return family(logits=x) if listed.in_logs else family(probs=x)
    if not isinstance(target, Distribution):
        return None
    if type(target) is family and _shares(target, family, known):
        return target
    found = _normal(family, target)
    if found is None and isinstance(target, Mixture):
        found = _of_mixture(family, target, known)
    return found


def _shares(target: Any, family: Any, known: Any) -> bool:
    """Whether the known parameters are the target's own."""
    return all(bool(np.all(to_numpy(target.parameters[name]) == to_numpy(known[name]))) for name in family.known)


def _of_mixture(family: Any, target: Mixture, known: Any) -> Any:
    """Its mean statistics are the weighted means of its components'."""
    parts = _parts(target)
    if any(type(part) is not family or not _shares(part, family, known) for part in parts):
        return None
    xp, weights = target.xp, target.parameters["weights"]
    means = []
    for j, constraint in enumerate(family.means.values()):
        each = [_widened(part).mean_parameters()[j] for part in parts]
        means.append(_mixed(xp, target, weights, each, constraint.ndim))
    made = family.from_mean_parameters(*means, **known)
    return made if target.dtype == means[0].dtype else _in(made, target.dtype)


def _parts(target: Mixture) -> list[Any]:
    """The components: one batch, or each."""
    return [target.components] if isinstance(target.components, Distribution) else list(target.components)


def _widened(distribution: Any) -> Any:
    """The same, which answers in the precision of the calculation."""
    made = object.__new__(type(distribution))
    made.__dict__.update(distribution.__dict__)
    made.dtype = next(iter(distribution.parameters.values())).dtype
    return made


def _in(distribution: Any, dtype: Any) -> Any:
    """The same with parameters of another dtype."""
    xp = distribution.xp
    return type(distribution)(**{name: xp.astype(x, dtype) for name, x in distribution.given.items()})


def _mixed(xp: Any, target: Mixture, weights: Array, each: list[Any], ndim: int) -> Array:
    """The weighted mean over the components of values with so many axes of their own."""
    if isinstance(target.components, Distribution):
        values, axis = each[0], -1 - ndim
    else:
        axis = -1 - ndim
        values = xp.stack(xp.broadcast_arrays(*each), axis=axis)
    w = weights[(..., *(None,) * ndim)]
    # A component without weight may have an infinite mean.
    return xp.sum(xp.where(w > 0, w * xp.where(w > 0, values, 0.0), 0.0), axis=axis)


def _normal(family: Any, target: Any) -> Any:
    """The normal member of the target's mean and variance; None where they have no formula."""
    if family in (Normal, LogNormal):
        if target.event_ndim or isinstance(target.support, Integers | Circle):
            return None
        found = _moments(target, logs=family is LogNormal)
    elif family in (MultivariateNormal, DiagonalNormal) and type(target.support) is Vectors:
        found = _vector_moments(target, family is MultivariateNormal)
    else:
        return None
    if found is None:
        return None
    mean, spread = found
    xp = target.xp
    finite = xp.isfinite(mean) & xp.isfinite(spread) if family is not MultivariateNormal else xp.isfinite(mean)
    if holds(xp.all(finite)) is False:
        means = " and ".join(family.means)
        raise ValueError(
            f"every member is infinitely far: the target, {target!r}, has no finite {means}, which "
            f"{family.__name__} must match; fit a family with heavier tails, or bound the target"
        )
    if family is not MultivariateNormal:
        spread = xp.sqrt(spread)
    return family(*(as_scalar(xp.astype(x, target.dtype)) for x in (mean, spread)))


def _moments(target: Any, logs: bool) -> tuple[Array, Array] | None:
    """Mean and variance of the outcome or of its logarithm, in the precision of the calculation."""
    xp = target.xp
    if isinstance(target, Mixture):
        found = [_moments(part, logs) for part in _parts(target)]
        if any(pair is None for pair in found):
            return None
        weights = target.parameters["weights"]
        means, spreads = ([pair[i] for pair in found if pair is not None] for i in (0, 1))
        mean = _mixed(xp, target, weights, means, 0)
        apart = mean[..., None] if isinstance(target.components, Distribution) else mean
        around = [s + (m - apart) ** 2 for m, s in zip(means, spreads, strict=True)]
        return mean, _mixed(xp, target, weights, around, 0)
    if logs:
        if not isinstance(target, LogNormal):
            return None
        mean, spread = target.loc, target._v
    else:
        try:
            mean, spread = target._mean(), target._var()
        except NotImplementedError:  # no formula
            return None
    shape = target.batch_shape
    return xp.broadcast_to(mean, shape), xp.broadcast_to(spread, shape)


def _vector_moments(target: Any, full: bool) -> tuple[Array, Array] | None:
    """Mean and covariance, or the variances alone, of a normal vector or a mixture of them."""
    xp = target.xp
    if isinstance(target, Mixture):
        found = [_vector_moments(part, full) for part in _parts(target)]
        if any(pair is None for pair in found):
            return None
        weights = target.parameters["weights"]
        means, spreads = ([pair[i] for pair in found if pair is not None] for i in (0, 1))
        mean = _mixed(xp, target, weights, means, 1)
        apart = mean[..., None, :] if isinstance(target.components, Distribution) else mean
        around = []
        for m, s in zip(means, spreads, strict=True):
            d = m - apart
            around.append(s + (d[..., :, None] * d[..., None, :] if full else d * d))
        return mean, _mixed(xp, target, weights, around, 2 if full else 1)
    if not isinstance(target, VectorNormal):
        return None
    spread = target._whole(target._covariance(), 2) if full else target._var()
    return target._mean(), spread


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
    if normaliser is not None and not isinstance(target, Density | Mixture):
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


__all__ = [
    "by_points", "can_be_seen", "closed", "has_means", "hold_finite", "inwards", "no_member", "nodes_beside",
    "of_batch",
]  # fmt: skip
