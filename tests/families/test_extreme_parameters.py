"""The least and largest parameters there are, against hundreds of digits; what parameters may be."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
import torch

import dkl
from dkl import families

jax.config.update("jax_enable_x64", True)

REFERENCES = json.loads(Path(__file__).with_name("extreme_references.json").read_text())


@pytest.mark.parametrize("row", REFERENCES, ids=lambda row: f"{row['family']} {row['p']} {row['q']}")
def test_the_least_and_largest_parameters(row: Any) -> None:
    make = getattr(families, row["family"])
    p, q = ((np.asarray(x),) if row["family"] == "Dirichlet" else x for x in (row["p"], row["q"]))
    for divergence, true in ((dkl.kl, row["kl"]), (dkl.Renyi(0.5), row["renyi(1/2)"])):
        assert float(divergence(make(*p), make(*q))) == pytest.approx(float(true), rel=1e-12)


@pytest.mark.parametrize(
    ("make", "p", "q", "expected"),
    [
        (families.Cauchy, (0.0, 1e-200), (0.0, 1e200), 400 * math.log(10) - 2 * math.log(2)),
        (families.Cauchy, (1e308, 1.0), (-1e308, 1.0), 616 * math.log(10)),
        (families.Pareto, (1e200, 2.0), (1e-200, 2.0), 800 * math.log(10)),
        (families.Pareto, (1.0, 1e-300), (1.0, 1e-290), 1e10 - 1 - 10 * math.log(10)),
        # ½·(r² − 1 − 2·log r), and Euler's constant from the mean.
        (families.Gumbel, (0.0, 1e-200), (0.0, 1e200), 400 * math.log(10) - np.euler_gamma),
        (families.Weibull, (1e-200, 1.0), (1e200, 1.0), 400 * math.log(10) - 1),
        (families.Laplace, (0.0, 1e-200), (0.0, 1e200), 400 * math.log(10) - 1),
        (families.Laplace, (0.0, 1e-200), (1e200, 1e200), 400 * math.log(10)),
        (families.HalfNormal, (1e-200,), (1e200,), 400 * math.log(10) - 0.5),
        (families.DiagonalNormal, ([0.0], [1e-200]), ([0.0], [1e200]), 400 * math.log(10) - 0.5),
        (families.LogNormal, (0.0, 1e-200), (0.0, 1e200), 400 * math.log(10) - 0.5),
    ],
    ids=str,
)
def test_quotients_beyond_the_floating_range(make: Any, p: Any, q: Any, expected: float) -> None:
    assert float(dkl.kl(make(*p), make(*q))) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("make", [families.Normal, families.Cauchy, families.Gumbel, families.Laplace])
def test_what_exceeds_the_largest_number_is_infinite_and_never_nan(make: Any) -> None:
    for divergence in (dkl.kl, dkl.jeffreys):
        found = float(divergence(make(-1e308, 1e-200), make(1e308, 1e-200)))
        # Cauchy's alone is a number: that of its logarithm.
        expected = 1016 * math.log(10) * (2 if divergence is dkl.jeffreys else 1)
        assert found == (pytest.approx(expected, rel=1e-12) if make is families.Cauchy else math.inf)


def test_a_batch_with_extremes_is_that_of_its_pairs() -> None:
    scales = np.tile([1e-200, 1.0, 1e200], 40_000)
    made = dkl.kl(families.Normal(0.0, scales), families.Normal(0.0, 1e200))
    np.testing.assert_allclose(made[:3], [400 * math.log(10) - 0.5, 200 * math.log(10) - 0.5, 0.0], rtol=1e-12)


def test_gradients_at_extremes_are_those_of_the_logarithm() -> None:
    scale = torch.tensor(1e-200, dtype=torch.float64, requires_grad=True)
    for make, slope in ((families.Normal, -1.0), (families.Laplace, -1.0), (families.Cauchy, -1.0)):
        wide = make(torch.tensor(0.0, dtype=torch.float64), torch.tensor(1e200, dtype=torch.float64))
        (found,) = torch.autograd.grad(dkl.kl(make(torch.tensor(0.0, dtype=torch.float64), scale), wide), scale)
        assert found.item() * 1e-200 == pytest.approx(slope, rel=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: families.Binomial(2**53 + 1, 0.5), "total_count = 9007199254740993 is no number of float64"),
        (lambda: families.Binomial(2**70 + 1, 0.5), "total_count"),
        (
            lambda: families.Binomial(torch.tensor([3, 2**24 + 1]), torch.tensor(0.5)),
            r"total_count\[1\] = 16777217 is no number of float32, .* up to 16777216 alone: give it in float64",
        ),
        (lambda: families.Poisson(10**400), "Poisson: rate lies beyond the largest float"),
        (lambda: families.Uniform(-1e308, 1e308), "high − low exceeds the largest number"),
    ],
)  # fmt: skip
def test_whole_numbers_are_not_rounded_in_silence(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_large_whole_numbers_that_are_held_are_right() -> None:
    p, q = families.Binomial(2**60, 0.5), families.Binomial(2**60, 0.25)
    assert float(dkl.kl(p, q)) == pytest.approx(
        2.0**60 * float(dkl.kl(families.Bernoulli(0.5), families.Bernoulli(0.25)))
    )
    assert float(families.Poisson(2**70).mean()) == 2.0**70


def test_half_precision_is_answered_in_float32_as_arrays_are() -> None:
    p, q = (families.Normal(np.float16(x), np.float16(1.5)) for x in (0.0, 1.0))
    assert dkl.kl(p, q).dtype == dkl.kl(np.float16([0.5, 0.5]), np.float16([0.25, 0.75])).dtype == np.float32


@pytest.mark.parametrize(
    ("p", "q"),
    [
        (families.DiagonalNormal([0.0, 0.0]), families.DiagonalNormal([0.0, 0.0, 0.0])),
        (families.DiagonalNormal([0.0, 0.0]), families.Normal(0.0, 1.0)),
        (families.Dirichlet([1.0, 2.0]), families.Dirichlet([1.0, 2.0, 3.0])),
        (families.Wishart(3.0, np.eye(2)), families.Wishart(4.0, np.eye(3))),
        (families.Bernoulli(0.5), families.Multinomial(1, [0.25, 0.25, 0.5])),
        (dkl.Density(lambda x: -(x**2).sum(-1), support=dkl.supports.Vectors(2)), families.DiagonalNormal([0.0] * 3)),
        (dkl.Mixture(families.DiagonalNormal(np.zeros((2, 2))), [0.5, 0.5]), families.Normal(0.0, 1.0)),
    ],
    ids=str,
)
@pytest.mark.parametrize("divergence", [dkl.kl, dkl.js, dkl.Renyi(math.inf)], ids=str)
def test_outcomes_of_different_shapes_are_no_pair(divergence: Any, p: Any, q: Any) -> None:
    with pytest.raises(
        ValueError, match=r"an outcome of p, .*, is .* and one of q, .*: both must be of the same shape"
    ):
        divergence(p, q)


@pytest.mark.parametrize("make", [families.Normal, families.Cauchy, lambda x: families.Bernoulli(x + 0.5)])
def test_batches_that_do_not_broadcast_are_named(make: Any) -> None:
    message = r"p is a batch of shape \(2,\) and q one of shape \(3,\), which do not broadcast"
    for divergence in (dkl.kl, dkl.tv):
        with pytest.raises(ValueError, match=message):
            divergence(make(np.zeros(2)), make(np.zeros(3)))


def test_lists_of_different_lengths_share_the_first_outcomes() -> None:
    p, q = families.Bernoulli(0.25), families.Categorical([0.25, 0.25, 0.5])
    padded = [0.75, 0.25, 0.0]
    for divergence in (dkl.kl, dkl.js, dkl.tv, dkl.Renyi(2.0), dkl.Renyi(math.inf)):
        expected = float(divergence(padded, [0.25, 0.25, 0.5]))
        assert float(divergence(p, q)) == pytest.approx(expected, rel=1e-13)
        logits = families.Categorical(logits=torch.log(torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64)))
        assert float(divergence(p, logits)) == pytest.approx(expected, rel=1e-13)
    made = dkl.measure(q, p)
    assert float(made) == math.inf
    assert made.reason is not None
    assert "P lives on the whole numbers from 0 to 2, Q on the whole numbers from 0 to 1" in made.reason
    with pytest.raises(ValueError, match="do not broadcast"):
        dkl.kl(p, [0.25, 0.25, 0.5])


def test_an_angle_and_a_uniform_number_all_around() -> None:
    p = families.VonMises(0.3, 2.0)
    expected = math.log(2 * math.pi) - float(p.entropy())
    for low in (-math.pi, 0.0):
        around = families.Uniform(low, low + 2 * math.pi)
        assert float(dkl.kl(p, around)) == pytest.approx(expected, rel=1e-13)
        # log I₀(κ), as the mean of the cosine all around is 0.
        assert float(dkl.kl(around, p)) == pytest.approx(float(mp.log(mp.besseli(0, 2))), rel=1e-13)
    wider = families.Uniform(-4.0, 4.0)
    assert float(dkl.kl(p, wider)) == pytest.approx(expected + math.log(4 / math.pi), rel=1e-12)
    assert float(dkl.kl(p, families.Uniform(-3.0, 3.0))) == math.inf


def test_beside_the_line_angles_are_numbers() -> None:
    p, q = families.VonMises(0.3, 2.0), families.Normal(0.0, 1.0)

    def term(x: Any) -> Any:
        log_p = 2 * mp.cos(x - 0.3) - mp.log(2 * mp.pi * mp.besseli(0, 2))
        return mp.exp(log_p) * (log_p + x * x / 2 + mp.log(2 * mp.pi) / 2)

    assert float(dkl.kl(p, q)) == pytest.approx(float(mp.quad(term, mp.linspace(-mp.pi, mp.pi, 9))), rel=1e-10)
    assert float(dkl.kl(q, p)) == math.inf


@pytest.mark.parametrize("order", [2.0, math.inf])
def test_an_infinite_value_has_gradient_0(order: float) -> None:
    x = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    normal = families.Normal(torch.tensor(0.0, dtype=torch.float64), 1.0)
    for p in (families.Normal(0.0, x), families.StudentT(x), families.Gamma(x, 1.0)):
        for q in (normal, families.Uniform(torch.tensor(0.0, dtype=torch.float64), 1.0)):
            value = dkl.Renyi(order)(p, q)
            if value == math.inf:
                (slope,) = torch.autograd.grad(value, x)
                assert slope == 0.0


#: KL as a function of a parameter that members of a family share, and a value of it.
KNOWN: dict[str, tuple[Callable[[Any], Any], Callable[[], Any], float]] = {
    "Laplace": (lambda x: families.Laplace(x, 2.0), lambda: families.Laplace(jnp.asarray(0.5), 3.0), 0.5),
    "Weibull": (lambda x: families.Weibull(1.0, x), lambda: families.Weibull(jnp.asarray(2.0), 3.0), 3.0),
    "NegativeBinomial": (
        lambda x: families.NegativeBinomial(x, 0.25),
        lambda: families.NegativeBinomial(jnp.asarray(2.0), 0.5),
        2.0,
    ),
}


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("divergence", [dkl.kl, dkl.Renyi(0.5), dkl.jeffreys], ids=str)
def test_jax_differentiates_by_what_a_family_keeps_fixed(name: str, divergence: Any) -> None:
    p, q, at = KNOWN[name]
    slope = float(jax.grad(lambda x: divergence(p(x), q()))(at))
    step = 1e-4
    above, below = (float(divergence(p(jnp.asarray(at + s)), q())) for s in (step, -step))
    assert slope == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-8)


def test_hidden_parameters_that_turn_out_different_give_nan() -> None:
    def hidden(r: Any, s: Any) -> Any:
        return dkl.kl(families.NegativeBinomial(r, 0.25), families.NegativeBinomial(s, 0.5))

    same = float(hidden(jnp.asarray(2.0), jnp.asarray(2.0)))
    assert float(jax.jit(hidden)(2.0, 2.0)) == pytest.approx(same, rel=1e-13)
    assert math.isnan(float(jax.jit(hidden)(2.0, 3.0)))
    # By one of both the derivative is not known to the family, by both at once it is.
    assert not math.isfinite(float(jax.jit(jax.grad(hidden))(2.0, 2.0)))
    together = jax.jit(jax.grad(lambda r: hidden(r, r)))
    assert float(together(2.0)) == pytest.approx(same / 2.0, rel=1e-13)
    weibull = jax.jit(lambda k: dkl.kl(families.Weibull(1.0, k), families.Weibull(jnp.asarray(2.0), 3.0)))
    assert float(weibull(2.0)) == pytest.approx(float(dkl.kl(families.Weibull(1.0, 2.0), families.Weibull(2.0, 3.0))))
