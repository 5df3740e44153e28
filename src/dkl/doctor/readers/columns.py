"""Logs in memory: a mapping of names to columns, or a data frame of pandas, Polars or Arrow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from dkl.doctor.readers.gathering import Gathering, Log, UnreadableLogError, epoch_of, step_of
from dkl.doctor.series import Numbers, Series

_SOURCE = "the data given"
# A tail without numbers that is so many times longer than any gap before it is taken for a run that broke.
_BROKEN_TAIL = 2


def read_columns(data: Any, wanted: Callable[[str], bool]) -> Log:
    """The series of a mapping or a data frame.

    Parameters
    ----------
    data : mapping of str to array_like, or DataFrame of pandas or Polars, or Table of Arrow
        Columns of one length; a column named like a step counts, else the rows do. None and null are nothing logged.
        Of a pandas column NaN is so too, as an empty cell is NaN there, unless it stays NaN to the end for longer
        than in any gap before.
    wanted : callable
        Whether the series of a name is read.

    Raises
    ------
    TypeError
        If it is none of these.
    UnreadableLogError
        If the columns differ in length.
    """
    if isinstance(data, Mapping) and data and all(isinstance(x, Series) for x in data.values()):
        return Log(_SOURCE, "series", dict(data))
    into = Gathering(_SOURCE, "columns", wanted)
    empty_is_nan = type(data).__module__.partition(".")[0] == "pandas"
    columns = {}
    for name, column in _columns(data):
        if into.wants(name) or step_of([name]) is not None:
            numbers = _numbers(column)
            if numbers is None:
                into.notes.append(f"{_SOURCE}: column {name!r} holds no numbers and was left out")
            else:
                columns[name] = numbers
    lengths = {name: len(values) for name, (values, _) in columns.items()}
    if len(set(lengths.values())) > 1:
        short, long = min(lengths, key=lambda n: lengths[n]), max(lengths, key=lambda n: lengths[n])
        raise UnreadableLogError(
            f"{_SOURCE}: column {short!r} has {lengths[short]:,} entries and {long!r} {lengths[long]:,}; "
            "they must be of one length, with None where nothing was logged"
        )
    length = next(iter(lengths.values()), 0)
    step, epoch = step_of(columns), epoch_of(columns)
    steps = (
        np.arange(length, dtype=np.float64) if step is None else np.where(columns[step][1], columns[step][0], np.nan)
    )
    epochs = np.full(length, -np.inf) if epoch in (None, step) else columns[epoch][0]
    steps = into.clock.steps(steps, epochs)
    for name, (values, there) in columns.items():
        if into.wants(name):
            if empty_is_nan:
                there, tail = _logged(values, there)
                if tail:
                    into.notes.append(
                        f"{name}: NaN in its last {tail:,} rows is taken for logged, as no gap before is so long"
                    )
            there = there & ~np.isnan(steps)
            into.column(name, steps[there], values[there])
    return into.log()


def _columns(data: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(data, Mapping):
        return [(str(name), column) for name, column in data.items()]
    if hasattr(data, "column_names"):
        return [(name, data.column(name)) for name in data.column_names]
    if hasattr(data, "columns") and hasattr(data, "__getitem__"):
        return [(str(name), data[name]) for name in data.columns]
    raise TypeError(
        f"cannot read a {type(data).__name__}: give a path, a dict of columns, or a data frame of pandas, Polars or "
        "Arrow"
    )


def _numbers(column: Any) -> tuple[Numbers, Numbers] | None:
    """The numbers of a column, and where one was logged; None if it holds something else."""
    if hasattr(column, "detach"):
        column = column.detach().cpu()
    if hasattr(column, "to_pylist") or hasattr(column, "to_list"):
        # Null, NA and None are told from NaN only one by one, so only where there are any.
        whole = getattr(column, "null_count", None)
        missing = whole() if callable(whole) else whole
        if missing is None:
            missing = int(column.isna().sum()) if getattr(column, "hasnans", True) else 0
        if missing and not (isinstance(getattr(column, "dtype", None), np.dtype) and column.dtype.kind == "f"):
            column = column.to_pylist() if hasattr(column, "to_pylist") else column.to_list()
    if isinstance(column, list | tuple):
        there = np.array([_is_there(x) for x in column], dtype=bool)
        column = [x if here else 0.0 for x, here in zip(column, there, strict=True)]
    else:
        column = np.asarray(column)
        there = np.ones(column.shape, dtype=bool)
    try:
        values = np.asarray(column, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return (values, there) if values.ndim == 1 else None


def _is_there(value: Any) -> bool:
    return value is not None and type(value).__name__ not in ("NAType", "NaTType")


def _logged(values: Numbers, there: Numbers) -> tuple[Numbers, int]:
    """Where a column of pandas has something logged, and how many NaN at its end are."""
    present = np.flatnonzero(~np.isnan(values) & there)
    if not present.size:
        return np.zeros_like(there), 0
    gaps = np.diff(np.concatenate([[-1], present])) - 1
    tail = values.size - 1 - int(present[-1])
    kept = there & ~np.isnan(values)
    if tail > _BROKEN_TAIL * int(gaps.max()) and tail > 1:
        kept[present[-1] + 1 :] = True
        return kept, tail
    return kept, 0
