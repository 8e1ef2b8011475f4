"""Probes against real servers on this host's loopback address, and through a stub of the engine."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import pytest

from pytest_isolate.engine.api import EngineFacts, ExecResult
from pytest_isolate.errors import EngineError, EngineUnreachable
from pytest_isolate.model.endpoint import Endpoint
from pytest_isolate.model.probes import Answer, Command, Http, NotYet, Probe, Ready, Tcp
from pytest_isolate.presets.mariadb import READY as MARIADB
from pytest_isolate.presets.postgres import READY as POSTGRES
from pytest_isolate.running.readiness import probing
from pytest_isolate.running.readiness.probing import Target

Talk = Callable[[socket.socket], None]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a busy machine needs; answers end the wait earlier."""
    monkeypatch.setattr(probing, "_ANSWER_S", 10.0)
    monkeypatch.setattr(probing, "_SILENCE_S", 10.0)


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch, patience: None) -> None:
    """For servers that will say nothing, however long one waits."""
    monkeypatch.setattr(probing, "_ANSWER_S", 0.1)
    monkeypatch.setattr(probing, "_SILENCE_S", 0.05)


@contextmanager
def server(talk: Talk) -> Iterator[int]:
    """The port of a server that has this talk with the first client, then keeps quiet until the test ends."""
    done = threading.Event()

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                talk(connection)
                done.wait(5)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            done.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def ask(probe: Probe, port: int) -> Answer:
    target = Target(container_id="c1", endpoints={80: Endpoint("127.0.0.1", port)}, main_port=80)
    return probing.ask(probe, target, StubEngine())


def ask_server(probe: Probe, talk: Talk) -> Answer:
    with server(talk) as port:
        return ask(probe, port)


def say(*pieces: bytes, after: int = 0, close: bool = False) -> Talk:
    """Read so many bytes, then say these pieces one by one."""

    def talk(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        read = 0
        while read < after and (chunk := connection.recv(4096)):
            read += len(chunk)
        for piece in pieces:
            connection.sendall(piece)
            if piece is not pieces[-1]:
                threading.Event().wait(0.02)
        if close:
            connection.shutdown(socket.SHUT_RDWR)

    return talk


def reset(connection: socket.socket) -> None:
    """Close in the way that makes the other side see a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


quiet = say()
hang_up = say(close=True)


class StubEngine:
    """Answers what a test has put in."""

    def __init__(
        self, *, result: ExecResult | EngineError | None = None, shares_kernel: bool = True, table: str | None = None
    ) -> None:
        self.table = table
        self.shares_kernel = shares_kernel
        self.result = result
        self.asked: list[object] = []

    def facts(self) -> EngineFacts:
        return EngineFacts(name="", version="", address="", is_local=True, shares_kernel=self.shares_kernel)

    def read_connections(self, container_id: str) -> str | None:
        return self.table

    def run_command(self, container_id: str, argv: Sequence[str]) -> ExecResult:
        self.asked.append((container_id, argv))
        if isinstance(self.result, EngineError):
            raise self.result
        assert self.result is not None
        return self.result


# -- tcp --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, nor will."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.mark.parametrize("probe", [Tcp(), Tcp(expect="x"), Http()])
def test_a_refused_connection_is_not_ready(probe: Probe, closed_port: int) -> None:
    assert ask(probe, closed_port) == NotYet("connection refused")


@pytest.mark.usefixtures("impatience")
def test_a_server_that_waits_for_its_client_to_speak_is_ready() -> None:
    assert ask_server(Tcp(), quiet) == Ready()


def test_a_server_that_greets_is_ready() -> None:
    assert ask_server(Tcp(), say(b"220 mail\r\n")) == Ready()


def test_an_engines_proxy_that_accepts_and_hangs_up_is_not_ready() -> None:
    assert ask_server(Tcp(), hang_up) == NotYet("connection closed at once")


@pytest.mark.parametrize("probe", [Tcp(), Tcp(send=b"x", expect="x"), Http()])
def test_a_reset_connection_is_not_ready(probe: Probe) -> None:
    assert ask_server(probe, reset) in (NotYet("connection reset by peer"), NotYet("broken pipe"))


def test_the_greeting_that_is_expected_is_ready() -> None:
    assert ask_server(Tcp(expect="^220 "), say(b"220 mail\r\n")) == Ready()


def test_a_greeting_may_come_in_pieces() -> None:
    assert ask_server(Tcp(expect="mail$"), say(b"220 ", b"ma", b"il")) == Ready()


def test_what_is_expected_may_be_bytes_that_are_no_text() -> None:
    assert ask_server(Tcp(expect=r"\A\xff\x00"), say(b"\xff\x00")) == Ready()


def test_a_server_answers_what_is_sent() -> None:
    assert ask_server(Tcp(send=b"PING\r\n", expect=r"\+PONG"), say(b"+PONG\r\n", after=6)) == Ready()


@pytest.mark.usefixtures("impatience")
def test_what_is_sent_needs_no_answer_where_none_is_expected() -> None:
    assert ask_server(Tcp(send=b"PING\r\n"), quiet) == Ready()


def test_another_greeting_is_shown() -> None:
    answer = ask_server(Tcp(expect="^220 "), say(b"554 no\r\n", close=True))

    assert answer == NotYet(r"unexpected answer b'554 no\r\n'")


def test_another_greeting_is_shown_also_when_the_connection_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "_ANSWER_S", 0.5)

    assert ask_server(Tcp(expect="^220 "), say(b"554 no\r\n")) == NotYet(r"unexpected answer b'554 no\r\n'")


def test_a_long_answer_is_cut() -> None:
    answer = ask_server(Tcp(expect="z"), say(b"x" * 9000))

    assert answer == NotYet(f"unexpected answer {b'x' * 80!r}")


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("probe", [Tcp(expect="^220 "), Http(), POSTGRES, MARIADB], ids=["tcp", "http", "pg", "maria"])
def test_silence_is_no_answer(probe: Probe) -> None:
    assert ask_server(probe, quiet) == NotYet("no answer")


def test_hanging_up_is_not_what_was_expected() -> None:
    assert ask_server(Tcp(expect="^220 "), hang_up) == NotYet("connection closed without an answer")


@pytest.mark.usefixtures("impatience")
def test_another_port_than_the_main_one_may_be_asked(closed_port: int) -> None:
    with server(quiet) as port:
        endpoints = {80: Endpoint("127.0.0.1", closed_port), 81: Endpoint("127.0.0.1", port)}
        target = Target(container_id="c1", endpoints=endpoints, main_port=80)

        assert probing.ask(Tcp(port=81), target, StubEngine()) == Ready()


# -- http -------------------------------------------------------------------------------------------------------------


def http_answer(status: str) -> Talk:
    return say(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode(), after=1)


@pytest.mark.parametrize(
    ("wanted", "status", "answer"),
    [
        (None, "200 OK", Ready()),
        (None, "204 No Content", Ready()),
        (None, "302 Found", Ready()),
        (None, "399 Odd", Ready()),
        (None, "400 Bad Request", NotYet("status 400")),
        (None, "404 Not Found", NotYet("status 404")),
        (None, "503 Service Unavailable", NotYet("status 503")),
        (401, "401 Unauthorized", Ready()),
        (401, "200 OK", NotYet("status 200")),
        (503, "503 Service Unavailable", Ready()),
    ],
)
def test_a_status_is_judged(wanted: int | None, status: str, answer: Answer) -> None:
    assert ask_server(Http(status=wanted), http_answer(status)) == answer


@pytest.mark.parametrize("method", [None, "HEAD", "POST"])
def test_the_path_is_asked_for(method: str | None) -> None:
    heard: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        heard.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    ask_server(Http(path="/healthz?deep=1", method=method), talk)

    assert heard[0].startswith(f"{method or 'GET'} /healthz?deep=1 HTTP/1.1\r\n".encode())


@pytest.mark.parametrize(
    ("talk", "reason"),
    [
        pytest.param(hang_up, "connection closed without an answer", id="hangs up"),
        pytest.param(say(b"220 mail ESMTP\r\n"), "220 mail esmtp", id="speaks another protocol"),
        pytest.param(say(b"\x00\xff" * 9, close=True), "", id="speaks garbage"),
        pytest.param(say(b"HTTP/1.1 abc\r\n\r\n"), "http/1.1 abc", id="has no status"),
    ],
)
def test_what_is_no_answer_of_http_is_not_ready(talk: Talk, reason: str) -> None:
    answer = ask_server(Http(), talk)

    assert isinstance(answer, NotYet)
    assert answer.reason.strip().startswith(reason)


# -- command --------------------------------------------------------------------------------------------------


def ask_engine(probe: Probe, engine: StubEngine) -> Answer:
    return probing.ask(probe, Target(container_id="c1", endpoints={}, main_port=None), engine)


@pytest.mark.parametrize(
    ("result", "answer"),
    [
        (ExecResult(exit_code=0, stdout="", stderr="warning"), Ready()),
        (ExecResult(exit_code=1, stdout="", stderr=""), NotYet("exit code 1")),
        (ExecResult(exit_code=2, stdout="a\nb\n", stderr=""), NotYet("exit code 2: b")),
        (ExecResult(exit_code=2, stdout="a", stderr="c\nd\n\n"), NotYet("exit code 2: d")),
        (EngineError("no exec", found=["container is", "not running"]), NotYet("container is not running")),
        (EngineError("no exec", found="container is not running"), NotYet("container is not running")),
        (EngineError("no exec"), NotYet("no exec")),
    ],
)
def test_a_command_is_judged_by_its_end(result: ExecResult | EngineError, answer: Answer) -> None:
    engine = StubEngine(result=result)

    assert ask_engine(Command(argv=("pg_isready",)), engine) == answer
    assert engine.asked == [("c1", ("pg_isready",))]


def test_an_engine_that_is_gone_is_no_answer_of_the_service() -> None:
    with pytest.raises(EngineUnreachable):
        ask_engine(Command(argv=("x",)), StubEngine(result=EngineUnreachable("gone")))


# -- databases, by what their protocols say -------------------------------------------------------------------------


def postgres_error(code: str, text: str) -> bytes:
    """An ErrorResponse with the fields that PostgreSQL sends."""
    fields = f"SFATAL\0VFATAL\0C{code}\0M{text}\0Fpostmaster.c\0L2353\0RProcessStartupPacket\0\0".encode()
    return b"E" + (len(fields) + 4).to_bytes(4, "big") + fields


ASKS_FOR_PASSWORD = bytes.fromhex("520000002a0000000a") + b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"
STARTING = postgres_error("57P03", "the database system is starting up")
NO_ENTRY = postgres_error("28000", 'no pg_hba.conf entry for host "172.17.0.1", user "postgres"')
HANDSHAKE = bytes.fromhex("5f0000000a") + b"11.4.2-MariaDB-ubu2404\0" + bytes(60)
HOST_REFUSED = bytes.fromhex("45000001ff6a04") + b"Host '172.17.0.1' is not allowed to connect to this MariaDB server"
STARTUP_BYTES = 41
NOT_UP = NotYet(f"unexpected answer {STARTING[:80]!r}")


@pytest.mark.parametrize(
    ("talk", "answer"),
    [
        pytest.param(say(ASKS_FOR_PASSWORD, after=STARTUP_BYTES), Ready(), id="asks for a password"),
        pytest.param(say(b"R\0\0\0\x08\0\0\0\0", after=STARTUP_BYTES), Ready(), id="lets in"),
        pytest.param(say(NO_ENTRY, after=STARTUP_BYTES, close=True), Ready(), id="refuses this user"),
        pytest.param(say(STARTING, after=STARTUP_BYTES, close=True), NOT_UP, id="starts up"),
        pytest.param(say(STARTING[:9], STARTING[9:], after=STARTUP_BYTES, close=True), NOT_UP, id="says so in pieces"),
        pytest.param(say(NO_ENTRY[:9], NO_ENTRY[9:], after=STARTUP_BYTES), Ready(), id="refuses in pieces"),
        pytest.param(
            say(b"Ecould not fork new process\n\0", after=STARTUP_BYTES, close=True),
            NotYet(r"unexpected answer b'Ecould not fork new process\n\x00'"),
            id="cannot serve",
        ),
        pytest.param(hang_up, NotYet("connection closed without an answer"), id="hangs up"),
        pytest.param(say(b"HTTP/1.1 400", close=True), NotYet("unexpected answer b'HTTP/1.1 400'"), id="is another"),
    ],
)
def test_postgres_is_ready_when_it_would_talk_to_a_client(talk: Talk, answer: Answer) -> None:
    assert ask_server(POSTGRES, talk) == answer


def test_postgres_is_sent_a_start_up_packet_that_says_its_length() -> None:
    packet = POSTGRES.send

    assert len(packet) == int.from_bytes(packet[:4], "big") == STARTUP_BYTES
    assert packet[4:8] == b"\0\x03\0\0"
    assert packet[8:].split(b"\0") == [b"user", b"postgres", b"database", b"postgres", b"", b""]


@pytest.mark.parametrize(
    ("talk", "answer"),
    [
        pytest.param(say(HANDSHAKE), Ready(), id="greets"),
        pytest.param(say(HANDSHAKE[:3], HANDSHAKE[3:]), Ready(), id="greets in pieces"),
        pytest.param(
            say(HOST_REFUSED, close=True), NotYet(f"unexpected answer {HOST_REFUSED[:80]!r}"), id="refuses this host"
        ),
        pytest.param(hang_up, NotYet("connection closed without an answer"), id="hangs up"),
        pytest.param(say(b"garbage\n", close=True), NotYet(r"unexpected answer b'garbage\n'"), id="is another"),
    ],
)
def test_mariadb_is_ready_when_it_greets(talk: Talk, answer: Answer) -> None:
    assert ask_server(MARIADB, talk) == answer


# -- engines whose containers run on another kernel -----------------------------------------------------------------

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def listening(*addresses: str, state: str = "0A") -> ExecResult:
    """The kernel's table with a line for each local address, as it stands in /proc/net/tcp."""
    lines = [
        f"{number:4}: {address} {'0' * (len(address) - 5)}:0000 {state} 00000000:00000000 00:00000000 00000000     0"
        for number, address in enumerate(addresses)
    ]
    return ExecResult(exit_code=0, stdout=HEAD + "\n".join(lines) + "\n", stderr="")


def hang_up_late(connection: socket.socket) -> None:
    """As a forwarder does that has taken the connection, and is refused on the other side."""
    threading.Event().wait(0.3)
    connection.shutdown(socket.SHUT_RDWR)


def ask_elsewhere(talk: Talk, result: ExecResult | EngineError) -> Answer:
    with server(talk) as port:
        target = Target(container_id="c1", endpoints={80: Endpoint("127.0.0.1", port)}, main_port=80)
        return probing.ask(Tcp(), target, StubEngine(result=result, shares_kernel=False))


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize(
    ("result", "answer"),
    [
        (listening("00000000:0050"), Ready()),
        (listening("0200A8C0:0050"), Ready()),
        (listening("7F00A8C0:0050"), Ready()),
        (listening("00000000000000000000000000000000:0050"), Ready()),
        (listening("0100007F:0050", "00000000:0050"), Ready()),
        (listening("0100007F:0050"), NotYet("nothing listens on port 80 in the container")),
        (listening("0B00007F:0050"), NotYet("nothing listens on port 80 in the container")),
        (listening("00000000000000000000000001000000:0050"), NotYet("nothing listens on port 80 in the container")),
        (listening("0000000000000000FFFF00000100007F:0050"), NotYet("nothing listens on port 80 in the container")),
        (listening("00000000:0051"), NotYet("nothing listens on port 80 in the container")),
        (listening("00000000:0050", state="01"), NotYet("nothing listens on port 80 in the container")),
        (listening(), NotYet("nothing listens on port 80 in the container")),
    ],
)
def test_silence_of_a_forwarder_counts_when_the_container_listens(result: ExecResult, answer: Answer) -> None:
    assert ask_elsewhere(quiet, result) == answer


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize(
    "result", [EngineError("no cat"), ExecResult(exit_code=127, stdout="", stderr="cat: not found")], ids=["no", "none"]
)
def test_where_that_cannot_be_seen_silence_lasts_longer(result: ExecResult | EngineError) -> None:
    assert ask_elsewhere(hang_up_late, result) == NotYet("connection closed at once")
    assert ask_elsewhere(quiet, result) == Ready()


@pytest.mark.usefixtures("impatience")
def test_a_server_that_greets_behind_a_forwarder_is_ready_at_once() -> None:
    assert ask_elsewhere(say(b"220 mail\r\n"), EngineError("not asked")) == Ready()


@pytest.mark.usefixtures("impatience")
def test_an_engine_of_this_host_is_not_asked() -> None:
    engine = StubEngine(result=listening())
    with server(quiet) as port:
        target = Target(container_id="c1", endpoints={80: Endpoint("127.0.0.1", port)}, main_port=80)
        assert probing.ask(Tcp(), target, engine) == Ready()
    assert engine.asked == []


def test_silence_lasts_as_long_as_the_way_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host so far away that its hanging up comes later than the silence which is enough nearby."""
    connect = socket.create_connection

    def connect_slowly(*args: object, **options: object) -> socket.socket:
        threading.Event().wait(0.15)
        return connect(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(probing, "_SILENCE_S", 0.1)
    monkeypatch.setattr(socket, "create_connection", connect_slowly)

    assert ask_server(Tcp(), hang_up_late) == NotYet("connection closed at once")
