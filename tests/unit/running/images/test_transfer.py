"""Images in a folder: what is written, what is not written again, what goes, and what an engine is given of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from pytest_isolate.engine.api import BuildRequest, EngineFacts, ImageFacts
from pytest_isolate.engine.image_archive import Parts, Store
from pytest_isolate.errors import IsolateError
from pytest_isolate.running.images import transfer
from pytest_isolate.running.images.build_digest import digest_anywhere
from pytest_isolate.running.images.imported import ImportedImages
from pytest_isolate.running.images.store import INDEX, BuildOrigin, ImageStore, Index, RequiredImage, SnapshotOrigin
from pytest_isolate.sharing.board import Board
from pytest_isolate.sharing.folders import Usage
from unit.stub_engine import StubEngine


class Engine(StubEngine):
    """An engine with images by name and id."""

    machine = "amd64"

    def facts(self) -> EngineFacts:
        return EngineFacts(name="Stub", version="1", address="stub://", is_local=True, machine=self.machine)

    def tag_image(self, image: str, tag: str) -> None:
        self.calls.append(f"tag {image} {tag}")
        self.images[tag] = self.images[image]


class Transfer:
    """Two layers for each image, of which the lower one is the same for all."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.saved: list[str] = []
        self.loaded = 0
        self.ids: dict[str, str] = {}

    def save(self, image_ids: Sequence[str], store: Store) -> list[Parts]:
        self.saved += image_ids
        base = store.put([b"base"])
        return [
            Parts(config=store.put([f"{i} {{}}".encode()]), layers=(base, store.put([i.encode()]))) for i in image_ids
        ]

    def load(self, images: Sequence[Parts], store: Store) -> list[str]:
        self.loaded += len(images)
        names = []
        for image in images:
            with store.open(image.config) as file:
                names.append(file.read().decode().split()[0])
        ids = [self.ids.get(name, name) for name in names]
        self.engine.images |= {image_id: ImageFacts(image_id=image_id) for image_id in ids}
        return ids


class Side:
    """A machine."""

    def __init__(self, folder: Path, image_store: ImageStore) -> None:
        self.engine = Engine()
        self.transfer = Transfer(self.engine)
        self.image_store = image_store
        self.usage = Usage(folder / "usage")
        self.notes = ImportedImages(self.engine, Board(folder / "built"))

    def save(self, *needed: RequiredImage) -> list[str]:
        return [o.status for o in transfer.export_images(self.engine, self.transfer, self.image_store, needed)]

    def load(self) -> list[transfer.Outcome]:
        index = self.image_store.read()
        assert index
        return transfer.import_images(self.engine, self.transfer, self.image_store, index, self.usage, self.notes)


@pytest.fixture
def image_store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "stock")


@pytest.fixture
def here(tmp_path: Path, image_store: ImageStore) -> Side:
    return Side(tmp_path / "here", image_store)


@pytest.fixture
def there(tmp_path: Path, image_store: ImageStore) -> Side:
    return Side(tmp_path / "there", image_store)


def needed(image_id: str, *names: str, **values: object) -> RequiredImage:
    return replace(RequiredImage(image_id=image_id, names=names, services=("db",)), **values)  # type: ignore[arg-type]


ONE, TWO = needed("id-1", "one:1"), needed("id-2", "two:1")


def test_what_is_there_is_not_saved_again_and_what_is_needed_no_more_goes(here: Side, image_store: ImageStore) -> None:
    assert here.save(ONE, TWO) == ["saved", "saved"]
    assert len(list(image_store.folder.iterdir())) == 6, "an index, a layer of both, and two files for each"
    assert here.save(TWO) == ["unchanged"]
    assert here.transfer.saved == ["id-1", "id-2"]
    assert len(list(image_store.folder.iterdir())) == 4
    assert here.save(TWO, needed("id-3", "three:1")) == ["unchanged", "saved"]


def test_only_files_of_ours_go(here: Side, image_store: ImageStore) -> None:
    image_store.folder.mkdir()
    (image_store.folder / "notes.txt").touch()
    (image_store.folder / ".new-killed").touch()
    here.save(ONE)
    assert (image_store.folder / "notes.txt").exists()
    assert not (image_store.folder / ".new-killed").exists()


def test_what_is_saved_is_for_this_user_only(here: Side, image_store: ImageStore) -> None:
    here.save(ONE)
    assert {path.stat().st_mode & 0o077 for path in (image_store.folder, *image_store.folder.iterdir())} == {0}


def test_a_file_that_was_cut_short_is_saved_again(here: Side, there: Side, image_store: ImageStore) -> None:
    here.save(ONE)
    next(path for path in image_store.folder.iterdir() if path.read_bytes() == b"base").write_bytes(b"b")
    with pytest.raises(IsolateError, match=r"1 of the 1 images in .* are not whole\n.* files of one:1 are missing"):
        there.load()
    assert there.transfer.loaded == 0
    assert here.save(ONE) == ["saved"]
    assert [o.status for o in there.load()] == ["loaded"]


def test_what_is_missing_is_loaded_under_its_names(here: Side, there: Side) -> None:
    here.save(ONE, needed("id-2", "two:1", "two:2"))
    there.engine.images["id-1"] = ImageFacts(image_id="id-1")
    assert [o.status for o in there.load()] == ["present", "loaded"]
    assert there.transfer.loaded == 1
    assert {"one:1", "two:1", "two:2"} <= there.engine.images.keys()
    assert [o.status for o in there.load()] == ["present", "present"]


def test_a_name_that_another_image_has_stays_with_that(here: Side, there: Side) -> None:
    here.save(ONE)
    there.engine.images["one:1"] = ImageFacts(image_id="id-9")
    assert [o.name_conflicts for o in there.load()] == [("one:1",)]
    assert there.engine.images["one:1"].image_id == "id-9"


def test_an_engine_may_call_what_it_has_loaded_otherwise(here: Side, there: Side) -> None:
    here.save(ONE)
    there.transfer.ids = {"id-1": "own-1"}
    there.load()
    assert there.engine.images["one:1"].image_id == "own-1"


def test_images_for_another_kind_of_processor_are_refused(here: Side, there: Side) -> None:
    here.save(ONE)
    there.engine.machine = "arm64"
    with pytest.raises(IsolateError, match="they were saved for amd64; the engine's is arm64"):
        there.load()


def test_a_build_is_found_by_what_it_was_made_from(here: Side, there: Side, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Dockerfile").write_text("FROM base:1\nADD https://example.org/x /\n")
    asked = [
        BuildRequest(tag=f"t:{n}", context=str(tmp_path / n), dockerfile=str(tmp_path / n / "Dockerfile")) for n in "ab"
    ]
    sources = digest_anywhere(asked[0])
    assert sources
    assert there.notes.find_built(asked[1]) is None
    here.save(needed("id-1", "t:a", origins=(BuildOrigin(sources=sources, bases={"base:1": "base-1"}),)))
    there.load()

    found = there.notes.find_built(asked[1])
    assert found
    assert there.engine.images["t:b"] == found == ImageFacts(image_id="id-1")
    there.engine.images["base:1"] = ImageFacts(image_id="base-1")
    assert there.notes.find_built(asked[1])
    there.engine.images["base:1"] = ImageFacts(image_id="base-2")
    assert there.notes.find_built(asked[1]) is None, "a newer base image is a change"
    del there.engine.images["base:1"]
    assert there.notes.find_built(replace(asked[1], args={"A": "1"})) is None
    (tmp_path / "b" / "new").touch()
    assert there.notes.find_built(asked[1]) is None


def test_a_build_whose_loaded_image_is_gone_is_not_found(here: Side, there: Side, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").touch()
    request = BuildRequest(tag="t:1", context=str(tmp_path), dockerfile=str(tmp_path / "Dockerfile"))
    there.notes.note("id-1", [BuildOrigin(sources=digest_anywhere(request) or "", bases={})], None)
    assert there.notes.find_built(request) is None


def test_a_loaded_snapshot_is_in_use_and_its_password_known(here: Side, there: Side) -> None:
    here.save(needed("id-1", "snapshot:d", frozen=SnapshotOrigin(digest="d", anywhere="x", password="p")))
    there.load()
    assert there.notes.find_snapshot("x") == ("d", "p")
    assert there.notes.find_snapshot("y") is None
    assert list(there.usage.read()) == ["d"]


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 2}', '{"version": 1, "machine": "", "images": [{}]}'])
def test_an_index_that_cannot_be_read_is_told(image_store: ImageStore, text: str) -> None:
    image_store.folder.mkdir()
    (image_store.folder / INDEX).write_text(text)
    with pytest.raises(IsolateError, match="is not an index of saved images"):
        image_store.read()


def test_an_index_names_no_file_elsewhere(here: Side, image_store: ImageStore) -> None:
    here.save(ONE)
    path = image_store.folder / INDEX
    index = image_store.read()
    assert index
    path.write_text(path.read_text().replace(index.images[0].parts.config.digest, "../../etc/passwd"))
    with pytest.raises(IsolateError, match="is not a digest"):
        image_store.read()


def test_nothing_saved_is_no_index(image_store: ImageStore) -> None:
    assert image_store.read() is None
    assert Index().blobs() == frozenset()
