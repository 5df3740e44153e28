"""A fit beside its target, with every other optimum and what it leaves out."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from dkl._array import to_numpy
from dkl.fitting import Fit
from dkl.fitting.dropped import IGNORED, LEAST
from dkl.fitting.points import Points, on_host, points
from dkl.fitting.words import described, direction, sampling_error, symbol
from dkl.methods.nodes import Numbers, heights
from dkl.mixture import Mixture
from dkl.plots.colours import CURRENT, REFERENCE
from dkl.representations import FiniteOutcomes, Samples
from dkl.supports import Integers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Vermilion is of the same set of colours as the two of every figure.
_IGNORED = "#D55E00"
_POINTS = 1501
_ACROSS = 161
_MOST_BARS = 400
_FEWEST_BINS, _MOST_BINS = 8, 100
_DRAWS = 4000
# A line shows what is higher than this share of a density's median height, and all but so much of its mass.
_LOW = 1 / 300
_LEFT_OUT = 0.02
# A peak so many times higher than nearly all else is taken for an infinite one, and cut.
_PEAK = 1e3
# The contours of a plane hold these shares of the mass, and the view all but so much at either end.
_SHARES = (0.95, 0.75, 0.5, 0.25)
_HELD = f"{', '.join(f'{100 * share:g}' for share in _SHARES[:0:-1])} and {100 * _SHARES[0]:g} %"
_EDGE = 0.002
# Letters in a line of the legend, and lines of one name.
_LONGEST, _LINES = 56, 6
# What a line of the legend takes of the height.
_HEADROOM = 0.06


@dataclass
class _Drawn:
    """One member to draw: how, and under what name."""

    member: Any
    label: str | None
    style: dict[str, Any]


def fit(fit: Fit, *, ax: Axes | None = None) -> Axes:
    """Draw a target, the member that was fitted to it, every other local optimum, and what the fit ignores.

    Parameters
    ----------
    fit : Fit
        As :func:`dkl.fit` returns it, of one target.
    ax : Axes, optional
        That of a new figure if not given.

    Returns
    -------
    matplotlib.axes.Axes
        ``ax.figure`` is its figure. The target is filled, and samples are a histogram; the best member is a thick line,
        the others are thin, and where no member is the best the one next to the boundary is dashed. The target is
        shaded where the fit has less than a hundredth of its density. In a plane both are contours, which hold 25,
        50, 75 and 95 % of the mass.

    Raises
    ------
    TypeError
        If ``fit`` is no fit, or its outcomes are neither numbers nor vectors of length 2.
    ValueError
        If the fit is of a batch, has no member to draw, or does not know its target.

    Examples
    --------
    >>> import dkl
    >>> target = dkl.Mixture([dkl.families.Normal(-3, 1), dkl.families.Normal(3, 1)], [0.5, 0.5])
    >>> ax = dkl.plots.fit(dkl.fit(dkl.families.Normal, target))
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['target', 'Normal(loc=0, scale=3.16228)']
    """
    if not isinstance(fit, Fit):
        raise TypeError(f"fit is a {type(fit).__name__} and no fit: give what dkl.fit returns")
    if getattr(fit.distribution, "batch_shape", ()):
        raise ValueError("the fit is of a batch of targets: fit and draw them one by one")
    members = list(_members(fit))
    if not members:
        raise ValueError(f"the fit has no member to draw: {fit.reason or f'{fit.method} has no one distribution'}")
    if fit.problem is None:
        raise ValueError(f"a fit by {fit.method} does not know its target, beside which it would be drawn")
    shape = tuple(members[-1].member.event_shape)
    if shape not in ((), (2,)):
        raise TypeError(f"outcomes of shape {shape} have no axes to be drawn on: numbers and vectors of length 2 do")
    seen = points(fit.problem.target, rng=fit.problem.seed)
    if ax is None:
        ax = Figure(figsize=(8, 4.5) if shape == () else (6, 6), layout="constrained").subplots()
    if shape:
        _in_a_plane(ax, fit, seen, members)
    else:
        _on_a_line(ax, fit, seen, members)
    said = symbol(fit.problem.divergence)
    if fit.divergence is not None and math.isfinite(float(fit.divergence)):
        said += f" = {float(fit.divergence):.4g} {fit.divergence.unit}".rstrip()
    ax.set_title(f"{said}, by {fit.method}\n{direction(fit.problem.divergence)}", loc="left", fontsize="medium")
    return ax


def _members(fit: Fit) -> Iterator[_Drawn]:
    """The others first, so that the best one lies above them."""
    if fit.distribution is None:
        if fit.boundary is not None and fit.boundary.near is not None:
            near = fit.boundary.near
            style = {"color": REFERENCE, "linewidth": 2.0, "linestyle": "--"}
            yield _Drawn(near, f"none is the best: infimum near {_named(described(near))}", style)
        return
    others = [one.distribution for one in fit.optima if one.distribution is not fit.distribution]
    for k, member in enumerate(others):
        label = None if k else "another optimum" if len(others) == 1 else f"{len(others)} other optima"
        yield _Drawn(member, label, {"color": CURRENT, "linewidth": 1.2, "linestyle": "-"})
    label = _named(described(fit.distribution, sampling_error(fit)))
    yield _Drawn(fit.distribution, label, {"color": REFERENCE, "linewidth": 2.5, "linestyle": "-"})


def _on_a_line(ax: Axes, fit: Fit, seen: Points, members: list[_Drawn]) -> None:
    assert fit.problem is not None  # by the caller
    target = fit.problem.target
    hosts = [on_host(one.member) for one in members]
    observed = isinstance(target, Samples)
    log_p = None if observed else _log_density(target, seen)
    low, high = _view(seen, None if log_p is None else log_p(seen.x), hosts)
    whole = isinstance(target, FiniteOutcomes) or isinstance(hosts[-1].support, Integers)
    if whole:
        low, high = math.floor(low) + 0.4, math.ceil(high) - 0.4
        x = np.arange(math.ceil(low), math.floor(high) + 1, max(1, math.ceil((high - low) / _MOST_BARS)), dtype=float)
        p = _shares(seen, x) if observed else np.exp(log_p(x))  # type: ignore[misc]
        ax.vlines(x, 0, p, color="0.7", linewidth=max(1.5, min(8.0, 240.0 / x.size)), label="target")
    else:
        nodes = seen.x[(seen.x >= low) & (seen.x <= high)] if not observed else np.empty(0)
        marks = [np.quantile(_draws(host), np.linspace(0, 1, 201)) for host in hosts]
        x = np.unique(np.concatenate([np.linspace(low, high, _POINTS), nodes, *marks]))
        x = x[(x >= low) & (x <= high)]
        if observed:
            kept = seen.x[(seen.x >= low) & (seen.x <= high)]
            share = seen.weights[(seen.x >= low) & (seen.x <= high)]
            p, edges = np.histogram(kept, _edges(kept, low, high), weights=share)
            p = p / np.diff(edges)
            ax.stairs(p, edges, fill=True, color="0.8", label=f"{seen.x.size:,} samples")
        else:
            with np.errstate(over="ignore"):
                p = np.exp(log_p(x))  # type: ignore[misc]
            ax.fill_between(x, p, color="0.85", linewidth=0, label="target")
            ax.plot(x, p, color="0.45", linewidth=1)
    tops = [_top(x, p) if p.size == x.size else float(p.max())]
    for one, host in zip(members, hosts, strict=True):
        with np.errstate(over="ignore"):
            q = np.exp(heights(host, x))
        tops.append(_top(x, q))
        if whole:
            ax.plot(x, q, marker="o", markersize=3, label=one.label, **one.style)
        else:
            ax.plot(x, q, label=one.label, **one.style)
    if log_p is not None and fit.distribution is not None:
        ignored = _ignored(log_p(x), heights(hosts[-1], x))
        mass = float(seen.weights @ _ignored(log_p(seen.x), heights(hosts[-1], seen.x)))
        if mass >= LEAST:
            label = f"ignored by the fit: {100 * mass:.3g} % of the target"
            if whole:
                ax.vlines(x[ignored], 0, p[ignored], color=_IGNORED, linewidth=2.0, label=label)
            else:
                ax.fill_between(x, p, where=ignored, color=_IGNORED, alpha=0.35, linewidth=0, label=label)
    _components(ax, fit.distribution, x, whole=whole)
    names = [label.count("\n") + 1 for label in ax.get_legend_handles_labels()[1]]
    half = math.ceil(len(names) / 2)
    ax.set_ylim(0, (1.1 + _HEADROOM * max(sum(names[:half]), sum(names[half:]))) * max(tops))
    ax.set_xlim(low, high)
    ax.set_xlabel("outcome")
    ax.set_ylabel("probability" if whole else "density")
    if whole:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(frameon=False, fontsize="small", ncols=2, loc="upper center")


def _in_a_plane(ax: Axes, fit: Fit, seen: Points, members: list[_Drawn]) -> None:
    assert fit.problem is not None  # by the caller
    target, hosts = fit.problem.target, [on_host(one.member) for one in members]
    clouds = [_draws(host) for host in hosts]
    edges = [_quantiles(seen.x[:, k], seen.weights, (_EDGE, 1 - _EDGE)) for k in range(2)]
    ends = [np.quantile(cloud, [_EDGE, 1 - _EDGE], axis=0) for cloud in clouds]
    low = np.array([min(edges[k][0], *(end[0, k] for end in ends)) for k in range(2)])
    high = np.array([max(edges[k][1], *(end[1, k] for end in ends)) for k in range(2)])
    edge = 0.08 * (high - low)
    grid = [np.linspace(low[k] - edge[k], high[k] + edge[k], _ACROSS) for k in range(2)]
    x = np.stack(np.meshgrid(*grid, indexing="xy"), axis=-1)
    handles: list[Any] = []
    if isinstance(target, Samples):
        size = float(np.clip(100 / math.sqrt(len(seen.x)), 1.5, 7.0))
        ax.plot(*seen.x.T, ".", color="0.5", markersize=size, alpha=0.6, markeredgewidth=0, zorder=0)
        handles.append(Line2D([], [], color="0.5", marker=".", linestyle="", label=f"{len(seen.x):,} samples"))
    else:
        log_p = _log_density(target, seen)
        on_grid, at_nodes = log_p(x), log_p(seen.x)
        order = np.argsort(-at_nodes)
        held = np.cumsum(seen.weights[order])
        levels = [float(at_nodes[order][min(np.searchsorted(held, share), held.size - 1)]) for share in _SHARES]
        greys = [str(grey) for grey in np.linspace(0.93, 0.7, len(levels))]
        ax.contourf(*grid, on_grid, levels=[*levels, math.inf], colors=greys)
        handles.append(Patch(color="0.8", label=f"target: areas that hold {_HELD} of its mass"))
        if fit.distribution is not None:
            ignored = _ignored(at_nodes, heights(hosts[-1], seen.x))
            mass = float(seen.weights @ ignored)
            if mass >= LEAST:
                where = _ignored(on_grid, heights(hosts[-1], x)) & (on_grid >= levels[0])
                ax.contourf(*grid, where.astype(float), levels=[0.5, 1.5], colors=[_IGNORED], alpha=0.35)
                label = f"ignored by the fit: {100 * mass:.3g} % of the target"
                handles.append(Patch(color=_IGNORED, alpha=0.35, label=label))
    for one, host, cloud in zip(members, hosts, clouds, strict=True):
        inside = np.quantile(heights(host, cloud), [1 - share for share in _SHARES])
        ax.contour(
            *grid, heights(host, x), levels=inside, colors=one.style["color"], linestyles=one.style["linestyle"],
            linewidths=0.7 * one.style["linewidth"],
        )  # fmt: skip
        if one.label:
            handles.append(Line2D([], [], label=one.label, **one.style))
    ax.set_xlabel("first component")
    ax.set_ylabel("second component")
    ax.legend(handles=handles, frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(0, -0.11))


def _log_density(target: Any, seen: Points) -> Any:
    """The logarithm of the target's density or probabilities, whose integral is 1, as a function."""
    if isinstance(target, FiniteOutcomes):
        shares = dict(zip(seen.x.tolist(), np.log(seen.weights).tolist(), strict=True))
        return lambda x: np.array([shares.get(each, -math.inf) for each in np.asarray(x).tolist()])
    host = on_host(target)
    return lambda x: heights(host, x) - seen.log_mass


def _shares(seen: Points, x: Numbers) -> Numbers:
    """Which part of the weights lies at each whole number."""
    made: Numbers = np.array([seen.weights[seen.x == each].sum() for each in x])
    return made


def _ignored(log_p: Numbers, log_q: Numbers) -> Any:
    return (log_q < log_p + math.log(IGNORED)) & (log_p > -math.inf)


def _view(seen: Points, log_p: Numbers | None, hosts: list[Any]) -> tuple[float, float]:
    """From where to where something is to be seen of the target and of every member."""
    ends = [_ends(seen.x, seen.weights, log_p)]
    for host in hosts:
        drawn = _draws(host)
        ends.append(_ends(drawn, np.full(drawn.size, 1.0 / drawn.size), heights(host, drawn)))
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    edge = 0.03 * (high - low) or 0.5
    return low - edge, high + edge


def _ends(x: Numbers, weights: Numbers, logs: Numbers | None) -> tuple[float, float]:
    if logs is None:
        low, high = _quantiles(x, weights, (_EDGE, 1 - _EDGE))
        return float(low), float(high)
    low, high = _quantiles(x, weights, (_LEFT_OUT, 1 - _LEFT_OUT))
    tall = x[logs > float(_quantiles(logs, weights, (0.5,))[0]) + math.log(_LOW)]
    return float(min(low, tall.min(initial=low))), float(max(high, tall.max(initial=high)))


def _quantiles(x: Numbers, weights: Numbers, shares: tuple[float, ...]) -> Numbers:
    order = np.argsort(x)
    held = np.cumsum(weights[order])
    made: Numbers = x[order][np.minimum(np.searchsorted(held, np.asarray(shares) * held[-1]), x.size - 1)]
    return made


def _draws(host: Any) -> Numbers:
    return np.asarray(to_numpy(host.sample(_DRAWS, rng=0)), dtype=float)


def _top(x: Numbers, height: Numbers) -> float:
    """The highest that is shown: of a density with an infinite peak not all of it."""
    finite = np.isfinite(height)
    even = np.interp(np.linspace(x[0], x[-1], _POINTS), x[finite], height[finite])
    top, usual = float(height[finite].max()), float(np.quantile(even, 0.98))
    if top > 0 and (not finite.all() or top > _PEAK * usual > 0):
        return min(top, 2 * usual)
    return top


def _edges(x: Numbers, low: float, high: float) -> Numbers:
    """The edges of a histogram's bins: enough for two peaks; of rounded numbers equally many in each."""
    count = int(np.clip(2 * math.sqrt(x.size), _FEWEST_BINS, _MOST_BINS))
    there = np.unique(x)
    if 1 < there.size < x.size / 2:
        step = float(np.diff(there).min())
        places = (there - there[0]) / step
        if np.abs(places - np.rint(places)).max() < 1e-3:
            width = step * max(1, round((high - low) / count / step))
            before = math.ceil((there[0] - low) / width)
            first = there[0] - 0.5 * step - before * width
            made: Numbers = first + width * np.arange(math.ceil((high - first) / width) + 1)
            return made
    return np.linspace(low, high, count + 1)


def _components(ax: Axes, member: Any, x: Numbers, *, whole: bool) -> None:
    """What each component adds to a mixture."""
    if not isinstance(member, Mixture) or whole:
        return
    weights = np.ravel(np.asarray(to_numpy(member.given["weights"]), dtype=float))
    for weight, part in zip(weights, member.each, strict=True):
        with np.errstate(over="ignore"):
            ax.plot(x, weight * np.exp(heights(on_host(part), x)), color=REFERENCE, linewidth=1.0, linestyle=":")


def _named(name: str) -> str:
    """A name in the lines of a legend; a dollar sign would begin mathematics."""
    parts = name.replace(" + ", "\n+ ").splitlines()
    lines = [line for part in parts for line in textwrap.wrap(part, _LONGEST, subsequent_indent="    ")]
    shown = lines if len(lines) <= _LINES else [*lines[: _LINES - 1], "…"]
    return "\n".join(shown).replace("$", r"\$")
