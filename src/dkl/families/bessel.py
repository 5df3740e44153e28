"""The modified Bessel functions of circles and spheres, from array operations, so that every library differentiates it.

The log-normaliser of directions in d dimensions is, but for a constant, A(κ) = log(I_ν(κ)/κ^ν) − its value at 0 with
ν = d/2 − 1. Its slope is the mean length R = I_{ν+1}/I_ν, its curvature R' = 1 − (2ν + 1)·R/κ − R². With s = √(ν² + κ²)

    A(κ) = s − ν·log(ν + s) − ½·log s + Σ_k s^(−k)·d_k(ν²/s²) + constant                       [1, eq. 10.41.3]

for large s, whether κ or ν makes it large; it is differentiated by hand, so that nothing cancels in R' ~ 1/κ². Where s
is not large, R is a continued fraction of positive parts, A a power series of positive terms, and R' the variance of
c = cos θ under (1 − c²)^(ν−½)·exp(κ·c), by the rule of Gauss for that weight.

References
----------
.. [1] NIST Digital Library of Mathematical Functions, https://dlmf.nist.gov, 10.25 (series), 10.33 (continued
   fraction), 10.41 (uniform expansions), 18.3 (Gegenbauer polynomials).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from dkl._array import Array, Namespace, device_of
from dkl.families.special import integral_divergence

# From this s on the expansion has full precision with this many terms; below it, so have the others with these.
_LARGE = 40.0
_TERMS = 16
_FRACTION = 44
_SERIES = 60
_GAUSS = 48


@cache
def _expansion() -> tuple[tuple[Fraction, ...], ...]:
    """The coefficients of d_k(u), k = 1, 2, …: of log Σ U_k(t)/ν^k with U_k of [1, eq. 10.41.9], t = √u = ν/s."""
    zero = Fraction(0)
    # U_k(t) as coefficients of t^0, t^1, ….
    u: list[list[Fraction]] = [[Fraction(1)]]
    for _ in range(_TERMS):
        last = u[-1]
        new = [zero] * (len(last) + 3)
        for n, c in enumerate(last):
            new[n + 1] += c * n / 2 + c / (8 * (n + 1))
            new[n + 3] -= c * n / 2 + 5 * c / (8 * (n + 3))
        u.append(new)
    logs: list[list[Fraction]] = [[zero]]
    for k in range(1, _TERMS + 1):
        new = list(u[k])
        for j in range(1, k):
            for m, a in enumerate(logs[j]):
                for n, b in enumerate(u[k - j]):
                    new[m + n] -= Fraction(j, k) * a * b
        logs.append(new)
    # d_k/ν^k: only t^k, t^(k+2), … occur, and t/ν = 1/s.
    return tuple(tuple(logs[k][k + 2 * j] for j in range(k + 1)) for k in range(1, _TERMS + 1))


@cache
def _value_coefficients() -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(c) for c in row) for row in _expansion())


@cache
def _slope_coefficients() -> tuple[tuple[float, ...], ...]:
    """Of −(d/dκ of the sum)·s²/κ: s^(−m) has the slope −m·κ·s^(−m−2)."""
    return tuple(tuple(float((k + 2 * j) * c) for j, c in enumerate(row)) for k, row in enumerate(_expansion(), 1))


@cache
def _curvature_coefficients() -> tuple[tuple[float, ...], ...]:
    """Of (d²/dκ² of the sum)·s²: s^(−m) has m·((m + 2)·(1 − u) − 1)·s^(−m−2), as κ²/s² = 1 − u."""
    rows = []
    for k, row in enumerate(_expansion(), 1):
        new = [Fraction(0)] * (len(row) + 1)
        for j, c in enumerate(row):
            m = k + 2 * j
            new[j] += m * (m + 1) * c
            new[j + 1] -= m * (m + 2) * c
        rows.append(tuple(map(float, new)))
    return tuple(rows)


def _summed(xp: Namespace, nu: float, s: Array, coefficients: Sequence[Sequence[float]]) -> Array:
    """Σ_k s^(−k)·(polynomial k of u = ν²/s²)."""
    if not nu:
        total = 0.0 * s
        for row in reversed(coefficients):
            total = (total + row[0]) / s
        return total
    # All polynomials at once: few operations on more numbers, which compilers take in less time.
    table = np.zeros((len(coefficients[-1]), len(coefficients)))
    for k, row in enumerate(coefficients):
        table[: len(row), k] = row
    like = {"dtype": s.dtype, "device": device_of(s)}
    powers = ((nu / s) ** 2)[..., None] ** xp.asarray(np.arange(len(table), dtype=float), **like)
    falling = (1.0 / s)[..., None] ** xp.asarray(np.arange(1.0, len(coefficients) + 1.0), **like)
    return xp.sum(xp.matmul(powers, xp.asarray(table, **like)) * falling, axis=-1)


def _split(xp: Namespace, nu: float, kappa: Array) -> tuple[Array, Array, Array, Array]:
    """Whether the expansion holds, a κ where it does with its s, and a κ where it does not."""
    large = kappa * kappa + nu * nu >= _LARGE**2
    big = xp.where(large, kappa, max(_LARGE, nu))
    root = xp.sqrt(big * big + nu * nu)
    return large, big, root, xp.where(large, 1.0, kappa)


def _fraction(nu: float, kappa: Array) -> Array:
    """R_ν over κ, by the continued fraction R_ν = κ/(2·(ν + 1) + κ·R_{ν+1})."""
    ratio = 0.0 * kappa
    for k in range(_FRACTION, 0, -1):
        ratio = 1.0 / (2.0 * (nu + k) + kappa * kappa * ratio)
    return ratio


def ratio(xp: Namespace, nu: float, kappa: Array) -> Array:
    """R(κ) = I_{ν+1}(κ)/I_ν(κ), for κ ≥ 0."""
    large, big, s, small = _split(xp, nu, kappa)
    square = s * s
    far = big * (1.0 / (nu + s) - (0.5 + _summed(xp, nu, s, _slope_coefficients())) / square)
    return xp.where(large, far, small * _fraction(nu, small))


def short_of_one(xp: Namespace, nu: float, kappa: Array) -> Array:
    """1 − R(κ)."""
    large, big, s, small = _split(xp, nu, kappa)
    far = (nu + nu * nu / (big + s)) / (nu + s) + big * (0.5 + _summed(xp, nu, s, _slope_coefficients())) / (s * s)
    return xp.where(large, far, 1.0 - small * _fraction(nu, small))


def curvature(xp: Namespace, nu: float, kappa: Array) -> Array:
    """R'(κ) > 0."""
    large, _, s, small = _split(xp, nu, kappa)
    u = (nu / s) ** 2
    far = nu / (s * (nu + s)) + (0.5 - u + _summed(xp, nu, s, _curvature_coefficients())) / (s * s)
    deviations, weights = (xp.asarray(z, dtype=kappa.dtype, device=device_of(kappa)) for z in _gauss(nu))
    tilted = weights * xp.exp(-small[..., None] * deviations)
    tilted = tilted / xp.sum(tilted, axis=-1)[..., None]
    mean = xp.sum(tilted * deviations, axis=-1)[..., None]
    return xp.where(large, far, xp.sum(tilted * (deviations - mean) ** 2, axis=-1))


@cache
def _gauss(nu: float) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """1 − c and the weights for the nodes c; only asked for where s may be small."""
    from scipy.special import roots_gegenbauer

    nodes, weights = roots_gegenbauer(_GAUSS, min(nu, _LARGE))
    return 1.0 - nodes, weights


def log_normaliser(xp: Namespace, nu: float, kappa: Array) -> Array:
    """A(κ) = log(Γ(ν + 1)·(2/κ)^ν·I_ν(κ)), which is 0 at 0."""
    return _normaliser(xp, nu, kappa, less=False)


def log_mass(xp: Namespace, nu: float, kappa: Array) -> Array:
    """A(κ) − κ: the logarithm of the mean of exp(κ·(cos θ − 1)) over all directions."""
    return _normaliser(xp, nu, kappa, less=True)


def _normaliser(xp: Namespace, nu: float, kappa: Array, less: bool) -> Array:
    # The series also where ν alone is large, as long as its terms fall fast: A is small there.
    quarter = 0.25 * kappa * kappa
    large = (kappa * kappa + nu * nu >= _LARGE**2) & (quarter >= 4.0 * (nu + 1.0))
    big = xp.where(large, kappa, max(_LARGE, nu))
    s = xp.sqrt(big * big + nu * nu)
    if nu < _LARGE:
        constant = nu * math.log(2.0) + math.lgamma(nu + 1.0) - 0.5 * math.log(2.0 * math.pi)
        main = (nu * nu / (s + big) if less else s) - 0.5 * xp.log(s) + constant
        main = main - nu * xp.log(nu + s) if nu else main
    else:
        # Less the same at κ = 0, where s = ν and the sum is the rest of Stirling's series.
        rise = big * big / (s + nu)
        at_zero = sum(nu**-k * math.fsum(row) for k, row in enumerate(_value_coefficients(), 1))
        main = -big * (nu + nu * nu / (s + big)) / (s + nu) if less else rise
        main = main - nu * xp.log1p(rise / (2.0 * nu)) - 0.5 * xp.log1p(rise / nu) - at_zero
    far = main + _summed(xp, nu, s, _value_coefficients())
    small = xp.where(large, 0.0, kappa)
    x, series = 0.25 * small * small, 0.0 * small
    for k in range(_SERIES, 0, -1):
        series = x / (k * (nu + k)) * (1.0 + series)
    near = xp.log1p(series)
    return xp.where(large, far, near - small if less else near)


def normaliser_divergence(xp: Namespace, nu: float, y: Array, x: Array) -> Array:
    """A(y) − A(x) − A'(x)·(y − x) ≥ 0."""
    near = (y < 2.0 * x) & (x < 2.0 * y)
    start, step = xp.where(near, x, 1.0), xp.where(near, y - x, 0.0)
    close = integral_divergence(xp, start, step, lambda s: curvature(xp, nu, s))
    a, b = xp.where(near, 1.0, x), xp.where(near, 4.0, y)
    plain = log_normaliser(xp, nu, b) - log_normaliser(xp, nu, a) - ratio(xp, nu, a) * (b - a)
    # Of a large x the part κ of A, which has no divergence, is taken out first.
    least = log_mass(xp, nu, b) - log_mass(xp, nu, a) + short_of_one(xp, nu, a) * (b - a)
    return xp.where(near, close, xp.where(a > nu + 1.0, least, plain))


__all__ = ["curvature", "log_mass", "log_normaliser", "normaliser_divergence", "ratio", "short_of_one"]
