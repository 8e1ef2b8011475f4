"""How engines are connected to: reuse of what is dear, TLS that is ended on one side, ssh."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pytest_isolate.engine.docker.transport import npipe, ssh
from pytest_isolate.engine.docker.transport.carrier import open_pumped
from pytest_isolate.engine.docker.transport.client import Http, open_http
from pytest_isolate.engine.docker.transport.connections import Endpoint
from pytest_isolate.engine.docker.transport.ssh import Login, dial_command, find_host, parse_login
from pytest_isolate.errors import EngineError, EngineUnreachable
from pytest_isolate.system import System
from unit.scripted import VERSION, Scripted, answer, chunked

WHAT = "it could not be done"
# An engine, as the far end of an ssh that runs on this host: it counts its requests, and says who was asked for.
ENGINE = """#!{python}
import os, sys
if "-G" in sys.argv:
    print("user me\\nhostname 10.1.2.3\\nport 22")
    raise SystemExit
open(os.environ["SSH_LOG"], "a").write(" ".join(sys.argv[1:]) + "\\n")
if "broken" in sys.argv:
    print("Permission denied (publickey).", file=sys.stderr)
    raise SystemExit(255)
served = 0
while True:
    line = sys.stdin.buffer.readline()
    if not line:
        break
    length = 0
    while (header := sys.stdin.buffer.readline().strip()):
        name, _, value = header.lower().partition(b": ")
        length = int(value) if name == b"content-length" else length
    sys.stdin.buffer.read(length)
    if b"/start" in line:
        sys.stdout.buffer.write(b"HTTP/1.1 101 X\\r\\n\\r\\n")
        sys.stdout.buffer.flush()
        sys.stdout.buffer.write(b"heard " + sys.stdin.buffer.read())
        break
    served += 1
    body = {version!r} if b"/version" in line else b'{{"served": %d}}' % served
    sys.stdout.buffer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
    sys.stdout.buffer.flush()
"""


@pytest.fixture(params=[System.LINUX, System.WINDOWS], ids=["socket", "pipes"])
def calls(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """How ssh was called, by a socket or, as on Windows, by pipes; the ssh that is found is a program of this test."""
    import sys

    monkeypatch.setattr(ssh, "SYSTEM", request.param)

    (tmp_path / "ssh").write_text(ENGINE.format(python=sys.executable, version=VERSION))
    (tmp_path / "ssh").chmod(0o755)
    log = tmp_path / "log"
    log.touch()
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SSH_LOG", str(log))
    return lambda: log.read_text().splitlines()


# -- ssh --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ssh://box", Login(host="box")),
        ("ssh://Box", Login(host="Box")),
        ("ssh://ann@box:2222", Login(host="box", user="ann", port=2222)),
        ("ssh://ann@box/run/user/1000/docker.sock", Login(host="box", user="ann", path="/run/user/1000/docker.sock")),
        ("ssh://box/", Login(host="box")),
        ("ssh://[fe80::1]:22", Login(host="fe80::1", port=22)),
    ],
)
def test_login_is_what_the_address_names(address: str, expected: Login) -> None:
    assert parse_login(address) == expected


@pytest.mark.parametrize("address", ["ssh://", "tcp://box", "ssh://ann:secret@box", "ssh://box:port"])
def test_address_that_names_no_login_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_login(address)


def test_command_is_what_docker_itself_runs() -> None:
    plain = dial_command(Login(host="-box", user="ann", port=2222))
    assert plain[-9:] == ["-l", "ann", "-p", "2222", "--", "-box", "docker", "system", "dial-stdio"]
    assert "BatchMode=yes" in plain
    other = dial_command(Login(host="box", path="/run/it's here"))
    assert other[-4:] == ["--host", "'unix:///run/it'\"'\"'s here'", "system", "dial-stdio"]


def test_the_host_is_the_one_that_ssh_goes_to(calls: Callable[[], list[str]]) -> None:
    assert find_host(Login(host="nickname")) == "10.1.2.3"


def test_without_ssh_the_host_is_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_host(Login(host="box")) == "box"
    with pytest.raises(EngineUnreachable, match="there is no command ssh here"):
        open_http({"DOCKER_HOST": "ssh://box"})


def test_one_log_in_serves_many_requests(calls: Callable[[], list[str]]) -> None:
    client = Http("ssh://ann@box")
    served = [client.ask(WHAT, method, "/x", body={}).json()["served"] for method in ("GET", "POST", "DELETE")]
    client.close()
    assert served == [2, 3, 4]
    assert len(calls()) == 1


def test_requests_at_once_have_log_ins_of_their_own(calls: Callable[[], list[str]]) -> None:
    client = Http("ssh://box")
    client.version()
    pieces = client.stream(WHAT, "/x", {})
    assert next(pieces)
    client.ask(WHAT, "GET", "/y")
    pieces.close()
    client.close()
    assert len(calls()) == 2


def test_a_line_over_ssh_is_ended_on_one_side(calls: Callable[[], list[str]]) -> None:
    client = Http("ssh://box")
    line = client.hijack(WHAT, "/exec/1/start", {})
    line.send(b"all of this")
    line.end_input()
    heard = b""
    while piece := line.receive(10):
        heard += piece
    line.close()
    client.close()
    assert heard == b"heard all of this"


def test_what_ssh_says_is_told(calls: Callable[[], list[str]]) -> None:
    with pytest.raises(EngineUnreachable, match=r"Permission denied \(publickey\)"):
        open_http({"DOCKER_HOST": "ssh://broken"})


# -- TCP elsewhere ----------------------------------------------------------------------------------------------------


class Lasting:
    """A server that answers on each connection until `answers` are given, and then hangs up."""

    def __init__(self, answers: int, trust: ssl.SSLContext | None = None) -> None:
        self.connections = 0
        self._answers = answers
        self._trust = trust
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            self.connections += 1
            self._threads.append(threading.Thread(target=self._answer, args=(client,)))
            self._threads[-1].start()

    def _answer(self, client: socket.socket) -> None:
        if self._trust:
            try:
                client = self._trust.wrap_socket(client, server_side=True)
            except OSError:  # who does not trust us hangs up
                client.close()
                return
        with client, client.makefile("rb") as reader:
            for _ in range(self._answers):
                line = reader.readline()
                while reader.readline().strip():
                    pass
                if b"/start" in line:
                    client.sendall(b"HTTP/1.1 101 X\r\n\r\n")
                    client.sendall(b"heard " + reader.read())
                    return
                if not line:
                    return
                client.sendall(answer(VERSION if b"/version" in line else b"{}"))


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """All addresses are another host's."""
    monkeypatch.setattr(Endpoint, "is_near", False)


@pytest.mark.parametrize(("answers", "connections"), [(10, 1), (2, 3)])
def test_connections_elsewhere_are_used_until_they_end(far: None, answers: int, connections: int) -> None:
    """A question may be asked twice, so one whose connection has just ended is asked again."""
    server = Lasting(answers)
    client = Http(f"tcp://127.0.0.1:{server.port}")
    for _ in range(4):
        assert client.ask(WHAT, "GET", "/x").json() == {}
    client.close()
    server.close()
    assert server.connections == connections


def test_connections_on_this_host_are_not_kept() -> None:
    server = Lasting(10)
    client = Http(f"tcp://127.0.0.1:{server.port}")
    client.ask(WHAT, "GET", "/x")
    client.close()
    server.close()
    assert server.connections == 2


# -- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
    more = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command.split(), *more], cwd=tmp_path, check=True, capture_output=True)
    shutil.copy(tmp_path / "cert.pem", tmp_path / "ca.pem")
    return tmp_path


@pytest.fixture
def secure(certificates: Path) -> Iterator[Lasting]:
    trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "ca.pem"))
    trust.verify_mode = ssl.CERT_REQUIRED
    trust.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    server = Lasting(10, trust)
    yield server
    server.close()


@pytest.mark.parametrize("size", [0, 11, 3_000_000])
def test_a_line_over_tls_is_ended_on_one_side(secure: Lasting, certificates: Path, size: int) -> None:
    """The ssl module's own sockets lose all that comes behind that."""
    client = Http(Endpoint(f"tcp://localhost:{secure.port}", str(certificates)))
    line = client.hijack(WHAT, "/exec/1/start", {})
    line.send(b"x" * size)
    line.end_input()
    heard = b""
    while piece := line.receive(10):
        heard += piece
    line.close()
    client.close()
    # The body of the request is part of what this server hears.
    assert heard == b"heard {}" + b"x" * size


def test_connections_over_tls_are_used_again(secure: Lasting, certificates: Path) -> None:
    client = Http(Endpoint(f"tcp://localhost:{secure.port}", str(certificates)))
    for _ in range(3):
        client.ask(WHAT, "GET", "/x")
    client.close()
    assert secure.connections == 1


def test_an_engine_with_another_name_is_not_trusted(secure: Lasting, certificates: Path) -> None:
    with pytest.raises(EngineError, match="certificate verify failed"):
        Http(Endpoint(f"tcp://127.0.0.1:{secure.port}", str(certificates))).version()


def test_a_context_may_do_without_checks(secure: Lasting, certificates: Path) -> None:
    client = Http(Endpoint(f"tcp://127.0.0.1:{secure.port}", str(certificates), is_verified=False))
    assert client.version()["Version"] == "27.0"
    client.close()


def test_an_endpoint_is_the_same_in_another_process() -> None:
    endpoint = Endpoint("tcp://box:2376", "/certificates", is_verified=False)
    assert Endpoint.from_text(endpoint.as_text()) == endpoint
    assert json.loads(endpoint.as_text())[0] == "tcp://box:2376"


# -- named pipes ------------------------------------------------------------------------------------------------------


class PipeLike:
    """A pipe as the server of Docker Desktop sees it: here a socket, whose bytes take the way of a pipe's."""

    def __init__(self, path: str) -> None:
        self.closed = threading.Event()
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.connect(path)

    def read(self) -> bytes:
        return self._sock.recv(7)

    def write(self, content: bytes) -> None:
        self._sock.sendall(content)

    def end_input(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        self.closed.set()


@pytest.fixture
def pipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Scripted, list[PipeLike]]]:
    """An engine at a pipe, and every time that the pipe was opened."""
    opened: list[PipeLike] = []

    def open_pipe(path: str, timeout_s: float) -> PipeLike:
        assert path == "\\\\.\\pipe\\docker_engine"
        opened.append(PipeLike(str(tmp_path / "engine")))
        return opened[-1]

    monkeypatch.setattr(npipe, "_open", open_pipe)
    with Scripted(path=tmp_path / "engine") as server:
        yield server, opened


PIPE = "npipe:////./pipe/docker_engine"


@pytest.mark.unix
def test_requests_go_through_a_pipe_and_it_is_closed_after_each(pipes: tuple[Scripted, list[PipeLike]]) -> None:
    server, opened = pipes
    server.says = answer(b'{"a": "%s"}' % (b"x" * 100_000))
    assert len(Http(PIPE).ask(WHAT, "POST", "/x", body={"b": 1}).json()["a"]) == 100_000
    assert json.loads(server.bodies[-1]) == {"b": 1}
    assert len(opened) >= 2
    assert all(pipe.closed.wait(60) for pipe in opened)


@pytest.mark.unix
def test_what_an_engine_says_bit_by_bit_comes_through_a_pipe(pipes: tuple[Scripted, list[PipeLike]]) -> None:
    pipes[0].says = chunked(b"one", b"two")
    assert b"".join(Http(PIPE).stream(WHAT, "/x", {})) == b"onetwo"
    assert all(pipe.closed.wait(60) for pipe in pipes[1])


@pytest.mark.unix
def test_input_ends_by_itself_on_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    pipe = PipeLike.__new__(PipeLike)
    pipe.closed, pipe._sock = threading.Event(), ours
    sock = open_pumped(pipe)
    with theirs, sock:
        sock.sendall(b"all of it")
        sock.shutdown(socket.SHUT_WR)
        heard = b""
        while piece := theirs.recv(64):
            heard += piece
        theirs.sendall(b"heard " + heard)
        theirs.shutdown(socket.SHUT_WR)
        said = b""
        while piece := sock.recv(64):
            said += piece
        assert said == b"heard all of it"
        assert pipe.closed.wait(60)


def test_a_pipe_is_of_this_host() -> None:
    assert Endpoint(PIPE).is_near
    assert not Endpoint(PIPE).is_expensive
    assert npipe.pipe_path(PIPE) == "\\\\.\\pipe\\docker_engine"
    assert not npipe.has_pipe("npipe:////./pipe/none")
