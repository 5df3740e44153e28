"""What the steps of expectation propagation share: factors by their number, and what matching one of them gave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dkl.fitting.propagation.products import Sites
from dkl.methods.nodes import Numbers


@dataclass(frozen=True)
class Matched:
    """What moment matching gave for some factors.

    Attributes
    ----------
    sites : array, shape (k, ...)
        The natural parameters that their sites should have: as they were, where not kept.
    log_z : array, shape (k,)
        The logarithm of ∫ q·(factor/site)^α under the approximation q, a site being 1 at the place that its form says:
        α times the logarithm of the constant with which the site stands for its factor.
    change : array, shape (k,)
        How far the site should move, in units of the approximation's own width.
    unit : array, shape (k, ...)
        By which changes of sites are multiplied to be compared.
    kept : array of bool, shape (k,)
        Whether the site could be matched.
    inside : array of bool, shape (k,)
        Whether its cavity is a distribution.
    rounding : array, shape (k,)
        The relative error of the tilted density.
    """

    sites: Numbers
    log_z: Numbers
    change: Numbers
    unit: Numbers
    kept: Numbers
    inside: Numbers
    rounding: Numbers


#: The relative error of a density whose outcomes lie about 0.
ROUNDING = 2.0**-53


def rounding_of(mean: Numbers, width: Numbers) -> Numbers:
    """The relative error of densities that are narrow against their means, by the rounding of outcomes."""
    made: Numbers = ROUNDING + 4.0 * np.spacing(np.abs(mean)) / width
    return made


class Approximation(Protocol):
    """A family as expectation propagation sees it: sites are an array, one row of natural parameters each."""

    #: The number of sites that are not exact.
    count: int
    #: The logarithm of the integral of the prior and of all that was multiplied exactly.
    log_exact: float

    def start(self) -> Numbers:
        """Sites that say nothing."""

    def state(self, sites: Numbers) -> Any:
        """The approximation that sites make; None if they make no distribution."""

    def matched(self, state: Any, sites: Numbers, which: Numbers, alpha: Numbers) -> Matched:
        """The sites that give the approximation the moments of the tilted densities of some factors."""

    def replaced(self, state: Any, sites: Numbers, i: int, site: Numbers) -> Any:
        """The approximation with one site replaced; None if that is no distribution."""

    def log_evidence(self, state: Any, alpha: Numbers, log_z: Numbers) -> float:
        """The logarithm of ∫ prior·Π site, by what the tilted densities integrate to."""

    def distribution(self, state: Any) -> Any:
        """The member that the approximation is."""

    def negative(self, state: Any, sites: Numbers) -> Numbers:
        """Which sites have a negative precision."""

    def named(self, sites: Numbers) -> dict[str, Numbers]:
        """The sites' natural parameters by name."""


class Factors:
    """The factors of several groups, by one number."""

    def __init__(self, groups: list[Sites]) -> None:
        self.groups = groups
        self.starts = np.concatenate([[0], np.cumsum([group.count for group in groups])]).astype(int)
        self.count = int(self.starts[-1])

    def projections(self, dimension: int) -> Numbers:
        """The rows a_i, shape (n, d)."""
        rows = [np.zeros((0, dimension))]
        for group in self.groups:
            a = np.ones(group.count) if group.projections is None else group.projections
            rows.append(a.reshape(group.count, -1))
        return np.concatenate(rows)

    def at(self, s: Numbers, which: Numbers) -> Numbers:
        """The logarithms of factors ``which``, one a row of s."""
        if len(self.groups) == 1:
            return np.asarray(self.groups[0].at(s, which))
        made = np.empty_like(s)
        of_group = np.searchsorted(self.starts, which, side="right") - 1
        for k, group in enumerate(self.groups):
            rows = np.flatnonzero(of_group == k)
            if rows.size:
                made[rows] = group.at(s[rows], which[rows] - self.starts[k])
        return made
