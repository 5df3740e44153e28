"""Writing files so that they appear complete or not at all, and never in the place of something else."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dkl.comparison.errors import DataError


def check_target(path: str | os.PathLike[str], inputs: Iterable[Any] = ()) -> Path:
    """Return the file that is to be written, links followed, unless it must not be.

    Parameters
    ----------
    path
        Where to write.
    inputs
        What is read; those that are paths must not be written to.

    Raises
    ------
    DataError
        If the target is standard output, no regular file, or one of the inputs.
    """
    name = os.fspath(path)
    if name == "-":
        raise DataError("-: a file is written here, and not standard output; give its name")
    target = Path(os.path.realpath(name))
    try:
        found = os.stat(target)
    except FileNotFoundError:
        return target
    except OSError as error:
        raise _unwritable(name, error) from None
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{name}: cannot be written, because it is no regular file; give another name")
    for one in inputs:
        if isinstance(one, str | os.PathLike) and os.path.exists(one) and os.path.samefile(one, target):
            raise DataError(f"{name}: is also read ({os.fspath(one)}) and would be lost; give another name")
    return target


def write_whole(path: str | os.PathLike[str], content: bytes, inputs: Iterable[Any] = ()) -> None:
    """Write a file; a failure leaves what was there before, and a link stays one.

    Parameters
    ----------
    path, inputs
        See `check_target`.
    content
        What the file is to hold.

    Raises
    ------
    DataError
        If it cannot be written.
    """
    target = check_target(path, inputs)
    partial = target.with_name(f".dkl-{secrets.token_hex(8)}")
    try:
        try:
            with open(partial, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                os.chmod(partial, stat.S_IMODE(target.stat().st_mode))
            os.replace(partial, target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _unwritable(os.fspath(path), error) from None


def _unwritable(name: str, error: OSError) -> DataError:
    return DataError(f"{name}: cannot be written ({error.strerror or error})")
