"""Make references.json: divergences of pairs of families by mpmath, from the densities or from Bregman's form.

Run ``python tests/families/make_references.py`` from the root of the repository; it takes about a minute.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import mpmath as mp
from mpmath import mpf

mp.mp.dps = 60

Numbers = tuple[mpf, ...]

#: log-normaliser and natural parameters of each family, from the constructor's parameters: KL(p‖q) is its Bregman
#: divergence F(θ_q) − F(θ_p) − ∇F(θ_p)·(θ_q − θ_p), and −log ∫ p^a q^(1−a) is a·F(θ_p) + (1 − a)·F(θ_q) − F(θ_m).
FAMILIES: dict[str, tuple[Callable[..., mpf], Callable[..., Numbers], Callable[[Numbers], bool]]] = {
    "Normal": (
        lambda u, v: -u * u / (4 * v) - mp.log(-2 * v) / 2,
        lambda loc, scale: (loc / scale**2, -1 / (2 * scale**2)),
        lambda t: t[1] < 0,
    ),
    "Gamma": (
        lambda u, v: mp.loggamma(u + 1) - (u + 1) * mp.log(-v),
        lambda shape, rate: (shape - 1, -rate),
        lambda t: t[0] > -1 and t[1] < 0,
    ),
    "Exponential": (lambda u: -mp.log(-u), lambda rate: (-rate,), lambda t: t[0] < 0),
    "ChiSquared": (lambda u: mp.loggamma(u + 1) + (u + 1) * mp.log(2), lambda df: (df / 2 - 1,), lambda t: t[0] > -1),
    "Beta": (
        lambda u, v: mp.loggamma(u) + mp.loggamma(v) - mp.loggamma(u + v),
        lambda a, b: (a, b),
        lambda t: t[0] > 0 and t[1] > 0,
    ),
    "Dirichlet": (
        lambda *c: sum(mp.loggamma(x) for x in c) - mp.loggamma(sum(c)),
        lambda *c: c,
        lambda t: all(x > 0 for x in t),
    ),
    "Rayleigh": (lambda u: -mp.log(-2 * u), lambda scale: (-1 / (2 * scale**2),), lambda t: t[0] < 0),
    "HalfNormal": (lambda u: -mp.log(-2 * u) / 2, lambda scale: (-1 / (2 * scale**2),), lambda t: t[0] < 0),
    "Maxwell": (lambda u: -3 * mp.log(-2 * u) / 2, lambda scale: (-1 / (2 * scale**2),), lambda t: t[0] < 0),
}
FAMILIES["LogNormal"] = FAMILIES["Normal"]
FAMILIES["InverseGamma"] = FAMILIES["Gamma"]
FAMILIES["Erlang"] = FAMILIES["Gamma"]

#: Pairs of parameters: ordinary ones, nearly equal ones, very large and very small ones.
PAIRS: dict[str, list[tuple[tuple[float, ...], tuple[float, ...]]]] = {
    "Normal": [
        ((0, 1), (1, 2)), ((3, 2), (3 + 2**-20, 2 - 2**-21)), ((1e3, 1e-3), (1e3 + 2**-10, 1e-3)),
        ((0, 1e3), (0, 1e-3)),
    ],
    "LogNormal": [((0.5, 1.5), (-1, 1)), ((0, 1), (2**-26, 1)), ((5, 0.25), (5, 0.5))],
    "Gamma": [
        ((2, 1), (1, 3)), ((1e6, 1e6), (1.01e6, 1.01e6)), ((0.01, 2), (0.02, 5)), ((3, 2), (3 + 2**-30, 2)),
        ((1e8, 1), (1e8 + 1, 1)), ((0.5, 1), (400, 3)),
    ],
    "Erlang": [((2, 1), (5, 3)), ((1, 2), (1, 2.5)), ((100, 1), (101, 1))],
    "InverseGamma": [((2, 1), (1, 3)), ((50, 60), (50 + 2**-20, 60)), ((0.25, 4), (3, 0.5))],
    "Exponential": [((1,), (2,)), ((1,), (1 + 2**-26,)), ((1e-8,), (1e8,))],
    "ChiSquared": [((1,), (4,)), ((1000,), (1001,)), ((0.5,), (0.5 + 2**-20,))],
    "Beta": [
        ((1e6, 1e6), (1.01e6, 1.01e6)), ((0.5, 0.5), (2, 5)), ((3, 4), (3 + 2**-24, 4)),
        ((1e-3, 2), (5, 1e3)), ((1e7, 1), (1.5e7, 1)),
    ],
    "Dirichlet": [
        ((1, 2, 3), (3, 2, 1)), ((1e6, 2e6, 3e6), (1.01e6, 2.02e6, 3.03e6)),
        ((0.1, 0.2, 0.3, 0.4), (0.4, 0.3, 0.2, 0.1)),
    ],
    "Rayleigh": [((1,), (2,)), ((3,), (3 - 2**-26,)), ((1e-6,), (1e6,))],
    "HalfNormal": [((1,), (2,)), ((3,), (3 - 2**-26,)), ((5,), (0.125,))],
    "Maxwell": [((1,), (2,)), ((3,), (3 - 2**-26,)), ((5,), (0.125,))],
}  # fmt: skip
ORDERS = (-1.0, 1e-6, 0.25, 0.5, 0.75, 1 - 1e-6, 1.5, 2.0)


def kl(name: str, p: tuple[float, ...], q: tuple[float, ...]) -> mpf:
    """Bregman's divergence of the log-normaliser."""
    normaliser, natural, _ = FAMILIES[name]
    theta_p, theta_q = (natural(*map(mpf, x)) for x in (p, q))
    value = normaliser(*theta_q) - normaliser(*theta_p)
    for i, (t, u) in enumerate(zip(theta_p, theta_q, strict=True)):
        order = tuple(int(i == j) for j in range(len(theta_p)))
        slope = mp.diff(normaliser, theta_p, order) if len(theta_p) > 1 else mp.diff(normaliser, theta_p[0])
        value -= slope * (u - t)
    return value


def gap(name: str, p: tuple[float, ...], q: tuple[float, ...], order: float) -> mpf | None:
    """−log ∫ p^a q^(1−a); None where the integral diverges."""
    normaliser, natural, inside = FAMILIES[name]
    a = mpf(order)
    theta_p, theta_q = (natural(*map(mpf, x)) for x in (p, q))
    theta = tuple(a * t + (1 - a) * u for t, u in zip(theta_p, theta_q, strict=True))
    if not inside(theta):
        return None
    return a * normaliser(*theta_p) + (1 - a) * normaliser(*theta_q) - normaliser(*theta)


def main() -> None:
    """Write the file."""
    rows = []
    with mp.workdps(80):
        for name, pairs in PAIRS.items():
            for p, q in pairs:
                gaps = {repr(a): gap(name, p, q, a) for a in ORDERS}
                rows.append(
                    {
                        "family": name,
                        "p": p,
                        "q": q,
                        "kl": mp.nstr(kl(name, p, q), 20),
                        "reverse_kl": mp.nstr(kl(name, q, p), 20),
                        "gaps": {a: None if g is None else mp.nstr(g, 20) for a, g in gaps.items()},
                    }
                )
    Path(__file__).with_name("references.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
