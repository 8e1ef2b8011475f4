"""What all tests share: the real engine, and what of ours is on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_isolate.engine.api import Engine
from pytest_isolate.engine.docker import DockerEngine, connect
from pytest_isolate.errors import EngineUnreachable

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session", autouse=True)
def _outside_ci() -> Iterator[None]:
    """In a CI job pytest prints longer lines, and our clean-up waits. Tests that want that say so."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CI", "BUILD_NUMBER"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def real_engine() -> Iterator[Engine]:
    """The engine that answers; without one the test is skipped, or fails where one is required."""
    try:
        engine: DockerEngine = connect(os.environ)
    except EngineUnreachable as error:
        if os.environ.get("ISOLATE_REQUIRE_ENGINE") == "1":
            raise pytest.fail.Exception(f"ISOLATE_REQUIRE_ENGINE=1, but {error}", pytrace=False) from None
        pytest.skip(f"needs a container engine: {'; '.join(error.tried)}")
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def docker_client(real_engine: Engine) -> Iterator[Any]:
    """The engine as Docker's own library sees it: a second opinion, independent of the code under test."""
    import docker

    client = docker.APIClient(base_url=real_engine.facts().address)
    yield client
    client.close()
