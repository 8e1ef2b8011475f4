"""What containers have used, read from the kernel's control groups: no engine is asked, so it costs no test its time.

An engine needs up to a second to answer the same question (measured on Docker 20.10).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_isolate.running.launching import Running
from pytest_isolate.running.safety import memory_limit

CGROUPS = Path("/sys/fs/cgroup")
# Where engines put a container, with either driver; the last is that of an engine without root.
_PLACES = (
    "docker/{container}",
    "system.slice/docker-{container}.scope",
    "machine.slice/libpod-{container}.scope",
    "user.slice/user-*.slice/user@*.service/user.slice/*-{container}.scope",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Most memory at once, what of it could not have been given back at the end, and processor time.

    What nobody knows is None.
    """

    peak_bytes: int | None = None
    needed_bytes: int | None = None
    processor_s: float | None = None


def read_usage(container_id: str, cgroups: Path = CGROUPS) -> Usage:
    """What a container has used since it started last; nothing is known of one that has ended."""
    return _read_second_version(container_id, cgroups) or _read_first_version(container_id, cgroups)


class Meter:
    """Reads what containers have used, before they are removed. Safe to use from several threads."""

    def __init__(self, read: Callable[[str], Usage] = read_usage) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._found: dict[str, dict[str, Any]] = {}

    def read(self, running: Running) -> None:
        """Read it for an instance that is about to go."""
        usage = self._read(running.container_id)
        found = {
            "service": str(running.instance.key.service),
            "limit": memory_limit(running.spec),
            "is_built": running.spec.build is not None,
            "peak": usage.peak_bytes,
            "needed": usage.needed_bytes,
            "processor": usage.processor_s,
        }
        with self._lock:
            self._found[running.container_id] = found

    def figures(self) -> dict[str, dict[str, Any]]:
        """All that was read, by container, in plain types."""
        with self._lock:
            return dict(self._found)


def _read_second_version(container_id: str, cgroups: Path) -> Usage | None:
    for folder in _find(container_id, cgroups):
        memory = _read_pairs(folder / "memory.stat")
        processor = _read_pairs(folder / "cpu.stat").get("usage_usec")
        peak = _read_number(folder / "memory.peak")
        if processor is None:
            continue
        # Kernels before 5.19 do not know the peak.
        return _usage(peak, memory.get("inactive_file", 0) + memory.get("active_file", 0), processor / 1e6)
    return None


def _read_first_version(container_id: str, cgroups: Path) -> Usage:
    peak, files, processor = None, 0, None
    for folder in _find(container_id, cgroups / "memory"):
        peak, memory = _read_number(folder / "memory.max_usage_in_bytes"), _read_pairs(folder / "memory.stat")
        files = memory.get("total_inactive_file", 0) + memory.get("total_active_file", 0)
    for folder in _find(container_id, cgroups / "cpuacct"):
        nanoseconds = _read_number(folder / "cpuacct.usage")
        processor = None if nanoseconds is None else nanoseconds / 1e9
    return _usage(peak, files, processor)


def _usage(peak: int | None, files: int, processor_s: float | None) -> Usage:
    # The kernel counts files that were read or written, as long as nobody needs the room.
    needed = None if peak is None else max(0, peak - files)
    return Usage(peak_bytes=peak, needed_bytes=needed, processor_s=processor_s)


def _find(container_id: str, root: Path) -> Iterator[Path]:
    for place in _PLACES:
        path = place.format(container=container_id)
        yield from root.glob(path) if "*" in path else filter(Path.is_dir, [root / path])


def _read_number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None  # the container has ended, or the kernel does not know


def _read_pairs(file: Path) -> dict[str, int]:
    try:
        return {name: int(number) for name, number in (line.split() for line in file.read_text().splitlines())}
    except (OSError, ValueError):
        return {}
