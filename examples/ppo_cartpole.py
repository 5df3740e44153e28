"""Proximal policy optimisation on CartPole-v1: held to its old policy by a clip, or by a KL penalty of adaptive weight.

Both reach a mean return of 475 of 500. ``python -m examples.ppo_cartpole --out DIR --rule kl --seed 0``
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import click
import gymnasium
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import dkl
from dkl.training import AdaptiveKL, kl_estimate, policy_kl, ppo_clip_loss, ppo_kl_loss
from dkl.training.controllers import Rule
from dkl.training.reduction import Reduction, reduced
from examples.recording import SEED, Recorder, progress

#: How far from the target the controller of β lets the KL be (Schulman et al. 2017, section 4).
BAND = 1.5


@dataclass(frozen=True)
class Settings:
    """Everything that decides how a run goes, and what goes wrong in practice.

    Attributes
    ----------
    rule : {"clip", "kl"}
        What holds an update near the old policy.
    seed, iterations, environments, horizon, epochs, minibatches, width : int
        A rollout is ``horizon`` steps of each environment; an iteration goes over it ``epochs`` times.
    learning_rate, anneal, warmup : float, bool, int
        Adam's, whether it falls to 0 in a straight line, and over how many iterations it rises to that line first.
    discount, trace : float
        γ and λ of the advantages.
    clip : float
        Of the ratio, where that is the rule.
    beta, adaptive, target_kl, beta_bounds
        Of the penalty, where that is the rule: where β starts, whether it follows the target, and how far it may go.
    controller, controller_horizon : {"ppo", "ziegler"}, float
        The rule by which β follows the target, and how many updates Ziegler's takes to answer.
    detached : bool
        Whether the penalty stands in the loss as a number, without its gradient.
    stop_by : {"k1", "k3", "exact"}, optional
        By which estimate of KL(old‖new), over one minibatch, the rest of the updates is left out where it passes 1.5
        times the target.
    entropy_weight, value_weight, gradient_norm : float
        The weights of the other terms of the loss, and the largest norm of its gradient.
    normalize_advantages, mask_resets, bootstrap_truncated : bool
        Whether advantages are brought to mean 0 and variance 1 in each minibatch, whether the step that only resets an
        environment is left out, and whether an episode cut off by the clock still has the value of its last state.
    reduction : {"mean", "sum"}
        Over the rows of a minibatch, for all terms of the loss.
    evaluation_episodes : int
        How many.
    """

    rule: Literal["clip", "kl"] = "clip"
    seed: int = 0
    iterations: int = 60
    environments: int = 32
    horizon: int = 64
    epochs: int = 6
    minibatches: int = 4
    width: int = 64
    learning_rate: float = 2e-3
    anneal: bool = True
    warmup: int = 0
    discount: float = 0.98
    trace: float = 0.9
    clip: float = 0.2
    beta: float = 1.0
    adaptive: bool = True
    target_kl: float = 0.01
    beta_bounds: tuple[float, float] = (1e-3, 1e3)
    controller: Rule = "ppo"
    controller_horizon: float = 1.0
    detached: bool = False
    stop_by: Literal["k1", "k3", "exact"] | None = None
    entropy_weight: float = 0.0
    value_weight: float = 0.5
    gradient_norm: float = 0.5
    normalize_advantages: bool = True
    mask_resets: bool = True
    bootstrap_truncated: bool = True
    reduction: Reduction = "mean"
    evaluation_episodes: int = 100


class ActorCritic(nn.Module):  # type: ignore[misc]
    """Two small networks: the logits of the actions, and the value of the state."""

    def __init__(self, observations: int, actions: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.actor, self.critic = (
            nn.Sequential(
                nn.Linear(observations, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, n)
            )
            for n in (actions, 1)
        )
        for network, last in ((self.actor, 0.01), (self.critic, 1.0)):
            layers = [x for x in network if isinstance(x, nn.Linear)]
            for layer in layers:
                nn.init.orthogonal_(layer.weight, last if layer is layers[-1] else 2**0.5, generator=generator)
                nn.init.zeros_(layer.bias)

    def value(self, states: Tensor) -> Tensor:
        """The value of each state."""
        return self.critic(states)[..., 0]


class Rollout(NamedTuple):
    """What was seen, one row for each step of each environment."""

    states: Tensor
    actions: Tensor
    logits: Tensor
    advantages: Tensor
    returns: Tensor
    live: Tensor
    """Whether the row is a step at all: the one after the end of an episode only resets the environment."""


class Player:
    """Environments that go on from one rollout to the next."""

    def __init__(self, settings: Settings, generator: torch.Generator) -> None:
        self.settings, self.generator = settings, generator
        self.games = gymnasium.make_vec("CartPole-v1", num_envs=settings.environments)
        self.states, _ = self.games.reset(seed=settings.seed)
        self.ended = np.zeros(settings.environments, dtype=bool)
        self.so_far = np.zeros(settings.environments)
        #: The returns of the episodes that ended in the last rollout.
        self.episodes: list[float] = []

    def play(self, model: ActorCritic) -> Rollout:
        """Let the model act, and see how much better than expected each action turned out."""
        s, self.episodes = self.settings, []
        seen: dict[str, list[Any]] = {
            k: [] for k in ("states", "actions", "logits", "rewards", "final", "ended", "live")
        }
        for _ in range(s.horizon):
            states = torch.from_numpy(self.states)
            with torch.no_grad():
                logits = model.actor(states)
            actions = torch.multinomial(logits.softmax(-1), 1, generator=self.generator)[:, 0]
            live = ~self.ended
            self.states, rewards, terminated, truncated, _ = self.games.step(actions.numpy())
            self.ended = terminated | truncated
            self.so_far = np.where(live, self.so_far + rewards, 0.0)
            self.episodes += self.so_far[self.ended].tolist()
            final = terminated if s.bootstrap_truncated else self.ended
            step = (states, actions, logits, *map(torch.from_numpy, (rewards, final, self.ended, live)))
            for kept, x in zip(seen.values(), step, strict=True):
                kept.append(x)
        rows = {name: torch.stack(x) for name, x in seen.items()}
        with torch.no_grad():
            values = model.value(torch.cat([rows["states"], torch.from_numpy(self.states)[None]]))
        advantages = self._advantages(rows, values)
        live = rows["live"] if s.mask_resets else torch.ones_like(rows["live"])
        made = (rows["states"], rows["actions"], rows["logits"], advantages, advantages + values[:-1], live)
        return Rollout(*(x.flatten(0, 1) for x in made))

    def _advantages(self, rows: dict[str, Tensor], values: Tensor) -> Tensor:
        """Generalised advantage estimation (Schulman et al. 2016, equation 16)."""
        s = self.settings
        expected = torch.where(rows["final"], 0.0, values[1:])
        surprises = rows["rewards"] + s.discount * expected - values[:-1]
        advantages, following = torch.empty_like(surprises), torch.zeros_like(surprises[0])
        for t in reversed(range(s.horizon)):
            following = surprises[t] + s.discount * s.trace * torch.where(rows["ended"][t], 0.0, following)
            advantages[t] = following
        return advantages


def evaluate(model: ActorCritic, settings: Settings, *, greedy: bool) -> float:
    """The mean return of as many whole episodes as there are to be, by the likeliest actions or by chance."""
    games = gymnasium.make_vec("CartPole-v1", num_envs=settings.evaluation_episodes)
    states, _ = games.reset(seed=settings.seed + 1_000_003)
    generator = torch.Generator().manual_seed(settings.seed)
    running, total = np.ones(settings.evaluation_episodes, dtype=bool), np.zeros(settings.evaluation_episodes)
    while running.any():
        with torch.no_grad():
            logits = model.actor(torch.from_numpy(states))
        drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
        states, rewards, terminated, truncated, _ = games.step((logits.argmax(-1) if greedy else drawn).numpy())
        total += rewards * running
        running &= ~(terminated | truncated)
    games.close()
    return float(total.mean())


class Updates(NamedTuple):
    """What one rollout's updates came to: means over the minibatches, the largest ratio of all, and the last KL."""

    loss: float
    policy_loss: float
    value_loss: float
    entropy: float
    clip_fraction: float
    ratio_max: float
    gradient_norm: float
    last_kl: float
    """KL(old‖new) over one minibatch before its step, by the estimate that stops the updates, or else by k1."""
    steps: float = 1.0
    """How many were taken."""


def learn(
    model: ActorCritic, optimizer: torch.optim.Optimizer, seen: Rollout, beta: float, settings: Settings, rng: Any
) -> Updates:
    """Go over the rollout a few times in minibatches."""
    figures: list[Updates] = []
    for rows in _minibatches(len(seen.live), settings, rng):
        figures.append(_step(model, optimizer, Rollout(*(x[rows] for x in seen)), beta, settings))
        if settings.stop_by is not None and figures[-1].last_kl > BAND * settings.target_kl:
            break
    means = Updates(*np.mean(figures, axis=0))
    return means._replace(ratio_max=max(x.ratio_max for x in figures), last_kl=figures[-1].last_kl, steps=len(figures))


def _minibatches(rows: int, settings: Settings, rng: torch.Generator) -> Iterator[Tensor]:
    for _ in range(settings.epochs):
        yield from torch.randperm(rows, generator=rng).chunk(settings.minibatches)


def _step(
    model: ActorCritic, optimizer: torch.optim.Optimizer, batch: Rollout, beta: float, settings: Settings
) -> Updates:
    s, live = settings, batch.live
    logits = model.actor(batch.states)
    advantages = batch.advantages
    if s.normalize_advantages:
        centred = advantages - reduced(advantages, mask=live)
        advantages = centred / (reduced(centred.square(), mask=live).sqrt() + 1e-8)
    clip_fraction = torch.zeros(())
    log_prob, old_log_prob = (
        x.log_softmax(-1).gather(-1, batch.actions[:, None])[:, 0] for x in (logits, batch.logits)
    )
    if s.stop_by == "exact":
        last_kl = policy_kl(batch.logits, logits.detach(), mask=live)
    else:
        last_kl = kl_estimate(old_log_prob, log_prob.detach(), s.stop_by or "k1", mask=live).value
    if s.rule == "clip":
        clipped = ppo_clip_loss(log_prob, old_log_prob, advantages, s.clip, mask=live, reduction=s.reduction)
        policy_loss, ratio_max, clip_fraction = clipped.loss, clipped.ratio_max, clipped.clip_fraction
    else:
        penalised = ppo_kl_loss(batch.logits, logits, batch.actions, advantages, beta, mask=live, reduction=s.reduction)
        policy_loss, ratio_max = penalised.loss, penalised.ratio_max
        if s.detached:
            policy_loss = penalised.policy_loss + beta * penalised.kl.detach()
    value_loss = reduced((model.value(batch.states) - batch.returns).square(), s.reduction, live)
    entropy = reduced(dkl.entropy(dkl.Logits(logits)), s.reduction, live)
    loss = policy_loss + s.value_weight * value_loss - s.entropy_weight * entropy
    optimizer.zero_grad()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), s.gradient_norm)
    optimizer.step()
    parts = (loss, policy_loss, value_loss, entropy, clip_fraction, ratio_max, norm, last_kl)
    return Updates(*(float(x.detach()) for x in parts))


def run(settings: Settings, out: str | Path) -> dict[str, float]:
    """Train, record, evaluate, draw.

    Parameters
    ----------
    settings : Settings
        How.
    out : str or Path
        The folder of the run: ``metrics.jsonl``, TensorBoard events and ``ppo_cartpole.png``.

    Returns
    -------
    dict
        ``evaluation_return`` by the likeliest actions, ``evaluation_return_sampled``, the mean exact KL(old‖new) of the
        updates, the share of them inside the band around the target, and the last β.
    """
    s, generator = settings, torch.Generator().manual_seed(settings.seed)
    model = ActorCritic(4, 2, s.width, generator)
    optimizer = torch.optim.Adam(model.parameters(), lr=s.learning_rate, eps=1e-5)
    controller = AdaptiveKL(
        s.target_kl,
        s.beta,
        unit="state",
        bounds=s.beta_bounds,
        rule=s.controller,
        gain=1.0,
        horizon=s.controller_horizon,
    )
    player = Player(s, generator)
    history: dict[str, list[float]] = {name: [] for name in ("returns", "kl", "beta", "clip_fraction")}
    mean_return = 0.0
    with Recorder(out) as record, progress(f"PPO by {s.rule}", s.iterations) as advance:
        for iteration in range(s.iterations):
            rate = s.learning_rate * (1 - iteration / s.iterations if s.anneal else 1.0)
            rate *= min(1.0, (iteration + 1) / max(s.warmup, 1))
            for group in optimizer.param_groups:
                group["lr"] = rate
            seen = player.play(model)
            beta = controller.beta
            updates = learn(model, optimizer, seen, beta, s, generator)
            with torch.no_grad():
                new = model.actor(seen.states)
                kl = float(policy_kl(seen.logits, new, mask=seen.live))
                approximate = _sampled_kl(seen, new)
                explained = _explained_variance(model.value(seen.states), seen)
            if s.rule == "kl" and s.adaptive:
                controller.update(kl, unit="state")
            mean_return = float(np.mean(player.episodes)) if player.episodes else mean_return
            for name, x in (
                ("returns", mean_return), ("kl", kl), ("beta", beta), ("clip_fraction", updates.clip_fraction),
            ):  # fmt: skip
                history[name].append(x)
            record.log(
                (iteration + 1) * s.environments * s.horizon,
                train__loss=updates.loss,
                train__policy_gradient_loss=updates.policy_loss,
                train__value_loss=updates.value_loss,
                train__approx_kl=approximate,
                train__kl=kl,
                train__target_kl=s.target_kl,
                **({"train__beta": beta} if s.rule == "kl" else {}),
                train__clip_fraction=updates.clip_fraction,
                train__ratio_max=updates.ratio_max,
                train__grad_norm=updates.gradient_norm,
                **{f"train__kl_{s.stop_by or 'k1'}": updates.last_kl},
                train__update_epochs=updates.steps / s.minibatches,
                train__explained_variance=explained,
                train__learning_rate=rate,
                actor__entropy=updates.entropy,
                rollout__ep_rew_mean=mean_return,
            )
            advance(episode_return=mean_return, kl=kl)
    player.games.close()
    band = [s.target_kl / BAND <= x <= s.target_kl * BAND for x in history["kl"]]
    summary = {
        "evaluation_return": evaluate(model, s, greedy=True),
        "evaluation_return_sampled": evaluate(model, s, greedy=False),
        "mean_kl": float(np.mean(history["kl"])),
        "share_in_band": float(np.mean(band)),
        "beta": controller.beta,
    }
    _draw(history, s).savefig(Path(out) / "ppo_cartpole.png")
    return summary


def _sampled_kl(seen: Rollout, new: Tensor) -> float:
    """KL(old‖new) from the actions taken alone, as most libraries log it."""
    taken = seen.actions[:, None]
    log_prob, old_log_prob = (x.log_softmax(-1).gather(-1, taken)[:, 0] for x in (new, seen.logits))
    return float(ppo_clip_loss(log_prob, old_log_prob, seen.advantages, mask=seen.live).kl)


def _explained_variance(values: Tensor, seen: Rollout) -> float:
    left, returns = (seen.returns - values)[seen.live], seen.returns[seen.live]
    return 1.0 - float(left.var() / returns.var())


def _draw(history: dict[str, list[float]], settings: Settings) -> Figure:
    figure = Figure(figsize=(7, 7), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    top.plot(history["returns"])
    top.axhline(475, linestyle=":", color="grey")
    top.set(ylabel="mean return", title=f"CartPole-v1, PPO by {settings.rule}, seed {settings.seed}")
    middle.semilogy(history["kl"])
    middle.axhspan(settings.target_kl / BAND, settings.target_kl * BAND, alpha=0.2, label="target, a factor of 1.5")
    middle.set(ylabel="KL(old‖new) / nats")
    middle.legend()
    if settings.rule == "kl":
        bottom.semilogy(history["beta"])
        bottom.set(ylabel="β")
    else:
        bottom.plot(history["clip_fraction"])
        bottom.set(ylabel="clip fraction")
    bottom.set(xlabel="iteration")
    return figure


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder of the run.")
@click.option("--rule", type=click.Choice(["clip", "kl"]), default="clip", show_default=True)
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--iterations", type=click.IntRange(1), default=Settings.iterations, show_default=True)
def main(out: Path, rule: Literal["clip", "kl"], seed: int, iterations: int) -> None:
    """Run from the command line."""
    # Matrices as small as these are multiplied faster by one thread than by several that wait for each other.
    torch.set_num_threads(1)
    settings = Settings(rule=rule, seed=seed, iterations=iterations)
    made = run(settings, out)
    print(
        f"Mean return over {settings.evaluation_episodes} episodes: {made['evaluation_return']:.1f} by the likeliest "
        f"action, {made['evaluation_return_sampled']:.1f} by drawn ones (500 is the most, 475 solves it)."
    )
    print(
        f"KL(old‖new) of an update: {made['mean_kl']:.4f} nats on average; {made['share_in_band']:.0%} of the updates "
        f"within a factor of {BAND} of {settings.target_kl}."
        + (f" β ended at {made['beta']:.3g}." if rule == "kl" else " The clip bounds the ratio, and knows no target.")
    )


if __name__ == "__main__":
    main()
