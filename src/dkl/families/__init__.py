"""Families of distributions: parameters, KL without cancellation, natural parameters and back, density, sampling.

Everything else about a pair of one exponential family follows from these; see :mod:`dkl.families.base`.
"""

from __future__ import annotations

from dkl.families.base import Distribution, ExponentialFamily
from dkl.families.dirichlet import Beta, Dirichlet
from dkl.families.gamma import (
    ChiSquared,
    Erlang,
    Exponential,
    Gamma,
    HalfNormal,
    InverseGamma,
    Maxwell,
    Rayleigh,
)
from dkl.families.normal import LogNormal, Normal

__all__ = [
    "Beta", "ChiSquared", "Dirichlet", "Distribution", "Erlang", "Exponential", "ExponentialFamily", "Gamma",
    "HalfNormal", "InverseGamma", "LogNormal", "Maxwell", "Normal", "Rayleigh",
]  # fmt: skip
