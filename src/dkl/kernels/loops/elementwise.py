"""A formula of some numbers, at every place of as many arrays."""

from __future__ import annotations

import numpy as np

from dkl.kernels.intrinsics import widest
from dkl.kernels.loops.decorators import entry, kernel
from dkl.kernels.loops.float64 import LANES, PITCH, F
from dkl.kernels.loops.lanes import KNOWN, lane
from dkl.kernels.loops.written import value


@kernel
def evaluate(work, count, c, out, at):
    """The formula at the places of a tile."""
    widest()
    for j in range(count):
        out[np.uintp(at + j)] = value(lane(work, j), c)


@entry
def evaluated(inputs, steps, number, start, stop, c, out):
    """The formula from one place to another; an input of step 0 is one number for all."""
    widest()
    work = np.empty(KNOWN * PITCH, F)
    for at in range(start, stop, LANES):
        count = min(LANES, stop - at)
        for i in range(number):
            flat, step, place = inputs[i], steps[i], i * PITCH
            if step == 0:
                for j in range(count):
                    work[place + j] = flat[0]
            else:
                for j in range(count):
                    work[place + j] = flat[np.uintp(at + j)]
        evaluate(work, count, c, out, at)
