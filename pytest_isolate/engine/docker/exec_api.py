"""Logs of containers on a Docker engine, and commands that run in them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote

from msgspec.structs import replace

from pytest_isolate.engine.api import BinaryExecResult, ExecResult, LogLine
from pytest_isolate.engine.docker.container_api import ContainerApi
from pytest_isolate.engine.docker.frames import FrameReader, log_lines, split_frames
from pytest_isolate.engine.docker.transport.streams import LogFollower, RawConnection

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

    def read_log_lines(self, container_id: str, since: float, tail: int | None = None) -> Sequence[LogLine]:
        what, path = "a container's log could not be read", f"/containers/{quote(container_id)}/logs"
        # A little further back than wanted: numbers here are less exact than the moments of the engine.
        ahead_s = self._machine.clock_offset_s
        start = max(0.0, since + ahead_s - 0.001)
        query = {"stdout": "true", "stderr": "true", "timestamps": "true", "since": f"{start:.6f}"}
        query |= {} if tail is None else {"tail": str(tail)}
        lines = log_lines(self._http.ask(what, "GET", path, query=query).content)
        if ahead_s:
            lines = [replace(line, when=line.when - ahead_s) for line in lines]
        if self._dialect().whole_seconds:
            return [LogLine(max(line.when, since), line.text) for line in lines]
        return [line for line in lines if line.when >= since]

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
        return b"".join(text for _, text in split_frames(self._tail.read(timeout_s))).decode(errors="replace")

    def close(self) -> None:
        self._tail.close()


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
