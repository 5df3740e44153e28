"""A GAN between two Gaussians: far apart, JS is flat at log 2 and its gradient gone, while Wasserstein shows the way.

The data P stay at 0, the generator's Q is moved from far to near; at each place a discriminator and a critic are
trained. Then three games are played from the far end. ``python -m examples.gan_gaussians --out DIR --seed 0``
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import dkl
from dkl.families import Normal
from dkl.training import (
    discriminator_value,
    gan_discriminator_loss,
    gan_generator_loss,
    gradient_penalty,
    wgan_critic_loss,
    wgan_generator_loss,
)
from dkl.training.reduction import Reduction
from examples.recording import SEED, NumberRange, Recorder, progress

#: The games: as it is written, with the loss that does not saturate, and with a Wasserstein critic.
GAMES = ("saturating", "non_saturating", "wasserstein")


@dataclass(frozen=True)
class Settings:
    """Everything that decides how a run goes."""

    seed: int = 0
    start: float = 8.0
    """Where Q's mean starts; P's is 0."""
    scale: float = 1.0
    """The standard deviation of both."""
    places: int = 9
    """At how many means a discriminator and a critic are trained from scratch, from ``start`` to 0."""
    judge_steps: int = 300
    """How long each of them is trained there, and before each game."""
    steps: int = 300
    """The steps of the generator in each game."""
    judge_steps_each: int = 5
    """How long the discriminator or critic is trained between two of them."""
    batch: int = 256
    evaluation_batch: int = 8192
    width: int = 32
    judge_rate: float = 3e-3
    generator_rate: float = 0.05
    """Of plain gradient descent: Adam would divide a vanishing gradient by itself."""
    penalty_weight: float = 100.0
    """Large beside the distance d: the critic's slope settles at 1 + d/(2·weight)."""
    one_sided: bool = True
    """In one dimension, two sides would hold a critic that starts with its slope in the wrong direction."""
    reduction: Reduction = "mean"
    judge_decay: float = 0.0
    """The judge's weight decay."""
    exchanged: bool = False
    """Give the judge generated samples as real and real as generated, as a sign in the wrong place does."""
    game: Literal["saturating", "non_saturating", "wasserstein"] = "non_saturating"
    """Which one `play_alone` plays."""
    log_every: int = 5
    """The generator's steps between two lines of its metrics."""


class Game:
    """A generator with one parameter, its mean, and whoever judges it."""

    def __init__(self, kind: str, mean: float, settings: Settings, random: torch.Generator) -> None:
        self.kind, self.settings, self.random = kind, settings, random
        self.mean = torch.tensor(mean, requires_grad=True)
        self.judge = network(settings.width, random)
        self._judge_optimizer = torch.optim.AdamW(
            self.judge.parameters(), lr=settings.judge_rate, betas=(0.5, 0.9), weight_decay=settings.judge_decay
        )
        self._generator_optimizer = torch.optim.SGD([self.mean], lr=settings.generator_rate)

    def real(self, n: int) -> Tensor:
        """Samples of P."""
        return self.settings.scale * torch.randn(n, 1, generator=self.random)

    def fake(self, n: int) -> Tensor:
        """Samples of Q, with the generator's graph behind them."""
        return self.mean + self.settings.scale * torch.randn(n, 1, generator=self.random)

    def train_judge(self, steps: int) -> float:
        """Train the discriminator or critic, and return its last loss."""
        s, loss = self.settings, torch.tensor(math.nan)
        for _ in range(steps):
            real, fake = self.real(s.batch), self.fake(s.batch).detach()
            if s.exchanged:
                real, fake = fake, real
            scores = self.judge(real)[:, 0], self.judge(fake)[:, 0]
            if self.kind == "wasserstein":
                loss = wgan_critic_loss(*scores, reduction=s.reduction) + gradient_penalty(
                    self.judge,
                    real,
                    fake,
                    weight=s.penalty_weight,
                    one_sided=s.one_sided,
                    reduction=s.reduction,
                    generator=self.random,
                )
            else:
                loss = gan_discriminator_loss(*scores, reduction=s.reduction)
            self._judge_optimizer.zero_grad()
            loss.backward()
            self._judge_optimizer.step()
        return float(loss.detach())

    def generator_loss(self, n: int, kind: str | None = None) -> Tensor:
        """What the generator minimises, on n samples."""
        scores = self.judge(self.fake(n))[:, 0]
        if (kind or self.kind) == "wasserstein":
            return wgan_generator_loss(scores, reduction=self.settings.reduction)
        saturating = (kind or self.kind) == "saturating"
        return gan_generator_loss(scores, saturating=saturating, reduction=self.settings.reduction)

    def step(self) -> tuple[float, float]:
        """Move the generator once: its loss, and its gradient."""
        loss = self.generator_loss(self.settings.batch)
        self._generator_optimizer.zero_grad()
        (self.mean.grad,) = torch.autograd.grad(loss, self.mean)
        self._generator_optimizer.step()
        return float(loss.detach()), float(self.mean.grad)

    def slope(self, kind: str) -> float:
        """The gradient of a generator's loss in its mean, on the large batch."""
        (slope,) = torch.autograd.grad(self.generator_loss(self.settings.evaluation_batch, kind), self.mean)
        return float(slope)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def judged(self) -> float:
        """What the judge makes of fresh samples: a lower bound on JS, or an estimate of W₁."""
        n = self.settings.evaluation_batch
        scores = self.judge(self.real(n))[:, 0], self.judge(self.fake(n))[:, 0]
        if self.kind == "wasserstein":
            return -float(wgan_critic_loss(*scores))
        return (float(discriminator_value(*scores)) + math.log(4)) / 2

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def measured(self) -> dict[str, float]:
        """What the judge makes of fresh samples, as metrics: probabilities of being real, or a critic's scores."""
        n = self.settings.evaluation_batch
        real, fake = self.judge(self.real(n))[:, 0], self.judge(self.fake(n))[:, 0]
        if self.kind == "wasserstein":
            return {
                "score_real": float(real.mean()),
                "score_fake": float(fake.mean()),
                "wasserstein": -float(wgan_critic_loss(real, fake)),
            }
        right = torch.cat([real > 0, fake < 0]).float().mean()
        return {
            "score_real": float(real.sigmoid().mean()),
            "score_fake": float(fake.sigmoid().mean()),
            "discriminator_accuracy": float(right),
            "js_bound": (float(discriminator_value(real, fake)) + math.log(4)) / 2,
        }


def network(width: int, random: torch.Generator) -> nn.Module:
    """A smooth function of one number, whose slope a penalty can differentiate again."""
    layers = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight, generator=random)
            nn.init.uniform_(layer.bias, -1.0, 1.0, generator=random)
    return layers


def exact(mean: float, scale: float) -> tuple[float, float]:
    """JS between P and Q, and the slope in Q's mean of what the saturating generator descends, −log 4 + 2·JS."""
    theta = torch.tensor(mean, dtype=torch.float64, requires_grad=True)
    js = dkl.js(Normal(0.0, scale), Normal(theta, scale))
    (slope,) = torch.autograd.grad(2 * js, theta)
    return float(js.detach()), float(slope)


def survey(
    settings: Settings, random: torch.Generator, record: Recorder, advance: Callable[..., None]
) -> list[dict[str, float]]:
    """Move Q from far to near, and train a discriminator and a critic at each place."""
    found = []
    for place, mean in enumerate(torch.linspace(settings.start, 0.0, settings.places).tolist()):
        js, slope = exact(mean, settings.scale)
        discriminator, critic = (Game(kind, mean, settings, random) for kind in ("saturating", "wasserstein"))
        for judge in (discriminator, critic):
            judge.train_judge(settings.judge_steps)
        figures = {
            "mean": mean,
            "js": js,
            "js_bound": discriminator.judged(),
            "js_slope": slope,
            "saturating_slope": discriminator.slope("saturating"),
            "non_saturating_slope": discriminator.slope("non_saturating"),
            # For two normals of one scale it is the distance of their means.
            "wasserstein": abs(mean),
            "wasserstein_estimate": critic.judged(),
            "wasserstein_slope": critic.slope("wasserstein"),
        }
        record.log(place, **{f"survey__{name}": x for name, x in figures.items()})
        advance(js=js, wasserstein=figures["wasserstein_estimate"])
        found.append(figures)
    return found


def play(
    kind: str, settings: Settings, random: torch.Generator, record: Recorder, advance: Callable[..., None]
) -> list[float]:
    """Train a generator from the far end: its mean after every step."""
    game = Game(kind, settings.start, settings, random)
    game.train_judge(settings.judge_steps)
    means = [settings.start]
    for step in range(1, settings.steps + 1):
        judge_loss = game.train_judge(settings.judge_steps_each)
        generator_loss, gradient = game.step()
        means.append(float(game.mean.detach()))
        named = {"mean": means[-1], "generator_loss": generator_loss, "generator_gradient": gradient}
        named["critic_loss" if kind == "wasserstein" else "discriminator_loss"] = judge_loss
        record.log(step, **{f"{kind}__{name}": x for name, x in named.items()})
        advance(mean=means[-1])
    return means


def play_alone(settings: Settings, out: str | Path) -> dict[str, float]:
    """Play one game and record what its players would log.

    Parameters
    ----------
    settings : Settings
        How; ``game`` says which.
    out : str or Path
        The folder of the run: ``metrics.jsonl`` and TensorBoard events.

    Returns
    -------
    dict
        The last line of the metrics, and Q's ``mean``.
    """
    random = torch.Generator().manual_seed(settings.seed)
    game = Game(settings.game, settings.start, settings, random)
    metrics: dict[str, float] = {}
    with Recorder(out) as record, progress(settings.game, settings.steps) as advance:
        game.train_judge(settings.judge_steps)
        for step in range(1, settings.steps + 1):
            judge_loss = game.train_judge(settings.judge_steps_each)
            generator_loss, gradient = game.step()
            metrics = {
                "critic_loss" if settings.game == "wasserstein" else "discriminator_loss": judge_loss,
                "generator_loss": generator_loss,
                "generator_gradient": abs(gradient),
                **game.measured(),
            }
            if step == 1 or step % settings.log_every == 0:
                record.log(step, **metrics)
            advance(mean=float(game.mean.detach()))
    return {**metrics, "mean": float(game.mean.detach())}


def run(settings: Settings, out: str | Path) -> dict[str, float]:
    """Survey, play, record, draw.

    Parameters
    ----------
    settings : Settings
        How.
    out : str or Path
        The folder of the run: ``metrics.jsonl``, TensorBoard events and ``gan_gaussians.png``.

    Returns
    -------
    dict
        At the far end ``js``, its exact slope ``js_slope``, and the slopes in Q's mean of the three trained losses;
        ``wasserstein_error``, the largest relative error of the critic's estimates at means of 1 and more; and where
        each game ended, ``<game>_mean``.
    """
    random = torch.Generator().manual_seed(settings.seed)
    with Recorder(out) as record, progress("GAN", settings.places + len(GAMES) * settings.steps) as advance:
        found = survey(settings, random, record, advance)
        paths = {kind: play(kind, settings, random, record, advance) for kind in GAMES}
    _draw(found, paths, settings).savefig(Path(out) / "gan_gaussians.png")
    far = found[0]
    names = ("js", "js_bound", "js_slope", "saturating_slope", "non_saturating_slope", "wasserstein_slope")
    errors = [abs(x["wasserstein_estimate"] / x["wasserstein"] - 1) for x in found if x["wasserstein"] >= 1]
    return {
        **{name: far[name] for name in names},
        "wasserstein_error": max(errors, default=math.nan),
        **{f"{kind}_mean": path[-1] for kind, path in paths.items()},
    }


def _draw(found: list[dict[str, float]], paths: dict[str, list[float]], settings: Settings) -> Figure:
    columns = {name: [x[name] for x in found] for name in found[0]}
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    (line,) = left.plot(columns["mean"], columns["js"], label="JS, exact")
    left.plot(columns["mean"], columns["js_bound"], "o", color=line.get_color(), label="bound of the discriminator")
    left.axhline(math.log(2), linestyle=":", color="grey", label="log 2")
    left.set(xlabel="mean of Q (P's is 0)", ylabel="JS / nats")
    other = left.twinx()
    other.plot(columns["mean"], columns["wasserstein"], color="C1", label="W₁, exact")
    other.plot(columns["mean"], columns["wasserstein_estimate"], "s", color="C1", label="estimate of the critic")
    other.set(ylabel="W₁")
    handles = [*left.get_legend_handles_labels()[0], *other.get_legend_handles_labels()[0]]
    left.legend(handles=handles, fontsize="small", loc="lower right")
    apart = [i for i, mean in enumerate(columns["mean"]) if mean > 0]
    for name, label, style in (
        ("js_slope", "2·JS, exact", "-"),
        ("saturating_slope", "saturating loss", "o"),
        ("non_saturating_slope", "loss that does not saturate", "^"),
        ("wasserstein_slope", "critic", "s"),
    ):
        middle.semilogy([columns["mean"][i] for i in apart], [abs(columns[name][i]) for i in apart], style, label=label)
    middle.set(xlabel="mean of Q", ylabel="size of the generator's gradient")
    middle.legend(fontsize="small")
    for kind, path in paths.items():
        right.plot(path, label=kind.replace("_", "-"))
    right.axhline(0, linestyle=":", color="grey")
    right.set(xlabel="generator step", ylabel="mean of Q", title=f"seed {settings.seed}")
    right.legend(fontsize="small")
    return figure


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder of the run.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--start", type=NumberRange(1, 100), default=Settings.start, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=Settings.steps, show_default=True)
def main(out: Path, seed: int, start: float, steps: int) -> None:
    """Run from the command line."""
    # Matrices as small as these are multiplied faster by one thread than by several that wait for each other.
    torch.set_num_threads(1)
    settings = Settings(seed=seed, start=start, steps=steps)
    made = run(settings, out)
    print(
        f"With Q's mean at {start:g}, JS is {made['js']:.6f} of at most {math.log(2):.6f} nats. The generator's "
        f"gradient there: {made['js_slope']:.1e} for 2·JS itself; by what was trained, {made['saturating_slope']:.1e} "
        f"for the saturating loss, {made['non_saturating_slope']:.2g} for the one that does not saturate, "
        f"{made['wasserstein_slope']:.2g} for the Wasserstein critic, where W₁ has 1."
    )
    print(f"The critic's estimates of W₁ are off by up to {made['wasserstein_error']:.0%} where the mean is 1 or more.")
    ends = ", ".join(f"{kind.replace('_', '-')} {made[f'{kind}_mean']:.2f}" for kind in GAMES)
    print(f"After {steps} steps of gradient descent from {start:g}, Q's mean is: {ends}. P's is 0.")


if __name__ == "__main__":
    main()
