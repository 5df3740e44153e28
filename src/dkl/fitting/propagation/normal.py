"""Expectation propagation by normal distributions: of all of a vector, or of each of its components.

Outcomes are x = μ₀ + L₀·z, where the prior of z is standard normal: nothing is divided by the prior's covariance, which
may be almost singular. A site of a projection s = a·x = b + B·z is exp(ν·s − ½·τ·s²), and what it sees of the
approximation is a normal density of s: one number, whatever the dimension [1, 3.6; 2].

The evidence is taken with every site centred at the mean of the answer, where the quotient of the normalisers of answer
and prior is exp(−½·|z̄|²)·det(P)^(−½), P the precision of z: no large numbers cancel.

References
----------
.. [1] C. E. Rasmussen, C. K. I. Williams, "Gaussian Processes for Machine Learning" (2006), section 3.6.
.. [2] M. Seeger, "Expectation propagation for exponential families", EPFL technical report 161464 (2005).
.. [3] T. Minka, "Power EP", Microsoft Research TR-2004-149 (2004).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from dkl.families.multivariate import DiagonalNormal, MultivariateNormal
from dkl.families.normal import Normal
from dkl.fitting.propagation.products import Sites
from dkl.fitting.propagation.sites import ROUNDING, Factors, Matched, rounding_of
from dkl.fitting.propagation.tilted import moments
from dkl.methods.nodes import Numbers

_LOG_TAU = math.log(2.0 * math.pi)
# A precision that is less than this share of the approximation's is 0 but for rounding.
_ROUNDING = 1e-9


def _standard(u: Numbers, which: Numbers, centre: Numbers, width: Numbers) -> Numbers:
    t = (u - centre) / width
    return np.stack([t, t * t])


@dataclass(frozen=True)
class _Line:
    """Tilted densities of projections: the logarithm of their mass, their means less the guess, and variances."""

    log_z: Numbers
    apart: Numbers
    var: Numbers
    found: Numbers
    rounding: Numbers


def _tilted(
    factors: Factors,
    which: Numbers,
    alpha: Numbers,
    about: tuple[Numbers, Numbers],
    precision: Numbers,
    linear: Numbers,
) -> _Line:
    """N(s | m, v)·exp(½·(1/v − precision)·(s − m)² + linear·(s − m)) times factors to the power of α; about is m and v.

    The cavity's precision may be negative, if the factor bounds what grows.
    """
    mean, var = about
    constant = -0.5 * (np.log(var) + _LOG_TAU)

    # By the distance from m, which may be small against m itself.
    def log_density(d: Numbers, rows: Numbers) -> Numbers:
        of_cavity = constant[rows][:, None] + d * (linear[rows][:, None] - 0.5 * precision[rows][:, None] * d)
        made: Numbers = of_cavity + alpha[rows][:, None] * factors.at(mean[rows][:, None] + d, which[rows])
        return made

    made = moments(log_density, _standard, np.zeros_like(mean), np.sqrt(var), rounding_of(mean, np.sqrt(var)))
    first, second = made.means
    with np.errstate(invalid="ignore"):
        found_var = made.width**2 * (second - first**2)
        found = made.found & (found_var > 0)
        rounding = rounding_of(mean, np.sqrt(np.where(found, np.minimum(var, found_var), var)))
        rounding = rounding + np.spacing(np.where(found, np.abs(made.log_mass), 0.0))
        return _Line(made.log_mass, made.centre + made.width * first, found_var, found, rounding)


@dataclass(frozen=True)
class Whole:
    """An approximation by a normal distribution of all components of z.

    Attributes
    ----------
    mean : array, shape (d,)
    inverse_factor : array, shape (d, d)
        The lower triangular factor of the covariance.
    s_mean, s_var : array, shape (n,)
        Of the projections.
    covariance : array, shape (d, d), or None
        In the middle of a sweep from site to site, when mean and covariance alone are up to date.
    """

    mean: Numbers
    inverse_factor: Numbers
    s_mean: Numbers
    s_var: Numbers
    covariance: Numbers | None = None


class WholeNormal:
    """Sites (ν, τ) of projections, for :class:`Normal` and :class:`MultivariateNormal`.

    A sweep over n sites of d components costs n·d², and one site of a sequential sweep d².
    """

    def __init__(self, family: type, prior: Any, groups: tuple[Any, ...]) -> None:
        self.family = family
        # What is a member already is multiplied exactly.
        exact = [group for group in groups if not isinstance(group, Sites)]
        self.log_exact, self.loc, self.factor = absorbed(prior, exact)
        self.factors = Factors([group for group in groups if isinstance(group, Sites)])
        self.count = self.factors.count
        a = self.factors.projections(len(self.loc))
        self.offset, self.rows = a @ self.loc, a @ self.factor
        hold_dependent(self.rows)

    def start(self) -> Numbers:
        """Sites that say nothing."""
        return np.zeros((self.count, 2))

    def state(self, sites: Numbers) -> Whole | None:
        """The approximation that sites make; None if there is none."""
        nu, tau = sites.T
        precision = np.eye(len(self.loc)) + (self.rows.T * tau) @ self.rows
        linear = self.rows.T @ (nu - tau * self.offset)
        if not (np.isfinite(precision).all() and np.isfinite(linear).all()):
            return None
        try:
            inverse_factor = covariance_factor(precision)
        except np.linalg.LinAlgError:
            return None
        mean = inverse_factor @ (inverse_factor.T @ linear)
        s_var = ((self.rows @ inverse_factor) ** 2).sum(axis=1)
        return Whole(mean, inverse_factor, self.offset + self.rows @ mean, s_var) if (s_var > 0).all() else None

    def _projected(self, state: Whole, which: Numbers) -> tuple[Numbers, Numbers]:
        if state.covariance is None:
            return state.s_mean[which], state.s_var[which]
        rows = self.rows[which]
        return self.offset[which] + rows @ state.mean, ((rows @ state.covariance) * rows).sum(axis=1)

    def matched(self, state: Whole, sites: Numbers, which: Numbers, alpha: Numbers) -> Matched:
        """The sites that give the approximation the moments of the tilted densities of some factors."""
        mean, var = self._projected(state, which)
        nu, tau = sites[which].T
        # About the mean of the projection, so that linear parts stay small.
        nu = nu - tau * mean
        cavity = 1.0 / var - alpha * tau
        line = _tilted(self.factors, which, alpha, (mean, var), cavity, -alpha * nu)
        with np.errstate(invalid="ignore", divide="ignore"):
            more_tau = (1.0 / line.var - 1.0 / var) / alpha
            more_nu = line.apart / line.var / alpha
            unit = np.stack([np.sqrt(var), var], axis=1)
            change = np.abs(np.stack([more_nu, more_tau], axis=1) * unit).max(axis=1)
            new = sites[which] + np.stack([more_nu + more_tau * mean, more_tau], axis=1)
        kept = line.found & np.isfinite(new).all(axis=1)
        made = np.where(kept[:, None], new, sites[which])
        return Matched(made, line.log_z, change, unit, kept, cavity > 0, line.rounding)

    def replaced(self, state: Whole, sites: Numbers, i: int, site: Numbers) -> Whole | None:
        """The approximation with one site replaced, by a change of rank one."""
        covariance = state.inverse_factor @ state.inverse_factor.T if state.covariance is None else state.covariance
        row = self.rows[i]
        u = covariance @ row
        var = float(row @ u)
        mean = float(self.offset[i] + row @ state.mean)
        more_nu, more_tau = site - sites[i]
        grown = 1.0 + more_tau * var
        if not grown > 0:
            return None
        return replace(
            state,
            mean=state.mean + u * ((more_nu - more_tau * mean) / grown),
            covariance=covariance - np.outer(u, u) * (more_tau / grown),
        )

    def log_evidence(self, state: Whole, alpha: Numbers, log_z: Numbers) -> float:
        """The logarithm of ∫ prior·Π site, by what the tilted densities integrate to."""
        log_det = 2.0 * np.log(np.diagonal(state.inverse_factor)).sum()
        return float(self.log_exact - 0.5 * (state.mean @ state.mean) + 0.5 * log_det + (log_z / alpha).sum())

    def distribution(self, state: Whole) -> Any:
        """The member that the approximation is."""
        loc, factor = self.loc + self.factor @ state.mean, self.factor @ state.inverse_factor
        if issubclass(self.family, Normal):
            return self.family(float(loc[0]), float(factor[0, 0]))
        return MultivariateNormal(loc, cholesky=factor)

    def negative(self, state: Whole, sites: Numbers) -> Numbers:
        """Which sites have a negative precision."""
        return np.flatnonzero(sites[:, 1] * state.s_var < -_ROUNDING)

    def named(self, sites: Numbers) -> dict[str, Numbers]:
        """The sites' natural parameters by name: exp(linear·s − ½·precision·s²)."""
        return {"linear": sites[:, 0], "precision": sites[:, 1]}


@dataclass(frozen=True)
class Each:
    """An approximation by independent components: means of z and precisions."""

    mean: Numbers
    precision: Numbers


class EachNormal:
    """Sites (ν, τ) of every component, for :class:`DiagonalNormal`: the mean field.

    A sweep costs n·d; a site that is a normal distribution of the whole vector costs d³.
    """

    def __init__(self, family: type, prior: Any, groups: tuple[Any, ...]) -> None:
        self.family = family
        own: list[Any] = []
        blocks: list[Any] = []
        for group in groups:
            if not isinstance(group, Sites):
                (own if isinstance(group, DiagonalNormal) else blocks).append(group)
        self.log_exact, self.loc, factor = absorbed(prior, own)
        self.width = np.diagonal(factor)
        self.factors = Factors([group for group in groups if isinstance(group, Sites)])
        self.blocks = [self._block(b) for batch in blocks for b in each_normal(batch)]
        self.lines, self.count = self.factors.count, self.factors.count + len(self.blocks)
        a = self.factors.projections(len(self.loc))
        self.offset, self.rows = a @ self.loc, a * self.width
        hold_dependent(self.rows)

    def _block(self, normal: tuple[Numbers, Numbers]) -> tuple[Numbers, Numbers, float]:
        """A normal site as −½·zᵀΛz + ηᵀz + c."""
        loc, factor = normal
        # As it is in z: its own mean and factor there.
        loc, factor = (loc - self.loc) / self.width, factor / self.width[:, None]
        inverse = solve_triangular(factor, np.eye(len(loc)), lower=True)
        precision = inverse.T @ inverse
        eta = precision @ loc
        log_det = np.log(np.diagonal(factor)).sum() + np.log(self.width).sum()
        return precision, eta, float(-0.5 * (loc @ eta) - log_det - 0.5 * len(loc) * _LOG_TAU)

    def start(self) -> Numbers:
        """Sites that say nothing."""
        return np.zeros((self.count, 2, len(self.loc)))

    def state(self, sites: Numbers) -> Each | None:
        """The approximation that sites make; None if there is none."""
        linear, more = sites.sum(axis=0)
        precision = 1.0 + more
        if not ((precision > 0).all() and np.isfinite(precision).all() and np.isfinite(linear).all()):
            return None
        return Each(linear / precision, precision)

    def matched(self, state: Each, sites: Numbers, which: Numbers, alpha: Numbers) -> Matched:
        """The sites that give the approximation the moments of the tilted densities of some factors."""
        # About the mean, so that linear parts stay small.
        tau = sites[which, 1]
        nu = sites[which, 0] - tau * state.mean
        a = alpha[:, None]
        cavity, linear = state.precision - a * tau, -a * nu
        inside = (cavity > 0).all(axis=1)
        log_z, mean, var = (np.full(shape, math.nan) for shape in (len(which), cavity.shape, cavity.shape))
        rounding = np.full(len(which), ROUNDING)
        line = (which < self.lines) & inside
        if line.any():
            log_z[line], mean[line], var[line], rounding[line] = self._of_lines(
                state, which[line], alpha[line], cavity[line], linear[line]
            )
        for k in np.flatnonzero(which >= self.lines):
            log_z[k], mean[k], var[k] = self._of_block(state, which[k], alpha[k], cavity[k], linear[k])
        with np.errstate(invalid="ignore", divide="ignore"):
            more_tau = (1.0 / var - state.precision) / a
            more_nu = mean / var / a
            unit = np.broadcast_to(np.stack([state.precision**-0.5, 1.0 / state.precision]), sites[which].shape)
            change = np.abs(np.stack([more_nu, more_tau], axis=1) * unit).max(axis=(1, 2))
            new = sites[which] + np.stack([more_nu + more_tau * state.mean, more_tau], axis=1)
        kept = np.isfinite(log_z) & (var > 0).all(axis=1) & np.isfinite(new).all(axis=(1, 2))
        made = np.where(kept[:, None, None], new, sites[which])
        return Matched(made, log_z, change, unit, kept, inside, rounding)

    def _of_lines(
        self, state: Each, which: Numbers, alpha: Numbers, precision: Numbers, linear: Numbers
    ) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """Log mass of q·(factor/site)^α, mean less that of q and variance of each component, and their rounding.

        All that a cavity knows of a component but for its share in the projection stays as it is.
        """
        rows = self.rows[which]
        apart, share = linear / precision, rows / precision
        var = (rows * share).sum(axis=1)
        mean = self.offset[which] + rows @ state.mean + (rows * apart).sum(axis=1)
        nothing = np.zeros_like(var)
        made = _tilted(self.factors, which, alpha, (mean, var), 1.0 / var, nothing)
        of_cavity = 0.5 * (precision * apart**2 - np.log(precision / state.precision)).sum(axis=1)
        log_z = np.where(made.found, made.log_z + of_cavity, math.nan)
        narrowed = (made.var - var) / var**2
        found_mean = apart + share * (made.apart / var)[:, None]
        return log_z, found_mean, 1.0 / precision + share**2 * narrowed[:, None], made.rounding

    def _of_block(
        self, state: Each, i: int, alpha: float, precision: Numbers, linear: Numbers
    ) -> tuple[float, Numbers, Numbers]:
        """The same of a normal distribution of the whole vector."""
        site, eta, constant = self.blocks[i - self.lines]
        joint = np.diag(precision) + alpha * site
        try:
            factor = covariance_factor(joint)
        except np.linalg.LinAlgError:
            return math.nan, np.full_like(linear, math.nan), np.full_like(linear, math.nan)
        # The site about the mean of q.
        constant += float(eta @ state.mean - 0.5 * state.mean @ site @ state.mean)
        half = factor.T @ (linear + alpha * (eta - site @ state.mean))
        log_z = alpha * constant + 0.5 * (half @ half + np.log(state.precision).sum())
        return float(log_z + np.log(np.diagonal(factor)).sum()), factor @ half, (factor**2).sum(axis=1)

    def replaced(self, state: Each, sites: Numbers, i: int, site: Numbers) -> Each | None:
        """The approximation with one site replaced."""
        more_nu, more_tau = site - sites[i]
        precision = state.precision + more_tau
        if not (precision > 0).all():
            return None
        return Each(state.mean + (more_nu - more_tau * state.mean) / precision, precision)

    def log_evidence(self, state: Each, alpha: Numbers, log_z: Numbers) -> float:
        """The logarithm of ∫ prior·Π site, by what the tilted densities integrate to."""
        of_answer = -0.5 * ((state.mean**2).sum() + np.log(state.precision).sum())
        return float(self.log_exact + of_answer + (log_z / alpha).sum())

    def distribution(self, state: Each) -> Any:
        """The member that the approximation is."""
        return self.family(self.loc + self.width * state.mean, self.width / np.sqrt(state.precision))

    def negative(self, state: Each, sites: Numbers) -> Numbers:
        """Which sites have a negative precision along a component."""
        return np.flatnonzero((sites[:, 1] / state.precision < -_ROUNDING).any(axis=1))

    def named(self, sites: Numbers) -> dict[str, Numbers]:
        """The sites' natural parameters by name: exp(linear·x − ½·precision·x²), of each component."""
        precision = sites[:, 1] / self.width**2
        return {"linear": sites[:, 0] / self.width + precision * self.loc, "precision": precision}


def covariance_factor(precision: Numbers) -> Numbers:
    """The lower triangular factor of the inverse of a matrix; a LinAlgError if that is not positive definite."""
    upper = np.linalg.cholesky(precision[::-1, ::-1])[::-1, ::-1]
    made: Numbers = solve_triangular(upper.T, np.eye(len(precision)), lower=True)
    return made


def hold_dependent(rows: Numbers) -> None:
    """Raise a ValueError if a factor does not depend on the outcome, or its projection has no variance in floats."""
    empty = ~(rows != 0).any(axis=1)
    if empty.any():
        raise ValueError(
            f"site {int(np.flatnonzero(empty)[0])} has a projection of zeros: it does not depend on the outcome, leave "
            "it out"
        )
    with np.errstate(over="ignore"):
        large = ~((rows**2).sum(axis=1) < math.inf)
    if large.any():
        raise ValueError(
            f"site {int(np.flatnonzero(large)[0])} has a projection so large that its variance under the prior is no "
            "float: divide projections by a constant, and multiply s by it in log_factor"
        )


def each_normal(batch: Any) -> list[tuple[Numbers, Numbers]]:
    """Mean and lower triangular factor of each normal distribution of a batch, a number as a vector of length 1."""
    if isinstance(batch, Normal):
        loc, scale = np.broadcast_arrays(np.asarray(batch.mean(), dtype=float), np.asarray(batch.std(), dtype=float))
        return [(np.array([m]), np.array([[s]])) for m, s in zip(loc.ravel(), scale.ravel(), strict=True)]
    d = batch.event_shape[0]
    loc = np.broadcast_to(np.asarray(batch.loc, dtype=float), (*batch.batch_shape, d)).reshape(-1, d)
    factor = np.broadcast_to(np.asarray(batch._factor(), dtype=float), (*batch.batch_shape, d, d)).reshape(-1, d, d)
    return list(zip(loc, factor, strict=True))


def absorbed(prior: Any, exact: list[Any]) -> tuple[float, Numbers, Numbers]:
    """The product of normal densities with a normal prior: log of its integral, mean, and lower triangular factor."""
    ((loc, factor),) = each_normal(prior)
    log_mass = 0.0
    for batch in exact:
        for its_loc, its_factor in each_normal(batch):
            # N(a | b, A + B) is what two densities integrate to; the product's factor is found beside the prior's.
            between = np.linalg.cholesky(factor @ factor.T + its_factor @ its_factor.T)
            apart = solve_triangular(between, its_loc - loc, lower=True)
            log_mass -= 0.5 * float(apart @ apart + len(loc) * _LOG_TAU) + float(np.log(np.diagonal(between)).sum())
            quotient = solve_triangular(its_factor, factor, lower=True)
            inner = covariance_factor(np.eye(len(loc)) + quotient.T @ quotient)
            moved = inner @ (inner.T @ (quotient.T @ solve_triangular(its_factor, its_loc - loc, lower=True)))
            loc, factor = loc + factor @ moved, factor @ inner
    return log_mass, loc, factor
