"""Intervals of one divergence given another: none may be broken, and the sharp ones must be reached."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dkl
from dkl import inequalities
from dkl.divergences import FAMILY, Divergence
from dkl.inequalities import INEQUALITIES, REFERENCES, Inequality

from ..contract.strategies import pairs

RENYI = (dkl.Renyi(0.5), dkl.Renyi(1), dkl.Renyi(2))
KNOWN: dict[str, Divergence] = {d.name: d for d in (*FAMILY, *RENYI)}
GIVEN = (*FAMILY, dkl.Renyi(0.3), dkl.Renyi(3), dkl.Renyi(math.inf))
log2 = math.log(2)
#: Above this p²/q stays in the floating range: a χ² of inf must mean one.
LEAST = 1e-100


def _values(p: Any, q: Any) -> dict[str, float]:
    return {name: float(d(p, q)) for name, d in KNOWN.items()}


@pytest.mark.parametrize("source", GIVEN, ids=lambda d: d.name)
@settings(max_examples=max(settings.default.max_examples // 2, 10))
@given(pair=pairs(max_size=4))
def test_no_pair_breaks_an_interval(source: Divergence, pair: Any) -> None:
    p, q = pair
    b = dkl.bounds({source: float(source(p, q))})
    for name, value in _values(p, q).items():
        # The probabilities themselves are rounded: their sum is 1 up to ε, and so is the given value.
        slack = 1e-9 * abs(value) + 1e-15 if math.isfinite(value) else 0.0
        if source.name == "renyi(inf)" and name in ("tv", "hellinger"):
            slack += 3e-8  # it is of first order in that ε, and these two are the roots of what is of second order
        i = b[name]
        assert i.lower <= value + slack, f"{name} = {value} is below {i}"
        assert i.upper >= value - slack, f"{name} = {value} is above {i}"


@given(pair=pairs(max_size=3), names=st.sets(st.sampled_from([d.name for d in FAMILY]), min_size=2, max_size=4))
def test_no_pair_breaks_an_interval_from_several_values(pair: Any, names: set[str]) -> None:
    p, q = pair
    values = _values(p, q)
    if float(dkl.js(p, q)) < 1e-12 or min(p.min(), q.min()) < 1e-30:
        return  # values given to 16 digits can contradict one another there
    b = dkl.bounds(**{name: values[name] for name in names})
    for name, value in values.items():
        slack = 1e-7 * abs(value) if math.isfinite(value) else 0.0
        assert b[name].lower <= value + slack, name
        assert b[name].upper >= value - slack, name


def _label(i: Inequality) -> str:
    return f"{i.source}->{i.target} {i.reference}"


@pytest.mark.parametrize("inequality", INEQUALITIES, ids=_label)
@settings(max_examples=max(settings.default.max_examples // 2, 10))
@given(pair=pairs(max_size=3, least=LEAST))
def test_each_inequality_holds(inequality: Inequality, pair: Any) -> None:
    p, q = pair
    source, target = (float(KNOWN[name](p, q)) for name in (inequality.source, inequality.target))
    _assert_holds(inequality, source, target)


def _assert_holds(inequality: Inequality, source: float, target: float) -> None:
    """For everything that rounds to these values: next to the end of a range that is much."""
    least, most = source * (1 - 4e-15), min(source * (1 + 4e-15), KNOWN[inequality.source].upper_bound)
    slack = 1e-9 * target + 1e-15 if math.isfinite(target) else 0.0
    if inequality.lower is not None:
        assert inequality.lower(least) <= target + slack
    if inequality.upper is not None and math.isfinite(most):
        assert inequality.upper(most) >= target - slack


@pytest.mark.parametrize("inequality", INEQUALITIES, ids=_label)
def test_each_curve_is_non_decreasing_and_each_reference_known(inequality: Inequality) -> None:
    assert inequality.reference in REFERENCES
    top = min(KNOWN[inequality.source].upper_bound, 800.0)
    for curve in (inequality.lower, inequality.upper):
        if curve is not None:
            at = [curve(float(x)) for x in np.concatenate([[0.0], np.geomspace(1e-12, top, 200)])]
            assert all(a <= b * (1 + 1e-12) for a, b in pairwise(at))


def _two_points(t: float) -> tuple[Any, Any]:
    return [(1 + t) / 2, (1 - t) / 2], [(1 - t) / 2, (1 + t) / 2]


def _one_sided(t: float) -> tuple[Any, Any]:
    """P has no mass where Q has t, and the other way round."""
    return [t, 1 - t, 0.0], [0.0, 1 - t, t]


def _tilted(x: float, h: float) -> tuple[Any, Any]:
    return [x + h, 1 - x - h], [x, 1 - x]


h = 1e-5
#: A pair at which an inequality is an equality, or nearly one: source, target, end, reference, pair, relative distance.
EXTREMAL: dict[str, tuple[str, str, str, str, tuple[Any, Any], float]] = {
    "Pinsker near P = Q": ("tv", "kl", "lower", "Pinsker", _tilted(0.5, h), 1e-8),
    "Pinsker the other way": ("kl", "tv", "upper", "Pinsker", _tilted(0.5, h), 1e-8),
    "Le Cam's lower end": ("tv", "squared_hellinger", "lower", "Le Cam", _two_points(0.6), 1e-12),
    "Le Cam's upper end": ("tv", "squared_hellinger", "upper", "Le Cam", _one_sided(0.3), 1e-12),
    "Le Cam, TV from above": ("squared_hellinger", "tv", "upper", "Le Cam", _two_points(0.6), 1e-12),
    "Le Cam, TV from below": ("squared_hellinger", "tv", "lower", "Le Cam", _one_sided(0.3), 1e-12),
    "triangular at disjoint parts": ("tv", "triangular", "upper", "Topsøe", _one_sided(0.3), 1e-12),
    "triangular at two points": ("tv", "triangular", "lower", "Topsøe", _two_points(0.6), 1e-12),
    "triangular and Hellinger, disjoint": (
        "squared_hellinger",
        "triangular",
        "lower",
        "Topsøe",
        _one_sided(0.3),
        1e-12,
    ),
    "triangular and Hellinger, close": ("squared_hellinger", "triangular", "upper", "Topsøe", _tilted(0.5, h), 1e-8),
    "triangular and JS, disjoint": ("triangular", "js", "upper", "Topsøe", _one_sided(0.3), 1e-12),
    "triangular and JS, close": ("triangular", "js", "lower", "Topsøe", _tilted(0.5, h), 1e-8),
    "JS at disjoint parts": ("tv", "js", "upper", "Lin", _one_sided(0.3), 1e-12),
    "JS at two points": ("tv", "js", "lower", "Fano", _two_points(0.6), 1e-12),
    "TV from JS": ("js", "tv", "upper", "Fano", _two_points(0.6), 1e-9),
    "Jeffreys at two points": ("tv", "jeffreys", "lower", "Gilardoni", _two_points(0.6), 1e-12),
    "χ² at two points": ("tv", "chi2", "lower", "Gilardoni", _tilted(0.5, 0.3), 1e-12),
    "χ² with P inside": ("tv", "chi2", "lower", "Gilardoni", ([1.0, 0.0], [0.25, 0.75]), 1e-12),
    "KL of a point mass": ("chi2", "kl", "upper", "Gibbs-Su", ([1.0, 0.0], [0.25, 0.75]), 1e-12),
    "Rényi of a point mass": ("bhattacharyya", "kl", "lower", "van Erven", ([1.0, 0.0], [0.25, 0.75]), 1e-12),
    "KL, Jeffreys": ("kl", "jeffreys", "lower", "definition", ([0.5 + 5e-13, 0.5 - 5e-13], [1e-300, 1.0]), 1e-2),
}


@pytest.mark.parametrize("name", EXTREMAL)
def test_the_sharp_inequalities_are_reached(name: str) -> None:
    source, target, end, reference, (p, q), rel = EXTREMAL[name]
    matching = [
        getattr(i, end)
        for i in INEQUALITIES
        if (i.source, i.target) == (source, target)
        and i.reference.startswith(reference)
        and getattr(i, end) is not None
    ]
    assert len(matching) == 1
    at = matching[0](float(KNOWN[source](p, q)))
    assert at == pytest.approx(float(KNOWN[target](p, q)), rel=rel)


def test_bretagnolle_huber_takes_over_from_pinsker() -> None:
    near, far = dkl.bounds(kl=0.02)["tv"], dkl.bounds(kl=5.0)["tv"]
    assert (near.upper, near.upper_by) == (pytest.approx(0.1), "Pinsker")
    assert far.upper_by == "Bretagnolle-Huber"
    assert far.upper == pytest.approx(math.sqrt(1 - math.exp(-5)))


def test_what_is_given_is_returned() -> None:
    b = dkl.bounds(tv=0.25)
    assert b["tv"].lower == pytest.approx(0.25, rel=1e-14)
    assert b["tv"].upper == pytest.approx(0.25, rel=1e-14)
    assert b["tv"].lower_by == "given"
    assert 0.25 in b["tv"]
    assert set(KNOWN) <= set(b)
    assert len(b) == len(list(b))
    assert "tv" in repr(b)
    assert "Pinsker" in repr(b)


def test_functions_of_one_another_are_known_exactly() -> None:
    b = dkl.bounds(hellinger=0.3)
    assert b["squared_hellinger"].lower == pytest.approx(0.09, rel=1e-13)
    assert b["squared_hellinger"].upper == pytest.approx(0.09, rel=1e-13)
    assert b["bhattacharyya"].upper == pytest.approx(-math.log(0.91), rel=1e-13)
    assert b["renyi(0.5)"].lower == pytest.approx(-2 * math.log(0.91), rel=1e-13)
    assert dkl.bounds(chi2=3.0)["renyi(2)"].upper == pytest.approx(math.log(4), rel=1e-13)


def test_zero_and_the_ends_of_the_ranges() -> None:
    bounded = ("tv", "hellinger", "squared_hellinger", "js", "triangular", "bhattacharyya", "renyi(0.5)")
    for known in ("kl", "tv", "hellinger", "js", "chi2", "triangular", "jeffreys", "reverse_kl"):
        b = dkl.bounds(**{known: 0.0})
        for name in bounded:
            assert b[name].lower == 0
            assert b[name].upper == pytest.approx(0, abs=1e-100), (known, name)
    apart = dkl.bounds(tv=1.0)
    assert apart["js"].lower == pytest.approx(log2, rel=1e-12)
    assert apart["hellinger"].lower == pytest.approx(1.0, rel=1e-7)  # ε of TV is √ε of H next to 1
    unknown = dkl.bounds(kl=math.inf)
    assert unknown["tv"].upper == 1.0
    assert unknown["jeffreys"].lower >= 1.79e308
    assert dkl.bounds(js=log2)["tv"].lower == pytest.approx(1.0, rel=1e-12)


def test_large_values_do_not_contradict_themselves() -> None:
    p, q = [3 / 7, 2 / 7, 2 / 7], [0.6, 0.4, 4.45e-309]
    for source in (dkl.chi2, dkl.Renyi(2)):
        b = dkl.bounds({source: float(source(p, q))})
        for d in (dkl.chi2, dkl.Renyi(2)):
            assert b[d.name].lower * (1 - 1e-9) <= float(d(p, q)) <= b[d.name].upper * (1 + 1e-9)


def test_renyi_of_any_order_can_be_given_and_asked() -> None:
    b = dkl.bounds({dkl.Renyi(0.25): 0.1, dkl.Renyi(0.75): 0.2})
    assert b["renyi(0.5)"].lower >= 0.1 * (1 - 1e-12)
    assert b["renyi(0.5)"].upper <= 0.2 * (1 + 1e-12)
    assert b["kl"].lower >= 0.2 * (1 - 1e-12)
    both = dkl.bounds({dkl.kl: 0.1}, tv=0.2)
    assert both["kl"].lower_by == both["tv"].lower_by == "given"


@given(pair=pairs(max_size=3), a=st.floats(0.01, 0.98), step=st.floats(0.005, 0.5))
def test_renyi_of_two_orders_bound_each_other(pair: Any, a: float, step: float) -> None:
    p, q = pair
    b = min(a + step, 0.99)
    for i in inequalities._renyi_order_pair(a, b):
        values = {dkl.Renyi(o).name: float(dkl.Renyi(o)(p, q)) for o in (a, b)}
        assert len(values) == 2
        source, target = values[i.source], values[i.target]
        slack = 1e-9 * target + 1e-15 if math.isfinite(target) else 0.0
        if i.lower is not None:
            assert i.lower(source) <= target + slack
        if i.upper is not None and math.isfinite(source):
            assert i.upper(source) >= target - slack


@given(value=st.floats(1e-12, 20.0))
def test_more_knowledge_never_widens(value: float) -> None:
    alone = dkl.bounds(kl=value)
    tv = 0.5 * (alone["tv"].lower + alone["tv"].upper)
    together = dkl.bounds(kl=value, tv=tv)
    for name in KNOWN:
        assert together[name].lower >= alone[name].lower * (1 - 1e-9)
        assert together[name].upper <= alone[name].upper * (1 + 1e-9)
