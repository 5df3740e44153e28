"""What an argument of `compare` means: a path, a table, arrays of distributions, samples, or a saved reference."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dkl.comparison.array_files import check_numbers, open_arrays
from dkl.comparison.arrays import REPRESENTATIONS
from dkl.comparison.errors import DataError
from dkl.comparison.files import ArrowSource, ParquetSource
from dkl.comparison.memory import SamplesSource, samples_source, table_source
from dkl.comparison.reference import is_reference, load_reference
from dkl.comparison.scan import ReferenceState
from dkl.comparison.sources import (
    COMPRESSIONS,
    FORMATS,
    ArraySource,
    TableSource,
    check_readable,
    sniff,
    spool_standard_input,
    spool_stream,
)
from dkl.comparison.text import CsvSource, JsonLinesSource
from dkl.representations import FiniteOutcomes, Representation, Samples

KINDS = (*REPRESENTATIONS, "samples")
"""What the numbers of an array may be, as `as_` names them."""

_TEXT = {"csv": CsvSource, "jsonl": JsonLinesSource}


def open_side(
    data: Any, argument: str, directory: Path, as_: str | None = None, format: str | None = None
) -> TableSource | ArraySource | ReferenceState:
    """Open one side of a comparison.

    Parameters
    ----------
    data
        A path, "-" for standard input, or an object in memory.
    argument
        The argument's name, for messages.
    directory
        Where input that can be read only once is spooled to; it must outlive the source.
    as_
        What the numbers of an array are: "probs" (the default), "log-probs", "logits", "counts" or "samples".
    format
        The file's format, where its name does not say it: "csv", "parquet", "arrow", "jsonl", "npy", "npz" or
        "safetensors".

    Raises
    ------
    DataError
        If the data cannot be opened or is of no kind that can be compared.
    """
    if as_ is not None and as_ not in KINDS:
        raise DataError(f"as_ = {as_!r} is unknown; choose one of {', '.join(KINDS)}")
    source = _open(data, argument, directory, as_, format)
    if isinstance(source, TableSource):
        source.check()
    # A saved reference knows what its numbers were; as_ then speaks of the other side alone.
    if as_ is not None and not isinstance(source, ArraySource | SamplesSource | ReferenceState):
        raise DataError(f"{source.description}: is a table, and as_ = {as_!r} says what an array's numbers are")
    return source


def _open(
    data: Any, argument: str, directory: Path, as_: str | None, format: str | None
) -> TableSource | ArraySource | ReferenceState:
    if isinstance(data, ReferenceState | TableSource | ArraySource):
        return data
    if isinstance(data, str | os.PathLike):
        return _open_path(data, directory, as_, format)
    if isinstance(data, Samples):
        return samples_source({"0": check_numbers(_unmasked(data.array, argument), argument)}, f"{argument} (samples)")
    if isinstance(data, FiniteOutcomes):
        check_numbers(_unmasked(data.array, argument), argument)
        return ArraySource(f"{argument} ({type(data).__name__})", "memory", {"array": data})
    if isinstance(data, np.ndarray):
        return _arrays(
            {"array": check_numbers(_unmasked(data, argument), argument)}, f"{argument} (NumPy array)", "memory", as_
        )
    if isinstance(data, Mapping) and any(_is_distributions(values) for values in data.values()):
        named = {str(name): _named(values, f"{argument}[{name!r}]") for name, values in data.items()}
        return _arrays(named, f"{argument} (dict of arrays)", "memory", as_)
    table = table_source(data, argument, directory)
    if table is not None:
        return table
    raise DataError(
        f"{argument} is a {type(data).__name__}; give a path, a table (pandas, Polars, Arrow, a dict of columns), "
        "a NumPy array of distributions, or dkl.Samples, dkl.Counts, dkl.Logits, ..."
    )


def _named(values: Any, where: str) -> Any:
    """Return one of several arrays, wrapped if it was so, after a look at what it holds."""
    if isinstance(values, Samples):
        raise DataError(f"{where}: are Samples, which stand alone; give plain arrays, and as_ = 'samples'")
    wrapped = isinstance(values, FiniteOutcomes)
    array = check_numbers(_unmasked(values.array if wrapped else values, where), where)
    return values if wrapped else array


def _unmasked(values: Any, where: str) -> np.ndarray[Any, Any]:
    """Return the values as an array of NumPy's, unless some of them are masked, which that would uncover."""
    if isinstance(values, np.ma.MaskedArray):
        raise DataError(
            f"{where}: is a masked array, and only columns can hold missing values: fill it, or give a dict of columns"
        )
    return np.asarray(values)


def _is_distributions(values: Any) -> bool:
    return isinstance(values, Representation) or (isinstance(values, np.ndarray) and values.ndim > 1)


def _open_path(
    path: str | os.PathLike[str], directory: Path, as_: str | None, format: str | None
) -> TableSource | ArraySource | ReferenceState:
    name = os.fspath(path)
    file = spool_standard_input(directory) if name == "-" else spool_stream(Path(name), directory)
    description = "standard input" if name == "-" else name
    check_readable(file, description)
    if is_reference(file):
        return load_reference(file, description)
    if format is not None and format not in FORMATS.values():
        raise DataError(f"format = {format!r} is unknown; choose one of {', '.join(sorted(set(FORMATS.values())))}")
    found, compression = sniff(file, file.name, format)
    if found in _TEXT:
        return _TEXT[found](file, description, compression)
    if compression:
        raise DataError(
            f"{description}: {found} inside {compression}; only text is read through {', '.join(COMPRESSIONS)}: "
            "decompress it first"
        )
    if found == "parquet":
        return ParquetSource(file, description)
    if found == "arrow":
        return ArrowSource(file, description)
    return _arrays(open_arrays(file, description, found), description, found, as_)


def _arrays(arrays: Mapping[str, Any], description: str, format: str, as_: str | None) -> TableSource | ArraySource:
    """Wrap arrays, or functions that load them, in what `as_` says they hold."""
    if as_ == "samples":
        return samples_source(
            {name: array().load() if callable(array) else array for name, array in arrays.items()}, description
        )
    wrap = REPRESENTATIONS[as_ or "probs"]

    def wrapped(array: Any) -> Any:
        if callable(array):
            return lambda: wrap(array())
        return array if isinstance(array, FiniteOutcomes) else wrap(array)

    return ArraySource(description, format, {name: wrapped(array) for name, array in arrays.items()})
