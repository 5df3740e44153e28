"""Distributions of NumPyro, of which stand-ins have the qualified names and the attributes: JAX's arrays, or numbers.

The attributes are those that NumPyro 0.22 sets. Densities are SciPy's.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import dkl
from dkl.adapters import adapted
from dkl.adapters.derived import Product, Transformed
from dkl.families.base import Distribution
from dkl.families.multivariate import DiagonalNormal


def numpyro(name: str, *, kin: Any = (), **attributes: Any) -> Any:
    """An object whose class has the qualified name of NumPyro's."""
    module, cls = name.split(".")
    made = type(cls, kin, {"__module__": f"numpyro.distributions.{module}"})()
    vars(made).update(attributes)
    return made


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


def _as_kept(attributes: dict[str, Any]) -> dict[str, Any]:
    """The first as JAX's array, the rest as NumPy's, which is how NumPyro keeps what was a number."""
    (first, x), *rest = attributes.items()
    return {first: jnp.asarray(x, dtype=float), **{name: np.asarray(value) for name, value in rest}}


@pytest.mark.parametrize("name", MEMBERS)
def test_the_parameters_are_read_rightly(name: str) -> None:
    attributes, x, original = MEMBERS[name]
    mine = adapted(numpyro(name, **_as_kept(attributes)))
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
    factor = jnp.asarray(np.linalg.cholesky(SIGMA))
    vectors = {"loc": jnp.asarray([1.0, 2.0]), attribute: jnp.asarray(given), "scale_tril": factor}
    mine = adapted(numpyro("continuous.MultivariateNormal", **vectors))
    assert isinstance(mine, Distribution)
    wanted = stats.multivariate_normal([1.0, 2.0], SIGMA).logpdf([0.3, 0.4])
    assert float(mine.log_prob(jnp.asarray([0.3, 0.4]))) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("kind", ["Probs", "Logits"])
def test_one_of_several(kind: str) -> None:
    shares = jnp.asarray([0.2, 0.3, 0.5])
    given = {"probs": shares} if kind == "Probs" else {"logits": jnp.log(shares) + 7}
    p = numpyro(f"discrete.Categorical{kind}", **given)
    value = dkl.kl(p, numpyro("discrete.CategoricalProbs", probs=shares[::-1]))
    assert float(value) == pytest.approx(0.3 * math.log(2.5), rel=1e-12)


def _normal(loc: Any, scale: Any) -> Any:
    return numpyro("continuous.Normal", loc=loc, scale=scale)


def test_answers_are_jaxs_and_have_gradients() -> None:
    value, gradient = jax.value_and_grad(lambda m: dkl.kl(_normal(m, 1.0), _normal(0.0, 2.0)))(0.5)
    assert float(value) == pytest.approx(math.log(2) + 1.25 / 8 - 0.5, rel=1e-12)
    assert float(gradient) == pytest.approx(0.125, rel=1e-12)
    traced = jax.jit(lambda m: dkl.kl(_normal(m, 1.0), _normal(0.0, 2.0)))(0.5)
    assert float(traced) == pytest.approx(float(value), rel=1e-12)
    assert isinstance(dkl.kl(_normal(jnp.asarray(0.5), 1.0), stats.norm(0, 2)), jax.Array)


def test_a_number_takes_the_precision_of_the_array_beside_it() -> None:
    p = _normal(jnp.asarray(0.5, dtype=jnp.float32), np.asarray(1.0))
    assert dkl.kl(p, p).dtype == jnp.float32


def test_expanded_and_independent() -> None:
    base = numpyro("continuous.Normal", loc=jnp.asarray(0.5), scale=jnp.asarray(2.0), batch_shape=(), event_shape=())
    wide = numpyro("distribution.ExpandedDistribution", base_dist=base, batch_shape=(4, 3), event_shape=())
    mine = adapted(wide)
    assert isinstance(mine, Distribution)
    assert mine.batch_shape == (4, 3)
    together = adapted(numpyro("distribution.Independent", base_dist=wide, reinterpreted_batch_ndims=1))
    assert isinstance(together, DiagonalNormal)
    assert (together.batch_shape, together.event_shape) == ((4,), (3,))
    both = adapted(numpyro("distribution.Independent", base_dist=wide, reinterpreted_batch_ndims=2))
    assert isinstance(both, Product)
    assert float(dkl.kl(both, both)) == 0.0


def _transformed(loc: float, change: Any) -> Any:
    def log_prob(x: Any) -> Any:
        return stats.lognorm(1.0, scale=math.exp(loc)).logpdf(np.asarray(x))

    def sample(key: Any, shape: Any) -> Any:
        return jnp.exp(loc + jax.random.normal(key, shape))

    return numpyro(
        "distribution.TransformedDistribution",
        base_dist=_normal(jnp.asarray(loc), 1.0),
        transforms=[change],
        support=type("_Positive", (), {"check": None})(),
        batch_shape=(),
        event_shape=(),
        log_prob=log_prob,
        sample=sample,
    )


def test_images_under_equal_maps() -> None:
    change = type("ExpTransform", (SimpleNamespace,), {})
    p, q = _transformed(0.0, change()), _transformed(1.0, change())
    assert isinstance(adapted(p), Transformed)
    answer = dkl.measure(p, q)
    assert answer.method == "closed_form"
    assert float(answer) == pytest.approx(0.5, rel=1e-12)
    folded = _transformed(0.0, type("AbsTransform", (SimpleNamespace,), {})())
    assert isinstance(adapted(folded), dkl.density.Density)


def test_outcomes_are_drawn_by_a_key() -> None:
    p = adapted(_transformed(0.0, type("ExpTransform", (SimpleNamespace,), {})()))
    assert isinstance(p, Distribution)
    np.testing.assert_array_equal(p.sample(4, rng=1), p.sample(4, rng=1))
    assert p.sample(4, rng=1).shape == (4,)


def test_a_mixture() -> None:
    weights = numpyro("discrete.CategoricalProbs", probs=jnp.asarray([0.3, 0.7], dtype=jnp.float32))
    parts = _normal(jnp.asarray([0.0, 1.0]), jnp.asarray([1.0, 2.0]))
    p = adapted(numpyro("mixtures.MixtureSameFamily", mixing_distribution=weights, component_distribution=parts))
    assert isinstance(p, Distribution)
    wanted = np.log(0.3 * stats.norm(0, 1).pdf(0.5) + 0.7 * stats.norm(1, 2).pdf(0.5))
    assert float(p.log_prob(jnp.asarray(0.5))) == pytest.approx(float(wanted), rel=1e-6)
