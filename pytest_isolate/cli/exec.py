"""`pytest-isolate exec`: a command in a service's container, with the terminal where there is one."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import click

from pytest_isolate.cli.engine import open_engine
from pytest_isolate.cli.find_container import all_named, complete_names, find_container
from pytest_isolate.engine.command_api import InteractiveCommand

EXIT_NOT_RUN = 125
"""As docker itself ends when it is not the command that has failed."""
_PIECE_BYTES = 1 << 16
_STDERR = 2


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
        is_terminal = _is_terminal()
        kind = os.environ.get("TERM", "xterm") if is_terminal else ""
        code = converse(opened.engine.open_interactive(container, argv, terminal=kind), is_terminal=is_terminal)
    raise SystemExit(code)


def converse(command: InteractiveCommand, *, is_terminal: bool) -> int:
    """Carry bytes between a command and this process's stdin, stdout and stderr; its exit code, once it has ended."""
    try:
        with _terminal(command) if is_terminal else nullcontext():
            _carry(command)
    finally:
        command.close()
    return command.exit_code()


def _carry(command: InteractiveCommand) -> None:
    inputs: list[Any] = [command]
    if sys.stdin is not None:
        inputs.append(sys.stdin.fileno())
    else:
        command.end_input()
    _write(command.receive(is_ready=False) or ())
    while True:
        ready, _, _ = select.select(inputs, [], [])
        if command in ready:
            frames = command.receive(is_ready=True)
            if frames is None:
                return
            _write(frames)
        elif ready:
            piece = os.read(ready[0], _PIECE_BYTES)
            if piece:
                command.send(piece)
            else:
                command.end_input()
                inputs.remove(ready[0])


def _write(frames: Sequence[tuple[int, bytes]]) -> None:
    for stream, content in frames:
        target = sys.stderr.buffer if stream == _STDERR else sys.stdout.buffer
        target.write(content)
        target.flush()


@contextmanager
def _terminal(command: InteractiveCommand) -> Iterator[None]:
    """Make this terminal the command's for the block: every key goes there as it is."""

    def resize(*_: object) -> None:
        size = shutil.get_terminal_size()
        command.resize(size.columns, size.lines)

    before = termios.tcgetattr(sys.stdin)
    handler = signal.signal(signal.SIGWINCH, resize)
    try:
        # What was typed before is not thrown away, as the default would.
        tty.setraw(sys.stdin, termios.TCSADRAIN)
        resize()
        yield
    finally:
        signal.signal(signal.SIGWINCH, handler)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _is_terminal() -> bool:
    return bool(sys.stdin and sys.stdin.isatty() and sys.stdout.isatty())
