"""Bias, intervals and p-values do what they claim, on simulated data whose truth is known."""

import math

import numpy as np
import pyarrow as pa
import pytest
from scipy import integrate, stats

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


def test_bootstrap_replicates_agree_with_the_core():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(30), size=5), rng.dirichlet(np.ones(30), size=5)
    js, forward, backward, tv = inference._divergences(p, q)
    for found, divergence in ((js, dkl.js), (forward, dkl.kl), (backward, dkl.reverse_kl), (tv, dkl.tv)):
        np.testing.assert_allclose(found, np.asarray(divergence(p, q)), rtol=1e-9)
    p[0, :] = 0.0
    p[0, 0] = 1.0
    assert inference._divergences(p, q)[2][0] == math.inf


def test_intervals_stay_within_the_bounds():
    assert inference.basic_interval(0.01, np.array([0.0, 0.05]), 0.95, math.log(2)) == (0.0, 0.02)
    assert inference.basic_interval(0.69, np.array([0.5, 0.6]), 0.95, math.log(2))[1] == math.log(2)
    low, _ = inference.basic_interval(1.0, np.array([1.0, math.inf]), 0.5, math.inf)
    assert low == 0.0


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
