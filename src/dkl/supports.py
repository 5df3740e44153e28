"""Where a distribution's density is positive: sets that contain outcomes and each other."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from dkl._array import Array, Namespace, device_of, holds, to_numpy


class Support(ABC):
    """A set of outcomes."""

    #: What it is, for messages.
    name: str

    @abstractmethod
    def contains(self, xp: Namespace, x: Array) -> Array:
        """Which outcomes are inside; without the axes of an outcome."""

    @abstractmethod
    def interior(self, xp: Namespace, x: Array) -> Array:
        """An outcome inside, broadcast against others."""

    def within(self, other: Support) -> Any:
        """Whether this set lies in the other: a boolean or an array of them; sets of another kind do not."""
        return type(self) is type(other)


@dataclass(frozen=True, eq=False)
class Interval(Support):
    """Real numbers between two bounds, which may be arrays of a batch; the bounds themselves do not matter."""

    low: Any = -math.inf
    high: Any = math.inf

    @property
    def name(self) -> str:  # type: ignore[override]
        """(low, high)."""
        return f"the interval ({_bound(self.low)}, {_bound(self.high)})"

    def contains(self, xp: Namespace, x: Array) -> Array:
        """Strictly between the bounds, or on a finite one."""
        return (x >= self.low) & (x <= self.high) & (xp.abs(x) < math.inf)

    def interior(self, xp: Namespace, x: Array) -> Array:
        """The middle, or one beside the only bound."""
        base = 0.0 * xp.where(xp.isfinite(x), x, 0.0)
        low, high = (_number(xp, b, x) + base for b in (self.low, self.high))
        some_low, some_high = xp.isfinite(low), xp.isfinite(high)
        from_low, from_high = xp.where(some_low, low, 0.0), xp.where(some_high, high, 0.0)
        beside = xp.where(some_low, from_low + 1.0, xp.where(some_high, from_high - 1.0, base))
        return xp.where(some_low & some_high, 0.5 * (from_low + from_high), beside)

    def within(self, other: Support) -> Any:
        """Both bounds inside."""
        if not isinstance(other, Interval):
            return False
        return (self.low >= other.low) & (self.high <= other.high)


@dataclass(frozen=True, eq=False)
class Integers(Support):
    """Whole numbers from one bound to another, both included."""

    low: Any = 0
    high: Any = math.inf

    @property
    def name(self) -> str:  # type: ignore[override]
        """{low, …, high}."""
        return f"the whole numbers from {_bound(self.low)} to {_bound(self.high)}"

    def contains(self, xp: Namespace, x: Array) -> Array:
        """Whole, and between the bounds."""
        return (x >= self.low) & (x <= self.high) & (x == xp.floor(x)) & (xp.abs(x) < math.inf)

    def interior(self, xp: Namespace, x: Array) -> Array:
        """The lowest."""
        return _number(xp, self.low, x) + 0.0 * xp.where(xp.isfinite(x), x, 0.0)

    def within(self, other: Support) -> Any:
        """Both bounds inside."""
        if not isinstance(other, Integers):
            return False
        return (self.low >= other.low) & (self.high <= other.high)


@dataclass(frozen=True, eq=False)
class Vectors(Support):
    """Real vectors of one length."""

    dimension: int

    @property
    def name(self) -> str:  # type: ignore[override]
        """ℝⁿ."""
        return f"the vectors of length {self.dimension}"

    def contains(self, xp: Namespace, x: Array) -> Array:
        """Of that length, and finite."""
        _hold_length(x, self.dimension)
        return xp.all(xp.isfinite(x), axis=-1)

    def interior(self, xp: Namespace, x: Array) -> Array:
        """The zero vector."""
        return xp.zeros_like(x)

    def within(self, other: Support) -> bool:
        """Of the same length."""
        return isinstance(other, Vectors) and other.dimension == self.dimension


@dataclass(frozen=True, eq=False)
class Simplex(Vectors):
    """Vectors of non-negative numbers that sum to 1."""

    @property
    def name(self) -> str:  # type: ignore[override]
        """The simplex."""
        return f"the simplex of {self.dimension} shares"

    def contains(self, xp: Namespace, x: Array) -> Array:
        """Non-negative, and summing to 1 within √ε."""
        _hold_length(x, self.dimension)
        close = xp.abs(xp.sum(x, axis=-1) - 1.0) <= math.sqrt(float(xp.finfo(x.dtype).eps))
        return xp.all(x >= 0, axis=-1) & close

    def interior(self, xp: Namespace, x: Array) -> Array:
        """Equal shares."""
        return xp.full_like(x, 1.0 / self.dimension)

    def within(self, other: Support) -> bool:
        """Itself alone."""
        return isinstance(other, Simplex) and other.dimension == self.dimension


@dataclass(frozen=True, eq=False)
class Sphere(Vectors):
    """Vectors of length 1."""

    @property
    def name(self) -> str:  # type: ignore[override]
        """The sphere."""
        return f"the unit sphere in {self.dimension} dimensions"

    def contains(self, xp: Namespace, x: Array) -> Array:
        """Of norm 1 within √ε."""
        _hold_length(x, self.dimension)
        return xp.abs(xp.sum(x * x, axis=-1) - 1.0) <= 2 * math.sqrt(float(xp.finfo(x.dtype).eps))

    def interior(self, xp: Namespace, x: Array) -> Array:
        """A vector of equal components."""
        return xp.full_like(x, 1.0 / math.sqrt(self.dimension))

    def within(self, other: Support) -> bool:
        """Itself alone."""
        return isinstance(other, Sphere) and other.dimension == self.dimension


def _hold_length(x: Array, dimension: int) -> None:
    if len(x.shape) < 1 or x.shape[-1] != dimension:
        raise ValueError(f"x of shape {tuple(x.shape)} has no last axis of length {dimension}")


def _number(xp: Namespace, bound: Any, like: Array) -> Array:
    """A bound beside outcomes; no gradient passes through the place that stands in for an outcome."""
    bound = bound.detach() if hasattr(bound, "detach") else bound
    return xp.asarray(bound, dtype=like.dtype, device=device_of(like))


def _bound(x: Any) -> str:
    if hasattr(x, "shape") and (x.shape != () or holds(x == x) is None):
        return "…"
    value = float(to_numpy(x))
    return {math.inf: "∞", -math.inf: "−∞"}.get(value, f"{value:g}")


def all_within(inner: Support, outer: Support) -> bool | None:
    """Whether one set lies in another for every distribution of the batch; None where it cannot be seen."""
    inside = inner.within(outer)
    if isinstance(inside, bool):
        return inside
    return holds(inside.all() if hasattr(inside, "all") else inside)


@dataclass(frozen=True, eq=False)
class Matrices(Support):
    """Real matrices of one shape."""

    rows: int
    columns: int

    @property
    def name(self) -> str:  # type: ignore[override]
        """ℝⁿˣᵐ."""
        return f"the matrices of {self.rows} rows and {self.columns} columns"

    def contains(self, xp: Namespace, x: Array) -> Array:
        """Of that shape, and finite."""
        if len(x.shape) < 2 or tuple(x.shape[-2:]) != (self.rows, self.columns):
            raise ValueError(f"x of shape {tuple(x.shape)} has no last two axes of lengths {self.rows}, {self.columns}")
        return xp.all(xp.isfinite(x), axis=(-2, -1))

    def interior(self, xp: Namespace, x: Array) -> Array:
        """The zero matrix."""
        return xp.zeros_like(x)

    def within(self, other: Support) -> bool:
        """Of the same shape."""
        return type(other) is Matrices and (other.rows, other.columns) == (self.rows, self.columns)


@dataclass(frozen=True, eq=False)
class PositiveDefinite(Matrices):
    """Symmetric matrices of one size whose eigenvalues are positive."""

    @property
    def name(self) -> str:  # type: ignore[override]
        """The cone."""
        return f"the positive definite matrices of {self.rows} rows"

    def contains(self, xp: Namespace, x: Array) -> Array:
        """Finite, symmetric within √ε, and positive definite beyond rounding."""
        finite = super().contains(xp, x)
        eps = float(xp.finfo(x.dtype).eps)
        safe = xp.where(finite[..., None, None], x, self.interior(xp, x))
        skew = xp.max(xp.abs(safe - xp.matrix_transpose(safe)), axis=(-2, -1))
        values = xp.linalg.eigvalsh(0.5 * (safe + xp.matrix_transpose(safe)))
        definite = values[..., 0] > self.rows * eps * values[..., -1]
        return finite & definite & (skew <= math.sqrt(eps) * xp.max(xp.abs(safe), axis=(-2, -1)))

    def interior(self, xp: Namespace, x: Array) -> Array:
        """The identity."""
        return xp.zeros_like(x) + xp.eye(self.rows, dtype=x.dtype, device=device_of(x))

    def within(self, other: Support) -> bool:
        """Among themselves, or among all matrices."""
        return isinstance(other, Matrices) and (other.rows, other.columns) == (self.rows, self.columns)
