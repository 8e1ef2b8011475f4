"""Fresh data in PostgreSQL: databases copied from a template that allows no connections."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from pytest_isolate.engine.api import Engine
from pytest_isolate.model.service import Pristine
from pytest_isolate.running.containers.running import RunningInstance
from pytest_isolate.running.containers.security import COPIES
from pytest_isolate.running.data.backends.base import (
    BackendError,
    ExternalBackend,
    InitOutput,
    closed_on_failure,
    common_variables,
    name_suffix,
    server_of,
)
from pytest_isolate.running.data.backends.client import Client, run_to_end
from pytest_isolate.running.data.names import PRISTINE, creator_of

# Made by CREATE DATABASE as of these versions.
_STRATEGY_SINCE = 150000
_FORCE_SINCE = 130000
_MAINTENANCE = "postgres"
_GONE_WITHIN_S = 10
# The tablespace of copies that are in memory while the server's data is not, and how much of it copies may fill.
_MEMORY = "isolate_memory"
_FILLED = 0.75
# Where we are when the declared database is the one that is usually there for that.
_DESK = "isolate_desk"
# What a reset will give the declared name to, and what it has taken it from.
_SPARE = "isolate_spare"
_AWAY = "isolate_away_"


def environment(running: RunningInstance, database: str) -> dict[str, str]:
    """Environment variables with which every client of PostgreSQL finds a database."""
    view = running.view
    return {
        **common_variables(running, database),
        "PGHOST": server_of(running).host,
        "PGPORT": str(server_of(running).port),
        "PGUSER": view.spec.user or "",
        "PGPASSWORD": view.password or "",
        "PGDATABASE": database,
    }


class PostgresBackend(ExternalBackend):
    """One psql, which stays open."""

    def __init__(self, engine: Engine, running: RunningInstance) -> None:
        self._engine = engine
        self._running = running
        self._pristine = PRISTINE + name_suffix(running)
        self._plain: dict[str, bool] = {}
        self._sizes: dict[str, int] = {}
        self._memory_bytes = running.memory_folders.get(COPIES, 0)
        self._client = self._connect(_MAINTENANCE)
        with closed_on_failure(self):
            self._version = int(self._run("SHOW server_version_num")[0])
            if isinstance(running.spec.reset, Pristine) and running.spec.database == _MAINTENANCE:
                self._move_out()

    def size_bytes(self, template: str) -> int:
        """Ask once: the files of a template never change."""
        if template not in self._sizes:
            self._sizes[template] = int(self._run(f"SELECT pg_database_size({_text(template)})")[0])
        return self._sizes[template]

    def save_pristine(self) -> None:
        if self._memory_bytes:
            self._open_memory()
        if not self._exists(self._pristine):
            self._copy(self._running.spec.database or "", self._pristine)
            self._seal(self._pristine)

    def begin_template(self, name: str) -> str:
        if self._exists(name):
            self._run(f"ALTER DATABASE {_name(name)} IS_TEMPLATE false")
            self.drop(name)
        self._copy(self._pristine, name)
        return name

    def run_files(self, database: str, folder: str, names: Sequence[str]) -> None:
        files = [word for name in names for word in ("-f", f"{folder}/{name}")]
        argv = ["psql", "-Xqb", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", *files]
        code, output = run_to_end(self._engine, self._running.container_id, argv, environment(self._running, database))
        if code != 0:
            raise InitOutput(output.replace(f"psql:{folder}/", "").strip())

    def finish_template(self, name: str) -> None:
        """Refuse connections from now on, and end those that init has left."""
        self._run(f"ALTER DATABASE {_name(name)} ALLOW_CONNECTIONS false")
        self._disconnect(name)
        self._seal(name)

    def create(self, template: str, name: str) -> str:
        """A true copy of a template, in memory where there is room for it."""
        if self._fits_into_memory(template):
            try:
                self._copy(template, name, f" TABLESPACE {_MEMORY}")
                return name
            except BackendError:
                self._memory_bytes = 0  # such as when tests have filled it
        self._copy(template, name)
        return name

    def drop(self, name: str) -> None:
        force = " WITH (FORCE)" if self._version >= _FORCE_SINCE else ""
        if not force:
            self._run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {_text(name)}")
        self._run(f"DROP DATABASE IF EXISTS {_name(name)}{force}")

    def databases(self) -> Sequence[str]:
        return self._run("SELECT datname FROM pg_database")

    def drop_of(self, is_theirs: Callable[[tuple[str, str]], bool]) -> None:
        ours = "SELECT datname FROM pg_database WHERE datname LIKE 'isolate\\_%'"
        # One whose making or dropping broke off is marked by this limit: it can be dropped, and nothing else.
        templates = self._run(f"{ours} AND datistemplate AND datconnlimit <> -2")
        for name in self._run(ours):
            maker = creator_of(name)
            if maker and is_theirs(maker):
                if name in templates:
                    self._run(f"ALTER DATABASE {_name(name)} IS_TEMPLATE false")
                self.drop(name)

    def prepare_reset(self) -> None:
        """Copy the pristine state, and drop what the last reset put away: a reset then takes 24 ms and not 180."""
        for name in self._run(f"SELECT datname FROM pg_database WHERE datname LIKE '{_AWAY}%'"):
            with suppress(BackendError):  # such as one with a replication slot, which does no harm
                self.drop(name)
        if not self._exists(_SPARE):
            self._copy(self._pristine, _SPARE)

    def reset(self) -> None:
        """Give the declared database's name to a copy of the pristine state. All its connections are closed."""
        self.prepare_reset()
        database = self._running.spec.database or ""
        if self._exists(database):
            self._run(f"ALTER DATABASE {_name(database)} ALLOW_CONNECTIONS false IS_TEMPLATE false")
            self._disconnect(database)
            self._run(f"ALTER DATABASE {_name(database)} RENAME TO {_name(_AWAY + secrets.token_hex(4))}")
        self._run(f"ALTER DATABASE {_name(_SPARE)} RENAME TO {_name(database)}")

    def close(self) -> None:
        self._client.close()

    def _move_out(self) -> None:
        """Go to a database of our own: a database that is connected to can neither be replaced nor copied."""
        if not self._exists(_DESK):
            self._run(f"CREATE DATABASE {_name(_DESK)} TEMPLATE template0")
        self._client.close()
        self._client = self._connect(_DESK)

    def _disconnect(self, name: str) -> None:
        connected = f"FROM pg_stat_activity WHERE datname = {_text(name)} AND backend_type <> 'autovacuum worker'"
        deadline = time.monotonic() + _GONE_WITHIN_S
        while self._run(f"SELECT pg_terminate_backend(pid) {connected}"):
            if time.monotonic() > deadline:
                raise BackendError(f"connections to {name} stay open")
            time.sleep(0.002)  # a backend is only asked to end, and nothing tells when it has

    def _open_memory(self) -> None:
        if self._run(f"SELECT 1 FROM pg_tablespace WHERE spcname = '{_MEMORY}'"):
            return
        try:
            self._run(f"COPY (SELECT 1) TO PROGRAM 'mkdir -p {COPIES}/postgres'")
            self._run(f"CREATE TABLESPACE {_MEMORY} LOCATION '{COPIES}/postgres'")
        except BackendError:
            self._memory_bytes = 0  # a user without the right to: copies are made on disk

    def _fits_into_memory(self, template: str) -> bool:
        """True where there is room for one more, and for what tests will add."""
        if not self._memory_bytes:
            return False
        spaces = f"SELECT oid FROM pg_tablespace WHERE spcname = '{_MEMORY}'"
        there = self._run(f"SELECT count(*) FROM pg_database WHERE dattablespace IN ({spaces})")
        return (int(there[0]) + 1) * self.size_bytes(template) <= self._memory_bytes * _FILLED

    def _copy(self, source: str, name: str, where: str = "") -> None:
        """The database, and what CREATE DATABASE leaves out: its rights and its settings, which lie in shared tables.

        Measured with fsync off on a busy disk, a database of 100 tables: file_copy takes a third of wal_log's time,
        which writes every page a second time; an empty one: half of it.
        """
        strategy = " STRATEGY file_copy" if self._version >= _STRATEGY_SINCE else ""
        owner = self._run(f"SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = {_text(source)}")
        if not owner:
            raise BackendError(f'database "{source}" does not exist')
        self._run(f"CREATE DATABASE {_name(name)} TEMPLATE {_name(source)} OWNER {_name(owner[0])}{where}{strategy}")
        if not self._is_plain(source):
            self._copy_rights_and_settings(source, name)

    def _is_plain(self, source: str) -> bool:
        """True for a database without rights and settings of its own. A template's never change."""
        if source not in self._plain:
            found = self._run(
                f"SELECT 1 FROM pg_database d WHERE datname = {_text(source)} AND (datacl IS NOT NULL "
                "OR EXISTS (SELECT 1 FROM pg_db_role_setting WHERE setdatabase = d.oid))"
            )
            self._plain[source] = not found
        return self._plain[source]

    def _copy_rights_and_settings(self, source: str, name: str) -> None:
        self._run(
            f"UPDATE pg_database SET datacl = s.datacl FROM pg_database s "
            f"WHERE s.datname = {_text(source)} AND pg_database.datname = {_text(name)} AND s.datacl IS NOT NULL"
        )
        self._run(
            "INSERT INTO pg_db_role_setting SELECT n.oid, r.setrole, r.setconfig FROM pg_db_role_setting r "
            f"JOIN pg_database s ON s.oid = r.setdatabase AND s.datname = {_text(source)} "
            f"JOIN pg_database n ON n.datname = {_text(name)}"
        )

    def _seal(self, name: str) -> None:
        self._run(f"ALTER DATABASE {_name(name)} ALLOW_CONNECTIONS false IS_TEMPLATE true")

    def _exists(self, name: str) -> bool:
        return bool(self._run(f"SELECT 1 FROM pg_database WHERE datname = {_text(name)}"))

    def _run(self, statement: str) -> list[str]:
        mark = self._client.sentinel
        state = f"{mark}-state "
        told = f"\\echo {state}:SQLSTATE\n\\echo :LAST_ERROR_MESSAGE\n\\echo {mark}\n"
        lines = self._client.ask(f"{statement};\n{told}")
        end = next(number for number, line in enumerate(lines) if line.startswith(state))
        if lines[end] != f"{state}00000":
            raise BackendError("\n".join(lines[end + 1 :]))
        return lines[:end]

    def _connect(self, database: str) -> Client:
        variables = {**environment(self._running, database), "PGAPPNAME": "pytest-isolate", "PGCONNECT_TIMEOUT": "30"}
        return Client(self._engine, self._running.container_id, ["psql", "-XqAt", "-v", "ON_ERROR_STOP=0"], variables)


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
