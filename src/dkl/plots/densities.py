"""A pair of distributions of a number, and where their KL comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from dkl._array import to_numpy
from dkl.families.base import Distribution
from dkl.methods import measure
from dkl.plots.colours import CURRENT, REFERENCE
from dkl.supports import Integers, Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 2001
# What is drawn of each side: all but this share of its draws at either end.
_LEFT_OUT = 0.002
_DRAWS = 4000
_MOST_BARS = 400
_LONGEST = 50


def densities(
    p: Distribution, q: Distribution, *, names: tuple[str, str] = ("", ""), axes: Sequence[Axes] | None = None
) -> tuple[Axes, Axes]:
    """Draw two distributions of a number, and under them p·log(p/q), whose area is KL(P‖Q).

    Parameters
    ----------
    p, q : Distribution
        Single distributions of a number, continuous or of whole numbers.
    names
        What P and Q are, for the legend; long ones are cut.
    axes
        Two axes, for the densities and for what they add to KL; by default those of a new figure.

    Returns
    -------
    tuple of matplotlib.axes.Axes
        The two axes; ``axes[0].figure`` is their figure.

    Raises
    ------
    TypeError
        If a side is no distribution of a number.
    ValueError
        If a side is a batch, or there are not two axes.

    Notes
    -----
    What is drawn is where nearly all of both lies. Where p is positive and q is 0, the lower axes is shaded whole.

    Examples
    --------
    >>> import dkl
    >>> top, bottom = dkl.plots.densities(dkl.families.Normal(0, 1), dkl.families.Normal(1, 2))
    >>> bottom.get_title(loc="left")
    'p log(p/q), whose area is KL(P‖Q) = 0.4431 nats'
    """
    for name, side in (("p", p), ("q", q)):
        if not isinstance(side, Distribution) or not isinstance(side.support, Interval | Integers):
            raise TypeError(f"{name} = {side!r} is no distribution of a number: there is no axis to draw it on")
        if math.prod(side.batch_shape) != 1:
            raise ValueError(f"{name} is a batch of {math.prod(side.batch_shape)} distributions: draw them one by one")
    if axes is None:
        axes = Figure(figsize=(7, 5), layout="constrained").subplots(2, 1, height_ratios=(3, 2), sharex=True)
    if len(axes) != 2:
        raise ValueError(f"axes holds {len(axes)}: two are needed, for the densities and for what they add")
    top, bottom = axes
    x = _places(p, q)
    log_p, log_q = (_at(side, x) for side in (p, q))
    heights = np.exp(log_p), np.exp(log_q)
    inside = np.isfinite(log_p)
    both = inside & np.isfinite(log_q)
    terms = np.where(both, heights[0] * (np.where(both, log_p, 0.0) - np.where(both, log_q, 0.0)), np.nan)
    terms[~inside] = 0.0
    whole = isinstance(p.support, Integers)
    for height, colour, letter, name in zip(heights, (REFERENCE, CURRENT), ("P", "Q"), names, strict=True):
        label = f"{letter} = {_cut(name)}" if name else letter
        if whole:
            top.vlines(x + (0.15 if letter == "Q" else -0.15), 0, height, color=colour, linewidth=2, label=label)
        else:
            top.plot(x, height, color=colour, label=label)
            top.fill_between(x, height, color=colour, alpha=0.15, linewidth=0)
    for sign, colour in ((1, REFERENCE), (-1, CURRENT)):
        part = np.where(sign * terms > 0, terms, 0.0)
        if whole:
            bottom.vlines(x, 0, part, color=colour, linewidth=2)
        else:
            bottom.fill_between(x, part, color=colour, alpha=0.6, linewidth=0)
    if (inside & ~both).any():
        bottom.fill_between(
            x, 0, 1, where=inside & ~both, transform=bottom.get_xaxis_transform(), color="0.85", label="q = 0: infinite"
        )
        bottom.legend(frameon=False)
    bottom.axhline(0, color="0.3", linewidth=0.8)
    value = float(measure(p, q))
    size = "∞" if math.isinf(value) else f"{value:.4g}"
    bottom.set_title(
        f"p log(p/q), whose {'sum' if whole else 'area'} is KL(P‖Q) = {size} nats", loc="left", fontsize="medium"
    )
    top.set_ylabel("probability" if whole else "density")
    top.set_ylim(bottom=0)
    top.legend(frameon=False)
    bottom.set_xlabel("outcome")
    return top, bottom


def _cut(name: str) -> str:
    """A name that fits into the legend, its end kept; a dollar sign would begin mathematics."""
    half = (_LONGEST - 3) // 2
    return (name if len(name) <= _LONGEST else f"{name[:half]} … {name[-half:]}").replace("$", r"\$")


def _places(p: Distribution, q: Distribution) -> Any:
    """Where nearly all of both lies."""
    drawn = [to_numpy(side.sample(_DRAWS, rng=0)).reshape(-1) for side in (p, q)]
    low = min(float(np.quantile(x, _LEFT_OUT)) for x in drawn)
    high = max(float(np.quantile(x, 1 - _LEFT_OUT)) for x in drawn)
    if isinstance(p.support, Integers):
        step = max(1, math.ceil((high - low) / _MOST_BARS))
        return np.arange(math.floor(low), math.ceil(high) + 1, step, dtype=float)
    edge = 0.05 * (high - low)
    return np.linspace(low - edge, high + edge, _POINTS)


def _at(side: Distribution, x: Any) -> Any:
    shape = side.batch_shape
    given = side.xp.asarray(x.reshape(-1, *(1,) * len(shape))) if len(shape) else side.xp.asarray(x)
    return to_numpy(side.log_prob(given)).reshape(-1).astype(float)
