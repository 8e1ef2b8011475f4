"""Images on a Docker engine; only pulling and building go through engine.docker.sdk."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import cast
from urllib.parse import quote

from pytest_isolate.engine.api import BuildRequest, ImageFacts, Labelled, ProgressCallback
from pytest_isolate.engine.docker.building.choice import BuildingEngine
from pytest_isolate.engine.docker.dialects import plain_name
from pytest_isolate.engine.docker.pull_errors import Pull, pull_failed
from pytest_isolate.engine.docker.remover import Remover, as_query, gone_is_fine
from pytest_isolate.engine.docker.wire import health_command, image_platform, split_tag
from pytest_isolate.errors import ObjectNotFound

_SOCKS = "urllib3.contrib.socks"


class ImageApi(Remover):
    """The part of the engine that finds, makes, names and removes images."""

    def find_image(self, image: str) -> ImageFacts | None:
        try:
            found = self._http.ask(f"image {image} could not be looked up", "GET", f"{image_path(image)}/json").json()
        except ObjectNotFound:
            return None
        config = found.get("Config") or {}
        if self._dialect().image_details:
            path = self._dialect().image_details.format(quote(found["Id"]))
            config = {**config, **self._http.ask(f"image {image} could not be looked up", "GET", path).json()}
        command = health_command(config)
        variables = dict(text.partition("=")[::2] for text in config.get("Env") or ())
        platform = image_platform(found)
        return ImageFacts(image_id=found["Id"], health_command=command, variables=variables, platform=platform)

    def pull_image(self, image: str, tell: ProgressCallback, platform: str | None = None) -> ImageFacts:
        load_sdk().pull(self._http, image, tell, platform)
        facts = self.find_image(image)
        if facts is None:
            raise pull_failed(Pull(image), "the pull ended, but the image is not there")
        return facts

    def build_image(self, request: BuildRequest, tell: ProgressCallback) -> ImageFacts:
        from pytest_isolate.engine.docker.building.run import ImageBuild  # rarely needed

        version, dialect = self._http.version(), self._dialect()
        greeting: Mapping[str, str] = {}
        if dialect.has_buildkit:
            greeting = dict(self._http.head("the engine did not say how it builds", "/_ping", {}))
        engine = BuildingEngine(
            name=dialect.name,
            version=version["Version"],
            default_builder=greeting.get("Builder-Version", ""),
            has_buildkit=dialect.has_buildkit,
        )
        build = ImageBuild(self._http, request, engine, load_sdk, tell)
        build.run()
        facts = self.find_image(request.tag)
        if facts is None:
            raise build.failed("", ["the build ended, but the image is not there"])
        return facts

    def list_images(self, label: str) -> Sequence[Labelled]:
        query, dialect = as_query({"label": [label]}), self._dialect()
        images = self._http.ask("the images could not be listed", "GET", "/images/json", query=query).json()
        return [
            Labelled(kind="image", object_id=i["Id"], name=plain_name(dialect, tag), labels=dict(i["Labels"] or {}))
            for i in images
            for tag in i["RepoTags"] or ()
        ]

    def list_untagged_images(self) -> Sequence[str]:
        query = as_query({"dangling": ["true"]})
        images = self._http.ask("the images could not be listed", "GET", "/images/json", query=query).json()
        return [image["Id"] for image in images]

    def tag_image(self, image: str, tag: str) -> None:
        name, version = split_tag(tag)
        what = f"image {image} could not be called {tag}"
        self._http.ask(what, "POST", f"{image_path(image)}/tag", query={"repo": name, "tag": version})

    def remove_image(self, tag: str) -> None:
        with gone_is_fine():
            self._http.ask(f"image {tag} could not be removed", "DELETE", image_path(tag))


def load_sdk() -> ModuleType:
    """The module engine.sdk, imported when it is first needed, in whatever thread that is.

    Where PySocks is missing, a library below the SDK warns of it before it does without, and its user switches that
    warning off. But filters of warnings belong to the whole process, and pytest puts back its own meanwhile: where
    warnings are errors, the import would fail by chance. So it is told at once that there is no such module.
    """
    if find_spec("socks") is None:
        sys.modules.setdefault(_SOCKS, cast(ModuleType, None))
    try:
        return import_module("pytest_isolate.engine.docker.sdk")
    finally:
        if sys.modules.get(_SOCKS, sys) is None:
            sys.modules.pop(_SOCKS, None)


def image_path(image: str) -> str:
    """The path of an image, as the API has it."""
    return f"/images/{quote(image, '/:@')}"
