"""Port-forward of the fake cluster: the tunnel, its older ways, and what fails in it."""

from __future__ import annotations

import re
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from fakes.programs import forever, program
from waiting import wait_for

from .calling import Api
from .conftest import Kubectl, Pods
from .fake.handle import FakeCluster

pytestmark = [pytest.mark.engine, pytest.mark.linux]
# On an older server kubectl is refused a tunnel in a WebSocket first.
OPEN = [((1, 34), {"get": 1}), ((1, 30), {"get": 1, "create": 1})]
ECHO = """
use IO::Socket::INET; $| = 1; $SIG{CHLD} = 'IGNORE';
my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 8000, Listen => 200, ReuseAddr => 1);
print "ready\\n";
while (1) {
    my $c = $s->accept or next; next if fork; my $all = '';
    while (sysread $c, my $part, 65536) { $all .= $part }
    for (my $at = 0; $at < length $all;) { $at += syswrite $c, $all, 65536, $at }
    exit;
}
"""
Forward = Callable[[str, int], tuple[int, "subprocess.Popen[str]"]]


@pytest.fixture
def forward(kubectl: Kubectl, fake_cluster: FakeCluster, namespace: str) -> Iterator[Forward]:
    """A function that forwards a port of a Pod by kubectl, to the port that it returns."""
    running: list[subprocess.Popen[str]] = []

    def start(name: str, port: int) -> tuple[int, subprocess.Popen[str]]:
        process = subprocess.Popen(
            [
                *("kubectl", "--kubeconfig", str(fake_cluster.kubeconfig), "--namespace", namespace),
                *("port-forward", f"pod/{name}", f":{port}", "--address=127.0.0.1"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running.append(process)
        assert process.stdout
        line = process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert found, line + process.stdout.read()
        return int(found[1]), process

    yield start
    for process in running:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()
    fake_cluster.order("set_version", major=1, minor=34)


def echo(port: int, sent: bytes) -> bytes:
    """The answer to what was sent, and to its end."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        got = bytearray()
        while part := connection.recv(1 << 20):
            got += part
    return bytes(got)


@pytest.mark.parametrize(("version", "requests"), OPEN)
def test_many_connections_go_through_one_tunnel(
    pods: Pods, forward: Forward, fake_cluster: FakeCluster, version: tuple[int, int], requests: dict[str, int]
) -> None:
    name = pods.serve(["perl", "-e", ECHO])
    fake_cluster.order("set_version", major=version[0], minor=version[1])
    fake_cluster.order("reset_counts")
    port, _ = forward(name, 8000)
    texts = [f"text {number} ".encode() * 2000 for number in range(30)]
    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(lambda text: echo(port, text), texts)) == texts
    counted = fake_cluster.order("counts")["requests"]
    assert {verb: counted.get(f"{verb} pods/portforward") for verb in requests} == requests


def test_much_goes_through_a_tunnel_both_ways(pods: Pods, forward: Forward) -> None:
    port, _ = forward(pods.serve(["perl", "-e", ECHO]), 8000)
    sent = bytes(range(256)) * 40_000
    assert echo(port, sent) == sent


def test_a_port_without_a_server_is_told_as_an_error(pods: Pods, forward: Forward) -> None:
    port, process = forward(pods.run(forever()), 9)
    assert echo(port, b"") == b""
    assert process.stdout
    text = process.stdout.read()
    assert "error forwarding port 9 to pod" in text
    assert "failed to connect to localhost:9 inside namespace" in text
    assert "dial tcp4 127.0.0.1:9: connect: connection refused" in text


def test_a_pod_that_does_not_run_has_no_ports(api: Api, pods: Pods) -> None:
    name = pods.create(program("exit 0"))
    pods.wait_for(name, "terminated")
    code, status = api.call("GET", f"pods/{name}/portforward", ports="80")
    text = "unable to forward port because pod is not running. Current status=Succeeded"
    assert (code, status["message"]) == (400, text)


@pytest.mark.parametrize("version", [(1, 34), (1, 30)])
def test_one_websocket_carries_one_connection(
    api: Api, pods: Pods, fake_cluster: FakeCluster, version: tuple[int, int]
) -> None:
    name = pods.serve(program("greet 8000 hello", "say ready"))
    fake_cluster.order("set_version", major=version[0], minor=version[1])
    connection = api.websocket(f"pods/{name}/portforward", "v4.channel.k8s.io", [("ports", "8000"), ("ports", "9")])
    fake_cluster.order("set_version", major=1, minor=34)
    messages = connection.messages()
    ports = [next(messages) for _ in range(4)]
    assert ports == [bytes([at]) + struct.pack("<H", 8000 if at < 2 else 9) for at in range(4)]
    found: dict[int, bytes] = {}
    while 0 not in found or 3 not in found:
        message = next(messages)
        found[message[0]] = message[1:]
    connection.close()
    assert found[0] == b"hello\n"
    assert b"connection refused" in found[3]


def test_an_older_server_knows_no_tunnel(api: Api, pods: Pods, fake_cluster: FakeCluster) -> None:
    name = pods.run(forever())
    found = []
    for minor in (30, 31):
        fake_cluster.order("set_version", major=1, minor=minor)
        connection = api.websocket(f"pods/{name}/portforward", "SPDY/3.1+portforward.k8s.io", [])
        connection.close()
        found.append(connection.status)
    fake_cluster.order("set_version", major=1, minor=34)
    assert found == [403, 101]


def test_a_tunnel_breaks_when_the_server_restarts(pods: Pods, forward: Forward, fake_cluster: FakeCluster) -> None:
    name = pods.serve(["perl", "-e", ECHO])
    port, process = forward(name, 8000)
    assert echo(port, b"text") == b"text"
    fake_cluster.order("stop")
    fake_cluster.order("start")
    assert process.wait(30) != 0
    port, _ = forward(name, 8000)
    assert echo(port, b"text") == b"text"


def test_new_connections_fail_in_the_tunnel_of_a_pod_that_is_gone(api: Api, pods: Pods, forward: Forward) -> None:
    name = pods.serve(["perl", "-e", ECHO])
    port, process = forward(name, 8000)
    assert echo(port, b"text") == b"text"
    api.call("DELETE", f"pods/{name}", gracePeriodSeconds=0)

    def has_ended() -> bool:
        # A connection that was on its way when the program died ends without an error: the tunnel lives on.
        with suppress(OSError):
            assert echo(port, b"text") in (b"", b"text")
        return process.poll() is not None

    wait_for(has_ended)
    assert process.stdout
    assert "error forwarding port 8000 to pod" in process.stdout.read()
