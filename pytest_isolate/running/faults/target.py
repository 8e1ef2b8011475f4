"""The container that a fault is for. Apart from the faults of its network, which few runs need to import."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from pytest_isolate.engine.api import Engine


class Target(Struct, frozen=True, kw_only=True):
    """A service's container. `labels` are those of what is made for the fault, `name_helper` names it."""

    service: str
    engine: Engine
    container_id: str
    image: str
    labels: Mapping[str, str]
    name_helper: Callable[[str], str]
