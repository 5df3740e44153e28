"""Estimators of KL(π‖ref): by going through all actions, by drawing, and what their gradients are the gradients of."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import mpmath
import pytest
import torch
from torch import Tensor

from dkl.training import (
    BiasedGradientWarning,
    audit_estimator,
    kl_estimate,
    kl_estimate_from_logits,
    kl_loss,
    policy_kl,
)

INF = math.inf
POLICY = torch.tensor([0.4, -1.0, 1.5, 0.0], dtype=torch.float64)
REFERENCE = torch.tensor([0.0, 0.7, 0.3, -0.5], dtype=torch.float64)
OTHER = torch.tensor([0.3, 0.1, -0.4, 0.2], dtype=torch.float64)


def _quietly(**arguments: Any) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BiasedGradientWarning)
        return kl_loss(**arguments)


def _gradient(value: Tensor, of: Tensor) -> Tensor:
    return torch.autograd.grad(value, of)[0]


@pytest.mark.parametrize("d", [1e-9, -1e-5, 0.3, -3.0, 20.0])
def test_k3_has_all_its_digits(d: float) -> None:
    with mpmath.workdps(50):
        expected = float(mpmath.expm1(mpmath.mpf(d)) - mpmath.mpf(d))
    value = kl_estimate(torch.zeros(2, dtype=torch.float64), torch.full((2,), d, dtype=torch.float64), "k3").value
    assert value.item() == pytest.approx(expected, rel=1e-14, abs=0)


def test_values_over_all_actions() -> None:
    log_prob, ref = POLICY.log_softmax(0), REFERENCE.log_softmax(0)
    each = {k: torch.stack([kl_estimate(a[None], b[None], k).value for a, b in zip(log_prob, ref, strict=True)])
            for k in ("k1", "k2", "k3")}  # fmt: skip
    p, kl = log_prob.exp(), policy_kl(POLICY, REFERENCE)
    torch.testing.assert_close(p @ each["k1"], kl, rtol=1e-12, atol=0)
    torch.testing.assert_close(p @ each["k3"], kl, rtol=1e-12, atol=0)
    torch.testing.assert_close(p @ each["k2"], p @ (log_prob - ref).square() / 2, rtol=1e-12, atol=0)
    assert (each["k3"] >= 0).all()
    assert (each["k1"] < 0).any()


def _drawn(sequences: int, tokens: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens of which each row's all come from one of two policies, so that they depend on each other."""
    g = torch.Generator().manual_seed(seed)
    shift = torch.where(torch.rand(sequences, 1, 1, generator=g) < 0.5, 0.0, 3.0)
    logits = (POLICY + shift * OTHER.sign()).expand(sequences, tokens, 4)
    actions = torch.multinomial(logits.flatten(0, 1).softmax(-1), 1, generator=g).reshape(sequences, tokens, 1)
    lengths = torch.randint(1, tokens + 1, (sequences, 1), generator=g)
    log_prob = logits.log_softmax(-1).gather(-1, actions)[..., 0]
    ref = REFERENCE.log_softmax(-1).expand_as(logits).gather(-1, actions)[..., 0]
    return log_prob, ref, torch.arange(tokens) < lengths


@pytest.mark.parametrize("unit", ["token", "sequence"])
@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_the_standard_error_is_the_spread_over_repetitions(estimator: Any, unit: Any) -> None:
    made = [kl_estimate(a, b, estimator, unit=unit, mask=m) for a, b, m in (_drawn(60, 8, i) for i in range(400))]
    values, stderrs = torch.stack([x.value for x in made]), torch.stack([x.stderr for x in made])
    # The spread of 400 numbers is known to 1/√800; five of those, and a tenth for the ratio's first order.
    assert stderrs.square().mean().sqrt().item() == pytest.approx(values.std().item(), rel=5 / math.sqrt(800) + 0.05)


@pytest.mark.parametrize("unit", ["token", "sequence"])
def test_an_estimate_is_for_reading(unit: Any) -> None:
    logits = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(2)).requires_grad_()
    log_prob = logits.log_softmax(-1)[..., 0]
    for made in (
        kl_estimate(log_prob, log_prob.detach() - 0.1, unit=unit),
        kl_estimate_from_logits(logits, torch.zeros(4, 3, 5), unit=unit),
    ):
        assert not made.value.requires_grad
        assert not made.stderr.requires_grad
    assert policy_kl(logits, torch.zeros(4, 3, 5)).requires_grad


def test_tokens_of_a_sequence_are_no_independent_rows() -> None:
    a, b, m = _drawn(200, 8, 0)
    clustered = kl_estimate(a, b, "k1", mask=m)
    naive = kl_estimate(a.flatten(), b.flatten(), "k1", mask=m.flatten())
    torch.testing.assert_close(clustered.value, naive.value)
    assert clustered.stderr > 1.1 * naive.stderr


def test_stderr_by_hand() -> None:
    log_prob, ref = torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([[-1.0, -3.0], [-2.0, -7.0]])
    mask = torch.tensor([[True, True], [True, False]])
    assert [x.item() for x in kl_estimate(log_prob, ref, "k1", mask=mask)] == [2.0, 0.0]
    value, stderr = kl_estimate(log_prob, ref, "k1", mask=mask, unit="sequence")
    assert (value.item(), stderr.item()) == (3.0, 1.0)  # 4 and 2: a standard deviation of √2, over √2
    assert kl_estimate(log_prob[:1], ref[:1], "k1").stderr == INF
    nothing = kl_estimate(log_prob, ref, mask=torch.zeros(2, 2))
    assert [x.item() for x in nothing] == [0.0, INF]


def test_rao_blackwell_is_exact_at_each_place_and_less_uncertain() -> None:
    g = torch.Generator().manual_seed(3)
    logits, ref = (torch.randn(300, 6, 5, generator=g, dtype=torch.float64) for _ in range(2))
    actions = torch.multinomial(logits.flatten(0, 1).softmax(-1), 1, generator=g).reshape(300, 6, 1)
    log_prob, ref_log_prob = (x.log_softmax(-1).gather(-1, actions)[..., 0] for x in (logits, ref))
    for unit in ("token", "sequence"):
        exact = kl_estimate_from_logits(logits, ref, unit=unit)
        drawn = kl_estimate(log_prob, ref_log_prob, "k1", unit=unit)
        assert abs(exact.value - drawn.value) < 5 * drawn.stderr
        assert exact.stderr < 0.8 * drawn.stderr
    p, q = logits.softmax(-1), ref.softmax(-1)
    torch.testing.assert_close(exact.value, (p * (p / q).log()).sum((-1, -2)).mean(), rtol=1e-12, atol=0)


# What the expected gradient is the gradient of, by estimator and placement.
FORWARD: Callable[[Tensor], Tensor] = lambda x: policy_kl(x, REFERENCE)  # noqa: E731
BACKWARD: Callable[[Tensor], Tensor] = lambda x: policy_kl(REFERENCE, x)  # noqa: E731
TRUTHS: dict[tuple[str, str], Callable[[Tensor], Tensor]] = {
    ("k1", "loss"): lambda x: 0.0 * x.sum(),
    ("k2", "loss"): FORWARD,
    ("k3", "loss"): BACKWARD,
    ("k1", "reward"): FORWARD,
    ("k2", "reward"): lambda x: x.softmax(0) @ (0.5 * (x.detach().log_softmax(0) - REFERENCE.log_softmax(0)).square()),
    ("k3", "reward"): lambda x: FORWARD(x) - BACKWARD(x),
}


@pytest.mark.parametrize(("estimator", "placement"), list(TRUTHS))
def test_expected_gradients_over_all_actions(estimator: Any, placement: Any) -> None:
    x = POLICY.clone().requires_grad_()
    log_prob = x.log_softmax(0)
    each = _quietly(
        log_prob=log_prob, ref_log_prob=REFERENCE.log_softmax(0), estimator=estimator, placement=placement,
        on_policy=True, reduction="none",
    )  # fmt: skip
    assert each.requires_grad == (placement == "loss")
    weights = log_prob.detach().exp()
    objective = weights @ (each if placement == "loss" else each * log_prob)
    expected = _gradient(TRUTHS[estimator, placement](x), x)
    torch.testing.assert_close(_gradient(objective, x), expected, rtol=1e-10, atol=1e-14)
    audit = audit_estimator(estimator, placement, POLICY, REFERENCE)
    torch.testing.assert_close(audit.gradient, expected, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(audit.kl_gradient, _gradient(FORWARD(x), x), rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(audit.gradient_bias, audit.gradient - audit.kl_gradient)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_the_ratio_makes_every_gradient_right(estimator: Any) -> None:
    for drawing in (OTHER, POLICY):
        x = POLICY.clone().requires_grad_()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            each = kl_loss(
                x.log_softmax(0), REFERENCE.log_softmax(0), estimator, on_policy=False,
                behavior_log_prob=drawing.log_softmax(0), reduction="none",
            )  # fmt: skip
        torch.testing.assert_close(_gradient(drawing.softmax(0) @ each, x), _gradient(FORWARD(x), x))


@pytest.mark.parametrize(
    ("estimator", "placement", "clamp", "message"),
    [
        ("k1", "loss", None, "gradient of k1 as a loss is 0, in expectation, not that of KL"),
        ("k3", "loss", None, r"gradient of k3 as a loss is that of KL\(ref‖π\)"),
        ("k2", "reward", None, "k2 in the reward makes a policy gradient of no KL"),
        ("k3", "reward", None, r"k3 in the reward makes a policy gradient of KL\(π‖ref\) − KL\(ref‖π\)"),
        ("k3", "loss", 5.0, "k3 clamped at 5 has no gradient beyond it"),
        ("k1", "reward", 5.0, "k1 clamped at 5 bounds the penalty"),
    ],
)
def test_a_biased_gradient_is_named(estimator: Any, placement: Any, clamp: float | None, message: str) -> None:
    x = torch.zeros(3)
    with pytest.warns(BiasedGradientWarning, match=message):
        kl_loss(
            x, x, estimator, placement=placement, on_policy=True, clamp=clamp,
            reduction="none" if placement == "reward" else "mean",
        )  # fmt: skip


@pytest.mark.filterwarnings("error")
def test_what_is_right_is_not_warned_of() -> None:
    x = torch.zeros(3)
    kl_loss(x, x, on_policy=True)
    kl_loss(x, x, "k1", on_policy=True, placement="reward", reduction="none")


def test_a_clamped_estimate_has_no_gradient_beyond_the_clamp() -> None:
    x = torch.zeros(2, requires_grad=True)
    loss = _quietly(log_prob=x, ref_log_prob=torch.tensor([9.0, 0.1]), estimator="k3", on_policy=True, clamp=10.0)
    gradient = _gradient(loss, x)
    assert gradient[0] == 0
    assert gradient[1] != 0


def _sequences(policy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All sequences of two tokens of three words: log π and log ref of each token, and the words.

    The second token's logits are the row of the first.
    """
    words = torch.tensor(list(itertools.product(range(3), range(3))))
    made = []
    for table in (policy, torch.arange(12.0, dtype=torch.float64).sin().reshape(4, 3)):
        first, second = table[0].log_softmax(-1), table[1:].log_softmax(-1)
        made.append(torch.stack([first[words[:, 0]], second[words[:, 0], words[:, 1]]], -1))
    return made[0], made[1], words


def test_what_a_loss_on_tokens_leaves_out() -> None:
    """As a loss each token's prefix is held fixed; with k1 in the reward, where it leads counts as well."""
    table = torch.arange(12.0, dtype=torch.float64).cos().reshape(4, 3).requires_grad_()
    log_prob, ref, words = _sequences(table)
    weights = log_prob.sum(-1).exp()
    whole = _gradient(weights @ (log_prob - ref).sum(-1), table)
    weights = weights.detach()
    log_prob, ref, words = _sequences(table)
    each = kl_loss(log_prob, ref, "k2", on_policy=True, unit="sequence", reduction="none")
    as_loss = _gradient(weights @ each, table)
    places = policy_kl(table[1:], torch.arange(12.0, dtype=torch.float64).sin().reshape(4, 3)[1:], reduction="none")
    reached = torch.tensor([weights[words[:, 0] == w].sum() for w in range(3)])
    first = policy_kl(table[0], torch.arange(3.0, dtype=torch.float64).sin())
    torch.testing.assert_close(as_loss, _gradient(first + reached @ places, table))
    assert (whole - as_loss).abs().max() > 0.01
    log_prob, ref, _ = _sequences(table)
    penalty = kl_loss(log_prob, ref, "k1", on_policy=True, placement="reward", reduction="none")
    to_go = penalty.flip(-1).cumsum(-1).flip(-1)
    torch.testing.assert_close(_gradient(weights @ (to_go * log_prob).sum(-1), table), whole)


def test_units_and_masks_of_the_loss() -> None:
    a, b, m = _drawn(5, 4, 1)
    terms = torch.where(m, 0.5 * (a - b).square(), 0.0)
    dirty = torch.where(m, a, torch.nan).requires_grad_()
    loss = kl_loss(dirty, b, on_policy=True, mask=m)
    torch.testing.assert_close(loss, terms.sum() / m.sum())
    assert torch.isfinite(_gradient(loss, dirty)).all()
    torch.testing.assert_close(kl_loss(a, b, on_policy=True, mask=m, unit="sequence"), terms.sum(-1).mean())
    m[2] = False
    kept = kl_loss(a, b, on_policy=True, mask=m, unit="sequence")
    torch.testing.assert_close(kept, torch.where(m, terms, 0.0).sum() / 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes(dtype: torch.dtype) -> None:
    a, b, m = _drawn(5, 4, 1)
    a, b = a.to(dtype), b.to(dtype)
    wide = kl_estimate(a.float(), b.float(), mask=m)
    for one, other in zip(kl_estimate(a, b, mask=m), wide, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other)


def test_an_action_that_the_reference_forbids() -> None:
    log_prob, ref = torch.tensor([-1.0, -1.0], requires_grad=True), torch.tensor([-1.0, -INF])
    for estimator in ("k1", "k2", "k3"):
        value, stderr = kl_estimate(log_prob, ref, estimator)
        assert (value.item(), stderr.item()) == (INF, INF)
    assert torch.isfinite(
        _gradient(_quietly(log_prob=log_prob, ref_log_prob=ref, estimator="k3", on_policy=True), log_prob)
    ).all()
    behind = torch.tensor([-1.0, 300.0])
    loss = kl_loss(log_prob, ref, "k1", on_policy=False, behavior_log_prob=behind)
    assert loss.item() == INF


X = torch.zeros(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kl_estimate(X, X, "k4"), "estimator = 'k4' is none of 'k1', 'k2', 'k3'"),
        (lambda: kl_estimate(X, X, unit="word"), "unit = 'word' is none of"),
        (lambda: kl_estimate(X, X, unit="sequence"), "there is no axis of tokens"),
        (lambda: kl_estimate(X, torch.zeros(3)), r"ref_log_prob of shape \(3,\) and log_prob of shape \(2,\)"),
        (lambda: kl_estimate(torch.tensor([0.0, -INF]), X), r"log_prob\[1\] = -inf must be finite, for this policy"),
        (lambda: kl_estimate(X, torch.tensor([0.0, torch.nan])), r"ref_log_prob\[1\] = nan must be finite or −inf"),
        (lambda: kl_estimate(X, X, mask=torch.ones(3)), "does not broadcast"),
        (lambda: kl_loss(X, X, on_policy=False), "behavior_log_prob is missing: with on_policy=False another policy"),
        (lambda: kl_loss(X, X, on_policy=True, behavior_log_prob=X), "on_policy = True beside behavior_log_prob"),
        (lambda: kl_loss(X, X, on_policy=True, placement="advantage"), "placement = 'advantage' is none of"),
        (lambda: kl_loss(X, X, "k1", on_policy=True, placement="reward"), 'reduction="none"'),
        (lambda: kl_loss(X, X, on_policy=True, clamp=0.0), "clamp = 0 must be positive"),
    ],
)
def test_messages(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
