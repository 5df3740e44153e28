"""Members of an exponential family as vectors of natural parameters, beside the statistics that belong to them.

Two members' log-densities differ by (v − v')·S(x) and a constant. The families' own natural parameters are such but for
a sign and a factor of each: they are found here from the log-densities of two members, once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dkl._array import to_numpy
from dkl.families.exponential import ExponentialFamily
from dkl.families.gamma import ChiSquared, Erlang, Exponential
from dkl.families.matrix_normal import MatrixNormal
from dkl.families.multivariate import LowRankNormal
from dkl.families.outcomes import Bernoulli
from dkl.fitting.matching.members import statistics
from dkl.methods.nodes import Numbers, heights

# The factors are halves and wholes.
_LINEAR = 1e-4
# Outcomes by which they are found.
_FEW = 64
_HALVINGS = 12


def has_chart(family: Any) -> bool:
    """Whether the members of a family are all natural parameters of a convex set, and no more."""
    if not isinstance(family, type) or family in (Erlang, LowRankNormal, MatrixNormal):
        return False  # a shape that is a whole number, and covariances of a form that sums do not keep
    return issubclass(family, ExponentialFamily | Bernoulli)


@dataclass(frozen=True)
class _Part:
    """One natural parameter of a family: its shape, and the factor of its statistic."""

    shape: tuple[int, ...]
    factor: float = 1.0

    @property
    def symmetric(self) -> bool:
        return len(self.shape) == 2

    @property
    def size(self) -> int:
        n = math.prod(self.shape)
        return (n + self.shape[0]) // 2 if self.symmetric else n

    def flat(self, theta: Numbers) -> Numbers:
        """Its numbers: of a symmetric matrix those on the diagonal and below."""
        return theta[..., *np.tril_indices(self.shape[0])] if self.symmetric else theta.reshape(-1)

    def whole(self, v: Numbers) -> Numbers:
        """The parameter that has these numbers."""
        if not self.symmetric:
            return v.reshape(self.shape)
        made = np.zeros(self.shape)
        made[np.tril_indices(self.shape[0])] = v
        return made + np.tril(made, -1).T

    def statistic(self, t: Numbers) -> Numbers:
        """What stands beside its numbers in the log-density, one row an outcome."""
        if not self.symmetric:
            return self.factor * t.reshape(len(t), -1)
        rows, columns = np.tril_indices(self.shape[0])
        return self.factor * np.where(rows == columns, 1.0, 2.0) * t[:, rows, columns]


class Chart:
    """The natural parameters of a family as a vector.

    Parameters
    ----------
    member : ExponentialFamily or Bernoulli
        Any member, of NumPy's: its known parameters and the shape of its outcomes are those of all.
    known : mapping
        The parameters that the family keeps fixed.

    Raises
    ------
    TypeError
        If the family's log-densities are not linear in its natural parameters.

    Examples
    --------
    >>> from dkl.families import Gamma
    >>> chart = Chart(Gamma(2.0, 3.0), {})
    >>> chart.natural(Gamma(2.0, 3.0)), chart.member(chart.natural(Gamma(2.0, 3.0)))
    (array([2., 3.]), Gamma(shape=2, rate=3))
    >>> chart.statistics([1.0])
    array([[ 0., -1.]])
    """

    def __init__(self, member: Any, known: Mapping[str, Any]) -> None:
        self.family, self._known = type(member), known
        self._member = member
        self._of, self._back = _FORMS.get(self.family, (lambda q: q._natural(), self._with_natural))
        self._parts = [_Part(np.shape(theta)) for theta in self._of(member)]
        x = self._outcomes()
        self._parts = [_Part(part.shape, self._factor(k, x)) for k, part in enumerate(self._parts)]

    def _outcomes(self) -> Numbers:
        """Outcomes of the member; where they are all one outcome, of one whose natural parameters are nearer to 0.

        Beside a pole some are the bound itself, as far as numbers tell: they have no statistic.
        """
        member = self._member
        for halved in range(1, _HALVINGS):
            x = np.asarray(to_numpy(member.sample(_FEW, rng=0)), dtype=float)
            of_all = [t.reshape(len(x), -1) for t in statistics(self.family, x, self._known)]
            known = np.all([np.isfinite(t).all(axis=1) for t in of_all], axis=0)
            if all(np.ptp(t[known], axis=0).any() for t in of_all):
                break
            member = self._back(tuple(0.5**halved * np.asarray(to_numpy(t)) for t in self._of(self._member)))
            if member is None:
                break
        return x[known]

    def natural(self, member: Any) -> Numbers:
        """The vector of a member."""
        each = [np.asarray(to_numpy(theta), dtype=float) for theta in self._of(member)]
        return np.concatenate([part.flat(theta) for part, theta in zip(self._parts, each, strict=True)])

    def member(self, v: Numbers) -> Any:
        """The member of a vector; None where there is none."""
        cuts = np.cumsum([part.size for part in self._parts])[:-1]
        theta = tuple(part.whole(own) for part, own in zip(self._parts, np.split(v, cuts), strict=True))
        with np.errstate(all="ignore"):
            made = self._back(theta) if np.isfinite(v).all() else None
        if made is None or not all(np.isfinite(to_numpy(x)).all() for x in made.given.values()):
            return None
        return made

    def statistics(self, x: Any) -> Numbers:
        """S(x), one row an outcome."""
        of_all = statistics(self.family, np.asarray(x, dtype=float), self._known)
        return np.concatenate([part.statistic(t) for part, t in zip(self._parts, of_all, strict=True)], axis=1)

    def _with_natural(self, theta: tuple[Numbers, ...]) -> Any:
        return self._member._with_natural(theta) if bool(np.all(self._member._inside(theta))) else None

    def _factor(self, k: int, x: Numbers) -> float:
        """By which the statistic of one natural parameter is multiplied, from two members that differ in it alone."""
        theta = tuple(np.asarray(to_numpy(each), dtype=float) for each in self._of(self._member))
        part = self._parts[k]
        t = part.statistic(statistics(self.family, x, self._known)[k])
        direction = theta[k] if part.symmetric else _uneven(theta[k])
        unit = direction / (t @ part.flat(direction)).std()
        for size in (0.5, -0.5, 0.01, -0.01):
            step = size * unit
            other = self._back((*theta[:k], theta[k] + step, *theta[k + 1 :]))
            if other is not None:
                break
        else:
            raise TypeError(f"no member of {self.family.__name__} lies beside {self._member!r}")
        linear = t @ part.flat(step)
        linear = linear - linear.mean()
        apart = heights(other, x) - heights(self._member, x)
        factor = float(linear @ (apart - apart.mean()) / (linear @ linear))
        rounded = 0.5 * round(2.0 * factor)
        if not abs(factor - rounded) < _LINEAR or rounded == 0.0:
            raise TypeError(f"the log-densities of {self.family.__name__} are not linear in its natural parameters")
        return rounded


def _uneven(theta: Numbers) -> Numbers:
    """A direction that is not the same along a vector: some families do not see a change of all components."""
    size = np.where(theta == 0.0, 1.0, np.abs(theta))
    return np.asarray(size * np.cos(np.arange(theta.size)).reshape(theta.shape))


def _exponential(theta: tuple[Numbers, ...]) -> Any:
    return Exponential(theta[0]) if theta[0] > 0 else None


def _chi_squared(theta: tuple[Numbers, ...]) -> Any:
    return ChiSquared(2.0 * theta[0]) if theta[0] > 0 else None


# Families of which not all natural parameters are free, or that have none by that name: these parameters, and back.
_FORMS: dict[type, tuple[Callable[[Any], tuple[Any, ...]], Callable[[tuple[Numbers, ...]], Any]]] = {
    Exponential: (lambda q: (q._natural()[1],), _exponential),
    ChiSquared: (lambda q: (q._natural()[0],), _chi_squared),
    Bernoulli: (lambda q: (q._logit,), lambda theta: Bernoulli(logits=theta[0])),
}
