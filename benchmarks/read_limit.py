"""The least that anybody can do: a compiled loop on all cores that reads both inputs once and adds them up."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from .libraries import Formula
from .work import Array

NAME = "read limit"


def installed() -> bool:
    """Whether Numba is here to compile it."""
    return find_spec("numba") is not None


@cache
def kernel() -> Formula:
    """Compile the loop; it takes both sides and returns the sum of all their entries."""
    import numba

    compiled: Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]] = numba.njit

    # Only the order of the additions and the sign of a zero are given free, without which they could not be done
    # several at a time; a function of its own, because inside the parallel loop they were not.
    @compiled(fastmath={"reassoc", "nsz"}, nogil=True)
    def part(x: Any, y: Any) -> Any:
        total = x.dtype.type(0)
        for i in range(x.size):
            total += x[i] + y[i]
        return total

    @compiled(parallel=True)
    def total(x: Any, y: Any, threads: int) -> Any:
        sums = np.zeros(threads)
        for thread in numba.prange(threads):
            some = slice(x.size * thread // threads, x.size * (thread + 1) // threads)
            sums[thread] = part(x[some], y[some])
        return sums.sum()

    def run(x: Array, y: Array) -> float:
        return float(total(x.reshape(-1), y.reshape(-1), numba.get_num_threads()))

    return run
