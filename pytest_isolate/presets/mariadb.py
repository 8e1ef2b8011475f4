"""MariaDB, as in the public image `mariadb` and in images that follow its environment variables."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_isolate.model.declaration import Preset, Secret, build_preset
from pytest_isolate.model.probes import Tcp

# Outside of every folder that an image declares as a volume: what is in a volume cannot be part of a snapshot's layer,
# and would be copied into a new volume at each start.
DATA = "/srv/mysql"
# Data need not survive a power failure; what was committed is in the kernel's hands, so a kill loses nothing.
COMMAND = ("mariadbd", f"--datadir={DATA}", "--innodb-flush-log-at-trx-commit=2", "--skip-innodb-doublewrite")
# The server speaks first: three bytes of length, one of sequence, then protocol version 10. The temporary server of
# the image's initialisation runs without networking. Format: MariaDB's knowledge base, "Connection", initial handshake.
READY = Tcp(expect=r"(?s)\A.{4}\x0a")
# The same for MySQL, but for image, command and the names of variables.
VALUES: Mapping[str, object] = {
    "snapshot": DATA,
    "in_memory": DATA,
    "port": 3306,
    "user": "app",
    "password": Secret.RANDOM,
    "database": "app",
    "copies": "mariadb",
    "url": "mysql://{user}:{password}@{host}:{port}/{database}",
    "ready": READY,
}


def mariadb(version: str = "11.4", /, **changes: object) -> Preset:
    """A MariaDB server: `mariadb("11.4")`, or with any key of `service()` changed.

    The value has `user`, `password` (random where none is given), `database` and a `mysql://` url.
    """
    values = {
        **VALUES,
        "image": f"mariadb:{version}",
        "command": COMMAND,
        "env": {
            "MARIADB_USER": "{self.user}",
            "MARIADB_PASSWORD": "{self.password}",
            "MARIADB_DATABASE": "{self.database}",
            "MARIADB_ROOT_PASSWORD": "{self.password}",
        },
    }
    return build_preset("mariadb", values, changes)
