"""Natural gradients of the reverse KL for every exponential family: the Bayesian learning rule by regression.

The natural parameters go from v to (1 − ρ)·v + ρ·v*, with v* the coefficients of the log-density log p − log h
regressed on the sufficient statistic under q, h the family's own measure [1; 2, eq. 6]. A target of the family is met
in one step. No derivative of log p is asked for, so outcomes may be whole numbers, shares, matrices, directions.

The means are taken at nodes where outcomes are numbers: a fit is then exact to rounding. Elsewhere they are taken over
samples of the fit, which serve until the fit has moved away from them, and at the end as often as it still moves by
more than their noise; the noise vanishes where the target is of the family.

References
----------
.. [1] T. Salimans, D. A. Knowles, "Fixed-form variational posterior approximation through stochastic linear
   regression", Bayesian Analysis 8 (2013).
.. [2] M. E. Khan, H. Rue, "The Bayesian learning rule", arXiv:2107.04562 (2021).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dkl.estimate import Estimate
from dkl.families.base import Distribution
from dkl.families.outcomes import Categorical
from dkl.fitting.direct.descent import raised
from dkl.fitting.direct.minimisation import begun, minimised, prepared
from dkl.fitting.measuring import measured, normaliser
from dkl.fitting.points import on_host, points
from dkl.fitting.problem import REVERSE, Problem, fitter, need, whole_number
from dkl.fitting.result import Boundary, Fit, Optimum
from dkl.fitting.variational.charts import Chart, has_chart
from dkl.fitting.variational.importance import Found, assembled
from dkl.fitting.variational.natural import RTOL, STEPS, within
from dkl.fitting.variational.openings import openings
from dkl.fitting.variational.places import InfiniteError, Look, by_nodes, by_samples, log_density
from dkl.fitting.variational.slopes import LEAST_SHARE, Place, Seen, settled
from dkl.methods.nodes import Numbers
from dkl.representations import FiniteOutcomes
from dkl.supports import Integers

#: Starts where outcomes are numbers, and elsewhere.
STARTS = {True: 8, False: 4}
#: Samples of a fit.
SAMPLES = 1 << 14
# So many for each natural parameter at least.
_EACH = 4
# Optima nearer than this, in units of their own, or than four times their noise, are one.
_SAME = 1e-3
# Samples move a fit by three times their noise at most, once it is at its end.
_NOISE = 3.0
# With less of log(q/p) unexplained, the target is the density of natural parameters.
_EXPLAINED = 1e-6
# And two places tell the same parameters, relative.
_ALIKE = 1e-6
_HALVINGS = 30
# The KL on other nodes differs by so much of its size.
_BETWEEN = 1e-9
# Shares of a full step that are tried where the places do not serve: one ends just before the edge of the family.
_LEAPS = (1.0, 0.9, 0.5)
# A standard error above it, in units of the fit itself, is told.
_TOLD = 0.02
# Where a last step would change the spread of a statistic by such a factor, the member is running away.
_RUNNING = 2.0
# More natural parameters are too many for a regression.
_MOST = 512


@fitter("natural gradient", takes=("steps", "samples", "starts", "rtol", "step_size", "progress"))
def by_regression(problem: Problem) -> Fit:
    """Follow the natural gradient of the reverse KL, for every exponential family, by linear regressions.

    The target is any log-density, normalised or not, of the family's outcomes; nobody differentiates it.

    Options
    -------
    steps : int
        At most: 500. Each makes new nodes or samples, and moves on them as far as they serve.
    samples : int
        Where outcomes are no numbers: 16,384.
    starts : int
        How many members to begin with: 8, or 4 where outcomes are no numbers.
    rtol : float
        It ends where the gradient, in units of the fit itself, is smaller: 1e-10.
    step_size : float
        ρ, 1 if not given; halved where it must be.
    progress : callable
        Called with the steps done and the most that there will be.
    """
    need(problem.reverse, REVERSE)
    target: Any = problem.target
    listed = isinstance(target, FiniteOutcomes)
    need(listed or isinstance(target, Distribution), "needs a log-density, and the target has none")
    if problem.family is Categorical:
        return _itself(problem)
    need(has_chart(problem.family), "is for exponential families whose natural parameters are all free")
    settings = Settings(
        whole_number(problem.option("steps", STEPS), "steps"),
        within(problem, "rtol", RTOL),
        within(problem, "step_size", 1.0),
    )
    line = problem.family.event_ndim == 0
    count = whole_number(problem.option("starts", STARTS[line]), "starts")
    if not line:
        need(not listed, "needs outcomes of the family's own shape")
        return _by_samples(problem, settings, count)
    host = minimised(problem)
    seen, normalised = prepared(host)
    members = begun(problem, normalised, seen, count)
    chart = Chart(members[0], problem.known)
    ends = climbed(problem, by_nodes(normalised, chart, target), chart, members, settings)
    integral = normaliser(seen)
    return _answer(problem, ends, integral, {} if integral is None else {"log_normaliser": seen.log_mass})


def _itself(problem: Problem) -> Fit:
    """The Categorical of the target's own probabilities: every log-density of a list is linear in its indicators."""
    target: Any = problem.target
    support = Integers(0, 0) if isinstance(target, FiniteOutcomes) else target.support
    few = isinstance(support, Integers) and bool(np.isfinite(support.high))
    need(few, "of a Categorical needs finitely many outcomes")
    found = points(target)
    probs = np.zeros(int(found.x.max()) + 1)
    probs[found.x.astype(int)] = found.weights
    made = Categorical(probs=probs)
    divergence, integral = measured(problem, made, found)
    details = {"steps": 1, "residual": 0.0} | ({} if integral is None else {"log_normaliser": found.log_mass})
    return Fit(
        made, divergence, "natural gradient", True, (Optimum(made, float(divergence)),),
        normaliser=integral, details=details, problem=problem,
    )  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Steps at most, the gradient at which it ends, and ρ."""

    steps: int
    rtol: float
    step_size: float


@dataclass
class End:
    """Where one start, or several, led.

    Attributes
    ----------
    member : Distribution
    place : Place
        The member as the last places saw it.
    divergence : Estimate or None
        From the target to it, where the places are nodes.
    converged : bool
    said : str or None
        What there is to say of the end.
    trace : tuple of float
        The bound after each step.
    details : dict
    starts : int
        How many led here.
    running : bool
        Whether the gradient vanishes only because the member does: it closes in on one outcome.
    """

    member: Any
    place: Place
    divergence: Estimate | None
    converged: bool
    said: str | None
    trace: tuple[float, ...]
    details: dict[str, Any]
    starts: int = 1
    running: bool = False

    @property
    def value(self) -> float:
        """KL(fit‖target)."""
        return float(self.place.bound if self.divergence is None else self.divergence)


def _by_samples(problem: Problem, settings: Settings, count: int) -> Fit:
    target: Any = problem.target
    rng = problem.rng()
    log_p = log_density(target)
    members = openings(problem, on_host(target), log_p, count, rng)
    chart = Chart(members[0], problem.known)
    size = chart.natural(members[0]).size
    need(size <= _MOST, f"without derivatives is for {_MOST} natural parameters, and these are {size}")
    drawn = whole_number(problem.option("samples", max(SAMPLES, 2 * _EACH * size)), "samples", least=_EACH * size)
    ends = climbed(problem, by_samples(target, log_p, chart, drawn, rng), chart, members, settings)
    total = sum(end.starts for end in ends)
    found = [
        Found(end.member, end.starts / total, end.converged, end.said, end.trace, end.details) for end in ends
    ]  # fmt: skip
    event = tuple(members[0].event_shape)
    return assembled(problem, "natural gradient", lambda x: log_p(x.reshape(-1, *event)), found)


def _answer(problem: Problem, ends: Sequence[End], integral: Estimate | None, more: dict[str, Any]) -> Fit:
    """The best of the ends by nodes, and all of them."""
    order = sorted(ends, key=lambda end: (not end.converged, end.value))
    total, best = sum(end.starts for end in ends), order[0]
    finished = [end for end in order if end.converged]
    optima = tuple(Optimum(end.member, end.value, end.starts / total) for end in finished or order[:1])
    lowest = min((end for end in ends if end.running), key=lambda end: end.value, default=None)
    if lowest is not None and (not finished or lowest.value < best.value):
        said = (
            f"no {problem.family.__name__} is the best: the infimum, {lowest.value:.6g}, lies on the boundary, near "
            f"{lowest.member!r}; {lowest.said}"
        )
        return Fit(
            None, None, "natural gradient", False, optima if finished else (), lowest.trace, normaliser=integral,
            reason=said, boundary=Boundary(lowest.value, lowest.member, str(lowest.said)),
            details=lowest.details | more | {"starts": total}, problem=problem,
        )  # fmt: skip
    return Fit(
        best.member, best.divergence, "natural gradient", best.converged, optima,
        best.trace, normaliser=integral, reason=best.said, details=best.details | more | {"starts": total},
        problem=problem,
    )  # fmt: skip


def climbed(problem: Problem, look: Look, chart: Chart, members: Sequence[Any], settings: Settings) -> list[End]:
    """The different ends of the ways from some members.

    Raises
    ------
    ValueError
        If every member is infinitely far from the target, or the target has no member though it is of the family's
        form.
    """
    progress = problem.option("progress", None)
    ends: list[End] = []
    why = ""
    for k, member in enumerate(members):
        try:
            seen = _first(look, member)
        except InfiniteError as error:
            why = str(error)
        else:
            _joined(ends, followed(look, chart, seen, settings, problem.target))
        if progress is not None:
            progress((k + 1) * settings.steps, len(members) * settings.steps)
    if not ends:
        raise ValueError(
            f"every {problem.family.__name__} is infinitely far from the target, {problem.target!r}: {why}; fit a "
            "family that lives where the target does"
        )
    return ends


def _first(look: Look, member: Any) -> Seen:
    """The look at a member, or at a narrower or wider one if it is infinitely far; the last one's reason if all are."""
    *others, last = raised(member)
    for each in others:
        try:
            return look(each)
        except InfiniteError:
            continue
    return look(last)


def followed(look: Look, chart: Chart, seen: Seen, settings: Settings, target: Any) -> End:
    """Go on from one member to where the natural gradient vanishes, or by samples to where their noise hides it."""
    trace, halved = [seen.here.bound], 0
    said: str | None = None
    aimed: Numbers | None = None
    for taken in range(settings.steps):
        here = seen.here
        if here.residual <= settings.rtol and here.aside is not None:
            beside = _looked(look, chart, here.natural, here.aside)
            if beside is not None:
                seen = beside
                continue
        if not seen.drawn and here.residual <= settings.rtol:
            return _end(seen, here, True, taken, halved, trace)
        aimed = _hold_proper(chart, seen, target, aimed)
        leapt = _leap(look, chart, seen, settings)
        if leapt is not None:
            seen = leapt
            trace.append(seen.here.bound)
            continue
        rest = settled(seen, lambda v: chart.member(v) is not None, 0.1 * settings.rtol, settings.step_size)
        halved += rest.halved
        moved = here.distance(rest.place.natural)
        trace.append(rest.place.bound)
        noise = rest.place.noise if seen.drawn and not rest.held else math.inf
        if moved <= max(_NOISE * noise, settings.rtol) and math.isfinite(noise):
            return _end(seen, rest.place, True, taken + 1, halved, trace, chart)
        ahead = _looked(look, chart, here.natural, rest.place.natural)
        stuck = ahead is None or not (seen.drawn or ahead.here.better(here, _BETWEEN))
        if stuck or ahead is None or (seen.drawn and rest.held in ("outside", "up") and moved == 0.0):
            near = here.residual <= math.sqrt(settings.rtol)
            said = None if near else f"no step led on from a natural gradient of {here.residual:.2g}"
            return _end(seen, here, near, taken + 1, halved, trace, said=said)
        seen = ahead
    here = seen.here
    said = f"after {settings.steps} steps the natural gradient is still {here.residual:.2g}: give more steps="
    done = not seen.drawn and here.residual <= settings.rtol
    return _end(seen, here, done, settings.steps, halved, trace, said=None if done else said)


def _running(seen: Seen) -> bool:
    """Whether a gradient that is nothing in the member's own units still leads on, and to a member much narrower.

    The mass of a member that closes in on one outcome leaves all other outcomes, and with it goes the gradient.
    """
    here = seen.here
    ahead = seen.at(here.natural + here.back @ here.descent)
    spread, narrowed = (
        np.sqrt(place.weights @ (place.statistic - place.weights @ place.statistic) ** 2) for place in (here, ahead)
    )
    return bool((narrowed * _RUNNING < spread).any())


def _leap(look: Look, chart: Chart, seen: Seen, settings: Settings) -> Seen | None:
    """A step to where these places do not serve, if what new ones see there is better: the full one, or a long one."""
    here = seen.here
    step = settings.step_size * (here.back @ here.descent)
    for share in _LEAPS:
        natural = here.natural + share * step
        member = chart.member(natural)
        if member is None:
            continue
        if seen.at(natural).share >= LEAST_SHARE:
            return None
        try:
            ahead = look(member)
        except InfiniteError:
            continue
        if ahead.here.better(here, _BETWEEN):
            return ahead
    return None


def _looked(look: Look, chart: Chart, behind: Numbers, natural: Numbers) -> Seen | None:
    """The look at a member, or at the first one that can be looked at half as far ahead, and so on."""
    for _ in range(_HALVINGS):
        try:
            return look(chart.member(natural))
        except InfiniteError:
            natural = 0.5 * (natural + behind)
    return None


def _hold_proper(chart: Chart, seen: Seen, target: Any, before: Numbers | None) -> Numbers:
    """Raise a ValueError if the target is the density of natural parameters that belong to no member; give them.

    To a narrow member every smooth density looks so: one that is of that form told the place ``before`` the same. Of
    samples, which begin wide, the first are believed: later ones may lie where the density is not finite.
    """
    here = seen.here
    natural: Numbers = here.natural + here.back @ here.descent
    known = before is not None and np.abs(natural - before).max() <= _ALIKE * np.abs(natural).max()
    alike = seen.drawn or known
    if alike and here.unexplained < _EXPLAINED and here.residual > _SAME and chart.member(natural) is None:
        name, at = chart.family.__name__, np.array2string(natural, precision=6, threshold=8)
        raise ValueError(
            f"the target, {target!r}, is improper: it has the form of a {name} of natural parameters {at}, where there "
            "is none; multiply it by a prior"
        )
    return natural


def _end(
    seen: Seen, place: Place, converged: bool, steps: int, halved: int, trace: list[float], chart: Chart | None = None,
    said: str | None = None,
) -> End:  # fmt: skip
    details: dict[str, Any] = {
        "steps": steps, "residual": place.residual, "halved": halved, "nodes": len(place.weights)
    }  # fmt: skip
    if seen.drawn:
        details["noise"] = place.noise
        if converged and place.noise > _TOLD:
            said = (
                f"the natural parameters have a standard error of {place.noise:.2g} in units of the fit's own: "
                "samples= makes it smaller"
            )
    running = converged and not seen.drawn and _running(seen)
    if running:
        converged, said = False, "the divergence falls to it as the member narrows"
    member = seen.member if chart is None else chart.member(place.natural)
    return End(member, place, seen.divergence, converged, said, tuple(trace), details, running=running)


def _joined(ends: list[End], end: End) -> None:
    """Add an end to those that are different from it, or count it with the one that is not."""
    for k, other in enumerate(ends):
        noise = max(e.details.get("noise", 0.0) for e in (end, other))
        apart = other.place.distance(end.place.natural)
        if apart < max(_SAME, 4.0 * (noise if math.isfinite(noise) else 0.0)):
            kept = end if (end.converged, -end.place.residual) > (other.converged, -other.place.residual) else other
            kept.starts = other.starts + end.starts
            ends[k] = kept
            return
    ends.append(end)
