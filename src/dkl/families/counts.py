"""Distributions of counts: Poisson, the trials until and among successes, and how many of each kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from dkl._array import Array, Namespace, device_of, log_softmax, to_numpy
from dkl.families.base import Distribution
from dkl.families.constraints import Constraint, positive, probability, real, whole
from dkl.families.exponential import ExponentialFamily
from dkl.families.log_gamma import gamma_rest
from dkl.families.moments import hold
from dkl.families.outcomes import OneProbability, check_rows, kl_of_shares, log_shares, one_of, real_vector, shares
from dkl.families.special import gammaln, ratio_excess, relative
from dkl.representations import sum_tolerance
from dkl.supports import Integers, Support, Vectors

positive_vector = Constraint("positive and finite", positive.met, 1)


# More counts than these are not summed over.
_MOST = 1 << 20


def counts_around(like: Distribution, mean: Array, var: Array) -> Array:
    """The counts that hold all but 1e-17 of each of some distributions, along a new first axis."""
    centre, reach = to_numpy(mean), 40.0 * np.sqrt(to_numpy(var)) + 40.0
    low = max(0, int(np.floor(np.min(centre - reach))))
    high = int(np.ceil(np.max(centre + reach)))
    if high - low >= _MOST:
        raise NotImplementedError(f"{type(like).__name__}: no sum is made over {high - low} counts for the entropy")
    x = like.xp.arange(low, high + 1, dtype=mean.dtype, device=device_of(mean))
    return like.xp.reshape(x, (-1, *(1,) * len(mean.shape)))


class _Counted(ExponentialFamily):
    """A family of counts, which are their own statistic, and whose entropy is summed."""

    means: ClassVar[dict[str, Constraint]] = {"E[x]": positive}

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[x]."""
        return (self.mean(),)

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return (x,)

    def _entropy(self) -> Array:
        xp = self.xp
        x = counts_around(self, self._mean(), self._var())
        inside = self.support.contains(xp, x)
        log_p = xp.where(inside, self._log_prob(xp.where(inside, x, 0.0)), 0.0)
        return xp.sum(xp.where(inside, -xp.exp(log_p) * log_p, 0.0), axis=0)


class Poisson(_Counted):
    """Poisson distribution of how many events occur.

    Parameters
    ----------
    rate : array_like
        λ, positive: the mean.

    Notes
    -----
    KL(p‖q) = λ_p·(r − 1 − log r) with r = λ_q/λ_p. The entropy is summed.

    Examples
    --------
    >>> import dkl
    >>> from dkl.families.counts import Poisson
    >>> round(float(dkl.kl(Poisson(2.0), Poisson(1.0))), 12)
    0.38629436112
    """

    fusible: ClassVar[bool] = True
    constraints: ClassVar[dict[str, Constraint]] = {"rate": positive}

    def __init__(self, rate: Any) -> None:
        super().__init__(rate=rate)

    @property
    def support(self) -> Support:
        """0, 1, 2, …."""
        return Integers()

    def _natural(self) -> tuple[Array, ...]:
        return (self.xp.log(self.rate),)

    def _with_natural(self, theta: tuple[Array, ...]) -> Any:
        return self._raw(self, rate=self.xp.exp(theta[0]))

    def _inside(self, theta: tuple[Array, ...]) -> Array:
        return self.xp.isfinite(theta[0])

    def _kl(self, other: Any) -> Array:
        return self.rate * ratio_excess(self.xp, other.rate, self.rate)

    def _log_prob(self, x: Array) -> Array:
        # −(x·log(x/λ) − x + λ) − log x! + x·log x − x: of a large rate no two large numbers are subtracted.
        xp, rate = self.xp, self.rate
        some = xp.where(x > 0, x, 1.0)
        return xp.where(x > 0, -relative(xp, some, rate) - gamma_rest(xp, some) - xp.log(some), -rate + 0.0 * x)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return rng.poisson(self.numbers("rate"), size=shape)

    def _mean(self) -> Array:
        return self.rate

    def _var(self) -> Array:
        return self.rate

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        return {"rate": means[0]}


class _UntilSuccess(OneProbability, _Counted):
    """Failures before successes: θ = log(1 − p), and KL that of one trial for each of the mean number of trials."""

    @property
    def support(self) -> Support:
        """0, 1, 2, …."""
        return Integers()

    def _natural(self) -> tuple[Array, ...]:
        return (self._log_rest,)

    def _with_natural(self, theta: tuple[Array, ...]) -> Any:
        xp = self.xp
        p = -xp.expm1(theta[0])
        rest = {name: self.parameters[name] for name in self.known}
        if "probs" in self.parameters and "probs" in self._of_logit(xp.log(p) - theta[0]):
            return self._raw(self, probs=p, **rest)
        return self._raw(self, logits=xp.log(p) - theta[0], **rest)

    def _inside(self, theta: tuple[Array, ...]) -> Array:
        return theta[0] < 0

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        mean = means[0]
        # E[x] = r·(1 − p)/p, r = 1 of Geometric: the odds of a success are r over it.
        successes = known.get("total_count", xp.ones_like(mean))
        return {"logits": xp.log(successes) - xp.log(mean)}


class Geometric(_UntilSuccess):
    """Geometric distribution: failures before the first success, 0, 1, 2, ….

    Parameters
    ----------
    probs : array_like
        The probability p of a success, strictly between 0 and 1.
    logits : array_like
        log(p/(1 − p)), instead.

    Notes
    -----
    KL(p‖q) = KL of one trial / p. SciPy's ``geom`` counts the trials: one more.

    Examples
    --------
    >>> import dkl
    >>> from dkl.families.counts import Geometric
    >>> round(float(dkl.kl(Geometric(0.5), Geometric(0.25))), 12)
    0.287682072452
    """

    fusible: ClassVar[bool] = True
    fusible_mixtures: ClassVar[bool] = False

    def __init__(self, probs: Any = None, *, logits: Any = None) -> None:
        one_of("Geometric", probs, logits)
        super().__init__(probs=probs, logits=logits)

    def _kl(self, other: Any) -> Array:
        return self._binary_kl(other) / self._p

    def _log_prob(self, x: Array) -> Array:
        return x * self._log_rest + self._log_p

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        # By the logarithm, which also knows a p that 1 − p cannot tell from 0.
        return np.floor(rng.standard_exponential(shape) / -to_numpy(self._log_rest))

    def _mean(self) -> Array:
        return self._rest / self._p

    def _var(self) -> Array:
        return self._rest / self._p**2

    def _entropy(self) -> Array:
        return self._binary_entropy() / self._p


class NegativeBinomial(_UntilSuccess):
    """Negative binomial distribution: failures before ``total_count`` successes.

    Parameters
    ----------
    total_count : array_like
        r, positive, not necessarily whole.
    probs : array_like
        The probability p of a success, strictly between 0 and 1.
    logits : array_like
        log(p/(1 − p)), instead.

    Notes
    -----
    The density Γ(x + r)/(Γ(r)·x!)·p^r·(1 − p)^x is that of ``scipy.stats.nbinom(r, p)``, and for r = 1 of
    :class:`Geometric`; ``torch.distributions.NegativeBinomial`` calls 1 − p its ``probs``. With equal r,
    KL(p‖q) = r·KL of one trial / p; with different ones there is no closed form. The entropy is summed.

    Examples
    --------
    >>> import dkl
    >>> from dkl.families.counts import NegativeBinomial
    >>> round(float(dkl.kl(NegativeBinomial(2.0, 0.5), NegativeBinomial(2.0, 0.25))), 12)
    0.575364144904
    """

    fusible: ClassVar[bool] = True
    fusible_mixtures: ClassVar[bool] = False
    constraints: ClassVar[dict[str, Constraint]] = {"total_count": positive, "probs": probability, "logits": real}
    known: ClassVar[tuple[str, ...]] = ("total_count",)

    def __init__(self, total_count: Any, probs: Any = None, *, logits: Any = None) -> None:
        one_of("NegativeBinomial", probs, logits)
        super().__init__(total_count=total_count, probs=probs, logits=logits)

    def _kl(self, other: Any) -> Array:
        return self.total_count * (self._binary_kl(other) / self._p)

    def _log_prob(self, x: Array) -> Array:
        xp, r = self.xp, self.total_count
        ways = gammaln(xp, x + r) - gammaln(xp, r) - gammaln(xp, x + 1.0)
        return ways + r * self._log_p + x * self._log_rest

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        odds = np.exp(-to_numpy(self._logit))
        return rng.poisson(rng.gamma(self.numbers("total_count"), size=shape) * odds)

    def _mean(self) -> Array:
        return self.total_count * (self._rest / self._p)

    def _var(self) -> Array:
        return self.total_count * (self._rest / self._p**2)


class Binomial(OneProbability, _Counted):
    """Binomial distribution: successes among ``total_count`` trials.

    Parameters
    ----------
    total_count : array_like
        n, a positive whole number.
    probs : array_like
        The probability p of a success, strictly between 0 and 1.
    logits : array_like
        log(p/(1 − p)), instead.

    Notes
    -----
    With equal n, KL(p‖q) = n·KL of one trial. The entropy is summed.

    Examples
    --------
    >>> import dkl
    >>> from dkl.families.counts import Binomial
    >>> round(float(dkl.kl(Binomial(10, 0.5), Binomial(10, 0.25))), 12)
    1.438410362259
    """

    fusible: ClassVar[bool] = True
    fusible_mixtures: ClassVar[bool] = False
    constraints: ClassVar[dict[str, Constraint]] = {"total_count": whole, "probs": probability, "logits": real}
    known: ClassVar[tuple[str, ...]] = ("total_count",)

    def __init__(self, total_count: Any, probs: Any = None, *, logits: Any = None) -> None:
        one_of("Binomial", probs, logits)
        super().__init__(total_count=total_count, probs=probs, logits=logits)

    @property
    def support(self) -> Support:
        """0, 1, …, n."""
        return Integers(0, self.total_count)

    def _natural(self) -> tuple[Array, ...]:
        return (self._logit,)

    def _with_natural(self, theta: tuple[Array, ...]) -> Any:
        return self._raw(self, total_count=self.total_count, **self._of_logit(theta[0]))

    def _inside(self, theta: tuple[Array, ...]) -> Array:
        return self.xp.isfinite(theta[0])

    def _kl(self, other: Any) -> Array:
        return self.total_count * self._binary_kl(other)

    def _log_prob(self, x: Array) -> Array:
        xp, n = self.xp, self.total_count
        ways = gammaln(xp, n + 1.0) - gammaln(xp, x + 1.0) - gammaln(xp, n - x + 1.0)
        return ways + x * self._log_p + (n - x) * self._log_rest

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return rng.binomial(self.numbers("total_count").astype(np.int64), to_numpy(self._p), size=shape)

    def _mean(self) -> Array:
        return self.total_count * self._p

    def _var(self) -> Array:
        return self.total_count * self._p * self._rest

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        mean, n = means[0], known["total_count"]
        hold(xp, "Binomial: E[x]", mean, mean < n, "below total_count", n)
        return {"probs": mean / n}


@dataclass(frozen=True, eq=False)
class Compositions(Vectors):
    """Vectors of counts that sum to a total, which may be an array of a batch."""

    total: Any

    @property
    def name(self) -> str:  # type: ignore[override]
        """The total and the number of kinds."""
        total = f"{float(self.total):g}" if getattr(self.total, "shape", ()) == () else "…"
        return f"the counts of {self.dimension} kinds that sum to {total}"

    def contains(self, xp: Namespace, x: Array) -> Array:
        """Whole, non-negative, and of that sum."""
        if len(x.shape) < 1 or x.shape[-1] != self.dimension:
            raise ValueError(f"x of shape {tuple(x.shape)} has no last axis of length {self.dimension}")
        return xp.all((x >= 0) & (x == xp.floor(x)), axis=-1) & (xp.sum(x, axis=-1) == self.total)

    def interior(self, xp: Namespace, x: Array) -> Array:
        """Equal shares, which the density takes too."""
        return xp.zeros_like(x) + (xp.asarray(self.total, dtype=x.dtype) / self.dimension)[..., None]

    def within(self, other: Support) -> Any:
        """Of the same total."""
        if not isinstance(other, Compositions) or other.dimension != self.dimension:
            return False
        return self.total == other.total


class Multinomial(ExponentialFamily):
    """Multinomial distribution: how many of ``total_count`` draws are of each kind.

    Parameters
    ----------
    total_count : array_like
        n, a positive whole number.
    probs : array_like
        The positive share of each kind along the last axis, summing to 1 within √ε of their dtype.
    logits : array_like
        Their logarithms up to a constant, instead.

    Notes
    -----
    With equal n, KL(p‖q) = n·KL of the shares. ``var`` is that of each count. The entropy is summed.

    Examples
    --------
    >>> import dkl
    >>> from dkl.families.counts import Multinomial
    >>> round(float(dkl.kl(Multinomial(10, [0.5, 0.5]), Multinomial(10, [0.25, 0.75]))), 12)
    1.438410362259
    """

    constraints: ClassVar[dict[str, Constraint]] = {
        "probs": positive_vector, "logits": real_vector, "total_count": whole,
    }  # fmt: skip
    known: ClassVar[tuple[str, ...]] = ("total_count",)
    means: ClassVar[dict[str, Constraint]] = {"E[x]": positive_vector}
    event_ndim: ClassVar[int] = 1

    def __init__(self, total_count: Any, probs: Any = None, *, logits: Any = None) -> None:
        one_of("Multinomial", probs, logits)
        super().__init__(probs=probs, logits=logits, total_count=total_count)
        check_rows(self)

    @property
    def _shares(self) -> Array:
        return self.parameters["probs" if "probs" in self.parameters else "logits"]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The number of kinds."""
        return tuple(self._shares.shape[-1:])

    @property
    def support(self) -> Support:
        """The counts that sum to n."""
        return Compositions(int(self._shares.shape[-1]), self.total_count)

    def _natural(self) -> tuple[Array, ...]:
        return (log_shares(self),)

    def _with_natural(self, theta: tuple[Array, ...]) -> Any:
        if "probs" in self.parameters:
            return self._raw(self, probs=self.xp.exp(log_softmax(self.xp, theta[0])), total_count=self.total_count)
        return self._raw(self, logits=theta[0], total_count=self.total_count)

    def _inside(self, theta: tuple[Array, ...]) -> Array:
        return self.xp.all(self.xp.isfinite(theta[0]), axis=-1)

    def _kl(self, other: Any) -> Array:
        return self.total_count * kl_of_shares(self.xp, self, other)

    def _log_prob(self, x: Array) -> Array:
        xp = self.xp
        ways = gammaln(xp, self.total_count + 1.0) - xp.sum(gammaln(xp, x + 1.0), axis=-1)
        return ways + xp.sum(x * log_shares(self), axis=-1)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        p = to_numpy(shares(self))
        return rng.multinomial(
            self.numbers("total_count").astype(np.int64), p / p.sum(axis=-1, keepdims=True), size=shape
        )

    def _mean(self) -> Array:
        return self.total_count[..., None] * shares(self)

    def _var(self) -> Array:
        p = shares(self)
        return self.total_count[..., None] * p * (1.0 - p)

    def _entropy(self) -> Array:
        """n·H(shares) − log n! + Σ E[log x_i!], each count being binomial."""
        xp, p, n = self.xp, shares(self), self.total_count
        log_p, log_rest = log_shares(self), xp.log1p(-p)
        x = counts_around(self, n[..., None] * p, self._var())
        left = n[..., None] - x
        inside = left >= 0
        left = xp.where(inside, left, 0.0)
        ways = gammaln(xp, n + 1.0)[..., None] - gammaln(xp, x + 1.0) - gammaln(xp, left + 1.0)
        weights = xp.where(inside, xp.exp(ways + x * log_p + xp.where(left > 0, left * log_rest, 0.0)), 0.0)
        factorials = xp.sum(xp.sum(weights * gammaln(xp, x + 1.0), axis=0), axis=-1)
        return factorials - gammaln(xp, n + 1.0) - n * xp.sum(p * log_p, axis=-1)

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[x]."""
        return (self._handed_back(self._mean()),)

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return (x,)

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        return {"probs": means[0] / known["total_count"][..., None]}

    @classmethod
    def _hold_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> None:
        n, total = known["total_count"], xp.sum(means[0], axis=-1)
        good = xp.abs(total - n) <= n * sum_tolerance(xp, means[0])
        hold(xp, "Multinomial: the sum of E[x]", total, good, "total_count", n)


__all__ = ["Binomial", "Geometric", "Multinomial", "NegativeBinomial", "Poisson"]
