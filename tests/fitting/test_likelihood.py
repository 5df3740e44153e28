"""Maximum likelihood: against the formulas, SciPy and the score; far and narrow samples; where there is no maximum."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from scipy import optimize

import dkl
from dkl import Counts, Samples
from dkl.families import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Cauchy,
    Dirichlet,
    Exponential,
    Gamma,
    GeneralizedNormal,
    Gumbel,
    InverseGaussian,
    Kumaraswamy,
    Laplace,
    LogNormal,
    MultivariateNormal,
    Normal,
    Poisson,
    StudentT,
    Uniform,
    VonMises,
)

RNG = np.random.default_rng(7)
X = RNG.gamma(2.0, 1.0, size=400)


def likeliest(family, target, **options):
    found = dkl.fit(family, target, method="maximum likelihood", **options)
    assert found.method == "maximum likelihood"
    return found


def given(found):
    return {name: float(x) for name, x in found.distribution.given.items()}


@pytest.mark.parametrize(
    ("family", "x"),
    [
        (Normal, X),
        (LogNormal, X),
        (Gamma, X),
        (Exponential, X),
        (InverseGaussian, X),
        (Beta, X / 12.0),
        (VonMises, X),
        (StudentT, scipy.stats.t(3.0, 50.0, 2.0).rvs(400, random_state=1)),
        (Cauchy, scipy.stats.cauchy(-5.0, 0.1).rvs(400, random_state=1)),
        (Gumbel, scipy.stats.gumbel_r(1.0, 3.0).rvs(400, random_state=1)),
        (GeneralizedNormal, scipy.stats.gennorm(1.5, 2.0, 3.0).rvs(400, random_state=1)),
        (Kumaraswamy, scipy.stats.beta(2.0, 3.0).rvs(400, random_state=1)),
    ],
)
def test_nothing_is_likelier(family, x):
    """The score vanishes, and no member that is found by a search without derivatives is better."""
    found = likeliest(family, Samples(x))
    names, best = list(given(found)), given(found)
    scale = {name: max(abs(v), 0.1) if name == "loc" else v for name, v in best.items()}

    def loss(steps):
        parameters = {name: best[name] + scale[name] * s for name, s in zip(names, steps, strict=True)}
        return -float(np.mean(family(**parameters).log_prob(x)))

    here = loss(np.zeros(len(names)))
    np.testing.assert_allclose(-here, found.details["log_likelihood"], rtol=1e-12)
    for unit in np.eye(len(names)):
        step = 1e-4 * unit
        slope, bend = loss(step) - loss(-step), loss(step) + loss(-step) - 2.0 * here
        assert bend > 0
        assert abs(slope) < 1e-3 * bend
    other = optimize.minimize(loss, 0.05 * np.ones(len(names)), method="Nelder-Mead", options={"fatol": 1e-13})
    assert here < other.fun + 1e-12
    assert found.divergence is None
    assert found.reason.startswith("the KL from single observations to a density is infinite")
    spread = np.std(family(**best).log_prob(x)) / math.sqrt(len(x))
    np.testing.assert_allclose(found.details["stderr"], spread, rtol=1e-12)
    assert found.details["observations"] == len(x)


@pytest.mark.parametrize(
    ("family", "shape"), [(StudentT, None), (Cauchy, None), (Gumbel, None), (GeneralizedNormal, 0.7)]
)
def test_moves_with_the_observations(family, shape):
    """The fit of a + b·x is the fit of x, moved and stretched."""
    draws = {
        StudentT: scipy.stats.t(4.0), Cauchy: scipy.stats.cauchy(), Gumbel: scipy.stats.gumbel_r(),
        GeneralizedNormal: scipy.stats.gennorm(shape or 1.0),
    }  # fmt: skip
    x = draws[family].rvs(150, random_state=2)
    one, other = given(likeliest(family, Samples(x))), given(likeliest(family, Samples(1000.0 + 0.01 * x)))
    np.testing.assert_allclose(other["loc"], 1000.0 + 0.01 * one["loc"], rtol=1e-11)
    np.testing.assert_allclose(other["scale"], 0.01 * one["scale"], rtol=1e-5)


def test_uniform():
    found = likeliest(Uniform, Samples([3.0, 1.0, 2.5]))
    assert given(found) == {"low": 1.0, "high": 3.0}
    np.testing.assert_allclose(found.details["log_likelihood"], -math.log(2.0), rtol=1e-15)


def test_far_and_narrow():
    """Samples 1e8 ± 1, whose E[x²] − E[x]² has no digit left."""
    z = RNG.standard_normal(1000)
    x = 1e8 + z
    exact = np.std(x - 1e8)
    np.testing.assert_allclose(given(likeliest(Normal, Samples(x)))["scale"], exact, rtol=1e-12)
    pair = np.stack([x, 1e8 - z + RNG.standard_normal(1000)], axis=-1)
    found = likeliest(MultivariateNormal, Samples(pair)).distribution
    np.testing.assert_allclose(found.given["covariance"], np.cov((pair - 1e8).T, bias=True), rtol=1e-10)


def test_weights_are_repetitions():
    x, times = np.array([1.0, 2.0, 4.0, 0.5]), np.array([2, 1, 2, 0])
    for family in (Normal, Gamma, Gumbel, Cauchy, Uniform):
        weighted = likeliest(family, Samples(x), weights=times)
        repeated = likeliest(family, Samples(np.repeat(x, times)))
        for name, value in given(repeated).items():
            np.testing.assert_allclose(given(weighted)[name], value, rtol=1e-9)


def test_whole_numbers():
    counts = Counts([5, 9, 6, 2])
    found = likeliest(Poisson, counts)
    rate = (9 + 12 + 6) / 22
    np.testing.assert_allclose(given(found)["rate"], rate, rtol=1e-15)
    p, k = np.array([5, 9, 6, 2]) / 22, np.arange(4)
    expected = float(p @ (np.log(p) - scipy.stats.poisson(rate).logpmf(k)))
    np.testing.assert_allclose(found.divergence.value, expected, rtol=1e-13)
    assert found.details["observations"] == 22
    assert found.reason == "the divergence is that from the observed shares"
    samples = likeliest(Poisson, Samples(np.repeat(k, [5, 9, 6, 2]).astype(float)))
    np.testing.assert_allclose(samples.divergence.value, expected, rtol=1e-13)
    np.testing.assert_allclose(samples.details["stderr"], found.details["stderr"], rtol=1e-12)
    np.testing.assert_array_equal(
        likeliest(Categorical, Counts([1, 0, 3])).distribution.given["probs"], [0.25, 0.0, 0.75]
    )  # fmt: skip
    np.testing.assert_array_equal(
        likeliest(Categorical, Samples([0.0, 2.0, 2.0, 2.0])).distribution.given["probs"], [0.25, 0.0, 0.75]
    )  # fmt: skip
    assert given(likeliest(Bernoulli, Counts([1, 3])))["probs"] == 0.75
    # Counts are numbers, also for a continuous family.
    np.testing.assert_allclose(given(likeliest(Normal, counts))["loc"], rate, rtol=1e-15)


def test_batches_of_samples():
    x = RNG.gamma(2.0, 1.0, size=(3, 50))
    for family in (Normal, Gamma, LogNormal):
        many = likeliest(family, Samples(x))
        for row in range(3):
            alone = likeliest(family, Samples(x[row]))
            for name, value in given(alone).items():
                np.testing.assert_allclose(many.distribution.given[name][row], value, rtol=1e-11)
            for name in ("log_likelihood", "stderr"):
                np.testing.assert_allclose(many.details[name][row], alone.details[name], rtol=1e-10)
    vectors = RNG.standard_normal((2, 30, 3))
    both = likeliest(MultivariateNormal, Samples(vectors)).distribution.given["covariance"]
    np.testing.assert_allclose(both[1], np.cov(vectors[1].T, bias=True), rtol=1e-12)
    weights = RNG.uniform(size=50)
    rows = likeliest(Normal, Samples(x), weights=weights).distribution
    np.testing.assert_allclose(rows.given["loc"], x @ weights / weights.sum(), rtol=1e-12)
    # A family that is fitted row by row.
    np.testing.assert_allclose(
        likeliest(Gumbel, Samples(x)).distribution.given["loc"][1], given(likeliest(Gumbel, Samples(x[1])))["loc"]
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"target\[1\] has no best member: the spread is 0"):
        likeliest(Normal, Samples([[1.0, 2.0], [3.0, 3.0]]))


@pytest.mark.parametrize(
    ("family", "x", "infimum", "message"),
    [
        (Normal, [1.0, 1.0], -math.inf, "the spread is 0 in some direction, and the likelihood grows without end"),
        (Normal, [1e8], -math.inf, "the spread is 0"),
        (MultivariateNormal, [[0.0, 1.0], [1.0, 3.0]], -math.inf, "the spread is 0 in some direction"),
        (Gamma, [2.0, 2.0], -math.inf, "all weight lies on one point"),
        (Gamma, [0.0, 2.0], -math.inf, "an observation, 0.0, lies on the bound of the interval"),
        (Beta, [0.5, 1.0], -math.inf, "an observation, 1.0, lies on the bound"),
        (Dirichlet, [[0.0, 1.0], [0.5, 0.5]], -math.inf, "lies on the bound of the simplex"),
        (Exponential, [0.0, 0.0], -math.inf, r"E\[x\] = 0 is not positive"),
        (VonMises, [1.0, 1.0], -math.inf, "all weight lies on one point"),
        (Cauchy, [1.0, 1.0, 5.0], -math.inf, "half of the weight lies on one point"),
        (Cauchy, [1.0, 2.0], math.log(math.pi), "the likelihood is the same all along a curve"),
        (Gumbel, [1.0, 1.0], -math.inf, "all observations are equal"),
        (Uniform, [1.0, 1.0], -math.inf, "all observations are equal"),
        (Kumaraswamy, [0.0, 0.5], -math.inf, "an observation, 0.0, lies on the bound"),
        (Kumaraswamy, [0.5, 0.5], -math.inf, "all observations are equal"),
        (StudentT, np.linspace(0, 1, 50), None, "as df → ∞, where the distribution is normal: fit a Normal"),
        (StudentT, [1.0, 2.0, 5.0, -20.0], -math.inf, "as df and the scale → 0"),
        (GeneralizedNormal, np.linspace(0, 2, 50), math.log(2.0), "where the distribution is uniform: fit a Uniform"),
        (GeneralizedNormal, [0.0] * 8 + [1.0, -3.0], -math.inf, "as shape and scale → 0"),
    ],
)
def test_no_maximum(family, x, infimum, message):
    found = likeliest(family, Samples(x))
    assert found.distribution is None
    assert found.divergence is None
    with pytest.raises(ValueError, match=message):
        raise ValueError(found.boundary.reason)
    if infimum is None:  # the normal distribution's
        infimum = 0.5 * math.log(2 * math.pi * np.var(x)) + 0.5
    np.testing.assert_allclose(found.boundary.infimum, infimum, rtol=1e-12)
    near = found.boundary.near
    if near is not None and math.isfinite(infimum):
        np.testing.assert_allclose(-np.mean(near.log_prob(np.asarray(x))), infimum, rtol=0.1)
    assert found.to_dict()["boundary"]["reason"] == found.reason


def test_bounded_on_the_way_to_no_member():
    zeros = likeliest(Poisson, Samples([0.0, 0.0]))
    assert 0 <= zeros.boundary.infimum < 1e-12
    full = likeliest(Binomial, Samples([3.0, 3.0]), total_count=3)
    assert 0 <= full.boundary.infimum < 1e-9
    assert full.boundary.near.given["total_count"] == 3


@pytest.mark.parametrize(
    ("family", "target", "options", "message"),
    [
        (Normal, Samples([]), {}, r"the target, Samples\(\[\]\), is empty"),
        (Normal, Samples([1.0, math.nan]), {}, r"samples\[1\] = nan is no finite number"),
        (Normal, Samples([[1.0, 2.0], [3.0, math.nan]]), {}, r"samples\[1\] = nan is no finite number"),
        (Normal, Samples([1.0, 2.0]), {"weights": [1.0]}, r"weights of shape \(1,\) do not fit 2 samples"),
        (Normal, Samples([1.0, 2.0]), {"weights": [1.0, -1.0]}, r"weights\[1\] = -1.0 is no weight"),
        (Gamma, Samples([1.0, -2.0]), {}, r"samples\[1\] = -2 lies outside the interval \(0, ∞\), where no Gamma has"),
        (Gamma, Samples([[1.0, 2.0], [1.0, -2.0]]), {}, r"samples\[1\] = -2 lies outside"),
        (LogNormal, Samples([0.0, 1.0]), {}, "the density of every LogNormal is 0"),
        (Poisson, Samples([0.5]), {}, "samples\\[0\\] = 0.5 lies outside the whole numbers"),
    ],
)
def test_bad_samples(family, target, options, message):
    with pytest.raises(ValueError, match=message):
        likeliest(family, target, **options)


def test_declines():
    with pytest.raises(TypeError, match="nothing fits Normal"):
        dkl.fit(Normal, Normal(0.0, 1.0), method="maximum likelihood")
    with pytest.raises(TypeError, match="nothing fits LowRankNormal"):
        dkl.fit(dkl.families.LowRankNormal, Samples([[1.0, 2.0]]), method="maximum likelihood")
    assert dkl.fit(Laplace, Samples([1.0, 3.0]), loc=1.0).distribution.given["scale"] == 1.0
