"""Loops made to measure: source, compiled by Numba at its first use and kept on disk.

The files of :mod:`dkl.kernels.loops` are put together for one precision, one way of loading each side and one trace.
The source that results is its own name: whatever changes in it makes another file, so that nothing stale is ever run.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import sys
import tempfile
import threading
import warnings
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

_HEADER = """
import math
import numpy as np
from numba import njit
from dkl.kernels.polynomials import ATANH_64, EXP_32, EXP_64, LOG_32
from dkl.kernels.intrinsics import larger, prefetch, select, widest
"""


_building = threading.RLock()


def built(files: tuple[str, ...], base: ModuleType | None = None, traced: str = "", **settings: object) -> ModuleType:
    """The module of some of the loops' files, with what is particular to it; each is made once, by one thread.

    Parameters
    ----------
    files : tuple of str
        Names of files of :mod:`dkl.kernels.loops`, each after those that it uses.
    base : module, optional
        What was built of the files that these use, so that it is compiled once for all that stand on it.
    traced : str
        Source of the functions of the file ``traced`` or ``written``.
    **settings
        Values of module-level names of the files, as Python writes them.
    """
    with _building:
        return _built(files, base, traced, **settings)


@cache
def _built(files: tuple[str, ...], base: ModuleType | None, traced: str, **settings: object) -> ModuleType:
    parts = [_HEADER, f"from {base.__name__} import *" if base else ""]
    for file in files:
        functions = ast.parse(traced).body if file in ("traced", "written") else None
        parts.append("\n".join(f"@inline\n{ast.unparse(f)}" for f in functions) if functions else _body(file, settings))
    text = "\n\n".join(parts)
    name = f"kernels_{hashlib.sha256((text + _around()).encode()).hexdigest()[:20]}"
    path = _written(name, text)
    module = ModuleType(f"dkl.kernels.{name}")
    module.__file__ = path
    # Where others import it from, and where Numba looks when it reloads what it compiled.
    sys.modules[module.__name__] = module
    exec(compile(text, path or f"<{name}>", "exec"), module.__dict__)
    if path is not None:
        _keep(module, text)
    return module


def _body(file: str, settings: dict[str, object]) -> str:
    """A file without its docstring and imports, and with the settings in the place of its own values."""
    tree = ast.parse((Path(__file__).parent / "loops" / f"{file}.py").read_text(encoding="utf-8"))
    lines = []
    for node in tree.body[1:]:
        if isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in settings:
            lines.append(f"{node.targets[0].id} = {settings[node.targets[0].id]}")
        else:
            lines.append(ast.unparse(node))
    return "\n\n".join(lines)


def _keep(module: ModuleType, text: str) -> None:
    """Keep what is compiled of a module's entries; what is wrong with the disk then costs time, and no answer."""
    from numba.core.caching import FunctionCache

    class Kept(FunctionCache):  # type: ignore[misc]
        """Numba's own cache of a function, with a warning where it would raise an error."""

        def load_overload(self, sig: object, target_context: object) -> object:
            try:
                return super().load_overload(sig, target_context)
            except Exception as error:  # noqa: BLE001  what damaged bytes stand for can be anything
                self._warn("read", error)
                with contextlib.suppress(OSError):
                    self.flush()
                return None

        def save_overload(self, sig: object, data: object) -> None:
            try:
                super().save_overload(sig, data)
            except OSError as error:
                self._warn("write", error)

        def _warn(self, what: str, error: Exception) -> None:
            warnings.warn(
                f"dkl cannot {what} a compiled loop in {self.cache_path} ({type(error).__name__}: {error}), so it is "
                "compiled anew: remove that folder, or set DKL_CACHE_DIR to one that can be written",
                RuntimeWarning,
                stacklevel=2,
            )

    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and "entry" in map(ast.unparse, node.decorator_list):
            function = getattr(module, node.name)
            function._cache = Kept(function.py_func)


@cache
def _around() -> str:
    """What a compiled loop depends on beside its own source."""
    files = [
        Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8") for name in ("polynomials", "intrinsics")
    ]
    return "".join([version("numba"), *files])


@cache
def _cache_directory() -> Path | None:
    """Where compiled loops are kept; None, with a warning, where that cannot be written."""
    chosen = os.environ.get("DKL_CACHE_DIR")
    try:
        directory = Path(chosen) if chosen else _users_cache() / "dkl"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return directory
    except (OSError, RuntimeError) as error:
        # The second is said of a home folder that is not known.
        _warn_of_none(chosen or "a folder of the user's", error)
        return None


def _warn_of_none(where: object, error: Exception) -> None:
    warnings.warn(
        f"dkl cannot keep its compiled loops in {where} ({getattr(error, 'strerror', None) or error}), so each "
        "process compiles them anew: set DKL_CACHE_DIR to a folder that can be written",
        RuntimeWarning,
        stacklevel=2,
    )


def _users_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", "~/AppData/Local")).expanduser()
    if sys.platform == "darwin":
        return Path("~/Library/Caches").expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


def _written(name: str, text: str) -> str | None:
    """The path under which the source stands on disk, written whole; None where nothing can be kept."""
    if (directory := _cache_directory()) is None:
        return None
    path, source = directory / f"{name}.py", text.encode()
    try:
        if not path.exists() or path.read_bytes() != source:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("wb", dir=directory, suffix=".tmp", delete=False) as file:
                file.write(source)
            os.replace(file.name, path)
    except OSError as error:
        _warn_of_none(directory, error)
        return None
    return os.fspath(path)
