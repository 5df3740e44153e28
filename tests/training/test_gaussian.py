"""KL of an encoder's normal distributions: value and slope against mpmath, dkl's own family, and plain autograd."""

from __future__ import annotations

from typing import Any

import mpmath
import pytest
import torch
from torch import Tensor, distributions

import dkl
from dkl.methods import autograd
from dkl.training import gaussian_kl
from dkl.training.gaussian import _StandardKL

LOG_VARS = (0.0, 1e-12, -1e-12, 1e-7, -1e-7, 1e-3, -0.4, 0.7, -0.999, 1.001, -1.3, 3.0, -8.0, 80.0, -80.0)
MEANS = (0.0, 1e-9, -0.3, 2.0, 1e4)


def grid(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    mu, log_var = torch.meshgrid(torch.tensor(MEANS, dtype=dtype), torch.tensor(LOG_VARS, dtype=dtype), indexing="ij")
    return mu.clone().requires_grad_(), log_var.clone().requires_grad_()


def exact(mu: float, log_var: float) -> tuple[Any, Any, Any]:
    """Value, slope by mu, slope by log_var."""
    with mpmath.workdps(60):
        m, u = mpmath.mpf(mu), mpmath.mpf(log_var)
        return (m * m + mpmath.exp(u) - 1 - u) / 2, m, mpmath.expm1(u) / 2


@pytest.fixture(params=["loop", "operations"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autograd, "LEAST", 0 if request.param == "loop" else 1 << 62)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("dtype", "digits"), [(torch.float32, 1e-6), (torch.float64, 2e-15)])
def test_value_and_slopes_have_all_their_digits(dtype: torch.dtype, digits: float) -> None:
    mu, log_var = grid(dtype)
    kl = gaussian_kl(mu, log_var)
    slopes = torch.autograd.grad(kl.sum(), (mu, log_var))
    assert kl.dtype == dtype
    assert (kl >= 0).all()
    for at in torch.cartesian_prod(torch.arange(len(MEANS)), torch.arange(len(LOG_VARS))).tolist():
        i, j = at
        found = (kl.detach()[i, j], slopes[0][i, j], slopes[1][i, j])
        for got, truth in zip(found, exact(float(mu.detach()[i, j]), float(log_var.detach()[i, j])), strict=True):
            assert abs(float(got) - truth) <= digits * abs(truth), (MEANS[i], LOG_VARS[j])


@pytest.mark.usefixtures("way")
def test_second_derivatives() -> None:
    mu, log_var = grid(torch.float64)
    small = log_var.detach().clamp(-3, 3).requires_grad_()
    assert torch.autograd.gradcheck(gaussian_kl, (mu.detach().clamp(-2, 2).requires_grad_(), small))
    (slope,) = torch.autograd.grad(gaussian_kl(mu, log_var).sum(), log_var, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), log_var)
    torch.testing.assert_close(curvature, 0.5 * torch.exp(log_var.detach()), rtol=1e-14, atol=1e-16)


@pytest.mark.usefixtures("way")
def test_beyond_the_range_it_is_infinite_and_no_gradient_is_nan() -> None:
    mu = torch.zeros(4, requires_grad=True)
    log_var = torch.tensor([90.0, 500.0, -1e30, 0.0], requires_grad=True)
    kl = gaussian_kl(mu, log_var)
    assert kl.tolist() == [torch.inf, torch.inf, pytest.approx(5e29), 0.0]
    (slope,) = torch.autograd.grad(torch.where(kl < torch.inf, kl, 0.0).sum(), log_var)
    assert slope.tolist() == [0.0, 0.0, -0.5, 0.0]
    (slope,) = torch.autograd.grad(gaussian_kl(mu, log_var)[0], log_var)
    assert slope[0] > 1e38


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_calculated_in_single(dtype: torch.dtype) -> None:
    mu, log_var = (torch.tensor([0.5, 3.0], dtype=dtype, requires_grad=True) for _ in range(2))
    large = torch.tensor([0.0, 14.0], dtype=dtype)
    kl = gaussian_kl(mu, log_var)
    assert kl.dtype == torch.float32
    assert torch.isfinite(gaussian_kl(large, large)).all()
    assert torch.autograd.grad(kl.sum(), log_var)[0].dtype == dtype


def test_priors_are_those_of_the_family() -> None:
    generator = torch.Generator().manual_seed(3)
    mu, log_var, loc, log_prior = (torch.randn(4, 3, dtype=torch.float64, generator=generator) for _ in range(4))
    for x in (mu, log_var, loc, log_prior):
        x.requires_grad_()
    given = (mu, log_var, loc, log_prior)
    kl = gaussian_kl(mu, log_var, (loc, log_prior))
    family = dkl.kl(dkl.families.Normal(mu, log_variance=log_var), dkl.families.Normal(loc, log_variance=log_prior))
    torch.testing.assert_close(kl, family, rtol=1e-13, atol=0.0)
    for got, expected in zip(
        torch.autograd.grad(kl.sum(), given), torch.autograd.grad(family.sum(), given), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)
    for prior in (
        dkl.families.Normal(loc, log_variance=log_prior),
        distributions.Normal(loc, torch.exp(0.5 * log_prior)),
    ):
        torch.testing.assert_close(gaussian_kl(mu, log_var, prior), kl, rtol=1e-12, atol=1e-15)
    # One prior for all rows, and a learned one: gradients are summed.
    shared = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(gaussian_kl(mu, log_var, (shared, shared)), gaussian_kl(mu, log_var))
    assert torch.autograd.grad(gaussian_kl(mu, log_var, (shared, shared)).sum(), shared)[0].shape == (3,)


def test_near_a_prior_nothing_cancels() -> None:
    mu, log_var = torch.tensor([0.3]), torch.tensor([2.0])
    near = torch.nextafter(log_var, torch.tensor(9.0))
    gap = float(near.double() - log_var.double())
    assert float(gaussian_kl(mu, near, (mu, log_var))) == pytest.approx(gap**2 / 4, rel=1e-6)


def test_what_a_mask_hides_is_not_seen() -> None:
    mu = torch.tensor([[1.0, 2.0], [torch.nan, torch.inf]], requires_grad=True)
    log_var = torch.tensor([[0.0, 0.0], [torch.nan, 99.0]], requires_grad=True)
    prior = torch.tensor([[0.0, 0.0], [torch.nan, 0.0]], requires_grad=True)
    for mask in (torch.tensor([True, False]), torch.tensor([1.0, 0.0])):
        kl = gaussian_kl(mu, log_var, (prior, torch.zeros(2)), mask=mask)
        assert kl.tolist() == [[0.5, 2.0], [0.0, 0.0]]
        slopes = torch.autograd.grad(kl.sum(), (mu, log_var, prior))
        assert [x[1].tolist() for x in slopes] == [[0.0, 0.0]] * 3


def test_under_transformations() -> None:
    mu, log_var = (x.detach() for x in grid(torch.float64))
    log_var = log_var.clamp(-5, 5)
    each = torch.func.vmap(torch.func.grad(lambda m, u: gaussian_kl(m, u).sum(), argnums=1))(mu, log_var)
    torch.testing.assert_close(each, 0.5 * torch.expm1(log_var))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # by the compiler itself
def test_under_the_compiler() -> None:
    mu, log_var = (torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(4, 3).requires_grad_() for _ in range(2))
    compiled = torch.compile(lambda m, u: gaussian_kl(m, u).sum(), fullgraph=True, backend="aot_eager")
    got = torch.autograd.grad(compiled(mu, log_var), (mu, log_var))
    expected = torch.autograd.grad(gaussian_kl(mu, log_var).sum(), (mu, log_var))
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_both_ways_are_one_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    mu, log_var = grid(torch.float64)
    few = _StandardKL.apply(mu, log_var)[0]
    monkeypatch.setattr(autograd, "LEAST", 0)
    torch.testing.assert_close(gaussian_kl(mu, log_var), few, rtol=1e-14, atol=0.0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gaussian_kl(torch.zeros(2, 3), torch.zeros(2, 4)), ValueError, "(2, 3) and log_var (2, 4)"),
        (lambda: gaussian_kl(torch.zeros(2).int(), torch.zeros(2)), TypeError, "mu must be a floating-point tensor"),
        (lambda: gaussian_kl(torch.zeros(2), 0.0), TypeError, "log_var must be a floating-point tensor, got float"),
        (lambda: gaussian_kl(torch.tensor([0.0, torch.nan]), torch.zeros(2)), ValueError, "mu[1] is NaN"),
        (lambda: gaussian_kl(torch.zeros(2), torch.tensor([torch.nan, 0.0])), ValueError, "log_var[0] is NaN"),
        (
            lambda: gaussian_kl(torch.zeros(2), torch.zeros(2), (torch.zeros(3), torch.zeros(3))),
            ValueError,
            "does not broadcast to (2,)",
        ),
        (
            lambda: gaussian_kl(torch.zeros(2), torch.zeros(2), (torch.full((2,), torch.nan), torch.zeros(2))),
            ValueError,
            "a parameter of the prior is NaN",
        ),
        (lambda: gaussian_kl(torch.zeros(2), torch.zeros(2), dkl.families.Laplace(0, 1)), ValueError, "is no normal"),
        (
            lambda: gaussian_kl(torch.zeros(2, 3), torch.zeros(2, 3), mask=torch.ones(3)),
            ValueError,
            "one number for each row",
        ),
    ],
)
def test_errors_name_what_is_wrong(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)


@pytest.mark.parametrize(("dtype", "log_var"), [(torch.float32, -200.0), (torch.float64, -1500.0)])
def test_a_prior_of_no_width_that_is_met(dtype: torch.dtype, log_var: float) -> None:
    mu, width, loc, log_prior = (
        torch.tensor([x], dtype=dtype, requires_grad=True) for x in (0.5, log_var, 0.5, log_var)
    )
    kl = gaussian_kl(mu, width, prior=(loc, log_prior))
    assert kl.item() == 0.0
    assert all(x.item() == 0.0 for x in torch.autograd.grad(kl, (mu, width, loc, log_prior)))


def test_a_narrow_prior_that_is_missed_by_little() -> None:
    """(μ − μ₀)²/σ² is finite where 1/σ itself is not."""
    made = gaussian_kl(torch.tensor([1e-30]), torch.tensor([-200.0]), prior=(torch.zeros(1), torch.tensor([-200.0])))
    with mpmath.workdps(30):
        truth = mpmath.mpf(float(torch.tensor(1e-30))) ** 2 * mpmath.exp(200) / 2
    assert made.item() == pytest.approx(float(truth), rel=1e-6)


@pytest.mark.usefixtures("way")
def test_up_to_the_last_number_of_float32() -> None:
    log_var = torch.tensor([88.0, 88.8, 89.0, 89.4], requires_grad=True)
    kl = gaussian_kl(torch.zeros(4), log_var)
    truth = [exact(0.0, x) for x in log_var.tolist()]
    (slope,) = torch.autograd.grad(kl, log_var, torch.tensor([1.0, 1.0, 1.0, 1.0]), create_graph=True)
    for i, (value, _, by_log_var) in enumerate(truth):
        assert abs(kl[i].item() - value) <= 1e-6 * value
        assert abs(slope[i].item() - by_log_var) <= 1e-6 * by_log_var


def test_the_slope_of_the_slope_far_out_is_a_number() -> None:
    log_var = torch.tensor([0.3, 89.0, 400.0], requires_grad=True)
    (slope,) = torch.autograd.grad(gaussian_kl(torch.zeros(3), log_var).sum(), log_var, create_graph=True)
    (second,) = torch.autograd.grad(slope.sum(), log_var)
    torch.testing.assert_close(second[:2].double(), 0.5 * log_var[:2].detach().double().exp(), rtol=1e-6, atol=0.0)
    assert torch.isfinite(slope).all()
    assert not torch.isnan(second).any()
