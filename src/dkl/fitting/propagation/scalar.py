"""Expectation propagation in any exponential family of numbers: moments by quadrature, members by moment matching.

A site is exp(θ_i·T(x)): approximation and cavities are members with the prior's carrier h(x), so that natural
parameters add. Supports with bounds are laid on a line by a logarithm or a logit, where densities end smoothly.

References
----------
.. [1] T. Minka, "Power EP", Microsoft Research TR-2004-149 (2004).
.. [2] M. Seeger, "Expectation propagation for exponential families", EPFL technical report 161464 (2005).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dkl._array import namespace_of, to_numpy
from dkl.families.exponential import ExponentialFamily
from dkl.fitting.propagation.products import Sites
from dkl.fitting.propagation.sites import Factors, Matched, rounding_of
from dkl.fitting.propagation.tilted import moments
from dkl.methods.nodes import Numbers
from dkl.supports import Interval


class _Axis:
    """A line u on which an interval of x lies."""

    def __init__(self, support: Interval) -> None:
        self.low, self.high = float(to_numpy(support.low)), float(to_numpy(support.high))

    def x(self, u: Numbers) -> Numbers:
        """The outcomes at places."""
        if self.low == -math.inf and self.high == math.inf:
            return u
        if self.high == math.inf:
            return self.low + np.exp(u)
        if self.low == -math.inf:
            return self.high - np.exp(-u)
        return self.low + (self.high - self.low) * _sigmoid(u)

    def log_slope(self, u: Numbers) -> Numbers:
        """The logarithm of dx/du."""
        if self.low == -math.inf and self.high == math.inf:
            return np.zeros_like(u)
        if self.high == math.inf:
            return u
        if self.low == -math.inf:
            return -u
        return math.log(self.high - self.low) - np.abs(u) - 2.0 * np.log1p(np.exp(-np.abs(u)))

    def inside(self, x: Numbers) -> Numbers:
        """Whether rounding has left an outcome strictly between the bounds."""
        return (x > self.low) & (x < self.high)


def _sigmoid(u: Numbers) -> Numbers:
    small = np.exp(-np.abs(u))
    return np.where(u < 0, small, 1.0) / (1.0 + small)


class ScalarFamily:
    """Sites of natural parameters, for an exponential family of numbers.

    A sweep costs one quadrature for each site, some 300 densities and factors.
    """

    def __init__(self, family: type[ExponentialFamily], prior: Any, groups: tuple[Sites, ...]) -> None:
        self.family, self.log_exact = family, 0.0
        self.prior = family(**{name: np.asarray(to_numpy(x), dtype=float) for name, x in prior.given.items()})
        self.known = {name: self.prior.given[name] for name in family.known}
        self.theta = np.stack([np.asarray(t, dtype=float).reshape(()) for t in self.prior._natural()])
        self.axis = _Axis(self.prior.support)  # type: ignore[arg-type]
        self.factors = Factors([_unprojected(group) for group in groups])
        self.count = self.factors.count
        # Where the last sweep saw the tilted densities, on the line.
        self._centre, self._width = np.zeros(self.count), np.ones(self.count)
        # Where every site is 1.
        self._place = self.axis.x(np.zeros(()))

    def start(self) -> Numbers:
        """Sites that say nothing."""
        return np.zeros((self.count, len(self.theta)))

    def _member(self, theta: Numbers) -> Any:
        """The members of rows of natural parameters, as a batch of shape (k, 1)."""
        columns = tuple(theta[:, j : j + 1] for j in range(theta.shape[1]))
        return self.prior._with_natural(columns)

    def _proper(self, theta: Numbers) -> Numbers:
        columns = tuple(theta[:, j] for j in range(theta.shape[1]))
        return np.isfinite(theta).all(axis=1) & np.asarray(self.prior._inside(columns))

    def state(self, sites: Numbers) -> Numbers | None:
        """The natural parameters that sites make; None if they make no distribution."""
        theta: Numbers = self.theta + sites.sum(axis=0)
        return theta if self._proper(theta[None]).all() else None

    def matched(self, state: Numbers, sites: Numbers, which: Numbers, alpha: Numbers) -> Matched:
        """The sites that give the approximation the moments of the tilted densities of some factors."""
        a = alpha[:, None]
        cavity = state - a * sites[which]
        inside = self._proper(cavity)
        members = self._member(np.where(inside[:, None], cavity, state))

        def density(u: Numbers, rows: Numbers) -> Numbers:
            x = self.axis.x(u)
            good = self.axis.inside(x)
            x = np.where(good, x, self.axis.x(np.zeros(())))
            of_cavity = _rows(members, rows)._log_prob(x)
            tilt = alpha[rows][:, None] * self.factors.at(x, which[rows])
            return np.where(good, of_cavity + tilt + self.axis.log_slope(u), -math.inf)

        def statistics(u: Numbers, rows: Numbers, centre: Numbers, width: Numbers) -> Numbers:
            x = self.axis.x(u)
            x = np.where(self.axis.inside(x), x, self.axis.x(np.zeros(())))
            given = self.family._statistics(namespace_of(), x, self.known)
            return np.stack([np.broadcast_to(t, u.shape) for t in given])

        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            made = moments(density, statistics, self._centre[which], self._width[which])
        kept = inside & made.found
        self._centre[which[kept]], self._width[which[kept]] = made.centre[kept], made.width[kept]
        new = sites[which].copy()
        if kept.any():
            # Of means that belong to no member, by rounding or by nature, the family says which.
            matched = self.family.from_mean_parameters(*made.means[:, kept], **self.known)
            theta = np.stack([np.broadcast_to(t, (int(kept.sum()),)) for t in matched._natural()], axis=1)
            new[kept] = (theta - cavity[kept]) / a[kept]
        size = np.abs(self.theta) + np.abs(sites).sum(axis=0) + np.abs(state)
        unit = np.broadcast_to(1.0 / np.where(size > 0, size, 1.0), new.shape)
        change = (np.abs(new - sites[which]) * unit).max(axis=1)
        if len(which) == self.count:
            self._place = self.axis.x(np.array(np.median(self._centre)))
        # The cavity is q over the site to the power of α, but for its normaliser.
        of_cavity = self._log_prob(state[None], self._place) - members._log_prob(self._place)[:, 0]
        rounding = rounding_of(self._centre[which], self._width[which])
        return Matched(new, made.log_mass + of_cavity, change, unit, kept, inside, rounding)

    def _log_prob(self, theta: Numbers, x: Numbers) -> float:
        return float(self._member(theta)._log_prob(x)[0, 0])

    def replaced(self, state: Numbers, sites: Numbers, i: int, site: Numbers) -> Numbers | None:
        """The approximation with one site replaced."""
        theta: Numbers = state + (site - sites[i])
        return theta if self._proper(theta[None]).all() else None

    def log_evidence(self, state: Numbers, alpha: Numbers, log_z: Numbers) -> float:
        """The logarithm of ∫ prior·Π site: each site is 1 at one place."""
        of_prior = self._log_prob(self.theta[None], self._place)
        return of_prior - self._log_prob(state[None], self._place) + float((log_z / alpha).sum())

    def distribution(self, state: Numbers) -> Any:
        """The member that the approximation is."""
        made = self.prior._with_natural(tuple(state))
        return self.family(**{name: float(to_numpy(x)) for name, x in made.given.items()})

    def negative(self, state: Numbers, sites: Numbers) -> Numbers:
        """None: what narrows and what widens is not said by signs in every family."""
        return np.zeros(0, dtype=int)

    def named(self, sites: Numbers) -> dict[str, Numbers]:
        """The sites' natural parameters, in the order and units of the family's own ``natural()``."""
        return {"natural": sites}


def _rows(members: Any, rows: Numbers) -> Any:
    """Some members of a batch of shape (k, 1)."""
    given = {name: x if x.ndim == 0 else x[rows] for name, x in members.parameters.items()}
    return type(members)._raw(members, **given)


def _unprojected(group: Sites) -> Sites:
    if group.projections is None:
        return group
    a = group.projections
    made = Sites(lambda x, i: group.at(a[i] * x, i[:, 0]), count=group.count)
    made.role = group.role
    return made
