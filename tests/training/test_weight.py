"""The weight of a KL term: what it may be, what it is refused as, and that a KL of weight 0 costs nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import dkl
from dkl.training import AdaptiveKL, Capacity, LinearWarmup, active_units, distillation_loss, policy_kl, vae_loss
from dkl.training.weight import kl_weight, weighted

X, MU = torch.zeros(4, 3), torch.zeros(4, 2)


@pytest.mark.parametrize(
    ("beta", "kind", "message"),
    [
        (-1.0, ValueError, "beta = -1.0 must be at least 0 and finite"),
        (math.inf, ValueError, "beta = inf must be at least 0"),
        (torch.tensor(-1.0), ValueError, "beta = -1 must be at least 0"),
        (torch.tensor(math.nan), ValueError, "beta = nan must be at least 0"),
        (torch.ones(4, 1), ValueError, r"beta has shape \(4, 1\): it is one weight for all rows"),
        (LinearWarmup(10), TypeError, r"beta=schedule\(step\)"),
        (Capacity(10, 1.0), TypeError, r"schedule.penalty\(kl, step\)"),
        (AdaptiveKL(0.1, unit="token"), TypeError, "beta=controller.beta"),
    ],
)
def test_what_is_no_weight(beta: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        kl_weight(beta)


def test_a_tensor_of_one_number_is_a_weight() -> None:
    assert kl_weight(torch.tensor([2.0])).shape == ()
    beta = torch.tensor(0.5, requires_grad=True)
    loss = vae_loss(X, X, MU + 1.0, MU, beta=beta, likelihood="gaussian")
    (slope,) = torch.autograd.grad(loss.total, beta)
    assert float(slope) == pytest.approx(1.0)


@pytest.mark.parametrize("zero", [0.0, torch.tensor(0.0)])
def test_an_infinite_kl_of_weight_0_costs_nothing(zero: Any) -> None:
    assert float(weighted(zero, torch.tensor(math.inf))) == 0.0


def test_a_prior_does_not_multiply_the_rows() -> None:
    prior = torch.distributions.Normal(torch.zeros(7, 4, 2), 1.0)
    with pytest.raises(ValueError, match=r"the prior is a batch of shape \(7, 4, 2\), which does not broadcast"):
        vae_loss(X, X, MU, MU, prior=prior, likelihood="gaussian")


def test_no_rows_have_no_active_units() -> None:
    with pytest.raises(ValueError, match=r"mu of shape \(0, 3\) has no rows"):
        active_units(torch.zeros(0, 3))


def test_a_temperature_whose_square_overflows() -> None:
    logits = torch.tensor([[1.0, 2.0, -1.0]])
    assert float(distillation_loss(logits, logits.clone(), temperature=1e30)) == 0.0


def test_labels_of_any_integer_dtype() -> None:
    logits, labels = torch.tensor([[1.0, 2.0, -1.0]]), torch.tensor([1])
    wanted = distillation_loss(logits, -logits, labels=labels)
    assert distillation_loss(logits, -logits, labels=labels.int()) == wanted


def test_policies_of_numbers() -> None:
    value = policy_kl(dkl.families.Normal(0.0, 1.0), dkl.families.Normal(1.0, 1.0))
    assert isinstance(value, torch.Tensor)
    assert float(value) == 0.5
