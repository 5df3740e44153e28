"""What a comparison says of columns whose difference is known."""

import datetime as dt
import json
import math

import numpy as np
import pyarrow as pa
import pytest
from scipy import integrate, stats

import dkl
from dkl.comparison import DataError, compare


def cells(column):
    return {cell.label: (cell.reference, cell.current) for cell in column.cells}


def strict_json(found):
    return json.loads(json.dumps(found.to_dict(), allow_nan=False))


def test_js_of_two_log_normals_by_reference_quantiles():
    p, q = stats.lognorm(1.0), stats.lognorm(0.8, scale=math.exp(0.5))

    def integrand(z):
        x = math.exp(z)
        a, b = p.pdf(x) * x, q.pdf(x) * x
        return (a * math.log(2 * a / (a + b)) + b * math.log(2 * b / (a + b))) / 2

    truth = integrate.quad(integrand, -8, 8, limit=200)[0]
    rng = np.random.default_rng(0)
    sides = ({"x": one.rvs(400_000, random_state=rng)} for one in (p, q))
    found = compare(*sides)["x"].js
    assert found.value == pytest.approx(truth, rel=0.03)
    assert found.bits == pytest.approx(truth / math.log(2), rel=0.03)


def test_an_outlier_does_not_hide_a_shift():
    rng = np.random.default_rng(0)
    reference, current = rng.normal(size=5000), rng.normal(3.0, size=5000)
    reference[0] = 1e6
    low, high = min(reference.min(), current.min()), max(reference.max(), current.max())
    equal_width = [np.histogram(side, 32, (low, high))[0] for side in (reference, current)]
    assert dkl.js(*map(dkl.Counts, equal_width)) < 1e-3  # what bins of equal width over both sides make of it
    column = compare({"x": reference}, {"x": current})["x"]
    assert column.verdict.word == "different"
    assert column.js.value > 0.3


def test_no_difference_between_halves_of_one_table():
    rng = np.random.default_rng(1)
    columns = {f"x{i}": rng.normal(size=20_000) for i in range(5)} | {"s": rng.choice(list("abcdef"), size=20_000)}
    halves = [
        {name: values[part] for name, values in columns.items()} for part in (slice(None, None, 2), slice(1, None, 2))
    ]
    assert {column.verdict.word for column in compare(*halves).columns} == {"no_difference_found"}


def test_an_infinite_kl_names_the_unseen_and_their_mass():
    found = compare({"c": ["a"] * 50 + ["b"] * 50}, {"c": ["a"] * 50 + ["new"] * 25 + ["newer"] * 25})
    column = found["c"]
    backward, forward = column.kl_current_reference, column.kl_reference_current
    assert backward.value == math.inf
    assert backward.reason == "the reference has no row in 2 cells that hold 50 % of the current data: new, newer"
    assert forward.reason == "the current data has no row in 1 cell that holds 50 % of the reference: b"
    expected = dkl.reverse_kl(dkl.Counts([50.5, 50.5, 0.5, 0.5]), dkl.Counts([50.5, 0.5, 25.5, 25.5]))
    assert backward.smoothed == pytest.approx(float(expected))
    assert "pseudo-count 1/2" in backward.smoothing
    assert backward.interval is None
    assert backward.lower == math.inf
    assert found.exceeding(100.0, "kl_current_reference") == ("c",)
    dumped = strict_json(found)["columns"][0]["measured"]["kl_current_reference"]
    assert (dumped["value"], dumped["status"], dumped["reason"]) == (None, "infinite", backward.reason)


def test_values_agree_with_the_core_on_the_same_counts():
    rng = np.random.default_rng(0)
    column = compare({"c": rng.choice(list("abc"), 500)}, {"c": rng.choice(list("abc"), 900, p=[0.5, 0.3, 0.2])})["c"]
    before = dkl.Counts([cell.reference for cell in column.cells])
    after = dkl.Counts([cell.current for cell in column.cells])
    for key, divergence in (("js", dkl.js), ("kl_reference_current", dkl.kl), ("tv", dkl.tv)):
        assert getattr(column, key).value == float(divergence(before, after))
    assert column.kl_current_reference.value == float(dkl.kl(after, before))
    assert sum(abs(cell.contribution) for cell in column.cells) == pytest.approx(column.js.value)
    for cell in column.cells:
        assert (cell.contribution > 0) == (cell.current_share > cell.reference_share)
    assert column.js.bias == pytest.approx(2 / 2 * (1 / 500 + 1 / 900) / 4)
    assert column.js.debiased == column.js.value - column.js.bias


def test_missing_values_are_cells_and_count_as_drift():
    x = np.linspace(0, 1, 200)
    current = x.copy()
    current[:40] = np.nan
    current[40:50] = np.inf
    current[50:55] = -np.inf
    found = compare({"x": pa.array(x)}, {"x": pa.array([None] * 20 + current.tolist())})["x"]
    counted = cells(found)
    assert (counted["null"], counted["NaN"], counted["+inf"], counted["-inf"]) == ((0, 20), (0, 40), (0, 10), (0, 5))
    assert found.verdict.word == "different"
    assert "NaN" in found.kl_current_reference.reason
    assert not {"null", "NaN", "+inf", "-inf"} & set(cells(compare({"x": x}, {"x": x})["x"]))


def test_few_values_are_labelled_plainly():
    months = np.repeat(np.arange(1, 5), 30)
    found = compare({"m": months}, {"m": np.append(months, 9)})["m"]
    assert cells(found) == {"1": (30, 30), "2": (30, 30), "3": (30, 30), "4": (30, 30), "(4, inf)": (0, 1)}
    assert cells(compare({"m": months.astype(float)}, {"m": months})["m"])["3"] == (30, 30)


def test_integers_and_reals_are_both_numbers():
    found = compare({"x": np.arange(100)}, {"x": np.arange(100) + 0.0})["x"]
    assert found.js.value == 0
    assert any("double precision" in note for note in found.notes)


def test_integers_beyond_double_precision():
    big = 2**60
    found = compare({"x": np.repeat([big, big + 1], 50)}, {"x": np.repeat([big, big + 1], [80, 20])})["x"]
    assert cells(found) == {str(big): (50, 80), str(big + 1): (50, 20)}
    assert found.wasserstein.value == pytest.approx(0.3)


def test_dates_and_times():
    day = dt.date(2024, 1, 1)
    few = [day + dt.timedelta(days=i % 3) for i in range(60)]
    many = [day + dt.timedelta(days=i) for i in range(200)]
    assert cells(compare({"d": few}, {"d": few})["d"]) == {f"2024-01-0{i}": (20, 20) for i in (1, 2, 3)}
    later = [one + dt.timedelta(days=10) for one in many]
    found = compare({"d": many}, {"d": later})["d"]
    assert found.kind == "temporal"
    assert found.cells[0].label.startswith("(-inf, 2024-01-")
    assert found.wasserstein.unit == "days"
    assert abs(found.wasserstein.value - 10) <= found.wasserstein.resolution
    stamps = [dt.datetime(2024, 1, 1, 12), dt.datetime(2024, 1, 2)] * 20
    assert set(cells(compare({"t": stamps}, {"t": stamps})["t"])) == {"2024-01-01T12:00:00", "2024-01-02T00:00:00"}
    assert compare({"d": many}, {"d": [dt.datetime(2024, 1, 5)] * 10})["d"].status == "measured"
    times = [dt.time(1, 2, 3), dt.time(23)] * 20
    assert set(cells(compare({"t": times}, {"t": times})["t"])) == {"01:02:03", "23:00:00"}
    waits = [dt.timedelta(seconds=1.5)] * 10
    assert set(cells(compare({"t": waits}, {"t": waits})["t"])) <= {"1.5 s", "(-inf, inf)"}


def test_booleans_and_dictionary_columns():
    found = compare(
        {"b": [True, False] * 10, "d": pa.array(["x", "y"] * 10).dictionary_encode()},
        {"b": [True] * 20, "d": pa.array(["y", "x"] * 10)},
    )
    assert cells(found["b"]) == {"false": (10, 0), "true": (10, 20)}
    assert found["d"].js.value == 0


def test_rare_categories_share_a_cell_and_unseen_ones_do_not_hide_in_it():
    reference = ["a"] * 100 + ["b"] * 50 + [f"rare {i}" for i in range(30)]
    current = ["a"] * 100 + ["rare 1"] * 5 + ["unseen 1"] * 7 + [f"unseen {i}" for i in range(2, 5)]
    found = compare({"c": reference}, {"c": current}, max_categories=3)["c"]
    assert cells(found) == {
        "a": (100, 100),
        "b": (50, 0),
        "unseen 1": (0, 7),
        "OTHER": (30, 5),
        "UNSEEN (3 further values)": (0, 3),
    }
    assert found.kl_current_reference.value == math.inf
    assert any("OTHER holds 30" in note for note in found.notes)


@pytest.mark.parametrize("distinct", [3000, 10**9])
def test_chance_among_very_many_values_is_no_difference(distinct):
    rng = np.random.default_rng(4)
    p_values = []
    for _ in range(20):
        sides = [{"c": rng.integers(0, distinct, size=10_000).astype(str)} for _ in range(2)]
        p_values.append(compare(*sides, resamples=100)["c"].test.p_value)
    assert min(p_values) > 0.001
    moved = {"c": np.where(rng.random(10_000) < 0.02, "7", rng.integers(0, distinct, size=10_000).astype(str))}
    assert compare(sides[0], moved, resamples=100)["c"].test.p_value < 1e-4


def test_more_distinct_values_than_are_remembered(monkeypatch):
    from dkl.methods import tables

    monkeypatch.setattr(tables.CategoricalPlan.__init__, "__defaults__", (frozenset(), 50))
    rng = np.random.default_rng(0)
    many = ["often"] * 500 + [f"id {i}" for i in rng.permutation(1000)]
    more = ["often"] * 400 + [f"new {i}" for i in range(1000)]
    found = compare({"c": many}, {"c": more}, max_categories=5)["c"]
    assert cells(found)["often"] == (500, 400)
    assert sum(cell.reference for cell in found.cells) == 1500
    assert sum(cell.current for cell in found.cells) == 1400
    assert any("cannot be told from its rare ones" in note for note in found.notes)
    found = compare({"c": ["often"] * 500}, {"c": more})["c"]
    assert cells(found)["often"] == (500, 400)
    assert sum(cell.current for cell in found.cells if cell.reference == 0) == 1000
    assert found.kl_current_reference.value == math.inf


def test_columns_that_cannot_be_compared_say_why():
    reference = {"both": [1.0, 2.0], "left": [1, 2], "type": ["a", "b"], "list": [[1], [2]], "flag": [True, False]}
    current = {"both": [1.0, 2.0], "right": [1, 2], "type": [1, 2], "list": [[1], [2]], "flag": [1, 0]}
    found = compare(reference, current)
    status = {column.name: column.status for column in found.columns}
    assert status == {
        "both": "measured",
        "left": "only_in_reference",
        "type": "type_mismatch",
        "list": "not_measurable",
        "flag": "type_mismatch",
        "right": "only_in_current",
    }
    assert "text (string) in the reference and integer (int64)" in found["type"].verdict.sentence
    assert "list<" in found["list"].verdict.sentence
    assert len(found.unmeasured) == 5
    assert all(name in str(found) for name in status)
    strict_json(found)
    assert [column.name for column in compare(reference, current, columns=["both"]).columns] == ["both"]


@pytest.mark.parametrize("values", [[1.5, 2.5], ["a", "b"], [True, False], [1, 2]], ids=str)
def test_columns_of_nulls(values):
    nulls = {"x": pa.nulls(3)}
    found = compare(nulls, {"x": values})["x"]
    assert any("null in the reference" in note for note in found.notes)
    assert cells(found)["null"] == (3, 0)
    assert found.js.value == pytest.approx(math.log(2))
    found = compare({"x": values}, {"x": pa.array([None, None], pa.array(values).type)})["x"]
    assert any("null in the current data" in note for note in found.notes)
    both = compare(nulls, nulls)["x"]
    assert (both.js.value, both.test.p_value, both.test.method) == (0, 1, "one value only")


def test_one_row():
    found = compare({"x": [1.0], "s": ["a"]}, {"x": [1.0], "s": ["b"]})
    assert found["x"].verdict.word == "no_difference_found"
    assert found["s"].verdict.word == "no_difference_found"
    assert found["s"].js.value == pytest.approx(math.log(2))


@pytest.mark.parametrize("shift", [0.0, 0.3, 5.0, 1000.0])
@pytest.mark.parametrize("draw", ["normal", "lognormal", "whole"])
def test_wasserstein_lies_within_its_resolution(shift, draw):
    rng = np.random.default_rng(3)
    make = {
        "normal": lambda size: rng.normal(size=size),
        "lognormal": lambda size: rng.lognormal(0, 1.5, size=size),
        "whole": lambda size: rng.poisson(400, size=size).astype(np.int64),
    }[draw]
    reference, current = make(20_000), make(15_000) + (round(shift) if draw == "whole" else shift)
    found = compare({"x": reference}, {"x": current})["x"].wasserstein
    truth = stats.wasserstein_distance(reference, current)
    assert abs(found.value - truth) <= found.resolution
    assert found.resolution <= 0.1 * truth + 0.1 * reference.std()


def test_verdicts_separate_different_from_different_enough():
    rng = np.random.default_rng(0)
    reference, current = rng.normal(size=50_000), rng.normal(0.1, size=50_000)
    words = {
        ignore: compare({"x": reference}, {"x": current}, ignore_below=ignore)["x"].verdict.word
        for ignore in (0.0, 0.00124, 0.1)
    }
    assert words == {0.0: "different", 0.00124: "cannot_tell", 0.1: "below_threshold"}
    assert compare({"x": reference}, {"x": reference[::-1]})["x"].verdict.word == "no_difference_found"


def test_equal_seeds_give_equal_answers_and_columns_do_not_depend_on_one_another():
    rng = np.random.default_rng(0)
    reference, current = ({name: rng.normal(size=300) for name in "abc"} for _ in range(2))
    one, two = compare(reference, current), compare(reference, current)
    assert one.to_dict() == two.to_dict()
    alone = compare(reference, current, columns=["b"])["b"]
    assert alone.js == one["b"].js
    assert alone.test.p_value == one["b"].test.p_value
    assert compare(reference, current, seed=1)["b"].js.interval != one["b"].js.interval


def test_batches_and_sample_do_not_change_the_answer(monkeypatch):
    from dkl.comparison import memory, planning, scan

    rng = np.random.default_rng(0)
    sides = [{"x": rng.normal(size=3000), "s": rng.choice(list("abc"), size=3000)} for _ in range(2)]
    monkeypatch.setattr(scan, "SAMPLE_ROWS", 500)
    whole = compare(*sides).to_dict()
    monkeypatch.setattr(memory, "BATCH_ROWS", 70)
    assert compare(*sides).to_dict() == whole
    assert planning.SAMPLE_ROWS == 100_000


def test_lookup_and_text():
    found = compare({"x": [1.0, 2.0] * 20, "y": list("ab") * 20}, {"x": [1.0, 2.0] * 20, "y": list("ac") * 20})
    assert found["y"] is found.columns[1]
    assert [column.name for column in found] == ["x", "y"]
    with pytest.raises(KeyError, match="'z'"):
        found["z"]
    assert "1 different" in repr(found)
    assert "KL(reference || current) is infinite" in str(found["y"])
    assert [cell.label for cell in found["y"].top(1)] == ["b"]
    assert found.exceeding(0.1) == ("y",)


def test_the_settings_are_in_the_json():
    dumped = strict_json(compare({"x": [1.0] * 9}, {"x": [1.0] * 9}, bins=8, seed=5, ignore_below=0.01))
    assert dumped["schema_version"] == 1
    assert dumped["dkl_version"] == dkl.__version__
    assert dumped["seed"] == 5
    assert (dumped["settings"]["bins"], dumped["settings"]["ignore_below"]) == (8, 0.01)
    assert set(dumped["directions"]) >= set(dumped["columns"][0]["measured"])


def test_no_column_in_common():
    with pytest.raises(DataError, match="no column in common: a against b"):
        compare({"a": [1]}, {"b": [1]})
