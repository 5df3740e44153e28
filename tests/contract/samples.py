"""Pairs whose probabilities are multiples of 2⁻²⁰: exact in float32, with sums of exactly 1.

They stay so when outcomes are merged or two pairs are averaged.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

import dkl
from dkl.representations import FiniteOutcomes

from .backends import Backend

TOTAL = 2**20
OUTCOMES = 6

#: How the two sides of a pair are handed in.
KINDS: dict[str, tuple[str, str]] = {
    "probs": ("probs", "probs"),
    "log-probs": ("log_probs", "log_probs"),
    "logits": ("logits", "logits"),
    "counts": ("counts", "counts"),
    "probs and logits": ("probs", "logits"),
    "logits and log-probs": ("logits", "log_probs"),
    "counts and probs": ("counts", "probs"),
}


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows of integer counts that sum to ``TOTAL``, in blocks of equally many rows."""

    p: np.ndarray
    q: np.ndarray
    #: Which rows belong to the pairs (P, Q), to (Q, P), to (P, P), to P and Q with two outcomes merged, and to the
    #: mean of each pair with the next.
    blocks: dict[str, slice]
    disjoint: np.ndarray
    equal: np.ndarray
    #: p and q differ by less than 1 %: their divergence has few digits left if computed naively.
    close: np.ndarray


@cache
def sample() -> Sample:
    """The pairs that all laws are tried on."""
    rng = np.random.default_rng(20240607)
    rows: list[tuple[np.ndarray, np.ndarray]] = []

    def draw(concentration: float, support: list[int]) -> np.ndarray:
        x = np.zeros(OUTCOMES, dtype=np.int64)
        x[support] = rng.multinomial(TOTAL - len(support), rng.dirichlet([concentration] * len(support))) + 1
        return x

    every = list(range(OUTCOMES))
    rows += [(draw(1.0, every), draw(1.0, every)) for _ in range(6)]
    rows += [(draw(0.1, every), draw(0.1, every)) for _ in range(4)]
    for step in (1, 10, 1000):
        p = draw(5.0, every)
        rows.append((p, p + step * np.array([1, -2, 3, -1, 0, -1])))
    rows += [
        (draw(1.0, [1, 2, 3]), draw(1.0, every)),
        (draw(1.0, every), draw(1.0, [0, 4, 5])),
        (draw(1.0, [0, 1, 2]), draw(1.0, [0, 1, 2])),
        (draw(1.0, [0, 1, 2, 3]), draw(1.0, [2, 3, 4, 5])),
        (draw(1.0, [0, 1, 2]), draw(1.0, [3, 5])),
        (draw(1.0, [1]), draw(1.0, [4])),
        (draw(1.0, [1]), draw(1.0, every)),
        (draw(1.0, every), draw(1.0, [3])),
    ]
    rows += [(x, x) for x in (draw(1.0, every), draw(1.0, [0, 2]), draw(1.0, [5]))]
    p, q = (np.stack(side) for side in zip(*rows, strict=True))
    n = len(rows)
    mean_p, mean_q = ((x + np.roll(x, -1, axis=0)) / 2 for x in (p, q))
    blocks = {name: slice(i * n, (i + 1) * n) for i, name in enumerate(("pq", "qp", "pp", "merged", "mean"))}
    close = (p > 0) & (q > 0) & (np.abs(p - q) * 100 < q)
    return Sample(
        np.concatenate([p, q, p, _merged(p), mean_p]),
        np.concatenate([q, p, p, _merged(q), mean_q]),
        blocks,
        disjoint=~((p > 0) & (q > 0)).any(axis=-1),
        equal=(p == q).all(axis=-1),
        close=(close | ((p == 0) & (q == 0))).all(axis=-1),
    )


def _merged(x: np.ndarray) -> np.ndarray:
    """Outcomes 1 and 4 made one, whose mass stands at 1."""
    x = x.copy()
    x[:, 1] += x[:, 4]
    x[:, 4] = 0
    return x


def hand_in(kind: str, counts: np.ndarray, backend: Backend, dtype: str) -> FiniteOutcomes:
    """The rows in one representation. Logits get an offset that differs from row to row."""
    if kind == "counts":
        return dkl.Counts(backend.asarray(counts.astype(dtype)))
    p = counts / TOTAL
    if kind == "probs":
        return dkl.Probs(backend.asarray(p.astype(dtype)))
    with np.errstate(divide="ignore"):
        log_p = np.log(p)
    if kind == "log_probs":
        return dkl.LogProbs(backend.asarray(log_p.astype(dtype)))
    offsets = (np.arange(log_p.shape[0]) % 8 - 3)[:, None]
    return dkl.Logits(backend.asarray((log_p + offsets).astype(dtype)))
