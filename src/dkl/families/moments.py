"""From mean parameters back to the others, where no formula goes back: roots that keep their digits and gradients.

Each equation is written in logarithms in which it is nearly a straight line, with bounds of its root that hold
everywhere, so that Newton's method converges from the first step and a bracket makes sure of it. The iteration sees
numbers without gradients; its last step is made with the library's own operations, and as the derivative of Newton's
step at the root is that of the root itself, it has the exact first gradient.

References
----------
.. [1] H. Alzer, "On some inequalities for the gamma and psi functions", Mathematics of Computation 66 (1997): bounds of
   log x − ψ(x).
.. [2] D. E. Amos, "Computation of modified Bessel functions and their ratios", Mathematics of Computation 28 (1974),
   eqs. 11 and 16.
.. [3] T. P. Minka, "Estimating a Dirichlet distribution" (2000), section 1 (Newton's step) and appendix C (ψ⁻¹).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special

from dkl._array import (
    Array,
    Namespace,
    device_of,
    epsilon,
    first_failing,
    holds,
    is_numpy,
    namespace_of,
    overflowing,
    to_numpy,
)
from dkl.families import bessel
from dkl.families.log_gamma import digamma_step, gamma_rest_curvature, gamma_rest_slope
from dkl.families.special import all_but_each, digamma
from dkl.families.triangular import factor_of_inverse, symmetric

Numbers = np.ndarray[Any, Any]

# A bracket as wide as the floating range is halved to nothing, in logarithms, in fewer steps.
_MOST = 100
# Of alternating between the covariances of rows and of columns; two are enough for a Kronecker product.
_MOST_TURNS = 200
# Of Newton's method for the concentrations of a Dirichlet distribution, which seldom takes ten.
_MOST_STEPS = 20
# Beyond it, and below its reciprocal, the first term of a series has full precision.
_HUGE = 1e100


def hold(xp: Namespace, name: str, x: Array, good: Array, what: str, bound: Array | None = None) -> None:
    """Raise a ValueError unless all of ``x`` is good: what it is not, and the bound that it broke."""
    if holds(xp.all(good)) is not False:
        return
    at, value = first_failing(xp.broadcast_to(x, good.shape), good)
    end = "" if bound is None else f" = {first_failing(xp.broadcast_to(bound, good.shape), good)[1]:.9g}"
    raise ValueError(f"{name}{at} = {value:.9g} is not {what}{end}: no member has this mean")


def detached(xp: Namespace, x: Array) -> Array:
    """The numbers without their gradient."""
    if hasattr(x, "detach"):
        return x.detach()
    if xp.__name__.startswith("jax"):
        import jax

        return jax.lax.stop_gradient(x)
    return x


def _repeated(xp: Namespace, step: Callable[[Any], Any], state: Any) -> Any:
    """``step`` on the state until its last entry is true everywhere, at most ``_MOST`` times."""
    if xp.__name__.startswith("jax") and holds(xp.all(state[-1])) is None:
        import jax

        def counted(turn: tuple[Any, int]) -> tuple[Any, int]:
            return step(turn[0]), turn[1] + 1

        return jax.lax.while_loop(lambda turn: ~xp.all(turn[0][-1]) & (turn[1] < _MOST), counted, (state, 0))[0]
    for _ in range(_MOST):
        state = step(state)
        if holds(xp.all(state[-1])) is True:
            break
    return state


@overflowing
def inverse(
    xp: Namespace, function: Callable[[Array], tuple[Array, Array]], target: Array, low: Array, high: Array
) -> Array:
    """The positive x with F(x) = target, for an F that is below its target left of the root, and above it right of it.

    ``function`` gives F(x) and its slope in log x; the root lies between ``low`` and ``high`` but for rounding.
    """
    aim, low, high = (detached(xp, z) for z in xp.broadcast_arrays(target, low, high))
    enough = math.sqrt(epsilon(xp, aim.dtype))

    def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
        x, low, high, _ = state
        value, slope = function(x)
        miss = value - aim
        low, high = xp.where(miss < 0, x, low), xp.where(miss > 0, x, high)
        rising = slope > 0
        move = xp.where(rising, miss / xp.where(rising, slope, 1.0), math.inf)
        # So near the root the next step has all digits.
        done = (xp.abs(move) < enough) | (miss == 0) | (high - low <= 4.0 * epsilon(xp, x.dtype) * high)
        new = x * xp.exp(-move)
        inside = (new > low) & (new < high)
        new = xp.where(inside, new, xp.sqrt(low) * xp.sqrt(high))
        return xp.where(done, x, new), low, high, done

    low, high = 0.5 * low, 2.0 * high
    x = _repeated(xp, step, (xp.sqrt(low) * xp.sqrt(high), low, high, low > high))[0]
    value, slope = (detached(xp, z) for z in function(x))
    steep = slope > 0
    return x - x * xp.where(steep, (value - target) / xp.where(steep, slope, 1.0), 0.0)


@overflowing
def degrees_above(xp: Namespace, gap: Array, dimension: int = 1) -> Array:
    """The t > 0 with d·log(½·df) − Σ_j ψ(½·(df − j)) = gap > 0, j = 0, …, d − 1, of df = t + d − 1.

    It is what log det E[x] is above E[log det x] of a Wishart distribution; ½·t is a gamma distribution's shape.
    """
    d = dimension
    inside = (gap > 1.0 / _HUGE) & (gap < _HUGE)
    safe = xp.where(inside, gap, 1.0)
    j = xp.arange(d, dtype=gap.dtype, device=device_of(gap))
    above = float(d - 1) - j

    def function(t: Array) -> tuple[Array, Array]:
        t = t[..., None]
        half, df = 0.5 * (t + above), t + (d - 1.0)
        value = xp.sum(xp.log1p(0.5 * j / half) - gamma_rest_slope(xp, half), axis=-1)
        slope = t * (0.5 * gamma_rest_curvature(xp, half) + j / (2.0 * half * df))
        return -xp.log(value), xp.sum(slope, axis=-1) / value

    # 1/(2x) < log x − ψ(x) < 1/x [1], and log(df/(df − j)) < j/t.
    found = inverse(xp, function, -xp.log(safe), 1.0 / safe, 0.5 * d * (d + 3.0) / safe)
    ends = xp.where(gap < 1.0, 0.5 * d * (d + 1.0), 2.0) / xp.where(inside, 1.0, gap)
    return xp.where(inside, found, ends)


def trigamma(xp: Namespace, x: Array) -> Array:
    """ψ'(x), to full relative precision in every library."""
    return 1.0 / x + gamma_rest_curvature(xp, x)


@overflowing
def inverse_digamma(xp: Namespace, y: Array) -> Array:
    """The x > 0 with ψ(x) = y.

    ψ is concave and rising, so that Newton's method from the left stays there and gets nearer with each step; the
    start is within a factor of two [3, appendix C].
    """
    inside = y > -_HUGE
    safe = xp.where(inside, y, -1.0)
    aim = detached(xp, safe)
    up = aim > -0.5772156649015329
    # ψ(x) < log x, and ψ(x) = ψ(1 + x) − 1/x < 0.4228 − 1/x for x < 1.
    x = xp.where(up, xp.exp(xp.where(up, aim, 0.0)), 1.0 / (0.42278433509846714 - xp.where(up, -1.0, aim)))
    for _ in range(6):
        x = x + (aim - digamma(xp, x)) / trigamma(xp, x)
    found = x + (safe - digamma(xp, x)) / trigamma(xp, x)
    return xp.where(inside, found, -1.0 / xp.where(inside, -1.0, y))


@overflowing
def bessel_concentration(xp: Namespace, nu: float, length: Array, short: Array) -> Array:
    """The κ with I_{ν+1}(κ)/I_ν(κ) = R, 0 ≤ R < 1, from R and from 1 − R."""
    inside = (length > 1.0 / _HUGE) & (short > 1.0 / _HUGE)
    r, rest = xp.where(inside, length, 0.5), xp.where(inside, short, 0.5)

    def function(kappa: Array) -> tuple[Array, Array]:
        r, rest = bessel.ratio(xp, nu, kappa), bessel.short_of_one(xp, nu, kappa)
        return xp.log(r) - xp.log(rest), kappa * bessel.curvature(xp, nu, kappa) / (r * rest)

    # κ/(ν + 1 + √((ν + 1)² + κ²)) < R < κ/(ν + ½ + √((ν + ½)² + κ²)) [2].
    odds = r / (rest * (1.0 + r))
    found = inverse(xp, function, xp.log(r) - xp.log(rest), (2.0 * nu + 1.0) * odds, (2.0 * nu + 2.0) * odds)
    low = length < 0.5
    ends = xp.where(low, (2.0 * nu + 2.0) * length, (nu + 0.5) / xp.where(inside | low, 1.0, short))
    return xp.where(inside, found, ends)


@overflowing
def dirichlet_concentration(xp: Namespace, logs: Array, short: Array) -> Array:
    """The α with ψ(α_i) − ψ(Σα) = g_i along the last axis, from g and from 1 − Σ exp(g) > 0.

    It is found to about half of its digits, by numbers alone where they can be seen, and the rest in two steps of
    Newton's method for all α together, with the diagonal and rank-one Hessian of [3]. NumPy's rows go in blocks.
    """
    k, count = logs.shape[-1], math.prod(short.shape)
    if is_numpy(xp) and count * k > _BLOCK:
        rows, left, each = logs.reshape(-1, k), short.reshape(-1), max(1, _BLOCK // k)
        blocks = [slice(start, start + each) for start in range(0, count, each)]
        return np.concatenate([_concentration(xp, rows[at], left[at]) for at in blocks]).reshape(logs.shape)
    return _concentration(xp, logs, short)


def _concentration(xp: Namespace, logs: Array, short: Array) -> Array:
    aim, given = detached(xp, logs), detached(xp, short)
    if holds(xp.all(given > 0)) is None:
        alpha = _by_their_sum(xp, aim, given)
    else:
        host = _by_newton(np.asarray(to_numpy(aim), dtype=float), np.asarray(to_numpy(given), dtype=float))
        alpha = xp.asarray(host, dtype=aim.dtype, device=device_of(aim))
    total = xp.sum(alpha, axis=-1)
    # The first of the two is without gradient: where one share has nearly all, its own digits are not yet there.
    for target in (aim, logs):
        # Of 1/ψ'(x) only what it is above x, for that is all that is left of the sum less the whole.
        above, whole = _reciprocal_trigamma_rest(xp, alpha), _reciprocal_trigamma_rest(xp, total)
        miss = -digamma_step(xp, alpha, all_but_each(xp, alpha)) - target
        inverse_curvature = alpha + above
        common = xp.sum(inverse_curvature * miss, axis=-1) / (xp.sum(above, axis=-1) - whole)
        alpha = alpha - inverse_curvature * (miss - common[..., None])
        total = xp.sum(alpha, axis=-1)
    return alpha


# Rows of about this many numbers stay in a core's cache.
_BLOCK = 1 << 12


def _by_newton(logs: Numbers, short: Numbers) -> Numbers:
    """The α by Newton's method in log α, its steps bounded; by their sum where that does not settle soon."""
    shape, k = logs.shape, logs.shape[-1]
    logs, short = logs.reshape(-1, k), short.reshape(-1)
    with np.errstate(all="ignore"):
        low, middle = (k - 1.0) / -logs.min(axis=-1), 0.5 * (k - 1.0) / short
        aim = logs + scipy.special.digamma(np.sqrt(low * np.maximum(low, middle)))[:, None]
        # The start of [3, appendix C].
        alpha = np.where(aim > -2.22, np.exp(np.minimum(aim, 700.0)) + 0.5, -1.0 / (aim + np.euler_gamma))
        open_ones = np.arange(logs.shape[0])
        for _ in range(_MOST_STEPS):
            a, g = alpha[open_ones], logs[open_ones]
            whole = a.sum(axis=-1)
            weight, common = 1.0 / _rough_trigamma(a), 1.0 / _rough_trigamma(whole)
            miss = weight * (scipy.special.digamma(a) - scipy.special.digamma(whole)[:, None] - g)
            shared = miss.sum(axis=-1) / (common - weight.sum(axis=-1))
            step = (miss + weight * shared[:, None]) / a
            alpha[open_ones] = a * np.exp(-np.clip(step, -2.0, 2.0))
            open_ones = open_ones[~(np.abs(step) < 1e-6).all(axis=-1)]
            if not open_ones.size:
                break
        else:
            alpha[open_ones] = _by_their_sum(namespace_of(), logs[open_ones], short[open_ones])
    found: Numbers = alpha.reshape(shape)
    return found


def _rough_trigamma(x: Numbers) -> Numbers:
    """ψ'(x) to ten digits, which is all that a step of Newton's method needs."""
    total = 0.0 * x
    for k in range(5):
        total += 1.0 / (x + k) ** 2
    z = 1.0 / (x + 5.0)
    y = z * z
    value: Numbers = total + z + 0.5 * y + z * y * (1 / 6 - y * (1 / 30 - y * (1 / 42 - y * (1 / 30 - y * 5 / 66))))
    return value


def _by_their_sum(xp: Namespace, aim: Array, short: Array) -> Array:
    """The α through their sum A: α_i = ψ⁻¹(g_i + ψ(A)), and Σ α_i(A) = A is one equation, which has one root."""
    k = aim.shape[-1]

    def parts(total: Array) -> tuple[Array, Array]:
        alpha = inverse_digamma(xp, aim + digamma(xp, total)[..., None])
        return alpha, xp.sum(alpha, axis=-1)

    def function(total: Array) -> tuple[Array, Array]:
        alpha, found = parts(total)
        slope = total * trigamma(xp, total) * xp.sum(1.0 / trigamma(xp, alpha), axis=-1) / found - 1.0
        return xp.log(total / found), -slope

    # ψ(A) − ψ(A/k) > (k − 1)/A, and log(x) > ψ(x) > log(x − ½).
    low = (k - 1.0) / -xp.min(aim, axis=-1)
    return parts(inverse(xp, function, 0.0 * low, low, 0.5 * k / short))[0]


def _reciprocal_trigamma_rest(xp: Namespace, x: Array) -> Array:
    """1/ψ'(x) − x < 0, for ψ' = 1/x + g''."""
    curved = x * gamma_rest_curvature(xp, x)
    return -x * curved / (1.0 + curved)


def nearest_kronecker(xp: Namespace, spread: Array) -> tuple[Array, Array]:
    """U and V with the least KL from the covariance of axes i, j, k, l to U_ik·V_jl, tr U being the number of rows.

    The fixed point converges linearly from everywhere, for KL is convex along the geodesics of positive definite
    matrices, and so do its derivatives: all steps are made with gradients.
    """
    n, m = (int(k) for k in spread.shape[-2:])
    by_columns = xp.permute_dims(spread, (*range(len(spread.shape) - 4), -4, -2, -3, -1))
    by_rows = xp.permute_dims(spread, (*range(len(spread.shape) - 4), -3, -1, -4, -2))

    def turned(of: Array, other: Array, count: int) -> Array:
        inverse = factor_of_inverse(xp, other)[0]
        inverse = inverse @ xp.matrix_transpose(inverse)
        return symmetric(xp, xp.sum(of * inverse[..., None, None, :, :], axis=(-2, -1)) / count)

    columns = symmetric(xp, xp.sum(xp.linalg.diagonal(by_rows), axis=-1) / n)
    enough = 4.0 * epsilon(xp, spread.dtype)
    for _ in range(_MOST_TURNS):
        rows = turned(by_columns, columns, m)
        rows = rows * (n / xp.sum(xp.linalg.diagonal(rows), axis=-1))[..., None, None]
        new = turned(by_rows, rows, n)
        moved = xp.max(xp.abs(new - columns), axis=(-2, -1)) / xp.max(xp.abs(new), axis=(-2, -1))
        columns = new
        if holds(xp.all(moved <= enough)) is True:
            break
    return rows, columns


__all__ = [
    "bessel_concentration", "degrees_above", "detached", "dirichlet_concentration", "hold", "inverse",
    "inverse_digamma", "nearest_kronecker", "trigamma",
]  # fmt: skip
