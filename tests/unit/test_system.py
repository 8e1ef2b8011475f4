"""Differences between systems: what is read, written and copied on each of them."""

from __future__ import annotations

import ast
import io
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import pytest_isolate
from pytest_isolate import system, user_files
from pytest_isolate.model.service import File
from pytest_isolate.running.archive import as_copied, digest_source, stream_archive
from pytest_isolate.system import System, read_file, remove_file, replace_file

ROOT = Path(pytest_isolate.__file__).parent
# What opens a file for text where its mode does not say otherwise, and the place of the mode among its arguments.
OPENS = {"open": 1, "fdopen": 1, "read_text": None, "write_text": None, "TextIOWrapper": None, "NamedTemporaryFile": 0}
# Objects whose open() is another one: of archives, descriptors, stores, backends, tables, runs and tunnels.
OTHERS = re.compile(
    r"(^|\W|_)(tarfile|os|store|backend|backend_of\(.*\)|table|process|ports_of\(.*\)|tunnel\(\)|spdy)$"
)


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Every call of the package that may open a file, with its place and the words in front of it."""
    for file in sorted(ROOT.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in OPENS:
                owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
                yield f"{file.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)}", owner, node


def is_text(owner: str, node: ast.Call) -> bool:
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    if name in ("read_text", "write_text"):
        # Without an object in front it is a function of this package's, which knows the encoding.
        return bool(owner) and not owner.endswith("host")
    if name == "open" and OTHERS.search(owner):
        return False
    at = 0 if owner and name == "open" else OPENS[name]
    mode = [k.value for k in node.keywords if k.arg == "mode"] + ([] if at is None else node.args[at : at + 1])
    default = "w+b" if name == "NamedTemporaryFile" else "r"
    return "b" not in (ast.literal_eval(mode[0]) if mode and isinstance(mode[0], ast.Constant) else default)


def test_every_text_is_read_and_written_in_an_encoding_that_is_named() -> None:
    found = list(calls())
    assert len(found) > 30
    missing = [place for place, owner, node in found if is_text(owner, node) and "encoding" not in ast.unparse(node)]
    assert missing == []


def test_output_of_programs_is_read_in_an_encoding_that_is_named() -> None:
    found = []
    for file in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("subprocess."):
                found.append((file, {keyword.arg for keyword in node.keywords}))

    assert found
    assert [file for file, names in found if names & {"text", "universal_newlines"} and "encoding" not in names] == []


# -- files that others have open --------------------------------------------------------------------------------------


class Denied:
    """Denies a call a few times, as Windows does while another process reads the file."""

    def __init__(self, times: int, winerror: int, real: object) -> None:
        self.times, self.winerror, self.real = times, winerror, real

    def __call__(self, *args: object, **options: object) -> object:
        if self.times:
            self.times -= 1
            error = PermissionError(13, "denied")
            error.winerror = self.winerror  # type: ignore[attr-defined]  # Windows only
            raise error
        return self.real(*args, **options)  # type: ignore[operator]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_PAUSE_S", 0)


@pytest.mark.parametrize("winerror", [5, 32])
def test_a_file_that_is_read_meanwhile_is_replaced_in_the_end(
    winerror: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    new.write_text("new")
    old.write_text("old")
    monkeypatch.setattr(os, "replace", Denied(3, winerror, os.replace))
    replace_file(new, old)
    monkeypatch.setattr(Path, "read_text", Denied(3, winerror, lambda **_: "new"))
    assert read_file(old) == "new"
    monkeypatch.setattr(Path, "unlink", Denied(3, winerror, lambda **_: None))
    remove_file(old)


@pytest.mark.parametrize(("times", "winerror"), [(1000, 32), (1, 19)])
def test_what_stays_denied_is_an_error(
    times: int, winerror: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "replace", Denied(times, winerror, os.replace))
    with pytest.raises(PermissionError):
        replace_file(tmp_path / "new", tmp_path / "old")


# -- what is copied into containers -----------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tmp_path.chmod(0o777)
    (tmp_path / "run.sh").write_bytes(b"#!/bin/sh\r\necho\r\n")
    (tmp_path / "run.sh").chmod(0o666)
    (tmp_path / "folder").mkdir(mode=0o777)
    (tmp_path / "folder" / "read-only").touch(mode=0o444)
    return tmp_path


def members(tree: Path) -> dict[str, tarfile.TarInfo]:
    archive = b"".join(stream_archive([as_copied(File(target="/t", source=str(tree)))]))
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        assert opened.extractfile("t/run.sh").read() == b"#!/bin/sh\r\necho\r\n"  # type: ignore[union-attr]
        return {member.name: member for member in opened}


@pytest.mark.unix
def test_from_windows_everything_may_be_run_as_the_docker_command_has_it(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert members(tree)["t/run.sh"].mode == 0o666
    before = digest_source(str(tree))
    monkeypatch.setattr(user_files, "SYSTEM", System.WINDOWS)
    modes = {name: member.mode for name, member in members(tree).items()}

    assert modes == {"t": 0o755, "t/run.sh": 0o755, "t/folder": 0o755, "t/folder/read-only": 0o555}
    assert digest_source(str(tree)) != before, "a container would be given something else"


@pytest.mark.unix
def test_links_from_windows_are_written_as_containers_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "link"
    link.symlink_to("folder\\file")
    assert user_files.read_link(link) == "folder\\file"
    monkeypatch.setattr(user_files, "SYSTEM", System.WINDOWS)
    assert user_files.read_link(link) == "folder/file"


def test_files_of_windows_are_opened_as_they_are() -> None:
    """Python opens a descriptor there as a text, whose ends of lines it changes, where this flag is missing."""
    text = (ROOT / "user_files.py").read_text(encoding="utf-8")

    assert "O_BINARY" in text


def test_our_own_files_are_read_right_with_both_ends_of_lines(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_bytes("\ufeffFROM größer\r\nRUN true\r\n".encode())

    assert user_files.read_text(tmp_path / "Dockerfile") == "FROM größer\nRUN true\n"


@pytest.mark.unix
def test_users_and_groups_have_names_where_they_have_some() -> None:
    assert system.user_name(0) == "root"
    assert system.user_name(2**31 - 7) == str(2**31 - 7)
    assert system.group_name(2**31 - 7) == str(2**31 - 7)
