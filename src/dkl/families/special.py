"""Functions beyond the array API that families are made of, in the array's own library, and what cancels in them.

The log-normalisers of half the families contain log Γ. Its large part, x·log x − x, makes terms that are known to full
relative precision (a KL of the means); what is left, g(x) = log Γ(x) − x·log x + x, is convex, and its divergence
g(y) − g(x) − g'(x)·(y − x) is the integral of (y − s)·g''(s), all of whose parts are positive.

References
----------
.. [1] NIST Digital Library of Mathematical Functions, https://dlmf.nist.gov, 5.11 (Stirling's series), 10.40 (Bessel).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from dkl._array import Array, Namespace, device_of

# Bernoulli numbers B_2, B_4, …: the coefficients of Stirling's series [1, eq. 5.11.1].
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
# From here on the series has full precision.
_STIRLING = 12.0
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

    if name == "polygamma":
        return lambda n, x: torch.polygamma(n, x)
    return getattr(torch.special, {"gammaln": "gammaln", "digamma": "digamma"}.get(name, name))  # type: ignore[no-any-return]


def gammaln(xp: Namespace, x: Array) -> Array:
    """Log Γ(x)."""
    return special(xp, "gammaln")(x)


def digamma(xp: Namespace, x: Array) -> Array:
    """ψ(x)."""
    return special(xp, "digamma")(x)


def excess(xp: Namespace, x: Array, whole: Array | None = None) -> Array:
    """X − log(1 + x) ≥ 0 for x > −1, to full relative precision also near 0.

    ``whole`` is 1 + x, where it is known better than by adding: as the quotient whose distance from 1 is x.
    """
    near = xp.abs(x) < 0.25
    y = xp.where(near, x, 0.0)
    # With s = x/(2 + x), log(1 + x) = 2·(s + s³/3 + s⁵/5 + …) and x = s·(2 + x).
    s = y / (2.0 + y)
    z = s * s
    series = 0.0 * z
    for k in range(21, 1, -2):
        series = 1.0 / k + z * series
    far = xp.where(near, 1.0, x)
    log = xp.log1p(far) if whole is None else xp.log(xp.where(near, 2.0, whole))
    return xp.where(near, s * (y - 2.0 * z * series), far - log)


def relative(xp: Namespace, x: Array, y: Array) -> Array:
    """X·log(x/y) − x + y ≥ 0 for positive x and y, to full relative precision: the divergence of x·log x − x."""
    return x * excess(xp, (y - x) / x, y / x)


@cache
def _legendre() -> tuple[tuple[float, float], ...]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return tuple((float(0.5 * (n + 1)), float(0.5 * w)) for n, w in zip(nodes, weights, strict=True))


def integral_divergence(x: Array, y: Array, second: Callable[[Array], Array]) -> Array:
    """F(y) − F(x) − F'(x)·(y − x) = (y − x)²·∫ (1 − t)·F''(x + t·(y − x)) dt over [0, 1], by Gauss and Legendre.

    Every part is positive for a convex F. To be used where F'' is smooth between x and y on their own scale.
    """
    total = 0.0 * (x + y)
    for t, weight in _legendre():
        total = total + weight * (1.0 - t) * second(x + t * (y - x))
    return (y - x) ** 2 * total


def _stirling(xp: Namespace, x: Array, term: Callable[[int, float, Array], Array]) -> Array:
    """Σ over the Bernoulli numbers of what ``term`` makes of (k, B_2k, x), for large x; the last first."""
    total = 0.0 * x
    for k in range(len(_BERNOULLI), 0, -1):
        total = total + term(k, _BERNOULLI[k - 1], x)
    return total


def gamma_rest(xp: Namespace, x: Array) -> Array:
    """g(x) = log Γ(x) − x·log x + x."""
    large = x > _STIRLING
    big, small = xp.where(large, x, _STIRLING + 1.0), xp.where(large, 1.0, x)
    series = _stirling(xp, big, lambda k, b, s: b / (2 * k * (2 * k - 1)) * s ** (1 - 2 * k))
    return xp.where(
        large,
        0.5 * math.log(2 * math.pi) - 0.5 * xp.log(big) + series,
        gammaln(xp, small) - small * xp.log(small) + small,
    )


def gamma_rest_slope(xp: Namespace, x: Array) -> Array:
    """g'(x) = ψ(x) − log x < 0."""
    large = x > _STIRLING
    big, small = xp.where(large, x, _STIRLING + 1.0), xp.where(large, 1.0, x)
    series = -0.5 / big - _stirling(xp, big, lambda k, b, s: b / (2 * k) * s ** (-2 * k))
    return xp.where(large, series, digamma(xp, small) - xp.log(small))


def gamma_rest_curvature(xp: Namespace, x: Array) -> Array:
    """g''(x) = ψ'(x) − 1/x > 0."""
    large = x > _STIRLING
    big, small = xp.where(large, x, _STIRLING + 1.0), xp.where(large, 1.0, x)
    series = 0.5 / big**2 + _stirling(xp, big, lambda k, b, s: b * s ** (-2 * k - 1))
    return xp.where(large, series, special(xp, "polygamma")(1, small) - 1.0 / small)


def gamma_rest_divergence(xp: Namespace, y: Array, x: Array) -> Array:
    """g(y) − g(x) − g'(x)·(y − x) ≥ 0."""
    near = (y < 2.0 * x) & (x < 2.0 * y)
    close = integral_divergence(xp.where(near, x, 1.0), xp.where(near, y, 1.0), lambda s: gamma_rest_curvature(xp, s))
    a, b = xp.where(near, 1.0, x), xp.where(near, 4.0, y)
    far = gamma_rest(xp, b) - gamma_rest(xp, a) - gamma_rest_slope(xp, a) * (b - a)
    return xp.where(near, close, far)


def full_like(xp: Namespace, x: Array, value: float) -> Any:
    """A constant beside an array."""
    return xp.asarray(value, dtype=x.dtype, device=device_of(x))
