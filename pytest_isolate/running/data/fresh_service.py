"""The value of a fresh() fixture: a service whose database is the test's own."""

from __future__ import annotations

from msgspec.structs import replace

from pytest_isolate.errors import IsolateError, build_message
from pytest_isolate.running.containers.controls import Refusing
from pytest_isolate.running.containers.handle import Service
from pytest_isolate.running.containers.view import ServiceView, default_url


class FreshService(Service):
    """A copy of a shared service's data: as the service's handle, but `database` and `url` are its own.

    What would take the server away from other tests (stop, kill, pause and all faults, among others) is refused;
    `base` is the handle of the shared service.
    """

    def __init__(self, name: str, view: ServiceView, base: Service) -> None:
        allowed = {"logs": base._controls.logs, "exec": base._controls.exec}
        super().__init__(view, Refusing(self._refusal, allowed), image=base.image, container_id=base.container_id)
        self._name = name
        self.base = base
        """The shared service that this is a copy of."""

    @property
    def name(self) -> str:
        """The name that it is declared under."""
        return self._name

    def _refusal(self, verb: str) -> IsolateError:
        return IsolateError(
            build_message(
                f"{verb}() is not for {self.name!r}: it is a database on the server of {self.base.name!r}, "
                "which other tests use at the same time",
                do=f"for a server of its own: service(..., scope='function'); or {self.name}.base.{verb}() if you must",
            )
        )


def build_handle(name: str, base: Service, view: ServiceView, database: str) -> FreshService:
    """Return the handle of one database on the server of `base`."""
    return FreshService(name, view_database(view, database), base)


def view_database(view: ServiceView, database: str) -> ServiceView:
    """Return the view of a server for the users of one of its databases."""
    if view.spec.external:
        used = view.spec.external.with_path(database)
        return replace(view, spec=replace(view.spec, database=database, external=used))
    url = view.spec.url or default_url(view.spec)
    if "{database}" not in url:
        url = f"{url.rstrip('/')}/{{database}}"
    return replace(view, spec=replace(view.spec, database=database, url=url))
