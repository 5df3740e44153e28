"""What every test of arrays shares: the backends that this run asks for, and how hard Hypothesis searches.

``DKL_TEST_BACKENDS`` lists the array libraries, separated by commas; without it all of them are tested, and one that is
not installed is an error, never a skip. ``HYPOTHESIS_PROFILE=thorough`` searches forty times longer, from new seeds.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from .contract.backends import BACKENDS, asked_for

settings.register_profile(
    "ci", max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", max_examples=1200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# Compiled loops are kept between runs and shared by the processes of one, away from the user's own.
os.environ.setdefault("DKL_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "dkl"))

# Each worker has its core: threads of theirs beside it would wait for each other, in small products for milliseconds.
if "PYTEST_XDIST_WORKER" in os.environ:
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(_name, "1")

collect_ignore = [] if {"torch", "jax"} <= set(asked_for()) else [
    "core/test_gradients.py", "core/test_compiled.py", "kernels/test_torch.py"
]  # fmt: skip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", [BACKENDS[name] for name in asked_for()], ids=asked_for(), scope="session")
