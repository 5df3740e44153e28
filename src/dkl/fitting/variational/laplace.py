"""Where a search in many dimensions begins: the modes of a log-density, and how wide it is there.

A normal distribution about a mode with the inverse of the negative second derivatives as its covariance is Laplace's
approximation. Here it is a frame: a search in its units is the same whatever the units of the target are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize

from dkl.families.base import Distribution
from dkl.fitting.points import on_host
from dkl.fitting.variational.differentiable import Differentiable
from dkl.methods.nodes import Numbers

# In more dimensions the widths come from products with random signs, and correlations are left to the search.
_FULL = 256
_PROBES = 64
_NEWTON = 5
# Modes nearer than this, in units of their own, are one.
_SAME = 1e-3
# Of the largest curvature, what a direction without any is given.
_LEAST = 1e-8
# Without samples of the target starts are drawn so wide.
_WIDE = 3.0


@dataclass(frozen=True)
class Frame:
    """The place x = loc + factor·y of y in units of its own.

    Attributes
    ----------
    loc : array, shape (d,)
    factor : array, shape (d,) or (d, d)
        Widths, or a lower triangular matrix with positive diagonal.
    share : float
        Of the starts, how many came here.
    """

    loc: Numbers
    factor: Numbers
    share: float = 1.0

    def out(self, y: Numbers) -> Numbers:
        """From its units, shape (n, d), to those of the target."""
        return self.loc + self.scaled(y)

    def scaled(self, y: Numbers) -> Numbers:
        """The same without the mean."""
        return y * self.factor if self.factor.ndim == 1 else y @ self.factor.T

    def pulled(self, gradient: Numbers) -> Numbers:
        """A gradient by x, shape (n, d), as one by y."""
        return gradient * self.factor if self.factor.ndim == 1 else gradient @ self.factor

    @property
    def log_volume(self) -> float:
        """The logarithm of the determinant of the factor."""
        widths = self.factor if self.factor.ndim == 1 else np.diagonal(self.factor)
        return float(np.log(widths).sum())


def frames(
    log_p: Differentiable, target: Distribution, count: int, rng: np.random.Generator, *, diagonal: bool
) -> list[Frame]:
    """The modes that a climb from some starts comes to.

    Parameters
    ----------
    log_p : Differentiable
    target : Distribution
        The same, from which the starts are drawn; where it cannot be drawn from they are 0 and normal numbers of
        standard deviation 3.
    count : int
        How many starts.
    rng : numpy.random.Generator
    diagonal : bool
        Whether widths are enough: those of one component given the others.

    Returns
    -------
    list of Frame
        The different modes, with the share of the starts that came to each.
    """
    found: list[tuple[Numbers, Numbers, int]] = []
    for start in _begun(log_p, target, count, rng):
        loc = _climbed(log_p, start)
        for k, (other, factor, times) in enumerate(found):
            apart = (loc - other) / factor if factor.ndim == 1 else np.linalg.solve(factor, loc - other)
            if np.abs(apart).max() < _SAME:
                found[k] = (other, factor, times + 1)
                break
        else:
            found.append((loc, _widths(log_p, loc, rng, diagonal), 1))
    return [Frame(loc, factor, times / count) for loc, factor, times in found]


def _begun(log_p: Differentiable, target: Distribution, count: int, rng: np.random.Generator) -> Numbers:
    if getattr(target, "can_sample", True):
        drawn = np.asarray(on_host(target).sample(count, rng=rng), dtype=float)
        return drawn.reshape(count, log_p.dimension)
    begun = _WIDE * rng.standard_normal((count, log_p.dimension))
    begun[0] = 0.0
    return begun


def _climbed(log_p: Differentiable, start: Numbers) -> Numbers:
    """The mode above a start, or as far as a climb of a hundred steps comes."""

    def down(x: Numbers) -> tuple[float, Numbers]:
        value, gradient = log_p.with_gradient(x[None], checked=False)
        if not (np.isfinite(value[0]) and np.isfinite(gradient).all()):
            return math.inf, np.zeros_like(x)
        return -float(value[0]), -gradient[0]

    if not math.isfinite(down(start)[0]):
        log_p.with_gradient(start[None])  # says what is wrong there
    found: Any = optimize.minimize(down, start, jac=True, method="L-BFGS-B", options={"maxiter": 100})
    return found.x if log_p.dimension > _FULL else _settled(log_p, found.x)


def _settled(log_p: Differentiable, loc: Numbers) -> Numbers:
    """Newton's steps up to the mode, as long as each goes up."""
    for _ in range(_NEWTON):
        value, gradient, second = log_p.with_curvature(loc[None], checked=False)
        try:
            step = np.linalg.solve(-second[0], gradient[0])
        except np.linalg.LinAlgError:
            break
        ahead = log_p.log_prob((loc + step)[None])
        # Where the curvature is no mode's a step may go anywhere: it must not fall.
        if not ahead[0] >= value[0] or not gradient[0] @ step > 0:
            break
        loc = loc + step
    return loc


def _widths(log_p: Differentiable, loc: Numbers, rng: np.random.Generator, diagonal: bool) -> Numbers:
    """The frame's factor at a mode; of curvatures that are no mode's their size, and 1 where there is none."""
    d = log_p.dimension
    if d > _FULL:
        signs = rng.choice([-1.0, 1.0], size=(_PROBES, d))
        step = 1e-4 * max(1.0, float(np.abs(loc).max()))
        _, ahead = log_p.with_gradient(loc + step * signs, checked=False)
        _, behind = log_p.with_gradient(loc - step * signs, checked=False)
        return _from_curvature(np.mean(signs * (behind - ahead), axis=0) / (2.0 * step))
    _, _, second = log_p.with_curvature(loc[None], checked=False)
    precision = -0.5 * (second[0] + second[0].T)
    own: Numbers = np.abs(np.diagonal(precision))
    usable = np.isfinite(own) & (own > 0)
    # Components may be of any units: each has a width of its own, and only what has no curvature takes another's.
    own = 1.0 / np.sqrt(np.where(usable, own, _LEAST * own[usable].max())) if usable.any() else np.ones_like(own)
    if diagonal or not np.isfinite(precision).all():
        return own
    values, vectors = np.linalg.eigh(precision * own[:, None] * own)
    factor: Numbers = own[:, None] * np.linalg.cholesky((vectors * _from_curvature(values) ** 2) @ vectors.T)
    return factor


def _from_curvature(curvature: Numbers) -> Numbers:
    size = np.abs(np.where(np.isfinite(curvature), curvature, 0.0))
    top = float(size.max())
    made: Numbers = 1.0 / np.sqrt(np.maximum(size, _LEAST * top)) if top > 0 else np.ones_like(size)
    return made
