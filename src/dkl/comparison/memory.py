"""Tables in memory: Arrow, pandas, Polars and anything with an Arrow stream; dictionaries of columns; samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dkl.comparison.array_files import native
from dkl.comparison.errors import DataError
from dkl.comparison.files import BATCH_ROWS, ArrowSource
from dkl.comparison.sources import TableSource, one_line


class MemorySource(TableSource):
    """An Arrow table."""

    format = "memory"

    def __init__(self, table: pa.Table, description: str) -> None:
        super().__init__(description)
        self._table = table
        self.schema = table.schema
        self.total = table.num_rows

    def batches(self, columns: Sequence[str]) -> Iterator[tuple[pa.RecordBatch, int]]:
        """See `TableSource.batches`."""
        done = 0
        for batch in self._table.select(list(columns)).to_batches(max_chunksize=BATCH_ROWS):
            done += batch.num_rows
            yield batch, done


class SamplesSource(TableSource):
    """Arrays of observations, one row each, which may be memory-mapped files: one numeric column for each column."""

    format = "memory"

    def __init__(self, columns: Mapping[str, np.ndarray[Any, Any]], description: str) -> None:
        super().__init__(description)
        self._columns = dict(columns)
        self.schema = pa.schema({name: pa.from_numpy_dtype(values.dtype) for name, values in columns.items()})
        self.total = max((len(values) for values in columns.values()), default=0)

    def batches(self, columns: Sequence[str]) -> Iterator[tuple[pa.RecordBatch, int]]:
        """See `TableSource.batches`."""
        for start in range(0, self.total, BATCH_ROWS):
            stop = min(start + BATCH_ROWS, self.total)
            arrays = [pa.array(native(self._columns[name][start:stop])) for name in columns]
            yield pa.RecordBatch.from_arrays(arrays, names=list(columns)), stop


def samples_source(arrays: Mapping[str, Any], description: str) -> SamplesSource:
    """Name the columns of arrays of observations.

    An array of shape ``(rows,)`` is one column and one of shape ``(rows, columns)`` as many, named "0", "1", ...;
    several arrays put their own names before that.
    """
    columns: dict[str, np.ndarray[Any, Any]] = {}
    for name, array in arrays.items():
        values = np.asarray(array)
        prefix = "" if len(arrays) == 1 else f"{name}."
        if values.ndim not in (1, 2):
            raise DataError(f"{description}: samples have shape {values.shape}; give (rows,) or (rows, columns)")
        if values.dtype.kind not in "fiub":
            raise DataError(
                f"{description}: samples of type {values.dtype}; give numbers, or a table for other columns"
            )
        if values.ndim == 1:
            columns[name if len(arrays) > 1 else "0"] = values
        else:
            columns |= {f"{prefix}{index}": values[:, index] for index in range(values.shape[1])}
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise DataError(f"{description}: arrays of {sorted(lengths)} rows; all must have the same number")
    return SamplesSource(columns, description)


def table_source(data: Any, argument: str, directory: Path) -> TableSource | None:
    """Open an object in memory as a table; None if it is not one.

    Parameters
    ----------
    data
        The object.
    argument
        The argument's name, for messages.
    directory
        Where a stream that can be read only once is spooled to.
    """
    kind = f"{type(data).__module__.partition('.')[0]} {type(data).__name__}"
    description = f"{argument} ({kind})"
    try:
        if isinstance(data, Mapping):
            return MemorySource(_from_mapping(data, argument), f"{argument} (dict of columns)")
        if isinstance(data, pa.RecordBatch):
            data = pa.Table.from_batches([data])
        if isinstance(data, pa.Table):
            return MemorySource(data, description)
        if isinstance(data, pa.RecordBatchReader):
            return _spooled(data, description, directory)
        if type(data).__name__ == "Series" and kind.startswith(("pandas ", "polars ")):
            name = "0" if data.name in (None, "") else str(data.name)
            return MemorySource(pa.table({name: _to_arrow(data)}), description)
        if kind == "pandas DataFrame":
            return MemorySource(pa.Table.from_pandas(data, preserve_index=False), description)
        if hasattr(data, "__arrow_c_stream__"):
            return MemorySource(pa.table(data), description)
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise DataError(f"{argument}: cannot be read as a table: {one_line(error)}") from None
    return None


def _spooled(reader: pa.RecordBatchReader, description: str, directory: Path) -> TableSource:
    path = directory / f"stream-{len(list(directory.iterdir()))}.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
    return ArrowSource(path, description)


def _from_mapping(data: Mapping[Any, Any], argument: str) -> pa.Table:
    columns: dict[str, Any] = {}
    for name, values in data.items():
        try:
            columns[str(name)] = _to_arrow(values)
        except (pa.ArrowException, TypeError, OverflowError, UnicodeError) as error:
            raise DataError(
                f"{argument}: column {str(name)!r} cannot be read: {one_line(error)}; give each column one type"
            ) from None
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        longest, shortest = max(lengths, key=lambda name: lengths[name]), min(lengths, key=lambda name: lengths[name])
        raise DataError(
            f"{argument}: column {shortest!r} has {lengths[shortest]} rows and {longest!r} has {lengths[longest]}; "
            "all columns must have the same number"
        )
    return pa.table(columns)


def _to_arrow(values: Any) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values
    if hasattr(values, "__arrow_c_stream__"):
        return pa.chunked_array(values)
    if isinstance(values, np.ma.MaskedArray):
        return pa.array(native(values.data), mask=np.ma.getmaskarray(values))
    if isinstance(values, np.ndarray):
        if values.ndim != 1:
            raise TypeError(f"its shape is {values.shape}, and a column has one dimension")
        return pa.array(native(values))
    return pa.array(values)
