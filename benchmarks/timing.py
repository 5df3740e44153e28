"""Time that is comparable: contestants in turn, each round beginning with another one, on the same arrays."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

Call = Callable[[], object]


@dataclass(frozen=True)
class Budget:
    """How long to measure.

    Parameters
    ----------
    rounds
        How often each contestant is timed, at most.
    least
        How often it is timed at least, whatever that takes.
    seconds
        After which no further round begins.
    block
        Seconds that one timing takes at least; quick calls are repeated until it does.
    """

    rounds: int = 7
    least: int = 3
    seconds: float = 20.0
    block: float = 0.02


@dataclass(frozen=True)
class Times:
    """Seconds per call, one for each round.

    Parameters
    ----------
    seconds
        In the order of the rounds: the entries of all contestants with the same index were taken in one round.
    calls
        How many calls each of them is the mean of.
    """

    seconds: tuple[float, ...]
    calls: int

    @property
    def median(self) -> float:
        """What is reported."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The lower and the upper one, of the rounds as they are."""
        if len(self.seconds) == 1:
            return self.seconds[0], self.seconds[0]
        lower, _, upper = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return lower, upper

    def over(self, other: Times) -> float:
        """Return how many times longer than the other, the median over the rounds of the ratio within a round."""
        return statistics.median(a / b for a, b in zip(self.seconds, other.seconds, strict=True))


@contextmanager
def settled() -> Iterator[None]:
    """Keep the garbage collector off what is there already: the libraries' own objects, which are very many."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def alternate(calls: Mapping[str, Call], budget: Budget) -> dict[str, Times]:
    """Time all contestants in turn.

    Parameters
    ----------
    calls
        The contestants, which must have been called before: nothing is compiled here.
    budget
        How often and how long.
    """
    repeats = {name: _calls_per_block(call, budget.block) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    began = time.perf_counter()
    for done in range(budget.rounds):
        if done >= budget.least and time.perf_counter() - began > budget.seconds:
            break
        gc.collect()
        for name in order:
            seconds[name].append(_timed(calls[name], repeats[name]))
        order = [*order[1:], *order[:1]]
    return {name: Times(tuple(taken), repeats[name]) for name, taken in seconds.items()}


def _calls_per_block(call: Call, block: float) -> int:
    calls = 1
    while calls < 1_000_000 and (seconds := _timed(call, calls) * calls) < block:
        calls = max(2 * calls, int(1.2 * calls * block / max(seconds, 1e-7)) if seconds > block / 100 else 0)
    return calls


def _timed(call: Call, calls: int) -> float:
    """Return the seconds of one call; answers are dropped outside of it where there is but one."""
    gc.disable()
    # The threads that the contestant before has left spinning go to sleep within milliseconds.
    time.sleep(0.002)
    try:
        if calls == 1:
            start = time.perf_counter()
            answer = call()
            taken = time.perf_counter() - start
            del answer
        else:
            start = time.perf_counter()
            for _ in range(calls):
                call()
            taken = (time.perf_counter() - start) / calls
    finally:
        gc.enable()
    return taken
