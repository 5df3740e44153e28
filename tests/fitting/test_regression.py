"""Natural gradients by regression against posteriors, direct minimisation, and the measured KL's own derivatives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import special

import dkl
from dkl.families import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    ChiSquared,
    ContinuousBernoulli,
    DiagonalNormal,
    Dirichlet,
    Erlang,
    Exponential,
    Gamma,
    Geometric,
    HalfNormal,
    InverseGamma,
    InverseGaussian,
    InverseWishart,
    Laplace,
    LogNormal,
    MatrixNormal,
    Maxwell,
    Multinomial,
    MultivariateNormal,
    NegativeBinomial,
    Normal,
    Pareto,
    Poisson,
    Rayleigh,
    VonMises,
    VonMisesFisher,
    Weibull,
    Wishart,
)
from dkl.fitting.variational.charts import Chart, has_chart
from dkl.fitting.variational.places import by_nodes, log_density
from dkl.fitting.variational.regression import Settings, followed
from dkl.fitting.variational.slopes import Seen, settled
from dkl.methods.nodes import heights
from dkl.supports import Integers, Interval, PositiveDefinite, Simplex, Sphere, Vectors

NATURAL, DIRECT = "natural gradient", "direct minimisation"
WIDE = 0.2 + np.eye(3)
MEMBERS: list[tuple[Any, dict[str, Any]]] = [
    (Gamma(2.0, 3.0), {}),
    (Exponential(2.0), {}),
    (ChiSquared(3.0), {}),
    (InverseGamma(3.0, 2.0), {}),
    (HalfNormal(2.0), {}),
    (Rayleigh(2.0), {}),
    (Maxwell(2.0), {}),
    (Beta(2.0, 0.5), {}),
    (InverseGaussian(2.0, 3.0), {}),
    (Normal(0.0, 2.0), {}),
    (LogNormal(0.5, 2.0), {}),
    (VonMises(0.3, 2.0), {}),
    (Poisson(3.0), {}),
    (Geometric(0.3), {}),
    (NegativeBinomial(2.5, 0.3), {"total_count": 2.5}),
    (Binomial(10, 0.3), {"total_count": 10}),
    (Bernoulli(0.3), {}),
    (ContinuousBernoulli(0.3), {}),
    (Pareto(2.0, 3.0), {"scale": 2.0}),
    (Weibull(2.0, 3.0), {"concentration": 3.0}),
    (Laplace(0.5, 2.0), {"loc": 0.5}),
    (Multinomial(10, [0.3, 0.3, 0.4]), {"total_count": 10}),
    (VonMisesFisher([0.0, 0.6, 0.8], 2.0), {}),
    (Dirichlet([1.0, 2.0, 3.0]), {}),
    (DiagonalNormal(np.zeros(3), [1.0, 2.0, 3.0]), {}),
    (MultivariateNormal(np.zeros(3), WIDE), {}),
    (Wishart(5.0, WIDE), {}),
    (InverseWishart(5.0, WIDE), {}),
]


def named(x: Any) -> str:
    return type(x[0]).__name__


@pytest.mark.parametrize("of", MEMBERS, ids=named)
def test_log_densities_are_linear_in_the_natural_parameters(of: tuple[Any, dict[str, Any]]) -> None:
    member, known = of
    chart = Chart(member, known)
    v = chart.natural(member)
    other = chart.member(1.1 * v)
    assert type(other) is type(member)
    if not isinstance(member, Multinomial):  # whose logarithms of shares are known up to a constant
        np.testing.assert_allclose(chart.natural(other) - v, 0.1 * v, rtol=1e-9, atol=1e-14)
    x = np.asarray(member.sample(40, rng=1), dtype=float)
    rest = heights(other, x) - heights(member, x) - chart.statistics(x) @ (0.1 * v)
    assert np.ptp(rest) < 1e-13


@pytest.mark.parametrize("of", MEMBERS, ids=named)
def test_one_step_meets_a_target_of_the_family(of: tuple[Any, dict[str, Any]]) -> None:
    target, known = of
    chart = Chart(target, known)
    begun = chart.member(1.4 * chart.natural(target))
    x = np.asarray(begun.sample(300, rng=0), dtype=float)
    excess = log_density(target)(x) - heights(begun, x) + 7.0  # the integral does not matter
    statistic = chart.statistics(x)
    seen = Seen(
        begun, chart.natural(begun), statistic - statistic.mean(axis=0), np.full(300, -math.log(300)), excess, True
    )  # fmt: skip
    met = chart.member(seen.natural + seen.here.back @ seen.here.descent)
    assert float(dkl.kl(met, target)) < 1e-24
    assert seen.here.unexplained < 1e-10
    np.testing.assert_allclose(chart.natural(met), chart.natural(target), rtol=1e-10, atol=1e-11)


UNIT = dkl.Mixture(Beta([2.0, 6.0], [5.0, 3.0]), [0.5, 0.5])
COUNTS = dkl.Mixture(Poisson([2.0, 15.0]), [0.5, 0.5])
POSITIVE = dkl.Density(lambda x: -0.5 * x**2 + np.log1p(x) - 0.3 * np.cos(2 * x), support=Interval(0.0))
TWO = dkl.Mixture(Gamma([3.0, 30.0], [2.0, 5.0]), [0.5, 0.5])


@pytest.mark.parametrize(
    ("family", "target", "known"),
    [
        (Gamma, POSITIVE, {}),
        (Gamma, TWO, {}),
        (LogNormal, TWO, {}),
        (InverseGaussian, POSITIVE, {}),
        (InverseGamma, TWO, {}),
        (Exponential, TWO, {}),
        (ChiSquared, TWO, {}),
        (Rayleigh, TWO, {}),
        (Weibull, POSITIVE, {"concentration": 1.5}),
        (Beta, UNIT, {}),
        (ContinuousBernoulli, UNIT, {}),
        (Poisson, COUNTS, {}),
        (Geometric, COUNTS, {}),
        (NegativeBinomial, COUNTS, {"total_count": 2.5}),
        (Binomial, dkl.Density(lambda x: np.sin(x) + 0.1 * x, support=Integers(0, 10)), {"total_count": 10}),
        (VonMises, dkl.Mixture(VonMises([0.0, 2.5], [3.0, 4.0]), [0.5, 0.5]), {}),
        (Normal, dkl.Density(lambda x: np.asarray(x) - np.asarray(x) ** 4), {}),
    ],
)  # fmt: skip
def test_the_optima_are_those_of_direct_minimisation(family: Any, target: Any, known: dict[str, Any]) -> None:
    natural, direct = (
        dkl.fit(family, target, dkl.reverse_kl, method=method, starts=starts, **known)
        for method, starts in ((NATURAL, 6), (DIRECT, 1))
    )
    assert natural.converged
    assert natural.details["residual"] < 1e-10
    assert float(natural.divergence) <= float(direct.divergence) + 1e-9
    near = min(natural.optima, key=lambda o: abs(o.value - float(direct.divergence)))
    assert near.value == pytest.approx(float(direct.divergence), rel=1e-9)
    for mine, its in zip(near.distribution.mean_parameters(), direct.distribution.mean_parameters(), strict=True):
        assert float(mine) == pytest.approx(float(its), rel=1e-8, abs=1e-9)
    assert sum(o.basin for o in natural.optima) == pytest.approx(1.0)


def test_two_modes_are_two_optima() -> None:
    fit = dkl.fit(Gamma, TWO, dkl.reverse_kl, method=NATURAL)
    assert [round(float(o.distribution.mean()), 1) for o in fit.optima] == [2.8, 5.8]
    values = [o.value for o in fit.optima]
    assert values == sorted(values)
    expected = [float(dkl.reverse_kl(TWO, o.distribution)) for o in fit.optima]
    np.testing.assert_allclose(values, expected, rtol=1e-9)


@pytest.mark.parametrize(("family", "theta"), [(Gamma, [2.0, 1.5]), (Beta, [0.7, 2.5]), (Poisson, [0.8])])
def test_the_residual_against_differences_of_the_measured_divergence(family: Any, theta: list[float]) -> None:
    target = {Gamma: TWO, Beta: UNIT, Poisson: COUNTS}[family]
    start = {Gamma: Gamma(1.0, 1.0), Beta: Beta(1.0, 1.0), Poisson: Poisson(1.0)}[family]
    chart = Chart(start, {})
    member = chart.member(np.array(theta))
    place = by_nodes(target, chart, target)(member).here
    h = 1e-4

    def along(k: int, times: float) -> float:
        moved = chart.member(np.array(theta) + times * h * np.eye(len(theta))[k])
        return float(dkl.reverse_kl(target, moved))

    gradient = np.array([(along(k, 1.0) - along(k, -1.0)) / (2 * h) for k in range(len(theta))])
    x = np.asarray(member.sample(200_000, rng=0), dtype=float)
    fisher = {
        Gamma: lambda: np.array([[special.polygamma(1, 2.0), -1 / 1.5], [-1 / 1.5, 2.0 / 1.5**2]]),
        Beta: lambda: np.diag(special.polygamma(1, theta)) - special.polygamma(1, 3.2),
        Poisson: lambda: np.array([[math.exp(0.8)]]),
    }[family]()
    assert place.residual == pytest.approx(math.sqrt(gradient @ np.linalg.solve(fisher, gradient)), rel=1e-6)
    np.testing.assert_allclose(place.back @ place.descent, -np.linalg.solve(fisher, gradient), rtol=1e-5)
    # The second derivatives, in the same units.
    second = np.array([(along(k, 1.0) - 2 * along(k, 0.0) + along(k, -1.0)) / h**2 for k in range(len(theta))])
    inverse = np.linalg.pinv(place.back)
    np.testing.assert_allclose(np.diag(inverse.T @ place.curvature @ inverse), second, rtol=1e-5)
    assert np.isfinite(x).all()


def test_closed_forms() -> None:
    # KL(LogNormal(m, s²)‖Gamma(a, b)): the mean of x is a/b, and 1/s² that of b·x.
    fit = dkl.fit(LogNormal, Gamma(2.0, 1.0), dkl.reverse_kl, method=NATURAL)
    assert float(fit.distribution.scale) ** 2 == pytest.approx(0.5, rel=1e-11)
    assert float(fit.distribution.mean()) == pytest.approx(2.0, rel=1e-11)
    # KL(Poisson(λ)‖Geometric(p)) has log λ = E-slope of Σ log x!: checked at its own stationary point.
    poisson = dkl.fit(Poisson, Geometric(0.3), dkl.reverse_kl, method=NATURAL).distribution
    x = np.arange(200.0)
    rate = float(poisson.rate)
    p = np.exp(x * math.log(rate) - rate - special.gammaln(x + 1))
    slope = ((p * (x / rate - 1)) * (x * math.log(rate) - special.gammaln(x + 1) - x * math.log(0.7))).sum()
    assert abs(slope) < 1e-12


@pytest.mark.parametrize(
    ("posterior", "log_density_of"),
    [
        (Gamma(7.0, 5.0), lambda lam: 2.0 * np.log(lam) - 2.0 * lam + 4 * np.log(lam) - 3.0 * lam),
        (Beta(5.0, 9.0), lambda p: np.log(p) + 2 * np.log1p(-p) + 3 * np.log(p) + 6 * np.log1p(-p)),
    ],
)
def test_posteriors_of_conjugate_models_on_a_line(posterior: Any, log_density_of: Any) -> None:
    density = dkl.Density(log_density_of, support=posterior.support)
    fit = dkl.fit(type(posterior), density, dkl.reverse_kl, method=NATURAL, starts=3)
    for mine, its in zip(fit.distribution._natural(), posterior._natural(), strict=True):
        assert float(mine) == pytest.approx(float(its), rel=1e-12)
    constant = log_density_of(0.4) - float(posterior.log_prob(0.4))
    assert fit.details["log_normaliser"] == pytest.approx(constant, rel=1e-9)
    assert float(fit.normaliser) == pytest.approx(math.exp(constant), rel=1e-9)


def test_posteriors_of_conjugate_models_by_samples() -> None:
    seen = np.array([3.0, 1.0, 6.0])
    shares = dkl.Density(lambda x: ((seen + 0.5 - 1.0) * np.log(x)).sum(-1), support=Simplex(3))
    fit = dkl.fit(Dirichlet, shares, dkl.reverse_kl, samples=500)
    assert fit.method == NATURAL
    np.testing.assert_allclose(fit.distribution.given["concentration"], seen + 0.5, rtol=1e-12)
    constant = special.gammaln(seen + 0.5).sum() - special.gammaln(seen.sum() + 1.5)
    assert fit.details["log_normaliser"] == pytest.approx(constant, rel=1e-12)
    # Of the precision of normal vectors with mean 0: Wishart(ν + n, (V⁻¹ + Σ xxᵀ)⁻¹).
    x = np.random.default_rng(0).standard_normal((5, 2))
    scatter = x.T @ x

    def log_prob(precision: Any) -> Any:
        prior = 0.5 * (4.0 - 3.0) * np.linalg.slogdet(precision)[1] - 0.5 * np.trace(precision, axis1=-2, axis2=-1)
        likelihood = 2.5 * np.linalg.slogdet(precision)[1] - 0.5 * np.einsum("...ij,ij->...", precision, scatter)
        return prior + likelihood

    matrix = dkl.fit(Wishart, dkl.Density(log_prob, support=PositiveDefinite(2, 2)), dkl.reverse_kl, samples=500)
    assert float(matrix.distribution.df) == pytest.approx(9.0, rel=1e-12)
    np.testing.assert_allclose(matrix.distribution.scale, np.linalg.inv(np.eye(2) + scatter), rtol=1e-11)
    assert matrix.converged
    assert matrix.details["noise"] < 1e-12


def test_a_mixture_of_dirichlets_has_an_optimum_at_each() -> None:
    target = dkl.Mixture(Dirichlet([[40.0, 8.0, 12.0], [5.0, 30.0, 5.0]]), [0.6, 0.4])
    fit = dkl.fit(Dirichlet, target, dkl.reverse_kl)
    assert fit.method == NATURAL
    assert fit.converged
    assert len(fit.optima) == 2
    # Far apart, each is its component, and KL(fit‖target) the logarithm of its share.
    np.testing.assert_allclose([o.value for o in fit.optima], -np.log([0.6, 0.4]), atol=0.03)
    np.testing.assert_allclose(fit.distribution.mean(), [40 / 60, 8 / 60, 12 / 60], atol=0.005)
    assert [part.part[:11] for part in fit.dropped] == ["component 1"]


def test_what_samples_find_is_what_quadrature_does() -> None:
    # A pair of shares is a number: Dirichlet by samples is Beta by nodes, within the error that is told.
    target = dkl.Density(lambda x: np.log(x[..., 0]) + np.sin(6 * x[..., 0]), support=Simplex(2))
    line = dkl.Density(lambda x: np.log(x) + np.sin(6 * x), support=Interval(0.0, 1.0))
    drawn = dkl.fit(Dirichlet, target, dkl.reverse_kl)
    exact = dkl.fit(Beta, line, dkl.reverse_kl, method=NATURAL)
    a, b = float(exact.distribution.a), float(exact.distribution.b)
    apart = np.asarray(drawn.distribution.given["concentration"]) - [a, b]
    fisher = np.diag(special.polygamma(1, [a, b])) - special.polygamma(1, a + b)
    assert math.sqrt(apart @ fisher @ apart) < 3 * drawn.details["noise"] < 0.1
    low, high = drawn.normaliser.interval(0.9999)
    assert low < float(exact.normaliser) < high


def test_the_standard_error_is_that_of_repetitions() -> None:
    target = dkl.Density(lambda x: np.log(x[..., 0]) + np.sin(6 * x[..., 0]), support=Simplex(2))
    fits = [dkl.fit(Dirichlet, target, dkl.reverse_kl, samples=400, starts=1, rng=k) for k in range(30)]
    found = np.array([fit.distribution.given["concentration"] for fit in fits])
    centre = found.mean(axis=0)
    fisher = np.diag(special.polygamma(1, centre)) - special.polygamma(1, centre.sum())
    apart = found - centre
    spread = np.einsum("ni,ij,nj->n", apart, fisher, apart).sum() / 29
    told = np.mean([fit.details["noise"] ** 2 for fit in fits])
    # A mean of 30 squares in two dimensions is off by a fifth or so.
    assert 0.4 < spread / told < 1.8


def test_directions_and_counts() -> None:
    sphere = dkl.Density(lambda x: 3 * x[..., 2] - x[..., 0] ** 2, support=Sphere(3))
    fit = dkl.fit(VonMisesFisher, sphere, dkl.reverse_kl)
    direction = np.asarray(fit.distribution.given["mean_direction"])
    assert direction[2] > 1 - 5 * fit.details["noise"] ** 2
    assert 0 < float(fit.divergence) < 0.05
    counts = dkl.fit(
        Multinomial, Multinomial(5, [0.2, 0.3, 0.5]), dkl.reverse_kl, total_count=5, method=NATURAL
    )  # fmt: skip
    np.testing.assert_allclose(counts.distribution.mean(), [1.0, 1.5, 2.5], rtol=1e-12)


def test_a_list_is_met_by_itself() -> None:
    fit = dkl.fit(Categorical, dkl.Density(np.sin, support=Integers(0, 3)), dkl.reverse_kl)
    expected = np.exp(np.sin(np.arange(4.0)))
    np.testing.assert_allclose(fit.distribution.given["probs"], expected / expected.sum(), rtol=1e-14)
    assert float(fit.normaliser) == pytest.approx(expected.sum())
    assert float(fit.divergence) < 1e-28
    with pytest.raises(TypeError, match="of a Categorical needs finitely many outcomes"):
        dkl.fit(Categorical, Poisson(2.0), dkl.reverse_kl, method=NATURAL)


def test_normal_families_without_derivatives() -> None:
    density = dkl.Density(lambda x: -0.5 * ((np.asarray(x) - [3.0, -1.0, 2.0]) ** 2).sum(-1), support=Vectors(3))
    fit = dkl.fit(MultivariateNormal, density, dkl.reverse_kl)
    assert fit.method == NATURAL
    np.testing.assert_allclose(fit.distribution.mean(), [3.0, -1.0, 2.0], rtol=1e-10)
    np.testing.assert_allclose(fit.distribution.given["precision"], np.eye(3), atol=1e-10)
    wide = dkl.Density(lambda x: -0.5 * (np.asarray(x) ** 2).sum(-1), support=Vectors(40))
    with pytest.raises(TypeError, match="without derivatives is for 512 natural parameters, and these are 860"):
        dkl.fit(MultivariateNormal, wide, dkl.reverse_kl, method=NATURAL)


def test_densities_written_in_torch() -> None:
    import torch

    target = dkl.Density(lambda x: (torch.tensor([1.0, 3.0]) * torch.log(x)).sum(-1), support=Simplex(2))
    fit = dkl.fit(Dirichlet, target, dkl.reverse_kl, samples=200)
    np.testing.assert_allclose(fit.distribution.given["concentration"], [2.0, 4.0], rtol=1e-12)


def test_the_same_seed_gives_the_same_to_the_last_bit() -> None:
    target = dkl.Mixture(Wishart([6.0, 20.0], np.stack([np.eye(2), 0.3 * np.eye(2)])), [0.5, 0.5])
    one, two = (dkl.fit(Wishart, target, dkl.reverse_kl, rng=3, samples=1000) for _ in range(2))
    assert (np.asarray(one.distribution.scale) == np.asarray(two.distribution.scale)).all()
    assert "in units of the fit's own: samples= makes it smaller" in str(one.reason)


def test_steps_progress_and_their_size() -> None:
    told: list[tuple[int, int]] = []
    fit = dkl.fit(
        Gamma, TWO, dkl.reverse_kl, method=NATURAL, step_size=0.2, starts=2, progress=lambda *at: told.append(at)
    )
    assert fit.converged
    assert told[-1][0] == told[-1][1]
    assert np.diff(fit.trace).max(initial=0.0) < 1e-9
    short = dkl.fit(Gamma, TWO, dkl.reverse_kl, method=NATURAL, steps=1, starts=1, step_size=0.01, rtol=1e-14)
    assert not short.converged
    assert "after 1 steps the natural gradient is still" in str(short.reason)


def test_a_saddle_is_left() -> None:
    # Between two equal humps on a circle the flat member is stationary, and no minimum.
    target = dkl.Mixture(VonMises([0.0, math.pi], [8.0, 8.0]), [0.5, 0.5])
    chart = Chart(VonMises(0.0, 1.0), {})
    seen = by_nodes(target, chart, target)(VonMises(0.0, 1e-12))
    assert seen.here.residual < 1e-10
    assert seen.here.aside is not None
    fit = dkl.fit(VonMises, target, dkl.reverse_kl, method=NATURAL)
    assert {round(abs(float(o.distribution.loc)), 6) for o in fit.optima} == {0.0, 3.141593}


def test_steps_on_the_same_places_only_go_down() -> None:
    target = Poisson(3.0)
    chart = Chart(Geometric(0.3), {})
    seen = by_nodes(target, chart, target)(Geometric(0.2))
    rest = settled(seen, lambda v: chart.member(v) is not None, 1e-11, 1.0)
    assert rest.place.bound < seen.here.bound
    assert rest.held in ("", "far")
    # Where a smaller gradient alone counted as better, three of the starts would go round and round.
    fit = dkl.fit(Geometric, target, dkl.reverse_kl, method=NATURAL)
    assert sum(o.basin for o in fit.optima) == 1.0


def test_what_is_no_question() -> None:
    for family, target, message in (
        (Gamma, Beta(2.0, 2.0), r"every Gamma is infinitely far .*interval \(0, ∞\), and the target on .*\(0, 1\)"),
        (Poisson, Binomial(10, 0.3), "every Poisson is infinitely far .* target on the whole numbers from 0 to 10"),
        (Gamma, dkl.Density(lambda x: np.where(x > 0.5, -x, -np.inf), support=Interval(0.0)),
         "which has density 0 at x = .*, where each of them has some"),
        (Dirichlet, dkl.Density(lambda x: np.where(x[..., 0] > 0.5, 0.0, -np.inf), support=Simplex(3)),
         "every Dirichlet is infinitely far .*which has density 0 at x = "),
        (Dirichlet, dkl.Density(lambda x: -np.log(x).sum(-1), support=Simplex(3)),
         "is improper: it has the form of a Dirichlet of natural parameters"),
        (Gamma, dkl.Density(lambda x: -np.log(x), support=Interval(0.0)), "is improper: its integral does not come to"),
        (Dirichlet, MultivariateNormal(np.zeros(3), np.eye(3)), "lives on the simplex of 3 shares, and the target on"),
        (Dirichlet, dkl.Density(lambda x: np.full(x.shape[:-1], np.inf), support=Simplex(3)), "it must be a number"),
        (Dirichlet, dkl.Density(lambda x: np.full(x.shape[:-1], -np.inf), support=Simplex(3)), "has no mass"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            dkl.fit(family, target, dkl.reverse_kl, method=NATURAL)
    for family, target, divergence, message in (
        (Gamma, Gamma(1.0, 1.0), dkl.kl, "alone"),
        (Gamma, dkl.Samples([1.0, 2.0]), dkl.reverse_kl, "needs a log-density, and the target has none"),
        (Erlang, Gamma(3.0, 1.0), dkl.reverse_kl, "whose natural parameters are all free"),
        (Dirichlet, dkl.Probs([0.5, 0.5]), dkl.reverse_kl, "needs outcomes of the family's own shape"),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=message):
            dkl.fit(family, target, divergence, method=NATURAL)
    with pytest.raises(ValueError, match="samples = 7 must be a whole number of at least 12"):
        dkl.fit(Dirichlet, Dirichlet([1.0, 2.0, 3.0]), dkl.reverse_kl, samples=7)
    assert not has_chart(MatrixNormal)
    with pytest.raises(TypeError, match="are not linear in its natural parameters"):
        Chart(MatrixNormal(np.ones((2, 2)), np.eye(2), np.eye(2)), {})


def test_a_flat_direction_is_not_crept_along() -> None:
    steep = dkl.Density(lambda p: -100.0 * p[..., 0], support=Simplex(3))
    fit = dkl.fit(Dirichlet, steep, dkl.reverse_kl, method=NATURAL, starts=1, samples=4096)
    assert fit.converged
    assert fit.details["steps"] < 50


def test_poles_whose_samples_are_the_bound_itself() -> None:
    poles = dkl.Density(
        lambda x: -0.9 * np.log(x) - 0.95 * np.log1p(-x) + np.sin(6.0 * x), support=Interval(0.0, 1.0)
    )  # fmt: skip
    found, other = (dkl.fit(Beta, poles, dkl.reverse_kl, method=method, starts=2) for method in (NATURAL, DIRECT))
    assert found.converged
    for name in ("a", "b"):
        np.testing.assert_allclose(found.distribution.given[name], other.distribution.given[name], rtol=1e-6)


@pytest.mark.parametrize(
    ("member", "known"),
    [(Poisson(1e-12), {}), (Binomial(total_count=3, probs=1e-14), {"total_count": 3})],
)
def test_a_member_whose_samples_are_all_one_outcome_has_a_chart(member: Any, known: dict[str, Any]) -> None:
    fit = dkl.fit(type(member), member, dkl.reverse_kl, method=NATURAL, starts=1, **known)
    assert fit.converged
    assert float(fit.divergence) < 1e-25


def test_a_member_that_closes_in_on_one_outcome_is_at_a_boundary() -> None:
    def even(k: Any) -> Any:
        return np.where(k % 2 == 0, -0.1 * k, -700.0 - k)

    fit = dkl.fit(Poisson, dkl.Density(even, support=Integers(0, np.inf)), dkl.reverse_kl, method=NATURAL, starts=1)
    k = np.arange(1000)
    assert fit.distribution is None
    assert not fit.converged
    assert fit.boundary is not None
    # All mass on 0, where the target has exp(0)/Z.
    np.testing.assert_allclose(fit.boundary.infimum, special.logsumexp(even(k)), rtol=1e-9)
    assert fit.reason.startswith("no Poisson is the best: the infimum, 1.70777, lies on the boundary, near Poisson")


def test_a_start_so_narrow_that_all_densities_look_alike_tells_of_nothing_improper() -> None:
    # At 0.3 it is convex, which no Gamma is.
    target = dkl.Density(lambda x: 4.0 * x**2 - x**4, support=Interval(0.0, np.inf))
    chart = Chart(Gamma(2.0, 3.0), {})
    look = by_nodes(target, chart, target)
    narrow = look(Gamma(1e8, 1e8 / 0.3))
    assert narrow.here.unexplained < 1e-6
    assert chart.member(narrow.here.natural + narrow.here.back @ narrow.here.descent) is None
    assert not followed(look, chart, narrow, Settings(1, 1e-10, 1.0), target).converged
