"""The command `dkl fit`: the member of a family that is least far from a distribution or from samples."""

from __future__ import annotations

import json
import math
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from dkl.cli.divergences import named
from dkl.cli.drawing import draw, plot_option
from dkl.cli.ending import Unmeasured, failures
from dkl.cli.fit_options import as_options, method_options, wished
from dkl.cli.output import check_standard_output, progress_bar, write

if TYPE_CHECKING:
    from dkl.fitting import Fit
    from dkl.fitting.direct.path import Path

_FILE = "fit.png"
_MOST = 1001

_METHODS = (
    "moment-matching",
    "maximum-likelihood",
    "expectation-maximisation",
    "coordinate-ascent",
    "direct-minimisation",
    "natural-gradient",
    "stochastic-gradient",
    "variational-bound",
)
"""The methods of `dkl.fit` for what can be written here: a product of factors cannot."""

_EXAMPLES = """\b
Examples:
  dkl fit "0.5*normal(-3, 1) + 0.5*normal(3, 1)" --family normal --divergence reverse-kl --plot
  dkl fit "0.5*normal(-3, 1) + 0.5*normal(3, 1)" --family normal --alpha 0.5 --path 0:1:11
  dkl fit "gamma(2, 1)" --family log_normal --json
  dkl fit --samples waits.csv --column seconds --family gamma
  dkl fit --samples heights.npy --family mixture:normal:3 --starts 20 --max-iterations 500
  dkl fit "counts(3, 9, 4)" --family binomial --known total_count=2

\b
Exit codes:
  0  fitted
  1  no member is the best, or the method did not come to its end
  2  wrong usage, or an expression that describes no distribution
  3  the samples cannot be read, or the family cannot be fitted to the target
"""


@click.command(epilog=_EXAMPLES)
@click.argument("target", required=False)
@click.option("--samples", metavar="FILE", help="Fit to the samples in a file instead, or - for standard input.")
@click.option("--column", "columns", multiple=True, metavar="NAME", help="The samples' column; of vectors, several.")
@click.option("--weights", metavar="NAME", help="The column with the samples' weights.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "parquet", "arrow", "jsonl", "npy", "npz", "safetensors"]),
    help="Format of standard input, or of a file whose name does not say it.",
)
@click.option("--family", "family_name", required=True, metavar="NAME", help="Such as normal, or mixture:normal:3.")
@click.option("--components", type=click.IntRange(1), help="Fit a mixture of so many members of the family.")
@click.option("--known", "facts", multiple=True, metavar="NAME=VALUE", help="A parameter that the family keeps fixed.")
@click.option(
    "--divergence",
    "chosen",
    metavar="NAME",
    help="What is made least, from the target to the fit: such as kl, reverse-kl, js or 'alpha(0.5)'.  [default: kl]",
)
@click.option("--alpha", type=float, metavar="A", help="The α-divergence: 0 is the reverse KL, 1 the forward KL.")
@click.option(
    "--method",
    type=click.Choice(_METHODS),
    metavar="NAME",
    help=f"Force a method: {', '.join(_METHODS)}. (Expectation propagation is for products of factors, written "
    "in Python.)  [default: the first that fits, in this order]",
)
@method_options
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all that is drawn.")
@click.option("--path", "span", metavar="FROM:TO:N", help="Follow the optima over so many α, such as 0:1:11.")
@plot_option("the target with every optimum, and the path,", default=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.pass_context
def fit(
    ctx: click.Context,
    /,
    target: str | None,
    samples: str | None,
    columns: tuple[str, ...],
    weights: str | None,
    format_: str | None,
    family_name: str,
    components: int | None,
    facts: tuple[str, ...],
    chosen: str | None,
    alpha: float | None,
    method: str | None,
    seed: int,
    span: str | None,
    plot: str | None,
    as_json: bool,
    **told: Any,
) -> None:
    """Fit a family to TARGET: the member with the least divergence, and what of the target it leaves out.

    TARGET is a distribution written as text, such as "gamma(2, rate=1)", a sum of weights times distributions (a
    mixture), or a list of outcomes: "counts(3, 9, 4)". The forward KL covers the target, the reverse KL seeks a mode.
    """
    if (target is None) == (samples is None):
        raise click.UsageError("Give TARGET, or --samples FILE: one of them.")
    if samples is None and (columns or weights or format_):
        raise click.UsageError("--column, --weights and --format are of files: give --samples.")
    if alpha is not None and chosen is not None:
        raise click.UsageError("--alpha names a divergence, as --divergence does: give one of them.")
    check_standard_output()
    divergence = named(chosen or "kl") if alpha is None else named(f"alpha({alpha!r})")
    alphas = None if span is None else _alphas(span)
    if plot is not None:
        import_module("dkl.plots")  # a missing matplotlib is said before the work, not after it

    family = _family(family_name, components)
    by = None if method is None else method.replace("-", " ")
    options = _known(facts, family) | wished(told, by)
    with failures():
        if plot is not None:
            from dkl.comparison.writing import check_target

            check_target(plot, [] if samples is None else [samples])
        if target is not None:
            met = _expression(target)
        else:
            met, weighed = _samples(str(samples), columns, family, format_, weights)
            options |= {} if weighed is None else {"weights": weighed}
    made = _fitted(family, met, divergence, by, seed, options)
    path = None if alphas is None else _followed(made, alphas)
    said = target if target is not None else f"samples in {'standard input' if samples == '-' else samples}"
    if as_json:
        write(_as_json(said, family_name, components, made, path))
    else:
        from dkl.cli.fit_report import report

        write(report(said, family, divergence, made, path))
    if plot is not None:
        _draw(made, path, plot, [] if samples is None else [samples])
    if made.distribution is None or not made.converged:
        ctx.exit(1)


def _alphas(span: str) -> list[float]:
    """The α of ``FROM:TO:N``, evenly apart."""
    parts = span.split(":")
    try:
        low, high, count = float(parts[0]), float(parts[1]), int(parts[2])
        good = len(parts) == 3 and 2 <= count <= _MOST and low < high and math.isfinite(high - low)
    except (ValueError, IndexError):
        good = False
    if not good:
        raise click.BadParameter(
            f"{span!r}: write the first α, the last and how many there are, 2 to {_MOST}, as in 0:1:11.",
            param_hint="'--path'",
        )
    # As they would be written, not with the rounding of their sums.
    return [float(f"{low + (high - low) * k / (count - 1):.12g}") for k in range(count)]


def _family(name: str, components: int | None) -> Any:
    import dkl
    from dkl.expressions import parse_family

    try:
        family = parse_family(name)
        if components is None:
            return family
        if not isinstance(family, type):
            raise ValueError(f"{name!r} says how many components there are: leave --components out")
        return dkl.Mixture.of(family, components)
    except (ValueError, TypeError) as error:
        raise click.BadParameter(f"{error}.", param_hint="'--family'") from None


def _known(facts: tuple[str, ...], family: Any) -> dict[str, Any]:
    """The fixed parameters, all that the family has and no other."""
    from dkl.expressions import parse_number

    fixed, made = tuple(getattr(family, "known", ())), {}
    for fact in facts:
        name, equals, value = fact.partition("=")
        name = name.strip()
        if not equals or name not in fixed:
            takes = f"keeps {' and '.join(fixed)} fixed" if fixed else "keeps no parameter fixed"
            raise click.BadParameter(
                f"{fact!r}: write NAME=VALUE, and {family.__name__} {takes}.", param_hint="'--known'"
            )
        try:
            made[name] = parse_number(value)
        except ValueError as error:
            raise click.BadParameter(f"{fact!r}: {error}.", param_hint="'--known'") from None
    missing = [name for name in fixed if name not in made]
    if missing:
        raise click.UsageError(f"{family.__name__} keeps {missing[0]} fixed: give --known {missing[0]}=….")
    return made


def _expression(text: str) -> Any:
    from dkl.expressions import parse

    try:
        made = parse(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="'TARGET'") from None
    if math.prod(getattr(made, "batch_shape", ())) != 1:
        raise click.BadParameter(f"{text!r} describes several distributions: give one.", param_hint="'TARGET'")
    return made


def _samples(
    path: str, columns: tuple[str, ...], family: Any, format_: str | None, weights: str | None
) -> tuple[Any, Any]:
    import dkl
    from dkl.cli.samples import read_samples

    axes = int(getattr(family, "event_ndim", 0))
    if axes > 1:
        raise click.UsageError(f"An outcome of {family.__name__} is a matrix, which no file of samples holds.")
    read, weighed = read_samples(path, columns, axes, format_, weights)
    return dkl.Samples(read), weighed


def _fitted(family: Any, target: Any, divergence: Any, method: str | None, seed: int, options: dict[str, Any]) -> Fit:
    import dkl
    from dkl.fitting.problem import NothingFitsError

    with progress_bar("fitting") as bar, warnings.catch_warnings():
        # What is warned of stands in the fit and in its divergence, and the report tells it.
        warnings.simplefilter("ignore", UserWarning)
        if bar is not None:
            options = options | {"progress": bar}
        try:
            return dkl.fit(family, target, divergence, method=method, rng=seed, **options)
        except NothingFitsError as error:
            advice = [] if method is None else ["without --method the others are tried"]
            if isinstance(target, dkl.Samples) and divergence is not dkl.kl:
                advice.append("without --divergence and --alpha the samples' likelihood is made greatest")
            raise Unmeasured(f"{error.problem}:", [*error.reasons, *advice]) from None
        except (TypeError, ValueError) as error:
            raise Unmeasured(as_options(str(error))) from None


def _followed(made: Fit, alphas: list[float]) -> Path:
    with progress_bar("following α") as bar, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            return made.path(alphas, progress=bar)
        except (TypeError, ValueError) as error:
            raise Unmeasured(str(error)) from None


def _as_json(target: str, family: str, components: int | None, made: Fit, path: Path | None) -> str:
    named_family = family if components is None else f"mixture:{family}:{components}"
    content: dict[str, Any] = {"target": target, "family": named_family} | made.to_dict()
    if path is not None:
        content["path"] = path.to_dict()
    return json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(content: Any) -> Any:
    """The same with null for what is no finite number, which JSON cannot hold: beside it stands why."""
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _draw(made: Fit, path: Path | None, file: str, inputs: list[str]) -> None:
    from matplotlib.figure import Figure

    from dkl import plots

    def figure() -> Any:
        drawn = Figure(figsize=(8, 4.5 if path is None else 8.5), layout="constrained")
        axes = drawn.subplots(1 if path is None else 2, 1, squeeze=False)[:, 0]
        plots.fit(made, ax=axes[0])
        if path is not None:
            plots.alpha_path(path, ax=axes[1])
        return drawn

    with failures():
        try:
            draw(figure, file, inputs)
        except (TypeError, ValueError) as error:
            raise Unmeasured(f"{file}: {error}") from None
    click.echo(f"dkl: drawn to {file}", err=True)
