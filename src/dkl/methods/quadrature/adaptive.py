"""Panels halved where the rule sees an error, until the divergence of a pair of densities is known well enough."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dkl._array import logsumexp, namespace_of
from dkl.divergences import Csiszar, Divergence
from dkl.families.base import Distribution
from dkl.methods.nodes import Numbers
from dkl.methods.quadrature.kinks import cut_at_crossings, has_kink
from dkl.methods.quadrature.line import Line
from dkl.methods.quadrature.panels import Sums, rounding, sums_of
from dkl.methods.quadrature.plane import Plane

_MOST = {1: 20_000, 2: 12_000}
_ROUNDS = 60
#: Above this no error in the sum of the terms is one of rounding.
_BLURRED = 1e-13


@dataclass(frozen=True)
class Integral:
    """What the panels came to: their nodes, an estimate of the relative error, and the masses found."""

    space: Any
    panels: Any
    sums: Sums
    error: float
    masses: tuple[float, float]
    mass_errors: tuple[float, float]
    evaluations: int
    #: Whether the error is that of rounding: P and Q are so near that more panels would not lessen it.
    rounded: bool = False
    #: Why it is infinite, if the integral diverges.
    diverges: str | None = None


def integrate(
    divergence: Divergence, p: Distribution, q: Distribution, rtol: float, floor: float = 0.0, most: int | None = None
) -> Integral:
    """Adapt panels to one pair of NumPy's until the divergence has the relative error asked for, or cannot.

    The error of the result is relative; to ``floor``, where the divergence is smaller than that. ``most`` is the number
    of panels at which to stop, if it is to be fewer than usual.
    """
    space: Any = Line.of(p, q) if not p.event_ndim else Plane.of(p, q)
    panels = space.first()
    if space.dimension == 1 and has_kink(divergence):
        panels = cut_at_crossings(space, panels)
    sums = sums_of(divergence, panels)
    evaluations = panels.x.size
    best, stalled = math.inf, 0
    error, rounded = math.inf, False
    for _ in range(_ROUNDS):
        totals, errors = sums.values.sum(axis=0), sums.errors.sum(axis=0)
        relevant, error = _measures(divergence, sums, totals, errors, floor)
        masses_met = errors[0] <= 1e-9 and errors[1] <= 1e-9
        if error <= rtol and masses_met and space.dimension == 1:
            np.maximum(sums.errors, space.seams(divergence, panels), out=sums.errors)
            errors = sums.errors.sum(axis=0)
            relevant, error = _measures(divergence, sums, totals, errors, floor)
            masses_met = errors[0] <= 1e-9 and errors[1] <= 1e-9
            best, stalled = math.inf, 0
        if error <= rtol and masses_met:
            break
        if not math.isfinite(error) and masses_met:
            break
        if stalled and errors[2] <= _BLURRED and masses_met:
            blurred = replace(sums, errors=np.column_stack([sums.errors[:, :2], rounding(divergence, panels)]))
            blur = blurred.errors[:, 2].sum()
            if errors[2] <= blur:
                error, rounded = _measures(divergence, blurred, totals, np.array([0.0, 0.0, blur]), floor)[1], True
                break
        worst = max(error if math.isfinite(error) else 0.0, errors[:2].max())
        stalled = 0 if worst < 0.7 * best else stalled + 1
        best = min(best, worst)
        share = 0.25 / len(panels.low)
        wanted = (relevant > rtol * share) | (sums.errors[:, :2] > 1e-9 * share).any(axis=-1)
        wanted &= space.splittable(panels)
        if (
            not wanted.any()
            or len(panels.low) > (most or _MOST[space.dimension])
            or stalled > (3 if best < 1e-6 else 12)
        ):
            break
        new = space.halves(panels[wanted], sums.worse[wanted])
        evaluations += new.x.size
        sums = sums.joined(~wanted, sums_of(divergence, new))
        panels = panels[~wanted].joined(new)
    totals = sums.values.sum(axis=0)
    reason, tail = space.beyond(divergence, panels, sums)
    (p_mass, q_mass), (p_error, q_error) = totals[:2], sums.errors.sum(axis=0)[:2]
    masses, mass_errors = (float(p_mass), float(q_mass)), (float(p_error), float(q_error))
    return Integral(space, panels, sums, error + tail, masses, mass_errors, evaluations, rounded, reason)


def _measures(
    divergence: Divergence, sums: Sums, totals: Numbers, errors: Numbers, floor: float
) -> tuple[Numbers, float]:
    """The relative error of the divergence that each panel brings, and their sum."""
    total = max(totals[2], floor)
    by_terms = sums.errors[:, 2] / total if 0 < total < math.inf else sums.errors[:, 2]
    if isinstance(divergence, Csiszar):
        # An infinite sum needs no more panels, but the masses may.
        return (by_terms, float(by_terms.sum())) if np.isfinite(total) else (0.0 * sums.errors[:, 0], math.inf)
    log_total = float(logsumexp(namespace_of(), sums.log_power))
    if abs(log_total) < 0.5 and np.isfinite(total):
        # The function of the sum has at most about the sum's relative error here.
        return 2.0 * by_terms, 2.0 * float(by_terms.sum())
    if log_total == -math.inf:
        return 0.0 * by_terms, 0.0
    if divergence.unit:
        # The logarithm of the integral: its error is the integral's relative one, over the logarithm itself.
        relative = np.exp(sums.log_error - log_total) / max(abs(log_total), 1e-300)
        return relative, float(relative.sum())
    return by_terms, float(by_terms.sum())
