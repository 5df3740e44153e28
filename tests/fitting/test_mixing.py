"""Expectation maximisation: monotone, every optimum, scikit-learn's where it serves, and starts that collapse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from scipy.special import logsumexp
from sklearn.mixture import GaussianMixture

import dkl
from dkl import Counts, Samples
from dkl.families import (
    Beta,
    Binomial,
    DiagonalNormal,
    Dirichlet,
    Exponential,
    Gamma,
    Geometric,
    Laplace,
    LogNormal,
    MultivariateNormal,
    Normal,
    Poisson,
    StudentT,
    VonMises,
)
from dkl.fitting.matching import iteration
from dkl.fitting.matching.acceleration import Acceleration
from dkl.fitting.matching.iteration import Mixing
from dkl.fitting.matching.starting import starts
from dkl.fitting.points import points
from dkl.mixture import Mixture

BIMODAL = Mixture(Normal([-3.0, 3.0], [1.0, 1.0]), [0.5, 0.5])
RNG = np.random.default_rng(11)
THREE = np.concatenate([RNG.normal(-4, 1, 150), RNG.normal(1, 0.5, 100), RNG.normal(7, 2, 50)])
PLANE = np.concatenate([RNG.normal(size=(120, 2)), RNG.normal(size=(80, 2)) @ [[1.0, 0.5], [0.0, 0.5]] + 5.0])


def mixed(component, count, target, **options):
    found = dkl.fit(Mixture.of(component, count), target, **options)
    assert found.method == "expectation maximisation"
    return found


def ordered(found, name):
    """A parameter of the components in its own order, the weights beside it."""
    values = np.asarray(found.distribution.components.given[name])
    order = np.argsort(values)
    return values[order], found.distribution.given["weights"][order]


def test_density_of_two():
    """EM over the nodes of a density finds the mixture that it is."""
    for target in (BIMODAL, dkl.Density(lambda x: np.logaddexp(-0.5 * (x - 3) ** 2, -0.5 * (x + 3) ** 2))):
        found = mixed(Normal, 2, target)
        loc, weights = ordered(found, "loc")
        np.testing.assert_allclose(loc, [-3.0, 3.0], atol=1e-6)
        np.testing.assert_allclose(weights, [0.5, 0.5], atol=1e-6)
        np.testing.assert_allclose(found.distribution.components.given["scale"], 1.0, atol=1e-6)
        assert found.converged
        assert 0 <= found.divergence.value < 1e-12
        assert found.optima[0].basin == 1.0
    np.testing.assert_allclose(found.normaliser.value, 2.0 * math.sqrt(2.0 * math.pi), rtol=1e-9)


def test_one_component_is_moment_matching():
    found = mixed(Normal, 1, BIMODAL)
    np.testing.assert_allclose(found.distribution.components.given["scale"], [math.sqrt(10.0)], rtol=1e-9)
    np.testing.assert_allclose(found.divergence.value, dkl.fit(Normal, BIMODAL).divergence.value, rtol=1e-9)


def test_gap_of_values_is_that_of_divergences():
    """Two components for three: the optima's values are their divergences from the target."""
    target = Mixture(Normal([-6.0, 0.0, 7.0], [1.0, 1.0, 1.0]), [0.3, 0.4, 0.3])
    found = mixed(Normal, 2, target, starts=12)
    assert len(found.optima) == 2
    for optimum in found.optima:
        np.testing.assert_allclose(optimum.value, dkl.kl(target, optimum.distribution), rtol=1e-7)
    assert found.optima[0].value < found.optima[1].value
    np.testing.assert_allclose(sum(o.basin for o in found.optima), 1.0)


@pytest.mark.parametrize(
    ("component", "x", "known"),
    [
        (Normal, THREE, {}),
        (LogNormal, np.exp(0.2 * THREE), {}),
        (Gamma, np.abs(THREE), {}),
        (Exponential, np.abs(THREE), {}),
        (Laplace, THREE, {"loc": 0.0}),
        (Beta, scipy.special.expit(THREE / 4), {}),
        (VonMises, THREE, {}),
        (MultivariateNormal, PLANE, {}),
        (DiagonalNormal, PLANE, {}),
        (Dirichlet, np.random.default_rng(5).dirichlet([1.0, 2.0, 3.0], size=60), {}),
    ],
)
def test_every_iteration_is_better(component, x, known):
    """The mean of −log q never rises, from any start, and the density is that of the mixture."""
    seen = points(Samples(x))
    mixing = Mixing(Mixture.of(component, 2), seen, known)
    begun = starts(mixing.family, seen, 3, np.random.default_rng(0), known)
    assert len(begun) == 3
    for start in begun:
        climb = mixing.climb(start, 1e-9, 60)
        trace = np.array(climb.trace)
        # Log-densities of shapes of some hundreds are rounded by their logarithms of Γ.
        assert (np.diff(trace) <= 1e-13 * np.maximum(1.0, np.abs(trace[1:]))).all()
        assert trace[-1] < trace[0]
        np.testing.assert_allclose(climb.log_q, climb.mixture.log_prob(seen.x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [Normal, DiagonalNormal, MultivariateNormal])
def test_scikit_learn_comes_to_the_same_optimum(kind):
    """From the same start, run to the end."""
    x = THREE if kind is Normal else PLANE
    start = starts(Mixture.of(kind, 3), points(Samples(x)), 1, np.random.default_rng(2))[0]
    given = start.components.given
    if kind is MultivariateNormal:
        precisions, means = np.linalg.inv(given["covariance"]), given["loc"]
    else:
        precisions, means = (z.reshape(3, -1) for z in (given["scale"] ** -2.0, given["loc"]))
    theirs = GaussianMixture(
        3, covariance_type="full" if kind is MultivariateNormal else "diag", weights_init=start.given["weights"],
        means_init=means, precisions_init=precisions, tol=1e-12, max_iter=5000, reg_covar=0.0,
    ).fit(x.reshape(len(x), -1))  # fmt: skip
    found = mixed(kind, 3, Samples(x), initial=start, max_iterations=5000)
    np.testing.assert_allclose(found.details["log_likelihood"], theirs.score(x.reshape(len(x), -1)), atol=1e-9)
    ours = np.sort(np.asarray(found.distribution.components.given["loc"]).reshape(3, -1)[:, 0])
    np.testing.assert_allclose(ours, np.sort(theirs.means_[:, 0]), atol=1e-4)
    # No worse than the best of its own starts.
    best = GaussianMixture(3, covariance_type=theirs.covariance_type, n_init=3, random_state=0, reg_covar=0.0)
    several = mixed(kind, 3, Samples(x), max_iterations=5000)
    assert several.details["log_likelihood"] > best.fit(x.reshape(len(x), -1)).score(x.reshape(len(x), -1)) - 1e-6


def test_mixture_of_poisson_on_counts():
    p = 0.6 * scipy.stats.poisson(2.0).pmf(np.arange(60)) + 0.4 * scipy.stats.poisson(15.0).pmf(np.arange(60))
    exact = mixed(Poisson, 2, dkl.Probs(p, normalize=True))
    rates, weights = ordered(exact, "rate")
    np.testing.assert_allclose(rates, [2.0, 15.0], rtol=1e-5)
    np.testing.assert_allclose(weights, [0.6, 0.4], rtol=1e-5)
    assert exact.divergence.value < 1e-10
    drawn = Mixture(Poisson([2.0, 15.0]), [0.6, 0.4]).sample(5000, rng=3)
    found = mixed(Poisson, 2, Counts(np.bincount(drawn.astype(int))))
    rates, _ = ordered(found, "rate")
    # The information of a fully seen sample bounds the error from below; four times it is far.
    np.testing.assert_allclose(rates, [2.0, 15.0], atol=8 * math.sqrt(15.0 / 2000))
    assert found.details["observations"] == 5000
    # The two equal components, at which a start may stop, are a saddle and no optimum.
    assert len(found.optima) == 1


def test_weights_are_repetitions():
    times = RNG.integers(0, 4, size=len(THREE))
    start = starts(Mixture.of(Normal, 2), points(Samples(THREE)), 1, np.random.default_rng(0))[0]
    weighted = mixed(Normal, 2, Samples(THREE), weights=times, initial=start)
    repeated = mixed(Normal, 2, Samples(np.repeat(THREE, times)), initial=start)
    for name in ("loc", "scale"):
        np.testing.assert_allclose(ordered(weighted, name)[0], ordered(repeated, name)[0], rtol=1e-9)
    np.testing.assert_allclose(
        weighted.details["log_likelihood"], repeated.details["log_likelihood"], rtol=1e-12
    )  # fmt: skip


def test_the_seed_decides():
    one, same = mixed(Normal, 3, Samples(THREE), rng=5), mixed(Normal, 3, Samples(THREE), rng=5)
    np.testing.assert_array_equal(one.distribution.components.given["loc"], same.distribution.components.given["loc"])
    assert one.trace == same.trace


def test_collapse_is_told():
    """On six observations three components close in on some, and a floor keeps them from it when asked for."""
    x = np.array([-4.27, -1.51, -2.54, -1.38, -2.07, -3.25])
    found = mixed(Normal, 3, Samples(x))
    assert found.details["collapsed"] > 0
    assert "starts were dropped, as a component closed in on a point where the likelihood has no bound" in found.reason
    assert sum(o.basin for o in found.optima) < 1.0
    floored = mixed(Normal, 3, Samples(x), minimum_scale=0.1)
    assert floored.details["collapsed"] == 0
    assert np.asarray(floored.distribution.components.given["scale"]).min() == pytest.approx(0.1, rel=1e-12)
    gone = mixed(Normal, 2, Samples([0.0, 0.0, 1.0, 1.0]))
    assert gone.distribution is None
    assert gone.boundary.infimum == -math.inf
    assert "give fewer components, or minimum_scale=" in gone.boundary.reason
    assert gone.to_dict()["boundary"]["infimum"] is None
    equal = mixed(Gamma, 2, Samples([2.0, 2.0]))
    assert equal.distribution is None
    assert equal.reason.endswith("give fewer components")


def test_floor_of_vectors():
    """Every direction of a full covariance has the least width."""
    line = np.stack([np.arange(8.0), 2.0 * np.arange(8.0)], axis=-1)
    found = mixed(MultivariateNormal, 1, Samples(line), minimum_scale=0.5)
    covariance = found.distribution.components.given["covariance"][0]
    np.testing.assert_allclose(np.linalg.eigvalsh(covariance), [0.25, 5.0 * np.var(np.arange(8.0))], rtol=1e-12)
    flat = mixed(DiagonalNormal, 1, Samples(line * [1.0, 0.0]), minimum_scale=0.5)
    np.testing.assert_allclose(flat.distribution.components.given["scale"][0, 1], 0.5)


def test_too_few_iterations():
    found = mixed(Normal, 3, Samples(THREE), max_iterations=5)
    assert not found.converged
    assert "did not converge in 5 iterations: raise max_iterations" in found.reason
    assert len(found.trace) == 5


def test_progress_and_drawn_samples():
    seen = []
    target = dkl.Density(
        Dirichlet([1.0, 2.0, 3.0]).log_prob, support=Dirichlet([1.0, 2.0, 3.0]).support,
        sample=lambda n, rng: Dirichlet([1.0, 2.0, 3.0]).sample(n, rng=rng),
    )  # fmt: skip
    found = mixed(
        Dirichlet, 1, target, samples=500, starts=2, progress=lambda done, of: seen.append((done, of))
    )  # fmt: skip
    assert seen == [(1, 2), (2, 2)]
    assert "the optimum is that of 500 samples drawn from the target" in found.reason


@pytest.mark.parametrize("kind", [Normal, LogNormal, DiagonalNormal, MultivariateNormal])
def test_blocks_are_the_whole(kind):
    """The log-densities are those of the components, and the step in blocks is that of all the shares at once."""
    x = np.abs(PLANE if kind.event_ndim else THREE)
    seen = points(Samples(x))
    begun = starts(Mixture.of(kind, 3), seen, 1, np.random.default_rng(0))[0]
    mixing = Mixing(Mixture.of(kind, 3), seen, {})
    weights = np.log(begun.given["weights"])[:, None]
    logs = mixing.logs(begun)
    np.testing.assert_allclose(logs - weights, [c.log_prob(x) for c in begun.each], rtol=1e-10)
    one = mixing.seen(begun)
    np.testing.assert_allclose(one.log_q, begun.log_prob(x), rtol=1e-10)
    blocks, whole = one.matching(), mixing.matching(np.exp(logs - logsumexp(logs, axis=0)))
    np.testing.assert_allclose(blocks.given["weights"], whole.given["weights"], rtol=1e-12)
    for name, value in whole.components.given.items():
        np.testing.assert_allclose(blocks.components.given[name], value, rtol=1e-10, atol=1e-13)


def test_initial_by_another_width():
    start = Mixture(Normal([-3.0, 5.0], variance=[1.0, 4.0]), [0.5, 0.5])
    same = Mixture(Normal([-3.0, 5.0], [1.0, 2.0]), [0.5, 0.5])
    one, other = (mixed(Normal, 2, Samples(THREE), initial=m) for m in (start, same))
    np.testing.assert_allclose(one.trace, other.trace, rtol=1e-14)
    diagonal = Mixture(DiagonalNormal([[0.0, 0.0], [5.0, 5.0]], precision=[[1.0, 1.0], [1.0, 1.0]]), [0.5, 0.5])
    full = Mixture(MultivariateNormal([[0.0, 0.0], [5.0, 5.0]], precision=np.stack([np.eye(2)] * 2)), [0.5, 0.5])
    assert mixed(DiagonalNormal, 2, Samples(PLANE), initial=diagonal).converged
    assert mixed(MultivariateNormal, 2, Samples(PLANE), initial=full).converged


@pytest.mark.parametrize(
    ("component", "x", "options", "error", "message"),
    [
        (Normal, THREE, {"starts": 0}, ValueError, "starts = 0 must be a whole number of at least 1"),
        (Normal, THREE, {"max_iterations": 0}, ValueError, "max_iterations = 0 must be a whole number"),
        (Normal, THREE, {"rtol": 0.0}, ValueError, "rtol = 0.0 is no relative error"),
        (Normal, THREE, {"minimum_scale": 0.0}, ValueError, "minimum_scale = 0.0 must be positive"),
        (Gamma, np.abs(THREE), {"minimum_scale": 1.0}, TypeError, "minimum_scale is for normal components"),
        (Normal, THREE, {"initial": BIMODAL, "starts": 2}, TypeError, "initial is the one start: leave starts out"),
        (
            Normal,
            THREE,
            {"initial": Normal(0.0, 1.0)},
            TypeError,
            r"initial must be one member of Mixture.of\(Normal, 2",
        ),
        (Poisson, [0.5, 1.0], {}, ValueError, r"samples\[0\] = 0.5 lies outside the whole numbers"),
        (LogNormal, [0.0, 1.0], {}, ValueError, "the density of every LogNormal is 0"),
        (StudentT, THREE, {}, TypeError, r"nothing fits Mixture.of\(StudentT, 2\)"),
    ],
)
def test_refused(component, x, options, error, message):
    with pytest.raises(error, match=message):
        dkl.fit(Mixture.of(component, 2), Samples(x), method="expectation maximisation", **options)


def test_observation_on_the_bound():
    found = mixed(Gamma, 2, Samples([0.0, 1.0, 2.0]))
    assert found.distribution is None
    assert "an observation, 0.0, lies on the bound" in found.boundary.reason


def test_equal_components_are_a_saddle():
    """From two equal components no iteration parts them: what is beside them is tried, and is lower."""
    wide = math.sqrt(10.0)
    found = mixed(Normal, 2, BIMODAL, initial=Mixture(Normal([0.0, 0.0], [wide, wide]), [0.5, 0.5]))
    np.testing.assert_allclose(ordered(found, "loc")[0], [-3.0, 3.0], atol=1e-6)
    # Where two are no better than one they stay.
    one = mixed(Normal, 2, Normal(1.0, 2.0), initial=Mixture(Normal([1.0, 1.0], [2.0, 2.0]), [0.5, 0.5]))
    np.testing.assert_allclose(one.distribution.components.given["loc"], 1.0, atol=1e-3)


@pytest.mark.parametrize("divergence", [dkl.reverse_kl, dkl.js])
def test_starts_from_nodes(divergence):
    """The outermost nodes of a quadrature, out to 1e150 with next to no weight, do not spoil the starts."""
    two = Mixture(Normal([-2.0, 1.5], [0.5, 0.8]), [0.3, 0.7])
    assert len(starts(Mixture.of(Normal, 2), points(two), 9, np.random.default_rng(0))) == 9
    found = dkl.fit(Mixture.of(Normal, 2), two, divergence, starts=3)
    loc, scale = (found.distribution.components.given[name] for name in ("loc", "scale"))
    order = np.argsort(loc)
    np.testing.assert_allclose(loc[order], [-2.0, 1.5], rtol=1e-7)
    np.testing.assert_allclose(scale[order], [0.5, 0.8], rtol=1e-7)
    assert found.divergence.value < 1e-14


def test_acceleration_is_the_same_way_shortened(monkeypatch):
    """Without it the same optimum is reached in several times as many iterations."""
    draws = np.random.default_rng(1)
    x = np.concatenate([draws.normal(-0.8, 1.0, 300), draws.normal(1.2, 0.7, 300)])
    mixing = Mixing(Mixture.of(Normal, 2), points(Samples(x)), {})
    start = starts(mixing.family, points(Samples(x)), 1, np.random.default_rng(0))[0]
    short = mixing.climb(start, 1e-13, 5000)
    monkeypatch.setattr(Acceleration, "beyond", lambda self, begun, end: None)
    long = mixing.climb(start, 1e-13, 5000)
    assert short.converged
    np.testing.assert_allclose(short.trace[-1], long.trace[-1], rtol=1e-10)
    assert 3 * len(short.trace) < len(long.trace)


def test_a_known_optimum_ends_a_climb():
    mixing = Mixing(Mixture.of(Normal, 3), points(Samples(THREE)), {})
    begun = starts(mixing.family, points(Samples(THREE)), 1, np.random.default_rng(0))[0]
    first = mixing.climb(begun, 1e-10, 5000)
    again = mixing.climb(begun, 1e-10, 5000, [first])
    assert again.converged
    assert len(again.trace) < len(first.trace)
    assert first.near(again.log_q, mixing.w)


@pytest.mark.parametrize(("component", "known"), [(Poisson, {}), (Geometric, {}), (Binomial, {"total_count": 20})])
def test_a_limit_of_whole_numbers_is_measured(component, known):
    """One component has all of its mass at 0 in the limit; the last mixture before it is all but as good."""
    x = np.repeat([0.0, 14.0, 15.0, 16.0, 17.0], [40, 10, 20, 20, 10])
    found = dkl.fit(Mixture.of(component, 2), Samples(x), **known)
    assert found.distribution is None
    assert found.method == "expectation maximisation"
    assert found.boundary.reason.startswith("the likelihood is greatest where a component has all of its mass on one")
    shares = np.array([0.4, 0.1, 0.2, 0.2, 0.1])
    outcomes = np.array([0.0, 14.0, 15.0, 16.0, 17.0])

    def missed(u):
        rest = component(**known, **_of_mean(component, math.exp(u[1]), known))
        weight = scipy.special.expit(u[0])
        q = (1.0 - weight) * np.exp(rest.log_prob(outcomes)) + weight * (outcomes == 0)
        return float(shares @ np.log(shares / q))

    best = scipy.optimize.minimize(missed, [0.0, math.log(12.0)], method="Nelder-Mead", options={"fatol": 1e-14})
    np.testing.assert_allclose(found.boundary.infimum, best.fun, rtol=1e-5)
    assert isinstance(found.boundary.near, Mixture)


def _of_mean(component, mean, known):
    member = component.from_mean_parameters(mean, **known)
    return {name: float(x) for name, x in member.given.items() if name not in known}


def test_nothing_but_zeros():
    found = dkl.fit(Mixture.of(Poisson, 2), Samples([0.0, 0.0, 0.0]))
    assert found.distribution is None
    assert found.boundary.infimum == 0.0


@pytest.mark.parametrize("kind", [Normal, DiagonalNormal, MultivariateNormal])
def test_criteria_of_scikit_learn(kind):
    """Its aic and bic, from the parameters that were found."""
    x = THREE if kind is Normal else PLANE
    found = mixed(kind, 2, Samples(x), starts=3)
    parts, d = found.distribution.components.given, 1 if kind is Normal else 2
    covariance = parts["covariance"] if kind is MultivariateNormal else parts["scale"].reshape(2, d) ** 2
    theirs = GaussianMixture(2, covariance_type="full" if kind is MultivariateNormal else "diag")
    theirs.weights_, theirs.means_ = found.distribution.given["weights"], parts["loc"].reshape(2, d)
    theirs.covariances_ = covariance
    theirs.precisions_cholesky_ = (
        np.linalg.inv(np.linalg.cholesky(covariance)).swapaxes(-1, -2)
        if kind is MultivariateNormal else covariance**-0.5
    )  # fmt: skip
    columns = x.reshape(len(x), -1)
    assert found.free_parameters == theirs._n_parameters()
    np.testing.assert_allclose(found.aic, theirs.aic(columns), rtol=1e-12)
    np.testing.assert_allclose(found.bic, theirs.bic(columns), rtol=1e-12)


def test_observations_end_where_they_tell_no_more():
    """Starts race unless rtol is asked for, and what is left to gain is nothing beside a standard error."""
    draws = np.random.default_rng(3)
    x = np.concatenate([draws.normal(-1.0, 1.0, 500), draws.normal(1.5, 0.8, 500)])
    raced = mixed(Normal, 2, Samples(x))
    followed = mixed(Normal, 2, Samples(x), initial=raced.distribution, rtol=1e-12)
    assert raced.converged
    assert raced.details["tolerance"] == pytest.approx(5e-3 / 1000)
    assert raced.details["left"] > 0
    assert f"starts left on the way, as others were ahead: {raced.details['left']}; rtol= follows each" in raced.reason
    assert "tolerance" not in followed.details
    gap = followed.details["log_likelihood"] - raced.details["log_likelihood"]
    assert -1e-12 < gap * 1000 < 0.5 * 0.1**2
    np.testing.assert_array_less(np.diff(raced.trace), 1e-13)
    assert sum(o.basin for o in raced.optima) == pytest.approx(1.0 - raced.details["left"] / 9)


def test_a_plateau_is_no_end():
    """Of a component too many the gains fall below all that is told long before the maximum; the slope says so."""
    draws = np.random.default_rng(4)
    x = np.concatenate([draws.normal(-1.0, 1.0, 2500), draws.normal(1.0, 1.2, 2500)])
    found = mixed(Normal, 3, Samples(x), starts=3)
    best = mixed(Normal, 3, Samples(x), initial=found.distribution, rtol=1e-12)
    assert found.converged
    assert 5000 * (best.details["log_likelihood"] - found.details["log_likelihood"]) < 5e-3


@pytest.mark.parametrize("kind", [Normal, LogNormal, DiagonalNormal, MultivariateNormal, Gamma, Poisson])
def test_the_decrement_is_what_a_step_of_newton_would_gain(kind):
    """Near the maximum the gain that is left is half the squared slope in units of the information."""
    draws = np.random.default_rng(5)
    x = np.concatenate([draws.normal(2.0, 1.0, 5000), draws.normal(6.0, 0.7, 5000)])
    if kind is Poisson:
        x = np.concatenate([draws.poisson(2.0, 5000), draws.poisson(14.0, 5000)]).astype(float)
    elif kind in (LogNormal, Gamma):
        x = np.exp(0.3 * x)
    elif kind is not Normal:
        x = np.column_stack([x, 0.3 * x + draws.normal(size=len(x))])
    best = mixed(kind, 2, Samples(x), starts=3, rtol=1e-13).distribution
    weights = best.given["weights"] + np.array([0.004, -0.004])
    beside = Mixture(best.components, weights)
    mixing = Mixing(Mixture.of(kind, 2), points(Samples(x)), {})
    gain = float(np.mean(best.log_prob(x) - beside.log_prob(x)))
    assert mixing.decrement(beside) == pytest.approx(gain, rel=0.05)
    assert mixing.decrement(best) < 1e-10


def test_components_without_a_share_are_left_out():
    """Blocks of sorted numbers ask the components near them alone, and nothing of the step is lost by it."""
    draws = np.random.default_rng(4)
    x = np.sort(np.concatenate([draws.normal(100.0 * k, 1.0, 2000) for k in range(8)]))
    seen = points(Samples(x))
    begun = Mixture(Normal(100.0 * np.arange(8) + 0.3, np.full(8, 1.2)), np.full(8, 1 / 8))
    mixing = Mixing(Mixture.of(Normal, 8), seen, {})
    one = mixing.seen(begun)
    np.testing.assert_allclose(one.log_q, begun.log_prob(x), rtol=1e-12)
    logs = mixing.logs(begun)
    step, whole = one.matching(), mixing.matching(np.exp(logs - logsumexp(logs, axis=0)))
    for name, value in whole.components.given.items():
        np.testing.assert_allclose(step.components.given[name], value, rtol=1e-12)
    view = iteration._View(begun, Normal)
    assert view.near(x[None, :500]).tolist() == [0]
