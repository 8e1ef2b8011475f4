"""Choice of the builder that an image is built by, and refusal of what none of an engine's can build. Pure.

The classic builder of newer engines takes a here-document for an instruction that does nothing, without a word; an
older BuildKit takes an address of git for a file. So what a Dockerfile asks for is found out before it is sent.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path

from msgspec import Struct

from pytest_isolate.engine.api import BuildRequest
from pytest_isolate.engine.docker.wire import describe_dockerfile
from pytest_isolate.engine.dockerfile import Dockerfile, Instruction, Need, Version
from pytest_isolate.errors import BuildFailed

# The Dockerfile front end within an engine, by its version; of newer engines all words are known.
_FRONT_ENDS: Mapping[int, Version] = {
    20: (1, 2),
    23: (1, 4),
    24: (1, 5),
    25: (1, 6),
    26: (1, 7),
    27: (1, 12),
    28: (1, 19),
}
# What older ones leave out without a word, or do not know.
_FIRST_WITH_ALL_KEYS = 23
# The versions of Podman whose Buildah knows here-documents, and repositories of git as what they are.
_PODMAN_HEREDOC, _PODMAN_GIT = (4, 8), (5, 0)
_BUILDKIT = "2"
# Networks that BuildKit knows: it has none of the engine's own.
_NETWORKS = (None, "", "default", "host", "none")
_NETWORK_NAMES = "default, host and none"
_INLINE = "type=inline"
_REGISTRY = "type=registry,"


class Builder(Enum):
    """A way to build an image."""

    CLASSIC = "the engine's own builder"
    SESSION = "BuildKit"
    BUILDX = "docker buildx build"


class BuildingEngine(Struct, frozen=True, kw_only=True):
    """Facts of an engine that decide how it builds. `default_builder` is Builder-Version of its answer to /_ping."""

    name: str
    version: str
    default_builder: str = ""
    has_buildkit: bool = True

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def choose_builder(request: BuildRequest, file: Dockerfile, ignore_file: str, engine: BuildingEngine) -> Builder:
    """Choose the builder; BuildFailed names what of the Dockerfile or the declaration the engine cannot build.

    `ignore_file` is the name of a .dockerignore of the Dockerfile's own, empty for none.
    """
    if not engine.has_buildkit:
        _refuse_keys(request, engine, dict(_buildkit_keys(request)))
        _refuse_for_podman(request, file, engine)
        return Builder.CLASSIC
    by_buildx = dict(_buildx_keys(request))
    asks = bool(file.needs or ignore_file or by_buildx or dict(_buildkit_keys(request)))
    is_for_classic = request.network not in _NETWORKS or any(map(_begins_with_id, file.instructions))
    if not asks and (engine.default_builder != _BUILDKIT or is_for_classic):
        return Builder.CLASSIC
    if not request.builder:  # a builder with a name has a BuildKit of its own
        _refuse_words(request, file, engine)
        _refuse_network(request, file, engine)
        newer = {"shm_size": request.shm_bytes, "contexts": request.contexts}
        if _version(engine)[0] < _FIRST_WITH_ALL_KEYS:
            reason = f"BuildKit takes it from version {_FIRST_WITH_ALL_KEYS} on"
            _refuse_keys(request, engine, {key: reason for key, value in newer.items() if value})
    return Builder.BUILDX if by_buildx else Builder.SESSION


def find_cache_images(request: BuildRequest) -> list[str]:
    """Names of the images whose inline caches are used."""
    return [cache.removeprefix(_REGISTRY).removeprefix("ref=") for cache in request.cache_from]


def keeps_cache_inline(request: BuildRequest) -> bool:
    """Tell that the image is to carry its own cache."""
    return _INLINE in request.cache_to


def _begins_with_id(instruction: Instruction) -> bool:
    """True for an image by its id, as of a snapshot: BuildKit takes that for a name, and asks a registry for it."""
    return instruction.verb == "FROM" and instruction.rest.startswith("sha256:")


def _buildkit_keys(request: BuildRequest) -> Iterator[tuple[str, str]]:
    """Yield the keys that only BuildKit knows, with the reason."""
    for key in ("secrets", "ssh", "cache_from", "cache_to", "builder", "contexts"):
        if getattr(request, key):
            yield key, "only BuildKit has it"


def _buildx_keys(request: BuildRequest) -> Iterator[tuple[str, str]]:
    """Yield the keys that the engine's API does not take, but `docker buildx build` does."""
    for key in ("ssh", "builder", "contexts"):
        if getattr(request, key):
            yield key, str(getattr(request, key))
    if any("=" in cache and not cache.startswith(f"{_REGISTRY}ref=") for cache in request.cache_from):
        yield "cache_from", str(request.cache_from)
    if any(cache != _INLINE for cache in request.cache_to):
        yield "cache_to", str(request.cache_to)


def _refuse_keys(request: BuildRequest, engine: BuildingEngine, wrong: Mapping[str, str]) -> None:
    if wrong:
        raise BuildFailed(
            f"the image of {describe_dockerfile(request)} could not be built",
            tried=f"{engine}",
            found=[f"it cannot honour {key} of build: {reason}" for key, reason in wrong.items()],
            do=f"leave out {', '.join(wrong)}, or build it with a newer Docker",
        )


def _refuse_words(request: BuildRequest, file: Dockerfile, engine: BuildingEngine) -> None:
    """Refuse words that are newer than the engine; with `# syntax=` a front end from a registry reads the file."""
    known = _FRONT_ENDS.get(_version(engine)[0])
    unknown = [need for need in file.needs if known and not file.syntax and need.since > known]
    if not unknown or not known:
        return
    since = max(need.since for need in unknown)
    newer = next((major for major, version in _FRONT_ENDS.items() if version >= since), 29)
    raise BuildFailed(
        f"the image of {describe_dockerfile(request)} could not be built",
        tried=f"{engine}, whose BuildKit reads Dockerfiles of version {_text(known)}",
        found=[f"{_describe(request, need)} is of version {_text(need.since)}" for need in unknown],
        do=[
            f"use Docker {newer} or newer",
            "or, where the engine reaches Docker Hub, begin the Dockerfile with: # syntax=docker/dockerfile:1",
        ],
    )


def _refuse_network(request: BuildRequest, file: Dockerfile, engine: BuildingEngine) -> None:
    if request.network in _NETWORKS:
        return
    asking = [_describe(request, need) for need in file.needs] or ["a key of build, or an ignore file"]
    raise BuildFailed(
        f"the image of {describe_dockerfile(request)} could not be built",
        tried=f"{engine} with BuildKit, which is asked for by {asking[0]}",
        found=f"BuildKit knows the networks {_NETWORK_NAMES}, and not {request.network!r}",
        do="choose one of these as network of build, or leave out what asks for BuildKit",
    )


def _refuse_for_podman(request: BuildRequest, file: Dockerfile, engine: BuildingEngine) -> None:
    """Refuse what an older Podman takes for something else; all other words that it does not know it refuses itself."""
    since = {
        need: _PODMAN_GIT if need.is_git else _PODMAN_HEREDOC for need in file.needs if need.is_git or need.is_heredoc
    }
    unknown = [need for need, version in since.items() if _version(engine) < version]
    if unknown:
        raise BuildFailed(
            f"the image of {describe_dockerfile(request)} could not be built",
            tried=f"{engine}",
            found=[f"{_describe(request, need)} is of Podman {_text(since[need])}" for need in unknown],
            do="use a newer Podman, or Docker",
        )


def _describe(request: BuildRequest, need: Need) -> str:
    name = "dockerfile_inline" if request.inline is not None else Path(request.dockerfile).name
    return f"{name}:{need.line}: {need.word}"


def _text(version: Version) -> str:
    return ".".join(map(str, version))


def _version(engine: BuildingEngine) -> Version:
    """First numbers of its version; one that says none of its own counts as the newest."""
    found = re.match(r"(\d+)\.(\d+)", engine.version)
    return (int(found[1]), int(found[2])) if found else (sys.maxsize, 0)
