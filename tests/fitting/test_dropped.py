"""What a fit leaves out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

import dkl
from dkl.families import Gamma, MultivariateNormal, Normal
from dkl.fitting import Fit

TWO = dkl.Mixture(Normal([-3.0, 3.0], [1.0, 1.0]), [0.5, 0.5])


def test_a_mode_that_is_dropped_is_named_with_its_mass() -> None:
    fit = dkl.fit(Normal, TWO, dkl.reverse_kl, starts=3)
    (part,) = fit.dropped
    assert part.part == "component 1, Normal(loc=3, scale=1)"
    assert part.of == 0.5
    # By the distribution function, beyond where q falls below a hundredth of p.
    q = stats.norm(float(fit.distribution.loc), float(fit.distribution.scale))

    def ratio(x: float) -> float:
        return float(q.logpdf(x)) - float(TWO.log_prob(x)) - math.log(0.01)

    edge = optimize.brentq(ratio, 0.0, 3.0)
    assert part.mass == pytest.approx(0.5 * stats.norm(3, 1).sf(edge), abs=part.error)
    assert 0 < part.error < 0.01


def test_a_fit_that_covers_drops_nothing() -> None:
    assert dkl.fit(Normal, TWO).dropped == ()


def test_stretches_of_a_density_that_is_no_mixture() -> None:
    density = dkl.Density(TWO.log_prob)
    fit = dkl.fit(Normal, density, dkl.reverse_kl, starts=6)
    (part,) = fit.dropped
    assert part.part.startswith("from ")
    assert part.part.endswith("to ∞")
    assert part.mass == pytest.approx(0.4898, abs=0.005)


def test_whole_numbers_and_the_plane() -> None:
    far = dkl.Mixture(MultivariateNormal(np.array([[-4.0, 0.0], [4.0, 0.0]]), np.stack([np.eye(2)] * 2)), [0.3, 0.7])
    fit = dkl.fit(MultivariateNormal, far, dkl.reverse_kl, starts=3)
    (part,) = fit.dropped
    assert part.of == pytest.approx(0.3)
    assert part.mass == pytest.approx(0.3, abs=0.01)


def test_of_samples_nothing_is_known() -> None:
    assert dkl.fit(Gamma, dkl.Samples([1.0, 2.0, 4.0])).dropped == ()


def test_without_a_problem_nothing_is_known() -> None:
    assert Fit(Normal(0.0, 1.0), None, "by hand", True).dropped == ()
    with pytest.raises(ValueError, match="has no path"):
        Fit(Normal(0.0, 1.0), None, "by hand", True).path([0.0, 1.0])
