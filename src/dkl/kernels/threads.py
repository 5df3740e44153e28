"""Work on all cores: compiled loops release Python's lock, so plain threads serve.

Who computes what never changes a result: each piece of work writes to a place of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

Work = TypeVar("Work")


@cache
def number() -> int:
    """How many threads work: ``DKL_NUM_THREADS``, or the cores that this process may use."""
    chosen = os.environ.get("DKL_NUM_THREADS", "")
    if chosen:
        if not chosen.isdecimal() or int(chosen) < 1:
            raise ValueError(f"DKL_NUM_THREADS = {chosen!r}: give a whole number of at least 1")
        return int(chosen)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(number(), thread_name_prefix="dkl")


if hasattr(os, "register_at_fork"):
    # A forked child inherits the pool but not its threads.
    os.register_at_fork(after_in_child=_pool.cache_clear)


def share_out(function: Callable[[Work], None], pieces: list[Work]) -> None:
    """Call the function on every piece, on as many threads as there is work for."""
    queue = iter(pieces)

    def work() -> None:
        # Taking the next of a list is one step under Python's lock.
        for piece in queue:
            function(piece)

    others = [_pool().submit(work) for _ in range(min(number(), len(pieces)) - 1)]
    try:
        work()
    finally:
        # After an interruption nobody begins another piece.
        for _ in queue:
            pass
    for other in others:
        other.result()
