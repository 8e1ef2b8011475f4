"""What a container takes, as both versions of the kernel's control groups tell it, under the names of both drivers."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_isolate.engine.api import ContainerUsage
from pytest_isolate.engine.cgroups import read_usage

TAKEN = ContainerUsage(memory_bytes=4000, cpu_s=2.5)


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.mark.parametrize("name", ["docker/abc", "system.slice/docker-abc.scope"])
def test_first_version(tmp_path: Path, name: str) -> None:
    stat = "cache 10\ntotal_inactive_file 1000\n"
    write(tmp_path / "memory" / name, memory__usage_in_bytes="5000\n", memory__stat=stat)
    write(tmp_path / "cpuacct" / name, cpuacct__usage="2500000000\n")
    assert read_usage("abc", tmp_path) == TAKEN


@pytest.mark.parametrize("name", ["docker/abc", "system.slice/docker-abc.scope"])
def test_second_version(tmp_path: Path, name: str) -> None:
    stat = "anon 10\ninactive_file 1000\n"
    write(tmp_path / name, memory__current="5000\n", memory__stat=stat, cpu__stat="usage_usec 2500000\nuser_usec 1\n")
    assert read_usage("abc", tmp_path) == TAKEN


def test_container_that_cannot_be_seen_from_here(tmp_path: Path) -> None:
    write(tmp_path / "memory" / "docker" / "other", memory__usage_in_bytes="5000\n", memory__stat="a 1\n")
    assert read_usage("abc", tmp_path) is None


def test_group_that_is_being_taken_apart(tmp_path: Path) -> None:
    write(tmp_path / "docker" / "abc", memory__current="5000\n", memory__stat="")
    assert read_usage("abc", tmp_path) is None
