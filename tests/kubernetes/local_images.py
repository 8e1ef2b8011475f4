"""Facts of images, of those that the local Docker has."""

from __future__ import annotations

from typing import Any

import docker

from pytest_isolate.engine.kubernetes.objects.image_config import ImageConfig
from pytest_isolate.engine.kubernetes.registry.registry_images import health_command
from pytest_isolate.errors import ImageNotFound


class LocalImages:
    """The images that the nodes have: for a registry, which tells the same, see the tests of image_registry."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def find(self, image: str) -> ImageConfig | None:
        try:
            found = self._client.inspect_image(image)
        except docker.errors.ImageNotFound as error:
            raise ImageNotFound(f"image {image} is not there", found=str(error)) from error
        config = found["Config"]
        return ImageConfig(
            image_id=found["Id"],
            reference=(found.get("RepoTags") or [image])[0],
            entrypoint=tuple(config.get("Entrypoint") or ()),
            command=tuple(config.get("Cmd") or ()),
            user=config.get("User") or "",
            env=dict(text.split("=", 1) for text in config.get("Env") or ()),
            stop_signal=config.get("StopSignal") or "",
            health_command=health_command(tuple((config.get("Healthcheck") or {}).get("Test") or ())),
            volumes=tuple(config.get("Volumes") or ()),
            platform=f"{found['Os']}/{found['Architecture']}",
        )

    def forget(self, image: str) -> None:
        """Nothing is remembered."""

    def load(self, image: ImageConfig) -> None:
        """The nodes have them."""
