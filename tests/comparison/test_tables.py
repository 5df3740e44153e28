"""The kernel's laws: states add up to counting at once, whatever the split, the order, the type or the encoding."""

import datetime as dt
import decimal
from functools import reduce
from operator import add

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkl.methods.tables import (
    CategoricalPlan,
    NumericPlan,
    UnmeasurableTypeError,
    count,
    domain,
    family,
    numbers,
    zero,
)

REALS = NumericPlan("float64", (-1.0, 0.0, 0.0, 2.5), (False, True, False, False), (True,) * 4)
INTEGERS = NumericPlan("int64", (-1, 0, 0, 2), (False, True, False, False), (True,) * 4)

reals = st.one_of(st.none(), st.floats(width=64), st.sampled_from([-1.0, -0.0, 0.0, 2.5, 2.5000000000000004]))
integers = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(-3, 4))
texts = st.one_of(st.none(), st.sampled_from(list("abcdefgh")), st.text(max_size=2))


def split(values, cuts):
    places = sorted(cut % (len(values) + 1) for cut in cuts)
    return [values[i:j] for i, j in zip([0, *places], [*places, len(values)], strict=True)]


def check_laws(plan, arrow_type, values, cuts):
    parts = [plan.count(pa.array(part, arrow_type)) for part in split(values, cuts)]
    whole = plan.count(pa.array(values, arrow_type))
    assert reduce(add, parts, plan.zero()) == whole
    assert reduce(add, reversed(parts), plan.zero()) == whole
    assert parts[0] + (parts[1] + parts[2]) == (parts[0] + parts[1]) + parts[2]
    assert whole.rows == len(values)


@given(st.lists(reals), st.lists(st.integers(0, 100), min_size=2, max_size=2))
def test_numeric_states_add_up(values, cuts):
    check_laws(REALS, pa.float64(), values, cuts)


@given(st.lists(integers), st.lists(st.integers(0, 100), min_size=2, max_size=2))
def test_integer_states_add_up(values, cuts):
    check_laws(INTEGERS, pa.int64(), values, cuts)


@given(st.lists(texts), st.lists(st.integers(0, 100), min_size=2, max_size=2), st.integers(0, 5))
@settings(max_examples=200)
def test_categorical_states_add_up_beyond_their_capacity(values, cuts, capacity):
    check_laws(CategoricalPlan(frozenset("ab"), capacity), pa.string(), values, cuts)


@given(st.lists(reals))
def test_numeric_cells_are_what_their_cuts_say(values):
    state = REALS.count(pa.array(values, pa.float64()))
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    finite = known[np.isfinite(known)]
    expected = [
        (finite <= -1).sum(),
        ((finite > -1) & (finite < 0)).sum(),
        (finite == 0).sum(),
        ((finite > 0) & (finite <= 2.5)).sum(),
        (finite > 2.5).sum(),
    ]
    assert state.cells.tolist() == expected
    assert state.null == values.count(None)
    assert state.nan == np.isnan(known).sum()
    assert (state.positive_infinity, state.negative_infinity) == ((known == np.inf).sum(), (known == -np.inf).sum())
    assert (state.minimum, state.maximum) == ((finite.min(), finite.max()) if len(finite) else (None, None))


def test_integers_beyond_double_precision_are_told_apart():
    big = 2**53
    plan = NumericPlan("int64", (big, big + 1, big + 1), (False, True, False), (True,) * 3)
    assert plan.count(pa.array([big, big + 1, big + 1, big + 2])).cells.tolist() == [1, 0, 2, 1]
    top = 2**64 - 1
    plan = NumericPlan("uint64", (top - 1,), (False,), (True,))
    assert plan.count(pa.array([top - 1, top, 0], pa.uint64())).cells.tolist() == [2, 1]


def test_signed_and_unsigned_meet_without_wrapping():
    signed = NumericPlan("int64", (0,), (False,), (True,))
    assert signed.count(pa.array([2**64 - 1, 0], pa.uint64())).cells.tolist() == [1, 1]
    unsigned = NumericPlan("uint64", (0,), (False,), (True,))
    assert unsigned.count(pa.array([-5, 7], pa.int64())).cells.tolist() == [1, 1]


def test_reals_among_integer_cells_fall_between_them():
    assert INTEGERS.count(pa.array([-0.5, 0.0, 0.5, np.nan])).cells.tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("array", "kind", "expected"),
    [
        (pa.array([1, None], pa.int8()), "integer", [1]),
        (pa.array([1, 2], pa.uint32()), "integer", [1, 2]),
        (pa.array([1.5], pa.float16()), "real", [1.5]),
        (pa.array([1.5], pa.float32()), "real", [1.5]),
        (pa.array([decimal.Decimal("1.50")], pa.decimal128(5, 2)), "real", [1.5]),
        (pa.array([decimal.Decimal("-2.5")], pa.decimal256(50, 2)), "real", [-2.5]),
        (pa.array([dt.date(1970, 1, 2)]), "temporal", [86_400_000_000]),
        (pa.array([dt.datetime(1970, 1, 1, 0, 0, 1)], pa.timestamp("ns")), "temporal", [1_000_000]),
        (pa.array([dt.datetime(1970, 1, 1, 0, 0, 1)], pa.timestamp("s", tz="UTC")), "temporal", [1_000_000]),
        (pa.array([dt.time(0, 0, 2)], pa.time32("s")), "time", [2_000_000]),
        (pa.array([dt.timedelta(seconds=3)], pa.duration("ms")), "duration", [3_000_000]),
        (pa.array([7, 7, None]).dictionary_encode(), "integer", [7, 7]),
        (pa.nulls(2), "null", []),
    ],
)
def test_every_numeric_type_becomes_numbers(array, kind, expected):
    assert family(array.type) == kind
    found = numbers(array)
    assert found.tolist() == expected
    if kind != "null":
        assert found.dtype == domain(array.type)


@pytest.mark.parametrize(
    "array",
    [
        pa.array(["a", "b", None, "a"]),
        pa.array(["a", "b", None, "a"], pa.large_string()),
        pa.array(["a", "b", None, "a"]).cast(pa.string_view()),
        pa.array(["a", "b", None, "a"]).dictionary_encode(),
        pa.DictionaryArray.from_arrays([0, 1, 3, 2], ["a", "b", "a", None]),
    ],
    ids=lambda array: str(array.type),
)
def test_every_encoding_of_text_counts_alike(array):
    state = CategoricalPlan().count(array)
    assert (dict(state.counts), state.null) == ({"a": 2, "b": 1}, 1)


def test_booleans_are_values():
    assert CategoricalPlan().count(pa.array([True, False, True])).counts == {"true": 2, "false": 1}


@pytest.mark.parametrize("arrow_type", [pa.list_(pa.int8()), pa.struct({"a": pa.int8()}), pa.binary()], ids=str)
def test_types_without_cells_are_refused_with_the_reason(arrow_type):
    with pytest.raises(UnmeasurableTypeError, match="no cells to count"):
        family(arrow_type)


def test_pinned_values_survive_any_number_of_others():
    plan = CategoricalPlan(frozenset({"kept"}), capacity=3)
    values = ["kept"] * 5 + [f"value {i}" for i in range(100)]
    state = plan.count(pa.array(values[:50])) + plan.count(pa.array(values[50:]))
    assert state.counts["kept"] == 5
    assert len(state.counts) <= 4
    assert state.overflow == 101 - len(state.counts)
    assert state.rows == 105


def test_a_table_with_chunks_counts_like_its_batches():
    table = pa.table({"x": pa.chunked_array([[1.0, None], [3.0]]), "s": pa.chunked_array([["a"], ["b", "a"]])})
    plans = {"x": REALS, "s": CategoricalPlan()}
    batches = [count(batch, plans) for batch in table.to_batches()]
    assert reduce(add, batches, zero(plans)) == count(table, plans)
