"""Anybody's own f-divergence, from its generator and its two limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dkl._array import Array, Namespace, device_of, holds, real_number, to_numpy
from dkl.divergences.base import Csiszar
from dkl.pairs import Outcomes

# Where f is held to its claims; 1 is one of the points.
_GRID = np.append(np.logspace(-4, 4, 65)[:32], np.append(1.0, np.logspace(-4, 4, 65)[33:]))


def _times(xp: Namespace, positive: Array, limit: float) -> Array:
    """A positive number times a limit; infinite with gradient 0 where that is."""
    return positive * limit if math.isfinite(limit) else xp.full_like(positive, math.inf)


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
        If a limit is NaN or −inf; and when it is first used, if f(1) is not 0, f is not convex on a grid from 1e-4 to
        1e4, or exceeds there what its limits allow.

    Notes
    -----
    Its terms are computed as written; P and Q that nearly agree keep only the digits that f itself keeps near t = 1.

    Examples
    --------
    >>> import dkl
    >>> hockey = dkl.FDivergence("hockey_stick", lambda t: (t - 2) * (t > 2), f_zero=0.0, slope_inf=1.0)
    >>> float(hockey([0.9, 0.1], [0.3, 0.7]))  # doctest: +ELLIPSIS
    0.3...

    For PyTorch or JAX, write f in that library:

    >>> import torch
    >>> mine = dkl.FDivergence("kl", lambda t: t * torch.log(t), f_zero=0.0, slope_inf=float("inf"))
    >>> mine(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75]))
    tensor(0.1438)
    """

    name: str
    f: Callable[[Any], Any]
    f_zero: float
    slope_inf: float
    conjugate: Any = None
    symmetric: bool = False

    def __post_init__(self) -> None:
        for limit in ("f_zero", "slope_inf"):
            value = real_number(getattr(self, limit), limit)
            if not value > -math.inf:
                raise ValueError(f"{limit} = {value} is no limit of a convex function: give a number or math.inf")
            object.__setattr__(self, limit, value)
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
        """q·f(p/q), by its limits at 0 and infinity where p/q, or a step of f, leaves the floating range."""
        xp = shared.xp
        self._check(xp, shared.p)
        limits = xp.finfo(shared.p.dtype)
        far = shared.log_ratio > math.log(float(limits.max)) - 1
        none = shared.log_ratio < math.log(float(limits.smallest_normal))
        outside = far | none
        ratio = xp.exp(xp.where(outside, 0.0, shared.log_ratio))
        # f itself lies below the line that its limits span: it is a step on its way that overflows.
        outside = outside | ~xp.isfinite(self.f(ratio))
        inside = shared.q * self.f(xp.where(outside, 1.0, ratio))
        large = shared.log_ratio > 0
        edge = xp.where(large, _times(xp, shared.p, self.slope_inf), _times(xp, shared.q, self.f_zero))
        return xp.where(outside, edge, inside)

    def _check(self, xp: Namespace, like: Array) -> None:
        """Hold f to what it claims on a grid, in the library that it was written for: f(1) = 0, convex, both limits."""
        if holds(xp.any(like >= 0)) is None:
            return
        t = xp.asarray(_GRID, dtype=like.dtype, device=device_of(like))
        values = self.f(t)
        if tuple(getattr(values, "shape", ())) != tuple(t.shape):
            raise TypeError(f"f must be elementwise: of {t.shape[0]} numbers it made {values!r:.60}")
        f = to_numpy(values).astype(float)
        grid = to_numpy(t).astype(float)
        slack = 64 * float(xp.finfo(like.dtype).eps) * (1 + np.abs(f))
        one = int(np.flatnonzero(grid == 1)[0])
        if not abs(f[one]) <= slack[one]:
            raise ValueError(f"f(1) = {f[one]:.6g}, but the divergence of equal distributions is 0: subtract it from f")
        bad = ~np.isfinite(f)
        if bad.any():
            raise ValueError(f"f({grid[bad][0]:.6g}) = {f[bad][0]}: f must be finite for 0 < t < ∞")
        left, right = grid[1:-1] - grid[:-2], grid[2:] - grid[1:-1]
        chord = (right * f[:-2] + left * f[2:]) / (left + right)
        above = f[1:-1] > chord + slack[1:-1] + slack[2:]
        if above.any():
            raise ValueError(f"f is not convex near t = {grid[1:-1][above][0]:.6g}, so it makes no divergence")
        # Convexity puts f below the line that both limits span.
        line = self.f_zero + self.slope_inf * grid
        over = f > line + slack
        if over.any():
            raise ValueError(
                f"f({grid[over][0]:.6g}) = {f[over][0]:.6g} exceeds f_zero + slope_inf·t = {line[over][0]:.6g}: "
                "a limit is too small"
            )

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
