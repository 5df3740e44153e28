"""A formula of a few numbers, written down once: over whole arrays by a compiled loop, of single numbers by Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from dkl.kernels import scalars
from dkl.kernels.trace import Symbol, Trace

NumPyArray = np.ndarray[Any, Any]

#: As many numbers as a loop knows at a place.
MOST = 12
# Places that a thread works through at a time.
_PIECE = 1 << 16


class Formula:
    """A formula of ``number`` float64 numbers, made by calling a function with symbols for them.

    The function may use what :class:`dkl.kernels.trace.Namespace` has.
    """

    def __init__(self, number: int, function: Callable[[Sequence[Symbol]], Symbol]) -> None:
        trace = Trace(np.dtype("float64"))
        known = [trace.input(f"known[{i}]") for i in range(number)]
        self.number = number
        self.source = trace.function("value", ["known"], [trace.lift(function(known))])
        self.constants = tuple(trace.constants)
        self._of_numbers: Callable[..., float] = scalars.executed(self.source)["value"]

    def of_numbers(self, *known: float) -> float:
        """The formula of single numbers; an OverflowError or ValueError where Python's own functions raise one."""
        return self._of_numbers(known, self.constants)

    def over(self, arrays: Sequence[NumPyArray], dtype: Any) -> NumPyArray:
        """The formula at every place of float32 or float64 arrays that broadcast, in float64, on all cores."""
        from dkl.kernels import threads

        shape = np.broadcast_shapes(*(x.shape for x in arrays))
        places = math.prod(shape)
        common = np.result_type(*arrays)
        flat = tuple(
            _read_only((x if x.size == 1 else np.broadcast_to(x, shape)).astype(common, copy=False)) for x in arrays
        )
        steps = np.array([int(x.size > 1) for x in flat])
        out = np.empty(places, dtype)
        loop = _compiled(self.source)

        def piece(start: int) -> None:
            stop = min(places, start + _PIECE)
            loop(flat, steps, self.number, start, stop, self.constants, out)

        threads.share_out(piece, list(range(0, places, _PIECE)))
        return out.reshape(shape)


def _read_only(x: NumPyArray) -> NumPyArray:
    """A flat read-only view, so that the loop is compiled for one kind of array."""
    flat = np.ascontiguousarray(x).reshape(-1).view()
    flat.flags.writeable = False
    return flat


@cache
def _compiled(source: str) -> Callable[..., None]:
    from dkl.kernels.build import built

    lanes = built(("loading", "lanes"), built(("decorators", "float64", "primitives")))
    loop: Callable[..., None] = built(("written", "elementwise"), lanes, source).evaluated
    return loop
