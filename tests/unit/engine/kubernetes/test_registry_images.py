"""Facts of a registry's image as those of an image that pods run."""

from __future__ import annotations

import pytest

from pytest_isolate.engine.kubernetes.registry.image_registry import RemoteImage
from pytest_isolate.engine.kubernetes.registry.registry_images import health_command, image_config

FOUND = RemoteImage(
    digest="sha256:abc",
    platform="linux/arm64",
    entrypoint=("docker-entrypoint.sh",),
    command=("postgres",),
    user="999",
    stop_signal="SIGINT",
    volumes=("/data",),
    health_command=("CMD-SHELL", "pg_isready"),
)


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ("postgres", "postgres@sha256:abc"),
        ("postgres:16", "postgres@sha256:abc"),
        ("mirror.example:5000/team/db:16", "mirror.example:5000/team/db@sha256:abc"),
        ("mirror.example:5000/team/db", "mirror.example:5000/team/db@sha256:abc"),
        ("postgres@sha256:def", "postgres@sha256:abc"),
        ("postgres:16@sha256:def", "postgres:16@sha256:abc"),
    ],
)
def test_an_image_is_pulled_by_its_digest(image: str, reference: str) -> None:
    assert image_config(image, FOUND).reference == reference


def test_without_a_digest_it_is_pulled_by_its_name() -> None:
    found = RemoteImage(digest="", platform="linux/amd64")
    assert image_config("postgres:16", found).reference == "postgres:16"


def test_all_that_is_of_use_is_taken_over() -> None:
    found = image_config("postgres:16", FOUND)
    assert (found.image_id, found.entrypoint, found.command) == ("sha256:abc", ("docker-entrypoint.sh",), ("postgres",))
    assert (found.user, found.stop_signal, found.volumes, found.platform) == (
        "999",
        "SIGINT",
        ("/data",),
        "linux/arm64",
    )
    assert found.health_command == ("/bin/sh", "-c", "pg_isready")


@pytest.mark.parametrize(
    ("test", "command"), [(("CMD", "true", "x"), ("true", "x")), (("NONE",), ()), ((), ()), (("CMD",), ())]
)
def test_a_health_check_is_a_command(test: tuple[str, ...], command: tuple[str, ...]) -> None:
    assert health_command(test) == command
