"""From a teacher's logits to a student's: any divergence of the family, at a temperature, with labels or without."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dkl._array import compiling
from dkl.divergences import JS, Divergence, kl, reverse_kl
from dkl.divergences.base import real_parameter
from dkl.methods.fused import held
from dkl.training.reduction import Reduction, reduced, visible
from dkl.training.teacher_student import Objective, check_entries, check_labels, kept_rows


def generalized_jsd(beta: float) -> Divergence:
    """The divergence that generalised knowledge distillation (GKD) calls JSD(β), from the teacher P to the student Q.

    Parameters
    ----------
    beta : float
        In [0, 1]. 0 is KL(teacher‖student), 1 is KL(student‖teacher), and anything between
        ``dkl.JS(beta)`` = β·KL(P‖M) + (1 − β)·KL(Q‖M) with M = β·P + (1 − β)·Q.

    Returns
    -------
    Divergence
        For ``distillation_loss`` and ``fused_linear_divergence``, or any pair.

    Raises
    ------
    ValueError
        If beta lies outside [0, 1].

    Notes
    -----
    The ends are set by hand: JS(β) itself vanishes there, as β·KL(P‖Q) for β → 0 and (1 − β)·KL(Q‖P) for β → 1. So the
    loss jumps at the ends: at β = 0.01 it is about a hundredth of what it is at 0.

    References
    ----------
    .. [1] R. Agarwal et al., "On-policy distillation of language models: learning from self-generated mistakes", ICLR
       (2024), eq. 1.

    Examples
    --------
    >>> from dkl.training import generalized_jsd
    >>> generalized_jsd(0.0), generalized_jsd(0.1), generalized_jsd(1.0)
    (dkl.kl, JS(weight=0.1), dkl.reverse_kl)
    """
    beta = real_parameter(beta, "beta")
    if not 0 <= beta <= 1:
        raise ValueError(f"beta = {beta:g} lies outside [0, 1]: it is the teacher's share in the mixture")
    return kl if beta == 0 else reverse_kl if beta == 1 else JS(beta)


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    divergence: Divergence = kl,
    *,
    temperature: float = 1.0,
    temperature_squared: bool = True,
    reverse: bool = False,
    vocabulary: int | None = None,
    labels: Tensor | None = None,
    label_weight: float | None = None,
    ignore_index: int = -100,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """T²·D(teacher‖student), both softened by the temperature T: the loss that makes a student agree with its teacher.

    Parameters
    ----------
    student_logits, teacher_logits : Tensor
        Shape (..., words), words (classes) along the last axis; −inf is a word that cannot be. float16, bfloat16,
        float32 or float64; gradients reach whichever requires them, so compute the teacher under ``torch.no_grad()``.
    divergence : Divergence
        Any member of the family, of P = teacher and Q = student. ``dkl.kl``, the default, is forward KL and covers all
        that the teacher does; ``dkl.reverse_kl`` is KL(student‖teacher) and seeks a mode of it.
    temperature : float
        T > 0, by which both sides' logits are divided.
    temperature_squared : bool
        Multiply the divergence by T² ([1], section 2), so that its gradient keeps its size when T changes. That holds
        for every member that is a squared distance near P = Q: of the family, all but ``dkl.tv``, ``dkl.hellinger`` and
        ``dkl.Renyi(inf)``, which are distances there.
    reverse : bool
        Measure D(student‖teacher) instead: for members that have no mirror image of their own, such as ``dkl.SkewKL``.
    vocabulary : int, optional
        Only the first so many words exist: what lies beyond in either side (padding of its matrix) is not looked at.
        Needed where the two are of different width.
    labels : Tensor of integers, optional
        Shape (...), the right word of each row, used as they are: for a language model, shift them by one token first.
        The loss of a row is then (1 − label_weight)·T²·D + label_weight·CE, with CE = −log of the student's probability
        of the label at temperature 1.
    label_weight : float, optional
        The labels' share, in [0, 1]; 0.5 if labels are given and it is not. Without labels it is an error, unless 0.
    ignore_index : int
        Rows with this label count in neither term.
    mask : Tensor, optional
        Which rows count, broadcast to shape (...); what lies beneath a 0 may be anything, NaN included.
    reduction : {"mean", "sum", "none"}
        Over the rows that count; sums over words always.

    Returns
    -------
    Tensor
        In nats where the divergence has them; float32, or float64 where an input is. Never negative. +inf where the
        divergence is, as forward KL is where the student excludes a word that the teacher has.

    Raises
    ------
    ValueError
        For shapes that do not fit, a parameter outside its domain, a weight of labels that are not given, and on the
        CPU (elsewhere it would wait for the device) for a logit that is NaN or +inf, a row without any word, a label
        that is no word.
    TypeError
        For a divergence or a dtype that is none.

    Notes
    -----
    On the CPU values and gradients are made by dkl's compiled loops, elsewhere by PyTorch's operations. O(rows · words)
    time; on the CPU nothing is kept for the way back but the inputs, and their quotients where T is not 1.

    References
    ----------
    .. [1] G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural network", arXiv:1503.02531 (2015).

    Examples
    --------
    >>> import dkl, torch
    >>> from dkl.training import distillation_loss
    >>> student = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, torch.nan]], requires_grad=True)
    >>> teacher = torch.tensor([[1.0, 1.0, -torch.inf], [0.0, 0.0, 0.0]])
    >>> loss = distillation_loss(student, teacher, dkl.js, temperature=2.0, mask=torch.tensor([1, 0]))
    >>> loss.backward()
    >>> f"{loss:.4f}", student.grad[1].tolist()
    ('0.3102', [0.0, 0.0, 0.0])
    """
    student, teacher = _same_words(student_logits, teacher_logits, vocabulary)
    objective = Objective(divergence, temperature, temperature_squared, reverse, label_weight, labels is not None)
    rows, words = tuple(student.shape[:-1]), student.shape[-1]
    kept = kept_rows(mask, labels, ignore_index, rows)
    # Rows that do not count are left out where that takes but a copy of the others, and else made harmless in place.
    seen = not compiling() and held(*(x for x in (student_logits, teacher_logits, kept) if x is not None))
    index = None
    if seen and kept is not None:
        if labels is not None:
            check_labels(labels, kept, words)
        if not bool(kept.all()):
            index = kept.reshape(-1).nonzero().squeeze(1)
    elif kept is not None:
        student, teacher = (visible(x, kept[..., None]) for x in (student, teacher))
        labels = None if labels is None else torch.where(kept, labels, 0)

    def chosen(x: Tensor) -> Tensor:
        flat = x.reshape(-1, *x.shape[len(rows) :])
        return flat if index is None else flat[index]

    try:
        values = objective.rows(chosen(student), chosen(teacher), None if labels is None else chosen(labels))
    except ValueError:
        _name_what_is_wrong(student_logits, teacher_logits, words, kept)
        raise
    if index is None:
        return reduced(values.reshape(rows), reduction, kept)
    if reduction == "none":
        values = values.new_zeros(math.prod(rows)).index_copy(0, index, values).reshape(rows)
    return reduced(values, reduction)


def _same_words(student: Tensor, teacher: Tensor, vocabulary: int | None) -> tuple[Tensor, Tensor]:
    for name, x in (("student_logits", student), ("teacher_logits", teacher)):
        if not x.is_floating_point():
            raise TypeError(f"{name} must be floating, got {x.dtype}")
        if x.ndim == 0 or x.shape[-1] == 0:
            raise ValueError(f"{name} of shape {tuple(x.shape)} has no words: they are the entries of the last axis")
        if vocabulary is not None and not 0 < vocabulary <= x.shape[-1]:
            raise ValueError(f"vocabulary = {vocabulary} lies outside 1 to {x.shape[-1]}, the words of {name}")
    if student.device != teacher.device:
        raise ValueError(f"student_logits are on {student.device}, teacher_logits on {teacher.device}: move one")
    if vocabulary is not None:
        student, teacher = student[..., :vocabulary], teacher[..., :vocabulary]
    if student.shape[-1] != teacher.shape[-1]:
        raise ValueError(
            f"student_logits have {student.shape[-1]} words and teacher_logits {teacher.shape[-1]}: where the first n "
            "are the same, give vocabulary=n"
        )
    if student.shape != teacher.shape:
        raise ValueError(
            f"student_logits of shape {tuple(student.shape)} and teacher_logits of shape {tuple(teacher.shape)} must "
            "be the same rows"
        )
    return student, teacher


def _name_what_is_wrong(student: Tensor, teacher: Tensor, words: int, kept: Tensor | None) -> None:
    for name, whole in (("student_logits", student), ("teacher_logits", teacher)):
        logits = whole.detach()[..., :words]
        check_entries(name, logits, kept, infinite=True)
        empty = (logits == -math.inf).all(-1)
        if kept is not None:
            empty &= kept
        if bool(empty.any()):
            at = empty.nonzero()[0].tolist()
            raise ValueError(f"every logit of {name}{at} is −inf: at least one word must be possible")
