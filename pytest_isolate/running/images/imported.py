"""Images that were built on another machine and loaded here, found again by the sources that they were built from.

Their names come from paths on that machine, and the cache of this engine does not know their builds.
"""

from __future__ import annotations

from collections.abc import Iterable

from pytest_isolate.engine.api import BuildRequest, Engine, ImageFacts
from pytest_isolate.running.images.build_digest import digest_anywhere
from pytest_isolate.running.images.store import BuildOrigin, SnapshotOrigin
from pytest_isolate.sharing.board import Board

# Noted with the first image, so that a run where nothing was ever loaded need not read the sources of its builds.
_ANY = "loaded"


class ImportedImages:
    """Notes and finds loaded images, on a board that lasts from run to run."""

    def __init__(self, engine: Engine, board: Board) -> None:
        self._engine = engine
        self._board = board

    def note(self, image_id: str, origins: Iterable[BuildOrigin], frozen: SnapshotOrigin | None) -> None:
        """Note the origins of an image that was loaded."""
        self._board.publish(_ANY, {"any": True})
        for origin in origins:
            self._board.publish(_built(origin.sources), {"image": image_id, "bases": dict(origin.bases)})
        if frozen:
            self._board.publish(_frozen(frozen.anywhere), {"digest": frozen.digest, "password": frozen.password})

    def find_built(self, request: BuildRequest) -> ImageFacts | None:
        """Find an image that was built elsewhere from the same sources, and give it the name of this build.

        A base image of which this engine has another version counts as a change; one that it does not have does not.
        """
        if self._board.read(_ANY) is None:
            return None
        sources = digest_anywhere(request)
        record = self._board.read(_built(sources)) if sources else None
        if record is None or not all(self._is_same(name, known) for name, known in record["bases"].items()):
            return None
        found = self._engine.find_image(record["image"])
        if found:
            self._engine.tag_image(found.image_id, request.tag)
        return found

    def find_snapshot(self, anywhere: str) -> tuple[str, str | None] | None:
        """Find a loaded snapshot, which may be removed by now: its digest, and the password of its data."""
        record = self._board.read(_frozen(anywhere))
        return (record["digest"], record["password"]) if record else None

    def _is_same(self, name: str, image_id: str) -> bool:
        found = self._engine.find_image(name)
        return found is None or found.image_id == image_id


def _built(sources: str) -> str:
    return f"loaded from {sources}"


def _frozen(anywhere: str) -> str:
    return f"loaded snapshot {anywhere}"
