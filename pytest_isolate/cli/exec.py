"""`pytest-isolate exec`: a command in a service's container, with the terminal where there is one."""

from __future__ import annotations

import os
import select
import shutil
import sys
import threading
from contextlib import nullcontext, suppress
from typing import Any

import click

from pytest_isolate.cli.engine import open_engine, write_streams
from pytest_isolate.cli.find_container import all_named, complete_names, find_container
from pytest_isolate.cli.terminal import raw_terminal
from pytest_isolate.engine.command_api import InteractiveCommand
from pytest_isolate.errors import EngineError
from pytest_isolate.system import SYSTEM, System

EXIT_NOT_RUN = 125
"""As docker itself ends when it is not the command that has failed."""
_PIECE_BYTES = 1 << 16


@click.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name", shell_complete=complete_names)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(name: str, command: tuple[str, ...]) -> None:
    """Run a command in a service's container: pytest-isolate exec db -- psql -U postgres

    With a terminal of its own when this one is, so that a shell works as usual; else stdin, stdout and stderr are its
    own. NAME is a service (db, or hr.db in a stack), a container's name, or the beginning of its id. Ends with the
    command's exit code, or with 125 when it could not be run.
    """
    argv = command[1:] if command[0] == "--" else command
    if not argv:
        raise click.UsageError("name a command: pytest-isolate exec db -- psql")
    with open_engine(EXIT_NOT_RUN) as opened:
        container = find_container(name, all_named(opened.runs()), os.getcwd()).found.object_id
        is_terminal = bool(sys.stdin and sys.stdin.isatty() and sys.stdout.isatty())
        kind = os.environ.get("TERM", "xterm") if is_terminal else ""
        code = converse(opened.engine.open_interactive(container, argv, terminal=kind), is_terminal=is_terminal)
    raise SystemExit(code)


def converse(command: InteractiveCommand, *, is_terminal: bool) -> int:
    """Carry bytes between a command and this process's stdin, stdout and stderr; its exit code, once it has ended."""
    try:
        with raw_terminal(lambda: _fit(command)) if is_terminal else nullcontext():
            _carry(command)
    finally:
        command.close()
    return command.exit_code()


def _carry(command: InteractiveCommand) -> None:
    inputs: list[Any] = [command]
    if sys.stdin is None:
        command.end_input()
    elif SYSTEM is System.WINDOWS:  # where a select knows sockets only
        threading.Thread(target=_send_input, args=(command,), daemon=True).start()
    else:
        inputs.append(sys.stdin.fileno())
    write_streams(command.receive(is_ready=False) or ())
    while True:
        ready, _, _ = select.select(inputs, [], [])
        if command in ready:
            frames = command.receive(is_ready=True)
            if frames is None:
                return
            write_streams(frames)
        elif ready:
            piece = os.read(ready[0], _PIECE_BYTES)
            if piece:
                command.send(piece)
            else:
                command.end_input()
                inputs.remove(ready[0])


def _send_input(command: InteractiveCommand) -> None:
    with suppress(EngineError):  # the command has ended
        while piece := os.read(sys.stdin.fileno(), _PIECE_BYTES):
            command.send(piece)
        command.end_input()


def _fit(command: InteractiveCommand) -> None:
    size = shutil.get_terminal_size()
    command.resize(size.columns, size.lines)
