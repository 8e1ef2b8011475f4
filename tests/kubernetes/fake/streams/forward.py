"""Port-forward: connections to the loopback of a Pod, many in one tunnel, or one in each WebSocket."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress

from kubernetes.fake.api.server import Handler, Request
from kubernetes.fake.api.status import bad_request
from kubernetes.fake.node.kubelet import Kubelet
from kubernetes.fake.node.netns import connect_inside
from kubernetes.fake.node.pod_worker import PodWorker
from kubernetes.fake.streams.channels import switch_to_spdy
from kubernetes.fake.streams.plain import plain_side
from kubernetes.fake.streams.spdy import SpdyConnection, Stream
from kubernetes.fake.streams.target import find_target
from kubernetes.fake.streams.websocket import WebSocket, accept, is_websocket

TUNNEL = "SPDY/3.1+portforward.k8s.io"
_TUNNEL_SINCE = (1, 31)
_MOST = 1 << 16


def serve_forward(kubelet: Kubelet, handler: Handler, request: Request) -> None:
    target = find_target(kubelet, request)
    phase = target.pod["status"]["phase"]
    if phase != "Running" or target.worker is None:
        raise bad_request(f"unable to forward port because pod is not running. Current status={phase}")
    if not is_websocket(handler):
        switch_to_spdy(handler, ("portforward.k8s.io",))
        plain = plain_side(handler)
        with suppress(OSError):
            _Tunnel(target.worker, SpdyConnection(iter(lambda: plain.recv(1 << 18), b""), plain.sendall)).run()
        plain.close()
        return
    known = [TUNNEL, "v4.channel.k8s.io"] if handler.site.version >= _TUNNEL_SINCE else ["v4.channel.k8s.io"]
    websocket = accept(handler, known)
    if websocket is None:
        return
    with suppress(OSError):
        if websocket.protocol == TUNNEL:
            _Tunnel(target.worker, SpdyConnection(filter(None, websocket.messages()), websocket.send)).run()
        else:
            _carry_ports(target.worker, websocket, [int(port) for port in request.query.get("ports") or ()])
    websocket.close()


def _connect(worker: PodWorker, port: int) -> socket.socket:
    """Connect inside the Pod; ConnectionError with the text that the runtime has for a failure."""
    where = f"error forwarding port {port} to pod {worker.ids.get('', worker.uid)}, uid : "
    if not worker.process:
        raise ConnectionError(f"{where}sandbox is not running")
    try:
        return connect_inside(worker.process, port)
    except FileNotFoundError:
        raise ConnectionError(f'{where}failed to find sandbox "{worker.uid}" in store: not found') from None
    except OSError as error:
        place = f'"/var/run/netns/cni-{worker.uid}"'
        text = f"dial tcp4 127.0.0.1:{port}: connect: {(error.strerror or str(error)).lower()}"
        raise ConnectionError(
            f"{where}failed to execute portforward in network namespace {place}: failed to connect to localhost:{port} "
            f"inside namespace {place}, IPv4: {text} IPv6 {text.replace('tcp4 127.0.0.1', 'tcp6 [::1]')} "
        ) from None


class _Tunnel:
    """Each connection is a pair of streams, for data and for an error, with one request id."""

    def __init__(self, worker: PodWorker, connection: SpdyConnection) -> None:
        self._worker = worker
        self._connection = connection
        self._waiting: dict[str, dict[str, Stream]] = {}

    def run(self) -> None:
        self._connection.run(self._take)

    def _take(self, stream: Stream) -> None:
        headers = {name.lower(): value for name, value in stream.headers.items()}
        pair = self._waiting.setdefault(headers.get("requestid", ""), {})
        pair[headers.get("streamtype", "")] = stream
        if {"data", "error"} <= pair.keys():
            del self._waiting[headers.get("requestid", "")]
            port = int(headers["port"])
            threading.Thread(target=self._carry, args=(port, pair["data"], pair["error"]), daemon=True).start()

    def _carry(self, port: int, data: Stream, error: Stream) -> None:
        with suppress(OSError):
            try:
                with _connect(self._worker, port) as inner:
                    sending = threading.Thread(target=_send_all, args=(data, inner), daemon=True)
                    sending.start()
                    _read_all(inner, data)
                    data.finish()
                    sending.join()
            except ConnectionError as failure:
                error.send(str(failure).encode())
                data.finish()
            error.finish()
        for stream in (data, error):
            self._connection.forget(stream)


def _send_all(stream: Stream, inner: socket.socket) -> None:
    with suppress(OSError):
        for chunk in stream.chunks():
            inner.sendall(chunk)
        # An end is passed on; what was broken off is broken off inside as well.
        inner.shutdown(socket.SHUT_RDWR if stream.is_reset else socket.SHUT_WR)


def _read_all(inner: socket.socket, stream: Stream) -> None:
    with suppress(ConnectionResetError):
        while chunk := inner.recv(_MOST):
            stream.send(chunk)


def _carry_ports(worker: PodWorker, websocket: WebSocket, ports: list[int]) -> None:
    """Carry one connection for each port, on channels by turns for data and for errors; neither side can half-close."""
    inners: list[socket.socket | None] = []
    for number, port in enumerate(ports):
        for channel in (2 * number, 2 * number + 1):
            websocket.send(bytes([channel]) + struct.pack("<H", port))
    for number, port in enumerate(ports):
        try:
            inner = _connect(worker, port)
        except ConnectionError as error:
            websocket.send(bytes([2 * number + 1]) + str(error).encode())
            inners.append(None)
            continue
        inners.append(inner)
        threading.Thread(target=_send_channel, args=(inner, websocket, 2 * number), daemon=True).start()
    if not any(inners):
        return
    try:
        for message in websocket.messages():
            number, is_error = divmod(message[0], 2) if message else (0, 1)
            sink = inners[number] if number < len(inners) else None
            if sink and not is_error:
                sink.sendall(message[1:])
    finally:
        for one in inners:
            if one:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)


def _send_channel(inner: socket.socket, websocket: WebSocket, channel: int) -> None:
    with inner, suppress(OSError):
        while chunk := inner.recv(_MOST):
            websocket.send(bytes([channel]) + chunk)
    websocket.close()
