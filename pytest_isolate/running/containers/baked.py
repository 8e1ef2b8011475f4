"""Data that an image brings along: what a preset's own folder, or a folder in memory, would hide."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from msgspec.structs import replace

from pytest_isolate.engine.api import ImageFacts
from pytest_isolate.model.service import ServiceSpec
from pytest_isolate.presets import mariadb, postgres
from pytest_isolate.running.images.paths import ImagePathReader


class _Server(NamedTuple):
    own: str
    """The folder that the preset gives it."""
    folder: str
    """The folder of its image, unless the variable names another one."""
    variable: str
    mark: str
    """A file that is in every folder with data."""


_SERVERS = {
    "postgres": _Server(postgres.DATA, "/var/lib/postgresql/data", "PGDATA", "PG_VERSION"),
    "mariadb": _Server(mariadb.DATA, "/var/lib/mysql", "", "ibdata1"),
}


def find_server_data(paths: ImagePathReader, spec: ServiceSpec, image: ImageFacts, container_id: str) -> str:
    """The folder with data that a preset's server would leave aside; empty where there is none."""
    server = _SERVERS.get(spec.copies or "")
    if server is None or server.own not in _texts(spec):
        return ""
    folder = image.variables.get(server.variable, server.folder)
    return folder if paths.has(image, f"{folder}/{server.mark}", container_id) else ""


def find_hidden(paths: ImagePathReader, folders: Iterable[str], image: ImageFacts, tag: str) -> set[str]:
    """Those of the folders to be kept in memory in which the image has files."""
    presets = {server.own for server in _SERVERS.values()}
    asked = [folder for folder in folders if folder not in presets]
    return paths.find_filled(image, tag, asked) if asked else set()


def use_data(spec: ServiceSpec, folder: str) -> ServiceSpec:
    """Return the service with the data of its image in place of a preset's own folder."""
    own = _SERVERS[spec.copies or ""].own

    def swap(words: Iterable[str] | None) -> tuple[str, ...] | None:
        return None if words is None else tuple(word.replace(own, folder) for word in words)

    env = tuple((name, value.replace(own, folder)) for name, value in spec.env)
    command, entrypoint = swap(spec.command), swap(spec.entrypoint)
    return replace(spec, env=env, command=command, entrypoint=entrypoint, snapshot=(), in_memory=())


def _texts(spec: ServiceSpec) -> str:
    return "\n".join([*(value for _, value in spec.env), *(spec.command or ())])
