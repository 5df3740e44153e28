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

from dkl.kernels.intrinsics import select
from dkl.kernels.loops.decorators import entry, exact, inline
from dkl.kernels.loops.float32 import INFINITY, LARGEST, LOWEST_NORMAL, ONE, ZERO, F
from dkl.kernels.loops.primitives import (
    bounded_exp,
    bounded_exp_parts,
    excess,
    log,
    log1p,
    two_difference,
)

# Differences are kept this far inside the floating range, so that a sum of them stays there too.
FARTHEST = LARGEST * F(2.0**-30)
# Beyond it a sum of exponentials came near the end of the floating range.
LARGEST_MASS = LARGEST * F(1e-8)
NOTHING = F(np.nan)


@exact
def offset_free(a, b, top_high, top_low):
    """A − b − top, rounded once, within a bound."""
    high, low = two_difference(a, b)
    d = (high - top_high) + (low - top_low)
    # A NaN, where an outcome is not on both sides or the difference overflows, becomes a number that does no harm.
    d = select(d < FARTHEST, d, FARTHEST)
    return select(d > -FARTHEST, d, -FARTHEST)


@inline
def take_maxima(a, b, known, c):
    """For the maxima: a, b, and both once more where both are possible; the lowest number for what is no logit.

    (With −inf there, a compiler sees that nothing can come of it and makes a branch, which no vector survives.)
    """
    in_a, in_b = abs(a) < INFINITY, abs(b) < INFINITY
    both = in_a & in_b
    return select(in_a, a, -LARGEST), select(in_b, b, -LARGEST), select(both, a, -LARGEST), select(both, b, -LARGEST)


@inline
def take_flags(a, b, known, c):
    """For the numbers of them: outcomes of P alone, of Q alone, of both, and entries that are no logits."""
    in_a, in_b = a > -INFINITY, b > -INFINITY
    # Neither NaN nor +inf is a logit.
    logits = (a < INFINITY) & (b < INFINITY)
    return (
        select(in_a & (not in_b), ONE, ZERO),
        select(in_b & (not in_a), ONE, ZERO),
        select(in_a & in_b, ONE, ZERO),
        select(logits, ZERO, ONE),
    )


@entry
def after_maxima(maxima, statistics, rows):
    """The largest logits, and the difference of the largest shared ones."""
    for r in range(rows):
        none = maxima[6, r] == 0
        a, b = (ZERO, ZERO) if none else (F(maxima[2, r]), F(maxima[3, r]))
        high, low = two_difference(a, b)
        statistics[0, r], statistics[1, r] = F(maxima[0, r]), F(maxima[1, r])
        statistics[4, r], statistics[5, r] = high, low
    return statistics


@inline
def take_masses(a, b, known, c):
    """For the sums: the masses of P and of Q; exp(a − reference)·d; and NaN where an entry is not finite."""
    mass_a, mass_b = bounded_exp(a - known[0]), bounded_exp(b - known[1])
    # About the mean of d is enough: where an outcome is extreme, or no shared one, any number will do.
    d = (a - b) - known[4]
    return mass_a, mass_b, mass_a * select(abs(d) < FARTHEST, d, ZERO), (a - a) + (b - b)


@inline
def take_shares(a, b, known, c):
    """For the sums: the masses of P on the shared outcomes and outside them, and the same of Q."""
    both = (a > -INFINITY) & (b > -INFINITY)
    mass_a, mass_b = bounded_exp(a - known[0]), bounded_exp(b - known[1])
    return (
        select(both, mass_a, ZERO),
        select(both, ZERO, mass_a),
        select(both, mass_b, ZERO),
        select(both, ZERO, mass_b),
    )


@inline
def apart(maxima, r):
    """How far the references of the differences lie from those of the exponentials."""
    return (maxima[1, r] - maxima[3, r]) - (maxima[0, r] - maxima[2, r]) if maxima[6, r] > 0 else 0.0


@entry
def after_masses(masses, maxima, statistics, gains, rows):
    """The normalisers and c, as if all outcomes were shared; and whether every row's references serve."""
    served = True
    for r in range(rows):
        mass = masses[0, r]
        statistics[2, r] = log(F(mass))
        statistics[3, r] = log(F(masses[1, r]))
        statistics[6, r] = F(masses[2, r] / mass)
        statistics[7, r] = F(1.0 / mass)
        statistics[8, r] = F(np.float64(statistics[6, r]) + apart(maxima, r) - np.float64(statistics[2, r]))
        gains[0, r] = 0.0
        gains[1, r] = 0.0
        served &= (mass < LARGEST_MASS) & (masses[1, r] < LARGEST_MASS) & (masses[3, r] == 0)
    return served


@entry
def after_shares(shares, maxima, statistics, gains, rows):
    """P's mass on the shared outcomes, and what the others add to the log-ratio: of P, of Q."""
    for r in range(rows):
        inside_p, inside_q = shares[0, r], shares[2, r]
        some_p, some_q = inside_p > 0, inside_q > 0
        inside_p, inside_q = select(some_p, inside_p, 1.0), select(some_q, inside_q, 1.0)
        statistics[7, r] = F(1.0 / inside_p)
        statistics[8, r] = F(np.float64(statistics[6, r]) + apart(maxima, r) - np.float64(log(F(inside_p))))
        # Infinite where next to nothing is shared: then the log-ratio is not made of these.
        gains[0, r] = log1p(F(shares[1, r] / inside_p)) if some_p else np.inf
        gains[1, r] = log1p(F(shares[3, r] / inside_q)) if some_q else np.inf


@inline
def take_moments(a, b, known, c):
    """For the sums: w·(exp(u) − 1 − u) and w·u, w the weight under P."""
    d = offset_free(a, b, known[4], known[5])
    u = known[6] - d
    weight = select(b > -INFINITY, bounded_exp(a - known[0]) * known[7], ZERO)
    # exp(u) may overflow where its weight is tiny; together they are q, rescaled to P's centre. Where even that
    # exceeds e the pair does not nearly agree, and a 1 says so without a number that could overflow.
    modest = u < ONE
    exponent = select(a > -INFINITY, (b - known[1]) + known[8], -INFINITY)
    n, one, f, remainder = bounded_exp_parts(select(modest, u, select(exponent < ONE, exponent, ONE)))
    power = ((f + remainder) + ONE) * one
    near = weight * select(n == 0, remainder, (power - ONE) - u)
    far = select(exponent > LOWEST_NORMAL, power, ZERO) - weight * (ONE + u)
    # A difference beyond the bound makes the mean of no use where it has weight.
    mean = select((abs(d) < FARTHEST) | (weight == ZERO), weight * u, NOTHING)
    return select(modest, near, select(exponent > ONE, ONE, far)), mean, ZERO, ZERO


@entry
def after_moments(moments, maxima, gains, statistics, kl, rows):
    """κ and the constant of the log-ratio, whether u is small; and KL(P‖Q), NaN where the next pass must make it."""
    for r in range(rows):
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
