"""What containers take, as both versions of the kernel's control groups tell it, under the names of all drivers."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from pytest_isolate.engine.api import UsageCounters
from pytest_isolate.engine.docker.cgroups import count
from pytest_isolate.running.containers.usage import needed_bytes

ID = "0123456789abcdef"
COUNTED = UsageCounters(memory_bytes=5000, idle_bytes=300, files_bytes=400, peak_bytes=9000, cpu_s=2.5)
NAMES = [
    f"docker/{ID}",
    f"system.slice/docker-{ID}.scope",
    f"libpod_parent/libpod-{ID}",
    f"machine.slice/libpod-{ID}.scope",
    f"user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope",
]


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def write_second(folder: Path, **files: str) -> None:
    stat = "anon 10\ninactive_file 300\nactive_file 100\n"
    usual = {"memory__current": "5000\n", "memory__stat": stat, "cpu__stat": "usage_usec 2500000\nuser_usec 1\n"}
    write(folder, **{**usual, **files})


@pytest.mark.parametrize("name", NAMES)
def test_first_version_keeps_memory_and_processor_apart(tmp_path: Path, name: str) -> None:
    stat = "cache 10\ninactive_file 1\ntotal_inactive_file 300\ntotal_active_file 100\n"
    write(
        tmp_path / "memory" / name,
        memory__usage_in_bytes="5000\n",
        memory__max_usage_in_bytes="9000\n",
        memory__stat=stat,
    )
    write(tmp_path / "cpuacct" / name, cpuacct__usage="2500000000\n")
    assert count(ID, tmp_path) == COUNTED


@pytest.mark.parametrize("name", NAMES)
def test_second_version_has_all_in_one_folder(tmp_path: Path, name: str) -> None:
    write_second(tmp_path / name, memory__peak="9000\n")
    assert count(ID, tmp_path) == COUNTED


def test_older_kernel_does_not_know_the_peak(tmp_path: Path) -> None:
    write_second(tmp_path / NAMES[0])
    assert count(ID, tmp_path) == replace(COUNTED, peak_bytes=None)


def test_container_that_cannot_be_seen_from_here(tmp_path: Path) -> None:
    write_second(tmp_path / "docker" / "other")
    assert count(ID, tmp_path) is None
    assert count(ID, tmp_path / "missing") is None


@pytest.mark.parametrize("files", [{"memory__stat": ""}, {"memory__stat": "x\n"}, {"memory__current": "max\n"}])
def test_group_that_makes_no_sense_or_is_being_taken_apart(tmp_path: Path, files: dict[str, str]) -> None:
    write_second(tmp_path / NAMES[0], **files)
    assert count(ID, tmp_path) is None


def test_what_is_needed_is_the_peak_without_files() -> None:
    assert needed_bytes(COUNTED) == 8600
    assert needed_bytes(replace(COUNTED, peak_bytes=None)) is None
    assert needed_bytes(replace(COUNTED, peak_bytes=100)) == 0
