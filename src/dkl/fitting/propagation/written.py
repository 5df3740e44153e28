"""A factor as its author wrote it, with NumPy or with PyTorch, asked by a method that speaks the other."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import array_api_compat
import numpy as np

from dkl._array import Array, device_of, namespace_of, to_numpy
from dkl.fitting.propagation.differences import Differences, followed
from dkl.methods.nodes import Numbers

# What a function of one library answers to another's arrays.
_STRANGE = (TypeError, AttributeError, RuntimeError)


class Written:
    """A function of (s, i), and the library it is written with, found out as it is first asked.

    Parameters
    ----------
    log_factor : callable
    """

    def __init__(self, log_factor: Callable[[Any, Any], Any]) -> None:
        self._log_factor = log_factor
        self._differences = Differences(self._by_numpy)
        # Of each library that asked, whether the function answers it by itself.
        self._speaks: dict[Any, bool] = {}

    def at(self, s: Array, which: Numbers) -> Array:
        """The logarithms of factors ``which``, shape (k,), at s, shape (k, m), in the library of s where it can be."""
        xp = namespace_of(s=s)
        if xp not in self._speaks:
            self._speaks[xp] = self._answers(s, which)
        if self._speaks[xp]:
            return self._asked(s, which)
        if array_api_compat.is_torch_array(s):
            return followed(self._differences, s, which)
        import torch

        with torch.no_grad():
            return to_numpy(self._asked(torch.tensor(s), which))

    def _asked(self, s: Array, which: Numbers) -> Any:
        index = namespace_of(s=s).asarray(which[:, None], device=device_of(s))
        with np.errstate(all="ignore"):
            return self._log_factor(s, index)

    def _by_numpy(self, s: Numbers, which: Numbers) -> Numbers:
        return np.broadcast_to(np.asarray(to_numpy(self._asked(s, which)), dtype=float), s.shape)

    def _answers(self, s: Array, which: Numbers) -> bool:
        """Whether the function takes the arrays of the one that asks; one that takes none's fails as it does itself."""
        if array_api_compat.is_torch_array(s):
            import torch

            # NumPy's functions take a tensor, but none that is followed.
            with torch.enable_grad():
                tried, other = s[:, :1].detach().clone().requires_grad_(True), s[:, :1].detach().cpu().numpy()
                own = _refusal(self._asked, tried, which)
            return own is None or _refusal(self._asked, other, which) is not None
        if array_api_compat.is_numpy_array(s) and "torch" in sys.modules:
            import torch

            own = _refusal(self._asked, s[:, :1], which)
            return own is None or _refusal(self._asked, torch.as_tensor(s[:, :1].copy()), which) is not None
        return True


def _refusal(asked: Callable[[Array, Numbers], Any], s: Array, which: Numbers) -> Exception | None:
    """How a function refuses the arrays of a library: by an error, or by an answer of another's."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given = asked(s, which)
    except _STRANGE as error:
        return error
    if array_api_compat.is_torch_array(s) != array_api_compat.is_torch_array(given):
        return TypeError(f"it answers {type(s).__name__} with {type(given).__name__}")
    return None
