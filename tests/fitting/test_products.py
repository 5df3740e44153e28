"""Products of factors as targets: their density, on every array library, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

import dkl
from dkl._array import namespace_of
from dkl.families import Beta, DiagonalNormal, Gamma, MultivariateNormal, Normal, Wishart
from dkl.fitting import Product, Sites

X = np.array([[1.0, 0.5], [1.0, -2.0], [1.0, 1.0]])
Y = np.array([1.0, -1.0, 1.0])


def logistic(s: Any, i: Any) -> Any:
    return -np.logaddexp(0.0, -Y[i] * s)


def test_the_density_is_the_product_of_all_factors() -> None:
    x = np.random.default_rng(1).normal(size=(4, 5, 2))
    target = Product(
        MultivariateNormal([0.0, 1.0], np.eye(2)), [Sites(logistic, X), DiagonalNormal([1.0, 2.0], [0.5, 3.0])]
    )
    by_hand = stats.norm.logpdf(x - [0.0, 1.0]).sum(-1) + stats.norm.logpdf(x, [1.0, 2.0], [0.5, 3.0]).sum(-1)
    for k in range(3):
        by_hand = by_hand - np.log1p(np.exp(-Y[k] * (x @ X[k])))
    np.testing.assert_allclose(target.log_prob(x), by_hand, rtol=1e-13)
    assert target.count == 4
    assert target.log_prob([0.0, 0.0]).shape == ()


def test_batches_of_distributions_are_one_factor_each() -> None:
    target = Product(Gamma(2.0, 1.0), [Gamma([[2.0], [3.0]], [1.0, 4.0]), Sites(lambda s, i: -s * (1 + i), count=2)])
    x = np.array([0.5, 2.0])
    by_hand = stats.gamma.logpdf(x, 2.0) - 3.0 * x
    for a in (2.0, 3.0):
        for b in (1.0, 4.0):
            by_hand = by_hand + stats.gamma.logpdf(x, a, scale=1 / b)
    np.testing.assert_allclose(target.log_prob(x), by_hand, rtol=1e-13)
    assert target.count == 6
    assert target.log_prob(-1.0) == -math.inf


def test_numbers_may_be_projected_too() -> None:
    target = Product(Normal(0.0, 1.0), Sites(lambda s, i: -(s**2) * (i + 1), projections=[2.0, -3.0]))
    assert target.log_prob(0.5) == pytest.approx(stats.norm.logpdf(0.5) - 1.0 - 2 * 2.25, rel=1e-14)


def test_blocks_of_outcomes_join(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Product(MultivariateNormal([0.0, 0.0], np.eye(2)), Sites(logistic, X))
    x = np.random.default_rng(2).normal(size=(50, 2))
    whole = target.log_prob(x)
    monkeypatch.setattr("dkl.fitting.propagation.products._BLOCK", 20)
    np.testing.assert_array_equal(target.log_prob(x), whole)


def test_it_is_asked_in_the_library_of_the_outcomes(backend: Any) -> None:
    signs = backend.asarray(Y)
    xp = namespace_of(signs=signs)

    def factor(s: Any, i: Any) -> Any:
        assert backend.is_own(s)
        assert backend.is_own(i)
        return -xp.log1p(xp.exp(-xp.take(signs, i[:, 0], axis=0)[:, None] * s))

    target = Product(MultivariateNormal([0.0, 0.0], np.eye(2)), Sites(factor, X))
    x = np.array([[0.3, -0.2], [1.0, 2.0]])
    moved = target.moved(xp, backend.asarray(x))
    value = moved.log_prob(backend.asarray(x))
    assert backend.is_own(value)
    expected = Product(MultivariateNormal([0.0, 0.0], np.eye(2)), Sites(logistic, X)).log_prob(x)
    np.testing.assert_allclose(backend.to_numpy(value), expected, rtol=1e-6)


def test_other_methods_take_it_by_its_density() -> None:
    target = Product(Normal(0.0, 2.0), Sites(lambda s, i: -((s - 1.0) ** 2)))
    fitted = dkl.fit(Normal, target)
    # exp(−x²/8 − (x − 1)²): precision 2.25, mean 2/2.25.
    assert fitted.method == "moment matching"
    assert fitted.distribution.mean() == pytest.approx(2 / 2.25, rel=1e-9)
    assert fitted.distribution.var() == pytest.approx(1 / 2.25, rel=1e-9)


def test_it_says_what_it_is() -> None:
    assert repr(Sites(logistic)) == "Sites(1 factor of a number)"
    assert repr(Sites(logistic, [1.0, 2.0])) == "Sites(2 factors of projections of a number)"
    target = Product(Normal(0.0, 1.0), Sites(logistic, count=3))
    assert repr(target) == "Product(Normal(loc=0, scale=1) × 3 factors)"


VECTOR = MultivariateNormal([0.0, 0.0], np.eye(2))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Sites(3), TypeError, r"log_factor must be a function of \(s, i\), got 3"),
        (lambda: Sites(logistic, X, count=3), TypeError, "projections say how many factors there are"),
        (lambda: Sites(logistic, count=0), ValueError, "Sites: count = 0 must be a whole number of at least 1"),
        (lambda: Sites(logistic, 1.0), ValueError, r"projections of shape \(\) must have a row for each factor"),
        (lambda: Sites(logistic, np.zeros((0, 2))), ValueError, r"projections of shape \(0, 2\)"),
        (lambda: Sites(logistic, [[1.0, math.nan]]), ValueError, r"projections\[0, 1\] = nan is no finite number"),
        (lambda: Product([0.5, 0.5], Sites(logistic)), TypeError, "prior must be a distribution such as Normal"),
        (lambda: Product(Normal([0.0, 1.0], 1.0), Sites(logistic)), ValueError, r"prior is a batch of shape \(2,\)"),
        (lambda: Product(Wishart(3.0, np.eye(2)), Sites(logistic)), TypeError, "a number or a vector"),
        (lambda: Product(VECTOR, []), ValueError, "sites are empty"),
        (lambda: Product(VECTOR, Sites(logistic)), TypeError, r"sites\[0\] depends on a number, .* give projections="),
        (
            lambda: Product(VECTOR, [Sites(logistic, X), Sites(logistic, X[:, :1])]),
            ValueError,
            r"sites\[1\]: projections of shape \(3, 1\) must have shape \(n, 2\)",
        ),
        (lambda: Product(Normal(0.0, 1.0), Sites(logistic, X)), ValueError, r"must have shape \(n,\)"),
        (lambda: Product(VECTOR, Normal(0.0, 1.0)), ValueError, r"sites\[0\]: an outcome of .* has shape \(\)"),
        (lambda: Product(VECTOR, [lambda x: x]), TypeError, r"sites\[0\] is a bare function: wrap it"),
        (lambda: Product(VECTOR, [dkl.Samples([1.0])]), TypeError, r"sites\[0\] must be dkl.fitting.Sites or a"),
    ],
)
def test_what_is_no_product_is_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (lambda s, i: np.where(i == 2, math.nan, s), r"sites\[0\]: log_factor gives NaN for factor 2 at s = -?\d"),
        (lambda s, i: np.where(i == 1, math.inf, s), r"log_factor gives \+inf for factor 1 at s = .*it must be −inf"),
        (lambda s, i: s[:, :1, None], r"log_factor of s of shape \(3, 4\) must have that shape, got \(3, 1, 1\)"),
        (lambda s, i: np.zeros(7), r"must have that shape, got \(7,\); i has shape \(3, 1\)"),
    ],
)
def test_a_bad_factor_is_named(factor: Any, message: str) -> None:
    target = Product(VECTOR, Sites(factor, X))
    with pytest.raises(ValueError, match=message):
        target.log_prob(np.random.default_rng(3).normal(size=(4, 2)))
    with pytest.raises(ValueError, match=message.replace("4", r"\d+")):
        dkl.fit(MultivariateNormal, target, method="expectation propagation")


def test_a_factor_of_one_row_stands_for_all() -> None:
    target = Product(Beta(2.0, 2.0), Sites(lambda s, i: -i * 1.0, count=3))
    assert target.log_prob(0.5) == pytest.approx(math.log(1.5) - 3.0, rel=1e-14)


@pytest.mark.parametrize(
    ("projections", "message"),
    [
        (["a"], "projections must hold real numbers"),
        ([[1.0, 2.0], [3.0]], "projections is a list that is not a rectangular array"),
        (np.ones((2, 2)) * 1j, "projections must hold real numbers, got an array of dtype complex128"),
    ],
)
def test_projections_that_are_no_numbers_are_named(projections: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Sites(logistic, projections)
