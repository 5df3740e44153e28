"""Faults of the training of a GAN."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from examples.gan_gaussians import Settings, play_alone
from scripts.doctor_faults import Columns, Criterion, Fault, Remedy

GAME = Settings(steps=250, judge_steps=200, evaluation_batch=2048)
WASSERSTEIN = replace(GAME, game="wasserstein")
SATURATING = replace(GAME, game="saturating")

SEEDS = (0, 2, 5, 7)
HEALTHY_SEEDS = (0, 2, 4, 5, 7, 9)

#: Who looks at the two losses and nothing else.
LOSSES_ALONE = ("score_*", "discriminator_accuracy", "generator_gradient", "js_bound")


def _arrives(log: Columns) -> bool:
    """Whether Q has come to P: the classic game to log 4 from below, the critic's estimate from its largest to 0."""
    last = slice(-10, None)
    if "wasserstein" in log:
        estimate = log["wasserstein"]
        return float(np.median(np.abs(estimate[last]))) < 0.1 * abs(float(estimate[0]))
    loss = log["discriminator_loss"]
    return float(loss.min()) < 1 and abs(float(np.median(loss[last])) - math.log(4)) < 0.1


RECOVERED = Criterion(
    "the discriminator's loss ends within 0.1 of log 4 and was below 1 before, or the critic's estimate ends below a "
    "tenth of its first value.",
    _arrives,
)


def _fault(name: str, cause: str | None, settings: Settings, *remedies: Remedy, **options: Any) -> Fault:
    seeds = HEALTHY_SEEDS if cause is None else SEEDS
    return Fault("gan", name, cause, play_alone, settings, seeds, criterion=RECOVERED, remedies=remedies, **options)


FAULTS: tuple[Fault, ...] = (
    _fault("healthy", None, GAME),
    _fault("healthy, near, losses alone", None, replace(GAME, start=3.0), hidden=LOSSES_ALONE),
    _fault("healthy, near, saturating loss", None, replace(SATURATING, start=2.0)),
    _fault("healthy, critic", None, WASSERSTEIN),
    _fault("healthy, near, critic, penalty 10", None, replace(WASSERSTEIN, start=4.0, penalty_weight=10.0)),
    _fault(
        "saturating",
        "saturating loss",
        SATURATING,
        Remedy("the loss that does not saturate", GAME, "Give the generator −log D"),
        Remedy("a Wasserstein critic", WASSERSTEIN, "Take a Wasserstein critic"),
        Remedy("a learning rate 10 times as large", replace(SATURATING, generator_rate=0.5)),
    ),
    _fault("saturating, from 6, losses alone", "saturating loss", replace(SATURATING, start=6.0), hidden=LOSSES_ALONE),
    _fault(
        "slow generator",
        "discriminator has won",
        replace(GAME, generator_rate=1e-4),
        Remedy("steps as large as the discriminator's", GAME, "Let both take as many steps"),
        Remedy("more steps of the discriminator", replace(GAME, generator_rate=1e-4, judge_steps_each=10)),
    ),
    _fault(
        "slow generator, losses alone",
        "discriminator has won",
        replace(GAME, start=6.0, generator_rate=1e-5, judge_steps_each=10),
        hidden=LOSSES_ALONE,
    ),
    _fault(
        "labels exchanged",
        "both want the same",
        replace(GAME, exchanged=True),
        Remedy("the labels as they should be", GAME, "Let the losses know what is real"),
    ),
    _fault(
        "labels exchanged, saturating, losses alone",
        "both want the same",
        replace(SATURATING, exchanged=True),
        hidden=LOSSES_ALONE,
    ),
    _fault(
        "decayed discriminator",
        "dead discriminator",
        replace(GAME, judge_decay=200.0),
        Remedy("without the weight decay", GAME, "Let it learn"),
        Remedy("larger steps of the generator", replace(GAME, judge_decay=200.0, generator_rate=0.5)),
    ),
    _fault(
        "decayed discriminator, losses alone",
        "dead discriminator",
        replace(GAME, start=4.0, judge_decay=50.0),
        hidden=LOSSES_ALONE,
    ),
    _fault(
        "generator rate × 400",
        "players chase each other",
        replace(GAME, generator_rate=20.0),
        Remedy("smaller steps of the generator", GAME, "Take smaller steps of the generator"),
    ),
    _fault(
        "two-sided penalty",
        "critic on the wrong slope",
        replace(WASSERSTEIN, one_sided=False),
        Remedy("the one-sided penalty", WASSERSTEIN, "Penalise only slopes above 1"),
    ),
    _fault(
        "sign exchanged",
        "critic's sign exchanged",
        replace(WASSERSTEIN, exchanged=True),
        Remedy("the sign as it should be", WASSERSTEIN, "Let the losses know the signs"),
    ),
    _fault(
        "no penalty",
        "critic without a bound",
        replace(WASSERSTEIN, penalty_weight=0.0),
        Remedy("the one-sided penalty", WASSERSTEIN, "Hold the slope near 1"),
    ),
)
