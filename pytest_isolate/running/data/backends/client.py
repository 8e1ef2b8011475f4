"""A command line client that stays open in a container: its start takes tens of milliseconds, a question about one."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from pytest_isolate.engine.api import Capability, Engine, Session, require
from pytest_isolate.errors import EngineError

# The longest that a server may take for one statement of ours: to copy gigabytes takes its time.
TIMEOUT_S = 120
# A migration that says nothing for so long is stuck.
_LONG_S = 600


def open_session(engine: Engine, container_id: str, argv: Sequence[str], env: Mapping[str, str]) -> Session:
    """A command in a container, with its input and output open; EngineError where the engine has none such."""
    require(
        engine.facts(),
        Capability.TALK,
        f"{argv[0]} in a container cannot be talked to",
        "fresh copies and resets of databases need that: take an engine that can, or leave fresh() and reset= out",
    )
    return engine.open_session(container_id, argv, env)


class Client:
    """An open client; not for several threads at once. When it has failed it is of no use any more."""

    def __init__(self, engine: Engine, container_id: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self._program = argv[0]
        self._session = open_session(engine, container_id, argv, env)
        self._received = b""
        self._errors = b""
        self.sentinel = f"isolate-{secrets.token_hex(8)}"
        """A word that no answer holds by accident."""

    def ask(self, text: str) -> list[str]:
        """The lines that come before the one that is the mark; the text has to make the client write it."""
        self._errors = b""
        self._session.send(text.encode())
        end = f"{self.sentinel}\n".encode()
        while not (self._received.startswith(end) or b"\n" + end in self._received):
            piece = self._session.receive(TIMEOUT_S)
            if piece is None:
                said = (self._errors or self._received).decode(errors="replace").strip()
                raise EngineError(f"{self._program} in a container has ended", found=said or "it said nothing")
            if piece[0] == 1:
                self._received += piece[1]
            else:
                self._errors += piece[1]
        answer, _, self._received = self._received.partition(end)
        return answer.decode(errors="replace").splitlines()

    def close(self) -> None:
        """End it. Safe to repeat."""
        self._session.close()


def run_to_end(engine: Engine, container_id: str, argv: Sequence[str], env: Mapping[str, str]) -> tuple[int, str]:
    """Exit code and output of a command that is given nothing to read. It may take as long as it needs."""
    session = open_session(engine, container_id, argv, env)
    try:
        output = b""
        while (piece := session.receive(_LONG_S)) is not None:
            output += piece[1]
        return session.exit_code(), output.decode(errors="replace")
    finally:
        session.close()
