"""The variational bound: fits of samples against a critic, near what moments and closed forms say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import dkl
from dkl.families import DiagonalNormal, Gamma, MultivariateNormal, Normal
from dkl.fitting.variational.adversary import Adam, Critic, Game
from dkl.fitting.variational.shapes import shape_of

BOUND = "variational bound"
TRUE = MultivariateNormal([5.0, -100.0], [[4.0, 3.0], [3.0, 9.0]])


def near(fit: Any, x: np.ndarray[Any, Any]) -> None:
    """Moments of the half that was learnt from have the standard error of half the samples, and the game its noise."""
    size = 1 / math.sqrt(len(x) / 2) + 2 * fit.details["noise"]
    q = fit.distribution
    assert (np.abs(q.mean() - x.mean(axis=0)) < 4 * size * x.std(axis=0)).all()
    assert (np.abs(np.log(q.std() / x.std(axis=0))) < 4 * size).all()


@pytest.mark.parametrize("divergence", [dkl.reverse_kl, dkl.js])
def test_samples_of_a_normal_pair(divergence: Any) -> None:
    x = TRUE.sample(3000, rng=0)
    fit = dkl.fit(MultivariateNormal, dkl.Samples(x), divergence, method=BOUND, starts=1, steps=400)
    assert fit.method == BOUND
    assert fit.converged
    near(fit, x)
    correlation = fit.distribution._covariance()[0, 1] / np.prod(fit.distribution.std())
    assert correlation == pytest.approx(0.5, abs=0.1)
    assert float(dkl.measure(TRUE, fit.distribution, divergence).value) < 0.01
    assert fit.details["held_out"] == 1500
    # A critic of what there is not to tell apart proves nothing.
    assert 0 <= float(fit.divergence) < 0.01 + 5 * float(fit.divergence.stderr)
    assert len(fit.trace) == 100


def test_the_bound_is_one_and_comes_near_the_divergence() -> None:
    # Independent components cannot meet a correlated pair.
    x = MultivariateNormal([0.0, 0.0], [[1.0, 0.9], [0.9, 1.0]]).sample(4000, rng=1)
    fit = dkl.fit(DiagonalNormal, dkl.Samples(x), dkl.reverse_kl, method=BOUND, starts=1, steps=500)
    true = float(dkl.reverse_kl(MultivariateNormal([0.0, 0.0], [[1.0, 0.9], [0.9, 1.0]]), fit.distribution))
    assert float(fit.divergence) < true + 4 * float(fit.divergence.stderr)
    assert float(fit.divergence) > 0.6 * true
    np.testing.assert_allclose(fit.distribution.var(), 0.19, rtol=0.35)
    assert "a lower bound of the divergence, by a critic of two hidden layers of 24 on 2000 held-out samples" in str(
        fit.divergence.reason
    )


def test_reverse_kl_seeks_a_mode_and_kl_covers_both() -> None:
    rng = np.random.default_rng(0)
    x = dkl.Samples(np.concatenate([rng.normal(-3, 1, 1000), rng.normal(3, 1, 1000)]))
    seeking = dkl.fit(Normal, x, dkl.reverse_kl, method=BOUND, steps=400, rng=1)
    assert abs(float(seeking.distribution.loc)) == pytest.approx(2.984, abs=0.4)
    assert float(seeking.distribution.scale) == pytest.approx(1.023, abs=0.3)
    covering = dkl.fit(Normal, x, dkl.kl, method=BOUND, starts=1, steps=400)
    assert float(covering.distribution.loc) == pytest.approx(0.0, abs=0.5)
    assert float(covering.distribution.scale) == pytest.approx(math.sqrt(10), abs=0.4)
    assert 0.3 < float(covering.divergence) < 0.461995 + 4 * float(covering.divergence.stderr)


@pytest.mark.parametrize("divergence", [dkl.reverse_kl, dkl.js, dkl.Alpha(0.5)])
def test_against_the_best_critic_q_follows_the_gradient_of_the_divergence(divergence: Any) -> None:
    shape, theta = shape_of(Normal, 1), np.array([0.5, -0.2])
    sd = math.exp(theta[1])
    game = Game(divergence, shape, np.zeros((1, 1)), samples=200_000, hidden=2, rate=0.1)
    critic = Critic(1, 2, np.random.default_rng(0))
    # log p/q of N(0, 1) and q
    critic.square[:] = 0.5 / sd**2 - 0.5
    critic.linear[:] = -theta[0] / sd**2
    critic.bias[:] = 0.5 * theta[0] ** 2 / sd**2 + theta[1]
    x = np.linspace(-3, 3, 7)
    q = Normal(theta[0], sd)
    ratio = Normal(0.0, 1.0).log_prob(x) - q.log_prob(x)
    np.testing.assert_allclose(critic.scores(x[:, None])[0], ratio, rtol=1e-12, atol=1e-12)
    found = game.gradient(critic, theta, np.random.default_rng(0))

    def value(at: Any) -> float:
        return float(dkl.measure(Normal(0.0, 1.0), Normal(at[0], math.exp(at[1])), divergence).value)

    for k in range(2):
        step = 1e-4 * np.eye(2)[k]
        # The terms are of size 1: their mean is known to some 1/√200,000.
        assert found[k] == pytest.approx((value(theta + step) - value(theta - step)) / 2e-4, abs=0.015)


def test_the_critics_derivatives_against_autograd() -> None:
    rng = np.random.default_rng(0)
    critic = Critic(3, 5, rng)
    critic.numbers[:] += 0.3 * rng.standard_normal(critic.numbers.size)
    y, weights = rng.standard_normal((7, 3)), rng.standard_normal(7)
    found, layers = critic.scores(y)
    parts = [critic.inner, critic.inner_bias, critic.deep, critic.deep_bias, critic.out, critic.bias, critic.linear]
    inner, inner_bias, deep, deep_bias, out, bias, linear, square, rows = (
        torch.tensor(part, requires_grad=True) for part in [*parts, critic.square, y]
    )
    h = torch.tanh(torch.tanh(rows @ inner.mT + inner_bias) @ deep.mT + deep_bias)
    scores = h @ out + bias + rows @ linear + ((rows @ square) * rows).sum(-1)
    np.testing.assert_allclose(found, scores.detach().numpy(), rtol=1e-13)
    learnt = [inner, inner_bias, deep, deep_bias, out, bias, linear, square]
    *by_learnt, by_rows = torch.autograd.grad((torch.from_numpy(weights) * scores).sum(), [*learnt, rows])
    true = np.concatenate([each.numpy().ravel() for each in by_learnt])
    np.testing.assert_allclose(critic.by_numbers(layers, weights), true, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(critic.by_rows(layers, weights), by_rows.numpy(), rtol=1e-11, atol=1e-13)


def test_the_steps_are_adams() -> None:
    rng = np.random.default_rng(0)
    ours, place = Adam(4, 0.5), np.ones(4)
    its = torch.ones(4, dtype=torch.float64, requires_grad=True)
    theirs = torch.optim.Adam([its], lr=0.01, betas=(0.5, 0.99), eps=1e-12)
    for _ in range(20):
        gradient = rng.standard_normal(4)
        place += ours.step(gradient, 0.01)
        its.grad = torch.from_numpy(gradient)
        theirs.step()
    np.testing.assert_allclose(place, its.detach().numpy(), rtol=1e-12)


def test_seed_progress_and_an_end_that_is_none() -> None:
    x = dkl.Samples(np.random.default_rng(0).standard_normal(60) + 4.0)
    told: list[tuple[int, int]] = []
    options: dict[str, Any] = {"method": BOUND, "steps": 16, "samples": 16, "starts": 2, "hidden": 4}
    one = dkl.fit(Normal, x, dkl.js, progress=lambda *at: told.append(at), **options)
    two = dkl.fit(Normal, x, dkl.js, **options)
    assert float(one.distribution.loc) == float(two.distribution.loc)
    assert float(one.divergence) == float(two.divergence)
    assert told == [(k, 32) for k in range(1, 33)]
    fast = dkl.fit(Normal, x, dkl.js, **(options | {"learning_rate": 0.9}))
    assert not fast.converged
    assert "q still moved by" in str(fast.reason)


def test_a_bound_below_zero_is_said() -> None:
    x = dkl.Samples(np.random.default_rng(1).standard_normal(40))
    fits = [dkl.fit(Normal, x, dkl.js, method=BOUND, steps=40, starts=1, rng=k) for k in range(4)]
    below = [fit for fit in fits if fit.details["bound"] < 0]
    assert below
    for fit in below:
        assert float(fit.divergence) == 0.0
        assert "below 0, and so proves no more than that" in str(fit.divergence.reason)


def test_it_is_what_samples_come_to_by_default() -> None:
    x = np.random.default_rng(0).standard_normal(40)
    fit = dkl.fit(Normal, dkl.Samples(x), dkl.reverse_kl, steps=8, starts=1)
    assert fit.method == BOUND


def test_what_it_refuses() -> None:
    x = np.random.default_rng(0).standard_normal((40, 2))
    with pytest.raises(ValueError, match="the target has 19 samples: a critic needs 20 at least"):
        dkl.fit(Normal, dkl.Samples(x[:19, 0]), dkl.js, method=BOUND)
    with pytest.raises(ValueError, match="component 1 of the target's samples has one value only"):
        dkl.fit(DiagonalNormal, dkl.Samples(x * [1.0, 0.0]), dkl.js, method=BOUND)
    with pytest.raises(ValueError, match=r"the covariance of 20 of the target's samples is singular"):
        dkl.fit(MultivariateNormal, dkl.Samples(x[:, [0, 0]]), dkl.js, method=BOUND)
    for name, value in (("steps", 7), ("samples", 0), ("starts", 0), ("hidden", 0)):
        with pytest.raises(ValueError, match=f"{name} = {value} must be a whole number of at least"):
            dkl.fit(Normal, dkl.Samples(x[:, 0]), dkl.js, method=BOUND, **{name: value})
    with pytest.raises(ValueError, match="learning_rate = 0 must lie strictly between 0 and 1"):
        dkl.fit(Normal, dkl.Samples(x[:, 0]), dkl.js, method=BOUND, learning_rate=0)
    for family, divergence in ((Gamma, dkl.js), (Normal, dkl.Renyi(2.0))):
        with pytest.raises(TypeError, match="nothing fits"):
            dkl.fit(family, dkl.Samples(np.abs(x[:, 0])), divergence, method=BOUND)
    with pytest.raises(TypeError, match="nothing fits"):
        dkl.fit(Normal, Normal(0.0, 1.0), dkl.js, method=BOUND)
