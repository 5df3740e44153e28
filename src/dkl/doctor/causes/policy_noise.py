"""Causes of a KL to the reference that is right on average and misleads: below zero by chance, or full of spikes."""

from __future__ import annotations

import numpy as np

from dkl.doctor.case import Case, Symptom, cause
from dkl.doctor.causes._policy import middle, negative, share
from dkl.doctor.finding import Cause, Check, Evidence, Fix
from dkl.doctor.series import Numbers, Series
from dkl.doctor.words import figure


@cause(
    Cause(
        "negative KL by noise",
        "policy",
        "k1, the mean of log π − log ref, has the KL as its mean, and values of either sign. Where the KL is small "
        "beside its standard error the estimate is negative now and then, and nothing is wrong.",
        (
            Fix("Read k3, which is never negative.", 'kl_estimate(log_prob, ref_log_prob, "k3", mask=mask).value'),
            Fix(
                "Or read the exact KL, where logits are kept.",
                "kl_estimate_from_logits(logits, ref_logits, mask=mask).value",
            ),
        ),
        ("Cutting the KL off at 0: its mean over steps is then too high.",),
        "Schulman 2020, http://joschu.net/blog/kl-approx.html",
        ("kl",),
        checks=(
            Check(
                "Log the standard error beside it: noise stays within three of them.",
                'kl_estimate(log_prob, ref_log_prob, "k1", mask=mask).stderr',
            ),
        ),
    )
)
def noise(case: Case) -> Symptom | None:
    """Some values below zero, none of them by more than chance."""
    series = next((case[role].finite for role in ("kl_k1", "kl") if role in case and len(case[role].finite)), None)
    if series is None or not (series.values < 0).any() or negative(case, series) is not None:
        return None
    below = series.values < 0
    error = "kl_stderr" in case
    by = (
        "at most "
        f"{figure(np.max(-series.values[below] / np.maximum(case['kl_stderr'].at(series.steps)[below], 1e-300)))} "
        "standard errors below"
        if error
        else f"{figure(series.values.min())} at least"
    )
    steps = series.steps[below]
    return Symptom(
        "note",
        0.9 if error else 0.6,
        (
            Evidence(
                f"{series.name} is negative in {share(below):.0%} of its steps, {by}.",
                (series,),
                (float(steps[0]), float(steps[-1])),
                ("0", 0.0),
            ),
        ),
    )


# A spike is so many times what is usual around it, and so rare; what is higher for longer is a rise. In batches of a
# hundred sequences k3 stays within a factor of 2. Without another estimate beside it, the policy itself may have
# jumped.
_SPIKE = 4.0
_SPIKE_ALONE = 8.0
# What a spike of the KL does to what is trained: no less than this is more than chance.
_FELT = 2.0
_RARE = 0.15
_AROUND = 7


@cause(
    Cause(
        "spikes of k3",
        "policy",
        "k3 holds exp(log ref − log π), which one token that the policy hardly ever draws and the reference likes can "
        "make as large as all the others together. Its mean is right and its variance may be infinite; in the loss "
        "such a token takes the whole gradient.",
        (
            Fix(
                "As a loss take k2, which grows with the square of the log-ratio only.",
                'loss = policy_loss + beta * kl_loss(log_prob, ref_log_prob, "k2", on_policy=True, mask=mask)',
            ),
            Fix(
                "Or the exact KL over all tokens at each place, where logits are kept.",
                'loss = policy_loss + beta * policy_kl(logits, ref_logits, mask=mask, reduction="none").sum(-1).mean()',
            ),
        ),
        (
            "Clamping k3: the gradient is 0 where the policy is farthest from its reference.",
            "Clipping the gradient's norm: it scales down every other token of that batch.",
        ),
        "Schulman 2020, http://joschu.net/blog/kl-approx.html; Amini, Vieira & Cotterell 2025, arXiv:2504.10637",
        ("kl_k3",),
    )
)
def spikes(case: Case) -> Symptom | None:
    """A few values of k3 far above what is around them, of which k1 and k2 know less."""
    k3 = case["kl_k3"].finite
    if len(k3) < 2 * _AROUND:
        return None
    times = _above(k3)
    others = [
        case[role].finite
        for role in ("kl_k1", "kl_k2", "kl")
        if role in case and case[role].name != k3.name and len(case[role].finite) >= _AROUND
    ]
    high = times > (_SPIKE if others else _SPIKE_ALONE)
    for other in others:
        # A policy that jumped shows in every estimate.
        beside = Series(other.name, other.steps, _above(other)).at(k3.steps)
        high &= ~(beside > times / 2)
    if not high.any() or share(high) > _RARE:
        return None
    steps, often = k3.steps[high], int(high.sum())
    at = int(np.argmax(np.where(high, k3.values, -np.inf)))
    evidence = [
        Evidence(
            f"{k3.name} jumps {often} time{'s' * (often > 1)} for a step or two, to "
            f"{figure(k3.values[at])} at step {figure(k3.steps[at])} against {figure(middle(k3.values))} in the "
            "median.",
            (k3,),
            (float(steps[0]), float(steps[-1])),
        )
    ]
    if "gradient_norm" in case and len(case["gradient_norm"].finite) >= _AROUND:
        norm = case["gradient_norm"].finite
        there = norm.at(k3.steps)[high]
        if middle(there) > _FELT * middle(norm.values):
            evidence.append(
                Evidence(
                    f"{norm.name} is {figure(middle(there))} at these steps, {figure(middle(norm.values))} in the "
                    "median.",
                    (norm,),
                )
            )
    if "kl_loss" in case and len(case["kl_loss"].finite) >= _AROUND:
        loss = case["kl_loss"].finite
        there = Series(loss.name, loss.steps, _above(loss)).at(k3.steps)[high]
        if middle(there) > _FELT:
            evidence.append(
                Evidence(
                    f"{loss.name}, which is trained on, is {figure(middle(there))} times its usual there.", (loss,)
                )
            )
    # Where it is read only, a spike does no harm but to the reader.
    felt = len(evidence) > 1
    return Symptom("warning" if felt else "note", 0.9 if felt else 0.7, tuple(evidence))


def _above(series: Series) -> Numbers:
    """How many times the median of what is around it each value is."""
    padded = np.pad(np.abs(series.values), _AROUND, mode="edge")
    around = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * _AROUND + 1), axis=-1)
    times: Numbers = series.values / np.maximum(around, np.finfo(float).tiny)
    return times
