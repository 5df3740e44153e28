"""Arrays on disk: .npy, .npz and .safetensors, never unpickled, loaded no earlier than they are needed."""

from __future__ import annotations

import os
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dkl.comparison.errors import DataError
from dkl.comparison.sources import one_line

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
"""What NumPy raises on a file that is not what its name says."""


def open_arrays(path: Path, description: str, format: str) -> dict[str, Callable[[], np.ndarray[Any, Any]]]:
    """Return each array's loader by its name; a .npy file is memory-mapped and its array is named "array"."""
    if format == "npy":
        return {"array": partial(_load_npy, path, description)}
    names = _npz_names(path, description) if format == "npz" else _safetensors_names(path, description)
    load = _load_npz if format == "npz" else _load_safetensors
    if not names:
        raise DataError(f"{description}: holds no arrays")
    return {name: partial(load, path, description, name) for name in names}


def check_numbers(array: np.ndarray[Any, Any], where: str) -> np.ndarray[Any, Any]:
    """Return the array if it holds real numbers."""
    if array.dtype == object:
        raise DataError(f"{where}: holds Python objects; convert it to numbers (objects are never unpickled)")
    if array.dtype.names is not None:
        raise DataError(f"{where}: is a structured array; compare it as a table: {{name: array[name], ...}}")
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise DataError(f"{where}: holds {array.dtype}; real numbers are needed")
    return array


def _load_npy(path: Path, description: str) -> np.ndarray[Any, Any]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except _DAMAGE as error:
        raise _damaged(description, error, "NumPy file") from None
    return check_numbers(array, description)


def _npz_names(path: Path, description: str) -> list[str]:
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except _DAMAGE as error:
        raise _damaged(description, error, "NumPy archive") from None


def _load_npz(path: Path, description: str, name: str) -> np.ndarray[Any, Any]:
    where = f"{description}, array {name!r}"
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            array = archive[name]
    except _DAMAGE as error:
        raise _damaged(where, error, "NumPy archive") from None
    if not isinstance(array, np.ndarray):  # NumPy hands out other members of an archive as bytes
        raise DataError(f"{where}: is no array; take it out of the archive")
    return check_numbers(array, where)


def _safetensors_names(path: Path, description: str) -> list[str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            return list(file.keys())
    except (SafetensorError, OSError) as error:
        raise _damaged(description, error, "safetensors file") from None


def _load_safetensors(path: Path, description: str, name: str) -> np.ndarray[Any, Any]:
    from safetensors import SafetensorError, safe_open

    where = f"{description}, array {name!r}"
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            array = np.asarray(file.get_tensor(name))
    except (TypeError, AttributeError) as error:  # a number type that NumPy lacks, such as bfloat16 without ml_dtypes
        raise DataError(f"{where}: {one_line(error)}; store it as float32, or install ml_dtypes") from None
    except (SafetensorError, OSError) as error:
        raise _damaged(where, error, "safetensors file") from None
    return check_numbers(array.astype(np.float32) if array.dtype.name == "bfloat16" else array, where)


def _damaged(where: str, error: Exception, noun: str) -> DataError:
    text = one_line(error)
    if "pickle" in text or "Python objects" in text:
        return DataError(
            f"{where}: holds pickled Python objects or is no {noun}; convert it to numbers (nothing is ever unpickled)"
        )
    return DataError(f"{where}: is damaged, cut short or no {noun}: {text}")
