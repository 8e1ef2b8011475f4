"""Images that the fake cluster's node pulls from a registry, with the logins of the namespace."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine.real_registry import Registry, open_real_registry
from fakes.programs import IMAGE, program
from waiting import wait_for

from .calling import Api
from .conftest import Pods

pytestmark = [pytest.mark.engine, pytest.mark.linux]


@pytest.fixture
def image(tmp_path: Path, docker_client: Any) -> Iterator[tuple[Registry, str]]:
    """A registry with a password, and an image that is there and not on the node."""
    with open_real_registry(tmp_path, docker_client) as registry:
        name = registry.push(f"private-{secrets.token_hex(4)}:1", IMAGE)
        yield registry, name
        registry.forget(name)


def create_login(api: Api, registry: Registry) -> None:
    auths = {"auths": {registry.address: registry.login()}}
    text = base64.b64encode(json.dumps(auths).encode()).decode()
    kind = "kubernetes.io/dockerconfigjson"
    api.create("secrets", {"metadata": {"name": "login"}, "type": kind, "data": {".dockerconfigjson": text}})


def test_an_image_needs_the_login_of_its_registry(api: Api, pods: Pods, image: tuple[Registry, str]) -> None:
    registry, name = image
    refused = pods.create(program("say hello"), container={"image": name})
    waiting = pods.wait_for(refused, "waiting", "ErrImagePull")
    assert f'failed to pull and unpack image "{name}"' in waiting["message"]
    pods.wait_for(refused, "waiting", "ImagePullBackOff")
    create_login(api, registry)
    allowed = pods.create(program("say hello"), container={"image": name}, imagePullSecrets=[{"name": "login"}])
    assert pods.wait_for(allowed, "terminated")["exitCode"] == 0


def test_a_service_account_has_logins_too(api: Api, pods: Pods, image: tuple[Registry, str]) -> None:
    registry, name = image
    create_login(api, registry)
    assert api.patch("serviceaccounts/default", {"imagePullSecrets": [{"name": "login"}]})[0] == 200
    pod = pods.create(program("say hello"), container={"image": name})
    assert pods.wait_for(pod, "terminated")["exitCode"] == 0


def test_an_image_that_comes_later_is_found_by_the_next_try(api: Api, pods: Pods, image: tuple[Registry, str]) -> None:
    registry, name = image
    pod = pods.create(program("say hello"), container={"image": name}, imagePullSecrets=[{"name": "login"}])
    pods.wait_for(pod, "waiting", "ImagePullBackOff")
    create_login(api, registry)
    wait_for(lambda: "terminated" in pods.state(pod))
