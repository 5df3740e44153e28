"""Monte Carlo: the divergence of samples, weighted, as if they were outcomes, with its standard error.

A sample x drawn with density r stands for a piece of the space of volume 1/(n·r(x)): n samples with these weights make
a pair of outcomes (:mod:`dkl.pairs`), as the nodes of a quadrature do, and every member of the family takes its total.
For an f-divergence that is the mean of q·f(p/q)/r; for KL under P itself, the mean of L + exp(−L) − 1 with
L = log(p/q), each term non-negative [1].

Half of the samples are P's and half Q's where both can be drawn, and r = ½·p + ½·q: the terms of a bounded divergence
are then bounded by twice its bound, and mass that P does not reach is counted. For KL they grow as log(p/q) alone.
Those of χ² and its kind grow as powers of p/q, which no mixture of P and Q bounds: where their tail is so heavy that
their variance may be infinite, the answer says that its standard error cannot be trusted. How heavy it is tells the
shape k of a generalised Pareto distribution fitted to the largest terms [2], [3]: of those beyond 1/k no moment is
finite.

Where only P can be drawn, Q's mass beyond is seen by no sample. The exponentials of −L, whose mean is 1, tell: where
they are uneven, the generator takes the form f(t) + f(0)·(t − 1), which needs no such mass (for KL, the mean of L).

References
----------
.. [1] J. Schulman, "Approximating KL divergence" (2020), http://joschu.net/blog/kl-approx.html.
.. [2] A. Vehtari, D. Simpson, A. Gelman, Y. Yao, J. Gabry, "Pareto smoothed importance sampling", Journal of Machine
   Learning Research 25 (2024).
.. [3] J. Zhang, M. A. Stephens, "A new and efficient estimation method for the generalized Pareto distribution",
   Technometrics 51 (2009).
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dkl._array import Array, Namespace, as_scalar, is_numpy, namespace_of, to_numpy, widest
from dkl.divergences import Csiszar, Divergence, Power
from dkl.estimate import Estimate
from dkl.families.base import Distribution, beside
from dkl.methods.closed_form import answered
from dkl.methods.nodes import putter, weighted_pair
from dkl.mixture import Mixture, detached, kl_bounds
from dkl.rules import rule
from dkl.supports import Interval

Numbers = np.ndarray[Any, Any]
Progress = Callable[[int, int, float], None]

#: The relative standard error at which it stops.
RTOL = 0.01
#: The most samples that it draws, of P and Q together.
SAMPLES = 1 << 20
# The standard error comes from this many groups of samples: it is known to about 6 %.
_GROUPS = 128
_FIRST = 8 * _GROUPS
_ROUND = 1 << 16
# Above a half the variance of the terms is infinite; this many standard errors of k are given to chance, up to 0.7,
# above which a mean is known to converge too slowly at any number of samples [2].
_VARIANCE, _CHANCE, _HOPELESS = 0.5, 1.645, 0.7
# Fewer terms than this say nothing of a tail.
_FEWEST = 5


@dataclass
class Drawn:
    """Samples of one side, along the last axis after the batch: log-densities and, for messages, the outcomes."""

    name: str
    log_p: Array
    log_q: Array
    x: Numbers

    def joined(self, xp: Namespace, other: Drawn) -> Drawn:
        """These and others."""
        log_p = xp.concat([self.log_p, other.log_p], axis=-1)
        return Drawn(self.name, log_p, xp.concat([self.log_q, other.log_q], axis=-1), self.x)

    @property
    def count(self) -> int:
        """How many for each pair of the batch."""
        return int(self.log_p.shape[-1])


def _seen(x: Array) -> Numbers:
    """An array as numbers, also inside a differentiation by JAX."""
    jax = sys.modules.get("jax")
    return to_numpy(jax.lax.stop_gradient(x) if jax is not None and isinstance(x, jax.Array) else x)


def _aligned(x: Array, ndim: int, n_batch: int, event_ndim: int, xp: Namespace) -> Array:
    """Samples with axes for a batch of ``n_batch`` dimensions."""
    shape = tuple(x.shape)
    event = shape[len(shape) - event_ndim :] if event_ndim else ()
    own = shape[1 : len(shape) - event_ndim]
    return xp.reshape(x, (shape[0], *(1,) * (ndim - n_batch), *own, *event))


def _draw(p: Any, q: Any, name: str, n: int, rng: np.random.Generator) -> Drawn:
    xp, side = p.xp, p if name == "p" else q
    batch = np.broadcast_shapes(p.batch_shape, q.batch_shape)
    with np.errstate(over="ignore", divide="ignore"):  # a sample beyond the largest number is told below
        x = detached(side).sample((n,), rng=rng)
    x = _aligned(x, len(batch), len(side.batch_shape), side.event_ndim, xp)
    logs = []
    for one in (p, q):
        with np.errstate(over="ignore"):  # far from where it has its mass the density is 0
            value = widest(xp, one.log_prob(x))
        value = xp.broadcast_to(value, (n, *batch))
        logs.append(xp.moveaxis(value, 0, -1))
    host = _seen(x)
    drawn = Drawn(name, logs[0], logs[1], host)
    _check(drawn, batch)
    return drawn


def _check(drawn: Drawn, batch: tuple[int, ...]) -> None:
    """Hold the samples to what a density can be at its own samples."""
    logs = {"p": _seen(drawn.log_p), "q": _seen(drawn.log_q)}
    for name, value in logs.items():
        bad = np.isnan(value) | (value == math.inf)
        if name == drawn.name:
            bad = bad | (value == -math.inf)
        if bad.any():
            at = tuple(np.argwhere(bad)[0])
            if not np.isfinite(_place(drawn, at, batch)).all():
                raise ValueError(
                    f"x = {_shown(drawn, at, batch)} is a sample of {drawn.name}: its tail reaches beyond the largest "
                    "number, where no density is known; give both sides as distributions of log(x), or of arcsinh(x) "
                    "where x has both signs, which changes no divergence"
                )
            raise ValueError(
                f"the log-density of {name} is {value[at]} at x = {_shown(drawn, at, batch)}, a sample of "
                f"{drawn.name}: Monte Carlo needs a log_prob that is finite at the samples of its own distribution, "
                "and never +inf or NaN"
            )


def _place(drawn: Drawn, at: tuple[int, ...], batch: tuple[int, ...]) -> Numbers:
    event = drawn.x.shape[1 + len(batch) :]
    place: Numbers = np.broadcast_to(drawn.x, (drawn.x.shape[0], *batch, *event))[(at[-1], *at[:-1])]
    return place


def _shown(drawn: Drawn, at: tuple[int, ...], batch: tuple[int, ...]) -> str:
    x = _place(drawn, at, batch)
    return f"{float(x):.6g}" if x.ndim == 0 else np.array2string(x, precision=4, threshold=6)


@dataclass(frozen=True)
class Result:
    """What the samples came to."""

    value: Array
    stderr: Numbers
    samples: int
    notes: tuple[str, ...] = ()


class Sampler:
    """Samples of a pair, as many as have been asked for, and the divergence that they give."""

    def __init__(self, divergence: Divergence, p: Any, q: Any, rng: np.random.Generator) -> None:
        self.divergence, self.p, self.q, self.rng = divergence, p, q, rng
        self.xp = p.xp
        self.sources = [n for n, side in (("p", p), ("q", q)) if getattr(side, "can_sample", True)]
        self.drawn: dict[str, Drawn] = {}
        self.why: str | None = None
        self.infinite: Numbers = np.zeros(np.broadcast_shapes(p.batch_shape, q.batch_shape), dtype=bool)

    @property
    def samples(self) -> int:
        """How many were drawn, of both sides."""
        return sum(d.count for d in self.drawn.values())

    def extend(self, n: int) -> None:
        """Draw n more from every side that can be drawn from."""
        for name in self.sources:
            new = _draw(self.p, self.q, name, n, self.rng)
            self._note_infinite(new)
            self.drawn[name] = self.drawn[name].joined(self.xp, new) if name in self.drawn else new

    def _note_infinite(self, new: Drawn) -> None:
        edges = self.divergence.edges
        other, edge = ("q", edges.q_zero) if new.name == "p" else ("p", edges.p_zero)
        if math.isfinite(edge):
            return
        none = _seen(new.log_q if new.name == "p" else new.log_p) == -math.inf
        if none.any() and self.why is None:
            at = tuple(np.argwhere(none)[0])
            self._hold_inside(new, at)
            row = f" (row {at[0] if len(at) == 2 else at[:-1]})" if len(at) > 1 else ""
            self.why = (
                f"{self.divergence.symbol} is infinite: {other.upper()} has density 0 at "
                f"x = {_shown(new, at, self.infinite.shape)}, a sample of {new.name.upper()}{row}."
            )
        self.infinite = self.infinite | none.any(axis=-1)

    def _hold_inside(self, new: Drawn, at: tuple[int, ...]) -> None:
        """Raise where a sample was rounded to the end of a continuous support: it says nothing of what lies beside."""
        support = (self.p if new.name == "p" else self.q).support
        if not isinstance(support, Interval):
            return
        shown = _shown(new, at, self.infinite.shape)
        ends = [np.asarray(to_numpy(end), dtype=float) for end in (support.low, support.high)]
        if any((end[np.isfinite(end)] == float(shown)).any() for end in ends):
            raise ValueError(
                f"{new.name} has its mass so near to x = {shown}, the end of its support, that samples are rounded to "
                f"it: {self.divergence.symbol} cannot be told from them; measure the outcomes' logarithms instead"
            )

    def _grouped(self) -> tuple[Array, Array, Array]:
        """The logarithms of p, q and r of all samples, in groups that have as many of each side."""
        xp = self.xp
        logs = []
        for n in ("log_p", "log_q"):
            halves = []
            for drawn in self.drawn.values():
                x = getattr(drawn, n)
                halves.append(xp.reshape(x, (*x.shape[:-1], _GROUPS, x.shape[-1] // _GROUPS)))
            logs.append(xp.concat(halves, axis=-1) if len(halves) > 1 else halves[0])
        # The density from which they were drawn is a fact of the past: no gradient passes through it.
        host = [_seen(x) for x in logs]
        log_r = np.logaddexp(*host) - math.log(2.0) if len(self.sources) == 2 else host["pq".index(self.sources[0])]
        return logs[0], logs[1], putter(self.p, self.q)(log_r)

    def result(self) -> Result:
        """The divergence, its standard error from the spread of the groups, and the diagnostics."""
        xp = self.xp
        log_p, log_q, log_r = self._grouped()
        size = log_p.shape[-1]
        notes: list[str] = []
        lacking = self._lacking(_seen(log_p), _seen(log_q), notes)

        def measure(lp: Array, lq: Array, log_w: Array) -> Array:
            pair = weighted_pair(xp, lp, lq, log_w)
            total = self.divergence.total(pair)
            if lacking:
                total = total - lacking * (xp.sum(pair.q, axis=-1) - xp.sum(pair.p, axis=-1))
            return total

        groups = _seen(measure(log_p, log_q, -log_r - math.log(size)))
        flat = [xp.reshape(x, (*x.shape[:-2], x.shape[-2] * x.shape[-1])) for x in (log_p, log_q, log_r)]
        value = measure(flat[0], flat[1], -flat[2] - math.log(size * _GROUPS))
        infinite = putter(self.p, self.q)(self.infinite)
        value = xp.where(infinite, math.inf, value)
        with np.errstate(invalid="ignore"):
            spread = groups.std(axis=-1, ddof=1) / math.sqrt(_GROUPS)
        stderr = np.where(np.isfinite(_seen(value)), np.nan_to_num(spread, nan=0.0), 0.0)
        return Result(value, stderr, self.samples, tuple(notes))

    def _lacking(self, log_p: Numbers, log_q: Numbers, notes: list[str]) -> float:
        """What the form of f is to be changed by, where only one side was drawn and does not reach the other's mass."""
        if len(self.sources) == 2:
            return 0.0
        drawn_p = self.sources == ["p"]
        log_w = log_q - log_p if drawn_p else log_p - log_q
        w = np.exp(np.minimum(log_w, 700.0)).reshape(*log_w.shape[:-2], -1)
        n = w.shape[-1]
        even = w.sum(axis=-1) ** 2 / np.maximum((w**2).sum(axis=-1), 1e-300)
        if (even >= 0.5 * n).all():
            return 0.0
        edges = self.divergence.edges
        edge = edges.p_zero if drawn_p else edges.q_zero
        if math.isinf(edge):
            one, other = ("p", "q") if drawn_p else ("q", "p")
            notes.append(
                f"only {one} could be drawn, and its samples carry a share of {float(w.mean(axis=-1).min()):.3g} of "
                f"{other}'s mass, which {self.divergence.symbol} needs: give {other} a sample="
            )
            return 0.0
        if not isinstance(self.divergence, Csiszar):
            return 0.0
        return edge if drawn_p else -edge

    @property
    def bounded(self) -> bool:
        """Whether the terms over r are: q·f(p/q) ≤ f(0)·q + lim f(t)/t·p, and r is at least half of each."""
        edges = (self.divergence if isinstance(self.divergence, Csiszar) else self.divergence.core).edges  # type: ignore[union-attr]
        return len(self.sources) == 2 and all(map(math.isfinite, edges))

    def tail(self) -> tuple[Numbers, int]:
        """The shape k of the tail of the terms over r, −inf if there is none, and of how many it is fitted to."""
        core = self.divergence if isinstance(self.divergence, Csiszar) else self.divergence.core
        flat = [x.reshape(*x.shape[:-2], -1) for x in map(_seen, self._grouped())]
        put = putter(self.p, self.q)
        terms = _seen(core.terms(weighted_pair(self.xp, put(flat[0]), put(flat[1]), put(-flat[2]))))  # type: ignore[union-attr]
        n = terms.shape[-1]
        most = min(n // 5, math.ceil(3 * math.sqrt(n)))
        largest = np.sort(np.abs(terms), axis=-1)[..., n - most - 1 :]
        k = np.apply_along_axis(tail_shape, -1, largest)
        return np.where(self.infinite, -math.inf, k), most

    def distrust(self) -> str | None:
        """Why the standard error cannot be trusted, if that is so."""
        if self.bounded:
            return None
        k, most = self.tail()
        limit = min(_HOPELESS, _VARIANCE + _CHANCE * (1 + _VARIANCE) / math.sqrt(most))
        heavy = k > limit
        if not heavy.any():
            return None
        at = np.unravel_index(int(np.argmax(k)), k.shape)
        which = "" if k.ndim == 0 else f" in {int(heavy.sum())} of {k.size} pairs, most at index {_index(at)}"
        lost = "the mean may be infinite" if k[at] > 1 else "their variance is infinite"
        return (
            f"the estimate and its interval cannot be trusted{which}: the tail of the terms has Pareto shape k = "
            f"{k[at]:.2f}, and above {'1' if k[at] > 1 else '0.5'} {lost}, so that a few samples "
            "decide, and more of them do not mend it"
        )


def _index(at: tuple[Any, ...]) -> str:
    return str(int(at[0])) if len(at) == 1 else str(tuple(map(int, at)))


def tail_shape(largest: Numbers) -> float:
    """The shape k of a generalised Pareto distribution fitted to what exceeds the first of some numbers in order [3].

    It is the mean of the profile over its posterior of [3], drawn towards a half as if ten more numbers had said so,
    as [2] does for small samples. −inf where nothing exceeds; inf where the numbers spread over more than floats do.
    """
    x = largest[largest > largest[0]]
    n = x.size
    if n < _FEWEST:
        return -math.inf
    top = x[-1]
    x = x / top - largest[0] / top
    quartile = x[int(n / 4 + 0.5) - 1]
    if not quartile > 1e-300:
        return math.inf
    m = 30 + int(math.sqrt(n))
    b = 1.0 / x[-1] + (1.0 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / (3.0 * quartile)
    k = np.log1p(-b[:, None] * x).mean(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        likelihood = n * (np.log(-b / k) - k - 1.0)
    likelihood = np.where(np.isfinite(likelihood), likelihood, -math.inf)
    weights = np.exp(likelihood - likelihood.max())
    best = float((b * weights).sum() / weights.sum())
    return float((n * np.log1p(-best * x).mean() + 10 * 0.5) / (n + 10))


def sampled(
    divergence: Divergence,
    p: Any,
    q: Any,
    *,
    rng: Any = None,
    rtol: float | None = None,
    samples: int | None = None,
    progress: Progress | None = None,
) -> tuple[Result, str | None]:
    """Draw until the standard error is ``rtol`` of the value, or ``samples`` are drawn; of these two, what is given.

    Also returned: why the value is infinite, if it is.
    """
    if rtol is None:
        rtol = RTOL if samples is None else 0.0
    samples = SAMPLES if samples is None else samples
    sampler = Sampler(divergence, p, q, np.random.default_rng(rng))
    if not sampler.sources:
        raise ValueError(
            f"neither p, {p!r}, nor q, {q!r}, can be drawn from: give one of them sample=, or measure by quadrature"
        )
    most = max(samples // len(sampler.sources) // _GROUPS, 1) * _GROUPS
    n = min(_FIRST, most)
    while True:
        while n > 0:
            sampler.extend(step := min(n, _ROUND))
            n -= step
            if progress is not None:
                progress(sampler.samples, most * len(sampler.sources), math.nan)
        result = sampler.result()
        value = np.abs(_seen(result.value))
        finite = np.isfinite(value)
        with np.errstate(divide="ignore", invalid="ignore"):
            excess = np.where(finite & (result.stderr > 0), result.stderr / value, 0.0)
        worst = float(excess.max()) if excess.size else 0.0
        if progress is not None:
            progress(sampler.samples, most * len(sampler.sources), worst)
        drawn = sampler.samples // len(sampler.sources)
        if drawn >= most or (rtol > 0 and worst <= rtol):
            break
        # As many as the error asks for, and a tenth more; at most eight times what there is.
        times = min(1.1 * (worst / rtol) ** 2, 8.0) if rtol > 0 else math.inf
        wanted = int(min(drawn * times, most)) - drawn
        n = min(max(-(-wanted // _GROUPS), 1) * _GROUPS, most - drawn)
    distrust = sampler.distrust()
    notes = result.notes if distrust is None else (*result.notes, distrust)
    return replace(result, notes=notes), sampler.why


@rule(Divergence, Distribution, Distribution, "monte_carlo")
def monte_carlo(
    divergence: Divergence,
    p: Any,
    q: Any,
    *,
    axis: Any = -1,
    rng: Any = None,
    rtol: float | None = None,
    samples: int | None = None,
    progress: Progress | None = None,
    explain: bool = False,
    **options: Any,
) -> Estimate | None:
    """Average the terms of the divergence over samples of P and Q.

    Declines for a divergence that no mean decides, such as Rényi's of order ∞.
    """
    if not (isinstance(divergence, Csiszar) or isinstance(divergence.core, Csiszar)):
        return None
    if rtol is not None and not rtol > 0:
        raise ValueError(f"rtol = {rtol!r} is no relative error: it must be positive")
    if samples is not None and not samples >= 1:
        raise ValueError(f"samples = {samples!r} must be a positive number of samples")
    if p.event_shape != q.event_shape:
        raise ValueError(f"p has outcomes of shape {p.event_shape} and q of {q.event_shape}")
    p, q = beside(p, q)
    result, why = sampled(
        divergence,
        p,
        q,
        rng=rng,
        rtol=rtol,
        samples=samples,
        progress=progress,
    )
    warning = "; ".join(f"Monte Carlo of {divergence.symbol}: {note}" for note in result.notes) or None
    if warning:
        warnings.warn(warning, UserWarning, stacklevel=2)
    made = answered(
        divergence, p, q, result.value, "monte_carlo", why or f"{divergence.symbol} exceeds the largest number."
    )
    stderr = p.xp.astype(putter(p, q)(result.stderr), made.value.dtype) if result.stderr.ndim else result.stderr[()]
    bounds = _bounds(divergence, p, q) if explain else None
    return replace(made, stderr=as_scalar(stderr), samples=result.samples, warning=warning, bounds=bounds)


def _bounds(divergence: Divergence, p: Any, q: Any) -> tuple[Any, Any] | None:
    """Rigorous bounds, for KL of mixtures."""
    if not (isinstance(divergence, Power) and divergence.order in (0, 1)):
        return None
    if not (isinstance(p, Mixture) or isinstance(q, Mixture)):
        return None
    one, other = (p, q) if divergence.order == 1 else (q, p)
    found = kl_bounds(
        *(side if is_numpy(side.xp) else side.moved(namespace_of(), np.empty(0)) for side in (one, other))
    )
    return None if found is None else (divergence.scale * found[0], divergence.scale * found[1])
