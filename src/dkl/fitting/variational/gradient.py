"""Stochastic variational inference: the gradient of a bound from reparameterised samples, followed by Adam.

Of x = loc + factor·z, z normal, with w = p/q at x, the variational Rényi bound log(mean of w^α)/α, α in Minka's
convention [1], rises as the α-divergence from the target to the fit falls; at α = 0 it is the ELBO and the divergence
the reverse KL. In the convention of Rényi's orders, and of :func:`dkl.training.renyi_bound`, the order is 1 − α.

The gradient is taken along the paths of the samples alone, Σ c·∂(log w)/∂x·∂x/∂φ, q's own parameters held still in
log w. At α = 0, c is 1/K for K samples [2]; in general it is (1 − α)·v + α·v² with v the shares of w^α [3, section 5].
The expectation is that of the bound's whole gradient, and its noise vanishes where the fit meets the target.

References
----------
.. [1] Y. Li, R. E. Turner, "Rényi divergence variational inference", NeurIPS (2016), equation 6.
.. [2] G. Roeder, Y. Wu, D. Duvenaud, "Sticking the landing: simple, lower-variance gradient estimators for variational
   inference", NeurIPS (2017).
.. [3] G. Tucker, D. Lawson, S. Gu, C. Maddison, "Doubly reparameterized gradient estimators for Monte Carlo
   objectives", ICLR (2019).
.. [4] D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR (2015).
.. [5] B. T. Polyak, A. B. Juditsky, "Acceleration of stochastic approximation by averaging", SIAM Journal on Control
   and Optimization 30 (1992).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dkl._array import real_number
from dkl.families.base import Distribution
from dkl.families.multivariate import DiagonalNormal, LowRankNormal, MultivariateNormal
from dkl.families.normal import Normal
from dkl.fitting.problem import DeclinedError, Problem, fitter, need, whole_number
from dkl.fitting.result import Fit
from dkl.fitting.variational.differentiable import Differentiable
from dkl.fitting.variational.importance import Found, assembled
from dkl.fitting.variational.laplace import Frame, frames
from dkl.fitting.variational.shapes import Shape, shape_of
from dkl.methods.nodes import Numbers
from dkl.supports import Integers

#: Steps at most, over all rounds.
STEPS = 8000
#: Samples a step, of the reverse KL and of another α, whose bound is that of so many samples.
SAMPLES = {True: 16, False: 128}
LEARNING_RATE = 0.05
STARTS = 4
RANK = 1
# A round begins in the units of what the last one came to, and is twice as long.
_ROUND = 250
# The mean over the last part of a round stands for it; its noise comes from this many pieces of it.
_PIECES = 8
# A change below this, in standard deviations of the fit, is none.
_STILL = 1e-3
# With more noise in the answer than this, in the same units, it goes on while there are steps.
_NOISY = 0.02
# An end must be flat: so many fresh batches show no slope above this, in the same units, beyond their own noise.
_FRESH = 16
_FLAT = 0.05
# Optima that are nearer, in standard deviations and logarithms of them, are one.
_SAME = 0.1


@fitter("stochastic gradient", takes=("steps", "samples", "learning_rate", "starts", "rank", "progress"))
def stochastic(problem: Problem) -> Fit:
    """Follow the stochastic gradient of the ELBO, or of the variational Rényi bound, for normal families.

    The target is anything whose log-density PyTorch can differentiate, normalised or not, of numbers or vectors.

    Options
    -------
    steps : int
        At most, over all rounds: 8,000. It ends when a round changes nothing beyond its own noise, that is below 0.02
        standard deviations, and fresh samples show no slope above 0.05 in these units.
    samples : int
        In a step: 16, or 128 for α other than 0. The optimum of α ≠ 0 is that of the bound of so many samples.
    learning_rate : float
        Of Adam, in units of the fit itself: 0.05; times 4/√d for all covariances of d > 16 dimensions.
    starts : int
        How many climbs to a mode to begin with: 4. A search begins at each mode found.
    rank : int
        Of a LowRankNormal: 1.
    progress : callable
        Called with the steps done and the most that there will be.
    """
    target: Any = problem.target
    normal = problem.family in (Normal, DiagonalNormal, MultivariateNormal, LowRankNormal)
    need(normal, "is for normal families alone")
    need_real(problem)
    alpha = problem.alpha
    if alpha is None or not alpha < 1:
        raise DeclinedError("minimises KL(fit‖target) and α-divergences of α below 1, in Minka's convention")
    log_p = Differentiable(target, "stochastic gradient")
    rng = problem.rng()
    settings = Settings(
        alpha,
        whole_number(problem.option("steps", STEPS), "steps", least=_PIECES),
        whole_number(problem.option("samples", SAMPLES[alpha == 0]), "samples", least=2),
        learning_rate(problem.option("learning_rate", LEARNING_RATE)),
    )
    shape = shape_of(
        problem.family, log_p.dimension, whole_number(problem.option("rank", RANK), "rank") if _low(problem) else 0
    )
    begun = frames(
        log_p, target, whole_number(problem.option("starts", STARTS), "starts"), rng, diagonal=not shape.full
    )
    progress = problem.option("progress", None)
    ends = []
    for k, frame in enumerate(begun):
        told = None if progress is None else _told(progress, k * settings.steps, len(begun) * settings.steps)
        ends.append(followed(log_p, shape, frame, settings, rng, told))
    found = [_named(end, shape, problem.family) for end in distinct(ends)]
    return assembled(problem, "stochastic gradient", log_p.log_prob, found)


def need_real(problem: Problem) -> None:
    """Decline, unless the target is one distribution of real numbers, or of vectors, as the family is."""
    target: Any = problem.target
    need(isinstance(target, Distribution), "needs a log-density, and the target has none")
    need(not isinstance(target.support, Integers), "follows derivatives, and the target lives on whole numbers")
    need(target.event_ndim == int(problem.family.event_ndim), "needs outcomes of the family's own shape")


def _low(problem: Problem) -> bool:
    if problem.family is not LowRankNormal and "rank" in problem.options:
        raise TypeError(f"rank belongs to a LowRankNormal, and the family is {problem.family.__name__}")
    return problem.family is LowRankNormal


def learning_rate(value: Any) -> float:
    """Adam's rate, checked."""
    rate = real_number(value, "learning_rate")
    if not 0 < rate < 1:
        raise ValueError(f"learning_rate = {value!r} must lie strictly between 0 and 1")
    return rate


def _told(progress: Callable[[int, int], None], before: int, of: int) -> Callable[[int], None]:
    return lambda done: progress(before + done, of)


@dataclass(frozen=True)
class Settings:
    """How the gradient is followed: Minka's α, steps at most, samples a step, and Adam's rate."""

    alpha: float
    steps: int
    samples: int
    rate: float


@dataclass(frozen=True)
class End:
    """What the search from one frame came to.

    Attributes
    ----------
    frame : Frame
        The units that the last round began in.
    theta : array
        The mean of its last part, in these units.
    error : array
        Of each number: the standard error of that mean or its change from the round before, whichever is larger.
    converged : bool
    trace : tuple of float
        Minus the bound, at about a hundred steps of the way.
    steps : int
    loc, sd : array
        The means and standard deviations of the components.
    slope : float
        What fresh samples show of the gradient there, in units of the fit, less their noise; see :func:`slope_of`.
    """

    frame: Frame
    theta: Numbers
    error: Numbers
    converged: bool
    trace: tuple[float, ...]
    steps: int
    loc: Numbers
    sd: Numbers
    slope: float = 0.0


def followed(
    log_p: Differentiable,
    shape: Shape,
    frame: Frame,
    settings: Settings,
    rng: np.random.Generator,
    told: Callable[[int], None] | None = None,
) -> End:
    """Follow the gradient from one frame, in rounds, until a round changes nothing and the end is flat.

    A slow drift hides in the noise of a round, and in hundreds of dimensions noise can hold a fit far from its optimum
    for good: there a round changes nothing either. Fresh samples at the end show the slope that is left.
    """
    length, done, before = _ROUND, 0, math.inf
    theta = shape.begun()
    trace: list[float] = []
    _, begun = shape.moments(frame, theta)
    while True:
        steps = min(length, settings.steps - done)
        mean, noise = _round(log_p, shape, frame, theta, settings, steps, rng, trace)
        done += steps
        length *= 2
        if told is not None:
            told(done)
        log_p.hold_proper(shape.moments(frame, mean)[1] / begun)
        change = shape.apart(mean, theta)
        size, own = _rms(change), _rms(noise)
        # What changes is the noise of both rounds, or a drift.
        still = size <= max(2.0 * math.hypot(own, before), _STILL) and done > _ROUND
        before = own
        last = settings.steps - done < _ROUND
        here, own_theta = shape.reframed(frame, mean)
        if last or (still and own <= _NOISY):
            slope = slope_of(log_p, shape, here, own_theta, settings, rng)
            converged = still and slope <= _FLAT
            if last or converged:
                break
        frame, theta = here, own_theta
    error = np.maximum(noise, np.abs(change))
    loc, sd = shape.moments(frame, mean)
    return End(frame, mean, error, converged, tuple(trace), done, loc, sd, slope)


def slope_of(
    log_p: Differentiable,
    shape: Shape,
    frame: Frame,
    theta: Numbers,
    settings: Settings,
    rng: np.random.Generator,
) -> float:
    """The root mean square of the gradient at θ, by fresh samples, less four standard errors of its square.

    That of the means or that of the other numbers, whichever is larger: of the hundred thousand numbers of a covariance
    the few of the mean would show nothing. In a frame of the fit itself a slope of 1 is, where the target is as wide as
    the fit, one standard deviation.
    """
    batches = np.stack([_gradient(log_p, shape, frame, theta, settings, rng)[0] for _ in range(_FRESH)])
    left = []
    for part in (batches[:, : shape.d], batches[:, shape.d :]):
        noise = part.var(axis=0, ddof=1) / _FRESH
        # The square of a mean is too large by the variance of the mean, and that itself is known to √(2/n) of it.
        unsure = 4.0 * math.sqrt(2.0 * float(np.mean(noise**2)) / noise.size)
        left.append(float(np.mean(part.mean(axis=0) ** 2 - noise)) - unsure)
    return math.sqrt(max(*left, 0.0))


def _rms(x: Numbers) -> float:
    return math.sqrt(float(np.mean(x**2)))


def _round(
    log_p: Differentiable,
    shape: Shape,
    frame: Frame,
    theta: Numbers,
    settings: Settings,
    steps: int,
    rng: np.random.Generator,
    trace: list[float],
) -> tuple[Numbers, Numbers]:
    """Adam with a falling rate; the mean of the second half of the way, and its standard error [4, 5]."""
    here, first, second = theta.copy(), np.zeros_like(theta), np.zeros_like(theta)
    half = steps // 2
    size = max((steps - half) // _PIECES, 1)
    pieces = np.zeros((_PIECES, theta.size))
    every = max(settings.steps // 100, 1)
    for t in range(steps):
        gradient, bound = _gradient(log_p, shape, frame, here, settings, rng)
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        rate = settings.rate * shape.pace / (1.0 + 20.0 * t / steps)
        up = first / (1.0 - 0.9 ** (t + 1))
        here = here + rate * up / (np.sqrt(second / (1.0 - 0.99 ** (t + 1))) + 1e-12)
        if t >= steps - size * _PIECES:
            pieces[(t - (steps - size * _PIECES)) // size] += here / size
        if t % every == 0:
            trace.append(-bound)
    return pieces.mean(axis=0), pieces.std(axis=0, ddof=1) / math.sqrt(_PIECES)


def _gradient(
    log_p: Differentiable, shape: Shape, frame: Frame, theta: Numbers, settings: Settings, rng: np.random.Generator
) -> tuple[Numbers, float]:
    """The bound of one batch of samples, and its gradient along their paths."""
    if settings.alpha == 0:
        # Each sample beside its mirror image: what is odd in z cancels.
        z = rng.standard_normal((settings.samples - settings.samples // 2, shape.noise))
        z = np.concatenate([z, -z])[: settings.samples]
    else:
        z = rng.standard_normal((settings.samples, shape.noise))
    y, log_q, pull = shape.drawn(theta, z)
    value, slope = log_p.with_gradient(frame.out(y))
    log_w = value - log_q + frame.log_volume
    shares, bound = shares_of(log_w, settings.alpha)
    return shape.gradient(theta, z, shares[:, None] * (frame.pulled(slope) + pull)), bound


def shares_of(log_w: Numbers, alpha: float) -> tuple[Numbers, float]:
    """The factor of each sample's path in the gradient of the bound, and the bound.

    Parameters
    ----------
    log_w : array, shape (K,)
    alpha : float
        In Minka's convention, below 1.
    """
    if alpha == 0:
        return np.full(log_w.size, 1.0 / log_w.size), float(log_w.mean())
    logs = alpha * log_w
    weights = np.exp(logs - logs.max())
    share = weights / weights.sum()
    bound = (float(logs.max()) + math.log(float(weights.mean()))) / alpha
    return (1.0 - alpha) * share + alpha * share**2, bound


def distinct(ends: list[End]) -> list[End]:
    """One of each group of ends that are the same but for their errors, with the group's share of the starts."""
    made: list[End] = []
    for end in ends:
        for k, other in enumerate(made):
            apart = np.concatenate([(end.loc - other.loc) / other.sd, np.log(end.sd / other.sd)])
            noise = 4.0 * max(_rms(end.error), _rms(other.error))
            if _rms(apart) < max(_SAME, noise):
                share = other.frame.share + end.frame.share
                better = min(end, other, key=lambda e: (not e.converged, _rms(e.error)))
                made[k] = replace(better, frame=replace(better.frame, share=share))
                break
        else:
            made.append(end)
    return made


def _named(end: End, shape: Shape, family: type) -> Found:
    """An end as a member of the family, with what is known of its error."""
    loc_stderr, scale_stderr = shape.errors(end.frame, end.theta, end.error)
    noise = _rms(end.error)
    said = None
    if end.slope > _FLAT:
        said = (
            f"after {end.steps} steps fresh samples still show a slope, of {end.slope:.2g} in units of the fit: give "
            "more steps=, or a smaller learning_rate="
        )
    elif not end.converged:
        said = (
            f"after {end.steps} steps the last round still changed the fit, by {noise:.2g} standard deviations: give "
            "more steps="
        )
    elif noise > _NOISY:
        said = f"the fit is known to {noise:.2g} standard deviations only: give more samples= or steps="
    event = () if family is Normal else (-1,)
    details = {
        "steps": end.steps,
        "loc_stderr": loc_stderr.reshape(event) if event else float(loc_stderr[0]),
        "scale_stderr": scale_stderr.reshape(event) if event else float(scale_stderr[0]),
    }
    return Found(shape.member(end.frame, end.theta), end.frame.share, end.converged, said, end.trace, details)
