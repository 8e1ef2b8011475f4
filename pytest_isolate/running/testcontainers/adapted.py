"""Modules of testcontainers whose container comes from a ContainerSource instead of from Docker.

A copy of a module gets a class of its own with `PatchedModule` between the module's classes and DockerContainer. All
that the module's classes do before and after `super().start()` is done as they say. What DockerContainer itself does
there, such as starting the clean-up helper Ryuk, is left out.
"""

from __future__ import annotations

import copy
import functools
import types
from typing import Any

from testcontainers.core.config import ConnectionMode
from testcontainers.core.container import DockerContainer
from typing_extensions import Self

from pytest_isolate.running.testcontainers.stage import ContainerSource, Started


class Client:
    """Answers to what modules ask of the client of their engine, from the stage."""

    def __init__(self, source: ContainerSource) -> None:
        self._source = source

    def host(self) -> str:
        """The address that tests reach the container at."""
        return self._source.host()

    def port(self, _container_id: str, port: int | str) -> str:
        """The port that tests reach one of its ports at."""
        return str(self._source.endpoint(_number(port)).port)

    def get_connection_mode(self) -> ConnectionMode:
        """Published ports, always."""
        return ConnectionMode.docker_host


class PatchedModule(DockerContainer):
    """A container that is made, started and removed by somebody else."""

    _isolate_stage: ContainerSource

    def start(self) -> Self:
        """Configure it, have it started, and wait with the module's strategy."""
        self._configure()
        self._container: Any = self._isolate_stage.begin(self.env)
        if self._wait_strategy is not None:
            self._wait_strategy.wait_until_ready(self)
        return self

    def stop(self, force: bool = True, delete_volume: bool = True) -> None:  # noqa: ARG002  # as the library has it
        """Refused: others who share the service would lose it."""
        if isinstance(self._isolate_stage, Started):
            raise self._isolate_stage.refuse("stop")

    def __del__(self) -> None:
        """Older releases stop the container here."""

    def get_docker_client(self) -> Any:
        """Return the stand-in for the engine's client."""
        return Client(self._isolate_stage)

    def get_container_host_ip(self) -> str:
        """The address that the service is published on."""
        return self._isolate_stage.host()

    def get_exposed_port(self, port: int) -> int:
        """The port that one of the service's ports is published at."""
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
