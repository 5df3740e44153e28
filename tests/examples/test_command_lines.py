"""What the examples' command lines refuse, before a folder is made, and what they say of one that is taken."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from examples import distil_digits, gan_gaussians, linear_vae, ppo_cartpole, token_policy, vae_digits
from examples.recording import Recorder

STEPS = {
    distil_digits.main: "--steps",
    gan_gaussians.main: "--steps",
    linear_vae.main: "--steps",
    ppo_cartpole.main: "--iterations",
    token_policy.main: "--iterations",
    vae_digits.main: "--steps",
}
REFUSED = [
    *((main, option, bad) for main, option in STEPS.items() for bad in ("0", "-3")),
    *((main, "--seed", bad) for main in STEPS for bad in ("-1", "99999999999999999999")),
    *((distil_digits.main, "--temperature", bad) for bad in ("0", "nan", "inf", "-1")),
    *((linear_vae.main, "--beta", bad) for bad in ("0", "nan", "inf", "-1")),
    *((gan_gaussians.main, "--start", bad) for bad in ("0", "0.5", "nan", "inf", "1e300")),
]


@pytest.mark.parametrize(("main", "option", "bad"), REFUSED)
def test_a_bad_value_is_refused_before_a_folder_is_made(
    main: click.Command, option: str, bad: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    made = CliRunner().invoke(main, ["--out", str(out), option, bad])
    assert made.exit_code == 2
    assert f"Invalid value for '{option}'" in made.output
    assert not out.exists()


@pytest.mark.parametrize(
    ("main", "folder", "options"),
    [
        (distil_digits.main, next(iter(distil_digits.STUDENTS)), ["--steps", "1"]),
        (gan_gaussians.main, "", ["--steps", "1"]),
        (linear_vae.main, "beta_2", ["--beta", "2", "--steps", "1"]),
        (ppo_cartpole.main, "", ["--iterations", "1"]),
        (token_policy.main, "", ["--iterations", "1"]),
        (vae_digits.main, "healthy", ["--scene", "healthy", "--steps", "1"]),
    ],
)
def test_a_folder_that_holds_a_run_is_said_to(
    main: click.Command, folder: str, options: list[str], tmp_path: Path
) -> None:
    with Recorder(tmp_path / folder):
        pass
    made = CliRunner().invoke(main, ["--out", str(tmp_path), *options])
    assert made.exit_code == 1
    assert made.output.startswith("Error: ")
    assert "holds a run already: choose another folder" in made.output
