"""Pairs at the edges of what the methods can see: singular sides, other libraries' zeros, limits of parameters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import dkl
from dkl import families


@pytest.mark.parametrize(
    ("divergence", "most"),
    [(dkl.js, math.log(2)), (dkl.tv, 1.0), (dkl.hellinger, 1.0), (dkl.triangular, 2.0), (dkl.kl, math.inf)],
    ids=str,
)
def test_whole_numbers_and_a_continuum_share_nothing(divergence: Any, most: float) -> None:
    for p, q in (
        (families.Poisson(3.0), families.Normal(0.0, 1.0)),
        (families.Normal(0.0, 1.0), families.Bernoulli(0.5)),
        (stats.poisson(3.0), torch.distributions.Normal(0.0, 1.0)),
    ):
        assert float(dkl.measure(p, q, divergence)) == pytest.approx(most, rel=1e-7)
    reason = dkl.measure(families.Poisson(3.0), families.Normal(0.0, 1.0)).reason
    assert reason is not None
    assert "no set of outcomes has mass of both" in reason


def test_where_one_side_has_no_mass_torch_gives_what_numpy_gives() -> None:
    def both(divergence: Any, make: Any) -> tuple[float, float]:
        return tuple(
            float(divergence(*make(number))) for number in (float, lambda x: torch.tensor(x, dtype=torch.float64))
        )  # type: ignore[return-value]

    for divergence, make, expected in (
        (dkl.js, lambda n: (families.Uniform(n(0.0), n(1.0)), families.Normal(n(0.0), n(1.0))), None),
        (dkl.tv, lambda n: (families.Exponential(n(1.0)), families.Normal(n(0.0), n(1.0))), 0.5),
        (dkl.js, lambda n: (families.Pareto(n(2.0), n(1.0)), families.Pareto(n(1.5), n(2.0))), None),
    ):
        by_numpy, by_torch = both(divergence, make)
        assert by_torch == pytest.approx(by_numpy, rel=1e-9)
        assert expected is None or by_numpy == pytest.approx(expected, abs=0.01)
    half = torch.distributions.HalfCauchy(torch.tensor(1.0, dtype=torch.float64))
    whole = torch.distributions.Cauchy(torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64))
    assert float(dkl.kl(half, whole)) == pytest.approx(math.log(2), rel=1e-9)


@pytest.mark.parametrize("df", [1e9, 1e12, 1e15])
def test_students_t_becomes_normal(df: float) -> None:
    p = families.StudentT(df)
    assert float(p.log_prob(0.0)) == pytest.approx(-0.5 * math.log(2 * math.pi), rel=1e-9)
    assert float(p.entropy()) == pytest.approx(0.5 * math.log(2 * math.pi * math.e), rel=1e-8)
    # The entropy is 1/ν more than the normal's, and E[x²]/8 is 1/(4ν) more than 1/8.
    limit = math.log(2) - 0.375 - 0.75 / df
    assert float(dkl.kl(p, families.Normal(0.0, 2.0))) == pytest.approx(limit, abs=2e-15)


def test_small_students_t_against_scipy() -> None:
    for df in (0.5, 3.0, 40.0):
        made, theirs = families.StudentT(df, 0.5, 2.0), stats.t(df, 0.5, 2.0)
        assert float(made.log_prob(1.3)) == pytest.approx(float(theirs.logpdf(1.3)), rel=1e-13)
        assert float(made.entropy()) == pytest.approx(float(theirs.entropy()), rel=1e-9)


def test_a_function_of_a_sum_that_diverges() -> None:
    for p, q, order in (
        (families.Geometric(0.3), families.Poisson(3.0), 2.0),
        (families.NegativeBinomial(2, probs=0.3), families.Poisson(3.0), 1.5),
    ):
        made = dkl.measure(p, q, dkl.Renyi(order))
        assert float(made) == math.inf
        assert made.method == "exact"


def test_whole_numbers_without_a_lowest_are_sampled() -> None:
    made = dkl.measure(stats.skellam(3, 4), stats.skellam(3, 5), rng=0)
    x = range(-60, 61)
    expected = sum(
        stats.skellam.pmf(k, 3, 4) * (stats.skellam.logpmf(k, 3, 4) - stats.skellam.logpmf(k, 3, 5)) for k in x
    )
    assert made.method == "monte_carlo"
    assert abs(float(made) - expected) < 5 * float(made.stderr)


def test_samples_that_are_rounded_to_an_end_are_no_proof_of_infinity() -> None:
    with pytest.raises(ValueError, match="p has its mass so near to x = 0, the end of its support, that samples"):
        dkl.measure(families.Gamma(0.001, 1.0), families.LogNormal(0.0, 1.0), method="monte_carlo", rng=0)


def test_settings_that_make_no_sense_are_refused() -> None:
    p, q = families.Normal(0, 1), families.Normal(1, 1)
    for rtol in (0.0, -1.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="is no relative error: it lies strictly between 0 and 1"):
            dkl.measure(p, q, rtol=rtol)
    with pytest.raises(TypeError, match="rtol must be a real number, got 'a'"):
        dkl.measure(p, q, rtol="a")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="samples = -5 must be a positive number of samples"):
        dkl.measure(p, q, samples=-5)


def test_what_overflows_is_not_said_to_diverge() -> None:
    made = dkl.measure(families.Normal(0.0, 1.0), families.Normal(1e3, 1.0), dkl.chi2)
    assert made.reason == "χ²(P‖Q) exceeds the largest float64."
    assert float(dkl.Renyi(2.0)(families.Normal(0.0, 1.0), families.Normal(1e3, 1.0))) == pytest.approx(1e6)


def test_beta_and_dirichlet_a_ten_millionth_apart() -> None:
    # ½·δ²·(ψ'(b) − ψ'(a + b)) and third order, from mpmath.
    made = dkl.kl(families.Beta(2.0, 3.0), families.Beta(2.0, 3.0000001))
    assert float(made) == pytest.approx(8.680555352e-16, rel=2e-10)


def test_a_tail_beyond_whole_numbers_is_not_sampled() -> None:
    with pytest.raises(ValueError, match=r"zipf\(1\.01\) failed with OverflowError: it draws whole numbers of 64 bits"):
        dkl.measure(stats.zipf(1.01), stats.zipf(3.5))


def test_far_apart_is_not_beyond_the_bound() -> None:
    assert float(dkl.js(families.Normal(1e300, 1.0), families.Normal(-1e300, 1.0), method="monte_carlo")) == math.log(2)


def test_what_is_no_number_has_no_density() -> None:
    assert math.isnan(dkl.families.Dirichlet([1.0, 2.0]).log_prob([math.nan, 0.5]))
    poisson = dkl.families.Poisson(1.0).log_prob([math.nan, 1.0, -1.0])
    assert np.isnan(poisson).tolist() == [True, False, False]
    assert poisson[2] == -math.inf
