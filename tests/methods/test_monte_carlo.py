"""Monte Carlo: its values, the coverage of its intervals, its diagnostics, and what it says."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from arviz_stats.base import array_stats
from scipy import stats

import dkl
import dkl.methods
from dkl import rules
from dkl.density import Density
from dkl.families import Beta, Geometric, HalfNormal, Normal, StudentT, Uniform
from dkl.methods import monte_carlo

P, Q = Normal(0.0, 1.0), Normal(1.0, 2.0)
LOG_TAU = math.log(2 * math.pi)
TRUTH = {
    "kl": 0.4431471805599453,
    "js": 0.128174973054398,
    "tv": 0.3900656601210557,
    "hellinger": float(dkl.hellinger(P, Q)),
    "bhattacharyya": float(dkl.bhattacharyya(P, Q)),
    "renyi(0.5)": float(dkl.Renyi(0.5)(P, Q)),
    "jeffreys": float(dkl.jeffreys(P, Q)),
}
MEMBERS = [dkl.kl, dkl.js, dkl.tv, dkl.hellinger, dkl.bhattacharyya, dkl.Renyi(0.5), dkl.jeffreys]


def measured(divergence, p, q, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return rules.evaluate(divergence, p, q, method="monte_carlo", **options)


def normal(loc, scale, *, drawn):
    draw = (lambda n, rng: rng.normal(loc, scale, size=n)) if drawn else None
    return Density(lambda x: -0.5 * ((x - loc) / scale) ** 2 - np.log(scale) - 0.5 * LOG_TAU, draw)


def coverage(divergence, p, q, truth, seeds, **options):
    hits = distrusted = 0
    for seed in range(seeds):
        with warnings.catch_warnings():
            # Chance alone makes a tail look heavy now and then.
            warnings.filterwarnings("ignore", message=".* cannot be trusted")
            answer = rules.evaluate(divergence, p, q, method="monte_carlo", rng=seed, **options)
        distrusted += answer.warning is not None
        low, high = answer.interval(0.95)
        hits += bool(low <= truth <= high)
    assert distrusted <= 0.1 * seeds
    return hits / seeds


def bar(seeds, level=0.95, errors=4.0):
    """How low coverage may fall: binomial standard errors below the level."""
    return level - errors * math.sqrt(level * (1 - level) / seeds)


@pytest.mark.parametrize("divergence", MEMBERS, ids=repr)
def test_coverage(divergence):
    seeds = 300
    found = coverage(divergence, P, Q, TRUTH[divergence.name], seeds, samples=4096)
    assert bar(seeds) <= found < 1


@pytest.mark.parametrize("divergence", [dkl.kl, dkl.tv], ids=repr)
def test_coverage_where_it_stops_by_itself(divergence):
    seeds = 150
    assert coverage(divergence, P, Q, TRUTH[divergence.name], seeds, rtol=0.02) >= bar(seeds)


@pytest.mark.parametrize("which", ["p", "q"])
@pytest.mark.parametrize("divergence", [dkl.kl, dkl.js, dkl.tv, dkl.squared_hellinger], ids=repr)
def test_coverage_where_one_side_can_be_drawn(divergence, which):
    seeds = 200
    p, q = normal(0.0, 1.0, drawn=which == "p"), normal(0.5, 1.1, drawn=which == "q")
    truth = float(rules.evaluate(divergence, Normal(0.0, 1.0), Normal(0.5, 1.1), method="quadrature").value)
    assert coverage(divergence, p, q, truth, seeds, samples=4096) >= bar(seeds)


def test_mass_that_p_does_not_reach():
    # Of L + exp(−L) − 1 the samples of P would see L − 1 alone: 449.
    answer = measured(dkl.kl, normal(-30.0, 1.0, drawn=True), normal(0.0, 1.0, drawn=False), rng=1)
    assert abs(float(answer.value) - 450) < 5 * float(answer.stderr) < 5
    both = measured(dkl.kl, normal(-30.0, 1.0, drawn=True), normal(0.0, 1.0, drawn=True), rng=1)
    assert abs(float(both.value) - 450) < 5 * float(both.stderr) < 5 * 4.5


@pytest.mark.parametrize("which", ["p", "q"])
@pytest.mark.parametrize(("divergence", "whole"), [(dkl.tv, 1.0), (dkl.js, math.log(2))], ids=["tv", "js"])
def test_mass_beyond_the_one_side_that_is_drawn(divergence, whole, which):
    # The terms over p at the samples of P alone come to half of it, without any spread that would tell.
    p, q = normal(-30.0, 1.0, drawn=which == "p"), normal(0.0, 1.0, drawn=which == "q")
    np.testing.assert_allclose(measured(divergence, p, q, rng=1).value, whole, rtol=1e-12)


def test_it_stops_at_the_error_asked_for_or_the_samples_allowed():
    for rtol in (0.05, 0.01, 0.003):
        answer = measured(dkl.kl, P, Q, rng=0, rtol=rtol)
        assert float(answer.stderr) <= rtol * float(answer.value)
    result, _ = monte_carlo.sampled(dkl.kl, P, Q, rng=0, rtol=1e-6, samples=20_000)
    assert 19_000 < result.samples <= 20_000


def test_it_is_never_negative_and_zero_for_equals():
    assert measured(dkl.kl, P, Normal(0.0, 1.0), rng=0).value == 0
    for seed in range(20):
        near = measured(dkl.kl, P, Normal(1e-6, 1.0), rng=seed, samples=1024)
        assert float(near.value) > 0
        assert abs(float(near.value) - 5e-13) < 6 * float(near.stderr)


def test_seeds():
    one, two = (measured(dkl.kl, P, Q, rng=7).value for _ in range(2))
    assert one == two
    assert one == measured(dkl.kl, P, Q, rng=np.random.default_rng(7)).value
    assert one != measured(dkl.kl, P, Q, rng=8).value


def test_batches_broadcast():
    p, q = Normal([0.0, 1.0, 2.0], 1.0), Normal([[0.0], [1.0]], [[1.0], [2.0]])
    answer = measured(dkl.kl, p, q, rng=0)
    assert answer.value.shape == answer.stderr.shape == (2, 3)
    assert (np.abs(answer.value - dkl.kl(p, q)) <= 5 * answer.stderr).all()


def test_gradient():
    loc = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    q = Normal(torch.tensor(0.0, dtype=torch.float64), 1.0)
    slopes = []
    for seed in range(64):
        (slope,) = torch.autograd.grad(measured(dkl.kl, Normal(loc, 1.0), q, rng=seed, samples=1024).value, loc)
        slopes.append(float(slope))
    assert abs(np.mean(slopes) - 0.3) < 5 * np.std(slopes) / math.sqrt(64)
    assert np.std(slopes) < 0.1


def test_infinite_by_a_sample():
    answer = measured(dkl.kl, P, HalfNormal(1.0), rng=0)
    assert math.isinf(answer.value)
    assert answer.stderr == 0
    assert answer.reason.startswith("KL(P‖Q) is infinite: Q has density 0 at x = -")
    assert answer.reason.endswith("a sample of P.")
    rows = measured(dkl.reverse_kl, HalfNormal([1.0, 2.0]), P, rng=0)
    assert np.isinf(rows.value).all()
    assert "P has density 0" in rows.reason
    assert "a sample of Q (row 0)" in rows.reason
    assert math.isfinite(measured(dkl.js, P, HalfNormal(1.0), rng=0).value)


def test_progress():
    seen = []
    measured(dkl.kl, P, Q, rng=0, rtol=0.003, progress=lambda *args: seen.append(args))
    drawn, most, errors = zip(*seen, strict=True)
    assert list(drawn) == sorted(drawn)
    assert max(drawn) <= min(most) == max(most)
    known = [e for e in errors if not math.isnan(e)]
    assert known[-1] <= 0.003 < known[0]


def test_it_warns_of_mass_that_no_sample_sees():
    with pytest.warns(UserWarning, match=r"only p could be drawn, and its samples carry a share of .* of q's mass"):
        rules.evaluate(
            dkl.reverse_kl,
            normal(0.0, 1.0, drawn=True),
            normal(5.0, 1.0, drawn=False),
            method="monte_carlo",
            rng=0,
            samples=4096,
        )


HEAVY = [
    # p²/q has the tail of x^(−1/k) with k = b − 1, the exponent of Beta(b, b).
    (dkl.chi2, Uniform(0.0, 1.0), Beta(1.9, 1.9)),
    (dkl.chi2, Uniform(0.0, 1.0), Beta(1.7, 1.7)),
    (dkl.chi2, Normal(0.0, 1.0), Normal(0.0, 0.72)),
    (dkl.kl, stats.cauchy(), Normal(1.0, 2.0)),
    (dkl.kl, stats.zipf(2.5), Geometric(0.4)),
    (dkl.chi2, normal(0.0, 1.0, drawn=True), normal(0.0, 0.72, drawn=False)),
]


@pytest.mark.parametrize(("divergence", "p", "q"), HEAVY, ids=lambda x: type(x).__name__)
def test_it_says_where_the_tail_is_too_heavy(divergence, p, q):
    for seed in range(2):
        with pytest.warns(UserWarning, match=r"cannot be trusted: the tail of the terms has Pareto shape k = \d\.\d\d"):
            answer = dkl.measure(p, q, divergence, method="monte_carlo", rng=seed, samples=1 << 16)
        assert answer.warning is not None
        assert answer.warning.startswith(f"Monte Carlo of {divergence.symbol}: the estimate and its interval cannot")
        assert answer.to_dict()["warning"] == answer.warning
        assert answer.warning in repr(answer)


@pytest.mark.parametrize(
    ("divergence", "p", "q"),
    [
        (dkl.chi2, Uniform(0.0, 1.0), Beta(1.2, 1.2)),
        (dkl.chi2, Normal(0.0, 1.0), Normal(0.0, 0.95)),
        (dkl.kl, stats.zipf(6.0), Geometric(0.4)),
        (dkl.js, Normal(0.0, 1.0), Normal(3.0, 0.1)),  # bounded terms, of which few are large
        (dkl.jeffreys, P, Q),
    ],
    ids=lambda x: type(x).__name__,
)
def test_it_trusts_light_tails(divergence, p, q):
    answer = measured(divergence, p, q, rng=0, samples=1 << 16)
    assert answer.warning is None
    assert answer.to_dict()["warning"] is None


def test_the_pairs_of_a_batch_with_heavy_tails_are_named():
    q = Normal(0.0, [[2.0, 1.0, 0.72]])
    with pytest.warns(UserWarning, match=r"cannot be trusted in 1 of 3 pairs, most at index \(0, 2\): the tail"):
        rules.evaluate(dkl.chi2, P, q, method="monte_carlo", rng=0, samples=1 << 15)


@pytest.mark.parametrize("k", [-0.5, 0.0, 0.3, 0.7, 1.5])
def test_the_shape_of_a_tail(k):
    """Of a generalised Pareto distribution's own quantiles, and of samples beside another program's fit."""
    n = 2000
    exact = stats.genpareto(k).ppf(np.arange(n + 1) / (n + 1))
    assert monte_carlo.tail_shape(exact) == pytest.approx(k, abs=0.03)
    drawn = np.sort(np.exp(np.random.default_rng(3).exponential(size=4096) * max(k, 0.05)))
    theirs = float(array_stats.psislw(-np.log(drawn), axis=-1)[1])
    most = math.ceil(3 * math.sqrt(drawn.size))
    assert monte_carlo.tail_shape(drawn[-most - 1 :]) == pytest.approx(theirs, abs=0.02)


def test_tails_that_are_none():
    assert monte_carlo.tail_shape(np.ones(100)) == -math.inf
    assert monte_carlo.tail_shape(np.array([1.0, 1.0, 1.0, 2.0])) == -math.inf
    assert monte_carlo.tail_shape(np.exp(np.linspace(-2000.0, 700.0, 100))) == math.inf
    sampler = monte_carlo.Sampler(dkl.kl, P, HalfNormal(1.0), np.random.default_rng(0))
    sampler.extend(1024)
    assert sampler.distrust() is None  # infinite by a sample, whatever the tail


@pytest.mark.parametrize(
    ("p", "q", "options", "words"),
    [
        (normal(0, 1, drawn=False), normal(0, 1, drawn=False), {}, r"neither p, .*, nor q, .*, can be drawn from"),
        (P, Q, {"rtol": 0.0}, r"rtol = 0\.0 is no relative error"),
        (P, Q, {"samples": 0}, r"samples = 0 must be a positive number"),
        (
            P,
            Density(lambda x: np.where(x > 0, np.inf, -1.0)),
            {},
            r"the log-density of q is inf at x = .*, a sample of p",
        ),
        (
            Density(lambda x: np.where(x > 0, -1.0, -np.inf), lambda n, rng: rng.normal(size=n)),
            Q,
            {},
            r"the log-density of p is -inf at x = -.*, a sample of p: Monte Carlo needs a log_prob that is finite",
        ),
        (StudentT(0.005), StudentT(0.01), {}, r"x = -?inf is a sample of p: its tail .* largest number.* arcsinh\(x\)"),
    ],
)
def test_what_it_refuses(p, q, options, words):
    with pytest.raises(ValueError, match=words):
        measured(dkl.kl, p, q, rng=0, **options)


def test_it_declines():
    with pytest.raises(TypeError, match=r"nothing measures renyi\(inf\)"):
        measured(dkl.Renyi(math.inf), P, Q)


def test_as_many_samples_as_were_asked_for() -> None:
    asked = measured(dkl.kl, P, Q, rng=0, samples=1 << 16)
    assert asked.samples == 1 << 16
    # With a relative error beside it, the number is the most.
    assert measured(dkl.kl, P, Q, rng=0, samples=1 << 16, rtol=0.5).samples < 1 << 12
