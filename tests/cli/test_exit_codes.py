"""The exit codes: what was measured, exceeded, asked wrongly, or could not be measured."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from .conftest import COMMAND, Run, spawn, write_csv

_FAST = ("--resamples", 100)


def test_0_measured_even_where_columns_differ(run: Run, tables: tuple[Path, Path]) -> None:
    done = run("compare", *tables, *_FAST)
    assert done.exit_code == 0
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        (["--fail-above", 0.01], 1, ["x"]),
        (["--fail-above", 0.69], 0, []),
        (["--fail-above", 0.01, "--columns", "y"], 0, []),
        (["--fail-above", 100, "--by", "reverse-kl"], 1, ["z"]),  # infinite: the reference lacks a value
        (["--fail-above", 100, "--by", "kl"], 0, []),
        (["--fail-above", 0.07, "--by", "tv"], 1, ["x"]),
    ],
)
def test_1_the_threshold_is_exceeded(
    run: Run, tables: tuple[Path, Path], options: list[object], code: int, named: list[str]
) -> None:
    done = run("compare", *tables, *_FAST, *options)
    assert done.exit_code == code
    assert done.stdout.startswith("reference: ")
    if code:
        assert done.stderr.startswith(f"dkl: {len(named)} of ")
        assert done.stderr.rstrip().endswith(", ".join(named))
    else:
        assert done.stderr == ""


def test_1_the_unit_scales_the_threshold_and_not_a_share(run: Run, tables: tuple[Path, Path]) -> None:
    import dkl

    found = dkl.compare(*map(str, tables), resamples=100)["x"]
    js, tv = found.js.lower, found.tv.lower  # type: ignore[union-attr]
    bits = js / np.log(2)
    for by, unit, limit in (("js", "nats", js), ("js", "bits", bits), ("tv", "nats", tv), ("tv", "bits", tv)):
        options = ("--columns", "x", "--by", by, "--unit", unit, "--quiet", *_FAST)
        assert run("compare", *tables, *options, "--fail-above", limit * 0.999).exit_code == 1
        assert run("compare", *tables, *options, "--fail-above", limit * 1.001).exit_code == 0


def test_1_of_arrays_the_mean_counts(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", [[0.5, 0.5], [0.9, 0.1]])
    np.save(tmp_path / "q.npy", [[0.5, 0.5], [0.1, 0.9]])
    files = tmp_path / "p.npy", tmp_path / "q.npy"
    assert run("compare", *files, "--fail-above", 0.1).exit_code == 1
    assert run("compare", *files, "--fail-above", 0.3).exit_code == 0


def test_quiet_leaves_only_the_exit_code(run: Run, tables: tuple[Path, Path]) -> None:
    done = run("compare", *tables, "--quiet", "--fail-above", 0.01, *_FAST)
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a.csv"],
        ["a.csv", "b.csv", "--example"],
        ["-", "-"],
        ["a.csv", "b.csv", "--json", "--quiet"],
        ["a.csv", "--save-reference", "r.json", "--json"],
        ["a.csv", "b.csv", "--bins", "1"],
        ["a.csv", "b.csv", "--bins", "many"],
        ["a.csv", "b.csv", "--max-categories", "0"],
        ["a.csv", "b.csv", "--resamples", "10"],
        ["a.csv", "b.csv", "--level", "95"],
        ["a.csv", "b.csv", "--level", "nan"],
        ["a.csv", "b.csv", "--alpha", "0"],
        ["a.csv", "b.csv", "--seed", "-1"],
        ["a.csv", "b.csv", "--ignore-below", "nan"],
        ["a.csv", "b.csv", "--ignore-below", "inf"],
        ["a.csv", "b.csv", "--fail-above", "-1"],
        ["a.csv", "b.csv", "--fail-above", "nan"],
        ["a.csv", "b.csv", "--by", "chi2"],
        ["a.csv", "b.csv", "--by", "kl"],
        ["a.csv", "b.csv", "--columns", ""],
        ["a.csv", "b.csv", "--columns", '"a'],
        ["a.csv", "b.csv", "--resamples", "1000001"],
        ["a.csv", "b.csv", "--unit", "bans"],
        ["a.csv", "b.csv", "--as", "guess"],
        ["a.csv", "b.csv", "--format", "xlsx"],
        ["a.csv", "b.csv", "--sort", "size"],
        ["a.csv", "b.csv", "--top", "0"],
        ["a.csv", "b.csv", "--plot", "drift.gif"],
        ["a.csv", "b.csv", "--plot", "no-such-folder/drift.png"],
        ["a.csv", "b.csv", "--guess"],
        ["a.csv", "b.csv", "c.csv"],
    ],
    ids=" ".join,
)
def test_2_usage(run: Run, arguments: list[str]) -> None:
    done = run("compare", *arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Usage: dkl compare")
    assert "Error: " in done.stderr


@pytest.mark.parametrize("name", ["nope", "x,nope"])
def test_2_a_named_column_that_does_not_exist(run: Run, tables: tuple[Path, Path], name: str) -> None:
    done = run("compare", *tables, "--columns", name)
    assert done.exit_code == 2
    assert "'nope'" in done.stderr
    assert done.stdout == ""


def _truncated(path: Path) -> None:
    table = pa.table({"x": np.random.default_rng(0).normal(size=5000)})
    pq.write_table(table, path)
    path.write_bytes(path.read_bytes()[:20_000])


def _text(content: str | bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode()) and None


def _array(values: object, **options: object) -> Callable[[Path], None]:
    return lambda path: np.save(path, np.array(values, **options), allow_pickle=True)  # type: ignore[call-overload]


_BAD: list[tuple[str, Callable[[Path], object], list[str], str]] = [
    ("missing.csv", lambda path: None, [], "no such file"),
    ("folder", lambda path: path.mkdir(), [], "is a directory"),
    ("empty.csv", _text(""), [], "the file is empty"),
    ("header.csv", _text("x,y,z\n"), [], "no rows"),
    ("ragged.csv", _text("x,y,z\n1,2,3\n1,2\n"), [], "line 3 has 2 fields"),
    ("other.csv", _text("p,q\n1,2\n3,4\n"), [], "no column in common"),
    ("twice.csv", _text("x,x\n1,2\n"), [], "'x' appears more than once"),
    ("cut.parquet", _truncated, [], "damaged"),
    ("text.parquet", _text("this is no Parquet file"), [], "damaged"),
    ("binary.csv", _text(bytes(range(256)) * 20), [], ""),
    ("wrong.feather", _text("ARROW1 and nothing"), [], "damaged"),
    ("bad.jsonl", _text('{"x": 1}\n{"x": \n'), [], "line 2"),
    ("array.json", _text('[{"x": 1}]'), [], "JSON array"),
    ("ref.json", _text('{"dkl_reference_schema": 1, "rows": '), [], "cut short"),
    ("objects.npy", _array([{"a": 1}, None], dtype=object), [], "pickled"),
    ("negative.npy", _array([[1.5, -0.5]]), [], "-0.5"),
    ("counts.npy", _array([[3, -1]]), ["--as", "counts"], "-1"),
    ("logits.npy", _array([[0.0, float("nan")]]), ["--as", "logits"], "nan"),
    ("cut.npz", _text(b"PK\x03\x04 and nothing"), [], "damaged"),
    ("cut.safetensors", _text(b"\x08\x00\x00\x00\x00\x00\x00\x00{"), [], "damaged"),
    ("escape.csv", _text("x\x1b[31m,x\x1b[31m\n1,2\n"), [], "x\\x1b[31m"),
]


@pytest.mark.parametrize(("name", "make", "options", "words"), _BAD, ids=[one[0] for one in _BAD])
def test_3_bad_data_is_one_line(
    run: Run,
    tables: tuple[Path, Path],
    tmp_path: Path,
    name: str,
    make: Callable[[Path], object],
    options: list[str],
    words: str,
) -> None:
    bad = tmp_path / name
    make(bad)
    array = name.endswith((".npy", ".npz", ".safetensors"))
    if array:
        np.save(tmp_path / "good.npy", [[1.0, 0.0]])
    good = tmp_path / "good.npy" if array else tables[0]
    for sides in ((bad, good), (good, bad)):
        done = run("compare", *sides, *options)
        assert done.exit_code == 3
        assert done.stdout == ""
        assert done.stderr.startswith("dkl: error: ")
        assert done.stderr.count("\n") == 1
        assert done.stderr.endswith("\n")
        assert done.stderr[:-1].isprintable()
        assert words.lower() in done.stderr.lower()


def test_3_an_unreadable_file(run: Run, tables: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    # Refused here and not by the file's mode, which a superuser may ignore.
    opened = open

    def refuse(file: object, *args: object, **kwargs: object) -> object:
        if str(file) == str(tables[0]):
            raise PermissionError(13, "Permission denied", str(file))
        return opened(file, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr("builtins.open", refuse)
    done = run("compare", *tables)
    assert done.exit_code == 3
    assert "permission denied" in done.stderr


def test_3_a_table_against_an_array(run: Run, tables: tuple[Path, Path], tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", [[0.5, 0.5]])
    done = run("compare", tables[0], tmp_path / "p.npy")
    assert done.exit_code == 3
    assert "--as samples" in done.stderr


def test_no_traceback_from_a_process_of_its_own(tmp_path: Path) -> None:
    done = spawn("compare", tmp_path / "a.csv", tmp_path / "b.csv")
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == f"dkl: error: {tmp_path / 'a.csv'}: no such file\n"


def test_usage_errors_from_a_process_of_its_own() -> None:
    done = spawn("compare")
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: dkl compare")


def test_3_where_something_was_not_measured_a_threshold_does_not_hold(run: Run, tmp_path: Path) -> None:
    before = write_csv(tmp_path / "before.csv", x=[1, 2, 3], kind=[1, 2, 3], gone=[1, 2, 3])
    after = write_csv(tmp_path / "after.csv", x=[1, 2, 3], kind=["a", "b", "c"])
    assert run("compare", before, after, *_FAST).exit_code == 0
    done = run("compare", before, after, "--fail-above", 0.5, *_FAST)
    assert done.exit_code == 3
    assert done.stdout.startswith("reference: ")
    assert "these were not: kind, gone" in done.stderr
    assert run("compare", before, after, "--fail-above", 0.5, "--columns", "x", *_FAST).exit_code == 0


@pytest.mark.parametrize("options", [[], ["--json"], ["--fail-above", "0.5"], ["--quiet"]], ids=" ".join)
def test_3_where_nothing_was_measured(run: Run, tmp_path: Path, options: list[str]) -> None:
    before, after = write_csv(tmp_path / "a.csv", kind=[1, 2]), write_csv(tmp_path / "b.csv", kind=["a", "b"])
    done = run("compare", before, after, *options)
    assert done.exit_code == 3
    assert bool(done.stdout) == ("--quiet" not in options)
    assert done.stderr.startswith("dkl: error: ")
    assert done.stderr.count("\n") == 1


def test_3_a_defect_is_no_exceeded_threshold(tables: tuple[Path, Path]) -> None:
    code = (
        "import dkl.comparison.api as api\n"
        "def fail(*_): raise ZeroDivisionError('what\\never')\n"
        "api._compare_tables = fail\n"
        "from dkl.cli.main import main; main()"
    )
    command = [sys.executable, "-c", code, "compare", *map(str, tables)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stdout == ""
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("\ndkl: internal error: ZeroDivisionError: what ever\n")


@pytest.mark.parametrize(
    ("closing", "says"), [("<&-", "standard input: is closed"), (">&-", "standard output: is closed"), ("2>&-", "")]
)
def test_3_closed_streams(tables: tuple[Path, Path], closing: str, says: str) -> None:
    command = shlex.join([*COMMAND, "compare", "-", str(tables[1]), *map(str, _FAST)])
    with open(tables[0]) as before:
        shell = ["bash", "-c", f"{command} {closing}"]
        done = subprocess.run(shell, stdin=before, capture_output=True, text=True, check=False)
    assert done.returncode == (3 if says else 0)
    assert says in done.stderr
    assert done.stderr.count("\n") == bool(says)


def test_process_substitution_and_dev_stdin(tables: tuple[Path, Path]) -> None:
    before, after = (shlex.quote(str(path)) for path in tables)
    command = shlex.join([*COMMAND, "compare"])
    options = "--quiet --resamples 100 --fail-above 0.01 --columns x"
    shell = ["bash", "-c", f"cat {before} | {command} /dev/stdin <(cat {after}) {options}"]
    done = subprocess.run(shell, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("option", ["--plot", "--save-reference"])
def test_3_an_input_is_not_overwritten(run: Run, tables: tuple[Path, Path], tmp_path: Path, option: str) -> None:
    content = tables[0].read_bytes()
    (tmp_path / "link.png").symlink_to(tables[0])
    done = run("compare", *tables, option, tmp_path / "link.png", *_FAST)
    assert done.exit_code == 3
    assert "is also read" in done.stderr
    assert tables[0].read_bytes() == content
    assert run("compare", *tables, "--save-reference", "-").exit_code == 3


def test_130_interrupted(tmp_path: Path) -> None:
    good = write_csv(tmp_path / "good.csv", x=[1, 2, 3])
    command = [*COMMAND, "compare", "-", str(good)]
    pipe = subprocess.PIPE
    env = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=env) as process:
        deadline = time.monotonic() + 30
        while not list(tmp_path.glob("dkl-*/standard-input")):  # it waits for the rest of standard input from here on
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read() == b""
        assert b"Traceback" not in process.stderr.read()
    assert not list(tmp_path.glob("dkl-*"))


def test_a_reader_that_leaves_early_is_no_failure(tables: tuple[Path, Path]) -> None:
    command = [*COMMAND, "compare", *map(str, tables), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0


def test_3_standard_output_cannot_be_written(tables: tuple[Path, Path]) -> None:
    with open(os.devnull) as read_only:
        done = subprocess.run(
            [*COMMAND, "compare", *map(str, tables)], stdout=read_only, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 3
    assert done.stderr.startswith("dkl: error: standard output: cannot be written")
    assert done.stderr.count("\n") == 1


def test_2_what_cuts_columns_means_nothing_for_arrays(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", [[0.5, 0.5], [0.9, 0.1]])
    for option in ("--bins", "--max-categories"):
        done = run("compare", tmp_path / "p.npy", tmp_path / "p.npy", option, "8")
        assert done.exit_code == 2
        assert f"{option} is of tables" in done.output
