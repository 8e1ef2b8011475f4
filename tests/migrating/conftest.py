"""What the projects of docs/migrating.md take for granted: images by their public names, and Docker Compose."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import pytest
from docs.pages import ROOT
from filelock import FileLock
from waiting import wait_for

from pytest_isolate.engine.api import BuildRequest, Engine

# Public names, and what stands in for them where they cannot be pulled.
_SERVICES = ROOT / "examples" / "services"
IMAGES = {"postgres:16": _SERVICES / "postgres", "shop/auth:1.4": _SERVICES / "auth"}
_COMPOSE = "FROM debian:trixie-slim\nRUN apt-get update && apt-get install -y --no-install-recommends docker-compose\n"
# Docker's own command where Compose is no part of it.
_SHIM = '#!/bin/sh\n[ "$1" = compose ] && shift && exec docker-compose "$@"\nPATH={path} exec docker "$@"\n'


@pytest.fixture(scope="session")
def images(real_engine: Engine, docker_client: Any) -> Iterator[None]:
    """The names are there for as long as these tests run. Those that were there before are left alone."""
    # One at a time on this machine: whoever takes the names away takes them from all.
    with FileLock(Path(tempfile.gettempdir()) / "pytest-isolate-migrating.lock"):
        added = [name for name in IMAGES if real_engine.find_image(name) is None]
        for name in added:
            folder = IMAGES[name]
            built = f"pytest-isolate-docs/{folder.name}:1"
            request = BuildRequest(
                tag=built, context=str(folder), dockerfile=str(folder / "Dockerfile"), network="host"
            )
            real_engine.build_image(request, lambda _: None)
            real_engine.tag_image(built, name)
        yield
        for name in added:
            docker_client.remove_image(name, noprune=True)


@pytest.fixture(scope="session")
def with_compose(real_engine: Engine, docker_client: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A search path on which `docker compose` is found: this machine's own, or Debian's."""
    path = os.environ["PATH"]
    if _works("docker", "compose", "version"):
        return path
    folder = tmp_path_factory.mktemp("bin")
    (folder / "docker").write_text(_SHIM.format(path=shlex.quote(path)))
    (folder / "docker").chmod(0o755)
    # Compose 1 does not know all that pytest-docker asks for.
    if not _works("docker-compose", "version", "--short", said="2."):
        _take_compose(real_engine, docker_client, folder)
    return f"{folder}{os.pathsep}{path}"


def _works(*command: str, said: str = "") -> bool:
    with suppress(OSError):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        return done.returncode == 0 and done.stdout.strip().removeprefix("v").startswith(said)
    return False


def _take_compose(engine: Engine, client: Any, folder: Path) -> None:
    """The program out of an image that it is installed in."""
    (folder / "Dockerfile").write_text(_COMPOSE)
    request = BuildRequest(
        tag="pytest-isolate-docs/compose:1",
        context=str(folder),
        dockerfile=str(folder / "Dockerfile"),
        network="host",
    )
    engine.build_image(request, lambda _: None)
    container = client.create_container(request.tag)["Id"]
    try:
        stream, _ = client.get_archive(container, "/usr/libexec/docker/cli-plugins/docker-compose")
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            program = archive.extractfile("docker-compose")
            assert program
            with (folder / "docker-compose").open("wb") as file:
                shutil.copyfileobj(program, file)
    finally:
        client.remove_container(container, v=True)
    (folder / "docker-compose").chmod(0o755)


class Left:
    """The containers that were made from the images of these tests, and what of them is still there."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.made: set[str] = set()
        # Heard as it happens: an engine remembers some hundred events, which a busy one has within seconds.
        self._stream = client.events(filters={"type": "container", "event": "create"}, decode=True)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        for event in self._stream:
            if event["from"] in IMAGES:
                self.made.add(event["id"])

    def here(self) -> set[str]:
        return self.made & {container["Id"] for container in self._client.containers(all=True)}

    def wait_until_gone(self) -> None:
        """Wait until all of them are: a guardian removes what a run has left when pytest has ended."""
        wait_for(lambda: not self.here())

    def close(self) -> None:
        self._stream.close()
        self._thread.join(5)


@pytest.fixture
def left(docker_client: Any) -> Iterator[Left]:
    left = Left(docker_client)
    yield left
    left.close()
    for container in left.here():
        with suppress(docker.errors.NotFound):
            docker_client.remove_container(container, force=True, v=True)
