"""What samples of the fits tell of a target that is known up to a factor: its integral, and each fit's distance.

The samples of all optima together, r their mixture in equal shares, stand for the target with weights p/r. Their mean
is the integral [1]; of one fit's samples alone it would lack each mode that this fit leaves out, with nothing to show
for it. The divergences take the same samples as outcomes, as :mod:`dkl.methods.monte_carlo` does: every term of a
divergence is non-negative, and so is the sum.

References
----------
.. [1] E. Veach, L. J. Guibas, "Optimally combining sampling techniques for Monte Carlo rendering", SIGGRAPH (1995),
   the balance heuristic.
.. [2] A. Vehtari, D. Simpson, A. Gelman, Y. Yao, J. Gabry, "Pareto smoothed importance sampling", Journal of Machine
   Learning Research 25 (2024).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dkl._array import namespace_of, to_numpy
from dkl.density import Density
from dkl.divergences import Divergence
from dkl.estimate import Estimate
from dkl.fitting.problem import Problem
from dkl.fitting.result import Fit, Optimum
from dkl.methods import measure
from dkl.methods.monte_carlo import tail_shape
from dkl.methods.nodes import Numbers, weighted_pair

#: How many samples are drawn of every fit.
DRAWN = 1 << 14
# The standard errors come from this many groups.
_GROUPS = 64
# Above it a mean of weights is known to converge too slowly at any number of samples [2].
_HOPELESS = 0.7
# Where no weight is so many times their mean none of them decides, whatever shape their tail seems to have: of n
# weights with a tail of that shape the largest is some n^0.7 times the mean.
_PLAIN = 10.0

LogProb = Callable[[Numbers], Numbers]


@dataclass(frozen=True)
class Weights:
    """The samples of some fits, in groups that have as many of each.

    Attributes
    ----------
    log_p : array, shape (groups, n)
        The target's log-density at the samples.
    log_q : array, shape (fits, groups, n)
        The fits'.
    log_r : array, shape (groups, n)
        That of the mixture of the fits.
    own : array, shape (fits, m)
        log p − log q of each fit's own samples.
    """

    log_p: Numbers
    log_q: Numbers
    log_r: Numbers
    own: Numbers

    @property
    def log_normaliser(self) -> float:
        """The logarithm of the mean weight."""
        return _log_mean(self.log_p - self.log_r)

    @property
    def log_stderr(self) -> float:
        """Its standard error."""
        logs = self.log_p - self.log_r
        relative = np.exp(logs - self.log_normaliser)
        return float(relative.std(ddof=1) / math.sqrt(relative.size))

    @property
    def tail(self) -> float:
        """The shape k of the tail of the weights; above 0.7 their mean is not to be trusted [2]."""
        weights = np.sort(np.exp((self.log_p - self.log_r).ravel() - (self.log_p - self.log_r).max()))
        return tail_shape(weights[-1 - min(weights.size // 5, math.ceil(3 * math.sqrt(weights.size))) :])

    @property
    def distrust(self) -> str | None:
        """Why the integral, and what stands on it, cannot be trusted, if that is so."""
        k = self.tail
        largest = float((self.log_p - self.log_r).max()) - self.log_normaliser
        if k <= _HOPELESS or largest < math.log(_PLAIN):
            return None
        return (
            f"the integral of the target cannot be trusted: the tail of the importance weights has Pareto shape k = "
            f"{k:.2f}, and above 0.7 a few samples decide"
        )

    @property
    def normaliser(self) -> Estimate | None:
        """The integral of the target; None where it is not to be trusted, or no float."""
        log_value = self.log_normaliser
        if self.distrust is not None or not abs(log_value) < 700.0:
            return None
        value = np.float64(math.exp(log_value))
        return Estimate(
            value,
            np.float64(value * self.log_stderr),
            "importance sampling",
            "normaliser",
            "the integral of the target",
            "",
            samples=self.log_p.size,
        )

    def bound(self, fit: int, power: float) -> tuple[float, float]:
        """The variational Rényi bound log(mean of w^power)/power of one fit's own samples, and its standard error.

        With power 0 it is the ELBO, the mean of log w.
        """
        logs = self.own[fit]
        root = math.sqrt(logs.size)
        if power == 0:
            return float(logs.mean()), float(logs.std(ddof=1) / root)
        value = _log_mean(power * logs)
        return value / power, float(np.exp(power * logs - value).std(ddof=1) / root / abs(power))

    def divergence(self, fit: int, divergence: Divergence) -> Estimate:
        """From the target, its integral made 1, to one fit."""
        groups = np.array([
            _total(divergence, p - _log_mean(p - r), q, r)
            for p, q, r in zip(self.log_p, self.log_q[fit], self.log_r, strict=True)
        ])  # fmt: skip
        p, q, r = self.log_p.ravel(), self.log_q[fit].ravel(), self.log_r.ravel()
        value = _total(divergence, p - self.log_normaliser, q, r)
        return Estimate(
            np.float64(value),
            np.float64(groups.std(ddof=1) / math.sqrt(_GROUPS)),
            "importance sampling",
            divergence.name,
            divergence.direction,
            divergence.unit,
            reason="of the target divided by its integral, which the same samples give",
            samples=p.size,
            warning=self.distrust,
        )


def _log_mean(logs: Numbers) -> float:
    top = float(logs.max())
    return top + math.log(float(np.exp(logs - top).mean()))


def _total(divergence: Divergence, log_p: Numbers, log_q: Numbers, log_r: Numbers) -> float:
    return float(divergence.total(weighted_pair(namespace_of(), log_p, log_q, -log_r - math.log(log_r.size))))


def weighed(log_p: LogProb, members: Sequence[Any], rng: np.random.Generator, drawn: int = DRAWN) -> Weights:
    """Draw from each of some fits and weigh the samples.

    Parameters
    ----------
    log_p : callable
        The target's log-density of vectors, shape (n, d).
    members : sequence of Distribution
        Normal distributions of numbers or vectors.
    rng : numpy.random.Generator
    drawn : int
        How many of each, at least 64.
    """
    each = drawn // _GROUPS
    logs_p, logs_q = [], []
    for member in members:
        x = np.asarray(to_numpy(member.sample(each * _GROUPS, rng=rng)), dtype=float)
        logs_p.append(log_p(x.reshape(len(x), -1)).reshape(_GROUPS, each))
        logs_q.append(
            [np.asarray(to_numpy(other.log_prob(x)), dtype=float).reshape(_GROUPS, each) for other in members]
        )
    own = np.stack([(p - q[k]).ravel() for k, (p, q) in enumerate(zip(logs_p, logs_q, strict=True))])
    log_p_all = np.concatenate(logs_p, axis=-1)
    log_q_all = np.stack([np.concatenate([q[k] for q in logs_q], axis=-1) for k in range(len(members))])
    top = log_q_all.max(axis=0)
    log_r = top + np.log(np.exp(log_q_all - top).mean(axis=0))
    return Weights(log_p_all, log_q_all, log_r, own)


@dataclass(frozen=True)
class Found:
    """A local optimum as a search in many dimensions leaves it.

    Attributes
    ----------
    distribution : Distribution
    share : float
        Of the starts, how many came here.
    converged : bool
    said : str or None
        Why not, or how it came there.
    trace : tuple of float
    details : dict
    """

    distribution: Any
    share: float
    converged: bool
    said: str | None
    trace: tuple[float, ...]
    details: dict[str, Any]


def assembled(problem: Problem, method: str, log_p: LogProb, found: Sequence[Found]) -> Fit:
    """The optima in the order of their divergence, the best one's as far as the target can be measured.

    Parameters
    ----------
    problem : Problem
    method : str
    log_p : callable
        As for :func:`weighed`.
    found : sequence of Found
        One for each optimum.
    """
    target: Any = problem.target
    whole = not isinstance(target, Density)
    weights = weighed(log_p, [each.distribution for each in found], problem.rng())
    if whole:
        measured = [measure(target, each.distribution, problem.divergence, rng=problem.seed) for each in found]
    else:
        measured = [weights.divergence(k, problem.divergence) for k in range(len(found))]
    order = sorted(range(len(found)), key=lambda k: float(measured[k]))
    best = found[order[0]]
    alpha = 0.0 if problem.alpha is None else problem.alpha
    elbo, bound = weights.bound(order[0], 0.0), weights.bound(order[0], alpha)
    details = best.details | {"elbo": elbo[0], "elbo_stderr": elbo[1], "starts_at": len(found)}
    if alpha:
        details |= {"bound": bound[0], "bound_stderr": bound[1]}
    said = [best.said]
    if not whole:
        details |= {"log_normaliser": weights.log_normaliser, "log_normaliser_stderr": weights.log_stderr}
        said.append(weights.distrust)
    return Fit(
        best.distribution,
        measured[order[0]],
        method,
        best.converged,
        tuple(Optimum(found[k].distribution, float(measured[k]), found[k].share) for k in order),
        best.trace,
        normaliser=None if whole else weights.normaliser,
        reason="; ".join(part for part in said if part) or None,
        details=details,
        problem=problem,
    )
