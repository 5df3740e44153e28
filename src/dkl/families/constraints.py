"""What parameters must be, and arrays made of them that are known to be so."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dkl._array import (
    Array,
    Namespace,
    as_array,
    compiling,
    epsilon,
    first_failing,
    holds,
    namespace_of,
    number,
    real_floating,
    real_number,
    to_numpy,
)


class Constraint:
    """What a parameter must be: a name for messages, and where an array of numbers is it."""

    def __init__(
        self,
        name: str,
        met: Callable[[Namespace, Array], Array],
        ndim: int = 0,
        of_all: Callable[[Namespace, Array], Array] | None = None,
        of_one: Callable[[float], bool] | None = None,
    ) -> None:
        self.name, self.met, self.ndim = name, met, ndim
        # One truth of a whole array, or that of one number, is sooner known than one for each entry; where it fails,
        # the entries decide.
        self._of_all, self._of_one = of_all, of_one

    def hold(self, xp: Namespace, x: Array, name: str) -> None:
        """Raise a ValueError that names the entry which is not so; not where the values are hidden."""
        if len(x.shape) < self.ndim:
            raise ValueError(f"{name} of shape {tuple(x.shape)} needs at least {self.ndim} axes")
        if self._met_by_all(xp, x) or self._met_by_one(x):
            return
        met = self.met(xp, x)
        if holds(xp.all(met)) is False:
            at, value = first_failing(x, met)
            raise ValueError(f"{name}{at} = {value:g} is not {self.name}")

    def _met_by_all(self, xp: Namespace, x: Array) -> bool:
        if self._of_all is None or math.prod(x.shape) < _MANY or compiling():
            return False
        with np.errstate(over="ignore", invalid="ignore"):
            return holds(self._of_all(xp, x.detach() if hasattr(x, "detach") else x)) is True

    def _met_by_one(self, x: Array) -> bool:
        if self._of_one is None or len(x.shape):
            return False
        value = number(x)
        return value is not None and self._of_one(value)


# Of fewer numbers than these, each is looked at.
_MANY = 1 << 12
real = Constraint(
    "finite",
    lambda xp, x: xp.isfinite(x),
    of_all=lambda xp, x: xp.isfinite(xp.sum(x)),  # infinite or NaN if a term is
    of_one=math.isfinite,
)
positive = Constraint(
    "positive and finite",
    lambda xp, x: (x > 0) & xp.isfinite(x),
    of_all=lambda xp, x: (xp.min(x) > 0) & xp.isfinite(xp.sum(x)),
    of_one=lambda x: 0.0 < x < math.inf,
)
probability = Constraint("strictly between 0 and 1", lambda xp, x: (x > 0) & (x < 1), of_one=lambda x: 0.0 < x < 1.0)
whole = Constraint("a positive whole number", lambda xp, x: (x > 0) & (x == xp.floor(x)) & xp.isfinite(x))


def gathered(owner: str, given: dict[str, Any]) -> tuple[Namespace, dict[str, Array]]:
    """What is given, as arrays of one library in one floating dtype, and that library."""
    # NumPy makes no number of an integer beyond 64 bits.
    given = {n: real_number(x, f"{owner}: {n}") if _is_long(x) else x for n, x in given.items()}
    xp = namespace_of(**given)
    like = next((x for x in given.values() if hasattr(x, "dtype")), None)
    arrays = [as_array(xp, x, f"{owner}: {name}", like=like) for name, x in given.items()]
    return xp, dict(zip(given, real_floating(xp, *arrays), strict=True))


def _is_long(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool) and not -(2**63) <= x < 2**63


def hold_exact(xp: Namespace, name: str, given: Any, x: Array) -> None:
    """Raise a ValueError if whole numbers were rounded on their way into a floating dtype."""
    largest = 2.0 / epsilon(xp, x.dtype)
    if holds(xp.all(x < largest)) is not False:
        return
    dtype = str(x.dtype).removeprefix("torch.")
    whole_ones, rounded = np.broadcast_arrays(np.asarray(to_numpy(given), dtype=object), to_numpy(x))
    for index in np.ndindex(*rounded.shape):
        if isinstance(whole_ones[index], int) and whole_ones[index] != int(rounded[index]):
            at = f"[{', '.join(map(str, index))}]" if index else ""
            raise ValueError(
                f"{name}{at} = {whole_ones[index]} is no number of {dtype}, which holds every whole number up to "
                f"{largest:.0f} alone: give {'one that it holds' if dtype == 'float64' else 'it in float64'}"
            )
