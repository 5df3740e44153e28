"""Causes of a game with a Wasserstein critic: one that points the wrong way, or that nothing bounds."""

from __future__ import annotations

import numpy as np

from dkl.doctor.case import Case, Symptom, cause
from dkl.doctor.causes._gan import ARJOVSKY, ENOUGH, GULRAJANI, end_of, estimate_of
from dkl.doctor.finding import Cause, Evidence, Fix
from dkl.doctor.series import Series
from dkl.doctor.words import figure

# A Wasserstein estimate is noise around 0 at the end; it is negative for good where nearly every entry of the last part
# is, by this share of the largest. A critic that begins with the right slope is wrong once Q has come past P, which
# may be late.
_LATE = 0.8
_NEARLY_ALL = 0.9
_NEGATIVE = 0.05
# A critic whose slope is bounded cannot make its estimate so many times larger while the generator trains.
_RUNS_AWAY = 20


def _lastingly_negative(case: Case) -> Series | None:
    """The critic's estimate, if it is below 0 for good, which no distance is."""
    estimate = estimate_of(case)
    if estimate is None or len(estimate) < ENOUGH:
        return None
    last, largest = estimate.part(_LATE, 1.0).values, float(np.max(np.abs(estimate.values)))
    if np.mean(last < 0) < _NEARLY_ALL or float(np.median(last)) > -_NEGATIVE * largest or _runs_away(estimate) > 1:
        return None
    return estimate


def _away(estimate: Series) -> Evidence:
    first, last = float(estimate.values[0]), end_of(estimate)
    text = f"{estimate.name!r} is {figure(last)} at the end, {figure(first)} at the beginning: no distance is negative"
    return Evidence(text, (estimate,), level=("0, where P = Q", 0.0))


@cause(
    Cause(
        "critic on the wrong slope",
        "gan",
        "The critic gives generated rows the higher score, and the penalty keeps it there: the two-sided one costs "
        "most at slope 0, which a critic has to pass whose slope is wrong from the start, or since Q has come past P. "
        "For a weight above half the distance it stays at a slope of 1 − d/(2λ), and sends the generator away from the "
        "data.",
        (
            Fix(
                "Penalise only slopes above 1: there is no barrier at 0 then.",
                "from dkl.training import gradient_penalty, wgan_critic_loss\n\n"
                "loss = wgan_critic_loss(critic(real), critic(fake)) + gradient_penalty(critic, real, fake, "
                "weight=weight, one_sided=True)",
            ),
        ),
        (
            "A larger weight: it makes the barrier higher.",
            "More steps of the critic: it is in a minimum of its loss.",
            "Taking the estimate's absolute value: the generator still goes the wrong way.",
        ),
        GULRAJANI + "eq. 3; docs/training-gan.md, Wasserstein",
        ("discriminator_loss",),
    )
)
def wrong_slope(case: Case) -> Symptom | None:
    """The estimate is negative, and the critic's own loss positive: it knows that it is wrong."""
    estimate, loss = _lastingly_negative(case), case["discriminator_loss"].finite
    if estimate is None or end_of(loss) <= 0:
        return None
    text = f"{loss.name!r} is {figure(end_of(loss))} at the end, which is no better than a critic that knows nothing"
    return Symptom("error", 0.9, (_away(estimate), Evidence(text, (loss,), level=("0", 0.0))))


@cause(
    Cause(
        "critic's sign exchanged",
        "gan",
        "The critic is trained to give generated rows the higher score, and the generator climbs it away from the "
        "data. The sign of one of the two losses is exchanged.",
        (
            Fix(
                "Let the losses know the signs: both are minimised.",
                "from dkl.training import wgan_critic_loss, wgan_generator_loss\n\n"
                "critic_loss = wgan_critic_loss(critic(real), critic(fake.detach()))  # −E[real] + E[fake]\n"
                "generator_loss = wgan_generator_loss(critic(fake))                   # −E[fake]",
            ),
        ),
        (
            "Another penalty: the critic does what it is told.",
            "Taking the estimate's absolute value: the generator still goes the wrong way.",
        ),
        GULRAJANI + "Algorithm 1",
        ("discriminator_loss",),
    )
)
def exchanged(case: Case) -> Symptom | None:
    """The estimate is negative, and so is the critic's loss: it is content."""
    estimate, loss = _lastingly_negative(case), case["discriminator_loss"].finite
    if estimate is None or end_of(loss) > 0:
        return None
    text = f"{loss.name!r} is {figure(end_of(loss))} at the end, as small as for as large an estimate above 0"
    return Symptom("error", 0.9, (_away(estimate), Evidence(text, (loss,), level=("0", 0.0))))


@cause(
    Cause(
        "critic without a bound",
        "gan",
        "Nothing holds the critic's slope, so that it makes its estimate larger by growing steeper, and the estimate "
        "is no distance. The generator's gradient grows with it.",
        (
            Fix(
                "Hold the slope near 1 by a penalty.",
                "from dkl.training import gradient_penalty, wgan_critic_loss\n\n"
                "loss = wgan_critic_loss(critic(real), critic(fake)) + gradient_penalty(critic, real, fake, "
                "weight=10.0, one_sided=True)",
            ),
        ),
        (
            "Clipping the generator's gradient: its direction is that of a critic that does not measure a distance.",
            "A smaller learning rate: the critic grows as far, later.",
        ),
        GULRAJANI + "section 4; " + ARJOVSKY + "eq. 2",
        ("discriminator_loss",),
    )
)
def unbounded(case: Case) -> Symptom | None:
    """The estimate grows and grows."""
    estimate = estimate_of(case)
    if estimate is None or len(estimate) < ENOUGH or (times := _runs_away(estimate)) <= 1:
        return None
    text = (
        f"{estimate.name!r} has grown to {figure(end_of(estimate))}, {figure(times * _RUNS_AWAY)} times what it was in "
        "the first tenth of the run"
    )
    evidence = [Evidence(text, (estimate,))]
    if "generator_gradient" in case and len(case["generator_gradient"].finite) >= ENOUGH:
        gradient = case["generator_gradient"].finite
        first = float(np.median(gradient.part(0, 0.1).values))
        evidence.append(
            Evidence(f"the generator's gradient went from {figure(first)} to {figure(end_of(gradient))}", (gradient,))
        )
    return Symptom("error", 0.9, tuple(evidence))


def _runs_away(estimate: Series) -> float:
    """How many times the estimate has grown over the run, in units of what is too much."""
    first, last = (float(np.median(np.abs(estimate.part(*part).values))) for part in ((0, 0.1), (0.9, 1)))
    return last / first / _RUNS_AWAY if first > 0 else 0.0
