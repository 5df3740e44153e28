"""What a comparison found: frozen records that print as text and dump as strict JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from dkl._version import __version__
from dkl.comparison.array_result import ArrayComparison
from dkl.comparison.quantities import (
    DIRECTIONS,
    LABELS,
    OWN_UNIT,
    ColumnStatus,
    Quantity,
    finite_or_none,
    short,
    status_of,
)

SCHEMA_VERSION = 1
"""Version of the dictionary that `Comparison.to_dict` returns; it grows when a reader would have to change."""

CellKind = Literal["interval", "value", "other", "unseen", "null", "nan", "+inf", "-inf"]
VerdictWord = Literal["no_difference_found", "below_threshold", "different", "cannot_tell", "not_measured"]


@dataclass(frozen=True, slots=True)
class Measured:
    """One divergence between the two sides of a column.

    Parameters
    ----------
    key
        Which quantity this is, a key of `DIRECTIONS` and `LABELS`.
    unit
        "nats" for JS and KL, "share of rows" for TV, the column's own unit for Wasserstein.
    value
        The plug-in value, straight from the counts; `math.inf` where one side has a cell that the other lacks (KL).
    bias
        The plug-in value to be expected without any difference: for JS and KL by the chi-squared expansion, for TV and
        Wasserstein the mean of draws without a difference. None for an infinite value.
    debiased
        ``value - bias``, kept as it is where it falls below 0: that means "no difference to be seen".
    interval
        Interval for the true value at the comparison's level, free of the bias, so that the plug-in value may lie above
        it; see `dkl.comparison.inference`. None for an infinite value.
    upper_bound
        The largest value that the quantity can take.
    reason
        Why the value is infinite: the cells that one side lacks and the mass they carry.
    smoothed, smoothing
        For an infinite value, the value after adding a pseudo-count to each cell of both sides, and what was added.
    resolution
        For Wasserstein: the value from raw data lies within ``value ± resolution``, because counts on bins do not
        say where in its bin a row lies.
    """

    key: Quantity
    unit: str
    value: float
    bias: float | None = None
    debiased: float | None = None
    interval: tuple[float, float] | None = None
    upper_bound: float = math.inf
    reason: str | None = None
    smoothed: float | None = None
    smoothing: str | None = None
    resolution: float | None = None

    @property
    def label(self) -> str:
        """Name in formulas, such as ``KL(reference || current)``."""
        return LABELS[self.key]

    @property
    def direction(self) -> str:
        """Direction and meaning in words."""
        return DIRECTIONS[self.key]

    @property
    def status(self) -> str:
        """Either "finite" or "infinite"."""
        return status_of(self.value)

    @property
    def bits(self) -> float | None:
        """The plug-in value in bits; None where the unit is not nats."""
        return self.value / math.log(2) if self.unit == "nats" else None

    @property
    def lower(self) -> float:
        """Lower end of the interval, which a threshold is held against: an infinite value lies above every one."""
        return self.interval[0] if self.interval is not None else self.value

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values, an infinity as None beside its status and reason."""
        return {
            "label": self.label,
            "unit": self.unit,
            "value": finite_or_none(self.value),
            "value_bits": finite_or_none(self.bits),
            "status": self.status,
            "reason": self.reason,
            "bias": finite_or_none(self.bias),
            "debiased": finite_or_none(self.debiased),
            "interval": None if self.interval is None else [finite_or_none(end) for end in self.interval],
            "upper_bound": finite_or_none(self.upper_bound),
            "smoothed": finite_or_none(self.smoothed),
            "smoothing": self.smoothing,
            "resolution": finite_or_none(self.resolution),
        }

    def __str__(self) -> str:
        unit = "" if self.unit == OWN_UNIT else f" {self.unit}"
        text = f"{self.label} = {short(self.value)}{unit}"
        if self.interval is not None:
            text += f" [{short(self.interval[0])}, {short(self.interval[1])}]"
        if self.smoothed is not None:
            text += f" (smoothed {short(self.smoothed)}: {self.smoothing})"
        return text


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a column's shared partition: a bin, a value, or a kind of missing value.

    Parameters
    ----------
    label
        What to print: ``(0.5, 1.25]``, ``JFK``, ``null``.
    kind
        "interval" (open below, closed above), "value" (exactly one value), "other" (rare values),
        "unseen" (values that the reference lacks, beyond those listed by name), "null", "nan", "+inf" or "-inf".
    lower, upper
        Ends of an interval; both the value for a number of its own; None for a category. In the column's unit;
        seconds since 1970 for dates and times of day, where `label` prints the date.
    reference, current
        Numbers of rows.
    reference_share, current_share
        Those numbers over the rows of their side.
    contribution
        The cell's term of JS in nats, with the sign + where the current side has the larger share and - where
        the reference has. The absolute values sum to JS.
    """

    label: str
    kind: CellKind
    lower: float | None
    upper: float | None
    reference: int
    current: int
    reference_share: float
    current_share: float
    contribution: float

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values; an open end is None."""
        return {
            "label": self.label,
            "kind": self.kind,
            "lower": finite_or_none(self.lower),
            "upper": finite_or_none(self.upper),
            "reference": self.reference,
            "current": self.current,
            "reference_share": self.reference_share,
            "current_share": self.current_share,
            "contribution": self.contribution,
        }


@dataclass(frozen=True, slots=True)
class Test:
    """Test of "both sides are drawn from one distribution over the cells".

    Parameters
    ----------
    statistic
        G = 2 (n + m) JS with weights n/(n+m) and m/(n+m), in nats.
    degrees
        Cells occupied on either side, less one; rare and unseen categories, of which there is no saying before the
        reference is known, count as one cell.
    p_value
        Probability of a G at least this large if there is no difference.
    p_adjusted
        The same after Benjamini-Hochberg over all measured columns of the comparison.
    method
        "chi-squared", "permutation" (some expected count is below 10), or "one value only" (p is 1).
    permutations
        Number of permuted tables; 0 for the other methods.
    """

    __test__ = False  # a name that pytest would collect

    statistic: float
    degrees: int
    p_value: float
    p_adjusted: float
    method: Literal["chi-squared", "permutation", "one value only"]
    permutations: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from test, interval and threshold: a word for programs and a sentence for people.

    The words are "no_difference_found", "below_threshold" (different, but by less than ``ignore_below``),
    "different", "cannot_tell" (different, and the interval holds ``ignore_below``) and "not_measured".
    """

    word: VerdictWord
    sentence: str

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True, slots=True)
class ColumnComparison:
    """One column, measured or with the reason why it could not be.

    Parameters
    ----------
    name
        The column's name.
    status
        "measured", "only_in_reference", "only_in_current", "type_mismatch" or "not_measurable".
    kind
        "numeric", "temporal" or "categorical" for a measured column, else None.
    reference_type, current_type
        The types as Arrow names them; None where the side has no such column.
    verdict
        The conclusion; for an unmeasured column its sentence is the reason.
    rows_reference, rows_current
        Rows counted on each side, missing values included.
    cells
        The shared partition with both sides' counts: bins in rising order, or categories by falling frequency
        in the reference; missing values last.
    js, kl_reference_current, kl_current_reference, tv, wasserstein
        The measured quantities; None for an unmeasured column, and `wasserstein` also for a categorical one.
    test
        The significance test; None for an unmeasured column.
    notes
        What a careful reader should know: merged categories, all-null sides, converted types.
    """

    name: str
    status: ColumnStatus
    kind: Literal["numeric", "temporal", "categorical"] | None
    reference_type: str | None
    current_type: str | None
    verdict: Verdict
    rows_reference: int = 0
    rows_current: int = 0
    cells: tuple[Cell, ...] = ()
    js: Measured | None = None
    kl_reference_current: Measured | None = None
    kl_current_reference: Measured | None = None
    tv: Measured | None = None
    wasserstein: Measured | None = None
    test: Test | None = None
    notes: tuple[str, ...] = ()

    @property
    def measured(self) -> tuple[Measured, ...]:
        """The quantities that were measured, in the order of `DIRECTIONS`."""
        every = (self.js, self.kl_reference_current, self.kl_current_reference, self.tv, self.wasserstein)
        return tuple(one for one in every if one is not None)

    def top(self, count: int = 3) -> tuple[Cell, ...]:
        """Return the cells that carry most of JS, largest first, leaving out those that carry none."""
        ranked = sorted(self.cells, key=lambda cell: -abs(cell.contribution))
        return tuple(cell for cell in ranked[:count] if cell.contribution != 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values."""
        return {
            "name": self.name,
            "status": self.status,
            "kind": self.kind,
            "reference_type": self.reference_type,
            "current_type": self.current_type,
            "verdict": {"word": self.verdict.word, "sentence": self.verdict.sentence},
            "rows_reference": self.rows_reference,
            "rows_current": self.rows_current,
            "measured": {one.key: one.to_dict() for one in self.measured},
            "test": None if self.test is None else asdict(self.test),
            "cells": [cell.to_dict() for cell in self.cells],
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        lines = [f"{self.name} ({self.kind or self.status.replace('_', ' ')}): {self.verdict.sentence}"]
        lines += [f"  {one}" for one in self.measured]
        lines += [f"  {one.label} is infinite: {one.reason}" for one in self.measured if one.reason]
        for cell in self.top():
            shares = f"{cell.reference_share:.2%} -> {cell.current_share:.2%}"
            lines.append(f"  {cell.label}: {shares}, contribution {cell.contribution:+.3g} nats")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Side:
    """Where one side's data came from.

    Parameters
    ----------
    description
        A file's path, or the kind of object.
    format
        "csv", "parquet", "arrow", "jsonl", "npy", "npz", "safetensors", "memory" or "saved reference".
    rows
        Rows read; for arrays of distributions the number of distributions.
    """

    description: str
    format: str
    rows: int


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that a comparison ran with; two runs with equal settings and data give equal answers.

    Parameters
    ----------
    bins
        Equal-frequency bins of a numeric column.
    max_categories
        Categories that keep a cell of their own; the rarer ones become OTHER, or UNSEEN if the reference lacks them.
    resamples
        Bootstrap resamples, and permuted tables where a test needs them.
    seed
        Seed of every random draw.
    level
        Level of the intervals.
    alpha
        Adjusted p-values below this are called differences.
    ignore_below
        JS in nats below which a difference does not matter.
    """

    bins: int = 32
    max_categories: int = 1000
    resamples: int = 1000
    seed: int = 0
    level: float = 0.95
    alpha: float = 0.01
    ignore_below: float = 0.0


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """The whole comparison of a reference with current data.

    Parameters
    ----------
    reference, current
        The two sides.
    settings
        What the comparison ran with.
    columns
        One entry a column, in the reference's order, then the columns that only the current side has.
    arrays
        One entry an array of distributions.
    notes
        What holds for the comparison as a whole.

    Examples
    --------
    ``comparison["air_time"]`` finds a column or an array by its name; iterating yields all of them.
    """

    reference: Side
    current: Side
    settings: Settings
    columns: tuple[ColumnComparison, ...] = ()
    arrays: tuple[ArrayComparison, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def __getitem__(self, name: str) -> ColumnComparison | ArrayComparison:
        for entry in self:
            if entry.name == name:
                return entry
        raise KeyError(f"no column or array is named {name!r}; there are: {', '.join(entry.name for entry in self)}")

    def __iter__(self) -> Iterator[ColumnComparison | ArrayComparison]:
        yield from self.columns
        yield from self.arrays

    def __len__(self) -> int:
        return len(self.columns) + len(self.arrays)

    @property
    def different(self) -> tuple[ColumnComparison, ...]:
        """The columns whose verdict is "different", largest JS first."""
        found = [column for column in self.columns if column.verdict.word == "different" and column.js is not None]
        return tuple(sorted(found, key=lambda column: -(column.js.value if column.js is not None else 0.0)))

    @property
    def unmeasured(self) -> tuple[ColumnComparison | ArrayComparison, ...]:
        """The columns and arrays that could not be measured."""
        return tuple(entry for entry in self if entry.status != "measured")

    def exceeding(self, threshold: float, quantity: Quantity = "js") -> tuple[str, ...]:
        """Name the columns and arrays that lie above a threshold.

        A column does if its interval's lower end does; an array if its mean over the rows does. An infinite
        value lies above every threshold.
        """
        names = []
        for column in self.columns:
            one = getattr(column, quantity)
            if one is not None and one.lower > threshold:
                names.append(column.name)
        for array in self.arrays:
            summary = getattr(array, quantity, None)
            if summary is not None and summary.mean > threshold:
                names.append(array.name)
        return tuple(names)

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as strict JSON values: no NaN, and infinity as None beside a status."""
        return {
            "schema_version": SCHEMA_VERSION,
            "dkl_version": __version__,
            "reference": asdict(self.reference),
            "current": asdict(self.current),
            "settings": asdict(self.settings),
            "seed": self.settings.seed,
            "units": {
                "js": "nats",
                "kl_reference_current": "nats",
                "kl_current_reference": "nats",
                "tv": "share of rows",
                "top_1": "share of rows",
                "wasserstein": OWN_UNIT,
                "contribution": "nats of JS, + where the current side has the larger share",
            },
            "directions": dict(DIRECTIONS),
            "method": dict(METHOD),
            "columns": [column.to_dict() for column in self.columns],
            "arrays": [array.to_dict() for array in self.arrays],
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        return (
            f"<Comparison of {self.reference.description} with {self.current.description}: "
            f"{len(self)} entries, {len(self.different)} different, {len(self.unmeasured)} not measured>"
        )

    def __str__(self) -> str:
        lines = [
            f"reference: {self.reference.description} ({self.reference.rows:,} rows)",
            f"current:   {self.current.description} ({self.current.rows:,} rows)",
        ]
        measured = [column for column in self.columns if column.js is not None and column.test is not None]
        if measured:
            width = max(len("column"), *(len(column.name) for column in measured))
            lines += ["", f"{'column':<{width}}  {'JS [nats]':>10}  {'interval':>21}  {'p adj.':>8}  verdict"]
        for column in measured:
            assert column.js is not None  # narrowed above
            assert column.test is not None
            low, high = column.js.interval or (math.nan, math.nan)
            interval = f"[{short(low)}, {short(high)}]"
            lines.append(
                f"{column.name:<{width}}  {short(column.js.value):>10}  {interval:>21}  "
                f"{short(column.test.p_adjusted):>8}  {column.verdict.word.replace('_', ' ')}"
            )
        lines += [""] * bool(self.arrays) + [str(array) for array in self.arrays]
        others = [column for column in self.columns if column.status != "measured"]
        lines += [""] * bool(others) + [f"{column.name}: {column.verdict.sentence}" for column in others]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)


METHOD = {
    "cells": "equal-frequency bins of the reference with open tails, heavy ties and missing values apart; "
    "the values of a categorical column",
    "bias": "JS and KL: (K-1)/2 (1/n + 1/m) for KL and a quarter of it for JS, K cells occupied on either side; "
    "TV and Wasserstein: the mean of draws without a difference",
    "interval": "free of the bias; JS and KL: the values under which the plug-in value lies in neither tail of a "
    "scaled noncentral chi-squared, its mean and variance without a difference from the multinomial bootstrap of the "
    "pooled counts (JS) or the chi-squared expansion (KL), at the observed difference from draws there (JS) or the "
    "delta method (KL); TV and "
    "Wasserstein: down by the quantile of that bootstrap, up by the largest standard error, at least at the level",
    "test": "G = 2 (n + m) JS with weights n/(n+m), chi-squared with K-1 degrees; by permutation where an expected "
    "count is below 10, continued by a gamma distribution with the permuted tables' mean and variance where none of "
    "them reaches G",
    "rows": "each row of an array exactly; a percentile is the smallest of their values that so many do not exceed, a "
    "standard error that of independent rows",
    "top_1": "rows in which both sides have the same most likely outcome, the first of equally likely ones",
    "adjustment": "Benjamini-Hochberg over the measured columns",
}
"""How the numbers are made, in words; part of the JSON."""
