"""Mixtures: density, moments and samples, their divergences by quadrature and Monte Carlo, and bounds of their KL."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.special import logsumexp

import dkl
import dkl.methods
from dkl import rules
from dkl.density import Density
from dkl.families import (
    Beta,
    DiagonalNormal,
    Dirichlet,
    Exponential,
    Gamma,
    LowRankNormal,
    MatrixNormal,
    MultivariateNormal,
    Normal,
    Poisson,
    Wishart,
)
from dkl.methods import monte_carlo, quadrature  # noqa: F401
from dkl.mixture import Mixture, kl_bounds, member
from dkl.supports import Interval

MIXED = Mixture([Normal(0.0, 1.0), Exponential(2.0)], [0.25, 0.75])


def test_density():
    m = Mixture(Normal([-1.0, 2.0], [0.5, 1.5]), [0.3, 0.7])
    x = np.linspace(-50, 50, 101)
    parts = [scipy.stats.norm(-1, 0.5).logpdf(x), scipy.stats.norm(2, 1.5).logpdf(x)]
    expected = logsumexp(np.array(parts) + np.log([[0.3], [0.7]]), axis=0)
    np.testing.assert_allclose(m.log_prob(x), expected, rtol=1e-13)
    assert isinstance(m.log_prob(0.0), np.float64)
    listed = Mixture([Normal(-1.0, 0.5), Normal(2.0, 1.5)], [0.3, 0.7])
    np.testing.assert_array_equal(listed.log_prob(x), m.log_prob(x))


def test_components_of_several_kinds():
    x = np.array([-1.0, 0.5])
    expected = [math.log(0.25) + scipy.stats.norm.logpdf(-1), 0.0]
    expected[1] = np.logaddexp(
        math.log(0.25) + scipy.stats.norm.logpdf(0.5), math.log(0.75) + scipy.stats.expon(0, 0.5).logpdf(0.5)
    )
    np.testing.assert_allclose(MIXED.log_prob(x), expected, rtol=1e-13)
    assert (MIXED.support.low, MIXED.support.high) == (-math.inf, math.inf)
    np.testing.assert_allclose(MIXED.mean(), 0.75 * 0.5, rtol=1e-15)
    # E[x²] = ¼·1 + ¾·2/4.
    np.testing.assert_allclose(MIXED.var(), 0.25 + 0.375 - 0.375**2, rtol=1e-15)


def test_a_long_list_of_outcomes_goes_in_pieces(monkeypatch):
    m = Mixture(Normal([-1.0, 2.0], [0.5, 1.5]), [0.3, 0.7])
    x = np.linspace(-3, 3, 1001)
    whole = m.log_prob(x)
    monkeypatch.setattr("dkl.mixture.density._BLOCK", 64)
    np.testing.assert_array_equal(m.log_prob(x), whole)


@pytest.mark.parametrize(
    "mixture",
    [
        Mixture(Normal([-1.0, 2.0], [0.5, 1.5]), [0.3, 0.7]),
        MIXED,
        Mixture(Normal([[-1.0, 2.0], [0.0, 5.0]], 1.0), [[0.3, 0.7], [0.9, 0.1]]),
    ],
)
def test_samples_have_its_moments(mixture):
    drawn = mixture.sample(20_000, rng=0)
    assert drawn.shape == (20_000, *mixture.batch_shape)
    error = np.sqrt(mixture.var() / 20_000)
    assert (np.abs(drawn.mean(axis=0) - mixture.mean()) < 4.5 * error).all()
    fourth = ((drawn - drawn.mean(axis=0)) ** 4).mean(axis=0)
    spread = np.sqrt((fourth - mixture.var() ** 2) / 20_000)
    assert (np.abs(drawn.var(axis=0) - mixture.var()) < 4.5 * spread).all()


def test_a_batch_of_mixtures():
    weights = np.array([[0.3, 0.7], [0.9, 0.1]])
    m = Mixture(Normal([-1.0, 2.0], 1.0), weights)
    assert m.batch_shape == (2,)
    for k in range(2):
        alone = Mixture(Normal([-1.0, 2.0], 1.0), weights[k])
        np.testing.assert_allclose(m.log_prob(0.5)[k], alone.log_prob(0.5), rtol=1e-15)
        np.testing.assert_allclose(member(m, (k,)).log_prob(0.5), alone.log_prob(0.5), rtol=1e-15)
        one = rules.evaluate(dkl.js, alone, Normal(0.0, 1.0), method="quadrature").value
        both = rules.evaluate(dkl.js, m, Normal(0.0, 1.0), method="quadrature").value
        np.testing.assert_allclose(both[k], one, rtol=1e-12)


def test_one_component_is_itself():
    p, q = Mixture(Normal([0.0], [1.0]), [1.0]), Mixture([Normal(1.0, 2.0)], [1.0])
    np.testing.assert_allclose(dkl.kl(p, q), 0.4431471805599453, rtol=1e-10)
    low, high = kl_bounds(p, q)
    np.testing.assert_allclose(high, 0.4431471805599453, rtol=1e-13)
    assert 0 < low <= high


def test_gradient_of_weights_and_components():
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)
    loc = torch.tensor([-1.0, 2.0], dtype=torch.float64, requires_grad=True)
    q = Normal(torch.tensor(0.0, dtype=torch.float64), 2.0)
    value = rules.evaluate(dkl.kl, Mixture(Normal(loc, 1.0), weights), q, method="quadrature").value
    slopes = torch.autograd.grad(value, [weights, loc])

    def at(w, m):
        mixture = Mixture(Normal([-1.0 + m, 2.0], 1.0), [0.3 + w, 0.7 - w])
        return float(rules.evaluate(dkl.kl, mixture, Normal(0.0, 2.0), method="quadrature").value)

    step = 1e-4
    along = (at(step, 0) - at(-step, 0)) / (2 * step)
    np.testing.assert_allclose(float(slopes[0][0] - slopes[0][1]), along, rtol=1e-6)
    np.testing.assert_allclose(float(slopes[1][0]), (at(0, step) - at(0, -step)) / (2 * step), rtol=1e-6)


def test_quadrature_and_monte_carlo_agree():
    rng = np.random.default_rng(3)
    for _ in range(6):
        p, q = (
            Mixture(Normal(rng.normal(size=5) * 3, rng.uniform(0.2, 1.5, 5)), rng.dirichlet(np.ones(5)))
            for _ in range(2)
        )
        for divergence in (dkl.kl, dkl.js, dkl.tv, dkl.Renyi(0.5)):
            exact = float(rules.evaluate(divergence, p, q, method="quadrature").value)
            sampled = rules.evaluate(divergence, p, q, method="monte_carlo", rng=1)
            assert abs(float(sampled.value) - exact) < 5 * float(sampled.stderr)


@pytest.mark.parametrize("family", ["normal", "gamma", "beta"])
@pytest.mark.parametrize("spread", [0.01, 1.0, 6.0])
def test_bounds_hold(family, spread):
    rng = np.random.default_rng(5)

    def made():
        if family == "normal":
            return Normal(rng.normal(size=4) * spread, rng.uniform(0.3, 1.0, 4))
        one, two = np.exp(rng.normal(size=(2, 4)) * min(spread, 1.0))
        return Gamma(one + 1, two) if family == "gamma" else Beta(one + 1, two + 1)

    for _ in range(8):
        p, q = (Mixture(made(), rng.dirichlet(np.ones(4))) for _ in range(2))
        low, high = kl_bounds(p, q)
        exact = float(rules.evaluate(dkl.kl, p, q, method="quadrature").value)
        assert 0 <= low <= exact * (1 + 1e-9) + 1e-12
        assert exact * (1 - 1e-9) - 1e-12 <= high < math.inf


def test_bounds_close_where_components_do_not_overlap():
    # Four far components each: KL is that of the shares and of each component with its own partner.
    at = np.arange(4) * 100.0
    pi, omega = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.25, 0.25, 0.25, 0.25])
    p, q = Mixture(Normal(at, 1.0), pi), Mixture(Normal(at + 0.5, 1.0), omega)
    expected = float(dkl.kl(pi, omega)) + 0.125
    low, high = kl_bounds(p, q)
    np.testing.assert_allclose(high, expected, rtol=1e-12)
    assert expected - 1.5 < low <= expected


def test_bounds_of_a_batch_and_of_other_pairs():
    m = Mixture(Normal([[-1.0, 2.0], [0.0, 5.0]], 1.0), [[0.3, 0.7], [0.9, 0.1]])
    low, high = kl_bounds(m, Normal(0.0, 2.0))
    assert low.shape == high.shape == (2,)
    for k in range(2):
        alone = kl_bounds(member(m, (k,)), Normal(0.0, 2.0))
        np.testing.assert_allclose([low[k], high[k]], alone, rtol=1e-13)
    assert kl_bounds(m, Mixture([Gamma(1.0, 1.0)], [1.0])) is None
    assert kl_bounds(MIXED, m) is None
    assert kl_bounds(m, Density(np.log)) is None


def hundred(rng, scale):
    """A hundred components in 64 dimensions."""
    return Mixture(DiagonalNormal(rng.normal(size=(100, 64)) * 0.3, np.full((100, 64), scale)), np.full(100, 0.01))


def test_a_hundred_components_in_64_dimensions():
    rng = np.random.default_rng(0)
    p, q = (hundred(rng, s) for s in (1.0, 1.2))
    start = time.process_time()
    answer = dkl.measure(p, q, rng=0)
    assert time.process_time() - start < 5
    assert float(answer.stderr) <= 0.01 * float(answer.value)
    low, high = answer.bounds
    assert (low, high) == kl_bounds(p, q)
    assert low - 5 * float(answer.stderr) <= float(answer.value) <= high + 5 * float(answer.stderr)
    assert low > 0.8 * float(answer.value)


def many_vectors(kind, rng, n, spread=1.0):
    loc = rng.normal(size=(n, 2)) * spread
    if kind == "diagonal":
        return DiagonalNormal(loc, rng.uniform(0.5, 1.5, size=(n, 2)))
    if kind == "low rank":
        return LowRankNormal(loc, rng.normal(size=(n, 2, 1)), rng.uniform(0.5, 1.5, size=(n, 2)))
    roots = rng.normal(size=(n, 2, 2))
    covariance = roots @ roots.transpose(0, 2, 1) + 0.3 * np.eye(2)
    if kind == "precision":
        return MultivariateNormal(loc, precision=np.linalg.inv(covariance))
    return MultivariateNormal(loc, covariance)


@pytest.mark.parametrize("other", ["diagonal", "full", "precision", "low rank"])
@pytest.mark.parametrize("kind", ["diagonal", "full", "low rank"])
def test_bounds_of_vectors(kind, other):
    rng = np.random.default_rng(2)
    for spread in (0.3, 3.0):
        p = Mixture(many_vectors(kind, rng, 3, spread), [0.2, 0.3, 0.5])
        q = Mixture(many_vectors(other, rng, 2, spread), [0.4, 0.6])
        answer = rules.evaluate(dkl.kl, p, q, method="monte_carlo", rng=1, rtol=0.02)
        low, high = kl_bounds(p, q)
        reach = 5 * float(answer.stderr)
        assert 0 < low <= float(answer.value) + reach
        assert float(answer.value) - reach <= high


def test_bounds_of_single_normals_meet():
    """Both are KL's closed form, in every way in which the bounds are calculated."""
    rng = np.random.default_rng(4)
    for kind in ("diagonal", "full", "low rank"):
        p, q = many_vectors(kind, rng, 1), many_vectors(kind, rng, 1)
        wanted = float(dkl.kl(member(p, (0,)), member(q, (0,))))
        np.testing.assert_allclose(kl_bounds(Mixture(p, [1.0]), Mixture(q, [1.0])), wanted, rtol=1e-11)
    matrices = [MatrixNormal(np.eye(2) * k, np.eye(2) * (1 + k), np.eye(2)) for k in (0.0, 1.0)]
    low, high = kl_bounds(*(Mixture([m], [1.0]) for m in matrices))
    np.testing.assert_allclose([low, high], float(dkl.kl(*matrices)), rtol=1e-11)


@pytest.mark.parametrize("bits", [30, 40, 43, 46, 50])
def test_bounds_of_pairs_that_are_equal_but_for_rounding(bits):
    """They are differences of numbers of the size of 1: rounding has to be counted in."""
    p, q = (Mixture(Normal(np.array([-1.0, 2.0]) + s, [1.0, 2.0]), [0.4, 0.6]) for s in (0.0, 2.0**-bits))
    low, high = kl_bounds(p, q)
    exact = rules.evaluate(dkl.kl, p, q, method="quadrature")
    assert low <= float(exact.value) + float(exact.error)
    assert float(exact.value) - float(exact.error) <= high


def test_the_lower_bound_by_moments():
    """KL(P‖Q) ≥ KL(N‖Q) for a normal Q and the normal N with the mean and covariance of P; and more than that."""
    rng = np.random.default_rng(6)
    p = Mixture(many_vectors("full", rng, 4, 0.2), [0.1, 0.2, 0.3, 0.4])
    q = MultivariateNormal([1.0, -1.0], [[3.0, 0.5], [0.5, 2.0]])
    weights, loc, covariance = p.weights, p.components.loc, p.components.covariance
    mean = weights @ loc
    spread = np.einsum("k,kij->ij", weights, covariance + np.einsum("ki,kj->kij", loc - mean, loc - mean))
    low, high = kl_bounds(p, q)
    assert float(dkl.kl(MultivariateNormal(mean, spread), q)) * (1 - 1e-12) <= low <= high
    # Where the means and widths of two mixtures differ as a whole, it is nearly the whole divergence.
    p, q = (Mixture(Normal(np.array([-0.5, 0.5]) + m, s), [0.5, 0.5]) for m, s in ((0.0, 1.0), (2.0, 1.5)))
    low, _ = kl_bounds(p, q)
    exact = float(rules.evaluate(dkl.kl, p, q, method="quadrature").value)
    assert 0.97 * exact < low <= exact


@pytest.mark.parametrize("made", ["poisson", "dirichlet", "wishart"])
def test_bounds_of_other_families(made):
    rng = np.random.default_rng(7)

    def components():
        if made == "poisson":
            return Poisson(rng.uniform(1.0, 9.0, size=3))
        if made == "dirichlet":
            return Dirichlet(rng.uniform(0.5, 5.0, size=(3, 4)))
        roots = rng.normal(size=(3, 2, 2))
        return Wishart(rng.uniform(3.0, 6.0, size=3), roots @ roots.transpose(0, 2, 1) + np.eye(2))

    for _ in range(3):
        p, q = (Mixture(components(), rng.dirichlet(np.ones(3))) for _ in range(2))
        low, high = kl_bounds(p, q)
        answer = rules.evaluate(dkl.kl, p, q, method="monte_carlo", rng=0, rtol=0.05)
        assert 0 <= low <= float(answer.value) + 5 * float(answer.stderr)
        assert float(answer.value) - 5 * float(answer.stderr) <= high < math.inf


def test_a_measurement_of_mixtures_brings_the_bounds():
    p, q = (Mixture(Normal([m, 2.0], 1.0), [0.3, 0.7]) for m in (-1.0, 0.0))
    answer = dkl.measure(p, q, method="monte_carlo", rng=0, samples=4096)
    assert answer.bounds == kl_bounds(p, q)
    assert "for certain between" in repr(answer)
    low, high = answer.to_dict()["bounds"]
    assert low <= float(dkl.kl(p, q)) <= high
    swapped = dkl.measure(p, q, dkl.reverse_kl, method="monte_carlo", rng=0, samples=4096, base=2)
    np.testing.assert_allclose(swapped.bounds, np.array(kl_bounds(q, p)) / math.log(2), rtol=1e-14)
    assert dkl.measure(p, q, dkl.js, method="monte_carlo", rng=0, samples=4096).bounds is None
    assert dkl.measure(Normal(0, 1), Normal(1, 1), method="monte_carlo", rng=0, samples=4096).bounds is None
    assert dkl.measure(p, MIXED, method="monte_carlo", rng=0, samples=4096).bounds is None
    batch = Mixture(Normal(torch.tensor([[0.0, 1.0], [2.0, 3.0]]), 1.0), torch.tensor([0.5, 0.5]))
    both = dkl.measure(batch, Normal(0.0, 1.0), method="monte_carlo", rng=0, samples=4096)
    assert [bound.shape for bound in both.bounds] == [(2,), (2,)]
    assert len(both.to_dict()["bounds"][0]) == 2
    assert (both.bounds[0] <= both.bounds[1]).all()


def test_outside_the_other_support_it_is_infinite():
    p = Mixture([Exponential(1.0), Normal(0.0, 1.0)], [0.5, 0.5])
    answer = rules.evaluate(dkl.kl, p, Exponential(1.0))
    assert math.isinf(answer.value)
    assert "P lives on the interval (−∞, ∞)" in answer.reason
    none = Mixture([Exponential(1.0), Normal(0.0, 1.0)], [1.0, 0.0])
    assert rules.evaluate(dkl.kl, none, Exponential(1.0)).value < 1e-15
    inner = Mixture([Beta(2.0, 2.0), Beta(0.5, 3.0)], [0.5, 0.5])
    assert inner.support.within(Interval(0.0, 1.0))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Mixture(Normal([0.0, 1.0], 1.0), [0.5, 0.6]), ValueError, r"the weights sum to 1\.1, not to 1"),
        (lambda: Mixture(Normal([0.0, 1.0], 1.0), [1.5, -0.5]), ValueError, r"weights\[1\] = -0\.5 is not a non-negat"),
        (lambda: Mixture(Normal([0.0, 1.0], 1.0), [0.5, 0.25, 0.25]), ValueError, "3 weights for 2 components"),
        (lambda: Mixture(Normal(0.0, 1.0), [1.0]), TypeError, "is one distribution: give a list, or a batch"),
        (lambda: Mixture([], []), ValueError, "components is empty"),
        (lambda: Mixture([Normal(0.0, 1.0), 3], [0.5, 0.5]), TypeError, r"components\[1\] is a int"),
        (lambda: Mixture(Normal([0.0], 1.0), 1.0), ValueError, "weights of shape .* needs at least 1 axes"),
        (
            lambda: Mixture([Normal(0.0, 1.0), DiagonalNormal([0.0], [1.0])], [0.5, 0.5]),
            TypeError,
            r"components\[1\] has outcomes of shape \(1,\), components\[0\] of \(\)",
        ),
        (
            lambda: Mixture([Normal(torch.tensor(0.0), 1.0), Normal(0.0, 1.0), Normal(0.0, 1.0)], [0.5, 0.5]),
            ValueError,
            "2 weights for 3 components",
        ),
    ],
)
def test_what_a_mixture_must_be(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_repr():
    one = Mixture(Normal([-3.0, 3.0], [1.0, 1.0]), [0.5, 0.5])
    assert repr(one) == "Mixture(0.5*Normal(loc=-3, scale=1) + 0.5*Normal(loc=3, scale=1))"
    assert repr(MIXED).startswith("Mixture(")
    assert "*Exponential(rate=" in repr(MIXED)
    assert repr(Mixture(Normal(np.arange(5.0), 1.0), np.full(5, 0.2))) == "Mixture(5 × Normal)"
    assert repr(MultivariateNormal([0.0, 1.0], [[1.0, 0.5], [0.5, 2 / 3]])) == (
        "MultivariateNormal(loc=[0, 1], covariance=[[1, 0.5], [0.5, 0.666667]])"
    )
    batch = Mixture(Normal(np.zeros((3, 2)), 1.0), np.full((3, 2), 0.5))
    assert repr(batch) == "Mixture(2 × Normal, a batch of shape (3,))"


def test_family_of_mixtures():
    family = Mixture.of(Normal, 3)
    assert family == Mixture.of(Normal, 3)
    assert family != Mixture.of(Normal, 2)
    assert (repr(family), family.__name__) == ("Mixture.of(Normal, 3)", "Mixture.of(Normal, 3)")
    assert (family.component, family.components, family.event_ndim, family.known) == (Normal, 3, 0, ())
    assert Mixture.of(MultivariateNormal, 2).event_ndim == 1
    assert Mixture.of(dkl.families.Laplace, 2).known == ("loc",)


@pytest.mark.parametrize(
    ("family", "components", "error", "message"),
    [
        (
            Normal(0.0, 1.0),
            2,
            TypeError,
            r"family = Normal\(loc=0, scale=1\) is one distribution: give its class, Normal",
        ),
        (float, 2, TypeError, "family must be a class of dkl.families, got <class 'float'>"),
        (Density, 2, TypeError, "a Density has no parameters that could be fitted"),
        (Mixture, 2, TypeError, "a mixture of mixtures is a mixture of the inner components"),
        (Normal, 0, ValueError, "components = 0 must be a whole number of at least 1"),
        (Normal, 1.5, ValueError, "components = 1.5 must be a whole number"),
        (Normal, math.inf, ValueError, "components = inf must be a whole number"),
        (Normal, "2", TypeError, "components must be a real number"),
    ],
)
def test_family_of_mixtures_refuses(family, components, error, message):
    with pytest.raises(error, match=message):
        Mixture.of(family, components)
