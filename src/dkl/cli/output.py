"""Where results go: standard output, whole files, and a progress bar on the side."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dkl.cli.ending import Unmeasured


def write(text: str) -> None:
    """Write to standard output at once; a reader that has left early, such as ``head``, is no failure."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more when it exits, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Unmeasured(f"standard output: cannot be written ({error.strerror or error})") from None


def write_whole(path: str, content: bytes) -> None:
    """Write a file so that it appears complete or not at all; a failure leaves what was there before."""
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        try:
            partial.write_bytes(content)
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Unmeasured(f"{path}: cannot be written ({error.strerror or error})") from None


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None] | None]:
    """Yield what draws a bar on standard error as ``progress(done, total)``; None if that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    if not sys.stderr.isatty():
        yield None
        return
    console = Console(stderr=True)
    parts = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*parts, console=console, transient=True) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
