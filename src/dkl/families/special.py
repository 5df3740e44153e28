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
from typing import Any, NamedTuple

import numpy as np

from dkl._array import Array, Namespace, device_of, epsilon, expm1_minus, is_numpy
from dkl.kernels import trace

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
    steps = int(_STIRLING) + 1
    k = xp.arange(steps, dtype=x.dtype, device=device_of(x))
    lifted = x[..., None] + k
    big = x + float(steps)
    series = 0.5 + _stirling(xp, big, lambda n, b, s: b * s ** (1 - 2 * n))
    return xp.sum((x[..., None] / lifted) ** 2 / (lifted + 1.0), axis=-1) + (x / big) ** 2 * series


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


class Triangular(NamedTuple):
    """A lower triangular matrix that may be almost 1: less 1, and its diagonal, each to its own relative precision."""

    less: Array
    diagonal: Array

    def excess(self, xp: Namespace) -> Array:
        """Tr(MMᵀ) − d − log det(MMᵀ) ≥ 0 of this matrix M = 1 + E: Σ E_ij² + 2·Σ (E_ii − log(1 + E_ii)).

        With M = L_q⁻¹·L_p it is the sum of r − 1 − log r over the eigenvalues r of B⁻¹A, A = L_p·L_pᵀ and
        B = L_q·L_qᵀ: as the determinant of a triangular matrix is its diagonal's, no eigenvalue is needed.
        """
        e = self.less
        along = excess(xp, xp.linalg.diagonal(e), self.diagonal)
        return xp.sum(e * e, axis=(-2, -1)) + 2.0 * xp.sum(along, axis=-1)

    def times(self, other: Triangular) -> Triangular:
        """(1 + E)·(1 + F), less 1 by E + F + E·F."""
        product = self.less + other.less + self.less @ other.less
        return Triangular(product, self.diagonal * other.diagonal)

    def scaled(self, xp: Namespace, by: Array, less: Array) -> Triangular:
        """The matrix times a number, and that number less 1."""
        one = identity(xp, self.less)
        return Triangular(less[..., None, None] * one + by[..., None, None] * self.less, by[..., None] * self.diagonal)

    def inverse_of_flipped(self, xp: Namespace) -> Triangular:
        """(JMᵀJ)⁻¹ with J the reversal, lower triangular again; less 1 it is −M⁻¹·E."""
        less, diagonal = flipped(xp, self.less, True), xp.flip(self.diagonal, axis=-1)
        whole = less + identity(xp, less)
        return Triangular(-lower_solve(xp, whole, less), 1.0 / diagonal)


def identity(xp: Namespace, like: Array) -> Array:
    """The identity of the size of a square matrix, beside it."""
    return xp.eye(like.shape[-1], dtype=like.dtype, device=device_of(like))


def symmetric(xp: Namespace, x: Array) -> Array:
    """½·(X + Xᵀ)."""
    return 0.5 * (x + xp.matrix_transpose(x))


def flipped(xp: Namespace, x: Array, transposed: bool = False) -> Array:
    """JXJ or JXᵀJ with J the reversal: upper triangular if X is lower, and lower if transposed."""
    return xp.flip(xp.matrix_transpose(x) if transposed else x, axis=(-2, -1))


def norm2(xp: Namespace, x: Array) -> Array:
    """The sum of squares of a matrix."""
    return xp.sum(x * x, axis=(-2, -1))


def lower_solve(xp: Namespace, lower: Array, x: Array) -> Array:
    """L⁻¹·X by forward substitution, whose error does not grow with the squared condition of L; batches broadcast."""
    library = xp.__name__.removeprefix("array_api_compat.").split(".")[0]
    if library == "torch":
        import torch

        return torch.linalg.solve_triangular(lower, x, upper=False)
    if library == "jax":
        import jax

        batch = np.broadcast_shapes(lower.shape[:-2], x.shape[:-2])
        lower, x = (xp.broadcast_to(z, (*batch, *z.shape[-2:])) for z in (lower, x))
        return jax.lax.linalg.triangular_solve(lower, x, left_side=True, lower=True)
    # The array API has none, and SciPy's takes one matrix at a time: by halves, for the whole batch at once.
    n = lower.shape[-1]
    if n == 1:
        return x / lower
    h = n // 2
    first = lower_solve(xp, lower[..., :h, :h], x[..., :h, :])
    rest = x[..., h:, :] - lower[..., h:, :h] @ first
    second = lower_solve(xp, lower[..., h:, h:], rest)
    first = xp.broadcast_to(first, (*second.shape[:-2], *first.shape[-2:]))
    return xp.concat([first, second], axis=-2)


# As many numbers at a time stay in a core's cache, and keep BLAS from waking threads for a product of small matrices.
_BLOCK = 1 << 18


def lower_apply(xp: Namespace, lower: Array, v: Array) -> Array:
    """L⁻¹·v of vectors along the last axis; of many to one matrix by its inverse, in products of matrices."""
    many = v.ndim + 1 - lower.ndim
    if many <= 0 or math.prod(v.shape[:many]) < v.shape[-1]:
        return lower_solve(xp, lower, v[..., None])[..., 0]
    inverse = xp.matrix_transpose(lower_solve(xp, lower, identity(xp, lower)))
    rows = xp.reshape(v, (math.prod(v.shape[:many]), *v.shape[many:]))
    count, each = rows.shape[0], math.prod(rows.shape[1:])
    step = max(1, _BLOCK // each) if is_numpy(xp) else count
    parts = [
        xp.moveaxis(xp.moveaxis(rows[at : at + step, ...], 0, -2) @ inverse, -2, 0) for at in range(0, count, step)
    ]
    solved = parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)
    return xp.reshape(solved, (*v.shape[:many], *solved.shape[1:]))


def factor_of_inverse(xp: Namespace, matrix: Array) -> tuple[Array, Array]:
    """The lower triangular L with L·Lᵀ the inverse of a positive definite matrix, and its own inverse."""
    inverse = flipped(xp, xp.linalg.cholesky(flipped(xp, matrix)), True)
    return lower_solve(xp, inverse, identity(xp, inverse)), inverse


def quotient_of_inverses(xp: Namespace, p: Array, q: Array, apart: Array) -> Triangular:
    """L_q⁻¹·L_p of the factors of two positive definite matrices, from their inverses and q's less p's."""
    # With U·Uᵀ the inverse, U = J·C·J upper triangular, L_q⁻¹·L_p = (U_p⁻¹·U_q)ᵀ.
    turned = quotient_of_definite(xp, flipped(xp, q), flipped(xp, p), flipped(xp, apart))
    return Triangular(flipped(xp, turned.less, True), xp.flip(turned.diagonal, axis=-1))


def _factor_less_one(xp: Namespace, x: Array) -> Array:
    """The lower triangular E with (1 + E)·(1 + Eᵀ) = 1 + X, to the relative precision of a small X.

    Cholesky's factor less 1 is right to ε; a step of Newton's method from there, whose residual E + Eᵀ + E·Eᵀ − X is
    right to ε·|X|, leaves no more than that.
    """
    whole = xp.linalg.cholesky(x + identity(xp, x))
    e = whole - identity(xp, x)
    residual = x - (e + xp.matrix_transpose(e) + e @ xp.matrix_transpose(e))
    return e + whole @ _half(xp, _congruent(xp, whole, residual))


def _congruent(xp: Namespace, lower: Array, x: Array) -> Array:
    """L⁻¹·X·L⁻ᵀ of a symmetric X."""
    half = lower_solve(xp, lower, x)
    return symmetric(xp, lower_solve(xp, lower, xp.matrix_transpose(half)))


def _half(xp: Namespace, x: Array) -> Array:
    """The lower triangle with half the diagonal: its sum with its transpose is a symmetric X."""
    return xp.tril(x) - 0.5 * xp.linalg.diagonal(x)[..., None] * identity(xp, x)


def quotient_of_factors(xp: Namespace, p: Array, q: Array) -> Triangular:
    """L_q⁻¹·L_p of two lower triangular factors, from their difference."""
    diagonal = xp.linalg.diagonal(p) / xp.linalg.diagonal(q)
    return Triangular(lower_solve(xp, q, p - q), diagonal)


def quotient_of_definite(xp: Namespace, p: Array, q: Array, apart: Array) -> Triangular:
    """L_q⁻¹·L_p of the factors of two positive definite matrices, from the matrices' difference where it is small."""
    lower = xp.linalg.cholesky(q)
    x = _congruent(xp, lower, apart)
    near = norm2(xp, x) < 0.25
    far = quotient_of_factors(xp, xp.linalg.cholesky(p), lower)
    e = _factor_less_one(xp, xp.where(near[..., None, None], x, 0.0))
    return Triangular(
        xp.where(near[..., None, None], e, far.less),
        xp.where(near[..., None], 1.0 + xp.linalg.diagonal(e), far.diagonal),
    )


def factor_between(xp: Namespace, g: Triangular, a: float) -> tuple[Triangular, Array]:
    """The lower triangular C with C·Cᵀ = (a + (1 − a)·GᵀG)⁻¹, for a > 0, and where there is one; elsewhere 1.

    If G = L_q⁻¹·L_p, then L_p·C is the factor of (a·A⁻¹ + (1 − a)·B⁻¹)⁻¹, A = L_p·L_pᵀ and B = L_q·L_qᵀ: of the
    geometric mixture. Nothing in it is worse conditioned than A is against B.
    """
    e, one = g.less, identity(xp, g.less)
    x = (1.0 - a) * (e + xp.matrix_transpose(e) + xp.matrix_transpose(e) @ e)
    if a > 1:
        finite = xp.isfinite(norm2(xp, x))
        values = xp.linalg.eigvalsh(xp.where(finite[..., None, None], x, 0.0) + one)
        # What rounding alone could make positive is on the edge, where the mixture's integral diverges.
        edge = 8.0 * x.shape[-1] * epsilon(xp, x.dtype) * a
        inside = finite & (values[..., 0] > edge)
        v = _factor_less_one(xp, flipped(xp, xp.where(inside[..., None, None], x, 0.0)))
        whole = Triangular(v, 1.0 + xp.linalg.diagonal(v))
        return whole.inverse_of_flipped(xp), inside
    square = norm2(xp, x)
    near = square < 0.25
    close = _factor_less_one(xp, flipped(xp, xp.where(near[..., None, None], x, 0.0)))
    # VᵀV = a + (1 − a)·GᵀG by orthogonal triangularisation, as the squares would drown a.
    stack = xp.concat([math.sqrt(a) * one + 0.0 * e, math.sqrt(1.0 - a) * (one + e)], axis=-2)
    r = xp.linalg.qr(xp.flip(stack, axis=-1), mode="reduced")[1]
    r = xp.matrix_transpose(xp.where(xp.linalg.diagonal(r)[..., None] < 0, -r, r))
    whole = Triangular(
        xp.where(near[..., None, None], close, r - one),
        xp.where(near[..., None], 1.0 + xp.linalg.diagonal(close), xp.linalg.diagonal(r)),
    )
    return whole.inverse_of_flipped(xp), square >= 0


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
    """ψ(x + d) − ψ(x) > 0 of d > 0, to full relative precision also where d is small beside x."""
    near = step < x
    start, small = xp.where(near, x, 1.0), xp.where(near, step, 0.5)
    close = xp.log1p(small / start) + integral_difference(xp, start, small, lambda s: gamma_rest_curvature(xp, s))
    return xp.where(near, close, digamma(xp, x + step) - digamma(xp, x))


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
