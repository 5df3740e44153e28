"""The elementary functions, and the numbers of a pair that keep their digits where p and q nearly agree.

No branch is taken: both sides are computed and one is selected, which is what lets a compiler put many outcomes into
one instruction. Arguments outside a function's domain give any number, and no trap.
"""

from __future__ import annotations

from dkl.kernels.intrinsics import select
from dkl.kernels.loops.decorators import exact, inline
from dkl.kernels.loops.float32 import (
    BIAS,
    HIGHEST_EXPONENT,
    INFINITY,
    LIFT,
    LIFTED,
    LN2,
    LN2_HIGH,
    LN2_LOW,
    LOWEST_EXPONENT,
    LOWEST_NORMAL,
    MANTISSA,
    ONE,
    PER_LN2,
    QUARTER,
    ROOT_HALF,
    ROUNDER,
    ROUNDER_BITS,
    SMALL,
    TWO,
    ZERO,
    F,
    I,
    exp_remainder,
    log_remainder,
)


@inline
def power_of_two(n):
    """2ⁿ for n in the range of normal exponents."""
    return I(I(n + BIAS) << MANTISSA).view(F)


@inline
def bounded_exp_parts(x):
    """n, 2ⁿ, f and exp(f) − 1 − f with x = n·log 2 + f, for an x held to where exp is a normal number."""
    x = select(x > LOWEST_NORMAL, x, LOWEST_NORMAL)
    x = select(x < -LOWEST_NORMAL, x, -LOWEST_NORMAL)
    rounded = x * PER_LN2 + ROUNDER
    n = I(F(rounded).view(I) - ROUNDER_BITS)
    n_real = rounded - ROUNDER
    f = (x - n_real * LN2_HIGH) - n_real * LN2_LOW
    return n, power_of_two(n), f, exp_remainder(f)


@inline
def bounded_exp(x):
    """exp(x), 0 where that is no normal number any more and at most some exp(87), or in float64 exp(708)."""
    _, power, f, remainder = bounded_exp_parts(x)
    return select(x > LOWEST_NORMAL, ((f + remainder) + ONE) * power, ZERO)


@inline
def exp_parts(x):
    """n, 2^(n/2) twice over, f and exp(f) − 1 − f with x = n·log 2 + f."""
    x = select(x > LOWEST_EXPONENT, x, LOWEST_EXPONENT)
    x = select(x < HIGHEST_EXPONENT, x, HIGHEST_EXPONENT)
    rounded = x * PER_LN2 + ROUNDER
    n = I(F(rounded).view(I) - ROUNDER_BITS)
    n_real = rounded - ROUNDER
    f = (x - n_real * LN2_HIGH) - n_real * LN2_LOW
    half = I(n >> I(1))
    return n, power_of_two(half), power_of_two(I(n - half)), f, exp_remainder(f)


@inline
def exp(x):
    """exp(x) for every x but NaN."""
    _, one, other, f, remainder = exp_parts(x)
    value = ((f + remainder) + ONE) * one * other
    return select(x > HIGHEST_EXPONENT, INFINITY, value)


@inline
def expm1(x):
    """exp(x) − 1."""
    n, one, other, f, remainder = exp_parts(x)
    small = f + remainder
    value = select(n == I(0), small, (small + ONE) * one * other - ONE)
    return select(x > HIGHEST_EXPONENT, INFINITY, value)


@inline
def expm1_minus(x):
    """exp(x) − 1 − x ≥ 0."""
    n, one, other, f, remainder = exp_parts(x)
    value = select(n == I(0), remainder, (((f + remainder) + ONE) * one * other - ONE) - x)
    return select(x > HIGHEST_EXPONENT, INFINITY, value)


@inline
def tanh(x):
    """tanh(x), by exp(−2|x|) − 1."""
    fall = expm1(-TWO * abs(x))
    value = -fall / (TWO + fall)
    return select(x < ZERO, -value, value)


@inline
def log_parts(r):
    """K and y with r = 2^k·(1 + y) and 1 + y between √½ and √2, for a normal r."""
    bits = F(r).view(I)
    k = I(I(bits - ROOT_HALF) >> MANTISSA)
    return k, I(bits - I(k << MANTISSA)).view(F) - ONE


@inline
def log(x):
    """log(x) for x > 0."""
    tiny = x < SMALL
    k, y = log_parts(select(tiny, x * LIFTED, x))
    k_real = F(select(tiny, I(k - LIFT), k))
    value = k_real * LN2_HIGH + (y + (k_real * LN2_LOW - log_remainder(y)))
    return select(x < INFINITY, value, x)


@inline
def log1p(x):
    """log(1 + x) for x > −1."""
    r = ONE + x
    k, y = log_parts(r)
    # 1 + x was rounded; what it lost matters only while it is near 1.
    y = select(k == I(0), x, y)
    k_real = F(k)
    value = k_real * LN2_HIGH + (y + (k_real * LN2_LOW - log_remainder(y)))
    return select(x < INFINITY, value, x)


@inline
def excess(x):
    """X − log(1 + x) ≥ 0 for x > −1."""
    k, y = log_parts(ONE + x)
    return select(k == I(0), log_remainder(x), x - (F(k) * LN2 + (y - log_remainder(y))))


@inline
def excess_of_power(x, root, power):
    """X − log(1 + x) ≥ 0 with 1 + x = root^power, which is known better than by adding."""
    near = abs(x) < QUARTER
    return select(near, log_remainder(select(near, x, ZERO)), select(x < INFINITY, x - power * log(root), INFINITY))


@inline
def quotient_parts(p, q, difference):
    """K and y with p/q = 2^k·(1 + y), from p − q where p and q are within √2 of each other."""
    q = select(q > ZERO, q, ONE)
    lift_p, lift_q = select(p < SMALL, LIFTED, ONE), select(q < SMALL, LIFTED, ONE)
    per_q = ONE / (q * lift_q)
    k, y = log_parts((p * lift_p) * per_q)
    k = I(k + I(select(q < SMALL, LIFT, I(0)) - select(p < SMALL, LIFT, I(0))))
    return k, select(k == I(0), (difference * lift_q) * per_q, y)


@inline
def log_quotient(p, q, difference):
    """log(p/q), given p − q to full relative precision."""
    k, y = quotient_parts(p, q, difference)
    k_real = F(k)
    return k_real * LN2_HIGH + (y + (k_real * LN2_LOW - log_remainder(y)))


@inline
def kl_term(p, q, difference):
    """p·log(p/q) − p + q ≥ 0, given p − q to full relative precision."""
    k, y = quotient_parts(q, p, -difference)
    remainder = log_remainder(y)
    near = p * remainder
    far = -difference - p * (F(k) * LN2 + (y - remainder))
    # From logs p may underflow to 0; the term is then q.
    return select((k == I(0)) & (p > ZERO), near, far)


@inline
def js_term(p, q, difference):
    """½·(p·log(p/m) + q·log(q/m)) ≥ 0 with m = (p + q)/2, given p − q to full relative precision."""
    total = p + q
    c = difference / select(total > ZERO, total, ONE)
    # With p = m·(1 + c) and q = m·(1 − c), and log(1 + c) = c − excess(c): no term is left of first order.
    return (total * QUARTER) * (TWO * c * c - ((ONE + c) * excess(c) + (ONE - c) * excess(-c)))


@inline
def kl_term_from_log(p, q, log_ratio):
    """p·log(p/q) − p + q ≥ 0, given log(p/q) to full relative precision."""
    close = log_ratio > -ONE
    near = p * expm1_minus(select(close, -log_ratio, ZERO))
    return select(close, near, (q - p) + p * log_ratio)


@inline
def pair_from_logs(log_p, log_q, log_ratio):
    """p, q and p − q: the larger of the two, and of exp(−|log(p/q)|) what the smaller and the difference need.

    As in ``bounded_exp``, what is no normal number any more is 0.
    """
    p_larger = log_ratio > ZERO
    largest, fall = bounded_exp(select(p_larger, log_p, log_q)), -abs(log_ratio)
    n, power, f, remainder = bounded_exp_parts(fall)
    small = f + remainder
    share = (small + ONE) * power
    smaller, apart = select(fall > LOWEST_NORMAL, largest * share, ZERO), largest * select(n == 0, small, share - ONE)
    return select(p_larger, largest, smaller), select(p_larger, smaller, largest), select(p_larger, -apart, apart)


@exact
def two_difference(a, b):
    """The nearest number to a − b, and what that leaves out (Knuth); NaN for the rest of what is not finite."""
    high = a - b
    shift = high - a
    return high, (a - (high - shift)) - (b + shift)


@inline
def edge(mass, coefficient):
    """What mass outside the other's support adds: infinite also where the mass itself underflows."""
    return select(coefficient < INFINITY, mass * coefficient, coefficient)


@inline
def finite(slope):
    """A slope, 0 for an infinite one: what is given as the gradient there."""
    return select(abs(slope) < INFINITY, slope, ZERO)
