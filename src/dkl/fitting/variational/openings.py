"""Members from which a search over vectors, shares, directions or matrices begins.

Each matches the means of what a window shows of some outcomes: samples of the target, or where nobody can draw from it
those of a broad distribution on its support, weighted by as much of its density as they bear.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dkl._array import to_numpy
from dkl.families.base import Distribution
from dkl.fitting.direct.starts import matched
from dkl.fitting.matching.members import support_of
from dkl.fitting.problem import Problem
from dkl.methods.nodes import Numbers
from dkl.mixture import Mixture
from dkl.supports import Matrices, PositiveDefinite, Simplex, Sphere, Vectors

# Outcomes that are looked through.
_DRAWN = 1 << 12
# How many of them must count beside the density, and how wide normal numbers are.
_COUNT = 200.0
_WIDE = 3.0


def openings(
    problem: Problem, target: Distribution, log_p: Callable[[Numbers], Numbers], count: int, rng: np.random.Generator
) -> list[Any]:
    """Members to begin with: of the target as a whole, of each component, and of parts of it.

    Parameters
    ----------
    problem : Problem
    target : Distribution
        Of NumPy's.
    log_p : callable
        Its log-density.
    count : int
        How many are looked for.
    rng : numpy.random.Generator

    Returns
    -------
    list of Distribution

    Raises
    ------
    ValueError
        If members of the family live where the target does not, or none matches any part of it.
    """
    family, known = problem.family, problem.known
    support = support_of(family, np.zeros((1, *target.event_shape)), known)
    hold_within(family, support, target)
    made: list[Any] = []
    if getattr(target, "can_sample", True):
        x, weights = _drawn(target, rng), np.full(_DRAWN, 1.0 / _DRAWN)
        made.append(matched(family, known, x, weights))
        if isinstance(target, Mixture):
            made += [part if type(part) is family else matched(family, known, _drawn(part, rng), weights)
                     for part in target.each]  # fmt: skip
    else:
        x = _broad(support, target, rng)
        weights = _tempered(log_p(x))
        made.append(matched(family, known, x, weights))
    flat = x.reshape(len(x), -1)
    centre = weights @ flat
    spread = np.sqrt(weights @ (flat - centre) ** 2)
    spread = np.where(spread > 0, spread, 1.0)
    for _ in range(len(made), count):
        at = flat[rng.choice(len(flat), p=weights)]
        with np.errstate(under="ignore"):
            window = weights * np.exp(-0.5 * (((flat - at) / (spread * rng.uniform(0.1, 1.0))) ** 2).sum(axis=1))
        made.append(matched(family, known, x, window / window.sum()))
    found = [member for member in made if member is not None]
    if not found:
        raise ValueError(f"no {family.__name__} matches any part of the target, {target!r}")
    return found


def hold_within(family: Any, support: Any, target: Distribution) -> None:
    """Raise a ValueError if members have mass where the target has none: they are all infinitely far then."""
    if not bool(np.all(support.within(target.support))):
        raise ValueError(
            f"every {family.__name__} is infinitely far from the target, {target!r}: it lives on {support.name}, and "
            f"the target on {target.support.name}; fit a family that lives where the target does"
        )


def _drawn(of: Any, rng: np.random.Generator) -> Numbers:
    drawn: Numbers = np.asarray(to_numpy(of.sample(_DRAWN, rng=rng)), dtype=float)
    return drawn


def _broad(support: Any, target: Distribution, rng: np.random.Generator) -> Numbers:
    """Outcomes all over a support."""
    shape = tuple(target.event_shape)
    if isinstance(support, Simplex):
        return rng.dirichlet(np.ones(shape[0]), size=_DRAWN)
    z = rng.standard_normal((_DRAWN, *shape))
    if isinstance(support, Sphere):
        return np.asarray(z / np.linalg.norm(z, axis=1, keepdims=True))
    if isinstance(support, PositiveDefinite):
        more = rng.standard_normal((_DRAWN, shape[0], shape[0] + 2))
        sizes = np.exp(rng.standard_normal((_DRAWN, 1, 1))) / more.shape[2]
        return np.asarray(sizes * more @ np.swapaxes(more, 1, 2))
    if type(support) in (Vectors, Matrices):
        return _WIDE * z
    total = float(np.asarray(support.total))
    shares = rng.dirichlet(np.ones(shape[0]), size=_DRAWN)
    return np.asarray(rng.multinomial(int(total), shares), dtype=float)


def _tempered(log_p: Numbers) -> Numbers:
    """Shares of p^t, with the greatest t up to 1 at which some hundred of them count."""
    low, high = 0.0, 1.0
    top = float(log_p.max())
    if top == -math.inf:
        raise ValueError("the target has no mass: its log_prob is −inf wherever it was asked; sample= says where it is")

    def shares(t: float) -> Numbers:
        w = np.exp(t * (log_p - top))
        return np.asarray(w / w.sum())

    if 1.0 / (shares(1.0) ** 2).sum() >= _COUNT:
        return shares(1.0)
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if 1.0 / (shares(middle) ** 2).sum() >= _COUNT else (low, middle)
    return shares(max(low, 1e-12))
