"""The compiled loop over batches and Python's way with a single pair give what the array library gives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import dkl
from dkl import families
from dkl.kernels.formulas import Formula
from dkl.methods import closed_form

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


def test_a_formula_of_numbers_and_arrays() -> None:
    made = Formula(3, lambda known: known[0] * 2.0 + known[1] / known[2])
    assert made.of_numbers(1.0, 3.0, 2.0) == 3.5
    arrays = [np.arange(4.0), np.float64(3.0).reshape(()), np.array([[1.0], [2.0]])]
    np.testing.assert_array_equal(made.over(arrays, np.float64), arrays[0] * 2 + arrays[1] / arrays[2])
