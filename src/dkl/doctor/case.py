"""A run as the causes see it: series by their role, what is known beside the log, and the causes' own registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dkl.doctor.finding import Cause, Evidence, Finding, Fix, Severity
from dkl.doctor.series import Series


@dataclass
class Case:
    """One run to look at.

    Attributes
    ----------
    kind : str
        ``"vae"``, ``"policy"``, ``"distillation"`` or ``"gan"``.
    roles : dict of str to Series
        By what they are, whatever the log calls them: see :mod:`dkl.doctor.roles`.
    known : dict
        What the caller knows: ``beta``, ``target_kl``, ``latent_dim``, ``data_dim``, …: see `dkl.doctor.KNOWN`.
    statements : list of str
        What was inferred on the way, for the report.
    """

    kind: str
    roles: dict[str, Series]
    known: dict[str, Any] = field(default_factory=dict)
    statements: list[str] = field(default_factory=list)

    def __contains__(self, role: str) -> bool:
        return role in self.roles

    def __getitem__(self, role: str) -> Series:
        return self.roles[role]

    def many(self, prefix: str) -> list[Series]:
        """The series of a role that comes once for each dimension, such as ``kl_dim/0``, in their order."""
        found = [(int(role.rpartition("/")[2]), s) for role, s in self.roles.items() if role.startswith(prefix + "/")]
        return [s for _, s in sorted(found, key=lambda pair: pair[0])]


@dataclass(frozen=True)
class Symptom:
    """What a look at a case found: how bad, how sure, by what evidence."""

    severity: Severity
    confidence: float
    evidence: tuple[Evidence, ...]
    fixes: tuple[Fix, ...] = ()


Look = Callable[[Case], Symptom | None]

#: Every cause, with the function that looks for it.
CAUSES: list[tuple[Cause, Look]] = []


def cause(known: Cause) -> Callable[[Look], Look]:
    """Register the function that looks for a cause; two of one name are an error."""
    if any(known.name == other.name and known.kind == other.kind for other, _ in CAUSES):
        raise ValueError(f"the cause {known.name!r} of {known.kind} is registered already")

    def register(look: Look) -> Look:
        CAUSES.append((known, look))
        return look

    return register


def examined(case: Case) -> tuple[list[Finding], dict[str, list[str]]]:
    """Look for every cause of the case's kind: what was found, the worst first, and what lacked its series."""
    findings, missing = [], {}
    for known, look in CAUSES:
        if known.kind != case.kind:
            continue
        lacking = [role for role in known.needs if role not in case and not case.many(role)]
        if lacking:
            missing[known.name] = lacking
            continue
        symptom = look(case)
        if symptom is not None:
            findings.append(Finding(known, symptom.severity, symptom.confidence, symptom.evidence, symptom.fixes))
    rank = {"error": 2, "warning": 1, "note": 0}
    findings.sort(key=lambda f: (-rank[f.severity], -f.confidence))
    return findings, missing
