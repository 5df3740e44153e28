"""Make the logs in ``tests/doctor/peer_logs``: real runs of `examples.token_policy`, in the names and files of TRL.

Run ``python -m scripts.make_peer_logs`` from the root of the repository; it takes under a minute.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

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


def main() -> None:
    """Make them all."""
    torch.set_num_threads(1)
    fixed = Settings(adaptive=False, beta=0.5, seed=11)
    in_the_loss = replace(fixed, placement="loss", estimator="k2", beta=0.05)
    for name, settings, names in (
        ("trl-ppo", fixed, ppo),
        ("trl-ppo-padding", replace(fixed, mask_padding=False), ppo),
        ("trl-grpo", in_the_loss, grpo),
        ("trl-grpo-dropout", replace(in_the_loss, dropout=0.3), grpo),
    ):
        folder = LOGS / name
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(state(ran(settings), names), indent=1)
        (folder / "trainer_state.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
