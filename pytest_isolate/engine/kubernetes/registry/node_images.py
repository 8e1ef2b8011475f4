"""Images of this machine's Docker, loaded into the nodes of a cluster that runs on it: by kind, or by k3d."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct

from pytest_isolate.engine.api import BuildRequest, ProgressCallback
from pytest_isolate.engine.kubernetes.objects.image_config import ImageConfig, ImageSource
from pytest_isolate.engine.kubernetes.objects.object_labels import DOMAIN
from pytest_isolate.engine.kubernetes.registry.registry_images import health_command
from pytest_isolate.errors import EngineError, ImageNotFound

_WITHIN_S = 600.0
_SHOWN_LINES = 5


class LocalImages(Protocol):
    """The images of the Docker of this machine."""

    def build(self, request: BuildRequest, tell: ProgressCallback) -> None:
        """Build an image, and leave it there."""

    def read_image(self, image: str) -> Mapping[str, Any] | None:
        """An image as Docker's API describes it; None where it is not there, or no Docker answers."""


class LoadTool(Struct, frozen=True, kw_only=True):
    """A program that loads images into the nodes of its cluster."""

    name: str
    program: str  # its path
    cluster: str

    def command(self, image: str) -> list[str]:
        """The words that load an image."""
        if self.name == "kind":
            return [self.program, "load", "docker-image", image, "--name", self.cluster]
        return [self.program, "image", "import", image, "--cluster", self.cluster]


def find_load_tool(context: str, env: Mapping[str, str]) -> LoadTool | None:
    """The program of the cluster that a context is of, where it is there: contexts are called kind-NAME, k3d-NAME."""
    name, dash, cluster = context.partition("-")
    if not dash or name not in ("kind", "k3d"):
        return None
    program = shutil.which(name, path=env.get("PATH"))
    return LoadTool(name=name, program=program, cluster=cluster) if program else None


class NodeImages:
    """Images as registries tell of them, or else as this machine has them. As a Pusher it keeps here what it builds."""

    def __init__(self, registries: ImageSource, local: LocalImages, tool: LoadTool) -> None:
        self._registries = registries
        self._local = local
        self._tool = tool
        self._found: dict[str, ImageConfig | None] = {}
        self._loaded: set[str] = set()
        self._lock = threading.Lock()

    def name_of(self, image: str) -> str:
        return image

    def push(self, request: BuildRequest, tell: ProgressCallback) -> None:
        self._local.build(request, tell)

    def find(self, image: str) -> ImageConfig | None:
        with self._lock:
            if image not in self._found:
                self._found[image] = self._ask(image)
            return self._found[image]

    def forget(self, image: str) -> None:
        with self._lock:
            self._found.pop(image, None)
            self._loaded.discard(image)
        self._registries.forget(image)

    def load(self, image: ImageConfig) -> None:
        """EngineError with the program's last words where it fails."""
        with self._lock:
            if image.reference not in self._loaded:
                self._load(image.reference)
                self._loaded.add(image.reference)

    def _ask(self, image: str) -> ImageConfig | None:
        if image.startswith(f"{DOMAIN}/"):  # built here: a name that no registry has to be asked for
            found = self._local.read_image(image)
            if found is None:
                raise ImageNotFound(f"image {image} is not there", found="it has not been built yet")
            return local_config(image, found)
        try:
            known = self._registries.find(image)
        except ImageNotFound:
            found = self._local.read_image(image)
            if found is None:
                raise
            return local_config(image, found)
        found = None if known else self._local.read_image(image)
        return local_config(image, found) if found else known

    def _load(self, image: str) -> None:
        command = self._tool.command(image)
        what = f"image {image} could not be loaded into the nodes of {self._tool.name} cluster {self._tool.cluster!r}"
        try:
            done = subprocess.run(  # noqa: S603  # the user's own program, without a shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                timeout=_WITHIN_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EngineError(what, tried=" ".join(command), found=str(error)) from error
        if done.returncode:
            lines = done.stdout.strip().splitlines()[-_SHOWN_LINES:]
            raise EngineError(
                what,
                tried=" ".join(command),
                found=[f"it ended with code {done.returncode}; its last lines:", *(f"  {line}" for line in lines)],
                do="run it by hand, or push to a registry that the nodes reach: --isolate-push=REGISTRY",
            )


def local_config(image: str, found: Mapping[str, Any]) -> ImageConfig:
    """An image of Docker's, that nodes have by this name and do not ask a registry for."""
    config = found.get("Config") or {}
    return ImageConfig(
        image_id=str(found["Id"]),
        reference=image,
        is_local=True,
        entrypoint=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        user=config.get("User") or "",
        env=dict(text.partition("=")[::2] for text in config.get("Env") or ()),
        stop_signal=config.get("StopSignal") or "",
        health_command=health_command(tuple((config.get("Healthcheck") or {}).get("Test") or ())),
        volumes=tuple(config.get("Volumes") or ()),
        platform=f"{found.get('Os', 'linux')}/{found.get('Architecture', '')}",
    )
