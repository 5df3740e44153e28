"""float64: its numbers, and the two series that everything is made of."""

from __future__ import annotations

import math

import numpy as np

from dkl.kernels.loops.decorators import inline
from dkl.kernels.polynomials import ATANH_64, EXP_64

F = np.float64
I = np.int64  # noqa: E741  the integer with F's bits
# How many numbers of this size make a tile: its workspace shall stay in the first cache.
LANES = 128
# Entries in a cache line.
LINE = 8
# Distance of two rows of it: not a divisor of 4096 bytes, at which a load waits for a store that it has nothing to do
# with.
PITCH = LANES + 16
ZERO, QUARTER, ONE, TWO = F(0), F(0.25), F(1), F(2)
INFINITY, LARGEST = F(math.inf), np.finfo(F).max
MANTISSA = I(52)
BIAS = I(1023)
ROOT_HALF = I(np.array(math.sqrt(0.5), F).view(I))
LN2, LN2_HIGH, LN2_LOW = F(math.log(2)), F(0.6931471803691238), F(1.9082149292705877e-10)
PER_LN2 = F(1 / math.log(2))
# Adding it rounds to an integer, which then stands in the lowest bits.
ROUNDER = F(1.5 * 2**52)
ROUNDER_BITS = I(np.array(1.5 * 2**52, F).view(I))
# Beyond these exp is 0 and inf.
LOWEST_EXPONENT, HIGHEST_EXPONENT = F(-748.0), F(709.782712893384)
# Above it exp is a normal number.
LOWEST_NORMAL = F(-708.0)
# Below SMALL a number is scaled up by 2^LIFT, so that quotients stay normal.
SMALL, LIFT, LIFTED = F(2.0**-900), I(256), F(2.0**256)


@inline
def exp_remainder(f):
    """exp(f) − 1 − f for |f| ≤ log(2)/2."""
    c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11 = EXP_64
    head = ((((F(c0) * f + F(c1)) * f + F(c2)) * f + F(c3)) * f + F(c4)) * f + F(c5)
    tail = (((head * f + F(c6)) * f + F(c7)) * f + F(c8)) * f + F(c9)
    return f * f * ((tail * f + F(c10)) * f + F(c11))


@inline
def log_remainder(y):
    """Y − log(1 + y) for 1 + y between √½ and √2."""
    c0, c1, c2, c3, c4, c5, c6, c7, c8 = ATANH_64
    s = y / (y + F(2))
    z = s * s
    head = (((F(c0) * z + F(c1)) * z + F(c2)) * z + F(c3)) * z + F(c4)
    # log(1 + y) = 2·atanh(s), and y − 2·s = y·s.
    return s * (y - z * ((((head * z + F(c5)) * z + F(c6)) * z + F(c7)) * z + F(c8)))
