"""PostgreSQL, as in the public image `postgres` and in images that follow its environment variables."""

from __future__ import annotations

from pytest_isolate.model.declaration import Preset, Secret, build_preset
from pytest_isolate.model.probes import Tcp

# Data need not survive a power failure; what was committed is in the kernel's hands, so a kill loses nothing.
COMMAND = ("postgres", "-c", "fsync=off", "-c", "full_page_writes=off")
# Outside of every folder that an image declares as a volume: what is in a volume cannot be part of a snapshot's layer,
# and would be copied into a new volume at each start.
DATA = "/srv/postgresql/data"
# A start-up packet (protocol 3.0, user and database "postgres"). A server that is up asks for a password ('R') or
# refuses ('E') with a code ('C') other than 57P03, "the database system is starting up". The temporary server of the
# image's initialisation listens on its unix socket only, so it can never answer here. Format: PostgreSQL's manual,
# "Message Formats", StartupMessage.
_STARTUP = b"\x00\x03\x00\x00user\0postgres\0database\0postgres\0\0"
READY = Tcp(send=(len(_STARTUP) + 4).to_bytes(4, "big") + _STARTUP, expect=r"(?s)\AR|\AE.*\x00C(?!57P03)[0-9A-Z]{5}")


def postgres(version: str = "16", /, **changes: object) -> Preset:
    """A PostgreSQL server: `postgres("16")`, or with any key of `service()` changed.

    The value has `user`, `password` (random where none is given), `database` and a `postgresql://` url.
    """
    values = {
        "image": f"postgres:{version}",
        "command": COMMAND,
        "snapshot": DATA,
        "in_memory": DATA,
        "port": 5432,
        "user": "postgres",
        "password": Secret.RANDOM,
        "database": "postgres",
        "copies": "postgres",
        "url": "postgresql://{user}:{password}@{host}:{port}/{database}",
        "env": {
            "POSTGRES_USER": "{self.user}",
            "POSTGRES_PASSWORD": "{self.password}",
            "POSTGRES_DB": "{self.database}",
            "PGDATA": DATA,
        },
        "ready": READY,
    }
    return build_preset("postgres", values, changes)
