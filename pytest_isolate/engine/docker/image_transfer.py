"""Images between an engine and a store of files: what `pytest-isolate images` asks beyond what runs need."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from pytest_isolate.engine.docker.transport.client import Http
from pytest_isolate.engine.image_archive import Parts, Store, read_images, write_images
from pytest_isolate.errors import EngineError

# An engine may write all of the images to a disk of its own before it says a word.
_TIMEOUT_S = 1800
_LOADED = re.compile(r"^Loaded image(?: ID)?(?:\(s\))?: (\S+)", re.MULTILINE)
_LOADING = "the images could not be loaded"


class DockerImageTransfer:
    """Takes images out of one engine, and into it."""

    def __init__(self, client: Http) -> None:
        self._http = client

    def save(self, image_ids: Sequence[str], store: Store) -> list[Parts]:
        what = f"images could not be saved: {', '.join(image_ids)}"
        found: list[Parts] = []
        # One by one: engines do not say which image of several is which.
        for image_id in image_ids:
            pieces = self._http.stream(what, "/images/get", {"names": image_id}, _TIMEOUT_S)
            try:
                (parts,) = read_images(pieces, store)
            except ValueError as error:
                raise EngineError(what, found=str(error), do="try it by hand: docker save") from error
            found.append(parts)
        return found

    def load(self, images: Sequence[Parts], store: Store) -> list[str]:
        pieces = write_images(images, store)
        answer = self._http.ask(
            _LOADING, "POST", "/images/load", query={"quiet": "true"}, archive=pieces, timeout_s=_TIMEOUT_S
        )
        found = parse_loaded(answer.content.decode(errors="replace"))
        if len(found) != len(images):
            raise EngineError(_LOADING, found=f"{len(found)} of {len(images)} were: {', '.join(found)}")
        return found


def parse_loaded(answer: str) -> list[str]:
    """Images that an engine says it has loaded; EngineError where it says that it has not."""
    try:
        said = [json.loads(line) for line in answer.splitlines() if line.strip()]
    except ValueError:
        said = []
    errors = [str(one["error"]) for one in said if "error" in one]
    lines = _LOADED.findall("".join(str(one.get("stream", "")) for one in said))
    # Docker says a line for each, Podman all in one.
    found = [name for line in lines for name in line.split(",")]
    if errors or not found:
        raise EngineError(_LOADING, found=errors or [answer.strip()[:200] or "no answer"])
    return found
