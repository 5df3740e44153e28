"""Normal distributions of matrices, whose covariance is a Kronecker product, by the quotients of both factors [1].

References
----------
.. [1] A. K. Gupta, D. K. Nagar, "Matrix Variate Distributions" (1999), chapter 2.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from dkl._array import Array, Namespace, to_numpy
from dkl.families.constraints import Constraint, real
from dkl.families.matrices import Definite, MatrixParameters, matrix
from dkl.families.moments import nearest_kronecker
from dkl.families.multivariate import LOG_TAU, between
from dkl.families.triangular import (
    Triangular,
    factor_of_inverse,
    identity,
    lower_solve,
    quotient_of_definite,
    symmetric,
)
from dkl.supports import Matrices, Support


class MatrixNormal(MatrixParameters):
    """Normal distribution of a matrix whose entries have covariances Cov(x_ij, x_kl) = U_ik·V_jl.

    Parameters
    ----------
    loc : array_like
        The mean, along the last two axes.
    row_covariance, column_covariance : array_like
        U and V, symmetric and positive definite; only their product is determined.

    Notes
    -----
    The quotient of the two factors, as a matrix of all entries, is the Kronecker product of the quotients 1 + E of the
    rows' and 1 + F of the columns' [1]_: its diagonal is that of e + f + e·f, and its squares add up by those of E and
    F, so that KL takes no larger matrix than these. Its relatives take the Kronecker product itself, as the geometric
    mixture of two of this kind is not of this kind.

    Nor has every pair of means E[x] and E[x_ij·x_kl] a member, for a covariance is a Kronecker product only by
    exception. ``from_mean_parameters`` gives the member q with the least KL(p‖q) for every p with these means all the
    same [4]_, by the fixed point U_ik = Σ Cov(x_ij, x_kl)·(V⁻¹)_lj/columns and the same of V; of a Kronecker product
    it is that product. The trace of its U is the number of rows.

    References
    ----------
    .. [4] P. Dutilleul, "The MLE algorithm for the matrix normal distribution", Journal of Statistical Computation and
       Simulation 64 (1999).

    Examples
    --------
    >>> from dkl.families import MatrixNormal
    >>> import dkl
    >>> p = MatrixNormal([[1.0, 0.0]], [[1.0]], [[1.0, 0.0], [0.0, 1.0]])
    >>> q = MatrixNormal([[0.0, 0.0]], [[2.0]], [[0.5, 0.0], [0.0, 0.5]])
    >>> round(float(dkl.kl(p, q)), 12)
    0.5
    """

    constraints: ClassVar[dict[str, Constraint]] = {
        "loc": matrix,
        "row_covariance": Definite(),
        "column_covariance": Definite(),
    }
    means: ClassVar[dict[str, Constraint]] = {"E[x]": matrix, "E[x_ij·x_kl]": Constraint("finite", real.met, 4)}
    event_ndim: ClassVar[int] = 2

    def __init__(self, loc: Any, row_covariance: Any, column_covariance: Any) -> None:
        super().__init__(loc=loc, row_covariance=row_covariance, column_covariance=column_covariance)
        self._hold_sizes(row_covariance=(-1, "loc", -2), column_covariance=(-1, "loc", -1))

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return tuple(self.loc.shape[-2:])

    @property
    def support(self) -> Support:
        """All matrices of that shape."""
        return Matrices(*self.event_shape)

    def _covariances(self) -> tuple[Array, Array]:
        return symmetric(self.xp, self.row_covariance), symmetric(self.xp, self.column_covariance)

    def _factors(self) -> tuple[Array, Array]:
        """Of the covariances of the rows and of the columns."""
        rows, columns = (self.xp.linalg.cholesky(x) for x in self._covariances())
        return rows, columns

    def _whitened(self, v: Array) -> Array:
        """Matrices L_U⁻¹·v·L_V⁻ᵀ."""
        xp = self.xp
        rows, columns = self._factors()
        return xp.matrix_transpose(lower_solve(xp, columns, xp.matrix_transpose(lower_solve(xp, rows, v))))

    def _log_det(self) -> Array:
        xp, (n, m) = self.xp, self.event_shape
        rows, columns = (xp.sum(xp.log(xp.linalg.diagonal(x)), axis=-1) for x in self._factors())
        return 2.0 * (m * rows + n * columns)

    def _quotients(self, other: Any) -> tuple[Triangular, Triangular]:
        rows, columns = (
            quotient_of_definite(self.xp, p, q, p - q)
            for p, q in zip(self._covariances(), other._covariances(), strict=True)
        )
        return rows, columns

    def _kl(self, other: Any) -> Array:
        xp = self.xp
        w = other._whitened(other.loc - self.loc)
        return 0.5 * kronecker_excess(xp, *self._quotients(other)) + 0.5 * xp.sum(w * w, axis=(-2, -1))

    def mixed(self, other: Any, weight: float) -> tuple[Any, Array]:
        """The normal distribution of all entries that lies between the two, known only by how far it is from them.

        It is no matrix normal distribution, for its covariance is no Kronecker product.
        """
        if weight < 0:
            return other.mixed(self, 1.0 - weight)  # type: ignore[no-any-return]
        xp = self.xp
        w = other._whitened(other.loc - self.loc)
        w = xp.reshape(w, (*w.shape[:-2], w.shape[-2] * w.shape[-1]))
        values, _, inside = between(xp, kronecker(xp, *self._quotients(other)), w, weight)
        return _Between(((self, values[0]), (other, values[1]))), inside

    def _natural(self) -> tuple[Array, ...]:
        """U⁻¹·μ·V⁻¹, U⁻¹ and V⁻¹; θ has the product of the last two."""
        xp = self.xp
        inverses = [lower_solve(xp, x, identity(xp, x)) for x in self._factors()]
        rows, columns = (xp.matrix_transpose(x) @ x for x in inverses)
        return (self._whole(rows @ self.loc @ columns, 2), self._whole(rows, 2), self._whole(columns, 2))

    def _with_natural(self, theta: tuple[Array, ...]) -> Any:
        xp = self.xp
        factors = [factor_of_inverse(xp, x)[0] for x in theta[1:]]
        rows, columns = (x @ xp.matrix_transpose(x) for x in factors)
        return MatrixNormal._raw(self, loc=rows @ theta[0] @ columns, row_covariance=rows, column_covariance=columns)

    def _inside(self, theta: tuple[Array, ...]) -> Array:
        rows, columns = (self.xp.linalg.eigvalsh(x)[..., 0] > 0 for x in theta[1:])
        return rows & columns

    def _log_prob(self, x: Array) -> Array:
        z = self._whitened(x - self.loc)
        n, m = self.event_shape
        return -0.5 * (self.xp.sum(z * z, axis=(-2, -1)) + self._log_det() + n * m * LOG_TAU)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        rows, columns = (to_numpy(x) for x in self._factors())
        z = rng.standard_normal((*shape, *self.event_shape))
        return self.numbers("loc") + rows @ z @ np.swapaxes(columns, -1, -2)

    def _mean(self) -> Array:
        return self._whole(self.loc, 2)

    def _var(self) -> Array:
        rows, columns = (self.xp.linalg.diagonal(x) for x in self._covariances())
        return self._whole(rows[..., :, None] * columns[..., None, :], 2)

    def _entropy(self) -> Array:
        n, m = self.event_shape
        return self._whole(0.5 * (self._log_det() + n * m * (LOG_TAU + 1.0)))

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[x], and E[x_ij·x_kl] with axes i, j, k, l."""
        rows, columns = self._covariances()
        spread = rows[..., :, None, :, None] * columns[..., None, :, None, :]
        square = self.loc[..., :, :, None, None] * self.loc[..., None, None, :, :]
        return self.mean(), self._handed_back(self._whole(square + spread, 4))

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return (x, x[..., :, :, None, None] * x[..., None, None, :, :])

    @classmethod
    def _hold_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> None:
        mean, square = means
        if tuple(square.shape[-4:]) != tuple(mean.shape[-2:]) * 2:
            raise ValueError(
                f"MatrixNormal: E[x_ij·x_kl] of shape {tuple(square.shape)} does not fit E[x] of shape "
                f"{tuple(mean.shape)}: its last axes must be those of the mean twice"
            )

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        mean, square = means
        n, m = (int(k) for k in mean.shape[-2:])
        spread = square - mean[..., :, :, None, None] * mean[..., None, None, :, :]
        flat = xp.reshape(spread, (*spread.shape[:-4], n * m, n * m))
        Definite().hold(xp, flat, "MatrixNormal: the covariance of all entries, E[x_ij·x_kl] − E[x_ij]·E[x_kl],")
        rows, columns = nearest_kronecker(xp, spread)
        return {"loc": mean, "row_covariance": rows, "column_covariance": columns}


class _Between:
    """What lies between two distributions, by KL to each of them."""

    def __init__(self, measured: tuple[tuple[MatrixNormal, Array], ...]) -> None:
        self._measured = measured

    def _kl(self, other: MatrixNormal) -> Array:
        return next(value for side, value in self._measured if side is other)


def kronecker(xp: Namespace, rows: Triangular, columns: Triangular) -> Triangular:
    """The Kronecker product, whose less is E⊗1 + 1⊗F + E⊗F."""
    e, f = rows.less, columns.less
    one, other = identity(xp, e), identity(xp, f)
    less = _product(xp, e, other) + _product(xp, one, f) + _product(xp, e, f)
    diagonal = rows.diagonal[..., :, None] * columns.diagonal[..., None, :]
    return Triangular(less, xp.reshape(diagonal, (*diagonal.shape[:-2], less.shape[-1])))


def _product(xp: Namespace, x: Array, y: Array) -> Array:
    product = x[..., :, None, :, None] * y[..., None, :, None, :]
    n = x.shape[-1] * y.shape[-1]
    return xp.reshape(product, (*product.shape[:-4], n, n))


def kronecker_excess(xp: Namespace, rows: Triangular, columns: Triangular) -> Array:
    """The excess of the Kronecker product, without forming it."""
    (e, below_e, all_e), (f, below_f, all_f) = (_parts(xp, x) for x in (rows, columns))
    both = e[..., :, None] + f[..., None, :] + e[..., :, None] * f[..., None, :]
    diagonal = rows.diagonal[..., :, None] * columns.diagonal[..., None, :]
    # A line along the diagonal, as a matrix without the rest: each entry alone.
    along = Triangular(both[..., None, None], diagonal[..., None]).excess(xp)
    return xp.sum(along, axis=(-2, -1)) + below_e * all_f + all_e * below_f + below_e * below_f


def _parts(xp: Namespace, x: Triangular) -> tuple[Array, Array, Array]:
    """The diagonal less 1, the squares below it, and those along it."""
    below = xp.sum(xp.tril(x.less, k=-1) ** 2, axis=(-2, -1))
    return xp.linalg.diagonal(x.less), below, xp.sum(x.diagonal**2, axis=-1)
