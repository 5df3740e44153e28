"""The same exact sums by the fused loops of :mod:`dkl.kernels`: when they apply, and what is done around them.

They apply to NumPy arrays and PyTorch tensors in memory that are large enough to pay for compiled code. Everything else
(other libraries, tracers, second derivatives, a divergence made by hand) goes through the array library itself; so do
the rows that a sum does not decide to the last digits, and whatever needs an error message.
"""

from __future__ import annotations

import math
import mmap
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from dkl._array import Array, Namespace, compiling, is_half, namespace_of, overflowing, to_numpy
from dkl.divergences import KL, Divergence, Member, Power
from dkl.kernels import scalars
from dkl.representations import (
    Axis,
    FiniteOutcomes,
    Logits,
    LogProbs,
    Probs,
    common_dtype,
    laid_out,
    outcome_pair,
    sum_tolerance,
)

if TYPE_CHECKING:
    from dkl.kernels.sums import Pair, Side, Sums

#: One pair of so few probabilities is measured number by number.
FEW = 64
#: Pairs of fewer entries are measured by the array library: compiling, or loading what is compiled, would take longer.
LEAST = 1 << 15

_TINIEST = 1e-290
_numpy = namespace_of(x=np.empty(0))
_LOADED = {"float32", "float64", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}


@dataclass(frozen=True, eq=False)
class Job:
    """A pair that the loops can measure: of one shape, with its outcomes along the last axis."""

    xp: Namespace
    core: Member
    p: FiniteOutcomes
    q: FiniteOutcomes
    #: ``"probabilities"``, ``"log_probabilities"`` or ``"softmax"``: how the pair's outcomes are made of its entries.
    source: str
    #: The dtype in which it is calculated.
    precision: str
    #: How far the sums of P's and Q's rows may be from 1; None for logits.
    tolerances: tuple[float | None, float | None]

    @property
    def exchanged(self) -> bool:
        """Whether it is KL(Q‖P), which is measured as the KL of the exchanged pair."""
        return self._is_kl(0.0)

    @property
    def is_kl(self) -> bool:
        """Whether it is KL, in either direction: what logits give a pass earlier than the rest."""
        return self._is_kl(1.0) or self.exchanged

    def _is_kl(self, order: float) -> bool:
        return isinstance(self.core, Power) and self.core.order == order and self.core.scale == 1

    def sums(self, receive: Callable[[slice, Any, Any, Any], None], kept: Any = None) -> bool:
        """Hand over total, mass of P and mass of Q of one run of rows after another; False if a row is not valid."""
        from dkl.kernels import sums

        invalid: list[slice] = []

        def check(at: slice, made: Sums) -> None:
            if self.exchanged:
                made = replace(made, mass_p=made.mass_q, mass_q=made.mass_p)
            if not self._valid(made):
                invalid.append(at)
            elif self.source == "softmax":
                receive(at, made.total, 1.0, 1.0)
            else:
                receive(at, made.total, made.mass_p, made.mass_q)

        sums.sums(KL() if self.exchanged else self.core, self._pair(), check, is_kl=self.is_kl, kept=kept)
        return not invalid

    def gradients(self, passed: Any, wanted: tuple[bool, bool], kept: Any) -> tuple[Any, Any]:
        """The gradients at every entry of P and of Q, from those at each row's total, mass of P and mass of Q."""
        from dkl.kernels import sums

        if not self.exchanged:
            return sums.gradients(self.core, self._pair(), passed, is_kl=self.is_kl, wanted=wanted, kept=kept)
        in_q, in_p = sums.gradients(KL(), self._pair(), passed[[0, 2, 1]], is_kl=True, wanted=wanted[::-1], kept=kept)
        return in_p, in_q

    def _valid(self, sums: Sums) -> bool:
        """Whether both sides are what they claim to be; if not, the array library will find the words."""
        one = 0.0 if self.source == "softmax" else 1.0
        return not sums.bad.any() and all(
            tolerance is None or (mass.max() - one <= tolerance and one - mass.min() <= tolerance)
            for tolerance, mass in zip(self.tolerances, (sums.mass_p, sums.mass_q), strict=True)
        )

    def _pair(self) -> Pair:
        from dkl.kernels.sums import Pair

        p, q = self._side(self.p), self._side(self.q)
        return Pair(q, p, self.source, self.precision) if self.exchanged else Pair(p, q, self.source, self.precision)

    def _side(self, side: FiniteOutcomes) -> Side:
        from dkl.kernels.sums import Side

        x = side.array
        if is_half(x.dtype):
            bits = x.detach().view(_torch().int16).numpy() if hasattr(x, "detach") else np.asarray(x)
            return Side(bits.view(np.uint16), f"load_{_name(x.dtype)}", _release(x))
        load = "load_log" if self.source == "softmax" and not side.in_logs else "load_number"
        return Side(to_numpy(x), load, _release(x))


@overflowing
def total(divergence: Divergence, p: FiniteOutcomes, q: FiniteOutcomes, axis: Axis) -> Array | None:
    """The divergence of every row by the fused loops; None where they do not apply or cannot decide."""
    job = None if compiling() else job_for(divergence, p, q, axis)
    if job is None:
        return None
    x, y = job.p.array, job.q.array
    if any(getattr(z, "requires_grad", False) for z in (x, y)) and _torch().is_grad_enabled():
        if x.is_inference() or y.is_inference():
            return None
        return _differentiable(divergence, job)
    value = np.empty(x.shape[:-1], job.precision)
    flat = value.reshape(-1)

    @overflowing
    def receive(at: slice, total: Any, mass_p: Any, mass_q: Any) -> None:
        flat[at] = divergence.finish(_numpy, total, mass_p, mass_q)

    if not job.sums(receive):
        return None
    undecided = np.isnan(value)
    if undecided.any():
        rows = job.xp.asarray(undecided)
        pair, _ = outcome_pair(replace(job.p, array=x[rows]), replace(job.q, array=y[rows]))
        value[undecided] = to_numpy(divergence.total(pair))
    return value if job.xp is _numpy else _torch().from_numpy(value)


def total_of_few(divergence: Divergence, p: FiniteOutcomes, q: FiniteOutcomes, axis: Axis) -> Any:
    """The divergence of one pair of a few probabilities, number by number; None where it is anything else."""
    if type(p) is not Probs or type(q) is not Probs or p.normalize or q.normalize or divergence.core is None:
        return None
    x, y = (z if type(z) is np.ndarray else _numbers(z) for z in (p.array, q.array))
    if x is None or y is None or x.ndim != 1 or x.shape != y.shape or not 0 < x.shape[0] <= FEW:
        return None
    if not (axis is None or (type(axis) is int and -1 <= axis <= 0)):
        return None
    if (dtype := _common(x.dtype, y.dtype)) is None:
        return None
    masses = []
    numbers = []
    for z in (x, y):
        values = z.tolist()
        # Numbers so small that a share of them underflows are left to the array library, like what is no probability.
        if not (all(v == 0 or v > _TINIEST for v in values) and max(values) < 2):
            return None
        mass = math.fsum(values)
        if not abs(mass - 1) <= _tolerance(z.dtype):
            return None
        masses.append(mass)
        numbers.append(values)
    value = scalars.total(divergence.core, *numbers)
    if divergence.core is not divergence:
        value = divergence.finish(_numpy, np.float64(value), *masses)
    return None if value != value else dtype(value)


def _numbers(x: Any) -> Any:
    """A list of plain numbers as an array."""
    return np.array(x) if type(x) is list and all(type(v) in (float, int) for v in x) else None


@cache
def _tolerance(dtype: np.dtype[Any]) -> float:
    return sum_tolerance(_numpy, np.empty(0, dtype))


@cache
def _common(p: np.dtype[Any], q: np.dtype[Any]) -> Any:
    """The scalar type of the result for two NumPy dtypes, None for what is not measured number by number."""
    if not {p.name, q.name} <= _LOADED:
        return None
    return common_dtype(np.empty(0, p), np.empty(0, q)).type


def _differentiable(divergence: Divergence, job: Job) -> Array | None:
    from dkl.methods.autograd import Rows

    x, y = job.p.array, job.q.array
    made = Rows.apply(x, y, job)
    if made is None:
        return None
    value = divergence.finish(job.xp, *made)
    return None if bool(job.xp.any(job.xp.isnan(value))) else job.xp.reshape(value, tuple(x.shape[:-1]))


def job_for(divergence: Divergence, p: FiniteOutcomes, q: FiniteOutcomes, axis: Axis) -> Job | None:
    """What the loops are to do, if they apply."""
    x, y = p.array, q.array
    core = divergence.core
    if core is None or not (held(x) and held(y)) or _size(x, y) < LEAST:
        return None
    if any(_name(z.dtype) not in _LOADED and not is_half(z.dtype) for z in (x, y)):
        return None
    mixed = p.in_logs != q.in_logs
    if mixed and (is_half(x.dtype) or is_half(y.dtype)):
        return None
    p, q = laid_out(p, q, axis)
    precision = "float64" if mixed else _name(common_dtype(p.array, q.array))
    both_logs = isinstance(p, LogProbs) and isinstance(q, LogProbs)
    source = "log_probabilities" if both_logs else "softmax" if p.in_logs or q.in_logs else "probabilities"
    xp = namespace_of(p=x, q=y)
    left, right = (None if isinstance(side, Logits) else sum_tolerance(xp, side.array) for side in (p, q))
    return Job(xp, core, p, q, source, precision, (left, right))


@cache
def _name(dtype: Any) -> str:
    """``"float32"`` and so on, of NumPy's dtypes in any byte order and of PyTorch's."""
    return dtype.name if isinstance(dtype, np.dtype) else str(dtype).removeprefix("torch.")


def _size(x: Array, y: Array) -> int:
    try:
        return math.prod(np.broadcast_shapes(tuple(x.shape), tuple(y.shape)))
    except ValueError:
        return 0  # shapes that do not broadcast get their message elsewhere


def held(*arrays: Any) -> bool:
    """Whether arrays lie open in this process's memory, and are no stand-ins for some that a transform will bring."""
    others = [x for x in arrays if type(x) not in (np.ndarray, np.memmap)]
    if not others:
        return True
    torch = sys.modules.get("torch")
    return (
        torch is not None
        and all(
            type(x) in (torch.Tensor, torch.nn.Parameter) and x.is_cpu and x.layout is torch.strided and not x.is_neg()
            for x in others
        )
        and not torch.jit.is_tracing()
        # Inside vmap, grad, jvp and the like, and under forward-mode differentiation.
        and torch._C._functorch.maybe_current_level() is None
        and torch.autograd.forward_ad._current_level < 0
    )


def _torch() -> Any:
    return sys.modules["torch"]


def _release(x: Any) -> Callable[[], None] | None:
    """How to let go of the pages of a file that is mapped into memory for reading: they stay in the system's cache."""
    read_only = True
    while isinstance(x, np.ndarray):
        if isinstance(x, np.memmap):
            read_only = x.mode == "r"  # a private copy of a page would be lost with what was written to it
        x = x.base
    if not (isinstance(x, mmap.mmap) and read_only and hasattr(mmap, "MADV_DONTNEED")):
        return None
    return partial(x.madvise, mmap.MADV_DONTNEED)
