"""A series in order: restarts, duplicates, gaps in its values, and the parts one asks for."""

from __future__ import annotations

import numpy as np
import pytest

from dkl.doctor import Series


def replayed(steps: list[float], values: list[float]) -> tuple[list[float], list[float]]:
    """What stands at last, by the definition: each entry deletes what was logged from its step on."""
    kept: list[tuple[float, float]] = []
    for step, value in zip(steps, values, strict=True):
        kept = [(s, v) for s, v in kept if s < step]
        kept.append((step, value))
    return [s for s, _ in kept], [v for _, v in kept]


def test_in_order_against_the_definition() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        steps = np.cumsum(rng.integers(-3, 5, size=rng.integers(1, 40))).astype(float)
        values = rng.normal(size=steps.size)
        series = Series.ordered("kl", steps, values)
        assert (series.steps.tolist(), series.values.tolist()) == replayed(steps.tolist(), values.tolist())
        assert np.all(np.diff(series.steps) > 0)
        assert len(series.restarts) == int((np.diff(steps) < 0).sum())


def test_restarts_and_duplicates_are_counted() -> None:
    series = Series.ordered("kl", [0, 1, 2, 3, 2, 3, 3, 4], [0, 1, 2, 3, 20, 30, 31, 40])
    assert series.values.tolist() == [0, 1, 20, 31, 40]
    assert series.restarts == (2.0,)
    assert series.duplicates == 1


def test_many_restarts_are_quick() -> None:
    """A step that begins anew a hundred thousand times: quadratic work would take minutes."""
    series = Series.ordered("kl", np.tile(np.arange(10.0), 100_000), np.arange(1e6))
    assert series.values.tolist() == list(range(999_990, 1_000_000))


def test_a_step_that_is_nan_is_left_out() -> None:
    series = Series.ordered("kl", [0, np.nan, 2], [1, 2, np.nan])
    assert series.steps.tolist() == [0, 2]
    assert series.first_broken == 2
    assert series.finite.values.tolist() == [1]


def test_empty() -> None:
    series = Series.ordered("kl", [], [])
    assert len(series) == 0
    assert series.first_broken is None
    assert np.isnan(series.at(np.array([1.0]))).all()
    assert len(series.part(0, 1)) == 0


def test_parts() -> None:
    series = Series("kl", np.arange(10.0), np.arange(10.0) ** 2)
    assert series.part(0.9, 1).values.tolist() == [81]
    assert series.part(0, 0.3).steps.tolist() == [0, 1, 2]
    assert len(series.part(0.5, 0.5)) == 1
    assert series.between(2, 4).values.tolist() == [4, 9, 16]
    assert series.at(np.array([-1.0, 0.0, 2.5, 99.0])).tolist()[1:] == [0, 4, 81]
    assert series.first_broken is None


@pytest.mark.parametrize(("steps", "values"), [([0, 1], [1.0]), ([[0]], [[1.0]])])
def test_shapes_must_agree(steps: object, values: object) -> None:
    with pytest.raises(ValueError, match=r"kl: steps of shape .* and values of shape .* must be one axis"):
        Series.ordered("kl", steps, values)
