"""The option `--plot` of the commands: which files it takes, and how a figure gets into one."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

_SUFFIXES = (".png", ".svg", ".pdf")


def plot_option(what: str, default: str | None = None) -> Callable[[Any], Any]:
    """Give a command the option; ``what`` says what is drawn, and ``default`` where to, if no file is named."""
    return click.option(
        "--plot",
        type=click.Path(dir_okay=False, writable=True),
        callback=_drawable,
        metavar="FILE" if default is None else "[FILE]",
        is_flag=False,
        flag_value=default,
        help=f"Draw {what} to a .png, .svg or .pdf file{'' if default is None else f', {default} if none is named'}.",
    )


def _drawable(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Refuse a file whose suffix names no format of figures, and a folder that is not there, before the work."""
    if value is not None and Path(value).suffix.lower() not in _SUFFIXES:
        raise click.BadParameter(f"{value!r}: the suffix says the format; use one of {', '.join(_SUFFIXES)}.")
    if value is not None and not Path(value).parent.is_dir():
        raise click.BadParameter(f"{value!r}: there is no folder {str(Path(value).parent)!r}.")
    return value


def draw(make: Callable[[], Any], path: str, inputs: Sequence[str] = ()) -> None:
    """Make a figure and write it, whole or not at all."""
    from dkl.comparison.writing import write_whole

    with io.BytesIO() as image, warnings.catch_warnings():
        # A name in letters that the font lacks is drawn as boxes; the table has it in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        make().savefig(image, format=Path(path).suffix[1:].lower(), dpi=150)
        write_whole(path, image.getvalue(), inputs)
