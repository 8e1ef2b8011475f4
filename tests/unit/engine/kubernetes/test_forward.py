"""Connections to the ports of pods, through an API server on a socket."""

from __future__ import annotations

import os
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from waiting import wait_for

from pytest_isolate.engine.kubernetes.api_errors import ObjectMissing
from pytest_isolate.engine.kubernetes.cluster_client import ClusterClient
from pytest_isolate.engine.kubernetes.kube_config import Cluster
from pytest_isolate.engine.kubernetes.transport import tunnel, websocket
from pytest_isolate.engine.kubernetes.transport.forward import Stream
from pytest_isolate.engine.kubernetes.transport.spdy import SpdyClient, build_dictionary
from pytest_isolate.errors import EngineError, EngineUnreachable

from .served import Certificates, Request, Served, refusal
from .served_pod import Pods, TcpService, count_to_end, echo


@contextmanager
def forwarding(pods: Pods, certificates: Certificates | None = None) -> Iterator[ClusterClient]:
    trust = certificates.server_trust() if certificates else None
    with Served(pods, trust) as server:
        authority = certificates.text("ca.pem") if certificates else ""
        client = ClusterClient(Cluster(server=server.address, authority=authority), {})
        with closing(client):
            yield client
    assert server.failures == []


@contextmanager
def connected(pods: Pods, service: TcpService, certificates: Certificates | None = None) -> Iterator[Stream]:
    """A connection to a service in a pod."""
    with forwarding(pods, certificates) as client, closing(client.open_forward("web").open(service.port)) as stream:
        yield stream


def read_all(stream: Any) -> bytes:
    content = bytearray()
    while piece := stream.receive(20):
        content += piece
    return bytes(content)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnel, "_ANSWERS_WITHIN_S", 0.3)


@pytest.fixture(params=["spdy", "old"])
def pods(request: pytest.FixtureRequest) -> Pods:
    return Pods(is_old=request.param == "old")


# -- one connection ----------------------------------------------------------------------------------------------------


def test_the_dictionary_is_the_one_that_all_others_have() -> None:
    assert zlib.adler32(build_dictionary()) == 0xE3C6A7C2


@pytest.mark.parametrize("is_secure", [True, False], ids=["TLS", "plain"])
@pytest.mark.parametrize("size", [1, 70_000, 5_000_000])
def test_bytes_go_both_ways(pods: Pods, certificates: Certificates, is_secure: bool, size: int) -> None:
    content = os.urandom(size)
    with TcpService(echo) as service, forwarding(pods, certificates if is_secure else None) as client:
        forward = client.open_forward("web")
        with closing(forward.open(service.port)) as stream:
            sender = threading.Thread(target=stream.send, args=(content,))
            sender.start()
            received = b""
            while len(received) < size:
                received += stream.receive(20)
            sender.join(20)
    assert received == content


def test_frames_that_come_byte_by_byte_are_read(certificates: Certificates) -> None:
    pods = Pods(piece_bytes=1)
    with TcpService(echo) as service, connected(pods, service, certificates) as stream:
        stream.send(b"x" * 3000)
        received = b""
        while len(received) < 3000:
            received += stream.receive(20)
    assert received == b"x" * 3000


def test_one_side_ends_before_the_other() -> None:
    with TcpService(count_to_end) as service, connected(Pods(), service) as stream:
        stream.send(b"x" * 300_000)
        stream.half_close()
        assert read_all(stream) == b"300000"


def test_an_old_server_cannot_be_told_of_an_end_but_answers_still_come() -> None:
    def answer_line(sock: socket.socket) -> None:
        sock.sendall(b"you said " + sock.recv(100))
        sock.recv(1)

    with TcpService(answer_line) as service, connected(Pods(is_old=True), service) as stream:
        stream.send(b"hello")
        stream.half_close()
        assert read_all(stream) == b"you said hello"


def test_what_the_pod_ends_is_ended_here(pods: Pods) -> None:
    with TcpService(lambda sock: sock.sendall(b"bye")) as service, connected(pods, service) as stream:
        assert read_all(stream) == b"bye"


def test_a_client_that_goes_away_ends_the_connection_in_the_pod(pods: Pods) -> None:
    ended = threading.Event()

    def wait_for_end(sock: socket.socket) -> None:
        sock.sendall(b"hello")
        sock.recv(1)
        ended.set()

    with TcpService(wait_for_end) as service, forwarding(pods) as client:
        stream = client.open_forward("web").open(service.port)
        assert stream.receive(20) == b"hello"
        stream.close()
        assert ended.wait(20)


def test_a_port_that_refuses_is_told_in_the_words_of_the_node(pods: Pods) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with forwarding(pods) as client:
        forward = client.open_forward("web")
        with pytest.raises(EngineError, match="refused"), closing(forward.open(port)) as stream:
            assert read_all(stream) == "an error"


def test_a_read_has_a_bound() -> None:
    with TcpService(echo) as service, connected(Pods(), service) as stream:
        with pytest.raises(EngineError, match=r"within 0\.1 s"):
            stream.receive(0.1)
        stream.send(b"x")
        assert stream.receive(20) == b"x"


# -- many --------------------------------------------------------------------------------------------------------------


def test_fifty_at_once_take_one_tunnel_and_are_not_mixed_up(certificates: Certificates) -> None:
    pods = Pods()
    with TcpService(echo) as service, forwarding(pods, certificates) as client:
        forward = client.open_forward("web")
        wrong: list[object] = []

        def talk(number: int) -> None:
            content = bytes([number]) * 40_000
            try:
                with closing(forward.open(service.port)) as stream:
                    stream.send(content)
                    stream.half_close()
                    if (heard := read_all(stream)) != content:
                        wrong.append((number, len(heard)))
            except Exception as error:
                wrong.append(error)

        threads = [threading.Thread(target=talk, args=(number,)) for number in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert wrong == []
        assert service.connections == 50
        assert len(pods.dialled) == 1


def test_two_hundred_in_turn_leave_nothing_behind() -> None:
    pods = Pods()
    with TcpService(echo) as service, forwarding(pods) as client:
        forward = client.open_forward("web")
        for number in range(200):
            with closing(forward.open(service.port)) as stream:
                stream.send(b"%d" % number)
                stream.half_close()
                assert read_all(stream) == b"%d" % number
        only = forward._ports._tunnels[0]
        wait_for(lambda: only.is_idle and not only._errors)
        assert len(pods.dialled) == 1


def test_a_reader_that_does_not_read_stops_no_others() -> None:
    """What it has not read is kept up to a bound; then others get a tunnel of their own."""

    def pour(sock: socket.socket) -> None:
        for _ in range(400):
            sock.sendall(bytes(100_000))

    pods = Pods()
    with TcpService(pour) as pouring, TcpService(echo) as service, forwarding(pods) as client:
        forward = client.open_forward("web")
        with closing(forward.open(pouring.port)) as idle:
            first = forward._ports._tunnels[0]
            wait_for(lambda: not first.is_usable)
            with closing(forward.open(service.port)) as stream:
                stream.send(b"x")
                assert stream.receive(20) == b"x"
            assert len(pods.dialled) == 2
            assert len(read_all(idle)) == 40_000_000, "and nothing of it is lost"


# -- ends of tunnels ---------------------------------------------------------------------------------------------------


def test_a_tunnel_that_breaks_breaks_its_streams_and_the_next_dials_anew(pods: Pods) -> None:
    with TcpService(echo) as service, Served(pods) as server:
        client = ClusterClient(Cluster(server=server.address), {})
        forward = client.open_forward("web")
        stream = forward.open(service.port)
        stream.send(b"x")
        assert stream.receive(20) == b"x"
        server.cut()
        with pytest.raises(EngineUnreachable):
            stream.receive(20)
        stream.close()
        with closing(forward.open(service.port)) as again:
            again.send(b"y")
            assert again.receive(20) == b"y"
        client.close()


def test_a_tunnel_that_is_said_to_go_takes_no_more_streams() -> None:
    pods = Pods()
    with TcpService(echo) as service, forwarding(pods) as client:
        forward = client.open_forward("web")
        with closing(forward.open(service.port)) as stream:
            pods.tunnels[0].control(7, bytes(8))
            wait_for(lambda: forward._ports._tunnels[0].is_over)
            with closing(forward.open(service.port)) as other:
                for one in (stream, other):
                    one.send(b"x")
                    assert one.receive(20) == b"x"
        assert len(pods.dialled) == 2


def test_a_tunnel_that_outlives_its_pod_is_not_used_again() -> None:
    pods = Pods()
    with TcpService(echo) as service, forwarding(pods) as client:
        forward = client.open_forward("web")
        with closing(forward.open(service.port)) as stream:
            stream.send(b"x")
            assert stream.receive(20) == b"x"
            pods.missing.add("web")
            with pytest.raises(EngineError, match="not running"), closing(forward.open(service.port)) as other:
                assert read_all(other) == b"an error"
            with pytest.raises(ObjectMissing):
                forward.open(service.port)


def test_a_port_that_refuses_takes_no_tunnel_of_its_own() -> None:
    pods = Pods()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with forwarding(pods) as client:
        forward = client.open_forward("web")
        for _ in range(5):
            with pytest.raises(EngineError, match="refused"), closing(forward.open(port)) as stream:
                assert read_all(stream) == b"an error"
    assert len(pods.dialled) == 1


def test_pings_of_both_kinds_are_answered() -> None:
    pods = Pods()
    with TcpService(echo) as service, connected(pods, service):
        pods.tunnels[0].control(6, (2).to_bytes(4, "big"))
        pods.lines[0].send(b"are you there", 9)
        wait_for(lambda: pods.tunnels[0].pongs == [2] and pods.lines[0].pongs == [b"are you there"])


def test_an_idle_line_is_pinged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "_PING_EVERY_S", 0.02)
    pods = Pods()
    with TcpService(echo) as service, connected(pods, service) as stream:
        wait_for(lambda: len(pods.lines[0].pings) > 3)
        stream.send(b"x")
        assert stream.receive(20) == b"x"


def test_a_line_that_answers_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "_PING_EVERY_S", 0.02)
    monkeypatch.setattr(websocket, "_SILENT_S", 0.3)
    pods = Pods()
    with TcpService(echo) as service, forwarding(pods) as client:
        forward = client.open_forward("web")
        stream = forward.open(service.port)
        with closing(stream), pods.lines[0]._sending, pytest.raises(EngineUnreachable, match="nothing came for"):
            stream.receive(20)
        with closing(forward.open(service.port)) as stream:
            stream.send(b"x")
            assert stream.receive(20) == b"x"


# -- servers that refuse -----------------------------------------------------------------------------------------------


def test_a_pod_that_is_gone_is_told_at_once() -> None:
    pods = Pods()
    pods.missing.add("web")
    with forwarding(pods) as client:
        began = time.monotonic()
        with pytest.raises(ObjectMissing, match="not found"):
            client.open_forward("web").open(80)
        assert time.monotonic() - began < 5


def test_a_missing_right_is_told_and_no_older_way_is_tried() -> None:
    pods = Pods()
    pods.around = lambda _: refusal(403, "Forbidden", 'cannot create resource "pods/portforward" in API group ""')
    with forwarding(pods) as client, pytest.raises(EngineError, match="kubernetes role"):
        client.open_forward("web").open(80)
    assert pods.dialled == []


def test_a_server_that_is_busy_is_asked_again() -> None:
    pods = Pods()
    refusals = [refusal(429, "TooManyRequests", "later"), refusal(502, "", "bad gateway"), b""]

    def refuse(_: Request) -> bytes | None:
        return refusals.pop(0) if refusals else None

    pods.around = refuse
    with TcpService(echo) as service, connected(pods, service) as stream:
        stream.send(b"x")
        assert stream.receive(20) == b"x"


def test_data_is_cut_into_frames_that_every_server_takes() -> None:
    spdy = SpdyClient()
    frames = list(spdy.data(3, b"x" * 200_000))
    assert max(map(len, frames)) <= (1 << 16) + 8
    assert b"".join(frame[8:] for frame in frames) == b"x" * 200_000
