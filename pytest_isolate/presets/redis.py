"""Redis, as in the public image `redis` and in images that start `redis-server` with the arguments they are given."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_isolate.model.declaration import Preset, Secret, build_preset
from pytest_isolate.model.probes import Tcp

# Nothing is written to disk: the data is for one run only. An empty numbered database costs next to nothing, and
# many of them let tests have one each.
OPTIONS = ("--save", "", "--appendonly", "no", "--databases", "1024", "--requirepass", "{self.password}")
# To be asked for the password is an answer too. A server that still reads its data says LOADING. Format: "Redis
# serialization protocol specification".
READY = Tcp(send=b"PING\r\n", expect=r"\A(?:\+PONG|-NOAUTH )")
# The same for Valkey, but for image and command.
VALUES: Mapping[str, object] = {
    "port": 6379,
    "user": "default",
    "password": Secret.RANDOM,
    "database": "0",
    "copies": "redis",
    "url": "redis://{user}:{password}@{host}:{port}/{database}",
    "ready": READY,
}


def redis(version: str = "8", /, **changes: object) -> Preset:
    """A Redis server: `redis("8")`, or with any key of `service()` changed.

    The value has `user` (always `default`), `password` (random where none is given), `database` (its number) and a
    `redis://` url.
    """
    values = {**VALUES, "image": f"redis:{version}", "command": ("redis-server", *OPTIONS)}
    return build_preset("redis", values, changes)
