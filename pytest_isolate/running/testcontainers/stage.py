"""The container under a module: none while it is rehearsed, then one that this project has made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pytest_isolate.declarations.placeholders import escape
from pytest_isolate.errors import IsolateError, build_message
from pytest_isolate.model.endpoint import Endpoint
from pytest_isolate.running.containers.view import ServiceView
from pytest_isolate.running.testcontainers.sdk_container import ContainerView


class StartIntercepted(BaseException):
    """The module would have its container made now, and that is all that was to be seen.

    No Exception: some modules log those, or try again.
    """


class ContainerSource(Protocol):
    """Answers what a module asks of its container."""

    def begin(self, env: Mapping[str, object]) -> ContainerView:
        """The module would have its container made, with these variables, and started; Reached where it is not."""

    def endpoint(self, inner: int) -> Endpoint:
        """Return where a test reaches one of its ports."""

    def host(self) -> str:
        """The address that a test reaches it at."""


class DryRunSource:
    """No container, so that an address is only a place in a text: HOST and PORT.

    `asked` are the ports that were asked for.
    """

    HOST = "host.invalid"
    PORT = 65533

    def __init__(self) -> None:
        self.asked: list[int] = []

    def begin(self, env: Mapping[str, object]) -> ContainerView:  # noqa: ARG002  # read from the module, like the rest
        """Reached."""
        raise StartIntercepted

    def endpoint(self, inner: int) -> Endpoint:
        """The same for each port."""
        self.asked.append(inner)
        return Endpoint(self.HOST, self.PORT)

    def host(self) -> str:
        """A name that no host has (RFC 2606)."""
        return self.HOST


class Started:
    """The container of a service. It is begun once; one that is there already only has to be met."""

    def __init__(
        self, view: ServiceView, container: ContainerView, *, is_new: bool, rehearsed_env: Mapping[str, object]
    ) -> None:
        self._view = view
        self._container = container
        self._is_new = is_new
        self._rehearsed_env = rehearsed_env
        self._has_begun = False

    @property
    def container(self) -> ContainerView:
        """Its container, as the docker SDK would show it."""
        return self._container

    def begin(self, env: Mapping[str, object]) -> ContainerView:
        """The container, the first time, if it was made for this module; Reached where another process did that."""
        if self._has_begun:
            raise IsolateError(_lifecycle_message(self._view.spec.name, "start"))
        self._has_begun = True
        self._check_same(env)
        if not self._is_new:
            raise StartIntercepted
        return self._container

    def endpoint(self, inner: int) -> Endpoint:
        """Return where a test reaches one of its ports."""
        self._container.check()
        do = f"with_exposed_ports({inner}), or ports=[..., {inner}] of service()"
        return self._view.published(inner, self._view.spec.name, do)

    def host(self) -> str:
        """The address that it is published on."""
        self._container.check()
        return next(iter(self._view.endpoints.values())).host if self._view.endpoints else "127.0.0.1"

    def refuse(self, verb: str) -> IsolateError:
        """The error for who would start or stop the container through the module."""
        return IsolateError(_lifecycle_message(self._view.spec.name, verb))

    def _check_same(self, env: Mapping[str, object]) -> None:
        """The container was made as the rehearsal said; a module that says something else now would not fit it."""
        now = {name: escape(str(value)) for name, value in env.items() if value is not None}
        differing = sorted(name for name, value in self._rehearsed_env.items() if now.get(name) != value)
        if differing:
            what = f"the module of service {self._view.spec.name!r} has another value each time: {', '.join(differing)}"
            raise IsolateError(build_message(what, do="set it where the module is declared"))


def _lifecycle_message(name: str, verb: str) -> str:
    return build_message(
        f"the container of service {name!r} is started and removed by pytest-isolate, not by its module: {verb}()",
        do=f"use the methods of the fixture's value: {name}.stop(), {name}.start(), {name}.restart(), {name}.kill()",
    )
