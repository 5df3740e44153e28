"""The entry point `dkl`: starts the commands and turns what ends them into an exit code."""

from __future__ import annotations

import sys

_EXTRAS = {"click": "cli", "rich": "cli", "pyarrow": "cli", "safetensors": "cli", "matplotlib": "plots"}
_INTERNAL = 3  # nothing was measured; 1 would say that a threshold is exceeded
_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main() -> None:
    """Run the command line with the process's arguments and exit."""
    try:
        code = _run()
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the last stop: exit code 1 would speak of a threshold
        missing = _extra(error)
        if missing is None:
            sys.excepthook(type(error), error, error.__traceback__)
            _say(f"dkl: internal error: {type(error).__name__}: {' '.join(str(error).split())}")
            code = _INTERNAL
        else:
            package, extra = missing
            what = "the command line needs its extra" if extra == "cli" else f"this option needs {package}"
            _say(f'dkl: error: {what}: pip install "dkl[{extra}]"')
            code = 2
    sys.exit(code)


def _run() -> int:
    import click

    from dkl.cli.group import dkl

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without "∞" or a name's letters is no failure
    try:
        result = dkl.main(prog_name="dkl", standalone_mode=False)
    except click.Abort:
        return _INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return result if isinstance(result, int) else 0


def _say(line: str) -> None:
    if sys.stderr is not None:  # it may be closed
        sys.stderr.write(f"{line}\n")


def _extra(error: BaseException) -> tuple[str, str] | None:
    """Return the package that could not be imported and the extra that brings it, if that is what is wrong."""
    for one in (error, error.__cause__):
        if isinstance(one, ImportError) and one.name:
            package = one.name.partition(".")[0]
            if package in _EXTRAS:
                return package, _EXTRAS[package]
    return None
