"""Causes of a VAE's KL that is far too large: by steps, by variances, by means, or held there by a clamp."""

from __future__ import annotations

import numpy as np

from dkl.doctor.case import Case, Symptom, cause
from dkl.doctor.causes._vae import FAST, LATE, Reading, largest_rate, late, late_of, reading
from dkl.doctor.causes._vae_use import calmed, unread
from dkl.doctor.finding import Cause, Evidence, Fix
from dkl.doctor.words import figure

# With so small a rate, steps are not what throws the encoder far away.
_SLOW = 1e-3
# σ² = 150 and more beside a prior of variance 1. Near the prior, the mean of σ² is at most 1.
_WIDE = 5.0
# Where the means of q(z|x) fill N(0, 1), the mean of Σμ² is at most the number of latent dimensions.
_DRIFTED = 3.0
# A half of Σμ² is this share of the KL at least, if means are what it is made of.
_OF_MEANS = 0.3
# A KL that drifts changes by less than this factor from one value to the next; one that is thrown about by more.
_SMOOTH = 1.2
# The share of log-variances at their clamp that is saturation, and the share with which training has failed.
_MANY, _NEARLY_ALL = 0.5, 0.9
# The exponential of a larger number is infinite in float32.
_FLOAT32 = float(np.log(np.finfo(np.float32).max))
# Float32 has this many relative digits: log-variances nearer than this are one number.
_SAME = 1e-6

_NO_COLLAPSE = (
    "This is no posterior collapse: there the KL is near 0, here it is far above anything the latent variables can be "
    "worth."
)
_PAST = "The KL has come down since, but it is worth nothing: the decoder was thrown out of reach of z meanwhile."
_LOWER_BETA = (
    "Lowering β: treats the symptom. It makes a large KL cheap, so that less is done against it, while what threw the "
    "encoder away goes on. The KL may fall, and where little was wrong the run may even come back; mostly the "
    "reconstruction stays poor. Lowering β is for a KL near 0, which this is not."
)
_CLIP = (
    "Clipping the gradient's norm, with Adam: Adam divides by the gradient's own size, so that its steps stay as long."
)


@cause(
    Cause(
        "learning rate too large",
        "vae",
        "Each step throws the encoder's means and log-variances far from the prior's, and the samples drawn from "
        "them teach the decoder nothing. The KL grows with the square of a mean and the exponential of a "
        "log-variance, so that it shows first what is wrong with every step.",
        (
            Fix(
                "Lower the learning rate, at first by 10 to 100 times (1e-4 to 3e-3 is usual for Adam), and start anew "
                "from fresh weights.",
                "for layer in model.modules():\n"
                '    if hasattr(layer, "reset_parameters"):\n'
                "        layer.reset_parameters()\n"
                "optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)",
            ),
        ),
        (
            _LOWER_BETA,
            _CLIP,
            "Clamping the log-variances: bounds their part of the KL, not the means', and has no gradient where it "
            "cuts.",
        ),
        "Kingma & Welling 2014, arXiv:1312.6114, appendix B; Kingma & Ba 2015, arXiv:1412.6980, section 2.1",
        (),
    )
)
def learning_rate(case: Case) -> Symptom | None:
    """A KL that began as it should and was thrown away, at a cost that nothing pays for."""
    found = reading(case)
    if found is None or found.first > found.large or _saturated(case) or _drifts(found):
        return None
    past = calmed(case, found)
    if not (found.exploded or past):
        return None
    peak, at = found.peak
    rate = largest_rate(case)
    if rate is not None and rate < _SLOW:
        return None
    large = "infinity" if np.isinf(peak) else f"{figure(peak)} nats"
    evidence = [
        Evidence(
            f"The KL rises from {figure(found.first)} nats to {large} at step {figure(at)}{found.said}.",
            (found.kl,),
            (float(found.kl.steps[0]), at),
        ),
        Evidence(
            _PAST if past else _NO_COLLAPSE + _poor(found),
            tuple(case[r] for r in ("reconstruction",) if r in case),
        ),
        *_parts(found),
    ]
    if past:
        evidence += [told for told in (found.seen(), unread(case, found)) if told is not None]
    if rate is not None:
        evidence.append(
            Evidence(
                f"{case['learning_rate'].name} is {figure(rate)}"
                + ("; 1e-4 to 3e-3 is usual for Adam." if rate >= FAST else "."),
                (case["learning_rate"],),
            )
        )
    confidence = 0.75 if rate is None else 0.95 if rate >= FAST else 0.55
    return Symptom("error", confidence, tuple(evidence))


@cause(
    Cause(
        "log-variance overflow",
        "vae",
        "The encoder gives log-variances so large that their exponentials are all there is of the KL. They begin "
        "there: inputs that nobody scaled or an initialisation that is too wide make the last layer's outputs large, "
        "and the exponential makes them astronomic.",
        (
            Fix(
                "Scale the inputs to 0 to 1, or to mean 0 and variance 1, before the encoder sees them.",
                "x = (x - x.mean(0)) / x.std(0).clamp(min=1e-6)",
            ),
            Fix(
                "Let the log-variances begin at 0, with small weights and no bias in the layer that gives them.",
                "nn.init.normal_(log_var_layer.weight, std=1e-3)\nnn.init.zeros_(log_var_layer.bias)",
            ),
            Fix(
                "Where the first KL is finite, and not so large that its gradient overflows, clip the gradient's norm: "
                "one steep step no longer slows Adam for a thousand.",
                "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
            ),
        ),
        (
            _LOWER_BETA,
            "Clipping the gradient's norm where the KL is infinite, or its gradient overflows: nothing is left to "
            "clip.",
            "A bound of the log-variances alone, hard or soft: what lies far beyond it has no gradient, or next to "
            "none, by which to come back.",
        ),
        "Kingma & Welling 2014, arXiv:1312.6114, appendix B: ½·(σ² − 1 − log σ²) of each dimension",
        ("log_var_max",),
    )
)
def overflow(case: Case) -> Symptom | None:
    """A KL that is astronomic from the start, or at a small learning rate, by its variances."""
    found = reading(case)
    if found is None or not found.exploded or _saturated(case):
        return None
    widest = case["log_var_max"].finite
    if not len(widest) or widest.values.max() < _WIDE or _of_means(found) > 0.5:
        return None
    rate = largest_rate(case)
    from_the_start = found.first > found.large
    if not from_the_start and (rate is None or rate >= _SLOW):
        return None
    at = int(np.argmax(widest.values))
    top = float(widest.values[at])
    first = "not finite" if np.isinf(found.first) else f"{figure(found.first)} nats"
    return Symptom(
        "error",
        0.95 if from_the_start else 0.6,
        (
            Evidence(
                f"The largest log-variance is {figure(top)} at step {figure(widest.steps[at])}: a variance of "
                f"{figure(float(np.exp(min(top, 700.0))))}, where the prior's is 1"
                + (", and more than float32 holds." if top > _FLOAT32 else "."),
                (widest,),
                None,
                ("the prior's", 0.0),
            ),
            Evidence(f"The first KL is {first} already{found.said}.", (found.kl,)) if from_the_start else found.seen(),
            Evidence(_NO_COLLAPSE),
            *_parts(found),
        ),
    )


@cause(
    Cause(
        "mean drift",
        "vae",
        "Nothing holds the encoder's means near 0: the KL's weight is 0, or too small beside the reconstruction's. "
        "They drift outwards as far as they make rows easier to tell apart, and samples of the prior no longer lie "
        "where the decoder has learned anything.",
        (
            Fix(
                "Give the KL its weight: 1 is the ELBO, and 0.1 holds the means, too.",
                "loss = vae_loss(x, x_recon, mu, log_var, beta=1.0, likelihood='bernoulli_logits')",
            ),
            Fix(
                "If β is warmed up, let it arrive within the first part of the run.",
                "from dkl.training import LinearWarmup\n\nbeta = LinearWarmup(total_steps // 5, 0.0, 1.0)(step)",
            ),
        ),
        (
            "Clamping log-variances: the drift is of the means.",
            "A smaller learning rate: the means drift as far, and take longer.",
            "Lowering β: it is what is too small.",
        ),
        "Higgins et al. 2017, ICLR, equation 4",
        ("mu_squared",),
    )
)
def mean_drift(case: Case) -> Symptom | None:
    """Means farther out than a prior of variance 1 lets them be, at a KL that costs less than it brings."""
    found = reading(case)
    if found is None or _saturated(case) or not _drifts(found):
        return None
    latent = found.latent_dim
    squared = late(case["mu_squared"])
    if latent is None or not np.isfinite(squared):
        return None
    beta = found.beta
    evidence = [
        Evidence(
            f"Σμ² is {figure(squared)} at the end, {figure(squared / latent)} for each of {latent} latent "
            "dimensions: means that fill a prior of variance 1 give at most 1.",
            (case["mu_squared"],),
            found.end,
            ("where means fill the prior", float(latent)),
        ),
        found.seen(),
    ]
    if beta is not None:
        evidence.append(
            Evidence(f"β is {figure(beta)} at the end: the KL costs {figure(beta * found.late)} nats of the loss.")
        )
    return Symptom("error" if found.exploded else "warning", 0.9 if beta is not None else 0.7, tuple(evidence))


@cause(
    Cause(
        "clamp saturation",
        "vae",
        "Most log-variances lie outside their clamp, and are cut off to its bound. A clamp has gradient 0 there, so "
        "that neither the KL nor the reconstruction can bring them back, and the KL stands where the bound puts it.",
        (
            Fix(
                "Bound them softly: a hyperbolic tangent has a gradient everywhere.",
                "low, high = -8.0, 8.0\n"
                "middle, half = (low + high) / 2, (high - low) / 2\n"
                "log_var = middle + half * torch.tanh((log_var - middle) / half)",
            ),
            Fix(
                "Let them begin inside: at 0, with small weights and no bias in the layer that gives them.",
                "nn.init.normal_(log_var_layer.weight, std=1e-3)\nnn.init.zeros_(log_var_layer.bias)",
            ),
        ),
        (
            "A larger or smaller β, or another learning rate: a gradient of 0 stays 0, whatever it is multiplied by.",
            "Training longer: for the same reason.",
        ),
        "Kingma & Welling 2014, arXiv:1312.6114, appendix B, with min(max(log σ², a), b) for log σ²: no slope "
        "outside [a, b]",
        ("log_var_max", "log_var_min"),
    )
)
def clamp(case: Case) -> Symptom | None:
    """Log-variances that stand at a bound."""
    stuck = _saturated(case)
    found = reading(case)
    if found is None or stuck is None:
        return None
    share, told = stuck
    level = float(late(case["log_var_max"].finite))
    return Symptom(
        "error" if share >= _NEARLY_ALL else "warning",
        0.95 if "clamped" in case or "clamp" in case.known else 0.8,
        (
            told,
            Evidence(
                f"At the end they lie between {figure(late(case['log_var_min'].finite))} and {figure(level)}.",
                (case["log_var_max"], case["log_var_min"]),
                found.end,
            ),
            found.seen(),
        ),
    )


def _saturated(case: Case) -> tuple[float, Evidence] | None:
    """The share of log-variances at their clamp at the end, and its evidence; None where it is small or unknown."""
    share = late_of(case, "clamped")
    if share is not None:
        if share < _MANY:
            return None
        series = case["clamped"]
        return share, Evidence(f"{share:.0%} of the log-variances are cut off at the end.", (series,), _steps(case))
    if not all(role in case and len(case[role].finite) for role in ("log_var_max", "log_var_min")):
        return None
    high, low = (case[role].finite for role in ("log_var_max", "log_var_min"))
    top, bottom = late(high), late(low)
    scale = _SAME * max(1.0, abs(top))
    if "clamp" in case.known:
        least, most = (float(bound) for bound in case.known["clamp"])
        for bound, inner in ((most, bottom), (least, top)):
            if abs(inner - bound) <= scale:
                return 1.0, Evidence(f"All log-variances are {figure(bound)}, a bound of the clamp.", (high, low))
        return None
    # Nothing else makes all of them one number that never moves, and is not the prior's.
    still = np.ptp(np.concatenate([high.part(LATE, 1.0).values, low.part(LATE, 1.0).values])) <= scale
    if len(high.part(LATE, 1.0)) > 2 and still and abs(top) > 1.0:
        return 1.0, Evidence(
            f"All log-variances are {figure(top)} and do not move at the end, as if cut off.", (high, low), _steps(case)
        )
    return None


def _steps(case: Case) -> tuple[float, float] | None:
    found = reading(case)
    return None if found is None else found.end


def _drifts(found: Reading) -> bool:
    """Whether means are far out because the KL does not cost enough, and not because steps throw them there."""
    case, latent = found.case, found.latent_dim
    if "mu_squared" not in case or latent is None or not np.isfinite(found.late):
        return False
    if late(case["mu_squared"]) < _DRIFTED * latent or _of_means(found) < _OF_MEANS:
        return False
    gain = found.gain
    if found.beta is not None and gain is not None:
        return found.beta * found.late < gain
    values = found.kl.part(0.5, 1.0).values
    return bool(np.median(np.abs(np.diff(np.log(values[values > 0])))) < np.log(_SMOOTH)) if values.size > 2 else False


def _of_means(found: Reading) -> float:
    """The share of the KL that its means make, ½Σμ², where it is largest; NaN-free, 0 where it is unknown."""
    if "mu_squared" not in found.case:
        return 0.0
    squared = found.case["mu_squared"].at(found.kl.steps)
    told = np.isfinite(squared) & np.isfinite(found.kl.values) & (found.kl.values > 0)
    if not told.any():
        return 0.0
    shares = 0.5 * squared[told] / found.kl.values[told]
    return float(np.median(shares[-max(1, told.sum() // 5) :]))


def _parts(found: Reading) -> tuple[Evidence, ...]:
    """What the KL is made of where it is largest, as far as that is logged."""
    case = found.case
    finite = found.kl.finite
    if "mu_squared" not in case or not len(finite):
        return ()
    at = int(np.argmax(finite.values))
    total, step = float(finite.values[at]), float(finite.steps[at])
    means = 0.5 * float(case["mu_squared"].at(finite.steps[at : at + 1])[0])
    if not np.isfinite(means) or total <= 0:
        return ()
    series = tuple(case[role] for role in ("mu_squared", "log_var_max", "log_var_min") if role in case)
    return (
        Evidence(
            f"At step {figure(step)}, {min(1.0, means / total):.0%} of the KL of {figure(total)} nats is ½Σμ²; "
            "variances make the rest.",
            series,
        ),
    )


def _poor(found: Reading) -> str:
    gain = found.gain
    if gain is None:
        return ""
    reconstruction = late(found.case["reconstruction"].finite)
    beta = 1.0 if found.beta is None else found.beta
    dear = ", less than the KL costs" if beta * found.late > gain else ""
    return (
        f" The reconstruction, {figure(reconstruction)} nats at the end, has gained {figure(gain)} since the "
        f"start{dear}."
    )
