"""Maximum likelihood: the member under which observations are likeliest.

In an exponential family it is the member with their mean statistics, and :mod:`~dkl.fitting.matching.solvers` finds the
others.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dkl._array import namespace_of, to_numpy
from dkl.estimate import Estimate
from dkl.families.dirichlet import Beta, Dirichlet
from dkl.families.gamma import ChiSquared, Gamma
from dkl.families.outcomes import Categorical
from dkl.fitting.matching.boundary import no_member
from dkl.fitting.matching.formulas import of_batch
from dkl.fitting.matching.members import (
    NoMemberError,
    distinct,
    has_means,
    hold_support,
    members,
    statistics,
    support_of,
)
from dkl.fitting.matching.solvers import SOLVERS
from dkl.fitting.measuring import of_shares
from dkl.fitting.points import Points, points, real_numbers
from dkl.fitting.problem import FORWARD, DeclinedError, Problem, fitter, need
from dkl.fitting.result import Fit, Optimum
from dkl.representations import Counts, Samples, outcomes
from dkl.supports import Integers

#: Families with members that have an infinite density on the bound of their support, and others that have none there.
_OPEN: tuple[type, ...] = (Gamma, ChiSquared, Beta, Dirichlet)


@fitter("maximum likelihood", takes=("weights",), batched=True)
def at_once(problem: Problem) -> Fit:
    """Rows of samples, all by one formula; for nothing else, nor where one of them has no best member."""
    family, target = problem.family, problem.target
    need(problem.forward, FORWARD)
    if not isinstance(target, Samples):
        raise DeclinedError("needs samples or counts")
    need(has_means(family) and not issubclass(family, Categorical), "has no formula for a batch of this family")
    x = real_numbers(target.array, "the target's samples")
    leading = x.ndim - 1 - family.event_ndim
    need(leading >= 1 and x.size > 0, "is for batches here")
    flat = x.reshape(-1, *x.shape[leading + 1 :])
    support = support_of(family, flat, problem.known)
    # What is wrong with an entry is told of its row alone.
    inside = np.isfinite(flat).all() and np.asarray(support.contains(namespace_of(), flat)).all()
    need(bool(inside), "is for outcomes inside the family's support")
    need(all(np.isfinite(t).all() for t in statistics(family, flat, problem.known)), "needs finite statistics")
    one = x[(0,) * leading]
    found = points(Samples(one), weights=problem.option("weights", None))
    weights = np.broadcast_to(found.weights, x.shape[: leading + 1])
    try:
        made = members(family, x, weights, problem.known)
    except NoMemberError as none:
        raise DeclinedError("has no best member for one of the rows") from none  # which, and why, is told one by one
    spread = made.log_prob(np.moveaxis(x, leading, 0))
    log_likelihood = np.tensordot(found.weights, spread, axes=(0, 0))
    error = np.sqrt(np.tensordot(found.weights, (spread - log_likelihood) ** 2, axes=(0, 0)) / found.size)
    return Fit(
        made, None, "maximum likelihood", True, of_batch(made, -np.asarray(log_likelihood)), reason=_OF_SAMPLES,
        details={
            "log_likelihood": log_likelihood, "stderr": error, "observations": observations(Samples(one), found)
        },
    )  # fmt: skip


_OF_SAMPLES = (
    "the KL from single observations to a density is infinite: details['log_likelihood'] is the mean of log q over "
    "them, details['stderr'] its standard error"
)
_OF_SHARES = "the divergence is that from the observed shares"


@fitter("maximum likelihood", takes=("weights",))
def likeliest(problem: Problem) -> Fit:
    """Of samples or counts: the member of the greatest likelihood.

    ``weights`` are those of samples, non-negative. ``details["log_likelihood"]`` is the mean of log q over the
    observations and ``details["stderr"]`` its standard error. Where it has no maximum, as of normal distributions for
    equal observations, there is no member, and ``boundary`` says where it grows.
    """
    family, target = problem.family, problem.target
    need(problem.forward, FORWARD)
    need(isinstance(target, Samples | Counts), "needs samples or counts")
    need(isinstance(family, type), "of a mixture is expectation maximisation")
    need(has_means(family) or family in SOLVERS, f"is not known of {family.__name__}")
    raw = points(target, weights=problem.option("weights", None))
    hold_support(family, target, raw, problem.known)
    count = observations(target, raw)
    found = distinct(raw)
    try:
        made = _best(problem, found)
    except NoMemberError as none:
        return no_member(problem, found, "maximum likelihood", none)
    divergence, value, details, reason = observed(problem, family, made, found, count)
    return Fit(
        made, divergence, "maximum likelihood", True, (Optimum(made, value),), reason=reason, details=details,
        problem=problem,
    )  # fmt: skip


def observations(target: Any, found: Points) -> float:
    """How many observations of equal weight there are."""
    if isinstance(target, Counts):
        return float(np.asarray(to_numpy(target.array)).sum())
    return float(found.weights.size) if np.ptp(found.weights) == 0 else found.size


def _best(problem: Problem, found: Points) -> Any:
    family = problem.family
    if family in SOLVERS:
        return SOLVERS[family](found.x, found.weights)
    if issubclass(family, Categorical):
        xp, p = outcomes(problem.target) if isinstance(problem.target, Counts) else (None, None)
        if xp is not None:
            return family(p)
    hold_open(family, found, problem.known)
    return members(family, found.x, found.weights, problem.known)


def hold_open(family: Any, found: Points, known: Any) -> None:
    """Raise an error if an observation lies on the bound of the support, where the density is 0 or infinite.

    Raises
    ------
    NoMemberError
        Where members have an infinite density there: the likelihood has no maximum.
    ValueError
        Where none has any.
    """
    for t in statistics(family, found.x, known):
        finite = np.isfinite(t.reshape(len(t), -1)).all(axis=-1)
        if finite.all():
            continue
        at, support = found.x[int(np.argmin(finite))], support_of(family, found.x, known)
        if family in _OPEN:
            raise NoMemberError(
                f"an observation, {at}, lies on the bound of {support.name}, where the density is 0 or infinite: the "
                "likelihood has no maximum; leave it out, or say what it was rounded from"
            )
        raise ValueError(
            f"every member is infinitely far: an observation, {at}, lies on the bound of {support.name}, where the "
            f"density of every {family.__name__} is 0; leave it out, or fit a family that reaches there"
        )


def observed(
    problem: Problem, family: Any, made: Any, found: Points, count: float
) -> tuple[Estimate | None, float, dict[str, Any], str]:
    """What there is to say of a fit to observations: its divergence, its value, details and the reason of both."""
    logs = np.asarray(made.log_prob(found.x))
    mean = float(found.weights @ logs)
    error = math.sqrt(float(found.weights @ (logs - mean) ** 2) / count)
    details = {"log_likelihood": mean, "stderr": error, "observations": count}
    if isinstance(support_of(family, found.x, problem.known), Integers) and found.x.ndim == 1:
        divergence = of_shares(found.x, found.weights, made, problem)
        return divergence, float(divergence.value), details, _OF_SHARES
    return None, -mean, details, _OF_SAMPLES


__all__ = ["at_once", "hold_open", "likeliest", "observations", "observed"]
