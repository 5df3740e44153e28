"""Direct minimisation: the published optima, every one of them, and what is said where there is none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import dkl
from dkl.families import (
    Beta,
    Binomial,
    Cauchy,
    DiagonalNormal,
    Gamma,
    GeneralizedNormal,
    LogNormal,
    MultivariateNormal,
    Normal,
    Poisson,
    StudentT,
    Uniform,
)
from dkl.fitting.direct.descent import descend
from dkl.fitting.direct.edges import extrapolated
from dkl.fitting.direct.landscape import Landscape
from dkl.fitting.direct.remembered import Remembered, remembered
from dkl.supports import Interval

TWO = dkl.Mixture(Normal([-3.0, 3.0], [1.0, 1.0]), [0.5, 0.5])
NEAR = dkl.Mixture(Normal([-1.0, 1.0], [2 / 3, 2 / 3]), [0.5, 0.5])
TILTED = MultivariateNormal([0.0, 0.0], [[1.0, 0.9], [0.9, 1.0]])
DIRECT = "direct minimisation"


def places(fit: Any) -> list[tuple[float, float, float]]:
    return [(float(o.distribution.loc), float(o.distribution.scale), o.value) for o in fit.optima]


def test_reverse_kl_has_two_global_optima_and_a_local_one() -> None:
    fit = dkl.fit(Normal, TWO, dkl.reverse_kl)
    expected = [(-2.984306, 1.023369, 0.688769), (2.984306, 1.023369, 0.688769), (0.0, 2.743769, 0.840621)]
    np.testing.assert_allclose(places(fit), expected, atol=6e-7)
    assert fit.converged
    assert fit.method == DIRECT
    assert float(fit.divergence) == pytest.approx(0.688769, abs=5e-7)
    assert sum(o.basin for o in fit.optima) == pytest.approx(1.0)
    assert list(fit.trace) == sorted(fit.trace, reverse=True)


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [
        (0.5, [(0.0, 3.049879, 0.564356)]),
        (1.0, [(0.0, math.sqrt(10.0), 0.461995)]),
        (-1.0, [(-2.992601, 1.010067, 0.497707), (2.992601, 1.010067, 0.497707)]),
    ],
)
def test_the_optima_of_alpha(alpha: float, expected: list[tuple[float, float, float]]) -> None:
    fit = dkl.fit(Normal, TWO, dkl.Alpha(alpha), method=DIRECT)
    np.testing.assert_allclose(places(fit), expected, atol=6e-7)


def test_an_infimum_on_the_boundary_is_said_and_no_number_is_given() -> None:
    fit = dkl.fit(Normal, NEAR, dkl.Alpha(-1.0))
    assert fit.distribution is None
    assert fit.divergence is None
    assert not fit.converged
    assert fit.optima == ()
    assert fit.dropped == ()
    assert fit.boundary.infimum == pytest.approx(0.143413, abs=5e-7)
    assert float(fit.boundary.near.scale) == pytest.approx(math.sqrt(8.0) / 3.0, abs=1e-5)
    assert "lies on the boundary" in fit.reason
    assert "no optimum: infimum 0.143413" in repr(fit)
    assert fit.to_dict()["boundary"]["infimum"] == fit.boundary.infimum


@pytest.mark.parametrize(
    ("alpha", "variance"), [(-1.0, 0.132521), (0.0, 0.19), (0.5, 0.435890), (1.0, 1.0), (2.0, 1.433740)]
)
def test_mean_field_variances_of_correlated_normals(alpha: float, variance: float) -> None:
    fit = dkl.fit(DiagonalNormal, TILTED, dkl.Alpha(alpha), method=DIRECT, starts=1)
    np.testing.assert_allclose(np.asarray(fit.distribution.var()), variance, atol=6e-7)
    np.testing.assert_allclose(np.asarray(fit.distribution.mean()), 0.0, atol=1e-7)


def test_the_exact_member_is_found_by_every_divergence() -> None:
    for divergence in (dkl.reverse_kl, dkl.js, dkl.hellinger, dkl.Renyi(2.0), dkl.chi2, dkl.jeffreys):
        fit = dkl.fit(Gamma, Gamma(2.5, 1.5), divergence, starts=2)
        assert float(fit.distribution.shape) == pytest.approx(2.5, rel=1e-6)
        assert float(fit.distribution.rate) == pytest.approx(1.5, rel=1e-6)
        assert float(fit.divergence) < 1e-9


def test_the_optimum_is_stationary_by_another_way() -> None:
    # At the optimum of reverse KL, E_q[s·(log q − log p)] = 0 for the score s: by SciPy's quadrature.
    from scipy.integrate import quad

    fitted = dkl.fit(LogNormal, Gamma(3.0, 1.0), dkl.reverse_kl, starts=2).distribution
    loc, scale = float(fitted.loc), float(fitted.scale)

    def inner(statistic: Any) -> float:
        def integrand(z: float) -> float:
            x = math.exp(loc + scale * z)
            gap = float(fitted.log_prob(x)) - float(Gamma(3.0, 1.0).log_prob(x))
            return statistic(z) * gap * math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)

        return quad(integrand, -12, 12, epsabs=1e-12)[0]  # type: ignore[no-any-return]

    assert inner(lambda z: z) == pytest.approx(0.0, abs=1e-7)
    assert inner(lambda z: z * z - 1.0) == pytest.approx(0.0, abs=1e-7)


def test_families_without_sufficient_statistics() -> None:
    fit = dkl.fit(StudentT, StudentT(4.0, 1.0, 2.0), dkl.js, starts=2)
    assert float(fit.distribution.df) == pytest.approx(4.0, rel=1e-4)
    assert float(fit.distribution.scale) == pytest.approx(2.0, rel=1e-5)


def test_whole_numbers_and_lists_of_outcomes() -> None:
    mixed = dkl.Mixture(Poisson([2.0, 6.0]), [0.5, 0.5])
    found = dkl.fit(Poisson, mixed, dkl.js, starts=4).distribution
    rates = np.linspace(2.0, 6.0, 4001)
    by_hand = rates[np.argmin([float(dkl.measure(mixed, Poisson(r), dkl.js)) for r in rates[::40]]) * 40]
    assert float(found.rate) == pytest.approx(by_hand, abs=0.05)
    binomial = dkl.fit(Binomial, Binomial(10, 0.3), dkl.hellinger, total_count=10, starts=2).distribution
    assert float(binomial.probs) == pytest.approx(0.3, abs=1e-7)
    counts = dkl.Counts([1.0, 4.0, 6.0, 4.0, 1.0])
    listed = dkl.fit(Binomial, counts, dkl.js, total_count=4, starts=2).distribution
    assert float(listed.probs) == pytest.approx(0.5, abs=1e-7)


@pytest.mark.parametrize("factor", [1e-300, 1e-3, 7.0, 1e200])
def test_an_unnormalised_density_is_fitted_and_its_integral_told(factor: float) -> None:
    density = dkl.Density(lambda x: -0.5 * ((x - 1.0) / 2.0) ** 2 + math.log(factor))
    fit = dkl.fit(Normal, density, dkl.reverse_kl, starts=2)
    assert float(fit.distribution.loc) == pytest.approx(1.0, abs=1e-8)
    assert float(fit.distribution.scale) == pytest.approx(2.0, abs=1e-8)
    assert float(fit.normaliser) == pytest.approx(factor * 2.0 * math.sqrt(2.0 * math.pi), rel=1e-8)
    assert fit.details["log_normaliser"] == pytest.approx(math.log(factor) + math.log(2 * math.sqrt(2 * math.pi)))
    assert float(fit.divergence) < 1e-8


def test_a_normalised_density_has_no_normaliser() -> None:
    density = dkl.Density(lambda x: -0.5 * x * x - 0.5 * math.log(2 * math.pi))
    assert dkl.fit(Normal, density, dkl.reverse_kl, starts=1).normaliser is None


def test_supports_that_do_not_go_together_are_said() -> None:
    with pytest.raises(ValueError, match="every Normal is infinitely far from the target: KL"):
        dkl.fit(Normal, Gamma(2.0, 1.0), dkl.reverse_kl, starts=2)
    with pytest.raises(ValueError, match="every Gamma is infinitely far from the target"):
        dkl.fit(Gamma, Normal(5.0, 1.0), dkl.kl, method=DIRECT, starts=2)
    with pytest.raises(ValueError, match="no Beta matches any part of the target"):
        dkl.fit(Beta, Normal(50.0, 1.0), dkl.js, starts=2)


def test_an_improper_target_is_said() -> None:
    with pytest.raises(ValueError, match="is improper: its integral does not come to an end"):
        dkl.fit(Normal, dkl.Density(lambda x: 0.0 * x), dkl.reverse_kl)
    with pytest.raises(ValueError, match="is improper"):
        dkl.fit(Normal, dkl.Density(lambda x: -np.log1p(np.abs(x))), dkl.reverse_kl)
    with pytest.raises(ValueError, match="is improper"):
        dkl.fit(Beta, dkl.Density(lambda x: -np.log(x), support=Interval(0.0, 1.0)), dkl.js)


def test_a_density_with_nan_names_the_place() -> None:
    with pytest.raises(ValueError, match="log_prob gives NaN at x = "), np.errstate(invalid="ignore"):
        dkl.fit(Normal, dkl.Density(lambda x: np.log(x)), dkl.reverse_kl)


def test_the_same_seed_gives_the_same_bits_and_progress_is_told() -> None:
    seen: list[tuple[int, int]] = []
    one = dkl.fit(Normal, TWO, dkl.js, starts=5, rng=3, progress=lambda done, most: seen.append((done, most)))
    other = dkl.fit(Normal, TWO, dkl.js, starts=5, rng=3)
    assert repr(one.optima) == repr(other.optima)
    assert one.optima[0].value == other.optima[0].value
    assert seen == [(k, seen[-1][1]) for k in range(1, seen[-1][1] + 1)]


def test_a_saddle_is_left() -> None:
    # From the middle, gradients of a symmetric target never leave the axis: the curvature does.
    fit = dkl.fit(Normal, TWO, dkl.Alpha(-0.5), starts=1)
    assert abs(float(fit.distribution.loc)) == pytest.approx(2.99034, abs=1e-4)


@pytest.mark.parametrize("starts", [0, -1, 2.5])
def test_starts_must_be_a_whole_number(starts: float) -> None:
    with pytest.raises(ValueError, match=r"starts = .* must be a whole number of at least 1"):
        dkl.fit(Normal, TWO, dkl.js, starts=starts)


def test_a_statistic_over_many_decades_does_not_mislead_the_descent() -> None:
    # The only optimum by another way: reverse KL of gamma distributions to a lognormal one is smooth in two numbers.
    fit = dkl.fit(Gamma, LogNormal(0.0, 2.0), dkl.reverse_kl, starts=6)
    found = [float(fit.distribution.shape), float(fit.distribution.rate)]
    assert found == pytest.approx([0.61923, 0.22936], abs=1e-5)
    assert len(fit.optima) == 1


def test_mass_outside_a_bounded_density_counts_though_it_underflows() -> None:
    bounded = dkl.Density(lambda x: -(x**4) + 2 * x**2, support=Interval(-6.0, 6.0))
    with pytest.raises(ValueError, match="every Normal is infinitely far from the target: KL"):
        dkl.fit(Normal, bounded, dkl.reverse_kl, starts=2)


@pytest.mark.parametrize("target", [Normal(1e8, 1e-3), Beta(1e-3, 1e-3), Gamma(1e-3, 1.0)], ids=repr)
def test_a_target_of_the_family_is_the_answer(target: Any) -> None:
    fit = dkl.fit(type(target), target, dkl.reverse_kl, starts=1)
    assert fit.distribution is target
    assert float(fit.divergence) == 0.0


def test_densities_that_jump_are_descended_by_their_values() -> None:
    # KL(U(-a, a)‖N(0, 1)) = a²/6 − log(2a) + ½·log(2π) is least at a = √3.
    fit = dkl.fit(Uniform, Normal(0.0, 1.0), dkl.reverse_kl, starts=1)
    assert float(fit.distribution.high) == pytest.approx(math.sqrt(3.0), abs=1e-4)
    least = 0.5 - math.log(2 * math.sqrt(3)) + 0.5 * math.log(2 * math.pi)
    assert float(fit.divergence) == pytest.approx(least, abs=1e-8)


@pytest.mark.parametrize("divergence", [dkl.kl, dkl.reverse_kl, dkl.js], ids=lambda d: d.name)
def test_a_parameter_that_runs_away_is_a_boundary(divergence: Any) -> None:
    # StudentT(df) is the normal distribution where df is infinite, and that is the target.
    fit = dkl.fit(StudentT, Normal(1.0, 2.0), divergence, starts=1)
    assert fit.distribution is None
    assert fit.boundary.infimum == 0.0
    assert fit.boundary.reason == "the divergence falls to it as df → ∞"
    assert float(fit.boundary.near.df) > 1e6
    assert float(fit.boundary.near.scale) == pytest.approx(2.0, rel=1e-6)


def test_the_infimum_at_infinity_is_the_limit_family_s_least() -> None:
    # Against a target of lighter tails the best StudentT is a normal distribution: that of the target's moments.
    fit = dkl.fit(StudentT, Beta(2.0, 2.0), starts=1)
    best = float(dkl.fit(Normal, Beta(2.0, 2.0)).divergence)
    assert fit.boundary.infimum == pytest.approx(best, rel=1e-9)
    assert "no StudentT is the best: the infimum, 0.0461652, lies on the boundary" in fit.reason
    assert "as df → ∞" in fit.reason


def test_a_better_limit_outdoes_optima_inside() -> None:
    fit = dkl.fit(StudentT, TWO, dkl.js, starts=4)
    best = float(dkl.fit(Normal, TWO, dkl.js, starts=4).divergence)
    assert fit.boundary.infimum == pytest.approx(best, rel=1e-8)
    assert all(o.value > best for o in fit.optima)


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        ([3.0 + 4.0**-k for k in range(6)], 3.0),
        ([4.0 ** -(k + 20) for k in range(4)], 0.0),
        ([1.0, 1.0], 1.0),
        ([1.0 / k for k in range(1, 9)], None),
        ([3.0, 2.0, 1.0, 0.5], None),
        ([2.0], None),
    ],
)
def test_limits_are_told_where_steps_become_a_geometric_series(values: list[float], limit: float | None) -> None:
    found = extrapolated(values)
    assert found == limit if limit is None else found == pytest.approx(limit, abs=1e-12)


def test_the_narrowest_uniform_that_covers_is_the_best_forward() -> None:
    # KL(p‖U(a, b)) = −h(p) + log(b − a).
    fit = dkl.fit(Uniform, Beta(2.0, 3.0))
    assert (float(fit.distribution.low), float(fit.distribution.high)) == (0.0, 1.0)
    assert float(fit.divergence) == pytest.approx(-float(Beta(2.0, 3.0).entropy()), rel=1e-12)
    with pytest.raises(ValueError, match=r"every Uniform is infinitely far .* lives on .*, which none covers"):
        dkl.fit(Uniform, Normal(0.0, 1.0))


@pytest.mark.parametrize(("target", "scale"), [(Normal(0.0, 1e150), ", 1e\\+150"), (LogNormal(0.0, 300.0), "")])
def test_targets_wider_than_quadrature_reaches_are_said_to_be(target: Any, scale: str) -> None:
    with pytest.raises(ValueError, match=f"has mass beyond 1e\\+140, .* divide it by its scale{scale}, or fit"):
        dkl.fit(Gamma if isinstance(target, LogNormal) else StudentT, target, dkl.js, starts=1)


def test_total_variation_is_least_where_its_slopes_vanish() -> None:
    # By the derivative of Σ± over the crossings: the normal member symmetric about 0, its scale by golden section.
    from scipy.optimize import minimize_scalar

    fit = dkl.fit(Normal, TWO, dkl.tv, starts=1)
    by_hand = minimize_scalar(lambda s: float(dkl.measure(TWO, Normal(0.0, s), dkl.tv)), bounds=(3, 3.5),
                              method="bounded", options={"xatol": 1e-7})  # fmt: skip
    assert float(fit.distribution.scale) == pytest.approx(by_hand.x, abs=1e-5)
    assert float(fit.divergence) <= by_hand.fun + 1e-12


def test_total_variation_of_whole_numbers_has_optima_at_its_kinks() -> None:
    mixed = dkl.Mixture(Poisson([2.0, 9.0]), [0.5, 0.5])
    fit = dkl.fit(Poisson, mixed, dkl.tv, starts=4)
    rates = np.linspace(1.0, 12.0, 111)
    assert fit.converged
    assert float(fit.divergence) <= min(float(dkl.measure(mixed, Poisson(r), dkl.tv)) for r in rates)


def test_mixtures_are_fitted_by_other_divergences() -> None:
    target = dkl.Mixture(Normal([-2.0, 3.0], [0.7, 1.0]), [0.6, 0.4])
    fit = dkl.fit(dkl.Mixture.of(Normal, 2), target, dkl.reverse_kl, starts=3)
    assert sorted(np.asarray(fit.distribution.components.loc).tolist()) == pytest.approx([-2.0, 3.0], abs=1e-5)


def test_an_integral_beyond_the_floating_range_is_told_by_its_logarithm() -> None:
    fit = dkl.fit(Normal, dkl.Density(lambda x: -0.5 * x * x + 1e5), dkl.reverse_kl, starts=1)
    assert fit.log_normaliser == pytest.approx(1e5 + 0.5 * math.log(2 * math.pi), rel=1e-12)
    assert math.isinf(float(fit.normaliser))


@pytest.mark.parametrize("rtol", [-1.0, 0.0, math.nan, 1.0])
def test_rtol_is_a_relative_error(rtol: float) -> None:
    with pytest.raises(ValueError, match="rtol"):
        dkl.fit(Normal, TWO, dkl.js, rtol=rtol)


@pytest.mark.parametrize(
    ("divergence", "scale", "shape", "value"),
    [(dkl.reverse_kl, 0.42972, 0.52267, 0.04408775), (dkl.kl, 0.0553323, 0.33186, 0.08956232)],
)
def test_cusps_are_no_slopes(divergence: Any, scale: float, shape: float, value: float) -> None:
    """Of a Cauchy the best generalised normal has a cusp; by kl a normal, where it begins, is infinitely far."""
    target = Cauchy(0.0, 1.0)
    ground = Landscape(divergence, target, 1e-7)
    found = descend(ground, GeneralizedNormal(0.1, 1.0, 2.0))
    assert (found.kind, found.by_values) == ("optimum", True)
    assert float(found.member.loc) == pytest.approx(0.0, abs=1e-4)
    assert float(found.member.scale) == pytest.approx(scale, rel=1e-3)
    assert float(found.member.given["shape"]) == pytest.approx(shape, rel=1e-4)
    assert found.value == pytest.approx(value, rel=1e-6)
    # What begins near it is led to it, and not to the digits again.
    assert descend(ground, GeneralizedNormal(0.0, 1.05 * scale, shape), [found.member]).member is found.member


def test_many_components_are_asked_once_a_panel() -> None:
    centres = np.random.default_rng(0).normal(size=80)
    target = dkl.Mixture(Normal(centres, np.full(80, 0.2)), np.full(80, 1 / 80))
    kept = remembered(target)
    assert isinstance(kept, Remembered)
    assert repr(kept) == repr(target)
    x = np.random.default_rng(1).normal(size=(5, 21))
    first = kept.log_prob(x)
    np.testing.assert_array_equal(first, target.log_prob(x))
    kept._target = Normal(0.0, 1.0)  # what was asked is not asked again
    np.testing.assert_array_equal(kept.log_prob(x[::-1]), first[::-1])
    np.testing.assert_array_equal(kept.log_prob(x + 1.0), Normal(0.0, 1.0).log_prob(x + 1.0))
    few = dkl.Mixture(Normal([0.0, 1.0], [1.0, 1.0]), [0.5, 0.5])
    assert remembered(few) is few
    found, plain = (Landscape(dkl.reverse_kl, t, 1e-10).value(Normal(0.1, 0.9)) for t in (remembered(target), target))
    assert found == pytest.approx(plain, rel=1e-10)
