"""The guardian's protocol, with a watched process that is none: a pipe whose end is the controller's end."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator

import pytest
from waiting import wait_for

from pytest_isolate.running.cleanup import guardian
from pytest_isolate.running.cleanup.guardian import Guardian, Link
from pytest_isolate.running.network.ports import hold_free_ports

pytestmark = pytest.mark.linux


class Bench:
    """A guardian in a thread. `left` is how often removing finds something."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ignored: list[int] = []
        # Only the main thread may set what a signal does.
        monkeypatch.setattr(signal, "signal", lambda number, _: self.ignored.append(number))
        monkeypatch.setattr(guardian, "_QUIET_S", 0.05)
        self.name = f"pytest-isolate-test-{secrets.token_hex(8)}"
        self.watched, self._controller = os.pipe()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind("\0" + self.name)
        self.listener.listen(8)
        self.left = 0
        self.removals = 0
        self.removed_beside_controller = False
        self.is_away = False
        self.guardian = Guardian(watched=self.watched, listener=self.listener, remove=self._remove)
        self._links: list[Link] = []
        self._thread = threading.Thread(target=self.guardian.run, daemon=True)
        self._thread.start()

    def _remove(self) -> bool | None:
        self.removals += 1
        if self.is_away:
            return None
        self.removed_beside_controller |= self._controller >= 0
        self.left -= 1
        return self.left >= 0

    def link(self) -> Link:
        self._links.append(Link(self.name))
        return self._links[-1]

    def end_controller(self) -> None:
        controller, self._controller = self._controller, -1
        os.close(controller)

    def has_ended(self, within_s: float = 60) -> bool:
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def goes_on(self) -> bool:
        """Whether it removes on and on, for longer than it stays when there is nothing left to wait for."""
        seen = self.removals
        return bool(wait_for(lambda: self.removals >= seen + 5))

    def close(self) -> None:
        for link in self._links:
            link.close()
        if self._controller >= 0:
            self.end_controller()
        assert self.has_ended()
        for descriptor in self.guardian.held:
            os.close(descriptor)
        for client in self.guardian.clients:
            client.close()
        self.listener.close()
        os.close(self.watched)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(monkeypatch)
    yield bench
    bench.close()


def test_nobody_connects_before_there_is_a_guardian() -> None:
    with pytest.raises(OSError, match="refused"):
        Link(f"pytest-isolate-nobody-{secrets.token_hex(8)}")


def test_every_client_is_told_that_it_is_armed(bench: Bench) -> None:
    assert all(bench.link() for _ in range(3))


def test_it_ends_when_the_controller_says_that_everything_is_removed(bench: Bench) -> None:
    bench.link().say_bye()

    assert bench.has_ended()
    assert bench.removals == 0


def test_it_removes_everything_and_ends_when_the_controller_leaves_that_to_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guardian, "_ENDS_WITHIN_S", 60)
    link = bench.link()
    assert link.finish()
    link.close()
    assert not bench.has_ended(within_s=0.05)
    bench.end_controller()

    assert bench.has_ended()
    assert bench.removals >= 1
    # What it takes of the machine is pytest's until then, which has its last lines to print.
    assert not bench.removed_beside_controller


def test_controller_that_stays_is_not_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guardian, "_ENDS_WITHIN_S", 0.05)
    link = bench.link()
    assert link.finish()
    link.close()

    assert bench.has_ended()
    assert bench.removals >= 1


def test_a_worker_that_ends_ends_nothing(bench: Bench) -> None:
    stays = bench.link()
    bench.link().close()
    wait_for(lambda: len(bench.guardian.clients) == 1)

    assert bench.link(), "it serves on"
    stays.say_bye()
    assert bench.has_ended()


def test_it_removes_when_the_controller_is_gone(bench: Bench) -> None:
    bench.end_controller()

    assert bench.has_ended()
    assert bench.removals >= 1


def test_it_removes_again_until_nothing_is_found(bench: Bench) -> None:
    bench.left = 3
    bench.end_controller()

    assert bench.has_ended()
    assert bench.left < 0


def test_an_engine_that_is_away_is_asked_for_longer_than_all_else_is_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guardian, "_GRACE_S", 0.1)
    monkeypatch.setattr(guardian, "_AWAY_PAUSE_S", 0.05)
    bench.is_away = True
    bench.end_controller()
    assert bench.goes_on()

    bench.left = 1
    bench.is_away = False
    assert bench.has_ended()
    assert bench.left < 1


def test_an_engine_that_stays_away_is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guardian, "_AWAY_S", 0.2)
    monkeypatch.setattr(guardian, "_AWAY_PAUSE_S", 0.05)
    bench.is_away = True
    bench.end_controller()

    assert bench.has_ended()
    assert bench.removals >= 2


def test_clients_are_told_to_start_nothing_more(bench: Bench) -> None:
    link = bench.link()
    bench.end_controller()

    assert link.wait_for_closing()


def test_it_stays_while_somebody_is_left_who_could_start_something(bench: Bench) -> None:
    link = bench.link()
    bench.end_controller()
    assert bench.goes_on()

    link.close()

    assert bench.has_ended()


def test_it_waits_for_requests_that_the_engine_still_carries_out(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guardian, "_QUIET_S", 60)
    bench.end_controller()
    wait_for(lambda: bench.removals >= 3)
    bench.left = 1
    wait_for(lambda: bench.left < 0)

    assert bench.goes_on()
    monkeypatch.setattr(guardian, "_QUIET_S", 0.05)


def test_what_is_started_by_one_who_did_not_notice_yet_is_removed_too(bench: Bench) -> None:
    link = bench.link()
    bench.end_controller()
    wait_for(lambda: bench.removals >= 1)
    bench.left = 2
    link.close()

    assert bench.has_ended()
    assert bench.left < 0


def test_guardian_that_is_killed_does_not_look_like_a_dead_controller() -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    name = f"pytest-isolate-test-{secrets.token_hex(8)}"
    with listener:
        listener.bind("\0" + name)
        listener.listen(1)
        threading.Thread(target=lambda: accept_and_leave(listener)).start()
        link = Link(name)

    assert not link.wait_for_closing()
    link.hold([])
    link.say_bye()
    assert not link.finish()
    link.close()


def accept_and_leave(listener: socket.socket) -> None:
    with listener.accept()[0] as client:
        client.sendall(b"armed\n")


def test_listener_that_does_not_say_armed_is_no_guardian() -> None:
    name = f"pytest-isolate-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind("\0" + name)
        listener.listen(1)

        def answer() -> None:
            with listener.accept()[0] as client:
                client.sendall(b"hello\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(OSError, match="not armed"):
            Link(name)
        thread.join()


def is_held(port: int) -> bool:
    """Whether a bind without SO_REUSEADDR is refused."""
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def test_held_ports_outlive_the_one_who_held_them_first(bench: Bench) -> None:
    ports = hold_free_ports(range(70))
    numbers = list(ports.by_inner.values())
    link = bench.link()
    link.hold([sock.fileno() for sock in ports.sockets])
    wait_for(lambda: len(bench.guardian.held) == 70)
    ports.release()
    link.close()
    wait_for(lambda: not bench.guardian.clients)

    assert all(map(is_held, numbers))


def test_signals_that_a_terminal_sends_to_all_are_ignored(bench: Bench) -> None:
    bench.link()

    assert set(bench.ignored) == {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
