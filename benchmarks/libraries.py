"""The array libraries that contestants compute in: how their inputs are prepared, called, and read.

Preparing and reading are not timed; what `Library.value` and `Library.gradient` return is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np

from .work import Array

#: A formula takes both sides and returns the divergence of each row.
Formula = Callable[[Any, Any], Any]


class Library(ABC):
    """One array library."""

    #: The package to import.
    package: str
    #: Whether it has gradients.
    differentiates = True

    @property
    def installed(self) -> bool:
        """Whether it can be imported."""
        return find_spec(self.package) is not None

    @abstractmethod
    def array(self, x: Array, gradient: bool) -> Any:
        """Turn NumPy's array into the library's own, to be differentiated by or not."""

    @abstractmethod
    def value(self, formula: Formula) -> Formula:
        """Return what computes the value and waits for it."""

    @abstractmethod
    def gradient(self, formula: Formula) -> Formula:
        """Return what computes ``(value, by P, by Q)``, the last two those of the sum over the rows."""

    @abstractmethod
    def numpy(self, answer: Any) -> Array:
        """Read an array of the library."""


class NumPy(Library):
    """NumPy and SciPy."""

    package = "numpy"
    differentiates = False

    def array(self, x: Array, gradient: bool) -> Any:
        return x

    def value(self, formula: Formula) -> Formula:
        return formula

    def gradient(self, formula: Formula) -> Formula:
        raise NotImplementedError("NumPy has no gradients")

    def numpy(self, answer: Any) -> Array:
        return np.asarray(answer)


class Torch(Library):
    """PyTorch on the CPU; its tensors share NumPy's memory."""

    package = "torch"

    def array(self, x: Array, gradient: bool) -> Any:
        import torch

        return torch.from_numpy(x).requires_grad_(gradient)

    def value(self, formula: Formula) -> Formula:
        return formula

    def gradient(self, formula: Formula) -> Formula:
        from torch.autograd import grad

        def run(p: Any, q: Any) -> Any:
            value = formula(p, q)
            return value, *grad(value.sum(), (p, q))

        return run

    def numpy(self, answer: Any) -> Array:
        return np.asarray(answer.detach().numpy())


class Jax(Library):
    """JAX on the CPU, compiled by ``jax.jit``."""

    package = "jax"

    def array(self, x: Array, gradient: bool) -> Any:
        import jax

        return jax.numpy.asarray(x)

    def value(self, formula: Formula) -> Formula:
        import jax

        compiled = jax.jit(formula)
        return lambda p, q: compiled(p, q).block_until_ready()

    def gradient(self, formula: Formula) -> Formula:
        import jax

        def total(p: Any, q: Any) -> Any:
            value = formula(p, q)
            return value.sum(), value

        compiled = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))

        def run(p: Any, q: Any) -> Any:
            (_, value), (by_p, by_q) = jax.block_until_ready(compiled(p, q))
            return value, by_p, by_q

        return run

    def numpy(self, answer: Any) -> Array:
        return np.asarray(answer)


NUMPY, TORCH, JAX = NumPy(), Torch(), Jax()


@contextmanager
def on_equal_terms() -> Iterator[None]:
    """Let JAX compute float64 in float64, and on the CPU like everybody else, for as long as this lasts."""
    if not JAX.installed:
        yield
        return
    import jax

    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        yield
