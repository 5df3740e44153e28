"""The loops on pairs of any size, and the array library's own way beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dkl.methods import fused


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send pairs of every size through the compiled loops."""
    monkeypatch.setattr(fused, "LEAST", 0)
    monkeypatch.setattr(fused, "FEW", 0)


@pytest.fixture
def plainly() -> Iterator[Callable[[Callable[[], Any]], Any]]:
    """Call something with the array library alone."""

    def call(function: Callable[[], Any]) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fused, "LEAST", 1 << 62)
            patch.setattr(fused, "FEW", 0)
            return function()

    return call
