"""Natural gradients of the reverse KL for normal distributions: Bayesian learning in closed form.

The natural parameters go from θ to (1 − ρ)·θ + ρ·∇_μ E_q[log p], μ the mean parameters [1, eq. 6]. For a normal q with
mean m and precision S, by the theorems of Bonnet and Price [2, 3],

    S ← (1 − ρ)·S − ρ·E_q[∇² log p],    m ← m + ρ·S⁻¹·E_q[∇ log p]  with the new S                   [1, eq. 12]

which is Newton's method with its derivatives averaged over q; at ρ = 1 it meets a normal target in one step. The means
are taken at nodes that stay the same: on a line and in a plane of the trapezoidal rule, which for a normal density is
exact to rounding for polynomials, and unlike Gauss's sees what is narrow [5]; else of a scrambled Sobol' sequence made
to have mean 0 and covariance 1 exactly. So the iteration is a deterministic one, and its end is known to the last
digits for these nodes. Steps are halved until the precision is positive definite, and the bound rises or the gradient
falls; the first need could also be met by a term of second order [4].

References
----------
.. [1] M. E. Khan, H. Rue, "The Bayesian learning rule", arXiv:2107.04562 (2021).
.. [2] G. Bonnet, "Transformations des signaux aléatoires à travers les systèmes non linéaires sans mémoire", Annales
   des Télécommunications 19 (1964).
.. [3] R. Price, "A useful theorem for nonlinear devices having Gaussian inputs", IRE Transactions on Information
   Theory 4 (1958).
.. [4] W. Lin, M. Schmidt, M. E. Khan, "Handling the positive-definite constraint in the Bayesian learning rule",
   ICML (2020).
.. [5] L. N. Trefethen, J. A. C. Weideman, "The exponentially convergent trapezoidal rule", SIAM Review 56 (2014).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from dkl._array import real_number
from dkl.families.multivariate import LOG_TAU, DiagonalNormal, MultivariateNormal
from dkl.families.normal import Normal
from dkl.fitting.problem import REVERSE, DeclinedError, Problem, fitter, need, whole_number
from dkl.fitting.result import Fit
from dkl.fitting.variational.differentiable import Differentiable
from dkl.fitting.variational.gradient import need_real
from dkl.fitting.variational.importance import Found, assembled
from dkl.fitting.variational.laplace import Frame, frames
from dkl.methods.nodes import Numbers

STEPS = 500
STARTS = 4
RTOL = 1e-10
#: Nodes of a sequence.
SAMPLES = 1024
# Spacing of the nodes on a line and in a plane, and how far they reach, in standard deviations.
_SPACING = {1: 0.05, 2: 0.25}
_REACH = 9.0
# The means of second derivatives cost so many gradients a step.
_DIMENSIONS = 128
# A step is halved so often at most.
_HALVINGS = 30
# After so many steps without a smaller gradient a small one is rounding: a target in float32 has much of it.
_IDLE = 10
# Optima nearer than this, in units of their own, are one.
_SAME = 1e-4
# By so much, in units of the precision, and by so many standard errors may the mean of second derivatives differ from
# what first derivatives say of it: more, and the log-density has bends that its second derivatives do not show.
_BENT = 0.05
_ERRORS = 8.0


@fitter("natural gradient", takes=("steps", "samples", "starts", "rtol", "step_size", "progress"))
def natural_gradient(problem: Problem) -> Fit:
    """Follow the natural gradient of the reverse KL, for normal families in up to 128 dimensions.

    The target is anything whose log-density PyTorch can differentiate twice, normalised or not. For other targets,
    among them those with bends, such as −|x|, which no second derivative shows, and for other families, regressions
    take the place of the derivatives: :func:`dkl.fitting.variational.regression`.

    Options
    -------
    steps : int
        At most: 500. Each costs the second derivatives at all nodes.
    samples : int
        Nodes in three dimensions and more: 1,024, rounded up to a power of two. The answer is that of these nodes.
    starts : int
        How many climbs to a mode to begin with: 4.
    rtol : float
        It ends where the gradient, in units of the fit itself, is smaller: 1e-10.
    step_size : float
        ρ, 1 if not given; halved where it must be.
    progress : callable
        Called with the steps done and the most that there will be.
    """
    target: Any = problem.target
    need(
        problem.family in (Normal, DiagonalNormal, MultivariateNormal), "with second derivatives is for normal families"
    )
    need(problem.reverse, REVERSE)
    need_real(problem)
    d = math.prod(target.event_shape)
    need(d <= _DIMENSIONS, f"needs second derivatives, in {_DIMENSIONS} dimensions at most, and the target has {d}")
    try:
        log_p = Differentiable(target, "natural gradient")
    except (TypeError, ModuleNotFoundError) as none:
        raise DeclinedError(f"with second derivatives is not to be had: {none}") from none
    rng = problem.rng()
    diagonal = problem.family is not MultivariateNormal
    settings = Settings(
        whole_number(problem.option("steps", STEPS), "steps"),
        within(problem, "rtol", RTOL),
        within(problem, "step_size", 1.0),
        diagonal,
    )
    count = whole_number(problem.option("samples", SAMPLES), "samples", least=2 * log_p.dimension)
    z, weights = nodes(log_p.dimension, count, rng)
    begun = frames(
        log_p, target, whole_number(problem.option("starts", STARTS), "starts"), rng, diagonal=diagonal
    )  # fmt: skip
    progress = problem.option("progress", None)
    ends: list[tuple[Found, Numbers, Numbers]] = []
    for k, frame in enumerate(begun):
        end = followed(log_p, frame, z, weights, settings, problem.family)
        _joined(ends, end)
        if progress is not None:
            progress((k + 1) * settings.steps, len(begun) * settings.steps)
    return assembled(problem, "natural gradient", log_p.log_prob, [found for found, _, _ in ends])


def within(problem: Problem, name: str, default: float) -> float:
    """An option that is a positive number of at most 1, checked."""
    value = problem.option(name, default)
    number = real_number(value, name)
    if not 0 < number <= 1:
        raise ValueError(f"{name} = {value!r} must be positive, and at most 1")
    return number


@dataclass(frozen=True)
class Settings:
    """Steps at most, the gradient at which it ends, ρ, and whether components are independent."""

    steps: int
    rtol: float
    step_size: float
    diagonal: bool


def nodes(d: int, count: int, rng: np.random.Generator) -> tuple[Numbers, Numbers]:
    """Nodes and weights of a mean under a standard normal distribution of vectors.

    Parameters
    ----------
    d : int
    count : int
        How many where there are three dimensions or more; at least 2·d.
    rng : numpy.random.Generator
        Of the scrambling.

    Returns
    -------
    z : array, shape (n, d)
        With mean 0 and covariance 1 but for rounding.
    weights : array, shape (n,)
        Summing to 1.

    Examples
    --------
    >>> import numpy as np
    >>> z, w = nodes(2, 0, np.random.default_rng(0))
    >>> round(float(w @ (z[:, 0] ** 4 * z[:, 1] ** 2)), 12)
    3.0
    """
    if d in _SPACING:
        half = round(_REACH / _SPACING[d])
        x = _SPACING[d] * np.arange(-half, half + 1)
        grid = np.stack([g.ravel() for g in np.meshgrid(*(x,) * d, indexing="ij")], axis=-1)
        w = np.exp(-0.5 * (grid**2).sum(axis=1))
        kept = w > np.exp(-0.5 * _REACH**2)
        return grid[kept], w[kept] / w[kept].sum()
    power = math.ceil(math.log2(count))
    uniform = qmc.Sobol(d, scramble=True, seed=rng).random_base2(power)
    z = ndtri(np.clip(uniform, 2.0**-53, 1.0 - 2.0**-53))
    z = z - z.mean(axis=0)
    factor = np.linalg.cholesky(z.T @ z / len(z))
    return np.linalg.solve(factor, z.T).T, np.full(len(z), 1.0 / len(z))


@dataclass
class _Place:
    """A normal distribution on the way, with the means over it.

    ``factor`` is a square root of the covariance, ``slope`` and ``curvature`` E_q[∇ log p] and E_q[∇² log p];
    ``residual`` is the size of the natural gradient in the distribution's own units, ``bent`` whether the second
    derivatives are not those that the first ones tell of.
    """

    loc: Numbers
    precision: Numbers
    factor: Numbers
    slope: Numbers
    curvature: Numbers
    bound: float
    residual: float
    bent: bool = False


def _placed(
    log_p: Differentiable, loc: Numbers, precision: Numbers, z: Numbers, weights: Numbers, diagonal: bool
) -> _Place:
    d = loc.size
    if diagonal:
        factor: Numbers = 1.0 / np.sqrt(precision)
        x, log_volume = loc + z * factor, float(np.log(factor).sum())
    else:
        inverse = np.linalg.inv(np.linalg.cholesky(precision))
        factor = inverse.T  # upper triangular: factor·factorᵀ is the covariance
        x, log_volume = loc + z @ inverse, float(np.log(np.diagonal(inverse)).sum())
    value, gradient, second = log_p.with_curvature(x, diagonal=diagonal)
    slope, curvature = weights @ gradient, np.tensordot(weights, second, axes=1)
    if diagonal:
        parts = factor * slope, factor**2 * curvature + 1.0
    else:
        curvature = 0.5 * (curvature + curvature.T)
        parts = factor.T @ slope, factor.T @ curvature @ factor + np.eye(d)
    residual = math.sqrt(float((parts[0] ** 2).sum() + 0.5 * (parts[1] ** 2).sum()))
    bound = float(weights @ value) + log_volume + 0.5 * d * (LOG_TAU + 1.0)
    own = gradient * factor if diagonal else gradient @ factor
    bent = _bent(z, weights, own, parts[1] - (1.0 if diagonal else np.eye(d)), exact=d in _SPACING)
    return _Place(loc, precision, factor, slope, curvature, bound, residual, bent)


def _bent(z: Numbers, weights: Numbers, gradient: Numbers, curvature: Numbers, *, exact: bool) -> bool:
    """Whether the mean of second derivatives is not E[z·∇ log p], as it is by Stein's lemma where there are no bends.

    Both in units of the normal distribution. What a linear gradient has of the latter is taken off: the nodes' own
    noise then vanishes for a normal target. ``exact`` tells that the nodes are those of a rule without noise.
    """
    linear = z * curvature if curvature.ndim == 1 else z @ curvature
    terms = z * (gradient - weights @ gradient - linear)
    terms = np.concatenate([terms, terms.sum(axis=1, keepdims=True)], axis=1)
    apart = weights @ terms
    error = 0.0 if exact else np.sqrt(weights**2 @ (terms - apart) ** 2)
    size = 1.0 + np.abs(np.diagonal(curvature) if curvature.ndim == 2 else curvature)
    return bool((np.abs(apart) > _BENT * np.append(size, size.sum()) + _ERRORS * error).any())


def _hold_smooth(here: _Place) -> None:
    need(not here.bent, "with second derivatives needs a log-density without bends, such as that of −|x|")


def followed(
    log_p: Differentiable, frame: Frame, z: Numbers, weights: Numbers, settings: Settings, family: type
) -> tuple[Found, Numbers, Numbers]:
    """Go from one frame's distribution to where the natural gradient vanishes; also the mean and the widths there."""
    diagonal = settings.diagonal
    if diagonal:
        precision: Numbers = 1.0 / frame.factor**2
    else:
        inverse = np.linalg.inv(frame.factor)
        precision = inverse.T @ inverse
    here = _placed(log_p, frame.loc, precision, z, weights, diagonal)
    _hold_smooth(here)
    begun = _widths(here, diagonal)
    trace, halved, taken = [-here.bound], 0, 0
    least, idle = here.residual, 0
    said = None
    while taken < settings.steps and here.residual > _reached(here, settings.rtol, diagonal):
        rho = settings.step_size
        there = _ahead(log_p, here, rho, z, weights, diagonal)
        cuts = 0
        while there is None and cuts < _HALVINGS:
            rho, cuts = 0.5 * rho, cuts + 1
            there = _ahead(log_p, here, rho, z, weights, diagonal)
        halved += cuts > 0
        if there is None:
            said = f"no step led on from a natural gradient of {here.residual:.2g}"
            break
        taken += 1
        here = there
        log_p.hold_proper(_widths(here, diagonal) / begun)
        trace.append(-here.bound)
        idle = 0 if here.residual < least else idle + 1
        least = min(least, here.residual)
        if idle == _IDLE and least <= math.sqrt(settings.rtol):
            said = f"the natural gradient stays at {least:.2g}, the rounding of the target"
            break
    _hold_smooth(here)
    rtol = _reached(here, settings.rtol, diagonal)
    converged = here.residual <= rtol or (said is not None and here.residual <= math.sqrt(rtol))
    if not converged and said is None:
        said = f"after {taken} steps the natural gradient is still {here.residual:.2g}: give more steps="
    if converged:
        said = f"{halved} of {taken} steps were halved, to keep the precision positive and the bound rising" if (
            halved
        ) else None  # fmt: skip
    details = {"steps": taken, "residual": here.residual, "halved": halved, "nodes": len(z)}
    made = _member(family, here, diagonal)
    return Found(made, frame.share, converged, said, tuple(trace), details), here.loc, _widths(here, diagonal)


def _reached(here: _Place, rtol: float, diagonal: bool) -> float:
    """How small a gradient can be asked for: outcomes far from 0 are rounded, in units of the distribution's width."""
    rounding = float((np.spacing(np.abs(here.loc)) / _widths(here, diagonal)).max())
    return max(rtol, 2.0 * rounding)


def _widths(here: _Place, diagonal: bool) -> Numbers:
    made: Numbers = here.factor if diagonal else np.sqrt((here.factor**2).sum(axis=1))
    return made


def _ahead(
    log_p: Differentiable, here: _Place, rho: float, z: Numbers, weights: Numbers, diagonal: bool
) -> _Place | None:
    """One step of size ρ; None where the precision is none, or neither the bound nor the gradient is better."""
    precision = (1.0 - rho) * here.precision - rho * here.curvature
    if diagonal:
        if not (precision > 0).all():
            return None
        step: Numbers = here.slope / precision
    else:
        try:
            np.linalg.cholesky(precision)
        except np.linalg.LinAlgError:
            return None
        step = np.linalg.solve(precision, here.slope)
    there = _placed(log_p, here.loc + rho * step, precision, z, weights, diagonal)
    better = there.bound >= here.bound or there.residual < here.residual
    return there if better else None


def _member(family: type, here: _Place, diagonal: bool) -> Any:
    if family is Normal:
        return Normal(float(here.loc[0]), float(here.factor[0]))
    if diagonal:
        return DiagonalNormal(here.loc, here.factor)
    return MultivariateNormal(here.loc, precision=here.precision)


def _joined(ends: list[tuple[Found, Numbers, Numbers]], end: tuple[Found, Numbers, Numbers]) -> None:
    """Add an end to those that are different from it, or its share to the one that is not."""
    found, loc, widths = end
    for k, (other, its_loc, its_widths) in enumerate(ends):
        apart = max(np.abs((loc - its_loc) / its_widths).max(), np.abs(np.log(widths / its_widths)).max())
        if apart < _SAME:
            share = other.share + found.share
            kept = other if other.converged else found
            ends[k] = (Found(kept.distribution, share, kept.converged, kept.said, kept.trace, kept.details),
                       its_loc, its_widths)  # fmt: skip
            return
    ends.append(end)
