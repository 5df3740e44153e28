"""Sentences and charts of letters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dkl.doctor import Evidence, Series
from dkl.doctor.words import at_or_above, chart, shown, summary, unlooked

from .diagnoses import EXPLODING, HEALTHY, UNTOLD, WARNED


def test_the_answer_in_one_sentence() -> None:
    assert summary(EXPLODING) == "Error: explosion by mean drift (almost certain)."
    two = replace(EXPLODING, findings=[EXPLODING.findings[0], *WARNED.findings, EXPLODING.findings[1]])
    assert summary(two) == "Error: explosion by mean drift (almost certain), and 1 further finding."
    assert summary(WARNED) == "Warning: explosion by mean drift (likely)."
    assert summary(HEALTHY).startswith("Healthy: ")
    assert summary(HEALTHY).endswith("was found; 1 more could not be looked for.")
    remarked = replace(HEALTHY, findings=EXPLODING.findings[1:])
    assert summary(remarked).startswith("Healthy, with 1 remark: ")
    assert summary(UNTOLD) == "Cannot tell: What is trained cannot be told from x; say kind=."
    short = replace(HEALTHY, status="cannot tell", notes=["x", "Nothing can be told without kl: log it."])
    assert summary(short) == "Cannot tell: Nothing can be told without kl: log it."


def test_what_is_at_or_above() -> None:
    assert [at_or_above(EXPLODING, s) for s in ("warning", "error")] == [True, True]
    assert [at_or_above(WARNED, s) for s in ("warning", "error")] == [True, False]
    assert [at_or_above(HEALTHY, s) for s in ("warning", "error")] == [False, False]


def test_what_could_not_be_looked_for_is_told_together() -> None:
    first, second = unlooked(EXPLODING)
    assert first == (
        "posterior collapse, a decoder that ignores z",
        "log mu_squared (the mean over the batch of Σ μ²)",
    )
    assert second == ("another", "log beta (the weight of the KL in the loss); novel")


def _series(values: list[float]) -> Series:
    return Series("x", np.arange(float(len(values))), np.array(values))


def test_what_stays_at_a_value_is_not_drawn() -> None:
    moves, stays, single = _series([1.0, 2.0, np.nan]), _series([2.0, 2.0, np.inf]), _series([1.0])
    assert shown(Evidence("", (moves, stays, single))) == (moves,)


def test_a_chart_of_several_lines() -> None:
    made = chart(_series([0.0, 1.0, 2.0, 3.0]), width=10, height=2, steps=(1.0, 2.0))
    assert made.lines == ["  ▃█", "▁▆██"]
    assert (made.low, made.high, made.logarithmic, made.span, made.broken) == (0.0, 3.0, False, (1, 2), False)


def test_a_chart_keeps_its_width_its_peaks_and_what_is_broken() -> None:
    values = np.ones(10_000)
    values[5_555], values[7_777] = 50.0, np.inf
    made = chart(Series("x", np.arange(10_000.0), values), width=20, steps=(9_000.0, 9_999.0))
    assert made.lines == ["▁▁▁▁▁▁▁▁▁▁▁█▁▁▁×▁▁▁▁"]
    assert made.broken
    assert made.span is not None
    assert made.span[0] in (17, 18)
    assert made.span[1] == 19


def test_a_chart_is_logarithmic_where_values_span_much() -> None:
    made = chart(_series([1.0, 10.0, 100.0]), width=5)
    assert made.logarithmic
    assert made.lines == ["▁▄█"] or made.lines == ["▁▅█"]


@pytest.mark.parametrize("values", [[1.0, 1.0], [-1.7e308, 1.7e308], [5e-324, 1e300], [0.0, np.nan], [3.0]])
def test_a_chart_of_any_numbers(values: list[float]) -> None:
    made = chart(_series(values), width=8, height=3)
    assert len(made.lines) == 3
    assert all(len(line) == len(values) for line in made.lines)


def test_a_gap_repeats_what_was_logged_last() -> None:
    series = Series("x", np.array([0.0, 1.0, 2.0, 98.0, 99.0, 100.0]), np.array([1.0, 1.0, 1.0, 5.0, 5.0, 5.0]))
    assert chart(series, width=4).lines == ["▁▁▁█"]


def test_noise_is_drawn_by_its_middle() -> None:
    values = np.random.default_rng(0).normal(10.0, 1.0, size=20_000)
    made = chart(Series("x", np.arange(20_000.0), values), width=10)
    # But for the two letters with the least and the greatest of all.
    assert (made.low, made.high) == (values.min(), values.max())
    assert sorted(made.lines[0]) == sorted("▁▅▅▅▅▅▅▅▅█")
    trend = chart(Series("x", np.arange(20_000.0), values + np.arange(20_000.0, 40_000.0)), width=8)
    assert trend.lines == ["▁▂▃▄▅▆▇█"]


def test_the_numbers_of_a_thinned_chart_are_those_of_the_whole_series() -> None:
    # Noise whose ends stand out of nothing, so that medians alone would lose them.
    values = np.random.default_rng(0).uniform(-1.0, 1.0, 5_000)
    made = chart(Series("x", np.arange(5_000.0), values), width=20, height=3)
    assert (made.low, made.high) == (values.min(), values.max())
    least, greatest = (int(at(values)) * 20 // 5_000 for at in (np.argmin, np.argmax))
    assert least != greatest
    assert [line[greatest] for line in made.lines] == ["█", "█", "█"]
    assert [line[least] for line in made.lines] == [" ", " ", "▁"]
    both = chart(Series("x", np.arange(40.0), np.array([*[0.0] * 19, 5.0, -5.0, *[0.0] * 19])), width=2)
    assert (both.low, both.high) == (-5.0, 5.0)
