"""First and second derivatives of factors that no library differentiates: central differences along their one number.

A factor depends on one number s, so that its derivatives there are two numbers, whatever the dimension. They are those
of the polynomial through eleven equidistant values [1], right to h¹⁰; those of nine values, without the outermost, say
how far they are to be trusted. The step h of each factor is where the two agree best: from a tiny one, of which
rounding leaves nothing, it grows as long as their difference and what rounding adds to it together fall.

References
----------
.. [1] B. Fornberg, "Generation of finite difference formulas on arbitrarily spaced grids", Mathematics of Computation
   51 (1988), table 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dkl.methods.nodes import Numbers

# Weights of f(s + k·h) ∓ f(s − k·h), less f(s) each, k = 1, …, for f′·h and f″·h².
_FIRST = np.array([5 / 6, -5 / 21, 5 / 84, -5 / 504, 1 / 1260])
_SECOND = np.array([5 / 3, -5 / 21, 5 / 126, -5 / 1008, 1 / 3150])
_SECOND_OF_NINE = np.array([8 / 5, -1 / 5, 8 / 315, -1 / 560, 0.0])
_K = np.arange(1.0, 6.0)
# Steps that are tried, by powers of 4 as those are exact.
_STEPS = 4.0 ** np.arange(-24, 21)
# By rounding alone the doubt about a step is a sixteenth of that about the one before; chance may let it rise a little.
_AS_GOOD = 4.0
# Over more than this its logarithm is not looked at: of large differences rounding would leave no slope.
_TALL = 1e4
# Places of a factor at which its first step is chosen.
_PLACES = 5
# A step is quartered where the second derivative is less sure than this share of the largest, and rounding is not why,
# at more than some places: at few it is for a bend, over which a wide step gives the mean of a second derivative that
# is otherwise nowhere.
_UNSURE = 1e-7
_SOME = 0.1
_QUARTERINGS = 6

#: The logarithms of factors ``which``, shape (k,), at numbers of shape (k, m).
OfRows = Callable[[Numbers, Numbers], Numbers]


class Differences:
    """The derivatives of factors; it remembers their steps.

    Parameters
    ----------
    log_factor : callable
        ``log_factor(s, which)`` of arrays of NumPy's.
    """

    def __init__(self, log_factor: OfRows) -> None:
        self._log_factor = log_factor
        self._step: dict[int, float] = {}
        self._least: dict[int, float] = {}

    def values(self, s: Numbers, which: Numbers) -> Numbers:
        """The logarithms themselves."""
        return self._log_factor(s, which)

    def derivatives(self, s: Numbers, which: Numbers) -> tuple[Numbers, Numbers]:
        """First and second derivatives at s.

        Parameters
        ----------
        s : array, shape (k, m)
        which : array of int, shape (k,)

        Returns
        -------
        first, second : array, shape (k, m)
            Ten values of each factor a number. Of a factor that is smooth over some steps right to about 1e-14 and
            1e-12 of what rounding one of its values over its own scale makes; over a bend they are those of the
            polynomial.
        """
        new = np.array([int(i) not in self._step for i in which])
        if new.any():
            columns = np.unique(np.linspace(0, s.shape[1] - 1, _PLACES).astype(int))
            self._choose(s[new][:, columns], which[new])
        first, second, unsure, rounding = self._at(s, which)
        for _ in range(_QUARTERINGS):
            bound = np.maximum(_UNSURE * np.abs(second).max(axis=1, keepdims=True), 16.0 * rounding)
            wide = (unsure > bound).mean(axis=1) > _SOME
            wide &= np.array([self._step[int(i)] > self._least[int(i)] for i in which])
            rows = np.flatnonzero(wide)
            if not rows.size:
                break
            for i in which[rows]:
                self._step[int(i)] /= 4.0
            first[rows], second[rows], unsure[rows], rounding[rows] = self._at(s[rows], which[rows])
        return first, second

    def _at(self, s: Numbers, which: Numbers) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        h = np.array([self._step[int(i)] for i in which])[:, None]
        return self._of_step(s, which, h)

    def _of_step(self, s: Numbers, which: Numbers, h: Numbers) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """First and second derivatives, the doubt about the second, and what rounding adds to it."""
        k, m = s.shape
        apart = np.concatenate([_K, -_K, [0.0]])
        places = s[:, :, None] + h[:, :, None] * apart
        f = self._log_factor(places.reshape(k, -1), which).reshape(k, m, -1)
        with np.errstate(invalid="ignore", over="ignore"):
            # As differences from the middle, so that a large constant leaves nothing.
            up, down = f[..., :5] - f[..., -1:], f[..., 5:10] - f[..., -1:]
            first = (up - down) @ _FIRST / h
            second = (up + down) @ _SECOND / h**2
            unsure = np.abs(second - (up + down) @ _SECOND_OF_NINE / h**2)
            # Of all places, as at a mode there may be nothing to round.
            size = (np.abs(f).max(axis=-1) + np.abs(s * first)).max(axis=-1, keepdims=True)
            rounding = np.broadcast_to(2.0**-52 * size / h**2, s.shape).copy()
        return first, second, unsure, rounding

    def _choose(self, s: Numbers, which: Numbers) -> None:
        """The first steps of some factors, by what is seen at places of shape (k, m)."""
        k, m = s.shape
        # Below this no two places differ.
        tiny = 64.0 * np.spacing(np.abs(s))
        best, step = np.full((k, m), np.inf), _STEPS[np.searchsorted(_STEPS, tiny)]
        open_ = np.ones((k, m), dtype=bool)
        for h in _STEPS:
            first, _, unsure, rounding = self._of_step(s, which, np.full((k, 1), h))
            known = np.isfinite(first) & np.isfinite(unsure) & (h >= tiny) & (np.abs(first) * h < _TALL)
            doubt = np.where(known, unsure + rounding, np.inf)
            better = open_ & (doubt <= _AS_GOOD * best)
            step = np.where(better, h, step)
            best = np.where(better, np.minimum(doubt, best), best)
            open_ &= better
            if not open_.any():
                break
        for i, h in zip(which.tolist(), step.min(axis=1).tolist(), strict=True):
            self._step[i], self._least[i] = h, h * 4.0**-_QUARTERINGS


def followed(differences: Differences, s: Any, which: Numbers) -> Any:
    """The logarithms of factors at a tensor of PyTorch's, which differentiates them twice.

    Parameters
    ----------
    differences : Differences
    s : tensor, shape (k, m)
    which : array of int, shape (k,)
    """
    import torch

    def moved(x: Numbers) -> Any:
        return torch.tensor(x, dtype=s.dtype, device=s.device)

    def host(x: Any) -> Numbers:
        return np.asarray(x.detach().cpu().numpy(), dtype=float)

    class Slope(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, place: Any) -> Any:
            first, second = differences.derivatives(host(place), which)
            ctx.save_for_backward(moved(second))
            return moved(first)

        @staticmethod
        @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
        def backward(ctx: Any, gradient: Any) -> Any:
            (second,) = ctx.saved_tensors
            return gradient * second

    class Value(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, place: Any) -> Any:
            ctx.save_for_backward(place)
            return moved(differences.values(host(place), which))

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            (place,) = ctx.saved_tensors
            return gradient * Slope.apply(place)

    return Value.apply(s)
