"""Ports of a pod: by the relay, by `kubectl port-forward`, and straight, each in turn within one round.

The cluster is the one that ISOLATE_TEST_KUBECONFIG names, or the fake one of the tests, whose pods are containers of
this machine. Of the latter only the ratios are worth something: its API server is a program in Python, too.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.fake_cluster import opened_fake_cluster
from benchmarks.load import LoadMeter
from benchmarks.results import build_table
from pytest_isolate.engine.kubernetes.cluster_client import ClusterClient
from pytest_isolate.engine.kubernetes.kube_config import load_cluster
from pytest_isolate.engine.kubernetes.relay_orders import RelayOrders

_IMAGE = "debian:bookworm-slim"
_POUR, _COUNT, _ECHO = 7001, 7002, 7003
_BYTES = 100_000_000
_IN_TURN, _AT_ONCE = 1000, 50
_READY_WITHIN_S = 60
# A process for each connection: one pours, one counts to the end and says how many, one gives back what it is given.
_PROGRAM = r"""
use strict; use IO::Socket::INET; $SIG{CHLD} = "IGNORE"; $SIG{TERM} = sub { exit 0 };
my %serve = (
    7001 => sub { my $c = shift; my $left = 100_000_000; my $piece = "x" x 100_000;
        while ($left > 0) { my $sent = syswrite $c, $piece or exit 1; $left -= $sent; } },
    7002 => sub { my $c = shift; my ($piece, $size) = ("", 0);
        while (my $got = sysread $c, $piece, 262144) { $size += $got } syswrite $c, "$size\n"; },
    7003 => sub { my $c = shift; my $piece; while (sysread $c, $piece, 65536) { syswrite $c, $piece } },
);
my %port_of;
for my $port (keys %serve) {
    if (fork == 0) {
        my $server = IO::Socket::INET->new(LocalPort => $port, Listen => 256, ReuseAddr => 1) or die;
        while (1) { my $c = $server->accept or next; if (fork == 0) { $serve{$port}->($c); exit 0 } close $c }
    }
}
sleep;
"""
Dial = Callable[[int], socket.socket]


def run(rounds: int, load: LoadMeter) -> str:
    """The section for RESULTS.md."""
    found: dict[str, list[dict[str, float]]] = {}
    with _client() as client, _pod(client) as pod, _ways(client, pod) as ways:
        for dial in ways.values():
            _wait_for(dial)
        for number in range(rounds):
            load.sample()
            for name in reversed(ways) if number % 2 else ways:
                found.setdefault(name, []).append(_measure(ways[name]))
    straight = {row: median(each[row] for each in found["straight"]) for row in found["straight"][0]}
    rows = []
    for row, base in straight.items():
        cells = [median(each[row] for each in found[name]) for name in ways]
        rows.append([row, *(f"{value:.3g} ({value / base:.2f})" for value in cells)])
    return "\n\n".join(
        [
            f"Medians of {rounds} rounds; in brackets, the ratio to a connection to the pod's own address. "
            f"{'A real cluster.' if os.environ.get('ISOLATE_TEST_KUBECONFIG') else 'The fake cluster of the tests.'}",
            build_table(["", *ways], rows),
        ]
    )


def _measure(dial: Dial) -> dict[str, float]:
    return {
        "100 MB down, MB/s": _BYTES / 1e6 / _timed(lambda: _pour(dial)),
        "100 MB up, MB/s": _BYTES / 1e6 / _timed(lambda: _count(dial)),
        "1,000 connections in turn, s": _timed(lambda: _in_turn(dial)),
        "50 at once, 100 kB each, s": _timed(lambda: _at_once(dial)),
    }


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _pour(dial: Dial) -> None:
    size = 0
    with dial(_POUR) as sock:
        while piece := sock.recv(1 << 18):
            size += len(piece)
    assert size == _BYTES, f"{size} bytes came"


def _count(dial: Dial) -> None:
    piece = bytes(100_000)
    with dial(_COUNT) as sock:
        for _ in range(_BYTES // len(piece)):
            sock.sendall(piece)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while heard := sock.recv(100):
            answer += heard
    assert int(answer) == _BYTES, f"{answer!r} arrived"


def _echo(dial: Dial, content: bytes) -> None:
    with dial(_ECHO) as sock:
        sender = threading.Thread(target=sock.sendall, args=(content,)) if len(content) > 1 else None
        sender.start() if sender else sock.sendall(content)
        size = 0
        while size < len(content):
            heard = sock.recv(1 << 16)
            assert heard, "a connection was lost"
            size += len(heard)
        if sender:
            sender.join()


def _in_turn(dial: Dial) -> None:
    for _ in range(_IN_TURN):
        _echo(dial, b"x")


def _at_once(dial: Dial) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            _echo(dial, bytes(100_000))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(_AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


# -- the cluster, and the ways to a pod of it --------------------------------------------------------------------------


@contextmanager
def _client() -> Iterator[ClusterClient]:
    with _kubeconfig() as path:
        client = ClusterClient(load_cluster({"KUBECONFIG": path}), {})
        try:
            yield client
        finally:
            client.close()


@contextmanager
def _kubeconfig() -> Iterator[str]:
    named = os.environ.get("ISOLATE_TEST_KUBECONFIG")
    if named:
        yield named
        return
    with opened_fake_cluster() as cluster:
        yield str(cluster.kubeconfig)


@contextmanager
def _pod(client: ClusterClient) -> Iterator[dict[str, str]]:
    name = f"isolate-bench-{secrets.token_hex(4)}"
    container = {"name": "main", "image": _IMAGE, "command": ["perl", "-e", _PROGRAM]}
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    client.create(f"/api/v1/namespaces/{client.namespace}/pods", body)
    try:
        deadline = time.monotonic() + _READY_WITHIN_S
        while (status := client.get(client.pod_path(name))["status"])["phase"] != "Running":
            assert time.monotonic() < deadline, status
            time.sleep(0.1)
        yield {"name": name, "address": status["podIP"]}
    finally:
        client.delete(client.pod_path(name), {"gracePeriodSeconds": 0})


@contextmanager
def _ways(client: ClusterClient, pod: dict[str, str]) -> Iterator[dict[str, Dial]]:
    ways: dict[str, Dial] = {"straight": lambda port: socket.create_connection((pod["address"], port))}
    ports = (_POUR, _COUNT, _ECHO)
    with tempfile.TemporaryDirectory(prefix="isolate-bench-") as folder:
        orders = RelayOrders(Path(folder), client.cluster)
        relayed = dict(zip(ports, _free_ports(len(ports)), strict=True))
        try:
            for port, here in relayed.items():
                orders.listen("127.0.0.1", here, pod["name"], port)
            ways["relay"] = lambda port: socket.create_connection(("127.0.0.1", relayed[port]))
            with _kubectl(client, pod["name"], ports, Path(folder)) as forwarded:
                if forwarded:
                    ways["kubectl"] = lambda port: socket.create_connection(("127.0.0.1", forwarded[port]))
                yield ways
        finally:
            orders.end()


@contextmanager
def _kubectl(client: ClusterClient, pod: str, ports: Sequence[int], folder: Path) -> Iterator[dict[int, int]]:
    program = shutil.which("kubectl")
    if not program:
        yield {}
        return
    path = re.search(r" in (.*)$", client.cluster.source)
    assert path
    command = [program, "--kubeconfig", path[1], "-n", client.namespace, "port-forward", f"pod/{pod}"]
    command += [f":{port}" for port in ports]
    env = {**os.environ, "HOME": str(folder)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        found: dict[int, int] = {}
        while len(found) < len(ports):
            line = process.stdout.readline()
            assert line, "kubectl has ended"
            match = re.match(r"Forwarding from 127\.0\.0\.1:(\d+) -> (\d+)", line)
            if match:
                found[int(match[2])] = int(match[1])
        # It says something of each connection, and would wait for a reader.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        try:
            yield found
        finally:
            process.terminate()


def _free_ports(count: int) -> list[int]:
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(sock.getsockname()[1]) for sock in socks]
    for sock in socks:
        sock.close()
    return ports


def _wait_for(dial: Dial) -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    while True:
        try:
            _echo(dial, b"x")
        except (OSError, AssertionError):
            assert time.monotonic() < deadline, "the pod's program does not answer"
            time.sleep(0.1)
        else:
            return
