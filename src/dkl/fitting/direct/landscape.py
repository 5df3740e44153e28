"""The divergence from a target over a whole family: around each member in its own coordinates, as exactly as wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dkl.divergences import Divergence
from dkl.families.base import Distribution
from dkl.fitting.direct.coordinates import around
from dkl.fitting.direct.objective import Objective
from dkl.fitting.direct.places import Places
from dkl.methods.nodes import Numbers

# The step of differences of values, whose error it divides.
_WIDE = 1e-2
# Relative errors that are good enough on the way.
_ROUGH = {0: 1e-6, 1: 1e-4}


class Differenced(Objective):
    """The same with derivatives by differences of its values: for members whose densities jump or have cusps.

    Their divergence may be smooth all the same.
    """

    def _gradient(self, u: Numbers) -> Numbers:
        """By central differences of the fourth order."""
        near, far = (
            np.array([self.value(u + k * e) - self.value(u - k * e) for e in _WIDE * np.eye(u.size)]) for k in (1, 2)
        )
        return np.asarray((8.0 * near - far) / (12.0 * _WIDE))

    def _hessian(self, u: Numbers) -> Numbers:
        """By central differences of the second order."""
        steps = _WIDE * np.eye(u.size)
        made = np.zeros((u.size, u.size))
        for i, j in zip(*np.triu_indices(u.size), strict=True):
            if i == j:
                bent = self.value(u + steps[i]) - 2.0 * self.value(u) + self.value(u - steps[i])
            else:
                up, down = steps[i] + steps[j], steps[i] - steps[j]
                alike = self.value(u + up) + self.value(u - up)
                bent = 0.25 * (alike - self.value(u + down) - self.value(u - down))
            made[i, j] = made[j, i] = bent / _WIDE**2
        return made

    def _at(self, u: Numbers) -> tuple[float, Places | None]:
        # Every value serves several differences, and none needs its places again but where the divergence is told.
        key = u.tobytes()
        if key not in self._seen:
            value, places = self._measured(u)
            self._seen[key] = value, places if not u.any() else None
        return self._seen[key]


@dataclass(frozen=True)
class Landscape:
    """The divergence from a target over a family, and how exactly it is wanted.

    Attributes
    ----------
    divergence : Divergence
    target : Distribution
        Of NumPy's, normalised.
    rtol : float
        The relative error of the values.
    by_values : bool
        Whether slopes are differences of values.
    """

    divergence: Divergence
    target: Distribution
    rtol: float
    by_values: bool = False

    def around(self, member: Distribution) -> Objective:
        """The divergence over the coordinates around a member."""
        kind = Differenced if self.by_values else Objective
        return kind(self.divergence, self.target, around(member), self.rtol)

    def value(self, member: Distribution) -> float:
        """The divergence to a member."""
        objective = self.around(member)
        return objective.final(np.zeros(objective.coordinates.size))

    def roughly(self) -> Landscape:
        """The same, as exactly as the way needs to be known on which nobody stays."""
        return replace(self, rtol=max(self.rtol, _ROUGH[self.target.event_ndim]))
