"""Maximum likelihood: against the formulas, SciPy and the score; far and narrow samples; where there is no maximum."""

from __future__ import annotations

import math

import mpmath
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
    InverseGamma,
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
from dkl.families.directional import VonMisesFisher

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


Z = np.random.default_rng(0).normal(size=40)


def exactly(x):
    return [mpmath.mpf(float(v)) for v in x]


@mpmath.workdps(60)
def test_digits_of_narrow_samples():
    """Around 1e8 nothing is left of log E[x] − E[log x], nor of E[1/x] − 1/E[x]: against sixty digits."""
    x = 1e8 + Z
    of = exactly(x)
    n, mean = len(of), mpmath.fsum(of) / len(of)
    inverse, of_log = mpmath.fsum(1 / v for v in of) / n, mpmath.fsum(map(mpmath.log, of)) / n

    def shape(gap):
        return mpmath.e ** mpmath.findroot(lambda t: t - mpmath.digamma(mpmath.e**t) - gap, mpmath.log(1 / (2 * gap)))

    gamma, other, gaussian, normal = (given(likeliest(f, Samples(x))) for f in _NARROW)
    expected = shape(mpmath.log(mean) - of_log)
    np.testing.assert_allclose([gamma["shape"], gamma["rate"]], [float(expected), float(expected / mean)], rtol=1e-14)
    expected = shape(mpmath.log(inverse) + of_log)
    np.testing.assert_allclose(
        [other["shape"], other["scale"]], [float(expected), float(expected / inverse)], rtol=1e-14
    )  # fmt: skip
    np.testing.assert_allclose(gaussian["shape"], float(1 / (inverse - 1 / mean)), rtol=1e-14)
    spread = mpmath.sqrt(mpmath.fsum((v - mean) ** 2 for v in of) / n)
    np.testing.assert_allclose(normal["scale"], float(spread), rtol=1e-15)


_NARROW = (Gamma, InverseGamma, InverseGaussian, Normal)


@mpmath.workdps(60)
@pytest.mark.parametrize(
    ("centre", "width"), [(0.3, 1e-6), (1e-9, 1e-12), (1 - 1e-5, 1e-9), (0.5, 1e-2), (1e-20, 3e-22)]
)
def test_digits_of_concentrated_shares(centre, width):
    """Of a Beta the score vanishes to the digits that the parameters have."""
    of = exactly(centre + width * Z)
    found = given(likeliest(Beta, Samples(centre + width * Z)))
    a, b = (mpmath.mpf(found[name]) for name in "ab")
    n, mean = len(of), mpmath.fsum(of) / len(of)
    spread = mpmath.fsum((v / mean - 1) ** 2 for v in of) / n
    logs = mpmath.fsum(map(mpmath.log, of)) / n, mpmath.fsum(mpmath.log(1 - v) for v in of) / n
    score = [mpmath.digamma(z) - mpmath.digamma(a + b) - g for z, g in zip((a, b), logs, strict=True)]
    step = mpmath.matrix(
        [[mpmath.psi(1, a) - mpmath.psi(1, a + b), -mpmath.psi(1, a + b)],
         [-mpmath.psi(1, a + b), mpmath.psi(1, b) - mpmath.psi(1, a + b)]]
    ) ** -1 * mpmath.matrix(score)  # fmt: skip
    assert max(abs(step[0] / a), abs(step[1] / b)) < 1e-13
    assert spread < 1e-2


@mpmath.workdps(60)
def test_digits_of_concentrated_directions():
    x = 0.3 + 1e-7 * Z
    c, s = (mpmath.fsum(map(f, exactly(x))) / len(x) for f in (mpmath.cos, mpmath.sin))
    length = mpmath.sqrt(c * c + s * s)
    # R = 1 − 1/(2κ) − 1/(8κ²) − …, of which the rest is below 1e-28 of it.
    kappa = mpmath.findroot(lambda k: 1 - 1 / (2 * k) - 1 / (8 * k**2) - length, 1 / (2 * (1 - length)))
    found = given(likeliest(VonMises, Samples(x)))
    np.testing.assert_allclose(found["concentration"], float(kappa), rtol=1e-13)
    np.testing.assert_allclose(found["loc"], float(mpmath.atan2(s, c)), rtol=1e-15)
    # On the sphere R = coth κ − 1/κ, and e^(−2κ) is nothing.
    v = np.array([1.0, 2.0, 2.0]) / 3.0 + 1e-6 * np.random.default_rng(1).normal(size=(40, 3))
    v /= np.linalg.norm(v, axis=-1, keepdims=True)
    sphere = likeliest(VonMisesFisher, Samples(v)).distribution
    short = np.mean(0.5 * ((v - v.mean(0) / np.linalg.norm(v.mean(0))) ** 2).sum(-1))
    np.testing.assert_allclose(sphere.given["concentration"], 1.0 / short, rtol=1e-9)


def test_criteria():
    """Of counts and samples; of weighted ones by their effective number; None of what is no observation."""
    counts = likeliest(Poisson, Counts([3, 5, 2]))
    total = scipy.stats.poisson(0.9).logpmf([0, 1, 2]) @ [3, 5, 2]
    assert counts.free_parameters == 1
    np.testing.assert_allclose([counts.aic, counts.bic], [2.0 - 2.0 * total, math.log(10.0) - 2.0 * total], rtol=1e-12)
    assert likeliest(Categorical, Counts([3, 5, 2])).free_parameters == 2
    assert likeliest(Binomial, Counts([3, 5, 2]), total_count=4).free_parameters == 1
    plane = likeliest(MultivariateNormal, Samples(np.random.default_rng(0).normal(size=(50, 3))))
    assert plane.free_parameters == 9
    rows = np.random.default_rng(1).gamma(2.0, size=(3, 40))
    for family in (Gamma, Gumbel):  # by one formula for all rows, and row by row
        several, alone = dkl.fit(family, Samples(rows)), [dkl.fit(family, Samples(row)) for row in rows]
        np.testing.assert_allclose(several.aic, [one.aic for one in alone], rtol=1e-12)
        np.testing.assert_allclose(several.bic, [one.bic for one in alone], rtol=1e-12)
        told = several.to_dict()
        assert told["free_parameters"] == 2
        assert (told["aic"], told["bic"]) == (several.aic.tolist(), several.bic.tolist())
    pairs = dkl.fit(Categorical, Counts([[3, 4, 5], [4, 5, 6]]))
    assert pairs.free_parameters == 2
    np.testing.assert_allclose(pairs.aic[0], likeliest(Categorical, Counts([3, 4, 5])).aic, rtol=1e-12)
    other = dkl.fit(Normal, Normal(0.0, 1.0))
    assert other.to_dict()["aic"] is None
    assert (other.free_parameters, other.aic, other.bic) == (None, None, None)


@pytest.mark.parametrize(
    ("target", "options", "error", "message"),
    [
        ([1.0, 2.0], {"weights": "ab"}, TypeError, "weights = 'ab' is no real number: give numbers alone"),
        ([1.0, 2.0], {"weights": [1, "a"]}, TypeError, r"weights\[1\] = 'a' is no real number"),
        ([1.0, 2.0], {"weights": [1, 1j]}, TypeError, r"weights\[0\] = .* is no real number: take its real part"),
        ([1.0, 2.0], {"weights": [1.0]}, ValueError, r"weights of shape \(1,\) do not fit 2 samples"),
        ([1.0, 2.0], {"weights": [1.0, -1.0]}, ValueError, r"weights\[1\] = -1.0 is no weight"),
        ([1.0, 2.0], {"weights": [math.nan, 1.0]}, ValueError, r"weights\[0\] = nan is no weight"),
        (["a", "b"], {}, TypeError, r"samples\[0\] = 'a' is no real number"),
        ([1.0 + 1j, 2.0], {}, TypeError, r"samples\[0\] = \(1\+1j\) is no real number: take its real part"),
    ],
)
def test_what_is_no_number(target, options, error, message):
    with pytest.raises(error, match=message):
        dkl.fit(Normal, Samples(target), **options)


@pytest.mark.parametrize(
    ("count", "error", "message"),
    [
        ("a", TypeError, "Binomial: total_count must hold real numbers, got a str"),
        (-2, ValueError, "Binomial: total_count = -2 is not a positive whole number"),
        (2.5, ValueError, "Binomial: total_count = 2.5 is not a positive whole number"),
    ],
)
def test_what_is_no_count(count, error, message):
    with pytest.raises(error, match=message):
        dkl.fit(Binomial, Samples([1.0, 2.0]), total_count=count)


def test_weights_at_the_end_of_the_range():
    one, other = (likeliest(Normal, Samples([1.0, 2.0, 4.0]), weights=w) for w in ([1e308] * 3, [1.0] * 3))
    assert given(one) == given(other)
