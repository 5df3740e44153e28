"""Where a distribution of numbers, or of vectors of length 2, has its mass, and how wide it lies there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dkl._array import to_numpy
from dkl.density import Density
from dkl.families.base import Distribution
from dkl.methods.nodes import Numbers, heights
from dkl.mixture import Mixture

#: Beyond this nothing is looked for.
FARTHEST = 1e150


@dataclass(frozen=True)
class Landmark:
    """A place where there is mass, and how wide it lies."""

    at: float
    width: float


def landmarks(distribution: Distribution) -> list[Landmark]:
    """Where a distribution of numbers has its mass: by its moments, by its samples, or by searching."""
    if isinstance(distribution, Mixture):
        return [mark for part in distribution.each for mark in landmarks(part)]
    if not isinstance(distribution, Density):
        try:
            at, width = float(to_numpy(distribution.mean())), float(to_numpy(distribution.std()))
        except NotImplementedError:
            at = width = math.nan
        if abs(at) < FARTHEST and 0 < width < FARTHEST:
            return [Landmark(at, width)]
    if getattr(distribution, "can_sample", True):
        try:
            return _of_sample(distribution)
        except NotImplementedError:
            pass
    # A search asks hundreds of times; what a density is does not change.
    if "_landmarks" not in distribution.__dict__:
        distribution.__dict__["_landmarks"] = _found(distribution)
    found: list[Landmark] = distribution.__dict__["_landmarks"]
    return found


def _of_sample(distribution: Distribution) -> list[Landmark]:
    drawn = np.sort(np.asarray(to_numpy(distribution.sample(4096, rng=0)), dtype=float))
    drawn = drawn[np.isfinite(drawn)]
    if not drawn.size:
        return []
    # 32 quantiles, each as wide as its nearer neighbour is far, so that narrow heaps are seen as narrow.
    at = np.quantile(drawn, (np.arange(32) + 0.5) / 32, method="nearest")
    at = np.unique(at)
    if at.size == 1:
        return [Landmark(float(at[0]), max(abs(float(at[0])), 1.0) * 1e-3)]
    gaps = np.diff(at)
    nearer = np.minimum(np.append(gaps, math.inf), np.append(math.inf, gaps))
    return [Landmark(float(x), float(w)) for x, w in zip(at, nearer, strict=True)]


def _found(distribution: Distribution) -> list[Landmark]:
    """The peaks of the log-density that a search on an axis uniform in the logarithm of |x| finds."""
    from scipy.optimize import minimize_scalar

    low, high = ends(distribution)
    steps = np.concatenate([np.linspace(-12, 12, 1201), np.linspace(12, 60, 97)[1:]])
    grid = np.concatenate([-np.exp(steps[::-1]), [0.0], np.exp(steps)])
    if math.isfinite(low) and math.isfinite(high):
        inner = low + (high - low) * np.concatenate([np.exp(-steps[steps > 0]), 1 - np.exp(-steps[steps > 0])])
        grid = np.sort(np.concatenate([inner, np.linspace(low, high, 1026)]))
    elif math.isfinite(low):
        grid = low + np.exp(steps)
    elif math.isfinite(high):
        grid = high - np.exp(steps[::-1])
    grid = np.unique(grid[(grid > low) & (grid < high)])
    height = heights(distribution, grid)
    inside = np.flatnonzero((height[1:-1] > height[:-2]) & (height[1:-1] >= height[2:]) & (height[1:-1] > -math.inf))
    marks = []
    for k in _apart_by_more_than_rounding(inside + 1, height)[:64]:
        left, at, right = grid[k - 1 : k + 2].tolist()
        for _ in range(4):
            # Brent's method comes as near as √ε of what it varies: of x at first, of its distance from the peak then.
            fit = minimize_scalar(
                lambda t, at=at: -max(float(heights(distribution, np.array([at + t]))[0]), -1e300),
                bounds=(left - at, right - at),
                method="bounded",
                options={"xatol": 1e-15 * (right - left)},
            )
            at += float(fit.x)
        top = -float(fit.fun)
        # The width at which the density has fallen to a half, by halving.
        width = right - left
        for _ in range(200):
            beside = heights(distribution, np.array([at - width, at + width]))
            if not (beside < top - 1.0).all() or width < 4 * np.spacing(abs(at)):
                break
            width /= 2
        marks.append(Landmark(at, max(width, np.spacing(abs(at)) * 4, 1e-300)))
    return marks


def _apart_by_more_than_rounding(peaks: Numbers, height: Numbers) -> Numbers:
    """Of peaks with no valley between them but for rounding, as on the back of a large constant, the highest."""
    kept: list[int] = []
    for k in peaks.tolist():
        if kept:
            lower = min(height[kept[-1]], height[k])
            if lower - height[kept[-1] : k + 1].min() <= 8.0 * np.spacing(abs(lower)):
                kept[-1] = k if height[k] > height[kept[-1]] else kept[-1]
                continue
        kept.append(k)
    return np.array(kept, dtype=int)


def ends(distribution: Distribution) -> tuple[float, float]:
    """Where the support begins and ends."""
    support = distribution.support
    return float(to_numpy(support.low)), float(to_numpy(support.high))  # type: ignore[attr-defined]


def all_ends(distribution: Distribution) -> set[float]:
    """The ends of the support, and of those of a mixture's components."""
    parts = distribution.each if isinstance(distribution, Mixture) else []
    return set(ends(distribution)).union(*(all_ends(part) for part in parts))


def plane_landmarks(distribution: Distribution) -> list[tuple[Landmark, Landmark]]:
    """Where a distribution of vectors of length 2 has its mass, along each axis."""
    if isinstance(distribution, Mixture):
        return [marks for part in distribution.each for marks in plane_landmarks(part)]
    try:
        at, width = (np.asarray(to_numpy(x), dtype=float) for x in (distribution.mean(), distribution.std()))
    except NotImplementedError:
        at = width = np.full(2, math.nan)
    if not (np.isfinite(at).all() and np.isfinite(width).all() and (width > 0).all()):
        try:
            drawn = np.asarray(to_numpy(distribution.sample(4096, rng=0)), dtype=float)
        except NotImplementedError:
            return [(Landmark(0.0, 1.0), Landmark(0.0, 1.0))]
        at = np.median(drawn, axis=0)
        width = np.maximum(np.subtract(*np.quantile(drawn, [0.75, 0.25], axis=0)), 1e-12 * (1 + np.abs(at)))
    return [(Landmark(float(at[0]), float(width[0])), Landmark(float(at[1]), float(width[1])))]


def apart(marks: list[Landmark]) -> list[Landmark]:
    """In order, and of those much closer than they are wide, the narrowest."""
    kept: list[Landmark] = []
    for mark in sorted(marks, key=lambda m: m.at):
        if kept and mark.at - kept[-1].at <= 0.5 * min(mark.width, kept[-1].width):
            if mark.width < kept[-1].width:
                kept[-1] = mark
        else:
            kept.append(mark)
    return kept
