"""Triangular matrices, the factors of positive definite ones, and quotients of two that nearly agree."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dkl._array import Array, Namespace, device_of, epsilon, is_numpy
from dkl.families.special import excess


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
