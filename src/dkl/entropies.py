"""Entropy and cross-entropy, each right on its own: KL(P‖Q) = H(P, Q) − H(P)."""

from __future__ import annotations

import math
from typing import Any

from dkl import rules
from dkl._array import Array, as_scalar, log_softmax, overflowing, tree_sum
from dkl.families.base import Distribution
from dkl.families.exponential import ExponentialFamily, related
from dkl.pairs import Pair
from dkl.representations import Axis, FiniteOutcomes, interpret, outcome_pair, outcomes


@overflowing
def entropy(p: Any, *, axis: Axis = -1, base: float | None = None) -> Any:
    """Shannon entropy H(P) = −Σ p·log p, of a continuous distribution the differential one, −∫ p·log p.

    Parameters
    ----------
    p : array_like, representation or distribution
        A raw array holds probabilities.
    axis : int, tuple of int, or None
        The axis of outcomes; None for all of them.
    base : float, optional
        The base of the logarithm: 2 for bits. Nats by default.

    Returns
    -------
    array or scalar
        Shape of ``p`` without ``axis``; in [0, log n] for n outcomes. The gradient at an outcome with p = 0, where the
        true one is infinite, is 0.

    Raises
    ------
    ValueError, TypeError
        As in calling a divergence.

    Notes
    -----
    O(n). C. Shannon, "A mathematical theory of communication" (1948), section 6.

    Examples
    --------
    >>> import dkl
    >>> float(dkl.entropy([0.5, 0.25, 0.25], base=2))
    1.5
    """
    given = interpret(p)
    if isinstance(given, Distribution):
        return _in_base(given.entropy(), base)
    side = _finite(given, "p")
    xp, x = outcomes(side, axis)
    log_p = log_softmax(xp, x) if side.in_logs else None
    if log_p is None:
        inside = x > 0
        terms = -xp.where(inside, x, 0.0) * xp.log(xp.where(inside, x, 1.0))
    else:
        inside = log_p > -math.inf
        log_p = xp.where(inside, log_p, 0.0)
        terms = xp.where(inside, -xp.exp(log_p) * log_p, 0.0)
    total = tree_sum(xp, terms)
    # A probability may exceed 1 by its rounding; an entropy is never below 0.
    return _in_base(xp.maximum(total, xp.zeros_like(total)), base)


@overflowing
def cross_entropy(p: Any, q: Any, *, axis: Axis = -1, base: float | None = None) -> Any:
    """Cross-entropy H(P, Q) = −Σ p·log q: the mean code length for P with a code made for Q.

    Parameters
    ----------
    p, q : array_like or representation
        As for a divergence: a raw array holds probabilities, shapes broadcast.
    axis : int, tuple of int, or None
        The axis of outcomes; None for all of them.
    base : float, optional
        The base of the logarithm: 2 for bits. Nats by default.

    Returns
    -------
    array or scalar
        Shape of the broadcast pair without ``axis``; inf where q = 0 < p, with gradient 0.

    Raises
    ------
    ValueError, TypeError
        As in calling a divergence.

    Examples
    --------
    >>> import dkl
    >>> float(dkl.cross_entropy([0.5, 0.5], [0.25, 0.75], base=2))  # doctest: +ELLIPSIS
    1.2075187496394...
    """
    left, right = interpret(p), interpret(q)
    if isinstance(left, ExponentialFamily) and isinstance(right, ExponentialFamily):
        members = related(left, right)
        if members is None:
            raise TypeError(
                f"there is no closed form of the cross-entropy of a {type(right).__name__} under a "
                f"{type(left).__name__}: add dkl.entropy(p) and dkl.kl(p, q)"
            )
        one, other = members
        return _in_base(one.cross_entropy(other), base)
    pair, _ = outcome_pair(_finite(left.measured_as(), "p"), _finite(right.measured_as(), "q"), axis)
    total = tree_sum(pair.xp, _code_lengths(pair))
    return _in_base(pair.xp.maximum(total, pair.xp.zeros_like(total)), base)


def _code_lengths(pair: Pair) -> Array:
    xp = pair.xp
    inside = xp.where(pair.in_both, -pair.shared.p * pair.shared.log_q, 0.0)
    return xp.where(pair.in_p & ~pair.in_q, math.inf, inside)


def _in_base(value: Array, base: float | None) -> Any:
    return as_scalar(value if base is None else value / rules.unit_of(base)[0])


def _finite(side: Any, name: str) -> FiniteOutcomes:
    if not isinstance(side, FiniteOutcomes):
        raise TypeError(f"{name} is a {type(side).__name__}, which has no list of outcomes to sum over")
    return side
