"""The sums of a divergence over pairs of arrays, and their gradients: which loop, over which part, on which thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from dkl.kernels import threads
from dkl.kernels.build import built
from dkl.kernels.strides import runs
from dkl.kernels.trace import Core, traced

NumPyArray = np.ndarray[Any, Any]

# Entries of each side that a thread works through at a time: what fits into its share of the second cache, so that the
# later passes over logits need not go back to memory.
_PIECE = 1 << 17
# Rows side by side that make a piece.
_BESIDE = 4096
# Entries of a file mapped into memory that are read before it is let go of again.
_HELD = 1 << 21
# Rows of at most so many outcomes are worked through side by side.
_SHORT = 32
#: Numbers that the loops keep of each row of logits: those of :mod:`dkl.kernels.loops.logits`, and KL.
STATISTICS = 10
# Beyond it a sum of exponentials came near the end of the floating range.
_LARGEST_MASS = {"float32": 1e30, "float64": 1e280}
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
        self.real = np.dtype(pair.precision).type
        self.runs = r = runs(pair.p.array, pair.q.array)
        self.count = r.rows * len(r.blocks)
        beside = r.x_step != 1 and r.y_step != 1 and abs(r.x_row) <= 1 and abs(r.y_row) <= 1
        self.along = r.outcomes > _SHORT and not beside
        # Rows that lie side by side are taken by the page, so that what is fetched with an entry is used as well.
        least = 1 if self.along else _BESIDE if beside else _primitives(pair.precision).LANES
        # How rows are dealt out changes no row's result: there is work for every thread, if there are rows for it.
        share = -(-r.rows // threads.number())
        self.rows_each = min(r.rows, max(least, min(share, _PIECE // r.outcomes)))
        most = 4 * _PIECE if beside else _PIECE
        cut = self.rows_each * r.outcomes > 2 * most
        self.outcomes_each = each = max(1, most // self.rows_each) if cut else r.outcomes
        #: Ranges of outcomes that are worked through one by one and merged: one range unless rows are long.
        self.parts = [(k, min(r.outcomes, k + each)) for k in range(0, r.outcomes, each)]

    def sums(self, receive: Receiver, is_kl: bool, kept: NumPyArray | None) -> None:
        """The sums of every row."""
        code = None if is_kl and self.pair.source == "softmax" else self.code()

        def piece(at: slice, rows: int, where: Geometry) -> None:
            if self.pair.source != "softmax":
                assert code is not None
                made = self.merged(code.module.sums, where, rows, 4, self.nothing, code.constants)
                receive(at, Sums(made[0], made[1], made[2], made[3]))
                return
            statistics, total, log_masses, bad = self.shared(where, rows)
            if kept is not None:
                kept[:-1, at], kept[-1, at] = statistics, total
            if code is not None:
                total = self.merged(code.module.sums, where, rows, 4, statistics, code.constants)[0]
            receive(at, Sums(total, log_masses[0], log_masses[1], bad))

        self.each(piece)

    def gradients(
        self, passed: NumPyArray, is_kl: bool, wanted: tuple[bool, bool], kept: NumPyArray | None
    ) -> tuple[NumPyArray, NumPyArray]:
        """The gradients at every entry."""
        n = self.runs.outcomes
        gx, gy = (np.empty(self.count * n if keep else 0, self.real) for keep in wanted)
        code = self.code()

        def piece(at: slice, rows: int, where: Geometry) -> None:
            handed, statistics = passed[:, at].astype(self.real), self.nothing
            if self.pair.source == "softmax":
                if kept is None:
                    statistics, kl, _, _ = self.shared(where, rows)
                else:
                    statistics, kl = np.ascontiguousarray(kept[:-1, at]), kept[-1, at]
                if is_kl and np.isfinite(kl).all():
                    # The derivatives in log p are p·L, which sum to KL itself; those in log q are q − p.
                    handed[1], handed[2] = kl, 0
                else:
                    pulled = self.code(PULLED=True)
                    handed[1:] = self.merged(pulled.module.sums, where, rows, 4, statistics, pulled.constants)[:2]
            area = slice(at.start * n, at.stop * n)
            self.share_out(
                lambda part: code.module.gradients(
                    *where, rows, *part, self.along, statistics, code.constants, handed, gx[area], gy[area], n, wanted
                ),
                self.parts,
                rows * self.outcomes_each,
            )

        self.each(piece)
        return tuple(g.reshape(-1, n) for g in (gx, gy))  # type: ignore[return-value]

    @property
    def nothing(self) -> NumPyArray:
        """The statistics of rows that need none."""
        return np.empty((0, 0), self.real)

    def each(self, function: Callable[[slice, int, Geometry], None]) -> None:
        """Call a function on pieces of the rows: on all threads, or one by one where the rows themselves are cut."""
        r = self.runs
        pieces = [
            (
                slice(block.first + start, block.first + stop),
                stop - start,
                (
                    r.x, block.x_start + start * r.x_row, r.x_row, r.x_step,
                    r.y, block.y_start + start * r.y_row, r.y_row, r.y_step,
                ),
            )
            for block in r.blocks
            for start, stop in ((s, min(r.rows, s + self.rows_each)) for s in range(0, r.rows, self.rows_each))
        ]  # fmt: skip
        if len(self.parts) > 1:
            for piece in pieces:
                function(*piece)
        else:
            self.share_out(lambda piece: function(*piece), pieces, self.rows_each * r.outcomes)

    def share_out(self, function: Callable[[Any], None], pieces: list[Any], entries: int) -> None:
        """Call a function on pieces of so many entries, on all threads, and let go of what was read."""
        held = [side.release for side in (self.pair.p, self.pair.q) if side.release]
        if not held:
            threads.share_out(function, pieces)
            return
        together = max(threads.number(), _HELD // entries)
        for start in range(0, len(pieces), together):
            threads.share_out(function, pieces[start : start + together])
            for release in held:
                release()

    def merged(
        self, loop: Callable[..., None], where: Geometry, rows: int, made: int, *more: Any, merge: Any = np.sum
    ) -> NumPyArray:
        """The ``made`` numbers that a loop leaves of each row, those of its parts merged."""
        out = np.empty((made, len(self.parts) * rows))
        self.share_out(
            lambda numbered: loop(*where, rows, *numbered[1], self.along, *more, out, numbered[0] * rows),
            list(enumerate(self.parts)),
            rows * self.outcomes_each,
        )
        return merge(out.reshape(made, len(self.parts), rows), axis=1) if len(self.parts) > 1 else out

    def first_part(self, loop: Callable[..., None], where: Geometry, rows: int, made: int) -> NumPyArray:
        """What a loop leaves of the first outcomes of each row."""
        out = np.empty((made, rows))
        loop(*where, rows, 0, min(_primitives(self.pair.precision).LANES, self.runs.outcomes), self.along, out, 0)
        return out

    def shared(self, where: Geometry, rows: int) -> tuple[NumPyArray, NumPyArray, NumPyArray, NumPyArray]:
        """What the outcomes of each row of logits share: statistics, KL, the log-masses of P and Q, and what is bad."""
        loops = self.loops()
        statistics, gains, kl = np.empty((STATISTICS - 1, rows), self.real), np.empty((2, rows)), np.empty(rows)
        # The references, from the first outcomes; taken of all of them only where those do not serve.
        first = self.first_part(loops.tops, where, rows, 3)
        maxima = np.concatenate([first[:2], first[:2], np.zeros((3, rows))])
        loops.after_maxima(maxima, statistics, 0, rows)
        masses = self.merged(loops.masses, where, rows, 4, statistics)
        with np.errstate(invalid="ignore"):
            served = (masses[:2] < _LARGEST_MASS[self.pair.precision]).all() and (masses[3] == 0).all()
        if not served:
            maxima = self.merged(loops.maxima, where, rows, 7, merge=np.max)
            loops.after_maxima(maxima, statistics, 0, rows)
            masses = self.merged(loops.masses, where, rows, 4, statistics)
        loops.after_masses(masses, maxima, statistics, gains, 0, rows)
        if maxima[4:6].any():
            shares = self.merged(loops.shares, where, rows, 4, statistics)
            loops.after_shares(shares, maxima, statistics, gains, 0, rows)
        moments = self.merged(loops.moments, where, rows, 2, statistics)
        loops.after_moments(moments, maxima, gains, statistics, kl, 0, rows)
        bad = maxima[6] + (maxima[0] == -np.inf) + (maxima[1] == -np.inf)
        return statistics, kl, maxima[:2] + statistics[2:4], bad

    def code(self, **settings: Any) -> _Code:
        """The loops for this divergence."""
        source = self.pair.source
        text, constants = traced(self.core, source, self.pair.precision)
        if source == "softmax":
            settings |= {f"OF_LOG_{z}": self.pair.loads[f"load_{z.lower()}"] == "load_log" for z in "XY"}
        module = built(("traced", source, "single"), self.loops(), text, **settings)
        return _Code(module, tuple(self.real(c) for c in constants))

    def loops(self) -> ModuleType:
        """What does not depend on the divergence."""
        lanes = built(("loading", "lanes"), _primitives(self.pair.precision), **self.pair.loads)
        return built(("logits",), lanes) if self.pair.source == "softmax" else lanes


def _primitives(precision: str) -> ModuleType:
    """The numbers and elementary functions of a precision."""
    return built(("decorators", precision, "primitives"))
