"""What containers have used, in folders as kernels lay them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_isolate.running.usage import Usage, read_usage

ID = "0123456789abcdef"


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.mark.parametrize("place", [f"docker/{ID}", f"system.slice/docker-{ID}.scope"])
def test_the_first_version_keeps_memory_and_processor_apart(tmp_path: Path, place: str) -> None:
    stat = "cache 9\ninactive_file 1\ntotal_inactive_file 300\ntotal_active_file 100\n"
    write(tmp_path / "memory" / place, memory__max_usage_in_bytes="4366336\n", memory__stat=stat)
    write(tmp_path / "cpuacct" / place, cpuacct__usage="23208773\n")

    assert read_usage(ID, tmp_path) == Usage(peak_bytes=4366336, needed_bytes=4365936, processor_s=0.023208773)


@pytest.mark.parametrize(
    "place",
    [
        f"docker/{ID}",
        f"system.slice/docker-{ID}.scope",
        f"machine.slice/libpod-{ID}.scope",
        f"user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope",
    ],
)
def test_the_second_version_has_all_in_one_folder(tmp_path: Path, place: str) -> None:
    memory, processor = "anon 9\ninactive_file 300\nactive_file 100\n", "usage_usec 1500000\nuser_usec 1\n"
    write(tmp_path / place, memory__peak="5000\n", memory__stat=memory, cpu__stat=processor)

    assert read_usage(ID, tmp_path) == Usage(peak_bytes=5000, needed_bytes=4600, processor_s=1.5)


def test_an_older_kernel_does_not_know_the_peak(tmp_path: Path) -> None:
    write(tmp_path / "docker" / ID, memory__stat="anon 9\n", cpu__stat="usage_usec 1500000\n")

    assert read_usage(ID, tmp_path) == Usage(processor_s=1.5)


def test_nothing_is_known_of_what_is_gone(tmp_path: Path) -> None:
    assert read_usage(ID, tmp_path) == Usage()
    assert read_usage(ID, tmp_path / "missing") == Usage()


def test_a_file_that_makes_no_sense_is_no_error(tmp_path: Path) -> None:
    write(tmp_path / "memory/docker" / ID, memory__max_usage_in_bytes="max\n", memory__stat="x\n")

    assert read_usage(ID, tmp_path) == Usage()
