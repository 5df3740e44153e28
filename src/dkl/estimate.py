"""The answer of a measurement: the value, how it was got, in which direction and unit, and how far to trust it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from dkl._array import Array, to_numpy


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
        return replace(self, **made, unit=unit)

    def __float__(self) -> float:
        """The value as a number; a TypeError if there are several."""
        if math.prod(self.value.shape) != 1:
            raise TypeError(f"an Estimate of {math.prod(self.value.shape)} pairs is no single number: use .value")
        return float(to_numpy(self.value).reshape(()))

    def to_dict(self) -> dict[str, Any]:
        """A form that JSON can hold: infinite values become None and ``status`` says so."""
        value = to_numpy(self.value)
        values = [None if math.isinf(v) else v for v in value.ravel().tolist()]
        infinite = any(v is None for v in values)
        return {
            "divergence": self.divergence,
            "direction": self.direction,
            "value": values[0] if value.ndim == 0 else values,
            "shape": list(value.shape),
            "status": "infinite" if infinite else "finite",
            "stderr": to_numpy(self.stderr).ravel().tolist()[0] if value.ndim == 0 else to_numpy(self.stderr).tolist(),
            "unit": self.unit,
            "error": to_numpy(self.error).ravel().tolist()[0] if value.ndim == 0 else to_numpy(self.error).tolist(),
            "method": self.method,
            "samples": self.samples,
            "reason": self.reason,
        }

    def __repr__(self) -> str:
        value = to_numpy(self.value)
        shown = f"{float(value):.6g}" if value.ndim == 0 else f"{value.size} values, shape {value.shape}"
        stderr = to_numpy(self.stderr)
        error = "" if not stderr.any() else f" ± {float(stderr.max()):.2g}{' at most' if stderr.ndim else ''}"
        bound = to_numpy(self.error)
        unit = f" {self.unit}" if self.unit else ""
        unit += "" if not bound.any() else f", numerical error below {float(bound.max()):.0e}"
        why = f"\n  {self.reason}" if self.reason else ""
        return f"Estimate({self.divergence} = {shown}{error}{unit}; {self.direction}; method {self.method}){why}"
