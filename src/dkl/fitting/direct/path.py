"""The optima of the α-divergence as α runs: branches, and where the best one jumps from one to another.

Every optimum at one α is a start at the next, forwards and then backwards, so that a branch is followed wherever it
exists. Between two α at which the best optima lie on different branches, the one at which both are equally good is
found by halving.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dkl._array import real_number
from dkl.divergences import Alpha
from dkl.families.base import Distribution
from dkl.fitting.direct.coordinates import distance
from dkl.fitting.direct.descent import descend
from dkl.fitting.direct.landscape import Landscape
from dkl.fitting.direct.minimisation import STARTS, begun, descended, minimised, prepared
from dkl.fitting.measuring import RTOL, estimated
from dkl.fitting.points import Points
from dkl.fitting.problem import DeclinedError, Problem, name_of, whole_number
from dkl.fitting.result import Fit, Optimum, shown

# How much better another branch has to be for a jump, relative.
_BETTER = 1e-7
# Optima nearer than this, in units of their own, are one.
_SAME = 1e-3
# How near the α of a jump is found.
_XTOL = 1e-8


@dataclass(frozen=True)
class Jump:
    """Where the best optimum changes branches.

    Attributes
    ----------
    alpha : float
        There both are equally good.
    value : float
        The divergence of both.
    before, after : Distribution
        The best member just below it, and just above.
    """

    alpha: float
    value: float
    before: Any
    after: Any

    def to_dict(self) -> dict[str, Any]:
        """A form that JSON can hold."""
        return {
            "alpha": self.alpha, "value": self.value, "before": shown(self.before), "after": shown(self.after),
        }  # fmt: skip


@dataclass(frozen=True)
class Path:
    """What :meth:`dkl.fitting.Fit.path` found.

    Attributes
    ----------
    alphas : tuple of float
        In increasing order, in Minka's convention.
    fits : tuple of Fit
        One for each α.
    jumps : tuple of Jump
        Where the best optimum changes branches.
    """

    alphas: tuple[float, ...]
    fits: tuple[Fit, ...]
    jumps: tuple[Jump, ...]

    @property
    def optima(self) -> tuple[tuple[Optimum, ...], ...]:
        """All local optima at each α, the best first; none where no member is the best."""
        return tuple(fit.optima for fit in self.fits)

    def to_dict(self) -> dict[str, Any]:
        """A form that JSON can hold."""
        return {
            "alphas": list(self.alphas),
            "optima": [[o.to_dict() for o in each] for each in self.optima],
            "boundaries": [fit.boundary and fit.boundary.to_dict() for fit in self.fits],
            "jumps": [jump.to_dict() for jump in self.jumps],
        }

    def __repr__(self) -> str:
        jumps = "; ".join(f"from {j.before!r} to {j.after!r} at α = {j.alpha:.6g}" for j in self.jumps)
        return f"Path({len(self.alphas)} α from {self.alphas[0]:g} to {self.alphas[-1]:g}; {jumps or 'no jump'})"


def path(problem: Problem, alphas: Sequence[float], *, progress: Any = None) -> Path:
    """Follow all optima of a problem over α; see :meth:`dkl.fitting.Fit.path`."""
    if not np.iterable(alphas):
        raise TypeError(f"alphas must be a list of numbers, got {alphas!r}")
    wanted = sorted({real_number(a, f"alphas[{k}]") for k, a in enumerate(alphas)})
    if len(wanted) < 2 or not all(map(math.isfinite, wanted)):
        raise ValueError(f"alphas must be two different finite numbers at least, got {list(alphas)}")
    try:
        target = minimised(problem.with_(divergence=Alpha(wanted[0])))
    except DeclinedError as why:
        raise ValueError(
            f"{name_of(problem.family)} has no path to {problem.target!r}: it needs direct minimisation, which {why}"
        ) from why
    seen, normalised = prepared(target)
    count = whole_number(problem.option("starts", STARTS[target.event_ndim]), "starts")
    # What was to be told of the fit is not to be told of the path's.
    problem = problem.with_(options={name: x for name, x in problem.options.items() if name != "progress"})
    return _Follower(problem, normalised, seen, count).path(wanted, progress)


@dataclass
class _Follower:
    problem: Problem
    target: Distribution
    seen: Points
    count: int

    def path(self, alphas: list[float], progress: Any) -> Path:
        starts = begun(self.problem, self.target, self.seen, self.count)
        steps = 2 * len(alphas)
        fits: list[Fit] = []
        for k, alpha in enumerate(alphas):
            known = [o.distribution for o in fits[-1].optima] if fits else []
            # At the ends from everywhere; in between few starts beside those that are known.
            some = starts if k in (0, len(alphas) - 1) else starts[: max(4, self.count // 4)]
            fits.append(self._fit(alpha, [*some, *known]))
            if progress is not None:
                progress(k + 1, steps)
        for k in range(len(alphas) - 2, -1, -1):
            fits[k] = self._joined(alphas[k], fits[k], fits[k + 1])
            if progress is not None:
                progress(steps - k, steps)
        jumps = [
            self._jump(one, other, first, second)
            for one, other, first, second in zip(alphas, alphas[1:], fits, fits[1:], strict=False)
        ]
        return Path(tuple(alphas), tuple(fits), tuple(j for j in jumps if j is not None))

    def _fit(self, alpha: float, members: list[Any]) -> Fit:
        return descended(self.problem.with_(divergence=Alpha(alpha)), self.target, self.seen, members)

    def _joined(self, alpha: float, here: Fit, later: Fit) -> Fit:
        """The fit with what the optima at the next α lead to, if that is new."""
        found = list(here.optima)
        for optimum in later.optima:
            followed = self._followed(alpha, optimum.distribution)
            if followed and all(distance(o.distribution, followed.distribution) > _SAME for o in found):
                found.append(followed)
        if len(found) == len(here.optima):
            return here
        found.sort(key=lambda o: o.value)
        best = found[0].distribution
        if here.distribution is best:
            return replace(here, optima=tuple(found))
        divergence = estimated(Alpha(alpha), self.target, best, RTOL[self.target.event_ndim])
        return replace(here, optima=tuple(found), distribution=best, divergence=divergence, converged=True,
                       boundary=None, reason=None)  # fmt: skip

    def _followed(self, alpha: float, member: Any) -> Optimum | None:
        """The optimum at an α to which a member leads, which no start of its own need have found."""
        made = descend(Landscape(Alpha(alpha), self.target, RTOL[self.target.event_ndim]), member)
        return Optimum(made.member, made.value, 0.0) if made.kind == "optimum" else None

    def _jump(self, low: float, high: float, first: Fit, second: Fit) -> Jump | None:
        """The α between two at which the best optimum leaves the branch of the first for that of the second, if any.

        A branch need not reach from one end to the other: where it has ended, the other is the better one.
        """
        if not first.optima or not second.optima:
            return None
        before, after = first.optima[0], second.optima[0]
        up, down = self._followed(high, before.distribution), self._followed(low, after.distribution)
        if not (self._worse(up, after) or self._worse(down, before)):
            return None  # one leads to the other: the best optimum moves without a jump
        while high - low > _XTOL:
            middle = 0.5 * (low + high)
            one, other = (self._followed(middle, branch.distribution) for branch in (before, after))
            if one is None or other is None or distance(one.distribution, other.distribution) < _SAME:
                # One of both has ended: what is left belongs to the nearer.
                left = one or other
                if left is None:
                    return None
                kept = distance(before.distribution, left.distribution) < distance(
                    after.distribution, left.distribution
                )
                low, before, high, after = (middle, left, high, after) if kept else (low, before, middle, left)
            elif one.value < other.value:
                low, before = middle, one
            else:
                high, after = middle, other
        ends = self._followed(high, before.distribution)
        if ends is None or distance(ends.distribution, after.distribution) < _SAME:
            return None  # the branches meet there
        return Jump(0.5 * (low + high), after.value, before.distribution, after.distribution)

    @staticmethod
    def _worse(followed: Optimum | None, best: Optimum) -> bool:
        """Whether following a branch led to another optimum than the best one."""
        return followed is not None and followed.value > best.value + _BETTER * max(1.0, abs(best.value))
