"""Where results go: standard output, and a progress bar on the side."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dkl.cli.ending import Unmeasured


def check_standard_output() -> None:
    """Raise where there is no standard output to write to, because whoever started this has closed it."""
    if sys.stdout is None:
        raise Unmeasured("standard output: is closed; --quiet needs none")


def write(text: str) -> None:
    """Write to standard output at once; a reader that has left early, such as ``head``, is no failure."""
    check_standard_output()
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more when it exits, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Unmeasured(f"standard output: cannot be written ({error.strerror or error})") from None


@contextmanager
def progress_bar(doing: str = "reading") -> Iterator[Callable[[int, int], None] | None]:
    """Yield what draws a bar on standard error as ``progress(done, total)``; None if that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    console = Console(stderr=True)
    parts = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*parts, console=console, transient=True) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
