"""NATS, as in the public image `nats` and in images that hand their arguments to `nats-server`."""

from __future__ import annotations

from pytest_isolate.model.declaration import Preset, Secret, build_preset
from pytest_isolate.model.probes import Tcp

# The server says INFO when it accepts, and answers a PING; one that wants a password refuses the PING, which shows as
# well that it serves. Format: "Client Protocol" of NATS' documentation.
READY = Tcp(send=b"PING\r\n", expect=r"(?s)\AINFO .*\r\n(?:PONG|-ERR 'Authorization Violation')")


def nats(version: str = "2", /, **changes: object) -> Preset:
    """A NATS server: `nats("2")`, or with any key of `service()` changed.

    The value has `user`, `password` (random where none is given) and a `nats://` url.
    """
    values = {
        "image": f"nats:{version}",
        "command": ("--user", "{self.user}", "--pass", "{self.password}"),
        "port": 4222,
        "user": "app",
        "password": Secret.RANDOM,
        "url": "nats://{user}:{password}@{host}:{port}",
        "ready": READY,
    }
    return build_preset("nats", values, changes)
