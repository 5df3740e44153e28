"""Axes, broadcasting, layouts and batches, on every array library."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import dkl
from dkl.divergences import FAMILY, Divergence

from ..contract.backends import Backend

SOME = (dkl.kl, dkl.js, dkl.hellinger, dkl.Renyi(2), dkl.Renyi(math.inf), dkl.Alpha(0.3))


def _some(backend: Backend) -> tuple[Divergence, ...]:
    """One member of each way of summing; fewer for JAX, whose eager calls compile anew for every shape."""
    return (dkl.kl, dkl.Renyi(math.inf)) if backend.name == "jax" else SOME


def _rows(shape: tuple[int, ...], axis: int, seed: int) -> np.ndarray:
    """Random distributions along an axis, with some zeros."""
    rng = np.random.default_rng(seed)
    x = rng.gamma(0.7, size=shape) * (rng.random(shape) > 0.15) + 1e-6 * (np.arange(shape[axis]) == 0).reshape(
        [-1 if i == axis else 1 for i in range(len(shape))]
    )
    return x / x.sum(axis=axis, keepdims=True)


def _looped(d: Any, p: np.ndarray, q: np.ndarray, axis: int) -> np.ndarray:
    p, q = np.broadcast_arrays(p, q)
    p, q = np.moveaxis(p, axis, -1), np.moveaxis(q, axis, -1)
    out = np.empty(p.shape[:-1])
    for index in np.ndindex(out.shape):
        out[index] = d(p[index], q[index])
    return out


def _sizes(backend: Backend) -> tuple[int, int, int]:
    """All different where that is cheap; a cube for JAX, which compiles anew for every order of the axes."""
    return (4, 4, 4) if backend.name == "jax" else (3, 4, 5)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_each_axis_equals_a_loop(axis: int, backend: Backend) -> None:
    for d in _some(backend):
        p, q = _rows(_sizes(backend), axis % 3, 1), _rows(_sizes(backend), axis % 3, 2)
        got = backend.to_numpy(d(backend.asarray(p), backend.asarray(q), axis=axis))
        np.testing.assert_allclose(got, _looped(d, p, q, axis), rtol=1e-13)


def test_broadcasting_equals_a_loop(backend: Backend) -> None:
    for d in _some(backend):
        a, b, n = _sizes(backend)
        for shape_p, shape_q in (((a, 1, n), (b, n)), ((n,), (a, b, n)), ((a, b, n), (n,)), ((1, b, n), (a, 1, n))):
            p, q = _rows(shape_p, len(shape_p) - 1, 3), _rows(shape_q, len(shape_q) - 1, 4)
            got = backend.to_numpy(d(backend.asarray(p), backend.asarray(q)))
            np.testing.assert_allclose(got, _looped(d, p, q, -1), rtol=1e-13)
        # An axis counts from the end of the broadcast shape, or from its beginning, as in SciPy.
        p, q = _rows((n, b), 0, 5), _rows((a, n, b), 1, 6)
        got = backend.to_numpy(d(backend.asarray(p), backend.asarray(q), axis=1))
        np.testing.assert_allclose(got, _looped(d, p, q, 1), rtol=1e-13)


def test_several_axes_are_one_list_of_outcomes(backend: Backend) -> None:
    for d in _some(backend):
        shape = a, b, c = _sizes(backend)
        flat_p, flat_q = _rows((a, b * c), 1, 7), _rows((a, b * c), 1, 8)
        p, q = (backend.asarray(x.reshape(shape)) for x in (flat_p, flat_q))
        expected = d(flat_p, flat_q)
        for axis in ((1, 2), (-1, -2), (2, 1)):
            np.testing.assert_allclose(backend.to_numpy(d(p, q, axis=axis)), expected, rtol=1e-13)
        moved_p, moved_q = (
            backend.asarray(np.ascontiguousarray(np.moveaxis(x.reshape(shape), 0, 1))) for x in (flat_p, flat_q)
        )
        np.testing.assert_allclose(backend.to_numpy(d(moved_p, moved_q, axis=(0, 2))), expected, rtol=1e-13)
        whole_p, whole_q = (backend.asarray(x.reshape(shape) / a) for x in (flat_p, flat_q))
        whole = d(whole_p, whole_q, axis=None)
        assert tuple(whole.shape) == ()
        np.testing.assert_allclose(float(whole), float(d(flat_p.ravel() / a, flat_q.ravel() / a)), rtol=1e-13)


def test_pointwise_has_the_broadcast_shape_and_sums_to_the_value(backend: Backend) -> None:
    a, b, n = _sizes(backend)
    p, q = _rows((a, 1, n), 2, 1), _rows((b, n), 1, 2)
    for d in FAMILY:
        if not hasattr(d, "pointwise"):
            continue
        terms = backend.to_numpy(d.pointwise(backend.asarray(p), backend.asarray(q)))
        assert terms.shape == (a, b, n)
        np.testing.assert_allclose(terms.sum(axis=-1), d(p, q), rtol=1e-12)
        swapped = d.pointwise(backend.asarray(np.moveaxis(p, 2, 0)), backend.asarray(q.T[:, None, :]), axis=0)
        np.testing.assert_allclose(backend.to_numpy(swapped), np.moveaxis(terms, 2, 0), rtol=1e-13)


def test_batches_without_rows(backend: Backend) -> None:
    for d in _some(backend):
        p = backend.asarray(np.empty((0, 4)))
        for wrap in (dkl.Probs, dkl.LogProbs, dkl.Logits, dkl.Counts):
            result = d(wrap(p), wrap(p))
            assert tuple(result.shape) == (0,)
            assert backend.is_own(result)
        assert tuple(d(backend.asarray(np.empty((2, 4, 0))), backend.asarray(np.empty((1, 4, 0))), axis=1).shape) == (
            2,
            0,
        )
        assert tuple(dkl.entropy(p).shape) == (0,)
        assert tuple(dkl.cross_entropy(p, p).shape) == (0,)


def test_one_outcome_is_certain(backend: Backend) -> None:
    for d in _some(backend):
        one = backend.asarray(np.ones((3, 1)))
        np.testing.assert_array_equal(backend.to_numpy(d(one, one)), 0.0)


def test_integers_booleans_and_lists_become_the_default_float(backend: Backend) -> None:
    counts = np.array([[3, 1, 0], [2, 2, 4]])
    result = dkl.tv(dkl.Counts(backend.asarray(counts)), dkl.Counts(backend.asarray(counts[::-1].copy())))
    expected = "float32" if backend.name == "torch" else "float64"
    assert backend.dtype_name(result) == expected
    one_hot = dkl.kl(backend.asarray(np.array([True, False])), backend.asarray(np.array([0.5, 0.5])))
    assert float(one_hot) == pytest.approx(math.log(2), rel=1e-7)
    against_list = dkl.kl(backend.asarray(np.array([0.5, 0.5])), [0.25, 0.75])
    assert backend.is_own(against_list)
    assert float(against_list) == pytest.approx(float(dkl.kl([0.5, 0.5], [0.25, 0.75])), rel=1e-15)


def test_the_wider_dtype_wins(backend: Backend) -> None:
    p, q = np.array([0.5, 0.5]), np.array([0.25, 0.75])
    assert backend.dtype_name(dkl.kl(backend.asarray(p, "float32"), backend.asarray(q, "float64"))) == "float64"
    assert backend.dtype_name(dkl.kl(backend.asarray(p, "float32"), backend.asarray(q, "float32"))) == "float32"


def test_base_divides_by_its_logarithm(backend: Backend) -> None:
    p, q = backend.asarray(_rows((4, 5), 1, 1)), backend.asarray(_rows((4, 5), 1, 2))
    for d in (dkl.kl, dkl.js, dkl.Renyi(2)):
        bits, nats = (backend.to_numpy(d(p, q, base=base)) for base in (2, None))
        np.testing.assert_allclose(bits, nats / math.log(2), rtol=1e-15)
    p = dkl.Logits(p)
    np.testing.assert_allclose(
        backend.to_numpy(dkl.entropy(p, base=2)), backend.to_numpy(dkl.entropy(p)) / math.log(2), rtol=1e-15
    )


def test_a_million_outcomes_keep_their_digits() -> None:
    rng = np.random.default_rng(0)
    for dtype, bar in (("float64", 1e-12), ("float32", 1e-5)):
        p = rng.random(1_000_000)
        p = (p / p.sum()).astype(dtype)
        q = p.astype(float) * (1 + 1e-3 * rng.standard_normal(p.size))
        q = (q / q.sum()).astype(dtype)
        q64, p64 = q.astype(np.longdouble), p.astype(np.longdouble)
        u = (q64 - p64) / p64
        exact = float(np.sum(p64 * (u - np.log1p(u))))
        assert float(dkl.kl(dkl.Probs(p), dkl.Probs(q))) == pytest.approx(exact, rel=bar)
        logits, other = np.log(p), np.log(p) + np.float32(1e-3) * rng.standard_normal(p.size).astype(dtype)
        d = other.astype(np.longdouble) - logits.astype(np.longdouble)
        weights = np.exp(logits.astype(np.longdouble))
        weights /= weights.sum()
        d -= np.sum(weights * d)
        exact = float(np.log1p(np.sum(weights * (np.expm1(d) - d))))
        assert float(dkl.kl(dkl.Logits(logits), dkl.Logits(other))) == pytest.approx(exact, rel=bar)


# ------------------------------------------------------------------------------------------------- NumPy's own layouts


@pytest.mark.parametrize("d", SOME, ids=lambda d: d.name)
def test_read_only_strided_and_reversed_arrays(d: Divergence) -> None:
    p, q = _rows((6, 8), 1, 1), _rows((6, 8), 1, 2)
    expected = np.asarray(d(p, q))
    locked = p.copy()
    locked.setflags(write=False)
    np.testing.assert_array_equal(d(locked, q), expected)
    wide = np.zeros((6, 16))
    wide[:, ::2] = p
    np.testing.assert_array_equal(d(wide[:, ::2], q), expected)
    np.testing.assert_array_equal(d(p[::-1], q[::-1]), expected[::-1])
    np.testing.assert_array_equal(d(np.asfortranarray(p), q), expected)
    np.testing.assert_allclose(d(p[:, ::-1], q[:, ::-1]), expected, rtol=1e-13)
    np.testing.assert_array_equal(d(p.astype(">f8"), q), expected)
    np.testing.assert_array_equal(d(np.broadcast_to(p[0], (3, 8)), q[0]), np.repeat(expected[0], 3))


def test_inputs_are_left_as_they_were() -> None:
    p, q = _rows((6, 8), 1, 1), _rows((6, 8), 1, 2)
    before = p.copy(), q.copy()
    for d in SOME:
        for wrap in (dkl.Probs, dkl.Counts, dkl.Logits):
            d(wrap(p), wrap(q))
        d(dkl.Probs(p, normalize=True), q)
    np.testing.assert_array_equal(p, before[0])
    np.testing.assert_array_equal(q, before[1])


@pytest.mark.parametrize("d", SOME, ids=lambda d: d.name)
def test_numpy_gives_scalars_as_its_own_reductions_do(d: Divergence) -> None:
    assert isinstance(d([0.5, 0.5], [0.25, 0.75]), np.float64)
    assert isinstance(d(np.array([0.5, 0.5], dtype="f4"), np.array([0.25, 0.75], dtype="f4")), np.float32)
    assert isinstance(d([[0.5, 0.5]], [0.25, 0.75]), np.ndarray)


def test_normalize_divides_by_the_sum(backend: Backend) -> None:
    p, q = np.array([3.0, 1.0, 4.0]), np.array([0.25, 0.5, 0.25])
    got = dkl.kl(dkl.Probs(backend.asarray(p), normalize=True), backend.asarray(q))
    assert float(got) == pytest.approx(float(dkl.kl(p / 8, q)), rel=1e-15)
