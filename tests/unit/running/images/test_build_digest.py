"""What an image is built from: every change counts, and what cannot be known is no digest."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_isolate.engine.api import BuildRequest, ImageFacts
from pytest_isolate.running.images.build_digest import digest_anywhere, digest_sources, find_bases, read_bases

IMAGES = {"base:1": ImageFacts(image_id="sha256:1")}


def digest(folder: Path, find_image: Callable[[str], ImageFacts | None] = IMAGES.get, **changes: Any) -> str | None:
    given = {"tag": "t:1", "context": str(folder), "dockerfile": str(folder / "Dockerfile"), **changes}
    return digest_sources(BuildRequest(**given), find_image)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "sub").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM base:1\nCOPY . .\n")
    (folder / "sub" / "file").write_text("content")
    (folder / "link").symlink_to("sub/file")
    return folder


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda folder: (folder / "sub" / "file").write_text("Content"),
    "mode": lambda folder: (folder / "sub" / "file").chmod(0o755),
    "name": lambda folder: (folder / "sub" / "file").rename(folder / "sub" / "other"),
    "new": lambda folder: (folder / "new").touch(),
    "empty folder": lambda folder: (folder / "empty").mkdir(),
    "gone": lambda folder: (folder / "link").unlink(),
    "link": lambda folder: (folder / "link").unlink() or (folder / "link").symlink_to("sub"),
    "Dockerfile": lambda folder: (folder / "Dockerfile").write_text("FROM base:1\nCOPY sub .\n"),
    ".dockerignore": lambda folder: (folder / ".dockerignore").write_text("sub"),
}


@pytest.mark.unix
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_every_change_counts(folder: Path, change: Callable[[Path], object]) -> None:
    before = digest(folder)
    assert before
    change(folder)
    assert digest(folder) not in (before, None)


def test_times_do_not_count(folder: Path) -> None:
    before = digest(folder)
    os.utime(folder / "sub" / "file", (1, 1))
    assert digest(folder) == before


@pytest.mark.parametrize("changes", [{"args": {"A": "1"}}, {"target": "t"}, {"network": "host"}])
def test_what_is_asked_for_counts(folder: Path, changes: Any) -> None:
    assert digest(folder, **changes) != digest(folder)


def test_a_dockerfile_outside_counts(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "Dockerfile"
    outside.write_text("FROM base:1\n")
    before = digest(folder, dockerfile=str(outside))
    outside.write_text("FROM base:1\nCMD true\n")
    assert digest(folder, dockerfile=str(outside)) not in (before, None)


def test_another_image_under_the_name_of_the_base_counts(folder: Path) -> None:
    assert digest(folder, lambda _: ImageFacts(image_id="sha256:2")) != digest(folder)


@pytest.mark.parametrize("limit", ["_MOST_BYTES", "_MOST_FILES"])
def test_what_is_too_much_to_read_is_unknown(folder: Path, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"pytest_isolate.running.images.build_digest.{limit}", 1)
    assert digest(folder) is None


def test_what_is_not_there_is_unknown(folder: Path, tmp_path: Path) -> None:
    assert digest(folder, lambda _: None) is None
    assert digest(tmp_path / "nothing") is None
    assert digest(folder, dockerfile=str(folder / "nothing")) is None


@pytest.mark.parametrize(
    ("dockerfile", "bases"),
    [
        ("FROM a", ("a",)),
        ("from\ta:1\n", ("a:1",)),
        ("# FROM b\n\nFROM a AS x\nFROM x\nFROM X as y\nCOPY --from=y / /\nCOPY --from=0 / /", ("a",)),
        ("FROM scratch\nCOPY --from=c:2 / /\nADD file /", ("c:2",)),
        ("FR\\\nOM \\\n\n  # a comment\n  a\nENV A=$B \\\n  FROM=b\nRUN echo $A", ("a",)),
        ("FROM a@sha256:0\nRUN one \\  \n && two\nCOPY $A b", ("a@sha256:0",)),
    ],
)
def test_images_from_elsewhere_are_found(dockerfile: str, bases: tuple[str, ...]) -> None:
    assert find_bases(dockerfile) == bases


@pytest.mark.parametrize(
    "dockerfile",
    [
        "ARG A=a\nFROM $A",
        "FROM --platform=linux/arm64 a",
        "# syntax=docker/dockerfile:1\nFROM a",
        "# escape=`\nFROM a",
        "FROM a\nADD https://example.org/file /",
        "FROM a\nADD $FILE /",
        "FROM a\nCOPY --from=$B / /",
        "FROM a\nRUN --mount=from=b,target=/b true",
        "FROM a\nCOPY <<EOF /file\nFROM b\nEOF",
        "FROM a\nINCLUDE b",
        "\ufeffFROM a",
    ],
)
def test_what_a_dockerfile_does_not_say_itself_is_unknown(dockerfile: str) -> None:
    assert find_bases(dockerfile) is None


def anywhere(folder: Path, **changes: Any) -> str | None:
    given = {"tag": "t:1", "context": str(folder), "dockerfile": str(folder / "Dockerfile"), **changes}
    return digest_anywhere(BuildRequest(**given))


@pytest.mark.unix
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_every_change_counts_anywhere(folder: Path, change: Callable[[Path], object]) -> None:
    before = anywhere(folder)
    assert before
    change(folder)
    assert anywhere(folder) not in (before, None)


@pytest.mark.parametrize(
    "changes", [{"args": {"A": "1"}}, {"target": "t"}, {"network": "host"}, {"platform": "linux/arm64"}]
)
def test_what_is_asked_for_counts_anywhere(folder: Path, changes: Any) -> None:
    assert anywhere(folder, **changes) != anywhere(folder)


def test_where_it_lies_and_what_it_is_called_does_not_count_anywhere(folder: Path, tmp_path: Path) -> None:
    before = anywhere(folder)
    folder.rename(tmp_path / "moved")
    assert anywhere(tmp_path / "moved", tag="t:2") == before


def test_what_a_dockerfile_does_not_say_itself_has_a_digest_anywhere(folder: Path, tmp_path: Path) -> None:
    (folder / "Dockerfile").write_text("ARG A=a\nFROM $A\nADD https://example.org/file /\n")
    assert anywhere(folder)
    assert anywhere(tmp_path / "nothing") is None


def test_base_images_that_are_there_are_read(folder: Path) -> None:
    request = BuildRequest(tag="t:1", context=str(folder), dockerfile=str(folder / "Dockerfile"))
    assert read_bases(request, IMAGES.get) == {"base:1": "sha256:1"}
    assert read_bases(request, lambda _: None) == {}


def test_what_is_ignored_does_not_count(folder: Path) -> None:
    (folder / ".dockerignore").write_text("sub\n")
    before = digest(folder), anywhere(folder)
    (folder / "sub" / "file").write_text("Content")
    assert (digest(folder), anywhere(folder)) == before
