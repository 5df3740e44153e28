"""What is measured: which member, of what, on which arrays; and the seeded arrays themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]

MEMBERS = ("kl", "js", "tv", "renyi2", "hellinger")
GIVEN = ("probabilities", "logits")
TASKS = ("value", "gradient")
DTYPES = ("float32", "float64")

#: The shapes by what they stand for; the last axis holds the outcomes.
SHAPES: dict[str, tuple[int, ...]] = {
    "long rows": (128, 131_072),
    "rows": (200_000, 64),
    "short rows": (1_000_000, 10),
    "one row": (1, 16_000_000),
    "one pair": (10,),
}
QUICK_SHAPES: dict[str, tuple[int, ...]] = {
    "long rows": (8, 16_384),
    "rows": (4_000, 64),
    "short rows": (25_000, 10),
    "one row": (1, 250_000),
    "one pair": (10,),
}
#: What the KL of nearly equal pairs is, about: what it is exactly, the truth says.
NEAR = (1e-2, 1e-6, 1e-9, 1e-12)

_SEED = 1951
_SCALE = 2.5


@dataclass(frozen=True)
class Pair:
    """Rows of P and of Q: softmaxes of normal logits, with a KL of about `kl` nats between them."""

    given: str
    dtype: str
    shape: tuple[int, ...]
    kl: float = 0.5

    @property
    def rows(self) -> int:
        """The number of pairs of distributions."""
        return math.prod(self.shape[:-1])

    @property
    def outcomes(self) -> int:
        """The number of outcomes of each distribution."""
        return self.shape[-1]

    @property
    def elements(self) -> int:
        """The number of outcomes in all rows: what a time per element is divided by."""
        return math.prod(self.shape)

    @property
    def rng(self) -> np.random.Generator:
        """The same draws whatever is `given` and in whichever dtype."""
        return np.random.default_rng([_SEED, *self.shape])

    def arrays(self) -> tuple[Array, Array]:
        """Return both sides; probabilities are normalised in float64 before they are rounded to the dtype."""
        rng = self.rng
        a = _SCALE * rng.standard_normal(self.shape)
        # Logits that differ by s·N(0, 1) have a KL of s²/2 to second order.
        b = a + math.sqrt(2 * self.kl) * rng.standard_normal(self.shape)
        if self.given == "probabilities":
            a, b = _softmax(a), _softmax(b)
        return a.astype(self.dtype), b.astype(self.dtype)


def _softmax(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    y = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(y / y.sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class Work:
    """One member on one pair: its value alone, or also its gradient in both sides."""

    member: str
    task: str
    pair: Pair

    @property
    def name(self) -> str:
        """What ``--only`` is matched against."""
        shape = "x".join(map(str, self.pair.shape))
        return "/".join([self.member, self.pair.given, self.task, self.pair.dtype, shape])

    @property
    def per_call(self) -> bool:
        """Whether the call itself is what is timed: its time is told per call, not per element."""
        return self.pair.elements < 1000


def everything(shapes: dict[str, tuple[int, ...]]) -> Iterator[Work]:
    """Yield every member, given, task and dtype on every shape, those on the same arrays one after the other."""
    for shape, given, dtype in product(shapes.values(), GIVEN, DTYPES):
        for member, task in product(MEMBERS, TASKS):
            yield Work(member, task, Pair(given, dtype, shape))


def glance(shapes: dict[str, tuple[int, ...]]) -> Iterator[Work]:
    """Yield what ``--quick`` measures: in float32 everything on long rows; KL on every shape and in both dtypes."""
    for work in everything(shapes):
        whole = work.pair.dtype == "float32" and work.pair.shape == shapes["long rows"]
        if whole or (work.member == "kl" and work.task == "value"):
            yield work


def main_lines(shapes: dict[str, tuple[int, ...]]) -> dict[str, Work]:
    """Return the lines of the README's table, by what they are called there."""
    long = Pair("probabilities", "float32", shapes["long rows"])
    of = {name: f"{' × '.join(f'{n:,}' for n in shape)}" for name, shape in shapes.items()}
    return {
        f"KL, {of['long rows']}": Work("kl", "value", long),
        f"JS, {of['long rows']}": Work("js", "value", long),
        f"KL from logits, {of['long rows']}": Work("kl", "value", replace(long, given="logits")),
        f"KL from logits with gradient, {of['long rows']}": Work("kl", "gradient", replace(long, given="logits")),
        f"KL, {of['short rows']}": Work("kl", "value", replace(long, shape=shapes["short rows"])),
        f"KL in float64, {of['long rows']}": Work("kl", "value", replace(long, dtype="float64")),
        f"KL of one pair of {of['one pair']} outcomes": Work("kl", "value", Pair("probabilities", "float64", (10,))),
    }


def near(given: str, shape: tuple[int, ...]) -> list[Pair]:
    """Return float32 pairs that nearly agree, the farthest first."""
    return [Pair(given, "float32", shape, kl) for kl in NEAR]


def by_pair(works: list[Work]) -> dict[Pair, list[Work]]:
    """Bring together the work on the same arrays, which are large: one pair of them is held at a time."""
    groups: dict[Pair, list[Work]] = {}
    for work in works:
        groups.setdefault(work.pair, []).append(work)
    return groups
