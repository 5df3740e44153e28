"""Families over vectors and matrices, held to mpmath, SciPy, textbook formulas, gradients and samples."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import scipy.special
import scipy.stats as st
import torch

import dkl
from dkl.families import Gamma, InverseGamma, Normal
from dkl.families.matrix_normal import MatrixNormal
from dkl.families.multivariate import DiagonalNormal, LowRankNormal, MultivariateNormal
from dkl.families.wishart import InverseWishart, Wishart

from .differences import assert_gradient
from .make_matrix_references import cases, values

CLASSES = {
    c.__name__: c for c in (MultivariateNormal, DiagonalNormal, LowRankNormal, MatrixNormal, Wishart, InverseWishart)
}
REFERENCES: dict[str, Any] = json.loads(Path(__file__).with_name("matrix_references.json").read_text())
MEASURES = {"kl": dkl.kl, "renyi_half": dkl.Renyi(0.5), "renyi_2": dkl.Renyi(2.0)}


def _made(given: dict[str, Any], as_array: Any = np.asarray) -> Any:
    return CLASSES[given["family"]](**{k: as_array(x) for k, x in given.items() if k != "family"})


def _bar(name: str, quantity: str) -> float:
    """The relative error that a case may have: 1e-12 but where its parameters do not determine more."""
    if "by covariance, condition 1e+10" in name:
        return 1e-5  # a rounding of an entry of the covariance moves its smallest eigenvalue by ε·1e10 of itself
    if "condition 1e+20" in name:
        return 1e-6  # the factor's own condition number is 1e10
    if "condition 1e+10" in name:
        return 1e-10
    apart = next((float(x) for x in ("0.001", "1e-09", "1e-12") if f" {x} apart" in name), 1.0)
    if quantity != "kl" and name.startswith("diagonal"):
        # Normal's mixture is a member of its own, in other parameters: they are rounded before the difference.
        return 1e-12 + 4e-15 / apart
    return 1e-12


@pytest.mark.parametrize("quantity", MEASURES)
@pytest.mark.parametrize("name", REFERENCES)
def test_reference(name: str, quantity: str) -> None:
    case = REFERENCES[name]
    exact = float(case["values"][quantity])
    got = float(MEASURES[quantity](_made(case["p"]), _made(case["q"])))
    if math.isinf(exact):
        assert got == math.inf
    else:
        assert got >= 0
        assert got == pytest.approx(exact, rel=_bar(name, quantity), abs=0)


@pytest.mark.parametrize("library", ["torch", "jax"])
@pytest.mark.parametrize("name", REFERENCES)
def test_reference_elsewhere(name: str, library: str) -> None:
    jax.config.update("jax_enable_x64", True)
    as_array = (
        (lambda x: torch.tensor(x, dtype=torch.float64)) if library == "torch" else (lambda x: jax.numpy.asarray(x))
    )
    case = REFERENCES[name]
    p, q = _made(case["p"], as_array), _made(case["q"], as_array)
    for quantity, measure in MEASURES.items():
        exact = float(case["values"][quantity])
        value = measure(p, q)
        assert isinstance(value, torch.Tensor if library == "torch" else jax.Array)
        got = float(value)
        assert got == pytest.approx(exact, rel=_bar(name, quantity), abs=0) or (got == exact == math.inf)


def test_references_are_those_of_the_script() -> None:
    made = cases()
    assert list(made) == list(REFERENCES)
    for name in list(made)[::7]:
        assert values({k: REFERENCES[name][k] for k in "pq"}) == REFERENCES[name]["values"]


def _definite(rng: np.random.Generator, *shape: int) -> np.ndarray:
    x = rng.normal(size=(*shape, shape[-1]))
    x = x @ x.swapaxes(-1, -2) + 0.5 * np.eye(shape[-1])
    return 0.5 * (x + x.swapaxes(-1, -2))


def _pairs(seed: int = 0, batch: tuple[int, ...] = (), factor: float = 0.6) -> dict[str, tuple[Any, Any]]:
    """Pairs of every kind; the first is the narrower, so that the relatives of order 2 are finite."""
    rng = np.random.default_rng(seed)
    d = 3
    one, other = _definite(rng, *batch, d), _definite(rng, *batch, d)
    # Narrower than twice the other in every direction.
    least = np.linalg.eigvalsh(other)[..., :1, None]
    one = factor * one / np.linalg.eigvalsh(one)[..., -1:, None] * least
    m, n = rng.normal(size=(2, *batch, d))
    low, width = 0.1 * rng.normal(size=(*batch, d, 2)), rng.gamma(5.0, size=(*batch, d))
    rows, columns = _definite(rng, *batch, 2), _definite(rng, *batch, d)
    loc = rng.normal(size=(2, *batch, 2, d))
    return {
        "covariance": (MultivariateNormal(m, one), MultivariateNormal(n, other)),
        "precision": (
            MultivariateNormal(m, precision=_inverse(one)),
            MultivariateNormal(n, precision=_inverse(other)),
        ),
        "cholesky": (
            MultivariateNormal(m, cholesky=np.linalg.cholesky(one)),
            MultivariateNormal(n, cholesky=np.linalg.cholesky(other)),
        ),
        "mixed kinds": (MultivariateNormal(m, precision=_inverse(one)), MultivariateNormal(n, other)),
        "diagonal": (DiagonalNormal(m, variance=width), DiagonalNormal(n, scale=width)),
        "diagonal, normal": (DiagonalNormal(m, variance=0.5 * least[..., 0] + 0 * m), MultivariateNormal(n, other)),
        "normal, low rank": (
            MultivariateNormal(m, one / np.linalg.eigvalsh(one)[..., -1:, None]),
            LowRankNormal(n, low, width + 1.0),
        ),
        "low rank": (LowRankNormal(m, low, 0.5 * width), LowRankNormal(n, 2.0 * low, width)),
        "low rank, diagonal": (LowRankNormal(m, low, 0.5 * width), DiagonalNormal(n, variance=width)),
        "matrix": (MatrixNormal(loc[0], rows, columns), MatrixNormal(loc[1], 1.5 * rows, columns)),
        "Wishart": (Wishart(6.5, one), Wishart(5.0, other)),
        "InverseWishart": (InverseWishart(9.5, one + other), InverseWishart(9.0, one)),
    }


def _inverse(x: np.ndarray) -> np.ndarray:
    y = np.linalg.inv(x)
    return 0.5 * (y + y.swapaxes(-1, -2))


KINDS = list(_pairs())


def _moments(p: Any) -> tuple[np.ndarray, np.ndarray]:
    """The mean and covariance of all entries, from the parameters, of one normal distribution."""
    if isinstance(p, MatrixNormal):
        return p.loc.ravel(), np.kron(p.row_covariance, p.column_covariance)
    known = p.parameters
    if isinstance(p, DiagonalNormal):
        return p.loc, np.diag(known["variance"] if "variance" in known else known["scale"] ** 2)
    if isinstance(p, LowRankNormal):
        return p.loc, p.factor @ p.factor.T + np.diag(p.diagonal)
    if "cholesky" in known:
        return p.loc, p.cholesky @ p.cholesky.T
    return p.loc, known["covariance"] if "covariance" in known else np.linalg.inv(p.precision)


def _log_integral(p: Any, q: Any, a: float) -> float:
    """Log ∫ p^a q^(1−a) by the textbook."""
    if isinstance(p, Wishart):
        v = [np.linalg.inv(x.scale) if isinstance(x, InverseWishart) else x.scale for x in (p, q)]
        df = a * p.df + (1 - a) * q.df
        between = np.linalg.inv(a * np.linalg.inv(v[0]) + (1 - a) * np.linalg.inv(v[1]))

        def constant(df: Any, v: np.ndarray) -> Any:
            d = len(v)
            return 0.5 * df * (d * math.log(2) + np.linalg.slogdet(v)[1]) + scipy.special.multigammaln(0.5 * df, d)

        return float(constant(df, between) - a * constant(p.df, v[0]) - (1 - a) * constant(q.df, v[1]))
    (m, s), (n, t) = _moments(p), _moments(q)
    mix = a * t + (1 - a) * s  # Σ*
    logs = [np.linalg.slogdet(x)[1] for x in (mix, s, t)]
    apart = m - n
    return float(
        -0.5 * a * (1 - a) * apart @ np.linalg.solve(mix, apart) - 0.5 * (logs[0] - (1 - a) * logs[1] - a * logs[2])
    )


@pytest.mark.parametrize("kind", KINDS)
def test_power_family(kind: str) -> None:
    p, q = _pairs()[kind]
    # The integral's logarithm is a difference of numbers of a size up to 100 here, hence 1e-10 and not 1e-12.
    half, two, three = (_log_integral(p, q, a) for a in (0.5, 2.0, 1.25))
    assert float(dkl.Renyi(0.5)(p, q)) == pytest.approx(-2.0 * half, rel=1e-10)
    assert float(dkl.Renyi(2.0)(p, q)) == pytest.approx(two, rel=1e-10)
    assert float(dkl.Renyi(1.25)(p, q)) == pytest.approx(4.0 * three, rel=1e-10)
    assert float(dkl.chi2(p, q)) == pytest.approx(math.expm1(two), rel=1e-9)
    assert float(dkl.neyman_chi2(q, p)) == pytest.approx(math.expm1(two), rel=1e-9)
    assert float(dkl.squared_hellinger(p, q)) == pytest.approx(-math.expm1(half), rel=1e-10)
    assert float(dkl.hellinger(p, q)) == pytest.approx(math.sqrt(-math.expm1(half)), rel=1e-10)
    assert float(dkl.bhattacharyya(p, q)) == pytest.approx(-half, rel=1e-10)
    assert float(dkl.jeffreys(p, q)) == pytest.approx(float(dkl.kl(p, q)) + float(dkl.kl(q, p)), rel=1e-14)
    # KL is where the orders meet.
    assert float(dkl.Renyi(1.0 + 1e-9)(p, q)) == pytest.approx(float(dkl.kl(p, q)), rel=1e-6)


@pytest.mark.parametrize("kind", [k for k in KINDS if "Wishart" not in k])
def test_normal_kl_by_the_textbook(kind: str) -> None:
    p, q = _pairs()[kind]
    for x, y in ((p, q), (q, p)):
        (m, s), (n, t) = _moments(x), _moments(y)
        inverse = np.linalg.inv(t)
        logs = np.linalg.slogdet(t)[1] - np.linalg.slogdet(s)[1]
        exact = 0.5 * (np.trace(inverse @ s) - len(m) + logs + (n - m) @ inverse @ (n - m))
        # The textbook's terms are up to 100 times their sum here.
        assert float(dkl.kl(x, y)) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_infinite_against_a_much_narrower(kind: str) -> None:
    p, q = _pairs(factor=0.1)[kind]
    # The other way about, one is wider than twice the other in some direction, or has too few degrees of freedom.
    if kind == "matrix":
        p, q = q, MatrixNormal(q.loc, 0.49 * q.row_covariance, q.column_covariance)
    elif kind == "InverseWishart":
        p, q = InverseWishart(9.0, p.scale), InverseWishart(9.0, 2.01 * p.scale)
    elif kind in ("low rank", "low rank, diagonal"):
        p, q = q, LowRankNormal(p.loc, p.factor, 0.2 * p.diagonal)
    elif kind == "diagonal":
        p, q = p, DiagonalNormal(q.loc, variance=0.49 * p.variance)
    elif kind == "normal, low rank":
        p, q = q, DiagonalNormal(p.loc, variance=0.01 * q.diagonal)
    else:
        p, q = q, p
    for measure in (dkl.chi2, dkl.Renyi(2.0)):
        found = dkl.measure(p, q, measure)
        assert found.value == math.inf
        assert "diverges" in str(found.reason)
    assert 0 < float(dkl.kl(p, q)) < math.inf
    assert 0 < float(dkl.Renyi(0.5)(p, q)) < math.inf


def test_infinite_by_degrees_of_freedom_and_in_part_of_a_batch() -> None:
    one = np.eye(3)
    assert dkl.chi2(Wishart(4.0, one), Wishart(6.1, 2.0 * one)) == math.inf  # 2·4 − 6.1 < 2
    assert dkl.chi2(Wishart(4.0, one), Wishart(5.9, 2.0 * one)) < math.inf
    q = MultivariateNormal([0.0, 0.0], np.stack([0.4 * np.eye(2), 0.6 * np.eye(2)]))
    got = dkl.chi2(MultivariateNormal([0.0, 0.0], np.eye(2)), q)
    # ∫ p²/q = (σ_q²/(σ_p·√(2σ_q² − σ_p²)))² for two independent components.
    np.testing.assert_allclose(got, [math.inf, 0.36 / 0.2 - 1.0], rtol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_log_prob_and_entropy_against_scipy(kind: str) -> None:
    for p in _pairs(1)[kind]:
        x = p.sample(5, rng=2)
        if isinstance(p, Wishart):
            its = (st.invwishart if isinstance(p, InverseWishart) else st.wishart)(float(p.df), p.scale)
            log_prob = its.logpdf(np.moveaxis(x, 0, -1))
            entropy = its.entropy()
            if isinstance(p, InverseWishart):
                # SciPy 1.17 gives that of one row; of X = Y⁻¹ it is that of Y less (d + 1)·E[log |Y|].
                v = np.linalg.inv(p.scale)
                psi = scipy.special.digamma(0.5 * (p.df - np.arange(3))).sum()
                entropy = st.wishart(float(p.df), v).entropy() - 4.0 * (psi + 3 * math.log(2) + np.linalg.slogdet(v)[1])
        else:
            its = st.multivariate_normal(*_moments(p))
            log_prob, entropy = its.logpdf(x.reshape(5, -1)), its.entropy()
        np.testing.assert_allclose(p.log_prob(x), log_prob, rtol=1e-11, atol=1e-11)
        assert float(p.entropy()) == pytest.approx(float(entropy), rel=1e-11, abs=1e-11)


def test_log_prob_of_a_matrix_normal_against_scipy() -> None:
    p = _pairs(1)["matrix"][0]
    x = p.sample(4, rng=0)
    its = st.matrix_normal(p.loc, p.row_covariance, p.column_covariance)
    np.testing.assert_allclose(p.log_prob(x), its.logpdf(x), rtol=1e-12)
    assert float(p.entropy()) == pytest.approx(float(its.entropy()), rel=1e-12)


def test_low_rank_against_torch_and_with_a_large_factor() -> None:
    rng = np.random.default_rng(3)
    w, d, m = rng.normal(size=(4, 2)), rng.gamma(3.0, size=4), rng.normal(size=4)
    its = torch.distributions.LowRankMultivariateNormal(*(torch.tensor(x) for x in (m, w, d)))
    p = LowRankNormal(m, w, d)
    x = p.sample(3, rng=0)
    np.testing.assert_allclose(p.log_prob(x), its.log_prob(torch.tensor(x)).numpy(), rtol=1e-12)
    assert float(p.entropy()) == pytest.approx(float(its.entropy()), rel=1e-12)
    # Along a factor of 1e8 beside a diagonal of 1 the density is that of the diagonal across it.
    p = LowRankNormal([0.0, 0.0], [[1e8], [0.0]], [1.0, 1.0])
    exact = st.norm(0, math.hypot(1e8, 1)).logpdf(3e7) + st.norm.logpdf(0.7)
    assert float(p.log_prob([3e7, 0.7])) == pytest.approx(exact, rel=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_samples(kind: str) -> None:
    n = 20_000
    for p in _pairs(2)[kind]:
        x = p.sample(n, rng=5)
        assert x.shape == (n, *p.event_shape)
        assert np.all(np.abs(x.mean(0) - p.mean()) < 5.0 * x.std(0) / math.sqrt(n))
        squares = (x - p.mean()) ** 2
        assert np.all(np.abs(squares.mean(0) - p.var()) < 5.0 * squares.std(0) / math.sqrt(n))
        np.testing.assert_array_equal(p.std(), np.sqrt(p.var()))
        np.testing.assert_array_equal(p.sample(3, rng=7), p.sample((3,), rng=np.random.default_rng(7)))
        minus_log = -p.log_prob(x)
        assert abs(minus_log.mean() - p.entropy()) < 5.0 * minus_log.std() / math.sqrt(n)


@pytest.mark.parametrize("kind", KINDS)
def test_kl_by_monte_carlo(kind: str) -> None:
    p, q = _pairs(4)[kind]
    x = p.sample(20_000, rng=6)
    logs = p.log_prob(x) - q.log_prob(x)
    assert abs(float(dkl.kl(p, q)) - logs.mean()) < 4.0 * logs.std() / math.sqrt(len(logs))


@pytest.mark.parametrize("kind", KINDS)
def test_mean_parameters(kind: str) -> None:
    n = 20_000
    for p in _pairs(3)[kind]:
        x = p.sample(n, rng=8)
        if isinstance(p, Wishart):
            second = np.linalg.inv(x) if isinstance(p, InverseWishart) else x
            sampled: tuple[np.ndarray, ...] = (np.linalg.slogdet(x)[1], second)
        elif isinstance(p, MatrixNormal):
            sampled = (x, np.einsum("nij,nkl->nijkl", x, x))
        elif isinstance(p, DiagonalNormal):
            sampled = (x, x * x)
        else:
            sampled = (x, np.einsum("ni,nj->nij", x, x))
        for exact, y in zip(p.mean_parameters(), sampled, strict=True):
            assert np.shape(exact) == y.shape[1:]
            assert np.all(np.abs(y.mean(0) - exact) < 5.0 * y.std(0) / math.sqrt(n))


def test_a_covariance_is_the_same_however_it_was_given() -> None:
    factor = np.array([[1.0, 0.0], [0.5, 2.0]])
    covariance = factor @ factor.T
    loc = np.zeros((3, 2))
    members = [
        MultivariateNormal(loc, covariance),
        MultivariateNormal(loc, precision=np.linalg.inv(covariance)),
        MultivariateNormal(loc, cholesky=factor),
        LowRankNormal(loc, covariance[:, :1] / math.sqrt(covariance[0, 0]), [1e-300, 4.0]),
    ]
    for member in members:
        assert member.cov().shape == (3, 2, 2)
        np.testing.assert_allclose(member.cov(), np.broadcast_to(covariance, (3, 2, 2)), rtol=1e-14)
        np.testing.assert_allclose(np.diagonal(member.cov(), axis1=-2, axis2=-1), member.var(), rtol=1e-14)
    np.testing.assert_array_equal(DiagonalNormal([0.0, 0.0], [1.0, 2.0]).cov(), np.diag([1.0, 4.0]))


@pytest.mark.parametrize("kind", KINDS)
def test_natural_parameters_and_back(kind: str) -> None:
    for p in _pairs(3)[kind]:
        theta = p.natural()
        assert bool(np.all(p._inside(theta)))
        # Nothing but the rounding of the parameters lies between the two.
        assert float(dkl.kl(p, p._with_natural(theta))) < 1e-26
        assert not np.any(p._inside(tuple(-x for x in theta)))


@pytest.mark.parametrize("weight", [0.3, 0.5, 1.2, -0.2])
@pytest.mark.parametrize("kind", [k for k in KINDS if k != "matrix"])
def test_mixture_is_the_geometric_one(kind: str, weight: float) -> None:
    p, q = _pairs(5)[kind]
    if weight < 0:
        p, q = q, p
    made, inside = p.mixed(q, weight)
    assert bool(inside)
    x = p.sample(4, rng=0)
    logs = weight * p.log_prob(x) + (1 - weight) * q.log_prob(x) - made.log_prob(x)
    # The density is theirs but for one factor, the integral.
    np.testing.assert_allclose(logs, _log_integral(p, q, weight), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_batch_against_each(kind: str) -> None:
    p, q = _pairs(6, (2, 3))[kind]
    assert p.batch_shape in ((2, 3), ())
    for measure in (dkl.kl, dkl.Renyi(0.5), dkl.chi2):
        found = measure(p, q)
        assert found.shape == (2, 3)
        for i in np.ndindex(2, 3):
            assert float(found[i]) == pytest.approx(float(measure(_at(p, i), _at(q, i))), rel=1e-12)
    for side in (p, q):
        x = side.sample(4, rng=0)
        assert x.shape == (4, 2, 3, *side.event_shape)
        for i in np.ndindex(2, 3):
            one = _at(side, i)
            np.testing.assert_allclose(side.log_prob(x)[(slice(None), *i)], one.log_prob(x[(slice(None), *i)]), 1e-12)
            np.testing.assert_allclose(side.entropy()[i], one.entropy(), 1e-12)
            np.testing.assert_allclose(side.mean()[i], one.mean(), 1e-12)
            np.testing.assert_allclose(side.var()[i], one.var(), 1e-12)


def _at(p: Any, i: tuple[int, ...]) -> Any:
    ndim = {name: c.ndim for name, c in p.constraints.items()}
    return type(p)(**{name: x[i] if x.ndim > ndim[name] else x for name, x in p.parameters.items()})


def test_batches_broadcast() -> None:
    p = MultivariateNormal(np.zeros((4, 1, 2)), np.eye(2))
    q = MultivariateNormal(np.ones((3, 2)), cholesky=np.stack([np.eye(2)] * 3))
    assert dkl.kl(p, q).shape == (4, 3)
    assert p.entropy().shape == (4, 1)
    assert p.mean().shape == p.var().shape == (4, 1, 2)
    assert p.log_prob(np.zeros((5, 4, 3, 2))).shape == (5, 4, 3)
    assert p.log_prob([0.0, 0.0]).shape == (4, 1)
    assert Wishart(np.full((4, 1), 3.0), np.stack([np.eye(2)] * 3)).mean().shape == (4, 3, 2, 2)
    assert DiagonalNormal(np.zeros((4, 2)), np.full((3, 1, 1), 2.0)).var().shape == (3, 4, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_never_negative_and_zero_against_itself(kind: str) -> None:
    for p in _pairs(7)[kind]:
        for measure in (dkl.kl, dkl.Renyi(0.5), dkl.Renyi(2.0), dkl.hellinger, dkl.chi2):
            assert 0 <= float(measure(p, p)) < 1e-15
        assert float(dkl.kl(p, p)) == 0


def test_special_cases() -> None:
    rng = np.random.default_rng(9)
    m, n, s, t = rng.normal(size=3), rng.normal(size=3), rng.gamma(3.0, size=3), rng.gamma(3.0, size=3)
    p, q = DiagonalNormal(m, s), DiagonalNormal(n, t)
    for a in (0.5, 1.0, 0.7):
        each = dkl.Renyi(a)(Normal(m, s), Normal(n, t)).sum()
        assert float(dkl.Renyi(a)(p, q)) == pytest.approx(float(each), rel=1e-13)
    assert float(dkl.kl(p, q)) == pytest.approx(float(dkl.kl(p, MultivariateNormal(n, np.diag(t**2)))), rel=1e-13)
    one = DiagonalNormal([0.0, 0.0], 2.0)
    np.testing.assert_array_equal(one.std(), [2.0, 2.0])
    for df in ((0.3, 5.0), (7.0, 7.0 * (1 + 1e-9)), (1e7, 1.1e7)):
        wishart = [Wishart(x, [[v]]) for x, v in zip(df, (0.5, 0.7), strict=True)]
        inverse = [InverseWishart(x, [[v]]) for x, v in zip(df, (0.5, 0.7), strict=True)]
        gamma = [Gamma(0.5 * x, 0.5 / v) for x, v in zip(df, (0.5, 0.7), strict=True)]
        inverse_gamma = [InverseGamma(0.5 * x, 0.5 * v) for x, v in zip(df, (0.5, 0.7), strict=True)]
        for measure in (dkl.kl, dkl.Renyi(0.5)):
            assert float(measure(*wishart)) == pytest.approx(float(measure(*gamma)), rel=1e-12)
            assert float(measure(*inverse)) == pytest.approx(float(measure(*inverse_gamma)), rel=1e-12)
        assert float(wishart[0].entropy()) == pytest.approx(float(gamma[0].entropy()), rel=1e-12)
        assert float(inverse[0].log_prob([[0.4]])) == pytest.approx(float(inverse_gamma[0].log_prob(0.4)), rel=1e-12)


def test_matrix_normal_takes_no_matrix_of_all_entries() -> None:
    # A matrix of all 12e4 entries against each other would take 115 GB.
    n, m = 400, 300
    zero = np.zeros((n, m))
    p, q = MatrixNormal(zero, 2.0 * np.eye(n), np.eye(m)), MatrixNormal(zero, np.eye(n), np.eye(m))
    assert float(dkl.kl(p, q)) == pytest.approx(0.5 * n * m * (1.0 - math.log(2.0)), rel=1e-12)


def test_moments_that_are_not_there() -> None:
    p = InverseWishart([3.5, 5.0, 7.0], np.diag([2.0, 4.0]))
    np.testing.assert_array_equal(p.mean()[0], np.diag([4.0, 8.0]))
    np.testing.assert_array_equal(p.var()[:2], np.broadcast_to([[math.inf, math.nan], [math.nan, math.inf]], (2, 2, 2)))
    # By the marginal of x_11, an inverse gamma distribution of shape ½·(df − d + 1) and scale ½·Ψ_11.
    assert float(p.var()[2][0, 0]) == pytest.approx(float(InverseGamma(3.0, 1.0).var()), rel=1e-14)
    with np.errstate(invalid="ignore"):
        few = InverseWishart(2.5, np.eye(2)).mean()
    np.testing.assert_array_equal(few, [[math.inf, math.nan], [math.nan, math.inf]])


def test_outside_the_support() -> None:
    p = Wishart(3.0, np.eye(2))
    for x in ([[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.5], [0.4, 1.0]], [[0.0, 0.0], [0.0, 0.0]]):
        assert p.log_prob(x) == -math.inf
    assert math.isnan(p.log_prob([[math.nan, 0], [0, 1.0]]))
    assert MatrixNormal(np.zeros((1, 2)), [[1.0]], np.eye(2)).log_prob([[math.inf, 0.0]]) == -math.inf
    assert p.support.within(MatrixNormal(np.zeros((2, 2)), np.eye(2), np.eye(2)).support)
    assert not MatrixNormal(np.zeros((2, 2)), np.eye(2), np.eye(2)).support.within(p.support)
    for x in ([1.0, 2.0], np.eye(3)):
        with pytest.raises(ValueError, match=r"x of shape .* has no last two axes of lengths 2, 2"):
            p.log_prob(x)


def _functions() -> dict[str, tuple[Any, list[np.ndarray]]]:
    """Functions of unconstrained numbers that make a pair of each kind, and where to differentiate them."""
    rng = np.random.default_rng(11)
    m, n, a, b, w = (rng.normal(size=s) for s in ((3,), (3,), (3, 3), (3, 3), (3, 2)))
    c, e = rng.normal(size=(2, 2)), rng.normal(size=(2, 3))

    def spd(x: Any) -> Any:
        return x @ x.mT + 0.5 * torch.eye(x.shape[-1], dtype=x.dtype)

    def lower(x: Any) -> Any:
        return torch.tril(x, -1) + torch.diag_embed(torch.exp(torch.diagonal(x, dim1=-2, dim2=-1)))

    def normal(way: str, made: Any) -> Any:
        return lambda m, a, n, b: (
            MultivariateNormal(m, **{way: made(a)}),
            MultivariateNormal(n, **{way: made(b)}),
        )

    vector = [m, a, n, b]
    return {
        **{way: (normal(way, made), vector) for way, made in
           (("covariance", spd), ("precision", spd), ("cholesky", lower))},
        "mixed kinds": (
            lambda m, a, n, b: (MultivariateNormal(m, precision=spd(a)), MultivariateNormal(n, cholesky=lower(b))),
            vector,
        ),
        "diagonal": (
            lambda m, s, n, t: (DiagonalNormal(m, torch.exp(s)), DiagonalNormal(n, log_variance=t)),
            [m, 0.3 * n, n, 0.5 * m],
        ),
        "low rank, diagonal": (
            lambda m, w, s, n: (LowRankNormal(m, w, torch.exp(s)), DiagonalNormal(n, precision=torch.exp(n))),
            [m, w, 0.2 * n, n],
        ),
        "low rank": (
            lambda m, w, s, n: (LowRankNormal(m, w, torch.exp(s)), LowRankNormal(n, 1.1 * w, torch.exp(s + 0.1 * n))),
            [m, w, 0.2 * n, n],
        ),
        "matrix": (
            lambda x, u, v, w: (MatrixNormal(x, spd(u), spd(v)), MatrixNormal(2 * x, spd(2 * u), spd(w))),
            [e, c, a, b],
        ),
        "Wishart": (
            lambda f, a, g, b: (Wishart(f, spd(a)), Wishart(g, spd(b))),
            [np.float64(4.5), a, np.float64(6.0), b],
        ),
        "InverseWishart": (
            lambda f, a, g, b: (InverseWishart(f, spd(a)), InverseWishart(g, spd(b))),
            [np.float64(4.5), a, np.float64(6.0), b],
        ),
    }  # fmt: skip


@pytest.mark.parametrize("measure", [dkl.kl, dkl.Renyi(0.5), dkl.Renyi(1.05)], ids=["kl", "half", "above 1"])
@pytest.mark.parametrize("kind", list(_functions()))
def test_gradients(kind: str, measure: Any) -> None:
    function, at = _functions()[kind]
    numbers = tuple(torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in at)
    value = measure(*function(*numbers))
    if bool(torch.isinf(value)):
        # Outside the mixture's space the answer is a constant, whose gradient is no NaN.
        assert all(bool(torch.isfinite(g).all()) for g in torch.autograd.grad(value, numbers, allow_unused=False))
        numbers = tuple((0.2 * x).detach().requires_grad_() if x.ndim else x for x in numbers)
    assert_gradient(lambda *x: measure(*function(*x)), numbers, step=1e-6, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("size", [1.0, 3.0, 1e-3])
@pytest.mark.parametrize("way", ["covariance", "precision", "cholesky"])
def test_gradients_where_eigenvalues_are_equal(way: str, size: float) -> None:
    def value(m: Any, x: Any, measure: Any = dkl.kl) -> Any:
        x = torch.tril(x) if way == "cholesky" else 0.5 * (x + x.mT)
        q = MultivariateNormal(torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64))
        return measure(MultivariateNormal(m, **{way: x}), q)

    m = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    x = (size * torch.eye(3, dtype=torch.float64)).requires_grad_()
    for measure in (dkl.kl, dkl.Renyi(0.5)):
        step = 1e-6 * size
        assert_gradient(lambda m, x, d=measure: value(m, x, d), (m, x), step=step, atol=1e-8 / size, rtol=1e-5)
    # Second derivatives as well: where P = Q they are Fisher's information, ½·tr(Σ⁻¹·dΣ·Σ⁻¹·dΣ) of a covariance.
    if size == 1.0 and way == "covariance":
        hessian = torch.autograd.functional.hessian(lambda x: value(m, x), x).reshape(9, 9)
        turned = torch.eye(9, dtype=torch.float64).reshape(3, 3, 9).transpose(0, 1).reshape(9, 9)
        torch.testing.assert_close(hessian, 0.25 * (torch.eye(9, dtype=torch.float64) + turned), rtol=0, atol=1e-14)


@pytest.mark.parametrize("apart", [1e-3, 1e-9, 1e-12])
def test_gradients_of_nearly_equal(apart: float) -> None:
    # The gradient by the covariance is ½·(Σ_q⁻¹ − Σ_p⁻¹), as small as the difference, and as well known.
    rng = np.random.default_rng(12)
    s = _definite(rng, 3)
    apart_by = apart * _definite(rng, 3)
    sigma = torch.tensor(s + apart_by, requires_grad=True)
    zero = torch.zeros(3, dtype=torch.float64)
    value = dkl.kl(MultivariateNormal(zero, sigma), MultivariateNormal(zero, torch.tensor(s)))
    (gradient,) = torch.autograd.grad(value, sigma)
    inverse = np.linalg.inv(s)
    true = sigma.detach().numpy() - s
    exact = 0.5 * np.linalg.inv(s) @ true @ np.linalg.inv(s + true)
    np.testing.assert_allclose(gradient.numpy(), exact, rtol=0, atol=1e-3 * apart * np.abs(inverse).max())


def test_jax_gradients_and_jit() -> None:
    jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(13)
    m, s, t = rng.normal(size=3), _definite(rng, 3), _definite(rng, 3)

    def value(loc: Any, covariance: Any, df: Any) -> Any:
        p, q = MultivariateNormal(loc, covariance), MultivariateNormal(0.0 * loc, precision=t + 0.0 * covariance)
        w, v = Wishart(df, covariance), InverseWishart(df, covariance)
        return (
            dkl.kl(p, q)
            + dkl.Renyi(0.5)(p, q)
            + dkl.kl(w, Wishart(5.0, t + 0.0 * covariance))
            + dkl.Renyi(0.5)(v, InverseWishart(4.0, t + 0.0 * covariance))
        )

    at = (m, s, 4.5)
    eager = value(*(jax.numpy.asarray(x) for x in at))
    torched = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in at]

    def in_torch(loc: Any, covariance: Any, df: Any) -> Any:
        its = torch.tensor(t)
        p, q = MultivariateNormal(loc, covariance), MultivariateNormal(0.0 * loc, precision=its)
        w, v = Wishart(df, covariance), InverseWishart(df, covariance)
        first = dkl.kl(p, q) + dkl.Renyi(0.5)(p, q) + dkl.kl(w, Wishart(torch.tensor(5.0).double(), its))
        return first + dkl.Renyi(0.5)(v, InverseWishart(torch.tensor(4.0).double(), its))

    assert float(eager) == pytest.approx(float(in_torch(*torched).detach()), rel=1e-12)
    assert float(jax.jit(value)(*at)) == pytest.approx(float(eager), rel=1e-12)
    in_torch(*torched).backward()
    for got, exact in zip(jax.jit(jax.grad(value, argnums=(0, 1, 2)))(*at), torched, strict=True):
        np.testing.assert_allclose(np.asarray(got), exact.grad.numpy(), rtol=1e-9, atol=1e-11)
    # At P = Q, where all eigenvalues are equal.
    same = jax.grad(lambda s: dkl.kl(MultivariateNormal(m + 0 * s[0], s), MultivariateNormal(m + 0 * s[0], t + 0 * s)))
    np.testing.assert_array_equal(np.asarray(same(jax.numpy.asarray(t))), np.zeros((3, 3)))


def test_dtypes_and_libraries() -> None:
    for xp, dtype in ((torch, torch.float32), (jax.numpy, jax.numpy.float32), (np, np.float32)):
        s = xp.asarray([[2.0, 0.5], [0.5, 1.0]], dtype=dtype)
        p = MultivariateNormal(xp.zeros(2, dtype=dtype), s)
        w = Wishart(xp.asarray(3.0, dtype=dtype), s)
        for side in (p, w):
            for x in (dkl.kl(side, side), side.entropy(), side.log_prob(side.sample(3, rng=0)), side.mean()):
                assert x.dtype == dtype
        # NumPy's parameters go where the others are.
        q = MultivariateNormal(np.zeros(2), np.eye(2))
        assert float(dkl.kl(p, q)) == pytest.approx(0.5 * (1.0 - math.log(1.75)), rel=1e-6)
        assert float(dkl.kl(q, p)) == pytest.approx(0.5 * (3.0 / 1.75 - 2.0 + math.log(1.75)), rel=1e-6)
    lists = MultivariateNormal([0, 0], [[2, 0], [0, 1]])
    assert lists.entropy().dtype == np.float64


def test_batch_of_torch_against_numpy() -> None:
    for kind, (p, q) in _pairs(14, (4,)).items():
        its = [type(x)(**{k: torch.tensor(y) for k, y in x.parameters.items()}) for x in (p, q)]
        for measure in (dkl.kl, dkl.Renyi(0.5), dkl.chi2):
            np.testing.assert_allclose(measure(*its).numpy(), measure(p, q), rtol=1e-11, err_msg=kind)
        x = p.sample(3, rng=0)
        np.testing.assert_allclose(its[0].log_prob(torch.tensor(x)).numpy(), p.log_prob(x), rtol=1e-11)


_TWO = np.eye(2)
_BAD = np.array([[1.0, 2.0], [2.0, 1.0]])
ERRORS: list[tuple[Any, type[Exception], str]] = [
    (
        lambda: MultivariateNormal([0.0, 0.0]),
        TypeError,
        "MultivariateNormal takes exactly one of covariance, precision and cholesky",
    ),
    (
        lambda: MultivariateNormal([0.0, 0.0], _TWO, precision=_TWO),
        TypeError,
        "MultivariateNormal takes exactly one of covariance, precision and cholesky",
    ),
    (
        lambda: MultivariateNormal(0.0, _TWO),
        ValueError,
        r"MultivariateNormal: loc of shape \(\) needs at least 1 axes",
    ),
    (
        lambda: MultivariateNormal([0.0, 0.0], [1.0, 1.0]),
        ValueError,
        r"MultivariateNormal: covariance of shape \(2,\) needs at least 2 axes",
    ),
    (
        lambda: MultivariateNormal([0.0, 0.0], np.ones((2, 3))),
        ValueError,
        r"MultivariateNormal: covariance of shape \(2, 3\) is not square",
    ),
    (
        lambda: MultivariateNormal([0.0, 0.0, 0.0], _TWO),
        ValueError,
        r"MultivariateNormal: covariance of shape \(2, 2\) does not fit loc of shape \(3,\): axis -1 of the one must",
    ),
    (
        lambda: MultivariateNormal([0.0, math.nan], _TWO),
        ValueError,
        r"MultivariateNormal: loc\[1\] = nan is not finite",
    ),
    (
        lambda: MultivariateNormal([0.0, 0.0], [[1.0, 0.5], [0.4, 1.0]]),
        ValueError,
        r"MultivariateNormal: covariance\[0, 1\] = 0.5 is not MultivariateNormal: covariance\[1, 0\] = 0.4",
    ),
    (
        lambda: MultivariateNormal([0.0, 0.0], np.stack([_TWO, _BAD])),
        ValueError,
        r"MultivariateNormal: covariance\[1\] is not positive definite within rounding: its smallest eigenvalue is -1;",
    ),
    (
        lambda: MultivariateNormal([0.0, 0.0], precision=_BAD),
        ValueError,
        "MultivariateNormal: precision is not positive definite within rounding: its smallest eigenvalue is -1;",
    ),
    (
        lambda: MultivariateNormal([0.0, 0.0], cholesky=[[1.0, 0.3], [0.0, 1.0]]),
        ValueError,
        r"MultivariateNormal: cholesky\[0, 1\] = 0.3 lies above the diagonal: it must be lower triangular",
    ),
    (
        lambda: MultivariateNormal([0.0, 0.0], cholesky=np.stack([_TWO, np.diag([1.0, -2.0])])),
        ValueError,
        r"MultivariateNormal: cholesky\[1, 1, 1\] = -2 lies on the diagonal, which must be positive",
    ),
    (
        lambda: MultivariateNormal(np.zeros((3, 2)), np.stack([_TWO] * 2)),
        ValueError,
        "MultivariateNormal: the shapes do not broadcast",
    ),
    (
        lambda: DiagonalNormal([0.0, 0.0], [1.0, 1.0], precision=[1.0, 1.0]),
        TypeError,
        "DiagonalNormal takes one of scale, variance, log_variance and precision",
    ),
    (
        lambda: DiagonalNormal([0.0, 0.0], [1.0, -1.0]),
        ValueError,
        r"DiagonalNormal: scale\[1\] = -1 is not positive and finite",
    ),
    (
        lambda: DiagonalNormal([0.0, 0.0], [1.0, 1.0, 1.0]),
        ValueError,
        r"DiagonalNormal: scale of shape \(3,\) does not fit loc of shape \(2,\)",
    ),
    (
        lambda: LowRankNormal([0.0, 0.0], np.ones((3, 1)), [1.0, 1.0]),
        ValueError,
        r"LowRankNormal: factor of shape \(3, 1\) does not fit loc of shape \(2,\): axis -2 of the one",
    ),
    (
        lambda: LowRankNormal([0.0, 0.0], np.ones((2, 1)), [1.0, 0.0]),
        ValueError,
        r"LowRankNormal: diagonal\[1\] = 0 is not positive and finite",
    ),
    (
        lambda: MatrixNormal(np.zeros((2, 3)), _TWO, _TWO),
        ValueError,
        r"MatrixNormal: column_covariance of shape \(2, 2\) does not fit loc of shape \(2, 3\)",
    ),
    (
        lambda: MatrixNormal(np.zeros((2, 2)), _TWO, _BAD),
        ValueError,
        "MatrixNormal: column_covariance is not positive definite",
    ),
    (lambda: Wishart(3.0, _BAD), ValueError, "Wishart: scale is not positive definite"),
    (lambda: Wishart(-1.0, _TWO), ValueError, "Wishart: df = -1 is not positive and finite"),
    (
        lambda: InverseWishart([3.0, 1.0], _TWO),
        ValueError,
        r"InverseWishart: df\[1\] = 1 is not above 1, the number of rows of scale less 1: there is no density",
    ),
    (
        lambda: MultivariateNormal([0.0, 0.0], _TWO).log_prob([0.0, 0.0, 0.0]),
        ValueError,
        r"x of shape \(3,\) has no last axis of length 2",
    ),
]


@pytest.mark.parametrize("i", range(len(ERRORS)), ids=[message[:60] for _, _, message in ERRORS])
def test_errors(i: int) -> None:
    make, kind, message = ERRORS[i]
    with pytest.raises(kind, match=message):
        make()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_symmetry_within_rounding(dtype: str) -> None:
    s = np.array([[2.0, 0.5], [0.5, 1.0]], dtype=dtype)
    tolerance = math.sqrt(np.finfo(dtype).eps) * math.sqrt(2.0)
    for library in (np.asarray, torch.tensor):
        within, beyond = s.copy(), s.copy()
        within[0, 1] += 0.5 * tolerance
        beyond[0, 1] += 2.0 * tolerance
        with pytest.raises(ValueError, match="it must be symmetric within rounding"):
            MultivariateNormal(library(np.zeros(2, dtype)), library(beyond))
        p = MultivariateNormal(library(np.zeros(2, dtype)), library(within))
        # The symmetric part is what counts, whichever triangle was moved.
        q = MultivariateNormal(library(np.zeros(2, dtype)), library(np.ascontiguousarray(within.T)))
        assert float(dkl.kl(p, q)) == 0


def test_a_degenerate_covariance_of_a_batch_is_named_in_torch() -> None:
    bad = torch.stack([torch.eye(2), torch.ones(2, 2)])
    with pytest.raises(ValueError, match=r"covariance\[1\] is not positive definite within rounding"):
        MultivariateNormal(torch.zeros(2), bad)


def test_nothing_is_kept_of_a_graph() -> None:
    s = torch.eye(2, dtype=torch.float64, requires_grad=True)
    p = MultivariateNormal(torch.zeros(2, dtype=torch.float64), s)
    q = MultivariateNormal(torch.ones(2, dtype=torch.float64), 2.0 * torch.eye(2, dtype=torch.float64))
    for _ in range(2):
        dkl.kl(p, q).backward()
    torch.testing.assert_close(s.grad, -0.5 * torch.eye(2, dtype=torch.float64), rtol=1e-12, atol=0)
