"""What a comparison found in arrays of distributions: frozen records, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dkl.comparison.quantities import (
    DIRECTIONS,
    LABELS,
    ColumnStatus,
    Quantity,
    finite_or_none,
    short,
    status_of,
)


@dataclass(frozen=True, slots=True)
class RowSummary:
    """One divergence over the rows of two arrays of distributions, each row computed exactly.

    Parameters
    ----------
    key, unit
        As in `Measured`.
    mean
        Over all rows, infinite ones included.
    stderr
        Standard error of the mean, for rows that are independent of each other: the rows' standard deviation over the
        square root of their number. None where the mean is infinite, and for a single row.
    median, percentile_90, percentile_95, percentile_99, percentile_99_9
        The smallest of the rows' values that so many of all rows do not exceed; infinite ones are the largest.
    maximum
        The largest value.
    finite_mean, finite_stderr
        As `mean` and `stderr`, over the rows whose value is finite; None if there is none.
    infinite
        Number of infinite rows.
    worst
        The rows with the largest values, the first of equals first: each row's index in the leading dimensions, and
        its value.
    """

    key: Quantity
    unit: str
    mean: float
    stderr: float | None
    median: float
    percentile_90: float
    percentile_95: float
    percentile_99: float
    percentile_99_9: float
    maximum: float
    finite_mean: float | None
    finite_stderr: float | None
    infinite: int
    worst: tuple[tuple[tuple[int, ...], float], ...]

    @property
    def label(self) -> str:
        """Name in formulas."""
        return LABELS[self.key]

    @property
    def direction(self) -> str:
        """Direction and meaning in words."""
        return DIRECTIONS[self.key]

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values; "status" speaks of the mean."""
        return {
            "label": self.label,
            "unit": self.unit,
            "status": status_of(self.mean),
            "mean": finite_or_none(self.mean),
            "stderr": self.stderr,
            "median": finite_or_none(self.median),
            "percentile_90": finite_or_none(self.percentile_90),
            "percentile_95": finite_or_none(self.percentile_95),
            "percentile_99": finite_or_none(self.percentile_99),
            "percentile_99_9": finite_or_none(self.percentile_99_9),
            "maximum": finite_or_none(self.maximum),
            "finite_mean": self.finite_mean,
            "finite_stderr": self.finite_stderr,
            "infinite_rows": self.infinite,
            "worst_rows": [
                {"row": list(row), "value": finite_or_none(value), "status": status_of(value)}
                for row, value in self.worst
            ],
        }

    def __str__(self) -> str:
        error = "" if self.stderr is None else f" ± {short(self.stderr)}"
        text = (
            f"{self.label}: mean {short(self.mean)}{error}, median {short(self.median)}, "
            f"95 % {short(self.percentile_95)}, 99 % {short(self.percentile_99)}, max {short(self.maximum)} {self.unit}"
        )
        if self.infinite:
            text += f"; {self.infinite} infinite rows, mean of the others {short(self.finite_mean)}"
        return text


@dataclass(frozen=True, slots=True)
class Agreement:
    """In how many rows both sides have the same most likely outcome.

    Of several outcomes that are equally likely and more so than any other, the first counts as the most likely, on both
    sides: what ``argmax`` of NumPy and PyTorch, and so greedy decoding, would choose.

    Parameters
    ----------
    rows
        Rows in which both sides have the same most likely outcome.
    share
        Their share of all rows.
    stderr
        Standard error of the share, for rows that are independent of each other; None for a single row.
    tied
        Rows in which, on either side, several outcomes are the most likely.
    """

    rows: int
    share: float
    stderr: float | None
    tied: int

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values."""
        return {
            "label": "top-1 agreement",
            "unit": "share of rows",
            "rows": self.rows,
            "share": self.share,
            "stderr": self.stderr,
            "tied_rows": self.tied,
        }

    def __str__(self) -> str:
        error = "" if self.stderr is None else f" ± {self.stderr:.2%}"
        return f"top-1 agreement: {self.share:.2%}{error} of the rows, {self.tied} with a tie"


@dataclass(frozen=True, slots=True)
class ArrayComparison:
    """Two arrays of distributions, compared row by row (the last axis holds the outcomes).

    Parameters
    ----------
    name
        The array's name in its file, or "array".
    status
        As for a column: "measured", "only_in_reference", "only_in_current" or "not_measurable".
    sentence
        One line for people: the result, or why there is none.
    reference_representation, current_representation
        "probs", "log-probs", "logits" or "counts"; None where the side has no such array.
    shape
        Shape of both arrays, outcomes last; None if unmeasured.
    js, kl_reference_current, kl_current_reference, tv
        Summaries over the rows; None if unmeasured.
    top_1
        How often both sides have the same most likely outcome; None if unmeasured.
    notes
        What a careful reader should know.
    """

    name: str
    status: ColumnStatus
    sentence: str
    reference_representation: str | None
    current_representation: str | None
    shape: tuple[int, ...] | None = None
    js: RowSummary | None = None
    kl_reference_current: RowSummary | None = None
    kl_current_reference: RowSummary | None = None
    tv: RowSummary | None = None
    top_1: Agreement | None = None
    notes: tuple[str, ...] = ()

    @property
    def measured(self) -> tuple[RowSummary, ...]:
        """The summaries, in the order of `DIRECTIONS`."""
        every = (self.js, self.kl_reference_current, self.kl_current_reference, self.tv)
        return tuple(one for one in every if one is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values."""
        return {
            "name": self.name,
            "status": self.status,
            "sentence": self.sentence,
            "reference_representation": self.reference_representation,
            "current_representation": self.current_representation,
            "shape": None if self.shape is None else list(self.shape),
            "measured": {one.key: one.to_dict() for one in self.measured},
            "top_1": None if self.top_1 is None else self.top_1.to_dict(),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.sentence}"]
        lines += [f"  {one}" for one in self.measured]
        lines += [] if self.top_1 is None else [f"  {self.top_1}"]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)
