"""The sums of a divergence over pairs of arrays, and their gradients: which loop, over which part, on which thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from dkl.kernels import threads
from dkl.kernels.build import built
from dkl.kernels.strides import runs
from dkl.kernels.trace import Core, traced

NumPyArray = np.ndarray[Any, Any]

# Entries of each side that a thread works through at a time, and those of logits that it takes through all passes
# before the next: they fit into its share of the second cache.
_PIECE = 1 << 20
_BLOCK = 1 << 17
# Less than that is not worth a piece of its own, nor, alone, another thread's waking up.
_LEAST = 1 << 16
# Pieces for every thread, if there are rows for them, so that none waits long for the last.
_SHARES = 4
# Rows side by side that make a piece.
_BESIDE = 4096
# Entries of a file mapped into memory that are read before it is let go of again.
_HELD = 1 << 21
# Rows of at most so many outcomes are worked through side by side; one of 32 fills whole registers by itself.
_SHORT = 31
#: Numbers that the loops keep of each row of logits: those of :mod:`dkl.kernels.loops.logits`, and KL.
STATISTICS = 10
# Of P and then Q: the memory, where the first row starts, and the distances of rows and of outcomes.
Geometry: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True)
class Side:
    """One side of a pair: the array, how its entries are loaded, and what they are then."""

    array: NumPyArray
    load: str
    #: Called after every few megabytes: lets go of what was read, where the array is a file mapped into memory.
    release: Callable[[], None] | None = None


@dataclass(frozen=True)
class Pair:
    """Two sides of one shape with their outcomes along the last axis, and how they are to be calculated with."""

    p: Side
    q: Side
    #: ``"probabilities"``, ``"log_probabilities"`` or ``"softmax"``.
    source: str
    precision: str

    @property
    def loads(self) -> dict[str, str]:
        """The functions that load an entry, as settings of a loop."""
        return {"load_x": self.p.load, "load_y": self.q.load}


@dataclass(frozen=True)
class Sums:
    """Per row: the sum of the terms; the masses of P and Q, of logits their logarithms; and not 0 where not valid."""

    total: NumPyArray
    mass_p: NumPyArray
    mass_q: NumPyArray
    #: Entries that are no probabilities or logarithms of them, both sides together.
    bad: NumPyArray


@dataclass(frozen=True)
class _Code:
    """A compiled trace and its constants."""

    module: ModuleType
    constants: tuple[Any, ...]


Receiver: TypeAlias = Callable[[slice, Sums], None]


def sums(core: Core, pair: Pair, receive: Receiver, *, is_kl: bool, kept: NumPyArray | None = None) -> None:
    """Sum a divergence's terms row by row, and hand over the sums of one run of rows after another, from any thread.

    ``is_kl`` says that the divergence is KL(P‖Q) itself. ``kept``, of shape (STATISTICS, rows), is filled with what
    ``gradients`` would otherwise have to find once more.
    """
    _Job(core, pair).sums(receive, is_kl, kept)


def gradients(
    core: Core,
    pair: Pair,
    passed: NumPyArray,
    *,
    is_kl: bool,
    wanted: tuple[bool, bool] = (True, True),
    kept: NumPyArray | None = None,
) -> tuple[NumPyArray, NumPyArray]:
    """The gradients at every entry, from the derivatives with respect to each row's total and masses, (3, rows).

    Both have the rows of the pair as they come and its outcomes; that of a side that is not wanted is empty.
    """
    return _Job(core, pair).gradients(passed, is_kl, wanted, kept)


class _Job:
    """One pair's way through the loops."""

    def __init__(self, core: Core, pair: Pair) -> None:
        self.core, self.pair = core, pair
        self._passes: dict[str, ModuleType] = {}
        self.real = np.dtype(pair.precision).type
        self.runs = r = runs(pair.p.array, pair.q.array)
        self.count = r.rows * len(r.blocks)
        beside = r.x_step != 1 and r.y_step != 1 and abs(r.x_row) <= 1 and abs(r.y_row) <= 1
        self.along = r.outcomes > _SHORT and not beside
        #: Whether a tile lies in one piece.
        self.unit = (r.x_step == r.y_step == 1) if self.along else (r.x_row == r.y_row == 1)
        # Rows that lie side by side are taken by the page, so that what is fetched with an entry is used as well.
        least = 1 if self.along else _BESIDE if beside else _primitives(pair.precision).LANES
        #: Rows that are taken through all passes together; where even that is too much, the rows themselves are cut.
        self.block = min(r.rows, max(least, _BLOCK // r.outcomes))
        most = 4 * _BLOCK if beside else _BLOCK
        cut = self.block * r.outcomes > 2 * most
        self.outcomes_each = each = max(1, most // self.block) if cut else r.outcomes
        # How rows are dealt out changes no row's result: there is work for every thread, if there are rows for it.
        share = max(-(-r.rows // (_SHARES * threads.number())), _LEAST // r.outcomes)
        self.rows_each = self.block if cut else min(r.rows, max(least, min(share, _PIECE // r.outcomes)))
        #: Ranges of outcomes that are worked through one by one and merged: one range unless rows are long.
        self.parts = [(k, min(r.outcomes, k + each)) for k in range(0, r.outcomes, each)]

    def sums(self, receive: Receiver, is_kl: bool, kept: NumPyArray | None) -> None:
        """The sums of every row."""
        code = None if is_kl and self.pair.source == "softmax" else self.code("reduction")

        def piece(at: slice, where: Geometry) -> None:
            rows = at.stop - at.start
            if self.pair.source != "softmax":
                assert code is not None
                receive(at, Sums(*self.reduced(code.module, where, rows, self.nothing, code.constants)))
                return
            made = np.empty((4, rows))
            for block in _slices(rows, self.block):
                start, size = self.from_row(block.start, where[1], where[5]), block.stop - block.start
                statistics, made[0, block], made[1:3, block], made[3, block] = self.shared(start, size)
                if kept is not None:
                    kept[:-1, at][:, block], kept[-1, at][block] = statistics, made[0, block]
                if code is not None:
                    made[0, block] = self.reduced(code.module, start, size, statistics, code.constants)[0]
            receive(at, Sums(*made))

        self.each(piece)

    def gradients(
        self, passed: NumPyArray, is_kl: bool, wanted: tuple[bool, bool], kept: NumPyArray | None
    ) -> tuple[NumPyArray, NumPyArray]:
        """The gradients at every entry."""
        n = self.runs.outcomes
        gx, gy = (np.empty(self.count * n if keep else 0, self.real) for keep in wanted)
        code = self.code("gradient", WANTED_X=wanted[0], WANTED_Y=wanted[1])

        def piece(at: slice, where: Geometry) -> None:
            for block in _slices(at.stop - at.start, self.block):
                rows = slice(at.start + block.start, at.start + block.stop)
                differentiate(rows, self.from_row(block.start, where[1], where[5]))

        def differentiate(at: slice, where: Geometry) -> None:
            rows, handed = at.stop - at.start, passed[:, at].astype(self.real)
            if self.pair.source == "softmax":
                if kept is None:
                    known, kl, _, _ = self.shared(where, rows)
                else:
                    known, kl = np.ascontiguousarray(kept[:-1, at]), kept[-1, at]
                if is_kl and np.isfinite(kl).all():
                    # The derivatives in log p are p·L, which sum to KL itself; those in log q are q − p.
                    handed[1], handed[2] = kl, 0
                else:
                    pulled = self.code("reduction", PULLED=True)
                    handed[1:] = self.reduced(pulled.module, where, rows, known, pulled.constants)[:2]
                handed = np.concatenate([known, handed])
            area = slice(at.start * n, at.stop * n)
            self.share_out(
                lambda part: code.module.gradients(*where, rows, *part, handed, code.constants, gx[area], gy[area], n),
                self.parts,
                rows * self.outcomes_each,
            )

        self.each(piece)
        return tuple(g.reshape(-1, n) for g in (gx, gy))  # type: ignore[return-value]

    @property
    def nothing(self) -> NumPyArray:
        """What is known of rows of which nothing needs to be."""
        return np.empty((0, self.count), self.real)

    def each(self, function: Callable[[slice, Geometry], None]) -> None:
        """Call a function on pieces of the rows: on all threads, or one by one where the rows themselves are cut."""
        r = self.runs
        pieces = [
            (
                slice(block.first + at.start, block.first + at.stop),
                self.from_row(at.start, block.x_start, block.y_start),
            )
            for block in r.blocks
            for at in _slices(r.rows, self.rows_each)
        ]
        if len(self.parts) > 1:
            for piece in pieces:
                function(*piece)
        else:
            self.share_out(lambda piece: function(*piece), pieces, self.rows_each * r.outcomes)

    def from_row(self, row: int, x_start: int, y_start: int) -> Geometry:
        """Where the rows lie, from one of them on."""
        r = self.runs
        return (
            r.x, x_start + row * r.x_row, r.x_row, r.x_step,
            r.y, y_start + row * r.y_row, r.y_row, r.y_step,
        )  # fmt: skip

    def share_out(self, function: Callable[[Any], None], pieces: list[Any], entries: int) -> None:
        """Call a function on pieces of so many entries, on all threads, and let go of what was read."""
        held = [side.release for side in (self.pair.p, self.pair.q) if side.release]
        if len(pieces) == 1 or len(pieces) * entries <= 4 * _LEAST:
            for piece in pieces:
                function(piece)
            return
        if not held:
            threads.share_out(function, pieces)
            return
        together = max(threads.number(), _HELD // entries)
        for start in range(0, len(pieces), together):
            threads.share_out(function, pieces[start : start + together])
            for release in held:
                release()

    def reduced(
        self,
        module: ModuleType,
        where: Geometry,
        rows: int,
        statistics: NumPyArray,
        constants: tuple[Any, ...] = (),
        merge: Any = np.sum,
    ) -> NumPyArray:
        """The four numbers that a pass leaves of each row, those of its parts merged."""
        out = np.empty((4, len(self.parts) * rows))
        self.share_out(
            lambda numbered: module.reduced(*where, rows, *numbered[1], statistics, constants, out, numbered[0] * rows),
            list(enumerate(self.parts)),
            rows * self.outcomes_each,
        )
        return merge(out.reshape(4, len(self.parts), rows), axis=1) if len(self.parts) > 1 else out

    def shared(self, where: Geometry, rows: int) -> tuple[NumPyArray, NumPyArray, NumPyArray, NumPyArray]:
        """What the outcomes of each row of logits share: statistics, KL, the log-masses of P and Q, and what is bad."""
        loops, n = self.loops, self.runs.outcomes
        statistics, gains, kl = np.empty((STATISTICS - 1, rows), self.real), np.empty((2, rows)), np.empty(rows)
        # The references, from the first outcomes; taken of all of them only where those do not serve.
        maxima, few = np.zeros((8, rows)), min(_primitives(self.pair.precision).LANES, n)
        maxima[6] = 1
        self.pass_("maxima").reduced(*where, rows, 0, few, self.nothing, (), maxima, 0)
        masses = self.reduced(self.pass_("masses"), where, rows, loops.after_maxima(maxima, statistics, rows))
        if not loops.after_masses(masses, maxima, statistics, gains, rows):
            maxima[:4] = self.reduced(self.pass_("maxima"), where, rows, self.nothing, merge=np.max)
            maxima[4:] = self.reduced(self.pass_("flags"), where, rows, self.nothing)
            masses = self.reduced(self.pass_("masses"), where, rows, loops.after_maxima(maxima, statistics, rows))
            loops.after_masses(masses, maxima, statistics, gains, rows)
        if maxima[4:6].any():
            shares = self.reduced(self.pass_("shares"), where, rows, statistics)
            loops.after_shares(shares, maxima, statistics, gains, rows)
        moments = self.reduced(self.pass_("moments"), where, rows, statistics)
        loops.after_moments(moments, maxima, gains, statistics, kl, rows)
        bad = maxima[7] + (maxima[4] + maxima[6] == 0) + (maxima[5] + maxima[6] == 0)
        return statistics, kl, maxima[:2] + statistics[2:4], bad

    def code(self, file: str, **settings: Any) -> _Code:
        """The loops for this divergence."""
        source = self.pair.source
        text, constants = traced(self.core, source, self.pair.precision)
        if source == "softmax":
            settings |= {f"OF_LOG_{z}": self.pair.loads[f"load_{z.lower()}"] == "load_log" for z in "XY"}
        module = built(("traced", source, file), self.loops, text, **settings)
        return _Code(module, tuple(self.real(c) for c in constants))

    def pass_(self, name: str) -> ModuleType:
        """One of the passes over logits that do not depend on the divergence."""
        if name not in self._passes:
            how = {"merge": "larger", "NEUTRAL": "-LARGEST"} if name == "maxima" else {}
            self._passes[name] = built(("reduction",), self.loops, take=f"take_{name}", **how)
        return self._passes[name]

    @cached_property
    def loops(self) -> ModuleType:
        """What does not depend on the divergence."""
        lanes = built(
            ("loading", "lanes"), _primitives(self.pair.precision), ALONG=self.along, UNIT=self.unit, **self.pair.loads
        )
        return built(("logits",), lanes) if self.pair.source == "softmax" else lanes


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, min(count, start + size)) for start in range(0, count, size)]


def _primitives(precision: str) -> ModuleType:
    """The numbers and elementary functions of a precision."""
    return built(("decorators", precision, "primitives"))
