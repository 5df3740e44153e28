"""Fits in high dimension: by gradients, natural gradients, coordinate ascent, and against a critic."""

from __future__ import annotations

from dkl.fitting.variational import ascent, critic, gradient, natural, regression

__all__ = ["ascent", "critic", "gradient", "natural", "regression"]
