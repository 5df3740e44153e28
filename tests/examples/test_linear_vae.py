"""A linear autoencoder, trained for a few seconds, against its theory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from examples.linear_vae import Settings, data, main, run


@pytest.mark.parametrize(("beta", "kl", "active"), [(1.0, 1.4712, 3), (8.0, 0.0, 0)])
def test_it_reaches_the_theory(beta: float, kl: float, active: int, tmp_path: Path) -> None:
    settings = replace(Settings(), beta=beta, rows=128, steps=700, learning_rate=0.05, every=100)
    summary = run(settings, tmp_path / "run")
    assert summary["predicted_kl"] == pytest.approx(kl, abs=5e-5)
    assert summary["kl_loss"] == pytest.approx(kl, abs=0.03)  # of the whole run, 0.01
    assert summary["active_units"] == summary["predicted_active_units"] == active
    # Directions part more slowly than their number and sum settle.
    assert summary["kl_per_dim"] == pytest.approx(summary["predicted_kl_per_dim"], abs=0.2)
    assert all(kl < 0.01 for kl in summary["kl_per_dim"][active:])


def test_the_data_have_exactly_their_covariance() -> None:
    x, covariance = data(Settings(), torch.Generator().manual_seed(0))
    expected = torch.tensor([0.25, 0.5, 1.0, 2.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close(torch.linalg.eigvalsh(covariance), expected)
    torch.testing.assert_close(x.mean(0), torch.zeros(5), atol=1e-6, rtol=0.0)


def test_the_command_draws(tmp_path: Path) -> None:
    made = CliRunner().invoke(main, ["--out", str(tmp_path), "--steps", "5", "--beta", "2"])
    assert made.exit_code == 0, made.output
    assert "β = 2: KL" in made.output
    assert "NOT within" in made.output  # five steps are not enough, and it does not pretend
    assert (tmp_path / "linear_vae.png").read_bytes().startswith(b"\x89PNG")
