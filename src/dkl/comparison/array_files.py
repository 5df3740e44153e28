"""Arrays on disk: .npy, .npz and .safetensors, never unpickled, read block by block.

Files are read and not memory-mapped: a file that is cut short while it is mapped kills the process, its pages count
as memory, and reading costs no more than a few per cent of measuring.
"""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import tokenize
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from dkl.comparison.errors import DataError
from dkl.comparison.sources import one_line, temporary_directory

_DAMAGE = (
    ValueError,
    OSError,
    EOFError,
    KeyError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy and zipfile raise on a file that is not what its name says."""

_SAFETENSORS_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",  # the upper half of a float32; NumPy has no such type
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}

_TILE_BYTES = 1 << 22
"""What is read at a time of an array whose rows are scattered over its file."""

Numbers = npt.NDArray[Any]
Version = tuple[int, int, int]


@dataclass(frozen=True)
class StoredArray(ABC):
    """An array in a file, of which no more than a block is in memory.

    Parameters
    ----------
    path, where
        The file, and how messages name the array.
    version
        The file's identity when the array was found; reading raises where it is another by then.
    shape, stored
        The array's shape, and the type of its numbers in the file.
    fortran
        Whether the first axis varies fastest in the file.
    """

    path: Path
    where: str
    version: Version
    shape: tuple[int, ...]
    stored: np.dtype[Any]
    fortran: bool

    @abstractmethod
    def blocks(self, rows: int) -> Generator[Numbers]:
        """Read the array as a list of rows, all leading axes joined, and yield so many of them at a time.

        Raises
        ------
        DataError
            If the file is damaged, ends too early, or has changed.
        """

    def load(self) -> Numbers:
        """Return the whole array."""
        if not self.size:
            return np.empty(self.shape, self.stored.newbyteorder("="))
        (whole,) = self.blocks(max(1, self.rows))
        return whole.reshape(self.shape)

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def rows(self) -> int:
        """Number of rows along the last axis."""
        return math.prod(self.shape[:-1])

    @property
    def outcomes(self) -> int:
        """Length of a row; 1 for a single number."""
        return self.shape[-1] if self.shape else 1

    def check_unchanged(self, file: IO[bytes]) -> None:
        """Raise if the file is not the one in which the array was found, or has been written to since."""
        if _version(file) != self.version:
            raise DataError(f"{self.where}: has changed while it was read; compare again when it is complete")


@dataclass(frozen=True)
class FileArray(StoredArray):
    """An array whose numbers lie bare in a file.

    Parameters
    ----------
    offset
        Where they begin.
    bfloat16
        Whether they are 16-bit numbers of that kind; they are handed out as float32, which holds them exactly.
    """

    offset: int
    bfloat16: bool = False

    def blocks(self, rows: int) -> Generator[Numbers]:
        """See `StoredArray.blocks`."""
        with _damage_named(self.where, "array"), open(self.path, "rb", buffering=0) as file:
            step = rows
            if self._scattered:
                step *= max(1, _TILE_BYTES // (rows * self.outcomes * self.stored.itemsize))
            for start in range(0, self.rows, step):
                tile = self._read(file, start, min(start + step, self.rows))
                self.check_unchanged(file)
                for first in range(0, len(tile), rows):
                    yield self._decoded(tile[first : first + rows])

    def load(self) -> Numbers:
        """Return the whole array, memory-mapped."""
        if not self.size:
            return super().load()
        order = "F" if self.fortran else "C"
        mapped = np.memmap(self.path, self.stored, "r", self.offset, self.shape, order)  # type: ignore[call-overload]
        return self._decoded(mapped) if self.bfloat16 else mapped

    @property
    def _scattered(self) -> bool:
        return self.fortran and len(self.shape) > 1

    def _read(self, file: io.FileIO, start: int, stop: int) -> Numbers:
        tile = np.empty((stop - start, self.outcomes), self.stored)
        if not self._scattered:
            file.seek(self.offset + start * self.outcomes * self.stored.itemsize)
            _fill(file, tile)
            return tile
        # Each outcome has a plane of its own, with one number a row; take from it the stretch that holds these rows.
        leading = self.shape[:-1]
        place = np.ravel_multi_index(np.unravel_index(np.arange(start, stop), leading), leading, order="F")
        first = int(place.min())
        place -= first
        stretch = np.empty(int(place.max()) + 1, self.stored)
        for outcome in range(self.outcomes):
            file.seek(self.offset + (outcome * self.rows + first) * self.stored.itemsize)
            _fill(file, stretch)
            tile[:, outcome] = stretch[place]
        return tile

    def _decoded(self, numbers: Numbers) -> Numbers:
        if self.bfloat16:
            return np.left_shift(numbers, 16, dtype=np.uint32).view(np.float32)
        return native(numbers)


@dataclass(frozen=True)
class MemberArray(StoredArray):
    """An array in an archive, compressed or not; reading it to the end also verifies its checksum.

    Parameters
    ----------
    member
        Name of the file in the archive.
    """

    member: str

    def blocks(self, rows: int) -> Generator[Numbers]:
        """See `StoredArray.blocks`."""
        with (
            _damage_named(self.where, "NumPy archive"),
            open(self.path, "rb") as file,
            zipfile.ZipFile(file) as archive,
            archive.open(self.member) as stream,
        ):
            if self.fortran:
                # Its rows are scattered, and an archive is read from the front.
                with temporary_directory() as directory, open(Path(directory) / "array.npy", "w+b") as copy:
                    shutil.copyfileobj(stream, copy, 1 << 20)
                    copy.flush()
                    self.check_unchanged(file)
                    yield from _find_npy(Path(copy.name), self.where).blocks(rows)
                return
            _npy_header(stream)
            for start in range(0, self.rows, rows):
                block = np.empty((min(rows, self.rows - start), self.outcomes), self.stored)
                _fill(stream, block)
                self.check_unchanged(file)
                yield native(block)
            _check_end(stream, self.where)


def open_arrays(path: Path, description: str, format: str) -> dict[str, Callable[[], StoredArray]]:
    """Return by each array's name what finds it; a .npy file's array is named "array"."""
    if format == "npy":
        return {"array": partial(_find_npy, path, description)}
    names = _npz_names(path, description) if format == "npz" else _safetensors_names(path, description)
    find = _find_npz if format == "npz" else _find_safetensors
    if not names:
        raise DataError(f"{description}: holds no arrays")
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise DataError(f"{description}: array {twice[0]!r} appears more than once; rename one of them")
    return {name: partial(find, path, description, name) for name in names}


def check_numbers(array: Numbers, where: str) -> Numbers:
    """Return the array if it holds real numbers."""
    _check_type(array.dtype, where)
    return array


def native(numbers: Numbers) -> Numbers:
    """Return the numbers contiguous and in this machine's byte order, themselves where they are so already."""
    return np.ascontiguousarray(numbers, dtype=numbers.dtype.newbyteorder("="))


def _check_type(dtype: np.dtype[Any], where: str) -> None:
    if dtype.hasobject:
        raise DataError(f"{where}: holds Python objects; convert it to numbers (nothing is ever unpickled)")
    if dtype.names is not None:
        raise DataError(f"{where}: is a structured array; compare it as a table: {{name: array[name], ...}}")
    if dtype.kind not in "fiub" and dtype.name != "bfloat16":
        raise DataError(f"{where}: holds {dtype}; real numbers are needed")


def _find_npy(path: Path, where: str) -> FileArray:
    with _damage_named(where, "NumPy file"), open(path, "rb") as file:
        shape, fortran, dtype = _npy_header(file)
        _check_type(dtype, where)
        array = FileArray(path, where, _version(file), shape, dtype, fortran, file.tell())
        file.seek(array.offset + _needed(array, os.fstat(file.fileno()).st_size - array.offset))
        _check_end(file, where)
    return array


def _npz_names(path: Path, description: str) -> list[str]:
    with _damage_named(description, "NumPy archive"), open(path, "rb") as file, zipfile.ZipFile(file) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def _find_npz(path: Path, description: str, name: str) -> MemberArray:
    where = f"{description}, array {name!r}"
    with _damage_named(where, "NumPy archive"), open(path, "rb") as file, zipfile.ZipFile(file) as archive:
        info = archive.NameToInfo.get(f"{name}.npy") or archive.getinfo(name)
        with archive.open(info) as stream:
            if stream.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
                raise DataError(f"{where}: is no array; take it out of the archive")
            stream.seek(0)
            shape, fortran, dtype = _npy_header(stream)
            _check_type(dtype, where)
            array = MemberArray(path, where, _version(file), shape, dtype, fortran, info.filename)
            _needed(array, info.file_size - stream.tell())
    return array


def _safetensors_names(path: Path, description: str) -> list[str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            return list(file.keys())
    except (SafetensorError, OSError) as error:
        raise _damaged(description, error, "safetensors file") from None


def _find_safetensors(path: Path, description: str, name: str) -> FileArray:
    where = f"{description}, array {name!r}"
    with _damage_named(where, "safetensors file"), open(path, "rb") as file:
        # That the header is sound, `_safetensors_names` has checked; its places count from the header's end.
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
        kind = entry["dtype"]
        if kind not in _SAFETENSORS_TYPES:
            raise DataError(f"{where}: holds {kind}; store it as F32, or as any of {', '.join(_SAFETENSORS_TYPES)}")
        array = FileArray(
            path,
            where,
            _version(file),
            tuple(entry["shape"]),
            np.dtype(_SAFETENSORS_TYPES[kind]),
            False,
            8 + length + entry["data_offsets"][0],
            kind == "BF16",
        )
        _needed(array, os.fstat(file.fileno()).st_size - array.offset)
    return array


def _npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read up to the numbers; return shape, whether the first axis varies fastest, and type."""
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version} of the format is unknown")
    shape, fortran, dtype = readers[version](stream)
    if any(length < 0 for length in shape):
        raise ValueError(f"shape {shape} is none")
    return shape, fortran and len(shape) > 1, dtype


def _needed(array: StoredArray, present: int) -> int:
    """Return how many bytes the array takes, if so many are there."""
    needed = array.size * array.stored.itemsize
    if present < needed:
        raise EOFError(f"{present:,} of {needed:,} bytes are there")
    return needed


def _check_end(stream: IO[bytes], where: str) -> None:
    if stream.read(1):
        raise DataError(f"{where}: goes on after its array; save several arrays in one file as .npz")


def _fill(stream: IO[bytes] | io.RawIOBase, block: Numbers) -> None:
    """Read a block's bytes, however many pieces they come in."""
    rest = block.reshape(-1).view(np.uint8).data
    while rest:
        read = stream.readinto(rest)  # type: ignore[union-attr]
        if not read:
            raise EOFError(f"{len(rest):,} bytes are missing")
        rest = rest[read:]


def _version(file: IO[bytes]) -> Version:
    found = os.fstat(file.fileno())
    return found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def _damage_named(where: str, noun: str) -> Iterator[None]:
    """Say of what NumPy or zipfile raise which array it is about."""
    try:
        yield
    except DataError:
        raise
    except _DAMAGE as error:
        raise _damaged(where, error, noun) from None


def _damaged(where: str, error: Exception, noun: str) -> DataError:
    return DataError(f"{where}: is damaged, cut short or no {noun}: {one_line(error)}")
