"""What a written-down formula becomes, with the product of two numbers as the example."""

from __future__ import annotations

from dkl.kernels.loops.decorators import inline
from dkl.kernels.loops.float64 import PITCH


@inline
def place(known, single, c, made, j):
    """The formula of the numbers that are known at a place, and of those that are the same everywhere."""
    made[0 * PITCH + j] = known[0] * single[0]
