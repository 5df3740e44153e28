"""Factors written once, with NumPy or PyTorch, for every method; and their derivatives by differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import expit, log_ndtr

import dkl
from dkl.families import MultivariateNormal, Normal
from dkl.fitting import Product, Sites
from dkl.fitting.propagation.differences import Differences

Function = Callable[[Any], Any]


def ratio(s: Any) -> Any:
    return np.exp(stats.norm.logpdf(s) - log_ndtr(s))


# A factor, its derivatives by hand, places, and how near the two are, as a share of the largest.
FACTORS: dict[str, tuple[Function, Function, Function, Any, tuple[float, float]]] = {
    "logistic": (
        lambda s: -np.logaddexp(0.0, -s), lambda s: expit(-s), lambda s: -expit(s) * expit(-s),
        np.linspace(-8, 8, 41), (1e-13, 1e-11),
    ),
    "logistic of another unit": (
        lambda s: -np.logaddexp(0.0, -1e9 * s), lambda s: 1e9 * expit(-1e9 * s),
        lambda s: -1e18 * expit(1e9 * s) * expit(-1e9 * s), 1e-9 * np.linspace(-8, 8, 41), (1e-13, 1e-11),
    ),
    "probit": (
        log_ndtr, ratio, lambda s: -ratio(s) * (s + ratio(s)), np.linspace(-8, 6, 41), (1e-12, 1e-10),
    ),
    "count": (
        lambda s: 50 * s - np.exp(s), lambda s: 50 - np.exp(s), lambda s: -np.exp(s), np.linspace(-3, 6, 41),
        (1e-13, 1e-12),
    ),
    "narrow and far": (
        lambda s: -0.5 * ((s - 1e6) / 1e-3) ** 2, lambda s: -(s - 1e6) / 1e-6, lambda s: 0.0 * s - 1e6,
        1e6 + 1e-3 * np.linspace(-5, 5, 41), (1e-9, 1e-9),
    ),
    "constant": (
        lambda s: 1e6 + 0.0 * s, lambda s: 0.0 * s, lambda s: 0.0 * s, np.linspace(-3, 3, 41), (0.0, 0.0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FACTORS)
def test_differences_against_derivatives_by_hand(name: str) -> None:
    factor, first, second, s, (near, nearer) = FACTORS[name]
    made = Differences(lambda s, which: factor(s)).derivatives(s[None], np.array([0]))
    for mine, its, rtol in zip(made, (first(s), second(s)), (near, nearer), strict=True):
        np.testing.assert_allclose(mine[0], its, rtol=0, atol=rtol * np.abs(its).max())


def test_a_step_that_became_too_wide_is_made_smaller() -> None:
    # First seen from afar, where the factor is as smooth as its distance, then at its mode, of width 0.3.
    def factor(s: Any, which: Any) -> Any:
        return -2.0 * np.log1p((s - 30.0) ** 2 / 0.12)

    seen = Differences(factor)
    seen.derivatives(np.zeros((1, 1)), np.array([0]))
    s = np.linspace(29.0, 31.0, 41)
    u = (s - 30.0) ** 2 / 0.12
    first, second = seen.derivatives(s[None], np.array([0]))
    np.testing.assert_allclose(first[0], -4.0 * (s - 30.0) / 0.12 / (1 + u), rtol=0, atol=1e-8)
    np.testing.assert_allclose(second[0], -4.0 / 0.12 * (1 - u) / (1 + u) ** 2, rtol=0, atol=1e-5)


def test_over_a_bend_derivatives_are_finite() -> None:
    s = np.linspace(-3.0, 3.0, 101)
    first, second = Differences(lambda s, which: -np.abs(s)).derivatives(s[None], np.array([0]))
    assert np.isfinite(first).all()
    assert np.isfinite(second).all()
    away = np.abs(s) > 1.5
    np.testing.assert_allclose(first[0, away], -np.sign(s[away]), rtol=1e-9)


RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
Y = np.sign(X @ [1.0, 1.0, -1.0] + RNG.logistic(size=60))
PRIOR = MultivariateNormal(np.zeros(3), 9.0 * np.eye(3))


def by_numpy(s: Any, i: Any) -> Any:
    return -np.logaddexp(0.0, -Y[i] * s)


def by_torch(s: Any, i: Any) -> Any:
    return torch.nn.functional.logsigmoid(torch.as_tensor(Y)[i] * s)


def test_a_factor_is_differentiated_whoever_wrote_it() -> None:
    x = torch.tensor(RNG.normal(size=(5, 3)), requires_grad=True)
    seen = []
    for factor in (by_numpy, by_torch):
        target = Product(PRIOR, Sites(factor, X)).moved(dkl._array.namespace_of(x=x), x)
        value = target.log_prob(x)
        (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        (curvature,) = torch.autograd.grad(gradient[:, 1].sum(), x)
        seen.append([part.detach().numpy() for part in (value, gradient, curvature)])
    for mine, its, rtol in zip(*seen, (1e-13, 1e-11, 1e-9), strict=True):
        np.testing.assert_allclose(mine, its, rtol=rtol, atol=rtol)


def test_one_posterior_by_expectation_propagation_and_by_the_reverse_kl() -> None:
    posterior = Product(PRIOR, Sites(by_numpy, X))
    given = {"starts": 1, "samples": 64}
    propagated = dkl.fit(MultivariateNormal, posterior)
    variational = dkl.fit(MultivariateNormal, posterior, dkl.reverse_kl, **given)
    assert propagated.method == "expectation propagation"
    assert variational.method == "natural gradient"
    assert propagated.converged
    assert variational.converged
    # What was learned of the factors the first time changes no bit the second.
    again = dkl.fit(MultivariateNormal, posterior, dkl.reverse_kl, **given)
    np.testing.assert_array_equal(again.distribution.mean(), variational.distribution.mean())
    torchs = dkl.fit(MultivariateNormal, Product(PRIOR, Sites(by_torch, X)))
    np.testing.assert_allclose(torchs.distribution.mean(), propagated.distribution.mean(), rtol=1e-9)
    # The reverse KL is no wider, and both are near the posterior's own moments, by weighted samples.
    sd = propagated.distribution.std()
    assert (variational.distribution.std() < sd * (1 + 1e-3)).all()
    draws = MultivariateNormal(propagated.distribution.mean(), cholesky=1.2 * propagated.distribution._factor())
    w = draws.sample(1 << 16, rng=1)
    weights = np.exp(posterior.log_prob(w) - draws.log_prob(w) + 30.0)
    weights /= weights.sum()
    mean = weights @ w
    for made, bias in ((propagated, 0.005), (variational, 0.02)):
        error = 5.0 * np.sqrt((weights**2) @ (w - mean) ** 2)
        assert (np.abs(made.distribution.mean() - mean) < error + bias * sd).all()
    # ELBO ≤ log of the integral, which both estimate.
    assert variational.details["elbo"] <= variational.log_normaliser
    apart = 4.0 * math.hypot(*(made.details["log_normaliser_stderr"] for made in (propagated, variational)))
    assert propagated.log_normaliser == pytest.approx(variational.log_normaliser, abs=apart)
    assert propagated.details["log_evidence"] == pytest.approx(propagated.log_normaliser, abs=0.05)


def test_what_neither_library_answers_fails_as_it_does() -> None:
    def broken(s: Any, i: Any) -> Any:
        raise TypeError("no factor at all")

    for method, divergence in (("expectation propagation", dkl.kl), ("natural gradient", dkl.reverse_kl)):
        with pytest.raises(TypeError, match="no factor at all"):
            dkl.fit(Normal, Product(Normal(0.0, 1.0), Sites(broken)), divergence, method=method)
