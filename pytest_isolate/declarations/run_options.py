"""A run's options that change every service: registries, pull, platform, and services that run already."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.declarations.external import use
from pytest_isolate.declarations.values import PULL_NEVER, InvalidValue
from pytest_isolate.model.endpoint import ExternalService
from pytest_isolate.model.service import HUB, ServiceId, ServiceSpec, split_image

EVERY = "*"
_OFFICIAL = "library"
# As in Docker's references: a name with a dot or a port, or localhost.
_HOST = re.compile(r"(?:[\w-]+\.)+[\w-]+(?::\d+)?|localhost|[\w-]+:\d+|\[[0-9a-f:]+\](?::\d+)?", re.ASCII)
_PATH = re.compile(r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*")
_VALID = (
    "a registry, or a folder of one, for the images of Docker Hub: mirror.example:5000/hub; "
    "of another registry: ghcr.io=mirror.example:5000/ghcr; of all: *=mirror.example:5000"
)


def parse_registries(texts: Iterable[str]) -> dict[str, str]:
    """The prefix for each registry. Of two for the same one the first wins."""
    found: dict[str, str] = {}
    for text in texts:
        registry, is_named, prefix = text.strip().rpartition("=")
        registry = registry if is_named else HUB
        prefix = prefix.rstrip("/")
        if not (registry == EVERY or _HOST.fullmatch(registry)) or not _is_prefix(prefix):
            raise InvalidValue("is not a place to fetch images from", _VALID)
        found.setdefault(registry, prefix)
    return found


def prefixed(image: str, prefixes: Mapping[str, str]) -> str:
    """The name under which an image is fetched.

    Behind a prefix that ends in `/library`, that folder is for the official images only, as on Docker Hub. Those of
    other registries have their registry's name in theirs where the prefix is meant for all.
    """
    registry, path = split_image(image)
    if registry in prefixes:
        return _join(prefixes[registry], path)
    if EVERY in prefixes and registry != "localhost":
        return _join(prefixes[EVERY], path if registry == HUB else f"{registry}/{path}")
    return image


def _join(prefix: str, path: str) -> str:
    if prefix.endswith(f"/{_OFFICIAL}") and "/" in path:
        prefix = prefix.removesuffix(f"/{_OFFICIAL}")
    return f"{prefix}/{path}"


def _is_prefix(prefix: str) -> bool:
    host, slash, path = prefix.partition("/")
    return bool(_HOST.fullmatch(host)) and (not slash or bool(_PATH.fullmatch(path)))


class RunOverrides(Struct, frozen=True, kw_only=True):
    """The options that are about all services; what a service says itself wins.

    `prefixes` are by registry, `used` is by the service's name, or `stack.service`.
    """

    prefixes: Mapping[str, str] = {}
    pull: str | None = None
    platform: str | None = None
    external: Mapping[str, ExternalService] = {}

    def apply(self, service: ServiceId, spec: ServiceSpec) -> ServiceSpec:
        """The service as this run has it."""
        fetched = replace(
            spec,
            image=self._find_name(spec),
            pull=spec.pull or self.pull,
            platform=spec.platform or self.platform,
        )
        used = self.external.get(str(service))
        return use(fetched, used) if used else fetched

    def _find_name(self, spec: ServiceSpec) -> str | None:
        """Leave alone what is built here, or said to be on the engine already: it is on no mirror."""
        if spec.image is None or spec.build or spec.pull == PULL_NEVER:
            return spec.image
        return prefixed(spec.image, self.prefixes)
