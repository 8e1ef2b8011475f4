"""The command `pytest-isolate`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from pytest_isolate.cli.cluster_role import kubernetes
from pytest_isolate.cli.doctor import doctor
from pytest_isolate.cli.exec import execute
from pytest_isolate.cli.gc import gc, remove
from pytest_isolate.cli.images import images
from pytest_isolate.cli.logs import logs
from pytest_isolate.cli.plan import plan
from pytest_isolate.cli.ps import ps
from pytest_isolate.cli.up import down, up


@click.group()
@click.version_option(package_name="pytest-isolate-containers")
def main() -> None:
    """Look after the containers that pytest-isolate starts."""


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes commands, options, and the names of what runs.

    bash: eval "$(pytest-isolate completion bash)" in ~/.bashrc; zsh: the same with zsh in ~/.zshrc; fish:
    pytest-isolate completion fish > ~/.config/fish/completions/pytest-isolate.fish
    """
    completing = get_completion_class(shell)
    assert completing is not None
    command = context.find_root().command
    click.echo(completing(command, {}, "pytest-isolate", "_PYTEST_ISOLATE_COMPLETE").source())


for _command in (up, down, ps, logs, execute, plan, images, doctor, gc, remove, kubernetes):
    main.add_command(_command)
