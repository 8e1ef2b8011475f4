"""Packets that wait: told of by the kernel, and let go when their time has come."""

from __future__ import annotations

import heapq
import struct
import threading
import time
from collections import deque
from collections.abc import Callable

from pytest_isolate.errors import EngineError, EngineUnreachable
from pytest_isolate.running.faults import netlink
from pytest_isolate.running.faults.impairment import LinkModel
from pytest_isolate.running.faults.remote_syscalls import RemoteSyscalls, Reply

_POLL = struct.Struct("<ihh")
_INPUT = 0
_READABLE = 1
_LONGEST_WAIT_S = 1.0
_SHORTEST_WAIT_S = 0.0002
_END_S = 5


class Delayer:
    """Decides on every packet in a queue, in a thread of its own, from `start()` to `stop()`.

    The program in the container waits for the next packet or the next request, whichever comes first. So a request
    wakes it, and replies come in the order of the requests.
    """

    def __init__(self, calls: RemoteSyscalls, socket_number: int, queue: int, course: LinkModel) -> None:
        self._calls = calls
        self._socket = socket_number
        self._queue = queue
        self._course = course
        self._lock = threading.Lock()
        self._expected: deque[Callable[[Reply], None]] = deque()
        self._waiting: list[tuple[float, int]] = []
        self._is_ending = threading.Event()
        self._is_watching = False
        self._thread = threading.Thread(target=self._run, name="isolate-slow", daemon=True)
        self.failure: EngineError | None = None
        """The reason why it ended before its time."""

    def start(self) -> None:
        """Decide from now on."""
        self._thread.start()

    def stop(self, filter_number: int, message: bytes) -> None:
        """Tell the filter this, which ends the queue, let go of all that wait, and return when nothing does."""
        try:
            arguments = (filter_number, self._calls.content_at, len(message), 0, 0, 0)
            self._ask("sendto", *arguments, content=message, then=_ignore)
            # What has come before the filter has heard it.
            self._take()
        except EngineError as error:
            self.failure = error
        self._is_ending.set()
        self._thread.join(_END_S)

    def _run(self) -> None:
        try:
            while not (self._is_ending.is_set() and self._has_emptied()):
                self._watch()
                self._hear()
                self._let_go()
        except EngineError as error:
            self.failure = error

    def _has_emptied(self) -> bool:
        """With nothing more to come, let go of what is there."""
        for _, number in self._waiting:
            self._judge(number, netlink.ACCEPT)
        self._waiting.clear()
        return not self._expected

    def _watch(self) -> None:
        if not self._is_watching and not self._is_ending.is_set():
            self._is_watching = True
            both = _POLL.pack(_INPUT, _READABLE, 0) + _POLL.pack(self._socket, _READABLE, 0)
            self._ask("ppoll", self._calls.content_at, 2, 0, 0, content=both, then=self._on_something)

    def _hear(self) -> None:
        """Wait for one reply, or until the next packet has to go."""
        due_in = self._waiting[0][0] - time.monotonic() if self._waiting else _LONGEST_WAIT_S
        try:
            reply = self._calls.receive(min(max(due_in, _SHORTEST_WAIT_S), _LONGEST_WAIT_S))
        except EngineUnreachable:
            raise
        except EngineError:
            return  # nothing has come in time
        if reply is None:
            raise EngineError("the network of a container is gone", found="the container has ended")
        with self._lock:
            then = self._expected.popleft()
        then(reply)

    def _on_something(self, _: Reply) -> None:
        self._is_watching = False
        self._take()

    def _take(self) -> None:
        self._ask("recvfrom", *self._calls.receiving(self._socket), then=self._on_packet)

    def _on_packet(self, reply: Reply) -> None:
        if reply.result <= 0:
            return
        packet = netlink.parse_packet(reply.content[: reply.result])
        if packet:
            leaves_at = self._course.leave_at(time.monotonic(), packet.size_bytes)
            if leaves_at is None:
                self._judge(packet.number, netlink.DROP)
            else:
                heapq.heappush(self._waiting, (leaves_at, packet.number))
        self._take()

    def _let_go(self) -> None:
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            self._judge(heapq.heappop(self._waiting)[1], netlink.ACCEPT)

    def _judge(self, number: int, verdict: int) -> None:
        message = netlink.verdict_message(self._queue, number, verdict)
        arguments = (self._socket, self._calls.content_at, len(message), 0, 0, 0)
        self._ask("sendto", *arguments, content=message, then=_ignore)

    def _ask(self, call: str, *arguments: int, content: bytes = b"", then: Callable[[Reply], None]) -> None:
        # stop() asks from another thread.
        with self._lock:
            self._expected.append(then)
            self._calls.send(call, *arguments, content=content)


def _ignore(_: Reply) -> None:
    """A request whose reply says nothing of use."""
