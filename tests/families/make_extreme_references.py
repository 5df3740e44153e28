"""Remake extreme_references.json: KL and Rényi of order ½ of the least and largest parameters, by log-normalisers.

With so many digits KL = A(θ_q) − A(θ_p) − A'(θ_p)·(θ_q − θ_p) and A(θ_p) + A(θ_q) − 2·A((θ_p + θ_q)/2) lose none that
matter. ``python tests/families/make_extreme_references.py``, half a minute.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import mpmath as mp

Theta = tuple[Any, ...]
# In how many digits: the numbers themselves span six hundred.
DIGITS = 700


def _gamma(shape: float, rate: float) -> Theta:
    return mp.mpf(shape), mp.mpf(rate)


def _normal(loc: float, scale: float) -> Theta:
    precision = 1 / mp.mpf(scale) ** 2
    return mp.mpf(loc) * precision, precision


def _inverse_gaussian(mean: float, shape: float) -> Theta:
    return mp.mpf(shape) / mp.mpf(mean) ** 2, mp.mpf(shape)


def _shares(*c: float) -> Theta:
    return tuple(map(mp.mpf, c))


#: θ of the parameters, A(θ) and its gradient.
LAWS: dict[str, tuple[Callable[..., Theta], Callable[[Theta], Any], Callable[[Theta], Theta]]] = {
    "Gamma": (
        _gamma,
        lambda t: mp.loggamma(t[0]) - t[0] * mp.log(t[1]),
        lambda t: (mp.digamma(t[0]) - mp.log(t[1]), -t[0] / t[1]),
    ),
    "Normal": (
        _normal,
        lambda t: t[0] ** 2 / (2 * t[1]) - mp.log(t[1]) / 2,
        lambda t: (t[0] / t[1], -(t[0] ** 2) / (2 * t[1] ** 2) - 1 / (2 * t[1])),
    ),
    "InverseGaussian": (
        _inverse_gaussian,
        lambda t: -mp.sqrt(t[0] * t[1]) - mp.log(t[1]) / 2,
        lambda t: (-mp.sqrt(t[1] / t[0]) / 2, -mp.sqrt(t[0] / t[1]) / 2 - 1 / (2 * t[1])),
    ),
    "Dirichlet": (
        _shares,
        lambda t: sum(map(mp.loggamma, t)) - mp.loggamma(sum(t)),
        lambda t: tuple(mp.digamma(x) - mp.digamma(sum(t)) for x in t),
    ),
}
LAWS["Beta"] = LAWS["Dirichlet"]
PARAMETERS = {
    "Gamma": [(1e-300, 1.0), (1e300, 1.0), (1.0, 1e-300), (1e-10, 1e200), (2.5, 1.5), (3e-300, 1.0)],
    "Normal": [(0.0, 1e-200), (0.0, 1e200), (1e300, 1e200), (0.0, 1e-310), (3.0, 1e-3)],
    "InverseGaussian": [(1e-200, 1e-200), (1e200, 1e200), (1.0, 1.0), (1e200, 1e-200), (1.0, 1.001)],
    "Beta": [
        (1e-300, 1.0), (1.0, 1e-300), (1e-200, 1e-200), (1e300, 1e300), (1.0, 1.0), (1e-5, 2e-5), (1e8, 2e8),
        (2.0, 3.000001),
    ],
    "Dirichlet": [(1e-200, 1e-200, 1e-200), (1e-300, 1.0, 1.0), (1e300, 1.0, 1.0), (1.0, 2.0, 1.0)],
}  # fmt: skip


def main() -> None:
    """Write the file beside this one."""
    rows: list[dict[str, Any]] = []
    for family, members in PARAMETERS.items():
        natural, log_normaliser, slope = LAWS[family]
        for p, q in permutations(members, 2):
            with mp.workdps(DIGITS):
                one, other = natural(*p), natural(*q)
                kl = log_normaliser(other) - log_normaliser(one)
                kl -= sum(d * (y - x) for d, x, y in zip(slope(one), one, other, strict=True))
                middle = tuple((x + y) / 2 for x, y in zip(one, other, strict=True))
                half = log_normaliser(one) + log_normaliser(other) - 2 * log_normaliser(middle)
                told = [mp.nstr(x, 20) if x < 1.79e308 else "inf" for x in (kl, half)]
            rows.append({"family": family, "p": p, "q": q, "kl": told[0], "renyi(1/2)": told[1]})
    lines = ",\n".join(json.dumps(row) for row in rows)
    Path(__file__).with_name("extreme_references.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
