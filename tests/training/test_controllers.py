"""Controllers of β: the rules as their papers state them, bounds, saturation, units, checkpoints."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dkl.training import AdaptiveKL, TargetKL


def test_ppo_rule_doubles_and_halves_outside_the_band_alone() -> None:
    controller = AdaptiveKL(0.01, beta=1.0, unit="state")
    for kl, beta in (
        (0.01, 1.0),
        (0.015, 1.0),
        (0.0151, 2.0),
        (0.0067, 2.0),
        (0.0066, 1.0),
        (-0.5, 0.5),
        (math.inf, 1.0),
    ):
        assert controller.update(torch.tensor(kl, dtype=torch.float64, requires_grad=True), unit="state") == beta
        assert controller.beta == beta


def test_ziegler_rule_is_the_formula() -> None:
    controller = AdaptiveKL(6.0, beta=0.2, unit="sequence", rule="ziegler", gain=1.0, horizon=10_000)
    beta = 0.2
    for kl in (5.0, 6.5, 100.0, 0.0):
        beta *= 1 + max(-0.2, min(0.2, kl / 6.0 - 1)) * 256 / 10_000
        assert controller.update(kl, unit="sequence", n=256) == pytest.approx(beta, rel=1e-15)
    once = AdaptiveKL(6.0, beta=1.0, unit="sequence", rule="ziegler")
    assert once.update(60.0, unit="sequence") == pytest.approx(1.02, rel=1e-15)


def test_saturation_is_counted_at_one_bound_at_a_time() -> None:
    controller = AdaptiveKL(1.0, beta=1.0, unit="token", bounds=(0.5, 4.0))
    seen = []
    for kl in (9.0, 9.0, 9.0, 9.0, 1.0, 0.0, 0.0, 0.0, 0.0):
        controller.update(kl, unit="token")
        seen.append((controller.beta, controller.saturated, controller.saturated_updates))
    assert seen == [
        (2.0, None, 0), (4.0, None, 0), (4.0, "high", 1), (4.0, "high", 2), (4.0, None, 0),
        (2.0, None, 0), (1.0, None, 0), (0.5, None, 0), (0.5, "low", 1),
    ]  # fmt: skip


def test_ppo_rule_finds_the_beta_of_a_plant() -> None:
    # A policy step whose KL is 1/(100·β): the target of 0.01 is met at β = 1.
    controller = AdaptiveKL(0.01, beta=1000.0, unit="state")
    for _ in range(20):
        controller.update(1 / (100 * controller.beta), unit="state")
    assert 1 / 1.5 <= controller.beta <= 1.5


def test_target_kl_is_the_paper_s_formula() -> None:
    controller = TargetKL(10.0, proportional=0.01, integral=0.001, bounds=(0.0, 5.0))
    integral = 0.0
    for kl in (40.0, 12.0, 10.0, 9.0):
        error = 10.0 - kl
        integral -= 0.001 * error
        assert controller.update(kl) == pytest.approx(0.01 / (1 + math.exp(error)) + integral, rel=1e-14)
        assert controller.integral_part == pytest.approx(integral, rel=1e-14)


def test_target_kl_brings_a_plant_to_its_target() -> None:
    # A KL that falls with β, slowly: kl → 30·exp(−3·β).
    controller, kl = TargetKL(12.0, integral=0.001), 30.0
    for _ in range(4000):
        kl += 0.1 * (30.0 * math.exp(-3.0 * controller.update(kl)) - kl)
    assert kl == pytest.approx(12.0, abs=0.01)
    assert controller.saturated is None


def test_the_integral_does_not_wind_up() -> None:
    controller = TargetKL(10.0, bounds=(0.0, 1.0), integral=0.01)
    for _ in range(1000):
        controller.update(500.0)
    assert (controller.beta, controller.saturated, controller.saturated_updates) == (1.0, "high", 1000)
    assert controller.update(5.0) < 1.0  # the first error of the other sign moves it
    for _ in range(1000):
        controller.update(0.0)
    assert (controller.beta, controller.saturated) == (0.0, "low")
    assert controller.update(11.0) > 0.0
    assert controller.update(math.inf) == 1.0
    assert math.isfinite(controller.integral_part)


def test_start() -> None:
    controller = TargetKL(10.0, beta=0.3, bounds=(0.1, 1.0))
    assert controller.beta == 0.3
    assert controller.update(10.0) == pytest.approx(0.3 + 0.005, rel=1e-14)
    assert TargetKL(10.0, bounds=(0.1, 1.0)).beta == 0.1


@pytest.mark.parametrize(
    ("make", "step"),
    [
        (lambda: AdaptiveKL(1.0, unit="token", bounds=(0.5, 4.0)), lambda c, kl: c.update(kl, unit="token")),
        (lambda: TargetKL(1.0, integral=0.1), lambda c, kl: c.update(kl)),
    ],
)
def test_a_checkpoint_continues(make: Any, step: Any) -> None:
    one, other = make(), make()
    for kl in (3.0, 9.0, 9.0, 9.0):
        step(one, kl)
    other.load_state_dict(one.state_dict())
    assert other.state_dict() == one.state_dict()
    assert step(other, 9.0) == step(one, 9.0)
    assert other.saturated_updates == one.saturated_updates
    with pytest.raises(ValueError, match="the state of a"):
        other.load_state_dict({"beta": 1.0})
    with pytest.raises(ValueError, match=r"the state's beta = 99[.]0 lies outside its bounds"):
        other.load_state_dict({**one.state_dict(), "beta": 99.0})


def test_units_do_not_mix() -> None:
    controller = AdaptiveKL(0.1, unit="token")
    with pytest.raises(ValueError, match=r"kl is for each sequence, the target of 0[.]1 for each token"):
        controller.update(3.0, unit="sequence")
    with pytest.raises(TypeError, match="unit"):
        controller.update(3.0)  # type: ignore[call-arg]
    other = AdaptiveKL(0.1, unit="sequence")
    with pytest.raises(ValueError, match="the state counts KL by the sequence, this controller by the token"):
        controller.load_state_dict(other.state_dict())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AdaptiveKL(0.0, unit="token"), "target = 0.0 is no KL to reach"),
        (lambda: TargetKL(math.inf), "target = inf is no KL to reach"),
        (lambda: AdaptiveKL(1.0, unit="row"), "unit = 'row' is none of 'token', 'sequence', 'state'"),  # type: ignore[arg-type]
        (lambda: AdaptiveKL(1.0, unit="token", rule="pid"), "rule = 'pid' is none of"),  # type: ignore[arg-type]
        (lambda: AdaptiveKL(1.0, unit="token", bounds=(0.0, 1.0)), "lets beta reach 0"),
        (lambda: AdaptiveKL(1.0, unit="token", bounds=(2.0, 1.0)), "does not hold 0 <= lowest < highest"),
        (lambda: AdaptiveKL(1.0, unit="token", bounds=(1.0, 2.0, 3.0)), "is no pair of numbers"),  # type: ignore[arg-type]
        (lambda: AdaptiveKL(1.0, 1e9, unit="token"), "beta = 1000000000.0 lies outside its bounds"),
        (lambda: AdaptiveKL(1.0, unit="token", gain=0.0), "gain = 0.0 must be positive"),
        (lambda: AdaptiveKL(1.0, unit="token", horizon=-1.0), "horizon = -1.0 must be positive"),
        (lambda: AdaptiveKL(1.0, unit="token").update(math.nan, unit="token"), "kl = nan"),
        (
            lambda: AdaptiveKL(1.0, unit="token", rule="ziegler", gain=1.0).update(0.0, unit="token", n=5),
            "gain·n/horizon = 5",
        ),
        (lambda: TargetKL(1.0, proportional=-1.0), "proportional = -1.0"),
        (lambda: TargetKL(1.0, integral=0.0), "integral = 0.0 must be positive"),
        (lambda: TargetKL(1.0).update(torch.tensor(math.nan)), "kl = nan"),
    ],
)
def test_errors_name_what_is_wrong(call: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the message is compared below
        call()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "error", "what"),
    [
        ({"integral_part": math.nan}, ValueError, "integral_part = nan must be finite"),
        ({"saturated": "middle"}, ValueError, "saturated = 'middle' is none of"),
        ({"saturated_updates": -1}, ValueError, "saturated_updates = -1 does not go with"),
        ({"saturated_updates": 2}, ValueError, "saturated_updates = 2 does not go with saturated = None"),
        ({"saturated": "high"}, ValueError, "saturated_updates = 0 does not go with saturated = 'high'"),
        ({"saturated_updates": 1.5}, TypeError, "must be an integer, got 1.5"),
        ({"beta": math.nan}, ValueError, "the state's beta = nan lies outside"),
        ({"beta": "0.5"}, TypeError, "the state's beta must be a real number"),
    ],
)
def test_a_broken_checkpoint_changes_nothing(changed: Any, error: type[Exception], what: str) -> None:
    controller = TargetKL(1.0, 0.5)
    before = controller.state_dict()
    with pytest.raises(error, match=what):
        controller.load_state_dict(before | changed)
    assert controller.state_dict() == before


def test_what_is_no_state_no_bounds_and_no_kl() -> None:
    for controller in (TargetKL(1.0), AdaptiveKL(1.0, unit="token")):
        with pytest.raises(TypeError, match="state must be the dictionary that state_dict gave, got NoneType"):
            controller.load_state_dict(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bounds = 5 is no pair of numbers"):
        TargetKL(1.0, bounds=5)  # type: ignore[arg-type]
    for kl in ("0.1", True):
        with pytest.raises(TypeError, match="kl must be a number or a one-element tensor"):
            AdaptiveKL(1.0, unit="token").update(kl, unit="token")
