"""Anything that holds a table or arrays, opened as something that can be read more than once, batch by batch."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dkl.comparison.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".feather": "arrow",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".arrows": "arrow",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".npy": "npy",
    ".npz": "npz",
    ".safetensors": "safetensors",
}
"""A file's format by its suffix; a compressed text file has ``.gz`` after it."""

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
"""Compressions of text files, by the last suffix."""

_MAGIC = [
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow"),
    (b"\x93NUMPY", "npy"),
    (b"PK\x03\x04", "npz"),
]


class SchemaChangedError(Exception):
    """A text file held a value that the types read so far cannot hold; the source has wider types now: read again."""


class TableSource(ABC):
    """A table that can be read any number of times, in record batches.

    Attributes
    ----------
    description
        The path or the kind of object, for messages.
    schema
        The Arrow schema. Reading a text file may widen it; see `SchemaChangedError`.
    total
        What a complete reading amounts to, in rows or bytes; the second item that `batches` yields grows to it.
    notes
        What a reader of the result should know about how the data was read.
    """

    format: ClassVar[str]
    description: str
    schema: pa.Schema
    total: int
    notes: list[str]

    def __init__(self, description: str) -> None:
        self.description = description
        self.total = 0
        self.notes = []

    @abstractmethod
    def batches(self, columns: Sequence[str]) -> Iterator[tuple[pa.RecordBatch, int]]:
        """Read the named columns from the start; yield each record batch and how much has been read in all."""

    def check(self) -> None:
        """Raise where the table has no columns, or two of one name."""
        if not self.schema.names:
            raise DataError(f"{self.description}: has no columns")
        twice = [name for name, times in Counter(self.schema.names).items() if times > 1]
        if twice:
            raise DataError(f"{self.description}: column {twice[0]!r} appears more than once; rename one of them")


class ArraySource:
    """Named arrays of distributions, loaded one at a time.

    Parameters
    ----------
    description, format
        As of a table.
    arrays
        Each array, wrapped in a representation, or a function without arguments that loads it (and may
        memory-map it).
    """

    def __init__(self, description: str, format: str, arrays: dict[str, Any]) -> None:
        self.description = description
        self.format = format
        self.arrays = arrays
        self.notes: list[str] = []

    def only(self, names: Collection[str]) -> ArraySource:
        """The same source with some of its arrays."""
        return ArraySource(self.description, self.format, {n: x for n, x in self.arrays.items() if n in names})

    def load(self, name: str) -> Any:
        """Return the named array in its representation."""
        array = self.arrays[name]
        return array() if callable(array) else array


def spool_standard_input(directory: Path) -> Path:
    """Copy standard input to a file, because it can be read only once and its format is seen by looking inside."""
    if sys.stdin is None:
        raise DataError("standard input: is closed; give a file")
    path = directory / "standard-input"
    try:
        with open(path, "wb") as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy, 1 << 20)
    except OSError as error:
        raise DataError(f"standard input: cannot be read ({error.strerror or error})") from None
    return path


def spool_stream(path: Path, directory: Path) -> Path:
    """Copy what can be read only once, such as a named pipe, to a file; return other paths as they are."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return path  # `check_readable` says why
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return path
    copied = Path(tempfile.mkdtemp(dir=directory)) / path.name
    try:
        with open(path, "rb") as stream, open(copied, "wb") as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    return copied


def check_readable(path: Path, name: str) -> None:
    """Raise one clear line if the path is missing, is no file, is empty or may not be read."""
    try:
        if path.is_dir():
            raise DataError(f"{name}: is a directory; name one file in it")
        with open(path, "rb") as file:
            if not file.read(1):
                raise DataError(f"{name}: the file is empty")
    except FileNotFoundError:
        raise DataError(f"{name}: no such file") from None
    except PermissionError:
        raise DataError(f"{name}: permission denied; make it readable for {_user()}") from None
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror or error})") from None


def sniff(path: Path, name: str, format: str | None) -> tuple[str, str | None]:
    """Return a file's format and compression: from its suffixes, or else as named, or else from its first bytes."""
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    suffix = (suffixes[:-1] if compression else suffixes)[-1:]
    with open(path, "rb") as file:
        head = file.read(16)
    if head.startswith(b"\x1f\x8b"):
        compression = "gzip"
    if suffix and suffix[0] in FORMATS:
        return FORMATS[suffix[0]], compression
    if format is not None:
        return format, compression
    if compression:
        head = _head(path, compression)
    for magic, found in _MAGIC:
        if head.startswith(magic):
            return found, compression
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 40:
        return "safetensors", compression
    return ("jsonl" if head.lstrip()[:1] in (b"{", b"[") else "csv"), compression


def _head(path: Path, compression: str) -> bytes:
    import pyarrow as pa

    try:
        with pa.CompressedInputStream(pa.OSFile(os.fspath(path)), compression) as stream:
            return bytes(stream.read(16))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: is damaged: {one_line(error)}") from None


def one_line(error: BaseException) -> str:
    """Return another library's message on one line and of bearable length."""
    text = " ".join(str(error).split()).rstrip(".")
    return text if len(text) <= 300 else text[:297] + "..."


def temporary_directory() -> tempfile.TemporaryDirectory[str]:
    """Return a directory for spooled input; it deletes itself."""
    return tempfile.TemporaryDirectory(prefix="dkl-")


def _user() -> str:
    return f"user {os.getuid()}" if hasattr(os, "getuid") else "this user"
