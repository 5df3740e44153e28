"""A target's log-density with its derivatives: what every method that follows gradients asks.

PyTorch differentiates it, and is loaded when the first target is asked. Outcomes and answers are NumPy's, in float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dkl._array import namespace_of, to_numpy
from dkl.density import UnansweredError
from dkl.families.base import Distribution
from dkl.families.multivariate import LOG_TAU, VectorNormal
from dkl.families.triangular import identity, lower_solve
from dkl.methods.nodes import Numbers
from dkl.mixture import detached

# A fit that has become so many times as wide goes on for ever.
_AWAY = 1e8


def library(method: str) -> Any:
    """PyTorch, or an error that says for what it is needed and how to get it.

    Raises
    ------
    ModuleNotFoundError
        If it is not installed.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ModuleNotFoundError(
            f'dkl.fit: {method} needs PyTorch for its gradients: pip install "dkl[torch]"', name="torch"
        ) from error
    return torch


class Differentiable:
    """The log-density of a target of numbers or vectors, and its first and second derivatives.

    Parameters
    ----------
    target : Distribution
        With parameters of any library, or a density written in PyTorch; its integral does not matter.
    method : str
        What asks, for messages.
    """

    def __init__(self, target: Distribution, method: str) -> None:
        self._torch = library(method)
        self._name, self._method = repr(target), method
        self._scalar = target.event_ndim == 0
        self.dimension = 1 if self._scalar else int(target.event_shape[-1])
        like = self._torch.zeros((), dtype=self._torch.float64)
        self._target: Any = detached(target).moved(namespace_of(like=like), like)
        if isinstance(self._target, VectorNormal):
            self._target = _Whitened(self._target)
        # What cannot be followed says so here: of a single outcome some libraries answer in another shape.
        self._followed(self._tensor(np.full((2, self.dimension), 0.1)).requires_grad_(True))

    def log_prob(self, x: Numbers) -> Numbers:
        """The log-density of n vectors, shape (n, d), without a gradient; −inf and NaN are handed on.

        Raises
        ------
        TypeError
            If the target cannot be asked with tensors.
        """
        with self._torch.no_grad():
            return np.asarray(to_numpy(self._asked(self._tensor(x))), dtype=float)

    def with_gradient(self, x: Numbers, *, checked: bool = True) -> tuple[Numbers, Numbers]:
        """The log-density of n vectors and its gradients, shapes (n,) and (n, d).

        Raises
        ------
        TypeError
            If PyTorch cannot differentiate the target.
        ValueError
            Where it is not finite, or its gradient is not; of what is not ``checked`` that is handed on.
        """
        place = self._tensor(x).requires_grad_(True)
        value = self._followed(place)
        (gradient,) = self._torch.autograd.grad(value.sum(), place)
        values, gradients = value.detach().numpy(), gradient.numpy()
        if checked:
            self._hold(x, values, gradients)
        return values, gradients

    def with_curvature(self, x: Numbers, *, diagonal: bool = False, checked: bool = True) -> tuple[Numbers, ...]:
        """The log-density, its gradients, and its second derivatives, (n, d, d) or their diagonals, (n, d).

        Cost: d + 1 gradients.

        Raises
        ------
        TypeError, ValueError
            As :meth:`with_gradient`.
        """
        place = self._tensor(x).requires_grad_(True)
        value = self._followed(place)
        (gradient,) = self._torch.autograd.grad(value.sum(), place, create_graph=True)
        rows = []
        for i in range(self.dimension):
            if not gradient.requires_grad:  # the log-density is linear
                rows.append(self._torch.zeros_like(place))
                continue
            (row,) = self._torch.autograd.grad(gradient[:, i].sum(), place, retain_graph=True, materialize_grads=True)
            rows.append(row)
        second = self._torch.stack(rows, dim=1)
        if diagonal:
            second = self._torch.diagonal(second, dim1=1, dim2=2)
        made = value.detach().numpy(), gradient.detach().numpy(), second.detach().numpy()
        if checked:
            self._hold(x, *made)
        return made

    def _tensor(self, x: Numbers) -> Any:
        return self._torch.as_tensor(np.ascontiguousarray(x), dtype=self._torch.float64)

    def _asked(self, place: Any) -> Any:
        try:
            return self._target.log_prob(place[:, 0] if self._scalar else place)
        except (RuntimeError, TypeError, AttributeError, UnansweredError) as error:
            raise TypeError(self._complaint(f"failed with {type(error).__name__}: {error}")) from error

    def _followed(self, place: Any) -> Any:
        with self._torch.enable_grad():
            value = self._asked(place)
        if not value.requires_grad:
            raise TypeError(self._complaint("does not depend on x by operations that PyTorch follows"))
        return value

    def hold_proper(self, growth: Numbers) -> None:
        """Raise a ValueError if a fit has grown by so much, component by component, that the target has no end."""
        if growth.max() > _AWAY:
            at = "" if self._scalar else f" along component {int(growth.argmax())}"
            raise ValueError(
                f"the target, {self._name}, is improper: the fit grows without end{at}, {growth.max():.1e} times as "
                "wide as where it began; multiply the density by a prior, or bound its support"
            )

    def _complaint(self, what: str) -> str:
        return (
            f"{self._method} follows the gradient of the target, {self._name}, by PyTorch, and its log_prob {what}; "
            "write it with torch's functions, from a tensor of outcomes to a tensor"
        )

    def _hold(self, x: Numbers, values: Numbers, *derivatives: Numbers) -> None:
        bad = ~np.isfinite(values)
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            if values[at] == -math.inf:
                raise ValueError(
                    f"the target, {self._name}, has density 0 at x = {shown(x[at])}, where every normal distribution "
                    "has some: all of them are infinitely far from it; change the variable to one that takes all "
                    "numbers (its logarithm, if it is positive), or fit a family of the same support"
                )
            raise ValueError(
                f"the target, {self._name}, has log_prob {values[at]} at x = {shown(x[at])}: it must be a number"
            )
        for name, derivative in zip(("gradient", "second derivative"), derivatives, strict=False):
            good = np.isfinite(derivative).reshape(len(x), -1).all(axis=-1)
            if not np.all(good):
                at = int(np.flatnonzero(~good)[0])
                raise ValueError(
                    f"the {name} of the target's log_prob, {self._name}, is not finite at x = {shown(x[at])}, though "
                    f"log_prob is {values[at]:.6g}: torch.where passes NaN on from the branch that it does not take; "
                    "give that branch a harmless argument"
                )


class _Whitened:
    """A normal distribution of vectors whose covariance is factored once, and not whenever it is asked."""

    def __init__(self, normal: VectorNormal) -> None:
        xp = normal.xp
        self._loc = normal.loc
        self._inverse = lower_solve(xp, normal._factor(), identity(xp, normal._factor()))
        self._constant = 0.5 * normal._log_det() + 0.5 * normal._d * LOG_TAU

    def log_prob(self, x: Any) -> Any:
        z = (x - self._loc) @ self._inverse.mT
        return -0.5 * (z * z).sum(-1) - self._constant


def shown(x: Numbers) -> str:
    """A place, for messages."""
    return f"{float(x[0]):.6g}" if x.size == 1 else np.array2string(x, precision=4, threshold=6)
