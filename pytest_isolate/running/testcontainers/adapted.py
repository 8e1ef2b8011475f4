"""Modules of testcontainers whose container comes from a ContainerSource instead of from Docker, and their settings.

A copy of a module gets a class of its own with `PatchedModule` between the module's classes and DockerContainer. All
that the module's classes do before and after `super().start()` is done as they say. What DockerContainer itself does
there, such as starting the clean-up helper Ryuk, is left out. Attributes of modules are named only here.
"""

from __future__ import annotations

import copy
import functools
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from testcontainers.core.config import ConnectionMode, testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from typing_extensions import Self

from pytest_isolate.running.testcontainers.stage import ContainerSource, Started


class Client:
    """Answers what modules ask of the client of their engine."""

    def __init__(self, source: ContainerSource) -> None:
        self._source = source

    def host(self) -> str:
        return self._source.host()

    def port(self, _container_id: str, port: int | str) -> str:
        return str(self._source.endpoint(_number(port)).port)

    def get_connection_mode(self) -> ConnectionMode:
        return ConnectionMode.docker_host  # ports are published


class PatchedModule(DockerContainer):
    """A container that pytest-isolate makes, starts and removes."""

    _isolate_stage: ContainerSource

    def start(self) -> Self:
        self._configure()
        self._container: Any = self._isolate_stage.begin(self.env)
        if self._wait_strategy is not None:
            self._wait_strategy.wait_until_ready(self)
        return self

    def stop(self, force: bool = True, delete_volume: bool = True) -> None:  # noqa: ARG002  # as the library has it
        """Refuse, once it runs: other users of the service would lose it."""
        if isinstance(self._isolate_stage, Started):
            raise self._isolate_stage.refuse("stop")

    def __del__(self) -> None:
        """Older releases stop the container here."""

    def get_docker_client(self) -> Any:
        return Client(self._isolate_stage)

    def get_container_host_ip(self) -> str:
        return self._isolate_stage.host()

    def get_exposed_port(self, port: int) -> int:
        return self._isolate_stage.endpoint(_number(port)).port


def adapt(module: DockerContainer, source: ContainerSource) -> PatchedModule:
    """A copy of a module as it is now, on a stage. What cannot be copied of it, such as a lock, both have."""
    cls: Any = type(module)
    adapted = _adapted_class(cls)
    made = adapted.__new__(adapted)
    memo: dict[int, object] = {id(module): made}
    for name, value in vars(module).items():
        vars(made)[name] = None if name == "_docker" else _copy(value, memo)
    made._isolate_stage = source
    vars(made)["_docker"] = Client(source)
    return made


def _copy(value: object, memo: dict[int, object]) -> object:
    try:
        return copy.deepcopy(value, memo)
    except Exception:  # whatever a user's or a library's own class raises
        return value


@functools.cache
def _adapted_class(cls: Any) -> type[PatchedModule]:
    bases = (PatchedModule,) if cls is DockerContainer else (cls, PatchedModule)
    return types.new_class(cls.__name__, bases, exec_body=lambda body: body.update(__module__=cls.__module__))


def _number(port: int | str) -> int:
    return int(str(port).partition("/")[0])


_PAUSE_S = 0.1
# The default of testcontainers (TC_POOLING_INTERVAL).
_USUAL_PAUSE_S = 1.0


def shorten_poll_interval(module: PatchedModule) -> None:
    """Shorten the pauses of its waits, where they are the usual ones; how long they last in all stays as it is."""
    strategy = module._wait_strategy
    if strategy is not None and getattr(strategy, "_poll_interval", 0) == _USUAL_PAUSE_S:
        strategy.with_poll_interval(_PAUSE_S)
    if testcontainers_config.sleep_time == _USUAL_PAUSE_S:
        # Waits that a module makes on its way ask the library's settings; a longest time is tries times pause.
        testcontainers_config.max_tries = round(testcontainers_config.timeout / _PAUSE_S)
        testcontainers_config.sleep_time = _PAUSE_S


class Settings(Struct, frozen=True, kw_only=True):
    """A module's settings, in its own words. `timeout_s` is how long its own wait lasts."""

    image: str
    env: Mapping[str, object]
    ports: Mapping[str, object]
    volumes: Mapping[str, Mapping[str, object]]
    tmpfs: Mapping[str, str]
    command: str | Sequence[str] | None
    name: str | None
    network: object
    aliases: Sequence[str]
    options: Mapping[str, object]
    files: Sequence[tuple[bytes | Path, str, int]]
    timeout_s: float


def read_settings(module: DockerContainer) -> Settings:
    """The settings of a module at the moment at which it would have its container made."""
    # Some attributes are missing in older releases.
    found: dict[str, Any] = vars(module)
    strategy = found.get("_wait_strategy")
    return Settings(
        image=module.image,
        env=dict(module.env),
        ports={str(port): outer for port, outer in module.ports.items()},
        volumes={str(host): dict(mount) for host, mount in module.volumes.items()},
        tmpfs=dict(found.get("tmpfs") or {}),
        command=found.get("_command"),
        name=found.get("_name"),
        network=found.get("_network"),
        aliases=tuple(found.get("_network_aliases") or ()),
        options=dict(found.get("_kwargs") or {}),
        files=tuple((*spec, 0o644)[:3] for spec in found.get("_transferable_specs") or ()),
        timeout_s=float(getattr(strategy, "_startup_timeout", 0) or testcontainers_config.timeout),
    )


def parts_of_its_own(module: DockerContainer) -> list[str]:
    """The networks and other containers that a module would make beside its own, by their classes."""
    parts = (value for value in vars(module).values() if isinstance(value, (DockerContainer, Network)))
    return [type(part).__name__ for part in parts]


def has_wait(module: DockerContainer) -> bool:
    """True for a module that waits for something behind its start; a plain container that is told nothing does not."""
    return vars(module).get("_wait_strategy") is not None or type(module).start is not DockerContainer.start
