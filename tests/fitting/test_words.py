"""Fits in words."""

from __future__ import annotations

import numpy as np
import pytest

import dkl
from dkl.families import Binomial, Cauchy, DiagonalNormal, Gamma, Laplace, MultivariateNormal, Normal
from dkl.fitting.words import described, direction, parameters, sampling_error, symbol, translated


@pytest.mark.parametrize(
    ("divergence", "name", "says"),
    [
        (dkl.kl, "KL(target‖fit)", "covers the target"),
        (dkl.reverse_kl, "KL(fit‖target)", "seeks a mode"),
        (dkl.Alpha(1.0), "D_α=1(target‖fit)", "covers the target"),
        (dkl.Alpha(0.0), "D_α=0(target‖fit)", "seeks a mode"),
        (dkl.Alpha(0.3), "D_α=0.3(target‖fit)", "between seeking a mode (α = 0) and covering the target (α = 1)"),
        (dkl.Alpha(-1.0), "D_α=-1(target‖fit)", "seeks a mode, more than at α = 0"),
        (dkl.Alpha(2.0), "D_α=2(target‖fit)", "covers the target, more than at α = 1"),
        (dkl.js, "JS(target, fit)", "symmetric in the target and the fit"),
        (dkl.neyman_chi2, "χ²(fit‖target)", "of the fit against the reference the target, which divides"),
    ],
)
def test_divergences(divergence: dkl.Divergence, name: str, says: str) -> None:
    assert symbol(divergence) == name
    assert direction(divergence) == says


def test_only_p_and_q_are_translated() -> None:
    assert (
        translated("KL(P‖Q) of Poisson: P, Pareto and Q") == "KL(target‖fit) of Poisson: the target, Pareto and the fit"
    )
    assert translated("J(P, Q)") == "J(target, fit)"


def test_digits_that_are_known() -> None:
    assert described(Normal(1e-7, 1.0)) == "Normal(loc=0, scale=1)"
    assert described(Normal(1e-7, 1e-8)) == "Normal(loc=1e-07, scale=1e-08)"
    # A location is known in units of the spread, a scale in its own.
    assert described(Normal(1000.123456, 0.0123456), error=0.01) == "Normal(loc=1000.1235, scale=0.0123)"
    assert described(Normal(98766.0, 4321.0), error=0.01) == "Normal(loc=98770, scale=4320)"
    assert described(Gamma(2.0, 1.0 / 3.0), error=0.1) == "Gamma(shape=2.0, rate=0.33)"
    assert described(Binomial(10, 0.23913), error=0.1) == "Binomial(total_count=10, probs=0.24)"
    # What is kept fixed is known as it was given.
    assert described(Laplace(0.125, 2.0), error=0.1) == "Laplace(loc=0.125, scale=2.0)"
    # No standard deviation: the unit of a location is 1.
    assert described(Cauchy(1e-8, 2.0)) == "Cauchy(loc=0, scale=2)"


def test_vectors_and_mixtures() -> None:
    wide = DiagonalNormal([1e-3, 1e-3], [1e4, 1.0])
    assert parameters(wide)["loc"] == "[0, 0.001]"
    assert described(MultivariateNormal([0.0, 1.0], [[1.0, 1e-12], [1e-12, 4.0]])) == (
        "MultivariateNormal(loc=[0, 1], covariance=[[1, 0], [0, 4]])"
    )
    long = DiagonalNormal(np.arange(9.0), np.ones(9))
    assert parameters(long)["loc"] == "[0, 1, 2, 3, 4, 5, …]"
    mixture = dkl.Mixture([Normal(0.0, 1.0), Normal(2.0, 0.5)], [0.25, 0.75])
    assert described(mixture) == "0.25*Normal(loc=0, scale=1) + 0.75*Normal(loc=2, scale=0.5)"


def test_the_sampling_error_is_that_of_so_many_observations() -> None:
    assert sampling_error(dkl.fit(Normal, dkl.Samples(np.arange(16.0)))) == 0.25
    assert sampling_error(dkl.fit(Binomial, dkl.Counts([3, 9, 4]), total_count=2)) == 0.25
    assert sampling_error(dkl.fit(Normal, Gamma(2.0, 1.0))) == 0.0
