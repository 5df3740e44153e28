"""Members of a family as unbounded numbers, counted from one member and in its own units.

At u = 0 is the member from which the numbers are counted. A location moves by its standard deviations, what must be
positive by factors of e, a probability on the scale of its logit, a covariance by a lower triangular factor of its own
factor: so that a step of size 1 means the same wherever the member lies and however wide it is.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dkl._array import to_numpy
from dkl.families.base import Distribution
from dkl.families.constraints import Constraint, positive, probability, real
from dkl.families.matrices import Definite, LowerTriangular
from dkl.families.outcomes import between, non_negative_vector
from dkl.methods.nodes import Numbers
from dkl.mixture import Mixture


class Coordinate(ABC):
    """One parameter as some unbounded numbers."""

    #: How many.
    size: int

    @abstractmethod
    def value(self, u: Numbers) -> Numbers:
        """The parameter at these numbers, which lie along the last axis."""

    def limits(self, u: Numbers) -> str:
        """Where the parameter goes, if a number runs away: "→ 0", "→ ∞" and the like."""
        return f"→ {'∞' if u[np.argmax(np.abs(u))] > 0 else '−∞'}"


@dataclass
class Shifted(Coordinate):
    """A real number (or several), moved by units."""

    start: Numbers
    unit: Numbers

    def __post_init__(self) -> None:
        self.size = self.start.size

    def value(self, u: Numbers) -> Numbers:
        """The start and as many units."""
        if self.unit.ndim == 2:
            return np.asarray(self.start + u @ self.unit.T)
        return np.asarray(self.start + self.unit * _shaped(u, self.start))


@dataclass
class Multiplied(Coordinate):
    """A positive number (or several), multiplied by exp(u)."""

    start: Numbers

    def __post_init__(self) -> None:
        self.size = self.start.size

    def value(self, u: Numbers) -> Numbers:
        """The start times exp(u)."""
        return np.asarray(self.start * np.exp(_shaped(u, self.start)))

    def limits(self, u: Numbers) -> str:
        """0 or ∞."""
        return f"→ {'∞' if u[np.argmax(np.abs(u))] > 0 else '0'}"


@dataclass
class Odds(Coordinate):
    """A probability, whose odds are multiplied by exp(u)."""

    start: Numbers

    def __post_init__(self) -> None:
        self.size = self.start.size

    def value(self, u: Numbers) -> Numbers:
        """The probability at logit(start) + u."""
        logit = np.log(self.start) - np.log1p(-self.start) + _shaped(u, self.start)
        return np.asarray(np.exp(-np.logaddexp(0.0, -logit)))

    def limits(self, u: Numbers) -> str:
        """0 or 1."""
        return f"→ {'1' if u[np.argmax(np.abs(u))] > 0 else '0'}"


@dataclass
class Shares(Coordinate):
    """Shares that sum to 1, each but the last multiplied by exp(u) before they are divided by their sum."""

    start: Numbers

    def __post_init__(self) -> None:
        self.size = self.start.size - 1

    def value(self, u: Numbers) -> Numbers:
        """The shares."""
        logs = np.log(self.start) + np.concatenate([u, np.zeros((*u.shape[:-1], 1))], axis=-1)
        shares = np.exp(logs - logs.max(axis=-1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=-1, keepdims=True))

    def limits(self, u: Numbers) -> str:
        """A share of 0 or 1."""
        return f"→ {'1' if u[np.argmax(np.abs(u))] > 0 else '0'} in a share"


@dataclass
class Factor(Coordinate):
    """A covariance, or its lower triangular factor L₀·M(u): M is lower triangular with exp(u) on its diagonal."""

    start: Numbers
    squared: bool

    def __post_init__(self) -> None:
        n = self.start.shape[-1]
        self.size = n * (n + 1) // 2

    def value(self, u: Numbers) -> Numbers:
        """The factor, or the covariance that has it."""
        n = self.start.shape[-1]
        rows, columns = np.tril_indices(n)
        m = np.zeros((*u.shape[:-1], n, n))
        m[..., rows, columns] = np.where(rows == columns, np.exp(np.where(rows == columns, u, 0.0)), u)
        factor: Numbers = self.start @ m
        return factor @ np.swapaxes(factor, -1, -2) if self.squared else factor

    def limits(self, u: Numbers) -> str:
        """A width of 0 or ∞ in some direction."""
        return f"→ {'∞' if u[np.argmax(np.abs(u))] > 0 else 'singular'}"


@dataclass
class Coordinates:
    """A member and the unbounded numbers around it.

    Attributes
    ----------
    family : type
        The class of the member.
    parts : dict of str to Coordinate
        By the names of the parameters.
    fixed : dict of str to array
        The parameters that stay.
    """

    family: Any
    parts: dict[str, Coordinate]
    fixed: dict[str, Any]

    @property
    def size(self) -> int:
        """How many numbers."""
        return sum(part.size for part in self.parts.values())

    def member(self, u: Numbers) -> Any:
        """The member at these numbers; a batch of members, where there are several rows of them.

        Raises
        ------
        ValueError
            Where they lead out of the floating range.
        """
        return self.family(**{name: part.value(own) for name, part, own in self._split(u)}, **self.fixed)

    def limits(self, u: Numbers) -> str:
        """Which parameter runs away, and where to."""
        name, part, own = max(self._split(u), key=lambda x: float(np.abs(x[2]).max(initial=0.0)))
        return f"{name} {part.limits(own)}"

    def _split(self, u: Numbers) -> list[tuple[str, Coordinate, Numbers]]:
        cuts = np.cumsum([part.size for part in self.parts.values()])[:-1]
        return [(n, p, own) for (n, p), own in zip(self.parts.items(), np.split(u, cuts, axis=-1), strict=True)]


@dataclass
class MixtureCoordinates:
    """A mixture: its weights, and each component by itself."""

    weights: Shares
    each: list[Coordinates]

    @property
    def size(self) -> int:
        """How many numbers."""
        return self.weights.size + sum(part.size for part in self.each)

    def member(self, u: Numbers) -> Any:
        """The mixture at these numbers."""
        own = np.split(u, np.cumsum([self.weights.size, *(part.size for part in self.each)])[:-1], axis=-1)
        parts = [part.member(x) for part, x in zip(self.each, own[1:], strict=True)]
        return Mixture(parts, self.weights.value(own[0]))

    def limits(self, u: Numbers) -> str:
        """Which parameter runs away, and where to."""
        own = np.split(u, np.cumsum([self.weights.size, *(part.size for part in self.each)])[:-1])
        worst = int(np.argmax([np.abs(x).max(initial=0.0) for x in own]))
        if worst == 0:
            return f"weights {self.weights.limits(own[0])}"
        return f"component {worst - 1}: {self.each[worst - 1].limits(own[worst])}"


def _shaped(u: Numbers, start: Numbers) -> Numbers:
    return u.reshape((*u.shape[:-1], *start.shape))


def around(member: Distribution) -> Any:
    """The coordinates around a member of NumPy's.

    Raises
    ------
    TypeError
        For a family that has a parameter which no unbounded numbers stand for.
    """
    if isinstance(member, Mixture):
        weights = np.asarray(to_numpy(member.given["weights"]), dtype=float)
        return MixtureCoordinates(Shares(np.maximum(weights, 1e-300)), [around(part) for part in member.each])
    fixed = tuple(getattr(type(member), "known", ()))
    given = {name: np.asarray(to_numpy(x), dtype=float) for name, x in member.given.items()}
    parts = {
        name: _coordinate(member, name, x, type(member).constraints[name])
        for name, x in given.items()
        if name not in fixed
    }
    return Coordinates(type(member), parts, {name: member.given[name] for name in fixed})


def _coordinate(member: Distribution, name: str, x: Numbers, constraint: Constraint) -> Coordinate:
    if isinstance(constraint, Definite) and name == "covariance":
        return Factor(np.linalg.cholesky(x), squared=True)
    if isinstance(constraint, LowerTriangular):
        return Factor(x, squared=False)
    if constraint is non_negative_vector:
        return Shares(x)
    kinds: dict[Any, Callable[[Numbers], Coordinate]] = {
        positive.met: Multiplied,
        probability.met: Odds,
        between.met: Odds,
    }
    if constraint.met in kinds:
        return kinds[constraint.met](x)
    if constraint.met is real.met and not isinstance(constraint, Definite):
        return Shifted(x, _unit(member, name, x))
    raise TypeError(f"{type(member).__name__} has no coordinates for its {name}, which must be {constraint.name}")


def _unit(member: Distribution, name: str, x: Numbers) -> Numbers:
    """What a real parameter is counted in: the spread of the member, for a location; else 1."""
    if "logit" in name or "log" in name:
        return np.ones_like(x)
    if "covariance" in member.given:
        return np.linalg.cholesky(np.asarray(to_numpy(member.given["covariance"]), dtype=float))
    for scale in ("scale",):
        if scale in member.given and np.shape(to_numpy(member.given[scale])) == x.shape:
            return np.asarray(to_numpy(member.given[scale]), dtype=float)
    try:
        spread = np.asarray(to_numpy(member.std()), dtype=float)
    except NotImplementedError:
        return np.ones_like(x)
    good = np.isfinite(spread) & (spread > 0)
    return np.asarray(np.where(good, spread, 1.0)) if good.shape == x.shape else np.full_like(x, 1.0)


def distance(one: Any, other: Any) -> float:
    """How far apart two members lie in the units of the first: the largest change of a number, by its parameters."""
    if isinstance(one, Mixture):
        first, second = ([m.each[k] for k in _order(m)] for m in (one, other))
        weights = [np.asarray(to_numpy(m.given["weights"]), dtype=float)[_order(m)] for m in (one, other)]
        return max(float(np.abs(weights[0] - weights[1]).max()), *map(distance, first, second))
    worst = 0.0
    for name, x in one.given.items():
        a, b = (np.asarray(to_numpy(m.given[name]), dtype=float) for m in (one, other))
        constraint = type(one).constraints[name]
        if isinstance(constraint, Definite) and name == "covariance":
            scale = np.sqrt(np.diagonal(a))
            worst = max(worst, float(np.abs((a - b) / np.outer(scale, scale)).max()))
        elif constraint.met is positive.met:
            worst = max(worst, float(np.abs(np.log(a / b)).max()))
        else:
            unit = _unit(one, name, np.asarray(to_numpy(x), dtype=float))
            unit = np.sqrt(np.diagonal(unit @ unit.T)) if unit.ndim == 2 else unit
            worst = max(worst, float((np.abs(a - b) / unit).max()))
    return worst


def _order(mixture: Mixture) -> list[int]:
    """The components by their places: mixtures that differ by their order alone are one."""
    return sorted(range(len(mixture.each)), key=lambda k: _place(mixture.each[k]))


def _place(part: Distribution) -> tuple[float, ...]:
    try:
        at = np.atleast_1d(np.asarray(to_numpy(part.mean()), dtype=float))
    except NotImplementedError:
        at = np.array([math.nan])
    return tuple(at.ravel().tolist())
