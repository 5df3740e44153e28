"""Mixtures of distributions, and rigorous bounds on the KL of two of them."""

from dkl.mixture.bounds import kl_bounds
from dkl.mixture.density import Mixture, detached, member
from dkl.mixture.family import MixtureFamily

__all__ = ["Mixture", "MixtureFamily", "detached", "kl_bounds", "member"]
