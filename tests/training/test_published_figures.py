"""Figures and rules that others have published, and what holds of every loss: 0 and no gradient for equal models."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import ndtri

import dkl
from dkl.families import Normal
from dkl.training import (
    AdaptiveKL,
    TargetKL,
    distillation_loss,
    fused_linear_divergence,
    gan_value,
    gaussian_kl,
    generalized_jsd,
    kl_estimate,
    kl_loss,
    policy_kl,
    ppo_kl_loss,
)


@pytest.mark.parametrize(
    ("mean", "spread", "bias"),
    [
        (0.1, {"k1": 20.0, "k2": 1.418, "k3": 1.417}, 0.0025),
        (1.0, {"k1": 2.0, "k2": 1.732, "k3": 1.695}, 0.25),
    ],
)
def test_schulmans_table(mean: float, spread: dict[str, float], bias: float) -> None:
    """http://joschu.net/blog/kl-approx.html: q = N(0, 1), p = N(mean, 1), by the quantiles of q in place of samples."""
    n = 1_000_000
    x = torch.from_numpy(ndtri((np.arange(n) + 0.5) / n))
    log_q, log_p = -0.5 * x**2, -0.5 * (x - mean) ** 2
    kl = 0.5 * mean**2
    for estimator, of_kl in spread.items():
        made = kl_estimate(log_q, log_p, estimator)
        assert float(made.stderr) * math.sqrt(n) / kl == pytest.approx(of_kl, rel=2e-3)
        assert float(made.value) / kl - 1 == pytest.approx(bias if estimator == "k2" else 0.0, abs=1e-4)


def test_the_game_of_two_normal_distributions() -> None:
    p, q = Normal(0.0, 1.0), Normal(1.0, 1.0)
    assert float(dkl.js(p, q)) == pytest.approx(0.111421, abs=5e-7)
    assert float(gan_value(p, q)) == pytest.approx(-1.163451, abs=1e-6)


@pytest.mark.parametrize("seed", [0, 1])
def test_controllers_follow_their_papers_for_a_thousand_updates(seed: int) -> None:
    kls = np.exp(np.random.default_rng(seed).normal(0.0, 3.0, 1000)) * 0.02
    low, high = 1e-6, 1e6
    ppo = AdaptiveKL(0.02, beta=1.0, unit="state", bounds=(low, high))
    ziegler = AdaptiveKL(0.02, beta=1.0, unit="sequence", rule="ziegler", gain=1.0, horizon=100.0, bounds=(low, high))
    pi = TargetKL(0.02, proportional=0.01, integral=1e-4, bounds=(0.0, 1.0))
    of_ppo = of_ziegler = 1.0
    integral = 0.0
    for kl in kls.tolist():
        of_ppo = min(max(of_ppo * (2.0 if kl > 1.5 * 0.02 else 0.5 if kl < 0.02 / 1.5 else 1.0), low), high)
        of_ziegler = min(max(of_ziegler * (1 + min(max(kl / 0.02 - 1, -0.2), 0.2) * 8 / 100), low), high)
        assert ppo.update(kl, unit="state") == of_ppo
        assert ziegler.update(kl, unit="sequence", n=8) == pytest.approx(of_ziegler, rel=1e-12)
        error = 0.02 - kl
        proportional = 0.01 / (1 + math.exp(error))
        if 0.0 < proportional + integral - 1e-4 * error < 1.0:  # unsaturated, where nothing is held back
            integral -= 1e-4 * error
            assert pi.update(kl) == pytest.approx(proportional + integral, rel=1e-12)
        else:
            assert pi.update(kl) in (0.0, 1.0)
            integral = pi.integral_part


_LOGITS = [[0.3, -1.0, 2.0], [0.0, 0.0, 0.0], [1.0, -math.inf, 1.0], [80.0, -80.0, 0.0]]


def log_probs(logits: torch.Tensor) -> torch.Tensor:
    return logits.log_softmax(-1)[:, 0]


def _equal(dtype: torch.dtype) -> dict[str, Callable[[torch.Tensor, torch.Tensor], Any]]:
    weight = torch.arange(12.0, dtype=dtype).reshape(4, 3) / 7
    members = [dkl.kl, dkl.reverse_kl, dkl.js, dkl.tv, dkl.jeffreys, dkl.SkewKL(0.3), dkl.Renyi(0.5), dkl.chi2]
    losses: dict[str, Callable[[torch.Tensor, torch.Tensor], Any]] = {
        "policy_kl": lambda a, b: policy_kl(a, b),
        "ppo_kl_loss": lambda a, b: (
            ppo_kl_loss(a.detach(), b, torch.zeros(4, dtype=torch.long), torch.zeros(4, dtype=dtype), 1.0).loss
        ),
        "gaussian_kl": lambda a, b: gaussian_kl(a[:, 0], a[:, 2], prior=(b[:, 0], b[:, 2])).sum(),
        "kl_estimate": lambda a, b: kl_estimate(log_probs(a), log_probs(b), "k3").value,
        "kl_loss": lambda a, b: kl_loss(log_probs(a), log_probs(b).detach(), "k2", on_policy=True),
        "fused_linear_divergence": lambda a, b: fused_linear_divergence(
            a.nan_to_num(neginf=-1.0), weight, b.nan_to_num(neginf=-1.0), weight
        ),
        "generalized_jsd": lambda a, b: distillation_loss(a, b, generalized_jsd(0.3)),
    }
    return losses | {f"distillation {d.name}": lambda a, b, d=d: distillation_loss(a, b, d) for d in members}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", list(_equal(torch.float32)))
def test_equal_models_cost_nothing_and_have_no_gradient(name: str, dtype: torch.dtype) -> None:
    one = torch.tensor(_LOGITS, dtype=dtype, requires_grad=True)
    other = one.detach().clone().requires_grad_()
    loss = _equal(dtype)[name](one, other)
    assert float(loss.detach()) == 0.0
    if loss.requires_grad:
        for gradient in torch.autograd.grad(loss, (one, other), allow_unused=True):
            assert gradient is None or not gradient.any()
