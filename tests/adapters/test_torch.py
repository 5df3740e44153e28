"""Distributions of PyTorch: read rightly, and measured as PyTorch's own table of divergences says where it is right."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats
from torch import distributions as td
from torch.distributions.kl import _KL_REGISTRY
from torch.distributions.relaxed_bernoulli import LogitRelaxedBernoulli

import dkl
from dkl.adapters import adapted
from dkl.adapters.derived import Transformed
from dkl.adapters.products import Product
from dkl.families.base import Distribution


def f(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def s(number: float) -> torch.Tensor:
    return torch.tensor(number, dtype=torch.float64)


SIGMA = f(2.0, 0.3, 0.3, 1.0).reshape(2, 2)
#: Two of each class that has a family, in a batch where it can be.
PAIRS: dict[str, tuple[Any, Any]] = {
    "Bernoulli": (td.Bernoulli(probs=s(0.3)), td.Bernoulli(probs=s(0.6))),
    "Bernoulli of logits": (td.Bernoulli(logits=f(0.3, -2.0)), td.Bernoulli(logits=f(0.6, 1.0))),
    "Beta": (td.Beta(f(2.0, 0.5), f(3.0, 0.7)), td.Beta(s(3.0), s(1.5))),
    "Binomial": (td.Binomial(5, probs=f(0.3, 0.6)), td.Binomial(5, probs=f(0.6, 0.1))),
    "Binomial of logits": (td.Binomial(5, logits=f(0.3, -2.0)), td.Binomial(5, logits=f(0.6, 1.0))),
    "Categorical": (td.Categorical(probs=f(0.2, 0.3, 0.5)), td.Categorical(probs=f(0.5, 0.3, 0.2))),
    "Categorical of logits": (td.Categorical(logits=f(0.2, 0.3, 5.0)), td.Categorical(logits=f(0.5, 0.3, 0.2))),
    "Cauchy": (td.Cauchy(f(0.5, 1.0), f(1.2, 0.3)), td.Cauchy(s(1.0), s(2.0))),
    "Chi2": (td.Chi2(f(3.0, 5.0)), td.Chi2(s(4.5))),
    "ContinuousBernoulli": (td.ContinuousBernoulli(probs=s(0.3)), td.ContinuousBernoulli(probs=s(0.8))),
    "ContinuousBernoulli of logits": (td.ContinuousBernoulli(logits=s(0.3)), td.ContinuousBernoulli(logits=s(-2.0))),
    "Dirichlet": (td.Dirichlet(f(1.0, 2.0, 3.0)), td.Dirichlet(f(2.0, 2.0, 1.0))),
    "Exponential": (td.Exponential(f(1.5, 0.2)), td.Exponential(s(0.7))),
    "Gamma": (td.Gamma(f(2.0, 0.5), f(3.0, 1.0)), td.Gamma(s(1.5), s(2.0))),
    "Geometric": (td.Geometric(probs=f(0.3, 0.8)), td.Geometric(probs=s(0.6))),
    "Geometric of logits": (td.Geometric(logits=f(0.3, -1.0)), td.Geometric(logits=s(0.6))),
    "Gumbel": (td.Gumbel(f(0.5, 2.0), s(1.2)), td.Gumbel(s(1.0), s(2.0))),
    "HalfCauchy": (td.HalfCauchy(f(1.2, 3.0)), td.HalfCauchy(s(2.0))),
    "HalfNormal": (td.HalfNormal(f(1.2, 3.0)), td.HalfNormal(s(2.0))),
    "Independent": (td.Independent(td.Gamma(f(2.0, 1.0), s(3.0)), 1), td.Independent(td.Gamma(f(1.0, 1.5), s(2.0)), 1)),
    "Independent normal": (
        td.Independent(td.Normal(f(2.0, 1.0), s(3.0)), 1),
        td.Independent(td.Normal(f(1.0, 1.5), s(2.0)), 1),
    ),
    "InverseGamma": (td.InverseGamma(f(2.0, 4.0), s(3.0)), td.InverseGamma(s(3.0), s(1.0))),
    "Kumaraswamy": (td.Kumaraswamy(s(2.0), s(3.0)), td.Kumaraswamy(s(1.5), s(2.0))),
    "Laplace": (td.Laplace(f(0.5, 2.0), s(1.2)), td.Laplace(s(1.0), s(2.0))),
    "LogisticNormal": (td.LogisticNormal(f(0.1, 0.2), f(1.0, 2.0)), td.LogisticNormal(f(0.3, 0.2), f(1.5, 2.0))),
    "LogitRelaxedBernoulli": (
        LogitRelaxedBernoulli(s(0.5), probs=f(0.3, 0.8)),
        LogitRelaxedBernoulli(s(2.0), logits=s(0.4)),
    ),
    "LogNormal": (td.LogNormal(f(0.5, 2.0), s(1.2)), td.LogNormal(s(1.0), s(2.0))),
    "LowRankMultivariateNormal": (
        td.LowRankMultivariateNormal(f(1.0, 2.0), f(1.0, 2.0)[:, None], f(0.5, 0.6)),
        td.LowRankMultivariateNormal(f(0.0, 2.0), f(0.5, -1.0)[:, None], f(0.7, 0.6)),
    ),
    "MixtureSameFamily": (
        td.MixtureSameFamily(td.Categorical(probs=f(0.3, 0.7)), td.Normal(f(0.0, 1.0), f(1.0, 2.0))),
        td.MixtureSameFamily(td.Categorical(probs=f(0.4, 0.6)), td.Normal(f(0.5, 1.0), f(1.0, 1.5))),
    ),
    "MixtureSameFamily of vectors": (
        td.MixtureSameFamily(
            td.Categorical(logits=f(0.3, 0.7)), td.Independent(td.Gamma(f(1.0, 2.0, 3.0, 4.0).reshape(2, 2), s(1.0)), 1)
        ),
        td.MixtureSameFamily(
            td.Categorical(logits=f(0.3, 0.7)), td.Independent(td.Gamma(f(1.0, 2.0, 3.0, 4.0).reshape(2, 2), s(2.0)), 1)
        ),
    ),
    "Multinomial": (td.Multinomial(5, probs=f(0.2, 0.3, 0.5)), td.Multinomial(5, probs=f(0.5, 0.3, 0.2))),
    "Multinomial of logits": (td.Multinomial(5, logits=f(0.2, 3.0, 0.5)), td.Multinomial(5, logits=f(0.5, 0.3, 0.2))),
    "MultivariateNormal": (
        td.MultivariateNormal(f(0.5, 1.0), covariance_matrix=SIGMA),
        td.MultivariateNormal(f(1.0, 1.0), precision_matrix=SIGMA),
    ),
    "MultivariateNormal of a factor": (
        td.MultivariateNormal(f(0.5, 1.0), scale_tril=torch.linalg.cholesky(SIGMA)),
        td.MultivariateNormal(f(1.0, 1.0), covariance_matrix=2 * SIGMA),
    ),
    "NegativeBinomial": (td.NegativeBinomial(s(5.0), probs=f(0.3, 0.9)), td.NegativeBinomial(s(5.0), probs=s(0.6))),
    "NegativeBinomial of logits": (
        td.NegativeBinomial(s(5.0), logits=f(0.3, -2.0)),
        td.NegativeBinomial(s(5.0), logits=s(0.6)),
    ),
    "Normal": (td.Normal(f(0.5, -1.0), f(1.2, 3.0)), td.Normal(s(1.0), s(2.0))),
    "OneHotCategorical": (td.OneHotCategorical(probs=f(0.2, 0.3, 0.5)), td.OneHotCategorical(probs=f(0.5, 0.3, 0.2))),
    "OneHotCategorical of logits": (
        td.OneHotCategoricalStraightThrough(logits=f(0.2, 3.0, 0.5)),
        td.OneHotCategorical(logits=f(0.5, 0.3, 0.2)),
    ),
    "Pareto": (td.Pareto(f(1.5, 2.0), s(3.0)), td.Pareto(s(1.2), s(2.0))),
    "Poisson": (td.Poisson(f(2.0, 9.0)), td.Poisson(s(3.0))),
    "RelaxedBernoulli": (td.RelaxedBernoulli(s(0.5), probs=f(0.3, 0.8)), td.RelaxedBernoulli(s(2.0), logits=s(0.4))),
    "StudentT": (td.StudentT(s(3.0), s(1.0), s(2.0)), td.StudentT(s(5.0), s(0.5), s(1.0))),
    "TransformedDistribution": (
        td.TransformedDistribution(
            td.Normal(f(0.5, 1.0), s(1.2)), [td.AffineTransform(1.0, 2.0), td.SigmoidTransform()]
        ),
        td.TransformedDistribution(td.Normal(s(1.0), s(2.0)), [td.AffineTransform(1.0, 2.0), td.SigmoidTransform()]),
    ),
    "Uniform": (td.Uniform(f(0.2, 0.3), s(0.8)), td.Uniform(s(0.1), s(0.9))),
    "VonMises": (td.VonMises(f(1.0, 2.0), s(2.0)), td.VonMises(s(0.0), s(1.0))),
    "Weibull": (td.Weibull(f(1.5, 2.0), s(3.0)), td.Weibull(s(1.2), s(3.0))),
    "Wishart": (
        td.Wishart(s(4.0), covariance_matrix=SIGMA),
        td.Wishart(s(5.0), scale_tril=torch.linalg.cholesky(SIGMA)),
    ),
}
#: PyTorch's Bessel function, an approximation by polynomials, has about 7 digits [Abramowitz and Stegun, 9.8.1].
ROUGH = {"VonMises": 1e-7}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("side", [0, 1])
def test_the_parameters_are_read_rightly(name: str, side: int) -> None:
    original = PAIRS[name][side]
    mine = adapted(original)
    assert isinstance(mine, Distribution)
    x = mine.sample(7, rng=1)
    assert mine.batch_shape == tuple(original.batch_shape)
    assert mine.event_shape == tuple(original.event_shape)
    # A few additions of numbers up to about 30.
    torch.testing.assert_close(mine.log_prob(x), original.log_prob(x), rtol=1e-12, atol=ROUGH.get(name, 1e-12))


@pytest.mark.parametrize("name", PAIRS)
def test_outcomes_are_drawn_by_the_seed(name: str) -> None:
    p = adapted(PAIRS[name][0])
    assert isinstance(p, Distribution)
    before = torch.random.get_rng_state()
    first, again = p.sample((50,), rng=1), p.sample((50,), rng=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, again)
    assert tuple(first.shape) == (50, *p.batch_shape, *p.event_shape)
    assert torch.isfinite(p.log_prob(first)).all()


#: One instance of each class of PyTorch's table of divergences, in another state on either side.
SIDES: dict[str, tuple[Any, Any]] = {
    **{name: pair for name, pair in PAIRS.items() if " " not in name},
    "ExponentialFamily": PAIRS["Gamma"],
    "Bernoulli": PAIRS["Bernoulli"],
}


@pytest.mark.parametrize("of", [td.RelaxedBernoulli, LogitRelaxedBernoulli])
@pytest.mark.parametrize(("one", "other"), [(1.0, 2.0), (2.0, 1.0), (0.1, 0.2), (1.0, 8.0)])
def test_relaxed_bernoulli_far_out(of: Any, one: float, other: float) -> None:
    """PyTorch's own log-density is −∞ from where exp(temperature·x) overflows; in 1/(1 + exp(−x)) nothing else is."""
    answer = dkl.measure(of(s(one), logits=s(0.3)), of(s(other), logits=s(-0.2)))

    def log_density(t: float, logit: float, x: Any) -> Any:
        z = logit - t * x
        return mpmath.log(t) + z - 2 * mpmath.log1p(mpmath.exp(z))

    def term(x: Any) -> Any:
        log_p = log_density(one, 0.3, x)
        return mpmath.exp(log_p) * (log_p - log_density(other, -0.2, x))

    width = 1 / mpmath.mpf(one)
    wanted = mpmath.quad(term, [width * k for k in (-90, -30, -10, -3, 0, 3, 10, 30, 90)])
    assert answer.reason is None
    assert float(answer.value) == pytest.approx(float(wanted), rel=1e-9)


@pytest.mark.parametrize(
    ("one", "other"), _KL_REGISTRY, ids=[f"{one.__name__}-{other.__name__}" for one, other in _KL_REGISTRY]
)
def test_every_pair_that_torch_registers(one: type, other: type) -> None:
    p, q = SIDES[one.__name__][0], SIDES[other.__name__][1]
    wanted = td.kl_divergence(p, q)
    answer = dkl.measure(p, q)
    # One of PyTorch's shapes says where its answer does not depend on the batch of Q.
    wanted = torch.broadcast_to(wanted, answer.value.shape)
    torch.testing.assert_close(answer.value, wanted, rtol=1e-6, atol=1e-12)
    assert (answer.reason is not None) == bool(torch.isinf(wanted).any())
    if torch.isinf(wanted).all():
        assert answer.method == "closed_form"
        assert "lives on" in str(answer.reason)


@pytest.mark.parametrize(
    "name", ["Normal", "Gamma", "Beta", "Dirichlet", "Laplace", "Poisson", "Independent", "LogisticNormal"]
)
def test_gradients_reach_the_callers_parameters(name: str) -> None:
    makers: dict[str, Any] = {
        "Normal": lambda a, b: td.Normal(a, b),
        "Gamma": lambda a, b: td.Gamma(a, b),
        "Beta": lambda a, b: td.Beta(a, b),
        "Dirichlet": lambda a, b: td.Dirichlet(torch.stack([a, b])),
        "Laplace": lambda a, b: td.Laplace(a, b),
        "Poisson": lambda a, b: td.Poisson(a * b),
        "Independent": lambda a, b: td.Independent(td.Gamma(torch.stack([a, b]), b), 1),
        "LogisticNormal": lambda a, b: td.LogisticNormal(torch.stack([a, b]), torch.stack([b, a])),
    }
    values = [0.7, 1.3, 1.1, 0.4]
    gradients = []
    for kl in (dkl.kl, td.kl_divergence):
        numbers = [s(v).requires_grad_() for v in values]
        make = makers[name]
        kl(make(*numbers[:2]), make(*numbers[2:])).backward()
        gradients.append([number.grad for number in numbers])
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def test_single_precision_stays_and_is_right() -> None:
    p, q = td.Normal(torch.tensor(1e-4), torch.tensor(1.0)), td.Normal(torch.tensor(0.0), torch.tensor(1.0))
    value = dkl.kl(p, q)
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(5e-9, rel=1e-6)
    half = dkl.kl(
        td.NegativeBinomial(torch.tensor(5.0), torch.tensor(0.3)), td.NegativeBinomial(torch.tensor(5.0), 0.6)
    )
    assert half.dtype == torch.float32
    mixture = td.MixtureSameFamily(td.Categorical(torch.tensor([0.3, 0.7])), td.Normal(torch.zeros(2), torch.ones(2)))
    assert dkl.kl(mixture, mixture).dtype == torch.float32


def test_a_side_of_scipy_goes_where_the_other_is() -> None:
    loc = s(0.5).requires_grad_()
    value = dkl.kl(td.Normal(loc, s(1.0)), stats.norm(0, 2))
    assert isinstance(value, torch.Tensor)
    assert value.item() == pytest.approx(math.log(2) + 1.25 / 8 - 0.5, rel=1e-12)
    value.backward()
    assert loc.grad is not None
    assert loc.grad.item() == pytest.approx(0.125, rel=1e-12)
    backwards = dkl.kl(stats.norm(0, 2), td.Normal(s(0.5), s(1.0)))
    assert isinstance(backwards, torch.Tensor)
    shifted = dkl.kl(stats.gamma(2, scale=0.5), td.Gamma(s(3.0), s(1.0)))
    assert shifted.item() == pytest.approx(td.kl_divergence(td.Gamma(s(2.0), s(2.0)), td.Gamma(s(3.0), s(1.0))).item())


@pytest.mark.parametrize(
    "divergence",
    [dkl.kl, dkl.reverse_kl, dkl.jeffreys, dkl.hellinger, dkl.squared_hellinger, dkl.bhattacharyya, dkl.chi2,
     dkl.neyman_chi2, dkl.Renyi(0.3), dkl.Renyi(2.0), dkl.Tsallis(1.5), dkl.Alpha(0.25)],
    ids=str,
)  # fmt: skip
def test_independent_outcomes_are_those_of_a_diagonal_covariance(divergence: Any) -> None:
    loc_p, loc_q, scale_p, scale_q = f(0.5, 1.0), f(0.0, 1.2), f(1.0, 1.1), f(1.2, 0.9)
    # By the logarithm, so that it is a product of gamma-like kin and not the diagonal normal family.
    p, q = (Product(adapted(td.LogNormal(m, v)), 1) for m, v in ((loc_p, scale_p), (loc_q, scale_q)))  # type: ignore[arg-type]
    one, other = (td.MultivariateNormal(m, torch.diag(v**2)) for m, v in ((loc_p, scale_p), (loc_q, scale_q)))
    torch.testing.assert_close(divergence(p, q), divergence(one, other), rtol=1e-10, atol=0.0)


def test_independence_is_no_reason_for_infinity() -> None:
    diagonal = td.Independent(td.Normal(f(0.5, 1.0), f(1.0, 2.0)), 1)
    full = td.MultivariateNormal(f(0.0, 0.0), SIGMA)
    as_full = td.MultivariateNormal(f(0.5, 1.0), torch.diag(f(1.0, 4.0)))
    torch.testing.assert_close(dkl.kl(diagonal, full), td.kl_divergence(as_full, full), rtol=1e-12, atol=0.0)
    logs = td.Independent(td.LogNormal(f(0.5, 1.0), f(1.0, 2.0)), 1)
    assert dkl.kl(full, logs) == math.inf
    assert dkl.measure(full, logs).reason is not None
    mine, other = adapted(logs), adapted(full)
    assert isinstance(mine, Distribution)
    assert isinstance(other, Distribution)
    assert mine.support.within(other.support) is True
    assert other.support.within(mine.support) is False


def test_two_axes_are_joined_and_a_batch_is_left() -> None:
    shapes = torch.linspace(1.0, 4.0, 24, dtype=torch.float64).reshape(4, 2, 3)
    p, q = (td.Independent(td.Gamma(a, s(rate)), 2) for a, rate in ((shapes, 1.0), (shapes.flip(0), 2.0)))
    assert dkl.kl(p, q).shape == (4,)
    # PyTorch's trigamma function has nine digits.
    torch.testing.assert_close(dkl.kl(p, q), td.kl_divergence(p, q), rtol=1e-8, atol=0.0)
    nested = (td.Independent(td.Independent(x.base_dist, 1), 1) for x in (p, q))
    torch.testing.assert_close(dkl.kl(*nested), td.kl_divergence(p, q), rtol=1e-8, atol=0.0)


def test_other_transforms_are_measured_by_their_densities() -> None:
    base = td.Normal(s(0.0), s(1.0))
    p = td.TransformedDistribution(base, [td.AffineTransform(1.0, 2.0)])
    q = td.TransformedDistribution(base, [td.AffineTransform(0.5, 1.5)])
    assert isinstance(adapted(p), Transformed)
    answer = dkl.measure(p, q)
    assert answer.method == "quadrature"
    assert float(answer) == pytest.approx(float(dkl.kl(td.Normal(s(1.0), s(2.0)), td.Normal(s(0.5), s(1.5)))), rel=1e-6)


def test_folding_is_not_one_to_one() -> None:
    p = td.TransformedDistribution(td.Normal(s(1.0), s(1.0)), [td.AbsTransform()])
    assert not isinstance(adapted(p), Transformed)


def test_a_subclass_with_a_density_of_its_own_is_no_member() -> None:
    class Tilted(td.Normal):
        def log_prob(self, value: Any) -> Any:
            return super().log_prob(value - 1.0)

    mine = adapted(Tilted(s(0.0), s(1.0)))
    assert isinstance(mine, dkl.density.Density)
    assert float(mine.log_prob(s(1.0))) == pytest.approx(-0.5 * math.log(2 * math.pi), rel=1e-12)
    assert type(adapted(type("Kin", (td.Normal,), {})(s(0.0), s(1.0)))).__name__ == "Normal"


@pytest.mark.parametrize(
    "original",
    [
        td.FisherSnedecor(f(3.0, 5.0), s(4.0)),
        td.RelaxedOneHotCategorical(s(0.5), probs=f(0.3, 0.7)),
        td.LKJCholesky(3, s(1.5)),
        td.GeneralizedPareto(torch.tensor(0.0), torch.tensor(1.0), torch.tensor(0.2)),
        td.MixtureSameFamily(
            td.Categorical(probs=f(0.3, 0.7)),
            td.TransformedDistribution(td.Normal(f(0.0, 1.0), s(1.0)), [td.SigmoidTransform()]),
        ),
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_has_no_family_is_a_density(original: Any) -> None:
    torch.manual_seed(2)
    mine = adapted(original)
    assert isinstance(mine, dkl.density.Density)
    x = original.sample((5,))
    torch.testing.assert_close(mine.log_prob(x), original.log_prob(x), rtol=1e-6, atol=1e-12)
    assert tuple(mine.sample(3, rng=0).shape) == (3, *original.batch_shape, *original.event_shape)
    assert mine.xp.__name__.endswith("torch")


def test_one_of_a_batch_of_densities() -> None:
    values = dkl.kl(td.FisherSnedecor(f(3.0, 5.0), s(6.0)), td.FisherSnedecor(f(4.0, 3.0), s(5.0)))
    assert values.shape == (2,)
    for k, (p, q) in enumerate([(3.0, 4.0), (5.0, 3.0)]):
        one = dkl.kl(td.FisherSnedecor(s(p), s(6.0)), td.FisherSnedecor(s(q), s(5.0)))
        torch.testing.assert_close(values[k], one, rtol=1e-6, atol=0.0)
    image = adapted(td.TransformedDistribution(td.Normal(f(0.0, 1.0), s(1.0)), [td.SigmoidTransform()]))
    assert isinstance(image, Transformed)
    x = f(0.2, 0.9, 0.4)
    torch.testing.assert_close(image._member((1,)).log_prob(x), image.log_prob(x[:, None])[:, 1], rtol=1e-14, atol=0.0)
    assert image._member((1,)).sample(4, rng=0).shape == (4,)


def test_one_of_a_batch_of_products_of_images() -> None:
    loc = f(0.0, 1.0, 2.0, 3.0, 4.0, 5.0).reshape(3, 2)
    original = td.Independent(td.TransformedDistribution(td.Normal(loc, s(1.0)), [td.SigmoidTransform()]), 1)
    p = adapted(original)
    assert isinstance(p, Product)
    x = f(0.2, 0.9, 0.4, 0.5).reshape(2, 2)
    torch.testing.assert_close(p._member((1,)).log_prob(x), original.log_prob(x[:, None])[:, 1], rtol=1e-13, atol=0.0)
    assert p._member((1,)).sample(4, rng=0).shape == (4, 2)
    with pytest.raises(NotImplementedError, match="by whole axes"):
        p.base._member((slice(0, 1),))  # type: ignore[operator]


def test_an_outcome_outside_the_support_is_impossible_and_no_error() -> None:
    p = adapted(td.FisherSnedecor(s(3.0), s(4.0)))
    assert isinstance(p, Distribution)
    assert p.log_prob(s(-1.0)) == -math.inf


def test_nothing_is_imported_early() -> None:
    code = (
        "import sys, dkl; dkl.kl([0.5, 0.5], [0.5, 0.5]); import dkl.adapters; "
        "print([m for m in ('torch', 'jax', 'numpyro', 'scipy.stats') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_numpy_stays_where_both_are() -> None:
    assert isinstance(dkl.kl(stats.norm(0, 1), stats.norm(1, 1)), np.floating)


def test_answers_in_single_precision_are_not_held_to_more_digits() -> None:
    """Densities that PyTorch calculates in float32 have noise of 1e-7: the default rtol of 1e-10 is out of reach."""
    p, q = torch.distributions.HalfCauchy(torch.tensor(1.0)), torch.distributions.Gamma(torch.tensor(0.5), 0.3)
    answer = dkl.measure(p, q, dkl.js)
    assert answer.method == "quadrature"
    assert answer.warning is None
    wanted = dkl.js(stats.halfcauchy(), stats.gamma(0.5, scale=1 / 0.3))
    assert float(answer) == pytest.approx(float(wanted), rel=1e-5)
