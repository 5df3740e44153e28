"""Expectation maximisation: mixtures of so many members of a family, with the least KL from the target [1].

The target is outcomes with weights: observations, counts, the nodes of a quadrature. Each iteration gives every outcome
in shares to the components, in logarithms, and every component the member that matches its shares best; the mean of
−log q falls with each [1], towards a local optimum. Of a target that is known by its density it differs from the
KL by the target's entropy alone.

A component that closes in on one outcome drives the likelihood to infinity, which is no optimum but a defect of the
question [2, section 9.2.1]: such a start is dropped, and told.

References
----------
.. [1] A. P. Dempster, N. M. Laird, D. B. Rubin, "Maximum likelihood from incomplete data via the EM algorithm",
   Journal of the Royal Statistical Society B 39 (1977).
.. [2] C. M. Bishop, "Pattern Recognition and Machine Learning" (2006), sections 9.2 and 9.3.
.. [3] D. Arthur, S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA (2007).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dkl._array import real_number
from dkl.families.base import Distribution
from dkl.families.multivariate import DiagonalNormal, MultivariateNormal
from dkl.families.normal import LogNormal, Normal
from dkl.fitting.matching.likelihood import hold_open, observations, observed
from dkl.fitting.matching.members import CENTRED, NoMemberError, distinct, hold_support, members, statistics, support_of
from dkl.fitting.matching.moments import MEANS, SEEN, can_be_seen, has_means, hold_finite, inwards, no_member
from dkl.fitting.measuring import measured, of_shares
from dkl.fitting.points import DRAWN, Points, points
from dkl.fitting.problem import FORWARD, Problem, fitter, need, whole_number
from dkl.fitting.result import Boundary, Fit, Optimum
from dkl.methods.nodes import Numbers
from dkl.mixture import Mixture, MixtureFamily
from dkl.representations import Counts, FiniteOutcomes, Samples

#: Starts, if it is not said how many: a third of each kind.
STARTS = 9
#: Iterations of one start at most.
ITERATIONS = 10_000
#: What may be left to gain of the mean of −log q, relative to it (to 1, of what is smaller).
RTOL = 1e-12
# On the way to telling starts apart less is enough.
_ROUGH = 1e-7
# Mixtures whose log-densities differ by less on the mean are one.
_SAME = 1e-3
# Rounds of k-means before a start.
_LLOYD = 8
# The share of every outcome that is given to all components alike, lest one begins on a single outcome.
_SHARED = 0.1
# The logarithms of shares are moved by so much to leave a saddle.
_ASIDE = 0.3
# Outcomes of less weight, such as the outermost nodes of a quadrature, say nothing of where to start.
_LIGHT = 1e-30
# A component of less weight has vanished.
_VANISHED = 1e-280
_LOG_TAU = math.log(2.0 * math.pi)


@dataclass
class Climb:
    """Where one start led.

    Attributes
    ----------
    mixture : Mixture
        The last one that there was.
    log_q : array
        Its log-density at the points.
    trace : list of float
        The mean of −log q, one an iteration.
    converged : bool
    collapsed : str
        Why it was dropped, if it was.
    starts : int
        How many starts came here.
    """

    mixture: Mixture
    log_q: Numbers
    trace: list[float]
    converged: bool = False
    collapsed: str = ""
    starts: int = 1


class Mixing:
    """A mixture family on weighted outcomes.

    Parameters
    ----------
    family : MixtureFamily
    found : Points
        Outcomes inside the support of the components.
    known : mapping
        The parameters that the components keep fixed.
    minimum_scale : float
        The least standard deviation of normal components in every direction; 0 is none.
    """

    def __init__(
        self, family: MixtureFamily, found: Points, known: Mapping[str, Any], minimum_scale: float = 0.0
    ) -> None:
        self.family, self.component, self.known = family, family.component, known
        self.x, self.w, self.minimum_scale = found.x, found.weights, minimum_scale
        self.of_x = None if self.component in CENTRED else statistics(self.component, self.x, known)

    def matching(self, shares: Numbers) -> Mixture:
        """The mixture of the members that match shares best, shape (components, outcomes), weighted by their sums.

        A component without any share is the member that matches all of the target, with weight 0.
        """
        weighted = shares * self.w
        mass = weighted.sum(axis=-1)
        gone = ~(mass > _VANISHED)
        rows = np.where(gone[:, None], self.w, weighted) / np.where(gone, 1.0, mass)[:, None]
        parts = members(
            self.component, self.x, rows, self.known, minimum_scale=self.minimum_scale, of_x=self.of_x
        )  # fmt: skip
        weights = np.where(gone, 0.0, mass)
        return Mixture(_batch(parts, self.known), weights / weights.sum())

    def logs(self, mixture: Mixture) -> Numbers:
        """The log-densities of the components at the outcomes, weights included; shape (components, outcomes)."""
        parts, weights = mixture.components, mixture.numbers("weights")
        with np.errstate(divide="ignore"):
            return np.asarray(log_density(parts, self.x) + np.log(weights)[:, None])

    def climb(self, start: Mixture, rtol: float, limit: int) -> Climb:
        """Iterate until what is left to gain, by the rate at which the gains fall, is small enough."""
        mixture, trace = start, []
        while True:
            logs = self.logs(mixture)
            top = logs.max(axis=0)
            shares = np.exp(logs - top)
            total = shares.sum(axis=0)
            log_q = np.log(total) + top
            trace.append(-float(self.w @ log_q))
            finished = _finished(trace, rtol)
            if finished or len(trace) >= limit:
                return Climb(mixture, log_q, trace, converged=finished)
            shares /= total
            try:
                mixture = self.matching(shares)
            except NoMemberError as none:
                return Climb(mixture, log_q, trace, collapsed=str(none))


def _batch(parts: Any, known: Mapping[str, Any]) -> Any:
    """The components as one batch, the known parameters in it too."""
    if not known:
        return parts
    wide = {name: np.asarray(x) for name, x in parts.given.items()}
    for name in known:
        wide[name] = np.broadcast_to(wide[name], parts.batch_shape)
    return type(parts)(**wide)


def _finished(trace: list[float], rtol: float) -> bool:
    """Whether what is left of a geometric series of gains is small; what gains no more has come to its end."""
    if len(trace) < 3:
        return False
    scale = max(1.0, abs(trace[-1]))
    last, before = trace[-2] - trace[-1], trace[-3] - trace[-2]
    if last <= 4.0 * np.finfo(float).eps * scale:
        return True
    left = last * last / (before - last) if before > last else math.inf
    return max(left, last) <= rtol * scale


def log_density(parts: Distribution, x: Numbers) -> Numbers:
    """The log-densities of a batch of components at the same outcomes, shape (components, outcomes)."""
    if isinstance(parts, Normal):
        loc, scale = (parts.numbers(name)[:, None] for name in ("loc", "scale"))
        values = np.log(x) if isinstance(parts, LogNormal) else x
        z = (values - loc) / scale
        made = -0.5 * (z * z + _LOG_TAU) - np.log(scale)
        return np.asarray(made - values if isinstance(parts, LogNormal) else made)
    if isinstance(parts, DiagonalNormal):
        made = np.empty((parts.batch_shape[0], len(x)))
        for k, (loc, scale) in enumerate(zip(parts.numbers("loc"), parts.numbers("scale"), strict=True)):
            z = (x - loc) * (1.0 / scale)
            made[k] = -0.5 * (np.einsum("ij,ij->i", z, z) + x.shape[-1] * _LOG_TAU) - np.log(scale).sum()
        return made
    if isinstance(parts, MultivariateNormal):
        factors = np.linalg.cholesky(parts.numbers("covariance"))
        heights = 0.5 * x.shape[-1] * _LOG_TAU + np.log(np.diagonal(factors, axis1=-2, axis2=-1)).sum(axis=-1)
        made = np.empty((parts.batch_shape[0], len(x)))
        for k, (loc, inverse) in enumerate(zip(parts.numbers("loc"), np.linalg.inv(factors), strict=True)):
            z = (x - loc) @ np.tril(inverse).T
            made[k] = -0.5 * np.einsum("ij,ij->i", z, z) - heights[k]
        return made
    return np.moveaxis(np.asarray(parts.log_prob(x[:, None])), -1, 0)


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
    places = _places(mixing)
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


def _places(mixing: Mixing) -> Numbers:
    """Outcomes as vectors, each axis in units of its spread."""
    x = np.log(mixing.x) if mixing.component is LogNormal else mixing.x
    flat = x.reshape(len(x), -1)
    flat = flat - mixing.w @ flat
    spread = np.sqrt(mixing.w @ flat**2)
    return np.asarray(flat / np.where(spread > 0, spread, 1.0))


def _spread_out(places: Numbers, w: Numbers, count: int, rng: np.random.Generator) -> Numbers:
    """Centres drawn one after the other by the squared distance from those before [3]."""
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


@fitter(
    "expectation maximisation",
    takes=("initial", "max_iterations", "minimum_scale", "progress", "rtol", "samples", "starts", "weights"),
)
def expectation_maximisation(problem: Problem) -> Fit:
    """Of mixture families whose components are matched by their means: every local optimum that the starts lead to.

    Options
    -------
    starts : int
        How many mixtures to start from: 9. A third begins with clusters, a third with the surroundings of drawn
        outcomes, a third with random shares.
    initial : Mixture
        The one mixture to start from, instead.
    rtol : float
        What may be left to gain of the mean of −log q, relative to it, or to 1 if it is smaller: 1e-12.
    max_iterations : int
        Of one start: 10,000.
    minimum_scale : float
        The least standard deviation of normal components, in every direction: the best mixture under that
        constraint. There is none if it is not asked for.
    weights : array_like
        Of samples, non-negative.
    samples : int
        How many are drawn from a target that neither sums nor quadrature can look at: 65,536.
    progress : callable
        Called with the starts done and all of them.
    """
    family, target = problem.family, problem.target
    need(problem.forward, FORWARD)
    need(isinstance(family, MixtureFamily), "is for families of mixtures, dkl.Mixture.of(family, k)")
    need(has_means(family.component), MEANS)
    need(isinstance(target, Samples | FiniteOutcomes) or can_be_seen(target), SEEN)
    floor, rtol, limit = _wished(problem)
    raw = points(
        target, rng=problem.rng(), weights=problem.option("weights", None),
        samples=whole_number(problem.option("samples", DRAWN), "samples", 2),
    )  # fmt: skip
    component = family.component
    hold_support(component, target, raw, problem.known)
    found = _prepared(component, raw, problem)
    try:
        if found.method == "samples":
            hold_open(component, found, problem.known)
    except NoMemberError as none:
        return no_member(problem, found, "expectation maximisation", none)
    hold_finite(component, found, problem.known)
    mixing = Mixing(family, found, problem.known, floor)
    begun, missed = _begun(problem, mixing, found)
    climbs, collapsed = _climbed(problem, mixing, begun, rtol, limit)
    if not climbs:
        return _collapsed(problem, collapsed, missed)
    return _answered(problem, mixing, found, observations(target, raw), climbs, collapsed, missed)


def _wished(problem: Problem) -> tuple[float, float, int]:
    component = problem.family.component
    floor = real_number(problem.option("minimum_scale", 0.0), "minimum_scale")
    if "minimum_scale" in problem.options:
        if component not in CENTRED:
            raise TypeError(f"minimum_scale is for normal components, and these are {component.__name__}s")
        if not 0 < floor < math.inf:
            raise ValueError(f"minimum_scale = {floor!r} must be positive: without it there is no floor")
    rtol = real_number(problem.option("rtol", RTOL), "rtol")
    if not 0 < rtol < 1:
        raise ValueError(f"rtol = {rtol!r} is no relative error: it lies strictly between 0 and 1")
    return floor, rtol, whole_number(problem.option("max_iterations", ITERATIONS), "max_iterations")


def _prepared(component: Any, raw: Points, problem: Problem) -> Points:
    """The points without those of no weight; where equal ones matter, or are likely, each once."""
    if component in CENTRED and raw.x.ndim > 1:
        kept = raw.weights > 0
        return raw if kept.all() else replace(raw, x=raw.x[kept], weights=raw.weights[kept])
    return distinct(inwards(raw, support_of(component, raw.x, problem.known)))


def _begun(problem: Problem, mixing: Mixing, found: Points) -> tuple[list[Mixture], int]:
    """The mixtures to start from, and how many starts had none."""
    initial = problem.option("initial", None)
    if initial is None:
        count = whole_number(problem.option("starts", STARTS), "starts")
        made = starts(
            mixing.family, found, count, problem.rng(), problem.known, minimum_scale=mixing.minimum_scale
        )  # fmt: skip
        return made, count - len(made)
    if "starts" in problem.options:
        raise TypeError("initial is the one start: leave starts out")
    parts: Any = initial.components if isinstance(initial, Mixture) else None
    if type(parts) is not mixing.component or parts.batch_shape != (mixing.family.components,):
        raise TypeError(f"initial must be one member of {mixing.family!r}, got {initial!r}")
    return [Mixture(_by_width(parts), initial.numbers("weights"))], 0


def _by_width(parts: Any) -> Any:
    """Normal components by the widths with which the iteration works."""
    if isinstance(parts, MultivariateNormal):
        return MultivariateNormal(parts.loc, parts._covariance())
    if isinstance(parts, DiagonalNormal):
        return DiagonalNormal(parts.loc, np.sqrt(parts._each._v))
    return type(parts)(parts.loc, np.sqrt(parts._v)) if isinstance(parts, Normal) else parts


def _climbed(
    problem: Problem, mixing: Mixing, begun: list[Mixture], rtol: float, limit: int
) -> tuple[list[Climb], list[Climb]]:
    """The different optima, the best first, and the starts that collapsed."""
    progress = problem.option("progress", None)
    rough: list[Climb] = []
    for k, start in enumerate(begun):
        rough.append(mixing.climb(start, max(rtol, _ROUGH), limit))
        if progress is not None:
            progress(k + 1, len(begun))
    collapsed = [c for c in rough if c.collapsed]
    climbs: list[Climb] = []
    for group in _merged([c for c in rough if not c.collapsed], mixing.w):
        spent = len(group.trace)
        if rtol < _ROUGH and spent < limit:
            on = mixing.climb(group.mixture, rtol, limit - spent + 1)
            group = replace(on, trace=group.trace + on.trace[1:], starts=group.starts)
        if not group.collapsed:
            group = _beside(mixing, group, rtol, limit, problem.rng())
        (collapsed if group.collapsed else climbs).append(group)
    return _merged(climbs, mixing.w), collapsed


def _beside(mixing: Mixing, climb: Climb, rtol: float, limit: int, rng: np.random.Generator) -> Climb:
    """Where two components are one: the end of a climb from beside there, if it is lower, for this is a saddle."""
    logs = mixing.logs(climb.mixture)
    weights = climb.mixture.numbers("weights")
    kept = np.flatnonzero(weights > 1e-6)
    own = logs[kept] - np.log(weights[kept])[:, None]
    apart = [np.abs(own[i] - own[j]) @ mixing.w for i in range(len(kept)) for j in range(i)]
    if not apart or min(apart) > _SAME:
        return climb
    # To each its own part of the outcomes, by where they lie and how far out: what is drawn for each alone cancels.
    places = _places(mixing)
    seen = np.concatenate([places, np.minimum(places**2, 4.0)], axis=-1)
    shares = np.exp(logs - climb.log_q + _ASIDE * rng.standard_normal((len(logs), seen.shape[-1])) @ seen.T)
    try:
        start = mixing.matching(shares / shares.sum(axis=0))
    except NoMemberError:
        return climb
    other = mixing.climb(start, rtol, limit)
    lower = other.trace[-1] < climb.trace[-1] - 10.0 * rtol * max(1.0, abs(climb.trace[-1]))
    return replace(other, starts=climb.starts) if lower else climb


def _merged(climbs: list[Climb], w: Numbers) -> list[Climb]:
    """Those with different densities, the best first: the order of the components makes no difference."""
    kept: list[Climb] = []
    for climb in sorted(climbs, key=lambda c: c.trace[-1]):
        for k, other in enumerate(kept):
            if float(w @ np.abs(climb.log_q - other.log_q)) < _SAME:
                kept[k] = replace(other, starts=other.starts + climb.starts)
                break
        else:
            kept.append(climb)
    return kept


def _said(collapsed: list[Climb], missed: int) -> str | None:
    """What became of the starts that led nowhere."""
    told = []
    if collapsed:
        told.append(
            f"{sum(c.starts for c in collapsed)} starts were dropped, as a component closed in on a point where the "
            f"likelihood has no bound ({collapsed[0].collapsed})"
        )
    if missed:
        told.append(f"{missed} starts had no component for one of their parts")
    return "; ".join(told) or None


def _collapsed(problem: Problem, collapsed: list[Climb], missed: int) -> Fit:
    """No start came to an optimum."""
    advice = "; give fewer components" + (", or minimum_scale=" if problem.family.component in CENTRED else "")
    reason = f"no start came to an optimum: {_said(collapsed, missed)}{advice}"
    near = min(collapsed, key=lambda c: c.trace[-1]).mixture if collapsed else None
    return Fit(
        None, None, "expectation maximisation", True, boundary=Boundary(-math.inf, near, reason), reason=reason,
        details={"collapsed": sum(c.starts for c in collapsed)}, problem=problem,
    )  # fmt: skip


def _answered(
    problem: Problem,
    mixing: Mixing,
    found: Points,
    count: float,
    climbs: list[Climb],
    collapsed: list[Climb],
    missed: int,
) -> Fit:
    best, target = climbs[0], problem.target
    details: dict[str, Any] = {"iterations": len(best.trace), "collapsed": sum(c.starts for c in collapsed)}
    told, normaliser = [], None
    if isinstance(target, Samples | Counts):
        divergence, value, more, said = observed(problem, mixing.component, best.mixture, found, count)
        details |= more
        told.append(said)
    elif isinstance(target, FiniteOutcomes):
        divergence = of_shares(found.x, found.weights, best.mixture, problem)
        value = float(divergence.value)
    else:
        divergence, normaliser = measured(problem, best.mixture, found)
        if normaliser is not None:
            details["log_normaliser"] = found.log_mass
        value = float(divergence.value)
    if found.method == "monte_carlo":
        told.append(f"the optimum is that of {len(found.x)} samples drawn from the target")
    if not best.converged:
        told.append(f"the best start did not converge in {len(best.trace)} iterations: raise max_iterations")
    dropped = _said(collapsed, missed)
    if dropped:
        told.append(dropped)
    of = sum(c.starts for c in (*climbs, *collapsed)) + missed
    optima = tuple(Optimum(c.mixture, value + (c.trace[-1] - best.trace[-1]), c.starts / of) for c in climbs)
    return Fit(
        best.mixture, divergence, "expectation maximisation", best.converged, optima, tuple(best.trace), normaliser,
        reason="; ".join(told) or None, details=details, problem=problem,
    )  # fmt: skip


__all__ = ["Climb", "Mixing", "expectation_maximisation", "log_density", "starts"]
