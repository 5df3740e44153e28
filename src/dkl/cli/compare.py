"""`dkl compare`: two tables or sets of distributions, measured and reported."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib import import_module
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

import click

from dkl.cli.drawing import draw, plot_option
from dkl.cli.ending import Unmeasured, failures
from dkl.cli.output import check_standard_output, progress_bar, write

if TYPE_CHECKING:
    from dkl.cli.words import Order, UnitName, View
    from dkl.comparison import Comparison
    from dkl.comparison.quantities import Quantity

_QUANTITIES: dict[str, Quantity] = {
    "js": "js",
    "kl": "kl_reference_current",
    "reverse-kl": "kl_current_reference",
    "tv": "tv",
}
_SHOWN = 20
_NAMED = 5
_EXAMPLE = {
    "flights_january.parquet": "flights from New York, January 2013",
    "flights_july.parquet": "flights from New York, July 2013",
}
_OF_THE_REFERENCE = ("bins", "max_categories", "columns", "seed", "as_", "format", "progress")
"""The settings that a saved reference depends on; the others belong to a comparison."""

_EXAMPLES = """\b
Examples:
  dkl compare --example
  dkl compare january.parquet july.parquet
  dkl compare train.csv today.csv --columns age,income --ignore-below 0.01
  dkl compare train.parquet --save-reference train.json
  zcat today.csv.gz | dkl compare train.json - --format csv --fail-above 0.05
  dkl compare original.safetensors quantised.safetensors --as logits
  dkl compare january.parquet july.parquet --json | jq '.columns[].name'

\b
Exit codes:
  0  measured
  1  --fail-above was exceeded
  2  the command line is wrong
  3  the data could not be measured
"""


def _finite(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """Refuse an infinity and a NaN, which lie in every range of numbers."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number.")
    return value


@click.command(epilog=_EXAMPLES)
@click.argument("reference", required=False)
@click.argument("current", required=False)
@click.option("--example", is_flag=True, help="Compare the shipped data: January and July flights from New York.")
@click.option(
    "--as",
    "as_",
    type=click.Choice(["probs", "log-probs", "logits", "counts", "samples"]),
    help="What an array's numbers are.  [default: probs]",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "parquet", "arrow", "jsonl", "npy", "npz", "safetensors"]),
    help="Format of standard input, or of a file whose name does not say it.",
)
@click.option(
    "--columns",
    multiple=True,
    metavar="NAME,...",
    help="Compare these columns only; may be repeated, and a name with a comma is quoted: '\"a,b\"'.",
)
@click.option("--bins", type=click.IntRange(2), help="Equal-frequency bins of a numeric column.  [default: 32]")
@click.option(
    "--max-categories",
    type=click.IntRange(1),
    help="Categories with a cell of their own; rarer ones become OTHER.  [default: 1000]",
)
@click.option(
    "--resamples",
    type=click.IntRange(100, 1_000_000),
    help="Bootstrap resamples and permutations.  [default: 1000]",
)
@click.option(
    "--level",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    callback=_finite,
    help="Level of the intervals.  [default: 0.95]",
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    callback=_finite,
    help="An adjusted p-value below it is called a difference.  [default: 0.01]",
)
@click.option("--seed", type=click.IntRange(0), help="Seed of the random draws.  [default: 0]")
@click.option(
    "--unit",
    type=click.Choice(["nats", "bits"]),
    default="nats",
    show_default=True,
    help="Unit of JS and KL, in the report and in the thresholds.",
)
@click.option(
    "--ignore-below",
    type=click.FloatRange(0),
    callback=_finite,
    metavar="X",
    help="A JS below X does not matter.  [default: 0]",
)
@click.option(
    "--fail-above",
    type=click.FloatRange(0),
    callback=_finite,
    metavar="X",
    help="Exit with 1 if any column's interval lies above X whole (an array: the mean); infinity does.",
)
@click.option(
    "--by",
    type=click.Choice(list(_QUANTITIES)),
    help="What --fail-above holds, js by default: kl is KL(reference || current), reverse-kl the other direction.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, in nats.")
@plot_option("the columns that differ most")
@click.option(
    "--save-reference",
    type=click.Path(dir_okay=False, writable=True),
    metavar="FILE",
    help="Save the reference's counts as JSON, which can then stand as REFERENCE.",
)
@click.option(
    "--sort",
    type=click.Choice(["js", "name", "p", "file"]),
    default="js",
    show_default=True,
    help="Order of the columns in the report.",
)
@click.option("--top", type=click.IntRange(1), default=_SHOWN, show_default=True, help="Columns to show at most.")
@click.option("--all", "show_all", is_flag=True, help="Show all columns.")
@click.option("--quiet", is_flag=True, help="Print nothing; the exit code tells.")
@click.option("--no-progress", is_flag=True, help="Draw no progress bar.")
@click.pass_context
def compare(
    ctx: click.Context,
    reference: str | None,
    current: str | None,
    example: bool,
    as_: str | None,
    format_: str | None,
    columns: tuple[str, ...],
    bins: int | None,
    max_categories: int | None,
    resamples: int | None,
    level: float | None,
    alpha: float | None,
    seed: int | None,
    unit: UnitName,
    ignore_below: float | None,
    fail_above: float | None,
    by: str | None,
    as_json: bool,
    plot: str | None,
    save_reference: str | None,
    sort: Order,
    top: int,
    show_all: bool,
    quiet: bool,
    no_progress: bool,
) -> None:
    """Measure how far CURRENT has moved from REFERENCE, column by column.

    Each is a file of any size: CSV, Parquet, Feather or Arrow, JSON lines (text also compressed), .npy, .npz or
    .safetensors, or - for standard input. REFERENCE may also be what --save-reference wrote.
    """
    if as_json and quiet:
        raise click.UsageError("--json prints and --quiet does not: give one of them.")
    if example and reference is not None:
        raise click.UsageError("--example brings its own data: give no files with it.")
    if not example and (reference is None or (current is None and save_reference is None)):
        raise click.UsageError("Give REFERENCE and CURRENT, or --example.")
    if reference == current == "-":
        raise click.UsageError("Standard input can be only one side: give the other as a file.")
    if by is not None and fail_above is None:
        raise click.UsageError("--by says what --fail-above is held against: give both.")
    by = by or "js"
    if current is None and not example and (as_json or plot or fail_above is not None):
        raise click.UsageError("Without CURRENT nothing is compared: --save-reference stands alone.")

    if not quiet and (example or current is not None):
        check_standard_output()

    from dkl.cli.words import FACTORS, View

    if plot is not None:
        import_module("dkl.plots")  # a missing matplotlib is said before the work, not after it
    scale = FACTORS[unit]
    chosen = {
        "bins": bins,
        "max_categories": max_categories,
        "columns": _names(columns),
        "seed": seed,
        "as_": as_,
        "format": format_,
        "resamples": resamples,
        "level": level,
        "alpha": alpha,
        "ignore_below": None if ignore_below is None else ignore_below / scale,
    }
    settings = {name: value for name, value in chosen.items() if value is not None}
    from dkl.comparison.writing import check_target

    with failures(), ExitStack() as stack:
        progress = None if no_progress else stack.enter_context(progress_bar())
        sides = [reference, current] if reference is not None else _example_sides(stack)
        before, after = sides
        assert before is not None  # either was checked above
        inputs = [side for side in sides if side is not None]
        for target in (plot, save_reference):
            if target is not None:
                check_target(target, inputs)
        comparison = _measured(before, after, save_reference, settings | {"progress": progress})
        if comparison is None:
            return
        if comparison.arrays and not comparison.columns:
            _refuse_cells(bins=bins, max_categories=max_categories)
        if example:
            comparison = _named_example(comparison)
    if plot is not None:
        with failures():
            _draw(comparison, plot, unit, inputs)
    if not quiet:
        view = View(unit, sort, None if show_all else top)
        write(_as_json(comparison) if as_json else _report(comparison, view))
    if fail_above is not None:
        above = comparison.exceeding(fail_above if by == "tv" else fail_above / scale, _QUANTITIES[by])
        if above:
            if not quiet:
                limit = f"{fail_above:g}" if by == "tv" else f"{fail_above:g} {unit}"
                click.echo(_exceeded(above, comparison, limit, by), err=True)
            ctx.exit(1)
        if comparison.unmeasured:
            names = ", ".join(entry.name for entry in comparison.unmeasured)
            raise Unmeasured(f"--fail-above holds for what was measured, and these were not: {names}; see the report")
    if len(comparison.unmeasured) == len(comparison):
        raise Unmeasured("nothing could be measured; the report says why")


def _refuse_cells(**given: int | None) -> None:
    """Refuse what says how a table's columns are cut into cells, where arrays of distributions were compared."""
    for name, value in given.items():
        if value is not None:
            option = "--" + name.replace("_", "-")
            raise click.UsageError(
                f"{option} is of tables: arrays of distributions are compared outcome by outcome; leave it out, or say "
                "--as samples."
            )


def _names(columns: tuple[str, ...]) -> list[str] | None:
    """Split what was given by commas, outside quotes."""
    names: list[str] = []
    for given in columns:
        try:
            found = next(csv.reader([given], skipinitialspace=True, strict=True), [])
        except csv.Error as error:
            raise click.BadParameter(f"{given!r}: {error}.", param_hint="'--columns'") from None
        if not any(found):
            raise click.BadParameter(f"{given!r} names no column.", param_hint="'--columns'")
        names += found
    return names or None


def _measured(
    reference: str, current: str | None, save_to: str | None, settings: Mapping[str, Any]
) -> Comparison | None:
    """Save the reference if a file for it is named, and compare; without a current side there is nothing to compare."""
    import dkl.comparison as tables

    before: str | tables.ReferenceState = reference
    if save_to is not None:
        before = tables.save_reference(
            reference, save_to, **{name: value for name, value in settings.items() if name in _OF_THE_REFERENCE}
        )
    return None if current is None else tables.compare(before, current, **settings)


def _example_sides(stack: ExitStack) -> list[str | None]:
    """Return the paths of the shipped files, unpacked as long as the stack is open if the package is in an archive."""
    folder = files("dkl.data")
    january, july = (stack.enter_context(as_file(folder / name)) for name in _EXAMPLE)
    return [str(january), str(july)]


def _named_example(comparison: Comparison) -> Comparison:
    """Name the example's sides by what they hold, which is the same on every machine."""
    reference, current = _EXAMPLE.values()
    return replace(
        comparison,
        reference=replace(comparison.reference, description=reference),
        current=replace(comparison.current, description=current),
    )


def _report(comparison: Comparison, view: View) -> str:
    """Return the report: laid out for the terminal if standard output is one, else as plain lines."""
    from rich.console import Console

    from dkl.cli.plain import lines
    from dkl.cli.render import Report
    from dkl.cli.words import Words

    words = Words(comparison, view)
    console = Console(color_system=None if os.environ.get("NO_COLOR") else "auto", highlight=False)
    if not console.is_terminal:
        return "\n".join(lines(words)) + "\n"
    with console.capture() as capture:
        console.print(Report(words))
    return capture.get()


def _as_json(comparison: Comparison) -> str:
    return json.dumps(comparison.to_dict(), allow_nan=False, indent=2) + "\n"


def _draw(comparison: Comparison, path: str, unit: UnitName, inputs: Sequence[str]) -> None:
    from dkl.plots import comparisons

    if not any(column.status == "measured" for column in comparison.columns):
        raise Unmeasured(f"{path}: nothing to draw: --plot shows the columns of tables, and none was measured")
    draw(lambda: comparisons(comparison, unit=unit), path, inputs)


def _exceeded(names: Sequence[str], comparison: Comparison, limit: str, by: str) -> str:
    from dkl.cli.words import clean

    named = ", ".join(clean(name) for name in names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    text = f"dkl: {len(names)} of {len(comparison)} above {limit} of {by}: {named}"
    missing = len(comparison.unmeasured)
    return f"{text} ({missing} not measured)" if missing else text
