"""How much memory one call needs beyond what was there before it, its answer included.

The kernel keeps the largest resident set that a process has had (VmHWM), counts it page by page, and forgets it when
asked to (proc(5), clear_refs). So nothing that is allocated and freed within a call escapes, whoever allocates it:
NumPy, PyTorch, XLA or a thread of theirs. Where the kernel cannot forget, a thread samples the resident set instead and
may miss short peaks; `method` says which of the two was used.
"""

from __future__ import annotations

import ctypes
import gc
import os
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_EVERY = 0.0005


@cache
def method() -> str:
    """Return ``"high water"``, ``"sampled"``, or ``"none"`` where there is no /proc."""
    if not _STATUS.exists():
        return "none"
    try:
        _CLEAR.write_text("5")
        return "high water" if _status("VmHWM") - _status("VmRSS") < 2**20 else "sampled"
    except OSError:
        return "sampled"


def available() -> int | None:
    """Return how many bytes are free for use without swapping; None where the system does not tell."""
    try:
        return _field(Path("/proc/meminfo"), "MemAvailable")
    except OSError:
        return None


def peak_extra(call: Callable[[], object]) -> int | None:
    """Call once and return the peak of its extra memory in bytes; None where it cannot be measured."""
    if method() == "none":
        call()
        return None
    gc.collect(1)  # what a call before has left in cycles is young
    _trim()
    before = _status("VmRSS")
    if method() == "high water":
        _CLEAR.write_text("5")
        answer = call()
        peak = _status("VmHWM")
    else:
        peak, answer = _sampled(call)
    del answer
    return max(peak - before, 0)


def _sampled(call: Callable[[], object]) -> tuple[int, object]:
    done = threading.Event()
    largest = 0

    def sample() -> None:
        nonlocal largest
        while True:
            largest = max(largest, _status("VmRSS"))
            if done.wait(_EVERY):
                return

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        answer = call()
    finally:
        done.set()
        thread.join()
    return max(largest, _status("VmRSS")), answer


def _trim() -> None:
    """Have the C library return what it keeps of freed memory, or the next call would get it for nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _status(name: str) -> int:
    return _field(_STATUS, name)


def _field(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{path} has no {name}")
