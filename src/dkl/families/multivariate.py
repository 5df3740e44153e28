"""Normal distributions of vectors and of matrices, measured by quotients of triangular factors.

With the lower triangular L of each covariance L·Lᵀ, M = L_q⁻¹·L_p and w = L_q⁻¹·(μ_q − μ_p),

    KL(p‖q) = ½·(Σ_{i≥j} E_ij² + 2·Σ_i (E_ii − log(1 + E_ii))) + ½·|w|²,   E = M − 1,

for |M|² is the trace of Σ_q⁻¹Σ_p, and its determinant that of M's diagonal: all parts are non-negative, none needs an
eigenvalue, and E is calculated from the difference of the parameters. The geometric mixture of p and q has the factor
L_p·C, C·Cᵀ = (a + (1 − a)·MᵀM)⁻¹, so that M and w are enough for the whole power family.

How well it is known depends on how p and q are given. Triangular factors lose about ε times their own condition number;
a covariance or a precision, whose factor has to be found, loses ε times *its* condition number: of one of 1e10 about
six digits are left, as many as the rounding of its entries leaves, but factors of that covariance keep eleven.

References
----------
.. [1] T. M. Cover, J. A. Thomas, "Elements of Information Theory", 2nd edition (2006), theorem 8.4.1 (entropy).
.. [2] J. E. Gentle, "Matrix Algebra" (2007), 5.9 (triangular factors).
.. [3] A. K. Gupta, D. K. Nagar, "Matrix Variate Distributions" (1999), chapter 2.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from dkl._array import Array, Namespace, epsilon, first_failing, holds, to_numpy, widest
from dkl.families.base import Constraint, ExponentialFamily, positive, real
from dkl.families.normal import Normal
from dkl.families.special import (
    Triangular,
    factor_between,
    factor_of_inverse,
    identity,
    lower_apply,
    lower_solve,
    quotient_of_definite,
    quotient_of_factors,
    quotient_of_inverses,
    symmetric,
)
from dkl.supports import Matrices, Support, Vectors

_vector = Constraint("finite", real.met, 1)
_positive_vector = Constraint("positive and finite", positive.met, 1)
_matrix = Constraint("finite", real.met, 2)
_LOG_TAU = math.log(2.0 * math.pi)


class Definite(Constraint):
    """A symmetric positive definite matrix along the last two axes."""

    def __init__(self) -> None:
        super().__init__("finite", real.met, 2)

    def hold(self, xp: Namespace, x: Array, name: str) -> None:
        """Raise a ValueError that names the matrix of the batch and what is wrong with it; not where it is hidden."""
        _hold_square(x, name)
        sizes = xp.sqrt(xp.abs(xp.linalg.diagonal(x)))
        scale = sizes[..., :, None] * sizes[..., None, :]
        good = xp.abs(x - xp.matrix_transpose(x)) <= math.sqrt(epsilon(xp, x.dtype)) * scale
        symmetric_to_see = holds(xp.all(good))
        if symmetric_to_see is None:
            return
        if not symmetric_to_see:
            *batch, i, j = np.argwhere(~to_numpy(good))[0].tolist()
            one, other = (float(to_numpy(x)[(*batch, *at)]) for at in ((i, j), (j, i)))
            raise ValueError(
                f"{name}{_index(*batch, i, j)} = {one:.9g} is not {name}{_index(*batch, j, i)} = {other:.9g}: it must "
                "be symmetric within rounding; ½·(x + xᵀ) is"
            )
        if not _has_factor(xp, widest(xp, x)):
            matrices = to_numpy(x).astype(np.float64)
            least = np.linalg.eigvalsh(matrices)[..., 0]
            relative = least / np.abs(matrices).max(axis=(-2, -1))
            where = np.unravel_index(int(np.argmin(relative)), least.shape)
            raise ValueError(
                f"{name}{_index(*where)} is not positive definite within rounding: its smallest eigenvalue is "
                f"{least[where]:.3g}; a degenerate distribution has no density, leave out what the rest determines"
            )


class LowerTriangular(Constraint):
    """A lower triangular matrix with a positive diagonal along the last two axes."""

    def __init__(self) -> None:
        super().__init__("finite", real.met, 2)

    def hold(self, xp: Namespace, x: Array, name: str) -> None:
        """Raise a ValueError that names the entry that is out of place."""
        _hold_square(x, name)
        if holds(xp.all(x == xp.tril(x))) is False:
            at, value = first_failing(x, x == xp.tril(x))
            raise ValueError(f"{name}{at} = {value:g} lies above the diagonal: it must be lower triangular")
        good = (x > 0) | (identity(xp, x) == 0)
        if holds(xp.all(good)) is False:
            at, value = first_failing(x, good)
            raise ValueError(f"{name}{at} = {value:g} lies on the diagonal, which must be positive")


class MatrixParameters(ExponentialFamily):
    """A family some of whose parameters are matrices with a structure that is checked."""

    def _check(self, name: str, x: Array) -> None:
        super()._check(name, x)
        constraint = self.constraints[name]
        if isinstance(constraint, Definite | LowerTriangular):
            constraint.hold(self.xp, x, f"{type(self).__name__}: {name}")

    def _hold_sizes(self, **axes: tuple[int, str, int]) -> None:
        """Each parameter's axis must be as long as another's: name=(its axis, the other's name, the other's axis)."""
        for name, (axis, other, its) in axes.items():
            x, y = self.parameters.get(name), self.parameters[other]
            if x is not None and x.shape[axis] != y.shape[its]:
                raise ValueError(
                    f"{type(self).__name__}: {name} of shape {tuple(x.shape)} does not fit {other} of shape "
                    f"{tuple(y.shape)}: axis {axis} of the one must be as long as axis {its} of the other"
                )

    def _whole(self, x: Array, ndim: int = 0) -> Array:
        """An array of the whole batch, with so many trailing axes of its own."""
        own = tuple(x.shape)[len(x.shape) - ndim :]
        return self.xp.broadcast_to(x, (*self.batch_shape, *own))


def _has_factor(xp: Namespace, x: Array) -> bool:
    """Whether Cholesky's factor can be found: the libraries raise each its own error, or answer nan."""
    try:
        factor = xp.linalg.cholesky(symmetric(xp, x.detach() if hasattr(x, "detach") else x))
    except (np.linalg.LinAlgError, RuntimeError):
        return False
    return holds(xp.all(xp.isfinite(factor))) is not False


def _hold_square(x: Array, name: str) -> None:
    if x.shape[-1] != x.shape[-2] or x.shape[-1] == 0:
        raise ValueError(f"{name} of shape {tuple(x.shape)} is not square: its last two axes must be of equal length")


def _index(*at: Any) -> str:
    return f"[{', '.join(str(int(i)) for i in at)}]" if at else ""


def between(
    xp: Namespace, g: Triangular, w: Array, a: float
) -> tuple[tuple[Array, Array], tuple[Triangular, Array], Array]:
    """The geometric mixture M of p and q from their quotient and distance: (KL(M‖p), KL(M‖q)), its place, where it is.

    Its place is its factor C and mean ν against p: the factor L_p·C, the mean μ_p + L_p·ν.
    """
    c, inside = factor_between(xp, g, a)
    factor, quotient = c.less + identity(xp, c.less), g.less + identity(xp, g.less)
    # μ_M = μ_p + (1 − a)·Σ_M·Σ_q⁻¹·(μ_q − μ_p).
    v = xp.matrix_transpose(factor) @ (xp.matrix_transpose(quotient) @ w[..., None])
    to_p = (1.0 - a) * (factor @ v)[..., 0]
    to_q = (quotient @ to_p[..., None])[..., 0] - w
    return (_gap(xp, c, to_p), _gap(xp, g.times(c), to_q)), (c, to_p), inside


def _gap(xp: Namespace, g: Triangular, w: Array) -> Array:
    """KL from the quotient of the factors and the distance of the means."""
    return 0.5 * g.excess(xp) + 0.5 * xp.sum(w * w, axis=-1)


class VectorNormal(MatrixParameters):
    """What normal distributions of vectors share, however their covariance is given."""

    event_ndim: ClassVar[int] = 1
    #: KL to the distributions that this one lies between, if it is a geometric mixture.
    _measured: tuple[tuple[Any, Array], ...] = ()

    @property
    def family(self) -> type:
        """MultivariateNormal, for all of them."""
        return MultivariateNormal

    @property
    def _d(self) -> int:
        return int(self.loc.shape[-1])

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The length of a vector."""
        return (self._d,)

    @property
    def support(self) -> Support:
        """All vectors of that length."""
        return Vectors(self._d)

    @abstractmethod
    def _matrices(self) -> dict[str, Array]:
        """Those of cholesky, covariance and precision that are known without solving for them."""

    def _factor(self) -> Array:
        """The lower triangular factor of the covariance."""
        known = self._matrices()
        if "cholesky" in known:
            return known["cholesky"]
        if "covariance" in known:
            return self.xp.linalg.cholesky(known["covariance"])
        return factor_of_inverse(self.xp, known["precision"])[0]

    def _unfactored(self, v: Array) -> Array:
        """L⁻¹·v with the lower triangular factor."""
        known = self._matrices()
        if "precision" in known:
            return (factor_of_inverse(self.xp, known["precision"])[1] @ v[..., None])[..., 0]
        return lower_apply(self.xp, self._factor(), v)

    def _whitened(self, v: Array) -> Array:
        """Vectors whose square is vᵀΣ⁻¹v."""
        return self._unfactored(v)

    def _log_det(self) -> Array:
        """Of the covariance."""
        return 2.0 * self.xp.sum(self.xp.log(self.xp.linalg.diagonal(self._factor())), axis=-1)

    def _apart(self, other: Any, kind: str) -> Array:
        """The difference of two matrices of one kind."""
        return self._matrices()[kind] - other._matrices()[kind]

    def _quotient(self, other: Any) -> Triangular:
        """L_q⁻¹·L_p, by what both are given by."""
        xp, mine, its = self.xp, self._matrices(), other._matrices()
        if "cholesky" in mine and "cholesky" in its:
            return quotient_of_factors(xp, mine["cholesky"], its["cholesky"])
        if "covariance" in mine and "covariance" in its:
            return quotient_of_definite(xp, mine["covariance"], its["covariance"], self._apart(other, "covariance"))
        if "precision" in mine and "precision" in its:
            return quotient_of_inverses(xp, mine["precision"], its["precision"], -self._apart(other, "precision"))
        return quotient_of_factors(xp, self._factor(), other._factor())

    def _distance(self, other: Any) -> Array:
        """L_q⁻¹·(μ_q − μ_p)."""
        return other._unfactored(other.loc - self.loc)

    def _kl(self, other: Any) -> Array:
        for side, value in self._measured:
            if side is other:
                return value
        return _gap(self.xp, self._quotient(other), self._distance(other))

    def _natural(self) -> tuple[Array, ...]:
        xp = self.xp
        inverse = lower_solve(xp, self._factor(), identity(xp, self._factor()))
        precision = self._matrices().get("precision", xp.matrix_transpose(inverse) @ inverse)
        return (self._whole((precision @ self.loc[..., None])[..., 0], 1), self._whole(precision, 2))

    def _with_natural(self, theta: tuple[Array, ...]) -> Any:
        factor = factor_of_inverse(self.xp, theta[1])[0]
        loc = factor @ (self.xp.matrix_transpose(factor) @ theta[0][..., None])
        return MultivariateNormal._raw(self, loc=loc[..., 0], precision=theta[1])

    def _inside(self, theta: tuple[Array, ...]) -> Array:
        return self.xp.linalg.eigvalsh(theta[1])[..., 0] > 0

    def mixed(self, other: Any, weight: float) -> tuple[Any, Array]:
        """The member that is this^a·other^(1−a) but for a factor, and where there is one; elsewhere this one.

        It is found beside the two, and measured against them there: their own condition does not enter.
        """
        if weight < 0:
            return other.mixed(self, 1.0 - weight)  # type: ignore[no-any-return]
        xp = self.xp
        values, (c, nu), inside = between(xp, self._quotient(other), self._distance(other), weight)
        factor = self._factor()
        loc = self.loc + (factor @ nu[..., None])[..., 0]
        made = MultivariateNormal._raw(self, loc=loc, cholesky=factor + factor @ c.less)
        made._measured = ((self, values[0]), (other, values[1]))
        return made, inside

    def _log_prob(self, x: Array) -> Array:
        z = self._whitened(x - self.loc)
        return -0.5 * (self.xp.sum(z * z, axis=-1) + self._log_det() + self._d * _LOG_TAU)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        z = rng.standard_normal((*shape, self._d))
        return to_numpy(self.loc) + (to_numpy(self._factor()) @ z[..., None])[..., 0]

    def _covariance(self) -> Array:
        known = self._matrices()
        if "covariance" in known:
            return known["covariance"]
        factor = self._factor()
        return factor @ self.xp.matrix_transpose(factor)

    def _mean(self) -> Array:
        return self._whole(self.loc, 1)

    def _var(self) -> Array:
        return self._whole(self.xp.linalg.diagonal(self._covariance()), 1)

    def _entropy(self) -> Array:
        return self._whole(0.5 * (self._log_det() + self._d * (_LOG_TAU + 1.0)))

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[x] and E[xxᵀ]."""
        outer = self.loc[..., :, None] * self.loc[..., None, :]
        return self.mean(), self._handed_back(outer + self._covariance())


class MultivariateNormal(VectorNormal):
    """Normal distribution of a vector with mean ``loc``, its covariance given in one of three ways.

    Parameters
    ----------
    loc : array_like
        The mean, along the last axis.
    covariance : array_like
        Symmetric and positive definite along the last two axes.
    precision : array_like
        The inverse of the covariance.
    cholesky : array_like
        The lower triangular factor L with positive diagonal of the covariance L·Lᵀ.

    Notes
    -----
    KL(p‖q) = ½·Σ (r − 1 − log r) + ½·(μ_q − μ_p)ᵀΣ_q⁻¹(μ_q − μ_p) with r the eigenvalues of Σ_q⁻¹Σ_p; how it is
    calculated, and what a large condition number costs, is told at the head of :mod:`dkl.families.multivariate`.

    Of a matrix that is symmetric within √ε the symmetric part is used, for values and gradients.

    Examples
    --------
    >>> from dkl.families.multivariate import MultivariateNormal
    >>> import dkl
    >>> p = MultivariateNormal([0.0, 0.0], [[1.0, 0.5], [0.5, 1.0]])
    >>> q = MultivariateNormal([1.0, 0.0], precision=[[1.0, 0.0], [0.0, 1.0]])
    >>> round(float(dkl.kl(p, q)), 12)
    0.643841036226
    """

    constraints: ClassVar[dict[str, Constraint]] = {
        "loc": _vector,
        "covariance": Definite(),
        "precision": Definite(),
        "cholesky": LowerTriangular(),
    }

    def __init__(self, loc: Any, covariance: Any = None, *, precision: Any = None, cholesky: Any = None) -> None:
        if sum(x is not None for x in (covariance, precision, cholesky)) != 1:
            raise TypeError(f"{type(self).__name__} takes exactly one of covariance, precision and cholesky")
        super().__init__(loc=loc, covariance=covariance, precision=precision, cholesky=cholesky)
        self._hold_sizes(covariance=(-1, "loc", -1), precision=(-1, "loc", -1), cholesky=(-1, "loc", -1))

    def _matrices(self) -> dict[str, Array]:
        return {
            name: x if name == "cholesky" else symmetric(self.xp, x)
            for name, x in self.parameters.items()
            if name != "loc"
        }


class DiagonalNormal(VectorNormal):
    """Normal distribution of a vector of independent components, each as a :class:`~dkl.families.Normal`.

    Parameters
    ----------
    loc : array_like
        The mean, along the last axis.
    scale, variance, log_variance, precision : array_like
        At most one of them, along the last axis, or a single number for all components; ``scale`` is the standard
        deviation, 1 if nothing is given.

    Notes
    -----
    Against another of its kind, KL is Normal's summed over the components; against other normal distributions of
    vectors it is theirs.

    Examples
    --------
    >>> from dkl.families.multivariate import DiagonalNormal
    >>> import dkl
    >>> float(dkl.kl(DiagonalNormal([0.0, 1.0], [1.0, 1.0]), DiagonalNormal([0.0, 0.0])))
    0.5
    """

    constraints: ClassVar[dict[str, Constraint]] = {
        "loc": _vector,
        "scale": _positive_vector,
        "variance": _positive_vector,
        "log_variance": _vector,
        "precision": _positive_vector,
    }

    def __init__(
        self,
        loc: Any,
        scale: Any = None,
        *,
        variance: Any = None,
        log_variance: Any = None,
        precision: Any = None,
    ) -> None:
        given = {"scale": scale, "variance": variance, "log_variance": log_variance, "precision": precision}
        given = {name: x for name, x in given.items() if x is not None} or {"scale": 1.0}
        if len(given) > 1:
            raise TypeError(f"{type(self).__name__} takes one of scale, variance, log_variance and precision")
        # A single number goes for all components.
        super().__init__(loc=loc, **{name: [x] if isinstance(x, int | float) else x for name, x in given.items()})
        ((name, width),) = ((name, x) for name, x in self.parameters.items() if name != "loc")
        if width.shape[-1] == 1:
            self.parameters[name] = self.xp.broadcast_to(width, (*width.shape[:-1], self._d))
        self._hold_sizes(**{name: (-1, "loc", -1)})

    @property
    def _each(self) -> Normal:
        """The components."""
        return Normal._raw(self, **self.parameters)

    def _matrices(self) -> dict[str, Array]:
        one, each = identity(self.xp, self.loc), self._each
        if "precision" in self.parameters:
            return {"precision": self.precision[..., None] * one}
        known = {"covariance": each._v[..., None] * one}
        if "scale" in self.parameters:
            known["cholesky"] = self.scale[..., None] * one
        return known

    def _factor(self) -> Array:
        return self.xp.exp(0.5 * self._each._log_v)[..., None] * identity(self.xp, self.loc)

    def _whitened(self, v: Array) -> Array:
        return v * self.xp.exp(-0.5 * self._each._log_v)

    def _log_det(self) -> Array:
        return self.xp.sum(self._each._log_v, axis=-1)

    def _kl(self, other: Any) -> Array:
        if isinstance(other, DiagonalNormal) and not any(side is other for side, _ in self._measured):
            return self.xp.sum(self._each._kl(other._each), axis=-1)
        return super()._kl(other)

    def _natural(self) -> tuple[Array, ...]:
        return self._each._natural()

    def _with_natural(self, theta: tuple[Array, ...]) -> Any:
        return DiagonalNormal._raw(self, **self._each._with_natural(theta).parameters)

    def _inside(self, theta: tuple[Array, ...]) -> Array:
        return self.xp.all(self._each._inside(theta), axis=-1)

    def mixed(self, other: Any, weight: float) -> tuple[Any, Array]:
        """The member between the two: of its own kind if both are."""
        if not isinstance(other, DiagonalNormal):
            return super().mixed(other, weight)
        each, its = self._each, other._each
        middle, inside = each.mixed(its, weight)
        made = DiagonalNormal._raw(self, **middle.parameters)
        made._measured = tuple((side, self.xp.sum(middle._kl(x), axis=-1)) for side, x in ((self, each), (other, its)))
        return made, self.xp.all(inside, axis=-1)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return self._each._sample((*shape, self._d), rng)

    def _var(self) -> Array:
        return self._whole(self._each._var(), 1)


class LowRankNormal(VectorNormal):
    """Normal distribution of a vector with covariance W·Wᵀ + diag(d).

    Parameters
    ----------
    loc : array_like
        The mean, along the last axis.
    factor : array_like
        W, of as many rows as the vector has components and any number of columns.
    diagonal : array_like
        d, positive, along the last axis.

    Notes
    -----
    Density, entropy and samples cost the length times the squared rank; a divergence forms the covariance.

    Examples
    --------
    >>> from dkl.families.multivariate import DiagonalNormal, LowRankNormal
    >>> import dkl
    >>> p = LowRankNormal([0.0, 0.0], [[1.0], [1.0]], [1.0, 1.0])
    >>> round(float(dkl.kl(p, DiagonalNormal([0.0, 0.0]))), 12)
    0.450693855666
    """

    constraints: ClassVar[dict[str, Constraint]] = {
        "loc": _vector,
        "factor": _matrix,
        "diagonal": _positive_vector,
    }

    def __init__(self, loc: Any, factor: Any, diagonal: Any) -> None:
        super().__init__(loc=loc, factor=factor, diagonal=diagonal)
        self._hold_sizes(factor=(-2, "loc", -1), diagonal=(-1, "loc", -1))

    def _matrices(self) -> dict[str, Array]:
        w = self.factor
        return {"covariance": w @ self.xp.matrix_transpose(w) + self.diagonal[..., None] * identity(self.xp, self.loc)}

    def _apart(self, other: Any, kind: str) -> Array:
        if not isinstance(other, LowRankNormal) or other.factor.shape[-1] != self.factor.shape[-1]:
            return super()._apart(other, kind)
        # W_p·W_pᵀ − W_q·W_qᵀ is the symmetric part of (W_p − W_q)·(W_p + W_q)ᵀ.
        xp, w, v = self.xp, self.factor, other.factor
        low = symmetric(xp, (w - v) @ xp.matrix_transpose(w + v))
        return low + (self.diagonal - other.diagonal)[..., None] * identity(xp, self.loc)

    def _scaled(self) -> tuple[Array, Array]:
        """V = diag(d)^(−½)·W, and the lower triangular factor of 1 + VᵀV."""
        xp = self.xp
        v = self.factor / xp.sqrt(self.diagonal)[..., None]
        square = xp.matrix_transpose(v) @ v
        return v, xp.linalg.cholesky(square + identity(xp, square))

    def _whitened(self, v: Array) -> Array:
        # vᵀΣ⁻¹v is the least of |diag(d)^(−½)·(v − W·z)|² + |z|²: two squares, where Woodbury's formula subtracts.
        xp = self.xp
        scaled, inner = self._scaled()
        u = (v / xp.sqrt(self.diagonal))[..., None]
        inverse = lower_solve(xp, inner, identity(xp, inner))
        z = xp.matrix_transpose(inverse) @ (inverse @ (xp.matrix_transpose(scaled) @ u))
        rest = u - scaled @ z
        batch = np.broadcast_shapes(rest.shape[:-2], z.shape[:-2])
        return xp.concat([xp.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (rest, z)], axis=-2)[..., 0]

    def _log_det(self) -> Array:
        xp = self.xp
        inner = xp.log(xp.linalg.diagonal(self._scaled()[1]))
        return xp.sum(xp.log(self.diagonal), axis=-1) + 2.0 * xp.sum(inner, axis=-1)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        w = self.numbers("factor")
        low = (w @ rng.standard_normal((*shape, w.shape[-1], 1)))[..., 0]
        return self.numbers("loc") + low + np.sqrt(self.numbers("diagonal")) * rng.standard_normal((*shape, self._d))

    def _var(self) -> Array:
        return self._whole(self.diagonal + self.xp.sum(self.factor**2, axis=-1), 1)


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
    rows' and 1 + F of the columns' [3]_: its diagonal is that of e + f + e·f, and its squares add up by those of E and
    F, so that KL takes no larger matrix than these. Its relatives take the Kronecker product itself, as the geometric
    mixture of two of this kind is not of this kind.

    Examples
    --------
    >>> from dkl.families.multivariate import MatrixNormal
    >>> import dkl
    >>> p = MatrixNormal([[1.0, 0.0]], [[1.0]], [[1.0, 0.0], [0.0, 1.0]])
    >>> q = MatrixNormal([[0.0, 0.0]], [[2.0]], [[0.5, 0.0], [0.0, 0.5]])
    >>> round(float(dkl.kl(p, q)), 12)
    0.5
    """

    constraints: ClassVar[dict[str, Constraint]] = {
        "loc": _matrix,
        "row_covariance": Definite(),
        "column_covariance": Definite(),
    }
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
        return -0.5 * (self.xp.sum(z * z, axis=(-2, -1)) + self._log_det() + n * m * _LOG_TAU)

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
        return self._whole(0.5 * (self._log_det() + n * m * (_LOG_TAU + 1.0)))

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[x], and E[x_ij·x_kl] with axes i, j, k, l."""
        rows, columns = self._covariances()
        spread = rows[..., :, None, :, None] * columns[..., None, :, None, :]
        square = self.loc[..., :, :, None, None] * self.loc[..., None, None, :, :]
        return self.mean(), self._handed_back(square + spread)


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


__all__ = ["DiagonalNormal", "LowRankNormal", "MatrixNormal", "MultivariateNormal"]
