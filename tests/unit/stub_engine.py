"""The parts of an engine that clean-up and images ask, as plain tables; each call is written down."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from pytest_isolate.engine.api import BuildRequest, Capability, EngineFacts, ImageFacts, Progress, ProgressCallback
from pytest_isolate.engine.docker.commands import DockerCommands
from pytest_isolate.errors import EngineError


class StubEngine:
    """Objects by kind and name, their removal refused for names in `stuck`; images by tag."""

    commands = DockerCommands()

    def __init__(self) -> None:
        self.lacks: set[Capability] = set()
        self.objects: dict[str, list[str]] = {"container": [], "volume": [], "network": []}
        self.stuck: set[str] = set()
        self.silent: set[str] = set()
        self.images: dict[str, ImageFacts] = {}
        self.pulled_platform = ""
        self.calls: list[str] = []
        self.asked_with: list[Mapping[str, str]] = []
        self._lock = threading.Lock()

    def facts(self) -> EngineFacts:
        capabilities = frozenset(set(Capability) - self.lacks)
        return EngineFacts(name="Stub", version="1", address="stub://", is_local=True, capabilities=capabilities)

    def _list(self, kind: str, labels: Mapping[str, str]) -> Sequence[str]:
        self.asked_with.append(labels)
        if kind in self.silent:
            raise EngineError(f"the {kind}s could not be listed", found="no answer")
        return list(self.objects[kind])

    def _remove(self, kind: str, name: str) -> None:
        with self._lock:
            self.calls.append(f"{kind} {name}")
            if name in self.stuck:
                raise EngineError(f"{kind} {name!r} could not be removed", found="busy")
            self.objects[kind].remove(name)

    def list_containers(self, labels: Mapping[str, str]) -> Sequence[str]:
        return self._list("container", labels)

    def list_volumes(self, labels: Mapping[str, str]) -> Sequence[str]:
        return self._list("volume", labels)

    def list_networks(self, labels: Mapping[str, str]) -> Sequence[str]:
        return self._list("network", labels)

    def remove_container(self, container_id: str) -> None:
        self._remove("container", container_id)

    def remove_volume(self, name: str) -> None:
        self._remove("volume", name)

    def remove_network(self, network_id: str) -> None:
        self._remove("network", network_id)

    def find_image(self, image: str) -> ImageFacts | None:
        self.calls.append(f"find {image}")
        return self.images.get(image)

    def pull_image(self, image: str, tell: ProgressCallback, platform: str | None = None) -> ImageFacts:
        self.calls.append(f"pull {image}{f' for {platform}' if platform else ''}")
        tell(Progress(text="pulling", done=1, total=2, unit="bytes"))
        return ImageFacts(image_id=f"pulled {image}", platform=self.pulled_platform)

    def build_image(self, request: BuildRequest, tell: ProgressCallback) -> ImageFacts:
        self.calls.append(f"build {request}")
        tell(Progress(text="FROM scratch", done=1, total=3, unit="steps"))
        return ImageFacts(image_id=f"built {request.tag}")
