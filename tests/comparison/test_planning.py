"""Edges: equal frequencies, heavy ties apart, and a sample that no split of the stream can change."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkl.comparison.planning import RowSample, numeric_plan


def coarse(plan):
    return [
        (value, below)
        for value, below, is_coarse in zip(plan.values, plan.below, plan.coarse, strict=True)
        if is_coarse
    ]


def coarse_counts(plan, values):
    counts = plan.count(pa.array(values)).cells
    return np.add.reduceat(counts, np.concatenate([[0], np.flatnonzero(plan.coarse) + 1]))


def test_bins_hold_equally_many_rows_of_the_reference():
    values = np.random.default_rng(0).lognormal(size=32_000)
    counts = coarse_counts(numeric_plan(values, "float64", "real", 32), values)
    assert counts.tolist() == [1000] * 32


def test_a_heavy_tie_has_a_cell_of_its_own():
    rng = np.random.default_rng(0)
    values = np.where(rng.random(10_000) < 0.4, 0.0, rng.normal(size=10_000))
    cuts = coarse(numeric_plan(values, "float64", "real", 32))
    place = cuts.index((0.0, True))
    assert cuts[place + 1] == (0.0, False)


def test_few_values_have_a_cell_each_and_nothing_else_is_occupied():
    months = np.repeat(np.arange(1, 13), 50)
    plan = numeric_plan(months, "int64", "integer", 32)
    counts = coarse_counts(plan, months)
    assert sorted(counts.tolist()) == [0] * 13 + [50] * 12


def test_few_rows_make_few_bins():
    values = np.random.default_rng(0).normal(size=20)
    assert (coarse_counts(numeric_plan(values, "float64", "real", 32), values) >= 5).all()


@pytest.mark.parametrize("values", [[], [np.nan, np.inf], [1.0]])
def test_nothing_to_cut(values):
    assert coarse(numeric_plan(np.array(values), "float64", "real", 32)) == []


def test_cuts_rise_and_keep_their_type():
    plan = numeric_plan(np.array([2**62, 2**62 + 1, -5, 7] * 20), "int64", "integer", 4)
    order = [(value, not below) for value, below in zip(plan.values, plan.below, strict=True)]
    assert order == sorted(set(order))
    assert all(isinstance(value, int) for value in plan.values)
    huge = numeric_plan(np.array([-1.7e308, 0.0, 1.7e308] * 20), "float64", "real", 4)
    assert np.isfinite(huge.values).all()


def sample_of(batches, size):
    sample = RowSample(size, seed=1)
    for batch in batches:
        sample.add(pa.RecordBatch.from_pydict({"x": pa.array(batch, pa.int64())}))
    return sample.column("x").to_pylist()


@given(st.lists(st.integers(0, 300), max_size=8))
def test_the_sample_does_not_depend_on_the_batches(cuts):
    rows = np.arange(300)
    places = sorted(cuts)
    batches = np.split(rows, places)
    assert sorted(sample_of(batches, 40)) == sorted(sample_of([rows], 40))


def test_the_sample_is_the_whole_of_a_short_stream_and_uniform_on_a_long_one():
    assert sample_of([np.arange(10)], 10) == list(range(10))
    rows = np.array(sample_of(np.split(np.arange(20_000), 50), 2000))
    assert len(rows) == 2000
    standard_error = 20_000 / np.sqrt(12 * 2000)
    assert abs(rows.mean() - 10_000) < 4 * standard_error
