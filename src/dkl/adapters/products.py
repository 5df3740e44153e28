"""Independent distributions side by side.

Independent copies add the divergences that are logarithms of the power integral ∫ p^a q^(1−a), for the integral over
a product is the product of the integrals [1, Theorem 28].

References
----------
.. [1] T. van Erven, P. Harremoës, "Rényi divergence and Kullback-Leibler divergence", IEEE Transactions on
   Information Theory 60 (2014).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dkl._array import Array, Namespace, as_scalar, holds, namespace_of, overflowing, root
from dkl.adapters.derived import Derived, of_bases
from dkl.density import Density
from dkl.divergences import Bhattacharyya, Divergence, Hellinger, Jeffreys, Power, Renyi
from dkl.estimate import Estimate
from dkl.families.base import Distribution
from dkl.families.multivariate import DiagonalNormal
from dkl.families.normal import Normal
from dkl.mixture import member
from dkl.rules import METHODS, rule
from dkl.supports import Interval, Support, Vectors


class Product(Derived):
    """Independent outcomes side by side: the last axes of a batch read as axes of one outcome.

    Parameters
    ----------
    base : Distribution
        A batch of distributions.
    axes : int
        How many of its last axes are joined.

    Examples
    --------
    >>> import dkl
    >>> from dkl.adapters.products import Product
    >>> p = Product(dkl.families.Normal([0.0, 0.0], 1.0), 1)
    >>> float(dkl.kl(p, Product(dkl.families.Normal([1.0, 2.0], 1.0), 1)))
    2.5
    """

    def __init__(self, base: Distribution, axes: int) -> None:
        if not 0 < axes <= len(base.batch_shape):
            raise ValueError(f"Product: axes = {axes} of a batch of shape {base.batch_shape}: give 1 or more of them")
        self._stand_on(base)
        self.axes = axes
        self.batch_shape = base.batch_shape[:-axes]
        # In this family alone it depends on the member.
        self.__dict__["event_ndim"] = axes + base.event_ndim

    def __repr__(self) -> str:
        return f"Product({self.base!r}, axes={self.axes})"

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The joined axes and the base's own."""
        return (*self.base.batch_shape[-self.axes :], *self.base.event_shape)

    @property
    def support(self) -> Support:
        """The product of the supports."""
        return cells(self.base.support, self.base.batch_shape, self.axes)

    def _member(self, index: tuple[Any, ...]) -> Product:
        """The products at one place of the batch."""
        return Product(member(self.base, (*index, *(slice(None),) * self.axes)), self.axes)

    def _log_prob(self, x: Array) -> Array:
        return _summed(self.xp, self.base._log_prob(x), self.base.batch_shape, self.axes)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return self.base._sample((*shape, *self.base.batch_shape[-self.axes :]), rng)

    def _handed_back(self, x: Array) -> Any:
        return as_scalar(self.xp.astype(x, self.dtype))

    def _mean(self) -> Array:
        return self.xp.broadcast_to(self.base._mean(), (*self.batch_shape, *self.event_shape))

    def _var(self) -> Array:
        return self.xp.broadcast_to(self.base._var(), (*self.batch_shape, *self.event_shape))

    def _entropy(self) -> Array:
        return _summed(self.xp, self.base._entropy(), self.base.batch_shape, self.axes)


def _summed(xp: Namespace, x: Array, batch: tuple[int, ...], axes: int) -> Array:
    """The sum over the last axes, of an array that is constant along those it lacks."""
    x = xp.broadcast_to(x, np.broadcast_shapes(tuple(x.shape), batch))
    return xp.sum(x, axis=tuple(range(-axes, 0)))


def cells(cell: Support, batch: tuple[int, ...], axes: int) -> Support:
    """The set of arrays of the last ``axes`` of a batch, each of whose cells lies in its own set."""
    if axes == 1 and type(cell) is Interval and cell.name == Interval().name:
        return Vectors(batch[-1])
    return _Cells(cell, batch, axes)


@dataclass(frozen=True, eq=False)
class _Cells(Support):
    """Arrays each of whose cells lies in its own set."""

    cell: Support
    batch: tuple[int, ...]
    axes: int

    @property
    def name(self) -> str:  # type: ignore[override]
        """As many as there are cells."""
        return f"arrays of shape {self.batch[-self.axes :]} from {self.cell.name}"

    def contains(self, xp: Namespace, x: Array) -> Array:
        """All cells inside."""
        return xp.all(self.cell.contains(xp, x), axis=tuple(range(-self.axes, 0)))

    def interior(self, xp: Namespace, x: Array) -> Array:
        """Each cell inside."""
        return self.cell.interior(xp, x)

    def within(self, other: Support) -> Any:
        """All cells within; vectors of any numbers hold those of some."""
        if type(other) is Vectors:
            return self.axes == 1 and isinstance(self.cell, Interval) and self.batch[-1] == other.dimension
        if not isinstance(other, _Cells) or other.axes != self.axes:
            return False
        inside = self.cell.within(other.cell)
        if isinstance(inside, bool) or not hasattr(inside, "shape") or inside.shape == ():
            return inside
        # Along an axis that it lacks, every cell is alike.
        return inside.all(tuple(range(-min(self.axes, len(inside.shape)), 0)))


def independent(base: Any, axes: int) -> Distribution | None:
    """The last axes of a batch as axes of one outcome; a vector of normal numbers as the normal vector that it is.

    None of what is no distribution, or a density, which no longer tells its cells apart.
    """
    if not isinstance(base, Distribution) or isinstance(base, Density):
        return None
    if axes == 0:
        return base
    if isinstance(base, Product):
        return Product(base.base, axes + base.axes)
    if type(base) is not Normal or axes > 1:
        return Product(base, axes)
    wide = {name: base.xp.broadcast_to(x, base.batch_shape) for name, x in base.given.items()}
    return DiagonalNormal(**wide)


def _additive(divergence: Any) -> tuple[Divergence, bool, Callable[[Namespace, Array], Array]] | None:
    """What of a divergence adds up over independent pairs, with its sides exchanged or not, and the way back."""
    kl = isinstance(divergence, Power) and divergence.order in (0, 1)
    if kl or isinstance(divergence, Jeffreys | Bhattacharyya | Renyi):
        return divergence, False, lambda xp, total: total
    if isinstance(divergence, Hellinger):
        return Bhattacharyya(), False, lambda xp, total: root(xp, -xp.expm1(-total))
    if isinstance(divergence, Power):
        # ∫ p^a q^(1−a) = exp((a − 1)·Rényi of order a); for negative a the orders and sides are exchanged.
        a = divergence.order if divergence.order > 0 else 1.0 - divergence.order
        scale = divergence.scale / (a * (a - 1.0))
        return Renyi(a), divergence.order < 0, lambda xp, total: scale * xp.expm1((a - 1.0) * total)
    return None


def _product_of(method: str) -> None:
    @rule(Divergence, Product, Product, method)
    @overflowing
    def measured(divergence: Divergence, p: Any, q: Any, **options: Any) -> Estimate | None:
        additive = _additive(divergence)
        if additive is None or p.event_shape != q.event_shape or p.axes != q.axes:
            return None
        part, exchanged, back = additive
        each = of_bases(part, *((q, p) if exchanged else (p, q)), method, options)
        if each is None:
            return None
        xp = namespace_of(value=each.value)
        batch = np.broadcast_shapes(p.base.batch_shape, q.base.batch_shape)
        total, spread = _summed(xp, each.value, batch, p.axes), each.stderr
        if hasattr(spread, "shape"):
            spread = xp.sqrt(_summed(xp, spread**2, batch, p.axes))
        value = total if part is divergence else back(xp, total)
        if part is not divergence and hasattr(spread, "shape"):
            finite = xp.where(xp.isfinite(total), total, 0.0)
            spread = xp.abs(back(xp, finite + spread) - back(xp, finite))
        return replace(
            each,
            value=as_scalar(value),
            stderr=as_scalar(xp.where(xp.isfinite(value), spread, 0.0 * spread))
            if hasattr(spread, "shape")
            else spread,
            divergence=divergence.name,
            direction=divergence.direction,
            unit=divergence.unit,
            reason=each.reason if holds(xp.any(xp.isinf(value))) else None,
        )


for _method in METHODS:
    if _method != "monte_carlo":
        _product_of(_method)
