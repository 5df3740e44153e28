"""Why is my KL exploding, collapsing, negative or stuck? Logs of training runs read, and their causes found.

>>> import dkl
>>> log = {"step": range(0, 1000, 100), "beta": [1.0] * 10, "kl_loss": [5.0] * 10, "reconstruction_loss": [90.0] * 10}
>>> dkl.doctor.diagnose(log).kind
'vae'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dkl.doctor.diagnose import KNOWN, diagnose, diagnose_all
from dkl.doctor.finding import Cause, Check, Diagnosis, Evidence, Finding, Fix
from dkl.doctor.readers.gathering import Log, UnreadableLogError
from dkl.doctor.roles import ROLES
from dkl.doctor.series import Series

if TYPE_CHECKING:
    from dkl.doctor.watch import DoctorWarning as DoctorWarning
    from dkl.doctor.watch import Watch as Watch

__all__ = [
    "KNOWN",
    "ROLES",
    "Cause",
    "Check",
    "Diagnosis",
    "DoctorWarning",
    "Evidence",
    "Finding",
    "Fix",
    "Log",
    "Series",
    "UnreadableLogError",
    "Watch",
    "diagnose",
    "diagnose_all",
]


def __getattr__(name: str) -> Any:
    # Watching needs PyTorch; reading a log does not.
    if name in ("DoctorWarning", "Watch"):
        return getattr(import_module("dkl.doctor.watch"), name)
    raise AttributeError(f"module 'dkl.doctor' has no attribute {name!r}")
