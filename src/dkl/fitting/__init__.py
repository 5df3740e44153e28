"""Fitting: the same target by forward KL, reverse KL and everything between.

:func:`dkl.fit` finds the member q of a family with the least D(target‖q); each method has a file of its own.
"""

from __future__ import annotations

from dkl.fitting import ascent, critic, direct, gradient, likelihood, matching, mixing, natural, propagation
from dkl.fitting.api import fit
from dkl.fitting.ascent import coordinate_ascent, normal_gamma
from dkl.fitting.problem import METHODS, Problem, fitter
from dkl.fitting.products import Product, Sites
from dkl.fitting.result import Boundary, Fit, Optimum

__all__ = [
    "METHODS", "Boundary", "Fit", "Optimum", "Problem", "Product", "Sites", "ascent", "coordinate_ascent", "critic",
    "direct", "fit", "fitter", "gradient", "likelihood", "matching", "mixing", "natural", "normal_gamma", "propagation",
]  # fmt: skip
