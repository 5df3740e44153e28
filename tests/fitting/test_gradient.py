"""Stochastic variational inference against closed forms, published optima, and its own reported errors."""

from __future__ import annotations

import builtins
import math
import sys
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

import dkl
from dkl.families import DiagonalNormal, Gamma, LowRankNormal, MultivariateNormal, Normal
from dkl.fitting import Product, Sites
from dkl.fitting.variational.differentiable import Differentiable
from dkl.fitting.variational.gradient import End, Settings, distinct, followed, shares_of, slope_of
from dkl.fitting.variational.importance import weighed
from dkl.fitting.variational.laplace import Frame, frames
from dkl.fitting.variational.shapes import LowRank, Shape, shape_of
from dkl.supports import Vectors
from dkl.training import renyi_bound

VI = "stochastic gradient"
TILTED = MultivariateNormal([0.0, 0.0], [[1.0, 0.9], [0.9, 1.0]])


def scaled(d: int, seed: int = 1) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A mean and a covariance with standard deviations from 1/20 to 20."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((d, 2 * d)) / math.sqrt(2 * d)
    s = np.exp(rng.uniform(-3, 3, d))
    return 5 * rng.standard_normal(d), (a @ a.T + 0.05 * np.eye(d)) * s[:, None] * s


def within(found: Any, true: Any, stderr: Any, floor: float) -> None:
    """Errors agree with what is reported of them: their mean square, and none beyond six."""
    error = np.abs(np.asarray(found) - true) / (stderr + floor)
    assert math.sqrt(np.mean(error**2)) < 2.0
    assert error.max() < 6.0


def test_mean_field_in_a_hundred_dimensions() -> None:
    loc, covariance = scaled(100)
    fit = dkl.fit(DiagonalNormal, MultivariateNormal(loc, covariance), dkl.reverse_kl, method=VI)
    sd = 1 / np.sqrt(np.diag(np.linalg.inv(covariance)))
    assert fit.converged
    assert len(fit.optima) == 1
    within(fit.distribution.mean(), loc, fit.details["loc_stderr"], 1e-4 * sd)
    within(fit.distribution.std(), sd, fit.details["scale_stderr"], 1e-3 * sd)
    least = float(dkl.reverse_kl(MultivariateNormal(loc, covariance), DiagonalNormal(loc, sd)))
    # To second order it lies above by the squared errors of 100 logarithms of widths.
    noise = np.sum((fit.details["scale_stderr"] / sd) ** 2)
    assert least < float(fit.divergence) < least + 3 * noise + 1e-3


def test_full_rank_in_a_hundred_dimensions() -> None:
    loc, covariance = scaled(100)
    fit = dkl.fit(MultivariateNormal, MultivariateNormal(loc, covariance), dkl.reverse_kl, method=VI)
    sd = np.sqrt(np.diag(covariance))
    assert fit.converged
    within(fit.distribution.mean(), loc, fit.details["loc_stderr"], 1e-4 * sd)
    within(fit.distribution.std(), sd, fit.details["scale_stderr"], 1e-3 * sd)
    assert 0 <= float(fit.divergence) < 0.02


@pytest.mark.parametrize(("alpha", "variance"), [(-1.0, 0.132521), (0.0, 0.19), (0.5, 0.43589)])
def test_mean_field_of_a_correlated_pair(alpha: float, variance: float) -> None:
    fit = dkl.fit(DiagonalNormal, TILTED, dkl.Alpha(alpha), method=VI, samples=256, steps=4000)
    sd = fit.distribution.std()
    # The bound of K samples has its optimum of order 1/K from that of infinitely many.
    bias = 0.0 if alpha == 0 else 4 / 256
    np.testing.assert_array_less(np.abs(sd - math.sqrt(variance)), 5 * fit.details["scale_stderr"] + bias * sd)
    np.testing.assert_array_less(np.abs(fit.distribution.mean()), 5 * fit.details["loc_stderr"] + 1e-3)
    assert (
        float(fit.divergence)
        >= float(dkl.measure(TILTED, DiagonalNormal([0.0, 0.0], variance=[variance] * 2), dkl.Alpha(alpha)).value)
        - 1e-6
    )


def test_a_mixture_has_both_modes_as_optima() -> None:
    target = dkl.Mixture(Normal([-3.0, 3.0], [1.0, 1.0]), [0.5, 0.5])
    fit = dkl.fit(Normal, target, dkl.reverse_kl, method=VI, steps=2000)
    assert sorted(round(float(o.distribution.loc)) for o in fit.optima) == [-3, 3]
    assert sum(o.basin for o in fit.optima) == pytest.approx(1.0)
    for optimum in fit.optima:
        assert abs(float(optimum.distribution.loc)) == pytest.approx(2.984306, abs=0.03)
        assert float(optimum.distribution.scale) == pytest.approx(1.023369, abs=0.03)
        assert optimum.value == pytest.approx(0.688769, abs=1e-3)
    assert fit.normaliser is None
    assert fit.details["elbo"] == pytest.approx(-0.688769, abs=6 * fit.details["elbo_stderr"] + 1e-3)


def test_an_unnormalised_density_and_its_integral() -> None:
    density = dkl.Density(lambda x: 2.0 + torch.logaddexp(-0.5 * (x - 3) ** 2, -0.5 * (x + 3) ** 2))
    fit = dkl.fit(Normal, density, dkl.reverse_kl, method=VI, starts=8, steps=2000)
    # From 0, and from both sides: two modes and what covers both.
    assert len(fit.optima) == 3
    assert abs(float(fit.distribution.loc)) == pytest.approx(2.984306, abs=0.03)
    assert fit.normaliser is not None
    true = 2 * math.sqrt(2 * math.pi) * math.exp(2.0)
    assert float(fit.normaliser) == pytest.approx(true, abs=5 * float(fit.normaliser.stderr))
    assert float(fit.divergence) == pytest.approx(0.688769, abs=5 * float(fit.divergence.stderr) + 1e-3)
    assert "divided by its integral" in str(fit.divergence.reason)
    assert fit.details["log_normaliser"] == pytest.approx(math.log(true), abs=5 * fit.details["log_normaliser_stderr"])


def test_low_rank_finds_a_target_of_its_rank() -> None:
    rng = np.random.default_rng(2)
    target = LowRankNormal(np.arange(8.0), rng.standard_normal((8, 2)), np.exp(rng.standard_normal(8)))
    fit = dkl.fit(LowRankNormal, target, dkl.reverse_kl, method=VI, rank=2)
    assert fit.converged
    assert fit.distribution.factor.shape == (8, 2)
    assert float(fit.divergence) < 1e-4
    within(fit.distribution.std(), target.std(), fit.details["scale_stderr"], 1e-3 * target.std())


def test_targets_of_torch() -> None:
    own = torch.distributions.MultivariateNormal(torch.tensor([1.0, 2.0]), torch.tensor([[2.0, 0.5], [0.5, 1.0]]))
    fit = dkl.fit(MultivariateNormal, own, dkl.reverse_kl, method=VI, steps=1000)
    np.testing.assert_allclose(fit.distribution.mean(), [1.0, 2.0], atol=1e-3)
    tuned = torch.tensor([0.5, -0.5], dtype=torch.float64, requires_grad=True)
    parts = MultivariateNormal(torch.stack([tuned, tuned]), torch.stack([torch.eye(2, dtype=torch.float64)] * 2))
    fit = dkl.fit(DiagonalNormal, dkl.Mixture(parts, torch.tensor([0.5, 0.5])), dkl.reverse_kl, method=VI, steps=1000)
    np.testing.assert_allclose(fit.distribution.mean(), [0.5, -0.5], atol=1e-3)
    assert tuned.grad is None


def test_a_product_of_sites() -> None:
    x = np.random.default_rng(0).standard_normal((30, 3))
    y = torch.tensor(np.where(x @ [1.0, -1.0, 0.0] > 0, 1.0, -1.0))
    prior = MultivariateNormal(np.zeros(3), np.eye(3))
    target = Product(prior, Sites(lambda s, i: torch.nn.functional.logsigmoid(y[i] * s), projections=x))
    fit = dkl.fit(MultivariateNormal, target, dkl.reverse_kl, method=VI)
    natural = dkl.fit(MultivariateNormal, target, dkl.reverse_kl, method="natural gradient")
    within(fit.distribution.mean(), natural.distribution.mean(), fit.details["loc_stderr"], 0.003)
    within(fit.distribution.std(), natural.distribution.std(), fit.details["scale_stderr"], 0.003)
    assert fit.normaliser is not None
    assert natural.normaliser is not None
    assert float(fit.normaliser) == pytest.approx(float(natural.normaliser), rel=0.02)


def test_the_same_seed_gives_the_same_to_the_last_bit() -> None:
    one, two = (dkl.fit(DiagonalNormal, TILTED, dkl.reverse_kl, method=VI, steps=300) for _ in range(2))
    other = dkl.fit(DiagonalNormal, TILTED, dkl.reverse_kl, method=VI, steps=300, rng=1)
    assert (one.distribution.std() == two.distribution.std()).all()
    assert one.trace == two.trace
    assert (one.distribution.std() != other.distribution.std()).all()


def test_too_few_steps_are_said_and_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    fit = dkl.fit(
        DiagonalNormal, TILTED, dkl.reverse_kl, method=VI, steps=100, progress=lambda *at: told.append(at)
    )  # fmt: skip
    assert not fit.converged
    assert "after 100 steps the last round still changed the fit" in str(fit.reason)
    assert told == [(100, 100)]
    noisy = dkl.fit(DiagonalNormal, TILTED, dkl.Alpha(0.5), method=VI, steps=2000, samples=4, learning_rate=0.3)
    assert noisy.reason is not None


def log_gammas(d: int) -> tuple[Any, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Logarithms of gamma variables, whose modes are not their means; the best normal distribution's means and widths.

    Of a·x − exp x the ELBO is a·m − exp(m + s²/2) + log s: at its top a = exp(m + s²/2) and a·s² = 1.
    """
    a = np.exp(np.random.default_rng(3).uniform(-1.0, 2.0, d))
    target = dkl.Density(lambda x: (torch.from_numpy(a) * x - torch.exp(x)).sum(-1), support=Vectors(d))
    return target, np.log(a) - 0.5 / a, 1 / np.sqrt(a)


@pytest.mark.parametrize(("family", "d"), [(DiagonalNormal, 200), (MultivariateNormal, 40)])
def test_a_standstill_on_a_slope_is_no_end(family: Any, d: int) -> None:
    # Steps so small that nothing changes: the mean stays at the mode, half a standard deviation away.
    target, loc, sd = log_gammas(d)
    fit = dkl.fit(family, target, dkl.reverse_kl, method=VI, starts=1, steps=500, learning_rate=1e-5)
    assert math.sqrt(np.mean(((fit.distribution.mean() - loc) / sd) ** 2)) > 0.3
    assert not fit.converged
    assert "after 500 steps fresh samples still show a slope, of 0." in str(fit.reason)


def test_mean_field_of_two_hundred_skew_components() -> None:
    target, loc, sd = log_gammas(200)
    fit = dkl.fit(DiagonalNormal, target, dkl.reverse_kl, method=VI, starts=1)
    assert fit.converged
    within(fit.distribution.mean(), loc, fit.details["loc_stderr"], 1e-4 * sd)
    within(fit.distribution.std(), sd, fit.details["scale_stderr"], 1e-3 * sd)


# The parts.


@pytest.mark.parametrize("family", [DiagonalNormal, MultivariateNormal])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_the_slope_of_a_place_is_its_distance_and_none_at_the_optimum(family: Any, alpha: float) -> None:
    d = 50
    normal = Differentiable(DiagonalNormal(np.zeros(d), np.ones(d)), VI)
    shape, settings = shape_of(family, d), Settings(alpha, 1, 64, 0.05)
    rng = np.random.default_rng(0)
    at = shape.begun()
    assert slope_of(normal, shape, Frame(np.zeros(d), np.ones(d)), at, settings, rng) == 0.0
    # As wide as the target, and off in every mean: the gradient is the way back.
    if alpha == 0:
        off = slope_of(normal, shape, Frame(np.full(d, 0.3), np.ones(d)), at, settings, rng)
        assert off == pytest.approx(0.3, rel=1e-9)
    target, loc, sd = log_gammas(d)
    log_p = Differentiable(target, VI)
    calm = Settings(0.0, 1, 16, 0.05)
    slopes = [slope_of(log_p, shape, Frame(loc, sd), at, calm, np.random.default_rng(k)) for k in range(20)]
    assert max(slopes) < 0.05
    assert slope_of(log_p, shape, Frame(loc + 0.3 * sd, sd), at, calm, rng) > 0.2


def test_the_pace_of_all_covariances_falls_with_their_dimension() -> None:
    assert [shape_of(MultivariateNormal, d).pace for d in (1, 16, 64, 400)] == [1.0, 1.0, 0.5, 0.2]
    assert shape_of(DiagonalNormal, 400).pace == 1.0
    # A step of the rate in each entry, of any sign: the covariance keeps its size.
    d = 400
    shape = shape_of(MultivariateNormal, d)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=shape.begun().size)
    _, sd = shape.moments(Frame(np.zeros(d), np.ones(d)), 0.05 * shape.pace * signs)
    np.testing.assert_allclose(sd, 1.0, atol=0.05)
    _, sd = shape.moments(Frame(np.zeros(d), np.ones(d)), 0.05 * signs)
    assert sd.max() > 1.3


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.3, 0.9])
def test_the_bound_is_that_of_training(alpha: float) -> None:
    log_w = np.random.default_rng(0).normal(0.0, 2.0, 7) + 1000.0
    _, bound = shares_of(log_w, alpha)
    assert bound == pytest.approx(float(renyi_bound(torch.from_numpy(log_w), 1.0 - alpha)), rel=1e-12)


SHAPES: list[Shape] = [shape_of(DiagonalNormal, 3), shape_of(MultivariateNormal, 3), shape_of(LowRankNormal, 3, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_against_the_families_and_autograd(shape: Shape) -> None:
    rng = np.random.default_rng(0)
    frame = Frame(np.zeros(3), np.ones(3))
    theta = shape.begun() + 0.3 * rng.standard_normal(shape.begun().size)
    z = rng.standard_normal((5, shape.noise))
    y, log_q, pull = shape.drawn(theta, z)
    member = shape.member(frame, theta)
    np.testing.assert_allclose(log_q, member.log_prob(y), rtol=1e-11)
    np.testing.assert_array_equal(shape.placed(theta, z), y)
    place = torch.tensor(y, requires_grad=True)
    moved = member.moved(dkl._array.namespace_of(x=place), place)
    (by_y,) = torch.autograd.grad(moved.log_prob(place).sum(), place)
    np.testing.assert_allclose(pull, -by_y.numpy(), rtol=1e-9)
    # The gradient of Σ g·y by differences.
    g = rng.standard_normal(y.shape)
    found = shape.gradient(theta, z, g)
    for k in range(theta.size):
        step = 1e-6 * np.eye(theta.size)[k]
        slope = ((shape.drawn(theta + step, z)[0] - shape.drawn(theta - step, z)[0]) * g).sum() / 2e-6
        assert found[k] == pytest.approx(slope, rel=1e-6, abs=1e-8)
    # A new frame holds the same distribution, and errors grow as the square of the step they stand for.
    frame_two, theta_two = shape.reframed(frame, theta)
    again = shape.member(frame_two, theta_two)
    np.testing.assert_allclose(again._covariance(), member._covariance(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(again.mean(), member.mean(), rtol=1e-12)
    error = 1e-3 * np.ones(theta.size)
    changes = [
        np.array(shape.moments(frame, theta + error * np.eye(theta.size)[k])) - shape.moments(frame, theta)
        for k in range(theta.size)
    ]
    expected = np.sqrt(np.sum(np.square(changes), axis=0))
    np.testing.assert_allclose(shape.errors(frame, theta, error), expected, rtol=5e-3)


def test_the_same_low_rank_turned_is_not_apart() -> None:
    shape = LowRank(4, 2)
    theta = shape.begun()
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    turned = np.concatenate([theta[:8], (theta[8:].reshape(4, 2) @ turn).ravel()])
    np.testing.assert_allclose(shape.apart(turned, theta), 0.0, atol=1e-15)


def test_paths_alone_give_the_gradient_of_the_whole_bound() -> None:
    # E over many batches of the estimate against differences of the expected bound, with common random numbers.
    log_p = Differentiable(Normal(0.5, 1.5), VI)
    shape, frame = shape_of(Normal, 1), Frame(np.zeros(1), np.ones(1))
    rng = np.random.default_rng(0)
    z = rng.standard_normal((200_000, 4, 1))
    alpha, theta = 0.5, np.array([0.2, -0.3])

    def bounds(at: Any) -> Any:
        y, log_q, _ = shape.drawn(at, z.reshape(-1, 1))
        log_w = (log_p.log_prob(frame.out(y)) - log_q).reshape(-1, 4)
        return np.log(np.exp(alpha * log_w).mean(axis=1)) / alpha

    y, log_q, pull = shape.drawn(theta, z.reshape(-1, 1))
    value, slope = log_p.with_gradient(y)
    v = np.exp(alpha * (value - log_q)).reshape(-1, 4)
    v = v / v.sum(axis=1, keepdims=True)
    c = (1 - alpha) * v + alpha * v**2
    np.testing.assert_allclose(c[0], shares_of((value - log_q)[:4], alpha)[0])
    by_y = ((slope + pull)[:, 0].reshape(-1, 4)) * c
    estimates = np.stack([by_y.sum(axis=1), (by_y * z[..., 0]).sum(axis=1) * np.exp(theta[1])], axis=-1)
    for k in range(2):
        step = 1e-4 * np.eye(2)[k]
        differences = (bounds(theta + step) - bounds(theta - step)) / 2e-4
        noise = math.sqrt((estimates[:, k].var() + differences.var()) / len(z))
        assert abs(estimates[:, k].mean() - differences.mean()) < 5 * noise
        assert noise < 0.005


def test_frames_are_the_modes_with_their_widths() -> None:
    loc, covariance = scaled(6)
    target = MultivariateNormal(loc, covariance)
    log_p = Differentiable(target, VI)
    (frame,) = frames(log_p, target, 3, np.random.default_rng(0), diagonal=False)
    np.testing.assert_allclose(frame.loc, loc, rtol=1e-8)
    np.testing.assert_allclose(frame.factor @ frame.factor.T, covariance, rtol=1e-6, atol=1e-9)
    assert frame.share == 1.0
    (frame,) = frames(log_p, target, 1, np.random.default_rng(0), diagonal=True)
    np.testing.assert_allclose(frame.factor, 1 / np.sqrt(np.diag(np.linalg.inv(covariance))), rtol=1e-7)


@pytest.mark.parametrize("diagonal", [True, False])
def test_components_of_any_units_have_frames_of_their_own(*, diagonal: bool) -> None:
    s = np.array([1e-8, 1.0, 1e8])
    covariance = np.array([[1.0, 0.999, 0.5], [0.999, 1.0, 0.5], [0.5, 0.5, 1.0]]) * s[:, None] * s
    target = MultivariateNormal(3 * s, covariance)
    (frame,) = frames(Differentiable(target, VI), target, 2, np.random.default_rng(0), diagonal=diagonal)
    np.testing.assert_allclose(frame.loc / s, 3.0, rtol=1e-6)
    if diagonal:
        inverse = np.linalg.inv(covariance / s[:, None] / s)
        np.testing.assert_allclose(frame.factor / s, 1 / np.sqrt(np.diag(inverse)), rtol=1e-6)
    else:
        whole = frame.factor @ frame.factor.T
        np.testing.assert_allclose(whole / s[:, None] / s, covariance / s[:, None] / s, rtol=1e-6)


def test_frames_in_many_dimensions_and_where_there_is_no_mode() -> None:
    wide = DiagonalNormal(np.zeros(300), np.linspace(0.5, 2.0, 300))
    (frame,) = frames(Differentiable(wide, VI), wide, 1, np.random.default_rng(0), diagonal=True)
    np.testing.assert_allclose(frame.factor, wide.std(), rtol=1e-3)
    flat = dkl.Density(lambda x: 0.0 * x)
    (frame,) = frames(Differentiable(flat, VI), flat, 1, np.random.default_rng(0), diagonal=True)
    assert frame.factor == 1.0


def test_whatever_the_frame_it_comes_to_the_same() -> None:
    log_p = Differentiable(Normal(100.0, 0.01), VI)
    settings = Settings(0.0, 8000, 16, 0.05)
    start = Frame(np.array([100.1]), np.array([0.05]))
    end = followed(log_p, shape_of(Normal, 1), start, settings, np.random.default_rng(0))
    assert end.loc[0] == pytest.approx(100.0, abs=1e-4)
    assert end.sd[0] == pytest.approx(0.01, rel=1e-2)


def test_ends_within_their_noise_are_one_optimum() -> None:
    def end(loc: float, sd: float, error: float, share: float, *, converged: bool = True) -> End:
        frame = Frame(np.array([loc]), np.array([sd]), share)
        return End(frame, np.zeros(2), np.full(2, error), converged, (), 1, np.array([loc]), np.array([sd]))

    ends = [
        end(0.0, 1.0, 0.01, 0.2), end(5.0, 1.0, 0.01, 0.1), end(0.05, 1.02, 0.001, 0.3), end(0.0, 2.0, 0.01, 0.15),
        end(0.3, 1.0, 0.3, 0.25, converged=False),
    ]  # fmt: skip
    made = distinct(ends)
    assert [float(e.loc[0]) for e in made] == [0.05, 5.0, 0.0]
    assert [e.frame.share for e in made] == pytest.approx([0.75, 0.1, 0.15])
    assert made[0].converged


def test_heavy_weights_are_not_trusted() -> None:
    # A Cauchy density by a normal distribution's samples: the weights have no mean square.
    weights = weighed(lambda x: -2 * np.log1p(x[:, 0] ** 2) + 0.4 * x[:, 0] ** 2, [Normal(0.0, 1.0)],
                      np.random.default_rng(0))  # fmt: skip
    assert weights.normaliser is None
    assert "Pareto shape k" in str(weights.distrust)
    assert weights.divergence(0, dkl.reverse_kl).warning == weights.distrust
    even = weighed(lambda x: -0.5 * x[:, 0] ** 2, [Normal(0.0, 1.0)], np.random.default_rng(0))
    assert float(even.normaliser) == pytest.approx(math.sqrt(2 * math.pi), rel=1e-12)  # type: ignore[arg-type]
    assert float(even.divergence(0, dkl.chi2)) == pytest.approx(0.0, abs=1e-12)
    assert even.bound(0, 0.5)[0] == pytest.approx(0.5 * math.log(2 * math.pi), rel=1e-12)
    beyond = weighed(lambda x: -0.5 * x[:, 0] ** 2 + 800.0, [Normal(0.0, 1.0)], np.random.default_rng(0))
    assert beyond.normaliser is None
    assert beyond.log_normaliser == pytest.approx(800.0 + 0.5 * math.log(2 * math.pi))


def test_divergences_by_weights_against_closed_forms() -> None:
    target, fits = Normal(0.3, 1.2), [Normal(0.0, 1.0), Normal(1.0, 1.5)]
    weights = weighed(lambda x: np.asarray(target.log_prob(x[:, 0])) + 3.0, fits, np.random.default_rng(0))
    for divergence in (dkl.reverse_kl, dkl.kl, dkl.Alpha(0.5), dkl.js):
        for k, q in enumerate(fits):
            found = weights.divergence(k, divergence)
            true = float(dkl.measure(target, q, divergence).value)
            assert float(found) == pytest.approx(true, abs=5 * float(found.stderr))
            assert 0 < float(found.stderr) < 0.1 * true + 1e-3


# What it refuses.


def test_supports_and_densities_that_do_not_go() -> None:
    with pytest.raises(ValueError, match=r"has density 0 at x = -.*infinitely far from it; change the variable"):
        dkl.fit(Normal, Gamma(2.0, 1.0), dkl.reverse_kl, method=VI)
    with pytest.raises(ValueError, match="log_prob gives NaN"):
        dkl.fit(Normal, dkl.Density(lambda x: torch.log(x - 50)), dkl.reverse_kl, method=VI)
    with pytest.raises(ValueError, match="has log_prob inf at x"):
        dkl.fit(Normal, dkl.Density(lambda x: math.inf + 0 * x), dkl.reverse_kl, method=VI)
    with pytest.raises(TypeError, match=r"its log_prob failed with .*write it with torch's functions"):
        dkl.fit(Normal, dkl.Density(lambda x: -(np.asarray(x) ** 2)), dkl.reverse_kl, method=VI)
    with pytest.raises(TypeError, match="does not depend on x by operations that PyTorch follows"):
        dkl.fit(Normal, dkl.Density(lambda x: -(x.detach() ** 2)), dkl.reverse_kl, method=VI)

    def spoiled(x: Any) -> Any:
        return -0.5 * x**2 + torch.where(x > 0, torch.sqrt(x), 0.0 * x)

    with pytest.raises(ValueError, match=r"the gradient of the target's log_prob.*torch.where passes NaN on"):
        Differentiable(dkl.Density(spoiled), VI).with_gradient(np.array([[-1.0]]))


@pytest.mark.parametrize("method", [VI, "natural gradient"])
def test_improper_targets_are_said(method: str) -> None:
    half = dkl.Density(lambda x: -0.5 * x[:, 0] ** 2, support=Vectors(2))
    for family in (DiagonalNormal, MultivariateNormal)[: 1 if method == VI else 2]:
        with pytest.raises(ValueError, match="is improper: the fit grows without end along component 1"):
            dkl.fit(family, half, dkl.reverse_kl, method=method, starts=1)
    with pytest.raises(ValueError, match="is improper: the fit grows without end, "):
        dkl.fit(Normal, dkl.Density(lambda x: 0.0 * x), dkl.reverse_kl, method=method, starts=1)


def test_another_librarys_density_is_refused_for_what_it_is() -> None:
    with pytest.raises(TypeError, match="does not depend on x by operations that PyTorch follows"):
        dkl.fit(MultivariateNormal, scipy.stats.multivariate_t(np.zeros(3), np.eye(3), df=4), dkl.reverse_kl, method=VI)


def test_options_that_are_none() -> None:
    for name, value, message in (
        ("steps", 0, "steps = 0 must be a whole number of at least 8"),
        ("samples", 1, "samples = 1 must be a whole number of at least 2"),
        ("starts", 0, "starts = 0 must be a whole number of at least 1"),
        ("learning_rate", 2.0, "learning_rate = 2.0 must lie strictly between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=message):
            dkl.fit(DiagonalNormal, TILTED, dkl.reverse_kl, method=VI, **{name: value})
    with pytest.raises(TypeError, match="rank belongs to a LowRankNormal, and the family is DiagonalNormal"):
        dkl.fit(DiagonalNormal, TILTED, dkl.reverse_kl, method=VI, rank=1)
    with pytest.raises(ValueError, match="rank = 2 must be below the dimension, 2"):
        dkl.fit(LowRankNormal, TILTED, dkl.reverse_kl, method=VI, rank=2)
    for family, target, divergence in (
        (Gamma, Normal(0.0, 1.0), dkl.reverse_kl),
        (Normal, Normal(0.0, 1.0), dkl.kl),
        (Normal, Normal(0.0, 1.0), dkl.Alpha(2.0)),
        (Normal, dkl.Samples([1.0, 2.0]), dkl.reverse_kl),
        (Normal, dkl.families.Poisson(2.0), dkl.reverse_kl),
    ):
        with pytest.raises(TypeError, match="nothing fits"):
            dkl.fit(family, target, divergence, method=VI)


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refused(name: str, *args: Any, **rest: Any) -> Any:
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return real(name, *args, **rest)

    monkeypatch.setattr(builtins, "__import__", refused)
    monkeypatch.delitem(sys.modules, "torch")
    with pytest.raises(ModuleNotFoundError, match=r'stochastic gradient needs PyTorch .*pip install "dkl\[torch\]"'):
        dkl.fit(Normal, Normal(0.0, 1.0), dkl.reverse_kl, method=VI)
