"""A formula of some numbers, or its derivatives, at every place of as many arrays."""

from __future__ import annotations

import numpy as np

from dkl.kernels.intrinsics import widest
from dkl.kernels.loops.decorators import entry, kernel
from dkl.kernels.loops.float64 import LANES, PITCH, F
from dkl.kernels.loops.lanes import KNOWN, lane
from dkl.kernels.loops.written import place


@kernel
def evaluate(work, single, count, c, made):
    """The formula at the places of a tile."""
    widest()
    for j in range(count):
        place(lane(work, j), single, c, made, j)


@entry
def evaluated(arrays, single, start, stop, c, out):
    """The formula from one place to another, its results in as many arrays."""
    widest()
    work, made = np.empty(KNOWN * PITCH, F), np.empty(len(out) * PITCH, F)
    for at in range(start, stop, LANES):
        count = min(LANES, stop - at)
        for i in range(len(arrays)):
            flat = arrays[i]
            for j in range(count):
                work[i * PITCH + j] = flat[np.uintp(at + j)]
        evaluate(work, single, count, c, made)
        for i in range(len(out)):
            flat = out[i]
            for j in range(count):
                flat[np.uintp(at + j)] = made[i * PITCH + j]
