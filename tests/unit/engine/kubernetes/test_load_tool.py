"""Which program loads images into the nodes of a cluster, and when."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_isolate.engine.api import BuildRequest, ProgressCallback
from pytest_isolate.engine.kubernetes.objects.image_config import ImageConfig
from pytest_isolate.engine.kubernetes.registry.node_images import LoadTool, NodeImages, find_load_tool
from pytest_isolate.errors import ImageNotFound

TOOL = LoadTool(name="kind", program="/nowhere/kind", cluster="c")
CONFIG = {"Entrypoint": ["serve"], "Env": ["A=b=c"]}
FOUND = {"Id": "sha256:1", "Config": CONFIG, "Os": "linux", "Architecture": "amd64"}


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment in which kind is there, and k3d is not."""
    program = tmp_path / "kind"
    program.touch(mode=0o755)
    return {"PATH": str(tmp_path)}


@pytest.mark.linux
def test_the_program_is_that_of_the_context_and_is_there(env: dict[str, str]) -> None:
    found = find_load_tool("kind-my-tests", env)
    assert found
    assert found.command("web:1") == [f"{env['PATH']}/kind", "load", "docker-image", "web:1", "--name", "my-tests"]


@pytest.mark.parametrize("context", ["", "kind", "k3d-here", "minikube", "my-kind-cluster"])
def test_other_contexts_have_no_program(context: str, env: dict[str, str]) -> None:
    assert find_load_tool(context, env) is None


class Registries:
    """Registries that know one image, do not answer for another, and say of all others that there is none."""

    def find(self, image: str) -> ImageConfig | None:
        if image == "silent:1":
            return None
        if image != "known:1":
            raise ImageNotFound(f"image {image} is not there")
        return ImageConfig(image_id="remote")

    def forget(self, image: str) -> None:
        """Nothing is remembered."""

    def load(self, image: ImageConfig) -> None:
        raise AssertionError(image)


class Local:
    """A Docker that has every image whose name does not say otherwise."""

    def build(self, request: BuildRequest, tell: ProgressCallback) -> None:
        raise AssertionError(request)

    def read_image(self, image: str) -> Mapping[str, Any] | None:
        return None if "gone" in image else FOUND


def test_a_registry_that_knows_an_image_is_believed_before_the_local_docker() -> None:
    images = NodeImages(Registries(), Local(), TOOL)
    assert images.find("known:1") == ImageConfig(image_id="remote")
    for name in ("silent:1", "other:1", "pytest-isolate/built:1"):
        found = images.find(name)
        assert found
        assert (found.is_local, found.reference, found.entrypoint) == (True, name, ("serve",))
        assert found.env == {"A": "b=c"}


@pytest.mark.parametrize("name", ["gone:1", "pytest-isolate/gone:1"])
def test_what_nobody_has_is_not_found(name: str) -> None:
    with pytest.raises(ImageNotFound):
        NodeImages(Registries(), Local(), TOOL).find(name)
