"""Make references.json: ``python -m tests.reference.make_references`` in the repository's root; about two minutes.

Each value is computed by mpmath with 80 digits from the very floats that are handed to dkl. What is computed is the sum
Σ q·f(p/q) with f'(1) = 0, of the entries as they are for probabilities and log-probabilities, and of the exactly
normalised entries for logits, counts and pairs of two kinds. The generators are written here once more, from their
textbook definitions and not from dkl's code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
from mpmath import mp, mpf

from .cases import FEW, MEMBERS, Case, cases

mp.dps = 80
TARGET = Path(__file__).with_name("references.json")
Generator = Callable[[mpf], mpf]


def _kl(t: mpf) -> mpf:
    return t * mp.log(t) - t + 1


def _reverse(t: mpf) -> mpf:
    return t - 1 - mp.log(t)


def _power(a: mpf) -> Generator:
    if a == 0:
        return _reverse
    if a == 1:
        return _kl
    return lambda t: (t**a - 1 - a * (t - 1)) / (a * (a - 1))


def _skew(w: mpf) -> Generator:
    def f(t: mpf) -> mpf:
        m = (1 - w) * t + w
        return t * mp.log(t / m) - t + m

    return f


def _js(w: mpf) -> Generator:
    def f(t: mpf) -> mpf:
        m = w * t + 1 - w
        return w * (t * mp.log(t / m) - t + m) + (1 - w) * (m - 1 - mp.log(m))

    return f


_INF = mp.inf
#: Name → f, lim f at 0, lim f(t)/t at infinity.
_READY: dict[str, tuple[Generator, Any, Any]] = {
    "kl": (_kl, 1, _INF),
    "reverse_kl": (_reverse, _INF, 1),
    "jeffreys": (lambda t: (t - 1) * mp.log(t), _INF, _INF),
    "js": (_js(mpf("0.5")), mp.log(2) / 2, mp.log(2) / 2),
    "tv": (lambda t: abs(t - 1) / 2, mpf("0.5"), mpf("0.5")),
    "squared_hellinger": (lambda t: (mp.sqrt(t) - 1) ** 2 / 2, mpf("0.5"), mpf("0.5")),
    "chi2": (lambda t: (t - 1) ** 2, 1, _INF),
    "neyman_chi2": (lambda t: (t - 1) ** 2 / t, _INF, 1),
    "triangular": (lambda t: (t - 1) ** 2 / (t + 1), 1, 1),
}


def _limits_of_power(a: mpf) -> tuple[Any, Any]:
    return (1 / a if a > 0 else _INF), (1 / (1 - a) if a < 1 else _INF)


def _sum(p: list[mpf], q: list[mpf], f: Generator, f_zero: Any, slope_inf: Any) -> mpf:
    terms = []
    for x, y in zip(p, q, strict=True):
        if x > 0 and y > 0:
            terms.append(y * f(x / y))
        elif x > 0:
            terms.append(x * slope_inf)
        elif y > 0:
            terms.append(y * f_zero)
    return mp.fsum(terms) if all(mp.isfinite(t) for t in terms) else _INF


def _tsallis(p: list[mpf], q: list[mpf], a: mpf) -> mpf:
    if a == 0:
        return mp.fsum(y for x, y in zip(p, q, strict=True) if x == 0)
    f = _power(a)
    return _sum(p, q, lambda t: a * f(t), *(a * limit for limit in _limits_of_power(a)))


def _renyi(p: list[mpf], q: list[mpf], a: mpf) -> mpf:
    if a == _INF:
        if any(x > 0 and y == 0 for x, y in zip(p, q, strict=True)):
            return _INF
        return max(mpf(0), mp.log(max(x / y for x, y in zip(p, q, strict=True) if x > 0)))
    tsallis = _tsallis(p, q, a)
    if a == 1 or tsallis == _INF:
        return tsallis
    inside = (a - 1) * tsallis
    if abs(inside) > 0.5:
        # Far from 0 what the entries' own sum lacks to 1 must not be mistaken for a power integral.
        integral = mp.fsum(x**a * y ** (1 - a) for x, y in zip(p, q, strict=True) if x > 0 and y > 0)
        return mp.log(integral) / (a - 1) if integral > 0 else _INF
    return mp.log1p(inside) / (a - 1)


def value(name: str, p: list[mpf], q: list[mpf]) -> mpf:
    """A member's value."""
    cls, parameter = MEMBERS[name]
    w = None if parameter is None else mpf(parameter)
    if cls in _READY:
        return _sum(p, q, *_READY[cls])
    if cls == "hellinger":
        return mp.sqrt(_sum(p, q, *_READY["squared_hellinger"]))
    if cls == "bhattacharyya":
        return _renyi(p, q, mpf("0.5")) / 2
    if cls == "JS":
        return _sum(p, q, _js(w), -(1 - w) * mp.log(1 - w), -w * mp.log(w))
    if cls == "SkewKL":
        return _sum(p, q, _skew(w), w, _INF if w == 1 else -mp.log(1 - w) - w)
    if cls == "Renyi":
        return _renyi(p, q, w)
    if cls == "Tsallis":
        return _tsallis(p, q, w)
    return _sum(p, q, _power(w), *_limits_of_power(w))


def read(case: Case) -> tuple[list[mpf], list[mpf]]:
    """The exact probabilities that the two sides stand for."""
    sides = []
    for kind, x in zip(case.kinds, (case.p, case.q), strict=True):
        weights = [mpf(float(v)) for v in x]
        if kind in ("log_probs", "logits"):
            top = max(weights) if kind == "logits" else 0
            weights = [mp.exp(v - top) if v > -_INF else mpf(0) for v in weights]
        if case.kinds[0] != case.kinds[1] or kind in ("logits", "counts"):
            total = mp.fsum(weights)
            weights = [v / total for v in weights]
        sides.append(weights)
    return sides[0], sides[1]


def _logs(x: np.ndarray) -> np.ndarray:
    """Correctly rounded logarithms."""
    return np.array([float(mp.log(mpf(float(v)))) if v > 0 else -np.inf for v in x]).astype(x.dtype)


def with_logs(case: Case) -> Case:
    """The case with the logarithms taken that it asks for."""
    if not case.take_logs:
        return case
    p, q = (
        _logs(x) if kind in ("log_probs", "logits") else x for kind, x in zip(case.kinds, (case.p, case.q), strict=True)
    )
    return Case(case.name, case.kinds, p, q)


def digest(case: Case) -> str:
    """What the inputs of a case that is not stored must hash to."""
    return hashlib.sha256(case.p.tobytes() + case.q.tobytes()).hexdigest()


def entry(case: Case) -> dict[str, Any]:
    """One case of references.json."""
    p, q = read(case)
    stored: dict[str, Any] = {"kinds": case.kinds, "dtype": case.p.dtype.name}
    if case.large:
        stored |= {"sha256": digest(case)}
    else:
        stored |= {"p": [float(v).hex() for v in case.p], "q": [float(v).hex() for v in case.q]}
    names = FEW if case.large else MEMBERS
    return stored | {"values": {name: text(value(name, p, q)) for name in names}}


def text(x: mpmath.mpf) -> str:
    """25 digits; an infinity in one spelling, which mpmath's own releases do not agree on."""
    return "inf" if x == mpmath.inf else mpmath.nstr(x, 25)


def main() -> None:
    """Write the file."""
    references = {case.name: entry(with_logs(case)) for case in cases()}
    TARGET.write_text(json.dumps(references, indent=0) + "\n")


if __name__ == "__main__":
    main()
