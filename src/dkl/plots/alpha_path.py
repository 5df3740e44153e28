"""The optima of the α-divergence as α runs: the mean of each, and its standard deviation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dkl._array import to_numpy
from dkl.fitting import Optimum
from dkl.fitting.direct.coordinates import distance
from dkl.fitting.direct.path import Path
from dkl.methods.nodes import Numbers
from dkl.plots.colours import CURRENT, REFERENCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Optima of neighbouring α that lie further apart, in units of their own, are of different branches.
_BRANCH = 1.5
# What is said of a jump stands to the left of it where there is no more room to the right, from this share on.
_FAR = 0.85

Branch = list[tuple[float, Any]]


def alpha_path(path: Path, *, ax: Axes | None = None) -> Axes:
    """Draw the optima of the α-divergence as α runs: the mean of each, and its standard deviation around it.

    Parameters
    ----------
    path : Path
        As :meth:`dkl.fitting.Fit.path` returns it.
    ax : Axes, optional
        That of a new figure if not given.

    Returns
    -------
    matplotlib.axes.Axes
        ``ax.figure`` is its figure. The best optimum is a thick line in a band of one standard deviation to either
        side, every other branch is thin between dotted lines; a dashed line is an α at which the best one jumps.

    Raises
    ------
    TypeError
        If ``path`` is no path, or its outcomes are vectors.
    ValueError
        If there is nothing to draw: no optimum has a mean and a variance.

    Examples
    --------
    >>> import dkl
    >>> target = dkl.Mixture([dkl.families.Normal(-3, 1), dkl.families.Normal(3, 1)], [0.5, 0.5])
    >>> path = dkl.fit(dkl.families.Normal, target, starts=4).path([0.0, 0.2])
    >>> [text.get_text() for text in dkl.plots.alpha_path(path).texts]
    ['α* = 0.1149']
    """
    if not isinstance(path, Path):
        raise TypeError(f"path is a {type(path).__name__} and no path: give what Fit.path returns")
    found = [optimum.distribution for each in path.optima for optimum in each]
    if any(member.event_ndim for member in found):
        raise TypeError("the path is one of vectors, and only numbers have one mean and one standard deviation to draw")
    if not any(np.isfinite(_moments(member)).all() for member in found):
        raise ValueError("no optimum on the path has a mean and a variance: there is nothing to draw")
    if ax is None:
        ax = Figure(figsize=(8, 4.5), layout="constrained").subplots()
    for branch in _branches(path):
        x, mean, sd = _course(branch)
        ax.plot(x, mean, color=CURRENT, linewidth=1.2, marker=_dot(x), markersize=4)
        for edge in (mean - sd, mean + sd):
            ax.plot(x, edge, color=CURRENT, linewidth=0.9, linestyle=":", marker=_dot(x), markersize=1)
    for branch in _best(path):
        x, mean, sd = _course(branch)
        ax.plot(x, mean, color=REFERENCE, linewidth=2.5, marker=_dot(x), markersize=5)
        ax.fill_between(x, mean - sd, mean + sd, color=REFERENCE, alpha=0.18, linewidth=0)
    for jump in path.jumps:
        ax.axvline(jump.alpha, color="0.3", linestyle="--", linewidth=1)
        left = jump.alpha > path.alphas[0] + _FAR * (path.alphas[-1] - path.alphas[0])
        ax.annotate(
            f"α* = {jump.alpha:.4g}", (jump.alpha, 1), xycoords=ax.get_xaxis_transform(), textcoords="offset points",
            xytext=(-4 if left else 4, -4), ha="right" if left else "left", va="top", fontsize="small",
        )  # fmt: skip
    for alpha, one in zip(path.alphas, path.fits, strict=True):
        if not one.optima:
            ax.plot(alpha, 0.0, "x", color="0.3", transform=ax.get_xaxis_transform(), clip_on=False)
    label = "best optimum"
    handles: list[Any] = [Line2D([], [], color=REFERENCE, linewidth=2.5, label=label)]
    if any(len(each) > 1 for each in path.optima):
        handles.append(Line2D([], [], color=CURRENT, linewidth=1.2, label="other optima"))
    if not all(path.optima):
        handles.append(Line2D([], [], color="0.3", marker="x", linestyle="", label="no member is the best"))
    ax.margins(y=0.12)
    ax.legend(handles=handles, frameon=False, fontsize="small", ncols=len(handles), loc="lower right")
    ax.set_xlim(path.alphas[0], path.alphas[-1])
    ax.set_title("Optima of D_α(target‖fit)", loc="left", fontsize="medium")
    ax.set_xlabel("α, from seeking a mode (0) to covering the target (1)")
    ax.set_ylabel("outcome: mean ± standard deviation")
    return ax


def _branches(path: Path) -> list[Branch]:
    """The optima of neighbouring α joined, where each is the nearest to the other."""
    done: list[Branch] = []
    growing: list[Branch] = []
    for alpha, optima in zip(path.alphas, path.optima, strict=True):
        pairs = sorted(
            (distance(branch[-1][1], one.distribution), b, o)
            for b, branch in enumerate(growing)
            for o, one in enumerate(optima)
        )
        joined: dict[int, int] = {}
        for apart, b, o in pairs:
            if apart < _BRANCH and o not in joined and b not in joined.values():
                joined[o] = b
        kept = set(joined.values())
        done += [branch for b, branch in enumerate(growing) if b not in kept]
        growing = [_grown(growing, joined.get(o), alpha, one) for o, one in enumerate(optima)]
    return done + growing


def _grown(growing: list[Branch], at: int | None, alpha: float, optimum: Optimum) -> Branch:
    return [*(growing[at] if at is not None else []), (alpha, optimum.distribution)]


def _best(path: Path) -> list[Branch]:
    """The best optimum from jump to jump, up to each; a step as long as between branches is not joined either."""
    made: list[Branch] = [[]]
    jumps = list(path.jumps)
    for alpha, optima in zip(path.alphas, path.optima, strict=True):
        while jumps and jumps[0].alpha <= alpha:
            jump = jumps.pop(0)
            made[-1].append((jump.alpha, jump.before))
            made.append([(jump.alpha, jump.after)])
        if optima:
            best = optima[0].distribution
            if made[-1] and distance(made[-1][-1][1], best) >= _BRANCH:
                made.append([])
            made[-1].append((alpha, best))
        elif made[-1]:
            made.append([])
    return [branch for branch in made if branch]


def _moments(member: Any) -> tuple[float, float]:
    with np.errstate(all="ignore"):
        return float(to_numpy(member.mean())), float(np.sqrt(to_numpy(member.var())))


def _course(branch: Branch) -> tuple[Numbers, Numbers, Numbers]:
    """The α of a branch, its means, and its standard deviations."""
    mean, sd = np.array([_moments(member) for _, member in branch]).T
    return np.array([alpha for alpha, _ in branch]), mean, sd


def _dot(x: Numbers) -> str | None:
    """A marker for what is a point and no line."""
    return "o" if x.size == 1 else None
