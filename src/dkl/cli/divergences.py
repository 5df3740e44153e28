"""What is measured, on the command line: divergences by name, expressions and estimates as people read them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dkl.divergences import Divergence
    from dkl.estimate import Estimate

_LONGEST = 200


def shortened(text: str) -> str:
    """An expression in one line, a long one without its middle; --json has it whole."""
    text = " ".join(text.split())
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]} … ({len(text) - 2 * half} characters) … {text[-half:]}"


def named(name: str) -> Divergence:
    """A member of the family by its name, with its parameter in parentheses; a hyphen is as good as an underscore.

    Raises
    ------
    click.BadParameter
        For a name that is none, or a parameter that it refuses.
    """
    import dkl
    from dkl.divergences import FAMILY

    ready = {member.name: member for member in FAMILY}
    head, parenthesis, rest = name.partition("(")
    head = head.replace("-", "_")
    if head in ready and not parenthesis:
        return ready[head]
    made = {"renyi": dkl.Renyi, "tsallis": dkl.Tsallis, "alpha": dkl.Alpha, "js": dkl.JS, "skew_kl": dkl.SkewKL}
    if head in made and rest.endswith(")"):
        try:
            parameter = float(rest[:-1])
            member: Divergence = made[head](parameter)
        except ValueError as error:
            raise click.BadParameter(f"{name!r}: {error}.", param_hint="'--divergence'") from None
        return member
    known = ", ".join([*ready, *(f"{head}(…)" for head in made)])
    raise click.BadParameter(f"{name!r} is not one of {known}.", param_hint="'--divergence'")


def figure(made: Estimate) -> str:
    """The value of one estimate: ten digits, or of one with a standard error those that it leaves."""
    value, stderr = float(made), float(made.stderr)
    if math.isinf(value):
        return "∞"
    return rounded(value, stderr) if stderr > 0 else f"{value:.10g}"


def rounded(value: float, stderr: float) -> str:
    """A value to the two digits that a standard error above 0 has."""
    return f"{value:.{max(0, 1 - math.floor(math.log10(stderr)))}f}"


def margin(made: Estimate) -> str:
    """Its standard error or the bound of what quadrature left out; nothing for a formula."""
    stderr = float(made.stderr)
    bound = float(made.error)
    if stderr > 0:
        return f"± {stderr:.2g}"
    return f"≤ {bound:.1g}" if bound > 0 else ""
