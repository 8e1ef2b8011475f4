"""Snapshots: which go, and what becomes of one that cannot be taken. That they work is asked of a real engine."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext
from pathlib import Path

import pytest

from pytest_isolate.engine.api import BuildRequest, EngineFacts, ImageFacts, Labelled
from pytest_isolate.errors import EngineError
from pytest_isolate.model.declaration import Secret
from pytest_isolate.model.identity import LABEL_SNAPSHOT, LABEL_SNAPSHOT_BYTES
from pytest_isolate.running.images.imported import ImportedImages
from pytest_isolate.running.images.snapshots import (
    KEPT,
    KEPT_BYTES,
    Snapshot,
    Snapshots,
    judge_snapshots,
    must_be_judged,
    note_judged,
)
from pytest_isolate.running.images.store import SnapshotOrigin
from pytest_isolate.sharing.board import Board
from pytest_isolate.sharing.folders import Usage
from unit.builders import spec

DAY = 86400.0
DATABASE = spec("db", snapshot=("/srv/data",), password=Secret.RANDOM)


class StubEngine:
    """Notes what is asked of it, and fails where the test says so."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fails = ""
        self.is_large = False
        self.images: set[str] = set()

    def _ask(self, name: str) -> None:
        self.calls.append(name)
        if name == self.fails:
            raise EngineError(f"{name} failed")

    def facts(self) -> EngineFacts:
        return EngineFacts(name="Stub", version="1", address="stub://", is_local=True)

    def pause_container(self, container_id: str) -> None:
        self._ask("pause")

    def unpause_container(self, container_id: str) -> None:
        self._ask("unpause")

    def save_archive(self, container_id: str, path: str, file: Path, most_bytes: int) -> bool:
        self._ask("save")
        file.write_bytes(b"archive")
        return not self.is_large

    def build_image(self, request: BuildRequest, progress: object) -> None:
        self._ask("build")
        assert Path(request.dockerfile).read_text().splitlines()[0] == "FROM sha256:1"
        assert (Path(request.context) / "0.tar").read_bytes() == b"archive"
        self.images.add(request.tag)

    def find_image(self, tag: str) -> ImageFacts | None:
        return ImageFacts(image_id=f"id of {tag}") if tag in self.images else None


@pytest.fixture
def engine() -> StubEngine:
    return StubEngine()


def always_open() -> None:
    """The run goes on."""


@pytest.fixture
def snapshots(engine: StubEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Snapshots:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return Snapshots(engine, b"secret", Usage(tmp_path / "usage"), lambda _: nullcontext())


@pytest.fixture
def snapshot(snapshots: Snapshots) -> Snapshot:
    found = snapshots.identify(DATABASE, "", ImageFacts(image_id="sha256:1"))
    assert found
    return found


def test_first_start_is_saved_while_it_stands_still_and_used_from_then_on(
    engine: StubEngine, snapshots: Snapshots, snapshot: Snapshot, tmp_path: Path
) -> None:
    assert not snapshots.wait_until_available(snapshot, always_open)
    usage = Usage(tmp_path / "usage")
    note_judged(usage)
    snapshots.save(snapshot, "c1")
    snapshots.save(snapshot, "c2")
    assert snapshots.wait_until_available(snapshot, always_open)

    assert engine.calls == ["pause", "save", "unpause", "build"]
    assert list((tmp_path / "tmp").iterdir()) == []
    assert list(usage.read()) == [snapshot.digest]
    assert must_be_judged(usage, time.time())  # there is one more


@pytest.mark.parametrize("fails", ["pause", "save", "build"])
def test_what_cannot_be_saved_goes_on_without(
    engine: StubEngine, snapshots: Snapshots, snapshot: Snapshot, fails: str, tmp_path: Path
) -> None:
    engine.fails = fails
    snapshots.save(snapshot, "c1")
    snapshots.finish(10)

    assert not snapshots.wait_until_available(snapshot, always_open)
    assert ("unpause" in engine.calls) is (fails != "pause")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_folder_that_is_too_large_is_tried_once(
    engine: StubEngine, snapshots: Snapshots, snapshot: Snapshot, tmp_path: Path
) -> None:
    engine.is_large = True
    snapshots.save(snapshot, "c1")
    later = Snapshots(engine, b"secret", Usage(tmp_path / "usage"), lambda _: nullcontext())
    later.save(snapshot, "c2")

    assert engine.calls == ["pause", "save", "unpause"]
    assert not later.wait_until_available(snapshot, always_open)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_container_that_cannot_be_unpaused_is_handed_to_nobody(
    engine: StubEngine, snapshots: Snapshots, snapshot: Snapshot, tmp_path: Path
) -> None:
    engine.fails = "unpause"
    with pytest.raises(EngineError, match="unpause failed"):
        snapshots.save(snapshot, "c1")

    assert "build" not in engine.calls
    assert not snapshots.wait_until_available(snapshot, always_open)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_nobody_waits_for_one_that_has_no_room(
    engine: StubEngine, snapshots: Snapshots, snapshot: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    snapshots.save(snapshot, "c1")

    assert engine.calls == []
    assert not snapshots.wait_until_available(snapshot, always_open)


def test_who_comes_second_waits_for_what_the_first_makes(snapshots: Snapshots, snapshot: Snapshot) -> None:
    assert not snapshots.wait_until_available(snapshot, always_open)
    with ThreadPoolExecutor() as pool:
        second = pool.submit(snapshots.wait_until_available, snapshot, always_open)
        assert not wait([second], 0.3).done
        snapshots.save(snapshot, "c1")
        assert second.result(10)


def test_who_comes_second_takes_over_from_a_start_that_fails(snapshots: Snapshots, snapshot: Snapshot) -> None:
    assert not snapshots.wait_until_available(snapshot, always_open)
    snapshots.release(snapshot)
    assert not snapshots.wait_until_available(snapshot, always_open)
    snapshots.save(snapshot, "c2")
    assert snapshots.wait_until_available(snapshot, always_open)


def test_the_wait_for_another_one_s_snapshot_ends_with_the_run(snapshots: Snapshots, snapshot: Snapshot) -> None:
    def check() -> None:
        raise InterruptedError

    assert not snapshots.wait_until_available(snapshot, always_open)
    with pytest.raises(InterruptedError):
        snapshots.wait_until_available(snapshot, check)


def test_password_is_random_for_each_user_and_the_same_in_each_run(snapshots: Snapshots, tmp_path: Path) -> None:
    image = ImageFacts(image_id="sha256:1")
    other = Snapshots(StubEngine(), b"other", Usage(tmp_path / "usage"), lambda _: nullcontext())
    found = [s.identify(DATABASE, "", image) for s in (snapshots, snapshots, other)]
    passwords = [snapshot.password for snapshot in found if snapshot and snapshot.password]

    assert passwords[0] == passwords[1] != passwords[2]
    assert all(len(password) == 32 for password in passwords)


def judged(ages: dict[str, float | None]) -> dict[str, bool]:
    images = [Labelled(kind="image", object_id=d, name=d, labels={LABEL_SNAPSHOT: d}) for d in ages]
    used = {digest: 100 * DAY - age for digest, age in ages.items() if age is not None}
    verdicts = judge_snapshots(images, used, 100 * DAY)
    return {image.name: verdict.is_dead for image, verdict in zip(images, verdicts, strict=True)}


def test_what_was_not_used_for_two_weeks_goes() -> None:
    assert judged({"new": 0, "old": 13.9 * DAY, "older": 14.1 * DAY}) == {"new": False, "old": False, "older": True}


def test_only_so_many_stay() -> None:
    ages = {f"s{n}": float(n) for n in range(KEPT + 2)}

    assert [name for name, goes in judged(ages).items() if goes] == [f"s{KEPT}", f"s{KEPT + 1}"]


def test_no_more_stay_than_there_is_room_for() -> None:
    images = [
        Labelled(kind="image", object_id=n, name=n, labels={LABEL_SNAPSHOT: n, LABEL_SNAPSHOT_BYTES: str(size)})
        for n, size in {"newest": KEPT_BYTES // 2, "newer": KEPT_BYTES // 2, "old": 1, "foreign": KEPT_BYTES}.items()
    ]
    verdicts = judge_snapshots(images, {"newest": 3.0, "newer": 2.0, "old": 1.0}, 4.0)

    assert [verdict.is_dead for verdict in verdicts] == [False, False, True, False]
    assert "over 4 GiB" in verdicts[2].reason


def test_what_another_user_has_made_stays() -> None:
    assert judged({"mine": 0, "foreign": None}) == {"mine": False, "foreign": False}
    assert judged({"foreign": None}) == {"foreign": False}


def test_a_snapshot_that_was_loaded_is_used_with_its_own_password(engine: StubEngine, tmp_path: Path) -> None:
    loaded = ImportedImages(engine, Board(tmp_path / "built"))  # type: ignore[arg-type]
    one, other = (
        Snapshots(engine, secret, Usage(tmp_path / "usage"), lambda _: nullcontext(), loaded)  # type: ignore[arg-type]
        for secret in (b"one", b"other")
    )
    theirs, ours = (s.identify(DATABASE, "", ImageFacts(image_id="sha256:1")) for s in (one, other))
    assert theirs
    assert ours
    assert theirs.anywhere == ours.anywhere
    assert theirs.digest != ours.digest
    loaded.note("id", [], SnapshotOrigin(digest=theirs.digest, anywhere=theirs.anywhere, password=theirs.password))
    assert other.identify(DATABASE, "", ImageFacts(image_id="sha256:1")) == ours, "its image is not there"
    engine.images.add(theirs.tag)
    assert other.identify(DATABASE, "", ImageFacts(image_id="sha256:1")) == theirs
    assert other.identify(DATABASE, "stack", ImageFacts(image_id="sha256:1")) not in (theirs, ours)
