"""The array libraries under test, each behind the same four functions; none is imported before it is used."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import numpy as np

_EVERY = ("numpy", "array-api-strict", "torch", "jax")


def asked_for() -> tuple[str, ...]:
    """The names of the backends that this run tests."""
    names = tuple(
        name.strip() for name in os.environ.get("DKL_TEST_BACKENDS", ",".join(_EVERY)).split(",") if name.strip()
    )
    unknown = set(names) - set(_EVERY)
    if unknown or not names:
        raise ValueError(f"DKL_TEST_BACKENDS names {sorted(unknown) or 'nothing'}; known are {', '.join(_EVERY)}")
    return names


class Backend(ABC):
    """How to hand a NumPy array to a library and get the answer back."""

    name: str
    halves: tuple[str, ...] = ("float16", "bfloat16")
    #: Whether numbers below the smallest normal one are kept, not flushed to 0.
    keeps_subnormals = True

    @cached_property
    def xp(self) -> Any:
        """The library; imported here, so that a missing one is an error."""
        return self._load()

    @abstractmethod
    def _load(self) -> Any: ...

    @abstractmethod
    def is_own(self, x: Any) -> bool:
        """Whether ``x`` is this library's own array (or, for NumPy, its scalar)."""

    def asarray(self, x: np.ndarray, dtype: str | None = None) -> Any:
        """The library's own array of that dtype, or of the dtype of ``x``."""
        return self.xp.asarray(x, dtype=getattr(self.xp, dtype or x.dtype.name))

    def to_numpy(self, x: Any) -> np.ndarray:
        """As a NumPy array; half precision as float32."""
        return np.asarray(x)

    def dtype_name(self, x: Any) -> str:
        return str(x.dtype).rpartition(".")[2]


class _NumPy(Backend):
    name = "numpy"
    halves = ("float16",)

    def _load(self) -> Any:
        return np

    def is_own(self, x: Any) -> bool:
        return isinstance(x, np.ndarray | np.generic)


class _Strict(Backend):
    name = "array-api-strict"
    halves = ()

    def _load(self) -> Any:
        import array_api_strict

        return array_api_strict

    def is_own(self, x: Any) -> bool:
        return isinstance(x, type(self.xp.empty(0)))


class _Torch(Backend):
    name = "torch"

    def _load(self) -> Any:
        import torch

        return torch

    def is_own(self, x: Any) -> bool:
        return isinstance(x, self.xp.Tensor)

    def asarray(self, x: np.ndarray, dtype: str | None = None) -> Any:
        return self.xp.tensor(np.asarray(x), dtype=getattr(self.xp, dtype or x.dtype.name))

    def to_numpy(self, x: Any) -> np.ndarray:
        x = x.detach()
        return (x.float() if x.dtype in (self.xp.float16, self.xp.bfloat16) else x).numpy()


class _Jax(Backend):
    name = "jax"
    keeps_subnormals = False

    def _load(self) -> Any:
        import jax

        jax.config.update("jax_enable_x64", True)
        return jax.numpy

    def is_own(self, x: Any) -> bool:
        import jax

        return isinstance(x, jax.Array)

    def to_numpy(self, x: Any) -> np.ndarray:
        x = x.astype("float32") if str(x.dtype) in self.halves else x
        return np.asarray(x)


BACKENDS: dict[str, Backend] = {b.name: b for b in (_NumPy(), _Strict(), _Torch(), _Jax())}
