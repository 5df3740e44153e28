"""Faults of the training of a student by its teacher."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from examples.distil_digits import Settings, run
from scripts.doctor_faults import Columns, Criterion, Fault, Remedy

SMALL = Settings(steps=300, log_every=10)
ABLE = replace(SMALL, hidden=16)
LABELS = replace(SMALL, label_weight=0.5)
HOT = replace(LABELS, temperature=4.0)
PADDED = replace(SMALL, padding=0.5)

#: Who knows how many digits there are.
DIGITS = {"classes": 10}
#: Who means the teacher to come first.
FORWARD = {**DIGITS, "direction": "forward"}
#: Who measures no KL beside the loss.
LOSS_ALONE = ("forward_kl", "reverse_kl", "test/*")
#: … and not on the digits trained on.
TEST_ALONE = ("forward_kl", "reverse_kl")


#: The first words of the fix of each cause.
FIXES = {
    "interpolation near its end": "Take β well inside",
    "KL in the other direction": "Let the divergence say its direction",
    "F.kl_div without logarithms": "Take dkl's loss",
    "F.kl_div with a teacher's logarithms": "Take dkl's loss",
    "divided by the number of classes": "Take dkl's loss",
    "temperature squared is missing": "Multiply the divergence by T²",
    "padding is counted": "Give the mask to the loss",
    "summed over the batch": "Take dkl's loss",
}


def _agrees(log: Columns) -> bool:
    """Whether the loss is the KL that was measured on the same rows, times the temperature's square."""
    kl = log["forward_kl"] * log["temperature"] ** 2
    return bool(np.allclose(log["distillation_loss"], kl, rtol=1e-4)) and bool(np.isfinite(log["loss"]).all())


RECOVERED = Criterion("the loss is T²·KL(teacher‖student), as measured on the same rows, at every step.", _agrees)


def _fault(name: str, cause: str | None, settings: Settings, fix: Settings | None = None, **options: Any) -> Fault:
    options.setdefault("known", DIGITS)
    # Whether it is recovered can be seen where the KL was measured beside the loss.
    tried = fix is not None and not options.get("hidden")
    remedies = (Remedy("the loss as dkl makes it", fix, FIXES[cause]),) if tried and cause is not None else ()
    return Fault("distillation", name, cause, run, settings, criterion=RECOVERED, remedies=remedies, **options)


FAULTS: tuple[Fault, ...] = (
    _fault("healthy", None, SMALL, known=FORWARD),
    _fault("healthy, an able student", None, ABLE, known={}),
    _fault("healthy, loss alone", None, ABLE, seeds=(6, 7, 8, 9), hidden=LOSS_ALONE, known=FORWARD),
    _fault("healthy, T = 4 and labels", None, HOT),
    _fault("healthy, T = 2 and labels, loss alone", None, replace(HOT, temperature=2.0), hidden=LOSS_ALONE),
    _fault("healthy, JSD", None, replace(SMALL, beta=0.5), hidden=TEST_ALONE),
    _fault("healthy, reverse KL", None, replace(SMALL, beta=1.0), known={**DIGITS, "direction": "reverse"}),
    _fault("healthy, padding", None, PADDED),
    _fault("β = 0.01", "interpolation near its end", replace(SMALL, beta=0.01), SMALL),
    _fault("β = 0.99", "interpolation near its end", replace(SMALL, beta=0.99), SMALL),
    _fault(
        "β = 0.003, loss alone",
        "interpolation near its end",
        replace(ABLE, beta=0.003),
        ABLE,
        hidden=LOSS_ALONE,
    ),
    _fault("exchanged", "KL in the other direction", replace(SMALL, exchanged=True), SMALL, known=FORWARD),
    _fault(
        "exchanged, loss alone",
        "KL in the other direction",
        replace(ABLE, exchanged=True),
        ABLE,
        known=FORWARD,
        hidden=LOSS_ALONE,
    ),
    _fault("probabilities", "F.kl_div without logarithms", replace(SMALL, kl_div="probabilities"), SMALL),
    _fault(
        "logits, loss alone",
        "F.kl_div without logarithms",
        replace(ABLE, kl_div="logits"),
        ABLE,
        hidden=LOSS_ALONE,
    ),
    _fault("logarithms", "F.kl_div with a teacher's logarithms", replace(SMALL, kl_div="logarithms"), SMALL),
    _fault(
        "over everything", "divided by the number of classes", replace(SMALL, over_everything=True), SMALL, known={}
    ),
    _fault(
        "over everything, with labels, loss alone",
        "divided by the number of classes",
        replace(LABELS, over_everything=True),
        LABELS,
        hidden=LOSS_ALONE,
    ),
    _fault("no T²", "temperature squared is missing", replace(HOT, temperature_squared=False), HOT),
    _fault(
        "no T², loss alone",
        "temperature squared is missing",
        replace(HOT, hidden=16, temperature_squared=False),
        replace(HOT, hidden=16),
        hidden=LOSS_ALONE,
    ),
    _fault("padding counted", "padding is counted", replace(PADDED, padding_counted=True), PADDED),
    _fault(
        "padding counted, loss alone",
        "padding is counted",
        replace(PADDED, hidden=16, padding_counted=True),
        replace(PADDED, hidden=16),
        hidden=LOSS_ALONE,
    ),
    _fault("summed, with labels", "summed over the batch", replace(LABELS, reduction="sum"), LABELS),
)
