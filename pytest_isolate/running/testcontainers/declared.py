"""A module as it was declared, and its rehearsal: what it would start, seen without an engine."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pytest_isolate.model.testcontainers import DryRun, Refusal
from pytest_isolate.running.testcontainers.stage import DryRunSource, StartIntercepted

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

    from pytest_isolate.running.testcontainers.adapted import PatchedModule
    from pytest_isolate.running.testcontainers.stage import ContainerSource

_MAKERS = "a container of testcontainers, or a function or class that makes one when it is called without arguments"
_PARTS = "leave networks out, and declare other containers as services: those of one stack() find each other by name"


# How fresh() and reset=True copy the data of modules whose servers are those of presets.
_WAYS = {"PostgresContainer": "postgres", "MySqlContainer": "mariadb"}


class NotAModule(Exception):
    """The declared object makes no container of testcontainers."""


class DeclaredModule:
    """A container of testcontainers, or what makes one."""

    def __init__(self, base: object) -> None:
        self._base = base
        self._made: DockerContainer | None = None
        self._rehearsal: DryRun | None = None
        if not callable(base):
            self._made = _without_connection(base)

    def __str__(self) -> str:
        return f"{self.name} ({self._made.image})" if self._made is not None else f"made by {self.name}"

    @property
    def name(self) -> str:
        """The name of its class, or of what makes it."""
        if self._made is not None:
            return type(self._made).__name__
        made_by = getattr(self._base, "func", self._base)
        return str(getattr(made_by, "__qualname__", type(made_by).__qualname__))

    def rehearse(self) -> DryRun:
        """Return what it starts. It is made and rehearsed once."""
        if self._rehearsal is None:
            self._rehearsal = self._rehearse()
        return self._rehearsal

    def adapt(self, source: ContainerSource) -> PatchedModule:
        """A copy of it on a stage."""
        from pytest_isolate.running.testcontainers.adapted import adapt  # imports testcontainers, as its user has done

        return adapt(self._make(), source)

    def _rehearse(self) -> DryRun:
        try:
            return rehearse(self._make())
        except NotAModule as error:
            return _broken(Refusal(str(error), _MAKERS))
        except Exception as error:
            # Whatever a module's class or a user's function raises.
            reason = f"it could not be asked what it starts: {type(error).__name__}: {error}"
            return _broken(Refusal(reason, "see whether it is declared as its own documentation says"))

    def _make(self) -> DockerContainer:
        """The module; made without an engine, which testcontainers would ask for its version."""
        if self._made is None:
            assert callable(self._base)
            with _clients_connect_late():
                made = self._base()
            self._made = _without_connection(made)
        return self._made


def rehearse(module: DockerContainer) -> DryRun:
    """Return what a module would start, and what of it cannot be honoured; its start runs until it needs an engine."""
    from pytest_isolate.running.testcontainers.settings import (  # with testcontainers
        has_wait,
        parts_of_its_own,
        read_settings,
    )
    from pytest_isolate.running.testcontainers.translate import translate

    parts = parts_of_its_own(module)
    if parts:
        # Its start() would make them for good, before it comes to its own container.
        return _broken(Refusal(f"it would make more than its container: {', '.join(parts)}", _PARTS))
    copy = _reach(module)
    values, refusals = translate(read_settings(copy))
    values |= _describe_data(copy)
    values |= _describe_url(copy, values)
    return DryRun(values=values, refusals=tuple(refusals), has_wait=has_wait(module))


def _reach(module: DockerContainer) -> PatchedModule:
    """A copy of a module, started up to where it would have its container made."""
    from pytest_isolate.running.testcontainers.adapted import adapt

    copy = adapt(module, DryRunSource())
    try:
        copy.start()
    except StartIntercepted:
        return copy
    raise NotAModule("its start() makes no container by that of DockerContainer")


def _describe_data(module: PatchedModule) -> dict[str, object]:
    """Return user, password and database, as far as a module tells them, and how its data is copied."""
    values: dict[str, object] = {}
    for key, attribute in (("user", "username"), ("password", "password"), ("database", "dbname")):
        known = getattr(module, attribute, None)
        if isinstance(known, str) and known.strip():
            values[key] = known
    for cls in type(module).__mro__:
        if cls.__name__ in _WAYS:
            values["copies"] = _WAYS[cls.__name__]
    return values


def _describe_url(module: PatchedModule, values: dict[str, object]) -> dict[str, object]:
    """The module's connection url as a template, where it tells one; its port is the main one."""
    get_url, source = getattr(module, "get_connection_url", None), DryRunSource()
    if get_url is None:
        return {}
    module._isolate_stage, module._container = source, object()
    try:
        url = str(get_url())
    except Exception:
        return {}  # it needs the container itself, or arguments
    address, ports = f"{source.HOST}:{source.PORT}", values.get("ports", [])
    if url.count(address) != 1 or len(set(source.asked)) != 1 or not isinstance(ports, list):
        return {}
    template = url.replace("{", "{{").replace("}", "}}").replace(address, "{host}:{port}")
    path = f"/{quote(str(values.get('database', '')), safe='')}"
    # So that a copy's url, of fresh(), tells the copy.
    if "database" in values and re.search(rf":{{port}}{re.escape(path)}(\?|$)", template):
        template = template.replace(f":{{port}}{path}", ":{port}/{database}")
    return {"url": template, "ports": [*source.asked[:1], *(p for p in ports if p != source.asked[0])]}


def _without_connection(made: object) -> DockerContainer:
    """Return a module whose client has closed the connection that it was made with, which would stay open otherwise."""
    core = sys.modules.get("testcontainers.core.container")
    if core is None or not isinstance(made, core.DockerContainer):
        raise NotAModule(f"it has made {made!r}")
    client = getattr(made, "_docker", None)
    if client is not None:
        client.close() if isinstance(client, _LateClient) else client.client.close()
    found: DockerContainer = made
    return found


@contextmanager
def _clients_connect_late() -> Iterator[None]:
    """Clients of an engine that are made meanwhile connect when they are used, and most modules never do that."""
    from testcontainers.core import container

    module: Any = container
    original = module.DockerClient
    module.DockerClient = functools.partial(_LateClient, original)
    try:
        yield
    finally:
        module.DockerClient = original


class _LateClient:
    """A client that is made when something is asked of it."""

    def __init__(self, cls: Any, **arguments: Any) -> None:
        self._make = functools.partial(cls, **arguments)
        self._made: Any = None

    def close(self) -> None:
        """Let go of its connections, if there are any."""
        if self._made is not None:
            self._made.client.close()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if self._made is None:
            self._made = self._make()
        return getattr(self._made, name)


def _broken(refusal: Refusal) -> DryRun:
    """Return enough for a declaration to be read to its end where its module cannot be rehearsed."""
    return DryRun(values={"image": "unknown"}, refusals=(refusal,))
