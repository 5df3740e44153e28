"""Smoothing: what makes an infinite KL finite, done in the open and with an account of what it changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dkl._array import Array, as_array, as_scalar, log_softmax, real_floating, real_number, tree_sum
from dkl.representations import Axis, Counts, FiniteOutcomes, Probs, interpret, outcomes


@dataclass(frozen=True, eq=False)
class Smoothed(Probs):
    """Smoothed probabilities, usable as P or Q, with what the smoothing changed.

    Attributes
    ----------
    array : array
        The smoothed probabilities, of the input's own array library, outcomes along the axis they came on.
    epsilon : float
        The amount that was asked for.
    lifted : array or scalar
        How many outcomes of each row had probability 0 and no longer have.
    moved : array or scalar
        The probability mass of each row that changed place: the total variation distance to the original, in [0, 1].
    """

    epsilon: float = 0.0
    lifted: Any = 0
    moved: Any = 0.0

    def __repr__(self) -> str:
        return f"Smoothed({self.array!r}, epsilon={self.epsilon:g}, lifted={self.lifted}, moved={self.moved})"


def smooth(p: Any, epsilon: float, *, axis: Axis = -1) -> Smoothed:
    """Give every outcome some probability, and say what that changed.

    Probabilities, log-probabilities and logits are mixed with the uniform distribution, (1 − ε)·p + ε/n for n outcomes,
    which is label smoothing. Counts get ε added to each, (c + ε)/(Σc + n·ε), which is additive smoothing: ε = 1 is
    Laplace's rule, 1/2 Jeffreys' and Krichevsky and Trofimov's.

    Parameters
    ----------
    p : array_like or representation
        A raw array holds probabilities.
    epsilon : float
        The share ε of the uniform distribution, in [0, 1]; for counts the pseudo-count, finite and ≥ 0.
    axis : int
        The axis of outcomes.

    Returns
    -------
    Smoothed
        A ``dkl.Probs`` with ``lifted`` (outcomes that had probability 0) and ``moved`` (mass that changed place).

    Raises
    ------
    ValueError
        For an ε outside its domain, or a ``p`` that is not what its wrapper says.

    Notes
    -----
    O(n). A KL to a smoothed Q is finite but it is another number: it tends to ∞ like log(1/ε) as ε → 0, so report ε
    with it. S. Chen, J. Goodman, "An empirical study of smoothing techniques for language modeling" (1999), section 2.

    Examples
    --------
    >>> import dkl
    >>> q = dkl.smooth([0.8, 0.2, 0.0], 0.03)
    >>> int(q.lifted), round(float(q.moved), 12)
    (1, 0.014)
    >>> round(float(dkl.kl([0.7, 0.2, 0.1], q)), 6)
    0.145184
    """
    side = interpret(p)
    if not isinstance(side, FiniteOutcomes):
        raise TypeError(f"p is a {type(side).__name__}, which has no list of outcomes to smooth over")
    if isinstance(axis, tuple | list) or axis is None:
        raise TypeError(f"axis = {axis!r} must be one integer")
    additive = isinstance(side, Counts)
    highest = float("inf") if additive else 1.0
    epsilon = real_number(epsilon, "epsilon")
    if not 0 <= epsilon <= highest or epsilon == float("inf"):
        raise ValueError(f"epsilon = {epsilon:g} lies outside [0, {'∞)' if additive else '1]'}")
    xp, x = outcomes(side, axis)
    p_before = xp.exp(log_softmax(xp, x)) if side.in_logs else x
    n = x.shape[-1]
    if additive:
        (counts,) = real_floating(xp, as_array(xp, side.array, "p"))
        total = tree_sum(xp, xp.moveaxis(counts, axis, -1))[..., None]
        share = n * epsilon / (total + n * epsilon)
    else:
        share = epsilon
    after = (1 - share) * p_before + share / n
    return Smoothed(
        xp.moveaxis(after, -1, axis),
        epsilon=epsilon,
        lifted=as_scalar(_count(xp, (p_before == 0) & (after > 0))),
        moved=as_scalar(0.5 * tree_sum(xp, xp.abs(after - p_before))),
    )


def _count(xp: Any, where: Array) -> Array:
    return xp.sum(xp.astype(where, xp.__array_namespace_info__().default_dtypes()["integral"]), axis=-1)
