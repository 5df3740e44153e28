"""`dkl fit`: a family fitted to an expression or to samples, and what is said of it."""

from __future__ import annotations

import io
import json
import math
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import dkl
from dkl.cli.ending import Unmeasured
from dkl.cli.fit import _EXAMPLES
from dkl.expressions import parse, parse_family, parse_number
from dkl.families import Gamma, Normal
from dkl.fitting import METHODS

from .conftest import Run, spawn, write_csv

_TWO = "0.5*normal(-3, 1) + 0.5*normal(3, 1)"
_EDGE = "0.5*normal(-1, 2/3) + 0.5*normal(1, 2/3)"


def _flat(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


def test_forward_covers(run: Run) -> None:
    done = run("fit", _TWO, "--family", "normal")
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[:6] == [
        f"target  {_TWO}",
        "family  Normal",
        "least   KL(target‖fit): covers the target",
        "method  moment matching",
        "",
        "fit     Normal(loc=0, scale=3.16228)",
    ]
    assert lines[6].startswith("KL(target‖fit) = 0.461994613")
    assert "nats (error ≤ " in lines[6]
    assert "left out" not in done.output
    assert "optima" not in done.output


def test_reverse_seeks_one_of_two(run: Run) -> None:
    done = run("fit", _TWO, "--family", "normal", "--divergence", "reverse-kl", "--starts", "6", "--seed", "1")
    assert done.exit_code == 0
    assert "least   KL(fit‖target): seeks a mode\nmethod  direct minimisation\n" in done.output
    assert "fit     Normal(loc=-2.98431, scale=1.02337)" in done.output
    table = done.output.partition("3 local optima\n")[2].splitlines()
    assert table[0].split() == ["loc", "scale", "KL(fit‖target)", "of", "the", "starts"]
    assert [row.split()[:4] for row in table[1:4]] == [
        ["1", "-2.98431", "1.02337", "0.688768996"],
        ["2", "2.98431", "1.02337", "0.688768996"],
        ["3", "0", "2.74377", "0.840621431"],
    ]
    # Whole percents, each off by half of one at most.
    assert sum(int(row.split()[4]) for row in table[1:4]) == pytest.approx(100, abs=1.5)
    assert (
        "component 1, Normal(loc=3, scale=1): 0.490 ± 0.002 of the target's mass lies where the fit has less than "
        "1 % of its density"
    ) in done.output


def test_json_has_what_python_has(run: Run) -> None:
    arguments = ("fit", _TWO, "--family", "normal", "--alpha", "0", "--starts", "4", "--path", "0:0.2:2", "--json")
    made = json.loads(run(*arguments).output)
    fit = dkl.fit(Normal, parse(_TWO), dkl.Alpha(0.0), starts=4)
    assert made == {"target": _TWO, "family": "normal"} | fit.to_dict() | {"path": fit.path([0.0, 0.2]).to_dict()}
    assert made["path"]["jumps"][0]["alpha"] == pytest.approx(0.114896, abs=1e-6)


def test_the_path_is_told_with_its_jump(run: Run) -> None:
    text = run("fit", _TWO, "--family", "normal", "--starts", "4", "--path", "0:0.4:3").output
    table = text.partition("along α, from seeking a mode to covering the target\n")[2].splitlines()
    assert table[0].split() == ["α", "best", "member", "divergence", "optima"]
    assert [row.split()[0] for row in table[1:4]] == ["0", "0.2", "0.4"]
    assert table[3].split() == ["0.4", "Normal(loc=0,", "scale=3.01086)", "0.598992141", "3"]
    assert table[4].startswith("at α = 0.114896 the best jumps from Normal(loc=")
    calm = run("fit", "normal(0, 1)", "--family", "normal", "--starts", "2", "--path", "0:1:2").output
    assert "the best never jumps" in calm


def test_1_no_member_is_the_best(run: Run) -> None:
    done = run("fit", _EDGE, "--family", "normal", "--alpha", "-1", "--starts", "2")
    assert done.exit_code == 1
    assert "least   D_α=-1(target‖fit): seeks a mode, more than at α = 0" in done.output
    assert "no member is the best: beyond it D_α=-1(target‖fit) is infinite" in done.output
    assert "infimum 0.143413, near Normal(loc=0, scale=0.942809)" in done.output


def test_1_json_of_an_infinite_infimum(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "same.npy", np.ones(5))
    done = run("fit", "--samples", tmp_path / "same.npy", "--family", "normal", "--json")
    assert done.exit_code == 1
    made = json.loads(done.output)
    assert made["distribution"] is None
    assert made["boundary"]["infimum"] is None
    assert "likelihood grows without end" in made["boundary"]["reason"]
    report = run("fit", "--samples", tmp_path / "same.npy", "--family", "normal").output
    assert "infimum −∞, near Normal(loc=1.0" in report


def test_samples_of_a_column(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    waits, other = rng.gamma(2.0, 1.0, 400), rng.normal(size=400)
    path = write_csv(tmp_path / "waits.csv", other=other, wait=waits)
    done = run("fit", "--samples", path, "--column", "wait", "--family", "gamma")
    assert done.exit_code == 0
    fit = dkl.fit(Gamma, dkl.Samples(waits))
    shape, rate = (float(fit.distribution.given[name]) for name in ("shape", "rate"))
    # 1/√400 is a twentieth of each parameter: two digits are known.
    assert f"fit     Gamma(shape={shape:.1f}, rate={rate:.2f})" in done.output
    assert f"target  samples in {path}" in done.output
    value, stderr = fit.details["log_likelihood"], fit.details["stderr"]
    assert 0.01 < stderr < 0.1
    assert f"log-likelihood {value:.3f} ± {stderr:.3f} nats an observation" in done.output
    assert f"AIC {fit.aic:.1f}, BIC {fit.bic:.1f}, of 2 free parameters\n" in done.output
    assert "details[" not in done.output
    made = json.loads(run("fit", "--samples", path, "--column", "wait", "--family", "gamma", "--json").output)
    assert made["bic"] == pytest.approx(fit.bic, rel=1e-12)
    refused = run("fit", "--samples", path, "--column", "wait", "--family", "gamma", "--divergence", "reverse-kl")
    assert refused.exit_code == 3
    assert "nothing fits Gamma to Samples of shape (400,) by reverse_kl:\n" in refused.output
    assert "without --divergence and --alpha the samples' likelihood is made greatest" in refused.output
    assert made["log_likelihood"] == {"mean": value, "stderr": stderr}
    assert made["distribution"]["parameters"]["shape"] == pytest.approx(shape, rel=1e-12)


def test_samples_of_arrays_and_standard_input(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    x = rng.normal([1.0, -2.0], [1.0, 0.5], (300, 2))
    np.save(tmp_path / "x.npy", x)
    both = json.loads(run("fit", "--samples", tmp_path / "x.npy", "--family", "diagonal_normal", "--json").output)
    np.testing.assert_allclose(both["distribution"]["parameters"]["loc"], x.mean(axis=0), rtol=1e-12)
    text = run("fit", "--samples", tmp_path / "x.npy", "--family", "diagonal_normal").output
    assert f"DiagonalNormal(loc=[{x[:, 0].mean():.2f}, {x[:, 1].mean():.2f}]" in text
    one = run("fit", "--samples", tmp_path / "x.npy", "--column", "1", "--family", "normal", "--json")
    assert json.loads(one.output)["distribution"]["parameters"]["loc"] == pytest.approx(x[:, 1].mean(), rel=1e-12)
    piped = run("fit", "--samples", "-", "--format", "csv", "--family", "exponential", "--json", input="t\n1\n2\n3.5\n")
    made = json.loads(piped.output)
    assert made["target"] == "samples in standard input"
    assert made["distribution"]["parameters"]["rate"] == pytest.approx(3 / 6.5, rel=1e-12)


def test_a_column_whose_type_shows_late(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dkl.comparison.text._BLOCK", 1 << 10)
    path = tmp_path / "late.csv"
    path.write_text("\n".join(["x", *map(str, range(1000)), "0.5"]) + "\n")
    made = json.loads(run("fit", "--samples", path, "--family", "normal", "--json").output)
    assert made["distribution"]["parameters"]["loc"] == pytest.approx((999 * 500 + 0.5) / 1001, rel=1e-12)


def test_mixtures_two_ways(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    np.save(tmp_path / "x.npy", np.concatenate([rng.normal(-3, 1, 150), rng.normal(3, 1, 150)]))
    common = ("fit", "--samples", tmp_path / "x.npy", "--starts", "2", "--json")
    first = json.loads(run(*common, "--family", "mixture:normal:2").output)
    second = json.loads(run(*common, "--family", "normal", "--components", "2").output)
    assert first == second
    assert first["family"] == "mixture:normal:2"
    report = run(*common[:-1], "--family", "mixture:normal:2").output
    assert "method  expectation maximisation" in report
    assert "*Normal(loc=" in report.partition("fit     ")[2].splitlines()[0]


def test_known_parameters_and_counts(run: Run) -> None:
    made = json.loads(
        run("fit", "counts(3, 9, 4)", "--family", "binomial", "--known", "total_count=2", "--json").output
    )
    assert made["distribution"]["parameters"] == {"total_count": 2.0, "probs": pytest.approx(17 / 32, rel=1e-12)}
    text = run("fit", "counts(3, 9, 4)", "--family", "binomial", "--known", "total_count=2").output
    assert "fit     Binomial(total_count=2, probs=0.5)" in text
    assert "the divergence is that from the observed shares" in text


def test_a_method_is_forced(run: Run) -> None:
    done = run(
        "fit", "normal(0, 1)", "--family", "normal", "--method", "direct-minimisation", "--starts", "1", "--json"
    )
    assert json.loads(done.output)["method"] == "direct minimisation"
    refused = run("fit", "normal(0, 1)", "--family", "normal", "--method", "expectation-maximisation")
    assert refused.exit_code == 3
    assert refused.stderr.splitlines() == [
        "dkl: error: nothing fits Normal to Normal(loc=0, scale=1) by kl:",
        "  expectation maximisation is for families of mixtures, dkl.Mixture.of(family, k)",
        "  without --method the others are tried",
    ]


def test_every_reason_has_a_line(run: Run) -> None:
    target = "multivariate_normal([0, 0, 0], [[1, 0, 0], [0, 1, 0], [0, 0, 1]])"
    for form in ([], ["--json"]):
        done = run("fit", target, "--family", "diagonal_normal", "--divergence", "js", *form)
        assert (done.exit_code, done.stdout) == (3, "")
        head, *reasons = done.stderr.splitlines()
        assert head.endswith(" by js:")
        assert (
            "  moment matching, maximum likelihood, expectation maximisation (each minimises KL(target‖fit) alone)"
            in (reasons)
        )
        assert all(reason.startswith("  ") for reason in reasons)
    together = run("fit", "normal(0, 1)", "--family", "normal", "--rank", "3", "--blocks", "0,1/2")
    assert together.stderr.endswith("by kl with rank and blocks:\n  no method takes rank and blocks together\n")


def test_reasons_are_broken_at_the_width_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "30")
    out = Terminal()
    Unmeasured("nothing fits:", ["a reason that is longer than thirty letters"]).show(out)
    assert out.getvalue().splitlines() == [
        "dkl: error: nothing fits:", "  a reason that is longer than", "    thirty letters",
    ]  # fmt: skip


def test_methods_are_told_what_they_take(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    np.save(tmp_path / "x.npy", np.concatenate([rng.normal(-1, 1, 60), rng.normal(1, 1, 60)]))
    common = ("fit", "--samples", tmp_path / "x.npy", "--family", "mixture:normal:2")
    begun = "0.5*normal(-1, 1) + 0.5*normal(1, 1)"
    cut = run(*common, "--initial", begun, "--max-iterations", "3")
    assert cut.exit_code == 1
    assert ")  (not converged)\n" in cut.output
    assert "\nthe best start did not converge in 3 iterations: raise --max-iterations\n" in cut.output
    floor = run(*common, "--minimum-scale", "1.5", "--starts", "2", "--rtol", "1e-6", "--json")
    parts = json.loads(floor.output)["distribution"]["components"]
    assert [one["parameters"]["scale"] >= 1.5 * (1 - 1e-12) for one in parts] == [True, True]
    few = run("fit", _TWO, "--family", "normal", "--alpha", "0", "--method", "natural-gradient", "--steps", "2")
    assert few.exit_code == 1
    assert ": give more --steps\n" in few.output
    wide = "multivariate_normal([0, 0, 0], [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]])"
    kept = run("fit", wide, "--family", "multivariate_normal", "--alpha", "0", "--blocks", "0,1/2", "--json")
    assert json.loads(kept.output)["method"] == "coordinate ascent"
    assert json.loads(kept.output)["divergence"]["value"] == pytest.approx(0.0, abs=1e-12)


def test_weights_are_a_column(run: Run, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "x.csv", x=[1.0, 2.0, 6.0], w=[1.0, 2.0, 1.0])
    made = json.loads(run("fit", "--samples", path, "--weights", "w", "--family", "exponential", "--json").output)
    assert made["distribution"]["parameters"]["rate"] == pytest.approx(4 / 11, rel=1e-12)
    for arguments, message in (
        (["--weights", "z"], "there is no column 'z'; it has x, w."),
        (["--weights", "w", "--column", "w"], "--column and --weights both name 'w'"),
    ):
        refused = run("fit", "--samples", path, "--family", "exponential", *arguments)
        assert refused.exit_code == 2
        assert message in _flat(refused.output)
    alone = run("fit", "--samples", "-", "--format", "csv", "--weights", "w", "--family", "normal", input="w\n1\n2\n")
    assert "beside the weights there is no column of samples" in _flat(alone.output)


def test_plots(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "both.svg"
    done = run("fit", "normal(0, 1)", "--family", "normal", "--starts", "2", "--path", "0:1:2", "--plot", path)
    assert done.exit_code == 0
    assert path.read_text().startswith("<?xml")
    assert done.stderr == f"dkl: drawn to {path}\n"
    monkeypatch.chdir(tmp_path)
    assert run("fit", "normal(0, 1)", "--family", "normal", "--plot").exit_code == 0
    assert (tmp_path / "fit.png").read_bytes().startswith(b"\x89PNG")
    refused = run("fit", "dirichlet([1, 2, 3])", "--family", "dirichlet", "--plot", tmp_path / "x.png")
    assert refused.exit_code == 3
    assert "have no axes to be drawn on" in refused.stderr
    assert not (tmp_path / "x.png").exists()
    (tmp_path / "x.csv").write_text("x\n1\n2\n")
    (tmp_path / "x.png").symlink_to(tmp_path / "x.csv")
    read = run("fit", "--samples", tmp_path / "x.csv", "--family", "normal", "--plot", tmp_path / "x.png")
    assert read.exit_code == 3
    assert "is also read" in read.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["normal(0, 1)"], "Missing option '--family'"),
        (["--family", "normal"], "Give TARGET, or --samples FILE: one of them."),
        (["normal(0, 1)", "--samples", "x.csv", "--family", "normal"], "Give TARGET, or --samples FILE"),
        (
            ["normal(0, 1)", "--column", "x", "--family", "normal"],
            "--column, --weights and --format are of files: give",
        ),
        (["nomal(0, 1)", "--family", "normal"], "there is no distribution 'nomal'; did you mean 'normal'?"),
        (["normal([0, 1], 1)", "--family", "normal"], "describes several distributions: give one"),
        (["normal(0, 1)", "--family", "nomal"], "there is no distribution 'nomal'; did you mean 'normal'?"),
        (["normal(0, 1)", "--family", "probs"], "there is no distribution 'probs'"),
        (["normal(0, 1)", "--family", "mixture:normal"], "is no family: write a name such as 'normal', or 'mixture:"),
        (["normal(0, 1)", "--family", "mixture:normal:0"], "components = 0 must be a whole number of at least 1"),
        (["normal(0, 1)", "--family", "mixture:normal:2", "--components", "2"], "leave --components out"),
        (["normal(0, 1)", "--family", "normal", "--divergence", "foo"], "'foo' is not one of kl, reverse_kl"),
        (["normal(0, 1)", "--family", "normal", "--divergence", "kl("], "'kl(' is not one of kl, reverse_kl"),
        (["normal(0, 1)", "--family", "normal", "--divergence", "kl", "--alpha", "0"], "give one of them"),
        (["normal(0, 1)", "--family", "normal", "--known", "x=1"], "Normal keeps no parameter fixed"),
        (["poisson(3)", "--family", "binomial"], "Binomial keeps total_count fixed: give --known total_count=…."),
        (["poisson(3)", "--family", "binomial", "--known", "total_count"], "write NAME=VALUE, and Binomial keeps"),
        (["poisson(3)", "--family", "binomial", "--known", "total_count=x"], "'x' is no number, and no list"),
        (["normal(0, 1)", "--family", "normal", "--path", "0:1"], "write the first α, the last and how many"),
        (["normal(0, 1)", "--family", "normal", "--path", "1:0:5"], "write the first α, the last and how many"),
        (["normal(0, 1)", "--family", "normal", "--path", "0:inf:5"], "write the first α, the last and how many"),
        (["normal(0, 1)", "--family", "normal", "--path", "0:1:5:7"], "write the first α, the last and how many"),
        (["normal(0, 1)", "--family", "normal", "--plot", "x.txt"], "the suffix says the format"),
        (["normal(0, 1)", "--family", "normal", "--starts", "0"], "0 is not in the range x>=1"),
        (["normal(0, 1)", "--family", "normal", "--rtol", "1"], "1.0 is not in the range 0<x<1"),
        (["normal(0, 1)", "--family", "normal", "--minimum-scale", "0"], "0.0 is not in the range x>0"),
        (["normal(0, 1)", "--family", "normal", "--blocks", "0;1"], "'0;1': write the components of each block, as in"),
        (["normal(0, 1)", "--family", "normal", "--initial", "nomal(0, 1)"], "did you mean 'normal'?"),
        (
            ["normal(0, 1)", "--family", "normal", "--method", "maximum-likelihood", "--starts", "2"],
            "--starts means nothing to maximum likelihood: leave it out.",
        ),
        (["--samples", "x.npy", "--family", "wishart"], "is a matrix, which no file of samples holds"),
    ],
)
def test_2_wrong_usage(run: Run, arguments: list[str], message: str) -> None:
    known = ["--known", "df=3"] if "wishart" in arguments and "df" in parse_family("wishart").known else []
    done = run("fit", *arguments, *known)
    assert done.exit_code == 2, done.output
    assert message in _flat(done.output)


def test_2_columns_must_be_named(run: Run, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "x.csv", **{f"c{k}": [1.0, 2.0] for k in range(12)})
    several = run("fit", "--samples", path, "--family", "normal")
    assert several.exit_code == 2
    assert "say which --column holds the samples: c0, c1, " in _flat(several.output)
    assert "c9, and 2 more." in _flat(several.output)
    missing = run("fit", "--samples", path, "--family", "normal", "--column", "nine")
    assert missing.exit_code == 2
    assert "there is no column 'nine'; it has c0, " in _flat(missing.output)
    twice = run("fit", "--samples", path, "--family", "normal", "--column", "c0", "--column", "c1")
    assert twice.exit_code == 2
    assert "--column is given more than once" in _flat(twice.output)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("x\n", "is empty: a fit needs at least one observation"),
        ("x\na\nb\n", "column 'x' holds"),
        ("x,y\n1,1\n,2\n", "column 'x' has missing values: leave these rows out"),
        ("x\n1\ninf\n", "samples[1] = inf is no finite number"),
        ('{"dkl_reference_schema": 1, "rows": ', "cut short"),
    ],
)
def test_3_unreadable_samples(run: Run, tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / ("x.json" if content and content.startswith("{") else "x.csv")
    if content is not None:
        path.write_text(content)
    done = run("fit", "--samples", path, "--family", "normal", *(["--column", "x"] if content else []))
    assert done.exit_code == 3, done.output
    assert done.stdout == ""
    assert done.stderr.startswith("dkl: error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_3_a_saved_reference_holds_no_samples(run: Run, tables: tuple[Path, Path], tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"
    assert run("compare", tables[0], "--save-reference", saved).exit_code == 0
    done = run("fit", "--samples", saved, "--family", "normal")
    assert done.exit_code == 3
    assert "is a saved reference, which holds counts of cells" in done.stderr


def test_3_what_cannot_be_fitted(run: Run, tmp_path: Path) -> None:
    done = run("fit", "normal(0, 1)", "--family", "gamma")
    assert done.exit_code == 3
    assert done.stderr.startswith("dkl: error: every member is infinitely far: ")
    (tmp_path / "x.csv").write_text("x\n1\n2\n")
    path = run("fit", "--samples", tmp_path / "x.csv", "--family", "normal", "--path", "0:1:2")
    assert path.exit_code == 3
    assert "needs direct minimisation" in path.stderr


def test_progress_is_drawn_where_there_is_some(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int, int]] = []

    @contextmanager
    def bar(doing: str) -> Iterator[Callable[[int, int], None]]:
        yield lambda done, total: seen.append((doing, done, total))

    monkeypatch.setattr("dkl.cli.fit.progress_bar", bar)
    common = ("fit", "normal(0, 1)", "--family", "normal")
    assert run(*common, "--alpha", "0", "--starts", "2", "--path", "0:1:2").exit_code == 0
    starts = seen[0][2]
    assert starts >= 2
    assert seen[:starts] == [("fitting", k + 1, starts) for k in range(starts)]
    assert [one for one in seen if one[0] == "following α"][-1][1:] == (4, 4)
    assert run(*common, "--method", "moment-matching").exit_code == 0


def test_a_process_of_its_own() -> None:
    done = spawn("fit", "normal(0, 2)", "--family", "laplace", "--known", "loc=0")
    assert (done.returncode, done.stderr) == (0, "")
    # The mean of |x| is 2·√(2/π).
    assert f"Laplace(loc=0, scale={2 * math.sqrt(2 / math.pi):.6g})" in done.stdout


def test_the_choices_are_those_of_the_library() -> None:
    from dkl.cli.fit import fit
    from dkl.comparison.sources import FORMATS
    from dkl.fitting.problem import options_of

    choices = {option.name: getattr(option.type, "choices", ()) for option in fit.params}
    # A product of factors has no expression.
    of_products = {"expectation propagation", "assumed density filtering"}
    assert [name.replace("-", " ") for name in choices["method"]] == [one for one in METHODS if one not in of_products]
    assert set(choices["format_"]) == set(FORMATS.values())
    # Those of products alone, and what the command gives by itself.
    elsewhere = {"alpha", "damping", "schedule", "max_sweeps", "progress", "weights"}
    assert {"samples" if name == "draws" else name for name in choices} >= options_of(None) - elsewhere


def test_components_are_counted_from_the_left() -> None:
    mixture = parse("0.2*normal(0, 1) + (0.3*normal(1, 1) + 0.1*normal(2, 1)) + 0.4*normal(3, 1)")
    assert [float(each.given["loc"]) for each in mixture.each] == [0, 1, 2, 3]  # type: ignore[attr-defined]


def test_families_and_numbers_by_name() -> None:
    assert parse_family(" StudentT ") is dkl.families.StudentT
    assert repr(parse_family("Mixture:log_normal:3")) == "Mixture.of(LogNormal, 3)"
    assert parse_number("-1/4") == -0.25
    with pytest.raises(ValueError, match=r"'__import__\(1\)' is no number"):
        parse_number("__import__(1)")


# Those that read no file, draw nothing and take no time.
_SHORT = re.findall(r'^  (dkl fit "(?!.*--(?:plot|path)).*)$', _EXAMPLES, re.MULTILINE)


@pytest.mark.parametrize("line", _SHORT)
def test_an_example_of_the_help_runs(run: Run, line: str) -> None:
    assert run(*shlex.split(line)[1:]).exit_code == 0


def test_there_are_examples() -> None:
    assert len(_SHORT) == 2
