"""One container of the fake engine: a thread that carries out its program's steps, and real sockets for its ports."""

from __future__ import annotations

import io
import posixpath
import re
import socket
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fakes.programs import read_steps
from fakes.sessions import FakeSession, environment
from fakes.sessions import run as run_outside
from pytest_isolate.engine.api import ContainerRequest, ContainerUsage, ExecResult, LogLine, PathFacts, PortBinding
from pytest_isolate.errors import EngineError, ObjectNotFound, PortTaken

KILLED = 137
Files = dict[str, str]


class Ended(Exception):
    """The program has come to its end; carries the exit code."""


@dataclass
class Listener:
    """A program that answers on one of its own ports."""

    kind: str
    text: str


@dataclass
class Process:
    """One carrying out of a program's steps, as the container's main process or as a command in it."""

    container: FakeContainer
    write: Callable[[str, str], None]
    sleep: Callable[[float], None]
    is_stubborn: bool = False
    serves: bool = False

    def run(self, steps: Sequence[str]) -> int:
        try:
            for step in steps:
                verb, _, rest = step.partition(" ")
                getattr(self, f"do_{verb}")(rest)
            while self.serves:
                self.sleep(3600)
        except Ended as ended:
            return int(ended.args[0])
        return 0

    def do_say(self, text: str) -> None:
        self.write("out", text + "\n")

    def do_err(self, text: str) -> None:
        self.write("err", text + "\n")

    def do_sleep(self, seconds: str) -> None:
        self.sleep(float(seconds))

    def do_exit(self, code: str) -> None:
        raise Ended(code)

    def do_stubborn(self, _: str) -> None:
        self.is_stubborn = True

    def do_eat(self, _: str) -> None:
        self.container.is_out_of_memory = True
        raise Ended(KILLED)

    def do_write(self, rest: str) -> None:
        path, _, text = rest.partition(" ")
        folder, name = self.container.locate(path)
        folder[name] = text + "\n"

    def do_once(self, path: str) -> None:
        folder, name = self.container.locate(path)
        if name not in folder:
            self.write("out", "made\n")
            folder[name] = "made\n"

    def do_read(self, path: str) -> None:
        folder, name = self.container.locate(path)
        if name not in folder:
            self.write("err", f"{path}: No such file or directory\n")
            raise Ended(2)
        self.write("out", folder[name])

    def do_getenv(self, name: str) -> None:
        self.write("out", self.container.request.env.get(name, "") + "\n")

    def do_fetch(self, rest: str) -> None:
        host, port, *path = rest.split()
        answer = self.container.fetch(host, int(port), path[0] if path else "/")
        if answer is None:
            self.write("err", "no answer\n")
            raise Ended(1)
        self.write("out", answer + "\n")

    def listen(self, kind: str, rest: str) -> None:
        port, _, text = rest.partition(" ")
        self.serves = True
        self.container.listeners[int(port)] = Listener(kind, text)

    def do_serve(self, rest: str) -> None:
        self.listen("serve", rest)

    def do_greet(self, rest: str) -> None:
        self.listen("greet", rest)

    def do_mute(self, rest: str) -> None:
        self.listen("mute", rest)


@dataclass(eq=False)
class FakeContainer:
    """A container: what was asked for, what state it is in, what it wrote."""

    container_id: str
    request: ContainerRequest
    volumes: Mapping[str, Files]
    default_command: Sequence[str]
    find_neighbour: Callable[[FakeContainer, str], FakeContainer | None]
    on_death: Callable[[FakeContainer], None]
    anonymous_volumes: tuple[str, ...] = ()
    exit_code: int | None = None
    is_paused: bool = False
    is_out_of_memory: bool = False
    started_at: float = 0
    ended_at: float = 0
    log: list[tuple[float, str, str]] = field(default_factory=list)
    files: Files = field(default_factory=dict)
    listeners: dict[int, Listener] = field(default_factory=dict)
    published: dict[int, int] = field(default_factory=dict)
    _root: tempfile.TemporaryDirectory[str] | None = None
    _sessions: list[FakeSession] = field(default_factory=list)
    _sockets: list[socket.socket] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _ended: threading.Event = field(default_factory=threading.Event)
    _going_on: threading.Event = field(default_factory=threading.Event)
    _process: Process | None = None
    _killed: bool = False

    @property
    def is_running(self) -> bool:
        return self._process is not None and not self._ended.is_set()

    # -- from start to end ----------------------------------------------------------------------------------------

    def start(self) -> None:
        steps = read_argv(self._argv())
        if steps is None:
            raise EngineError("a container could not be started", found=[f'exec: "{self._argv()[0]}": not in $PATH'])
        self._join()
        self._stopping, self._ended, self._killed = threading.Event(), threading.Event(), False
        self.exit_code = None
        self.started_at = time.time()
        self.listeners.clear()
        self._going_on.set()
        self._publish()
        self._process = Process(self, write=self._log, sleep=self._sleep)
        self._spawn(self._main, steps)

    def _argv(self) -> list[str]:
        """Entrypoint and command; an entrypoint without a command takes away the image's own."""
        if self.request.entrypoint is not None:
            return [*self.request.entrypoint, *(self.request.command or ())]
        return list(self.request.command or self.default_command)

    def request_stop(self, timeout_s: float) -> None:
        process = self._process
        self._resume()
        if process and not process.is_stubborn:
            self._stopping.set()
        if not self._ended.wait(timeout_s if process and process.is_stubborn else 5):
            self.kill()

    def kill(self) -> None:
        self._killed = True
        self._resume()
        self._stopping.set()
        self._ended.wait(5)

    def pause(self) -> None:
        self.is_paused = True
        self._going_on.clear()

    def unpause(self) -> None:
        self._resume()

    def _resume(self) -> None:
        self.is_paused = False
        self._going_on.set()

    def _main(self, steps: Sequence[str]) -> None:
        assert self._process is not None
        code = self._process.run(steps)
        self.exit_code = KILLED if self._killed else code
        for session in self._sessions:
            session.kill()
        self._unpublish()
        self.ended_at = time.time()
        self._ended.set()
        self.on_death(self)

    def _sleep(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise Ended(0)
        self._going_on.wait()

    def _log(self, stream: str, text: str) -> None:
        self.log.append((time.time(), f"std{stream}", text))

    def _spawn(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True, name=f"fake-{self.request.name}")
        self._threads = [t for t in self._threads if t.is_alive()] + [thread]
        thread.start()

    def _join(self) -> None:
        for thread in self._threads:
            thread.join(2)

    # -- what is inside -------------------------------------------------------------------------------------------

    def locate(self, path: str) -> tuple[Files, str]:
        """The table of files (the container's own, or a volume's) that holds a path, and its key there."""
        for volume, target in self.request.volumes.items():
            target = target.partition(":")[0]
            if path.startswith(target.rstrip("/") + "/"):
                return self.volumes[volume], posixpath.relpath(path, target)
        return self.files, path

    def find_path(self, path: str) -> PathFacts | None:
        """A file or folder that was put there. The image itself holds nothing, and no links."""
        table, own = self.locate(path)
        is_folder = any(name.startswith(f"{own}/") for name in table)
        return PathFacts(path=path, is_folder=is_folder, mode=0o755) if is_folder or own in table else None

    def unpack(self, archive: bytes, folder: str) -> None:
        try:
            with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
                for entry in opened:
                    content = opened.extractfile(entry)
                    if content:
                        table, name = self.locate(posixpath.join(folder, entry.name))
                        table[name] = content.read().decode()
        except tarfile.TarError as error:
            raise EngineError("files could not be copied into a container", found=[str(error)]) from error

    def pack(self, path: str, file: Path) -> None:
        """Write a folder, or one file, to an archive; its own name is the first part of each entry's."""
        above = posixpath.dirname(path)
        table, _ = self.locate(path + "/")
        found = {name: text for name, text in table.items() if name == path or name.startswith(path + "/")}
        if not found:
            raise ObjectNotFound(f"{path} could not be copied out of a container", found=["no such file"])
        with tarfile.open(file, "w") as archive:
            for name, text in found.items():
                entry = tarfile.TarInfo(posixpath.relpath(name, above))
                entry.size = len(text.encode())
                archive.addfile(entry, io.BytesIO(text.encode()))

    def open_session(self, argv: Sequence[str], env: Mapping[str, str]) -> FakeSession:
        self._sessions.append(FakeSession(argv, self._outside(env)))
        return self._sessions[-1]

    def _outside(self, env: Mapping[str, str]) -> dict[str, str]:
        """The environment of a process of this host, which finds the container's files below a folder."""
        self._root = self._root or tempfile.TemporaryDirectory(prefix="fake-container-")
        for name, text in self.files.items():
            path = Path(self._root.name) / "files" / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return environment(Path(self._root.name), self.request.env, env)

    def discard(self) -> None:
        """It is removed."""
        for session in self._sessions:
            session.kill()
        if self._root:
            self._root.cleanup()

    def run(self, argv: Sequence[str]) -> ExecResult:
        if argv[0] == "psql":
            return run_outside(argv, self._outside({}))
        written: dict[str, list[str]] = {"out": [], "err": []}
        steps = read_argv(list(argv))
        if steps is None:
            return ExecResult(exit_code=126, stdout=f'exec: "{argv[0]}": not found in $PATH\r\n', stderr="")
        process = Process(self, write=lambda to, text: written[to].append(text), sleep=self._sleep)
        code = process.run(steps)
        return ExecResult(exit_code=code, stdout="".join(written["out"]), stderr="".join(written["err"]))

    def read_log(self, tail: int | None, since: float, stream: str = "") -> str:
        written = [text for when, to, text in list(self.log) if when >= since and stream in ("", to)]
        lines = [line for text in written for line in text.splitlines(keepends=True)]
        return "".join(lines if tail is None else lines[-tail:] if tail else [])

    def usage(self) -> ContainerUsage | None:
        """It is a thread, which has no memory of its own: a page, and the time that it has been there."""
        since = time.time() - self.started_at
        return ContainerUsage(memory_bytes=4096, cpu_s=since) if self.is_running else None

    def read_lines(self, since: float, tail: int | None = None) -> list[LogLine]:
        lines = [(when, line) for when, _, text in list(self.log) for line in text.splitlines()]
        last = lines if tail is None else lines[-tail:] if tail else []
        return [LogLine(when, line) for when, line in last if when >= since]

    def fetch(self, host: str, port: int, path: str) -> str | None:
        """What a neighbour on one of its networks answers over HTTP."""
        other = self if host in ("localhost", "127.0.0.1") else self.find_neighbour(self, host)
        if other is None or not other.is_running or port not in other.listeners:
            return None
        return other.reply(path, other.listeners[port].text)[1]

    def reply(self, path: str, text: str) -> tuple[int, str]:
        """Status and body of the answer to a request."""
        if match := re.match(r"/env/(\w+)", path):
            return 200, self.request.env.get(match[1], "")
        if match := re.match(r"/say/(\S+)", path):
            self._log("out", match[1] + "\n")
            return 200, "said"
        if match := re.match(r"/status/(\d+)", path):
            return int(match[1]), f"status {match[1]}"
        if match := re.match(r"/fetch/([^/]+)/(\d+)", path):
            answer = self.fetch(match[1], int(match[2]), "/")
            return (502, f"no answer from {match[1]}:{match[2]}") if answer is None else (200, answer)
        return 200, text

    # -- published ports ------------------------------------------------------------------------------------------

    def _publish(self) -> None:
        for binding in (binding for binding in self.request.ports if binding.protocol == "tcp"):
            listening = socket.socket()
            self._sockets.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listening.bind((binding.host_ip, binding.host_port))
                listening.listen(64)
            except OSError as error:
                self._unpublish()
                raise PortTaken(
                    "a container could not be started",
                    found=[f"listen tcp4 {binding.host_ip}:{binding.host_port}: bind: address already in use"],
                ) from error
            self.published[binding.inner] = listening.getsockname()[1]
            self._spawn(self._accept, listening, binding)

    def _unpublish(self) -> None:
        for sock in self._sockets:
            # Closing alone does not wake the thread that accepts.
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()
        self._sockets.clear()
        self.published.clear()

    def _accept(self, listening: socket.socket, binding: PortBinding) -> None:
        """As docker-proxy does: accept at once, and hang up when nobody inside listens on the port."""
        while True:
            try:
                client = listening.accept()[0]
            except OSError:
                return
            self._spawn(self._serve, client, binding.inner)

    def _serve(self, client: socket.socket, inner: int) -> None:
        with client:
            client.settimeout(0.05)
            while not self._going_on.wait(0.05):
                if self._ended.is_set():
                    return
            listener = self.listeners.get(inner)
            try:
                if listener:
                    self._answer(client, listener)
            except OSError:
                pass

    def _answer(self, client: socket.socket, listener: Listener) -> None:
        if listener.kind == "greet":
            client.sendall(listener.text.encode() + b"\n")
        received = b""
        while b"\r\n\r\n" not in received:
            try:
                chunk = client.recv(4096)
            except TimeoutError:
                if self._ended.is_set():
                    return
                continue
            if not chunk:
                return
            received += chunk if listener.kind == "serve" else b""
        status, body = self.reply(received.split()[1].decode(), listener.text)
        content = body.encode()
        client.sendall(f"HTTP/1.0 {status} x\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)


SHELL: Mapping[str, Callable[[list[str]], list[str]]] = {
    "true": lambda _: [],
    "false": lambda _: ["exit 1"],
    "bash": lambda _: [],
    "cat": lambda words: [f"read {word}" for word in words[1:]],
    "echo": lambda words: [f"say {' '.join(words[1:])}"],
}
"""The few programs of the base image that the fake one has too, as steps."""


def read_argv(argv: list[str]) -> list[str] | None:
    """The steps of a command line; None where the program does not exist."""
    steps = read_steps(argv)
    return SHELL[argv[0]](argv) if steps is None and argv[0] in SHELL else steps
