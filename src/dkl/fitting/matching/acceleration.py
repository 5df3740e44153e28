"""Anderson's acceleration of an iteration over mixtures: where the last steps would lead if they went on as lines do.

Near its end expectation maximisation moves along a line, at the rate of what is missing to what is seen, which may be
thousands of steps long [1]. The steps of the last few mixtures, in coordinates without bounds, are combined so that
what is left of them is least [2, 3]. Nothing says that the likelihood rises on the way: the caller must look.

References
----------
.. [1] A. P. Dempster, N. M. Laird, D. B. Rubin, "Maximum likelihood from incomplete data via the EM algorithm",
   Journal of the Royal Statistical Society B 39 (1977), section 3.
.. [2] D. G. Anderson, "Iterative procedures for nonlinear integral equations", Journal of the ACM 12 (1965).
.. [3] N. C. Henderson, R. Varadhan, "Damped Anderson acceleration with restarts and monotonicity control for
   accelerating EM and EM-like algorithms", Journal of Computational and Graphical Statistics 28 (2019).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dkl.families.constraints import positive, probability, real
from dkl.families.matrices import Definite
from dkl.methods.nodes import Numbers
from dkl.mixture import Mixture

# Steps that are looked back on.
_MEMORY = 10
# Combinations of steps that are smaller than this, beside the largest, are noise.
_NOISE = 1e-7
# No step is longer, in widths of the components and logarithms of what is positive: components must not vanish by it.
_LONGEST = 1.0


class Acceleration:
    """What is remembered of the steps of one climb."""

    def __init__(self) -> None:
        self._ends: list[Numbers] = []
        self._steps: list[Numbers] = []

    def forget(self) -> None:
        """Begin anew, where the last extrapolation led astray."""
        self._ends, self._steps = [], []

    def beyond(self, begun: Mixture, end: Mixture) -> Mixture | None:
        """Where to go after a step from one mixture to another; None where nothing better than its end is known.

        Parameters
        ----------
        begun, end : Mixture
            The components of both one batch, in equal parameters.
        """
        here = _numbers(begun), _numbers(end)
        if here[0] is None or here[1] is None:
            self.forget()
            return None
        self._ends.append(here[1])
        self._steps.append(here[1] - here[0])
        del self._ends[:-_MEMORY], self._steps[:-_MEMORY]
        if len(self._steps) < 2:
            return None
        widths, rarity = _units(end)
        units = widths * rarity
        steps, ends = (np.diff(np.stack(z), axis=0) / units for z in (self._steps, self._ends))
        move = -(np.linalg.lstsq(steps.T, self._steps[-1] / units, rcond=_NOISE)[0] @ ends) * rarity
        if not np.isfinite(move).all():
            self.forget()
            return None
        move *= min(1.0, _LONGEST / max(float(np.abs(move).max()), _LONGEST))
        return _mixture(here[1] + widths * move, end)


def _numbers(mixture: Mixture) -> Numbers | None:
    """The weights and the parameters as numbers without bounds; None where some parameter has none."""
    weights = mixture.numbers("weights")
    if not (weights > 0).all():
        return None
    made = [np.log(weights)]
    for name, x in _free(mixture.components).items():
        constraint = type(mixture.components).constraints[name]
        if isinstance(constraint, Definite):
            factor = np.linalg.cholesky(x)
            rows, columns = np.tril_indices(x.shape[-1])
            lower = factor[..., rows, columns]
            made.append(np.where(rows == columns, np.log(np.where(rows == columns, lower, 1.0)), lower))
        elif constraint.met is positive.met:
            made.append(np.log(x))
        elif constraint.met is probability.met:
            made.append(np.log(x) - np.log1p(-x))
        elif constraint.met is real.met:
            made.append(x)
        else:
            return None
    return np.concatenate([z.ravel() for z in made])


def _units(mixture: Mixture) -> tuple[Numbers, Numbers]:
    """What a step of each number is counted in: the width of its component; and how many, as the component is rare."""
    given = _free(mixture.components)
    made = [np.ones(len(mixture.numbers("weights")))]
    for name, x in given.items():
        constraint = type(mixture.components).constraints[name]
        if isinstance(constraint, Definite):
            rows, columns = np.tril_indices(x.shape[-1])
            width = np.sqrt(np.diagonal(x, axis1=-2, axis2=-1))
            made.append(np.where(rows == columns, 1.0, width[..., rows]))
        elif constraint.met is real.met and "covariance" in given:
            made.append(np.sqrt(np.diagonal(given["covariance"], axis1=-2, axis2=-1)))
        elif constraint.met is real.met and "scale" in given:
            made.append(np.broadcast_to(given["scale"], x.shape))
        else:
            made.append(np.ones_like(x))
    rarity = 1.0 / np.sqrt(mixture.numbers("weights"))
    rare = [np.broadcast_to(rarity.reshape(-1, *(1,) * (z.ndim - 1)), z.shape).ravel() for z in made]
    return np.concatenate([z.ravel() for z in made]), np.concatenate(rare)


def _mixture(numbers: Numbers, like: Mixture) -> Mixture | None:
    """The mixture at these numbers; None where they lead out of the floating range."""
    parts = like.components
    count = len(like.numbers("weights"))
    weights = np.exp(numbers[:count] - numbers[:count].max())
    at, given = count, {name: parts.given[name] for name in parts.given if name in _known(parts)}
    with np.errstate(all="ignore"):
        for name, x in _free(parts).items():
            constraint = type(parts).constraints[name]
            if isinstance(constraint, Definite):
                rows, columns = np.tril_indices(x.shape[-1])
                own = numbers[at : at + count * len(rows)].reshape(count, len(rows))
                at += own.size
                factor = np.zeros_like(x)
                diagonal = rows == columns
                factor[..., rows, columns] = np.where(diagonal, np.exp(np.where(diagonal, own, 0.0)), own)
                given[name] = factor @ np.swapaxes(factor, -1, -2)
                continue
            own = numbers[at : at + x.size].reshape(x.shape)
            at += x.size
            if constraint.met is positive.met:
                own = np.exp(own)
            elif constraint.met is probability.met:
                own = np.exp(-np.logaddexp(0.0, -own))
            given[name] = own
        try:
            return Mixture(type(parts)(**given), weights / weights.sum())
        except ValueError:  # no number, or no positive definite matrix, is left of it
            return None


def _free(parts: Any) -> dict[str, Numbers]:
    """The parameters that are not known, over the whole batch."""
    return {n: np.asarray(x, dtype=float) for n, x in parts.given.items() if n not in _known(parts)}


def _known(parts: Any) -> tuple[str, ...]:
    return tuple(getattr(type(parts), "known", ()))


__all__ = ["Acceleration"]
