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
from dkl.families import Beta, Exponential, Gamma, Normal
from dkl.families.base import Constraint, ExponentialFamily
from dkl.methods import monte_carlo, quadrature  # noqa: F401
from dkl.mixture import Mixture, kl_bounds, member
from dkl.supports import Interval, Vectors

vector = Constraint("finite", lambda xp, x: xp.isfinite(x), ndim=1)
scales = Constraint("positive", lambda xp, x: x > 0, ndim=1)


class Independent(ExponentialFamily):
    """Independent normal numbers."""

    constraints = {"loc": vector, "scale": scales}  # noqa: RUF012
    event_ndim = 1
    constant_carrier = True

    def __init__(self, loc, scale):
        super().__init__(loc=loc, scale=scale)

    @property
    def event_shape(self):
        return (self.loc.shape[-1],)

    @property
    def support(self):
        return Vectors(self.loc.shape[-1])

    def _log_prob(self, x):
        z = (x - self.loc) / self.scale
        return -0.5 * self.xp.sum(z * z + 2 * self.xp.log(self.scale) + math.log(2 * math.pi), axis=-1)

    def _sample(self, shape, rng):
        return self.numbers("loc") + self.numbers("scale") * rng.standard_normal((*shape, *self.event_shape))

    def _mean(self):
        return self.loc + 0 * self.scale

    def _var(self):
        return self.scale**2 + 0 * self.loc

    def _entropy(self):
        return self.xp.sum(self.xp.log(self.scale) + 0.5 * math.log(2 * math.pi * math.e), axis=-1)

    def _natural(self):
        return self.loc / self.scale**2, self.scale**-2

    def _with_natural(self, theta):
        return self._raw(self, loc=theta[0] / theta[1], scale=theta[1] ** -0.5)

    def _inside(self, theta):
        return self.xp.all(theta[1] > 0, axis=-1)

    def _kl(self, other):
        r = (self.scale / other.scale) ** 2
        return 0.5 * self.xp.sum(r - 1 - self.xp.log(r) + ((self.loc - other.loc) / other.scale) ** 2, axis=-1)


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
    monkeypatch.setattr("dkl.mixture._BLOCK", 64)
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


def test_a_hundred_components_in_64_dimensions():
    rng = np.random.default_rng(0)
    p, q = (
        Mixture(Independent(rng.normal(size=(100, 64)) * 0.3, np.full((100, 64), s)), np.full(100, 0.01))
        for s in (1.0, 1.2)
    )
    start = time.perf_counter()
    answer = rules.evaluate(dkl.kl, p, q, method="monte_carlo", rng=0)
    assert time.perf_counter() - start < 5
    assert float(answer.stderr) <= 0.01 * float(answer.value)
    low, high = kl_bounds(p, q)
    assert low - 5 * float(answer.stderr) <= float(answer.value) <= high + 5 * float(answer.stderr)


def test_bounds_of_vectors():
    rng = np.random.default_rng(2)
    p, q = (Mixture(Independent(rng.normal(size=(3, 2)) * 2, np.ones((3, 2)) * s), np.ones(3) / 3) for s in (1.0, 1.5))
    exact = float(rules.evaluate(dkl.kl, p, q, method="quadrature").value)
    low, high = kl_bounds(p, q)
    assert 0 <= low <= exact <= high
    np.testing.assert_allclose(p.mean(), member(p._parts, (slice(None),)).loc.mean(axis=0), rtol=1e-14)


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
            lambda: Mixture([Normal(0.0, 1.0), Independent([0.0], [1.0])], [0.5, 0.5]),
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
    assert repr(MIXED) == "Mixture(2 × Exponential or Normal)"
