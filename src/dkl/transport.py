"""Wasserstein-1 distance: not an f-divergence but their sibling, which knows how far apart the outcomes are."""

from __future__ import annotations

from typing import Any

import numpy as np

from dkl._array import as_scalar, device_of, to_numpy, tree_sum
from dkl.representations import FiniteOutcomes, Samples, interpret, outcome_pair


def wasserstein(p: Any, q: Any, *, points: Any = None, q_points: Any = None, axis: int = -1) -> Any:
    """Wasserstein-1 (earth mover's) distance: the least mean distance that mass must travel to turn P into Q.

    Parameters
    ----------
    p, q : array_like or representation
        Probabilities of outcomes that lie at ``points``, or two ``dkl.Samples``, whose values are the points
        themselves.
    points : array_like, optional
        Where the outcomes lie: shape (n,) for points on a line, in any order, or (n, d) for points in space. Default:
        the integers 0 to n − 1, a grid of unit spacing.
    q_points : array_like, optional
        Where Q's outcomes lie, if not at the same points; then P and Q must be single distributions, and their numbers
        of outcomes may differ.
    axis : int
        The axis of outcomes.

    Returns
    -------
    array or scalar
        In the unit of the points. On a line with shared points: batched like a divergence, of the inputs' own library
        and differentiable, O(n log n). Otherwise a float from SciPy: O(n log n) on a line, a linear program in space.

    Raises
    ------
    ValueError
        For points that are not finite, do not match the outcomes in number, or batches where only one pair is possible.
    TypeError
        For Samples against probabilities, or points with samples.

    Notes
    -----
    On a line it is ∫ |F − G| for the two distribution functions (Vallender, "Calculation of the Wasserstein distance
    between probability distributions on the line", 1974).

    Examples
    --------
    >>> import dkl
    >>> float(dkl.wasserstein([1.0, 0.0, 0.0], [0.0, 0.0, 1.0]))
    2.0
    >>> float(dkl.wasserstein([0.5, 0.5], [1.0], points=[0.0, 4.0], q_points=[1.0]))
    2.0
    >>> float(dkl.wasserstein(dkl.Samples([0, 1, 3]), dkl.Samples([5, 6, 8])))
    5.0
    """
    left, right = interpret(p), interpret(q)
    if isinstance(left, Samples) and isinstance(right, Samples):
        if points is not None or q_points is not None:
            raise TypeError("samples are points themselves: points and q_points belong to probabilities")
        x, y = (_points(side.array, name) for side, name in ((left, "p"), (right, "q")))
        return _by_scipy(x, y, None, None)
    if not isinstance(left, FiniteOutcomes) or not isinstance(right, FiniteOutcomes):
        raise TypeError(f"p is a {type(left).__name__} and q a {type(right).__name__}: give both as Samples or neither")
    if q_points is not None:
        if points is None:
            raise ValueError("q_points needs points: where P's outcomes lie")
        x, y = _points(points, "points"), _points(q_points, "q_points")
        return _by_scipy(x, y, _weights(left, x, "p"), _weights(right, y, "q"))
    pair, _ = outcome_pair(left, right, axis)
    xp, n = pair.xp, pair.p.shape[-1]
    at = np.arange(float(n)) if points is None else _points(points, "points")
    if at.shape[0] != n:
        raise ValueError(f"points lists {at.shape[0]} places for {n} outcomes")
    if at.ndim == 2:
        if pair.p.ndim != 1:
            raise ValueError(
                f"points in space take one pair at a time, got a batch of shape {tuple(pair.p.shape[:-1])}"
            )
        return _by_scipy(at, at, to_numpy(pair.p), to_numpy(pair.q))
    order = np.argsort(at, kind="stable")
    device = device_of(pair.p)
    gaps = xp.asarray(np.diff(at[order]), dtype=pair.p.dtype, device=device)
    surplus = xp.cumulative_sum(xp.take(pair.p - pair.q, xp.asarray(order, device=device), axis=-1), axis=-1)
    return as_scalar(tree_sum(xp, xp.abs(surplus[..., :-1]) * gaps))


def _points(x: Any, name: str) -> np.ndarray[Any, Any]:
    points = np.asarray(to_numpy(x), dtype=float)
    if points.ndim not in (1, 2) or points.shape[0] == 0:
        raise ValueError(f"{name} has shape {points.shape}: give (n,) numbers on a line or (n, d) points in space")
    bad = np.argwhere(~np.isfinite(points))
    if bad.size:
        at = tuple(int(i) for i in bad[0])
        raise ValueError(f"{name}[{', '.join(map(str, at))}] = {points[at]} is not a finite place")
    return points


def _weights(side: FiniteOutcomes, points: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    pair, _ = outcome_pair(side, side)
    weights = to_numpy(pair.p)
    if weights.shape != points.shape[:1]:
        raise ValueError(f"{name} of shape {weights.shape} does not match its {points.shape[0]} points")
    return weights


def _by_scipy(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], p: Any, q: Any) -> np.float64:
    from scipy import stats

    if x.shape[1:] != y.shape[1:]:
        raise ValueError(f"the points of P have shape {x.shape} and those of Q {y.shape}: their spaces differ")
    distance = stats.wasserstein_distance if x.ndim == 1 else stats.wasserstein_distance_nd
    return np.float64(distance(x, y, p, q))
