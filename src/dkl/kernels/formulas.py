"""A formula of a few numbers, written down once: over whole arrays by a compiled loop, of single numbers by Python.

Its derivatives are further steps of the same trace (:mod:`dkl.kernels.derivatives`), and so run in a loop of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np

from dkl.kernels import scalars
from dkl.kernels.derivatives import adjoints
from dkl.kernels.trace import ONE, Namespace, Symbol, Trace

NumPyArray = np.ndarray[Any, Any]

#: As many numbers as a loop knows at a place.
MOST = 12
# Places that a thread works through at a time.
_PIECE = 1 << 15


class Formula:
    """A formula of named numbers, at every place of as many arrays that broadcast.

    Parameters
    ----------
    names : sequence of str
        What the numbers are called, at most eleven.
    function : callable
        ``function(xp, *numbers)`` with an array namespace and as many arrays. It is called with symbols and
        :class:`dkl.kernels.trace.Namespace`, and may use what that has; with any other library it works as it is.

    Examples
    --------
    >>> import numpy as np
    >>> from dkl.kernels.formulas import Formula
    >>> area = Formula(("width", "height"), lambda xp, width, height: width * height)
    >>> area.over([np.array([1.0, 2.0]), np.array(3.0)])
    array([3., 6.])
    >>> area.products([np.array([1.0, 2.0]), np.array(3.0)], np.array(1.0))
    [array([3., 3.]), array(3.)]
    """

    def __init__(self, names: Sequence[str], function: Callable[..., Any]) -> None:
        # The derivatives' loop also knows what each place's result is used for.
        if not 0 < len(names) < MOST:
            raise ValueError(f"a formula of {len(names)} numbers: a loop knows from 1 to {MOST - 1}")
        self.names = tuple(names)
        self.function = function
        self._sources: dict[tuple[tuple[str, ...], tuple[bool, ...] | None], tuple[str, tuple[float, ...]]] = {}

    @cached_property
    def _of_numbers(self) -> tuple[Callable[..., float], tuple[float, ...]]:
        trace = Trace(np.dtype("float64"))
        known = [trace.input(f"known[{i}]") for i in range(len(self.names))]
        source = trace.function("value", ["known"], [trace.lift(self.function(Namespace(), *known))])
        return scalars.executed(source)["value"], tuple(trace.constants)

    def of_numbers(self, *known: float) -> float:
        """The formula of single numbers; an OverflowError or ValueError where Python's own functions raise one."""
        value, constants = self._of_numbers
        return value(known, constants)

    def over(self, arrays: Sequence[NumPyArray], dtype: Any = np.float64) -> NumPyArray:
        """The formula at every place of float32 or float64 arrays, calculated in float64, on all cores."""
        shape = np.broadcast_shapes(*(x.shape for x in arrays))
        out = np.empty(shape, dtype)
        self._run(arrays, None, shape, [out])
        return out

    def products(
        self, arrays: Sequence[NumPyArray], passed: NumPyArray, wanted: Sequence[bool] | None = None
    ) -> list[NumPyArray | None]:
        """The derivatives by the arrays, times what the results are used for: of their shapes and dtypes.

        Parameters
        ----------
        arrays : sequence of array
            As for :meth:`over`.
        passed : array
            The derivative of something by the formula at every place.
        wanted : sequence of bool, optional
            By which arrays; by all.

        Returns
        -------
        list of array or None
            None for what is not wanted. A derivative that overflows is infinite.
        """
        wanted = tuple(wanted or [True] * len(arrays))
        shape = np.broadcast_shapes(*(x.shape for x in arrays))
        kept = [x for x, keep in zip(arrays, wanted, strict=True) if keep]
        # What many places share is summed over them in float64.
        shared = any(x.shape != shape for x in kept)
        outs = [np.empty(shape, np.float64 if shared else np.result_type(*kept)) for _ in kept]
        self._run([*arrays, passed], wanted, shape, outs)
        made = iter(outs)
        return [_summed_to(next(made), x) if keep else None for x, keep in zip(arrays, wanted, strict=True)]

    def _run(
        self,
        arrays: Sequence[NumPyArray],
        wanted: tuple[bool, ...] | None,
        shape: tuple[int, ...],
        outs: Sequence[NumPyArray],
    ) -> None:
        from dkl.kernels import threads

        kinds = tuple(map(_kind, arrays))
        if "known" not in kinds:
            kinds = ("known", *kinds[1:])  # a loop has something to walk over
        spread = [x for x, kind in zip(arrays, kinds, strict=True) if kind == "known"]
        flat = tuple(_read_only(x, shape, np.result_type(*spread)) for x in spread)
        single = tuple(float(x[(0,) * x.ndim]) for x, kind in zip(arrays, kinds, strict=True) if kind == "single")
        source, constants = self._source(kinds, wanted)
        loop = _compiled(source)
        results = tuple(x.reshape(-1) for x in outs)
        places = math.prod(shape)

        def piece(start: int) -> None:
            loop(flat, single, start, min(places, start + _PIECE), constants, results)

        threads.share_out(piece, list(range(0, places, _PIECE)))

    def _source(self, kinds: tuple[str, ...], wanted: tuple[bool, ...] | None) -> tuple[str, tuple[float, ...]]:
        """The source of what is done at a place, and its constants; what is the same everywhere is calculated once."""
        if (kinds, wanted) not in self._sources:
            trace = Trace(np.dtype("float64"))
            symbols = [
                trace.input(kind if kind == ONE else f"{kind}[{kinds[:i].count(kind)}]") for i, kind in enumerate(kinds)
            ]
            known = symbols[: len(self.names)]
            results = [trace.lift(self.function(Namespace(), *known))]
            if wanted is not None:
                inputs = [x for x, keep in zip(known, wanted, strict=True) if keep]
                results = [_number(x) for x in adjoints(results[0], symbols[-1], inputs)]
            source = trace.procedure("place", ["known", "single"], results)
            self._sources[kinds, wanted] = source, tuple(trace.constants)
        return self._sources[kinds, wanted]


def _number(derivative: Symbol) -> Symbol:
    """The derivative, with 0 where what is owed nothing met an infinite slope."""
    known = derivative.trace.apply("==", derivative, derivative)
    return Namespace().where(known, derivative, 0.0)


def _kind(x: NumPyArray) -> str:
    """Whether an array is 1 everywhere, holds another single number, or is known place by place."""
    if x.size == 1 or (x.size > 0 and not any(x.strides)):
        return ONE if x[(0,) * x.ndim] == 1 else "single"
    return "known"


def _read_only(x: NumPyArray, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NumPyArray:
    """A flat read-only view, so that the loop is compiled for one kind of array."""
    flat = np.ascontiguousarray(np.broadcast_to(x, shape), dtype).reshape(-1).view()
    flat.flags.writeable = False
    return flat


def _summed_to(x: NumPyArray, like: NumPyArray) -> NumPyArray:
    """The sums over the axes along which one array is spread out to the shape of another."""
    if x.shape == like.shape:
        return x.astype(like.dtype, copy=False)
    added = x.ndim - like.ndim
    axes = (*range(added), *(added + i for i, n in enumerate(like.shape) if n == 1 and x.shape[added + i] != 1))
    total: NumPyArray = x.sum(axis=axes, keepdims=True)
    return total.reshape(like.shape).astype(like.dtype)


@cache
def _compiled(source: str) -> Callable[..., None]:
    from dkl.kernels.build import built

    lanes = built(("loading", "lanes", "gamma"), built(("decorators", "float64", "primitives")))
    loop: Callable[..., None] = built(("written", "elementwise"), lanes, source).evaluated
    return loop
