"""A fixture that hands out fresh copies of a shared service's data, as declared, checked and complete."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from pytest_isolate.model.location import Location
from pytest_isolate.model.scope import Scope
from pytest_isolate.model.service import ServiceId


class CopyMethod(NamedTuple):
    """A way to copy a service's data within it. `running.data.backends.table` has what carries it out."""

    needs: tuple[str, ...]
    """The keys that a service has to have besides its port."""
    client: str = ""
    """The server's own client as a command in its container, with `{port}`, `{user}` and `{database}`, for people."""
    password_variable: str = ""
    """The environment variable in which that client looks for the password."""
    init_suffixes: tuple[str, ...] = (".sql",)
    """Suffixes of files that can initialise a database; none where no files can."""
    is_for_external: bool = False
    """Works on a server that runs already, too."""
    has_memory_folder: bool = False
    """Can have its copies in memory while the service's own data is on disk."""


COPY_METHODS: Mapping[str, CopyMethod] = {
    "postgres": CopyMethod(
        needs=("user", "database"),
        client="psql -h 127.0.0.1 -p {port} -U {user} -d {database}",
        password_variable="PGPASSWORD",  # noqa: S106  # a name
        is_for_external=True,
        has_memory_folder=True,
    ),
    "mariadb": CopyMethod(
        needs=("user", "password", "database"),
        client="exec $(command -v mariadb || command -v mysql) -h 127.0.0.1 -P {port} -u {user} {database}",
        password_variable="MYSQL_PWD",  # noqa: S106  # a name
    ),
    "redis": CopyMethod(
        needs=(),
        client="exec $(command -v redis-cli || command -v valkey-cli) -p {port} -n {database}",
        password_variable="REDISCLI_AUTH",  # noqa: S106  # a name
        init_suffixes=(),
    ),
}
"""The ways of copying a service's data, as its key `copies` names them. To add one, see docs/extending.md."""


class InitFiles(Struct, frozen=True, kw_only=True):
    """A file of SQL, or a folder of such files, on the test side. The path is absolute."""

    path: str


class InitCommand(Struct, frozen=True, kw_only=True):
    """A command inside the container."""

    argv: tuple[str, ...]


class InitFunction(Struct, frozen=True, kw_only=True):
    """A function of the user's, called with the handle of the database that is being prepared."""

    function: Callable[[Any], object]


Init = InitFiles | InitCommand | InitFunction


class FreshSpec(Struct, frozen=True, kw_only=True):
    """Copies of a base service's data, initialised once for each content. `key` stands for the content where given."""

    name: str
    base: ServiceId
    init: Init | None = None
    key: str | None = None
    scope: Scope = Scope.FUNCTION
    location: Location
