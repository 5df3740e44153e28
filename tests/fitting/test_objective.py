"""The divergence over a member's coordinates: its derivatives against differences of its values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import dkl
from dkl.families import (
    Bernoulli,
    Beta,
    DiagonalNormal,
    Gamma,
    LogNormal,
    MultivariateNormal,
    Normal,
    Poisson,
    StudentT,
    VonMises,
    Weibull,
)
from dkl.fitting.direct.coordinates import around, distance
from dkl.fitting.direct.objective import Objective

TWO = dkl.Mixture(Normal([-3.0, 3.0], [1.0, 1.0]), [0.5, 0.5])
TILTED = MultivariateNormal([0.0, 0.0], [[1.0, 0.9], [0.9, 1.0]])
OWN = dkl.FDivergence("own", lambda t: (t - 1) ** 2 / (t + 1), 1.0, 1.0)

PAIRS = [
    (TWO, Normal(2.0, 1.3)),
    (TWO, StudentT(5.0, 2.0, 1.3)),
    (TWO, dkl.Mixture(Normal([-2.0, 2.0], [1.5, 1.0]), [0.3, 0.7])),
    (Gamma(2.0, 1.0), LogNormal(0.0, 0.5)),
    (Gamma(2.0, 1.0), Weibull(1.3, 1.2)),
    (VonMises(0.5, 2.0), VonMises(0.0, 1.0)),
    (Poisson(4.0), dkl.Mixture(Poisson([2.0, 6.0]), [0.5, 0.5])),
    (Bernoulli(0.3), Bernoulli(0.6)),
    (TILTED, DiagonalNormal([0.0, 0.1], [0.6, 0.5])),
    (TILTED, MultivariateNormal([0.0, 0.1], [[0.6, 0.2], [0.2, 0.5]])),
    (TILTED, MultivariateNormal([0.0, 0.1], cholesky=[[0.6, 0.0], [0.2, 0.5]])),
]
DIVERGENCES = [dkl.kl, dkl.reverse_kl, dkl.Alpha(0.5), dkl.js, OWN]


def objective(divergence: Any, target: Any, member: Any) -> Objective:
    return Objective(divergence, target, around(member), 1e-8 if target.event_ndim else 1e-11)


def differences(of: Any, u: Any, h: float = 1e-3) -> Any:
    """Central differences of the fourth order."""
    steps = h * np.eye(u.size)
    return np.array([8 * (of(u + e) - of(u - e)) - (of(u + 2 * e) - of(u - 2 * e)) for e in steps]) / (12 * h)


@pytest.mark.parametrize("divergence", DIVERGENCES, ids=lambda d: d.name)
@pytest.mark.parametrize(("target", "member"), PAIRS, ids=lambda d: type(d).__name__)
def test_the_derivatives_are_those_of_the_values(divergence: Any, target: Any, member: Any) -> None:
    o = objective(divergence, target, member)
    u = 0.05 * np.arange(o.coordinates.size)
    value, gradient = o.value(u), o.gradient(u)
    assert value == pytest.approx(float(dkl.measure(target, o.coordinates.member(u), divergence)), rel=1e-6)
    scale = max(1.0, value)
    np.testing.assert_allclose(gradient, differences(o.value, u), atol=2e-8 * scale)
    places = o._at(u)[1]
    second = differences(lambda x: o.gradient_at(x, places), u)
    np.testing.assert_allclose(o.hessian(u), second, atol=2e-5 * max(1.0, float(np.abs(second).max())))


def test_the_score_of_an_exponential_family_is_that_of_every_other() -> None:
    # By the sufficient statistic, and by differences at every place.
    o = objective(dkl.kl, TWO, Normal(2.0, 1.3))
    u = np.array([0.1, 0.2])
    places = o._at(u)[1]
    assert places is not None
    member = o.coordinates.member(u)
    log_q = np.asarray(member.log_prob(places.x))
    loc, scale = 2.0 + 1.3 * 0.1, 1.3 * math.exp(0.2)
    z = (places.x - loc) / scale
    exact = np.stack([z * 1.3 / scale, z * z - 1.0], axis=-1)
    from dkl.fitting.direct.objective import _scores

    found = o._spread(u, places, log_q, np.ones(log_q.size, dtype=bool), _scores)
    np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-9)


def test_where_it_is_infinite_it_says_why() -> None:
    o = objective(dkl.kl, Normal(0.0, 1.0), Gamma(2.0, 1.0))
    zero = np.zeros(2)
    assert o.value(zero) == math.inf
    assert str(o.reason(zero)) == "KL(P‖Q) is infinite: P lives on the interval (−∞, ∞), Q on the interval (0, ∞)."
    assert o.gradient(zero).tolist() == [0.0, 0.0]
    assert o.hessian(zero).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert o.final(zero) == math.inf


def test_beyond_the_floating_range_it_is_infinite() -> None:
    o = objective(dkl.kl, TWO, Normal(2.0, 1.3))
    assert o.value(np.array([0.0, 1e4])) == math.inf
    assert o.reason(np.array([0.0, 1e4])) is None


def test_a_function_of_a_sum_is_descended_by_its_core_and_told_as_itself() -> None:
    o = objective(dkl.Renyi(0.5), TWO, Normal(0.0, 3.0))
    zero = np.zeros(2)
    assert o.final(zero) == pytest.approx(float(dkl.measure(TWO, Normal(0.0, 3.0), dkl.Renyi(0.5))), rel=1e-9)
    assert o.value(zero) != pytest.approx(o.final(zero), rel=1e-3)


def test_what_no_sum_decides_has_no_gradient() -> None:
    with pytest.raises(TypeError, match="decided by no sum of terms"):
        Objective(dkl.Renyi(math.inf), TWO, around(Normal(0.0, 1.0)), 1e-9)


@pytest.mark.parametrize(("target", "member"), PAIRS, ids=lambda d: type(d).__name__)
def test_coordinates_begin_at_the_member_and_take_batches(target: Any, member: Any) -> None:
    coordinates = around(member)
    zero = np.zeros(coordinates.size)
    assert distance(member, coordinates.member(zero)) < 1e-12
    u = 0.1 * np.arange(2 * coordinates.size).reshape(2, -1)
    batch = coordinates.member(u)
    assert batch.batch_shape == (2,)
    x = np.asarray(target.sample(3, rng=1))
    for k in range(2):
        one = np.asarray(coordinates.member(u[k]).log_prob(x))
        np.testing.assert_allclose(np.asarray(batch.log_prob(x[:, None]))[:, k], one, rtol=1e-12)


def test_coordinates_say_which_parameter_runs_away() -> None:
    coordinates = around(Normal(0.0, 1.0))
    assert coordinates.limits(np.array([0.0, -50.0])) == "scale → 0"
    assert coordinates.limits(np.array([0.0, 50.0])) == "scale → ∞"
    assert coordinates.limits(np.array([-60.0, 50.0])) == "loc → −∞"
    assert around(Bernoulli(0.3)).limits(np.array([50.0])) == "probs → 1"
    assert around(TILTED).limits(np.array([0.0, 0.0, -50.0, 0.0, 0.0])) == "covariance → singular"
    mixture = around(dkl.Mixture(Normal([-1.0, 1.0], [1.0, 1.0]), [0.5, 0.5]))
    assert mixture.limits(np.array([0.0, 0.0, 0.0, 0.0, -50.0])) == "component 1: scale → 0"
    assert mixture.limits(np.array([50.0, 0.0, 0.0, 0.0, 0.0])) == "weights → 1 in a share"


def test_mixtures_that_differ_by_their_order_are_one() -> None:
    one = dkl.Mixture(Normal([-1.0, 2.0], [1.0, 0.5]), [0.3, 0.7])
    other = dkl.Mixture(Normal([2.0, -1.0], [0.5, 1.0]), [0.7, 0.3])
    assert distance(one, other) == 0.0
    assert distance(one, dkl.Mixture(Normal([2.0, -1.0], [0.5, 1.0]), [0.6, 0.4])) == pytest.approx(0.1)


@pytest.mark.parametrize("member", [Beta(0.642199, 0.799941), Beta(0.2, 0.1)])
def test_mass_nearer_to_a_bound_than_numbers_come_counts(member: Any) -> None:
    # With b = 0.1 a tenth of the mass lies nearer to 1 than numbers do: KL(q‖p) = −H(q) − E_q[log p].
    target = Beta(3.0, 2.0)
    found = objective(dkl.reverse_kl, target, member)
    value = float(dkl.kl(member, target))
    assert found.final(np.zeros(2)) == pytest.approx(value, rel=1e-9)
    slope = differences(lambda u: float(dkl.kl(found.coordinates.member(u), target)), np.zeros(2))
    np.testing.assert_allclose(found.gradient(np.zeros(2)), slope, rtol=1e-7)
