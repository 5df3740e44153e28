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


def informed(columns: Columns) -> bool:
    """Whether the latent variables are used, and the KL is what they are worth."""
    return 0.5 < late(columns, "kl_loss") < 50 and late(columns, "reconstruction_loss") < WITHOUT_LATENTS


SETTLED = Criterion("the KL is between 0.5 and 50 nats, and the reconstruction below 27 nats.", informed)
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
READ = Criterion(
    "another row's sample costs three nats more than one's own.",
    lambda c: late(c, "reconstruction_shuffled") - late(c, "reconstruction_loss") > 3.0,
)
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
    changes: dict[str, Any],
    criterion: Criterion | None = None,
    recommended: dict[str, dict[str, Any]] | None = None,
    not_helping: dict[str, dict[str, Any]] | None = None,
    **others: Any,
) -> Fault:
    """A fault of the autoencoder of digits; what is tried on it is named by its text, with its changes."""
    return _fault(vae_digits.run, DIGITS, name, cause, changes, criterion, recommended, not_helping, others)


def linear(
    name: str,
    cause: str | None,
    changes: dict[str, Any],
    criterion: Criterion | None = None,
    recommended: dict[str, dict[str, Any]] | None = None,
    not_helping: dict[str, dict[str, Any]] | None = None,
    **others: Any,
) -> Fault:
    """A fault of the linear autoencoder."""
    known = {"data_eigenvalues": LINEAR.eigenvalues, "noise_variance": LINEAR.noise_variance}
    others = {"known": known, **others}
    return _fault(linear_vae.run, LINEAR, name, cause, changes, criterion, recommended, not_helping, others)


def _fault(
    run: Callable[..., Any],
    base: Any,
    name: str,
    cause: str | None,
    changes: dict[str, Any],
    criterion: Criterion | None,
    recommended: dict[str, dict[str, Any]] | None,
    not_helping: dict[str, dict[str, Any]] | None,
    others: dict[str, Any],
) -> Fault:
    faulty = replace(base, **changes)
    remedies = [
        Remedy(text, replace(faulty, **treated), helps)
        for some, helps in ((recommended, True), (not_helping, False))
        for text, treated in (some or {}).items()
    ]
    others = {"seeds": HEALTHY_SEEDS if cause is None else SEEDS, **others}
    return Fault("vae", name, cause, run, faulty, criterion=criterion, remedies=tuple(remedies), **others)


FAULTS = (
    digits("as it is", None, {}),
    digits("β 0.25", None, {"beta": 0.25}),
    digits("β 0.5", None, {"beta": 0.5}),
    digits("β 1.5", None, {"beta": 1.5}),
    digits("warm-up", None, {"warmup_steps": 250}),
    digits("normal pixels", None, {"likelihood": "gaussian"}),
    digits("free bits below the KL", None, {"free_bits": 0.05}),
    digits("five latent dimensions", None, {"latent_dims": 5, "hidden": 64}),
    digits("clamp that is not reached", None, {"log_var_bounds": (-10.0, 10.0)}),
    digits("variances large at first", None, {"initial_log_var": 3.0}),
    digits("pixels from 0 to 16", None, {"input_scale": 16.0}),
    digits("nothing logged but the loss", None, {}, hidden=SPARSE),
    linear("linear", None, {}),
    linear("linear, β 0.5", None, {"beta": 0.5}),
    digits(
        "log-variances begin at 20", "log-variance overflow", {"initial_log_var": 20.0}, SETTLED,
        {"start at 0": {"initial_log_var": 0.0}},
        {"clip the gradient": {"gradient_clip": 1.0}, "β 0.1": {"beta": 0.1},
         "clamp to (-6, 6)": {"log_var_bounds": (-6.0, 6.0)}},
    ),
    digits(
        "log-variances begin at 30", "log-variance overflow", {"initial_log_var": 30.0}, SETTLED,
        {"start at 0": {"initial_log_var": 0.0}},
    ),
    digits(
        "log-variances begin at 90", "log-variance overflow", {"initial_log_var": 90.0}, SETTLED,
        {"start at 0": {"initial_log_var": 0.0}}, {"clip the gradient": {"gradient_clip": 1.0}},
    ),
    digits(
        "pixels from 0 to 255", "log-variance overflow", {"input_scale": 255.0}, SETTLED,
        {"scale the inputs to 0 to 1": {"input_scale": 1.0}},
        {"clip the gradient": {"gradient_clip": 1.0}},
    ),
    digits(
        "no KL in the loss", "mean drift", {"beta": 0.0}, CENTRED, {"β 1": {"beta": 1.0}, "β 0.1": {"beta": 0.1}},
        {"clip the gradient": {"gradient_clip": 1.0}, "a tenth of the learning rate, β 0": {"learning_rate": 5e-4}},
    ),
    digits("β 0.0001", "mean drift", {"beta": 1e-4}, CENTRED, {"β 1": {"beta": 1.0}, "β 0.1": {"beta": 0.1}}),
    digits(
        "warm-up that is hardly begun", "mean drift", {"warmup_steps": 400_000}, CENTRED,
        {"warm-up in 200 steps": {"warmup_steps": 200}},
    ),
    digits(
        "learning rate 0.15", "learning rate too large", {"learning_rate": 0.15}, SETTLED,
        {"learning rate 0.002": {"learning_rate": 2e-3}},
        {"clip the gradient": {"gradient_clip": 1.0}, "β 0.1": {"beta": 0.1}},
    ),
    digits(
        "learning rate 0.2", "learning rate too large", {"learning_rate": 0.2}, SETTLED,
        {"learning rate 0.002": {"learning_rate": 2e-3}},
        {"clip the gradient": {"gradient_clip": 1.0}, "β 0.1": {"beta": 0.1},
         "clamp to (-4, 4)": {"log_var_bounds": (-4.0, 4.0)}},
    ),
    digits(
        "learning rate 0.2, nothing logged but the loss", "learning rate too large", {"learning_rate": 0.2},
        hidden=SPARSE,
    ),
    digits(
        "learning rate 0.3", "learning rate too large", {"learning_rate": 0.3, "every": 1}, SETTLED,
        {"learning rate 0.002": {"learning_rate": 2e-3}}, {"clip the gradient": {"gradient_clip": 1.0}},
    ),
    digits(
        "mean over the pixels", "reduction mismatch", {"pixels": "mean"}, SUMMED,
        {"sum over the pixels": {"pixels": "sum"}},
        {"warm-up": {"warmup_steps": 200}, "half the learning rate": {"learning_rate": 1e-3}},
        known={"data_dim": 64},
    ),
    digits(
        "mean over pixels, and over latent dimensions", "reduction mismatch", {"pixels": "mean", "latents": "mean"},
        SUMMED, {"sum both": {"pixels": "sum", "latents": "sum"}},
    ),
    digits(
        "mean over normal pixels", "reduction mismatch", {"pixels": "mean", "likelihood": "gaussian"}, SUMMED,
        {"sum over the pixels": {"pixels": "sum"}}, known={"data_dim": 64},
    ),
    digits(
        "mean over the latent dimensions", "reduction mismatch", {"latents": "mean"}, SUMMED,
        {"sum over the latent dimensions": {"latents": "sum"}},
    ),
    digits(
        "mean over the pixels, nothing logged but the loss", "reduction mismatch", {"pixels": "mean"}, hidden=SPARSE
    ),
    digits(
        "all log-variances at their upper clamp, 10", "clamp saturation",
        {"initial_log_var": 15.0, "log_var_bounds": (-10.0, 10.0)}, TAMED,
        {"a soft bound": {"bound": "soft"}, "start at 0": {"initial_log_var": 0.0}},
        {"β 0.1": {"beta": 0.1}, "five times the learning rate": {"learning_rate": 1e-2}},
    ),
    digits(
        "all log-variances at their upper clamp, 5", "clamp saturation",
        {"initial_log_var": 12.0, "log_var_bounds": (-5.0, 5.0)}, TAMED, {"start at 0": {"initial_log_var": 0.0}},
    ),
    digits(
        "all log-variances at their lower clamp, -10", "clamp saturation",
        {"initial_log_var": -12.0, "log_var_bounds": (-10.0, 10.0)}, TAMED,
        {"a soft bound": {"bound": "soft"}, "start at 0": {"initial_log_var": 0.0}}, {"β 4": {"beta": 4.0}},
    ),
    digits(
        "β 30", "posterior collapse by design", {"beta": 30.0}, CARRIES, {"β 1": {"beta": 1.0}},
        {"warm-up to β 30": {"warmup_steps": 200}, "half the learning rate": {"learning_rate": 1e-3}},
    ),
    digits(
        "β 8", "posterior collapse by design", {"beta": 8.0}, CARRIES, {"β 1": {"beta": 1.0}},
        {"warm-up to β 8": {"warmup_steps": 200}},
    ),
    digits("β 4", "posterior collapse by design", {"beta": 4.0}, CARRIES, {"β 1": {"beta": 1.0}}),
    digits("β 8, nothing logged but the loss", "posterior collapse by design", {"beta": 8.0}, hidden=SPARSE),
    digits(
        "normal pixels of variance 1", "posterior collapse by design",
        {"likelihood": "gaussian", "scale": 1.0}, CARRIES,
        {"variance 1/16": {"scale": 0.25}, "β 1/16": {"beta": 1 / 16}}, {"warm-up to β 1": {"warmup_steps": 200}},
        known={"data_eigenvalues": digits_eigenvalues(), "noise_variance": 1.0},
    ),
    linear(
        "linear, β 5.5", "posterior collapse by design", {"beta": 5.5}, CARRIES, {"β 1": {"beta": 1.0}},
        {"a tenth of the learning rate": {"learning_rate": 5e-3, "steps": 2000}},
    ),
    digits(
        "learning rate 0.05", "posterior collapse by optimisation", {"learning_rate": 0.05}, CARRIES,
        {"learning rate 0.002": {"learning_rate": 2e-3}, "warm-up": {"warmup_steps": 200},
         "free bits": {"free_bits": 0.1}},
    ),
    digits(
        "learning rate 0.1", "posterior collapse by optimisation", {"learning_rate": 0.1, "steps": 800, "every": 16},
        CARRIES, {"learning rate 0.002": {"learning_rate": 2e-3}},
    ),
    digits(
        "learning rate 0.05, nothing logged but the loss", "posterior collapse by optimisation",
        {"learning_rate": 0.05}, hidden=SPARSE,
    ),
    digits(
        "learning rate 0.02", "collapse hidden by a mean", {"learning_rate": 0.02}, SPREAD,
        {"learning rate 0.002": {"learning_rate": 2e-3}}, {"β 0.5": {"beta": 0.5}},
    ),
    digits(
        "learning rate 0.015, 20 latent dimensions", "collapse hidden by a mean",
        {"learning_rate": 0.015, "latent_dims": 20}, SPREAD, {"learning rate 0.002": {"learning_rate": 2e-3}},
    ),
    digits(
        "free bits 0.5, β 10", "KL at the free-bits floor", {"free_bits": 0.5, "beta": 10.0}, ABOVE,
        {"no floor, β 1": {"free_bits": 0.0, "beta": 1.0}, "floor 0.1, β 1": {"free_bits": 0.1, "beta": 1.0}},
        {"a higher floor": {"free_bits": 1.0}},
    ),
    digits(
        "free bits 0.25, β 4", "KL at the free-bits floor", {"free_bits": 0.25, "beta": 4.0}, ABOVE,
        {"no floor, β 1": {"free_bits": 0.0, "beta": 1.0}}, {"a higher floor": {"free_bits": 0.5}},
    ),
    digits(
        "free bits 0.5, β 2", "KL at the free-bits floor", {"free_bits": 0.5, "beta": 2.0}, ABOVE,
        {"no floor, β 1": {"free_bits": 0.0, "beta": 1.0}},
    ),
    digits(
        "β 0.25, logged with its KL", "β multiplied before logging", {"beta": 0.25, "kl_logged": "weighted"}, RAW,
        {"log the KL itself": {"kl_logged": "raw"}},
    ),
    digits(
        "β rising to 1, logged with its KL", "β multiplied before logging",
        {"warmup_steps": 250, "kl_logged": "weighted"}, RAW, {"log the KL itself": {"kl_logged": "raw"}},
    ),
    digits(
        "pixels skip to the decoder, free bits 0.3", "decoder ignores z", {"skip": True, "free_bits": 0.3}, READ,
        {"no skip": {"skip": False}}, {"a higher floor": {"free_bits": 1.0}},
    ),
    digits(
        "pixels skip to the decoder, β 0.01", "decoder ignores z", {"skip": True, "beta": 0.01}, READ,
        {"no skip": {"skip": False}}, {"β 1": {"beta": 1.0}},
    ),
    digits(
        "encoder that sees nothing, free bits 0.5", "no mutual information", {"input_scale": 0.0, "free_bits": 0.5},
        INFORMATIVE, {"let the encoder see": {"input_scale": 1.0}}, {"a higher floor": {"free_bits": 1.0}},
    ),
    digits(
        "encoder that sees nothing, β 0.001", "no mutual information",
        {"input_scale": 0.0, "beta": 1e-3, "initial_log_var": -4.0}, INFORMATIVE,
        {"let the encoder see": {"input_scale": 1.0}}, {"β 1": {"beta": 1.0}},
    ),
)  # fmt: skip
