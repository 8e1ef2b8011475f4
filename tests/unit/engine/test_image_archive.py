"""Archives of images: taken apart and put together, as different engines write them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from typing import IO

import pytest

from pytest_isolate.engine.docker.image_transfer import parse_loaded
from pytest_isolate.engine.image_archive import Blob, Parts, read_images, write_images
from pytest_isolate.errors import EngineError

CONFIG, LOW, HIGH = b'{"config": 1}', b"low layer " * 1000, b"high layer"


class Memory:
    """A store in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def put(self, pieces: Iterable[bytes]) -> Blob:
        content = b"".join(pieces)
        self.kept[blob(content).digest] = content
        return blob(content)

    def open(self, blob: Blob) -> IO[bytes]:
        return io.BytesIO(self.kept[blob.digest])


def blob(content: bytes) -> Blob:
    return Blob(digest=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def archive(files: dict[str, bytes | str]) -> bytes:
    """A tar archive; a text is where a link leads to."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def manifest(config: str, *layers: str) -> bytes:
    return json.dumps([{"Config": config, "RepoTags": None, "Layers": layers}]).encode()


def pieces(content: bytes, size: int = 700) -> Iterable[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


LAYOUTS: dict[str, dict[str, bytes | str]] = {
    "a folder for each layer": {
        "1/VERSION": b"1.0",
        "1/layer.tar": LOW,
        "2/layer.tar": HIGH,
        "c.json": CONFIG,
        "manifest.json": manifest("c.json", "1/layer.tar", "2/layer.tar", "1/layer.tar"),
    },
    "a link to a layer that is there already": {
        "0/layer.tar": "../1/layer.tar",
        "1/layer.tar": LOW,
        "2/layer.tar": HIGH,
        "c.json": CONFIG,
        "manifest.json": manifest("c.json", "1/layer.tar", "2/layer.tar", "0/layer.tar"),
    },
    "files by their digests": {
        "blobs/sha256/a": CONFIG,
        "blobs/sha256/b": LOW,
        "./blobs/sha256/c": HIGH,
        "index.json": b"{}",
        "manifest.json": manifest("blobs/sha256/a", "blobs/sha256/b", "blobs/sha256/c", "blobs/sha256/b"),
    },
}


@pytest.mark.parametrize("files", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_an_archive_is_taken_apart_however_it_is_laid_out(files: dict[str, bytes | str]) -> None:
    store = Memory()
    assert read_images(pieces(archive(files)), store) == [
        Parts(config=blob(CONFIG), layers=(blob(LOW), blob(HIGH), blob(LOW)))
    ]
    assert store.kept[blob(LOW).digest] == LOW


def test_what_is_put_together_can_be_taken_apart_again() -> None:
    store = Memory()
    images = [
        Parts(config=store.put([CONFIG]), layers=(store.put([LOW]),)),
        Parts(config=store.put([b"{}"]), layers=(store.put([LOW]), store.put([HIGH]))),
    ]
    whole = b"".join(write_images(images, store))
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        assert len(tar.getnames()) == 5, "a layer of two images is in it once"
    assert read_images(pieces(whole), Memory()) == images


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"nonsense" * 1000, "it is not an archive of images"),
        (archive({"file": b"x"}), "there is no manifest.json in it"),
        (archive({"c.json": CONFIG, "manifest.json": manifest("c.json", "gone")}), "a layer is missing"),
        (archive(LAYOUTS["files by their digests"])[:3000], "it is not"),
    ],
)
def test_what_is_no_archive_of_images_is_told(content: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_images(pieces(content), Memory())


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ('{"stream":"Loaded image ID: sha256:1\\nLoaded image ID: sha256:2\\n"}', ["sha256:1", "sha256:2"]),
        ('{"stream":"Loaded image: sha256:1,sha256:2"}\n', ["sha256:1", "sha256:2"]),
        ('{"status":"Loading layer"}\n{"stream":"Loaded image: localhost/a:1\\n"}', ["localhost/a:1"]),
    ],
)
def test_what_was_loaded_is_read_from_what_the_engine_says(answer: str, found: list[str]) -> None:
    assert parse_loaded(answer) == found


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ('{"errorDetail":{"message":"unexpected EOF"},"error":"unexpected EOF"}', "unexpected EOF"),
        ("<html>", "<html>"),
        ("", "no answer"),
    ],
)
def test_what_was_not_loaded_is_an_error(answer: str, why: str) -> None:
    with pytest.raises(EngineError, match=why):
        parse_loaded(answer)
