"""The forward KL: moment matching, maximum likelihood, and expectation maximisation."""

from __future__ import annotations

from dkl.fitting.matching import likelihood, mixing, moments

__all__ = ["likelihood", "mixing", "moments"]
