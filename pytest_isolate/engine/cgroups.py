"""What a container takes, read where the kernel counts it: at no cost, where its control groups can be seen from here.

Docker 20.10 answers the question for one container once a second only, and lets whoever asks earlier wait for that.
"""

from __future__ import annotations

from pathlib import Path

from pytest_isolate.engine.api import ContainerUsage

ROOT = Path("/sys/fs/cgroup")
# How Docker and Podman name them, each by its "cgroup driver".
_NAMES = ("docker/{}", "system.slice/docker-{}.scope", "libpod_parent/libpod-{}", "machine.slice/libpod-{}.scope")


def read_usage(container_id: str, root: Path = ROOT) -> ContainerUsage | None:
    """What a container takes; None where it has ended, or cannot be seen from here."""
    for name in _NAMES:
        group = name.format(container_id)
        try:
            return _read_second(root / group) or _read_first(root / "memory" / group, root / "cpuacct" / group)
        except (OSError, ValueError, KeyError):
            continue
    return None


def _read_second(folder: Path) -> ContainerUsage | None:
    """The kernel's second version of control groups: one tree for all."""
    if not (folder / "memory.current").exists():
        return None
    idle = _table(folder / "memory.stat")["inactive_file"]
    microseconds = _table(folder / "cpu.stat")["usage_usec"]
    used = int((folder / "memory.current").read_text())
    return ContainerUsage(memory_bytes=max(0, used - idle), cpu_s=microseconds / 1e6)


def _read_first(memory: Path, processor: Path) -> ContainerUsage:
    """The first version: a tree for each resource."""
    idle = _table(memory / "memory.stat")["total_inactive_file"]
    used = int((memory / "memory.usage_in_bytes").read_text())
    nanoseconds = int((processor / "cpuacct.usage").read_text())
    return ContainerUsage(memory_bytes=max(0, used - idle), cpu_s=nanoseconds / 1e9)


def _table(file: Path) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in file.read_text().splitlines())}
