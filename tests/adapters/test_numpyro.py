"""Distributions of NumPyro, read as they are and held to SciPy's densities and to the same pairs of other libraries."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import torch
from numpyro.distributions import transforms
from scipy import stats

import dkl
from dkl.adapters import adapted
from dkl.adapters.derived import Transformed
from dkl.adapters.products import Product
from dkl.families import DiagonalNormal, MultivariateNormal, Normal
from dkl.families.base import Distribution
from dkl.mixture import Mixture


def made(name: str, **given: Any) -> Any:
    """NumPyro's distribution by the name of its module and class."""
    module, cls = name.split(".")
    return getattr(import_module(f"numpyro.distributions.{module}"), cls)(**given)


@pytest.fixture(autouse=True)
def _double() -> Any:
    with jax.enable_x64(True):
        yield


SIGMA = [[2.0, 0.3], [0.3, 1.0]]
#: Attributes, outcomes and what SciPy says of them.
MEMBERS: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "continuous.Beta": ({"concentration1": 2.0, "concentration0": 3.0}, [0.2, 0.7], stats.beta(2, 3)),
    "continuous.Cauchy": ({"loc": 1.0, "scale": 2.0}, [0.2, 7.0], stats.cauchy(1, 2)),
    "continuous.Chi2": ({"df": 3.0}, [0.2, 7.0], stats.chi2(3)),
    "continuous.Exponential": ({"rate": 2.0}, [0.2, 7.0], stats.expon(scale=0.5)),
    "continuous.Gamma": ({"concentration": 2.0, "rate": 3.0}, [0.2, 7.0], stats.gamma(2, scale=1 / 3)),
    "continuous.Gumbel": ({"loc": 1.0, "scale": 2.0}, [0.2, 7.0], stats.gumbel_r(1, 2)),
    "continuous.HalfNormal": ({"scale": 2.0}, [0.2, 7.0], stats.halfnorm(scale=2)),
    "continuous.InverseGamma": ({"concentration": 2.0, "rate": 3.0}, [0.2, 7.0], stats.invgamma(2, scale=3)),
    "continuous.Kumaraswamy": ({"concentration1": 1.0, "concentration0": 3.0}, [0.2, 0.7], stats.beta(1, 3)),
    "continuous.Laplace": ({"loc": 1.0, "scale": 2.0}, [0.2, 7.0], stats.laplace(1, 2)),
    "continuous.LogNormal": ({"loc": 1.0, "scale": 2.0}, [0.2, 7.0], stats.lognorm(2, scale=math.e)),
    "continuous.Normal": ({"loc": 1.0, "scale": 2.0}, [0.2, 7.0], stats.norm(1, 2)),
    "continuous.Pareto": ({"scale": 2.0, "alpha": 3.0}, [2.5, 7.0], stats.pareto(3, scale=2)),
    "continuous.StudentT": ({"df": 3.0, "loc": 1.0, "scale": 2.0}, [0.2, 7.0], stats.t(3, 1, 2)),
    "continuous.Uniform": ({"low": 1.0, "high": 3.0}, [1.5, 2.5], stats.uniform(1, 2)),
    "continuous.Weibull": ({"scale": 2.0, "concentration": 3.0}, [0.2, 2.5], stats.weibull_min(3, scale=2)),
    "directional.VonMises": ({"loc": 1.0, "concentration": 2.0}, [0.2, -2.5], stats.vonmises(2, 1)),
    "discrete.BernoulliProbs": ({"probs": 0.3}, [0.0, 1.0], stats.bernoulli(0.3)),
    "discrete.BernoulliLogits": ({"logits": math.log(3 / 7)}, [0.0, 1.0], stats.bernoulli(0.3)),
    "discrete.BinomialProbs": ({"total_count": 5, "probs": 0.3}, [0.0, 4.0], stats.binom(5, 0.3)),
    "discrete.BinomialLogits": ({"total_count": 5, "logits": math.log(3 / 7)}, [0.0, 4.0], stats.binom(5, 0.3)),
    "discrete.GeometricProbs": ({"probs": 0.3}, [0.0, 4.0], stats.geom(0.3, -1)),
    "discrete.GeometricLogits": ({"logits": math.log(3 / 7)}, [0.0, 4.0], stats.geom(0.3, -1)),
    "discrete.Poisson": ({"rate": 3.0}, [0.0, 4.0], stats.poisson(3)),
    # NumPyro's probs are those of what is counted, SciPy's of what ends the counting.
    "conjugate.NegativeBinomialProbs": ({"total_count": 5.0, "probs": 0.7}, [0.0, 4.0], stats.nbinom(5, 0.3)),
    "conjugate.NegativeBinomialLogits": (
        {"total_count": 5.0, "logits": math.log(7 / 3)},
        [0.0, 4.0],
        stats.nbinom(5, 0.3),
    ),
    "conjugate.GammaPoisson": ({"concentration": 5.0, "rate": 3 / 7}, [0.0, 4.0], stats.nbinom(5, 0.3)),
    "continuous.Dirichlet": ({"concentration": [1.0, 2.0, 3.0]}, [0.2, 0.3, 0.5], stats.dirichlet([1.0, 2.0, 3.0])),
    "discrete.MultinomialProbs": (
        {"total_count": 5, "probs": [0.2, 0.3, 0.5]},
        [1.0, 2.0, 2.0],
        stats.multinomial(5, [0.2, 0.3, 0.5]),
    ),
    "discrete.MultinomialLogits": (
        {"total_count": 5, "logits": np.log([0.2, 0.3, 0.5])},
        [1.0, 2.0, 2.0],
        stats.multinomial(5, [0.2, 0.3, 0.5]),
    ),
    "continuous.MatrixNormal": (
        {
            "loc": [[0.0, 1.0]] * 2,
            "scale_tril_row": np.linalg.cholesky(SIGMA),
            "scale_tril_column": np.diag([1.0, 3.0]),
        },
        [[0.5, 1.0], [2.0, 3.0]],
        stats.matrix_normal([[0.0, 1.0]] * 2, SIGMA, np.diag([1.0, 9.0])),
    ),
    "continuous.LowRankMultivariateNormal": (
        {"loc": [1.0, 2.0], "cov_factor": [[1.0], [2.0]], "cov_diag": [0.5, 0.6]},
        [0.3, 0.4],
        stats.multivariate_normal([1.0, 2.0], [[1.5, 2.0], [2.0, 4.6]]),
    ),
    "continuous.Wishart": (
        {"concentration": 4.0, "scale_matrix": SIGMA},
        [[2.0, 0.1], [0.1, 3.0]],
        stats.wishart(4, SIGMA),
    ),
    "continuous.InverseWishart": (
        {"concentration": 4.0, "scale_matrix": SIGMA},
        [[2.0, 0.1], [0.1, 3.0]],
        stats.invwishart(4, SIGMA),
    ),
}


def _as_given(attributes: dict[str, Any]) -> dict[str, Any]:
    """The first as JAX's array, the rest as NumPy's, or as the number that it is."""
    (first, x), *rest = attributes.items()
    given = {name: np.asarray(value) if np.ndim(value) else value for name, value in rest}
    return {first: jnp.asarray(x, dtype=float), **given}


@pytest.mark.parametrize("name", MEMBERS)
def test_the_parameters_are_read_rightly(name: str) -> None:
    attributes, x, original = MEMBERS[name]
    mine = adapted(made(name, **_as_given(attributes)))
    assert isinstance(mine, Distribution)
    value = mine.log_prob(jnp.asarray(x))
    assert isinstance(value, jax.Array)
    wanted = original.logpdf(x) if hasattr(original, "logpdf") else original.logpmf(x)
    np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("attribute", "given"),
    [
        ("covariance_matrix", SIGMA),
        ("precision_matrix", np.linalg.inv(SIGMA)),
        ("scale_tril", np.linalg.cholesky(SIGMA)),
    ],
)
def test_a_normal_vector_in_three_ways(attribute: str, given: Any) -> None:
    mine = adapted(dist.MultivariateNormal(jnp.asarray([1.0, 2.0]), **{attribute: jnp.asarray(given)}))
    assert isinstance(mine, MultivariateNormal)
    wanted = stats.multivariate_normal([1.0, 2.0], SIGMA).logpdf([0.3, 0.4])
    assert float(mine.log_prob(jnp.asarray([0.3, 0.4]))) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("kind", ["probs", "logits"])
def test_one_of_several(kind: str) -> None:
    shares = jnp.asarray([0.2, 0.3, 0.5])
    p = dist.Categorical(**({"probs": shares} if kind == "probs" else {"logits": jnp.log(shares) + 7}))
    value = dkl.kl(p, dist.Categorical(probs=shares[::-1]))
    assert float(value) == pytest.approx(0.3 * math.log(2.5), rel=1e-12)


PAIRS = [
    (dist.Normal, torch.distributions.Normal, {"loc": 0.5, "scale": 1.0}, {"loc": 0.0, "scale": 2.0}),
    (dist.StudentT, torch.distributions.StudentT, {"df": 3.0, "loc": 0.5}, {"df": 5.0, "scale": 2.0}),
    (
        dist.Dirichlet,
        torch.distributions.Dirichlet,
        {"concentration": [1.0, 2.0, 3.0]},
        {"concentration": [2.0, 0.5, 4.0]},
    ),
    (dist.Gamma, torch.distributions.Gamma, {"concentration": 2.0, "rate": 3.0}, {"concentration": 4.0, "rate": 1.0}),
    (dist.Categorical, torch.distributions.Categorical, {"probs": [0.2, 0.3, 0.5]}, {"probs": [0.5, 0.25, 0.25]}),
    (
        dist.MultivariateNormal,
        torch.distributions.MultivariateNormal,
        {"loc": [1.0, 2.0], "covariance_matrix": SIGMA},
        {"loc": [0.0, 2.0], "covariance_matrix": [[1.0, 0.0], [0.0, 3.0]]},
    ),
]


@pytest.mark.parametrize(("ours", "theirs", "one", "other"), PAIRS, ids=lambda x: getattr(x, "__name__", ""))
@pytest.mark.parametrize("divergence", [dkl.kl, dkl.js], ids=["kl", "js"])
def test_pairs_as_pytorch_has_them(ours: Any, theirs: Any, one: Any, other: Any, divergence: Any) -> None:
    def of(library: Any, asarray: Any, given: Any) -> Any:
        full = {"loc": 0.0, "scale": 1.0} | given if library.__name__ == "StudentT" else given
        return library(**{name: asarray(x) for name, x in full.items()})

    def measured(library: Any, asarray: Any) -> Any:
        sides = (of(library, asarray, given) for given in (one, other))
        return dkl.measure(*sides, divergence, rng=0, samples=2048)

    mine = measured(ours, lambda x: jnp.asarray(x, dtype=float))
    wanted = measured(theirs, lambda x: torch.tensor(x, dtype=torch.float64))
    assert mine.method == wanted.method
    assert isinstance(mine.value, jax.Array)
    assert float(mine) == pytest.approx(float(wanted), rel=1e-9)


def test_answers_are_jaxs_and_have_gradients() -> None:
    value, gradient = jax.value_and_grad(lambda m: dkl.kl(dist.Normal(m, 1.0), dist.Normal(0.0, 2.0)))(0.5)
    assert float(value) == pytest.approx(math.log(2) + 1.25 / 8 - 0.5, rel=1e-12)
    assert float(gradient) == pytest.approx(0.125, rel=1e-12)
    traced = jax.jit(lambda m: dkl.kl(dist.Normal(m, 1.0), dist.Normal(0.0, 2.0)))(0.5)
    assert float(traced) == pytest.approx(float(value), rel=1e-12)
    assert isinstance(dkl.kl(dist.Normal(jnp.asarray(0.5), 1.0), stats.norm(0, 2)), jax.Array)


def test_a_number_takes_the_precision_of_the_array_beside_it() -> None:
    p = dist.Normal(jnp.asarray(0.5, dtype=jnp.float32), np.asarray(1.0))
    assert dkl.kl(p, p).dtype == jnp.float32


def test_expanded_and_independent() -> None:
    wide = dist.Normal(jnp.asarray(0.5), jnp.asarray(2.0)).expand((4, 3))
    assert type(wide).__name__ == "ExpandedDistribution"
    mine = adapted(wide)
    assert isinstance(mine, Normal)
    assert mine.batch_shape == (4, 3)
    together = adapted(wide.to_event(1))
    assert isinstance(together, DiagonalNormal)
    assert (together.batch_shape, together.event_shape) == ((4,), (3,))
    both = adapted(wide.to_event(2))
    assert isinstance(both, Product)
    assert float(dkl.kl(both, both)) == 0.0
    moved = dist.Normal(0.5, 2.0).expand((4, 3)).to_event(1)
    np.testing.assert_allclose(dkl.kl(moved, dist.Normal(0.0, 2.0).expand((3,)).to_event(1)), np.full(4, 3 / 32))
    masked = dist.Gamma(2.0, jnp.asarray([1.0, 2.0])).to_event(1)
    wanted = sum(float(dkl.kl(dist.Gamma(2.0, rate), dist.Gamma(3.0, 1.0))) for rate in (1.0, 2.0))
    value = dkl.kl(masked, dist.Gamma(3.0, 1.0).expand((2,)).to_event(1))
    assert float(value) == pytest.approx(wanted, rel=1e-12)


def test_images_under_equal_maps() -> None:
    p, q = (
        dist.TransformedDistribution(dist.Normal(jnp.asarray(m), 1.0), transforms.ExpTransform()) for m in (0.0, 1.0)
    )
    assert isinstance(adapted(p), Transformed)
    answer = dkl.measure(p, q)
    assert answer.method == "closed_form"
    assert float(answer) == pytest.approx(0.5, rel=1e-12)
    scaled = [
        dist.TransformedDistribution(dist.Beta(a, 2.0), [transforms.AffineTransform(1.0, 3.0)]) for a in (2.0, 3.0)
    ]
    assert float(dkl.kl(*scaled)) == pytest.approx(float(dkl.kl(dist.Beta(2.0, 2.0), dist.Beta(3.0, 2.0))), rel=1e-12)
    # Against another kind by quadrature of the image's own density.
    other = dkl.measure(p, dist.Gamma(2.0, 1.0))
    assert other.method == "quadrature"
    wanted = dkl.kl(stats.lognorm(1.0), stats.gamma(2.0))
    assert float(other) == pytest.approx(float(wanted), rel=1e-9)


def test_outcomes_are_drawn_by_a_key() -> None:
    p = adapted(dist.TransformedDistribution(dist.Normal(0.0, 1.0), transforms.ExpTransform()))
    assert isinstance(p, Distribution)
    np.testing.assert_array_equal(p.sample(4, rng=1), p.sample(4, rng=1))
    assert p.sample(4, rng=1).shape == (4,)


def test_a_mixture() -> None:
    weights = dist.Categorical(probs=jnp.asarray([0.3, 0.7], dtype=jnp.float32))
    same = dist.MixtureSameFamily(weights, dist.Normal(jnp.asarray([0.0, 1.0]), jnp.asarray([1.0, 2.0])))
    p = adapted(same)
    assert isinstance(p, Mixture)
    wanted = np.log(0.3 * stats.norm(0, 1).pdf(0.5) + 0.7 * stats.norm(1, 2).pdf(0.5))
    assert float(p.log_prob(jnp.asarray(0.5))) == pytest.approx(float(wanted), rel=1e-6)
    rounded = dist.Categorical(probs=jnp.full(7, 1 / 7, dtype=jnp.float32))
    many = adapted(dist.MixtureSameFamily(rounded, dist.Normal(jnp.arange(7, dtype=jnp.float32), 1.0)))
    assert isinstance(many, Mixture)
    general = dist.MixtureGeneral(
        dist.Categorical(probs=jnp.asarray([0.3, 0.7])),
        [dist.Normal(0.0, 1.0), dist.Laplace(1.0, 2.0)],
        support=dist.constraints.real,
    )
    q = adapted(general)
    assert isinstance(q, Mixture)
    wanted = np.log(0.3 * stats.norm(0, 1).pdf(0.5) + 0.7 * stats.laplace(1, 2).pdf(0.5))
    assert float(q.log_prob(jnp.asarray(0.5))) == pytest.approx(float(wanted), rel=1e-12)
    nested = dist.MixtureGeneral(
        dist.Categorical(probs=jnp.asarray([0.5, 0.5])), [same, general], support=dist.constraints.real
    )
    assert isinstance(adapted(nested), Mixture)
    unread = dist.MixtureGeneral(
        dist.Categorical(probs=jnp.asarray([0.5, 0.5])),
        [dist.Logistic(0.0, 1.0), dist.Normal(0.0, 1.0)],
        support=dist.constraints.real,
    )
    assert isinstance(adapted(unread), dkl.density.Density)


DENSITIES = [
    (dist.TruncatedNormal(0.5, 2.0, low=0.0, high=3.0), stats.truncnorm(-0.25, 1.25, 0.5, 2.0)),
    (dist.HalfCauchy(2.0), stats.halfcauchy(scale=2.0)),
    (dist.Logistic(0.5, 2.0), stats.logistic(0.5, 2.0)),
    (dist.LogUniform(1.0, 4.0), stats.loguniform(1.0, 4.0)),
]


@pytest.mark.parametrize(("ours", "theirs"), DENSITIES, ids=lambda x: type(x).__name__)
def test_what_is_no_family_is_its_own_density(ours: Any, theirs: Any) -> None:
    """Measured against a distribution with the same support, as SciPy's is."""
    low, high = theirs.support()
    if math.isinf(low):
        q: Any = stats.norm(0.0, 30.0)
    else:
        q = stats.uniform(low, high - low) if math.isfinite(high) else stats.lognorm(2.0)
    answer = dkl.measure(ours, q)
    assert answer.method == "quadrature"
    assert float(answer) == pytest.approx(float(dkl.measure(theirs, q).value), rel=1e-7)


def test_counts_that_are_no_family() -> None:
    inflated = dist.ZeroInflatedPoisson(0.25, rate=3.0)
    k = np.arange(200)
    p = 0.75 * stats.poisson(3.0).pmf(k) + 0.25 * (k == 0)
    q = stats.poisson(4.0).pmf(k)
    some = p > 0
    wanted = float(np.sum(p[some] * np.log(p[some] / q[some])))
    assert float(dkl.kl(inflated, dist.Poisson(4.0))) == pytest.approx(wanted, rel=1e-10)
    binomial = dist.BetaBinomial(2.0, 3.0, total_count=6)
    outcomes = np.arange(7)
    p, q = stats.betabinom(6, 2.0, 3.0).pmf(outcomes), stats.binom(6, 0.4).pmf(outcomes)
    # NumPyro's own log-probabilities are off by 1.3e-6 there.
    assert float(dkl.kl(binomial, dist.Binomial(6, 0.4))) == pytest.approx(float(dkl.kl(p, q)), rel=1e-5)
