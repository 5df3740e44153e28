"""What can be wrong with a KL term, one kind of training a file; loading them registers every cause."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules


@cache
def load() -> None:
    """Import every file of this package, once."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
