"""Causes of a VAE's KL that is weighed or written down otherwise than is thought: reductions, and β in the log."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dkl.doctor.case import Case, Symptom, cause
from dkl.doctor.causes._vae import late_dimensions, reading
from dkl.doctor.finding import Cause, Check, Evidence, Fix
from dkl.doctor.words import figure

# An untrained decoder gives each pixel odds near 1, which cost log 2; its first logits are this near 0.
_NEAR_LOG_2 = 0.05
# Fewer numbers in a sample than these cost about as much as one does.
_FEW = 16
# A sum over the numbers of a sample is more than this share of their count, in nats, before anything is learned.
_SHARE_OF_COUNT = 0.1
# A sum and a mean over latent dimensions, where loss − reconstruction is β times one of them, agree to this.
_AGREE = 2e-3
# A weight of the KL that is 1 within this factor, with the means taken into it, is the ELBO's.
_UNDONE = 1.5


@dataclass(frozen=True)
class Reduction:
    """How the two terms of the loss are reduced, where that is not by a sum.

    Attributes
    ----------
    pixels, latents : bool
        Whether the reconstruction is a mean over the numbers of a sample, the KL one over the latent dimensions.
    evidence : tuple of Evidence
    confidence : float
    effective : str
        The weight that the KL has beside a sum, in symbols: β · D_x / D_z.
    weight : float, optional
        That weight; None where a count is unknown.
    """

    pixels: bool
    latents: bool
    evidence: tuple[Evidence, ...]
    confidence: float
    effective: str
    weight: float | None


def reductions(case: Case) -> Reduction | None:
    """How the terms of the loss are reduced; None if both are sums, as far as can be told."""
    found = reading(case)
    pixels = _mean_over_pixels(case)
    latents = _mean_over_latents(case)
    if pixels is None and latents is None:
        return None
    evidence = [told for one in (pixels, latents) if one is not None for told in one[0]]
    confidence = max(one[1] for one in (pixels, latents) if one is not None)
    weight: float | None = 1.0 if found is None or found.beta is None else found.beta
    effective = f"{figure(weight or 0.0)}"
    for sign, name, count, applies in (
        ("·", "D_x", case.known.get("data_dim"), pixels is not None),
        ("/", "D_z", case.known.get("latent_dim"), latents is not None),
    ):
        if applies:
            effective += f" {sign} {name}"
            if weight is not None:
                weight = None if not count else weight * float(count) ** (1 if sign == "·" else -1)
    return Reduction(pixels is not None, latents is not None, tuple(evidence), confidence, effective, weight)


def mismatch(case: Case) -> Reduction | None:
    """How the terms of the loss are reduced, if that is a hidden β: a weight that undoes the means is none."""
    found = reductions(case)
    if found is None or (found.weight is not None and 1 / _UNDONE < found.weight < _UNDONE):
        return None
    return found


@cause(
    Cause(
        "reduction mismatch",
        "vae",
        "One term of the loss is a sum and the other a mean: the ELBO sums the reconstruction over the D_x numbers "
        "of a sample and the KL over the D_z latent dimensions. A mean over the first multiplies the KL's weight by "
        "D_x, a mean over the second divides it by D_z.",
        (
            Fix(
                "Sum both over everything but the rows, and take the mean over the rows alone, as vae_loss does.",
                "reconstruction = F.binary_cross_entropy_with_logits(x_recon, x, "
                "reduction='none').flatten(1).sum(1).mean()\nkl = -0.5 * (1 + log_var - mu**2 - "
                "log_var.exp()).sum(1).mean()\nloss = reconstruction + kl\n"
                "# The same:\n"
                "loss = vae_loss(x, x_recon, mu, log_var, likelihood='bernoulli_logits').total",
            ),
            Fix(
                "If the means must stay, give the KL the weight that undoes them.",
                "beta = latent_dim / data_dim   # both terms are means",
            ),
        ),
        (
            "Warm-up, another learning rate, a larger network: the optimum is where the weights of the terms put it.",
            "Free bits: hold the KL at a floor, and leave its weight what it is.",
        ),
        "Higgins et al. 2017, ICLR (the normalised β·M/N); Kingma & Welling 2014, arXiv:1312.6114, equation 10",
        ("reconstruction",),
    )
)
def reduction(case: Case) -> Symptom | None:
    """A reconstruction too small to be a sum, or a KL that enters the loss as a mean."""
    found = reading(case)
    wrong = mismatch(case)
    if found is None or wrong is None:
        return None
    effective = wrong.effective if wrong.weight is None else f"{wrong.effective} = {figure(wrong.weight)}"
    evidence = (*wrong.evidence, Evidence(f"Beside a sum, the KL has the weight β_eff = {effective}."), found.seen())
    return Symptom("error" if found.collapsed else "warning", wrong.confidence, evidence)


@cause(
    Cause(
        "β multiplied before logging",
        "vae",
        "What is logged as the KL is β times the KL, as it enters the loss. It moves when β moves, cannot be "
        "compared between runs, and a rise or fall of it says nothing of the posterior.",
        (
            Fix(
                "Log the KL itself, and β beside it.",
                "loss = vae_loss(x, x_recon, mu, log_var, beta=beta, likelihood='bernoulli_logits')\n"
                "seen = loss.detach()\n"
                "log(kl=float(seen.kl), beta=float(seen.beta), kl_weighted=float(seen.beta * seen.kl))",
            ),
        ),
        (
            "Choosing β by what this series shows: it is small where β is small.",
            "Any change to the training: it is the log that is wrong, not the run.",
        ),
        "Higgins et al. 2017, ICLR, equation 4: the KL is the factor beside β",
        ("kl", "loss", "reconstruction"),
        checks=(
            Check(
                "Divide what is logged already by β, which is the KL; the doctor does so if it is told.",
                "dkl.doctor.diagnose(path, kl_is='weighted')",
            ),
        ),
    )
)
def weighted(case: Case) -> Symptom | None:
    """A series taken for the KL that enters the loss with weight 1 though β is another."""
    if case.known.get("kl_is") != "weighted":
        return None
    kl = case["kl"]
    steps = kl.finite.steps
    loss, reconstruction = (case[role].at(steps) for role in ("loss", "reconstruction"))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = (loss - reconstruction) / kl.finite.values
    ratio = ratio[np.isfinite(ratio)]
    if not ratio.size or abs(np.median(ratio) - 1) > 0.01:
        return None
    evidence = [
        Evidence(
            f"loss − reconstruction is {figure(float(np.median(ratio)))} times {kl.name!r}, where β times the KL "
            "would be added.",
            (case["loss"], case["reconstruction"], kl),
        )
    ]
    found = reading(case)
    if found is not None and found.beta is not None:
        evidence.append(
            Evidence(
                f"β is {figure(found.beta)} at the end: the KL is {figure(found.late)} nats there, "
                f"and {figure(found.late * found.beta)} is logged."
            )
        )
    dimensions = late_dimensions(case)
    if dimensions.size:
        evidence.append(Evidence(f"Its dimensions add up to {figure(float(dimensions.sum()))} nats."))
    return Symptom("warning", 0.95, tuple(evidence))


def _mean_over_pixels(case: Case) -> tuple[list[Evidence], float] | None:
    """Evidence that the reconstruction is a mean over the numbers of a sample, and how sure."""
    if "reconstruction" not in case or not len(case["reconstruction"].finite):
        return None
    series = case["reconstruction"].finite
    first, at = float(series.values[0]), float(series.steps[0])
    count = case.known.get("data_dim")
    if count is not None and count < _FEW:
        return None
    told = [
        Evidence(
            f"The first reconstruction is {figure(first)} nats, at step {figure(at)}"
            + (f", for {figure(float(count))} numbers a sample" if count is not None else "")
            + ".",
            (series,),
            (at, at),
        )
    ]
    if case.known.get("reduction") == "mean":
        return [*told, Evidence("The loss is said to be reduced by a mean.")], 0.95
    if abs(first - np.log(2)) < _NEAR_LOG_2:
        told.append(
            Evidence("One pixel of odds near 1 costs log 2 = 0.693: this is a mean over the pixels, not their sum.")
        )
        return told, 0.95
    if count is not None and abs(first) < _SHARE_OF_COUNT * count and _of_one(series.values):
        told.append(Evidence("So many numbers cost more than that together, before anything is learned."))
        return told, 0.7
    return None


def _of_one(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> bool:
    """Whether a reconstruction moves as that of one number does, by less than a few nats in the whole run."""
    return bool(np.ptp(values) < 3.0)


def _mean_over_latents(case: Case) -> tuple[list[Evidence], float] | None:
    """Evidence that the KL enters the loss as a mean over the latent dimensions, and how sure."""
    if case.known.get("kl_reduction") != "mean" or "kl" not in case:
        return None
    dimensions = case.many("kl_dim")
    told = [
        Evidence(
            f"{case['kl'].name!r} is the mean of its {len(dimensions)} dimensions, not their sum."
            if dimensions
            else "The KL is said to be a mean over the latent dimensions.",
            (case["kl"],),
        )
    ]
    if not all(role in case for role in ("loss", "reconstruction")):
        return told, 0.6
    kl = case["kl"].finite
    steps = kl.steps
    beta = case["beta"].at(steps) if "beta" in case else np.full(len(kl), case.known.get("beta", 1.0))
    penalty = case["loss"].at(steps) - case["reconstruction"].at(steps)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = penalty / (beta * kl.values)
    ratio = ratio[np.isfinite(ratio)]
    if ratio.size and abs(float(np.median(ratio)) - 1) > 10 * _AGREE:
        # The mean is in the log alone, or something else is in the loss.
        return None
    return [*told, Evidence("loss − reconstruction is β times that mean.", (case["loss"], case["reconstruction"]))], 0.9
