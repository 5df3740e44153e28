"""Causes of a KL penalty whose coefficient does not hold the KL at its target: held back, late, or too small."""

from __future__ import annotations

import math

import numpy as np

from dkl.doctor.case import Case, Symptom, cause
from dkl.doctor.causes._policy import BAND, ENOUGH, SAME, Controlled, controlled, middle, share
from dkl.doctor.finding import Cause, Evidence, Fix
from dkl.doctor.series import Numbers, Series
from dkl.doctor.words import figure

# In the part of a run that is looked at, the KL is outside the band so often, or the controller is at work.
_MOSTLY = 0.7
# A stretch that says something: so many updates, and this share of the run.
_STRETCH = 0.2
# A coefficient that needs this share of the run to double will not do in it what it is there for: within a factor of 4
# of the target it is late, and a start is off by factors of 10.
_SLOW = 0.5
# Above the band for more than half of a run: a controller that answers in time brings the KL down before.
_OVERALL = 0.55
_ADAPTIVE_CODE = """\
controller = AdaptiveKL(target=target_kl, beta={beta}, unit="sequence"{more})
...
beta = controller.update(kl, unit="sequence")"""


def _over(c: Controlled, part: Series | None = None) -> Evidence:
    kl = part if part is not None else c.kl
    return Evidence(
        f"{kl.name} is {figure(middle(kl.values))} in the median from step {figure(kl.steps[0])} to "
        f"{figure(kl.steps[-1])}, {figure(middle(kl.values) / c.target)} times the target of {figure(c.target)}.",
        (kl,),
        (float(kl.steps[0]), float(kl.steps[-1])),
        (f"{BAND} × target", BAND * c.target),
    )


def _runs(where: Numbers) -> list[tuple[int, int]]:
    """The stretches in which a condition holds, as first and one past the last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], where, [False]]).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


@cause(
    Cause(
        "coefficient at its bound",
        "policy",
        "The controller would raise the coefficient further and may not: its upper bound is below what holds the KL at "
        "the target. From there on the penalty is a constant, and the KL goes where the reward takes it.",
        (
            Fix(
                "Raise the bound by 1000 times, and start again from a coefficient above the old bound: one that must "
                "climb arrives when the policy has left.",
                _ADAPTIVE_CODE.format(beta=1.0, more=", bounds=(1e-6, 1e6)"),
            ),
        ),
        (
            "A faster controller: it reaches the same bound sooner.",
            "A higher start: it ends at the same bound.",
        ),
        "Schulman et al. 2017, arXiv:1707.06347, section 4; dkl.training.AdaptiveKL.saturated",
        ("kl", "kl_coef"),
    )
)
def at_bound(case: Case) -> Symptom | None:
    """β at its highest, while the KL is above the band."""
    c = controlled(case)
    if c is None:
        return None
    beta = c.coefficient.values
    highest = float(beta.max())
    if not highest > 0:
        return None
    bounds = case.known.get("kl_bounds")
    if bounds is not None and abs(highest - float(bounds[1])) > SAME * float(bounds[1]):
        return None
    # What has never moved is a constant, and no controller's, unless a bound is known.
    if bounds is None and c.is_constant:
        return None
    stretches = _runs(beta >= highest * (1 - SAME))
    start, stop = max(stretches, key=lambda s: s[1] - s[0])
    over = c.over[start:stop]
    if stop - start < max(ENOUGH, _STRETCH * beta.size) or over.sum() < max(3, 0.4 * over.size):
        return None
    # A controller at a bound of its own answers to none of what is above the target; one that rests inside the band
    # does.
    held = c.kl.where((np.arange(beta.size) >= start) & (np.arange(beta.size) < stop))
    return Symptom(
        "error",
        0.9 if bounds is not None else 0.8,
        (
            Evidence(
                f"{c.coefficient.name} stands at {figure(highest)} for {stop - start} updates from step "
                f"{figure(c.kl.steps[start])} on, though the KL is above {BAND} times the target in {share(over):.0%} "
                "of them.",
                (c.coefficient,),
                (float(held.steps[0]), float(held.steps[-1])),
                ("its highest", highest),
            ),
            _over(c, held),
        ),
    )


@cause(
    Cause(
        "coefficient too slow",
        "policy",
        "The coefficient rises while the KL is above its target, but so slowly that the run is over first. The KL is "
        "in effect held by a constant penalty that is too small.",
        (
            Fix(
                "Start where the coefficient has to end: multiply it by 10 until the KL first falls below the target.",
                _ADAPTIVE_CODE.format(beta=1.0, more=""),
            ),
            Fix(
                "Or start within a factor of 3 of it, and shorten the horizon of Ziegler's rule to a tenth of the "
                "run's samples.",
                _ADAPTIVE_CODE.format(beta=0.3, more=', rule="ziegler", gain=1.0, horizon=samples / 10'),
            ),
        ),
        (
            "A faster controller alone, from the same start: when the coefficient arrives the policy has left.",
            "A wider bound: the coefficient is far from it.",
            "A longer run: the policy has left its reference by the time the penalty counts.",
        ),
        "Ziegler et al. 2019, arXiv:1909.08593, section 2.2",
        ("kl", "kl_coef"),
    )
)
def too_slow(case: Case) -> Symptom | None:
    """β rises, and would need most of the run to double."""
    c = controlled(case)
    if c is None or c.is_constant:
        return None
    n = c.kl.values.size
    # Where the learning rate is annealed the KL falls at the end by itself.
    if share(c.over) < _OVERALL:
        return None
    answers = c.answers[c.over[:-1]]
    rate = float(np.mean(answers)) if answers.size else 0.0
    # A coefficient that stands still for half of these updates is at a bound, or is stepped by hand.
    if answers.size < ENOUGH or not rate > 0 or share(answers > 0) < _MOSTLY:
        return None
    doubling = math.log(2) / rate
    if doubling < _SLOW * n:
        return None
    above = c.kl.where(c.over)
    times = middle(above.values) / c.target
    return Symptom(
        "error",
        0.85,
        (
            Evidence(
                f"{c.coefficient.name} goes from {figure(c.coefficient.values[0])} to "
                f"{figure(c.coefficient.values[-1])}: above the target it doubles every {figure(doubling)} updates, "
                f"and this run has {n}.",
                (c.coefficient,),
                (float(c.kl.steps[0]), float(c.kl.steps[-1])),
            ),
            _over(c, above),
            Evidence(
                f"Were the KL in proportion to 1/β, {figure(times)} times the target would take "
                f"{figure(doubling * math.log2(max(times, 1.0)))} updates.",
                (c.kl,),
            ),
        ),
    )


@cause(
    Cause(
        "penalty too weak",
        "policy",
        "The coefficient is a constant, and too small for the target: the KL settles where the reward's pull equals "
        "the penalty's. Nothing is broken; the number is wrong.",
        (
            Fix(
                "Let the coefficient follow the target.",
                _ADAPTIVE_CODE.format(beta="beta", more=""),
            ),
            Fix("Or hold it at the value at which one that follows the target has settled.", "beta = controller.beta"),
        ),
        (
            "A smaller learning rate: the KL comes to the same place, later.",
            "Clipping the ratio: it holds each update near the last, and says nothing of the reference.",
        ),
        "Ziegler et al. 2019, arXiv:1909.08593, section 2.2",
        ("kl", "kl_coef"),
    )
)
def too_weak(case: Case) -> Symptom | None:
    """A constant β, and a KL above its target to the end."""
    c = controlled(case)
    if c is None or not c.is_constant or "kl_bounds" in case.known:
        return None
    n = c.kl.values.size
    late = np.arange(n) >= n // 2
    if share(c.over[late]) < _MOSTLY:
        return None
    kl = c.kl.where(late)
    return Symptom(
        "error" if middle(kl.values) > 3 * c.target else "warning",
        0.8,
        (
            _over(c, kl),
            Evidence(f"{c.coefficient.name} is {figure(c.coefficient.values[-1])} all along.", (c.coefficient,)),
        ),
    )
