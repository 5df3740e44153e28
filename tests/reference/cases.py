"""The pairs whose divergences are frozen in references.json, and the members that are measured on them.

Inputs are made by IEEE additions, multiplications and divisions alone, so they have the same bits on every machine;
where a logarithm is needed, it is taken by mpmath when the references are made, and frozen with them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Members by the expression that makes them.
READY = (
    "kl",
    "reverse_kl",
    "jeffreys",
    "js",
    "tv",
    "hellinger",
    "squared_hellinger",
    "bhattacharyya",
    "chi2",
    "neyman_chi2",
    "triangular",
)
PARAMETERS: dict[str, tuple[float, ...]] = {
    "JS": (1e-6, 0.1, 0.9),
    "SkewKL": (0.01, 0.5, 0.99, 1.0),
    "Renyi": (0.0, 1e-9, 0.1, 0.5, 1 - 1e-9, 1.0, 1 + 1e-9, 1.5, 2.0, 30.0, math.inf),
    "Tsallis": (0.0, 1e-9, 0.5, 1 - 1e-9, 1.0, 1 + 1e-9, 2.0, 30.0),
    "Alpha": (-30.0, -2.0, -1e-9, 0.0, 1e-9, 0.3, 0.5, 0.7, 1 - 1e-9, 1.0, 1 + 1e-9, 2.0, 5.0, 30.0),
}
MEMBERS: dict[str, tuple[str, float | None]] = {name: (name, None) for name in READY} | {
    f"{cls}({value!r})": (cls, value) for cls, values in PARAMETERS.items() for value in values
}
#: On pairs of very many outcomes, where mpmath is slow and the members differ only in their terms.
FEW = ("kl", "reverse_kl", "js", "tv", "hellinger", "chi2", "triangular", "Renyi(0.5)", "Renyi(30.0)", "Alpha(0.3)")


@dataclass(frozen=True, eq=False)
class Case:
    """A pair, and how each side is to be read: ``probs``, ``log_probs``, ``logits`` or ``counts``."""

    name: str
    kinds: tuple[str, str]
    p: np.ndarray
    q: np.ndarray
    #: Logarithms that mpmath still has to take of p and q, when the references are made.
    take_logs: bool = False

    @property
    def large(self) -> bool:
        """Made anew in the tests instead of being stored."""
        return self.p.shape[0] > 64


def wrap(dkl: Any, kind: str, x: Any) -> Any:
    """The representation that a kind stands for."""
    return {"probs": dkl.Probs, "log_probs": dkl.LogProbs, "logits": dkl.Logits, "counts": dkl.Counts}[kind](x)


def _uniforms(n: int, seed: int) -> np.ndarray:
    """Multiples of 2⁻³² in (0, 1), by a linear congruential generator in exact integers."""
    state, numbers = seed, []
    for _ in range(n):
        state = (6364136223846793005 * state + 1442695040888963407) % 2**64
        numbers.append(((state >> 32) | 1) / 2**32)
    return np.array(numbers)


def _normalised(x: np.ndarray) -> np.ndarray:
    return x / math.fsum(x.tolist())


def _probabilities() -> dict[str, tuple[Any, Any]]:
    pairs: dict[str, tuple[Any, Any]] = {
        "lesson mirrored": ([0.9, 0.1], [0.1, 0.9]),
        "lesson biased coin": ([0.9, 0.1], [0.5, 0.5]),
        "lesson reversed": ([0.7, 0.2, 0.1], [0.1, 0.2, 0.7]),
        "lesson nearly sure": ([0.99, 0.01], [0.5, 0.5]),
        "lesson unsupported": ([0.7, 0.2, 0.1], [0.8, 0.2, 0.0]),
        "zero in p": ([0.0, 0.25, 0.75], [0.5, 0.25, 0.25]),
        "zero in both": ([0.0, 0.25, 0.75], [0.0, 0.5, 0.5]),
        "zeros on each side": ([0.0, 0.25, 0.5, 0.25], [0.5, 0.25, 0.25, 0.0]),
        "disjoint": ([0.5, 0.5, 0.0], [0.0, 0.0, 1.0]),
        "equal one-hot": ([0.0, 1.0, 0.0], [0.0, 1.0, 0.0]),
        "different one-hot": ([0.0, 1.0, 0.0], [1.0, 0.0, 0.0]),
        "one outcome": ([1.0], [1.0]),
        "equal": ([0.25, 0.625, 0.125], [0.25, 0.625, 0.125]),
        "smooth against one-hot": ([0.25, 0.625, 0.125], [0.0, 1.0, 0.0]),
        "nearly one-hot": ([1 - 2.0**-20, 2.0**-20], [1 - 2.0**-21, 2.0**-21]),
        "nearly one-hot, opposite": ([1 - 2.0**-20, 2.0**-20], [2.0**-21, 1 - 2.0**-21]),
        "1e-30": ([1.0, 1e-30, 3e-30], [1.0, 2e-30, 1e-30]),
        "1e-30 against 0.25": ([1e-30, 0.25, 0.75], [0.25, 0.5, 0.25]),
        "0.25 against 1e-30": ([0.25, 0.5, 0.25], [1e-30, 0.25, 0.75]),
        "1e-37 against 0.25": ([1e-37, 0.25, 0.75], [0.25, 0.5, 0.25]),
    }
    return pairs


def _float64_only() -> dict[str, tuple[Any, Any]]:
    return {
        "one-hot to the last digit": ([1 - 2.0**-53, 2.0**-53], [1 - 2.0**-52, 2.0**-52]),
        "1e-300 against 0.25": ([1e-300, 0.25, 0.75], [0.25, 0.5, 0.25]),
        "0.25 against 1e-300": ([0.25, 0.5, 0.25], [1e-300, 0.25, 0.75]),
        "subnormal against 0.5": ([5e-324, 1.0], [0.5, 0.5]),
        "0.5 against subnormal": ([0.5, 0.5], [5e-324, 1.0]),
        "subnormal against subnormal": ([1e-310, 1.0], [3e-310, 1.0]),
        "1e-300 against 1e-5": ([1e-300, 0.5, 0.5], [1e-5, 0.5, 0.49999]),
    }


def _float32_only() -> dict[str, tuple[Any, Any]]:
    return {
        "subnormal32 against 0.5": ([1e-45, 1.0], [0.5, 0.5]),
        "0.5 against subnormal32": ([0.5, 0.5], [1e-45, 1.0]),
        "subnormal32 against subnormal32": ([1e-40, 1.0], [3e-40, 1.0]),
    }


def _near(dtype: str) -> dict[str, tuple[Any, Any]]:
    """Pairs from far apart to nearly equal: KL from 1 down to 1e-26 (float64) or 1e-13 (float32)."""
    base = _normalised(np.array([3.0, 1.0, 4.0, 1.5, 9.0, 2.5]))
    shift = np.array([1.0, -0.5, -0.25, 2.0, 0.125, -1.5])
    shift = shift - math.fsum((shift * base).tolist())
    steps = (1e-1, 1e-3, 1e-5, 1e-6, 1e-7, 1e-9, 1e-11, 1e-12, 1.2e-13)
    out = {}
    for step in steps if dtype == "float64" else (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 4e-7):
        out[f"apart by {step:g}"] = (base, base * (1 + step * shift))
    return out


def _logits(dtype: str) -> dict[str, tuple[Any, Any]]:
    one = np.array([0.5, -1.0, 2.0, 0.25, -0.75, 1.5])
    other = np.array([-0.25, 1.0, 0.5, -1.5, 0.75, 1.25])
    inf = math.inf
    masked = float(np.finfo(dtype).min)
    out: dict[str, tuple[Any, Any]] = {
        "-inf in both": ([0.5, -inf, 2.0], [1.5, -inf, 0.25]),
        "-inf in p": ([0.5, -inf, 2.0], [1.5, 0.125, 0.25]),
        "-inf in q": ([0.5, 0.25, 2.0], [1.5, -inf, 0.25]),
        "-inf on each side": ([0.5, -inf, 2.0, 1.0], [1.5, 0.25, 0.75, -inf]),
        "disjoint": ([0.5, -inf, 2.0], [-inf, 1.0, -inf]),
        "one outcome left": ([-inf, 3.0, -inf], [-inf, -7.0, -inf]),
        "one outcome": ([3.0], [-2.0]),
        "equal": (one, one),
        "equal but for an offset": (one, one + 8),
        "nearly sure": ([40.0, 0.0, 1.0], [41.0, 0.5, -1.0]),
        "sure of different outcomes": ([40.0, 0.0, 1.0], [-1.0, 0.5, 45.0]),
        "masked by finfo.min in both": ([0.5, masked, 2.0], [1.5, masked, 0.25]),
        "masked by finfo.min in p": ([0.5, masked, 2.0], [1.5, 0.125, 0.25]),
        "masked by finfo.min in q": ([0.5, 0.25, 2.0], [1.5, masked, 0.25]),
        "masked by -1e9 in both": ([0.5, -1e9, 2.0], [1.5, -1e9, 0.25]),
        "masked by -1e4 in q": ([0.5, 0.25, 2.0], [1.5, -1e4, 0.25]),
    }
    small = (1e-12, 1e-13) if dtype == "float64" else ()
    for scale in (1e3, 1e2, 1e1, 1.0, 1e-1, 1e-3, 1e-6, *small):
        out[f"scale {scale:g}"] = (scale * one, scale * other)
    offset = 2.0**20 if dtype == "float64" else 2.0**10
    for scale in (1.0, 1e-3, 1e-6, *((1e-9,) if dtype == "float64" else ())):
        moved = one + scale * other
        out[f"apart by {scale:g}"] = (one, moved)
        out[f"apart by {scale:g}, common offset"] = (offset + one, offset + moved)
        out[f"apart by {scale:g}, other offset"] = (offset + one, moved - offset)
    return out


_MIXED = (
    "lesson biased coin",
    "zero in p",
    "zero in both",
    "apart by 0.1",
    "apart by 0.001",
    "apart by 1e-06",
    "1e-30",
)


def cases() -> list[Case]:
    """Every case, always the same."""
    out = []
    for dtype in ("float64", "float32"):
        extra = _float64_only() if dtype == "float64" else _float32_only()
        probabilities = _probabilities() | extra | _near(dtype)

        def add(name: str, kinds: tuple[str, str], p: Any, q: Any, dtype: str = dtype, **more: Any) -> None:
            p, q = (np.asarray(x, dtype=float).astype(dtype) for x in (p, q))
            out.append(Case(f"{dtype} {' '.join(dict.fromkeys(kinds))}: {name}", kinds, p, q, **more))

        for name, (p, q) in probabilities.items():
            add(name, ("probs", "probs"), p, q)
            if name not in extra:
                add(name, ("log_probs", "log_probs"), p, q, take_logs=True)
        for name, (p, q) in _logits(dtype).items():
            add(name, ("logits", "logits"), p, q)
        add("far below float's range", ("log_probs", "log_probs"), [0.0, -1000.0, -2000.0], [0.0, -1500.0, -900.0])
        for name in _MIXED:
            p, q = probabilities[name]
            add(name, ("probs", "log_probs"), p, q, take_logs=True)
            add(name, ("logits", "probs"), p, q, take_logs=True)
        add("different sizes", ("counts", "counts"), [30, 10, 0, 2], [2000, 1000, 5, 7])
        add("same shares", ("counts", "counts"), [30, 10, 0, 2], [60, 20, 0, 4])
        add("large", ("counts", "counts"), [1_000_003, 999_983, 7], [1_000_000, 1_000_000, 7])
        add("against logits", ("counts", "logits"), [30, 10, 1, 2], [3.0, 2.0, -2.5, 0.5])
        for n in (2, 100, 10_000):
            p, q = _normalised(_uniforms(n, 1)), _normalised(_uniforms(n, 2))
            step = 1e-3 if dtype == "float32" else 1e-8
            add(f"{n} outcomes", ("probs", "probs"), p, q)
            add(f"{n} outcomes, close", ("probs", "probs"), p, _normalised(p * (1 + step * (_uniforms(n, 3) - 0.5))))
            a = 20 * (_uniforms(n, 4) - 0.5)
            add(f"{n} outcomes", ("logits", "logits"), a, 20 * (_uniforms(n, 5) - 0.5))
            add(f"{n} outcomes, close", ("logits", "logits"), a, a + step * (_uniforms(n, 6) - 0.5))
    return out
