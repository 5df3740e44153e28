"""Tables in text: CSV and JSON lines, plain or compressed, with types guessed and widened as the data requires."""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.json

from dkl.comparison.errors import DataError
from dkl.comparison.sources import SchemaChangedError, TableSource, one_line

_BLOCK = 2 << 20
_NULLS = [
    "",
    "NA",
    "N/A",
    "n/a",
    "#N/A",
    "null",
    "NULL",
    "None",
]  # not NaN: a float column has a cell of its own for it
# With one thread (OMP_NUM_THREADS=1) Arrow counts the rows as well.
_CONVERSION = re.compile(
    r"In CSV column #(\d+): (?:Row #\d+: )?CSV conversion error to ([^:]+): invalid value '(.*)'", re.DOTALL
)
_WIDER = {
    pa.int64(): pa.float64(),
    pa.date32(): pa.timestamp("s"),
    pa.timestamp("s"): pa.timestamp("ns"),
}


_RECORD = re.compile(rb'(?:[^"\r\n]|"[^"]*")*')


class TextSource(TableSource):
    """What CSV and JSON lines share: a byte stream, progress in its raw bytes, and types that are only guesses."""

    def __init__(self, path: Path, description: str, compression: str | None) -> None:
        super().__init__(description)
        self._path = path
        self._compression = compression
        self.total = os.path.getsize(path)

    def _open(self) -> tuple[pa.NativeFile, pa.NativeFile]:
        """Return the raw file, whose position is the progress, and the stream of its text."""
        raw = pa.OSFile(os.fspath(self._path))
        return raw, pa.CompressedInputStream(raw, self._compression) if self._compression else raw

    @abstractmethod
    def read_as_text(self, columns: Sequence[str]) -> None:
        """Take the columns as text, whatever their values look like."""

    def _damaged(self, error: Exception) -> DataError:
        return DataError(f"{self.description}: cannot be read as {self.format}: {one_line(error)}")


class CsvSource(TextSource):
    """A CSV file; the separator is the one that its first line uses."""

    format = "csv"

    def __init__(self, path: Path, description: str, compression: str | None) -> None:
        super().__init__(path, description, compression)
        self._types: dict[str, pa.DataType] = {}
        self._separator = _separator(self._header())
        with self._reader(None) as reader:
            self.schema = reader.schema  # whose names every error and every change of a type refers to
        try:
            binary = [field.name for field in self.schema if pa.types.is_binary(field.type)]
        except UnicodeDecodeError:
            raise self._not_utf8() from None
        self.notes += [f"{name}: the text is not UTF-8: convert the file" for name in binary]

    def _header(self) -> str:
        """Return the first record's text, line breaks within quotes included."""
        raw, stream = self._open()
        with raw, stream:
            try:
                head = bytes(stream.read(1 << 16))
            except (pa.ArrowException, OSError) as error:
                raise self._damaged(error) from None
        if not head.strip():
            raise DataError(f"{self.description}: the file is empty")
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise self._not_utf8("UTF-16 ")
        found = _RECORD.match(head.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n"))
        record = found[0] if found else b""
        if b"\0" in record:
            raise self._not_utf8("UTF-16 or binary ")
        try:
            return record.decode()
        except UnicodeDecodeError as error:
            if "unexpected end" in error.reason and len(head) == 1 << 16:
                return record[: error.start].decode()  # only the end of the piece that was read cuts a letter
            raise self._not_utf8() from None

    def _not_utf8(self, what: str = "") -> DataError:
        return DataError(f"{self.description}: the text is {what and what + 'and '}not UTF-8: convert it")

    def _reader(self, columns: Sequence[str] | None, stream: pa.NativeFile | None = None) -> pa.csv.CSVStreamingReader:
        convert = pa.csv.ConvertOptions(
            column_types=self._types,
            null_values=_NULLS,
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            include_columns=None if columns is None else list(columns),
        )
        try:
            return pa.csv.open_csv(
                self._open()[1] if stream is None else stream,
                read_options=pa.csv.ReadOptions(block_size=_BLOCK),
                parse_options=pa.csv.ParseOptions(delimiter=self._separator, newlines_in_values=True),
                convert_options=convert,
            )
        except (pa.ArrowException, OSError) as error:
            raise self._explained(error) from None

    def batches(self, columns: Sequence[str]) -> Iterator[tuple[pa.RecordBatch, int]]:
        """See `TableSource.batches`."""
        raw, stream = self._open()
        with raw, stream, self._reader(columns, stream) as reader:
            while True:
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    return
                except (pa.ArrowException, OSError) as error:
                    raise self._explained(error) from None
                yield batch, raw.tell()

    def read_as_text(self, columns: Sequence[str]) -> None:
        """See `TextSource.read_as_text`."""
        for name in columns:
            self._retype(name, pa.string())

    def _retype(self, name: str, arrow_type: pa.DataType) -> None:
        self._types[name] = arrow_type
        place = self.schema.get_field_index(name)
        self.schema = self.schema.set(place, pa.field(name, arrow_type))

    def _explained(self, error: Exception) -> Exception:
        """Widen the type that a value did not fit, or say what is wrong and on which line."""
        conversion = _CONVERSION.search(str(error))
        if conversion and hasattr(self, "schema"):
            name, value = self.schema.names[int(conversion[1])], conversion[3]
            old = self._type_called(name, conversion[2])
            new = _widened(old, value)
            if new is not None:
                if pa.types.is_string(new) and not pa.types.is_null(old):
                    self.notes.append(f"{name}: read as text, because {value!r} is no {old}")
                self._retype(name, new)
                return SchemaChangedError(name)
        if "Expected" in str(error) and "columns" in str(error):
            return self._ragged(error)
        return self._damaged(error)

    def _type_called(self, name: str, text: str) -> pa.DataType:
        known = {str(one): one for one in (pa.null(), pa.int64(), pa.float64(), pa.bool_(), *_WIDER, *_WIDER.values())}
        return self._types.get(name) or known.get(text.strip(), pa.binary())

    def _ragged(self, error: Exception) -> DataError:
        """Find the line with the wrong number of fields, which the fast reader does not count."""
        raw, stream = self._open()
        with raw, stream:
            rows = csv.reader(io.TextIOWrapper(stream, "utf-8", "replace", newline=""), delimiter=self._separator)
            expected = 0
            for row in rows:
                expected = expected or len(row)
                if row and len(row) != expected:
                    return DataError(
                        f"{self.description}: line {rows.line_num} has {len(row)} fields where the header has "
                        f"{expected}: {self._separator.join(row)[:60]!r}; quote a field that holds {self._separator!r}"
                    )
        return self._damaged(error)


class JsonLinesSource(TextSource):
    """JSON lines: one object a line, read in blocks of whole lines."""

    format = "jsonl"

    def __init__(self, path: Path, description: str, compression: str | None) -> None:
        super().__init__(path, description, compression)
        self._text: set[str] = set()
        first = next(self._blocks(), None)
        if first is None:
            raise DataError(f"{self.description}: the file is empty")
        if first[0].lstrip()[:1] == b"[":
            raise DataError(
                f"{self.description}: holds one JSON array; dkl reads JSON lines, one object a line "
                "(convert it with: jq -c '.[]')"
            )
        self.schema = self._parse(first[0], 0).schema

    def _blocks(self) -> Iterator[tuple[bytes, int, int]]:
        """Yield blocks of whole lines, the number of lines before each, and the raw bytes read."""
        raw, stream = self._open()
        rest, line = b"", 0
        with raw, stream:
            while True:
                try:
                    block = stream.read(_BLOCK)
                except (pa.ArrowException, OSError) as error:
                    raise self._damaged(error) from None
                end = block.rfind(b"\n") + 1 if block else 0
                if block and not end:
                    rest += block
                    continue
                whole, rest = rest + block[:end], block[end:]
                if whole.strip():
                    yield whole, line, raw.tell()
                line += whole.count(b"\n")
                if not block:
                    return

    def _parse(self, block: bytes, line: int) -> pa.Table:
        types = pa.schema({name: pa.string() for name in self._text})
        try:
            return pa.json.read_json(
                io.BytesIO(block),
                read_options=pa.json.ReadOptions(block_size=len(block) + 1),  # one block, so that rows count from 0
                parse_options=pa.json.ParseOptions(explicit_schema=types),
            )
        except pa.ArrowException as error:
            row = re.search(r" in row (\d+)", str(error))
            if row is None:
                raise DataError(f"{self.description}: after line {line}: {one_line(error)}") from None
            reason = one_line(error).replace(row[0], "").replace("JSON parse error: ", "")
            raise DataError(f"{self.description}: line {line + int(row[1]) + 1}: {reason}") from None

    def batches(self, columns: Sequence[str]) -> Iterator[tuple[pa.RecordBatch, int]]:
        """See `TableSource.batches`."""
        for block, line, done in self._blocks():
            table = self._parse(block, line)
            for name in columns:
                here = table.schema.field(name).type if name in table.schema.names else pa.null()
                self._widen(name, here, line)
            self._meet_new(table.schema)
            if not columns:  # nothing of the rows can be measured, but there are so many
                for batch in table.select([]).to_batches():
                    yield batch, done
                continue
            arrays = [
                table[name].cast(self.schema.field(name).type)
                if name in table.schema.names
                else pa.chunked_array([pa.nulls(len(table), self.schema.field(name).type)])
                for name in columns
            ]
            for batch in pa.Table.from_arrays(arrays, names=list(columns)).to_batches():
                yield batch, done

    def _widen(self, name: str, here: pa.DataType, line: int) -> None:
        known = self.schema.field(name).type
        if here == known or pa.types.is_null(here) or (here == pa.int64() and known == pa.float64()):
            return
        place = self.schema.get_field_index(name)
        if pa.types.is_null(known) or (known == pa.int64() and here == pa.float64()):
            wider = here
        elif {str(known), str(here)} == {"string", "timestamp[s]"}:  # text of which one block looked like dates
            wider = pa.string()
            self._text.add(name)
        else:
            raise DataError(
                f"{self.description}: column {name!r} changes from {known} to {here} after line {line}; "
                "give it one type throughout"
            )
        self.schema = self.schema.set(place, pa.field(name, wider))
        raise SchemaChangedError(name)

    def _meet_new(self, schema: pa.Schema) -> None:
        """Take in columns that the first block did not have."""
        new = [field for field in schema if field.name not in self.schema.names]
        if new:
            self.schema = pa.schema([*self.schema, *new])
            raise SchemaChangedError(new[0].name)

    def read_as_text(self, columns: Sequence[str]) -> None:
        """See `TextSource.read_as_text`."""
        for name in columns:
            self._text.add(name)
            self.schema = self.schema.set(self.schema.get_field_index(name), pa.field(name, pa.string()))


def _widened(old: pa.DataType, value: str) -> pa.DataType | None:
    """Return the next type that may hold the value as well as those before it; None if there is no wider one."""
    if pa.types.is_string(old):
        return None
    if pa.types.is_null(old):
        field = io.StringIO()
        csv.writer(field).writerow(["x"])
        csv.writer(field, quoting=csv.QUOTE_ALL).writerow([value])
        return pa.csv.read_csv(io.BytesIO(field.getvalue().encode())).schema.field(0).type
    if old in _WIDER and (old != pa.int64() or _is_number(value)):
        return _WIDER[old]
    return pa.string()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _separator(header: str) -> str:
    """Return the separator that occurs most often in the header, outside quotes."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(",;\t|", key=bare.count)
