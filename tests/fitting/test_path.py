"""The path over α: branches, and the α at which the best optimum jumps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dkl
from dkl.families import MultivariateNormal, Normal

TWO = dkl.Mixture(Normal([-3.0, 3.0], [1.0, 1.0]), [0.5, 0.5])


@pytest.fixture(scope="module")
def path() -> Any:
    return dkl.fit(Normal, TWO, dkl.reverse_kl, starts=4).path([0.2, 0.0, 0.5])


def test_the_best_optimum_jumps_at_its_alpha(path: Any) -> None:
    (jump,) = path.jumps
    assert jump.alpha == pytest.approx(0.114896, abs=5e-7)
    assert abs(float(jump.before.loc)) == pytest.approx(2.98, abs=0.01)
    assert float(jump.after.loc) == pytest.approx(0.0, abs=1e-6)
    # Both are equally good there, by another way.
    for member in (jump.before, jump.after):
        assert float(dkl.measure(TWO, member, dkl.Alpha(jump.alpha))) == pytest.approx(jump.value, rel=1e-8)


def test_every_branch_is_followed(path: Any) -> None:
    assert path.alphas == (0.0, 0.2, 0.5)
    assert [len(optima) for optima in path.optima] == [3, 3, 1]
    assert [round(o.value, 6) for o in path.optima[0]] == [0.688769, 0.688769, 0.840621]
    assert "at α = 0.114896" in repr(path)
    assert path.to_dict()["jumps"][0]["alpha"] == path.jumps[0].alpha


def test_a_path_without_a_jump() -> None:
    path = dkl.fit(Normal, Normal(1.0, 2.0), starts=1).path(np.linspace(0.0, 1.0, 2))
    assert path.jumps == ()
    assert "no jump" in repr(path)


@pytest.mark.parametrize("alphas", [[], [0.5], [0.5, 0.5], [0.0, float("inf")]])
def test_alphas_must_be_two_numbers_at_least(alphas: list[float]) -> None:
    with pytest.raises(ValueError, match="alphas must be two different finite numbers at least"):
        dkl.fit(Normal, TWO).path(alphas)


def test_high_dimensions_have_no_path() -> None:
    target = MultivariateNormal(np.zeros(3), np.eye(3))
    with pytest.raises(ValueError, match="needs direct minimisation"):
        dkl.fit(MultivariateNormal, target).path([0.0, 1.0])


def test_progress_is_told() -> None:
    seen: list[tuple[int, int]] = []
    dkl.fit(Normal, Normal(1.0, 2.0), starts=1).path([0.0, 1.0], progress=lambda *x: seen.append(x))
    assert seen[-1] == (4, 4)
