"""`pytest-isolate completion`: the script that lets a shell complete commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_PROGRAM = "pytest-isolate"
_VARIABLE = "_PYTEST_ISOLATE_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes commands, options, and the names of what runs.

    bash: eval "$(pytest-isolate completion bash)" in ~/.bashrc; zsh: the same with zsh in ~/.zshrc; fish:
    pytest-isolate completion fish > ~/.config/fish/completions/pytest-isolate.fish
    """
    completing = get_completion_class(shell)
    assert completing is not None
    click.echo(completing(context.find_root().command, {}, _PROGRAM, _VARIABLE).source())
