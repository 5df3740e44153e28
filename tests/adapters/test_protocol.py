"""Objects with a density and perhaps a sampler, the registry of adapters, and distributions made of others."""

from __future__ import annotations

import math
from typing import Any

import array_api_strict
import numpy as np
import pytest
from scipy import stats

import dkl
from dkl import adapters
from dkl.adapters import adapted, adapter
from dkl.adapters.derived import OneHot, Relocated
from dkl.adapters.products import Product, independent
from dkl.adapters.protocol import density, support_of
from dkl.density import Density
from dkl.families import Exponential, HalfNormal, LogNormal, Normal
from dkl.families.base import Distribution
from dkl.supports import Integers, Interval, Simplex, Vectors


class Skewed:
    """A distribution of somebody's own, with PyTorch's names and no library."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def log_prob(self, x: Any) -> Any:
        return np.where(x >= 0, math.log(self.rate) - self.rate * x, -math.inf)

    def sample(self, shape: Any) -> Any:
        return np.full(shape, 1.0 / self.rate)


class Seeded(Skewed):
    """The same with a source of randomness, and a support."""

    support = Interval(0.0)

    def sample(self, shape: Any, rng: Any = None) -> Any:
        return rng.exponential(1.0 / self.rate, shape)


class Die:
    """SciPy's names, and no support."""

    def logpmf(self, k: Any) -> Any:
        return np.where((k >= 1) & (k <= 6), -math.log(6), -math.inf)

    def rvs(self, size: Any, random_state: Any = None) -> Any:
        return random_state.integers(1, 7, size)


def test_a_density_of_ones_own_is_measured() -> None:
    assert float(dkl.kl(Seeded(1.0), Seeded(2.0))) == pytest.approx(1 - math.log(2), rel=1e-6)
    assert float(dkl.kl(Seeded(1.0), stats.expon(scale=0.5))) == pytest.approx(1 - math.log(2), rel=1e-6)
    assert float(dkl.kl(Exponential(1.0), Seeded(2.0))) == pytest.approx(1 - math.log(2), rel=1e-6)


def test_a_sampler_takes_the_source_of_randomness_that_it_knows() -> None:
    seeded, plain, die = density(Seeded(2.0)), density(Skewed(2.0)), density(Die())
    assert isinstance(seeded, Density)
    assert isinstance(plain, Density)
    assert isinstance(die, Density)
    np.testing.assert_array_equal(seeded.sample(5, rng=3), np.random.default_rng(3).exponential(0.5, 5))
    np.testing.assert_array_equal(plain.sample(5), np.full(5, 0.5))
    np.testing.assert_array_equal(die.sample(5, rng=3), np.random.default_rng(3).integers(1, 7, 5))


def test_the_support_is_asked_for() -> None:
    seeded, plain, die = (density(x) for x in (Seeded(2.0), Skewed(2.0), Die()))
    assert isinstance(seeded, Density)
    assert isinstance(plain, Density)
    assert isinstance(die, Density)
    assert seeded.support is Seeded.support
    assert plain.support.name == Interval().name
    assert isinstance(die.support, Integers)
    assert die.log_prob(2.5) == -math.inf
    assert die.log_prob(2.0) == pytest.approx(-math.log(6), rel=1e-15)


def _constraint(name: str, **fields: Any) -> Any:
    return type(name, (), {})() if not fields else type(name, (), fields)()


@pytest.mark.parametrize(
    ("constraint", "shape", "wanted"),
    [
        (_constraint("_Real"), (), Interval()),
        (_constraint("_GreaterThan", lower_bound=2.0), (), Interval(2.0)),
        (_constraint("_Positive"), (), Interval(0.0)),
        (_constraint("_UnitInterval"), (), Interval(0.0, 1.0)),
        (_constraint("_HalfOpenInterval", lower_bound=1.0, upper_bound=2.0), (), Interval(1.0, 2.0)),
        (_constraint("_Boolean"), (), Integers(0, 1)),
        (_constraint("_IntegerInterval", lower_bound=1, upper_bound=4), (), Integers(1, 4)),
        (_constraint("_IntegerGreaterThan", lower_bound=0), (), Integers()),
        (_constraint("_Simplex"), (3,), Simplex(3)),
        (_constraint("_OneHot"), (3,), OneHot(3)),
        (_constraint("_RealVector"), (3,), Vectors(3)),
        (
            _constraint("_IndependentConstraint", base_constraint=_constraint("_Real"), reinterpreted_batch_ndims=1),
            (3,),
            Vectors(3),
        ),
    ],
    ids=lambda x: type(x).__name__,
)
def test_a_set_is_understood_by_the_name_of_its_constraint(constraint: Any, shape: Any, wanted: Any) -> None:
    told = type("Told", (), {"support": constraint, "batch_shape": (), "event_shape": shape})()
    found = support_of(told)
    assert type(found) is type(wanted)
    assert found.name == wanted.name


def test_an_unknown_set_is_not_guessed() -> None:
    assert support_of(type("Told", (), {"support": _constraint("_CorrCholesky")})()) is None


def test_an_object_without_a_density_is_none() -> None:
    assert adapted(object()) is None
    assert adapted(Skewed) is None
    with pytest.raises(TypeError, match="p must hold real numbers"):
        dkl.kl(object(), [1.0])


def test_an_adapter_is_found_by_name_and_only_once() -> None:
    class Coin:
        heads = 0.25

    name = f"{Coin.__module__}.{Coin.__qualname__}"
    adapter(name)(lambda coin: dkl.Probs([1 - coin.heads, coin.heads]))
    try:
        assert float(dkl.kl(Coin(), [0.75, 0.25])) == 0.0
        assert float(dkl.kl(type("Penny", (Coin,), {"heads": 0.5})(), [0.5, 0.5])) == 0.0
        with pytest.raises(ValueError, match="registered already"):
            adapter(name)(lambda coin: None)
    finally:
        del adapters._adapters[name]


def test_an_adapter_that_declines_leaves_the_density() -> None:
    class Own(Seeded):
        pass

    name = f"{Own.__module__}.{Own.__qualname__}"
    adapter(name)(lambda x: None)
    try:
        assert isinstance(adapted(Own(1.0)), Density)
    finally:
        del adapters._adapters[name]


def test_a_product_is_its_factors_side_by_side() -> None:
    base = LogNormal([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], [1.0, 2.0])
    p = Product(base, 1)
    assert (p.batch_shape, p.event_shape, p.event_ndim) == ((3,), (2,), 1)
    x = p.sample(5, rng=0)
    assert x.shape == (5, 3, 2)
    np.testing.assert_allclose(p.log_prob(x), base.log_prob(x).sum(-1), rtol=1e-14)
    np.testing.assert_allclose(p.entropy(), base.entropy().sum(-1), rtol=1e-14)
    np.testing.assert_allclose(p.mean(), base.mean(), rtol=1e-14)
    np.testing.assert_allclose(p.var(), base.var(), rtol=1e-14)
    assert p.log_prob(-x)[0, 0] == -math.inf
    np.testing.assert_allclose(p._member((1,)).log_prob(x[:, 1]), p.log_prob(x)[:, 1], rtol=1e-14)


def test_a_product_of_a_batch_whose_parameters_are_shared() -> None:
    # The base's KL has no last axis of its own: each of the three cells counts.
    p, q = (Product(Normal(0.0, [[scale], [2.0]]), 1) for scale in (1.0, 3.0))
    wide, other = (Normal(np.zeros((2, 3)), [[scale], [2.0]]) for scale in (1.0, 3.0))
    assert p.event_shape == (1,)
    np.testing.assert_allclose(3 * dkl.kl(p, q), dkl.kl(Product(wide, 1), Product(other, 1)), rtol=1e-13)


def test_products_of_bounded_divergences_are_no_sums() -> None:
    p, q = (Product(Normal([0.0, 0.0], [scale, 1.0]), 1) for scale in (1.0, 2.0))
    with pytest.raises(TypeError, match="nothing measures tv"):
        dkl.tv(p, q, method="closed_form")


def test_an_infinite_factor_is_infinite() -> None:
    p = Product(Normal([0.0, 1.0], 1.0), 1)
    q = Product(Exponential([1.0, 1.0]), 1)
    answer = dkl.measure(p, q)
    assert float(answer) == math.inf
    assert "lives on" in str(answer.reason)
    # p²/q has no integral where P is more than √2 times as wide.
    wide, narrow = Product(LogNormal([0.0, 0.0], 2.0), 1), Product(LogNormal([0.0, 0.0], 1.0), 1)
    answer = dkl.measure(wide, narrow, dkl.chi2)
    assert float(answer) == math.inf
    assert answer.reason is not None


def test_joined_axes_must_exist() -> None:
    with pytest.raises(ValueError, match="axes = 2 of a batch of shape"):
        Product(Normal([0.0, 1.0], 1.0), 2)
    assert independent(Normal(0.0, 1.0), 0) is not None
    assert independent(density(Skewed(1.0)), 0) is None


def test_relocated_in_another_library() -> None:
    p = Relocated(HalfNormal(2.0), 3.0, -0.5)
    x = np.asarray([1.0, 2.5, 3.5])
    wanted = stats.halfnorm(scale=1.0).logpdf(3.0 - x)
    np.testing.assert_allclose(p.log_prob(x), wanted, rtol=1e-13)
    moved = p.moved(array_api_strict, array_api_strict.asarray(1.0))
    np.testing.assert_allclose(np.asarray(moved.log_prob(array_api_strict.asarray(x))), wanted, rtol=1e-13)
    assert p.support.name == "the interval (−∞, 3)"
    assert isinstance(p._member(()), Distribution)


def test_one_hot_vectors() -> None:
    x = np.asarray([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(OneHot(3).contains(np, x), [True, False, False, False])
    assert OneHot(3).contains(np, OneHot(3).interior(np, x)).all()
    assert OneHot(3).within(OneHot(3))
    assert not OneHot(3).within(OneHot(2))
    assert not OneHot(3).within(Vectors(3))
