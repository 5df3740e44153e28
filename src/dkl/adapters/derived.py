"""Distributions made of others by a map.

A map that is one to one changes no f-divergence, for it only renames the outcomes [1, Theorem 14].

References
----------
.. [1] F. Liese, I. Vajda, "On divergences and informations in statistics and information theory", IEEE Transactions on
   Information Theory 52 (2006).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from dkl import rules
from dkl._array import Array, Namespace, device_of, to_numpy
from dkl.divergences import Divergence
from dkl.estimate import Estimate
from dkl.families.base import Distribution
from dkl.families.constraints import Constraint
from dkl.mixture import member
from dkl.rules import METHODS, rule
from dkl.supports import Integers, Interval, Support, Vectors


class Derived(Distribution):
    """A distribution whose parameters are those of another."""

    constraints: ClassVar[dict[str, Constraint]] = {}
    base: Distribution

    def _stand_on(self, base: Distribution) -> None:
        self.base, self.xp, self.dtype, self.given = base, base.xp, base.dtype, base.given

    def moved(self, xp: Namespace, like: Array) -> Self:
        """The same with the parameters of its base in another library."""
        made = super().moved(xp, like)
        made._stand_on(self.base.moved(xp, like))
        return made


class OneHot(Vectors):
    """Vectors of a 1 among zeros."""

    @property
    def name(self) -> str:  # type: ignore[override]
        """With their length."""
        return f"the one-hot vectors of length {self.dimension}"

    def contains(self, xp: Namespace, x: Array) -> Array:
        """Zeros and one 1."""
        return xp.all((x == 0) | (x == 1), axis=-1) & (xp.sum(x, axis=-1) == 1) & super().contains(xp, x)

    def interior(self, xp: Namespace, x: Array) -> Array:
        """The 1 in the first place."""
        first = xp.arange(self.dimension, device=device_of(x)) == 0
        return xp.where(first, xp.ones_like(x), xp.zeros_like(x))

    def within(self, other: Support) -> bool:
        """Itself alone."""
        return isinstance(other, OneHot) and other.dimension == self.dimension


class Image(Derived):
    """The image of a distribution under a map that is one to one.

    Two images under equal maps have the divergences of what they are images of.
    """

    #: The map: two that compare equal are the same.
    change: Any

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base!r}, {self.change!r})"


@dataclass(frozen=True, eq=False)
class Affine:
    """The map loc + scale·x of numbers, from NumPy's parameters."""

    loc: np.ndarray[Any, Any]
    scale: np.ndarray[Any, Any]

    def __eq__(self, other: object) -> bool:
        """Of equal parameters."""
        return isinstance(other, Affine) and bool(np.all(self.loc == other.loc) and np.all(self.scale == other.scale))

    __hash__ = None  # type: ignore[assignment]


class Relocated(Image):
    """The distribution of loc + scale·x.

    Parameters
    ----------
    base : Distribution
        Of the number x.
    loc, scale : array_like
        Shift and stretch, as NumPy reads them; a negative scale reflects. Whole numbers take no scale.

    Examples
    --------
    >>> import dkl
    >>> from dkl.adapters.derived import Relocated
    >>> p, q = (Relocated(dkl.families.Exponential(rate), 3.0) for rate in (1.0, 2.0))
    >>> round(float(dkl.kl(p, q)), 12)
    0.30685281944
    """

    def __init__(self, base: Distribution, loc: Any, scale: Any = 1.0) -> None:
        self._stand_on(base)
        self.change = Affine(np.asarray(loc, float), np.asarray(scale, float))
        self.batch_shape = np.broadcast_shapes(base.batch_shape, self.change.loc.shape, self.change.scale.shape)

    def _member(self, index: tuple[Any, ...]) -> Relocated:
        """The distributions at one place of the batch."""
        loc, scale = (np.broadcast_to(x, self.batch_shape)[index] for x in (self.change.loc, self.change.scale))
        return Relocated(member(self.base, index) if self.base.batch_shape else self.base, loc, scale)

    def _affine(self) -> tuple[Array, Array]:
        like = next(iter(self.parameters.values()))
        loc, scale = (
            self.xp.asarray(x, dtype=like.dtype, device=device_of(like)) for x in (self.change.loc, self.change.scale)
        )
        return loc, scale

    @property
    def support(self) -> Support:
        """The support of x, moved along."""
        inner = self.base.support
        assert isinstance(inner, Interval | Integers)
        loc, scale = self.change.loc, self.change.scale
        ends = [loc + scale * to_numpy(self.xp.asarray(end)) for end in (inner.low, inner.high)]
        like = next(iter(self.parameters.values()))
        low, high = (
            float(end) if end.ndim == 0 else self.xp.asarray(end, dtype=like.dtype, device=device_of(like))
            for end in (np.minimum(*ends), np.maximum(*ends))
        )
        return type(inner)(low, high)

    def _log_prob(self, x: Array) -> Array:
        loc, scale = self._affine()
        return self.base._log_prob((x - loc) / scale) - self.xp.log(self.xp.abs(scale))

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return self.change.loc + self.change.scale * self.base._sample(shape, rng)

    def _mean(self) -> Array:
        loc, scale = self._affine()
        return loc + scale * self.base._mean()

    def _var(self) -> Array:
        return self._affine()[1] ** 2 * self.base._var()

    def _entropy(self) -> Array:
        return self.base._entropy() + self.xp.log(self.xp.abs(self._affine()[1]))


class Transformed(Image):
    """The image under a map of another library, which knows the density and draws the outcomes.

    Parameters
    ----------
    base : Distribution
        The distribution before.
    change : object
        The map.
    log_prob : callable
        Log-density of the image at an array of outcomes.
    sample : callable
        Of a leading shape, which the batch's axes follow, and a random generator; gives NumPy's arrays.
    support : Support
        Of the image.
    batch_shape, event_shape : tuple of int
        Of the image.
    """

    def __init__(
        self,
        base: Distribution,
        change: Any,
        *,
        log_prob: Callable[[Array], Array],
        sample: Callable[[tuple[int, ...], np.random.Generator], Any],
        support: Support,
        batch_shape: tuple[int, ...],
        event_shape: tuple[int, ...],
    ) -> None:
        self._stand_on(base)
        self.change, self._image_log_prob, self._image_sample, self._image_support = change, log_prob, sample, support
        self.batch_shape, self._image_shape = batch_shape, event_shape
        self.__dict__["event_ndim"] = len(event_shape)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """As it was given."""
        return self._image_shape

    @property
    def support(self) -> Support:
        """As it was given."""
        return self._image_support

    def _member(self, index: tuple[Any, ...]) -> Transformed:
        """The image at one place of the batch."""
        log_prob, sample, support = one_of_batch(
            self._image_log_prob, self._image_sample, self.support, self.batch_shape, index, self.event_ndim
        )
        assert sample is not None
        return Transformed(
            member(self.base, index),
            self.change,
            log_prob=log_prob,
            sample=sample,
            support=support,
            batch_shape=np.empty(self.batch_shape)[index].shape,
            event_shape=self.event_shape,
        )

    def _log_prob(self, x: Array) -> Array:
        return self._image_log_prob(x)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        # The batch's axes follow by themselves.
        return self._image_sample(shape[: len(shape) - len(self.batch_shape)], rng)


def one_of_batch(
    log_prob: Callable[[Array], Array],
    draw: Callable[[tuple[int, ...], np.random.Generator], Any] | None,
    support: Support,
    shape: tuple[int, ...],
    index: tuple[Any, ...],
    event_ndim: int,
) -> tuple[Callable[[Array], Array], Callable[[tuple[int, ...], np.random.Generator], Any] | None, Support]:
    """Density, draws and support at a place of a batch that can only be asked as a whole: each outcome goes to all."""
    rest = len(shape) - sum(i is not ... for i in index)
    index = tuple(k for i in index for k in ((slice(None),) * rest if i is ... else (i,)))
    if not all(i == slice(None) if isinstance(i, slice) else isinstance(i, int | np.integer) for i in index):
        raise NotImplementedError(f"{index} names no places of a batch of shape {shape} by whole axes")
    event = (slice(None),) * event_ndim
    beside = tuple(i if isinstance(i, slice) else None for i in index)

    def at(x: Array) -> Array:
        return log_prob(x[(..., *beside, *event)])[(..., *index)]

    def drawn(leading: tuple[int, ...], rng: np.random.Generator) -> Any:
        assert draw is not None
        return draw(leading, rng)[(..., *index, *event)]

    if isinstance(support, Interval | Integers):
        low, high = (end[index] if getattr(end, "shape", ()) else end for end in (support.low, support.high))
        support = type(support)(low, high)
    return at, None if draw is None else drawn, support


def of_bases(divergence: Divergence, p: Any, q: Any, method: str, options: dict[str, Any]) -> Estimate | None:
    """The divergence of what two distributions are made of, by one method; None where it has no answer."""
    bases = (p.base.measured_as(), q.base.measured_as())
    try:
        found = rules.find(divergence.name, type(divergence), type(bases[0]), type(bases[1]), method)
    except TypeError:
        return None
    answers = (measured(divergence, *bases, **options) for measured in found)
    return next((answer for answer in answers if answer is not None), None)


def _same_change(method: str) -> None:
    @rule(Divergence, Image, Image, method)
    def measured(divergence: Divergence, p: Any, q: Any, **options: Any) -> Estimate | None:
        same = p.change == q.change and p.event_shape == q.event_shape
        return of_bases(divergence, p, q, method, options) if same else None


for _method in METHODS:
    _same_change(_method)
