"""Schedules: their ends, their shapes, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dkl.training import Capacity, Cyclical, LinearWarmup, Sigmoid


def test_linear_warmup_is_exact_at_its_ends() -> None:
    beta = LinearWarmup(steps=7, start=0.1, end=0.7)
    assert (beta(0), beta(7), beta(8), beta(10**9)) == (0.1, 0.7, 0.7, 0.7)
    assert beta(3.5) == pytest.approx(0.4, rel=1e-15)
    steps = [beta(i) for i in range(8)]
    assert steps == sorted(steps)
    assert LinearWarmup(steps=2, start=4.0, end=1.0)(1) == 2.5  # it may fall


def test_cyclical_repeats() -> None:
    beta = Cyclical(period=100, ramp=0.25, end=2.0)
    assert [beta(i) for i in (0, 10, 25, 99)] == [0.0, pytest.approx(0.8), 2.0, 2.0]
    assert [beta(i) for i in range(100)] == [beta(i + 300) for i in range(100)]
    assert Cyclical(period=10, ramp=1.0)(9) == pytest.approx(0.9)


def test_sigmoid_is_the_formula_and_does_not_overflow() -> None:
    beta = Sigmoid(midpoint=1e6, steepness=1e-2, end=3.0)
    assert beta(0) == 0.0
    assert beta(1e6) == 1.5
    assert beta(2e6) == 3.0
    for step in (999_900, 1_000_200):
        assert beta(step) == pytest.approx(3.0 / (1 + math.exp(-1e-2 * (step - 1e6))), rel=1e-14)


def test_capacity_and_its_penalty() -> None:
    schedule = Capacity(steps=10, capacity=5.0, gamma=3.0)
    assert [schedule(i) for i in (0, 5, 10, 11)] == [0.0, 2.5, 5.0, 5.0]
    kl = torch.tensor([1.0, 4.0], requires_grad=True)
    penalty = schedule.penalty(kl, step=5)
    assert penalty.tolist() == [4.5, 4.5]
    assert torch.autograd.grad(penalty.sum(), kl)[0].tolist() == [-3.0, 3.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LinearWarmup(0), "steps = 0 must be above 0, and finite"),
        (lambda: LinearWarmup(10, start=-1.0), "start = -1.0 must be at least 0"),
        (lambda: LinearWarmup(10, end=math.nan), "end = nan must be at least 0"),
        (lambda: LinearWarmup(10)(-1), "step = -1 is no step"),
        (lambda: LinearWarmup(10)(math.nan), "step = nan is no step"),
        (lambda: Cyclical(math.inf), "period = inf must be above 0, and finite"),
        (lambda: Cyclical(10, ramp=1.5), "ramp = 1.5 must be at most 1"),
        (lambda: Cyclical(10, ramp=0.0), "ramp = 0.0 must be above 0"),
        (lambda: Sigmoid(10, 0.0), "steepness = 0.0 must be above 0"),
        (lambda: Capacity(10, -1.0), "capacity = -1.0 must be at least 0"),
        (lambda: Capacity(10, 1.0, gamma=0.0), "gamma = 0.0 must be above 0"),
    ],
)
def test_errors_name_what_is_wrong(call: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the message is compared below
        call()
    assert message in str(caught.value)


def test_a_period_has_no_last_step() -> None:
    assert LinearWarmup(10)(math.inf) == 1.0
    with pytest.raises(ValueError, match="step = inf has no place in a period"):
        Cyclical(10)(math.inf)
