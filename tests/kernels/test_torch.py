"""PyTorch tensors through the loops: values, gradients, and what is left to the library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import dkl
from dkl.divergences import Divergence
from dkl.methods import fused

from .test_agreement import STRUCTURES

Plainly = Callable[[Callable[[], Any]], Any]
KINDS = {"probs": dkl.Probs, "log_probs": dkl.LogProbs, "logits": dkl.Logits}


def _pair(kind: str, shape: tuple[int, ...], dtype: torch.dtype, sparse: float = 0.0, near: float = 1.0) -> Any:
    rng = np.random.default_rng(12)
    a = rng.normal(size=shape) * 2
    b = a + near * rng.normal(size=shape)
    for x in (a, b):
        x[rng.random(shape) < sparse] = -np.inf
        x[..., 0] = 0.0
    sides = []
    for x in (a, b):
        p = np.exp(x - x.max(axis=-1, keepdims=True))
        p /= p.sum(axis=-1, keepdims=True)
        with np.errstate(divide="ignore"):
            x = p if kind == "probs" else np.log(p) if kind == "log_probs" else x
        sides.append(torch.tensor(x, dtype=dtype, requires_grad=True))
    return sides


def _gradients(member: Divergence, wrap: Any, p: Any, q: Any) -> Any:
    value = member(wrap(p), wrap(q))
    # Different weights for different rows, as a mean under a mask has them.
    weights = torch.linspace(0.5, 2.0, value.numel(), dtype=value.dtype).reshape(value.shape)
    return torch.autograd.grad((weights * value).sum(), (p, q))


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("member", STRUCTURES, ids=lambda d: d.name)
def test_gradients_are_those_of_the_library(member: Divergence, kind: str, plainly: Plainly) -> None:
    for shape, sparse, near in (((12, 9), 0.0, 1.0), ((12, 9), 0.3, 1.0), ((2, 300), 0.1, 1.0), ((12, 9), 0.0, 1e-3)):
        p, q = _pair(kind, shape, torch.float64, sparse, near)
        got = _gradients(member, KINDS[kind], p, q)
        expected = plainly(lambda p=p, q=q: _gradients(member, KINDS[kind], p, q))
        for side, g, e in zip("pq", got, expected, strict=True):
            # A softmax takes the mean off, so an entry is as exact as the largest of its row.
            scale = 1e-10 * e.abs().amax(-1, keepdim=True)
            off = (g - e).abs() - 1e-9 * e.abs() - scale
            assert (off <= 1e-15).all(), f"in {side}, {shape}: {off.max()}"


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize(
    "member", [dkl.kl, dkl.reverse_kl, dkl.js, dkl.Renyi(0.3), dkl.hellinger], ids=lambda d: d.name
)
def test_gradcheck(member: Divergence, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Finite differences leave the simplex.
    monkeypatch.setattr("dkl.methods.fused.sum_tolerance", lambda xp, x: 0.1)
    monkeypatch.setattr("dkl.representations.sum_tolerance", lambda xp, x: 0.1)
    p, q = _pair(kind, (2, 5), torch.float64)
    wrap = KINDS[kind]
    assert "RowsBackward" in _graph(member(wrap(p), wrap(q)))
    assert torch.autograd.gradcheck(lambda p, q: member(wrap(p), wrap(q)), (p, q), eps=1e-6, atol=1e-6, rtol=1e-5)
    if member is dkl.kl:
        assert torch.autograd.gradgradcheck(
            lambda p, q: member(wrap(p), wrap(q)), (p, q), eps=1e-6, atol=1e-4, rtol=1e-4,
            gen_non_contig_grad_outputs=False,
        )  # fmt: skip


def _graph(x: Any) -> set[str]:
    names, todo = set(), [x.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None:
            names.add(type(node).__name__)
            todo += [next_node for next_node, _ in node.next_functions]
    return names


@pytest.mark.usefixtures("loops")
def test_mixed_sides(plainly: Plainly) -> None:
    p, _ = _pair("probs", (4, 50), torch.float64, 0.2)
    _, q = _pair("logits", (4, 50), torch.float64)

    def gradients() -> Any:
        return torch.autograd.grad(dkl.kl(p, dkl.Logits(q)).sum() + dkl.js(dkl.Logits(q), p).sum(), (p, q))

    for got, expected in zip(gradients(), plainly(gradients), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-13)


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    p, q = _pair("logits", (6, 70), dtype, 0.1)
    wide = [x.detach().float().requires_grad_() for x in (p, q)]
    value = dkl.kl(dkl.Logits(p), dkl.Logits(q))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, dkl.kl(*map(dkl.Logits, wide)), rtol=0, atol=0)
    got = torch.autograd.grad(value[torch.isfinite(value)].sum(), (p, q))
    expected = dkl.kl(*map(dkl.Logits, wide))
    expected = torch.autograd.grad(expected[torch.isfinite(expected)].sum(), wide)
    for g, e in zip(got, expected, strict=True):
        assert g.dtype == dtype
        torch.testing.assert_close(g, e.to(dtype), rtol=0, atol=0)


@pytest.mark.usefixtures("loops")
def test_one_side_alone_and_broadcast_sides(plainly: Plainly) -> None:
    p, q = _pair("logits", (6, 70), torch.float64)
    fixed = p.detach()

    def of_q() -> Any:
        return torch.autograd.grad(dkl.kl(dkl.Logits(fixed), dkl.Logits(q)).mean(), q)[0]

    torch.testing.assert_close(of_q(), plainly(of_q), rtol=1e-10, atol=1e-15)
    one = q.detach()[0].clone().requires_grad_()

    def of_one() -> Any:
        return torch.autograd.grad(dkl.kl(dkl.Logits(p), dkl.Logits(one)).mean(), (p, one))

    for got, expected in zip(of_one(), plainly(of_one), strict=True):
        assert got.shape == expected.shape
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-15)
    turned = p.detach().T.clone().requires_grad_()

    def along_the_first() -> Any:
        return torch.autograd.grad(dkl.js(dkl.Logits(turned), dkl.Logits(q.T), axis=0).sum(), turned)[0]

    torch.testing.assert_close(along_the_first(), plainly(along_the_first), rtol=1e-10, atol=1e-15)


@pytest.mark.usefixtures("loops")
def test_counts_are_differentiated_through_their_sum(plainly: Plainly) -> None:
    x = torch.rand(5, 40, dtype=torch.float64, requires_grad=True)
    y = torch.rand(5, 40, dtype=torch.float64)

    def gradient() -> Any:
        return torch.autograd.grad(dkl.kl(dkl.Counts(x), dkl.Counts(y)).sum(), x)[0]

    torch.testing.assert_close(gradient(), plainly(gradient), rtol=1e-10, atol=1e-15)


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("kind", list(KINDS))
def test_second_derivatives_are_the_librarys(kind: str, plainly: Plainly) -> None:
    p, q = _pair(kind, (3, 6), torch.float64)
    wrap = KINDS[kind]

    def second() -> Any:
        (first,) = torch.autograd.grad(dkl.kl(wrap(p), wrap(q)).sum(), q, create_graph=True)
        return torch.autograd.grad((first**2).sum(), (p, q))

    for got, expected in zip(second(), plainly(second), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-13)
    fixed = p.detach()

    def of_one_side() -> Any:
        (first,) = torch.autograd.grad(dkl.kl(wrap(fixed), wrap(q)).sum(), q, create_graph=True)
        return torch.autograd.grad((first**2).sum(), q)[0]

    torch.testing.assert_close(of_one_side(), plainly(of_one_side), rtol=1e-9, atol=1e-13)


@pytest.mark.usefixtures("loops")
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # PyTorch's own, in jvp
def test_transforms_see_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    p, q = (x.detach() for x in _pair("logits", (4, 9), torch.float64))
    expected = dkl.kl(dkl.Logits(p), dkl.Logits(q))

    def value(p: Any, q: Any) -> Any:
        return dkl.kl(dkl.Logits(p), dkl.Logits(q))

    def refuse(*_: Any) -> None:
        raise AssertionError("the loops were given what they cannot see")

    gradient = torch.autograd.functional.jacobian(lambda q: value(p, q).sum(), q)
    monkeypatch.setattr(fused.Job, "sums", refuse)
    torch.testing.assert_close(torch.func.vmap(value)(p, q), expected)
    torch.testing.assert_close(torch.func.grad(lambda q: value(p, q).sum())(q), gradient)
    _, tangent = torch.func.jvp(lambda q: value(p, q).sum(), (q,), (q,))
    torch.testing.assert_close(tangent, (gradient * q).sum())
    with torch.autograd.forward_ad.dual_level():
        dual = value(p, torch.autograd.forward_ad.make_dual(q, q)).sum()
        torch.testing.assert_close(torch.autograd.forward_ad.unpack_dual(dual).tangent, (gradient * q).sum())


@pytest.mark.usefixtures("loops")
def test_what_the_loops_do_not_take() -> None:
    p, q = (x.detach() for x in _pair("probs", (4, 9), torch.float64))
    mine = dkl.FDivergence("chi2", lambda t: (t - 1) ** 2, f_zero=1.0, slope_inf=float("inf"))
    assert fused.total(mine, dkl.Probs(p), dkl.Probs(q), -1) is None
    assert fused.total(dkl.Renyi(float("inf")), dkl.Probs(p), dkl.Probs(q), -1) is None
    sparse = dkl.Probs(p.to_sparse())
    assert fused.job_for(dkl.kl, sparse, sparse, -1) is None
    assert fused.job_for(dkl.kl, dkl.Probs(p.to("meta")), dkl.Probs(q.to("meta")), -1) is None


@pytest.mark.usefixtures("loops")
def test_inference_and_no_grad(plainly: Plainly) -> None:
    p, q = _pair("logits", (4, 90), torch.float32)
    with torch.no_grad():
        value = dkl.kl(dkl.Logits(p), dkl.Logits(q))
    assert not value.requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(dkl.kl(dkl.Logits(p), dkl.Logits(q)), value, rtol=0, atol=0)
    torch.testing.assert_close(value, plainly(lambda: dkl.kl(dkl.Logits(p), dkl.Logits(q))).detach(), rtol=1e-5, atol=0)


@pytest.mark.usefixtures("loops")
def test_an_invalid_tensor_has_the_librarys_error() -> None:
    p = torch.full((3, 40), 1 / 40, requires_grad=True)
    q = torch.full((3, 40), 1 / 30)
    with pytest.raises(ValueError, match=r"q\[0\] sums to 1.33333"):
        dkl.kl(p, q)


@pytest.mark.usefixtures("loops")
def test_a_tensor_changed_before_the_way_back_is_noticed() -> None:
    p, q = _pair("logits", (4, 90), torch.float32)
    x = p * 1
    value = dkl.kl(dkl.Logits(x), dkl.Logits(q)).sum()
    x.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


def test_only_the_entries_are_kept_for_the_way_back() -> None:
    p, q = _pair("logits", (64, 1024), torch.float32)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.data_ptr()) or x, lambda x: x):
        dkl.kl(dkl.Logits(p), dkl.Logits(q))
    assert kept == [p.data_ptr(), q.data_ptr()]
