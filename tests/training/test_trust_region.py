"""TRPO's step against the Fisher matrix written down, and against the bound that it promises."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dkl.training import policy_kl, trust_region_step


def _problem(seed: int = 0) -> tuple[nn.Linear, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    network = nn.Linear(3, 4).double()
    with torch.no_grad():
        for x in network.parameters():
            x.copy_(torch.randn(x.shape, generator=g, dtype=torch.float64))
    states = torch.randn(40, 3, generator=g, dtype=torch.float64)
    actions = torch.randint(4, (40,), generator=g)
    advantages = torch.randn(40, generator=g, dtype=torch.float64)
    return network, states, actions, advantages


def _closures(network: nn.Linear, states: Tensor, actions: Tensor, advantages: Tensor) -> Any:
    old = network(states).detach()

    def surrogate() -> Tensor:
        log_prob, before = (x.log_softmax(-1).gather(-1, actions[:, None])[:, 0] for x in (network(states), old))
        return ((log_prob - before).exp() * advantages).mean()

    return surrogate, lambda: policy_kl(old, network(states))


def _fisher(network: nn.Linear, states: Tensor) -> Tensor:
    """The mean over states of the sum over actions of π·∇log π·∇log πᵀ."""
    parameters = list(network.parameters())
    total = torch.zeros(16, 16, dtype=torch.float64)
    for state in states:
        log_probs = network(state).log_softmax(-1)
        for log_prob in log_probs:
            parts = torch.autograd.grad(log_prob, parameters, retain_graph=True)
            score = torch.cat([x.reshape(-1) for x in parts])
            total += log_prob.detach().exp() * torch.outer(score, score)
    return total / len(states)


def test_the_step_is_along_the_natural_gradient() -> None:
    network, states, actions, advantages = _problem()
    surrogate, kl = _closures(network, states, actions, advantages)
    parameters = list(network.parameters())
    before = nn.utils.parameters_to_vector(parameters).detach()
    gradient = torch.cat([x.reshape(-1) for x in torch.autograd.grad(surrogate(), parameters)])
    matrix = _fisher(network, states) + 0.05 * torch.eye(16, dtype=torch.float64)
    made = trust_region_step(parameters, surrogate, kl, 1e-4, damping=0.05, cg_iterations=50, cg_tolerance=1e-12)
    step = nn.utils.parameters_to_vector(parameters).detach() - before
    direction = torch.linalg.solve(matrix, gradient)
    expected = direction * math.sqrt(2e-4 / (direction @ matrix @ direction))
    torch.testing.assert_close(step, expected * 0.5**made.backtracks, rtol=1e-6, atol=1e-10)
    assert made.accepted
    assert made.cg_residual < 1e-8
    assert made.expected_improvement == pytest.approx(float(gradient @ step), rel=1e-6)
    assert made.improvement == pytest.approx(made.expected_improvement, rel=0.05)
    assert all(x.grad is None for x in parameters)


@pytest.mark.parametrize("max_kl", [1e-3, 0.01, 0.3])
def test_the_bound_holds_and_the_surrogate_rises(max_kl: float) -> None:
    network, states, actions, advantages = _problem(1)
    for _ in range(5):
        surrogate, kl = _closures(network, states, actions, advantages)
        start = surrogate().item()
        made = trust_region_step(network.parameters(), surrogate, kl, max_kl, damping=1e-3)
        assert made.accepted
        assert made.kl == pytest.approx(kl().item())
        assert 0.05 * max_kl < made.kl <= max_kl
        assert made.improvement == pytest.approx(surrogate().item() - start)
        assert made.improvement > 0


def test_a_step_that_is_refused_leaves_the_parameters() -> None:
    network, states, actions, advantages = _problem(2)
    surrogate, kl = _closures(network, states, actions, advantages)
    before = [x.detach().clone() for x in network.parameters()]
    made = trust_region_step(network.parameters(), surrogate, lambda: 1e6 * kl(), 0.5, damping=1e9, max_backtracks=0,
                             accept_ratio=0.999999999)  # fmt: skip
    assert made[:4] == (False, made.kl, 0.0, 0.0)
    assert abs(made.kl) < 1e-6
    assert all(torch.equal(x, y) for x, y in zip(network.parameters(), before, strict=True))

    calls = []

    def failing() -> Tensor:
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("the environment is gone")
        return surrogate()

    with pytest.raises(RuntimeError, match="gone"):
        trust_region_step(network.parameters(), failing, kl)
    assert all(torch.equal(x, y) for x, y in zip(network.parameters(), before, strict=True))


def test_nothing_to_gain() -> None:
    network, states, actions, advantages = _problem(3)
    surrogate, kl = _closures(network, states, actions, 0 * advantages)
    made = trust_region_step(network.parameters(), surrogate, kl)
    assert (made.accepted, made.cg_iterations, made.improvement) == (False, 0, 0.0)


def test_parameters_that_the_policy_does_not_use() -> None:
    network, states, actions, advantages = _problem(4)
    surrogate, kl = _closures(network, states, actions, advantages)
    idle, frozen = torch.ones(2, dtype=torch.float64, requires_grad=True), torch.ones(2)
    made = trust_region_step([*network.parameters(), idle, frozen], surrogate, kl)
    assert made.accepted
    assert idle.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"max_kl": 0.0}, r"max_kl = 0.0 lies outside \(0, inf\)"),
        ({"backtrack": 1.0}, r"backtrack = 1.0 lies outside \(0, 1\)"),
        ({"damping": -1.0}, r"damping = -1.0 lies outside \[0, inf\)"),
        ({"accept_ratio": 1.0}, r"accept_ratio = 1.0 lies outside \[0, 1\)"),
        ({"parameters": [torch.zeros(2)]}, "parameters holds none that needs a gradient"),
        ({"kl": lambda: torch.tensor(0.3)}, "the KL is 0.3 before the step and not 0"),
        ({"surrogate": lambda: WEIGHT.sum() * math.inf}, "the gradient of the surrogate is not finite"),
    ],
)
def test_messages(changed: dict[str, Any], message: str) -> None:
    given = {"parameters": [WEIGHT], "surrogate": WEIGHT.sum, "kl": lambda: (0 * WEIGHT).sum(), **changed}
    with pytest.raises(ValueError, match=message):
        trust_region_step(**given)


WEIGHT = torch.zeros(2, requires_grad=True)


def test_a_step_not_taken_leaves_even_the_sign_of_zero() -> None:
    logits = torch.tensor([-0.0, 0.0, 0.0], requires_grad=True)
    advantages = torch.tensor([1.0, 0.0, -1.0])
    old = logits.detach().clone()
    calls = iter([1.0, -1.0, -1.0])
    made = trust_region_step(
        [logits], lambda: next(calls) * (logits.softmax(0) @ advantages + 1.0), lambda: policy_kl(old, logits),
        max_backtracks=1,
    )  # fmt: skip
    assert not made.accepted
    assert torch.signbit(logits.detach()).tolist() == [True, False, False]


def test_parameters_that_are_no_list_or_hold_one_twice() -> None:
    x = torch.zeros(3, requires_grad=True)
    with pytest.raises(TypeError, match="give a list of tensors"):
        trust_region_step(x, x.sum, x.sum)
    with pytest.raises(ValueError, match="parameters holds a tensor twice"):
        trust_region_step([x, x], x.sum, x.sum)
