"""One pass over a pair that leaves four numbers of each row: what it takes from every outcome, merged."""

from __future__ import annotations

import numpy as np

from dkl.kernels.intrinsics import widest
from dkl.kernels.loops.decorators import entry, kernel
from dkl.kernels.loops.float32 import LANES, PITCH, ZERO, F
from dkl.kernels.loops.lanes import AHEAD, ALONG, KNOWN, UNIT, add, ask, bring, gather, lane
from dkl.kernels.loops.loading import load_x, load_y
from dkl.kernels.loops.probabilities import take_sums

# The pass: what it takes, how that is merged, and with what the merging begins.
take = take_sums
merge = add
NEUTRAL = ZERO
# After so many steps a lane's number goes into a wider one.
STEPS = 32
# Where the four numbers of each lane stand in the workspace.
MADE = KNOWN * PITCH


@kernel
def take_along(x, x_at, y, y_at, count, known, c):
    """What a tile of one row comes to."""
    widest()
    r0 = r1 = r2 = r3 = NEUTRAL
    for j in range(count):
        a, b = load_x(x[np.uintp(x_at + j)]), load_y(y[np.uintp(y_at + j)])
        t0, t1, t2, t3 = take(a, b, known, c)
        r0, r1, r2, r3 = merge(t0, r0), merge(t1, r1), merge(t2, r2), merge(t3, r3)
    return r0, r1, r2, r3


@kernel
def take_across(x, x_at, y, y_at, count, work, c):
    """What one outcome of each of the rows adds to what is there."""
    widest()
    for j in range(count):
        a, b = load_x(x[np.uintp(x_at + j)]), load_y(y[np.uintp(y_at + j)])
        t0, t1, t2, t3 = take(a, b, lane(work, j), c)
        at = MADE + j
        work[at] = merge(t0, work[at])
        work[at + PITCH] = merge(t1, work[at + PITCH])
        work[at + 2 * PITCH] = merge(t2, work[at + 2 * PITCH])
        work[at + 3 * PITCH] = merge(t3, work[at + 3 * PITCH])


@kernel
def widen(work, count, out, at, begin):
    """Merge what the lanes hold into the wider results of their rows."""
    for i in range(4):
        for j in range(count):
            made, place = np.float64(work[MADE + i * PITCH + j]), np.uintp(at + j)
            out[i, place] = made if begin else merge(made, out[i, place])


@entry
def reduced(x, x_start, x_row, x_step, y, y_start, y_row, y_step, rows, first, last, statistics, c, out, slot):
    """Of each of ``rows`` rows the outcomes from ``first`` up to ``last``.

    ``statistics`` has a row for each number that the pass knows of a row of the pair. The results of the first row go
    into column ``slot`` of ``out``.
    """
    widest()
    work = np.empty((KNOWN + 4) * PITCH, F)
    near_x, near_y = np.empty(PITCH, x.dtype), np.empty(PITCH, y.dtype)
    if ALONG:
        for row in range(rows):
            bring(statistics, row, 1, work)
            known = lane(work, 0)
            w0 = w1 = w2 = w3 = np.float64(NEUTRAL)
            for k in range(first, last, LANES):
                count = min(LANES, last - k)
                x_at, y_at = x_start + row * x_row + k * x_step, y_start + row * y_row + k * y_step
                if UNIT:
                    ask(x, x_at + AHEAD)
                    ask(y, y_at + AHEAD)
                    r0, r1, r2, r3 = take_along(x, x_at, y, y_at, count, known, c)
                else:
                    gather(x, x_at, x_step, count, near_x)
                    gather(y, y_at, y_step, count, near_y)
                    r0, r1, r2, r3 = take_along(near_x, 0, near_y, 0, count, known, c)
                w0, w1 = merge(np.float64(r0), w0), merge(np.float64(r1), w1)
                w2, w3 = merge(np.float64(r2), w2), merge(np.float64(r3), w3)
            out[0, slot + row], out[1, slot + row], out[2, slot + row], out[3, slot + row] = w0, w1, w2, w3
    else:
        for row in range(0, rows, LANES):
            used = min(LANES, rows - row)
            bring(statistics, row, used, work)
            for start in range(first, last, STEPS):
                work[MADE:] = NEUTRAL
                for k in range(start, min(last, start + STEPS)):
                    x_at, y_at = x_start + row * x_row + k * x_step, y_start + row * y_row + k * y_step
                    if UNIT:
                        ask(x, x_at + 2 * x_step)
                        ask(y, y_at + 2 * y_step)
                        take_across(x, x_at, y, y_at, used, work, c)
                    else:
                        # The next rows, if they follow on each other.
                        ask(x, x_start + (row + LANES) * x_row + k * LANES)
                        ask(y, y_start + (row + LANES) * y_row + k * LANES)
                        gather(x, x_at, x_row, used, near_x)
                        gather(y, y_at, y_row, used, near_y)
                        take_across(near_x, 0, near_y, 0, used, work, c)
                widen(work, used, out, slot + row, start == first)
