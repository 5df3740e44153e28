"""Where and with what was measured."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from . import memory, truth

PACKAGES = ("numpy", "scipy", "numba", "torch", "jax", "jaxlib")


def let_threads_sleep() -> None:
    """Have OpenMP's threads wait asleep, unless the caller has chosen; before any library is loaded.

    By default they spin, and where another process has one of the cores, those that wait hold up the one that is
    waited for: PyTorch, and whoever else uses OpenMP, was then seen to take fifty times longer.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def describe() -> dict[str, Any]:
    """Return the machine, its load, the date and the versions, as they go into the JSON."""
    import dkl

    versions = {"python": platform.python_version(), "dkl": dkl.__version__}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.node(),
        "system": platform.platform(),
        "cpu": _cpu(),
        "cores": _cores(),
        "load": load(),
        "threads": _threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "dkl_from": str(Path(dkl.__file__).parent),
        "versions": versions,
        "truth_epsilon": truth.EPSILON,
        "memory_method": memory.method(),
    }


def load() -> float | None:
    """Return how many processes have wanted to run in the last minute, on average."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _threads() -> dict[str, int]:
    """Return how many threads the libraries use that are loaded already."""
    found = {}
    for package, call in (("torch", "get_num_threads"), ("numba", "get_num_threads")):
        if package in sys.modules:
            found[package] = int(getattr(sys.modules[package], call)())
    return found
