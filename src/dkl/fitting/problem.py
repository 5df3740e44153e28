"""What is to be fitted to what, and the methods that can: each one decorated function.

A method is a function of a :class:`Problem` that returns a :class:`dkl.fitting.result.Fit`, or declines with the
reason (:func:`need`). It is registered with :func:`fitter` under the name that the field gives it; without ``method=``
the first that does not decline answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dkl._array import real_number
from dkl.divergences import Alpha, Divergence
from dkl.representations import Representation

if TYPE_CHECKING:
    from dkl.fitting.result import Fit

#: The order in which methods are tried when none is asked for.
METHODS = (
    "moment matching",
    "maximum likelihood",
    "expectation maximisation",
    "expectation propagation",
    "assumed density filtering",
    "coordinate ascent",
    "direct minimisation",
    "natural gradient",
    "stochastic gradient",
    "variational bound",
)

Fitter = Callable[["Problem"], "Fit"]

#: What more than one method needs, in the words of :func:`need`.
FORWARD = "minimises KL(target‖fit) alone"
REVERSE = "minimises KL(fit‖target) alone"


class DeclinedError(Exception):
    """A method is not for a problem; the text completes a sentence that begins with the method's name."""


class NothingFitsError(TypeError):
    """No method is for a problem.

    Attributes
    ----------
    problem : str
        What nothing fits.
    reasons : tuple of str
        Why each method declined, those that had the same reason together.
    """

    def __init__(self, problem: str, reasons: tuple[str, ...], advice: str = "") -> None:
        super().__init__(f"{problem}: {'; '.join(reasons)}{advice and f'; {advice}'}")
        self.problem, self.reasons = problem, reasons


def need(met: bool, otherwise: str) -> None:
    """Decline a problem, unless what the method needs is met.

    Parameters
    ----------
    met : bool
    otherwise : str
        Why it declines: a clause that follows the method's name, such as "is for normal families alone".

    Raises
    ------
    DeclinedError
        If it is not met.
    """
    if not met:
        raise DeclinedError(otherwise)


#: An option that every method may be given: those without steps have nothing to tell.
ANYWHERE = frozenset({"progress"})


@dataclass(frozen=True)
class Entry:
    """A registered way to fit: its method, the options that it takes, whether it takes a batch of targets at once."""

    method: str
    fit: Fitter
    takes: frozenset[str]
    batched: bool


_entries: list[Entry] = []


@dataclass(frozen=True)
class Problem:
    """A family, a target, a divergence from the target to the fit, and what was wished.

    Attributes
    ----------
    family : type or MixtureFamily
        The family whose member is sought.
    target : Representation
        A distribution, density, mixture, samples, counts, or a product of sites.
    divergence : Divergence
    known : mapping
        The parameters that the family keeps fixed.
    seed : int
        From which every random number of the fit follows.
    options : mapping
        What else was given to :func:`dkl.fit`, by name: each method takes its own, and the rest is an error.
    method : str or None
        The method that was asked for by its name; None if any may answer.
    """

    family: Any
    target: Representation
    divergence: Divergence
    known: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    method: str | None = None

    @property
    def forward(self) -> bool:
        """Whether it is KL(target‖fit) that is least."""
        return self.divergence.name == "kl" or self.alpha == 1.0

    @property
    def reverse(self) -> bool:
        """Whether it is KL(fit‖target)."""
        return self.divergence.name == "reverse_kl" or self.alpha == 0.0

    @property
    def alpha(self) -> float | None:
        """The order in Minka's convention, where the divergence is an α-divergence or a KL."""
        names = {"kl": 1.0, "reverse_kl": 0.0}
        if self.divergence.name in names:
            return names[self.divergence.name]
        if isinstance(self.divergence, Alpha):
            return float(self.divergence.order)
        return None

    def rng(self) -> np.random.Generator:
        """A generator that begins at the seed."""
        return np.random.default_rng(self.seed)

    def with_(self, **changes: Any) -> Self:
        """The same problem but for some of it."""
        return replace(self, **changes)

    def option(self, name: str, default: Any) -> Any:
        """What was wished under a name, or the default."""
        return self.options.get(name, default)


def fitter(method: str, *, takes: tuple[str, ...] = (), batched: bool = False) -> Callable[[Fitter], Fitter]:
    """Register the decorated function as a way to fit.

    Parameters
    ----------
    method : str
        One of ``METHODS``.
    takes : tuple of str
        The names of the options that it understands.
    batched : bool
        Whether it fits a batch of targets at once: then it must decline what a method before it takes. The others are
        given one target of a batch at a time.

    Raises
    ------
    ValueError
        If there is no such method.
    """
    if method not in METHODS:
        raise ValueError(f"method = {method!r} is not one of {', '.join(METHODS)}")

    def register(function: Fitter) -> Fitter:
        _entries.append(Entry(method, function, frozenset(takes) | ANYWHERE, batched))
        return function

    return register


def options_of(method: str | None) -> frozenset[str]:
    """The options that a method takes; those of all methods without one."""
    return ANYWHERE.union(*(entry.takes for entry in _entries if method in (None, entry.method)))


def candidates(method: str | None, options: Iterable[str] = ()) -> list[Entry]:
    """The ways to try, in their order: those of the method, if one is asked for, that take all the options given."""
    wanted = [entry for entry in _entries if method in (None, entry.method) and entry.takes.issuperset(options)]
    return sorted(wanted, key=lambda entry: METHODS.index(entry.method))


def name_of(family: Any) -> str:
    """The name of a family in a message."""
    return getattr(family, "__name__", repr(family))


def whole_number(value: Any, name: str, least: int = 1) -> int:
    """An option that is a whole number, checked."""
    number = real_number(value, name)
    if not number.is_integer() or number < least:
        raise ValueError(f"{name} = {value!r} must be a whole number of at least {least}")
    return int(number)
