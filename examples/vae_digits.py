"""A variational autoencoder of handwritten digits in three scenes: healthy, with a KL that explodes, and collapsed.

The KL of a collapsed posterior is near 0: the decoder has learned to do without the latent variables. An exploding KL
is the opposite: here the steps are too large, the encoder's means and variances are thrown far from the prior's, and
the samples drawn from them teach the decoder nothing. With smaller steps and nothing else changed, the run is healthy.

``python -m examples.vae_digits --out DIR`` trains all three and draws them side by side.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import click
import numpy as np
import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn

from dkl.training import LinearWarmup, VAELoss, aggregate_posterior_kl, mutual_information, vae_loss
from examples.recording import SEED, Recorder, progress

Numbers = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Settings:
    """How one run is trained: everything that goes wrong in practice is a setting.

    Attributes
    ----------
    steps, batch_size, seed : int
        Of the training.
    learning_rate : float
        Adam's.
    beta : float
        The weight of the KL at the end of the warm-up.
    warmup_steps : int
        Steps in which β rises from 0; 0 for none.
    free_bits : float
        Nats for each latent dimension below which its KL is not pressed.
    likelihood : {"bernoulli_logits", "gaussian"}
        Of the pixels, from 0 to 1.
    scale : float or None
        The standard deviation of ``"gaussian"``; None takes the one that fits each batch best, the root of its mean
        squared error.
    pixels : {"sum", "mean"}
        How the pixels' costs are joined; ``"mean"`` divides the reconstruction by 64, which is a β of 64.
    latents : {"sum", "mean"}
        How the KLs of the latent dimensions are joined, in the loss and in the log; ``"mean"`` is a β divided by their
        number.
    log_var_bounds : (float, float), optional
        What the encoder's log-variances are kept between.
    bound : {"clamp", "soft"}
        How: cut off, which has no gradient outside, or by a hyperbolic tangent.
    gradient_clip : float, optional
        The largest norm of the gradient.
    initial_log_var : float
        Added to the encoder's log-variances.
    input_scale : float
        What the encoder's pixels are multiplied by: 255 is an image that nobody scaled, 0 an encoder that sees nothing.
    skip : bool
        Whether the decoder sees the pixels beside the latent variables, as through a connection that skips them.
    skip_dropout : float
        The share of the pixels that are hidden on that way, at random.
    kl_logged : {"raw", "weighted"}
        What is written down as the KL: itself, or β times it.
    latent_dims, hidden : int
        Widths of the networks.
    every : int
        Steps from one line of metrics to the next.
    """

    steps: int = 1500
    batch_size: int = 128
    seed: int = 0
    learning_rate: float = 2e-3
    beta: float = 1.0
    warmup_steps: int = 0
    free_bits: float = 0.0
    likelihood: Literal["bernoulli_logits", "gaussian"] = "bernoulli_logits"
    scale: float | None = 0.25
    pixels: Literal["sum", "mean"] = "sum"
    latents: Literal["sum", "mean"] = "sum"
    log_var_bounds: tuple[float, float] | None = None
    bound: Literal["clamp", "soft"] = "clamp"
    gradient_clip: float | None = None
    initial_log_var: float = 0.0
    input_scale: float = 1.0
    skip: bool = False
    skip_dropout: float = 0.0
    kl_logged: Literal["raw", "weighted"] = "raw"
    latent_dims: int = 10
    hidden: int = 128
    every: int = 5


#: What is changed for each scene.
SCENES = {
    "healthy": Settings(),
    "exploding": Settings(learning_rate=0.2),
    "collapsed": Settings(beta=30.0),
}


class Made(NamedTuple):
    """What the networks make of a batch."""

    output: Tensor
    mu: Tensor
    log_var: Tensor
    z: Tensor
    """One sample of each row."""
    clamped: float
    """The share of the log-variances that were cut off."""
    past: Tensor | None
    """What the decoder sees past the latent variables."""


class Autoencoder(nn.Module):  # type: ignore[misc]
    """Two small networks: from pixels to means and log-variances, and from latent variables to pixels."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        wide, latent = settings.hidden, settings.latent_dims
        seen = latent + 64 * settings.skip
        self.encoder = nn.Sequential(nn.Linear(64, wide), nn.ReLU(), nn.Linear(wide, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(seen, wide), nn.ReLU(), nn.Linear(wide, 64))
        self.settings = settings

    def encoded(self, x: Tensor) -> tuple[Tensor, Tensor, float]:
        """Means, log-variances, and the share of these that were cut off."""
        settings = self.settings
        mu, log_var = self.encoder(x * settings.input_scale).chunk(2, dim=-1)
        log_var = log_var + settings.initial_log_var
        if settings.log_var_bounds is None:
            return mu, log_var, 0.0
        low, high = settings.log_var_bounds
        if settings.bound == "soft":
            middle, half = (low + high) / 2, (high - low) / 2
            return mu, middle + half * torch.tanh((log_var - middle) / half), 0.0
        return mu, log_var.clamp(low, high), float(((log_var <= low) | (log_var >= high)).float().mean())

    def decoded(self, z: Tensor, past: Tensor | None) -> Tensor:
        """The pixels' log-odds, or means."""
        return self.decoder(z if past is None else torch.cat([z, past], dim=-1))

    def forward(self, x: Tensor, generator: torch.Generator) -> Made:
        """Everything, with one sample of each row."""
        mu, log_var, clamped = self.encoded(x)
        z = mu + torch.exp(0.5 * log_var) * torch.randn(mu.shape, generator=generator)
        past = None
        if self.settings.skip:
            past = x * (torch.rand(x.shape, generator=generator) >= self.settings.skip_dropout)
        return Made(self.decoded(z, past), mu, log_var, z, clamped, past)

    def loss(self, x: Tensor, made: Made, beta: float) -> VAELoss:
        """The loss of a batch."""
        settings = self.settings
        scale: float | Tensor = 1.0
        if settings.likelihood == "gaussian":
            scale = (x - made.output).square().mean().sqrt() if settings.scale is None else settings.scale
        loss = vae_loss(
            x,
            made.output,
            made.mu,
            made.log_var,
            beta=beta,
            likelihood=settings.likelihood,
            scale=scale,
            free_bits=settings.free_bits,
        )
        penalty, cost, kl = loss.total - loss.reconstruction, loss.reconstruction, loss.kl
        if settings.latents == "mean":
            penalty, kl = penalty / settings.latent_dims, kl / settings.latent_dims
        if settings.pixels == "mean":
            cost = cost / x.shape[1]
        return loss._replace(total=cost + penalty, reconstruction=cost, kl=kl)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def shuffled(self, x: Tensor, made: Made) -> float:
        """The reconstruction of each row by the sample of another: what it costs not to have one's own."""
        if not torch.isfinite(made.z).all():
            return math.nan
        return float(self.loss(x, made._replace(output=self.decoded(made.z.roll(1, 0), made.past)), 0.0).reconstruction)


def digits() -> Tensor:
    """All 1,797 digits, 64 pixels from 0 to 1 each."""
    return torch.tensor(load_digits().data / 16.0, dtype=torch.float32)


def run(settings: Settings, out: Path) -> dict[str, Any]:
    """Train once, write metrics into ``out``, and return figures of the end.

    Returns
    -------
    dict
        ``reconstruction_loss``, ``kl_loss`` and ``active_units`` of all digits at the end, ``mutual_information`` and
        ``aggregate_kl`` of a quarter of them; ``largest_kl`` of any step recorded with the
        ``reconstruction_at_largest_kl``; ``stopped``, the step at which outputs or gradients were no longer finite (the
        figures are then those of the last line of metrics, and without the two in the middle), or None; and the
        histories, ``kl_per_dim`` among them.
    """
    x = digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = Autoencoder(settings)
    generator = torch.Generator().manual_seed(settings.seed + 1)
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    warmup = LinearWarmup(settings.warmup_steps, 0.0, settings.beta) if settings.warmup_steps else None
    history: list[dict[str, Any]] = []
    stopped = None
    with Recorder(out) as recorder, progress(out.name, settings.steps) as advance:
        for step in range(settings.steps):
            beta = settings.beta if warmup is None else warmup(step)
            batch = x[torch.randint(len(x), (settings.batch_size,), generator=generator)]
            made = model(batch, generator)
            if not torch.isfinite(made.output).all():
                stopped = step
                break
            loss = model.loss(batch, made, beta)
            optimiser.zero_grad()
            loss.total.backward()
            limit = math.inf if settings.gradient_clip is None else settings.gradient_clip
            norm = float(nn.utils.clip_grad_norm_(model.parameters(), limit))
            seen = loss.detach()
            if step % settings.every == 0 or not math.isfinite(norm):
                history.append(_recorded(recorder, step, seen, norm, model, batch, made))
            if not math.isfinite(norm):
                stopped = step
                break
            optimiser.step()
            advance(loss=float(seen.total), kl=float(seen.kl))
    return _summary(model, x, history, stopped, generator)


def _recorded(
    recorder: Recorder, step: int, loss: VAELoss, norm: float, model: Autoencoder, x: Tensor, made: Made
) -> dict[str, Any]:
    settings = model.settings
    figures = {
        "loss": float(loss.total),
        "reconstruction_loss": float(loss.reconstruction),
        "kl_loss": float(loss.kl),
        "beta": float(loss.beta),
        "active_units": float(loss.active_units),
        "grad_norm": norm,
        "learning_rate": settings.learning_rate,
    }
    mu, log_var, z = (x.detach() for x in (made.mu, made.log_var, made.z))
    finite = bool(torch.isfinite(torch.cat([mu, log_var, z])).all())
    watched = {
        "mu_squared": float(mu.square().sum(-1).mean()),
        "mu_max": float(mu.abs().max()),
        "log_var_max": float(log_var.max()),
        "log_var_min": float(log_var.min()),
        "log_var_mean": float(log_var.mean()),
        # Of half the rows, for a quarter of the time.
        "mutual_information": mutual_information(mu[::2], log_var[::2], z[::2]).value if finite else math.nan,
        "reconstruction_shuffled": model.shuffled(x, made),
        "free_bits": settings.free_bits,
    }
    if settings.log_var_bounds is not None:
        watched["clamped"] = made.clamped
    per_dim = loss.kl_per_dim.detach().numpy()
    logged = {**figures, **watched, **{f"kl_per_dim__{i}": float(kl) for i, kl in enumerate(per_dim)}}
    if settings.kl_logged == "weighted":
        logged["kl_loss"] *= float(loss.beta)
    recorder.log(step, **logged)
    return {"step": step, **figures, "kl_per_dim": per_dim}


def _summary(
    model: Autoencoder, x: Tensor, history: list[dict[str, Any]], stopped: int | None, generator: torch.Generator
) -> dict[str, Any]:
    peak = max(history, key=lambda line: line["kl_loss"])
    figures = {
        **{name: history[-1][name] for name in ("reconstruction_loss", "kl_loss", "active_units")},
        "largest_kl": peak["kl_loss"],
        "reconstruction_at_largest_kl": peak["reconstruction_loss"],
        "first_reconstruction_loss": history[0]["reconstruction_loss"],
        "stopped": stopped,
        "steps": [line["step"] for line in history],
        "kl_per_dim": np.stack([line["kl_per_dim"] for line in history]),
        "kl_history": [line["kl_loss"] for line in history],
        "reconstruction_history": [line["reconstruction_loss"] for line in history],
    }
    if stopped is not None:
        return figures
    with torch.no_grad():
        made = model(x, generator)
        loss = model.loss(x, made, model.settings.beta)
    some = slice(None, None, 4)
    seed = model.settings.seed + 2
    information, aggregate = (
        measure(made.mu[some], made.log_var[some], samples=2, generator=torch.Generator().manual_seed(seed))
        for measure in (mutual_information, aggregate_posterior_kl)
    )
    return {
        **figures,
        "reconstruction_loss": float(loss.reconstruction),
        "kl_loss": float(loss.kl),
        "active_units": int(loss.active_units),
        "mutual_information": float(information.value),
        "aggregate_kl": float(aggregate.value),
    }


def drawn(scenes: dict[str, dict[str, Any]]) -> Figure:
    """The scenes side by side: both parts of the loss above, the KL of each latent dimension below."""
    figure = Figure(figsize=(4.2 * len(scenes), 6.4), layout="constrained")
    above, below = figure.subplots(2, len(scenes), squeeze=False, sharex="col")
    shared = LogNorm(1e-3, 1e3)
    for ax, heat, (name, summary) in zip(above, below, scenes.items(), strict=True):
        steps = summary["steps"]
        ax.plot(steps, summary["reconstruction_history"], label="reconstruction")
        ax.plot(steps, summary["kl_history"], label="KL")
        ax.set(title=name, yscale="log", ylabel="nats", ylim=(1e-3, None))
        ax.legend(loc="lower left")
        order = np.argsort(-summary["kl_per_dim"][-1])
        image = heat.pcolormesh(
            steps,
            np.arange(len(order)),
            np.clip(summary["kl_per_dim"].T[order], 1e-3, None),
            norm=shared,
            shading="nearest",
        )
        heat.set(xlabel="step", ylabel="latent dimension, largest last KL first", yticks=range(len(order)))
        heat.invert_yaxis()
    figure.colorbar(image, ax=list(below), label="KL of the dimension, nats", extend="both")
    return figure


def told(name: str, summary: dict[str, Any]) -> str:
    """One scene in words."""
    lines = [
        f"{name}: reconstruction {summary['reconstruction_loss']:.1f} nats, KL {summary['kl_loss']:.4g} nats, "
        f"{summary['active_units']:.0f} active units",
        f"  largest KL {summary['largest_kl']:.4g} nats, at a reconstruction of "
        f"{summary['reconstruction_at_largest_kl']:.1f} nats; it began at {summary['first_reconstruction_loss']:.1f}",
    ]
    if summary["stopped"] is None:
        lines.append(
            f"  KL = {summary['mutual_information']:.4g} mutual information + {summary['aggregate_kl']:.4g} from the "
            "aggregate posterior to the prior (a quarter of the digits)"
        )
    else:
        lines.append(f"  stopped at step {summary['stopped']}: outputs or gradients were no longer finite")
    return "\n".join(lines)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for metrics and the picture.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the weights, the batches and the samples.")
@click.option("--steps", type=click.IntRange(1), default=Settings.steps, show_default=True, help="Of each scene.")
@click.option("--scene", type=click.Choice(list(SCENES)), multiple=True, help="Which scenes; all if not given.")
def main(out: Path, seed: int, steps: int, scene: tuple[str, ...]) -> None:
    """Train a variational autoencoder of digits: healthy, exploding, collapsed."""
    # Matrices as small as these are multiplied faster by one thread than by several that wait for each other.
    torch.set_num_threads(1)
    summaries = {}
    for name in scene or SCENES:
        settings = replace(SCENES[name], seed=seed, steps=steps)
        summaries[name] = run(settings, out / name)
        click.echo(told(name, summaries[name]))
        changed = {key: value for key, value in asdict(settings).items() if value != getattr(Settings, key)}
        click.echo(f"  changed: {changed or 'nothing'}")
    drawn(summaries).savefig(out / "vae_digits.png", dpi=110)
    click.echo(f"picture: {out / 'vae_digits.png'}")


if __name__ == "__main__":
    main()
