"""Facts of images about the places that files go to."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from pytest_isolate.engine.api import Engine, ImageFacts, PathFacts, PathOwner
from pytest_isolate.model.identity import Run
from pytest_isolate.model.service import File
from pytest_isolate.running.images.paths import ImagePathReader
from pytest_isolate.sharing.board import Board

IMAGE = ImageFacts(image_id="sha256:1")


class StubEngine:
    """One folder, /app, of user 7; counts the containers that are looked into."""

    def __init__(self) -> None:
        self.made = 0

    def create_container(self, _: object) -> str:
        self.made += 1
        return "c"

    def remove_container(self, _: str) -> None:
        pass

    def find_path(self, _: str, path: str) -> PathFacts | None:
        return PathFacts(path=path, is_folder=True, mode=0o750) if path == "/app" else None

    def read_owner(self, *_: str) -> PathOwner:
        return PathOwner(7, 8)


def reader(engine: StubEngine, notes: Board | None = None) -> ImagePathReader:
    stub = cast(Run, type("Names", (), {"resource_name": lambda *_: "n", "labels": lambda *_: {}})())
    return ImagePathReader(cast(Engine, engine), stub, notes)


def ask(own: ImagePathReader, *files: File) -> Any:
    return own.read(IMAGE, "tag", files, lambda _: True)


def test_a_place_that_a_file_made_known_still_tells_its_folders_owner() -> None:
    own = reader(StubEngine())
    assert ask(own, File(target="/app", text="")).folder_owners == {}
    assert ask(own, File(target="/app", source="/here")).folder_owners == {"/app": PathOwner(7, 8)}


def test_an_image_is_looked_into_once_also_by_later_runs(tmp_path: Path) -> None:
    engine, notes = StubEngine(), Board(tmp_path)
    first = ask(reader(engine, notes), File(target="/app", source="/here"), File(target="/new", text=""))
    assert ask(reader(engine, notes), File(target="/app", source="/here"), File(target="/new", text="")) == first
    assert (engine.made, first.places) == (1, {"/app": PathFacts(path="/app", is_folder=True, mode=0o750)})


def test_a_note_of_another_version_is_read_anew(tmp_path: Path) -> None:
    notes = Board(tmp_path)
    notes.publish(IMAGE.image_id, {"places": ["other"]})
    assert ask(reader(StubEngine(), notes), File(target="/app", text="")).places.keys() == {"/app"}


def test_services_of_one_image_ask_side_by_side() -> None:
    own, together = reader(StubEngine()), threading.Barrier(8)

    def work(number: int) -> None:
        together.wait(60)
        for more in range(200):
            ask(own, File(target=f"/{number}/{more}", text=""))

    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
    finally:
        sys.setswitchinterval(before_s)
