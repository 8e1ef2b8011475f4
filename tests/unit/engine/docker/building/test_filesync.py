"""Files that a build is told of: which ones, in which order, and what of them is sent."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pytest_isolate.engine.docker.building.filesync import DiffCopy, Entry, Folders, walk_folder
from pytest_isolate.engine.docker.building.grpc import CallFailed
from pytest_isolate.engine.docker.building.protobuf import (
    bytes_in,
    decode,
    encode,
    messages_in,
    number_in,
    text_in,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/x", "a/b/c", "a-b", "a.txt", "Z", "node/m.js"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("a/x")
    (tmp_path / "empty").mkdir()
    return tmp_path


def paths(folder: Path, excluded: str = "", followed: str = "") -> list[str]:
    return [entry.path for entry in walk_folder(folder, excluded.split(), followed.split())]


def test_each_folder_comes_before_what_is_in_it_and_names_by_their_bytes(folder: Path) -> None:
    everything = ["Z", "a", "a/b", "a/b/c", "a/x", "a-b", "a.txt", "empty", "link", "node", "node/m.js"]
    assert sorted(paths(folder), key=lambda p: p.split("/")) == sorted(everything, key=lambda p: p.split("/"))
    assert paths(folder) == ["Z", "a", "a/b", "a/b/c", "a/x", "a-b", "a.txt", "empty", "link", "node", "node/m.js"]


@pytest.mark.parametrize(
    ("excluded", "left"),
    [
        ("a node empty link", ["Z", "a-b", "a.txt"]),
        ("** !a/b/c", ["a", "a/b", "a/b/c"]),
        ("* !a a/b", ["a", "a/x"]),
        ("**/*.js **/[ab] link empty Z a-* a.*", ["node"]),
    ],
)
def test_what_is_excluded_is_not_told_of_but_folders_around_exceptions_are(
    folder: Path, excluded: str, left: list[str]
) -> None:
    assert paths(folder, excluded) == left


@pytest.mark.parametrize(
    ("followed", "told"),
    [
        ("a/b", ["a", "a/b", "a/b/c"]),
        ("*.txt Z", ["Z", "a.txt"]),
        ("/node/ gone", ["node", "node/m.js"]),
        (".dockerignore", []),
    ],
)
def test_only_what_is_followed_is_told_of(folder: Path, followed: str, told: list[str]) -> None:
    assert paths(folder, "", followed) == told


@pytest.mark.parametrize("followed", ["link", "l*", "../x", "a/[b]", ""])
def test_all_is_told_of_where_a_link_may_lead_elsewhere(folder: Path, followed: str) -> None:
    assert len(paths(folder, "", followed)) == 11


def told(call: DiffCopy) -> list[tuple[str, int, int, str]]:
    *stats, last = [decode(message) for message in call.begin()]
    assert last == {}
    found = [messages_in(packet, 2)[0] for packet in stats]
    return [(text_in(s, 1), number_in(s, 2), number_in(s, 5), text_in(s, 7)) for s in found]


def test_kinds_and_modes_are_those_of_go(folder: Path) -> None:
    (folder / "Z").chmod(0o4755)
    found = {path: rest for path, *rest in told(DiffCopy(walk_folder(folder)))}
    assert found["Z"] == [1 << 23 | 0o755, 1, ""]
    assert found["empty"] == [1 << 31 | 0o755, 0, ""]
    assert found["link"] == [1 << 27 | 0o777, 0, "a/x"]


def test_a_file_that_is_asked_for_is_sent_in_pieces_with_an_empty_one_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"z" * 70_000)
    call = DiffCopy(walk_folder(tmp_path))
    told(call)
    packets = [decode(message) for message in call.receive(encode((1, 1), (3, 0)))]
    assert [len(bytes_in(packet, 4)) for packet in packets] == [32768, 32768, 4464, 0]
    assert {number_in(packet, 1) for packet in packets} == {2}
    assert not call.is_over
    assert [decode(message) for message in call.receive(encode((1, 3)))] == [{1: [3]}]
    assert call.is_over


def test_a_file_that_cannot_be_read_any_more_is_named(folder: Path) -> None:
    call = DiffCopy(walk_folder(folder))
    told(call)
    (folder / "Z").unlink()
    (folder / "Z").mkdir()
    with pytest.raises(CallFailed, match="Z cannot be read: "):
        list(call.receive(encode((1, 1), (3, 0))))
    with pytest.raises(CallFailed, match=r"gone cannot be read: No such file"):
        list(DiffCopy(walk_folder(folder / "gone")).begin())


def test_a_file_that_is_gone_before_it_is_asked_for_is_empty(folder: Path) -> None:
    call = DiffCopy(walk_folder(folder))
    told(call)
    (folder / "Z").unlink()
    (end,) = call.receive(encode((1, 1), (3, 0)))
    assert bytes_in(decode(end), 4) == b""


def test_what_goes_while_its_folder_is_walked_is_passed_over(folder: Path) -> None:
    walk = walk_folder(folder)
    assert next(walk).path == "Z"
    assert next(walk).path == "a"
    (folder / "a" / "x").unlink()
    (folder / "a.txt").unlink()
    (folder / "link").unlink()
    shutil.rmtree(folder / "node")
    assert [entry.path for entry in walk] == ["a/b", "a/b/c", "a-b", "empty"]


def test_texts_of_equal_size_have_other_times(folder: Path) -> None:
    one, two = Entry.of_text("Dockerfile", b"FROM a"), Entry.of_text("Dockerfile", b"FROM b")
    assert (one.size, one.mode) == (two.size, two.mode)
    assert one.changed_ns != two.changed_ns


def test_the_engine_asks_for_one_of_two_folders(folder: Path) -> None:
    folders = Folders(context=folder, dockerfile=[Entry.of_text("D", b"FROM a")])
    assert [path for path, *_ in told(folders.open({"dir-name": ("dockerfile",)}))] == ["D"]
    asked = {"dir-name": ("context",), "exclude-patterns": ("%2A", "!Z"), "exclude-patterns-encoded": ("1",)}
    assert [path for path, *_ in told(folders.open(asked))] == ["Z"]
    with pytest.raises(CallFailed, match="no folder 'home' is part of this build"):
        folders.open({"dir-name": ("home",)})
