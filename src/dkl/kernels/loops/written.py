"""What a written-down formula becomes, with the product of two numbers as the example."""

from __future__ import annotations

from dkl.kernels.loops.decorators import inline


@inline
def value(known, c):
    """The formula of the numbers that are known at a place."""
    return known[0] * known[1]
