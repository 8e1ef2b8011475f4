"""The limits of a container as the kernel keeps them, read from inside; on both versions of cgroups."""

from collections.abc import Iterator

from pytest_isolate import Service


def cpu_share(service: Service) -> float:
    """How many processors its processes may use together."""
    limit = _read(service, "cpu.max", "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")
    quota, period = " ".join(limit).split()
    return int(quota) / int(period)


def memory_limit(service: Service) -> int:
    """How many bytes of memory its processes may use together."""
    (limit,) = _read(service, "memory.max", "memory/memory.limit_in_bytes")
    return int(limit)


def throttled_periods(service: Service) -> int:
    """How often its processes have used up their share and had to wait."""
    (text,) = _read(service, "cpu.stat", "cpu/cpu.stat")
    return dict(_counters(text))["nr_throttled"]


def memory_kills(service: Service) -> int:
    """How many of its processes were killed for using more memory than the limit."""
    (text,) = _read(service, "memory.events", "memory/memory.oom_control")
    return dict(_counters(text))["oom_kill"]


def _read(service: Service, v2: str, *v1: str) -> list[str]:
    """The text of the file of cgroups v2, or where there is none, those of the files of v1."""
    folder = "/sys/fs/cgroup"
    result = service.exec("cat", f"{folder}/{v2}")
    if result.exit_code == 0:
        return [result.stdout]
    return [service.exec("cat", f"{folder}/{path}", check=True).stdout for path in v1]


def _counters(text: str) -> Iterator[tuple[str, int]]:
    for line in text.splitlines():
        name, number = line.split()
        yield name, int(number)
