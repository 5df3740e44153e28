"""Where a target and a member are looked at: the nodes of quadrature, or the outcomes of a sum, that a divergence asks.

At an end of a support numbers are too coarse to come near, where a density with a pole has much of its mass. Quadrature
continues log-densities there; all that behaves like one, such as a sufficient statistic, is continued here likewise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dkl.divergences import Csiszar
from dkl.families.base import Distribution
from dkl.methods.nodes import Numbers, heights
from dkl.methods.quadrature.adaptive import integrate
from dkl.methods.quadrature.line import Line
from dkl.methods.series import summed
from dkl.supports import Integers

#: A divergence below this is known to the digits that it would have there: no optimum needs those of 0.
FLOOR = 1e-6


@dataclass
class Places:
    """Where a pair of densities was looked at.

    Attributes
    ----------
    x : array
        Outcomes, along the first axis.
    log_p, log_q : array
        The target's log-densities and the member's.
    log_w : array
        The logarithms of the weights.
    error : float
        Relative error of the divergence by them.
    diverges : str or None
        Why it is infinite, if it is.
    line : tuple or None
        Of a line: it, the places' coordinates and the pieces that they lie on.
    statistic : array or None
        The sufficient statistic of the family there, once it was asked for.
    """

    x: Numbers
    log_p: Numbers
    log_q: Numbers
    log_w: Numbers
    error: float
    diverges: str | None
    line: tuple[Line, Numbers, Numbers] | None = None
    statistic: Numbers | None = None

    def __getitem__(self, at: Any) -> Places:
        line = self.line and (self.line[0], self.line[1][at], self.line[2][at])
        return replace(
            self, x=self.x[at], log_p=self.log_p[at], log_q=self.log_q[at], log_w=self.log_w[at], line=line,
            statistic=None,
        )  # fmt: skip

    def asked(self, of: Callable[[Numbers], Numbers], at: Any = slice(None)) -> Numbers:
        """The values there, or at some of the places, of a function that behaves like a log-density."""
        if self.line is None:
            return of(self.x[at])
        space, v, which = self.line
        return space.asked(of, self.x[at], v[at], which[at])


def looked_at(core: Csiszar, target: Distribution, member: Any, rtol: float, panels: int) -> Places | None:
    """The places for a divergence from a target to a member; None where a sum is too long.

    Parameters
    ----------
    core : Csiszar
        A sum of terms.
    target, member : Distribution
        Of NumPy's: numbers, whole numbers or vectors of length 2.
    rtol : float
        The relative error of the divergence; of one below ``FLOOR``, the error that this would have.
    panels : int
        At most.
    """
    with np.errstate(all="ignore"):
        if isinstance(target.support, Integers):
            found = summed(core, target, member, rtol)
            if found is None:
                return None
            x = found.outcomes
            return Places(x, heights(target, x), heights(member, x), np.zeros_like(x), found.error, found.diverges)
        made = integrate(core, target, member, rtol, FLOOR, panels)
    nodes = made.panels
    line = None
    if isinstance(made.space, Line):
        line = (made.space, nodes.v.ravel(), np.repeat(nodes.piece, nodes.x.shape[1]))
    x = nodes.x.reshape(nodes.log_w.size, *target.event_shape)
    return Places(
        x, nodes.log_p.ravel(), nodes.log_q.ravel(), nodes.log_w.ravel(), made.error, made.diverges, line
    )  # fmt: skip
