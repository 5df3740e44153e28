"""A short run of each rule, and the parts of a rollout that are easy to get wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from examples.ppo_cartpole import ActorCritic, Player, Settings, main, run

SHORT: Any = {"iterations": 3, "environments": 4, "horizon": 32, "epochs": 2, "minibatches": 2, "width": 16,
              "evaluation_episodes": 3}  # fmt: skip


@pytest.mark.parametrize("rule", ["clip", "kl"])
def test_a_short_run(rule: Any, tmp_path: Path) -> None:
    settings = Settings(rule=rule, **SHORT)
    made = run(settings, tmp_path / "one")
    lines = [json.loads(line) for line in (tmp_path / "one" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [128, 256, 384]
    assert {"train/kl", "train/approx_kl", "actor/entropy", "rollout/ep_rew_mean"} <= set(lines[0])
    assert ("train/beta" in lines[0]) == (rule == "kl")
    assert all(line["train/kl"] > 0 for line in lines)
    # Both measure KL(old‖new), one of them from the actions taken alone.
    assert lines[0]["train/approx_kl"] == pytest.approx(lines[0]["train/kl"], rel=0.5)
    betas = [line["train/beta"] for line in lines] if rule == "kl" else []
    for before, after, line in zip(betas, betas[1:], lines, strict=False):
        over = line["train/kl"] / settings.target_kl
        factor = 2.0 if over > 1.5 else 0.5 if over < 1 / 1.5 else 1.0
        assert after == pytest.approx(factor * before)
    assert (tmp_path / "one" / "ppo_cartpole.png").stat().st_size > 10_000
    assert run(settings, tmp_path / "two") == made  # by the seed alone


def test_advantages_are_discounted_sums_of_surprises() -> None:
    settings = Settings(**{**SHORT, "horizon": 120, "environments": 2})
    generator = torch.Generator().manual_seed(0)
    model = ActorCritic(4, 2, 16, generator)
    player = Player(settings, generator)
    first = player.states
    seen = player.play(model)
    # As one column for each environment.
    columns = [x.reshape(120, 2, *x.shape[1:]) for x in seen]
    states, _, _, advantages, returns, live = columns
    assert (states[0] == torch.from_numpy(first)).all()
    assert not live.all()  # some episode ended
    with torch.no_grad():
        values = model.value(torch.cat([states, torch.from_numpy(player.states)[None]]))
    torch.testing.assert_close(returns, advantages + values[:-1])
    for e in range(2):
        for start in range(120):
            if not live[start, e]:
                continue
            expected, weight, t = 0.0, 1.0, start
            while t < 120 and live[t, e]:
                # A reset follows the end of an episode, which in so few steps is a fall: no value after it.
                fell = (t + 1 < 120 and not live[t + 1, e]) or (t == 119 and player.ended[e])
                following = 0.0 if fell else settings.discount * values[t + 1, e]
                expected += weight * (1.0 + following - values[t, e])
                weight *= settings.discount * settings.trace
                t += 1
            torch.testing.assert_close(advantages[start, e], torch.as_tensor(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stop_by", ["k3", "exact"])
def test_updates_stop_where_the_kl_passes_its_limit(stop_by: Any, tmp_path: Path) -> None:
    settings = Settings(**{**SHORT, "epochs": 30}, clip=0.9, learning_rate=0.01, anneal=False, stop_by=stop_by)
    run(settings, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(line["train/update_epochs"] < 30 for line in lines)
    assert all(line[f"train/kl_{stop_by}"] > 1.5 * settings.target_kl for line in lines)


def test_a_warm_up_rises_to_the_rate(tmp_path: Path) -> None:
    run(Settings(**{**SHORT, "iterations": 4}, learning_rate=0.01, anneal=False, warmup=2), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["train/learning_rate"] for line in lines] == [0.005, 0.01, 0.01, 0.01]


def test_the_command_line(tmp_path: Path) -> None:
    made = CliRunner().invoke(main, ["--out", str(tmp_path / "run"), "--rule", "kl", "--iterations", "1"])
    assert made.exit_code == 0, made.output
    assert "Mean return over 100 episodes: " in made.output
    again = CliRunner().invoke(main, ["--out", str(tmp_path / "run"), "--iterations", "1"])
    assert again.exit_code == 1
    assert "holds a run already" in again.output
