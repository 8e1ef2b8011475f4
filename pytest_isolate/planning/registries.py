"""Image names with a prefix in front: where a run fetches what a service names. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pytest_isolate.model.image_name import HUB, split_image
from pytest_isolate.declarations.values import Wrong

EVERY = "*"
"""Stands for every registry that has no prefix of its own."""

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
            raise Wrong("is not a place to fetch images from", _VALID)
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
