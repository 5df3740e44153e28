"""What a path holds: a log by its content, or a folder of runs."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from dkl.doctor.readers.csv import dialect, read_csv
from dkl.doctor.readers.gathering import Gathering, Log, UnreadableLogError, unheard
from dkl.doctor.readers.json import is_json_lines, read_json, read_json_lines
from dkl.doctor.readers.tensorboard import is_events, read_events
from dkl.doctor.readers.text import is_table, read_pairs, read_table

_EVENTS = "*tfevents*"
#: In a folder without event files, the first of these that is there is the run's log.
_LOGS = (
    "trainer_state.json",
    "progress.csv",
    "metrics.csv",
    "metrics.jsonl",
    "log.jsonl",
    "result.json",
    "metrics.json",
    "log.txt",
)
_CHECKPOINT = re.compile(r"checkpoint-(\d+)$")
_HEAD = 1 << 20
# How files begin that hold no text, and what to do with them.
_OTHERS = {
    b"\x1f\x8b": "is compressed by gzip: decompress it first, such as by gunzip",
    b"\x28\xb5\x2f\xfd": "is compressed by zstd: decompress it first, such as by unzstd",
    b"BZh": "is compressed by bzip2: decompress it first, such as by bunzip2",
    b"\xfd7zXZ": "is compressed by xz: decompress it first, such as by unxz",
    b"PK\x03\x04": "is a zip archive (a checkpoint of PyTorch is one too), and no log",
    b"PAR1": "is Parquet: in Python, give diagnose the data frame that pandas or Polars reads from it",
    b"\x89HDF": "is HDF5, and no log",
    b"SQLite format 3": "is a database of SQLite, and no log",
    b"\xff\xfe": "is in UTF-16, as PowerShell's > writes it: convert it, such as by iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "is in UTF-16: convert it, such as by iconv -f UTF-16 -t UTF-8",
}


def read(path: Path, wanted: Callable[[str], bool], passed: Callable[[int], None] = unheard) -> Iterator[Log]:
    """The logs of a path: one for a file, one for each run in a folder.

    Parameters
    ----------
    path : Path
    wanted : callable
        Whether the series of a name is read.
    passed : callable
        Called with the number of bytes that were read since it was called last.

    Raises
    ------
    FileNotFoundError
        If there is no such path.
    UnreadableLogError
        If it holds no log.
    """
    if not path.is_dir():
        yield _file(path, wanted, str(path), passed)
        return
    for folder, files in runs(path).items():
        yield read_run(folder, files, wanted, passed)


def runs(path: Path) -> dict[Path, list[Path]]:
    """The runs in a folder and below, each by its folder, with its files.

    Raises
    ------
    UnreadableLogError
        If there is none.
    """
    found: dict[Path, list[Path]] = {}
    for file in sorted(path.rglob(_EVENTS)):
        if file.is_file():
            found.setdefault(file.parent, []).append(file)
    states: dict[Path, tuple[int, Path]] = {}
    for name in _LOGS:
        for file in sorted(path.rglob(name)):
            checkpoint = _CHECKPOINT.search(file.parent.name)
            if not checkpoint:
                found.setdefault(file.parent, [file])
            else:
                # Each checkpoint of a run holds the whole history up to it; the last one counts.
                states[file.parent.parent] = max(states.get(file.parent.parent, (-1, file)), (int(checkpoint[1]), file))
    for folder, (_, file) in states.items():
        found.setdefault(folder, [file])
    if not found:
        raise UnreadableLogError(f"{path}: no event file and none of {', '.join(_LOGS)} lies in this folder or below")
    return dict(sorted(found.items()))


def read_stream(stream: BinaryIO, wanted: Callable[[str], bool], name: str = "standard input") -> Log:
    """The log that a stream holds; it is kept in a file of its own meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        with path.open("wb") as file:
            shutil.copyfileobj(stream, file)
        return _file(path, wanted, name, unheard)


def read_run(
    folder: Path, files: list[Path], wanted: Callable[[str], bool], passed: Callable[[int], None] = unheard
) -> Log:
    """The log of one run, by its folder and the files that :func:`runs` found in it."""
    if len(files) == 1:
        return _file(files[0], wanted, str(folder), passed)
    # Each start of a run writes a file of its own, named by its time.
    into = Gathering(str(folder), "TensorBoard events", wanted, passed)
    empty = [file for file in files if not file.stat().st_size]
    if len(empty) == len(files):
        raise UnreadableLogError(f"{folder}: all of its {len(files)} event files are empty")
    for file in files:
        if file not in empty:
            read_events(file, into)
    if empty:
        into.notes.append(f"{empty[0]}: is empty")
    return into.log()


def _file(path: Path, wanted: Callable[[str], bool], name: str, passed: Callable[[int], None]) -> Log:
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head.strip():
        raise UnreadableLogError(f"{name}: is empty")
    if is_events(head):
        into = Gathering(name, "TensorBoard events", wanted, passed)
        read_events(path, into)
        return into.log()
    for magic, what in _OTHERS.items():
        if head.startswith(magic):
            raise UnreadableLogError(f"{name}: {what}")
    if b"\0" in head:
        raise UnreadableLogError(f"{name}: holds binary data that is no event file of TensorBoard")
    text = head.decode("utf-8-sig", "replace")
    into = Gathering(name, "", wanted, passed)
    _read_text(path, text, into)
    return into.log()


def _read_text(path: Path, text: str, into: Gathering) -> None:
    first = text.lstrip()[:1]
    # A list or an object of JSON begins so; a time in brackets and a dict of Python do not.
    document = re.match(r"""\s*(?:\[\s*(?:\{\s*"|\])|\{\s*["}])""", text) is not None
    separator = dialect(text)
    if document and first == "{" and is_json_lines(path):
        into.format = "JSON lines"
        read_json_lines(path, into)
    elif document:
        into.format = "JSON"
        read_json(path, into)
    elif is_table(text):
        into.format = "Stable-Baselines3's printed table"
        read_table(path, into)
    elif separator is not None:
        into.format = "CSV"
        read_csv(path, into, separator)
    else:
        into.format = "text with names and numbers"
        read_pairs(path, into)
