"""Fitting: the same target by forward KL, reverse KL and everything between.

:func:`dkl.fit` finds the member q of a family with the least D(target‖q). A method is one decorated function, in a file
of its own; importing the package registers them all.
"""

from __future__ import annotations

from dkl.fitting import direct, matching, propagation, variational
from dkl.fitting.api import fit
from dkl.fitting.problem import METHODS, Problem, fitter
from dkl.fitting.propagation.products import Product, Sites
from dkl.fitting.result import Boundary, Fit, Optimum
from dkl.fitting.variational.ascent import coordinate_ascent, normal_gamma

__all__ = [
    "METHODS", "Boundary", "Fit", "Optimum", "Problem", "Product", "Sites", "coordinate_ascent", "direct", "fit",
    "fitter", "matching", "normal_gamma", "propagation", "variational",
]  # fmt: skip
