"""The causes of GANs: on the labelled runs, and on games whose losses are known from the densities themselves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from dkl.doctor import Diagnosis, diagnose
from scripts.make_doctor_runs import judged, stored

LOG_4 = math.log(4)
# So fine that sums over it are integrals of normal densities to 1e-12.
GRID = np.linspace(-40.0, 40.0, 8001)


def log_of(
    means: Any, *, saturating: bool = False, exchanged: bool = False, halved: bool = False, blind: bool = False
) -> dict[str, list[float]]:
    """The log of a game between N(0, 1) and N(mean, 1) with the best discriminator, by sums over a grid."""
    log: dict[str, list[float]] = {}
    p = np.exp(-(GRID**2) / 2)
    p /= p.sum()
    for step, mean in enumerate(means):
        q = np.exp(-((GRID - mean) ** 2) / 2)
        q /= q.sum()
        score = np.zeros_like(GRID) if blind else mean**2 / 2 - mean * GRID
        score = -score if exchanged else score
        # log D and log(1 − D) of a logit.
        yes, no = -np.logaddexp(0, -score), -np.logaddexp(0, score)
        loss = -(p * (no if exchanged else yes)).sum() - (q * (yes if exchanged else no)).sum()
        entries = {
            "step": step,
            "d_loss": loss / 2 if halved else loss,
            "g_loss": (q * no).sum() if saturating else -(q * yes).sum(),
            "d_x": (p * np.exp(yes)).sum(),
            "d_g_z": (q * np.exp(yes)).sum(),
        }
        for name, value in entries.items():
            log.setdefault(name, []).append(float(value))
    return log


def critic_of(means: Any, slopes: Any, *, loss: float = -1.0) -> dict[str, list[float]]:
    """The log of a linear critic: its estimate of W₁ is −slope·mean; ``loss`` is the sign of its own loss beside it."""
    estimates = [-slope * mean for mean, slope in zip(means, slopes, strict=True)]
    return {
        "step": list(range(len(estimates))),
        "critic_loss": [loss * estimate for estimate in estimates],
        "g_loss": [estimate + 0.1 for estimate in estimates],
        "wasserstein": estimates,
        "generator_gradient": [abs(slope) for slope in slopes],
    }


def the(diagnosis: Diagnosis) -> str:
    """The first finding above a note."""
    return next((f.name for f in diagnosis.findings if f.severity != "note"), diagnosis.status)


FAR, ARRIVING = [8.0] * 20, list(8.0 * 0.75 ** np.arange(40.0))


@pytest.mark.parametrize("halved", [False, True])
@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ({"means": ARRIVING}, "healthy"),
        ({"means": [m / 4 for m in ARRIVING], "saturating": True}, "healthy"),
        ({"means": FAR, "saturating": True}, "saturating loss"),
        ({"means": FAR}, "discriminator has won"),
        ({"means": FAR, "exchanged": True}, "both want the same"),
        ({"means": FAR, "exchanged": True, "saturating": True}, "both want the same"),
        ({"means": FAR, "blind": True}, "dead discriminator"),
    ],
)
def test_games_with_the_best_discriminator(log: dict[str, Any], expected: str, halved: bool) -> None:
    full = log_of(halved=halved, **log)
    diagnosis = diagnose(full, kind="gan")
    assert the(diagnosis) == expected
    # The two losses are enough where both cross-entropies are summed.
    if not halved:
        alone = {name: full[name] for name in ("step", "d_loss", "g_loss")}
        assert the(diagnose(alone, kind="gan")) == expected


def test_the_end_at_log_4_is_told_from_a_dead_discriminator() -> None:
    (note,) = diagnose(log_of(ARRIVING), kind="gan").findings
    assert (note.name, note.severity) == ("equilibrium at log 4", "note")
    (error,) = diagnose(log_of(FAR, blind=True), kind="gan").findings
    assert (error.name, error.severity) == ("dead discriminator", "error")


def test_what_a_saturated_js_is_in_numbers() -> None:
    (finding,) = diagnose(log_of(FAR), kind="gan").findings
    assert "JS is 0.693 nats and more, of 0.693 that it can be" in finding.evidence[0].text
    assert finding.confidence >= 0.9


def test_a_generator_that_comes_nearer_is_a_warning() -> None:
    (finding,) = diagnose(log_of(np.linspace(9.0, 5.5, 20)), kind="gan").findings
    assert (finding.name, finding.severity) == ("discriminator has won", "warning")


def test_the_discriminator_loss_alone() -> None:
    log = {"step": list(range(10)), "d_loss": [1e-4] * 10}
    assert the(diagnose(log, kind="gan")) == "discriminator has won"


def test_a_game_that_goes_round() -> None:
    """A discriminator that is one move behind: fooled after every jump."""
    losses = [0.2, 3.0, 0.4] * 10
    log = {"step": list(range(30)), "d_loss": losses, "g_loss": [5.0, 0.3, 4.0] * 10}
    (finding,) = diagnose(log, kind="gan").findings
    assert finding.name == "players chase each other"
    assert finding.evidence[0].steps == (10.0, 29.0)


def test_noise_about_log_4_is_no_game_that_goes_round() -> None:
    noise = np.random.default_rng(0).normal(0, 0.03, 60)
    losses = LOG_4 + noise
    losses[:10] = 0.3
    (finding,) = diagnose({"step": list(range(60)), "d_loss": losses.tolist()}, kind="gan").findings
    assert finding.name == "equilibrium at log 4"


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (critic_of(ARRIVING, [-1.0] * 40), "healthy"),
        (critic_of(np.linspace(8, 16, 30), [0.95] * 30), "critic on the wrong slope"),
        # Q comes past P in the last third, and the critic does not turn.
        (critic_of(np.linspace(8, -4, 30), [-1.0] * 30), "critic on the wrong slope"),
        (critic_of(np.linspace(8, 16, 30), [1.05] * 30, loss=1.0), "critic's sign exchanged"),
        (critic_of([8.0] * 30, -(1.4 ** np.arange(30.0))), "critic without a bound"),
    ],
)
def test_critics(log: dict[str, list[float]], expected: str) -> None:
    assert the(diagnose(log, kind="gan")) == expected
    # By the two scores as well, under a name that does not say what it is.
    estimate = log["wasserstein"]
    scores = {
        "step": log["step"],
        "d_loss": log["critic_loss"],
        "g_loss": log["g_loss"],
        "d_x": [0.5] * len(estimate),
        "d_g_z": [0.5 - x for x in estimate],
    }
    if expected != "critic's sign exchanged":
        # … which cannot be told for a loss that is none of the critic's.
        assert the(diagnose(scores, kind="gan")) == expected


def test_few_entries_say_nothing() -> None:
    assert diagnose(log_of(FAR[:2]), kind="gan").status == "cannot tell"
    assert not diagnose(log_of(FAR[:4]), kind="gan").findings


@pytest.mark.parametrize("half", ["tuning", "held-out"])
def test_the_labelled_runs(half: str) -> None:
    score = judged(run for run in stored("gan") if run.half == half)
    assert score.faulty >= 20
    assert score.right >= 0.9 * score.faulty
    assert score.false_alarms <= 0.05 * score.healthy
