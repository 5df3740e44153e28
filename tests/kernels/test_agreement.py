"""The loops against the array library: over shapes, strides, dtypes, zeros, infinities and every representation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import dkl
from dkl.divergences import FAMILY, Divergence
from dkl.kernels import sums, threads
from dkl.methods import fused

from .conftest import by_the_library

BAR = {"float64": 1e-12, "float32": 1e-5}
#: One of each structure that a trace can have.
STRUCTURES: tuple[Divergence, ...] = (
    *FAMILY,
    dkl.JS(0.3), dkl.SkewKL(0.1), dkl.Renyi(0), dkl.Renyi(0.3), dkl.Renyi(3.5), dkl.Tsallis(0.7), dkl.Alpha(-1.5),
)  # fmt: skip
KINDS = {
    "probabilities": (dkl.Probs, dkl.Probs),
    "log-probabilities": (dkl.LogProbs, dkl.LogProbs),
    "logits": (dkl.Logits, dkl.Logits),
    "probabilities and logits": (dkl.Probs, dkl.Logits),
    "logits and log-probabilities": (dkl.Logits, dkl.LogProbs),
    "counts": (dkl.Counts, dkl.Counts),
}
Plainly = Callable[[Callable[[], Any]], Any]


def _distributions(rng: np.random.Generator, shape: tuple[int, ...], axis: int, sparse: float, scale: float) -> Any:
    """Pairs of probabilities, some rows equal, some of all mass on one outcome, with zeros and subnormal numbers."""
    a = rng.normal(size=shape) * scale
    b = a + rng.normal(size=shape) * rng.choice([0.0, 1e-4, 1.0, 3.0], size=_kept(shape, axis))
    sides = []
    for x in (a, b):
        x[rng.random(shape) < sparse] = -np.inf
        x[rng.random(shape) < sparse / 4] = -720.0
        x[tuple(slice(1) if i == axis % len(shape) else slice(None) for i in range(len(shape)))] = 0.5
        alone = rng.random(_kept(shape, axis)) < sparse / 4
        x = np.where(alone, np.where(np.arange(shape[axis]).reshape(_along(shape, axis)) == 0, 0.0, -np.inf), x)
        p = np.exp(x - x.max(axis=axis, keepdims=True))
        sides.append(p / p.sum(axis=axis, keepdims=True))
    return sides


def _kept(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return tuple(1 if i == axis % len(shape) else n for i, n in enumerate(shape))


def _along(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return tuple(n if i == axis % len(shape) else 1 for i, n in enumerate(shape))


def _handed_in(kinds: Any, p: Any, q: Any, dtype: str, axis: int) -> tuple[Any, Any]:
    out = []
    for kind, x in zip(kinds, (p, q), strict=True):
        with np.errstate(divide="ignore"):
            if kind is dkl.Counts:
                x = np.floor(x * 1000) + (np.arange(x.shape[axis]).reshape(_along(x.shape, axis)) == 0)
            elif kind is dkl.Logits:
                x = np.log(x) + 3.0
            elif kind is dkl.LogProbs:
                x = np.log(x)
        out.append(kind(x.astype(dtype)))
    return out[0], out[1]


def _assert_agree(member: Divergence, p: Any, q: Any, axis: int, plainly: Plainly, dtype: str, kinds: str) -> None:
    assert fused.total(member, p, q, axis) is not None
    got = member(p, q, axis=axis)
    expected = plainly(lambda: member(p, q, axis=axis))
    assert got.dtype == expected.dtype
    assert np.shape(got) == np.shape(expected)
    assert not np.isnan(got).any()
    assert (np.asarray(got) >= 0).all()
    # Two roundings of the entries' logarithms move a KL of K by ε·√K times what an order magnifies.
    eps = float(np.finfo(got.dtype if kinds != "probabilities and logits" else "float64").eps)
    moved = 0.0 if kinds in ("probabilities", "counts") else 2000 * eps**1.5
    np.testing.assert_allclose(got, expected, rtol=2 * BAR[dtype], atol=moved, err_msg=member.name)


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "contiguous": np.ascontiguousarray,
    "fortran": np.asfortranarray,
    "every other": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "backwards": lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1],
    "read-only": lambda x: _locked(x.copy()),
    "unaligned": lambda x: _shifted(x),
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
}


def _locked(x: np.ndarray) -> np.ndarray:
    x.flags.writeable = False
    return x


def _shifted(x: np.ndarray) -> np.ndarray:
    memory = np.empty(x.nbytes + 1, np.uint8)[1:]
    moved = memory.view(x.dtype).reshape(x.shape)
    moved[...] = x
    return moved


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("dtype", list(BAR))
@pytest.mark.parametrize("kinds", list(KINDS))
def test_every_member_on_short_and_long_rows(kinds: str, dtype: str, plainly: Plainly) -> None:
    rng = np.random.default_rng(5)
    for shape, sparse in (((40, 7), 0.0), ((40, 7), 0.4), ((5, 700), 0.0), ((5, 700), 0.2)):
        p, q = _handed_in(KINDS[kinds], *_distributions(rng, shape, -1, sparse, 2.0), dtype, -1)
        for member in STRUCTURES if kinds in ("probabilities", "logits") else (dkl.kl, dkl.js, dkl.Alpha(-1.5)):
            _assert_agree(member, p, q, -1, plainly, dtype, kinds)


@given(
    st.integers(1, 5), st.integers(1, 300), st.integers(1, 40), st.sampled_from([0, 1, -1]),
    st.sampled_from([0.0, 0.3]), st.sampled_from([0.1, 2.0, 30.0]), st.sampled_from(list(LAYOUTS)),
    st.sampled_from([dkl.kl, dkl.reverse_kl, dkl.js, dkl.tv]), st.sampled_from(["probabilities", "logits"]),
    st.sampled_from(list(BAR)), st.integers(0, 1000),
)  # fmt: skip
@example(3, 260, 33, 1, 0.3, 2.0, "fortran", dkl.kl, "logits", "float32", 1)
def test_any_shape_along_any_axis(
    outer: int,
    middle: int,
    inner: int,
    axis: int,
    sparse: float,
    scale: float,
    layout: str,
    member: Divergence,
    kinds: str,
    dtype: str,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    pair = _distributions(rng, (outer, middle, inner), axis, sparse, scale)
    p, q = _handed_in(KINDS[kinds], *pair, dtype, axis)
    p, q = (type(side)(LAYOUTS[layout](side.array)) for side in (p, q))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "LEAST", 0)
        _assert_agree(member, p, q, axis, by_the_library, dtype, kinds)


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("kinds", ["probabilities", "logits"])
def test_broadcasting_and_joined_axes(kinds: str, plainly: Plainly) -> None:
    rng = np.random.default_rng(6)
    p, q = _handed_in(KINDS[kinds], *_distributions(rng, (6, 5, 50), -1, 0.1, 2.0), "float64", -1)
    one = type(q)(q.array[0, 0])
    np.testing.assert_allclose(dkl.kl(p, one), plainly(lambda: dkl.kl(p, one)), rtol=1e-12)
    np.testing.assert_allclose(dkl.kl(one, p), plainly(lambda: dkl.kl(one, p)), rtol=1e-12)
    turned = type(q)(q.array.transpose(1, 0, 2))
    apart = type(p)(p.array[:, :, None, :]), type(q)(turned.array[None, :, :5, :])
    np.testing.assert_allclose(dkl.js(*apart), plainly(lambda: dkl.js(*apart)), rtol=1e-12, atol=1e-15)
    if kinds == "logits":
        for axis in (None, (0, 2), (2, 1)):
            np.testing.assert_allclose(
                dkl.kl(p, q, axis=axis), plainly(lambda axis=axis: dkl.kl(p, q, axis=axis)), rtol=1e-12
            )


@pytest.mark.usefixtures("loops")
def test_leading_axes_that_cannot_be_joined(monkeypatch: pytest.MonkeyPatch, plainly: Plainly) -> None:
    rng = np.random.default_rng(7)
    p, q = _distributions(rng, (4, 3, 5, 64), -1, 0.0, 1.0)
    p, q = p[:, :, ::-2], q[::-1, :, :3]
    for most in (1, 1024):
        monkeypatch.setattr("dkl.kernels.strides._MOST_BLOCKS", most)
        np.testing.assert_allclose(dkl.kl(p, q), plainly(lambda: dkl.kl(p, q)), rtol=1e-12)


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("kinds", ["probabilities", "log-probabilities", "logits"])
@pytest.mark.parametrize("shape", [(3, 4000), (700, 4), (3000, 2)])
def test_rows_cut_into_parts_give_the_same(
    shape: tuple[int, int], kinds: str, monkeypatch: pytest.MonkeyPatch, plainly: Plainly
) -> None:
    rng = np.random.default_rng(8)
    for sparse in (0.0, 0.2):
        p, q = _handed_in(KINDS[kinds], *_distributions(rng, shape, -1, sparse, 2.0), "float32", -1)
        whole = [member(p, q) for member in (dkl.kl, dkl.js)]
        monkeypatch.setattr(sums, "_PIECE", 512)
        for member, before in zip((dkl.kl, dkl.js), whole, strict=True):
            np.testing.assert_allclose(member(p, q), before, rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(member(p, q), plainly(lambda m=member, p=p, q=q: m(p, q)), rtol=1e-5, atol=1e-9)
        monkeypatch.undo()
        monkeypatch.setattr(fused, "LEAST", 0)


@pytest.mark.parametrize("kinds", ["probabilities", "logits"])
def test_the_number_of_threads_changes_nothing(kinds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(9)
    monkeypatch.setattr(sums, "_PIECE", 1 << 12)
    for shape in ((64, 700), (6, 30_000), (9000, 6)):
        p, q = _handed_in(KINDS[kinds], *_distributions(rng, shape, -1, 0.0, 2.0), "float32", -1)
        found = []
        for count in (1, 2, 3, 7):
            monkeypatch.setattr(threads, "number", lambda count=count: count)
            threads._pool.cache_clear()
            found.append([member(p, q) for member in (dkl.kl, dkl.js, dkl.Renyi(0.3))])
        for other in found[1:]:
            np.testing.assert_array_equal(other, found[0])
    threads._pool.cache_clear()


@pytest.mark.parametrize(("value", "threads_used"), [("3", 3), ("1", 1)])
def test_the_number_of_threads_can_be_chosen(value: str, threads_used: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DKL_NUM_THREADS", value)
    threads.number.cache_clear()
    assert threads.number() == threads_used
    threads.number.cache_clear()


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_a_number_of_threads_that_is_none_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DKL_NUM_THREADS", value)
    threads.number.cache_clear()
    with pytest.raises(ValueError, match=r"DKL_NUM_THREADS = .* give a whole number of at least 1"):
        threads.number()
    threads.number.cache_clear()


P = np.full((3, 40), 1 / 40)


def _with(x: np.ndarray, at: tuple[int, ...], value: float) -> np.ndarray:
    x = x.copy()
    x[at] = value
    return x


WRONG = {
    "negative": (dkl.Probs(_with(P, (1, 7), -0.1)), dkl.Probs(P)),
    "nan": (dkl.Probs(P), dkl.Probs(_with(P, (2, 3), np.nan))),
    "infinite": (dkl.Probs(P), dkl.Probs(_with(P, (2, 3), np.inf))),
    "sum": (dkl.Probs(P), dkl.Probs(_with(P, (1, 0), 0.5))),
    "sum below": (dkl.Probs(0.9 * P), dkl.Probs(P)),
    "log sum": (dkl.LogProbs(np.log(P)), dkl.LogProbs(np.log(P) + 0.1)),
    "log nan": (dkl.LogProbs(_with(np.log(P), (0, 1), np.nan)), dkl.LogProbs(np.log(P))),
    "log infinite": (dkl.LogProbs(_with(np.log(P), (0, 1), np.inf)), dkl.LogProbs(np.log(P))),
    "logit nan": (dkl.Logits(P), dkl.Logits(_with(P, (2, 39), np.nan))),
    "logit infinite": (dkl.Logits(_with(P, (2, 39), np.inf)), dkl.Logits(P)),
    "no logit": (dkl.Logits(_with(P, (1,), -np.inf)), dkl.Logits(P)),
    "mixed negative": (dkl.Probs(_with(P, (1, 7), -0.1)), dkl.Logits(P)),
    "mixed sum": (dkl.Logits(P), dkl.Probs(_with(P, (1, 7), 0.5))),
    "counts": (dkl.Counts(_with(P, (1,), 0.0)), dkl.Counts(P)),
}


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("wrong", list(WRONG))
def test_errors_are_those_of_the_array_library(wrong: str, plainly: Plainly) -> None:
    p, q = WRONG[wrong]
    with pytest.raises(ValueError, match=r".") as expected:
        plainly(lambda: dkl.kl(p, q))
    with pytest.raises(ValueError, match=r".") as got:
        dkl.kl(p, q)
    assert str(got.value) == str(expected.value)


@pytest.mark.usefixtures("loops")
def test_why_a_row_is_infinite() -> None:
    q = np.full((3, 40), 1 / 39)
    q[1, 5] = 0
    q[[0, 2], :] = 1 / 40
    estimate = dkl.measure(P, q)
    assert estimate.value.tolist()[1] == np.inf
    assert "row 1: Q gives probability 0 to outcome 5, where P has 0.025" in str(estimate.reason)


@pytest.mark.usefixtures("loops")
def test_rows_that_a_sum_does_not_decide(plainly: Plainly) -> None:
    # Of the integral that Rényi's divergence takes the logarithm of, 1e-12 is left, or more than a float can hold.
    n = 50
    p, q = (np.zeros((2, n)) for _ in range(2))
    p[0], q[0] = (np.where(np.arange(n) < 25, *z) for z in ((1 / 25, 1e-26), (1e-26, 1 / 25)))
    p[1], q[1] = 1 / n, 1 / n
    for member in (dkl.Renyi(0.5), dkl.bhattacharyya, dkl.Renyi(3.5)):
        np.testing.assert_allclose(member(p, q)[0], plainly(lambda m=member: m(p, q))[0], rtol=1e-12)
        assert member(p, q)[1] == 0


@pytest.mark.usefixtures("loops")
def test_half_precision_and_integers(plainly: Plainly) -> None:
    rng = np.random.default_rng(10)
    logits = (rng.normal(size=(4, 64)) * 3).astype(np.float16)
    other = (logits + rng.normal(size=(4, 64)) * 0.1).astype(np.float16)
    logits[0, 3], other[1, 4] = -np.inf, 6e-8  # an impossible outcome, and a subnormal number
    got = dkl.kl(dkl.Logits(logits), dkl.Logits(other))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, dkl.kl(dkl.Logits(logits.astype("f4")), dkl.Logits(other.astype("f4"))))
    whole = rng.integers(-5, 5, size=(4, 64))
    for dtype in ("int8", "int64", "uint16"):
        x, y = dkl.Logits(abs(whole).astype(dtype)), dkl.Logits(abs(whole[::-1]).astype(dtype))
        np.testing.assert_allclose(dkl.kl(x, y), plainly(lambda x=x, y=y: dkl.kl(x, y)), rtol=1e-12)


def test_an_array_on_disk_is_read_in_pieces_and_let_go_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(11)
    p = rng.dirichlet(np.ones(100), size=4000)
    np.save(tmp_path / "p.npy", p)
    mapped = np.load(tmp_path / "p.npy", mmap_mode="r")
    monkeypatch.setattr(sums, "_HELD", 1 << 14)
    np.testing.assert_array_equal(dkl.kl(mapped, mapped[::-1]), dkl.kl(p, p[::-1]))
    # A private copy of the pages would lose what was written to it, so it is kept.
    private = np.load(tmp_path / "p.npy", mmap_mode="c")
    private[0] = private[1]
    dkl.kl(private, p)
    np.testing.assert_array_equal(private[0], p[1])


@pytest.mark.parametrize("least", [0, 1 << 62], ids=["loops", "library"])
@pytest.mark.parametrize("dtype", list(BAR))
def test_pairs_that_share_next_to_nothing(least: int, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that P has in common with Q is too improbable for a float; Q is sure of it."""
    monkeypatch.setattr(fused, "LEAST", least)
    far = {"float32": -92.0, "float64": -720.0}[dtype]
    a = np.array([[far, 0.0, -1.0], [far, 0.0, -np.inf]], dtype)
    b = np.array([[0.0, -np.inf, -np.inf], [0.0, -np.inf, far]], dtype)
    p, q = dkl.Logits(a), dkl.Logits(b)
    np.testing.assert_allclose(dkl.js(p, q), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(dkl.tv(p, q), 1.0, rtol=1e-6)
    assert np.isinf(dkl.kl(p, q)).all()
    reverse = dkl.reverse_kl(p, q)
    np.testing.assert_allclose(reverse[0], np.log(1 + np.exp(-1)) - far, rtol=1e-6)
    assert np.isinf(reverse[1])


@pytest.mark.usefixtures("loops")
def test_a_log_probability_that_is_no_number_beside_others_that_sum_to_1() -> None:
    a = np.full((2, 400), -np.log(400.0))
    b = a.copy()
    b[1] = -np.log(399.0)
    b[1, 7] = np.nan
    with pytest.raises(ValueError, match=r"q\[1, 7\] = nan is not a number"):
        dkl.kl(dkl.LogProbs(a), dkl.LogProbs(b))


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("dtype", list(BAR))
def test_a_logit_at_the_end_of_the_range_where_the_other_side_has_little_mass(dtype: str, plainly: Plainly) -> None:
    a = np.full((1, 400), -100.0, dtype)
    a[0, :2] = 0.0, -75.0
    b = a.copy()
    b[0, 1] = np.finfo(dtype).min
    for member in (dkl.kl, dkl.reverse_kl, dkl.jeffreys):
        for p, q in ((a, b), (b, a)):
            pair = dkl.Logits(p), dkl.Logits(q)
            np.testing.assert_allclose(member(*pair), plainly(lambda m=member, x=pair: m(*x)), rtol=1e-5)


def test_one_pair_by_numbers_at_the_ends_of_the_range(plainly: Plainly) -> None:
    for member, p, q in (
        (dkl.Alpha(3), [0.5, 0.5, 0.0], [3.5e-155, 3.5e-155, 1.0]),
        (dkl.SkewKL(0.5), [1.0, 5e-324], [1.0, 5e-324]),
    ):
        np.testing.assert_allclose(member(p, q), plainly(lambda m=member, p=p, q=q: m(p, q)), rtol=1e-12)
    with pytest.raises(ValueError, match="p sums to inf, not to 1"):
        dkl.kl([1e308, 1e308], [0.5, 0.5])
