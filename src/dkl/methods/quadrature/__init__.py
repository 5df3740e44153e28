"""Adaptive quadrature of pairs of densities: the divergence of the nodes, weighted, as if they were outcomes.

What is left to this package is to place the nodes. The axis is cut between the places where P and Q have their mass
(:mod:`dkl.methods.landmarks`) into pieces with coordinates of their own (:mod:`.line`), or in two dimensions into the
products of such pieces (:mod:`.plane`). Panels are halved where the rule of Gauss and Kronrod (:mod:`.kronrod`) sees
an error in the masses of P and Q, in the divergence, or in ∫ p^a q^(1−a) (:mod:`.adaptive`). A mass that does not come
to 1 says that something was not found.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dkl._array import is_numpy, namespace_of
from dkl.density import Density
from dkl.divergences import Divergence
from dkl.estimate import Estimate
from dkl.families.base import Distribution
from dkl.methods.by_row import Answer, by_row, decided
from dkl.methods.nodes import not_normalised
from dkl.methods.quadrature.adaptive import integrate
from dkl.methods.quadrature.panels import counted
from dkl.mixture import detached
from dkl.rules import rule
from dkl.supports import Interval, Vectors

#: Relative error at which the answer is given without a word, on a line and in a plane.
RTOL, RTOL_PLANE = 1e-10, 1e-6
#: Relative error up to which an answer is given at all; beyond it Monte Carlo is asked.
_WORST = 1e-4
#: How far from 1 a mass may be found.
_MASS = 1e-6


@rule(Divergence, Distribution, Distribution, "quadrature")
def quadrature(
    divergence: Divergence, p: Any, q: Any, *, axis: Any = -1, rtol: float | None = None, **options: Any
) -> Estimate | None:
    """Integrate the terms of the divergence over the line or the plane.

    Declines for other outcomes, for a divergence that no integral decides, and where the relative error stays above
    1e-4 or mass was not found. Where P and Q are so near that the rounding of their densities decides the last digits,
    or all of them, the error says so, without a warning.
    """
    dimension = _dimension(p, q)
    if dimension is None or not decided(divergence):
        return None
    wanted = (RTOL if dimension == 1 else RTOL_PLANE) if rtol is None else rtol

    def short(worst: float, wanted: float) -> str | None:
        came = f"quadrature of {divergence.symbol} came to a relative error of about {worst:.1g}"
        return f"{came}, not of rtol = {wanted:g}" if worst > wanted else None

    return by_row(divergence, p, q, wanted, _measured, "quadrature", short)


def _dimension(p: Distribution, q: Distribution) -> int | None:
    sides = (p.support, q.support)
    if all(isinstance(s, Interval) for s in sides):
        return 1
    return 2 if all(type(s) is Vectors and s.dimension == 2 for s in sides) else None


def _measured(divergence: Divergence, p: Any, q: Any, rtol: float) -> Answer | None:
    """The answer for one pair; None where Monte Carlo should be asked."""
    like = np.zeros((), dtype=np.float64)
    numpy = namespace_of()
    hosts = [side if is_numpy(side.xp) else detached(side).moved(numpy, like) for side in (p, q)]
    with np.errstate(all="ignore"):
        found = integrate(divergence, hosts[0], hosts[1], rtol)
    if not max(found.mass_errors) < 0.1 * _WORST:
        return None
    for name, side, mass, error in zip("pq", hosts, found.masses, found.mass_errors, strict=True):
        if abs(mass - 1.0) > max(_MASS, error):
            if isinstance(side, Density) and found.space.dimension == 1:
                raise ValueError(not_normalised(name, side, mass, "integrates"))
            return None
    xp = p.xp
    if found.diverges:
        return Answer(xp.asarray(math.inf, dtype=xp.float64), reason=found.diverges)
    if not (found.error <= _WORST or found.rounded):
        return None
    with np.errstate(all="ignore"):
        value = divergence.total(found.space.pair(counted(divergence, found.panels), p, q))
    return Answer(value, found.error, rounded=found.rounded)
