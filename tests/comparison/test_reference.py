"""A saved reference gives the identical answer, is written whole or not at all, and is read with suspicion."""

import json
import os

import numpy as np
import pytest

from dkl.comparison import DataError, compare, read_reference, save_reference
from dkl.comparison import reference as reference_module


def rid(found):
    result = found.to_dict()
    del result["reference"]
    return result


def test_the_saved_reference_gives_the_identical_answer(table, moved, tmp_path):
    path = tmp_path / "ref.json"
    state = save_reference(table, path)
    expected = rid(compare(table, moved))
    assert rid(compare(str(path), moved)) == expected
    assert rid(compare(state, moved)) == expected
    assert rid(compare(read_reference(path), moved)) == expected


def test_hard_values_survive(tmp_path):
    rng = np.random.default_rng(0)
    reference = {
        "tiny": rng.normal(size=100) * 1e-310,
        "huge": rng.integers(2**62, 2**63 - 1, size=100),
        "unsigned": rng.integers(2**63, 2**64 - 1, size=100, dtype=np.uint64),
        "odd": np.where(rng.random(100) < 0.3, np.nan, np.inf),
        "text": [f'é\u2028{i % 7}\n"' for i in range(100)],
        "null": [None] * 100,
        "list": [[1]] * 100,
    }
    current = {name: values[:70] for name, values in reference.items()}
    path = tmp_path / "ref.json"
    save_reference(reference, path)
    assert rid(compare(path, current)) == rid(compare(reference, current))


def test_settings_of_the_saved_reference_hold(table, tmp_path):
    path = tmp_path / "ref.json"
    save_reference(table, path, bins=8, seed=3)
    assert compare(path, table, bins=8).settings.bins == 8
    assert compare(path, table).settings.bins == 8
    with pytest.raises(DataError, match=r"has bins = 8, which cannot become 16 without its rows: save it anew"):
        compare(path, table, bins=16)
    with pytest.raises(DataError, match="only stand on the reference's side"):
        compare(table, path)


def test_a_failed_write_leaves_what_was_there(table, tmp_path, monkeypatch):
    path = tmp_path / "ref.json"
    path.write_text("before")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(DataError, match="No space left"):
        save_reference(table, path)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["ref.json"]
    with pytest.raises(DataError, match="cannot be written"):
        save_reference(table, tmp_path / "no" / "ref.json")


def corrupt(data, change):
    change(data)
    return data


def break_column(name, key, value):
    def change(data):
        data["columns"][name][key] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data.update(dkl_reference_schema=99), "is 99, and this dkl"),
        (lambda data: data.pop("rows"), "rows is missing"),
        (lambda data: data.update(rows=-1), "rows is '-1', not a whole number"),
        (lambda data: data.update(rows=7), "rows of 7"),
        (lambda data: data.update(types=[1]), "types is"),
        (lambda data: data["types"].pop("real"), "types.real is missing"),
        (break_column("real", "family", "colour"), "columns.real.family is 'colour'"),
        (break_column("real", "family", ["real"]), "columns.real.family is"),
        (break_column("real", "family", "temporal"), "columns.real.domain is 'float64', which does not fit"),
        (break_column("whole", "family", "real"), "columns.whole.domain is 'int64', which does not fit"),
        (break_column("real", "domain", "float16"), "columns.real.domain"),
        (break_column("real", "minimum", 1e9), "columns.real.minimum is 1000000000.0 and the maximum"),
        (break_column("real", "minimum", None), "columns.real.minimum is None and the maximum"),
        (break_column("whole", "maximum", 2**63), "columns.whole.maximum is"),
        (lambda data: data.update(bins=1), "bins is '1', not a number of at least 2"),
        (lambda data: data.update(max_categories=0), "max_categories is '0', not a number of at least 1"),
        (lambda data: data.update(rows=2**53 + 1), "rows is"),
        (lambda data: data["columns"].pop("real"), "columns.real is missing"),
        (lambda data: data["unmeasurable"].update(real="a list"), "unmeasurable.real is also among the columns"),
        (lambda data: data["unmeasurable"].update(gone="a list"), "types.gone is missing"),
        (break_column("real", "cells", [1]), "the cuts disagree"),
        (lambda data: data["columns"]["real"]["values"].reverse(), "do not rise"),
        (lambda data: data["columns"]["real"]["values"].__setitem__(0, "x"), "columns.real.values is"),
        (break_column("real", "nan", 1.5), "columns.real.nan is '1.5'"),
        (break_column("word", "counts", {"red": -1}), "columns.word.counts is"),
        (break_column("word", "overflow", None), "columns.word.overflow is"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(table, tmp_path, change, says):
    path = tmp_path / "ref.json"
    save_reference(table, path)
    path.write_text(json.dumps(corrupt(json.loads(path.read_text()), change)))
    with pytest.raises(DataError, match=says.replace(".", r"\.")):
        compare(path, table)


def test_a_file_cut_short_is_refused(table, tmp_path):
    path = tmp_path / "ref.json"
    save_reference(table, path)
    path.write_text(path.read_text()[:-10])
    with pytest.raises(DataError, match="damaged or cut short"):
        compare(path, table)
    path.write_text('{"dkl_reference_schema": ' + "[" * 200_000)
    with pytest.raises(DataError, match=r"ref\.json: is damaged: its values are nested too deeply"):
        compare(path, table)
    with pytest.raises(DataError, match="cannot be read"):
        reference_module.read_reference(tmp_path / "gone.json")
