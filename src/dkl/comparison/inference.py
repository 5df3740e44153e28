"""What two vectors of counts say about a difference: bias, interval, p-value. Nothing here reads data again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from dkl.divergences import JS, js
from dkl.representations import Counts

IntVector = npt.NDArray[np.int64]
FloatVector = npt.NDArray[np.float64]

_LEAST_EXPECTED = 10
"""Expected rows in every cell from which the chi-squared approximation is trusted."""

_BLOCK_ENTRIES = 1 << 18
"""Entries drawn at once, so that a block and its temporaries stay in the processor's caches."""

_MOST_ENTRIES = 300_000
"""Resampled entries a column that are enough: with very many cells a resample is smooth and fewer of them do."""

_LEAST_RESAMPLES = 200

_MOST_DEALT = 10**9
"""Rows of both sides from which NumPy no longer draws the multivariate hypergeometric distribution."""

_ENOUGH_REACHED = 100
"""Permuted tables that reach G after which no more are drawn: the p-value is large, and known to a tenth of itself."""


def bias_without_difference(reference: IntVector, current: IntVector) -> float:
    """Return the mean of the plug-in KL, in nats, between two samples of one distribution.

    It is (K - 1)/2 (1/n + 1/m) with K cells occupied on either side, to first order in 1/n and 1/m; the mean of the
    Jensen-Shannon divergence is a quarter of it.

    Examples
    --------
    >>> bias_without_difference(np.array([50, 50]), np.array([60, 40]))
    0.01
    """
    occupied = int(np.count_nonzero(reference + current))
    return float((occupied - 1) / 2 * (1 / reference.sum() + 1 / current.sum()))


@dataclass(frozen=True, slots=True)
class NoDifference:
    """What chance alone would show: replicates of each quantity, one entry a resample; no distance without places."""

    js: FloatVector
    tv: FloatVector
    wasserstein: FloatVector | None


def resample_count(cells: int, resamples: int) -> int:
    """Return how many of the wanted resamples are drawn for a column of so many cells."""
    return min(resamples, max(_LEAST_RESAMPLES, _MOST_ENTRIES // max(cells, 1)))


def draw_without_difference(
    reference: IntVector,
    current: IntVector,
    resamples: int,
    rng: np.random.Generator,
    *,
    starts: npt.NDArray[np.intp] | None = None,
    points: FloatVector | None = None,
) -> NoDifference:
    """Draw both sides anew from the shares of both together, and measure each draw: a multinomial bootstrap.

    Parameters
    ----------
    reference, current
        Counts on the same cells, shape ``(cells,)``.
    resamples
        Number of draws.
    rng
        Source of randomness.
    starts
        First fine cell of each coarse cell, if the counts are on fine cells: JS and TV are measured on the coarse ones.
    points
        Position of each fine cell on the line, rising, for the first ``len(points)`` cells; the others are missing
        values, which have no place.
    """
    occupied = np.flatnonzero(reference + current)
    starts = np.arange(len(reference)) if starts is None else starts
    coarse = np.searchsorted(starts, occupied, side="right") - 1
    coarse_starts = np.flatnonzero(np.diff(coarse, prepend=-1))
    placed = np.zeros(0, dtype=np.intp) if points is None else occupied[occupied < len(points)]
    gaps = np.diff(points[placed]) if points is not None else None
    totals = int(reference.sum()), int(current.sum())
    pooled = (reference + current)[occupied] / sum(totals)
    blocks: list[tuple[FloatVector, ...]] = []
    step = max(1, _BLOCK_ENTRIES // len(occupied))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = [rng.multinomial(total, pooled, size=size).astype(np.float64) for total in totals]
        shares = [np.add.reduceat(side, coarse_starts, axis=1) / side.sum(axis=1, keepdims=True) for side in drawn]
        block: tuple[FloatVector, ...] = _js_and_tv(*shares)
        if gaps is not None:
            block = (*block, _distance(drawn[0][:, : len(placed)], drawn[1][:, : len(placed)], gaps))
        blocks.append(block)
    joined = [np.concatenate(parts) for parts in zip(*blocks, strict=True)]
    return NoDifference(joined[0], joined[1], joined[2] if gaps is not None else None)


def _js_and_tv(p: FloatVector, q: FloatVector) -> tuple[FloatVector, FloatVector]:
    """Measure JS and TV row by row.

    Replicates need 1e-12 nats, not the last digit of the smallest divergence: the plain sums do, ten times as fast as
    those of `dkl.divergences`, from which the value itself comes.
    """
    tiny = np.finfo(np.float64).tiny
    middle = (p + q) / 2
    logs = [np.einsum("ij,ij->i", x, np.log(np.maximum(x, tiny))) for x in (p, q, middle)]
    return (logs[0] + logs[1]) / 2 - logs[2], np.abs(p - q).sum(axis=1) / 2


def _distance(p: FloatVector, q: FloatVector, gaps: FloatVector) -> FloatVector:
    """Measure the area between the two cumulative distributions; NaN where a side has drawn no placed value."""
    totals = [side.sum(axis=1, keepdims=True) for side in (p, q)]
    with np.errstate(invalid="ignore"):
        difference = np.cumsum(p, axis=1) / totals[0] - np.cumsum(q, axis=1) / totals[1]
    return np.abs(difference[:, :-1]) @ gaps  # type: ignore[no-any-return]  # a product of float arrays is one


@dataclass(frozen=True, slots=True)
class Noise:
    """What chance does to a plug-in divergence where there is no difference, and at the observed one.

    Parameters
    ----------
    bias, spread
        Mean and variance of the plug-in value where there is no difference.
    bias_there, variance_there
        How far its mean lies above the truth at the observed difference, and its variance there.
    """

    bias: float
    spread: float
    bias_there: float
    variance_there: float


def js_noise(reference: IntVector, current: IntVector, chance: FloatVector, rng: np.random.Generator) -> Noise:
    """Return what chance does to JS: without a difference by its replicates, at the observed one by further draws.

    Those are of each side from its shares with Turing's estimate of the mass that its empty cells hold: the share of
    its rows that are alone in their cell. A side without such rows has seen all that it has.
    """
    shares = [_with_unseen(reference, current), _with_unseen(current, reference)]
    size = max(_LEAST_RESAMPLES, len(chance) // 3)
    drawn = [
        rng.multinomial(int(counts.sum()), share, size=size) / counts.sum()
        for counts, share in zip((reference, current), shares, strict=True)
    ]
    seen = _js_and_tv(*drawn)[0]
    bias = float(seen.mean()) - float(js(shares[0], shares[1]))
    return Noise(float(chance.mean()), float(chance.var()), max(bias, 0.0), float(seen.var()))


def _with_unseen(counts: IntVector, other: IntVector) -> FloatVector:
    """Return a side's shares, with the mass of its cells that only the other side fills, in the other's proportions."""
    total = int(counts.sum())
    empty = np.where(counts == 0, other, 0)
    mass = np.count_nonzero(counts == 1) / total if empty.any() else 0.0
    shares = counts / total * (1 - mass)
    return shares + mass * empty / max(int(empty.sum()), 1)


def kl_noise(reference: IntVector, current: IntVector) -> Noise:
    """Return what chance does to KL(reference || current), where it is finite: by the chi-squared expansion.

    Its derivatives in p and q are log(p/q) and -p/q, the second ones 1/p and p/q².
    """
    p, q = reference / reference.sum(), current / current.sum()
    n, m = int(reference.sum()), int(current.sum())
    shared = p > 0
    ratio = np.where(shared, p, 1.0) / np.where(shared, q, 1.0)
    bias = bias_without_difference(reference, current)
    degrees = int(np.count_nonzero(reference + current)) - 1
    bias_there = (np.count_nonzero(shared) / n + float(ratio[shared].sum()) / m) / 2 * _free(p + q)
    variance = _variance(p, np.log(ratio), n) + _variance(q, np.where(shared, ratio, 0.0), m)
    spread = 2 * bias**2 / degrees if degrees else 0.0
    return Noise(bias, spread, bias_there, spread + variance)


def _free(shares: FloatVector) -> float:
    """Return the share of the cells that can vary freely: shares sum to 1, so one of them cannot."""
    cells = int(np.count_nonzero(shares))
    return (cells - 1) / cells


def _variance(shares: FloatVector, slopes: FloatVector, rows: int) -> float:
    mean = float(shares @ slopes)
    return float(shares @ (slopes - mean) ** 2) / rows


def divergence_interval(value: float, noise: Noise, level: float, upper_bound: float) -> tuple[float, float]:
    """Return the divergences that could have led to this plug-in value, for JS and KL.

    The plug-in value of two samples without a difference is a multiple of chi-squared, and of two with a small
    difference the same multiple of a noncentral chi-squared, whose noncentrality is the divergence. Each candidate's
    law is given the mean and variance that lie between those without a difference and those at the observed one. The
    interval holds the candidates under which the value lies in neither tail [1]_.

    Parameters
    ----------
    value
        The plug-in value.
    noise
        What chance does to it.
    level
        Coverage.
    upper_bound
        The divergence's own.

    References
    ----------
    .. [1] J. Neyman, Outline of a theory of statistical estimation based on the classical theory of probability, 1937.
    """
    tail = (1 - level) / 2
    if not noise.bias > 0 or not noise.spread > 0:
        return value, value
    degrees = 2 * noise.bias**2 / noise.spread
    reach = max(value, noise.bias)
    # Near no difference the noncentral chi-squared says how fast the variance grows, further off what is seen there.
    near, there = 2 * noise.spread / noise.bias, (noise.variance_there - noise.spread) / max(value, noise.bias)
    growth = near + (there - near) * value / (value + noise.bias)

    def below(candidate: float) -> float:
        weight = min(candidate / reach, 1.0)
        bias = noise.bias + (noise.bias_there - noise.bias) * weight
        mean = candidate + bias
        variance = max(noise.spread + growth * candidate, 0.0)
        scale = (mean - math.sqrt(max(mean**2 - degrees * variance / 2, 0.0))) / degrees
        if not scale > 0:  # no noise left: P and Q have no cell in common
            return 0.5 if value == mean else float(value > mean)
        return _noncentral_chi2(value / scale, degrees, max(mean / scale - degrees, 0.0))

    low = 0.0 if below(0.0) <= 1 - tail else float(optimize.brentq(lambda c: below(c) - (1 - tail), 0.0, value))
    if below(low) <= tail:
        return low, low
    high = value + noise.bias
    while below(high) > tail and high < upper_bound:
        high *= 2
    if below(high) > tail:
        return low, upper_bound
    return low, min(float(optimize.brentq(lambda c: below(c) - tail, low, high)), upper_bound)


def _noncentral_chi2(x: float, degrees: float, noncentrality: float) -> float:
    """The distribution function; far out, where its series is long, by M. Sankaran's power transformation (1963)."""
    if noncentrality < 1e4:
        return float(special.chndtr(x, degrees, noncentrality))
    a, b, c = degrees + noncentrality, degrees + 2 * noncentrality, degrees + 3 * noncentrality
    h = 1 - 2 * a * c / (3 * b**2)
    p = b / a**2
    m = (h - 1) * (1 - 3 * h)
    spread = h * math.sqrt(2 * p) * (1 + m * p / 2)
    return float(special.ndtr(((x / a) ** h - (1 + h * p * (h - 1 - (2 - h) * m * p / 2))) / spread))


def distance_interval(
    value: float, chance: FloatVector, deviation: float, level: float, upper_bound: float
) -> tuple[float, float]:
    """Return an interval that covers at least at its level, for TV and Wasserstein, which are norms of a difference.

    By the triangle inequality the value lies above the truth by no more than the norm of the noise, whose quantile
    the draws without a difference give. It is the largest of many mean differences, one of which, with a standard
    error of at most ``deviation``, is the truth: the value lies below it by no more than that one's error.

    Parameters
    ----------
    value
        The plug-in value.
    chance
        Its replicates without a difference.
    deviation
        Largest standard error of a mean difference that the distance could be.
    level
        Coverage.
    upper_bound
        The distance's own.
    """
    tail = (1 - level) / 2
    known = chance[~np.isnan(chance)]
    if not len(known):
        return 0.0, upper_bound
    noise = float(np.quantile(known, 1 - tail, method="inverted_cdf"))
    return max(value - noise, 0.0), min(value - float(special.ndtri(tail)) * deviation, upper_bound)


def tv_deviation(reference: IntVector, current: IntVector) -> float:
    """Return the largest standard error of a difference in the probability of an event.

    That is of an event of probability 1/2, or where a single cell holds more, of that cell.
    """
    shares = [counts / counts.sum() for counts in (reference, current)]
    halves = [max(0.5, float(share.max())) for share in shares]
    totals = (int(reference.sum()), int(current.sum()))
    return math.sqrt(sum(half * (1 - half) / total for half, total in zip(halves, totals, strict=True)))


def wasserstein_deviation(reference: IntVector, current: IntVector, points: FloatVector) -> float:
    """Return the largest standard error of a difference in means of a function with slope at most 1: of the values'."""
    scale = float(np.abs(points).max(initial=0.0)) or 1.0
    scaled = points / scale  # the squares of the largest floats are none
    squares = 0.0
    for counts in (reference, current):
        total = int(counts.sum())
        if total:
            mean = float(counts @ scaled) / total
            squares += float(counts @ (scaled - mean) ** 2) / total**2
    return scale * math.sqrt(squares)


@dataclass(frozen=True, slots=True)
class Significance:
    """A test's outcome before it is adjusted for the number of columns; see `dkl.comparison.result.Test`."""

    statistic: float
    degrees: int
    p_value: float
    method: Literal["chi-squared", "permutation", "one value only"]
    permutations: int = 0


def significance(
    reference: IntVector,
    current: IntVector,
    permutations: int,
    rng: np.random.Generator,
    spacings: IntVector | None = None,
) -> Significance:
    """Test whether two vectors of counts come from one distribution over the cells.

    The statistic is G = 2 (n + m) JS with weights n/(n+m) and m/(n+m): chi-squared with K - 1 degrees where every
    cell expects ten rows on both sides, otherwise compared with tables permuted between the sides (the margins stay).
    Where not one permuted table reaches G, a gamma distribution with their mean and variance continues the p-value
    below 1/(permutations + 1), which would be too coarse to be adjusted for many columns.

    Parameters
    ----------
    reference, current
        Counts on the same cells, shape ``(cells,)``.
    permutations
        Number of permuted tables, where they are needed; fewer if it is soon clear that there is no difference.
    rng
        Source of randomness.
    spacings
        For bins that were cut at the reference's own values, the number of gaps between its values in each; 0 for
        every other cell. Such bins hold about equally many rows of the reference by construction: dealing those at
        random, as if they could vary, makes the test too timid. The current rows that fall into a bin are instead
        dealt to the gaps, all of which are alike if there is no difference [1]_.

    References
    ----------
    .. [1] S. S. Wilks, Statistical prediction with special reference to the problem of tolerance limits, 1942.

    Examples
    --------
    >>> significance(np.array([500, 500]), np.array([430, 570]), 999, np.random.default_rng(0)).p_value < 0.01
    True
    """
    occupied = reference + current > 0
    a, b = reference[occupied], current[occupied]
    n, m = int(a.sum()), int(b.sum())
    degrees = len(a) - 1
    if degrees < 1:
        return Significance(0.0, 0, 1.0, "one value only")
    statistic = 2 * (n + m) * float(JS(n / (n + m))(Counts(a), Counts(b)))
    if float((a + b).min()) * min(n, m) / (n + m) >= _LEAST_EXPECTED:
        return Significance(statistic, degrees, float(special.chdtrc(degrees, statistic)), "chi-squared")
    gaps = np.zeros_like(a) if spacings is None else spacings[occupied]
    blocks, reached = [], 0
    for block in _permuted_statistics(a, b, gaps, permutations, rng):
        blocks.append(block)
        # Tables that tie with the observed one must count as reaching it, whatever their rounding.
        reached += int(np.count_nonzero(block >= statistic * (1 - 1e-9) - 1e-9))
        if reached >= _ENOUGH_REACHED:
            break
    permuted = np.concatenate(blocks)
    p_value = (1 + reached) / (len(permuted) + 1)
    mean, variance = float(permuted.mean()), float(permuted.var())
    if reached == 0 and variance > 0:
        p_value = min(p_value, float(special.gammaincc(mean**2 / variance, statistic * mean / variance)))
    return Significance(statistic, degrees, p_value, "permutation", len(permuted))


def _permuted_statistics(
    a: IntVector, b: IntVector, spacings: IntVector, permutations: int, rng: np.random.Generator
) -> Iterator[FloatVector]:
    """Yield G for tables whose rows were dealt to the sides at random; see `significance` for the spacings."""
    cut, n, m = spacings > 0, int(a.sum()), int(b.sum())
    totals = np.append((a + b)[~cut], (a + b)[cut].sum())  # the cut bins are dealt as one cell at first
    shape = np.cumsum(a[cut]) / max(int(a[cut].sum()), 1)
    constant = special.xlogy(n + m, n + m) - special.xlogy(n, n) - special.xlogy(m, m)
    step = max(1, _BLOCK_ENTRIES // len(a))
    for start in range(0, permutations, step):
        size = min(step, permutations - start)
        if n + m < _MOST_DEALT:
            first = rng.multivariate_hypergeometric(totals, n, size=size, method="marginals")
            second = totals - first
        else:
            # Drawn from the pooled shares instead of dealt: a cell's total then varies by at most a 30,000th of
            # itself where that could matter, and where a cell is rare both laws are binomial to nine digits.
            first, second = (rng.multinomial(side, totals / (n + m), size=size) for side in (n, m))
        if cut.any():
            inside = np.diff(np.rint(first[:, -1:] * shape).astype(np.int64), prepend=0)
            chances = rng.standard_gamma((inside + (spacings - a)[cut]).astype(np.float64))
            chances /= chances.sum(axis=1, keepdims=True)
            first = np.concatenate([first[:, :-1], inside], axis=1)
            second = np.concatenate([second[:, :-1], rng.multinomial(second[:, -1], chances)], axis=1)
        if n + m < _MOST_DEALT:
            terms = _x_log_x(first) + _x_log_x(second) - _x_log_x(first + second)
            yield 2 * (terms.sum(axis=1) + constant)
        else:  # the terms above would be so large that G drowns in their rounding
            both = first + second
            yield 2 * (_excess(first, both, n / (n + m)) + _excess(second, both, m / (n + m)))


def _excess(counts: IntVector, totals: IntVector, share: float) -> FloatVector:
    """Sum x log(x/E) - x + E over the cells of each table, with the expected counts E = share · total."""
    expected = np.maximum(totals * share, np.finfo(np.float64).tiny)
    off = (counts - expected) / expected
    # (1 + d) log(1 + d) - d, whose terms cancel; its series where they do so to more digits than it is wrong by.
    small = np.abs(off) < 1e-4
    exact = special.xlogy(1 + off, 1 + off) - off
    series = off**2 / 2 - off**3 / 6 + off**4 / 12
    return (expected * np.where(small, series, exact)).sum(axis=1)  # type: ignore[no-any-return]  # of float arrays


def _x_log_x(counts: IntVector) -> FloatVector:
    return np.multiply(counts, np.log(np.maximum(counts, 1)), dtype=np.float64)


def adjust(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for the number of columns by Benjamini and Hochberg's false discovery rate.

    As `scipy.stats.false_discovery_control`, without the half second that importing `scipy.stats` takes.

    Examples
    --------
    >>> adjust([0.04, 0.01, 0.9])
    [0.06, 0.03, 0.9]
    """
    order = np.argsort(p_values)[::-1]
    ranks = np.arange(len(order), 0, -1)
    scaled = np.minimum.accumulate(np.asarray(p_values, dtype=np.float64)[order] * len(order) / ranks)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(scaled, 1.0)
    return adjusted.tolist()
