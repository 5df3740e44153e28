"""What a distribution and an exponential family are, and what follows from it for every family at once.

An exponential family has densities h(x)·exp(θ·T(x) − A(θ)). Its members are closed under geometric mixtures: with
θ_m = a·θ_p + (1 − a)·θ_q, the member M is p^a·q^(1−a) but for a factor, and

    log ∫ p^a q^(1−a) = −(a·KL(M‖P) + (1 − a)·KL(M‖Q)).                                          [1, Theorem 30; 2]

So a family that can measure KL, and turn its parameters into θ and back, has Rényi, α, Tsallis, Hellinger,
Bhattacharyya and χ² of every order; and as KL(M‖·) is stationary there, a rounding of M enters to second order only.

A family is one file: its parameters, KL in a form that does not cancel, θ and back, log-density, sampling.

References
----------
.. [1] T. van Erven, P. Harremoës, "Rényi divergence and Kullback-Leibler divergence", IEEE Transactions on
   Information Theory 60 (2014).
.. [2] F. Nielsen, R. Nock, "On Rényi and Tsallis entropies and divergences for exponential families",
   arXiv:1105.3259 (2011).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from dkl._array import (
    Array,
    Namespace,
    as_array,
    as_scalar,
    device_of,
    first_failing,
    holds,
    is_numpy,
    namespace_of,
    real_floating,
    to_numpy,
    widest,
)
from dkl.representations import Representation
from dkl.supports import Support


class Constraint:
    """What a parameter must be: a name for messages, and where an array of numbers is it."""

    def __init__(self, name: str, met: Callable[[Namespace, Array], Array], ndim: int = 0) -> None:
        self.name, self.met, self.ndim = name, met, ndim


real = Constraint("finite", lambda xp, x: xp.isfinite(x))
positive = Constraint("positive and finite", lambda xp, x: (x > 0) & xp.isfinite(x))
probability = Constraint("strictly between 0 and 1", lambda xp, x: (x > 0) & (x < 1))
whole = Constraint("a positive whole number", lambda xp, x: (x > 0) & (x == xp.floor(x)) & xp.isfinite(x))


class Distribution(Representation, ABC):
    """A probability distribution, or a batch of them over the broadcast shape of its parameters.

    Parameters are arrays of NumPy, PyTorch or JAX, or numbers. What is calculated with them is calculated in float64
    where the library has it, and handed back in the parameters' own dtype, on their device, with its gradient.
    """

    #: The parameters and what they must be.
    constraints: ClassVar[dict[str, Constraint]]
    #: The number of trailing axes of an outcome: 0 for a number, 1 for a vector, 2 for a matrix.
    event_ndim: ClassVar[int] = 0

    def __init__(self, **parameters: Any) -> None:
        given = {name: x for name, x in parameters.items() if x is not None}
        self.xp = namespace_of(**given)
        like = next((x for x in given.values() if hasattr(x, "dtype")), None)
        arrays = [as_array(self.xp, x, f"{type(self).__name__}: {name}", like=like) for name, x in given.items()]
        arrays = real_floating(self.xp, *arrays)
        #: The dtype in which answers are given.
        self.dtype = arrays[0].dtype
        #: The parameters as they were given.
        self.given: dict[str, Array] = dict(zip(given, arrays, strict=True))
        for name, x in self.given.items():
            self._check(name, x)
        try:
            self.batch_shape = np.broadcast_shapes(
                *(tuple(x.shape)[: len(x.shape) - self.constraints[n].ndim] for n, x in self.given.items())
            )
        except ValueError:
            shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in self.given.items())
            raise ValueError(f"{type(self).__name__}: the shapes do not broadcast: {shapes}") from None

    def _check(self, name: str, x: Array) -> None:
        constraint = self.constraints[name]
        if len(x.shape) < constraint.ndim:
            raise ValueError(
                f"{type(self).__name__}: {name} of shape {tuple(x.shape)} needs at least {constraint.ndim} axes"
            )
        met = constraint.met(self.xp, x)
        if holds(self.xp.all(met)) is False:
            at, value = first_failing(x, met)
            raise ValueError(f"{type(self).__name__}: {name}{at} = {value:g} is not {constraint.name}")

    @cached_property
    def parameters(self) -> dict[str, Array]:
        """The parameters in the precision of the calculation."""
        return {name: widest(self.xp, x) for name, x in self.given.items()}

    def __getattr__(self, name: str) -> Array:
        if name in self.__dict__.get("given", {}):
            return self.parameters[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={_shown(x)}" for name, x in self.parameters.items())
        return f"{type(self).__name__}({shown})"

    @property
    @abstractmethod
    def support(self) -> Support:
        """Where the density is positive."""

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one outcome."""
        return ()

    @abstractmethod
    def _log_prob(self, x: Array) -> Array:
        """The log-density at outcomes inside the support."""

    def log_prob(self, x: Any) -> Any:
        """The logarithm of the density, or of the probability of a discrete outcome; −inf outside the support.

        Parameters
        ----------
        x : array_like
            Outcomes; their leading axes broadcast against the batch.

        Returns
        -------
        array or scalar
        """
        like = next(iter(self.parameters.values()))
        x = as_array(self.xp, x, "x", like=like)
        # Before the outcomes are widened: shares in float32 sum to 1 as float32 sums do.
        inside = self.support.contains(self.xp, x)
        x = self.xp.astype(x, like.dtype)
        event = inside[(..., *(None,) * self.event_ndim)] if self.event_ndim else inside
        safe = self.xp.where(event, x, self.support.interior(self.xp, x))
        value = self.xp.where(inside, self._log_prob(safe), -math.inf)
        return self._handed_back(value)

    @abstractmethod
    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        """Outcomes of that leading shape, the batch included, by NumPy."""

    def sample(self, shape: int | tuple[int, ...] = (), *, rng: Any = None) -> Any:
        """Draw outcomes.

        Parameters
        ----------
        shape : int or tuple of int
            How many for each distribution of the batch; the batch's and the outcome's axes follow.
        rng : numpy.random.Generator, int or None
            The source of randomness, or its seed.

        Returns
        -------
        array
            Of the parameters' library. No gradient passes through it.
        """
        leading = (shape,) if isinstance(shape, int) else tuple(shape)
        drawn = self._sample((*leading, *self.batch_shape), np.random.default_rng(rng))
        like = next(iter(self.parameters.values()))
        return as_scalar(self.xp.asarray(np.asarray(drawn), dtype=self.dtype, device=device_of(like)))

    def numbers(self, name: str) -> np.ndarray[Any, Any]:
        """A parameter in NumPy, for sampling."""
        return to_numpy(self.parameters[name])

    def mean(self) -> Any:
        """The mean."""
        return self._handed_back(self._mean())

    def var(self) -> Any:
        """The variance."""
        return self._handed_back(self._var())

    def std(self) -> Any:
        """The standard deviation."""
        return self._handed_back(self.xp.sqrt(self._var()))

    def entropy(self) -> Any:
        """The entropy in nats, differential where the outcomes are continuous."""
        return self._handed_back(self._entropy())

    def _mean(self) -> Array:
        raise NotImplementedError(f"{type(self).__name__} has no closed form of its mean")

    def _var(self) -> Array:
        raise NotImplementedError(f"{type(self).__name__} has no closed form of its variance")

    def _entropy(self) -> Array:
        raise NotImplementedError(f"{type(self).__name__} has no closed form of its entropy")

    def _handed_back(self, x: Array) -> Any:
        """An array of the whole batch, in the parameters' own dtype."""
        whole = (
            self.xp.broadcast_to(x, np.broadcast_shapes(tuple(x.shape), self.batch_shape)) if not self.event_ndim else x
        )
        return as_scalar(self.xp.astype(whole, self.dtype))

    def moved(self, xp: Namespace, like: Array) -> Self:
        """The same distribution with its parameters in another library, beside an array of it."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.xp, made.dtype = xp, like.dtype
        made.__dict__.pop("parameters", None)
        made.given = {name: xp.asarray(np.array(to_numpy(x)), device=device_of(like)) for name, x in self.given.items()}
        return made


class ExponentialFamily(Distribution, ABC):
    """A member of an exponential family, or a batch of them.

    Two members are of one family if they have the same ``family`` and equal ``known`` parameters, those that the family
    keeps fixed.
    """

    #: Whether ``_kl`` is made of what :class:`dkl.kernels.trace.Namespace` has, number by number, so that it can be
    #: compiled for batches and run by Python for a single pair.
    fusible: ClassVar[bool] = False
    #: Parameters that members of one family share.
    known: ClassVar[tuple[str, ...]] = ()

    @property
    def family(self) -> type:
        """The class that names the family: members of its subclasses may be measured against each other."""
        return type(self)

    @abstractmethod
    def _natural(self) -> tuple[Array, ...]:
        """θ, up to sign and constant factors of its components, which geometric mixtures do not see."""

    @abstractmethod
    def _with_natural(self, theta: tuple[Array, ...]) -> Self:
        """The member of θ with this one's known parameters; θ is inside the space."""

    @abstractmethod
    def _inside(self, theta: tuple[Array, ...]) -> Array:
        """Whether θ lies in the natural parameter space."""

    @abstractmethod
    def _kl(self, other: Self) -> Array:
        """KL(this‖other) of two members of one family, ≥ 0 by its form, to full relative precision."""

    def cross_entropy(self, other: Self) -> Any:
        """−E[log q] under this distribution p, in nats: its entropy and KL(p‖q)."""
        return self._handed_back(self._entropy() + self._kl(other))

    def natural(self) -> tuple[Any, ...]:
        """The natural parameters, up to sign and constant factors of the components."""
        return tuple(self._handed_back(theta) for theta in self._natural())

    def mixed(self, other: Self, weight: float) -> tuple[Self, Array]:
        """The member that is this^a·other^(1−a) but for a factor, and where there is one; elsewhere this one."""
        a, xp = weight, self.xp
        mine, its = self._natural(), other._natural()
        theta = tuple(a * x + (1.0 - a) * y for x, y in zip(mine, its, strict=True))
        inside = self._inside(theta)
        if 0 <= a <= 1 or holds(xp.all(inside)) is True:
            return self._with_natural(theta), inside
        kept = tuple(
            xp.where(inside[(..., *(None,) * (len(t.shape) - len(inside.shape)))], t, x + 0.0 * t)
            for t, x in zip(theta, mine, strict=True)
        )
        return self._with_natural(kept), inside

    @classmethod
    def symbolic(cls, xp: Any, names: Sequence[str], symbols: Sequence[Any]) -> Self:
        """A member whose parameters are symbols."""
        made = object.__new__(cls)
        made.xp, made.batch_shape = xp, ()
        made.given = made.parameters = dict(zip(names, symbols, strict=True))
        return made

    @classmethod
    def _raw(cls, like: Distribution, **parameters: Array) -> Self:
        """A member made of arrays that are known to be good."""
        made = object.__new__(cls)
        made.xp, made.dtype = like.xp, like.dtype
        made.given = made.parameters = parameters
        made.batch_shape = np.broadcast_shapes(
            *(tuple(x.shape)[: len(x.shape) - cls.constraints[n].ndim] for n, x in parameters.items())
        )
        return made


def related(p: ExponentialFamily, q: ExponentialFamily) -> tuple[Any, Any] | None:
    """Both in one array library if they are of one family with equal known parameters, else None."""
    if p.family is not q.family or p.event_shape != q.event_shape:
        return None
    p, q = beside(p, q)
    for name in p.known:
        if any(getattr(side.parameters[name], "requires_grad", False) for side in (p, q)):
            return None  # its derivative leads out of the family
        if holds(p.xp.all(p.parameters[name] == q.parameters[name])) is False:
            return None
    return p, q


def beside(p: Any, q: Any) -> tuple[Any, Any]:
    """Two distributions in one array library: what is NumPy's goes where the other is."""
    if p.xp is q.xp:
        return p, q
    for one, other in ((p, q), (q, p)):
        if is_numpy(one.xp):
            like = next(iter(other.parameters.values()))
            moved = one.moved(other.xp, like)
            moved.dtype = other.dtype
            return (moved, other) if one is p else (other, moved)
    names = " and ".join(x.xp.__name__.removeprefix("array_api_compat.") for x in (p, q))
    raise TypeError(f"the parameters of p and q are from {names}: convert one of them to the other's library")


def _shown(x: Array) -> str:
    host = to_numpy(x)
    return f"{float(host):g}" if host.ndim == 0 else f"array of shape {host.shape}"
