"""The entry point `dkl`: starts the commands and turns what ends them into an exit code."""

from __future__ import annotations

import sys

_EXTRAS = {"click": "cli", "rich": "cli", "pyarrow": "cli", "safetensors": "cli", "matplotlib": "plots"}
_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main() -> None:
    """Run the command line with the process's arguments and exit."""
    try:
        code = _run()
    except ImportError as error:
        missing = next((name for name in (_missing(error), _missing(error.__cause__)) if name in _EXTRAS), None)
        if missing is None:
            raise
        extra = _EXTRAS[missing]
        what = "the command line needs its extra" if extra == "cli" else f"this option needs {missing}"
        sys.stderr.write(f'dkl: error: {what}: pip install "dkl[{extra}]"\n')
        code = 2
    except KeyboardInterrupt:
        code = _INTERRUPTED
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


def _missing(error: BaseException | None) -> str | None:
    """Return the package that could not be imported."""
    return error.name.partition(".")[0] if isinstance(error, ImportError) and error.name else None
