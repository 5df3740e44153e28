"""A target as outcomes with weights: what moments, mixtures and the starts of a search look at.

Samples and counts are such; a density on a line or a plane is made of the nodes of quadrature, a distribution of whole
numbers of its outcomes, and anything else of samples drawn from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dkl._array import is_numpy, namespace_of, to_numpy
from dkl.density import Density
from dkl.divergences import kl, tv
from dkl.families.base import Distribution
from dkl.methods.nodes import Numbers
from dkl.methods.quadrature.adaptive import Integral, integrate
from dkl.methods.series import summed
from dkl.mixture import detached
from dkl.representations import Counts, FiniteOutcomes, Representation, Samples
from dkl.supports import Integers, Interval, Vectors

#: How many samples stand for a distribution that nothing else can look at.
DRAWN = 1 << 16
# Relative error of a mass up to which a density counts as found.
_WORST = 1e-6
# A plane's mass that lies beyond has no end.
_FAR = 1e100
_IMPROPER = (
    "the target, {target!r}, is improper: its integral does not come to an end, so no member of a family is near it; "
    "bound its support, or multiply it by a prior"
)
# Quadrature looks out to 1e150, and a fit has to look further than its target does.
_REACH = 1e140
_TOO_WIDE = (
    "the target, {target!r}, has mass beyond {reach:g}, where quadrature cannot follow it out to its end; divide it by "
    "its scale{scale}, or fit the distribution of its logarithm"
)


@dataclass(frozen=True)
class Points:
    """Outcomes and their weights, which sum to 1.

    Attributes
    ----------
    x : array, shape (n, *event_shape)
    weights : array, shape (n,)
    method : {"exact", "quadrature", "samples", "monte_carlo"}
        Where they come from: given as they are, nodes, observations, or drawn.
    log_mass : float
        The logarithm of the integral of the target; 0 of what is normalised.
    mass_error : float
        A bound of its relative error.
    """

    x: Numbers
    weights: Numbers
    method: str
    log_mass: float = 0.0
    mass_error: float = 0.0

    def mean(self, values: Numbers) -> Numbers:
        """The weighted mean of values, one (or an array) a point."""
        made: Numbers = np.tensordot(self.weights, values, axes=(0, 0))
        return made

    @property
    def size(self) -> float:
        """The number of equal weights that would tell as much: 1/Σ w²."""
        return float(1.0 / (self.weights**2).sum())


def points(target: Representation, *, rng: Any = None, weights: Any = None, samples: int = DRAWN) -> Points:
    """The points of one target (not of a batch).

    Parameters
    ----------
    target : Representation
        A distribution or density, samples (along the first axis), or counts of 0, 1, 2, ….
    rng : numpy.random.Generator or int, optional
        The source of samples where they must be drawn.
    weights : array_like, optional
        Of samples: non-negative, one each; equal if not given.
    samples : int
        How many are drawn where there is no other way.

    Raises
    ------
    ValueError
        For no samples, entries that are no numbers, weights that do not fit, a density with NaN, or one whose integral
        is not found or not finite.
    TypeError
        For a target that cannot be looked at.
    """
    if weights is not None and not isinstance(target, Samples):
        raise TypeError(f"weights belong to samples, and the target is a {type(target).__name__}")
    if isinstance(target, Samples):
        return _of_samples(target, weights)
    if isinstance(target, FiniteOutcomes):
        return _of_list(target)
    if not isinstance(target, Distribution):
        raise TypeError(f"nothing fits a {type(target).__name__}: give a distribution, dkl.Density, Samples or Counts")
    host = on_host(target)
    if isinstance(host.support, Integers):
        found = summed(kl, host, host, 1e-13)
        if found is not None and found.error <= _WORST:
            with np.errstate(all="ignore"):
                p = np.exp(np.asarray(to_numpy(host.log_prob(found.outcomes)), dtype=float))
            return _normalised(found.outcomes, np.log(np.where(p > 0, p, 1.0)), p > 0, "exact", found.error, host)
    elif isinstance(host.support, Interval) or (type(host.support) is Vectors and host.support.dimension == 2):
        found_nodes = nodes(host)
        if found_nodes is not None:
            return found_nodes
    if not getattr(host, "can_sample", True):
        raise TypeError(
            f"{host!r} has no way to draw from it, and neither sums nor quadrature can look at it: give it sample=, or "
            "fit by a divergence that needs the fit's samples alone, such as dkl.reverse_kl"
        )
    drawn = np.asarray(to_numpy(host.sample(samples, rng=rng)), dtype=float)
    return Points(drawn, np.full(samples, 1.0 / samples), "monte_carlo")


def on_host(target: Distribution) -> Any:
    """The distribution in NumPy's numbers."""
    if is_numpy(target.xp):
        return target
    return detached(target).moved(namespace_of(), np.zeros((), dtype=np.float64))


class Scaled(Density):
    """A density times a constant: what an unnormalised one is once its integral is known."""

    def __init__(self, density: Distribution, log_factor: float) -> None:
        super().__init__(density.log_prob, support=density.support)
        self._scaled, self._log_factor = density, log_factor
        self.xp, self.dtype = density.xp, density.dtype
        if getattr(density, "can_sample", True):
            self._draw = lambda n, rng: density.sample(n, rng=rng)

    def _log_prob(self, x: Any) -> Any:
        return super()._log_prob(x) + self._log_factor

    def moved(self, xp: Any, like: Any) -> Any:
        """The same in another library."""
        made = super().moved(xp, like)
        made._scaled = self._scaled.moved(xp, like)
        made._function = made._scaled.log_prob
        return made

    def __repr__(self) -> str:
        return f"{self._scaled!r} × {math.exp(self._log_factor):.6g}"


def nodes(target: Distribution) -> Points | None:
    """The nodes of quadrature of a density on a line or a plane; None where its mass is not found.

    Raises
    ------
    ValueError
        If the integral is infinite.
    """
    log_factor, found = 0.0, None
    for _ in range(4):
        scaled = target if log_factor == 0.0 else Scaled(target, log_factor)
        with np.errstate(all="ignore"):
            found = integrate(kl, scaled, scaled, 1e-9)
        mass = found.masses[0]
        if not (0 < mass < math.inf):
            top = _top(found, target)
            if top is None:
                return None
            log_factor -= top
        elif 0.5 < mass < 2.0:
            break
        else:
            log_factor -= math.log(mass)
    assert found is not None
    if _improper(found):
        raise ValueError(_too_wide(target) if _proper(target) else _IMPROPER.format(target=target))
    if _far(found) > _WORST:
        raise ValueError(_too_wide(target))
    if found.mass_errors[0] > _WORST * max(found.masses[0], 1e-300) or not found.masses[0] > 0:
        return None
    panels = found.panels
    log_weights = (panels.log_p + panels.log_w).ravel()
    x = panels.x.reshape(log_weights.size, *target.event_shape)
    made = _normalised(x, log_weights, np.isfinite(log_weights), "quadrature", found.mass_errors[0], target)
    return Points(made.x, made.weights, made.method, made.log_mass - log_factor, made.mass_error)


def _top(found: Integral, target: Distribution) -> float | None:
    """The logarithm of the largest content of a node; None where the density is infinite at one."""
    logs = (found.panels.log_p + found.panels.log_w).ravel()
    if not (logs > -math.inf).any():
        raise ValueError(
            f"the target, {target!r}, has no mass: its log_prob is −inf wherever it was asked; sample= would say where "
            "it is"
        )
    at = int(np.nanargmax(logs))
    if np.abs(found.panels.x.reshape(logs.size, -1)[at]).max() > _FAR:
        raise ValueError(_IMPROPER.format(target=target))
    return float(logs[at]) if math.isfinite(logs[at]) else None


def _proper(target: Distribution) -> bool:
    """Whether a target is normalised by its definition."""
    return not isinstance(target, Density)


def _far(found: Integral) -> float:
    """The share of the mass that lies beyond the reach."""
    with np.errstate(all="ignore"):
        masses = np.exp(found.panels.log_p + found.panels.log_w)
        far = np.abs(found.panels.x).reshape(*masses.shape, -1).max(axis=-1) > _REACH
    return float(masses[far].sum() / masses.sum())


def _too_wide(target: Distribution) -> str:
    try:
        with np.errstate(all="ignore"):
            spread = float(np.max(to_numpy(target.std())))
    except NotImplementedError:
        spread = math.inf
    scale = f", {spread:.3g}" if math.isfinite(spread) else ""
    return _TOO_WIDE.format(target=target, reach=_REACH, scale=scale)


def _improper(found: Integral) -> bool:
    """Whether the mass goes on where numbers end: a tail that falls no faster than one over the distance."""
    with np.errstate(all="ignore"):
        masses = np.exp(found.panels.log_p + found.panels.log_w).sum(axis=-1)
    if found.space.dimension == 1:
        of_target = replace(found.sums, values=np.repeat(masses[:, None], 3, axis=1))
        return found.space.beyond(tv, found.panels, of_target)[0] is not None
    far = (np.abs(found.panels.x).max(axis=-1) > _FAR).any(axis=-1)
    return bool(masses[far].sum() > 1e-3 * masses.sum())


def _normalised(
    x: Numbers, log_weights: Numbers, kept: Numbers, method: str, error: float, target: Distribution
) -> Points:
    if not kept.any():
        raise ValueError(f"the target, {target!r}, has no mass: its log_prob is −inf wherever it was asked")
    logs = log_weights[kept]
    top = logs.max()
    shares = np.exp(logs - top)
    total = shares.sum()
    return Points(x[kept], shares / total, method, float(top + math.log(total)), error)


def real_numbers(x: Any, name: str) -> Numbers:
    """What was given, as NumPy's real numbers.

    Raises
    ------
    TypeError
        If an entry is none: its index and value are named.
    """
    host = np.asarray(to_numpy(x))
    if host.dtype.kind in "biuf":
        return np.asarray(host, dtype=float)
    for at in np.ndindex(*host.shape):
        entry = host[at].item() if hasattr(host[at], "item") else host[at]
        try:
            float(entry)
        except (TypeError, ValueError):
            place = f"[{', '.join(map(str, at))}]" if at else ""
            way = "take its real part, or its absolute value" if isinstance(entry, complex) else "give numbers alone"
            raise TypeError(f"{name}{place} = {entry!r} is no real number: {way}") from None
    raise TypeError(f"{name} must hold real numbers, got an array of dtype {host.dtype}: convert it to floats")


def _of_samples(target: Samples, weights: Any) -> Points:
    x = real_numbers(target.array, "the target's samples")
    if x.ndim == 0 or x.shape[0] == 0:
        raise ValueError("the target, Samples([]), is empty: a fit needs at least one observation")
    good = np.isfinite(x)
    if not good.all():
        at = tuple(int(i) for i in np.argwhere(~good)[0])
        raise ValueError(
            f"the target's samples[{', '.join(map(str, at))}] = {x[at]} is no finite number: leave it out, or say what "
            "it stands for"
        )
    if weights is None:
        return Points(x, np.full(x.shape[0], 1.0 / x.shape[0]), "samples")
    w = real_numbers(weights, "weights")
    if w.shape != x.shape[:1]:
        raise ValueError(f"weights of shape {w.shape} do not fit {x.shape[0]} samples: one each is needed")
    bad = ~((w >= 0) & np.isfinite(w))
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise ValueError(f"weights[{first}] = {w[first]} is no weight: it must be finite and not negative")
    if not (w > 0).any():
        raise ValueError("weights are all 0: at least one must be positive")
    w = w / w.max()  # the sum of the largest numbers would leave their range
    return Points(x, w / w.sum(), "samples")


def _of_list(target: FiniteOutcomes) -> Points:
    from dkl.representations import outcomes

    _, p = outcomes(target)
    host = np.asarray(to_numpy(p), dtype=float)
    if target.in_logs:
        host = np.exp(host - host.max(axis=-1, keepdims=True))
        host = host / host.sum(axis=-1, keepdims=True)
    kept = host > 0
    method = "samples" if isinstance(target, Counts) else "exact"
    return Points(np.flatnonzero(kept).astype(float), host[kept] / host[kept].sum(), method)
