"""Mixtures of distributions: densities that are weighted sums."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from dkl._array import Array, as_array, as_scalar, epsilon, holds, logsumexp, to_numpy
from dkl.density import Unsaid
from dkl.families.base import Distribution, beside
from dkl.families.constraints import Constraint
from dkl.families.exponential import ExponentialFamily
from dkl.mixture.family import MixtureFamily
from dkl.supports import Integers, Interval, Support

# The most numbers that a log-density of a mixture holds at once.
_BLOCK = 1 << 22

# A mixture of more components is told by their number and kind alone.
_TOLD = 4

share = Constraint("a non-negative number", lambda xp, x: (x >= 0) & xp.isfinite(x), ndim=1)


class Mixture(Distribution):
    """The distribution with density Σ w_k·p_k.

    Parameters
    ----------
    components : Distribution or sequence of Distribution
        One batch of distributions, its last axis that of the components, or a list of them, of one kind or of several.
    weights : array_like
        Their weights, along the last axis: non-negative, summing to 1.

    Raises
    ------
    ValueError
        If a weight is negative or not finite, weights do not sum to 1 within √ε of their dtype (1.5e-8 in float64), or
        there are not as many of them as components.
    TypeError
        If the components are no distributions, or those of a list have outcomes of different shapes.

    Examples
    --------
    >>> import dkl
    >>> from dkl.mixture import Mixture
    >>> m = Mixture(dkl.families.Normal([-1.0, 1.0], [1.0, 1.0]), [0.5, 0.5])
    >>> float(m.mean()), float(m.var())
    (0.0, 2.0)
    """

    constraints: ClassVar[dict[str, Constraint]] = {"weights": share}

    def __init__(self, components: Distribution | Sequence[Distribution], weights: Any) -> None:
        parts = _gathered(components)
        first = parts if isinstance(parts, Distribution) else parts[0]
        like = next(iter(first.parameters.values()), None)
        super().__init__(weights=as_array(first.xp, weights, "Mixture: weights", like=like))
        self.dtype = first.dtype
        self._parts = parts
        count = parts.batch_shape[-1] if isinstance(parts, Distribution) else len(parts)
        given = self.parameters["weights"].shape[-1]
        if given != count:
            raise ValueError(f"Mixture: {given} weights for {count} components")
        total = self.xp.sum(self.parameters["weights"], axis=-1)
        close = self.xp.abs(total - 1.0) <= math.sqrt(epsilon(self.xp, self.given["weights"].dtype))
        if holds(self.xp.all(close)) is False:
            worst = to_numpy(total)[~to_numpy(close)].ravel()[0]
            raise ValueError(f"Mixture: the weights sum to {worst:.9g}, not to 1: divide them by their sum")
        own = [parts.batch_shape[:-1]] if isinstance(parts, Distribution) else [c.batch_shape for c in parts]
        self.batch_shape = np.broadcast_shapes(self.batch_shape, *own)

    @staticmethod
    def of(family: type[Any], components: int) -> MixtureFamily:
        """The family of the mixtures of so many members of a family, for :func:`dkl.fit`.

        Parameters
        ----------
        family : type
            A class of ``dkl.families``.
        components : int
            How many components there are, at least 1.

        Returns
        -------
        MixtureFamily

        Raises
        ------
        ValueError
            If ``components`` is no whole number of at least 1.
        TypeError
            If ``family`` is no class of distributions with parameters, or is that of mixtures.

        Examples
        --------
        >>> import dkl
        >>> dkl.Mixture.of(dkl.families.Gamma, 2)
        Mixture.of(Gamma, 2)
        """
        return MixtureFamily(family, components)

    def _check(self, name: str, x: Array) -> None:
        super()._check(name, x)
        if x.shape[-1] == 0:
            raise ValueError("Mixture: weights is empty: a mixture needs at least one component")

    @property
    def event_ndim(self) -> int:  # type: ignore[override]
        """That of the components."""
        return len(self.event_shape)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """That of the components."""
        return (self._parts if isinstance(self._parts, Distribution) else self._parts[0]).event_shape

    @property
    def components(self) -> Any:
        """The components: one batch, its last axis theirs, or a list."""
        return self._parts

    @cached_property
    def each(self) -> list[Distribution]:
        """The components one by one, each over the batch."""
        if not isinstance(self._parts, Distribution):
            return list(self._parts)
        return [member(self._parts, (..., k)) for k in range(self._parts.batch_shape[-1])]

    @property
    def can_sample(self) -> bool:
        """Whether every component can be drawn from."""
        return all(getattr(c, "can_sample", True) for c in self.each)

    @property
    def support(self) -> Support:
        """The hull of the components' supports: the density may vanish in gaps between them."""
        some = self.parameters["weights"] > 0
        if isinstance(self._parts, Distribution):
            own = self._parts.support
            if not isinstance(own, Interval | Integers):
                return own
            return type(own)(self._outermost(own.low, some, math.inf), self._outermost(own.high, some, -math.inf))
        carried = [bool(to_numpy(some[..., k]).any()) for k in range(len(self._parts))]
        supports = [c.support for c, has in zip(self._parts, carried, strict=True) if has]
        hull = supports[0]
        for s in supports[1:]:
            hull = _hull(hull, s)
        return hull

    def _outermost(self, bound: Any, some: Array, beyond: float) -> Any:
        """The least or greatest bound of the components that have a weight, for each mixture of the batch."""
        if getattr(bound, "shape", ()) == ():
            return bound
        kept = self.xp.where(some, bound, beyond)
        return self.xp.min(kept, axis=-1) if beyond > 0 else self.xp.max(kept, axis=-1)

    def _log_weights(self) -> Array:
        w, xp = self.parameters["weights"], self.xp
        some = w > 0
        return xp.where(some, xp.log(xp.where(some, w, 1.0)), -math.inf)

    def log_prob(self, x: Any) -> Any:
        """The logarithm of the density; −inf where every component has none.

        Parameters
        ----------
        x : array_like
            Outcomes; their leading axes broadcast against the batch.

        Returns
        -------
        array or scalar
        """
        like = self.parameters["weights"]
        x = self.xp.astype(as_array(self.xp, x, "x", like=like), like.dtype)
        # A long list of outcomes goes in pieces: each stands beside every component.
        size = math.prod(x.shape) * self.parameters["weights"].shape[-1]
        leading = len(x.shape) - self.event_ndim - len(self.batch_shape)
        if size <= _BLOCK or leading < 1:
            return self._handed_back(self._log_prob(x))
        step = max(1, x.shape[0] * _BLOCK // size)
        pieces = [self._log_prob(x[at : at + step, ...]) for at in range(0, x.shape[0], step)]
        return self._handed_back(self.xp.concat(pieces, axis=0))

    def _handed_back(self, x: Array) -> Any:
        return as_scalar(self.xp.astype(x, self.dtype))

    def _log_prob(self, x: Array) -> Array:
        xp = self.xp
        if isinstance(self._parts, Distribution):
            logs = self._parts.log_prob(xp.expand_dims(x, axis=-1 - self.event_ndim))
        else:
            logs = xp.stack(xp.broadcast_arrays(*(c.log_prob(x) for c in self._parts)), axis=-1)
        return logsumexp(xp, xp.astype(logs, x.dtype) + self._log_weights())

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        leading = shape[: len(shape) - len(self.batch_shape)]
        n = math.prod(leading)
        weights = np.broadcast_to(self.numbers("weights"), (*self.batch_shape, self.numbers("weights").shape[-1]))
        drawn = np.empty((n, *self.batch_shape, *self.event_shape))
        for row in np.ndindex(*self.batch_shape):
            w = weights[row] / weights[row].sum()
            counts = rng.multinomial(n, w)
            here = [
                np.asarray(to_numpy(member(self.each[k], row).sample(int(c), rng=rng)))
                for k, c in enumerate(counts)
                if c
            ]
            joined = np.concatenate(here) if here else np.empty((0, *self.event_shape))
            drawn[(slice(None), *row)] = joined[rng.permutation(n)]
        return drawn.reshape(*leading, *self.batch_shape, *self.event_shape)

    def _moment(self, values: list[Any]) -> Array:
        xp = self.xp
        w = self.parameters["weights"]
        total = None
        for k, value in enumerate(values):
            term = w[(..., k, *(None,) * self.event_ndim)] * xp.astype(value, w.dtype)
            total = term if total is None else total + term
        return total

    def _mean(self) -> Array:
        return self._moment([c.mean() for c in self.each])

    def _var(self) -> Array:
        """The mean of the variances and the variance of the means, of each number of an outcome."""
        mean = self._mean()
        return self._moment([c.var() + (c.mean() - mean) ** 2 for c in self.each])

    def _member(self, index: tuple[Any, ...]) -> Mixture:
        weights = self.parameters["weights"]
        whole = self.xp.broadcast_to(weights, (*self.batch_shape, weights.shape[-1]))
        # The last axis of a batch of components is no part of the mixture's.
        here = whole[(*index, slice(None))]
        made: Mixture = remade(self, {"weights": here}, tuple(here.shape[:-1]))
        if isinstance(self._parts, Distribution):
            wide = broadcast(self._parts, (*self.batch_shape, self._parts.batch_shape[-1]))
            made._parts = member(wide, (*index, slice(None)))
        else:
            made._parts = [member(broadcast(c, self.batch_shape), index) for c in self._parts]
        return made

    def moved(self, xp: Any, like: Array) -> Self:
        """The same mixture in another library."""
        made = super().moved(xp, like)
        made.__dict__.pop("each", None)
        if isinstance(self._parts, Distribution):
            made._parts = self._parts.moved(xp, like)
        else:
            made._parts = [c.moved(xp, like) for c in self._parts]
        return made

    def __repr__(self) -> str:
        weights = self.numbers("weights")
        if self.batch_shape or len(weights) > _TOLD:
            kinds = " or ".join(sorted({type(c).__name__ for c in self.each}))
            batch = f", a batch of shape {self.batch_shape}" if self.batch_shape else ""
            return f"Mixture({len(self.each)} × {kinds}{batch})"
        return f"Mixture({' + '.join(f'{w:.6g}*{c!r}' for w, c in zip(weights, self.each, strict=True))})"


def _gathered(components: Any) -> Distribution | list[Distribution]:
    """One batch where that can be, else the list."""
    if isinstance(components, Distribution):
        if not components.batch_shape:
            raise TypeError(
                f"Mixture: {components!r} is one distribution: give a list, or a batch whose last axis is that of "
                "the components"
            )
        return components
    parts = list(components)
    if not parts:
        raise ValueError("Mixture: components is empty: a mixture needs at least one")
    for k, part in enumerate(parts):
        if not isinstance(part, Distribution):
            raise TypeError(f"Mixture: components[{k}] is a {type(part).__name__}, not a distribution")
        if part.event_shape != parts[0].event_shape:
            raise TypeError(
                f"Mixture: components[{k}] has outcomes of shape {part.event_shape}, components[0] of "
                f"{parts[0].event_shape}"
            )
        if isinstance(part.support, Integers) != isinstance(parts[0].support, Integers):
            raise TypeError(
                f"Mixture: components[{k}] lives on {part.support.name} and components[0] on {parts[0].support.name}: "
                "a mixture is discrete or continuous"
            )
    spaces = [p for p in parts if p.parameters]
    for k, part in enumerate(parts):
        if spaces and part.xp is not spaces[0].xp:
            parts[k] = beside(part, spaces[0])[0]
    first = parts[0]
    alike = all(type(p) is type(first) and p.parameters.keys() == first.parameters.keys() for p in parts)
    if len({p.xp for p in parts}) > 1:
        raise TypeError("Mixture: the components' parameters are from several array libraries: convert them to one")
    if not alike or not isinstance(first, ExponentialFamily):
        return parts
    xp = first.xp
    shape = np.broadcast_shapes(*(p.batch_shape for p in parts))
    wide = [broadcast(p, shape) for p in parts]
    try:
        parameters = {n: xp.stack([p.parameters[n] for p in wide], axis=len(shape)) for n in first.parameters}
    except (ValueError, RuntimeError, TypeError):
        return parts  # parameters of different shapes
    stacked: Distribution = remade(first, parameters, (*shape, len(parts)))
    return stacked


def member(distribution: Distribution, index: tuple[Any, ...]) -> Any:
    """The distributions at one place of a batch, which an index of its axes names."""
    if hasattr(distribution, "_member"):
        return distribution._member(index) if distribution.batch_shape else distribution
    if not distribution.batch_shape:
        return distribution
    wide = broadcast(distribution, distribution.batch_shape)
    parameters = {}
    for name, x in wide.parameters.items():
        rest = (slice(None),) * distribution.constraints[name].ndim
        parameters[name] = x[(*index, *rest)]
    return remade(distribution, parameters, np.broadcast_to(0, distribution.batch_shape)[index].shape)


def remade(distribution: Any, parameters: dict[str, Array], batch_shape: tuple[int, ...]) -> Any:
    """The same kind of distribution with other parameters, known to be good."""
    made = object.__new__(type(distribution))
    made.__dict__.update(distribution.__dict__)
    made.__dict__.pop("each", None)
    made.given = made.parameters = parameters
    made.batch_shape = batch_shape
    return made


def detached(distribution: Any) -> Any:
    """The same distribution, seen through a differentiation by JAX as the numbers it has there."""
    if not distribution.xp.__name__.split(".")[0].startswith("jax"):
        return distribution
    stop = sys.modules["jax"].lax.stop_gradient
    made = remade(
        distribution,
        {n: distribution.xp.asarray(stop(x)) for n, x in distribution.parameters.items()},
        distribution.batch_shape,
    )
    if isinstance(distribution, Mixture):
        parts = distribution._parts
        made._parts = detached(parts) if isinstance(parts, Distribution) else [detached(c) for c in parts]
    return made


def broadcast(distribution: Distribution, shape: tuple[int, ...]) -> Any:
    """The same distributions with parameters that all have the batch's whole shape."""
    if hasattr(distribution, "_member"):
        return distribution
    parameters = {}
    for name, x in distribution.parameters.items():
        ndim = distribution.constraints[name].ndim
        rest = tuple(x.shape)[len(x.shape) - ndim :]
        parameters[name] = distribution.xp.broadcast_to(x, (*shape, *rest))
    return remade(distribution, parameters, shape)


def _hull(one: Support, other: Support) -> Support:
    for kind in (Interval, Integers):
        if isinstance(one, kind) and isinstance(other, kind):
            if isinstance(one, Unsaid) or isinstance(other, Unsaid):
                return Unsaid()
            low = np.minimum(to_numpy(one.low), to_numpy(other.low))
            return kind(low[()], np.maximum(to_numpy(one.high), to_numpy(other.high))[()])
    if type(one) is not type(other):
        raise TypeError(f"Mixture: components live on {one.name} and on {other.name}")
    return one
