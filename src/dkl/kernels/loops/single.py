"""One pass over a pair: the sums of a divergence's terms row by row, or the gradient at every entry."""

from __future__ import annotations

import numpy as np

from dkl.kernels.loops.decorators import cached_kernel, kernel
from dkl.kernels.loops.float32 import LANES, PITCH, F
from dkl.kernels.loops.lanes import STEPS, bring, clear, fetch_x, fetch_y, fold, store, widen
from dkl.kernels.loops.probabilities import STATISTICS, measure, measure_gradient

# The rows of the workspace: four sums, the entries of P and Q, the gradients, and what each row brings along.
X, Y = 4 * PITCH, 5 * PITCH
GX, GY = 6 * PITCH, 7 * PITCH
UP = 8 * PITCH
ROWS = 11 + STATISTICS


@kernel
def accumulate(work, count, c):
    """Add the terms and masses of one tile to the lanes' sums."""
    for j in range(count):
        term, p, q, lower = measure(work[X + j], work[Y + j], work, 11 * PITCH + j, c)
        work[j] += term
        work[PITCH + j] += p
        work[2 * PITCH + j] += q
        lowest = work[3 * PITCH + j]
        work[3 * PITCH + j] = lower if lower < lowest else lowest


@kernel
def differentiate(work, count, c):
    """The gradients of one tile, from what each lane's row passes down."""
    for j in range(count):
        gx, gy = measure_gradient(work[X + j], work[Y + j], work, 8 * PITCH + j, c)
        work[GX + j] = gx
        work[GY + j] = gy


@cached_kernel
def sums(x, x_start, x_row, x_step, y, y_start, y_row, y_step, rows, first, last, along, statistics, c, out, slot):
    """Per row: the sum of the terms, the masses of P and Q, and a number below 0 if an entry is.

    Of each of ``rows`` rows the outcomes from ``first`` up to ``last`` are taken. The results of the first
    row go into column ``slot`` of ``out``.
    """
    work = np.empty(ROWS * PITCH, F)
    wide = np.empty(4 * PITCH, np.float64)
    row = 0
    while row < rows:
        used = min(LANES, last - first) if along else min(LANES, rows - row)
        bring(statistics, STATISTICS, row, used, along, work, 11 * PITCH)
        clear(work, 4)
        clear(wide, 4)
        k = first
        while k < last:
            stop = min(last, k + STEPS * (LANES if along else 1))
            while k < stop:
                count = min(LANES, last - k) if along else used
                fetch_x(x, x_start + row * x_row + k * x_step, x_step if along else x_row, count, work, X)
                fetch_y(y, y_start + row * y_row + k * y_step, y_step if along else y_row, count, work, Y)
                accumulate(work, count, c)
                k += LANES if along else 1
            widen(work, 4, wide)
        if along:
            fold(wide, 4)
            used = 1
        for i in range(4):
            for j in range(used):
                out[i, slot + j] = wide[i * PITCH + j]
        slot += used
        row += used


@cached_kernel
def gradients(
    x,
    x_start,
    x_row,
    x_step,
    y,
    y_start,
    y_row,
    y_step,
    rows,
    first,
    last,
    along,
    statistics,
    c,
    passed,
    gx,
    gy,
    width,
    wanted,
):
    """At every entry of P and Q the derivative of what the rows' results are used for.

    ``passed`` holds three numbers for each row: the derivative with respect to the sum of its terms, and two more that
    ``measure_gradient`` knows the meaning of. The gradients are laid out in rows of ``width``; those of a side that is
    not ``wanted`` are not kept.
    """
    work = np.empty(ROWS * PITCH, F)
    row = 0
    while row < rows:
        used = min(LANES, last - first) if along else min(LANES, rows - row)
        bring(passed, 3, row, used, along, work, UP)
        bring(statistics, STATISTICS, row, used, along, work, 11 * PITCH)
        k = first
        while k < last:
            count = min(LANES, last - k) if along else used
            fetch_x(x, x_start + row * x_row + k * x_step, x_step if along else x_row, count, work, X)
            fetch_y(y, y_start + row * y_row + k * y_step, y_step if along else y_row, count, work, Y)
            differentiate(work, count, c)
            if wanted[0]:
                store(work, GX, count, gx, row * width + k, 1 if along else width)
            if wanted[1]:
                store(work, GY, count, gy, row * width + k, 1 if along else width)
            k += LANES if along else 1
        row += 1 if along else used
