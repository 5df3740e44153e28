"""How a command ends where the data cannot be measured: one line, and an exit code of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click


class Unmeasured(click.ClickException):
    """The data could not be measured, or the result not be written."""

    exit_code = 3

    def show(self, file: IO[Any] | None = None) -> None:
        """See `click.ClickException.show`."""
        from dkl.cli.words import clean

        click.echo(f"dkl: error: {clean(self.message)}", file=file or sys.stderr)


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
