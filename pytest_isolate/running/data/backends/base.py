"""The protocol of backends, and their errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from pytest_isolate.errors import IsolateError
from pytest_isolate.model.endpoint import Endpoint
from pytest_isolate.running.containers.running import RunningInstance
from pytest_isolate.running.data.names import PRISTINE, own_suffix


class BackendError(IsolateError):
    """The server refused a statement; `str()` of it is what the server said."""


class InitOutput(IsolateError):
    """An init that failed; `str()` of it is what it said."""


def server_of(running: RunningInstance) -> Endpoint:
    """The server's address for its clients: beside it in its container, or where it runs already."""
    used = running.spec.external
    return used.endpoint if used else Endpoint("127.0.0.1", running.view.spec.ports[0])


def name_suffix(running: RunningInstance) -> str:
    """Suffix of this process's names on a server that is not of this run; empty on one that is."""
    run = running.domain.run
    return own_suffix(run.run_id, run.worker) if running.spec.external else ""


def common_variables(running: RunningInstance, database: str) -> dict[str, str]:
    """Environment variables that tell every command of an init or reset where its database is."""
    view = running.view
    return {
        "ISOLATE_HOST": server_of(running).host if view.spec.ports else "127.0.0.1",
        "ISOLATE_PORT": str(server_of(running).port) if view.spec.ports else "",
        "ISOLATE_USER": view.spec.user or "",
        "ISOLATE_PASSWORD": view.password or "",
        "ISOLATE_DATABASE": database,
    }


class Closing(Protocol):
    """Anything with close()."""

    def close(self) -> None:
        """Close it."""


@contextmanager
def closed_on_failure(opened: Closing) -> Iterator[None]:
    """Close something if what is done with it first fails."""
    try:
        yield
    except BaseException:
        opened.close()
        raise


class DataBackend(Protocol):
    """One client that stays open inside the service's container. For one thread at a time.

    Every method may raise BackendError, and EngineError where the container or the client is gone.
    """

    @property
    def room(self) -> int | None:
        """Most copies at a time; None where nothing but space bounds them."""
        return None

    def size_bytes(self, template: str) -> int:  # noqa: ARG002  # where it is known, that depends on the template
        """Bytes of disk or memory that a copy of a template takes; 0 where that is not known."""
        return 0

    def save_pristine(self) -> None:
        """Put the declared database, as it is now, aside. Nobody may be connected to it. Safe to repeat."""

    def begin_template(self, name: str) -> str:
        """A database in the pristine state, for init to work on, by the name to connect to.

        What somebody began who has died is thrown away.
        """
        self.drop(name)
        return self.create(PRISTINE, name)

    def run_files(self, database: str, folder: str, names: Sequence[str]) -> None:
        """Carry out files of SQL that are in the container; InitOutput names file, line and statement."""
        raise NotImplementedError  # the loader refuses files where `init_suffixes` has none

    def finish_template(self, name: str) -> None:
        """From now on nobody can change it."""

    def create(self, template: str, name: str) -> str:
        """A true copy of a template; the name of the database to connect to."""

    def drop(self, name: str) -> None:
        """Drop a copy, whoever is connected to it. One that is gone is fine."""

    def databases(self) -> Sequence[str]:
        """The names of all databases on the server."""

    def prepare_reset(self) -> None:
        """Do ahead what reset() can have done ahead. Safe to repeat, and while tests run."""

    def reset(self) -> None:
        """Put the declared database back to the pristine state, whoever is connected to it."""

    def close(self) -> None:
        """Let go of the client. Safe to repeat."""


class ExternalBackend(DataBackend, Protocol):
    """One that works on a server which runs already, where other runs make databases too."""

    def drop_of(self, is_theirs: Callable[[tuple[str, str]], bool]) -> None:
        """Drop all that these processes have made there."""
