"""Bounds from the largest log-probabilities against the full KL, and against the least over all that fits the lists."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

import dkl
from dkl.training import topk_kl

INF = math.inf


def _pair(rows: int, words: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    a = 2 * torch.randn(rows, words, generator=g, dtype=torch.float64)
    b = 0.3 * a + 2 * torch.randn(rows, words, generator=g, dtype=torch.float64)
    p, q = a.log_softmax(-1).to(dtype), b.log_softmax(-1).to(dtype)
    return p, q, dkl.kl(dkl.Logits(p.double()), dkl.Logits(q.double()))


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("k", [1, 3, 8, 9])
def test_the_bounds_hold(k: int, known: bool, own: bool) -> None:
    p, q, true = _pair(500, 9)
    values, indices = p.topk(k)
    # In any order.
    values, indices = values.flip(-1), indices.flip(-1)
    second = q.topk(k) if own else (q.gather(-1, indices),)
    options: Any = {"vocabulary": 9, "floor": float(q.min())} if known else {}
    made = topk_kl(values, indices, *second, reduction="none", **options)
    room = 1e-14 * (1 + true)
    assert (made.lower <= true + room).all()
    assert (made.upper >= true - room).all()
    assert (made.lower >= 0).all()
    if k < 8:
        assert made.lower.mean() < 0.95 * true.mean()
        assert torch.isfinite(made.upper).all() == known
    if k == 9 or (k == 8 and (known or not own)):
        torch.testing.assert_close(made.lower, true, rtol=1e-9, atol=1e-10)
    if k >= 8 and known:
        torch.testing.assert_close(made.upper, true, rtol=1e-9, atol=1e-10)


def test_a_list_of_the_same_outcomes_is_the_kl_of_a_bucket() -> None:
    p, q, _ = _pair(50, 30)
    values, indices = p.topk(5)
    there = q.gather(-1, indices)
    made = topk_kl(values, indices, there, reduction="none")
    sides = [torch.cat([x.exp(), 1 - x.exp().sum(-1, keepdim=True)], -1) for x in (values, there)]
    torch.testing.assert_close(made.lower, dkl.kl(*sides), rtol=1e-12, atol=0)
    torch.testing.assert_close(made.p_listed, values.exp().sum(-1))
    torch.testing.assert_close(made.q_listed, there.exp().sum(-1))


def _least(p: Tensor, q: Tensor, k: int) -> float:
    """The least KL that fits both lists, by a general optimiser over the unknown parts."""
    ip, iq = (set(x.topk(k).indices.tolist()) for x in (p, q))
    pn, qn = (x.exp().numpy() for x in (p, q))
    shared, p_alone, q_alone = sorted(ip & iq), sorted(ip - iq), sorted(iq - ip)
    p_total, q_total = 1 - pn[list(ip)].sum(), 1 - qn[list(iq)].sum()
    p_most, q_most = pn[list(ip)].min(), qn[list(iq)].min()
    n = len(p_alone)

    def cost(x: np.ndarray) -> float:
        q_parts, p_parts, others = x[:n], x[n : 2 * n], x[2 * n :]
        left = np.append(pn[p_alone], np.append(p_parts, others[0]))
        right = np.append(q_parts, np.append(qn[q_alone], others[1]))
        return float((left * np.log(left / right)).sum())

    sums = [
        {"type": "eq", "fun": lambda x: x[:n].sum() + x[2 * n + 1] - q_total},
        {"type": "eq", "fun": lambda x: x[n : 2 * n].sum() + x[2 * n] - p_total},
    ]
    limits = [(1e-12, q_most)] * n + [(1e-12, p_most)] * n + [(1e-12, 1.0)] * 2
    start = [min(q_most, q_total / (n + 1))] * n + [min(p_most, p_total / (n + 1))] * n + [p_total, q_total]
    found = minimize(
        cost, start, bounds=limits, constraints=sums, method="SLSQP", options={"ftol": 1e-14, "maxiter": 500}
    )
    return float(found.fun + (pn[shared] * np.log(pn[shared] / qn[shared])).sum())


def test_two_lists_give_the_least_that_fits_both() -> None:
    p, q, _ = _pair(12, 10, seed=5)
    for k in (2, 4):
        lists = (*p.topk(k), *q.topk(k))
        made = topk_kl(*lists, reduction="none")
        expected = [_least(*row, k) for row in zip(p, q, strict=True)]
        np.testing.assert_allclose(made.lower.numpy(), expected, rtol=1e-5, atol=1e-7)
        shared = (lists[1][:, :, None] == lists[3][:, None, :]).any(-1)
        at_p = torch.where(shared, q.gather(-1, lists[1]), -INF)
        bucket = [torch.cat([x, 1 - x.sum(-1, keepdim=True)], -1)
                  for x in (torch.where(shared, lists[0].exp(), 0.0), at_p.exp())]  # fmt: skip
        coarse = dkl.kl(*bucket)
        assert (made.lower >= coarse - 1e-12).all()
        assert (made.lower > 1.01 * coarse).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounding_of_what_is_listed_makes_no_infinity(dtype: torch.dtype) -> None:
    # Q lists all it has, but for what its dtype rounds away, and P has more.
    p, q = torch.tensor([[0.9, 0.0999]]).log().to(dtype), torch.tensor([[0.6, 0.4]]).log().to(dtype)
    made = topk_kl(p, torch.tensor([[0, 1]]), q)
    assert torch.isfinite(made.lower)
    assert made.lower >= 0
    same = topk_kl(p, torch.tensor([[0, 1]]), p)
    assert same.lower.item() == 0.0


def test_rounding_of_what_p_lists_adds_nothing() -> None:
    p, q, _ = _pair(200, 3)
    indices = torch.arange(3).expand(200, 3)
    listed, other = p.float().double(), q
    made = topk_kl(p.float(), indices, other, reduction="none")
    terms = listed.exp() * (listed - other) - listed.exp() + other.exp()
    assert (made.lower <= terms.sum(-1) + 1e-14).all()


def test_the_gradient_is_that_of_the_bound() -> None:
    p, q, _ = _pair(3, 12, seed=2)
    values, indices = p.topk(4)
    there = q.gather(-1, indices).requires_grad_()
    own, own_indices = q.topk(4)
    own.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: topk_kl(values, indices, x).lower, (there,))
    assert torch.autograd.gradcheck(lambda x: topk_kl(values, indices, x, own_indices).lower, (own,))


def test_masked_rows_leak_nothing() -> None:
    p, q, _ = _pair(4, 12)
    values, indices = p.topk(3)
    own, own_indices = q.topk(3)
    mask = torch.tensor([True, False, True, True])
    options: Any = {"floor": -40.0, "vocabulary": 12}
    kept = topk_kl(*(x[mask] for x in (values, indices, own, own_indices)), **options)
    values[1], own[1], indices[1] = torch.nan, 3.0, 0
    values.requires_grad_()
    made = topk_kl(values, indices, own, own_indices, mask=mask, **options)
    for one, other in zip(made, kept, strict=True):
        torch.testing.assert_close(one, other)
    made.lower.backward()
    assert torch.isfinite(values.grad).all()


def test_an_outcome_that_q_forbids() -> None:
    index = torch.tensor([0, 1])
    made = topk_kl(torch.tensor([0.5, 0.3]).log(), index, torch.tensor([0.5, 0.0]).log())
    assert (made.lower.item(), made.upper.item()) == (INF, INF)
    back = topk_kl(torch.tensor([1.0, 0.0]).log(), index, torch.tensor([0.5, 0.3]).log(), floor=-9.0)
    assert back.lower.item() == pytest.approx(math.log(2), rel=1e-4)
    assert back.lower <= back.upper < 0.6932


GOOD = (torch.tensor([0.5, 0.3]).log(), torch.tensor([4, 2]), torch.tensor([0.4, 0.1]).log())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, i, q: topk_kl(p, i[:1], q), r"p_log_probs of shape \(2,\) and indices of shape \(1,\)"),
        (lambda p, i, q: topk_kl(p, i, q[:1]), r"q_log_probs of shape \(1,\) and indices of shape \(2,\)"),
        (lambda p, i, q: topk_kl(p, i, q[None], i[None]), "must have the same rows"),
        (lambda p, i, q: topk_kl(p, i * 0, q), "an index, 0, is listed twice in row 0 of p_indices"),
        (lambda p, i, q: topk_kl(p + 1, i, q), r"p_log_probs\[0\] = 0.306853 must be at most 0"),
        (lambda p, i, q: topk_kl(p * 0, i, q), r"1 less the sum of exp\(p_log_probs\) = -1 must be at least 0"),
        (lambda p, i, q: topk_kl(p * torch.nan, i, q), r"p_log_probs\[0\] = nan"),
        (lambda p, i, q: topk_kl(p, i, q, vocabulary=1), "vocabulary less the outcomes listed, of which = -1 must be"),
        (lambda p, i, q: topk_kl(p, i, q, floor=-1.0), "must be at least floor = -1"),
        (lambda p, i, q: topk_kl(p, i, q, floor=-INF), "floor = -inf must be finite"),
    ],
)
def test_messages(call: Callable[..., object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(*GOOD)


def test_wrong_types() -> None:
    with pytest.raises(TypeError, match="p_indices must be integers"):
        topk_kl(GOOD[0], GOOD[1].float(), GOOD[2])


def test_a_rest_within_its_rounding_may_be_none() -> None:
    """Q's listed mass rounds to 1 in float32: how little it leaves to what P still has is not known."""
    p, q = torch.tensor([0.6, 0.4]).log(), torch.tensor([20.0, 0.0]).log_softmax(-1)
    first = torch.tensor([0])
    made = topk_kl(p[:1], first, q[:1], vocabulary=2)
    true = 0.6 * math.log(0.6) + 0.4 * (math.log(0.4) + 20.0)
    assert made.lower < true
    assert made.upper == INF
    assert topk_kl(p, torch.tensor([0, 1]), q[:1], first, vocabulary=2).upper == INF
    # With more digits it is known.
    exact = topk_kl(p.double()[:1], first, torch.tensor([20.0, 0.0], dtype=torch.float64).log_softmax(-1)[:1],
                    vocabulary=2)  # fmt: skip
    assert float(exact.upper) == pytest.approx(true, abs=1e-5)
    assert float(exact.upper) > float(exact.lower)
