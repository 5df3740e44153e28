"""The audit's numbers against draws, and its sentences."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dkl.training import audit_estimator

from .test_estimators import OTHER, POLICY, REFERENCE


@pytest.mark.parametrize(
    ("estimator", "placement", "options", "verdict"),
    [
        ("k1", "loss", {}, "k1 as a loss: the value is unbiased, but the gradient is 0, not that of KL(π‖ref)."),
        ("k2", "loss", {}, "too low, but the gradient is that of KL(π‖ref)."),
        ("k3", "loss", {}, "the value is unbiased, but the gradient is that of KL(ref‖π), not that of KL(π‖ref)."),
        ("k1", "reward", {}, "k1 in the reward: the value is unbiased, and the gradient is that of KL(π‖ref)."),
        ("k2", "reward", {}, "and the gradient is no KL's: "),
        ("k3", "reward", {}, "unbiased, but the gradient is that of KL(π‖ref) − KL(ref‖π), not that of KL(π‖ref)."),
        ("k3", "loss", {"clamp": 0.1}, "k3 clamped at 0.1 as a loss: the value is 8"),
        ("k3", "loss", {"clamp": 1e-5}, "the gradient is 0, not that of KL(π‖ref)."),
        ("k1", "loss", {"behavior_logits": OTHER}, "k1 as a loss, on actions of another policy: the value is unbiased, "
         "and the gradient is that of KL(π‖ref)."),
        ("k3", "loss", {"behavior_logits": OTHER}, "and the gradient is that of KL(π‖ref)."),
    ],
)  # fmt: skip
def test_verdicts(estimator: Any, placement: Any, options: Any, verdict: str) -> None:
    assert verdict in audit_estimator(estimator, placement, POLICY, REFERENCE, **options).verdict


def test_against_draws() -> None:
    audit = audit_estimator("k3", "loss", POLICY, REFERENCE)
    n = 200_000
    actions = torch.multinomial(POLICY.softmax(0), n, replacement=True, generator=torch.Generator().manual_seed(0))
    log_prob, ref = POLICY.log_softmax(0), REFERENCE.log_softmax(0)
    d = (ref - log_prob)[actions]
    values = d.expm1() - d
    scores = torch.nn.functional.one_hot(actions, 4) - POLICY.softmax(0)
    gradients = (-d.expm1())[:, None] * scores
    assert abs(values.mean() - audit.value) < 5 * math.sqrt(audit.value_variance / n)
    assert (gradients.mean(0) - audit.gradient).norm() < 5 * math.sqrt(audit.gradient_variance / n)
    for drawn, exact in ((values, audit.value_variance), (gradients, audit.gradient_variance)):
        squares = (drawn - drawn.mean(0)).square().reshape(n, -1).sum(-1)
        assert abs(squares.mean() - exact) < 5 * squares.std() / math.sqrt(n)


def test_an_estimator_of_ones_own() -> None:
    def straight_through(log_prob: torch.Tensor, ref_log_prob: torch.Tensor) -> torch.Tensor:
        d = ref_log_prob - log_prob
        k2, k3 = 0.5 * d * d, d.expm1() - d
        return k3.detach() + k2 - k2.detach()

    audit = audit_estimator(straight_through, "loss", POLICY, REFERENCE)
    assert audit.verdict == (
        "straight_through as a loss: the value is unbiased, and the gradient is that of KL(π‖ref)."
    )
    assert abs(audit.value_bias) < 1e-14
    by_name, by_function = (
        audit_estimator(x, "reward", POLICY, REFERENCE) for x in ("k1", lambda log_prob, ref: log_prob - ref)
    )
    torch.testing.assert_close(by_name.gradient, by_function.gradient)
    assert audit_estimator(lambda p, r: torch.ones_like(p), "loss", POLICY, REFERENCE).gradient.tolist() == [0] * 4
    with pytest.raises(ValueError, match=r"the estimator gave shape \(\) for log-probabilities of shape \(4,\)"):
        audit_estimator(lambda p, r: p.sum(), "loss", POLICY, REFERENCE)


def test_what_a_policy_never_does_biases_k3() -> None:
    policy = POLICY.clone()
    policy[0] = -math.inf
    assert "k3 as a loss: the value is" in (v := audit_estimator("k3", "loss", policy, REFERENCE).verdict)
    assert "too low" in v
    assert "k1 as a loss: the value is unbiased" in audit_estimator("k1", "loss", policy, REFERENCE).verdict


def test_equal_policies() -> None:
    assert "are equal here" in audit_estimator("k2", "loss", POLICY, POLICY).verdict


def test_messages() -> None:
    forbidding = REFERENCE.clone()
    forbidding[2] = -math.inf
    for message, arguments, options in (
        (r"ref_logits\[2\] = -inf forbids an action that π takes", ("k1", "loss", POLICY, forbidding), {}),
        (r"logits of shape \(1, 4\) must be the logits of one", ("k1", "loss", POLICY[None], REFERENCE), {}),
        (r"ref_logits of shape \(3,\) must list the actions", ("k1", "loss", POLICY, REFERENCE[:3]), {}),
        ("placement = 'x' is none of", ("k1", "x", POLICY, REFERENCE), {}),
        ("beside a reward", ("k1", "reward", POLICY, REFERENCE), {"behavior_logits": OTHER}),
        ("are for k1, k2 and k3", (lambda p, r: p, "loss", POLICY, REFERENCE), {"clamp": 1.0}),
        ("estimator = 'k9' is none of", ("k9", "loss", POLICY, REFERENCE), {}),
    ):
        with pytest.raises(ValueError, match=message):
            audit_estimator(*arguments, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_argument_is_named_as_it_was_given(bad: float) -> None:
    broken = torch.tensor([bad, 0.0, 0.0])
    with pytest.raises(ValueError, match=r"^logits\[0\] = .* is no logit"):
        audit_estimator("k1", "loss", broken, REFERENCE[:3])
    with pytest.raises(ValueError, match=r"^ref_logits\[0\] = .* is no logit"):
        audit_estimator("k1", "loss", torch.zeros(3), broken)
    with pytest.raises(ValueError, match=r"^logits are −inf throughout"):
        audit_estimator("k1", "loss", torch.full((3,), -math.inf), torch.zeros(3))


def test_a_bias_is_judged_by_the_value_and_not_by_the_gradient() -> None:
    """At policies 1e-4 apart the KL is 1e-9 nats, and the gradient 1e-4."""
    near = torch.tensor([1e-4, 0.0, 0.0], dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    # δ/9: a sixth of the third cumulant, 2δ³/27, over half of the second, 2δ²/9.
    assert "the value is 0.001% too high" in audit_estimator("k2", "loss", *near).verdict
    for estimator in ("k1", "k3", lambda p, ref: (ref - p).exp() - 1 - (ref - p)):
        assert "the value is unbiased" in audit_estimator(estimator, "loss", *near).verdict  # type: ignore[arg-type]
