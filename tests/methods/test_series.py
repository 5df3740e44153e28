"""Sums over whole numbers against closed forms and mpmath; what they decline and what they say."""

from __future__ import annotations

import math
import re
import warnings

import mpmath
import numpy as np
import pytest
import scipy.stats
import torch

import dkl
import dkl.methods
from dkl import rules
from dkl.density import Density
from dkl.divergences import FAMILY
from dkl.families.base import Distribution
from dkl.families.constraints import positive
from dkl.methods import series
from dkl.mixture import Mixture
from dkl.supports import Integers


class Poisson(Distribution):
    """As little as a discrete distribution needs, with a parameter for gradients and batches."""

    constraints = {"rate": positive}  # noqa: RUF012

    def __init__(self, rate):
        super().__init__(rate=rate)

    @property
    def support(self):
        return Integers(0)

    def _log_prob(self, x):
        from dkl.families.special import gammaln

        return x * self.xp.log(self.rate) - self.rate - gammaln(self.xp, x + 1.0)

    def _sample(self, shape, rng):
        return rng.poisson(self.numbers("rate"), size=shape)

    def _mean(self):
        return self.rate

    def _var(self):
        return self.rate


def measured(divergence, p, q, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return rules.evaluate(divergence, p, q, method="exact", **options)


def of_scipy(frozen, low=0, high=math.inf, *, drawn=True):
    draw = (lambda n, rng: frozen.rvs(n, random_state=rng)) if drawn else None
    return Density(frozen.logpmf, draw, Integers(low, high))


def power(s):
    log_total = math.log(float(mpmath.zeta(s)))

    def sample(n, rng):
        return rng.zipf(s, size=n)

    return Density(lambda n: -s * np.log(n) - log_total, sample, Integers(1))


def poisson_kl(a, b):
    return a * math.log(a / b) + b - a


@pytest.mark.parametrize("drawn", [True, False])
def test_against_closed_forms(drawn):
    p, q = (of_scipy(scipy.stats.poisson(rate), drawn=drawn) for rate in (3, 4))
    np.testing.assert_allclose(measured(dkl.kl, p, q).value, poisson_kl(3, 4), rtol=1e-13)
    # −log Σ √(pq) = (√3 − 2)²/2.
    np.testing.assert_allclose(measured(dkl.bhattacharyya, p, q).value, (math.sqrt(3) - 2) ** 2 / 2, rtol=1e-13)
    # log Σ p²/q = (a − b)²/b.
    np.testing.assert_allclose(measured(dkl.Renyi(2.0), p, q).value, 0.25, rtol=1e-13)
    np.testing.assert_allclose(measured(dkl.chi2, p, q).value, math.expm1(0.25), rtol=1e-13)
    geometric = [of_scipy(scipy.stats.geom(s), 1, drawn=drawn) for s in (0.3, 0.2)]
    expected = math.log(0.3 / 0.2) + (1 / 0.3 - 1) * math.log(0.7 / 0.8)
    np.testing.assert_allclose(measured(dkl.kl, *geometric).value, expected, rtol=1e-12)


def test_poisson_against_negative_binomial():
    p, q = of_scipy(scipy.stats.poisson(3)), of_scipy(scipy.stats.nbinom(3, 0.5))

    def term(n):
        log_p = n * mpmath.log(3) - 3 - mpmath.loggamma(n + 1)
        log_q = mpmath.loggamma(n + 3) - mpmath.loggamma(n + 1) - mpmath.loggamma(3) - (n + 3) * mpmath.log(2)
        return mpmath.exp(log_p) * (log_p - log_q)

    with mpmath.workdps(30):
        expected = float(mpmath.fsum(term(n) for n in range(120)))
    np.testing.assert_allclose(measured(dkl.kl, p, q).value, expected, rtol=1e-12)


@pytest.mark.parametrize("divergence", FAMILY, ids=repr)
def test_finite_supports_are_summed_whole(divergence):
    p, q = of_scipy(scipy.stats.binom(10, 0.3), 0, 10), of_scipy(scipy.stats.binom(12, 0.4), 0, 12)
    n = np.arange(13)
    table = [scipy.stats.binom(10, 0.3).pmf(n), scipy.stats.binom(12, 0.4).pmf(n)]
    answer = measured(divergence, p, q)
    # scipy's probabilities are right to 1e-13 or so, its logarithms likewise.
    np.testing.assert_allclose(answer.value, divergence(*table), rtol=1e-11)
    if divergence.name in ("reverse_kl", "jeffreys", "neyman_chi2"):
        assert answer.reason.startswith(f"{divergence.symbol} is infinite: P gives probability 0 to 11")


def test_one_heavy_and_one_light_tail():
    geometric, poisson = of_scipy(scipy.stats.geom(0.01), 1), of_scipy(scipy.stats.poisson(30, 1), 1)
    with mpmath.workdps(30):

        def term(n):
            log_p = mpmath.log(mpmath.mpf("0.01")) + (n - 1) * mpmath.log(mpmath.mpf("0.99"))
            log_q = (n - 1) * mpmath.log(30) - 30 - mpmath.loggamma(n)
            return mpmath.exp(log_p) * (log_p - log_q)

        expected = float(mpmath.fsum(term(n) for n in range(1, 6000)))
    # The log-probabilities reach −1e4, known to 1e-12.
    np.testing.assert_allclose(measured(dkl.kl, geometric, poisson).value, expected, rtol=1e-11)
    answer = measured(dkl.chi2, geometric, of_scipy(scipy.stats.geom(0.5), 1))
    assert math.isinf(answer.value)
    assert re.search(r"χ²\(P‖Q\) is infinite, or exceeds the largest float64: its terms do within", answer.reason)


def test_powers():
    p, q = power(4.0), power(5.0)
    expected = float(mpmath.log(mpmath.zeta(5) / mpmath.zeta(4)) - mpmath.zeta(4, derivative=1) / mpmath.zeta(4))
    found = rules.evaluate(dkl.kl, p, q, method="exact", rtol=1e-9)
    np.testing.assert_allclose(found.value, expected, rtol=1e-8)
    # The mean of p is infinite, and log q falls as the outcome.
    answer = measured(dkl.kl, power(1.7), of_scipy(scipy.stats.geom(0.5), 1))
    assert math.isinf(answer.value)
    assert "its terms do not fall faster than one over the outcome" in answer.reason


def test_it_warns_of_a_slow_tail():
    p, q = power(2.0), power(2.5)
    with pytest.warns(UserWarning, match=r"the sum of KL\(P‖Q\) may lack a share of about .*, more than rtol"):
        value = rules.evaluate(dkl.kl, p, q, method="exact").value
    expected = float(mpmath.log(mpmath.zeta(2.5) / mpmath.zeta(2)) - mpmath.zeta(2, derivative=1) / mpmath.zeta(2) / 2)
    np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_a_far_mode_is_found():
    p, q = Poisson(1e6), Poisson(1.001e6)
    # scipy's and our own log-probabilities near −7 are differences of numbers near 1e7, known to 1e-9.
    np.testing.assert_allclose(measured(dkl.kl, p, q).value, poisson_kl(1e6, 1.001e6), rtol=1e-8)


def test_batch_and_gradient():
    p, q = Poisson([1.0, 2.0]), Poisson([[3.0], [4.0]])
    expected = [[poisson_kl(a, b) for a in (1.0, 2.0)] for b in (3.0, 4.0)]
    np.testing.assert_allclose(measured(dkl.kl, p, q).value, expected, rtol=1e-12)
    rate = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    value = measured(dkl.kl, Poisson(rate), Poisson(torch.tensor(3.0, dtype=torch.float64))).value
    (slope,) = torch.autograd.grad(value, rate)
    np.testing.assert_allclose(float(slope), math.log(2 / 3), rtol=1e-11)


def test_mixture_of_counts():
    mixture = Mixture([Poisson(2.0), Poisson(20.0)], [0.7, 0.3])
    n = np.arange(200)
    logs = np.logaddexp(
        math.log(0.7) + scipy.stats.poisson(2).logpmf(n), math.log(0.3) + scipy.stats.poisson(20).logpmf(n)
    )
    expected = dkl.js(dkl.LogProbs(logs), dkl.LogProbs(scipy.stats.poisson(8).logpmf(n)))
    np.testing.assert_allclose(measured(dkl.js, mixture, Poisson(8.0)).value, expected, rtol=1e-11)


def test_what_it_refuses():
    half = Density(lambda n: -n * math.log(2), None, Integers(0))
    with pytest.raises(ValueError, match=r"p, Density\(<lambda>.*sums to 2, not to 1: subtract log\(2\)"):
        measured(dkl.kl, half, of_scipy(scipy.stats.poisson(3)))
    far = of_scipy(scipy.stats.poisson(1e6), drawn=False)
    with pytest.raises(ValueError, match=r"none of its mass was found, and sample= would say where it is"):
        measured(dkl.kl, far, far)
    with pytest.raises(ValueError, match=r"rtol = 2 is no relative error"):
        measured(dkl.kl, half, half, rtol=2)
    # Ten standard deviations of 1e8 on both sides are too many outcomes.
    with pytest.raises(TypeError, match="nothing measures kl"):
        measured(dkl.kl, Poisson(1e16), Poisson(1.1e16))


def test_the_remainder_is_bounded():
    for rtol in (1e-3, 1e-6, 1e-10):
        found = series.summed(dkl.kl, of_scipy(scipy.stats.geom(0.01), 1), of_scipy(scipy.stats.geom(0.02), 1), rtol)
        n = np.arange(found.low, found.high + 1)
        pair = [scipy.stats.geom(s).logpmf(n) for s in (0.01, 0.02)]
        partial = float(np.sum(np.exp(pair[0]) * (pair[0] - pair[1]) - np.exp(pair[0]) + np.exp(pair[1])))
        expected = math.log(0.5) + 99 * math.log(0.99 / 0.98)
        assert 0 <= expected - partial + 1e-13 <= found.error * partial + 2e-13
        assert found.error <= rtol
