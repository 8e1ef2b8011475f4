"""The machine that Compose files lie on, as they see it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pytest_isolate.compose_files.stack import compose_stack
from pytest_isolate.model.declaration import RawCompose
from pytest_isolate.model.location import Location
from pytest_isolate.plugin.declaring.compose import LocalHost
from pytest_isolate.user_files import UnfitFile


def test_it_tells_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xef\xbb\xbftext")
    (tmp_path / "link").symlink_to("file")
    kinds = {name: LocalHost().kind_of(str(tmp_path / name)) for name in ("file", "link", ".", "gone")}

    assert kinds == {"file": "file", "link": "file", ".": "folder", "gone": ""}
    assert LocalHost().read_text(str(tmp_path / "file")) == "text"


def test_a_socket_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket may have 107 characters
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("s")
        assert LocalHost().kind_of("s") == "other"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_closed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0)
    assert LocalHost().kind_of(str(tmp_path / "data")) == "closed"


def test_a_link_to_nothing_is_nothing(tmp_path: Path) -> None:
    (tmp_path / ".env").symlink_to("gone")
    assert LocalHost().kind_of(str(tmp_path / ".env")) == ""


@pytest.mark.parametrize(("path", "reason"), [("/dev/zero", "not a regular file"), ("pipe", "not a regular file")])
def test_only_regular_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, reason: str) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with pytest.raises(UnfitFile, match=reason):
        LocalHost().read_text(path)


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "dump").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UnfitFile, match="larger than 4 MiB"):
        LocalHost().read_text(str(tmp_path / "dump"))


def test_the_place_that_names_such_a_file_is_told(tmp_path: Path) -> None:
    """Named are the Compose file itself, a file of variables, and one that is extended."""
    text = "services:\n  a:\n    image: i\n    env_file: /dev/zero\n  b:\n    extends: {file: /dev/zero, service: x}\n"
    (tmp_path / "compose.yaml").write_text(text)
    (tmp_path / ".env").symlink_to("/dev/zero")
    for files, told in (
        ("/dev/zero", ["/dev/zero: file: /dev/zero is not a regular file"]),
        (
            "compose.yaml",
            [
                f"{tmp_path}/.env: file: {tmp_path}/.env is not a regular file",
                f"{tmp_path}/compose.yaml:6: services.b.extends.file: /dev/zero is not a regular file",
                f"{tmp_path}/compose.yaml:4: services.a.env_file: /dev/zero is not a regular file",
            ],
        ),
    ):
        raw = RawCompose((files,), {}, Location(file=str(tmp_path / "conftest.py")))
        problems = compose_stack(raw, LocalHost()).stack.problems
        found = [f"{p.place}: {p.subject}: {p.reason}" for p in problems]
        assert [line for line in found if "regular" in line] == told
