"""What starting costs: processes that import and answer, in turn with one that does nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from functools import partial

from .timing import Budget, Times, alternate

BARE = "the bare interpreter"
IMPORT = "import dkl"

_PAIR = "[0.9, 0.1], [0.5, 0.5]"
#: What each process runs; an answer shows what a lazy import has put off.
_PROGRAMS = {
    BARE: "pass",
    IMPORT: "import dkl",
    "dkl, first answer": f"import dkl; dkl.kl({_PAIR})",
    "import numpy": "import numpy",
    "scipy.stats.entropy, first answer": f"from scipy.stats import entropy; entropy({_PAIR})",
    "torch F.kl_div, first answer": (
        "import torch; p, q = torch.tensor([[0.9, 0.1], [0.5, 0.5]]);"
        "torch.nn.functional.kl_div(q.log(), p, reduction='sum')"
    ),
    "jax, first answer": (
        "import jax; p, q = jax.numpy.array([[0.9, 0.1], [0.5, 0.5]]); jax.scipy.special.rel_entr(p, q).sum()"
    ),
}
_QUICK = (BARE, IMPORT, "dkl, first answer", "import numpy", "scipy.stats.entropy, first answer")


def programs(quick: bool, installed: Iterable[str]) -> list[str]:
    """Name the programs that can be run here, those that take long only if there is time."""
    have = {"the", "import", "dkl,", *installed}
    return [name for name in (_QUICK if quick else _PROGRAMS) if name.replace(".", " ").split()[0] in have]


def start(names: Iterable[str], rounds: int) -> dict[str, Times]:
    """Run each program in processes of its own, all in turn, after one run that warms the disk's cache.

    Parameters
    ----------
    names
        From `programs`.
    rounds
        How often each is run.
    """

    def process(code: str) -> None:
        subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, stdout=subprocess.DEVNULL)

    calls = {name: partial(process, _PROGRAMS[name]) for name in names}
    for call in calls.values():
        call()
    return alternate(calls, Budget(rounds=rounds, least=rounds, block=0.0))
