"""What an example writes while it trains: its metrics as JSON lines and as TensorBoard events, and a progress bar."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

#: What the option of a seed takes: what each of the libraries that draw takes.
SEED = click.IntRange(0, 2**32 - 1)


class NumberRange(click.FloatRange):
    """Numbers from one to another, but no NaN, which lies outside of no bound."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number that an option was given."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


class RunExistsError(click.ClickException, FileExistsError):
    """A folder holds a run already; on the command line a message, and no traceback."""


class Recorder:
    """Writes one run's metrics, step by step, into ``metrics.jsonl`` and TensorBoard events of one folder.

    Parameters
    ----------
    folder : str or Path
        Made if it is not there. A run found there already is an error: two runs in one folder read as one.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lines = (self.folder / "metrics.jsonl").open("x", encoding="utf-8", buffering=1)
        except FileExistsError:
            raise RunExistsError(f"{self.folder} holds a run already: choose another folder, or move it away") from None
        self._events = SummaryWriter(str(self.folder))

    def log(self, step: int, **metrics: float) -> None:
        """Write the metrics of one step; ``/`` in a name, given as ``__``, makes TensorBoard's groups."""
        named = {name.replace("__", "/"): float(value) for name, value in metrics.items()}
        # JSON has no infinity and no NaN: they stand as words.
        line = {name: value if math.isfinite(value) else str(value) for name, value in named.items()}
        self._lines.write(json.dumps({"step": step, **line}) + "\n")
        for name, value in named.items():
            self._events.add_scalar(name, value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        self._events.close()


@contextmanager
def progress(what: str, total: int) -> Iterator[Any]:
    """A bar on standard error; what it gives is called after every step, with figures to show beside the bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[figures]}"), console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total, figures="")

        def step(**figures: float) -> None:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            bar.update(task, advance=1)
            if figures:
                bar.update(task, figures=shown)

        yield step
