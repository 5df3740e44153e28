"""The divergence of g(x) = log Γ(x) − x·log x + x, which is what the gamma family and its like are made of.

g(y) − g(x) − g'(x)·(y − x) of two positive numbers is summed from parts that are all positive, so that nothing cancels,
however near or far the two are. With h(x) = g(x) − g(x + 1) = (x + 1)·log(1 + 1/x) − 1, the divergence of h is

    (y + 1)·(w − log(1 + w)),   w = (y − x)/(x·(y + 1)),   1 + w = y·(x + 1)/(x·(y + 1)),

and that of g the sum of those of h at x + k, y + k for k below 10, and that of g at x + 10, y + 10. There Stirling's
series g(x) = ½·log(2π/x) + Σ b_k·x^(1−2k) is good [1, eq. 5.11.1]; with u = 1/y and v = 1/x the divergence of x⁻ᵐ is

    (v − u)²/u·H_m,   H_m = Σ (m − i)·uⁱ·v^(m−1−i) over i < m.

References
----------
.. [1] NIST Digital Library of Mathematical Functions, https://dlmf.nist.gov.
"""

from __future__ import annotations

from dkl.kernels.loops.decorators import inline
from dkl.kernels.loops.float64 import ONE, TWO, ZERO, F, log_remainder
from dkl.kernels.loops.primitives import excess, excess_of_power

SHIFT = F(10)
HALF = F(0.5)


@inline
def shifted(y, x, apart, k):
    """(y + k + 1), and w of x + k and y + k."""
    over = y + (k + ONE)
    return over, apart / ((x + k) * over)


@inline
def first_part(y, x, apart):
    """The divergence of h at x and y, of which 1 + w may be anything positive."""
    over, w = shifted(y, x, apart, ZERO)
    return over * excess_of_power(w, (y / over) * ((x + ONE) / x), ONE)


@inline
def middle_part(y, x, apart, k):
    """That at x + k and y + k for k = 1 and 2, where 1 + w is between ½ and 2."""
    over, w = shifted(y, x, apart, k)
    return over * excess(w)


@inline
def last_part(y, x, apart, k):
    """That for k from 3, where 1 + w is between ¾ and 4/3."""
    over, w = shifted(y, x, apart, k)
    return over * log_remainder(w)


@inline
def two_more(u, v, power, h, total):
    """From uᵐ⁻¹, h_m = Σ uⁱ·v^(m−1−i) and H_m to those of m + 2, and h_(m+1)."""
    power = power * u
    between = v * h + power
    total = v * total + between
    power = power * u
    h = v * between + power
    return power, h, v * total + h, between


@inline
def series_part(y, x, apart):
    """The divergence of g at x + 10 and y + 10."""
    u, v = ONE / (y + SHIFT), ONE / (x + SHIFT)
    t = apart * v
    power, h, total = ONE, ONE, ONE
    terms = total * F(1 / 12)
    power, h, total, _ = two_more(u, v, power, h, total)
    terms = terms - total * F(1 / 360)
    power, h, total, _ = two_more(u, v, power, h, total)
    terms = terms + total * F(1 / 1260)
    power, h, total, _ = two_more(u, v, power, h, total)
    terms = terms - total * F(1 / 1680)
    power, h, total, _ = two_more(u, v, power, h, total)
    terms = terms + total * F(1 / 1188)
    power, h, total, _ = two_more(u, v, power, h, total)
    terms = terms - total * F(691 / 360360)
    power, h, total, _ = two_more(u, v, power, h, total)
    terms = terms + total * F(1 / 156)
    power, h, total, _ = two_more(u, v, power, h, total)
    terms = terms - total * F(3617 / 122400)
    return HALF * excess_of_power(t, (y + SHIFT) * v, ONE) + t * (t * u) * terms


@inline
def gamma_rest_divergence(y, x, apart):
    """g(y) − g(x) − g'(x)·(y − x) ≥ 0, given y − x to full relative precision."""
    parts = first_part(y, x, apart) + middle_part(y, x, apart, ONE) + middle_part(y, x, apart, TWO)
    parts = parts + last_part(y, x, apart, F(3)) + last_part(y, x, apart, F(4)) + last_part(y, x, apart, F(5))
    parts = parts + last_part(y, x, apart, F(6)) + last_part(y, x, apart, F(7)) + last_part(y, x, apart, F(8))
    return parts + last_part(y, x, apart, F(9)) + series_part(y, x, apart)


@inline
def slope_part(y, x, apart, k):
    """The derivative of the divergence of h by y for k from 3: w − log(1 + w) + w/y."""
    _, w = shifted(y, x, apart, k)
    return log_remainder(w) + w / (y + k)


@inline
def gamma_rest_in_first(y, x, apart):
    """Its derivative by y: g'(y) − g'(x)."""
    over, w = shifted(y, x, apart, ZERO)
    parts = excess_of_power(w, (y / over) * ((x + ONE) / x), ONE) + w / y
    _, w = shifted(y, x, apart, ONE)
    parts = parts + excess(w) + w / (y + ONE)
    _, w = shifted(y, x, apart, TWO)
    parts = parts + excess(w) + w / (y + TWO)
    parts = parts + slope_part(y, x, apart, F(3)) + slope_part(y, x, apart, F(4)) + slope_part(y, x, apart, F(5))
    parts = parts + slope_part(y, x, apart, F(6)) + slope_part(y, x, apart, F(7)) + slope_part(y, x, apart, F(8))
    u, v = ONE / (y + SHIFT), ONE / (x + SHIFT)
    # v²ᵏ − u²ᵏ = (v − u)·h_2k.
    power, h, total = ONE, ONE, ONE
    power, h, total, between = two_more(u, v, power, h, total)
    terms = HALF + between * F(1 / 12)
    power, h, total, between = two_more(u, v, power, h, total)
    terms = terms - between * F(1 / 120)
    power, h, total, between = two_more(u, v, power, h, total)
    terms = terms + between * F(1 / 252)
    power, h, total, between = two_more(u, v, power, h, total)
    terms = terms - between * F(1 / 240)
    power, h, total, between = two_more(u, v, power, h, total)
    terms = terms + between * F(1 / 132)
    power, h, total, between = two_more(u, v, power, h, total)
    terms = terms - between * F(691 / 32760)
    power, h, total, between = two_more(u, v, power, h, total)
    terms = terms + between * F(1 / 12)
    power, h, total, between = two_more(u, v, power, h, total)
    terms = terms - between * F(3617 / 8160)
    return parts + slope_part(y, x, apart, F(9)) + apart * v * u * terms


@inline
def curvature_part(x, k):
    """h''(x + k) = 1/((x + k)²·(x + k + 1))."""
    return ONE / ((x + k) * (x + k) * (x + (k + ONE)))


@inline
def gamma_rest_in_second(y, x, apart):
    """Its derivative by x: −g''(x)·(y − x)."""
    # Of the first part the quotient is taken twice, lest the square of a tiny x is 0.
    first = apart / x / (x * (x + ONE))
    rest = curvature_part(x, ONE) + curvature_part(x, TWO) + curvature_part(x, F(3)) + curvature_part(x, F(4))
    rest = rest + curvature_part(x, F(5)) + curvature_part(x, F(6)) + curvature_part(x, F(7)) + curvature_part(x, F(8))
    v = ONE / (x + SHIFT)
    z = v * v
    head = ((F(-3617 / 510) * z + F(7 / 6)) * z + F(-691 / 2730)) * z + F(5 / 66)
    tail = (((head * z + F(-1 / 30)) * z + F(1 / 42)) * z + F(-1 / 30)) * z + F(1 / 6)
    return -(first + apart * (rest + curvature_part(x, F(9)) + z * (HALF + v * tail)))
