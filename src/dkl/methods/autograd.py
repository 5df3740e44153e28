"""The fused loops as a step of PyTorch's autograd."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from dkl._array import namespace_of, real_floating, tree_sum, widest
from dkl.kernels.formulas import Formula
from dkl.kernels.sums import STATISTICS
from dkl.methods.fused import LEAST, Job, held
from dkl.representations import outcome_pair


class Rows(torch.autograd.Function):  # type: ignore[misc]
    """Each row's sum of terms and the masses of P and Q; None where the pair is not valid.

    Nothing but the entries is kept for the way back, where they are read once more.
    """

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any, job: Job) -> Any:
        """The sums, in the dtype of the calculation."""
        made = np.empty((3, math.prod(x.shape[:-1])), job.precision)

        def receive(at: slice, total: Any, mass_p: Any, mass_q: Any) -> None:
            made[0, at], made[1, at], made[2, at] = total, mass_p, mass_q

        # On logits the rows' statistics spare the way back two passes; of short rows they would be as large as the
        # entries.
        kept = None
        if job.source == "softmax" and x.shape[-1] > 2 * STATISTICS:
            kept = np.empty((STATISTICS, made.shape[1]), job.precision)
        if not job.sums(receive, kept):
            return None
        ctx.kept = kept
        ctx.save_for_backward(x, y)
        ctx.job = replace(job, p=replace(job.p, array=None), q=replace(job.q, array=None))
        return tuple(torch.from_numpy(made))

    @staticmethod
    def backward(ctx: Any, *passed: Any) -> Any:
        """The gradients at the entries; a differentiable one, where asked for, is left to the array library."""
        x, y = ctx.saved_tensors
        job = replace(ctx.job, p=replace(ctx.job.p, array=x), q=replace(ctx.job.q, array=y))
        wanted = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():
            return *_by_the_library(job, passed, wanted), None
        made = job.gradients(np.stack([g.numpy() for g in passed]), wanted, ctx.kept)
        return *(
            torch.from_numpy(g).reshape(z.shape).to(z.dtype) if keep else None
            for g, z, keep in zip(made, (x, y), wanted, strict=True)
        ), None


def _by_the_library(job: Job, passed: Any, wanted: Any) -> list[Any]:
    pair, _ = outcome_pair(job.p, job.q)
    made = [job.core.total(pair)]
    if job.source != "softmax":
        made += [tree_sum(job.xp, pair.p), tree_sum(job.xp, pair.q)]
    inputs = [z for z, keep in zip((job.p.array, job.q.array), wanted, strict=True) if keep]
    # The mass of a side that needs no gradient depends on nothing.
    used = [(m.reshape(-1), g) for m, g in zip(made, passed[: len(made)], strict=True) if m.requires_grad]
    outputs, upstream = zip(*used, strict=True)
    found = torch.autograd.grad(outputs, inputs, upstream, create_graph=True, materialize_grads=True)
    gradients = iter(found)
    return [next(gradients) if keep else None for keep in wanted]


class Places(torch.autograd.Function):  # type: ignore[misc]
    """A formula at every place of some tensors that lie open in memory.

    Nothing but the tensors is kept for the way back, where the derivatives are calculated with what is passed back.
    """

    @staticmethod
    def forward(ctx: Any, formula: Formula, dtype: torch.dtype, *tensors: Any) -> Any:
        """The value, in that dtype."""
        ctx.save_for_backward(*tensors)
        ctx.formula, ctx.dtype = formula, dtype
        return over_places(formula, dtype, tensors)

    @staticmethod
    def backward(ctx: Any, passed: Any) -> Any:
        """The gradients at the tensors; a differentiable one, where asked for, is left to the array library."""
        tensors, wanted = ctx.saved_tensors, ctx.needs_input_grad[2:]
        if torch.is_grad_enabled():
            inputs = [x for x, keep in zip(tensors, wanted, strict=True) if keep]
            value = by_operations(ctx.formula, ctx.dtype, tensors)
            found = iter(torch.autograd.grad(value, inputs, passed, create_graph=True, materialize_grads=True))
            return None, None, *(next(found) if keep else None for keep in wanted)
        made = ctx.formula.products([x.numpy() for x in tensors], passed.numpy(), wanted)
        return None, None, *(None if x is None else torch.from_numpy(x) for x in made)


def over_places(formula: Formula, dtype: torch.dtype, tensors: Any) -> Any:
    """A formula of tensors by the compiled loop, without a gradient."""
    name = str(dtype).removeprefix("torch.")
    return torch.from_numpy(formula.over([x.detach().numpy() for x in tensors], name))


def by_operations(formula: Formula, dtype: torch.dtype, tensors: Any) -> Any:
    """A formula of tensors by the array library's operations, in float64 where the device has it."""
    xp = namespace_of(x=tensors[0])
    return formula.function(xp, *(widest(xp, x) for x in tensors)).to(dtype)


def evaluated(formula: Formula, *tensors: Any) -> Any:
    """A formula at every place of tensors that broadcast: by the compiled loop if they are large and lie in memory.

    Parameters
    ----------
    formula : dkl.kernels.formulas.Formula
        Of as many numbers.
    *tensors : torch.Tensor
        Of any real dtype and on any device.

    Returns
    -------
    torch.Tensor
        In their common dtype, float32 at least, calculated in float64 where the device has it. It can be differentiated
        as often as wanted; the first derivative is a loop as well.

    Examples
    --------
    >>> import torch
    >>> from dkl.kernels.formulas import Formula
    >>> from dkl.methods.autograd import evaluated
    >>> square = Formula(("x",), lambda xp, x: x * x)
    >>> x = torch.tensor([1.0, 3.0], requires_grad=True)
    >>> evaluated(square, x).sum().backward()
    >>> x.grad
    tensor([2., 6.])
    """
    tensors = tuple(real_floating(namespace_of(x=tensors[0]), *tensors))
    dtype = tensors[0].dtype
    if not looped(tensors):
        return by_operations(formula, dtype, tensors)
    return differentiable(formula, dtype, tensors)


def looped(tensors: Any) -> bool:
    """Whether the compiled loop applies to tensors: they lie in memory, and are large enough to pay for it."""
    if torch.compiler.is_compiling() or not all(map(held, tensors)):
        return False
    if math.prod(np.broadcast_shapes(*(x.shape for x in tensors))) < LEAST:
        return False
    return not (_followed(tensors) and any(x.is_inference() for x in tensors))


def differentiable(formula: Formula, dtype: torch.dtype, tensors: Any) -> Any:
    """A formula by the compiled loop, as a step of autograd if a gradient is wanted."""
    return Places.apply(formula, dtype, *tensors) if _followed(tensors) else over_places(formula, dtype, tensors)


def _followed(tensors: Any) -> bool:
    return torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
