"""Memcached, as in the public image `memcached`."""

from __future__ import annotations

from pytest_isolate.model.declaration import Preset, build_preset
from pytest_isolate.model.probes import Tcp

# Format: protocol.txt of memcached, "Other commands".
READY = Tcp(send=b"version\r\n", expect=r"\AVERSION ")


def memcached(version: str = "1.6", /, **changes: object) -> Preset:
    """A Memcached server: `memcached("1.6")`, or with any key of `service()` changed.

    The value has a `memcached://` url. The server asks for no password.
    """
    values = {
        "image": f"memcached:{version}",
        "port": 11211,
        "url": "memcached://{host}:{port}",
        "ready": READY,
    }
    return build_preset("memcached", values, changes)
