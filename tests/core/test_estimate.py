"""What ``measure`` returns, and why a value is infinite."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

import dkl
from dkl.divergences import FAMILY

from ..contract.backends import Backend
from ..contract.members import MEMBERS

P, Q = [0.7, 0.2, 0.1], [0.8, 0.2, 0.0]


@pytest.mark.parametrize("d", MEMBERS, ids=lambda d: d.name)
def test_measure_agrees_with_the_call_and_says_what_it_is(d: Any) -> None:
    estimate = dkl.measure([0.5, 0.5], [0.25, 0.75], d)
    assert isinstance(estimate, dkl.Estimate)
    assert estimate.value == d([0.5, 0.5], [0.25, 0.75])
    assert float(estimate) == float(estimate.value)
    assert (estimate.method, estimate.divergence, estimate.direction) == ("exact", d.name, d.direction)
    assert estimate.unit == d.unit
    assert estimate.stderr == 0
    assert estimate.reason is None
    assert estimate.interval() == (estimate.value, estimate.value)


def test_the_direction_is_said_in_words() -> None:
    assert "from P to Q" in dkl.measure(P, P).direction
    assert "under P, the first argument" in dkl.measure(P, P).direction
    assert "from Q to P" in dkl.measure(P, P, dkl.reverse_kl).direction
    assert dkl.measure(P, P, dkl.js).direction == "symmetric in P and Q"


def test_units() -> None:
    one, other = [0.5, 0.5], [0.25, 0.75]
    nats, bits, bans = (dkl.measure(one, other, base=base) for base in (None, 2, 10))
    assert (nats.unit, bits.unit, bans.unit) == ("nats", "bits", "base-10 units")
    assert float(bits) == pytest.approx(float(nats) / math.log(2), rel=1e-15)
    assert dkl.measure(one, other, base=math.e).unit == "nats"
    assert dkl.measure(one, other, dkl.tv).unit == ""


def test_the_reason_names_outcomes_and_mass() -> None:
    e = dkl.measure(P, Q)
    assert float(e) == math.inf
    assert e.reason == "KL(P‖Q) is infinite: Q gives probability 0 to outcome 2, where P has 0.1."
    assert e.interval() == (math.inf, math.inf)
    reverse = dkl.measure(Q, P, dkl.reverse_kl)
    assert reverse.reason == "KL(Q‖P) is infinite: P gives probability 0 to outcome 2, where Q has 0.1."
    assert dkl.measure(Q, P).reason is None
    both = dkl.measure([0.5, 0.5, 0.0], [0.0, 0.75, 0.25], dkl.jeffreys).reason
    assert both is not None
    assert "Q gives probability 0 to outcome 0, where P has 0.5" in both
    assert "P gives probability 0 to outcome 2, where Q has 0.25" in both
    none = dkl.measure([1.0, 0.0], [0.0, 1.0], dkl.bhattacharyya).reason
    assert none is not None
    assert "share no outcome" in none


def test_the_reason_counts_what_it_does_not_name() -> None:
    p = np.full(20, 0.05)
    q = np.zeros(20)
    q[:10] = 0.1
    reason = dkl.measure(p, q).reason
    assert reason is not None
    assert "outcomes 10, 11, 12, 13, 14 and 5 more, where P has 0.5" in reason


def test_the_reason_in_a_batch_names_the_rows(backend: Backend) -> None:
    p = backend.asarray(np.array([[0.5, 0.5], [0.5, 0.5], [0.25, 0.75]]))
    q = backend.asarray(np.array([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]))
    e = dkl.measure(p, q)
    assert backend.is_own(e.value)
    assert e.reason is not None
    assert "infinite in 2 of 3 rows" in e.reason
    assert "row 1: Q gives probability 0 to outcome 1, where P has 0.5" in e.reason
    assert "row 2: Q gives probability 0 to outcome 0, where P has 0.25" in e.reason
    np.testing.assert_array_equal(backend.to_numpy(e.stderr), np.zeros(3))
    many = dkl.measure(np.tile([0.5, 0.5], (9, 1)), np.tile([1.0, 0.0], (9, 1)))
    assert many.reason is not None
    assert "infinite in 9 of 9 rows" in many.reason
    assert "4 more rows" in many.reason
    deep = dkl.measure(np.tile([0.5, 0.5], (2, 2, 1)), np.array([[[0.5, 0.5], [0.5, 0.5]], [[0.5, 0.5], [0.0, 1.0]]]))
    assert deep.reason is not None
    assert "row (1, 1)" in deep.reason


def test_the_reason_on_another_axis_and_for_logits() -> None:
    p, q = np.array([[0.5, 0.5], [0.5, 0.5]]), np.array([[0.5, 0.0], [0.5, 1.0]])
    reason = dkl.measure(p, q, axis=0).reason
    assert reason is not None
    assert "row 1: Q gives probability 0 to outcome 0" in reason
    logits = dkl.measure(dkl.Logits([0.0, 0.0]), dkl.Logits([0.0, -math.inf])).reason
    assert logits is not None
    assert "to outcome 1, where P has 0.5" in logits


def test_an_overflow_is_no_missing_support() -> None:
    reason = dkl.measure([0.5, 0.5], [1e-300, 1.0], dkl.Tsallis(3)).reason
    assert reason is not None
    assert "exceeds the largest float64" in reason


def test_to_dict_is_strict_json() -> None:
    for estimate in (
        dkl.measure([0.5, 0.5], [0.25, 0.75]),
        dkl.measure(P, Q),
        dkl.measure([P, Q], [Q, Q], dkl.js),
        dkl.measure([P, Q], [Q, Q]),
        dkl.measure(np.empty((0, 3)), np.empty((0, 3))),
    ):
        as_dict = estimate.to_dict()
        back = json.loads(json.dumps(as_dict, allow_nan=False))
        assert back == as_dict
    scalar, infinite, batch, some, _ = (
        e.to_dict()
        for e in (
            dkl.measure([0.5, 0.5], [0.25, 0.75]),
            dkl.measure(P, Q),
            dkl.measure([P, Q], [Q, Q], dkl.js),
            dkl.measure([P, Q], [Q, Q]),
            dkl.measure(np.empty((0, 3)), np.empty((0, 3))),
        )
    )
    assert scalar["value"] == pytest.approx(0.14384103622589)
    assert (scalar["status"], scalar["shape"], scalar["unit"], scalar["method"]) == ("finite", [], "nats", "exact")
    assert (infinite["value"], infinite["status"]) == (None, "infinite")
    assert "outcome 2" in infinite["reason"]
    assert batch["shape"] == [2]
    assert batch["value"][1] == 0
    assert some["value"] == [None, 0.0]
    assert some["status"] == ["infinite", "finite"]
    assert some["stderr"] == some["error"] == [0.0, 0.0]


def test_float_of_several_pairs_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"an Estimate of 2 pairs is no single number: use \.value"):
        float(dkl.measure([P, Q], [P, Q]))
    assert float(dkl.measure([P], [P])) == 0


def test_the_interval_widens_with_its_level() -> None:
    e = dkl.Estimate(np.float64(0.1), np.float64(0.05), "estimator", "kl", "from P to Q", "nats")
    low, high = e.interval(0.5)
    assert (float(low), float(high)) == pytest.approx((0.1 - 0.67448975 * 0.05, 0.1 + 0.67448975 * 0.05), rel=1e-8)
    low, high = e.interval()
    assert float(low) == pytest.approx(0.1 - 1.959963984540054 * 0.05, rel=1e-12)
    assert float(e.interval(0.9999)[0]) == 0  # floored: no divergence is negative
    for level in (0, 1, -1, 2, math.nan):
        with pytest.raises(ValueError, match="is not a coverage"):
            e.interval(level)


def test_repr_shows_value_unit_direction_and_reason() -> None:
    shown = repr(dkl.measure(P, Q))
    assert "kl = inf nats" in shown
    assert "method exact" in shown
    assert "outcome 2" in shown


def test_repr_of_a_batch_shows_its_values() -> None:
    assert "kl = [0, inf] of shape (2,) nats" in repr(dkl.measure([P, P], [P, Q]))
    p = np.stack([np.linspace(0.1, 0.8, 12), 1 - np.linspace(0.1, 0.8, 12)], axis=-1)
    shown = repr(dkl.measure(p, [0.5, 0.5]))
    assert "kl = [0.368064, 0.247496, 0.157187, ..., 0.0609168, 0.116321, 0.192745] of shape (12,) nats" in shown
    assert "\n" not in shown
    square = dkl.Estimate(np.eye(2), np.eye(2) / 10, "monte_carlo", "tv", "symmetric in P and Q", "")
    assert repr(square).startswith("Estimate(tv = [[1, 0], [0, 1]] of shape (2, 2) ± 0.1 at most; symmetric")


def test_bounds_are_shown_rounded_outwards_and_rescaled() -> None:
    one = dkl.Estimate(
        np.float64(1.0), np.float64(0.01), "monte_carlo", "kl", "from P to Q", "nats", bounds=(0.123456, 2.000001)
    )
    assert "for certain between 0.1234 and 2.001;" in repr(one)
    assert one.to_dict()["bounds"] == [0.123456, 2.000001]
    bits = one.rescaled(math.log(2), "bits")
    assert bits.bounds == pytest.approx((0.123456 / math.log(2), 2.000001 / math.log(2)), rel=1e-15)
    none = dkl.Estimate(
        np.float64(1.0), 0.0, "monte_carlo", "kl", "from P to Q", "nats", bounds=(np.float64(0), np.float64(math.inf))
    )
    assert "for certain between 0 and inf;" in repr(none)
    assert none.to_dict()["bounds"] == [0.0, None]
    assert dkl.measure(P, P).to_dict()["bounds"] is None


def test_the_reason_among_a_batch_of_distributions() -> None:
    q = dkl.families.Uniform(0.0, [[3.0, 1.0], [0.5, 2.0]])
    estimate = dkl.measure(dkl.families.Uniform(0.0, 1.5), q)
    np.testing.assert_array_equal(np.isinf(estimate.value), [[False, True], [True, False]])
    assert estimate.reason is not None
    assert estimate.reason.endswith(". Infinite in 2 of 4 pairs, the first at index (0, 1).")
    assert estimate.to_dict()["status"] == ["finite", "infinite", "infinite", "finite"]
    chi2 = dkl.measure(dkl.families.Normal(0.0, [1.0, 3.0]), dkl.families.Normal(), dkl.chi2)
    assert chi2.reason is not None
    assert chi2.reason.endswith("Infinite in 1 of 2 pairs, the first at index 1.")
    single = dkl.measure(dkl.families.Uniform(0, 2), dkl.families.Uniform(0, 1)).reason
    assert single is not None
    assert "pairs" not in single


def test_measure_takes_only_divergences() -> None:
    for wrong in ("kl", None, max):
        with pytest.raises(TypeError, match=r"divergence must be a member of the family such as dkl\.kl"):
            dkl.measure(P, Q, wrong)  # type: ignore[arg-type]


def test_every_member_of_the_family_can_be_forced_by_method() -> None:
    for d in FAMILY:
        assert float(d(P, P, method="exact")) == 0
