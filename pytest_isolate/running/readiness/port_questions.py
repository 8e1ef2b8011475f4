"""Ports of a service whose check inside has passed: one has to answer over the network, the others get some time.

Some services declare ports on which nothing listens, such as that of an admin page which is switched off.
"""

from __future__ import annotations

from collections.abc import Callable

from pytest_isolate.model.probes import Answer, NotYet, Ports, Ready, Tcp

# The time that further ports get, once the first one answers.
FURTHER_PORTS_S = 5.0


class PortQuestions:
    """Asks each port until it has answered; `silent` are those that have not, with their last answers."""

    def __init__(self, ask: Callable[[Tcp], Answer], now: Callable[[], float]) -> None:
        self._ask = ask
        self._now = now
        self._has_answered: set[int] = set()
        self._first_answer = 0.0
        self.silent: dict[int, str] = {}

    def ask(self, probe: Ports) -> Answer:
        """Ask the ports that have not answered yet."""
        for port in probe.ports:
            if port not in self._has_answered:
                self._ask_one(port)
        if not self.silent:
            return Ready()
        if self._has_answered and self._now() - self._first_answer >= FURTHER_PORTS_S:
            return Ready()
        return NotYet(", ".join(f"port {port}: {reason}" for port, reason in self.silent.items()))

    def _ask_one(self, port: int) -> None:
        answer = self._ask(Tcp(port=port))
        if isinstance(answer, NotYet):
            self.silent[port] = answer.reason
            return
        self.silent.pop(port, None)
        self._first_answer = self._first_answer if self._has_answered else self._now()
        self._has_answered.add(port)
