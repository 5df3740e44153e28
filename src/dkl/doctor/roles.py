"""Roles: what a series is, whatever the log calls it; and which of a log's series is taken for each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np

from dkl.doctor.names import Framework, forms, frameworks, normalised, roles_of
from dkl.doctor.options import KEYWORDS, Options
from dkl.doctor.series import Series

KINDS = ("vae", "policy", "distillation", "gan")

_OF_ANY = {
    "loss": "what is minimised, all terms together",
    "learning_rate": "the optimiser's step size",
    "gradient_norm": "the norm of the loss's gradient over all parameters, before it is clipped",
    "validation_loss": "the loss on data that is not trained on",
}

#: For each kind of training, every role and what it means.
ROLES: Mapping[str, Mapping[str, str]] = {
    "vae": {
        **_OF_ANY,
        "kl": "KL(q(z|x) ‖ prior) of one sample, summed over the latent dimensions, nats, without β",
        "kl_weighted": "β times the KL, as it enters the loss",
        "kl_dim": "the KL of one latent dimension, as kl_dim/0, kl_dim/1, …",
        "beta": "the weight of the KL in the loss",
        "reconstruction": "−log p(x|z) of one sample",
        "reconstruction_shuffled": "the same, each sample rebuilt from the z of another",
        "validation_kl": "the KL on data that is not trained on",
        "validation_reconstruction": "the reconstruction on data that is not trained on",
        "mu_squared": "the mean over the batch of Σ μ²",
        "mu_max": "the largest |μ|",
        "log_var_max": "the largest log σ²",
        "log_var_min": "the least log σ²",
        "log_var_mean": "the mean log σ²",
        "clamped": "the share of log σ² at their clamp",
        "active_units": "how many latent dimensions carry information",
        "mutual_information": "the information between x and z, nats",
        "free_bits": "the floor below which the KL costs nothing",
        "capacity": "the KL that is aimed at",
    },
    "policy": {
        **_OF_ANY,
        "kl": "the KL of the policy to its reference, or to the policy that acted where nothing else is logged",
        "update_kl": "the KL between the policy that acted and the new one, where kl is another",
        "kl_k1": "the estimate k1, the mean of −log r",
        "kl_k2": "the estimate k2, the mean of ½ (log r)²",
        "kl_k3": "the estimate k3, the mean of r − 1 − log r",
        "kl_stderr": "the standard error of the KL's estimate",
        "kl_loss": "the KL as it enters the loss",
        "kl_coef": "the weight of the KL in the loss or the reward",
        "target_kl": "the KL that is aimed at, or at which updates stop",
        "reward": "what is maximised; with a KL penalty in it if the log says so",
        "score": "the reward before any KL penalty",
        "entropy": "the policy's entropy, nats",
        "clip_fraction": "the share of ratios outside the clip range",
        "policy_loss": "the policy's part of the loss",
        "value_loss": "the value function's part of the loss",
        "ratio_mean": "the mean of π_new/π_old; 1 in expectation",
        "ratio_max": "the largest π_new/π_old",
        "importance_mean": "the mean weight of the trainer's policy over the sampler's; 1 where the two agree",
        "effective_sample_size": "of the importance weights, as a share or a number of samples",
        "rollout_kl": "the KL between the sampler's policy and the trainer's",
        "response_length": "the mean number of tokens of a response",
        "updates": "how many gradient steps were taken",
        "epochs": "how many passes over each batch were made",
    },
    "distillation": {
        **_OF_ANY,
        "kl": "the divergence between teacher and student as it enters the loss, before its share",
        "forward_kl": "KL(teacher ‖ student) as it is, measured beside the loss on the rows that count",
        "reverse_kl": "KL(student ‖ teacher) as it is, measured beside the loss on the rows that count",
        "cross_entropy": "the loss on the labels",
        "student_entropy": "the entropy of the student's distribution, nats",
        "teacher_entropy": "the entropy of the teacher's distribution, nats",
        "agreement": "how often both prefer the same class",
        "accuracy": "how often the student is right",
        "temperature": "by which logits are divided",
        "weight": "the share of the loss on the labels",
        "kept": "the share of the rows (tokens) that count and are no padding",
    },
    "gan": {
        **_OF_ANY,
        "discriminator_loss": "what the discriminator minimises",
        "generator_loss": "what the generator minimises",
        "score_real": "the discriminator's mean output on data",
        "score_fake": "the discriminator's mean output on what is generated",
        "discriminator_accuracy": "how often the discriminator is right",
        "generator_gradient": "the norm of the generator's gradient",
        "wasserstein": "the critic's estimate of the Wasserstein distance",
        "js": "the Jensen-Shannon divergence, or the bound that the discriminator gives",
    },
}

#: The roles of each kind without which nothing can be said; one is enough.
DECISIVE: Mapping[str, tuple[str, ...]] = {
    "vae": ("kl", "kl_weighted", "kl_dim"),
    "policy": ("kl", "kl_k1", "kl_k2", "kl_k3", "kl_loss"),
    "distillation": ("kl", "loss", "forward_kl"),
    "gan": ("discriminator_loss",),
}

# What tells the kind of training, where its name means nothing in another kind.
_TELLING: Mapping[str, frozenset[str]] = {
    kind: frozenset(roles) - frozenset(_OF_ANY) - {"kl", "accuracy", "cross_entropy", "weight", "js"}
    for kind, roles in ROLES.items()
}
_TELLING_WORDS = {"distillation": re.compile("distil|teacher|student|(?:^|[/_])kd(?:[/_]|$)")}


@dataclass(frozen=True)
class Assignment:
    """Which series was taken for what.

    Attributes
    ----------
    kind : str or None
        What is trained; None where the names do not tell.
    roles : dict of str to Series
    statements : list of str
        The kind and its reason, what was taken and not, and what is known of it by its name.
    facts : dict
        What the names say of units and estimators: ``estimator``, ``unit``, ``kl_to``.
    """

    kind: str | None
    roles: dict[str, Series]
    statements: list[str]
    facts: dict[str, Any] = field(default_factory=dict)


def is_role(role: str, kind: str | None = None) -> bool:
    """Whether there is a role of this name, in one kind of training or in any."""
    role = re.sub(r"^kl_dim/\d+$", "kl_dim", role)
    return any(role in ROLES[k] for k in (KINDS if kind is None else (kind,)))


def may_have_a_role(name: str) -> bool:
    """Whether a series of this name means something to the doctor in any kind of training."""
    return any(roles_of(name, kind) for kind in KINDS)


def says_something(names: Iterable[str], kind: str | None) -> bool:
    """Whether any series of these names is more than what every training logs, such as its loss."""
    kinds = KINDS if kind is None else (kind,)
    return any(role not in _OF_ANY for name in names for k in kinds for role in roles_of(name, k))


def assign(
    series: Mapping[str, Series],
    *,
    kind: str | None = None,
    names: Mapping[str, str] | None = None,
    others: Iterable[str] = (),
    options: Options = KEYWORDS,
) -> Assignment:
    """Take a series for each role.

    Parameters
    ----------
    series : mapping of str to Series
        By the log's own names.
    kind : {"vae", "policy", "distillation", "gan"}, optional
        What is trained; inferred from the names without it.
    names : mapping of str to str, optional
        The series to take for a role, whatever it is called.
    others : iterable of str
        Names in the log beside those read; they help to know who wrote it.
    options : Options
        What messages call ``kind`` and ``names``.

    Raises
    ------
    ValueError
        If there is no such kind, role or series.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"{options.of_kind(kind)} is none of {', '.join(map(repr, KINDS))}")
    named = dict(names or {})
    for role, name in named.items():
        if not is_role(role, kind):
            known = sorted({r for k in (KINDS if kind is None else (kind,)) for r in ROLES[k]})
            of = "" if kind is None else f" of {options.of_kind(kind)}"
            raise ValueError(
                f"{options.names}: {role!r} is no role{of}{_close(role, known)}; the roles are {_and(known)}"
            )
        if name not in series:
            logged = [*series, *others]
            raise ValueError(
                f"{options.names}: the log has no series {name!r} for {role}{_close(name, logged)}; it has "
                f"{_and(logged)}"
            )
    have = {name: s for name, s in series.items() if len(s)}
    wrote = frameworks([*have, *others])
    statements = []
    if kind is None:
        kind, reason = _kind(have, named, wrote, options)
        statements.append(reason)
    if kind is None:
        return Assignment(None, {role: series[name] for role, name in named.items()}, statements)
    chosen, passed = _chosen(have, kind, named)
    roles = {role: series[name] for role, name in chosen.items()}
    for role, name in sorted(chosen.items()):
        beside = f"; not taken for it: {_and(passed[role])}" if passed.get(role) else ""
        if not role.startswith("kl_dim/") and (name != role or beside):
            statements.append(f"{role} is {name!r}{beside}.")
    dimensions = [name for role, name in chosen.items() if role.startswith("kl_dim/")]
    if dimensions:
        statements.append(f"kl_dim is {dimensions[0]!r} and the like, {len(dimensions)} of them.")
    facts = _meant(chosen, roles, wrote, statements) if kind == "policy" else {}
    return Assignment(kind, roles, statements, facts)


def _kind(
    have: Mapping[str, Series], named: Mapping[str, str], wrote: list[Framework], options: Options
) -> tuple[str | None, str]:
    """What is trained, and why one thinks so."""
    told: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for name in have:
        fits = {kind: {role.split("/")[0] for role in roles_of(name, kind)} - set(_OF_ANY) for kind in KINDS}
        fitting = [kind for kind in KINDS if fits[kind]]
        for kind in fitting:
            word = kind in _TELLING_WORDS and _TELLING_WORDS[kind].search(normalised(name))
            if word or (len(fitting) == 1 and fits[kind] & _TELLING[kind]):
                told[kind].add(name)
    for role, name in named.items():
        holding = [kind for kind in KINDS if is_role(role, kind)]
        if len(holding) == 1:
            told[holding[0]].add(name)
    order = sorted(KINDS, key=lambda kind: (-len(told[kind]), -sum(f.kind == kind for f in wrote)))
    best, second = order[0], order[1]
    by = f" by {wrote[0].name}" if wrote and wrote[0].kind == best else ""
    if len(told[best]) > len(told[second]):
        return best, f"This is the training of a {_CALLED[best]}{by}: the log has {_and(sorted(told[best]), 4)}."
    if told[best] and by:
        return best, f"This is the training of a {_CALLED[best]}{by}, as the names in the log show."
    if told[best]:
        return None, (
            f"What is trained cannot be told: {_and(sorted(told[best]), 3)} would fit a {_CALLED[best]}, "
            f"{_and(sorted(told[second]), 3)} a {_CALLED[second]}; say {options.of_kind(best)} or "
            f"{options.of_kind(second)}."
        )
    return None, (
        f"What is trained cannot be told from {_and(sorted(have))}; say {options.kind}, one of "
        f"{_and([repr(k) for k in KINDS])}."
    )


_CALLED = {"vae": "VAE", "policy": "policy", "distillation": "student by its teacher", "gan": "GAN"}


def _chosen(
    have: Mapping[str, Series], kind: str, named: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The best name for each role, and those that would have fitted too."""
    fits: dict[str, list[tuple[Any, ...]]] = {}
    for name in have:
        if name in named.values():
            continue
        for role, fit in roles_of(name, kind).items():
            fits.setdefault(role, []).append((*fit, name))
    chosen = {role: name for role, name in named.items() if is_role(role, kind)}
    passed = {}
    for role, found in fits.items():
        if role not in named:
            chosen[role] = min(found)[-1]
        passed[role] = sorted(name for *_, name in found if name != chosen[role])
    if kind == "policy" and chosen.get("update_kl") == chosen.get("kl"):
        chosen.pop("update_kl", None)
    # What fits several roles and was taken for one of them was not passed over.
    taken = set(chosen.values())
    return chosen, {role: [name for name in names if name not in taken] for role, names in passed.items()}


def _meant(
    chosen: Mapping[str, str], roles: dict[str, Series], wrote: list[Framework], statements: list[str]
) -> dict[str, Any]:
    """What is known of the series by who wrote the log; the signs that some turn are turned back in ``roles``."""
    facts: dict[str, Any] = {}
    for role in ("kl", "update_kl", "kl_loss", "entropy"):
        if role not in chosen:
            continue
        for framework in wrote:
            found = [framework.meanings[f.text] for f in forms(chosen[role]) if f.text in framework.meanings]
            if found:
                statements.append(f"{chosen[role]!r}, as {framework.name} writes it, {found[0].says}.")
                if role == "kl":
                    facts = dict(found[0].facts)
                break
    if "entropy" in chosen and re.search(r"entropy_loss|loss_entropy", normalised(chosen["entropy"])):
        values = roles["entropy"].finite.values
        # Stable-Baselines3 and TorchRL minimise −H and log that; OpenRLHF logs H under the same name.
        if any(f.name == "Stable-Baselines3" for f in wrote) or (values.size and np.median(values) < 0):
            entropy = roles["entropy"]
            roles["entropy"] = Series(
                entropy.name, entropy.steps, -entropy.values, entropy.restarts, entropy.duplicates
            )
            statements.append(f"{chosen['entropy']!r} is minus the entropy; its sign was turned.")
        else:
            statements.append(f"{chosen['entropy']!r} is taken for the entropy itself, as it is not negative.")
    return facts


def _close(word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (do you mean {close[0]!r}?)" if close else ""


def _and(words: Iterable[str], most: int = 12) -> str:
    words = list(words)
    shown = words if len(words) <= most else [*words[:most], f"{len(words) - most} more"]
    return ", ".join(shown[:-1]) + " and " + shown[-1] if len(shown) > 1 else "".join(shown) or "nothing"
