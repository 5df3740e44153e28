"""A series of a training log: its values by step, in order, and what was out of order in the log."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

Numbers = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Series:
    """One quantity of a training log.

    Attributes
    ----------
    name : str
        As the log calls it.
    steps : ndarray of float64, shape (n,)
        Strictly increasing.
    values : ndarray of float64, shape (n,)
        NaN and infinities stand where they were logged.
    restarts : tuple of float
        The steps to which the log went back: from there on the later values replaced the earlier ones.
    duplicates : int
        How many values were replaced by a later one of the same step.
    """

    name: str
    steps: Numbers
    values: Numbers
    restarts: tuple[float, ...] = ()
    duplicates: int = 0

    @classmethod
    def ordered(cls, name: str, steps: Any, values: Any) -> Self:
        """Put what was logged in order: the last value of a step counts, and a run that goes back starts anew there.

        Parameters
        ----------
        name : str
            As the log calls it.
        steps, values : array_like, shape (n,)
            In the order of the log. Entries whose step is NaN are left out.
        """
        steps, values = (np.asarray(x, dtype=np.float64) for x in (steps, values))
        if steps.shape != values.shape or steps.ndim != 1:
            raise ValueError(
                f"{name}: steps of shape {steps.shape} and values of shape {values.shape} must be one axis"
            )
        known = ~np.isnan(steps)
        steps, values = steps[known], values[known]
        back = np.flatnonzero(np.diff(steps) < 0) + 1
        # What the run had logged from a step on, before it went back to it, does not count: for each entry, the least
        # step to which the log goes back after it.
        later = np.full(steps.size + 1, np.inf)
        later[back] = steps[back]
        kept = steps < np.minimum.accumulate(later[::-1])[::-1][1:]
        restarts = tuple(steps[back].tolist())
        steps, values = steps[kept], values[kept]
        last = np.append(np.diff(steps) > 0, True)[: steps.size]
        return cls(name, steps[last], values[last], restarts, int(steps.size - last.sum()))

    def __len__(self) -> int:
        return self.steps.size

    @cached_property
    def finite(self) -> Series:
        """Only where the value is a finite number."""
        return self.where(np.isfinite(self.values))

    @property
    def first_broken(self) -> float | None:
        """The first step at which the value is NaN or infinite."""
        broken = np.flatnonzero(~np.isfinite(self.values))
        return float(self.steps[broken[0]]) if broken.size else None

    def where(self, kept: Numbers) -> Series:
        """Some of its entries."""
        return Series(self.name, self.steps[kept], self.values[kept], self.restarts, self.duplicates)

    def between(self, first: float, last: float) -> Series:
        """From one step to another, both included."""
        return self.where((self.steps >= first) & (self.steps <= last))

    def part(self, start: float, stop: float) -> Series:
        """A share of its entries: ``part(0.9, 1)`` is the last tenth, one entry at least."""
        n = self.steps.size
        low, high = int(start * n), max(int(np.ceil(stop * n)), int(start * n) + 1)
        return self.where((np.arange(n) >= low) & (np.arange(n) < high))

    def at(self, steps: Numbers) -> Numbers:
        """The value last logged at each of the steps; NaN before the first."""
        place = np.searchsorted(self.steps, steps, side="right") - 1
        return (
            np.where(place >= 0, self.values[np.maximum(place, 0)], np.nan)
            if len(self)
            else np.full(len(steps), np.nan)
        )
