"""Sums over whole numbers: every outcome where there are finitely many, else until what is left is bounded.

An infinite sum goes outwards from where the mass is, in blocks that reach twice as far each time. With r the ratio of
the last block's sum to the one before, what is left is at most r/(1 − r) times the last block for every tail whose
block sums shrink ever faster (log-concave ones, whose terms' ratios fall) or at a steady rate (powers).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dkl._array import is_numpy, namespace_of, to_numpy, widest
from dkl.density import Density
from dkl.divergences import Csiszar, Divergence
from dkl.divergences.power import log_power
from dkl.estimate import Estimate
from dkl.families.base import Distribution
from dkl.methods.by_row import Answer, by_row, decided
from dkl.methods.landmarks import landmarks
from dkl.methods.nodes import not_normalised, putter, weighted_pair
from dkl.mixture import detached
from dkl.pairs import Pair
from dkl.rules import rule
from dkl.supports import Integers

Numbers = np.ndarray[Any, Any]

#: Relative size of what may be left out.
RTOL = 1e-13
_WORST = 1e-4
#: How many outcomes are summed at most.
MOST = 1 << 21
_FIRST = 512
_MASS = 1e-6


@dataclass(frozen=True)
class Sum:
    """The outcomes that were summed, how much may be left out relative to the sum, and why it diverges if it does."""

    low: int
    high: int
    error: float
    masses: tuple[float, float]
    diverges: str | None = None

    @property
    def outcomes(self) -> Numbers:
        """All of them."""
        return np.arange(self.low, self.high + 1, dtype=np.float64)


def _contents(divergence: Divergence, p: Distribution, q: Distribution, low: int, high: int) -> tuple[Numbers, float]:
    """Sums of p, of q, of the terms, and the logarithm of the sum of p^a q^(1−a), over a block."""
    if high < low:
        return np.zeros(3), -math.inf
    n = np.arange(low, high + 1, dtype=np.float64)
    with np.errstate(all="ignore"):
        pair = _pair(p, q, n)
        core = divergence if isinstance(divergence, Csiszar) else divergence.core
        assert isinstance(core, Csiszar)
        terms = np.asarray(core.terms(pair))
        log_total = -math.inf
        if core is not divergence:
            power = np.where(pair.in_both, log_power(pair.shared, divergence.core.order), -math.inf)  # type: ignore[union-attr]
            log_total = float(np.logaddexp.reduce(power))
    return np.array([pair.p.sum(), pair.q.sum(), terms.sum()]), log_total


def _pair(p: Distribution, q: Distribution, n: Numbers) -> Pair:
    log_p, log_q = (np.asarray(to_numpy(side.log_prob(n)), dtype=float) for side in (p, q))
    return weighted_pair(namespace_of(), log_p, log_q, np.zeros_like(n))


def summed(divergence: Divergence, p: Distribution, q: Distribution, rtol: float) -> Sum | None:
    """Which outcomes to sum for a pair of NumPy's distributions; None where they would be too many."""
    low, high = _bounds(p, q)
    if high - low < MOST:
        masses, _ = _contents(divergence, p, q, int(low), int(high))
        return Sum(int(low), int(high), 0.0, (masses[0], masses[1]), _uncovered(divergence, p, q, int(low), int(high)))
    first, last = _start(p, q, low, high)
    if last - first >= MOST:
        return None
    middle = _contents(divergence, p, q, first, last)
    total, log_total = middle
    error, ends, diverges = 0.0, [first, last], None
    for k, (sign, bound) in enumerate(((-1, low), (1, high))):
        previous: tuple[Numbers, float] | None = None
        centre = (first + last) // 2
        left = math.inf
        while ends[k] != bound:
            at = ends[k] + sign
            # Twice as far from the centre with each block, as the bound of what is left supposes.
            size = min(max(_FIRST, abs(ends[k] - centre)), MOST)
            to = int(max(min(at + sign * (size - 1), bound), -(2**53)) if sign < 0 else min(at + size - 1, bound))
            block = _contents(divergence, p, q, min(at, to), max(at, to))
            ends[k] = to
            total = total + block[0]
            log_total = float(np.logaddexp(log_total, block[1]))
            left, ratio = _left(divergence, block, previous, total, log_total)
            if left <= rtol:
                break
            if not np.isfinite(total[2]) and isinstance(divergence, Csiszar):
                break
            if ends[1] - ends[0] >= MOST:
                if ratio >= 1:
                    diverges = (
                        f"{divergence.symbol} is infinite: its terms do not fall faster than one over the outcome, up "
                        f"to {ends[k]}."
                    )
                break
            previous = block
        else:
            left = 0.0
        error += left
    if not np.isfinite(total[2]) and isinstance(divergence, Csiszar) and divergence.upper_bound == math.inf:
        diverges = _uncovered(divergence, p, q, *ends) or (
            f"{divergence.symbol} is infinite, or exceeds the largest float64: its terms do within {ends[0]} to "
            f"{ends[1]}."
        )
    return Sum(ends[0], ends[1], error, (float(total[0]), float(total[1])), diverges)


def _left(
    divergence: Divergence,
    block: tuple[Numbers, float],
    previous: tuple[Numbers, float] | None,
    total: Numbers,
    log_total: float,
) -> tuple[float, float]:
    """A bound of what is left of the three sums after a block, relative to them, and the ratio of the blocks."""
    worst, ratio = 0.0, 0.0
    rows = [(block[0][j], None if previous is None else previous[0][j], total[j]) for j in range(3)]
    if not isinstance(divergence, Csiszar) and log_total > -math.inf:
        before = None if previous is None else math.exp(previous[1] - log_total)
        rows[2] = (math.exp(block[1] - log_total), before, 1.0)
    for j, (now, before, whole) in enumerate(rows):
        now = abs(now)
        if now == 0:
            continue
        if before is None or before == 0 or not np.isfinite(now) or whole == 0:
            return math.inf, 0.0
        r = now / abs(before)
        if j == 2:
            ratio = r
        worst = max(worst, math.inf if r >= 1 else now * r / (1 - r) / abs(whole))
    return worst, ratio


def _bounds(p: Distribution, q: Distribution) -> tuple[float, float]:
    supports: Any = (p.support, q.support)
    low = min(float(to_numpy(s.low)) for s in supports)
    return low, max(float(to_numpy(s.high)) for s in supports)


def _start(p: Distribution, q: Distribution, low: float, high: float) -> tuple[int, int]:
    """Where the mass of both lies, or the beginning."""
    marks = [m for side in (p, q) if not (isinstance(side, Density) and not side.can_sample) for m in landmarks(side)]
    if not marks:
        at = low if low > -math.inf else high if high < math.inf else 0.0
        marks = []
        first, last = at - _FIRST, at + _FIRST
    else:
        first, last = min(m.at - 8 * m.width for m in marks), max(m.at + 8 * m.width for m in marks)
    middle = 0.5 * (first + last)
    first, last = min(first, middle - _FIRST), max(last, middle + _FIRST)
    return int(max(math.floor(first), low)), int(min(math.ceil(last), high))


def _uncovered(divergence: Divergence, p: Distribution, q: Distribution, low: int, high: int) -> str | None:
    """Which outcomes only one of both has, where these make the divergence infinite."""
    if not (math.isinf(divergence.edges.q_zero) or math.isinf(divergence.edges.p_zero)):
        return None
    n = np.arange(low, high + 1, dtype=np.float64)
    pair = _pair(p, q, n)
    for holder, other, weights, only, edge in (
        ("P", "Q", pair.p, pair.in_p & ~pair.in_q, divergence.edges.q_zero),
        ("Q", "P", pair.q, pair.in_q & ~pair.in_p, divergence.edges.p_zero),
    ):
        if math.isinf(edge) and only.any():
            at = n[only][np.argmax(weights[only])]
            return (
                f"{divergence.symbol} is infinite: {other} gives probability 0 to {at:.0f} and other outcomes where "
                f"{holder} has {weights[only].sum():.6g}."
            )
    return None


@rule(Divergence, Distribution, Distribution, "exact")
def series(
    divergence: Divergence, p: Any, q: Any, *, axis: Any = -1, rtol: float | None = None, **options: Any
) -> Estimate | None:
    """Sum the terms of the divergence over whole numbers.

    Declines for other outcomes, and where more than two million of them would be needed.
    """
    whole = isinstance(p.support, Integers) and isinstance(q.support, Integers)
    if not whole or not decided(divergence):
        return None
    wanted = RTOL if rtol is None else rtol

    def short(worst: float, wanted: float) -> str | None:
        lack = f"the sum of {divergence.symbol} may lack a share of about {worst:.1g}"
        return f"{lack}, more than rtol = {wanted:g}" if worst > 10 * wanted else None

    return by_row(divergence, p, q, wanted, _measured, "exact", short)


def _measured(divergence: Divergence, p: Any, q: Any, rtol: float) -> Answer | None:
    like = np.zeros((), dtype=np.float64)
    hosts = [side if is_numpy(side.xp) else detached(side).moved(namespace_of(), like) for side in (p, q)]
    if not all(np.isfinite(np.asarray(to_numpy(side.support.low), dtype=float)).all() for side in hosts):
        return None  # whole numbers without a lowest
    found = summed(divergence, hosts[0], hosts[1], rtol)
    core = divergence.core
    if (found is None or not found.error <= _WORST) and core is not None and core is not divergence:
        # A function of a sum that diverges does so too.
        of_core = summed(core, hosts[0], hosts[1], rtol)
        if of_core is not None and of_core.diverges:
            found = of_core
    if found is None:
        return None
    xp = p.xp
    if found.diverges:
        return Answer(xp.asarray(math.inf, dtype=xp.float64), reason=found.diverges)
    if not found.error <= _WORST:
        return None
    for name, side, mass in zip("pq", hosts, found.masses, strict=True):
        if abs(mass - 1.0) > _MASS + found.error:
            if isinstance(side, Density):
                raise ValueError(not_normalised(name, side, mass, "sums"))
            return None
    put = putter(p, q)
    with np.errstate(all="ignore"):
        log_p, log_q = (widest(xp, side.log_prob(put(found.outcomes))) for side in (p, q))
        value = divergence.total(weighted_pair(xp, log_p, log_q, 0.0 * put(found.outcomes)))
    return Answer(value, found.error)
