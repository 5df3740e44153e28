"""What programs read and files keep: JSON, figures, saved references, standard input, the example."""

from __future__ import annotations

import gzip
import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dkl
from dkl.cli.compare import compare as command
from dkl.comparison import DataError
from dkl.comparison.writing import write_whole

from .conftest import COMMAND, Run, spawn, write_csv

_FAST = ("--resamples", 100)


def strict(text: str) -> Any:
    """Parse JSON that holds no NaN, no Infinity and no key twice."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    return json.loads(text, parse_constant=refuse, object_pairs_hook=once)


def test_json_is_what_to_dict_returns(run: Run, tables: tuple[Path, Path]) -> None:
    before, after = map(str, tables)
    done = run("compare", before, after, "--json", "--sort", "name", "--unit", "bits", "--top", 1)
    assert done.exit_code == 0
    assert done.stderr == ""
    printed = strict(done.stdout)
    assert printed == json.loads(json.dumps(dkl.compare(before, after).to_dict(), allow_nan=False))
    assert [column["name"] for column in printed["columns"]] == ["x", "y", "z"]


def test_json_says_infinity_in_words(run: Run, tables: tuple[Path, Path]) -> None:
    z = strict(run("compare", *tables, "--json", *_FAST).stdout)["columns"][2]["measured"]["kl_current_reference"]
    assert z["value"] is None
    assert z["status"] == "infinite"
    assert "new" in z["reason"]
    assert z["smoothed"] > 0


def test_json_comes_alone_though_the_threshold_is_exceeded(run: Run, tables: tuple[Path, Path]) -> None:
    done = run("compare", *tables, "--json", "--fail-above", 0.01, *_FAST)
    assert done.exit_code == 1
    assert strict(done.stdout)["schema_version"] == 1
    assert done.stderr.startswith("dkl: 1 of 3")


def test_options_reach_the_library(run: Run, tables: tuple[Path, Path]) -> None:
    options = ["--bins", 8, "--max-categories", 2, "--resamples", 150, "--seed", 7, "--level", 0.9, "--alpha", 0.05]
    options += ["--ignore-below", 0.1, "--unit", "bits", "--columns", "x"]
    printed = strict(run("compare", *tables, "--json", *options).stdout)
    settings = printed["settings"]
    assert settings.pop("ignore_below") == pytest.approx(0.1 * math.log(2))
    assert settings == {"bins": 8, "max_categories": 2, "resamples": 150, "seed": 7, "level": 0.9, "alpha": 0.05}
    assert [column["name"] for column in printed["columns"]] == ["x"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["x,y"], ["x", "y"]),
        (["x", "z"], ["x", "z"]),
        (['"a,b", x'], ["x", "a,b"]),
    ],
)
def test_columns_are_named_once_or_often(run: Run, tmp_path: Path, given: list[str], expected: list[str]) -> None:
    table = write_csv(tmp_path / "t.csv", **{"x": [1, 2], "y": [1, 2], "z": [1, 2], "a,b": [1, 2]})
    options = [word for one in given for word in ("--columns", one)]
    printed = strict(run("compare", table, table, "--json", *options, *_FAST).stdout)
    assert [column["name"] for column in printed["columns"]] == expected


# The example


def test_the_example(run: Run) -> None:
    done = run("compare", "--example", "--json")
    printed = strict(done.stdout)
    assert printed["reference"]["description"] == "flights from New York, January 2013"
    assert (printed["reference"]["rows"], printed["current"]["rows"]) == (27_004, 29_425)
    words = {column["name"]: column["verdict"]["word"] for column in printed["columns"]}
    assert words["air_time"] == words["dep_delay"] == "different"


def test_the_example_in_a_process_of_its_own() -> None:
    done = spawn("compare", "--example")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "air_time" in done.stdout


# Figures


@pytest.mark.parametrize(
    ("suffix", "starts"), [(".png", b"\x89PNG\r\n\x1a\n"), (".svg", b"<?xml"), (".PDF", b"%PDF-"), (".pdf", b"%PDF-")]
)
def test_plot_writes_a_file_of_its_kind(
    run: Run, tables: tuple[Path, Path], tmp_path: Path, suffix: str, starts: bytes
) -> None:
    figure = tmp_path / f"drift{suffix}"
    done = run("compare", *tables, "--plot", figure, *_FAST)
    assert done.exit_code == 0
    assert done.stdout.startswith("reference: ")
    content = figure.read_bytes()
    assert content.startswith(starts)
    assert len(content) > 5_000
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["after.csv", "before.csv", figure.name])


def test_a_plot_of_names_beyond_the_font_warns_of_nothing(run: Run, tmp_path: Path) -> None:
    table = write_csv(tmp_path / "t.csv", **{"年齢 $x$": ["若い", "$a_1$", "\U0001f600"] * 5})
    assert run("compare", table, table, "--plot", tmp_path / "t.png", *_FAST).exit_code == 0


def test_an_array_has_nothing_to_draw(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", [[0.5, 0.5]])
    done = run("compare", tmp_path / "p.npy", tmp_path / "p.npy", "--plot", tmp_path / "p.png")
    assert done.exit_code == 3
    assert done.stdout == ""
    assert "nothing to draw" in done.stderr
    assert not (tmp_path / "p.png").exists()


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "figure.png"
    target.write_bytes(b"what was there")

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="cannot be written \\(No space left on device\\)"):
        write_whole(str(target), b"something new")
    assert target.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_comparison_leaves_an_old_figure(run: Run, tables: tuple[Path, Path], tmp_path: Path) -> None:
    figure = tmp_path / "drift.png"
    figure.write_bytes(b"what was there")
    assert run("compare", tables[0], tmp_path / "missing.csv", "--plot", figure).exit_code == 3
    assert figure.read_bytes() == b"what was there"


def test_json_of_arrays(run: Run, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    np.savez_compressed(tmp_path / "a.npz", logits=x)
    np.savez(tmp_path / "b.npz", logits=np.round(x, 1))
    done = run("compare", tmp_path / "a.npz", tmp_path / "b.npz", "--as", "logits", "--json", "--unit", "bits")
    (array,) = strict(done.stdout)["arrays"]
    assert array["name"] == "logits"
    expected = dkl.compare({"logits": dkl.Logits(x)}, {"logits": dkl.Logits(np.round(x, 1))}).arrays[0]
    assert array == json.loads(json.dumps(expected.to_dict()))


# Saved references


def test_a_saved_reference_gives_the_identical_answer(run: Run, tables: tuple[Path, Path], tmp_path: Path) -> None:
    before, after = tables
    saved = tmp_path / "before.json"
    alone = run("compare", before, "--save-reference", saved)
    assert (alone.exit_code, alone.stdout, alone.stderr) == (0, "", "")
    direct = run("compare", before, after, "--json").stdout
    assert run("compare", saved, after, "--json").stdout == direct
    both = run("compare", before, after, "--json", "--save-reference", tmp_path / "again.json").stdout
    assert both == direct
    assert (tmp_path / "again.json").read_bytes() == saved.read_bytes()


def test_a_saved_reference_of_samples(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", rng.normal(size=(300, 2)))
    np.save(tmp_path / "b.npy", rng.normal(size=(300, 2)))
    sides = tmp_path / "a.npy", tmp_path / "b.npy"
    direct = run("compare", *sides, "--as", "samples", "--json").stdout
    saved = tmp_path / "a.json"
    assert run("compare", *sides, "--as", "samples", "--json", "--save-reference", saved).stdout == direct
    assert run("compare", saved, sides[1], "--as", "samples", "--json").stdout == direct


def test_the_example_can_be_saved(run: Run, tmp_path: Path) -> None:
    options = ("--example", "--save-reference", tmp_path / "january.json", "--columns", "origin", *_FAST)
    assert run("compare", *options).exit_code == 0
    assert (tmp_path / "january.json").exists()


def test_a_saved_reference_is_no_current_side(run: Run, tables: tuple[Path, Path], tmp_path: Path) -> None:
    saved = tmp_path / "before.json"
    run("compare", tables[0], "--save-reference", saved)
    assert run("compare", tables[1], saved).exit_code == 3


def test_a_reference_that_cannot_be_written(run: Run, tables: tuple[Path, Path], tmp_path: Path) -> None:
    done = run("compare", tables[0], "--save-reference", tmp_path / "no folder" / "r.json")
    assert done.exit_code == 3
    assert "cannot be written" in done.stderr


# Standard input


def _piped(content: bytes, *arguments: object) -> str:
    done = subprocess.run([*COMMAND, *map(str, arguments)], input=content, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    return done.stdout.decode()


def _measured(text: str) -> Any:
    return strict(text)["columns"]


def test_either_side_may_be_standard_input(run: Run, tables: tuple[Path, Path]) -> None:
    before, after = tables
    direct = _measured(run("compare", before, after, "--json").stdout)
    assert _measured(_piped(before.read_bytes(), "compare", "-", after, "--json")) == direct
    assert _measured(_piped(gzip.compress(after.read_bytes()), "compare", before, "-", "--json")) == direct


def test_format_is_for_standard_input_and_not_for_a_file_that_says_its_own(tmp_path: Path) -> None:
    table = pa.table({"x": np.arange(100.0)})
    pq.write_table(table, tmp_path / "before.parquet")
    text = "x\n" + "\n".join(map(str, range(100)))
    shown = _piped(text.encode(), "compare", tmp_path / "before.parquet", "-", "--format", "csv", "--json")
    assert _measured(shown)[0]["verdict"]["word"] == "no_difference_found"


def test_every_option_is_explained() -> None:
    for option in command.params:
        if option.param_type_name == "option":
            assert getattr(option, "help", None), option.name
