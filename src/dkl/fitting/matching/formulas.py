"""Moment matching by the formulas of the target's means, for a whole batch at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dkl._array import Array, as_scalar, holds, to_numpy
from dkl.families.base import Distribution
from dkl.families.directional import Circle
from dkl.families.multivariate import DiagonalNormal, MultivariateNormal, VectorNormal
from dkl.families.normal import LogNormal, Normal
from dkl.families.outcomes import Categorical
from dkl.fitting.matching.members import MEANS, has_means
from dkl.fitting.problem import FORWARD, Problem, fitter, need
from dkl.fitting.result import Fit, Optimum
from dkl.methods import measure
from dkl.methods.nodes import Numbers
from dkl.mixture import Mixture, member
from dkl.representations import Counts, FiniteOutcomes, outcomes
from dkl.supports import Integers, Vectors

# Of a larger batch only a divergence with a formula is measured.
_MEASURED = 1024
# Distributions of no more outcomes are listed one by one.
_OUTCOMES = 1 << 20


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
        if isinstance(target, Distribution) and isinstance(target.support, Integers):
            return _listed(target)
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


def _listed(target: Any) -> Any:
    """Every outcome of a distribution of 0, …, n, however improbable; None where there is no such n."""
    low, high = (np.asarray(to_numpy(bound)) for bound in (target.support.low, target.support.high))
    if low.ndim or high.ndim or not (low >= 0 and high < _OUTCOMES):
        return None
    outcomes_of = target.xp.arange(int(high) + 1, dtype=target.dtype)
    shape = (-1, *(1,) * len(target.batch_shape))
    logs = target.log_prob(target.xp.reshape(outcomes_of, shape))
    return Categorical(logits=target.xp.moveaxis(logs, 0, -1))


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
    full = family is MultivariateNormal
    if family in (Normal, LogNormal):
        if target.event_ndim or isinstance(target.support, Integers | Circle):
            return None
        found = _central(target, _of_logarithm if family is LogNormal else _of_number)
    elif family in (MultivariateNormal, DiagonalNormal) and type(target.support) is Vectors:
        found = _central(target, _of_vector if full else _of_axes, full)
    else:
        return None
    if found is None:
        return None
    mean, spread = found
    xp = target.xp
    finite = xp.isfinite(mean) if full else xp.isfinite(mean) & xp.isfinite(spread)
    if holds(xp.all(finite)) is False:
        means = " and ".join(family.means)
        raise ValueError(
            f"every member is infinitely far: the target, {target!r}, has no finite {means}, which "
            f"{family.__name__} must match; fit a family with heavier tails, or bound the target"
        )
    if not full:
        spread = xp.sqrt(spread)
    return family(*(as_scalar(xp.astype(x, target.dtype)) for x in (mean, spread)))


Moments = tuple[Array, Array]


def _central(target: Any, of_one: Callable[[Any], Moments | None], full: bool = False) -> Moments | None:
    """Mean and variances, or the full covariance, in the precision of the calculation: of a mixture by its parts."""
    if not isinstance(target, Mixture):
        return of_one(target)
    found = [pair for part in _parts(target) if (pair := _central(part, of_one, full)) is not None]
    if len(found) < len(_parts(target)):
        return None
    xp, weights, ndim = target.xp, target.parameters["weights"], target.event_ndim
    mean = _mixed(xp, target, weights, [m for m, _ in found], ndim)
    centre = xp.expand_dims(mean, axis=-1 - ndim) if isinstance(target.components, Distribution) else mean
    around = [s + _square(m - centre, full) for m, s in found]
    return mean, _mixed(xp, target, weights, around, 2 if full else ndim)


def _square(d: Array, full: bool) -> Array:
    return d[..., :, None] * d[..., None, :] if full else d * d


def _of_number(target: Any) -> Moments | None:
    try:
        mean, spread = target._mean(), target._var()
    except NotImplementedError:  # no formula
        return None
    return target.xp.broadcast_to(mean, target.batch_shape), target.xp.broadcast_to(spread, target.batch_shape)


def _of_logarithm(target: Any) -> Moments | None:
    if not isinstance(target, LogNormal):
        return None
    mean, spread = target.loc, target._v
    return target.xp.broadcast_to(mean, target.batch_shape), target.xp.broadcast_to(spread, target.batch_shape)


def _of_vector(target: Any) -> Moments | None:
    return (target._mean(), target._whole(target._covariance(), 2)) if isinstance(target, VectorNormal) else None


def _of_axes(target: Any) -> Moments | None:
    return (target._mean(), target._var()) if isinstance(target, VectorNormal) else None


__all__ = ["closed", "of_batch"]
