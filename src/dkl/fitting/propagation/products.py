"""Targets that are a product of factors: a prior times one factor for each observation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from dkl._array import Array, Namespace, as_array, device_of, holds, namespace_of, to_numpy
from dkl.density import Density
from dkl.families.base import Distribution
from dkl.fitting.problem import whole_number
from dkl.fitting.propagation.written import Written
from dkl.methods.nodes import Numbers
from dkl.mixture import member
from dkl.representations import interpret

# As many factors times outcomes are asked at once.
_BLOCK = 1 << 21


class Sites:
    """Factors that each depend on the outcome by one number.

    Parameters
    ----------
    log_factor : callable
        ``log_factor(s, i)`` is the logarithm of factor i at s, up to nothing: a constant belongs to the evidence. It is
        given arrays: ``s`` of shape (k, m), and ``i``, whole numbers of shape (k, 1) that say which factor each row
        belongs to, so that ``y[i]`` lies beside ``s``; and answers with shape (k, m), −inf where a factor is 0. It may
        be written with NumPy or PyTorch, and every method takes it: what follows gradients gets those of a function
        written with NumPy by differences (:mod:`dkl.fitting.propagation.differences`).
    projections : array_like, shape (n, d), optional
        Factor i depends on a vector x by s = a_i·x, a_i the rows; of a number x, shape (n,). Without them every
        factor depends on the number x itself.
    count : int, optional
        How many factors there are without projections, 1 if not given.

    Raises
    ------
    TypeError
        If ``log_factor`` cannot be called, or both projections and count are given.
    ValueError
        If projections are no finite numbers, or have neither one nor two axes.

    Examples
    --------
    The likelihood of a logistic regression, y = ±1:

    >>> import numpy as np
    >>> from dkl.fitting import Sites
    >>> x, y = np.array([[1.0, 0.5], [1.0, -2.0], [1.0, 1.0]]), np.array([1.0, -1.0, 1.0])
    >>> Sites(lambda s, i: -np.logaddexp(0.0, -y[i] * s), projections=x)
    Sites(3 factors of projections of a vector of length 2)
    """

    def __init__(
        self, log_factor: Callable[[Any, Any], Any], projections: Any = None, *, count: int | None = None
    ) -> None:
        if not callable(log_factor):
            raise TypeError(f"Sites: log_factor must be a function of (s, i), got {log_factor!r}")
        if projections is not None and count is not None:
            raise TypeError("Sites: projections say how many factors there are: leave count out")
        self.log_factor = log_factor
        self.forget()
        #: Which group of a product it is, for messages.
        self.role = "Sites"
        self.projections: Numbers | None = None
        if projections is None:
            self.count = 1 if count is None else whole_number(count, "Sites: count")
            return
        xp = namespace_of(projections=projections)
        a = np.asarray(to_numpy(as_array(xp, projections, "Sites: projections")), dtype=float)
        if a.ndim not in (1, 2) or a.size == 0:
            raise ValueError(f"Sites: projections of shape {a.shape} must have a row for each factor, shape (n, d)")
        good = np.isfinite(a)
        if not good.all():
            at = ", ".join(str(int(k)) for k in np.argwhere(~good)[0])
            raise ValueError(f"Sites: projections[{at}] = {a[~good][0]} is no finite number")
        self.projections, self.count = a, len(a)

    def __repr__(self) -> str:
        named = f"{self.count} factor{'s' if self.count > 1 else ''}"
        if self.projections is None:
            return f"Sites({named} of a number)"
        of = "a number" if self.projections.ndim == 1 else f"a vector of length {self.projections.shape[1]}"
        return f"Sites({named} of projections of {of})"

    def forget(self) -> None:
        """Ask the function as if for the first time: what was learned of it does not make two fits differ."""
        self._written = Written(self.log_factor)

    def at(self, s: Array, which: Numbers) -> Array:
        """The logarithms of factors at numbers.

        Parameters
        ----------
        s : array, shape (k, m)
        which : array of int, shape (k,)

        Returns
        -------
        array, shape (k, m)

        Raises
        ------
        ValueError
            If a logarithm is NaN or +inf, or they have another shape: the message names the factor and the place.
        """
        xp = namespace_of(s=s)
        given = self._written.at(s, which)
        if namespace_of(given=given) is not xp:
            given = to_numpy(given)
        given = as_array(xp, given, f"{self.role}: log_factor(s, i)", like=s)
        shape = tuple(given.shape)
        if shape != tuple(s.shape):
            if not _broadcasts(shape, tuple(s.shape)):
                raise ValueError(
                    f"{self.role}: log_factor of s of shape {tuple(s.shape)} must have that shape, got {shape}; i has "
                    f"shape {(len(which), 1)}, so that y[i] lies beside s"
                )
            given = xp.broadcast_to(given, tuple(s.shape))
        given = xp.astype(given, s.dtype)
        good = given < math.inf
        if holds(xp.all(good)) is False:
            row, column = (int(k) for k in np.argwhere(~to_numpy(good))[0])
            value, place = to_numpy(given)[row, column], to_numpy(s)[row, column]
            told = "NaN" if math.isnan(value) else "+inf"
            raise ValueError(
                f"{self.role}: log_factor gives {told} for factor {int(which[row])} at s = {float(place)!r}; where "
                "the factor is 0 it must be −inf"
            )
        return given

    def total(self, xp: Namespace, x: Array) -> Array:
        """The sum of the logarithms of all factors, at outcomes along the first axis."""
        if self.projections is None:
            s = x[None, :]
        else:
            a = xp.asarray(self.projections, dtype=x.dtype, device=device_of(x))
            s = a[:, None] * x[None, :] if a.ndim == 1 else a @ xp.matrix_transpose(x)
        s = xp.broadcast_to(s, (self.count, x.shape[0]))
        return xp.sum(self.at(s, np.arange(self.count)), axis=0)


def _broadcasts(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, wanted) == wanted
    except ValueError:
        return False


class Product(Density):
    """A target known as a product, p(x) ∝ prior(x)·Π site_i(x): a posterior, with a site for each observation.

    It is a density that is not normalised: expectation propagation takes it by its factors, every other method by its
    ``log_prob``.

    Parameters
    ----------
    prior : distribution
        A proper distribution of a number or a vector, not a batch.
    sites : Sites, distribution, or a sequence of them
        The factors. A distribution stands for its density at x, a batch of them for the product of their densities.

    Attributes
    ----------
    prior : Distribution
    groups : tuple of Sites and Distribution
        The factors as they were given.
    count : int
        The number of factors.

    Raises
    ------
    TypeError
        If the prior or a site is none, or a site of a number belongs to a vector.
    ValueError
        If the prior is a batch, there are no sites, or the length of projections is not that of an outcome.

    Examples
    --------
    >>> import dkl
    >>> from dkl.families import Normal
    >>> from dkl.fitting import Product, Sites
    >>> from scipy.special import log_ndtr
    >>> target = Product(Normal(0.0, 1.0), Sites(lambda s, i: log_ndtr(s)))
    >>> target
    Product(Normal(loc=0, scale=1) × 1 factor)
    >>> round(float(target.log_prob(0.0)), 12)                    # log(0.39894…·½)
    -1.612085713765
    >>> fit = dkl.fit(Normal, target, method="expectation propagation")
    >>> round(float(fit.distribution.mean()), 12), round(fit.details["log_evidence"], 12)   # 1/√π, log ½
    (0.564189583548, -0.69314718056)
    """

    def __init__(self, prior: Any, sites: Any) -> None:
        read = interpret(prior)
        if not isinstance(read, Distribution):
            raise TypeError(f"Product: prior must be a distribution such as Normal(0, 1), got {prior!r}")
        if read.batch_shape:
            raise ValueError(f"Product: prior is a batch of shape {read.batch_shape}: give one distribution")
        listed = list(sites) if isinstance(sites, Sequence) else [sites]
        if not listed:
            raise ValueError("Product: sites are empty: the target is the prior itself")
        self.prior = read
        self.groups = tuple(self._group(k, given) for k, given in enumerate(listed))
        self.count = sum(g.count if isinstance(g, Sites) else math.prod(g.batch_shape) for g in self.groups)
        super().__init__(self._joint, support=read.support)
        self.xp, self.dtype = read.xp, read.dtype
        self._like = next(iter(read.parameters.values()), None)

    def _group(self, k: int, given: Any) -> Sites | Distribution:
        name, shape = f"Product: sites[{k}]", self.prior.event_shape
        if len(shape) > 1:
            raise TypeError(f"Product: prior, {self.prior!r}, is of matrices: an outcome must be a number or a vector")
        if isinstance(given, Sites):
            if given.projections is None and shape:
                raise TypeError(
                    f"{name} depends on a number, and an outcome of the prior is a vector of length {shape[0]}: give "
                    "projections="
                )
            if given.projections is not None and given.projections.shape[1:] != shape:
                wanted = f"(n, {shape[0]})" if shape else "(n,)"
                raise ValueError(
                    f"{name}: projections of shape {given.projections.shape} must have shape {wanted}, as an outcome "
                    f"of the prior has shape {shape}"
                )
            made = object.__new__(Sites)
            made.__dict__.update(given.__dict__)
            made.role = name
            made.forget()
            return made
        if callable(given):
            raise TypeError(f"{name} is a bare function: wrap it, dkl.fitting.Sites(log_factor)")
        read = interpret(given)
        if not isinstance(read, Distribution):
            raise TypeError(f"{name} must be dkl.fitting.Sites or a distribution, got {given!r}")
        if read.event_shape != shape:
            raise ValueError(
                f"{name}: an outcome of {read!r} has shape {read.event_shape}, and one of the prior {shape}: both must "
                "be the same"
            )
        return read

    def moved(self, xp: Namespace, like: Array) -> Self:
        """The same product, asked in another library."""
        made = super().moved(xp, like)
        made.groups = tuple(self._group(k, g) if isinstance(g, Sites) else g for k, g in enumerate(self.groups))
        made._function = made._joint
        return made

    def __repr__(self) -> str:
        return f"Product({self.prior!r} × {self.count} factor{'s' if self.count > 1 else ''})"

    def _joint(self, x: Array) -> Array:
        """The sum of all logarithms, by blocks of outcomes."""
        xp, ndim = namespace_of(x=x), self.event_ndim
        shape = tuple(x.shape)[: len(x.shape) - ndim]
        rows = xp.reshape(x, (math.prod(shape), *tuple(x.shape)[len(shape) :]))
        prior = _beside(self.prior, xp, x)
        sides = [g if isinstance(g, Sites) else _beside(g, xp, x) for g in self.groups]
        step = max(1, _BLOCK // self.count)
        parts = []
        for at in range(0, max(1, rows.shape[0]), step):
            block = rows[at : min(at + step, rows.shape[0]), ...]
            total = prior.log_prob(block)
            for side in sides:
                total = total + (side.total(xp, block) if isinstance(side, Sites) else _of_batch(xp, side, block))
            parts.append(total)
        whole = parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)
        return xp.reshape(whole, shape)


def _beside(distribution: Distribution, xp: Namespace, x: Array) -> Distribution:
    return distribution if distribution.xp is xp else distribution.moved(xp, x)


def _of_batch(xp: Namespace, site: Distribution, x: Array) -> Array:
    """The sum of the log-densities of a batch, at outcomes along the first axis."""
    ndim = len(site.batch_shape)
    spread = x[(slice(None), *(None,) * ndim, ...)]
    each = site.log_prob(spread)
    return xp.sum(each, axis=tuple(range(1, 1 + ndim))) if ndim else each


def each_of(site: Distribution) -> list[Distribution]:
    """The distributions of a batch, one after the other."""
    if not site.batch_shape:
        return [site]
    return [member(site, row) for row in np.ndindex(*site.batch_shape)]


__all__ = ["Product", "Sites"]
