"""Valkey, as in the public image `valkey/valkey`. It speaks Redis' protocol, and its clients know `redis://` urls."""

from __future__ import annotations

from pytest_isolate.model.declaration import Preset, build_preset
from pytest_isolate.model.location import caller_location
from pytest_isolate.model.service import Secret
from pytest_isolate.presets.redis import OPTIONS, READY, URL


def valkey(version: str = "8", /, **changes: object) -> Preset:
    """A Valkey server: `valkey("8")`, or with any key of `service()` changed.

    The value has `user` (always `default`), `password` (random where none is given), `database` (its number) and a
    `redis://` url.
    """
    values = {
        "image": f"valkey/valkey:{version}",
        "command": ("valkey-server", *OPTIONS),
        "port": 6379,
        "user": "default",
        "password": Secret.RANDOM,
        "database": "0",
        "copies": "redis",
        "url": URL,
        "ready": READY,
    }
    return build_preset("valkey", values, changes, caller_location(1))
