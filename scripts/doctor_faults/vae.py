"""Faults of the training of a variational autoencoder: of digits, and a linear one of which theory is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from examples import linear_vae, vae_digits
from scripts.doctor_faults import Columns, Criterion, Fault, Remedy

#: What differs from other settings.
Changes = dict[str, Any]
#: The first words of a cause's fix, and what it changes.
Treatment = tuple[str, Changes]

#: Short, and long enough for every fault to show.
DIGITS = vae_digits.Settings(steps=400, every=8)
LINEAR = linear_vae.Settings(steps=600, learning_rate=0.05)

#: What the mean pixels cost, in nats, without any latent variable: 27.2.
WITHOUT_LATENTS = 27.0

SEEDS = (0, 1, 2, 3, 5)
HEALTHY_SEEDS = (0, 1, 2, 3)

#: What a log with nothing but the loss and its two parts does not have.
SPARSE = (
    "mu_*", "log_var_*", "clamped", "mutual_information", "reconstruction_shuffled", "kl_per_dim/*", "active_units",
    "free_bits", "learning_rate", "grad_norm",
)  # fmt: skip


@cache
def digits_eigenvalues() -> tuple[float, ...]:
    """The eigenvalues of the covariance of the digits' pixels, from 0 to 1."""
    return tuple(np.linalg.eigvalsh(np.cov(load_digits().data.T / 16.0))[::-1].round(6).tolist())


def late(columns: Columns, name: str) -> float:
    """The median of the last fifth."""
    values = columns[name]
    return float(np.median(values[-max(1, len(values) // 5) :]))


def read(columns: Columns) -> bool:
    """Whether the decoder needs the sample of the row itself."""
    return late(columns, "reconstruction_shuffled") - late(columns, "reconstruction_loss") > 3.0


def informed(columns: Columns) -> bool:
    """Whether the latent variables are used, and the KL is what they are worth."""
    paid = 0.5 < late(columns, "kl_loss") < 50 and late(columns, "reconstruction_loss") < WITHOUT_LATENTS
    return paid and read(columns)


SETTLED = Criterion(
    "the KL is between 0.5 and 50 nats, the reconstruction below 27 nats, and 3 more with another row's sample.",
    informed,
)
TAMED = Criterion(
    "the KL is between 0.5 and 50 nats, and no log-variance is cut off.",
    lambda c: 0.5 < late(c, "kl_loss") < 50 and late(c, "clamped") == 0 if "clamped" in c else informed(c),
)
CENTRED = Criterion(
    "Σμ² is below two for each latent dimension, and the reconstruction below 27 nats.",
    lambda c: late(c, "mu_squared") < 20 and late(c, "reconstruction_loss") < WITHOUT_LATENTS,
)
SUMMED = Criterion(
    "the KL logged is the sum of its dimensions and above 0.5 nats, and one sample costs more nats than one pixel can.",
    lambda c: (
        late(c, "kl_loss") > 0.5
        and c["reconstruction_loss"][0] > 10
        and bool(np.allclose(c["kl_loss"], _dimensions(c).sum(0), rtol=1e-3))
    ),
)
CARRIES = Criterion("the KL is above 0.5 nats.", lambda c: late(c, "kl_loss") > 0.5)
CARRY = Criterion(
    "the KLs of the latent dimensions add up to more than 0.5 nats.",
    lambda c: float(np.median(_dimensions(c)[:, -10:].sum(0))) > 0.5,
)
SPREAD = Criterion(
    "more than half of the latent dimensions have a KL above 0.01 nats.",
    lambda c: bool((np.median(_dimensions(c)[:, -10:], axis=1) > 0.01).mean() > 0.5),
)
ABOVE = Criterion(
    "the KL of a dimension stands above 1.2 times the floor, or there is no floor and the KL is above 0.5 nats.",
    lambda c: bool(
        np.median(_dimensions(c)[:, -10:], axis=1).max() > 1.2 * c["free_bits"][-1] and late(c, "kl_loss") > 0.5
    ),
)
READ = Criterion("another row's sample costs three nats more than one's own.", read)
INFORMATIVE = Criterion("the mutual information is above half a nat.", lambda c: late(c, "mutual_information") > 0.5)
RAW = Criterion(
    "the KL logged is the sum of its dimensions.",
    lambda c: bool(np.allclose(c["kl_loss"], _dimensions(c).sum(0), rtol=1e-3)),
)


def _dimensions(columns: Columns) -> np.ndarray[Any, Any]:
    return np.array([values for name, values in columns.items() if name.startswith("kl_per_dim/")])


def digits(
    name: str,
    cause: str | None,
    changes: Changes,
    criterion: Criterion | None = None,
    fixes: dict[str, Treatment] | None = None,
    not_helping: dict[str, Changes] | None = None,
    **others: Any,
) -> Fault:
    """A fault of the autoencoder of digits.

    What is tried on it is named by what is changed: a fix with the first words of the cause's, and what would not help.
    """
    return _fault(vae_digits.run, DIGITS, name, cause, changes, criterion, fixes, not_helping, others)


def linear(
    name: str,
    cause: str | None,
    changes: Changes,
    criterion: Criterion | None = None,
    fixes: dict[str, Treatment] | None = None,
    not_helping: dict[str, Changes] | None = None,
    **others: Any,
) -> Fault:
    """A fault of the linear autoencoder."""
    known = {"data_eigenvalues": LINEAR.eigenvalues, "noise_variance": LINEAR.noise_variance}
    others = {"known": known, **others}
    return _fault(linear_vae.run, LINEAR, name, cause, changes, criterion, fixes, not_helping, others)


def _fault(
    run: Callable[..., Any],
    base: Any,
    name: str,
    cause: str | None,
    changes: Changes,
    criterion: Criterion | None,
    fixes: dict[str, Treatment] | None,
    not_helping: dict[str, Changes] | None,
    others: dict[str, Any],
) -> Fault:
    faulty = replace(base, **changes)
    remedies = [Remedy(text, replace(faulty, **treated), fix) for text, (fix, treated) in (fixes or {}).items()]
    remedies += [Remedy(text, replace(faulty, **treated)) for text, treated in (not_helping or {}).items()]
    others = {"seeds": HEALTHY_SEEDS if cause is None else SEEDS, **others}
    return Fault("vae", name, cause, run, faulty, criterion=criterion, remedies=tuple(remedies), **others)


# The first words of fixes that are tried on several faults.
BEGIN = "Let the log-variances begin at 0"
CLIP_FINITE = "Where the first KL is finite"
HIDE = "If the decoder has to see"
LOWER = "Lower β"
NO_FLOOR = "Or do without the floor"
SLOWER = "Lower the learning rate, if"
SLOWER_ANEW = "Lower the learning rate, at first"
SUM = "Sum both"
WEIGHT = "Give the KL its weight"

FAULTS = (
    digits("as it is", None, {}),
    digits("β 0.25", None, {"beta": 0.25}),
    digits("β 0.5", None, {"beta": 0.5}),
    digits("β 1.5", None, {"beta": 1.5}),
    digits("warm-up", None, {"warmup_steps": 250}),
    digits("normal pixels", None, {"likelihood": "gaussian"}),
    digits("normal pixels of the variance that fits best", None, {"likelihood": "gaussian", "scale": None}),
    digits("free bits below the KL", None, {"free_bits": 0.05}),
    digits("five latent dimensions", None, {"latent_dims": 5, "hidden": 64}),
    digits("clamp that is not reached", None, {"log_var_bounds": (-10.0, 10.0)}),
    digits("variances large at first", None, {"initial_log_var": 3.0}),
    digits("pixels from 0 to 16", None, {"input_scale": 16.0}),
    digits("nothing logged but the loss", None, {}, hidden=SPARSE),
    digits(
        "means over both, undone by β", None, {"pixels": "mean", "latents": "mean", "beta": 10 / 64},
        known={"data_dim": 64},
    ),
    linear("linear", None, {}),
    linear("linear, β 0.5", None, {"beta": 0.5}),
    linear("linear, β 2, of data that nobody knows", None, {"beta": 2.0}, known={}, seeds=(0, 2, 7, 9)),
    digits(
        "log-variances begin at 20", "log-variance overflow", {"initial_log_var": 20.0}, SETTLED,
        {"start at 0": (BEGIN, {"initial_log_var": 0.0}), "clip the gradient": (CLIP_FINITE, {"gradient_clip": 1.0})},
        {"β 0.1": {"beta": 0.1}, "clamp to (-6, 6)": {"log_var_bounds": (-6.0, 6.0)},
         "a soft bound of (-8, 8)": {"log_var_bounds": (-8.0, 8.0), "bound": "soft"}},
    ),
    digits(
        "log-variances begin at 30", "log-variance overflow", {"initial_log_var": 30.0}, SETTLED,
        {"start at 0": (BEGIN, {"initial_log_var": 0.0}), "clip the gradient": (CLIP_FINITE, {"gradient_clip": 1.0})},
        {"a soft bound of (-8, 8)": {"log_var_bounds": (-8.0, 8.0), "bound": "soft"}},
    ),
    digits(
        "log-variances begin at 90", "log-variance overflow", {"initial_log_var": 90.0}, SETTLED,
        {"start at 0": (BEGIN, {"initial_log_var": 0.0})}, {"clip the gradient": {"gradient_clip": 1.0}},
    ),
    digits(
        "pixels from 0 to 255", "log-variance overflow", {"input_scale": 255.0}, SETTLED,
        {"scale the inputs to 0 to 1": ("Scale the inputs", {"input_scale": 1.0})},
        {"clip the gradient": {"gradient_clip": 1.0},
         "a soft bound of (-8, 8)": {"log_var_bounds": (-8.0, 8.0), "bound": "soft"}},
    ),
    digits(
        "no KL in the loss", "mean drift", {"beta": 0.0}, CENTRED,
        {"β 1": (WEIGHT, {"beta": 1.0}), "β 0.1": (WEIGHT, {"beta": 0.1})},
        {"clip the gradient": {"gradient_clip": 1.0}, "a tenth of the learning rate, β 0": {"learning_rate": 5e-4},
         "clamp to (-4, 4)": {"log_var_bounds": (-4.0, 4.0)}},
    ),
    digits(
        "β 0.0001", "mean drift", {"beta": 1e-4}, CENTRED,
        {"β 1": (WEIGHT, {"beta": 1.0}), "β 0.1": (WEIGHT, {"beta": 0.1})}, {"β 0.00001": {"beta": 1e-5}},
    ),
    digits(
        "warm-up that is hardly begun", "mean drift", {"warmup_steps": 400_000}, CENTRED,
        {"warm-up in 200 steps": ("If β is warmed up", {"warmup_steps": 200})},
    ),
    # Some seeds calm down, with a decoder that was thrown out of reach.
    digits(
        "learning rate 0.15", "learning rate too large", {"learning_rate": 0.15}, SETTLED,
        {"learning rate 0.002": (SLOWER_ANEW, {"learning_rate": 2e-3})},
        {"clip the gradient": {"gradient_clip": 1.0}, "β 0.1": {"beta": 0.1}}, seeds=(0, 2, 4, 8, 7, 9, 11),
    ),
    digits(
        "learning rate 0.2", "learning rate too large", {"learning_rate": 0.2}, SETTLED,
        {"learning rate 0.002": (SLOWER_ANEW, {"learning_rate": 2e-3})},
        {"clip the gradient": {"gradient_clip": 1.0}, "β 0.1": {"beta": 0.1},
         "clamp to (-4, 4)": {"log_var_bounds": (-4.0, 4.0)}},
    ),
    digits(
        "learning rate 0.2, nothing logged but the loss", "learning rate too large", {"learning_rate": 0.2},
        hidden=SPARSE,
    ),
    digits(
        "learning rate 0.3", "learning rate too large", {"learning_rate": 0.3, "every": 1}, SETTLED,
        {"learning rate 0.002": (SLOWER_ANEW, {"learning_rate": 2e-3})}, {"clip the gradient": {"gradient_clip": 1.0}},
    ),
    digits(
        "mean over the pixels", "reduction mismatch", {"pixels": "mean"}, SUMMED,
        {"sum over the pixels": (SUM, {"pixels": "sum"})},
        {"warm-up": {"warmup_steps": 200}, "half the learning rate": {"learning_rate": 1e-3},
         "free bits": {"free_bits": 0.1}},
        known={"data_dim": 64},
    ),
    digits(
        "mean over pixels, and over latent dimensions", "reduction mismatch", {"pixels": "mean", "latents": "mean"},
        CARRY,
        {"sum both": (SUM, {"pixels": "sum", "latents": "sum"}),
         "β 10/64": ("If the means must stay", {"beta": 10 / 64})},
    ),
    digits(
        "mean over normal pixels", "reduction mismatch", {"pixels": "mean", "likelihood": "gaussian"}, SUMMED,
        {"sum over the pixels": (SUM, {"pixels": "sum"})}, known={"data_dim": 64},
    ),
    digits(
        "mean over the latent dimensions", "reduction mismatch", {"latents": "mean"}, SUMMED,
        {"sum over the latent dimensions": (SUM, {"latents": "sum"})},
    ),
    digits(
        "mean over the pixels, nothing logged but the loss", "reduction mismatch", {"pixels": "mean"}, hidden=SPARSE
    ),
    digits(
        "all log-variances at their upper clamp, 10", "clamp saturation",
        {"initial_log_var": 15.0, "log_var_bounds": (-10.0, 10.0)}, TAMED,
        {"a soft bound": ("Bound them softly", {"bound": "soft"}),
         "start at 0": ("Let them begin inside", {"initial_log_var": 0.0})},
        {"β 0.1": {"beta": 0.1}, "five times the learning rate": {"learning_rate": 1e-2},
         "three times as many steps": {"steps": 1200}},
    ),
    digits(
        "all log-variances at their upper clamp, 5", "clamp saturation",
        {"initial_log_var": 12.0, "log_var_bounds": (-5.0, 5.0)}, TAMED,
        {"start at 0": ("Let them begin inside", {"initial_log_var": 0.0})},
    ),
    digits(
        "all log-variances at their lower clamp, -10", "clamp saturation",
        {"initial_log_var": -12.0, "log_var_bounds": (-10.0, 10.0)}, TAMED,
        {"a soft bound": ("Bound them softly", {"bound": "soft"}),
         "start at 0": ("Let them begin inside", {"initial_log_var": 0.0})},
        {"β 4": {"beta": 4.0}},
    ),
    digits(
        "β 30", "posterior collapse by design", {"beta": 30.0}, CARRIES, {"β 1": (LOWER, {"beta": 1.0})},
        {"warm-up to β 30": {"warmup_steps": 200}, "half the learning rate": {"learning_rate": 1e-3}},
    ),
    digits(
        "β 8", "posterior collapse by design", {"beta": 8.0}, CARRIES, {"β 1": (LOWER, {"beta": 1.0})},
        {"warm-up to β 8": {"warmup_steps": 200}, "three times as many steps": {"steps": 1200}},
    ),
    digits("β 4", "posterior collapse by design", {"beta": 4.0}, CARRIES, {"β 1": (LOWER, {"beta": 1.0})}),
    digits("β 8, nothing logged but the loss", "posterior collapse by design", {"beta": 8.0}, hidden=SPARSE),
    digits(
        "normal pixels of variance 1", "posterior collapse by design",
        {"likelihood": "gaussian", "scale": 1.0}, CARRIES,
        {"variance 1/16": ("With a normal likelihood", {"scale": 0.25}), "β 1/16": (LOWER, {"beta": 1 / 16}),
         "the variance that fits best": ("Or take the σ² that fits best", {"scale": None})},
        {"warm-up to β 1": {"warmup_steps": 200}},
        known={"data_eigenvalues": digits_eigenvalues(), "noise_variance": 1.0},
    ),
    linear(
        "linear, β 5.5", "posterior collapse by design", {"beta": 5.5}, CARRIES, {"β 1": (LOWER, {"beta": 1.0})},
        {"a tenth of the learning rate": {"learning_rate": 5e-3, "steps": 2000}},
    ),
    digits(
        "learning rate 0.05", "posterior collapse by optimisation", {"learning_rate": 0.05}, CARRIES,
        {"learning rate 0.002": (SLOWER, {"learning_rate": 2e-3}), "warm-up": ("Warm β up", {"warmup_steps": 200}),
         "free bits": ("Give each dimension", {"free_bits": 0.1})},
        {"four times as many steps": {"steps": 1600}, "β 2": {"beta": 2.0}},
    ),
    digits(
        "learning rate 0.1", "posterior collapse by optimisation", {"learning_rate": 0.1, "steps": 800, "every": 16},
        CARRIES, {"learning rate 0.002": (SLOWER, {"learning_rate": 2e-3})},
    ),
    digits(
        "learning rate 0.05, nothing logged but the loss", "posterior collapse by optimisation",
        {"learning_rate": 0.05}, hidden=SPARSE,
    ),
    digits(
        "learning rate 0.02", "collapse hidden by a mean", {"learning_rate": 0.02}, SPREAD,
        {"learning rate 0.002": (SLOWER, {"learning_rate": 2e-3})},
        {"β 0.5": {"beta": 0.5}, "30 latent dimensions": {"latent_dims": 30}},
    ),
    digits(
        "learning rate 0.015, 20 latent dimensions", "collapse hidden by a mean",
        {"learning_rate": 0.015, "latent_dims": 20}, SPREAD,
        {"learning rate 0.002": (SLOWER, {"learning_rate": 2e-3})},
    ),
    digits(
        "free bits 0.5, β 10", "KL at the free-bits floor", {"free_bits": 0.5, "beta": 10.0}, ABOVE,
        {"floor 0.1, β 1": ("Lower β to 1", {"free_bits": 0.1, "beta": 1.0}),
         "no floor, β 1": (NO_FLOOR, {"free_bits": 0.0, "beta": 1.0}),
         "no floor, β warmed up to 1": (NO_FLOOR, {"free_bits": 0.0, "beta": 1.0, "warmup_steps": 200})},
        {"a higher floor": {"free_bits": 1.0}},
    ),
    digits(
        "free bits 0.25, β 4", "KL at the free-bits floor", {"free_bits": 0.25, "beta": 4.0}, ABOVE,
        {"no floor, β warmed up to 1": (NO_FLOOR, {"free_bits": 0.0, "beta": 1.0, "warmup_steps": 200})},
        {"a higher floor": {"free_bits": 0.5}},
    ),
    digits(
        "free bits 0.5, β 2", "KL at the free-bits floor", {"free_bits": 0.5, "beta": 2.0}, ABOVE,
        {"no floor, β 1": (NO_FLOOR, {"free_bits": 0.0, "beta": 1.0})},
    ),
    digits(
        "β 0.25, logged with its KL", "β multiplied before logging", {"beta": 0.25, "kl_logged": "weighted"}, RAW,
        {"log the KL itself": ("Log the KL itself", {"kl_logged": "raw"})}, {"β 0.5": {"beta": 0.5}},
    ),
    digits(
        "β rising to 1, logged with its KL", "β multiplied before logging",
        {"warmup_steps": 250, "kl_logged": "weighted"}, RAW,
        {"log the KL itself": ("Log the KL itself", {"kl_logged": "raw"})},
    ),
    digits(
        "pixels skip to the decoder, free bits 0.3", "decoder ignores z", {"skip": True, "free_bits": 0.3}, READ,
        {"no skip": ("Close the way", {"skip": False}), "three of four pixels hidden": (HIDE, {"skip_dropout": 0.75})},
        {"a higher floor": {"free_bits": 1.0}},
    ),
    digits(
        "pixels skip to the decoder, β 0.01", "decoder ignores z", {"skip": True, "beta": 0.01}, READ,
        {"no skip": ("Close the way", {"skip": False}), "three of four pixels hidden": (HIDE, {"skip_dropout": 0.75})},
        {"β 1": {"beta": 1.0}},
    ),
    digits(
        "encoder that sees nothing, free bits 0.5", "no mutual information", {"input_scale": 0.0, "free_bits": 0.5},
        INFORMATIVE, {"let the encoder see": ("Give the encoder", {"input_scale": 1.0})},
        {"a higher floor": {"free_bits": 1.0}},
    ),
    digits(
        "encoder that sees nothing, β 0.001", "no mutual information",
        {"input_scale": 0.0, "beta": 1e-3, "initial_log_var": -4.0}, INFORMATIVE,
        {"let the encoder see": ("Give the encoder", {"input_scale": 1.0})}, {"β 1": {"beta": 1.0}},
    ),
)  # fmt: skip
