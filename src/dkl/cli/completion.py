"""`dkl completion`: the script that teaches a shell to complete this command line."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_HOW = """\b
Turn completion on:
  bash  echo 'eval "$(dkl completion bash)"' >> ~/.bashrc
  zsh   echo 'eval "$(dkl completion zsh)"' >> ~/.zshrc
  fish  dkl completion fish > ~/.config/fish/completions/dkl.fish
"""


@click.command(epilog=_HOW)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL."""
    complete = get_completion_class(shell)
    assert complete is not None  # click knows the three shells that the argument allows
    click.echo(complete(ctx.find_root().command, {}, "dkl", "_DKL_COMPLETE").source())
