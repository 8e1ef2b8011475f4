"""Paths of the host, those of Windows too."""

from __future__ import annotations

import pytest

from pytest_isolate.model.host_path import folder_of, is_absolute, join_path, with_slashes
from pytest_isolate.model.service import is_host_path


@pytest.mark.parametrize("path", ["/data", "C:\\data", "c:/data", "\\\\server\\share\\data"])
def test_a_path_that_needs_no_folder_is_absolute(path: str) -> None:
    assert is_absolute(path)
    assert is_host_path(path)


@pytest.mark.parametrize("name", ["data", "c", "c:", "C:data", "empty-1", "./data", "pg_data"])
def test_a_name_is_none(name: str) -> None:
    assert not is_absolute(name)
    assert not is_host_path(name)


@pytest.mark.parametrize(
    ("folder", "path", "expected"),
    [
        ("/srv/app", "conf", "/srv/app/conf"),
        ("/srv/app", "../conf/", "/srv/conf"),
        ("/srv/app", "/etc/x", "/etc/x"),
        ("/srv/app", "a\\b", "/srv/app/a\\b"),
        ("C:\\app", "conf", "C:/app/conf"),
        ("C:\\app\\x", ".\\conf\\a.txt", "C:/app/x/conf/a.txt"),
        ("C:\\app", "..\\..", "C:/"),
        ("C:/app", "D:\\data", "D:/data"),
        ("\\\\server\\share", "conf", "//server/share/conf"),
        ("C:/app", "/var/run/docker.sock", "/var/run/docker.sock"),
    ],
)
def test_a_path_is_joined_as_the_system_of_its_folder_writes_it(folder: str, path: str, expected: str) -> None:
    assert join_path(folder, path) == expected


def test_slashes_are_put_into_paths_of_windows_only() -> None:
    assert with_slashes("C:\\a\\b") == "C:/a/b"
    assert with_slashes("/a\\b") == "/a\\b"
    assert folder_of("C:\\a\\conftest.py") == "C:/a"
    assert folder_of("/a/conftest.py") == "/a"
