"""A command in a container, or the container's own program, with its streams (`v5.channel.k8s.io`).

Each message begins with the number of its channel. Servers before 1.30 speak `v4.channel.k8s.io`, which is the same but
that the input cannot be ended.
"""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from pytest_isolate.engine.kubernetes.api_errors import error_of_status
from pytest_isolate.engine.kubernetes.transport.lines import Lines
from pytest_isolate.engine.kubernetes.transport.upgrade import ProtocolRefused, open_websocket
from pytest_isolate.engine.kubernetes.transport.websocket import WebSocket
from pytest_isolate.errors import EngineError, EngineUnreachable

_V5, _V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
_STDIN, _STDOUT, _STDERR, _STATUS, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255
_PIECE_BYTES = 1 << 15  # as kubectl sends them
# Output that is not taken makes the command wait, as a pipe does.
_MOST_WAITING_BYTES = 1 << 22
# Behind the status there is nothing but the end, which some servers keep for themselves.
_ENDS_WITHIN_S = 2
_MISSING, _FORBIDDEN = 127, 126  # as a shell has it
_MISSING_TEXT = re.compile(r"executable file not found|no such file or directory", re.IGNORECASE)
_FORBIDDEN_TEXT = re.compile(r"exec.*permission denied", re.IGNORECASE | re.DOTALL)


def open_exec_stream(lines: Lines, what: str, target: str) -> ExecStream:
    """The streams at a path of the API server; ApiError where it refuses."""

    async def open_line() -> ExecStream:
        try:
            line, protocol = await open_websocket(lines.dialer, what, target, [_V5, _V4])
        except ProtocolRefused as error:
            raise EngineError(
                f"the API server refused to {what}", found=f"it speaks {str(error) or 'neither'}"
            ) from error
        stream = ExecStream(lines, line, what, can_end_input=protocol == _V5)
        line.begin(stream)
        lines.keep(line)
        return stream

    return lines.run(open_line())


class ExecStream:
    """The streams of a command. One thread may send while another receives."""

    def __init__(self, lines: Lines, line: WebSocket, what: str, *, can_end_input: bool) -> None:
        self._lines = lines
        self._line = line
        self._what = what
        self._can_end_input = can_end_input
        self._news = threading.Condition()
        self._output: deque[tuple[int, bytes]] = deque()
        self._waiting_bytes = 0
        self._is_paused = False
        self._heard = False
        self._status: Mapping[str, Any] | None = None
        self._is_ended = False
        self._error: Exception | None = None
        self._on_end: Callable[[], None] | None = None

    def when_ended(self, call: Callable[[], None]) -> None:
        """Call this, from some thread, when nothing more will come than what can be received at once."""
        with self._news:
            if not self._is_ended:
                self._on_end = call
                return
        call()

    def send(self, content: bytes) -> None:
        """Write to the command's input."""

        async def send() -> None:
            view = memoryview(content)
            for start in range(0, len(view), _PIECE_BYTES):
                self._line.send(bytes([_STDIN]), view[start : start + _PIECE_BYTES])
                await self._line.drain()

        try:
            self._lines.run(send())
        except OSError as error:
            raise self._broken(error) from error

    def close_input(self) -> None:
        """End the command's input; its output still comes."""
        if not self._can_end_input:
            raise EngineError(
                f"the input could not be ended: {self._what}",
                found="the API server speaks v4.channel.k8s.io, which cannot",
                do="use a cluster of 1.30 or later",
            )
        self._lines.call(self._line.send, bytes([_CLOSE, _STDIN]))

    def resize(self, columns: int, lines: int) -> None:
        """Tell the command's terminal its size."""
        size = json.dumps({"Width": columns, "Height": lines}).encode()
        self._lines.call(self._line.send, bytes([_RESIZE]) + size)

    def receive(self, timeout_s: float | None) -> tuple[int, bytes] | None:
        """The next output, with the stream (1: stdout, 2: stderr); None at the end; EngineError after the time-out."""
        with self._news:
            if not self._news.wait_for(lambda: self._output or self._is_ended, timeout_s):
                raise EngineError(
                    f"the API server was asked to {self._what}", found=f"no output within {timeout_s:g} s"
                )
            if not self._output:
                if self._status is None and self._error:
                    raise self._broken(self._error) from self._error
                return None
            stream, content = self._output.popleft()
            self._waiting_bytes -= len(content)
            if self._is_paused and self._waiting_bytes < _MOST_WAITING_BYTES // 2:
                self._is_paused = False
                self._lines.call(self._line.resume_reading)
        return stream, content

    def exit_code(self) -> int:
        """The exit code, when there is nothing more to receive: 127 where there is no such program.

        ApiError where the command was not run for another reason, EngineUnreachable where the line broke before that.
        """
        status = self._status
        if status is None:
            raise self._broken(self._error)
        if status.get("status") == "Success":
            return 0
        causes = (status.get("details") or {}).get("causes") or ()
        codes = [cause.get("message") for cause in causes if cause.get("reason") == "ExitCode"]
        if codes:
            return int(codes[0])
        message = str(status.get("message") or "")
        if _MISSING_TEXT.search(message):
            return _MISSING
        if _FORBIDDEN_TEXT.search(message):
            return _FORBIDDEN
        raise error_of_status(self._what, status)

    def close(self) -> None:
        """Let go of the command: its input ends. Safe to repeat."""
        self._lines.call(self._line.close)
        self._note_end(None)

    # -- called in the loop --------------------------------------------------------------------------------------------

    def received(self, content: bytes) -> None:
        self._heard = True
        if content[:1] == bytes([_STATUS]):
            self._take_status(content[1:])
        elif len(content) > 1 and content[0] in (_STDOUT, _STDERR):
            with self._news:
                self._output.append((content[0], content[1:]))
                self._waiting_bytes += len(content)
                if self._waiting_bytes > _MOST_WAITING_BYTES and not self._is_paused:
                    self._is_paused = True
                    self._line.pause_reading()
                self._news.notify_all()

    def ended(self, error: Exception | None) -> None:
        self._note_end(error)

    def pause_writing(self) -> None:
        """Nothing to do: senders wait for the line."""

    def resume_writing(self) -> None:
        """Nothing to do either."""

    def _note_end(self, error: Exception | None) -> None:
        with self._news:
            self._is_ended, self._error = True, error or self._error
            call, self._on_end = self._on_end, None
            self._news.notify_all()
        if call:
            call()

    def _take_status(self, content: bytes) -> None:
        if not content:
            return  # servers open each channel with an empty message
        try:
            found = json.loads(content)
        except ValueError:
            found = {"status": "Failure", "message": content.decode(errors="replace")}
        self._status = found
        self._heard = False
        self._line.loop.call_later(_ENDS_WITHIN_S, self._end)

    def _end(self) -> None:
        if self._heard or self._is_paused:
            self._heard = False
            self._line.loop.call_later(_ENDS_WITHIN_S, self._end)
        else:
            self._line.close()

    def _broken(self, error: BaseException | None) -> EngineUnreachable:
        reason = getattr(error, "strerror", None) or str(error or "") or "the connection ended before the command did"
        return EngineUnreachable(f"the API server was asked to {self._what}", found=reason)
