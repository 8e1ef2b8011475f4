"""MySQL, as in the public image `mysql` and in images that follow its environment variables."""

from __future__ import annotations

from pytest_isolate.model.declaration import Preset, build_preset
from pytest_isolate.presets.mariadb import DATA, VALUES

# As for MariaDB. Each of the two servers refuses options that only the other one knows.
COMMAND = (
    "mysqld",
    f"--datadir={DATA}",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-doublewrite=OFF",
    "--sync-binlog=0",
)
# The server keeps its id in its data folder, and two servers of one id do not replicate from each other. One that
# begins with the data of a snapshot must make an id of its own; one that starts again must keep it.
_MARK = "/srv/mysql-has-its-own-id"
_SCRIPT = f'[ -e {_MARK} ] || rm -f {DATA}/auto.cnf; touch {_MARK}; exec docker-entrypoint.sh "$@"'
ENTRYPOINT = ("sh", "-c", _SCRIPT, "mysql")


def mysql(version: str = "8.4", /, **changes: object) -> Preset:
    """A MySQL server: `mysql("8.4")`, or with any key of `service()` changed.

    The value has `user`, `password` (random where none is given), `database` and a `mysql://` url.
    """
    values = {
        **VALUES,
        "image": f"mysql:{version}",
        "entrypoint": ENTRYPOINT,
        "command": COMMAND,
        "env": {
            "MYSQL_USER": "{self.user}",
            "MYSQL_PASSWORD": "{self.password}",
            "MYSQL_DATABASE": "{self.database}",
            "MYSQL_ROOT_PASSWORD": "{self.password}",
        },
    }
    return build_preset("mysql", values, changes)
