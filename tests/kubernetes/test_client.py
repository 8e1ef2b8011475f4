"""The client of an API server: objects, watches, commands, logs and ports of Pods that are real containers."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_for

from pytest_isolate.engine.kubernetes.api_errors import ObjectMissing
from pytest_isolate.engine.kubernetes.cluster_client import ApiError, ClusterClient
from pytest_isolate.engine.kubernetes.kube_config import load_cluster
from pytest_isolate.engine.kubernetes.relay_orders import RelayOrders
from pytest_isolate.errors import EngineError

from .conftest import Pods
from .fake.handle import FakeCluster

pytestmark = [pytest.mark.engine, pytest.mark.linux]
FOREVER = ["sleep", "infinity"]
# An echo for each connection, which ends its side when the client has ended the other.
_ECHO = r"""
use strict; use IO::Socket::INET; $SIG{CHLD} = "IGNORE";
my $server = IO::Socket::INET->new(LocalPort => 7000, Listen => 256, ReuseAddr => 1) or die;
$SIG{TERM} = sub { exit 0 };
while (1) {
    my $client = $server->accept or next;
    if (fork == 0) { my $piece; while (sysread $client, $piece, 65536) { my $sent = 0;
        while ($sent < length $piece) { $sent += syswrite $client, $piece, length($piece) - $sent, $sent } } exit 0 }
    close $client;
}
"""
ECHO = ["perl", "-e", _ECHO]
PORT = 7000


@pytest.fixture
def client(fake_cluster: FakeCluster, namespace: str) -> Iterator[ClusterClient]:
    client = ClusterClient(load_cluster({"KUBECONFIG": str(fake_cluster.kubeconfig)}, namespace=namespace), {})
    yield client
    client.close()


@pytest.fixture
def older(fake_cluster: FakeCluster) -> Iterator[None]:
    """A server that knows neither v5 nor the tunnel."""
    fake_cluster.order("set_version", major=1, minor=29)
    yield
    fake_cluster.order("set_version", major=1, minor=34)


def run(client: ClusterClient, pod: str, *argv: str, text: bytes | None = None) -> tuple[int, bytes, bytes]:
    with closing(client.open_exec(pod, "main", argv, stdin=True)) as stream:
        if text is not None:
            stream.send(text)
            stream.close_input()
        output = {1: bytearray(), 2: bytearray()}
        while piece := stream.receive(60):
            output[piece[0]] += piece[1]
        return stream.exit_code(), bytes(output[1]), bytes(output[2])


def read_all(stream: Any) -> bytes:
    content = bytearray()
    while piece := stream.receive(60):
        content += piece
    return bytes(content)


def talk(port: int, content: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sender = threading.Thread(target=lambda: (sock.sendall(content), sock.shutdown(socket.SHUT_WR)))
        sender.start()
        received = bytearray()
        while piece := sock.recv(1 << 16):
            received += piece
        sender.join()
        return bytes(received)


# -- objects -----------------------------------------------------------------------------------------------------------


def test_objects_are_made_changed_and_removed(client: ClusterClient, namespace: str) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    assert client.server_version() >= (1, 29)
    client.create(maps, {"metadata": {"name": "one", "labels": {"a": "b"}}, "data": {"x": "1", "y": "2"}})
    with pytest.raises(ApiError) as caught:
        client.create(maps, {"metadata": {"name": "one"}})
    assert (caught.value.status, caught.value.reason) == (409, "AlreadyExists")
    assert client.patch(f"{maps}/one", {"data": {"x": None, "z": "3"}})["data"] == {"y": "2", "z": "3"}
    found = client.get(f"{maps}/one")
    assert client.replace(f"{maps}/one", {**found, "data": {"w": "4"}})["data"] == {"w": "4"}
    with pytest.raises(ApiError, match="409 Conflict"):
        client.replace(f"{maps}/one", {**found, "data": {}})
    client.delete(maps, query={"labelSelector": "a=b"})
    client.delete(f"{maps}/one", {"gracePeriodSeconds": 0})
    with pytest.raises(ObjectMissing):
        client.get(f"{maps}/one")


def test_a_busy_server_is_waited_for(client: ClusterClient, namespace: str, fake_cluster: FakeCluster) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    fake_cluster.order("add_fault", code=429, resource="configmaps", times=2, retry_after_s=0)
    client.create(maps, {"metadata": {"name": "one"}})
    assert fake_cluster.order("counts")["pending_faults"] == []


@pytest.mark.parametrize("is_done", [True, False], ids=["carried out", "not begun"])
@pytest.mark.parametrize("verb", ["create", "get", "delete"])
def test_an_answer_that_is_lost_is_asked_for_again(
    client: ClusterClient, namespace: str, fake_cluster: FakeCluster, verb: str, is_done: bool
) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    client.server_version()
    if verb != "create":
        client.create(maps, {"metadata": {"name": "one"}})
    fake_cluster.order("add_fault", code=0, is_done=is_done, verb=verb, resource="configmaps")
    match verb:
        case "create":
            assert client.create(maps, {"metadata": {"name": "one"}})["metadata"]["uid"]
        case "get":
            assert client.get(f"{maps}/one")["metadata"]["name"] == "one"
        case "delete":
            client.delete(f"{maps}/one")
    assert fake_cluster.order("counts")["pending_faults"] == []
    assert len(client.get(maps)["items"]) == (0 if verb == "delete" else 1)


def test_a_server_whose_cache_is_cold_is_waited_for(
    client: ClusterClient, namespace: str, fake_cluster: FakeCluster
) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    client.server_version()
    fake_cluster.order("stop")
    fake_cluster.order("start", warming_s=2)
    with closing(client.watch(maps)) as watch:
        client.create(maps, {"metadata": {"name": "one"}})
        names = (event["object"]["metadata"]["name"] for event in watch)
        assert next(name for name in names if name == "one")


def test_a_watch_survives_a_server_that_restarts(
    client: ClusterClient, namespace: str, fake_cluster: FakeCluster
) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    version = client.get(maps)["metadata"]["resourceVersion"]
    with closing(client.watch(maps, {"resourceVersion": version})) as watch:
        events = iter(watch)
        client.create(maps, {"metadata": {"name": "one"}})
        assert next(events)["object"]["metadata"]["name"] == "one"
        fake_cluster.order("stop")
        threading.Timer(1, fake_cluster.order, ("start",)).start()
        client.create(maps, {"metadata": {"name": "two"}})  # waits for it, too
        event = next(events)
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "two")


def test_a_watch_from_a_forgotten_moment_says_410(
    client: ClusterClient, namespace: str, fake_cluster: FakeCluster
) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    version = client.get(maps)["metadata"]["resourceVersion"]
    client.create(maps, {"metadata": {"name": "one"}})
    fake_cluster.order("expire")
    with pytest.raises(ApiError) as caught:
        list(client.watch(maps, {"resourceVersion": version}))
    assert caught.value.status == 410


def test_a_missing_right_is_told_with_the_way_out(fake_cluster: FakeCluster, namespace: str) -> None:
    made = fake_cluster.order("add_user", user=f"ci-{namespace}", namespace=namespace, rules=[])
    with closing(ClusterClient(load_cluster({"KUBECONFIG": made["kubeconfig"]}), {})) as client:
        assert client.namespace == namespace
        with pytest.raises(ApiError, match="kubernetes role") as caught:
            client.get(f"/api/v1/namespaces/{namespace}/pods")
    assert caught.value.status == 403


# -- commands ----------------------------------------------------------------------------------------------------------


def test_commands_have_two_outputs_an_input_and_a_code(client: ClusterClient, pods: Pods) -> None:
    pod = pods.run(FOREVER)
    content = os.urandom(5_000_000)
    assert run(client, pod, "sh", "-c", "echo out; echo err >&2; exit 3") == (3, b"out\n", b"err\n")
    assert run(client, pod, "cat", text=content) == (0, content, b"")
    assert run(client, pod, "no-such-program")[0] == 127
    assert run(client, pod, "/etc/passwd")[0] == 126
    with pytest.raises(ApiError):
        run(client, "no-such-pod", "true")


def test_forty_commands_at_once(client: ClusterClient, pods: Pods) -> None:
    pod = pods.run(FOREVER)
    found: dict[int, bytes] = {}

    def work(number: int) -> None:
        found[number] = run(client, pod, "echo", str(number))[1]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert found == {number: b"%d\n" % number for number in range(40)}


def test_a_command_that_only_waits_ends_with_its_container(client: ClusterClient, pods: Pods) -> None:
    pod = pods.run(["sleep", "3"])
    with closing(client.open_exec(pod, "main", ["sleep", "infinity"], stdin=True)) as stream:
        pods.wait_for(pod, "terminated")
        assert stream.receive(20) is None


def test_a_programs_own_streams_are_attached_to(client: ClusterClient, pods: Pods) -> None:
    pod = pods.run(["sh", "-c", "while read line; do echo got $line; done"], container={"stdin": True})
    with closing(client.open_attach(pod, "main", stdin=True)) as stream:
        stream.send(b"this\n")
        assert stream.receive(20) == (1, b"got this\n")


def test_a_log_is_followed(client: ClusterClient, pods: Pods) -> None:
    pod = pods.run(["sh", "-c", "echo one; sleep 1; echo two"])
    path = f"{client.pod_path(pod)}/log"
    with closing(client.read_stream(path, {"follow": "true"})) as log:
        assert b"".join(log) == b"one\ntwo\n"


# -- ports -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_old", [False, True], ids=["tunnel", "old"])
def test_ports_are_reached(client: ClusterClient, pods: Pods, is_old: bool, request: pytest.FixtureRequest) -> None:
    if is_old:
        request.getfixturevalue("older")
    pod = pods.run(ECHO)
    content = os.urandom(2_000_000)
    forward = client.open_forward(pod)
    run(client, pod, "perl", "-MIO::Socket::INET", "-e", _WAIT)
    with closing(forward.open(PORT)) as stream:
        sender = threading.Thread(target=stream.send, args=(content,))
        sender.start()
        received = bytearray()
        while len(received) < len(content):
            received += stream.receive(60)
        sender.join()
        assert bytes(received) == content


_WAIT = 'until (IO::Socket::INET->new("127.0.0.1:7000")) { select undef, undef, undef, 0.02 }'


def test_fifty_at_once_and_half_close(client: ClusterClient, pods: Pods) -> None:
    pod = pods.run(ECHO)
    run(client, pod, "perl", "-MIO::Socket::INET", "-e", _WAIT)
    forward = client.open_forward(pod)
    wrong: list[object] = []

    def work(number: int) -> None:
        content = bytes([number]) * 100_000
        try:
            with closing(forward.open(PORT)) as stream:
                stream.send(content)
                stream.half_close()
                if (heard := read_all(stream)) != content:
                    wrong.append((number, len(heard)))
        except EngineError as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert wrong == []


def test_a_port_without_a_listener_is_told(client: ClusterClient, pods: Pods) -> None:
    pod = pods.run(FOREVER)
    with pytest.raises(EngineError, match="refused"), closing(client.open_forward(pod).open(9)) as stream:
        assert read_all(stream) == b"an error"


def test_the_relay_goes_from_one_pod_to_the_next_and_ends_with_them(
    client: ClusterClient, pods: Pods, tmp_path: Path, fake_cluster: FakeCluster
) -> None:
    orders = RelayOrders(tmp_path, client.cluster)
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        try:
            first, second = pods.run(ECHO), pods.run(ECHO)
            orders.listen("127.0.0.1", port, first, PORT)
            content = secrets.token_bytes(500_000)
            wait_for(lambda: _heard(port, b"x") == b"x")
            assert talk(port, content) == content
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(b"x")
                assert sock.recv(1) == b"x"
                client.delete(client.pod_path(first), {"gracePeriodSeconds": 0})
                assert _end_of(sock)
            orders.listen("127.0.0.1", port, second, PORT)
            wait_for(lambda: _heard(port, b"x") == b"x")
            fake_cluster.order("stop")
            began = time.monotonic()
            threading.Timer(1, fake_cluster.order, ("start",)).start()
            assert talk(port, content) == content, "a server that restarts is waited for"
            assert time.monotonic() - began > 0.9
            client.delete(client.pod_path(second), {"gracePeriodSeconds": 0})
            wait_for(lambda: (_heard(port, b"x"), orders.listening())[1] == [])
        finally:
            orders.end()


def _heard(port: int, content: bytes) -> bytes:
    """The answer at a port; nothing where it breaks."""
    try:
        return talk(port, content)
    except OSError:
        return b""


def _end_of(sock: socket.socket) -> bool:
    sock.settimeout(60)
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True
