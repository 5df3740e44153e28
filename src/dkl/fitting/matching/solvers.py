"""The likeliest members of families that have no mean parameters: Newton's method with exact gradients, or one root.

The mean of −log q is minimised in coordinates without bounds, of observations in units of their own spread.

References
----------
.. [1] J. B. Copas, "On the unimodality of the likelihood for the Cauchy distribution", Biometrika 62 (1975): it has one
   maximum.
.. [2] C. Fernández, M. F. J. Steel, "Multivariate Student-t regression models: pitfalls and inference", Biometrika 86
   (1999): that of Student's t grows without end as the degrees of freedom → 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, special

from dkl.families.others import Cauchy, GeneralizedNormal, Gumbel, Kumaraswamy, StudentT, Uniform
from dkl.fitting.matching.members import NoMemberError
from dkl.methods.nodes import Numbers

# Beyond these coordinates, logarithms of shapes and scales, a parameter is taken to run away.
_AWAY = 25.0


@dataclass(frozen=True)
class Standard:
    """Observations in units of their own: z = (x − centre)/width, sorted."""

    z: Numbers
    w: Numbers
    centre: float
    width: float


def _standard(x: Numbers, w: Numbers) -> Standard:
    """By the weighted median and the mean distance from it.

    Raises
    ------
    NoMemberError
        If all are equal.
    """
    order = np.argsort(x)
    x, w = x[order], w[order]
    centre = float(x[min(int(np.searchsorted(w.cumsum(), 0.5)), len(x) - 1)])
    width = float(w @ np.abs(x - centre))
    if not width > 16.0 * np.finfo(float).eps * float(np.abs(x).max()):
        raise NoMemberError("all observations are equal, and the likelihood grows without end as the scale → 0")
    return Standard((x - centre) / width, w, centre, width)


Loss = Callable[[Numbers], tuple[float, Numbers]]


def _least(loss: Loss, begin: list[Numbers]) -> tuple[Numbers, float]:
    """The least of the local minima of a loss that BFGS and then Newton's method find from several starts."""
    best: tuple[Numbers, float] | None = None
    for u in begin:
        with np.errstate(all="ignore"):
            found = optimize.minimize(
                loss, u, jac=True, method="L-BFGS-B", bounds=[(-2.0 * _AWAY, 2.0 * _AWAY)] * len(u),
                options={"maxiter": 500, "ftol": 1e-15, "gtol": 1e-9},
            )  # fmt: skip
            at = _polished(loss, found.x)
            value = loss(at)[0]
        if math.isfinite(value) and (best is None or value < best[1]):
            best = at, value
    if best is None:
        raise NoMemberError("the likelihood exceeds the floating range from every start")
    return best


def _polished(loss: Loss, u: Numbers) -> Numbers:
    """Newton steps, the second derivatives by differences of the gradient, while they lower its size."""
    size = float(np.abs(loss(u)[1]).max())
    for _ in range(8):
        rows = [(loss(u + step)[1] - loss(u - step)[1]) / 2e-5 for step in 1e-5 * np.eye(len(u))]
        curvature = 0.5 * (np.array(rows) + np.array(rows).T)
        if not (np.isfinite(curvature).all() and np.linalg.eigvalsh(curvature)[0] > 0):
            return u
        new = u - np.linalg.solve(curvature, loss(u)[1])
        smaller = float(np.abs(loss(new)[1]).max())
        if not smaller < size:
            return u
        u, size = new, smaller
    return u


def _scaled(of: Standard, loc: float, log_scale: float) -> tuple[float, float]:
    return of.centre + of.width * loc, of.width * math.exp(log_scale)


def _uniform(x: Numbers, w: Numbers) -> Uniform:
    low, high = float(x.min()), float(x.max())
    if not high > low:
        raise NoMemberError("all observations are equal, and the likelihood grows without end as high − low → 0")
    return Uniform(low, high)


def _gumbel(x: Numbers, w: Numbers) -> Gumbel:
    """The scale is where β = E[x] − E[x·e^(−x/β)]/E[e^(−x/β)], which has one root; the location follows."""
    of = _standard(x, w)

    def miss(log_scale: float) -> float:
        scale = math.exp(log_scale)
        shares = of.w * np.exp(-(of.z - of.z[0]) / scale)
        return float(scale - of.w @ of.z + shares @ of.z / shares.sum())

    log_scale = float(optimize.brentq(miss, -_AWAY, _AWAY, xtol=1e-14, rtol=1e-14))
    scale = math.exp(log_scale)
    loc = float(of.z[0] - scale * math.log(of.w @ np.exp(-(of.z - of.z[0]) / scale)))
    return Gumbel(*_scaled(of, loc, log_scale))


def _cauchy(x: Numbers, w: Numbers) -> Cauchy:
    of = _standard(x, w)
    if of.w.max() >= 0.5:
        if len(of.w) == 2 and of.w.max() == of.w.min():
            loc, scale = _scaled(of, float(of.z.mean()), math.log(0.5 * float(np.ptp(of.z))))
            reason = "of two observations the likelihood is the same all along a curve of locations and scales"
            raise NoMemberError(reason, Cauchy(loc, scale), math.log(2.0 * math.pi * scale))
        raise NoMemberError("half of the weight lies on one point, and the likelihood grows without end as scale → 0")

    def loss(u: Numbers) -> tuple[float, Numbers]:
        t = (of.z - u[0]) * math.exp(-u[1])
        share = 2.0 * t / (1.0 + t * t)
        gradient = np.array([-(of.w @ share) * math.exp(-u[1]), 1.0 - of.w @ (share * t)])
        return float(u[1] + of.w @ np.log1p(t * t)), gradient

    u, _ = _least(loss, [np.array([0.0, math.log(0.5)])])
    return Cauchy(*_scaled(of, float(u[0]), float(u[1])))


def _student(x: Numbers, w: Numbers) -> StudentT:
    """The best maximum with at least so many degrees of freedom that no single point makes it infinite."""
    of = _standard(x, w)
    share = min(float(of.w.max()), 0.9)
    # The likelihood grows without end as the scale → 0 around that point, of df < share/(1 − share).
    least = math.log(max(0.05, 2.0 * share / (1.0 - share)))

    def loss(u: Numbers) -> tuple[float, Numbers]:
        # Below the least df it counts as that: log df = least + log(1 + e^s).
        s = u[2]
        df = math.exp(least) * (1.0 + math.exp(min(s, 60.0)))
        t = (of.z - u[0]) * math.exp(-u[1])
        half = 0.5 * (df + 1.0)
        log_rest = np.log1p(t * t / df)
        pull = t / (df + t * t)
        constant = special.gammaln(0.5 * df) - special.gammaln(half) + 0.5 * math.log(math.pi * df)
        value = constant + u[1] + half * (of.w @ log_rest)
        by_df = (
            0.5 * special.psi(0.5 * df) - 0.5 * special.psi(half) + 0.5 / df
            + 0.5 * (of.w @ log_rest) - half * (of.w @ (pull * t)) / df
        )  # fmt: skip
        by_loc = -2.0 * half * (of.w @ pull) * math.exp(-u[1])
        by_scale = 1.0 - 2.0 * half * (of.w @ (pull * t))
        return float(value), np.array([by_loc, by_scale, by_df * math.exp(least + min(s, 60.0))])

    begin = [np.array([0.0, 0.0, math.log(df)]) for df in (1.0, 4.0, 30.0)]
    u, value = _least(loss, begin)
    df = math.exp(least) * (1.0 + math.exp(float(u[2])))
    mean = of.w @ of.z
    variance = float(of.w @ (of.z - mean) ** 2)
    normal = 0.5 * math.log(2.0 * math.pi * variance) + 0.5
    if df > 1e6 or value > normal - 1e-13:
        near = StudentT(1e8, *_scaled(of, float(mean), 0.5 * math.log(variance)))
        reason = "the likelihood grows as df → ∞, where the distribution is normal: fit a Normal"
        raise NoMemberError(reason, near, normal + math.log(of.width))
    if u[2] < -_AWAY:
        raise NoMemberError("the likelihood grows as df and the scale → 0: the observations crowd at one point")
    return StudentT(df, *_scaled(of, float(u[0]), float(u[1])))


def _generalized(x: Numbers, w: Numbers) -> GeneralizedNormal:
    """For each shape the scale follows from the location; the location is sought for each shape, and the shape of all.

    Below a shape of 1 the best location is an observation, and every observation is the best of its neighbourhood.
    """
    of = _standard(x, w)

    def power(loc: float, shape: float) -> float:
        """The logarithm of the mean of |z − loc|^shape."""
        with np.errstate(divide="ignore"):
            logs = shape * np.log(np.abs(of.z - loc))
        return float(special.logsumexp(logs, b=of.w))

    def location(shape: float) -> float:
        if shape <= 1.0:
            near = np.unique(np.searchsorted(of.w.cumsum(), np.linspace(0.0, 1.0, 257)).clip(0, len(of.z) - 1))
            best = int(min(near, key=lambda i: power(float(of.z[i]), shape)))
            around = range(max(0, best - 8), min(len(of.z), best + 9))
            return float(of.z[min(around, key=lambda i: power(float(of.z[i]), shape))])

        def slope(loc: float) -> float:
            d = of.z - loc
            size = np.abs(d)
            top = size.max()
            return -float(of.w @ (np.sign(d) * (size / top) ** (shape - 1.0)))

        return float(optimize.brentq(slope, of.z[0], of.z[-1], xtol=1e-14, rtol=1e-14))

    def loss(log_shape: float) -> float:
        shape = math.exp(log_shape)
        mean = power(location(shape), shape)
        # α^β = β·E|x − μ|^β.
        log_scale = (math.log(shape) + mean) / shape
        return float(log_scale + math.log(2.0) - math.log(shape) + special.gammaln(1.0 / shape) + 1.0 / shape)

    grid = np.linspace(math.log(0.2), math.log(500.0), 33)
    values = [loss(float(g)) for g in grid]
    k = int(np.argmin(values))
    if k == 0:
        raise NoMemberError("the likelihood grows as shape and scale → 0: the observations crowd at one point")
    if k == len(grid) - 1:
        middle, half = 0.5 * (of.z[0] + of.z[-1]), 0.5 * (of.z[-1] - of.z[0])
        near = GeneralizedNormal(*_scaled(of, float(middle), math.log(half)), math.exp(grid[-1]))
        reason = "the likelihood grows as shape → ∞, where the distribution is uniform: fit a Uniform"
        raise NoMemberError(reason, near, math.log(2.0 * half * of.width))
    found = optimize.minimize_scalar(
        loss, bounds=(grid[k - 1], grid[k + 1]), method="bounded", options={"xatol": 1e-10}
    )  # fmt: skip
    shape = math.exp(float(found.x))
    loc = location(shape)
    log_scale = (math.log(shape) + power(loc, shape)) / shape
    return GeneralizedNormal(*_scaled(of, loc, log_scale), shape)


def _kumaraswamy(x: Numbers, w: Numbers) -> Kumaraswamy:
    """For each a the best b is −1/E[log(1 − x^a)]; what is left is a function of log a."""
    bound = (x <= 0.0) | (x >= 1.0)
    if bound.any():
        raise NoMemberError(
            f"an observation, {x[int(np.argmax(bound))]}, lies on the bound of the interval (0, 1), where the density "
            "is 0 or infinite: the likelihood has no maximum; leave it out, or say what it was rounded from"
        )
    if len(x) == 1:
        raise NoMemberError("all observations are equal, and the likelihood grows without end as a and b → ∞")
    logs = np.log(x)

    def parts(log_a: float) -> tuple[float, Numbers, Numbers]:
        powers = math.exp(log_a) * logs
        return math.exp(log_a), powers, np.log(-np.expm1(powers))

    def slope(log_a: float) -> float:
        """By log a, of log-likelihood with the best b."""
        _, powers, rest = parts(log_a)
        b = -1.0 / (w @ rest)
        return float(1.0 + w @ powers - (b - 1.0) * (w @ (powers * np.exp(powers - rest))))

    with np.errstate(all="ignore"):
        if not (slope(-_AWAY) > 0 > slope(math.log(600.0 / -float(logs.max())))):
            raise NoMemberError("the likelihood grows as a → 0 or ∞: the observations crowd at a bound")
        log_a = float(optimize.brentq(slope, -_AWAY, math.log(600.0 / -float(logs.max())), xtol=1e-14, rtol=1e-14))
    a, _, rest = parts(log_a)
    return Kumaraswamy(a, -1.0 / float(w @ rest))


#: Families without mean parameters, and the way to each one's maximum.
SOLVERS: dict[type, Callable[[Numbers, Numbers], Any]] = {
    Uniform: _uniform,
    Gumbel: _gumbel,
    Cauchy: _cauchy,
    StudentT: _student,
    GeneralizedNormal: _generalized,
    Kumaraswamy: _kumaraswamy,
}

__all__ = ["SOLVERS"]
