"""Expectation propagation, power EP and assumed density filtering: a product fitted factor by factor.

Each factor is replaced by a site, a member of the family without its normaliser, such that the product of all sites has
the moments of the product with this one factor in its site's place. With factors to the power of α, power EP, the same
steps stop at a local minimum of an α-divergence of each [2]: α = 1 is expectation propagation, α → 0 variational.

References
----------
.. [1] T. Minka, "A family of algorithms for approximate Bayesian inference", PhD thesis, MIT (2001), chapter 3.
.. [2] T. Minka, "Power EP", Microsoft Research TR-2004-149 (2004).
.. [3] M. Opper, O. Winther, "Expectation consistent approximate inference", Journal of Machine Learning Research 6
   (2005).
.. [4] C. E. Rasmussen, C. K. I. Williams, "Gaussian Processes for Machine Learning" (2006), section 3.6.
.. [5] H. F. Walker, P. Ni, "Anderson acceleration for fixed-point iterations", SIAM Journal on Numerical Analysis 49
   (2011).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dkl._array import as_array, namespace_of, real_number, to_numpy
from dkl.fitting.problem import FORWARD, DeclinedError, Problem, fitter, need, whole_number
from dkl.fitting.propagation.answer import told
from dkl.fitting.propagation.families import approximation
from dkl.fitting.propagation.products import Product
from dkl.fitting.propagation.sites import Approximation, Matched
from dkl.fitting.result import Fit
from dkl.methods.nodes import Numbers

_EP, _ADF = "expectation propagation", "assumed density filtering"
_PRODUCT = "needs a product of factors, dkl.fitting.Product"
RTOL = 1e-10
MAX_SWEEPS = 500
# A step that leads to no distribution is halved this often before it is given up.
_HALVINGS = 30
_LEAST_STEP = 1.0 / 64.0
# What a density's rounding leaves of its moments, in units of its width: some times as much.
_ROUNDINGS = 16.0
# As many earlier steps are looked at to choose the next.
_MEMORY = 6

Progress = Callable[[int, int, float], Any]


@fitter(_EP, takes=("alpha", "damping", "schedule", "rtol", "max_sweeps", "progress"))
def expectation_propagation(problem: Problem) -> Fit:
    """Replace every factor by a site that keeps the moments, again and again until nothing moves.

    For KL(target‖fit) of products of more than two dimensions, and for an α-divergence power EP; if asked for by its
    name in one and two dimensions too, where the divergence itself can be minimised. The prior must be a member of the
    family: Normal, MultivariateNormal, DiagonalNormal (mean field), or any exponential family of numbers on an
    interval. Its fixed points are no minima of the divergence from the whole product, but where there is one site.

    Options
    -------
    alpha : float or array_like
        The power of all factors or of each, in their order; that of the divergence if not given. Not 0; below 0 there
        may be no first step from the prior. Distributions that belong to the family are exact, whatever the power.
    damping : float
        The share of each step that is made, in (0, 1]. If not given 1, and less where the steps swing; in either case a
        step that leads to no distribution is halved until it does.
    schedule : {"parallel", "sequential"}
        All sites from the same approximation, or one after the other; both stop at the same places.
    rtol : float
        When to stop: the largest change of a site that a whole step would make, in units of the approximation's own
        width (of the natural parameters' sizes, in families other than normal); 1e-10.
    max_sweeps : int
        500.
    progress : callable
        Called with the sweeps done, the most there may be, and the last largest change.

    Notes
    -----
    ``Fit.trace`` has the largest change of each sweep, ``Fit.details``:

    sites : dict
        The natural parameters of the sites.
    log_evidence : float or None
        The approximation of the logarithm of ∫ prior·Π site [2, section 4; 4, equation 3.65]; None if the last sweep
        passed over a site.
    sweeps : int
    skipped : array of int
        How often each site was passed over, as its cavity times the factor was no distribution, or no mass was found.
    negative : array of int
        The sites that widen the approximation: their precision is negative, as an outlier's may be.

    Examples
    --------
    A probit regression:

    >>> import dkl, numpy as np
    >>> from scipy.special import log_ndtr
    >>> from dkl.families import MultivariateNormal
    >>> from dkl.fitting import Product, Sites
    >>> x = np.array([[1.0, 0.2, 0.1], [1.0, -1.0, 0.4], [1.0, 1.5, -0.3], [1.0, -0.4, 0.0]])
    >>> y = np.array([1.0, -1.0, 1.0, 1.0])
    >>> prior = MultivariateNormal(np.zeros(3), np.eye(3))
    >>> fit = dkl.fit(MultivariateNormal, Product(prior, Sites(lambda s, i: log_ndtr(y[i] * s), projections=x)))
    >>> fit.distribution.mean().round(4)
    array([ 0.6234,  0.8275, -0.2969])
    >>> fit.converged, round(fit.details["log_evidence"], 4)
    (True, -2.6697)
    """
    alpha, target = problem.alpha, problem.target
    if not isinstance(target, Product):
        raise DeclinedError(_PRODUCT)
    if alpha is None or (alpha == 0.0 and "alpha" not in problem.options):
        raise DeclinedError("matches the moments that KL(target‖fit) and α-divergences of α other than 0 ask for")
    if problem.method is None:
        seen = target.event_shape in ((), (2,))
        need(not seen, "is tried by its name alone where the divergence itself can be minimised")
        need(alpha > 0, "is tried below α = 0 by its name alone: no step leads there from a prior")
    chosen = approximation(problem, target)
    run = _Run(problem, chosen, _powers(problem.option("alpha", alpha), chosen.count))
    run.go()
    return run.answer()


@fitter(_ADF, takes=("progress",))
def assumed_density_filtering(problem: Problem) -> Fit:
    """Take up one factor after the other, each once.

    The approximation so far times the next factor is replaced by the member with its moments. The answer depends on the
    order of the factors; those that are members of the family themselves are exact, and are taken up before all others.

    Options
    -------
    progress : callable
        Called with the factors done, all of them, and the last change.

    Notes
    -----
    ``Fit.details`` has the ``sites``, ``log_z`` (the logarithm of what each factor times the approximation before it
    integrates to) and ``log_evidence``, their sum.

    Examples
    --------
    >>> import dkl, numpy as np
    >>> from scipy.special import log_ndtr
    >>> from dkl.families import Normal
    >>> from dkl.fitting import Product, Sites
    >>> target = Product(Normal(0.0, 1.0), Sites(lambda s, i: log_ndtr(s)))
    >>> fit = dkl.fit(Normal, target, method="assumed density filtering")
    >>> round(float(fit.distribution.var()), 10) == round(1 - 1 / np.pi, 10)
    True
    """
    target = problem.target
    if not isinstance(target, Product):
        raise DeclinedError(_PRODUCT)
    need(problem.forward, FORWARD)
    need(problem.method == _ADF, "depends on the order of the factors, and must be asked for by its name")
    chosen = approximation(problem, target)
    progress: Progress | None = problem.option("progress", None)
    sites = chosen.start()
    state = chosen.state(sites)
    log_z, trace = np.zeros(chosen.count), []
    for i in range(chosen.count):
        found = chosen.matched(state, sites, np.array([i]), np.ones(1))
        following = chosen.replaced(state, sites, i, found.sites[0]) if found.kept[0] else None
        if following is None:
            raise ValueError(
                f"site {i} times the approximation before it, {chosen.distribution(chosen.state(sites))!r}, has no "
                "mass that quadrature finds, or no moments: take up the sites in another order, or use expectation "
                "propagation"
            )
        state, sites[i], log_z[i] = following, found.sites[0], found.log_z[0]
        trace.append(float(found.change[0]))
        if progress is not None:
            progress(i + 1, chosen.count, trace[-1])
    details = {
        "sites": chosen.named(sites),
        "log_evidence": chosen.log_exact + math.fsum(log_z),
        "log_z": log_z,
    }
    said = ["each factor was taken up once, and the answer depends on their order"] if chosen.count > 1 else []
    return told(
        problem, chosen.distribution(chosen.state(sites)), _ADF, True, trace, said, details, exact=chosen.count == 0
    )  # fmt: skip


class _Run:
    """One run of expectation propagation, from sites that say nothing."""

    def __init__(self, problem: Problem, chosen: Approximation, alpha: Numbers) -> None:
        self.problem, self.chosen, self.alpha = problem, chosen, alpha
        self.damping = problem.option("damping", None)
        if self.damping is not None and not 0 < real_number(self.damping, "damping") <= 1:
            raise ValueError(f"damping = {self.damping!r} is the share of a step that is made: it lies in (0, 1]")
        self.schedule = problem.option("schedule", "parallel")
        if self.schedule not in ("parallel", "sequential"):
            raise ValueError(f"schedule = {self.schedule!r} must be 'parallel' or 'sequential'")
        self.rtol = real_number(problem.option("rtol", RTOL), "rtol")
        if not 0 < self.rtol < 1:
            raise ValueError(f"rtol = {self.rtol!r} must lie between 0 and 1")
        self.most = whole_number(problem.option("max_sweeps", MAX_SWEEPS), "max_sweeps")
        self.sites = chosen.start()
        self.state = chosen.state(self.sites)
        self.skipped = np.zeros(chosen.count, dtype=int)
        self.step = 1.0 if self.damping is None else float(self.damping)
        self.trace: list[float] = []
        self.path: list[tuple[Numbers, Numbers]] = []
        self.converged = self.stuck = False
        self.last: Matched | None = None

    def go(self) -> None:
        """Sweep until nothing moves, no step can be made, or it has been often enough."""
        progress: Progress | None = self.problem.option("progress", None)
        everyone = np.arange(self.chosen.count)
        sweep = self._parallel if self.schedule == "parallel" else self._sequential
        for done in range(1, self.most + 1):
            # What all sites should be, from the approximation as it is: the one condition of a fixed point.
            found = self.chosen.matched(self.state, self.sites, everyone, self.alpha)
            change = float(found.change[found.kept].max(initial=0.0))
            self.last = found
            self.skipped += ~found.kept
            self.trace.append(change)
            if progress is not None:
                progress(done, self.most, change)
            if self._still(found)[found.kept].all():
                self.converged = bool(found.kept.all())
                return
            self._adapt()
            if not sweep(found):
                self.stuck = True
                return

    def _still(self, found: Matched) -> Numbers:
        """Which sites stay: a site is the change of the moments divided by α, and so is their rounding."""
        still: Numbers = found.change <= np.maximum(self.rtol, _ROUNDINGS * found.rounding / np.abs(self.alpha))
        return still

    def _adapt(self) -> None:
        """Shorter steps where they swing, and longer ones where they do not."""
        if self.damping is None and len(self.trace) > 1:
            swung = self.trace[-1] > self.trace[-2]
            if swung:
                self.path.clear()
            self.step = max(_LEAST_STEP, 0.5 * self.step) if swung else min(1.0, 1.1 * self.step)

    def _parallel(self, found: Matched) -> bool:
        """All sites at once. False if no step leads to a distribution."""
        step = self.step
        if self.damping is None:
            self.path = [*self.path[-_MEMORY:], (self.sites, found.sites - self.sites)]
            tried = accelerated(self.path, found.unit)
            state = None if tried is None else self.chosen.state(tried)
            if tried is not None and state is not None:
                self.sites, self.state = tried, state
                return True
        for _ in range(_HALVINGS):
            tried = self.sites + step * (found.sites - self.sites)
            state = self.chosen.state(tried)
            if state is not None:
                self.sites, self.state = tried, state
                return True
            step *= 0.5
        return False

    def _sequential(self, found: Matched) -> bool:
        """One site after the other, each from the approximation as it is by then. False if none could move."""
        moved = False
        for i in range(self.chosen.count):
            here = self.chosen.matched(self.state, self.sites, np.array([i]), self.alpha[i : i + 1])
            if not here.kept[0]:
                continue
            step = self.step
            for _ in range(_HALVINGS):
                site = self.sites[i] + step * (here.sites[0] - self.sites[i])
                state = self.chosen.replaced(self.state, self.sites, i, site)
                if state is not None:
                    self.sites[i], self.state, moved = site, state, True
                    break
                step *= 0.5
        # What rounding has left of many small steps is made anew.
        self.state = self.chosen.state(self.sites)
        return moved

    def answer(self) -> Fit:
        """The fit, and what there is to say about it."""
        chosen, said = self.chosen, []
        if self.last is None or not self.converged:
            self.last = chosen.matched(self.state, self.sites, np.arange(chosen.count), self.alpha)
        missed = np.flatnonzero(~self.last.kept)
        if missed.size == chosen.count > 0 and (self.alpha > 0).all() and (self.sites == chosen.start()).all():
            raise ValueError(
                f"none of the {chosen.count} sites could be taken up: the prior times each of them, to the power of "
                "alpha, has no finite mass that is found, as it grows without end or is 0 wherever it was asked; check "
                "log_factor, or give a narrower prior"
            )
        if not self.converged:
            change = f"the last step would have moved a site by {self.trace[-1]:.3g} of the approximation's width"
            if self.stuck:
                said.append(f"not converged: no part of a step leads to a distribution; {change}")
            elif len(self.trace) == self.most and not self._still(self.last)[self.last.kept].all():
                said.append(f"not converged in {self.most} sweeps: {change}; try damping, or more max_sweeps")
        lost = None
        if missed.size:
            first = int(missed[0])
            proper = self.last.inside[first]
            lost = first if proper and self.alpha[first] > 0 else None
            why = "times the factor has no finite mass that is found" if proper else "has a negative variance"
            said.append(
                f"{missed.size} of {chosen.count} sites were passed over in the last sweep, the first of them site "
                f"{first}, whose cavity {why}; try damping, or another alpha"
            )
        negative = chosen.negative(self.state, self.sites)
        if negative.size:
            said.append(f"{negative.size} of {chosen.count} sites widen the approximation (negative precision)")
        details = {
            "sites": chosen.named(self.sites),
            "log_evidence": None if missed.size else chosen.log_evidence(self.state, self.alpha, self.last.log_z),
            "sweeps": len(self.trace),
            "skipped": self.skipped,
            "negative": negative,
        }
        return told(
            self.problem, chosen.distribution(self.state), _EP, self.converged, self.trace, said, details,
            exact=chosen.count == 0, lost=lost,
        )  # fmt: skip


def accelerated(path: list[tuple[Numbers, Numbers]], unit: Numbers) -> Numbers | None:
    """Where the steps of a fixed-point iteration lead to, by Anderson's mixing of them [5]; None for one step alone.

    Parameters
    ----------
    path : list of pair of arrays
        Places and the whole steps from them, the last one last.
    unit : array
        By which steps are multiplied to be compared.
    """
    if len(path) < 2:
        return None
    (places, steps) = (np.stack([each[k] for each in path]) for k in (0, 1))
    last_place, last_step = path[-1]
    more = np.diff(steps, axis=0)
    weights, *_ = np.linalg.lstsq(
        (more * unit).reshape(len(more), -1).T, (last_step * unit).ravel(), rcond=1e-10
    )  # fmt: skip
    made: Numbers = last_place + last_step - np.tensordot(weights, np.diff(places, axis=0) + more, axes=1)
    return made if np.isfinite(made).all() else None


def _powers(given: Any, count: int) -> Numbers:
    """α of every factor."""
    alpha = np.asarray(to_numpy(as_array(namespace_of(given=given), given, "alpha")), dtype=float)
    if alpha.ndim > 1 or (alpha.ndim == 1 and alpha.shape != (count,)):
        raise ValueError(f"alpha of shape {alpha.shape} must be one number, or one for each of the {count} factors")
    alpha = np.broadcast_to(alpha, (count,))
    bad = ~(np.isfinite(alpha) & (alpha != 0))
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        hint = (
            ": the limit α → 0 is variational, dkl.fit(…, dkl.reverse_kl, method='stochastic gradient'), which a small "
            "α such as 1e-3 comes near" if alpha[at] == 0 else ""
        )  # fmt: skip
        raise ValueError(f"alpha[{at}] = {alpha[at]} must be finite and not 0{hint}")
    return alpha
