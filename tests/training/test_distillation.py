"""The loss of distillation against the definitions written out, and what a training loop may do to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import dkl
from dkl.divergences import Divergence
from dkl.methods import fused
from dkl.training import distillation_loss, generalized_jsd

from ..contract.members import HAND_MADE_CHI2, HOCKEY_STICK, MEMBERS


def _logits(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(seed)
    student, teacher = (2 * torch.randn(shape, generator=made, dtype=torch.float64) for _ in range(2))
    return student.to(dtype).requires_grad_(), teacher.to(dtype).requires_grad_()


def _kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p / q).log()).sum(-1)


def _power(p: Tensor, q: Tensor, a: float) -> Tensor:
    return (p**a * q ** (1 - a)).sum(-1)


def _mixed(p: Tensor, q: Tensor, w: float) -> Tensor:
    m = w * p + (1 - w) * q
    return w * _kl(p, m) + (1 - w) * _kl(q, m)


def _alpha(a: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda p, q: (1 - _power(p, q, a)) / (a * (1 - a))


def _tsallis(a: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda p, q: (_power(p, q, a) - 1) / (a - 1)


def _renyi(a: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda p, q: _power(p, q, a).log() / (a - 1)


# As the books have them, of probabilities that are all positive.
PLAIN: dict[Divergence, Callable[[Tensor, Tensor], Tensor]] = {
    dkl.kl: _kl,
    dkl.reverse_kl: lambda p, q: _kl(q, p),
    dkl.jeffreys: lambda p, q: _kl(p, q) + _kl(q, p),
    dkl.js: lambda p, q: _mixed(p, q, 0.5),
    dkl.tv: lambda p, q: 0.5 * (p - q).abs().sum(-1),
    dkl.hellinger: lambda p, q: (1 - (p * q).sqrt().sum(-1)).sqrt(),
    dkl.squared_hellinger: lambda p, q: 1 - (p * q).sqrt().sum(-1),
    dkl.bhattacharyya: lambda p, q: -(p * q).sqrt().sum(-1).log(),
    dkl.chi2: lambda p, q: ((p - q) ** 2 / q).sum(-1),
    dkl.neyman_chi2: lambda p, q: ((p - q) ** 2 / p).sum(-1),
    dkl.triangular: lambda p, q: ((p - q) ** 2 / (p + q)).sum(-1),
    dkl.JS(0.3): lambda p, q: _mixed(p, q, 0.3),
    dkl.SkewKL(0.1): lambda p, q: _kl(p, 0.9 * p + 0.1 * q),
    dkl.SkewKL(1): _kl,
    dkl.Renyi(0): lambda p, q: 0 * (p + q).sum(-1),
    dkl.Renyi(0.5): _renyi(0.5),
    dkl.Renyi(0.9): _renyi(0.9),
    dkl.Renyi(1): _kl,
    dkl.Renyi(2): _renyi(2),
    dkl.Renyi(math.inf): lambda p, q: (p / q).amax(-1).log(),
    dkl.Tsallis(0): lambda p, q: 0 * (p + q).sum(-1),
    dkl.Tsallis(0.5): _tsallis(0.5),
    dkl.Tsallis(1): _kl,
    dkl.Tsallis(3): _tsallis(3),
    dkl.Alpha(-1.5): _alpha(-1.5),
    dkl.Alpha(0): lambda p, q: _kl(q, p),
    dkl.Alpha(0.3): _alpha(0.3),
    dkl.Alpha(1): _kl,
    dkl.Alpha(2.5): _alpha(2.5),
    HOCKEY_STICK: lambda p, q: (p - 2 * q).clamp(min=0).sum(-1),
    HAND_MADE_CHI2: lambda p, q: ((p - q) ** 2 / q).sum(-1),
}


def _agree(got: Callable[[], Tensor], expected: Callable[[], Tensor], *inputs: Tensor, rtol: float = 1e-11) -> None:
    """The same value, and the same gradients up to ``rtol`` of the largest."""
    values, gradients = zip(*((v, torch.autograd.grad(v, inputs)) for v in (got(), expected())), strict=True)
    torch.testing.assert_close(*values, rtol=rtol, atol=1e-14)
    for mine, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, plain, rtol=rtol, atol=rtol * max(float(plain.abs().max()), 1e-3))


def test_every_member_is_written_out() -> None:
    assert set(PLAIN) == set(MEMBERS)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("member", MEMBERS, ids=lambda d: d.name)
def test_every_member_is_its_definition(member: Divergence, temperature: float) -> None:
    student, teacher = _logits(5, 7)

    def plain() -> Tensor:
        p, q = ((x / temperature).softmax(-1) for x in (teacher, student))
        return temperature**2 * PLAIN[member](p, q).mean()

    _agree(
        lambda: distillation_loss(student, teacher, member, temperature=temperature), plain, student, teacher, rtol=1e-9
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("member", [dkl.kl, dkl.JS(0.3)], ids=lambda d: d.name)
def test_large_logits_go_through_the_loops(
    member: Divergence, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, teacher = _logits(40, 1000, dtype=dtype)
    calls: list[Any] = []
    sums = fused.Job.sums
    monkeypatch.setattr(fused.Job, "sums", lambda self, *args: calls.append(self) or sums(self, *args))
    mask = torch.arange(40) % 3 > 0

    def plain() -> Tensor:
        p, q = (x.double().softmax(-1) for x in (teacher, student))
        return PLAIN[member](p, q)[mask].mean().to(dtype)

    rtol = 1e-11 if dtype == torch.float64 else 2e-5
    _agree(lambda: distillation_loss(student, teacher, member, mask=mask), plain, student, teacher, rtol=rtol)
    assert not calls  # the 26 rows that are left have too few entries
    _agree(
        lambda: distillation_loss(student, teacher, member),
        lambda: PLAIN[member](*(x.double().softmax(-1) for x in (teacher, student))).mean().to(dtype),
        student,
        teacher,
        rtol=rtol,
    )
    assert len(calls) == 1


def test_the_square_of_the_temperature_keeps_the_gradient() -> None:
    student, teacher = _logits(3, 6)
    centred = [x - x.mean(-1, keepdim=True) for x in (student.detach(), teacher.detach())]
    limit = (centred[0] - centred[1]) / 6  # Hinton, Vinyals and Dean, eq. 4, for large T
    for member in (dkl.kl, dkl.reverse_kl, dkl.Tsallis(1)):
        (got,) = torch.autograd.grad(
            distillation_loss(student, teacher, member, temperature=1e4, reduction="sum"), student
        )
        torch.testing.assert_close(got, limit, rtol=0, atol=1e-2 * float(limit.abs().max()))
    bare = distillation_loss(student, teacher, temperature=3.0, temperature_squared=False)
    torch.testing.assert_close(9 * bare, distillation_loss(student, teacher, temperature=3.0))
    torch.testing.assert_close(
        bare, functional.kl_div((student / 3).log_softmax(-1), (teacher / 3).softmax(-1), reduction="batchmean")
    )


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_generalised_jsd_is_that_of_gkd(beta: float) -> None:
    student, teacher = _logits(4, 9)

    def gkd() -> Tensor:
        # As trainers write it: a mixture with share beta of the teacher, each side's KL to it weighted by its share.
        log_q, log_p = student.log_softmax(-1), teacher.log_softmax(-1)
        if beta == 0:
            return functional.kl_div(log_q, log_p, log_target=True, reduction="sum")
        if beta == 1:
            return functional.kl_div(log_p, log_q, log_target=True, reduction="sum")
        log_m = torch.logaddexp(log_p + math.log(beta), log_q + math.log(1 - beta))
        of_teacher = functional.kl_div(log_m, log_p, log_target=True, reduction="sum")
        return beta * of_teacher + (1 - beta) * functional.kl_div(log_m, log_q, log_target=True, reduction="sum")

    _agree(lambda: distillation_loss(student, teacher, generalized_jsd(beta), reduction="sum"), gkd, student, teacher)


def test_the_ends_of_generalised_jsd_are_limits_of_its_quotients() -> None:
    student, teacher = (x.detach() for x in _logits(4, 9))
    share = 1e-7
    for beta, end in ((share, 0.0), (1 - share, 1.0)):
        got = distillation_loss(student, teacher, generalized_jsd(beta)) / share
        torch.testing.assert_close(got, distillation_loss(student, teacher, generalized_jsd(end)), rtol=1e-4, atol=0)


@pytest.mark.parametrize("alpha", [0.1, 0.7])
def test_skews_are_those_of_distillm(alpha: float) -> None:
    student, teacher = _logits(4, 9)

    def skewed(towards_student: bool) -> Tensor:
        p, q = teacher.softmax(-1), student.softmax(-1)
        p, q = (p, q) if towards_student else (q, p)
        return (p * (p.log() - (alpha * p + (1 - alpha) * q).log())).sum(-1).mean()

    member = dkl.SkewKL(1 - alpha)
    _agree(lambda: distillation_loss(student, teacher, member), lambda: skewed(True), student, teacher)
    _agree(lambda: distillation_loss(student, teacher, member, reverse=True), lambda: skewed(False), student, teacher)


def test_reverse_exchanges_the_sides() -> None:
    student, teacher = _logits(4, 9)
    for member, mirrored in ((dkl.kl, dkl.reverse_kl), (dkl.chi2, dkl.neyman_chi2)):
        got = distillation_loss(student, teacher, member, reverse=True, temperature=2.0)
        torch.testing.assert_close(got, distillation_loss(student, teacher, mirrored, temperature=2.0))
        assert not torch.isclose(got, distillation_loss(student, teacher, member, temperature=2.0))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("rows", [(6,), (2, 3)])
def test_what_lies_under_the_mask_does_not_matter(rows: tuple[int, ...], reduction: Any) -> None:
    student, teacher = _logits(*rows, 5)
    labels = torch.arange(6).reshape(rows) % 5
    mask = (torch.arange(6).reshape(rows) != 3).to(torch.int32)
    kept = mask.bool()
    spoilt = [x.detach().clone() for x in (student, teacher)]
    spoilt[0][~kept], spoilt[1][~kept] = torch.nan, torch.inf
    spoilt_labels = labels.where(kept, torch.tensor(999))
    for x in spoilt:
        x.requires_grad_()
    options: dict[str, Any] = {"temperature": 2.0, "label_weight": 0.3, "reduction": reduction}
    got = distillation_loss(*spoilt, dkl.js, mask=mask, labels=spoilt_labels, **options)
    alone = distillation_loss(student[kept], teacher[kept], dkl.js, labels=labels[kept], **options)
    assert got.shape == (rows if reduction == "none" else ())
    torch.testing.assert_close(got[kept] if reduction == "none" else got, alone, rtol=1e-14, atol=0)
    found = torch.autograd.grad(got.sum(), spoilt)
    for g, expected in zip(found, torch.autograd.grad(alone.sum(), (student, teacher)), strict=True):
        torch.testing.assert_close(g, expected, rtol=1e-13, atol=1e-16)
        assert not g[~kept].any()


def test_a_mask_that_keeps_nothing_costs_nothing() -> None:
    student, teacher = _logits(3, 5)
    for reduction in ("mean", "sum"):
        loss = distillation_loss(student, teacher, mask=torch.zeros(3), reduction=reduction)
        assert loss == 0
        assert not torch.autograd.grad(loss, student)[0].any()
    assert distillation_loss(student[:0], teacher[:0]) == 0
    assert distillation_loss(student[0], teacher[0], reduction="none").shape == ()


def test_labels() -> None:
    student, teacher = _logits(4, 6)
    labels = torch.tensor([0, 5, -100, 2])
    kept = labels != -100

    def plain() -> Tensor:
        soft = 4 * _kl((teacher[kept] / 2).softmax(-1), (student[kept] / 2).softmax(-1))
        hard = -student[kept].log_softmax(-1).gather(1, labels[kept, None]).squeeze(1)
        return (0.75 * soft + 0.25 * hard).mean()

    _agree(
        lambda: distillation_loss(student, teacher, temperature=2.0, labels=labels, label_weight=0.25),
        plain,
        student,
        teacher,
    )
    own = labels.where(kept, torch.tensor(7))
    same = distillation_loss(student, teacher, labels=own, ignore_index=7)
    torch.testing.assert_close(same, distillation_loss(student, teacher, labels=labels))


def test_a_share_of_nothing_is_left_out_even_of_infinity() -> None:
    student = torch.tensor([[0.0, 1.0, -math.inf]], requires_grad=True)
    teacher = torch.tensor([[0.0, 1.0, 2.0]])
    label = torch.tensor([1])
    assert distillation_loss(student, teacher) == math.inf
    hard = distillation_loss(student, teacher, labels=label, label_weight=1.0)
    torch.testing.assert_close(hard, functional.cross_entropy(student, label))
    impossible = torch.tensor([2])
    soft = distillation_loss(student, student.detach(), labels=impossible, label_weight=0.0)
    assert soft == 0
    both = distillation_loss(student, teacher, labels=label)
    (gradient,) = torch.autograd.grad(both, student)
    assert both == math.inf
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("member", [dkl.kl, dkl.reverse_kl, dkl.js, dkl.tv, dkl.Renyi(2)], ids=lambda d: d.name)
def test_padding_is_no_word(member: Divergence) -> None:
    student, teacher = _logits(4, 8)
    expected = torch.autograd.grad(distillation_loss(student[:, :5], teacher[:, :5], member), (student, teacher))
    by_number = torch.autograd.grad(distillation_loss(student, teacher, member, vocabulary=5), (student, teacher))
    excluded = [x.detach().masked_fill(torch.arange(8) >= 5, -math.inf).requires_grad_() for x in (student, teacher)]
    by_infinity = torch.autograd.grad(distillation_loss(*excluded, member), excluded)
    for e, n, i in zip(expected, by_number, by_infinity, strict=True):
        torch.testing.assert_close(n, e, rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(i, e, rtol=1e-12, atol=1e-15)
    wider = torch.cat([teacher, teacher], -1)
    torch.testing.assert_close(
        distillation_loss(student, wider, member, vocabulary=8), distillation_loss(student, teacher, member)
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_before_anything_else(dtype: torch.dtype) -> None:
    student, teacher = _logits(4, 9, dtype=dtype)
    wide = [x.detach().float().requires_grad_() for x in (student, teacher)]
    labels = torch.tensor([0, 1, 2, 3])
    for temperature in (1.0, 3.0):
        got, expected = (
            distillation_loss(*pair, dkl.js, temperature=temperature, labels=labels)
            for pair in ((student, teacher), wide)
        )
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, expected, rtol=0, atol=0)
        for g, e in zip(torch.autograd.grad(got, (student, teacher)), torch.autograd.grad(expected, wide), strict=True):
            assert g.dtype == dtype
            torch.testing.assert_close(g, e.to(dtype), rtol=0, atol=0)


def test_nearly_equal_sides_keep_their_digits() -> None:
    student, teacher = _logits(200, 9, dtype=torch.float32)
    student = (teacher.detach() + 1e-4 * student.detach()).requires_grad_()
    loss = distillation_loss(student, teacher.detach(), reduction="none")
    exact = distillation_loss(student.double(), teacher.detach().double(), reduction="none")
    assert (loss > 0).all()
    torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=0)


def test_gradcheck() -> None:
    student, teacher = _logits(2, 3)
    labels, mask = torch.tensor([1, 0]), torch.tensor([1, 0])

    def loss(student: Tensor, teacher: Tensor) -> Tensor:
        return distillation_loss(
            student, teacher, dkl.JS(0.2), temperature=1.5, labels=labels, mask=mask, reduction="none"
        )

    assert torch.autograd.gradcheck(loss, (student, teacher))
    assert torch.autograd.gradgradcheck(loss, (student, teacher))


@pytest.mark.parametrize("member", [m for m in MEMBERS if not isinstance(m, dkl.FDivergence)], ids=lambda d: d.name)
def test_no_value_is_looked_at_on_a_device(member: Divergence) -> None:
    # Tensors of the device "meta" have no values: whatever asked for one would raise.
    student, teacher = (x.detach().to("meta").requires_grad_() for x in _logits(3, 5))
    labels, mask = torch.zeros(3, dtype=torch.long, device="meta"), torch.ones(3, device="meta")
    loss = distillation_loss(student, teacher, member, temperature=2.0, labels=labels, mask=mask)
    loss.backward()
    assert student.grad.shape == teacher.grad.shape == (3, 5)


def test_what_a_device_does_is_the_same() -> None:
    student, teacher = _logits(3, 5)
    mask, labels = torch.tensor([True, False, True]), torch.tensor([0, 9, 2])
    spoilt = student.detach().masked_fill(~mask[:, None], torch.nan)[None]
    # Under vmap values cannot be seen either.
    got = torch.func.vmap(
        lambda s, t, m, y: distillation_loss(s, t, labels=y, mask=m, temperature=2.0, reduction="none")
    )(spoilt, teacher.detach()[None], mask[None], labels[None])
    expected = distillation_loss(student, teacher, labels=labels, mask=mask, temperature=2.0, reduction="none")
    torch.testing.assert_close(got[0], expected.detach(), rtol=1e-13, atol=0)


# Importing torch's compiler warns of its own deprecated calls; nothing here is about them.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning:torch")
def test_torch_compile_into_one_graph() -> None:
    torch.compiler.reset()
    student, teacher = _logits(3, 5)
    mask, labels = torch.tensor([True, False, True]), torch.tensor([0, 1, 2])

    def loss(student: Tensor, teacher: Tensor) -> Tensor:
        return distillation_loss(student, teacher, temperature=2.0, labels=labels, mask=mask)

    _agree(
        lambda: torch.compile(loss, fullgraph=True, backend="aot_eager")(student, teacher),
        lambda: loss(student, teacher),
        student,
        teacher,
    )


S, T = torch.zeros(2, 3), torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: distillation_loss(S, T, "kl"), TypeError, "divergence = 'kl' is no divergence: give dkl.kl"),
        (lambda: distillation_loss(S, T, temperature=0), ValueError, "temperature = 0 must be positive and finite"),
        (lambda: distillation_loss(S, T, temperature=torch.ones(1)), TypeError, "temperature must be a real number"),
        (lambda: distillation_loss(S, T, label_weight=2), ValueError, r"label_weight = 2 lies outside \[0, 1\]"),
        (lambda: distillation_loss(S, T, label_weight=0.9), ValueError, "label_weight = 0.9, but there are no labels"),
        (lambda: distillation_loss(S.int(), T), TypeError, "student_logits must be floating, got torch.int32"),
        (lambda: distillation_loss(S, torch.tensor(0.0)), ValueError, r"teacher_logits of shape \(\) has no words"),
        (lambda: distillation_loss(S[:, :0], T[:, :0]), ValueError, r"student_logits of shape \(2, 0\) has no words"),
        (lambda: distillation_loss(S, T[:1]), ValueError, r"of shape \(2, 3\) and .* \(1, 3\) must be the same rows"),
        (lambda: distillation_loss(S, T[:, :2]), ValueError, "have 3 words and teacher_logits 2: .*vocabulary=n"),
        (lambda: distillation_loss(S, T, vocabulary=4), ValueError, "vocabulary = 4 lies outside 1 to 3, the words of"),
        (lambda: distillation_loss(S, T.to("meta")), ValueError, "student_logits are on cpu, teacher_logits on meta"),
        (lambda: distillation_loss(S, T, mask=torch.ones(3)), ValueError, r"mask of shape \(3,\) does not broadcast"),
        (lambda: distillation_loss(S, T, reduction="batchmean"), ValueError, "reduction = 'batchmean' is none of"),
        (lambda: distillation_loss(S, T, labels=torch.tensor([0])), ValueError, r"labels of shape \(1,\) must"),
        (lambda: distillation_loss(S, T, labels=torch.zeros(2)), TypeError, "labels must be integers.*torch.float32"),
        (lambda: distillation_loss(S, T, labels=torch.tensor([0, 3])), ValueError, r"labels\[1\] = 3 is none of the 3"),
        (lambda: generalized_jsd(1.5), ValueError, r"beta = 1.5 lies outside \[0, 1\]"),
        (lambda: generalized_jsd("0.5"), TypeError, "beta must be a real number"),
    ],
)  # fmt: skip
def test_errors(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_bad_entry_is_named_where_the_caller_put_it() -> None:
    mask = torch.tensor([0, 1, 1])
    good = torch.zeros(3, 4)
    for reverse in (False, True):
        bad = good.clone()
        bad[0] = torch.nan
        bad[2, 1] = torch.nan
        with pytest.raises(ValueError, match=r"^student_logits\[2, 1\] = nan must be finite or −inf; mask="):
            distillation_loss(bad, good, mask=mask, reverse=reverse)
        with pytest.raises(ValueError, match=r"^teacher_logits\[2, 1\] = nan"):
            distillation_loss(good, bad, mask=mask, reverse=reverse)
        bad[2] = -math.inf
        with pytest.raises(ValueError, match=r"^every logit of student_logits\[2\] is −inf"):
            distillation_loss(bad, good, mask=mask, reverse=reverse)
