"""Choosing each numeric column's cells from a sample of the reference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dkl.methods.tables import Domain, Family, Number, NumericPlan, without_views

SAMPLE_ROWS = 100_000
"""Rows that the edges are chosen from; a reference of no more rows is used whole."""

FINENESS = 8
"""Fine cells a coarse bin, for the Wasserstein distance."""

_LEAST_ROWS = 5
"""Reference rows that a coarse bin holds at least; with fewer, the noise of the counts would hide a difference."""

_HEAVY_ROWS = 10
"""Rows that make a repeated value a bin of its own; fewer can come together by chance, on the reference's side only."""


class RowSample:
    """A uniform sample of a stream's rows: those with the smallest random keys.

    The keys come one a row from one seeded stream, so the sample depends on the rows and the seed and not on how the
    rows are split into batches. A stream of no more than `size` rows is kept whole.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._random = np.random.default_rng(seed)
        self._keys: list[npt.NDArray[np.float64]] = []
        self._chunks: list[pa.RecordBatch] = []
        self._held = 0
        self._threshold = 1.0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in the next rows."""
        columns = [without_views(column) for column in batch.columns]
        batch = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
        keys = self._random.random(batch.num_rows)
        rows = np.flatnonzero(keys < self._threshold)
        if len(rows) < len(keys):
            batch, keys = batch.take(_indices(rows)), keys[rows]
        self._keys.append(keys)
        self._chunks.append(batch)
        self._held += len(keys)
        if self._held > 2 * self._size:
            self._prune()

    def _prune(self) -> None:
        keys = np.concatenate(self._keys)
        kept = np.sort(np.argpartition(keys, self._size)[: self._size])
        table = pa.Table.from_batches(self._chunks).take(_indices(kept))
        self._chunks = table.combine_chunks().to_batches()
        self._keys = [keys[kept]]
        self._held = self._size
        self._threshold = float(keys[kept].max())

    def column(self, name: str) -> pa.Array:
        """Return one column of the sample."""
        if self._held > self._size:
            self._prune()
        chunks = [chunk.column(name) for chunk in self._chunks]
        if chunks and pa.types.is_dictionary(chunks[0].type):
            chunks = [chunk.dictionary_decode() for chunk in chunks]
        return pa.concat_arrays(chunks) if chunks else pa.nulls(0)


def _indices(rows: npt.NDArray[np.intp]) -> pa.Array:
    """Return row numbers as Arrow takes them; unlike `pyarrow.array`, this does not import pandas to look at them."""
    return pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows.astype(np.int64))])


def numeric_plan(sample: npt.NDArray[Any], domain: Domain, family: Family, bins: int) -> NumericPlan:
    """Choose a numeric column's cells: equal-frequency bins with open tails, and heavy ties on their own.

    Parameters
    ----------
    sample
        Values of the reference, of type `domain`; NaN and infinities are left out.
    domain, family
        What the values are.
    bins
        Number of coarse bins aimed at. A bin holds at least five sampled rows, so few rows make fewer bins; cells
        that only single values or gaps between them need come on top.

    Examples
    --------
    >>> plan = numeric_plan(np.arange(100), "int64", "integer", 4)
    >>> [value for value, coarse in zip(plan.values, plan.coarse) if coarse]
    [24, 49, 74]
    """
    finite = sample[np.isfinite(sample)] if domain == "float64" else sample
    distinct, counts = np.unique(finite, return_counts=True)
    if not len(distinct):
        return NumericPlan(domain, (), (), (), family)
    coarse = _cuts(distinct, counts, bins, _LEAST_ROWS)
    fine = _cuts(distinct, counts, bins * FINENESS, 1) + _tail_cuts(distinct, counts, bins * FINENESS)
    fine += _beyond(distinct[0].item(), distinct[-1].item(), domain)
    cuts = dict.fromkeys(fine, False) | dict.fromkeys(coarse, True)
    ordered = sorted(cuts, key=lambda cut: (cut[0], not cut[1]))
    return NumericPlan(
        domain,
        tuple(value for value, _ in ordered),
        tuple(below for _, below in ordered),
        tuple(cuts[cut] for cut in ordered),
        family,
    )


Cut = tuple[Number, bool]  # where, and whether just below it


def _cuts(distinct: npt.NDArray[Any], counts: npt.NDArray[np.int64], bins: int, least: int) -> list[Cut]:
    """Cut into bins of equal frequency, each value that fills a bin alone having its own."""
    rows = int(counts.sum())
    heavy = counts >= max(rows / bins, _HEAVY_ROWS)
    # A few values, such as months, have a cell each. If one of them is rare, though, then so are values that did not
    # come at all, and cells without a row of the reference, cut where it happens to end, would pass for a difference.
    if len(distinct) <= bins and counts.min() >= _LEAST_ROWS:
        heavy[:] = True
    cuts: list[Cut] = []
    start = 0
    for stop in [*np.flatnonzero(heavy).tolist(), len(distinct)]:
        between = np.cumsum(counts[start:stop])
        if len(between):
            total = int(between[-1])
            pieces = max(1, min(round(bins * total / rows), total // least))
            ends = np.unique(np.searchsorted(between, np.arange(1, pieces) * total / pieces))
            # An edge at the largest value would leave nothing of the reference above it.
            cuts += [(value, False) for value in distinct[start:stop][ends[ends < len(between) - 1]].tolist()]
        if stop < len(distinct):
            value = distinct[stop].item()
            cuts += [(value, True), (value, False)]
        start = stop + 1
    return cuts


def _tail_cuts(distinct: npt.NDArray[Any], counts: npt.NDArray[np.int64], bins: int) -> list[Cut]:
    """Halve the outermost fine bins again and again, for a tail's width is out of proportion to its share."""
    below = np.cumsum(counts)
    rows = int(below[-1])
    halvings = max(0, math.floor(math.log2(rows / bins))) if rows > bins else 0
    shares = 0.5 ** np.arange(1, halvings + 1) / bins
    low = np.searchsorted(below, shares * rows)
    high = np.searchsorted(below, (1 - shares) * rows)
    inner = np.unique(np.concatenate([low, high]))
    return [(value, False) for value in distinct[inner].tolist()]


def _beyond(lowest: Number, highest: Number, domain: Domain) -> list[Cut]:
    """Cut outside the sample's range at distances that grow by 2^(1/4), for current values that have moved away."""
    span = float(highest) - float(lowest) or abs(float(highest)) or 1.0
    with np.errstate(over="ignore"):
        distances = span * 2.0 ** (np.arange(64) / 4 - 4)
    cuts: list[Cut] = [(lowest, True), (highest, False)]
    if domain == "float64":
        reach = [(float(lowest) - d, float(highest) + d) for d in distances.tolist()]
        return cuts + [(value, False) for pair in reach for value in pair if math.isfinite(value)]
    limits = np.iinfo(domain)
    steps = sorted({math.ceil(distance) for distance in distances.tolist()})
    whole = [value for step in steps for value in (int(lowest) - step, int(highest) + step)]
    return cuts + [(value, False) for value in whole if limits.min < value < limits.max]
