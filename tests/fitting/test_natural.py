"""Natural gradients against closed forms, quadrature, and their own condition of stationarity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate

import dkl
from dkl.families import DiagonalNormal, Erlang, Gamma, MultivariateNormal, Normal
from dkl.fitting.problem import DeclinedError
from dkl.fitting.variational.differentiable import Differentiable
from dkl.fitting.variational.laplace import Frame
from dkl.fitting.variational.natural import Settings, followed, nodes
from dkl.supports import Vectors

NATURAL = "natural gradient"


def covariance(d: int) -> np.ndarray[Any, Any]:
    a = np.random.default_rng(d).standard_normal((d, d + 3))
    return a @ a.T


@pytest.mark.parametrize("d", [1, 2, 5, 40])
def test_one_step_meets_a_normal_target(d: int) -> None:
    rng = np.random.default_rng(0)
    loc, sigma = 10 * rng.standard_normal(d), covariance(d)
    z, weights = nodes(d, 256, rng)
    full = MultivariateNormal(loc, sigma)
    far = Frame(np.zeros(d), np.eye(d))
    found, mean, _ = followed(
        Differentiable(full, NATURAL), far, z, weights, Settings(1, 1e-6, 1.0, diagonal=False), MultivariateNormal
    )
    np.testing.assert_allclose(mean, loc, rtol=1e-8)
    np.testing.assert_allclose(found.distribution._covariance(), sigma, rtol=1e-7, atol=1e-8)
    assert found.details["steps"] == 1
    assert found.details["halved"] == 0
    assert found.converged
    # Independent components have their widths in one step, and their means where they depend on each other in many.
    found, mean, widths = followed(
        Differentiable(full, NATURAL), Frame(loc, np.ones(d)), z, weights,
        Settings(1, 1e-6, 1.0, diagonal=True), DiagonalNormal,
    )  # fmt: skip
    np.testing.assert_allclose(widths**2, 1 / np.diag(np.linalg.inv(sigma)), rtol=1e-8)


def test_smaller_steps_come_to_the_same() -> None:
    target = MultivariateNormal([1.0, 2.0], [[2.0, 0.5], [0.5, 1.0]])
    z, weights = nodes(2, 0, np.random.default_rng(0))
    far = Frame(np.zeros(2), np.eye(2))
    found, mean, _ = followed(
        Differentiable(target, NATURAL), far, z, weights, Settings(500, 1e-10, 0.3, diagonal=False), MultivariateNormal
    )
    assert found.converged
    assert 20 < found.details["steps"] < 120
    np.testing.assert_allclose(mean, [1.0, 2.0], atol=1e-9)
    assert np.diff(found.trace).max() < 1e-14


@pytest.mark.parametrize("family", [DiagonalNormal, MultivariateNormal])
def test_the_same_by_dkl_fit(family: type) -> None:
    loc, sigma = np.arange(20.0), covariance(20)
    fit = dkl.fit(family, MultivariateNormal(loc, sigma), dkl.reverse_kl, method=NATURAL)
    assert fit.converged
    assert fit.method == NATURAL
    variances = 1 / np.diag(np.linalg.inv(sigma)) if family is DiagonalNormal else np.diag(sigma)
    np.testing.assert_allclose(fit.distribution.mean(), loc, atol=1e-6)
    np.testing.assert_allclose(fit.distribution.var(), variances, rtol=1e-7)


def test_the_optima_of_a_mixture_on_a_line() -> None:
    density = dkl.Density(lambda x: 2.0 + torch.logaddexp(-0.5 * (x - 3) ** 2, -0.5 * (x + 3) ** 2))
    fit = dkl.fit(Normal, density, dkl.reverse_kl, method=NATURAL, starts=8)
    places = sorted((float(o.distribution.loc), float(o.distribution.scale)) for o in fit.optima)
    expected = [(-2.984306, 1.023369), (0.0, 2.743769), (2.984306, 1.023369)]
    np.testing.assert_allclose(places, expected, atol=6e-7)
    assert sum(o.basin for o in fit.optima) == pytest.approx(1.0)
    assert fit.normaliser is not None
    true = 2 * math.sqrt(2 * math.pi) * math.exp(2.0)
    assert float(fit.normaliser) == pytest.approx(true, abs=5 * float(fit.normaliser.stderr))
    assert fit.optima[-1].value == pytest.approx(0.840621, abs=0.01)


def test_a_heavy_tail_is_stationary_by_quadrature() -> None:
    density = dkl.Density(lambda x: -torch.log1p((x - 1) ** 2) * 2)
    fit = dkl.fit(Normal, density, dkl.reverse_kl, method=NATURAL)
    m, s = float(fit.distribution.loc), float(fit.distribution.scale)
    assert m == pytest.approx(1.0, abs=1e-9)

    def mean(f: Any) -> float:
        return integrate.quad(lambda z: f(m + s * z) * math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi), -12, 12,
                              epsabs=1e-13)[0]  # fmt: skip

    # E_q[d² log p/dx²] = −1/s².
    second = mean(lambda x: -4 * (1 - (x - 1) ** 2) / (1 + (x - 1) ** 2) ** 2)
    assert second == pytest.approx(-1 / s**2, rel=1e-8)


def test_logistic_regression_is_stationary_under_fresh_samples() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 3))
    y = np.where(rng.random(40) < 0.5, 1.0, -1.0)
    of = torch.tensor((x * y[:, None]).T)
    density = dkl.Density(
        lambda b: torch.nn.functional.logsigmoid(b @ of).sum(-1) - 0.5 * (b**2).sum(-1), support=Vectors(3)
    )
    fit = dkl.fit(MultivariateNormal, density, dkl.reverse_kl, method=NATURAL, samples=4096)
    b = fit.distribution.sample(200_000, rng=1)
    u = 1 / (1 + np.exp(b @ of.numpy()))
    slope = u @ of.numpy().T - b
    stderr = slope.std(axis=0) / math.sqrt(len(b))
    assert (np.abs(slope.mean(axis=0)) < 5 * stderr + 1e-3).all()
    curvature = -(of.numpy() * (u * (1 - u)).mean(axis=0)) @ of.numpy().T - np.eye(3)
    np.testing.assert_allclose(-np.linalg.inv(curvature), fit.distribution._covariance(), rtol=5e-3, atol=5e-4)
    assert fit.normaliser is not None
    assert 0 < float(fit.divergence) < 0.05


def test_steps_are_halved_where_curvature_is_positive() -> None:
    # Two modes seen from between them, by a narrow distribution: there the log-density is convex.
    density = dkl.Density(lambda x: torch.logaddexp(-0.5 * (x - 3) ** 2, -0.5 * (x + 3) ** 2))
    z, weights = nodes(1, 0, np.random.default_rng(0))
    settings = Settings(500, 1e-9, 1.0, diagonal=True)
    found, mean, _ = followed(
        Differentiable(density, NATURAL), Frame(np.array([0.1]), np.array([0.2])), z, weights, settings, Normal
    )
    assert found.converged
    assert found.details["halved"] > 0
    assert "steps were halved, to keep the precision positive" in str(found.said)
    assert min(abs(abs(mean[0]) - 2.984306), abs(mean[0])) < 1e-6
    # The same with a full precision.
    pair = dkl.Density(lambda x: torch.logaddexp(-0.5 * (x[:, 0] - 3) ** 2, -0.5 * (x[:, 0] + 3) ** 2)
                       - 0.5 * x[:, 1] ** 2, support=Vectors(2))  # fmt: skip
    z, weights = nodes(2, 0, np.random.default_rng(0))
    start = Frame(np.array([0.5, 0.0]), 0.5 * np.eye(2))
    found, _, _ = followed(
        Differentiable(pair, NATURAL), start, z, weights, Settings(500, 1e-8, 1.0, diagonal=False), MultivariateNormal
    )
    assert found.converged
    assert found.details["halved"] > 0


def test_nodes_have_the_moments_of_a_standard_normal_distribution() -> None:
    for d, count in ((1, 0), (2, 0), (3, 100), (60, 120)):
        z, weights = nodes(d, count, np.random.default_rng(0))
        assert weights.sum() == pytest.approx(1.0)
        np.testing.assert_allclose(weights @ z, 0.0, atol=1e-12)
        np.testing.assert_allclose((z.T * weights) @ z, np.eye(d), atol=1e-11)
    z, weights = nodes(1, 0, np.random.default_rng(0))
    for power, moment in ((4, 3.0), (6, 15.0), (8, 105.0)):
        assert weights @ z[:, 0] ** power == pytest.approx(moment, rel=1e-10)


def test_the_same_seed_gives_the_same_to_the_last_bit() -> None:
    density = dkl.Density(lambda x: -(x**4).sum(-1), support=Vectors(3))
    one, two = (dkl.fit(DiagonalNormal, density, dkl.reverse_kl, method=NATURAL) for _ in range(2))
    assert (one.distribution.std() == two.distribution.std()).all()
    # E[12·x²] = 1/s² where E[x²] = s²: s = 12^(−¼).
    np.testing.assert_allclose(one.distribution.std(), 12**-0.25, rtol=1e-4)


def test_too_few_steps_are_said_and_progress_is_told() -> None:
    density = dkl.Density(lambda x: -(x**4))
    told: list[tuple[int, int]] = []
    fit = dkl.fit(
        Normal, density, dkl.reverse_kl, method=NATURAL, steps=2, starts=1, progress=lambda *at: told.append(at)
    )
    assert not fit.converged
    assert "after 2 steps the natural gradient is still" in str(fit.reason)
    assert told == [(2, 2)]


def test_what_it_refuses() -> None:
    for name, value, message in (
        ("steps", 0, "steps = 0 must be a whole number of at least 1"),
        ("samples", 1, "samples = 1 must be a whole number of at least 2"),
        ("rtol", 0.0, "rtol = 0.0 must be positive, and at most 1"),
        ("step_size", 1.5, "step_size = 1.5 must be positive, and at most 1"),
    ):
        with pytest.raises(ValueError, match=message):
            dkl.fit(Normal, Normal(0.0, 1.0), dkl.reverse_kl, method=NATURAL, **{name: value})
    with pytest.raises(ValueError, match="has density 0 at x"):
        dkl.fit(Normal, Gamma(3.0, 1.0), dkl.reverse_kl, method=NATURAL)
    wide = MultivariateNormal(np.zeros(129), np.eye(129))
    for family, target, divergence in (
        (Normal, Normal(0.0, 1.0), dkl.kl),
        (Erlang, Gamma(1.0, 1.0), dkl.reverse_kl),
        (MultivariateNormal, wide, dkl.reverse_kl),
        (Normal, dkl.Samples([1.0, 2.0]), dkl.reverse_kl),
    ):
        with pytest.raises(TypeError, match="nothing fits"):
            dkl.fit(family, target, divergence, method=NATURAL)


def test_curvature_against_differences_and_of_a_linear_log_density() -> None:
    density = dkl.Density(lambda x: -(x[:, 0] ** 2) * torch.cosh(x[:, 1]), support=Vectors(2))
    log_p = Differentiable(density, NATURAL)
    x = np.array([[0.3, -0.7], [1.0, 0.5]])
    value, gradient, second = log_p.with_curvature(x)
    np.testing.assert_allclose(value, -(x[:, 0] ** 2) * np.cosh(x[:, 1]))
    np.testing.assert_allclose(log_p.log_prob(x), value)
    for k in range(2):
        step = 1e-6 * np.eye(2)[k]
        slope = (log_p.with_gradient(x + step)[1] - log_p.with_gradient(x - step)[1]) / 2e-6
        np.testing.assert_allclose(second[:, k], slope, rtol=1e-7)
    np.testing.assert_allclose(
        log_p.with_curvature(x, diagonal=True)[2], np.diagonal(second, axis1=1, axis2=2)
    )  # fmt: skip
    np.testing.assert_allclose(gradient[:, 0], -2 * x[:, 0] * np.cosh(x[:, 1]))
    linear = Differentiable(dkl.Density(lambda x: 2.0 * x), NATURAL)
    assert (linear.with_curvature(np.array([[1.0]]))[2] == 0.0).all()


def test_far_from_0_it_ends_where_outcomes_are_rounded() -> None:
    def fitted(m: float, s: float) -> dkl.fitting.Fit:
        target = dkl.Mixture([Normal(m, s), Normal(m + s, 2.0 * s)], [0.5, 0.5])
        return dkl.fit(Normal, target, dkl.reverse_kl, method=NATURAL)

    far, near = fitted(1e8, 1e-3), fitted(0.0, 1.0)
    assert far.converged
    assert far.details["steps"] < 100
    assert abs(float(far.distribution.std()) * 1e3 - float(near.distribution.std())) < 1e-3


def bent(z: Any) -> Any:
    """Normal factors times −3·|z|: the least squares that are called the lasso."""
    return -0.5 * ((z - torch.tensor([0.0, 0.5, 2.0], dtype=z.dtype)) ** 2).sum(-1) - 3.0 * z.abs().sum(-1)


def hinged(z: Any) -> Any:
    return -0.5 * (z**2).sum(-1) - 10.0 * torch.relu(1.0 - z.sum(-1))


def test_bends_which_no_second_derivative_shows_are_met_by_regression() -> None:
    fit = dkl.fit(DiagonalNormal, dkl.Density(bent, support=Vectors(3)), dkl.reverse_kl, starts=1)
    assert fit.method == NATURAL
    for k, at in enumerate((0.0, 0.5, 2.0)):
        line = dkl.Density(lambda x, at=at: -0.5 * (x - at) ** 2 - 3.0 * np.abs(x))
        best = dkl.fit(Normal, line, dkl.reverse_kl, starts=2).distribution
        allowed = 4.0 * fit.details["noise"]
        assert abs(fit.distribution.mean()[k] - best.mean()) < allowed * float(best.std())
        assert abs(math.log(float(fit.distribution.std()[k]) / float(best.std()))) < allowed


def test_a_bend_in_a_slanted_direction_is_seen() -> None:
    fit = dkl.fit(MultivariateNormal, dkl.Density(hinged, support=Vectors(3)), dkl.reverse_kl, starts=1)
    # Along the sum u the target is N(u | 0, 3)·exp(−10·(1 − u)₊), across it a normal one of variance 1.
    line = dkl.Density(lambda u: -(u**2) / 6.0 - 10.0 * np.maximum(1.0 - u, 0.0))
    best = dkl.fit(Normal, line, dkl.reverse_kl, starts=2).distribution
    ones, allowed = np.ones(3), 4.0 * fit.details["noise"]
    assert abs(float(fit.distribution.mean().sum() - best.mean())) < allowed * float(best.std())
    sigma = fit.distribution._covariance()
    assert abs(0.5 * math.log(float(ones @ sigma @ ones) / float(best.var()))) < allowed


def test_bends_leave_second_derivatives_to_others() -> None:
    z, weights = nodes(3, 256, np.random.default_rng(0))
    target = Differentiable(dkl.Density(bent, support=Vectors(3)), NATURAL)
    with pytest.raises(DeclinedError, match=r"needs a log-density without bends, such as that of −\|x\|"):
        followed(target, Frame(np.zeros(3), np.eye(3)), z, weights, Settings(1, 1e-6, 1.0, diagonal=False),
                 MultivariateNormal)  # fmt: skip


def test_smooth_densities_with_heavy_tails_keep_their_second_derivatives() -> None:
    heavy = dkl.Density(lambda z: -3.0 * torch.log1p((z**2).sum(-1)) - torch.nn.functional.softplus(4.0 * z[..., 0]),
                        support=Vectors(3))  # fmt: skip
    fit = dkl.fit(MultivariateNormal, heavy, dkl.reverse_kl, starts=1)
    assert fit.converged
    assert fit.details["nodes"] == 1024


def test_a_target_in_float32_ends_at_its_rounding() -> None:
    x = torch.randn(300, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def posterior(dtype: Any) -> dkl.Density:
        def log_p(z: Any) -> Any:
            s = z.to(dtype) @ x.to(dtype).T
            return (torch.where(x[:, 0] > 0, s, 0.0) - torch.nn.functional.softplus(s)).sum(-1) - 0.5 * (z**2).sum(-1)

        return dkl.Density(log_p, support=Vectors(3))

    rough, fine = (
        dkl.fit(MultivariateNormal, posterior(t), dkl.reverse_kl, starts=1, samples=256, steps=100)
        for t in (torch.float32, torch.float64)
    )
    assert rough.converged
    assert rough.details["residual"] > 1e-10
    np.testing.assert_allclose(rough.distribution.mean(), fine.distribution.mean(), rtol=1e-5)
    np.testing.assert_allclose(rough.distribution.cov(), fine.distribution.cov(), rtol=1e-4, atol=1e-6)
