"""Coordinate ascent: factors of a variational posterior, each made the best there is beside the others, in turn.

The best factor beside the others is q_j ∝ exp E[log p] under the rest [1, eq. 10.9]; where pairs are conjugate it has a
closed form, and no step can lower the bound log Z − KL(q‖p).

References
----------
.. [1] C. M. Bishop, "Pattern Recognition and Machine Learning" (2006), section 10.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.special import digamma, gammaln

from dkl._array import real_number, to_numpy
from dkl.estimate import Estimate
from dkl.families.base import Distribution
from dkl.families.exponential import ExponentialFamily
from dkl.families.gamma import Gamma
from dkl.families.multivariate import LOG_TAU, DiagonalNormal, MultivariateNormal, VectorNormal
from dkl.families.normal import Normal
from dkl.fitting.points import on_host, points
from dkl.fitting.problem import REVERSE, Problem, fitter, need, whole_number
from dkl.fitting.result import Fit, Optimum
from dkl.methods import measure
from dkl.methods.nodes import Numbers
from dkl.representations import Samples

RTOL = 1e-10
SWEEPS = 1000
# What rounding may take from a bound, in units of its size.
_ROUNDING = 1e-10

Factors = dict[str, Any]
Update = Callable[[Factors], Any]


def coordinate_ascent(
    factors: Mapping[str, Any],
    updates: Mapping[str, Update],
    bound: Callable[[Factors], float] | None = None,
    *,
    rtol: float = RTOL,
    max_sweeps: int = SWEEPS,
) -> Fit:
    """Variational inference by coordinate ascent, for a model whose best factors you know in closed form.

    Parameters
    ----------
    factors : mapping of str to Distribution
        Where it begins: a factor of q under each name.
    updates : mapping of str to callable
        For some names the function of all factors, a dict, that gives the best factor of that name beside the others.
        They are applied in this order; a factor without one stays as it is.
    bound : callable, optional
        The evidence lower bound of the factors, in nats, up to a constant. It is looked at after every update.
    rtol : float
        It ends when in one sweep no factor moves by more, in its own standard deviations, and the bound changes by no
        more than this share of itself. A factor of no exponential family moves by the share of its parameters.
    max_sweeps : int
        Sweeps over all updates at most.

    Returns
    -------
    Fit
        ``details["factors"]`` holds the factors, ``details["bound"]`` the last bound, ``details["sweeps"]`` their
        number; ``trace`` is minus the bound after each sweep. There is no ``distribution``: the factors are of
        different outcomes.

    Raises
    ------
    ValueError
        If an update lowers the bound beyond rounding: it is not that of the best factor; or a bound is no number.
    TypeError
        If a factor is no distribution of dkl, or an update's name is none of the factors'.

    Notes
    -----
    Cost: one call of every update, and of the bound after each, a sweep. It converges to a stationary point of the
    bound, linearly, slower the more the factors' variables depend on each other [1]_.

    References
    ----------
    .. [1] C. M. Bishop, "Pattern Recognition and Machine Learning" (2006), section 10.1.1.

    Examples
    --------
    The independent factors of a normal pair with precision [[2, 1], [1, 2]] and mean 0:

    >>> from dkl.families import Normal
    >>> from dkl.fitting import coordinate_ascent
    >>> made = coordinate_ascent(
    ...     {"x": Normal(1.0, 1.0), "y": Normal(1.0, 1.0)},
    ...     {"x": lambda q: Normal(-q["y"].mean() / 2, 0.5**0.5), "y": lambda q: Normal(-q["x"].mean() / 2, 0.5**0.5)},
    ...     rtol=1e-6,
    ... )
    >>> made.converged, bool(abs(made.details["factors"]["x"].mean()) < 1e-5)
    (True, True)
    """
    here = _held(factors, updates)
    tolerance, most = _tolerance(rtol), whole_number(max_sweeps, "max_sweeps")
    best = None if bound is None else _bound(bound, here, "the factors to begin with")
    trace: list[float] = []
    converged, sweep = False, 0
    while sweep < most and not converged:
        sweep += 1
        before, start = dict(here), best
        for name, update in updates.items():
            here[name] = _made(update, here, name)
            if bound is not None and best is not None:
                best = _risen(best, _bound(bound, here, f"the update of {name!r}"), name)
        still = max((_change(before[name], here[name]) for name in updates), default=0.0) <= tolerance
        if start is not None and best is not None:
            trace.append(-best)
            still = still and abs(best - start) <= max(tolerance, 1e-15) * max(1.0, abs(best))
        converged = still
    reason = None if converged else f"after {sweep} sweeps the factors still changed: give more max_sweeps="
    details = {"factors": here, "bound": best, "sweeps": sweep}
    return Fit(None, None, "coordinate ascent", converged, trace=tuple(trace), reason=reason, details=details)


def _held(factors: Mapping[str, Any], updates: Mapping[str, Update]) -> Factors:
    for name, factor in factors.items():
        if not isinstance(factor, Distribution):
            raise TypeError(f"factors[{name!r}] must be a distribution of dkl, got {factor!r}")
    for name, update in updates.items():
        if name not in factors:
            raise TypeError(f"updates[{name!r}] has no factor to begin with: the factors are {', '.join(factors)}")
        if not callable(update):
            raise TypeError(f"updates[{name!r}] must be a function of the factors, got {update!r}")
    if not updates:
        raise TypeError("updates is empty: give a function for at least one factor")
    return dict(factors)


def _tolerance(rtol: Any) -> float:
    value = real_number(rtol, "rtol")
    if not 0 <= value < 1:
        raise ValueError(f"rtol = {rtol!r} is no relative change: it lies from 0 to 1")
    return value


def _made(update: Update, here: Factors, name: str) -> Any:
    made = update(dict(here))
    if not isinstance(made, Distribution):
        raise TypeError(f"the update of {name!r} must give a distribution of dkl, got {made!r}")
    if type(made) is not type(here[name]):
        raise TypeError(
            f"the update of {name!r} gave a {type(made).__name__}, and the factor to begin with is a "
            f"{type(here[name]).__name__}: begin with one of the same family"
        )
    return made


def _bound(bound: Callable[[Factors], float], here: Factors, after: str) -> float:
    value = float(bound(dict(here)))
    if math.isnan(value) or value == math.inf:
        raise ValueError(f"the bound is {value} after {after}: it must be a number, or −inf")
    return value


def _risen(before: float, after: float, name: str) -> float:
    if after < before - _ROUNDING * max(1.0, abs(before)):
        raise ValueError(
            f"the update of {name!r} lowered the bound by {before - after:.3g}: it is not the optimal factor beside "
            "the others, or the bound is not that of this model"
        )
    return after


def _change(one: Distribution, other: Distribution) -> float:
    """How far a factor has moved: √(2·KL), the distance of means in standard deviations where nothing else changed.

    Of a factor of no exponential family it is the largest change of a parameter, in units of its largest number.
    """
    if isinstance(one, ExponentialFamily):
        return math.sqrt(2.0 * float(np.max(to_numpy(measure(one, other).value))))
    worst = 0.0
    for name in {*one.given, *other.given}:
        if name not in one.given or name not in other.given:
            return math.inf
        x, y = (np.asarray(to_numpy(side.given[name]), dtype=float) for side in (one, other))
        size = float(np.abs(y).max())
        worst = max(worst, float(np.abs(x - y).max()) / size if size > 0 else float(np.abs(x).max()))
    return worst


@fitter("coordinate ascent", takes=("blocks", "rtol"))
def of_normal(problem: Problem) -> Fit:
    """Fit independent components, or independent blocks of them, to a normal distribution of vectors by reverse KL.

    A target that belongs to the family itself, and has no blocks to lose, is its own best fit by every divergence. Else
    the best factor of block B beside the others has the precision Λ_BB of the target and a mean that Gauss's and
    Seidel's steps bring to the target's own [Bishop 2006, eq. 10.12-10.15]; they begin there.

    Options
    -------
    blocks : list of lists of int
        The components that keep their correlations, each component once; the family is MultivariateNormal then. Without
        them each component is by itself, and the family DiagonalNormal.
    rtol : float
        Of the means, in standard deviations: 1e-10.
    """
    target: Any = problem.target
    wished = problem.option("blocks", None)
    family = problem.family
    need(family in (DiagonalNormal, MultivariateNormal), "is for DiagonalNormal and MultivariateNormal alone")
    need(isinstance(target, VectorNormal), "is for normal targets, or your own updates: dkl.fitting.coordinate_ascent")
    normal = on_host(target)
    if wished is None and (family is MultivariateNormal or type(target) is DiagonalNormal):
        return _of_member(problem, normal)
    need(problem.reverse, REVERSE)
    loc = np.asarray(to_numpy(normal.loc), dtype=float)
    d = loc.size
    blocks = [[i] for i in range(d)] if wished is None else _blocks(wished, d)
    if family is DiagonalNormal and any(len(block) > 1 for block in blocks):
        raise TypeError("a DiagonalNormal has no blocks of several components: fit MultivariateNormal, blocks=…")
    precision = np.asarray(to_numpy(normal._natural()[1]), dtype=float)
    if precision.ndim == 1:
        precision = np.diag(precision)
    made = coordinate_ascent(
        {str(k): MultivariateNormal(loc[b], precision=precision[np.ix_(b, b)]) for k, b in enumerate(blocks)},
        {str(k): block_update(k, blocks, loc, precision) for k in range(len(blocks))},
        rtol=problem.option("rtol", RTOL),
    )
    factors = made.details["factors"]
    mean = np.empty(d)
    kept = np.zeros((d, d))
    for k, block in enumerate(blocks):
        mean[block] = factors[str(k)].given["loc"]
        kept[np.ix_(block, block)] = precision[np.ix_(block, block)]
    if family is DiagonalNormal:
        fitted: Any = DiagonalNormal(mean, precision=np.diagonal(kept).copy())
    else:
        fitted = MultivariateNormal(mean, precision=kept)
    divergence = measure(normal, fitted, problem.divergence)
    return Fit(
        fitted,
        divergence,
        "coordinate ascent",
        made.converged,
        (Optimum(fitted, float(divergence)),),
        (float(divergence),),
        reason=made.reason,
        details={"blocks": blocks, "sweeps": made.details["sweeps"]},
        problem=problem,
    )


def _of_member(problem: Problem, normal: Any) -> Fit:
    """The target itself, as a member of the family."""
    _tolerance(problem.option("rtol", RTOL))
    fitted = normal
    if type(normal) is not problem.family:
        fitted = MultivariateNormal(normal.loc, cholesky=normal._factor())
    divergence = measure(fitted, fitted, problem.divergence)
    return Fit(
        fitted,
        divergence,
        "coordinate ascent",
        True,
        (Optimum(fitted, float(divergence)),),
        (float(divergence),),
        reason="the target is a member of the family",
        details={"blocks": [list(range(fitted.event_shape[0]))], "sweeps": 0},
        problem=problem,
    )


def _blocks(wished: Any, d: int) -> list[list[int]]:
    blocks = [[whole_number(i, f"blocks[{k}][{n}]", least=0) for n, i in enumerate(b)] for k, b in enumerate(wished)]
    flat = sorted(i for block in blocks for i in block)
    if flat != list(range(d)) or not all(blocks):
        raise ValueError(f"blocks = {wished!r} must name each of the components 0 to {d - 1} once")
    return blocks


def block_update(k: int, blocks: list[list[int]], loc: Numbers, precision: Numbers) -> Update:
    """Bishop's equation 10.12: the mean of a block is the target's given those of the others."""
    mine = blocks[k]
    own = precision[np.ix_(mine, mine)]

    def update(factors: Factors) -> MultivariateNormal:
        pull = np.zeros(len(mine))
        for j, others in enumerate(blocks):
            if j != k:
                pull += precision[np.ix_(mine, others)] @ (factors[str(j)].given["loc"] - loc[others])
        return MultivariateNormal(loc[mine] - np.linalg.solve(own, pull), precision=own)

    return update


def normal_gamma(
    samples: Any,
    *,
    mean: float = 0.0,
    strength: float = 1.0,
    shape: float = 1.0,
    rate: float = 1.0,
    rtol: float = RTOL,
    max_sweeps: int = SWEEPS,
) -> Fit:
    """The unknown mean μ and precision τ of normal data, by independent factors: the textbook's coordinate ascent.

    x_n ~ N(μ, 1/τ), μ ~ N(mean, 1/(strength·τ)), τ ~ Gamma(shape, rate), and q(μ, τ) = q(μ)·q(τ).

    Parameters
    ----------
    samples : array_like or Samples
        The data, along the only axis.
    mean, strength : float
        Of the prior of μ; strength is in units of observations. 0 is a flat prior, the same for every τ.
    shape, rate : float
        Of the prior of τ; both 0 is the density 1/τ.
    rtol, max_sweeps
        As for :func:`coordinate_ascent`.

    Returns
    -------
    Fit
        ``details["factors"]``: ``{"mu": Normal, "tau": Gamma}``. ``divergence`` is KL(q‖posterior), in closed form, and
        ``details["log_evidence"]`` log p(samples), so that ``details["bound"]`` and the divergence sum to it; under an
        improper prior both are up to the constant that it lacks.

    Raises
    ------
    ValueError
        For no data, data that are not finite, a negative strength, shape or rate, or priors so flat that there is no
        posterior: one observation, or equal ones, under flat priors.

    Notes
    -----
    q(μ) = N(μ_N, 1/λ_N) and q(τ) = Gamma(a_N, b_N) with [1]_, equations 10.26 to 10.30,

        μ_N = (λ0·μ0 + N·x̄)/(λ0 + N),  λ_N = (λ0 + N)·E[τ],
        a_N = a0 + (N + 1)/2,  b_N = b0 + ½·E[Σ (x_n − μ)² + λ0·(μ − μ0)²],

    and a_N = a0 + N/2 under a flat prior of μ, where p(μ|τ) brings no √τ. E[τ] and E[μ] are those of the exact
    posterior; q lacks the dependence of the two.

    References
    ----------
    .. [1] C. M. Bishop, "Pattern Recognition and Machine Learning" (2006), section 10.1.3.

    Examples
    --------
    >>> from dkl.fitting import normal_gamma
    >>> made = normal_gamma([1.0, 2.0, 4.0, 5.0], strength=0, shape=0, rate=0)
    >>> round(float(1 / made.details["factors"]["tau"].mean()), 9)    # the variance with n − 1
    3.333333333
    """
    seen = points(samples if isinstance(samples, Samples) else Samples(samples))
    if seen.x.ndim != 1:
        raise ValueError(f"samples of shape {seen.x.shape} must be numbers along one axis")
    m0, l0 = real_number(mean, "mean"), _positive(strength, "strength")
    a0, b0 = _positive(shape, "shape"), _positive(rate, "rate")
    n, centre = seen.x.size, float(seen.x.mean())
    spread = float(((seen.x - centre) ** 2).sum())
    # Half a degree of freedom is p(μ|τ)'s √τ, which a flat prior lacks.
    a = a0 + 0.5 * (n + (l0 > 0))
    exact_a = a - 0.5
    exact_b = b0 + 0.5 * spread + 0.5 * l0 * n * (centre - m0) ** 2 / (l0 + n)
    if not (exact_a > 0 and exact_b > 0):
        raise ValueError(
            f"{n} samples with a sum of squares of {spread:.6g} about their mean leave the precision open under this "
            "prior: give more of them, or a positive shape and rate"
        )
    mu_n = (l0 * m0 + n * centre) / (l0 + n)

    def update_mu(q: Factors) -> Normal:
        return Normal(mu_n, precision=(l0 + n) * float(q["tau"].mean()))

    def update_tau(q: Factors) -> Gamma:
        # E[Σ (x − μ)² + λ0·(μ − μ0)²] about its least value, which no rounding takes away.
        return Gamma(a, exact_b + 0.5 * (l0 + n) * (float(q["mu"].var()) + (float(q["mu"].mean()) - mu_n) ** 2))

    def bound(q: Factors) -> float:
        tau, variance = q["tau"], float(q["mu"].var())
        mean_tau, log_tau = float(tau.mean()), float(digamma(tau.given["shape"]) - np.log(tau.given["rate"]))
        squares = 2.0 * (exact_b - b0) + (l0 + n) * (variance + (float(q["mu"].mean()) - mu_n) ** 2)
        joint = 0.5 * n * (log_tau - LOG_TAU) - 0.5 * mean_tau * squares
        joint += 0.5 * (math.log(l0) + log_tau - LOG_TAU) if l0 > 0 else 0.0
        joint += _log_gamma_constant(a0, b0) + (a0 - 1.0) * log_tau - b0 * mean_tau
        return joint + float(q["mu"].entropy()) + float(tau.entropy())

    # E[τ] to begin with is the posterior's, but for the half that the dependence on μ takes.
    made = coordinate_ascent(
        {"mu": Normal(mu_n, precision=(l0 + n) * a / exact_b), "tau": Gamma(a, exact_b)},
        {"mu": update_mu, "tau": update_tau},
        bound,
        rtol=rtol,
        max_sweeps=max_sweeps,
    )
    tau = made.details["factors"]["tau"]
    of_tau = float(measure(tau, Gamma(exact_a, exact_b)).value)
    # KL of q(μ) from the posterior's p(μ|τ), meaned over τ: ½·(E[r] − 1 − E[log r]), r = τ/E[τ] once it has converged.
    ratio = (l0 + n) / float(made.details["factors"]["mu"].given["precision"])
    log_tau = float(digamma(a) - np.log(tau.given["rate"]))
    of_mu = 0.5 * (ratio * float(tau.mean()) - 1.0 - math.log(ratio) - log_tau)
    log_evidence = (
        _log_gamma_constant(a0, b0) + gammaln(exact_a) - exact_a * math.log(exact_b) - 0.5 * n * LOG_TAU
        + (0.5 * math.log(l0 / (l0 + n)) if l0 > 0 else 0.5 * (LOG_TAU - math.log(n)))
    )  # fmt: skip
    divergence = Estimate(
        np.float64(of_tau + of_mu), np.float64(0.0), "closed_form", "reverse_kl",
        "from the factors to the posterior: the mean of log(q/p) under q", "nats",
    )  # fmt: skip
    return Fit(
        None, divergence, "coordinate ascent", made.converged, trace=made.trace, reason=made.reason,
        details=made.details | {"log_evidence": float(log_evidence)},
    )  # fmt: skip


def _positive(value: Any, name: str) -> float:
    number = real_number(value, name)
    if not 0 <= number < math.inf:
        raise ValueError(f"{name} = {value!r} must be finite and not negative")
    return number


def _log_gamma_constant(shape: float, rate: float) -> float:
    """log(rate^shape/Γ(shape)) of a proper gamma density, 0 of an improper one."""
    return shape * math.log(rate) - math.lgamma(shape) if shape > 0 and rate > 0 else 0.0
