"""The forward KL: moment matching, maximum likelihood, and expectation maximisation."""

from __future__ import annotations

from dkl.fitting.matching import formulas, likelihood, mixing, moments

__all__ = ["formulas", "likelihood", "mixing", "moments"]
