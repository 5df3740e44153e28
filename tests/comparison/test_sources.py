"""Every way in gives the same answer, and every broken way in one clear line."""

import gzip
import io
import json
import os
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

import dkl
from dkl.comparison import ColumnError, DataError, compare, save_reference, text


def answer(found):
    """The comparison without the descriptions of its sides and the names of its types."""
    result = found.to_dict()
    del result["reference"], result["current"], result["notes"]
    for column in result["columns"]:
        del column["reference_type"], column["current_type"]
    return result


def write_jsonl(table, path):
    with open(path, "w") as file:
        file.writelines(json.dumps(row, default=str) + "\n" for row in table.to_pylist())


def write(table, path):
    suffix = "".join(path.suffixes)
    if suffix == ".csv":
        pa.csv.write_csv(table, path)
    elif suffix == ".csv.gz":
        plain = io.BytesIO()
        pa.csv.write_csv(table, plain)
        path.write_bytes(gzip.compress(plain.getvalue()))
    elif suffix == ".parquet":
        pq.write_table(table, path, row_group_size=64)
    elif suffix == ".feather":
        pa.feather.write_feather(table, path, chunksize=64)
    elif suffix == ".arrows":
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=64)
    else:
        write_jsonl(table, path)
    return str(path)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet", ".feather", ".arrows", ".jsonl", ".ndjson"])
def test_files_agree_with_memory(table, moved, tmp_path, suffix):
    expected = answer(compare(table, moved))
    found = compare(write(table, tmp_path / f"a{suffix}"), write(moved, tmp_path / f"b{suffix}"))
    assert [column.status for column in found.columns] == ["measured"] * 6
    dates = "date"
    if "json" in suffix:  # JSON lines hold dates as text that looks like timestamps
        assert found[dates].kind == "temporal"
    assert answer(found) == expected


@pytest.mark.parametrize(
    "convert",
    [
        lambda table: table.to_pandas(),
        lambda table: pl.from_arrow(table),
        lambda table: {name: table[name] for name in table.column_names},
        lambda table: (
            table.to_batches(max_chunksize=50)[0].schema
            and pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=50))
        ),
        lambda table: {name: table[name].to_pylist() for name in table.column_names},
    ],
    ids=["pandas", "polars", "dict", "reader", "lists"],
)
def test_objects_in_memory_agree(table, moved, convert):
    assert answer(compare(convert(table), convert(moved))) == answer(compare(table, moved))


def test_mixed_kinds_agree(table, moved, tmp_path):
    found = compare(write(table, tmp_path / "a.csv"), pl.from_arrow(moved))
    assert answer(found) == answer(compare(table, moved))


def test_numpy_columns_and_masks():
    values = np.arange(100.0)
    masked = np.ma.MaskedArray(values, mask=values < 10)
    found = compare({"x": masked, "y": values.astype(">f4")}, {"x": values, "y": values})
    assert [cell.reference for cell in found["x"].cells if cell.kind == "null"] == [10]
    assert found["y"].js.value == 0


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".feather", ".jsonl", ".npy"])
def test_standard_input_is_recognised_by_its_content(table, moved, tmp_path, monkeypatch, suffix):
    if suffix == ".npy":
        rows = np.random.default_rng(0).dirichlet(np.ones(5), size=4)
        np.save(tmp_path / "a.npy", rows)
        first, second = str(tmp_path / "a.npy"), rows
    else:
        first, second = write(table, tmp_path / f"a{suffix}"), moved
    expected = answer(compare(first, second))
    with open(first, "rb") as file:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read())))
    found = compare("-", second)
    assert found.reference.description == "standard input"
    assert answer(found) == expected


def test_a_format_is_for_names_that_do_not_say_it(table, moved, tmp_path, monkeypatch):
    first = write(table, tmp_path / "a.parquet")
    content = io.BytesIO()
    pa.csv.write_csv(moved, content)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.getvalue())))
    assert answer(compare(first, "-", format="csv")) == answer(compare(table, moved))
    (tmp_path / "b.data").write_bytes(content.getvalue())
    assert answer(compare(first, tmp_path / "b.data", format="csv")) == answer(compare(table, moved))


def test_only_one_side_can_be_standard_input():
    with pytest.raises(DataError, match="only one side"):
        compare("-", "-")


def test_progress_ends_at_its_total(table, tmp_path):
    for suffix in (".csv", ".parquet", ".feather", ".jsonl"):
        calls = []
        path = write(table, tmp_path / f"a{suffix}")
        compare(path, table, progress=lambda done, total, calls=calls: calls.append((done, total)))
        assert calls[-1][0] == calls[-1][1]
        assert all(done <= total for done, total in calls)


# Types guessed from text


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(text, "_BLOCK", 1 << 12)


@pytest.mark.parametrize(
    ("first", "later", "kind"),
    [
        ("", "1.5", "numeric"),
        ("1", "2.5", "numeric"),
        ("", "word", "categorical"),
        ("1", "word", "categorical"),
        ("2024-01-01", "2024-01-01 10:00:00", "temporal"),
        ("", "2024-01-01", "temporal"),
        ("true", "1.5", "categorical"),
    ],
)
def test_a_csv_column_whose_type_shows_late(tmp_path, small_blocks, first, later, kind):
    path = tmp_path / "late.csv"
    path.write_text("n,x\n" + f"1,{first}\n" * 5000 + f"2,{later}\n" * 50)
    found = compare(str(path), str(path))
    assert found["x"].kind == kind
    assert found["x"].rows_reference == 5050
    assert found["x"].js.value == 0


def test_a_stray_word_among_numbers_is_said(tmp_path, small_blocks):
    clean, stray = tmp_path / "clean.csv", tmp_path / "stray.csv"
    clean.write_text("n,x\n" + "1,2\n" * 5000)
    stray.write_text("n,x\n" + "1,2\n" * 5000 + "1,oops\n")
    found = compare(str(clean), str(stray))
    assert found["x"].status == "type_mismatch"
    assert any("'oops'" in note for note in found.notes)
    assert found["n"].status == "measured"


@pytest.mark.parametrize(("first", "later"), [(None, 1.5), (1, 2.5), (None, "a")])
def test_a_json_field_whose_type_shows_late(tmp_path, small_blocks, first, later):
    path = tmp_path / "late.jsonl"
    path.write_text("".join(json.dumps({"x": x}) + "\n" for x in [first] * 2000 + [later] * 5))
    found = compare(str(path), str(path))
    assert found["x"].rows_reference == 2005


def test_a_json_field_that_comes_late_or_not_everywhere(tmp_path, small_blocks):
    path = tmp_path / "late.jsonl"
    path.write_text('{"x": 1}\n' * 2000 + '{"x": 1, "y": "b"}\n' * 5 + '{"y": "b"}\n' * 2000)
    found = compare(str(path), str(path))
    nulls = {column.name: sum(c.reference for c in column.cells if c.kind == "null") for column in found.columns}
    assert nulls == {"x": 2000, "y": 2000}


def test_text_in_the_reference_keeps_date_like_text_in_the_current_file_as_text(tmp_path):
    (tmp_path / "a.csv").write_text("x\n2024-01-01\nnever\n" * 20)
    (tmp_path / "b.csv").write_text("x\n2024-01-01\n" * 20)
    assert compare(str(tmp_path / "a.csv"), str(tmp_path / "b.csv"))["x"].kind == "categorical"


def test_separators_and_quotes(tmp_path):
    (tmp_path / "a.csv").write_text('"a, b";c\n1;"x;y"\n2;z\n')
    found = compare(str(tmp_path / "a.csv"), {"a, b": [1, 2], "c": ["x;y", "z"]})
    assert [column.js.value for column in found.columns] == [0, 0]


# What cannot be read


def one_line(error):
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.csv"
    path.write_text("a,b\n1,2\n3,4\n")
    return str(path)


def damaged(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("ragged.csv", b"a,b\n1,2\n3\n4,5\n", "line 3 has 1 fields where the header has 2"),
        ("ragged.csv", b'a,b\n1,"2\n2"\n3,4,5\n', "line 4 has 3 fields"),
        ("empty.csv", b"", "the file is empty"),
        ("blank.csv", b"\n\n", "the file is empty"),
        ("norows.csv", b"a,b\n", "no rows"),
        ("twice.csv", b"a,a\n1,2\n", "'a' appears more than once"),
        ("other.csv", b"x,y\n1,2\n", "no column in common"),
        ("short.parquet", b"PAR1 cut short", "is damaged, cut short or no Parquet file"),
        ("short.feather", b"ARROW1\0\0 cut short", "is damaged, cut short or no Arrow file"),
        ("broken.jsonl", b'{"a": 1}\n{"a": \n{"a": 3}\n', "line"),
        ("mixed.jsonl", b'{"a": 1}\n{"a": "x"}\n', "line 2"),
        ("array.json", b'[{"a": 1}]', "one object a line"),
        ("short.csv.gz", gzip.compress(b"a,b\n1,2\n" * 1000, mtime=0)[:40], "cannot be read"),
        ("notgzip.csv.gz", b"a,b\n1,2\n", "cannot be read"),
        ("short.npy", b"\x93NUMPY\x01\x00v\x00{'descr'", "damaged"),
        ("short.npz", b"PK\x03\x04 cut short", "damaged"),
        ("short.safetensors", b"\x10\0\0\0\0\0\0\0{", "damaged"),
    ],
)
def test_damaged_files_name_themselves_and_the_place(tmp_path, good, name, content, says):
    path = damaged(tmp_path, name, content)
    for sides in ((path, good), (good, path)):
        with pytest.raises(DataError) as error:
            compare(*sides)
        message = one_line(error)
        assert name in message
        assert says in message


def test_a_truncated_parquet_file(tmp_path, good):
    pq.write_table(pa.table({"a": np.arange(1000)}), tmp_path / "whole.parquet")
    content = (tmp_path / "whole.parquet").read_bytes()
    with pytest.raises(DataError, match=r"cut\.parquet: is damaged, cut short"):
        compare(damaged(tmp_path, "cut.parquet", content[:-100]), good)
    broken = bytearray(content)
    broken[10:3000] = b"\xff" * 2990
    with pytest.raises(DataError, match=r"broken\.parquet: is damaged"):
        compare(damaged(tmp_path, "broken.parquet", bytes(broken)), good)


def test_missing_files_and_directories(tmp_path, good):
    with pytest.raises(DataError, match=r"gone\.csv: no such file"):
        compare(str(tmp_path / "gone.csv"), good)
    with pytest.raises(DataError, match="is a directory"):
        compare(good, tmp_path)


def test_an_unreadable_file(tmp_path, good, monkeypatch):
    closed = tmp_path / "closed.csv"
    closed.write_text("a\n1\n")
    closed.chmod(0)
    if os.access(closed, os.R_OK):  # a superuser reads everything
        real = open

        def refuse(file, *args, **kwargs):
            if str(file).endswith("closed.csv"):
                raise PermissionError(13, "Permission denied")
            return real(file, *args, **kwargs)

        monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(DataError, match=r"closed\.csv: permission denied"):
        compare(str(closed), good)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"a": [1, "x"]}, "reference: column 'a' cannot be read"),
        ({"a": [1, 2], "b": [1]}, "'b' has 1 rows and 'a' has 2"),
        ({}, "reference .*has no columns"),
        ({"a": []}, "no rows"),
        ({"a": np.array([object()])}, "column 'a' cannot be read"),
        (np.array([object()]), "Python objects"),
        (np.array(["a"]), "real numbers"),
        (np.zeros(2, dtype=[("a", "f8")]), "structured array"),
        (3, "reference is a int"),
        (pd.DataFrame({"a": [1, "x"]}), "cannot be read as a table"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_objects_that_are_no_data(data, says):
    with pytest.raises(DataError, match=says) as error:
        compare(data, {"a": [1, 2]})
    one_line(error)


def test_pickles_are_never_opened(tmp_path, good):
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    for name in ("objects.npy", "objects.npz"):
        with pytest.raises(DataError, match="nothing is ever unpickled"):
            compare(str(tmp_path / name), str(tmp_path / name))


def test_unknown_options(good):
    with pytest.raises(DataError, match="as_ = 'percent' is unknown"):
        compare(good, good, as_="percent")
    with pytest.raises(DataError, match="format = 'xls' is unknown"):
        compare(good, good, format="xls")
    with pytest.raises(DataError, match="is a table"):
        compare(good, good, as_="logits")
    with pytest.raises(ColumnError, match="'z' is on neither side; there are: a, b"):
        compare(good, good, columns=["z"])
    with pytest.raises(ColumnError, match="none of the named columns in common: b"):
        compare(good, {"a": [1]}, columns=["b"])
    with pytest.raises(ColumnError, match="'z' is not in"):
        save_reference(good, good + ".json", columns=["z"])
    for setting in (
        {"bins": 1},
        {"level": 1.0},
        {"alpha": 0},
        {"ignore_below": -1},
        {"ignore_below": np.inf},
        {"resamples": 3},
        {"seed": -1},
    ):
        with pytest.raises(ValueError, match=next(iter(setting))):
            compare(good, good, **setting)


def test_a_table_against_an_array(good):
    with pytest.raises(DataError, match="one is a table and the other an array"):
        compare(good, dkl.Probs([0.5, 0.5]))
