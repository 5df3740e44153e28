"""A small language policy trained on a score, and held to the policy it started from by a KL penalty: RLHF in a second.

The policy writes short sequences of tokens until an end token or a limit; the score counts the pairs in which a token
follows its predecessor, and sequences that end. ``python -m examples.token_policy --out DIR --seed 0``
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import click
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import dkl
from dkl.training import (
    AdaptiveKL,
    BiasedGradientWarning,
    kl_estimate,
    kl_estimate_from_logits,
    kl_loss,
    policy_kl,
    ppo_clip_loss,
)
from dkl.training.controllers import Rule
from dkl.training.estimators import Estimator, KLEstimate, Placement
from examples.recording import SEED, Recorder, progress

#: The token that ends a sequence, and fills what comes after.
END = 0
#: How far apart the logits of the reference lie: its distributions are neither flat nor certain.
SPREAD = 1.5


@dataclass(frozen=True)
class Settings:
    """Everything that decides how a run goes, and what goes wrong in practice.

    Attributes
    ----------
    seed, iterations, batch, epochs, minibatches, vocabulary, length, width : int
        An iteration writes ``batch`` sequences of at most ``length`` tokens and goes over them ``epochs`` times.
    learning_rate, clip, entropy_weight : float
        Adam's step, the clip of the ratio, and the weight of the entropy in the loss.
    beta, adaptive, rule, target_kl, beta_bounds, horizon
        Of the penalty: where β starts; whether it follows the target, in nats for each sequence, by which rule, how far
        it may go, and after how many sequences Ziegler's rule counts.
    placement, estimator, weighted
        Whether the penalty is in the loss or in the reward, and which estimator of the KL it is; ``"exact"`` sums over
        all tokens at each place, in the loss. Whether each token's KL is weighted by its probability under the policy
        over that under what wrote it, in the loss and in the log.
    read : {"k1", "k3", "exact"}
        By what the KL is logged, and given to the controller.
    controller_unit : {"sequence", "token"}
        Of the KL that the controller is given; the target is for each sequence.
    trained_to : {"reference", "old policy"}
        To whom the KL in the loss is; the one that is logged is to the reference.
    normalize_advantages : bool
        Whether advantages are divided by their standard deviation.
    dropout, temperature, reference_temperature, adapter : float
        Dropout while log-probabilities are computed; what divides the policy's logits, and the reference's; the scale
        of what an adapter adds to the policy before it has learnt anything.
    sampler_temperature, sampler_noise, sampler_lag : float, float, int
        How what writes the sequences differs from what is trained: its temperature, the relative noise of its weights
        such as a coarse number format makes, and by how many iterations it is behind.
    min_length : int
        Until this many tokens the sampler may not end, while log-probabilities are computed as if it could.
    mask_padding : bool
        Whether what comes after the end token is left out of the KL and the loss.
    """

    seed: int = 0
    iterations: int = 60
    batch: int = 128
    epochs: int = 2
    minibatches: int = 2
    vocabulary: int = 12
    length: int = 12
    width: int = 32
    learning_rate: float = 3e-3
    clip: float = 0.2
    entropy_weight: float = 0.0
    beta: float = 0.6
    adaptive: bool = True
    rule: Rule = "ziegler"
    target_kl: float = 3.0
    beta_bounds: tuple[float, float] = (1e-4, 1e4)
    horizon: float = 640.0
    placement: Placement = "reward"
    estimator: Estimator | Literal["exact"] = "k1"
    weighted: bool = False
    read: Literal["k1", "k3", "exact"] = "k1"
    controller_unit: Literal["sequence", "token"] = "sequence"
    trained_to: Literal["reference", "old policy"] = "reference"
    normalize_advantages: bool = True
    dropout: float = 0.0
    temperature: float = 1.0
    reference_temperature: float = 1.0
    adapter: float = 0.0
    sampler_temperature: float = 1.0
    sampler_noise: float = 0.0
    sampler_lag: int = 0
    min_length: int = 0
    mask_padding: bool = True


class Policy(nn.Module):  # type: ignore[misc]
    """The logits of the next token, from the last one and the place in the sequence."""

    def __init__(self, settings: Settings, generator: torch.Generator) -> None:
        super().__init__()
        s = settings
        # One row more: the token before the first.
        self.token, self.place = nn.Embedding(s.vocabulary + 1, s.width), nn.Embedding(s.length, s.width)
        self.hidden, self.out = nn.Linear(s.width, s.width), nn.Linear(s.width, s.vocabulary)
        self.adapter = nn.Linear(s.width, s.vocabulary, bias=False)
        self.dropout, self.temperature = 0.0, 1.0
        for weight, scale in (
            (self.token.weight, 1.0),
            (self.place.weight, 0.3),
            (self.hidden.weight, s.width**-0.5),
            (self.out.weight, SPREAD * s.width**-0.5),
        ):
            nn.init.normal_(weight, 0.0, scale, generator=generator)
        for parameter in (self.hidden.bias, self.out.bias, self.adapter.weight):
            nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor, place: int | None = None) -> Tensor:
        """Logits after each of the tokens; those of a single place if it is given."""
        places = torch.arange(tokens.shape[-1]) if place is None else torch.tensor([place])
        x = self.token(tokens) + self.place(places)
        x = nn.functional.dropout(torch.tanh(self.hidden(torch.tanh(x))), self.dropout, training=self.dropout > 0)
        logits: Tensor = (self.out(x) + self.adapter(x)) / self.temperature
        return logits


class Rollout(NamedTuple):
    """Sequences as they were written, one row each, and what the policies say of them."""

    tokens: Tensor
    before: Tensor
    """The token before each."""
    mask: Tensor
    """Up to the end token, which counts too."""
    sampled: Tensor
    """log-probabilities by which the tokens were drawn."""
    old: Tensor
    """By the policy before its update."""
    ref: Tensor
    score: Tensor
    """One for each sequence."""


def write(sampler: Policy, settings: Settings, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw sequences: the tokens, the tokens before them, which of them count, and their log-probabilities."""
    s = settings
    last = torch.full((s.batch,), s.vocabulary)
    running = torch.ones(s.batch, dtype=torch.bool)
    written: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for place in range(s.length):
        logits = sampler(last[:, None], place)[:, 0] / s.sampler_temperature
        if place < s.min_length:
            logits[:, END] = -math.inf
        token = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
        token = torch.where(running, token, END)
        written.append((token, last, running, _taken(logits, token)))
        running, last = running & (token != END), token
    tokens, before, mask, log_prob = (torch.stack(x, 1) for x in zip(*written, strict=True))
    return tokens, before, mask, torch.where(mask, log_prob, 0.0)


def score(tokens: Tensor, before: Tensor, mask: Tensor, vocabulary: int) -> Tensor:
    """How many tokens are the successor of the one before, END left out; and 1 for a sequence that ended."""
    successor = before % (vocabulary - 1) + 1
    pairs = (tokens == successor) & (before != END) & (before != vocabulary) & mask
    return pairs.sum(-1).float() + (mask & (tokens == END)).any(-1).float()


def _taken(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]


class Trainer:
    """A policy, its reference, and what changes from one iteration to the next."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.generator = settings, torch.Generator().manual_seed(settings.seed)
        # Dropout draws from PyTorch's own generator.
        torch.manual_seed(settings.seed)
        self.reference = Policy(settings, self.generator)
        self.policy = copy.deepcopy(self.reference)
        nn.init.normal_(self.policy.adapter.weight, 0.0, settings.adapter, generator=self.generator)
        self.policy.dropout, self.policy.temperature = settings.dropout, settings.temperature
        self.reference.temperature = settings.reference_temperature
        self.past = [copy.deepcopy(self.policy)]
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=settings.learning_rate)
        self.controller = AdaptiveKL(
            settings.target_kl,
            settings.beta,
            unit="sequence",
            rule=settings.rule,
            bounds=settings.beta_bounds,
            gain=1.0,
            horizon=settings.horizon,
        )
        self.updates = 0

    def iterate(self) -> dict[str, float]:
        """Write sequences, learn from them, and report."""
        s, beta = self.settings, self.controller.beta
        with torch.no_grad():
            seen = self._rollout()
            counted = seen.mask if s.mask_padding else torch.ones_like(seen.mask)
            estimates = self._estimates(seen, counted)
            penalty = self._penalty(seen, counted) if s.placement == "reward" else torch.zeros_like(seen.old)
            advantages = self._advantages(seen, beta * penalty, counted)
        figures = [self._step(seen, advantages, counted, beta, rows) for rows in self._minibatches()]
        means = {name: float(np.mean([x[name] for x in figures])) for name in figures[0]}
        means["ratio_max"] = max(x["ratio_max"] for x in figures)
        kl = float(estimates[s.read].value)
        length = float(seen.mask.sum(-1).float().mean())
        if s.adaptive:
            # A mean over tokens has no relation to a target for each sequence: this is the fault, where it is one.
            self.controller.update(kl if s.controller_unit == "sequence" else kl / length, unit="sequence", n=s.batch)
        self.past = [*self.past, copy.deepcopy(self.policy)][-1 - s.sampler_lag :]
        with torch.no_grad():
            new = self.policy(seen.before)
            moved = kl_estimate(seen.old, _taken(new, seen.tokens), "k3", mask=seen.mask).value
            entropy = dkl.entropy(dkl.Logits(new))[seen.mask].mean()
        return {
            **means,
            "kl": kl,
            "kl_k2": float(estimates["k2"].value),
            "kl_k3": float(estimates["k3"].value),
            "kl_stderr": float(estimates[s.read].stderr),
            "kl_coef": beta,
            "target_kl": s.target_kl,
            "update_kl": float(moved),
            "reward": float((seen.score - beta * penalty.sum(-1)).mean()),
            "score": float(seen.score.mean()),
            "entropy": float(entropy),
            **self._mismatch(seen),
            "response_length": length,
            "learning_rate": s.learning_rate,
            "updates": self.updates,
        }

    def _rollout(self) -> Rollout:
        s = self.settings
        sampler = copy.deepcopy(self.past[0])
        sampler.dropout = 0.0
        if s.sampler_noise:
            for weight in sampler.parameters():
                weight.mul_(1 + s.sampler_noise * torch.randn(weight.shape, generator=self.generator))
        tokens, before, mask, sampled = write(sampler, s, self.generator)
        old, ref = (_taken(policy(before), tokens) for policy in (self.policy, self.reference))
        return Rollout(tokens, before, mask, sampled, old, ref, score(tokens, before, mask, s.vocabulary))

    def _estimates(self, seen: Rollout, counted: Tensor) -> dict[str, KLEstimate]:
        """The KL of a sequence, by every estimator that is read."""
        made: dict[str, KLEstimate] = {}
        for name in get_args(Estimator):
            if self.settings.weighted:
                each = kl_loss(
                    seen.old, seen.ref, name, on_policy=False, behavior_log_prob=seen.sampled, unit="sequence",
                    mask=counted, reduction="none",
                )  # fmt: skip
                made[name] = KLEstimate(each.mean(), each.std() / len(each) ** 0.5)
            else:
                made[name] = kl_estimate(seen.old, seen.ref, name, unit="sequence", mask=counted)
        if self.settings.read == "exact":
            logits = self.policy(seen.before), self.reference(seen.before)
            made["exact"] = kl_estimate_from_logits(*logits, unit="sequence", mask=counted)
        return made

    def _penalty(self, seen: Rollout, counted: Tensor) -> Tensor:
        if self.settings.estimator == "exact":
            raise ValueError('estimator="exact" is of a place, and no token\'s: it needs placement="loss"')
        with warnings.catch_warnings():
            # What another estimator than k1 does in the reward is what such a run is to show.
            warnings.simplefilter("ignore", BiasedGradientWarning)
            return kl_loss(
                seen.old, seen.ref, self.settings.estimator, on_policy=True, placement="reward", mask=counted,
                reduction="none",
            )  # fmt: skip

    def _advantages(self, seen: Rollout, penalty: Tensor, counted: Tensor) -> Tensor:
        """What is still to come after each token, less its mean over the batch at this place."""
        rewards = -penalty
        last = counted.sum(-1) - 1
        rewards[torch.arange(len(rewards)), last] += seen.score
        to_come = rewards.flip(-1).cumsum(-1).flip(-1)
        count = counted.sum(0).clamp(min=1)
        advantages = torch.where(counted, to_come - (to_come * counted).sum(0) / count, 0.0)
        if self.settings.normalize_advantages:
            advantages = advantages / (advantages[counted].std() + 1e-6)
        return advantages

    def _minibatches(self) -> Iterator[Tensor]:
        for _ in range(self.settings.epochs):
            yield from torch.randperm(self.settings.batch, generator=self.generator).chunk(self.settings.minibatches)

    def _step(self, seen: Rollout, advantages: Tensor, counted: Tensor, beta: float, rows: Tensor) -> dict[str, float]:
        s, mask = self.settings, counted[rows]
        logits = self.policy(seen.before[rows])
        log_prob = _taken(logits, seen.tokens[rows])
        clipped = ppo_clip_loss(log_prob, seen.old[rows], advantages[rows], s.clip, mask=mask)
        entropy = dkl.entropy(dkl.Logits(logits))[mask].mean()
        figures = {
            "policy_loss": clipped.loss,
            "clip_fraction": clipped.clip_fraction,
            "ratio_mean": clipped.ratio_mean,
        }
        loss = clipped.loss - s.entropy_weight * entropy
        if s.placement == "loss":
            term = self._kl_term(Rollout(*(x[rows] for x in seen)), logits, log_prob, mask)
            figures["kl_loss"] = term
            loss = loss + beta * term
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.policy.parameters(), 1.0)
        self.optimizer.step()
        self.updates += 1
        figures = {"loss": loss, **figures, "ratio_max": clipped.ratio_max, "gradient_norm": norm}
        return {name: float(x.detach()) for name, x in figures.items()}

    def _kl_term(self, seen: Rollout, logits: Tensor, log_prob: Tensor, mask: Tensor) -> Tensor:
        """The KL in the loss, of a sequence."""
        s = self.settings
        if s.estimator == "exact":
            with torch.no_grad():
                ref_logits = self.reference(seen.before)
            each = policy_kl(logits, ref_logits, mask=mask, reduction="none")
            return torch.where(mask, each, 0.0).sum(-1).mean()
        to = seen.ref if s.trained_to == "reference" else seen.old
        with warnings.catch_warnings():
            # As above: k1 and k3 have other gradients.
            warnings.simplefilter("ignore", BiasedGradientWarning)
            return kl_loss(
                log_prob, to, s.estimator, on_policy=not s.weighted,
                behavior_log_prob=seen.sampled if s.weighted else None, unit="sequence", mask=mask,
            )  # fmt: skip

    def _mismatch(self, seen: Rollout) -> dict[str, float]:
        """How far the policy that is trained is from the one that wrote: importance weights and the KL by k3."""
        d = torch.where(seen.mask, seen.old - seen.sampled, 0.0)[seen.mask].double()
        weights = d.exp()
        return {
            "importance_mean": float(weights.mean()),
            "effective_sample_size": float(weights.mean().square() / weights.square().mean()),
            "rollout_kl": float((d.expm1() - d).mean()),
        }


def run(settings: Settings, out: str | Path) -> dict[str, float]:
    """Train, record, measure, draw.

    Parameters
    ----------
    settings : Settings
        How.
    out : str or Path
        The folder of the run: ``metrics.jsonl``, TensorBoard events and ``token_policy.png``.

    Returns
    -------
    dict
        Of the last tenth of the iterations the mean ``score``, ``kl`` and ``beta``; and ``kl_exact``, the exact
        KL(policy‖reference) of a sequence over places that the policy reaches, at the end.
    """
    trainer = Trainer(settings)
    history: list[dict[str, float]] = []
    with Recorder(out) as record, progress("RLHF in small", settings.iterations) as advance:
        for iteration in range(settings.iterations):
            figures = trainer.iterate()
            record.log(iteration, **figures)
            history.append(figures)
            advance(score=figures["score"], kl=figures["kl"])
    _draw(history, settings).savefig(Path(out) / "token_policy.png")
    last = history[-max(1, len(history) // 10) :]
    means = {name: float(np.mean([x[of] for x in last])) for name, of in (("score", "score"), ("kl", "kl"))}
    return {**means, "beta": float(np.mean([x["kl_coef"] for x in last])), "kl_exact": _exact(trainer)}


def _exact(trainer: Trainer) -> float:
    """KL(policy‖reference) of a sequence: exact at each place, over places that the policy itself reaches."""
    policy = copy.deepcopy(trainer.policy)
    policy.dropout = 0.0
    usual = replace(trainer.settings, sampler_temperature=1.0, min_length=0, batch=1024)
    with torch.no_grad():
        _, before, mask, _ = write(policy, usual, trainer.generator)
        each = policy_kl(policy(before), trainer.reference(before), mask=mask, reduction="none")
    return float(torch.where(mask, each, 0.0).sum(-1).mean())


def _draw(history: list[dict[str, float]], settings: Settings) -> Figure:
    figure = Figure(figsize=(7, 7), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    for name in ("score", "reward"):
        top.plot([x[name] for x in history], label=name)
    top.set(ylabel="of a sequence", title=f"A token policy held to its reference, seed {settings.seed}")
    top.legend()
    middle.plot([x["kl"] for x in history], label="k1")
    middle.plot([x["kl_k3"] for x in history], label="k3", alpha=0.6)
    middle.axhline(settings.target_kl, linestyle=":", color="grey", label="target")
    middle.set(ylabel="KL(policy‖reference) / nats")
    middle.legend()
    bottom.semilogy([x["kl_coef"] for x in history])
    bottom.set(ylabel="β", xlabel="iteration")
    return figure


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder of the run.")
@click.option("--placement", type=click.Choice(["reward", "loss"]), default="reward", show_default=True)
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--iterations", type=click.IntRange(1), default=Settings.iterations, show_default=True)
def main(out: Path, placement: Placement, seed: int, iterations: int) -> None:
    """Run from the command line."""
    # Matrices as small as these are multiplied faster by one thread than by several that wait for each other.
    torch.set_num_threads(1)
    estimator: Estimator = "k1" if placement == "reward" else "k2"
    settings = Settings(placement=placement, estimator=estimator, seed=seed, iterations=iterations)
    made = run(settings, out)
    print(
        f"The last tenth of the iterations, of a sequence: score {made['score']:.2f}, KL(policy‖reference) "
        f"{made['kl']:.2f} nats by k1, β {made['beta']:.3g}; the target is {settings.target_kl:g}.\n"
        f"The policy at the end: KL(policy‖reference) {made['kl_exact']:.2f} nats, exact at each place."
    )


if __name__ == "__main__":
    main()
