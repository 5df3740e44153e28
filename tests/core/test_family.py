"""What ties the members to their generators, to their limits and to one another."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dkl
from dkl.divergences import FAMILY, Divergence
from dkl.divergences.power import ALPHA_CONVENTIONS

from ..contract.members import HAND_MADE_CHI2, HOCKEY_STICK, MEMBERS
from ..contract.strategies import pairs, triples

GENERATED = [d for d in MEMBERS if hasattr(d, "f")]
PARAMETRISED = [*GENERATED, dkl.JS(0.01), dkl.SkewKL(0.99), dkl.Tsallis(1.01), dkl.Alpha(1 - 1e-9), dkl.Alpha(7)]
generated = pytest.mark.parametrize("d", PARAMETRISED, ids=lambda d: d.name)
OWN = [d for d in PARAMETRISED if not isinstance(d, dkl.FDivergence)]

# ---------------------------------------------------------------------------------------------- generators and limits


@generated
def test_f_is_convex_and_touches_zero_at_one(d: Any) -> None:
    assert float(d.f(np.float64(1.0))) == 0
    t = np.concatenate([[0.0], np.geomspace(1e-6, 1e6, 400)])
    f = d.f(t)
    assert (f >= 0).all()
    middle, ends = d.f((t[1:] + t[:-1]) / 2), (f[1:] + f[:-1]) / 2
    assert (middle <= ends * (1 + 1e-12)).all()
    around = d.f(np.array([1 - 1e-6, 1 + 1e-6]))
    assert np.all(around <= 1e-6) or d.name == "tv"  # f'(1) = 0, but for the kink of |t − 1|


@generated
def test_f_zero_is_the_limit_of_f(d: Any) -> None:
    assert float(d.f(np.float64(0.0))) == pytest.approx(d.f_zero, rel=1e-14)
    at = d.f(np.array([1e-60, 1e-200, 1e-300]))
    if math.isinf(d.f_zero):
        assert at[0] > 100
        assert at[0] < at[1] < at[2] or math.isinf(at[0])
    elif d.name == "tsallis(0)":
        assert (at == 0).all()  # f is 1 at 0 and 0 elsewhere: order 0 is where it jumps
    else:
        assert at[-1] == pytest.approx(d.f_zero, rel=1e-9)


@generated
def test_slope_inf_is_the_limit_of_f_over_t(d: Any) -> None:
    t = np.array([1e20, 1e60, 1e100, 1e150]) if d.slope_inf < math.inf else np.array([1e4, 1e50])
    with np.errstate(over="ignore"):
        slopes = d.f(t) / t
    if math.isinf(d.slope_inf):
        assert slopes[0] > 5
        assert slopes[0] < slopes[-1] or math.isinf(slopes[-1])
    elif d.slope_inf > 1e6:  # Alpha(1 − 10⁻⁹): its limit of 10⁹ is approached like t^(−10⁻⁹)
        assert slopes[0] < slopes[-1] < d.slope_inf
    else:
        assert slopes[-1] == pytest.approx(d.slope_inf, rel=1e-9)


@generated
@given(pair=pairs())
def test_the_sum_of_q_f_is_the_divergence(d: Any, pair: Any) -> None:
    p, q = pair
    both = (p > 0) & (q > 0)
    terms = d.pointwise(p, q)
    assert terms.shape == p.shape
    assert (terms >= 0).all()
    assert float(terms.sum()) == pytest.approx(float(d(p, q)), rel=1e-13)
    within = both & (p > 1e-30 * q) & (q > 1e-30 * p)
    # Forming p/q loses ε, which near t = 1 is much of t − 1.
    by_f = q[within] * d.f(p[within] / q[within])
    np.testing.assert_allclose(terms[within], by_f, rtol=1e-9, atol=1e-15)
    np.testing.assert_array_equal(terms[(p > 0) & (q == 0)], p[(p > 0) & (q == 0)] * d.slope_inf)
    np.testing.assert_array_equal(terms[(p == 0) & (q > 0)], q[(p == 0) & (q > 0)] * d.f_zero)


@pytest.mark.parametrize("d", OWN, ids=lambda d: d.name)
@given(pair=pairs())
def test_rebuilt_from_its_own_f_and_limits_it_is_the_same(d: Any, pair: Any) -> None:
    rebuilt = dkl.FDivergence("rebuilt", d.f, d.f_zero, d.slope_inf)
    p, q = pair
    both = (p > 0) & (q > 0)
    with np.errstate(divide="ignore", over="ignore"):
        ratio = np.where(both, p, 1.0) / np.where(both, q, 1.0)
    if (ratio < 1e-100).any() or (ratio > 1e100).any():
        return  # f(p/q) overflows or underflows where q·f(p/q) does not; the member itself has no such limit
    expected = float(d(p, q))
    assert float(rebuilt(p, q)) == pytest.approx(expected, rel=1e-9, abs=1e-14)


# --------------------------------------------------------------------------------------------------------- conjugates


def _arguments(d: Any) -> np.ndarray:
    """Points below ``slope_inf``, from where the supremum is at t = 0 up to where it runs away."""
    top = min(d.slope_inf, 3.0)
    return np.concatenate(
        [[-50.0, -5.0, -3.5, -1.0, -0.5, -0.25, -1e-3, 0.0], top * np.array([1e-3, 0.1, 0.5, 0.9, 0.99])]
    )


@generated
def test_the_conjugate_is_the_supremum(d: Any) -> None:
    t = np.concatenate([[0.0, 1.0, 2.0], np.geomspace(1e-12, 1e8, 200_001)])  # with every kink
    with np.errstate(over="ignore"):
        f = d.f(t)
    for u in _arguments(d):
        supremum = float(np.max(np.where(np.isinf(f), -math.inf, u * t - np.where(np.isinf(f), 0.0, f))))
        got = float(d.conjugate(np.float64(u)))
        if math.isinf(got):
            assert u > d.slope_inf
            continue
        # A grid misses the supremum from below, by a second-order term of its spacing of 0.02 % in log t.
        assert got >= supremum - 1e-8 * (1 + abs(supremum)), u
        assert got <= supremum + 1e-6 * (1 + abs(supremum)), u


@generated
@given(t=st.floats(0, 1e6), u=st.floats(-100, 100))
def test_fenchel_young(d: Any, t: float, u: float) -> None:
    f, conjugate = float(d.f(np.float64(t))), float(d.conjugate(np.float64(u)))
    assert f + conjugate >= u * t - 1e-8 * (1 + abs(u * t) + abs(min(conjugate, 1e300)))


@pytest.mark.parametrize("d", OWN, ids=lambda d: d.name)
def test_fenchel_young_is_an_equality_at_the_slope_of_f(d: Any) -> None:
    for t in (0.01, 0.3, 0.9, 1.1, 2.0, 30.0):
        h = 1e-5 * t
        u = float((d.f(np.float64(t + h)) - d.f(np.float64(t - h))) / (2 * h))
        if u >= d.slope_inf:
            continue
        equality = float(d.f(np.float64(t))) + float(d.conjugate(np.float64(u))) - u * t
        assert equality == pytest.approx(0, abs=1e-7 * (1 + abs(u * t))), t


@generated
def test_the_conjugate_is_infinite_beyond_the_slope_and_keeps_the_value_at_zero(d: Any) -> None:
    if math.isfinite(d.slope_inf):
        beyond = d.slope_inf * 1.001 + 1e-9
        assert float(d.conjugate(np.float64(beyond))) == math.inf
    assert float(d.conjugate(np.float64(0.0))) == pytest.approx(0, abs=1e-9)
    if math.isfinite(d.f_zero) and d.name != "tsallis(0)":
        assert float(d.conjugate(np.float64(-1e6))) == pytest.approx(-d.f_zero, rel=1e-2)


@pytest.mark.parametrize("d", OWN, ids=lambda d: d.name)
@given(pair=pairs(positive=True), slope=st.floats(-1, 1))
def test_the_variational_bound_holds(d: Any, pair: Any, slope: float) -> None:
    # D_f ≥ E_P[T] − E_Q[f*(T)] for every function T of the outcome: what f-GANs maximise.
    p, q = pair
    top = d.slope_inf if math.isfinite(d.slope_inf) else 1.0
    critic = np.minimum(slope * np.arange(p.size), 0.9 * top)
    assert float(np.sum(p * critic) - np.sum(q * d.conjugate(critic))) <= float(d(p, q)) + 1e-9


# ------------------------------------------------------------------------------------------------- between the members

Values = Callable[[np.ndarray, np.ndarray], Any]


def _mixture(p: np.ndarray, q: np.ndarray, w: float) -> np.ndarray:
    return w * p + (1 - w) * q


IDENTITIES: dict[str, tuple[Values, Values]] = {
    "χ² = 2·Alpha(2)": (dkl.chi2, lambda p, q: 2 * dkl.Alpha(2)(p, q)),
    "χ² = Tsallis(2)": (dkl.chi2, dkl.Tsallis(2)),
    "Neyman's χ² = 2·Alpha(−1)": (dkl.neyman_chi2, lambda p, q: 2 * dkl.Alpha(-1)(p, q)),
    "Neyman's χ² is Pearson's reversed": (dkl.neyman_chi2, lambda p, q: dkl.chi2(q, p)),
    "reverse KL = Alpha(0)": (dkl.reverse_kl, dkl.Alpha(0)),
    "reverse KL is KL reversed": (dkl.reverse_kl, lambda p, q: dkl.kl(q, p)),
    "KL = Alpha(1)": (dkl.kl, dkl.Alpha(1)),
    "KL = Tsallis(1)": (dkl.kl, dkl.Tsallis(1)),
    "KL = Renyi(1)": (dkl.kl, dkl.Renyi(1)),
    "KL = SkewKL(1)": (dkl.kl, dkl.SkewKL(1)),
    "J = KL + reverse KL": (dkl.jeffreys, lambda p, q: dkl.kl(p, q) + dkl.kl(q, p)),
    "H² = Alpha(½)/4": (dkl.squared_hellinger, lambda p, q: dkl.Alpha(0.5)(p, q) / 4),
    "H² = Tsallis(½)/2": (dkl.squared_hellinger, lambda p, q: dkl.Tsallis(0.5)(p, q) / 2),
    "H is the root of H²": (dkl.hellinger, lambda p, q: np.sqrt(dkl.squared_hellinger(p, q))),
    "B = −log(1 − H²)": (dkl.bhattacharyya, lambda p, q: _surely(dkl.squared_hellinger(p, q))),
    "B = Renyi(½)/2": (dkl.bhattacharyya, lambda p, q: dkl.Renyi(0.5)(p, q) / 2),
    "Renyi(2) = log(1 + χ²)": (dkl.Renyi(2), lambda p, q: np.log1p(dkl.chi2(p, q))),
    "Renyi of Tsallis": (dkl.Renyi(0.3), lambda p, q: np.log1p(-0.7 * dkl.Tsallis(0.3)(p, q)) / -0.7),
    "Renyi skewed": (dkl.Renyi(0.3), lambda p, q: 0.3 / 0.7 * dkl.Renyi(0.7)(q, p)),
    "Alpha skewed": (dkl.Alpha(0.3), lambda p, q: dkl.Alpha(0.7)(q, p)),
    "Tsallis of Alpha": (dkl.Tsallis(1.7), lambda p, q: 1.7 * dkl.Alpha(1.7)(p, q)),
    "JS = JS(½)": (dkl.js, dkl.JS(0.5)),
    "JS is two skewed KL": (
        dkl.JS(0.3),
        lambda p, q: 0.3 * dkl.SkewKL(0.7)(p, q) + 0.7 * dkl.SkewKL(0.3)(q, p),
    ),
    "SkewKL is KL to the mixture": (dkl.SkewKL(0.25), lambda p, q: dkl.kl(p, _mixture(p, q, 0.75))),
    "JS(w) reversed is JS(1 − w)": (dkl.JS(0.2), lambda p, q: dkl.JS(0.8)(q, p)),
    "triangular is χ² to the middle": (dkl.triangular, lambda p, q: 2 * dkl.chi2(p, _mixture(p, q, 0.5))),
    "TV is half the L1 distance": (dkl.tv, lambda p, q: np.abs(p - q).sum() / 2),
    "hand-made χ²": (dkl.chi2, HAND_MADE_CHI2),
}


def _surely(h: Any) -> Any:
    return -np.log1p(-h) if h < 1 else math.inf


@pytest.mark.parametrize("identity", IDENTITIES)
@given(pair=pairs())
def test_identity(identity: str, pair: Any) -> None:
    one, other = IDENTITIES[identity]
    p, q = pair
    with np.errstate(over="ignore", divide="ignore"):
        left, right = float(one(p, q)), float(other(p, q))
    # The right-hand side may be the one that rounds: 1 − H² near 0, a mixture formed beforehand, f(p/q).
    worse = {"B = −log(1 − H²)": 1e-9, "hand-made χ²": 1e-8, "Renyi of Tsallis": 1e-9}.get(identity, 1e-11)
    slack = 1e-12 * math.sqrt(float(dkl.js(p, q))) + 1e-30 if "mixture" in identity or "middle" in identity else 1e-30
    if identity in ("hand-made χ²", "B = −log(1 − H²)", "Renyi of Tsallis"):
        slack = 1e-14
        least = np.minimum(p, q)[(p > 0) & (q > 0)]
        if float(dkl.js(p, q)) > 0.69 or (least.size and least.min() < 1e-100):
            return  # 1 − H² has lost all digits, and p²/q² leaves the floating range
    assert left == pytest.approx(right, rel=worse, abs=slack)


@given(pair=pairs())
def test_kl_is_cross_entropy_less_entropy(pair: Any) -> None:
    p, q = pair
    kl, cross, own = (float(x) for x in (dkl.kl(p, q), dkl.cross_entropy(p, q), dkl.entropy(p)))
    assert kl == (pytest.approx(cross - own, abs=1e-13 * (1 + abs(cross))) if math.isfinite(kl) else cross)
    assert 0 <= own <= math.log(p.size) + 1e-15
    assert cross >= own - 1e-14


@given(pair=pairs(), w=st.floats(0.01, 0.99))
def test_js_is_the_mutual_information_of_the_label(pair: Any, w: float) -> None:
    p, q = pair
    mixture = _mixture(p, q, w)
    information = float(dkl.entropy(mixture)) - w * float(dkl.entropy(p)) - (1 - w) * float(dkl.entropy(q))
    assert float(dkl.JS(w)(p, q)) == pytest.approx(information, abs=1e-13)
    label = -w * math.log(w) - (1 - w) * math.log(1 - w)
    assert dkl.JS(w).upper_bound == pytest.approx(label, rel=1e-12)


def test_the_power_of_a_pair_gives_the_known_values() -> None:
    p, q = np.array([0.5, 0.5]), np.array([0.25, 0.75])
    integral = float(np.sum(p**3 * q**-2))
    assert float(dkl.Tsallis(3)(p, q)) == pytest.approx((integral - 1) / 2, rel=1e-14)
    assert float(dkl.Alpha(3)(p, q)) == pytest.approx((integral - 1) / 6, rel=1e-14)
    assert float(dkl.Renyi(3)(p, q)) == pytest.approx(math.log(integral) / 2, rel=1e-14)
    assert float(dkl.Renyi(math.inf)(p, q)) == pytest.approx(math.log(2), rel=1e-15)
    assert float(dkl.Renyi(0)([1.0, 0.0], q)) == pytest.approx(-math.log(0.25), rel=1e-15)
    assert float(HOCKEY_STICK([0.9, 0.1], [0.3, 0.7])) == pytest.approx(0.3, rel=1e-14)


# ------------------------------------------------------------------------------------------------------------ orders


@given(
    pair=pairs(positive=True), at=st.sampled_from([0.0, 1.0]), step=st.sampled_from([1e-3, 1e-6, 1e-9, 1e-12, 1e-15])
)
@pytest.mark.parametrize("make", [dkl.Renyi, dkl.Tsallis, dkl.Alpha], ids=lambda c: c.__name__)
def test_continuous_through_orders_0_and_1(make: Any, pair: Any, at: float, step: float) -> None:
    p, q = pair
    limit = float(make(at)(p, q))
    # With L ≤ 7 for these pairs, a change of order by h moves a member by no more than about 7·h in relative terms.
    scale = float(dkl.kl(p, q)) + float(dkl.kl(q, p))
    for order in (at + step, *(() if make is not dkl.Alpha and at == 0 else (at - step,))):
        assert float(make(order)(p, q)) == pytest.approx(limit, rel=0, abs=20 * step * scale + 1e-12 * scale)


@given(pair=pairs(positive=True))
def test_renyi_tends_to_the_largest_log_ratio(pair: Any) -> None:
    p, q = pair
    most = float(dkl.Renyi(math.inf)(p, q))
    for order in (10.0, 1e3, 1e6):
        # p/q is largest at an outcome of mass p ≥ 10⁻⁴ or so, so that D_a ≥ D_∞ + log(q)·…/(a − 1).
        value = float(dkl.Renyi(order)(p, q))
        assert value <= most * (1 + 1e-12)
        assert value >= most - (most + 12) / (order - 1)


@given(pair=pairs())
def test_renyi_grows_with_its_order(pair: Any) -> None:
    p, q = pair
    values = [
        float(dkl.Renyi(a)(p, q)) for a in (0, 1e-9, 0.1, 0.5, 0.9, 1 - 1e-9, 1, 1 + 1e-9, 1.5, 2, 7, 100, math.inf)
    ]
    for low, high in pairwise(values):
        assert low <= high * (1 + 1e-11) + 4e-16  # a row's own sum is 1 up to this


def test_order_0_of_renyi_sees_the_support_only() -> None:
    assert float(dkl.Renyi(0)([0.5, 0.5, 0.0], [0.2, 0.3, 0.5])) == pytest.approx(math.log(2), rel=1e-15)
    assert float(dkl.Renyi(0)([0.1, 0.9], [0.5, 0.5])) == 0


# ------------------------------------------------------------------------------------------------------- conventions


def test_there_are_five_conventions() -> None:
    assert set(ALPHA_CONVENTIONS) == {"minka", "amari", "renyi_order", "tfp", "pyro"}


@given(pair=pairs(), alpha=st.floats(-3, 3))
def test_the_conventions_translate_into_one_another(pair: Any, alpha: float) -> None:
    p, q = pair
    minka = float(dkl.Alpha(alpha)(p, q))
    for convention, own in {
        "amari": 1 - 2 * alpha, "renyi_order": alpha, "tfp": alpha, "pyro": 1 - alpha,
    }.items():  # fmt: skip
        assert float(dkl.Alpha(own, convention)(p, q)) == pytest.approx(minka, rel=1e-10), convention


def test_each_convention_at_its_published_special_cases() -> None:
    p, q = [0.5, 0.5], [0.25, 0.75]
    assert dkl.Alpha(-1, "amari")(p, q) == dkl.kl(p, q)
    assert dkl.Alpha(1, "amari")(p, q) == dkl.reverse_kl(p, q)
    assert float(dkl.Alpha(0, "amari")(p, q)) == pytest.approx(4 * float(dkl.squared_hellinger(p, q)), rel=1e-14)
    # Amari's own formula, 4/(1 − α²)·(1 − ∫ p^((1−α)/2)·q^((1+α)/2)).
    integral = sum(x**0.25 * y**0.75 for x, y in zip(p, q, strict=True))
    assert float(dkl.Alpha(0.5, "amari")(p, q)) == pytest.approx(4 / 0.75 * (1 - integral), rel=1e-13)
    # TensorFlow Probability's amari_alpha generator, (u^α − 1 − α(u − 1)·…)/(α(α − 1)), as E_q f(p/q).
    tfp = sum(y * ((x / y) ** 1.5 - 1) / (1.5 * 0.5) for x, y in zip(p, q, strict=True))
    assert float(dkl.Alpha(1.5, "tfp")(p, q)) == pytest.approx(tfp, rel=1e-13)
    # Li and Turner's bound at α = 0 is the exact evidence, at α → 1 the ELBO: KL(Q‖P) with Q the variational side.
    assert dkl.Alpha(1, "pyro")(p, q) == dkl.reverse_kl(p, q)
    assert dkl.Alpha(1, "pyro").name == dkl.Alpha(0).name == "alpha(0)"


# ----------------------------------------------------------------------------------------------------------- metrics


@pytest.mark.parametrize("d", [d for d in FAMILY if d.metric_power], ids=lambda d: d.name)
@given(three=triples())
def test_the_stated_power_satisfies_the_triangle_inequality(d: Divergence, three: Any) -> None:
    p, q, r = three
    assert d.metric_power is not None
    direct, first, second = (float(d(x, y)) ** d.metric_power for x, y in ((p, r), (p, q), (q, r)))
    assert direct <= (first + second) * (1 + 1e-9) + 1e-15


def test_who_claims_to_be_a_metric() -> None:
    assert {d.name: d.metric_power for d in FAMILY if d.metric_power} == {
        "js": 0.5, "tv": 1.0, "hellinger": 1.0, "squared_hellinger": 0.5, "triangular": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("d", "power"),
    [(dkl.kl, 1.0), (dkl.kl, 0.5), (dkl.jeffreys, 0.5), (dkl.bhattacharyya, 1.0), (dkl.bhattacharyya, 0.5),
     (dkl.chi2, 0.5),
     (dkl.js, 1.0), (dkl.squared_hellinger, 1.0), (dkl.triangular, 1.0), (dkl.js, 0.51), (dkl.hellinger, 1.05)],
    ids=lambda x: x.name if isinstance(x, Divergence) else str(x),
)  # fmt: skip
def test_others_violate_the_triangle_inequality(d: Divergence, power: float) -> None:
    rng = np.random.default_rng(5)
    corners = [
        np.array([x, 1 - x]) for x in (1e-9, 1e-3, 0.1, 0.5, 0.9, 1 - 1e-3, 1 - 1e-9, 0.49, 0.51, 0.4999, 0.5001)
    ]
    rows = np.stack(corners + [rng.dirichlet([0.5, 0.5]) for _ in range(40)])
    table = np.asarray(d(rows[:, None], rows[None, :])) ** power
    # direct[i, k] > through[i, j] + through[j, k] for some i, j, k
    assert (table[:, None, :] > (table[:, :, None] + table[None, :, :]) * (1 + 1e-9) + 1e-12).any()


def test_kl_violates_it_on_a_plain_example() -> None:
    p, q, r = [0.5, 0.5], [0.25, 0.75], [0.1, 0.9]
    assert float(dkl.kl(p, r)) > float(dkl.kl(p, q)) + float(dkl.kl(q, r))


# -------------------------------------------------------------------------------------------------------- names, units


def test_members_are_frozen_hashable_and_equal_by_value() -> None:
    assert dkl.Renyi(2) == dkl.Renyi(2.0)
    assert len({dkl.Renyi(2), dkl.Renyi(2.0), dkl.Renyi(3), dkl.JS(0.5), dkl.js, dkl.kl}) == 4
    with pytest.raises(AttributeError):
        dkl.Renyi(2).order = 3  # type: ignore[misc]
    names = [d.name for d in MEMBERS if d.name not in ("alpha(0)", "alpha(1)")]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("d", MEMBERS, ids=lambda d: d.name)
def test_every_member_describes_itself(d: Divergence) -> None:
    assert d.symbol
    assert d.direction
    assert (d.direction == "symmetric in P and Q") == d.symmetric or d.name in ("renyi(0.5)", "tsallis(0.5)")
    assert d.unit in ("nats", "")
    assert repr(d)


@pytest.mark.parametrize("d", MEMBERS, ids=lambda d: d.name)
def test_base_rescales_logarithms_and_is_refused_elsewhere(d: Divergence) -> None:
    p, q = [0.5, 0.5], [0.25, 0.75]
    if d.unit:
        assert float(d(p, q, base=2)) == pytest.approx(float(d(p, q)) / math.log(2), rel=1e-15)
        assert float(d(p, q, base=math.e)) == pytest.approx(float(d(p, q)), rel=1e-15)
        assert float(d(p, q, base=10)) == pytest.approx(float(d(p, q)) / math.log(10), rel=1e-15)
    else:
        with pytest.raises(ValueError, match="pure number"):
            d(p, q, base=2)


def test_js_of_disjoint_supports_is_one_bit() -> None:
    assert float(dkl.js([1.0, 0.0], [0.0, 1.0], base=2)) == 1.0


def test_different_parameters_have_different_names() -> None:
    assert dkl.Renyi(2.0000001).name != dkl.Renyi(2).name
    assert dkl.Renyi(-0.0).name == dkl.Renyi(0).name == "renyi(0)"
    assert dkl.Renyi(2).name == "renyi(2)"
    assert dkl.Renyi(math.inf).name == "renyi(inf)"
    assert dkl.JS(0.25).name == "js(0.25)"


def test_parameters_are_any_real_scalar() -> None:
    for scalar in (np.float32(0.5), np.float64(0.5)):
        assert dkl.Renyi(scalar) == dkl.Renyi(0.5)
    assert dkl.Renyi(np.int64(2)) == dkl.Renyi(2)
    assert dkl.kl([0.5, 0.5], [0.25, 0.75], axis=np.int64(0), base=np.float32(2)) > 0


def test_a_bound_takes_what_a_divergence_returns() -> None:
    p, q = np.float32([0.3, 0.7]), np.float32([0.5, 0.5])
    assert dkl.bounds(kl=dkl.kl(p, q))["tv"].upper >= float(dkl.tv(p, q))
    near = dkl.bounds({dkl.Renyi(2.0000001): 1e-5})
    assert near["chi2"].lower < near["chi2"].upper
