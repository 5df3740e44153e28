"""The command `dkl measure`: every divergence between two distributions that are written as text."""

from __future__ import annotations

import json
import math
import warnings
from typing import TYPE_CHECKING, Any

import click

from dkl.cli.divergences import figure, margin, named, shortened
from dkl.cli.drawing import draw, plot_option
from dkl.cli.ending import Unmeasured, failures
from dkl.cli.output import check_standard_output, progress_bar, write

if TYPE_CHECKING:
    from dkl.divergences import Divergence
    from dkl.estimate import Estimate

_EXAMPLES = """\b
Examples:
  dkl measure "normal(0, 1)" "normal(1, 2)"
  dkl measure "normal(0, 1)" "student_t(3)" --divergence js --unit bits
  dkl measure "0.3*normal(-2, 1) + 0.7*normal(2, 0.5)" "normal(0, 2)" --json
  dkl measure "probs(0.7, 0.2, 0.1)" "probs(0.8, 0.2, 0)"

\b
Exit codes:
  0  measured
  2  wrong usage, or an expression that describes no distribution
  3  the pair could not be measured
"""


@click.command(epilog=_EXAMPLES)
@click.argument("p")
@click.argument("q")
@click.option(
    "--divergence",
    "chosen",
    multiple=True,
    metavar="NAME",
    help="Measure this one alone, such as kl, js or 'renyi(2)'; may be repeated.  [default: the whole family]",
)
@click.option(
    "--method",
    type=click.Choice(["closed_form", "exact", "quadrature", "monte_carlo"]),
    help="Force a method.  [default: the first that fits, in this order]",
)
@click.option(
    "--unit", type=click.Choice(["nats", "bits"]), default="nats", show_default=True, help="Unit of KL and its kind."
)
@click.option("--seed", type=click.IntRange(0), help="Seed of a method that draws samples.")
@click.option(
    "--rtol", type=click.FloatRange(0, 1, min_open=True), help="Relative error at which a numerical method stops."
)
@plot_option("both densities, and where KL comes from,")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def measure(
    p: str,
    q: str,
    chosen: tuple[str, ...],
    method: str | None,
    unit: str,
    seed: int | None,
    rtol: float | None,
    plot: str | None,
    as_json: bool,
) -> None:
    """Measure how far Q is from P, by every divergence, and say how each number was got.

    Both are distributions written as text, such as "normal(0, 1)" or "gamma(2, rate=1)", sums of weights times
    distributions (mixtures), or lists of outcomes: "probs(0.9, 0.1)".
    """
    check_standard_output()
    from dkl.expressions import parse

    sides: list[Any] = []
    for name, text in (("P", p), ("Q", q)):
        try:
            sides.append(parse(text))
        except ValueError as error:
            raise click.BadParameter(f"{error}.", param_hint=f"'{name}'") from None
        if math.prod(getattr(sides[-1], "batch_shape", ())) != 1:
            raise click.BadParameter(f"{text!r} describes several distributions: give one.", param_hint=f"'{name}'")
    members = [named(name) for name in chosen] or list(_family())
    with progress_bar("sampling") as bar:
        progress = None if bar is None else lambda drawn, most, error: bar(drawn, most)
        estimates = [_estimate(member, sides, method, unit, seed, rtol, progress) for member in members]
    if all(isinstance(made, str) for _, made in estimates):
        raise Unmeasured(f"nothing could be measured: {estimates[0][1]}")
    write(_as_json(p, q, estimates) if as_json else _report(p, q, estimates))
    if plot is not None:
        _draw(sides, (p, q), plot)


def _estimate(
    member: Divergence,
    sides: list[Any],
    method: str | None,
    unit: str,
    seed: int | None,
    rtol: float | None,
    progress: Any,
) -> tuple[Divergence, Estimate | str]:
    """One member's estimate, or why there is none."""
    import dkl

    base = 2 if unit == "bits" and member.unit else None
    try:
        with warnings.catch_warnings():
            # What is warned of stands in the estimate, and the report tells it.
            warnings.simplefilter("ignore", UserWarning)
            return member, dkl.measure(
                sides[0], sides[1], member, method=method, base=base, rng=seed, rtol=rtol, progress=progress
            )
    except (TypeError, ValueError) as error:
        # What was tried is for those who write rules.
        return member, str(error).partition("; tried ")[0]


def _draw(sides: list[Any], names: tuple[str, str], path: str) -> None:
    from dkl.plots import densities

    def figure() -> Any:
        return densities(*sides, names=names)[0].figure

    with failures():
        try:
            draw(figure, path)
        except TypeError as error:
            raise Unmeasured(f"{path}: {error}") from None


def _family() -> Any:
    from dkl.divergences import FAMILY, Renyi

    return (*FAMILY, Renyi(0.5), Renyi(2.0))


def _as_json(p: str, q: str, estimates: list[tuple[Divergence, Estimate | str]]) -> str:
    def entry(member: Divergence, made: Estimate | str) -> dict[str, Any]:
        if isinstance(made, str):
            return {"divergence": member.name, "status": "not measured", "reason": made}
        return made.to_dict()

    content = {"p": p, "q": q, "estimates": [entry(*pair) for pair in estimates]}
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _report(p: str, q: str, estimates: list[tuple[Divergence, Estimate | str]]) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("divergence", "value", "error", "unit", "method"):
        table.add_column(heading, justify="right" if heading in ("value", "error") else "left")
    # Each remark once, with all that it is about.
    remarks: dict[str, list[str]] = {}
    for member, made in estimates:
        if isinstance(made, str):
            table.add_row(Text(member.symbol), "-", "", "", "not measured")
            remarks.setdefault(made, []).append(member.symbol)
            continue
        table.add_row(Text(member.symbol), figure(made), margin(made), made.unit, made.method.replace("_", " "))
        if made.bounds is not None:
            low, high = (float(bound) for bound in made.bounds)
            certain = f"between {low:.6g} and {high:.6g} {made.unit} for certain, whatever the samples say"
            remarks.setdefault(certain, []).append(member.symbol)
        for remark in (made.reason, made.warning):
            if remark:
                remarks.setdefault(remark, [])
    lines = [f"{member.symbol}: {member.direction}" for member, _ in estimates if ":" in member.direction]
    lines += [f"{', '.join(symbols)}: {remark}" if symbols else remark for remark, symbols in remarks.items()]
    console = Console(highlight=False, width=None)
    with console.capture() as captured:
        console.print(Text(f"P = {shortened(p)}\nQ = {shortened(q)}\n"))
        console.print(table)
        console.print()
        for line in lines:
            console.print(Text(line))
    return captured.get()
