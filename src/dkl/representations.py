"""What a raw object means: probabilities unless it is wrapped.

A wrapper says how to read an array along its axis of outcomes; P and Q may be wrapped differently (a teacher's
probabilities, a student's logits). The values are checked where they can be seen and never changed in silence.
"""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from dkl import pairs
from dkl._array import (
    Array,
    Namespace,
    as_array,
    default_dtype,
    epsilon,
    first_failing,
    holds,
    is_half,
    logsumexp,
    namespace_of,
    real_floating,
    tree_sum,
    widest,
)
from dkl.pairs import Pair

_NO_TOTAL = "only a row with a positive, finite sum can be normalised"


class Representation:
    """One side of a pair, as its owner handed it in."""

    def measured_as(self) -> Representation:
        """The list of outcomes that it stands for, beside another list; itself if there is none."""
        return self

    def hold_against(self, other: Representation) -> None:
        """Raise a ValueError if this, p, and the other, q, are of outcomes or batches that do not go together."""

    def called(self, name: str) -> Representation:
        """The same, to be called p or q where it has to be named."""
        return self


@dataclass(frozen=True, eq=False)
class FiniteOutcomes(Representation, ABC):
    """A distribution over finitely many outcomes, one array entry each."""

    array: Any
    in_logs: ClassVar[bool]
    noun: ClassVar[str]

    @abstractmethod
    def check_values(self, xp: Namespace, x: Array, name: str) -> None:
        """Raise a ValueError that names index, value and fix if an entry is not what the wrapper says."""

    @abstractmethod
    def check_rows(self, xp: Namespace, x: Array, name: str, tolerance: float) -> None:
        """The same for a row of outcomes, along the last axis, as a whole."""

    @abstractmethod
    def read(self, xp: Namespace, x: Array) -> Array:
        """Probabilities, or log-probabilities up to a constant if ``in_logs``; outcomes along the last axis."""


@dataclass(frozen=True, eq=False)
class Probs(FiniteOutcomes):
    """Probabilities: non-negative, summing to 1 along the axis of outcomes.

    Parameters
    ----------
    array : array_like
        The probabilities; any shape, outcomes along the ``axis`` of the call that uses them.
    normalize : bool
        Divide each row by its sum instead of requiring it to be 1 within √ε of the array's dtype
        (1.5e-8 in float64, 3.5e-4 in float32).

    Examples
    --------
    >>> import dkl
    >>> dkl.kl(dkl.Probs([3, 1], normalize=True), [0.75, 0.25])
    np.float64(0.0)
    """

    normalize: bool = False
    in_logs: ClassVar[bool] = False
    noun: ClassVar[str] = "probabilities"

    def check_values(self, xp: Namespace, x: Array, name: str) -> None:
        """Non-negative and finite."""
        _check_weights(xp, x, name, "probability", "pass logits as dkl.Logits, log-probabilities as dkl.LogProbs")

    def check_rows(self, xp: Namespace, x: Array, name: str, tolerance: float) -> None:
        """Summing to 1, or with ``normalize`` to anything positive."""
        total = tree_sum(xp, x)
        if self.normalize:
            _check_rows(xp, (total > 0) & (total < math.inf), total, f"{name}{{row}} sums to {{total}}: {_NO_TOTAL}")
        else:
            _check_rows(
                xp,
                xp.abs(total - 1) <= tolerance,
                total,
                f"{name}{{row}} sums to {{total}}, not to 1 within {tolerance:.2g}: dkl.Probs(…, normalize=True) "
                "divides by the sum, dkl.Counts takes counts, dkl.Logits takes logits",
            )

    def read(self, xp: Namespace, x: Array) -> Array:
        """The probabilities."""
        return x / tree_sum(xp, x)[..., None] if self.normalize else x


@dataclass(frozen=True, eq=False)
class LogProbs(FiniteOutcomes):
    """Natural logarithms of probabilities, whose exponentials sum to 1; −inf is probability 0.

    Examples
    --------
    >>> import dkl, numpy as np
    >>> float(dkl.kl(dkl.LogProbs(np.log([0.5, 0.5])), [0.25, 0.75]))  # doctest: +ELLIPSIS
    0.14384103622589...
    """

    in_logs: ClassVar[bool] = True
    noun: ClassVar[str] = "log-probabilities"

    def check_values(self, xp: Namespace, x: Array, name: str) -> None:
        """Neither NaN nor +inf."""
        _check_logs(xp, x, name, "log-probability")

    def check_rows(self, xp: Namespace, x: Array, name: str, tolerance: float) -> None:
        """Exponentials that sum to 1."""
        total = logsumexp(xp, x)
        _check_rows(
            xp,
            xp.abs(total) <= tolerance,
            total,
            f"the exponentials of {name}{{row}} sum to exp({{total}}), not to 1 within {tolerance:.2g}: dkl.Logits(…) "
            "takes log-probabilities that are not normalised",
        )

    def read(self, xp: Namespace, x: Array) -> Array:
        """The log-probabilities."""
        return x


@dataclass(frozen=True, eq=False)
class Logits(FiniteOutcomes):
    """Log-probabilities up to a constant in each row, as a classifier's or a language model's last layer gives them.

    −inf is probability 0 (a masked outcome). No softmax is needed beforehand.

    Examples
    --------
    >>> import dkl
    >>> float(dkl.kl(dkl.Logits([1000.0, 0.0]), dkl.Logits([0.0, 0.0])))  # doctest: +ELLIPSIS
    0.693147180559945...
    """

    in_logs: ClassVar[bool] = True
    noun: ClassVar[str] = "logits"

    def check_values(self, xp: Namespace, x: Array, name: str) -> None:
        """Neither NaN nor +inf."""
        _check_logs(xp, x, name, "logit")

    def check_rows(self, xp: Namespace, x: Array, name: str, tolerance: float) -> None:
        """At least one finite logit."""
        top = xp.max(x, axis=-1)
        _check_rows(
            xp,
            top > -math.inf,
            top,
            f"every logit of {name}{{row}} is {{total}}: at least one outcome must be possible",
        )

    def read(self, xp: Namespace, x: Array) -> Array:
        """The logits."""
        return x


@dataclass(frozen=True, eq=False)
class Counts(FiniteOutcomes):
    """Non-negative counts or weights; each row stands for its empirical distribution, counts / total.

    Examples
    --------
    >>> import dkl
    >>> float(dkl.tv(dkl.Counts([30, 10]), dkl.Counts([2, 2])))
    0.25
    """

    in_logs: ClassVar[bool] = False
    noun: ClassVar[str] = "counts"

    def check_values(self, xp: Namespace, x: Array, name: str) -> None:
        """Non-negative and finite."""
        _check_weights(xp, x, name, "count", "a count is at least 0")

    def check_rows(self, xp: Namespace, x: Array, name: str, tolerance: float) -> None:
        """At least one positive."""
        total = tree_sum(xp, x)
        _check_rows(xp, (total > 0) & (total < math.inf), total, f"{name}{{row}} sums to {{total}}: {_NO_TOTAL}")

    def read(self, xp: Namespace, x: Array) -> Array:
        """The empirical probabilities."""
        return x / tree_sum(xp, x)[..., None]


@dataclass(frozen=True, eq=False)
class Samples(Representation):
    """Observations drawn from a distribution, one entry each: not outcomes with probabilities.

    Examples
    --------
    >>> import dkl
    >>> dkl.Samples([1.2, 0.7, 3.1])
    Samples(array=[1.2, 0.7, 3.1])
    """

    array: Any


#: Readers of other libraries' objects, each of which may decline by returning None.
readers: list[Callable[[Any], Representation | None]] = []


def interpret(x: Any) -> Representation:
    """A wrapped object as it is; arrays and lists as probabilities; anything else as what a reader makes of it."""
    if isinstance(x, Representation):
        return x
    if not (type(x) in (list, tuple) or (hasattr(x, "dtype") and hasattr(x, "shape"))):
        for read in readers:
            made = read(x)
            if made is not None:
                return made
    return Probs(x)


@dataclass(frozen=True, eq=False)
class Layout:
    """How the axes of a broadcast pair were rearranged to put the outcomes last, and how to go back."""

    shape: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def _order(self) -> tuple[int, ...]:
        return (*(i for i in range(len(self.shape)) if i not in self.axes), *self.axes)

    def gather(self, xp: Namespace, x: Array) -> Array:
        """The axes of outcomes moved to the end and joined into one."""
        order = self._order
        x = x if order == tuple(range(len(order))) else xp.permute_dims(x, order)
        if len(self.axes) == 1:
            return x
        return xp.reshape(x, (*x.shape[: len(order) - len(self.axes)], math.prod(x.shape[-len(self.axes) :])))

    def scatter(self, xp: Namespace, x: Array) -> Array:
        """The inverse of ``gather``, for an array of the broadcast shape."""
        order = self._order
        x = xp.reshape(x, tuple(self.shape[i] for i in order))
        return xp.permute_dims(x, tuple(order.index(i) for i in range(len(order))))


Axis = int | tuple[int, ...] | None


def outcome_pair(p: FiniteOutcomes, q: FiniteOutcomes, axis: Axis = -1) -> tuple[Pair, Layout]:
    """Check both sides, broadcast them as NumPy does, and lay their outcomes along the last axis.

    Two sides given as probabilities stay probabilities, two given as log-probabilities stay those; any other
    combination meets in the space of logits, in float64 where the library has it, because one of them has to be
    converted and its rounding would show.
    """
    xp = namespace_of(p=p.array, q=q.array)
    x, y = as_array(xp, p.array, "p", like=q.array), as_array(xp, q.array, "q", like=p.array)
    layout = _layout(x, y, axis)
    x, y = _read_side(xp, p, x, "p", layout), _read_side(xp, q, y, "q", layout)
    x, y = real_floating(xp, x, y)
    if not p.in_logs and not q.in_logs:
        return pairs.from_probabilities(xp, *xp.broadcast_arrays(x, y)), layout
    if isinstance(p, LogProbs) and isinstance(q, LogProbs):
        return pairs.from_log_probabilities(xp, *xp.broadcast_arrays(x, y)), layout
    if p.in_logs != q.in_logs:
        x, y = (z if side.in_logs else _log(xp, z) for side, z in ((p, widest(xp, x)), (q, widest(xp, y))))
    return pairs.from_logits(xp, *xp.broadcast_arrays(x, y)), layout


def laid_out(p: FiniteOutcomes, q: FiniteOutcomes, axis: Axis = -1) -> tuple[FiniteOutcomes, FiniteOutcomes]:
    """The same pair with its arrays broadcast and their outcomes along the last axis, as views where that can be.

    A side that stands for its shares of a sum is checked and divided by it; no other value is looked at.
    """
    xp = namespace_of(p=p.array, q=q.array)
    x, y = as_array(xp, p.array, "p", like=q.array), as_array(xp, q.array, "q", like=p.array)
    layout = _layout(x, y, axis)
    sides: list[tuple[type[FiniteOutcomes], Array]] = []
    for side, z, name in ((p, x, "p"), (q, y, "q")):
        if isinstance(side, Counts) or (isinstance(side, Probs) and side.normalize):
            sides.append((Probs, _read_side(xp, side, z, name, layout)))
        else:
            sides.append((type(side), _gathered(xp, z, layout)))
    arrays = xp.broadcast_arrays(*(z for _, z in sides))
    left, right = (kind(z) for (kind, _), z in zip(sides, arrays, strict=True))
    return left, right


def outcomes(p: FiniteOutcomes, axis: Axis = -1) -> tuple[Namespace, Array]:
    """One side, checked, with its outcomes along the last axis: what its ``read`` gives."""
    xp = namespace_of(p=p.array)
    x = as_array(xp, p.array, "p")
    return xp, _read_side(xp, p, x, "p", _layout(x, x, axis))


def _layout(x: Array, y: Array, axis: Axis) -> Layout:
    try:
        shape = np.broadcast_shapes(tuple(x.shape), tuple(y.shape))
    except ValueError:
        raise ValueError(
            f"p of shape {tuple(x.shape)} and q of shape {tuple(y.shape)} do not broadcast against each other"
        ) from None
    if not shape:
        raise ValueError("p and q are single numbers: a distribution needs an axis of outcomes")
    ndim = len(shape)
    wanted = range(ndim) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    axes: list[int] = []
    for given in wanted:
        if isinstance(given, bool) or not hasattr(given, "__index__"):
            raise TypeError(f"axis = {axis!r} must be an integer, a tuple of integers or None")
        a = operator.index(given)
        if not -ndim <= a < ndim:
            raise ValueError(f"axis = {a} does not exist: p and q broadcast to {ndim} dimensions, shape {shape}")
        axes.append(a % ndim)
    if len(set(axes)) != len(axes) or not axes:
        raise ValueError(f"axis = {axis!r} must name each axis of outcomes once, and at least one")
    for a in axes:
        n = [_length(z, a, ndim) for z in (x, y)]
        if n[0] != n[1]:
            raise ValueError(
                f"p has {n[0]} outcomes along axis {a} and q has {n[1]}: both must list the same outcomes "
                f"(shapes {tuple(x.shape)} and {tuple(y.shape)})"
            )
        if n[0] == 0:
            raise ValueError(f"axis = {a} has length 0: a distribution needs at least one outcome")
    return Layout(tuple(shape), tuple(axes))


def _length(x: Array, axis: int, ndim: int) -> int:
    own = axis - (ndim - len(x.shape))
    return int(x.shape[own]) if own >= 0 else 1


def _read_side(xp: Namespace, side: FiniteOutcomes, x: Array, name: str, layout: Layout) -> Array:
    tolerance = sum_tolerance(xp, x)
    (x,) = real_floating(xp, x)
    if math.prod(x.shape) > 0:
        side.check_values(xp, x, name)
    x = _gathered(xp, x, layout)
    if math.prod(x.shape) > 0:
        side.check_rows(xp, x, name, tolerance)
    return side.read(xp, x)


def _gathered(xp: Namespace, x: Array, layout: Layout) -> Array:
    return layout.gather(xp, xp.reshape(x, (1,) * (len(layout.shape) - len(x.shape)) + tuple(x.shape)))


def common_dtype(x: Array, y: Array) -> Any:
    """The dtype in which a pair of arrays of one library is calculated."""
    xp = namespace_of(p=x, q=y)
    return real_floating(xp, xp.empty(0, dtype=x.dtype), xp.empty(0, dtype=y.dtype))[0].dtype


def sum_tolerance(xp: Namespace, x: Array) -> float:
    """√ε of the dtype as handed in: rounding every entry of a row to it moves their sum by less."""
    floating = is_half(x.dtype) or xp.isdtype(x.dtype, "real floating")
    return math.sqrt(epsilon(xp, x.dtype if floating else default_dtype(xp)))


def _log(xp: Namespace, p: Array) -> Array:
    positive = p > 0
    return xp.where(positive, xp.log(xp.where(positive, p, 1.0)), -math.inf)


def _check_weights(xp: Namespace, x: Array, name: str, noun: str, hint: str) -> None:
    good = (x >= 0) & (x < math.inf)
    if holds(xp.all(good)) is False:
        at, value = first_failing(x, good)
        problem = "is not a number" if math.isnan(value) else "is negative" if value < 0 else "is infinite"
        raise ValueError(f"{name}{at} = {value:.6g} {problem}, so it is no {noun}; {hint}")


def _check_logs(xp: Namespace, x: Array, name: str, noun: str) -> None:
    good = x < math.inf
    if holds(xp.all(good)) is False:
        at, value = first_failing(x, good)
        problem = "is not a number" if math.isnan(value) else "is +inf"
        raise ValueError(f"{name}{at} = {value:.6g} {problem}, so it is no {noun}: it must be finite or −inf")


def _check_rows(xp: Namespace, good: Array, total: Array, message: str) -> None:
    if holds(xp.all(good)) is False:
        at, value = first_failing(total, good)
        raise ValueError(message.format(row=at, total=f"{value:.9g}"))
