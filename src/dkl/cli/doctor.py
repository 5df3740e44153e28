"""The command `dkl doctor`: logs of training runs, and what is wrong with their KL term."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from importlib import import_module
from importlib.resources import as_file, files
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from dkl.cli.drawing import draw, plot_option
from dkl.cli.ending import Unmeasured, failures
from dkl.cli.output import check_standard_output, progress_bar, write

if TYPE_CHECKING:
    from dkl.doctor import Diagnosis
    from dkl.doctor.diagnose import Question

Answer = tuple[str, "Diagnosis | str"]
"""A run's source, and its diagnosis or the reason why it could not be read."""

_EXAMPLES_SHIPPED = {"exploding-vae": "exploding_vae.jsonl"}
_PLAIN_WIDTH = 100
_MOST_DRAWN = 20

_EXAMPLES = """\b
Examples:
  dkl doctor --example exploding-vae
  dkl doctor runs/vae
  dkl doctor metrics.csv --map kl=my_kl_term --beta 4 --latent-dim 10
  dkl doctor progress.csv --known target_kl=0.02 --known unit=token --html report.html
  dkl doctor runs/* --fail-on error --quiet || echo "look at it"
  tail -n 5000 train.log | dkl doctor - --kind policy --json

\b
What --map takes for ROLE, and --known for NAME, stands in dkl.doctor.ROLES and dkl.doctor.KNOWN; a pair is written
as --known clamp=-10,10, a matrix as JSON.

\b
Exit codes:
  0  healthy, or findings below --fail-on alone
  1  a finding at or above --fail-on
  2  the command line is wrong
  3  a log cannot be read, or tells too little
"""


@click.command(epilog=_EXAMPLES)
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option("--example", type=click.Choice(list(_EXAMPLES_SHIPPED)), help="Look at a recorded run that is shipped.")
@click.option(
    "--kind",
    type=click.Choice(["vae", "policy", "distillation", "gan"]),
    help="What is trained.  [default: told by the names in the log]",
)
@click.option("--map", "mapped", multiple=True, metavar="ROLE=NAME", help="The series to take for a role.")
@click.option("--known", "facts", multiple=True, metavar="NAME=VALUE", help="What is known beside the log.")
@click.option("--beta", metavar="X", help="The weight of the KL, where it is constant; as --known beta=X.")
@click.option("--latent-dim", metavar="N", help="How many latent dimensions there are.")
@click.option("--data-dim", metavar="N", help="How many numbers one sample has.")
@click.option("--target-kl", metavar="X", help="The KL that is aimed at, in nats.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option(
    "--html",
    type=click.Path(dir_okay=False, writable=True),
    metavar="FILE",
    help="Write the report, with drawings, as one page that needs nothing else.",
)
@plot_option("the KL, with the steps that the findings are about,")
@click.option(
    "--fail-on",
    type=click.Choice(["warning", "error"]),
    default="warning",
    show_default=True,
    help="Exit with 1 from this severity on.",
)
@click.option("--quiet", is_flag=True, help="Print nothing; the exit code tells.")
@click.option("--no-progress", is_flag=True, help="Draw no progress bar.")
@click.pass_context
def doctor(
    ctx: click.Context,
    paths: tuple[str, ...],
    example: str | None,
    kind: str | None,
    mapped: tuple[str, ...],
    facts: tuple[str, ...],
    beta: str | None,
    latent_dim: str | None,
    data_dim: str | None,
    target_kl: str | None,
    as_json: bool,
    html: str | None,
    plot: str | None,
    fail_on: str,
    quiet: bool,
    no_progress: bool,
) -> None:
    """Say why a KL term explodes, collapses, is negative or is stuck, from the training log at PATH.

    A log is a folder or file of TensorBoard events, CSV, JSON lines, trainer_state.json, Stable-Baselines3's
    progress.csv or printed table, or text with key=value or key: value; or - for standard input. A folder may hold
    several runs.
    """
    if as_json and quiet:
        raise click.UsageError("--json prints and --quiet does not: give one of them.")
    if bool(paths) == (example is not None):
        raise click.UsageError("Give at least one PATH, or --example NAME, and not both.")
    if paths.count("-") > 1:
        raise click.UsageError("Standard input can be read once only.")
    if not quiet:
        check_standard_output()
    if plot is not None:
        import_module("dkl.plots")  # a missing matplotlib is said before the work, not after it
    question = _question(
        kind,
        dict(_pair(text, "--map", "ROLE=NAME") for text in mapped),
        _known(facts, beta=beta, latent_dim=latent_dim, data_dim=data_dim, target_kl=target_kl),
    )
    with failures():
        for target in (html, plot):
            if target is not None:
                from dkl.comparison.writing import check_target

                check_target(target, paths)

    with ExitStack() as stack:
        if example is not None:
            shipped = stack.enter_context(as_file(files("dkl.data") / _EXAMPLES_SHIPPED[example]))
            answers = [(f"the example {example}", answer) for _, answer in _answers([str(shipped)], question)]
        else:
            answers = _answers(paths, question, progress=not no_progress)

    if plot is not None:
        _draw(answers, plot, paths)
    if html is not None:
        _write_page(answers, html, paths)
    if not quiet:
        write(_as_json(answers) if as_json else _report(answers))
    _end(ctx, answers, fail_on)


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise click.BadParameter(f"{text!r} is not of the form {form}.", param_hint=f"'{option}'")
    return name.strip(), value.strip()


def _known(facts: Sequence[str], **options: str | None) -> dict[str, Any]:
    """What is known beside the log, from --known and from the options that stand for the most usual of it."""
    known: dict[str, Any] = {}
    given = [(*_pair(text, "--known", "NAME=VALUE"), "--known") for text in facts]
    given += [(name, text, "--" + name.replace("_", "-")) for name, text in options.items() if text is not None]
    from dkl.doctor.diagnose import checked

    for name, text, option in given:
        if name in known:
            raise click.BadParameter(f"{name} is given twice.", param_hint=f"'{option}'")
        known[name] = _value(text)
        try:
            checked({name: known[name]})
        except (TypeError, ValueError) as error:
            raise click.BadParameter(f"{error}.", param_hint=f"'{option}'") from None
    return known


def _value(text: str) -> Any:
    """A number, several numbers with commas between them, true or false, JSON, or a word."""
    for form in (text, f"[{text}]"):
        try:
            return json.loads(form)
        except json.JSONDecodeError:
            continue
    return text


def _question(kind: str | None, names: dict[str, str], known: dict[str, Any]) -> Question:
    """What is asked of every log, with the options called as they are on the command line."""
    from dkl.doctor.diagnose import Question
    from dkl.doctor.options import Options

    options = Options(
        "--kind", "--map", lambda kind: f"--kind {kind}", lambda role, name: f"--map {quote(f'{role}={name}')}"
    )
    return Question(kind, names, known, options)


def _answers(paths: Sequence[str], question: Question, *, progress: bool = False) -> list[Answer]:
    """Each run of each path with its diagnosis, or with the reason why it could not be read."""
    from dkl.doctor import UnreadableLogError

    answers: list[Answer] = []

    def unreadable(source: str, error: Exception) -> None:
        answers.append((source, _reason(source, error)))

    for path in paths:
        with progress_bar(f"reading {_named(path)}") if progress else nullcontext() as drawn:
            try:
                for source, diagnosis in question.answers(path, unreadable, drawn):
                    answers.append((source, diagnosis))
            except (UnreadableLogError, OSError) as error:
                unreadable(path, error)
            except ValueError as error:
                from dkl.cli.words import clean

                raise click.UsageError(f"{clean(path)}: {clean(str(error))}.") from None
    return answers


def _named(path: str) -> str:
    """What is read, for the progress bar: a file with its size."""
    from dkl.cli.words import clean

    if path == "-":
        return "standard input"
    size = os.path.getsize(path) if os.path.isfile(path) else 0
    return clean(path) + (f" ({size / 1e6:,.0f} MB)" if size >= 1e6 else "")


def _reason(source: str, error: Exception) -> str:
    """Why a run could not be read, in one sentence that names it."""
    if isinstance(error, FileNotFoundError):
        return f"{source}: there is no such file or folder"
    if isinstance(error, OSError):
        return f"{source}: cannot be read ({error.strerror or error})"
    return str(error)


def _end(ctx: click.Context, answers: Sequence[Answer], fail_on: str) -> None:
    """Leave with the worst code of all runs, and with a line on standard error for each that was not told."""
    from dkl.cli.words import clean
    from dkl.doctor.words import at_or_above, summary

    told = [(source, answer) for source, answer in answers if not isinstance(answer, str)]
    untold = [answer for _, answer in answers if isinstance(answer, str)]
    untold += [f"{source}: {summary(answer)}" for source, answer in told if answer.status == "cannot tell"]
    if untold:
        *before, last = untold
        for line in before:
            click.echo(f"dkl: error: {clean(line)}", err=True)
        raise Unmeasured(last)
    if any(at_or_above(answer, fail_on) for _, answer in told):
        ctx.exit(1)


def _draw(answers: Sequence[Answer], path: str, inputs: Sequence[str]) -> None:
    from dkl.plots import diagnoses
    from dkl.plots.doctor import drawn_of

    drawn = [(source, d) for source, d in answers if not isinstance(d, str) and drawn_of(d) is not None]
    if not drawn:
        raise Unmeasured(f"{path}: nothing to draw: no run that was read has a KL or a loss with a finite value")
    if len(drawn) > _MOST_DRAWN:
        raise Unmeasured(f"{path}: {len(drawn)} runs are too many for one figure; draw {_MOST_DRAWN} at most")
    with failures():
        draw(lambda: diagnoses(drawn), path, inputs)


def _write_page(answers: Sequence[Answer], path: str, inputs: Sequence[str]) -> None:
    from dkl.comparison.writing import write_whole
    from dkl.doctor.html import page

    with failures():
        write_whole(path, page(answers).encode(), inputs)


def _report(answers: Sequence[Answer]) -> str:
    """Return the report: in colours if standard output is a terminal, else plain and of one width."""
    from rich.console import Console

    from dkl.cli.doctor_report import Report

    colour = None if os.environ.get("NO_COLOR") else "auto"
    console = Console(color_system=colour, highlight=False)  # type: ignore[arg-type]  # its Literal has no name
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PLAIN_WIDTH
    with console.capture() as capture:
        for source, answer in answers:
            console.print(Report(source, answer))
    text = capture.get()
    return text if console.is_terminal else "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _as_json(answers: Sequence[Answer]) -> str:
    runs = [
        {"source": source, "status": "unreadable", "reason": answer}
        if isinstance(answer, str)
        else {"source": source, **answer.to_dict()}
        for source, answer in answers
    ]
    return json.dumps({"runs": _finite(runs)}, allow_nan=False, indent=2) + "\n"


def _finite(value: Any) -> Any:
    """The same with numbers that JSON does not have as words."""
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    return value
