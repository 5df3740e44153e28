"""The answer of a measurement: the value, how it was got, in which direction and unit, and how far to trust it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dkl._array import Array, to_numpy

# Of a larger batch repr shows both ends.
_SHOWN = 8


@dataclass(frozen=True, eq=False)
class Estimate:
    """A measured divergence.

    Attributes
    ----------
    value : array or scalar
        The divergence, of the inputs' own array library; one number for each pair.
    stderr : array or scalar
        Its standard error, in the same unit; 0 for a method without sampling error.
    method : str
        How it was got: ``"exact"``, ...
    divergence : str
        The name of what was measured, such as ``"kl"``.
    direction : str
        Which way it points, in words.
    unit : str
        ``"nats"``, ``"bits"``, ``"base-b"`` or ``""`` for a pure number.
    reason : str or None
        Why the value is infinite, naming the outcomes and the mass they carry; None where it is finite.
    error : array or scalar
        A bound, in the same unit, of what a numerical method without sampling error may have left out; 0 for a formula.
    samples : int or None
        How many samples were drawn; None for a method without any.
    warning : str or None
        Why the value or its error cannot be trusted, as it was also warned of; None where nothing speaks against it.
    bounds : tuple of two arrays or scalars, or None
        Numbers between which the divergence lies for certain, in the same unit, beside a value that was sampled; None
        where none are known. NumPy's, right but for rounding.

    Examples
    --------
    >>> import dkl
    >>> e = dkl.measure([0.7, 0.2, 0.1], [0.8, 0.2, 0.0])
    >>> float(e)
    inf
    >>> print(e.reason)
    KL(P‖Q) is infinite: Q gives probability 0 to outcome 2, where P has 0.1.
    """

    value: Array
    stderr: Array
    method: str
    divergence: str
    direction: str
    unit: str
    reason: str | None = None
    error: Array = 0.0
    samples: int | None = None
    warning: str | None = None
    bounds: tuple[Array, Array] | None = None

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """A two-sided confidence interval: value ± (z·stderr + error) by the normal approximation, floored at 0.

        Parameters
        ----------
        level : float
            Coverage, in (0, 1).

        Returns
        -------
        low, high : array or scalar
            Equal to the value where the standard error and the error are 0.

        Notes
        -----
        The interval speaks of the samples alone: ``bounds``, where there are any, hold for certain, and the divergence
        lies in both.
        """
        if not 0 < level < 1:
            raise ValueError(f"level = {level!r} is not a coverage: it lies strictly between 0 and 1")
        from scipy.special import ndtri

        reach = float(ndtri(0.5 + level / 2)) * self.stderr + self.error
        low = self.value - reach
        return low * (low > 0), self.value + reach

    def rescaled(self, size: float, unit: str) -> Estimate:
        """The same in a unit of that size, in today's unit."""
        made = {name: getattr(self, name) / size for name in ("value", "stderr", "error")}
        bounds = None if self.bounds is None else (self.bounds[0] / size, self.bounds[1] / size)
        return replace(self, **made, bounds=bounds, unit=unit)

    def __float__(self) -> float:
        """The value as a number; a TypeError if there are several."""
        if math.prod(self.value.shape) != 1:
            raise TypeError(f"an Estimate of {math.prod(self.value.shape)} pairs is no single number: use .value")
        return float(to_numpy(self.value).reshape(()))

    def to_dict(self) -> dict[str, Any]:
        """A form that JSON can hold: infinite values become None and ``status`` says so.

        Returns
        -------
        dict
            ``value``, ``status``, ``stderr``, ``error`` and the two of ``bounds`` are one number (or word) for a single
            pair; for a batch, lists with one for each pair, in the order of its flattened ``shape``.
        """
        shape = tuple(self.value.shape)

        def listed(x: Any) -> Any:
            numbers = [v if math.isfinite(v) else None for v in np.broadcast_to(to_numpy(x), shape).ravel().tolist()]
            return numbers if shape else numbers[0]

        value = listed(self.value)
        status = ["infinite" if v is None else "finite" for v in (value if shape else [value])]
        return {
            "divergence": self.divergence,
            "direction": self.direction,
            "value": value,
            "shape": list(shape),
            "status": status if shape else status[0],
            "stderr": listed(self.stderr),
            "unit": self.unit,
            "error": listed(self.error),
            "bounds": None if self.bounds is None else [listed(bound) for bound in self.bounds],
            "method": self.method,
            "samples": self.samples,
            "reason": self.reason,
            "warning": self.warning,
        }

    def __repr__(self) -> str:
        value = to_numpy(self.value)
        shown = f"{float(value):.6g}" if value.ndim == 0 else _listed(value)
        stderr = to_numpy(self.stderr)
        error = "" if not stderr.any() else f" ± {float(stderr.max()):.2g}{' at most' if stderr.ndim else ''}"
        bound = to_numpy(self.error)
        unit = f" {self.unit}" if self.unit else ""
        unit += "" if not bound.any() else f", numerical error below {float(bound.max()):.0e}"
        if self.bounds is not None:
            low, high = (to_numpy(x) for x in self.bounds)
            unit += f", for certain between {_outer(low, -1)} and {_outer(high, 1)}"
        more = "".join(f"\n  {line}" for line in (self.reason, self.warning) if line)
        return f"Estimate({self.divergence} = {shown}{error}{unit}; {self.direction}; method {self.method}){more}"


def among(value: Array, reason: str) -> str:
    """The reason of an infinity, with how many members of a batch are infinite, and the first of them."""
    infinite = np.isinf(to_numpy(value))
    if infinite.ndim == 0 or not infinite.any():
        return reason
    first = [int(i) for i in np.argwhere(infinite)[0]]
    index = first[0] if len(first) == 1 else tuple(first)
    return f"{reason} Infinite in {infinite.sum()} of {infinite.size} pairs, the first at index {index}."


def _listed(values: np.ndarray[Any, Any]) -> str:
    """The numbers of a batch, those in the middle of a long one left out, and its shape."""
    text = np.array2string(
        values, separator=", ", threshold=_SHOWN, edgeitems=3, formatter={"float_kind": lambda v: f"{v:.6g}"}
    )
    return f"{' '.join(text.split())} of shape {values.shape}"


def _outer(bounds: np.ndarray[Any, Any], side: int) -> str:
    """A bound in four digits, rounded outwards; those of a batch as a list."""
    if bounds.ndim:
        return _listed(bounds)
    number = float(bounds)
    if number == 0 or math.isinf(number):
        return f"{number:g}"
    step = 10.0 ** (math.floor(math.log10(number)) - 3)
    return f"{(math.ceil if side > 0 else math.floor)(number / step) * step:.4g}"
