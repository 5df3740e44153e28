"""What panels of a line and of a plane have in common: the terms at their nodes, and sums of them with errors."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dkl._array import namespace_of
from dkl.divergences import Csiszar, Divergence, Member
from dkl.divergences.power import log_power
from dkl.methods.nodes import UNDERFLOW, Numbers, weighted_pair
from dkl.pairs import Pair


@dataclass
class Sums:
    """One row per panel: masses of P and Q, the divergence's terms (by both rules), and the power integral in logs."""

    values: Numbers
    errors: Numbers
    log_power: Numbers
    log_error: Numbers
    #: The axis along which the error is largest.
    worse: Numbers

    def joined(self, keep: Numbers, other: Sums) -> Sums:
        """Some of these, and others."""
        return Sums(*(np.concatenate([getattr(self, n)[keep], getattr(other, n)]) for n in self.__dataclass_fields__))


def terms(divergence: Divergence, panels: Any) -> tuple[Pair, tuple[Numbers, Numbers, Numbers]]:
    """The pair of all nodes, one row per panel: p, q and the terms of the sum that decides, each with its weight."""
    panels = counted(divergence, panels)
    pair = weighted_pair(namespace_of(), panels.log_p, panels.log_q, panels.log_w)
    core = divergence if isinstance(divergence, Csiszar) else divergence.core
    assert isinstance(core, Csiszar)
    with np.errstate(all="ignore"):
        return pair, (pair.p, pair.q, np.asarray(core.terms(pair)))


def counted(divergence: Divergence, panels: Any) -> Any:
    """The panels, for a generator of one's own without nodes where both densities underflow: f may not bear them."""
    if isinstance(divergence, Member) or not isinstance(divergence, Csiszar):
        return panels
    none = np.maximum(panels.log_p, panels.log_q) + panels.log_w < UNDERFLOW
    return replace(panels, log_p=np.where(none, -math.inf, panels.log_p), log_q=np.where(none, -math.inf, panels.log_q))


def sums_of(divergence: Divergence, panels: Any) -> Sums:
    """What each panel brings."""
    pair, nodes = terms(divergence, panels)
    core = divergence if isinstance(divergence, Csiszar) else divergence.core
    with np.errstate(all="ignore"):
        of_each = [_by_both(y, panels.rules) for y in nodes]
        values, errors = (np.stack([x[k] for x in of_each], -1) for k in (0, 1))
        none = np.full(values.shape[:1], -math.inf)
        log_value = log_error = none
        if core is not divergence:
            shared = np.asarray(log_power(pair.shared, divergence.core.order))  # type: ignore[union-attr]
            logs = np.where(pair.in_both, shared, -math.inf)
            top = logs.max(axis=-1)
            top = np.where(np.isfinite(top), top, 0.0)
            of_each.append(_by_both(np.exp(logs - top[:, None]), panels.rules))
            log_value, log_error = (np.log(x) + top for x in of_each[-1][:2])
        worse = np.argmax(sum(_relative(x[2]) for x in of_each), axis=0)
        return Sums(values, errors, log_value, log_error, worse)


def rounding(divergence: Divergence, panels: Any) -> Numbers:
    """What the sum of the terms of each panel owes to the rounding of the two log-densities.

    Near P = Q a term is about ½·p·(log(p/q))²: the relative error of the sum is not that of the densities, but that of
    their small difference.
    """
    base = terms(divergence, panels)[1][2]
    size = np.maximum(*(np.abs(np.where(np.isfinite(h), h, 0.0)) for h in (panels.log_p, panels.log_q)))
    step = np.finfo(float).eps * (2.0 + size)
    moved = (terms(divergence, replace(panels, log_p=panels.log_p + s * step))[1][2] for s in (-1.0, 1.0))
    most = np.maximum(*(np.abs(each - base) for each in moved))
    blur: Numbers = np.nan_to_num(most, nan=0.0, posinf=0.0).sum(axis=-1)
    return blur


def _relative(differences: Numbers) -> Numbers:
    largest = differences.max()
    return differences / largest if 0 < largest < math.inf else np.nan_to_num(differences, posinf=1.0)


def _by_both(y: Numbers, rules: list[Numbers]) -> tuple[Numbers, Numbers, Numbers]:
    """Sums of weighted terms by Kronrod's rule, how far Gauss's is from them, and along which axis."""
    value = y.sum(axis=-1)
    differences = np.stack([np.abs((y * (1.0 - gauss)).sum(axis=-1)) for gauss in rules])
    difference = differences.sum(axis=0)
    # QUADPACK takes a power of the difference, which the smooth deserve; rounding noise would hide behind it. At a kink
    # both rules err alike, so that their difference alone would be no bound.
    difference = 4.0 * difference
    return value, np.where(np.isfinite(difference), difference, np.abs(value)), differences
