"""Bounds from importance weights: limits, the definition in high precision, and their gradients."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import pytest
import torch

from dkl.training import iwae_bound, renyi_bound

ORDERS = (-math.inf, -50.0, -1.0, 0.0, 0.5, 1 - 1e-9, 1.0, 1 + 1e-7, 1.5, 3.0, math.inf)


def weights(rows: int = 4, samples: int = 7, spread: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return (spread * torch.randn(rows, samples, dtype=torch.float64, generator=generator) - 80.0).requires_grad_()


def exact(row: list[float], alpha: float) -> tuple[Any, list[Any]]:
    """The bound and its gradient: each weight's share of Σ w^(1−α)."""
    with mpmath.workdps(60):
        logs = [mpmath.mpf(x) for x in row]
        power = 1 - mpmath.mpf(alpha)
        if power == 0:
            return sum(logs) / len(logs), [mpmath.mpf(1) / len(logs)] * len(logs)
        if mpmath.isinf(power):
            best = (max if power > 0 else min)(logs)
            return best, [mpmath.mpf(x == best) for x in logs]
        terms = [mpmath.exp(power * x) for x in logs]
        return mpmath.log(sum(terms) / len(terms)) / power, [t / sum(terms) for t in terms]


@pytest.mark.parametrize("spread", [3.0, 1e-3])
@pytest.mark.parametrize("alpha", ORDERS)
def test_values_and_gradients_are_the_definition(alpha: float, spread: float) -> None:
    log_w = weights(spread=spread)
    bound = renyi_bound(log_w, alpha, reduction="none")
    (slopes,) = torch.autograd.grad(bound.sum(), log_w)
    for row, value, slope in zip(log_w.tolist(), bound.tolist(), slopes.tolist(), strict=True):
        truth, shares = exact(row, alpha)
        assert abs(value - truth) <= 1e-14 * abs(truth)
        for got, share in zip(slope, shares, strict=True):
            assert abs(got - share) <= 1e-12


def test_it_falls_in_alpha_between_the_limits() -> None:
    bounds = [float(renyi_bound(weights(), alpha).detach()) for alpha in ORDERS]
    assert bounds == sorted(bounds, reverse=True)
    log_w = weights().detach()
    assert bounds[0] == float(log_w.amax(-1).mean())
    assert bounds[ORDERS.index(1.0)] == float(log_w.mean())
    assert float(iwae_bound(log_w)) == bounds[ORDERS.index(0.0)]


def test_the_importance_weighted_bound_tightens() -> None:
    # log p(x) of x ~ N(0, 2), z ~ N(0, 1), x|z ~ N(z, 1), by samples from a wrong posterior.
    generator = torch.Generator().manual_seed(1)
    x, rows = 1.5, 20_000
    z = 0.3 + torch.randn(rows, 50, dtype=torch.float64, generator=generator)

    def log_normal(y: torch.Tensor, mean: Any, var: float) -> torch.Tensor:
        return -0.5 * ((y - mean) ** 2 / var + math.log(2 * math.pi * var))

    log_w = log_normal(x - z, 0.0, 1.0) + log_normal(z, 0.0, 1.0) - log_normal(z, 0.3, 1.0)
    truth = -0.5 * (x**2 / 2 + math.log(4 * math.pi))
    means, errors = [], []
    for k in (1, 5, 50):
        each = iwae_bound(log_w[:, :k], reduction="none")
        means.append(float(each.mean()))
        errors.append(float(each.std()) / math.sqrt(rows))
    assert means[0] < means[1] < means[2] < truth + 4 * errors[2]
    # Exactly, the ELBO is log p(x) less KL(q ‖ posterior N(x/2, 1/2)).
    gap = 0.5 * (2.0 - 1.0 - math.log(2.0)) + (0.3 - x / 2) ** 2
    assert means[0] == pytest.approx(truth - gap, abs=4 * errors[0])


def test_weights_of_zero_masks_and_half_precision() -> None:
    log_w = torch.tensor([[0.0, -math.inf], [-math.inf, -math.inf], [math.nan, math.inf]], requires_grad=True)
    mask = torch.tensor([True, True, False])
    bound = iwae_bound(log_w, mask=mask, reduction="none")
    assert bound.tolist() == [pytest.approx(-math.log(2)), -math.inf, 0.0]
    (slope,) = torch.autograd.grad(bound[0], log_w)
    assert slope.tolist() == [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    assert iwae_bound(torch.full((2, 3), -7e4, dtype=torch.bfloat16)).dtype == torch.float32
    assert renyi_bound(log_w[:2], 1.0, reduction="none").tolist() == [-math.inf, -math.inf]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: renyi_bound(torch.zeros(2, 3), math.nan), ValueError, "alpha = nan"),
        (lambda: iwae_bound(torch.zeros(2, 0)), ValueError, "at least one"),
        (lambda: iwae_bound(torch.tensor(1.0)), ValueError, "its last axis holds the samples"),
        (lambda: iwae_bound(torch.zeros(2, 3).int()), TypeError, "floating-point"),
        (lambda: iwae_bound(torch.tensor([[0.0, math.inf]])), ValueError, "log_w[0, 1] = inf"),
        (lambda: iwae_bound(torch.tensor([[math.nan]])), ValueError, "log_w[0, 0] = nan"),
        (lambda: iwae_bound(torch.zeros(2, 3), mask=torch.ones(3)), ValueError, "one number for each row"),
    ],
)
def test_errors_name_what_is_wrong(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)


@pytest.mark.parametrize(("alpha", "value"), [(1e40, 1.0), (-1e40, 6.0), (1e38, 1.0), (-1e38, 6.0), (1e300, 1.0)])
def test_a_huge_order_is_an_infinite_one(alpha: float, value: float) -> None:
    log_w = torch.tensor([[1.0, 2.0, 6.0]], requires_grad=True)
    bound = renyi_bound(log_w, alpha)
    assert bound.item() == value
    assert torch.autograd.grad(bound, log_w)[0].tolist() == [[float(x == value) for x in (1.0, 2.0, 6.0)]]


@pytest.mark.parametrize("alpha", [1.5, 2.0, 1e40, math.inf])
def test_a_weight_of_zero_has_all_the_slope_of_a_bound_of_orders_above_1(alpha: float) -> None:
    log_w = torch.tensor([[-math.inf, 1.0, 2.0], [1.0, 1.0, 1.0]], requires_grad=True)
    bound = renyi_bound(log_w, alpha, reduction="none")
    assert bound.tolist() == [-math.inf, 1.0]
    (slope,) = torch.autograd.grad(bound.sum(), log_w)
    torch.testing.assert_close(slope, torch.tensor([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]))
