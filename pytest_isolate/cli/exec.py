"""`pytest-isolate exec`: a command in a service's container, with the terminal where there is one."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import click

from pytest_isolate.cli.engine import open_engine
from pytest_isolate.cli.find_container import all_named, complete_names, find_container
from pytest_isolate.engine.docker.transport.client import Http
from pytest_isolate.engine.docker.transport.streams import RawConnection
from pytest_isolate.engine.docker.wire import FRAME_HEAD_BYTES, take_frame
from pytest_isolate.errors import EngineError

EXIT_NOT_RUN = 125
"""As docker itself ends when it is not the command that has failed."""
_PIECE_BYTES = 1 << 16
_ANSWER_S = 60
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
        code = Conversation(opened.client, container, argv, is_terminal=_is_terminal()).run()
    raise SystemExit(code)


class Conversation:
    """A command in a container that talks to this process's stdin, stdout and stderr."""

    def __init__(self, client: Http, container_id: str, argv: Sequence[str], *, is_terminal: bool) -> None:
        self._client = client
        self._container = container_id
        self._argv = argv
        self._is_terminal = is_terminal
        self._what = f"the command {argv[0]!r} could not be run in a container"

    def run(self) -> int:
        """The command's exit code, once it has ended."""
        streams = {f"Attach{stream}": True for stream in ("Stdin", "Stdout", "Stderr")}
        body = {**streams, "Tty": self._is_terminal, "Cmd": list(self._argv), "Env": _terminal_env(self._is_terminal)}
        path = f"/containers/{quote(self._container)}/exec"
        command = f"/exec/{self._client.ask(self._what, 'POST', path, body=body).json()['Id']}"
        line = self._client.hijack(self._what, f"{command}/start", {"Detach": False, "Tty": self._is_terminal})
        try:
            with self._terminal(lambda: self._resize(command)):
                self._talk(line)
        finally:
            line.close()
        found: dict[str, Any] = self._client.ask(self._what, "GET", f"{command}/json").json()
        return int(found["ExitCode"])

    def _talk(self, line: RawConnection) -> None:
        """Carry bytes both ways until the command has ended."""
        write = self._raw if self._is_terminal else _Frames().write
        if not self._is_terminal and sys.stdin is None:
            line.end_input()
        inputs: list[Any] = [line] if sys.stdin is None else [line, sys.stdin.fileno()]
        received = line.take_received()
        while True:
            if received:
                write(received)
                received = b""
            ready, _, _ = select.select(inputs, [], [])
            if line in ready:
                received = line.receive(_ANSWER_S)
                if not received:
                    return
            elif ready:
                piece = os.read(ready[0], _PIECE_BYTES)
                if piece:
                    line.send(piece)
                else:
                    line.end_input()
                    inputs.remove(ready[0])

    def _raw(self, text: bytes) -> None:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()

    def _resize(self, command: str) -> None:
        size = shutil.get_terminal_size()
        query = {"h": size.lines, "w": size.columns}
        try:
            self._client.ask("the terminal's size could not be told", "POST", f"{command}/resize", query=query)
        except EngineError:
            pass  # it has ended, or has not begun: then its size does not matter

    @contextmanager
    def _terminal(self, resize: Callable[[], None]) -> Iterator[None]:
        """This terminal as the command's: every key goes there as it is."""
        if not self._is_terminal:
            yield
            return
        before = termios.tcgetattr(sys.stdin)
        handler = signal.signal(signal.SIGWINCH, lambda *_: resize())
        try:
            # What was typed before is not thrown away, as the default would.
            tty.setraw(sys.stdin, termios.TCSADRAIN)
            resize()
            yield
        finally:
            signal.signal(signal.SIGWINCH, handler)
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


class _Frames:
    """The two streams of a command without a terminal, told apart."""

    def __init__(self) -> None:
        self._received = b""

    def write(self, text: bytes) -> None:
        """Write what is complete where it belongs."""
        self._received += text
        while (frame := take_frame(self._received)) is not None:
            stream, content = frame
            self._received = self._received[FRAME_HEAD_BYTES + len(content) :]
            target = sys.stderr.buffer if stream == _STDERR else sys.stdout.buffer
            target.write(content)
            target.flush()


def _is_terminal() -> bool:
    return bool(sys.stdin and sys.stdin.isatty() and sys.stdout.isatty())


def _terminal_env(is_terminal: bool) -> list[str]:
    return [f"TERM={os.environ.get('TERM', 'xterm')}"] if is_terminal else []
