"""Rigorous bounds on the KL of two mixtures of one exponential family, by closed forms of their components.

References
----------
.. [1] J. Hershey, P. Olsen, "Approximating the Kullback Leibler divergence between Gaussian mixture models", ICASSP
   (2007).
.. [2] J.-L. Durrieu, J.-P. Thiran, F. Kelly, "Lower and upper bounds for approximation of the Kullback-Leibler
   divergence between Gaussian mixture models", ICASSP (2012).
.. [3] A. Kolchinsky, B. Tracey, "Estimating mixture entropy with pairwise distances", Entropy 19 (2017).
.. [4] M. D. Donsker, S. R. S. Varadhan, "Asymptotic evaluation of certain Markov process expectations for large time,
   IV", Communications on Pure and Applied Mathematics 36 (1983).
"""

from __future__ import annotations

import math
from typing import Any

from dkl._array import Array, as_scalar, epsilon, logsumexp
from dkl.families.exponential import ExponentialFamily, related
from dkl.families.matrix_normal import MatrixNormal
from dkl.families.multivariate import DiagonalNormal, MultivariateNormal, VectorNormal
from dkl.families.normal import Normal
from dkl.families.triangular import identity, lower_apply, lower_solve
from dkl.mixture.density import Mixture, broadcast, member, remade

# Rounds of the variational upper bound; it falls with each and is a bound after any.
_ROUNDS = 60
# Powers of the ratio of two members in the lower bound of [4]; it holds at each, and the best is taken.
_POWERS = (1.0, 0.75, 0.5, 0.25)


def kl_bounds(p: Any, q: Any) -> tuple[Any, Any] | None:
    """A rigorous lower and upper bound on KL(P‖Q) of two mixtures of one exponential family, in any dimension.

    Parameters
    ----------
    p, q : Mixture or ExponentialFamily
        Mixtures of a batch, or of a list, of one exponential family, or members of it.

    Returns
    -------
    (low, high) : arrays or scalars, or None
        In nats, moved apart by what rounding may have done; None where the components are not of one exponential
        family.

    Notes
    -----
    With the weights π of P and ω of Q, and BC = ∫ √(pq), the upper bound is the lesser of the variational bound of
    [1], eq. 20, and

        Σ π_a·(log Σ π_a'·BC(a, a') − log Σ ω_b·exp(−KL(a‖b))),

    whose first part bounds the negative entropy of P from above ([3], eq. 14) and whose second the cross-entropy ([2],
    eq. 13). The lower is the greatest of 0, of

        Σ π_a·(log Σ π_a'·exp(−KL(a‖a')) − 2·log Σ √ω_b·BC(a, b)),

    by KL ≥ Rényi's divergence of order 1/2, for Gaussian components of [2], eq. 17, where the last sum is
    log Σ ω_b·∫ p_a·q_b and the entropy of a is subtracted, and, where Q is one member of the family, of that with its
    own cross-entropy, Σ π_a·(log Σ π_a'·exp(−KL(a‖a')) + KL(a‖Q)).

    Last, KL(P‖Q) ≥ E_P[f] − log E_Q[exp f] for any f [4]. With f = t·log(m/n) for two members m and n of the family, it
    is a sum of closed forms, as b·(m/n)^t is a member c but for a factor:

        t·Σ π_a·(KL(a‖n) − KL(a‖m)) − log Σ ω_b·exp(t·KL(c‖n) − t·KL(c‖m) − KL(c‖b)).

    For m and n are taken the normal distributions with the means and covariances of P and Q, or the members with the
    mean natural parameters. Where Q is normal, that is KL(m‖Q). O(components²) closed forms.

    Examples
    --------
    >>> import dkl
    >>> from dkl.mixture import Mixture, kl_bounds
    >>> p = Mixture(dkl.families.Normal([-2.0, 2.0], 1.0), [0.5, 0.5])
    >>> low, high = kl_bounds(p, dkl.families.Normal(0.0, 2.0))
    >>> bool(0.12 < low <= 0.185427 <= high < 0.26)
    True
    """
    left, right = _as_batch(p), _as_batch(q)
    if left is None or right is None:
        return None
    together = related(left[0], right[0])
    if together is None:
        return None
    a, b = _of_one_kind(*together)
    log_pi, log_omega = left[1], right[1]
    if a.xp is not left[0].xp:
        log_pi = a.xp.asarray(log_pi)
    if b.xp is not right[0].xp:
        log_omega = b.xp.asarray(log_omega)
    xp = a.xp
    kl_ab, overlap_ab, product = _pairwise(a, b)
    kl_aa, overlap_aa, _ = _pairwise(a, a)
    pi = xp.exp(log_pi)

    own_low = logsumexp(xp, log_pi[..., None, :] - kl_aa)
    own_high = logsumexp(xp, log_pi[..., None, :] + overlap_aa)
    cross_low = logsumexp(xp, log_omega[..., None, :] - kl_ab)
    cross_high = 2.0 * logsumexp(xp, 0.5 * log_omega[..., None, :] + overlap_ab)
    lows = [_mean(xp, pi, own_low - cross_high)]
    if not isinstance(a, MatrixNormal):  # the ratio of two is of no such form
        lows.append(_tilted(a, log_pi, b, log_omega))
    if product is not None:
        with_products = own_low - logsumexp(xp, log_omega[..., None, :] + product) - xp.astype(a._entropy(), pi.dtype)
        lows.append(_mean(xp, pi, with_products))
    if kl_ab.shape[-1] == 1:
        lows.append(_mean(xp, pi, own_low + kl_ab[..., 0]))
    high = xp.minimum(_mean(xp, pi, own_high - cross_low), _variational(xp, log_pi, log_omega, kl_ab))
    high = xp.where(high > 0, high, 0.0)
    low = 0.0 * high
    for each in lows:
        low = xp.where(each > low, each, low)
    # All are differences of numbers of about this size, and no nearer to the truth than their rounding.
    size = 1.0 + _mean(xp, pi, xp.abs(own_high) + xp.abs(cross_low))
    blur = 16.0 * epsilon(xp, high.dtype) * size
    low, high = xp.where(low > blur, low - blur, 0.0), high + blur
    return as_scalar(xp.where(low < high, low, high)), as_scalar(high)


def _mean(xp: Any, weights: Array, values: Array) -> Array:
    return xp.sum(xp.where(weights > 0, weights * xp.where(weights > 0, values, 0.0), 0.0), axis=-1)


def _as_batch(x: Any) -> tuple[ExponentialFamily, Array] | None:
    """The components as one batch, and the logarithms of their weights."""
    if isinstance(x, Mixture):
        return (x.components, x._log_weights()) if isinstance(x.components, ExponentialFamily) else None
    if not isinstance(x, ExponentialFamily):
        return None
    dtype = next(iter(x.parameters.values())).dtype
    return _inserted(broadcast(x, x.batch_shape), -1), x.xp.zeros((*x.batch_shape, 1), dtype=dtype)


def _of_one_kind(a: Any, b: Any) -> tuple[Any, Any]:
    """Both with natural parameters of one form, which normal vectors have by the way in which they are given."""
    if type(a) is type(b) or not isinstance(a, VectorNormal):
        return a, b
    whole = (MultivariateNormal._raw(x, loc=x._mean(), covariance=x._covariance()) for x in (a, b))
    return next(whole), next(whole)


def _inserted(x: Any, axis: int) -> Any:
    """The batch with an axis of length 1 before its last one, or after it."""
    parameters = {n: x.xp.expand_dims(v, axis=axis - x.constraints[n].ndim) for n, v in x.parameters.items()}
    shape = list(x.batch_shape)
    shape.insert(len(shape) + axis + 1, 1)
    return remade(x, parameters, tuple(shape))


def _pairwise(a: Any, b: Any) -> tuple[Array, Array, Array | None]:
    """KL(a‖b), log ∫ √(a·b) and log ∫ a·b of every pair, one row of pairs after another: all would not fit.

    The last is known of families whose densities are exp(θ·T − A) without a factor that varies: the product is then
    exp(A(θ_a + θ_b) − A(θ_a) − A(θ_b)) times the member of θ_a + θ_b, and its value at any one point tells the factor.
    """
    if isinstance(a, VectorNormal) and not isinstance(a, DiagonalNormal):
        return _pairwise_normal(a, b)
    xp, whole = a.xp, broadcast(a, a.batch_shape)
    kls, overlaps, products = [], [], []
    for k in range(a.batch_shape[-1]):
        one = member(whole, (..., slice(k, k + 1)))
        kls.append(one._kl(b))
        middle, _ = one.mixed(b, 0.5)
        overlaps.append(-0.5 * (middle._kl(one) + middle._kl(b)))
        if a.constant_carrier:
            theta = tuple(s + t for s, t in zip(one._natural(), b._natural(), strict=True))
            joint = one._with_natural(theta)
            at = joint._mean()
            products.append(one._log_prob(at) + b._log_prob(at) - joint._log_prob(at))
    stacked = [xp.stack(rows, axis=-2) for rows in (kls, overlaps)]
    return stacked[0], stacked[1], xp.stack(products, axis=-2) if products else None


def _pairwise_normal(a: Any, b: Any) -> tuple[Array, Array, Array]:
    """The same of normal vectors: a product of factors and one factor of Σ_a + Σ_b a pair, for there are many pairs.

    Where two are nearly equal this loses digits that :meth:`_kl` keeps; the bounds have no use for them.
    """
    xp, d = a.xp, a.event_shape[0]
    factors = [xp.broadcast_to(x._factor(), (*x.batch_shape, d, d)) for x in (a, b)]
    covariances = [xp.broadcast_to(x._covariance(), (*x.batch_shape, d, d)) for x in (a, b)]
    sizes = [xp.sum(xp.log(xp.linalg.diagonal(x)), axis=-1) for x in factors]
    unfactored = lower_solve(xp, factors[1], identity(xp, factors[1]))
    kls, overlaps, products = [], [], []
    for k in range(a.batch_shape[-1]):
        row = slice(k, k + 1)
        apart = b._mean() - a._mean()[..., row, :]
        quotient = unfactored @ factors[0][..., row, :, :]
        w = (unfactored @ apart[..., None])[..., 0]
        squares = xp.sum(quotient**2, axis=(-2, -1)) + xp.sum(w * w, axis=-1)
        kls.append(0.5 * (squares - d) + sizes[1] - sizes[0][..., row])
        both = xp.linalg.cholesky(covariances[0][..., row, :, :] + covariances[1])
        size = xp.sum(xp.log(xp.linalg.diagonal(both)), axis=-1)
        z = lower_apply(xp, both, apart)
        distance = xp.sum(z * z, axis=-1)
        products.append(-0.5 * (distance + d * math.log(2.0 * math.pi)) - size)
        # The covariance in the middle is half of the sum.
        middle = size - 0.5 * d * math.log(2.0)
        overlaps.append(0.5 * (sizes[0][..., row] + sizes[1]) - middle - 0.25 * distance)
    return xp.stack(kls, axis=-2), xp.stack(overlaps, axis=-2), xp.stack(products, axis=-2)


def _tilted(a: Any, log_pi: Array, b: Any, log_omega: Array) -> Array:
    """The lower bound of [4] by the ratio of two members, at the best of some powers of it; −inf if none is finite."""
    xp = a.xp
    m, n = _centre(a, xp.exp(log_pi)), _centre(b, xp.exp(log_omega))
    gained = _mean(xp, xp.exp(log_pi), a._kl(n) - a._kl(m))
    b = broadcast(b, b.batch_shape)
    best = -math.inf + 0.0 * gained
    for t in _POWERS:
        moved = tuple(x + t * (y - z) for x, y, z in zip(b._natural(), m._natural(), n._natural(), strict=True))
        inside = b._inside(moved)
        kept = (
            xp.where(inside[(..., *(None,) * (x.ndim - inside.ndim))], x, y)
            for x, y in zip(moved, b._natural(), strict=True)
        )
        c = b._with_natural(tuple(kept))
        exponents = xp.where(inside, t * (c._kl(n) - c._kl(m)) - c._kl(b), math.inf)
        # A component without weight may lie where there is no such member.
        lost = logsumexp(xp, xp.where(log_omega > -math.inf, log_omega + exponents, -math.inf))
        bound = xp.where(lost < math.inf, t * gained - xp.where(lost < math.inf, lost, 0.0), -math.inf)
        best = xp.where(bound > best, bound, best)
    return best


def _centre(a: Any, pi: Array) -> Any:
    """One member for all components: normal with the mean and covariance of the mixture, or with the mean θ."""
    xp = a.xp

    def mean(x: Array, ndim: int) -> Array:
        return xp.sum(pi[(..., *(None,) * ndim)] * x, axis=-1 - ndim, keepdims=True)

    if isinstance(a, Normal | DiagonalNormal):
        ndim = a.event_ndim
        variance = a._v if isinstance(a, Normal) else a._var()
        loc = mean(a.loc, ndim)
        return type(a)._raw(a, loc=loc, variance=mean(variance + (a.loc - loc) ** 2, ndim))
    if isinstance(a, VectorNormal):
        loc = mean(a.loc, 1)
        apart = a.loc - loc
        covariance = mean(a._covariance() + apart[..., :, None] * apart[..., None, :], 2)
        return MultivariateNormal._raw(a, loc=loc, covariance=covariance)
    whole = broadcast(a, a.batch_shape)
    ndims = (x.ndim - len(a.batch_shape) for x in whole._natural())
    theta = tuple(mean(x, ndim) for x, ndim in zip(whole._natural(), ndims, strict=True))
    return member(whole, (..., slice(0, 1)))._with_natural(theta)


def _variational(xp: Any, log_pi: Array, log_omega: Array, kl: Array) -> Array:
    """The variational upper bound: Σ φ·(log(φ/ψ) + KL(a‖b)) with φ summing to π over b and ψ to ω over a."""
    log_pi, log_omega = log_pi[..., :, None], log_omega[..., None, :]
    log_phi = log_pi + log_omega + 0.0 * kl
    log_psi = log_phi
    for _ in range(_ROUNDS):
        log_psi = log_omega + log_phi - _safe(xp, logsumexp(xp, xp.matrix_transpose(log_phi)))[..., None, :]
        tilted = log_psi - kl
        log_phi = log_pi + tilted - _safe(xp, logsumexp(xp, tilted))[..., None]
    some = (log_phi > -math.inf) & (log_psi > -math.inf)
    phi = xp.where(some, xp.exp(log_phi), 0.0)
    inner = xp.where(some, log_phi, 0.0) - xp.where(some, log_psi, 0.0) + xp.where(some, kl, 0.0)
    return xp.sum(phi * inner, axis=(-2, -1))


def _safe(xp: Any, x: Array) -> Array:
    return xp.where(x > -math.inf, x, 0.0)
