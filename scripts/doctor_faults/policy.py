"""Faults of the training of a policy: by proximal policy optimisation on CartPole, and of a small language policy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from examples import ppo_cartpole, token_policy
from scripts.doctor_faults import Columns, Criterion, Fault, Remedy

# As short as shows what happens.
CARTPOLE = ppo_cartpole.Settings(iterations=20, environments=16, evaluation_episodes=1)
PENALTY = replace(CARTPOLE, rule="kl", beta=0.3)
TOKENS = token_policy.Settings()
TOKENS_LOSS = replace(TOKENS, placement="loss", estimator="k2", beta=0.04)
TOKENS_FIXED = replace(TOKENS, adaptive=False)

SEEDS = (0, 2, 5, 7)
HEALTHY_SEEDS = (0, 2, 4, 6, 9, 11, 13, 15)

#: What anyone knows who fine-tunes a language model by the usual recipe.
FINE_TUNING = {"kl_to": "reference", "policy_is_reference": True, "unit": "sequence", "estimator": "k1"}
_WEIGHTS = ("importance_mean", "effective_sample_size", "rollout_kl")


def _late(columns: Columns, name: str) -> np.ndarray[Any, Any]:
    values = columns[name]
    return values[2 * values.size // 3 :]


def _update_held(columns: Columns) -> bool:
    kl = columns["train/kl"]
    return bool(np.median(kl) <= 0.025 and np.quantile(kl, 0.9) <= 0.06 and kl.max() <= 0.5)


def _update_found(columns: Columns) -> bool:
    return bool(np.median(columns["train/kl"]) > 1e-4)


def _near_stop(columns: Columns) -> bool:
    kl = columns["train/kl"][: 2 * columns["train/kl"].size // 3]
    return bool(0.01 <= np.median(kl) <= 0.03)


def _near_target(columns: Columns) -> bool:
    target = columns["target_kl"][-1]
    return bool(0.5 * target <= _late(columns, "kl").mean() <= 1.5 * target)


def _near_three(columns: Columns) -> bool:
    return bool(1.5 <= _late(columns, "kl").mean() <= 4.5)


def _never_negative(columns: Columns) -> bool:
    return bool((columns["kl"] >= 0).all())


def _zero_start(columns: Columns) -> bool:
    return bool(abs(columns["kl_k3"][0]) < 1e-6)


def _is_kl(columns: Columns) -> bool:
    k1, k3 = _late(columns, "kl").mean(), _late(columns, "kl_k3").mean()
    return bool(k1 > 0 and 0.75 < k3 / k1 < 1.33)


def _not_fed(columns: Columns) -> bool:
    reward, score = _late(columns, "reward").mean(), _late(columns, "score").mean()
    return bool(reward <= score and score > 2.5)


def _matched(columns: Columns) -> bool:
    return bool(_late(columns, "rollout_kl").mean() < 1e-3)


def _entropy_kept(columns: Columns) -> bool:
    entropy = columns["entropy"]
    return bool(entropy[-6:].mean() > 0.2 * entropy[:6].mean())


def _calm(columns: Columns) -> bool:
    kl = np.pad(columns["kl_loss"], 7, mode="edge")
    around = np.median(np.lib.stride_tricks.sliding_window_view(kl, 15), axis=-1)
    return bool((columns["kl_loss"] < 3 * around + 0.1).all())


UPDATE_HELD = Criterion(
    "an update's KL is 0.025 nats at most in the median, 0.06 in nine of ten, and 0.5 in all", _update_held
)
MOVES = Criterion("the KL of an update is above 1e-4 nats in the median", _update_found)
STOPPED = Criterion("the KL of an update is between the target and 3 times the target in the median", _near_stop)
NEAR_TARGET = Criterion("the mean KL of the last third is between half of the target and 1.5 times it", _near_target)
NEAR_THREE = Criterion("the mean KL of the last third is between 1.5 and 4.5 nats for each sequence", _near_three)
NEVER_NEGATIVE = Criterion("the KL that is read is nowhere below 0", _never_negative)
ZERO_START = Criterion("the first k3 is 0", _zero_start)
MATCHED = Criterion("in the last third the KL between sampler and trainer is below 0.001 nats a token", _matched)
NOT_FED = Criterion("in the last third the reward is no more than the score, which is above 2.5, from 1", _not_fed)
IS_KL = Criterion("in the last third k1 is positive on average, and k3 is the same within a third", _is_kl)
ENTROPY_KEPT = Criterion("a fifth of the entropy at least is left at the end", _entropy_kept)
CALM = Criterion("the KL in the loss is nowhere above 3 times the median around it", _calm)


def _cartpole(name: str, cause: str | None, settings: ppo_cartpole.Settings, **more: Any) -> Fault:
    return Fault("policy", name, cause, ppo_cartpole.run, settings, **{"seeds": SEEDS, **more})


def _tokens(name: str, cause: str | None, settings: token_policy.Settings, **more: Any) -> Fault:
    return Fault("policy", name, cause, token_policy.run, settings, **{"seeds": SEEDS, "known": FINE_TUNING, **more})


def _healthy() -> tuple[Fault, ...]:
    eight = HEALTHY_SEEDS
    return (
        _cartpole("CartPole, clip", None, CARTPOLE, seeds=eight),
        _cartpole("CartPole, penalty", None, PENALTY, seeds=eight),
        _tokens("tokens, k1 in the reward", None, TOKENS, seeds=eight),
        _tokens("tokens, k2 in the loss", None, TOKENS_LOSS, seeds=eight),
        _tokens("tokens, constant coefficient", None, replace(TOKENS_FIXED, beta=0.5)),
        _tokens(
            "tokens, little logged", None, TOKENS,
            hidden=(*_WEIGHTS, "kl_k2", "kl_k3", "kl_stderr", "response_length", "update_kl"),
        ),
    )  # fmt: skip


def _of_the_update() -> tuple[Fault, ...]:
    fast, long, chance = "learning rate too large", "step too large", "early stopping by k1"
    slower = Remedy("a learning rate of 0.002", CARTPOLE, "Lower the learning rate")
    rate = replace(CARTPOLE, learning_rate=0.05)
    many = replace(CARTPOLE, epochs=20, clip=0.8)
    by_k1 = replace(CARTPOLE, stop_by="k1", epochs=20, minibatches=16, clip=0.5)
    free = replace(TOKENS_FIXED, beta=1e-4, learning_rate=6e-3)
    return (
        _cartpole(
            "learning rate 0.05", fast, rate, criterion=UPDATE_HELD,
            remedies=(
                slower,
                Remedy("a learning rate of 0.005", replace(rate, learning_rate=0.005), "Lower the learning rate"),
                Remedy("stopping by k3", replace(rate, stop_by="k3")),
                Remedy("a warm-up over half of the run", replace(rate, warmup=10)),
            ),
        ),
        _cartpole("learning rate 0.2", fast, replace(CARTPOLE, learning_rate=0.2), criterion=UPDATE_HELD,
                  remedies=(slower,)),
        _cartpole(
            "20 epochs, clip 0.8", long, many, criterion=UPDATE_HELD,
            remedies=(
                Remedy("stopping by k3 at 1.5 times the target", replace(many, stop_by="k3"), "Stop going over"),
                Remedy("a clip of 0.2", replace(many, clip=0.2), "Narrow the clip"),
                Remedy("5 epochs", replace(many, epochs=5)),
                Remedy("clipping the gradient's norm at 0.05", replace(many, gradient_norm=0.05)),
            ),
        ),
        _cartpole("learning rate 1e-7", "policy does not move", replace(CARTPOLE, learning_rate=1e-7), criterion=MOVES,
                  remedies=(Remedy("a learning rate of 0.002", CARTPOLE, "Raise the learning rate"),)),
        _cartpole(
            "stopping by k1", chance, by_k1, criterion=STOPPED,
            remedies=(
                Remedy("stopping by k3", replace(by_k1, stop_by="k3"), "Stop by k3"),
                Remedy("stopping by the exact KL", replace(by_k1, stop_by="exact"), "Where logits are kept"),
                Remedy("smaller minibatches", replace(by_k1, minibatches=32)),
            ),
        ),
        _tokens(
            "no penalty to speak of", "entropy collapse", free, hidden=("target_kl",), criterion=ENTROPY_KEPT,
            remedies=(
                Remedy("a KL penalty that follows a target", replace(TOKENS, learning_rate=6e-3), "Hold the policy"),
                Remedy("an entropy bonus of 0.05", replace(free, entropy_weight=0.05)),
            ),
        ),
    )  # fmt: skip


def _of_the_coefficient() -> tuple[Fault, ...]:
    return (*_of_the_controller(), *_without_gradient(), *_of_the_number())


def _of_the_controller() -> tuple[Fault, ...]:
    bound, slow = "coefficient at its bound", "coefficient too slow"
    low = replace(PENALTY, beta=0.003, beta_bounds=(1e-4, 0.01))
    late = replace(PENALTY, beta=1e-3, controller="ziegler", controller_horizon=10)
    tokens_low = replace(TOKENS, beta=0.02, beta_bounds=(1e-4, 0.05))
    tokens_late = replace(TOKENS, beta=0.02, horizon=20_000.0)
    raised, started, shorter = "Raise the bound", "Start where", "Or start within a factor of 3"
    return (
        _cartpole("CartPole, β at most 0.01", bound, low, criterion=UPDATE_HELD,
                  remedies=(Remedy("β at most 1000, from 0.3", PENALTY, raised),)),
        _tokens("tokens, β at most 0.05", bound, tokens_low, criterion=NEAR_TARGET,
                remedies=(
                    Remedy("β at most 50, from 0.6", replace(TOKENS, beta_bounds=(1e-4, 50.0)), raised),
                    Remedy("PPO's rule", replace(tokens_low, rule="ppo")),
                    Remedy("a start at 0.05", replace(tokens_low, beta=0.05)),
                )),
        _cartpole("CartPole, Ziegler's rule over 10 updates", slow, late, criterion=UPDATE_HELD,
                  remedies=(
                      Remedy("a start at 0.3", replace(late, beta=0.3), started),
                      Remedy("PPO's rule", replace(late, controller="ppo")),
                      Remedy("β at most 1e6", replace(late, beta_bounds=(1e-3, 1e6))),
                  )),
        _tokens("tokens, a horizon of 20,000", slow, tokens_late, criterion=NEAR_TARGET,
                remedies=(
                    Remedy("a start at 0.6", replace(tokens_late, beta=0.6), started),
                    Remedy("a horizon of 768, from 0.2", replace(tokens_late, horizon=768.0, beta=0.2), shorter),
                    Remedy("PPO's rule", replace(tokens_late, rule="ppo")),
                    Remedy("a horizon of 768", replace(tokens_late, horizon=768.0)),
                    Remedy("β at most 1e6", replace(tokens_late, beta_bounds=(1e-4, 1e6))),
                )),
    )  # fmt: skip


def _without_gradient() -> tuple[Fault, ...]:
    away = "coefficient run away"
    detached = replace(PENALTY, detached=True, beta_bounds=(1e-3, 1e9))
    k1_loss = replace(TOKENS_LOSS, estimator="k1", rule="ppo", beta_bounds=(1e-4, 1e9))
    return (
        _cartpole("CartPole, a detached penalty", away, detached, criterion=UPDATE_HELD,
                  remedies=(
                      Remedy("the penalty with its gradient", replace(detached, detached=False), "Give the penalty"),
                      Remedy("β at most 10", replace(detached, beta_bounds=(1e-3, 10.0))),
                  )),
        _tokens("tokens, k1 in the loss", away, k1_loss, criterion=NEAR_TARGET,
                remedies=(
                    Remedy("the exact KL in the loss", replace(TOKENS_LOSS, estimator="exact"), "Give the penalty"),
                    Remedy("k2 in the loss", TOKENS_LOSS, "As a loss on sampled actions take k2"),
                    Remedy("k1 in the reward", TOKENS, "Or put k1 into the reward"),
                    Remedy("β at most 1", replace(k1_loss, beta_bounds=(1e-4, 1.0))),
                )),
    )  # fmt: skip


def _of_the_number() -> tuple[Fault, ...]:
    follows = Remedy("a β that follows the target from 0.6", TOKENS, "Let the coefficient follow the target")
    weak = replace(TOKENS_FIXED, beta=0.05)
    per_token = replace(TOKENS, controller_unit="token")
    moving = replace(TOKENS_LOSS, trained_to="old policy", adaptive=False, beta=0.05)
    return (
        _tokens("tokens, β 0.05", "penalty too weak", weak, criterion=NEAR_TARGET,
                remedies=(
                    follows,
                    Remedy("β 0.5", replace(weak, beta=0.5), "Or hold it at"),
                    Remedy("half the learning rate", replace(weak, learning_rate=1.5e-3)),
                    Remedy("a clip of 0.05", replace(weak, clip=0.05)),
                )),
        _tokens("tokens, β 0.005", "penalty too weak", replace(weak, beta=0.005), criterion=NEAR_TARGET,
                remedies=(follows,)),
        _tokens("tokens, a controller of the mean over tokens", "target in another unit", per_token,
                criterion=NEAR_THREE,
                remedies=(
                    Remedy("the KL of a sequence for the controller", TOKENS, "Give the controller the KL"),
                    # Responses of 9.5 tokens.
                    Remedy("a target for each token", replace(per_token, target_kl=3 / 9.5), "Or convert the target"),
                    Remedy("β at least 0.1", replace(per_token, beta_bounds=(0.1, 1e4))),
                    Remedy("PPO's rule", replace(per_token, rule="ppo")),
                )),
        _tokens("tokens, a reference that moves", "KL logged is not the KL trained", moving, criterion=NEAR_TARGET,
                remedies=(
                    Remedy("the frozen reference in the loss", TOKENS_LOSS, "Compute both"),
                    Remedy("ten times the coefficient", replace(moving, beta=0.5)),
                    Remedy("a coefficient that follows the target", replace(moving, adaptive=True)),
                )),
    )  # fmt: skip


def _of_the_estimate() -> tuple[Fault, ...]:
    return (*_of_the_start(), *_of_the_sampler(), *_of_padding(), *_of_noise())


def _of_the_start() -> tuple[Fault, ...]:
    def starts(name: str, fix: str, cured: token_policy.Settings = TOKENS, *others: Remedy, **changed: Any) -> Fault:
        remedies = (Remedy("what differs taken away", cured, fix), *others)
        return _tokens(name, "KL not zero at the start", replace(TOKENS, **changed), criterion=ZERO_START,
                       remedies=remedies)  # fmt: skip

    return (
        starts("dropout 0.1", "Compute log-probabilities without dropout", TOKENS,
               Remedy("ten times the coefficient", replace(TOKENS, dropout=0.1, beta=6.0)), dropout=0.1),
        starts("a temperature of 0.7", "Divide both policies' logits",
               replace(TOKENS, temperature=0.7, reference_temperature=0.7), temperature=0.7),
        starts("an adapter that is not 0", "Start the adapter at 0", adapter=0.3),
    )  # fmt: skip


def _of_the_sampler() -> tuple[Fault, ...]:
    drawn = Remedy("a sampler that is the policy", TOKENS, "Draw from the policy as it is")
    both, weight = "Apply what the sampler does", "Weight by the sampler's own"

    def differs(name: str, *remedies: Remedy, hidden: tuple[str, ...] = (), **changed: Any) -> Fault:
        return _tokens(name, "sampler and trainer differ", replace(TOKENS, **changed), hidden=hidden,
                       criterion=IS_KL if hidden else MATCHED, remedies=(drawn, *remedies))  # fmt: skip

    return (
        differs("sampler at temperature 1.5",
                Remedy("the same temperature for policy and reference",
                       replace(TOKENS, temperature=1.5, reference_temperature=1.5), both),
                Remedy("ten times the coefficient", replace(TOKENS, beta=6.0, sampler_temperature=1.5)),
                sampler_temperature=1.5),
        differs("sampler at temperature 1.5, no weights logged",
                Remedy("weights by the sampler, and k2 in the loss",
                       replace(TOKENS_LOSS, weighted=True, sampler_temperature=1.5), weight),
                hidden=_WEIGHTS, sampler_temperature=1.5),
        differs("sampler at temperature 0.6", sampler_temperature=0.6),
        differs("sampler of coarse weights", sampler_noise=0.3),
        differs("sampler 8 iterations old", sampler_lag=8),
    )  # fmt: skip


def _of_padding() -> tuple[Fault, ...]:
    padding, fed = "padding in the KL", "reward fed by a negative KL"
    unmasked = replace(TOKENS, mask_padding=False)
    mask = Remedy("the mask", TOKENS, "Give the mask")
    return (
        _tokens("padding counted", padding, unmasked, criterion=IS_KL,
                remedies=(mask, Remedy("a tenth of the coefficient", replace(unmasked, beta=0.06)))),
        _tokens("padding counted, no weights logged", padding, unmasked, hidden=_WEIGHTS, criterion=IS_KL,
                remedies=(mask,)),
        _tokens("padding counted, little logged", fed, unmasked,
                hidden=(*_WEIGHTS, "kl_k2", "kl_k3", "response_length"), criterion=NOT_FED,
                remedies=(
                    Remedy("the mask", TOKENS, "Count what the policy itself drew"),
                    Remedy("the exact KL in the loss",
                           replace(unmasked, placement="loss", estimator="exact", beta=0.04),
                           "Meanwhile take the penalty out of the reward"),
                    Remedy("ten times the coefficient", replace(unmasked, beta=6.0)),
                )),
    )  # fmt: skip


def _of_noise() -> tuple[Fault, ...]:
    k3_loss = replace(
        TOKENS_LOSS, estimator="k3", batch=8, minibatches=1, beta=0.002, adaptive=False, iterations=150,
        learning_rate=6e-3,
    )  # fmt: skip
    # Near the reference, in small batches, k1 is negative now and then.
    near = replace(TOKENS_FIXED, beta=6.0, batch=32, learning_rate=1e-3)
    return (
        _tokens("k3 in the loss, 8 sequences", "spikes of k3", k3_loss, hidden=("target_kl",), criterion=CALM,
                remedies=(
                    Remedy("k2 in the loss", replace(k3_loss, estimator="k2"), "As a loss take k2"),
                    Remedy("the exact KL in the loss", replace(k3_loss, estimator="exact"), "Or the exact KL"),
                )),
        _tokens("tokens, a noisy k1", "negative KL by noise", near, criterion=NEVER_NEGATIVE,
                remedies=(
                    Remedy("k3 for reading", replace(near, read="k3"), "Read k3"),
                    Remedy("the exact KL for reading", replace(near, read="exact"), "Or read the exact KL"),
                )),
    )  # fmt: skip


FAULTS: tuple[Fault, ...] = (*_healthy(), *_of_the_update(), *_of_the_coefficient(), *_of_the_estimate())
