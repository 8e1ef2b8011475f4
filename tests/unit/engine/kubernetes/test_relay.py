"""The relay: a real process that is given orders, and ports of this host that lead to pods."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from waiting import wait_for

if sys.platform == "win32":
    pytest.skip("Windows has no relay", allow_module_level=True)

from pytest_isolate.engine.api import PortBinding
from pytest_isolate.engine.kubernetes import relay
from pytest_isolate.engine.kubernetes.cluster_client import ClusterClient
from pytest_isolate.engine.kubernetes.kube_config import Cluster
from pytest_isolate.engine.kubernetes.relay import Relay
from pytest_isolate.engine.kubernetes.relay_orders import SOCKET, RelayOrders, short_path
from pytest_isolate.engine.kubernetes.relayed_ports import RelayedPorts
from pytest_isolate.errors import EngineError, PortTaken

from .served import Certificates, Served
from .served_pod import Pods, TcpService, count_to_end, echo

pytestmark = pytest.mark.unix


def hold_port() -> socket.socket:
    """A port that is held as runs hold theirs: bound, and not listening."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    return sock


def talk(port: int, content: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(content)
        sock.shutdown(socket.SHUT_WR)
        received = bytearray()
        while piece := sock.recv(1 << 16):
            received += piece
        return bytes(received)


def relays(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and str(folder) in process.cmdline():
                found.append(process)
    return found


class Running:
    """A relay, and the cluster that it speaks to."""

    def __init__(self, folder: Path, server: Served, pods: Pods, authority: str) -> None:
        self.folder = folder
        self.server = server
        self.pods = pods
        self.cluster = Cluster(server=server.address, namespace="team", authority=authority)
        self.orders = RelayOrders(folder, self.cluster, "run=1")
        self.held: list[socket.socket] = []

    def port(self) -> int:
        self.held.append(hold_port())
        return int(self.held[-1].getsockname()[1])

    def listen(self, pod: str, service: TcpService) -> int:
        port = self.port()
        self.pods.known.add(pod)
        self.orders.listen("127.0.0.1", port, pod, service.port)
        return port


@contextmanager
def relaying(folder: Path, certificates: Certificates | None = None) -> Iterator[Running]:
    pods = Pods()
    with Served(pods, certificates.server_trust() if certificates else None) as server:
        running = Running(folder, server, pods, certificates.text("ca.pem") if certificates else "")
        try:
            yield running
        finally:
            running.orders.end()
            wait_for(lambda: relays(folder) == [])
            for sock in running.held:
                sock.close()
    assert server.failures == []


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with relaying(tmp_path) as running:
        yield running


def test_a_held_port_leads_to_a_pod(tmp_path: Path, certificates: Certificates) -> None:
    content = os.urandom(3_000_000)
    with TcpService(echo) as service, relaying(tmp_path, certificates) as running:
        port = running.listen("web", service)
        sent = []

        def send(sock: socket.socket) -> None:
            sock.sendall(content)
            sock.shutdown(socket.SHUT_WR)
            sent.append(True)

        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            sender = threading.Thread(target=send, args=(sock,))
            sender.start()
            received = bytearray()
            while piece := sock.recv(1 << 16):
                received += piece
            sender.join(20)
        assert bytes(received) == content


def test_one_side_ends_before_the_other(running: Running) -> None:
    with TcpService(count_to_end) as service:
        assert talk(running.listen("web", service), b"x" * 100_000) == b"100000"


def test_many_ports_and_many_connections_take_one_tunnel_for_each_pod(running: Running) -> None:
    wrong: list[object] = []
    with TcpService(echo) as first, TcpService(echo) as second:
        ports = [running.listen(pod, service) for pod in ("web", "db") for service in (first, second)]

        def work(number: int) -> None:
            content = bytes([number]) * 10_000
            try:
                if talk(ports[number % 4], content) != content:
                    wrong.append(number)
            except OSError as error:
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert wrong == []
    assert sorted(running.pods.dialled) == ["db", "web"]
    assert len(relays(running.folder)) == 1


def test_processes_that_start_it_at_once_share_one(running: Running) -> None:
    with TcpService(echo) as service:
        ports = [running.port() for _ in range(5)]
        others = [RelayOrders(running.folder, running.cluster) for _ in ports]
        starts = [
            threading.Thread(target=orders.listen, args=("127.0.0.1", port, "web", service.port))
            for orders, port in zip(others, ports, strict=True)
        ]
        for thread in starts:
            thread.start()
        for thread in starts:
            thread.join(60)
        assert len(relays(running.folder)) == 1
        assert [talk(port, b"x") for port in ports] == [b"x"] * 5
    assert sorted(found.host_port for found in running.orders.listening()) == sorted(ports)


def test_a_port_that_is_in_use_is_told(running: Running) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port 127.0.0.1:{port} cannot lead to port 80 of pod web"):
            running.orders.listen("127.0.0.1", port, "web", 80)


def test_a_pod_that_is_replaced_in_the_middle_is_dialled_anew(running: Running) -> None:
    with TcpService(echo) as first, TcpService(lambda sock: sock.sendall(b"the new one")) as second:
        port = running.listen("web-1", first)
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
            running.pods.missing.add("web-1")
            running.server.cut()
            with pytest.raises(ConnectionResetError):
                assert sock.recv(1) == "no clean end"
        running.orders.listen("127.0.0.1", port, "web-2", second.port)
        assert talk(port, b"") == b"the new one"


def test_a_tunnel_that_breaks_is_dialled_anew(running: Running) -> None:
    with TcpService(echo) as service:
        port = running.listen("web", service)
        assert talk(port, b"x") == b"x"
        running.server.cut()
        assert talk(port, b"y") == b"y"
    assert running.pods.dialled == ["web", "web"]


def test_a_refused_connection_breaks_and_the_reason_is_kept(running: Running) -> None:
    with TcpService(echo) as service:
        port = running.listen("web", service)
    with pytest.raises(ConnectionResetError):
        assert talk(port, b"x") == "no clean end"
    wait_for(lambda: "refused" in running.orders.listening()[0].error)


def test_the_listeners_of_a_pod_go_when_it_is_dropped(running: Running) -> None:
    with TcpService(echo) as service:
        gone, stays = running.listen("web", service), running.listen("db", service)
        with socket.create_connection(("127.0.0.1", gone), timeout=20) as sock:
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
            running.orders.drop("web")
            running.orders.drop("web")
            with pytest.raises(ConnectionResetError):
                assert sock.recv(1) == "no clean end"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", gone))
        assert talk(stays, b"x") == b"x"
        assert [found.pod for found in running.orders.listening()] == ["db"]


def test_the_listeners_of_a_pod_go_when_the_server_knows_it_no_more(running: Running) -> None:
    with TcpService(echo) as service:
        port = running.listen("web", service)
        running.pods.missing.add("web")
        with suppress(ConnectionResetError):
            talk(port, b"")
        wait_for(lambda: running.orders.listening() == [], timeout_s=10)  # before the server is asked for all pods


def test_pods_that_were_removed_by_others_are_found_out_about_by_one_request_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_ASK_EVERY_S", 0.2)
    pods = Pods()
    pods.known |= {"web", "db", "late"}
    with TcpService(echo) as service, Served(pods) as server, socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / SOCKET))
        sock.listen()
        cluster = Cluster(server=server.address, namespace="team")
        with closing(ClusterClient(cluster, {})) as client:
            here = threading.Thread(target=lambda: asyncio.run(Relay(tmp_path, client, "run=1").run(sock.dup())))
            here.start()
            orders = RelayOrders(tmp_path, cluster)
            for pod in ("web", "db"):
                with hold_port() as held:
                    orders.listen("127.0.0.1", held.getsockname()[1], pod, service.port)
            wait_for(lambda: len(server.asked) > 2)
            assert len(orders.listening()) == 2
            pods.missing.add("web")
            wait_for(lambda: [found.pod for found in orders.listening()] == ["db"])
            assert talk(orders.listening()[0].host_port, b"x") == b"x"
            orders.end()
            here.join(20)
    lists = {asked for asked in server.asked if "portforward" not in asked}
    assert lists == {"GET /api/v1/namespaces/team/pods?labelSelector=run%3D1&resourceVersion=0"}


def test_a_relay_whose_cluster_is_gone_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "_ASK_EVERY_S", 0.05)
    monkeypatch.setattr(relay, "_LOST_AFTER_S", 0.2)
    with hold_port() as nobody:  # bound, so that nobody else answers there
        cluster = Cluster(server=f"http://127.0.0.1:{nobody.getsockname()[1]}", namespace="team")
        running = Relay(tmp_path, ClusterClient(cluster, {}), "run=1")

        async def run() -> None:
            orders = socket.socket(socket.AF_UNIX)
            orders.bind(str(tmp_path / SOCKET))
            orders.listen()
            task = asyncio.create_task(running.run(orders))
            await asyncio.to_thread(RelayOrders(tmp_path, cluster).listen, "127.0.0.1", 0, "web", 80)
            await asyncio.wait_for(task, 60)

        asyncio.run(run())


def test_a_relay_that_was_killed_is_started_again_where_it_was(running: Running) -> None:
    with TcpService(echo) as service:
        first = running.listen("web", service)
        [process] = relays(running.folder)
        process.send_signal(signal.SIGKILL)
        wait_for(lambda: relays(running.folder) == [])
        second = running.listen("db", service)
        assert [talk(port, b"x") for port in (first, second)] == [b"x", b"x"]
        [process] = relays(running.folder)
        process.send_signal(signal.SIGKILL)
        wait_for(lambda: relays(running.folder) == [])
        assert sorted(found.pod for found in running.orders.listening()) == ["db", "web"]


def test_a_relay_that_was_killed_is_back_although_nobody_gives_orders(running: Running) -> None:
    running.pods.known.add("web")
    with TcpService(echo) as service, closing(RelayedPorts(running.orders)) as ports:
        for _ in range(2):
            [port] = ports.publish("web", [PortBinding(inner=service.port, host_ip="127.0.0.1", host_port=0)]).values()
            wait_for(lambda: len(relays(running.folder)) == 1)  # another that was started finds that there is one
            [process] = relays(running.folder)
            process.send_signal(signal.SIGKILL)

            def answers(port: int = port) -> bool:
                with suppress(OSError):
                    return talk(port, b"x") == b"x"
                return False

            wait_for(answers)
        running.orders.end()
        wait_for(lambda: relays(running.folder) == [])
        assert running.orders.listening() == []  # one that has ended in order is not missed


def test_it_ends_with_the_folder_of_its_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with TcpService(echo) as service, relaying(folder) as running:
        running.listen("web", service)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        wait_for(lambda: relays(folder) == [])


def test_nothing_is_started_for_what_needs_no_relay(tmp_path: Path) -> None:
    orders = RelayOrders(tmp_path, Cluster(server="http://127.0.0.1:1"))
    orders.drop("web")
    orders.end()
    assert orders.listening() == []
    assert relays(tmp_path) == []


def test_a_relay_that_cannot_start_says_why(tmp_path: Path) -> None:
    orders = RelayOrders(tmp_path, Cluster(server="no address"))
    (tmp_path / "relay.lock").mkdir()
    with pytest.raises(EngineError, match="IsADirectoryError"):
        orders.listen("127.0.0.1", 0, "web", 80)


def test_a_folder_with_a_long_name_will_do(tmp_path: Path) -> None:
    folder = tmp_path / ("long-" * 30)
    folder.mkdir()
    with TcpService(echo) as service, relaying(folder) as running:
        assert talk(running.listen("web", service), b"x") == b"x"
    with short_path(folder / "x") as path:
        assert len(path) < 104
