"""The machine that Compose files lie on, as they see it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pytest_isolate.plugin.declaring.compose import LocalHost


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
