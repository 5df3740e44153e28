"""Causes of a KL to the reference that is wrong as a number: what is drawn is not what is counted and scored."""

from __future__ import annotations

import numpy as np

from dkl.doctor.case import Case, Symptom, cause
from dkl.doctor.causes._policy import ENOUGH, middle, negative, risen, share, signed_kl, to_reference
from dkl.doctor.finding import Cause, Check, Evidence, Fix
from dkl.doctor.series import Series
from dkl.doctor.words import figure

# The policy and its reference are one: k2 and k3 are then 0 to rounding, whatever was sampled. Float16 and bfloat16
# round log-probabilities at 1e-2, of which ½ d² is 5e-5 for each token, and a thousand tokens to a sequence at most.
_ZERO = 5e-2
_ZERO_OF_A_TOKEN = 5e-4

# Verified on samplers that differ from their trainer by number format alone, whose k3 is 1e-3 for each token and below.
_MISMATCH_KL = 0.02
# Of what is sampled from the policy itself all weights are 1; formats leave 0.95.
_MISMATCH_SAMPLE = 0.85
_MISMATCH_MEAN = 0.1
# What shows that sampler and trainer are one.
_MATCHED_SAMPLE = 0.95
_MATCHED_MEAN = 0.03
# For what the policy sampled k1 and k3 have the same mean; beyond this factor, step after step, they do not.
_APART = 1.5
_OFTEN = 0.7
# Responses that shrink to this share of their length leave more padding than text, in batches that were half full.
_SHORTER = 0.6
# Below this KL for each token a batch holds the mass that k3 weighs most.
_NEAR = 0.5


def _length(case: Case) -> float:
    if "response_length" in case:
        return max(middle(case["response_length"].values), 1.0)
    return max(float(case.known.get("response_length", 1.0)), 1.0)


_START = Cause(
    "KL not zero at the start",
    "policy",
    "Training starts from the reference itself, so the first KL must be 0, and it is not. Dropout is on, a temperature "
    "divides one policy's logits alone, an adapter is not 0 yet, or the reference is another model.",
    (
        Fix(
            "Compute log-probabilities without dropout, of both policies and in every pass.",
            "policy.eval(); reference.eval()\nfor module in policy.modules():\n"
            "    if isinstance(module, torch.nn.Dropout):\n        module.p = 0.0",
        ),
        Fix(
            "Divide both policies' logits by the sampler's temperature, or neither.",
            "log_prob, ref_log_prob = ((logits / temperature).log_softmax(-1) for logits in (logits, ref_logits))",
        ),
        Fix("Start the adapter at 0.", "torch.nn.init.zeros_(adapter.lora_B.weight)"),
    ),
    (
        "A larger coefficient: what dropout adds to the KL no penalty takes away.",
        "A higher target: the floor stays, and differs from run to run.",
    ),
    "Hu et al. 2021, arXiv:2106.09685, section 4.1 (adapters start at 0); dkl.training.kl_estimate",
    ("kl",),
    checks=(Check("See that both come from one checkpoint, in one number format."),),
)


@cause(_START)
def start(case: Case) -> Symptom | None:
    """The first KL to the reference is not 0."""
    if not to_reference(case) or case.known.get("policy_is_reference") is False:
        return None
    first: Series | None = next(
        (case[role].finite for role in ("kl_k3", "kl_k2", "kl", "kl_k1") if role in case and len(case[role].finite)),
        None,
    )
    if first is None:
        return None
    told = case.known.get("policy_is_reference") is True
    value, step = float(first.values[0]), float(first.steps[0])
    # What was logged later is a mean over updates, in which the policy has moved.
    if step > 1 and not told:
        return None
    zero = _ZERO_OF_A_TOKEN if case.known.get("unit") == "token" else _ZERO
    following = middle(np.abs(first.values[1 : 1 + ENOUGH]))
    grown = len(first) > 1 and step > 0 and abs(value) < 0.5 * following
    if abs(value) <= zero or grown:
        return None
    evidence = [
        Evidence(
            f"{first.name} is {figure(value)} nats at step {figure(step)}, the first: it must be 0.",
            (first,),
            (step, float(first.steps[min(len(first) - 1, ENOUGH)])),
            ("0", 0.0),
        )
    ]
    fixes = _START.fixes
    k1 = signed_kl(case)
    if k1 is not None and k1.name != first.name:
        signed = float(k1.values[0])
        if signed < -zero:
            evidence.append(
                Evidence(
                    f"{k1.name} is {figure(signed)} there, below 0: the log-probabilities are not those by which the "
                    "tokens were drawn, as dropout makes it.",
                    (k1,),
                )
            )
        elif signed > zero:
            evidence.append(
                Evidence(
                    f"{k1.name} is {figure(signed)} there, above 0: the policy that wrote differs from the reference, "
                    "as a temperature or an adapter makes it.",
                    (k1,),
                )
            )
            fixes = (*_START.fixes[1:], _START.fixes[0])
    return Symptom("error", 0.95 if told else 0.75, tuple(evidence), fixes)


def _matched(case: Case) -> bool | None:
    """Whether the importance weights show that sampler and trainer are one; None where none are logged."""
    told: list[bool] = []
    sample = _sample(case)
    if sample is not None:
        told.append(middle(sample.values) > _MATCHED_SAMPLE)
    if "importance_mean" in case:
        told.append(abs(middle(case["importance_mean"].values) - 1) < _MATCHED_MEAN)
    if "rollout_kl" in case:
        told.append(middle(case["rollout_kl"].values) < _MISMATCH_KL)
    return all(told) if told else None


def _sample(case: Case) -> Series | None:
    """The effective sample size as a share."""
    if "effective_sample_size" not in case or not len(size := case["effective_sample_size"].finite):
        return None
    if size.values.max() <= 1 + 1e-6:
        return size
    of = case.known.get("batch_size")
    return None if of is None else Series(size.name, size.steps, size.values / float(of))


def _weights(case: Case) -> list[Evidence]:
    """Evidence by importance weights that what is sampled is not what is trained."""
    found = []
    sample = _sample(case)
    if sample is not None and middle(sample.values) < _MISMATCH_SAMPLE:
        found.append(
            Evidence(
                f"{sample.name} is {middle(sample.values):.0%} of the samples in the median; where sampler and "
                "trainer are one it is 100 %.",
                (sample,),
            )
        )
    if "importance_mean" in case and len(mean := case["importance_mean"].finite):
        late = mean.part(0.5, 1.0)
        if abs(middle(late.values) - 1) > _MISMATCH_MEAN:
            found.append(
                Evidence(
                    f"{mean.name} is {figure(middle(late.values))} in the second half; of any two policies with one "
                    "support it is 1, so the sampler leaves out what the trainer counts.",
                    (mean,),
                    (float(late.steps[0]), float(late.steps[-1])),
                    ("1", 1.0),
                )
            )
    if "rollout_kl" in case and len(kl := case["rollout_kl"].finite) and middle(kl.values) > _MISMATCH_KL:
        found.append(
            Evidence(
                f"{kl.name} is {figure(middle(kl.values))} nats for each token in the median; number formats alone "
                "make 1e-3 and less.",
                (kl,),
                None,
                ("usual at most", 1e-3),
            )
        )
    return found


def _apart(case: Case) -> Evidence | None:
    """Evidence that k1 and k3 have different means, as they never do on what the policy itself has drawn."""
    k1 = signed_kl(case)
    if k1 is None or "kl_k3" not in case or case["kl_k3"].name == k1.name:
        return None
    k3 = case["kl_k3"].finite.at(k1.steps)
    error = case["kl_stderr"].at(k1.steps) if "kl_stderr" in case else 0.1 * np.abs(k1.values)
    told = np.isfinite(k3) & np.isfinite(error) & (k3 > 0.02 * max(middle(k3), 0.0))
    if told.sum() < ENOUGH:
        return None
    k1, k3, error = k1.where(told), k3[told], error[told]
    high = k3 > _APART * k1.values + 2 * error
    low = (k3 * _APART < k1.values - 2 * error) & (k1.values / _length(case) < _NEAR)
    often = max(share(high), share(low))
    if often < _OFTEN:
        return None
    which = "larger" if share(high) >= share(low) else "smaller"
    at = len(k3) // 2
    return Evidence(
        f"k3 is {which} than k1 in {often:.0%} of the steps, such as {figure(k3[at])} against {figure(k1.values[at])} "
        f"at step {figure(k1.steps[at])}: both have the mean KL on tokens that the policy drew, so it did not draw "
        "these.",
        (case["kl_k3"], k1),
    )


@cause(
    Cause(
        "sampler and trainer differ",
        "policy",
        "The sequences are drawn by another distribution than the one whose log-probabilities are used: a "
        "temperature, a top-k or top-p cut, a forbidden end token, old weights, or a coarser number format. k1 is "
        "then no estimate of a KL and may be negative; ratios and advantages are biased too.",
        (
            Fix(
                "Draw from the policy as it is: temperature 1, no top-k, top-p or least length, weights of this "
                "iteration.",
                "generate(policy, temperature=1.0, top_k=0, top_p=1.0, min_new_tokens=None)",
            ),
            Fix(
                "Apply what the sampler does to the logits of the trainer and of the reference as well.",
                "log_prob, ref_log_prob = (warp(x).log_softmax(-1) for x in (logits, ref_logits))",
            ),
            Fix(
                "Weight by the sampler's own log-probabilities, with the penalty in the loss.",
                'kl = kl_loss(log_prob, ref_log_prob, "k2", on_policy=False, behavior_log_prob=sampler_log_prob)',
            ),
        ),
        (
            "Cutting the KL off at 0, or taking its absolute value: the number is positive then, and no KL either.",
            "k3 instead of k1 for reading: it is never negative, and as wrong.",
            "A larger coefficient: it weighs the wrong number.",
        ),
        'Amini, Vieira & Cotterell 2025, arXiv:2504.10637; Yao et al. 2025, "Your efficient RL framework secretly '
        "brings "
        'you off-policy RL training"',
        ("kl",),
    )
)
def mismatch(case: Case) -> Symptom | None:
    """Weights that are not 1, or k1 and k3 with different means."""
    weights, matched = _weights(case), _matched(case)
    apart = _apart(case) if to_reference(case) and not matched else None
    evidence = [*weights, *([apart] if apart else [])]
    if not evidence:
        return None
    k1 = signed_kl(case)
    below = None if k1 is None else negative(case, k1)
    if below is not None:
        evidence.append(below)
    sample = _sample(case)
    severe = below is not None or len(evidence) > 1 or (sample is not None and middle(sample.values) < 0.5)
    # Without weights padding and forced tokens would look the same.
    most = 0.95 if weights else 0.75
    return Symptom("error" if severe else "warning", min(most, 0.7 + 0.1 * len(evidence)), tuple(evidence))


@cause(
    Cause(
        "padding in the KL",
        "policy",
        "Tokens after the end of a response are counted: their log-probabilities were never trained, and drift to any "
        "value, negative too. Inside the reward the policy learns to write less, and to be paid for padding.",
        (
            Fix(
                "Give the mask of the response to every mean: of the KL, of the reward's penalty and of the loss.",
                "mask = (tokens != pad).cumprod(-1).bool()   # the end token counts, what follows does not\n"
                'kl = kl_estimate(log_prob, ref_log_prob, "k1", unit="sequence", mask=mask).value',
            ),
        ),
        (
            "A smaller coefficient: the policy is paid less for padding, and still is.",
            "Cutting the KL off at 0: padding then hides the KL of the tokens that count.",
        ),
        'Huang et al. 2024, arXiv:2403.17031, "The N+ implementation details of RLHF with PPO"',
        ("kl", "response_length"),
        checks=(
            Check("See that the mask can tell padding from the end token, as where padding is a token of its own."),
        ),
    )
)
def padding(case: Case) -> Symptom | None:
    """A negative KL with matched samplers, or one that falls with the length of the responses."""
    k1 = signed_kl(case)
    if k1 is None:
        return None
    below, matched = negative(case, k1), _matched(case)
    if below is None or matched is False:
        return None
    length = case["response_length"].finite
    at = length.at(k1.steps)
    told = np.isfinite(at)
    evidence, confidence = [below], 0.55
    if matched:
        evidence.append(
            Evidence(
                "The importance weights are 1: the sampler is not another policy, so what is counted beside its tokens "
                "makes the KL negative.",
                tuple(
                    case[role] for role in ("importance_mean", "effective_sample_size", "rollout_kl") if role in case
                ),
            )
        )
        confidence = 0.95
    elif _apart(case) is None and not share(np.diff(at[told]) != 0):
        return None
    if told.sum() >= 2 * ENOUGH:
        began = middle(at[told][:ENOUGH])
        shortest = middle(np.sort(at[told])[: max(ENOUGH, int(told.sum()) // 5)])
        if shortest < _SHORTER * began:
            evidence.append(
                Evidence(
                    f"{length.name} falls from {figure(began)} to {figure(shortest)} tokens meanwhile: the shorter the "
                    "responses, the more padding there is to be paid for.",
                    (length, k1),
                )
            )
            confidence = max(confidence, 0.85)
    return Symptom("error", confidence, tuple(evidence))


@cause(
    Cause(
        "reward fed by a negative KL",
        "policy",
        "The reward holds −β·KL, and the KL is negative: the policy is paid for it. The reward rises while the score "
        "does not, for the policy learns to make an estimate wrong.",
        (
            Fix(
                "Count what the policy itself drew, and nothing else: no padding, and no sampler that is another.",
                "mask = (tokens != pad).cumprod(-1).bool()   # the end token counts, what follows does not\n"
                'kl = kl_estimate(log_prob, ref_log_prob, "k1", unit="sequence", mask=mask).value',
            ),
            Fix(
                "Meanwhile take the penalty out of the reward, and the exact KL into the loss.",
                'kl = policy_kl(logits, ref_logits, mask=mask, reduction="none").sum(-1).mean()\n'
                "loss = policy_loss + beta * kl",
            ),
        ),
        (
            "A larger coefficient: it pays more for the same error.",
            "An adaptive coefficient: it falls, for the KL is below its target.",
            "Reading the reward alone: it looks like learning.",
        ),
        "Stiennon et al. 2020, arXiv:2009.01325, equation 2 (the reward with its penalty)",
        ("kl", "reward"),
        checks=(
            Check(
                "Log the weights of the trainer over the sampler: where they are 1, it is padding that is counted.",
                "weight = (log_prob - sampler_log_prob)[mask].exp()\n"
                "log(importance_mean=weight.mean(), effective_sample_size=weight.mean() ** 2 / (weight ** 2).mean())",
            ),
        ),
    )
)
def reward_fed(case: Case) -> Symptom | None:
    """A rising reward, a negative KL, and a score that does not rise."""
    k1 = signed_kl(case)
    below = None if k1 is None else negative(case, k1)
    if k1 is None or below is None or len(case["reward"].finite) < ENOUGH:
        return None
    before, after = risen(case["reward"])
    _, late = risen(k1)
    if not (after > before and late < 0):
        return None
    evidence = [
        Evidence(
            f"{case['reward'].name} rises from {figure(before)} in the first third to {figure(after)} in the last.",
            (case["reward"],),
        ),
        below,
    ]
    confidence = 0.6
    if "score" in case and case["score"] is not case["reward"] and len(case["score"].finite) >= ENOUGH:
        low, high = risen(case["score"])
        if high - low > 0.5 * (after - before):
            return None
        evidence.append(
            Evidence(
                f"{case['score'].name}, the reward without its penalty, goes from {figure(low)} to {figure(high)}.",
                (case["score"],),
            )
        )
        confidence = 0.8
    return Symptom("error", confidence, tuple(evidence))
