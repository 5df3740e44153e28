"""Gradients: by each library's own autodiff, inside the simplex, for logits, and at the edges of the supports."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import dkl
from dkl.divergences import Divergence

from ..contract.members import HAND_MADE_CHI2, MEMBERS

jax.config.update("jax_enable_x64", True)

P = [0.1, 0.25, 0.05, 0.6]
Q = [0.3, 0.2, 0.4, 0.1]
KINDS: dict[str, Callable[[Any], Any]] = {"probs": dkl.Probs, "log_probs": dkl.LogProbs, "logits": dkl.Logits}
inf = math.inf


def _handed_in(kind: str, x: list[float]) -> Any:
    """Something of that kind that is not at a kink; off the simplex is where a partial derivative leads."""
    return torch.tensor(x if kind == "probs" else np.log(x), dtype=torch.float64, requires_grad=True)


@pytest.fixture
def _unchecked_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finite differences leave the simplex, by more than a row's sum may be off 1 in some of the tests below."""
    monkeypatch.setattr("dkl.representations.sum_tolerance", lambda xp, x: 0.1)


@pytest.mark.usefixtures("_unchecked_rows")
@pytest.mark.parametrize("member", MEMBERS, ids=lambda d: d.name)
@pytest.mark.parametrize("kind", KINDS)
def test_torch_gradcheck(member: Divergence, kind: str) -> None:
    wrap = KINDS[kind]
    p, q = _handed_in(kind, P), _handed_in(kind, Q)
    assert torch.autograd.gradcheck(lambda p, q: member(wrap(p), wrap(q)), (p, q), eps=1e-6, atol=1e-6, rtol=1e-5)


@pytest.mark.usefixtures("_unchecked_rows")
@pytest.mark.parametrize("member", MEMBERS, ids=lambda d: d.name)
@pytest.mark.parametrize("kind", ["probs", "logits"])
def test_torch_gradgradcheck(member: Divergence, kind: str) -> None:
    wrap = KINDS[kind]
    p, q = _handed_in(kind, P), _handed_in(kind, Q)
    assert torch.autograd.gradgradcheck(
        lambda p, q: member(wrap(p), wrap(q)), (p, q), eps=1e-6, atol=1e-4, rtol=1e-4, gen_non_contig_grad_outputs=False
    )


@pytest.mark.parametrize("member", MEMBERS, ids=lambda d: d.name)
def test_jax_gradient_is_torch_gradient(member: Divergence) -> None:
    wrap = dkl.Probs  # for logits see below
    p, q = _handed_in("probs", P), _handed_in("probs", Q)
    member(wrap(p), wrap(q)).backward()
    got = jax.grad(lambda p, q: member(wrap(p), wrap(q)), argnums=(0, 1))(
        jnp.asarray(p.detach()), jnp.asarray(q.detach())
    )
    np.testing.assert_allclose(got[0], p.grad, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(got[1], q.grad, rtol=1e-11, atol=1e-12)


def _torch_gradients(member: Any, wrap: Any, p: Any, q: Any) -> tuple[np.ndarray, np.ndarray]:
    p, q = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (p, q))
    member(wrap(p), wrap(q)).sum().backward()
    return p.grad.numpy(), q.grad.numpy()


def _jax_gradients(member: Any, wrap: Any, p: Any, q: Any) -> tuple[np.ndarray, np.ndarray]:
    got = jax.grad(lambda p, q: member(wrap(p), wrap(q)).sum(), argnums=(0, 1))(jnp.asarray(p), jnp.asarray(q))
    return np.asarray(got[0]), np.asarray(got[1])


EDGES = {
    "p = 0": ([0.0, 0.4, 0.6], [0.2, 0.3, 0.5]),
    "q = 0": ([0.2, 0.3, 0.5], [0.0, 0.4, 0.6]),
    "both 0": ([0.0, 0.4, 0.6], [0.0, 0.5, 0.5]),
    "p = 0 and q = 0": ([0.0, 0.4, 0.6], [0.7, 0.3, 0.0]),
    "equal": ([0.2, 0.3, 0.5], [0.2, 0.3, 0.5]),
    "equal with a 0": ([0.0, 0.5, 0.5], [0.0, 0.5, 0.5]),
    "one-hot p": ([0.0, 1.0, 0.0], [0.2, 0.3, 0.5]),
    "one-hot q": ([0.2, 0.3, 0.5], [0.0, 1.0, 0.0]),
    "equal one-hot": ([0.0, 1.0, 0.0], [0.0, 1.0, 0.0]),
    "disjoint": ([0.0, 1.0, 0.0], [0.5, 0.0, 0.5]),
    "tiny": ([1e-300, 0.4, 0.6], [0.2, 0.3, 0.5]),
    "tiny q": ([0.2, 0.3, 0.5], [1e-300, 0.4, 0.6]),
    "tiny both": ([1e-300, 0.4, 0.6], [3e-300, 0.4, 0.6]),
}


LIBRARIES = pytest.mark.parametrize("library", [_torch_gradients, _jax_gradients], ids=["torch", "jax"])


#: JAX takes its time over each; the formulas are the same, so all members on one representation and one of each kind on
#: the others are enough there.
_ONE_OF_EACH = {"kl", "js", "hellinger", "renyi(2)", "tsallis(3)", "alpha(-1.5)", "hand_made_chi2"}
_TRIED = [
    pytest.param(library, kind, d, id=f"{library.__name__.split('_')[1]}-{kind}-{d.name}")
    for library in (_torch_gradients, _jax_gradients)
    for kind in KINDS
    for d in MEMBERS
    if library is _torch_gradients or kind == "probs" or d.name in _ONE_OF_EACH
]


@pytest.mark.parametrize(("library", "kind", "member"), _TRIED)
def test_a_gradient_is_never_nan(library: Any, kind: str, member: Divergence) -> None:
    p, q = (np.asarray([EDGES[e][side] for e in EDGES]) for side in (0, 1))
    with np.errstate(divide="ignore"):
        p, q = (x if kind == "probs" else np.log(x) for x in (p, q))
    for side, gradients in zip("pq", library(member, KINDS[kind], p, q), strict=True):
        bad = {edge: g.tolist() for edge, g in zip(EDGES, gradients, strict=True) if np.isnan(g).any()}
        assert not bad, f"in {side}: {bad}"


# For one term q·f(p/q) with f'(1) = 0: the derivative in p is f'(t) and in q is f(t) − t·f'(t). At an edge these are
# the limits, f'(0) where p = 0 and lim f(t) − t·f'(t) where q = 0. An infinite one is given as 0.
AT_P_ZERO = {  # (gradient in p, gradient in q) of the term with p = 0, q > 0
    "kl": (0.0, 1.0),  # f'(0) = −∞
    "reverse_kl": (0.0, 0.0),  # +∞ term
    "jeffreys": (0.0, 0.0),
    "js": (0.0, math.log(2) / 2),
    "tv": (-0.5, 0.5),
    "squared_hellinger": (0.0, 0.5),
    "chi2": (-2.0, 1.0),
    "neyman_chi2": (0.0, 0.0),
    "triangular": (-3.0, 1.0),
    "skew_kl(0.1)": (0.0, 0.1),
    "skew_kl(1)": (0.0, 1.0),
    "js(0.3)": (0.0, -0.7 * math.log(0.7)),
    "tsallis(0.5)": (0.0, 1.0),
    "tsallis(1)": (0.0, 1.0),
    "tsallis(3)": (-1.5, 1.0),
    "alpha(-1.5)": (0.0, 0.0),
    "alpha(0)": (0.0, 0.0),
    "alpha(0.3)": (0.0, 1 / 0.3),
    "alpha(1)": (0.0, 1.0),
    "alpha(2.5)": (-1 / 1.5, 1 / 2.5),
}
AT_Q_ZERO = {  # (gradient in p, gradient in q) of the term with q = 0, p > 0
    "kl": (0.0, 0.0),
    "reverse_kl": (1.0, 0.0),
    "jeffreys": (0.0, 0.0),
    "js": (math.log(2) / 2, 0.0),
    "tv": (0.5, -0.5),
    "squared_hellinger": (0.5, 0.0),
    "chi2": (0.0, 0.0),
    "neyman_chi2": (1.0, -2.0),
    "triangular": (1.0, -3.0),
    "skew_kl(0.1)": (-math.log(0.9) - 0.1, 0.1 - 0.1 / 0.9),
    "skew_kl(1)": (0.0, 0.0),
    "js(0.3)": (-0.3 * math.log(0.3), 0.0),
    "tsallis(0.5)": (1.0, 0.0),
    "tsallis(1)": (0.0, 0.0),
    "tsallis(3)": (0.0, 0.0),
    "alpha(-1.5)": (1 / 2.5, -1 / 1.5),
    "alpha(0)": (1.0, 0.0),
    "alpha(0.3)": (1 / 0.7, 0.0),
    "alpha(1)": (0.0, 0.0),
    "alpha(2.5)": (0.0, 0.0),
}


@LIBRARIES
@pytest.mark.parametrize("member", [d for d in MEMBERS if d.name in AT_P_ZERO], ids=lambda d: d.name)
def test_gradients_at_the_edge_are_the_limits(member: Divergence, library: Any) -> None:
    gp, gq = library(member, dkl.Probs, *map(np.asarray, EDGES["p = 0"]))
    assert (gp[0], gq[0]) == pytest.approx(AT_P_ZERO[member.name], rel=1e-14)
    gp, gq = library(member, dkl.Probs, *map(np.asarray, EDGES["q = 0"]))
    assert (gp[0], gq[0]) == pytest.approx(AT_Q_ZERO[member.name], rel=1e-13)
    # The other outcomes are not touched by what happens at the edge.
    for edge in ("p = 0", "q = 0"):
        p, q = (np.asarray(x) for x in EDGES[edge])
        inner = _finite_difference(member, p, q)
        for got, expected in zip(library(member, dkl.Probs, p, q), inner, strict=True):
            np.testing.assert_allclose(got[1:], expected[1:], rtol=2e-6, atol=1e-7)


def _finite_difference(member: Any, p: np.ndarray, q: np.ndarray, h: float = 1e-6) -> tuple[np.ndarray, np.ndarray]:
    """Of the terms, one outcome at a time, whose sum is the divergence."""

    def slope(at: Callable[[float], float]) -> float:
        return (at(h) - at(-h)) / (2 * h)

    def term(x: float, y: float) -> float:
        return float(y * member.f(np.float64(x / y)))

    inner = [(0.0, 0.0) if x == 0 or y == 0 else
             (slope(lambda e, x=x, y=y: term(x + e, y)), slope(lambda e, x=x, y=y: term(x, y + e)))
             for x, y in zip(p, q, strict=True)]  # fmt: skip
    gp, gq = np.array(inner).T
    return gp, gq


@LIBRARIES
@pytest.mark.parametrize("kind", ["probs", "logits"])
# A maximum over outcomes has a kink where P = Q, and its gradient there is that of any one of them.
@pytest.mark.parametrize("member", [d for d in MEMBERS if d.name != "renyi(inf)"], ids=lambda d: d.name)
def test_the_gradient_of_equal_pairs_is_zero(member: Divergence, kind: str, library: Any) -> None:
    p = np.asarray([0.2, 0.3, 0.5] if kind == "probs" else [0.2, 3.0, -1.0])
    for gradient in library(member, KINDS[kind], p, p):
        np.testing.assert_allclose(gradient, 0.0, atol=1e-15)


#: Logits whose largest is one, and equal ones, as a layer has them that begins with zeros.
_LOGITS = {
    "apart": ([0.3, -1.0, 2.0, 0.7], [1.3, 0.2, -0.5, 0.1]),
    "p tied": ([0.0, 0.0, 0.0, 0.0], [1.0, 0.0, -2.0, 0.5]),
    "q tied": ([1.0, 0.0, -2.0, 0.5], [0.7, -1.0, 0.7, 0.7]),
    "both tied": ([2.0, 2.0, 0.0, -1.0], [0.0, 1.5, 1.5, 1.5]),
}


_FROM_LOGITS = [
    pytest.param(library, logits, d, id=f"{library.__name__.split('_')[1]}-{logits}-{d.name}")
    for library in (_torch_gradients, _jax_gradients)
    for logits in _LOGITS
    for d in MEMBERS
    if library is _torch_gradients or logits == "apart" or d.name in _ONE_OF_EACH
]


@pytest.mark.parametrize(("library", "logits", "member"), _FROM_LOGITS)
def test_gradients_of_logits_sum_to_zero_and_match_the_softmax_of_probabilities(
    library: Any, logits: str, member: Divergence
) -> None:
    a, b = map(np.asarray, _LOGITS[logits])
    p, q = (np.exp(x) / np.exp(x).sum() for x in (a, b))
    through_p = [softmax * (g - (softmax * g).sum()) for softmax, g in
                 zip((p, q), library(member, dkl.Probs, p, q), strict=True)]  # fmt: skip
    for got, expected in zip(library(member, dkl.Logits, a, b), through_p, strict=True):
        np.testing.assert_allclose(got.sum(), 0.0, atol=1e-13)
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


@LIBRARIES
def test_masked_logits_take_no_part(library: Any) -> None:
    a, b = np.asarray([0.3, -inf, 2.0, 0.7]), np.asarray([1.3, -inf, -0.5, 0.1])
    kept = np.array([0, 2, 3])
    for member in (dkl.kl, dkl.Renyi(0.5)) if library is _jax_gradients else MEMBERS:
        full = library(member, dkl.Logits, a, b)
        short = library(member, dkl.Logits, a[kept], b[kept])
        for got, expected in zip(full, short, strict=True):
            assert got[1] == 0, member.name
            np.testing.assert_allclose(got[kept], expected, rtol=1e-12, atol=1e-14, err_msg=member.name)


@LIBRARIES
@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1e-3])
def test_gradients_keep_their_digits_where_the_pair_nearly_agrees(library: Any, scale: float) -> None:
    # The gradient of KL in the second logits is q − p, to first order p·(E[d] − d) of the same relative size as d.
    a = np.asarray([0.5, -1.0, 2.0, 0.25])
    b = a + scale * np.asarray([1.0, -0.5, 0.25, 2.0])
    from mpmath import mp, mpf

    with mp.workdps(60):
        weights = [[mp.exp(mpf(float(v))) for v in x] for x in (a, b)]
        p, q = ([w / mp.fsum(row) for w in row] for row in weights)
        exact = [float(y - x) for x, y in zip(p, q, strict=True)]
    _, got = library(dkl.kl, dkl.Logits, a, b)
    np.testing.assert_allclose(got, exact, rtol=1e-10 if scale > 1e-8 else 1e-6, atol=0)


@LIBRARIES
def test_a_batch_row_at_the_edge_does_not_spoil_the_others(library: Any) -> None:
    p, q = (np.asarray([EDGES[e][side] for e in EDGES if "tiny" not in e]) for side in (0, 1))
    for member in (dkl.kl,) if library is _jax_gradients else MEMBERS:
        together = library(member, dkl.Probs, p, q)
        alone = [library(member, dkl.Probs, x, y) for x, y in zip(p, q, strict=True)]
        for side in (0, 1):
            np.testing.assert_allclose(
                together[side], [g[side] for g in alone], rtol=1e-12, atol=1e-300, err_msg=member.name
            )


@LIBRARIES
def test_entropy_and_cross_entropy(library: Any) -> None:
    p, q = np.asarray([0.0, 0.4, 0.6]), np.asarray([0.2, 0.3, 0.5])

    def code_length(p: Any, q: Any) -> Any:
        return dkl.cross_entropy(p, q)

    gp, gq = library(code_length, lambda x: x, p, q)
    np.testing.assert_allclose(gp[1:], -np.log(q[1:]), rtol=1e-14)
    np.testing.assert_allclose(gq, -p / q, rtol=1e-14)
    gp, _ = library(lambda p, q: dkl.entropy(p) + 0 * q.sum(), lambda x: x, p, q)
    np.testing.assert_allclose(gp, [0.0, -np.log(0.4) - 1, -np.log(0.6) - 1], rtol=1e-14)
    a = np.asarray([0.3, -inf, 2.0])
    ga, _ = library(lambda p, q: dkl.entropy(dkl.Logits(p)) + 0 * q.sum(), lambda x: x, a, q)
    assert np.isfinite(ga).all()
    assert ga[1] == 0


@LIBRARIES
def test_cross_entropy_sees_the_label_of_a_one_hot_p(library: Any) -> None:
    p, b = np.asarray([0.0, 1.0, 0.0]), np.asarray([2.0, 0.5, -1.0])
    q = np.exp(b) / np.exp(b).sum()
    _, gb = library(lambda p, b: dkl.cross_entropy(p, dkl.Logits(b)), lambda x: x, p, b)
    np.testing.assert_allclose(gb, q - p, rtol=1e-13, atol=1e-15)


def test_the_gradient_of_a_hand_made_divergence_goes_through_f() -> None:
    p, q = (np.asarray(x) for x in (P, Q))
    for got, expected in zip(
        _torch_gradients(HAND_MADE_CHI2, dkl.Probs, p, q), _torch_gradients(dkl.chi2, dkl.Probs, p, q), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-10)


@pytest.mark.parametrize("masked", [-100.0, -300.0, -1e9, float(np.finfo(np.float32).min)])
@pytest.mark.parametrize("member", MEMBERS, ids=lambda d: d.name)
def test_the_gradient_of_a_nearly_masked_logit_is_finite(member: Divergence, masked: float) -> None:
    """Both ways, in float32: the divergence itself is far beyond what exp can hold."""
    for a, b in (([0.0, 0.0, 0.0], [0.0, 0.5, masked]), ([0.0, 0.5, masked], [0.0, 0.0, 0.0])):
        p, q = (torch.tensor(x, requires_grad=True) for x in (a, b))
        value = member(dkl.Logits(p), dkl.Logits(q))
        for gradient in torch.autograd.grad(value, (p, q)):
            assert not torch.isnan(gradient).any()
            assert torch.isfinite(gradient).all() or not torch.isfinite(value)


@pytest.mark.parametrize(
    ("member", "of_fisher"),
    [
        (dkl.kl, 1.0),
        (dkl.js, 0.25),
        (dkl.squared_hellinger, 0.25),
        (dkl.bhattacharyya, 0.25),
        (dkl.Renyi(0.5), 0.5),
        (dkl.Tsallis(0.5), 0.5),
        (dkl.Alpha(0.5), 1.0),
        (dkl.Alpha(0.3), 1.0),
        (dkl.chi2, 2.0),
    ],
    ids=str,
)
def test_the_hessian_at_equality_is_fishers_information(member: Divergence, of_fisher: float) -> None:
    a = torch.tensor([0.3, -0.2, 1.1], dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(lambda y: member(dkl.Logits(a), dkl.Logits(y)), a.clone())
    p = torch.softmax(a, 0)
    torch.testing.assert_close(hessian, of_fisher * (torch.diag(p) - torch.outer(p, p)), rtol=1e-9, atol=1e-12)
