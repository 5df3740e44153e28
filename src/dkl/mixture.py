"""Mixtures of distributions: densities that are weighted sums, and rigorous bounds on the KL of two of them.

References
----------
.. [1] J. Hershey, P. Olsen, "Approximating the Kullback Leibler divergence between Gaussian mixture models", ICASSP
   (2007).
.. [2] J.-L. Durrieu, J.-P. Thiran, F. Kelly, "Lower and upper bounds for approximation of the Kullback-Leibler
   divergence between Gaussian mixture models", ICASSP (2012).
.. [3] A. Kolchinsky, B. Tracey, "Estimating mixture entropy with pairwise distances", Entropy 19 (2017).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from dkl._array import Array, as_array, as_scalar, holds, logsumexp, to_numpy
from dkl.density import Unsaid
from dkl.families.base import Constraint, Distribution, ExponentialFamily, beside, related
from dkl.families.normal import Normal
from dkl.supports import Integers, Interval, Support

# The most numbers that a log-density of a mixture holds at once.
_BLOCK = 1 << 22
# Rounds of the variational upper bound; it falls with each and is a bound after any.
_ROUNDS = 60

share = Constraint("a non-negative number", lambda xp, x: (x >= 0) & xp.isfinite(x), ndim=1)


class Mixture(Distribution):
    """The distribution with density Σ w_k·p_k.

    Parameters
    ----------
    components : Distribution or sequence of Distribution
        One batch of distributions, its last axis that of the components, or a list of them, of one kind or of several.
    weights : array_like
        Their weights, along the last axis: non-negative, summing to 1.

    Raises
    ------
    ValueError
        If a weight is negative or not finite, weights do not sum to 1 within 1.5e-8, or there are not as many of them
        as components.
    TypeError
        If the components are no distributions, or those of a list have outcomes of different shapes.

    Examples
    --------
    >>> import dkl
    >>> from dkl.mixture import Mixture
    >>> m = Mixture(dkl.families.Normal([-1.0, 1.0], [1.0, 1.0]), [0.5, 0.5])
    >>> float(m.mean()), float(m.var())
    (0.0, 2.0)
    """

    constraints: ClassVar[dict[str, Constraint]] = {"weights": share}

    def __init__(self, components: Distribution | Sequence[Distribution], weights: Any) -> None:
        parts = _gathered(components)
        first = parts if isinstance(parts, Distribution) else parts[0]
        like = next(iter(first.parameters.values()), None)
        super().__init__(weights=as_array(first.xp, weights, "Mixture: weights", like=like))
        self.dtype = first.dtype
        self._parts = parts
        count = parts.batch_shape[-1] if isinstance(parts, Distribution) else len(parts)
        given = self.parameters["weights"].shape[-1]
        if given != count:
            raise ValueError(f"Mixture: {given} weights for {count} components")
        total = self.xp.sum(self.parameters["weights"], axis=-1)
        close = self.xp.abs(total - 1.0) <= 1.5e-8
        if holds(self.xp.all(close)) is False:
            worst = to_numpy(total)[~to_numpy(close)].ravel()[0]
            raise ValueError(f"Mixture: the weights sum to {worst:.9g}, not to 1: divide them by their sum")
        own = [parts.batch_shape[:-1]] if isinstance(parts, Distribution) else [c.batch_shape for c in parts]
        self.batch_shape = np.broadcast_shapes(self.batch_shape, *own)

    def _check(self, name: str, x: Array) -> None:
        super()._check(name, x)
        if x.shape[-1] == 0:
            raise ValueError("Mixture: weights is empty: a mixture needs at least one component")

    @property
    def event_ndim(self) -> int:  # type: ignore[override]
        """That of the components."""
        return len(self.event_shape)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """That of the components."""
        return (self._parts if isinstance(self._parts, Distribution) else self._parts[0]).event_shape

    @property
    def components(self) -> Any:
        """The components: one batch, its last axis theirs, or a list."""
        return self._parts

    @cached_property
    def each(self) -> list[Distribution]:
        """The components one by one, each over the batch."""
        if not isinstance(self._parts, Distribution):
            return list(self._parts)
        return [member(self._parts, (..., k)) for k in range(self._parts.batch_shape[-1])]

    @property
    def can_sample(self) -> bool:
        """Whether every component can be drawn from."""
        return all(getattr(c, "can_sample", True) for c in self.each)

    @property
    def support(self) -> Support:
        """The hull of the components' supports: the density may vanish in gaps between them."""
        some = self.parameters["weights"] > 0
        if isinstance(self._parts, Distribution):
            own = self._parts.support
            if not isinstance(own, Interval | Integers):
                return own
            return type(own)(self._outermost(own.low, some, math.inf), self._outermost(own.high, some, -math.inf))
        carried = [bool(to_numpy(some[..., k]).any()) for k in range(len(self._parts))]
        supports = [c.support for c, has in zip(self._parts, carried, strict=True) if has]
        hull = supports[0]
        for s in supports[1:]:
            hull = _hull(hull, s)
        return hull

    def _outermost(self, bound: Any, some: Array, beyond: float) -> Any:
        """The least or greatest bound of the components that have a weight, for each mixture of the batch."""
        if getattr(bound, "shape", ()) == ():
            return bound
        kept = self.xp.where(some, bound, beyond)
        return self.xp.min(kept, axis=-1) if beyond > 0 else self.xp.max(kept, axis=-1)

    def _log_weights(self) -> Array:
        w, xp = self.parameters["weights"], self.xp
        some = w > 0
        return xp.where(some, xp.log(xp.where(some, w, 1.0)), -math.inf)

    def log_prob(self, x: Any) -> Any:
        """The logarithm of the density; −inf where every component has none.

        Parameters
        ----------
        x : array_like
            Outcomes; their leading axes broadcast against the batch.

        Returns
        -------
        array or scalar
        """
        like = self.parameters["weights"]
        x = self.xp.astype(as_array(self.xp, x, "x", like=like), like.dtype)
        # A long list of outcomes goes in pieces: each stands beside every component.
        size = math.prod(x.shape) * self.parameters["weights"].shape[-1]
        leading = len(x.shape) - self.event_ndim - len(self.batch_shape)
        if size <= _BLOCK or leading < 1:
            return self._handed_back(self._log_prob(x))
        step = max(1, x.shape[0] * _BLOCK // size)
        pieces = [self._log_prob(x[at : at + step, ...]) for at in range(0, x.shape[0], step)]
        return self._handed_back(self.xp.concat(pieces, axis=0))

    def _handed_back(self, x: Array) -> Any:
        return as_scalar(self.xp.astype(x, self.dtype))

    def _log_prob(self, x: Array) -> Array:
        xp = self.xp
        if isinstance(self._parts, Distribution):
            logs = self._parts.log_prob(xp.expand_dims(x, axis=-1 - self.event_ndim))
        else:
            logs = xp.stack(xp.broadcast_arrays(*(c.log_prob(x) for c in self._parts)), axis=-1)
        return logsumexp(xp, xp.astype(logs, x.dtype) + self._log_weights())

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        leading = shape[: len(shape) - len(self.batch_shape)]
        n = math.prod(leading)
        weights = np.broadcast_to(self.numbers("weights"), (*self.batch_shape, self.numbers("weights").shape[-1]))
        drawn = np.empty((n, *self.batch_shape, *self.event_shape))
        for row in np.ndindex(*self.batch_shape):
            w = weights[row] / weights[row].sum()
            counts = rng.multinomial(n, w)
            here = [
                np.asarray(to_numpy(member(self.each[k], row).sample(int(c), rng=rng)))
                for k, c in enumerate(counts)
                if c
            ]
            joined = np.concatenate(here) if here else np.empty((0, *self.event_shape))
            drawn[(slice(None), *row)] = joined[rng.permutation(n)]
        return drawn.reshape(*leading, *self.batch_shape, *self.event_shape)

    def _moment(self, values: list[Any]) -> Array:
        xp = self.xp
        w = self.parameters["weights"]
        total = None
        for k, value in enumerate(values):
            term = w[(..., k, *(None,) * self.event_ndim)] * xp.astype(value, w.dtype)
            total = term if total is None else total + term
        return total

    def _mean(self) -> Array:
        return self._moment([c.mean() for c in self.each])

    def _var(self) -> Array:
        """The mean of the variances and the variance of the means, of each number of an outcome."""
        mean = self._mean()
        return self._moment([c.var() + (c.mean() - mean) ** 2 for c in self.each])

    def _member(self, index: tuple[Any, ...]) -> Mixture:
        weights = self.parameters["weights"]
        whole = self.xp.broadcast_to(weights, (*self.batch_shape, weights.shape[-1]))
        # The last axis of a batch of components is no part of the mixture's.
        here = whole[(*index, slice(None))]
        made: Mixture = _remade(self, {"weights": here}, tuple(here.shape[:-1]))
        if isinstance(self._parts, Distribution):
            wide = _broadcast(self._parts, (*self.batch_shape, self._parts.batch_shape[-1]))
            made._parts = member(wide, (*index, slice(None)))
        else:
            made._parts = [member(_broadcast(c, self.batch_shape), index) for c in self._parts]
        return made

    def moved(self, xp: Any, like: Array) -> Self:
        """The same mixture in another library."""
        made = super().moved(xp, like)
        made.__dict__.pop("each", None)
        if isinstance(self._parts, Distribution):
            made._parts = self._parts.moved(xp, like)
        else:
            made._parts = [c.moved(xp, like) for c in self._parts]
        return made

    def __repr__(self) -> str:
        kinds = sorted({type(c).__name__ for c in self.each})
        return f"Mixture({len(self.each)} × {' or '.join(kinds)})"


def _gathered(components: Any) -> Distribution | list[Distribution]:
    """One batch where that can be, else the list."""
    if isinstance(components, Distribution):
        if not components.batch_shape:
            raise TypeError(
                f"Mixture: {components!r} is one distribution: give a list, or a batch whose last axis is that of "
                "the components"
            )
        return components
    parts = list(components)
    if not parts:
        raise ValueError("Mixture: components is empty: a mixture needs at least one")
    for k, part in enumerate(parts):
        if not isinstance(part, Distribution):
            raise TypeError(f"Mixture: components[{k}] is a {type(part).__name__}, not a distribution")
        if part.event_shape != parts[0].event_shape:
            raise TypeError(
                f"Mixture: components[{k}] has outcomes of shape {part.event_shape}, components[0] of "
                f"{parts[0].event_shape}"
            )
        if isinstance(part.support, Integers) != isinstance(parts[0].support, Integers):
            raise TypeError(
                f"Mixture: components[{k}] lives on {part.support.name} and components[0] on {parts[0].support.name}: "
                "a mixture is discrete or continuous"
            )
    spaces = [p for p in parts if p.parameters]
    for k, part in enumerate(parts):
        if spaces and part.xp is not spaces[0].xp:
            parts[k] = beside(part, spaces[0])[0]
    first = parts[0]
    alike = all(type(p) is type(first) and p.parameters.keys() == first.parameters.keys() for p in parts)
    if len({p.xp for p in parts}) > 1:
        raise TypeError("Mixture: the components' parameters are from several array libraries: convert them to one")
    if not alike or not isinstance(first, ExponentialFamily):
        return parts
    xp = first.xp
    shape = np.broadcast_shapes(*(p.batch_shape for p in parts))
    wide = [_broadcast(p, shape) for p in parts]
    try:
        parameters = {n: xp.stack([p.parameters[n] for p in wide], axis=len(shape)) for n in first.parameters}
    except (ValueError, RuntimeError, TypeError):
        return parts  # parameters of different shapes
    stacked: Distribution = _remade(first, parameters, (*shape, len(parts)))
    return stacked


def member(distribution: Distribution, index: tuple[Any, ...]) -> Any:
    """The distributions at one place of a batch, which an index of its axes names."""
    if hasattr(distribution, "_member"):
        return distribution._member(index) if distribution.batch_shape else distribution
    if not distribution.batch_shape:
        return distribution
    wide = _broadcast(distribution, distribution.batch_shape)
    parameters = {}
    for name, x in wide.parameters.items():
        rest = (slice(None),) * distribution.constraints[name].ndim
        parameters[name] = x[(*index, *rest)]
    return _remade(distribution, parameters, np.broadcast_to(0, distribution.batch_shape)[index].shape)


def _remade(distribution: Any, parameters: dict[str, Array], batch_shape: tuple[int, ...]) -> Any:
    """The same kind of distribution with other parameters, known to be good."""
    made = object.__new__(type(distribution))
    made.__dict__.update(distribution.__dict__)
    made.__dict__.pop("each", None)
    made.given = made.parameters = parameters
    made.batch_shape = batch_shape
    return made


def detached(distribution: Any) -> Any:
    """The same distribution, seen through a differentiation by JAX as the numbers it has there."""
    if not distribution.xp.__name__.split(".")[0].startswith("jax"):
        return distribution
    stop = sys.modules["jax"].lax.stop_gradient
    made = _remade(
        distribution,
        {n: distribution.xp.asarray(stop(x)) for n, x in distribution.parameters.items()},
        distribution.batch_shape,
    )
    if isinstance(distribution, Mixture):
        parts = distribution._parts
        made._parts = detached(parts) if isinstance(parts, Distribution) else [detached(c) for c in parts]
    return made


def _broadcast(distribution: Distribution, shape: tuple[int, ...]) -> Any:
    if hasattr(distribution, "_member"):
        return distribution
    parameters = {}
    for name, x in distribution.parameters.items():
        ndim = distribution.constraints[name].ndim
        rest = tuple(x.shape)[len(x.shape) - ndim :]
        parameters[name] = distribution.xp.broadcast_to(x, (*shape, *rest))
    return _remade(distribution, parameters, shape)


def _hull(one: Support, other: Support) -> Support:
    for kind in (Interval, Integers):
        if isinstance(one, kind) and isinstance(other, kind):
            if isinstance(one, Unsaid) or isinstance(other, Unsaid):
                return Unsaid()
            low = np.minimum(to_numpy(one.low), to_numpy(other.low))
            return kind(low[()], np.maximum(to_numpy(one.high), to_numpy(other.high))[()])
    if type(one) is not type(other):
        raise TypeError(f"Mixture: components live on {one.name} and on {other.name}")
    return one


def kl_bounds(p: Any, q: Any) -> tuple[Any, Any] | None:
    """A rigorous lower and upper bound on KL(P‖Q) of two mixtures of one exponential family, in any dimension.

    Parameters
    ----------
    p, q : Mixture or ExponentialFamily
        Mixtures of a batch, or of a list, of one exponential family, or members of it.

    Returns
    -------
    (low, high) : arrays or scalars, or None
        In nats; None where the components are not of one exponential family.

    Notes
    -----
    With the weights π of P and ω of Q, and BC = ∫ √(pq), the upper bound is the lesser of the variational bound of
    [1], eq. 20, and

        Σ π_a·(log Σ π_a'·BC(a, a') − log Σ ω_b·exp(−KL(a‖b))),

    whose first part bounds the negative entropy of P from above ([3], eq. 14) and whose second the cross-entropy ([2],
    eq. 13). The lower is the greatest of 0, of

        Σ π_a·(log Σ π_a'·exp(−KL(a‖a')) − 2·log Σ √ω_b·BC(a, b)),

    by KL ≥ Rényi's divergence of order 1/2, and for Gaussian components of [2], eq. 17, where the last sum is
    log Σ ω_b·∫ p_a·q_b and the entropy of a is subtracted. O(components²) closed forms.

    Examples
    --------
    >>> import dkl
    >>> from dkl.mixture import Mixture, kl_bounds
    >>> p = Mixture(dkl.families.Normal([-2.0, 2.0], 1.0), [0.5, 0.5])
    >>> low, high = kl_bounds(p, dkl.families.Normal(0.0, 2.0))
    >>> bool(0 <= low <= 0.0942 <= high)
    True
    """
    left, right = _as_batch(p), _as_batch(q)
    if left is None or right is None:
        return None
    together = related(left[0], right[0])
    if together is None:
        return None
    (a, log_pi), (b, log_omega) = (together[0], left[1]), (together[1], right[1])
    xp = a.xp
    kl_ab, overlap_ab = _pairwise(a, b)
    kl_aa, overlap_aa = _pairwise(a, a)
    pi = xp.exp(log_pi)

    own_low = logsumexp(xp, log_pi[..., None, :] - kl_aa)
    own_high = logsumexp(xp, log_pi[..., None, :] + overlap_aa)
    cross_low = logsumexp(xp, log_omega[..., None, :] - kl_ab)
    cross_high = 2.0 * logsumexp(xp, 0.5 * log_omega[..., None, :] + overlap_ab)
    low = _mean(xp, pi, own_low - cross_high)
    product = _log_products(a, b)
    if product is not None:
        with_products = own_low - logsumexp(xp, log_omega[..., None, :] + product) - xp.astype(a._entropy(), pi.dtype)
        low = xp.maximum(low, _mean(xp, pi, with_products))
    high = xp.minimum(_mean(xp, pi, own_high - cross_low), _variational(xp, log_pi, log_omega, kl_ab))
    low, high = (as_scalar(xp.where(x > 0, x, 0.0)) for x in (low, high))
    return low, high


def _mean(xp: Any, weights: Array, values: Array) -> Array:
    return xp.sum(xp.where(weights > 0, weights * xp.where(weights > 0, values, 0.0), 0.0), axis=-1)


def _as_batch(x: Any) -> tuple[ExponentialFamily, Array] | None:
    """The components as one batch, and the logarithms of their weights."""
    if isinstance(x, Mixture):
        return (x._parts, x._log_weights()) if isinstance(x._parts, ExponentialFamily) else None
    if not isinstance(x, ExponentialFamily):
        return None
    dtype = next(iter(x.parameters.values())).dtype
    return _inserted(_broadcast(x, x.batch_shape), -1), x.xp.zeros((*x.batch_shape, 1), dtype=dtype)


def _inserted(x: Any, axis: int) -> Any:
    """The batch with an axis of length 1 before its last one, or after it."""
    parameters = {n: x.xp.expand_dims(v, axis=axis - x.constraints[n].ndim) for n, v in x.parameters.items()}
    shape = list(x.batch_shape)
    shape.insert(len(shape) + axis + 1, 1)
    return _remade(x, parameters, tuple(shape))


def _pairwise(a: Any, b: Any) -> tuple[Array, Array]:
    """KL(a‖b), and log ∫ √(a·b), of every pair, one row of pairs after another: a table of matrices would not fit."""
    xp = a.xp
    whole = _broadcast(a, a.batch_shape)
    kls, overlaps = [], []
    for k in range(a.batch_shape[-1]):
        one = member(whole, (..., slice(k, k + 1)))
        kls.append(one._kl(b))
        middle, _ = one.mixed(b, 0.5)
        overlaps.append(-0.5 * (middle._kl(one) + middle._kl(b)))
    return xp.stack(kls, axis=-2), xp.stack(overlaps, axis=-2)


def _log_products(a: Any, b: Any) -> Array | None:
    """The logarithm of ∫ a·b of every pair, for families whose densities are exp(θ·T − A) without a factor that varies.

    The product is then exp(A(θ_a + θ_b) − A(θ_a) − A(θ_b)) times the member of θ_a + θ_b: its value at any one point
    tells the factor.
    """
    if not (type(a) is Normal or getattr(a, "constant_carrier", False)):
        return None
    xp, whole, rows = a.xp, _broadcast(a, a.batch_shape), []
    for k in range(a.batch_shape[-1]):
        one = member(whole, (..., slice(k, k + 1)))
        theta = tuple(s + t for s, t in zip(one._natural(), b._natural(), strict=True))
        joint = one._with_natural(theta)
        at = joint._mean()
        rows.append(one._log_prob(at) + b._log_prob(at) - joint._log_prob(at))
    return xp.stack(rows, axis=-2)


def _variational(xp: Any, log_pi: Array, log_omega: Array, kl: Array) -> Array:
    """The variational upper bound: Σ φ·(log(φ/ψ) + KL(a‖b)) with φ summing to π over b and ψ to ω over a."""
    log_pi, log_omega = log_pi[..., :, None], log_omega[..., None, :]
    log_phi = log_pi + log_omega + 0.0 * kl
    log_psi = log_phi
    for _ in range(_ROUNDS):
        log_psi = log_omega + log_phi - _safe(xp, logsumexp(xp, xp.matrix_transpose(log_phi)))[..., None, :]
        tilted = log_psi - kl
        log_phi = log_pi + tilted - _safe(xp, logsumexp(xp, tilted))[..., None]
    some = (log_phi > -math.inf) & (log_psi > -math.inf)
    phi = xp.where(some, xp.exp(log_phi), 0.0)
    inner = xp.where(some, log_phi, 0.0) - xp.where(some, log_psi, 0.0) + xp.where(some, kl, 0.0)
    return xp.sum(phi * inner, axis=(-2, -1))


def _safe(xp: Any, x: Array) -> Array:
    return xp.where(x > -math.inf, x, 0.0)
