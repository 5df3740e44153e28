"""Causes of a VAE whose latent variables say nothing: collapsed, at a floor, ignored, or alike for all rows."""

from __future__ import annotations

import numpy as np

from dkl.doctor.case import Case, Symptom, cause
from dkl.doctor.causes._vae import (
    FAST,
    SOME,
    Reading,
    largest_rate,
    late,
    late_dimensions,
    late_of,
    reading,
    used_in_theory,
)
from dkl.doctor.causes._vae_use import calmed, uninformed, unread
from dkl.doctor.causes.vae_accounting import mismatch
from dkl.doctor.finding import Cause, Check, Evidence, Fix
from dkl.doctor.series import Series
from dkl.doctor.words import figure

# A direction collapses where λ ≤ β·σ². Data of which anything is to be learned have some directions with λ above their
# noise, few with four times that: a β from here on leaves hardly any of them, and one up to 1 takes none that the
# ELBO has.
_LARGE_BETA, _USUAL_BETA = 4.0, 1.0
# In nats. What a dimension with a smaller KL carries, no reconstruction shows.
_DEAD = 0.01
# More dead dimensions than this are a collapse of most; the KL of the others is then what hides them.
_MOST = 0.5
# In nats. With a smaller KL, all are dead, and nothing is hidden.
_ALIVE = 0.3
# The KL of a dimension hovers beneath its floor: below it, nothing holds it, and above it β presses. It stays within
# these shares, and this many of the dimensions do.
_BENEATH, _ABOVE, _AT_FLOOR = 0.5, 1.2, 0.7

_THEORY = Check(
    "Ask theory which directions are worth their KL for this β and σ²; the others die by design, and fewer dimensions "
    "lose nothing.",
    "import numpy as np\nfrom dkl.training import predicted_active_dims\n\n"
    "predicted = predicted_active_dims(np.cov(x.numpy().T), beta=1.0, noise_variance=0.05)",
)


@cause(
    Cause(
        "posterior collapse by design",
        "vae",
        "The objective is best without latent variables: a direction of the data of variance λ is worth its KL only "
        "if λ is above β·σ², the decoder's variance times the KL's weight. No optimiser, schedule or architecture of "
        "the encoder changes where the optimum lies.",
        (
            Fix(
                "Lower β, below λ/σ² for the directions that matter; 1 is the ELBO.",
                "loss = vae_loss(x, x_recon, mu, log_var, beta=1.0, likelihood='bernoulli_logits')",
            ),
            Fix(
                "With a normal likelihood, lower σ²: it is a mean squared error's hidden β.",
                "loss = vae_loss(x, x_mean, mu, log_var, likelihood='gaussian', scale=0.25)",
            ),
            Fix(
                "Or take the σ² that fits best, in each batch.",
                "scale = ((x - x_mean) ** 2).mean().sqrt()\n"
                "loss = vae_loss(x, x_mean, mu, log_var, likelihood='gaussian', scale=scale)",
            ),
        ),
        (
            "Warm-up of β to the same value: where it ends is what counts, and there the optimum is collapsed.",
            "Another learning rate or more training: the optimiser has done what it was asked.",
        ),
        "Lucas et al. 2019, arXiv:1911.02469, section 4; Tipping & Bishop 1999, section 3.2; Rybkin et al. 2021, "
        "arXiv:2006.13202 (the σ² that fits best)",
        (),
        checks=(_THEORY,),
    )
)
def by_design(case: Case) -> Symptom | None:
    """A KL near 0 where β·σ² leaves no direction worth a latent variable."""
    found = reading(case)
    if found is None or not found.collapsed or mismatch(case) is not None:
        return None
    theory = used_in_theory(case, found.beta)
    if theory is not None:
        used, largest, least = theory
        if used:
            return None
        return Symptom(
            "error",
            0.95,
            (
                found.seen(),
                Evidence(
                    f"The data's largest variance in any direction is λ = {figure(largest)}, and β·σ² = "
                    f"{figure(least)}: a linear VAE uses no direction with λ ≤ β·σ²."
                ),
            ),
        )
    if found.beta is None or found.beta < _LARGE_BETA:
        return None
    return Symptom(
        "error",
        0.85,
        (found.seen(), Evidence(f"β is {figure(found.beta)} at the end.", _series(case, "beta"), found.end)),
    )


@cause(
    Cause(
        "posterior collapse by optimisation",
        "vae",
        "Latent variables would be worth their KL, but early in training they are noise: the decoder learns to do "
        "without them, and the KL then pulls the posterior onto the prior. From there the gradient that would bring "
        "them back is almost 0.",
        (
            Fix(
                "Lower the learning rate, if it is large for Adam: steps of 0.01 and more throw the decoder out of "
                "reach.",
                "optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)",
            ),
            Fix(
                "Warm β up from 0, so that the decoder learns to use z before z has to be cheap.",
                "from dkl.training import LinearWarmup\n\nbeta = LinearWarmup(total_steps // 3, 0.0, 1.0)(step)",
            ),
            Fix(
                "Give each dimension some nats for nothing.",
                "loss = vae_loss(x, x_recon, mu, log_var, free_bits=0.1, likelihood='bernoulli_logits')",
            ),
        ),
        (
            "Training longer: the gradient that is missing stays missing.",
            "A larger β: presses on a KL that is 0 already.",
        ),
        "Bowman et al. 2016, arXiv:1511.06349, section 3.1; He et al. 2019, arXiv:1901.05534, section 3",
        (),
    )
)
def by_optimisation(case: Case) -> Symptom | None:
    """A KL near 0 where β is one at which latent variables are worth it."""
    found = reading(case)
    if found is None or not found.collapsed or mismatch(case) is not None:
        return None
    beta = found.beta
    theory = used_in_theory(case, beta)
    evidence = [found.seen()]
    if theory is not None:
        used, largest, least = theory
        if not used:
            return None
        evidence.append(
            Evidence(
                f"A linear VAE would use {used} directions of these data: their largest variance is λ = "
                f"{figure(largest)}, above β·σ² = {figure(least)}."
            )
        )
        confidence = 0.95
    elif beta is None:
        evidence.append(Evidence("β is unknown; if it is above 1, the collapse may be by design: log it, or give it."))
        confidence = 0.5
    elif beta >= _LARGE_BETA:
        return None
    else:
        evidence.append(
            Evidence(
                f"β is {figure(beta)} at the end, where data usually have directions worth their KL.",
                _series(case, "beta"),
            )
        )
        confidence = 0.8 if beta <= _USUAL_BETA else 0.6
    peak, at = found.peak
    if np.isfinite(peak) and peak > 10 * max(found.late, 1e-3) and peak > _DEAD:
        evidence.append(
            Evidence(f"The KL was {figure(peak)} nats at step {figure(at)}, and fell.", (found.kl,), (at, found.end[0]))
        )
    rate = largest_rate(case)
    if rate is not None and rate >= FAST:
        evidence.append(
            Evidence(f"The learning rate is {figure(rate)}; 1e-4 to 3e-3 is usual.", _series(case, "learning_rate"))
        )
    return Symptom("error", confidence, tuple(evidence))


@cause(
    Cause(
        "collapse hidden by a mean",
        "vae",
        "Most latent dimensions have a KL of 0 and carry nothing, while a few carry all. A sum or a mean over the "
        "dimensions shows the few, and looks like a healthy KL.",
        (
            Fix(
                "Lower the learning rate, if it is large for Adam: dimensions that are thrown out early do not come "
                "back.",
                "optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)",
            ),
        ),
        (
            "More latent dimensions: those there are in use stay as few.",
            "Lowering β when the learning rate is too large: the few carry more, and the dead stay dead.",
        ),
        "Burda et al. 2016, arXiv:1509.00519 (active units); Lucas et al. 2019, arXiv:1911.02469",
        ("kl_dim",),
        checks=(
            _THEORY,
            Check(
                "Watch every dimension, and count those in use.",
                "loss = vae_loss(x, x_recon, mu, log_var, likelihood='bernoulli_logits')\n"
                "used = int((loss.kl_per_dim > 0.01).sum())",
            ),
        ),
    )
)
def hidden(case: Case) -> Symptom | None:
    """Most dimensions dead, at a KL that does not show it."""
    found = reading(case)
    dimensions = late_dimensions(case)
    if found is None or found.collapsed or found.exploded or dimensions.size < 3 or found.late < _ALIVE:
        return None
    dead = dimensions < _DEAD
    if dead.mean() <= _MOST:
        return None
    alive = int((~dead).sum())
    theory = used_in_theory(case, found.beta)
    told = [
        Evidence(
            f"{int(dead.sum())} of {dimensions.size} latent dimensions have a KL below {_DEAD} nats at the end.",
            tuple(s for s, is_dead in zip(case.many("kl_dim"), dead, strict=False) if is_dead)[:5],
            found.end,
            ("dead", _DEAD),
        ),
        Evidence(
            f"Together they show {figure(found.late)} nats, of which one dimension has "
            f"{figure(float(dimensions.max()))}.",
            (found.kl,),
            found.end,
        ),
    ]
    if theory is not None and theory[0] <= alive:
        told.append(Evidence(f"Theory leaves {theory[0]} for this β and σ²: the others are dead by design."))
        return Symptom("note", 0.9, tuple(told))
    if theory is None and found.beta is not None and found.beta > _USUAL_BETA:
        told.append(
            Evidence(
                f"β is {figure(found.beta)}: directions with λ ≤ β·σ² die by design, and whether these have is told by "
                "the eigenvalues of the data's covariance and σ², which are not known."
            )
        )
        return Symptom("note", 0.5, tuple(told))
    return Symptom("warning", 0.85, tuple(told))


@cause(
    Cause(
        "KL at the free-bits floor",
        "vae",
        "The KL stands at the floor below which it costs nothing, because β presses it down to there. It says how "
        "high the floor is, not how much is learned: a floor is not health.",
        (
            Fix(
                "Lower β to 1, so that dimensions that are worth it rise above the floor.",
                "loss = vae_loss(x, x_recon, mu, log_var, beta=1.0, free_bits=0.1, likelihood='bernoulli_logits')",
            ),
            Fix(
                "Or do without the floor, at a β of 1 that is warmed up.",
                "from dkl.training import LinearWarmup\n\n"
                "beta = LinearWarmup(total_steps // 3, 0.0, 1.0)(step)\n"
                "loss = vae_loss(x, x_recon, mu, log_var, beta=beta, likelihood='bernoulli_logits')",
            ),
        ),
        (
            "A higher floor: the KL rises with it, and stands at it.",
            "A capacity instead of the floor: it names the KL beforehand just the same.",
        ),
        "Kingma et al. 2016, arXiv:1606.04934, equation 15",
        (),
        checks=(
            Check(
                "Ask how much of the KL is information.",
                "from dkl.training import mutual_information\n\ninformation = mutual_information(mu, log_var)",
            ),
        ),
    )
)
def at_the_floor(case: Case) -> Symptom | None:
    """Dimensions whose KL is where the floor is."""
    found = reading(case)
    floor = late_of(case, "free_bits")
    if found is None or floor is None or not floor > 0 or len(found.kl) < 3:
        return None
    dimensions = late_dimensions(case)
    if dimensions.size:
        near = (dimensions > _BENEATH * floor) & (dimensions < _ABOVE * floor)
        if near.mean() < _AT_FLOOR or dimensions.max() > _ABOVE * floor:
            return None
        told = Evidence(
            f"{int(near.sum())} of {dimensions.size} latent dimensions have a KL between "
            f"{figure(float(dimensions.min()))} and {figure(float(dimensions.max()))} nats, and none is above the "
            "floor by more.",
            tuple(case.many("kl_dim"))[:5],
            found.end,
            ("floor", floor),
        )
    else:
        # A floor of each dimension, or of their sum.
        floors = [floor, floor * (found.latent_dim or 1)]
        if not any(_AT_FLOOR * level < found.late < _ABOVE * level for level in floors):
            return None
        told = Evidence("The KL is as large as its floor.", (found.kl,), found.end, ("floor", floors[-1]))
    return Symptom("warning", 0.75, (found.seen(), told, Evidence(f"The floor is {figure(floor)} nats.")))


@cause(
    Cause(
        "decoder ignores z",
        "vae",
        "The decoder rebuilds a row as well from the latent variables of another row as from its own: it gets what "
        "it needs past them, by a skip connection, by its own past outputs, or it has lost them. Whatever the KL is, "
        "it is paid for nothing.",
        (
            Fix(
                "Close the way past z: no connection from the encoder's input or inner layers into the decoder.",
                "x_recon = decoder(z)",
            ),
            Fix(
                "If the decoder has to see something past z, such as its own past outputs, hide most of it in "
                "training.",
                "past = past * (torch.rand_like(past) > 0.75)",
            ),
        ),
        (
            "A smaller or larger β: changes what is paid for z, not that nobody reads it.",
            "A higher free-bits floor: the KL rises, and nobody reads it.",
        ),
        "Bowman et al. 2016, arXiv:1511.06349, section 3; Chen et al. 2017, arXiv:1611.02731, section 2",
        ("reconstruction", "reconstruction_shuffled"),
        checks=(
            Check(
                "Measure it while training: what it costs to have the z of another row.",
                "shuffled = vae_loss(x, decoder(z.roll(1, 0)), mu, log_var, "
                "likelihood='bernoulli_logits').reconstruction",
            ),
        ),
    )
)
def ignored(case: Case) -> Symptom | None:
    """A KL that is paid, and another row's sample that serves as well."""
    found = reading(case)
    if found is None or not _worth_asking(case, found) or uninformed(case, found):
        return None
    told = unread(case, found)
    if told is None:
        return None
    information = late_of(case, "mutual_information")
    of_which = "" if information is None else f", of which {figure(information)} are mutual information"
    return Symptom(
        "error",
        0.9,
        (
            told,
            Evidence(f"The KL is {figure(found.late)} nats at the end{found.said}{of_which}.", (found.kl,), found.end),
        ),
    )


@cause(
    Cause(
        "no mutual information",
        "vae",
        "Every row has the same posterior: q(z|x) is not the prior, so that there is a KL, but it does not depend on "
        "x, so that z tells nothing of the row. The mean KL is the mutual information plus the KL of the aggregate "
        "posterior, and here it is all the second.",
        (
            Fix(
                "Give the encoder rows that differ: an input that is neither constant, nor scaled or normalised to "
                "nothing.",
                "x = (x - x.mean(0)) / x.std(0).clamp(min=1e-6)\nassert encoder(x).std(0).max() > 1e-3",
            ),
        ),
        (
            "A higher free-bits floor: it is met by an offset that is the same for every row.",
            "Another β: with a larger one the offset goes, and the information is as much as before, none.",
        ),
        'Hoffman & Johnson 2016, "ELBO surgery", NeurIPS workshop on advances in approximate Bayesian inference',
        ("mutual_information",),
        checks=(
            Check(
                "See where the rows become alike: in the input, or in units that are all dead.",
                "assert x.std(0).max() > 1e-3\nassert encoder(x).std(0).max() > 1e-3",
            ),
            Check(
                "See that the encoder is trained: that its parameters are the optimiser's, and that z is not detached.",
                "loss = vae_loss(x, x_recon, mu, log_var, likelihood='bernoulli_logits')\n"
                "loss.total.backward()\n"
                "assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in "
                "encoder.parameters())",
            ),
            Check(
                "Watch both parts of the KL.",
                "from dkl.training import aggregate_posterior_kl, mutual_information\n\n"
                "information = mutual_information(mu, log_var)\n"
                "offset = aggregate_posterior_kl(mu, log_var)",
            ),
        ),
    )
)
def no_information(case: Case) -> Symptom | None:
    """A KL without any information in it."""
    found = reading(case)
    if found is None or not _worth_asking(case, found) or not uninformed(case, found):
        return None
    information = case["mutual_information"].finite
    return Symptom(
        "error",
        0.95,
        (
            Evidence(
                f"The mutual information of row and z is {figure(late(information))} nats, at a KL of "
                f"{figure(found.late)} nats{found.said}.",
                (information, found.kl),
                found.end,
            ),
        ),
    )


def _worth_asking(case: Case, found: Reading) -> bool:
    """Whether there is a KL, and not one that has exploded, or had and left this: what that means comes first."""
    return len(found.kl) >= 3 and not found.exploded and found.late > SOME and not calmed(case, found)


def _series(case: Case, role: str) -> tuple[Series, ...]:
    return (case[role],) if role in case and len(case[role].finite) else ()
