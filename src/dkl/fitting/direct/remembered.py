"""A target of many components that a descent asks hundreds of times, nearly always at the same nodes.

Where a member moves, the panels of quadrature next to it move, and the others stay. What the target was there is kept,
panel by panel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dkl.density import Density
from dkl.families.base import Distribution
from dkl.methods.landmarks import all_ends, apart, ends, landmarks
from dkl.methods.nodes import Numbers, heights
from dkl.mixture import Mixture
from dkl.supports import Interval

# From so many components on it takes less time to look a panel up than to ask for it.
_MANY = 64
# Panels that are kept at most.
_PANELS = 100_000


class Remembered(Density):
    """The density of a mixture of numbers, which it answers from memory where it was asked before."""

    def __init__(self, target: Distribution) -> None:
        super().__init__(self._known, support=target.support)
        self._target = target
        self._panels: dict[bytes, Numbers] = {}
        # Many components are a few landmarks, and they are not gathered anew for each member.
        self._landmarks = apart(landmarks(target))

    def _known(self, x: Any) -> Numbers:
        x = np.asarray(x, dtype=float)
        if x.ndim != 2:
            return heights(self._target, x)
        keys = [row.tobytes() for row in x]
        new = {key: k for k, key in enumerate(keys) if key not in self._panels}
        if len(self._panels) + len(new) > _PANELS:
            self._panels.clear()
            new = {key: k for k, key in enumerate(keys)}
        if new:
            self._panels |= dict(zip(new, heights(self._target, x[list(new.values())]), strict=True))
        return np.array([self._panels[key] for key in keys])

    def __repr__(self) -> str:
        return repr(self._target)


def remembered(target: Distribution) -> Distribution:
    """The target, as one that remembers where that is worth it: a mixture of many components with equal supports."""
    worth = isinstance(target, Mixture) and len(target.each) >= _MANY and isinstance(target.support, Interval)
    return Remembered(target) if worth and all_ends(target) == set(ends(target)) else target


__all__ = ["Remembered", "remembered"]
