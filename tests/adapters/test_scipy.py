"""Distributions of SciPy: shapes, shifts and stretches read rightly, and divergences against integrals of densities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

import dkl
from dkl.adapters import adapted
from dkl.adapters.derived import Relocated
from dkl.density import Density
from dkl.families.base import Distribution

SIGMA = np.array([[2.0, 0.3], [0.3, 1.0]])
NewGamma = stats.make_distribution(stats.gamma)

#: Two of each, with the family as which the first is read.
CONTINUOUS: dict[str, tuple[str, Any, Any]] = {
    "beta": ("Beta", stats.beta(2, 3), stats.beta(3, 2.5)),
    "beta on another interval": ("Relocated", stats.beta(2, 3, 1, 2), stats.beta(3, 2.5, loc=1, scale=2)),
    "cauchy": ("Cauchy", stats.cauchy(1, 2), stats.cauchy(0, 1)),
    "chi2": ("ChiSquared", stats.chi2(3), stats.chi2(4.5)),
    "chi2 with a scale": ("Gamma", stats.chi2(3, scale=2), stats.chi2(4.5)),
    "erlang": ("Gamma", stats.erlang(2, scale=3), stats.erlang(3, 0, 1.5)),
    "expon": ("Gamma", stats.expon(scale=2), stats.expon(0, 1)),
    "expon shifted": ("Relocated", stats.expon(1, 2), stats.expon(1, 3)),
    "gamma": ("Gamma", stats.gamma(2, scale=3), stats.gamma(a=3, scale=2)),
    "gennorm": ("GeneralizedNormal", stats.gennorm(1.5, 1, 2), stats.gennorm(2.5, 0, 1)),
    "gumbel_l": ("Relocated", stats.gumbel_l(1, 2), stats.gumbel_l(0, 2.5)),
    "gumbel_r": ("Gumbel", stats.gumbel_r(1, 2), stats.gumbel_r(0, 2.5)),
    "halfnorm": ("HalfNormal", stats.halfnorm(scale=2), stats.halfnorm(0, 3)),
    "invgamma": ("InverseGamma", stats.invgamma(3, scale=2), stats.invgamma(4, 0, 3)),
    "invgauss": ("InverseGaussian", stats.invgauss(0.5, scale=2), stats.invgauss(0.4, scale=1.5)),
    "laplace": ("Laplace", stats.laplace(1, 2), stats.laplace(0, 1.5)),
    "lognorm": ("LogNormal", stats.lognorm(0.5, scale=2), stats.lognorm(0.75, scale=1.5)),
    "maxwell": ("Maxwell", stats.maxwell(scale=2), stats.maxwell(scale=1.5)),
    "norm": ("Normal", stats.norm(1, 2), stats.norm(loc=0, scale=1.5)),
    "pareto": ("Pareto", stats.pareto(3, scale=2), stats.pareto(2.5, scale=1.5)),
    "rayleigh": ("Rayleigh", stats.rayleigh(scale=2), stats.rayleigh(scale=1.5)),
    "t": ("StudentT", stats.t(5, 1, 2), stats.t(4, 0, 1.5)),
    "uniform": ("Uniform", stats.uniform(1, 2), stats.uniform(0.5, 3)),
    "vonmises": ("VonMises", stats.vonmises(2, 0.5), stats.vonmises(1.5)),
    "weibull_min": ("Weibull", stats.weibull_min(1.5, scale=2), stats.weibull_min(1.5, scale=3)),
    "unfrozen": ("Normal", stats.norm, stats.norm(1, 1)),
    "Normal": ("Normal", stats.Normal(mu=1.0, sigma=2.0), stats.Normal()),
    "Normal, shifted and stretched": ("Normal", -2 * stats.Normal(mu=1.0) + 3, stats.Normal()),
    "Uniform": ("Uniform", stats.Uniform(a=1.0, b=3.0), stats.Uniform(a=0.5, b=3.5)),
    "made": ("Gamma", NewGamma(a=2.0), NewGamma(a=3.0)),
    "made, stretched": ("Gamma", 3 * NewGamma(a=2.0), 2 * NewGamma(a=3.0)),
    "made, reflected": ("Relocated", -3 * NewGamma(a=2.0) + 1, -3 * NewGamma(a=3.0) + 1),
    "Mixture": (
        "Mixture",
        stats.Mixture([stats.Normal(), stats.Normal(mu=2.0)], weights=[0.3, 0.7]),
        stats.Mixture([stats.Normal(), stats.Normal(mu=1.0, sigma=2.0)], weights=[0.5, 0.5]),
    ),
    "gaussian_kde": ("Mixture", stats.gaussian_kde([1.0, 2.0, 3.5]), stats.gaussian_kde([0.5, 2.0, 3.0], 0.9)),
    "genextreme": ("Density", stats.genextreme(-0.1), stats.genextreme(-0.05)),
    "skewnorm": ("Density", stats.skewnorm(2), stats.skewnorm(1)),
    "Logistic": ("Density", stats.Logistic(), stats.Normal(sigma=2.0)),
    "truncated": ("Density", stats.truncate(stats.Normal(), -1, 1), stats.Normal()),
    "rv_histogram": ("Density", stats.rv_histogram((np.array([1, 2]), np.array([0, 1, 2]))), stats.norm(1, 1)),
}
DISCRETE: dict[str, tuple[str, Any, Any]] = {
    "bernoulli": ("Bernoulli", stats.bernoulli(0.3), stats.bernoulli(0.6)),
    "binom": ("Binomial", stats.binom(5, 0.3), stats.binom(5, 0.6)),
    "binom shifted": ("Relocated", stats.binom(5, 0.3, 2), stats.binom(5, 0.6, loc=2)),
    "geom": ("Relocated", stats.geom(0.3), stats.geom(0.6)),
    "nbinom": ("NegativeBinomial", stats.nbinom(5, 0.3), stats.nbinom(5, 0.6)),
    "poisson": ("Poisson", stats.poisson(3), stats.poisson(mu=2)),
    "Binomial": ("Binomial", stats.Binomial(n=5, p=0.3), stats.Binomial(n=5, p=0.6)),
    "table": (
        "Density",
        stats.rv_discrete(values=([0, 1, 3], [0.2, 0.3, 0.5]))(),
        stats.rv_discrete(values=([0, 1, 3], [0.5, 0.3, 0.2]))(),
    ),
    "randint": ("Density", stats.randint(1, 5), stats.poisson(2)),
    "dirac beside whole numbers": ("Relocated", stats.poisson(3, 1), stats.poisson(2)),
}


def _drawn(p: Any, n: int) -> Any:
    if hasattr(p, "resample"):
        return p.resample(n, seed=0)[0]
    return p.rvs(size=n, random_state=0) if hasattr(p, "rvs") else p.sample(n, rng=np.random.default_rng(0))


@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_density_is_the_originals(name: str) -> None:
    family, *sides = CONTINUOUS[name]
    assert type(adapted(sides[0])).__name__ == family
    for original in sides:
        x = _drawn(original, 9)
        mine = adapted(original)
        assert isinstance(mine, Distribution)
        np.testing.assert_allclose(mine.log_prob(x), original.logpdf(x), rtol=1e-12, atol=1e-12)
        assert np.isfinite(mine.log_prob(mine.sample(9, rng=1))).all()


@pytest.mark.parametrize("name", DISCRETE)
def test_the_probabilities_are_the_originals(name: str) -> None:
    family, *sides = DISCRETE[name]
    assert type(adapted(sides[0])).__name__ == family
    for original in sides:
        low, high = (float(end) for end in original.support())
        x = np.arange(low, min(high, low + 20.0) + 1)
        mine = adapted(original)
        assert isinstance(mine, Distribution)
        np.testing.assert_allclose(mine.log_prob(x), original.logpmf(x), rtol=1e-12, atol=1e-12)
        assert mine.log_prob(low - 1.0) == -math.inf
        assert mine.log_prob(low + 0.5) == -math.inf


@pytest.mark.parametrize("name", CONTINUOUS)
def test_kl_is_the_integral(name: str) -> None:
    _, p, q = CONTINUOUS[name]
    if name == "unfrozen":
        p = p()
    ends = (-math.pi + 0.5, math.pi + 0.5) if name == "vonmises" else None
    if hasattr(p, "resample"):
        ends = (-5.0, 10.0)
    low, high = ends or (float(end) for end in p.support())

    def term(x: float) -> float:
        with np.errstate(over="ignore"):
            log_p = float(np.squeeze(p.logpdf(x)))
            # Where SciPy takes the logarithm of a density that is lost, no mass is.
            return math.exp(log_p) * (log_p - float(np.squeeze(q.logpdf(x)))) if log_p > -200 else 0.0

    # In two pieces, so that neither tail is missed.
    middle = float(np.median(_drawn(p, 101)))
    wanted = sum(integrate.quad(term, a, b, limit=300)[0] for a, b in ((low, middle), (middle, high)))
    assert float(dkl.kl(CONTINUOUS[name][1], q)) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("name", DISCRETE)
def test_kl_is_the_sum(name: str) -> None:
    _, p, q = DISCRETE[name]
    low, high = p.support()
    x = np.arange(low, min(high, 400) + 1)
    log_p, log_q = p.logpmf(x), q.logpmf(x)
    some = log_p > -math.inf
    wanted = np.sum(np.exp(log_p[some]) * (log_p[some] - log_q[some]))
    assert float(dkl.kl(p, q)) == pytest.approx(wanted, rel=1e-9)


MULTIVARIATE: dict[str, tuple[str, Any, Any]] = {
    "dirichlet": ("Dirichlet", stats.dirichlet([1.0, 2.0, 3.0]), stats.dirichlet([2.0, 2.0, 1.0])),
    "invwishart": ("InverseWishart", stats.invwishart(4, SIGMA), stats.invwishart(5, 2 * SIGMA)),
    "matrix_normal": (
        "MatrixNormal",
        stats.matrix_normal(np.ones((2, 3)), SIGMA, np.diag([1.0, 2.0, 3.0])),
        stats.matrix_normal(np.zeros((2, 3)), np.eye(2), np.eye(3)),
    ),
    "multinomial": ("Multinomial", stats.multinomial(5, [0.2, 0.3, 0.5]), stats.multinomial(5, [0.5, 0.3, 0.2])),
    "multivariate_normal": (
        "MultivariateNormal",
        stats.multivariate_normal([1.0, 2.0], SIGMA),
        stats.multivariate_normal([0.0, 2.0], np.eye(2)),
    ),
    "multivariate_t": (
        "Density",
        stats.multivariate_t([1.0, 2.0], SIGMA, 4),
        stats.multivariate_t([0.0, 2.0], SIGMA, 5),
    ),
    "gaussian_kde": ("Mixture", *(stats.gaussian_kde(np.random.default_rng(k).normal(size=(2, 9))) for k in (0, 1))),
    "vonmises_fisher": (
        "VonMisesFisher",
        stats.vonmises_fisher(np.array([0.0, 0.6, 0.8]), 2.0),
        stats.vonmises_fisher(np.array([1.0, 0.0, 0.0]), 1.0),
    ),
    "wishart": ("Wishart", stats.wishart(4, SIGMA), stats.wishart(5, 2 * SIGMA)),
}


@pytest.mark.parametrize("name", MULTIVARIATE)
def test_the_density_of_several_numbers_is_the_originals(name: str) -> None:
    family, p, q = MULTIVARIATE[name]
    mine = adapted(p)
    assert type(mine).__name__ == family
    assert isinstance(mine, Distribution)
    x = np.asarray(mine.sample(2000, rng=0))
    their_log_prob = getattr(p, "logpdf", getattr(p, "logpmf", None))
    assert their_log_prob is not None
    wanted = [float(np.squeeze(their_log_prob(row))) for row in x[:7]]
    np.testing.assert_allclose(mine.log_prob(x[:7]), wanted, rtol=1e-11, atol=1e-11)
    # The mean of log(p/q) under P, within 5 standard errors.
    other = adapted(q)
    assert isinstance(other, Distribution)
    ratios = mine.log_prob(x) - other.log_prob(x)
    answer = dkl.measure(p, q)
    error = math.hypot(ratios.std() / math.sqrt(len(x)), float(answer.stderr))
    assert abs(float(answer) - ratios.mean()) < 5 * error


def test_nearly_equal_scales_keep_their_digits() -> None:
    scale = 3.0 * (1 + 1e-12)
    apart = (scale - 3.0) / 3.0
    # KL = 2·(r − 1 − log r) ≈ r'², with r' = 1e-12 as rounded.
    assert float(dkl.kl(stats.gamma(2, scale=scale), stats.gamma(2, scale=3.0))) == pytest.approx(apart**2, rel=1e-11)
    assert float(dkl.kl(stats.expon(scale=scale), stats.expon(scale=3.0))) == pytest.approx(apart**2 / 2, rel=1e-11)


def test_a_scale_and_a_rate_meet() -> None:
    rate = dkl.families.Gamma(3.0, 2.0)
    wanted = float(dkl.kl(dkl.families.Gamma(2.0, 0.25), rate))
    assert float(dkl.kl(stats.gamma(2, scale=4.0), rate)) == pytest.approx(wanted, rel=1e-12)
    backwards = float(dkl.kl(rate, dkl.families.Gamma(2.0, 0.25)))
    assert float(dkl.kl(rate, stats.gamma(2, scale=4.0))) == pytest.approx(backwards, rel=1e-12)


def test_the_order_of_a_divergence_does_not_matter_to_a_scale() -> None:
    p, q = stats.gamma(2, scale=0.5), stats.gamma(3, scale=1.0)
    one, other = dkl.families.Gamma(2.0, 2.0), dkl.families.Gamma(3.0, 1.0)
    for divergence in (dkl.reverse_kl, dkl.hellinger, dkl.Renyi(0.5), dkl.Alpha(0.25), dkl.jeffreys):
        assert float(divergence(p, q)) == pytest.approx(float(divergence(one, other)), rel=1e-12)  # type: ignore[operator]


def test_different_shifts_are_measured_by_their_densities() -> None:
    # KL of exponentials of rate 1 where Q starts 0.5 earlier: the mean of −x + (x + 0.5) = 0.5.
    answer = dkl.measure(stats.expon(0.5), stats.expon())
    assert float(answer) == pytest.approx(0.5, rel=1e-9)
    back = dkl.measure(stats.expon(), stats.expon(0.5))
    assert float(back) == math.inf
    assert "lives on" in str(back.reason)


def test_a_batch_of_parameters() -> None:
    p, q = stats.norm([0.0, 1.0], 1.0), stats.norm(0.0, [[1.0], [2.0]])
    assert dkl.kl(p, q).shape == (2, 2)
    mine = adapted(stats.beta([2.0, 3.0], 3.0, loc=1.0))
    assert isinstance(mine, Relocated)
    assert mine.batch_shape == (2,)
    np.testing.assert_allclose(mine.log_prob(1.25), stats.beta([2.0, 3.0], 3.0, loc=1.0).logpdf(1.25), rtol=1e-13)


def test_moments_follow_a_shift() -> None:
    original = stats.beta(2, 3, 1, -0.0 + 2)
    mine = adapted(original)
    assert isinstance(mine, Relocated)
    assert float(mine.mean()) == pytest.approx(original.mean(), rel=1e-13)
    assert float(mine.var()) == pytest.approx(original.var(), rel=1e-13)
    assert float(mine.entropy()) == pytest.approx(original.entropy(), rel=1e-12)


def test_a_family_without_parameters_is_no_distribution() -> None:
    with pytest.raises(TypeError, match="gamma is a family: give its parameters"):
        dkl.kl(stats.gamma, stats.norm(0, 1))


def test_a_singular_covariance_is_no_density_on_the_plane() -> None:
    flat = stats.multivariate_normal([0.0, 0.0], [[1.0, 1.0], [1.0, 1.0]], allow_singular=True)
    assert isinstance(adapted(flat), Density)


def test_a_table_of_other_numbers_says_what_to_do() -> None:
    table = stats.rv_discrete(values=([0, 1], [0.5, 0.5]))
    assert isinstance(adapted(table), Density)
    shifted = stats.rv_discrete(values=([0, 1], [0.5, 0.5]))(loc=0)
    shifted.dist.xk = np.array([0.5, 1.5])
    with pytest.raises(TypeError, match=r"dkl\.Probs"):
        adapted(shifted)


def test_an_outcome_is_no_distribution() -> None:
    assert adapted(object()) is None
    assert adapted(3.0) is None
    assert adapted(stats.dirichlet_multinomial([1.0, 2.0], 4)) is None
