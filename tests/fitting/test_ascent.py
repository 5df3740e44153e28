"""Coordinate ascent: exact factors of normal distributions, the engine, and the textbook's normal data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

import dkl
from dkl.families import DiagonalNormal, Gamma, LowRankNormal, MultivariateNormal, Normal, StudentT
from dkl.fitting import coordinate_ascent, normal_gamma
from dkl.fitting.variational.ascent import block_update

ASCENT = "coordinate ascent"


def tilted(d: int, seed: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((d, d + 3))
    return rng.standard_normal(d), a @ a.T


def test_mean_field_has_the_precisions_of_the_target() -> None:
    loc, covariance = tilted(5)
    for target in (
        MultivariateNormal(loc, covariance),
        MultivariateNormal(loc, precision=np.linalg.inv(covariance)),
        MultivariateNormal(loc, cholesky=np.linalg.cholesky(covariance)),
    ):
        fit = dkl.fit(DiagonalNormal, target, dkl.reverse_kl)
        assert fit.method == ASCENT
        assert fit.converged
        np.testing.assert_allclose(fit.distribution.mean(), loc, rtol=1e-12)
        np.testing.assert_allclose(fit.distribution.var(), 1 / np.diag(np.linalg.inv(covariance)), rtol=1e-10)


def test_mean_field_is_the_least_of_all_its_neighbours() -> None:
    loc, covariance = tilted(4)
    target = MultivariateNormal(loc, covariance)
    fit = dkl.fit(DiagonalNormal, target, dkl.reverse_kl)
    least = float(fit.divergence)
    # From the determinants: ½·(Σ log Λ_ii + log det Σ).
    precision = np.linalg.inv(covariance)
    assert least == pytest.approx(
        0.5 * (np.log(np.diag(precision)).sum() + np.linalg.slogdet(covariance)[1]), rel=1e-10
    )
    rng = np.random.default_rng(1)
    for _ in range(20):
        near = DiagonalNormal(
            fit.distribution.mean() + 0.01 * rng.standard_normal(4),
            fit.distribution.std() * np.exp(0.01 * rng.standard_normal(4)),
        )
        assert float(dkl.reverse_kl(target, near)) > least


def test_rho_of_nine_tenths_gives_nineteen_hundredths() -> None:
    target = MultivariateNormal([0.0, 0.0], [[1.0, 0.9], [0.9, 1.0]])
    fit = dkl.fit(DiagonalNormal, target, dkl.reverse_kl, method=ASCENT)
    np.testing.assert_allclose(fit.distribution.var(), 0.19, rtol=1e-12)


def test_blocks_keep_their_own_correlations() -> None:
    loc, covariance = tilted(5)
    target = MultivariateNormal(loc, covariance)
    blocks = [[0, 3], [1], [2, 4]]
    fit = dkl.fit(MultivariateNormal, target, dkl.reverse_kl, method=ASCENT, blocks=blocks)
    precision, mine = np.linalg.inv(covariance), np.linalg.inv(fit.distribution._covariance())
    for one in blocks:
        for other in blocks:
            expected = precision[np.ix_(one, other)] if one == other else 0.0
            np.testing.assert_allclose(mine[np.ix_(one, other)], expected, atol=1e-10)
    alone = float(dkl.fit(DiagonalNormal, target, dkl.reverse_kl).divergence)
    assert 0 < float(fit.divergence) < alone
    whole = dkl.fit(MultivariateNormal, target, dkl.reverse_kl, method=ASCENT, blocks=[list(range(5))])
    assert float(whole.divergence) < 1e-20


def test_block_updates_come_to_the_mean_from_anywhere() -> None:
    loc, covariance = tilted(4)
    target = MultivariateNormal(loc, covariance)
    precision = np.linalg.inv(covariance)
    blocks = [[0, 2], [1, 3]]
    start = {str(k): MultivariateNormal(np.ones(2), precision=precision[np.ix_(b, b)]) for k, b in enumerate(blocks)}

    def bound(q: dict[str, Any]) -> float:
        mean, kept = np.empty(4), np.zeros((4, 4))
        for k, block in enumerate(blocks):
            mean[block] = q[str(k)].mean()
            kept[np.ix_(block, block)] = np.linalg.inv(q[str(k)]._covariance())
        return -float(dkl.reverse_kl(target, MultivariateNormal(mean, precision=kept)))

    # Each lies where the gradient by its own mean vanishes.
    first = block_update(0, blocks, loc, precision)(start)
    slope = precision[np.ix_(blocks[0], blocks[0])] @ (first.mean() - loc[blocks[0]])
    slope = slope + precision[np.ix_(blocks[0], blocks[1])] @ (1.0 - loc[blocks[1]])
    np.testing.assert_allclose(slope, 0.0, atol=1e-12)
    fit = coordinate_ascent(
        start, {str(k): block_update(k, blocks, loc, precision) for k in range(2)}, bound, rtol=1e-9
    )  # fmt: skip
    assert fit.converged
    assert fit.details["sweeps"] > 3
    for k, block in enumerate(blocks):
        np.testing.assert_allclose(fit.details["factors"][str(k)].mean(), loc[block], atol=1e-7)


def test_targets_that_are_given_otherwise() -> None:
    low = LowRankNormal(np.zeros(3), np.ones((3, 1)), np.ones(3))
    fit = dkl.fit(DiagonalNormal, low, dkl.reverse_kl)
    precision = np.linalg.inv(np.ones((3, 3)) + np.eye(3))
    np.testing.assert_allclose(fit.distribution.var(), 1 / np.diag(precision), rtol=1e-12)
    diagonal = DiagonalNormal([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert float(dkl.fit(DiagonalNormal, diagonal, dkl.reverse_kl, method=ASCENT).divergence) < 1e-25


def test_blocks_that_are_none() -> None:
    target = MultivariateNormal(*tilted(3))
    for blocks in ([[0, 1]], [[0, 1], [1, 2]], [[0, 1, 2], []], [[0, 1], [3]]):
        with pytest.raises(ValueError, match=r"blocks = .* must name each of the components 0 to 2 once"):
            dkl.fit(MultivariateNormal, target, dkl.reverse_kl, method=ASCENT, blocks=blocks)
    with pytest.raises(TypeError, match="a DiagonalNormal has no blocks of several components"):
        dkl.fit(DiagonalNormal, target, dkl.reverse_kl, method=ASCENT, blocks=[[0, 1], [2]])
    with pytest.raises(TypeError, match="nothing fits DiagonalNormal"):
        dkl.fit(DiagonalNormal, target, dkl.kl, method=ASCENT)
    with pytest.raises(TypeError, match="nothing fits DiagonalNormal"):
        dkl.fit(DiagonalNormal, dkl.Mixture([target, target], [0.5, 0.5]), dkl.reverse_kl, method=ASCENT)


# The engine, on a pair of correlated normal numbers whose factors are known.
PRECISION = np.array([[2.0, 1.2], [1.2, 1.0]])


def pair_updates() -> dict[str, Any]:
    (a, b), (_, c) = PRECISION
    return {
        "x": lambda q: Normal(-b / a * q["y"].mean(), a**-0.5),
        "y": lambda q: Normal(-b / c * q["x"].mean(), c**-0.5),
    }


def pair_bound(q: dict[str, Any]) -> float:
    made = DiagonalNormal([q["x"].mean(), q["y"].mean()], [q["x"].std(), q["y"].std()])
    return -float(dkl.kl(made, MultivariateNormal([0.0, 0.0], precision=PRECISION)))


def test_the_engine_comes_to_the_mean_field_factors() -> None:
    start = {"x": Normal(3.0, 2.0), "y": Normal(-1.0, 0.1)}
    fit = coordinate_ascent(start, pair_updates(), pair_bound)
    q = fit.details["factors"]
    assert fit.converged
    assert fit.distribution is None
    assert q["x"].mean() == pytest.approx(0.0, abs=1e-9)
    assert q["x"].var() == pytest.approx(0.5)
    assert q["y"].var() == pytest.approx(1.0)
    assert list(fit.trace) == sorted(fit.trace, reverse=True)
    assert len(fit.trace) == fit.details["sweeps"]
    assert fit.details["bound"] == -fit.trace[-1]
    assert start["x"].mean() == 3.0
    # The error falls by b²/(ac) = .72 a sweep.
    few = coordinate_ascent(start, pair_updates(), max_sweeps=3)
    assert not few.converged
    assert few.reason == "after 3 sweeps the factors still changed: give more max_sweeps="
    assert few.details["bound"] is None
    assert few.trace == ()
    more = coordinate_ascent(start, pair_updates(), max_sweeps=4)
    assert more.details["factors"]["y"].mean() / few.details["factors"]["y"].mean() == pytest.approx(0.72)


def test_an_update_that_lowers_the_bound_is_named() -> None:
    wrong = pair_updates() | {"y": lambda q: Normal(q["x"].mean(), 1.0)}
    with pytest.raises(ValueError, match=r"the update of 'y' lowered the bound by .*: it is not the optimal factor"):
        coordinate_ascent({"x": Normal(3.0, 2.0), "y": Normal(-1.0, 1.0)}, wrong, pair_bound)


def test_what_the_engine_refuses() -> None:
    start: dict[str, Any] = {"x": Normal(3.0, 2.0), "y": Normal(-1.0, 1.0)}
    updates = pair_updates()
    with pytest.raises(TypeError, match=r"factors\['x'\] must be a distribution of dkl, got 3"):
        coordinate_ascent({"x": 3, "y": start["y"]}, updates)
    with pytest.raises(TypeError, match=r"updates\['z'\] has no factor to begin with: the factors are x, y"):
        coordinate_ascent(start, {"z": updates["x"]})
    with pytest.raises(TypeError, match=r"updates\['x'\] must be a function of the factors, got 3"):
        coordinate_ascent(start, {"x": 3})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="updates is empty"):
        coordinate_ascent(start, {})
    with pytest.raises(TypeError, match="the update of 'x' must give a distribution of dkl, got 0"):
        coordinate_ascent(start, {"x": lambda q: 0})
    with pytest.raises(TypeError, match="the update of 'x' gave a Gamma, and the factor to begin with is a Normal"):
        coordinate_ascent(start, {"x": lambda q: Gamma(1.0, 1.0)})
    with pytest.raises(ValueError, match="the bound is nan after the factors to begin with"):
        coordinate_ascent(start, updates, lambda q: math.nan)
    with pytest.raises(ValueError, match="the bound is inf after the update of 'x'"):
        coordinate_ascent(start, updates, lambda q: math.inf if q["x"].mean() != 3.0 else 0.0)
    with pytest.raises(ValueError, match="rtol = 1 is no relative change"):
        coordinate_ascent(start, updates, rtol=1)
    with pytest.raises(ValueError, match="max_sweeps = 0 must be a whole number of at least 1"):
        coordinate_ascent(start, updates, max_sweeps=0)


def test_the_same_factor_in_another_parametrisation_has_not_moved() -> None:
    given = [Normal(0.0, 1.0), Normal(0.0, precision=1.0)]
    fit = coordinate_ascent({"x": given[0]}, {"x": lambda q: given["scale" in q["x"].given]}, max_sweeps=4)
    assert fit.converged
    assert fit.details["sweeps"] == 1


def test_factors_of_no_exponential_family_move_by_their_parameters() -> None:
    steady = coordinate_ascent(
        {"x": StudentT(3.0, 8.0, 1.0)}, {"x": lambda q: StudentT(3.0, 1.0 + q["x"].mean() / 2, 1.0)}
    )
    assert steady.converged
    assert steady.details["factors"]["x"].mean() == pytest.approx(2.0, rel=1e-9)
    other = coordinate_ascent(
        {"x": StudentT(3.0, 8.0, 1.0)}, {"x": lambda q: StudentT(3.0, 0.0 * q["x"].mean(), 1.0)}, max_sweeps=1
    )
    assert not other.converged


DATA = np.random.default_rng(3).normal(3.0, 2.0, 9)
PRIORS: list[dict[str, float]] = [
    {},
    {"mean": 1.0, "strength": 0.5, "shape": 2.0, "rate": 3.0},
    {"strength": 0.0, "shape": 2.0, "rate": 1.0},
]


def test_under_flat_priors_the_precision_is_the_unbiased_one() -> None:
    fit = normal_gamma(DATA, strength=0, shape=0, rate=0)
    q = fit.details["factors"]
    # Bishop, equations 10.31 and 10.33.
    assert q["mu"].mean() == pytest.approx(DATA.mean(), rel=1e-14)
    assert 1 / q["tau"].mean() == pytest.approx(DATA.var(ddof=1), rel=1e-10)
    assert q["mu"].var() == pytest.approx(DATA.var(ddof=1) / len(DATA), rel=1e-10)


def log_joint(
    mu: Any, tau: Any, mean: float = 0.0, strength: float = 1.0, shape: float = 1.0, rate: float = 1.0
) -> Any:
    value = stats.gamma.logpdf(tau, shape, scale=1 / rate)
    value = value + sum(stats.norm.logpdf(x, mu, tau**-0.5) for x in DATA)
    return value + (stats.norm.logpdf(mu, mean, (strength * tau) ** -0.5) if strength else 0.0)


@pytest.mark.parametrize("prior", PRIORS)
def test_bound_divergence_and_evidence_by_quadrature(prior: dict[str, float]) -> None:
    fit = normal_gamma(DATA, **prior)
    q = fit.details["factors"]
    assert fit.details["bound"] + float(fit.divergence) == pytest.approx(fit.details["log_evidence"], rel=1e-13)
    # On a fine grid: mu in its standard deviations, the logarithm of tau.
    z, w = np.polynomial.legendre.leggauss(160)
    mu = float(q["mu"].mean()) + 12 * float(q["mu"].std()) * z
    log_tau = math.log(float(q["tau"].mean())) + 6 * z
    tau = np.exp(log_tau)[:, None]
    weights = w * 12 * float(q["mu"].std()) * (6 * w[:, None] * tau)
    joint = log_joint(mu, tau, **prior)
    top = joint.max()
    mass = np.exp(joint - top) * weights
    assert math.log(mass.sum()) + top == pytest.approx(fit.details["log_evidence"], rel=1e-7)
    assert (mass * tau).sum() / mass.sum() == pytest.approx(float(q["tau"].mean()), rel=1e-6)
    log_q = stats.norm.logpdf(mu, float(q["mu"].mean()), float(q["mu"].std())) + np.asarray(q["tau"].log_prob(tau))
    bound = (np.exp(log_q) * (joint - log_q) * weights).sum()
    assert bound == pytest.approx(fit.details["bound"], rel=1e-7)


def test_the_exact_factors_are_stationary() -> None:
    fit = normal_gamma(DATA)
    q = fit.details["factors"]
    # q(τ) ∝ exp E[log p] is integrated anew: its mean is the factor's.
    mu_nodes, w = np.polynomial.hermite_e.hermegauss(40)
    mu = float(q["mu"].mean()) + float(q["mu"].std()) * mu_nodes

    def density(tau: float) -> float:
        return math.exp(float((w / w.sum()) @ log_joint(mu, tau)) + 22.0)

    mass = integrate.quad(density, 1e-9, 5.0, epsrel=1e-9)[0]
    mean = integrate.quad(lambda t: t * density(t), 1e-9, 5.0, epsrel=1e-9)[0] / mass
    assert mean == pytest.approx(float(q["tau"].mean()), rel=1e-6)


def test_data_far_from_zero_lose_nothing() -> None:
    near, far = normal_gamma(DATA, strength=0), normal_gamma(dkl.Samples(DATA + 1e6), strength=0)
    tau = [made.details["factors"]["tau"].mean() for made in (near, far)]
    assert tau[1] == pytest.approx(tau[0], rel=1e-8)


def test_what_normal_gamma_refuses() -> None:
    with pytest.raises(ValueError, match="is empty"):
        normal_gamma([])
    with pytest.raises(ValueError, match=r"samples\[1\] = nan"):
        normal_gamma([1.0, math.nan])
    with pytest.raises(ValueError, match=r"samples of shape \(1, 2\) must be numbers along one axis"):
        normal_gamma([[1.0, 2.0]])
    for name in ("strength", "shape", "rate"):
        with pytest.raises(ValueError, match=f"{name} = -1 must be finite and not negative"):
            normal_gamma([1.0, 2.0], **{name: -1})
    with pytest.raises(ValueError, match=r"1 samples with a sum of squares of 0 .* leave the precision open"):
        normal_gamma([1.0], strength=0, shape=0, rate=0)
    with pytest.raises(ValueError, match="leave the precision open"):
        normal_gamma([1.0, 1.0], strength=0, shape=0, rate=0)
    assert normal_gamma([1.0], strength=0, shape=1, rate=1).converged


@pytest.mark.parametrize("divergence", [dkl.reverse_kl, dkl.Alpha(0.5), dkl.js])
def test_a_member_of_the_family_is_its_own_best_fit(divergence: dkl.Divergence) -> None:
    loc, covariance = tilted(4)
    targets = (
        MultivariateNormal(loc, covariance),
        DiagonalNormal(loc, np.arange(1.0, 5.0)),
        LowRankNormal(loc, covariance[:, :2], np.arange(1.0, 5.0)),
    )
    for target in targets:
        made = dkl.fit(MultivariateNormal, target, divergence, method=ASCENT)
        assert made.converged
        assert float(made.divergence) == 0.0
        np.testing.assert_allclose(made.distribution._covariance(), target._covariance(), rtol=1e-12, atol=1e-13)
        np.testing.assert_array_equal(made.distribution.mean(), loc)
    made = dkl.fit(DiagonalNormal, targets[1], divergence, method=ASCENT)
    np.testing.assert_array_equal(made.distribution.std(), np.arange(1.0, 5.0))


def test_a_normal_target_of_many_dimensions_is_met() -> None:
    target = MultivariateNormal(np.zeros(200), np.eye(200) + 0.5)
    made = dkl.fit(MultivariateNormal, target, dkl.reverse_kl)
    assert made.converged
    assert abs(float(dkl.kl(made.distribution, target))) < 1e-12
