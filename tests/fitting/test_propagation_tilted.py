"""Moments of tilted densities against closed forms and mpmath: narrow, far, bent, cut off, heavy, improper."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from scipy.special import log_ndtr

from dkl.fitting.propagation.tilted import moments


def tilted(log_factor: Callable[[Any], Any], mean: Any, var: Any, guess: Any = None) -> tuple[Any, Any, Any, Any]:
    """Log Z, mean and variance of N(mean, var)·factor, by the distance from the mean."""
    mean, var = np.atleast_1d(np.asarray(mean, dtype=float)), np.atleast_1d(np.asarray(var, dtype=float))

    def log_density(d: Any, which: Any) -> Any:
        m, v = mean[which][:, None], var[which][:, None]
        with np.errstate(all="ignore"):
            return log_factor(m + d) - 0.5 * d**2 / v - 0.5 * np.log(2 * np.pi * v)

    def standard(u: Any, which: Any, centre: Any, width: Any) -> Any:
        return np.stack([(u - centre) / width, ((u - centre) / width) ** 2])

    made = moments(log_density, standard, *((0 * mean, np.sqrt(var)) if guess is None else guess))
    first, second = made.means
    return made.log_mass, mean + made.centre + made.width * first, made.width**2 * (second - first**2), made.found


def test_probit_by_its_closed_form() -> None:
    # Rasmussen and Williams (2006), equations 3.58, in tails to −40 too.
    mean = np.concatenate([np.linspace(-40, 40, 41), np.linspace(-3, 3, 41), np.full(5, 0.7)])
    var = np.concatenate([np.full(41, 1.0), np.geomspace(1e-6, 1e6, 41), np.geomspace(1e-12, 1e12, 5)])
    log_z, first, second, found = tilted(log_ndtr, mean, var)
    z = mean / np.sqrt(1 + var)
    ratio = np.exp(-0.5 * z**2 - 0.5 * math.log(2 * math.pi) - log_ndtr(z))
    assert found.all()
    np.testing.assert_allclose(log_z, log_ndtr(z), rtol=1e-12, atol=1e-12)
    scale = np.sqrt(var)
    np.testing.assert_allclose(first / scale, (mean + var * ratio / np.sqrt(1 + var)) / scale, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(second, var - var**2 * ratio / (1 + var) * (z + ratio), rtol=2e-9)


@pytest.mark.parametrize("at", [0.0, 3.0, -30.0])
@pytest.mark.parametrize("width", [1e-6, 1e-2, 1.0, 1e3])
def test_a_normal_factor_however_narrow_and_far(at: float, width: float) -> None:
    log_z, first, second, _ = tilted(lambda s: -0.5 * ((s - at) / width) ** 2, 1.0, 4.0)
    var = 1 / (0.25 + width**-2)
    total = 4.0 + width**2
    assert first[0] == pytest.approx(var * (0.25 + at * width**-2), rel=1e-12)
    assert second[0] == pytest.approx(var, rel=1e-10 + 2.2e-16 * max(abs(at), 1.0) / width)
    exact = -0.5 * (at - 1.0) ** 2 / total - 0.5 * math.log(total) + math.log(width)
    # The factor is given s, of which rounding leaves ε·|s|, as does the sum m + d.
    rounding = 2.2e-16 * max(abs(at), 1.0) / width
    assert log_z[0] == pytest.approx(exact, rel=1e-12, abs=1e-12 + rounding)


FACTORS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], list[float]]] = {
    "jump": (lambda s: np.where(s > 1.3, 0.0, -np.inf), lambda s: 1 if s > 1.3 else 0, [1.3]),
    "far jump": (
        lambda s: np.where(s > 20.0, 0.0, -np.inf),
        lambda s: 1 if s > 20 else 0,
        [20.0, 20.05, 20.1, 20.2, 20.4, 20.8, 21.6],
    ),
    "window": (lambda s: np.where(np.abs(s) < 0.25, 0.0, -np.inf), lambda s: 1 if abs(s) < 0.25 else 0, [-0.25, 0.25]),
    "bend": (lambda s: -np.abs(s - 2.0) / 0.1, lambda s: mpmath.exp(-abs(s - 2) / mpmath.mpf("0.1")), [2.0]),
    "heavy": (lambda s: -2 * np.log1p((s - 9) ** 2), lambda s: (1 + (s - 9) ** 2) ** -2, [0.0, 9.0]),
    "two modes": (
        lambda s: np.logaddexp(-0.5 * ((s - 4) / 0.3) ** 2, -0.5 * ((s + 3) / 0.2) ** 2),
        lambda s: (
            mpmath.exp(-(((s - 4) / mpmath.mpf("0.3")) ** 2) / 2)
            + mpmath.exp(-(((s + 3) / mpmath.mpf("0.2")) ** 2) / 2)
        ),
        [-3.3, -3.0, -2.5, 3.0, 4.0, 5.0],
    ),
    "count": (lambda s: 7 * s - np.exp(s), lambda s: mpmath.exp(7 * s - mpmath.exp(s)), [1.0, 2.0, 3.0]),
}


@pytest.mark.parametrize("name", FACTORS)
def test_bent_cut_and_several(name: str) -> None:
    factor, exact, at = FACTORS[name]
    log_z, first, second, _ = tilted(factor, 0.5, 2.25)
    with mpmath.workdps(30):
        places = [-30, -8, *(p for p in at if p < 0.5), 0.5, *(p for p in at if p > 0.5), max(10, *at) + 3, 60]
        if name == "far jump":
            places = [*at, 23, 26, 32]

        def density(s: Any) -> Any:
            return exact(s) * mpmath.npdf(s, 0.5, 1.5)

        mass = mpmath.quad(density, places)
        mean = mpmath.quad(lambda s: s * density(s), places) / mass
        var = mpmath.quad(lambda s: (s - mean) ** 2 * density(s), places) / mass
        assert log_z[0] == pytest.approx(float(mpmath.log(mass)), rel=1e-11, abs=1e-11)
    assert first[0] == pytest.approx(float(mean), rel=1e-11)
    assert second[0] == pytest.approx(float(var), rel=1e-9)


@pytest.mark.parametrize("below", [0.0, 0.1, 0.8])
def test_a_jump_wherever_it_is(below: float) -> None:
    # Also where it lies between the end of a panel and the last node, which is where rules of quadrature are blind.
    mean = np.concatenate([np.random.default_rng(0).normal(size=1000) * 4, [1.9976, -1.9976, 3.4985, 4.9944]])
    with np.errstate(divide="ignore"):
        log_below = np.log(below)
    log_z, _, _, found = tilted(lambda s: np.where(s > 0, 0.0, log_below), mean, np.ones(len(mean)))
    assert found.all()
    exact = np.logaddexp(log_ndtr(mean), log_below + log_ndtr(-mean))
    np.testing.assert_allclose(log_z, exact, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("low", "high"), [(3.0, 3.01), (-0.005, 0.003), (30.0, 30.2)])
def test_a_window_between_the_points_of_the_first_grid(low: float, high: float) -> None:
    log_z, first, second, found = tilted(lambda s: np.where((s > low) & (s < high), 0.0, -np.inf), 0.1, 1.0)
    assert found[0]
    places = np.linspace(low, high, 33).tolist()
    with mpmath.workdps(30):
        mass = mpmath.quad(lambda s: mpmath.npdf(s, 0.1, 1), places)
        mean = mpmath.quad(lambda s: s * mpmath.npdf(s, 0.1, 1), places) / mass
        var = mpmath.quad(lambda s: (s - mean) ** 2 * mpmath.npdf(s, 0.1, 1), places) / mass
        assert log_z[0] == pytest.approx(float(mpmath.log(mass)), rel=1e-11)
    assert first[0] == pytest.approx(float(mean), rel=1e-12)
    assert second[0] == pytest.approx(float(var), rel=1e-9)


@pytest.mark.parametrize(
    ("factor", "guess"),
    [
        (lambda s: s**2, None),
        (lambda s: 0.5 * s**2, None),
        (lambda s: np.full_like(s, -np.inf), None),
        (lambda s: 0.5 * s**2 - np.log1p(s**2) / 4, (np.zeros(1), np.full(1, 1e-3))),
    ],
    ids=["grows", "flat", "nothing", "slow tail"],
)
def test_no_finite_mass_is_said(factor: Any, guess: Any) -> None:
    _, _, _, found = tilted(factor, 0.0, 1.0, guess)
    assert not found[0]


def test_densities_do_not_disturb_each_other() -> None:
    def factor(s: Any) -> Any:
        return np.where(s > 0, -np.abs(s - 1.0), -np.inf)

    rng = np.random.default_rng(0)
    mean, var = rng.normal(size=20) * 3, np.exp(2 * rng.normal(size=20))
    together = tilted(factor, mean, var)
    for k in range(20):
        alone = tilted(factor, mean[k], var[k])
        for one, all_ in zip(alone, together, strict=True):
            np.testing.assert_allclose(one[0], all_[k], rtol=1e-12)


def test_the_guess_does_not_matter() -> None:
    exact = tilted(log_ndtr, -2.0, 3.0)
    for at, width in ((0.0, 1.0), (50.0, 0.01), (-1e4, 1e3), (-0.5, 1.1)):
        again = tilted(log_ndtr, -2.0, 3.0, (np.array([at]), np.array([width])))
        np.testing.assert_allclose(np.array(again[:3]), np.array(exact[:3]), rtol=1e-11)


def test_a_narrow_density_far_from_the_guess_ends_where_its_outcomes_are_rounded() -> None:
    asked = 0

    def log_density(u: np.ndarray[Any, Any], rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        nonlocal asked
        asked += u.size
        return -0.5 * ((u - 1e6) / 1e-3) ** 2

    made = moments(log_density, lambda u, rows, at, scale: ((u - at) / scale)[None], np.zeros(1), np.ones(1))
    assert made.found[0]
    assert asked < 1_000_000
    assert abs(made.log_mass[0] - math.log(1e-3 * math.sqrt(2.0 * math.pi))) < 1e-6
