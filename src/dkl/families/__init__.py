"""Families of distributions: parameters, KL without cancellation, natural parameters and back, density, sampling.

Everything else about a pair of one exponential family follows from these; see :mod:`dkl.families.exponential`.
"""

from __future__ import annotations

from dkl.families.base import Distribution
from dkl.families.continuous_bernoulli import ContinuousBernoulli
from dkl.families.counts import Binomial, Geometric, Multinomial, NegativeBinomial, Poisson
from dkl.families.directional import VonMises, VonMisesFisher
from dkl.families.dirichlet import Beta, Dirichlet
from dkl.families.exponential import ExponentialFamily
from dkl.families.fixed import Laplace, Pareto, Weibull
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
from dkl.families.inverse_gaussian import InverseGaussian
from dkl.families.matrix_normal import MatrixNormal
from dkl.families.multivariate import DiagonalNormal, LowRankNormal, MultivariateNormal
from dkl.families.normal import LogNormal, Normal
from dkl.families.others import Cauchy, GeneralizedNormal, Gumbel, Kumaraswamy, StudentT, Uniform
from dkl.families.outcomes import Bernoulli, Categorical
from dkl.families.wishart import InverseWishart, Wishart

__all__ = [
    "Bernoulli", "Beta", "Binomial", "Categorical", "Cauchy", "ChiSquared", "ContinuousBernoulli", "DiagonalNormal",
    "Dirichlet", "Distribution", "Erlang", "Exponential", "ExponentialFamily", "Gamma", "GeneralizedNormal",
    "Geometric", "Gumbel", "HalfNormal", "InverseGamma", "InverseGaussian", "InverseWishart", "Kumaraswamy",
    "Laplace", "LogNormal", "LowRankNormal", "MatrixNormal", "Maxwell", "Multinomial", "MultivariateNormal",
    "NegativeBinomial", "Normal", "Pareto", "Poisson", "Rayleigh", "StudentT", "Uniform", "VonMises",
    "VonMisesFisher", "Weibull", "Wishart",
]  # fmt: skip
