"""Causes of a KL penalty that is another than the one looked at: without a gradient, in another unit, of another KL."""

from __future__ import annotations

import math

import numpy as np

from dkl.doctor.case import Case, Symptom, cause
from dkl.doctor.causes._policy import BAND, ENOUGH, Controlled, controlled, middle, share, to_reference
from dkl.doctor.finding import Cause, Check, Evidence, Fix
from dkl.doctor.series import Numbers, Series
from dkl.doctor.words import figure

# PPO's rule doubles in one update; so many doublings against a KL that does not answer are no adaptation.
_RUN_AWAY = 100.0
# What counts as an answer of the KL: half of what it was.
_ANSWER = 0.5
# What explains so many of a controller's wrong answers explains them.
_MOSTLY = 0.7


@cause(
    Cause(
        "coefficient run away",
        "policy",
        "The coefficient grows without end while the KL does not answer. The penalty that it multiplies has no "
        "gradient: it is detached, it is k1 in the loss, whose expected gradient is 0, or it does not reach the "
        "optimiser.",
        (
            Fix(
                "Give the penalty a gradient: the exact KL where there are logits.",
                "loss = ppo_kl_loss(old_logits, logits, actions, advantages, beta).loss",
            ),
            Fix(
                "As a loss on sampled actions take k2, whose gradient is that of the KL.",
                'loss = policy_loss + beta * kl_loss(log_prob, ref_log_prob, "k2", on_policy=True)',
            ),
            Fix(
                "Or put k1 into the reward, not into the loss.",
                'reward = score - beta * kl_loss(log_prob, ref_log_prob, "k1", on_policy=True, placement="reward", '
                'reduction="none").sum(-1)',
            ),
        ),
        (
            "A bound on the coefficient: the KL stays where it is.",
            "A higher target: the coefficient runs away later.",
            "A larger coefficient: a thousand times more of it did not move the KL.",
        ),
        "Schulman et al. 2017, arXiv:1707.06347, section 4; Tang & Munos 2025, arXiv:2506.09477",
        ("kl", "kl_coef"),
        checks=(
            Check(
                "See that the penalty has a gradient at the policy's parameters. If it has one, look at the learning "
                "rate: steps can be too long for any penalty.",
                "penalty.backward()\nprint(max(float(p.grad.abs().max()) for p in policy.parameters()))",
            ),
        ),
    )
)
def run_away(case: Case) -> Symptom | None:
    """β multiplied by a hundred, and a KL that did not fall."""
    c = controlled(case)
    if c is None:
        return None
    beta = c.coefficient.values
    top = int(np.argmax(beta))
    low = int(np.argmin(beta[: top + 1]))
    if top - low < ENOUGH or not beta[low] > 0 or beta[top] < _RUN_AWAY * beta[low]:
        return None
    rising = slice(low, top + 1)
    kl, weight = c.kl.values[rising], np.log(beta[rising])
    middle_of_it = 0.5 * (weight[0] + weight[-1])
    upper = weight >= middle_of_it
    before, after = kl[~upper], kl[upper]
    pace = _pace(case, c)[rising]
    answered = middle(after / pace[upper]) < _ANSWER * middle(before / pace[~upper])
    if answered or share(after > BAND * c.target) < 0.4:
        return None
    first, last = float(c.kl.steps[low]), float(c.kl.steps[top])
    return Symptom(
        "error",
        0.9,
        (
            Evidence(
                f"{c.coefficient.name} grows {figure(beta[top] / beta[low])} times, from {figure(beta[low])} at step "
                f"{figure(first)} to {figure(beta[top])} at step {figure(last)}.",
                (c.coefficient,),
                (first, last),
            ),
            Evidence(
                f"{c.kl.name} does not answer: {figure(middle(before))} in the median in the lower half of that rise, "
                f"{figure(middle(after))} in the upper; the target is {figure(c.target)}.",
                (c.kl,),
                (first, last),
                (f"{BAND} × target", BAND * c.target),
            ),
        ),
    )


def _pace(case: Case, c: Controlled) -> Numbers:
    """What the learning rate alone makes of an update's KL: its square, as a step of Adam is as long as the rate."""
    if to_reference(case) or "learning_rate" not in case or not len(rate := case["learning_rate"].finite):
        return np.ones(c.kl.values.size)
    at = rate.at(c.kl.steps)
    told = np.isfinite(at) & (at > 0)
    return np.where(told, at / rate.values.max(), 1.0) ** 2


@cause(
    Cause(
        "target in another unit",
        "policy",
        "The controller lowers the coefficient where the logged KL is above the target, or raises it below: it is "
        "given another KL. A mean over tokens is smaller than a sum over a sequence by the number of tokens.",
        (
            Fix(
                "Give the controller the KL in the target's unit; AdaptiveKL refuses any other.",
                'controller = AdaptiveKL(target=target_kl, beta=0.1, unit="sequence")\n'
                'kl = kl_estimate(log_prob, ref_log_prob, "k1", unit="sequence", mask=mask).value\n'
                'beta = controller.update(kl, unit="sequence")',
            ),
            Fix("Or convert the target: per token it is the target for a sequence over the response's length."),
        ),
        (
            "A narrower bound of the coefficient: it stands at the bound then, and holds no target.",
            "A faster controller: it goes the wrong way faster.",
        ),
        "Ziegler et al. 2019, arXiv:1909.08593, section 2.2: the KL of whole samples",
        ("kl", "kl_coef"),
    )
)
def other_unit(case: Case) -> Symptom | None:
    """β goes down above the target, or up below it."""
    c = controlled(case)
    if c is None or c.is_constant:
        return None
    answers = c.answers
    over, under = c.over[:-1], c.under[:-1]
    wrong = (over & (answers < 0)) | (under & (answers > 0))
    right = (over & (answers > 0)) | (under & (answers < 0))
    if wrong.sum() < max(ENOUGH, 0.2 * answers.size) or wrong.sum() < 2 * right.sum():
        return None
    falls = bool((over & (answers < 0)).sum() * 2 >= wrong.sum())
    steps = c.kl.steps[:-1][wrong]
    what = "falls though the KL is above" if falls else "rises though the KL is below"
    evidence = [
        Evidence(
            f"{c.coefficient.name} {what} the band around the target of {figure(c.target)}, in {int(wrong.sum())} of "
            f"{int((over | under).sum())} updates outside it.",
            (c.coefficient, c.kl),
            (float(steps[0]), float(steps[-1])),
            ("target", c.target),
        )
    ]
    confidence = 0.7
    length = _length(case, c.kl)
    if length is not None:
        other = c.kl.values[:-1] / length[:-1] if falls else c.kl.values[:-1] * length[:-1]
        explained = share(other[wrong] < BAND * c.target if falls else other[wrong] > c.target / BAND)
        if explained > _MOSTLY:
            confidence = 0.9
            by = "divided by" if falls else "times"
            evidence.append(
                Evidence(
                    f"{c.kl.name} {by} the response's length of {figure(middle(length))} tokens is "
                    f"{figure(middle(other[wrong]))} at these steps: of that the controller's answers are right.",
                    (c.kl,),
                )
            )
    return Symptom("error", confidence, tuple(evidence))


def _length(case: Case, kl: Series) -> Numbers | None:
    if "response_length" in case:
        return case["response_length"].at(kl.steps)
    known = case.known.get("response_length")
    return None if known is None else np.full(len(kl), float(known))


# A KL in the loss and one in the log agree within this factor by whatever estimators: k2 is twice the KL at most where
# the policies are near, and means over minibatches of an update run ahead of the one before it.
_AGREE = 3.0


@cause(
    Cause(
        "KL logged is not the KL trained",
        "policy",
        "The KL in the loss is another than the one in the log: to another policy, in another direction, clamped, or "
        "of other tokens. What is looked at is not what is held.",
        (
            Fix(
                "Compute both from the same log-probabilities, with the reference frozen.",
                "with torch.no_grad():\n    ref_log_prob = reference(tokens)\n"
                'loss = policy_loss + beta * kl_loss(log_prob, ref_log_prob, "k2", on_policy=True, mask=mask)\n'
                'log(kl=kl_estimate(log_prob, ref_log_prob, "k3", mask=mask).value)',
            ),
        ),
        (
            "A larger coefficient: it holds the other KL tighter.",
            "An adaptive coefficient: it runs away, for what it holds does not answer.",
        ),
        "Tang & Munos 2025, arXiv:2506.09477; dkl.training.kl_loss",
        ("kl", "kl_loss"),
        checks=(
            Check("See that the reference is no copy that is updated with the policy, and shares no weights with it."),
        ),
    )
)
def not_trained(case: Case) -> Symptom | None:
    """The KL in the loss is no multiple of the KL in the log that anything explains."""
    if not to_reference(case) or case["kl"] is case["kl_loss"]:
        return None
    logged = case["kl"].finite
    trained = case["kl_loss"].finite.at(logged.steps)
    # Near its start the KL is all noise.
    told = np.isfinite(trained) & (logged.values > 0.1 * max(logged.values.max(), 0.0))
    if told.sum() < ENOUGH or not middle(logged.values[told]) > 0:
        return None
    kl = logged.where(told)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = trained[told] / kl.values
        factors = {"": np.ones(told.sum())}
        if "kl_coef" in case:
            factors["times the coefficient"] = case["kl_coef"].at(kl.steps)
        length = _length(case, kl)
        if length is not None:
            factors |= {
                f"{name} {how} the response's length".strip(): factor * by
                for name, factor in factors.items()
                for how, by in (("over", 1 / length), ("times", length))
            }
        explained = {
            name: max(abs(np.log(np.abs(ratio / factor)))) if (ratio * factor > 0).all() else math.inf
            for name, factor in factors.items()
        }
        close = {
            name: share(np.abs(np.log(np.abs(ratio / factor))) < math.log(_AGREE)) for name, factor in factors.items()
        }
    if max(close.values()) > 0.5 or not explained:
        return None
    off = np.flatnonzero(told)
    last = int(off[-1])
    return Symptom(
        "error",
        0.9,
        (
            Evidence(
                f"{case['kl_loss'].name} is {figure(middle(ratio))} times {logged.name} in the median, between "
                f"{figure(ratio.min())} and {figure(ratio.max())} times: no factor such as the coefficient or a "
                f"response's length explains it. At step {figure(logged.steps[last])} they are "
                f"{figure(trained[last])} and {figure(logged.values[last])}.",
                (case["kl_loss"], case["kl"]),
                (float(kl.steps[0]), float(kl.steps[-1])),
            ),
        ),
    )
