"""The three scenes, shortened: each is what it is called, and everything is written down."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from examples.vae_digits import SCENES, Autoencoder, Settings, digits, main, run


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("scenes")
    steps = {"healthy": 120, "exploding": 60, "collapsed": 60}
    return {
        name: {**run(replace(settings, steps=steps[name]), folder / name), "folder": folder / name}
        for name, settings in SCENES.items()
    }


def test_healthy(scenes: dict[str, dict[str, Any]]) -> None:
    healthy = scenes["healthy"]
    assert healthy["reconstruction_loss"] < 27.0  # the best that no latent variable reaches is 27.2
    assert 0.5 < healthy["kl_loss"] < 20
    assert healthy["active_units"] >= 2
    total = healthy["mutual_information"] + healthy["aggregate_kl"]
    assert total == pytest.approx(healthy["kl_loss"], rel=0.1)  # of a quarter of the digits


def test_exploding_is_no_collapse(scenes: dict[str, dict[str, Any]]) -> None:
    exploding = scenes["exploding"]
    assert exploding["largest_kl"] > 1000
    assert exploding["reconstruction_loss"] > scenes["healthy"]["reconstruction_loss"]
    assert exploding["reconstruction_at_largest_kl"] > 26
    assert exploding["active_units"] > 0


def test_collapsed(scenes: dict[str, dict[str, Any]]) -> None:
    collapsed = scenes["collapsed"]
    assert collapsed["kl_loss"] < 0.05
    assert collapsed["active_units"] == 0
    assert collapsed["reconstruction_loss"] > 26


def test_metrics_are_written(scenes: dict[str, dict[str, Any]]) -> None:
    for summary in scenes.values():
        folder: Path = summary["folder"]
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == summary["steps"]
        assert {"loss", "reconstruction_loss", "kl_loss", "beta", "active_units", "grad_norm"} <= set(lines[0])
        per_dim = [value for key, value in lines[-1].items() if key.startswith("kl_per_dim/")]
        assert sum(per_dim) == pytest.approx(lines[-1]["kl_loss"], rel=1e-4)
        assert any(path.name.startswith("events.out.tfevents") for path in folder.iterdir())


def test_a_run_repeats_and_its_settings_matter(tmp_path: Path) -> None:
    short = Settings(steps=12, batch_size=16, hidden=16)
    first, again = (run(short, tmp_path / name)["kl_history"] for name in "ab")
    assert first == again
    histories = {tuple(first)}
    changes: dict[str, dict[str, Any]] = {
        "seed": {"seed": 1},
        "mean": {"pixels": "mean"},
        "gaussian": {"likelihood": "gaussian"},
        "fitting": {"likelihood": "gaussian", "scale": None},
        "bounds": {"log_var_bounds": (-0.01, 0.01)},
        "clip": {"gradient_clip": 0.01},
        "warm": {"warmup_steps": 10},
        "free": {"free_bits": 0.5},
        "wide": {"initial_log_var": 2.0},
        "skip": {"skip": True},
        "hidden": {"skip": True, "skip_dropout": 0.5},
    }
    for name, change in changes.items():
        histories.add(tuple(run(replace(short, **change), tmp_path / name)["kl_history"]))
    assert len(histories) == 1 + len(changes)


def test_the_scale_that_fits_best_is_the_root_of_the_mean_squared_error() -> None:
    """No other scale of the batch costs fewer nats."""
    generator = torch.Generator().manual_seed(0)
    model = Autoencoder(Settings(likelihood="gaussian", scale=None))
    x = digits()[:32]
    with torch.no_grad():
        made = model(x, generator)
        best = float(model.loss(x, made, 1.0).reconstruction)
        scale = float((x - made.output).square().mean().sqrt())
        for other in (0.9 * scale, scale, 1.1 * scale):
            model.settings = replace(model.settings, scale=other)
            cost = float(model.loss(x, made, 1.0).reconstruction)
            assert cost == pytest.approx(best, rel=1e-5) if other == scale else cost > best


def test_pixels_that_are_hidden_from_the_decoder() -> None:
    generator = torch.Generator().manual_seed(0)
    x = digits()[:500]
    for share in (0.0, 0.75, 1.0):
        with torch.no_grad():
            made = Autoencoder(Settings(skip=True, skip_dropout=share))(x, generator)
        assert made.past is not None
        seen = made.past[x > 0]
        # Five standard errors of a share.
        assert float((seen == 0).float().mean()) == pytest.approx(share, abs=5 * (0.25 / seen.numel()) ** 0.5)
        assert bool((made.past[made.past > 0] == x[made.past > 0]).all())
    with torch.no_grad():
        assert Autoencoder(Settings())(x, generator).past is None


def test_a_run_that_overflows_stops_and_says_so(tmp_path: Path) -> None:
    summary = run(Settings(steps=30, learning_rate=5.0, hidden=16), tmp_path / "x")
    assert summary["stopped"] is not None
    assert summary["steps"][-1] <= summary["stopped"] < 30
    assert "mutual_information" not in summary


def test_the_command_draws(tmp_path: Path) -> None:
    made = CliRunner().invoke(main, ["--out", str(tmp_path), "--steps", "10", "--scene", "healthy"])
    assert made.exit_code == 0, made.output
    assert "healthy: reconstruction" in made.output
    assert (tmp_path / "vae_digits.png").read_bytes().startswith(b"\x89PNG")
