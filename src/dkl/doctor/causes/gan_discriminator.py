"""Causes of a game between a generator and a discriminator: one that is over, never began, or goes round."""

from __future__ import annotations

import math

import numpy as np

from dkl.doctor.case import Case, Symptom, cause
from dkl.doctor.causes._gan import (
    ARJOVSKY,
    AT_LOG_4,
    ENOUGH,
    GOODFELLOW,
    LOG_4,
    discriminator_loss_of,
    end_of,
    probabilities_of,
)
from dkl.doctor.finding import Cause, Check, Evidence, Fix
from dkl.doctor.series import Series
from dkl.doctor.words import figure

# A discriminator's loss below this share of log 4 means a JS above 0.9·log 2.
_WON = 0.1
# The loss of a discriminator that ever told P from Q falls below log 4 by this: JS has been 0.07 and more.
_TOLD_APART = 0.14
# Two losses of one discriminator that are both so small contradict each other; 1 is the bound.
_BOTH_WIN = 1.2
_BOTH_WIN_NATS = 0.2
# Sure or fooled is a discriminator whose loss is below or above log 4 by this, or whose D, or the generator's loss, is
# as far from 1/2 or log 2. Going from one to the other so many times is no noise, and no single step too far.
_SWING = 0.15
_SWINGS = 3
# A generator's loss that has lost this share is moving.
_MOVES = 0.2

_NON_SATURATING = Fix(
    "Give the generator −log D, whose gradient is there where the discriminator is sure.",
    "from dkl.training import gan_generator_loss\n\n"
    "loss = gan_generator_loss(discriminator(fake))  # logits; saturating=False is the default",
)
_WASSERSTEIN = Fix(
    "Take a Wasserstein critic: its slope does not vanish where P and Q share nothing.",
    "from dkl.training import gradient_penalty, wgan_critic_loss, wgan_generator_loss\n\n"
    "critic_loss = wgan_critic_loss(critic(real), critic(fake)) + gradient_penalty(critic, real, fake)\n"
    "generator_loss = wgan_generator_loss(critic(fake))",
)


def _saturating(case: Case) -> bool:
    """Whether the generator minimises log(1 − D): the only loss of a generator that is never above 0."""
    loss = case["generator_loss"].finite.values
    return bool(len(loss)) and float(np.max(loss)) <= 1e-6 and float(np.min(loss)) < 0


def _contradicted(case: Case, loss: Series) -> Evidence | None:
    """Whether both players win, which they cannot by the same discriminator."""
    generator = case["generator_loss"].finite
    if len(generator) < ENOUGH:
        return None
    last = loss.part(0.5, 1)
    theirs = generator.at(last.steps)
    if _saturating(case):
        # The discriminator's loss is E[−log(1 − D)] on generated rows and more.
        if float(np.nanmedian(last.values + theirs)) >= -_BOTH_WIN_NATS:
            return None
    elif not float(np.nanmedian(np.exp(-last.values) + np.exp(-theirs))) > _BOTH_WIN:
        # D̄ ≥ exp(E log D) and 1 − D̄ ≥ exp(E log(1 − D)) on generated rows.
        return None
    text = (
        f"{loss.name!r} is {figure(end_of(loss))} and {generator.name!r} {figure(end_of(generator))} at the end: "
        "no discriminator can take generated rows for generated and for real at once"
    )
    return Evidence(text, (loss, generator))


def _won(case: Case) -> Series | None:
    """The discriminator's loss, if it is near 0 at the end."""
    loss = discriminator_loss_of(case)
    return loss if loss is not None and end_of(loss) < _WON * LOG_4 else None


def _saturation(loss: Series) -> Evidence:
    end = end_of(loss)
    js = (LOG_4 - end) / 2
    text = (
        f"{loss.name!r} is {figure(end)} at the end: JS is {js:.3f} nats and more, of {math.log(2):.3f} that it can "
        "be, and flat there"
    )
    return Evidence(text, (loss,), level=("log 4, where P = Q", LOG_4))


@cause(
    Cause(
        "saturating loss",
        "gan",
        "P and Q share nothing that the discriminator could mistake, so that JS is at its largest, log 2, and flat. "
        "The generator minimises log(1 − D) as the game is written, whose gradient vanishes with it.",
        (_NON_SATURATING, _WASSERSTEIN),
        (
            "A larger learning rate: the gradient is smaller by many powers of ten.",
            "Training the discriminator better: the surer it is, the smaller the gradient.",
        ),
        GOODFELLOW
        + "section 3; M. Arjovsky, L. Bottou, Towards principled methods for training generative adversarial "
        "networks, ICLR (2017), Theorem 2.4",
        ("discriminator_loss", "generator_loss"),
    )
)
def saturated(case: Case) -> Symptom | None:
    """The discriminator is sure, and the generator's loss is log(1 − D)."""
    loss, generator = _won(case), case["generator_loss"].finite
    if loss is None or not _saturating(case) or _contradicted(case, loss) is not None:
        return None
    text = f"{generator.name!r} is {figure(end_of(generator))}, never above 0: it is log(1 − D), flat where D is near 0"
    evidence = [_saturation(loss), Evidence(text, (generator,), level=("−log 2, where P = Q", -math.log(2)))]
    if "generator_gradient" in case and len(case["generator_gradient"].finite):
        gradient = case["generator_gradient"].finite
        evidence.append(Evidence(f"the generator's gradient is {figure(end_of(gradient))} at the end", (gradient,)))
    return Symptom("error", 0.95, tuple(evidence))


@cause(
    Cause(
        "discriminator has won",
        "gan",
        "The discriminator tells every generated row from every real one: JS has reached log 2, the most that it can "
        "be, and says nothing of how far Q is from P. The generator does not keep up with it.",
        (
            _WASSERSTEIN,
            Fix(
                "Let both take as many steps, and the generator's be as large.",
                "for _ in range(1):  # steps of the discriminator to one of the generator\n    train_discriminator()\n"
                "generator_optimizer = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))",
            ),
            Fix(
                "Add noise to real and generated rows, so that they overlap, and lower it by and by.",
                "real, fake = real + sigma * torch.randn_like(real), fake + sigma * torch.randn_like(fake)",
            ),
        ),
        (
            "Waiting for the discriminator's loss to fall further: 0 is its end, and not the game's.",
            "A larger discriminator, or more of its steps: it has won already.",
        ),
        GOODFELLOW + "Theorem 1; " + ARJOVSKY + "Example 1",
        ("discriminator_loss",),
    )
)
def won(case: Case) -> Symptom | None:
    """The discriminator is sure, and the generator's loss is another than log(1 − D), or not logged."""
    loss = _won(case)
    if loss is None or _swings(case, loss) >= _SWINGS:
        return None
    evidence = [_saturation(loss)]
    if "generator_loss" not in case:
        return Symptom("error", 0.7, tuple(evidence))
    if _saturating(case) or _contradicted(case, loss) is not None:
        return None
    generator = case["generator_loss"].finite
    if len(generator) < ENOUGH:
        return Symptom("error", 0.7, tuple(evidence))
    first, last = float(np.median(generator.part(0, 0.2).values)), end_of(generator)
    if last < (1 - _MOVES) * first:
        text = (
            f"{generator.name!r} has come down from {figure(first)} to {figure(last)}: the generator may get there yet"
        )
        return Symptom("warning", 0.6, (*evidence, Evidence(text, (generator,))))
    text = (
        f"{generator.name!r} is {figure(last)} at the end, {figure(first)} at the beginning: "
        "−log D of rows that are sure to be generated"
    )
    return Symptom("error", 0.9, (*evidence, Evidence(text, (generator,), level=("log 2, where P = Q", math.log(2)))))


@cause(
    Cause(
        "both want the same",
        "gan",
        "Discriminator and generator are told the same of generated rows, so that both losses fall to 0 and nobody "
        "plays against the other. The labels of one of them, or the sign of its loss, are exchanged.",
        (
            Fix(
                "Let the losses know what is real and what is not.",
                "from dkl.training import gan_discriminator_loss, gan_generator_loss\n\n"
                "discriminator_loss = gan_discriminator_loss(discriminator(real), discriminator(fake.detach()))\n"
                "generator_loss = gan_generator_loss(discriminator(fake))",
            ),
        ),
        (
            "Any other learning rate or network: both losses are as small as they can be.",
            "Taking two small losses for success: at P = Q they are log 4 and log 2.",
        ),
        GOODFELLOW + "eq. 1",
        ("discriminator_loss", "generator_loss"),
    )
)
def same_side(case: Case) -> Symptom | None:
    """Both losses are smaller than one discriminator allows."""
    loss = discriminator_loss_of(case)
    found = None if loss is None else _contradicted(case, loss)
    if loss is None or found is None:
        return None
    evidence = [found]
    probabilities = probabilities_of(case)
    if probabilities is not None and end_of(probabilities[1]) > end_of(probabilities[0]):
        real, fake = probabilities
        said = f"{fake.name!r} is {figure(end_of(fake))} and {real.name!r} {figure(end_of(real))}"
        text = f"{said}: generated rows count as real"
        evidence.append(Evidence(text, (real, fake)))
    return Symptom("error", 0.95, tuple(evidence))


@cause(
    Cause(
        "dead discriminator",
        "gan",
        "The discriminator has told P from Q at no step, while the generator began far from P: it does not learn. log "
        "4 is what a game is worth that has come to its end, and what a discriminator pays that says 1/2 of "
        "everything.",
        (
            Fix(
                "Let it learn: its parameters in an optimiser, with a learning rate, and no weight decay that "
                "outweighs the gradient.",
                "discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))",
            ),
            Fix(
                "Detach generated rows for the discriminator only, and give its last layer's logits to a loss that "
                "takes logits.",
                "from dkl.training import gan_discriminator_loss\n\n"
                "loss = gan_discriminator_loss(discriminator(real), discriminator(fake.detach()))",
            ),
        ),
        (
            "Training the generator longer: it has nobody to learn from.",
            "Taking log 4 for the equilibrium: that comes after the discriminator has told the two apart, not before.",
        ),
        GOODFELLOW + "Proposition 2",
        ("discriminator_loss",),
        checks=(
            Check(
                "See whether its parameters move.",
                "before = [p.detach().clone() for p in discriminator.parameters()]\ntrain_discriminator()\n"
                "print(max(float((p - q).abs().max()) for p, q in zip(discriminator.parameters(), before)))",
            ),
        ),
    )
)
def dead(case: Case) -> Symptom | None:
    """The discriminator's loss has never been below log 4."""
    loss = discriminator_loss_of(case)
    if loss is None or float(np.min(loss.values)) < LOG_4 - _TOLD_APART:
        return None
    if "generator_loss" in case and _contradicted(case, loss) is not None:
        return None
    low, high = float(np.min(loss.values)), float(np.max(loss.values))
    text = f"{loss.name!r} lies between {low:.3f} and {high:.3f} at all steps, log 4 = {LOG_4:.3f} or above"
    evidence, sure = [Evidence(text, (loss,), level=("log 4", LOG_4))], 0.6
    probabilities = probabilities_of(case)
    if probabilities is not None:
        real, fake = probabilities
        apart = float(np.max(np.abs(real.at(fake.steps) - fake.values)))
        evidence.append(
            Evidence(f"what it says of real and of generated rows never differs by more than {apart:.3f}", (real, fake))
        )
        sure = 0.8
    if "generator_gradient" in case and len(case["generator_gradient"].finite):
        gradient = case["generator_gradient"].finite
        largest = float(np.max(gradient.values))
        if largest == 0:
            evidence.append(Evidence("the generator's gradient is 0 at all steps", (gradient,)))
            sure = 0.95
    return Symptom("error", sure, tuple(evidence))


@cause(
    Cause(
        "equilibrium at log 4",
        "gan",
        "The discriminator's loss has come to log 4, which is what it pays where P and Q are equal. That is the end "
        "of a game that went well, or a discriminator that no longer sees the difference.",
        (),
        ("Making the discriminator's loss smaller: log 4 is where it should be.",),
        GOODFELLOW + "Theorem 1",
        ("discriminator_loss",),
        checks=(
            Check(
                "Train a new discriminator against the generator as it is: if it finds nothing either, they are near.",
                "from dkl.training import discriminator_value\n\n"
                "js = (discriminator_value(fresh(real), fresh(fake)) + math.log(4)) / 2  # a lower bound on JS",
            ),
        ),
    )
)
def equilibrium(case: Case) -> Symptom | None:
    """The discriminator's loss was below log 4, and is there now."""
    loss = discriminator_loss_of(case)
    if loss is None or float(np.min(loss.values)) >= LOG_4 - _TOLD_APART or abs(end_of(loss) - LOG_4) > AT_LOG_4:
        return None
    if _swings(case, loss) >= _SWINGS:
        return None
    text = (
        f"{loss.name!r} has risen from {figure(float(np.min(loss.values)))} to {end_of(loss):.3f}; log 4 is {LOG_4:.3f}"
    )
    return Symptom("note", 0.8, (Evidence(text, (loss,), level=("log 4", LOG_4)),))


def _swings(case: Case, loss: Series) -> int:
    """How often the discriminator goes from sure to fooled, or back, in the last two thirds of the run."""
    last = loss.part(1 / 3, 1)
    fooled = last.values > LOG_4 + _SWING
    if "generator_loss" in case and not _saturating(case):
        fooled |= case["generator_loss"].finite.at(last.steps) < math.log(2) - _SWING
    probabilities = probabilities_of(case)
    if probabilities is not None:
        fooled |= probabilities[1].at(last.steps) > 0.5 + _SWING
    sides = np.where(fooled, 1, np.where(last.values < LOG_4 - _SWING, -1, 0))
    return int(np.count_nonzero(np.diff(sides[sides != 0])))


@cause(
    Cause(
        "players chase each other",
        "gan",
        "The generator's steps are so large that it jumps from one side of P to the other: each time the "
        "discriminator is fooled for a while, learns better, and sends it back. The game goes round and comes to no "
        "end.",
        (
            Fix(
                "Take smaller steps of the generator.",
                "generator_optimizer = torch.optim.Adam(generator.parameters(), lr=lr / 10, betas=(0.5, 0.999))",
            ),
            Fix(
                "Damp the discriminator by a penalty on its slope.",
                "from dkl.training import gradient_penalty\n\n"
                "loss = gan_discriminator_loss(discriminator(real), discriminator(fake))\n"
                "loss = loss + gradient_penalty(discriminator, real, fake, one_sided=True)",
            ),
        ),
        (
            "Training longer: a cycle does not end.",
            "More momentum: it carries the players on past each other.",
        ),
        "L. Mescheder, A. Geiger, S. Nowozin, Which training methods for GANs do actually converge?, ICML (2018), "
        "section 2",
        ("discriminator_loss",),
    )
)
def chasing(case: Case) -> Symptom | None:
    """The discriminator is sure and fooled by turns, to the end."""
    loss = discriminator_loss_of(case)
    if loss is None:
        return None
    swings, last = _swings(case, loss), loss.part(1 / 3, 1)
    if swings < _SWINGS:
        return None
    text = (
        f"the discriminator goes from sure to fooled or back {swings} times in the last two thirds of the run, with "
        f"{loss.name!r} between {figure(float(np.min(last.values)))} and {figure(float(np.max(last.values)))}; "
        f"log 4 is {LOG_4:.3f}"
    )
    steps = float(last.steps[0]), float(last.steps[-1])
    return Symptom("error", min(0.95, 0.6 + 0.05 * swings), (Evidence(text, (loss,), steps, ("log 4", LOG_4)),))
