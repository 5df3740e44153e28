"""What importing dkl loads, and what it does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

import dkl

HEAVY = ("torch", "jax", "numba", "polars", "pandas", "pyarrow", "click", "rich", "matplotlib")


@pytest.mark.parametrize(
    "code",
    [
        "import dkl",
        "import dkl; dkl.kl",
        "import dkl; dkl.kl([0.5, 0.5], [0.25, 0.75])",
        "import dkl; dkl.measure([0.5, 0.5], [0.25, 0.75]); dkl.bounds(kl=0.1)",
        "import dkl; dkl.smooth([1.0, 0.0], 0.1); dkl.entropy([1.0]); dkl.wasserstein([1.0, 0.0], [0.0, 1.0])",
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    loaded = f"{code}\nimport sys; print([m for m in {HEAVY} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]", out.stdout
    assert out.stderr == ""


def test_import_alone_loads_no_scipy_and_no_submodule() -> None:
    code = "import dkl, sys; print([m for m in sys.modules if m.startswith('scipy') or m.startswith('dkl.')])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "['dkl._version']"


# What tests/core may use: the rest of the public names belongs to other tests.
NAMES = [
    "kl", "reverse_kl", "jeffreys", "js", "tv", "hellinger", "squared_hellinger", "bhattacharyya", "chi2",
    "neyman_chi2", "triangular", "JS", "SkewKL", "Renyi", "Tsallis", "Alpha", "FDivergence", "Divergence",
    "Probs", "LogProbs", "Logits", "Counts", "Samples", "entropy", "cross_entropy", "Estimate", "measure",
    "smooth", "wasserstein", "bounds",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_public_names(name: str) -> None:
    assert name in dir(dkl)
    assert name in dkl.__all__
    assert getattr(dkl, name) is not None
    assert getattr(dkl, name).__doc__


def test_calls_take_their_options_by_keyword_only() -> None:
    with pytest.raises(TypeError):
        dkl.kl([1.0], [1.0], 0)  # type: ignore[misc]
    with pytest.raises(TypeError):
        dkl.entropy([1.0], 0)  # type: ignore[misc]
    with pytest.raises(TypeError):
        dkl.measure([1.0], [1.0], dkl.kl, "exact")  # type: ignore[misc]
