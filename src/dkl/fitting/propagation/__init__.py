"""Expectation propagation and its kin: products of factors, and the steps of each family."""

from __future__ import annotations

from dkl.fitting.propagation import sweeps

__all__ = ["sweeps"]
