"""Make the logs in ``logs/`` with the libraries that write them: Stable-Baselines3 and Lightning.

Run ``python tests/doctor/make_peer_logs.py`` from the root of the repository, with ``stable-baselines3`` and
``lightning`` installed; it takes about ten seconds. The tests read what it made.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

LOGS = Path("tests/doctor/logs")


def stable_baselines(name: str, learning_rate: float) -> None:
    from stable_baselines3 import PPO
    from stable_baselines3.common.logger import configure

    model = PPO("MlpPolicy", "CartPole-v1", learning_rate=learning_rate, seed=0, n_steps=256, device="cpu")
    model.set_logger(configure(str(LOGS / name), ["csv", "tensorboard", "json", "log"]))
    model.learn(256 * 10)
    # The file is named after the host.
    for events in (LOGS / name).glob("events.out.tfevents.*"):
        events.rename(LOGS / name / "events.out.tfevents.0")


def lightning_vae() -> None:
    import lightning
    from lightning.pytorch.loggers import CSVLogger

    class Autoencoder(lightning.LightningModule):
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

    lightning.seed_everything(0)
    data = torch.utils.data.TensorDataset(torch.randn(640, 3) @ torch.randn(3, 6))
    trainer = lightning.Trainer(
        max_epochs=5,
        log_every_n_steps=5,
        logger=CSVLogger(str(LOGS), name="lightning", version=0),
        enable_checkpointing=False,
        accelerator="cpu",
    )
    trainer.fit(Autoencoder(), torch.utils.data.DataLoader(data, 32), torch.utils.data.DataLoader(data, 320))


if __name__ == "__main__":
    for name in ("sb3-healthy", "sb3-fast", "lightning"):
        shutil.rmtree(LOGS / name, ignore_errors=True)
    torch.set_num_threads(1)
    stable_baselines("sb3-healthy", 3e-4)
    stable_baselines("sb3-fast", 0.05)
    lightning_vae()
