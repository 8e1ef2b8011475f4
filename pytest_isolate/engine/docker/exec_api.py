"""Logs of containers on a Docker engine, and commands that run in them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from urllib.parse import quote

from pytest_isolate.engine.api import BinaryExecResult, ExecResult, LogLine
from pytest_isolate.engine.docker.container_api import ContainerApi
from pytest_isolate.engine.docker.frames import FrameReader, log_lines, read_frames, split_frames
from pytest_isolate.engine.docker.transport.exchange import REQUEST_TIMEOUT_S
from pytest_isolate.engine.docker.transport.streams import LogFollower, RawConnection
from pytest_isolate.errors import EngineError

# Of a log that is followed only its end is kept, more than any message shows.
_MOST_TAIL_BYTES = 1 << 20
ATTACHED = {f"Attach{stream}": True for stream in ("Stdin", "Stdout", "Stderr")}


class ExecApi(ContainerApi):
    """The part of the engine that reads logs and runs commands."""

    def read_logs(self, container_id: str, *, tail: int | None = None, since: float = 0, stream: str = "") -> str:
        what, path = "a container's log could not be read", f"/containers/{quote(container_id)}/logs"
        streams = dict.fromkeys([stream] if stream else ["stdout", "stderr"], "true")
        query = {**streams, "tail": "all" if tail is None else tail}
        if since:
            query["since"] = f"{since + self._machine.clock_offset_s:.6f}"
        raw = self._http.ask(what, "GET", path, query=query).content
        return b"".join(text for _, text in split_frames(raw)).decode(errors="replace")

    def follow_log(self, container_id: str, tail: int) -> DockerLogTail:
        what, path = "a container's log could not be followed", f"/containers/{quote(container_id)}/logs"
        query = {"stdout": "true", "stderr": "true", "follow": "true", "tail": tail}
        is_late = self._dialect().answers_with_first_line
        if is_late:
            self.inspect_container(container_id)
        return DockerLogTail(self._http.follow(what, path, query, begins_late=is_late))

    def read_log_lines(self, container_id: str, since: float, tail: int | None = None) -> Iterator[LogLine]:
        what, path = "a container's log could not be read", f"/containers/{quote(container_id)}/logs"
        # A little further back than wanted: numbers here are less exact than the moments of the engine.
        ahead_s = self._machine.clock_offset_s
        start = max(0.0, since + ahead_s - 0.001)
        query = {"stdout": "true", "stderr": "true", "timestamps": "true", "since": f"{start:.6f}"}
        query |= {} if tail is None else {"tail": str(tail)}
        is_exact = not self._dialect().whole_seconds
        for line in log_lines(self._http.stream(what, path, query, piece_timeout_s=REQUEST_TIMEOUT_S)):
            when = line.when - ahead_s
            if not is_exact:
                yield LogLine(max(when, since), line.text)
            elif when >= since:
                yield LogLine(when, line.text) if ahead_s else line

    def listen(self, container_id: str) -> DockerOutput | None:
        if not self._dialect().tells_output:
            return None
        what, streams = "a container's output could not be listened to", "stream=1&stdout=1&stderr=1"
        return DockerOutput(self._http.hijack(what, f"/containers/{quote(container_id)}/attach?{streams}"))

    def run_command(self, container_id: str, argv: Sequence[str]) -> ExecResult:
        return self.run_binary_command(container_id, argv).decode()

    def run_binary_command(self, container_id: str, argv: Sequence[str]) -> BinaryExecResult:
        what, command = self._create_exec(container_id, argv, {"AttachStdout": True, "AttachStderr": True})
        output = self._http.ask(what, "POST", f"{command}/start", body={"Detach": False, "Tty": False}, timeout_s=None)
        frames = list(split_frames(output.content))
        stdout, stderr = (b"".join(text for stream, text in frames if stream == number) for number in (1, 2))
        return BinaryExecResult(exit_code=self._exec_exit_code(what, command), stdout=stdout, stderr=stderr)

    def open_session(self, container_id: str, argv: Sequence[str], env: Mapping[str, str]) -> DockerSession:
        options = {**ATTACHED, "Env": [f"{name}={value}" for name, value in env.items()]}
        what, command = self._create_exec(container_id, argv, options)
        line = self._http.hijack(what, f"{command}/start", {"Detach": False, "Tty": False})
        return DockerSession(line, lambda: self._exec_exit_code(what, command))

    def _create_exec(self, container_id: str, argv: Sequence[str], options: Mapping[str, object]) -> tuple[str, str]:
        """The words of its errors, and the path of a command that is not started yet."""
        what = f"the command {argv[0]!r} could not be run in a container"
        path, body = f"/containers/{quote(container_id)}/exec", {**options, "Cmd": list(argv)}
        return what, f"/exec/{self._http.ask(what, 'POST', path, body=body).json()['Id']}"

    def _exec_exit_code(self, what: str, command: str) -> int:
        return int(self._http.ask(what, "GET", f"{command}/json").json()["ExitCode"])


class DockerLogTail:
    """A log that is being followed."""

    def __init__(self, tail: LogFollower) -> None:
        self._tail = tail

    def read_to_end(self, timeout_s: float) -> str:
        last, size_bytes = deque[bytes](), 0
        for _, text in read_frames(self._tail.read(timeout_s)):
            last.append(text)
            size_bytes += len(text)
            while size_bytes > _MOST_TAIL_BYTES:
                size_bytes -= len(last.popleft())
        return b"".join(last).decode(errors="replace")

    def close(self) -> None:
        self._tail.close()


class DockerOutput:
    """Output of a container, over a connection that the engine has handed over to its output."""

    def __init__(self, line: RawConnection) -> None:
        self._line = line
        self._reading = threading.Lock()
        self._is_closed = False

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        reader = FrameReader()
        while piece := self._receive():
            yield from reader.feed(piece)

    def close(self) -> None:
        self._is_closed = True
        # Wakes the reader first: a descriptor that is closed under it may be that of another connection next.
        self._line.hang_up()
        with self._reading:
            self._line.close()

    def _receive(self) -> bytes:
        """The next bytes; none at the end, and when it is closed."""
        with self._reading:
            try:
                return b"" if self._is_closed else self._line.receive(None)
            except EngineError:
                if self._is_closed:
                    return b""
                raise


class DockerSession:
    """A command that runs in a container, over the connection that the engine has handed over to it."""

    def __init__(self, line: RawConnection, exit_code: Callable[[], int]) -> None:
        self._line = line
        self._reader = FrameReader()
        self._frames: deque[tuple[int, bytes]] = deque()
        self._ask_exit_code = exit_code

    def send(self, text: bytes) -> None:
        self._line.send(text)

    def receive(self, timeout_s: float) -> tuple[int, bytes] | None:
        while not self._frames:
            piece = self._line.receive(timeout_s)
            if not piece:
                return None
            self._frames.extend(self._reader.feed(piece))
        return self._frames.popleft()

    def exit_code(self) -> int:
        return self._ask_exit_code()

    def close(self) -> None:
        self._line.close()
