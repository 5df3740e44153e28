"""One piece of work, done by everybody who can: their answers, their memory, their time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import memory, read_limit
from .peers import OURS, PEERS, Peer
from .timing import Budget, Call, Times, alternate
from .truth import WRONG, Truth
from .work import Array, Pair, Work

#: Of the free memory, what a call may take before it is left out.
_SHARE = 0.6
#: Calls are tried on a part of the arrays first if they may need too much, which none does below so many arrays.
_PART, _ARRAYS = 16, 250


@dataclass(frozen=True)
class Entry:
    """How one contestant did.

    Parameters
    ----------
    name
        Of the contestant.
    value_error, gradient_error
        Relative errors against the truth; None where there is nothing to compare.
    extra_bytes
        The peak of one call's memory beyond its inputs; None where it cannot be measured.
    times
        None if it was not timed.
    left_out
        Why it has no part in the work although it has a formula for it.
    """

    name: str
    value_error: float | None = None
    gradient_error: float | None = None
    extra_bytes: int | None = None
    times: Times | None = None
    left_out: str | None = None

    @property
    def error(self) -> float | None:
        """The larger of both errors."""
        return max((e for e in (self.value_error, self.gradient_error) if e is not None), default=None)

    @property
    def wrong(self) -> bool:
        """Whether the answer has fewer than three digits."""
        return self.error is not None and not self.error <= WRONG


@dataclass(frozen=True)
class Result:
    """How everybody did on one piece of work.

    Parameters
    ----------
    work
        What was done.
    entries
        Of dkl and its peers.
    read
        The loop that only reads both inputs; None where the call itself is what is timed, or without Numba.
    """

    work: Work
    entries: tuple[Entry, ...]
    read: Entry | None

    @property
    def ours(self) -> Entry | None:
        """The entry of dkl; None if it was left out."""
        return next((e for e in self.entries if e.name == OURS), None)

    def speedup(self, entry: Entry) -> float | None:
        """Return how many times longer than dkl a contestant takes."""
        return _ratio(entry, self.ours)

    def over_read(self, entry: Entry) -> float | None:
        """Return how many times longer than reading the inputs a contestant takes."""
        return _ratio(entry, self.read)


def _ratio(entry: Entry, other: Entry | None) -> float | None:
    if other is None or entry.times is None or other.times is None:
        return None
    return entry.times.over(other.times)


def contest(
    work: Work, x: Array, y: Array, truth: Truth, budget: Budget, peers: Sequence[Peer] | None = None
) -> Result:
    """Have everybody do a piece of work: once for the answer, once for the memory, then in turn for the time.

    Parameters
    ----------
    work
        What is to be done.
    x, y
        Its arrays.
    truth
        The right answer.
    budget
        How often and how long to time.
    peers
        The contestants; all that are registered, if none are given.
    """
    entries: list[Entry] = []
    calls: dict[str, Call] = {}
    for peer in PEERS if peers is None else peers:
        entry, call = _tried(peer, work, x, y, truth)
        if entry is not None and call is not None:
            entry = replace(entry, extra_bytes=memory.peak_extra(call))
            calls[peer.name] = call
        entries += [] if entry is None else [entry]
    if not work.per_call and read_limit.installed():
        total = read_limit.kernel()
        total(x, y)
        calls[read_limit.NAME] = lambda: total(x, y)
    times = alternate(calls, budget)
    read = Entry(read_limit.NAME, times=times[read_limit.NAME]) if read_limit.NAME in times else None
    return Result(work, tuple(replace(e, times=times.get(e.name)) for e in entries), read)


def answers(pair: Pair, x: Array, y: Array, truth: Truth, peers: Iterable[Peer] | None = None) -> tuple[Entry, ...]:
    """Have everybody compute KL on one pair, for the errors alone; see `contest`."""
    work = Work("kl", "value", pair)
    tried = (_tried(peer, work, x, y, truth)[0] for peer in (PEERS if peers is None else peers))
    return tuple(entry for entry in tried if entry is not None)


def _tried(peer: Peer, work: Work, x: Array, y: Array, truth: Truth) -> tuple[Entry | None, Call | None]:
    """Return the errors of a first call, which also compiles and warms up, and the call; None without a part in this.

    That a contestant fails is a result, and no reason to lose the others': it is an entry without a call.
    """
    try:
        call = _prepared(peer, work, x, y)
        if call is None:
            return None, None
        refusal = _too_much(peer, work)
        if refusal is not None:
            return Entry(peer.name, left_out=refusal), None
        value, gradient = _errors(peer, call(), truth, work)
        return Entry(peer.name, value, gradient), call
    except Exception as error:  # noqa: BLE001
        return Entry(peer.name, left_out=f"failed: {type(error).__name__}: {error}".splitlines()[0]), None


def _prepared(peer: Peer, work: Work, x: Array, y: Array) -> Call | None:
    """Return the call that is timed, its inputs ready; None if the peer has no part in this."""
    formula = peer.formula(work) if peer.installed else None
    if formula is None:
        return None
    p, q = (peer.library.array(side, work.task == "gradient") for side in (x, y))
    return lambda: formula(p, q)


def _errors(peer: Peer, answer: Any, truth: Truth, work: Work) -> tuple[float, float | None]:
    value, *gradient = answer if work.task == "gradient" else (answer,)
    error = truth.value_error(peer.library.numpy(value))
    if work.task == "value":
        return error, None
    return error, truth.gradient_error(peer.library.numpy(side) for side in gradient)


def _too_much(peer: Peer, work: Work) -> str | None:
    """Say what a call would need if that is more than there is, judging from a call on a part of the rows."""
    free = memory.available()
    size = work.pair.elements * (4 if work.pair.dtype == "float32" else 8)
    if free is None or size * _ARRAYS < free * _SHARE:
        return None
    first, *rest = work.pair.shape
    shape = (first // _PART, *rest) if first >= _PART else (first, *rest[:-1], rest[-1] // _PART)
    part = replace(work, pair=replace(work.pair, shape=shape))
    call = _prepared(peer, part, *part.pair.arrays())
    if call is None:
        return None
    call()
    needed = (memory.peak_extra(call) or 0) * (work.pair.elements / part.pair.elements)
    gigabytes = f"would need about {needed / 1e9:.0f} GB of the {free / 1e9:.0f} GB that are free"
    return gigabytes if needed > free * _SHARE else None
