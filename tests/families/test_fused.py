"""The compiled loop over batches and Python's way with a single pair give what the array library gives."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
import pytest
import torch

import dkl
from dkl import families
from dkl.methods import autograd, closed_form

RNG = np.random.default_rng(7)
N = 40_000
WIDTHS = {
    "scale": lambda x: x,
    "variance": lambda x: x * x,
    "log_variance": lambda x: 2 * np.log(x),
    "precision": lambda x: 1 / (x * x),
}
DIVERGENCES = (dkl.kl, dkl.reverse_kl, dkl.jeffreys, dkl.Tsallis(1.0), dkl.Alpha(0.0))


def _by_the_library(monkeypatch: pytest.MonkeyPatch, divergence: Any, p: Any, q: Any) -> Any:
    with monkeypatch.context() as patched:
        patched.setattr(closed_form, "_fused", lambda *arguments: None)
        return divergence(p, q)


def _widths(near: bool) -> tuple[np.ndarray, np.ndarray]:
    one = np.exp(RNG.uniform(-20, 20, N))
    return one, one * (1 + 1e-9 * RNG.normal(size=N)) if near else np.exp(RNG.uniform(-20, 20, N))


@pytest.mark.parametrize("near", [False, True])
@pytest.mark.parametrize("divergence", DIVERGENCES, ids=str)
@pytest.mark.parametrize("of_q", list(WIDTHS))
@pytest.mark.parametrize("of_p", list(WIDTHS))
def test_normals(monkeypatch: pytest.MonkeyPatch, of_p: str, of_q: str, divergence: Any, near: bool) -> None:
    one, other = _widths(near)
    p = families.Normal(RNG.normal(size=N), **{of_p: WIDTHS[of_p](one)})
    q = families.Normal(0.25, **{of_q: WIDTHS[of_q](other)})
    expected = _by_the_library(monkeypatch, divergence, p, q)
    # A logarithm of −40 to 40 does not know its difference of 2e-9 from another any better.
    rtol = 1e-4 if near and of_p != of_q and "log_variance" in (of_p, of_q) else 2e-14
    np.testing.assert_allclose(divergence(p, q), expected, rtol=rtol)
    for i in range(40):
        ends = p.loc[i], q.loc, p.parameters[of_p][i], q.parameters[of_q][i]
        single = divergence(families.Normal(ends[0], **{of_p: ends[2]}), families.Normal(ends[1], **{of_q: ends[3]}))
        assert isinstance(single, np.float64)
        assert single == pytest.approx(expected[i], rel=rtol)


@pytest.mark.parametrize("name", ["HalfNormal", "Rayleigh", "Maxwell", "LogNormal"])
def test_the_others(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    cls = getattr(families, name)
    one, other = _widths(near=False)
    p, q = (cls(0.5, x) if name == "LogNormal" else cls(x) for x in (one, other))
    expected = _by_the_library(monkeypatch, dkl.kl, p, q)
    np.testing.assert_allclose(dkl.kl(p, q), expected, rtol=2e-14)


def test_layouts_dtypes_and_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    loc = RNG.normal(size=(N, 2)).astype(np.float32)[:, 0].reshape(200, 200)
    q = families.Normal(np.float32(0.5), np.exp(RNG.normal(size=200)).astype(np.float32))
    p = families.Normal(loc, np.float32(2.0))
    expected = _by_the_library(monkeypatch, dkl.kl, p, q)
    got = dkl.kl(p, q)
    assert got.dtype == np.float32
    assert got.shape == (200, 200)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    turned = families.Normal(loc.T, np.float32(2.0))
    np.testing.assert_allclose(dkl.kl(turned, q), _by_the_library(monkeypatch, dkl.kl, turned, q), rtol=1e-6)
    tensors = [families.Normal(torch.tensor(loc), 2.0), families.Normal(0.5, torch.tensor(q.given["scale"]))]
    made = dkl.kl(*tensors)
    assert isinstance(made, torch.Tensor)
    assert made.dtype == torch.float32
    np.testing.assert_allclose(made.numpy(), expected, rtol=1e-6)
    with_gradient = families.Normal(torch.tensor(loc, requires_grad=True), 2.0)
    assert dkl.kl(with_gradient, tensors[1]).requires_grad


def test_the_ends_of_the_range() -> None:
    tiny, huge = families.Normal(0.0, 1e-150), families.Normal(0.0, 1e150)
    assert dkl.kl(huge, tiny) == math.inf
    assert dkl.kl(tiny, huge) == pytest.approx(300 * math.log(10) - 0.5, rel=1e-12)
    assert dkl.kl(families.Normal(1e300, 1.0), families.Normal(-1e300, 1.0)) == math.inf


def test_a_single_pair_of_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = [families.Gamma(torch.tensor(x), 2.0) for x in (1.5, 2.5)]
    expected = _by_the_library(monkeypatch, dkl.kl, *pair)
    got = dkl.kl(*pair)
    assert got.dtype == torch.float32
    assert float(got) == pytest.approx(float(expected), rel=1e-6)


def _widths_of(n: int) -> np.ndarray:
    return np.exp(RNG.uniform(-2, 2, n))


KL, ANY = (dkl.kl,), (dkl.kl, dkl.Renyi(0.5))
#: Makers of a family's members from widths, and what of them is compiled: KL of some has a rule of its own.
FUSED: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "log-variance": (lambda x: families.Normal(x - 1, log_variance=x), ANY),
    "gamma": (lambda x: families.Gamma(x, x.flip(0) if hasattr(x, "flip") else x[::-1]), ANY),
    "inverse gamma": (families.InverseGamma, ANY),
    "exponential": (families.Exponential, ANY),
    "inverse Gaussian": (lambda x: families.InverseGaussian(x, 2.0), ANY),
    "Laplace": (lambda x: families.Laplace(0.5, x), ANY[1:]),
    "Pareto": (lambda x: families.Pareto(2.0, x), ANY[1:]),
    "Poisson": (families.Poisson, ANY),
    "geometric": (lambda x: families.Geometric(x / 8), KL),
    "binomial": (lambda x: families.Binomial(7, logits=x - 2), KL),
    "negative binomial": (lambda x: families.NegativeBinomial(2.5, x / 8), KL),
}


@pytest.mark.parametrize("name", list(FUSED))
def test_every_fused_family_and_its_gradient(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(closed_form, "LEAST", 1)
    monkeypatch.setattr(autograd, "LEAST", 1)
    make, divergences = FUSED[name]
    one, other = _widths_of(50), _widths_of(50)
    for divergence in divergences:
        expected = _by_the_library(monkeypatch, divergence, make(one), make(other))
        np.testing.assert_allclose(divergence(make(one), make(other)), expected, rtol=1e-12)
        gradients = []
        for measure in (divergence, lambda p, q, d=divergence: _by_the_library(monkeypatch, d, p, q)):
            inputs = [torch.tensor(x, requires_grad=True) for x in (one, other)]
            value = measure(make(inputs[0]), make(inputs[1]))
            assert ("Places" in str(value.grad_fn)) is (measure is divergence)
            gradients.append(torch.autograd.grad((value * torch.arange(50)).sum(), inputs))
        for got, plain in zip(*gradients, strict=True):
            # PyTorch's own derivative of ψ, which the library's way of gamma takes, has ten digits.
            torch.testing.assert_close(got, plain, rtol=1e-7 if "gamma" in name else 1e-10, atol=1e-10)


@pytest.mark.parametrize("divergence", [dkl.kl, dkl.Renyi(0.5)], ids=str)
def test_a_second_derivative_is_taken_by_the_library(monkeypatch: pytest.MonkeyPatch, divergence: Any) -> None:
    monkeypatch.setattr(closed_form, "LEAST", 1)
    monkeypatch.setattr(autograd, "LEAST", 1)
    loc, scale = (torch.tensor(x, requires_grad=True, dtype=torch.float64) for x in ([0.5, -1.0], [2.0, 0.75]))

    def value(loc: Any, scale: Any) -> Any:
        return divergence(families.Normal(loc, scale), families.Normal(0.0, 1.0))

    assert torch.autograd.gradcheck(value, (loc, scale))
    assert torch.autograd.gradgradcheck(value, (loc, scale))


@pytest.mark.parametrize("shape", [(40, 1), (1,), ()])
def test_the_gradient_of_what_many_pairs_share_is_the_sum(monkeypatch: pytest.MonkeyPatch, shape: Any) -> None:
    monkeypatch.setattr(closed_form, "LEAST", 1)
    monkeypatch.setattr(autograd, "LEAST", 1)
    rng = np.random.default_rng(3)
    loc, scale = rng.normal(size=(40, 30)), np.exp(rng.normal(size=shape))
    passed = rng.normal(size=(40, 30))
    inputs = [torch.tensor(x, dtype=torch.float32, requires_grad=True) for x in (loc, scale)]
    dkl.kl(families.Normal(inputs[0], inputs[1]), families.Normal(0.0, 1.0)).backward(torch.tensor(passed).float())
    by_scale = passed * (scale - 1 / scale)
    axes = tuple(i for i in range(2) if i < 2 - len(shape) or shape[i - 2 + len(shape)] == 1)
    expected = by_scale.sum(axis=axes).reshape(shape)
    np.testing.assert_allclose(inputs[1].grad, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(inputs[0].grad, passed * loc, rtol=1e-5)
    assert inputs[0].grad is not None
    assert inputs[0].grad.dtype == torch.float32


def test_no_gradient_is_nan_where_the_value_leaves_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_form, "LEAST", 1)
    monkeypatch.setattr(autograd, "LEAST", 1)
    scale = torch.tensor([1e200, 1e-200, 1.0], dtype=torch.float64, requires_grad=True)
    other = torch.tensor([1e-200, 1e200, 2.0], dtype=torch.float64)
    value = dkl.kl(families.Normal(0.0, scale), families.Normal(0.0, other))
    value.sum().backward()
    assert value[0] == math.inf
    assert scale.grad is not None
    np.testing.assert_allclose(scale.grad, [math.inf, -1e200, 0.25 - 1.0], rtol=1e-12)


COMPILED = {
    "normal": lambda x: (families.Normal(x, x + 1), families.Normal(0.0, 1.0)),
    "gamma": lambda x: (families.Gamma(x + 1, 2.0), families.Gamma(1.0, x + 1)),
    "Poisson": lambda x: (families.Poisson(x + 1), families.Poisson(2.0)),
    "Dirichlet": lambda x: (families.Dirichlet(x + 1), families.Dirichlet([1.0, 2.0, 3.0])),
    "multivariate": lambda x: (
        families.MultivariateNormal(x, precision=[[2.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        families.MultivariateNormal([0.0, 0.0, 0.0], cholesky=[[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]),
    ),
}


@pytest.mark.parametrize("divergence", [dkl.kl, dkl.Renyi(0.5)], ids=str)
@pytest.mark.parametrize("name", list(COMPILED))
def test_one_graph_for_torch_compile(name: str, divergence: Any) -> None:
    def value(x: Any) -> Any:
        return divergence(*COMPILED[name](x))

    x = torch.tensor([0.1, 0.5, 2.0])
    expected = value(x)
    torch.compiler.reset()
    got = torch.compile(value, fullgraph=True, backend="eager")(x)
    assert got.dtype == expected.dtype
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("name", list(COMPILED))
def test_jit(name: str) -> None:
    def value(x: Any) -> Any:
        return dkl.Renyi(0.5)(*COMPILED[name](x))

    x = jax.numpy.array([0.1, 0.5, 2.0])
    np.testing.assert_allclose(jax.jit(value)(x), value(x), rtol=1e-5)
