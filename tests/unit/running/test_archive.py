"""Files for a container."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_isolate.model.service import File
from pytest_isolate.running.archive import build_archive


def unpack(*files: File) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(build_archive(files))) as archive:
        return {
            entry.name: (entry, content.read() if (content := archive.extractfile(entry)) else b"") for entry in archive
        }


def test_a_text_becomes_a_file() -> None:
    entry, content = unpack(File(target="/etc/app/app.conf", text="größe = 1\n", mode=0o600))["etc/app/app.conf"]

    assert content == "größe = 1\n".encode()
    assert (entry.mode, entry.isfile()) == (0o600, True)


def test_bytes_become_a_file() -> None:
    entry, content = unpack(File(target="/srv/data", data=b"\xff\x00"))["srv/data"]

    assert (content, entry.mode) == (b"\xff\x00", 0o644)


def test_an_empty_text_is_an_empty_file() -> None:
    assert unpack(File(target="/empty", text=""))["empty"][1] == b""


def test_a_file_of_the_host_is_copied_as_it_is(tmp_path: Path) -> None:
    content = bytes(range(256))
    (tmp_path / "data").write_bytes(content)

    entry, copied = unpack(File(target="/data", source=str(tmp_path / "data"), mode=0o755))["data"]

    assert (entry.mode, copied) == (0o755, content)


@pytest.mark.unix
def test_a_folder_is_copied_with_all_that_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "run").write_text("x")
    (tmp_path / "sub" / "run").chmod(0o750)
    (tmp_path / "a").write_text("y")

    entries = unpack(File(target="/srv", source=str(tmp_path)))

    assert entries.keys() == {"srv", "srv/a", "srv/sub", "srv/sub/run"}
    assert (entries["srv/sub/run"][0].mode, entries["srv/sub/run"][1]) == (0o750, b"x")


def test_a_link_to_a_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_text("x")
    (tmp_path / "link").symlink_to("real")

    entries = unpack(File(target="/srv", source=str(tmp_path / "link")))

    assert entries["srv"][0].isdir()
    assert entries["srv/a"][1] == b"x"


def test_links_within_a_folder_stay_links(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").symlink_to("a")

    assert unpack(File(target="/srv", source=str(tmp_path)))["srv/b"][0].linkname == "a"


def test_everything_belongs_to_root(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_text("x")

    entries = unpack(
        File(target="/folder", source=str(tmp_path / "folder")),
        File(target="/text", text=""),
        File(target="/copy", source=str(tmp_path / "folder" / "a")),
    )

    assert {(entry.uid, entry.gid) for entry, _ in entries.values()} == {(0, 0)}


@pytest.mark.parametrize("name", ["größe 1.conf", "日本語", "a" * 300, "deep/" * 60 + "x"])
def test_any_name_is_possible(name: str) -> None:
    assert unpack(File(target=f"/{name}", text="x"))[name][1] == b"x"


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=4))
def test_any_text_arrives_unchanged(texts: list[str]) -> None:
    entries = unpack(*(File(target=f"/{number}", text=text) for number, text in enumerate(texts)))

    assert [content.decode() for _, content in entries.values()] == texts


def test_no_files_are_an_empty_archive() -> None:
    assert unpack() == {}


def test_a_copied_script_can_still_be_run(tmp_path: Path) -> None:
    script = tmp_path / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)

    entry, _ = unpack(File(target="/run.sh", source=str(script)))["run.sh"]

    assert entry.mode == 0o755


def test_a_mode_holds_for_every_file_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")

    entries = unpack(File(target="/conf", source=str(tmp_path), mode=0o600))

    assert entries["conf"][0].isdir()
    assert entries["conf/a"][0].mode == 0o600
