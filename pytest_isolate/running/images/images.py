"""Images, which are found, pulled or built once per run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import PurePath

from msgspec.structs import replace

from pytest_isolate.declarations.values import PULL_ALWAYS, PULL_NEVER
from pytest_isolate.engine.api import BuildRequest, Capability, Engine, ImageFacts, ProgressCallback, require
from pytest_isolate.errors import ImageNotFound
from pytest_isolate.model.service import ServiceSpec
from pytest_isolate.running.images.build_digest import digest_sources
from pytest_isolate.running.images.imported import ImportedImages
from pytest_isolate.running.images.replaced import ReplacedImages
from pytest_isolate.running.once import Once
from pytest_isolate.sharing.board import Board

Lock = Callable[[str], AbstractContextManager[object]]


class Images:
    """The images of a run. `lock` keeps processes of this host from making the same image side by side.

    The board `built` lasts from run to run and has the sources of each image; `fetched` has the pulls of this run.
    """

    def __init__(self, engine: Engine, lock: Lock, built: Board, fetched: Board, tell: ProgressCallback) -> None:
        self._engine = engine
        self._lock = lock
        self._built = built
        self._fetched = fetched
        self._tell = tell
        self._imported = ImportedImages(engine, built)
        self._replaced = ReplacedImages(engine, built, lock)
        self._made: Once[tuple[object, ...], ImageFacts] = Once()

    def ensure(self, spec: ServiceSpec) -> ImageFacts:
        """Return the service's image, after a pull or a build where one is needed."""
        key = (spec.image, spec.build, spec.pull, spec.platform, spec.entrypoint is None)
        return self._made.get(key, lambda: self._make(spec))

    def _make(self, spec: ServiceSpec) -> ImageFacts:
        tag = image_tag(spec)
        if spec.build:
            with self._lock(f"build {tag}"):
                return self._build(build_request(spec))
        if spec.pull == PULL_ALWAYS:
            return self._fetch_once(spec, tag)
        found = self._find(spec, tag)
        if found:
            return found
        if spec.pull == PULL_NEVER:
            raise self._not_there(spec, tag, self._engine.find_image(tag))
        with self._lock(f"pull {tag}"):
            return self._find(spec, tag) or self._pull(spec, tag)

    def _find(self, spec: ServiceSpec, tag: str) -> ImageFacts | None:
        found = self._engine.find_image(tag)
        return found if found and is_for(spec.platform, found) else None

    def _fetch_once(self, spec: ServiceSpec, tag: str) -> ImageFacts:
        """Return the newest image; only the first process of the run that needs it pulls."""
        with self._lock(f"pull {tag}"):
            found = self._find(spec, tag)
            record = self._fetched.read(_fetched_code(spec, tag))
            if found and record == {"image": found.image_id}:
                return found
            pulled = self._pull(spec, tag)
            self._fetched.publish(_fetched_code(spec, tag), {"image": pulled.image_id})
            return pulled

    def _pull(self, spec: ServiceSpec, tag: str) -> ImageFacts:
        try:
            pulled = self._engine.pull_image(
                tag, lambda progress: self._tell(replace(progress, text=f"{progress.text} {tag}")), spec.platform
            )
        except ImageNotFound:
            # What was loaded into the nodes of a cluster runs where nothing has to be known of it.
            if spec.entrypoint is None or not self._engine.facts().nodes_pull:
                raise
            return ImageFacts(image_id=tag)
        if not is_for(spec.platform, pulled):
            raise self._wrong_platform(spec, tag, pulled)
        return pulled

    def _build(self, request: BuildRequest) -> ImageFacts:
        """Build the image, unless its sources are those of the last build: an engine takes long even from its cache."""
        tag = request.tag
        require(
            self._engine.facts(),
            Capability.BUILD,
            f"image {tag} cannot be built of {request.context}",
            "build it elsewhere, push it to a registry, and declare image= in place of build=",
        )
        sources = digest_sources(request, self._engine.find_image)
        found = self._engine.find_image(tag) if sources and not request.pull else None
        if found and self._built.read(tag) == _record(sources, found):
            return found
        imported = None if request.pull else self._imported.find_built(request)
        if imported:
            return imported
        before = self._engine.find_image(tag)
        image = self._engine.build_image(request, self._tell)
        self._replaced.note(tag, before, image)
        # A change during the build may be in the image, or not.
        if sources and sources == digest_sources(request, self._engine.find_image):
            self._built.publish(tag, _record(sources, image))
        return image

    def _not_there(self, spec: ServiceSpec, tag: str, found: ImageFacts | None) -> ImageNotFound:
        other = f"the engine has it for {found.platform} only" if found else "the engine has no image of this name"
        return ImageNotFound(
            f"image {tag} is not on the engine, and is not to be pulled",
            found=f"{other}, and pull is {spec.pull!r}",
            do=[
                f"get it there: {self._engine.commands.pull(tag)}",
                "or have it pulled: --isolate-pull=missing, or pull= of the service",
            ],
        )

    def _wrong_platform(self, spec: ServiceSpec, tag: str, found: ImageFacts) -> ImageNotFound:
        return ImageNotFound(
            f"image {tag} is not made for {spec.platform}",
            tried=self._engine.commands.pull(tag, spec.platform),
            found=f"its registry gave one for {found.platform}",
            do="choose another platform, or another image",
        )


def _record(sources: str | None, image: ImageFacts) -> dict[str, str | None]:
    return {"sources": sources, "image": image.image_id}


def missing_images(engine: Engine, specs: Iterable[ServiceSpec]) -> list[str]:
    """Names of the images that must be pulled or built before these services can start."""
    fetched = (spec for spec in specs if not spec.external and (spec.build or spec.pull != PULL_NEVER))
    return [tag for tag in dict.fromkeys(map(image_tag, fetched)) if engine.find_image(tag) is None]


def is_for(platform: str | None, image: ImageFacts) -> bool:
    """Compare an image's platform with the one asked for. Many images leave out the variant of the processor."""
    pairs = zip((platform or "").split("/"), image.platform.split("/"), strict=False)
    return all(asked == found for asked, found in pairs if asked and found)


def _fetched_code(spec: ServiceSpec, tag: str) -> str:
    return f"fetched {tag} {spec.platform or ''}"


def build_request(spec: ServiceSpec) -> BuildRequest:
    """Build request for a service that is built here."""
    build = spec.build
    assert build is not None
    return BuildRequest(
        tag=image_tag(spec),
        context=build.context,
        dockerfile=build.dockerfile,
        args=dict(build.args),
        target=build.target,
        network=build.network,
        platform=spec.platform,
        pull=spec.pull == PULL_ALWAYS,
        inline=build.inline,
        secrets=build.secrets,
        ssh=build.ssh,
        cache_from=build.cache_from,
        cache_to=build.cache_to,
        builder=build.builder,
        contexts=dict(build.contexts),
        labels=dict(build.labels),
        extra_hosts=build.extra_hosts,
        shm_bytes=build.shm_bytes,
    )


def image_tag(spec: ServiceSpec) -> str:
    """Tag of the service's image, also of one that is built here."""
    if spec.image:
        return spec.image
    assert spec.build is not None
    digest = hashlib.sha256(repr(spec.build).encode()).hexdigest()[:12]
    # Named by its folder, so that services which are built alike share one image.
    folder = re.sub(r"[^a-z0-9]+", "-", PurePath(spec.build.context).name.lower()).strip("-") or "build"
    return f"pytest-isolate/{folder}:{digest}"
