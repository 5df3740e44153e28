"""The fused loops as a step of PyTorch's autograd."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from dkl._array import tree_sum
from dkl.kernels.sums import STATISTICS
from dkl.methods.fused import Job
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
