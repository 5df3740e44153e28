"""A short run of each placement, and the parts of a rollout that are easy to get wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from examples.token_policy import END, Policy, Settings, Trainer, main, run, score, write

SHORT = Settings(iterations=3, batch=16, length=6, vocabulary=6, width=8)


@pytest.mark.parametrize(("placement", "estimator"), [("reward", "k1"), ("loss", "k2")])
def test_a_short_run(placement: Any, estimator: Any, tmp_path: Path) -> None:
    settings = replace(SHORT, placement=placement, estimator=estimator)
    made = run(settings, tmp_path / "one")
    lines = [json.loads(line) for line in (tmp_path / "one" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2]
    assert ("kl_loss" in lines[0]) == (placement == "loss")
    # Training starts from the reference, and what is trained is what wrote.
    assert lines[0]["kl"] == lines[0]["kl_k3"] == 0
    for line in lines:
        assert line["importance_mean"] == pytest.approx(1, abs=1e-5)
        assert line["effective_sample_size"] == pytest.approx(1, abs=1e-5)
        penalty = line["kl_coef"] * line["kl"] if placement == "reward" else 0.0
        assert line["reward"] == pytest.approx(line["score"] - penalty, abs=1e-5)
    assert (tmp_path / "one" / "token_policy.png").stat().st_size > 10_000
    assert run(settings, tmp_path / "two") == made  # by the seed alone


def test_what_is_written_ends_at_the_end_token() -> None:
    generator = torch.Generator().manual_seed(0)
    settings = replace(SHORT, batch=200)
    policy = Policy(settings, generator)
    with torch.no_grad():
        tokens, before, mask, log_prob = write(policy, settings, generator)
        logits = policy(before)
    assert (before[:, 0] == settings.vocabulary).all()
    assert (before[:, 1:] == tokens[:, :-1]).all()
    ended = (tokens == END).long().cumsum(-1) - (tokens == END).long()
    assert (mask == (ended == 0)).all()
    assert not mask.all()
    assert (tokens[~mask] == END).all()
    taken = logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
    torch.testing.assert_close(log_prob, torch.where(mask, taken, 0.0))


def test_a_least_length_forbids_the_end() -> None:
    generator = torch.Generator().manual_seed(0)
    settings = replace(SHORT, batch=200, min_length=4)
    tokens, _, mask, log_prob = write(Policy(settings, generator), settings, generator)
    assert (tokens[:, :4] != END).all()
    assert torch.isfinite(log_prob).all()
    assert (mask.sum(-1) >= 5).all()


def test_score_counts_successors_and_an_end() -> None:
    # Tokens 1 to 5 follow each other in a circle; 0 ends.
    tokens = torch.tensor([[1, 2, 3, 0], [5, 1, 1, 2], [0, 0, 0, 0]])
    before = torch.cat([torch.full((3, 1), 6), tokens[:, :-1]], -1)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [1, 0, 0, 0]]).bool()
    assert score(tokens, before, mask, 6).tolist() == [3.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("changed", "name"),
    [({"temperature": 0.7}, "kl_k3"), ({"adapter": 0.5}, "kl_k3"), ({"dropout": 0.3}, "kl_k3"),
     ({"sampler_temperature": 1.5}, "rollout_kl")],
)  # fmt: skip
def test_what_goes_wrong_shows_at_once(changed: dict[str, Any], name: str) -> None:
    torch.set_num_threads(1)
    assert Trainer(replace(SHORT, **changed)).iterate()[name] > 1e-3
    assert abs(Trainer(SHORT).iterate()[name]) < 1e-6


def test_two_policies_at_one_temperature_begin_as_one() -> None:
    torch.set_num_threads(1)
    assert abs(Trainer(replace(SHORT, temperature=0.7, reference_temperature=0.7)).iterate()["kl_k3"]) < 1e-6


@pytest.mark.parametrize(("weighted", "temperature"), [(False, 1.0), (True, 1.5), (False, 1.5)])
def test_weights_make_up_for_another_sampler(weighted: bool, temperature: float) -> None:
    torch.set_num_threads(1)
    settings = replace(
        SHORT, batch=4000, minibatches=1, placement="loss", estimator="k2", beta=1e-4, adaptive=False,
        learning_rate=0.05, weighted=weighted, sampler_temperature=temperature,
    )  # fmt: skip
    sampled, exact = Trainer(settings), Trainer(replace(settings, read="exact"))
    for _ in range(3):
        seen, expected = sampled.iterate(), exact.iterate()
    # Of the same sequences: at each place the mean over tokens that the policy draws is the exact KL there.
    assert seen["kl_k3"] == expected["kl_k3"]
    error = seen["kl_stderr"]
    assert expected["kl"] > 5 * error
    near = abs(seen["kl"] - expected["kl"]) < 4 * error
    assert near == (weighted or temperature == 1.0)


def test_the_exact_kl_in_the_loss(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    settings = replace(SHORT, placement="loss", estimator="exact", learning_rate=0.05)
    made = run(settings, tmp_path / "free")
    lines = [json.loads(line) for line in (tmp_path / "free" / "metrics.jsonl").read_text().splitlines()]
    assert all(line["kl_loss"] >= 0 for line in lines)
    assert lines[-1]["kl_loss"] > 1e-3
    # A penalty a thousand times as heavy holds the policy where it is.
    held = run(replace(settings, beta=600.0, adaptive=False), tmp_path / "held")
    assert held["kl_exact"] < 0.5 * made["kl_exact"]
    with pytest.raises(ValueError, match='estimator="exact" is of a place, and no token\'s: it needs placement="loss"'):
        Trainer(replace(SHORT, estimator="exact")).iterate()


def test_the_command_line(tmp_path: Path) -> None:
    made = CliRunner().invoke(main, ["--out", str(tmp_path / "run"), "--iterations", "2", "--placement", "loss"])
    assert made.exit_code == 0, made.output
    assert "nats by k1" in made.output
    assert "The policy at the end: KL(policy‖reference)" in made.output
