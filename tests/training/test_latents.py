"""What latent variables hold: theory of the linear autoencoder, and information against quadrature and enumeration."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, optimize, stats

from dkl.training import (
    active_units,
    aggregate_posterior_kl,
    gaussian_kl,
    mutual_information,
    predicted_active_dims,
)


def test_active_units_count_variances_over_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    mu = torch.randn(200, 4, generator=generator) * torch.tensor([1.0, 0.11, 0.05, 0.0]) + 100.0
    assert int(active_units(mu)) == int((mu.double().var(0, correction=0) > 0.01).sum())
    assert int(active_units(mu, threshold=0.5)) == 1
    assert int(active_units(mu[:1])) == 0
    hidden = torch.cat([mu, torch.full((3, 4), torch.nan)])
    mask = torch.arange(203) < 200
    assert int(active_units(hidden, mask=mask)) == int(active_units(mu))


@pytest.mark.parametrize(("beta", "kl", "active"), [(1, 1.4712, 3), (2, 0.6343, 2), (8, 0.0, 0)])
def test_predictions_of_the_linear_autoencoder(beta: float, kl: float, active: int) -> None:
    predicted = predicted_active_dims(np.diag([0.5, 4, 1, 2, 0.25]), beta, 0.75)
    assert predicted.kl == pytest.approx(kl, abs=5e-5)
    assert predicted.active_units == active
    assert predicted.eigenvalues.tolist() == [4, 2, 1, 0.5, 0.25]
    assert predicted.active.sum() == active
    assert float(predicted.kl_per_dim.sum()) == predicted.kl


@pytest.mark.parametrize(("eigenvalue", "beta"), [(4.0, 1.0), (4.0, 2.0), (1.0, 1.2), (1.0, 2.0)])
def test_predictions_are_the_optimum(eigenvalue: float, beta: float) -> None:
    # In one direction: decoder w, encoder mean v·x, variance t; the mean loss in closed form, minimised numerically.
    noise = 0.75

    def loss(parameters: Any) -> float:
        w, v, log_t = parameters
        error = eigenvalue * (1 - w * v) ** 2 + w**2 * math.exp(log_t)
        return error / (2 * noise) + beta * 0.5 * (v**2 * eigenvalue + math.exp(log_t) - 1 - log_t)

    best = min(
        (optimize.minimize(loss, start, tol=1e-12) for start in ([1, 1, 0], [0.1, 0.1, -1])), key=lambda r: r.fun
    )
    _, v, log_t = best.x
    kl = 0.5 * (v**2 * eigenvalue + math.exp(log_t) - 1 - log_t)
    assert kl == pytest.approx(predicted_active_dims([[eigenvalue]], beta, noise).kl, abs=1e-5)


def test_predictions_of_few_latent_dimensions_and_turned_data() -> None:
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turned = torch.tensor(turn * [4.0, 2.0, 1.0] @ turn.T)
    one = predicted_active_dims(turned, 1.0, 0.75, latent_dims=1)
    assert one.kl == pytest.approx(0.5 * math.log(4 / 0.75), rel=1e-12)
    assert predicted_active_dims(turned, 1.0, 0.75, latent_dims=9).eigenvalues.shape == (3,)


MU = torch.tensor([[-1.0], [0.2], [3.0]])
LOG_VAR = torch.tensor([[-1.0], [0.5], [-2.0]])


def by_quadrature() -> tuple[float, float]:
    """Mutual information, and KL of the aggregate from N(0, 1)."""
    laws = [stats.norm(m, math.exp(v / 2)) for m, v in zip(MU[:, 0].tolist(), LOG_VAR[:, 0].tolist(), strict=True)]

    def aggregate(z: float) -> float:
        return float(np.mean([law.pdf(z) for law in laws]))

    def term(z: float, law: Any) -> float:
        p = law.pdf(z)
        return p * math.log(p / aggregate(z)) if p > 0 else 0.0

    grid = [-12, -3, 0, 2.5, 3.5, 12]
    information = np.mean([integrate.quad(term, -12, 12, args=(law,), points=grid[1:-1])[0] for law in laws])
    divergence, _ = integrate.quad(
        lambda z: aggregate(z) * (math.log(aggregate(z)) - stats.norm.logpdf(z)), -12, 12, points=grid[1:-1]
    )
    return float(information), divergence


def test_information_and_aggregate_against_quadrature() -> None:
    information, divergence = by_quadrature()
    found = mutual_information(MU, LOG_VAR, samples=4000, generator=torch.Generator().manual_seed(0))
    aggregate = aggregate_posterior_kl(MU, LOG_VAR, samples=4000, generator=torch.Generator().manual_seed(0))
    assert 0 < found.stderr < 0.02
    assert abs(found.value - information) < 4 * found.stderr
    assert abs(aggregate.value - divergence) < 4 * aggregate.stderr
    mean_kl = float(gaussian_kl(MU.double(), LOG_VAR.double()).mean())
    assert found.value + aggregate.value == pytest.approx(mean_kl, rel=1e-14)
    assert information + divergence == pytest.approx(mean_kl, rel=1e-7)


def test_the_standard_error_is_the_spread_of_repetitions() -> None:
    generator = torch.Generator().manual_seed(3)
    runs = [mutual_information(MU, LOG_VAR, samples=30, generator=generator) for _ in range(200)]
    spread = np.std([run.value for run in runs], ddof=1)
    # 200 repetitions know a spread to 5 %.
    assert spread == pytest.approx(np.mean([run.stderr for run in runs]), rel=0.2)
    single = [mutual_information(MU, LOG_VAR, samples=1, generator=generator).stderr for _ in range(50)]
    assert np.mean(single) > 0.5 * spread * math.sqrt(30)


def test_limits_of_information() -> None:
    far = 100.0 * torch.arange(8.0)[:, None]
    apart = mutual_information(far, torch.zeros(8, 1), samples=2, generator=torch.Generator().manual_seed(0))
    assert apart.value == pytest.approx(math.log(8), rel=1e-12)
    alike = mutual_information(torch.ones(8, 3), torch.zeros(8, 3), generator=torch.Generator().manual_seed(0))
    assert (alike.value, alike.stderr) == (0.0, 0.0)
    prior = (torch.ones(3), torch.zeros(3))
    assert aggregate_posterior_kl(torch.ones(8, 3), torch.zeros(8, 3), prior=prior).value == 0.0


@pytest.mark.parametrize("level", [-3e38, -2000.0, -720.0, 720.0, 3e38])
def test_information_where_the_variance_leaves_the_floating_range(level: float) -> None:
    mu, log_var = torch.randn(8, 3, generator=torch.Generator().manual_seed(5)), torch.full((8, 3), level)
    for z in (None, mu):
        found = mutual_information(mu, log_var, z)
        # Rows without width are told apart, rows of any width are not.
        assert found.value.item() == pytest.approx(math.log(8) if level < 0 else 0.0, rel=1e-14)
        assert found.stderr < 1e-15
        assert not aggregate_posterior_kl(mu, log_var, z).value.isnan()


def test_information_of_rows_whose_widths_lie_far_apart() -> None:
    # The rows' widths alone tell them apart: multiplied by one number, they tell as much.
    widths, mu = torch.tensor([[-1.0], [0.5], [-2.0], [3.0]], dtype=torch.float64), torch.zeros(4, 1)
    near, far = (
        mutual_information(mu, widths + level, generator=torch.Generator().manual_seed(6)) for level in (0.0, -2000.0)
    )
    assert 0.1 < near.value < math.log(4)
    torch.testing.assert_close(far, near, rtol=1e-11, atol=0)
    for mu in (torch.zeros(3, 3), torch.tensor([[-10.0], [0.0], [10.0]]).expand(3, 3)):
        for most in (3000.0, 1e308):
            log_var = torch.tensor([[-most], [0.0], [most]], dtype=torch.float64).expand(3, 3)
            mixed = mutual_information(mu, log_var, samples=40)
            assert mixed.value.item() == pytest.approx(math.log(3), rel=1e-14)


def test_information_of_samples_drawn_is_that_of_the_same_samples_given() -> None:
    noise = torch.randn((8, 3, 1), dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    z = MU.double() + torch.exp(0.5 * LOG_VAR.double()) * noise
    drawn = mutual_information(MU, LOG_VAR, generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(mutual_information(MU, LOG_VAR, z), drawn, rtol=1e-12, atol=0)


def test_given_samples_are_used_in_pieces_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    z = torch.randn(5, 3, 1, generator=torch.Generator().manual_seed(4))
    whole = mutual_information(MU, LOG_VAR, z)
    monkeypatch.setattr("dkl.training.latents._HELD", 1)
    torch.testing.assert_close(mutual_information(MU, LOG_VAR, z), whole, rtol=1e-14, atol=0)
    assert mutual_information(MU, LOG_VAR, z[0]).value >= 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: active_units(torch.tensor(1.0)), "its first axis holds the rows"),
        (lambda: active_units(MU, threshold=-1.0), "threshold = -1.0 is no variance"),
        (lambda: mutual_information(MU[0], LOG_VAR[0]), "both hold (rows, dimensions)"),
        (lambda: mutual_information(MU, LOG_VAR * math.nan), "log_var[0, 0] = nan must be finite"),
        (lambda: aggregate_posterior_kl(MU / 0, LOG_VAR), "mu[0, 0] = -inf must be finite"),
        (lambda: mutual_information(MU, LOG_VAR, MU * torch.tensor([[1], [1], [math.inf]])), "z[2, 0] = inf must be"),
        (
            lambda: mutual_information(MU, LOG_VAR - 800, MU.double() + 1.0),
            "z[0] lies more than 1e150 standard deviations from its own row's mean",
        ),
        (lambda: mutual_information(MU, LOG_VAR, MU[:2]), "z has shape (2, 1)"),
        (lambda: mutual_information(MU, LOG_VAR, samples=0), "samples = 0 must be at least 1"),
        (lambda: predicted_active_dims([1.0, 2.0], 1.0, 1.0), "it is a square matrix"),
        (lambda: predicted_active_dims([[1.0, 2.0], [0.0, 1.0]], 1.0, 1.0), "not a symmetric matrix"),
        (lambda: predicted_active_dims([[1.0, 2.0], [2.0, 1.0]], 1.0, 1.0), "has the eigenvalue -1"),
        (lambda: predicted_active_dims([[1.0]], 0.0, 1.0), "beta = 0.0 must be positive"),
        (lambda: predicted_active_dims([[1.0]], 1.0, -1.0), "noise_variance = -1.0 must be positive"),
        (lambda: predicted_active_dims([[1.0]], 1.0, 1.0, latent_dims=0), "latent_dims = 0 must be at least 1"),
    ],
)
def test_errors_name_what_is_wrong(call: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the message is compared below
        call()
    assert message in str(caught.value)
