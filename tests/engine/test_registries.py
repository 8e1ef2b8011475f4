"""A real registry with a password: logins, helpers, mirrors, and pulls that fail."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.conftest import Project
from engine.real_registry import (
    PASSWORD,
    USER,
    Cutting,
    Registry,
    open_breaking_registry,
    open_real_registry,
    write_login,
)
from pytest_isolate.engine.api import BuildRequest, Engine, Progress
from pytest_isolate.errors import BuildFailed, ImageNotFound

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, docker_client: Any) -> Iterator[Registry]:
    with open_real_registry(tmp_path_factory.mktemp("registry"), docker_client) as registry:
        yield registry


@pytest.fixture(scope="module")
def small(registry: Registry) -> str:
    """An image that is in the registry, and not on the engine."""
    return registry.push(f"small-{secrets.token_hex(4)}:1")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of Docker's configuration, empty."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


def pull(engine: Engine, image: str, platform: str | None = None) -> list[Progress]:
    """What is told while an image is pulled, which is removed again."""
    told: list[Progress] = []
    try:
        engine.pull_image(image, told.append, platform)
    finally:
        engine.remove_image(image)
    return told


def refused(engine: Engine, image: str, platform: str | None = None) -> str:
    with pytest.raises(ImageNotFound) as caught:
        pull(engine, image, platform)
    text = str(caught.value)
    assert PASSWORD not in text
    return text


def test_a_login_of_dockers_configuration_is_used(
    real_engine: Engine, registry: Registry, small: str, config: Path
) -> None:
    write_login(config, registry.address)
    assert pull(real_engine, small)


def test_a_build_by_buildkit_uses_the_login_too(
    real_engine: Engine, registry: Registry, small: str, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "Dockerfile").write_text(f"FROM {small}\nCOPY --chmod=600 Dockerfile /\n")
    tag = f"isolate-from-private-{secrets.token_hex(4)}:1"
    request = BuildRequest(tag=tag, context=str(tmp_path / "image"), dockerfile=f"{tmp_path}/image/Dockerfile")
    with pytest.raises(BuildFailed, match=registry.address):
        real_engine.build_image(request, lambda _: None)
    write_login(config, registry.address)
    try:
        assert real_engine.build_image(request, lambda _: None).image_id
    finally:
        real_engine.remove_image(tag)


def test_a_credential_helper_is_asked(
    real_engine: Engine, registry: Registry, small: str, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = config / "docker-credential-tests"
    answer = json.dumps({"ServerURL": registry.address, "Username": USER, "Secret": PASSWORD})
    helper.write_text(f"#!/bin/sh\ncat >\"{config}/asked\"\necho '{answer}'\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(config), prepend=":")
    (config / "config.json").write_text(json.dumps({"credHelpers": {registry.address: "tests"}}))
    assert pull(real_engine, small)
    assert (config / "asked").read_text() == registry.address


def test_without_a_login_the_error_says_where_one_was_looked_for(
    real_engine: Engine, registry: Registry, small: str, config: Path
) -> None:
    text = refused(real_engine, small)
    assert f"image {small} could not be pulled: {registry.address} gives no access, or has no such image" in text
    assert f"\n         no login for {registry.address} in {config}/config.json\n" in text
    assert text.endswith(f"\n  do     check the name, and log in: docker login {registry.address}")


def test_a_wrong_password_is_told_with_the_user_that_it_is_of(
    real_engine: Engine, registry: Registry, small: str, config: Path
) -> None:
    write_login(config, registry.address, password="open-barley")
    text = refused(real_engine, small)
    assert f"logged in as {USER}, from {config}/config.json" in text
    assert "open-barley" not in text


def test_a_helper_that_is_not_there_is_done_without_and_told_of(
    real_engine: Engine, registry: Registry, small: str, config: Path
) -> None:
    write_login(config, registry.address)
    known = json.loads((config / "config.json").read_text())
    (config / "config.json").write_text(json.dumps({**known, "credsStore": "of-another-machine"}))
    assert pull(real_engine, small)
    (config / "config.json").write_text(json.dumps({"credsStore": "of-another-machine"}))
    text = refused(real_engine, small)
    assert f"docker-credential-of-another-machine, which {config}/config.json names, is not on PATH" in text


def test_an_image_that_is_not_there_is_told_as_such(real_engine: Engine, registry: Registry, config: Path) -> None:
    write_login(config, registry.address)
    text = refused(real_engine, f"{registry.address}/nothing:1")
    assert f"could not be pulled: {registry.address} has no such image\n" in text
    assert "\n  do     check name and tag" in text


def test_a_platform_that_an_image_is_not_made_for_is_an_error(
    project: Project, registry: Registry, small: str, config: Path
) -> None:
    write_login(config, registry.address)
    project.conftest(f"web = service({small!r}, platform='linux/s390x')")
    project.tests("def test_it(web): pass")
    try:
        result = project.run()
    finally:
        registry.forget(small)
    result.assert_outcomes(errors=1)
    result.stdout.re_match_lines([rf".*image {small} is not made for linux/s390x|.*does not have it for linux/s390x"])


def test_nobody_at_its_address_is_told_at_once(real_engine: Engine, config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    text = refused(real_engine, f"{address}/some:1")
    assert f"could not be pulled: {address} does not answer\n" in text
    assert f"\n  tried  docker pull {address}/some:1\n" in text


def test_a_pull_that_breaks_in_the_middle_goes_on(real_engine: Engine, registry: Registry, config: Path) -> None:
    name = registry.push(f"large-{secrets.token_hex(4)}:1", size_bytes=3_000_000).partition("/")[2]
    cutting = Cutting(registry.address, 1_000_000, lambda cuts: cuts >= 1)
    try:
        write_login(config, cutting.address)
        told = pull(real_engine, f"{cutting.address}/{name}")
    finally:
        cutting.close()
    assert cutting.cuts == 1
    assert told[-1].text == "unpacking"
    assert "retrying in 5 seconds" in [one.text for one in told]
    # The engine asks for the rest only.
    assert 0 < told[-1].done == told[-1].total < 2_500_000


def test_a_pull_that_breaks_each_time_says_how_often_it_was_tried(real_engine: Engine, config: Path) -> None:
    with open_breaking_registry() as address:
        text = refused(real_engine, f"{address}/some:1")
    assert f"could not be pulled: the connection to {address} broke\n" in text
    assert f"\n  tried  docker pull {address}/some:1, 3 times\n" in text


def test_a_run_fetches_what_names_no_registry_from_the_mirror(
    project: Project, registry: Registry, base_image: str, config: Path
) -> None:
    write_login(config, registry.address)
    name = f"mirrored-{secrets.token_hex(4)}:1"
    full = registry.push(f"hub/library/{name}", image=base_image)
    project.conftest(f"web = service('{name}', command=forever(), pull='always')")
    project.tests(
        f"""
        def test_it(web):
            assert web.image == "{full}"
            assert web.exec("true").exit_code == 0
        """
    )
    try:
        result = project.run(f"--isolate-registry={registry.address}/hub/library")
    finally:
        registry.forget(full)
    result.assert_outcomes(passed=1)
