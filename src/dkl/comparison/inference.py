"""What two vectors of counts say about a difference: bias, interval, p-value. Nothing here reads data again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from dkl.divergences import JS
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
class Resampled:
    """Bootstrap replicates of each quantity, one entry a resample; `wasserstein` is None without positions."""

    js: FloatVector
    kl_reference_current: FloatVector
    kl_current_reference: FloatVector
    tv: FloatVector
    wasserstein: FloatVector | None


def resample_count(cells: int, resamples: int) -> int:
    """Return how many of the wanted resamples are drawn for a column of so many cells."""
    return min(resamples, max(_LEAST_RESAMPLES, _MOST_ENTRIES // max(cells, 1)))


def bootstrap(
    reference: IntVector,
    current: IntVector,
    resamples: int,
    rng: np.random.Generator,
    *,
    starts: npt.NDArray[np.intp] | None = None,
    points: FloatVector | None = None,
) -> Resampled:
    """Draw both sides anew from their own shares and measure each draw.

    Parameters
    ----------
    reference, current
        Counts on the same cells, shape ``(cells,)``.
    resamples
        Number of draws.
    rng
        Source of randomness.
    starts
        First fine cell of each coarse cell, if the counts are on fine cells: JS, KL and TV are measured on the coarse
        ones.
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
    blocks: list[tuple[FloatVector, ...]] = []
    step = max(1, _BLOCK_ENTRIES // len(occupied))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = [_draw(side[occupied], size, rng) for side in (reference, current)]
        shares = [np.add.reduceat(side, coarse_starts, axis=1) / side.sum(axis=1, keepdims=True) for side in drawn]
        block: tuple[FloatVector, ...] = _divergences(*shares)
        if gaps is not None:
            block = (*block, _distance(drawn[0][:, : len(placed)], drawn[1][:, : len(placed)], gaps))
        blocks.append(block)
    joined = [np.concatenate(parts) for parts in zip(*blocks, strict=True)]
    return Resampled(joined[0], joined[1], joined[2], joined[3], joined[4] if gaps is not None else None)


def _draw(counts: IntVector, size: int, rng: np.random.Generator) -> FloatVector:
    return rng.multinomial(int(counts.sum()), counts / counts.sum(), size=size).astype(np.float64)


def _divergences(p: FloatVector, q: FloatVector) -> tuple[FloatVector, FloatVector, FloatVector, FloatVector]:
    """Measure JS, both KL and TV row by row.

    Replicates need 1e-12 nats, not the last digit of the smallest divergence: the plain sums do, ten times as fast as
    those of `dkl.divergences`, from which the value itself comes.
    """
    tiny = np.finfo(np.float64).tiny
    middle = (p + q) / 2
    log_p, log_q = np.log(np.maximum(p, tiny)), np.log(np.maximum(q, tiny))
    p_log_p, q_log_q = np.einsum("ij,ij->i", p, log_p), np.einsum("ij,ij->i", q, log_q)
    middle_log = np.einsum("ij,ij->i", middle, np.log(np.maximum(middle, tiny)))
    js = (p_log_p + q_log_q) / 2 - middle_log
    kl_pq = np.where(((q == 0) & (p > 0)).any(axis=1), np.inf, p_log_p - np.einsum("ij,ij->i", p, log_q))
    kl_qp = np.where(((p == 0) & (q > 0)).any(axis=1), np.inf, q_log_q - np.einsum("ij,ij->i", q, log_p))
    return js, kl_pq, kl_qp, np.abs(p - q).sum(axis=1) / 2


def _distance(p: FloatVector, q: FloatVector, gaps: FloatVector) -> FloatVector:
    """Measure the area between the two cumulative distributions; NaN where a side has drawn no placed value."""
    totals = [side.sum(axis=1, keepdims=True) for side in (p, q)]
    with np.errstate(invalid="ignore"):
        difference = np.cumsum(p, axis=1) / totals[0] - np.cumsum(q, axis=1) / totals[1]
    return np.abs(difference[:, :-1]) @ gaps  # type: ignore[no-any-return]  # a product of float arrays is one


def basic_interval(value: float, replicates: FloatVector, level: float, upper_bound: float) -> tuple[float, float]:
    """Return the reverse-percentile interval, kept within ``[0, upper_bound]``.

    Replicates lie above the value by about as much as the value lies above the truth, so reflecting them about the
    value takes the bias away. An infinite replicate pulls the lower end to 0.
    """
    tail = (1 - level) / 2
    known = replicates[~np.isnan(replicates)]
    if not len(known):
        return 0.0, upper_bound
    low, high = np.quantile(known, [tail, 1 - tail], method="inverted_cdf")
    ends = np.clip([2 * value - high, 2 * value - low], 0.0, upper_bound)
    return float(ends[0]), float(ends[1])


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
    if (a + b).min() * min(n, m) / (n + m) >= _LEAST_EXPECTED:
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
        first = rng.multivariate_hypergeometric(totals, n, size=size, method="marginals")
        second = totals - first
        if cut.any():
            inside = np.diff(np.rint(first[:, -1:] * shape).astype(np.int64), prepend=0)
            chances = rng.standard_gamma((inside + (spacings - a)[cut]).astype(np.float64))
            chances /= chances.sum(axis=1, keepdims=True)
            first = np.concatenate([first[:, :-1], inside], axis=1)
            second = np.concatenate([second[:, :-1], rng.multinomial(second[:, -1], chances)], axis=1)
        terms = _x_log_x(first) + _x_log_x(second) - _x_log_x(first + second)
        yield 2 * (terms.sum(axis=1) + constant)


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
