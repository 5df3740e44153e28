"""The logs in ``tests/doctor/peer_logs``, in the names and files of the libraries that people train with.

Stable-Baselines3 and Lightning write theirs themselves, and must be installed; those of TRL are real runs of
`examples.token_policy` as its trainers would write them. From the root of the repository,
``python -m scripts.make_peer_logs`` makes them all, in about a minute; names of peers, such as ``trl``, make some.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from examples.token_policy import Settings, run

LOGS = Path(__file__).parents[1] / "tests" / "doctor" / "peer_logs"


def ran(settings: Settings) -> list[dict[str, float]]:
    """Train, and read what was logged."""
    with tempfile.TemporaryDirectory() as folder:
        run(settings, Path(folder) / "run")
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def ppo(line: dict[str, float]) -> dict[str, float]:
    """One entry as TRL's PPOTrainer names it: KL and entropy are sums over a response."""
    return {
        "eps": 1.0,
        "objective/kl": line["kl"],
        "objective/entropy": line["entropy"] * line["response_length"],
        "objective/non_score_reward": -line["kl_coef"] * line["kl"],
        "objective/rlhf_reward": line["reward"],
        "objective/scores": line["score"],
        "policy/approxkl_avg": line["update_kl"],
        "policy/clipfrac_avg": line["clip_fraction"],
        "loss/policy_avg": line["policy_loss"],
        "val/ratio": line["ratio_mean"],
        "lr": line["learning_rate"],
    }


def grpo(line: dict[str, float]) -> dict[str, float]:
    """One entry as TRL's GRPOTrainer names it: KL and entropy are means over tokens, and the KL is k3."""
    return {
        "loss": line["loss"],
        "grad_norm": line["gradient_norm"],
        "learning_rate": line["learning_rate"],
        "completions/mean_length": line["response_length"],
        "reward": line["score"],
        "frac_reward_zero_std": 0.0,
        "kl": line["kl_k3"] / line["response_length"],
        "entropy": line["entropy"],
        "clip_ratio/region_mean": line["clip_fraction"],
    }


def state(lines: list[dict[str, float]], names: Any) -> dict[str, Any]:
    """What a Trainer saves beside a checkpoint."""
    history = [
        {**{name: float(f"{value:.6g}") for name, value in names(line).items()}, "epoch": i / len(lines), "step": i + 1}
        for i, line in enumerate(lines)
    ]
    return {"epoch": 1.0, "global_step": len(lines), "max_steps": len(lines), "log_history": history}


def trl() -> None:
    """Train a small policy with a penalty in the reward and in the loss, healthy and not."""
    fixed = Settings(adaptive=False, beta=0.5, seed=11)
    in_the_loss = replace(fixed, placement="loss", estimator="k2", beta=0.05)
    for name, settings, names in (
        ("trl-ppo", fixed, ppo),
        ("trl-ppo-padding", replace(fixed, mask_padding=False), ppo),
        ("trl-grpo", in_the_loss, grpo),
        ("trl-grpo-dropout", replace(in_the_loss, dropout=0.3), grpo),
    ):
        text = json.dumps(state(ran(settings), names), indent=1)
        (_emptied(name) / "trainer_state.json").write_text(text + "\n", encoding="utf-8")


def stable_baselines3() -> None:
    """Let PPO learn CartPole, at a usual learning rate and at one that is far too large."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.logger import configure

    for name, learning_rate in (("sb3-healthy", 3e-4), ("sb3-fast", 0.05)):
        folder = _emptied(name)
        model = PPO("MlpPolicy", "CartPole-v1", learning_rate=learning_rate, seed=0, n_steps=256, device="cpu")
        model.set_logger(configure(str(folder), ["csv", "tensorboard", "json", "log"]))
        model.learn(256 * 10)
        # The file is named after the host.
        for events in folder.glob("events.out.tfevents.*"):
            events.rename(folder / "events.out.tfevents.0")


def lightning() -> None:
    """Train a linear VAE of six numbers."""
    from lightning import LightningModule, Trainer, seed_everything
    from lightning.pytorch.loggers import CSVLogger

    class Autoencoder(LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = torch.nn.Linear(6, 4), torch.nn.Linear(2, 6)

        def _step(self, x: torch.Tensor, prefix: str) -> torch.Tensor:
            mu, log_var = self.encoder(x).chunk(2, -1)
            z = mu + torch.randn_like(mu) * (0.5 * log_var).exp()
            reconstruction = 0.5 * (self.decoder(z) - x).square().sum(-1).mean()
            kl = 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum(-1).mean()
            self.log_dict(
                {f"{prefix}loss": reconstruction + kl, f"{prefix}recon_loss": reconstruction, f"{prefix}kl_loss": kl}
            )
            return reconstruction + kl

        def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
            return self._step(batch[0], "train_")

        def validation_step(self, batch: list[torch.Tensor], _: int) -> None:
            self._step(batch[0], "val_")

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-2)

    seed_everything(0)
    data = torch.utils.data.TensorDataset(torch.randn(640, 3) @ torch.randn(3, 6))
    trainer = Trainer(
        max_epochs=5,
        log_every_n_steps=5,
        logger=CSVLogger(str(_emptied("lightning").parent), name="lightning", version=0),
        enable_checkpointing=False,
        accelerator="cpu",
    )
    trainer.fit(Autoencoder(), torch.utils.data.DataLoader(data, 32), torch.utils.data.DataLoader(data, 320))


def _emptied(name: str) -> Path:
    folder = LOGS / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


PEERS: dict[str, Callable[[], None]] = {
    "trl": trl,
    "stable-baselines3": stable_baselines3,
    "lightning": lightning,
}


@click.command(help=__doc__)
@click.argument("peers", nargs=-1, type=click.Choice(list(PEERS)))
def main(peers: tuple[str, ...]) -> None:
    """Make them, or some."""
    torch.set_num_threads(1)
    for peer in peers or PEERS:
        PEERS[peer]()


if __name__ == "__main__":
    main()
