"""Differences between engines that speak Docker's API: one value for each, chosen by what it says of itself.

Words of errors are no part of it: engine.docker.refusals knows those of all engines.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from pytest_isolate.engine.api import Capability

# The oldest version that has all that is asked, as engines from 20.10 on do. A newer one may no longer speak it.
_API = (1, 41)
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


class Dialect(Struct, frozen=True, kw_only=True):
    """Differences of one engine from others."""

    name: str
    program: str = "docker"
    exit_events: tuple[str, ...] = ("die",)  # names of the event that a container has ended
    registries: tuple[str, ...] = ()  # put before the names of images that were given without one
    image_details: str = ""  # where an image's health check is told, if not in its inspection
    networks: str = "/networks"  # where they are listed
    whole_seconds: bool = False  # lines of a log are selected by more exact moments than they are told with
    answers_with_first_line: bool = False  # a silent log that is followed gets no answer
    tells_output: bool = True  # of a container that is not started yet, beside its log
    drops_silently: bool = False  # limits that it cannot hold are taken without a word
    capabilities: frozenset[Capability] = frozenset(Capability)
    has_buildkit: bool = True  # beside, or in place of, a builder of its own
    empties_networks: bool = False  # removes a network together with what is on it, and goes on to answer to its names


DOCKER = Dialect(name="Docker")
PODMAN = Dialect(
    name="Podman",
    program="podman",
    # Podman 4 filters by its own word, and shows Docker's.
    exit_events=("die", "died"),
    registries=("localhost/", "docker.io/library/", "docker.io/"),
    image_details="/libpod/images/{}/json",
    # Asked for its networks as Docker is, Podman 4.3 forgets that they are isolated from each other.
    networks="/libpod/networks/json",
    whole_seconds=True,
    answers_with_first_line=True,
    tells_output=False,
    drops_silently=True,
    # Of a request it takes no notice; a volume of its own with a size wants a file system with project quotas.
    capabilities=frozenset(Capability) - {Capability.MEMORY_FOLDERS},
    has_buildkit=False,
    empties_networks=True,
)


def plain_name(dialect: Dialect, tag: str) -> str:
    """The name of an image as it was given to an engine."""
    registry = next(filter(tag.startswith, dialect.registries), "")
    return tag.removeprefix(registry)


def dialect_of(version: Mapping[str, Any]) -> Dialect:
    """The dialect of an engine that said this of itself."""
    return PODMAN if any(c.get("Name") == "Podman Engine" for c in version.get("Components") or ()) else DOCKER


def podman_version(server: str, api: str = "") -> dict[str, Any]:
    """Podman's answer about itself, by the word `Libpod/4.3.1 (linux)` in its answers; nothing for others.

    To be asked takes Podman 4.3 most of a second: it runs programs to find out their versions.
    """
    found = re.match(r"Libpod/(\S+)", server)
    if not found:
        return {}
    machine = platform.machine()
    return {
        "Version": found[1],
        "ApiVersion": api,
        "Components": [{"Name": "Podman Engine"}],
        "Arch": _MACHINES.get(machine, machine),
    }


def api_version(engine: Mapping[str, Any]) -> str:
    """The version of the API to speak with an engine that said this of itself."""
    oldest = re.fullmatch(r"(\d+)\.(\d+)", str(engine.get("MinAPIVersion", "")))
    spoken = max(_API, (int(oldest[1]), int(oldest[2]))) if oldest else _API
    return ".".join(map(str, spoken))
