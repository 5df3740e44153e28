"""What a distribution is: parameters that are checked, a density on a support, samples, moments."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np

from dkl._array import (
    Array,
    Namespace,
    as_array,
    as_scalar,
    compiling,
    device_of,
    is_numpy,
    once,
    to_numpy,
    widest,
)
from dkl.families.constraints import Constraint, gathered, hold_exact, whole
from dkl.representations import Representation
from dkl.supports import Support


class Distribution(Representation, ABC):
    """A probability distribution, or a batch of them over the broadcast shape of its parameters.

    Parameters are arrays of NumPy, PyTorch or JAX, or numbers. What is calculated with them is calculated in float64
    where the library has it, and handed back in the parameters' own dtype (float32 for half precision, as everywhere),
    on their device, with its gradient.
    """

    #: The parameters and what they must be.
    constraints: ClassVar[dict[str, Constraint]]
    #: The number of trailing axes of an outcome: 0 for a number, 1 for a vector, 2 for a matrix.
    event_ndim: ClassVar[int] = 0

    def __init__(self, **parameters: Any) -> None:
        given = {name: x for name, x in parameters.items() if x is not None}
        #: The parameters as they were given.
        self.given: dict[str, Array]
        self.xp, self.given = gathered(type(self).__name__, given)
        #: The dtype in which answers are given.
        self.dtype = next(iter(self.given.values())).dtype
        #: Whether all parameters are Python's own numbers.
        self.of_numbers = not any(hasattr(x, "dtype") for x in given.values())
        for name, x in self.given.items():
            self._check(name, x)
            if self.constraints[name] is whole:
                hold_exact(self.xp, f"{type(self).__name__}: {name}", given[name], x)
        try:
            self.batch_shape = np.broadcast_shapes(
                *(tuple(x.shape)[: len(x.shape) - self.constraints[n].ndim] for n, x in self.given.items())
            )
        except ValueError:
            shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in self.given.items())
            raise ValueError(f"{type(self).__name__}: the shapes do not broadcast: {shapes}") from None

    def _check(self, name: str, x: Array) -> None:
        self.constraints[name].hold(self.xp, x, f"{type(self).__name__}: {name}")

    @once
    def parameters(self) -> dict[str, Array]:
        """The parameters in the precision of the calculation."""
        return {name: widest(self.xp, x) for name, x in self.given.items()}

    def __getattr__(self, name: str) -> Array:
        if name in self.__dict__.get("given", {}):
            return self.parameters[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={_shown(x)}" for name, x in self.parameters.items())
        return f"{type(self).__name__}({shown})"

    @property
    @abstractmethod
    def support(self) -> Support:
        """Where the density is positive."""

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one outcome."""
        return ()

    def hold_against(self, other: Representation) -> None:
        """Raise a ValueError if this, p, and the other distribution, q, cannot be measured against each other."""
        if not isinstance(other, Distribution):
            return
        if self.event_shape != other.event_shape:
            raise ValueError(
                f"an outcome of p, {self!r}, is {_form(self.event_shape)} and one of q, {other!r}, "
                f"{_form(other.event_shape)}: both must be of the same shape"
            )
        one, two = self.batch_shape, other.batch_shape
        if one and two and one != two:
            try:
                np.broadcast_shapes(one, two)
            except ValueError:
                raise ValueError(
                    f"p is a batch of shape {one} and q one of shape {two}, which do not broadcast: their axes must be "
                    "equal from the last on, or 1"
                ) from None

    @abstractmethod
    def _log_prob(self, x: Array) -> Array:
        """The log-density at outcomes inside the support."""

    def log_prob(self, x: Any) -> Any:
        """The logarithm of the density, or of the probability of a discrete outcome.

        It is −inf outside the support, and NaN of what is no number.

        Parameters
        ----------
        x : array_like
            Outcomes; their leading axes broadcast against the batch.

        Returns
        -------
        array or scalar
        """
        like = next(iter(self.parameters.values()))
        x = as_array(self.xp, x, "x", like=like)
        # Before the outcomes are widened: shares in float32 sum to 1 as float32 sums do.
        inside = self.support.contains(self.xp, x)
        x = self.xp.astype(x, like.dtype)
        event = inside[(..., *(None,) * self.event_ndim)] if self.event_ndim else inside
        safe = self.xp.where(event, x, self.support.interior(self.xp, x))
        value = self.xp.where(inside, self._log_prob(safe), -math.inf)
        unknown = self.xp.isnan(x)
        if self.event_ndim:
            unknown = self.xp.any(unknown, axis=tuple(range(-self.event_ndim, 0)))
        return self._handed_back(self.xp.where(unknown, math.nan, value))

    @abstractmethod
    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        """Outcomes of that leading shape, the batch included, by NumPy."""

    def sample(self, shape: int | tuple[int, ...] = (), *, rng: Any = None) -> Any:
        """Draw outcomes.

        Parameters
        ----------
        shape : int or tuple of int
            How many for each distribution of the batch; the batch's and the outcome's axes follow.
        rng : numpy.random.Generator, int or None
            The source of randomness, or its seed.

        Returns
        -------
        array
            Of the parameters' library. No gradient passes through it.
        """
        leading = (shape,) if isinstance(shape, int) else tuple(shape)
        drawn = self._sample((*leading, *self.batch_shape), np.random.default_rng(rng))
        like = next(iter(self.parameters.values()))
        return as_scalar(self.xp.asarray(np.asarray(drawn), dtype=self.dtype, device=device_of(like)))

    def numbers(self, name: str) -> np.ndarray[Any, Any]:
        """A parameter in NumPy, for sampling."""
        return to_numpy(self.parameters[name])

    def mean(self) -> Any:
        """The mean."""
        return self._handed_back(self._mean())

    def var(self) -> Any:
        """The variance."""
        return self._handed_back(self._var())

    def std(self) -> Any:
        """The standard deviation."""
        return self._handed_back(self.xp.sqrt(self._var()))

    def entropy(self) -> Any:
        """The entropy in nats, differential where the outcomes are continuous."""
        return self._handed_back(self._entropy())

    def _mean(self) -> Array:
        raise NotImplementedError(f"{type(self).__name__} has no closed form of its mean")

    def _var(self) -> Array:
        raise NotImplementedError(f"{type(self).__name__} has no closed form of its variance")

    def _entropy(self) -> Array:
        raise NotImplementedError(f"{type(self).__name__} has no closed form of its entropy")

    def _handed_back(self, x: Array) -> Any:
        """An array of the whole batch, in the parameters' own dtype."""
        whole = (
            self.xp.broadcast_to(x, np.broadcast_shapes(tuple(x.shape), self.batch_shape)) if not self.event_ndim else x
        )
        return as_scalar(self.xp.astype(whole, self.dtype))

    def moved(self, xp: Namespace, like: Array) -> Self:
        """The same distribution with its parameters in another library, beside an array of it."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.xp, made.dtype = xp, like.dtype
        made.__dict__.pop("parameters", None)
        made.given = {name: xp.asarray(np.array(to_numpy(x)), device=device_of(like)) for name, x in self.given.items()}
        return made


def beside(p: Any, q: Any) -> tuple[Any, Any]:
    """Two distributions in one array library: what is NumPy's goes where the other is."""
    if p.xp is q.xp:
        return _in_one_dtype(p, q) if compiling() else (p, q)
    for one, other in ((p, q), (q, p)):
        if is_numpy(one.xp):
            # A density of one's own has no parameters.
            like = next(iter(other.given.values()), other.xp.empty(0, dtype=other.dtype))
            moved = one.moved(other.xp, like)
            moved.dtype = other.dtype
            return (moved, other) if one is p else (other, moved)
    names = " and ".join(x.xp.__name__.removeprefix("array_api_compat.") for x in (p, q))
    raise TypeError(f"the parameters of p and q are from {names}: convert one of them to the other's library")


def _in_one_dtype(p: Any, q: Any) -> tuple[Any, Any]:
    """While torch.compile looks on, numbers are tensors from the first: they answer in the dtype of the other side."""
    for one, other in ((p, q), (q, p)):
        if getattr(one, "of_numbers", False) and not getattr(other, "of_numbers", False):
            made = object.__new__(type(one))
            made.__dict__.update(one.__dict__)
            made.dtype = other.dtype
            return (made, other) if one is p else (other, made)
    return p, q


def _form(shape: tuple[int, ...]) -> str:
    return f"an array of shape {shape}" if len(shape) > 1 else f"a vector of length {shape[0]}" if shape else "a number"


def _shown(x: Array) -> str:
    host = to_numpy(x)
    return f"{float(host):g}" if host.ndim == 0 else f"array of shape {host.shape}"
