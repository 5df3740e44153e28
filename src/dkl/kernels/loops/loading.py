"""How an entry of an array, as it is stored, becomes a number to calculate with."""

from __future__ import annotations

import numpy as np

from dkl.kernels.intrinsics import select
from dkl.kernels.loops.decorators import inline
from dkl.kernels.loops.float32 import INFINITY, ZERO, F
from dkl.kernels.loops.primitives import log


@inline
def load_number(x):
    """A number of any type that the compiler knows."""
    return F(x)


@inline
def load_bfloat16(x):
    """The bits of a bfloat16, the upper half of a float32."""
    return F(np.int32(np.int32(x) << np.int32(16)).view(np.float32))


@inline
def load_float16(x):
    """The bits of a float16: moved to a float32's place and scaled by what its exponents are biased less."""
    bits = np.int32(x)
    magnitude = np.int32(np.int32(bits & np.int32(0x7FFF)) << np.int32(13)).view(np.float32) * np.float32(2.0**112)
    # The largest exponent is that of inf and NaN.
    special = np.int32(np.int32(np.int32(bits & np.int32(0x03FF)) << np.int32(13)) | np.int32(0x7F800000))
    magnitude = select(np.int32(bits & np.int32(0x7C00)) == np.int32(0x7C00), special.view(np.float32), magnitude)
    return F(select(np.int32(bits & np.int32(0x8000)) != np.int32(0), -magnitude, magnitude))


@inline
def load_log(x):
    """The logarithm of a probability: −inf for 0, and NaN for what is none."""
    p = F(x)
    return select(p > ZERO, log(select(p > ZERO, p, F(1))), select(p == ZERO, -INFINITY, F(np.nan)))


load_x = load_number
load_y = load_number
