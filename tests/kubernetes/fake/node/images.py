"""Images: those that Docker has are those of the node; others are asked for at their registry."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import docker

from kubernetes.fake.api.store import Object, Store

_NAME = re.compile(
    r"(?:[a-zA-Z0-9.-]+(?::\d+)?/)?[a-z0-9]+(?:(?:[._/]|__|-+)[a-z0-9]+)*(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)


class ImageError(Exception):
    """An image is not on the node, with the reason of the state waiting."""

    def __init__(self, reason: str, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.reason, self.message, self.is_final = reason, message, is_final


def ensure_image(client: Any, store: Store, pod: Object, container: Object) -> dict[str, Any]:
    """The facts that Docker has of an image, which is pulled where the policy says so."""
    name, policy = container["image"], container["imagePullPolicy"]
    if not _NAME.fullmatch(name):
        raise ImageError(
            "InvalidImageName",
            f'Failed to apply default image tag "{name}": '
            f'couldn\'t parse image name "{name}": invalid reference format',
            is_final=True,
        )
    found = _inspect(client, name)
    if found and policy != "Always":
        return found
    if policy == "Never":
        text = f'Container image "{name}" is not present with pull policy of Never'
        raise ImageError("ErrImageNeverPull", text, is_final=True)
    _pull(client, name, _find_login(store, pod, name))
    pulled = _inspect(client, name)
    assert pulled
    return pulled


def _inspect(client: Any, name: str) -> dict[str, Any] | None:
    try:
        return dict(client.inspect_image(name))
    except docker.errors.ImageNotFound:
        return None


def _pull(client: Any, name: str, login: dict[str, str] | None) -> None:
    repository, tag = name, None
    if "@" in name:
        repository, _, tag = name.partition("@")
    elif ":" in name.rpartition("/")[2]:
        repository, _, tag = name.rpartition(":")
    try:
        for line in client.pull(repository, tag or "latest", stream=True, decode=True, auth_config=login or {}):
            if "error" in line:
                raise ImageError("ErrImagePull", _explain(name, line["error"]))
    except docker.errors.APIError as error:
        raise ImageError("ErrImagePull", _explain(name, error.explanation)) from None


def _explain(name: str, text: object) -> str:
    return f'failed to pull and unpack image "{name}": failed to resolve reference "{name}": {text}'


def _find_login(store: Store, pod: Object, image: str) -> dict[str, str] | None:
    """The login for an image's registry, from the Secrets that the Pod or its service account names."""
    namespace = pod["metadata"]["namespace"]
    account = store.find("serviceaccounts", namespace, pod["spec"]["serviceAccountName"]) or {}
    names = [*(pod["spec"].get("imagePullSecrets") or ()), *(account.get("imagePullSecrets") or ())]
    host = image.partition("/")[0]
    for one in names:
        secret = store.find("secrets", namespace, one["name"])
        text = ((secret or {}).get("data") or {}).get(".dockerconfigjson")
        for registry, login in (json.loads(base64.b64decode(text))["auths"] if text else {}).items():
            if registry.removeprefix("https://").partition("/")[0] == host:
                user, _, password = base64.b64decode(login.get("auth", "")).decode().partition(":")
                return {"username": login.get("username", user), "password": login.get("password", password)}
    return None
