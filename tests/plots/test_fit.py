"""The figures of fits: what is drawn is what was fitted."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr

import dkl
from dkl import plots
from dkl.families import Beta, Binomial, Cauchy, Dirichlet, MultivariateNormal, NegativeBinomial, Normal, Poisson
from dkl.fitting import Boundary, Fit, Optimum, Problem, normal_gamma
from dkl.fitting.direct.path import Jump, Path

_TARGET = dkl.Mixture([Normal(-3.0, 1.0), Normal(3.0, 1.0)], [0.5, 0.5])


def _labels(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def _drawn(ax: Any) -> None:
    with io.BytesIO() as image:
        ax.figure.savefig(image, format="png", dpi=40)
        assert len(image.getvalue()) > 2000


def _made(target: Any, divergence: Any, *members: Any, **changes: Any) -> Fit:
    """A fit as a search would return it, the members being its optima."""
    problem = Problem(type(members[0]), dkl.representations.interpret(target), divergence)
    optima = tuple(Optimum(member, 0.5, 1 / len(members)) for member in members)
    estimate = dkl.measure(target, members[0], divergence)
    given = {"optima": optima, "problem": problem} | changes
    return Fit(members[0], estimate, "direct minimisation", True, **given)  # type: ignore[arg-type]


def test_target_optima_and_what_is_ignored() -> None:
    best, twin, wide = Normal(-2.984306, 1.023369), Normal(2.984306, 1.023369), Normal(0.0, 2.743769)
    fit = _made(_TARGET, dkl.reverse_kl, best, twin, wide)
    ax = plots.fit(fit)
    _drawn(ax)
    assert _labels(ax) == [
        "target", "2 other optima", "Normal(loc=-2.98431, scale=1.02337)", "ignored by the fit: 49 % of the target",
    ]  # fmt: skip
    assert ax.get_title(loc="left") == "KL(fit‖target) = 0.6888 nats, by direct minimisation\nseeks a mode"
    outline, first, second, thick = ax.lines
    for line, density in ((outline, _TARGET), (first, twin), (second, wide), (thick, best)):
        x, y = line.get_data()
        np.testing.assert_allclose(y, np.exp(density.log_prob(x)), rtol=1e-9, atol=1e-300)
    assert thick.get_linewidth() > first.get_linewidth()
    # The shaded area is the ignored mass: x from where log p − log q = log 100 on.
    (shade,) = [c for c in ax.collections if str(c.get_label()).startswith("ignored")]
    x = np.concatenate([path.vertices[:, 0] for path in shade.get_paths()])
    edge = x[x > -2].min()
    grid = np.linspace(0, 2, 200_001)
    crossing = grid[np.argmax(_TARGET.log_prob(grid) - best.log_prob(grid) > np.log(100))]
    assert edge == pytest.approx(crossing, abs=0.02)


def test_samples_are_a_histogram() -> None:
    x = np.random.default_rng(0).normal(2.0, 1.0, 500)
    ax = plots.fit(dkl.fit(Normal, dkl.Samples(x)))
    _drawn(ax)
    assert _labels(ax) == ["500 samples", f"Normal(loc={x.mean():.2f}, scale={x.std():.2f})"]
    assert ax.get_title(loc="left") == "KL(target‖fit), by maximum likelihood\ncovers the target"
    (steps,) = ax.patches
    heights, edges, _ = steps.get_data()
    low, high = edges[0], edges[-1]
    assert heights @ np.diff(edges) == pytest.approx(np.mean((x >= low) & (x <= high)), rel=1e-12)


def test_rounded_samples_have_bins_of_equally_many_numbers() -> None:
    x = np.repeat(np.concatenate([np.arange(10, 20), np.arange(40, 71)]), 3) / 10
    ax = plots.fit(dkl.fit(Normal, dkl.Samples(x)))
    (steps,) = ax.patches
    _, edges, _ = steps.get_data()
    # As many tenths in each, and none of them on an edge.
    per = np.diff(edges)[0] / 0.1
    assert per == pytest.approx(round(per), abs=1e-6)
    assert np.abs(edges[:, None] - x).min() > 0.04
    assert edges.size > 10


def test_a_mixture_is_named_in_lines_and_drawn_with_its_components() -> None:
    rng = np.random.default_rng(2)
    samples = dkl.Samples(np.concatenate([rng.normal(-4, 1, 80), rng.normal(4, 1, 80)]))
    fit = dkl.fit(dkl.Mixture.of(Normal, 2), samples, starts=2)
    ax = plots.fit(fit)
    first, second = _labels(ax)[1].split("\n+ ")
    assert "*Normal(loc=" in first
    assert second.endswith(")")
    _, whole = next(line for line in ax.lines if line.get_linewidth() == 2.5).get_data()
    parts = [line.get_data()[1] for line in ax.lines if line.get_linestyle() == ":"]
    assert len(parts) == 2
    np.testing.assert_allclose(sum(parts), whole, rtol=1e-10, atol=1e-300)
    many = dkl.Mixture([Normal(float(k), 1.0) for k in range(9)], [1 / 9] * 9)
    assert _labels(plots.fit(_made(_TARGET, dkl.kl, many)))[1].endswith("\n…")


def test_whole_numbers_are_bars() -> None:
    counts = [3, 9, 14, 11, 6, 2, 1]
    ax = plots.fit(dkl.fit(Binomial, dkl.Counts(counts), total_count=10))
    _drawn(ax)
    (bars,) = ax.collections
    heights = {round(float(s[0, 0])): float(s[1, 1]) for s in bars.get_segments()}
    assert {k: heights[k] for k in range(7)} == pytest.approx(dict(enumerate(np.array(counts) / 46)), rel=1e-12)
    assert ax.get_ylabel() == "probability"
    fit = _made(NegativeBinomial(3.0, probs=0.4), dkl.reverse_kl, Poisson(4.06747))
    ax = plots.fit(fit)
    assert _labels(ax)[-1] == "ignored by the fit: 1.23 % of the target"
    x, y = ax.lines[0].get_data()
    np.testing.assert_allclose(y, np.exp(Poisson(4.06747).log_prob(x)), rtol=1e-12)
    samples = dkl.Samples(np.random.default_rng(1).poisson(3.0, 200).astype(float))
    ax = plots.fit(dkl.fit(Poisson, samples))
    assert sum(float(s[1, 1]) for s in ax.collections[0].get_segments()) == pytest.approx(1.0, rel=1e-12)


def test_infinite_peaks_and_heavy_tails_leave_a_view() -> None:
    ax = plots.fit(dkl.fit(Beta, Beta(0.5, 0.5)))
    _drawn(ax)
    assert 2 < ax.get_ylim()[1] < 50
    ax = plots.fit(_made(Cauchy(0.0, 1.0), dkl.js, Normal(0.0, 1.78989)))
    low, high = ax.get_xlim()
    assert -60 < low < -10
    assert 10 < high < 60


def test_an_unnormalised_target_is_drawn_with_an_integral_of_1() -> None:
    target = dkl.Density(lambda x: 3.0 - 0.5 * np.asarray(x) ** 2)
    problem = Problem(Normal, dkl.representations.interpret(target), dkl.reverse_kl)
    fit = Fit(Normal(0.0, 1.0), None, "direct minimisation", True, (Optimum(Normal(0.0, 1.0), 0.0),), problem=problem)
    x, y = plots.fit(fit).lines[0].get_data()
    np.testing.assert_allclose(y, np.exp(Normal(0.0, 1.0).log_prob(x)), rtol=1e-7)


def test_the_edge_is_dashed_where_no_member_is_the_best() -> None:
    near = Normal(0.0, 0.942809)
    fit = _made(
        dkl.Mixture([Normal(-1.0, 2 / 3), Normal(1.0, 2 / 3)], [0.5, 0.5]), dkl.Alpha(-1.0), near,
        boundary=Boundary(0.143413, near, "beyond it the divergence is infinite"), optima=(),
    )  # fmt: skip
    fit = Fit(None, None, fit.method, False, boundary=fit.boundary, problem=fit.problem)
    ax = plots.fit(fit)
    assert _labels(ax) == ["target", "none is the best: infimum near Normal(loc=0, scale=0.942809)"]
    assert ax.lines[-1].get_linestyle() == "--"
    assert ax.get_title(loc="left").splitlines() == [
        "D_α=-1(target‖fit), by direct minimisation", "seeks a mode, more than at α = 0",
    ]  # fmt: skip


def test_a_plane_has_contours() -> None:
    target = dkl.Mixture(
        [MultivariateNormal([-2.0, 0.0], np.eye(2)), MultivariateNormal([2.0, 1.0], np.eye(2))], [0.5, 0.5]
    )
    ax = plots.fit(dkl.fit(MultivariateNormal, target))
    _drawn(ax)
    assert _labels(ax)[0] == "target: areas that hold 25, 50, 75 and 95 % of its mass"
    # The contours of the fit hold 25, 50, 75 and 95 %: those of a normal vector are −2 log(1 − share) from its mean.
    lines = ax.collections[-1]
    fitted = dkl.fit(MultivariateNormal, target).distribution
    precision = np.linalg.inv(np.asarray(fitted.given["covariance"]))
    mean = np.asarray(fitted.given["loc"])
    found = sorted(
        float(np.mean([(v - mean) @ precision @ (v - mean) for v in path.vertices])) for path in lines.get_paths()
    )
    # The levels are quantiles of 4000 draws: of a quantile's share of 5 % the standard error is 0.0034, or 0.14 here.
    assert found == pytest.approx([-2 * np.log(1 - share) for share in (0.25, 0.5, 0.75, 0.95)], abs=0.45)
    lone = _made(target, dkl.reverse_kl, MultivariateNormal([-2.0, 0.0], np.eye(2)))
    (label,) = [each for each in _labels(plots.fit(lone)) if each.startswith("ignored")]
    # Under the second component log p − log q is log ½ and a normal number of mean 17/2 and variance 17, nearly.
    share = 50 * ndtr((8.5 - np.log(200.0)) / np.sqrt(17.0))
    assert float(label.split()[4]) == pytest.approx(share, abs=0.3)
    x = np.asarray(target.sample(60, rng=0))
    assert _labels(plots.fit(dkl.fit(MultivariateNormal, dkl.Samples(x))))[0] == "60 samples"


def test_axes_in_axes_out() -> None:
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert plots.fit(dkl.fit(Normal, _TARGET), ax=ax) is ax


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(TypeError, match=r"fit is a Normal and no fit: give what dkl\.fit returns"):
        plots.fit(Normal())  # type: ignore[arg-type]
    batch = dkl.fit(Normal, dkl.Samples(np.arange(12.0).reshape(2, 6)))
    with pytest.raises(ValueError, match="the fit is of a batch of targets"):
        plots.fit(batch)
    with pytest.raises(ValueError, match=r"the fit has no member to draw: coordinate ascent has no one distribution"):
        plots.fit(normal_gamma([1.0, 2.0, 4.0]))
    with pytest.raises(ValueError, match="a fit by expert guess does not know its target"):
        plots.fit(Fit(Normal(0.0, 1.0), None, "expert guess", True))
    with pytest.raises(TypeError, match=r"outcomes of shape \(3,\) have no axes to be drawn on"):
        plots.fit(dkl.fit(Dirichlet, Dirichlet([1.0, 2.0, 3.0])))
    empty = Fit(None, None, "direct minimisation", False, reason="nothing came to an end", problem=Problem(
        Normal, _TARGET, dkl.kl))  # fmt: skip
    with pytest.raises(ValueError, match="the fit has no member to draw: nothing came to an end"):
        plots.fit(empty)


def _path(*optima: tuple[Any, ...], jumps: tuple[Jump, ...] = ()) -> Path:
    alphas = tuple(float(k) for k in range(len(optima)))
    fits = []
    for each in optima:
        members = tuple(Optimum(member, 0.5) for member in each)
        best = members[0].distribution if members else None
        fits.append(Fit(best, None, "direct minimisation", bool(members), members))
    return Path(alphas, tuple(fits), jumps)


def test_the_path_and_its_jump() -> None:
    left, right, wide = Normal(-3.0, 1.0), Normal(3.0, 1.0), Normal(0.0, 3.0)
    jump = Jump(0.4, 0.7, left, wide)
    ax = plots.alpha_path(_path((left, right, wide), (wide, left, right), (wide,), jumps=(jump,)))
    _drawn(ax)
    assert [text.get_text() for text in ax.texts] == ["α* = 0.4"]
    assert _labels(ax) == ["best optimum", "other optima"]
    thick = [line.get_data() for line in ax.lines if line.get_linewidth() == 2.5]
    assert [(list(x), list(y)) for x, y in thick] == [([0.0, 0.4], [-3.0, -3.0]), ([0.4, 1.0, 2.0], [0.0, 0.0, 0.0])]
    thin = sorted((list(x), list(y)) for x, y in (line.get_data() for line in ax.lines if line.get_linewidth() == 1.2))
    assert thin == [([0.0, 1.0], [-3.0, -3.0]), ([0.0, 1.0], [3.0, 3.0]), ([0.0, 1.0, 2.0], [0.0, 0.0, 0.0])]
    edges = [list(line.get_data()[1]) for line in ax.lines if line.get_linestyle() == ":"]
    assert [-4.0, -4.0] in edges
    assert [-3.0, -3.0, -3.0] in edges
    assert next(line for line in ax.lines if line.get_linestyle() == "--").get_xdata() == [0.4, 0.4]


def test_a_path_with_a_gap() -> None:
    ax = plots.alpha_path(_path((), (Normal(0.0, 1.0),), (), (Normal(0.0, 2.0),)))
    _drawn(ax)
    assert _labels(ax) == ["best optimum", "no member is the best"]
    thick = [list(line.get_data()[0]) for line in ax.lines if line.get_linewidth() == 2.5]
    assert thick == [[1.0], [3.0]]
    crosses = [line.get_data()[0] for line in ax.lines if line.get_marker() == "x"]
    assert [list(x) for x in crosses] == [[0.0], [2.0]]


def test_far_optima_of_neighbouring_alphas_are_not_joined() -> None:
    ax = plots.alpha_path(_path((Normal(-3.0, 1.0),), (Normal(-2.9, 1.1),), (Normal(3.0, 1.0),)))
    for width in (1.2, 2.5):
        lines = [list(line.get_data()[0]) for line in ax.lines if line.get_linewidth() == width]
        assert lines == [[0.0, 1.0], [2.0]]


def test_paths_that_cannot_be_drawn() -> None:
    with pytest.raises(TypeError, match=r"path is a Normal and no path: give what Fit\.path returns"):
        plots.alpha_path(Normal())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the path is one of vectors"):
        plots.alpha_path(_path((MultivariateNormal([0.0, 0.0], np.eye(2)),), ()))
    with pytest.raises(ValueError, match="no optimum on the path has a mean and a variance"):
        plots.alpha_path(_path((Cauchy(0.0, 1.0),), (Cauchy(0.0, 2.0),)))
