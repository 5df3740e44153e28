"""What a fit leaves out: parts of the target that hold mass where the fit has next to none.

A place is ignored where the fit's density is below a hundredth of the target's. The parts of a mixture are its
components; those of another density on a line, or of whole numbers, the stretches that are ignored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dkl._array import to_numpy
from dkl.divergences import kl
from dkl.families.base import Distribution
from dkl.fitting.direct.objective import applies
from dkl.fitting.points import Points, on_host, points
from dkl.fitting.problem import Problem
from dkl.methods.landmarks import ends
from dkl.methods.nodes import Numbers, heights
from dkl.mixture import Mixture

#: Where the fit's density is below this share of the target's, it ignores the place.
IGNORED = 0.01
#: Parts that hold less are not told.
LEAST = 1e-3


@dataclass(frozen=True)
class Dropped:
    """A part of the target that the fit ignores.

    Attributes
    ----------
    part : str
        Which: ``"component 0, Normal(loc=-3, scale=1)"``, or ``"from 1.2 to ∞"``.
    mass : float
        How much of the target's mass lies where the fit ignores it, in this part.
    of : float
        How much of the target's mass the part holds.
    error : float
        How far off ``mass`` may be: the mass of the nodes at the edges, or the standard error of what was drawn.
    """

    part: str
    mass: float
    of: float
    error: float

    def to_dict(self) -> dict[str, Any]:
        """A form that JSON can hold."""
        return {"part": self.part, "mass": self.mass, "of": self.of, "error": self.error}


def dropped(problem: Problem, fitted: Distribution) -> tuple[Dropped, ...]:
    """The parts of a problem's target that a fit ignores, the largest first.

    Parameters
    ----------
    problem : Problem
        Its target a distribution: of samples nobody knows the density.
    fitted : Distribution

    Returns
    -------
    tuple of Dropped
        Those of at least a thousandth of the mass; none of samples, of a batch, and of a density in high dimension that
        nothing can draw from.
    """
    target = problem.target
    if not isinstance(target, Distribution) or target.batch_shape:
        return ()
    host = on_host(target)
    if not (applies(kl, host) or getattr(host, "can_sample", True)):
        return ()
    seen = points(host, rng=problem.seed)
    log_p, log_q = heights(host, seen.x) - seen.log_mass, heights(on_host(fitted), seen.x)
    ignored = log_q < log_p + math.log(IGNORED)
    parts = _components(host, seen, log_p, ignored) if isinstance(host, Mixture) else _stretches(host, seen, ignored)
    return tuple(sorted((p for p in parts if p.mass >= LEAST), key=lambda p: -p.mass))


def _error(seen: Points, share: Numbers) -> float:
    """Of a mean over points: of drawn ones the standard error, of nodes what those hold at which it changes."""
    weights = seen.weights * share
    if seen.method == "monte_carlo":
        mean = weights.sum()
        return float(np.sqrt(max((seen.weights**2 * (share - mean) ** 2).sum(), 0.0)))
    if seen.x.ndim > 1:
        return float(np.abs(weights).max(initial=0.0))
    order = np.argsort(seen.x)
    changed = np.diff((share[order] > 0).astype(int)) != 0
    return float(np.maximum(seen.weights[order][1:], seen.weights[order][:-1])[changed].sum())


def _components(target: Mixture, seen: Points, log_p: Numbers, ignored: Numbers) -> list[Dropped]:
    made = []
    weights = np.asarray(to_numpy(target.parameters["weights"]), dtype=float)
    for k, (component, weight) in enumerate(zip(target.each, weights, strict=True)):
        if not weight > 0:
            continue
        with np.errstate(all="ignore"):
            belongs = np.exp(np.minimum(heights(component, seen.x) + math.log(weight) - log_p, 0.0))
        share = np.where(ignored, belongs, 0.0)
        mass = float(seen.weights @ share)
        made.append(Dropped(f"component {k}, {component!r}", mass, float(weight), _error(seen, share)))
    return made


def _stretches(target: Distribution, seen: Points, ignored: Numbers) -> list[Dropped]:
    if seen.x.ndim > 1:
        mass = float(seen.weights @ ignored)
        return [Dropped("all that is ignored", mass, 1.0, _error(seen, ignored.astype(float)))]
    # Where mass underflows, neither density is there to be compared.
    order = np.argsort(seen.x)
    order = order[seen.weights[order] > 0]
    x, out = seen.x[order], ignored[order]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], out, [False]]).astype(int)))
    made = []
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        share = np.zeros(seen.x.size)
        share[order[first:last]] = 1.0
        low = ends(target)[0] if first == 0 else 0.5 * (x[first - 1] + x[first])
        high = ends(target)[1] if last == x.size else 0.5 * (x[last - 1] + x[last])
        mass = float(seen.weights @ share)
        made.append(Dropped(f"from {_place(low)} to {_place(high)}", mass, mass, _error(seen, share)))
    return made


def _place(x: float) -> str:
    return f"{x:.4g}" if math.isfinite(x) else "∞" if x > 0 else "−∞"
