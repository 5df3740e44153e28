"""What a case's own series tell of their units and reductions: facts that the caller need not give, each stated."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dkl.doctor.case import Case
from dkl.doctor.roles import ROLES
from dkl.doctor.series import Numbers, Series

# Logged figures are of single precision, and averaged over other batches at worst: what agrees to this is one number.
_AGREE = 2e-3
# Where a term is a smaller share of the loss, its factor drowns in the loss's rounding.
_SHARE = 1e-3
# So many steps tell a law from chance.
_ENOUGH = 5


def infer(case: Case) -> None:
    """Add to a case what its series tell: facts to ``known`` that the caller did not give, and statements."""
    for step in _STEPS.get(case.kind, ()):
        step(case)


def _latent_dim(case: Case) -> None:
    dimensions = case.many("kl_dim")
    if dimensions and "latent_dim" not in case.known and f"kl_dim/{len(dimensions) - 1}" in case:
        case.known["latent_dim"] = len(dimensions)


def _kl_of_dimensions(case: Case) -> None:
    """Whether the KL logged is the sum over the latent dimensions, or their mean."""
    dimensions = case.many("kl_dim")
    if "kl" not in case or len(dimensions) < 2 or "kl_reduction" in case.known:
        return
    steps = case["kl"].finite.steps
    kl = case["kl"].at(steps)
    total = np.sum([series.at(steps) for series in dimensions], axis=0)
    told = np.isfinite(total) & (np.abs(total) > 0)
    if told.sum() < _ENOUGH:
        return
    for name, factor in (("sum", 1.0), ("mean", 1 / len(dimensions))):
        if _constant(kl[told] / total[told], factor):
            case.known["kl_reduction"] = name
            case.statements.append(f"kl is the {name} of the {len(dimensions)} kl_dim, at every step.")


def _weight_of_kl(case: Case) -> None:
    """Whether the KL logged is β·KL already, and β where it is not logged: by what loss − reconstruction is of it."""
    if not all(role in case for role in ("loss", "reconstruction", "kl")):
        return
    steps = case["kl"].finite.steps
    loss, reconstruction, kl = (case[role].at(steps) for role in ("loss", "reconstruction", "kl"))
    with np.errstate(invalid="ignore"):
        told = np.isfinite(loss) & np.isfinite(reconstruction) & (np.abs(kl) > _SHARE * np.abs(loss))
    if told.sum() < _ENOUGH:
        return
    weight = (loss[told] - reconstruction[told]) / kl[told]
    beta = case["beta"].at(steps)[told] if "beta" in case else None
    if beta is None and "beta" in case.known:
        beta = np.full(weight.size, float(case.known["beta"]))
    if beta is not None:
        if _constant(beta, 1.0):
            return
        with np.errstate(divide="ignore", invalid="ignore"):
            raw = _constant((weight / beta)[beta != 0], 1.0)
        if raw:
            _state(case, "kl_is", "raw", "loss is reconstruction + β·kl at every step: kl is logged without β.")
        elif _constant(weight, 1.0):
            _state(
                case,
                "kl_is",
                "weighted",
                "loss is reconstruction + kl though β is not 1: kl is logged times β already.",
            )
    elif _constant(weight, 1.0):
        case.statements.append(
            "loss is reconstruction + kl at every step: β is 1, or kl is logged times β; log β or give it to tell."
        )
    elif _constant(weight, float(np.median(weight))) and np.median(weight) > 0:
        found = float(np.median(weight))
        _state(case, "beta", found, f"loss is reconstruction + {found:.4g}·kl at every step: β is {found:.4g}.")
        case.known.setdefault("kl_is", "raw")


def _estimate(case: Case) -> None:
    """Which of the three estimates the KL is, where that is known."""
    estimate = f"kl_{case.known.get('estimator')}"
    if "kl" in case and estimate in ROLES["policy"]:
        case.roles.setdefault(estimate, case["kl"])


def _target_kl(case: Case) -> None:
    if "target_kl" in case and "target_kl" not in case.known:
        values = case["target_kl"].finite.values
        if values.size and _constant(values, float(values[-1])):
            case.known["target_kl"] = float(values[-1])


def _soft_loss(case: Case) -> None:
    """The divergence between teacher and student where only the loss is logged: what the labels leave of it."""
    if "kl" in case or "loss" not in case:
        return
    loss = case["loss"]
    weight = case.known.get("weight")
    if "weight" in case and weight is None and len(case["weight"].finite):
        weight = float(case["weight"].finite.values[-1])
    if not weight and (weight == 0 or "cross_entropy" not in case):
        case.roles["kl"] = loss
        case.statements.append(f"kl is {loss.name!r}: nothing says that labels have a share in it.")
    elif weight and weight < 1 and "cross_entropy" in case:
        kept = loss.where(np.isin(loss.steps, case["cross_entropy"].steps))
        values = (kept.values - weight * case["cross_entropy"].at(kept.steps)) / (1 - weight)
        name = f"({loss.name} − {weight:g}·{case['cross_entropy'].name})/{1 - weight:g}"
        case.roles["kl"] = Series(name, kept.steps, values)
        case.statements.append(f"kl is {name}: what the labels leave of the loss.")


def _unit_of_kl(case: Case) -> None:
    """Whether the KL of a policy is a sum over a sequence or a mean over tokens: by what the reward lacks of the score.

    The reward of a sequence is its score less β times the KL of the whole sequence [1, equation 2].

    .. [1] N. Stiennon et al., "Learning to summarize from human feedback", arXiv:2009.01325 (2020).
    """
    if "unit" in case.known or not all(role in case for role in ("kl", "reward", "score", "kl_coef")):
        return
    steps = case["kl"].finite.steps
    kl, reward, score, weight = (case[role].at(steps) for role in ("kl", "reward", "score", "kl_coef"))
    with np.errstate(invalid="ignore"):
        told = np.isfinite(reward) & np.isfinite(score) & (np.abs(weight * kl) > _SHARE * np.abs(score))
    if told.sum() < _ENOUGH:
        return
    times = (score[told] - reward[told]) / (weight[told] * kl[told])
    if _constant(times, 1.0):
        _state(case, "unit", "sequence", "reward is score − kl_coef·kl at every step: kl is the sum over a sequence.")
        return
    if "response_length" in case:
        tokens = times / case["response_length"].at(steps)[told]
        # The mean of a product is not the product of the means.
        if bool(np.all(np.abs(tokens - 1) < 0.5)) and abs(float(np.median(tokens)) - 1) < 0.1:
            said = "reward is score − kl_coef·kl times the response's length: kl is the mean over tokens."
            _state(case, "unit", "token", said)


def _state(case: Case, name: str, value: object, sentence: str) -> None:
    case.statements.append(sentence)
    case.known.setdefault(name, value)


def _constant(values: Numbers, level: float) -> bool:
    return values.size > 0 and bool(np.all(np.abs(values - level) <= _AGREE * abs(level)))


_STEPS: dict[str, tuple[Callable[[Case], None], ...]] = {
    "distillation": (_soft_loss,),
    "vae": (_latent_dim, _kl_of_dimensions, _weight_of_kl),
    "policy": (_estimate, _target_kl, _unit_of_kl),
}
