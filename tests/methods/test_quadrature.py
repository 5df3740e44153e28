"""Quadrature against closed forms, mpmath and arithmetic; what it finds, what it declines, and what it says."""

from __future__ import annotations

import math
import re
import warnings

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

import dkl
import dkl.methods
from dkl import rules
from dkl.density import Density
from dkl.divergences import FAMILY
from dkl.families import Beta, Exponential, Gamma, LogNormal, MultivariateNormal, Normal
from dkl.families.base import Distribution
from dkl.families.others import Logistic
from dkl.methods import quadrature
from dkl.methods.quadrature.adaptive import integrate
from dkl.mixture import Mixture
from dkl.supports import Interval, Vectors

# What is asked of the rule by default; rounding of the log-densities adds less.
RTOL = quadrature.RTOL


def measured(divergence, p, q, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return rules.evaluate(divergence, p, q, method="quadrature", **options)


def of_scipy(frozen, *, drawn=True, support=None):
    draw = (lambda n, rng: frozen.rvs(n, random_state=rng)) if drawn else None
    return Density(frozen.logpdf, draw, support)


CLOSED = [
    (Normal(0.0, 1.0), Normal(1.0, 2.0)),
    (Normal(-60.0, 1.0), Normal(60.0, 1.0)),
    (Normal(12345.678, 1e-6), Normal(12345.678, 2e-6)),
    (Normal(1e8, 1.0), Normal(1e8 + 1, 3.0)),
    (Gamma(1e-3, 1.0), Gamma(2e-3, 1.0)),
    (Gamma(3.0, 1e9), Gamma(4.0, 1e9)),
    (Beta(0.5, 0.5), Beta(0.3, 2.0)),
    (Beta(0.1, 0.2), Beta(0.3, 0.1)),
    (LogNormal(0.0, 5.0), LogNormal(1.0, 6.0)),
    (Exponential(1.0), Exponential(1.5)),
]


@pytest.mark.parametrize("pair", CLOSED, ids=str)
@pytest.mark.parametrize(
    "divergence",
    [dkl.kl, dkl.reverse_kl, dkl.jeffreys, dkl.squared_hellinger, dkl.hellinger, dkl.bhattacharyya, dkl.Renyi(0.3)],
    ids=repr,
)
def test_agrees_with_the_closed_forms(divergence, pair):
    expected = rules.evaluate(divergence, *pair, method="closed_form")
    # Beside a closed form that is right to 1e-12, the rounding of a log-density near 1e4 is seen squared or not at all.
    np.testing.assert_allclose(measured(divergence, *pair).value, expected.value, rtol=RTOL)


def by_mpmath(integrand, points):
    with mpmath.workdps(25):
        return float(mpmath.quad(integrand, points))


def test_symmetric_members_against_mpmath():
    def p(x):
        return mpmath.npdf(x)

    def q(x):
        return mpmath.npdf(x, 1, 2)

    def js(x):
        m = (p(x) + q(x)) / 2
        return (p(x) * mpmath.log(p(x) / m) + q(x) * mpmath.log(q(x) / m)) / 2

    a, b = Normal(0.0, 1.0), Normal(1.0, 2.0)
    points = [-30, -5, 0, 2, 8, 40]
    np.testing.assert_allclose(measured(dkl.js, a, b).value, by_mpmath(js, points), rtol=RTOL)
    np.testing.assert_allclose(measured(dkl.js, a, b).value, 0.128174973054398, rtol=1e-13)
    # Both cross where the log-densities agree: 3x² + 2x − 1 − 8 log 2 = 0.
    roots = np.sort(np.roots([3.0, 2.0, -1.0 - 8.0 * math.log(2.0)]))
    inside = np.diff(scipy.stats.norm.cdf(roots)) - np.diff(scipy.stats.norm.cdf(roots, 1, 2))
    np.testing.assert_allclose(measured(dkl.tv, a, b).value, inside[0], rtol=RTOL)
    triangular = by_mpmath(lambda x: (p(x) - q(x)) ** 2 / (p(x) + q(x)), points)
    np.testing.assert_allclose(measured(dkl.triangular, a, b).value, triangular, rtol=RTOL)


@pytest.mark.parametrize("drawn", [True, False])
def test_heavy_tails(drawn):
    cauchy = of_scipy(scipy.stats.cauchy(), drawn=drawn)
    wide = of_scipy(scipy.stats.cauchy(1, 2), drawn=drawn)
    # F. Chyzak, F. Nielsen, arXiv:1905.10965: log(((γ₁ + γ₂)² + (x₁ − x₂)²)/(4γ₁γ₂)).
    np.testing.assert_allclose(measured(dkl.kl, cauchy, wide).value, math.log(10 / 8), rtol=RTOL)
    student = of_scipy(scipy.stats.t(3), drawn=drawn)

    def term(x):
        log_t = mpmath.log(mpmath.gamma(2) / mpmath.gamma(1.5) / mpmath.sqrt(3 * mpmath.pi)) - 2 * mpmath.log1p(
            x * x / 3
        )
        return mpmath.npdf(x) * (-x * x / 2 - mpmath.log(2 * mpmath.pi) / 2 - log_t)

    expected = by_mpmath(term, [-40, -5, 0, 5, 40])
    np.testing.assert_allclose(measured(dkl.kl, Normal(0.0, 1.0), student).value, expected, rtol=RTOL)


@pytest.mark.parametrize("drawn", [True, False])
def test_kinks_and_jumps(drawn):
    normal = Normal(0.0, 1.0)
    laplace = of_scipy(scipy.stats.laplace(), drawn=drawn)
    expected = -0.5 * math.log(2 * math.pi * math.e) + math.log(2) + math.sqrt(2 / math.pi)
    np.testing.assert_allclose(measured(dkl.kl, normal, laplace).value, expected, rtol=2 * RTOL)
    # A jump of a density with no support told; and the same with it.
    expected = -math.log(2) + 0.5 * math.log(2 * math.pi) + 1 / 6
    for support in (None, Interval(-1.0, 1.0)):
        uniform = of_scipy(scipy.stats.uniform(-1, 2), drawn=drawn, support=support)
        np.testing.assert_allclose(measured(dkl.kl, uniform, normal).value, expected, rtol=2 * RTOL)


def test_a_jump_between_two_panels_is_seen():
    # Jumps at many places: some of them lie between the last node of one panel and the first of the next.
    for end in 1.0 + np.arange(40) / 64:
        uniform = of_scipy(scipy.stats.uniform(-end, 2 * end), drawn=False)
        expected = -math.log(2 * end) + 0.5 * math.log(2 * math.pi) + end * end / 6
        np.testing.assert_allclose(measured(dkl.kl, uniform, Normal(0.0, 1.0)).value, expected, rtol=3 * RTOL)


def test_narrow_peaks_far_apart():
    # The halves lie 1e6 apart, where they do not see each other: JS is that of one half, measured on its own.
    p = Mixture(Normal([0.0, 1e6], [1.0, 1e-6]), [0.5, 0.5])
    q = Mixture(Normal([0.0, 1e6], [1e-6, 1.0]), [0.5, 0.5])
    alone = measured(dkl.js, Normal(0.0, 1.0), Normal(0.0, 1e-6)).value
    np.testing.assert_allclose(measured(dkl.js, p, q).value, alone, rtol=RTOL)
    # That half is nearly as far apart as can be: the narrow peak takes 1e-6 of the wide one's mass or so.
    assert math.log(2) - 1e-4 < alone < math.log(2)


def test_densities_that_underflow_count():
    p, q = Normal(-60.0, 1.0), Normal(60.0, 1.0)
    np.testing.assert_allclose(measured(dkl.kl, p, q).value, 7200.0, rtol=1e-13)
    np.testing.assert_allclose(measured(dkl.js, p, q).value, math.log(2), rtol=1e-13)
    np.testing.assert_allclose(measured(dkl.bhattacharyya, p, q).value, 1800.0, rtol=1e-13)
    # The integrand p²/q of order 2 peaks at −180, where neither has mass.
    np.testing.assert_allclose(measured(dkl.Renyi(2.0), p, q).value, 14400.0, rtol=1e-13)


@pytest.mark.parametrize("divergence", FAMILY, ids=repr)
def test_equal_densities(divergence):
    assert measured(divergence, Normal(3.0, 2.0), Normal(3.0, 2.0)).value == 0


@pytest.mark.parametrize("gap", [1e-3, 1e-5])
def test_nearly_equal_densities(gap):
    # The log-ratio loses the digits of the log-densities, about 2e-16 of gap: relative 1e-10 at 1e-5.
    value = measured(dkl.kl, Normal(0.0, 1.0), Normal(gap, 1.0)).value
    np.testing.assert_allclose(value, gap * gap / 2, rtol=1e-9)


def test_a_batch_is_measured_pair_by_pair():
    p, q = Normal([0.0, 1.0], 1.0), Normal([[0.0], [1.0]], [[1.0], [2.0]])
    np.testing.assert_allclose(measured(dkl.kl, p, q).value, dkl.kl(p, q), rtol=RTOL, atol=1e-15)
    assert measured(dkl.kl, p, q).value.shape == (2, 2)


def test_ones_own_divergence():
    mine = dkl.FDivergence("mine", lambda t: scipy.special.xlogy(t, t), f_zero=0.0, slope_inf=math.inf)
    value = measured(mine, Normal(0.0, 1.0), Normal(1.0, 2.0)).value
    np.testing.assert_allclose(value, dkl.kl(Normal(0.0, 1.0), Normal(1.0, 2.0)), rtol=2 * RTOL)


@pytest.mark.parametrize("divergence", [dkl.kl, dkl.js, dkl.bhattacharyya], ids=repr)
def test_gradient(divergence):
    loc = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    value = measured(divergence, Normal(loc, 1.0), Normal(torch.tensor(1.0, dtype=torch.float64), 2.0)).value
    (slope,) = torch.autograd.grad(value, loc)
    step = 1e-4
    up, down = (float(measured(divergence, Normal(0.3 + s, 1.0), Normal(1.0, 2.0)).value) for s in (step, -step))
    # Central differences err by step² over 6 times the third derivative, which is below 1 here.
    np.testing.assert_allclose(float(slope), (up - down) / (2 * step), atol=1e-8)


def test_gradient_by_jax():
    # In JAX's own float32: the panels are laid in float64 all the same.
    slope = jax.grad(lambda m: measured(dkl.kl, Normal(m, 1.0), Normal(jnp.asarray(0.0), 2.0)).value)(1.0)
    np.testing.assert_allclose(float(slope), 0.25, rtol=1e-5)


def test_gradient_at_a_singular_end():
    a = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    q = Beta(torch.tensor(0.3, dtype=torch.float64), 2.0)
    (slope,) = torch.autograd.grad(measured(dkl.kl, Beta(a, 0.5), q).value, a)
    (expected,) = torch.autograd.grad(dkl.kl(Beta(a, 0.5), q), a)
    np.testing.assert_allclose(float(slope), float(expected), rtol=1e-8)


def test_the_error_is_a_bound():
    for p, q, truth in (
        (Normal(0.0, 1.0), Normal(1.0, 2.0), 0.3900656601210557),
        (Normal(0.0, 1.0), Normal(0.1, 1.0), 2 * scipy.stats.norm.cdf(0.05) - 1),
    ):
        for rtol in (1e-3, 1e-6, 1e-9):
            found = integrate(dkl.tv, p, q, rtol)
            value = float(dkl.tv.total(found.space.pair(found.panels, p, q)))
            assert abs(value - truth) <= found.error * truth
            assert found.error <= rtol


@pytest.mark.parametrize(
    ("p", "q", "divergence", "words"),
    [
        (of_scipy(scipy.stats.cauchy()), Normal(0.0, 1.0), dkl.kl, r"towards x = −∞ its integrand falls no faster"),
        (Normal(0.0, 2.0), Normal(0.0, 1.0), dkl.chi2, r"exceeds the largest float64: its integrand does, from about"),
        (Normal(0.0, 2.0), Normal(0.0, 1.0), dkl.Renyi(2.0), r"its integrand falls no faster than one over the dist"),
        (Beta(0.5, 0.5), Beta(0.3, 2.0), dkl.chi2, r"towards x = 1 its integrand falls no faster"),
        (Normal(0.0, 1.0), of_scipy(scipy.stats.uniform(-1, 2)), dkl.kl, r"Q has density 0 about x = .* P has 0\.3173"),
        (of_scipy(scipy.stats.uniform(-1, 2)), Normal(0.0, 1.0), dkl.reverse_kl, r"P has density 0 about x"),
    ],
)
def test_infinite_values_say_why(p, q, divergence, words):
    answer = measured(divergence, p, q)
    assert math.isinf(answer.value)
    assert re.search(words, answer.reason)
    assert answer.reason.startswith(divergence.symbol)


def test_an_unnormalised_density_is_refused():
    with pytest.raises(ValueError, match=r"p, Density\(<lambda>.*integrates to 2\.50663, not to 1: subtract log\(2\.5"):
        measured(dkl.kl, Density(lambda x: -x * x / 2), Normal(0.0, 1.0))
    with pytest.raises(ValueError, match=r"q, Density.*some of its mass was not found, and sample= would say where"):
        measured(dkl.kl, Normal(0.0, 1.0), Density(lambda x: -x * x / 2))


def test_mass_beyond_the_reach_of_numbers():
    far = of_scipy(scipy.stats.t(0.005))
    with pytest.raises(ValueError, match=r"p, .* of its mass was not found, and may lie .* further out than 1e150"):
        measured(dkl.kl, far, Normal(0.0, 1.0))


def test_a_log_density_that_overflows_may_be_why_it_is_infinite():
    def log_prob(x):
        with np.errstate(over="ignore"):
            return math.log(2.0) - 2.0 * x - 2.0 * np.log1p(np.exp(-2.0 * x))

    answer = measured(dkl.kl, Logistic(0.0, 1.0), Density(log_prob, support=Interval()))
    assert answer.reason.endswith("of its mass; or its log_prob overflows there.")
    found = measured(dkl.kl, Logistic(0.0, 1.0), Logistic(0.0, 0.5)).value
    # E[log p] = −2 and E|x| = 2·log 2, and E[log(1 + exp(−2|x|))] = π/2 − 2·log 2 by the substitution u = exp(−|x|).
    np.testing.assert_allclose(found, math.pi - 2.0 - math.log(2.0), rtol=1e-10)


def test_a_peak_that_no_search_finds_is_asked_for():
    peak = scipy.stats.norm(1e5, 1e-3)
    other = scipy.stats.norm(0, 1)

    def log_prob(x):
        return np.logaddexp(peak.logpdf(x), other.logpdf(x)) - math.log(2)

    with pytest.raises(ValueError, match=r"integrates to 0\.5, not to 1"):
        measured(dkl.kl, Density(log_prob), Normal(0.0, 2.0))

    def sample(n, rng):
        return np.where(rng.random(n) < 0.5, peak.rvs(n, random_state=rng), other.rvs(n, random_state=rng))

    known = measured(dkl.js, Density(log_prob, sample), Normal(0.0, 1.0)).value
    mixture = Mixture(Normal([1e5, 0.0], [1e-3, 1.0]), [0.5, 0.5])
    np.testing.assert_allclose(known, measured(dkl.js, mixture, Normal(0.0, 1.0)).value, rtol=RTOL)


def test_it_warns_of_an_error_above_the_one_asked_for():
    # The normaliser of a shape of 1e6 is known to 1e-9 alone.
    with pytest.warns(UserWarning, match=r"quadrature of KL\(P‖Q\) came to a relative error of about .*, not of rtol"):
        rules.evaluate(dkl.kl, Beta(1e6, 1e6), Beta(1.01e6, 1.01e6), method="quadrature")


@pytest.mark.parametrize("rtol", [0.0, 1.0, -1e-3])
def test_a_bad_tolerance(rtol):
    with pytest.raises(ValueError, match=r"rtol = .* is no relative error"):
        measured(dkl.kl, Normal(0.0, 1.0), Normal(1.0, 1.0), rtol=rtol)


def test_it_declines():
    with pytest.raises(TypeError, match=r"nothing measures renyi\(inf\)"):
        measured(dkl.Renyi(math.inf), Normal(0.0, 1.0), Normal(0.0, 2.0))
    three = Density(lambda x: -0.5 * np.sum(x * x, axis=-1) - 1.5 * math.log(2 * math.pi), support=Vectors(3))
    with pytest.raises(TypeError, match=r"nothing measures kl between a Density and a Density"):
        measured(dkl.kl, three, three)


class TestPlane:
    @staticmethod
    def normal(loc, scale):
        loc, scale = np.asarray(loc), np.asarray(scale)

        def log_prob(x):
            return np.sum(-0.5 * ((x - loc) / scale) ** 2 - np.log(scale) - 0.5 * math.log(2 * math.pi), axis=-1)

        return Density(log_prob, lambda n, rng: rng.normal(loc, scale, size=(n, 2)), Vectors(2))

    @pytest.mark.parametrize("divergence", [dkl.kl, dkl.hellinger, dkl.Renyi(0.3), dkl.bhattacharyya], ids=repr)
    def test_independent_numbers(self, divergence):
        p, q = self.normal([0.0, 0.0], [1.0, 1.0]), self.normal([1.0, -1.0], [2.0, 0.5])
        pairs = [(Normal(0.0, 1.0), Normal(1.0, 2.0)), (Normal(0.0, 1.0), Normal(-1.0, 0.5))]
        alone = [float(divergence(*pair)) for pair in pairs]
        expected = math.sqrt(1 - math.prod(1 - h * h for h in alone)) if divergence is dkl.hellinger else sum(alone)
        np.testing.assert_allclose(measured(divergence, p, q).value, expected, rtol=quadrature.RTOL_PLANE)

    def test_total_variation(self):
        # Shifted by d in one direction, TV is 2Φ(d/2) − 1.
        p, q = self.normal([0.0, 0.0], [1.0, 1.0]), self.normal([0.6, 0.8], [1.0, 1.0])
        value = measured(dkl.tv, p, q, rtol=1e-5).value
        np.testing.assert_allclose(value, 2 * scipy.stats.norm.cdf(0.5) - 1, rtol=1e-5)

    def test_infinite(self):
        answer = measured(dkl.chi2, self.normal([0.0, 0.0], [2.0, 1.0]), self.normal([0.0, 0.0], [1.0, 1.0]))
        assert math.isinf(answer.value)
        assert "exceeds the largest float64" in answer.reason


def two_bumps(dimension, shift):
    if dimension == 1:
        return Mixture(Normal(np.array([-1.0, 2.0]) + shift, [1.0, 2.0]), [0.4, 0.6])
    spread = np.array([np.eye(2), [[1.0, 0.5], [0.5, 2.0]]])
    return Mixture(MultivariateNormal(np.array([[-1.0, 0.0], [2.0, 1.0]]) + shift, covariance=spread), [0.4, 0.6])


@pytest.mark.parametrize(("dimension", "bits"), [(1, 30), (1, 40), (1, 50), (2, 40), (2, 50)])
@pytest.mark.parametrize("divergence", [dkl.kl, dkl.js, dkl.Renyi(0.5), dkl.tv], ids=str)
def test_pairs_that_are_equal_but_for_rounding(divergence, bits, dimension):
    """The divergence goes with the square of a small shift, and total variation with the shift; the error says so."""
    p, power = two_bumps(dimension, 0.0), 1 if divergence is dkl.tv else 2
    # The mean over both signs of the shift leaves no term of the next power.
    larger = [float(measured(divergence, p, two_bumps(dimension, s * 2.0**-12), rtol=1e-6).value) for s in (-1.0, 1.0)]
    expected = 0.5 * sum(larger) * 2.0 ** (power * (12 - bits))
    found = measured(divergence, p, two_bumps(dimension, 2.0**-bits))
    assert abs(float(found.value) - expected) <= float(found.error) + 1e-5 * expected
    assert found.warning is None
    # Of the difference of the densities an error of a few roundings; at a shift of 4 roundings that is the most of it.
    assert float(found.error) < {30: 1e-3, 40: 2e-2, 50: 30.0}[bits] * float(found.value)


def test_rounding_ends_the_halving_of_panels_early():
    p, q = two_bumps(1, 0.0), two_bumps(1, 2.0**-40)
    found = integrate(dkl.kl, p, q, 1e-10)
    assert found.rounded
    assert found.evaluations < 40_000
    assert not integrate(dkl.kl, p, two_bumps(1, 0.1), 1e-10).rounded


def test_a_support_that_was_not_said_is_found():
    inside = Density(lambda x: np.where(x > 0, -x, -np.inf))
    assert rules.evaluate(dkl.kl, inside, Exponential(1.0)).value < 1e-15
    np.testing.assert_allclose(rules.evaluate(dkl.kl, inside, Exponential(2.0)).value, 1 - math.log(2), rtol=RTOL)
    assert math.isinf(rules.evaluate(dkl.kl, Normal(0.0, 1.0), inside).value)
    assert math.isinf(rules.evaluate(dkl.kl, Density(inside.log_prob, support=Interval()), Exponential(1.0)).value)


def test_it_is_a_distribution():
    density = Density(lambda x: -np.abs(x) - math.log(2), support=Interval())
    assert isinstance(density, Distribution)
    np.testing.assert_allclose(density.log_prob([0.0, 1.0]), [-math.log(2), -1 - math.log(2)])


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Density(3), TypeError, "log_prob must be a function"),
        (lambda: Density(np.log, 3), TypeError, "sample must be a function"),
        (lambda: Density(np.log, None, (0, 1)), TypeError, "support must be one of dkl.supports"),
        (lambda: Density(lambda x: x * math.nan).log_prob([1.0]), ValueError, r"log_prob gives NaN at x = 1\.0"),
        (lambda: Density(lambda x: x * math.nan).log_prob([1.0]), ValueError, r"say which: support=, such as"),
        (lambda: Density(lambda x: x[:1]).log_prob([1.0, 2.0]), ValueError, r"must have shape \(2,\), got \(1,\)"),
        (lambda: Density(np.log).sample(3), NotImplementedError, "give it sample="),
        (lambda: Density(np.log, lambda n, rng: np.zeros(1)).sample(3), ValueError, r"must have shape \(3,\), got"),
    ],
)
def test_what_a_density_must_be(make, error, words):
    with pytest.raises(error, match=words):
        make()
