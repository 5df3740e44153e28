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
    mean, median, percentile_95, maximum
        Over all rows, infinite ones included.
    finite_mean
        Over the rows whose value is finite; None if there is none.
    infinite
        Number of infinite rows.
    worst
        The rows with the largest values: each row's index in the leading dimensions, and its value.
    """

    key: Quantity
    unit: str
    mean: float
    median: float
    percentile_95: float
    maximum: float
    finite_mean: float | None
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
            "median": finite_or_none(self.median),
            "percentile_95": finite_or_none(self.percentile_95),
            "maximum": finite_or_none(self.maximum),
            "finite_mean": self.finite_mean,
            "infinite_rows": self.infinite,
            "worst_rows": [
                {"row": list(row), "value": finite_or_none(value), "status": status_of(value)}
                for row, value in self.worst
            ],
        }

    def __str__(self) -> str:
        text = (
            f"{self.label}: mean {short(self.mean)}, median {short(self.median)}, "
            f"95 % {short(self.percentile_95)}, max {short(self.maximum)} {self.unit}"
        )
        if self.infinite:
            text += f"; {self.infinite} infinite rows, mean of the others {short(self.finite_mean)}"
        return text


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
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.sentence}"]
        lines += [f"  {one}" for one in self.measured]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)
