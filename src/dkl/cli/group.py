"""The group `dkl`: its commands are imported when they are asked for, so that help and completion start at once."""

from __future__ import annotations

from importlib import import_module

import click

from dkl._version import __version__

_COMMANDS = {
    "compare": "dkl.cli.compare",
    "measure": "dkl.cli.measure",
    "fit": "dkl.cli.fit",
    "doctor": "dkl.cli.doctor",
    "completion": "dkl.cli.completion",
}
"""Each command's module, which holds it under the command's own name."""

_EXAMPLES = """\b
Examples:
  dkl compare --example
  dkl compare january.parquet july.parquet
  dkl measure "normal(0, 1)" "normal(1, 2)"
  dkl fit "0.5*normal(-3, 1) + 0.5*normal(3, 1)" --family normal --divergence reverse-kl
  dkl doctor --example exploding-vae
  dkl compare --help
  eval "$(dkl completion bash)"
"""


class _LazyGroup(click.Group):
    """A group that imports a command's module on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See `click.Group.list_commands`."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See `click.Group.get_command`."""
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(import_module(_COMMANDS[cmd_name]), cmd_name)
        assert isinstance(command, click.Command)  # by the table above
        return command


@click.group(cls=_LazyGroup, epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dkl")
def dkl() -> None:
    """Measure how far one distribution is from another, and say why."""
