"""How tests reach what they start: where the engine is, and what the options say of it."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_isolate.engine.api import EngineFacts
from pytest_isolate.errors import EngineError
from pytest_isolate.running.network.ports import LOOPBACK, hold_free_ports

EVERYWHERE = "0.0.0.0"  # noqa: S104  # published on, and compared; nothing here listens on it


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The address that ports are published on, and the host that tests dial.

    `is_held` says that the ports are of this host, where sockets of ours keep them from everybody else.
    """

    host: str = LOOPBACK
    publish_on: str = LOOPBACK
    is_held: bool = True

    @property
    def hold_on(self) -> str:
        """The address of this host on which ports are held."""
        return LOOPBACK if self.publish_on == EVERYWHERE else self.publish_on


LOCAL = Reach()


def choose_reach(facts: EngineFacts, bind: str = "", host: str = "") -> Reach:
    """How the engine's ports are reached; `bind` and `host` are what the user says, empty where nothing.

    EngineError where they cannot be: an address that is not one of this host, or one that nobody knows.
    """
    if facts.is_local:
        publish_on = check_bind_ip(bind or LOOPBACK)
        reached = LOOPBACK if publish_on == EVERYWHERE else publish_on
        return Reach(host=host or reached, publish_on=publish_on)
    named = bind if bind != EVERYWHERE else ""
    reached = host or named or facts.host
    if not reached:
        raise EngineError(
            "tests cannot reach the ports that the engine publishes",
            tried="the address of the engine's host in the network of the container that pytest runs in",
            found="it has none there",
            do="say where they answer: --isolate-host=ADDRESS, or give the container a network",
        )
    return Reach(host=reached, publish_on=bind or (EVERYWHERE if host else facts.publish_on), is_held=False)


def check_bind_ip(text: str) -> str:
    """An address of this host to publish on; EngineError where nothing can be bound there."""
    try:
        hold_free_ports([0], text).release()
    except OSError as error:
        raise EngineError(
            f"ports cannot be published on {text}",
            found=str(error.strerror or error),
            do="name an address of this host",
        ) from error
    return text
