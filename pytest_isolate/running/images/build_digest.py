"""Digest of the sources of an image, so that the engine is not asked for a build in which nothing has changed.

Fail closed: a build that depends on anything else has no digest, and is left to the engine and its own cache.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pytest_isolate.engine.api import BuildRequest, ImageFacts
from pytest_isolate.engine.dockerfile import read_dockerfile
from pytest_isolate.engine.dockerignore import name_in_context, walk_context
from pytest_isolate.user_files import file_mode, read_bytes, read_link, read_text

# To read more than this takes longer than to ask the engine, which is sent only what .dockerignore leaves.
_MOST_BYTES = 32 << 20
_MOST_FILES = 5000
_HARMLESS = frozenset(
    {"ARG", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL"}
    | {"MAINTAINER", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}
)
# Texts that make an instruction depend on more than its files: it fetches something, or the engine evaluates it.
_UNKNOWABLE: Mapping[str, tuple[str, ...]] = {
    "FROM": ("$", "--"),
    "ADD": ("$", "://", "@", "github.com/"),
    "COPY": (),
    "RUN": ("--mount",),
}

FindImage = Callable[[str], ImageFacts | None]


def digest_sources(request: BuildRequest, find_image: FindImage) -> str | None:
    """Digest of files, arguments and base images; None where the result depends on anything else."""
    try:
        dockerfile = _read_dockerfile(request)
        bases = find_bases(dockerfile)
        if bases is None or request.contexts or request.secrets or request.builder:
            return None
        digest = hashlib.sha256(repr((request, dockerfile)).encode())
        for name in bases:
            found = find_image(name)
            if found is None:
                return None
            digest.update(repr((name, found.image_id)).encode())
        for part in _read_files(request, _MOST_FILES, _MOST_BYTES):
            digest.update(part)
    except (OSError, ValueError):
        return None
    return digest.hexdigest()


def digest_anywhere(request: BuildRequest) -> str | None:
    """Digest of files and arguments in any folder, without base images; None where they cannot be read."""
    dockerfile, context = Path(request.dockerfile), Path(request.context)
    try:
        inside = name_in_context(context, dockerfile)
        is_outside = inside is None and request.inline is None
        # As a path: so it stands in the digests of images that were saved.
        name = read_bytes(dockerfile) if is_outside else Path(inside or dockerfile)
        args = sorted(request.args.items())
        options: tuple[object, ...] = (name, args, request.target, request.network, request.platform)
        # Left out where they say nothing, so that images that were saved before there were such keys are found.
        more = (request.inline, sorted(request.labels.items()), request.extra_hosts, sorted(request.contexts.items()))
        digest = hashlib.sha256(repr((*options, *more) if any(more) else options).encode())
        for part in _read_files(request, sys.maxsize, sys.maxsize):
            digest.update(part)
    except (OSError, ValueError):
        return None
    return digest.hexdigest()


def read_bases(request: BuildRequest, find_image: FindImage) -> dict[str, str]:
    """Ids of the base images that the Dockerfile names and the engine has, by name."""
    try:
        names = find_bases(_read_dockerfile(request))
    except (OSError, ValueError):
        return {}
    found = {name: find_image(name) for name in names or ()}
    return {name: image.image_id for name, image in found.items() if image}


def _read_dockerfile(request: BuildRequest) -> str:
    return read_text(request.dockerfile) if request.inline is None else request.inline


def find_bases(dockerfile: str) -> tuple[str, ...] | None:
    """Names of the images that a Dockerfile builds on, in their order; None where they depend on more than its text."""
    file = read_dockerfile(dockerfile)
    if file.has_directives:
        return None
    bases: dict[str, None] = {}
    stages: set[str] = set()
    for instruction in file.instructions:
        verb, words = instruction.verb, instruction.rest.split()
        if verb in _HARMLESS:
            continue
        unknowable = _UNKNOWABLE.get(verb)
        if unknowable is None or instruction.heredocs or any(text in instruction.rest for text in unknowable):
            return None
        names = [word.removeprefix("--from=") for word in words if word.startswith("--from=")]
        if verb == "FROM":
            names = words[:1]
        for name in names:
            if "$" in name:
                return None
            if not (name.isdigit() or name.lower() in stages | {"scratch"}):
                bases[name] = None
        if verb == "FROM":
            stages |= {word.lower() for word in words[2:3]}
    return tuple(bases)


def _read_files(request: BuildRequest, most_files: int, most_bytes: int) -> Iterator[bytes]:
    """Names, modes, content and link targets of everything in its folder that a build can see; no times."""
    context = Path(request.context)
    count = size = 0
    for path in walk_context(context, Path(request.dockerfile)):
        found = path.lstat()
        count, size = count + 1, size + found.st_size
        if count > most_files or size > most_bytes:
            raise ValueError(f"{context} is too large")
        content = b""
        if stat.S_ISREG(found.st_mode):
            content = hashlib.sha256(path.read_bytes()).digest()
        elif stat.S_ISLNK(found.st_mode):
            content = os.fsencode(read_link(path))
        name = os.fsencode(path.relative_to(context).as_posix())
        yield repr((name, stat.S_IFMT(found.st_mode) | file_mode(found), content)).encode()
