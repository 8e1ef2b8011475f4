"""Requests to an API server: on real sockets, with and without TLS."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest
from waiting import wait_for

from pytest_isolate.engine.kubernetes.api_errors import ConnectionBroken, ObjectMissing
from pytest_isolate.engine.kubernetes.cluster_client import ApiError, ClusterClient
from pytest_isolate.engine.kubernetes.kube_config import Cluster
from pytest_isolate.errors import EngineError, EngineUnreachable, ObjectNotFound

from .served import Answer, Certificates, Request, Served, answer, read_exactly, refusal

PODS = "/api/v1/namespaces/team/pods"


@contextmanager
def asking(says: Callable[[Request], Answer] | bytes, **more: Any) -> Iterator[tuple[ClusterClient, Served]]:
    with Served(says if callable(says) else lambda _: says) as server:
        client = ClusterClient(Cluster(server=server.address, namespace="team", **more), {})
        with closing(client):
            yield client, server
    assert server.failures == []


def scripted(*answers: Answer) -> Callable[[Request], Answer]:
    """Each answer once, and the last one again and again."""
    waiting = list(answers)
    lock = threading.Lock()

    def say(_: Request) -> Answer:
        with lock:
            return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    return say


# -- requests ----------------------------------------------------------------------------------------------------------


def test_each_request_reaches_the_server_as_it_was_asked() -> None:
    with asking(answer({"metadata": {"name": "a"}}), token="secret") as (client, server):
        client.get(PODS, {"labelSelector": "a=b,c"})
        client.create(PODS, {"metadata": {"name": "a"}})
        client.replace(f"{PODS}/a", {"spec": 1})
        client.patch(f"{PODS}/a", {"spec": None})
        client.delete(f"{PODS}/a", {"gracePeriodSeconds": 0})
        client.delete(PODS, query={"labelSelector": "a=b"})

    assert server.asked == [
        f"GET {PODS}?labelSelector=a%3Db%2Cc",
        f"POST {PODS}",
        f"PUT {PODS}/a",
        f"PATCH {PODS}/a",
        f"DELETE {PODS}/a",
        f"DELETE {PODS}?labelSelector=a%3Db",
    ]
    assert [request.headers.get("content-type") for request in server.requests] == [
        None,
        "application/json",
        "application/json",
        "application/merge-patch+json",
        "application/json",
        None,
    ]
    assert json.loads(server.requests[4].body) == {"gracePeriodSeconds": 0}
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer secret"}
    assert {request.headers["host"] for request in server.requests} == {f"127.0.0.1:{server.port}"}


def test_requests_in_turn_share_a_connection() -> None:
    with asking(answer({})) as (client, server):
        for _ in range(20):
            client.get(PODS)
    assert server.connections == 1


def test_requests_at_once_from_many_threads_are_not_mixed_up() -> None:
    def say(request: Request) -> Answer:
        return answer({"asked": request.target})

    with asking(say) as (client, server):
        found: dict[int, Any] = {}

        def ask(number: int) -> None:
            for turn in range(20):
                path = f"/api/v1/{number}/{turn}"
                assert client.get(path) == {"asked": path}
            found[number] = True

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(found) == 12
        assert server.connections < 100, "connections are used again"


def test_the_path_of_a_server_behind_a_gateway_is_kept() -> None:
    with Served(lambda _: answer({"major": "1", "minor": "31+"})) as server:
        client = ClusterClient(Cluster(server=f"{server.address}/k8s/clusters/c-1"), {})
        assert client.server_version() == (1, 31)
        assert client.server_version() == (1, 31)
        client.close()
    assert server.asked == ["GET /k8s/clusters/c-1/version"]


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_a_refusal_keeps_the_words_of_the_server_whole() -> None:
    words = (
        'pods "a" is forbidden: violates PodSecurity "restricted:latest": ' + "allowPrivilegeEscalation != false, " * 40
    )
    with asking(refusal(403, "Forbidden", words)) as (client, _), pytest.raises(ApiError) as caught:
        client.create(PODS, {"metadata": {"name": "a"}})
    assert (caught.value.status, caught.value.reason, caught.value.message) == (403, "Forbidden", words)
    assert str(caught.value) == (
        f"the API server refused to create pods in namespace 'team'\n  found  403 Forbidden: {words}".rstrip()
    )


def test_a_missing_right_is_answered_with_the_command_that_prints_the_role() -> None:
    words = 'pods is forbidden: User "ci" cannot create resource "pods" in API group "" in the namespace "team"'
    with asking(refusal(403, "Forbidden", words)) as (client, _), pytest.raises(ApiError, match="kubernetes role"):
        client.create(PODS, {})


def test_an_object_that_is_not_there_is_told_apart_and_may_be_deleted() -> None:
    with asking(refusal(404, "NotFound", 'pods "a" not found')) as (client, _):
        with pytest.raises(ObjectNotFound) as caught:
            client.get(f"{PODS}/a")
        assert isinstance(caught.value, ObjectMissing)
        client.delete(f"{PODS}/a")


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", b"", b"[1]", b'{"kind": "Pod"}', b"\xff\xfe"])
def test_what_a_load_balancer_answers_is_an_error_too(body: bytes) -> None:
    with asking(answer(body, 502)) as (client, _), pytest.raises(ApiError) as caught:
        client.get(PODS)
    assert caught.value.status == 502


@pytest.mark.parametrize("body", [b"hello", b"[]", b""])
def test_an_answer_of_another_server_is_an_error(body: bytes) -> None:
    with asking(answer(body)) as (client, _), pytest.raises(EngineUnreachable, match="no API server"):
        client.get(PODS)


def test_a_server_that_is_not_there_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(EngineUnreachable, match=f"127.0.0.1:{port}"):
        ClusterClient(Cluster(server=f"http://127.0.0.1:{port}"), {}).get("/version")
    assert time.monotonic() - began < 5


# -- waiting and repeating ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_too_many_requests_are_waited_out_as_long_as_the_server_asks(method: str) -> None:
    busy = refusal(429, "TooManyRequests", "storage is (re)initializing", Retry_After="1")
    with asking(scripted(busy, answer({"ok": 1}))) as (client, server):
        began = time.monotonic()
        found = client.get(PODS) if method == "GET" else client.create(PODS, {})
        assert found == {"ok": 1}
        assert time.monotonic() - began >= 1
    assert len(server.requests) == 2


def test_the_wait_has_a_bound() -> None:
    busy = refusal(429, "TooManyRequests", "come back tomorrow", Retry_After="86400")
    with asking(busy) as (client, server), pytest.raises(ApiError, match="come back tomorrow"):
        client.get(PODS)
    assert len(server.requests) == 1


def test_a_wait_ends_when_the_client_is_closed() -> None:
    busy = refusal(429, "TooManyRequests", "not now", Retry_After="30")
    with asking(busy) as (client, server):
        caught: list[BaseException] = []

        def ask() -> None:
            try:
                client.get(PODS)
            except ApiError as error:
                caught.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        wait_for(lambda: server.requests)
        client.close()
        thread.join(5)
        assert len(caught) == 1


def test_a_server_that_is_only_just_up_is_asked_again_when_it_says_so() -> None:
    with asking(scripted(refusal(503, "", "starting", Retry_After="0"), answer({"ok": 1}))) as (client, _):
        assert client.create(PODS, {}) == {"ok": 1}
    with asking(refusal(503, "", "broken")) as (client, server), pytest.raises(ApiError, match="broken"):
        client.create(PODS, {})
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("AlreadyExists", 'object is being deleted: pods "a" already exists'),
        ("Conflict", 'Operation cannot be fulfilled on resourcequotas "q": the object has been modified'),
    ],
)
def test_a_conflict_that_passes_is_waited_out(reason: str, words: str) -> None:
    with asking(scripted(refusal(409, reason, words), answer({"ok": 1}))) as (client, _):
        assert client.create(PODS, {}) == {"ok": 1}


def test_a_conflict_that_stays_is_told_at_once() -> None:
    said = refusal(409, "AlreadyExists", 'pods "a" already exists')
    with asking(said) as (client, server), pytest.raises(ApiError) as caught:
        client.create(PODS, {"metadata": {"name": "a"}})
    assert caught.value.status == 409
    assert len(server.requests) == 1


def test_a_conflict_of_a_replacement_is_its_callers() -> None:
    said = refusal(409, "Conflict", "the object has been modified")
    with asking(said) as (client, server), pytest.raises(ApiError, match="modified"):
        client.replace(f"{PODS}/a", {})
    assert len(server.requests) == 1


def test_a_kept_connection_that_was_closed_meanwhile_is_no_error() -> None:
    """The end comes with the request itself: what came before is seen."""

    def say(request: Request) -> Answer:
        first_of_connection = sum(other.number == request.number for other in server.requests) == 1
        return answer({"ok": request.number}) if first_of_connection else b""

    with asking(say) as (client, server):
        assert [client.get(PODS)["ok"] for _ in range(4)] == [1, 2, 3, 4]


def test_what_was_made_before_the_answer_was_lost_is_found() -> None:
    said = scripted(
        answer({}), b"", refusal(409, "AlreadyExists", 'pods "a" already exists'), answer({"metadata": {"uid": "1"}})
    )
    with asking(said) as (client, server):
        client.get("/version")
        assert client.create(PODS, {"metadata": {"name": "a"}}) == {"metadata": {"uid": "1"}}
    assert server.asked[1:] == [f"POST {PODS}", f"POST {PODS}", f"GET {PODS}/a"]


def test_a_server_that_restarts_is_waited_for_once_it_has_answered() -> None:
    with asking(answer({"ok": 1})) as (client, server):
        client.get(PODS)
        server.close()
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(client.create(PODS, {})))
        thread.start()
        time.sleep(0.3)  # it has tried by then, and is not done
        assert found == []
        again = socket.create_server(("127.0.0.1", server.port))
        with again, again.accept()[0] as sock:
            head = b""
            while b"\r\n\r\n{}" not in head:
                head += sock.recv(1000)
            sock.sendall(answer({"ok": 2}))
            thread.join(20)
    assert found == [{"ok": 2}]


def test_an_answer_that_comes_byte_by_byte_is_read() -> None:
    def drip(request: Request) -> None:
        body = json.dumps({"long": "x" * 300}).encode()
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[n : n + 50]), body[n : n + 50]) for n in range(0, len(body), 50))
        for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n":
            request.sock.sendall(bytes([byte]))

    with asking(lambda _: drip) as (client, _):
        assert client.get(PODS) == {"long": "x" * 300}


def test_an_answer_that_is_cut_off_is_an_error() -> None:
    def cut(request: Request) -> None:
        request.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")

    with asking(lambda _: cut) as (client, _), pytest.raises(ConnectionBroken):
        client.get(PODS)


# -- logs --------------------------------------------------------------------------------------------------------------


def chunked(request: Request, *pieces: bytes) -> None:
    request.sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for piece in pieces:
        request.sock.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))


def test_a_log_is_read_as_it_comes_and_closed_from_another_thread(certificates: Certificates) -> None:
    more = threading.Event()

    def follow(request: Request) -> None:
        chunked(request, b"one\n")
        assert more.wait(20)
        request.sock.sendall(b"4\r\ntwo\n\r\n")
        with suppress(OSError):
            read_exactly(request.sock, 1)

    with Served(lambda _: follow, certificates.server_trust()) as server:
        client = ClusterClient(Cluster(server=server.address, authority=certificates.text("ca.pem")), {})
        stream = client.read_stream(f"{PODS}/a/log", {"follow": "true"})
        pieces = iter(stream)
        assert next(pieces) == b"one\n"
        more.set()
        assert next(pieces) == b"two\n"
        threading.Timer(0.2, stream.close).start()
        assert list(pieces) == []
        stream.close()
        client.close()


def test_a_log_that_is_refused_says_so() -> None:
    words = 'container "main" in pod "a" is waiting to start: ContainerCreating'
    with asking(refusal(400, "BadRequest", words)) as (client, _), pytest.raises(ApiError, match="waiting to start"):
        client.read_stream(f"{PODS}/a/log")


# -- watches -----------------------------------------------------------------------------------------------------------


def event(kind: str, version: int, **more: Any) -> bytes:
    return (
        json.dumps({"type": kind, "object": {"metadata": {"resourceVersion": str(version)}, **more}}).encode() + b"\n"
    )


def queries(server: Served) -> list[str]:
    return [request.target.partition("?")[2] for request in server.requests]


def test_a_watch_goes_on_behind_the_last_change_when_its_connection_ends() -> None:
    def first(request: Request) -> None:
        chunked(request, event("ADDED", 5)[:20], event("ADDED", 5)[20:] + event("BOOKMARK", 8))
        request.sock.sendall(b"0\r\n\r\n")

    def second(request: Request) -> None:
        chunked(request, event("MODIFIED", 9), event("MODIFIED", 10)[:-5])  # the rest is lost with the connection

    def third(request: Request) -> None:
        chunked(request, event("DELETED", 10))
        read_exactly(request.sock, 1)

    with asking(scripted(first, second, third)) as (client, server):
        watch = client.watch(PODS, {"resourceVersion": "3", "labelSelector": "a"})
        events = iter(watch)
        assert [next(events)["type"] for _ in range(3)] == ["ADDED", "MODIFIED", "DELETED"]
        watch.close()
        assert list(events) == []
        versions = [query.split("resourceVersion=")[1].split("&")[0] for query in queries(server)]
    assert versions == ["3", "8", "9"]


def test_a_watch_is_closed_from_another_thread() -> None:
    def silent(request: Request) -> None:
        chunked(request)
        read_exactly(request.sock, 1)

    with asking(lambda _: silent) as (client, _):
        watch = client.watch(PODS)
        seen: list[Any] = []
        thread = threading.Thread(target=lambda: seen.extend(watch))
        thread.start()
        watch.close()
        thread.join(5)
        assert not thread.is_alive()
        assert seen == []


@pytest.mark.parametrize("is_event", [True, False], ids=["in an event", "as the answer"])
def test_a_watch_whose_moment_is_forgotten_says_410(is_event: bool) -> None:
    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version: 1 (5)"}

    def forget(request: Request) -> None:
        chunked(request, json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")

    said = (lambda _: forget) if is_event else answer(gone, 410)
    with asking(said) as (client, _), pytest.raises(ApiError, match="too old resource version") as caught:
        list(client.watch(PODS, {"resourceVersion": "1"}))
    assert caught.value.status == 410


def test_a_watch_that_is_told_to_wait_waits() -> None:
    def live(request: Request) -> None:
        chunked(request, event("ADDED", 5))
        read_exactly(request.sock, 1)

    busy = refusal(429, "TooManyRequests", "the watch cache starts", Retry_After="0")
    with asking(scripted(busy, busy, live)) as (client, server):
        watch = client.watch(PODS)
        assert next(iter(watch))["type"] == "ADDED"
        watch.close()
    assert len(server.requests) == 3


def test_a_watch_without_the_right_says_so_at_once() -> None:
    words = 'pods is forbidden: User "ci" cannot watch resource "pods"'
    with asking(refusal(403, "Forbidden", words)) as (client, _), pytest.raises(ApiError, match="cannot watch"):
        client.watch(PODS)


def test_nothing_is_asked_of_a_closed_client() -> None:
    with asking(answer({})) as (client, _):
        client.close()
        with pytest.raises(EngineError):
            client.open_forward("a")


def test_requests_alone_load_no_loop() -> None:
    """The guardian makes them, and is to stay small."""
    code = (
        "import sys, pytest_isolate.engine.kubernetes.cluster_client, pytest_isolate.engine.kubernetes.relay_orders\n"
    )
    code += "print(sorted({'asyncio', 'yaml', 'docker', 'pytest'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
