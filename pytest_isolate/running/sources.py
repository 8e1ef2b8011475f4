"""What an image is built from, as one digest, so that a build in which nothing has changed need not be asked for.

Fail closed: whatever cannot be known without building has no digest, and is built; the engine's own cache decides then.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from pytest_isolate.engine.api import BuildRequest, ImageFacts

# Reading more than this takes longer than asking the engine, which is sent only what .dockerignore leaves.
_MOST_BYTES = 32 << 20
_MOST_FILES = 5000
_DIRECTIVE = re.compile(r"#\s*(escape|syntax|check)\s*=", re.IGNORECASE)
_CONTINUED = re.compile(r"\\[ \t]*\n(?:[ \t]*(?:#.*)?\n)*")
_HARMLESS = frozenset(
    {"ARG", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL"}
    | {"MAINTAINER", "ONBUILD", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}
)
# A build may fetch these anew, or they are worked out by the engine.
_UNKNOWABLE = {"FROM": ("$", "--"), "ADD": ("$", "://", "git@", "<<"), "COPY": ("<<",), "RUN": ("--mount", "<<")}

FindImage = Callable[[str], ImageFacts | None]


def digest_sources(request: BuildRequest, find_image: FindImage) -> str | None:
    """Equal for equal files, arguments and base images; None where that cannot be known."""
    try:
        dockerfile = Path(request.dockerfile).read_text(encoding="utf-8-sig")
        bases = find_bases(dockerfile)
        if bases is None:
            return None
        digest = hashlib.sha256(repr((request, dockerfile)).encode())
        for name in bases:
            found = find_image(name)
            if found is None:
                return None
            digest.update(repr((name, found.image_id)).encode())
        for part in _read_files(request.context):
            digest.update(part)
    except (OSError, ValueError):
        return None
    return digest.hexdigest()


def find_bases(dockerfile: str) -> tuple[str, ...] | None:
    """The images that a Dockerfile takes from elsewhere, in their order; None where it does not say them itself."""
    if any(_DIRECTIVE.match(line) for line in dockerfile.splitlines()):
        return None
    bases: dict[str, None] = {}
    stages: set[str] = set()
    for line in _CONTINUED.sub("", dockerfile).splitlines():
        verb, *words = line.split() or ["#"]
        if verb.startswith("#") or verb.upper() in _HARMLESS:
            continue
        verb, rest = verb.upper(), " ".join(words)
        if verb not in _UNKNOWABLE or any(text in rest for text in _UNKNOWABLE[verb]):
            return None
        taken = [word.removeprefix("--from=") for word in words if word.startswith("--from=")]
        if verb == "FROM":
            taken = words[:1]
        for name in taken:
            if "$" in name:
                return None
            if not (name.isdigit() or name.lower() in stages | {"scratch"}):
                bases[name] = None
        if verb == "FROM":
            stages |= {word.lower() for word in words[2:3]}
    return tuple(bases)


def _read_files(folder: str) -> Iterator[bytes]:
    """Everything in a folder that a build can see: names, modes, content, where links lead. Times do not count."""
    count = size = 0
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders.sort()
        for name in sorted([*folders, *files]):
            path = Path(parent, name)
            found = path.lstat()
            count, size = count + 1, size + found.st_size
            if count > _MOST_FILES or size > _MOST_BYTES:
                raise ValueError(f"{folder} is too large")
            content = b""
            if stat.S_ISREG(found.st_mode):
                content = hashlib.sha256(path.read_bytes()).digest()
            elif stat.S_ISLNK(found.st_mode):
                content = os.fsencode(path.readlink())
            yield repr((os.fsencode(path.relative_to(folder)), found.st_mode, content)).encode()


def _raise(error: OSError) -> None:
    raise error
