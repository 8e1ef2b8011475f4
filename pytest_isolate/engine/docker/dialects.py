"""What engines that speak Docker's API do in their own way: one value for each, chosen by what it says of itself.

Words of errors are no part of it: engine.wire knows those of all engines.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


class Dialect(Struct, frozen=True, kw_only=True):
    """How one kind of engine differs from others.

    `exit_events` are the names of the event that a container has ended. `registries` stand before the names of images
    that were given without one. `image_details` is where an image's health check is told, if not in its inspection;
    `networks` is where they are listed. Lines of a log in `whole_seconds` are selected by more exact moments than they
    are told with.
    Who follows a silent log gets no answer from an engine that `answers_with_first_line`. One that `drops_silently`
    takes limits that it cannot hold without a word. One that `empties_networks` removes a network together with what is
    on it, and goes on to answer to its names.
    """

    name: str
    exit_events: tuple[str, ...] = ("die",)
    registries: tuple[str, ...] = ()
    image_details: str = ""
    networks: str = "/networks"
    whole_seconds: bool = False
    answers_with_first_line: bool = False
    drops_silently: bool = False
    has_memory_folders: bool = True
    empties_networks: bool = False


DOCKER = Dialect(name="Docker")
PODMAN = Dialect(
    name="Podman",
    # Podman 4 filters by its own word, and shows Docker's.
    exit_events=("die", "died"),
    registries=("localhost/", "docker.io/library/", "docker.io/"),
    image_details="/libpod/images/{}/json",
    # Asked for its networks as Docker is, Podman 4.3 forgets that they are isolated from each other.
    networks="/libpod/networks/json",
    whole_seconds=True,
    answers_with_first_line=True,
    drops_silently=True,
    # Of a request it takes no notice; a volume of its own with a size wants a file system with project quotas.
    has_memory_folders=False,
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
    """What a Podman would say of itself, by the word `Libpod/4.3.1 (linux)` in its answers; nothing for others.

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
