"""Distributions that list their outcomes with a probability each, and what is known of a single probability.

They are measured as the lists they stand for, by the exact sum, so that every divergence takes them, impossible
outcomes included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from dkl import pairs
from dkl._array import Array, Namespace, device_of, holds, log_softmax, to_numpy, tree_sum
from dkl.families.base import Distribution
from dkl.families.constraints import Constraint, gathered, probability, real
from dkl.families.exponential import MeanParametrised
from dkl.families.moments import hold
from dkl.families.special import excess, log, log_sigmoid, sigmoid
from dkl.representations import FiniteOutcomes, Logits, Probs, Representation, sum_tolerance
from dkl.supports import Integers, Support

between = Constraint("between 0 and 1", lambda xp, x: (x >= 0) & (x <= 1))
non_negative_vector = Constraint("non-negative and finite", lambda xp, x: (x >= 0) & (x < math.inf), 1)
real_vector = Constraint("finite", real.met, 1)
logit_vector = Constraint("finite or −inf", lambda xp, x: x < math.inf, 1)
# Beyond this logit the probability of the rarer side is lost in 1 − p.
_STEEP = 30.0


def one_of(name: str, probs: Any, logits: Any) -> None:
    """Raise unless exactly one of the two is given."""
    if (probs is None) == (logits is None):
        raise TypeError(f"{name} takes one of probs and logits")


def x_log(xp: Namespace, x: Array, log_y: Array) -> Array:
    """X·log y, 0 where x is."""
    some = x > 0
    return xp.where(some, x * xp.where(some, log_y, 0.0), 0.0 * x)


class OneProbability(Distribution):
    """A distribution with a probability p, given as ``probs`` or by its ``logits`` = log(p/(1 − p))."""

    constraints: ClassVar[dict[str, Constraint]] = {"probs": probability, "logits": real}

    @property
    def _p(self) -> Array:
        known = self.parameters
        return known["probs"] if "probs" in known else sigmoid(self.xp, known["logits"])

    @property
    def _rest(self) -> Array:
        """1 − p."""
        known = self.parameters
        return 1.0 - known["probs"] if "probs" in known else sigmoid(self.xp, -known["logits"])

    @property
    def _log_p(self) -> Array:
        known, xp = self.parameters, self.xp
        return log(xp, known["probs"]) if "probs" in known else log_sigmoid(xp, known["logits"])

    @property
    def _log_rest(self) -> Array:
        """Log(1 − p)."""
        known, xp = self.parameters, self.xp
        if "logits" in known:
            return log_sigmoid(xp, -known["logits"])
        some = known["probs"] < 1
        return xp.where(some, xp.log1p(-xp.where(some, known["probs"], 0.0)), -math.inf)

    @property
    def _logit(self) -> Array:
        known = self.parameters
        return known["logits"] if "logits" in known else self._log_p - self._log_rest

    def _binary_entropy(self) -> Array:
        """−p·log p − (1 − p)·log(1 − p)."""
        return -x_log(self.xp, self._p, self._log_p) - x_log(self.xp, self._rest, self._log_rest)

    def _binary_kl(self, other: Any) -> Array:
        """KL of one trial: p·log(p/q) − p + q, and the same of 1 − p and 1 − q, both non-negative.

        The differences are those of the parameters as given: of logits a and b, (q − p)/p = (1 − q)·(exp(b − a) − 1).
        """
        xp, mine, its = self.xp, self.parameters, other.parameters
        p, q, rest_p, rest_q = self._p, other._p, self._rest, other._rest
        if "logits" in mine and "logits" in its:
            step = its["logits"] - mine["logits"]
            near = xp.abs(step) < 2.0
            step = xp.where(near, step, 0.0)
            up, down = rest_q * xp.expm1(step), q * xp.expm1(-step)
            both_low, both_high = (mine["logits"] < 0) & (its["logits"] < 0), (mine["logits"] > 0) & (its["logits"] > 0)
            apart = its["logits"] - mine["logits"]
            more = _log_step(xp, self, other, -1.0)
            less = _log_step(xp, self, other, 1.0)
            log_p = xp.where(both_low, -apart - more, self._log_p - other._log_p)
            log_rest = xp.where(both_high, apart - less, self._log_rest - other._log_rest)
        else:
            near = (q > 0) & (p > 0) & (rest_p > 0) & (rest_q > 0)
            up = (q - p) / xp.where(near, p, 1.0)
            down = (p - q) / xp.where(near, rest_p, 1.0)
            log_p, log_rest = self._log_p - other._log_p, self._log_rest - other._log_rest
        return _one_side(xp, p, q, near, up, log_p) + _one_side(xp, rest_p, rest_q, near, down, log_rest)

    def _logit_step(self, other: Any) -> Array:
        """The logit of the other less this one's, from the difference of the parameters as given."""
        xp, mine, its = self.xp, self.parameters, other.parameters
        if "logits" in mine and "logits" in its:
            return its["logits"] - mine["logits"]
        if "probs" in mine and "probs" in its:
            # q·(1 − p) − p·(1 − q) = q − p, so that the odds' quotient less 1 is (q − p)/(p·(1 − q)).
            ratio = (its["probs"] - mine["probs"]) / (mine["probs"] * other._rest)
            near = xp.abs(ratio) < 0.25
            return xp.where(near, xp.log1p(xp.where(near, ratio, 0.0)), other._logit - self._logit)
        return other._logit - self._logit

    def _of_logit(self, logit: Array) -> dict[str, Array]:
        """The parameter that this one has, of another logit; the logit itself where 1 − p would lose its digits."""
        xp = self.xp
        if "probs" in self.parameters and holds(xp.all(xp.abs(logit) < _STEEP)) is not False:
            return {"probs": sigmoid(xp, logit)}
        return {"logits": logit}


def _log_step(xp: Namespace, one: Any, other: Any, sign: float) -> Array:
    """log(1 + exp(−sign·l)) of one less that of the other, where both exponents are negative."""
    tails = []
    for x in (one, other):
        exponent = -sign * x.parameters["logits"]
        tails.append(xp.log1p(xp.exp(xp.where(exponent < 0, exponent, 0.0))))
    return tails[0] - tails[1]


def _one_side(xp: Namespace, p: Array, q: Array, near: Array, apart: Array, log_ratio: Array) -> Array:
    """p·log(p/q) − p + q, by (q − p)/p where that is small."""
    near = near & (xp.abs(apart) < 0.25)
    close = p * excess(xp, xp.where(near, apart, 0.0))
    both = (p > 0) & (q > 0)
    far = p * xp.where(both & ~near, log_ratio, 0.0) + (q - p)
    return xp.where(near, close, xp.where((q > 0) | (p == 0), far, math.inf))


@dataclass(frozen=True, eq=False)
class TwoOutcomes(Probs):
    """Probabilities 1 − p and p, and the distribution that knows p: of 1 − p, its differences have lost digits."""

    of: Any = None


class Bernoulli(OneProbability, MeanParametrised):
    """Distribution of one trial: 1 with probability p, else 0.

    Parameters
    ----------
    probs : array_like
        p, from 0 to 1.
    logits : array_like
        log(p/(1 − p)), instead.

    Notes
    -----
    It is measured as the list of its two outcomes, by every divergence. KL between two given by ``probs`` takes the
    difference of these instead, p·log(p/q) − p + q and the same of 1 − p and 1 − q, which the list has rounded.

    Examples
    --------
    >>> from dkl.families.outcomes import Bernoulli
    >>> Bernoulli(0.25).outcomes()
    TwoOutcomes(array=array([0.75, 0.25]), normalize=False, of=Bernoulli(probs=0.25))
    """

    constraints: ClassVar[dict[str, Constraint]] = {"probs": between, "logits": real}
    means: ClassVar[dict[str, Constraint]] = {"E[x]": between}

    def __init__(self, probs: Any = None, *, logits: Any = None) -> None:
        one_of("Bernoulli", probs, logits)
        super().__init__(probs=probs, logits=logits)

    @property
    def support(self) -> Support:
        """0 and 1."""
        return Integers(0, 1)

    def outcomes(self) -> FiniteOutcomes:
        """The list of both outcomes, 0 and 1, along a new last axis, in the parameter's dtype."""
        xp, known = self.xp, self.parameters
        if "probs" in known:
            both = xp.stack([1.0 - known["probs"], known["probs"]], axis=-1)
            return TwoOutcomes(xp.astype(both, self.dtype), of=self)
        return Logits(xp.astype(xp.stack([0.0 * known["logits"], known["logits"]], axis=-1), self.dtype))

    def measured_as(self) -> Representation:
        """The list of its outcomes."""
        return self.outcomes()

    def _log_prob(self, x: Array) -> Array:
        return self.xp.where(x > 0, self._log_p, self._log_rest)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return rng.random(shape) < to_numpy(self._p)

    def _mean(self) -> Array:
        return self._p

    def _var(self) -> Array:
        return self._p * self._rest

    def _entropy(self) -> Array:
        return self._binary_entropy()

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[x] = p."""
        return (self.mean(),)

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return (x,)

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        return {"probs": means[0]}


class Categorical(MeanParametrised):
    """Distribution of the index of one of n outcomes.

    Parameters
    ----------
    probs : array_like
        Probabilities along the last axis, summing to 1 within √ε of their dtype.
    logits : array_like
        Their logarithms up to a constant, instead; −inf is probability 0.

    Notes
    -----
    It is measured as the list of its outcomes, by every divergence. ``mean`` and ``var`` are those of the index.

    Examples
    --------
    >>> from dkl.families.outcomes import Categorical
    >>> float(Categorical([0.5, 0.25, 0.25]).mean())
    0.75
    """

    constraints: ClassVar[dict[str, Constraint]] = {"probs": non_negative_vector, "logits": logit_vector}
    means: ClassVar[dict[str, Constraint]] = {"P(x = i)": non_negative_vector}

    def __init__(self, probs: Any = None, *, logits: Any = None) -> None:
        one_of("Categorical", probs, logits)
        super().__init__(probs=probs, logits=logits)
        check_rows(self)

    @property
    def _count(self) -> int:
        return int(next(iter(self.parameters.values())).shape[-1])

    @property
    def support(self) -> Support:
        """The indices."""
        return Integers(0, self._count - 1)

    def outcomes(self) -> FiniteOutcomes:
        """The list of the outcomes along the last axis, in the parameter's dtype."""
        known = self.parameters
        if "probs" in known:
            return Probs(self.xp.astype(known["probs"], self.dtype))
        return Logits(self.xp.astype(known["logits"], self.dtype))

    def measured_as(self) -> Representation:
        """The list of its outcomes."""
        return self.outcomes()

    @property
    def _log_p(self) -> Array:
        return log_shares(self)

    @property
    def _p(self) -> Array:
        return shares(self)

    @property
    def _index(self) -> Array:
        xp, p = self.xp, self._p
        return xp.astype(xp.arange(self._count, device=device_of(p)), p.dtype)

    def _log_prob(self, x: Array) -> Array:
        xp = self.xp
        chosen = x[..., None] == self._index
        return xp.sum(xp.where(chosen, self._log_p, 0.0), axis=-1)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        p = to_numpy(self._p)
        # The last possible outcome takes what rounding leaves of the whole.
        sums = np.cumsum(p, axis=-1) / p.sum(axis=-1, keepdims=True)
        return (rng.random(shape)[..., None] >= sums[..., :-1]).sum(axis=-1)

    def _mean(self) -> Array:
        return self.xp.sum(self._p * self._index, axis=-1)

    def _var(self) -> Array:
        return self.xp.sum(self._p * (self._index - self._mean()[..., None]) ** 2, axis=-1)

    def _entropy(self) -> Array:
        return -self.xp.sum(x_log(self.xp, self._p, self._log_p), axis=-1)

    def mean_parameters(self) -> tuple[Any, ...]:
        """The probabilities of the outcomes along the last axis: the means of their indicators."""
        return (self.xp.astype(self._p, self.dtype),)

    @classmethod
    def sufficient_statistics(cls, x: Any, *, outcomes: int) -> tuple[Any, ...]:  # type: ignore[override]
        """The indicators of the outcomes.

        Parameters
        ----------
        x : array_like
            Indices of outcomes.
        outcomes : int
            How many there are.

        Returns
        -------
        tuple of array
            One array, 1 where x is the index along its last axis and 0 elsewhere.

        Examples
        --------
        >>> from dkl.families.outcomes import Categorical
        >>> (drawn,) = Categorical.sufficient_statistics([0, 2, 2, 2], outcomes=3)
        >>> Categorical.from_mean_parameters(drawn.mean(axis=0)).given["probs"]
        array([0.25, 0.  , 0.75])
        """
        xp, given = gathered("Categorical", {"x": x})
        index = given["x"]
        hold(xp, "Categorical: x", index, Integers(0, outcomes - 1).contains(xp, index), "an index of an outcome")
        return cls._statistics(xp, index, {"outcomes": xp.arange(outcomes, device=device_of(index))})

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return (xp.astype(x[..., None] == known["outcomes"], x.dtype),)

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        return {"probs": means[0]}

    @classmethod
    def _hold_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> None:
        Probs(means[0]).check_rows(xp, means[0], "Categorical: P(x = i)", sum_tolerance(xp, means[0]))


def check_rows(self: Distribution) -> None:
    """Raise a ValueError unless each row of ``probs`` sums to 1, or one of ``logits`` is finite in each row."""
    (name, x), kind = next(iter(self.parameters.items())), type(self).__name__
    if x.shape[-1] == 0:
        raise ValueError(f"{kind}: {name} of shape {tuple(x.shape)} lists no outcome")
    narrow = self.xp.astype(x, self.dtype)
    side: FiniteOutcomes = Probs(x) if name == "probs" else Logits(x)
    side.check_rows(self.xp, x, f"{kind}: {name}", sum_tolerance(self.xp, narrow))


def shares(self: Distribution) -> Array:
    """The probabilities of ``probs`` or ``logits`` along the last axis."""
    return self.parameters["probs"] if "probs" in self.parameters else self.xp.exp(log_shares(self))


def log_shares(self: Distribution) -> Array:
    """Their logarithms."""
    known, xp = self.parameters, self.xp
    return log(xp, known["probs"]) if "probs" in known else log_softmax(xp, known["logits"])


def kl_of_shares(xp: Namespace, p: Distribution, q: Distribution) -> Array:
    """Σ p·log(p/q) − p + q of two lists of positive shares, by the terms of their pair."""
    if "probs" in p.parameters and "probs" in q.parameters:
        pair = pairs.from_probabilities(xp, *xp.broadcast_arrays(p.parameters["probs"], q.parameters["probs"]))
    else:
        logits = (x.parameters["logits"] if "logits" in x.parameters else log_shares(x) for x in (p, q))
        pair = pairs.from_logits(xp, *xp.broadcast_arrays(*logits))
    return tree_sum(xp, pair.shared.kl_terms)


__all__ = ["Bernoulli", "Categorical"]
