"""Direct minimisation in low dimension: coordinates, the divergence over them, descents, and paths over α."""

from __future__ import annotations

from dkl.fitting.direct import minimisation

__all__ = ["minimisation"]
