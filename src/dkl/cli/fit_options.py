"""What the methods of `dkl fit` can be told: an option of the command for each option that a method takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

_COUNT, _POSITIVE = click.IntRange(1), click.FloatRange(0, min_open=True)
_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


def _blocks(text: str) -> list[list[int]]:
    """Components that stay together: their indices, separated by commas, and the blocks by slashes."""
    try:
        return [[int(index) for index in block.split(",")] for block in text.split("/")]
    except ValueError:
        raise click.BadParameter(
            f"{text!r}: write the components of each block, as in 0,1/2 for two blocks of three."
        ) from None


def _member(text: str) -> Any:
    """A distribution written as text."""
    from dkl.expressions import parse

    try:
        return parse(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


_OPTIONS: dict[str, tuple[str, Any, str, str]] = {
    "starts": ("starts", _COUNT, "N", "From how many places a search begins."),
    "initial": ("initial", _member, "MIXTURE", "The one mixture from which expectation maximisation begins instead."),
    "rtol": ("rtol", _SHARE, "X", "What may be left to gain, relative to what there is."),
    "max_iterations": ("max-iterations", _COUNT, "N", "Of each start of expectation maximisation."),
    "minimum_scale": (
        "minimum-scale",
        _POSITIVE,
        "X",
        "The least standard deviation of a mixture's normal components.",
    ),
    "steps": ("steps", _COUNT, "N", "Of a gradient's way, at most."),
    "samples": ("draws", _COUNT, "N", "How many are drawn: of the target, or in each step of a gradient's way."),
    "step_size": ("step-size", _POSITIVE, "X", "Of the natural gradient."),
    "learning_rate": ("learning-rate", _POSITIVE, "X", "Of the stochastic gradient and the variational bound."),
    "rank": ("rank", _COUNT, "N", "Of a low-rank normal distribution."),
    "hidden": ("hidden", _COUNT, "N", "Units in a hidden layer of the variational bound's critic."),
    "blocks": ("blocks", _blocks, "0,1/2", "Which components coordinate ascent keeps together."),
}
"""By the name in Python: that of the command, its type, its value in the help, and the help."""


def method_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command every option of the methods."""
    for name, (flag, kind, metavar, text) in reversed(_OPTIONS.items()):
        command = click.option(f"--{flag}", _held(name), type=kind, metavar=metavar, help=text)(command)
    return command


def wished(values: dict[str, Any], method: str | None) -> dict[str, Any]:
    """The options that were given, as `dkl.fit` calls them.

    Raises
    ------
    click.UsageError
        If the method does not take one of them.
    """
    from dkl.fitting.problem import options_of

    made = {}
    taken = options_of(method)
    for name, (flag, *_) in _OPTIONS.items():
        value = values[_held(name)]
        if value is None:
            continue
        if name not in taken:
            raise click.UsageError(f"--{flag} means nothing to {method}: leave it out.")
        made[name] = value
    return made


def as_options(text: str) -> str:
    """What is said of options of `dkl.fit`, said of those of the command; a plain word, without its ``=``, stays.

    Examples
    --------
    >>> as_options("the best start did not converge: raise max_iterations")
    'the best start did not converge: raise --max-iterations'
    """
    plain = "|".join(name for name in _OPTIONS if "_" in name)
    pattern = rf"\b(?:({plain})\b|({'|'.join(_OPTIONS)})=(?!\w))"
    return re.sub(pattern, lambda found: f"--{_OPTIONS[found[1] or found[2]][0]}", text)


def _held(name: str) -> str:
    """What the command calls an option: its own ``samples`` are a file."""
    return "draws" if name == "samples" else name
