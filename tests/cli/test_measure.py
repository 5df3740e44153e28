"""`dkl measure`: distributions written as text, measured by the whole family."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import dkl
from dkl import families, plots
from dkl.expressions import names, parse

from .conftest import Run


def test_the_family_of_two_normals(run: Run) -> None:
    text = run("measure", "normal(0, 1)", "normal(1, 2)", env={"COLUMNS": "160"}).output
    assert text.startswith("P = normal(0, 1)\nQ = normal(1, 2)\n")
    figures = {line.split("  ")[0]: line.split()[1:] for line in text.splitlines() if "‖" in line or "(P, Q)" in line}
    assert figures["KL(P‖Q)"][:4] == ["0.4431471806", "nats", "closed", "form"]
    assert figures["KL(Q‖P)"][0] == "1.306852819"
    assert figures["χ²(Q‖P)"][0] == "∞"
    assert "outside the natural" in text
    assert "KL(P‖Q): from P to Q: the mean of log(p/q) under P, the first argument" in text


def test_json_has_what_python_has(run: Run) -> None:
    made = json.loads(run("measure", "gamma(2, rate=1)", "gamma(1, 3)", "--json", "--unit", "bits").output)
    assert made["p"] == "gamma(2, rate=1)"
    kl = made["estimates"][0]
    p, q = families.Gamma(2, 1), families.Gamma(1, 3)
    assert kl == dkl.measure(p, q, base=2).to_dict()
    assert [e["divergence"] for e in made["estimates"]][:4] == ["kl", "reverse_kl", "jeffreys", "js"]


def test_chosen_members_and_methods(run: Run) -> None:
    made = json.loads(
        run(
            "measure",
            "exponential(1)",
            "exponential(2)",
            "--divergence",
            "renyi(0.5)",
            "--divergence",
            "hellinger",
            "--json",
        ).output
    )
    p, q = families.Exponential(1.0), families.Exponential(2.0)
    assert [e["value"] for e in made["estimates"]] == [dkl.Renyi(0.5)(p, q), dkl.hellinger(p, q)]
    one_of_many = run("measure", "normal([0, 1], 1)", "normal(0, 1)")
    assert one_of_many.exit_code == 2
    assert "describes several distributions: give one" in one_of_many.output
    forced = run("measure", "normal(0, 1)", "normal(0, 1)", "--method", "exact", "--divergence", "kl")
    assert forced.exit_code == 3
    assert "nothing measures kl between a Normal and a Normal by method 'exact'" in " ".join(forced.output.split())


def test_outcomes_are_measured_too(run: Run) -> None:
    made = json.loads(run("measure", "probs(0.7, 0.2, 0.1)", "probs([0.8, 0.2, 0])", "--json").output)
    values = {e["divergence"]: e for e in made["estimates"]}
    assert values["kl"]["status"] == "infinite"
    assert values["kl"]["reason"] == "KL(P‖Q) is infinite: Q gives probability 0 to outcome 2, where P has 0.1."
    assert values["reverse_kl"]["value"] == pytest.approx(0.10682511409961822, rel=1e-15)


def test_a_plot(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "pair.svg"
    done = run("measure", "normal(0, 1)", "normal(1, 2)", "--divergence", "kl", "--plot", path)
    assert done.exit_code == 0
    assert path.read_text().startswith("<?xml")
    refused = run("measure", "probs(1, 0)", "probs(0.5, 0.5)", "--plot", tmp_path / "x.png")
    assert refused.exit_code == 3
    assert "is no distribution of a number" in refused.output
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nomal(0, 1)", "normal(0, 1)"], "'nomal(0, 1)': there is no distribution 'nomal'; did you mean 'normal'?"),
        (["normal(0, 1", "normal(0, 1)"], "not an expression at character"),
        (["normal(0, -1)", "normal(0, 1)"], "Normal: scale = -1 is not positive and finite"),
        (["normal(0, 1)", "normal(a, 1)"], "'a' is no number"),
        (["normal(0, 1)", "__import__('os')"], "there is no distribution '__import__'"),
        (["normal(0, 1)", "normal(0).sample()"], "is no distribution: write its name and parameters"),
        (["probs(0.5, 0.6)", "probs(0.5, 0.5)"], "'probs(0.5, 0.6)': p sums to 1.1, not to 1"),
        (["probs(0.5, 0.5)", "probs(-0.5, 1.5)"], "probs[0] = -0.5 is negative"),
        (["counts(1, -2)", "counts(1, 2)"], "counts[1] = -2 is negative"),
        (["probs()", "probs(1)"], "a distribution needs at least one outcome"),
        (["normal(0, 1)*0.5 + 0.5*normal(1, 1)", "normal(0, 1)"], "the weight comes first, as in 0.5*normal(0, 1)"),
        (["0.3*normal(0, 1) + 0.8*normal(1, 1)", "normal(0, 1)"], "the weights sum to 1.1, not to 1: divide them"),
        (["normal(0, 1)", "normal(0, 1) + normal(1, 1)"], "every part of a sum needs a weight"),
        (
            ["normal(0, 1)", "normal(0, 1, 2, 3)"],
            "normal takes loc, scale, variance, log_variance, precision: too many positional",
        ),
        (["normal(0, 1)", "normal(*[1])"], "is no number"),
        (["normal(0, 1)", "normal(**1)"], "** has no place here"),
        (["normal(0, 1)", "normal(0, 1)", "--divergence", "renyi(x)"], "could not convert string to float: 'x'"),
        (["normal(0, 1)", "normal(0, 1)", "--divergence", "foo"], "'foo' is not one of kl, reverse_kl"),
        (["normal(0, 1)", "normal(0, 1)", "--plot", "x.txt"], "the suffix says the format"),
    ],
)
def test_bad_input_is_named(run: Run, arguments: list[str], message: str) -> None:
    done = run("measure", *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split())


def test_expressions_of_every_kind() -> None:
    assert {"normal", "log_normal", "gamma", "half_normal", "probs"} <= set(names())
    assert parse("StudentT(3)").parameters == parse("student_t(3)").parameters  # type: ignore[attr-defined]
    assert repr(parse("Normal(1, log_variance=-2)")) == "Normal(loc=1, log_variance=-2)"
    dirichlet = parse("dirichlet([1, 2.5, +3])")
    assert isinstance(dirichlet, families.Dirichlet)
    np.testing.assert_array_equal(dirichlet.concentration, [1, 2.5, 3])
    mixture = parse("0.25*normal(-2, 1) + 0.75 * normal(2, 0.5)")
    assert float(mixture.mean()) == pytest.approx(1.0)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="is longer than 10000"):
        parse("1" * 10_001)


def test_a_figure_of_two_densities() -> None:
    top, bottom = plots.densities(families.Gamma(2, 1), families.Beta(2, 2))
    assert bottom.get_title(loc="left") == "p log(p/q), whose area is KL(P‖Q) = ∞ nats"
    assert [text.get_text() for text in bottom.get_legend().get_texts()] == ["q = 0: infinite"]
    assert len(top.lines) == 2
    x, drawn = top.lines[0].get_data()
    np.testing.assert_allclose(drawn[x > 0], np.exp(families.Gamma(2, 1).log_prob(x[x > 0])), rtol=1e-12)
    with pytest.raises(ValueError, match="p is a batch of 2 distributions"):
        plots.densities(families.Normal([0, 1]), families.Normal())
    with pytest.raises(TypeError, match=r"q = .* is no distribution of a number"):
        plots.densities(families.Normal(), families.Dirichlet([1, 1]))
    with pytest.raises(ValueError, match="axes holds 1: two are needed"):
        plots.densities(families.Normal(), families.Normal(), axes=[top])


def test_what_samples_cannot_tell_is_said(run: Run) -> None:
    heavy = ("measure", "uniform(0, 1)", "beta(1.9, 1.9)", "--divergence", "chi2", "--method", "monte_carlo")
    text = " ".join(run(*heavy, "--seed", "0").output.split())
    assert "Monte Carlo of χ²(P‖Q): the estimate and its interval cannot be trusted" in text
    mixed = ("measure", "0.5*normal(0, 1) + 0.5*normal(3, 1)", "normal(0, 1)", "--divergence", "kl", "--seed", "0")
    text = " ".join(run(*mixed, "--method", "monte_carlo").output.split())
    assert "KL(P‖Q): between 1.66067 and 1.838 nats for certain" in text
    made = json.loads(run(*mixed, "--method", "monte_carlo", "--json").output)
    assert made["estimates"][0]["bounds"] == pytest.approx([1.66067, 1.838], rel=1e-4)


def test_long_expressions_are_cut_in_the_report_and_the_legend(run: Run) -> None:
    long = " + ".join(f"0.05*normal({k}, 1)" for k in range(20))
    text = run("measure", long, "normal(0, 9)", "--divergence", "kl", env={"COLUMNS": "300"}).output
    assert text.startswith(f"P = {long[:100]} … ({len(long) - 200} characters) … {long[-100:]}\n")
    assert json.loads(run("measure", long, "normal(0, 9)", "--divergence", "kl", "--json").output)["p"] == long
    top, _ = plots.densities(families.Normal(), families.Normal(1, 2), names=(long, "normal(1, 2)"))
    labels = [text.get_text() for text in top.get_legend().get_texts()]
    assert labels == [f"P = {long[:23]} … {long[-23:]}", "Q = normal(1, 2)"]


def test_fractions_and_what_is_not_closed() -> None:
    assert parse("beta(1/2, -3/-2)").parameters == parse("beta(0.5, 1.5)").parameters  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"'1 / 0' is no number"):
        parse("normal(0, 1/0)")
    with pytest.raises(ValueError, match=r"'\(' was never closed"):
        parse("normal(0, 1")
