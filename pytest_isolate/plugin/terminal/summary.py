"""The table of services at the end of a run, and the one hint that goes with it. Pure: figures in, lines out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from pytest_isolate.model.service import MIB
from pytest_isolate.text import align

Figures = Mapping[str, Any]

_MOST_ROWS = 10
_UNKNOWN = "?"
_HEADINGS = ("service", "instances", "ready in", "tests", "peak memory", "processor")
# What stands out: below these, a hint would be noise.
_NEAR_LIMIT = 0.9
_LONG_IMAGE_S = 10.0
_LONG_READY_S = 5.0
_MOST_OF_START = 0.7
_LONG_FOR_ONE_TEST_S = 2.0
_MANY_TESTS = 10


class Row(Struct, frozen=True, kw_only=True):
    """A service, with all its instances of all workers. What is not known is None."""

    service: str
    instances: int = 0
    ready_s: float | None = None
    tests: int = 0
    peak_bytes: int | None = None
    needed_bytes: int | None = None
    limit_bytes: int | None = None
    processor_s: float | None = None
    is_built: bool = False
    advice: tuple[str, ...] = ()
    """Ways to make the next start quick that are possible for it."""
    parts: Mapping[str, float] = {}
    """The steps of the slowest start, and the time that each took."""


def build_rows(everywhere: Sequence[Figures]) -> list[Row]:
    """One row for each service that was used, from what all processes know; the slowest first."""
    starts = [start for figures in everywhere for start in figures["starts"]]
    # Processes that share a container have each read what it has used; the last one knows most.
    usage: dict[str, Figures] = {}
    for figures in everywhere:
        for container, found in figures["usage"].items():
            usage[container] = max(usage.get(container, found), found, key=lambda one: one["processor"] or 0)
    names = [name for _, name, _ in starts] + [found["service"] for found in usage.values()]
    rows = [_build_row(name, starts, usage.values(), everywhere) for name in dict.fromkeys(names)]
    return sorted(rows, key=lambda row: (-(row.ready_s or 0), row.service))


def table_lines(rows: Sequence[Row], heading: str, verbosity: int) -> list[str]:
    """The table; the slowest services only, unless more is asked for.

    What is known of none, such as peak memory in a cluster, has no column.
    """
    shown = rows if verbosity > 0 else rows[:_MOST_ROWS]
    columns = [column for column in zip(_HEADINGS, *map(_cells, shown), strict=True) if set(column[1:]) != {_UNKNOWN}]
    lines = [heading, *align([*zip(*columns, strict=True)], "  ", numbers=True)]
    if len(rows) > len(shown):
        lines.append(f"  and {len(rows) - len(shown)} more, which were ready sooner (-v shows all)")
    return lines


def find_hint(rows: Sequence[Row]) -> str:
    """The one thing that stands out most, with what to do about it; mostly nothing."""
    for find in (_hint_memory, _hint_image, _hint_ready, _hint_one_test):
        for row in rows:
            hint = find(row, rows)
            if hint:
                return hint
    return ""


def _build_row(name: str, starts: Iterable[Any], usage: Iterable[Figures], everywhere: Iterable[Figures]) -> Row:
    own = [start for start in starts if start[1] == name]
    used = [found for found in usage if found["service"] == name]
    slowest = max(own, key=lambda start: start[0], default=None)
    return Row(
        service=name,
        instances=max(len(own), len(used)),
        ready_s=slowest[0] if slowest else None,
        tests=sum(figures["served"].get(name, 0) for figures in everywhere),
        peak_bytes=max((u["peak"] for u in used if u["peak"] is not None), default=None),
        needed_bytes=max((u["needed"] for u in used if u["needed"] is not None), default=None),
        limit_bytes=max((u["limit"] for u in used if u["limit"]), default=None),
        processor_s=sum(known) if (known := [u["processor"] for u in used if u["processor"] is not None]) else None,
        is_built=any(u["is_built"] for u in used),
        advice=tuple(dict.fromkeys(text for u in used for text in u["advice"])),
        parts=slowest[2] if slowest else {},
    )


def _cells(row: Row) -> tuple[str, ...]:
    ready = "reused" if row.ready_s is None else f"{row.ready_s:.1f} s"
    limit = f" of {_mib(row.limit_bytes)}" if row.limit_bytes else ""
    memory = _UNKNOWN if row.peak_bytes is None else f"{_mib(row.peak_bytes)}{limit} MiB"
    processor = _UNKNOWN if row.processor_s is None else f"{row.processor_s:.2f} s"
    return row.service, str(row.instances), ready, str(row.tests), memory, processor


def _hint_memory(row: Row, _: Sequence[Row]) -> str:
    if not row.limit_bytes or (row.needed_bytes or 0) < _NEAR_LIMIT * row.limit_bytes:
        return ""
    more = 2 * _mib(row.limit_bytes)
    found = f"{_mib(row.needed_bytes or 0)} of {_mib(row.limit_bytes)} MiB"
    return f'{row.service} came near its limit of memory ({found}): memory="{more}m" gives it room'


def _hint_image(row: Row, _: Sequence[Row]) -> str:
    seconds = row.parts.get("image", 0.0)
    if seconds < _LONG_IMAGE_S:
        return ""
    if row.is_built:
        do = "it is not built again as long as the engine keeps it and its context stays as it is"
        return f"building the image of {row.service} took {seconds:.0f} s: {do} (see .dockerignore)"
    return f"pulling the image of {row.service} took {seconds:.0f} s: where each run has a new engine, cache it there"


def _hint_ready(row: Row, _: Sequence[Row]) -> str:
    seconds = row.parts.get("ready", 0.0)
    if row.ready_s is None or seconds < max(_LONG_READY_S, _MOST_OF_START * row.ready_s) or not row.advice:
        return ""
    found = f"{row.service} took {seconds:.1f} of {row.ready_s:.1f} s until it answered"
    return f"{found}: {', '.join(row.advice)}"


def _hint_one_test(row: Row, rows: Sequence[Row]) -> str:
    is_slow = (row.ready_s or 0) >= _LONG_FOR_ONE_TEST_S
    if row.tests != 1 or not is_slow or max(other.tests for other in rows) < _MANY_TESTS:
        return ""
    return f"{row.service} took {row.ready_s:.1f} s for one test, which is the only one that needs it"


def _mib(size_bytes: int) -> int:
    return round(size_bytes / MIB)
