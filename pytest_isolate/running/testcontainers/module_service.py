"""The handle of a module of testcontainers: ours, with the module's own methods beside."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pytest_isolate.errors import IsolateError, build_message
from pytest_isolate.running.containers.controls import Controls
from pytest_isolate.running.containers.handle import Service
from pytest_isolate.running.containers.view import ServiceView

M = TypeVar("M")
_SETTING = ("with_", "waiting_for", "maybe_")


class ModuleService(Service, Generic[M]):
    """A running service that was declared as a container of testcontainers.

    What this class has not, such as `get_connection_url()`, is the module's own. `module` is the module itself: its
    class, its addresses, and no way to start or stop the container.
    """

    module: M

    def __init__(self, view: ServiceView, controls: Controls, *, image: str, container_id: str, module: M) -> None:
        super().__init__(view, controls, image=image, container_id=container_id)
        self.module = module

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "module":
            raise AttributeError(name)  # copy and pickle ask before the object is complete
        if name.startswith(_SETTING):
            what = f"service {self.name!r} runs already: {name}() would change nothing"
            raise IsolateError(build_message(what, do="say it where the service is declared, or in service(...)"))
        try:
            return getattr(self.module, name)
        except AttributeError:
            kind = type(self.module).__name__
            raise AttributeError(f"neither services nor {kind} have {name!r} (service {self.name!r})") from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name for name in dir(self.module) if not name.startswith(("_", *_SETTING)))]
