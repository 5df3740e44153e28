"""The reverse KL over an exponential family, by weighted places, and its natural gradient: a linear regression.

With S the statistics that belong to the natural parameters v of q [1],

    −F⁻¹·∂KL(q‖p)/∂v = Cov_q(S)⁻¹·Cov_q(S, log p − log q),

the coefficients of log p − log q regressed on S under q: no derivative of p is asked for. The places of one member q₀
serve its neighbours, too: q ∝ q₀·exp((v − v₀)·S), and log p is not asked again. On these places the members are
an exponential family of lists, so all derivatives of the KL are sums there, and the natural gradient is its own.

References
----------
.. [1] T. Salimans, D. A. Knowles, "Fixed-form variational posterior approximation through stochastic linear
   regression", Bayesian Analysis 8 (2013), section 3.
.. [2] M. E. Khan, H. Rue, "The Bayesian learning rule", arXiv:2107.04562 (2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dkl.estimate import Estimate
from dkl.methods.nodes import Numbers

# Directions of the statistics in which they vary so little by rounding alone, to those in which they do most.
_FLAT = 1e-11
# The KL on the same places is rounded by so much of its size.
_ROUNDING = 1e-14
# A curvature below it, in units of the member, is none of a minimum.
_SADDLE = -1e-3
# A step is halved so often at most.
_HALVINGS = 40
# From where Newton's step may stand for the natural gradient.
_NEAR = 0.5
# And how much of a curvature it needs in every direction: where there is little, the natural gradient crawls.
_CONVEX = 1e-3
#: The share of places that must count where a neighbour borrows them.
LEAST_SHARE = 0.5
#: Steps at most on the same places.
STEPS = 200


@dataclass(frozen=True)
class Place:
    """A member as the places of another see it.

    Attributes
    ----------
    natural : array, shape (k,)
    weights : array, shape (n,)
        The mass of each place, summing to 1.
    bound : float
        KL(q‖p), but for the logarithm of p's integral.
    share : float
        How many of the places count: 1 for the member that they were made for.
    off : array, shape (n,)
        log q − log p less its mean.
    statistic : array, shape (n, k)
    """

    natural: Numbers
    weights: Numbers
    bound: float
    share: float
    off: Numbers
    statistic: Numbers

    @cached_property
    def _own_units(self) -> tuple[Numbers, Numbers]:
        """By QR, and the singular values of the small factor."""
        apart = self.statistic - self.weights @ self.statistic
        width = np.sqrt(self.weights @ apart**2)
        width = np.where(width > 0, width, 1.0)
        q, r = np.linalg.qr(np.sqrt(self.weights)[:, None] * (apart / width))
        u, sizes, vt = np.linalg.svd(r)
        kept = sizes > _FLAT * max(float(sizes.max(initial=0.0)), 1e-300)
        return (q @ u)[:, kept], vt[kept].T / sizes[kept] / width[:, None]

    @property
    def basis(self) -> Numbers:
        """√weight times the statistics in the member's own units, uncorrelated with variance 1: shape (n, r)."""
        return self._own_units[0]

    @property
    def back(self) -> Numbers:
        """From these units to those of the natural parameters: shape (k, r)."""
        return self._own_units[1]

    @cached_property
    def descent(self) -> Numbers:
        """The natural gradient in the member's own units, downwards: shape (r,)."""
        return np.asarray(-(self.basis.T @ (np.sqrt(self.weights) * self.off)))

    @property
    def residual(self) -> float:
        """Its size, √(gᵀF⁻¹g): by so many nats per standard deviation of the member the KL falls."""
        return float(np.linalg.norm(self.descent))

    @cached_property
    def curvature(self) -> Numbers:
        """The second derivatives of KL(q‖p) in the same units: 1 where p is of the family."""
        made: Numbers = np.eye(self.basis.shape[1]) + (self.basis * self.off[:, None]).T @ self.basis
        return made

    @property
    def unexplained(self) -> float:
        """The standard deviation of log(q/p) that no member could remove."""
        rest = np.sqrt(self.weights) * self.off + self.basis @ self.descent
        return float(np.linalg.norm(rest))

    @property
    def noise(self) -> float:
        """The standard error of the natural parameters, in the member's own units, where the places were drawn."""
        curvature = self.curvature
        if not np.linalg.eigvalsh(curvature)[:1].min(initial=1.0) > 0:
            return math.inf
        moved = np.linalg.solve(curvature, (self.basis * (np.sqrt(self.weights) * self.off)[:, None]).T)
        return float(np.linalg.norm(moved))

    def step(self) -> Numbers:
        """A step of the natural parameters: that of the natural gradient, or near the end Newton's in its units."""
        descent = self.descent
        if 0 < np.linalg.norm(descent) < _NEAR:
            curvature = self.curvature
            if np.linalg.eigvalsh(curvature)[0] > _CONVEX:
                newton = np.linalg.solve(curvature, descent)
                # No farther than its own width: what is nearly flat here bends there.
                descent = newton / max(1.0, float(np.linalg.norm(newton)))
        return np.asarray(self.back @ descent)

    @property
    def aside(self) -> Numbers | None:
        """From a stationary point that is no minimum, natural parameters along which the KL falls; else None."""
        values, directions = np.linalg.eigh(self.curvature)
        if not values.size or values[0] >= _SADDLE:
            return None
        return np.asarray(self.natural + self.back @ (0.3 * directions[:, 0]))

    def better(self, other: Place, tolerance: float) -> bool:
        """Whether the KL is less than at another place; or the gradient, where the KL is the same but for rounding."""
        apart = self.bound - other.bound
        level = abs(apart) <= tolerance * (1.0 + abs(other.bound))
        return self.residual < other.residual if level else apart < 0

    def distance(self, natural: Numbers) -> float:
        """How far other natural parameters are, in the member's own units."""
        along = self.statistic @ (natural - self.natural)
        return math.sqrt(max(float(self.weights @ (along - self.weights @ along) ** 2), 0.0))


@dataclass(frozen=True)
class Seen:
    """A member q, and the target's log-density p at places made for it.

    Attributes
    ----------
    member : Distribution
    natural : array, shape (k,)
        Its natural parameters.
    statistic : array, shape (n, k)
    log_mass : array, shape (n,)
        The logarithm of what q has at each place.
    excess : array, shape (n,)
        log p − log q there.
    drawn : bool
        Whether the places were drawn from q.
    divergence : Estimate or None
        KL(q‖p), where they are nodes.
    """

    member: Any
    natural: Numbers
    statistic: Numbers
    log_mass: Numbers
    excess: Numbers
    drawn: bool
    divergence: Estimate | None = None

    def at(self, natural: Numbers) -> Place:
        """The member of other natural parameters, by the same places."""
        tilt = self.statistic @ (natural - self.natural)
        logs = self.log_mass + tilt
        top = float(logs.max())
        log_total = top + math.log(float(np.exp(logs - top).sum()))
        weights = np.exp(logs - log_total)
        off = tilt - log_total - self.excess
        bound = float(weights @ off)
        counted = weights > 0
        share = 1.0 / float((weights[counted] ** 2 * np.exp(-self.log_mass[counted])).sum())
        return Place(natural, weights, bound, share, off - bound, self.statistic)

    @cached_property
    def here(self) -> Place:
        """The member that the places were made for."""
        return self.at(self.natural)


@dataclass(frozen=True)
class Rest:
    """Where steps on the same places came to.

    Attributes
    ----------
    place : Place
    held : {"", "far", "outside", "up"}
        Why they ended before the gradient vanished: the places do not count there, no member is there, or nothing is
        lower there.
    steps : int
    halved : int
        How many of them were.
    """

    place: Place
    held: str
    steps: int
    halved: int


def settled(seen: Seen, inside: Callable[[Numbers], bool], rtol: float, step_size: float) -> Rest:
    """Follow the natural gradient on the same places, until it vanishes or they serve no more.

    Parameters
    ----------
    seen : Seen
    inside : callable
        Whether natural parameters have a member.
    rtol : float
        The residual at which it ends.
    step_size : float
        ρ of the first try of each step; halved until the bound falls, or the residual does.
    """
    here = seen.here
    halved = 0
    for taken in range(STEPS):
        if here.residual <= rtol:
            return Rest(here, "", taken, halved)
        step, held = step_size * here.step(), ""
        for cuts in range(_HALVINGS):
            natural = here.natural + 0.5**cuts * step
            there = seen.at(natural) if inside(natural) else None
            if there is None:
                held = "outside"
            elif there.share < LEAST_SHARE:
                held = "far"
            elif there.better(here, _ROUNDING):
                halved += cuts > 0
                break
            else:
                held = held or "up"
        else:
            return Rest(here, held, taken, halved)
        if held == "far":
            # Beyond, the places would count too little: others are made.
            return Rest(there, held, taken + 1, halved)
        here = there
    return Rest(here, "up", STEPS, halved)
