"""Commands in containers, through an API server on a socket."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from waiting import wait_for

from pytest_isolate.engine.kubernetes.cluster_client import ApiError, ClusterClient
from pytest_isolate.engine.kubernetes.kube_config import Cluster
from pytest_isolate.engine.kubernetes.transport import exec_stream
from pytest_isolate.engine.kubernetes.transport.exec_stream import ExecStream
from pytest_isolate.errors import EngineError, EngineUnreachable

from .served import Answer, Certificates, Request, Served, ServedSocket, answer, refusal

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
SUCCESS = {"status": "Success", "metadata": {}}
Command = Callable[[ServedSocket], None]


def failure(message: str, code: int | None = None) -> dict[str, Any]:
    if code is None:
        return {"status": "Failure", "reason": "InternalError", "code": 500, "message": message}
    details = {"causes": [{"reason": "ExitCode", "message": str(code)}]}
    return {"status": "Failure", "reason": "NonZeroExitCode", "message": message, "details": details}


def say(line: ServedSocket, status: dict[str, Any]) -> None:
    line.send(b"\x03" + json.dumps(status).encode())
    line.close()
    while line.receive() is not None:
        pass  # the client ends the connection


@contextmanager
def running(
    command: Command, protocol: str | None = V5, certificates: Certificates | None = None, piece_bytes: int = 0
) -> Iterator[tuple[ClusterClient, Served]]:
    def serve(request: Request) -> None:
        command(ServedSocket(request, protocol, piece_bytes))

    with Served(lambda _: serve, certificates.server_trust() if certificates else None) as server:
        authority = certificates.text("ca.pem") if certificates else ""
        client = ClusterClient(Cluster(server=server.address, namespace="team", authority=authority, token="t"), {})
        with closing(client):
            yield client, server
    assert server.failures == []


def run(client: ClusterClient, *argv: str, stdin: bool = True) -> tuple[int, bytes, bytes]:
    with closing(client.open_exec("pod", "main", argv or ("cat",), stdin=stdin)) as stream:
        output = {1: bytearray(), 2: bytearray()}
        while piece := stream.receive(20):
            output[piece[0]] += piece[1]
        return stream.exit_code(), bytes(output[1]), bytes(output[2])


def cat_in(client: ClusterClient) -> closing[ExecStream]:
    return closing(client.open_exec("pod", "main", ["cat"], stdin=True))


def test_a_command_is_asked_for_word_by_word() -> None:
    with running(lambda line: say(line, SUCCESS)) as (client, server):
        assert run(client, "sh", "-c", "echo a&b=c; echo ä") == (0, b"", b"")
        with closing(client.open_attach("pod", "main", stdin=False)) as stream:
            assert stream.receive(20) is None
    first, second = (urlsplit(request.target) for request in server.requests)
    assert first.path == "/api/v1/namespaces/team/pods/pod/exec"
    words = [("container", "main"), ("command", "sh"), ("command", "-c"), ("command", "echo a&b=c; echo ä")]
    assert parse_qsl(first.query) == [*words, ("stderr", "true"), ("stdin", "true"), ("stdout", "true")]
    assert second.path == "/api/v1/namespaces/team/pods/pod/attach"
    assert parse_qsl(second.query) == [("container", "main"), ("stderr", "true"), ("stdout", "true")]
    assert server.requests[0].headers["authorization"] == "Bearer t"
    assert server.requests[0].headers["sec-websocket-protocol"] == f"{V5}, {V4}"


@pytest.mark.parametrize("piece_bytes", [1, 7, 0])
def test_output_of_both_streams_is_told_apart_wherever_it_is_cut(piece_bytes: int, certificates: Certificates) -> None:
    def command(line: ServedSocket) -> None:
        for channel in (1, 2, 3):
            line.send(bytes([channel]))  # servers open them so
        line.send(b"\x01out")
        line.send(b"\x02er", is_final=False)
        line.send(b"ping in between", 9)
        line.send(b"r", 0)
        line.send(b"\x01" + b"x" * 70_000)
        say(line, SUCCESS)

    with running(command, certificates=certificates, piece_bytes=piece_bytes) as (client, _):
        assert run(client) == (0, b"out" + b"x" * 70_000, b"err")


def test_input_reaches_the_command_whole_and_is_ended(certificates: Certificates) -> None:
    content = os.urandom(3_000_000)

    def cat(line: ServedSocket) -> None:
        received = bytearray()
        while (message := line.receive()) != b"\xff\x00":
            assert message is not None
            assert message[0] == 0
            assert len(message) <= 32_769
            received += message[1:]
        line.send(b"\x01" + bytes(received))
        say(line, SUCCESS)

    with running(cat, certificates=certificates) as (client, _), cat_in(client) as stream:
        stream.send(content)
        stream.send(b"")
        stream.close_input()
        heard = stream.receive(20)
        assert stream.receive(20) is None
    assert heard == (1, content)


def test_an_older_server_is_spoken_to_but_its_input_cannot_be_ended() -> None:
    def command(line: ServedSocket) -> None:
        line.send(b"\x01" + (line.receive() or b"")[1:])
        say(line, SUCCESS)

    with running(command, V4) as (client, _), cat_in(client) as stream:
        with pytest.raises(EngineError, match=r"1\.30"):
            stream.close_input()
        stream.send(b"hello")
        assert stream.receive(20) == (1, b"hello")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (SUCCESS, 0),
        (failure("command terminated with non-zero exit code", 3), 3),
        (failure("command terminated with exit code 137", 137), 137),
        (failure('exec: "nope": executable file not found in $PATH: unknown'), 127),
        (failure('OCI runtime exec failed: exec: "/x": stat /x: no such file or directory: unknown'), 127),
        (failure('OCI runtime exec failed: exec: "/etc/passwd": permission denied: unknown'), 126),
    ],
)
def test_the_exit_code_is_that_of_a_shell(status: dict[str, Any], code: int) -> None:
    with running(lambda line: say(line, status)) as (client, _):
        assert run(client)[0] == code


def test_what_is_no_exit_code_is_told_in_the_words_of_the_node() -> None:
    status = failure("error from CRI: no running task found")
    with running(lambda line: say(line, status)) as (client, _), pytest.raises(ApiError, match="no running task found"):
        run(client)


def test_a_server_that_keeps_the_line_open_behind_the_status_is_not_waited_for(monkeypatch: Any) -> None:
    monkeypatch.setattr(exec_stream, "_ENDS_WITHIN_S", 0.1)

    def command(line: ServedSocket) -> None:
        line.send(b"\x03" + json.dumps(SUCCESS).encode())
        line.send(b"\x01late")
        assert line.receive() is None

    with running(command) as (client, _):
        assert run(client) == (0, b"late", b"")


def test_output_that_comes_late_behind_the_status_is_not_lost(monkeypatch: Any) -> None:
    """Servers copy the streams side by side."""
    monkeypatch.setattr(exec_stream, "_ENDS_WITHIN_S", 0.2)

    def command(line: ServedSocket) -> None:
        line.send(b"\x03" + json.dumps(SUCCESS).encode())
        for _ in range(10):
            threading.Event().wait(0.05)
            line.send(b"\x01x")
        line.close()

    with running(command) as (client, _):
        assert run(client) == (0, b"x" * 10, b"")


@pytest.mark.parametrize("is_closed", [True, False], ids=["with a code", "without a word"])
def test_a_line_that_breaks_is_no_end(is_closed: bool) -> None:
    def command(line: ServedSocket) -> None:
        line.send(b"\x01some")
        if is_closed:
            line.close(1011, b"the node is gone")

    with running(command) as (client, _), cat_in(client) as stream:
        assert stream.receive(20) == (1, b"some")
        with pytest.raises(EngineUnreachable, match="node is gone" if is_closed else "ended the connection"):
            stream.receive(20)
        with pytest.raises(EngineUnreachable):
            stream.exit_code()
        with pytest.raises(EngineUnreachable):
            stream.send(b"x" * 10_000_000)


def test_silence_has_a_bound_and_close_ends_a_wait() -> None:
    ended = threading.Event()

    def command(line: ServedSocket) -> None:
        assert line.receive() is None
        ended.set()

    with running(command) as (client, _):
        stream = client.open_exec("pod", "main", ["cat"], stdin=True)
        with pytest.raises(EngineError, match=r"within 0\.1 s"):
            stream.receive(0.1)
        heard: list[Any] = []
        waiting = threading.Thread(target=lambda: heard.append(stream.receive(None)))
        waiting.start()
        stream.close()
        stream.close()
        waiting.join(10)
        assert heard == [None]
        assert ended.wait(10), "and the command's input has ended"


def test_output_that_is_not_taken_makes_the_command_wait() -> None:
    sent = [0]

    def pour(line: ServedSocket) -> None:
        for _ in range(1000):
            line.send(b"\x01" + bytes(100_000))
            sent[0] += 100_000
        say(line, SUCCESS)

    with running(pour) as (client, _), cat_in(client) as stream:
        assert stream.receive(20)
        last = -1
        while last != sent[0]:
            last = sent[0]
            threading.Event().wait(0.3)
        assert sent[0] < 50_000_000
        size = 100_000
        while piece := stream.receive(20):
            size += len(piece[1])
        assert size == 100_000_000
        assert stream.exit_code() == 0


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (refusal(403, "Forbidden", 'User "ci" cannot create resource "pods/exec"'), "kubernetes role"),
        (refusal(404, "NotFound", 'pods "pod" not found'), "not found"),
        (answer(b"container not found", 400), "container not found"),
        (b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\nno end", "no end"),
        (b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbusy\r\n0\r\n\r\n", "busy"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "SSH-2.0"),
        (b"", "without an answer"),
    ],
)
def test_a_refusal_says_why(said: Answer, words: str) -> None:
    def say_and_end(request: Request) -> None:
        assert isinstance(said, bytes)
        request.sock.sendall(said)

    with Served(lambda _: say_and_end) as server:
        client = ClusterClient(Cluster(server=server.address), {})
        with pytest.raises(EngineError, match=words):
            client.open_exec("pod", "main", ["cat"], stdin=True)
        client.close()


def test_a_busy_server_is_asked_again() -> None:
    answers: list[Answer] = [refusal(429, "TooManyRequests", "later", Retry_After="0")]

    def serve(request: Request) -> None:
        say(ServedSocket(request, V5), SUCCESS)

    with Served(lambda _: answers.pop() if answers else serve) as server:
        client = ClusterClient(Cluster(server=server.address), {})
        assert run(client)[0] == 0
        client.close()


def test_forty_commands_at_once_take_one_thread() -> None:
    def command(line: ServedSocket) -> None:
        line.send(b"\x01" + (line.receive() or b"")[1:])
        say(line, SUCCESS)

    with running(command) as (client, _):
        streams = [client.open_exec("pod", "main", ["cat"], stdin=True) for _ in range(40)]
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("isolate-lines") == 1
        for number, stream in enumerate(streams):
            stream.send(b"%d" % number)
        assert [stream.receive(20) for stream in streams] == [(1, b"%d" % number) for number in range(40)]
        client.close()
    wait_for(lambda: all(thread.name != "isolate-lines" for thread in threading.enumerate()))


def test_lines_that_are_open_end_with_the_client() -> None:
    with running(lambda line: line.receive() and None) as (client, _):
        stream = client.open_exec("pod", "main", ["cat"], stdin=True)
        client.close()
        with pytest.raises(EngineError):
            _ = stream.receive(5) or stream.exit_code()
        with pytest.raises(EngineError):
            stream.send(b"x")
        stream.close()
