"""What other libraries' objects cannot answer is told in this library's words."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy import stats
from torch import distributions as td

import dkl


def test_an_object_that_fails_is_named() -> None:
    folded = td.TransformedDistribution(td.Normal(torch.tensor(0.0), torch.tensor(1.0)), [td.AbsTransform()])
    half = td.HalfNormal(torch.tensor(1.0))
    for p, q, name in ((folded, half, "p"), (half, folded, "q")):
        message = (
            rf"^{name}: the log-density of TransformedDistribution\(\) failed with NotImplementedError; dkl.Density"
        )
        with pytest.raises(ValueError, match=message):
            dkl.kl(p, q)


def test_nan_is_named() -> None:
    class Bad:
        def log_prob(self, x: Any) -> Any:
            return math.nan * x

    with pytest.raises(ValueError, match=r"^q, Density\(Bad, on the interval .*log_prob gives NaN at x = "):
        dkl.kl(dkl.families.Normal(0.0, 1.0), Bad())
    with pytest.raises(ValueError, match=r"^p, Density\(invweibull\(10.58\), on .*log_prob gives NaN at x = "):
        dkl.kl(stats.invweibull(10.58), stats.invweibull(10.58, scale=1.25))


def test_levys_distribution_is_inverse_gamma() -> None:
    p, q = stats.levy(1.0, 2.0), stats.levy(1.0, 4.0)
    assert dkl.measure(p, q).method == "closed_form"
    # Half of r − 1 − log r with r = 2.
    assert float(dkl.kl(p, q)) == pytest.approx(0.5 - 0.5 * math.log(2), rel=1e-12)
    for theirs, x in ((stats.levy(1.0, 2.0), 3.5), (stats.levy_l(1.0, 2.0), -3.5)):
        assert float(dkl.adapters.adapted(theirs).log_prob(x)) == pytest.approx(float(theirs.logpdf(x)), rel=1e-12)
