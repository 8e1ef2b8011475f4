"""Settings of a module of testcontainers, read from it. Its attributes are named only here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from pytest_isolate.running.testcontainers.adapted import PatchedModule

_PAUSE_S = 0.1
# What testcontainers does where nobody says otherwise (TC_POOLING_INTERVAL).
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
    """The settings of a module at the moment at which it would have its container made.

    Some attributes are missing in older releases.
    """
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
