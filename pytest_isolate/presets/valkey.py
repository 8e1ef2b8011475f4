"""Valkey, as in the public image `valkey/valkey`. It speaks Redis' protocol, and its clients know `redis://` urls."""

from __future__ import annotations

from pytest_isolate.model.declaration import Preset, build_preset
from pytest_isolate.presets.redis import OPTIONS, VALUES


def valkey(version: str = "8", /, **changes: object) -> Preset:
    """A Valkey server: `valkey("8")`, or with any key of `service()` changed.

    The value has `user` (always `default`), `password` (random where none is given), `database` (its number) and a
    `redis://` url.
    """
    values = {**VALUES, "image": f"valkey/valkey:{version}", "command": ("valkey-server", *OPTIONS)}
    return build_preset("valkey", values, changes)
