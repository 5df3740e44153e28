"""The example of two Gaussians, shortened: what it says of JS, Wasserstein and the three games must hold."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from scipy import integrate, stats

from examples.gan_gaussians import GAMES, Settings, exact, main, run

SHORT = Settings(places=2, judge_steps=60, steps=15, judge_steps_each=2, batch=64, evaluation_batch=1024, width=16)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks as small as these are made a hundred times slower by threads that share their cores with others."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, float], Path]:
    out = tmp_path_factory.mktemp("gan") / "run"
    return run(SHORT, out), out


def test_the_gradient_vanishes_where_js_is_flat(finished: tuple[dict[str, float], Path]) -> None:
    summary, _ = finished
    assert math.log(2) - 2e-4 < summary["js"] < math.log(2)
    assert summary["js_bound"] <= summary["js"] + 0.02
    assert abs(summary["js_slope"]) < 1e-3
    assert abs(summary["saturating_slope"]) < 0.1 * abs(summary["non_saturating_slope"])
    assert abs(summary["saturating_slope"]) < 0.1 * abs(summary["wasserstein_slope"])


def test_the_cures_move_the_generator_and_the_game_as_written_does_not(
    finished: tuple[dict[str, float], Path],
) -> None:
    summary, _ = finished
    moved = {kind: SHORT.start - summary[f"{kind}_mean"] for kind in GAMES}
    assert moved["wasserstein"] > 0.2
    assert moved["non_saturating"] > 0.2
    assert abs(moved["saturating"]) < 0.1 * moved["wasserstein"]


def test_what_is_written(finished: tuple[dict[str, float], Path]) -> None:
    _, out = finished
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == SHORT.places + len(GAMES) * SHORT.steps
    assert {"survey/js", "survey/js_bound", "survey/wasserstein_estimate"} < set(lines[0])
    assert {"wasserstein/critic_loss", "wasserstein/generator_gradient", "wasserstein/mean"} < set(lines[-1])
    assert (out / "gan_gaussians.png").read_bytes().startswith(b"\x89PNG")
    assert list(out.glob("events.out.tfevents.*"))


def test_it_runs_alike_from_one_seed(finished: tuple[dict[str, float], Path], tmp_path: Path) -> None:
    again = run(SHORT, tmp_path)
    assert again == finished[0]


def test_the_exact_js_and_its_slope() -> None:
    """By SciPy's quadrature, and by a difference of two of them."""
    p = stats.norm(0, 1.5)

    def js(mean: float) -> float:
        q = stats.norm(mean, 1.5)

        def term(x: float) -> float:
            a, b = p.pdf(x), q.pdf(x)
            m = (a + b) / 2
            return float(0.5 * (a * math.log(a / m) + b * math.log(b / m)))

        return float(integrate.quad(term, -15, 20, epsabs=1e-14, limit=200)[0])

    value, slope = exact(3.0, 1.5)
    assert value == pytest.approx(js(3.0), rel=1e-9)
    assert slope == pytest.approx(2 * (js(3.01) - js(2.99)) / 0.02, rel=1e-4)


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = {
        **dict.fromkeys(("js", "js_bound", "js_slope", "saturating_slope", "non_saturating_slope"), 0.5),
        **dict.fromkeys(("wasserstein_slope", "wasserstein_error", *(f"{kind}_mean" for kind in GAMES)), 0.25),
    }
    asked: list[Settings] = []
    monkeypatch.setattr("examples.gan_gaussians.run", lambda settings, out: asked.append(settings) or summary)
    result = CliRunner().invoke(main, ["--out", str(tmp_path), "--seed", "3", "--start", "5", "--steps", "7"])
    assert result.exit_code == 0, result.output
    assert asked == [Settings(seed=3, start=5.0, steps=7)]
    assert "After 7 steps of gradient descent from 5, Q's mean is: saturating 0.25" in result.output
