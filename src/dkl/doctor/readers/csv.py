"""Tables of comma-separated values: a line of names, then a row for each step, as pandas and Lightning write them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from dkl.doctor.readers.gathering import Gathering, UnreadableLogError, epoch_of, step_of
from dkl.doctor.series import Numbers

_BLOCK = 1 << 22
# What stands in a cell for no number at all; NaN is none of them, it was logged.
_NULLS = ["", "None", "null", "NULL", "NA", "N/A", "-"]


def dialect(head: str) -> str | None:
    """The separator of a table that begins so; None if it is no table with a line of names."""
    lines = [line for line in head.splitlines() if line.strip()][:2]
    if len(lines[0]) > csv.field_size_limit():
        return None
    for separator in ",;\t":
        names = next(csv.reader(lines[:1], delimiter=separator), [])
        # pandas leaves the name of the index empty.
        if len(names) < 2 or any(_numeric(n) or "=" in n or ":" in n for n in names) or sum(not n for n in names) > 1:
            continue
        row = next(csv.reader(lines[1:2], delimiter=separator), None)
        if row is None or (len(row) == len(names) and any(_numeric(cell) for cell in row)):
            return separator
    return None


def _numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_csv(path: Path, into: Gathering, separator: str) -> None:
    """The columns of numbers that are wanted; a row lacks what its cell leaves empty.

    Raises
    ------
    UnreadableLogError
        If two columns have one name, or the table is broken in a way that leaves no rows.
    """
    try:
        import pyarrow as pa
        from pyarrow import csv as arrow
    except ImportError as error:
        raise ImportError("reading CSV needs pyarrow: pip install 'dkl[cli]'") from error

    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        header = next(csv.reader(file, delimiter=separator))
    names = {name: name.strip() for name in header}
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UnreadableLogError(f"{into.source}: two columns are named {twice[0]!r}: rename one of them")
    step, epoch = step_of(names.values()), epoch_of(names.values())
    places = {name for name in (step, epoch) if name is not None}
    wanted = [name for name in names if into.wants(names[name])]
    columns = [name for name in header if name in wanted or names[name] in places]
    if not wanted:
        return
    bad: list[str] = []

    def invalid(row: arrow.InvalidRow) -> str:
        bad.append(f"a row of {row.actual_columns} cells instead of {row.expected_columns}")
        return "skip"

    rows = unread = unplaced = at = 0
    try:
        file = pa.OSFile(str(path))
        reader = arrow.open_csv(
            file,
            read_options=arrow.ReadOptions(block_size=_BLOCK),
            parse_options=arrow.ParseOptions(delimiter=separator, invalid_row_handler=invalid),
            convert_options=arrow.ConvertOptions(
                check_utf8=False,
                include_columns=columns,
                column_types={name: pa.string() for name in columns},
                strings_can_be_null=True,
                null_values=_NULLS,
            ),
        )
        for batch in reader:
            table = {names[name]: _numbers(batch.column(name)) for name in columns}
            count = np.arange(rows, rows + batch.num_rows, dtype=np.float64)
            steps = count if step is None else np.where(table[step][1], table[step][0], np.nan)
            epochs = np.full(batch.num_rows, -np.inf) if epoch in (None, step) else table[epoch][0]
            steps = into.clock.steps(steps, epochs)
            rows += batch.num_rows
            placed = ~np.isnan(steps)
            for name in wanted:
                values, there = table[names[name]]
                unread += int((~there).sum()) - batch.column(name).null_count
                unplaced += int((there & ~placed).sum())
                into.column(names[name], steps[there & placed], values[there & placed])
            # Arrow reads a little ahead of what it hands out.
            into.passed(file.tell() - at)
            at = file.tell()
    except pa.ArrowInvalid as error:
        raise UnreadableLogError(f"{into.source}: is no table that can be read as CSV: {error}") from None
    if bad:
        into.notes.append(f"{into.source}: left out {len(bad):,} line{'s' * (len(bad) > 1)}; the first is {bad[0]}")
    if unread:
        into.notes.append(f"{into.source}: {unread:,} cell{'s' * (unread > 1)} hold no number and were left out")
    if unplaced:
        into.notes.append(f"{into.source}: {unplaced:,} value{'s' * (unplaced > 1)} without a step were left out")


def _numbers(column: Any) -> tuple[Numbers, Numbers]:
    """The numbers of a column of text, and where there is one."""
    import pyarrow as pa
    from pyarrow import compute

    try:
        found = compute.cast(compute.utf8_trim_whitespace(column), pa.float64())
        there = found.is_valid().to_numpy(zero_copy_only=False)
        return compute.fill_null(found, 0.0).to_numpy(zero_copy_only=False), there
    except pa.ArrowInvalid:
        # Some cell is no number; which, is found by hand.
        texts = [bytes(x.as_buffer()).decode("utf-8", "replace") if x.is_valid else None for x in column]
        there = np.array([text is not None and _numeric(text) for text in texts], dtype=bool)
        return np.array([float(t or 0) if good else 0.0 for t, good in zip(texts, there, strict=True)]), there
