"""Closed forms: KL by a family's own formula, and of it the whole power family by the geometric mixture.

With M the member that is p^a·q^(1−a) but for a factor, −log ∫ p^a q^(1−a) = a·KL(M‖P) + (1 − a)·KL(M‖Q); over
a·(1 − a) it is continuous through a = 0 and 1, where it is KL(Q‖P) and KL(P‖Q).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dkl._array import Array, as_scalar, holds, overflowing, root
from dkl.divergences import Bhattacharyya, Divergence, Hellinger, Jeffreys, Power, Renyi
from dkl.estimate import Estimate
from dkl.families.base import Distribution, ExponentialFamily, beside, related
from dkl.rules import rule
from dkl.supports import all_within

Formula = Callable[[Any, ExponentialFamily, ExponentialFamily], Array]


def divided_gap(p: Any, q: Any, a: float) -> Array:
    """−log ∫ p^a q^(1−a) over a·(1 − a), ≥ 0; inf where the integral is, outside the natural parameters' space."""
    if a == 1:
        return p._kl(q)
    if a == 0:
        return q._kl(p)
    xp = p.xp
    m, inside = p.mixed(q, a)
    gap = m._kl(p) / (1.0 - a) + m._kl(q) / a
    return xp.where(inside, xp.where(gap > 0, gap, 0.0 * gap), math.inf)


def _power(divergence: Any, p: Any, q: Any) -> Array:
    """The integral less 1 over a·(a − 1)."""
    a, xp = divergence.order, p.xp
    gap = divided_gap(p, q, a)
    if a in (0, 1):
        return divergence.scale * gap
    finite = gap < math.inf
    share = a * (1.0 - a)
    value = -xp.expm1(-share * xp.where(finite, gap, 0.0)) / share
    return divergence.scale * xp.where(finite, value, math.inf if share < 0 else 1.0 / share)


def _renyi(divergence: Any, p: Any, q: Any) -> Array | None:
    a = divergence.order
    if math.isinf(a):
        return None
    return a * divided_gap(p, q, a) if a else 0.0 * q._kl(p)


def _jeffreys(divergence: Any, p: Any, q: Any) -> Array:
    return p._kl(q) + q._kl(p)


def _bhattacharyya(divergence: Any, p: Any, q: Any) -> Array:
    return 0.25 * divided_gap(p, q, 0.5)


def _hellinger(divergence: Any, p: Any, q: Any) -> Array:
    return root(p.xp, -p.xp.expm1(-0.25 * divided_gap(p, q, 0.5)))


def _register(kind: type[Divergence], formula: Formula) -> None:
    @rule(kind, ExponentialFamily, ExponentialFamily, "closed_form")
    @overflowing
    def measured(divergence: Divergence, p: Any, q: Any, *, axis: Any = -1, **options: Any) -> Estimate | None:
        no_axis(axis)
        pair = related(p, q)
        if pair is None:
            return None
        value = formula(divergence, *pair)
        return None if value is None else answered(divergence, *pair, value, "closed_form")


def no_axis(axis: Any) -> None:
    """Refuse an axis of outcomes, which a distribution has not."""
    if axis != -1:
        raise ValueError(f"axis = {axis!r} does not apply: p and q are distributions, not arrays of outcomes")


def answered(divergence: Divergence, p: Any, q: Any, value: Array, method: str, reason: str | None = None) -> Estimate:
    """A value without sampling error, in the dtype of the pair."""
    xp = p.xp
    value = xp.astype(value, xp.result_type(p.dtype, q.dtype))
    infinite = holds(xp.any(xp.isinf(value)))
    if infinite and reason is None:
        reason = (
            f"{divergence.symbol} is infinite: the integral of p^a q^(1−a) diverges, for a·θ_p + (1 − a)·θ_q lies "
            f"outside the natural parameters of {p.family.__name__}."
        )
    return Estimate(
        value=as_scalar(value),
        stderr=as_scalar(0.0 * xp.where(xp.isfinite(value), value, 0.0)),
        method=method,
        divergence=divergence.name,
        direction=divergence.direction,
        unit=divergence.unit,
        reason=reason if infinite else None,
    )


for _kind, _formula in (
    (Power, _power),
    (Renyi, _renyi),
    (Jeffreys, _jeffreys),
    (Bhattacharyya, _bhattacharyya),
    (Hellinger, _hellinger),
):
    _register(_kind, _formula)


@rule(Divergence, Distribution, Distribution, "closed_form")
@overflowing
def infinite_by_support(divergence: Divergence, p: Any, q: Any, *, axis: Any = -1, **options: Any) -> Estimate | None:
    """Infinite where one side's support is no part of the other's and such mass makes the divergence infinite."""
    no_axis(axis)
    for holder, other, names, edge in (
        (p, q, ("P", "Q"), divergence.edges.q_zero),
        (q, p, ("Q", "P"), divergence.edges.p_zero),
    ):
        if math.isinf(edge) and all_within(holder.support, other.support) is False:
            inside = holder.support.within(other.support)
            if not isinstance(inside, bool) and holds(inside.any()) is not False:
                continue  # a batch of which some are finite
            p, q = beside(p, q)
            reason = (
                f"{divergence.symbol} is infinite: {names[0]} lives on {holder.support.name}, "
                f"{names[1]} on {other.support.name}."
            )
            value = p.xp.full(np.broadcast_shapes(p.batch_shape, q.batch_shape), math.inf, dtype=p.dtype)
            return answered(divergence, p, q, value, "closed_form", reason)
    return None
