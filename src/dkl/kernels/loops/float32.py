"""float32: its numbers, and the two series that everything is made of."""

from __future__ import annotations

import math

import numpy as np

from dkl.kernels.loops.decorators import inline
from dkl.kernels.polynomials import EXP_32, LOG_32

F = np.float32
I = np.int32  # noqa: E741  the integer with F's bits
# How many numbers of this size make a tile: its workspace shall stay in the first cache.
LANES = 256
# Entries in a cache line.
LINE = 16
# Distance of two rows of it: not a divisor of 4096 bytes, at which a load waits for a store that it has nothing to do
# with.
PITCH = LANES + 16
ZERO, QUARTER, ONE, TWO = F(0), F(0.25), F(1), F(2)
INFINITY, LARGEST = F(math.inf), np.finfo(F).max
MANTISSA = I(23)
BIAS = I(127)
ROOT_HALF = I(np.array(math.sqrt(0.5), F).view(I))
LN2, LN2_HIGH, LN2_LOW = F(math.log(2)), F(0.693145751953125), F(1.428606820309417e-06)
PER_LN2 = F(1 / math.log(2))
# Adding it rounds to an integer, which then stands in the lowest bits.
ROUNDER = F(1.5 * 2**23)
ROUNDER_BITS = I(np.array(1.5 * 2**23, F).view(I))
# Beyond these exp is 0 and inf.
LOWEST_EXPONENT, HIGHEST_EXPONENT = F(-106.0), F(88.722839)
# Above it exp is a normal number.
LOWEST_NORMAL = F(-87.0)
# Below SMALL a number is scaled up by 2^LIFT, so that quotients stay normal.
SMALL, LIFT, LIFTED = F(2.0**-90), I(64), F(2.0**64)


@inline
def exp_remainder(f):
    """exp(f) − 1 − f for |f| ≤ log(2)/2."""
    c0, c1, c2, c3, c4, c5 = EXP_32
    return f * f * (((((F(c0) * f + F(c1)) * f + F(c2)) * f + F(c3)) * f + F(c4)) * f + F(c5))


@inline
def log_remainder(y):
    """Y − log(1 + y) for 1 + y between √½ and √2."""
    c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 = LOG_32
    head = (((F(c0) * y + F(c1)) * y + F(c2)) * y + F(c3)) * y + F(c4)
    return y * y * (((((head * y + F(c5)) * y + F(c6)) * y + F(c7)) * y + F(c8)) * y + F(c9))
