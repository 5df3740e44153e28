"""The losses of a policy against sums over all its actions, by hand, and autograd against differences."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import pytest
import torch
from torch.distributions import Categorical, Independent, Normal

import dkl
from dkl.training import policy_kl, ppo_clip_loss, ppo_kl_loss

INF = math.inf


def _logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_policy_kl_is_the_sum_over_actions() -> None:
    old, new = _logits(6, 4), _logits(6, 4, seed=1)
    p, q = old.softmax(-1), new.softmax(-1)
    rows = (p * (p / q).log()).sum(-1)
    torch.testing.assert_close(policy_kl(old, new, reduction="none"), rows, rtol=1e-12, atol=0)
    torch.testing.assert_close(policy_kl(old, new), rows.mean(), rtol=1e-12, atol=0)
    torch.testing.assert_close(policy_kl(old, new, reduction="sum"), rows.sum(), rtol=1e-12, atol=0)
    assert policy_kl(new, old) != policy_kl(old, new)


def test_policy_kl_keeps_its_digits_where_the_policies_agree() -> None:
    old = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64)
    new = old + 1e-10 * torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    with mpmath.workdps(60):
        a, b = ([mpmath.exp(mpmath.mpf(float(v))) for v in x] for x in (old, new))
        kl = mpmath.fsum(x / sum(a) * mpmath.log(x / sum(a) / (y / sum(b))) for x, y in zip(a, b, strict=True))
    assert float(policy_kl(old, new)) == pytest.approx(float(kl), rel=1e-12, abs=0)


def test_the_gradient_of_policy_kl_is_the_change_of_the_probabilities() -> None:
    old, new = _logits(3, 5), _logits(3, 5, seed=1).requires_grad_()
    (gradient,) = torch.autograd.grad(policy_kl(old, new, reduction="sum"), new)
    torch.testing.assert_close(gradient, (new.softmax(-1) - old.softmax(-1)).detach(), rtol=1e-10, atol=1e-14)
    assert torch.autograd.gradgradcheck(lambda x: policy_kl(old, x), (new,))


def test_forbidden_actions() -> None:
    old = torch.tensor([[0.0, 1.0, -INF]])
    new = torch.tensor([[0.5, 1.0, -INF]], requires_grad=True)
    torch.testing.assert_close(policy_kl(old, new), policy_kl(old[:, :2], new[:, :2]))
    policy_kl(old, new).backward()
    assert torch.isfinite(new.grad).all()
    assert policy_kl(torch.zeros(1, 3), old) == INF


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_is_widened(dtype: torch.dtype) -> None:
    old, new = _logits(6, 4).to(dtype), _logits(6, 4, seed=1).to(dtype)
    assert policy_kl(old, new).dtype == torch.float32
    actions = torch.zeros(6, dtype=torch.long)
    made = ppo_kl_loss(old, new.requires_grad_(), actions, torch.ones(6, dtype=dtype), 1.0)
    assert made.loss.dtype == torch.float32
    made.loss.backward()
    assert new.grad.dtype == dtype


def test_normal_policies_sum_over_the_components_of_the_action() -> None:
    m0, m1, s0, s1 = _logits(5, 3), _logits(5, 3, seed=1), _logits(5, 3, seed=2).exp(), _logits(5, 3, seed=3).exp()
    rows = ((s1 / s0).log() + (s0**2 + (m0 - m1) ** 2) / (2 * s1**2) - 0.5).sum(-1)
    old, new = Independent(Normal(m0, s0), 1), Independent(Normal(m1, s1), 1)
    torch.testing.assert_close(policy_kl(old, new, reduction="none"), rows, rtol=1e-12, atol=0)
    families = (dkl.families.DiagonalNormal(m, s) for m, s in ((m0, s0), (m1, s1)))
    torch.testing.assert_close(policy_kl(*families, reduction="none"), rows, rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match=r"old is a batch of numbers of shape \(5, 3\), whose last axis may be"):
        policy_kl(Normal(m0, s0), Normal(m1, s1))
    numbers = policy_kl(Normal(m0[:, 0], s0[:, 0]), Normal(m1[:, 0], s1[:, 0]), reduction="none")
    assert numbers.shape == (5,)


def test_masked_rows_leak_nothing() -> None:
    old, new = _logits(4, 3), _logits(4, 3, seed=1)
    mask = torch.tensor([True, False, True, False])
    kept = policy_kl(old[mask], new[mask])
    new[1], old[3] = torch.nan, INF
    new.requires_grad_()
    made = policy_kl(old, new, mask=mask)
    torch.testing.assert_close(made, kept)
    made.backward()
    assert torch.equal(new.grad[~mask], torch.zeros(2, 3, dtype=torch.float64))
    new.grad = None
    actions, advantages = torch.tensor([0, -100, 2, -100]), torch.tensor([1.0, torch.nan, -2.0, INF])
    loss = ppo_kl_loss(old, new, actions, advantages, 0.3, mask=mask)
    expected = ppo_kl_loss(old[mask], new[mask], actions[mask], advantages[mask], 0.3)
    for one, other in zip(loss, expected, strict=True):
        torch.testing.assert_close(one, other)
    loss.loss.backward()
    assert torch.isfinite(new.grad).all()
    log_prob = torch.tensor([-1.0, torch.nan, -2.0, INF], requires_grad=True)
    old_log_prob = torch.tensor([-1.2, -INF, -1.0, torch.nan])
    clipped = ppo_clip_loss(log_prob, old_log_prob, advantages, mask=mask)
    for one, other in zip(clipped, ppo_clip_loss(log_prob[mask], old_log_prob[mask], advantages[mask]), strict=True):
        torch.testing.assert_close(one, other)
    clipped.loss.backward()
    assert torch.equal(torch.isfinite(log_prob.grad), torch.ones(4, dtype=torch.bool))


@pytest.mark.parametrize("clip", [0.2, (0.2, 0.3)])
def test_the_clipped_loss_is_the_formula(clip: float | tuple[float, float]) -> None:
    low, high = clip if isinstance(clip, tuple) else (clip, clip)
    log_prob, old_log_prob, advantages = (_logits(200, seed=i) for i in range(3))
    old_log_prob = log_prob + 0.4 * old_log_prob
    log_prob.requires_grad_()
    made = ppo_clip_loss(log_prob, old_log_prob, advantages, clip)
    r = (log_prob - old_log_prob).exp()
    by_hand = -torch.minimum(r * advantages, r.clamp(1 - low, 1 + high) * advantages).mean()
    torch.testing.assert_close(made.loss, by_hand)
    gradients = [torch.autograd.grad(x, log_prob)[0] for x in (made.loss, by_hand)]
    torch.testing.assert_close(*gradients)
    r = r.detach()
    assert float(made.stopped_fraction) == pytest.approx(float((gradients[0] == 0).double().mean()))
    assert 0 < made.stopped_fraction < made.clip_fraction < 1
    assert float(made.clip_fraction) == pytest.approx(float(((r > 1 + high) | (r < 1 - low)).double().mean()))
    torch.testing.assert_close(made.kl, (r - 1 - r.log()).mean())
    torch.testing.assert_close(torch.stack(made[2:5]), torch.stack([r.mean(), r.min(), r.max()]))


def test_an_overflowing_ratio_is_never_nan() -> None:
    log_prob = torch.tensor([200.0, 200.0, 200.0, -INF], requires_grad=True)
    advantages = torch.tensor([1.0, 0.0, -1.0, 1.0])
    made = ppo_clip_loss(log_prob, torch.zeros(4), advantages, reduction="none")
    assert made.loss.tolist() == [pytest.approx(-1.2), 0.0, INF, 0.0]
    finite = log_prob[[0, 1, 3]]
    ppo_clip_loss(finite, torch.zeros(3), advantages[[0, 1, 3]]).loss.backward()
    assert log_prob.grad.tolist() == [0.0, 0.0, 0.0, 0.0]


def test_an_overflowing_ratio_without_an_advantage() -> None:
    new, old = torch.zeros(1, 2, requires_grad=True), torch.tensor([[-200.0, 0.0]])
    made = ppo_kl_loss(old, new, torch.tensor([0]), torch.zeros(1), 1.0)
    assert (made.policy_loss.item(), made.ratio_max.item()) == (0.0, INF)
    made.loss.backward()
    assert torch.isfinite(new.grad).all()


def test_the_penalised_loss_has_the_ratio_of_the_action_taken_and_the_kl_of_all() -> None:
    old, new, advantages = _logits(6, 3), _logits(6, 3, seed=1).requires_grad_(), _logits(6, seed=2)
    actions = torch.tensor([0, 1, 2, 0, 1, 2])
    made = ppo_kl_loss(old, new, actions, advantages, 0.7)
    p, q = old.softmax(-1), new.softmax(-1)
    rows = torch.arange(6)
    ratio, kl = (q / p)[rows, actions], (p * (p / q).log()).sum(-1)
    torch.testing.assert_close(made.loss, (-ratio * advantages + 0.7 * kl).mean())
    torch.testing.assert_close(made.policy_loss + 0.7 * made.kl, made.loss)
    every_action = (-(q / p) * advantages[:, None]).mean()
    assert not torch.isclose(made.policy_loss, every_action, rtol=0.01)
    one, other = (torch.autograd.grad(x, new)[0] for x in (made.loss, (-ratio * advantages + 0.7 * kl).mean()))
    torch.testing.assert_close(one, other)
    same = ppo_kl_loss(Categorical(logits=old), Categorical(logits=new), actions, advantages, 0.7)
    torch.testing.assert_close(same.loss, made.loss)
    each = ppo_kl_loss(old, new, actions, advantages, 0.7, reduction="none")
    torch.testing.assert_close(each.loss.mean(), made.loss)


def test_the_expected_gradient_is_the_policy_gradient() -> None:
    # Every action in turn, weighted by how often the old policy takes it: at new = old, minus the gradient of E[A].
    old = _logits(4)
    gains = _logits(4, seed=1)
    new = old.clone().requires_grad_()
    rows = ppo_kl_loss(old.expand(4, 4), new.expand(4, 4), torch.arange(4), gains, 5.0, reduction="none")
    (gradient,) = torch.autograd.grad((old.softmax(-1) * rows.loss).sum(), new)
    (expected,) = torch.autograd.grad(-(new.softmax(-1) @ gains), new)
    torch.testing.assert_close(gradient, expected)


def test_normal_policies_in_the_penalised_loss() -> None:
    old = Independent(Normal(torch.zeros(4, 2), torch.ones(4, 2)), 1)
    loc = torch.full((4, 2), 0.5, requires_grad=True)
    new = Independent(Normal(loc, torch.ones(4, 2)), 1)
    actions = _logits(4, 2).float()
    made = ppo_kl_loss(old, new, actions, torch.ones(4), 2.0)
    ratio = (new.log_prob(actions) - old.log_prob(actions)).exp()
    torch.testing.assert_close(made.loss, -ratio.mean() + 2.0 * 0.25)
    made.loss.backward()
    assert torch.isfinite(loc.grad).all()


def test_a_weight_of_zero_forgets_even_an_infinite_kl() -> None:
    new = torch.tensor([[0.0, -INF]], requires_grad=True)
    made = ppo_kl_loss(torch.zeros(1, 2), new, torch.tensor([0]), torch.ones(1), 0.0)
    assert (made.kl.item(), made.loss.item()) == (INF, -2.0)
    made.loss.backward()
    assert torch.isfinite(new.grad).all()


def test_no_rows() -> None:
    none = torch.zeros(3, dtype=torch.bool)
    x = torch.zeros(3, requires_grad=True)
    made = ppo_clip_loss(x, torch.zeros(3), torch.ones(3), mask=none)
    assert [v.item() for v in made] == [0, 0, 1, 1, 1, 0, 0]
    made.loss.backward()
    assert x.grad.tolist() == [0, 0, 0]
    assert [v.item() for v in ppo_clip_loss(x[:0], x[:0].detach(), x[:0])] == [0, 0, 1, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("loss", "shapes"), [(ppo_clip_loss, ((5,), (5,), (5,))), (policy_kl, ((5, 3), (5, 3)))], ids=["clip", "kl"]
)
def test_under_compile(loss: Any, shapes: Any) -> None:
    torch._dynamo.reset()
    given = [_logits(*shape, seed=i) for i, shape in enumerate(shapes)]
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*given), loss(*given))


ZERO = torch.zeros(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: policy_kl(torch.tensor(0.0), torch.tensor(0.0)), "old is a single number: logits need an axis"),
        (lambda: policy_kl(torch.zeros(2, 3), torch.zeros(2, 4)), r"old of shape \(2, 3\) and new of shape \(2, 4\)"),
        (
            lambda: policy_kl(torch.tensor([[0.0, torch.nan]]), torch.zeros(1, 2)),
            r"old\[0, 1\] = nan must be finite or −inf",
        ),
        (lambda: policy_kl(torch.zeros(2, 3), torch.zeros(2, 3), mask=torch.ones(3)), "mask of shape"),
        (lambda: ppo_clip_loss(ZERO, torch.zeros(3), ZERO), r"log_prob of shape \(2,\) and old_log_prob of shape \(3,"),
        (lambda: ppo_clip_loss(ZERO, ZERO, torch.zeros(3)), r"advantages of shape \(3,\) must have one entry for each"),
        (lambda: ppo_clip_loss(ZERO, torch.tensor([0.0, -INF]), ZERO), r"old_log_prob\[1\] = -inf must be finite"),
        (lambda: ppo_clip_loss(torch.tensor([torch.nan, 0.0]), ZERO, ZERO), r"log_prob\[0\] = nan must be finite or"),
        (lambda: ppo_clip_loss(ZERO, ZERO, torch.tensor([INF, 0.0])), r"advantages\[0\] = inf must be finite"),
        (lambda: ppo_clip_loss(ZERO, ZERO, ZERO, 1.0), "clip = 1.0 does not leave"),
        (lambda: ppo_clip_loss(ZERO, ZERO, ZERO, (0.2, -0.1)), "clip = "),
        (lambda: ppo_clip_loss(ZERO, ZERO, ZERO, reduction="max"), "reduction = 'max' is none of"),
        (lambda: _penalised(actions=torch.tensor([0, 3])), r"actions\[1\] = 3 is none of the 3 actions"),
        (lambda: _penalised(actions=torch.tensor([0])), r"actions of shape \(1,\) must have one index for each row"),
        (lambda: _penalised(beta=-1.0), "beta = -1.0 must be at least 0 and finite"),
        (
            lambda: _penalised(old=torch.tensor([[-INF, 0.0, 0.0]] * 2), new=torch.tensor([[-INF, 0.0, 0.0]] * 2)),
            r"old.log_prob\(actions\)\[0\] = -inf must be finite",
        ),
    ],
)
def test_messages(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


def test_the_old_policy_is_held_fixed() -> None:
    leaf, fixed, actions = torch.zeros(2, 3, requires_grad=True), torch.zeros(2, 3), torch.tensor([0, 1])
    for old, new in ((leaf, fixed), (Categorical(logits=leaf), Categorical(logits=fixed))):
        with pytest.raises(ValueError, match=r"^old requires a gradient, and new does not, as if .*\.detach\(\)"):
            ppo_kl_loss(old, new, actions, ZERO, 1.0)
        with torch.no_grad():
            ppo_kl_loss(old, new, actions, ZERO, 1.0)
    with pytest.raises(ValueError, match=r"^old requires a gradient: the policy that took the actions is held fixed"):
        ppo_kl_loss(leaf, leaf, actions, ZERO, 1.0)
    with pytest.raises(ValueError, match=r"^old_log_prob requires a gradient, and log_prob does not, .*\.detach\(\)"):
        ppo_clip_loss(ZERO, leaf[:, 0], ZERO)
    with pytest.raises(ValueError, match=r"^old_log_prob requires a gradient: .* under torch\.no_grad\(\), or pass"):
        ppo_clip_loss(leaf[:, 0], leaf[:, 0], ZERO)
    ppo_clip_loss(leaf[:, 0], leaf[:, 0].detach(), ZERO).loss.backward()


def test_wrong_types() -> None:
    with pytest.raises(TypeError, match="actions must be integers"):
        _penalised(actions=torch.zeros(2))
    with pytest.raises(TypeError, match="log_prob must be a tensor of log-probabilities, got a list"):
        ppo_clip_loss([0.0], ZERO, ZERO)  # type: ignore[arg-type]


def _penalised(**changed: object) -> object:
    given = {"new": torch.zeros(2, 3), "old": torch.zeros(2, 3), "actions": torch.tensor([0, 1]), "beta": 1.0}
    return ppo_kl_loss(advantages=ZERO, **(given | changed))  # type: ignore[arg-type]
