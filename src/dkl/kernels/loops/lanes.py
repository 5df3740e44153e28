"""How the loops walk over rows: in tiles of lanes, each of which belongs to one row.

Along a row, a tile is a run of ``LANES`` outcomes of that one row. Across short rows, or rows that lie side by side,
each lane is a row of its own. Where a tile does not lie in one piece, it is gathered into a place that stays in the
first cache; the loop over it has neither strides nor branches, and the order of additions depends on the shape alone.

An array is handed over as one flat run of memory with a start and two strides, all counted in entries. Places in it are
given as unsigned numbers: signed ones would be counted from the end if negative, and no vector is made of such loads.
"""

from __future__ import annotations

import numpy as np

from dkl.kernels.intrinsics import prefetch
from dkl.kernels.loops.decorators import in_any_order, inline, kernel
from dkl.kernels.loops.float32 import LANES, LINE, PITCH

# Whether the lanes are outcomes of one row, and whether both sides' tiles lie in one piece.
ALONG = True
UNIT = True
# How far ahead of a tile the memory is asked for the next.
AHEAD = 4 * LANES
# What a pass may know of a row: its statistics, and what the row passes down to its outcomes.
KNOWN = 12


@inline
def ask(flat, start):
    """Ask the memory for a tile."""
    for j in range(0, LANES, LINE):
        prefetch(flat, start + j)


@inline
def gather(flat, start, step, count, near):
    """Bring the entries of a tile together, as they are stored."""
    for j in range(count):
        near[j] = flat[np.uintp(start + j * step)]


@inline
def scatter(near, count, flat, start, step):
    """Put the numbers of a tile where they belong."""
    for j in range(count):
        flat[np.uintp(start + j * step)] = near[j]


@kernel
def bring(statistics, row, used, work):
    """Lay what is known of a row, or of rows side by side, under the lanes."""
    for i in range(statistics.shape[0]):
        for j in range(used):
            work[i * PITCH + j] = statistics[i, row + j]


@inline
def lane(work, j):
    """What is known of the row that a lane belongs to."""
    return (
        work[j],
        work[PITCH + j],
        work[2 * PITCH + j],
        work[3 * PITCH + j],
        work[4 * PITCH + j],
        work[5 * PITCH + j],
        work[6 * PITCH + j],
        work[7 * PITCH + j],
        work[8 * PITCH + j],
        work[9 * PITCH + j],
        work[10 * PITCH + j],
        work[11 * PITCH + j],
    )


@in_any_order
def add(x, y):
    """The sum of two numbers."""
    return x + y
