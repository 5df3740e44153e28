"""Make matrix_references.json: ``python tests/families/make_matrix_references.py`` in the repository's root; seconds.

Each value is calculated by mpmath with 60 digits from the very floats that are handed to dkl, by textbook formulas: for
normal distributions with inverses, traces and determinants, for Wishart distributions from their normalising constants.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mpmath import matrix, mp, mpf

mp.dps = 60
TARGET = Path(__file__).with_name("matrix_references.json")
Moments = tuple[Any, Any]


def _matrix(x: Any) -> Any:
    return matrix([[mpf(v) for v in row] for row in x])


def _diagonal(x: Any) -> Any:
    return mp.diag([mpf(v) for v in x])


def moments(family: str, given: dict[str, Any]) -> Moments:
    """The mean and the covariance of a normal distribution of a vector, or of a matrix's entries row by row."""
    if family == "MatrixNormal":
        u, v = _matrix(given["row_covariance"]), _matrix(given["column_covariance"])
        n, m = u.rows, v.rows
        covariance = matrix(n * m, n * m)
        for i in range(n * m):
            for j in range(n * m):
                covariance[i, j] = u[i // m, j // m] * v[i % m, j % m]
        return matrix([mpf(x) for row in given["loc"] for x in row]), covariance
    loc = matrix([mpf(x) for x in given["loc"]])
    if family == "DiagonalNormal":
        ways: dict[str, Callable[[mpf], mpf]] = {
            "scale": lambda x: x**2,
            "variance": lambda x: x,
            "log_variance": mp.exp,
            "precision": lambda x: 1 / x,
        }
        ((name, width),) = ((k, x) for k, x in given.items() if k != "loc")
        return loc, _diagonal([ways[name](mpf(x)) for x in width])
    if family == "LowRankNormal":
        w = _matrix(given["factor"])
        return loc, w * w.T + _diagonal(given["diagonal"])
    if "precision" in given:
        return loc, _matrix(given["precision"]) ** -1
    if "cholesky" in given:
        factor = _matrix(given["cholesky"])
        return loc, factor * factor.T
    return loc, _matrix(given["covariance"])


def _positive(x: Any) -> bool:
    return all(mp.det(x[:n, :n]) > 0 for n in range(1, x.rows + 1))


def normal_kl(p: Moments, q: Moments) -> mpf:
    inverse = q[1] ** -1
    product, apart = inverse * p[1], q[0] - p[0]
    trace = sum(product[i, i] for i in range(product.rows))
    return (trace - product.rows - mp.log(mp.det(product)) + (apart.T * inverse * apart)[0]) / 2


def normal_renyi(order: mpf, p: Moments, q: Moments) -> mpf:
    between = order * q[1] + (1 - order) * p[1]
    # a·Σ_p⁻¹ + (1 − a)·Σ_q⁻¹ = Σ_p⁻¹·(a·Σ_q + (1 − a)·Σ_p)·Σ_q⁻¹ has to be positive definite.
    if not _positive(between):
        return mp.inf
    apart = q[0] - p[0]
    volumes = mp.log(mp.det(between)) - (1 - order) * mp.log(mp.det(p[1])) - order * mp.log(mp.det(q[1]))
    return order / 2 * (apart.T * between**-1 * apart)[0] - volumes / (2 * (order - 1))


def _log_constant(df: mpf, scale: Any) -> mpf:
    d = scale.rows
    gammas = sum(mp.loggamma((df - j) / 2) for j in range(d))
    return df * d / 2 * mp.log(2) + df / 2 * mp.log(mp.det(scale)) + mpf(d * (d - 1)) / 4 * mp.log(mp.pi) + gammas


def wishart(family: str, given: dict[str, Any]) -> Moments:
    """Degrees of freedom and V, of the inverse for an inverse one."""
    scale = _matrix(given["scale"])
    return mpf(given["df"]), scale**-1 if family == "InverseWishart" else scale


def wishart_kl(p: Moments, q: Moments) -> mpf:
    d = p[1].rows
    log_det = sum(mp.digamma((p[0] - j) / 2) for j in range(d)) + d * mp.log(2) + mp.log(mp.det(p[1]))
    product = q[1] ** -1 * p[1]
    trace = p[0] * (sum(product[i, i] for i in range(d)) - d)
    return _log_constant(*q) - _log_constant(*p) + ((p[0] - q[0]) * log_det + trace) / 2


def wishart_renyi(order: mpf, p: Moments, q: Moments) -> mpf:
    df = order * p[0] + (1 - order) * q[0]
    inverse = order * p[1] ** -1 + (1 - order) * q[1] ** -1
    if df <= p[1].rows - 1 or not _positive(inverse):
        return mp.inf
    integral = _log_constant(df, inverse**-1) - order * _log_constant(*p) - (1 - order) * _log_constant(*q)
    return integral / (order - 1)


def values(case: dict[str, Any]) -> dict[str, str]:
    """KL and two Rényi divergences of a case."""
    families = [case[side]["family"] for side in "pq"]
    given = [{k: x for k, x in case[side].items() if k != "family"} for side in "pq"]
    if families[0] in ("Wishart", "InverseWishart"):
        p, q = (wishart(f, x) for f, x in zip(families, given, strict=True))
        kl, renyi = wishart_kl, wishart_renyi
    else:
        p, q = (moments(f, x) for f, x in zip(families, given, strict=True))
        kl, renyi = normal_kl, normal_renyi
    found = {"kl": kl(p, q), "renyi_half": renyi(mpf(1) / 2, p, q), "renyi_2": renyi(mpf(2), p, q)}
    return {name: mp.nstr(value, 25) for name, value in found.items()}


def _definite(rng: np.random.Generator, d: int) -> np.ndarray:
    x = rng.normal(size=(d, d))
    return _mirrored(x @ x.T + 0.5 * np.eye(d))


def _mirrored(x: np.ndarray) -> np.ndarray:
    return np.tril(x) + np.tril(x, -1).T


def _beside(rng: np.random.Generator, x: np.ndarray, by: float) -> np.ndarray:
    """The same with every entry moved by so much of itself, symmetric if it was."""
    moved = x * (1.0 + by * rng.uniform(-1, 1, size=x.shape))
    return _mirrored(moved) if x.ndim == 2 and x.shape[0] == x.shape[1] and (x == x.T).all() else moved


def _ill(rng: np.random.Generator, d: int, condition: float) -> np.ndarray:
    """The factor of a covariance of that condition number, whose axes lie across those of the coordinates."""
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    r = np.linalg.qr(np.geomspace(1.0, condition**-0.5, d)[:, None] * turn)[1]
    return (r * np.sign(np.diag(r))[:, None]).T


def cases() -> dict[str, dict[str, Any]]:
    """What is measured: a name, and the parameters of both sides."""
    rng = np.random.default_rng(20)
    made: dict[str, dict[str, Any]] = {}

    def add(name: str, p: dict[str, Any], q: dict[str, Any], family: str, other: str = "") -> None:
        made[name] = {
            side: {"family": f, **{k: np.asarray(x).tolist() for k, x in given.items()}}
            for side, f, given in (("p", family, p), ("q", other or family, q))
        }

    def pair(name: str, family: str, p: dict[str, Any], q: dict[str, Any]) -> None:
        """As they are, and P against what lies beside it."""
        add(f"{name}, apart", p, q, family)
        for by in (1e-3, 1e-9, 1e-12):
            add(f"{name}, {by:g} apart", p, {k: _beside(rng, np.asarray(x), by) for k, x in p.items()}, family)

    def loc() -> np.ndarray:
        return rng.normal(size=3)

    for way in ("covariance", "precision"):
        p, q = ({"loc": loc(), way: _definite(rng, 3)} for _ in "pq")
        pair(f"normal by {way}", "MultivariateNormal", p, q)
        add(f"normal by {way}, wide", {**p, way: 1e3 * p[way]}, q, "MultivariateNormal")
        add(f"normal by {way}, narrow", {**p, way: 1e-6 * p[way]}, q, "MultivariateNormal")
    p, q = ({"loc": loc(), "cholesky": np.linalg.cholesky(_definite(rng, 3))} for _ in "pq")
    pair("normal by cholesky", "MultivariateNormal", p, q)
    add("normal by cholesky, wide", {**p, "cholesky": 30.0 * p["cholesky"]}, q, "MultivariateNormal")
    add("normal by cholesky, narrow", {**p, "cholesky": 1e-9 * p["cholesky"]}, q, "MultivariateNormal")
    for condition in (1e10, 1e20):
        l_p = _ill(rng, 4, condition)
        l_q = l_p @ (np.eye(4) + 1e-2 * np.tril(rng.normal(size=(4, 4))))
        mu = rng.normal(size=4)
        sides = ({"loc": mu, "cholesky": l_p}, {"loc": mu + l_p @ rng.normal(size=4), "cholesky": l_q})
        add(f"normal by cholesky, condition {condition:g}", *sides, "MultivariateNormal")
    l_p, l_q = _ill(rng, 4, 1e10), _ill(rng, 4, 1e10)
    sides = ({"loc": mu, "covariance": _mirrored(l_p @ l_p.T)}, {"loc": mu, "covariance": _mirrored(l_q @ l_q.T)})
    add("normal by covariance, condition 1e+10", *sides, "MultivariateNormal")
    by = {"covariance": _definite(rng, 3), "precision": _definite(rng, 3), "cholesky": q["cholesky"]}
    for way, its in (("covariance", "precision"), ("precision", "cholesky"), ("cholesky", "covariance")):
        sides = ({"loc": loc(), way: by[way]}, {"loc": loc(), its: by[its]})
        add(f"normal by {way} and by {its}", *sides, "MultivariateNormal")
    for way in ("scale", "variance", "log_variance", "precision"):
        p, q = ({"loc": loc(), way: rng.gamma(3.0, size=3)} for _ in "pq")
        pair(f"diagonal by {way}", "DiagonalNormal", p, q)
        other = {"loc": loc(), "covariance": _definite(rng, 3)}
        add(f"diagonal by {way} and covariance", p, other, "DiagonalNormal", "MultivariateNormal")
        add(f"covariance and diagonal by {way}", other, p, "MultivariateNormal", "DiagonalNormal")
    p, q = ({"loc": loc(), "factor": rng.normal(size=(3, 2)), "diagonal": rng.gamma(3.0, size=3)} for _ in "pq")
    pair("low rank", "LowRankNormal", p, q)
    add("low rank of two ranks", p, {**q, "factor": q["factor"][:, :1]}, "LowRankNormal")
    other = {"loc": loc(), "covariance": _definite(rng, 3)}
    add("low rank and covariance", p, other, "LowRankNormal", "MultivariateNormal")
    diagonal = {"loc": loc(), "scale": [1.0, 2.0, 3.0]}
    add("diagonal and low rank", diagonal, p, "DiagonalNormal", "LowRankNormal")
    p, q = (
        {"loc": rng.normal(size=(2, 3)), "row_covariance": _definite(rng, 2), "column_covariance": _definite(rng, 3)}
        for _ in "pq"
    )
    pair("matrix", "MatrixNormal", p, q)
    add("matrix, wide", {**p, "row_covariance": 1e3 * p["row_covariance"]}, q, "MatrixNormal")
    add("matrix, near by the product", p, {**p, "row_covariance": 1.5 * p["row_covariance"]}, "MatrixNormal")
    for family in ("Wishart", "InverseWishart"):
        p, q = ({"df": df, "scale": _definite(rng, 3)} for df in (4.5, 7.0))
        pair(family, family, p, q)
        add(f"{family}, few degrees", {**p, "df": 2.001}, {**q, "df": 3.0}, family)
        add(f"{family}, many degrees", {**p, "df": 1e6}, {**p, "df": 1.01e6}, family)
        scale = p["scale"] / 2.0 if family == "Wishart" else p["scale"] * 2.0
        add(f"{family}, of equal mean", {**p, "df": 1e6}, {"df": 2e6, "scale": scale}, family)
        add(f"{family}, far", {**p, "df": 400.0}, q, family)
        add(f"{family}, of one row", {"df": 0.3, "scale": [[2.0]]}, {"df": 5.0, "scale": [[0.7]]}, family)
    return made


if __name__ == "__main__":
    found = {name: {**case, "values": values(case)} for name, case in cases().items()}
    TARGET.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
