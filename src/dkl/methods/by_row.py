"""A numerical method for single pairs, over the pairs of a batch: one answer, the worst of its errors, one warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from dkl._array import Array, epsilon, to_numpy
from dkl.divergences import Csiszar, Divergence
from dkl.estimate import Estimate
from dkl.families.base import beside
from dkl.methods.closed_form import answered
from dkl.mixture import member


class Answer(NamedTuple):
    """What a method came to for one pair."""

    value: Array
    #: The relative error reached.
    error: float = 0.0
    #: Why the value is infinite.
    reason: str | None = None
    #: Whether the error is that of the densities' own rounding, which no method mends.
    rounded: bool = False


#: An answer for one pair and the relative error asked for; None where another method should be asked.
Measured = Callable[[Divergence, Any, Any, float], Answer | None]

# How many roundings of the dtype an integral of densities is granted.
_ROUNDINGS = 8


def decided(divergence: Divergence) -> bool:
    """Whether a sum or an integral of terms decides a divergence."""
    return isinstance(divergence, Csiszar) or isinstance(divergence.core, Csiszar)


def by_row(
    divergence: Divergence,
    p: Any,
    q: Any,
    rtol: float,
    measured: Measured,
    method: str,
    short: Callable[[float, float], str | None],
) -> Estimate | None:
    """Measure each pair of the batch; None if one declines.

    ``short`` tells what is said of the worst relative error and of the one that was wanted, if it is short of that; an
    error by rounding alone is told, not warned of.
    """
    if not 0 < rtol < 1:
        raise ValueError(f"rtol = {rtol!r} is no relative error: it lies strictly between 0 and 1")
    p, q = beside(p, q)
    # No answer, and no density of another library, has more digits than its dtype.
    rtol = max(rtol, _ROUNDINGS * epsilon(p.xp, p.xp.result_type(p.dtype, q.dtype)))
    shape = np.broadcast_shapes(p.batch_shape, q.batch_shape)
    answers: list[Answer] = []
    for row in np.ndindex(*shape):
        one, other = (member(side, of_row(row, side.batch_shape)) for side in (p, q))
        made = measured(divergence, one, other, rtol)
        if made is None:
            return None
        answers.append(made)
    xp = p.xp
    value = xp.reshape(xp.stack([a.value for a in answers]), shape) if answers else xp.zeros(shape)
    warning = short(max((a.error for a in answers if not a.rounded), default=0.0), rtol)
    if warning:
        warnings.warn(warning, UserWarning, stacklevel=3)
    reason = next((a.reason for a in answers if a.reason), f"{divergence.symbol} exceeds the largest number.")
    estimate = answered(divergence, p, q, value, method, reason)
    # In the unit of the values; 0 beside an infinite one.
    host = to_numpy(estimate.value)
    bound = np.reshape([a.error for a in answers], host.shape) * np.abs(np.where(np.isfinite(host), host, 0.0))
    return replace(estimate, error=np.float64(bound) if bound.ndim == 0 else bound, warning=warning)


def of_row(row: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The place in a batch that broadcasts to one with that place."""
    return tuple(0 if n == 1 else k for k, n in zip(row[len(row) - len(shape) :], shape, strict=True))
