"""What a comparison says in words and figures: shared by the layouts for terminals and for pipes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from dkl.comparison import ArrayComparison, ColumnComparison, Comparison, Measured, RowSummary, Test
from dkl.comparison.quantities import OWN_UNIT, Quantity, short
from dkl.comparison.result import VerdictWord

UnitName = Literal["nats", "bits"]
Order = Literal["js", "name", "p", "file"]

FACTORS: dict[UnitName, float] = {"nats": 1.0, "bits": 1 / math.log(2)}
"""What a number of nats is multiplied by."""

VERDICTS: dict[VerdictWord, str] = {
    "different": "different",
    "no_difference_found": "none found",
    "below_threshold": "negligible",
    "cannot_tell": "unclear",
    "not_measured": "not measured",
}
"""Each verdict in a table's few letters."""

KL_NAMES: dict[Quantity, str] = {"kl_reference_current": "KL(R||C)", "kl_current_reference": "KL(C||R)"}
"""Both directions in a table's few letters: R is the reference, C the current data."""

ROW_NAMES: dict[Quantity, str] = {"js": "JS", **KL_NAMES, "tv": "TV"}
"""What is measured of every row of an array."""

ROW_FIGURES = {
    "median": "median",
    "90 %": "percentile_90",
    "95 %": "percentile_95",
    "99 %": "percentile_99",
    "99.9 %": "percentile_99_9",
    "largest": "maximum",
}
"""What is shown of a quantity's values in the rows of an array beside their mean: heading and attribute."""

TOP_CELLS = 3
"""Cells that are named for each differing column."""


@dataclass(frozen=True)
class View:
    """How a comparison is to be shown.

    Parameters
    ----------
    unit
        Unit of JS and KL.
    order
        "js" (largest first), "p" (smallest first), "name", or "file" (the reference's order).
    top
        The most columns to show; None for all.
    """

    unit: UnitName = "nats"
    order: Order = "js"
    top: int | None = None


class Words:
    """A comparison's figures and sentences in one unit.

    Parameters
    ----------
    comparison
        What was found.
    view
        How to show it.
    """

    def __init__(self, comparison: Comparison, view: View) -> None:
        self.comparison = comparison
        self.unit = view.unit
        self.factor = FACTORS[view.unit]
        self.measured = [column for column in comparison.columns if column.status == "measured"]
        self.shown = _arranged(self.measured, view.order)[: view.top]
        self.differing = [column for column in self.shown if column.verdict.word in ("different", "cannot_tell")]
        self.arrays = [array for array in comparison.arrays if array.status == "measured"]
        self._decimals = self._enough_decimals()

    def _enough_decimals(self) -> int:
        """Return the decimals that give the largest JS three significant digits, the same for the whole table."""
        largest = max((one.value * self.factor for one in map(js_of, self.shown)), default=0.0)
        return 4 if largest <= 0 else min(max(2 - math.floor(math.log10(largest)), 4), 8)

    # Figures

    def number(self, one: Measured, value: float) -> str:
        """Return a value of the quantity, in the unit that is shown."""
        if math.isinf(value):
            return "∞"
        if one.unit == "nats":
            return f"{value * self.factor:.{self._decimals}f}"
        return f"{value:.3f}" if one.key == "tv" else figure(value)

    def value(self, one: Measured | None) -> str:
        """Return the plug-in value, or nothing where the quantity does not exist."""
        return "" if one is None else self.number(one, one.value)

    def interval(self, one: Measured) -> str:
        """Return the interval, in brackets."""
        return (
            ""
            if one.interval is None
            else f"[{self.number(one, one.interval[0])}, {self.number(one, one.interval[1])}]"
        )

    def unit_of(self, one: Measured | RowSummary) -> str:
        """Return the unit that goes with `number`, with a space before it; nothing for a column's unknown unit."""
        if one.unit == "nats":
            return f" {self.unit}"
        return "" if one.unit == OWN_UNIT or one.key == "tv" else f" {one.unit}"

    def distance(self, column: ColumnComparison) -> str:
        """Return the Wasserstein distance with its unit where that is known; nothing where there is no distance."""
        one = column.wasserstein
        return "" if one is None else self.value(one) + self.unit_of(one)

    @property
    def level(self) -> str:
        """The intervals' level in percent."""
        return percent(self.comparison.settings.level)

    def row_figure(self, one: RowSummary, value: float | None) -> str:
        """Return a value to four significant digits, because the rows of one array may span many orders."""
        if value is None:
            return ""
        return short(value * self.factor if one.unit == "nats" else value)

    # Sentences

    def summary(self) -> str:
        """Return what the whole comparison comes to."""
        sentences = [self._columns_summary()] if self.measured else []
        if self.arrays:
            count = len(self.arrays)
            sentences.append(f"{count} {'array is' if count == 1 else 'arrays are'} compared row by row.")
        count = len(self.comparison.unmeasured)
        if count:
            sentences.append(f"{count} {_noun(count, self.comparison)} could not be measured (see below).")
        return " ".join(sentences)

    def _columns_summary(self) -> str:
        settings = self.comparison.settings
        found = [column.verdict.word for column in self.measured]
        differing = sum(word in ("different", "below_threshold", "cannot_tell") for word in found)
        total = len(self.measured)
        columns = "column differs" if total == 1 else "columns differ"
        corrected = "" if total == 1 else f" after correction for {total} columns"
        text = f"{differing} of {total} {columns} by more than chance at {percent(settings.alpha)}{corrected}"
        if differing == 0:
            return f"{text}."
        if settings.ignore_below > 0:
            parts = [
                f"{found.count(word)} {meaning}"
                for word, meaning in (
                    ("different", "by enough to matter"),
                    ("below_threshold", "by too little to matter"),
                    ("cannot_tell", "by perhaps enough"),
                )
                if word in found
            ]
            limit = figure(settings.ignore_below * self.factor)
            text += f": {', '.join(parts)} (JS of {limit} {self.unit} is where it begins to)"
        largest = max(self.measured, key=lambda column: js_of(column).value)
        return f"{text}. The largest JS is that of {clean(largest.name)}: {self.value(largest.js)} {self.unit}."

    def array_sentence(self, array: ArrayComparison) -> str:
        """Return an array's result on one line."""
        assert array.js is not None  # of measured arrays only
        assert array.shape is not None
        rows = math.prod(array.shape[:-1])
        return (
            f"{rows:,} {'row' if rows == 1 else 'rows'} of {array.shape[-1]:,} outcomes "
            f"({array.reference_representation} against {array.current_representation}): "
            f"JS {self.row_figure(array.js, array.js.mean)} {self.unit} on average, "
            f"{self.row_figure(array.js, array.js.maximum)} at most"
        )

    def row_findings(self, array: ArrayComparison) -> Iterator[tuple[str, str]]:
        """Yield what is said of an array's rows beside the figures of each quantity: a title and a sentence."""
        assert array.top_1 is not None  # of measured arrays only
        assert array.shape is not None
        top_1, rows = array.top_1, math.prod(array.shape[:-1])
        error = "" if top_1.stderr is None else f" ± {percent(top_1.stderr)}"
        yield (
            "top-1 agreement",
            f"{percent(top_1.share)}{error} of the rows: {top_1.rows:,} of {rows:,}, {top_1.tied:,} with a tie",
        )
        if rows == 1:
            return
        for one in array.measured:
            worst = [f"{list(index)} {self.row_figure(one, value)}" for index, value in one.worst if value > 0]
            if worst:
                yield f"worst by {ROW_NAMES[one.key]}", f"rows {', '.join(worst)}"

    def infinities(self) -> Iterator[tuple[str, str]]:
        """Yield the name and the explanation of each infinite value."""
        for column in self.shown:
            for one in column.measured:
                if math.isinf(one.value):
                    smoothed = (
                        ""
                        if one.smoothed is None
                        else f"; smoothed (½ per cell): {self.number(one, one.smoothed)} {self.unit}"
                    )
                    yield (
                        clean(column.name),
                        f"{KL_NAMES.get(one.key, one.label)} is ∞: {clean(one.reason or '')}{smoothed}",
                    )
        for array in self.arrays:
            for summary in array.measured:
                if summary.infinite:
                    rows = "1 row" if summary.infinite == 1 else f"{summary.infinite:,} rows"
                    others = (
                        ""
                        if summary.finite_mean is None
                        else (
                            f"; the others' mean is {self.row_figure(summary, summary.finite_mean)}"
                            f"{self._error(summary)}{self.unit_of(summary)}"
                        )
                    )
                    yield clean(array.name), f"{KL_NAMES.get(summary.key, summary.label)} is ∞ in {rows}{others}"

    def _error(self, one: RowSummary) -> str:
        return "" if one.finite_stderr is None else f" ± {self.row_figure(one, one.finite_stderr)}"

    def notes(self) -> Iterator[tuple[str, str]]:
        """Yield remarks as pairs of what they are about (nothing: the whole) and the remark."""
        for entry in self.comparison.unmeasured:
            why = entry.verdict.sentence if isinstance(entry, ColumnComparison) else entry.sentence
            yield clean(entry.name), why
        noted: list[ColumnComparison | ArrayComparison] = [*self.shown, *self.arrays]
        for entry in noted:
            for note in entry.notes:
                yield clean(entry.name), clean(note)
        for note in self.comparison.notes:
            yield "", clean(note)
        hidden = len(self.measured) - len(self.shown)
        if hidden:
            yield "", f"{hidden} further {'column is' if hidden == 1 else 'columns are'} not shown; --all shows them"

    def legend(self, *, chance: bool, plain: bool = False) -> Iterator[tuple[str, str]]:
        """Yield each figure's name and meaning, of those that occur.

        ``chance`` if the layout has that figure, ``plain`` if it names verdicts and interval as a program would.
        """
        if self.arrays and not self.shown:
            yield from self._legend_of_rows()
            return
        has_distance = any(column.wasserstein is not None for column in self.shown)
        top = figure(math.log(2) * self.factor)
        meanings: list[tuple[str, str, bool]] = [
            (
                "JS",
                f"Jensen-Shannon divergence in {self.unit}: 0 for equal distributions, {top} for disjoint ones",
                True,
            ),
            ("KL(R||C)", f"in {self.unit}: the rows are the reference's, the current data predict them", True),
            ("KL(C||R)", f"in {self.unit}: the rows are the current data's, the reference predicts them", True),
            ("TV", "total variation: the share of rows that would have to change cell, from 0 to 1", True),
            ("W1", "Wasserstein-1: how far values move on average, in the column's own unit", has_distance),
        ]
        for name, meaning, occurs in meanings:
            if occurs:
                yield name, meaning
        if not self.shown:
            return
        if self.arrays:
            yield from _MEANINGS_OF_ROWS.items()
        settings = self.comparison.settings
        yield (
            "low, high" if plain else f"[{self.level}]",
            f"{self.level} interval for the true value; the other figures are plug-in values, lifted by chance",
        )
        if chance:
            yield "chance", "the JS to be expected without a difference, from the numbers of cells and rows"
        methods = sorted({column.test.method for column in self.shown if column.test is not None} - {"one value only"})
        by = f"G-test ({' or '.join(methods)})" if methods else "no test needed"
        corrected = f", Benjamini-Hochberg over {len(self.measured)} columns" if len(self.measured) > 1 else ""
        yield "p", f"chance of at least this much without a difference: {by}{corrected}"
        limit = f"{figure(settings.ignore_below * self.factor)} {self.unit}"
        alpha = percent(settings.alpha)
        said: dict[VerdictWord, str] = {
            "different": f"p below {alpha}" + (f" and JS above {limit}" if settings.ignore_below else ""),
            "no_difference_found": f"p is {alpha} or more: what is seen may be chance",
            "below_threshold": f"p below {alpha}, but JS below {limit}",
            "cannot_tell": f"p below {alpha}, but the interval of JS holds {limit}",
        }
        occurring = {column.verdict.word for column in self.shown}
        for word, meaning in said.items():
            if word in occurring:
                yield word if plain else VERDICTS[word], meaning

    def _legend_of_rows(self) -> Iterator[tuple[str, str]]:
        top = figure(math.log(2) * self.factor)
        yield "JS", f"Jensen-Shannon divergence in {self.unit}: 0 for equal rows, {top} for disjoint ones"
        yield "KL(R||C)", f"in {self.unit}: outcomes come from the reference's row, the current row predicts them"
        yield "KL(C||R)", f"in {self.unit}: outcomes come from the current row, the reference's predicts them"
        yield "TV", "total variation: the share of a row's probability that would have to move, from 0 to 1"
        yield from _MEANINGS_OF_ROWS.items()


_MEANINGS_OF_ROWS = {
    "mean": "over the rows, ± its standard error if the rows are independent of each other",
    "99 %": "so many of the rows have this value or a lower one",
    "top-1 agreement": "rows in which both sides have the same most likely outcome; among equals the first counts",
}
"""What figures mean that only arrays have."""


def js_of(column: ColumnComparison) -> Measured:
    """Return a measured column's JS."""
    assert column.js is not None  # of measured columns only
    return column.js


def figure(number: float) -> str:
    """Format a number for people: three significant digits, or a whole number with separators."""
    if math.isinf(number):
        return "∞" if number > 0 else "-∞"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def percent(share: float) -> str:
    """Format a share as a percentage."""
    return f"{100 * share:.4g} %"


def probability(test: Test | None) -> str:
    """Format an adjusted p-value."""
    if test is None:
        return ""
    return "<1e-300" if test.p_adjusted < 1e-300 else f"{test.p_adjusted:.2g}"


def clean(text: str) -> str:
    """Return text from a file with what a terminal would obey, or what would break a line, written as escapes."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _arranged(columns: list[ColumnComparison], order: Order) -> list[ColumnComparison]:
    assert order in get_args(Order)
    if order == "name":
        return sorted(columns, key=lambda column: column.name)
    if order == "p":
        return sorted(
            columns, key=lambda column: (1.0 if column.test is None else column.test.p_adjusted, -js_of(column).value)
        )
    return sorted(columns, key=lambda column: -js_of(column).value) if order == "js" else columns


def _noun(count: int, comparison: Comparison) -> str:
    noun = "array" if not comparison.columns else "column" if not comparison.arrays else "entry"
    return noun if count == 1 else {"array": "arrays", "column": "columns", "entry": "entries"}[noun]
