"""Who computes what: (divergence, type of P, type of Q, method) → the function that measures it.

A rule is registered with :func:`rule` and found by the classes of its divergence and of both sides, the most specific
first. A key may be a class or its qualified name as a string, so that a rule for another library's objects does not
import that library. dkl's own rules and those of the entry points ``dkl.rules`` are loaded at the first measurement.
"""

from __future__ import annotations

import importlib
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from dkl._array import real_number
from dkl.estimate import Estimate
from dkl.representations import FiniteOutcomes, Representation, interpret, readers

# The order in which methods are tried when none is asked for.
METHODS = ("closed_form", "exact", "quadrature", "search", "monte_carlo", "estimator")

_UNITS: dict[float, str] = {2: "bits", math.e: "nats"}

Key = type | str
Measurement = Callable[..., Estimate | None]


@dataclass(frozen=True)
class Rule:
    """A function and the pairs it measures."""

    divergence: Key
    p: Key
    q: Key
    method: str
    measure: Measurement

    def __str__(self) -> str:
        return f"{self.method}: {_label(self.divergence)}({_label(self.p)}, {_label(self.q)})"


_rules: list[Rule] = []
_loaded: list[bool] = []
_loading = threading.RLock()
# What was found before. A dictionary and not functools.cache, through which torch.compile cannot see.
_found: dict[tuple[str, type, type, type, str | None], tuple[Measurement, ...]] = {}


def rule(divergence: Key, p: Key, q: Key, method: str) -> Callable[[Measurement], Measurement]:
    """Register the decorated function as the way to measure ``divergence`` between a ``p`` and a ``q``.

    Parameters
    ----------
    divergence : type or str
        A class of divergences, or the name of one member such as ``"kl"``; a name goes before a class.
    p, q : type or str
        Classes, or qualified names such as ``"torch.distributions.normal.Normal"``.
    method : str
        One of ``METHODS``.

    Raises
    ------
    ValueError
        If the method is unknown, the rule exists, or another rule makes the choice between the two ambiguous.
    """
    if method not in METHODS:
        raise ValueError(f"method = {method!r} is not one of {', '.join(METHODS)}")

    def register(measure: Measurement) -> Measurement:
        new = Rule(divergence, p, q, method, measure)
        for old in _rules:
            if (_name(old.divergence), old.method) != (_name(divergence), method):
                continue
            if (_name(old.p), _name(old.q)) == (_name(p), _name(q)):
                raise ValueError(f"a rule for {new} is registered already")
            if _crosses(old, new) and not any(_meets(r, old, new) for r in _rules):
                raise ValueError(
                    f"{new} and {old} both match some pairs and neither is the more specific: register first the rule "
                    "for the narrower type on each side"
                )
        _rules.append(new)
        _found.clear()
        return measure

    return register


def _crosses(old: Rule, new: Rule) -> bool:
    return (_below(old.p, new.p) and _below(new.q, old.q)) or (_below(new.p, old.p) and _below(old.q, new.q))


def _meets(candidate: Rule, one: Rule, other: Rule) -> bool:
    narrow_p = one.p if _below(one.p, other.p) else other.p
    narrow_q = one.q if _below(one.q, other.q) else other.q
    same = (candidate.divergence, candidate.method) == (one.divergence, one.method)
    return same and (candidate.p, candidate.q) == (narrow_p, narrow_q)


def _below(narrow: Key, wide: Key) -> bool:
    return isinstance(narrow, type) and isinstance(wide, type) and narrow is not wide and issubclass(narrow, wide)


def find(name: str, divergence: type, p: type, q: type, method: str | None = None) -> tuple[Measurement, ...]:
    """The functions for a pair, by the order of ``METHODS`` or by the one method asked for.

    The first that does not decline, by returning None, answers.

    Raises
    ------
    ValueError
        If there is no such method.
    TypeError
        If no rule fits; the message says what was tried.
    """
    key = (name, divergence, p, q, method)
    if key not in _found:
        load()
        _found[key] = _search(*key)
    return _found[key]


def _search(name: str, divergence: type, p: type, q: type, method: str | None) -> tuple[Measurement, ...]:
    wanted = METHODS if method is None else (method,)
    if method is not None and method not in METHODS:
        raise ValueError(f"method = {method!r} is not one of {', '.join(METHODS)}")
    found: list[Measurement] = []
    for m in wanted:
        for d in (name, *_keys(divergence)):
            ranked = sorted(
                (
                    (_rank(r.p, p) + _rank(r.q, q), r)
                    for r in _rules
                    if (r.divergence, r.method) == (d, m) and _fits(r, p, q)
                ),
                key=lambda pair: pair[0],
            )
            found += [r.measure for _, r in ranked]
    if found:
        return tuple(found)
    raise TypeError(_nothing(name, divergence, p, q, method))


def _nothing(name: str, divergence: type, p: type, q: type, method: str | None) -> str:
    wanted = METHODS if method is None else (method,)
    names = (name, *_keys(divergence))
    near = [r for r in _rules if r.method in wanted and r.divergence in names and (r.p in _keys(p) or r.q in _keys(q))]
    tried = sorted(map(str, near))
    if len(tried) > _SHOWN:
        tried = [*tried[:_SHOWN], f"and {len(tried) - _SHOWN} more"]
    said = f"nothing measures {name} between a {p.__name__} and a {q.__name__}"
    said += f" by method {method!r}" if method else ""
    said += f"; tried {'; '.join(tried) or 'nothing: no rule is registered for it'}"
    sides = {p.__name__, q.__name__}
    if "Samples" in sides:
        said += "; dkl.compare and dkl.wasserstein take samples, and from_mean_parameters of a family fits a member"
    elif len(sides & _LISTS) == 1:
        said += "; an array holds the probabilities of a list of outcomes: samples would be dkl.Samples(x)"
    return said


# So many rules are named that were tried.
_SHOWN = 6
_LISTS = {"Probs", "LogProbs", "Logits", "Counts"}


def evaluate(
    divergence: Any, p: Any, q: Any, *, base: float | None = None, method: str | None = None, **options: Any
) -> Estimate:
    """Measure by the rule that fits, and express the answer in the unit asked for."""
    load()
    nats, unit = _unit(divergence, base)
    one, other = interpret(p).called("p"), interpret(q).called("q")
    one.hold_against(other)
    left, right = _as_lists(one, other)
    key = (divergence.name, type(divergence), type(left), type(right), method)
    for measurement in find(*key):
        estimate = measurement(divergence, left, right, **options)
        if estimate is not None:
            return estimate if unit == estimate.unit else estimate.rescaled(nats, unit)
    raise TypeError(_nothing(*key))


def _as_lists(p: Representation, q: Representation) -> tuple[Representation, Representation]:
    """Both as lists of outcomes if both are such, else both as they are.

    Two distributions that list different numbers of outcomes stay what they are: each knows that it has no mass on the
    other's further ones, while two arrays of different lengths are a mistake.
    """
    left, right = p.measured_as(), q.measured_as()
    if not (isinstance(left, FiniteOutcomes) and isinstance(right, FiniteOutcomes)):
        return p, q
    named = left is not p and right is not q
    return (p, q) if named and left.array.shape[-1] != right.array.shape[-1] else (left, right)


def unit_of(base: Any) -> tuple[float, str]:
    """The size in nats, and the name, of the unit that a base of the logarithm stands for."""
    if base is None:
        return 1.0, "nats"
    size = real_number(base, "base")
    if not 1 < size < math.inf:
        raise ValueError(f"base = {size:g} is no base of a logarithm here: give a number above 1, such as 2 for bits")
    return math.log(size), _UNITS.get(size, f"base-{size:g} units")


def _unit(divergence: Any, base: float | None) -> tuple[float, str]:
    if base is not None and not divergence.unit:
        raise ValueError(f"base = {base!r} does not apply: {divergence.name} is a pure number, not made of logarithms")
    return unit_of(base) if divergence.unit else (1.0, "")


def _name(key: Key) -> str:
    return key if isinstance(key, str) else f"{key.__module__}.{key.__qualname__}"


def _keys(cls: type) -> tuple[Key, ...]:
    return tuple(key for base in cls.__mro__ for key in (base, _name(base)))


def _rank(key: Key, cls: type) -> int:
    return _keys(cls).index(key)


def _fits(r: Rule, p: type, q: type) -> bool:
    return r.p in _keys(p) and r.q in _keys(q)


def load() -> None:
    """Register dkl's own rules and those of the entry points; once."""
    if _loaded:
        return
    with _loading:
        _load_once()


def _load_once() -> None:
    if _loaded:
        return
    # By name: the rules stand on the divergences and the representations, which stand on this registry.
    importlib.import_module("dkl.methods")
    readers.append(importlib.import_module("dkl.adapters").adapted)
    for point in entry_points(group="dkl.rules"):
        point.load()
    _loaded.append(True)


def _label(key: Key) -> str:
    return key if isinstance(key, str) else key.__name__
