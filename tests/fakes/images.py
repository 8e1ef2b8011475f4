"""Images of the fake engine, and the little of a Dockerfile that it understands."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from pytest_isolate.engine.api import BuildRequest, ProgressCallback
from pytest_isolate.engine.docker.commands import DockerCommands
from pytest_isolate.engine.docker.wire import build_step
from pytest_isolate.errors import BuildFailed


@dataclass(frozen=True, kw_only=True)
class FakeImage:
    """What an image is made of, as far as it changes what a container does."""

    image_id: str
    command: tuple[str, ...] = ("bash",)
    volumes: tuple[str, ...] = ()
    health_command: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def image_id(text: str) -> str:
    """An id that is equal for equal content."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def build(request: BuildRequest, images: Mapping[str, FakeImage], tell: ProgressCallback) -> FakeImage:
    """FROM, RUN true, RUN false, CMD and HEALTHCHECK in either form, VOLUME, LABEL, ADD of an archive.

    Every other line does nothing.
    """
    bases = {**images, **{image.image_id: image for image in images.values()}}
    text = Path(request.dockerfile).read_text() if request.inline is None else request.inline
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    image = FakeImage(image_id="")
    for number, line in enumerate(lines, start=1):
        step = f"Step {number}/{len(lines)} : {line}"
        tell(build_step(step))
        verb, _, rest = line.partition(" ")
        if verb == "FROM" and rest.split()[0] not in bases:
            raise _failed(request, step, f"pull access denied for {rest}")
        if verb == "FROM":
            image = bases[rest.split()[0]]
        elif verb == "RUN" and rest.split()[0] == "false":
            raise _failed(request, step, "The command '/bin/sh -c false' returned a non-zero code: 1")
        elif verb == "ADD":
            archive, target = json.loads(rest)
            image = replace(image, files={**image.files, **read_archive(Path(request.context) / archive, target)})
        else:
            image = _changed(image, verb, rest)
    return replace(image, image_id=image_id(f"{text} {sorted(request.args.items())}"))


def _changed(image: FakeImage, verb: str, rest: str) -> FakeImage:
    match verb:
        case "CMD":
            return replace(image, command=_argv(rest))
        case "VOLUME":
            return replace(image, volumes=(*image.volumes, rest.strip()))
        case "LABEL":
            return replace(image, labels={**image.labels, **dict([rest.split("=", 1)])})
        case "HEALTHCHECK":
            return replace(image, health_command=() if rest == "NONE" else _argv(rest.removeprefix("CMD ")))
    return image


def read_archive(path: Path, target: str) -> dict[str, str]:
    """The files of an archive, as they lie below a folder."""
    with tarfile.open(path) as archive:
        members = [(entry, archive.extractfile(entry)) for entry in archive]
        return {str(PurePosixPath(target) / e.name): content.read().decode() for e, content in members if content}


def _argv(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text)) if text.startswith("[") else ("/bin/sh", "-c", text)


def _failed(request: BuildRequest, step: str, answer: str) -> BuildFailed:
    return BuildFailed(
        f"the image of {request.dockerfile} could not be built",
        tried=[step],
        found=[answer],
        do=f"try it by hand: {DockerCommands().build(request, buildkit=False)}",
    )
