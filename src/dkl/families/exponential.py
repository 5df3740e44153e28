"""What an exponential family is, and what follows from it for every family at once.

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
.. [3] M. J. Wainwright, M. I. Jordan, "Graphical Models, Exponential Families, and Variational Inference",
   Foundations and Trends in Machine Learning 1 (2008).
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np

from dkl._array import (
    Array,
    Namespace,
    as_scalar,
    first_failing,
    holds,
    widest,
)
from dkl.families.base import Distribution, beside
from dkl.families.constraints import Constraint, gathered


class MeanParametrised(Distribution, ABC):
    """A family whose members are known by the means E[T(x)] of a sufficient statistic T.

    Of all members, the one q with the means of a distribution p has the least KL(p‖q), whatever p is [3, section 3.6]:
    :meth:`from_mean_parameters` is moment matching, and of means over samples it is maximum likelihood.
    """

    #: Parameters that members of one family share.
    known: ClassVar[tuple[str, ...]] = ()
    #: Whether h(x) is constant, so that the product of two densities is a member but for a factor.
    constant_carrier: ClassVar[bool] = False
    #: The mean parameters in their order, and what each must be.
    means: ClassVar[dict[str, Constraint]]

    @classmethod
    @abstractmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        """T of outcomes inside the support."""

    @classmethod
    @abstractmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        """The parameters other than the known ones; a ValueError where no member has these means."""

    @classmethod
    def _hold_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> None:
        """Raise a ValueError where means, in the dtype in which they are given, do not fit together."""

    @abstractmethod
    def mean_parameters(self) -> tuple[Any, ...]:
        """The means of the sufficient statistics."""

    @classmethod
    def sufficient_statistics(cls, x: Any, **known: Any) -> tuple[Any, ...]:
        """T(x), whose means are the mean parameters, in their order.

        Parameters
        ----------
        x : array_like
            Outcomes.
        **known : array_like
            The parameters that the family keeps fixed, which are named in ``known``.

        Returns
        -------
        tuple of array or scalar
            One for each of ``means``, in the dtype of the outcomes; leading axes are those of the outcomes, and a
            statistic that is a vector or a matrix has these axes last.

        Raises
        ------
        ValueError
            If an outcome lies outside the support, or a known parameter is not what it must be.
        TypeError
            If other parameters than the known ones are named.

        Examples
        --------
        >>> from dkl.families import Gamma, Laplace
        >>> Laplace.sufficient_statistics([1.0, -2.0], loc=0.5)
        (array([0.5, 2.5]),)
        >>> Gamma.from_mean_parameters(*(t.mean() for t in Gamma.sufficient_statistics([0.5, 1.0, 2.5])))
        Gamma(shape=2.49816, rate=1.87362)
        """
        xp, given = gathered(cls.__name__, {"x": x, **known})
        narrow = given.pop("x")
        cls._hold_known(xp, given)
        fixed = {name: widest(xp, value) for name, value in given.items()}
        # Of what is not known the support asks the shape alone, and that is the outcome's.
        member = object.__new__(cls)
        member.xp = xp
        member.given = dict.fromkeys(cls.constraints, narrow) | fixed
        member.__dict__["parameters"] = member.given
        inside = member.support.contains(xp, narrow)
        if holds(xp.all(inside)) is False:
            event = inside[(..., *(None,) * cls.event_ndim)] | xp.zeros_like(narrow, dtype=inside.dtype)
            at, value = first_failing(narrow, event)
            raise ValueError(f"{cls.__name__}: x{at} = {value:.9g} lies outside {member.support.name}")
        of_all = cls._statistics(xp, widest(xp, narrow), fixed)
        return tuple(as_scalar(xp.astype(t, narrow.dtype)) for t in of_all)

    @classmethod
    def from_mean_parameters(cls, *means: Any, **known: Any) -> Self:
        """The member that has these mean parameters: moment matching.

        Parameters
        ----------
        *means : array_like
            E[T(x)], in the order of ``means``; they broadcast to a batch. Those of samples make the member of maximum
            likelihood, those of any distribution p the member q with the least KL(p‖q).
        **known : array_like
            The parameters that the family keeps fixed, which are named in ``known``.

        Returns
        -------
        ExponentialFamily
            With parameters in the dtype and on the device of what is given, differentiable once in it.

        Raises
        ------
        ValueError
            If no member has these means: the message names the mean, its index and value, and what it must be.
        TypeError
            If not as many means are given as the family has, or other parameters than the known ones are named.

        Notes
        -----
        In closed form where there is one. Elsewhere a bracketed Newton iteration finds the parameters to the last
        digits of what the means determine: those of narrow distributions determine them less, as a variance is what is
        left of E[x²] − E[x]². Outcomes that lie far from 0 by their width should be centred first.

        Examples
        --------
        >>> from dkl.families import Beta, Normal
        >>> Normal.from_mean_parameters(1.0, 5.0)
        Normal(loc=1, scale=2)
        >>> Beta.from_mean_parameters(*Beta(2.0, 3.0).mean_parameters())
        Beta(a=2, b=3)
        """
        if len(means) != len(cls.means):
            raise TypeError(f"{cls.__name__}.from_mean_parameters takes {', '.join(cls.means)}; got {len(means)} means")
        xp, given = gathered(cls.__name__, dict(zip(cls.means, means, strict=True)) | known)
        for name, constraint in cls.means.items():
            constraint.hold(xp, given[name], f"{cls.__name__}: {name}")
        fixed = {name: x for name, x in given.items() if name not in cls.means}
        cls._hold_known(xp, fixed)
        narrow = tuple(given[name] for name in cls.means)
        cls._hold_means(xp, narrow, fixed)
        wide = tuple(widest(xp, x) for x in narrow)
        found = cls._of_means(xp, wide, {name: widest(xp, x) for name, x in fixed.items()})
        dtype = narrow[0].dtype
        return cls(**{name: xp.astype(x, dtype) for name, x in found.items()}, **fixed)

    @classmethod
    def _hold_known(cls, xp: Namespace, given: dict[str, Array]) -> None:
        if set(given) != set(cls.known):
            names = " and ".join(cls.known) or "no parameter"
            raise TypeError(f"{cls.__name__} keeps {names} fixed; got {' and '.join(given) or 'none'}")
        for name, x in given.items():
            cls.constraints[name].hold(xp, x, f"{cls.__name__}: {name}")


class ExponentialFamily(MeanParametrised, ABC):
    """A member of an exponential family, or a batch of them.

    Two members are of one family if they have the same ``family`` and equal ``known`` parameters, those that the family
    keeps fixed.
    """

    #: Whether ``_kl`` is made of what :class:`dkl.kernels.trace.Namespace` has, number by number, so that it can be
    #: compiled for batches and run by Python for a single pair.
    fusible: ClassVar[bool] = False
    #: Whether the same holds for θ and back, which the rest of the power family takes.
    fusible_mixtures: ClassVar[bool] = True

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

    def _log_supremum(self, other: Self) -> Array | None:
        """The least upper bound of log(p/q), where the family has a closed form of it; numbers may be searched."""
        return None

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
        kept = []
        for t, x in zip(theta, mine, strict=True):
            missing = len(t.shape) - len(inside.shape)
            each = inside[(..., *(None,) * missing)] if missing else inside
            kept.append(xp.where(each, t, x + 0.0 * t))
        return self._with_natural(tuple(kept)), inside

    @classmethod
    def symbolic(cls, xp: Any, names: Sequence[str], symbols: Sequence[Any]) -> Self:
        """A member whose parameters are symbols, or arrays of numbers that are known to be good."""
        made = object.__new__(cls)
        made.xp, made.dtype, made.batch_shape = xp, symbols[0].dtype, ()
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
    """Both in one array library if they are of one family with equal known parameters, else None.

    Where values are hidden, as in jax.jit, and the known parameters are not one array, their equality is taken for
    granted: what is calculated goes through :func:`where_related`.
    """
    if p.family is not q.family or p.event_shape != q.event_shape:
        return None
    p, q = beside(p, q)
    for name in p.known:
        mine, its = p.parameters[name], q.parameters[name]
        if _one_array(p, q, name):
            continue
        equal = holds(p.xp.all(mine == its))
        # The derivative by one of two that happen to be equal leads out of the family.
        if equal is False or (equal and (differentiated(mine) or differentiated(its))):
            return None
    return p, q


def where_related(p: ExponentialFamily, q: ExponentialFamily, value: Array) -> Array:
    """The value where the known parameters of both are equal, and NaN where hidden ones turn out not to be.

    Its derivative by one of them alone, which the family cannot tell, is no finite number either.
    """
    xp = p.xp
    for name in p.known:
        mine, its = p.parameters[name], q.parameters[name]
        if _one_array(p, q, name) or holds(xp.all(mine == its)) is not None:
            continue
        apart = xp.abs(mine - its)
        # Of √ the slope at 0 is infinite.
        value = xp.where(apart == 0, value + xp.sqrt(apart), math.nan)
    return value


def _one_array(p: Distribution, q: Distribution, name: str) -> bool:
    """Whether both were given one and the same array, which is equal to itself and has one derivative by both."""
    return p.parameters[name] is q.parameters[name] or p.given[name] is q.given[name]


def differentiated(x: Array) -> bool:
    """Whether a library may be about to take a derivative by an array."""
    if getattr(x, "requires_grad", False):
        return True
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(x, jax.core.Tracer)
