"""Expectation propagation: exact cases, its own condition by another quadrature, NUTS, and what is refused or said."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import digamma, gammaln, log_ndtr, logsumexp

import dkl
from dkl.families import (
    Beta,
    ContinuousBernoulli,
    DiagonalNormal,
    Gamma,
    HalfNormal,
    InverseGamma,
    InverseGaussian,
    Laplace,
    LogNormal,
    LowRankNormal,
    MultivariateNormal,
    Normal,
    Pareto,
    Poisson,
    StudentT,
    VonMises,
    Weibull,
)  # fmt: skip
from dkl.fitting import Fit, Product, Sites
from dkl.fitting.problem import DeclinedError, Problem
from dkl.fitting.propagation.sweeps import accelerated, assumed_density_filtering, expectation_propagation

EP, ADF = "expectation propagation", "assumed density filtering"


def fitted(
    family: Any, target: Any, alpha: float = 1.0, method: str = EP, measured: bool = False, **options: Any
) -> Fit:
    """A fit, whose divergence is measured only where that is asked for."""
    with pytest.MonkeyPatch.context() as patch:
        if not measured:
            patch.setattr("dkl.fitting.propagation.answer._MOST", 0)
            patch.setattr("dkl.fitting.propagation.answer._OF_SAMPLES", 0)
        return dkl.fit(family, target, dkl.Alpha(alpha) if alpha != 1.0 else dkl.kl, method=method, **options)


def probit(y: np.ndarray, x: np.ndarray | None = None, **given: Any) -> Sites:
    return Sites(lambda s, i: log_ndtr(y[i] * s), projections=x, **given)


def regression(n: int, d: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return x, np.sign(x @ np.linspace(1, -1, d) + rng.normal(size=n))


def agree(one: Fit, other: Fit, rtol: float = 1e-8) -> None:
    scale = np.asarray(one.distribution.std())
    np.testing.assert_allclose(other.distribution.mean() / scale, one.distribution.mean() / scale, rtol=0, atol=rtol)
    np.testing.assert_allclose(other.distribution.std(), scale, rtol=rtol)
    assert other.details["log_evidence"] == pytest.approx(one.details["log_evidence"], rel=rtol, abs=rtol)


# Exact cases.


@pytest.mark.parametrize("method", [EP, ADF])
def test_one_probit_factor_is_exact(method: str) -> None:
    made = fitted(Normal, Product(Normal(0.0, 1.0), probit(np.ones(1))), method=method, measured=True)
    assert made.distribution.mean() == pytest.approx(1 / math.sqrt(math.pi), rel=1e-12)
    assert made.distribution.var() == pytest.approx(1 - 1 / math.pi, rel=1e-12)
    assert made.details["log_evidence"] == pytest.approx(math.log(0.5), rel=1e-12)
    assert float(made.normaliser.value) == pytest.approx(0.5, rel=1e-9)
    assert made.converged
    assert made.method == method
    assert made.reason is None
    assert made.optima[0].value == float(made.divergence)


@pytest.mark.parametrize("alpha", [0.25, 1.0, 1.5])
@pytest.mark.parametrize("schedule", ["parallel", "sequential"])
def test_linear_regression_is_exact_for_every_power(alpha: float, schedule: str) -> None:
    rng = np.random.default_rng(5)
    x, noise, covariance = (
        rng.normal(size=(12, 3)),
        0.3,
        np.array([[2.0, 0.5, 0.0], [0.5, 1.0, -0.2], [0.0, -0.2, 0.7]]),
    )
    y, mean = rng.normal(size=12), np.array([1.0, -2.0, 0.5])
    sites = Sites(lambda s, i: stats.norm.logpdf(y[i], s, noise), projections=x)
    made = fitted(MultivariateNormal, Product(MultivariateNormal(mean, covariance), sites), alpha, schedule=schedule)
    precision = np.linalg.inv(covariance) + x.T @ x / noise**2
    posterior = np.linalg.inv(precision)
    np.testing.assert_allclose(
        made.distribution.mean(), posterior @ (np.linalg.solve(covariance, mean) + x.T @ y / noise**2), rtol=1e-11
    )
    factor = np.asarray(made.distribution._factor())
    np.testing.assert_allclose(factor @ factor.T, posterior, rtol=1e-11, atol=1e-14)
    evidence = stats.multivariate_normal(x @ mean, x @ covariance @ x.T + noise**2 * np.eye(12)).logpdf(y)
    assert made.details["log_evidence"] == pytest.approx(evidence, rel=1e-12)
    np.testing.assert_allclose(made.details["sites"]["precision"], noise**-2, rtol=1e-9)
    np.testing.assert_allclose(made.details["sites"]["linear"], y / noise**2, rtol=1e-9, atol=1e-9)


def test_filtering_is_exact_for_normal_factors() -> None:
    y = np.array([0.3, -1.0, 2.0])
    target = Product(Normal(1.0, 2.0), Sites(lambda s, i: stats.norm.logpdf(y[i], s, 0.5), count=3))
    made = fitted(Normal, target, method=ADF)
    assert made.distribution.var() == pytest.approx(1 / (0.25 + 12), rel=1e-12)
    exact = stats.multivariate_normal(np.ones(3), 4.0 + 0.25 * np.eye(3)).logpdf(y)
    assert made.details["log_evidence"] == pytest.approx(exact, rel=1e-12)
    assert made.details["log_z"].sum() == pytest.approx(exact, rel=1e-12)
    assert made.reason.startswith("each factor was taken up once, and the answer depends on their order")


@pytest.mark.parametrize("family", [Normal, MultivariateNormal, DiagonalNormal])
@pytest.mark.parametrize("method", [EP, ADF])
def test_members_of_the_family_multiply_exactly(family: Any, method: str) -> None:
    if family is Normal:
        prior, site = Normal(1.0, 2.0), Normal([0.0, 3.0], [1.0, 0.5])
    elif family is DiagonalNormal:
        prior, site = DiagonalNormal([1.0, 1.0], 2.0), DiagonalNormal([[0.0, 0.0], [3.0, 3.0]], [[1.0], [0.5]])
    else:
        loc = np.array([[0.0, 0.0], [3.0, 3.0]])
        covariance = np.array([1.0, 0.25])[:, None, None] * np.eye(2)
        prior, site = MultivariateNormal([1.0, 1.0], 4.0 * np.eye(2)), MultivariateNormal(loc, covariance)
    made = fitted(family, Product(prior, site), method=method)
    np.testing.assert_allclose(made.distribution.mean(), (0.25 + 12.0) / 5.25, rtol=1e-13)
    np.testing.assert_allclose(made.distribution.var(), 1 / 5.25, rtol=1e-13)
    # N(a | b, A + B), twice.
    each = stats.norm.logpdf(0.0, 1.0, math.sqrt(5.0)) + stats.norm.logpdf(3.0, 0.2, math.sqrt(0.8 + 0.25))
    assert made.details["log_evidence"] == pytest.approx(each * (1 if family is Normal else 2), rel=1e-12)
    assert made.divergence.value == 0.0
    assert made.reason is None


def test_conjugate_counts_are_exact() -> None:
    k = np.array([3, 1, 4])
    target = Product(Gamma(2.0, 1.5), Sites(lambda s, i: k[i] * np.log(s) - s - gammaln(k[i] + 1), count=3))
    for made in (fitted(Gamma, target), fitted(Gamma, target, 0.3), fitted(Gamma, target, method=ADF)):
        assert made.distribution.given["shape"] == pytest.approx(10.0, rel=1e-11)
        assert made.distribution.given["rate"] == pytest.approx(4.5, rel=1e-11)
        np.testing.assert_allclose(made.details["sites"]["natural"], np.stack([k, np.ones(3)], axis=1), rtol=1e-9)
        exact = 2 * math.log(1.5) - 10 * math.log(4.5) + gammaln(10) - gammaln(2) - gammaln(k + 1).sum()
        assert made.details["log_evidence"] == pytest.approx(exact, rel=1e-11)


@pytest.mark.parametrize(
    "prior",
    [
        Beta(2.0, 1.5), ContinuousBernoulli(0.3), Gamma(2.0, 3.0), HalfNormal(1.5), InverseGamma(3.0, 2.0),
        InverseGaussian(1.0, 2.0), Laplace(0.3, 1.0), LogNormal(0.0, 1.0), Pareto(2.0, 3.0), Weibull(2.0, 1.5),
        Normal(0.0, 2.0),
    ],
    ids=lambda prior: type(prior).__name__,
)  # fmt: skip
def test_one_factor_is_moment_matching_in_every_family(prior: Any) -> None:
    target = Product(prior, Sites(lambda s, i: -0.5 * (s - 1.3) ** 2))
    known = {name: prior.given[name] for name in prior.known}
    made = fitted(type(prior), target, **known)
    exact = dkl.fit(type(prior), target, method="moment matching", **known)
    for mine, its in zip(made.distribution.mean_parameters(), exact.distribution.mean_parameters(), strict=True):
        assert float(mine) == pytest.approx(float(its), rel=1e-8)
    assert made.details["log_evidence"] == pytest.approx(math.log(float(exact.normaliser.value)), rel=1e-8)
    assert type(made.distribution) is type(prior)


def test_a_reflected_interval_is_one_too() -> None:
    # No family of the library is bounded from above alone.
    from dkl.fitting.propagation.scalar import _Axis
    from dkl.supports import Interval

    for support in (Interval(), Interval(2.0), Interval(high=-1.0), Interval(-1.0, 3.0)):
        axis = _Axis(support)
        u = np.linspace(-3, 3, 7)
        x = axis.x(u)
        assert axis.inside(x).all()
        slope = (axis.x(u + 1e-6) - axis.x(u - 1e-6)) / 2e-6
        np.testing.assert_allclose(axis.log_slope(u), np.log(slope), atol=1e-8)


@pytest.mark.parametrize(("alpha", "variance"), [(0.5, 0.435889894354067), (1.0, 1.0), (2.0, 1.433740), (1e-3, 0.19)])
def test_mean_field_of_correlated_normals(alpha: float, variance: float) -> None:
    # Unit variances and a correlation of 0.9, as a wide prior times the rest.
    precision = np.linalg.inv([[1.0, 0.9], [0.9, 1.0]])
    prior = DiagonalNormal([0.5, -1.0], 2.0)
    linear = precision @ [1.0, 2.0] - 0.25 * np.array([0.5, -1.0])
    rest = precision - 0.25 * np.eye(2)
    site = MultivariateNormal(np.linalg.solve(rest, linear), precision=rest)
    made = fitted(DiagonalNormal, Product(prior, site), alpha, measured=alpha == 1.0)
    assert made.converged
    np.testing.assert_allclose(made.distribution.var(), variance, rtol=2e-3 if alpha < 0.1 else 1e-6)
    np.testing.assert_allclose(made.distribution.mean(), [1.0, 2.0], rtol=1e-9)
    if alpha == 1.0:
        assert made.details["log_evidence"] == pytest.approx(math.log(float(made.normaliser.value)), rel=1e-8)
    # q^(1−α)·p^α of two normal distributions integrates to exp(α·(α − 1)·D_α + …): by their precisions.
    m, q = np.asarray(made.distribution.mean()), np.diag(1 / np.asarray(made.distribution.var()))
    log_det = {
        name: np.linalg.slogdet(x)[1] for name, x in (("q", q), ("p", precision), ("m", q + alpha * (precision - q)))
    }
    overlap = 0.5 * ((1 - alpha) * log_det["q"] + alpha * log_det["p"] - log_det["m"])
    np.testing.assert_allclose(m, [1.0, 2.0], rtol=1e-9)
    exact = (
        prior.log_prob(m) + site.log_prob(m) - stats.multivariate_normal([1.0, 2.0], np.linalg.inv(precision)).logpdf(m)
    )
    assert made.details["log_evidence"] == pytest.approx(exact + overlap / alpha, rel=1e-9)


# The condition of a fixed point: q has the moments of q·(factor/site)^α, by SciPy's quadrature.


def moments(
    log_density: Callable[[float], float], places: list[float], functions: list[Callable[[float], float]]
) -> list:
    top = max(log_density(s) for s in np.linspace(places[0], places[-1], 2001)[1:-1])

    def integral(f: Callable[[float], float]) -> float:
        return sum(
            integrate.quad(lambda s: f(s) * math.exp(log_density(s) - top), a, b, epsabs=0, epsrel=1e-12, limit=200)[0]
            for a, b in itertools.pairwise(places)
        )

    mass = integral(lambda s: 1.0)
    return [top + math.log(mass), *(integral(f) / mass for f in functions)]


ROBUST = np.array([-1.0, 0.2, 0.5, 6.0])


def by_powers(target: Product, alpha: Any) -> Fit:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dkl.fitting.propagation.answer._MOST", 0)
        patch.setattr("dkl.fitting.propagation.answer._OF_SAMPLES", 0)
        return dkl.fit(Normal, target, method=EP, alpha=alpha)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 1.3, [0.3, 1.0, 0.7, 0.5]])
def test_the_fixed_point_of_normal_sites(alpha: Any) -> None:
    def factor(s: Any, i: Any) -> Any:
        return -2.0 * np.log1p((ROBUST[i] - s) ** 2 / 3.0)

    target = Product(Normal(0.0, 3.0), Sites(factor, count=4))
    made = fitted(Normal, target, measured=False) if alpha == 1.0 else by_powers(target, alpha)
    assert made.converged
    m, sd = float(made.distribution.mean()), float(made.distribution.std())
    assert made.details["negative"].tolist() == [3]
    assert "1 of 4 sites widen the approximation (negative precision)" in made.reason
    evidence = stats.norm.logpdf(m, 0.0, 3.0) - stats.norm.logpdf(m, m, sd)
    for i, power in enumerate(np.broadcast_to(alpha, 4)):
        nu, tau = (made.details["sites"][name][i] for name in ("linear", "precision"))

        def tilted(s: float, i: int = i, power: float = power, nu: float = nu, tau: float = tau) -> float:
            site = nu * (s - m) - 0.5 * tau * (s**2 - m**2)
            return float(stats.norm.logpdf(s, m, sd) + power * (factor(s, i) - site))

        places = [m - 14 * sd, m - 3 * sd, m, m + 3 * sd, m + 14 * sd]
        log_z, mean, square = moments(tilted, places, [lambda s: s, lambda s: (s - m) ** 2])
        assert mean == pytest.approx(m, abs=1e-8 * sd)
        assert square == pytest.approx(sd**2, rel=1e-8)
        evidence += log_z / power
    # Sites that are 1 at m: ∫ prior·Π site by the quotient of prior and answer there.
    assert made.details["log_evidence"] == pytest.approx(evidence, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 1.2])
def test_the_fixed_point_of_gamma_sites(alpha: float) -> None:
    y = np.array([1.2, 0.7, 3.0])

    def factor(s: Any, i: Any) -> Any:
        return -0.5 * (np.log(s) - np.log(y[i])) ** 2 / 0.4**2 - 0.1 * s**2

    made = fitted(Gamma, Product(Gamma(2.0, 1.5), Sites(factor, count=3)), alpha)
    assert made.converged
    a, b = (float(made.distribution.given[name]) for name in ("shape", "rate"))
    at = a / b
    evidence = stats.gamma.logpdf(at, 2.0, scale=1 / 1.5) - stats.gamma.logpdf(at, a, scale=1 / b)
    for i in range(3):
        more_a, more_b = made.details["sites"]["natural"][i]

        def tilted(s: float, i: int = i, more_a: float = more_a, more_b: float = more_b) -> float:
            site = more_a * math.log(s / at) - more_b * (s - at)
            return float(stats.gamma.logpdf(s, a, scale=1 / b) + alpha * (factor(s, i) - site))

        log_z, log_mean, mean = moments(tilted, [1e-9, at / 2, at, 2 * at, 12 * at], [math.log, lambda s: s])
        assert log_mean == pytest.approx(digamma(a) - math.log(b), rel=1e-8)
        assert mean == pytest.approx(at, rel=1e-8)
        evidence += log_z / alpha
    assert made.details["log_evidence"] == pytest.approx(evidence, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.4, 1.0])
def test_the_fixed_point_of_the_mean_field(alpha: float) -> None:
    # One factor of a projection, on a grid of both components.
    target = Product(DiagonalNormal([0.2, -0.3], [1.0, 1.5]), probit(np.ones(1), np.array([[2.0, -1.0]])))
    made = fitted(DiagonalNormal, target, alpha)
    m, sd = np.asarray(made.distribution.mean()), np.asarray(made.distribution.std())
    z = np.linspace(-9, 9, 361)
    x = m + sd * np.stack(np.meshgrid(z, z, indexing="ij"), axis=-1)
    nu, tau = made.details["sites"]["linear"][0], made.details["sites"]["precision"][0]
    site = (nu * (x - m) - 0.5 * tau * (x**2 - m**2)).sum(-1)
    log_q = stats.norm.logpdf(x, m, sd).sum(-1)
    logs = log_q + alpha * (log_ndtr(x @ [2.0, -1.0]) - site)
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    np.testing.assert_allclose((weights[..., None] * (x - m) / sd).sum((0, 1)), 0.0, atol=1e-9)
    np.testing.assert_allclose((weights[..., None] * ((x - m) / sd) ** 2).sum((0, 1)), 1.0, rtol=1e-9)
    log_mass = logsumexp(logs) + 2 * math.log(z[1] - z[0]) + np.log(sd).sum()
    prior = stats.norm.logpdf(m, [0.2, -0.3], [1.0, 1.5]).sum() - stats.norm.logpdf(m, m, sd).sum()
    assert made.details["log_evidence"] == pytest.approx(prior + log_mass / alpha, rel=1e-9)


# Against sampling and quadrature.


def test_probit_regression_against_nuts() -> None:
    from sklearn.datasets import load_breast_cancer
    from sklearn.preprocessing import StandardScaler

    reference = json.loads(Path(__file__).with_name("probit_reference.json").read_text(encoding="utf-8"))
    x, y = load_breast_cancer(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    target = Product(MultivariateNormal(np.zeros(30), np.eye(30)), probit(2.0 * y - 1.0, x))
    made = dkl.fit(MultivariateNormal, target)
    assert made.method == EP
    assert made.converged
    assert made.details["skipped"].sum() == 0
    assert reference["rhat"] < 1.001
    sd = np.array(reference["sd"])
    # Four standard errors of 80,000 draws (0.3 to 0.4 % of an sd each), and EP's own bias, which is some 1 % of an sd.
    off = np.abs(made.distribution.mean() - np.array(reference["mean"]))
    assert (off < 4 * np.array(reference["mean_stderr"]) + 0.01 * sd).all()
    off = np.abs(made.distribution.std() - sd)
    assert (off < 4 * np.array(reference["sd_stderr"]) + 0.01 * sd).all()
    # They are no looser than that: a posterior by Laplace's approximation at the prior's width fails.
    assert np.abs(np.array(reference["mean"])).max() > 1.0


@pytest.mark.parametrize("d", [1, 2])
def test_evidence_of_logistic_regression_against_quadrature(d: int) -> None:
    x, y = regression(30, d, 3)
    sites = Sites(lambda s, i: -np.logaddexp(0.0, -y[i] * s), projections=x)
    prior = MultivariateNormal(np.zeros(d), 4 * np.eye(d))
    made = fitted(MultivariateNormal, Product(prior, sites), measured=d == 2)
    grid = np.linspace(-12, 12, 601)
    w = np.stack(np.meshgrid(*[grid] * d, indexing="ij"), axis=-1)
    logs = stats.norm.logpdf(w, 0, 2).sum(-1) - np.logaddexp(0.0, -(w @ x.T) * y).sum(-1)
    exact = logsumexp(logs) + d * math.log(grid[1] - grid[0])
    weights = np.exp(logs - logs.max()) / np.exp(logs - logs.max()).sum()
    mean = (weights[..., None] * w).reshape(-1, d).sum(0)
    sd = np.sqrt((weights[..., None] * (w - mean) ** 2).reshape(-1, d).sum(0))
    # EP's own error, of posteriors as skew as these, is of a few hundredths.
    assert made.details["log_evidence"] == pytest.approx(exact, abs=0.03)
    np.testing.assert_allclose(made.distribution.mean(), mean, atol=0.08 * sd.max())
    np.testing.assert_allclose(made.distribution.std(), sd, rtol=0.08)
    if d == 2:
        assert made.details["log_normaliser"] == pytest.approx(exact, rel=1e-6)
        assert 0 <= float(made.divergence) < 0.1


def test_the_orthant_of_three_equal_correlations() -> None:
    # P(x > 0) = 1/8 + 3·asin(ρ)/(4π) for three normal numbers of correlation ρ.
    covariance = np.eye(3) + 0.5
    target = Product(
        MultivariateNormal(np.zeros(3), covariance), Sites(lambda s, i: np.where(s > 0, 0.0, -np.inf), np.eye(3))
    )
    made = fitted(MultivariateNormal, target)
    assert math.exp(made.details["log_evidence"]) == pytest.approx(
        1 / 8 + 3 * math.asin(1 / 3) / (4 * math.pi), rel=2e-3
    )


def test_a_number_and_a_vector_of_one_component_agree() -> None:
    y = np.array([1.0, -1.0, 1.0])
    x = np.array([0.5, 2.0, -1.0])
    number = fitted(Normal, Product(Normal(0.3, 2.0), probit(y, x)))
    agree(number, fitted(DiagonalNormal, Product(DiagonalNormal([0.3], 2.0), probit(y, x[:, None]))))
    vector = fitted(MultivariateNormal, Product(MultivariateNormal([0.3], [[4.0]]), probit(y, x[:, None])))
    agree(number, vector)


# All ways lead to one place.


@pytest.mark.parametrize(
    "options",
    [{"schedule": "sequential"}, {"damping": 0.5}, {"damping": 1.0}, {"damping": 0.7, "schedule": "sequential"}],
    ids=str,
)
@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_every_schedule_stops_at_one_place(options: dict[str, Any], alpha: float) -> None:
    x, y = regression(25, 3, 11)
    target = Product(MultivariateNormal(np.zeros(3), 2 * np.eye(3) + 0.5), probit(y, x))
    made, other = (fitted(MultivariateNormal, target, alpha, **given) for given in ({}, options))
    assert made.converged
    assert other.converged
    agree(made, other)


@pytest.mark.parametrize("family", [MultivariateNormal, DiagonalNormal])
def test_the_order_of_factors_does_not_matter(family: Any) -> None:
    x, y = regression(20, 3, 12)
    order = np.random.default_rng(0).permutation(20)
    prior = DiagonalNormal(np.zeros(3), 2.0)
    one, other = (fitted(family, Product(prior, probit(y[k], x[k]))) for k in (np.arange(20), order))
    agree(one, other)
    np.testing.assert_allclose(
        other.details["sites"]["precision"], one.details["sites"]["precision"][order], rtol=1e-6, atol=1e-8
    )
    # Groups are only a way to write them.
    parts = [probit(y[:7], x[:7]), DiagonalNormal(np.ones(3), 5.0), probit(y[7:], x[7:])]
    whole = [probit(y, x), DiagonalNormal(np.ones(3), 5.0)]
    agree(fitted(family, Product(prior, whole)), fitted(family, Product(prior, parts)))


def test_the_order_matters_to_filtering() -> None:
    x, y = regression(20, 2, 13)
    prior = MultivariateNormal(np.zeros(2), 9 * np.eye(2))
    one, other = (
        fitted(MultivariateNormal, Product(prior, probit(y[::k], x[::k])), method=ADF) for k in (1, -1)
    )  # fmt: skip
    assert np.abs(one.distribution.mean() - other.distribution.mean()).max() > 1e-3
    # The first sweep of sequential EP is ADF.
    swept = fitted(MultivariateNormal, Product(prior, probit(y, x)), schedule="sequential", max_sweeps=1)
    np.testing.assert_allclose(swept.distribution.mean(), one.distribution.mean(), rtol=1e-9)
    assert not swept.converged
    assert swept.reason.startswith("not converged in 1 sweeps: the last step would have moved a site by")


def test_an_almost_singular_prior() -> None:
    # A smooth Gaussian process at close places: its covariance has a condition of 1e12.
    z = np.linspace(0, 1, 12)
    covariance = np.exp(-0.5 * (z[:, None] - z) ** 2) + 1e-11 * np.eye(12)
    y = np.where(z > 0.4, 1.0, -1.0)
    prior = MultivariateNormal(np.zeros(12), cholesky=np.linalg.cholesky(covariance))
    made = fitted(MultivariateNormal, Product(prior, probit(y, np.eye(12))))
    assert made.converged
    # By the recipe of Rasmussen and Williams (2006), algorithm 3.5: no inverse of the covariance either.
    tau, nu = made.details["sites"]["precision"], made.details["sites"]["linear"]
    root = np.sqrt(tau)
    inner = np.linalg.cholesky(np.eye(12) + root[:, None] * covariance * root)
    half = np.linalg.solve(inner, root[:, None] * covariance)
    posterior = covariance - half.T @ half
    np.testing.assert_allclose(made.distribution.mean(), posterior @ nu, rtol=1e-8)
    np.testing.assert_allclose(made.distribution.var(), np.diag(posterior), rtol=1e-6)


def test_robust_regression_with_sites_that_are_passed_over() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4))
    y = x @ rng.normal(size=4) + 0.1 * rng.standard_t(1.5, size=60)
    sites = Sites(lambda s, i: -np.log1p(((y[i] - s) / 0.1) ** 2), projections=x)
    target = Product(MultivariateNormal(np.zeros(4), np.eye(4)), sites)
    made = fitted(MultivariateNormal, target, 0.5)
    assert made.converged
    assert made.details["skipped"].sum() > 0
    assert made.details["negative"].size > 0
    agree(made, fitted(MultivariateNormal, target, 0.5, schedule="sequential"))


def test_a_cavity_that_turns_negative_is_passed_over_and_said() -> None:
    # Above 1 a factor's power takes more from the approximation than there is.
    y = np.array([1.2, 0.7, 3.0])
    sites = Sites(lambda s, i: -0.5 * (np.log(s) - np.log(y[i])) ** 2 / 0.4**2, count=3)
    made = fitted(Gamma, Product(Gamma(2.0, 1.5), sites), 2.0)
    assert not made.converged
    assert made.details["log_evidence"] is None
    assert made.details["skipped"].sum() > 0
    assert (
        "sites were passed over in the last sweep, the first of them site 2, whose cavity has a negative variance"
        in (made.reason)
    )


def test_a_power_below_0_without_a_first_step_is_said() -> None:
    made = fitted(Normal, Product(Normal(0.0, 1.0), Sites(lambda s, i: -(s**2))), -1.0)
    assert not made.converged
    assert "whose cavity times the factor has no finite mass that is found" in made.reason
    assert made.distribution.var() == 1.0


def test_distributions_of_numbers_are_sites() -> None:
    y = np.array([[-1.0, 0.2], [5.0, 0.1]])
    made = fitted(Normal, Product(Normal(0.0, 3.0), [StudentT(2.0, y, 1.0), Normal(0.0, 10.0)]))
    sites = Sites(lambda s, i: stats.t.logpdf(s, 2.0, loc=y.ravel()[i]), count=4)
    other = fitted(Normal, Product(Normal(0.0, 3.0), [sites, Normal(0.0, 10.0)]))
    agree(made, other)


def test_priors_of_every_library_are_taken(backend: Any) -> None:
    y = np.array([1.0, -1.0, 1.0])
    prior = MultivariateNormal(backend.asarray(np.zeros(2)), backend.asarray(np.eye(2)))
    x = backend.asarray(np.array([[1.0, 2.0], [0.5, -1.0], [1.0, 0.0]]))
    made = fitted(MultivariateNormal, Product(prior, probit(y, backend.to_numpy(x))))
    own = MultivariateNormal(np.zeros(2), np.eye(2))
    agree(made, fitted(MultivariateNormal, Product(own, probit(y, backend.to_numpy(x)))))


# What is said on the way.


def test_progress_trace_and_the_same_answer_twice() -> None:
    x, y = regression(10, 3, 14)
    target = Product(MultivariateNormal(np.zeros(3), np.eye(3)), probit(y, x))
    seen: list[tuple[int, int, float]] = []
    made = dkl.fit(MultivariateNormal, target, progress=lambda *told: seen.append(told), max_sweeps=50)
    assert [told[0] for told in seen] == list(range(1, made.details["sweeps"] + 1))
    assert {told[1] for told in seen} == {50}
    assert tuple(told[2] for told in seen) == made.trace
    assert made.trace[-1] <= 1e-10 < made.trace[-2]
    assert made.divergence.method == "importance sampling"
    again = dkl.fit(MultivariateNormal, target, max_sweeps=50)
    np.testing.assert_array_equal(again.distribution.mean(), made.distribution.mean())
    seen.clear()
    dkl.fit(MultivariateNormal, target, method=ADF, progress=lambda *told: seen.append(told))
    assert [told[:2] for told in seen] == [(k + 1, 10) for k in range(10)]
    assert json.dumps(made.to_dict())


def test_a_divergence_that_takes_too_long_is_not_measured() -> None:
    target = Product(Normal(0.0, 1.0), Sites(lambda s, i: -1e-4 * s**2, count=10_000))
    made = fitted(Normal, target, measured=True)
    assert made.divergence is None
    assert made.reason == "the divergence is not measured: it would ask 10000 factors at 1024 samples each"
    assert made.distribution.var() == pytest.approx(1.0 / 3.0, rel=1e-9)
    with pytest.raises(ValueError, match="a fit by expectation propagation has no path"):
        made.path([0.0, 1.0])


def test_a_narrow_factor_far_away_ends_where_outcomes_are_rounded() -> None:
    # Outcomes about 1e6 are rounded to 1e-7 of the posterior's width of 1e-3.
    target = Product(Normal(0.0, 1.0), Sites(lambda s, i: -0.5 * ((s - 1e6) / 1e-3) ** 2))
    made = fitted(Normal, target, measured=True)
    assert made.converged
    assert made.details["sweeps"] < 10
    assert made.distribution.mean() == pytest.approx(1e6 / (1 + 1e-6), abs=1e-8)
    assert made.distribution.std() == pytest.approx(1e-3, rel=2e-5)
    # Quadrature may miss what is so narrow: the fit's own samples do not.
    assert float(made.divergence) < 1e-8
    exact = -0.5 * 1e12 / (1 + 1e-6) + math.log(1e-3) - 0.5 * math.log1p(1e-6)
    assert made.log_normaliser == pytest.approx(exact, abs=1e-3)


@pytest.mark.parametrize("size", [0.0, 1e6, -1e9])
def test_a_factor_that_says_nothing(size: float) -> None:
    made = fitted(Normal, Product(Normal(1.0, 2.0), Sites(lambda s, i: size + 0.0 * s)), measured=size == 0.0)
    assert made.converged
    assert made.distribution.mean() == pytest.approx(1.0, abs=1e-6)
    assert made.distribution.std() == pytest.approx(2.0, rel=1e-6)
    assert made.details["log_evidence"] == pytest.approx(size, abs=1e-12)


def test_rtol_is_met_and_not_much_more() -> None:
    x, y = regression(10, 3, 15)
    target = Product(MultivariateNormal(np.zeros(3), np.eye(3)), probit(y, x))
    loose = fitted(MultivariateNormal, target, rtol=1e-3)
    assert 1e-10 < loose.trace[-1] <= 1e-3
    assert len(loose.trace) < len(fitted(MultivariateNormal, target).trace)


def test_mixing_solves_a_linear_iteration_at_once() -> None:
    rng = np.random.default_rng(3)
    matrix, shift = 0.2 * rng.normal(size=(3, 3)), rng.normal(size=3)
    fixed = np.linalg.solve(np.eye(3) - matrix, shift)
    path: list[tuple[np.ndarray, np.ndarray]] = []
    x = np.zeros(3)
    for _ in range(6):
        path.append((x, matrix @ x + shift - x))
        tried = accelerated(path, np.ones(3))
        x = matrix @ x + shift if tried is None else tried
    np.testing.assert_allclose(x, fixed, rtol=1e-8)


# Which method answers, and what is refused.


def test_what_answers_where() -> None:
    line = Product(Normal(0.0, 1.0), probit(np.ones(1)))
    for order in (0.5, 1.0):
        problem = Problem(Normal, line, dkl.Alpha(order))
        for method in (expectation_propagation, assumed_density_filtering):
            with pytest.raises(DeclinedError, match=r"by its name|minimises KL\(target‖fit\) alone"):
                method(problem)
        assert expectation_propagation(problem.with_(method=EP)).method == EP
    space = Product(MultivariateNormal(np.zeros(3), np.eye(3)), probit(np.ones(3), np.eye(3)))
    assert dkl.fit(MultivariateNormal, space).method == EP
    assert dkl.fit(MultivariateNormal, space, dkl.Alpha(0.5)).method == EP
    for order, why in ((0.0, "α other than 0"), (-1.0, "below α = 0")):
        with pytest.raises(DeclinedError, match=why):
            expectation_propagation(Problem(MultivariateNormal, space, dkl.Alpha(order)))
    # Of what EP has no steps for, other methods are asked.
    for prior in (StudentT(3.0, 0.0, 1.0), LogNormal(0.0, 1.0)):
        with pytest.raises(DeclinedError, match=r"by its name|must be a Normal"):
            expectation_propagation(Problem(Normal, Product(prior, probit(np.ones(1))), dkl.kl))


NUMBER = Product(Normal(0.0, 1.0), probit(np.ones(2), count=2))
FACTORS = probit(np.ones(2), np.eye(2))


@pytest.mark.parametrize(
    ("family", "target", "options", "error", "message"),
    [
        (Normal, NUMBER, {"alpha": 0.0}, ValueError, r"alpha\[0\] = 0.0 must be finite and not 0: the limit α → 0 is"),
        (Normal, NUMBER, {"alpha": [1.0, math.nan]}, ValueError, r"alpha\[1\] = nan must be finite and not 0$"),
        (Normal, NUMBER, {"alpha": [1.0] * 3}, ValueError, r"alpha of shape \(3,\) must be one number, or one"),
        (Normal, NUMBER, {"damping": 0.0}, ValueError, r"damping = 0.0 is the share of a step"),
        (Normal, NUMBER, {"damping": 1.5}, ValueError, r"damping = 1.5 is the share of a step"),
        (Normal, NUMBER, {"schedule": "random"}, ValueError, "schedule = 'random' must be 'parallel' or 'sequential'"),
        (Normal, NUMBER, {"rtol": 0.0}, ValueError, "rtol = 0.0 must lie between 0 and 1"),
        (Normal, NUMBER, {"max_sweeps": 0}, ValueError, "max_sweeps = 0 must be a whole number of at least 1"),
        (Normal, NUMBER, {"step": 1}, TypeError, "expectation propagation takes no step"),
        (
            Normal, Product(StudentT(3.0, 0.0, 1.0), probit(np.ones(1))), {}, TypeError,
            "starts at the prior, which must be a Normal for a fit of Normal, got StudentT.*give a wide proper one",
        ),
        (
            Normal, Product(dkl.Density(lambda x: 0.0 * x), probit(np.ones(1))), {}, TypeError,
            "starts at the prior, which must be a Normal",
        ),
        (Normal, Product(LogNormal(0.0, 1.0), probit(np.ones(1))), {}, TypeError, "must be a Normal for a fit"),
        (
            DiagonalNormal, Product(MultivariateNormal([0.0, 0.0], np.eye(2)), FACTORS), {}, TypeError,
            "must be a DiagonalNormal for a fit of DiagonalNormal",
        ),
        (
            MultivariateNormal,
            Product(
                MultivariateNormal([0.0, 0.0], np.eye(2)),
                dkl.Density(lambda x: -(x**4).sum(-1), support=dkl.supports.Vectors(2)),
            ), {}, TypeError, r"sites\[0\], Density.*is a distribution of vectors that is not normal",
        ),
        (
            MultivariateNormal,
            Product(MultivariateNormal([0.0, 0.0], np.eye(2)), probit(np.ones(2), np.array([[1.0, 1.0], [0.0, 0.0]]))),
            {}, ValueError, "site 1 has a projection of zeros",
        ),
        (Normal, Normal(0.0, 1.0), {}, TypeError, "by kl: expectation propagation needs a product of factors"),
        (Poisson, Product(Poisson(2.0), Sites(lambda s, i: -s)), {}, TypeError, "must be a Poisson"),
        (VonMises, Product(VonMises(0.0, 2.0), Sites(lambda s, i: -s)), {}, TypeError, "must be a VonMises"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(
    family: Any, target: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        dkl.fit(family, target, method=EP, **options)


def test_known_parameters_are_the_priors_own() -> None:
    target = Product(Weibull(2.0, 1.5), Sites(lambda s, i: -s))
    with pytest.raises(
        ValueError, match=r"concentration = 2\.0 is not the prior's, which is 1\.5: Weibull keeps it fixed"
    ):
        dkl.fit(Weibull, target, method=EP, concentration=2.0)


def test_a_prior_of_low_rank() -> None:
    x, y = regression(8, 3, 21)
    prior = LowRankNormal(np.zeros(3), np.array([[1.0], [2.0], [-1.0]]), np.ones(3))
    w = np.array([1.0, 2.0, -1.0])
    dense = MultivariateNormal(np.zeros(3), np.eye(3) + w[:, None] * w)
    agree(*(fitted(MultivariateNormal, Product(each, probit(y, x))) for each in (prior, dense)))


def test_improper_priors_are_refused_where_they_are_made() -> None:
    with pytest.raises(ValueError, match="precision = 0 is not positive"):
        Normal(0.0, precision=0.0)


def test_filtering_needs_mass() -> None:
    target = Product(Normal(0.0, 1.0), Sites(lambda s, i: np.where(i == 1, -np.inf, -s), count=2))
    with pytest.raises(ValueError, match=r"site 1 times the approximation before it, Normal\(.*\), has no mass"):
        dkl.fit(Normal, target, method=ADF)
    with pytest.raises(TypeError, match="nothing fits Normal"):
        dkl.fit(Normal, NUMBER, dkl.reverse_kl, method=ADF)


@pytest.mark.parametrize("factor", [lambda s, i: 10.0 * s**2, lambda s, i: -np.inf + 0.0 * s])
def test_sites_that_leave_no_distribution_are_named(factor: Callable[..., Any]) -> None:
    prior = MultivariateNormal(np.zeros(3), np.eye(3))
    for target in (
        Product(Normal(0.0, 1.0), Sites(factor)),
        Product(prior, Sites(factor, projections=np.eye(3))),
    ):
        family = Normal if not target.event_shape else MultivariateNormal
        with pytest.raises(ValueError, match=r"none of the \d sites could be taken up: .* no finite mass"):
            dkl.fit(family, target, method="expectation propagation")


@pytest.mark.parametrize(
    ("factor", "first"),
    [
        (lambda s, i: np.where(np.where(i == 0, s > 0.6, s < 0.5), 0.0, -np.inf), 0),
        (lambda s, i: np.where(i == 1, -np.inf, -(s**2)), 1),
    ],
    ids=["apart", "empty"],
)
def test_a_site_that_contradicts_the_others_is_named(factor: Callable[..., Any], first: int) -> None:
    message = f"site {first} excludes what the others leave: .* the product is 0 at each of 16384 samples"
    with pytest.raises(ValueError, match=message):
        dkl.fit(Normal, Product(Normal(0.0, 1.0), Sites(factor, count=2)), method=EP)
    rows = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    with pytest.raises(ValueError, match=message):
        dkl.fit(MultivariateNormal, Product(MultivariateNormal(np.zeros(3), np.eye(3)), Sites(factor, rows)))


def test_factors_that_cut_off_leave_no_bound_but_an_integral() -> None:
    # Three numbers of correlation 1/3, all between 0 and 1, by SciPy's own integral.
    covariance = np.eye(3) + 0.5
    box = Sites(lambda s, i: np.where((s > 0) & (s < 1), 0.0, -np.inf), np.eye(3))
    made = dkl.fit(MultivariateNormal, Product(MultivariateNormal(np.zeros(3), covariance), box))
    exact = math.log(stats.multivariate_normal(np.zeros(3), covariance).cdf(np.ones(3), lower_limit=np.zeros(3)))
    assert made.details["log_evidence"] == pytest.approx(exact, abs=5e-3)
    assert made.log_normaliser == pytest.approx(exact, abs=5 * made.details["log_normaliser_stderr"])
    low, high = made.normaliser.interval(0.9999)
    assert low < math.exp(exact) < high
    assert made.details["elbo"] == -math.inf
    assert made.divergence.method == "importance sampling"


def test_a_graph_of_skills_with_draws() -> None:
    # Games of pairs by the differences of skills; a draw is a window, and half of the graph would be a tree.
    rng = np.random.default_rng(4)
    rows = np.zeros((30, 8))
    for row in rows:
        row[rng.choice(8, 2, replace=False)] = 1.0, -1.0
    outcome = rng.integers(-1, 2, 30)

    def game(s: Any, i: Any) -> Any:
        over, under = (s - 2.0) / 6.0, (-s - 2.0) / 6.0
        draw = np.log(-np.expm1(np.logaddexp(log_ndtr(over), log_ndtr(under))))
        return np.where(outcome[i] > 0, log_ndtr(over), np.where(outcome[i] < 0, log_ndtr(under), draw))

    target = Product(MultivariateNormal(np.full(8, 25.0), 64.0 * np.eye(8)), Sites(game, rows))
    made = dkl.fit(MultivariateNormal, target)
    agree(made, fitted(MultivariateNormal, target, schedule="sequential"))
    assert made.converged
    # Nothing is said of the mean of all skills.
    whole = np.full(8, 1 / 8)
    assert whole @ made.distribution.mean() == pytest.approx(25.0, rel=1e-9)
    factor = np.asarray(made.distribution._factor())
    assert ((whole @ factor) ** 2).sum() == pytest.approx(64.0 / 8, rel=1e-9)
    assert made.log_normaliser == pytest.approx(made.details["log_evidence"], abs=0.05)


@pytest.mark.parametrize("alpha", [-1.0, 0.5, 2.0])
def test_logistic_regression_by_every_power(alpha: float) -> None:
    x, y = regression(40, 3, 6)
    sites = Sites(lambda s, i: -np.logaddexp(0.0, -y[i] * s), projections=x)
    target = Product(MultivariateNormal(np.zeros(3), 9 * np.eye(3)), sites)
    made = fitted(MultivariateNormal, target, alpha)
    assert made.converged
    agree(made, fitted(MultivariateNormal, target, alpha, damping=0.3))
    agree(made, fitted(MultivariateNormal, target, alpha, schedule="sequential"))


def test_an_ill_conditioned_prior_and_equal_factors() -> None:
    rng = np.random.default_rng(7)
    rotation, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    factor = np.linalg.cholesky(rotation @ np.diag(np.geomspace(1e8, 1.0, 5)) @ rotation.T)
    x, y = np.repeat(rng.normal(size=(6, 5)), 5, axis=0), np.repeat([1.0, -1.0], 15)
    target = Product(MultivariateNormal(np.zeros(5), cholesky=factor), probit(y, x))
    made = fitted(MultivariateNormal, target)
    assert made.converged
    agree(made, fitted(MultivariateNormal, target, schedule="sequential"))
    precision = made.details["sites"]["precision"].reshape(6, 5)
    np.testing.assert_allclose(precision, precision[:, :1] * np.ones(5), rtol=1e-6)


def test_projections_without_a_variance_in_floats() -> None:
    target = Product(
        MultivariateNormal(np.zeros(3), np.eye(3)), Sites(lambda s, i: log_ndtr(s), projections=np.full((2, 3), 1e200))
    )
    with pytest.raises(ValueError, match="site 0 has a projection so large that its variance"):
        dkl.fit(MultivariateNormal, target, method="expectation propagation")


def test_a_tiny_power_ends_where_rounding_does() -> None:
    target = Product(Normal(0.0, 1.0), Sites(lambda s, i: log_ndtr((2.0 * i + 1.0) * s), count=3))
    tiny, small = (
        dkl.fit(Normal, target, method="expectation propagation", alpha=alpha) for alpha in (1e-8, 1e-5)
    )  # fmt: skip
    assert tiny.converged
    assert tiny.details["sweeps"] < 100
    assert abs(float(tiny.distribution.mean() - small.distribution.mean())) < 1e-5


def test_a_power_that_makes_a_factor_grow_without_end_is_told_without_a_warning() -> None:
    prior = MultivariateNormal(np.zeros(3), np.eye(3))
    target = Product(prior, Sites(lambda s, i: log_ndtr(s), projections=np.eye(3)))
    fit = dkl.fit(MultivariateNormal, target, method=EP, alpha=-1.0)
    assert not fit.converged
    assert "passed over" in fit.reason


@pytest.mark.parametrize("alpha", ["a", [1.0, "a", 2.0], None, 1j])
def test_a_power_that_is_no_number_is_named(alpha: Any) -> None:
    prior = MultivariateNormal(np.zeros(3), np.eye(3))
    target = Product(prior, Sites(lambda s, i: log_ndtr(s), projections=np.eye(3)))
    with pytest.raises(TypeError, match="alpha must hold real numbers"):
        dkl.fit(MultivariateNormal, target, method=EP, alpha=alpha)
