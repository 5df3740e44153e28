"""Under jax.jit, jax.vmap, torch.compile and torch.func, where values cannot be seen."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import dkl
from dkl.divergences import FAMILY, Divergence

from ..contract.members import MEMBERS

jax.config.update("jax_enable_x64", True)

P = np.array([[0.1, 0.25, 0.05, 0.6], [0.0, 0.5, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25]])
Q = np.array([[0.3, 0.2, 0.4, 0.1], [0.25, 0.25, 0.5, 0.0], [0.25, 0.25, 0.25, 0.25]])
KINDS = {"probs": dkl.Probs, "log_probs": dkl.LogProbs, "logits": dkl.Logits, "counts": dkl.Counts}
MIXED = [("probs", "probs"), ("logits", "logits"), ("probs", "logits"), ("log_probs", "log_probs"), ("counts", "probs")]


def _raw(kind: str, x: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return x if kind in ("probs", "counts") else np.log(x)


def _expected(member: Divergence, kinds: tuple[str, str]) -> np.ndarray:
    return np.asarray(member(*(KINDS[k](_raw(k, x)) for k, x in zip(kinds, (P, Q), strict=True))))


@pytest.mark.parametrize("kind", ["probs", "logits"])
def test_jit_gives_the_same_as_eager(kind: str) -> None:
    p, q = (jnp.asarray(_raw(kind, x)) for x in (P, Q))
    # All in one function: a compiler's time goes by functions.
    members = (*FAMILY, dkl.Renyi(2), dkl.Renyi(math.inf), dkl.Alpha(0.3))
    family = jax.jit(lambda p, q: [member(KINDS[kind](p), KINDS[kind](q)) for member in members])
    for member, got in zip(members, family(p, q), strict=True):
        np.testing.assert_allclose(got, _expected(member, (kind, kind)), rtol=1e-12, atol=1e-15, err_msg=member.name)


@pytest.mark.parametrize("kinds", MIXED, ids=lambda k: "-".join(k))
def test_jit_of_every_representation(kinds: tuple[str, str]) -> None:
    p, q = (jnp.asarray(_raw(k, x)) for k, x in zip(kinds, (P, Q), strict=True))
    got = jax.jit(lambda p, q: dkl.js(KINDS[kinds[0]](p), KINDS[kinds[1]](q)))(p, q)
    np.testing.assert_allclose(got, _expected(dkl.js, kinds), rtol=1e-12, atol=1e-15)


def test_jax_transformations_compose() -> None:
    member = dkl.kl
    p, q = jnp.asarray(P), jnp.asarray(Q)
    np.testing.assert_allclose(jax.vmap(member)(p, q), _expected(member, ("probs", "probs")), rtol=1e-12, atol=1e-15)
    one = jax.vmap(member, in_axes=(0, None))(p, q[0])
    np.testing.assert_allclose(one, np.asarray(member(P, Q[0])), rtol=1e-12, atol=1e-15)
    gradients = jax.jit(jax.vmap(jax.grad(member, argnums=(0, 1))))(p, q)
    for got, row in zip(zip(*gradients, strict=True), zip(p, q, strict=True), strict=True):
        for g, expected in zip(got, jax.grad(member, argnums=(0, 1))(*row), strict=True):
            np.testing.assert_allclose(g, expected, rtol=1e-10, atol=1e-12)


def test_the_hessian_of_kl_in_the_logits_is_the_covariance_of_the_softmax() -> None:
    p, q = jnp.asarray(P[0]), jnp.asarray(Q[0])
    hessian = jax.jit(jax.hessian(lambda b: dkl.kl(p, dkl.Logits(b))))(jnp.log(q))
    np.testing.assert_allclose(hessian, np.diag(Q[0]) - np.outer(Q[0], Q[0]), rtol=1e-10, atol=1e-13)


def test_jit_also_compiles_the_siblings() -> None:
    p, q = jnp.asarray(P), jnp.asarray(Q)
    np.testing.assert_allclose(jax.jit(dkl.entropy)(p), dkl.entropy(P), rtol=1e-13)
    np.testing.assert_allclose(jax.jit(dkl.cross_entropy)(p, q), dkl.cross_entropy(P, Q), rtol=1e-13)
    np.testing.assert_allclose(jax.jit(dkl.wasserstein)(p, q), dkl.wasserstein(P, Q), rtol=1e-13)
    np.testing.assert_allclose(jax.jit(dkl.kl.pointwise)(p, q), dkl.kl.pointwise(P, Q), rtol=1e-13)
    smoothed = jax.jit(lambda p: dkl.smooth(p, 0.1).array)(p)
    np.testing.assert_allclose(smoothed, dkl.smooth(P, 0.1).array, rtol=1e-13)
    values = jax.jit(lambda p, q: dkl.measure(p, q).value)(p, q)
    np.testing.assert_allclose(values, dkl.kl(P, Q), rtol=1e-13)


def test_invalid_input_under_jit_is_not_checked_and_does_not_raise() -> None:
    bad = jnp.asarray([0.5, 0.9, -0.1])
    good = jnp.asarray([0.5, 0.25, 0.25])
    with pytest.raises(ValueError, match="negative"):
        dkl.kl(bad, good)
    assert jax.jit(dkl.kl)(bad, good).shape == ()
    assert jax.jit(lambda a: dkl.kl(dkl.Logits(a), dkl.Logits(a)))(jnp.asarray([math.nan, 1.0])).shape == ()
    with pytest.raises(ValueError, match="do not broadcast"):
        jax.jit(dkl.kl)(bad, good[:2])


@pytest.mark.parametrize("member", MEMBERS, ids=lambda d: d.name)
def test_torch_func(member: Divergence) -> None:
    p, q = torch.tensor(P), torch.tensor(Q)
    got = torch.func.vmap(member)(p, q)
    np.testing.assert_allclose(got, _expected(member, ("probs", "probs")), rtol=1e-12, atol=1e-15)
    a, b = torch.log(p[:1] + 0.01), torch.log(q[:1] + 0.01)

    def of_logits(a: Any, b: Any) -> Any:
        return member(dkl.Logits(a), dkl.Logits(b))

    by_func = torch.func.vmap(torch.func.grad(of_logits, argnums=(0, 1)))(a, b)
    leaves = [x[0].clone().requires_grad_() for x in (a, b)]
    of_logits(*leaves).backward()
    for got, leaf in zip(by_func, leaves, strict=True):
        np.testing.assert_allclose(got[0], leaf.grad, rtol=1e-12, atol=1e-14)


# Importing torch's compiler warns of its own deprecated calls; nothing here is about them.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning:torch")
@pytest.mark.parametrize("kinds", [("probs", "probs"), ("probs", "logits")], ids=lambda k: "-".join(k))
def test_torch_compile_into_one_graph(kinds: tuple[str, str]) -> None:
    torch.compiler.reset()
    members = (dkl.kl, dkl.tv)
    p, q = (torch.tensor(_raw(k, x), requires_grad=True) for k, x in zip(kinds, (P, Q), strict=True))

    def divergences(p: Any, q: Any) -> Any:
        return torch.stack([member(KINDS[kinds[0]](p), KINDS[kinds[1]](q)) for member in members])

    # "aot_eager" traces and differentiates the graph as the default compiler does, without its minutes of C++.
    gradients = []
    for compute in (torch.compile(divergences, fullgraph=True, backend="aot_eager"), divergences):
        got = compute(p, q)
        for member, value in zip(members, got, strict=True):
            np.testing.assert_allclose(value.detach(), _expected(member, kinds), rtol=1e-12, atol=1e-15)
        got[torch.isfinite(got)].sum().backward()
        gradients.append([x.grad.clone() for x in (p, q)])
        p.grad = q.grad = None
    for compiled, eager in zip(*gradients, strict=True):
        np.testing.assert_allclose(compiled, eager, rtol=1e-10, atol=1e-13)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning:torch")
def test_torch_compile_into_machine_code() -> None:
    torch.compiler.reset()
    a, b = (torch.tensor(np.log(x + 0.01)) for x in (P, Q))
    compiled = torch.compile(lambda a, b: dkl.kl(dkl.Logits(a), dkl.Logits(b)), fullgraph=True)
    np.testing.assert_allclose(compiled(a, b), dkl.kl(dkl.Logits(a), dkl.Logits(b)), rtol=1e-12)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning:torch")
def test_invalid_input_under_torch_compile_is_not_checked_and_does_not_raise() -> None:
    torch.compiler.reset()
    bad, good = torch.tensor([0.5, 0.9, -0.1]), torch.tensor([0.5, 0.25, 0.25])
    assert torch.compile(dkl.kl, backend="eager")(bad, good).shape == ()
    assert torch.func.vmap(dkl.kl)(bad[None], good[None]).shape == (1,)


def test_jax_without_x64_stays_in_float32_and_does_not_warn() -> None:
    code = """
import warnings; warnings.simplefilter("error")
import jax, jax.numpy as jnp, numpy as np, dkl
p, q = jnp.asarray([0.1, 0.0, 0.9]), jnp.asarray([0.3, 0.2, 0.5])
for d in (dkl.kl, dkl.js, dkl.Renyi(2)):
    for pair in ((p, q), (p, dkl.Logits(jnp.log(q))), (p, [0.3, 0.2, 0.5]), (dkl.Counts(jnp.asarray([1, 0, 9])), q)):
        value = d(*pair)
        assert value.dtype == jnp.float32, (d, value.dtype)
        expected = d([0.1, 0.0, 0.9], [0.3, 0.2, 0.5])
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        gradient = jax.grad(lambda x: d(x, q))(p)
        assert not jnp.isnan(gradient).any()
print("ok")
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert out.stdout.strip() == "ok", out.stderr
