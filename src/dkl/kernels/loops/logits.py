"""What the rows of a pair of logits have in common, in two passes, masses and the moment that is KL itself.

With d = a − b less a reference, c ≈ E[d] under P and u = c − d, the log-ratio of an outcome is
κ − u and a constant, where κ = log E[exp(u)] = log1p(E[exp(u) − 1 − u] + E[u]), and KL is κ − E[u]: see
:func:`dkl.pairs.from_logits`, where E[u] = 0. Each pass leaves sums or maxima, which may come from parts of a row;
``after_…`` makes of them what the next pass needs for each row, its statistics:

0, 1  a and b to which exponentials refer    2, 3  log Σ exp(a − reference), the same of b
4, 5  difference of the references, and what its rounding left out
6     c, rounded: what E[u] is then is made up for
7     1/mass of P on the shared outcomes; at the end κ and the constant
8     what turns b into the exponent of P's weight times exp(u); at the end whether u is small

A reference need not be the largest logit: the largest of the first few will do, as long as no exponential leaves the
floating range. Where one does, or an entry is not finite, the pass over maxima is made, which the others spare.
"""

from __future__ import annotations

import numpy as np

from dkl.kernels.loops.decorators import cached_kernel, exact, inline, kernel
from dkl.kernels.loops.float32 import INFINITY, LANES, LARGEST, LOWEST_NORMAL, ONE, PITCH, ZERO, F
from dkl.kernels.loops.lanes import STEPS, bring, clear, fetch_x, fetch_y, fold, widen
from dkl.kernels.loops.primitives import (
    bounded_exp,
    bounded_exp_parts,
    excess,
    log,
    log1p,
    select,
    two_difference,
)

TOPS, MAXIMA, MASSES, SHARES, MOMENTS, STATISTICS = 3, 7, 4, 4, 2, 9
# Differences are kept this far inside the floating range, so that a sum of them stays there too.
FARTHEST = LARGEST * F(2.0**-30)
NOTHING = F(np.nan)
X, Y = 9 * PITCH, 10 * PITCH
ROWS = 11 + STATISTICS


@exact
def offset_free(a, b, top_high, top_low):
    """A − b − top, rounded once, within a bound."""
    high, low = two_difference(a, b)
    d = (high - top_high) + (low - top_low)
    # A NaN, where an outcome is not on both sides or the difference overflows, becomes a number that does no harm.
    d = select(d < FARTHEST, d, FARTHEST)
    return select(d > -FARTHEST, d, -FARTHEST)


@inline
def larger(x, y):
    """The larger of two numbers."""
    return x if x > y else y


@kernel
def take_tops(work, count):
    """The maxima of one tile, and NaN where an entry is not finite."""
    for j in range(count):
        a, b = work[X + j], work[Y + j]
        work[j] = larger(a, work[j])
        work[PITCH + j] = larger(b, work[PITCH + j])
        work[2 * PITCH + j] += (a - a) + (b - b)


@cached_kernel
def tops(x, x_start, x_row, x_step, y, y_start, y_row, y_step, rows, first, last, along, out, slot):
    """Per row, or of its first outcomes: the largest a and b, and NaN if any entry is not finite."""
    work = np.empty(ROWS * PITCH, F)
    row = 0
    while row < rows:
        used = min(LANES, last - first) if along else min(LANES, rows - row)
        for j in range(TOPS * PITCH):
            work[j] = ZERO if j >= 2 * PITCH else -INFINITY
        k = first
        while k < last:
            count = min(LANES, last - k) if along else used
            fetch_x(x, x_start + row * x_row + k * x_step, x_step if along else x_row, count, work, X)
            fetch_y(y, y_start + row * y_row + k * y_step, y_step if along else y_row, count, work, Y)
            take_tops(work, count)
            k += LANES if along else 1
        if along:
            for j in range(1, used):
                work[0] = larger(work[j], work[0])
                work[PITCH] = larger(work[PITCH + j], work[PITCH])
                work[2 * PITCH] += work[2 * PITCH + j]
            used = 1
        for i in range(TOPS):
            for j in range(used):
                out[i, slot + j] = work[i * PITCH + j]
        slot += used
        row += used


@kernel
def take_maxima(work, count):
    """The maxima of one tile: of a, b, a and b where both are possible; and whether an outcome is P's or Q's alone."""
    for j in range(count):
        a, b = work[X + j], work[Y + j]
        in_a, in_b = a > -INFINITY, b > -INFINITY
        both = in_a & in_b
        work[j] = larger(a, work[j])
        work[PITCH + j] = larger(b, work[PITCH + j])
        work[2 * PITCH + j] = larger(select(both, a, -INFINITY), work[2 * PITCH + j])
        work[3 * PITCH + j] = larger(select(both, b, -INFINITY), work[3 * PITCH + j])
        work[4 * PITCH + j] = larger(select(in_a & (not in_b), ONE, ZERO), work[4 * PITCH + j])
        work[5 * PITCH + j] = larger(select(in_b & (not in_a), ONE, ZERO), work[5 * PITCH + j])
        # Neither NaN nor +inf is a logit.
        work[6 * PITCH + j] = larger(select((a < INFINITY) & (b < INFINITY), ZERO, ONE), work[6 * PITCH + j])


@cached_kernel
def maxima(x, x_start, x_row, x_step, y, y_start, y_row, y_step, rows, first, last, along, out, slot):
    """Per row: the largest a and b, the same over the shared outcomes, and three flags."""
    work = np.empty(ROWS * PITCH, F)
    row = 0
    while row < rows:
        used = min(LANES, last - first) if along else min(LANES, rows - row)
        for j in range(MAXIMA * PITCH):
            work[j] = ZERO if j >= 4 * PITCH else -INFINITY
        k = first
        while k < last:
            count = min(LANES, last - k) if along else used
            fetch_x(x, x_start + row * x_row + k * x_step, x_step if along else x_row, count, work, X)
            fetch_y(y, y_start + row * y_row + k * y_step, y_step if along else y_row, count, work, Y)
            take_maxima(work, count)
            k += LANES if along else 1
        if along:
            for i in range(MAXIMA):
                for j in range(1, used):
                    work[i * PITCH] = larger(work[i * PITCH + j], work[i * PITCH])
            used = 1
        for i in range(MAXIMA):
            for j in range(used):
                out[i, slot + j] = work[i * PITCH + j]
        slot += used
        row += used


@cached_kernel
def after_maxima(maxima, statistics, start, stop):
    """The largest logits, and the difference of the largest shared ones."""
    for r in range(start, stop):
        none = maxima[2, r] == -np.inf
        a, b = (ZERO, ZERO) if none else (F(maxima[2, r]), F(maxima[3, r]))
        high, low = two_difference(a, b)
        statistics[0, r], statistics[1, r] = F(maxima[0, r]), F(maxima[1, r])
        statistics[4, r], statistics[5, r] = high, low


@kernel
def take_masses(work, count):
    """The masses of one tile, of P and of Q; Σ exp(a − reference)·d; and NaN where an entry is not finite."""
    at = 11 * PITCH
    for j in range(count):
        a, b = work[X + j], work[Y + j]
        mass_a = bounded_exp(a - work[at + j])
        work[j] += mass_a
        work[PITCH + j] += bounded_exp(b - work[at + PITCH + j])
        # About the mean of d is enough: where an outcome is extreme, or no shared one, any number will do.
        d = (a - b) - work[at + 4 * PITCH + j]
        work[2 * PITCH + j] += mass_a * select(abs(d) < FARTHEST, d, ZERO)
        work[3 * PITCH + j] += (a - a) + (b - b)


@cached_kernel
def masses(x, x_start, x_row, x_step, y, y_start, y_row, y_step, rows, first, last, along, statistics, out, slot):
    """Per row: the masses of P and Q relative to their references, Σ exp(a − reference)·d, and a trap."""
    work = np.empty(ROWS * PITCH, F)
    wide = np.empty(MASSES * PITCH, np.float64)
    row = 0
    while row < rows:
        used = min(LANES, last - first) if along else min(LANES, rows - row)
        bring(statistics, STATISTICS, row, used, along, work, 11 * PITCH)
        clear(work, MASSES)
        clear(wide, MASSES)
        k = first
        while k < last:
            stop = min(last, k + STEPS * (LANES if along else 1))
            while k < stop:
                count = min(LANES, last - k) if along else used
                fetch_x(x, x_start + row * x_row + k * x_step, x_step if along else x_row, count, work, X)
                fetch_y(y, y_start + row * y_row + k * y_step, y_step if along else y_row, count, work, Y)
                take_masses(work, count)
                k += LANES if along else 1
            widen(work, MASSES, wide)
        if along:
            fold(wide, MASSES)
            used = 1
        for i in range(MASSES):
            for j in range(used):
                out[i, slot + j] = wide[i * PITCH + j]
        slot += used
        row += used


@kernel
def take_shares(work, count):
    """The masses of one tile: of P on the shared outcomes and outside them, and the same of Q."""
    at = 11 * PITCH
    for j in range(count):
        a, b = work[X + j], work[Y + j]
        both = (a > -INFINITY) & (b > -INFINITY)
        mass_a, mass_b = bounded_exp(a - work[at + j]), bounded_exp(b - work[at + PITCH + j])
        work[j] += select(both, mass_a, ZERO)
        work[PITCH + j] += select(both, ZERO, mass_a)
        work[2 * PITCH + j] += select(both, mass_b, ZERO)
        work[3 * PITCH + j] += select(both, ZERO, mass_b)


@cached_kernel
def shares(x, x_start, x_row, x_step, y, y_start, y_row, y_step, rows, first, last, along, statistics, out, slot):
    """Per row: the masses of P and then Q on the shared outcomes and outside them, relative to their references."""
    work = np.empty(ROWS * PITCH, F)
    wide = np.empty(SHARES * PITCH, np.float64)
    row = 0
    while row < rows:
        used = min(LANES, last - first) if along else min(LANES, rows - row)
        bring(statistics, STATISTICS, row, used, along, work, 11 * PITCH)
        clear(work, SHARES)
        clear(wide, SHARES)
        k = first
        while k < last:
            stop = min(last, k + STEPS * (LANES if along else 1))
            while k < stop:
                count = min(LANES, last - k) if along else used
                fetch_x(x, x_start + row * x_row + k * x_step, x_step if along else x_row, count, work, X)
                fetch_y(y, y_start + row * y_row + k * y_step, y_step if along else y_row, count, work, Y)
                take_shares(work, count)
                k += LANES if along else 1
            widen(work, SHARES, wide)
        if along:
            fold(wide, SHARES)
            used = 1
        for i in range(SHARES):
            for j in range(used):
                out[i, slot + j] = wide[i * PITCH + j]
        slot += used
        row += used


@inline
def apart(maxima, r):
    """How far the references of the differences lie from those of the exponentials."""
    return (maxima[1, r] - maxima[3, r]) - (maxima[0, r] - maxima[2, r]) if maxima[2, r] > -np.inf else 0.0


@cached_kernel
def after_masses(masses, maxima, statistics, gains, start, stop):
    """The normalisers and c, as if all outcomes were shared."""
    for r in range(start, stop):
        mass = masses[0, r]
        statistics[2, r] = log(F(mass))
        statistics[3, r] = log(F(masses[1, r]))
        statistics[6, r] = F(masses[2, r] / mass)
        statistics[7, r] = F(1.0 / mass)
        statistics[8, r] = F(np.float64(statistics[6, r]) + apart(maxima, r) - np.float64(statistics[2, r]))
        gains[0, r] = 0.0
        gains[1, r] = 0.0


@cached_kernel
def after_shares(shares, maxima, statistics, gains, start, stop):
    """P's mass on the shared outcomes, and what the others add to the log-ratio: of P, of Q."""
    for r in range(start, stop):
        inside_p, inside_q = shares[0, r], shares[2, r]
        some_p, some_q = inside_p > 0, inside_q > 0
        inside_p, inside_q = select(some_p, inside_p, 1.0), select(some_q, inside_q, 1.0)
        statistics[7, r] = F(1.0 / inside_p)
        statistics[8, r] = F(np.float64(statistics[6, r]) + apart(maxima, r) - np.float64(log(F(inside_p))))
        # Infinite where next to nothing is shared: then the log-ratio is not made of these.
        gains[0, r] = log1p(F(shares[1, r] / inside_p)) if some_p else np.inf
        gains[1, r] = log1p(F(shares[3, r] / inside_q)) if some_q else np.inf


@kernel
def take_moments(work, count):
    """Σ w·(exp(u) − 1 − u) and Σ w·u of one tile, w the weight under P."""
    at = 11 * PITCH
    for j in range(count):
        a, b = work[X + j], work[Y + j]
        d = offset_free(a, b, work[at + 4 * PITCH + j], work[at + 5 * PITCH + j])
        u = work[at + 6 * PITCH + j] - d
        lowered = a - work[at + j]
        weight = select(b > -INFINITY, bounded_exp(lowered) * work[at + 7 * PITCH + j], ZERO)
        # exp(u) may overflow where its weight is tiny; together they are q, rescaled to P's centre. Where even that
        # exceeds e the pair does not nearly agree, and a 1 says so without a number that could overflow.
        modest = u < ONE
        exponent = select(a > -INFINITY, (b - work[at + PITCH + j]) + work[at + 8 * PITCH + j], -INFINITY)
        n, one, f, remainder = bounded_exp_parts(select(modest, u, select(exponent < ONE, exponent, ONE)))
        power = ((f + remainder) + ONE) * one
        near = weight * select(n == 0, remainder, (power - ONE) - u)
        far = select(exponent > LOWEST_NORMAL, power, ZERO) - weight * (ONE + u)
        work[j] += select(modest, near, select(exponent > ONE, ONE, far))
        # A difference beyond the bound makes the mean of no use where it has weight.
        work[PITCH + j] += select((abs(d) < FARTHEST) | (weight == ZERO), weight * u, NOTHING)


@cached_kernel
def moments(x, x_start, x_row, x_step, y, y_start, y_row, y_step, rows, first, last, along, statistics, out, slot):
    """Per row: E[exp(u) − 1 − u] under P on the shared outcomes, at least 1 where it is not small; and E[u]."""
    work = np.empty(ROWS * PITCH, F)
    wide = np.empty(MOMENTS * PITCH, np.float64)
    row = 0
    while row < rows:
        used = min(LANES, last - first) if along else min(LANES, rows - row)
        bring(statistics, STATISTICS, row, used, along, work, 11 * PITCH)
        clear(work, MOMENTS)
        clear(wide, MOMENTS)
        k = first
        while k < last:
            stop = min(last, k + STEPS * (LANES if along else 1))
            while k < stop:
                count = min(LANES, last - k) if along else used
                fetch_x(x, x_start + row * x_row + k * x_step, x_step if along else x_row, count, work, X)
                fetch_y(y, y_start + row * y_row + k * y_step, y_step if along else y_row, count, work, Y)
                take_moments(work, count)
                k += LANES if along else 1
            widen(work, MOMENTS, wide)
        if along:
            fold(wide, MOMENTS)
            used = 1
        for i in range(MOMENTS):
            for j in range(used):
                out[i, slot + j] = wide[i * PITCH + j]
        slot += used
        row += used


@cached_kernel
def after_moments(moments, maxima, gains, statistics, kl, start, stop):
    """κ and the constant of the log-ratio, whether u is small; and KL(P‖Q), NaN where the next pass must make it."""
    for r in range(start, stop):
        moment, mean = moments[0, r], moments[1, r]
        agree = moment < 1 and mean == mean and gains[0, r] + gains[1, r] < np.inf
        total = F(moment + mean) if agree else ZERO
        statistics[7, r] = log1p(total) + (F(gains[1, r]) - F(gains[0, r])) if agree else ZERO
        statistics[8, r] = ONE if agree else ZERO
        # Where P's outcomes are all Q's. Far apart: E[a − b] less the difference of the normalisers.
        c = np.float64(statistics[6, r])
        far = c - mean + ((np.float64(statistics[3, r]) - np.float64(statistics[2, r])) + (maxima[1, r] - maxima[3, r]))
        near = max(moment - excess(total), 0.0) + gains[1, r]
        kl[r] = np.inf if maxima[4, r] > 0 else near if agree else far
