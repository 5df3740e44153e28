"""Any two arrays of rows as runs of memory, without a copy wherever strides can say it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

NumPyArray = np.ndarray[Any, Any]

# Leading axes that cannot be joined into one are walked over from Python; with more places than this, a copy is
# cheaper.
_MOST_BLOCKS = 1024


@dataclass(frozen=True)
class Block:
    """Rows at equal distances: where the first of P's and of Q's starts, and its number in the order of the result."""

    x_start: int
    y_start: int
    first: int


@dataclass(frozen=True)
class Runs:
    """P's and Q's memory and how their rows lie in it; distances are counted in entries."""

    x: NumPyArray
    y: NumPyArray
    x_row: int
    y_row: int
    x_step: int
    y_step: int
    outcomes: int
    #: Rows in each block.
    rows: int
    blocks: tuple[Block, ...]


def runs(x: NumPyArray, y: NumPyArray) -> Runs:
    """Two arrays of one shape with their outcomes along the last axis."""
    x, y = _whole(x), _whole(y)
    axes = _joined(x, y)
    if math.prod(size for size, _, _ in axes[:-1]) > _MOST_BLOCKS:
        x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
        axes = _joined(x, y)
    flat_x, start_x = _run(x)
    flat_y, start_y = _run(y)
    *outer, (rows, x_row, y_row) = axes
    blocks = tuple(
        Block(
            start_x + sum(i * axis[1] for i, axis in zip(place, outer, strict=True)),
            start_y + sum(i * axis[2] for i, axis in zip(place, outer, strict=True)),
            number * rows,
        )
        for number, place in enumerate(np.ndindex(*(axis[0] for axis in outer)))
    )
    x_step, y_step = (z.strides[-1] // z.itemsize if z.shape[-1] > 1 else 1 for z in (x, y))
    return Runs(flat_x, flat_y, x_row, y_row, x_step, y_step, x.shape[-1], rows, blocks)


def _whole(x: NumPyArray) -> NumPyArray:
    """An array in the machine's byte order whose strides are whole numbers of entries."""
    regular = x.flags.aligned and x.dtype.isnative and all(stride % x.itemsize == 0 for stride in x.strides)
    return x if regular else np.array(x, dtype=x.dtype.newbyteorder("="), order="C")


def _joined(x: NumPyArray, y: NumPyArray) -> list[tuple[int, int, int]]:
    """The leading axes as (size, distance in x, distance in y), neighbours joined where both arrays let them."""
    axes: list[tuple[int, int, int]] = []
    for size, in_x, in_y in zip(x.shape[:-1], x.strides, y.strides, strict=False):
        axis = (size, in_x // x.itemsize, in_y // y.itemsize)
        if size == 1:
            continue
        if axes and all(axes[-1][i] == axis[i] * size for i in (1, 2)):
            axis = (axes.pop()[0] * size, axis[1], axis[2])
        axes.append(axis)
    return axes or [(1, 0, 0)]


def _run(x: NumPyArray) -> tuple[NumPyArray, int]:
    """The memory from an array's lowest entry to its highest, read-only, and where its first entry stands in it."""
    backwards = [stride < 0 for stride in x.strides]
    reach = [abs(stride) // x.itemsize * (size - 1) for stride, size in zip(x.strides, x.shape, strict=True)]
    lowest = x[tuple(slice(None, None, -1 if back else None) for back in backwards)]
    flat = np.lib.stride_tricks.as_strided(lowest, (sum(reach) + 1,), (x.itemsize,), writeable=False)
    return flat, sum(far for far, back in zip(reach, backwards, strict=True) if back)
