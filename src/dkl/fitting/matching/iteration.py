"""The iteration of expectation maximisation: outcomes in shares to the components, to each component its best member.

The mean of −log q falls with each [1]; :mod:`~dkl.fitting.matching.acceleration` shortens the way, and what it proposes
is kept where the mean of −log q falls all the same. Of normal components the moments of the shares are taken in units
of each component, block by block of the outcomes, so that nothing cancels and nothing large is held.

References
----------
.. [1] A. P. Dempster, N. M. Laird, D. B. Rubin, "Maximum likelihood from incomplete data via the EM algorithm",
   Journal of the Royal Statistical Society B 39 (1977).
.. [2] E. K. Berndt, B. H. Hall, R. E. Hall, J. A. Hausman, "Estimation and inference in nonlinear structural models",
   Annals of Economic and Social Measurement 3 (1974).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from dkl.families.multivariate import MultivariateNormal
from dkl.families.normal import LogNormal
from dkl.fitting.matching.acceleration import Acceleration
from dkl.fitting.matching.members import CENTRED, NoMemberError, centred, members, normal, statistics
from dkl.fitting.points import Points
from dkl.methods.nodes import Numbers
from dkl.mixture import Mixture, MixtureFamily

#: Mixtures whose log-densities differ by less on the mean are one.
SAME = 1e-3
# A component of less weight has vanished.
_VANISHED = 1e-280
# Numbers that a block of outcomes makes at once: they stay in the cache.
_BLOCK = 1 << 15
# A component whose logarithm lies by so much below that of another has no share: no sum of others' would tell it.
_NO_SHARE = 100.0
# A component that moves farther than so many of its new widths in one step is matched anew, lest its digits cancel.
_FAR = 1e3
# Directions with less information than this, to those with the most, have none.
_SINGULAR = 1e-12
_EPS = float(np.finfo(float).eps)
_LOG_TAU = math.log(2.0 * math.pi)


@dataclass
class Climb:
    """Where one start led.

    Attributes
    ----------
    mixture : Mixture
        The last one that there was.
    log_q : array
        Its log-density at the points.
    trace : list of float
        The mean of −log q, one an iteration.
    converged : bool
    collapsed : str
        Why it was dropped, if it was.
    starts : int
        How many starts came here.
    """

    mixture: Mixture
    log_q: Numbers
    trace: list[float] = field(default_factory=list)
    converged: bool = False
    collapsed: str = ""
    starts: int = 1

    def near(self, log_q: Numbers, w: Numbers) -> bool:
        """Whether a log-density at the weighted points is that of this mixture."""
        return float(w @ np.abs(log_q - self.log_q)) < SAME


@dataclass
class Seen:
    """What a mixture makes of the outcomes: its log-density, and the way to the mixture that matches its shares."""

    log_q: Numbers
    matching: Callable[[], Mixture]


class Mixing:
    """A mixture family on weighted outcomes.

    Parameters
    ----------
    family : MixtureFamily
    found : Points
        Outcomes inside the support of the components.
    known : mapping
        The parameters that the components keep fixed.
    minimum_scale : float
        The least standard deviation of normal components in every direction; 0 is none.
    """

    def __init__(
        self, family: MixtureFamily, found: Points, known: Mapping[str, Any], minimum_scale: float = 0.0
    ) -> None:
        self.family, self.component, self.known = family, family.component, known
        self.x, self.w, self.minimum_scale = found.x, found.weights, minimum_scale
        self._centred = self.component in CENTRED
        self._of_x = None if self._centred else statistics(self.component, self.x, known)
        if self._centred:
            self._values = np.log(self.x) if self.component is LogNormal else self.x
            # Outcomes along the last axis: what is summed over them lies together.
            self._columns = np.ascontiguousarray(self._values.reshape(len(self.x), -1).T)

    def matching(self, shares: Numbers) -> Mixture:
        """The mixture of the members that match shares best, shape (components, outcomes), weighted by their sums.

        A component without any share is the member that matches all of the target, with weight 0.
        """
        weighted = shares * self.w
        mass = weighted.sum(axis=-1)
        gone = ~(mass > _VANISHED)
        rows = np.where(gone[:, None], self.w, weighted) / np.where(gone, 1.0, mass)[:, None]
        parts = members(
            self.component, self.x, rows, self.known, minimum_scale=self.minimum_scale, of_x=self._of_x
        )  # fmt: skip
        return self._mixture(parts, np.where(gone, 0.0, mass))

    def _mixture(self, parts: Any, mass: Numbers) -> Mixture:
        return Mixture(_batch(parts, self.known), mass / mass.sum())

    def logs(self, mixture: Mixture) -> Numbers:
        """The log-densities of the components at the outcomes, weights included; shape (components, outcomes)."""
        made = np.empty((self.family.components, len(self.x)))
        if self._centred:
            view = _View(mixture, self.component)
            for block in self._blocks():
                made[:, block] = view.logs(view.z(self._columns[:, block]) ** 2)
            return made - self._values if self.component is LogNormal else made
        with np.errstate(divide="ignore"):
            logs = np.moveaxis(np.asarray(mixture.components.log_prob(self.x[:, None])), -1, 0)
            return np.asarray(logs + np.log(mixture.numbers("weights"))[:, None])

    def seen(self, mixture: Mixture) -> Seen:
        """What a mixture makes of the outcomes."""
        if self._centred:
            return self._seen_in_blocks(mixture)
        logs = self.logs(mixture)
        top = logs.max(axis=0)
        logs -= top
        shares = np.exp(logs, out=logs)
        total = shares.sum(axis=0)
        shares /= total
        return Seen(np.log(total) + top, lambda: self.matching(shares))

    def _blocks(self) -> list[slice]:
        width = len(self._columns) if self._centred else 1
        n, size = len(self.x), max(64, _BLOCK // (self.family.components * width))
        return [slice(at, min(at + size, n)) for at in range(0, n, size)]

    def _seen_in_blocks(self, mixture: Mixture) -> Seen:
        view = _View(mixture, self.component)
        count, d = self.family.components, len(self._columns)
        mass, first = np.zeros((count, 1)), np.zeros((count, d, 1))
        second = np.zeros((count, d, d if view.full else 1))
        log_q = np.empty(len(self.x))
        for block in self._blocks():
            at = view.near(self._columns[:, block])
            z = view.z(self._columns[:, block], at)
            square = z * z
            shares = view.logs(square, at)
            top = shares.max(axis=0)
            np.exp(np.subtract(shares, top, out=shares), out=shares)
            total = shares.sum(axis=0)
            log_q[block] = np.log(total) + top
            shares *= self.w[block] / total
            column = shares[:, :, None]
            mass[at] += shares.sum(axis=-1, keepdims=True)
            first[at] += z @ column
            second[at] += (z * shares[:, None, :]) @ np.swapaxes(z, -1, -2) if view.full else square @ column
        if self.component is LogNormal:
            log_q -= self._values
        return Seen(log_q, lambda: self._moved(mixture, view, mass[:, 0], first[..., 0], second))

    def _moved(self, mixture: Mixture, view: _View, mass: Numbers, first: Numbers, second: Numbers) -> Mixture:
        """The mixture of the moments of the shares, which are in units of each component."""
        gone = ~(mass > _VANISHED)
        safe = np.where(gone, 1.0, mass)
        step = first / safe[:, None]
        spread = second / safe[:, None, None]
        spread = spread - (step[:, :, None] * step[:, None, :] if view.full else (step * step)[..., None])
        left = np.diagonal(spread, axis1=-2, axis2=-1) if view.full else spread[..., 0]
        if not (gone[:, None] | (step * step < _FAR**2 * left)).all():
            logs = self.logs(mixture)
            logs -= logs.max(axis=0)
            shares = np.exp(logs, out=logs)
            return self.matching(shares / shares.sum(axis=0))
        loc, spread = view.back(step, spread)
        if gone.any():
            whole = centred(self._values, self.w, 0, self.component)
            for z, all_of_it in zip((loc, spread), whole, strict=True):
                z[gone] = np.reshape(all_of_it, z.shape[1:])
        shape = (len(mass), *self.x.shape[1:])
        spread = spread if view.full else spread.reshape(shape)
        parts = normal(self.component, self._values, loc.reshape(shape), spread, self.minimum_scale)
        return self._mixture(parts, np.where(gone, 0.0, mass))

    def decrement(self, mixture: Mixture) -> float:
        """What Newton's method would gain of the mean of −log q, by the outcomes' own information: ½·gᵀI⁻¹g [2].

        With g the mean of the scores and I that of their products; of n observations n times it is half the squared
        distance to the maximum, in standard errors. It costs the squared number of parameters an outcome.
        """
        view = _View(mixture, self.component) if self._centred else None
        weights = mixture.numbers("weights")[:, None]
        means = None if view else [np.asarray(m) for m in mixture.components.mean_parameters()]
        size = 1 + (view.parameters if view else sum(math.prod(m.shape[1:]) for m in means or ()))
        slope, information = np.zeros(len(weights) * size), np.zeros((len(weights) * size,) * 2)
        logs = self.logs(mixture)
        logs -= logs.max(axis=0)
        shares = np.exp(logs, out=logs)
        shares /= shares.sum(axis=0)
        for block in self._blocks():
            scores = np.empty((len(weights), size, len(self.w[block])))
            scores[:, 0] = shares[:, block] - weights
            if view:
                scores[:, 1:] = view.scores(view.z(self._columns[:, block]))
            else:
                apart = [t[block] - m[:, None] for t, m in zip(self._of_x or (), means or (), strict=True)]
                scores[:, 1:] = np.concatenate([a.reshape(*a.shape[:2], -1) for a in apart], axis=-1).swapaxes(1, 2)
            scores[:, 1:] *= shares[:, None, block]
            rows = scores.reshape(len(slope), -1)
            slope += rows @ self.w[block]
            information += (rows * self.w[block]) @ rows.T
        units = np.sqrt(np.diagonal(information))
        units = np.where(units > 0, units, 1.0)
        values, vectors = np.linalg.eigh(information / units / units[:, None])
        kept = values > _SINGULAR * values[-1]
        along = (vectors.T @ (slope / units))[kept]
        return 0.5 * float((along**2 / values[kept]).sum())

    def climb(self, start: Mixture, rtol: float, limit: int, known: Sequence[Climb] = ()) -> Climb:
        """Iterate until what is left to gain, by the rate at which the gains fall, is small enough.

        A climb that comes to where one of those that are known ended has ended, too.
        """
        ahead = Acceleration()
        mixture, plain, trace = start, None, []
        while True:
            seen = self.seen(mixture)
            value = -float(self.w @ seen.log_q)
            if plain is not None and not value <= trace[-1]:
                ahead.forget()
                mixture, plain = plain, None
                continue
            trace.append(value)
            at = Climb(mixture, seen.log_q, trace)
            at.converged = _finished(trace, rtol) or any(k.near(seen.log_q, self.w) for k in known)
            if at.converged or len(trace) >= limit:
                return at
            try:
                end = seen.matching()
            except NoMemberError as none:
                if plain is None:
                    at.collapsed = str(none)
                    return at
                ahead.forget()
                mixture, plain = plain, None
                trace.pop()
                continue
            beyond = ahead.beyond(mixture, end)
            mixture, plain = (end, None) if beyond is None else (beyond, end)


def _batch(parts: Any, known: Mapping[str, Any]) -> Any:
    """The components as one batch, the known parameters in it too."""
    if not known:
        return parts
    wide = {name: np.asarray(x) for name, x in parts.given.items()}
    for name in known:
        wide[name] = np.broadcast_to(wide[name], parts.batch_shape)
    return type(parts)(**wide)


def _finished(trace: list[float], rtol: float) -> bool:
    """Whether what is left of a geometric series of gains is small, by the last two pairs of them."""
    if len(trace) < 4:
        return False
    scale = max(1.0, abs(trace[-1]))
    gains = [before - after for before, after in zip(trace[-4:], trace[-3:], strict=False)]
    if max(gains) <= 4.0 * _EPS * scale:
        return True
    left = 0.0
    for before, last in pairwise(gains):
        left = max(left, last, last * last / (before - last) if before > last else math.inf)
    return left <= rtol * scale


class _View:
    """The outcomes as normal components see them: from their means, in units of their widths."""

    def __init__(self, mixture: Mixture, component: type) -> None:
        parts, count = mixture.components, len(mixture.numbers("weights"))
        self.full = component is MultivariateNormal
        self.loc = parts.numbers("loc").reshape(count, -1, 1)
        d = self.loc.shape[1]
        if self.full:
            self.width = np.linalg.cholesky(parts.numbers("covariance"))
            self._inverse = np.tril(np.linalg.inv(self.width))
            sizes = np.diagonal(self.width, axis1=-2, axis2=-1)
        else:
            self.width = np.broadcast_to(parts.numbers("scale"), parts.numbers("loc").shape).reshape(count, d, 1)
            self._inverse = 1.0 / self.width
            sizes = self.width[..., 0]
        with np.errstate(divide="ignore"):
            weights = np.log(mixture.numbers("weights"))
        self._heights = (weights - np.log(sizes).sum(axis=-1) - 0.5 * d * _LOG_TAU)[:, None]

    def near(self, columns: Numbers) -> Any:
        """The components that have a share in a block of numbers; of vectors all have one.

        No log-density is less over a range than at one of its ends, and where the greatest of one component is below
        what another has everywhere, by so much, it has none.
        """
        if self.full or len(columns) > 1 or len(self.loc) == 1:
            return slice(None)
        ends = np.array([[columns.min(), columns.max()]])
        at_ends = self.logs(self.z(ends) ** 2)
        inside = (self.loc[:, 0, 0] > ends[0, 0]) & (self.loc[:, 0, 0] < ends[0, 1])
        most = np.where(inside, self._heights[:, 0], at_ends.max(axis=-1))
        kept = np.flatnonzero(most > at_ends.min(axis=-1).max() - _NO_SHARE)
        return kept if 0 < len(kept) < len(self.loc) else slice(None)

    @property
    def parameters(self) -> int:
        """The numbers of one component."""
        d = self.loc.shape[1]
        return int(d + (d * (d + 1) // 2 if self.full else d))

    def scores(self, z: Numbers) -> Numbers:
        """∂log q of each component by its own parameters, in its own units; shape (components, numbers, outcomes)."""
        if not self.full:
            return np.concatenate([z, z * z - 1.0], axis=1)
        rows, columns = np.tril_indices(z.shape[1])
        return np.concatenate([z, z[:, rows] * z[:, columns] - (rows == columns)[:, None]], axis=1)

    def z(self, columns: Numbers, at: Any = slice(None)) -> Numbers:
        """The outcomes of a block, which lie along the last axis; shape (components, axes, outcomes)."""
        apart = columns - self.loc[at]
        inverse = self._inverse[at]
        made: Numbers = inverse @ apart if self.full else np.multiply(apart, inverse, out=apart)
        return made

    def logs(self, square: Numbers, at: Any = slice(None)) -> Numbers:
        """The log-densities, weights included, from the squares of z."""
        total = square[:, 0, :] if square.shape[1] == 1 else square.sum(axis=1)
        made: Numbers = self._heights[at] - 0.5 * total
        return made

    def back(self, step: Numbers, spread: Numbers) -> tuple[Numbers, Numbers]:
        """Means and (co)variances from those in units of the widths."""
        if self.full:
            made = self.width @ spread @ np.swapaxes(self.width, -1, -2)
            loc = self.loc[..., 0] + (self.width @ step[..., None])[..., 0]
            return loc, 0.5 * (made + np.swapaxes(made, -1, -2))
        return self.loc[..., 0] + self.width[..., 0] * step, self.width**2 * spread


__all__ = ["SAME", "Climb", "Mixing", "Seen"]
