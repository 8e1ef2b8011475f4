"""Data that an image brings along: what a preset's own folder, or a folder in memory, would hide."""

from __future__ import annotations

import secrets
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from pytest_isolate.engine.api import ContainerRequest, Engine, ImageFacts
from pytest_isolate.errors import EngineError
from pytest_isolate.model.identity import Run
from pytest_isolate.model.service import ServiceSpec
from pytest_isolate.presets import mariadb, postgres

_MOST_BYTES = 1 << 16


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


class BakedData:
    """Looks into images, once into each."""

    def __init__(self, engine: Engine, run: Run) -> None:
        self._engine = engine
        self._run = run
        self._known: dict[tuple[str, str], bool] = {}

    def find_server_data(self, spec: ServiceSpec, image: ImageFacts, container_id: str) -> str:
        """Return the folder with data that a preset's server would leave aside; empty where there is none."""
        server = _SERVERS.get(spec.copies or "")
        if server is None or server.own not in _texts(spec):
            return ""
        folder = image.variables.get(server.variable, server.folder)
        return folder if self._has(image, f"{folder}/{server.mark}", container_id) else ""

    def without_hidden(self, folders: dict[str, int], image: ImageFacts, name: str) -> dict[str, int]:
        """Return the folders to be kept in memory in which the image has nothing."""
        presets = {server.own for server in _SERVERS.values()}
        asked = [folder for folder in folders if folder not in presets]
        if asked and any((image.image_id, folder) not in self._known for folder in asked):
            request = ContainerRequest(
                name=self._run.resource_name("look", secrets.token_hex(4)), image=name, labels=self._run.labels()
            )
            container_id = self._engine.create_container(request)
            try:
                for folder in asked:
                    self._has(image, folder, container_id)
            finally:
                self._engine.remove_container(container_id)
        return {folder: size for folder, size in folders.items() if not self._known.get((image.image_id, folder))}

    def _has(self, image: ImageFacts, path: str, container_id: str) -> bool:
        key = (image.image_id, path)
        if key not in self._known:
            self._known[key] = self._look(path, container_id)
        return self._known[key]

    def _look(self, path: str, container_id: str) -> bool:
        """Return true if a container has this file, or anything in this folder."""
        with tempfile.TemporaryDirectory(prefix="pytest-isolate-look-") as folder:
            archive = Path(folder) / "found.tar"
            try:
                if not self._engine.save_archive(container_id, path, archive, _MOST_BYTES):
                    return True
                with tarfile.open(archive) as found:
                    return any(entry.isfile() for entry in found)
            except (EngineError, tarfile.TarError):
                return False  # there is none, or the engine cannot tell


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
