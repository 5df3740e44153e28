"""Which families expectation propagation has steps for, and what of a product does not go with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dkl._array import holds
from dkl.families.base import Distribution
from dkl.families.exponential import ExponentialFamily
from dkl.families.multivariate import DiagonalNormal, MultivariateNormal, VectorNormal
from dkl.families.normal import Normal
from dkl.fitting.points import on_host
from dkl.fitting.problem import DeclinedError, Problem
from dkl.fitting.propagation.normal import EachNormal, WholeNormal
from dkl.fitting.propagation.products import Product, Sites, each_of
from dkl.fitting.propagation.scalar import ScalarFamily
from dkl.fitting.propagation.sites import Approximation
from dkl.supports import Interval


@dataclass(frozen=True)
class _Known:
    """How a family goes about it: what its prior must be, which distributions are sites as they are, and the steps."""

    steps: Callable[[type, Any, tuple[Any, ...]], Approximation]
    prior: type
    exact: type | None


_KNOWN: dict[type, _Known] = {
    Normal: _Known(WholeNormal, Normal, Normal),
    MultivariateNormal: _Known(WholeNormal, VectorNormal, VectorNormal),
    DiagonalNormal: _Known(EachNormal, DiagonalNormal, VectorNormal),
}


def approximation(problem: Problem, target: Product) -> Approximation:
    """The steps of a family for a product.

    Raises
    ------
    DeclinedError
        If there are none.
    TypeError
        If a method was asked for by name, and the prior or a site does not go with the family.
    ValueError
        If the prior has other parameters that the family keeps fixed than were asked for, or a projection is 0.
    """
    family, method = problem.family, problem.method
    known = _known(family)
    if known is None:
        raise DeclinedError("is for normal families and exponential families of numbers")
    prior = on_host(target.prior)
    if not _is(prior, known.prior):
        if method is None:
            raise DeclinedError(f"starts at the prior, which must be a {known.prior.__name__}")
        raise TypeError(
            f"{method} starts at the prior, which must be a {known.prior.__name__} for a fit of {family.__name__}, got "
            f"{prior!r}: give a wide proper one, and the rest of it as a site"
        )
    for name, value in problem.known.items():
        if holds(prior.given[name] == value) is not True:
            raise ValueError(
                f"{name} = {value} is not the prior's, which is {prior.given[name]}: {family.__name__} keeps it fixed, "
                "so both must be equal"
            )
    groups: list[Any] = []
    for k, given in enumerate(target.groups):
        group = given if isinstance(given, Sites) else on_host(given)
        if isinstance(group, Sites) or (known.exact is not None and _is(group, known.exact)):
            groups.append(group)
        elif prior.event_shape:
            if method is None:
                raise DeclinedError(f"needs projections of sites[{k}], a distribution of vectors that is not normal")
            raise TypeError(
                f"sites[{k}], {group!r}, is a distribution of vectors that is not normal: if it depends on the vector "
                "by single numbers, give it as dkl.fitting.Sites with projections"
            )
        else:
            groups += [_of_density(one) for one in each_of(group)]
    return known.steps(family, prior, tuple(groups))


def _known(family: Any) -> _Known | None:
    if family in _KNOWN:
        return _KNOWN[family]
    if not (isinstance(family, type) and issubclass(family, ExponentialFamily)) or family.event_ndim:
        return None
    return _Known(ScalarFamily, family, None)


def _is(distribution: Distribution, base: type) -> bool:
    """Whether it is one of a kind; of numbers exactly that, as a LogNormal is a Normal by its parameters alone."""
    if issubclass(base, VectorNormal):
        return isinstance(distribution, base)
    return type(distribution) is base and not _curved(distribution)


def _curved(member: Any) -> bool:
    """Whether sums of natural parameters leave the family, or outcomes lie on no interval."""
    if type(member.support) is not Interval:
        return True
    theta = member._natural()
    return len(theta) != len(member.means) or type(member._with_natural(theta)) is not type(member)


def _of_density(site: Any) -> Sites:
    made = Sites(lambda x, i: site.log_prob(x))
    made.role = repr(site)
    return made
