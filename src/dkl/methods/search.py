"""Rényi's divergence of order ∞ by a search: the largest log(p/q) of numbers [1, Theorem 6].

The log-ratio is looked at on an axis that is fine at the landmarks of P and Q and logarithmic from there, and towards
the ends of their supports, and improved between the neighbours of its highest places. Where it goes on rising to the
last number there is, by as much with every step of the logarithm as with the one before, it has no largest value.

References
----------
.. [1] T. van Erven, P. Harremoës, "Rényi divergence and Kullback-Leibler divergence", IEEE Transactions on
   Information Theory 60 (2014).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from dkl._array import is_numpy, namespace_of, to_numpy, widest
from dkl.divergences import Divergence, Renyi
from dkl.estimate import Estimate
from dkl.families.base import Distribution
from dkl.methods.by_row import Answer, by_row
from dkl.methods.landmarks import FARTHEST, landmarks
from dkl.methods.nodes import heights, putter
from dkl.mixture import detached
from dkl.rules import rule
from dkl.supports import Integers, Interval

Numbers = np.ndarray[Any, Any]

#: The relative error of a height whose place is known to half the digits, and of a limit.
RTOL = 1e-10
# The highest places that are improved.
_PEAKS = 8
# Whole numbers up to which all are looked at, and the largest at all: beyond it a density has lost its digits.
_ALL, _LARGEST = 1 << 16, 2.0**40
# Of log-densities of this size only some digits of the difference are left.
_BLURRED = 1e12
# Steps of the logarithm over which a rise is compared with the one before.
_STEP = 4.0


@rule(Renyi, Distribution, Distribution, "search")
def search(
    divergence: Divergence, p: Any, q: Any, *, axis: Any = -1, rtol: float | None = None, **options: Any
) -> Estimate | None:
    """Look for the largest log(p/q).

    Declines for other orders than ∞.

    Raises
    ------
    TypeError
        If outcomes are vectors, which only closed forms measure.
    """
    if divergence.order != math.inf:  # type: ignore[attr-defined]
        return None
    if not any(all(isinstance(side.support, kind) for side in (p, q)) for kind in (Interval, Integers)):
        raise TypeError(
            f"{divergence.symbol} of p, {p!r}, and q, {q!r}, has no closed form here, and the largest log(p/q) is "
            "searched for among numbers alone: dkl.Renyi of a large finite order bounds it from below"
        )

    def short(worst: float, wanted: float) -> str | None:
        return f"the search for {divergence.symbol} came to a relative error of {worst:.1g}" if worst > wanted else None

    return by_row(divergence, p, q, RTOL if rtol is None else rtol, _measured, "search", short)


def _measured(divergence: Divergence, p: Any, q: Any, rtol: float) -> Answer:
    like = np.zeros((), dtype=np.float64)
    hosts = [side if is_numpy(side.xp) else detached(side).moved(namespace_of(), like) for side in (p, q)]
    at, left, reason = _largest(divergence, hosts[0], hosts[1])
    xp, put = p.xp, putter(p, q)
    if reason is not None:
        return Answer(xp.asarray(math.inf, dtype=xp.float64), reason=reason)
    # At the place itself the derivative is that of the largest value.
    log_p, log_q = (widest(xp, side.log_prob(put(np.asarray([at])))) for side in (p, q))
    value = xp.where(log_p - log_q > 0, log_p - log_q, 0.0)[0]
    size = float(to_numpy(value))
    return Answer(value, left / size if size > 0 else 0.0)


def _largest(divergence: Divergence, p: Distribution, q: Distribution) -> tuple[float, float, str | None]:
    """Where the log-ratio is largest, by how much that may be missed, and why it has no largest value."""
    whole = isinstance(p.support, Integers)
    x = _whole_numbers(p, q) if whole else _numbers(p, q)
    log_p, log_q = heights(p, x), heights(q, x)
    size = np.abs(log_p) + np.where(np.isfinite(log_q), np.abs(log_q), 0.0)
    # An end of the support counts where both are finite there.
    ends = np.isin(x, _ends(p)) & ~np.isfinite(log_q) & (not whole)
    has = np.isfinite(log_p) & (size < _BLURRED) & ~ends
    if not has.any():
        raise ValueError(f"none of the mass of p, {p!r}, was found: sample= would say where it is")
    x, log_p, log_q, size = x[has], log_p[has], log_q[has], size[has]
    if (log_q == -math.inf).any():
        where = float(x[log_q == -math.inf][0])
        return where, 0.0, f"{divergence.symbol} is infinite: Q has density 0 about x = {where:.6g}, where P has mass."
    ratio = log_p - log_q
    rises, left = _at_the_ends(p, x, ratio, size)
    if rises is not None:
        return rises, 0.0, f"{divergence.symbol} is infinite: log(p/q) rises without end towards x = {_named(rises)}."
    # Of places that differ by no more than rounding, the one that is known best.
    best = int(np.argmax(ratio - 4.0 * np.finfo(float).eps * size))
    if whole:
        return float(x[best]), left, None
    peaks = np.flatnonzero((ratio[1:-1] >= ratio[:-2]) & (ratio[1:-1] >= ratio[2:])) + 1
    found = [(ratio[best], x[best])]
    for k in peaks[np.argsort(-ratio[peaks])[:_PEAKS]]:
        fit = minimize_scalar(
            lambda y: float(_falls(p, q, y)),
            bounds=(x[k - 1], x[k + 1]),
            method="bounded",
            options={"xatol": 1e-10 * (x[k + 1] - x[k - 1])},
        )
        found.append((-float(fit.fun), float(fit.x)))
    return float(max(found)[1]), left, None


def _falls(p: Distribution, q: Distribution, x: float) -> float:
    log_p, log_q = (float(heights(side, np.asarray([x]))[0]) for side in (p, q))
    return math.inf if log_p == -math.inf else log_q - log_p


def _ends(p: Distribution) -> tuple[float, float]:
    return float(to_numpy(p.support.low)), float(to_numpy(p.support.high))  # type: ignore[attr-defined]


def _numbers(p: Distribution, q: Distribution) -> Numbers:
    """Numbers of the support of P, fine where either has its mass."""
    low, high = _ends(p)
    near = np.linspace(-12.0, 12.0, 481)
    far = np.arange(12.0, math.log(FARTHEST), 0.5)
    parts = [low + np.exp(far), high - np.exp(far), np.zeros(1)]
    for mark in [*landmarks(p), *landmarks(q)]:
        away = mark.width * np.exp(far)
        parts += [mark.at + mark.width * np.sinh(near), mark.at - away, mark.at + away]
    for end, sign in ((low, 1.0), (high, -1.0)):
        if math.isfinite(end):
            closest = max(abs(end) * 2.0**-26, 1e-290)
            width = min(high - low, 1.0)
            parts.append(end + sign * np.exp(np.arange(math.log(closest), math.log(width), 0.25)))
    if math.isfinite(low) and math.isfinite(high):
        parts.append(np.linspace(low, high, 1001))
    parts.append(np.asarray([low, high]))
    return _within(np.unique(np.concatenate(parts)), low, high)


def _whole_numbers(p: Distribution, q: Distribution) -> Numbers:
    """Whole numbers of the support of P: all near its mass and Q's, the others at growing distances."""
    low, high = _ends(p)
    marks = [*landmarks(p), *landmarks(q)]
    first = max(low, min((m.at - 40 * m.width for m in marks), default=0.0) - 1024)
    last = min(high, first + _ALL, max((m.at + 40 * m.width for m in marks), default=0.0) + 1024)
    centre = max(first, -_LARGEST)
    growing = np.exp(np.arange(0.0, math.log(_LARGEST), 0.02))
    parts = [np.arange(math.floor(first), math.ceil(last) + 1.0), centre + growing, centre - growing]
    parts += [
        m.at + sign * np.maximum(m.width, 1.0) * np.sinh(np.linspace(0, 8, 400)) for m in marks for sign in (-1, 1)
    ]
    parts.append(np.asarray([low, high]))
    x = _within(np.unique(np.floor(np.concatenate(parts))), low, high)
    return x[np.abs(x) <= max(_LARGEST, abs(last))]


def _within(x: Numbers, low: float, high: float) -> Numbers:
    return x[np.isfinite(x) & (x >= low) & (x <= high) & (np.abs(x) < FARTHEST)]


def _at_the_ends(p: Distribution, x: Numbers, ratio: Numbers, size: Numbers) -> tuple[float | None, float]:
    """The end towards which the log-ratio rises without end, or what it may still rise beyond its largest value."""
    top, left = float(ratio.max()), 0.0
    for end, order in zip(_ends(p), (slice(None), slice(None, None, -1)), strict=True):
        if isinstance(p.support, Integers) and math.isfinite(end):
            continue
        inside = x != end
        places, values, sizes = (y[inside][order] for y in (x, ratio, size))
        distance = np.log(np.maximum(np.abs(places if math.isinf(end) else places - end), 1e-300))
        # Three places, the outermost first, at equal steps of the logarithm of the distance.
        sign = -1.0 if math.isinf(end) else 1.0
        steps = [int(np.argmax(sign * (distance - distance[0]) >= k * _STEP)) for k in (0, 1, 2)]
        if not steps[2] > steps[1] > 0:
            continue
        outer, middle, inner = (float(values[k]) for k in steps)
        last, before = outer - middle, middle - inner
        if not last > RTOL * max(1.0, abs(outer), 1e-3 * float(sizes[0])):
            continue
        if last >= 0.9 * before:
            return end, 0.0
        if outer >= top:
            left = max(left, last * last / (before - last))
    return None, left


def _named(end: float) -> str:
    return {math.inf: "∞", -math.inf: "−∞"}.get(end, f"{end:g}")
