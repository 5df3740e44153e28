"""The fused last layers against their logits held at once, in value, in all six gradients, and in what they hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

import dkl
from dkl.training import distillation_loss, fused_linear, fused_linear_divergence

TOKENS, WORDS = 7, 11


@dataclass(frozen=True)
class Layers:
    """Two last layers, and their tensors in the order in which gradients are asked for."""

    student_hidden: Tensor
    student_weight: Tensor
    student_bias: Tensor
    teacher_hidden: Tensor
    teacher_weight: Tensor
    teacher_bias: Tensor

    @property
    def tensors(self) -> list[Tensor]:
        return [*vars(self).values()]

    def fused(self, *args: Any, **options: Any) -> Tensor:
        hidden = self.student_hidden, self.student_weight, self.teacher_hidden, self.teacher_weight
        biases = {"student_bias": self.student_bias, "teacher_bias": self.teacher_bias}
        return fused_linear_divergence(*hidden, *args, **biases, **options)

    def logits(self, cap: float | None = None) -> tuple[Tensor, Tensor]:
        made = (
            self.student_hidden @ self.student_weight.T + self.student_bias,
            self.teacher_hidden @ self.teacher_weight.T + self.teacher_bias,
        )
        return made if cap is None else tuple(cap * (z / cap).tanh() for z in made)  # type: ignore[return-value]


def _layers(dtype: torch.dtype = torch.float64, tokens: tuple[int, ...] = (TOKENS,), words: int = WORDS) -> Layers:
    made = torch.Generator().manual_seed(0)
    shapes = (*tokens, 3), (words, 3), (words,), (*tokens, 5), (words, 5), (words,)
    tensors = (torch.randn(shape, generator=made, dtype=torch.float64).to(dtype) for shape in shapes)
    return Layers(*(x.requires_grad_() for x in tensors))


def _gradients(value: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    # Other weights for other tokens, where there are tokens.
    weights = torch.linspace(0.5, 2.0, value.numel(), dtype=value.dtype).reshape(value.shape)
    return list(torch.autograd.grad(value, inputs, weights, materialize_grads=True))


def _agree(got: Tensor, expected: Tensor, inputs: list[Tensor], rtol: float = 1e-12) -> None:
    torch.testing.assert_close(got, expected, rtol=rtol, atol=1e-15)
    for g, e in zip(_gradients(got, inputs), _gradients(expected, inputs), strict=True):
        torch.testing.assert_close(g, e, rtol=rtol, atol=rtol * max(float(e.abs().max()), 1e-3))


@pytest.mark.parametrize("chunk_size", [1, 3, TOKENS, None])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_kl_is_that_of_the_logits_written_out(reduction: str, chunk_size: int | None) -> None:
    layers = _layers()
    log_q, log_p = ((z / 1.5).log_softmax(-1) for z in layers.logits(cap=2.0))
    plain = 1.5**2 * (log_p.exp() * (log_p - log_q)).sum(-1)
    plain = plain if reduction == "none" else getattr(plain, reduction)()
    got = layers.fused(temperature=1.5, soft_cap=2.0, reduction=reduction, chunk_size=chunk_size)
    _agree(got, plain, layers.tensors)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"divergence": dkl.JS(0.2), "temperature": 3.0},
        {"divergence": dkl.Renyi(2), "temperature_squared": False, "temperature": 2.0},
        {"divergence": dkl.SkewKL(0.9), "reverse": True},
        {"divergence": dkl.tv, "vocabulary": 8},
        {"labels": torch.tensor([0, 1, -100, 3, 10, 5, 6]), "label_weight": 0.3, "temperature": 2.0},
        {"labels": torch.tensor([0, 1, 2, 3, 10, 5, 6]), "label_weight": 1.0},
        {"mask": torch.tensor([1, 0, 1, 1, 0, 0, 1]), "divergence": dkl.reverse_kl},
    ],
    ids=lambda options: ",".join(options),
)
def test_every_option_is_that_of_distillation_loss(options: dict[str, Any], reduction: str) -> None:
    layers = _layers()
    for chunk_size in (1, 3, None):
        got = layers.fused(**options, reduction=reduction, chunk_size=chunk_size)
        _agree(got, distillation_loss(*layers.logits(), **options, reduction=reduction), layers.tensors)


def test_without_biases_and_with_tokens_of_any_shape() -> None:
    layers = _layers(tokens=(2, 3))
    inputs = [x for name, x in vars(layers).items() if not name.endswith("bias")]
    plain = distillation_loss(
        layers.student_hidden @ layers.student_weight.T,
        layers.teacher_hidden @ layers.teacher_weight.T,
        reduction="none",
    )
    got = fused_linear_divergence(*inputs, reduction="none", chunk_size=4)
    assert got.shape == (2, 3)
    _agree(got, plain, inputs)
    one = fused_linear_divergence(*(x[0, 0] if x.ndim == 3 else x for x in inputs))
    torch.testing.assert_close(one, plain[0, 0])


def test_each_side_has_its_own_cap() -> None:
    layers = _layers()
    for k, caps in enumerate([(0.5, None), (None, 0.5)]):
        logits = list(layers.logits())
        logits[k] = 0.5 * (logits[k] / 0.5).tanh()
        _agree(layers.fused(soft_cap=caps), distillation_loss(*logits), layers.tensors)


@pytest.mark.parametrize("cap", [None, 2.0])
@pytest.mark.parametrize("member", [dkl.kl, dkl.js], ids=lambda d: d.name)
def test_a_bias_of_minus_infinity_excludes_a_word(member: dkl.Divergence, cap: float | None) -> None:
    layers = _layers()
    padded = replace(
        layers,
        student_bias=layers.student_bias.detach().masked_fill(torch.arange(WORDS) > 7, -math.inf).requires_grad_(),
        teacher_bias=layers.teacher_bias.detach().masked_fill(torch.arange(WORDS) > 7, -math.inf).requires_grad_(),
    )
    got = padded.fused(member, soft_cap=cap, chunk_size=2)
    expected = layers.fused(member, soft_cap=cap, vocabulary=8)
    torch.testing.assert_close(got, expected, rtol=1e-13, atol=0)
    for g, e in zip(_gradients(got, padded.tensors), _gradients(expected, layers.tensors), strict=True):
        torch.testing.assert_close(g, e, rtol=1e-12, atol=1e-15)


def test_an_infinite_loss_has_no_nan_in_its_gradients() -> None:
    layers = _layers()
    student_bias = layers.student_bias.detach().masked_fill(torch.arange(WORDS) == 4, -math.inf).requires_grad_()
    layers = replace(layers, student_bias=student_bias)
    for cap in (None, 2.0):
        loss = layers.fused(soft_cap=cap)
        assert loss == math.inf
        assert all(torch.isfinite(g).all() for g in _gradients(loss, layers.tensors))


def test_matrices_padded_to_different_widths() -> None:
    layers = _layers()
    wider = torch.cat([layers.teacher_weight, torch.full((5, 5), 1e3, dtype=torch.float64)]).detach().requires_grad_()
    inputs = layers.student_hidden, layers.student_weight, layers.teacher_hidden
    got = fused_linear_divergence(*inputs, wider, vocabulary=WORDS)
    torch.testing.assert_close(got, fused_linear_divergence(*inputs, layers.teacher_weight), rtol=1e-14, atol=0)
    (gradient,) = torch.autograd.grad(got, wider)
    assert gradient[:WORDS].any()
    assert not gradient[WORDS:].any()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_what_lies_under_the_mask_does_not_matter(reduction: Any) -> None:
    layers = _layers()
    mask = torch.arange(TOKENS) % 3 > 0
    labels = torch.arange(TOKENS).where(mask, torch.tensor(99))
    student_hidden, teacher_hidden = (
        x.detach().masked_fill(~mask[:, None], math.nan).requires_grad_()
        for x in (layers.student_hidden, layers.teacher_hidden)
    )
    spoilt = replace(layers, student_hidden=student_hidden, teacher_hidden=teacher_hidden)
    alone = replace(layers, student_hidden=layers.student_hidden[mask], teacher_hidden=layers.teacher_hidden[mask])
    got = spoilt.fused(mask=mask, labels=labels, reduction=reduction, chunk_size=2)
    expected = alone.fused(labels=labels[mask], reduction=reduction)
    torch.testing.assert_close(got[mask] if reduction == "none" else got, expected, rtol=1e-13, atol=0)
    found = torch.autograd.grad(got.sum(), spoilt.tensors)
    for g, e in zip(found, torch.autograd.grad(expected.sum(), layers.tensors), strict=True):
        torch.testing.assert_close(g, e, rtol=1e-12, atol=1e-15)
    for k in (0, 3):
        assert not found[k][~mask].any()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_no_token_at_all(reduction: Any) -> None:
    layers = _layers()
    for loss in (
        layers.fused(mask=torch.zeros(TOKENS), reduction=reduction),
        _layers(tokens=(0,)).fused(reduction=reduction),
    ):
        assert loss == 0
        loss.backward()
    assert not any(x.grad.any() for x in layers.tensors)


def test_what_cannot_be_seen_is_done_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a device that it would be slow to ask which tokens count.
    layers = _layers()
    mask = torch.tensor([False, False, True, True, False, True, True])
    options: dict[str, Any] = {"mask": mask, "labels": torch.arange(TOKENS), "chunk_size": 2}
    for reduction in ("mean", "none"):
        expected = layers.fused(**options, reduction=reduction)
        with monkeypatch.context() as patch:
            patch.setattr(fused_linear, "held", lambda *x: False)
            spoilt = layers.student_hidden.detach().masked_fill(~mask[:, None], math.nan).requires_grad_()
            blind = replace(layers, student_hidden=spoilt)
            got = blind.fused(**options, reduction=reduction)
        torch.testing.assert_close(got, expected, rtol=1e-14, atol=0)
        for g, e in zip(_gradients(got, blind.tensors), _gradients(expected, layers.tensors), strict=True):
            torch.testing.assert_close(g, e, rtol=1e-12, atol=1e-15)


def test_no_value_is_looked_at_on_a_device() -> None:
    # Tensors of the device "meta" have no values: whatever asked for one would raise.
    layers = Layers(*(x.detach().to("meta").requires_grad_() for x in _layers().tensors))
    labels, mask = torch.zeros(TOKENS, dtype=torch.long, device="meta"), torch.ones(TOKENS, device="meta")
    for reduction in ("mean", "none"):
        loss = layers.fused(dkl.js, labels=labels, mask=mask, soft_cap=2.0, temperature=2.0, reduction=reduction)
        assert [g.shape for g in torch.autograd.grad(loss.sum(), layers.tensors)] == [x.shape for x in layers.tensors]


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_gradcheck(reduction: str) -> None:
    layers = _layers(tokens=(3,), words=4)

    def loss(*tensors: Tensor) -> Tensor:
        return Layers(*tensors).fused(
            dkl.JS(0.3), soft_cap=(3.0, None), temperature=1.3, chunk_size=2, reduction=reduction
        )

    assert torch.autograd.gradcheck(loss, layers.tensors)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_half_precision_accumulates_in_float32(
    dtype: torch.dtype, reduction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_linear, "_WIDENED", 4 * 3 * 4)  # four words of the student at a time
    layers = _layers(dtype)
    wide = Layers(*(x.detach().float().requires_grad_() for x in layers.tensors))
    got, expected = (each.fused(reduction=reduction, chunk_size=2) for each in (layers, wide))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(layers.fused(reduction=reduction), expected, rtol=1e-6, atol=0)
    for g, e in zip(_gradients(got, layers.tensors), _gradients(expected, wide.tensors), strict=True):
        assert g.dtype == dtype
        torch.testing.assert_close(g.float(), e, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


def test_dtypes_of_a_layer_may_differ() -> None:
    layers = _layers()
    mixed = replace(layers, student_hidden=layers.student_hidden.detach().bfloat16().requires_grad_())
    same = replace(layers, student_hidden=mixed.student_hidden.detach().double().requires_grad_())
    got, expected = mixed.fused(), same.fused()
    torch.testing.assert_close(got, expected, rtol=0, atol=0)
    for x, g, e in zip(mixed.tensors, _gradients(got, mixed.tensors), _gradients(expected, same.tensors), strict=True):
        torch.testing.assert_close(g, e.to(x.dtype), rtol=0, atol=0)


def test_the_way_back_may_be_gone_twice() -> None:
    layers = _layers()
    loss = layers.fused(dkl.js)
    first = torch.autograd.grad(loss, layers.tensors, retain_graph=True)
    kept = [x.clone() for x in first]
    second = torch.autograd.grad(3 * loss, layers.tensors)
    for a, b, c in zip(first, kept, second, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(3 * a, c, rtol=1e-12, atol=1e-15)


def test_there_are_no_second_derivatives() -> None:
    layers = _layers()
    with pytest.raises(RuntimeError, match=r"no second derivatives .*: use distillation_loss"):
        torch.autograd.grad(layers.fused(), layers.student_hidden, create_graph=True)


class _Largest(TorchDispatchMode):
    """Notes the number of entries of the largest tensor made, and the number of matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.entries, self.products = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.products += func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm_)
        for x in made if isinstance(made, tuple | list) else [made]:
            if isinstance(x, Tensor):
                self.entries = max(self.entries, x.numel())
        return made


@pytest.mark.parametrize(("reduction", "products"), [("mean", 4), ("none", 6)])
def test_the_logits_are_never_held(reduction: Any, products: int) -> None:
    tokens, words = 400, 300
    layers = _layers(torch.float32, tokens=(tokens,), words=words)
    for name in ("teacher_hidden", "teacher_weight", "teacher_bias"):
        getattr(layers, name).requires_grad_(False)
    with _Largest() as noted:
        layers.fused(chunk_size=50, temperature=2.0, reduction=reduction).sum().backward()
    assert noted.entries == 50 * words
    # Of each chunk: both sides' logits, once or twice, and the gradients of the student's states and weight.
    assert noted.products == products * tokens // 50
    with _Largest() as noted, torch.no_grad():
        layers.fused(chunk_size=50)
    assert noted.products == 2 * tokens // 50


def test_chunks_are_chosen_by_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = _layers()
    for memory, most in ((8 * WORDS * 3, 3), (1, 1)):
        monkeypatch.setattr(fused_linear, "_CHUNK", memory)
        with _Largest() as noted, torch.no_grad():
            layers.fused()
        assert noted.products == 2 * -(-TOKENS // most)


# Importing torch's compiler warns of its own deprecated calls; nothing here is about them.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning:torch")
def test_torch_compile_leaves_it_as_it_is() -> None:
    torch.compiler.reset()
    layers = _layers()
    compiled = torch.compile(lambda: 2 * layers.fused(dkl.tv), backend="eager")
    _agree(compiled(), 2 * layers.fused(dkl.tv), layers.tensors)


def _call(**changed: Any) -> Callable[[], Tensor]:
    layers = {name: x.detach() for name, x in vars(_layers()).items()}
    return lambda: fused_linear_divergence(**{**layers, **changed})


X = torch.zeros


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (_call(student_hidden=X(7, 3).int()), TypeError, "student_hidden must be floating, got torch.int32"),
        (_call(teacher_bias=X(11).long()), TypeError, "teacher_bias must be floating, got torch.int64"),
        (_call(teacher_weight=torch.nn.Linear(5, 11)), TypeError,
         r"teacher_weight is a layer, Linear: give its layer\.weight, and its bias as teacher_bias=layer\.bias"),
        (_call(student_hidden=[1.0]), TypeError, "student_hidden must be a tensor, got a list"),
        (_call(label_weight=0.1), ValueError, "label_weight = 0.1, but there are no labels: give labels="),
        (_call(student_weight=X(11)), ValueError, r"student_weight of shape \(11,\) must be a matrix"),
        (_call(student_weight=X(11, 4)), ValueError, r"student_hidden of shape \(7, 3\) and .*\(11, 4\) must agree"),
        (_call(teacher_bias=X(12)), ValueError, r"teacher_bias of shape \(12,\) must have one entry"),
        (_call(teacher_weight=X(12, 5), teacher_bias=None), ValueError, "has 11 words and teacher_weight 12: .*"),
        (_call(teacher_hidden=X(6, 5)), ValueError, r"tokens of shape \(7,\) and teacher_hidden \(6,\)"),
        (_call(student_weight=X(11, 3, device="meta")), ValueError, "student_weight is on meta, student_hidden on cpu"),
        (_call(vocabulary=12), ValueError, "vocabulary = 12 lies outside 1 to 11, the words of student_weight"),
        (_call(soft_cap=0.0), ValueError, "soft_cap = 0 must be positive and finite; None"),
        (_call(soft_cap=(None, math.inf)), ValueError, "soft_cap = inf must be positive"),
        (_call(chunk_size=0), ValueError, "chunk_size = 0 must be a positive whole number"),
        (_call(chunk_size=2.5), ValueError, "chunk_size = 2.5 must be a positive whole number"),
        (_call(temperature=-1), ValueError, "temperature = -1 must be positive"),
        (_call(divergence=functional.kl_div), TypeError, "is no divergence: give dkl.kl"),
        (_call(reduction="batchmean"), ValueError, "reduction = 'batchmean' is none of"),
        (_call(mask=X(6)), ValueError, r"mask of shape \(6,\) does not broadcast against rows of shape \(7,\)"),
        (_call(labels=torch.full((7,), 11)), ValueError, r"labels\[0\] = 11 is none of the 11 words"),
        (_call(student_hidden=X(7, 3) / 0), ValueError, r"^student_hidden\[0, 0\] = nan must be finite; mask="),
        (_call(teacher_weight=X(11, 5) + math.inf), ValueError, r"^teacher_weight\[0, 0\] = inf must be finite"),
        (_call(student_bias=X(11) + math.inf), ValueError, r"^student_bias\[0\] = inf must be finite or −inf"),
    ],
)  # fmt: skip
def test_errors(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
