"""One small pair, number by number: for ten outcomes the calls of an array library cost more than all the arithmetic.

A divergence's trace is run as it is, by Python, on floats.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

from dkl.kernels.trace import Core, traced

_Function = Callable[[float, float, float, float, float, float, tuple[float, ...]], float]

_LARGEST_EXPONENT = math.log(sys.float_info.max)


def select(condition: bool, x: float, y: float) -> float:
    """``x`` if the condition holds, else ``y``."""
    return x if condition else y


def exp(x: float) -> float:
    """exp(x), inf beyond the range."""
    return math.exp(x) if x < _LARGEST_EXPONENT else math.inf


def expm1(x: float) -> float:
    """exp(x) − 1, inf beyond the range."""
    return math.expm1(x) if x < _LARGEST_EXPONENT else math.inf


def excess_of_power(x: float, root: float, power: float) -> float:
    """X − log(1 + x) ≥ 0 with 1 + x = root^power."""
    if abs(x) >= 0.25:
        return x - power * math.log(root) if x < math.inf else math.inf
    s = x / (2.0 + x)
    z = s * s
    # x − log1p(x) = x·s − 2·(s³/3 + s⁵/5 + …)
    series = 1 / 3 + z * (1 / 5 + z * (1 / 7 + z * (1 / 9 + z * (1 / 11 + z * (1 / 13 + z * (1 / 15 + z / 17))))))
    return s * (x - 2.0 * z * series)


def expm1_minus(x: float) -> float:
    """exp(x) − 1 − x ≥ 0."""
    if abs(x) >= 0.5:
        return expm1(x) - x
    total, term = 0.0, 0.5 * x * x
    k = 2
    while abs(term) > 1e-17 * abs(total):
        total += term
        k += 1
        term *= x / k
    return total


def log_quotient(p: float, q: float, difference: float) -> float:
    """log(p/q), given p − q to full relative precision."""
    if abs(difference) < 0.5 * q:
        return math.log1p(difference / q)
    ratio = p / q
    return math.log(ratio) if 1e-290 < ratio < 1e290 else math.log(p) - math.log(q)


def kl_term(p: float, q: float, difference: float) -> float:
    """p·log(p/q) − p + q ≥ 0, given p − q to full relative precision."""
    if abs(difference) < 0.25 * p:
        return p * excess_of_power(-difference / p, q / p, 1.0)
    return math.fsum((q, -p, p * log_quotient(p, q, difference)))


def js_term(p: float, q: float, difference: float) -> float:
    """½·(p·log(p/m) + q·log(q/m)) ≥ 0 with m = (p + q)/2."""
    m = 0.5 * (p + q)
    return 0.5 * (kl_term(p, m, 0.5 * difference) + kl_term(q, m, -0.5 * difference))


# b_k = B_2k/(2k·(2k − 1)), of Stirling's series.
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)
_SHIFT = 10


def gamma_rest_divergence(y: float, x: float, apart: float) -> float:
    """The same sum of positive parts as in :mod:`dkl.kernels.loops.gamma`."""
    parts = []
    for k in range(_SHIFT):
        over = y + k + 1.0
        root = (y / over) * ((x + 1.0) / x) if k == 0 else (y + k) * (x + k + 1.0) / ((x + k) * over)
        parts.append(over * excess_of_power(apart / ((x + k) * over), root, 1.0))
    u, v = 1.0 / (y + _SHIFT), 1.0 / (x + _SHIFT)
    t = apart * v
    power, h, total, terms = 1.0, 1.0, 1.0, 0.0
    for b in _STIRLING:
        terms += b * total
        for _ in range(2):
            power *= u
            h = v * h + power
            total = v * total + h
    parts += [0.5 * excess_of_power(t, (y + _SHIFT) * v, 1.0), t * (t * u) * terms]
    return math.fsum(parts)


def executed(source: str) -> dict[str, Any]:
    """What a trace defines, run by Python on floats."""
    space: dict[str, Any] = {**globals(), "log": math.log, "log1p": math.log1p, "tanh": math.tanh}
    exec(source, space)
    return space


@cache
def term_of(core: Core) -> tuple[_Function, tuple[float, ...]]:
    """The term of a pair of probabilities as a Python function, and its constants."""
    source, constants = traced(core, "probabilities", "float64")
    return executed(source)["term"], constants


def total(core: Core, p: list[float], q: list[float]) -> float:
    """The sum of a divergence's terms, rounded once."""
    term, constants = term_of(core)
    p_alone, q_alone = core.slope_inf, core.f_zero
    terms = []
    for x, y in zip(p, q, strict=True):
        if x > 0:
            terms.append(term(x, y, x - y, 0.0, 0.0, 0.0, constants) if y > 0 else x * p_alone)
        elif y > 0:
            terms.append(y * q_alone)
    return math.fsum(terms) if math.inf not in terms else math.inf
