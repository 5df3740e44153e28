"""Where a search begins: members that match what a window shows of the target.

The first window shows the whole target, others one landmark (a component, a peak) each, and the rest are drawn: about a
point of the target, with a width between that of its narrowest landmark and its own. A member that matches the moments
of what it sees is a start in every family, and together they reach the modes, the pairs of modes and the whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from dkl._array import to_numpy
from dkl.families import Bernoulli, Cauchy, GeneralizedNormal, Gumbel, Kumaraswamy, StudentT, Uniform
from dkl.families.base import Distribution
from dkl.families.exponential import MeanParametrised
from dkl.fitting.points import Points
from dkl.methods.landmarks import landmarks, plane_landmarks
from dkl.methods.nodes import Numbers
from dkl.supports import Interval

# Of more landmarks than these, as many are chosen.
_MARKS = 24
# A standard deviation of so many times the middle half is that of a tail, not of the target.
_HEAVY = 1e4
# Below this share of the target a window shows nothing.
_LEAST = 1e-12


def starts(
    family: Any, known: Any, target: Distribution, points: Points, count: int, rng: np.random.Generator
) -> list[Any]:
    """Members to start from: one for the whole target, one for each landmark, and drawn ones up to the count.

    Parameters
    ----------
    family : type
    known : mapping
        The parameters that the family keeps fixed.
    target : Distribution
        Of NumPy's.
    points : Points
        Those of the target.
    count : int
        How many windows are looked through at least.
    rng : numpy.random.Generator

    Returns
    -------
    list of Distribution
        Fewer, where a window has no member.
    """
    made = []
    for weights in _windows(target, points, count, rng):
        member = matched(family, known, points.x, weights)
        if member is not None:
            made.append(member)
    return made


def _windows(target: Distribution, points: Points, count: int, rng: np.random.Generator) -> Iterator[Numbers]:
    x = points.x.reshape(len(points.x), -1)
    low, middle, high = np.array([quantiles(column, points.weights, [0.25, 0.5, 0.75]) for column in x.T]).T
    half = np.maximum(high - low, 1e-300)
    with np.errstate(all="ignore"):
        spread = np.sqrt(np.maximum(points.mean((x - points.mean(x)) ** 2), 0.0))
    # A spread that tails without a variance make is none.
    heavy = ~((spread > 0) & (spread < _HEAVY * half))
    if heavy.any():
        spread = np.where(heavy, half, spread)
        near = (np.abs(x - middle) <= _HEAVY * half).all(axis=-1)
        yield np.where(near, points.weights, 0.0) / points.weights[near].sum()
    else:
        yield points.weights
    marks = _marks(target)
    if len(marks) > _MARKS:
        marks = [marks[k] for k in rng.choice(len(marks), _MARKS, replace=False)]
    shown = 1
    for at, width in marks if len(marks) > 1 else ():
        weights = _seen(points, x, at, np.minimum(2.0 * width, spread))
        if weights is not None:
            shown += 1
            yield weights
    narrowest = np.min([np.minimum(width, spread) for _, width in marks], axis=0) if marks else 0.05 * spread
    while shown < count:
        at = x[rng.choice(len(x), p=points.weights)]
        factor = rng.random()
        weights = _seen(points, x, at, spread * (narrowest / spread) ** factor)
        shown += 1
        if weights is not None:
            yield weights


def quantiles(x: Numbers, weights: Numbers, levels: list[float]) -> list[float]:
    """Quantiles of weighted numbers."""
    order = np.argsort(x)
    found: list[float] = np.interp(levels, np.cumsum(weights[order]), x[order]).tolist()
    return found


def _marks(target: Distribution) -> list[tuple[Numbers, Numbers]]:
    if target.event_shape:
        return [(np.array([m.at for m in pair]), np.array([m.width for m in pair])) for pair in plane_landmarks(target)]
    if not isinstance(target.support, Interval):
        return []
    return [(np.array([m.at]), np.array([m.width])) for m in landmarks(target)]


def _seen(points: Points, x: Numbers, at: Numbers, width: Numbers) -> Numbers | None:
    with np.errstate(all="ignore"):
        shares = points.weights * np.exp(-0.5 * (((x - at) / width) ** 2).sum(axis=-1))
    total = shares.sum()
    return shares / total if total > _LEAST else None


def matched(family: Any, known: Any, x: Numbers, weights: Numbers) -> Any:
    """The member that matches the moments of weighted outcomes, or lies near; None where there is none."""
    for inside in (*_within(x), _middle(x, weights)):
        share = weights[inside].sum()
        if not share > 0.5:
            continue
        seen, w = x[inside], weights[inside] / share
        try:
            with np.errstate(all="ignore"):
                return _member(family, known, seen, w)
        except ValueError:
            continue  # outside the support, or no member has these moments
    return None


def _middle(x: Numbers, weights: Numbers) -> Numbers:
    """Positive numbers but for the least and the largest: next to 0 the mean of 1/x, say, may be infinite."""
    if x.ndim > 1:
        return np.zeros(len(x), dtype=bool)
    low, high = quantiles(x, weights, [0.05, 0.95])
    return (x > max(low, 0.0)) & (x < high)


def _within(x: Numbers) -> Iterator[Numbers]:
    """Outcomes that the supports of the families may ask for: all, positive ones, those between 0 and 1, angles."""
    flat = x.reshape(len(x), -1)
    yield np.ones(len(x), dtype=bool)
    for met in (flat > 0, (flat > 0) & (flat < 1), np.abs(flat) <= math.pi, flat >= 0):
        kept = np.asarray(met.all(axis=-1))
        if kept.any() and not kept.all():
            yield kept


def _member(family: Any, known: Any, x: Numbers, w: Numbers) -> Any:
    if issubclass(family, MeanParametrised):
        statistics = family.sufficient_statistics(x, **known)
        means = [np.tensordot(w, np.asarray(to_numpy(t)), axes=(0, 0)) for t in statistics]
        member = family.from_mean_parameters(*means, **known)
        if family is Bernoulli and not 0 < float(means[0]) < 1:
            raise ValueError("a probability of 0 or 1 has no odds")
        return member
    if family is Uniform:
        seen = x[w > _LEAST]
        return Uniform(float(seen.min()), float(seen.max()))
    low, middle, high = quantiles(x, w, [0.25, 0.5, 0.75])
    mean, spread = middle, max((high - low) / 1.35, 1e-300)
    begun = _NEAR.get(family)
    if begun is None:
        raise TypeError(f"{family.__name__} has no start: direct minimisation does not know it")
    return begun(mean, spread)


_NEAR: dict[type, Any] = {
    Cauchy: lambda mean, spread: Cauchy(mean, 0.5 * spread),
    Gumbel: lambda mean, spread: Gumbel(mean - 0.45 * spread, 0.78 * spread),
    GeneralizedNormal: lambda mean, spread: GeneralizedNormal(mean, math.sqrt(2.0) * spread, 2.0),
    StudentT: lambda mean, spread: StudentT(5.0, mean, 0.8 * spread),
    Kumaraswamy: lambda mean, spread: _kumaraswamy(mean, spread),
}


def _kumaraswamy(mean: float, spread: float) -> Kumaraswamy:
    """With the parameters of the beta distribution of that mean and spread, which is near."""
    total = mean * (1.0 - mean) / spread**2 - 1.0
    return Kumaraswamy(mean * total, (1.0 - mean) * total)
