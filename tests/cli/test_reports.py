"""What people read: on terminals of several widths, without colours, and in a pipe."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.cells import cell_len
from rich.console import Console

import dkl
from dkl.cli.plain import lines
from dkl.cli.render import Report, sparkline
from dkl.cli.words import View, Words, clean, figure, probability
from dkl.comparison import Agreement, Comparison, RowSummary, Test

from .conftest import COMMAND, spawn

_BOX = re.compile("[\u2500-\u257f]")


@pytest.fixture(scope="module")
def found() -> Comparison:
    """Columns of every verdict and kind, and entries that cannot be measured."""
    rng = np.random.default_rng(3)
    n = 4000
    days = np.datetime64("2024-01-01") + rng.integers(0, 300, n).astype("timedelta64[D]")
    before: dict[str, Any] = {
        "age": rng.normal(40, 10, n),
        "colour": rng.choice(["red", "green", "blue"], n),
        "when": days,
        "steady": rng.normal(size=n),
        "a column with a very long name indeed": rng.integers(0, 5, n),
        "gone": np.zeros(n),
        "kind": np.zeros(n),
        "nothing": pa.nulls(n, pa.float64()),
        "evil\x1b[31m [red]name": rng.normal(size=n),
    }
    after: dict[str, Any] = {
        "age": rng.normal(46, 10, n),
        "colour": rng.choice(["red", "green", "blue", "unheard of"], n, p=[0.4, 0.3, 0.29, 0.01]),
        "when": days + np.timedelta64(30, "D"),
        "steady": rng.normal(size=n),
        "a column with a very long name indeed": np.minimum(rng.integers(0, 6, n), 4),
        "kind": np.full(n, "text"),
        "nothing": pa.nulls(n, pa.float64()),
        "evil\x1b[31m [red]name": rng.normal(size=n) + 1,
        "new": np.zeros(n),
    }
    return dkl.compare(before, after, resamples=100, ignore_below=0.02)


def on_terminal(comparison: Comparison, width: int, view: View | None = None, *, colours: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system="truecolor" if colours else None)
    console.print(Report(Words(comparison, view or View())))
    return file.getvalue()


def in_pipe(comparison: Comparison, view: View | None = None) -> str:
    return "\n".join(lines(Words(comparison, view or View())))


@pytest.mark.parametrize("width", [40, 60, 80, 100, 131, 132, 140, 200])
def test_a_terminal_gets_no_line_that_is_too_long(found: Comparison, width: int) -> None:
    text = on_terminal(found, width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "\x1b" not in text
    assert not _BOX.search(text)


@pytest.mark.parametrize("width", [80, 140])
def test_a_terminal_says_everything(found: Comparison, width: int) -> None:
    text = on_terminal(found, width)
    flat = " ".join(text.split())
    assert "reference R reference (dict of columns) 4,000 rows" in flat
    assert "5 of 7 columns differ by more than chance at 1 % after correction for 7 columns" in flat
    assert "could not be measured (see below)" in flat
    for heading in ("Where they differ", "Infinite", "Notes", "How to read this"):
        assert heading in text
    for head in ("JS nats", "[95 %]", "KL(R||C)", "KL(C||R)", "TV", "W1", "difference"):
        assert head in text.split("Where they differ")[0]
    assert re.search(r"[▁▂▃▄▅▆▇█]{8}", text)
    assert "∞" in text
    assert "colour KL(C||R) is ∞: the reference has no row in 1 cell that holds" in flat
    assert "unheard of; smoothed (½ per cell): 0." in flat
    assert "gone only in the reference" in flat
    assert "new only in the current data" in flat
    assert "kind the types differ" in flat
    assert "nothing every value is null in the reference" in flat
    assert "the rows are the reference's, the current data predict them" in flat
    assert "days" in flat
    for verdict in ("different", "none found", "negligible"):
        assert verdict in flat


def test_a_narrow_terminal_keeps_what_matters(found: Comparison) -> None:
    text = on_terminal(found, 60)
    assert "KL(C||R)" not in text.split("Where they differ")[0]
    for column in found.columns:
        if column.js is not None and column.name.isalpha():
            row = next(line for line in text.splitlines() if line.startswith(column.name))
            assert f"{column.js.value:.4f}" in row


def test_the_figures_are_the_library_s(found: Comparison) -> None:
    age = found["age"]
    row = next(line for line in on_terminal(found, 140).splitlines() if line.startswith("age"))
    assert age.js is not None
    assert age.js.interval is not None
    assert age.tv is not None
    assert age.wasserstein is not None
    assert age.kl_reference_current is not None
    assert age.kl_current_reference is not None
    low, high = age.js.interval
    expected = [f"{age.js.value:.4f}", f"[{low:.4f}, {high:.4f}]", f"{age.kl_reference_current.value:.4f}"]
    expected += [f"{age.kl_current_reference.value:.4f}", f"{age.tv.value:.3f}", f"{age.wasserstein.value:.3g}"]
    places = [row.index(text) for text in expected]
    assert places == sorted(places)
    in_bits = on_terminal(found, 140, View(unit="bits"))
    assert f"{age.js.value / np.log(2):.4f}" in in_bits
    assert "JS bits" in in_bits
    assert f"{age.tv.value:.3f}" in in_bits


def test_names_from_files_do_not_command_the_terminal(found: Comparison) -> None:
    for text in (on_terminal(found, 140), in_pipe(found)):
        assert "\x1b" not in text
        assert "evil\\x1b[31m" in text
    assert clean("a\nb\u202e\ud800") == "a\\nb\\u202e\\ud800"
    assert clean("naïve 日本 ∞") == "naïve 日本 ∞"


def test_colours_only_where_asked_for(found: Comparison) -> None:
    assert "\x1b[" in on_terminal(found, 80, colours=True)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("name", ["a column with a very long name indeed", "age", "colour"]),
        ("file", ["age", "colour", "when", "steady"]),
    ],
)
def test_the_order_of_columns(found: Comparison, order: Any, expected: list[str]) -> None:
    assert [column.name for column in Words(found, View(order=order)).shown][: len(expected)] == expected


def test_the_order_by_size_and_by_probability(found: Comparison) -> None:
    by_js = [column.js.value for column in Words(found, View()).shown if column.js is not None]
    assert by_js == sorted(by_js, reverse=True)
    by_p = [column.test.p_adjusted for column in Words(found, View(order="p")).shown if column.test is not None]
    assert by_p == sorted(by_p)


def test_top_hides_the_rest_and_says_so(found: Comparison) -> None:
    text = in_pipe(found, View(top=2))
    assert "note: 5 further columns are not shown; --all shows them" in text
    assert len([line for line in text.splitlines() if line.startswith("steady")]) == 0
    assert "7 columns" in text


def test_a_pipe_gets_one_line_a_column(found: Comparison) -> None:
    text = in_pipe(found)
    rows = text.split("\n\n")[1].splitlines()
    assert rows[0].split()[:6] == ["column", "kind", "JS[nats]", "low", "high", "chance"]
    assert rows[0].split()[6:] == ["KL(R||C)", "KL(C||R)", "TV", "W1", "p", "verdict"]
    assert len(rows) == 8
    age = next(row for row in rows if row.startswith("age")).split()
    assert age[1] == "numeric"
    assert age[-1] == "different"
    assert not _BOX.search(text)
    about_age = [line for line in text.splitlines() if line.startswith("age: ")]
    assert len(about_age) == 3
    assert all("nats of JS" in line for line in about_age)


def test_figures() -> None:
    assert [figure(x) for x in (0.0, 0.01234, 12.345, 1234.5, float("inf"))] == ["0", "0.0123", "12.3", "1,234", "∞"]
    certain = Test(1e9, 3, 0.0, 0.0, "chi-squared")
    assert probability(certain) == "<1e-300"
    assert sparkline([], 5) == ""
    assert sparkline([0.0, 0.0], 5) == "  "
    assert sparkline([0.5, 0.5], 5) == "██"
    assert len(sparkline([0.01] * 100, 8)) == 8
    assert sparkline([0.001, 1.0], 2) == "▁█"


def test_small_values_keep_their_digits() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=200_000)
    text = in_pipe(dkl.compare({"x": x}, {"x": rng.normal(size=200_000) + 0.002}, resamples=100))
    js = float(next(line for line in text.splitlines() if line.startswith("x ")).split()[2])
    assert 0 < js < 1e-3
    assert len(f"{js:.2e}") == 8


def _logits(**options: Any) -> Comparison:
    x = np.random.default_rng(8).normal(size=(2, 300, 20))
    y = np.round(x * 4) / 4
    y[1, 7, 3] = -np.inf
    return dkl.compare(x, y, as_="logits", **options)


def test_arrays_in_a_pipe() -> None:
    found = _logits()
    kl = found["array"].kl_reference_current  # type: ignore[union-attr]
    assert isinstance(kl, RowSummary)
    text = in_pipe(found)
    assert "summary: 1 array is compared row by row." in text
    table = [line.split() for line in text.splitlines() if line.startswith(("column ", "array "))]
    figures = dict(zip(table[0], next(row for row in table if row[1] == "KL(R||C)[nats]"), strict=True))
    expected = {
        "mean": "∞",
        "stderr": "-",
        "median": f"{kl.median:.4g}",
        "90%": f"{kl.percentile_90:.4g}",
        "95%": f"{kl.percentile_95:.4g}",
        "99%": f"{kl.percentile_99:.4g}",
        "99.9%": "∞",
        "largest": "∞",
        "infinite": "1",
    }
    assert figures == {"column": "array", "figure": "KL(R||C)[nats]"} | expected
    assert [row[1] for row in table[1:]] == ["JS[nats]", "KL(R||C)[nats]", "KL(C||R)[nats]", "TV"]
    top = found["array"].top_1  # type: ignore[union-attr]
    assert isinstance(top, Agreement)
    assert f"array: top-1 agreement: {100 * top.share:.4g} % ± {100 * top.stderr:.4g} % of the rows" in text  # type: ignore[operator]
    assert f": {top.rows} of 600, {top.tied} with a tie\n" in text
    worst, second = kl.worst[:2]
    assert worst == ((1, 7), np.inf)
    assert f"array: worst by KL(R||C): rows [1, 7] ∞, {list(second[0])} {second[1]:.4g}, " in text
    mean = f"{kl.finite_mean:.4g} ± {kl.finite_stderr:.4g}"
    assert f"array: KL(R||C) is ∞ in 1 row; the others' mean is {mean} nats\n" in text
    assert "top-1 agreement: rows in which both sides have the same most likely outcome" in text
    assert "KL(R||C): in nats: outcomes come from the reference's row, the current row predicts them" in text


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_arrays_on_a_terminal(width: int) -> None:
    found = _logits()
    text = on_terminal(found, width, View("bits"))
    assert max(map(cell_len, text.splitlines())) <= width
    figures, _, findings = text.partition("  top-1 agreement ")
    rows: dict[str, list[str]] = {}
    for title, line in re.findall(r"^  (\S.{,11}\S)  +(.*)$", figures, re.MULTILINE):
        rows.setdefault(title, []).extend(line.split())
    bits = 1 / np.log(2)
    for title, attribute in {
        "mean": "mean",
        "± its error": "stderr",
        "median": "median",
        "90 %": "percentile_90",
        "95 %": "percentile_95",
        "99 %": "percentile_99",
        "99.9 %": "percentile_99_9",
        "largest": "maximum",
    }.items():
        one = found["array"].kl_current_reference  # type: ignore[union-attr]
        assert rows[title][-2] == f"{getattr(one, attribute) * bits:.4g}"
        assert rows[title][-1] == f"{getattr(found['array'].tv, attribute):.4g}"  # type: ignore[union-attr]
    assert rows["infinite rows"][:2] == ["0", "1"]
    assert set(rows["infinite rows"][2:]) <= {"0"}  # left out of a table without any
    assert "worst by KL(R||C)" in findings
    assert f"rows {list(found['array'].js.worst[0][0])} " in findings  # type: ignore[union-attr]


def test_arrays_without_a_difference_have_no_worst_rows() -> None:
    x = np.full((3, 2), 0.5)
    assert "worst by" not in in_pipe(dkl.compare(x, x))
    assert "worst by" not in in_pipe(dkl.compare(x[0], np.array([0.25, 0.75])))  # and a single row is no worst one


def test_counts_have_columns_and_rows() -> None:
    text = in_pipe(dkl.compare(dkl.Counts([[50, 40], [30, 60]]), dkl.Counts([[20, 70], [30, 60]]), resamples=100))
    assert "array: top-1 agreement: 50 % ± 50 % of the rows: 1 of 2, 0 with a tie" in text
    assert "p: chance of at least this much" in text
    assert "mean: over the rows" in text


def test_a_pipe_has_no_escapes_and_no_progress(tables: tuple[Path, Path]) -> None:
    done = spawn("compare", *tables)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert not _BOX.search(done.stdout)


def _through_terminal(*arguments: str, **env: str) -> str:
    """Run with a terminal on standard output and error, and return what it would show."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm-256color"} | env
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # Linux's way to say that the other end was closed
                break
            if not piece:
                break
            shown += piece
        os.close(ours)
        assert process.wait(30) == 0
    return shown.decode()


def test_a_terminal_has_colours_and_a_bar_of_progress(tables: tuple[Path, Path]) -> None:
    shown = _through_terminal("compare", *map(str, tables), COLUMNS="80")
    assert "reading" in shown
    assert "\x1b[1m" in shown
    assert "Where they differ" in shown
    assert shown.index("reading") < shown.index("Where they differ")


def test_a_bar_of_progress_for_arrays(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(200, 5000))
    np.save(tmp_path / "a.npy", x)
    shown = _through_terminal("compare", *[str(tmp_path / "a.npy")] * 2, "--as", "logits", COLUMNS="80")
    shares = [int(share) for share in re.findall(r"(\d+)%", shown[: shown.index("top-1 agreement")])]
    assert shares == sorted(shares)
    assert 100 in shares
    assert "reading" in shown


def test_no_color_and_no_progress_leave_no_escapes(tables: tuple[Path, Path]) -> None:
    shown = _through_terminal("compare", *map(str, tables), "--no-progress", COLUMNS="80", NO_COLOR="1")
    assert "\x1b" not in shown
    assert "reading" not in shown
    assert "Where they differ" in shown


def test_an_ascii_terminal_is_no_failure(tables: tuple[Path, Path]) -> None:
    done = spawn("compare", *tables, env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "\\u221e" in done.stdout
