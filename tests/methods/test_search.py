"""Rényi's divergence of order ∞ of distributions: closed forms and the search, against calculus and each other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import dkl
from dkl import families

LARGEST = dkl.Renyi(math.inf)


@pytest.mark.parametrize(
    ("p", "q", "expected"),
    [
        # Where the derivative of the log-ratio is 0.
        (families.Gamma(3.0, 2.0), families.Gamma(2.0, 1.0), 2 * math.log(2) - 1),
        (families.Exponential(2.0), families.Exponential(1.0), math.log(2)),
        (families.Cauchy(0.0, 1.0), families.Cauchy(1.0, 1.0), 2 * math.log((1 + math.sqrt(5)) / 2)),
        (families.Normal(0.0, 1.0), families.Laplace(0.0, 1.0), 0.5 + math.log(2 / math.sqrt(2 * math.pi))),
        # A limit, far out and at the end of a support.
        (families.Cauchy(0.0, 2.0), families.Cauchy(0.0, 1.0), math.log(2)),
        (families.Beta(3.0, 2.0), families.Beta(2.0, 2.0), math.log(2)),
        (families.Uniform(-1.0, 1.0), families.Normal(0.0, 1.0), 0.5 + 0.5 * math.log(math.pi / 2)),
        (families.Poisson(2.0), families.Poisson(3.0), 1.0),
        (families.Geometric(0.5), families.Geometric(0.25), math.log(2)),
        (families.Bernoulli(0.25), families.Categorical([0.25, 0.25, 0.5]), math.log(3)),
    ],
    ids=str,
)
def test_the_largest_log_ratio(p: Any, q: Any, expected: float) -> None:
    assert float(LARGEST(p, q)) == pytest.approx(expected, rel=1e-11)
    assert float(LARGEST(p, p)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("p", "q", "where"),
    [
        (families.Gamma(1.0, 2.0), families.Gamma(2.0, 1.0), "x = 0"),
        (families.Gamma(3.0, 1.0), families.Gamma(2.0, 1.0), "x = ∞"),
        (families.StudentT(3.0), families.StudentT(3.001), "x = −∞"),
        (families.Beta(2.0, 1.0), families.Beta(2.0, 2.0), "x = 1"),
        (families.Laplace(0.0, 1.0), families.Normal(0.0, 1.0), "x = −∞"),
        (families.Poisson(3.0), families.Poisson(2.0), "x = ∞"),
        (families.NegativeBinomial(2.0, 0.25), families.Poisson(4.0), "x = ∞"),
    ],
    ids=str,
)
def test_a_log_ratio_without_a_largest_value(p: Any, q: Any, where: str) -> None:
    made = dkl.measure(p, q, LARGEST)
    assert float(made) == math.inf
    assert made.reason == f"D_∞(P‖Q) is infinite: log(p/q) rises without end towards {where}."


def test_whole_numbers_against_all_of_them() -> None:
    k = np.arange(200)
    expected = (stats.poisson.logpmf(k, 3.0) - stats.geom.logpmf(k + 1, 0.25)).max()
    assert float(LARGEST(families.Poisson(3.0), families.Geometric(0.25))) == pytest.approx(expected, rel=1e-12)


def test_closed_forms_of_normals_and_the_search_agree() -> None:
    p, q = families.Normal(0.25, 1.0), families.Normal(1.0, 2.0)
    assert float(LARGEST(p, q)) == pytest.approx(float(LARGEST(p, q, method="search")), rel=1e-13)
    vectors = [families.DiagonalNormal([x.loc, 0.0], [x.scale, 1.0]) for x in (p, q)]
    # The second component of both is the same.
    assert float(LARGEST(*vectors)) == pytest.approx(float(LARGEST(p, q)), rel=1e-13)
    assert float(LARGEST(*reversed(vectors))) == math.inf
    turn = np.asarray([[0.6, -0.8], [0.8, 0.6]])
    turned = [families.MultivariateNormal(turn @ x.loc, turn @ np.diag(np.square(x.scale)) @ turn.T) for x in vectors]
    assert float(LARGEST(*turned)) == pytest.approx(float(LARGEST(p, q)), rel=1e-9)


def test_dirichlet_and_beta_agree() -> None:
    one, other = (3.0, 2.5), (2.0, 2.0)
    expected = float(LARGEST(families.Beta(*one), families.Beta(*other)))
    shares = [families.Dirichlet(np.asarray(x)) for x in (one, other)]
    assert float(LARGEST(*shares)) == pytest.approx(expected, rel=1e-10)
    assert float(LARGEST(*reversed(shares))) == math.inf


def test_its_gradient_is_that_of_the_log_ratio_at_its_place() -> None:
    shape = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    two, one = (torch.tensor(x, dtype=torch.float64) for x in (2.0, 1.0))
    (slope,) = torch.autograd.grad(LARGEST(families.Gamma(shape, two), families.Gamma(two, one)), shape)
    # At x = 1 of log x + log 2 − ψ(3); the place is known to half the digits.
    assert float(slope) == pytest.approx(math.log(2) - float(torch.digamma(shape.detach())), rel=1e-6)


def test_a_batch_is_searched_pair_by_pair() -> None:
    made = LARGEST(families.Gamma([3.0, 1.0], 2.0), families.Gamma(2.0, 1.0))
    np.testing.assert_allclose(made, [2 * math.log(2) - 1, math.inf], rtol=1e-11)


def test_vectors_without_a_closed_form_are_refused() -> None:
    p, q = families.Wishart(3.0, np.eye(2)), families.Wishart(4.0, np.eye(2))
    with pytest.raises(TypeError, match=r"D_∞\(P‖Q\) of p, Wishart.* searched for among numbers alone"):
        LARGEST(p, q)
