"""Hostile input: counts beyond a billion, times beyond microseconds, odd encodings, pipes, masks, wrong arguments."""

import json
import os
import threading
import zipfile

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import dkl
from dkl.comparison import DataError, compare, inference, save_reference, text
from dkl.comparison.writing import write_whole

pytestmark = pytest.mark.filterwarnings("error")

# Counts


@pytest.mark.parametrize(
    ("before", "after", "tested"),
    [
        (np.array([[10**9, 3, 5]]), np.array([[10**9, 5, 2]]), True),
        (np.array([[2**52, 3]]), np.array([[2**52, 9]]), True),
        (np.array([[2**62, 3]]), np.array([[2**62, 5]]), False),
        (np.array([[2**62, 2**62, 3]]), np.array([[2**62, 5, 2**62]]), False),
        (np.array([[2**64 - 5, 3]], dtype=np.uint64), np.array([[2**64 - 1, 9]], dtype=np.uint64), False),
        (np.array([[1e300, 2.0]]), np.array([[1e300, 1e299]]), False),
    ],
)
def test_counts_of_any_size_are_compared(before, after, tested):
    found = compare(before, after, as_="counts")
    json.dumps(found.to_dict(), allow_nan=False)
    (array,) = found.arrays
    assert array.js.mean == float(dkl.js(dkl.Counts(before[0]), dkl.Counts(after[0])))
    assert len(found.columns) == tested
    assert array.notes == (() if tested else ("1 row holds more than 2^53 counts: compared, but not tested",))


def test_drawing_from_the_pooled_shares_agrees_with_dealing(monkeypatch):
    a, b = np.array([10**6, 30, 3, 4]), np.array([10**6, 20, 8, 9])
    dealt = inference.significance(a, b, 5000, np.random.default_rng(0))
    monkeypatch.setattr(inference, "_MOST_DEALT", 0)
    drawn = inference.significance(a, b, 5000, np.random.default_rng(0))
    assert drawn.statistic == dealt.statistic
    assert drawn.p_value == pytest.approx(dealt.p_value, abs=0.02)


def test_the_size_holds_beyond_a_billion():
    rng = np.random.default_rng(1)
    shares = np.array([1 - 3e-9, 1e-9, 2e-9])
    total = 2 * 10**9
    p_values = [
        inference.significance(rng.multinomial(total, shares), rng.multinomial(total, shares), 200, rng).p_value
        for _ in range(200)
    ]
    assert np.mean(np.array(p_values) < 0.05) < 0.1


@pytest.mark.parametrize("values", [[1.0, -1.0], [1.0, 1.0], [-1.0, -1.0], [0.0, 1.0]])
def test_the_largest_floats(values):
    largest = np.finfo(np.float64).max
    column = compare({"x": largest * np.array(values * 50)}, {"x": largest * np.array(values * 5)})["x"]
    assert column.js.value == 0
    assert sum(cell.current for cell in column.cells) == 10
    if values[0] != values[1]:
        assert column.wasserstein is None
        assert any("too large to be added up" in note for note in column.notes)


# Times


@pytest.mark.parametrize(
    "beyond",
    [
        pa.array([2**60, 0, 5], pa.timestamp("s")),
        pa.array([2**60, 0, 5], pa.timestamp("ms", tz="UTC")),
        pa.array([2**31 - 1, 0, 5], pa.int32()).cast(pa.date32()),
        pa.array([2**62, 0, 5], pa.duration("s")),
    ],
)
def test_times_beyond_microseconds_are_not_wrapped(beyond, tmp_path):
    fine = pa.array([1, 2, 3], pa.int32()).cast(beyond.type) if beyond.type == pa.date32() else None
    fine = pa.array([1, 2, 3], beyond.type) if fine is None else fine
    bad, good = {"t": beyond, "x": [1, 2, 3]}, {"t": fine, "x": [1, 2, 3]}
    save_reference(bad, tmp_path / "bad.json")
    for sides in ((bad, good), (good, bad), (bad, bad), (tmp_path / "bad.json", good)):
        found = compare(*sides)
        assert found["t"].status == "not_measurable"
        assert found["t"].verdict.sentence == (
            "cannot be measured: holds times beyond the years that microseconds reach"
        )
        assert found["x"].status == "measured"


def test_times_finer_than_microseconds_are_cut():
    found = compare(
        {"t": pa.array([1_500, -1] * 9, pa.timestamp("ns"))}, {"t": pa.array([1, -1] * 9, pa.timestamp("us"))}
    )
    assert found["t"].js.value == 0


# Text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("é,b\n1,2\n".encode("latin-1"), "the text is not UTF-8: convert it"),
        ("é,b\n1,2\n".encode("utf-16"), "the text is UTF-16 and not UTF-8: convert it"),
        ("é,b\n1,2\n".encode("utf-16-le"), "the text is UTF-16 or binary and not UTF-8: convert it"),
    ],
)
def test_other_encodings_are_named(tmp_path, content, says):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"a.csv: {says}"):
        compare(path, path)


def test_a_column_in_another_encoding_is_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("a,b\né,1\nü,2\n".encode("latin-1"))
    found = compare(path, {"a": ["é"], "b": [1]})
    assert found["a"].status == "not_measurable"
    assert found["b"].status == "measured"
    assert "reference: a: the text is not UTF-8: convert the file" in found.notes


@pytest.mark.parametrize("name", ["a\u2028b", "a\x0bb", "a\nb", 'a"b'])
def test_a_type_that_shows_late_is_that_of_its_own_column(tmp_path, monkeypatch, name):
    monkeypatch.setattr(text, "_BLOCK", 1 << 18)
    path = tmp_path / "a.csv"
    header = '"{}";"second"\n'.format(name.replace('"', '""'))
    path.write_text(header + "1;2\n" * 100_000 + "1;word\n" * 10, newline="")
    found = compare(path, path)
    assert [column.name for column in found.columns] == [name, "second"]
    assert [column.kind for column in found.columns] == ["numeric", "categorical"]
    assert "second: read as text, because 'word' is no int64" in " ".join(found.notes)


def test_a_header_longer_than_what_the_separator_is_read_from(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"aa;{'é' * 40_000}\n1;2\n")  # the piece ends within a letter
    assert [column.name for column in compare(path, path).columns] == ["aa", "é" * 40_000]


def test_json_lines_of_nothing_that_can_be_measured(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": [1]}\n{"a": [2]}\n')
    found = compare(path, path)
    assert found.reference.rows == found.current.rows == 2
    assert found["a"].status == "not_measurable"


def test_a_pipe_is_read_once(tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("a,b\n1,2\n3,4\n",))
    writer.start()
    found = compare(pipe, {"a": [1, 3], "b": [2, 4]})
    writer.join()
    assert found.reference.description == str(pipe)
    assert [column.js.value for column in found.columns] == [0, 0]


def test_standard_input_that_is_closed(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(DataError, match="standard input: is closed"):
        compare("-", {"a": [1]})


# Objects and arguments


@pytest.mark.parametrize(
    ("data", "as_"),
    [
        (np.ma.MaskedArray([0.5, 0.5], mask=[False, True]), None),
        (np.ma.MaskedArray([0.5, 0.5], mask=[False, True]), "samples"),
        ({"a": np.ma.MaskedArray([[0.5, 0.5]], mask=[[False, True]])}, None),
        (dkl.Samples(np.ma.MaskedArray([0.5, 0.5], mask=[False, True])), None),
    ],
)
def test_masked_arrays_are_refused(data, as_):
    with pytest.raises(DataError, match="is a masked array"):
        compare(data, np.array([0.5, 0.5]), as_=as_)


@pytest.mark.parametrize("series", [pd.Series, lambda values, name: pl.Series(name, values)])
def test_a_series_is_one_column(series):
    found = compare(series([1, 2, 3] * 9, name="q"), series([1, 2, 3] * 9, name="q"))
    assert [column.name for column in found.columns] == ["q"]
    assert compare(pd.Series([1, 2]), pd.Series([1, 2]))["0"].status == "measured"


def test_members_of_an_archive_that_are_no_arrays(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(DataError, match=r"a.npz, array 'readme.txt': is no array"):
        compare(tmp_path / "a.npz", tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("setting", "error", "says"),
    [
        ({"bins": 8.0}, TypeError, "bins is 8.0, a float: give a whole number"),
        ({"seed": "0"}, TypeError, "seed is '0', a str: give a whole number"),
        ({"level": "0.9"}, TypeError, "level is '0.9', a str: give a number"),
        ({"alpha": None}, TypeError, "alpha is None, a NoneType: give a number"),
        ({"resamples": 1_000_001}, ValueError, "resamples = 1000001: at most 1,000,000"),
    ],
)
def test_wrong_settings_name_themselves(setting, error, says):
    with pytest.raises(error, match=says):
        compare({"x": [1]}, {"x": [1]}, **setting)


def test_numbers_of_numpy_are_settings():
    found = compare({"x": [1]}, {"x": [1]}, bins=np.int64(8), seed=np.uint8(3), level=np.float64(0.9))
    assert json.loads(json.dumps(found.to_dict()))["settings"]["bins"] == 8
    assert type(found.settings.level) is float


# What is written


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "link").symlink_to("target")
    write_whole(tmp_path / "link", b"one")
    assert (tmp_path / "link").is_symlink()
    (tmp_path / "target").chmod(0o640)
    write_whole(tmp_path / "link", b"two")
    assert (tmp_path / "target").read_bytes() == b"two"
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(tmp_path)) == ["link", "target"]


def test_only_a_file_of_its_own_is_written(tmp_path):
    source = tmp_path / "a.csv"
    source.write_text("a\n1\n2\n")
    (tmp_path / "link.json").symlink_to(source)
    for target in (source, tmp_path / "link.json"):
        with pytest.raises(DataError, match="is also read"):
            save_reference(source, target)
    for target in (tmp_path, "/dev/null"):
        with pytest.raises(DataError, match="no regular file"):
            save_reference(source, target)
    with pytest.raises(DataError, match="not standard output"):
        save_reference(source, "-")
    assert source.read_text() == "a\n1\n2\n"
