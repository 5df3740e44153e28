"""Observations from a file: the numbers of one column, or the rows of several."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from dkl.comparison import DataError
from dkl.comparison.opening import open_side
from dkl.comparison.scan import ReferenceState
from dkl.comparison.sources import ArraySource, SchemaChangedError, TableSource, temporary_directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

# So many names are told of a file with more columns.
_NAMED = 10


def read_samples(
    path: str, chosen: Sequence[str], axes: int, format_: str | None = None, weights: str | None = None
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
    """Read observations, and perhaps their weights.

    Parameters
    ----------
    path : str
        A table or an array, as ``dkl compare`` reads it; ``"-"`` for standard input.
    chosen : sequence of str
        The columns' names, those of an array being its indices; without them the only column, or all of vectors.
    axes : int
        0 for numbers, 1 for vectors, whose components are columns.
    format_ : str, optional
        The format, where the name does not say it.
    weights : str, optional
        The column that holds the weights, and no observations.

    Returns
    -------
    samples : array, shape (n,) or (n, d)
    weights : array, shape (n,), or None

    Raises
    ------
    click.UsageError
        If columns must be named, or more are than numbers have.
    DataError
        If the file cannot be read, lacks a column, or holds something else than numbers.
    """
    with temporary_directory() as directory:
        source = _opened(path, Path(directory), format_)
        names = _names(source, list(chosen), axes, weights) + ([] if weights is None else [weights])
        while True:
            try:
                batches = [batch for batch, _ in source.batches(names)]
                break
            except SchemaChangedError:
                continue  # the types are wide enough now
        columns = [_numbers(source, name, [batch.column(k) for batch in batches]) for k, name in enumerate(names)]
    given = None if weights is None else columns.pop()
    return columns[0] if axes == 0 else np.stack(columns, axis=-1), given


def _opened(path: str, directory: Path, format_: str | None) -> TableSource:
    source = open_side(path, "samples", directory, None, format_)
    if isinstance(source, ArraySource):
        from dkl.comparison.memory import samples_source

        return samples_source({name: source.load(name).array.load() for name in source.arrays}, source.description)
    if isinstance(source, ReferenceState):
        raise DataError(f"{path}: is a saved reference, which holds counts of cells: give the observations themselves")
    return source


def _names(source: TableSource, chosen: list[str], axes: int, weights: str | None) -> list[str]:
    there = list(source.schema.names)
    told = ", ".join(there[:_NAMED]) + (f", and {len(there) - _NAMED} more" if len(there) > _NAMED else "")
    for name in chosen if weights is None else [*chosen, weights]:
        if name not in there:
            raise click.UsageError(f"{source.description}: there is no column {name!r}; it has {told}.")
    if axes == 0 and len(chosen) > 1:
        raise click.UsageError("--column is given more than once, and an outcome of the family is one number.")
    if weights in chosen:
        raise click.UsageError(f"--column and --weights both name {weights!r}: a weight is no observation.")
    others = [name for name in there if name != weights]
    if not others:
        raise click.UsageError(f"{source.description}: beside the weights there is no column of samples.")
    if not chosen and axes == 0 and len(others) > 1:
        raise click.UsageError(f"{source.description}: say which --column holds the samples: {told}.")
    return chosen or others


def _numbers(source: TableSource, name: str, parts: Sequence[pa.Array]) -> np.ndarray[Any, Any]:
    import pyarrow as pa

    where = f"{source.description}: column {name!r}"
    made = []
    for part in parts:
        if not (pa.types.is_integer(part.type) or pa.types.is_floating(part.type) or pa.types.is_boolean(part.type)):
            raise DataError(f"{where} holds {part.type}, and a distribution of numbers is fitted: choose another")
        if part.null_count:
            raise DataError(f"{where} has missing values: leave these rows out, or fill them, first")
        made.append(part.to_numpy(zero_copy_only=False).astype(float))
    return np.concatenate(made) if made else np.empty(0)
