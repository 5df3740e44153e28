"""Fits in words: divergences between the target and the fit, and members to the digits that are known."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from dkl._array import to_numpy
from dkl.divergences import Alpha, Divergence
from dkl.families.constraints import real
from dkl.families.matrices import vector
from dkl.fitting.result import Fit
from dkl.mixture import Mixture
from dkl.representations import Counts, Samples

# Of an array of parameters only the first are told.
_ENTRIES = 6
# To how many digits a parameter is told that no sampling blurs; below so much of its unit it is 0.
_DIGITS = 6
_NOTHING = 1e-6


def symbol(divergence: Divergence) -> str:
    """A divergence's symbol, with the target and the fit for P and Q.

    Examples
    --------
    >>> import dkl
    >>> from dkl.fitting.words import symbol
    >>> symbol(dkl.reverse_kl)
    'KL(fit‖target)'
    """
    return translated(divergence.symbol)


def direction(divergence: Divergence) -> str:
    """What a divergence makes of a fit.

    Examples
    --------
    >>> import dkl
    >>> from dkl.fitting.words import direction
    >>> direction(dkl.reverse_kl), direction(dkl.Alpha(0.5))
    ('seeks a mode', 'between seeking a mode (α = 0) and covering the target (α = 1)')
    """
    order = {"kl": 1.0, "reverse_kl": 0.0}.get(divergence.name)
    if isinstance(divergence, Alpha):
        order = float(divergence.order)
    if order is None:
        return translated(divergence.direction)
    if order in (0.0, 1.0):
        return "covers the target" if order else "seeks a mode"
    if 0 < order < 1:
        return "between seeking a mode (α = 0) and covering the target (α = 1)"
    return "seeks a mode, more than at α = 0" if order < 0 else "covers the target, more than at α = 1"


def translated(text: str) -> str:
    """What is said of P and Q, said of the target and the fit.

    Examples
    --------
    >>> from dkl.fitting.words import translated
    >>> translated("KL(P‖Q) is infinite: P lives where Q does not")
    'KL(target‖fit) is infinite: the target lives where the fit does not'
    """
    names = {"P": "target", "Q": "fit"}
    text = re.sub(r"\b(P|Q)(‖|, )(P|Q)\b", lambda m: f"{names[m[1]]}{m[2]}{names[m[3]]}", text)
    return re.sub(r"\b(P|Q)\b", lambda m: f"the {names[m[1]]}", text)


def described(member: Any, error: float = 0.0) -> str:
    """A distribution by its parameters, to the digits that are known; a mixture as a sum.

    Parameters
    ----------
    member : Distribution
    error : float
        How well locations are known, in standard deviations of an outcome, and everything else relative to itself: with
        n observations about 1/√n. 0 if nothing was sampled.

    Returns
    -------
    str

    Examples
    --------
    >>> from dkl.families import Normal
    >>> from dkl.fitting.words import described
    >>> described(Normal(1e-15, 2.743769309)), described(Normal(1.23456, 2.7437), error=0.01)
    ('Normal(loc=0, scale=2.74377)', 'Normal(loc=1.23, scale=2.74)')
    """
    if isinstance(member, Mixture):
        weights = np.ravel(np.asarray(to_numpy(member.parameters["weights"]), dtype=float))
        parts = [
            f"{_number(float(weight), 1.0, error)}*{described(each, error)}"
            for weight, each in zip(weights, member.each, strict=True)
        ]
        return " + ".join(parts)
    return f"{type(member).__name__}({', '.join(f'{n}={x}' for n, x in parameters(member, error).items())})"


def parameters(member: Any, error: float = 0.0) -> dict[str, str]:
    """Each parameter of a distribution as text; see :func:`described`."""
    made = {}
    for name, given in member.given.items():
        known = name in getattr(type(member), "known", ())
        values = np.asarray(to_numpy(given), dtype=float)
        if type(member).constraints.get(name) in (real, vector):
            unit = _spread(member)
        else:
            unit = np.abs(values).max(initial=0.0)
        made[name] = _listed(values, np.broadcast_to(unit, values.shape), 0.0 if known else error)
    return made


def sampling_error(fit: Fit) -> float:
    """How well a fit is known, as :func:`described` takes it: 1/√n of n observations, and 0 of any other target."""
    target = None if fit.problem is None else fit.problem.target
    if isinstance(target, Samples):
        return float(1.0 / math.sqrt(to_numpy(target.array).shape[0]))
    if isinstance(target, Counts):
        return float(1.0 / math.sqrt(to_numpy(target.array).sum()))
    return 0.0


def _spread(member: Any) -> Any:
    """The standard deviation of an outcome, or of each of its components: the unit of a location; 1 without one."""
    try:
        with np.errstate(all="ignore"):
            size = np.sqrt(np.asarray(to_numpy(member.var()), dtype=float))
    except NotImplementedError:
        return 1.0
    return np.where(np.isfinite(size) & (size > 0), size, 1.0)


def _listed(values: Any, units: Any, error: float) -> str:
    if values.ndim == 0:
        return _number(float(values), float(units), error)
    shown = [_listed(x, unit, error) for x, unit in zip(values[:_ENTRIES], units[:_ENTRIES], strict=True)]
    return f"[{', '.join(shown)}{', …' if len(values) > _ENTRIES else ''}]"


def _number(x: float, unit: float, error: float) -> str:
    """A number in the digits that matter beside its unit."""
    if abs(x) < _NOTHING * unit:
        return "0"
    if not error > 0 or not unit > 0:
        return f"{x:.{_DIGITS}g}"
    places = -math.floor(math.log10(error * unit))
    return f"{round(x, places):.{max(0, places)}f}"
