"""Where compiled loops are kept, when they are compiled at all, and what their traces are made of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dkl
from dkl.kernels.trace import Namespace, Outcomes, Trace, traced
from dkl.methods import fused

LARGE = """
import sys, warnings
import numpy as np
import dkl
x = np.full((8, 8192), 1 / 8192)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    print(float(dkl.kl(x, x[::-1]).sum()))
print([str(w.message) for w in caught])
"""


def _run(code: str, **environment: str) -> str:
    import os

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_small_pair_never_imports_numba() -> None:
    small = "x = np.full((7, 4096), 1 / 4096); dkl.kl(x, x); dkl.kl(x[0, :1] * 4096, x[0, :1] * 4096)"
    assert fused.LEAST > 7 * 4096
    assert _run(f"import sys; import numpy as np; import dkl; {small}; print('numba' in sys.modules)") == "False\n"
    assert _run(LARGE + "print('numba' in sys.modules)").splitlines()[-1] == "True"


def test_compiled_loops_are_kept_and_found_again(tmp_path: Path) -> None:
    assert _run(LARGE, DKL_CACHE_DIR=str(tmp_path)) == "0.0\n[]\n"
    sources, compiled = set(tmp_path.glob("kernels_*.py")), set(tmp_path.glob("__pycache__/*.nbc"))
    assert sources
    assert compiled
    stamps = {path: path.stat().st_mtime_ns for path in sources | compiled}
    assert _run(LARGE, DKL_CACHE_DIR=str(tmp_path)) == "0.0\n[]\n"
    assert {path: path.stat().st_mtime_ns for path in sources | compiled} == stamps
    assert set(tmp_path.glob("kernels_*.py")) == sources
    # A file that is not what its name says is written anew, and never run.
    damaged = sorted(sources)[0]
    damaged.write_text("raise SystemExit('run')\n")
    assert _run(LARGE, DKL_CACHE_DIR=str(tmp_path)) == "0.0\n[]\n"
    assert "raise SystemExit" not in damaged.read_text()


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    value, warnings, *_ = _run(LARGE, DKL_CACHE_DIR=str(tmp_path / "file" / "folder")).splitlines()
    assert value == "0.0"
    assert "each process compiles them anew: set DKL_CACHE_DIR to a folder that can be written" in warnings


def test_damaged_compiled_code_is_a_warning_and_made_anew(tmp_path: Path) -> None:
    assert _run(LARGE, DKL_CACHE_DIR=str(tmp_path)) == "0.0\n[]\n"
    for kind in ("nbi", "nbc"):
        for path in tmp_path.glob(f"__pycache__/*.{kind}"):
            path.write_bytes(path.read_bytes()[:20])
        value, warnings, *_ = _run(LARGE, DKL_CACHE_DIR=str(tmp_path)).splitlines()
        assert value == "0.0"
        assert "dkl cannot read a compiled loop in" in warnings
        assert "so it is compiled anew: remove that folder" in warnings
        assert _run(LARGE, DKL_CACHE_DIR=str(tmp_path)) == "0.0\n[]\n"


def test_a_cache_that_is_lost_on_the_way_is_a_warning(tmp_path: Path) -> None:
    lose = """import dkl, os, shutil
x = np.full((8, 8192), 1 / 8192)
dkl.tv(x, x)
shutil.rmtree(os.environ["DKL_CACHE_DIR"])
open(os.environ["DKL_CACHE_DIR"], "w").close()
"""
    code = LARGE.replace("import dkl\n", lose)
    value, warnings, *_ = _run(code, DKL_CACHE_DIR=str(tmp_path / "cache")).splitlines()
    assert value == "0.0"
    assert "each process compiles them anew" in warnings


def test_a_user_without_a_home_is_a_warning() -> None:
    code = (
        "from dkl.kernels import build\nbuild._users_cache = lambda: build.Path('~nobody-of-that-name').expanduser()\n"
    )
    value, warnings, *_ = _run(code + LARGE, DKL_CACHE_DIR="").splitlines()
    assert value == "0.0"
    assert "in a folder of the user's (Could not determine home directory.)" in warnings


def test_many_threads_may_make_the_first_call(tmp_path: Path) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import dkl
x = np.full((8, 8192), 1 / 8192)
members = [dkl.kl, dkl.tv] * 4
with ThreadPoolExecutor(8) as pool:
    print({float(v.sum()) for v in pool.map(lambda member: member(x, x[::-1]), members)})
"""
    assert _run(code, DKL_CACHE_DIR=str(tmp_path)) == "{0.0}\n"


def test_a_fork_makes_threads_of_its_own() -> None:
    code = (
        LARGE
        + """
import os
child = os.fork()
if child == 0:
    os._exit(0 if float(dkl.kl(x, x[::-1]).sum()) == 0 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    )
    assert _run(code, DKL_NUM_THREADS="2").splitlines()[-1] == "0"


def test_orders_share_one_source_and_differ_in_constants() -> None:
    for one, other in (
        (dkl.Alpha(0.6), dkl.Alpha(0.9)),
        (dkl.Tsallis(3), dkl.Tsallis(7.5)),
        (dkl.JS(0.2), dkl.JS(0.9)),
    ):
        sources, constants = zip(*(traced(d.core, "probabilities", "float64") for d in (one, other)), strict=True)
        assert sources[0] == sources[1]
        assert constants[0] != constants[1]
    kls = {traced(d.core, "softmax", "float32")[0] for d in (dkl.kl, dkl.Tsallis(1), dkl.Alpha(1), dkl.Renyi(1))}
    assert len(kls) == 1


def _symbols() -> tuple[Trace, Any, Any]:
    trace = Trace(np.dtype("float64"))
    return trace, trace.input("p"), trace.input("q")


def test_a_trace_is_what_was_done() -> None:
    trace, p, q = _symbols()
    xp = Namespace()
    same = p - q
    result = xp.where((p > q) & ~(p <= 0.5), 2.0 / xp.exp(same), (p - q) ** 2)
    space: dict[str, Any] = {"select": lambda c, x, y: x if c else y, "exp": np.exp}
    exec(trace.function("f", ["p", "q"], [result]), space)
    assert trace.steps.count("v0 = p - q") == 1
    for x, y in ((0.7, 0.2), (0.4, 0.2), (0.1, 0.9)):
        expected = 2 / np.exp(x - y) if x > y and not x <= 0.5 else (x - y) ** 2
        assert space["f"](x, y, tuple(trace.constants)) == pytest.approx(expected, rel=1e-15)


def test_what_cannot_be_traced_says_so() -> None:
    _, p, q = _symbols()
    with pytest.raises(TypeError, match=r"choose with xp.where"):
        bool(p > q)
    with pytest.raises(TypeError, match="squared, not raised to 3"):
        p**3
    with pytest.raises(AttributeError, match=r"traced code cannot call xp\.sin"):
        Namespace().sin(p)
    outcomes = Outcomes(p, q, p - q, from_logs=False)
    assert outcomes.mixed(1.0, 0.0) is outcomes


MAPPED = """
import re, resource, sys
import numpy as np
import dkl

def peak():
    try:
        return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
    except FileNotFoundError:  # macOS, which has no /proc, and counts in bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

small = np.full((8, 8192), 1 / 8192, np.float32)
for wrap in (dkl.Probs, dkl.Logits):
    dkl.kl(wrap(small), wrap(small))
before = peak()
p, q = (np.load(path, mmap_mode="r") for path in sys.argv[1:])
print(float(dkl.kl(p, q).max()), float(dkl.kl(dkl.Logits(p), dkl.Logits(q)).max()), peak() - before)
"""


def test_a_mapped_file_does_not_make_the_process_grow(tmp_path: Path) -> None:
    for name, tilt in (("p", 0.0), ("q", 0.5)):
        row = (1 + tilt * np.tile([1, -1], 8192)).astype(np.float32) / 16384
        mapped = np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", np.float32, (1536, 16384))
        mapped[:] = row
        mapped.flush()
    paths = [str(tmp_path / f"{name}.npy") for name in "pq"]
    done = subprocess.run([sys.executable, "-c", MAPPED, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    of_probabilities, of_logits, growth = map(float, done.stdout.split())
    assert of_probabilities == pytest.approx(-np.log(0.75) / 2, rel=1e-6)
    assert of_logits < 1e-8
    assert growth < 64 * 2**20 < 2 * 1536 * 16384 * 4
