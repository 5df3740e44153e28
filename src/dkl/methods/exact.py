"""The exact sum over finitely many outcomes, and why it may be infinite."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from dkl._array import Array, as_scalar, holds, namespace_of, overflowing, to_numpy
from dkl.divergences import Divergence
from dkl.estimate import Estimate
from dkl.methods import fused
from dkl.representations import Axis, FiniteOutcomes, laid_out, outcome_pair
from dkl.rules import rule

# How many outcomes, and how many rows, a reason names before it only counts them.
_NAMED = 5


@rule(Divergence, FiniteOutcomes, FiniteOutcomes, "exact")
@overflowing
def total(
    divergence: Divergence,
    p: FiniteOutcomes,
    q: FiniteOutcomes,
    *,
    axis: Axis = -1,
    explain: bool = False,
    **options: object,
) -> Estimate:
    """Sum the terms of the divergence along the axis of outcomes."""
    value = fused.total_of_few(divergence, p, q, axis)
    if value is None:
        value = fused.total(divergence, p, q, axis)
    if value is None:
        value = divergence.total(outcome_pair(p, q, axis)[0])
    value = as_scalar(value)
    xp = namespace_of(value=value)
    return Estimate(
        value=value,
        stderr=0.0 * xp.where(xp.isfinite(value), value, 0.0) if explain else 0.0,
        method="exact",
        divergence=divergence.name,
        direction=divergence.direction,
        unit=divergence.unit,
        reason=_why_infinite(divergence, p, q, axis, value) if explain else None,
    )


def _why_infinite(divergence: Divergence, p: FiniteOutcomes, q: FiniteOutcomes, axis: Axis, value: Array) -> str | None:
    xp = namespace_of(value=value)
    infinite = xp.isinf(value)
    if not holds(xp.any(infinite)):
        return None
    p, q = laid_out(p, q, axis)
    rows = np.argwhere(to_numpy(infinite))
    if rows.shape[1] == 0:
        return f"{divergence.symbol} is infinite: {_cause(divergence, p, q, ())}."
    shown = [f"row {_index(row)}: {_cause(divergence, p, q, tuple(row.tolist()))}" for row in rows[:_NAMED]]
    more = f"; and {len(rows) - _NAMED} more rows" if len(rows) > _NAMED else ""
    return (
        f"{divergence.symbol} is infinite in {len(rows)} of {math.prod(infinite.shape)} rows; {'; '.join(shown)}{more}."
    )


def _cause(divergence: Divergence, left: FiniteOutcomes, right: FiniteOutcomes, row: tuple[int, ...]) -> str:
    p_row, q_row = (replace(side, array=side.array[(*row, ...)]) for side in (left, right))
    pair, _ = outcome_pair(p_row, q_row)
    p, q, in_p, in_q = (to_numpy(x) for x in (pair.p, pair.q, pair.in_p, pair.in_q))
    causes = [
        _uncovered(holder, weights, other, has & ~lacks)
        for holder, weights, has, other, lacks, edge in (
            ("P", p, in_p, "Q", in_q, divergence.edges.q_zero),
            ("Q", q, in_q, "P", in_p, divergence.edges.p_zero),
        )
        if math.isinf(edge) and (has & ~lacks).any()
    ]
    if causes:
        return " and ".join(causes)
    if not (in_p & in_q).any():
        return "P and Q share no outcome"
    return f"its value exceeds the largest {p.dtype}"


def _uncovered(holder: str, weights: np.ndarray[Any, Any], other: str, where: np.ndarray[Any, Any]) -> str:
    at = np.flatnonzero(where)
    named = ", ".join(map(str, at[:_NAMED])) + (f" and {at.size - _NAMED} more" if at.size > _NAMED else "")
    noun = "outcome" if at.size == 1 else "outcomes"
    return f"{other} gives probability 0 to {noun} {named}, where {holder} has {weights[at].sum():.6g}"


def _index(row: np.ndarray[Any, Any]) -> str:
    return ", ".join(map(str, row)) if row.size == 1 else f"({', '.join(map(str, row))})"
