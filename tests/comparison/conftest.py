"""One table in every form that a table can take."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest


@pytest.fixture
def table():
    """500 rows of every common type, with missing values."""
    rng = np.random.default_rng(11)
    day = dt.date(2024, 1, 1)
    size = 500
    return pa.table(
        {
            "real": pa.array(rng.normal(size=size), mask=rng.random(size) < 0.05),
            "whole": pa.array(rng.poisson(40, size=size)),
            "few": pa.array(rng.integers(1, 5, size=size)),
            "word": pa.array(rng.choice(["red", "green", "blue"], size=size).tolist(), mask=rng.random(size) < 0.1),
            "flag": pa.array(rng.random(size) < 0.3),
            "date": pa.array([day + dt.timedelta(days=int(days)) for days in rng.integers(0, 300, size=size)]),
        }
    )


@pytest.fixture
def moved(table):
    """The same table with its first 200 rows repeated, so that every column has moved a little."""
    return pa.concat_tables([table, table.slice(0, 200)]).combine_chunks()
