"""Anything with a log-density: a function of one's own, measured as the families are."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from dkl._array import Array, Namespace, as_array, as_scalar, default_dtype, holds, is_numpy, namespace_of, to_numpy
from dkl.families.base import Distribution
from dkl.families.constraints import Constraint
from dkl.supports import Interval, Matrices, Support, Vectors


@dataclass(frozen=True, eq=False)
class Unsaid(Interval):
    """Real numbers, when it was not said where among them the density is positive."""

    @property
    def name(self) -> str:  # type: ignore[override]
        """ℝ."""
        return "the real numbers"

    def within(self, other: Support) -> Any:
        """As far as anybody said, in any interval."""
        return isinstance(other, Interval)


# What a function of one library answers to another's arrays.
_STRANGE = (TypeError, AttributeError, RuntimeError)


class UnansweredError(ValueError):
    """Another library's object does not answer what it is asked."""


class Density(Distribution):
    """A distribution known by its log-density, and perhaps by a way to draw from it.

    Parameters
    ----------
    log_prob : callable
        The logarithm of the density, or of the probabilities of whole numbers, elementwise on an array of
        outcomes (their leading axes, where an outcome is a vector); −inf where there is none. It is given arrays of
        NumPy, or of the library of the distribution on the other side, and answers in the same; one that is written
        in PyTorch and refuses NumPy's arrays gets tensors in their place. To be measured it must be normalised;
        ``dkl.fit`` also takes one that lacks a factor, and finds that.
    sample : callable, optional
        ``sample(n, rng)`` draws n outcomes with a ``numpy.random.Generator``. Without it only quadrature, a sum, or
        samples of the other side can measure it; quadrature then finds its mass by searching.
    support : dkl.supports.Support, optional
        Where it is positive; somewhere among the real numbers if left out, which ``log_prob`` then tells by its −inf. A
        support makes it quicker and surer to find where a density begins. ``dkl.supports.Integers`` makes it a discrete
        distribution, ``dkl.supports.Vectors(n)`` one of vectors,
        ``dkl.supports.PositiveDefinite(n, n)`` one of matrices.

    Raises
    ------
    TypeError
        If ``log_prob`` or ``sample`` cannot be called, or ``support`` is none.
    ValueError
        When it is used: if ``log_prob`` gives NaN, or as many numbers as there are outcomes is not what it gives; and
        where it is measured by quadrature, if the density does not integrate to 1.

    Examples
    --------
    >>> import dkl, numpy as np
    >>> from dkl.density import Density
    >>> logistic = Density(lambda x: -np.abs(x) - 2 * np.log1p(np.exp(-np.abs(x))))
    >>> logistic.log_prob(0.0) == -2 * np.log(2)
    np.True_
    """

    constraints: ClassVar[dict[str, Constraint]] = {}

    def __init__(
        self,
        log_prob: Callable[[Any], Any],
        sample: Callable[[int, np.random.Generator], Any] | None = None,
        support: Support | None = None,
    ) -> None:
        if not callable(log_prob):
            raise TypeError(f"Density: log_prob must be a function of an array of outcomes, got {log_prob!r}")
        if sample is not None and not callable(sample):
            raise TypeError(f"Density: sample must be a function of (n, rng), got {sample!r}")
        if support is not None and not isinstance(support, Support):
            raise TypeError(f"Density: support must be one of dkl.supports such as Interval(0.0), got {support!r}")
        self._function, self._draw = log_prob, sample
        self._support = Unsaid() if support is None else support
        self.xp: Namespace = namespace_of()
        self.dtype: Any = default_dtype(self.xp)
        self.given: dict[str, Array] = {}
        self.parameters: dict[str, Array] = {}
        self.batch_shape: tuple[int, ...] = ()
        self._like: Any = None
        #: What it is called beside another, such as p.
        self._role = ""

    def called(self, name: str) -> Self:
        """The same density, to be called p or q in messages."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made._role = name
        return made

    @property
    def event_ndim(self) -> int:  # type: ignore[override]
        """1 for vectors, 2 for matrices, else 0."""
        return len(self.event_shape)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The length of a vector, the rows and columns of a matrix, or nothing."""
        if isinstance(self._support, Matrices):
            return (self._support.rows, self._support.columns)
        return (self._support.dimension,) if isinstance(self._support, Vectors) else ()

    @property
    def support(self) -> Support:
        """Where it is positive, as it was given."""
        return self._support

    @property
    def can_sample(self) -> bool:
        """Whether there is a way to draw from it."""
        return self._draw is not None

    def __repr__(self) -> str:
        name = getattr(self._function, "__name__", type(self._function).__name__)
        return f"Density({name}, on {self._support.name})"

    def log_prob(self, x: Any) -> Any:
        """The logarithm of the density; −inf outside the support.

        Parameters
        ----------
        x : array_like
            Outcomes.

        Returns
        -------
        array or scalar
        """
        xp = self.xp
        x = as_array(xp, x, "x", like=self._like)
        x = x if xp.isdtype(x.dtype, "real floating") else xp.astype(x, default_dtype(xp))
        inside = self._support.contains(xp, x)
        event = inside[(..., *(None,) * self.event_ndim)] if self.event_ndim else inside
        given = self._log_prob(xp.where(event, x, self._support.interior(xp, x)))
        value = xp.where(inside, given, -math.inf)
        if holds(xp.any(xp.isnan(value))):
            at = np.argwhere(np.isnan(to_numpy(value)))[0]
            unsaid = isinstance(self._support, Unsaid)
            where = "; if it lives on a part, say which: support=, such as dkl.supports.Interval(0.0, 1.0)"
            raise ValueError(
                f"{self._named}: log_prob gives NaN at x = {to_numpy(x)[tuple(at)]}; where the density is 0 it "
                f"may be −inf, and dkl.Density takes a log_prob of your own{where if unsaid else ''}"
            )
        return as_scalar(value)

    def _log_prob(self, x: Array) -> Array:
        given = self._answered(x)
        if namespace_of(given=given) is not self.xp:
            given = to_numpy(given)
        given = as_array(self.xp, given, "log_prob(x)", like=x)
        wanted = tuple(x.shape)[: len(x.shape) - self.event_ndim]
        if tuple(given.shape) != wanted:
            raise ValueError(
                f"{self._named}: log_prob of outcomes of shape {tuple(x.shape)} must have shape {wanted}, "
                f"got {tuple(given.shape)}"
            )
        return self.xp.astype(given, x.dtype)

    def _answered(self, x: Array) -> Any:
        """What the function tells of outcomes: one that refuses NumPy's arrays is asked with PyTorch's tensors."""
        try:
            return self._told(self._function, x)
        except (*_STRANGE, ValueError) as error:
            torch = sys.modules.get("torch")
            if torch is not None and is_numpy(self.xp) and isinstance(error, _STRANGE):
                with suppress(*_STRANGE, ValueError), torch.no_grad():  # what fails with both is told of the first
                    return self._told(self._function, torch.tensor(x))
            error.add_note(
                f"{self._named}: log_prob was asked with {type(x).__module__}.{type(x).__name__} of {x.dtype}, of "
                f"shape {tuple(x.shape)}: outcomes along the leading axes, for each of which it must tell one number"
            )
            raise

    @property
    def _named(self) -> str:
        return f"{self._role}, {self!r}" if self._role else repr(self)

    def _told(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function answers, or whose it is that fails."""
        try:
            return function(*arguments)
        except UnansweredError as error:
            raise ValueError(f"{self._role}: {error}" if self._role else str(error)) from error

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        if self._draw is None:
            raise NotImplementedError(f"{self._named} has no way to draw from it: give it sample=")
        n = math.prod(shape)
        drawn = to_numpy(self._told(self._draw, n, rng))
        if tuple(drawn.shape) != (n, *self.event_shape):
            raise ValueError(
                f"{self._named}: sample({n}, rng) must have shape {(n, *self.event_shape)}, got {tuple(drawn.shape)}"
            )
        return drawn.reshape(*shape, *self.event_shape)

    def sample(self, shape: int | tuple[int, ...] = (), *, rng: Any = None) -> Any:
        """Draw outcomes, if it was told how.

        Parameters
        ----------
        shape : int or tuple of int
            How many.
        rng : numpy.random.Generator, int or None
            The source of randomness, or its seed.

        Returns
        -------
        array
        """
        leading = (shape,) if isinstance(shape, int) else tuple(shape)
        drawn = np.asarray(self._sample(leading, np.random.default_rng(rng)), dtype=np.float64)
        return as_scalar(self.xp.asarray(drawn, dtype=self.dtype))

    def moved(self, xp: Namespace, like: Array) -> Self:
        """The same density, asked in another library."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.xp, made.dtype, made._like = xp, like.dtype, like
        return made
