"""Formulas written down once: their values and derivatives, by loops and number by number, held to mpmath."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

from dkl.kernels.formulas import MOST, Formula
from dkl.kernels.trace import Namespace

RNG = np.random.default_rng(11)


def test_numbers_and_arrays() -> None:
    made = Formula(("a", "b", "c"), lambda xp, a, b, c: a * 2.0 + b / c)
    assert made.of_numbers(1.0, 3.0, 2.0) == 3.5
    arrays = [np.arange(4.0), np.float64(3.0).reshape(()), np.array([[1.0], [2.0]])]
    np.testing.assert_array_equal(made.over(arrays), arrays[0] * 2 + arrays[1] / arrays[2])
    passed = np.arange(8.0).reshape(2, 4)
    by_a, by_b, by_c = made.products(arrays, passed, (True, False, True))
    np.testing.assert_allclose(by_a, 2 * passed.sum(axis=0))
    assert by_b is None
    np.testing.assert_allclose(by_c, -(3 * passed / arrays[2] ** 2).sum(axis=1, keepdims=True))


def test_a_single_number_everywhere() -> None:
    made = Formula(("a", "b"), lambda xp, a, b: a * b)
    spread = np.broadcast_to(np.array(2.0), (5,))
    np.testing.assert_array_equal(made.over([spread, np.array(1.0)]), np.full(5, 2.0))


def test_as_many_numbers_as_a_loop_knows() -> None:
    with pytest.raises(ValueError, match="a formula of 12 numbers: a loop knows from 1 to 11"):
        Formula([str(i) for i in range(MOST)], lambda xp, *numbers: numbers[0])


def test_what_has_no_derivative_says_so() -> None:
    made = Formula(("x",), lambda xp, x: x.trace.apply("log_quotient", x, x, x))
    with pytest.raises(TypeError, match="a formula with 'log_quotient' of a parameter has no derivative"):
        made.products([np.ones(3)], np.ones(3))


OPERATIONS: dict[str, tuple[Callable[..., Any], Callable[[Any], Any]]] = {
    "arithmetic": (lambda xp, x: (1.0 - x) * x / (2.0 + x) - -x, lambda x: (1 - x) * x / (2 + x) + x),
    "exp": (lambda xp, x: xp.exp(x), mpmath.exp),
    "expm1": (lambda xp, x: xp.expm1(-x), lambda x: mpmath.expm1(-x)),
    "expm1_minus": (lambda xp, x: xp.expm1_minus(x), lambda x: mpmath.expm1(x) - x),
    "log": (lambda xp, x: xp.log(x), mpmath.log),
    "log1p": (lambda xp, x: xp.log1p(x), mpmath.log1p),
    "sqrt": (lambda xp, x: xp.sqrt(x), mpmath.sqrt),
    "abs": (lambda xp, x: xp.abs(x - 1.0), lambda x: abs(x - 1)),
    "tanh": (lambda xp, x: xp.tanh(x), mpmath.tanh),
    "where": (lambda xp, x: xp.where(x > 1.0, x * x, xp.exp(x)), lambda x: x * x if x > 1 else mpmath.exp(x)),
    "excess": (lambda xp, x: xp.excess(x * x - 1.0, x, 2.0), lambda x: x * x - 1 - 2 * mpmath.log(x)),
}


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_operations_and_their_derivatives(name: str) -> None:
    function, exact = OPERATIONS[name]
    made = Formula(("x",), function)
    x = np.array([0.03, 0.3, 0.9, 1.1, 1.7, 5.0])
    with mpmath.workdps(40):
        points = [mpmath.mpf(float(v)) for v in x]
        values = [float(exact(v)) for v in points]
        slopes = [float(mpmath.diff(exact, v)) for v in points]
    np.testing.assert_allclose(made.over([x]), values, rtol=2e-14)
    np.testing.assert_allclose([made.of_numbers(float(v)) for v in x], values, rtol=2e-14)
    (by_x,) = made.products([x], np.array(3.0))
    np.testing.assert_allclose(by_x, 3 * np.array(slopes), rtol=2e-14)


@pytest.mark.parametrize("near", [1e-9, 1e-3, None])
def test_the_divergence_of_gamma(near: float | None) -> None:
    made = Formula(("y", "x"), lambda xp, y, x: xp.gamma_rest_divergence(y, x, y - x))
    x = np.exp(RNG.uniform(-20, 20, 40))
    y = np.exp(RNG.uniform(-20, 20, 40)) if near is None else x * (1 + near * RNG.normal(size=40))

    def exact(y: Any, x: Any) -> tuple[Any, Any, Any]:
        # log Γ of 5e8 has 10 digits before the point, and a near pair's divergence begins 30 behind it.
        rest = [mpmath.loggamma(s) - s * mpmath.log(s) + s for s in (y, x)]
        slopes = [mpmath.psi(0, s) - mpmath.log(s) for s in (y, x)]
        return (
            rest[0] - rest[1] - slopes[1] * (y - x),
            slopes[0] - slopes[1],
            -(mpmath.psi(1, x) - 1 / x) * (y - x),
        )

    with mpmath.workdps(80):
        expected = np.array(
            [[float(v) for v in exact(mpmath.mpf(float(a)), mpmath.mpf(float(b)))] for a, b in zip(y, x, strict=True)]
        ).T
    np.testing.assert_allclose(made.over([y, x]), expected[0], rtol=2e-14)
    numbers = [made.of_numbers(float(a), float(b)) for a, b in zip(y, x, strict=True)]
    np.testing.assert_allclose(numbers, expected[0], rtol=2e-14)
    by_y, by_x = made.products([y, x], np.array(1.0))
    np.testing.assert_allclose(by_y, expected[1], rtol=2e-14)
    np.testing.assert_allclose(by_x, expected[2], rtol=2e-14)


def test_a_namespace_without_a_function_says_so() -> None:
    with pytest.raises(AttributeError, match=r"traced code cannot call xp\.erf"):
        Namespace().erf  # noqa: B018  it is the lookup that raises
