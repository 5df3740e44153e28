"""Bias, intervals and p-values do what they claim, on simulated data whose truth is known."""

import math

import numpy as np
import pyarrow as pa
import pytest
from scipy import integrate, special, stats

import dkl
from dkl.comparison import inference
from dkl.comparison.columns import compare_column
from dkl.comparison.planning import numeric_plan
from dkl.comparison.result import Settings
from dkl.methods.tables import CategoricalPlan

PAIRS = 1000


def numeric(reference, current, **settings):
    plan = numeric_plan(reference, "float64", "real", 32)
    counts = [plan.count(pa.array(side)) for side in (reference, current)]
    return compare_column("x", ("double", "double"), plan, *counts, Settings(**settings))


def numeric_p(reference, current, rng, permutations):
    """The p-value alone, by the same slots as `compare_column`, without paying for its intervals."""
    from dkl.comparison.columns import _fine_cells, _numeric_slots

    plan = numeric_plan(reference, "float64", "real", 32)
    counts = [plan.count(pa.array(side)) for side in (reference, current)]
    slots = _numeric_slots(plan, _fine_cells(plan, *counts), *counts)
    before, after, spacings = (
        np.array([getattr(slot, name) for slot in slots]) for name in ("reference", "current", "spacings")
    )
    return inference.significance(before, after, permutations, rng, spacings).p_value


def mostly_zero(rng, size):
    return np.where(rng.random(size) < 0.3, 0.0, rng.normal(size=size))


@pytest.mark.parametrize(
    ("draw", "n", "m"),
    [
        (lambda rng, size: rng.normal(size=size), 1000, 1000),
        (lambda rng, size: rng.normal(size=size), 200, 200),
        (lambda rng, size: rng.normal(size=size), 2000, 200),
        (lambda rng, size: np.round(rng.normal(size=size), 1), 1000, 1000),
        (mostly_zero, 200, 200),
    ],
    ids=["normal", "normal-few", "normal-unequal", "rounded", "mostly-zero"],
)
def test_size_of_the_p_value_for_numeric_columns(draw, n, m):
    rng = np.random.default_rng(5)
    p_values = [numeric_p(draw(rng, n), draw(rng, m), rng, 199) for _ in range(PAIRS)]
    assert 0.03 < np.mean(np.array(p_values) <= 0.05) < 0.07


@pytest.mark.parametrize(
    ("shares", "n", "m"),
    [([0.5, 0.3, 0.2], 1000, 1000), ([0.4, 0.3, 0.1, 0.1, 0.05, 0.05], 40, 60), ([1 / 30] * 30, 50, 400)],
    ids=["large", "small", "sparse"],
)
def test_size_of_the_p_value_for_categories(shares, n, m):
    rng = np.random.default_rng(6)
    p_values = [
        inference.significance(rng.multinomial(n, shares), rng.multinomial(m, shares), 199, rng).p_value
        for _ in range(PAIRS)
    ]
    assert 0.03 < np.mean(np.array(p_values) <= 0.05) < 0.07


def test_permutation_agrees_with_the_exact_test_of_a_two_by_two_table():
    table = np.array([[3, 9], [8, 4]])
    found = inference.significance(table[0], table[1], 20_000, np.random.default_rng(0))
    # Fisher's exact test orders tables by probability; with equal margins G orders them alike.
    exact = stats.fisher_exact(table).pvalue
    assert found.method == "permutation"
    assert abs(found.p_value - exact) < 4 * math.sqrt(exact * (1 - exact) / 20_000)


def test_chi_squared_agrees_with_scipy():
    a, b = np.array([300, 200, 100]), np.array([260, 230, 120])
    expected = stats.chi2_contingency(np.stack([a, b]), lambda_="log-likelihood")
    found = inference.significance(a, b, 100, np.random.default_rng(0))
    assert (found.method, found.degrees) == ("chi-squared", 2)
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-12)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)


def test_a_strong_difference_in_sparse_counts_survives_many_columns():
    a, b = np.array([50, 50, 0, 3]), np.array([0, 3, 50, 50])
    assert inference.significance(a, b, 199, np.random.default_rng(0)).p_value < 1e-6


def test_one_value_only():
    found = inference.significance(np.array([5]), np.array([9]), 100, np.random.default_rng(0))
    assert (found.p_value, found.method) == (1.0, "one value only")


def test_adjustment_agrees_with_scipy():
    p_values = np.random.default_rng(0).random(50) ** 3
    assert inference.adjust(p_values.tolist()) == pytest.approx(stats.false_discovery_control(p_values).tolist())
    assert inference.adjust([]) == []


def test_bias_is_the_mean_under_no_difference():
    rng = np.random.default_rng(0)
    shares = np.full(20, 0.05)
    a, b = rng.multinomial(2000, shares, size=2000), rng.multinomial(5000, shares, size=2000)
    claimed = inference.bias_without_difference(a[0], b[0])
    for divergence, bias in ((dkl.kl, claimed), (dkl.js, claimed / 4)):
        values = np.asarray(divergence(dkl.Counts(a), dkl.Counts(b)))
        assert abs(values.mean() - bias) < 4 * values.std() / math.sqrt(2000) + 0.02 * bias  # next order in 1/n


def js_of_shifted_normals(shift):
    def integrand(x):
        p, q = stats.norm.pdf(x), stats.norm.pdf(x, shift)
        return (p * np.log(2 * p / (p + q)) + q * np.log(2 * q / (p + q))) / 2

    return integrate.quad(integrand, -10, 10 + shift)[0]


@pytest.mark.parametrize("shift", [0.0, 0.2, 0.5])
def test_interval_covers_the_truth(shift):
    rng = np.random.default_rng(2)
    truth, runs = js_of_shifted_normals(shift), 100
    covered = 0
    for seed in range(runs):
        found = numeric(rng.normal(size=2000), rng.normal(shift, size=2000), seed=seed, resamples=200).js
        low, high = found.interval
        covered += low <= truth <= high
    # 32 bins lose about 1 % of JS, well inside the interval; four standard errors below the nominal 0.95.
    assert covered / runs >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / runs)


def test_replicates_agree_with_the_core():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(30), size=5), rng.dirichlet(np.ones(30), size=5)
    js, tv = inference._js_and_tv(p, q)
    np.testing.assert_allclose(js, np.asarray(dkl.js(p, q)), rtol=1e-9)
    np.testing.assert_allclose(tv, np.asarray(dkl.tv(p, q)), rtol=1e-9)


@pytest.mark.parametrize("key", ["js", "kl"])
def test_the_noise_at_a_difference_agrees_with_draws(key):
    rng = np.random.default_rng(0)
    before, after = np.array([4000, 3000, 2500, 500]), np.array([1000, 5000, 3000, 3000])
    drawn = [dkl.Counts(rng.multinomial(side.sum(), side / side.sum(), size=20_000)) for side in (before, after)]
    divergence = getattr(dkl, key)
    seen = np.asarray(divergence(*drawn)) - float(divergence(dkl.Counts(before), dkl.Counts(after)))
    chance = np.ones(60_000)
    noise = inference.kl_noise(before, after) if key == "kl" else inference.js_noise(before, after, chance, rng)
    # The standard error of a variance from 20,000 nearly normal draws is 1 % of it; twice, for those of JS itself.
    assert noise.variance_there == pytest.approx(float(seen.var()), rel=4 * math.sqrt(4 / 20_000))
    assert noise.bias_there == pytest.approx(float(seen.mean()), abs=4 * float(seen.std()) * math.sqrt(2 / 20_000))


def test_noncentral_chi_squared_is_continuous_where_the_approximation_takes_over():
    for x in (9_700.0, 10_050.0, 10_400.0):
        exact = float(special.chndtr(x, 31.0, 1e4 - 1e-6))
        assert inference._noncentral_chi2(x, 31.0, 1e4) == pytest.approx(exact, abs=1e-4)


def missed(p, q, n, m, runs):
    """How often the true JS, KL and TV lie below, and above, their intervals."""
    rng = np.random.default_rng(0)
    truth = {"js": float(dkl.js(p, q)), "kl_reference_current": float(dkl.kl(p, q)), "tv": float(dkl.tv(p, q))}
    outside = dict.fromkeys(truth, (0, 0))
    plan = CategoricalPlan()
    names = [f"v{i:03}" for i in range(len(p))]
    for seed in range(runs):
        counts = [
            plan.count(pa.array(np.repeat(names, rng.multinomial(rows, shares)))) for rows, shares in ((n, p), (m, q))
        ]
        column = compare_column("x", ("string", "string"), plan, *counts, Settings(seed=seed, resamples=300))
        for key, (below, above) in outside.items():
            interval = getattr(column, key).interval
            if interval is not None:
                low, high = interval
                outside[key] = below + (truth[key] < low), above + (truth[key] > high)
    return {key: (below / runs, above / runs) for key, (below, above) in outside.items()}


@pytest.mark.parametrize("difference", [0.0, 0.002, 0.01, 0.02, 0.1, 0.5])
def test_intervals_of_two_categories_cover(difference):
    # Each side of a 95 % interval may be missed in 2.5 % of runs: 5.5 % is 3.3 standard errors more in 300.
    seen = missed(np.array([0.9, 0.1]), np.array([0.9 - difference, 0.1 + difference]), 5000, 4000, runs=300)
    assert all(below <= 0.055 and above <= 0.055 for below, above in seen.values()), seen


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.1, 0.5])
@pytest.mark.parametrize("cells", [8, 32])
def test_intervals_of_many_categories_cover(cells, spread):
    shape = np.exp(spread * np.random.default_rng(cells).standard_normal(cells))
    seen = missed(np.full(cells, 1 / cells), shape / shape.sum(), 4000, 4000, runs=200)
    assert all(below <= 0.065 and above <= 0.065 for below, above in seen.values()), seen


def test_intervals_allow_for_mass_in_cells_that_a_side_has_not_seen():
    """Where cells differ e²-fold, draws from the seen shares alone start the interval too high in one run of ten."""
    shape = np.exp(2 * np.random.default_rng(200).standard_normal(200))
    below, above = missed(np.full(200, 1 / 200), shape / shape.sum(), 4000, 4000, runs=200)["js"]
    assert below <= 0.065
    assert above <= 0.065


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.5])
def test_intervals_of_many_rare_categories_cover(spread):
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.full(200, 0.3))
    q = p * np.exp(spread * rng.standard_normal(200))
    # Most of these cells hold a few rows, some none: the interval may start too high somewhat more often.
    below, above = missed(p, q / q.sum(), 2000, 5000, runs=200)["js"]
    assert below <= 0.1
    assert above <= 0.065


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.5])
def test_intervals_of_the_wasserstein_distance_cover(shift):
    rng = np.random.default_rng(1)
    outside = 0
    for seed in range(150):
        found = numeric(rng.normal(size=1500), rng.normal(shift, size=1500), seed=seed, resamples=300).wasserstein
        low, high = found.interval
        outside += not low - found.resolution <= shift <= high + found.resolution
    assert outside / 150 <= 0.05 + 3.3 * math.sqrt(0.05 * 0.95 / 150)


@pytest.mark.parametrize("rows", [3, 30])
def test_the_interval_of_disjoint_sides_holds_their_divergence(rows):
    found = dkl.compare({"x": list(range(300))}, {"x": [1e9] * rows})["x"].js
    low, high = found.interval
    assert low <= found.value * (1 + 1e-9)
    assert high >= found.value * (1 - 1e-9)


def test_intervals_stay_within_the_bounds():
    noise = inference.Noise(1e-3, 1e-7, 1e-3, 1e-4)
    low, high = inference.divergence_interval(0.69, noise, 0.95, math.log(2))
    assert 0 < low < 0.69
    assert high == math.log(2)
    assert inference.divergence_interval(1e-5, inference.Noise(1e-2, 1e-5, 1e-2, 0.0), 0.95, 1.0)[0] == 0.0
    assert inference.divergence_interval(0.0, inference.Noise(0.0, 0.0, 0.0, 0.0), 0.95, math.inf) == (0.0, 0.0)
    assert inference.distance_interval(0.99, np.array([0.1]), 0.2, 0.95, 1.0) == (0.89, 1.0)
    assert inference.distance_interval(0.1, np.array([math.nan]), 0.2, 0.95, 1.0) == (0.0, 1.0)


def test_twenty_columns_of_a_thousand_categories_are_fast():
    import time

    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(1000))
    plan = CategoricalPlan()
    sides = [
        plan.count(pa.array(np.repeat(np.arange(1000), rng.multinomial(100_000, shares)).astype(str))) for _ in range(2)
    ]
    start = time.perf_counter()
    for name in "abcd":
        compare_column(name, ("string", "string"), plan, *sides, Settings())
    assert time.perf_counter() - start < 4  # measured 0.5 s; a fifth of the twenty columns, on one thread
