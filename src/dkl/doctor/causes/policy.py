"""Causes of a policy's update that goes wrong: too far, nowhere, or into certainty."""

from __future__ import annotations

import numpy as np

from dkl.doctor.case import Case, Symptom, cause
from dkl.doctor.causes._policy import BAND, ENOUGH, controlled, middle, share, target_kl, update_kl, update_target
from dkl.doctor.finding import Cause, Check, Evidence, Fix
from dkl.doctor.series import Series
from dkl.doctor.words import figure

# Without a target. A clip of 0.2 holds the KL of small steps to about ½·0.2² = 0.02: what is five times that was not
# held.
_LARGE = 0.1
# Adam moves every parameter by about its learning rate at each step. Policies are trained with 1e-6 to 3e-3; from here
# on a single step changes what a layer of width 100 says by as much as its input does.
_FAST = 0.01
# Beyond its range the clip has no gradient, so that steps which are small beside the range leave few ratios far outside
# it; where this share of them is outside, single steps leap over it.
_LEAPT = 0.3
# Updates over the target happen; this share of them in the worse half of a run is a rule.
_OFTEN = 0.6
# Twice the target on average is beyond what the band of 1.5 lets pass.
_FAR = 2.0
# Five times the target: PPO's derivation, for which the policies are near each other, no longer holds.
_BROKEN = 5.0
# In nats for each action: what the policy did two times out of three it now does one time in twenty. Once is enough,
# for a
# policy that has become certain of the wrong action does not move again, and its KL is 0 from there on.
_RUINED = 1.0
# In nats for each action. Float32 log-probabilities round at 1e-7; a policy that moves less learns nothing in a million
# updates.
_STILL = 1e-6
# The entropy of what is left when all but one of twenty actions are given up.
_COLLAPSED = 0.1
# What counts as no worse than the best third of a run.
_KEPT = 0.8

_STEP_CODE = """\
for epoch in range(epochs):
    for batch in minibatches(rollout):
        loss = ppo_clip_loss(policy.log_prob(batch), batch.old_log_prob, batch.advantages)
        if loss.kl > 1.5 * target_kl:   # k3, never negative
            break
        ..."""


def _fast(case: Case) -> tuple[Evidence, ...]:
    """Evidence that single steps of the optimiser are too long; none if they are not, or nothing tells."""
    told: list[Evidence] = []
    if "learning_rate" in case:
        rate = case["learning_rate"].finite
        if not len(rate) or rate.values.max() < _FAST:
            return ()
        told.append(
            Evidence(
                f"{rate.name} is {figure(rate.values.max())}: policies are trained with 1e-6 to 3e-3.",
                (rate,),
                None,
                ("usual at most", 3e-3),
            )
        )
    if "clip_fraction" in case:
        outside = case["clip_fraction"].finite
        if len(outside) and outside.values.max() > _LEAPT:
            at = int(np.argmax(outside.values))
            told.append(
                Evidence(
                    f"{outside.name} reaches {outside.values[at]:.0%} at step {figure(outside.steps[at])}: steps leap "
                    "over the clip, beyond which there is no gradient to bring a ratio back.",
                    (outside,),
                )
            )
    return tuple(told)


def _worse_half(kl: Series, limit: float) -> tuple[Series, float]:
    """The half of the run with more updates above a limit, and their share."""
    halves = (kl.part(0.0, 0.5), kl.part(0.5, 1.0))
    shares = [share(half.values > limit) for half in halves]
    return halves[int(shares[1] > shares[0])], max(shares)


def _too_far(case: Case) -> tuple[Evidence, float] | None:
    """Evidence that updates go too far, and how many times so."""
    kl = update_kl(case)
    if kl is None:
        return None
    target = update_target(case)
    limit, called = (BAND * target, f"{BAND} times the target") if target else (_LARGE, "what a clip of 0.2 allows")
    half, often = _worse_half(kl, limit)
    typical = middle(half.values)
    far = typical / target if target else typical / _LARGE * _BROKEN
    worst = int(np.argmax(kl.values))
    if kl.values[worst] > _RUINED:
        return (
            Evidence(
                f"{kl.name}, the KL between the policy that acted and the new one, is {figure(kl.values[worst])} nats "
                "for "
                f"each action at step {figure(kl.steps[worst])}: by one update the policy has become another.",
                (kl,),
                (float(kl.steps[worst]), float(kl.steps[worst])),
                (called, limit),
            ),
            kl.values[worst] / (target or _LARGE),
        )
    if often < _OFTEN or far < _FAR:
        return None
    beside = f"; the target is {figure(target)}" if target else ""
    return (
        Evidence(
            f"{kl.name}, the KL between the policy that acted and the new one, is {figure(typical)} nats in the "
            f"median of its worse half{beside}, and above {called} in {often:.0%} of those updates.",
            (kl,),
            (float(half.steps[0]), float(half.steps[-1])),
            (called, limit),
        ),
        far,
    )


@cause(
    Cause(
        "learning rate too large",
        "policy",
        "Single steps of the optimiser move the policy farther than a whole update should. Neither the clip nor the "
        "penalty can hold that: they change the gradient after a step has been taken, and the first one is free.",
        (
            Fix(
                "Lower the learning rate by 10 times, and again until the KL of an update is near 0.01 nats.",
                "optimizer = torch.optim.Adam(policy.parameters(), lr=3e-4, eps=1e-5)",
            ),
        ),
        (
            "Early stopping by the KL: it comes after the step that was too long.",
            "A warm-up: the steps are as long when it is over.",
        ),
        "Schulman et al. 2017, arXiv:1707.06347, sections 3 and 4; Kingma & Ba 2015, arXiv:1412.6980, section 2.1",
        ("kl",),
    )
)
def learning_rate(case: Case) -> Symptom | None:
    """Updates too far, by steps each of which is too long."""
    found = _too_far(case)
    told = _fast(case)
    if found is None or not told:
        return None
    evidence, far = found
    # With a penalty that should hold the KL, why it does not comes first.
    confidence = 0.5 if _penalised(case) else 0.75 + 0.1 * len(told)
    return Symptom("error" if far > _BROKEN or len(told) > 1 else "warning", confidence, (evidence, *told))


@cause(
    Cause(
        "step too large",
        "policy",
        "All the updates on one batch together move the policy farther from the one that acted than the target allows. "
        "Advantages and ratios are then those of another policy, and the surrogate rises while the return need not.",
        (
            Fix("Stop going over a batch where the KL passes 1.5 times the target.", _STEP_CODE),
            Fix("Narrow the clip to 0.2 or less.", "ppo_clip_loss(log_prob, old_log_prob, advantages, clip=0.2)"),
        ),
        (
            "Clipping the gradient's norm: Adam divides by the gradient's size, so that its steps stay as long.",
            "Fewer epochs alone: under a wide clip a quarter of them goes about as far.",
            "Relying on the clip: it bounds no KL, for a ratio inside its range moves on by other rows' gradients.",
        ),
        "Schulman et al. 2017, arXiv:1707.06347, sections 3 and 4; Hsu et al. 2020, arXiv:2009.10897",
        ("kl",),
    )
)
def step_too_large(case: Case) -> Symptom | None:
    """Updates too far, by many steps."""
    found = _too_far(case)
    if found is None or _fast(case) or _penalised(case):
        return None
    evidence, far = found
    told = [evidence]
    if "epochs" in case and len(passes := case["epochs"].finite):
        told.append(Evidence(f"{passes.name} is {figure(middle(passes.values))} passes over each batch.", (passes,)))
    return Symptom("error" if far > _BROKEN else "warning", 0.8, tuple(told))


def _penalised(case: Case) -> bool:
    """Whether a penalty is there to hold the update's KL: then the question is why it does not."""
    return update_target(case) is not None and controlled(case) is not None


@cause(
    Cause(
        "policy does not move",
        "policy",
        "The policy after an update is that before it, to the rounding of its log-probabilities. It learns nothing: "
        "the learning rate is near 0, the parameters are not the optimiser's, or the advantages are all 0.",
        (
            Fix(
                "Raise the learning rate until the KL of an update is near 0.01 nats.",
                "optimizer = torch.optim.Adam(policy.parameters(), lr=3e-4, eps=1e-5)",
            ),
        ),
        (
            "Fewer penalties: a smaller β changes which way the policy goes, not that it does.",
            "Longer training: at this pace a million updates come to nothing.",
        ),
        "Schulman et al. 2017, arXiv:1707.06347, section 4",
        ("kl",),
        checks=(
            Check(
                "See that the optimiser holds the policy's parameters, and that they have a gradient.",
                "held = {id(p) for group in optimizer.param_groups for p in group['params']}\n"
                "assert all(id(p) in held and p.grad.abs().sum() > 0 for p in policy.parameters())",
            ),
            Check("See that the advantages are not all 0, as in a group of equal rewards.", "print(advantages.std())"),
        ),
    )
)
def still(case: Case) -> Symptom | None:
    """Updates that leave the policy where it was."""
    kl = update_kl(case)
    if kl is None or not 0 <= np.abs(kl.values).max() < _STILL:
        return None
    evidence = [
        Evidence(
            f"{kl.name}, the KL between the policy that acted and the new one, is never above "
            f"{figure(np.abs(kl.values).max())} nats.",
            (kl,),
            None,
            ("rounding", _STILL),
        )
    ]
    if "learning_rate" in case and len(rate := case["learning_rate"].finite):
        evidence.append(Evidence(f"{rate.name} is {figure(rate.values.max())} at most.", (rate,)))
    return Symptom("error", 0.9, tuple(evidence))


@cause(
    Cause(
        "entropy collapse",
        "policy",
        "The policy has become all but certain of its actions, so that it tries no others and its gradient vanishes. "
        "What it has not found by now it will not find.",
        (
            Fix(
                "Hold the policy to its reference by a KL penalty that follows a target.",
                'controller = AdaptiveKL(target=target_kl, beta=0.1, unit="sequence")',
            ),
        ),
        (
            "A small entropy bonus alone: one of 0.05 does not outweigh normalised advantages of size 1.",
            "A higher temperature in sampling alone: the log-probabilities are then those of another policy.",
            "Longer training: a policy that is certain sees no advantage to learn from.",
        ),
        "Williams & Peng 1991, Connection Science 3, 241-268; Mnih et al. 2016, arXiv:1602.01783, section 4",
        ("entropy",),
    )
)
def entropy_collapse(case: Case) -> Symptom | None:
    """Almost no entropy left."""
    entropy = case["entropy"].finite
    # A density's entropy may be negative, and its size means nothing.
    if len(entropy) < ENOUGH or entropy.values.min() < 0:
        return None
    first, last = middle(entropy.part(0.0, 0.1).values), middle(entropy.part(0.9, 1.0).values)
    if not (first > 0 and last < _COLLAPSED * first):
        return None
    gone = float(entropy.steps[np.flatnonzero(entropy.values < _COLLAPSED * first)[0]])
    evidence = [
        Evidence(
            f"{entropy.name} falls from {figure(first)} to {figure(last)}: below a tenth of where it began for the "
            f"first time at step {figure(gone)}.",
            (entropy,),
            (gone, float(entropy.steps[-1])),
            ("a tenth of the first", _COLLAPSED * first),
        )
    ]
    worse = False
    for role in ("score", "reward"):
        if role in case and len(reached := case[role].finite) >= ENOUGH:
            thirds = [float(reached.part(k / 3, (k + 1) / 3).values.mean()) for k in range(3)]
            spread = max(thirds) - min(reached.values.min(), 0.0)
            worse = thirds[2] < max(thirds) - (1 - _KEPT) * spread
            if worse:
                evidence.append(
                    Evidence(
                        f"{reached.name} falls with it: {figure(max(thirds))} on average in its best third of the run, "
                        f"{figure(thirds[2])} in the last.",
                        (reached,),
                    )
                )
            break
    return Symptom("error" if worse else "warning", 0.65, tuple(evidence))


# Where k1 over one minibatch passes the limit while the KL of all rows is below the target, chance has stopped the
# update; so often it is the rule.
_BY_CHANCE = 0.5
# The other way round: k1 says nothing while the KL of all rows is above the limit.
_MISSED = 0.3


@cause(
    Cause(
        "early stopping by k1",
        "policy",
        "What stops the updates is the mean of −log r over one minibatch, whose standard error √(2·KL/n) is as large "
        "as the target. Updates are stopped, or not stopped, by chance.",
        (
            Fix(
                "Stop by k3, which is never negative.",
                'if kl_estimate(old_log_prob, log_prob, "k3").value > 1.5 * target_kl:\n    break',
            ),
            Fix(
                "Where logits are kept, stop by the exact KL, which has no error but the rows'.",
                "if policy_kl(old_logits, policy(states)) > 1.5 * target_kl:\n    break",
            ),
        ),
        (
            "A higher target: chance passes that as well, and what it lets through is larger.",
            "Smaller minibatches: they make the error larger.",
        ),
        "Schulman 2020, http://joschu.net/blog/kl-approx.html",
        ("kl_k1", "kl"),
    )
)
def stopped_by_k1(case: Case) -> Symptom | None:
    """k1 over a minibatch disagrees with the KL of all rows about the limit."""
    target, whole = target_kl(case), update_kl(case)
    if target is None or update_target(case) is None or whole is None or case["kl_k1"] is whole:
        return None
    k1 = case["kl_k1"].finite
    kl = whole.at(k1.steps)
    told = np.isfinite(kl)
    k1, kl = k1.where(told), kl[told]
    if len(k1) < ENOUGH or np.array_equal(k1.values, kl):
        return None
    chance = (k1.values > BAND * target) & (kl < target)
    missed = (k1.values < target) & (kl > BAND * target)
    if share(chance) < _BY_CHANCE and share(missed) < _MISSED:
        return None
    early = share(chance) >= _BY_CHANCE
    which = chance if early else missed
    at = int(np.flatnonzero(which)[0])
    what = (
        f"above {BAND} times the target of {figure(target)} while the KL of all rows is below the target"
        if early
        else f"below the target of {figure(target)} while the KL of all rows is above {BAND} times it"
    )
    evidence = [
        Evidence(
            f"{k1.name} is {what} in {share(which):.0%} of the updates, such as {figure(k1.values[at])} against "
            f"{figure(kl[at])} at step {figure(k1.steps[at])}.",
            (k1, whole),
            None,
            (f"{BAND} × target", BAND * target),
        )
    ]
    if "epochs" in case and len(passes := case["epochs"].finite) and passes.values.max() > 0:
        evidence.append(
            Evidence(
                f"{passes.name} varies between {figure(passes.values.min())} and {figure(passes.values.max())} passes.",
                (passes,),
            )
        )
    return Symptom("warning", 0.85 if "epochs" in case else 0.7, tuple(evidence))
