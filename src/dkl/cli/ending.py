"""How a command ends where the data cannot be measured: a line, perhaps more with reasons, and a code of its own."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import click


class Unmeasured(click.ClickException):
    """The data could not be measured, or the result not be written.

    Parameters
    ----------
    message : str
        What is wrong.
    reasons : sequence of str
        Each is a line of its own below it.
    """

    exit_code = 3

    def __init__(self, message: str, reasons: Sequence[str] = ()) -> None:
        super().__init__(message)
        self._reasons = reasons

    def show(self, file: IO[Any] | None = None) -> None:
        """See `click.ClickException.show`."""
        from dkl.cli.words import clean

        out = file or sys.stderr
        click.echo(f"dkl: error: {clean(self.message)}", file=out)
        # A terminal would break a line anywhere, and a script wants it whole.
        width = shutil.get_terminal_size().columns if out is not None and out.isatty() else None
        for reason in map(clean, self._reasons):
            told = (
                f"  {reason}"
                if width is None
                else textwrap.fill(reason, width, initial_indent="  ", subsequent_indent="    ")
            )
            click.echo(told, file=out)


@contextmanager
def failures() -> Iterator[None]:
    """Turn what is wrong with the data into `Unmeasured`, and a named column that does not exist into a usage error."""
    from dkl.cli.words import clean
    from dkl.comparison import ColumnError, DataError

    try:
        yield
    except ColumnError as error:
        raise click.UsageError(clean(str(error))) from None
    except DataError as error:
        raise Unmeasured(str(error)) from None
