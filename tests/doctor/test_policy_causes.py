"""The causes of a policy's runs: each found where it is, and not found beside it."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np
import pytest

from dkl.doctor import Diagnosis, diagnose
from dkl.doctor.case import CAUSES
from dkl.doctor.causes import load

N = 60
STEPS = np.arange(N, dtype=float)
RANDOM = np.random.default_rng(0)
REFERENCE = {"kl_to": "reference", "policy_is_reference": True, "unit": "sequence", "estimator": "k1"}


def course(level: float, noise: float = 0.05, start: float = 0.0) -> np.ndarray[Any, Any]:
    """From ``start`` to a level, by half of what is left every three steps, with relative noise."""
    wobble = 1 + noise * np.random.default_rng(7).standard_normal(N)
    return (start + (level - start) * (1 - 0.5 ** (STEPS / 3))) * wobble


def tuned() -> dict[str, Any]:
    """A healthy run of fine-tuning with everything logged."""
    kl = course(3.0)
    return {
        "step": STEPS,
        "kl": kl,
        "kl_k2": 1.2 * kl,
        "kl_k3": kl * (1 + 0.05 * np.random.default_rng(1).standard_normal(N)),
        "kl_stderr": np.full(N, 0.25),
        "kl_coef": 0.5 * np.exp(0.02 * np.sin(STEPS)),
        "target_kl": np.full(N, 3.0),
        "update_kl": course(0.008, start=0.016),
        "reward": course(1.9, start=1.0),
        "score": course(3.4, start=1.0),
        "entropy": course(1.9, start=2.2),
        "importance_mean": np.ones(N),
        "effective_sample_size": np.ones(N),
        "rollout_kl": np.full(N, 1e-4),
        "response_length": course(9.5, start=8.5, noise=0.02),
        "learning_rate": np.full(N, 1e-5),
        "clip_fraction": np.full(N, 0.05),
        "gradient_norm": course(0.3, start=0.3),
    }


def updates() -> dict[str, Any]:
    """A healthy run of PPO with a clip."""
    return {
        "step": 2048 * (1 + STEPS),
        "approx_kl": course(0.008, noise=0.3, start=0.008),
        "clip_fraction": np.full(N, 0.08),
        "entropy": course(0.5, start=0.69),
        "ep_rew_mean": course(300.0, start=20.0),
        "learning_rate": np.full(N, 3e-4),
        "policy_gradient_loss": np.full(N, -0.01),
    }


def of(
    log: dict[str, Any], changed: dict[str, Any] | None = None, without: tuple[str, ...] = (), **known: Any
) -> Diagnosis:
    log = {**log, **(changed or {})}
    return diagnose({name: values for name, values in log.items() if name not in without}, kind="policy", **known)


def names(diagnosis: Diagnosis, least: str = "warning") -> list[str]:
    return [f.name for f in diagnosis.findings if least == "note" or f.severity != "note"]


def first(diagnosis: Diagnosis) -> str:
    return (names(diagnosis) or [diagnosis.status])[0]


def test_healthy_runs_have_no_finding() -> None:
    assert first(of(tuned(), **REFERENCE)) == "healthy"
    assert first(of(updates())) == "healthy"
    assert first(of(updates(), target_kl=0.01)) == "healthy"


def test_what_a_cause_says() -> None:
    load()
    causes = [known for known, _ in CAUSES if known.kind == "policy"]
    assert len(causes) >= 16
    for known in causes:
        assert known.because.count(". ") >= 1
        assert known.because.endswith(".")
        assert known.fixes
        assert known.not_helping
        assert all(reason.endswith(".") and ":" in reason for reason in known.not_helping)
        assert known.reference
        assert any(fix.code for fix in known.fixes)
        for advice in (*known.fixes, *known.checks):
            assert advice.text.endswith(".")
            ast.parse(advice.code)


def test_learning_rate_against_step_too_large() -> None:
    far = {"approx_kl": course(0.3, noise=0.3, start=0.3)}
    assert first(of(updates(), {**far, "learning_rate": np.full(N, 0.05)})) == "learning rate too large"
    assert (
        first(of(updates(), {**far, "clip_fraction": np.full(N, 0.6)}, ("learning_rate",))) == "learning rate too large"
    )
    assert first(of(updates(), far)) == "step too large"
    # A usual learning rate is not blamed, whatever the clip fraction.
    assert first(of(updates(), {**far, "clip_fraction": np.full(N, 0.6)})) == "step too large"
    # A large learning rate that does no harm neither.
    assert first(of(updates(), {"learning_rate": np.full(N, 0.05)})) == "healthy"


@pytest.mark.parametrize(("level", "severity"), [(0.012, None), (0.03, "warning"), (0.08, "error")])
def test_step_too_large_is_against_the_target(level: float, severity: str | None) -> None:
    found = of(updates(), {"approx_kl": np.full(N, level)}, target_kl=0.01)
    assert [f.severity for f in found.findings if f.name == "step too large"] == ([severity] if severity else [])


def test_a_few_large_updates_are_no_rule() -> None:
    kl = np.full(N, 0.008)
    kl[::5] = 0.3
    assert first(of(updates(), {"approx_kl": kl}, target_kl=0.01)) == "healthy"


def test_policy_does_not_move() -> None:
    assert first(of(updates(), {"approx_kl": np.full(N, 3e-8)})) == "policy does not move"
    # It does where it once did.
    kl = np.full(N, 3e-8)
    kl[0] = 0.01
    assert "policy does not move" not in names(of(updates(), {"approx_kl": kl}))


def test_entropy_collapse() -> None:
    gone = {"entropy": 2.2 * 0.9**STEPS}
    found = of(tuned(), gone, ("target_kl",), **REFERENCE)
    assert [(f.name, f.severity) for f in found.findings] == [("entropy collapse", "warning")]
    worse = {**gone, "score": course(0.5, start=3.0), "reward": course(0.5, start=3.0)}
    found = of(tuned(), worse, ("target_kl",), **REFERENCE)
    assert [(f.name, f.severity) for f in found.findings] == [("entropy collapse", "error")]
    # Of a density it means nothing.
    assert first(of(updates(), {"entropy": 1.0 - 0.1 * STEPS})) == "healthy"
    # The sign of Stable-Baselines3's entropy_loss does not matter.
    log = {**updates(), "train/entropy_loss": -gone["entropy"], "train/n_updates": 10 * STEPS}
    assert first(of(log, without=("entropy",))) == "entropy collapse"


def test_early_stopping_by_k1() -> None:
    k1 = {"kl_k1": 0.018 + 0.003 * np.sin(STEPS)}
    found = of(updates(), {**k1, "approx_kl": np.full(N, 0.006), "update_epochs": 1 + STEPS % 7}, target_kl=0.01)
    assert first(found) == "early stopping by k1"
    # Both agree, or nothing is aimed at.
    assert first(of(updates(), {**k1, "approx_kl": np.full(N, 0.014)}, target_kl=0.01)) == "healthy"
    assert first(of(updates(), {**k1, "approx_kl": np.full(N, 0.006)})) == "healthy"


def test_coefficient_at_its_bound() -> None:
    beta = np.minimum(0.02 * 1.1**STEPS, 0.1)
    high = {"kl": course(12.0), "kl_coef": beta, "kl_k3": course(12.0), "kl_k2": course(13.0)}
    assert first(of(tuned(), high, **REFERENCE)) == "coefficient at its bound"
    # The same plateau with the KL at its target is where a controller belongs.
    assert first(of(tuned(), {"kl_coef": beta}, **REFERENCE)) == "healthy"
    # A constant is no controller's, unless it stands at a bound that is known.
    constant = {**high, "kl_coef": np.full(N, 0.1)}
    assert first(of(tuned(), constant, **REFERENCE)) == "penalty too weak"
    assert first(of(tuned(), constant, kl_bounds=(1e-3, 0.1), **REFERENCE)) == "coefficient at its bound"
    assert "coefficient at its bound" not in names(of(tuned(), high, kl_bounds=(1e-3, 5.0), **REFERENCE))


def test_coefficient_too_slow_says_how_many_updates_to_double() -> None:
    slow = {"kl": course(12.0), "kl_k3": course(12.0), "kl_k2": course(13.0), "kl_coef": 0.02 * 1.002**STEPS}
    found = of(tuned(), slow, **REFERENCE)
    assert first(found) == "coefficient too slow"
    # log 2 / log 1.002 = 346.9
    assert "doubles every 347 updates, and this run has 60" in found.findings[0].evidence[0].text
    fast = {**slow, "kl_coef": 0.02 * 1.08**STEPS, "kl": 12.0 * 0.97**STEPS, "kl_k3": 12.0 * 0.97**STEPS}
    assert "coefficient too slow" not in names(of(tuned(), fast, **REFERENCE))


def test_coefficient_run_away() -> None:
    away = {"kl": course(12.0), "kl_k3": course(12.0), "kl_k2": course(13.0), "kl_coef": 0.01 * 1.5**STEPS}
    assert first(of(tuned(), away, **REFERENCE)) == "coefficient run away"
    # A KL that comes down shows that the coefficient is at work.
    kl = 12.0 * 0.93**STEPS
    answered = {**away, "kl": kl, "kl_k3": kl, "kl_k2": kl}
    assert "coefficient run away" not in names(of(tuned(), answered, **REFERENCE))


def test_target_in_another_unit() -> None:
    other = {"kl": course(20.0), "kl_k3": course(20.0), "kl_k2": course(22.0), "kl_coef": 0.6 * 0.97**STEPS}
    found = of(tuned(), other, **REFERENCE)
    assert first(found) == "target in another unit"
    assert "divided by the response's length" in found.findings[0].evidence[1].text
    # Which unit it is cannot be told without the lengths; that it is another can.
    found = of(tuned(), other, ("response_length",), **REFERENCE)
    assert first(found) == "target in another unit"
    assert len(found.findings[0].evidence) == 1


@pytest.mark.parametrize("factor", [1.0, 0.5, 0.1, 9.5])
def test_a_kl_loss_in_proportion_is_the_kl_that_is_logged(factor: float) -> None:
    kl = tuned()["kl"]
    assert first(of(tuned(), {"kl_loss": factor * kl}, **REFERENCE)) == "healthy"


def test_kl_logged_is_not_the_kl_trained() -> None:
    found = of(tuned(), {"kl_loss": 0.01 * 0.9**STEPS}, **REFERENCE)
    assert first(found) == "KL logged is not the KL trained"


def test_kl_not_zero_at_the_start() -> None:
    floor = {"kl_k3": 0.3 + tuned()["kl_k3"], "kl": tuned()["kl"] - 0.3}
    found = of(tuned(), floor, **REFERENCE)
    assert first(found) == "KL not zero at the start"
    assert "dropout" in found.findings[0].evidence[1].text
    higher = {"kl_k3": 0.5 + tuned()["kl_k3"], "kl": 0.5 + tuned()["kl"]}
    found = of(tuned(), higher, **REFERENCE)
    assert first(found) == "KL not zero at the start"
    assert "temperature" in found.findings[0].evidence[1].text
    assert "temperature" in found.findings[0].fixes[0].text
    # It need not be 0 where the policy is known to be another, nor where the log begins later.
    assert "KL not zero at the start" not in names(of(tuned(), higher, **{**REFERENCE, "policy_is_reference": False}))
    later = {**higher, "step": STEPS + 10}
    assert "KL not zero at the start" not in names(of(tuned(), later, kl_to="reference"))


def test_noise_of_k1_is_a_note() -> None:
    kl = 0.1 + 0.25 * np.random.default_rng(3).standard_normal(N)
    found = of(tuned(), {"kl": kl, "kl_k3": np.full(N, 0.1) * (STEPS > 0), "kl_k2": np.full(N, 0.1) * (STEPS > 0)},
               ("target_kl", "kl_coef"), **REFERENCE)  # fmt: skip
    assert found.status == "healthy"
    assert names(found, "note") == ["negative KL by noise"]


def negative() -> dict[str, Any]:
    kl = -course(8.0)
    return {"kl": kl, "kl_k3": course(20.0), "kl_k2": course(20.0)}


def test_negative_by_the_sampler_against_padding() -> None:
    found = of(tuned(), {**negative(), "importance_mean": np.full(N, 0.8), "rollout_kl": np.full(N, 0.1),
                         "effective_sample_size": np.full(N, 0.5)}, **REFERENCE)  # fmt: skip
    assert first(found) == "sampler and trainer differ"
    assert "padding in the KL" not in names(found)
    found = of(tuned(), negative(), **REFERENCE)
    assert first(found) == "padding in the KL"
    assert "sampler and trainer differ" not in names(found)


def test_padding_without_weights_by_the_lengths() -> None:
    shorter = {**negative(), "response_length": 9.0 - course(7.0)}
    weights = ("importance_mean", "effective_sample_size", "rollout_kl")
    found = of(tuned(), shorter, (*weights, "kl_k3", "kl_k2"), **REFERENCE)
    assert first(found) == "padding in the KL"
    assert "the more padding there is" in found.findings[0].evidence[1].text
    assert (
        found.findings[0].confidence
        > of(tuned(), negative(), (*weights, "kl_k3", "kl_k2"), **REFERENCE).findings[0].confidence
    )


def test_mismatch_by_k1_and_k3_alone() -> None:
    weights = ("importance_mean", "effective_sample_size", "rollout_kl")
    found = of(tuned(), {"kl_k3": 3 * tuned()["kl"]}, weights, **REFERENCE)
    assert first(found) == "sampler and trainer differ"
    assert first(of(tuned(), {}, weights, **REFERENCE)) == "healthy"


def test_reward_fed_by_a_negative_kl() -> None:
    fed = {**negative(), "reward": course(8.0, start=1.0), "score": course(1.2, start=1.0)}
    hidden = ("importance_mean", "effective_sample_size", "rollout_kl", "kl_k3", "kl_k2", "response_length")
    found = of(tuned(), fed, hidden, **REFERENCE)
    assert first(found) == "reward fed by a negative KL"
    # A score that rises with the reward is what it should be.
    learning = {**fed, "score": course(8.0, start=1.0)}
    assert "reward fed by a negative KL" not in names(of(tuned(), learning, hidden, **REFERENCE))


def test_spikes_of_k3() -> None:
    k3 = tuned()["kl_k3"].copy()
    k3[[20, 41]] *= 40
    found = of(tuned(), {"kl_k3": k3, "kl_loss": k3}, **REFERENCE)
    assert first(found) == "spikes of k3"
    # What is not trained on is a note, unless the gradient feels it.
    found = of(tuned(), {"kl_k3": k3}, **REFERENCE)
    assert (found.status, names(found, "note")) == ("healthy", ["spikes of k3"])
    norm = tuned()["gradient_norm"] * np.where(np.isin(STEPS, [20, 41]), 4, 1)
    assert first(of(tuned(), {"kl_k3": k3, "gradient_norm": norm}, **REFERENCE)) == "spikes of k3"
    # A jump of all estimates is the policy's.
    jump = {name: tuned()[name] * np.where(np.isin(STEPS, [20, 41]), 40, 1) for name in ("kl", "kl_k2", "kl_k3")}
    assert "spikes of k3" not in names(of(tuned(), jump, **REFERENCE))


@pytest.mark.parametrize("kind", ["nan", "short", "constant"])
def test_nothing_is_found_in_nothing(kind: str) -> None:
    log = {name: values[: 2 if kind == "short" else N] for name, values in tuned().items()}
    if kind == "nan":
        log = {name: values if name == "step" else np.full(N, np.nan) for name, values in log.items()}
    if kind == "constant":
        log = {name: values if name == "step" else np.zeros(N) for name, values in log.items()}
    found = of(log, without=("importance_mean", "effective_sample_size") if kind == "constant" else (), **REFERENCE)
    assert set(names(found)) <= {"policy does not move"}


def test_the_unit_is_told_by_the_reward() -> None:
    log = tuned()
    log["reward"] = log["score"] - log["kl_coef"] * log["kl"]
    sums = of(log, kl_to="reference")
    assert "reward is score − kl_coef·kl at every step: kl is the sum over a sequence." in sums.statements
    assert not any("sequence" in x or "tokens." in x for x in of(log, unit="sequence", kl_to="reference").statements)
    means = of(log, {"kl": log["kl"] / log["response_length"]}, kl_to="reference")
    assert any("kl is the mean over tokens" in x for x in means.statements)
    # A reward that has no penalty in it tells nothing.
    assert not any("at every step" in x for x in of(log, {"reward": log["score"]}, kl_to="reference").statements)
