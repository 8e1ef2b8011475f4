"""The block of variables in a file of the user's."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_isolate.cli.env_file import BEGIN, END, EnvFileRefused, check_env_file, remove_blocks, write_block
from pytest_isolate.sharing.board import Board

VARIABLES = {"WEB_HOST": "127.0.0.1", "WEB_URL": "http://127.0.0.1:1/?a b"}
TEXT = b"WEB_HOST=127.0.0.1\nWEB_URL='http://127.0.0.1:1/?a b'\n"


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Board(tmp_path / "board")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project" / ".env"


@pytest.mark.parametrize(
    "content", [b"A=1\n", b"A=1", b"A=1\r\nB=2\r\n", b"A=1\r\nB=2", b"\xef\xbb\xbfA='\xc3\xa4'\n\n# end \n", b"\n", b""]
)
def test_a_block_comes_behind_the_content_and_goes_without_a_trace(board: Board, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o640)
    write_block(path, VARIABLES, board)
    written = path.read_bytes()
    assert written.startswith(content)
    assert TEXT in written.replace(b"\r\n", b"\n")
    assert (written.count(b"\r\n") == written.count(b"\n")) == (b"\r\n" in content)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    write_block(path, VARIABLES, board)
    assert path.read_bytes() == written
    assert remove_blocks(board) == []
    assert path.read_bytes() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(path.parent) == [path.name]


def test_a_block_is_replaced_where_it_stands(board: Board, path: Path) -> None:
    path.write_bytes(b"A=1")
    write_block(path, {"OLD": "x"}, board)
    with path.open("ab") as file:
        file.write(b"B=2")
    write_block(path, VARIABLES, board)
    written = path.read_bytes()
    assert written.startswith(b"A=1\n" + BEGIN)
    assert written.endswith(TEXT + END + b"\nB=2")
    assert b"OLD" not in written
    remove_blocks(board)
    assert path.read_bytes() == b"A=1\nB=2"


def test_a_new_file_is_private_and_goes_with_its_block(board: Board, path: Path) -> None:
    write_block(path, VARIABLES, board)
    write_block(path, VARIABLES, board)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    remove_blocks(board)
    assert not path.exists()


def test_a_new_file_stays_where_the_user_has_added_to_it(board: Board, path: Path) -> None:
    write_block(path, VARIABLES, board)
    with path.open("a") as file:
        file.write("MINE=1\n")
    remove_blocks(board)
    assert path.read_text() == "MINE=1\n"


def test_a_block_that_somebody_has_changed_stays(board: Board, path: Path) -> None:
    write_block(path, VARIABLES, board)
    changed = path.read_bytes().replace(b"127.0.0.1", b"localhost")
    path.write_bytes(changed)
    (text,) = remove_blocks(board)
    assert "were changed since, and stay" in text
    assert path.read_bytes() == changed


def test_files_that_are_gone_or_have_no_block_any_more_are_no_error(board: Board, path: Path) -> None:
    other = path.with_name("other.env")
    write_block(path, VARIABLES, board)
    write_block(other, VARIABLES, board)
    path.unlink()
    other.write_text("A=1")
    assert remove_blocks(board) == []
    assert other.read_text() == "A=1"


def _link(path: Path) -> None:
    path.with_name("real").write_text("A=1")
    path.symlink_to("real")


def _hard_link(path: Path) -> None:
    path.write_text("A=1")
    os.link(path, path.with_name("second"))


def _read_only(path: Path) -> None:
    path.write_text("A=1")
    path.chmod(0o444)


def _holding(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (_link, "it is a link to real"),
        (_hard_link, "it has 2 names (hard links)"),
        (os.mkfifo, "it is not a regular file"),
        (_read_only, "it is read-only"),
        (_holding(b"A=\xe4\n"), "it is not UTF-8"),
        (_holding("A=1\n".encode("utf-16-le")), "it is no text"),
        (_holding(b"#" * (1 << 20) + b"\n"), "too much for a file of variables"),
        (_holding(BEGIN + b"\nA=1\n"), f"line 1: {BEGIN.decode()}"),
        (_holding(b"A=1\n" + END + b"\n"), f"line 2: {END.decode()}"),
        (_holding(END + b"\n" + BEGIN + b"\n"), "there is no one block"),
        (_holding(2 * (BEGIN + b"\n" + END + b"\n")), "there is no one block"),
    ],
)
def test_a_file_that_cannot_have_a_block_is_refused_and_left_alone(
    board: Board, path: Path, make: Callable[[Path], object], found: str
) -> None:
    make(path)
    before = path.lstat()
    for act in (lambda: check_env_file(path), lambda: write_block(path, VARIABLES, board)):
        with pytest.raises(EnvFileRefused) as error:
            act()
        assert found in str(error.value)
    assert path.lstat()[:7] == before[:7]


def test_a_folder_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(EnvFileRefused, match=r"no file can be made in .*/no: No such file or directory"):
        check_env_file(path.parent / "no" / ".env")


def test_a_check_leaves_nothing(path: Path) -> None:
    check_env_file(path)
    assert os.listdir(path.parent) == []
