"""Images that a later build has left without a name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.engine import FakeEngine
from fakes.programs import IMAGE, forever

from pytest_isolate.engine.api import ContainerRequest
from pytest_isolate.model.service import Build
from pytest_isolate.running.cleanup.sweep import Sweep
from pytest_isolate.running.images.images import Images
from pytest_isolate.running.images.replaced import ReplacedImages
from pytest_isolate.sharing.board import Board, open_locks
from pytest_isolate.sharing.folders import Usage
from pytest_isolate.sharing.owners import read_owner
from unit.builders import spec


class Bench:
    """A service with build=, built again and again, and what gc finds."""

    def __init__(self, folder: Path) -> None:
        self.engine = FakeEngine()
        self.folder = folder
        self.lock = open_locks(folder / "cache")
        (folder / "app").mkdir()

    def build(self, version: int, tag: str = "") -> str:
        dockerfile = self.folder / "app" / "Dockerfile"
        dockerfile.write_text(f"FROM {IMAGE}\nLABEL version={version}\n")
        service = spec(image=tag or None, build=Build(context=str(dockerfile.parent), dockerfile=str(dockerfile)))
        boards = Board(self.folder / "built"), Board(self.folder / f"run{version}")
        return Images(self.engine, self.lock, *boards, lambda _: None).ensure(service).image_id

    @property
    def sweep(self) -> Sweep:
        replaced = ReplacedImages(self.engine, Board(self.folder / "built"), self.lock)
        usage = Usage(self.folder / "usage")
        return Sweep(self.engine, read_owner(), self.folder / "kept", usage, lambda: 0, replaced)

    def gc(self) -> list[str]:
        sweep = self.sweep
        return [item.object_id for item in sweep.remove(sweep.judge())]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    bench = Bench(tmp_path)
    yield bench
    bench.engine.close()


def test_what_each_change_of_a_build_has_replaced_goes(bench: Bench) -> None:
    first, second, third = map(bench.build, (1, 2, 3))
    assert {j.verdict.reason.partition(" of ")[0] for j in bench.sweep.judge()} == {"replaced by a later build"}
    assert sorted(bench.gc()) == sorted([first, second])
    assert bench.engine.find_image(third)
    assert bench.gc() == []


def test_an_image_that_has_its_name_again_stays(bench: Bench) -> None:
    first, second = bench.build(1), bench.build(2)
    assert bench.build(1) == first
    assert bench.gc() == [second]


def test_an_image_that_gets_its_name_again_meanwhile_stays(bench: Bench) -> None:
    bench.build(1)
    bench.build(2)
    sweep = bench.sweep
    judged = sweep.judge()
    bench.build(1)
    assert sweep.remove(judged) == []


def test_an_image_of_somebody_else_that_had_the_name_stays(bench: Bench) -> None:
    bench.engine.images["app:1"] = bench.engine.images[IMAGE]
    bench.build(1, tag="app:1")
    bench.engine.untagged["sha256:foreign"] = bench.engine.images[IMAGE]
    assert bench.sweep.judge() == []


def test_an_image_that_a_container_uses_stays(bench: Bench) -> None:
    first = bench.build(1)
    bench.build(2)
    bench.engine.images[first] = bench.engine.untagged[first]
    request = ContainerRequest(name="c", image=first, labels={}, command=forever())
    bench.engine.create_container(request)
    del bench.engine.images[first]
    assert bench.gc() == []
    assert first in bench.engine.untagged
