"""Log Γ and its derivatives without what cancels in them.

The log-normalisers of half the families contain log Γ. Its large part, x·log x − x, makes terms that are known to full
relative precision (a KL of the means); what is left, g(x) = log Γ(x) − x·log x + x, is convex, and its divergence
g(y) − g(x) − g'(x)·(y − x) is the integral of (y − s)·g''(s), all of whose parts are positive.

References
----------
.. [1] NIST Digital Library of Mathematical Functions, https://dlmf.nist.gov, 5.11 (Stirling's series).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from dkl._array import Array, Namespace, device_of
from dkl.families.special import digamma, gammaln, integral_divergence, ratio_excess
from dkl.kernels import trace

# Bernoulli numbers B_2, B_4, …: the coefficients of Stirling's series [1, eq. 5.11.1].
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
# From here on the series has full precision.
_STIRLING = 12.0


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
    return gamma_rest_bend(xp, x) / x**2


def gamma_rest_bend(xp: Namespace, x: Array) -> Array:
    """x²·g''(x), from 1 to ½: Σ x²/((x + k)²·(x + k + 1)) up to where the series is good, and the series.

    It needs no polygamma function, whose error is 5e-10 in torch.
    """
    lifted, big = _lifted(xp, x)
    series = 0.5 + _stirling(xp, big, lambda n, b, s: b * s ** (1 - 2 * n))
    share = x / lifted
    return xp.sum(share * share / (lifted + 1.0), axis=0) + (x / big) ** 2 * series


def _lifted(xp: Namespace, x: Array) -> tuple[Array, Array]:
    """x, x + 1, … along a new first axis, up to the number from where on the series is good, and that number."""
    steps = int(_STIRLING) + 1
    k = xp.arange(steps, dtype=x.dtype, device=device_of(x))
    return x[None, ...] + xp.reshape(k, (steps, *(1,) * x.ndim)), x + float(steps)


def gamma_rest_divergence(xp: Namespace, y: Array, x: Array, apart: Array | None = None) -> Array:
    """g(y) − g(x) − g'(x)·(y − x) ≥ 0; ``apart`` is y − x, where that is known better than by subtracting.

    It depends on y/x and x, and is right for the least of numbers: near 0, g is −log x and a smooth rest.
    """
    apart = y - x if apart is None else apart
    if isinstance(xp, trace.Namespace):
        return xp.gamma_rest_divergence(y, x, apart)
    near = (y < 2.0 * x) & (x < 2.0 * y)
    start, step = xp.where(near, x, 1.0), xp.where(near, apart, 0.0) / xp.where(near, x, 1.0)
    # In units of x: the curvature at x·u is that of (x·u)²·g'' over u².
    close = integral_divergence(xp, 1.0 + 0.0 * step, step, lambda u: gamma_rest_bend(xp, start[..., None] * u) / u**2)
    a, b = xp.where(near, 1.0, x), xp.where(near, 4.0, y)
    rest = _gamma_smooth(xp, b) - _gamma_smooth(xp, a) - _gamma_smooth_slope(xp, a) * (b - a)
    return xp.where(near, close, ratio_excess(xp, b, a) + rest)


def _gamma_smooth(xp: Namespace, x: Array) -> Array:
    """g(x) + log x = log Γ(1 + x) − x·log x + x."""
    large = x > _STIRLING
    big, small = xp.where(large, x, _STIRLING + 1.0), xp.where(large, 1.0, x)
    return xp.where(large, gamma_rest(xp, big) + xp.log(big), gammaln(xp, 1.0 + small) - small * xp.log(small) + small)


def _gamma_smooth_slope(xp: Namespace, x: Array) -> Array:
    """g'(x) + 1/x = ψ(1 + x) − log x."""
    large = x > _STIRLING
    big, small = xp.where(large, x, _STIRLING + 1.0), xp.where(large, 1.0, x)
    return xp.where(large, gamma_rest_slope(xp, big) + 1.0 / big, digamma(xp, 1.0 + small) - xp.log(small))


def multigamma_rest_divergence(xp: Namespace, y: Array, x: Array, apart: Array, dimension: int) -> Array:
    """G(y) − G(x) − G'(x)·(y − x) ≥ 0 with G(s) = log Γ_d(s) − d·(s·log s − s), y − x being ``apart``.

    Γ_d is the multivariate gamma function, log Γ_d(s) = Σ log Γ(s − c) and a constant, c = 0, ½, …, ½·(d − 1). So it is
    the sum of the divergences of g at s − c, and of (s − c)·log(s − c) − s·log s, of the curvature c/(s·(s − c)) > 0.
    """
    shift = 0.5 * xp.arange(dimension, dtype=x.dtype, device=device_of(x))
    x, y, apart = x[..., None] - shift, y[..., None] - shift, apart[..., None] + 0.0 * shift
    near = (y < 2.0 * x) & (x < 2.0 * y)
    start, step = xp.where(near, x, 1.0), xp.where(near, apart, 0.0)
    close = integral_divergence(
        xp, start, step, lambda s: gamma_rest_curvature(xp, s) + shift[..., None] / (s * (s + shift[..., None]))
    )
    a, b = xp.where(near, 1.0, x), xp.where(near, 4.0, y)
    logs = (b + shift) * (xp.log1p(shift / a) - xp.log1p(shift / b)) - shift * (xp.log(b) - xp.log(a))
    far = gamma_rest(xp, b) - gamma_rest(xp, a) - gamma_rest_slope(xp, a) * (b - a) + logs
    return xp.sum(xp.where(near, close, far), axis=-1)


def gammaln_half_step(xp: Namespace, x: Array) -> Array:
    """Log Γ(x + ½) − log Γ(x), which for a large x is the small difference of two large numbers."""
    large = x * xp.log1p(0.5 / x) + 0.5 * xp.log(x + 0.5) - 0.5
    return large + gamma_rest(xp, x + 0.5) - gamma_rest(xp, x)


def digamma_half_step(xp: Namespace, x: Array) -> Array:
    """ψ(x + ½) − ψ(x)."""
    return xp.log1p(0.5 / x) + gamma_rest_slope(xp, x + 0.5) - gamma_rest_slope(xp, x)


def digamma_step(xp: Namespace, x: Array, step: Array) -> Array:
    """ψ(x + d) − ψ(x) > 0 of d > 0, to full relative precision also where d is small beside x.

    It is Σ d/((x + k)·(x + d + k)) and the step from where the series is good, whose terms are differences of powers of
    1/(1 + d/x) from 1: by products of them with themselves, none is a small difference of large numbers.
    """
    x, step = xp.broadcast_arrays(x, step)
    lifted, big = _lifted(xp, x)
    ratio = step / big
    logs = xp.log1p(ratio)
    # X⁻ⁿ − (X + d)⁻ⁿ = −X⁻ⁿ·expm1(−n·log1p(d/X)).
    series = -0.5 * xp.expm1(-logs) / big
    fall = -_stirling(xp, big, lambda n, b, s: b / (2 * n) * s ** (-2 * n) * xp.expm1(-2.0 * n * logs))
    return xp.sum(step / (lifted + step) / lifted, axis=0) + logs + series + fall
