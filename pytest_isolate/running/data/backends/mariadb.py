"""Fresh data in MariaDB and MySQL: a template is written out once, and each copy is that text carried out.

Nothing is faster within the server: it cannot copy a database, and a copy table by table loses what belongs to several.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress

from pytest_isolate.engine.api import Engine
from pytest_isolate.errors import EngineError
from pytest_isolate.running.containers.running import RunningInstance
from pytest_isolate.running.data.backends.base import BackendError, DataBackend, InitOutput, common_variables
from pytest_isolate.running.data.backends.client import Client, run_to_end
from pytest_isolate.running.data.names import PRISTINE

_FOLDER = "/var/tmp/isolate"  # noqa: S108  # inside the container
_FIND = 'exec "$(command -v mariadb || command -v mysql)"'
_CLIENT = f'{_FIND} --batch --raw --skip-column-names --unbuffered --force "$@" 2>&1'
_FILE = f'{_FIND} --batch --verbose --user="$1" "$2" < "$3" 2>&1'
# Everything that belongs to a database, as statements that name no database, and behind them its users' rights.
_DUMP = (
    'umask 077; mkdir -p "${3%/*}" && '
    '"$(command -v mariadb-dump || command -v mysqldump)" --user="$1" --single-transaction --routines --triggers '
    '--events --hex-blob --skip-comments --skip-lock-tables "$2" > "$3" && printf %s "$4" >> "$3"'
)
_REFUSED = re.compile(r"ERROR (at line \d+: |\d+ \(\w+\))")


def environment(running: RunningInstance, database: str) -> dict[str, str]:
    """Environment variables that tell a command where a database is."""
    view = running.view
    own = {"MYSQL_HOST": "127.0.0.1", "MYSQL_TCP_PORT": str(view.spec.ports[0]), "MYSQL_PWD": view.password or ""}
    return {**common_variables(running, database), **own}


class MariadbBackend(DataBackend):
    """One client of the server's administrator, which stays open."""

    def __init__(self, engine: Engine, running: RunningInstance) -> None:
        self._engine = engine
        self._running = running
        self._user, password, self._client = self._connect()
        self._login = {"MYSQL_PWD": password}

    def save_pristine(self) -> None:
        if not self._run(f"SELECT 1 FROM information_schema.schemata WHERE schema_name = '{PRISTINE}'"):
            self._write_out(self._running.spec.database or "", PRISTINE)
            self._create_like(self._running.spec.database or "", PRISTINE)

    def run_files(self, database: str, folder: str, names: Sequence[str]) -> None:
        for name in names:
            argv = ["sh", "-c", _FILE, "sh", self._user, database, f"{folder}/{name}"]
            code, output = run_to_end(self._engine, self._running.container_id, argv, self._login)
            if code != 0:
                raise InitOutput(_describe(name, output))

    def finish_template(self, name: str) -> None:
        """Write it out as text, which is what is copied: clients that are still connected cannot change that."""
        self._write_out(name, name)

    def create(self, template: str, name: str) -> str:
        self._create_like(template, name)
        self._run(f"USE {_name(name)}")
        self._run(f"SOURCE {_FOLDER}/{template}.sql", end="")
        return name

    def drop(self, name: str) -> None:
        """Drop a copy, and the rights that users had on it. Statements that run there end first."""
        self._run(f"DROP DATABASE IF EXISTS {_name(name)}")
        pairs = self._run(f"SELECT User, Host FROM mysql.db WHERE Db = {_text(name)}")
        for user, host in (pair.split("\t") for pair in pairs):
            self._run(f"REVOKE ALL PRIVILEGES ON {_name(name)}.* FROM {_text(user)}@{_text(host)}")

    def databases(self) -> Sequence[str]:
        return self._run("SHOW DATABASES")

    def prepare_reset(self) -> None:
        pass  # a database cannot be given another name

    def reset(self) -> None:
        """Make the declared database anew. Who is connected to it is disconnected: an open transaction blocks that."""
        database = self._running.spec.database or ""
        query = f"SELECT id FROM information_schema.processlist WHERE db = {_text(database)} AND id <> CONNECTION_ID()"
        for number in self._run(query):
            with suppress(BackendError):  # it has gone by itself
                self._run(f"KILL {number}")
        self.drop(database)
        self.create(PRISTINE, database)

    def close(self) -> None:
        self._client.close()

    def _create_like(self, source: str, name: str) -> None:
        found = self._run(
            "SELECT default_character_set_name, default_collation_name FROM information_schema.schemata "
            f"WHERE schema_name = {_text(source)}"
        )
        if not found:
            raise BackendError(f"database {source!r} does not exist")
        charset, collation = found[0].split("\t")
        self._run(f"CREATE DATABASE {_name(name)} CHARACTER SET {charset} COLLATE {collation}")

    def _write_out(self, database: str, name: str) -> None:
        rights = "".join(f"{line};\n" for line in self._rights(database))
        argv = ["sh", "-c", _DUMP, "sh", self._user, database, f"{_FOLDER}/{name}.sql", rights]
        code, output = run_to_end(self._engine, self._running.container_id, argv, self._login)
        if code != 0:
            raise BackendError(f"{database} could not be written out: {output.strip()}")

    def _rights(self, database: str) -> Iterator[str]:
        """The rights on a database as statements that hold for whichever is in use. Underlines may be escaped."""
        names = {_name(database), _name(database.replace("_", "\\_"))}
        for account in self._run("SELECT CONCAT(QUOTE(User), '@', QUOTE(Host)) FROM mysql.user WHERE User <> ''"):
            try:
                granted = self._run(f"SHOW GRANTS FOR {account}")
            except BackendError:
                continue  # roles are listed as users without a host in some versions
            for line in granted:
                name = next((n for n in names if f" {n}." in line), None)
                if name:
                    yield line.replace(f" {name}.", " ")

    def _run(self, statement: str, end: str = ";") -> list[str]:
        lines = self._client.ask(f"{statement}{end}\nSELECT '{self._client.sentinel}';\n")
        refusal = next((line for line in lines if _REFUSED.match(line)), "")
        if refusal:
            raise BackendError(refusal)
        return lines

    def _connect(self) -> tuple[str, str, Client]:
        # Root by the declared password or the socket alone, else the declared user: one of them may make databases.
        view, refused = self._running.view, EngineError("nobody to log in as")
        for user, password in (("root", view.password), ("root", ""), (view.spec.user, view.password)):
            argv = ["sh", "-c", _CLIENT, "sh", f"--user={user}"]
            client = Client(self._engine, self._running.container_id, argv, {"MYSQL_PWD": password or ""})
            try:
                client.ask(f"SELECT '{client.sentinel}';\n")
            except EngineError as error:
                refused = error
                client.close()
                continue
            return user or "", password or "", client
        raise BackendError("; ".join(refused.found))


def _describe(name: str, output: str) -> str:
    """The error, and the statement: what the client has shown last before it."""
    lines = output.strip().splitlines()
    error = next((line for line in lines if _REFUSED.match(line)), lines[-1] if lines else "it said nothing")
    blocks = re.findall(r"^-{14}\n(.*?)\n-{14}$", output, re.MULTILINE | re.DOTALL)
    return f"{name}: {error}" + (f"\nSTATEMENT: {blocks[-1]}" if blocks else "")


def _name(text: str) -> str:
    return "`" + text.replace("`", "``") + "`"


def _text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
