"""Guardian process, which cleans up after a dead run. It holds the run's ports too, so that they outlive a worker.

Imports only the standard library and the few modules that removal needs: it takes a few megabytes and starts at once.
Its protocol, over a unix socket whose name only processes of the run know:

    guardian to each client  armed      the guardian watches the controller, and has connected to the engine
                             closing    the controller is gone, or has said finish: start nothing more
    client to guardian       hold       with sockets attached: keep them open until the run ends
                             bye        (controller only) everything is removed: end
                             finish     (controller only) all containers are killed: remove everything, then end
"""

from __future__ import annotations

import select
import selectors
import signal
import socket
import time
from collections.abc import Callable

from msgspec import Struct, field

ARMED = b"armed\n"
CLOSING = b"closing\n"
HOLD = b"hold\n"
BYE = b"bye\n"
FINISH = b"finish\n"
# Time for workers to notice that the controller is gone, before the last look for leftovers.
_GRACE_S = 30.0
_PAUSE_S = 0.05
# An engine carries out a request although its sender has died; the result shows within a second.
_QUIET_S = 1.5
_MAX_SOCKETS = 64
_ANSWER_WITHIN_S = 2
_ENDS_WITHIN_S = 1


class Guardian(Struct):
    """Watches one process; `remove` removes everything of the run, and returns false where there was nothing."""

    watched: int
    """Pidfd of the controller, readable when it has ended."""
    listener: socket.socket
    remove: Callable[[], bool]
    clients: list[socket.socket] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    is_closing: bool = False

    def run(self) -> None:
        """Serve until the controller says bye, or until it is gone and everything of the run is removed."""
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        with selectors.DefaultSelector() as selector:
            selector.register(self.watched, selectors.EVENT_READ)
            selector.register(self.listener, selectors.EVENT_READ, self._accept)
            while True:
                for key, _ in selector.select():
                    if key.data is None:
                        self._clean_up(selector, in_order=False)
                        return
                    message = key.data(selector, key.fileobj)
                    if FINISH in message:
                        self._clean_up(selector, in_order=True)
                    if FINISH in message or BYE in message:
                        return

    def _accept(self, selector: selectors.BaseSelector, _: object) -> bytes:
        client, _ = self.listener.accept()
        client.sendall(ARMED + CLOSING if self.is_closing else ARMED)
        self.clients.append(client)
        selector.register(client, selectors.EVENT_READ, self._receive)
        return b""

    def _receive(self, selector: selectors.BaseSelector, client: socket.socket) -> bytes:
        """Receive a message from a client; empty when the client is gone."""
        try:
            message, descriptors, _, _ = socket.recv_fds(client, 64, _MAX_SOCKETS)
        except OSError:
            message, descriptors = b"", []
        self.held += descriptors
        if not message:
            selector.unregister(client)
            self.clients.remove(client)
            client.close()
        return bytes(message)

    def _clean_up(self, selector: selectors.BaseSelector, *, in_order: bool) -> None:
        """Remove until nothing is left and no client, which could start something, is connected.

        After a controller that did not end in order, the engine may still create something: wait until it is quiet.
        """
        self.is_closing = True
        for client in self.clients:
            try:
                client.sendall(CLOSING)
            except OSError:
                pass  # it has died; the selector reports the closed connection below
        selector.unregister(self.watched)
        if in_order:
            # pytest prints its last lines. On two processors it takes 0.07 s longer while containers are removed.
            select.select([self.watched], [], [], _ENDS_WITHIN_S)
        deadline = time.monotonic() + _GRACE_S
        quiet_since = time.monotonic()
        while time.monotonic() < deadline:
            if self.remove() or self.clients:
                quiet_since = time.monotonic()
            elif in_order or time.monotonic() - quiet_since >= _QUIET_S:
                return
            for key, _ in selector.select(timeout=_PAUSE_S):
                key.data(selector, key.fileobj)


class Link:
    """A process's connection to the guardian of its run."""

    def __init__(self, name: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(10)
            self._socket.connect("\0" + name)
            if self._socket.recv(len(ARMED)) != ARMED:
                raise OSError("the guardian is not armed")
            self._socket.settimeout(None)
        except BaseException:
            self._socket.close()
            raise

    def hold(self, descriptors: list[int]) -> None:
        """Have the guardian keep sockets open until the run ends."""
        for first in range(0, len(descriptors), _MAX_SOCKETS):
            socket.send_fds(self._socket, [HOLD], descriptors[first : first + _MAX_SOCKETS])

    def wait_for_closing(self) -> bool:
        """Block until the guardian says that the controller is gone (true), or ends itself (false)."""
        try:
            return CLOSING in self._socket.recv(64)
        except OSError:
            return False

    def say_bye(self) -> None:
        """Tell the guardian that everything is removed, so that it ends."""
        try:
            self._socket.sendall(BYE)
        except OSError:
            pass  # it was killed already

    def finish(self) -> bool:
        """Have the guardian remove everything and then end, after all containers are killed; true where it confirms."""
        try:
            self._socket.settimeout(_ANSWER_WITHIN_S)
            self._socket.sendall(FINISH)
            return CLOSING in self._socket.recv(64)
        except OSError:
            return False

    def close(self) -> None:
        """Close the connection, which ends `wait_for_closing` in another thread."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # not connected any more
        self._socket.close()
