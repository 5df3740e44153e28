"""Figures: axes in, axes out, drawn with matplotlib's objects and shown by the caller."""

from __future__ import annotations

try:
    import matplotlib  # noqa: F401  the message belongs here, before any other import of it
except ImportError as error:
    raise ImportError('dkl.plots draws with matplotlib, which is not installed: pip install "dkl[plots]"') from error

from dkl.plots.alpha_path import alpha_path
from dkl.plots.densities import densities
from dkl.plots.doctor import diagnoses, diagnosis
from dkl.plots.fit import fit
from dkl.plots.tables import comparison, comparisons

__all__ = ["alpha_path", "comparison", "comparisons", "densities", "diagnoses", "diagnosis", "fit"]
