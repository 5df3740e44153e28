"""Logs in JSON: an object a line, a list of objects, or the Trainer's state that Hugging Face keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dkl.doctor.readers.gathering import Gathering, UnreadableLogError, heard, is_number, step_of

# How NaN and the infinities stand in files that keep to the standard.
_WORDS = {"nan": float("nan"), "inf": float("inf"), "infinity": float("inf"), "-inf": -float("inf")}
_WORDS |= {"-infinity": -float("inf"), "+inf": float("inf"), "+infinity": float("inf")}
# A longer list in a row is data, and no quantity of each latent dimension.
_LONGEST_LIST = 4096


def is_json_lines(path: Path) -> bool:
    """Whether a file's first line is an object by itself, and another line follows."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        lines = (line for line in file if line.strip())
        try:
            whole = isinstance(json.loads(next(lines)), dict)
        except (ValueError, RecursionError):
            return False
        return whole and next(lines, None) is not None


def read_json(path: Path, into: Gathering) -> None:
    """One JSON document: a list of objects, an object of lists, or one with a ``log_history`` (``trainer_state.json``).

    Raises
    ------
    UnreadableLogError
        If it is no JSON, or holds no rows.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            document = json.load(file)
    except (ValueError, RecursionError) as error:
        raise UnreadableLogError(f"{into.source}: is no whole JSON document: {error}") from None
    if isinstance(document, dict) and isinstance(document.get("log_history"), list):
        into.format = "Hugging Face trainer_state.json"
        document = document["log_history"]
    elif isinstance(document, dict):
        columns = {name: values for name, values in document.items() if isinstance(values, list)}
        length = max(map(len, columns.values()), default=0)
        document = [{name: values[k] for name, values in columns.items() if k < len(values)} for k in range(length)]
    if not isinstance(document, list) or not document or not all(isinstance(row, dict) for row in document):
        raise UnreadableLogError(
            f"{into.source}: this JSON holds no rows: a list of objects, lists by name, or log_history would be read"
        )
    for row in document:
        into.row(*_flat(row))
    into.passed(path.stat().st_size)


def read_json_lines(path: Path, into: Gathering) -> None:
    """An object a line; lines that are none are counted and left out."""
    bad: list[int] = []
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(heard(file, into.passed), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                bad.append(number)
                continue
            if isinstance(row, dict):
                into.row(*_flat(row))
            else:
                bad.append(number)
    if bad:
        are = "lines that are no JSON objects" if len(bad) > 1 else "line that is no JSON object"
        into.notes.append(f"{into.source}: left out {len(bad):,} {are}; the first is line {bad[0]:,}")


def _flat(row: dict[str, Any]) -> tuple[dict[str, Any], float | None]:
    """The numbers of a row, those of objects inside under ``outer/inner``, and the row's own step if it has one."""
    entries: dict[str, Any] = {}

    def add(prefix: str, inside: dict[str, Any]) -> None:
        for name, value in inside.items():
            if isinstance(value, dict):
                add(f"{prefix}{name}/", value)
            elif isinstance(value, str) and value.lower() in _WORDS:
                entries[prefix + name] = _WORDS[value.lower()]
            elif isinstance(value, list) and 0 < len(value) <= _LONGEST_LIST and all(is_number(x) for x in value):
                entries.update({f"{prefix}{name}/{k}": x for k, x in enumerate(value)})
            elif is_number(value):
                entries[prefix + name] = value

    add("", row)
    step = step_of(entries)
    return entries, None if step is None else float(entries[step])
