"""The container that a fault is for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pytest_isolate.engine.api import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A service's container. `labels` are those of what is made for the fault, `name_helper` names it."""

    service: str
    engine: Engine
    container_id: str
    image: str
    labels: Mapping[str, str]
    name_helper: Callable[[str], str]
