"""The members of a family that suit weighted outcomes best: those of the greatest weighted likelihood.

In an exponential family it is the one with the outcomes' mean statistics. Of normal distributions these are E[x] and
E[x²], whose difference loses the digits of a narrow distribution far from 0: there means come first and the spread
around them after.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dkl._array import namespace_of
from dkl.families.base import Distribution
from dkl.families.directional import Circle
from dkl.families.exponential import MeanParametrised
from dkl.families.multivariate import DiagonalNormal, LowRankNormal, MultivariateNormal
from dkl.families.normal import LogNormal, Normal
from dkl.families.outcomes import Categorical
from dkl.fitting.matching.narrow import narrow_member
from dkl.fitting.points import Points
from dkl.methods.nodes import Numbers
from dkl.representations import FiniteOutcomes, Representation, Samples
from dkl.supports import Integers, Interval, Support

#: Families whose width is measured around the mean; the second takes logarithms first.
CENTRED: tuple[type, ...] = (Normal, LogNormal, DiagonalNormal, MultivariateNormal)
#: What most of these methods need, in the words of :func:`dkl.fitting.problem.need`.
MEANS = "needs a family whose members are known by the means of their statistics"
# Outcomes are known to so many units of rounding: a spread below is none.
_ROUNDING = 16.0 * float(np.finfo(float).eps)
# A share of the weight that is all of it.
_ALL = 1.0 - 1e-12


class NoMemberError(ValueError):
    """The likelihood has no maximum: it grows, or goes on growing, where no member is.

    Attributes
    ----------
    near : Distribution or None
        A member near to there, if it is at hand.
    infimum : float
        What the mean of −log q falls to there.
    """

    def __init__(self, reason: str, near: Any = None, infimum: float = -math.inf) -> None:
        super().__init__(reason)
        self.near, self.infimum = near, infimum


def has_means(family: Any) -> bool:
    """Whether every mean of its statistics belongs to a member."""
    return isinstance(family, type) and issubclass(family, MeanParametrised) and not issubclass(family, LowRankNormal)


def support_of(family: type[Distribution], x: Numbers, known: Mapping[str, Any]) -> Support:
    """The support that every member of the family has on outcomes of that shape."""
    if issubclass(family, Categorical):
        return Integers()
    # Of what is not known the support asks the shape alone, and that is the outcome's.
    member = object.__new__(family)
    member.xp = namespace_of()
    member.given = dict.fromkeys(family.constraints, x) | {n: np.asarray(v, dtype=float) for n, v in known.items()}
    member.__dict__["parameters"] = member.given
    return member.support


def hold_support(family: type[Distribution], target: Representation, found: Points, known: Mapping[str, Any]) -> None:
    """Raise a ValueError if the target has mass where no member has any: every member is infinitely far then.

    Raises
    ------
    ValueError
        Also for outcomes whose shape is not that of the family's.
    """
    name, event = family.__name__, found.x.shape[1:]
    if len(event) != family.event_ndim:
        raise ValueError(
            f"an outcome of the target is {_form(event)} and one of {name} has {family.event_ndim} axes: fit a family "
            "of such outcomes"
        )
    support = support_of(family, found.x, known)
    discrete = isinstance(target, FiniteOutcomes) or (
        isinstance(target, Distribution) and isinstance(target.support, Integers)
    )
    # Counts are observations, and observations of a continuous family may be whole numbers.
    if found.method != "samples" and discrete != isinstance(support, Integers) and not event:
        has = "only at whole numbers" if discrete else "at no single point"
        raise ValueError(
            f"every member is infinitely far: the target has mass {has}, and {name} lives on {support.name}; "
            "fit a family of the same kind"
        )
    kind = getattr(target, "support", None)
    if event and kind is not None and type(kind) is not type(support):
        raise ValueError(
            f"every member is infinitely far: the target lives on {kind.name}, and {name} on {support.name}; fit a "
            "family that lives where the target does"
        )
    if isinstance(support, Circle) and not isinstance(kind, Circle | type(None)):
        support = Interval(-math.pi, math.pi)
    inside = np.asarray(support.contains(namespace_of(), found.x)) & np.ones(found.weights.shape, dtype=bool)
    if inside.all():
        return
    first = int(np.argmin(inside))
    most = int(np.argmax(np.where(inside, 0.0, found.weights)))
    if isinstance(target, Samples):
        raise ValueError(
            f"every member is infinitely far: samples[{first}] = {_shown(found.x[first])} lies outside {support.name}, "
            f"where no {name} has any density; leave it out, or fit a family that reaches there"
        )
    raise ValueError(
        f"every member is infinitely far: the target has {found.weights[~inside].sum():.6g} of its mass outside "
        f"{support.name}, such as at {_shown(found.x[most])}, where no {name} has any; fit a family that reaches there"
    )


def _form(event: tuple[int, ...]) -> str:
    return f"an array of shape {event}" if event else "a number"


def _shown(x: Numbers) -> str:
    return np.array2string(x, precision=6, threshold=8) if x.ndim else f"{float(x):.6g}"


def distinct(found: Points) -> Points:
    """The same with every outcome once, in their order, and none without weight."""
    x, w = found.x, found.weights
    if not (w > 0).all():
        x, w = x[w > 0], w[w > 0]
    unique, place = np.unique(x, axis=0, return_inverse=True)
    if len(unique) == len(x):
        return Points(unique, w[np.argsort(place.ravel())], found.method, found.log_mass, found.mass_error)
    return Points(
        unique, np.bincount(place.ravel(), weights=w, minlength=len(unique)), found.method, found.log_mass,
        found.mass_error,
    )  # fmt: skip


def statistics(family: type[MeanParametrised], x: Numbers, known: Mapping[str, Any]) -> tuple[Numbers, ...]:
    """T(x) in NumPy's numbers."""
    if issubclass(family, Categorical):
        return tuple(np.asarray(t) for t in family.sufficient_statistics(x, outcomes=int(x.max()) + 1))
    with np.errstate(all="ignore"):  # infinite at bounds, which is for the callers to judge
        return tuple(np.asarray(t) for t in family.sufficient_statistics(x, **known))


def weighted(weights: Numbers, values: Numbers, leading: int) -> Numbers:
    """Weighted means over the outcomes: weights (*rows, n) and values (n, *shape) or (*rows, n, *shape)."""
    flat = values.reshape(*values.shape[: leading + 1], -1)
    made = weights @ flat if leading == 0 else (weights[..., None, :] @ flat)[..., 0, :]
    shape = values.shape[leading + 1 :]
    return np.asarray(made).reshape((*made.shape[:-1], *shape))


def members(
    family: type[MeanParametrised],
    x: Numbers,
    weights: Numbers,
    known: Mapping[str, Any],
    *,
    minimum_scale: float = 0.0,
    of_x: tuple[Numbers, ...] | None = None,
) -> Any:
    """The member of the greatest weighted likelihood, for each row of weights.

    Parameters
    ----------
    family : type
    x : array, shape (n, *event_shape) or (*rows, n, *event_shape)
        Outcomes inside the support: the same for all rows, or each row's own.
    weights : array, shape (*rows, n)
        Each row sums to 1.
    known : mapping
        The parameters that the family keeps fixed.
    minimum_scale : float
        The least standard deviation, in every direction, of the members of normal families.
    of_x : tuple of array, optional
        The statistics of ``x``, where they are at hand.

    Returns
    -------
    MeanParametrised
        A batch with the shape of the rows.

    Raises
    ------
    NoMemberError
        If the likelihood of a row has no maximum.
    """
    leading = x.ndim - 1 - family.event_ndim
    if family in CENTRED:
        values = np.log(x) if family is LogNormal else x
        loc, spread = centred(values, weights, leading, family)
        return normal(family, values, loc, spread, minimum_scale)
    of_all = statistics(family, x, known) if of_x is None else of_x
    means = tuple(weighted(weights, t, leading) for t in of_all)
    several = sum(math.prod(t.shape[leading + 1 :]) for t in of_all) > 1
    if several and not isinstance(support_of(family, x, known), Integers) and not issubclass(family, Categorical):
        _hold_apart(x, weights, leading)
        narrow = narrow_member(family, x, weights)
        if narrow is not None:
            return narrow
    try:
        return family.from_mean_parameters(*means, **known)
    except ValueError as none:
        raise NoMemberError(str(none)) from none


def _hold_apart(x: Numbers, weights: Numbers, leading: int) -> None:
    """Raise NoMemberError if a row has all of its weight on one point."""
    n = weights.shape[-1]
    here = x.reshape(*x.shape[: leading + 1], -1)
    equal = (here == here[..., :1, :]).all(axis=(-2, -1))
    if (weights.max(axis=-1) > _ALL).any() or n == 1 or equal.any():
        raise NoMemberError("all weight lies on one point, and the likelihood grows without end as the width → 0")


def centred(x: Numbers, weights: Numbers, leading: int, family: type) -> tuple[Numbers, Numbers]:
    """Weighted means and (co)variances around them, each row by itself where all rows share the outcomes."""
    vectors = family.event_ndim == 1  # type: ignore[attr-defined]
    if vectors and leading == 0 and weights.ndim > 1:
        rows = [centred(x, row, 0, family) for row in weights.reshape(-1, weights.shape[-1])]
        shape = weights.shape[:-1]
        loc, spread = (np.stack([pair[i] for pair in rows]) for i in (0, 1))
        return loc.reshape(*shape, *loc.shape[1:]), spread.reshape(*shape, *spread.shape[1:])
    loc = weighted(weights, x, leading)
    apart = x - (loc[..., None, :] if vectors else loc[..., None])
    # Of numbers each row has its own distances from its own mean.
    by_row = leading if vectors else max(leading, weights.ndim - 1)
    # What rounding left of the mean.
    rest = weighted(weights, apart, by_row)
    loc = loc + rest
    if family is MultivariateNormal:
        square = np.swapaxes(apart * weights[..., None], -1, -2) @ apart - rest[..., :, None] * rest[..., None, :]
        return loc, 0.5 * (square + np.swapaxes(square, -1, -2))
    return loc, np.maximum(weighted(weights, apart * apart, by_row) - rest * rest, 0.0)


def normal(family: type, values: Numbers, loc: Numbers, spread: Numbers, minimum_scale: float) -> Any:
    """The normal member of these moments, the width no less than the floor."""
    full = family is MultivariateNormal
    # Per axis of an outcome.
    flat_values = values.reshape(-1, values.shape[-1]) if family.event_ndim else values.ravel()  # type: ignore[attr-defined]
    size = np.abs(flat_values).max(axis=0)
    if minimum_scale > 0:
        if full:
            length, direction = np.linalg.eigh(spread)
            if (length < minimum_scale**2).any():
                length = np.maximum(length, minimum_scale**2)
                spread = (direction * length[..., None, :]) @ np.swapaxes(direction, -1, -2)
                spread = 0.5 * (spread + np.swapaxes(spread, -1, -2))
        else:
            spread = np.maximum(spread, minimum_scale**2)
    variance = np.diagonal(spread, axis1=-2, axis2=-1) if full else spread
    flat = ~(variance > (_ROUNDING * size) ** 2)
    if full and not flat.any():
        inverse = 1.0 / np.sqrt(variance)
        correlation = spread * inverse[..., :, None] * inverse[..., None, :]
        flat = np.linalg.eigvalsh(correlation)[..., :1] < _ROUNDING * spread.shape[-1]
    if flat.any():
        reason = "the spread is 0 in some direction, and the likelihood grows without end as the scale → 0"
        raise NoMemberError(reason, None if loc.ndim > family.event_ndim else _narrow(family, loc, spread, size))  # type: ignore[attr-defined]
    return family(loc, spread) if full else family(loc, np.sqrt(spread))


def _narrow(family: Any, loc: Numbers, spread: Numbers, size: Numbers) -> Any:
    """The normal member of that mean and spread with a width where there is none, as small as numbers tell apart."""
    least = np.maximum(_ROUNDING * size, 1e-150)
    if family is not MultivariateNormal:
        return family(loc, np.sqrt(np.maximum(spread, least**2)))
    wide = np.maximum(least, 1e-7 * math.sqrt(float(np.trace(spread))))
    return family(loc, spread + np.diag(wide**2))
