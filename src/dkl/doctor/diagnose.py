"""From a log to a diagnosis: read, name, infer, look for every cause."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dkl.doctor.case import Case, examined
from dkl.doctor.causes import load
from dkl.doctor.finding import Diagnosis, Finding
from dkl.doctor.inference import infer
from dkl.doctor.options import KEYWORDS, Options
from dkl.doctor.readers.columns import read_columns
from dkl.doctor.readers.gathering import Log, UnreadableLogError
from dkl.doctor.readers.opening import read, read_run, read_stream, runs
from dkl.doctor.roles import DECISIVE, assign, may_have_a_role, says_something
from dkl.doctor.series import Series

#: What a caller may know beside the log, and what it means.
KNOWN: Mapping[str, str] = {
    "beta": "the weight of the KL, where it is constant",
    "latent_dim": "how many latent dimensions there are",
    "data_dim": "how many numbers one sample has",
    "batch_size": "how many samples a step sees",
    "free_bits": "the floor of the KL, nats",
    "clamp": "the bounds of log σ², (low, high)",
    "reduction": "how the loss is reduced: 'sum', 'mean' or 'batchmean'",
    "kl_reduction": "how kl comes from its dimensions: 'sum' or 'mean'",
    "kl_is": "'raw', or 'weighted' where β is multiplied before it is logged",
    "data_eigenvalues": "the eigenvalues of the data's covariance",
    "data_covariance": "the data's covariance",
    "noise_variance": "the decoder's variance σ²",
    "target_kl": "the KL that is aimed at",
    "kl_bounds": "the bounds of an adaptive coefficient, (low, high)",
    "estimator": "of the KL logged: 'k1', 'k2', 'k3' or 'exact'",
    "unit": "of the KL logged: 'token' or 'sequence'",
    "kl_to": "whose KL is logged: to the 'reference' or to the 'old policy'",
    "response_length": "the mean number of tokens of a response",
    "policy_is_reference": "True where training starts from the reference itself, so that the first KL must be 0",
    "vocabulary": "how many tokens there are",
    "temperature": "by which logits are divided in distillation",
    "weight": "the share of the loss on the labels in distillation",
    "classes": "how many classes there are",
    "direction": "of the KL that distillation is meant to minimise: 'forward', KL(teacher‖student), or 'reverse'",
    "interpolation": "the teacher's share β in the mixture of a generalised JSD",
}
_CHOICES = {
    "reduction": ("sum", "mean", "batchmean"),
    "kl_reduction": ("sum", "mean"),
    "kl_is": ("raw", "weighted"),
    "estimator": ("k1", "k2", "k3", "exact"),
    "unit": ("token", "sequence"),
    "kl_to": ("reference", "old policy"),
    "policy_is_reference": (True, False),
    "direction": ("forward", "reverse"),
}
_PAIRS = ("clamp", "kl_bounds")
_ARRAYS = ("data_eigenvalues", "data_covariance")

# Fewer values than these say nothing of a course.
_ENOUGH = 3
# A pause so many times longer than the usual step between two entries is a gap.
_GAP = 20
# A series that ends before this share of the run has stopped being logged.
_ENDS_EARLY = 0.9


def diagnose(data: Any, *, kind: str | None = None, names: Mapping[str, str] | None = None, **known: Any) -> Diagnosis:
    """Look for what is wrong with the KL term of one training run.

    Parameters
    ----------
    data : path, mapping, data frame or Log
        A log file, a folder with one run, or ``"-"`` for standard input; a mapping of names to columns; a data frame
        of pandas, Polars or Arrow. See :func:`diagnose_all` for a folder of several runs.
    kind : {"vae", "policy", "distillation", "gan"}, optional
        What is trained; inferred from the names in the log without it.
    names : mapping of str to str, optional
        The series to take for a role, such as ``{"kl": "my_kl_term"}``; see :data:`dkl.doctor.roles.ROLES`.
    **known
        What is known beside the log, such as ``beta=4.0`` or ``target_kl=0.02``; see :data:`KNOWN`.

    Returns
    -------
    Diagnosis
        Findings with their evidence, the worst first; ``status`` is "cannot tell" where the log lacks what decides.

    Raises
    ------
    UnreadableLogError
        A `ValueError`: if the log cannot be read, or has no series that the doctor knows.
    ValueError
        If there are several runs, no such kind, role or series, or a known value that cannot be.
    TypeError
        If ``known`` has a name that is none, or ``data`` is nothing that can be read.

    Examples
    --------
    >>> log = {"step": [0, 100, 200], "loss": [9.1, 8.2, 8.0], "kl": [3.1, 4.2, 5.0]}
    >>> diagnosis = diagnose(log)
    >>> diagnosis.status
    'cannot tell'
    >>> print(diagnosis.statements[0])
    What is trained cannot be told from kl and loss; say kind=, one of 'vae', 'policy', 'distillation' and 'gan'.
    """
    checked(known)
    question = Question(kind, names or {}, known)
    if isinstance(data, Log):
        return question.diagnosis(data)
    if isinstance(data, str | os.PathLike):
        path = Path(data)
        if path.is_dir() and len(found := runs(path)) > 1:
            folders = ", ".join(str(folder) for folder in list(found)[:5])
            raise ValueError(
                f"{path} holds {len(found)} runs, such as {folders}: give one of them, or use diagnose_all"
            )
        return next(question.answers(data))[1]
    return question.diagnosis(read_columns(data, question.wanted))


def diagnose_all(
    path: str | os.PathLike[str],
    *,
    kind: str | None = None,
    names: Mapping[str, str] | None = None,
    unreadable: Callable[[str, Exception], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **known: Any,
) -> Iterator[tuple[str, Diagnosis]]:
    """Diagnose every run in a folder and below, one after the other.

    Parameters
    ----------
    path : path
        A folder of runs, or a log file.
    kind, names, **known
        As of :func:`diagnose`, for all runs.
    unreadable : callable, optional
        Called with the source and the error of a run in a folder that cannot be read, and the others go on; without
        it, the first such error ends them.
    progress : callable, optional
        Called as ``progress(done, total)`` with bytes while files are read.

    Yields
    ------
    source : str
        The run's folder or file.
    diagnosis : Diagnosis
    """
    checked(known)
    yield from Question(kind, names or {}, known).answers(path, unreadable, progress)


@dataclass(frozen=True)
class Question:
    """What is asked of a log.

    Attributes
    ----------
    kind : str or None
    names, known : mapping
        As of :func:`diagnose`.
    options : Options
        What messages call them.
    """

    kind: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, Any] = field(default_factory=dict)
    options: Options = KEYWORDS

    def wanted(self, name: str) -> bool:
        """Whether the series of a name is read."""
        return name in self.names.values() or may_have_a_role(name)

    def answers(
        self,
        path: str | os.PathLike[str],
        unreadable: Callable[[str, Exception], None] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[tuple[str, Diagnosis]]:
        """Each run of a path with its diagnosis: see :func:`diagnose_all`."""
        if path == "-":
            log = read_stream(sys.stdin.buffer, self.wanted)
            yield log.source, self.diagnosis(log)
            return
        path = Path(path)
        if not path.is_dir():
            log = next(read(path, self.wanted, _Passed([path], progress)))
            yield log.source, self.diagnosis(log)
            return
        found = runs(path)
        passed = _Passed([file for files in found.values() for file in files], progress)
        for folder, files in found.items():
            try:
                diagnosis = self.diagnosis(read_run(folder, files, self.wanted, passed))
            except (UnreadableLogError, OSError) as error:
                if unreadable is None:
                    raise
                unreadable(str(folder), error)
                continue
            yield str(folder), diagnosis

    def diagnosis(self, log: Log) -> Diagnosis:
        """What is to be said of a log."""
        assignment = assign(log.series, kind=self.kind, names=self.names, others=log.others, options=self.options)
        filled = [name for name, series in log.series.items() if len(series)]
        if log.series and not filled:
            raise UnreadableLogError(f"{log.source}: has no value of {', '.join(log.series)}")
        if not self.names and not says_something(filled, assignment.kind):
            have = [*filled, *log.others]
            shown = ", ".join(have[:12]) + (f" and {len(have) - 12} more" if len(have) > 12 else "")
            raise UnreadableLogError(
                f"{log.source}: no KL, and nothing else that belongs to one, is among its series"
                + (
                    f" ({shown}); say which is, such as {self.options.of_name('kl', have[0])}"
                    if have
                    else ": it has none"
                )
            )
        notes = [*log.notes, *_disorder(assignment.roles)]
        if assignment.kind is None:
            return Diagnosis(None, [], "cannot tell", assignment.statements, {}, assignment.roles, notes)
        case = Case(assignment.kind, assignment.roles, dict(self.known), assignment.statements)
        for name, value in assignment.facts.items():
            case.known.setdefault(name, value)
        infer(case)
        load()
        findings, missing = examined(case)
        status = _status(case, findings, notes)
        return Diagnosis(case.kind, findings, status, case.statements, missing, case.roles, notes)


def checked(known: Mapping[str, Any]) -> None:
    """Whether what is known can be: its names, and their values.

    Raises
    ------
    TypeError
        If there is nothing of that name to know.
    ValueError
        If a value is none that its name can have.
    """
    for name, value in known.items():
        if name not in KNOWN:
            close = get_close_matches(name, KNOWN, n=1, cutoff=0.5)
            meant = f"; do you mean {close[0]!r}?" if close else f"; there are {', '.join(KNOWN)}"
            raise TypeError(f"diagnose takes nothing named {name!r}{meant}")
        if name in _CHOICES:
            if value not in _CHOICES[name]:
                raise ValueError(f"{name}={value!r} is none of {', '.join(map(repr, _CHOICES[name]))}")
        elif name in _PAIRS:
            low, high = _numbers(name, value, (2,))
            if not low < high:
                raise ValueError(f"{name}={value!r}: the first bound must be below the second")
        elif name in _ARRAYS:
            _numbers(name, value, None)
        elif not _numbers(name, value, ()) >= 0:
            raise ValueError(f"{name}={value!r} is negative or NaN: {KNOWN[name]}")


def _numbers(name: str, value: Any, shape: tuple[int, ...] | None) -> Any:
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}={value!r} must be numbers: {KNOWN[name]}") from None
    if shape is not None and numbers.shape != shape:
        raise ValueError(f"{name}={value!r} must be {'two numbers' if shape else 'one number'}: {KNOWN[name]}")
    return numbers


class _Passed:
    """Counts the bytes of some files that have been read, and says so."""

    def __init__(self, files: list[Path], progress: Callable[[int, int], None] | None) -> None:
        self._progress, self._done = progress, 0
        self._total = 0 if progress is None else sum(file.stat().st_size for file in files)

    def __call__(self, count: int) -> None:
        if self._progress is not None:
            # A log that is still written may have grown meanwhile.
            self._done = min(self._done + count, self._total)
            self._progress(self._done, self._total)


def _status(case: Case, findings: list[Finding], notes: list[str]) -> Literal["findings", "healthy", "cannot tell"]:
    """What the findings, and what could not be looked at, come to; why nothing can be told is added to the notes."""
    if any(finding.severity != "note" for finding in findings):
        return "findings"
    decisive = [series for role in DECISIVE[case.kind] for series in _of(case, role)]
    if not decisive:
        notes.append(f"Nothing can be told without {' or '.join(DECISIVE[case.kind])}: log one of them.")
        return "cannot tell"
    longest = max(len(series.finite) for series in decisive)
    if longest < _ENOUGH:
        notes.append(f"Nothing can be told from {longest} values of {decisive[0].name!r}: log more of them.")
        return "cannot tell"
    for series in [*decisive, *_of(case, "loss")]:
        if len(series) and not np.isfinite(series.values[-1]):
            notes.append(f"{series.name!r} is not finite at its end, and these series do not tell why.")
            return "cannot tell"
    return "healthy"


def _of(case: Case, role: str) -> list[Series]:
    return [case[role]] if role in case else case.many(role)


def _disorder(roles: Mapping[str, Series]) -> list[str]:
    """What is out of order in the series that are used: restarts, duplicates, gaps, values that are not finite."""
    notes: dict[str, list[str]] = {}
    end = max((float(s.steps[-1]) for s in roles.values() if len(s)), default=0.0)
    for series in dict.fromkeys(roles.values()):
        for note in _out_of_order(series, end):
            notes.setdefault(note, []).append(series.name)
    return [f"{', '.join(dict.fromkeys(names))}: {note}" for note, names in notes.items()]


def _out_of_order(series: Series, end: float) -> Iterator[str]:
    if series.restarts:
        back = ", ".join(f"{step:g}" for step in series.restarts[:3]) + (", …" if len(series.restarts) > 3 else "")
        times = len(series.restarts)
        yield f"the log goes back {times} time{'s' * (times > 1)}, to step {back}; what was logged later counts"
    if series.duplicates:
        yield f"{series.duplicates:,} value{'s' * (series.duplicates > 1)} of a step logged before; the last one counts"
    broken = int((~np.isfinite(series.values)).sum())
    if broken:
        yield (
            f"NaN or infinite at {broken:,} of {len(series):,} steps, the first of them step {series.first_broken:g}"
        )
    pauses = np.diff(series.steps)
    if pauses.size >= _ENOUGH and pauses.max() > _GAP * np.median(pauses):
        at = int(np.argmax(pauses))
        yield f"nothing between steps {series.steps[at]:g} and {series.steps[at + 1]:g}"
    if len(series) >= _ENOUGH:
        first, last = float(series.steps[0]), float(series.steps[-1])
        usual = float(np.median(pauses))
        if last + _GAP * usual < end and last - first < _ENDS_EARLY * (end - first):
            yield f"last logged at step {last:g}, while the log goes on to {end:g}"
