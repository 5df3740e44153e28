"""`dkl doctor`: reports for people and programs, exit codes, files, and what is said of a wrong command line."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import dkl
from dkl import plots
from dkl.cli.doctor_report import Report
from dkl.doctor import Diagnosis, Evidence, Finding, Series
from dkl.doctor.diagnose import Question

from ..doctor.diagnoses import BROKEN, DRIFT, EXPLODING, HEALTHY, KL, UNTOLD, WARNED
from .conftest import Run, spawn, write_csv

_LOG = {
    "step": range(0, 300, 10),
    "kl_loss": [5.0 + 0.01 * i for i in range(30)],
    "reconstruction_loss": [90.0 - i for i in range(30)],
    "beta": [1.0] * 30,
}


def _log(folder: Path, name: str = "metrics.csv", **more: Any) -> Path:
    folder.mkdir(exist_ok=True)
    return write_csv(folder / name, **(_LOG | more))


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets the command find what the test says, by the path's name."""

    def answers(**by_name: Diagnosis | Exception) -> None:
        def diagnosed(question: Question, path: str, *_: Any) -> Any:
            answer = by_name[Path(path).stem]
            if isinstance(answer, Exception):
                raise answer
            yield path, answer

        monkeypatch.setattr(Question, "answers", diagnosed)

    return answers


def _drawn(answer: Diagnosis | str, width: int, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, **options)
    console.print(Report("runs/vae", answer))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_answer_comes_first_and_all_else_is_there(run: Run, answering: Any) -> None:
    answering(vae=EXPLODING)
    done = run("doctor", "vae")
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert lines[0] == "Error: explosion by mean drift (almost certain)."
    assert lines[1] == "vae"
    text = " ".join(done.output.split())
    for part in (
        "1. Explosion by mean drift error, almost certain",
        "The means have left the prior. Their squares are the KL.",
        "Evidence • The KL rises from 1 to 3,835 nats.",
        "train/<kl> $x$, steps 0 to 990, logarithmic",
        "to compare with: a KL that one sees, 30",
        "loss, steps 0 to 990; × is NaN or infinite",
        "What to do, the best first 1. Take smaller steps.",
        "optimiser = torch.optim.Adam(parameters, lr=1e-3)",
        "2. Clip. To make sure ? See how far the means are from 0. print(mu.abs().max()) ? Look at each dimension.",
        "What would not help ✗ Lowering β treats the symptom",
        "Described in: D. P. Kingma, M. Welling, ICLR (2014), equation 10",
        "2. β that never rises note, possible",
        "What was inferred, and is relied on • kl is 'train/<kl> $x$'.",
        "What was out of order in the log • loss: NaN or infinite at 9 of 100 steps",
        "What could not be looked for • posterior collapse, a decoder that ignores z: log mu_squared (the mean",
    ):
        assert part in text, part
    assert "\x1b" not in done.output
    assert all(line == line.rstrip() for line in lines)
    assert "      optimiser = torch" in done.output
    assert "      scheduler = None" in done.output


@pytest.mark.parametrize("width", [20, 40, 60, 80, 140])
def test_a_report_fits_its_terminal(width: int) -> None:
    for answer in (EXPLODING, WARNED, HEALTHY, UNTOLD, "runs/vae: is empty"):
        lines = _drawn(answer, width).splitlines()
        # Code alone is left whole, to be copied.
        assert all(len(line) <= width for line in lines if "torch.optim" not in line)


def test_a_chart_is_as_wide_as_it_can_be_and_marks_the_steps() -> None:
    wide = _drawn(EXPLODING, 100)
    assert wide.count("█") > 20
    assert "×" in wide
    marks = next(line for line in wide.splitlines() if "▔" in line)
    # The last two fifths of 64 letters.
    assert 24 <= marks.count("▔") <= 27
    assert "\x1b" not in wide
    assert "\x1b[1;31m" in _drawn(EXPLODING, 100, force_terminal=True, color_system="standard")


def test_a_log_cannot_write_to_the_terminal() -> None:
    series = Series("kl\x1b[2J\nx", KL.steps, KL.values)
    evil = Diagnosis(
        "vae",
        [Finding(DRIFT, "error", 0.9, (Evidence("at [bold]\x1b[31m", (series,)),))],
        "findings",
        ["[red]is \x07 it[/red]"],
        {},
        {"kl": series},
    )
    text = _drawn(evil, 100)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold]\\x1b[31m" in text
    assert "[red]is \\x07 it[/red]" in text
    assert "kl\\x1b[2J\\nx" in text


@pytest.mark.parametrize(
    ("found", "options", "code"),
    [
        (HEALTHY, [], 0),
        (WARNED, [], 1),
        (WARNED, ["--fail-on", "error"], 0),
        (EXPLODING, ["--fail-on", "error"], 1),
        (UNTOLD, [], 3),
    ],
)
def test_exit_codes(run: Run, answering: Any, found: Diagnosis, options: list[str], code: int) -> None:
    answering(x=found)
    assert run("doctor", "x", *options).exit_code == code
    quiet = run("doctor", "x", "--quiet", *options)
    assert (quiet.exit_code, quiet.stdout) == (code, "")


def test_several_runs_have_a_report_each_and_the_worst_code(run: Run, answering: Any) -> None:
    answering(a=HEALTHY, b=dkl.doctor.UnreadableLogError("b: is empty"), c=EXPLODING, d=FileNotFoundError())
    done = run("doctor", "a", "b", "c", "d")
    assert done.exit_code == 3
    firsts = [line for line in done.stdout.splitlines() if line.startswith(("Healthy", "Error", "Could"))]
    assert [line.split(":")[0] for line in firsts] == ["Healthy", "Could not be read", "Error", "Could not be read"]
    assert done.stderr.splitlines() == [
        "dkl: error: b: is empty",
        "dkl: error: d: there is no such file or folder",
    ]
    assert run("doctor", "a", "c").exit_code == 1


def test_json_is_finite_and_whole(run: Run, answering: Any) -> None:
    finding = Finding(DRIFT, "error", 0.9, (Evidence("x", (BROKEN,), (5.0, np.inf)),))
    odd = Diagnosis("vae", [finding], "findings", [], {}, {"kl": KL})
    answering(a=odd, b=dkl.doctor.UnreadableLogError("b: is empty"))
    done = run("doctor", "a", "b", "--json")
    assert done.exit_code == 3
    made = json.loads(done.stdout, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    first, second = made["runs"]
    assert first["source"] == "a"
    assert first["findings"][0]["name"] == "explosion by mean drift"
    assert first["findings"][0]["evidence"] == [{"text": "x", "series": ["loss"], "steps": [5.0, "inf"]}]
    assert first["findings"][0]["fixes"][0]["code"].startswith("optimiser = ")
    assert first["findings"][0]["checks"][1] == {"text": "Look at each dimension.", "code": ""}
    assert first["roles"] == {"kl": "train/<kl> $x$"}
    assert second == {"source": "b", "status": "unreadable", "reason": "b: is empty"}


def test_a_real_log_from_every_way_in(run: Run, tmp_path: Path) -> None:
    path = _log(tmp_path / "run")
    by_file = json.loads(run("doctor", path, "--json").stdout)["runs"]
    by_folder = json.loads(run("doctor", tmp_path / "run", "--json").stdout)["runs"]
    by_stream = json.loads(run("doctor", "-", "--json", input=path.read_bytes()).stdout)["runs"]
    assert by_file[0]["roles"]["kl"] == "kl_loss"
    assert [r[0].pop("source") for r in (by_file, by_folder, by_stream)] == [
        str(path),
        str(tmp_path / "run"),
        "standard input",
    ]
    assert by_file == by_folder == by_stream
    assert by_file[0]["kind"] == "vae"


def test_a_folder_with_a_broken_run_tells_of_the_others(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        _log(tmp_path / name)
    (tmp_path / "b" / "metrics.csv").write_bytes(b"")
    done = run("doctor", tmp_path, "--json")
    assert done.exit_code == 3
    status = {Path(r["source"]).name: r["status"] == "unreadable" for r in json.loads(done.stdout)["runs"]}
    assert status == {"a": False, "b": True, "c": False}
    assert "is empty" in done.stderr


def test_what_is_mapped_and_known_reaches_the_diagnosis(run: Run, tmp_path: Path, monkeypatch: Any) -> None:
    path = _log(tmp_path, mine=[2.0] * 30)
    asked: list[Question] = []

    def diagnosed(question: Question, source: str, *_: Any) -> Any:
        asked.append(question)
        yield source, HEALTHY

    monkeypatch.setattr(Question, "answers", diagnosed)
    options = ["--map", "kl=mine", "--map", "loss = a=b", "--kind", "vae", "--beta", "4", "--latent-dim", "10"]
    facts = ["clamp=-10,10", "kl_is=weighted", "data_covariance=[[1,0],[0,2]]", "policy_is_reference=true"]
    done = run("doctor", path, *options, *(part for fact in facts for part in ("--known", fact)))
    assert done.exit_code == 0, done.output
    (question,) = asked
    assert question.kind == "vae"
    assert question.names == {"kl": "mine", "loss": "a=b"}
    assert question.known == {
        "beta": 4,
        "latent_dim": 10,
        "clamp": [-10, 10],
        "kl_is": "weighted",
        "data_covariance": [[1, 0], [0, 2]],
        "policy_is_reference": True,
    }
    monkeypatch.undo()
    made = json.loads(run("doctor", path, "--map", "kl=mine", "--json").stdout)["runs"][0]
    assert made["roles"]["kl"] == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give at least one PATH, or --example NAME, and not both."),
        (["x", "--example", "exploding-vae"], "Give at least one PATH, or --example NAME, and not both."),
        (["-", "-"], "Standard input can be read once only."),
        (["LOG", "--map", "kl"], "'kl' is not of the form ROLE=NAME."),
        (["LOG", "--map", "kll=beta"], "--map: 'kll' is no role (do you mean 'kl'?)"),
        (["LOG", "--map", "kll=beta", "--kind", "vae"], "--map: 'kll' is no role of --kind vae"),
        (["LOG", "--map", "kl=nowhere"], "--map: the log has no series 'nowhere' for kl"),
        (["LOG", "--known", "beta"], "'beta' is not of the form NAME=VALUE."),
        (["LOG", "--known", "bta=1"], "diagnose takes nothing named 'bta'; do you mean 'beta'?"),
        (["LOG", "--known", "kl_is=big"], "kl_is='big' is none of 'raw', 'weighted'"),
        (["LOG", "--known", "beta=1", "--beta", "2"], "beta is given twice."),
        (["LOG", "--beta", "x"], "beta='x' must be numbers"),
        (["LOG", "--target-kl", "-1"], "target_kl=-1 is negative"),
        (["LOG", "--kind", "van"], "'van' is not one of 'vae', 'policy', 'distillation', 'gan'"),
        (["LOG", "--json", "--quiet"], "--json prints and --quiet does not: give one of them."),
        (["LOG", "--fail-on", "note"], "'note' is not one of 'warning', 'error'"),
        (["LOG", "--plot", "x.txt"], "the suffix says the format"),
        (["LOG", "--html", "."], "is a directory"),
    ],
)
def test_a_wrong_command_line_is_named(run: Run, tmp_path: Path, arguments: list[str], message: str) -> None:
    path = _log(tmp_path)
    done = run("doctor", *(str(path) if one == "LOG" else one for one in arguments))
    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file or folder"),
        (b"", "is empty"),
        (b"\x00\x01\xfe\xff" * 100, "holds binary data"),
        (b"step,speed\n1,0.5\n2,0.6\n3,0.7\n", "no KL, and nothing else that belongs to one"),
    ],
)
def test_what_cannot_be_read_is_one_line_and_exit_3(
    run: Run, tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "log.csv"
    if content is not None:
        path.write_bytes(content)
    done = run("doctor", path)
    assert done.exit_code == 3
    assert done.stderr.startswith(f"dkl: error: {path}: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Could not be read" in done.stdout


def test_files_are_written_whole_or_not_at_all(run: Run, answering: Any, tmp_path: Path) -> None:
    answering(vae=EXPLODING, none=UNTOLD)
    html, plot = tmp_path / "page.html", tmp_path / "kl.svg"
    done = run("doctor", "vae", "--html", html, "--plot", plot, "--quiet")
    assert done.exit_code == 1
    assert html.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert plot.read_text().startswith("<?xml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kl.svg", "page.html"]
    nothing = run("doctor", "none", "--plot", tmp_path / "other.svg", "--quiet")
    assert nothing.exit_code == 3
    assert "nothing to draw" in nothing.stderr
    assert not (tmp_path / "other.svg").exists()
    many = run("doctor", *["vae"] * 21, "--plot", plot, "--quiet")
    assert "21 runs are too many for one figure" in many.stderr


def test_a_log_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    path = _log(tmp_path)
    before = path.read_bytes()
    done = run("doctor", path, "--html", path)
    assert done.exit_code == 3
    assert "is also read" in done.stderr
    assert path.read_bytes() == before


def test_the_shipped_run(run: Run) -> None:
    done = run("doctor", "--example", "exploding-vae", "--json")
    (made,) = json.loads(done.stdout)["runs"]
    assert made["source"] == "the example exploding-vae"
    assert made["kind"] == "vae"
    assert {"kl", "reconstruction", "beta"} <= set(made["roles"])
    # Thousands of nats and a poor reconstruction are no collapse, and a lower β is no cure.
    assert done.exit_code == 1
    first = made["findings"][0]
    assert first["severity"] == "error"
    assert not any("collapse" in finding["name"] for finding in made["findings"])
    assert any("β" in line and "treats the symptom" in line for line in first["not_helping"])


def test_messages_name_the_options_of_the_command_line(run: Run, tmp_path: Path) -> None:
    unsaid = write_csv(tmp_path / "unsaid.csv", step=[1, 2, 3], kl=[1.0, 2.0, 3.0], loss=[3.0, 2.0, 1.0])
    assert "say --kind, one of 'vae'" in " ".join(run("doctor", unsaid).output.split())
    unnamed = write_csv(tmp_path / "unnamed.csv", **{"step": [1, 2, 3], "my term": [1.0, 2.0, 3.0]})
    assert "say which is, such as --map 'kl=my term'" in " ".join(run("doctor", unnamed).output.split())
    between = write_csv(tmp_path / "between.csv", step=[1, 2, 3], recon=[1.0, 2.0, 3.0], discriminator_loss=[1, 2, 3])
    assert "say --kind vae or --kind gan" in " ".join(run("doctor", between).output.split())


def test_a_process_of_its_own_needs_no_terminal_and_no_torch(tmp_path: Path) -> None:
    path = _log(tmp_path)
    done = spawn("doctor", path, "--no-progress")
    assert done.returncode in (0, 1)
    assert done.stderr == ""
    assert done.stdout.splitlines()[1] == str(path)


def test_a_figure_of_a_diagnosis() -> None:
    ax = plots.diagnosis(EXPLODING)
    assert ax.get_yscale() == "log"
    assert ax.get_ylabel() == r"train/<kl> \$x\$"
    assert ax.get_title(loc="left") == "Error: explosion by mean drift (almost certain)."
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), np.stack([KL.steps, KL.values], -1))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "error: explosion by mean drift",
        "a KL that one sees",
    ]
    (span,) = ax.patches
    assert span.get_x() == 600.0
    assert span.get_x() + span.get_width() == pytest.approx(990.0)
    own = plots.diagnosis(Diagnosis("vae", [], "healthy", [], {}, {"loss": BROKEN}), ax=ax)
    assert own is ax
    alone = plots.diagnosis(Diagnosis("vae", [], "healthy", [], {}, {"loss": BROKEN}))
    np.testing.assert_array_equal(alone.lines[1].get_xdata(), BROKEN.steps[BROKEN.steps > 900])
    single = Diagnosis("vae", [], "healthy", [], {}, {"kl": Series("kl", np.array([1.0]), np.array([2.0]))})
    assert plots.diagnosis(single).lines[1].get_marker() == "o"
    figure = plots.diagnoses([("a", EXPLODING), ("b", HEALTHY)])
    assert [ax.get_title(loc="left").split("\n")[0] for ax in figure.axes] == ["a", "b"]
    with pytest.raises(TypeError, match="d is a dict and no diagnosis"):
        plots.diagnosis({})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no series with a finite value"):
        plots.diagnosis(UNTOLD)
