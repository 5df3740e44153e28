"""A linear variational autoencoder that reaches what theory says of it: which latent dimensions collapse, at what KL.

The data are normal with covariance diag(4, 2, 1, ½, ¼), turned at random; the decoder's noise has variance ¾. A
direction of variance λ is used if λ > β·σ², with a KL of ½·log(λ/(β·σ²)) nats; the rest collapses by design, whatever
the optimiser (:func:`dkl.training.predicted_active_dims`).

``python -m examples.linear_vae --out DIR`` trains with β = 1, 2 and 8 and compares.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from dkl.training import VAELoss, predicted_active_dims, vae_loss
from examples.recording import SEED, NumberRange, Recorder, progress

#: How near the trained KL comes to the theory's, in nats.
TOLERANCE = 1e-2


@dataclass(frozen=True)
class Settings:
    """How one run is trained.

    Attributes
    ----------
    beta : float
        The weight of the KL.
    eigenvalues : tuple of float
        Of the data's covariance.
    noise_variance : float
        σ² of the decoder.
    rows : int
        How many data points there are: their covariance is what it should be to the last digit.
    latent_dims, seed : int
        Of the model; of weights, data and samples.
    steps : int
        Of training, each on all rows.
    learning_rate, last_learning_rate : float
        Adam's, falling geometrically from one to the other.
    every : int
        Steps from one line of metrics to the next.
    """

    beta: float = 1.0
    eigenvalues: tuple[float, ...] = (4.0, 2.0, 1.0, 0.5, 0.25)
    noise_variance: float = 0.75
    rows: int = 256
    latent_dims: int = 5
    seed: int = 0
    steps: int = 2000
    learning_rate: float = 0.02
    last_learning_rate: float = 2e-4
    every: int = 10


class LinearAutoencoder(nn.Module):  # type: ignore[misc]
    """Means V·x, variances that are the same for all rows, and a decoder W·z."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        n, latent = len(settings.eigenvalues), settings.latent_dims
        self.encoder = nn.Linear(n, latent, bias=False)
        self.decoder = nn.Linear(latent, n, bias=False)
        self.log_var = nn.Parameter(torch.zeros(latent))
        self.settings = settings

    def loss(self, x: Tensor, generator: torch.Generator) -> VAELoss:
        """The loss of all rows, with a sample for each and its mirror image."""
        mu = self.encoder(x)
        noise = torch.randn(mu.shape, generator=generator)
        shift = torch.exp(0.5 * self.log_var) * noise
        # Means of opposite samples: what is linear in the noise cancels.
        twice = x.repeat(2, 1), mu.repeat(2, 1)
        z = torch.cat([mu + shift, mu - shift])
        return vae_loss(
            twice[0],
            self.decoder(z),
            twice[1],
            self.log_var.expand_as(twice[1]),
            beta=self.settings.beta,
            likelihood="gaussian",
            scale=self.settings.noise_variance**0.5,
        )


def data(settings: Settings, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows of mean 0 whose covariance has exactly the eigenvalues wanted, and that covariance."""
    n = len(settings.eigenvalues)
    raw = torch.randn((settings.rows, n), dtype=torch.float64, generator=generator)
    raw = raw - raw.mean(0)
    white = raw @ torch.linalg.inv(torch.linalg.cholesky(raw.T @ raw / settings.rows)).T
    turn = torch.linalg.qr(torch.randn((n, n), dtype=torch.float64, generator=generator)).Q
    x = white * torch.tensor(settings.eigenvalues, dtype=torch.float64).sqrt() @ turn.T
    return x.float(), x.T @ x / settings.rows


@torch.no_grad()  # type: ignore[untyped-decorator]
def watched(model: LinearAutoencoder, x: Tensor) -> dict[str, float]:
    """What tells means that drift and variances that overflow apart."""
    mu, log_var = model.encoder(x), model.log_var
    return {
        "mu_squared": float(mu.square().sum(-1).mean()),
        "mu_max": float(mu.abs().max()),
        "log_var_max": float(log_var.max()),
        "log_var_min": float(log_var.min()),
        "log_var_mean": float(log_var.mean()),
    }


def run(settings: Settings, out: Path) -> dict[str, Any]:
    """Train once, write metrics into ``out``, and return figures of the end.

    Returns
    -------
    dict
        ``kl_loss`` and ``active_units`` (dimensions with a KL above the tolerance), those that theory predicts as
        ``predicted_kl`` and ``predicted_active_units``, ``kl_per_dim``, and ``steps`` and ``kl_history``.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    x, covariance = data(settings, generator)
    predicted = predicted_active_dims(
        covariance, settings.beta, settings.noise_variance, latent_dims=settings.latent_dims
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = LinearAutoencoder(settings)
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    decay = (settings.last_learning_rate / settings.learning_rate) ** (1.0 / settings.steps)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, decay)
    steps, kls = [], []
    with Recorder(out) as recorder, progress(f"β = {settings.beta:g}", settings.steps) as advance:
        for step in range(settings.steps):
            loss = model.loss(x, generator)
            optimiser.zero_grad()
            loss.total.backward()
            seen = loss.detach()
            if step % settings.every == 0:
                gradients = [weight.grad for weight in model.parameters()]
                norm = float(nn.utils.get_total_norm([g for g in gradients if g is not None]))
                steps.append(step)
                kls.append(float(seen.kl))
                recorder.log(
                    step,
                    loss=float(seen.total),
                    reconstruction_loss=float(seen.reconstruction),
                    kl_loss=kls[-1],
                    beta=settings.beta,
                    active_units=float(seen.active_units),
                    grad_norm=norm,
                    learning_rate=schedule.get_last_lr()[0],
                    **watched(model, x),
                    **{f"kl_per_dim__{i}": float(kl) for i, kl in enumerate(seen.kl_per_dim)},
                )
            optimiser.step()
            schedule.step()
            advance(kl=float(seen.kl))
    with torch.no_grad():
        loss = model.loss(x, generator)
    return {
        "kl_loss": float(loss.kl),
        "active_units": int((loss.kl_per_dim > TOLERANCE).sum()),
        "predicted_kl": predicted.kl,
        "predicted_active_units": predicted.active_units,
        "kl_per_dim": sorted(map(float, loss.kl_per_dim), reverse=True),
        "predicted_kl_per_dim": predicted.kl_per_dim.tolist(),
        "steps": steps,
        "kl_history": kls,
    }


def drawn(summaries: dict[float, dict[str, Any]]) -> Figure:
    """The KL of each β during training, and where theory says that it ends."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    ax = figure.subplots()
    for i, (beta, summary) in enumerate(summaries.items()):
        ax.plot(summary["steps"], summary["kl_history"], color=f"C{i}", label=f"β = {beta:g}, trained")
        ax.axhline(summary["predicted_kl"], color=f"C{i}", linestyle="--", linewidth=1)
    ax.set(xlabel="step", ylabel="KL, nats", title="A linear autoencoder, and its theory (dashed)")
    ax.legend()
    return figure


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for metrics and the picture.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the weights, the data and the samples.")
@click.option("--steps", type=click.IntRange(1), default=Settings.steps, show_default=True, help="Of each run.")
@click.option(
    "--beta",
    type=NumberRange(1e-3, 1e3),
    multiple=True,
    default=(1.0, 2.0, 8.0),
    show_default=True,
    help="Weights of the KL.",
)
def main(out: Path, seed: int, steps: int, beta: tuple[float, ...]) -> None:
    """Train linear autoencoders and compare them with their theory."""
    # Matrices as small as these are multiplied faster by one thread than by several that wait for each other.
    torch.set_num_threads(1)
    summaries = {}
    for weight in beta:
        summary = run(replace(Settings(), beta=weight, seed=seed, steps=steps), out / f"beta_{weight:g}")
        summaries[weight] = summary
        apart = abs(summary["kl_loss"] - summary["predicted_kl"])
        click.echo(
            f"β = {weight:g}: KL {summary['kl_loss']:.4f} nats, theory {summary['predicted_kl']:.4f}; active units "
            f"{summary['active_units']}, theory {summary['predicted_active_units']}: "
            f"{'within' if apart <= TOLERANCE else 'NOT within'} {TOLERANCE:g}"
        )
    drawn(summaries).savefig(out / "linear_vae.png", dpi=110)
    click.echo(f"picture: {out / 'linear_vae.png'}")


if __name__ == "__main__":
    main()
