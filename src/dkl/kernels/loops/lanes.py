"""How the loops walk over rows: in tiles of lanes, each of which belongs to one row.

Along a row, the lanes take every ``LANES``-th outcome of that one row, and are added up at its end. Across short rows,
or rows that lie side by side, each lane is a row of its own. Either way one tile is a straight run of ``LANES``
numbers, gathered into a workspace that stays in the first cache; the loops over it have neither strides nor branches,
and the order of additions depends on the shape alone.

An array is handed over as one flat run of memory with a start and two strides, all counted in entries.
"""

from __future__ import annotations

import numpy as np

from dkl.kernels.loops.decorators import exact, inline, kernel
from dkl.kernels.loops.float32 import LANES, LINE, PITCH, F
from dkl.kernels.loops.loading import load_x, load_y
from dkl.kernels.prefetch import prefetch

# After so many steps a lane's sum goes into a wider one.
STEPS = 32
# How far ahead of a run of entries the memory is asked for the next.
AHEAD = 4 * LANES


@inline
def fetch_x(flat, start, step, count, work, at):
    """Gather ``count`` entries of P's array into the workspace."""
    if step == 1:
        for j in range(0, LANES, LINE):
            prefetch(flat, start + AHEAD + j)
        for j in range(count):
            work[at + j] = load_x(flat[start + j])
    else:
        for j in range(count):
            work[at + j] = load_x(flat[start + j * step])


@inline
def fetch_y(flat, start, step, count, work, at):
    """Gather ``count`` entries of Q's array into the workspace."""
    if step == 1:
        for j in range(0, LANES, LINE):
            prefetch(flat, start + AHEAD + j)
        for j in range(count):
            work[at + j] = load_y(flat[start + j])
    else:
        for j in range(count):
            work[at + j] = load_y(flat[start + j * step])


@inline
def store(work, at, count, flat, start, step):
    """Put ``count`` entries of the workspace where they belong."""
    if step == 1:
        for j in range(count):
            flat[start + j] = work[at + j]
    else:
        for j in range(count):
            flat[start + j * step] = work[at + j]


@kernel
def bring(numbers, count, row, used, along, work, at):
    """Lay the numbers of a row, or of the rows side by side, under the lanes."""
    for i in range(count):
        for j in range(used):
            work[at + i * PITCH + j] = numbers[i, row] if along else numbers[i, row + j]


@inline
def clear(work, number):
    """Set the first ``number`` rows of a workspace to 0."""
    for j in range(number * PITCH):
        work[j] = 0


@exact
def widen(work, number, wide):
    """Move the first ``number`` rows of sums into wider ones."""
    for j in range(number * PITCH):
        wide[j] += np.float64(work[j])
        work[j] = F(0)


@exact
def fold(wide, number):
    """Add up the lanes of each of the first ``number`` rows, by halves, into the first lane."""
    for i in range(number):
        at = i * PITCH
        half = LANES // 2
        while half:
            for j in range(half):
                wide[at + j] += wide[at + half + j]
            half //= 2
