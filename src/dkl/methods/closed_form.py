"""Closed forms: KL by a family's own formula, and of it the whole power family by the geometric mixture.

With M the member that is p^a·q^(1−a) but for a factor, −log ∫ p^a q^(1−a) = a·KL(M‖P) + (1 − a)·KL(M‖Q); over
a·(1 − a) it is continuous through a = 0 and 1, where it is KL(Q‖P) and KL(P‖Q).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from dkl._array import Array, as_scalar, compiling, holds, is_numpy, overflowing, root
from dkl.divergences import Bhattacharyya, Divergence, Hellinger, Jeffreys, Power, Renyi
from dkl.estimate import Estimate, among
from dkl.families.base import Distribution, beside
from dkl.families.exponential import ExponentialFamily, related, where_related
from dkl.methods.fused import LEAST, held
from dkl.rules import rule
from dkl.supports import Integers, all_within

Formula = Callable[[Any, ExponentialFamily, ExponentialFamily], Array]


def divided_gap(p: Any, q: Any, a: float) -> Array:
    """−log ∫ p^a q^(1−a) over a·(1 − a), ≥ 0; inf where the integral is, outside the natural parameters' space."""
    if a == 1:
        return p._kl(q)
    if a == 0:
        return q._kl(p)
    xp = p.xp
    m, inside = p.mixed(q, a)
    to_p, to_q = m._kl(p), m._kl(q)
    # Beyond order 1 the parts have opposite signs: where both overflow, so does what they come to.
    inside = inside & ~((to_p == math.inf) | (to_q == math.inf))
    gap = xp.where(inside, to_p, 0.0) / (1.0 - a) + xp.where(inside, to_q, 0.0) / a
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
        return p._log_supremum(q)
    if a:
        return a * divided_gap(p, q, a)
    reverse = q._kl(p)
    return 0.0 * p.xp.where(reverse < math.inf, reverse, 0.0)


def _jeffreys(divergence: Any, p: Any, q: Any) -> Array:
    return p._kl(q) + q._kl(p)


def _bhattacharyya(divergence: Any, p: Any, q: Any) -> Array:
    return 0.25 * divided_gap(p, q, 0.5)


def _hellinger(divergence: Any, p: Any, q: Any) -> Array:
    return root(p.xp, -p.xp.expm1(-0.25 * divided_gap(p, q, 0.5)))


def _register(kind: type[Divergence], formula: Formula) -> None:
    @rule(kind, ExponentialFamily, ExponentialFamily, "closed_form")
    @overflowing
    def measured(
        divergence: Divergence, p: Any, q: Any, *, axis: Any = -1, explain: bool = False, **options: Any
    ) -> Estimate | None:
        no_axis(axis)
        pair = related(p, q)
        if pair is None:
            return None
        value = _fused(divergence, formula, *pair)
        if value is None:
            value = formula(divergence, *pair)
        if value is None:
            return None
        value = where_related(*pair, value)
        reason = _why_divergent(divergence, *pair) if explain else None
        return answered(divergence, *pair, value, "closed_form", reason, explain)


def _why_divergent(divergence: Any, p: Any, q: Any) -> str | None:
    """What an infinite power integral comes from, if it is one of its own order and leaves the natural parameters."""
    order = getattr(divergence, "order", None)
    if order == math.inf:
        return f"{divergence.symbol} is infinite: log(p/q) rises without end."
    if order is None or 0 <= order <= 1 or holds(p.xp.all(p.mixed(q, order)[1])) is not False:
        return None
    return (
        f"{divergence.symbol} is infinite: the integral of p^a q^(1−a) diverges, for a·θ_p + (1 − a)·θ_q lies outside "
        f"the natural parameters of {p.family.__name__}."
    )


def _fused(divergence: Divergence, formula: Formula, p: Any, q: Any) -> Any:
    """The same in one pass over a large batch, or number by number for a single pair; None where that does not apply.

    It applies to parameters that lie open in this process's memory.
    """
    if compiling() or not (p.fusible and q.fusible) or math.isinf(getattr(divergence, "order", 0.0)):
        return None
    if not (isinstance(divergence, Jeffreys) or _is_kl(divergence) or (p.fusible_mixtures and q.fusible_mixtures)):
        return None
    numpy = is_numpy(p.xp)
    given = [*p.given.values(), *q.given.values()]
    if numpy:
        given = [np.asarray(x) if isinstance(x, np.generic) else x for x in given]
    single = all(x.ndim == 0 for x in given)
    if single:
        if not numpy and (any(getattr(x, "requires_grad", False) for x in given) or not held(*given)):
            return None
    elif math.prod(np.broadcast_shapes(p.batch_shape, q.batch_shape)) < LEAST or not held(*given):
        return None
    kinds: Any = (type(p), tuple(p.given), type(q), tuple(q.given))
    written = _written(divergence, formula, *kinds)
    if single:
        try:
            value = written.of_numbers(*map(float, given))
        except (OverflowError, ValueError, ZeroDivisionError):
            return None  # an end of the floating range, which arrays have a number for
        if math.isnan(value):
            return None  # beyond what the loops are for
        return p.dtype.type(value) if numpy else sys.modules["torch"].tensor(value, dtype=p.dtype)
    dtype = p.xp.result_type(p.dtype, q.dtype)
    if numpy:
        value = written.over(given, dtype)
        return None if np.isnan(value).any() else value
    from dkl.methods import autograd

    if not autograd.looped(given):
        return None
    value = autograd.differentiable(written, dtype, given)
    return None if bool(value.isnan().any()) else value


def _is_kl(divergence: Divergence) -> bool:
    return isinstance(divergence, Power) and divergence.order in (0, 1)


@cache
def _written(
    divergence: Divergence, formula: Formula, p: Any, p_names: tuple[str, ...], q: Any, q_names: tuple[str, ...]
) -> Any:
    from dkl.kernels.formulas import Formula as Written

    def function(xp: Any, *numbers: Any) -> Any:
        n = len(p_names)
        return formula(divergence, p.symbolic(xp, p_names, numbers[:n]), q.symbolic(xp, q_names, numbers[n:]))

    return Written((*(f"p's {name}" for name in p_names), *(f"q's {name}" for name in q_names)), function)


def no_axis(axis: Any) -> None:
    """Refuse an axis of outcomes, which a distribution has not."""
    if axis != -1:
        raise ValueError(f"axis = {axis!r} does not apply: p and q are distributions, not arrays of outcomes")


def answered(
    divergence: Divergence, p: Any, q: Any, value: Any, method: str, reason: str | None = None, explain: bool = True
) -> Estimate:
    """A value without sampling error, in the dtype of the pair, as differentiable as the pair is."""
    xp = p.xp
    value = _attached(value, p, q)
    if divergence.upper_bound < math.inf:
        # Rounding goes beyond it in the last digits, where P and Q are far apart.
        value = xp.where(value > divergence.upper_bound, divergence.upper_bound + 0.0 * value, value)
    dtype = p.dtype if p.dtype == q.dtype else xp.result_type(p.dtype, q.dtype)
    if value.dtype != dtype:
        value = xp.astype(value, dtype)
    if not explain:
        return Estimate(as_scalar(value), 0.0, method, divergence.name, divergence.direction, divergence.unit)
    infinite = holds(xp.any(xp.isinf(value)))
    if infinite and reason is None:
        reason = f"{divergence.symbol} exceeds the largest {str(dtype).removeprefix('torch.')}."
    return Estimate(
        value=as_scalar(value),
        stderr=as_scalar(0.0 * xp.where(xp.isfinite(value), value, 0.0)),
        method=method,
        divergence=divergence.name,
        direction=divergence.direction,
        unit=divergence.unit,
        reason=among(value, reason) if infinite and reason else None,
    )


def _attached(value: Any, p: Any, q: Any) -> Any:
    """The value with gradient 0 by parameters of PyTorch's that it does not depend on, such as an infinite one."""
    if getattr(value, "requires_grad", True) or not sys.modules["torch"].is_grad_enabled():
        return value
    for x in (*p.given.values(), *q.given.values()):
        if getattr(x, "requires_grad", False):
            value = value + 0.0 * x.sum()
    return value


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
def by_support(divergence: Divergence, p: Any, q: Any, *, axis: Any = -1, **options: Any) -> Estimate | None:
    """Infinite where one side has mass that is infinitely far from the other; the most there is for singular sides."""
    no_axis(axis)
    if isinstance(p.support, Integers) is not isinstance(q.support, Integers):
        return _of_supports(
            divergence, p, q, divergence.upper_bound, f"is infinite: no set of outcomes has mass of both: P lives on "
            f"{p.support.name}, Q on {q.support.name}."
        )  # fmt: skip
    for holder, other, names, edge in (
        (p, q, ("P", "Q"), divergence.edges.q_zero),
        (q, p, ("Q", "P"), divergence.edges.p_zero),
    ):
        if math.isinf(edge) and all_within(holder.support, other.support) is False:
            inside = holder.support.within(other.support)
            if not isinstance(inside, bool) and holds(inside.any()) is not False:
                continue  # a batch of which some are finite
            why = f"is infinite: {names[0]} lives on {holder.support.name}, {names[1]} on {other.support.name}."
            return _of_supports(divergence, p, q, math.inf, why)
    return None


def _of_supports(divergence: Divergence, p: Any, q: Any, value: float, why: str) -> Estimate:
    p, q = beside(p, q)
    whole = p.xp.full(np.broadcast_shapes(p.batch_shape, q.batch_shape), value, dtype=p.dtype)
    return answered(divergence, p, q, whole, "closed_form", f"{divergence.symbol} {why}")
