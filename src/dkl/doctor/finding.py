"""What the doctor says: findings with their evidence, cause and fixes, and the diagnosis that holds them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from dkl.doctor.series import Series

Severity = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")


@dataclass(frozen=True)
class Evidence:
    """One observation: what was seen, in words with its numbers, and the series and steps where."""

    text: str
    series: tuple[Series, ...] = ()
    #: The steps to look at, first and last; None for the whole run.
    steps: tuple[float, float] | None = None
    #: A level to compare with: its name and value, drawn as a line.
    level: tuple[str, float] | None = None


@dataclass(frozen=True)
class Advice:
    """One thing to do: in words, and as code."""

    text: str
    code: str = ""


@dataclass(frozen=True)
class Fix(Advice):
    """A change to how a run is trained or logged, of which the run recovers."""


@dataclass(frozen=True)
class Check(Advice):
    """A look that makes sure of a cause, or finds its place, and changes nothing."""


@dataclass(frozen=True)
class Cause:
    """What can be wrong: everything that does not depend on the run.

    Attributes
    ----------
    name : str
        Short and lower-case, as people call it: ``"posterior collapse by design"``.
    kind : {"vae", "policy", "distillation", "gan"}
        Of which training it is a cause.
    because : str
        The cause in two sentences.
    fixes : tuple of Fix
        In order of preference: each recovers a run.
    not_helping : tuple of str
        What would not help, or treats the symptom, with the reason.
    reference : str
        Where it is described.
    needs : tuple of str
        The roles without which it cannot be told.
    checks : tuple of Check
        What to look at to be sure, or to find the place.
    """

    name: str
    kind: str
    because: str
    fixes: tuple[Fix, ...]
    not_helping: tuple[str, ...]
    reference: str
    needs: tuple[str, ...]
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class Finding:
    """A cause found in a run: how bad, how sure, and by what evidence."""

    cause: Cause
    severity: Severity
    #: How sure, between 0 and 1; the report says it in words.
    confidence: float
    evidence: tuple[Evidence, ...]
    #: What of the cause's fixes fits this run better, if anything: replaces them.
    fixes: tuple[Fix, ...] = ()

    def __post_init__(self) -> None:
        if not self.evidence:
            raise ValueError(f"{self.cause.name}: no finding without evidence")

    @property
    def name(self) -> str:
        """The cause's name."""
        return self.cause.name

    @property
    def sure(self) -> str:
        """How sure, in words."""
        return "almost certain" if self.confidence >= 0.9 else "likely" if self.confidence >= 0.6 else "possible"


@dataclass(frozen=True)
class Diagnosis:
    """The doctor's answer.

    Attributes
    ----------
    kind : str or None
        What is trained, as far as the series tell.
    findings : list of Finding
        The most likely cause first.
    status : {"findings", "healthy", "cannot tell"}
    statements : list of str
        What was inferred and is relied on: units, reductions, which series was taken for what.
    missing : dict of str to list of str
        The causes that could not be looked for, each with the roles that the log lacks.
    roles : dict of str to Series
        The series that was taken for each role.
    notes : list of str
        What was out of order in the log: gaps, restarts, NaN, what could not be read.
    """

    kind: str | None
    findings: list[Finding]
    status: Literal["findings", "healthy", "cannot tell"]
    statements: list[str]
    missing: dict[str, list[str]]
    roles: dict[str, Series]
    notes: list[str] = field(default_factory=list)

    @property
    def worst(self) -> Severity | None:
        """The severest finding's severity."""
        return max((f.severity for f in self.findings), key=SEVERITIES.index, default=None)

    def to_dict(self) -> dict[str, Any]:
        """A form that JSON can hold."""
        return {
            "kind": self.kind,
            "status": self.status,
            "findings": [
                {
                    "name": f.name,
                    "severity": f.severity,
                    "confidence": f.confidence,
                    "sure": f.sure,
                    "evidence": [
                        {"text": e.text, "series": [s.name for s in e.series], "steps": e.steps and list(e.steps)}
                        for e in f.evidence
                    ],
                    "cause": f.cause.because,
                    "fixes": [{"text": x.text, "code": x.code} for x in f.fixes or f.cause.fixes],
                    "checks": [{"text": x.text, "code": x.code} for x in f.cause.checks],
                    "not_helping": list(f.cause.not_helping),
                    "reference": f.cause.reference,
                }
                for f in self.findings
            ],
            "statements": self.statements,
            "missing": self.missing,
            "roles": {role: series.name for role, series in self.roles.items()},
            "notes": self.notes,
        }
