"""The contestants: dkl and its peers, each one function that says what it can do and how it does it.

A peer returns its formulas by (member, given). It takes part in the work that it has a formula for, and also in the
work with gradients if its library differentiates. What it needs to come from logits to its answer is in its formula,
and so in its time. Adding a peer is adding a function here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

from .libraries import JAX, NUMPY, TORCH, Formula, Library
from .work import TASKS, Work

#: What the others are compared with.
OURS = "dkl"

Formulas = Mapping[tuple[str, str], Formula]


@dataclass(frozen=True)
class Peer:
    """One contestant.

    Parameters
    ----------
    name
        As it is printed.
    library
        Whose arrays it takes.
    formulas
        Imports what is needed and returns the formulas by (member, given).
    tasks
        What it takes part in, of what its library can.
    package
        What must be installed, if that is not the library.
    """

    name: str
    library: Library
    formulas: Callable[[], Formulas]
    tasks: tuple[str, ...] = TASKS
    package: str = "numpy"

    @property
    def installed(self) -> bool:
        """Whether everything that it needs can be imported."""
        return self.library.installed and find_spec(self.package) is not None

    def formula(self, work: Work) -> Formula | None:
        """Return what is to be timed; None if this peer has no part in the work."""
        formula = self.formulas().get((work.member, work.pair.given))
        if formula is None or work.task not in self.tasks:
            return None
        if work.task == "value":
            return self.library.value(formula)
        return self.library.gradient(formula) if self.library.differentiates else None


PEERS: list[Peer] = []


def peer(
    name: str, library: Library, *, tasks: tuple[str, ...] = TASKS, package: str = "numpy"
) -> Callable[[Callable[[], Formulas]], Callable[[], Formulas]]:
    """Enter a function that returns formulas as a contestant; see `Peer`."""

    def enter(formulas: Callable[[], Formulas]) -> Callable[[], Formulas]:
        PEERS.append(Peer(name, library, formulas, tasks, package))
        return formulas

    return enter


def _from_both(given: Mapping[str, Formula], probabilities: Callable[[Any], Any]) -> dict[tuple[str, str], Formula]:
    """Give formulas of probabilities also to logits, by way of ``probabilities(logits)``."""

    def from_logits(formula: Formula, a: Any, b: Any) -> Any:
        return formula(probabilities(a), probabilities(b))

    return {(member, "probabilities"): formula for member, formula in given.items()} | {
        (member, "logits"): partial(from_logits, formula) for member, formula in given.items()
    }


# dkl's values are timed on NumPy's arrays; its gradients are taken by PyTorch.
@peer(OURS, TORCH, tasks=("gradient",))
@peer(OURS, NUMPY, tasks=("value",))
def _dkl() -> Formulas:
    import dkl

    members = {"kl": dkl.kl, "js": dkl.js, "tv": dkl.tv, "renyi2": dkl.Renyi(2), "hellinger": dkl.hellinger}
    return _from_both(members, dkl.Logits)


@peer("numpy by hand", NUMPY)
def _numpy() -> Formulas:
    import numpy as np

    def log_softmax(x: Any) -> Any:
        x = x - x.max(axis=-1, keepdims=True)
        return x - np.log(np.sum(np.exp(x), axis=-1, keepdims=True))

    def kl(p: Any, q: Any) -> Any:
        return np.sum(p * np.log(p / q), axis=-1)

    def kl_from_logits(a: Any, b: Any) -> Any:
        a, b = log_softmax(a), log_softmax(b)
        return np.sum(np.exp(a) * (a - b), axis=-1)

    def js(p: Any, q: Any) -> Any:
        m = (p + q) / 2
        return (kl(p, m) + kl(q, m)) / 2

    members = {
        "kl": kl,
        "js": js,
        "tv": lambda p, q: np.sum(np.abs(p - q), axis=-1) / 2,
        "renyi2": lambda p, q: np.log(np.sum(p * p / q, axis=-1)),
        "hellinger": lambda p, q: np.sqrt(np.sum((np.sqrt(p) - np.sqrt(q)) ** 2, axis=-1) / 2),
    }
    return _from_both(members, lambda x: np.exp(log_softmax(x))) | {("kl", "logits"): kl_from_logits}


@peer("scipy.stats.entropy", NUMPY)
def _scipy_entropy() -> Formulas:
    from scipy.special import softmax
    from scipy.stats import entropy

    return _from_both({"kl": lambda p, q: entropy(p, q, axis=-1)}, lambda x: softmax(x, axis=-1))


@peer("scipy.special.rel_entr", NUMPY)
def _scipy_rel_entr() -> Formulas:
    from scipy.special import rel_entr, softmax

    def js(p: Any, q: Any) -> Any:
        m = (p + q) / 2
        return (rel_entr(p, m) + rel_entr(q, m)).sum(axis=-1) / 2

    return _from_both({"kl": lambda p, q: rel_entr(p, q).sum(axis=-1), "js": js}, lambda x: softmax(x, axis=-1))


@peer("scipy jensenshannon", NUMPY)
def _scipy_jensenshannon() -> Formulas:
    from scipy.spatial.distance import jensenshannon
    from scipy.special import softmax

    return _from_both({"js": lambda p, q: jensenshannon(p, q, axis=-1) ** 2}, lambda x: softmax(x, axis=-1))


@peer("torch F.kl_div", TORCH)
def _torch_kl_div() -> Formulas:
    from torch.nn.functional import kl_div, log_softmax

    def kl(p: Any, q: Any) -> Any:
        return kl_div(q.log(), p, reduction="none").sum(-1)

    def js(p: Any, q: Any) -> Any:
        log_m = ((p + q) / 2).log()
        return (kl_div(log_m, p, reduction="none") + kl_div(log_m, q, reduction="none")).sum(-1) / 2

    def kl_from_logits(a: Any, b: Any) -> Any:
        return kl_div(log_softmax(b, -1), log_softmax(a, -1), reduction="none", log_target=True).sum(-1)

    return _from_both({"kl": kl, "js": js}, lambda x: x.softmax(-1)) | {("kl", "logits"): kl_from_logits}


@peer("torch Categorical", TORCH)
def _torch_categorical() -> Formulas:
    from torch.distributions import Categorical, kl_divergence

    return {
        ("kl", "probabilities"): lambda p, q: kl_divergence(Categorical(probs=p), Categorical(probs=q)),
        ("kl", "logits"): lambda a, b: kl_divergence(Categorical(logits=a), Categorical(logits=b)),
    }


@peer("torch by hand", TORCH)
def _torch() -> Formulas:
    members = {
        "tv": lambda p, q: (p - q).abs().sum(-1) / 2,
        "renyi2": lambda p, q: (p * p / q).sum(-1).log(),
        "hellinger": lambda p, q: (((p.sqrt() - q.sqrt()) ** 2).sum(-1) / 2).sqrt(),
    }
    return _from_both(members, lambda x: x.softmax(-1))


@peer("jax jit", JAX)
def _jax() -> Formulas:
    import jax.numpy as jnp
    from jax.nn import log_softmax, softmax
    from jax.scipy.special import rel_entr

    def js(p: Any, q: Any) -> Any:
        m = (p + q) / 2
        return (rel_entr(p, m) + rel_entr(q, m)).sum(-1) / 2

    def kl_from_logits(a: Any, b: Any) -> Any:
        a, b = log_softmax(a), log_softmax(b)
        return (jnp.exp(a) * (a - b)).sum(-1)

    members = {
        "kl": lambda p, q: rel_entr(p, q).sum(-1),
        "js": js,
        "tv": lambda p, q: jnp.abs(p - q).sum(-1) / 2,
        "renyi2": lambda p, q: jnp.log((p * p / q).sum(-1)),
        "hellinger": lambda p, q: jnp.sqrt(((jnp.sqrt(p) - jnp.sqrt(q)) ** 2).sum(-1) / 2),
    }
    return _from_both(members, softmax) | {("kl", "logits"): kl_from_logits}
