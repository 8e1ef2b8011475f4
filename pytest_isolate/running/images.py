"""Images: found, pulled or built, once per run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import PurePath

from pytest_isolate.engine.api import BuildRequest, Engine, ImageFacts
from pytest_isolate.model.service import Build, ServiceSpec
from pytest_isolate.running.once import Once

Lock = Callable[[str], AbstractContextManager[object]]


class Images:
    """The images of a run. `lock` keeps processes of this host from making the same image side by side."""

    def __init__(self, engine: Engine, lock: Lock, progress: Callable[[str], None]) -> None:
        self._engine = engine
        self._lock = lock
        self._progress = progress
        self._made: Once[tuple[str | None, Build | None], ImageFacts] = Once()

    def ensure(self, spec: ServiceSpec) -> ImageFacts:
        """The service's image, on the engine."""
        return self._made.get((spec.image, spec.build), lambda: self._make(spec))

    def _make(self, spec: ServiceSpec) -> ImageFacts:
        tag = image_tag(spec)
        if spec.build:
            request = BuildRequest(
                tag=tag,
                context=spec.build.context,
                dockerfile=spec.build.dockerfile,
                args=dict(spec.build.args),
                target=spec.build.target,
                network=spec.build.network,
            )
            # The second process to come here finds every layer in the engine's cache.
            with self._lock(f"build {tag}"):
                return self._engine.build_image(request, lambda text: self._progress(f"building {tag}: {text}"))
        found = self._engine.find_image(tag)
        if found:
            return found
        with self._lock(f"pull {tag}"):
            return self._engine.find_image(tag) or self._engine.pull_image(
                tag, lambda text: self._progress(f"pulling {tag}: {text}")
            )


def missing_images(engine: Engine, specs: Iterable[ServiceSpec]) -> list[str]:
    """The images that have to be pulled or built before these services can start."""
    return [tag for tag in dict.fromkeys(image_tag(spec) for spec in specs) if engine.find_image(tag) is None]


def image_tag(spec: ServiceSpec) -> str:
    """The tag that the service's image has, or is built under."""
    if spec.image:
        return spec.image
    assert spec.build is not None
    digest = hashlib.sha256(repr(spec.build).encode()).hexdigest()[:12]
    # Named by its folder, so that services which are built alike share one image.
    folder = re.sub(r"[^a-z0-9]+", "-", PurePath(spec.build.context).name.lower()).strip("-") or "build"
    return f"pytest-isolate/{folder}:{digest}"
