"""A fit as people read it: the member, how far it is, the other optima, and what it leaves out."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dkl.cli.divergences import figure, margin, rounded, shortened
from dkl.cli.fit_options import as_options
from dkl.fitting.dropped import IGNORED
from dkl.fitting.words import described, direction, parameters, sampling_error, symbol, translated
from dkl.mixture import Mixture

if TYPE_CHECKING:
    from dkl.divergences import Divergence
    from dkl.fitting import Fit
    from dkl.fitting.direct.path import Path

_PLAIN_WIDTH = 120
_TABLE = 9


def report(target: str, family: Any, divergence: Divergence, fit: Fit, path: Path | None) -> str:
    """The whole report."""
    terminal = sys.stdout.isatty()
    console = Console(highlight=False, width=None if terminal else _PLAIN_WIDTH)
    with console.capture() as captured:
        for part in _parts(target, family, divergence, fit, path):
            console.print(part if isinstance(part, Table) else Text(part), soft_wrap=not terminal)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _parts(target: str, family: Any, divergence: Divergence, fit: Fit, path: Path | None) -> Iterator[str | Table]:
    yield f"target  {shortened(target)}"
    yield f"family  {family.__name__}"
    yield f"least   {symbol(divergence)}: {direction(divergence)}"
    yield f"method  {fit.method}"
    yield ""
    error = sampling_error(fit)
    if fit.distribution is None:
        yield from _none(fit, error)
    else:
        yield f"fit     {described(fit.distribution, error)}{'' if fit.converged else '  (not converged)'}"
        yield from _distance(divergence, fit)
    if fit.normaliser is not None:
        yield f"the target's integral is {figure(fit.normaliser)} {margin(fit.normaliser)}".rstrip()
    if fit.distribution is not None:
        yield from _remarks(fit)
    if len(fit.optima) > 1:
        yield from ("", f"{len(fit.optima)} local optima", _optima(divergence, fit, error))
    if fit.dropped:
        yield from ("", "left out")
        for part in fit.dropped:
            off = f" ± {part.error:.1g}" if part.error >= 5e-4 else ""
            yield (
                f"  {part.part}: {part.mass:.3f}{off} of the target's mass lies where the fit has less than "
                f"{100 * IGNORED:g} % of its density"
            )
    if path is not None:
        yield from ("", "along α, from seeking a mode to covering the target", _along(path))
        for jump in path.jumps:
            yield f"at α = {jump.alpha:.6g} the best jumps from {described(jump.before)} to {described(jump.after)}"
        if not path.jumps:
            yield "the best never jumps"


def _distance(divergence: Divergence, fit: Fit) -> Iterator[str]:
    if fit.divergence is not None:
        off = margin(fit.divergence)
        value = f"{figure(fit.divergence)} {off}" if off.startswith("±") else figure(fit.divergence)
        bound = f" (error {off})" if off.startswith("≤") else ""
        yield f"{symbol(divergence)} = {value} {fit.divergence.unit}".rstrip() + bound
    if "log_likelihood" in fit.details:
        mean, stderr = float(fit.details["log_likelihood"]), float(fit.details["stderr"])
        size = f"{rounded(mean, stderr)} ± {stderr:.2g}" if stderr > 0 else f"{mean:.6g}"
        yield f"log-likelihood {size} nats an observation, on average"
    if fit.aic is not None:
        count = fit.free_parameters
        yield f"AIC {fit.aic:.1f}, BIC {fit.bic:.1f}, of {count} free parameter{'' if count == 1 else 's'}"


def _none(fit: Fit, error: float) -> Iterator[str]:
    if fit.boundary is None:
        yield f"no member was found: {fit.reason}"
        return
    least = fit.boundary.infimum
    size = f"{least:.6g}" if math.isfinite(least) else ("−∞" if least < 0 else "∞")
    near = "" if fit.boundary.near is None else f", near {described(fit.boundary.near, error)}"
    yield f"no member is the best: {translated(fit.boundary.reason)}"
    yield f"infimum {size}{near}"


def _remarks(fit: Fit) -> Iterator[str]:
    """What else there is to say, a line each."""
    estimate = fit.divergence
    told = [fit.reason, *(() if estimate is None else (estimate.reason, estimate.warning))]
    for remark in dict.fromkeys(remark for text in told if text for remark in text.split("; ")):
        # Where Python keeps the figures is for those who write Python.
        said = remark.partition(": details[")[0]
        if not said.startswith("details["):
            yield as_options(translated(said))


def _optima(divergence: Divergence, fit: Fit, error: float) -> Table:
    heading = "mean of −log q" if fit.divergence is None else symbol(divergence)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    described_in_columns = not isinstance(fit.optima[0].distribution, Mixture)
    names = list(parameters(fit.optima[0].distribution)) if described_in_columns else ["member"]
    table.add_column("", justify="right")
    for name in (*names, heading, "of the starts"):
        table.add_column(name, justify="left" if name == "member" else "right", overflow="fold")
    for k, optimum in enumerate(fit.optima):
        member = optimum.distribution
        cells = list(parameters(member, error).values()) if described_in_columns else [described(member, error)]
        table.add_row(str(k + 1), *map(Text, cells), f"{optimum.value:.{_TABLE}g}", f"{100 * optimum.basin:.0f} %")
    return table


def _along(path: Path) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("α", "best member", "divergence", "optima"):
        table.add_column(name, justify="left" if name == "best member" else "right", overflow="fold")
    for alpha, fit in zip(path.alphas, path.fits, strict=True):
        if fit.optima:
            best = fit.optima[0]
            table.add_row(f"{alpha:g}", described(best.distribution), f"{best.value:.{_TABLE}g}", str(len(fit.optima)))
        else:
            said = "no member is the best" if fit.boundary is not None else "none was found"
            table.add_row(f"{alpha:g}", said, "" if fit.boundary is None else f"{fit.boundary.infimum:.{_TABLE}g}", "0")
    return table
