"""From mean parameters back to a member: round trips, the means, optimality, gradients, errors."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

import dkl
from dkl import families
from dkl._array import namespace_of
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
    LowRankNormal,
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
    moments,
)
from dkl.families.exponential import MeanParametrised
from dkl.families.log_gamma import digamma_step

SQUARE = [[1.0, 0.4, 0.1], [0.4, 2.0, -0.3], [0.1, -0.3, 1.5]]
WIDE = [1e-3, 0.2, 1.0, 7.0, 1e4]

#: Members whose means determine their parameters to the last digits.
ORDINARY: dict[str, Any] = {
    "Bernoulli": Bernoulli([0.0, 1e-9, 0.3, 1.0]),
    "Beta": Beta([0.5, 1e-3, 2.0, 20.0], [0.5, 1e-2, 3.0, 5.0]),
    "Binomial": Binomial([7, 1, 1000], [1e-8, 0.3, 0.999]),
    "Categorical": Categorical([[0.2, 0.8, 0.0], [0.5, 0.25, 0.25]]),
    "ChiSquared": ChiSquared(WIDE),
    "ContinuousBernoulli": ContinuousBernoulli(logits=[-1e5, -3.0, 0.0, 0.25, 20.0]),
    "DiagonalNormal": DiagonalNormal([1.0, -0.5], [[3.0, 0.5], [0.75, 1e3]]),
    "Dirichlet": Dirichlet([[0.1, 2.0, 30.0], [1.0, 1.0, 1.0], [1e-3, 1e-2, 1e-3], [5.0, 6.0, 7.0]]),
    "Erlang": Erlang([1.0, 2.0, 3.0, 100.0, 1e4], 2.0),
    "Exponential": Exponential(WIDE),
    "Gamma": Gamma([1e-3, 0.3, 2.0, 50.0], [1.0, 2.0, 0.1, 10.0]),
    "Geometric": Geometric(logits=[-20.0, -0.5, 2.0, 30.0]),
    "HalfNormal": HalfNormal(WIDE),
    "InverseGamma": InverseGamma([1e-3, 0.3, 2.0, 50.0], [1.0, 2.0, 0.1, 10.0]),
    "InverseGaussian": InverseGaussian([0.1, 1.0, 20.0], [3.0, 1.0, 20.0]),
    "InverseWishart": InverseWishart([2.5, 30.0], SQUARE),
    "Laplace": Laplace([0.0, 2.0, -0.5], [0.1, 3.0, 1e4]),
    "LogNormal": LogNormal([0.0, 1.0, -3.0], [1e-3, 1.0, 50.0]),
    "MatrixNormal": MatrixNormal([[1.0, 0.0, -1.0], [0.5, 2.0, 0.0]], [[1.0, 0.3], [0.3, 1.0]], SQUARE),
    "Maxwell": Maxwell(WIDE),
    "Multinomial": Multinomial([5, 20], [[0.2, 0.3, 0.5], [0.9, 1e-9, 0.1 - 1e-9]]),
    "MultivariateNormal": MultivariateNormal([1.0, 0.0, -0.5], SQUARE),
    "NegativeBinomial": NegativeBinomial([3.5, 0.1, 1.0], logits=[-20.0, -0.5, 2.0]),
    "Normal": Normal([0.0, 1.0, -3.0], [1e-3, 1.0, 50.0]),
    "Pareto": Pareto([1.0, 2.0, 0.5], [0.01, 3.0, 20.0]),
    "Poisson": Poisson(WIDE),
    "Rayleigh": Rayleigh(WIDE),
    "VonMises": VonMises([0.0, 3.0, -2.0], [1e-8, 0.5, 30.0]),
    "VonMisesFisher": VonMisesFisher([[0.0, 0.6, 0.8]], [1e-8, 0.5, 30.0]),
    "Weibull": Weibull([1.0, 2.0, 0.5], [0.1, 3.0, 5.0]),
    "Wishart": Wishart([2.5, 30.0], SQUARE),
}  # fmt: skip
#: Members whose means, rounded, determine less of them: they are found as the members of these means.
NARROW: dict[str, Any] = {
    "Beta": Beta([1e3, 1e6, 1e-3, 1e8], [2e3, 1e-3, 1e4, 1e8]),
    "Dirichlet": Dirichlet([[1e3, 2e3, 1e-3], [1e8, 1e8, 2e8], [1e-6, 1e-6, 1e-6]]),
    "Gamma": Gamma([1e4, 1e8, 1e-8], [3.0, 1e8, 1e6]),
    "InverseGamma": InverseGamma([1e4, 1e8, 1e-8], [3.0, 1e8, 1e6]),
    "InverseWishart": InverseWishart([2.0 + 1e-9, 1e7], SQUARE),
    "Normal": Normal([1e3, 1e6], [1.0, 1e-1]),
    "VonMises": VonMises([3.0, -2.0], [1e4, 1e10]),
    "VonMisesFisher": VonMisesFisher(np.full((1, 25), 0.2), [1e4, 1e10]),
    "Wishart": Wishart([2.0 + 1e-9, 1e7], SQUARE),
}
NAMES = [name for name in ORDINARY if name not in ("Bernoulli", "Categorical")]


def known_of(p: Any) -> dict[str, Any]:
    return {name: p.given[name] for name in p.known}


def statistics_of(p: Any, x: Any) -> tuple[Any, ...]:
    if isinstance(p, Categorical):
        return p.sufficient_statistics(x, outcomes=p.given["probs"].shape[-1])
    return type(p).sufficient_statistics(x, **known_of(p))


def back(p: Any) -> Any:
    return type(p).from_mean_parameters(*p.mean_parameters(), **known_of(p))


def test_every_family_with_means_is_here() -> None:
    public = {name for name in families.__all__ if not inspect.isabstract(getattr(families, name))}
    known = {name for name in public if issubclass(getattr(families, name), MeanParametrised)}
    assert known == {*ORDINARY, "LowRankNormal"}


@pytest.mark.parametrize("name", ORDINARY)
def test_there_and_back(name: str) -> None:
    p = ORDINARY[name]
    q = back(p)
    assert q.batch_shape == p.batch_shape
    both = [x for x in p.parameters if x in q.parameters]
    assert len(both) == len(p.parameters)
    for key in both:
        mine = np.broadcast_to(p.parameters[key], q.parameters[key].shape)
        np.testing.assert_allclose(q.parameters[key], mine, rtol=1e-12, atol=1e-15, err_msg=key)


@pytest.mark.parametrize("name", NARROW)
def test_narrow_members_have_the_means_they_were_made_of(name: str) -> None:
    p = NARROW[name]
    for mine, its in zip(p.mean_parameters(), back(p).mean_parameters(), strict=True):
        np.testing.assert_allclose(its, mine, rtol=2e-14, atol=2e-16)


@given(st.floats(-9.0, 9.0), st.floats(-9.0, 9.0))
@settings(max_examples=60, deadline=None)
def test_any_member_is_that_of_its_means(first: float, second: float) -> None:
    a, b = math.exp(first), math.exp(second)
    for p in (Gamma(a, b), Beta(a, b), Dirichlet([a, b, 1.0]), VonMises(0.0, a), ContinuousBernoulli(logits=first)):
        means = p.mean_parameters()
        # The rounding of the means moves the member by KL of the order of its square, by the condition number.
        found = back(p).mean_parameters()
        size = max(float(np.max(np.abs(m))) for m in means)
        for mine, its in zip(means, found, strict=True):
            np.testing.assert_allclose(its, mine, rtol=1e-13, atol=1e-15 * size)


# The means, by the density alone.

LINES: dict[str, Any] = {
    "Beta": Beta(2.0, 3.5), "ChiSquared": ChiSquared(5.0), "ContinuousBernoulli": ContinuousBernoulli(0.8),
    "Erlang": Erlang(3.0, 2.0), "Exponential": Exponential(1.5), "Gamma": Gamma(2.5, 1.5),
    "HalfNormal": HalfNormal(1.5), "InverseGamma": InverseGamma(3.5, 2.0), "InverseGaussian": InverseGaussian(1.5, 2.0),
    "Laplace": Laplace(0.5, 2.0), "LogNormal": LogNormal(0.25, 0.5), "Maxwell": Maxwell(1.5),
    "Normal": Normal(0.5, 2.0),
    "Pareto": Pareto(1.5, 4.0), "Rayleigh": Rayleigh(1.5), "VonMises": VonMises(0.5, 2.0), "Weibull": Weibull(1.5, 2.5),
}  # fmt: skip
COUNTS: dict[str, Any] = {
    "Bernoulli": Bernoulli(0.3), "Binomial": Binomial(6, 0.3), "Categorical": Categorical([0.2, 0.5, 0.3]),
    "Geometric": Geometric(0.4), "NegativeBinomial": NegativeBinomial(2.5, 0.4), "Poisson": Poisson(3.5),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_means_by_quadrature(name: str) -> None:
    p = LINES[name]
    low, high = float(p.support.low), float(p.support.high)
    for i, mean in enumerate(p.mean_parameters()):

        def term(x: float, i: int = i) -> float:
            return float(statistics_of(p, x)[i] * np.exp(p.log_prob(x)))

        ends = [low, *(c for c in (0.5, 2.0) if low < c < high), high]
        found = sum(integrate.quad(term, a, b, epsabs=1e-13, epsrel=1e-12)[0] for a, b in itertools.pairwise(ends))
        assert found == pytest.approx(float(mean), rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("name", COUNTS)
def test_means_by_sums(name: str) -> None:
    p = COUNTS[name]
    x = np.arange(min(float(p.support.high), 150.0) + 1.0)
    (statistic,) = statistics_of(p, x)
    np.testing.assert_allclose(np.exp(p.log_prob(x)) @ statistic, p.mean_parameters()[0], rtol=1e-12)


def test_means_of_vectors() -> None:
    p = Multinomial(4, [0.2, 0.3, 0.5])
    x = np.asarray([(i, j, 4 - i - j) for i in range(5) for j in range(5 - i)], dtype=float)
    np.testing.assert_allclose(np.exp(p.log_prob(x)) @ statistics_of(p, x)[0], p.mean_parameters()[0], rtol=1e-13)
    q = Dirichlet([2.5, 4.0])
    t, weights = (0.5 * (z + shift) for z, shift in zip(np.polynomial.legendre.leggauss(400), (1.0, 0.0), strict=True))
    shares = np.stack([t, 1.0 - t], axis=-1)
    (logs,) = statistics_of(q, shares)
    np.testing.assert_allclose((weights * np.exp(q.log_prob(shares))) @ logs, q.mean_parameters()[0], rtol=1e-6)
    angle = np.linspace(-math.pi, math.pi, 200, endpoint=False)
    v = VonMisesFisher([0.6, 0.8], 3.0)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    by_sum = np.exp(v.log_prob(circle)) @ statistics_of(v, circle)[0] * (2 * math.pi / 200)
    np.testing.assert_allclose(by_sum, v.mean_parameters()[0], rtol=1e-12)
    # Gauss and Hermite know the first two moments of normal distributions.
    z, weights = np.polynomial.hermite_e.hermegauss(3)
    weights = weights / weights.sum()
    for normal in (MultivariateNormal([1.0, -0.5], [[1.0, 0.4], [0.4, 2.0]]), DiagonalNormal([1.0, -0.5], [0.5, 2.0])):
        grid = np.asarray(list(itertools.product(z, z))) @ np.asarray(normal._factor()).T + normal.loc
        mass = np.outer(weights, weights).ravel()
        for mean, statistic in zip(normal.mean_parameters(), statistics_of(normal, grid), strict=True):
            np.testing.assert_allclose(np.tensordot(mass, statistic, 1), mean, rtol=1e-13)


@pytest.mark.parametrize("p", [
    Wishart(5.0, [[1.0, 0.3], [0.3, 0.8]]), InverseWishart(7.0, [[1.0, 0.3], [0.3, 0.8]]),
    MatrixNormal([[1.0, 0.0]], [[2.0]], [[1.0, 0.3], [0.3, 0.8]]),
], ids=lambda p: type(p).__name__)  # fmt: skip
def test_means_of_matrices_by_samples(p: Any) -> None:
    n = 20_000
    for mean, statistic in zip(p.mean_parameters(), statistics_of(p, p.sample(n, rng=3)), strict=True):
        assert np.all(np.abs(statistic.mean(axis=0) - mean) < 5.0 * statistic.std(axis=0) / math.sqrt(n))


# The matched member is the best one, for a distribution outside the family.


def outcomes_of(name: str) -> tuple[Any, Any]:
    """A member, and outcomes inside its support that no member gave."""
    p = LINES.get(name) or COUNTS.get(name) or ORDINARY[name]
    rng = np.random.default_rng(5)
    if name in ("Multinomial", "VonMisesFisher", "Dirichlet", "MultivariateNormal", "DiagonalNormal"):
        p = {
            "Multinomial": Multinomial(4, [0.2, 0.3, 0.5]), "VonMisesFisher": VonMisesFisher([0.0, 0.6, 0.8], 3.0),
            "Dirichlet": Dirichlet([2.0, 1.0, 3.0]), "MultivariateNormal": MultivariateNormal([0.0, 0.0, 0.0], SQUARE),
            "DiagonalNormal": DiagonalNormal([0.0, 0.0]),
        }[name]  # fmt: skip
    elif name in ("Wishart", "InverseWishart"):
        p = type(p)(6.0, SQUARE)
    drawn = np.concatenate([np.asarray(p.sample(60, rng=rng)), np.asarray(p.sample(3, rng=rng))])
    if name in LINES and math.isinf(float(p.support.high)):
        drawn[:20] = drawn[0]  # a tie that no density has
    if name == "MatrixNormal":
        drawn[:, 0] *= np.asarray([1.0, 3.0, 0.5])
    return p, drawn


@pytest.mark.parametrize("name", NAMES)
def test_the_matched_member_has_the_greatest_likelihood(name: str) -> None:
    p, x = outcomes_of(name)
    found = type(p).from_mean_parameters(*(t.mean(axis=0) for t in statistics_of(p, x)), **known_of(p))
    free = {n: torch.tensor(v, requires_grad=n not in p.known) for n, v in found.parameters.items()}
    if name == "Erlang":
        free["shape"] = free["shape"].detach()
    if name in ("Multinomial", "VonMisesFisher"):  # parameters that are bound: along the free direction
        key = "probs" if name == "Multinomial" else "mean_direction"
        free[key] = free[key].detach()
        raw = free[key].clone().requires_grad_()
        moved = raw / (raw.sum() if name == "Multinomial" else raw.norm())
        likelihood = type(p)(**{**free, key: moved}).log_prob(torch.as_tensor(x)).mean()
        leaves = [raw, *(v for v in free.values() if v.requires_grad)]
    else:
        likelihood = type(p)(**free).log_prob(torch.as_tensor(x)).mean()
        leaves = [v for v in free.values() if v.requires_grad]
    for leaf, slope in zip(leaves, torch.autograd.grad(likelihood, leaves), strict=True):
        # The second derivatives of a mean of this many outcomes are of the order of one in relative units.
        assert float((slope * (leaf.detach().abs() + 1e-3)).abs().max()) < 1e-9, name
    entries = [(n, i) for n, v in found.given.items() if n not in p.known for i in range(np.size(v))]
    best = float(found.log_prob(x).mean())
    rng = np.random.default_rng(0)
    for n, _ in entries if name not in ("Multinomial", "VonMisesFisher", "Erlang") else []:
        value = np.asarray(found.given[n])
        bump = 1.0 + 0.05 * rng.random(value.shape[-1:] if value.ndim < 2 else ())
        worse = type(p)(**{**found.given, n: value * bump + (0.05 if n == "loc" else 0.0)})
        assert float(worse.log_prob(x).mean()) < best


def test_kl_to_the_matched_member_is_the_least() -> None:
    p = dkl.Mixture([Gamma(2.0, 1.0), Gamma(9.0, 2.0)], [0.5, 0.5])
    means = [
        0.5 * (a + b) for a, b in zip(*(Gamma(*g).mean_parameters() for g in ((2.0, 1.0), (9.0, 2.0))), strict=True)
    ]
    q = Gamma.from_mean_parameters(*means)
    least = float(dkl.kl(p, q))
    for shape, rate in ((1.01, 1.0), (0.99, 1.0), (1.0, 1.01), (1.0, 0.99), (1.01, 1.01)):
        other = Gamma(float(q.shape) * shape, float(q.rate) * rate)
        # Pythagoras: KL(p‖other) = KL(p‖q) + KL(q‖other), as q has p's means.
        assert float(dkl.kl(p, other)) == pytest.approx(least + float(dkl.kl(q, other)), rel=1e-8)


def test_the_whole_shape_of_an_erlang_is_the_best_of_all() -> None:
    for shape in (0.2, 1.3, 1.45, 1.5, 2.42, 2.6, 30.49, 30.51):
        means = [float(m) for m in Gamma(shape, 1.5).mean_parameters()]

        def likelihood(n: int, means: list[float] = means) -> float:
            rate = n / means[1]
            return n * math.log(rate) + (n - 1) * means[0] - rate * means[1] - math.lgamma(n)

        best = max(range(1, 50), key=likelihood)
        found = Erlang.from_mean_parameters(*means)
        assert (float(found.shape), float(found.mean())) == (best, pytest.approx(means[1], rel=1e-14))


def test_a_matrix_normal_has_the_least_kl_from_any_covariance() -> None:
    rng = np.random.default_rng(2)
    root = rng.standard_normal((6, 9))
    spread = torch.tensor((root @ root.T / 9.0).reshape(2, 3, 2, 3), requires_grad=True)
    mean = torch.zeros(2, 3, dtype=torch.float64)
    q = MatrixNormal.from_mean_parameters(mean, spread)
    assert float(torch.diagonal(q.row_covariance).sum().detach()) == pytest.approx(2.0, rel=1e-14)
    p = MultivariateNormal(np.zeros(6), spread.detach().numpy().reshape(6, 6))

    def kl(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        return dkl.kl(p, MultivariateNormal(torch.zeros(6, dtype=torch.float64), torch.kron(rows, columns)))

    sides = [x.detach().clone().requires_grad_() for x in (q.row_covariance, q.column_covariance)]
    for slope in torch.autograd.grad(kl(*sides), sides):
        assert float(slope.abs().max()) < 1e-12


def test_a_batch_of_concentrations_against_mpmath() -> None:
    """Over many decades, in more rows than go in one block, some of which Newton's method does not settle."""
    rng = np.random.default_rng(3)
    alpha = np.exp(rng.normal(size=(5000, 2)) * 4.0)
    alpha[:3] = [[1e6, 2e6], [1e-3, 1e-3], [300.0, 1e-5]]
    means = Beta(alpha[:, 0], alpha[:, 1]).mean_parameters()
    found = Beta.from_mean_parameters(*means)
    both = np.stack([found.parameters["a"], found.parameters["b"]], axis=-1)
    np.testing.assert_allclose(both, alpha, rtol=1e-9)
    with mpmath.workdps(40):
        for k in [0, 1, 2, *range(3, 5000, 250)]:
            a, b = map(mpmath.mpf, both[k])
            back = [float(mpmath.digamma(x) - mpmath.digamma(a + b)) for x in (a, b)]
            np.testing.assert_allclose(back, [m[k] for m in means], rtol=1e-12)


def test_concentrations_where_newton_does_not_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    alpha = np.exp(np.random.default_rng(4).normal(size=(40, 3)) * 2.0)
    means = Dirichlet(alpha).mean_parameters()
    monkeypatch.setattr(moments, "_MOST_STEPS", 1)
    np.testing.assert_allclose(Dirichlet.from_mean_parameters(*means).parameters["concentration"], alpha, rtol=1e-12)


def test_steps_of_digamma_against_mpmath() -> None:
    rng = np.random.default_rng(5)
    x, step = np.exp(rng.uniform(-40.0, 40.0, (2, 200)))
    found = digamma_step(namespace_of(), x, step)
    with mpmath.workdps(80):
        exact = [
            float(mpmath.digamma(mpmath.mpf(a) + mpmath.mpf(d)) - mpmath.digamma(a))
            for a, d in zip(x, step, strict=True)
        ]
    np.testing.assert_allclose(found, exact, rtol=2e-15)


# Gradients.

DIFFERENTIABLE = {
    **{name: p for name, p in LINES.items() if name != "Erlang"},
    **{name: p for name, p in COUNTS.items() if name != "Categorical"},
    "Beta, wide": Beta(0.01, 0.4), "ContinuousBernoulli, flat": ContinuousBernoulli(0.5),
    "DiagonalNormal": DiagonalNormal([1.0, -0.5], [0.5, 2.0]),
    "Dirichlet": Dirichlet([[0.5, 2.0, 1.0], [3.0, 9.0, 4.0]]),
    "Gamma, narrow": Gamma(200.0, 10.0), "VonMises, narrow": VonMises(-2.0, 60.0),
    "VonMisesFisher": VonMisesFisher([0.0, 0.6, 0.8], [0.5, 4.0]), "Wishart": Wishart(4.0, [[1.0, 0.3], [0.3, 0.8]]),
    "InverseWishart": InverseWishart(6.0, [[1.0, 0.3], [0.3, 0.8]]),
    "MatrixNormal": MatrixNormal([[1.0, 0.0]], [[2.0]], [[1.0, 0.3], [0.3, 0.8]]),
    "MultivariateNormal": MultivariateNormal([1.0, -0.5], [[1.0, 0.4], [0.4, 2.0]]),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_against_finite_differences(name: str) -> None:
    p = DIFFERENTIABLE[name]
    means = [torch.tensor(np.array(m), requires_grad=True) for m in p.mean_parameters()]
    known = {n: torch.tensor(np.array(x)) for n, x in known_of(p).items()}

    def parameters(*means: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if name.startswith(("MultivariateNormal", "Wishart", "InverseWishart")):  # a step to the side stays symmetric
            means = (means[0], 0.5 * (means[1] + means[1].mT))
        if name == "MatrixNormal":
            means = (means[0], 0.5 * (means[1] + means[1].permute(2, 3, 0, 1)))
        found = type(p).from_mean_parameters(*means, **known)
        return tuple(x for n, x in found.given.items() if n not in p.known)

    assert torch.autograd.gradcheck(parameters, means, eps=1e-6, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["Gamma", "VonMises", "Dirichlet", "ChiSquared", "Wishart", "Normal"])
def test_compiled_by_jax(name: str) -> None:
    jax.config.update("jax_enable_x64", True)
    p = {**LINES, "Dirichlet": Dirichlet([0.5, 2.0, 1.0]), "Wishart": DIFFERENTIABLE["Wishart"]}[name]
    means = [np.asarray(m) for m in p.mean_parameters()]

    def total(*means: Any) -> Any:
        return sum((x**2).sum() for x in type(p).from_mean_parameters(*means).given.values())

    tensors = [torch.tensor(m, requires_grad=True) for m in means]
    expected = torch.autograd.grad(total(*tensors), tensors)
    slopes = jax.jit(jax.grad(total, argnums=tuple(range(len(means)))))(*(jax.numpy.asarray(m) for m in means))
    for mine, its in zip(slopes, expected, strict=True):
        np.testing.assert_allclose(mine, its.numpy(), rtol=1e-9)


def test_jax_without_compilation() -> None:
    jax.config.update("jax_enable_x64", True)
    df, slope = jax.value_and_grad(lambda m: ChiSquared.from_mean_parameters(m).df)(0.75)
    m = torch.tensor(0.75, dtype=torch.float64, requires_grad=True)
    expected = ChiSquared.from_mean_parameters(m).df
    expected.backward()
    assert (float(df), float(slope)) == pytest.approx((expected.item(), m.grad.item()), rel=1e-13)
    with pytest.raises(ValueError, match=r"Exponential: E\[x\] = -1 is not positive"):
        jax.grad(lambda m: Exponential.from_mean_parameters(m).rate)(-1.0)


def test_dtypes_devices_and_batches_are_kept() -> None:
    p = Gamma.from_mean_parameters(torch.tensor([0.1, 0.2]), torch.tensor([[2.0], [3.0]]))
    assert p.shape.shape == (2, 2)
    assert p.given["shape"].dtype == torch.float32
    assert p.dtype == torch.float32
    q = Gamma.from_mean_parameters(np.float32(0.1), np.float32(2.0))
    assert q.dtype == np.float32
    np.testing.assert_allclose(p.given["shape"][0, 0].numpy(), q.given["shape"], rtol=1e-7)
    (squares,) = HalfNormal.sufficient_statistics(torch.tensor([1.0, 2.0]))
    assert squares.dtype == torch.float32
    assert Poisson.sufficient_statistics([1, 2])[0].dtype == np.float64
    assert Laplace.from_mean_parameters(2.0, loc=torch.tensor(1.0)).given["scale"].dtype == torch.float32
    # Shares in float32 sum to 1 as float32 sums do.
    assert Categorical.from_mean_parameters(np.full(7, 1 / 7, np.float32)).dtype == np.float32
    assert (
        Multinomial.from_mean_parameters(np.full(7, 3 / 7, np.float32), total_count=np.float32(3)).dtype == np.float32
    )


# The equations behind, against mpmath.


def exact(function: Callable[[Any], Any], found: float) -> float:
    with mpmath.workdps(50):
        start = mpmath.mpf(found)
        return float(
            mpmath.findroot(function, (start * mpmath.mpf("0.9999"), start * mpmath.mpf("1.0001")), "anderson")
        )


@pytest.mark.parametrize("gap", [1e-12, 1e-6, 0.01, 0.3, 1.0, 30.0, 1e3])
@pytest.mark.parametrize("dimension", [1, 2, 20])
def test_degrees_of_freedom(gap: float, dimension: int) -> None:
    t = float(moments.degrees_above(np, np.asarray(gap), dimension))

    def equation(t: Any) -> Any:
        df = t + dimension - 1
        return dimension * mpmath.log(df / 2) - sum(mpmath.psi(0, (df - j) / 2) for j in range(dimension)) - gap

    assert t == pytest.approx(exact(equation, t), rel=2e-14, abs=0)


@pytest.mark.parametrize("y", [-1e3, -3.0, -0.6, -0.57721, 0.0, 0.1, 1.0, 30.0])
def test_inverse_digamma(y: float) -> None:
    x = float(moments.inverse_digamma(np, np.asarray(y)))
    assert x == pytest.approx(exact(lambda z: mpmath.psi(0, z) - mpmath.mpf(y), x), rel=1e-14, abs=0)


@pytest.mark.parametrize("short", [1.0 - 1e-12, 1.0 - 1e-6, 0.7, 0.5, 0.01, 1e-5])
@pytest.mark.parametrize("nu", [0.0, 0.5, 3.0, 24.0])
def test_bessel_concentration(nu: float, short: float) -> None:
    length = 1.0 - short
    k = float(moments.bessel_concentration(np, nu, np.asarray(length), np.asarray(short)))
    value = exact(lambda z: mpmath.besseli(nu + 1, z) / mpmath.besseli(nu, z) - mpmath.mpf(length), k)
    assert k == pytest.approx(value, rel=1e-13 + 2e-16 / min(length, short), abs=0)


def test_the_ends_of_the_equations() -> None:
    huge, tiny = np.asarray(1e200), np.asarray(1e-200)
    assert moments.degrees_above(np, huge, 3) == pytest.approx(2e-200, rel=1e-15)
    assert moments.degrees_above(np, tiny, 3) == pytest.approx(6e200, rel=1e-15)
    assert moments.inverse_digamma(np, -huge) == pytest.approx(1e-200, rel=1e-15)
    assert moments.bessel_concentration(np, 0.5, tiny, 1.0 - tiny) == pytest.approx(3e-200, rel=1e-15)
    assert moments.bessel_concentration(np, 0.5, 1.0 - tiny, tiny) == pytest.approx(1e200, rel=1e-15)
    # Of 1 − R = 1e-12, κ = (ν + ½)/(1 − R) − (ν − ½)/2 − …, from R = 1 − (2ν + 1)/(2κ) + (4ν² − 1)/(8κ²) + ….
    k = moments.bessel_concentration(np, 0.0, np.asarray(1.0 - 1e-12), np.asarray(1e-12))
    assert k == pytest.approx(0.5e12, rel=2e-12)
    assert float(VonMises.from_mean_parameters(1e-12, 0.0).concentration) == pytest.approx(2e-12, rel=1e-14)
    assert float(VonMises.from_mean_parameters(0.0, -1.0 + 2.0**-40).loc) == -math.pi / 2
    # The steepest of the search for a Dirichlet's total: one share has nearly all.
    steep = Dirichlet([1e4, 1e-6, 1e-6])
    np.testing.assert_allclose(back(steep).mean_parameters()[0], steep.mean_parameters()[0], rtol=1e-13)


# What has no member.

IDENTITY = [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(("make_it", "error", "message"), [
    (lambda: Normal.from_mean_parameters([0.0, 2.0], [1.0, 4.0]), ValueError,
     r"Normal: E\[x²\]\[1\] = 4 is not above E\[x\]² = 4: no member has this mean"),
    (lambda: LogNormal.from_mean_parameters(1.0, 0.5), ValueError,
     r"LogNormal: E\[\(log x\)²\] = 0.5 is not above E\[log"),
    (lambda: DiagonalNormal.from_mean_parameters([1.0, 2.0], [2.0, 3.0]), ValueError, r"E\[x²\]\[1\] = 3 is not above"),
    (lambda: MultivariateNormal.from_mean_parameters([1.0, 0.0], IDENTITY), ValueError,
     r"E\[xxᵀ\] − E\[x\]·E\[x\]ᵀ is not positive definite within rounding"),
    (lambda: MultivariateNormal.from_mean_parameters([1.0], IDENTITY), ValueError,
     r"does not fit E\[x\] of shape \(1,\)"),
    (lambda: MultivariateNormal.from_mean_parameters([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]]), ValueError,
     r"MultivariateNormal: E\[xxᵀ\]\[0, 1\] = 0.5 is not MultivariateNormal: E\[xxᵀ\]\[1, 0\]"),
    (lambda: MatrixNormal.from_mean_parameters([[0.0]], IDENTITY), ValueError, "needs at least 4 axes"),
    (lambda: MatrixNormal.from_mean_parameters([[0.0]], np.ones((1, 2, 1, 2))), ValueError, "those of the mean twice"),
    (lambda: MatrixNormal.from_mean_parameters([[1.0]], np.ones((1, 1, 1, 1))), ValueError,
     "all entries, .* not positive"),
    (lambda: LowRankNormal.from_mean_parameters([0.0, 0.0], IDENTITY), NotImplementedError,
     "MultivariateNormal.from_mean"),
    (lambda: Gamma.from_mean_parameters([0.0, math.log(2.0)], 2.0), ValueError,
     r"Gamma: E\[log x\]\[1\] = 0.693147181 is not below log E\[x\] = 0.693147181"),
    (lambda: Gamma.from_mean_parameters(0.0, -1.0), ValueError, r"Gamma: E\[x\] = -1 is not positive and finite"),
    (lambda: Erlang.from_mean_parameters(1.0, 1.0), ValueError, r"Erlang: E\[log x\] = 1 is not below log E\[x\] = 0"),
    (lambda: Gamma.from_mean_parameters(math.nan, 1.0), ValueError, r"Gamma: E\[log x\] = nan is not finite"),
    (lambda: InverseGamma.from_mean_parameters(-1.0, 1.0), ValueError,
     r"E\[log x\] = -1 is not above −log E\[1/x\] = "),
    (lambda: ChiSquared.from_mean_parameters(800.0), ValueError, r"E\[log x\] = 800 is not below 709"),
    (lambda: Exponential.from_mean_parameters([1.0, 0.0]), ValueError, r"Exponential: E\[x\]\[1\] = 0 is not positive"),
    (lambda: Rayleigh.from_mean_parameters(0.0), ValueError, r"Rayleigh: E\[x²\] = 0 is not positive"),
    (lambda: InverseGaussian.from_mean_parameters(2.0, 0.5), ValueError, r"E\[1/x\] = 0.5 is not above 1/E\[x\] = 0.5"),
    (lambda: Pareto.from_mean_parameters(0.5, scale=2.0), ValueError,
     r"E\[log x\] = 0.5 is not above log scale = 0.69"),
    (lambda: Pareto.from_mean_parameters(0.5, scale=-2.0), ValueError, "Pareto: scale = -2 is not positive"),
    (lambda: Weibull.from_mean_parameters(-1.0, concentration=2.0), ValueError,
     r"Weibull: E\[xᵏ\] = -1 is not positive"),
    (lambda: Laplace.from_mean_parameters(0.0, loc=0.0), ValueError, r"Laplace: E\|x − μ\| = 0 is not positive"),
    (lambda: Laplace.from_mean_parameters(1.0), TypeError, "Laplace keeps loc fixed; got none"),
    (lambda: Normal.from_mean_parameters(1.0, 2.0, loc=0.0), TypeError, "Normal keeps no parameter fixed; got loc"),
    (lambda: Normal.from_mean_parameters(1.0), TypeError,
     r"Normal.from_mean_parameters takes E\[x\], E\[x²\]; got 1 means"),
    (lambda: Beta.from_mean_parameters(-0.5, -0.1), ValueError,
     r"Beta: \(E\[log x\], E\[log\(1 − x\)\]\), the sum of the exponentials = 1.511\d+ is not below 1"),
    (lambda: Beta.from_mean_parameters(0.5, -0.1), ValueError, r"Beta: E\[log x\] = 0.5 is not negative"),
    (lambda: Dirichlet.from_mean_parameters([[-2.0, -2.0], [-0.5, -0.5]]), ValueError, r"exponentials\[1\] = 1.2130"),
    (lambda: Dirichlet.from_mean_parameters([-2.0]), ValueError, "shares need at least two"),
    (lambda: Wishart.from_mean_parameters(0.0, IDENTITY), ValueError,
     r"E\[log \|x\|\] = 0 is not below log \|E\[x\]\| = 0"),
    (lambda: InverseWishart.from_mean_parameters(-1.0, IDENTITY), ValueError, r"= -1 is not above −log \|E\[x⁻¹\]\| ="),
    (lambda: Wishart.from_mean_parameters(0.0, [[1.0, 2.0], [2.0, 1.0]]), ValueError,
     r"Wishart: E\[x\] is not positive def"),
    (lambda: VonMises.from_mean_parameters([0.5, 0.8], [0.5, 0.6]), ValueError,
     r"VonMises: the length of \(E\[cos x\], E\[sin x\]\)\[1\] = 1 is not below 1"),
    (lambda: VonMises.from_mean_parameters(0.0, 0.0), ValueError, r"\) = 0 is not positive"),
    (lambda: VonMisesFisher.from_mean_parameters([1.0, 1.0]), ValueError,
     r"length of E\[x\] = 1.41421356 is not below 1"),
    (lambda: VonMisesFisher.from_mean_parameters([0.5]), ValueError, "directions need at least two dimensions"),
    (lambda: ContinuousBernoulli.from_mean_parameters(1.0), ValueError, r"E\[x\] = 1 is not strictly between 0 and 1"),
    (lambda: Poisson.from_mean_parameters(0.0), ValueError, r"Poisson: E\[x\] = 0 is not positive"),
    (lambda: Binomial.from_mean_parameters(3.0, total_count=3), ValueError, r"E\[x\] = 3 is not below total_count = 3"),
    (lambda: Multinomial.from_mean_parameters([1.0, 1.5], total_count=3), ValueError,
     r"Multinomial: the sum of E\[x\] = 2.5 is not total_count = 3"),
    (lambda: Bernoulli.from_mean_parameters(1.5), ValueError, r"Bernoulli: E\[x\] = 1.5 is not between 0 and 1"),
    (lambda: Categorical.from_mean_parameters([0.5, 0.4]), ValueError, r"Categorical: P\(x = i\) sums to 0.9"),
    (lambda: Categorical.sufficient_statistics([0, 3], outcomes=3), ValueError, r"x\[1\] = 3 is not an index"),
    (lambda: Gamma.sufficient_statistics([1.0, -1.0]), ValueError,
     r"Gamma: x\[1\] = -1 lies outside the interval \(0, ∞\)"),
    (lambda: Pareto.sufficient_statistics([1.0], scale=2.0), ValueError,
     r"x\[0\] = 1 lies outside the interval \(2, ∞\)"),
    (lambda: Poisson.sufficient_statistics([0.5]), ValueError, r"Poisson: x\[0\] = 0.5 lies outside"),
    (lambda: Dirichlet.sufficient_statistics([[0.5, 0.5], [0.5, 0.6]]), ValueError, r"Dirichlet: x\[1, 0\] = 0.5 lies"),
    (lambda: Normal.sufficient_statistics([math.nan]), ValueError, r"Normal: x\[0\] = nan lies outside"),
    (lambda: Normal.sufficient_statistics("x"), TypeError, "Normal: x must hold real numbers"),
])  # fmt: skip
def test_errors_name_what_has_no_member(make_it: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_it()


def test_statistics_at_the_end_of_a_support() -> None:
    assert Gamma.sufficient_statistics([0.0])[0][0] == -math.inf
    assert InverseGamma.sufficient_statistics([0.0])[1][0] == math.inf
    with pytest.raises(ValueError, match=r"Gamma: E\[log x\] = -inf is not finite"):
        Gamma.from_mean_parameters(*(t.mean() for t in Gamma.sufficient_statistics([0.0, 1.0])))
