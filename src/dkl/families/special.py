"""Functions beyond the array API that families are made of, in the array's own library, and what cancels in them.

References
----------
.. [1] NIST Digital Library of Mathematical Functions, https://dlmf.nist.gov, 10.40 (Bessel).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dkl._array import Array, Namespace, device_of, expm1_minus
from dkl.kernels import trace

_NODES = 16


def special(xp: Namespace, name: str) -> Callable[..., Array]:
    """A special function by SciPy's name, differentiable where the library is."""
    library = xp.__name__.removeprefix("array_api_compat.").split(".")[0]
    if library == "torch":
        return _of_torch(name)
    if library == "jax":
        import jax.scipy.special

        return getattr(jax.scipy.special, name)  # type: ignore[no-any-return]
    import scipy.special

    return getattr(scipy.special, name)  # type: ignore[no-any-return]


def _of_torch(name: str) -> Callable[..., Array]:
    import torch

    return getattr(torch.special, {"gammaln": "gammaln", "digamma": "digamma"}.get(name, name))  # type: ignore[no-any-return]


def gammaln(xp: Namespace, x: Array) -> Array:
    """Log Γ(x)."""
    return special(xp, "gammaln")(x)


def digamma(xp: Namespace, x: Array) -> Array:
    """ψ(x)."""
    return special(xp, "digamma")(x)


def log(xp: Namespace, x: Array) -> Array:
    """Log x of non-negative numbers, −inf at 0, with gradient 0 there."""
    some = x > 0
    return xp.where(some, xp.log(xp.where(some, x, 1.0)), -math.inf)


def reciprocal(xp: Namespace, x: Array) -> Array:
    """1/x of non-negative numbers, inf at 0, with gradient 0 there."""
    some = x > 0
    return xp.where(some, 1.0 / xp.where(some, x, 1.0), math.inf)


def excess(xp: Namespace, x: Array, root: Array | None = None, power: float = 1.0) -> Array:
    """X − log(1 + x) ≥ 0 for x > −1, to full relative precision also near 0.

    1 + x is ``root`` to the ``power``, where that is known better than by adding: the quotient, or its root, whose
    distance from 1 is x.
    """
    if root is None:
        root = 1.0 + x
    if isinstance(xp, trace.Namespace):
        return xp.excess(x, root, power)
    near = xp.abs(x) < 0.25
    y = xp.where(near, x, 0.0)
    # With s = x/(2 + x), log(1 + x) = 2·(s + s³/3 + s⁵/5 + …) and x = s·(2 + x).
    s = y / (2.0 + y)
    z = s * s
    series = 0.0 * z
    for k in range(21, 1, -2):
        series = 1.0 / k + z * series
    far = xp.where(near, 1.0, x)
    log = power * xp.log(xp.where(near, 2.0, root))
    return xp.where(near, s * (y - 2.0 * z * series), xp.where(far < math.inf, far - log, math.inf))


def relative(xp: Namespace, x: Array, y: Array) -> Array:
    """X·log(x/y) − x + y ≥ 0 for positive x and y, to full relative precision: the divergence of x·log x − x."""
    return x * ratio_excess(xp, y, x)


def _legendre() -> tuple[list[float], list[float]]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return (0.5 * (nodes + 1.0)).tolist(), (0.5 * weights).tolist()


# From the first, and not at their first use, which torch.compile could not see through.
_LEGENDRE = _legendre()


def _nodes(xp: Namespace, like: Array) -> tuple[Array, Array]:
    """The nodes and weights on [0, 1], beside an array."""
    nodes, weights = (xp.asarray(z, dtype=like.dtype, device=device_of(like)) for z in _LEGENDRE)
    return nodes, weights


def integral_divergence(xp: Namespace, x: Array, apart: Array, second: Callable[[Array], Array]) -> Array:
    """F(y) − F(x) − F'(x)·(y − x) = d²·∫ (1 − t)·F''(x + t·d) dt over [0, 1] with d = y − x, by Gauss and Legendre.

    Every part is positive for a convex F. To be used where F'' is smooth between x and y on their own scale. The nodes
    are a new last axis of what ``second`` is given.
    """
    nodes, weights = _nodes(xp, apart)
    curvature = second(x[..., None] + nodes * apart[..., None])
    return apart**2 * xp.sum(weights * (1.0 - nodes) * curvature, axis=-1)


def weighted_excess(xp: Namespace, weight: Array, x: Array, log_root: Array) -> Array:
    """weight·(r − 1 − log r) ≥ 0 of r = exp(``log_root``), x = r − 1: either of weight and r may leave the range.

    Of x only what is near 0 is used.
    """
    near = (xp.abs(log_root) < 0.2) & (xp.abs(x) < 0.25)
    close = weight * excess(xp, xp.where(near, x, 0.0))
    log = xp.where(near, 1.0, log_root)
    largest = 0.4 * math.log(float(xp.finfo(log.dtype).max))
    extreme = xp.abs(log) > largest
    middle = weight * (xp.expm1(xp.where(extreme, 1.0, log)) - log)
    # There r, or −log r, is all but the whole.
    beyond = xp.where(extreme, log, largest)
    outer = xp.exp(beyond + xp.log(weight)) - weight * (1.0 + beyond)
    return xp.where(near, close, xp.where(extreme, outer, middle))


def full_like(xp: Namespace, x: Array, value: float) -> Any:
    """A constant beside an array."""
    return xp.asarray(value, dtype=x.dtype, device=device_of(x))


def all_but_each(xp: Namespace, x: Array) -> Array:
    """The sum of the other positive numbers along the last axis, for each: none is subtracted from a like sum."""
    index = xp.arange(x.shape[-1], device=device_of(x))
    largest = index == xp.argmax(x, axis=-1, keepdims=True)
    others = xp.sum(xp.where(largest, 0.0, x), axis=-1, keepdims=True)
    total = xp.sum(x, axis=-1, keepdims=True)
    return xp.where(largest, others, total - xp.where(largest, 0.0, x))


def falling_exp(xp: Namespace, x: Array) -> Array:
    """−exp(x), −inf with gradient 0 where it overflows."""
    inside = x < 700.0
    return xp.where(inside, -xp.exp(xp.where(inside, x, 0.0)), -math.inf)


def _within(xp: Namespace, dtype: Any) -> tuple[float, float]:
    """Powers of 2 between which a number's square is a float, and so are its reciprocal and the quotient of two."""
    exponent = math.frexp(float(xp.finfo(dtype).max))[1] // 2 - 12
    return 2.0**-exponent, 2.0**exponent


def log_ratio(xp: Namespace, x: Array, y: Array) -> Array:
    """Log(x/y) of positive numbers, to full relative precision also where they nearly agree or x/y overflows."""
    near = xp.abs(x - y) < 0.25 * y
    small, big = _within(xp, x.dtype)
    # A quotient that leaves the range, or a divisor whose reciprocal does, goes by the logarithms of both.
    far = ~near & ((x < small) | (y < small) | (x > big) | (y > big))
    above, below = xp.where(far, 1.0, x), xp.where(far, 1.0, y)
    # The least numbers of all, which nearly agree: the quotient is that of both scaled up, exactly.
    lift = xp.where(below < small, big, 1.0 + 0.0 * below)
    above, below = lift * above, lift * below
    close = xp.log1p(xp.where(near, above - below, 0.0 * below) / below)
    middle = xp.log(xp.where(near, 1.0, above / below))
    apart = xp.log(xp.where(far, x, 1.0)) - xp.log(xp.where(far, y, 1.0))
    return xp.where(near, close, xp.where(far, apart, middle))


def ratio_excess(xp: Namespace, x: Array, y: Array, power: float = 1.0) -> Array:
    """R − 1 − log r ≥ 0 of r = (x/y)^power, to full relative precision for every r, also where r itself is tiny."""
    if isinstance(xp, trace.Namespace):
        ratio = x / y
        value = xp.excess((x - y) / y * (1.0 if power == 1.0 else 1.0 + ratio), ratio, power)
        # A quotient beyond these is left to arrays, whose logarithms do not need it.
        return xp.where((ratio > 1e-140) & (ratio < 1e140), value, math.nan)
    return expm1_minus(xp, power * log_ratio(xp, x, y))


def log_sigmoid(xp: Namespace, x: Array) -> Array:
    """−log(1 + exp(−x)), the logarithm of a probability from its logit."""
    up = x >= 0
    high, low = xp.where(up, x, 0.0), xp.where(up, 0.0, x)
    return xp.where(up, -xp.log1p(xp.exp(-high)), low - xp.log1p(xp.exp(low)))


def sigmoid(xp: Namespace, x: Array) -> Array:
    """1/(1 + exp(−x)), to full relative precision also where it is tiny."""
    up = x >= 0
    high, low = xp.exp(-xp.where(up, x, 0.0)), xp.exp(xp.where(up, 0.0, x))
    return xp.where(up, 1.0 / (1.0 + high), low / (1.0 + low))


def integral_difference(xp: Namespace, x: Array, apart: Array, first: Callable[[Array], Array]) -> Array:
    """F(y) − F(x) = d·∫ F'(x + t·d) dt over [0, 1] with d = y − x, by Gauss and Legendre; see `integral_divergence`."""
    nodes, weights = _nodes(xp, apart)
    return apart * xp.sum(weights * first(x[..., None] + nodes * apart[..., None]), axis=-1)


def scaled_exp1(xp: Namespace, x: Array) -> Array:
    """exp(x)·E₁(x) for x > 0, by its power series and its continued fraction (DLMF 6.6.2, 6.9.1)."""
    near = x < 2.0
    small, large = xp.where(near, x, 1.0), xp.where(near, 2.0, x)
    series, term = 0.0 * small, 0.0 * small - 1.0
    for k in range(1, 31):
        term = -term * small / k
        series = series + term / k
    fraction = 0.0 * large
    for k in range(60, 0, -1):
        fraction = k * k / (large + (2 * k + 1) - fraction)
    return xp.where(near, xp.exp(small) * (series - xp.log(small) - np.euler_gamma), 1.0 / (large + 1.0 - fraction))


def trigamma(xp: Namespace, x: Array) -> Array:
    """ψ'(x)."""
    if xp.__name__.endswith("torch"):
        import torch

        # torch.polygamma(1, x) knows ten digits only; ψ'(x) = ζ(2, x).
        return torch.special.zeta(2.0, x)
    return special(xp, "polygamma")(1, x)
