"""What is right: each member and its gradient in extended precision, by forms in which nothing cancels.

The truth is that of the very floats that the contestants are given: of the exactly normalised entries for
probabilities, of their softmax for logits. It is computed in `numpy.longdouble`, which on x86 has 64 bits of mantissa
(ε = 1.1e-19); the tests hold it to mpmath. It shares no code with dkl.

With L = log(p/q), everything is a sum of terms of one sign:

- KL = Σ p φ(−L), φ(u) = eᵘ − 1 − u;
- JS = ½ Σ p φ(log m/p) + ½ Σ q φ(log m/q), log m/p = log1p(expm1(−L)/2);
- TV = ½ Σ q |expm1(L)|;  Rényi(2) = log1p(Σ q expm1(L)²);  Hellinger² = ½ Σ q expm1(L/2)².
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .work import Array, Pair

Wide = npt.NDArray[np.longdouble]

#: What the truth itself is right to.
EPSILON = float(np.finfo(np.longdouble).eps)
#: An answer with a larger relative error than this is called wrong: it does not have three digits.
WRONG = 1e-3

#: Of how many entries the truth is computed, at least three rows; and how many of a row's derivatives are compared.
_ENTRIES = 100_000
_ROWS = 1000
_COLUMNS = 131_072


@dataclass(frozen=True, eq=False)
class Truth:
    """The right answer on some rows of a pair, chosen by seed.

    Parameters
    ----------
    given
        What the pair holds, ``"probabilities"`` or ``"logits"``.
    rows, columns
        Which rows are compared, and which outcomes of their gradients.
    value
        Of each such row.
    gradient
        By P's entries and by Q's, of each such row and column.
    """

    given: str
    rows: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp]
    value: Wide
    gradient: tuple[Wide, Wide]

    def value_error(self, value: Array) -> float:
        """Return the largest relative error of any row; infinite if one is NaN."""
        answer = np.atleast_1d(value)[self.rows].astype(np.longdouble)
        return _largest(np.abs(answer - self.value) / np.abs(self.value))

    def gradient_error(self, gradient: Iterable[Array]) -> float:
        """Return the largest error of any row's gradient, in the Euclidean norm and relative to the gradient's own.

        In probabilities, a constant added to all derivatives of a row is no error: whoever keeps the sum at 1 cannot
        see it, and Σ p log(p/q) differs by one from Σ p log(p/q) − p + q.
        """
        largest = 0.0
        for answers, right in zip(gradient, self.gradient, strict=True):
            answer = np.atleast_2d(answers)[np.ix_(self.rows, self.columns)].astype(np.longdouble)
            if self.given == "probabilities":
                answer, right = _centred(answer), _centred(right)
            error = np.sqrt(np.sum((answer - right) ** 2, axis=-1) / np.sum(right**2, axis=-1))
            largest = max(largest, _largest(error))
        return largest


def _largest(errors: Wide) -> float:
    return math.inf if np.isnan(errors).any() else float(errors.max())


def _centred(x: Wide) -> Wide:
    return np.asarray(x - x.mean(axis=-1, keepdims=True))


def truths(pair: Pair, x: Array, y: Array, members: Iterable[str]) -> dict[str, Truth]:
    """Compute the truth of each member on the same rows of one pair.

    Parameters
    ----------
    pair
        What the arrays hold.
    x, y
        Its arrays.
    members
        Names from `work.MEMBERS`.
    """
    rng = np.random.default_rng([pair.rows, pair.outcomes])
    count = min(pair.rows, _ROWS, max(3, _ENTRIES // pair.outcomes))
    rows = np.sort(rng.choice(pair.rows, count, replace=False))
    columns = np.sort(rng.choice(pair.outcomes, min(pair.outcomes, _COLUMNS), replace=False))
    a, b = (np.atleast_2d(side)[rows].astype(np.longdouble) for side in (x, y))
    p, q, ratio = _from_logits(a, b) if pair.given == "logits" else _from_probabilities(a, b)
    found = {}
    for member in members:
        value, by_p, by_q = _MEMBERS[member](p, q, ratio)
        if pair.given == "logits":
            by_p, by_q = _through_softmax(p, by_p), _through_softmax(q, by_q)
        found[member] = Truth(pair.given, rows, columns, value, (by_p[:, columns], by_q[:, columns]))
    return found


def _from_probabilities(a: Wide, b: Wide) -> tuple[Wide, Wide, Wide]:
    """Normalise; the log-ratio is that of the entries less that of their sums, each from an exact difference."""
    difference, total = a - b, _sum(b)
    ratio = np.log1p(difference / b) - np.log1p(_sum(difference) / total)
    return a / _sum(a), b / total, ratio


def _from_logits(a: Wide, b: Wide) -> tuple[Wide, Wide, Wide]:
    """Take softmaxes; with d = a − b and u = E_P d − d, the log-ratio is log E_P eᵘ − u."""
    p = np.exp(a - a.max(axis=-1, keepdims=True))
    p = p / _sum(p)
    q = np.exp(b - b.max(axis=-1, keepdims=True))
    difference = a - b
    u = _sum(p * difference) - difference
    return p, q / _sum(q), np.log1p(_sum(p * _phi(u))) - u


def _sum(x: Wide) -> Wide:
    return np.asarray(x.sum(axis=-1, keepdims=True))


def _phi(u: Wide) -> Wide:
    """Return eᵘ − 1 − u, near 0 by its series."""
    far = np.expm1(u) - u
    near = np.abs(u) < 0.5
    small = u[near]
    series: Wide = np.zeros_like(small)
    for k in range(19, 1, -1):
        series = np.divide(series * small + 1, np.longdouble(k))  # Horner: u²/2! + u³/3! + … = u (… (1/3)) (1/2) …
    far[near] = series * small**2
    return far


def _through_softmax(p: Wide, by_p: Wide) -> Wide:
    return np.asarray(p * (by_p - _sum(p * by_p)))


Answer = tuple[Wide, Wide, Wide]


def _kl(p: Wide, q: Wide, ratio: Wide) -> Answer:
    return np.sum(p * _phi(-ratio), axis=-1), ratio, -np.exp(ratio)


def _js(p: Wide, q: Wide, ratio: Wide) -> Answer:
    from_p: Wide = np.log1p(np.expm1(-ratio) / 2)  # log(m/p)
    from_q: Wide = np.log1p(np.expm1(ratio) / 2)
    return np.sum(p * _phi(from_p) + q * _phi(from_q), axis=-1) / 2, -from_p / 2, -from_q / 2


def _tv(p: Wide, q: Wide, ratio: Wide) -> Answer:
    # The kink at p = q is met by no draw of the seeds in use; a tie would show as an error of about 1/√outcomes.
    sign: Wide = np.sign(ratio) * np.longdouble(0.5)
    return np.sum(q * np.abs(np.expm1(ratio)), axis=-1) / 2, sign, -sign


def _renyi2(p: Wide, q: Wide, ratio: Wide) -> Answer:
    chi2 = _sum(q * np.expm1(ratio) ** 2)
    return np.log1p(chi2[:, 0]), 2 * np.exp(ratio) / (1 + chi2), -np.exp(2 * ratio) / (1 + chi2)


def _hellinger(p: Wide, q: Wide, ratio: Wide) -> Answer:
    h = np.sqrt(_sum(q * np.expm1(ratio / 2) ** 2) / 2)
    return h[:, 0], -np.exp(-ratio / 2) / (4 * h), -np.exp(ratio / 2) / (4 * h)


_MEMBERS: dict[str, Callable[[Wide, Wide, Wide], Answer]] = {
    "kl": _kl,
    "js": _js,
    "tv": _tv,
    "renyi2": _renyi2,
    "hellinger": _hellinger,
}
