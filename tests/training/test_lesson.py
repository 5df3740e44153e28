"""The worked examples of the founding lesson, with the figures that it prints."""

from __future__ import annotations

import pytest
import torch

from dkl.training import policy_kl, vae_loss


def test_the_autoencoder():
    torch.manual_seed(42)
    mu, log_var = 0.5 * torch.randn(1, 8), 0.5 * torch.randn(1, 8)
    x, logits = torch.rand(1, 64), torch.randn(1, 64)
    loss = vae_loss(x, torch.sigmoid(logits), mu, log_var)
    assert float(loss.reconstruction) == pytest.approx(51.7379, abs=5e-5)
    assert float(loss.kl) == pytest.approx(1.28851, abs=5e-6)
    assert float(loss.total) == pytest.approx(51.7379 + 1.28851, abs=1e-4)


def test_the_policy():
    torch.manual_seed(0)
    old = torch.randn(8, 4)
    new = old + 0.1 * torch.randn(8, 4)
    log_p, log_q = (x.double().log_softmax(-1) for x in (old, new))
    exact = float((log_p.exp() * (log_p - log_q)).sum(-1).mean())
    # The lesson's figure is the plain sum in float32, which is 1.4e-8 off.
    assert exact == pytest.approx(0.00501704, abs=2e-8)
    assert float(policy_kl(old, new)) == pytest.approx(exact, rel=1e-6)
