"""What one divergence tells of the others: rigorous intervals from published inequalities.

Each inequality bounds one member by a monotone function of another. Starting from what is known, they are applied over
and over until no interval shrinks, so a bound may pass through several members (KL bounds TV, and TV bounds JS).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

from dkl import divergences
from dkl._array import as_array, namespace_of, to_numpy
from dkl.divergences import Divergence, Renyi

Curve = Callable[[float], float]
# The largest number whose exponential is a float.
_LARGEST = math.log(sys.float_info.max)


@dataclass(frozen=True)
class Interval:
    """Where a divergence must lie, in nats where it has a unit, and by which inequality.

    Attributes
    ----------
    lower, upper : float
        The ends; equal if the value is known.
    lower_by, upper_by : str
        The inequality that gives each end; ``"range"`` for the ends of the divergence's own range.
    """

    lower: float
    upper: float
    lower_by: str = "range"
    upper_by: str = "range"

    def __contains__(self, value: float) -> bool:
        return self.lower <= value <= self.upper


class Bounds(Mapping[str, Interval]):
    """Intervals by the divergence's name; printed as a table."""

    def __init__(self, intervals: Mapping[str, Interval]) -> None:
        self._intervals = dict(intervals)

    def __getitem__(self, name: str) -> Interval:
        return self._intervals[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._intervals)

    def __len__(self) -> int:
        return len(self._intervals)

    def __repr__(self) -> str:
        return "\n".join(
            f"{name:<18} [{i.lower:.6g}, {i.upper:.6g}]  {i.lower_by} | {i.upper_by}" for name, i in self.items()
        )


@dataclass(frozen=True)
class Inequality:
    """``lower(source) ≤ target ≤ upper(source)``, both curves non-decreasing."""

    source: str
    target: str
    reference: str
    lower: Curve | None = None
    upper: Curve | None = None


def _expm1(x: float) -> float:
    return math.expm1(x) if x < _LARGEST else math.inf


def _least_expm1(x: float) -> float:
    """exp(x) − 1, but no more than the largest float where it exceeds that: a lower bound must not overflow."""
    return math.expm1(x) if x < _LARGEST else math.inf if x == math.inf else sys.float_info.max


def _surely(t: float) -> float:
    """−log(1 − t), inf at 1."""
    return -math.log1p(-t) if t < 1 else math.inf


def _js_from_tv(t: float) -> float:
    """The least JS for a total variation: that of ((1 + t)/2, (1 − t)/2) and its mirror image."""
    if t < 0.1:  # where the two logarithms cancel: Σ t^(2k)/(2k·(2k − 1))
        return sum(t ** (2 * k) / (2 * k * (2 * k - 1)) for k in range(8, 0, -1))
    return 0.5 * ((1 + t) * math.log1p(t) + ((1 - t) * math.log1p(-t) if t < 1 else 0.0))


def _tv_from_js(js: float) -> float:
    """The inverse; t²/2 ≤ JS ≤ t²·log 2 brackets it."""
    from scipy.optimize import brentq

    low, high = math.sqrt(js / math.log(2)) * (1 - 1e-12), math.sqrt(2 * js) * (1 + 1e-12)
    if js == 0 or low >= 1:
        return float(js > 0)
    return float(brentq(lambda t: _js_from_tv(t) - js, low, min(high, 1.0), xtol=1e-15 * low, rtol=1e-14))


PINSKER = "Pinsker"
BRETAGNOLLE_HUBER = "Bretagnolle-Huber"
LE_CAM = "Le Cam (Hellinger-TV)"
GIBBS_SU = "Gibbs-Su (KL-χ²)"
VAN_ERVEN = "van Erven-Harremoës (Rényi in its order)"
TOPSOE = "Topsøe (triangular)"
LIN = "Lin (JS-TV)"
TANEJA = "Taneja (JS-Hellinger-Jeffreys)"
FANO = "Fano (JS-TV)"
GILARDONI = "Gilardoni (f-divergence-TV)"
DEFINITION = "definition"

#: Where each is found. Every interval that ``bounds`` returns names one of these.
REFERENCES = {
    PINSKER: "M. Pinsker (1964); I. Csiszár (1967); with the constant 1/2 in A. Tsybakov, Introduction to "
    "Nonparametric Estimation (2009), Lemma 2.5",
    BRETAGNOLLE_HUBER: "J. Bretagnolle, C. Huber (1979); Tsybakov (2009), Lemma 2.6",
    LE_CAM: "C. Kraft (1955); L. Le Cam (1973); Tsybakov (2009), Lemma 2.3",
    GIBBS_SU: "A. Gibbs, F. Su, On choosing and bounding probability metrics (2002), Theorem 5",
    VAN_ERVEN: "T. van Erven, P. Harremoës (2014), Theorems 3 and 16",
    TOPSOE: "F. Topsøe (2000), inequalities for the triangular and the capacitory discrimination; L. Le Cam (1986)",
    LIN: "J. Lin (1991), Theorem 3",
    TANEJA: "I. Taneja, Refinement inequalities among symmetric divergence measures (2005): Δ/4 ≤ JS ≤ H² ≤ J/8",
    FANO: "JS = log 2 − H(Y|X) for a fair Y and the error rate (1 − TV)/2, with Fano's inequality",
    GILARDONI: "G. Gilardoni, On the minimum f-divergence for given total variation (2006)",
    DEFINITION: "one is a function of the other",
}


def _exact(one: str, other: str, forth: Curve, back: Curve) -> list[Inequality]:
    return [
        Inequality(one, other, DEFINITION, forth, forth),
        Inequality(other, one, DEFINITION, back, back),
    ]


def _towards(kl: str, chi2: str) -> list[Inequality]:
    """What TV, Hellinger and χ² say of the KL in one direction; the other direction reads the same."""
    return [
        Inequality(kl, "tv", PINSKER, upper=lambda k: math.sqrt(k) * math.sqrt(0.5)),
        Inequality("tv", kl, PINSKER, lower=lambda t: 2 * t * t),
        Inequality(kl, "tv", BRETAGNOLLE_HUBER, upper=lambda k: math.sqrt(-math.expm1(-k))),
        Inequality("tv", kl, BRETAGNOLLE_HUBER, lower=lambda t: _surely(t * t)),
        Inequality(kl, "bhattacharyya", VAN_ERVEN, upper=lambda k: k / 2),
        Inequality("bhattacharyya", kl, VAN_ERVEN, lower=lambda b: 2 * b),
        Inequality(chi2, kl, GIBBS_SU, upper=math.log1p),
        Inequality(kl, chi2, GIBBS_SU, lower=_least_expm1),
        Inequality(
            chi2, "tv", GILARDONI, upper=lambda c: math.sqrt(c) / 2 if c <= 1 else c / (1 + c) if c < math.inf else 1.0
        ),
        Inequality(
            "tv", chi2, GILARDONI, lower=lambda t: 4 * t * t if t <= 0.5 else t / (1 - t) if t < 1 else math.inf
        ),
        Inequality(kl, "jeffreys", DEFINITION, lower=lambda k: k),
        Inequality("jeffreys", kl, DEFINITION, upper=lambda j: j),
    ]


INEQUALITIES: tuple[Inequality, ...] = (
    *_exact("squared_hellinger", "hellinger", math.sqrt, lambda h: h * h),
    *_exact("squared_hellinger", "bhattacharyya", _surely, lambda b: -math.expm1(-b)),
    *_exact("bhattacharyya", "renyi(0.5)", lambda b: 2 * b, lambda d: d / 2),
    *_exact("kl", "renyi(1)", lambda k: k, lambda d: d),
    Inequality("chi2", "renyi(2)", DEFINITION, math.log1p, math.log1p),
    Inequality("renyi(2)", "chi2", DEFINITION, _least_expm1, _expm1),
    *_towards("kl", "chi2"),
    *_towards("reverse_kl", "neyman_chi2"),
    Inequality("squared_hellinger", "tv", LE_CAM, lambda h: h, lambda h: math.sqrt(h * (2 - h))),
    Inequality("tv", "squared_hellinger", LE_CAM, lambda t: t * t / (1 + math.sqrt(1 - t * t)), lambda t: t),
    Inequality("triangular", "squared_hellinger", TOPSOE, lambda d: d / 4, lambda d: d / 2),
    Inequality("squared_hellinger", "triangular", TOPSOE, lambda h: 2 * h, lambda h: 4 * h),
    Inequality("triangular", "tv", TOPSOE, lambda d: d / 2, lambda d: math.sqrt(d) * math.sqrt(0.5)),
    Inequality("tv", "triangular", TOPSOE, lambda t: 2 * t * t, lambda t: 2 * t),
    Inequality("triangular", "js", TOPSOE, lambda d: d / 4, lambda d: math.log(2) / 2 * d),
    Inequality("js", "triangular", TOPSOE, lambda j: 2 / math.log(2) * j, lambda j: 4 * j),
    Inequality("tv", "js", LIN, upper=lambda t: t * math.log(2)),
    Inequality("js", "tv", LIN, lower=lambda j: j / math.log(2)),
    Inequality("tv", "js", FANO, lower=_js_from_tv),
    Inequality("js", "tv", FANO, upper=_tv_from_js),
    Inequality("squared_hellinger", "js", TANEJA, upper=lambda h: h),
    Inequality("js", "squared_hellinger", TANEJA, lower=lambda j: j),
    Inequality("jeffreys", "squared_hellinger", TANEJA, upper=lambda j: j / 8),
    Inequality("squared_hellinger", "jeffreys", TANEJA, lower=lambda h: 8 * h),
    Inequality("tv", "jeffreys", GILARDONI, lower=lambda t: 2 * t * (math.log1p(t) + _surely(t))),
)


def _renyi_order_pair(a: float, b: float) -> list[Inequality]:
    """Between the Rényi divergences of orders a < b."""
    low, high = Renyi(a).name, Renyi(b).name
    rising = [
        Inequality(low, high, VAN_ERVEN, lower=lambda d: d),
        Inequality(high, low, VAN_ERVEN, upper=lambda d: d),
    ]
    if not 0 < a < b < 1:
        return rising
    factor = a * (1 - b) / (b * (1 - a))
    return [
        *rising,
        Inequality(high, low, VAN_ERVEN, lower=lambda d: factor * d),
        Inequality(low, high, VAN_ERVEN, upper=lambda d: d / factor),
    ]


_SLACK = 8 * math.ulp(1.0)

_MEMBERS: dict[str, Divergence] = {d.name: d for d in (*divergences.FAMILY, Renyi(0.5), Renyi(1), Renyi(2))}


def bounds(known: Mapping[Divergence, float] | None = None, /, **named: float) -> Bounds:
    """Where the other divergences of a pair must lie, given the value of one or several.

    Parameters
    ----------
    known : mapping, optional
        Values by divergence, for members with a parameter: ``{dkl.Renyi(3): 0.2}``.
    **named : float
        Values by name, in nats: ``kl=0.1``, ``tv=0.3``, ``hellinger=…``, ``squared_hellinger=…``, ``bhattacharyya=…``,
        ``reverse_kl=…``, ``jeffreys=…``, ``js=…``, ``chi2=…``, ``neyman_chi2=…``, ``triangular=…``.

    Returns
    -------
    Bounds
        A mapping from each name, those of ``Renyi(0.5)``, ``Renyi(1)``, ``Renyi(2)`` and every order given included, to
        an ``Interval`` with ``lower``, ``upper`` and the inequality behind each (``dkl.inequalities.REFERENCES``). They
        hold for every pair of distributions with those values; they are not always the tightest that do.

    Raises
    ------
    ValueError
        For a value outside its divergence's range, or values that no pair can have together.
    TypeError
        For an unknown name, or a member that the inequalities do not cover.

    Notes
    -----
    Given values and every step are widened by 8 units in the last place, so that rounding cannot make a bound false.

    Examples
    --------
    >>> import dkl
    >>> b = dkl.bounds(kl=0.02)
    >>> round(b["tv"].upper, 6), b["tv"].upper_by
    (0.1, 'Pinsker')
    """
    values = dict(_named(named)) | dict(known or {})
    if not values:
        raise TypeError("give at least one value, such as dkl.bounds(kl=0.1)")
    for d in values:
        if not isinstance(d, Divergence):
            raise TypeError(f"{d!r} is no divergence: give {{dkl.Renyi(3): value}}, or values by name as in kl=0.1")
    members = _MEMBERS | {d.name: d for d in values}
    for d in values:
        if d.name not in _MEMBERS and not isinstance(d, Renyi):
            raise TypeError(
                f"no inequality is known for {d.name}; known are {', '.join(_MEMBERS)} and Renyi of any order"
            )
    intervals = {name: Interval(0.0, d.upper_bound) for name, d in members.items()}
    for d, given in values.items():
        value = _one_number(given, d.name)
        if not 0 <= value <= d.upper_bound * (1 + _SLACK):
            raise ValueError(f"{d.name} = {value!r} lies outside its range, [0, {d.upper_bound:.6g}]")
        # A float stands for everything that rounds to it: near the end of a range that can be much for the others.
        low, high = min(value, d.upper_bound) * (1 - _SLACK), min(value * (1 + _SLACK), d.upper_bound)
        intervals[d.name] = Interval(low, high, "given", "given")
    orders = sorted({d.order for d in members.values() if isinstance(d, Renyi)})
    rules = [*INEQUALITIES, *(i for a, b in permutations(orders, 2) if a < b for i in _renyi_order_pair(a, b))]
    _tighten(intervals, rules)
    return Bounds(intervals)


def _one_number(value: Any, name: str) -> float:
    """A value as it comes from a divergence: a number, or an array of any library that holds one."""
    array = as_array(namespace_of(value=value), value, name)
    if isinstance(value, bool) or math.prod(array.shape) != 1:
        raise TypeError(f"{name} must be one number in nats, got {value!r}")
    return float(to_numpy(array).reshape(()))


def _named(named: Mapping[str, float]) -> Iterator[tuple[Divergence, float]]:
    for name, value in named.items():
        if name not in _MEMBERS or "(" in name:
            known = ", ".join(n for n in _MEMBERS if "(" not in n)
            raise TypeError(f"{name!r} is not a divergence with known bounds: {known}; or {{dkl.Renyi(order): value}}")
        yield _MEMBERS[name], value


def _tighten(intervals: dict[str, Interval], rules: list[Inequality]) -> None:
    changed = True
    while changed:
        changed = False
        for rule in rules:
            source = intervals[rule.source]
            lower = rule.lower(source.lower) if rule.lower else 0.0
            upper = rule.upper(source.upper) if rule.upper and source.upper < math.inf else math.inf
            changed |= _narrow(intervals, rule.target, lower, upper, rule.reference)
        forth, back = intervals["kl"], intervals["reverse_kl"]
        changed |= _narrow(
            intervals, "jeffreys", forth.lower + back.lower, forth.upper + back.upper, "the sum of both KL"
        )


# A step that gains less than this is rounding going round in circles.
_GAIN = 1e-12


def _narrow(intervals: dict[str, Interval], name: str, lower: float, upper: float, by: str) -> bool:
    # Widened at every step, not once at the end: the next curve may be steep where this one is flat.
    lower, upper = lower * (1 - _SLACK), math.nextafter(upper * (1 + _SLACK), math.inf)
    new = old = intervals[name]
    if lower > old.lower * (1 + _GAIN):
        new = replace(new, lower=lower, lower_by=by)
    if upper < old.upper * (1 - _GAIN):
        new = replace(new, upper=upper, upper_by=by)
    if new.lower > new.upper * (1 + 1e-9) + 1e-300:
        raise ValueError(
            f"no pair has these values together: {name} would be at least {new.lower:.6g} ({new.lower_by}) and at most "
            f"{new.upper:.6g} ({new.upper_by})"
        )
    intervals[name] = new
    return new is not old
