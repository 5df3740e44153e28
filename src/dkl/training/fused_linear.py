"""Distillation from hidden states: the divergence of two last layers whose logits are never held all at once."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dkl._array import compiling, real_number
from dkl.divergences import Divergence, kl
from dkl.methods.fused import held
from dkl.training.reduction import Reduction, reduced
from dkl.training.teacher_student import Objective, check_entries, check_labels, kept_rows

#: Bytes that one side's logits of a chunk take: few enough to stay in a processor's cache or hardly show beside the
#: weights, and enough rows for a matrix product at full speed.
_CHUNK = 1 << 24
#: Bytes of a half-precision weight that are widened at a time.
_WIDENED = 1 << 22

Sides = tuple[bool, bool, bool]


def fused_linear_divergence(
    student_hidden: Tensor,
    student_weight: Tensor,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    divergence: Divergence = kl,
    *,
    student_bias: Tensor | None = None,
    teacher_bias: Tensor | None = None,
    temperature: float = 1.0,
    temperature_squared: bool = True,
    soft_cap: float | tuple[float | None, float | None] | None = None,
    reverse: bool = False,
    vocabulary: int | None = None,
    labels: Tensor | None = None,
    label_weight: float | None = None,
    ignore_index: int = -100,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    chunk_size: int | None = None,
) -> Tensor:
    """``distillation_loss`` of logits hidden @ weightᵀ + bias, a chunk of tokens at a time.

    The logits of all tokens, [tokens × words] on each side, are most of the memory that distilling a language model
    takes. Here a chunk's logits are made, measured, differentiated back to the hidden states and the weight, and
    dropped.

    Parameters
    ----------
    student_hidden, teacher_hidden : Tensor
        The inputs of the last layers, shape (..., width), each of its own width. float16, bfloat16, float32 or float64.
    student_weight, teacher_weight : Tensor
        Shape (words, width): ``layer.weight`` of a ``torch.nn.Linear``.
    divergence : Divergence
        Of P = teacher and Q = student, as in ``distillation_loss``.
    student_bias, teacher_bias : Tensor, optional
        Shape (words,), ``layer.bias``; −inf excludes a word, also under a soft cap.
    soft_cap : float or pair of them, optional
        c > 0 turns each logit z into c·tanh(z/c) before the temperature, as Gemma 2 does; a pair gives the student's
        and the teacher's, None for no cap.
    vocabulary : int, optional
        Only the first so many words exist: rows of either weight beyond (padding) are not looked at, and their gradient
        is 0. Needed where the two have different numbers of rows.
    temperature, temperature_squared, reverse, labels, label_weight, ignore_index, mask, reduction
        As in ``distillation_loss``; rows are tokens.
    chunk_size : int, optional
        Tokens whose logits are held at a time. By default as many as make 16 MiB of logits on each side, at least one;
        the result depends on it by rounding alone.

    Returns
    -------
    Tensor
        As ``distillation_loss``.

    Raises
    ------
    ValueError
        For shapes that do not fit, a parameter outside its domain, and on the CPU (elsewhere it would wait for the
        device) for an entry that is not finite, or a label that is no word.
    TypeError
        For a divergence or a dtype that is none, and a layer in the place of its weight.

    Notes
    -----
    Gradients reach whichever of hidden states, weights and biases require them, on either side: for a frozen teacher
    nothing of its is computed. For ``"mean"`` and ``"sum"`` they are made in the forward pass, where the logits are at
    hand, and the backward pass only multiplies them by the number that comes in. For ``"none"`` each token's gradient
    is still to be weighted, so the backward pass makes the logits a second time: two matrix products more.

    Products are made and added up in float32 at least: half-precision weights are widened some MiB at a time. Beyond
    the gradients themselves (the weight's in that precision) memory is O(chunk_size · words). There are no second
    derivatives. ``torch.compile`` runs the function as it is, between a graph before and a graph after it, so that
    ``fullgraph=True`` refuses it: traced, the loop over chunks would be unrolled, and an operator of PyTorch's takes no
    divergence among its arguments.

    References
    ----------
    .. [1] P.-L. Hsu et al., "Liger Kernel: efficient Triton kernels for LLM training", arXiv:2410.10989 (2024),
       section 3.2, and E. Wijmans et al., "Cut your losses in large-vocabulary language models", ICLR (2025): the same
       for the cross-entropy.

    Examples
    --------
    >>> import torch
    >>> from dkl.training import distillation_loss, fused_linear_divergence
    >>> made = torch.Generator().manual_seed(0)
    >>> student, teacher = torch.nn.Linear(4, 50), torch.nn.Linear(8, 50)
    >>> x, y = (torch.randn(6, width, generator=made) for width in (4, 8))
    >>> loss = fused_linear_divergence(x, student.weight, y, teacher.weight.detach(), student_bias=student.bias)
    >>> loss.backward()
    >>> plain = distillation_loss(student(x), y @ teacher.weight.detach().T)
    >>> bool(torch.isclose(loss, plain)), student.weight.grad.shape
    (True, torch.Size([50, 4]))
    """
    objective = Objective(divergence, temperature, temperature_squared, reverse, label_weight, labels is not None)
    student_cap, teacher_cap = soft_cap if isinstance(soft_cap, tuple) else (soft_cap, soft_cap)
    student = _head("student", student_hidden, student_weight, student_bias, student_cap, vocabulary)
    teacher = _head("teacher", teacher_hidden, teacher_weight, teacher_bias, teacher_cap, vocabulary)
    words, rows = _same_tokens(student, teacher)
    kept = kept_rows(mask, labels, ignore_index, rows)
    # Tokens that do not count are left out where they can be seen, and else made harmless in place.
    seen = not compiling() and held(*(x for x in (student_hidden, teacher_hidden, kept) if x is not None))
    index = None
    if seen and kept is not None:
        if labels is not None:
            check_labels(labels, kept, words)
        if not bool(kept.all()):
            index = kept.reshape(-1).nonzero().squeeze(1)

    def chosen(x: Tensor) -> Tensor:
        if kept is not None and not seen:
            x = torch.where(kept.reshape(*rows, *[1] * (x.ndim - len(rows))), x, 0)
        flat = x.reshape(-1, *x.shape[len(rows) :])
        return flat if index is None else flat[index]

    work = _Work(
        objective,
        (student.cap, teacher.cap),
        None if labels is None else chosen(labels),
        None if kept is None or index is not None else kept.reshape(-1),
        _chunk_size(chunk_size, words, student, teacher),
        at_once=reduction != "none" and torch.is_grad_enabled(),
    )
    layers = [x for head in (student, teacher) for x in (chosen(head.hidden), head.weight, head.bias)]
    try:
        # torch.compile, where it is loaded, is told to leave the loop over chunks alone: it would trace it in vain.
        apply = torch.compiler.disable(_FusedLinear.apply) if "torch._dynamo" in sys.modules else _FusedLinear.apply
        values = apply(work, *layers)
    except ValueError:
        for name, head in (("student", student), ("teacher", teacher)):
            check_entries(f"{name}_hidden", head.hidden.detach(), kept, infinite=False)
            check_entries(f"{name}_weight", head.weight.detach(), None, infinite=False)
            if head.bias is not None:
                check_entries(f"{name}_bias", head.bias.detach(), None, infinite=True)
        raise
    if index is None:
        return reduced(values.reshape(rows), reduction, kept)
    if reduction == "none":
        values = values.new_zeros(math.prod(rows)).index_copy(0, index, values).reshape(rows)
    return reduced(values, reduction)


@dataclass(frozen=True, eq=False)
class _Head:
    """A last layer: hidden states to logits, and the gradient at the logits back to what they are made of."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    cap: float | None

    @property
    def dtype(self) -> torch.dtype:
        """What its logits are calculated in."""
        return torch.promote_types(torch.promote_types(self.hidden.dtype, self.weight.dtype), torch.float32)

    def room(self, tokens: int) -> Tensor:
        """Room for the logits of so many tokens, used again by one chunk after another."""
        return torch.empty(tokens, len(self.weight), dtype=self.dtype, device=self.hidden.device)

    def logits(self, tokens: slice, room: Tensor) -> Tensor:
        """The logits of some tokens, in the room for them."""
        x = self.hidden[tokens].to(self.dtype)
        made = room[: len(x)]
        for words, block in self._blocks():
            torch.mm(x, block.T, out=made[:, words])
        if self.bias is not None:
            made += self.bias
        if self.cap is not None:
            made.div_(self.cap).tanh_().mul_(self.cap)
            if self.bias is not None:
                made.masked_fill_(self.bias == -math.inf, -math.inf)
        return made

    def buffers(self, wanted: Sides) -> list[Tensor | None]:
        """Room for the gradients that are wanted, all 0."""
        return [
            torch.zeros(x.shape, dtype=self.dtype, device=x.device) if x is not None and asked else None
            for x, asked in zip((self.hidden, self.weight, self.bias), wanted, strict=True)
        ]

    def pull_back(self, tokens: slice, logits: Tensor, gradient: Tensor, into: list[Tensor | None]) -> None:
        """Add what the gradient at some tokens' logits, which is used up, is at the inputs."""
        hidden, weight, bias = into
        if self.cap is not None:
            # The slope of the cap, 1 − tanh²; an excluded word's logit of −inf stands for a slope of 0.
            gradient *= (logits / self.cap).clamp_(min=-1).square_().neg_().add_(1)
        if hidden is not None:
            for words, block in self._blocks():
                hidden[tokens].addmm_(gradient[:, words], block)
        if weight is not None:
            weight.addmm_(gradient.T, self.hidden[tokens].to(self.dtype))
        if bias is not None:
            bias += gradient.sum(0)

    def _blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """The weight in the dtype of the calculation: itself where it has it, or else widened piece by piece."""
        count, width = self.weight.shape
        each = count if self.weight.dtype == self.dtype else max(1, _WIDENED // (width * self.dtype.itemsize))
        for start in range(0, count, each):
            words = slice(start, min(count, start + each))
            yield words, self.weight[words].to(self.dtype)


@dataclass(frozen=True, eq=False)
class _Work:
    """What is to be done with two last layers."""

    objective: Objective
    caps: tuple[float | None, float | None]
    labels: Tensor | None
    #: Which tokens count, where those that do not are still among them.
    kept: Tensor | None
    chunk: int
    #: Whether gradients are made together with the values, since each token will be given the same weight.
    at_once: bool

    def heads(self, layers: tuple[Tensor | None, ...]) -> tuple[_Head, _Head]:
        """Both last layers from their six tensors."""
        hidden, weight, bias, others, other_weight, other_bias = layers
        return _Head(hidden, weight, bias, self.caps[0]), _Head(others, other_weight, other_bias, self.caps[1])

    def values(self, layers: tuple[Tensor | None, ...]) -> Tensor:
        """The loss of each token."""
        return self._in_chunks(self.heads(layers), ((False,) * 3, (False,) * 3), None)[0]

    def gradients(
        self, layers: tuple[Tensor | None, ...], wanted: tuple[bool, ...], passed: Tensor | None
    ) -> tuple[Tensor, list[Tensor | None]]:
        """The same and the gradients of their sum, or of the sum weighted by what is passed, at the six tensors."""
        return self._in_chunks(self.heads(layers), (wanted[:3], wanted[3:]), passed)  # type: ignore[arg-type]

    def _in_chunks(
        self, heads: tuple[_Head, _Head], wanted: tuple[Sides, Sides], passed: Tensor | None
    ) -> tuple[Tensor, list[Tensor | None]]:
        into = [head.buffers(side) for head, side in zip(heads, wanted, strict=True)]
        count = len(heads[0].hidden)
        rooms = [head.room(min(count, self.chunk)) for head in heads]
        # Of no token at all there is one chunk, empty: it knows the dtype.
        starts = range(0, max(count, 1), self.chunk)
        values = [self._chunk(heads, slice(k, min(count, k + self.chunk)), rooms, passed, into) for k in starts]
        return torch.cat(values), [*into[0], *into[1]]

    def _chunk(
        self,
        heads: tuple[_Head, _Head],
        tokens: slice,
        rooms: list[Tensor],
        passed: Tensor | None,
        into: list[list[Tensor | None]],
    ) -> Tensor:
        logits = [head.logits(tokens, room).detach() for head, room in zip(heads, rooms, strict=True)]
        labels = None if self.labels is None else self.labels[tokens]
        sought = [k for k in range(2) if any(x is not None for x in into[k])]
        for k in sought:
            logits[k].requires_grad_()
        with torch.set_grad_enabled(bool(sought)):
            values = self.objective.rows(logits[0], logits[1], labels)
        if sought:
            weights = self._weights(values, tokens) if passed is None else passed[tokens]
            gradients = torch.autograd.grad(values, [logits[k] for k in sought], weights, materialize_grads=True)
            for k, gradient in zip(sought, gradients, strict=True):
                heads[k].pull_back(tokens, logits[k].detach(), gradient, into[k])
        return values.detach()

    def _weights(self, values: Tensor, tokens: slice) -> Tensor:
        return torch.ones_like(values) if self.kept is None else self.kept[tokens].to(values.dtype)


class _FusedLinear(torch.autograd.Function):  # type: ignore[misc]
    """The loss of each token, from the student's hidden states, weight and bias and the teacher's."""

    @staticmethod
    def forward(ctx: Any, work: _Work, *layers: Tensor | None) -> Any:
        """The values, and the gradients with them if they can be made at once."""
        wanted = ctx.needs_input_grad[1:]
        ctx.work, ctx.made = work, None
        ctx.save_for_backward(*layers)
        with _uncast(layers[0]):
            if not (work.at_once and any(wanted)):
                return work.values(layers)
            values, ctx.made = work.gradients(layers, wanted, None)
            return values

    @staticmethod
    def backward(ctx: Any, passed: Tensor) -> Any:
        """The gradients of the sum times the one number that comes in; or those of the weighted sum, made now."""
        if torch.is_grad_enabled():
            raise RuntimeError(
                "fused_linear_divergence has no second derivatives (create_graph=True): use distillation_loss"
            )
        layers, work = ctx.saved_tensors, ctx.work
        # What was made before is used up; who goes the way back again (retain_graph=True) has it made anew.
        made, ctx.made = ctx.made, None
        if made is None:
            with _uncast(passed):
                _, made = work.gradients(layers, ctx.needs_input_grad[1:], None if work.at_once else passed)
        if work.at_once and len(passed):
            number = passed[0] if work.kept is None else passed.take(work.kept.int().argmax())
            for gradient in made:
                if gradient is not None:
                    gradient *= number
        return None, *(g if g is None else g.to(x.dtype) for g, x in zip(made, layers, strict=True))


def _uncast(like: Tensor | None) -> AbstractContextManager[object]:
    """Without autocast, which would round the products to half precision."""
    kind = like.device.type  # type: ignore[union-attr]
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def _head(
    name: str, hidden: Tensor, weight: Tensor, bias: Tensor | None, cap: float | None, vocabulary: int | None
) -> _Head:
    """One side, checked, with the words that exist."""
    given = {f"{name}_hidden": hidden, f"{name}_weight": weight} | ({} if bias is None else {f"{name}_bias": bias})
    for which, x in given.items():
        if isinstance(x, torch.nn.Module):
            raise TypeError(
                f"{which} is a layer, {type(x).__name__}: give its layer.weight, and its bias as {name}_bias=layer.bias"
            )
        if not isinstance(x, Tensor):
            raise TypeError(f"{which} must be a tensor, got a {type(x).__name__}")
        if not x.is_floating_point():
            raise TypeError(f"{which} must be floating, got {x.dtype}")
        if x.device != hidden.device:
            raise ValueError(f"{which} is on {x.device}, {name}_hidden on {hidden.device}: move one")
    if weight.ndim != 2 or 0 in weight.shape:
        raise ValueError(f"{name}_weight of shape {tuple(weight.shape)} must be a matrix, (words, width)")
    if hidden.ndim == 0 or hidden.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"{name}_hidden of shape {tuple(hidden.shape)} and {name}_weight of shape {tuple(weight.shape)} must agree "
            "in their last axis, the width"
        )
    if bias is not None and tuple(bias.shape) != (len(weight),):
        raise ValueError(
            f"{name}_bias of shape {tuple(bias.shape)} must have one entry for each of the {len(weight)} words"
        )
    if cap is not None and not 0 < real_number(cap, "soft_cap") < math.inf:
        raise ValueError(f"soft_cap = {cap:g} must be positive and finite; None for no cap")
    if vocabulary is not None:
        if not 0 < vocabulary <= len(weight):
            raise ValueError(f"vocabulary = {vocabulary} lies outside 1 to {len(weight)}, the words of {name}_weight")
        weight, bias = weight[:vocabulary], None if bias is None else bias[:vocabulary]
    return _Head(hidden, weight, bias, cap)


def _same_tokens(student: _Head, teacher: _Head) -> tuple[int, tuple[int, ...]]:
    """How many words there are, and the shape of the tokens."""
    if student.hidden.device != teacher.hidden.device:
        raise ValueError(f"the student is on {student.hidden.device}, the teacher on {teacher.hidden.device}: move one")
    counts = len(student.weight), len(teacher.weight)
    if counts[0] != counts[1]:
        raise ValueError(
            f"student_weight has {counts[0]} words and teacher_weight {counts[1]}: where the first n are the "
            "same, give vocabulary=n"
        )
    rows, others = (tuple(head.hidden.shape[:-1]) for head in (student, teacher))
    if rows != others:
        raise ValueError(f"student_hidden has tokens of shape {rows} and teacher_hidden {others}: give the same tokens")
    return counts[0], rows


def _chunk_size(size: int | None, words: int, student: _Head, teacher: _Head) -> int:
    """How many tokens are taken at a time."""
    if size is None:
        itemsize: int = max(student.dtype.itemsize, teacher.dtype.itemsize)
        return max(1, _CHUNK // (words * itemsize))
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"chunk_size = {size!r} must be a positive whole number of tokens")
    return size
