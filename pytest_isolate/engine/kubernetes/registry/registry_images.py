"""Images of a cluster's pods, as their registries tell of them; with the pull secrets that the pods have."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_isolate.engine.kubernetes.api_errors import ApiError
from pytest_isolate.engine.kubernetes.objects.image_config import ImageConfig
from pytest_isolate.engine.kubernetes.objects.manifests import template_machine
from pytest_isolate.engine.kubernetes.objects.pod_template import pull_secret_names, template_body
from pytest_isolate.engine.kubernetes.registry.image_registry import ImageRegistry, RemoteImage
from pytest_isolate.engine.kubernetes.registry.pull_secrets import read_pull_secrets
from pytest_isolate.errors import EngineUnreachable

if TYPE_CHECKING:
    from pytest_isolate.engine.kubernetes.cluster_client import ClusterClient


def find_machine(client: ClusterClient, template: Mapping[str, Any]) -> str:
    """The kind of node that pods are made for: the template's, or that of the cluster's own server."""
    return template_machine(template) or str(client.get("/version").get("platform", "")).rpartition("/")[2] or "amd64"


class RegistryImages:
    """Asks each image's registry, once. One that does not answer from here is of no use to say what its images are."""

    def __init__(self, client: ClusterClient, template: Mapping[str, Any]) -> None:
        self._client = client
        self._template = template
        self._found: dict[str, ImageConfig | None] = {}
        self._asking = threading.Lock()
        self._registry: ImageRegistry | None = None
        self._platform = ""

    def find(self, image: str) -> ImageConfig | None:
        with self._asking:
            if image not in self._found:
                self._found[image] = self._ask(image)
            return self._found[image]

    def forget(self, image: str) -> None:
        with self._asking:
            self._found.pop(image, None)

    def load(self, image: ImageConfig) -> None:
        """Nothing to do: nodes pull their images."""

    def _ask(self, image: str) -> ImageConfig | None:
        if self._registry is None:
            self._registry = ImageRegistry(read_pull_secrets(self._read_secrets()))
            self._platform = f"linux/{find_machine(self._client, self._template)}"
        try:
            return image_config(image, self._registry.read_image(image, self._platform))
        except EngineUnreachable:
            return None  # the cluster's nodes may reach it

    def _read_secrets(self) -> list[Mapping[str, Any]]:
        """The secrets that pods pull with: the template's, and their service account's where that may be read."""
        base = f"/api/v1/namespaces/{self._client.namespace}"
        names = pull_secret_names(self._template)
        account = (template_body(self._template).get("spec") or {}).get("serviceAccountName") or "default"
        try:
            found = self._client.get(f"{base}/serviceaccounts/{account}")
            names += [str(one["name"]) for one in found.get("imagePullSecrets") or ()]
        except ApiError:
            pass  # no right that a Role usually has
        secrets: list[Mapping[str, Any]] = []
        for name in dict.fromkeys(names):
            try:
                secrets.append(self._client.get(f"{base}/secrets/{name}"))
            except ApiError:
                continue  # its registry says what is missing
        return secrets


def image_config(image: str, found: RemoteImage) -> ImageConfig:
    """An image that pods pull by its digest: what was looked at is what runs."""
    name, at, _ = image.partition("@")
    repository = name if at else name[: name.rindex(":")] if ":" in name.rpartition("/")[2] else name
    return ImageConfig(
        image_id=found.digest,
        reference=f"{repository}@{found.digest}" if found.digest else image,
        entrypoint=found.entrypoint,
        command=found.command,
        user=found.user,
        env=found.env,
        stop_signal=found.stop_signal,
        health_command=health_command(found.health_command),
        volumes=found.volumes,
        platform=found.platform,
    )


def health_command(test: tuple[str, ...]) -> tuple[str, ...]:
    """The command of a HEALTHCHECK; empty where there is none."""
    if test[:1] == ("CMD",):
        return test[1:]
    return ("/bin/sh", "-c", test[1]) if test[:1] == ("CMD-SHELL",) else ()
