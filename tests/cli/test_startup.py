"""Starting: nothing heavy is loaded for help, what is missing is said, shells can complete."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dkl import __version__

from .conftest import Run, spawn

_HEAVY = {"numpy", "scipy", "pyarrow", "rich", "matplotlib", "pandas", "torch", "dkl.comparison", "dkl.divergences"}


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["compare", "--help"],
        ["fit", "--help"],
        ["doctor", "--help"],
        ["completion", "bash"],
    ],
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = """
import sys
from dkl.cli.main import main
try:
    main()
finally:
    print("\\nloaded:", *sorted(sys.modules))
"""
    done = _python(code, *arguments)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.rpartition("loaded:")[2].split())
    assert "click" in loaded
    assert not _HEAVY & loaded


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        ("click", ["--help"], "dkl[cli]"),
        ("rich", ["compare", "--example"], "dkl[cli]"),
        ("pyarrow", ["compare", "--example"], "dkl[cli]"),
        ("matplotlib", ["compare", "--example", "--plot", "drift.png"], "dkl[plots]"),
    ],
)
def test_a_missing_extra_is_one_line_and_exit_2(missing: str, arguments: list[str], extra: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from dkl.cli.main import main; main()"
    done = _python(code, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("dkl: error: ")
    assert done.stderr.endswith(f'pip install "{extra}"\n')
    assert done.stderr.count("\n") == 1


def test_another_missing_module_is_not_blamed_on_an_extra() -> None:
    code = "import sys; sys.modules['dkl.cli.words'] = None; from dkl.cli.main import main; main()"
    done = _python(code, "compare", "--example")
    assert done.returncode == 3
    assert "dkl: internal error: ModuleNotFoundError" in done.stderr
    assert "dkl.cli.words" in done.stderr


def test_an_interruption_while_starting_is_no_traceback() -> None:
    code = """
import sys
from dkl.cli.main import main

class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == "dkl.cli.group":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
main()
"""
    done = _python(code, "compare", "--example")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_version_and_help(run: Run) -> None:
    assert run("--version").output == f"dkl, version {__version__}\n"
    of_commands = [[command, "--help"] for command in ("compare", "measure", "fit", "doctor")]
    for arguments in (["--help"], ["-h"], *of_commands):
        text = run(*arguments).output
        assert "Examples:" in text
        assert f"dkl {arguments[0] if len(arguments) > 1 else 'compare'}" in text
    assert [line.split()[0] for line in run("--help").output.split("Commands:\n")[1].splitlines()[:5]] == [
        "compare",
        "measure",
        "fit",
        "doctor",
        "completion",
    ]
    assert "0  measured" in run("compare", "--help").output


def test_the_help_states_the_defaults_of_compare(run: Run) -> None:
    from dkl.comparison import Settings

    text = " ".join(run("compare", "--help").output.split())
    for name, default in (
        ("--bins", Settings().bins),
        ("--max-categories", Settings().max_categories),
        ("--resamples", Settings().resamples),
        ("--level", Settings().level),
        ("--alpha", Settings().alpha),
        ("--seed", Settings().seed),
        ("--ignore-below", f"{Settings().ignore_below:g}"),
    ):
        assert f"[default: {default}]" in text.partition(f" {name} ")[2].partition(" --")[0], name


def test_the_choices_are_those_of_the_library() -> None:
    from dkl.cli.compare import compare
    from dkl.comparison.opening import KINDS
    from dkl.comparison.sources import FORMATS

    choices = {option.name: getattr(option.type, "choices", None) for option in compare.params}
    assert set(choices["as_"] or ()) == set(KINDS)
    assert set(choices["format_"] or ()) == set(FORMATS.values())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(run: Run, shell: str) -> None:
    done = run("completion", shell)
    assert done.exit_code == 0
    assert "_DKL_COMPLETE" in done.stdout


def test_a_shell_is_completed() -> None:
    env = {"_DKL_COMPLETE": "bash_complete", "COMP_WORDS": "dkl compare --sa", "COMP_CWORD": "2"}
    assert spawn(env=env).stdout == "plain,--save-reference\n"


def test_an_unknown_command_is_a_usage_error(run: Run) -> None:
    done = run("guess")
    assert done.exit_code == 2
    assert "No such command 'guess'" in done.stderr
