"""Families of a number: their divergences against mpmath and quadrature, and what else they say of themselves."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from scipy import integrate, stats

import dkl
from dkl import families
from dkl.families.exponential import ExponentialFamily

REFERENCES = json.loads(Path(__file__).with_name("references.json").read_text())
#: SciPy's distribution with the same parameters, and an ordinary pair.
MEMBERS: dict[str, tuple[Any, tuple[float, ...], tuple[float, ...]]] = {
    "Normal": (lambda loc, scale: stats.norm(loc, scale), (0.5, 1.0), (1.0, 2.0)),
    "LogNormal": (lambda loc, scale: stats.lognorm(scale, scale=math.exp(loc)), (0.5, 0.5), (0.2, 0.75)),
    "Gamma": (lambda a, rate: stats.gamma(a, scale=1 / rate), (2.0, 1.5), (3.5, 1.0)),
    "Erlang": (lambda a, rate: stats.gamma(a, scale=1 / rate), (2.0, 1.5), (3.0, 1.0)),
    "InverseGamma": (lambda a, scale: stats.invgamma(a, scale=scale), (4.0, 1.5), (5.5, 2.0)),
    "Exponential": (lambda rate: stats.expon(scale=1 / rate), (1.5,), (0.75,)),
    "ChiSquared": (lambda df: stats.chi2(df), (3.0,), (4.5,)),
    "Beta": (stats.beta, (2.0, 3.0), (4.0, 1.5)),
    "Rayleigh": (lambda scale: stats.rayleigh(scale=scale), (1.5,), (2.0,)),
    "HalfNormal": (lambda scale: stats.halfnorm(scale=scale), (1.5,), (2.0,)),
    "Maxwell": (lambda scale: stats.maxwell(scale=scale), (1.5,), (2.0,)),
}
NAMES = list(MEMBERS)


def _make(name: str, parameters: Any) -> ExponentialFamily:
    cls = getattr(families, name)
    made = cls(np.asarray(parameters, float)) if name == "Dirichlet" else cls(*parameters)
    assert isinstance(made, ExponentialFamily)
    return made


@pytest.mark.parametrize("row", REFERENCES, ids=lambda r: f"{r['family']}{r['p']}{r['q']}")
def test_kl_is_right_to_the_last_digits(row: Any) -> None:
    p, q = _make(row["family"], row["p"]), _make(row["family"], row["q"])
    assert float(dkl.kl(p, q)) == pytest.approx(float(row["kl"]), rel=1e-12)
    assert float(dkl.reverse_kl(p, q)) == pytest.approx(float(row["reverse_kl"]), rel=1e-12)
    assert float(dkl.jeffreys(p, q)) == pytest.approx(float(row["kl"]) + float(row["reverse_kl"]), rel=1e-12)


@pytest.mark.parametrize("row", REFERENCES, ids=lambda r: f"{r['family']}{r['p']}{r['q']}")
def test_every_order_follows_from_kl(row: Any) -> None:
    p, q = _make(row["family"], row["p"]), _make(row["family"], row["q"])
    for order, text in row["gaps"].items():
        a = float(order)
        if text is None:
            assert float(dkl.Alpha(a)(p, q)) == math.inf
            reason = dkl.measure(p, q, dkl.Alpha(a)).reason
            assert reason is not None
            assert "outside the natural parameters" in reason
            continue
        gap = float(text)
        # Where α leaves [0, 1], two parts are subtracted that are 1 + 2·|a| times as large as what remains.
        rel = 1e-12 if 0 < a < 1 else 1e-11
        with np.errstate(over="ignore"):
            alpha = -float(np.expm1(-gap)) / (a * (1 - a))
        assert float(dkl.Alpha(a)(p, q)) == pytest.approx(alpha, rel=rel * max(1.0, abs(gap)))
        if a > 0:
            assert float(dkl.Renyi(a)(p, q)) == pytest.approx(gap / (1 - a), rel=rel)
    half = float(row["gaps"]["0.5"])
    assert float(dkl.bhattacharyya(p, q)) == pytest.approx(half, rel=1e-12)
    assert float(dkl.hellinger(p, q)) == pytest.approx(math.sqrt(-math.expm1(-half)), rel=1e-12)
    assert float(dkl.squared_hellinger(p, q)) == pytest.approx(-math.expm1(-half), rel=1e-12)


def test_the_values_of_the_founding_lesson() -> None:
    p, q = families.Normal(0, 1), families.Normal(1, 2)
    assert float(dkl.kl(p, q)) == pytest.approx(0.4431471805599453, rel=1e-15)
    assert float(dkl.reverse_kl(p, q)) == pytest.approx(1.306852819440055, rel=1e-15)
    assert float(dkl.Renyi(0.5)(p, q)) == pytest.approx(0.3231435513142098, rel=1e-15)
    assert float(dkl.Renyi(2)(p, q)) == pytest.approx(0.5561964294493768, rel=1e-15)
    assert float(dkl.kl(p, q, base=2)) == pytest.approx(0.4431471805599453 / math.log(2), rel=1e-15)
    expected = {
        (0, 0): 0,
        (1, 0): 0.5,
        (0, 1): 0.35914091422952255,
        (2, 1): 2.3591409142295223,
        (0, -2): 0.5676676416183064,
    }
    for (loc, log_variance), value in expected.items():
        got = dkl.kl(families.Normal(float(loc), log_variance=float(log_variance)), families.Normal(0.0, 1.0))
        assert float(got) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_densities_moments_and_entropy_are_scipys(name: str) -> None:
    theirs, parameters, _ = MEMBERS[name]
    ours, theirs = _make(name, parameters), theirs(*parameters)
    x = theirs.ppf(np.linspace(0.01, 0.99, 23))
    np.testing.assert_allclose(ours.log_prob(x), theirs.logpdf(x), rtol=1e-12, atol=1e-12)
    for moment in ("mean", "var", "std", "entropy"):
        assert float(getattr(ours, moment)()) == pytest.approx(float(getattr(theirs, moment)()), rel=1e-9), moment
    low, high = theirs.support()
    outside = [x for x in (low - 1.0, high + 1.0) if math.isfinite(x)]
    assert (ours.log_prob(np.array(outside)) == -math.inf).all()
    assert math.isnan(ours.log_prob(math.nan))


@pytest.mark.parametrize("name", NAMES)
def test_kl_and_half_are_those_of_the_densities(name: str) -> None:
    make, one, other = MEMBERS[name]
    p, q, a, b = _make(name, one), _make(name, other), make(*one), make(*other)

    def integral(term: Any) -> float:
        low, high = (math.nextafter(e, 0.5) if math.isfinite(e) else e for e in a.support())
        middle = float(a.ppf(0.5))
        return sum(
            integrate.quad(term, *ends, epsabs=1e-13, epsrel=1e-11, limit=200)[0]
            for ends in ((low, middle), (middle, high))
        )

    def log_ratio(x: float) -> float:
        return float(a.logpdf(x) - b.logpdf(x))

    kl = integral(lambda x: a.pdf(x) * log_ratio(x) if a.pdf(x) > 0 else 0.0)
    assert float(dkl.kl(p, q)) == pytest.approx(kl, rel=1e-8)
    affinity = integral(lambda x: math.sqrt(a.pdf(x) * b.pdf(x)))
    assert float(dkl.squared_hellinger(p, q)) == pytest.approx(1 - affinity, rel=1e-7)


@pytest.mark.parametrize("name", [*NAMES, "Dirichlet"])
def test_samples_come_from_the_distribution(name: str) -> None:
    n = 40_000
    if name == "Dirichlet":
        made = _make(name, (0.5, 1.5, 3.0))
        x = made.sample(n, rng=1)
        assert x.shape == (n, 3)
        np.testing.assert_allclose(x.sum(axis=-1), 1.0, rtol=1e-12)
        assert (np.abs(x.mean(axis=0) - made.mean()) < 5 * made.std() / math.sqrt(n)).all()
        return
    make, parameters, _ = MEMBERS[name]
    made = _make(name, parameters)
    x = made.sample(n, rng=1)
    assert x.shape == (n,)
    assert stats.kstest(x, make(*parameters).cdf).pvalue > 1e-4
    np.testing.assert_array_equal(x, made.sample((n,), rng=np.random.default_rng(1)))


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_its_members(name: str) -> None:
    _, one, other = MEMBERS[name]
    columns_p = [np.array([[x], [x + 1.0]]) for x in one]
    columns_q = [np.array([x, x + 1.0, x + 2.0]) for x in other]
    p, q = _make(name, columns_p), _make(name, columns_q)
    assert p.batch_shape == (2, 1)
    for divergence in (dkl.kl, dkl.Renyi(0.5), dkl.Alpha(0.25), dkl.hellinger):
        together = divergence(p, q)
        assert together.shape == (2, 3)
        for i in range(2):
            for j in range(3):
                alone = divergence(_make(name, [c[i, 0] for c in columns_p]), _make(name, [c[j] for c in columns_q]))
                assert together[i, j] == pytest.approx(alone, rel=1e-14)
    assert p.sample(5, rng=0).shape == (5, 2, 1)
    assert p.mean().shape == (2, 1)


@pytest.mark.parametrize("name", [*NAMES, "Dirichlet"])
def test_gradients_are_right_and_finite(name: str) -> None:
    cls = getattr(families, name)
    one, other = ((1.0, 2.0, 3.0), (3.0, 2.5, 1.0)) if name == "Dirichlet" else MEMBERS[name][1:]
    split = len(one)

    def value(*parameters: Any) -> Any:
        p, q = parameters[:split], parameters[split:]
        if name == "Dirichlet":
            p, q = ((torch.stack(z),) for z in (p, q))
        return dkl.kl(cls(*p), cls(*q)) + dkl.Renyi(0.5)(cls(*p), cls(*q))

    at = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (*one, *other)]
    if name == "Erlang":  # its shape is a whole number, and has no neighbours
        at[0], at[2] = at[0].detach(), at[2].detach()
    assert torch.autograd.gradcheck(value, at)
    # At P = Q, the lowest point, every derivative is 0.
    same = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (*one, *one)]
    value(*same).backward()
    for x in same:
        assert abs(float(x.grad)) < 1e-14


@pytest.mark.parametrize("name", [*NAMES, "Dirichlet"])
def test_the_answer_is_of_the_callers_library(name: str) -> None:
    one, other = ((1.0, 2.0, 3.0), (3.0, 2.5, 1.0)) if name == "Dirichlet" else MEMBERS[name][1:]
    expected = float(dkl.kl(_make(name, one), _make(name, other)))
    cls = getattr(families, name)
    for array, kind in (
        (lambda x: torch.tensor(x, dtype=torch.float32), torch.Tensor),
        (lambda x: jax.numpy.asarray(x, dtype="float32"), jax.Array),
    ):
        p, q = ((cls(array(z)),) if name == "Dirichlet" else (cls(*map(array, z)),) for z in (one, other))
        got = dkl.kl(p[0], q[0])
        assert isinstance(got, kind)
        assert str(got.dtype).endswith("float32")
        assert float(got) == pytest.approx(expected, rel=1e-5)
        if kind is torch.Tensor:  # with NumPy's on the other side
            mixed = dkl.kl(p[0], _make(name, other))
            assert isinstance(mixed, torch.Tensor)
            assert mixed.dtype == torch.float32
            assert float(mixed) == pytest.approx(expected, rel=1e-6)


def test_float32_beta_far_beyond_float32s_own_log_gamma() -> None:
    large, larger = np.float32(1e6), np.float32(1.01e6)
    got = dkl.kl(families.Beta(large, large), families.Beta(larger, larger))
    assert got.dtype == np.float32
    assert float(got) == pytest.approx(2.4834582e-5, rel=1e-6)


def test_four_ways_to_give_a_width_agree() -> None:
    q = families.Normal(0.25, 0.75)
    ways = (
        families.Normal(1.0, 2.0),
        families.Normal(1.0, variance=4.0),
        families.Normal(1.0, log_variance=math.log(4.0)),
        families.Normal(1.0, precision=0.25),
    )
    for p in ways:
        assert dkl.kl(p, q) == pytest.approx(dkl.kl(ways[0], q), rel=1e-14)
        assert dkl.kl(q, p) == pytest.approx(dkl.kl(q, ways[0]), rel=1e-14)
        assert p.var() == pytest.approx(4.0, rel=1e-15)


def test_an_extreme_log_variance_gives_numbers_and_gradients() -> None:
    for value in (-80.0, 80.0):
        loc = torch.tensor(0.5, requires_grad=True)
        log_variance = torch.tensor(value, requires_grad=True)
        kl = dkl.kl(families.Normal(loc, log_variance=log_variance), families.Normal(0.0, 1.0))
        kl.backward()
        assert kl.item() == pytest.approx(0.5 * (math.exp(value) - 1 - value + 0.25), rel=1e-6)
        assert float(log_variance.grad) == pytest.approx(0.5 * math.expm1(value), rel=1e-6)
        assert float(loc.grad) == 0.5


def test_gamma_by_its_scale() -> None:
    p, q = families.Gamma(2.0, scale=0.5), families.Gamma(2.0, scale=0.5 * (1 + 2**-30))
    assert dkl.kl(p, q) == pytest.approx(2.0 * 2.0**-61, rel=1e-8)
    assert dkl.kl(p, families.Gamma(3.0, 1.0)) == pytest.approx(
        dkl.kl(families.Gamma(2.0, 2.0), families.Gamma(3.0, 1.0)), rel=1e-14
    )
    with pytest.raises(TypeError, match="Gamma takes one of rate and scale"):
        families.Gamma(1, 1, scale=1)


def test_bad_values_are_named_also_under_jaxs_grad() -> None:
    with pytest.raises(ValueError, match=r"Normal: scale = -1 is not positive and finite"):
        jax.grad(lambda s: dkl.kl(families.Normal(0.0, s), families.Normal(0.0, 1.0)))(-1.0)
    made = jax.jit(jax.grad(lambda s: dkl.kl(families.Normal(0.0, s), families.Normal(0.0, 1.0))))(2.0)
    assert float(made) == pytest.approx(1.5, rel=1e-6)


def test_special_cases_are_measured_against_the_general_one() -> None:
    exponential, gamma = families.Exponential(2.0), families.Gamma(1.0, 2.0)
    assert dkl.kl(exponential, gamma) == 0
    assert dkl.kl(families.ChiSquared(3.0), families.Gamma(1.5, 0.5)) == 0
    assert dkl.kl(exponential, families.Gamma(2.0, 1.0)) == pytest.approx(
        float(dkl.kl(gamma, families.Gamma(2.0, 1.0))), rel=1e-15
    )
    assert dkl.Renyi(2.0)(families.Exponential(1.0), families.Gamma(1.5, 0.5)) > 0


def test_no_support_in_common_is_infinite_and_says_so() -> None:
    e = dkl.measure(families.Normal(0, 1), families.Gamma([1.0, 2.0], 1))
    assert e.value.tolist() == [math.inf, math.inf]
    assert e.reason == (
        "KL(P‖Q) is infinite: P lives on the interval (−∞, ∞), Q on the interval (0, ∞). "
        "Infinite in 2 of 2 pairs, the first at index 0."
    )
    assert dkl.measure(families.Beta(1, 1), families.Gamma(1, 1), dkl.reverse_kl).value == math.inf


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: families.Normal(0, [1.0, -2.0]), r"Normal: scale\[1\] = -2 is not positive and finite"),
        (lambda: families.Normal(math.nan, 1.0), r"Normal: loc = nan is not finite"),
        (lambda: families.Gamma([[1.0], [0.0]], 1.0), r"Gamma: shape\[1, 0\] = 0 is not positive and finite"),
        (lambda: families.Erlang(1.5, 1.0), r"Erlang: shape = 1.5 is not a positive whole number"),
        (lambda: families.Beta([1.0, 2.0], [1.0, 2.0, 3.0]), r"Beta: the shapes do not broadcast: a \(2,\), b \(3,\)"),
        (lambda: families.Dirichlet(1.0), r"Dirichlet: concentration of shape \(\) needs at least 1 axes"),
        (lambda: families.Dirichlet([1.0]), r"Dirichlet: concentration has a last axis of length 1"),
    ],
)
def test_bad_parameters_are_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_kinds_of_parameters_are_named() -> None:
    with pytest.raises(TypeError, match="takes one of scale, variance, log_variance and precision"):
        families.Normal(0, 1, variance=1)
    with pytest.raises(TypeError, match="Normal: loc must hold real numbers"):
        families.Normal("a", 1)
    with pytest.raises(TypeError, match="from torch and jax"):
        dkl.kl(families.Normal(torch.tensor(0.0)), families.Normal(jax.numpy.asarray(0.0)))


def test_entropies_of_distributions() -> None:
    p, q = families.Normal(0.0, 1.0), families.Normal(1.0, 2.0)
    assert dkl.entropy(p) == pytest.approx(0.5 * math.log(2 * math.pi * math.e), rel=1e-15)
    assert dkl.entropy(p, base=2) == pytest.approx(0.5 * math.log2(2 * math.pi * math.e), rel=1e-15)
    assert dkl.cross_entropy(p, q) == pytest.approx(float(dkl.entropy(p)) + float(dkl.kl(p, q)), rel=1e-15)
    expected, _ = integrate.quad(lambda x: -stats.norm.pdf(x) * stats.norm.logpdf(x, 1, 2), -12, 12)
    assert dkl.cross_entropy(p, q) == pytest.approx(expected, rel=1e-9)
    with pytest.raises(TypeError, match="no closed form of the cross-entropy of a Gamma under a Normal"):
        dkl.cross_entropy(p, families.Gamma(1.0, 1.0))


def test_an_axis_of_outcomes_is_refused() -> None:
    with pytest.raises(ValueError, match="axis = 0 does not apply: p and q are distributions"):
        dkl.kl(families.Normal(), families.Normal(), axis=0)
