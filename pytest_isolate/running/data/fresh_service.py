"""What a test is handed of a fresh() fixture: a service whose database is the test's own."""

from __future__ import annotations

from typing import NoReturn

from msgspec.structs import replace

from pytest_isolate.engine.api import Engine, ExecResult
from pytest_isolate.errors import IsolateError, build_message
from pytest_isolate.running.containers.handle import Service
from pytest_isolate.running.containers.view import ServiceView, default_url


class FreshService(Service):
    """A copy of a shared service's data: as the service's handle, but `database` and `url` are its own.

    What would take the server away from other tests (stop, kill, pause and all faults, among others) is refused;
    `base` is the handle of the shared service.
    """

    def __init__(self, name: str, view: ServiceView, base: Service, engine: Engine) -> None:
        # What stops and starts it again is refused below, so nothing of that is ever called.
        super().__init__(
            view,
            engine=engine,
            image=base.image,
            container_id=base.container_id,
            hold_data=self.stop,
            start_again=self.start,
            faults=base._faults,
        )
        self._name = name
        self.base = base
        """The shared service that this is a copy of."""

    @property
    def name(self) -> str:
        """The name that it is declared under."""
        return self._name

    def stop(self, timeout_s: int = 10) -> NoReturn:  # noqa: ARG002  # the signature of the service's
        """Refused: the server is shared."""
        self._refuse("stop")

    def start(self) -> NoReturn:
        """Refused: the server is shared."""
        self._refuse("start")

    def restart(self, timeout_s: int = 10) -> NoReturn:  # noqa: ARG002  # the signature of the service's
        """Refused: the server is shared."""
        self._refuse("restart")

    def kill(self) -> NoReturn:
        """Refused: the server is shared."""
        self._refuse("kill")

    def pause(self) -> NoReturn:
        """Refused: the server is shared."""
        self._refuse("pause")

    def unpause(self) -> NoReturn:
        """Refused: the server is shared."""
        self._refuse("unpause")

    def paused(self) -> NoReturn:
        """Refused: the server is shared."""
        self._refuse("paused")

    def stopped(self, timeout_s: int = 10) -> NoReturn:  # noqa: ARG002  # the signature of the service's
        """Refused: the server is shared."""
        self._refuse("stopped")

    def killed(self) -> NoReturn:
        """Refused: the server is shared."""
        self._refuse("killed")

    def disconnected(self) -> NoReturn:
        """Refused: the server is shared."""
        self._refuse("disconnected")

    def slow(self, **_: object) -> NoReturn:
        """Refused: the server is shared."""
        self._refuse("slow")

    def _refuse(self, verb: str) -> NoReturn:
        raise IsolateError(
            build_message(
                f"{verb}() is not for {self.name!r}: it is a database on the server of {self.base.name!r}, "
                "which other tests use at the same time",
                do=f"for a server of its own: service(..., scope='function'); or {self.name}.base.{verb}() if you must",
            )
        )


class UsedFreshService(FreshService):
    """A copy on a server that runs already: what is asked of its container is refused as its base refuses it."""

    def logs(self) -> str:
        """Refused: there is no container of ours."""
        return self.base.logs()

    def exec(self, *argv: str, check: bool = False) -> ExecResult:
        """Refused: there is no container of ours."""
        return self.base.exec(*argv, check=check)


def build_handle(name: str, base: Service, view: ServiceView, engine: Engine, database: str) -> FreshService:
    """The handle of one database on the server of `base`."""
    if view.spec.external:
        return UsedFreshService(name, view_database(view, database), base, engine)
    return FreshService(name, view_database(view, database), base, engine)


def view_database(view: ServiceView, database: str) -> ServiceView:
    """A server as it is seen by whoever uses this database of it."""
    if view.spec.external:
        used = view.spec.external.with_path(database)
        return replace(view, spec=replace(view.spec, database=database, external=used))
    url = view.spec.url or default_url(view.spec)
    if "{database}" not in url:
        url = f"{url.rstrip('/')}/{{database}}"
    return replace(view, spec=replace(view.spec, database=database, url=url))
