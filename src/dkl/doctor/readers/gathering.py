"""What all readers fill: the series of a log by its own names, thinned where they are longer than anybody looks at."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dkl.doctor.series import Numbers, Series

#: A series longer than this is thinned to half, as often as needed: of every 8 entries their first that is no finite
#: number, their least, their greatest and their last are kept.
LONGEST = 1 << 20
# So many entries are thinned together.
_TOGETHER = 1 << 16
#: So many names beside those that are read are remembered.
_OTHERS = 4096
# In bytes: a reader of lines says so often how far it is.
_HEARD = 1 << 18

_STEP = re.compile(
    r"^(?:_|train/|trainer/|time/)?(?:global_?step|train_?step|env_?step|step|steps|iterations?|iter|update|"
    r"total_timesteps|timesteps_total|timesteps|training_iteration|num_env_steps_sampled(?:_lifetime)?|epoch)$",
    re.IGNORECASE,
)
_EPOCH = re.compile(r"^(?:train/|trainer/)?epoch$", re.IGNORECASE)
# The finest first: where a log has several, it is the one that counts.
_FINEST = ("step", "iter", "update", "epoch")


class UnreadableLogError(ValueError):
    """A file that holds no training log that can be read; the message says what it holds instead."""


@dataclass
class Log:
    """A training log.

    Attributes
    ----------
    source : str
        The path, or what the log is.
    format : str
        Such as ``"TensorBoard events"``.
    series : dict of str to Series
        Those that were asked for, by the log's own names.
    others : tuple of str
        Names of the series that were not asked for.
    notes : list of str
        What could not be read, and where.
    """

    source: str
    format: str
    series: dict[str, Series]
    others: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def step_of(names: Iterable[str]) -> str | None:
    """The name, among those of a row, that says at which step it was logged; None if there is none."""
    return min((name for name in names if _STEP.match(name)), key=_fineness, default=None)


def epoch_of(names: Iterable[str]) -> str | None:
    """The name, among those of a row, of its epoch; None if there is none."""
    return next((name for name in names if _EPOCH.match(name)), None)


def _fineness(name: str) -> tuple[int, str]:
    low = name.lower()
    return next(k for k, word in enumerate((*_FINEST, "")) if word in low), low


class Clock:
    """Steps that go on where the log counts them anew in every epoch.

    A step that goes back while the epoch goes on is counted from there; one that goes back without is a restart, and
    is left as it is.
    """

    def __init__(self) -> None:
        self._offset, self._last, self._epoch = 0.0, -np.inf, -np.inf
        self._greatest = -np.inf
        self.counts_anew = False

    def steps(self, steps: Numbers, epochs: Numbers) -> Numbers:
        """The steps of some rows in a row, of which NaN are unknown."""
        known = ~np.isnan(steps)
        moments, ages = steps[known], epochs[known]
        if not moments.size:
            return steps
        before, age = np.append(self._last, moments[:-1]), np.append(self._epoch, ages[:-1])
        starts = np.flatnonzero((moments < before) & (ages > age)).tolist()
        moved = np.empty(moments.size)
        for first, last in zip([0, *starts], [*starts, moments.size], strict=True):
            if last == first:
                continue
            if first in starts:
                self._begin_anew()
            moved[first:last] = moments[first:last] + self._offset
            self._greatest = max(self._greatest, float(moments[first:last].max()))
        self._last, self._epoch = float(moments[-1]), float(ages[-1])
        counted = np.full(steps.size, np.nan)
        counted[known] = moved
        return counted

    def step(self, step: float, epoch: float) -> float:
        """The step of the next row."""
        if step < self._last and epoch > self._epoch:
            self._begin_anew()
        self._last, self._epoch, self._greatest = step, epoch, max(self._greatest, step)
        return step + self._offset

    def _begin_anew(self) -> None:
        self.counts_anew = True
        self._offset += self._greatest + 1
        self._greatest = -np.inf


def unheard(count: int) -> None:
    """Nobody asks how far the reading is."""


class Gathering:
    """Collects what a log says, row by row or column by column, of the series that are wanted.

    Parameters
    ----------
    source, format : str
        See `Log`.
    wanted : callable
        Whether the series of a name is read.
    passed : callable
        Called with the number of bytes that were read since it was called last.
    """

    def __init__(
        self, source: str, format: str, wanted: Callable[[str], bool], passed: Callable[[int], None] = unheard
    ) -> None:
        self.source, self.format, self.wanted, self.passed = source, format, wanted, passed
        self.notes: list[str] = []
        self.clock = Clock()
        self._rows = 0
        self._decided: dict[str, bool] = {}
        self._pending: dict[str, tuple[array[float], array[float]]] = {}
        self._columns: dict[str, Column] = {}

    def wants(self, name: str) -> bool:
        """Whether the series of this name is read, which no step is; the name is remembered either way."""
        if name not in self._decided:
            wanted = not _STEP.match(name) and self.wanted(name)
            if not wanted and len(self._decided) > _OTHERS:
                return False
            self._decided[name] = wanted
        return self._decided[name]

    def column(self, name: str, steps: Numbers, values: Numbers) -> None:
        """Some entries of one series, in the log's order."""
        if not self.wants(name) or not len(values):
            return
        self._columns.setdefault(name, Column()).add(np.asarray(steps, np.float64), np.asarray(values, np.float64))

    def row(self, entries: Mapping[str, Any], step: float | None = None, epoch: float | None = None) -> None:
        """What was logged together; without a step of its own, the row's number is its step."""
        if step is None:
            named = step_of(name for name, value in entries.items() if is_number(value))
            step = float(entries[named]) if named is not None else float(self._rows)
        if epoch is None:
            named = epoch_of(name for name, value in entries.items() if is_number(value))
            epoch = float(entries[named]) if named is not None else -np.inf
        step = self.clock.step(step, epoch)
        self._rows += 1
        for name, value in entries.items():
            if is_number(value) and self.wants(name):
                steps, values = self._pending.setdefault(name, (array("d"), array("d")))
                steps.append(step)
                values.append(_float(value))
                if len(steps) >= _TOGETHER:
                    self._flush(name)

    def _flush(self, name: str) -> None:
        steps, values = self._pending.pop(name)
        self.column(name, np.frombuffer(steps), np.frombuffer(values))

    def log(self) -> Log:
        """Everything that was gathered."""
        for name in list(self._pending):
            self._flush(name)
        # What a table names and never fills is a series without entries.
        series = {name: Series(name, np.empty(0), np.empty(0)) for name, wanted in self._decided.items() if wanted}
        unmoved = []
        for name, column in self._columns.items():
            steps, values = column.entries()
            if values.size > 2 and np.ptp(steps) == 0:
                # A step that never moves counts nothing.
                steps = np.arange(values.size, dtype=np.float64)
                unmoved.append(name)
            series[name] = Series.ordered(name, steps, values)
        if unmoved:
            self.notes.append(f"{self.source}: logged at one step only, so the order counts: {', '.join(unmoved)}")
        if self.clock.counts_anew:
            self.notes.append(f"{self.source}: the steps begin anew in each epoch; they are counted on over the epochs")
        thinned = ", ".join(name for name, column in self._columns.items() if column.thinned)
        if thinned:
            self.notes.append(f"{self.source}: longer than {LONGEST:,} entries and thinned, extremes kept: {thinned}")
        others = tuple(name for name, wanted in self._decided.items() if not wanted and not _STEP.match(name))
        return Log(self.source, self.format, series, others, self.notes)


def heard(lines: Iterable[str], passed: Callable[[int], None]) -> Iterator[str]:
    """The lines of a log, with word of how much of it has passed; a letter counts as a byte."""
    count = 0
    for line in lines:
        yield line
        count += len(line)
        if count >= _HEARD:
            passed(count)
            count = 0
    passed(count)


class Column:
    """The entries of one series, thinned as often in every part, so that none of the run counts for more.

    Parameters
    ----------
    longest : int
        How many entries are kept at most.
    together : int
        How many are taken together before they are thinned.
    """

    def __init__(self, longest: int = LONGEST, together: int = _TOGETHER) -> None:
        self.thinned = 0
        self._longest, self._together = longest, together
        self._kept: list[tuple[Numbers, Numbers]] = []
        self._new: list[tuple[Numbers, Numbers]] = []
        self._length = self._new_length = 0

    def add(self, steps: Numbers, values: Numbers) -> None:
        """Some entries, in the log's order."""
        self._new.append((steps, values))
        self._new_length += len(values)
        if self._new_length >= self._together:
            self._settle()

    def entries(self) -> tuple[Numbers, Numbers]:
        """The steps and values that are kept."""
        self._settle()
        return _joined(self._kept)

    def _settle(self) -> None:
        if not self._new:
            return
        entries = _joined(self._new)
        for _ in range(self.thinned):
            entries = _thinned(*entries)
        self._new, self._new_length = [], 0
        self._kept.append(entries)
        self._length += len(entries[1])
        while self._length > self._longest:
            self._kept = [_thinned(*_joined(self._kept))]
            self._length = len(self._kept[0][1])
            self.thinned += 1


def is_number(value: object) -> bool:
    """Whether a logged value is a number, and no truth value."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _float(value: Any) -> float:
    """As a float; a whole number beyond its range is infinite."""
    try:
        return float(value)
    except OverflowError:
        return np.inf if value > 0 else -np.inf


def _joined(parts: list[tuple[Numbers, Numbers]]) -> tuple[Numbers, Numbers]:
    steps, values = zip(*parts, strict=True)
    return np.concatenate(steps), np.concatenate(values)


def _thinned(steps: Numbers, values: Numbers) -> tuple[Numbers, Numbers]:
    whole = len(values) // 8 * 8
    blocks = values[:whole].reshape(-1, 8)
    finite = np.isfinite(blocks)
    row = np.arange(len(blocks)) * 8
    kept = np.zeros(len(values), dtype=bool)
    kept[whole:] = True
    for place in (
        np.argmin(np.where(finite, blocks, np.inf), axis=1),
        np.argmax(np.where(finite, blocks, -np.inf), axis=1),
        np.where(finite.all(axis=1), 7, np.argmin(finite, axis=1)),
        np.full(len(blocks), 7),
    ):
        kept[row + place] = True
    return steps[kept], values[kept]
