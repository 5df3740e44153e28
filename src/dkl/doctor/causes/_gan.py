"""What the causes of a GAN's runs have in common: a discriminator's loss, or a critic's estimate, whichever it is."""

from __future__ import annotations

import math

import numpy as np

from dkl.doctor.case import Case
from dkl.doctor.series import Numbers, Series

LOG_4 = math.log(4)

#: Fewer entries say nothing of how a game goes.
ENOUGH = 5
#: Samples of a few hundred leave the loss at log 4 within this.
AT_LOG_4 = 0.05

GOODFELLOW = "I. Goodfellow et al., Generative adversarial nets, NeurIPS (2014), "
GULRAJANI = "I. Gulrajani et al., Improved training of Wasserstein GANs, NeurIPS (2017), "
ARJOVSKY = "M. Arjovsky, S. Chintala, L. Bottou, Wasserstein GAN, ICML (2017), "


def discriminator_loss_of(case: Case) -> Series | None:
    """The discriminator's loss as the sum of both cross-entropies, log 4 at the end; None for a critic's."""
    loss = case["discriminator_loss"].finite
    if len(loss) < ENOUGH or estimate_of(case) is not None or float(np.min(loss.values)) < -1e-6:
        return None
    if "critic" in loss.name.lower():
        return None
    return Series(loss.name, loss.steps, 2 * loss.values) if _halved(case, loss) else loss


def _halved(case: Case, loss: Series) -> bool:
    """Whether the mean of both cross-entropies is logged, and not their sum."""
    if "js" in case and len(case["js"].finite):
        sum_of_both = LOG_4 - 2 * case["js"].finite.at(loss.steps)
        errors = (abs(float(np.nanmedian(times * loss.values - sum_of_both))) for times in (1, 2))
        return next(errors) > next(errors)
    probabilities = probabilities_of(case)
    if probabilities is not None:
        real, fake = (series.at(loss.steps) for series in probabilities)
        with np.errstate(divide="ignore", invalid="ignore"):
            # Jensen's inequality: no mean of logarithms is below the logarithm of the mean.
            least = -np.log(real) - np.log1p(-fake)
        told = np.isfinite(least) & (least > AT_LOG_4)
        return bool(told.any()) and float(np.median(loss.values[told] / least[told])) < 0.75
    if "discriminator_accuracy" in case and len(case["discriminator_accuracy"].finite):
        blind = abs(float(np.median(case["discriminator_accuracy"].finite.part(0.8, 1).values)) - 0.5) < AT_LOG_4
        return blind and abs(end_of(loss) - LOG_4 / 2) < AT_LOG_4
    return False


def probabilities_of(case: Case) -> tuple[Series, Series] | None:
    """What the discriminator says of real and generated rows, where it is probabilities."""
    if "score_real" not in case or "score_fake" not in case:
        return None
    both = case["score_real"].finite, case["score_fake"].finite
    inside = all(len(s) and float(np.min(s.values)) >= 0 and float(np.max(s.values)) <= 1 for s in both)
    return both if inside else None


def estimate_of(case: Case) -> Series | None:
    """A critic's estimate of W₁, its mean score of real rows less that of generated ones; None for a discriminator."""
    if "wasserstein" in case:
        return case["wasserstein"].finite
    loss = case["discriminator_loss"].finite
    if "score_real" not in case or "score_fake" not in case or len(loss) < ENOUGH:
        return None
    real, fake = (case[role].finite.at(loss.steps) for role in ("score_real", "score_fake"))
    if "critic" not in loss.name.lower() and not _follows(loss.values, fake - real):
        return None
    name = f"{case['score_real'].name} − {case['score_fake'].name}"
    return Series(name, loss.steps, real - fake).finite


def _follows(loss: Numbers, difference: Numbers) -> bool:
    """Whether a loss is a difference of scores, but for a penalty and the noise of other batches."""
    told = np.isfinite(difference)
    scale = float(np.max(np.abs(difference[told]), initial=0.0))
    # Probabilities differ by 1 at most, and cross-entropies may look like that.
    return scale > 1 and float(np.median(np.abs(loss[told] - difference[told]))) < 0.2 * scale


def end_of(series: Series) -> float:
    """The median of the last fifth."""
    return float(np.median(series.part(0.8, 1).values))
