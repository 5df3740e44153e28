"""Binary tables on disk: Parquet, Feather and Arrow IPC."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dkl.comparison.errors import DataError
from dkl.comparison.sources import TableSource, one_line
from dkl.methods.tables import UnmeasurableTypeError, family

BATCH_ROWS = 131_072
"""Rows in a batch: large enough that Python's overhead vanishes, small enough for the processor's caches."""


class ParquetSource(TableSource):
    """A Parquet file; only the columns asked for are decoded, and text stays dictionary-encoded."""

    format = "parquet"

    def __init__(self, path: Path, description: str) -> None:
        super().__init__(description)
        self._path = path
        with self._open([]) as file:
            self.schema = file.schema_arrow
            self.total = file.metadata.num_rows
        self._text = [field.name for field in self.schema if _is_text(field.type)]

    def _open(self, dictionary: list[str]) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self._path, read_dictionary=dictionary, pre_buffer=False, buffer_size=1 << 20)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{self.description}: is damaged, cut short or no Parquet file: {one_line(error)}"
            ) from None

    def batches(self, columns: Sequence[str]) -> Iterator[tuple[pa.RecordBatch, int]]:
        """See `TableSource.batches`."""
        done = 0
        with self._open([name for name in self._text if name in columns]) as file:
            try:
                for batch in file.iter_batches(BATCH_ROWS, columns=list(columns)):
                    done += batch.num_rows
                    yield batch, done
            except (pa.ArrowException, OSError) as error:
                raise DataError(f"{self.description}: is damaged after row {done:,}: {one_line(error)}") from None


class ArrowSource(TableSource):
    """An Arrow IPC file (Feather) or stream, memory-mapped."""

    format = "arrow"

    def __init__(self, path: Path, description: str) -> None:
        super().__init__(description)
        self._path = path
        self.total = os.path.getsize(path)
        with pa.memory_map(os.fspath(path)) as file:
            self.schema = self._open(file).schema

    def _open(self, file: pa.NativeFile) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
        try:
            if file.read(6) == b"ARROW1":
                file.seek(0)
                return pa.ipc.open_file(file)
            file.seek(0)
            return pa.ipc.open_stream(file)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.description}: is damaged, cut short or no Arrow file: {one_line(error)}") from None

    def batches(self, columns: Sequence[str]) -> Iterator[tuple[pa.RecordBatch, int]]:
        """See `TableSource.batches`."""
        with pa.memory_map(os.fspath(self._path)) as file:
            reader = self._open(file)
            try:
                if isinstance(reader, pa.RecordBatchStreamReader):
                    for batch in reader:
                        yield batch.select(list(columns)), file.tell()
                else:
                    number = reader.num_record_batches
                    for index in range(number):
                        done = self.total * (index + 1) // number
                        yield reader.get_batch(index).select(list(columns)), done
            except (pa.ArrowException, OSError) as error:
                raise DataError(f"{self.description}: is damaged: {one_line(error)}") from None


def _is_text(arrow_type: pa.DataType) -> bool:
    try:
        return family(arrow_type) == "text"
    except UnmeasurableTypeError:
        return False
