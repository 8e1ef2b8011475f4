"""Containers as this kernel sees them: usage and connections, at no cost, where their control groups can be seen.

Docker 20.10 answers the question for one container once a second only, and lets an earlier question wait for that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pytest_isolate.engine.api import UsageCounters

ROOT = Path("/sys/fs/cgroup")
# How Docker and Podman name them, each by its "cgroup driver"; the last is that of an engine without root.
_NAMES = (
    "docker/{}",
    "system.slice/docker-{}.scope",
    "libpod_parent/libpod-{}",
    "machine.slice/libpod-{}.scope",
    "user.slice/user-*.slice/user@*.service/user.slice/*-{}.scope",
)


def count(container_id: str, root: Path = ROOT) -> UsageCounters | None:
    """Counters of a container; None where it has ended, or cannot be seen from here."""
    for folder in _find(container_id, root):
        with suppress(OSError, ValueError, KeyError):
            return _count_v2(folder)
    for memory in _find(container_id, root / "memory"):
        processor = root / "cpuacct" / memory.relative_to(root / "memory")
        with suppress(OSError, ValueError, KeyError):
            return _count_v1(memory, processor)
    return None


def read_connections(container_id: str, root: Path = ROOT, processes: Path = Path("/proc")) -> str | None:
    """Tables of a container's TCP connections (/proc/net/tcp of proc(5)); None where they cannot be seen from here."""
    for folder in (*_find(container_id, root), *_find(container_id, root / "memory")):
        with suppress(OSError):
            for process in (folder / "cgroup.procs").read_text(encoding="utf-8").split():
                tables = [processes / process / "net" / name for name in ("tcp", "tcp6")]
                return "".join(table.read_text(encoding="utf-8") for table in tables if table.exists()) or None
    return None


def _find(container_id: str, root: Path) -> Iterator[Path]:
    for name in _NAMES:
        place = name.format(container_id)
        yield from root.glob(place) if "*" in place else filter(Path.is_dir, [root / place])


def _count_v2(folder: Path) -> UsageCounters:
    memory, peak = _table(folder / "memory.stat"), folder / "memory.peak"
    return UsageCounters(
        memory_bytes=_number(folder / "memory.current"),
        idle_bytes=memory["inactive_file"],
        files_bytes=memory["inactive_file"] + memory["active_file"],
        peak_bytes=_number(peak) if peak.exists() else None,
        cpu_s=_table(folder / "cpu.stat")["usage_usec"] / 1e6,
    )


def _count_v1(memory: Path, processor: Path) -> UsageCounters:
    stat = _table(memory / "memory.stat")
    return UsageCounters(
        memory_bytes=_number(memory / "memory.usage_in_bytes"),
        idle_bytes=stat["total_inactive_file"],
        files_bytes=stat["total_inactive_file"] + stat["total_active_file"],
        peak_bytes=_number(memory / "memory.max_usage_in_bytes"),
        cpu_s=_number(processor / "cpuacct.usage") / 1e9,
    )


def _number(file: Path) -> int:
    return int(file.read_text(encoding="utf-8"))


def _table(file: Path) -> dict[str, int]:
    return {
        name: int(value) for name, value in (line.split() for line in file.read_text(encoding="utf-8").splitlines())
    }
