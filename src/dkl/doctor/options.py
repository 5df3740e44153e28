"""How a caller gives the doctor its options, for messages that say which one to give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """What messages call the options.

    Attributes
    ----------
    kind, names : str
        The options that say what is trained, and which series to take for a role.
    of_kind : callable
        How a kind is given.
    of_name : callable
        How the series of a role is given, by the role and the name.
    """

    kind: str
    names: str
    of_kind: Callable[[str], str]
    of_name: Callable[[str, str], str]


#: The keywords of `dkl.doctor.diagnose`.
KEYWORDS = Options("kind=", "names", lambda kind: f"kind={kind!r}", lambda role, name: f"names={{{role!r}: {name!r}}}")
