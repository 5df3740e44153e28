"""Entropy, cross-entropy, smoothing and Wasserstein distance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf
from scipy import stats

import dkl

from ..contract.backends import Backend
from ..contract.samples import TOTAL, hand_in, sample
from ..contract.strategies import pairs

inf = math.inf

# ------------------------------------------------------------------------------------------------------------ entropies


@pytest.mark.parametrize("kind", ["probs", "logits", "counts"])
def test_entropies_in_every_representation(kind: str, backend: Backend) -> None:
    s = sample()
    p, q = s.p / s.p.sum(axis=-1, keepdims=True), s.q / s.q.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(p > 0, p * np.log(p), 0.0).sum(axis=-1)
        cross = -np.where(p > 0, p * np.log(q), 0.0).sum(axis=-1)
    for dtype, rtol in (("float64", 1e-12), ("float32", 1e-5)):
        left, right = (hand_in(kind, x, backend, dtype) for x in (s.p, s.q))
        got = dkl.entropy(left)
        assert backend.is_own(got)
        assert backend.dtype_name(got) == dtype
        # Log-probabilities carry an absolute error of ε.
        np.testing.assert_allclose(backend.to_numpy(got), entropy, rtol=rtol, atol=rtol / 10)
        np.testing.assert_allclose(backend.to_numpy(dkl.cross_entropy(left, right)), cross, rtol=rtol, atol=rtol / 10)


def test_entropies_keep_their_digits_where_one_outcome_is_nearly_certain() -> None:
    with mp.workdps(50):
        for gap in (40.0, 100.0, 300.0):
            a = [0.0, gap, -3.0]
            weights = [mp.exp(mpf(x) - mpf(gap)) for x in a]
            p = [w / mp.fsum(weights) for w in weights]
            exact = float(-mp.fsum(x * mp.log(x) for x in p))
            assert float(dkl.entropy(dkl.Logits(a))) == pytest.approx(exact, rel=1e-12)
            exact = float(-mp.log(p[1]))
            assert float(dkl.cross_entropy([0.0, 1.0, 0.0], dkl.Logits(a))) == pytest.approx(exact, rel=1e-12)


def test_entropies_at_their_limits() -> None:
    assert float(dkl.entropy([0.25] * 4, base=2)) == 2.0
    assert float(dkl.entropy([0.0, 1.0])) == 0.0
    assert float(dkl.entropy(dkl.Logits([0.0, -inf]))) == 0.0
    assert float(dkl.cross_entropy([0.5, 0.5], [1.0, 0.0])) == inf
    assert float(dkl.cross_entropy([1.0, 0.0], [0.5, 0.5], base=2)) == 1.0
    assert float(dkl.cross_entropy([0.0, 1.0], [0.0, 1.0])) == 0.0
    assert math.copysign(1.0, float(dkl.entropy([1.0]))) == 1.0


@given(pair=pairs())
def test_entropy_agrees_with_scipy(pair: Any) -> None:
    p, _ = pair
    assert float(dkl.entropy(p)) == pytest.approx(float(stats.entropy(p)), rel=1e-12, abs=1e-15)


@given(pair=pairs(positive=True), w=st.floats(0, 1))
def test_entropy_is_concave_and_cross_entropy_linear_in_p(pair: Any, w: float) -> None:
    p, q = pair
    mixture = w * p + (1 - w) * q
    between = w * float(dkl.entropy(p)) + (1 - w) * float(dkl.entropy(q))
    assert float(dkl.entropy(mixture)) >= between - 1e-13
    linear = w * float(dkl.cross_entropy(p, q)) + (1 - w) * float(dkl.cross_entropy(q, q))
    assert float(dkl.cross_entropy(mixture, q)) == pytest.approx(linear, rel=1e-12)


def test_entropies_along_axes() -> None:
    p = np.random.default_rng(1).dirichlet(np.ones(6), size=4)
    np.testing.assert_allclose(dkl.entropy(p.T, axis=0), dkl.entropy(p), rtol=1e-14)
    np.testing.assert_allclose(dkl.entropy(p.reshape(4, 2, 3), axis=(1, 2)), dkl.entropy(p), rtol=1e-14)
    np.testing.assert_allclose(dkl.entropy(p / 4, axis=None), dkl.entropy((p / 4).ravel()), rtol=1e-14)
    np.testing.assert_allclose(
        dkl.cross_entropy(p[:, None], p), [[dkl.cross_entropy(x, y) for y in p] for x in p], rtol=1e-13
    )


# ------------------------------------------------------------------------------------------------------------ smoothing


@given(pair=pairs(), epsilon=st.floats(1e-6, 1.0))
def test_smoothing_mixes_with_the_uniform_and_says_so(pair: Any, epsilon: float) -> None:
    p, q = pair
    s = dkl.smooth(q, epsilon)
    np.testing.assert_allclose(s.array, (1 - epsilon) * q + epsilon / q.size, rtol=1e-14)
    assert s.epsilon == epsilon
    assert s.lifted == (q == 0).sum()
    assert float(s.moved) == pytest.approx(float(dkl.tv(q, s)), rel=1e-12, abs=1e-16)
    assert 0 <= float(s.moved) <= epsilon * (1 - 1 / q.size) * (1 + 1e-9) + 1e-16
    assert math.isfinite(dkl.kl(p, s))
    # The mixture is never further than the two ends, by convexity, and bounded by the uniform's share.
    assert float(dkl.kl(p, s)) <= math.log(q.size / epsilon) + 1e-12


def test_nothing_is_moved_by_epsilon_0() -> None:
    s = dkl.smooth([0.8, 0.2, 0.0], 0.0)
    assert (s.array.tolist(), int(s.lifted), float(s.moved)) == ([0.8, 0.2, 0.0], 0, 0.0)
    assert dkl.kl([0.7, 0.2, 0.1], s) == inf


@pytest.mark.parametrize("kind", ["probs", "log_probs", "logits"])
def test_smoothing_every_representation(kind: str, backend: Backend) -> None:
    counts = sample().p
    s = dkl.smooth(hand_in(kind, counts, backend, "float64"), 0.1)
    assert backend.is_own(s.array)
    p = counts / counts.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(backend.to_numpy(s.array), 0.9 * p + 0.1 / 6, rtol=1e-12)
    np.testing.assert_array_equal(backend.to_numpy(s.lifted), (counts == 0).sum(axis=-1))
    np.testing.assert_allclose(
        backend.to_numpy(s.moved), 0.5 * np.abs(0.1 / 6 - 0.1 * p).sum(axis=-1), rtol=1e-11, atol=1e-15
    )


def test_counts_are_smoothed_by_adding(backend: Backend) -> None:
    counts = np.array([[3, 0, 1], [0, 0, 5]])
    s = dkl.smooth(dkl.Counts(backend.asarray(counts.astype("float64"))), 0.5)
    expected = (counts + 0.5) / (counts.sum(axis=-1, keepdims=True) + 1.5)
    np.testing.assert_allclose(backend.to_numpy(s.array), expected, rtol=1e-14)
    np.testing.assert_array_equal(backend.to_numpy(s.lifted), [1, 2])
    np.testing.assert_allclose(
        backend.to_numpy(s.moved),
        np.abs(expected - counts / counts.sum(axis=-1, keepdims=True)).sum(axis=-1) / 2,
        rtol=1e-13,
    )
    laplace = dkl.smooth(dkl.Counts([3, 0, 1]), 1)
    np.testing.assert_allclose(laplace.array, [4 / 7, 1 / 7, 2 / 7], rtol=1e-15)
    assert float(dkl.smooth(dkl.Counts([3, 1]), 0).moved) == 0


def test_smoothing_integer_counts_in_every_library(backend: Backend) -> None:
    s = dkl.smooth(dkl.Counts(backend.asarray(np.array([3, 0, 1]))), 1)
    np.testing.assert_allclose(backend.to_numpy(s.array), [4 / 7, 1 / 7, 2 / 7], rtol=1e-6)


def test_smoothing_along_another_axis() -> None:
    p = np.array([[0.8, 0.5], [0.2, 0.5], [0.0, 0.0]])
    s = dkl.smooth(p, 0.3, axis=0)
    np.testing.assert_allclose(s.array, 0.7 * p + 0.1, rtol=1e-15)
    assert s.lifted.tolist() == [1, 1]
    counts = dkl.smooth(dkl.Counts(p * 10), 1.0, axis=0)
    np.testing.assert_allclose(counts.array, (p * 10 + 1) / 13, rtol=1e-15)


def test_a_smoothed_p_is_usable_as_probabilities() -> None:
    s = dkl.smooth([0.8, 0.2, 0.0], 0.03)
    assert isinstance(s, dkl.Probs)
    assert float(dkl.kl([0.7, 0.2, 0.1], s)) == pytest.approx(float(dkl.kl([0.7, 0.2, 0.1], s.array)))
    assert "epsilon=0.03, lifted=1, moved=0.014" in repr(s)


# ---------------------------------------------------------------------------------------------------------- wasserstein


@given(pair=pairs(min_size=1), seed=st.integers(0, 2**32 - 1))
def test_wasserstein_agrees_with_scipy_on_a_line(pair: Any, seed: int) -> None:
    p, q = pair
    points = np.random.default_rng(seed).normal(size=p.size).round(1)  # in any order, with ties
    expected = stats.wasserstein_distance(points, points, p, q)
    assert float(dkl.wasserstein(p, q, points=points)) == pytest.approx(expected, rel=1e-11, abs=1e-14)
    grid = stats.wasserstein_distance(np.arange(p.size), np.arange(p.size), p, q)
    assert float(dkl.wasserstein(p, q)) == pytest.approx(grid, rel=1e-11, abs=1e-14)


def test_wasserstein_in_batches(backend: Backend) -> None:
    p, q = sample().p / TOTAL, sample().q / TOTAL
    points = np.random.default_rng(3).normal(size=p.shape[1])
    expected = [stats.wasserstein_distance(points, points, x, y) for x, y in zip(p, q, strict=True)]
    got = dkl.wasserstein(backend.asarray(p), backend.asarray(q), points=points)
    assert backend.is_own(got)
    np.testing.assert_allclose(backend.to_numpy(got), expected, rtol=1e-12, atol=1e-15)
    by_axis = dkl.wasserstein(
        backend.asarray(p.T.copy()), backend.asarray(q.T.copy()), points=backend.asarray(points), axis=0
    )
    np.testing.assert_allclose(backend.to_numpy(by_axis), expected, rtol=1e-12, atol=1e-15)
    single = dkl.wasserstein(backend.asarray(p, "float32"), backend.asarray(q, "float32"), points=points)
    assert backend.dtype_name(single) == "float32"
    np.testing.assert_allclose(backend.to_numpy(single), expected, rtol=1e-5, atol=1e-6)
    logits = dkl.wasserstein(hand_in("logits", sample().p, backend, "float64"), backend.asarray(q), points=points)
    np.testing.assert_allclose(backend.to_numpy(logits), expected, rtol=1e-11, atol=1e-14)


def test_wasserstein_broadcasts() -> None:
    p, q = sample().p[:5] / TOTAL, sample().q[:4] / TOTAL
    table = dkl.wasserstein(p[:, None], q[None])
    np.testing.assert_allclose(table, [[dkl.wasserstein(x, y) for y in q] for x in p], rtol=1e-14)


def test_wasserstein_between_samples_and_between_different_points() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=20), rng.normal(1.0, size=33)
    assert dkl.wasserstein(dkl.Samples(x), dkl.Samples(y)) == pytest.approx(stats.wasserstein_distance(x, y), rel=1e-13)
    p, q = rng.dirichlet(np.ones(20)), rng.dirichlet(np.ones(33))
    got = dkl.wasserstein(p, q, points=x, q_points=y)
    assert got == pytest.approx(stats.wasserstein_distance(x, y, p, q), rel=1e-13)


def test_wasserstein_in_space() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(6, 2)), rng.normal(size=(5, 2))
    p, q = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(5))
    assert dkl.wasserstein(p, q, points=x, q_points=y) == pytest.approx(
        stats.wasserstein_distance_nd(x, y, p, q), rel=1e-9
    )
    r = rng.dirichlet(np.ones(6))
    assert dkl.wasserstein(p, r, points=x) == pytest.approx(stats.wasserstein_distance_nd(x, x, p, r), rel=1e-9)
    line = np.stack([np.arange(6.0), np.zeros(6)], axis=-1)
    assert dkl.wasserstein(p, r, points=line) == pytest.approx(float(dkl.wasserstein(p, r)), rel=1e-9)
    moved = dkl.wasserstein(dkl.Samples(x), dkl.Samples(x + np.array([3.0, 4.0])))
    assert moved == pytest.approx(5.0, rel=1e-9)


@given(pair=pairs(), shift=st.floats(-5, 5), scale=st.floats(0.1, 10))
def test_wasserstein_scales_with_its_points(pair: Any, shift: float, scale: float) -> None:
    p, q = pair
    points = np.arange(p.size) * scale + shift
    assert float(dkl.wasserstein(p, q, points=points)) == pytest.approx(
        scale * float(dkl.wasserstein(p, q)), rel=1e-9, abs=1e-12
    )
    assert float(dkl.wasserstein(p, q)) == float(dkl.wasserstein(q, p))
    assert float(dkl.wasserstein(p, p)) == 0
    # |F − G| lies between TV times the smallest and times the largest distance of two outcomes.
    tv = float(dkl.tv(p, q))
    assert tv * (1 - 1e-9) - 1e-15 <= float(dkl.wasserstein(p, q)) <= tv * (p.size - 1) * (1 + 1e-9) + 1e-15
