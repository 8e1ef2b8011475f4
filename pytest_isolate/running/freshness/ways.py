"""What every way of copying data within a server can do, and the errors on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pytest_isolate.errors import IsolateError


class WayError(IsolateError):
    """The server refused a statement; `str()` of it is what the server said."""


class InitOutput(IsolateError):
    """An init that failed; `str()` of it is what it said."""


class Way(Protocol):
    """One client that stays open inside the service's container. For one thread at a time.

    Every method may raise WayError, and EngineError where the container or the client is gone.
    """

    def save_pristine(self) -> None:
        """Put the declared database, as it is now, aside. Nobody may be connected to it. Safe to repeat."""

    def begin_template(self, name: str) -> str:
        """A database in the pristine state, for init to work on, by the name to connect to.

        What somebody began who has died is thrown away.
        """

    def run_files(self, database: str, folder: str, names: Sequence[str]) -> None:
        """Carry out files of SQL that are in the container; InitOutput names file, line and statement."""

    def variables(self, database: str) -> Mapping[str, str]:
        """Environment variables with which the service's own clients find a database, inside the container."""

    def finish_template(self, name: str) -> None:
        """From now on nobody can change it."""

    def create(self, template: str, name: str) -> str:
        """A true copy of a template; the name of the database to connect to."""

    def drop(self, name: str) -> None:
        """Drop a copy, whoever is connected to it. One that is gone is fine."""

    def copies(self) -> Sequence[str]:
        """The names of all databases on the server that may be copies of ours."""

    def close(self) -> None:
        """Let go of the client. Safe to repeat."""
