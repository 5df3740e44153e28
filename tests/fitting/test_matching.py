"""Moment matching: closed forms against quadrature, optimality of the member, batches, and what cannot be matched."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch

import dkl
from dkl.families import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Cauchy,
    ChiSquared,
    DiagonalNormal,
    Dirichlet,
    Exponential,
    Gamma,
    Geometric,
    InverseGamma,
    InverseGaussian,
    Laplace,
    LogNormal,
    LowRankNormal,
    MultivariateNormal,
    Normal,
    Poisson,
    StudentT,
    Uniform,
    VonMises,
    Weibull,
)
from dkl.fitting.matching.members import members, statistics
from dkl.mixture import Mixture
from dkl.supports import Vectors

BIMODAL = Mixture(Normal([-3.0, 3.0], [1.0, 1.0]), [0.5, 0.5])


def matched(family, target, **options):
    return dkl.fit(family, target, method="moment matching", **options)


def numbers(distribution):
    return [float(x) for x in distribution.given.values()]


def unlike(target):
    """The same distribution, of which nothing is known but its density."""
    return dkl.Density(target.log_prob, support=target.support)


# Closed forms, each beside the quadrature of the same density.
CLOSED = [
    (Normal, BIMODAL, {}),
    (Normal, Gamma(2.0, 3.0), {}),
    (Normal, Mixture([Laplace(0.0, 1.0), Uniform(2.0, 5.0)], [0.25, 0.75]), {}),
    (LogNormal, Mixture(LogNormal([0.0, 1.0], [0.5, 0.25]), [0.5, 0.5]), {}),
    (Gamma, Mixture(Gamma([2.0, 3.0], [1.0, 4.0]), [0.5, 0.5]), {}),
    (Beta, Mixture(Beta([2.0, 3.0], [4.0, 2.0]), [0.25, 0.75]), {}),
    (Laplace, Mixture(Laplace([1.0, 1.0], [0.5, 2.0]), [0.5, 0.5]), {"loc": 1.0}),
    (VonMises, Mixture(VonMises([0.0, 1.0], [1.0, 2.0]), [0.5, 0.5]), {}),
]


@pytest.mark.parametrize(("family", "target", "known"), CLOSED, ids=lambda x: getattr(x, "__name__", ""))
def test_closed_forms_are_those_of_quadrature(family, target, known):
    closed, by_nodes = matched(family, target, **known), matched(family, unlike(target), **known)
    np.testing.assert_allclose(
        numbers(closed.distribution), numbers(by_nodes.distribution), rtol=1e-8, atol=1e-9
    )  # fmt: skip
    assert closed.method == "moment matching"
    assert closed.converged
    assert closed.optima[0].distribution.given.keys() == closed.distribution.given.keys()
    assert closed.optima[0].value == float(closed.divergence.value) > 0


@pytest.mark.parametrize(
    ("family", "target", "known"),
    [
        (Gamma, LogNormal(0.0, 0.5), {}),
        (InverseGamma, LogNormal(0.0, 0.5), {}),
        (InverseGaussian, Gamma(3.0, 2.0), {}),
        (ChiSquared, Exponential(0.25), {}),
        (Weibull, Gamma(2.0, 1.0), {"concentration": 1.5}),
        (Beta, Uniform(0.2, 0.7), {}),
        (Poisson, Geometric(0.3), {}),
        (Poisson, dkl.Probs([0.2, 0.3, 0.5]), {}),
    ],
)
def test_the_member_has_the_least_divergence(family, target, known):
    """Of members beside it the divergence is larger on every side: it is stationary, and least."""
    found = matched(family, target, **known)
    free = [name for name in found.distribution.given if name not in known]

    def at(changes):
        given = {name: float(x) for name, x in found.distribution.given.items()}
        given |= {name: given[name] * change for name, change in changes.items()}
        q = family(**given)
        if isinstance(target, dkl.Probs):
            p = np.asarray(target.array)
            return float(p @ (np.log(p) - q.log_prob(np.arange(3.0))))
        return float(dkl.kl(target, q))

    here = at({})
    np.testing.assert_allclose(here, found.divergence.value, rtol=1e-9)
    for name in free:
        above, below = at({name: 1.001}), at({name: 0.999})
        assert min(above, below) > here
        np.testing.assert_allclose(above - here, below - here, rtol=0.02)


def test_uniform_is_a_beta_distribution():
    """The nodes reach the bounds, where numbers end: E[log(1 − x)] is finite all the same."""
    np.testing.assert_allclose(numbers(matched(Beta, Uniform(0.0, 1.0)).distribution), [1.0, 1.0], rtol=1e-9)


def test_target_a():
    """The published optimum of the forward KL: N(0, 10), D = .461995."""
    found = dkl.fit(Normal, BIMODAL)
    assert found.method == "moment matching"
    np.testing.assert_allclose(numbers(found.distribution), [0.0, math.sqrt(10.0)], rtol=1e-15, atol=1e-15)

    def term(x):
        p = 0.5 * (mpmath.npdf(x, -3) + mpmath.npdf(x, 3))
        return p * mpmath.log(p / mpmath.npdf(x, 0, mpmath.sqrt(10)))

    reference = float(mpmath.quad(term, [-12, -3, 0, 3, 12]))
    np.testing.assert_allclose(found.divergence.value, reference, rtol=1e-9)


def test_a_member_is_its_own_best():
    p = Gamma(2.0, scale=0.5)
    found = matched(Gamma, p)
    assert found.distribution is p
    assert found.divergence.value == 0.0
    # Another family of the same name: with another fixed parameter.
    other = matched(Laplace, Laplace(0.0, 1.0), loc=1.0)
    np.testing.assert_allclose(other.distribution.given["scale"], 1.0 + math.exp(-1.0), rtol=1e-9)


def test_narrow_and_far():
    target = Mixture(Normal([1e8 - 1.0, 1e8 + 1.0], 1e-3), [0.5, 0.5])
    np.testing.assert_allclose(matched(Normal, target).distribution.given["scale"], math.sqrt(1 + 1e-6), rtol=1e-14)
    far = dkl.Density(lambda x: -(np.abs(x - 1e8) ** 3))
    expected = math.sqrt(1.0 / (3.0 * math.gamma(4.0 / 3.0)))
    np.testing.assert_allclose(matched(Normal, far).distribution.given["scale"], expected, rtol=1e-8)


def test_vectors():
    loc, covariance = np.array([[0.0, 0.0], [1.0, 2.0]]), np.array([[[1.0, 0.5], [0.5, 2.0]], np.eye(2)])
    target = Mixture(MultivariateNormal(loc, covariance), [0.25, 0.75])
    mean = np.array([0.75, 1.5])
    expected = 0.25 * covariance[0] + 0.75 * covariance[1] + 0.25 * 0.75 * np.outer(loc[1], loc[1])
    full = matched(MultivariateNormal, target).distribution
    np.testing.assert_allclose(full.mean(), mean, rtol=1e-14)
    np.testing.assert_allclose(full.given["covariance"], expected, rtol=1e-14)
    diagonal = matched(DiagonalNormal, target).distribution
    np.testing.assert_allclose(diagonal.given["scale"], np.sqrt(np.diagonal(expected)), rtol=1e-14)
    nodes = matched(MultivariateNormal, unlike(target)).distribution
    np.testing.assert_allclose(nodes.given["covariance"], expected, rtol=1e-6)
    # Of several kinds, listed.
    listed = Mixture([DiagonalNormal([0.0, 0.0]), LowRankNormal([1.0, 1.0], [[1.0], [1.0]], [1.0, 1.0])], [0.5, 0.5])
    found = matched(MultivariateNormal, listed).distribution
    np.testing.assert_allclose(found.given["covariance"], [[1.75, 0.75], [0.75, 1.75]], rtol=1e-14)
    shares = Mixture(Dirichlet([[1.0, 2.0, 3.0], [4.0, 1.0, 2.0]]), [0.5, 0.5])
    means = 0.5 * sum(Dirichlet(c).mean_parameters()[0] for c in ([1.0, 2.0, 3.0], [4.0, 1.0, 2.0]))
    dirichlet = matched(Dirichlet, shares).distribution
    np.testing.assert_allclose(dirichlet.mean_parameters()[0], means, rtol=1e-12)


def test_lists_of_outcomes():
    np.testing.assert_array_equal(matched(Categorical, dkl.Probs([0.2, 0.8])).distribution.given["probs"], [0.2, 0.8])
    logits = matched(Categorical, dkl.Logits([0.0, 1.0]))
    assert logits.divergence.value == 0.0
    np.testing.assert_allclose(matched(Bernoulli, Categorical([0.2, 0.8])).distribution.given["probs"], 0.8)
    np.testing.assert_allclose(matched(Poisson, dkl.Logits(np.log([0.2, 0.3, 0.5]))).distribution.given["rate"], 1.3)


def test_batches_at_once():
    rng = np.random.default_rng(0)
    loc, scale = rng.normal(size=(2000, 2)), rng.uniform(0.5, 2.0, size=(2000, 2))
    many = matched(Normal, Mixture(Normal(loc, scale), np.tile([0.25, 0.75], (2000, 1))))
    assert many.distribution.batch_shape == (2000,)
    assert many.divergence is None
    assert many.reason.startswith("the divergences of 2000 pairs are not measured")
    few = matched(Normal, Mixture(Normal(loc[:3], scale[:3]), np.tile([0.25, 0.75], (3, 1))))
    for row in range(3):
        alone = matched(Normal, Mixture(Normal(loc[row], scale[row]), [0.25, 0.75]))
        for name in ("loc", "scale"):
            np.testing.assert_allclose(few.distribution.given[name][row], alone.distribution.given[name], rtol=1e-15)
            assert many.distribution.given[name][row] == few.distribution.given[name][row]
        np.testing.assert_allclose(few.divergence.value[row], alone.divergence.value, rtol=1e-9)
        assert few.optima[row][0].value == few.divergence.value[row]
    # Row by row, where there is no formula.
    rows = matched(Gamma, LogNormal([0.0, 1.0], 0.5))
    np.testing.assert_allclose(
        rows.distribution.given["shape"][1], matched(Gamma, LogNormal(1.0, 0.5)).distribution.given["shape"], rtol=1e-12
    )


def test_gradients_and_dtypes():
    loc = torch.tensor([-1.0, 2.0], dtype=torch.float64, requires_grad=True)
    found = matched(Normal, Mixture(Normal(loc, torch.ones(2, dtype=torch.float64)), [0.5, 0.5]))
    (slope,) = torch.autograd.grad(found.distribution.given["scale"], loc)
    # d√(1 + ((b − a)/2)²) = ¼·(b − a)/scale.
    expected = 0.25 * 3.0 / math.sqrt(1.0 + 2.25)
    np.testing.assert_allclose(slope, [-expected, expected], rtol=1e-12)
    single = Mixture(Gamma(np.float32([2.0, 3.0]), np.float32([1.0, 4.0])), np.float32([0.5, 0.5]))
    assert matched(Gamma, single).distribution.given["shape"].dtype == np.float32


def test_unnormalised():
    found = matched(Normal, dkl.Density(lambda x: 3.0 - 0.5 * (x - 1.0) ** 2))
    np.testing.assert_allclose(numbers(found.distribution), [1.0, 1.0], rtol=1e-9)
    np.testing.assert_allclose(found.normaliser.value, math.exp(3.0) * math.sqrt(2 * math.pi), rtol=1e-9)
    np.testing.assert_allclose(found.log_normaliser, 3.0 + 0.5 * math.log(2 * math.pi), rtol=1e-12)
    assert found.divergence.value < 1e-15
    plane = matched(MultivariateNormal, dkl.Density(lambda x: -0.5 * (x**2).sum(-1), support=Vectors(2)))
    np.testing.assert_allclose(plane.distribution.given["covariance"], np.eye(2), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(plane.normaliser.value, 2 * math.pi, rtol=1e-8)
    # None of its digits is known, and it says so.
    assert 0 <= plane.divergence.value <= plane.divergence.error < 1e-20


@pytest.mark.parametrize(
    ("family", "target", "known", "expected"),
    [
        (Poisson, dkl.Probs([0.5, 0.5]), {}, Poisson(0.5)),
        (Geometric, Poisson(0.5), {}, Geometric(1.0 / 1.5)),
        (Binomial, Bernoulli(0.3), {"total_count": 3}, Binomial(3, 0.1)),
        (Exponential, Gamma(1e-3, 1.0), {}, Exponential(1000.0)),
        (Exponential, Gamma(0.05, 1.0), {}, Exponential(20.0)),
        (Exponential, Beta(0.01, 0.01), {}, Exponential(2.0)),
    ],
)
def test_most_of_the_mass_at_zero(family, target, known, expected):
    """Neither a median of 0 is taken for the scale of a mean, nor is mass next to a pole lost."""
    found = matched(family, target, **known)
    np.testing.assert_allclose(found.distribution.mean_parameters()[0], expected.mean_parameters()[0], rtol=1e-9)
    assert found.converged


@pytest.mark.parametrize(("family", "shape"), [(LogNormal, 1e-3), (Exponential, 1e-6)])
def test_mass_where_numbers_end(family, shape):
    found = matched(family, Gamma(shape, 1.0))
    assert not found.converged
    assert "neither the member nor the divergence is known" in found.reason
    assert matched(LogNormal, Gamma(2.0, 1.0)).reason is None


def test_drawn_samples_tell_their_error():
    target = dkl.Density(
        Dirichlet([1.0, 2.0, 3.0]).log_prob, support=Dirichlet([1.0, 2.0, 3.0]).support,
        sample=lambda n, rng: Dirichlet([1.0, 2.0, 3.0]).sample(n, rng=rng),
    )  # fmt: skip
    found = matched(Dirichlet, target, samples=4000, rng=3)
    error = found.details["stderr"]["E[log x]"]
    off = found.distribution.mean_parameters()[0] - Dirichlet([1.0, 2.0, 3.0]).mean_parameters()[0]
    assert (np.abs(off) < 4.5 * error).all()
    assert "4000 samples" in found.reason
    again = matched(Dirichlet, target, samples=4000, rng=3)
    np.testing.assert_array_equal(
        found.distribution.given["concentration"], again.distribution.given["concentration"]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("family", "target", "message"),
    [
        (Gamma, BIMODAL, r"has 0\.5 of its mass outside the interval \(0, ∞\), such as at -.*, where no Gamma"),
        (Normal, Poisson(3.0), "the target has mass only at whole numbers, and Normal lives on the interval"),
        (Poisson, Normal(0.0, 1.0), "the target has mass at no single point, and Poisson lives on the whole numbers"),
        (Normal, dkl.Probs([0.5, 0.5]), "the target has mass only at whole numbers"),
        (Normal, Cauchy(0.0, 1.0), r"has no finite E\[x\] and E\[x²\], which Normal must match"),
        (Normal, StudentT(2.0), "has no finite"),
        (Normal, unlike(Cauchy(0.0, 1.0)), r"the target's E\[x\], which Normal must match, is infinite"),
        (InverseGamma, Exponential(1.0), r"the target's E\[1/x\], which InverseGamma must match, is infinite"),
        (VonMises, Normal(0.0, 1.0), "outside the interval"),
        (MultivariateNormal, Dirichlet([1.0, 2.0]), "lives on the simplex of 2 shares, and MultivariateNormal on"),
        (
            MultivariateNormal,
            Normal(0.0, 1.0),
            r"the target, Normal\(.*\), is a number, and one of MultivariateNormal a vector",
        ),
        (Normal, dkl.Density(lambda x: 0.0 * x), "is improper"),
        (Normal, dkl.Density(StudentT(0.1).log_prob), r"E\[x\], which Normal must match, is infinite"),
        (Categorical, Poisson(3.0), "and a Categorical has finitely many"),
    ],
)
def test_every_member_is_infinitely_far(family, target, message):
    with pytest.raises(ValueError, match=message):
        matched(family, target)


def test_the_heaviest_tails():
    for df in (0.05, 0.1):
        with pytest.raises(ValueError, match=r"E\|x − μ\|, which Laplace must match, is infinite"):
            matched(Laplace, dkl.Density(StudentT(df).log_prob), loc=0.0)


def test_no_best_member():
    found = matched(Poisson, dkl.Probs([1.0, 0.0]))
    assert found.distribution is None
    assert found.divergence is None
    assert found.boundary.infimum == 0.0
    assert float(found.boundary.near.given["rate"]) < 1e-12
    assert found.to_dict()["boundary"]["near"]["family"] == "Poisson"


def test_declines():
    with pytest.raises(TypeError, match="nothing fits StudentT"):
        matched(StudentT, BIMODAL)
    with pytest.raises(TypeError, match="nothing fits Normal"):
        matched(Normal, dkl.Counts([1, 2]))
    with pytest.raises(TypeError, match="nothing fits Normal"):
        dkl.fit(Normal, BIMODAL, dkl.js, method="moment matching")
    with pytest.raises(ValueError, match="samples = 1 must be a whole number of at least 2"):
        matched(Gamma, LogNormal(0.0, 0.5), samples=1)


@pytest.mark.parametrize("family", [Normal, LogNormal, DiagonalNormal, MultivariateNormal, Gamma, Beta])
def test_members_of_rows_are_those_of_single_ones(family):
    """Shared outcomes with rows of weights, and rows with outcomes of their own."""
    rng = np.random.default_rng(1)
    event = (3,) if family.event_ndim else ()
    x = rng.uniform(0.1, 0.9, size=(40, *event))
    w = rng.dirichlet(np.ones(40), size=2)
    shared = members(family, x, w, {})
    own = members(family, np.stack([x, x]), w, {})
    for row in range(2):
        alone = members(family, x, w[row], {})
        for name, value in alone.given.items():
            np.testing.assert_allclose(shared.given[name][row], value, rtol=1e-12)
            np.testing.assert_allclose(own.given[name][row], value, rtol=1e-12)
        # As by the means of the statistics.
        means = [np.tensordot(w[row], t, axes=(0, 0)) for t in statistics(family, x, {})]
        plain = family.from_mean_parameters(*means)
        for name, value in alone.given.items():
            np.testing.assert_allclose(value, plain.given[name], rtol=1e-9)


def test_every_outcome_of_a_finite_list():
    """However improbable: a categorical distribution without one of them would be infinitely far."""
    found = matched(Categorical, Binomial(2000, 0.01))
    assert found.distribution.given["logits"].shape == (2001,)
    assert 0 <= found.divergence.value < 1e-20
    rows = matched(Categorical, Binomial(20, [0.1, 0.5]))
    np.testing.assert_allclose(rows.distribution.mean_parameters()[0][1].sum(), 1.0)


def test_mass_of_a_mixture_that_is_not_seen():
    """Half of the mass lies next to 0, nearer than numbers come: it is told of a mixture, too."""
    found = matched(Exponential, Mixture([Gamma(1e-6, 1.0), Exponential(1.0)], [0.5, 0.5]))
    assert not found.converged
    assert "neither the member nor the divergence is known" in found.reason
