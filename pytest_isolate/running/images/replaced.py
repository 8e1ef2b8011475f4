"""Images that a later build has left without a name: noted when that happens, so that none of others is removed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from pytest_isolate.engine.api import Engine, ImageFacts, Labelled
from pytest_isolate.sharing.board import Board

_REPLACED = "replaced"


class ReplacedImages:
    """Notes and finds them, on a board that lasts from run to run; `lock` is the one that builds are made under."""

    def __init__(self, engine: Engine, board: Board, lock: Callable[[str], AbstractContextManager[object]]) -> None:
        self._engine = engine
        self._board = board
        self._lock = lock

    def note(self, tag: str, before: ImageFacts | None, after: ImageFacts) -> None:
        """Note that a build of ours is called so now; what was before is ours only if a build of ours made it."""
        made = (self._board.read(_made(tag)) or self._board.read(tag) or {}).get("image")
        if before and before.image_id == made != after.image_id:
            self._board.publish(_replaced(made), {_REPLACED: made, "tag": tag})
        self._board.publish(_made(tag), {"image": after.image_id})

    def find(self) -> list[Labelled]:
        """Those that are still on the engine, without a name."""
        noted = {record[_REPLACED]: record["tag"] for record in self._board.records() if _REPLACED in record}
        there = set(self._engine.list_untagged_images()) if noted else set()
        return [
            Labelled(kind="image", object_id=image, name=image, labels={_REPLACED: tag})
            for image, tag in sorted(noted.items())
            if image in there
        ]

    def remove(self, image: Labelled) -> bool:
        """Remove one; False where it has a name again. EngineError where a container or another image uses it."""
        with self._lock(f"build {image.labels[_REPLACED]}"):
            is_untagged = image.object_id in self._engine.list_untagged_images()
            if is_untagged:
                self._engine.remove_image(image.object_id)
                self._board.withdraw(_replaced(image.object_id))
            return is_untagged


def is_replaced(image: Labelled) -> bool:
    """True for an image that `ReplacedImages` has found."""
    return _REPLACED in image.labels


def describe_replaced(image: Labelled) -> str:
    """Why it is not needed."""
    return f"replaced by a later build of {image.labels[_REPLACED]}"


def _made(tag: str) -> str:
    return f"made {tag}"


def _replaced(image_id: str) -> str:
    return f"replaced {image_id}"
