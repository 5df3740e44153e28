"""The variational bound: an f-divergence from samples alone, as the game of a normal distribution and a critic.

For every critic, D_f(P‖Q) ≥ E_P[T] − E_Q[f*(T)] [1, 2], and of samples of P and Q that is a mean. A small critic
makes the bound large and q makes it small, in turns. What is reported is the bound on samples that neither has seen.

References
----------
.. [1] X. Nguyen, M. Wainwright, M. Jordan, "Estimating divergence functionals and the likelihood ratio by convex risk
   minimization", IEEE Transactions on Information Theory 56 (2010).
.. [2] S. Nowozin, B. Cseke, R. Tomioka, "f-GAN: Training generative neural samplers using variational divergence
   minimization", NeurIPS (2016).
"""

from __future__ import annotations

import math

import numpy as np

from dkl.divergences import Csiszar
from dkl.estimate import Estimate
from dkl.families.multivariate import DiagonalNormal, MultivariateNormal
from dkl.families.normal import Normal
from dkl.fitting.points import points
from dkl.fitting.problem import DeclinedError, Problem, fitter, need, whole_number
from dkl.fitting.result import Fit, Optimum
from dkl.fitting.variational.differentiable import library
from dkl.fitting.variational.gradient import learning_rate
from dkl.fitting.variational.laplace import Frame
from dkl.fitting.variational.shapes import Shape, shape_of
from dkl.methods.nodes import Numbers
from dkl.representations import Samples

STEPS = 1000
#: Samples of each side in a step.
SAMPLES = 256
STARTS = 3
HIDDEN = 24
LEARNING_RATE = 0.02
# With less there is no half to learn from and no half to judge by.
_FEWEST = 20
# A start at one observation is so wide, in units of all of them.
_NARROW = 0.5
# Of a component's width, what the other components must leave open.
_SINGULAR = 1e-6
# Ends of games that are nearer, in standard deviations, are one optimum.
_SAME = 0.2


@fitter("variational bound", takes=("steps", "samples", "starts", "hidden", "learning_rate", "progress"))
def variational_bound(problem: Problem) -> Fit:
    """Fit a normal distribution to samples by any f-divergence, against a critic.

    ``Fit.divergence`` is a lower bound, on a half of the samples that is held out: the divergence from their source may
    be larger, and how much no sample tells. The bound of a poor critic is below 0, and proves nothing.

    Options
    -------
    steps : int
        Of q, each after two of the critic: 1,000.
    samples : int
        Of each side in a step: 256.
    starts : int
        How many games: 3. The first begins at the samples' mean and covariance, the others at one sample, half as wide.
    hidden : int
        Units in each of the critic's two hidden layers: 24. A quadratic function, which tells normal distributions
        apart, stands beside them.
    learning_rate : float
        Of q, in units of the samples' spread: 0.02; falls as the game goes on.
    progress : callable
        Called with the steps done and all of them.
    """
    target = problem.target
    need(isinstance(target, Samples), "needs samples")
    need(problem.family in (Normal, DiagonalNormal, MultivariateNormal), "is for normal families alone")
    if not isinstance(problem.divergence, Csiszar):
        raise DeclinedError(f"bounds f-divergences alone, and {problem.divergence.name} is none")
    library("variational bound")
    from dkl.fitting.variational.adversary import Game, Played

    x = points(target).x
    x = x.reshape(len(x), -1)
    if len(x) < _FEWEST:
        raise ValueError(
            f"the target has {len(x)} samples: a critic needs {_FEWEST} at least, one half to learn from and one to be "
            "judged by"
        )
    rng = problem.rng()
    shuffled = x[rng.permutation(len(x))]
    seen, held = shuffled[: len(x) // 2], shuffled[len(x) // 2 :]
    shape = shape_of(problem.family, x.shape[1])
    frame = _frame(seen, full=shape.full)
    steps = whole_number(problem.option("steps", STEPS), "steps", least=8)
    game = Game(
        problem.divergence,
        shape,
        _into(frame, seen),
        whole_number(problem.option("samples", SAMPLES), "samples"),
        whole_number(problem.option("hidden", HIDDEN), "hidden"),
        learning_rate(problem.option("learning_rate", LEARNING_RATE)),
    )
    count = whole_number(problem.option("starts", STARTS), "starts")
    progress = problem.option("progress", None)
    played: list[Played] = []
    for k in range(count):
        told = None
        if progress is not None:
            told = lambda done, k=k: progress(k * steps + done, count * steps)  # noqa: E731
        start = _start(shape, _into(frame, seen), k, rng)
        played.append(game.play(start, steps, _into(frame, held), int(rng.integers(2**31)), told))
    groups: list[list[Played]] = []
    # A game that has not come to an end shows no optimum, and counts only if none has.
    ended = [one for one in played if one.converged] or played
    for one in sorted(ended, key=lambda one: one.bound):
        near = (g for g in groups if _near(shape, frame, g[0].theta, one.theta, 4.0 * max(g[0].noise, one.noise)))
        group = next(near, None)
        if group is None:
            groups.append([one])
        else:
            group.append(one)
    best = groups[0][0]
    made = shape.member(frame, best.theta)
    said = None if best.converged else f"q still moved by {best.change:.2g} in units of the samples' spread"
    return Fit(
        made,
        _bounded(problem, best.bound, best.stderr, game.hidden, len(held)),
        "variational bound",
        best.converged,
        tuple(Optimum(shape.member(frame, g[0].theta), max(g[0].bound, 0.0), len(g) / count) for g in groups),
        best.trace,
        reason=said,
        details={
            "bound": best.bound,
            "bound_stderr": best.stderr,
            "held_out": len(held),
            "noise": best.noise,
            "critic": f"a quadratic beside two hidden layers of {game.hidden}",
        },
        problem=problem,
    )


def _near(shape: Shape, frame: Frame, theta: Numbers, other: Numbers, noise: float) -> bool:
    """Whether two ends of games are the same but for their noise."""
    (loc, sd), (its_loc, its_sd) = shape.moments(frame, theta), shape.moments(frame, other)
    apart = np.concatenate([(loc - its_loc) / its_sd, np.log(sd / its_sd)])
    return bool(np.sqrt(np.mean(apart**2)) < max(_SAME, noise))


def _bounded(problem: Problem, bound: float, stderr: float, hidden: int, held: int) -> Estimate:
    critic = f"a critic of two hidden layers of {hidden} on {held} held-out samples"
    reason = f"a lower bound of the divergence, by {critic}"
    if bound < 0:
        reason = f"the bound by {critic} is {bound:.3g}, below 0, and so proves no more than that"
    divergence = problem.divergence
    return Estimate(
        np.float64(max(bound, 0.0)),
        np.float64(stderr),
        "variational bound",
        divergence.name,
        divergence.direction,
        divergence.unit,
        reason=reason,
        samples=held,
    )


def _frame(x: Numbers, *, full: bool) -> Frame:
    """The samples' own mean and spread."""
    centred = x - x.mean(axis=0)
    widths = np.sqrt((centred**2).mean(axis=0))
    if not (widths > 0).all():
        at = int(np.flatnonzero(widths == 0)[0])
        raise ValueError(f"component {at} of the target's samples has one value only: no density is near it")
    if not full:
        return Frame(x.mean(axis=0), widths)
    # Of columns of length 1, R's diagonal is what each has that those before it have not.
    own = np.abs(np.diagonal(np.linalg.qr(centred / (widths * math.sqrt(len(x))), mode="r")))
    if len(x) <= x.shape[1] or own.min() < _SINGULAR:
        raise ValueError(
            f"the covariance of {len(x)} of the target's samples is singular: leave out components that the others "
            "give, or fit a DiagonalNormal"
        )
    return Frame(x.mean(axis=0), np.linalg.cholesky(centred.T @ centred / len(x)))


def _into(frame: Frame, x: Numbers) -> Numbers:
    apart = x - frame.loc
    made: Numbers = apart / frame.factor if frame.factor.ndim == 1 else np.linalg.solve(frame.factor, apart.T).T
    return made


def _start(shape: Shape, y: Numbers, k: int, rng: np.random.Generator) -> Numbers:
    theta = shape.begun()
    if k:
        theta[: shape.d] = y[rng.integers(len(y))]
        theta[shape.d : 2 * shape.d] = np.log(_NARROW)
    return theta
