"""HTTP to an engine: whatever comes over the wire is an answer or an error of ours, and nothing stays open."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import wait_for

from pytest_isolate.engine.connect import connect
from pytest_isolate.engine.docker.engine import DockerEngine
from pytest_isolate.engine.docker.transport.client import Http, open_http
from pytest_isolate.errors import EngineError, EngineUnreachable, ObjectNotFound
from unit.scripted import VERSION, Scripted, answer, chunked

MOST = 1 << 20
WHAT = "it could not be done"
QUICK = settings(max_examples=60, deadline=None)
DEATHS = [{"Actor": {"ID": f"id{n}", "Attributes": {"a": "b", "exitCode": str(n)}}} for n in range(3)]


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted() as server:
        yield server


def ask(says: bytes) -> Any:
    with Scripted(says) as server:
        return Http(server.address).ask(WHAT, "GET", "/x").json()


# -- requests -----------------------------------------------------------------------------------------------------


def test_what_is_asked_reaches_the_engine(server: Scripted) -> None:
    server.says = answer(b"{}")

    Http(server.address).ask(WHAT, "POST", "/x", query={"a": "b c", "n": 1}, body={"key": "value"})

    assert server.asked == ["GET /version HTTP/1.1", "POST /v1.41/x?a=b+c&n=1 HTTP/1.1"]
    assert json.loads(server.bodies[-1]) == {"key": "value"}


def test_the_version_is_asked_once_and_the_oldest_that_has_everything_is_spoken(server: Scripted) -> None:
    server.version, server.says = answer(VERSION.replace(b"1.24", b"1.44")), answer(b"[]")
    client = Http(server.address)

    for _ in range(2):
        client.ask(WHAT, "GET", "/x")

    assert [line.split()[1] for line in server.asked] == ["/version", "/v1.44/x", "/v1.44/x"]


@pytest.mark.parametrize("chunks", [(b"[1, 2]",), (b"[1", b", 2", b"]")])
def test_answer_in_chunks_is_put_together(chunks: tuple[bytes, ...]) -> None:
    assert ask(chunked(*chunks)) == [1, 2]


def test_answer_without_a_length_ends_with_its_connection(server: Scripted) -> None:
    server.says = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\nraw"
    assert Http(server.address).ask(WHAT, "POST", "/x", timeout_s=None).content == b"raw"


def test_nothing_is_no_json(server: Scripted) -> None:
    server.says = b"HTTP/1.1 304 Not Modified\r\n\r\n"
    assert Http(server.address).ask(WHAT, "POST", "/x").content == b""


@pytest.mark.parametrize(
    ("status", "body", "expected", "found"),
    [
        ("404 Not Found", b'{"message": "no such thing"}', ObjectNotFound, "no such thing"),
        ("500 Oh", b'{"message": "it is stuck"}', EngineError, "it is stuck"),
        ("500 Oh", b"plain words\n", EngineError, "plain words"),
        ("403 Oh", b"\xff\xfe", EngineError, ""),
        ("400 Oh", b"[1]", EngineError, "[1]"),
    ],
)
def test_refusal_says_why(status: str, body: bytes, expected: type[EngineError], found: str) -> None:
    with pytest.raises(EngineError) as caught:
        ask(answer(body, status))

    assert type(caught.value) is expected
    assert str(caught.value).startswith(WHAT)
    assert found in str(caught.value)


@pytest.mark.unix
def test_refusal_of_what_is_still_being_sent_says_why(tmp_path: Path) -> None:
    """An engine need not read an archive to its end to know that it does not want it."""
    refusal = answer(b'{"message": "no such container"}', "404 X")
    with Scripted(refusal, path=tmp_path / "s", reads_bodies=False) as server, pytest.raises(ObjectNotFound) as caught:
        Http(server.address).ask(WHAT, "PUT", "/x", archive=b"x" * 5_000_000)

    assert "no such container" in str(caught.value)


# -- what is no answer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "complete", [answer(b'{"a": [1, 2]}'), chunked(b'{"a"', b": [1, 2]}")], ids=["length", "chunks"]
)
def test_answer_that_is_cut_anywhere_is_none(complete: bytes) -> None:
    with Scripted() as server:
        client = Http(server.address)
        # A client that has read the last chunk's length waits for no more than that.
        for end in range(len(complete) - 4):
            server.says = complete[:end]
            with pytest.raises(EngineUnreachable) as caught:
                client.ask(WHAT, "GET", "/x").json()
            assert str(caught.value).startswith(f"{WHAT}\n  tried  {server.address}\n  found  ")


@pytest.mark.parametrize("complete", [answer(b"x" * 50), chunked(b"x" * 20, b"x" * 30)], ids=["length", "chunks"])
def test_answer_is_saved_as_a_whole_or_it_is_an_error(complete: bytes, tmp_path: Path, server: Scripted) -> None:
    client, file = Http(server.address), tmp_path / "saved"
    server.says = complete
    assert client.save(WHAT, "/x", {}, file, 50)
    assert file.read_bytes() == b"x" * 50
    assert not client.save(WHAT, "/x", {}, file, 49)

    for cut in (49, 10):
        server.says = complete[: len(complete) - cut]
        with pytest.raises(EngineUnreachable, match=WHAT):
            client.save(WHAT, "/x", {}, file, MOST)


def test_answer_that_is_refused_is_not_saved(tmp_path: Path, server: Scripted) -> None:
    server.says = answer(b'{"message": "no such file"}', "404 Not Found")
    with pytest.raises(ObjectNotFound, match="no such file"):
        Http(server.address).save(WHAT, "/x", {}, tmp_path / "saved", MOST)
    assert not (tmp_path / "saved").exists()


@QUICK
@given(
    st.binary(max_size=200)
    | st.binary(max_size=80).map(lambda garbage: b"HTTP/1.1 200 OK\r\n" + garbage)
    | st.binary(max_size=60).map(lambda garbage: chunked().removesuffix(b"0\r\n\r\n") + garbage)
)
def test_garbage_is_an_error_of_ours(says: bytes) -> None:
    told = WHAT
    try:
        ask(says)
    except EngineError as error:
        told = str(error)
    assert told.startswith(WHAT)


@pytest.mark.parametrize(
    "version",
    [
        b"SSH-2.0-OpenSSH\r\n",
        answer(b"<html>"),
        answer(b"[]"),
        answer(b"{}"),
        answer(b"\xff"),
        answer(b"not here", "404 Not Found"),
        b"",
    ],
)
def test_server_that_is_no_engine_is_told_as_such(version: bytes) -> None:
    with Scripted(version=version) as server:
        with pytest.raises(EngineUnreachable) as caught:
            open_http({"DOCKER_HOST": server.address})
        assert f"{server.address} (DOCKER_HOST): " in str(caught.value)
        with pytest.raises(EngineError, match=WHAT):
            Http(server.address).ask(WHAT, "GET", "/x")


def test_engine_of_windows_containers_is_refused_with_the_way_out() -> None:
    version = answer(VERSION.replace(b"{", b'{"Os": "windows", '))
    with Scripted(version=version) as server, pytest.raises(EngineUnreachable) as refused:
        open_http({"DOCKER_HOST": server.address})

    (tried,) = refused.value.tried
    assert "it runs containers of Windows" in tried
    assert "switch Docker Desktop to Linux containers" in tried


def test_silent_engine_is_unreachable_after_the_time_out(server: Scripted) -> None:
    server.stays_open.clear()
    with pytest.raises(EngineUnreachable, match="timed out"):
        Http(server.address).ask(WHAT, "GET", "/x", timeout_s=0.05)


@pytest.mark.unix
@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_address_where_nobody_listens_is_named(tmp_path: Path, kind: str) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = f"unix://{tmp_path}/s" if kind == "unix" else f"tcp://127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(EngineUnreachable) as caught:
            Http(address).ask(WHAT, "GET", "/x")
    reason = "No such file or directory" if kind == "unix" else "Connection refused"
    assert str(caught.value).splitlines()[:3] == [
        WHAT,
        f"  tried  {address}",
        f"  found  the engine does not answer (any more): {reason}",
    ]


# -- streams ------------------------------------------------------------------------------------------------------


def watch(server: Scripted, *events: Any, tail: bytes = b"") -> Any:
    """The deaths in a stream that says these events, in chunks that end anywhere, and stays open."""
    text = b"".join(json.dumps(event).encode() + b"\n" for event in events) + tail
    server.says = chunked(*(text[n : n + 7] for n in range(0, len(text), 7))).removesuffix(b"0\r\n\r\n")
    server.stays_open.clear()
    return DockerEngine(Http(server.address)).watch({"a": "b"})


def in_thread(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_events_are_told_in_order_whereever_their_chunks_end(server: Scripted) -> None:
    stream = watch(server, *DEATHS)
    exit_watcher = iter(stream)

    assert [(next(exit_watcher).container_id, n) for n in range(3)] == [("id0", 0), ("id1", 1), ("id2", 2)]
    stream.close()
    assert list(exit_watcher) == []


def test_stream_goes_on_where_it_was_left(server: Scripted) -> None:
    stream = watch(server, *DEATHS)

    assert [next(iter(stream)).exit_code for _ in range(3)] == [0, 1, 2]
    stream.close()


def test_idle_stream_that_is_closed_ends_at_once_in_the_thread_that_reads_it(server: Scripted) -> None:
    stream = watch(server, DEATHS[0])
    heard: list[Any] = []
    thread = in_thread(lambda: [heard.append(event) for event in stream])
    wait_for(lambda: heard)  # it waits for the next one by now

    stream.close()
    thread.join(60)

    assert not server.stays_open.is_set(), "the server has said nothing of an end"
    assert not thread.is_alive()
    assert len(heard) == 1


@pytest.mark.parametrize("times", [1, 2])
def test_stream_that_is_closed_before_it_is_read_is_empty(server: Scripted, times: int) -> None:
    stream = watch(server, *DEATHS)
    for _ in range(times):
        stream.close()
    assert list(stream) == []


@pytest.mark.parametrize("tail", [b"", b'{"Actor": {"ID', b'{"Actor": {"ID": "x"}}', b"garbage\n", b"\xff\n", b"\n"])
def test_stream_that_breaks_is_an_error_that_names_the_address(server: Scripted, tail: bytes) -> None:
    stream = watch(server, DEATHS[1], tail=tail)
    server.stays_open.set()
    exit_watcher = iter(stream)
    assert next(exit_watcher).exit_code == 1

    with pytest.raises(EngineUnreachable) as caught:
        next(exit_watcher)

    assert str(caught.value).startswith("the engine's event stream broke")
    assert server.address in str(caught.value)
    stream.close()


def test_stream_that_is_refused_says_why(server: Scripted) -> None:
    server.says = answer(b'{"message": "invalid filter"}', "400 Bad Request")
    with pytest.raises(EngineError, match="invalid filter"):
        DockerEngine(Http(server.address)).watch({})


# -- certificates, cost -------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_certificates_are_shown_and_checked(tmp_path: Path) -> None:
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=DNS:localhost"], cwd=tmp_path, check=True, capture_output=True
    )
    shutil.copy(tmp_path / "cert.pem", tmp_path / "ca.pem")
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.pem"))
    theirs.verify_mode = ssl.CERT_REQUIRED
    theirs.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    def serve(listener: socket.socket) -> None:
        with theirs.wrap_socket(listener.accept()[0], server_side=True) as client:
            client.recv(4096)
            client.sendall(answer(VERSION))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = in_thread(lambda: serve(listener))
        address = f"tcp://localhost:{listener.getsockname()[1]}"
        env = {"DOCKER_HOST": address, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
        engine = connect(env)
        assert engine.facts().version == "27.0"
        engine.close()
        thread.join()


def test_certificates_that_are_not_there_are_told(tmp_path: Path, server: Scripted) -> None:
    env = {"DOCKER_HOST": server.address, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
    with pytest.raises(EngineUnreachable, match="No such file or directory"):
        open_http(env)


def test_the_docker_sdk_is_not_imported_to_talk_to_an_engine(server: Scripted) -> None:
    server.says = answer(b"[]")
    code = f"""
import sys
from pytest_isolate.engine.connect import connect
assert connect({{"DOCKER_HOST": {server.address!r}}}).list_networks({{}}) == []
print([name for name in ("docker", "requests", "urllib3") if name in sys.modules])
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == "[]\n"
