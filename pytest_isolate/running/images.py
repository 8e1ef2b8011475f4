"""Images: found, pulled or built, once per run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import PurePath

from pytest_isolate.engine.api import BuildRequest, Engine, ImageFacts, Tell
from pytest_isolate.model.service import Build, ServiceSpec
from pytest_isolate.running.loaded import LoadedImages
from pytest_isolate.running.once import Once
from pytest_isolate.running.sources import digest_sources
from pytest_isolate.sharing.store import Board

Lock = Callable[[str], AbstractContextManager[object]]


class Images:
    """The images of a run. `lock` keeps processes of this host from making the same image side by side.

    `built` says, from run to run, what each image was built from.
    """

    def __init__(self, engine: Engine, lock: Lock, built: Board, tell: Tell) -> None:
        self._engine = engine
        self._lock = lock
        self._built = built
        self._tell = tell
        self._loaded = LoadedImages(engine, built)
        self._made: Once[tuple[str | None, Build | None], ImageFacts] = Once()

    def ensure(self, spec: ServiceSpec) -> ImageFacts:
        """The service's image, on the engine."""
        return self._made.get((spec.image, spec.build), lambda: self._make(spec))

    def _make(self, spec: ServiceSpec) -> ImageFacts:
        tag = image_tag(spec)
        if spec.build:
            with self._lock(f"build {tag}"):
                return self._build(build_request(spec))
        found = self._engine.find_image(tag)
        if found:
            return found
        with self._lock(f"pull {tag}"):
            return self._engine.find_image(tag) or self._engine.pull_image(
                tag, lambda progress: self._tell(replace(progress, text=f"{progress.text} {tag}"))
            )

    def _build(self, request: BuildRequest) -> ImageFacts:
        """The image, built unless it was built from the very same before: the engine would find all in its cache."""
        tag = request.tag
        sources = digest_sources(request, self._engine.find_image)
        found = self._engine.find_image(tag) if sources else None
        if found and self._built.read(tag) == _record(sources, found):
            return found
        loaded = self._loaded.find_built(request)
        if loaded:
            return loaded
        made = self._engine.build_image(request, self._tell)
        # What has changed while it was built may be in it, or not.
        if sources and sources == digest_sources(request, self._engine.find_image):
            self._built.publish(tag, _record(sources, made))
        return made


def _record(sources: str | None, image: ImageFacts) -> dict[str, str | None]:
    return {"sources": sources, "image": image.image_id}


def missing_images(engine: Engine, specs: Iterable[ServiceSpec]) -> list[str]:
    """The images that have to be pulled or built before these services can start."""
    return [tag for tag in dict.fromkeys(image_tag(spec) for spec in specs) if engine.find_image(tag) is None]


def build_request(spec: ServiceSpec) -> BuildRequest:
    """What the engine is asked to build for a service that is built."""
    build = spec.build
    assert build is not None
    return BuildRequest(
        tag=image_tag(spec),
        context=build.context,
        dockerfile=build.dockerfile,
        args=dict(build.args),
        target=build.target,
        network=build.network,
    )


def image_tag(spec: ServiceSpec) -> str:
    """The tag that the service's image has, or is built under."""
    if spec.image:
        return spec.image
    assert spec.build is not None
    digest = hashlib.sha256(repr(spec.build).encode()).hexdigest()[:12]
    # Named by its folder, so that services which are built alike share one image.
    folder = re.sub(r"[^a-z0-9]+", "-", PurePath(spec.build.context).name.lower()).strip("-") or "build"
    return f"pytest-isolate/{folder}:{digest}"
