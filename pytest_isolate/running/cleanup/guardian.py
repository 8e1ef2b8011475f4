"""Guardian process, which cleans up after a dead run. It holds the run's ports too, so that they outlive a worker.

Imports only the standard library and the few modules that removal needs: it takes a few megabytes and starts at once.
Its protocol, over a socket that only processes of the run can use (guard_system):

    client to guardian       the token, where the system has no socket that others cannot reach
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
from contextlib import suppress

from msgspec import Struct, field

from pytest_isolate.running.cleanup.guard_system import this_system
from pytest_isolate.running.cleanup.watched import Watched

ARMED = b"armed\n"
CLOSING = b"closing\n"
HOLD = b"hold\n"
BYE = b"bye\n"
FINISH = b"finish\n"
# Time for workers to notice that the controller is gone, before the last look for leftovers.
_GRACE_S = 30.0
_PAUSE_S = 0.05
# An engine that does not answer, or refuses, is asked again for so long: it restarts, or a network is down.
_AWAY_S = 600.0
_AWAY_PAUSE_S = 1.0
# An engine carries out a request although its sender has died; the result shows within a second.
_QUIET_S = 1.5
# Windows has the last one, and not SIGHUP.
_IGNORED_SIGNALS = ("SIGINT", "SIGHUP", "SIGTERM", "SIGBREAK")
_CONNECTS_WITHIN_S = 10
_ANSWER_WITHIN_S = 2
_ENDS_WITHIN_S = 1


class Guardian(Struct):
    """Watches one process; `remove` removes everything of the run.

    It returns false where there was nothing, and None where that cannot be told because the engine is away.
    """

    watched: int | Watched
    """Readable when the controller has ended."""
    listener: socket.socket
    remove: Callable[[], bool | None]
    token: bytes = b""
    unproved: dict[socket.socket, bytes] = field(default_factory=dict)
    """Clients that have not said the token, and what they have said of it."""
    clients: list[socket.socket] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    is_closing: bool = False

    def run(self) -> None:
        """Serve until the controller says bye, or until it is gone and everything of the run is removed."""
        for number in (getattr(signal, name, None) for name in _IGNORED_SIGNALS):
            if number is not None:
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
        if self.token:
            self.unproved[client] = b""
            selector.register(client, selectors.EVENT_READ, self._prove)
        else:
            self._welcome(selector, client)
        return b""

    def _welcome(self, selector: selectors.BaseSelector, client: socket.socket) -> None:
        client.sendall(ARMED + CLOSING if self.is_closing else ARMED)
        self.clients.append(client)
        selector.register(client, selectors.EVENT_READ, self._receive)

    def _prove(self, selector: selectors.BaseSelector, client: socket.socket) -> bytes:
        """Read no more than the token of a client: any program of this host may have connected."""
        before = self.unproved.pop(client)
        try:
            more = client.recv(len(self.token) - len(before))
        except OSError:
            more = b""
        said = before + more
        if more and said != self.token and self.token.startswith(said):
            self.unproved[client] = said
            return b""
        selector.unregister(client)
        if said == self.token:
            self._welcome(selector, client)
        else:
            client.close()
        return b""

    def _receive(self, selector: selectors.BaseSelector, client: socket.socket) -> bytes:
        try:
            message, descriptors = this_system().receive(client)
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
            with suppress(OSError):  # it has died; the selector reports the closed connection below
                client.sendall(CLOSING)
        selector.unregister(self.watched)
        if in_order:
            # pytest prints its last lines. On two processors it takes 0.07 s longer while containers are removed.
            select.select([self.watched], [], [], _ENDS_WITHIN_S)
        began = quiet_since = time.monotonic()
        deadline = began + _GRACE_S
        while time.monotonic() < deadline:
            found, pause_s = self.remove(), _PAUSE_S
            if found is None:
                pause_s, deadline = _AWAY_PAUSE_S, min(time.monotonic() + _GRACE_S, began + _AWAY_S)
            if found is not False or self.clients:
                quiet_since = time.monotonic()
            elif in_order or time.monotonic() - quiet_since >= _QUIET_S:
                return
            for key, _ in selector.select(timeout=pause_s):
                key.data(selector, key.fileobj)


class Link:
    """A process's connection to the guardian of its run."""

    def __init__(self, address: str) -> None:
        self._socket = this_system().connect(address, _CONNECTS_WITHIN_S)
        try:
            if self._socket.recv(len(ARMED)) != ARMED:
                raise OSError("the guardian is not armed")
            self._socket.settimeout(None)
        except BaseException:
            self._socket.close()
            raise

    def hold(self, descriptors: list[int]) -> None:
        """Have the guardian keep sockets open until the run ends."""
        this_system().send_sockets(self._socket, HOLD, descriptors)

    def wait_for_closing(self) -> bool:
        """Block until the guardian says that the controller is gone (true), or ends itself (false)."""
        try:
            return CLOSING in self._socket.recv(64)
        except OSError:
            return False

    def say_bye(self) -> None:
        """Tell the guardian that everything is removed, so that it ends."""
        with suppress(OSError):  # it was killed already
            self._socket.sendall(BYE)

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
        with suppress(OSError):  # not connected any more
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
