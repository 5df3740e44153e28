"""A reference's state as JSON: written whole or not at all, read with every value checked, edges exact."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np

from dkl._version import __version__
from dkl.comparison.errors import DataError
from dkl.comparison.scan import CATEGORICAL, ReferenceState
from dkl.comparison.writing import write_whole
from dkl.methods.tables import (
    CategoricalPlan,
    ColumnCounts,
    ColumnPlan,
    Domain,
    Family,
    Number,
    NumericCounts,
    NumericPlan,
    ValueCounts,
)

SCHEMA_VERSION = 1
"""Version of the file; a file of another version is refused rather than misread."""

_MARK = "dkl_reference_schema"
_LARGEST = int(np.finfo(np.float64).max)

_MOST_ROWS = 1 << 53
"""Rows that double precision counts one by one."""

_FAMILIES = frozenset(get_args(Family))


def write_reference(state: ReferenceState, path: str | os.PathLike[str]) -> None:
    """Write a state as JSON; a failure leaves what was there before."""
    text = json.dumps(_dump(state), allow_nan=False, ensure_ascii=False)
    write_whole(path, text.encode())


def is_reference(path: Path) -> bool:
    """Say whether the file begins like one that `write_reference` wrote."""
    with open(path, "rb") as file:
        return file.read(len(_MARK) + 3).startswith(f'{{"{_MARK}"'.encode())


def read_reference(path: str | os.PathLike[str]) -> ReferenceState:
    """Read a state that `write_reference` wrote.

    Raises
    ------
    DataError
        If the file is cut short, was changed by hand so that it contradicts itself, or has another version.
    """
    return load_reference(path, os.fspath(path))


def load_reference(path: str | os.PathLike[str], name: str) -> ReferenceState:
    """Read a state, as `read_reference`, from a file that messages call by another name."""
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise DataError(f"{name}: is damaged or cut short: {error}; save the reference again") from None
    except RecursionError:
        raise DataError(f"{name}: is damaged: its values are nested too deeply; save the reference again") from None
    return _Loader(name).state(data)


def _dump(state: ReferenceState) -> dict[str, Any]:
    return {
        _MARK: SCHEMA_VERSION,
        "dkl_version": __version__,
        "description": state.description,
        "format": state.format,
        "rows": state.rows,
        "bins": state.bins,
        "max_categories": state.max_categories,
        "seed": state.seed,
        "notes": list(state.notes),
        "types": dict(state.types),
        "unmeasurable": dict(state.unmeasurable),
        "columns": {name: _dump_column(state, name) for name in state.plans},
    }


def _dump_column(state: ReferenceState, name: str) -> dict[str, Any]:
    plan, counts = state.plans[name], state.counts[name]
    column: dict[str, Any] = {"family": state.families[name], "null": counts.null}
    if isinstance(plan, NumericPlan) and isinstance(counts, NumericCounts):
        # Python writes the shortest text that reads back as the same float, so edges survive exactly.
        column |= {
            "domain": plan.domain,
            "values": list(plan.values),
            "below": [int(below) for below in plan.below],
            "coarse": [int(coarse) for coarse in plan.coarse],
            "cells": counts.cells.tolist(),
            "nan": counts.nan,
            "positive_infinity": counts.positive_infinity,
            "negative_infinity": counts.negative_infinity,
            "minimum": counts.minimum,
            "maximum": counts.maximum,
        }
    elif isinstance(plan, CategoricalPlan) and isinstance(counts, ValueCounts):
        column |= {
            "pinned": sorted(plan.pinned),
            "capacity": plan.capacity,
            "counts": dict(counts.counts),
            "overflow": counts.overflow,
            "level": counts.level,
        }
    return column


class _Loader:
    """Reads a state out of parsed JSON, naming the place of whatever is wrong."""

    def __init__(self, path: str) -> None:
        self._path = path

    def _fail(self, place: str, what: str) -> DataError:
        return DataError(f"{self._path}: {place} {what}; save the reference again")

    def _get(self, data: Any, key: str, place: str, valid: Callable[[Any], bool], noun: str) -> Any:
        where = f"{place}{key}"
        if not isinstance(data, Mapping) or key not in data:
            raise self._fail(where, "is missing")
        if not valid(data[key]):
            raise self._fail(where, f"is {str(data[key])[:40]!r}, not {noun}")
        return data[key]

    def _count(self, data: Any, key: str, place: str = "") -> int:
        return int(self._get(data, key, place, _is_count, "a whole number of at least 0"))

    def state(self, data: Any) -> ReferenceState:
        """Return the state that the file describes."""
        version = self._get(data, _MARK, "", _is_count, "a version")
        if version != SCHEMA_VERSION:
            raise self._fail(_MARK, f"is {version}, and this dkl {__version__} reads version {SCHEMA_VERSION}")
        texts = self._get(data, "types", "", _is_texts, "an object of texts")
        unmeasurable = self._get(data, "unmeasurable", "", _is_texts, "an object of texts")
        columns = self._get(data, "columns", "", lambda value: isinstance(value, dict), "an object")
        rows = self._get(data, "rows", "", _is_total, "a whole number from 1 to 2^53")
        for name in unmeasurable:
            if name in columns:
                raise self._fail(f"unmeasurable.{name}", "is also among the columns")
        for name in texts:
            if name not in columns and name not in unmeasurable:
                raise self._fail(f"columns.{name}", "is missing")
        for name in (*columns, *unmeasurable):
            if name not in texts:
                raise self._fail(f"types.{name}", "is missing")
        families: dict[str, Family] = {}
        plans: dict[str, ColumnPlan] = {}
        counts: dict[str, ColumnCounts] = {}
        for name, column in columns.items():
            place = f"columns.{name}."
            families[name] = self._get(column, "family", place, _is_one_of(_FAMILIES), "a family of types")
            plans[name], counts[name] = self._column(column, families[name], place)
            if counts[name].rows != rows:
                raise self._fail(f"columns.{name}", f"holds {counts[name].rows} rows of {rows}")
        return ReferenceState(
            description=self._get(data, "description", "", _is_text, "a text"),
            format=self._get(data, "format", "", _is_text, "a text"),
            rows=rows,
            bins=self._get(data, "bins", "", lambda value: _is_count(value) and value >= 2, "a number of at least 2"),
            max_categories=self._get(
                data, "max_categories", "", lambda value: _is_count(value) and value >= 1, "a number of at least 1"
            ),
            seed=self._get(data, "seed", "", lambda value: _is_whole(value) and value >= 0, "a whole number"),
            types=texts,
            families=families,
            unmeasurable=unmeasurable,
            plans=plans,
            counts=counts,
            notes=tuple(self._get(data, "notes", "", _is_list_of(_is_text), "a list of texts")),
        )

    def _column(self, column: Any, family: Family, place: str) -> tuple[ColumnPlan, ColumnCounts]:
        return self._categorical(column, place) if family in CATEGORICAL else self._numeric(column, family, place)

    def _categorical(self, column: Any, place: str) -> tuple[CategoricalPlan, ValueCounts]:
        pinned = self._get(column, "pinned", place, _is_list_of(_is_text), "a list of texts")
        counts = self._get(
            column,
            "counts",
            place,
            lambda value: isinstance(value, dict) and all(map(_is_count, value.values())),
            "an object of counts",
        )
        plan = CategoricalPlan(frozenset(pinned), self._count(column, "capacity", place))
        return plan, ValueCounts(
            counts,
            self._count(column, "null", place),
            self._count(column, "overflow", place),
            self._count(column, "level", place),
            plan,
        )

    def _numeric(self, column: Any, family: Family, place: str) -> tuple[NumericPlan, NumericCounts]:
        domains = get_args(Domain)
        domain: Domain = self._get(column, "domain", place, _is_one_of(domains), f"one of {', '.join(domains)}")
        if (domain == "float64") != (family == "real") or (domain == "uint64" and family != "integer"):
            raise self._fail(f"{place}domain", f"is {domain!r}, which does not fit the family {family!r}")
        number = _is_real if domain == "float64" else _is_whole_in(domain)
        values = self._get(column, "values", place, _is_list_of(number), "a list of finite numbers")
        below = self._get(column, "below", place, _is_list_of(_is_flag), "a list of 0 and 1")
        coarse = self._get(column, "coarse", place, _is_list_of(_is_flag), "a list of 0 and 1")
        cells = self._get(column, "cells", place, _is_list_of(_is_count), "a list of counts")
        if not len(values) == len(below) == len(coarse) == len(cells) - 1:
            raise self._fail(f"{place}cells", f"and the cuts disagree: {len(cells)} cells and {len(values)} cuts")
        order = [(value, not flag) for value, flag in zip(values, below, strict=True)]
        if any(one >= other for one, other in itertools.pairwise(order)):
            raise self._fail(f"{place}values", "do not rise")
        plan = NumericPlan(domain, tuple(values), tuple(map(bool, below)), tuple(map(bool, coarse)), family)
        ends: list[Number | None] = [
            self._get(column, key, place, lambda value: value is None or number(value), "a number or null")
            for key in ("minimum", "maximum")
        ]
        if (ends[0] is None) != (ends[1] is None) or (None not in ends and ends[0] > ends[1]):  # type: ignore[operator]
            raise self._fail(f"{place}minimum", f"is {ends[0]} and the maximum {ends[1]}")
        if (ends[0] is None) != (sum(cells) == 0):
            raise self._fail(f"{place}minimum", f"is {ends[0]}, and the cells hold {sum(cells)} rows")
        return plan, NumericCounts(
            np.array(cells, dtype=np.int64),
            self._count(column, "null", place),
            self._count(column, "nan", place),
            self._count(column, "positive_infinity", place),
            self._count(column, "negative_infinity", place),
            *ends,
        )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_whole(value) and 0 <= value <= _MOST_ROWS


def _is_total(value: Any) -> bool:
    return _is_count(value) and value > 0


def _is_whole_in(domain: Domain) -> Callable[[Any], bool]:
    limits = np.iinfo(domain)
    return lambda value: _is_whole(value) and int(limits.min) <= value <= int(limits.max)


def _is_one_of(known: Collection[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in known


def _is_flag(value: Any) -> bool:
    return _is_whole(value) and value in (0, 1)


def _is_real(value: Any) -> bool:
    return (_is_whole(value) and abs(value) <= _LARGEST) or (isinstance(value, float) and math.isfinite(value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _is_list_of(valid: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(valid, value))
