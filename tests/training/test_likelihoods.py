"""Likelihoods of a decoder against the densities of SciPy and mpmath, at the ends of their domains too."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from scipy import integrate, stats

from dkl.families.continuous_bernoulli import ContinuousBernoulli
from dkl.training import negative_log_likelihood

X = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
A = torch.tensor([-1.5, 0.0, 2.0, 30.0], dtype=torch.float64)


def test_normal_and_laplace_are_those_of_scipy() -> None:
    for name, law in (("gaussian", stats.norm), ("laplace", stats.laplace)):
        for scale in (0.3, torch.tensor(0.3, dtype=torch.float64, requires_grad=True)):
            got = negative_log_likelihood(X, A, name, scale=scale)
            np.testing.assert_allclose(got.detach().numpy(), -law(A, 0.3).logpdf(X), rtol=1e-13)
        assert torch.isfinite(torch.autograd.grad(got.sum(), scale)[0])


def test_bernoulli_of_logits_and_of_probabilities_agree() -> None:
    logits = A.clone().requires_grad_()
    by_logits = negative_log_likelihood(X, logits, "bernoulli_logits")
    by_probabilities = negative_log_likelihood(X[:3], torch.sigmoid(logits[:3]), "bernoulli")
    torch.testing.assert_close(by_logits[:3], by_probabilities, rtol=1e-14, atol=0.0)
    for x, a, got in zip(X.tolist(), A.tolist(), by_logits.tolist(), strict=True):
        with mpmath.workdps(40):
            truth = mpmath.log1p(mpmath.exp(a)) - mpmath.mpf(x) * a
        assert abs(got - truth) <= 1e-14 * max(truth, 1e-12)


def test_probabilities_of_zero_and_one() -> None:
    p = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0], requires_grad=True)
    x = torch.tensor([0.0, 1.0, 1.0, 0.0, 0.5])
    cost = negative_log_likelihood(x, p)
    assert cost.tolist() == [0.0, 0.0, math.inf, math.inf, math.inf]
    assert not torch.signbit(cost).any()
    (slope,) = torch.autograd.grad(cost.sum(), p)
    assert slope.tolist() == [1.0, -1.0, -math.inf, math.inf, -math.inf]


def test_continuous_bernoulli_is_a_density_with_a_slope_at_zero() -> None:
    eta = torch.tensor([-40.0, -0.3, 0.0, 1e-9, 2.0, 300.0], dtype=torch.float64, requires_grad=True)
    x = torch.tensor([0.1, 0.9, 0.2, 0.5, 1.0, 0.99], dtype=torch.float64)
    cost = negative_log_likelihood(x, eta, "continuous_bernoulli_logits")
    law = ContinuousBernoulli(logits=eta.detach().numpy())
    np.testing.assert_allclose(cost.detach().numpy(), -law.log_prob(x.numpy()), rtol=1e-13, atol=1e-15)
    (slope,) = torch.autograd.grad(cost.sum(), eta)
    np.testing.assert_allclose(slope.numpy(), law.mean() - x.numpy(), rtol=1e-12, atol=1e-15)
    for a in (-3.0, 0.0, 5.0):
        density = lambda y, a=a: math.exp(  # noqa: E731
            -negative_log_likelihood(torch.tensor(y), torch.tensor(a), "continuous_bernoulli_logits")
        )
        assert integrate.quad(density, 0.0, 1.0)[0] == pytest.approx(1.0, rel=1e-6)
    near = eta.detach()[1:5].clone().requires_grad_()
    data = x[1:5].clone().requires_grad_()
    cost_of = lambda y, n: negative_log_likelihood(y, n, "continuous_bernoulli_logits")  # noqa: E731
    inside = data.detach().clamp(0.01, 0.99).requires_grad_()
    assert torch.autograd.gradcheck(cost_of, (inside, near))
    assert torch.autograd.gradgradcheck(cost_of, (inside, near))


def test_categorical_is_minus_log_softmax() -> None:
    logits = torch.tensor([[1.0, 2.0, -math.inf], [50.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    x = torch.tensor([1, 0])
    cost = negative_log_likelihood(x, logits, "categorical_logits")
    with mpmath.workdps(40):
        truth = [mpmath.log1p(mpmath.exp(-1)), mpmath.log1p(2 * mpmath.exp(-50))]
    for got, expected in zip(cost.tolist(), truth, strict=True):
        assert abs(got - expected) <= 1e-14 * expected  # also where one class has it all
    (slope,) = torch.autograd.grad(cost.sum(), logits)
    one_hot = torch.nn.functional.one_hot(x, 3)
    torch.testing.assert_close(slope, torch.softmax(logits.detach(), -1) - one_hot)
    assert negative_log_likelihood(torch.tensor([1]), logits[1:], "categorical_logits").item() == pytest.approx(50.0)


def test_integers_and_half_precision() -> None:
    assert negative_log_likelihood(torch.tensor([True, False]), torch.tensor([0.5, 0.5])).dtype == torch.float32
    half = negative_log_likelihood(torch.tensor([1]), torch.tensor([-300.0], dtype=torch.float16), "gaussian")
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(0.5 * 301**2, rel=1e-4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: negative_log_likelihood(X, A, "poisson"), ValueError, "likelihood = 'poisson' is none of"),
        (lambda: negative_log_likelihood(X, A[:3], "gaussian"), ValueError, "x has shape (4,) and x_recon (3,)"),
        (lambda: negative_log_likelihood(X, A), ValueError, "x_recon[0] = -1.5 is no probability: for log-odds use"),
        (lambda: negative_log_likelihood(A, X), ValueError, "x[0] = -1.5 lies outside [0, 1]"),
        (lambda: negative_log_likelihood(X, A * math.inf, "bernoulli_logits"), ValueError, "x_recon[0] = -inf"),
        (
            lambda: negative_log_likelihood(X, A * math.nan, "continuous_bernoulli_logits"),
            ValueError,
            "x_recon[0] = nan",
        ),
        (lambda: negative_log_likelihood(X, A, "bernoulli_logits", scale=2.0), ValueError, "has no scale"),
        (lambda: negative_log_likelihood(X, A, "gaussian", scale=0.0), ValueError, "scale = 0 must be positive"),
        (lambda: negative_log_likelihood(X, A.int(), "gaussian"), TypeError, "x_recon must hold floating-point"),
        (lambda: negative_log_likelihood(X, A[:, None], "categorical_logits"), TypeError, "integer numbers of classes"),
        (lambda: negative_log_likelihood(X.int(), A, "categorical_logits"), ValueError, "one axis more"),
        (
            lambda: negative_log_likelihood(torch.tensor([3]), torch.zeros(1, 3), "categorical_logits"),
            ValueError,
            "x[0] = 3 is none of the 3 classes",
        ),
    ],
)
def test_errors_name_what_is_wrong(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["gaussian", "laplace"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_is_named(name: Any, bad: float) -> None:
    good, broken = torch.zeros(3), torch.tensor([0.0, bad, 0.0])
    with pytest.raises(ValueError, match=r"x\[1\] = .* is no number"):
        negative_log_likelihood(broken, good, name)
    with pytest.raises(ValueError, match=r"x_recon\[1\] = .* is no mean"):
        negative_log_likelihood(good, broken, name)


@pytest.mark.parametrize(
    ("scale", "error", "what"),
    [
        (torch.ones(2, 4, 3), ValueError, r"scale of shape \(2, 4, 3\) does not broadcast"),
        (torch.ones(4), ValueError, r"scale of shape \(4,\) does not broadcast"),
        (None, TypeError, "scale must be a real number, got None"),
        ([1.0], TypeError, r"scale must be a real number, got \[1.0\]"),
        (math.nan, ValueError, "scale = nan must be positive and finite"),
        (math.inf, ValueError, "scale = inf must be positive and finite"),
    ],
)
def test_scales_that_do_not_fit(scale: Any, error: type[Exception], what: str) -> None:
    with pytest.raises(error, match=what):
        negative_log_likelihood(torch.ones(4, 3), torch.ones(4, 3), "gaussian", scale=scale)


def test_logits_of_classes_at_the_ends() -> None:
    x = torch.tensor([1, 0])
    sure = negative_log_likelihood(x, torch.tensor([[-math.inf, 0.0], [0.0, 0.0]]), "categorical_logits")
    assert math.copysign(1.0, sure[0].item()) == 1.0
    torch.testing.assert_close(sure, torch.tensor([0.0, math.log(2)]))
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match=r"x_recon\[1, 0\] = .* is no logit"):
            negative_log_likelihood(x, torch.tensor([[0.0, 0.0], [bad, 0.0]]), "categorical_logits")
    with pytest.raises(ValueError, match=r"x_recon\[1\] = -inf in every class"):
        negative_log_likelihood(x, torch.tensor([[0.0, 0.0], [-math.inf, -math.inf]]), "categorical_logits")
