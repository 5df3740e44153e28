"""Mixtures for expectation maximisation to start from: of clusters, of drawn outcomes, and of random shares.

References
----------
.. [1] D. Arthur, S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA (2007).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dkl.families.normal import LogNormal
from dkl.fitting.matching.iteration import Mixing
from dkl.fitting.matching.members import NoMemberError
from dkl.fitting.points import Points
from dkl.methods.nodes import Numbers
from dkl.mixture import Mixture, MixtureFamily

# Rounds of k-means before a start.
_LLOYD = 8
# The share of every outcome that is given to all components alike, lest one begins on a single outcome.
_SHARED = 0.1
# Outcomes of less weight, such as the outermost nodes of a quadrature, say nothing of where to start.
_LIGHT = 1e-30


def starts(
    family: MixtureFamily,
    found: Points,
    count: int,
    rng: np.random.Generator,
    known: Mapping[str, Any] | None = None,
    *,
    minimum_scale: float = 0.0,
) -> list[Mixture]:
    """Mixtures to start from, by turns: of clusters, of the surroundings of drawn outcomes, and of random shares.

    Parameters
    ----------
    family : MixtureFamily
    found : Points
    count : int
        How many are tried.
    rng : numpy.random.Generator
    known : mapping, optional
        The parameters that the components keep fixed.
    minimum_scale : float
        The least standard deviation of normal components.

    Returns
    -------
    list of Mixture
        Fewer, where a start has no member for one of its parts.

    Examples
    --------
    >>> import numpy as np
    >>> import dkl
    >>> from dkl.fitting.points import points
    >>> seen = points(dkl.Samples([0.0, 0.2, 0.4, 5.0, 5.1, 5.5]))
    >>> begun = starts(dkl.Mixture.of(dkl.families.Normal, 2), seen, 1, np.random.default_rng(0))
    >>> begun[0].components.given["loc"].round(2).tolist()
    [4.95, 0.45]
    """
    kept = found.weights > _LIGHT
    heavy = found.weights[kept]
    found = replace(found, x=found.x[kept], weights=heavy / heavy.sum())
    mixing = Mixing(family, found, known or {}, minimum_scale)
    made = []
    for k in range(count):
        try:
            made.append(mixing.matching(_shares(mixing, k, rng)))
        except NoMemberError:
            continue  # a part of one outcome, as another draw will not have it
    return made


def _shares(mixing: Mixing, kind: int, rng: np.random.Generator) -> Numbers:
    """The shares of the components in every outcome, the kinds by turns."""
    count, n = mixing.family.components, len(mixing.x)
    if kind % 3 == 2:
        drawn = rng.standard_exponential((count, n))
        return np.asarray(drawn / drawn.sum(axis=0))
    places = places_of(mixing)
    if kind % 3 == 0:
        centres = _spread_out(places, mixing.w, count, rng)
        for _ in range(_LLOYD):
            cells = _nearest(places, centres)
            mass = np.bincount(cells, weights=mixing.w, minlength=count)
            sums = np.stack(
                [np.bincount(cells, weights=mixing.w * axis, minlength=count) for axis in places.T], axis=-1
            )  # fmt: skip
            full = mass > 0
            centres[full] = sums[full] / mass[full, None]
    else:
        centres = places[rng.choice(n, size=count, replace=False, p=mixing.w)] if count < n else places
    cells = _nearest(places, centres)
    mine = np.zeros((count, n))
    mine[cells, np.arange(n)] = 1.0
    return (1.0 - _SHARED) * mine + _SHARED / count


def places_of(mixing: Mixing) -> Numbers:
    """Outcomes as vectors, each axis in units of its spread."""
    x = np.log(mixing.x) if mixing.component is LogNormal else mixing.x
    flat = x.reshape(len(x), -1)
    flat = flat - mixing.w @ flat
    spread = np.sqrt(mixing.w @ flat**2)
    return np.asarray(flat / np.where(spread > 0, spread, 1.0))


def _spread_out(places: Numbers, w: Numbers, count: int, rng: np.random.Generator) -> Numbers:
    """Centres drawn one after the other by the squared distance from those before [1]."""
    centres = [places[rng.choice(len(w), p=w)]]
    nearest = np.full(len(w), math.inf)
    for _ in range(count - 1):
        nearest = np.minimum(nearest, ((places - centres[-1]) ** 2).sum(axis=-1))
        chances = nearest * w
        total = chances.sum()
        centres.append(places[rng.choice(len(w), p=chances / total if total > 0 else w)])
    return np.array(centres)


def _nearest(places: Numbers, centres: Numbers) -> Any:
    """The centre nearest to each place."""
    # Of the squared distance what depends on the centre.
    return np.argmin(0.5 * (centres**2).sum(axis=-1) - places @ centres.T, axis=-1)


__all__ = ["places_of", "starts"]
