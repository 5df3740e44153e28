"""Anybody's own f-divergence, from its generator and its two limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dkl._array import Array
from dkl.divergences.base import Csiszar
from dkl.pairs import Outcomes


@dataclass(frozen=True)
class FDivergence(Csiszar):
    """Anybody's own f-divergence Σ q·f(p/q).

    Parameters
    ----------
    name : str
        What reports call it.
    f : callable
        The generator: convex on t > 0 with f(1) = 0, elementwise on arrays of the library it is used with. Write it
        with f'(1) = 0 (add a multiple of t − 1) if its terms are to be non-negative one by one.
    f_zero : float
        lim f(t) for t → 0; inf if there is none. Mandatory: without it mass outside P's support would be lost.
    slope_inf : float
        lim f(t)/t for t → ∞; likewise for Q's support.
    conjugate : callable, optional
        sup over t ≥ 0 of u·t − f(t), elementwise. Without it the supremum is found numerically, on NumPy arrays.

    Raises
    ------
    ValueError
        If f(1) is not 0 or a limit is NaN or −inf.

    Notes
    -----
    Its terms are computed as written; P and Q that nearly agree keep only the digits that f itself keeps near t = 1.

    Examples
    --------
    >>> import dkl
    >>> hockey = dkl.FDivergence("hockey_stick", lambda t: (t - 2) * (t > 2), f_zero=0.0, slope_inf=1.0)
    >>> float(hockey([0.9, 0.1], [0.3, 0.7]))  # doctest: +ELLIPSIS
    0.3...
    """

    name: str
    f: Callable[[Any], Any]
    f_zero: float
    slope_inf: float
    conjugate: Any = None
    symmetric: bool = False

    def __post_init__(self) -> None:
        for limit in ("f_zero", "slope_inf"):
            value = getattr(self, limit)
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float))
                or math.isnan(value)
                or value == -math.inf
            ):
                raise ValueError(f"{limit} = {value!r} is no limit of a convex function: give a number or math.inf")
        at_one = float(self.f(np.ones(1))[0])
        if not abs(at_one) <= 1e-12:
            raise ValueError(
                f"f(1) = {at_one:.6g}, but a divergence between equal distributions is 0: subtract it from f"
            )
        if self.conjugate is None:
            object.__setattr__(self, "conjugate", self._numeric_conjugate)

    @property
    def symbol(self) -> str:
        """name(P‖Q)."""
        return f"{self.name}(P‖Q)"

    @property
    def direction(self) -> str:
        """Of P relative to Q."""
        return "symmetric in P and Q" if self.symmetric else "of P relative to Q: the mean of f(p/q) under Q"

    def inside(self, shared: Outcomes) -> Array:
        """q·f(p/q), by its slope at infinity where p/q leaves the floating range."""
        xp = shared.xp
        far = shared.log_ratio > math.log(float(xp.finfo(shared.p.dtype).max)) - 1
        ratio = xp.where(far, 1.0, xp.exp(xp.where(far, 0.0, shared.log_ratio)))
        overflow = xp.isinf(self.f(ratio))
        slope = shared.p * self.slope_inf if math.isfinite(self.slope_inf) else xp.full_like(shared.p, math.inf)
        inside = shared.q * self.f(xp.where(overflow, 1.0, ratio))
        return xp.where(far, slope, xp.where(overflow, math.inf, inside))

    def _numeric_conjugate(self, u: Any) -> Any:
        """Sup over t of u·t − f(t), by bounded search in log t; about half the digits of a float."""
        from scipy.optimize import minimize_scalar

        def at(v: float) -> float:
            if v > self.slope_inf:
                return math.inf
            best = minimize_scalar(
                lambda s: float(self.f(np.exp([s]))[0]) - v * math.exp(s),
                bounds=(-40.0, 40.0),
                method="bounded",
                options={"xatol": 1e-10},
            )
            return max(-float(best.fun), -self.f_zero)

        return np.vectorize(at, otypes=[float])(u)
