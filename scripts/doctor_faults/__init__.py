"""The faults of which `scripts.make_doctor_runs` makes labelled runs, one kind of training a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from dkl.doctor import Fix
from dkl.doctor.case import CAUSES
from dkl.doctor.causes import load

#: A run as it was logged: the steps under "step", and each series by its name; NaN where it was NaN.
Columns = dict[str, np.ndarray[Any, Any]]

KINDS = ("vae", "policy", "distillation", "gan")


@dataclass(frozen=True)
class Criterion:
    """When a run counts as recovered: in words for the page, and as a look at its log."""

    text: str
    holds: Callable[[Columns], bool]


@dataclass(frozen=True)
class Remedy:
    """A change to the settings of a faulty run, tried on the same seeds.

    Attributes
    ----------
    text : str
        What is changed.
    settings : Any
        The faulty run's, with the change.
    fix : str, optional
        The first words of the `dkl.doctor.Fix` of the fault's cause that it tries, so that the run has to recover; None
        for what would not help.
    """

    text: str
    settings: Any
    fix: str | None = None


@dataclass(frozen=True)
class Fault:
    """One fault injected into an example, or none.

    Attributes
    ----------
    kind : {"vae", "policy", "distillation", "gan"}
    name : str
        Unique in its kind; the severity stands in it where there are several: ``"learning rate × 100"``.
    cause : str or None
        The name of the `dkl.doctor.Cause` that must come first; None for a healthy run.
    run : callable
        The example's ``run(settings, out)``, which writes ``out/metrics.jsonl``; a function of a module, so that other
        processes can be given it.
    settings : Any
        The example's frozen dataclass ``Settings``; ``seed`` is replaced by each of the seeds.
    seeds : sequence of int
        Even seeds are for tuning, odd seeds are held out.
    known : mapping
        What the user knows beside the log, for :func:`dkl.doctor.diagnose`.
    hidden : tuple of str
        Series that this user does not log, as patterns of `fnmatch`: ``"kl_per_dim/*"``.
    criterion : Criterion, optional
        When the run counts as recovered.
    remedies : tuple of Remedy
        What is tried on it.
    """

    kind: str
    name: str
    cause: str | None
    run: Callable[[Any, Path], Any]
    settings: Any
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    known: Mapping[str, Any] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    criterion: Criterion | None = None
    remedies: tuple[Remedy, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.name}: kind={self.kind!r} is none of {', '.join(KINDS)}")
        if self.remedies and self.criterion is None:
            raise ValueError(f"{self.name}: remedies need a criterion that says when a run has recovered")


def faults(kind: str) -> tuple[Fault, ...]:
    """All faults of one kind of training: the ``FAULTS`` of its file in this package.

    Raises
    ------
    ValueError
        If a name is there twice, a kind is another, or a remedy tries no fix of its fault's cause, or several.
    """
    found: tuple[Fault, ...] = tuple(import_module(f"{__name__}.{kind}").FAULTS)
    names = [fault.name for fault in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice or any(fault.kind != kind for fault in found):
        raise ValueError(f"faults of {kind}: every name once, and every kind {kind!r}; twice: {sorted(twice)}")
    for fault in found:
        for remedy in fault.remedies:
            if remedy.fix is not None:
                tried(fault, remedy.fix)
    return found


def tried(fault: Fault, words: str) -> Fix:
    """The fix of a fault's cause that begins with these words.

    Raises
    ------
    ValueError
        If none does, or several.
    """
    load()
    fixes = [fix for known, _ in CAUSES if (known.kind, known.name) == (fault.kind, fault.cause) for fix in known.fixes]
    found = [fix for fix in fixes if fix.text.startswith(words)]
    if len(found) != 1:
        listed = "; ".join(repr(fix.text) for fix in found or fixes)
        raise ValueError(
            f"{fault.name}: {words!r} begins {len(found)} fixes of {fault.cause or 'a healthy run'}, and must begin "
            f"one of {listed or 'none'}"
        )
    return found[0]
