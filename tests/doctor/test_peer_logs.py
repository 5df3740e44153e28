"""Logs as real libraries write them: Stable-Baselines3, Lightning, PyTorch's SummaryWriter, TRL's trainers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from dkl.doctor import diagnose

#: Made by scripts/make_peer_logs.py.
LOGS = Path(__file__).parent / "peer_logs"


@pytest.mark.parametrize("file", ["progress.csv", "log.txt", "events.out.tfevents.0", "progress.json"])
def test_stable_baselines(file: str) -> None:
    healthy = diagnose(LOGS / "sb3-healthy" / file)
    assert (healthy.kind, healthy.status, healthy.findings) == ("policy", "healthy", [])
    fast = diagnose(LOGS / "sb3-fast" / file)
    assert [(f.name, f.severity) for f in fast.findings] == [
        ("learning rate too large", "error"),
        ("entropy collapse", "error"),
    ]
    assert "train/learning_rate is 0.05" in " ".join(e.text for e in fast.findings[0].evidence)


@pytest.mark.parametrize(
    ("run", "cause"),
    [
        ("trl-ppo", None),
        ("trl-grpo", None),
        ("trl-ppo-padding", "reward fed by a negative KL"),
        ("trl-grpo-dropout", "KL not zero at the start"),
    ],
)
def test_trainer_state_of_trl(run: str, cause: str | None) -> None:
    made = diagnose(LOGS / run)
    assert made.kind == "policy"
    assert [f.name for f in made.findings] == ([] if cause is None else [cause])
    assert made.status == ("healthy" if cause is None else "findings")


def test_trl_says_whose_kl_it_logs() -> None:
    statements = " ".join(diagnose(LOGS / "trl-ppo").statements)
    assert "'objective/kl', as TRL's PPOTrainer writes it, is summed over the tokens of a response" in statements


def test_lightning_is_read_as_a_vae() -> None:
    assert diagnose(LOGS / "lightning" / "version_0").kind == "vae"


def test_summary_writer(tmp_path: Path) -> None:
    entries = json.loads((LOGS / "trl-ppo-padding" / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    with SummaryWriter(str(tmp_path)) as events:
        for entry in entries:
            for name, value in entry.items():
                if name not in ("step", "epoch"):
                    events.add_scalar(name, value, entry["step"])
    read = diagnose(tmp_path)
    saved = diagnose(LOGS / "trl-ppo-padding")
    assert [f.name for f in read.findings] == [f.name for f in saved.findings]
    np.testing.assert_allclose(read.roles["kl"].values, saved.roles["kl"].values, rtol=1e-6)
