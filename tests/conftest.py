"""What all tests share: the real engine, and what of ours is on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_isolate.engine.api import Engine
from pytest_isolate.engine.connect import connect
from pytest_isolate.errors import EngineError, EngineUnreachable
from pytest_isolate.model.identity import LABEL_RUN
from pytest_isolate.system import SYSTEM, System

pytest_plugins = ["pytester"]
_HANGS: list[str] = []


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip on macOS and Windows what is about another system."""
    if item.get_closest_marker("linux") and SYSTEM is not System.LINUX:
        pytest.skip("about what only Linux has")
    if item.get_closest_marker("unix") and SYSTEM is System.WINDOWS:
        pytest.skip("about what Windows lacks")


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
        engine: Engine = connect(os.environ)
    except EngineUnreachable as error:
        if os.environ.get("ISOLATE_REQUIRE_ENGINE") == "1":
            raise pytest.fail.Exception(f"ISOLATE_REQUIRE_ENGINE=1, but {error}", pytrace=False) from None
        pytest.skip(f"needs a container engine: {'; '.join(error.tried)}")
    yield engine
    engine.close()


@pytest.fixture(autouse=True)
def _engine_answers(request: pytest.FixtureRequest) -> None:
    """Fail at once where the engine hangs: each test would find out anew, after minutes.

    Docker before 20.10.27 may, when the last container of a network goes while another comes: moby issue 46661.
    """
    if "real_engine" not in request.fixturenames:
        return
    engine: Engine = request.getfixturevalue("real_engine")
    try:
        if not _HANGS:
            engine.list_networks({LABEL_RUN: "none"})
    except EngineError as error:
        _HANGS.append(str(error))
    if _HANGS:
        pytest.fail(f"the engine hangs: {_HANGS[0]}", pytrace=False)


@pytest.fixture(scope="session")
def docker_client(real_engine: Engine) -> Iterator[Any]:
    """The engine as Docker's own library sees it: a second opinion, independent of the code under test."""
    import docker

    # Over ssh this library needs another one: there the same engine is looked at from its own host.
    address = os.environ.get("ISOLATE_SECOND_OPINION") or real_engine.facts().address
    folder = os.environ.get("DOCKER_CERT_PATH", "")
    names = ("cert.pem", "key.pem", "ca.pem")
    cert, key, authority = (f"{folder}/{name}" for name in names)
    tls = docker.tls.TLSConfig(client_cert=(cert, key), ca_cert=authority, verify=True) if folder else False
    client = docker.APIClient(base_url=address, tls=tls, version="1.41" if folder else None)
    client.trust_env = (
        False  # requests would trust what REQUESTS_CA_BUNDLE names in place of the engine's own authority
    )
    yield client
    client.close()
