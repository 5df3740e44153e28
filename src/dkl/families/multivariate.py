"""Normal distributions of vectors, measured by quotients of triangular factors.

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
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from dkl._array import Array, Namespace, epsilon, to_numpy
from dkl.families.constraints import Constraint
from dkl.families.matrices import Definite, LowerTriangular, MatrixParameters, matrix, positive_vector, vector
from dkl.families.moments import detached, hold
from dkl.families.normal import Normal
from dkl.families.triangular import (
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
from dkl.supports import Support, Vectors

LOG_TAU = math.log(2.0 * math.pi)
# Vectors of more numbers are told by their shapes.
_TOLD = 4


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
    return (gap(xp, c, to_p), gap(xp, g.times(c), to_q)), (c, to_p), inside


def _outer(x: Array) -> Array:
    return x[..., :, None] * x[..., None, :]


def gap(xp: Namespace, g: Triangular, w: Array) -> Array:
    """KL from the quotient of the factors and the distance of the means."""
    return 0.5 * g.excess(xp) + 0.5 * xp.sum(w * w, axis=-1)


def _listed(x: Any) -> str:
    """Numbers to six digits, rows in brackets."""
    return f"[{', '.join(map(_listed, x))}]" if x.ndim else f"{x:.6g}"


class VectorNormal(MatrixParameters):
    """What normal distributions of vectors share, however their covariance is given."""

    event_ndim: ClassVar[int] = 1
    means: ClassVar[dict[str, Constraint]] = {"E[x]": vector, "E[xxᵀ]": Definite()}
    constant_carrier: ClassVar[bool] = True
    #: KL to the distributions that this one lies between, if it is a geometric mixture.
    _measured: tuple[tuple[Any, Array], ...] = ()

    @property
    def family(self) -> type:
        """MultivariateNormal, for all of them."""
        return MultivariateNormal

    def __repr__(self) -> str:
        if self.batch_shape or self._d > _TOLD:
            return super().__repr__()
        each = (f"{name}={_listed(to_numpy(x))}" for name, x in self.given.items())
        return f"{type(self).__name__}({', '.join(each)})"

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
        return gap(self.xp, self._quotient(other), self._distance(other))

    def _log_supremum(self, other: Any) -> Array:
        """−log det M + ½·wᵀ(1 − MMᵀ)⁻¹w if no direction of P is wider than Q's, along the eigenvectors of 1 − MMᵀ.

        A direction of equal widths adds nothing where the means agree along it, and else makes it infinite.
        """
        xp, quotient, w = self.xp, self._quotient(other), self._distance(other)
        m = quotient.less + identity(xp, quotient.less)
        gap = identity(xp, m) - m @ xp.matrix_transpose(m)
        # The axes only tell what is what: their derivatives, which equal widths do not have, are not needed.
        widths, axes = xp.linalg.eigh(detached(xp, gap))
        along = (xp.matrix_transpose(axes) @ detached(xp, w)[..., None])[..., 0]
        rounding = 8.0 * self._d * epsilon(xp, widths.dtype)
        wider = widths > rounding
        finite = xp.all(wider | ((xp.abs(widths) <= rounding) & (along**2 <= rounding)), axis=-1)
        filled = gap + (axes * xp.where(wider, 0.0, 1.0 - widths)[..., None, :]) @ xp.matrix_transpose(axes)
        distance = xp.sum(w * xp.linalg.solve(filled, w[..., None])[..., 0], axis=-1)
        value = 0.5 * distance - xp.sum(xp.log(quotient.diagonal), axis=-1)
        return xp.where(finite, xp.where(value > 0, value, 0.0 * value), math.inf)

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
        return -0.5 * (self.xp.sum(z * z, axis=-1) + self._log_det() + self._d * LOG_TAU)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        z = rng.standard_normal((*shape, self._d))
        return to_numpy(self.loc) + (to_numpy(self._factor()) @ z[..., None])[..., 0]

    def cov(self) -> Any:
        """The covariance matrix, whichever way it was given.

        Returns
        -------
        array, shape (..., d, d)

        Examples
        --------
        >>> MultivariateNormal([0.0, 1.0], precision=[[2.0, 0.0], [0.0, 4.0]]).cov()
        array([[0.5 , 0.  ],
               [0.  , 0.25]])
        """
        return self._handed_back(self._whole(self._covariance(), 2))

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
        return self._whole(0.5 * (self._log_det() + self._d * (LOG_TAU + 1.0)))

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[x] and E[xxᵀ]."""
        return self.mean(), self._handed_back(self._whole(_outer(self.loc) + self._covariance(), 2))

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return (x, _outer(x))

    @classmethod
    def _hold_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> None:
        mean, square = means
        if square.shape[-1] != mean.shape[-1]:
            raise ValueError(
                f"{cls.__name__}: E[xxᵀ] of shape {tuple(square.shape)} does not fit E[x] of shape "
                f"{tuple(mean.shape)}: their last axes must be of equal length"
            )


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
        "loc": vector,
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

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        covariance = symmetric(xp, means[1]) - _outer(means[0])
        Definite().hold(xp, covariance, "MultivariateNormal: E[xxᵀ] − E[x]·E[x]ᵀ")
        return {"loc": means[0], "covariance": covariance}


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
        "loc": vector,
        "scale": positive_vector,
        "variance": positive_vector,
        "log_variance": vector,
        "precision": positive_vector,
    }
    means: ClassVar[dict[str, Constraint]] = {"E[x]": vector, "E[x²]": vector}

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

    def _log_supremum(self, other: Any) -> Array:
        if isinstance(other, DiagonalNormal):
            return self.xp.sum(self._each._log_supremum(other._each), axis=-1)
        return super()._log_supremum(other)

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

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[x] and E[x²] of each component."""
        return self.mean(), self._handed_back(self._whole(self.loc**2 + self._each._v, 1))

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return (x, x * x)

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        loc, square = means
        hold(xp, "DiagonalNormal: E[x²]", square, square > loc**2, "above E[x]²", loc**2)
        return {"loc": loc, "scale": xp.sqrt(square - loc**2)}

    @classmethod
    def _hold_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> None:
        """Their shapes broadcast."""


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

    A sum of two members' natural parameters is those of no member: it is no exponential family, and has no member for
    most means. ``from_mean_parameters`` is :class:`MultivariateNormal`'s alone.

    Examples
    --------
    >>> from dkl.families.multivariate import DiagonalNormal, LowRankNormal
    >>> import dkl
    >>> p = LowRankNormal([0.0, 0.0], [[1.0], [1.0]], [1.0, 1.0])
    >>> round(float(dkl.kl(p, DiagonalNormal([0.0, 0.0]))), 12)
    0.450693855666
    """

    constraints: ClassVar[dict[str, Constraint]] = {
        "loc": vector,
        "factor": matrix,
        "diagonal": positive_vector,
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

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        raise NotImplementedError(
            "LowRankNormal is no exponential family, and no formula gives the member nearest to given means; "
            "MultivariateNormal.from_mean_parameters does, with a covariance of full rank"
        )
