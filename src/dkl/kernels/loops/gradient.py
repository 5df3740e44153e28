"""One pass over a pair that leaves the gradient at every entry."""

from __future__ import annotations

import numpy as np

from dkl.kernels.intrinsics import widest
from dkl.kernels.loops.decorators import entry, kernel
from dkl.kernels.loops.float32 import LANES, PITCH, F
from dkl.kernels.loops.lanes import AHEAD, ALONG, KNOWN, UNIT, ask, bring, gather, lane, scatter
from dkl.kernels.loops.loading import load_x, load_y
from dkl.kernels.loops.probabilities import take_gradient

# Which sides' gradients are kept.
WANTED_X = True
WANTED_Y = True


@kernel
def differentiate_along(x, x_at, y, y_at, count, known, c, gx, gx_at, gy, gy_at):
    """The gradients at a tile of one row."""
    widest()
    for j in range(count):
        a, b = load_x(x[np.uintp(x_at + j)]), load_y(y[np.uintp(y_at + j)])
        in_a, in_b = take_gradient(a, b, known, c)
        if WANTED_X:
            gx[np.uintp(gx_at + j)] = in_a
        if WANTED_Y:
            gy[np.uintp(gy_at + j)] = in_b


@kernel
def differentiate_across(x, x_at, y, y_at, count, work, c, gx, gy):
    """The gradients at one outcome of each of the rows."""
    widest()
    for j in range(count):
        a, b = load_x(x[np.uintp(x_at + j)]), load_y(y[np.uintp(y_at + j)])
        in_a, in_b = take_gradient(a, b, lane(work, j), c)
        if WANTED_X:
            gx[j] = in_a
        if WANTED_Y:
            gy[j] = in_b


@entry
def gradients(
    x, x_start, x_row, x_step, y, y_start, y_row, y_step, rows, first, last, statistics, c, gx, gy, width
):  # fmt: skip
    """At every entry of P and Q the derivative of what the rows' results are used for.

    The gradients are laid out in rows of ``width``; those of a side that is not wanted are not kept.
    """
    widest()
    work = np.empty(KNOWN * PITCH, F)
    near_x, near_y = np.empty(PITCH, x.dtype), np.empty(PITCH, y.dtype)
    near_gx, near_gy = np.empty(PITCH, F), np.empty(PITCH, F)
    if ALONG:
        for row in range(rows):
            bring(statistics, row, 1, work)
            known = lane(work, 0)
            for k in range(first, last, LANES):
                count = min(LANES, last - k)
                x_at, y_at = x_start + row * x_row + k * x_step, y_start + row * y_row + k * y_step
                at = row * width + k
                if UNIT:
                    ask(x, x_at + AHEAD)
                    ask(y, y_at + AHEAD)
                    differentiate_along(x, x_at, y, y_at, count, known, c, gx, at, gy, at)
                else:
                    gather(x, x_at, x_step, count, near_x)
                    gather(y, y_at, y_step, count, near_y)
                    differentiate_along(near_x, 0, near_y, 0, count, known, c, gx, at, gy, at)
    else:
        for row in range(0, rows, LANES):
            used = min(LANES, rows - row)
            bring(statistics, row, used, work)
            for k in range(first, last):
                x_at, y_at = x_start + row * x_row + k * x_step, y_start + row * y_row + k * y_step
                if UNIT:
                    differentiate_across(x, x_at, y, y_at, used, work, c, near_gx, near_gy)
                else:
                    gather(x, x_at, x_row, used, near_x)
                    gather(y, y_at, y_row, used, near_y)
                    differentiate_across(near_x, 0, near_y, 0, used, work, c, near_gx, near_gy)
                if WANTED_X:
                    scatter(near_gx, used, gx, row * width + k, width)
                if WANTED_Y:
                    scatter(near_gy, used, gy, row * width + k, width)
