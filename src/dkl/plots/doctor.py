"""What the doctor found, on the course of the KL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from dkl.doctor import Diagnosis, Evidence, Finding, Series
from dkl.doctor.roles import DECISIVE
from dkl.doctor.words import is_logarithmic, summary
from dkl.plots.colours import CURRENT, REFERENCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LONGEST = 90
# Vermilion is of the same set of colours as the two of every figure.
_SEVERE = {"error": "#D55E00", "warning": CURRENT, "note": "0.6"}


def diagnosis(d: Diagnosis, *, ax: Axes | None = None) -> Axes:
    """Draw the KL of a training run, with the steps and the levels that the doctor's findings are about.

    Parameters
    ----------
    d : Diagnosis
        As :func:`dkl.doctor.diagnose` returns it.
    ax : Axes, optional
        That of a new figure if not given.

    Returns
    -------
    matplotlib.axes.Axes
        ``ax.figure`` is its figure. Spans are the findings' steps, dashed lines the levels to compare with, crosses
        along the bottom the steps at which the series is NaN or infinite.

    Raises
    ------
    TypeError
        If ``d`` is no diagnosis.
    ValueError
        If it has no series to draw: the log had none, or nothing but NaN.

    Notes
    -----
    Without a KL, the first series that decides in this kind of training is drawn, or else the loss, or any.

    Examples
    --------
    >>> import dkl
    >>> log = {"kl": [3.1, 4.2, 5.0], "beta": [1.0, 1.0, 1.0], "reconstruction": [9.0, 8.0, 7.0]}
    >>> dkl.plots.diagnosis(dkl.doctor.diagnose(log)).get_ylabel()
    'kl'
    """
    if not isinstance(d, Diagnosis):
        raise TypeError(f"d is a {type(d).__name__} and no diagnosis: give what dkl.doctor.diagnose returns")
    series = drawn_of(d)
    if series is None:
        raise ValueError("the diagnosis has no series with a finite value: there is nothing to draw")
    if ax is None:
        ax = Figure(figsize=(8, 4), layout="constrained").subplots()
    finite = series.finite
    ax.plot(series.steps, np.where(np.isfinite(series.values), series.values, np.nan), color=REFERENCE, linewidth=1.2)
    if len(finite) == 1:
        ax.plot(finite.steps, finite.values, "o", color=REFERENCE)
    broken = series.steps[~np.isfinite(series.values)]
    if broken.size:
        ax.plot(
            broken,
            np.zeros(broken.size),
            "x",
            color="0.2",
            transform=ax.get_xaxis_transform(),
            clip_on=False,
            label="NaN or infinite",
        )
    levels = set()
    for finding, evidence in _about(d, series):
        if evidence.steps is not None:
            label = f"{finding.severity}: {_plain(finding.name)}"
            ax.axvspan(*evidence.steps, color=_SEVERE[finding.severity], alpha=0.2, linewidth=0, label=label)
        if evidence.level is not None and np.isfinite(evidence.level[1]) and evidence.level not in levels:
            levels.add(evidence.level)
            ax.axhline(evidence.level[1], color="0.3", linestyle="--", linewidth=1, label=_plain(evidence.level[0]))
    if is_logarithmic(finite.values) and all(level > 0 for _, level in levels):
        ax.set_yscale("log")
    ax.set_xlabel("step")
    ax.set_ylabel(_plain(series.name))
    ax.set_title(_plain(summary(d)), loc="left", fontsize="medium")
    handles, labels = ax.get_legend_handles_labels()
    if labels:
        once = dict(zip(labels, handles, strict=True))
        ax.legend(list(once.values()), list(once), frameon=False, fontsize="small")
    return ax


def diagnoses(runs: list[tuple[str, Diagnosis]]) -> Figure:
    """Draw several runs below each other: each one's source, and what :func:`diagnosis` draws of it."""
    figure = Figure(figsize=(8, 3.6 * len(runs)), layout="constrained")
    for (source, d), ax in zip(runs, figure.subplots(len(runs), 1, squeeze=False)[:, 0], strict=True):
        diagnosis(d, ax=ax)
        ax.set_title(f"{_plain(source)}\n{ax.get_title(loc='left')}", loc="left", fontsize="medium")
    return figure


def drawn_of(d: Diagnosis) -> Series | None:
    """The series of a diagnosis that is drawn: the KL, what decides, the loss, any; None if there is none."""
    order = ["kl", *DECISIVE.get(d.kind or "", ()), "loss", *d.roles]
    return next((d.roles[role] for role in order if role in d.roles and len(d.roles[role].finite)), None)


def _about(d: Diagnosis, series: Series) -> Iterator[tuple[Finding, Evidence]]:
    """What is said of this series, or of the run as a whole."""
    for finding in d.findings:
        for evidence in finding.evidence:
            if not evidence.series or any(one.name == series.name for one in evidence.series):
                yield finding, evidence


def _plain(text: str) -> str:
    """Cut to what fits; a dollar sign would begin mathematics, and halves of letters cannot be drawn."""
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return text.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")
