"""Distributions of angles beside those of numbers: a uniform one all around is an angle, and an angle a number."""

from __future__ import annotations

import math
from typing import Any

from dkl._array import epsilon, holds
from dkl.divergences import Divergence
from dkl.estimate import Estimate
from dkl.families.base import Distribution, beside
from dkl.families.directional import Unrolled, VonMises
from dkl.families.others import Uniform
from dkl.rules import METHODS, find, rule


def _register_angles(method: str) -> None:
    @rule(Divergence, VonMises, VonMises, method)
    def circles(divergence: Divergence, p: Any, q: Any, **options: Any) -> None:
        """Two of one family: its own rule answers, or the general one."""

    @rule(Divergence, VonMises, Distribution, method)
    def from_angles(divergence: Divergence, p: Any, q: Any, **options: Any) -> Estimate | None:
        return _beside_line(divergence, p, q, method, options)

    @rule(Divergence, Distribution, VonMises, method)
    def to_angles(divergence: Divergence, p: Any, q: Any, **options: Any) -> Estimate | None:
        return _beside_line(divergence, p, q, method, options)


def _beside_line(divergence: Divergence, p: Any, q: Any, method: str, options: dict[str, Any]) -> Estimate | None:
    """Angles against numbers: a uniform number of the width 2π is an angle too, beside others angles are numbers."""
    known = isinstance(p, VonMises) and isinstance(q, VonMises)
    if known or isinstance(p, Unrolled) or isinstance(q, Unrolled):
        return None
    p, q = beside(p, q)
    both = [_as_angle(side) for side in (p, q)]
    if any(side is None for side in both):
        both = [Unrolled.of(side) if isinstance(side, VonMises) else side for side in (p, q)]
    one, other = both
    for measured in find(divergence.name, type(divergence), type(one), type(other), method):
        answer = measured(divergence, one, other, **options)
        if answer is not None:
            return answer
    return None


def _as_angle(side: Any) -> VonMises | None:
    """A distribution of angles, such as a uniform one all around; None if it is none."""
    if isinstance(side, VonMises):
        return side
    if not isinstance(side, Uniform):
        return None
    apart = side.xp.abs((side.high - side.low) - 2.0 * math.pi)
    around = apart <= 8.0 * epsilon(side.xp, side.dtype) * (1.0 + side.xp.abs(side.low) + side.xp.abs(side.high))
    if holds(side.xp.all(around)) is not True:
        return None
    return VonMises._raw(side, loc=0.0 * side.low, concentration=0.0 * side.high)


for _method in METHODS:
    _register_angles(_method)
