"""Ports of pods on this host, by way of the run's relay."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress

from pytest_isolate.engine.api import PortBinding
from pytest_isolate.engine.kubernetes.relay_orders import RelayOrders
from pytest_isolate.errors import EngineError, PortTaken
from pytest_isolate.model.endpoint import Port, name_port

# A relay that does not last is not started again and again.
_VAIN_TRIES = 10
_PAUSE_S = 0.2


class RelayedPorts:
    """Publishes ports by orders to a relay, which outlives this process; one that is killed is started again."""

    def __init__(self, relay: RelayOrders) -> None:
        self._relay = relay
        self._published: dict[str, dict[Port, int]] = {}
        self._publishing = threading.Lock()
        self._closed = threading.Event()
        self._watching: threading.Thread | None = None
        self._link: socket.socket | None = None

    def publish(self, pod: str, bindings: Sequence[PortBinding]) -> Mapping[Port, int]:
        if not bindings:
            return {}
        known = self.find(pod)
        with self._publishing:
            others = {(one.host, one.host_port): one.pod for one in self._relay.listening() if one.pod != pod}
            published: dict[Port, int] = {}
            try:
                for binding in bindings:
                    inner = name_port(binding.inner, binding.protocol)
                    outer = binding.host_port or known.get(inner) or find_free_port(binding.host_ip)
                    if (binding.host_ip, outer) in others:
                        what = f"port {binding.host_ip}:{outer} cannot lead to port {inner} of pod {pod}"
                        raise PortTaken(what, found=f"it leads to pod {others[binding.host_ip, outer]}")
                    self._relay.listen(binding.host_ip, outer, pod, binding.inner)
                    published[inner] = outer
            except EngineError:
                if not known:
                    self._relay.drop(pod)
                raise
            self._published[pod] = published
            if self._watching is None or not self._watching.is_alive():
                self._watching = threading.Thread(target=self._keep_up, name="isolate-relay", daemon=True)
                self._watching.start()
            return published

    def find(self, pod: str) -> Mapping[Port, int]:
        if pod not in self._published:
            return {one.port: one.host_port for one in self._relay.listening() if one.pod == pod}
        return self._published[pod]

    def withdraw(self, pod: str) -> None:
        self._relay.drop(pod)
        self._published.pop(pod, None)

    def close(self) -> None:
        """Look after the relay no longer. Other processes of the run may need it; it ends with the last pod."""
        self._closed.set()
        link = self._link
        if link:
            with suppress(OSError):  # it has ended just now
                link.shutdown(socket.SHUT_RDWR)

    def _keep_up(self) -> None:
        """Start the relay again whenever it was killed: tests ask their ports, and no order is given meanwhile."""
        vain = 0
        while vain < _VAIN_TRIES and not self._closed.is_set():
            self._link = self._relay.watch()
            # Several processes start one at the same time, and that of another may be about to listen.
            vain = vain + 1 if self._link is None else 0
            if self._link:
                with self._link as link, suppress(OSError):
                    while not self._closed.is_set() and link.recv(1):
                        pass
            elif self._closed.wait(_PAUSE_S):
                return
            try:
                if self._closed.is_set() or not self._relay.revive():
                    return
            except EngineError:
                return  # the next order tells why


def find_free_port(host: str) -> int:
    """A port that is free at this moment."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])
