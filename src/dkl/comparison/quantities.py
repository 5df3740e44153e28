"""What is measured: each quantity's name, unit and direction in words, and its values as text and JSON."""

from __future__ import annotations

import math
from typing import Literal

DIRECTIONS = {
    "js": "symmetric: what one row tells about which of two equally likely sides it came from, in [0, ln 2]",
    "kl_reference_current": "KL(reference || current): rows come from the reference, the current data predicts them",
    "kl_current_reference": "KL(current || reference): rows come from the current data, the reference predicts them",
    "tv": "symmetric: the share of rows that must change cell to turn one side into the other, in [0, 1]",
    "wasserstein": "symmetric: the mean distance by which values must move to turn one side into the other",
}
"""Each measured quantity's direction and meaning, in words."""

LABELS = {
    "js": "JS",
    "kl_reference_current": "KL(reference || current)",
    "kl_current_reference": "KL(current || reference)",
    "tv": "TV",
    "wasserstein": "Wasserstein-1",
}
"""Each measured quantity's name in formulas."""

OWN_UNIT = "the column's unit"
"""Unit of a distance between numbers, of which the library does not know what they count."""

Quantity = Literal["js", "kl_reference_current", "kl_current_reference", "tv", "wasserstein"]
ColumnStatus = Literal["measured", "only_in_reference", "only_in_current", "type_mismatch", "not_measurable"]


def finite_or_none(number: float | None) -> float | None:
    """Return the number where JSON can hold it, and None for an infinity, a NaN or a None."""
    return number if number is not None and math.isfinite(number) else None


def status_of(number: float) -> str:
    """Say which kind of number stands behind a JSON null: "finite", "infinite" or "undefined"."""
    if math.isfinite(number):
        return "finite"
    return "infinite" if math.isinf(number) else "undefined"


def short(number: float | None) -> str:
    """Format a number for people, to four significant digits."""
    if number is None:
        return "-"
    return "∞" if number == math.inf else f"{number:.4g}"
