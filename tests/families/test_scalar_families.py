"""Counts, angles and other scalar families: KL against mpmath, and all that they say of themselves against SciPy."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import jax
import mpmath as mp
import numpy as np
import pytest
import torch
from scipy import integrate, special, stats
from torch import distributions as td

import dkl
import dkl.methods.pairs_closed
from dkl.families import bessel
from dkl.families import special as functions
from dkl.families.base import Distribution
from dkl.families.continuous_bernoulli import ContinuousBernoulli
from dkl.families.counts import Binomial, Geometric, Multinomial, NegativeBinomial, Poisson
from dkl.families.directional import VonMises, VonMisesFisher
from dkl.families.dirichlet import Beta
from dkl.families.exponential import ExponentialFamily
from dkl.families.fixed import Laplace, Pareto, Weibull
from dkl.families.gamma import Exponential, Gamma
from dkl.families.inverse_gaussian import InverseGaussian
from dkl.families.normal import LogNormal, Normal
from dkl.families.others import Cauchy, GeneralizedNormal, Gumbel, Kumaraswamy, Logistic, StudentT, Uniform
from dkl.families.outcomes import Bernoulli, Categorical

jax.config.update("jax_enable_x64", True)

REFERENCES = json.loads(Path(__file__).with_name("scalar_references.json").read_text())
CLASSES: dict[str, Callable[..., Distribution]] = {
    c.__name__: c
    for c in (
        Poisson, Geometric, NegativeBinomial, Binomial, Multinomial, VonMises, VonMisesFisher, ContinuousBernoulli,
        InverseGaussian, Pareto, Weibull, Laplace, Cauchy, Gumbel, GeneralizedNormal, Kumaraswamy, Logistic,
        StudentT, Uniform, Bernoulli, Categorical,
    )
}  # fmt: skip
# An ordinary pair of each family, by parameters that change within it.
PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
for row in REFERENCES:
    PAIRS.setdefault(row["family"], (row["p"], row["q"]))
PAIRS["Pareto"] = ({"scale": 2.0, "alpha": 3.0}, {"scale": 2.0, "alpha": 1.5})
PAIRS["Laplace"] = ({"loc": 0.25, "scale": 1.0}, {"loc": 0.25, "scale": 2.0})
EXPONENTIAL = [name for name in PAIRS if issubclass(CLASSES[name], ExponentialFamily)]  # type: ignore[arg-type]
# The parameters that a member of the pair may be differentiated by.
FIXED = {"total_count"}

# SciPy's distribution of the same parameters.
SCIPY: dict[str, tuple[dict[str, Any], Any]] = {
    "Poisson": ({"rate": 3.5}, stats.poisson(3.5)),
    "Geometric": ({"probs": 0.3}, stats.geom(0.3, loc=-1)),
    "NegativeBinomial": ({"total_count": 2.5, "probs": 0.3}, stats.nbinom(2.5, 0.3)),
    "Binomial": ({"total_count": 7, "probs": 0.3}, stats.binom(7, 0.3)),
    "Bernoulli": ({"probs": 0.3}, stats.bernoulli(0.3)),
    "VonMises": ({"loc": 0.5, "concentration": 2.0}, stats.vonmises(2.0, loc=0.5)),
    "InverseGaussian": ({"mean": 1.5, "shape": 2.0}, stats.invgauss(0.75, scale=2.0)),
    "Pareto": ({"scale": 2.0, "alpha": 6.0}, stats.pareto(6.0, scale=2.0)),
    "Weibull": ({"scale": 2.0, "concentration": 1.7}, stats.weibull_min(1.7, scale=2.0)),
    "Laplace": ({"loc": 0.5, "scale": 2.0}, stats.laplace(0.5, 2.0)),
    "Cauchy": ({"loc": 0.5, "scale": 2.0}, stats.cauchy(0.5, 2.0)),
    "Gumbel": ({"loc": 0.5, "scale": 2.0}, stats.gumbel_r(0.5, 2.0)),
    "Logistic": ({"loc": 0.5, "scale": 2.0}, stats.logistic(0.5, 2.0)),
    "GeneralizedNormal": ({"loc": 0.5, "scale": 2.0, "shape": 1.5}, stats.gennorm(1.5, 0.5, 2.0)),
    "StudentT": ({"df": 5.0, "loc": 0.5, "scale": 2.0}, stats.t(5.0, 0.5, 2.0)),
    "Uniform": ({"low": -1.0, "high": 2.0}, stats.uniform(-1.0, 3.0)),
}
DISCRETE = {"Poisson", "Geometric", "NegativeBinomial", "Binomial", "Bernoulli"}
# E log p has no closed form, so the base class says so.


def make(name: str, parameters: dict[str, Any]) -> Any:
    return CLASSES[name](**{k: np.asarray(v, float) if isinstance(v, list) else v for k, v in parameters.items()})


def names_of(row: Any) -> str:
    return f"{row['family']} {row['p']} {row['q']}"


@pytest.mark.parametrize("row", REFERENCES, ids=names_of)
def test_kl_is_right_to_the_last_digits(row: Any) -> None:
    p, q = make(row["family"], row["p"]), make(row["family"], row["q"])
    kl, reverse = float(row["kl"]), float(row["reverse_kl"])
    assert float(dkl.kl(p, q)) == pytest.approx(kl, rel=1e-12)
    assert float(dkl.reverse_kl(p, q)) == pytest.approx(reverse, rel=1e-12)
    assert float(dkl.kl(q, p)) == pytest.approx(reverse, rel=1e-12)
    assert float(dkl.jeffreys(p, q)) == pytest.approx(kl + reverse, rel=1e-12)


@pytest.mark.parametrize("row", REFERENCES, ids=names_of)
def test_a_distribution_is_no_distance_from_itself(row: Any) -> None:
    for parameters in (row["p"], row["q"]):
        p, q = make(row["family"], parameters), make(row["family"], parameters)
        assert float(dkl.kl(p, q)) == 0.0
        assert float(dkl.jeffreys(p, q)) == 0.0


def power_integral(p: Distribution, q: Distribution, a: float) -> float:
    """∫ p^a q^(1−a), by quadrature or by summing all outcomes that matter."""

    def log_term(x: Any) -> Any:
        return np.exp(a * p.log_prob(x) + (1.0 - a) * q.log_prob(x))

    if isinstance(p, Multinomial):
        grid = [x for x in product(range(5), repeat=p.event_shape[0]) if sum(x) == 4]
        return float(np.sum(log_term(np.asarray(grid, float))))
    if isinstance(p, VonMisesFisher):
        # Over the sphere: exact in the azimuth by the trapezium, Gauss and Legendre along the axis.
        nodes, weights = np.polynomial.legendre.leggauss(60)
        angles = np.arange(64) * 2 * math.pi / 64
        ring = np.sqrt(1 - nodes**2)[:, None]
        points = np.stack([ring * np.cos(angles), ring * np.sin(angles), nodes[:, None] + 0 * angles], axis=-1)
        return float(np.sum(weights[:, None] * log_term(points)) * 2 * math.pi / 64)
    if type(p).__name__ in DISCRETE:
        return float(np.sum(log_term(np.arange(8.0 if isinstance(p, Binomial) else 3000.0))))
    low = max(float(p.support.low), -80.0)  # type: ignore[attr-defined]
    high = min(float(p.support.high), 80.0 if not isinstance(p, Pareto) else 1e6)  # type: ignore[attr-defined]
    cuts = sorted({low, high, *(x for x in (-20.0, -3.0, 0.0, 0.25, 1.0, 3.0, 20.0, 200.0, 5e3) if low < x < high)})
    return sum(integrate.quad(log_term, a, b, epsabs=1e-13, epsrel=1e-11, limit=200)[0] for a, b in pairwise(cuts))


@pytest.mark.parametrize("name", EXPONENTIAL)
def test_the_power_family_follows_from_kl(name: str) -> None:
    p, q = (make(name, x) for x in PAIRS[name])
    for a in (0.25, 0.5):
        # By the densities, which quadrature knows to some 1e-10.
        integral = power_integral(p, q, a)
        assert float(dkl.Renyi(a)(p, q)) == pytest.approx(math.log(integral) / (a - 1), rel=1e-8)
    assert float(dkl.hellinger(p, q)) == pytest.approx(math.sqrt(1 - integral), rel=1e-8)


@pytest.mark.parametrize("name", EXPONENTIAL)
def test_an_order_beyond_one_is_infinite_outside_the_parameters(name: str) -> None:
    p, q = (make(name, x) for x in PAIRS[name])
    value = float(dkl.Renyi(1.5)(p, q))
    assert value >= float(dkl.kl(p, q))  # Rényi's divergence grows with its order
    assert value == math.inf or value == pytest.approx(math.log(power_integral(p, q, 1.5)) / 0.5, rel=1e-8)


@pytest.mark.parametrize("name", SCIPY)
def test_densities_and_moments_are_scipys(name: str) -> None:
    parameters, theirs = SCIPY[name]
    mine = make(name, parameters)
    x = np.arange(8.0) if name in DISCRETE else theirs.ppf(np.linspace(0.01, 0.99, 41))
    expected = theirs.logpmf(x) if name in DISCRETE else theirs.logpdf(x)
    np.testing.assert_allclose(mine.log_prob(x), expected, rtol=1e-11, atol=1e-13)
    if name == "VonMises":  # SciPy's moments are those on the line
        assert float(mine.mean()) == 0.5
        assert float(mine.var()) == pytest.approx(1 - special.ive(1, 2.0) / special.ive(0, 2.0), rel=1e-13)
    elif name == "Cauchy":
        assert np.isnan(mine.mean())
        assert np.isnan(mine.var())
    else:
        assert float(mine.mean()) == pytest.approx(theirs.mean(), rel=1e-11)
        assert float(mine.var()) == pytest.approx(theirs.var(), rel=1e-10)
        assert float(mine.std()) == pytest.approx(theirs.std(), rel=1e-10)
    assert float(mine.entropy()) == pytest.approx(float(theirs.entropy()), rel=1e-9)


@pytest.mark.parametrize("logits", [-40.0, -3.0, -1e-3, 0.0, 1e-9, 0.5, 1.0 - 1e-9, 1.0 + 1e-9, 6.0, 200.0])
def test_continuous_bernoulli_by_quadrature(logits: float) -> None:
    p = ContinuousBernoulli(logits=logits)

    def moment(f: Callable[[float], float]) -> float:
        cuts = (0.0, 0.02, 0.2, 0.8, 0.98, 1.0)
        return sum(
            integrate.quad(lambda x: math.exp(float(p.log_prob(x))) * f(x), a, b, epsabs=1e-14)[0]
            for a, b in pairwise(cuts)
        )

    mean = float(p.mean())
    assert moment(lambda x: 1.0) == pytest.approx(1.0, rel=1e-12)
    assert moment(lambda x: x) == pytest.approx(mean, rel=1e-11)
    assert moment(lambda x: (x - mean) ** 2) == pytest.approx(float(p.var()), rel=1e-10)
    assert moment(lambda x: -float(p.log_prob(x))) == pytest.approx(float(p.entropy()), abs=1e-12)
    theirs = td.ContinuousBernoulli(logits=torch.tensor(0.5, dtype=torch.float64))
    assert float(ContinuousBernoulli(logits=0.5).log_prob(0.3)) == pytest.approx(
        float(theirs.log_prob(torch.tensor(0.3, dtype=torch.float64))), rel=1e-12
    )


def test_kumaraswamy_by_quadrature() -> None:
    p = Kumaraswamy(2.0, 3.5)

    def moment(f: Callable[[float], float]) -> float:
        return integrate.quad(lambda x: 7.0 * x * (1 - x * x) ** 2.5 * f(x), 0, 1, epsabs=1e-14)[0]  # type: ignore[no-any-return]

    mean = float(p.mean())
    assert float(p.log_prob(0.3)) == pytest.approx(math.log(7.0 * 0.3 * (1 - 0.09) ** 2.5), rel=1e-13)
    # Quadrature knows some ten digits at an end with a power of 2.5.
    assert moment(lambda x: x) == pytest.approx(mean, rel=1e-9)
    assert moment(lambda x: (x - mean) ** 2) == pytest.approx(float(p.var()), rel=1e-9)
    assert moment(lambda x: -float(p.log_prob(x))) == pytest.approx(float(p.entropy()), rel=1e-8)


@pytest.mark.parametrize(("d", "kappa"), [(2, 3.0), (3, 1e-3), (3, 50.0), (7, 4.0)])
def test_von_mises_fisher_against_scipy(d: int, kappa: float) -> None:
    mu = np.linspace(1.0, 2.0, d)
    mu /= np.linalg.norm(mu)
    p, theirs = VonMisesFisher(mu, kappa), stats.vonmises_fisher(mu, kappa)
    x = p.sample(20_000, rng=1)
    np.testing.assert_allclose(p.log_prob(x[:50]), theirs.logpdf(x[:50]), rtol=1e-10, atol=1e-12)
    assert float(p.entropy()) == pytest.approx(theirs.entropy(), rel=1e-10)
    # Within five standard errors, of the mean and of the mean square.
    error = 5 * np.sqrt(np.asarray(p.var()) / len(x))
    assert np.all(np.abs(x.mean(axis=0) - p.mean()) <= error)
    squares = (x - p.mean()) ** 2
    assert np.all(np.abs(squares.mean(axis=0) - p.var()) <= 5 * squares.std(axis=0) / math.sqrt(len(x)))


@pytest.mark.parametrize("name", SCIPY)
def test_samples_have_the_law(name: str) -> None:
    parameters, theirs = SCIPY[name]
    x = np.asarray(make(name, parameters).sample(4000, rng=7))
    assert x.shape == (4000,)
    np.testing.assert_array_equal(x, make(name, parameters).sample(4000, rng=7))
    if name in DISCRETE:
        most = int(theirs.ppf(0.99))
        seen = np.bincount(np.minimum(x, most).astype(int), minlength=most + 1)
        expected = theirs.pmf(np.arange(most + 1))
        expected[-1] = 1 - expected[:-1].sum()
        assert stats.chisquare(seen, 4000 * expected).pvalue > 1e-4
    else:
        assert stats.kstest(x, theirs.cdf).pvalue > 1e-4


@pytest.mark.parametrize("logits", [-6.0, 0.0, 2.0])
def test_samples_of_the_two_without_scipy(logits: float) -> None:
    p = ContinuousBernoulli(logits=logits)
    x = np.asarray(p.sample(4000, rng=3))
    assert stats.kstest(x, lambda v: np.expm1(logits * v) / np.expm1(logits) if logits else v).pvalue > 1e-4
    y = np.asarray(Kumaraswamy(2.0, 3.5).sample(4000, rng=3))
    assert stats.kstest(y, lambda v: 1 - (1 - v**2) ** 3.5).pvalue > 1e-4


def test_multinomial_against_scipy() -> None:
    shares = [0.25, 0.25, 0.5]
    p, theirs = Multinomial(6, shares), stats.multinomial(6, shares)
    grid = np.asarray([x for x in product(range(7), repeat=3) if sum(x) == 6], float)
    np.testing.assert_allclose(p.log_prob(grid), theirs.logpmf(grid), rtol=1e-12)
    np.testing.assert_allclose(p.log_prob([[1.0, 2.0, 4.0], [1.5, 0.5, 4.0]]), -math.inf)
    np.testing.assert_allclose(p.mean(), theirs.mean(), rtol=1e-14)
    np.testing.assert_allclose(p.var(), np.diag(theirs.cov()), rtol=1e-14)
    x = p.sample(5000, rng=5)
    assert np.all(x.sum(axis=-1) == 6)
    assert np.all(np.abs(x.mean(axis=0) - p.mean()) < 5 * np.sqrt(p.var() / 5000))
    batch = Multinomial(np.asarray([3, 9]), logits=np.zeros(4))
    assert batch.sample(2, rng=1).shape == (2, 2, 4)
    np.testing.assert_array_equal(batch.sample((), rng=1).sum(axis=-1), [3, 9])


def test_categorical_by_its_list() -> None:
    shares = np.asarray([[0.5, 0.25, 0.25], [0.0, 0.875, 0.125]])
    p = Categorical(shares)
    np.testing.assert_allclose(p.log_prob([2.0, 1.0]), np.log([0.25, 0.875]), rtol=1e-15)
    np.testing.assert_array_equal(p.log_prob([0.0, 0.0]), [math.log(0.5), -math.inf])
    np.testing.assert_array_equal(p.log_prob([3.0, 0.5]), -math.inf)
    np.testing.assert_allclose(p.mean(), shares @ np.arange(3), rtol=1e-15)
    np.testing.assert_allclose(p.var(), shares @ np.arange(3.0) ** 2 - (shares @ np.arange(3)) ** 2, rtol=1e-14)
    np.testing.assert_allclose(p.entropy(), stats.entropy(shares, axis=-1), rtol=1e-14)
    x = p.sample(8000, rng=2)
    for column, row in zip(x.T, shares, strict=True):
        seen = np.bincount(column.astype(int), minlength=3)
        assert seen[row == 0].sum() == 0
        assert stats.chisquare(seen[row > 0], 8000 * row[row > 0]).pvalue > 1e-4
    logits = Categorical(logits=np.log(shares[:1]) + 5.0)
    np.testing.assert_allclose(logits.entropy(), p.entropy()[:1], rtol=1e-14)


@pytest.mark.parametrize("divergence", [dkl.kl, dkl.js, dkl.tv, dkl.hellinger, dkl.chi2, dkl.Renyi(math.inf)])
def test_outcomes_are_measured_as_lists(divergence: Any) -> None:
    for one, other in ((0.25, 0.5), (0.0, 0.5), (0.5, 1.0)):
        expected = divergence([1 - one, one], [1 - other, other])
        # KL has a formula of its own for a probability.
        mine = divergence(Bernoulli(one), Bernoulli(other))
        assert float(mine) == pytest.approx(float(expected), rel=1e-15)
    rows = np.asarray([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]])
    expected = divergence(rows, rows[::-1])
    np.testing.assert_array_equal(divergence(Categorical(rows), Categorical(rows[::-1])), expected)
    np.testing.assert_array_equal(divergence(Categorical(rows), rows[::-1]), expected)
    # Summed by another loop: a rounding apart.
    mixed = float(divergence(Bernoulli(0.25), [0.5, 0.5]))
    assert mixed == pytest.approx(float(divergence([0.75, 0.25], [0.5, 0.5])), rel=1e-14)
    a, b = np.asarray([-0.5, 700.0]), np.asarray([0.5, 699.0])
    zero = np.zeros(2)
    expected = divergence(dkl.Logits(np.stack([zero, a], -1)), dkl.Logits(np.stack([zero, b], -1)))
    np.testing.assert_array_equal(divergence(Bernoulli(logits=a), Bernoulli(logits=b)), expected)


@pytest.mark.parametrize("p", [0.3, 0.5, 1e-9, 1 - 2.0**-20])
@pytest.mark.parametrize("step", [2.0**-44, 2.0**-33, 1e-3])
def test_trials_keep_the_digits_of_their_difference(p: float, step: float) -> None:
    q = p + step * min(p, 1 - p)
    apart = mp.mpf(q) - mp.mpf(p)
    with mp.workdps(60):
        a, b = mp.mpf(p), mp.mpf(p) + apart
        kl, back = (float(x * mp.log(x / y) + (1 - x) * mp.log((1 - x) / (1 - y))) for x, y in ((a, b), (b, a)))
    one, other = Bernoulli(p), Bernoulli(q)
    assert float(dkl.kl(one, other)) == pytest.approx(kl, rel=1e-12)
    assert float(dkl.reverse_kl(one, other)) == pytest.approx(back, rel=1e-12)
    assert float(dkl.jeffreys(one, other)) == pytest.approx(kl + back, rel=1e-12)


def test_infinite_trials_name_the_outcome() -> None:
    estimate = dkl.measure(Bernoulli(0.5), Bernoulli(0.0))
    assert estimate.reason == "KL(P‖Q) is infinite: Q gives probability 0 to outcome 1, where P has 0.5."
    assert float(dkl.kl(Bernoulli(0.0), Bernoulli(0.5))) == pytest.approx(math.log(2), rel=1e-15)


def test_outcomes_keep_dtype_and_gradient() -> None:
    logits = torch.tensor([0.5, 1.5], dtype=torch.float32, requires_grad=True)
    listed = Bernoulli(logits=logits).outcomes()
    assert listed.array.dtype == torch.float32
    dkl.kl(listed, dkl.Probs(torch.tensor([0.5, 0.5]))).sum().backward()
    p = torch.sigmoid(logits.detach())
    np.testing.assert_allclose(logits.grad, (logits.detach() * p * (1 - p)), rtol=1e-5)  # float32
    assert float(Bernoulli(0.25).entropy()) == pytest.approx(stats.bernoulli(0.25).entropy(), rel=1e-14)
    assert float(Bernoulli(0.0).entropy()) == 0.0
    np.testing.assert_array_equal(Bernoulli(np.asarray([0.0, 1.0])).log_prob(1.0), [-math.inf, 0.0])


def nearby(name: str) -> list[tuple[Any, Any]]:
    """The pair, and a nearly equal one."""
    one, other = PAIRS[name]
    same = {*FIXED, *({"Pareto": ("scale",), "GeneralizedNormal": ("loc",)}.get(name, ()))}
    near = {k: v if k in same else v * (1 + 1e-7) + 1e-9 for k, v in one.items()}
    return [(one, other), (one, near)]


VARIED = [n for n in PAIRS if n not in ("VonMisesFisher", "Multinomial")]


@pytest.mark.parametrize("name", VARIED)
def test_gradients_are_right_in_torch_and_the_same_in_jax(name: str) -> None:
    for one, other in nearby(name):
        free = [k for k in one if k not in FIXED and not (name in ("Pareto",) and k == "scale")]
        if name in ("Laplace", "GeneralizedNormal"):
            free = [k for k in free if k != "loc"]
        rest_p, rest_q = ({k: v for k, v in x.items() if k not in free} for x in (one, other))
        n = len(free)

        def measure(*x: Any, free: Any = free, rest_p: Any = rest_p, rest_q: Any = rest_q, n: int = n) -> Any:
            p = CLASSES[name](**rest_p, **dict(zip(free, x[:n], strict=True)))
            q = CLASSES[name](**rest_q, **dict(zip(free, x[n:], strict=True)))
            return dkl.kl(p, q)

        values = [float(x[k]) for x in (one, other) for k in free]
        tensors = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values]
        # Differences of steps of 1e-6 know a slope to about 1e-8 of the larger terms.
        assert torch.autograd.gradcheck(measure, tensors, rtol=1e-4, atol=1e-8)
        gradients = torch.autograd.grad(measure(*tensors), tensors)
        mine = jax.grad(measure, argnums=tuple(range(len(values))))(*map(jax.numpy.asarray, values))
        np.testing.assert_allclose([float(g) for g in mine], [float(g) for g in gradients], rtol=1e-8, atol=1e-18)
        assert float(measure(*map(jax.numpy.asarray, values))) == pytest.approx(float(measure(*values)), rel=1e-10)


@pytest.mark.parametrize("name", ["VonMisesFisher", "Multinomial"])
def test_gradients_of_vectors(name: str) -> None:
    def measure(xp: Any, x: Any, y: Any, k: Any, m: Any) -> Any:
        if name == "Multinomial":
            return dkl.kl(Multinomial(4, logits=x), Multinomial(4, logits=y)) + 0.0 * k * m
        unit = [v / (v * v).sum() ** 0.5 for v in (x, y)]
        return dkl.kl(VonMisesFisher(unit[0], k), VonMisesFisher(unit[1], m))

    values = [np.asarray([1.0, 2.0, 0.5]), np.asarray([0.5, 1.5, 1.0]), np.asarray(3.0), np.asarray(5.0)]
    tensors = [torch.tensor(v, requires_grad=True) for v in values]
    assert torch.autograd.gradcheck(lambda *x: measure(torch, *x), tensors, rtol=1e-4, atol=1e-8)
    gradients = torch.autograd.grad(measure(torch, *tensors), tensors)
    mine = jax.grad(lambda *x: measure(jax.numpy, *x), argnums=(0, 1, 2, 3))(*map(jax.numpy.asarray, values))
    for g, h in zip(mine, gradients, strict=True):
        np.testing.assert_allclose(np.asarray(g), h.numpy(), rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("name", PAIRS)
def test_the_gradient_at_equality_is_zero(name: str) -> None:
    free = [k for k in PAIRS[name][0] if k not in FIXED and not isinstance(PAIRS[name][0][k], list)]
    parameters = {k: v for k, v in PAIRS[name][0].items() if k not in free}
    parameters = {k: np.asarray(v) if isinstance(v, list) else v for k, v in parameters.items()}
    tensors = {k: torch.tensor(float(PAIRS[name][0][k]), dtype=torch.float64, requires_grad=True) for k in free}
    moved = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in parameters.items()}
    p = CLASSES[name](**moved, **tensors)
    q = CLASSES[name](**moved, **{k: x.detach() for k, x in tensors.items()})
    value = dkl.kl(p, q)
    assert float(value.detach()) == 0.0
    for k, x in tensors.items():
        if not (name in ("Laplace", "Pareto") and k in ("loc", "scale") and name + k != "Laplacescale"):
            (g,) = torch.autograd.grad(value, x, retain_graph=True, allow_unused=True)
            assert g is None or float(g) == 0.0, k


@pytest.mark.parametrize("name", PAIRS)
def test_batches_are_loops(name: str) -> None:
    rows = [r for r in REFERENCES if r["family"] == name]
    keys = set(rows[0]["p"])
    rows = [
        r for r in rows
        if set(r["p"]) == set(r["q"]) == keys and all(
            np.shape(r[s][k]) == np.shape(rows[0]["p"][k]) for s in "pq" for k in keys
        )
    ]  # fmt: skip
    assert len(rows) > 1
    p, q = (make(name, {k: np.asarray([r[s][k] for r in rows], float) for k in keys}) for s in "pq")
    assert p.batch_shape == (len(rows),)
    expected = [float(dkl.kl(make(name, r["p"]), make(name, r["q"]))) for r in rows]
    # Sums over a batch may be ordered otherwise: a few roundings of numbers that do not cancel.
    np.testing.assert_allclose(np.asarray(dkl.kl(p, q)), expected, rtol=1e-13)
    crossed = p.sample((3,), rng=0)
    assert crossed.shape == (3, len(rows), *p.event_shape)
    assert np.asarray(p.log_prob(crossed)).shape == (3, len(rows))
    assert np.shape(p.mean()) == (len(rows), *p.event_shape)


SAME = torch.float64


def theirs(name: str, *parameters: float) -> Any:
    return getattr(td, name)(*(torch.tensor(float(x), dtype=SAME) for x in parameters))


CROSS: dict[str, tuple[Distribution, Any]] = {
    "Normal": (Normal(0.3, 1.2), theirs("Normal", 0.3, 1.2)),
    "Exponential": (Exponential(1.5), theirs("Exponential", 1.5)),
    "Gamma": (Gamma(2.5, 1.5), theirs("Gamma", 2.5, 1.5)),
    "Gumbel": (Gumbel(0.4, 0.7), theirs("Gumbel", 0.4, 0.7)),
    "Laplace": (Laplace(0.2, 0.4), theirs("Laplace", 0.2, 0.4)),
    "Laplace wide": (Laplace(0.7, 1.4), theirs("Laplace", 0.7, 1.4)),
    "Beta": (Beta(2.0, 3.0), theirs("Beta", 2, 3)),
    "ContinuousBernoulli": (ContinuousBernoulli(0.8), theirs("ContinuousBernoulli", 0.8)),
    "Pareto": (Pareto(0.5, 3.0), theirs("Pareto", 0.5, 3)),
    "Pareto heavy": (Pareto(0.75, 0.9), theirs("Pareto", 0.75, 0.9)),
    "Uniform": (Uniform(0.55, 0.9), theirs("Uniform", 0.55, 0.9)),
    "Uniform wide": (Uniform(-2.0, 3.0), theirs("Uniform", -2, 3)),
    "Cauchy": (Cauchy(0.1, 0.9), theirs("Cauchy", 0.1, 0.9)),
    "Weibull": (Weibull(1.2, 1.7), None),
    "InverseGaussian": (InverseGaussian(1.0, 2.0), None),
    "Kumaraswamy": (Kumaraswamy(2.0, 3.5), None),
    "StudentT": (StudentT(9.0, 0.1, 0.8), None),
    "GeneralizedNormal": (GeneralizedNormal(0.1, 1.0, 1.5), None),
    "LogNormal": (LogNormal(0.1, 0.25), None),
}


def closed_kl(p: Distribution, q: Distribution) -> float:
    """KL by a closed form, NaN where there is none."""
    try:
        return float(dkl.kl(p, q, method="closed_form"))
    except TypeError:
        return math.nan


def kl_by_quadrature(p: Distribution, q: Distribution) -> float:
    def term(x: float) -> float:
        log_p = float(p.log_prob(x))
        return math.exp(log_p) * (log_p - float(q.log_prob(x)))

    low, high = (float(x) for x in (p.support.low, p.support.high))  # type: ignore[attr-defined]
    cuts = sorted({low, high, *(x for x in (-20.0, -2.0, 0.0, 0.2, 0.7, 2.0, 20.0) if low < x < high)})
    return sum(integrate.quad(term, a, b, limit=300)[0] for a, b in pairwise(cuts))


@pytest.mark.parametrize("left", CROSS)
@pytest.mark.filterwarnings("ignore::scipy.integrate.IntegrationWarning")
def test_cross_pairs_by_quadrature_and_torch(left: str) -> None:
    p, their_p = CROSS[left]
    measured = 0
    for q, their_q in CROSS.values():
        value = closed_kl(p, q)
        if their_p is not None and their_q is not None:
            try:
                expected = float(td.kl_divergence(their_p, their_q))
            except (NotImplementedError, IndexError):  # torch 2.13 indexes a single number in some of its pairs
                expected = math.nan
            if not math.isnan(expected):
                assert value == pytest.approx(expected, rel=1e-6, abs=1e-12)
        if math.isfinite(value):
            measured += 1
            assert value >= 0
            assert value == pytest.approx(kl_by_quadrature(p, q), rel=1e-6, abs=1e-9)
            assert float(dkl.reverse_kl(q, p, method="closed_form")) == value
    assert measured >= 1


def test_what_beta_and_uniform_share() -> None:
    flat = Uniform(0.0, 1.0)
    # A Beta and a continuous Bernoulli next to the uniform one, where a difference of entropies has no digits.
    p, one = Beta(1.0 + 2.0**-30, 1.0), Beta(1.0, 1.0)
    assert float(dkl.kl(p, flat)) == float(dkl.kl(p, one))
    assert float(dkl.kl(flat, p)) == float(dkl.kl(one, p))
    assert 0 < float(dkl.kl(flat, p)) < 1e-17
    bent = ContinuousBernoulli(0.5 + 2.0**-30)
    # E''(0) = 1/12, and η = 4·2⁻³⁰.
    assert float(dkl.kl(bent, flat)) == pytest.approx((4 * 2.0**-30) ** 2 / 24, rel=1e-8)
    assert float(dkl.kl(flat, bent)) == pytest.approx((4 * 2.0**-30) ** 2 / 24, rel=1e-8)
    wide = Uniform(np.asarray([-1.0, 0.0, 0.5]), np.asarray([1.0, 1.0, 2.0]))
    np.testing.assert_allclose(
        dkl.kl(Beta(2.0, 3.0), wide), dkl.kl(Beta(2.0, 3.0), one) + np.asarray([math.log(2), 0, math.inf]), rtol=1e-14
    )
    assert float(dkl.kl(Uniform(0.25, 0.5), Beta(2.0, 3.0))) == pytest.approx(
        kl_by_quadrature(Uniform(0.25, 0.5), Beta(2.0, 3.0)), rel=1e-10
    )


def test_weibull_and_exponential_share_members() -> None:
    near = 1.0 + 2.0**-30
    assert float(dkl.kl(Exponential(2.0), Weibull(0.5, near))) == float(dkl.kl(Weibull(0.5, 1.0), Weibull(0.5, near)))
    assert float(dkl.kl(Weibull(0.5, near), Exponential(2.0))) == float(dkl.kl(Weibull(0.5, near), Weibull(0.5, 1.0)))
    assert 0 < float(dkl.jeffreys(Exponential(2.0), Weibull(0.5, near), method="closed_form")) < 1e-16


@pytest.mark.parametrize(("a", "b"), [(2.0, 3.5), (0.3, 0.4), (8.0, 0.5), (0.05, 30.0), (1.0, 2.0)])
@pytest.mark.filterwarnings("ignore::scipy.integrate.IntegrationWarning")
def test_kumaraswamy_to_beta(a: float, b: float) -> None:
    p, q = Kumaraswamy(a, b), Beta(2.5, 1.5)

    def log_ratio(u: float) -> float:
        log_rest = math.log(u) / b
        x_a = -math.expm1(log_rest)
        log_x = (math.log1p(-math.exp(log_rest)) if log_rest < -0.5 else math.log(x_a)) / a
        # 1 − x, where x rounds to 1: (1 − x^a)/a.
        log_short = math.log(-math.expm1(log_x)) if log_x < 0 else log_rest - math.log(a)
        log_p = math.log(a * b) + (a - 1) * log_x + (b - 1) * log_rest
        return log_p - (1.5 * log_x + 0.5 * log_short - float(special.betaln(2.5, 1.5)))

    # Over the probability u of more than x, whose ends carry logarithms.
    cuts = (1e-300, 1e-12, 1e-6, 1e-3, 0.1, 0.5, 0.9, 1 - 1e-3, 1 - 1e-6, 1 - 1e-9, 1 - 1e-13)
    expected = sum(integrate.quad(log_ratio, x, y, limit=200, epsabs=1e-13)[0] for x, y in pairwise(cuts))
    # 1e-13 of probability is left out, where the log-density of a = 0.05 is some hundreds.
    assert float(dkl.kl(p, q)) == pytest.approx(expected, rel=1e-8, abs=1e-10)


@pytest.mark.parametrize(
    "divergence", [dkl.kl, dkl.reverse_kl, dkl.js, dkl.tv, dkl.hellinger, dkl.chi2, dkl.Renyi(0.5), dkl.jeffreys]
)
def test_uniform_pairs_by_every_member(divergence: Any) -> None:
    p = Uniform(np.asarray([0.0, 0.0, 0.0, 0.0]), np.asarray([1.0, 1.0, 1.0, 1.0]))
    q = Uniform(np.asarray([-1.0, 0.5, 2.0, 0.25]), np.asarray([3.0, 2.5, 3.0, 0.75]))
    left = np.asarray([[0, 1, 0], [0.5, 0.5, 0], [1, 0, 0], [0.5, 0.5, 0]])
    right = np.asarray([[0, 0.25, 0.75], [0, 0.25, 0.75], [0, 0, 1], [0, 1, 0]])
    np.testing.assert_allclose(divergence(p, q), divergence(left, right), rtol=1e-14)
    near = Uniform(0.0, 1.0 + 2.0**-40)
    assert float(dkl.kl(Uniform(0.0, 1.0), near)) == pytest.approx(math.log1p(2.0**-40), rel=1e-14)


def test_uniform_gradient() -> None:
    ends = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (0.25, 0.75, 0.0, 1.5)]
    assert torch.autograd.gradcheck(lambda a, b, c, d: dkl.kl(Uniform(a, b), Uniform(c, d)), ends, rtol=1e-5, atol=1e-8)
    slope = jax.grad(lambda d: dkl.kl(Uniform(0.25, 0.75), Uniform(0.0, d)))(1.5)
    assert float(slope) == pytest.approx(1 / 1.5, rel=1e-14)


def test_infinite_answers_say_why() -> None:
    reason = dkl.measure(Pareto(1.0, 2.0), Pareto(2.0, 2.0)).reason
    assert reason is not None
    assert reason == "KL(P‖Q) is infinite: P lives on the interval (1, ∞), Q on the interval (2, ∞)."
    heavy = dkl.measure(StudentT(2.0), Normal(0.0, 1.0)).reason
    assert heavy == "KL(P‖Q) is infinite, or exceeds the largest number: an expectation of its formula is."
    np.testing.assert_array_equal(
        np.isinf(dkl.kl(Pareto(np.asarray([1.0, 3.0]), 2.0), Pareto(2.0, 2.0))), [True, False]
    )
    assert math.isinf(float(dkl.kl(Uniform(0.0, 2.0), Uniform(0.0, 1.0))))
    assert math.isinf(float(dkl.kl(Binomial(9, 0.5), Binomial(8, 0.5))))
    assert math.isinf(float(dkl.kl(Poisson(1.0), Binomial(8, 0.5))))
    assert math.isinf(float(dkl.kl(Pareto(1.0, 0.5), Exponential(1.0))))
    assert math.isinf(float(dkl.kl(Laplace(0.0, 2.0), Gumbel(0.0, 1.0))))
    assert math.isinf(float(dkl.kl(Normal(0.0, 1.0), Exponential(1.0))))


@pytest.mark.parametrize(
    ("p", "q"),
    [
        (Gamma(1e8, 1.0), Normal(1e8, 1e4)), (Beta(1e6, 1e6), Normal(0.5, 0.5 / math.sqrt(2e6))),
        (Kumaraswamy(1.0, 2.5), Beta(1.0, 2.5)), (LogNormal(0.0, 1e-4), Normal(1.0, 1e-4)),
    ],
)  # fmt: skip
def test_a_difference_without_digits_is_declined(p: Distribution, q: Distribution) -> None:
    with pytest.raises(TypeError, match="nothing measures kl"):
        dkl.kl(p, q, method="closed_form")


def test_a_difference_with_digits_is_given() -> None:
    # KL(Gamma(a, 1)‖N(a, √a)) by its formula; some 1e-3 here, with 13 digits before the difference is taken.
    a = mp.mpf(50)
    entropy = a + mp.loggamma(a) + (1 - a) * mp.digamma(a)
    expected = float(mp.log(2 * mp.pi * a) / 2 + mp.mpf(1) / 2 - entropy)
    assert float(dkl.kl(Gamma(50.0, 1.0), Normal(50.0, math.sqrt(50.0)))) == pytest.approx(expected, rel=1e-10)


def test_what_has_no_closed_form_is_declined() -> None:
    for p, q in (
        (Binomial(8, 0.5), Binomial(9, 0.5)), (NegativeBinomial(2.0, 0.5), NegativeBinomial(3.0, 0.5)),
        (GeneralizedNormal(0.0, 1.0, 2.0), GeneralizedNormal(1.0, 1.0, 2.0)), (StudentT(3.0), StudentT(4.0)),
        (ContinuousBernoulli(0.25), Beta(2.0, 2.0)), (Kumaraswamy(2.0, 3.0), Kumaraswamy(3.0, 2.0)),
        (Gamma(2.0, 1.0), Weibull(1.0, 2.0)), (Normal(0.0, 1.0), Cauchy(0.0, 1.0)),
    ):  # fmt: skip
        with pytest.raises(TypeError, match="nothing measures kl"):
            dkl.kl(p, q, method="closed_form")
    with pytest.raises(ValueError, match="axis = 0 does not apply"):
        dkl.kl(Cauchy(0.0, 1.0), Cauchy(1.0, 1.0), axis=0)


def test_special_cases_and_symmetries() -> None:
    # Each of these is a member of two families.
    near = {"rel": 1e-13}
    assert float(dkl.kl(NegativeBinomial(1.0, 0.3), NegativeBinomial(1.0, 0.6))) == pytest.approx(
        float(dkl.kl(Geometric(0.3), Geometric(0.6))), **near
    )
    assert float(dkl.kl(Binomial(1, 0.3), Binomial(1, 0.6))) == pytest.approx(
        float(dkl.kl([0.7, 0.3], [0.4, 0.6])), **near
    )
    assert float(dkl.kl(Multinomial(5, [0.25, 0.75]), Multinomial(5, [0.5, 0.5]))) == pytest.approx(
        float(dkl.kl(Binomial(5, 0.25), Binomial(5, 0.5))), **near
    )
    root = math.sqrt(2.0)
    assert float(dkl.kl(GeneralizedNormal(0, root, 2.0), GeneralizedNormal(0, 3 * root, 2.0))) == pytest.approx(
        float(dkl.kl(Normal(0, 1.0), Normal(0, 3.0))), **near
    )
    assert float(dkl.kl(GeneralizedNormal(0, 1.0, 1.0), GeneralizedNormal(0, 3.0, 1.0))) == pytest.approx(
        float(dkl.kl(Laplace(0, 1.0), Laplace(0, 3.0))), **near
    )
    circle = [np.asarray([math.cos(x), math.sin(x)]) for x in (0.25, 1.5)]
    assert float(dkl.kl(VonMisesFisher(circle[0], 2.0), VonMisesFisher(circle[1], 5.0))) == pytest.approx(
        float(dkl.kl(VonMises(0.25, 2.0), VonMises(1.5, 5.0))), **near
    )
    assert float(dkl.kl(VonMises(0.25, 2.0), VonMises(0.25 + 2 * math.pi, 2.0))) == pytest.approx(0.0, abs=1e-30)
    assert float(dkl.kl(ContinuousBernoulli(logits=2.0), ContinuousBernoulli(logits=-3.0))) == pytest.approx(
        float(dkl.kl(ContinuousBernoulli(logits=-2.0), ContinuousBernoulli(logits=3.0))), **near
    )


def test_opposite_directions_leave_the_uniform_one() -> None:
    p, q = VonMises(0.0, 2.0), VonMises(math.pi, 2.0)
    # ∫ √(p·q) = 2π/(2π·I₀(2)), since the exponents cancel.
    assert float(dkl.bhattacharyya(p, q)) == pytest.approx(math.log(special.i0(2.0)), rel=1e-13)
    one = np.asarray([1.0, 0.0, 0.0])
    value = float(dkl.bhattacharyya(VonMisesFisher(one, 2.0), VonMisesFisher(-one, 2.0)))
    assert value == pytest.approx(math.log(math.sinh(2.0) / 2.0), rel=1e-13)


@pytest.mark.parametrize("name", EXPONENTIAL)
def test_mean_and_natural_parameters(name: str) -> None:
    p, _ = (make(name, x) for x in PAIRS[name])
    back = p._with_natural(p._natural())
    assert float(p._kl(back)) < 1e-28
    means = p.mean_parameters()
    assert len(means) in (1, len(p.natural()))
    x = p.sample(40_000, rng=11)
    statistic: Callable[[Any], Any] = {
        "Pareto": np.log, "Weibull": lambda v: v**2.0, "Laplace": lambda v: np.abs(v - 0.25), "VonMises": np.cos,
    }.get(name, lambda v: v)  # fmt: skip
    drawn = statistic(np.asarray(x))
    error = 5 * drawn.std(axis=0) / math.sqrt(len(drawn))
    assert np.all(np.abs(drawn.mean(axis=0) - means[0]) < error)


@pytest.mark.parametrize(("make_it", "error", "message"), [
    (lambda: Poisson(-1.0), ValueError, "Poisson: rate = -1 is not positive and finite"),
    (lambda: Poisson([1.0, math.inf]), ValueError, r"Poisson: rate\[1\] = inf"),
    (lambda: Geometric(1.0), ValueError, "Geometric: probs = 1 is not strictly between 0 and 1"),
    (lambda: Geometric(), TypeError, "Geometric takes one of probs and logits"),
    (lambda: NegativeBinomial(0.0, 0.5), ValueError, "NegativeBinomial: total_count = 0 is not positive"),
    (lambda: NegativeBinomial(1.0, 0.5, logits=1.0), TypeError, "takes one of probs and logits"),
    (lambda: Binomial(2.5, 0.5), ValueError, "Binomial: total_count = 2.5 is not a positive whole number"),
    (lambda: Binomial(2, logits=math.inf), ValueError, "Binomial: logits = inf is not finite"),
    (lambda: Binomial(2), TypeError, "Binomial takes one of"),
    (lambda: Multinomial(2, [0.5, 0.6]), ValueError, "Multinomial: probs sums to 1.1, not to 1"),
    (lambda: Multinomial(2, [1.0, 0.0]), ValueError, r"Multinomial: probs\[1\] = 0 is not positive"),
    (lambda: Multinomial(2), TypeError, "Multinomial takes one of"),
    (lambda: Multinomial(2, 0.5), ValueError, r"probs of shape \(\) needs at least 1 axes"),
    (lambda: Bernoulli(1.5), ValueError, "Bernoulli: probs = 1.5 is not between 0 and 1"),
    (lambda: Bernoulli(0.5, logits=0.0), TypeError, "Bernoulli takes one of"),
    (lambda: Categorical([[0.5, 0.5], [0.5, 0.25]]), ValueError, r"Categorical: probs\[1\] sums to 0.75"),
    (lambda: Categorical([0.5, -0.5, 1.0]), ValueError, r"Categorical: probs\[1\] = -0.5 is not non-negative"),
    (lambda: Categorical(logits=[-math.inf, -math.inf]), ValueError, "at least one outcome must be possible"),
    (lambda: Categorical(logits=[0.0, math.nan]), ValueError, r"logits\[1\] = nan is not finite or −inf"),
    (lambda: Categorical(np.empty((2, 0))), ValueError, "lists no outcome"),
    (lambda: VonMises(0.0, 0.0), ValueError, "VonMises: concentration = 0 is not positive"),
    (lambda: VonMises(math.nan, 1.0), ValueError, "VonMises: loc = nan is not finite"),
    (lambda: VonMisesFisher([1.0, 1.0], 1.0), ValueError, "mean_direction has length 1.41421356, not 1: divide it"),
    (lambda: VonMisesFisher([1.0], 1.0), ValueError, "directions need at least two dimensions"),
    (lambda: ContinuousBernoulli(0.0), ValueError, "ContinuousBernoulli: probs = 0 is not strictly"),
    (lambda: ContinuousBernoulli(), TypeError, "ContinuousBernoulli takes one of"),
    (lambda: InverseGaussian(1.0, -2.0), ValueError, "InverseGaussian: shape = -2 is not positive"),
    (lambda: Pareto(0.0, 1.0), ValueError, "Pareto: scale = 0 is not positive"),
    (lambda: Weibull(1.0, [1.0, -1.0]), ValueError, r"Weibull: concentration\[1\] = -1 is not positive"),
    (lambda: Laplace(0.0, 0.0), ValueError, "Laplace: scale = 0 is not positive"),
    (lambda: Uniform(1.0, [2.0, 1.0]), ValueError, r"Uniform: high − low\[1\] = 0 is not positive: low must be"),
    (lambda: Cauchy(math.inf, 1.0), ValueError, "Cauchy: loc = inf is not finite"),
    (lambda: Gumbel(0.0, -1.0), ValueError, "Gumbel: scale = -1 is not positive"),
    (lambda: GeneralizedNormal(0.0, 1.0, 0.0), ValueError, "GeneralizedNormal: shape = 0 is not positive"),
    (lambda: Kumaraswamy(1.0, 0.0), ValueError, "Kumaraswamy: b = 0 is not positive"),
    (lambda: StudentT(0.0), ValueError, "StudentT: df = 0 is not positive"),
    (lambda: Multinomial(2, [0.5, 0.5]).log_prob([1.0]), ValueError, "no last axis of length 2"),
    (lambda: VonMisesFisher([1.0, 0.0], 1.0).log_prob([1.0]), ValueError, "no last axis of length 2"),
])  # fmt: skip
def test_errors_name_what_is_wrong(make_it: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_it()


def test_outside_the_support_the_density_is_zero() -> None:
    for p, outside in (
        (Poisson(2.0), [-1.0, 0.5]), (Binomial(3, 0.5), [4.0, 1.5]), (Bernoulli(0.5), [2.0, 0.5]),
        (Pareto(1.0, 2.0), [0.5, -1.0]), (Weibull(1.0, 2.0), [-0.5, -1.0]), (Uniform(0.0, 1.0), [-0.5, 2.0]),
        (InverseGaussian(1.0, 1.0), [-1.0, 0.0]), (ContinuousBernoulli(0.5), [-0.5, 1.5]),
        (Kumaraswamy(2.0, 2.0), [-1.0, 2.0]),
        (VonMises(0.0, 1.0), [math.inf, -math.inf]),
    ):  # fmt: skip
        np.testing.assert_array_equal(p.log_prob(np.asarray(outside)), -math.inf)
        assert p.support.name
    assert "counts of 2 kinds that sum to 3" in Multinomial(3, [0.5, 0.5]).support.name


def test_an_angle_goes_round() -> None:
    with pytest.raises(TypeError, match="nothing measures kl between a VonMises and a Normal"):
        dkl.kl(VonMises(0.0, 1.0), Normal(0.0, 1.0), method="closed_form")
    assert VonMises(0.0, 1.0).support.name == "the circle"
    assert float(VonMises(0.5, 3.0).log_prob(7.0)) == pytest.approx(
        float(VonMises(0.5, 3.0).log_prob(7.0 - 2 * math.pi)), rel=1e-14
    )


@pytest.mark.parametrize("nu", [0.0, 0.5, 3.0, 38.0, 120.0])
def test_bessel_functions_against_scipy(nu: float) -> None:
    k = np.asarray([0.01, 0.5, 3.0, 12.0, 39.5, 40.5, 100.0, 600.0])
    xp = np
    safe = special.ive(nu + 1, k) > 1e-290
    k = k[safe]
    ratio = special.ive(nu + 1, k) / special.ive(nu, k)
    np.testing.assert_allclose(bessel.ratio(xp, nu, k), ratio, rtol=2e-13)
    np.testing.assert_allclose(bessel.short_of_one(xp, nu, k), 1 - ratio, rtol=1e-10)
    value = special.gammaln(nu + 1) + nu * np.log(2 / k) + np.log(special.ive(nu, k)) + k
    # SciPy's sum cancels for large ν.
    np.testing.assert_allclose(bessel.log_normaliser(xp, nu, k), value, rtol=1e-11, atol=1e-12 * (1 + nu) * 10)


def test_special_functions_against_scipy() -> None:
    x = np.concatenate([np.geomspace(1e-12, 1e6, 60), [1.999, 2.0, 2.001]])
    small = x[x < 500]
    np.testing.assert_allclose(functions.scaled_exp1(np, small), special.exp1(small) * np.exp(small), rtol=1e-13)
    y = np.linspace(-40.0, 40.0, 41)
    np.testing.assert_allclose(functions.sigmoid(np, y), special.expit(y), rtol=1e-15)
    np.testing.assert_allclose(functions.log_sigmoid(np, y), special.log_expit(y), rtol=1e-15)
    assert float(functions.log_ratio(np, np.asarray(1.0 + 2.0**-50), np.asarray(1.0))) == math.log1p(2.0**-50)
    for at in (0.0, -3.0, 4.0):
        z = torch.tensor(at, dtype=torch.float64, requires_grad=True)
        xp = dkl._array.namespace_of(z=z)
        (slope,) = torch.autograd.grad(functions.log_sigmoid(xp, z), z)
        assert float(slope) == pytest.approx(special.expit(-at), rel=1e-14)


def test_float32_keeps_its_dtype() -> None:
    p, q = (VonMises(torch.tensor(x), torch.tensor([2.0, 50.0])) for x in (0.5, 1.0))
    value = dkl.kl(p, q)
    assert value.dtype == torch.float32
    mine = dkl.kl(VonMises(0.5, np.asarray([2.0, 50.0])), VonMises(1.0, np.asarray([2.0, 50.0])))
    np.testing.assert_allclose(value.numpy(), mine, rtol=1e-6)  # float32
    mixed = dkl.kl(Poisson(torch.tensor([1.0, 2.0])), Poisson(3.0))
    assert isinstance(mixed, torch.Tensor)


def test_entropies_of_counts_are_summed() -> None:
    for n, shares in ((6, [0.2, 0.3, 0.5]), (1, [0.25, 0.75]), (40, [0.1, 0.2, 0.3, 0.4])):
        assert float(Multinomial(n, shares).entropy()) == pytest.approx(
            stats.multinomial(n, shares).entropy(), rel=1e-12
        )
    batch = Poisson(np.array([[1e-8], [0.5], [1e6]]))
    assert batch.entropy().shape == (3, 1)
    # Of a large rate, ½·log(2πeλ) − 1/(12λ) − …, the Edgeworth series.
    assert float(batch.entropy()[2, 0]) == pytest.approx(
        0.5 * math.log(2 * math.pi * math.e * 1e6) - 1 / 12e6, rel=1e-12
    )
    assert float(batch.entropy()[0, 0]) == pytest.approx(float(stats.poisson(1e-8).entropy()), rel=1e-12)
    rate = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r: Poisson(r).entropy(), rate)
    with pytest.raises(NotImplementedError, match="Poisson: no sum is made over 80000080 counts for the entropy"):
        Poisson(1e12).entropy()
