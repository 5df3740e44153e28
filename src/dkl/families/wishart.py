"""Wishart distributions of positive definite matrices, and of their inverses."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from dkl._array import Array, Namespace, device_of, first_failing, holds, to_numpy
from dkl.families.constraints import Constraint, positive, real
from dkl.families.log_gamma import multigamma_rest_divergence
from dkl.families.matrices import Definite, MatrixParameters
from dkl.families.moments import degrees_above, hold
from dkl.families.special import digamma, gammaln
from dkl.families.triangular import (
    Triangular,
    factor_between,
    factor_of_inverse,
    identity,
    lower_solve,
    norm2,
    quotient_of_definite,
    quotient_of_inverses,
    symmetric,
)
from dkl.supports import PositiveDefinite, Support


class Wishart(MatrixParameters):
    """Wishart distribution: of Σ x·xᵀ over ``df`` normal vectors x of mean 0 and covariance ``scale``.

    Parameters
    ----------
    df : array_like
        Degrees of freedom, above the number of rows less 1; not only whole numbers.
    scale : array_like
        V, symmetric and positive definite along the last two axes; the mean is df·V.

    Notes
    -----
    KL(p‖q) = ½·df_q·Σ (r − 1 − log r) + G(½df_q) − G(½df_p) − G'(½df_p)·½(df_q − df_p) with r the eigenvalues of
    (df_q·V_q)⁻¹·(df_p·V_p), and G(s) = log Γ_d(s) − d·(s·log s − s) convex: two non-negative parts. For d = 1 it is
    that of gamma distributions; the density is eq. 3.2.1 in [1]_.

    References
    ----------
    .. [1] A. K. Gupta, D. K. Nagar, "Matrix Variate Distributions" (1999), chapter 3.

    Examples
    --------
    >>> from dkl.families.wishart import Wishart
    >>> import dkl
    >>> p, q = Wishart(4.0, [[1.0, 0.0], [0.0, 1.0]]), Wishart(3.0, [[2.0, 0.0], [0.0, 2.0]])
    >>> round(float(dkl.kl(p, q)), 12)
    0.309078696218
    """

    constraints: ClassVar[dict[str, Constraint]] = {"df": positive, "scale": Definite()}
    means: ClassVar[dict[str, Constraint]] = {"E[log |x|]": real, "E[x]": Definite()}
    event_ndim: ClassVar[int] = 2
    _measured: tuple[tuple[Any, Array], ...] = ()

    def __init__(self, df: Any, scale: Any) -> None:
        super().__init__(df=df, scale=scale)
        good = self.df > self._d - 1
        if holds(self.xp.all(good)) is False:
            at, value = first_failing(self.df, good)
            raise ValueError(
                f"{type(self).__name__}: df{at} = {value:g} is not above {self._d - 1}, the number of rows of scale "
                "less 1: there is no density"
            )

    @property
    def family(self) -> type:
        """Its own."""
        return type(self)

    @property
    def _d(self) -> int:
        return int(self.scale.shape[-1])

    @property
    def _scale(self) -> Array:
        return symmetric(self.xp, self.scale)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return (self._d, self._d)

    @property
    def support(self) -> Support:
        """The positive definite matrices."""
        return PositiveDefinite(self._d, self._d)

    def _factor(self) -> Array:
        """The lower triangular factor of V."""
        return self.xp.linalg.cholesky(self._scale)

    def _quotient(self, other: Any) -> Triangular:
        """L_q⁻¹·L_p of the factors of V."""
        return quotient_of_definite(self.xp, self._scale, other._scale, symmetric(self.xp, self.scale - other.scale))

    def _kl(self, other: Any) -> Array:
        for side, value in self._measured:
            if side is other:
                return value
        return _gap(self, self._quotient(other), self.df, self.df - other.df, other.df)

    def mixed(self, other: Any, weight: float) -> tuple[Any, Array]:
        """The member that is this^a·other^(1−a) but for a factor, and where there is one; elsewhere this one.

        It is found beside the two, and measured against them there: their own condition does not enter.
        """
        if weight < 0:
            return other.mixed(self, 1.0 - weight)  # type: ignore[no-any-return]
        xp = self.xp
        g = self._quotient(other)
        c, inside = factor_between(xp, g, weight)
        step = (1.0 - weight) * (other.df - self.df)
        inside = inside & (self.df + step > self._d - 1)
        step = xp.where(inside, step, 0.0)
        c = Triangular(xp.where(inside[..., None, None], c.less, 0.0), xp.where(inside[..., None], c.diagonal, 1.0))
        df = self.df + step
        made = type(self)._raw(self, df=df, scale=self._moved_by(c))
        back = xp.where(inside, -weight * (other.df - self.df), self.df - other.df)
        made._measured = (
            (self, _gap(self, c, df, step, self.df)),
            (other, _gap(self, g.times(c), df, back, other.df)),
        )
        return made, inside

    def _moved_by(self, c: Triangular) -> Array:
        """The scale whose factor is this one's times C."""
        factor = self._factor()
        factor = factor + factor @ c.less
        return factor @ self.xp.matrix_transpose(factor)

    def _natural(self) -> tuple[Array, ...]:
        inverse = factor_of_inverse(self.xp, self._scale)[0]
        precision = inverse @ self.xp.matrix_transpose(inverse)
        return (self._whole(self.df), self._whole(precision, 2))

    def _with_natural(self, theta: tuple[Array, ...]) -> Any:
        factor = factor_of_inverse(self.xp, theta[1])[0]
        return type(self)._raw(self, df=theta[0], scale=factor @ self.xp.matrix_transpose(factor))

    def _inside(self, theta: tuple[Array, ...]) -> Array:
        return (theta[0] > self._d - 1) & (self.xp.linalg.eigvalsh(theta[1])[..., 0] > 0)

    def _log_det(self) -> Array:
        return _log_det(self.xp, self._factor())

    def _log_prob(self, x: Array) -> Array:
        xp, df, d = self.xp, self.df, self._d
        lower = xp.linalg.cholesky(symmetric(xp, x))
        trace = norm2(xp, lower_solve(xp, self._factor(), lower))
        return 0.5 * ((df - d - 1.0) * _log_det(xp, lower) - trace - df * self._log_det()) - _log_gamma(self)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        factor = to_numpy(self._factor()) @ _bartlett(self, shape, rng)
        return factor @ np.swapaxes(factor, -1, -2)

    def _mean(self) -> Array:
        return self.df[..., None, None] * self._scale

    def _var(self) -> Array:
        return self.df[..., None, None] * (self._scale**2 + self._outer())

    def _outer(self) -> Array:
        along = self.xp.linalg.diagonal(self._scale)
        return along[..., :, None] * along[..., None, :]

    def _expected_log_det(self) -> Array:
        """E[log |x|]."""
        d = self._d
        return self.xp.sum(digamma(self.xp, _halves(self)), axis=-1) + d * math.log(2.0) + self._log_det()

    def _entropy(self) -> Array:
        df, d = self.df, self._d
        rest = 0.5 * df * (self._log_det() + d) + _log_gamma(self)
        return rest - 0.5 * (df - d - 1.0) * self._expected_log_det()

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[log |x|] and E[x]."""
        return self._handed_back(self._whole(self._expected_log_det())), self._handed_back(self._whole(self._mean(), 2))

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        return (_log_det(xp, xp.linalg.cholesky(symmetric(xp, x))), x)

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        of_log, mean = means
        most = _log_det(xp, xp.linalg.cholesky(symmetric(xp, mean)))
        hold(xp, "Wishart: E[log |x|]", of_log, of_log < most, "below log |E[x]|", most)
        df = degrees_above(xp, most - of_log, mean.shape[-1]) + (mean.shape[-1] - 1.0)
        return {"df": df, "scale": mean / df[..., None, None]}


class InverseWishart(Wishart):
    """Distribution of the inverse of a Wishart-distributed matrix of the inverse scale.

    Parameters
    ----------
    df : array_like
        Degrees of freedom, above the number of rows less 1.
    scale : array_like
        Ψ, symmetric and positive definite along the last two axes; the mean is Ψ/(df − d − 1).

    Notes
    -----
    KL is that of the Wishart distributions of the inverses; the density is eq. 3.4.1 in [1]_, with its degrees of
    freedom less d + 1.

    Where df is too small for a mean or a variance, it is infinite on the diagonal and nan elsewhere.

    References
    ----------
    .. [1] A. K. Gupta, D. K. Nagar, "Matrix Variate Distributions" (1999), chapter 3.

    Examples
    --------
    >>> from dkl.families.wishart import InverseWishart
    >>> InverseWishart(5.0, [[2.0, 0.0], [0.0, 4.0]]).mean()
    array([[1., 0.],
           [0., 2.]])
    """

    means: ClassVar[dict[str, Constraint]] = {"E[log |x|]": real, "E[x⁻¹]": Definite()}

    def _quotient(self, other: Any) -> Triangular:
        apart = symmetric(self.xp, other.scale - self.scale)
        return quotient_of_inverses(self.xp, self._scale, other._scale, apart)

    def _moved_by(self, c: Triangular) -> Array:
        xp = self.xp
        # The factor of the inverse is L·C with L⁻¹ = Uᵀ, so Ψ = U·(C·Cᵀ)⁻¹·Uᵀ.
        inverse = factor_of_inverse(xp, self._scale)[1]
        whole = c.less + identity(xp, c.less)
        half = lower_solve(xp, whole, inverse + 0.0 * whole)
        return xp.matrix_transpose(half) @ half

    def _natural(self) -> tuple[Array, ...]:
        return (self._whole(self.df), self._whole(self._scale, 2))

    def _with_natural(self, theta: tuple[Array, ...]) -> Any:
        return InverseWishart._raw(self, df=theta[0], scale=theta[1])

    def _log_prob(self, x: Array) -> Array:
        xp, df, d = self.xp, self.df, self._d
        lower = xp.linalg.cholesky(symmetric(xp, x))
        trace = norm2(xp, lower_solve(xp, lower, self._factor()))
        return 0.5 * (df * self._log_det() - (df + d + 1.0) * _log_det(xp, lower) - trace) - _log_gamma(self)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        # With Ψ = L·Lᵀ and B of Bartlett, (L⁻ᵀ·B·Bᵀ·L⁻¹)⁻¹ = (B⁻¹·Lᵀ)ᵀ·(B⁻¹·Lᵀ).
        drawn = _bartlett(self, shape, rng)
        half = np.linalg.solve(drawn, np.swapaxes(to_numpy(self._factor()), -1, -2))
        return np.swapaxes(half, -1, -2) @ half

    def _mean(self) -> Array:
        over = self.df - self._d - 1.0
        finite = over > 0
        return self._where_finite(finite, self._scale / self.xp.where(finite, over, 1.0)[..., None, None])

    def _var(self) -> Array:
        over = self.df - self._d
        finite = over > 3
        over = self.xp.where(finite, over, 4.0)[..., None, None]
        spread = (over + 1.0) * self._scale**2 + (over - 1.0) * self._outer()
        return self._where_finite(finite, spread / (over * (over - 1.0) ** 2 * (over - 3.0)))

    def _where_finite(self, finite: Array, x: Array) -> Array:
        xp = self.xp
        none = xp.where(identity(xp, x) > 0, math.inf, math.nan) + xp.zeros_like(identity(xp, x))
        return xp.where(finite[..., None, None], x, none)

    def _expected_log_det(self) -> Array:
        d = self._d
        return self._log_det() - d * math.log(2.0) - self.xp.sum(digamma(self.xp, _halves(self)), axis=-1)

    def _entropy(self) -> Array:
        df, d = self.df, self._d
        rest = 0.5 * df * (d - self._log_det()) + _log_gamma(self)
        return rest + 0.5 * (df + d + 1.0) * self._expected_log_det()

    def mean_parameters(self) -> tuple[Any, ...]:
        """E[log |x|] and E[x⁻¹]."""
        xp = self.xp
        inverse = factor_of_inverse(xp, self._scale)[0]
        precision = inverse @ xp.matrix_transpose(inverse)
        return (
            self._handed_back(self._whole(self._expected_log_det())),
            self._handed_back(self._whole(self.df[..., None, None] * precision, 2)),
        )

    @classmethod
    def _statistics(cls, xp: Namespace, x: Array, known: dict[str, Array]) -> tuple[Array, ...]:
        lower = xp.linalg.cholesky(symmetric(xp, x))
        inverse = lower_solve(xp, lower, identity(xp, lower) + 0.0 * lower)
        return (_log_det(xp, lower), xp.matrix_transpose(inverse) @ inverse)

    @classmethod
    def _of_means(cls, xp: Namespace, means: tuple[Array, ...], known: dict[str, Array]) -> dict[str, Array]:
        of_log, mean = means
        # The scale of the inverse of df·E[x⁻¹]⁻¹: the factor of the inverse of the mean, and its product.
        factor = factor_of_inverse(xp, symmetric(xp, mean))[0]
        least = _log_det(xp, factor)
        hold(xp, "InverseWishart: E[log |x|]", of_log, of_log > least, "above −log |E[x⁻¹]|", least)
        df = degrees_above(xp, of_log - least, mean.shape[-1]) + (mean.shape[-1] - 1.0)
        return {"df": df, "scale": df[..., None, None] * (factor @ xp.matrix_transpose(factor))}


def _gap(like: Wishart, g: Triangular, p: Array, step: Array, q: Array) -> Array:
    """KL of two members from the quotient of their factors, and their degrees of freedom, which are ``step`` apart."""
    xp = like.xp
    apart = step / q
    by = xp.sqrt(p / q)
    # √(df_p/df_q) − 1, from the difference.
    scaled = g.scaled(xp, by, apart / (1.0 + by))
    return 0.5 * q * scaled.excess(xp) + multigamma_rest_divergence(xp, 0.5 * q, 0.5 * p, -0.5 * step, like._d)


def _halves(p: Wishart) -> Array:
    """½·(df − j), the arguments of the gamma functions."""
    xp = p.xp
    return 0.5 * (p.df[..., None] - xp.arange(p._d, dtype=p.df.dtype, device=device_of(p.df)))


def _log_gamma(p: Wishart) -> Array:
    """½·df·d·log 2 + log Γ_d(½·df): the part of the log-normaliser that has no scale in it."""
    d = p._d
    constant = 0.25 * d * (d - 1) * math.log(math.pi)
    return p.xp.sum(gammaln(p.xp, _halves(p)), axis=-1) + constant + 0.5 * math.log(2.0) * d * p.df


def _log_det(xp: Any, lower: Array) -> Array:
    return 2.0 * xp.sum(xp.log(xp.linalg.diagonal(lower)), axis=-1)


def _bartlett(p: Wishart, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """Bartlett's lower triangular factor of a Wishart matrix of scale 1."""
    d = p._d
    drawn = np.tril(rng.standard_normal((*shape, d, d)), k=-1)
    lengths = np.sqrt(rng.chisquare(np.broadcast_to(2.0 * to_numpy(_halves(p)), (*shape, d))))
    drawn[..., np.arange(d), np.arange(d)] = lengths
    return drawn


__all__ = ["InverseWishart", "Wishart"]
