"""The figures: what is drawn is what was measured, for every kind of column."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import dkl
from dkl import plots
from dkl.comparison import ColumnComparison, Comparison

_RNG = np.random.default_rng(11)
_N = 3000
_DAYS = np.datetime64("2024-01-01") + np.arange(900).astype("timedelta64[D]")


def _zeros(x: np.ndarray[Any, Any], share: float) -> np.ndarray[Any, Any]:
    return np.where(_RNG.random(len(x)) < share, 0.0, x)


PAIRS: dict[str, tuple[Any, Any]] = {
    "normal": (_RNG.normal(size=_N), _RNG.normal(size=_N) + 0.3),
    "log-normal": (np.exp(3 * _RNG.normal(size=_N)), np.exp(3 * _RNG.normal(size=_N) + 1)),
    "counts": (_RNG.poisson(3, _N), _RNG.poisson(4, _N)),
    "zero-inflated": (_zeros(_RNG.exponential(size=_N), 0.4), _zeros(_RNG.exponential(size=_N), 0.2)),
    "NaN and infinities": (
        np.where(_RNG.random(_N) < 0.3, np.nan, _RNG.normal(size=_N)),
        np.where(_RNG.random(_N) < 0.1, np.inf, _RNG.normal(size=_N)),
    ),
    "days": (_RNG.choice(_DAYS[:20], _N), _RNG.choice(_DAYS[5:25], _N)),
    "instants": (
        _RNG.choice(_DAYS, _N).astype("datetime64[us]"),
        _RNG.choice(_DAYS[200:], _N).astype("datetime64[us]"),
    ),
    "durations": (
        _RNG.integers(0, 900, _N).astype("timedelta64[s]"),
        _RNG.integers(90, 999, _N).astype("timedelta64[s]"),
    ),
    "few categories": (_RNG.choice(["a", "b"], _N), _RNG.choice(["a", "b", "c"], _N)),
    "many categories": (_RNG.integers(0, 90, _N).astype(str), _RNG.integers(5, 99, _N).astype(str)),
    "awkward labels": (["$x_1$", "a\nb", "w" * 200] * 50, ["$x_1$", "", "w" * 200] * 50),
    "one value": ([1.0] * 50, [1.0] * 40),
    "another value": ([1.0] * 50, [2.0] * 40),
    "all null": ([None] * 50, [None] * 40),
    "reference null": ([None] * 50, [1.5, 2.5] * 40),
    "beyond floats": ([2**60 + i for i in range(200)], [2**60 + i for i in range(100, 300)]),
    "tiny": (np.linspace(1e-300, 2e-300, 200), np.linspace(1e-300, 3e-300, 200)),
    "huge": (1e200 * np.linspace(-1, 1, 200), 1e200 * np.linspace(0, 1, 200)),
}


def _column(name: str) -> ColumnComparison:
    before, after = PAIRS[name]
    column = dkl.compare({name: before}, {name: after}, resamples=100)[name]
    assert isinstance(column, ColumnComparison)
    return column


def _bars(axes: Any) -> list[Rectangle]:
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


@pytest.mark.parametrize("name", PAIRS)
def test_every_column_is_drawn_with_its_js(name: str) -> None:
    column = _column(name)
    assert column.js is not None
    top, bottom = plots.comparison(column)
    with io.BytesIO() as image:
        top.figure.savefig(image, format="png", dpi=40)
        assert len(image.getvalue()) > 2000
    heights = [bar.get_height() for bar in _bars(bottom)]
    label = bottom.get_ylabel()
    power = 10.0 ** -int(label.partition("10^{-")[2].partition("}")[0] or 0)
    if len(heights) == len(column.cells):
        assert sum(map(abs, heights)) * power == pytest.approx(column.js.value, abs=1e-12)
    else:
        assert len(heights) == 20 < len(column.cells)
    assert sum(heights) * power == pytest.approx(sum(cell.contribution for cell in column.cells), abs=1e-12)
    assert top.get_xlim() == bottom.get_xlim()
    assert top.get_legend() is not None
    for axes in (top, bottom):
        assert axes.get_ylabel()


@pytest.mark.parametrize("name", ["normal", "log-normal", "counts", "zero-inflated", "NaN and infinities", "instants"])
def test_areas_are_shares_of_rows(name: str) -> None:
    column = _column(name)
    top, _ = plots.comparison(column)
    area = sum(bar.get_height() * bar.get_width() for bar in _bars(top))
    assert area == pytest.approx(1.0)
    places = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in _bars(top))
    assert all(stop <= start + 1e-9 * max(1, abs(start)) for (_, stop), (start, _) in itertools.pairwise(places))


def test_zeros_and_missing_values_stand_apart() -> None:
    top, bottom = plots.comparison(_column("zero-inflated"))
    assert [tick.get_text() for tick in bottom.get_xticklabels()][-1] == "=0"
    top, bottom = plots.comparison(_column("NaN and infinities"))
    assert [tick.get_text() for tick in bottom.get_xticklabels()][-2:] == ["+inf", "NaN"]
    assert len(top.get_legend().get_texts()) == 3  # open tails are explained where there are any


def test_many_categories_are_told_as_the_most_telling_and_the_others() -> None:
    column = _column("many categories")
    _, bottom = plots.comparison(column)
    labels = [tick.get_text() for tick in bottom.get_xticklabels()]
    assert len(labels) == 20
    assert labels[0] == column.top(1)[0].label
    assert labels[-1].startswith(f"{len(column.cells) - 19} others, net\n")


def test_axes_in_axes_out() -> None:
    figure = Figure()
    axes = figure.subplots(2, 1)
    top, bottom = plots.comparison(_column("normal"), axes=axes)
    assert (top, bottom) == tuple(axes)
    with pytest.raises(ValueError, match="axes holds 3: two are needed"):
        plots.comparison(_column("normal"), axes=figure.subplots(3, 1))


def test_bits() -> None:
    column = _column("normal")
    assert column.js is not None
    top, bottom = plots.comparison(column, unit="bits")
    bits = column.js.value / np.log(2)
    assert f"{bits:.4g} bits" in top.texts[0].get_text()
    assert bottom.get_ylabel() == "adds to JS\n($10^{-3}$ bits)"
    assert sum(abs(bar.get_height()) for bar in _bars(bottom)) / 1000 == pytest.approx(bits)


def test_the_colour_says_which_side_has_more() -> None:
    top, bottom = plots.comparison(_column("few categories"))
    reference, current = (handle.get_facecolor() for handle in top.get_legend().get_patches())
    assert reference != current
    for bar in _bars(bottom):
        assert bar.get_facecolor() == (current if bar.get_height() > 0 else reference)


@pytest.mark.parametrize(("most", "drawn"), [(6, 6), (3, 3), (1, 1)])
def test_comparisons_draw_what_differs_most(most: int, drawn: int) -> None:
    names = ["normal", "log-normal", "counts", "zero-inflated", "NaN and infinities", "days", "few categories"]
    found = dkl.compare({k: PAIRS[k][0] for k in names}, {k: PAIRS[k][1] for k in names}, resamples=100)
    figure = plots.comparisons(found, most=most)
    titles = [axes.get_title(loc="left") for axes in figure.axes[::2]]
    assert titles == [column.name for column in found.different[:drawn]]
    assert f"the {drawn} that differ most" in figure.get_suptitle()


def test_where_nothing_differs_that_is_said() -> None:
    found = dkl.compare({"x": list(range(100))}, {"x": list(range(100))}, resamples=100)
    figure = plots.comparisons(found)
    assert "none of 1 column differs by more than chance" in figure.get_suptitle()


def test_nothing_to_draw() -> None:
    found = dkl.compare({"x": [1, 2], "y": [1, 2]}, {"x": [1, 2], "y": ["a", "b"]}, resamples=100)
    column = found["y"]
    assert isinstance(column, ColumnComparison)
    with pytest.raises(ValueError, match="'y' was not measured"):
        plots.comparison(column)
    arrays = dkl.compare(np.array([[0.5, 0.5]]), np.array([[0.5, 0.5]]))
    assert isinstance(arrays, Comparison)
    with pytest.raises(ValueError, match="no column was measured"):
        plots.comparisons(arrays)


def test_no_label_leaves_the_figure() -> None:
    names = ["normal", "many categories", "NaN and infinities", "awkward labels"]
    figures = [plots.comparison(_column(name))[0].figure for name in names]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for figure in figures:
            assert isinstance(figure, Figure)
            figure.savefig(io.BytesIO(), format="png")
            tight = figure.get_tightbbox()
            assert tight.x0 >= 0
            assert tight.y0 >= 0
            assert tight.x1 <= figure.get_figwidth()
            assert tight.y1 <= figure.get_figheight()


def test_pyplot_stays_out_of_it() -> None:
    code = "import sys, dkl.plots; print('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
