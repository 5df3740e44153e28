"""The loops on pairs of any size, and the array library's own way beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dkl.methods import fused


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send pairs of every size through the compiled loops."""
    monkeypatch.setattr(fused, "LEAST", 0)
    monkeypatch.setattr(fused, "FEW", 0)


def by_the_library(function: Callable[[], Any]) -> Any:
    """Call something with the array library alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "LEAST", 1 << 62)
        patch.setattr(fused, "FEW", 0)
        return function()


@pytest.fixture
def plainly() -> Callable[[Callable[[], Any]], Any]:
    """The array library's own way."""
    return by_the_library
