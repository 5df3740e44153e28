"""Distributions of another package, whose entry point brings an adapter and a rule."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_PACKAGE = '''
"""A distribution of its own, and what dkl must know of it."""
import math

from dkl import Estimate, Probs
from dkl.adapters import adapter
from dkl.representations import Representation
from dkl.rules import rule


class Coin:
    def __init__(self, heads):
        self.heads = heads


class Arrival(Representation):
    """The time until something arrives that comes so many times a minute."""

    def __init__(self, rate):
        self.rate = rate


@adapter("coins.Coin")
def _coin(coin):
    return Probs([coin.heads, 1 - coin.heads])


@rule("kl", Arrival, Arrival, "closed_form")
def _arrivals(divergence, p, q, **options):
    value = math.log(p.rate / q.rate) + q.rate / p.rate - 1
    import numpy as np
    return Estimate(np.float64(value), 0.0, "closed_form", divergence.name, divergence.direction, divergence.unit)
'''
_PROGRAM = """
import json, sys
import dkl
assert "coins" not in sys.modules
first = dkl.kl([0.5, 0.5], [0.25, 0.75])
assert "coins" in sys.modules, "the first measurement loads the entry points"
from coins import Arrival, Coin
coins = dkl.measure(Coin(0.9), Coin(0.5))
times = dkl.measure(Arrival(2.0), Arrival(1.0))
try:
    dkl.js(Arrival(2.0), Arrival(1.0))
except TypeError as error:
    refused = str(error)
print(json.dumps([float(coins), coins.method, float(times), times.method, refused]))
"""


def test_another_package_registers_its_distributions(tmp_path: Path) -> None:
    (tmp_path / "coins.py").write_text(_PACKAGE)
    info = tmp_path / "coins-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: coins\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dkl.rules]\ncoins = coins\n")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{_PROGRAM}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    coins, how, times, formula, refused = json.loads(done.stdout)
    assert abs(coins - 0.3680642071684971) < 1e-15
    assert how == "exact"
    assert abs(times - 0.1931471805599453) < 1e-15
    assert formula == "closed_form"
    assert refused.startswith("nothing measures js between a Arrival and a Arrival")
