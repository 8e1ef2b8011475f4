"""Output of containers as the Docker Engine API hands it over: in frames, each with its stream. Pure."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from datetime import datetime

from pytest_isolate.engine.api import LogLine

# A frame's header: which stream, three bytes of nothing, the length.
_FRAME = struct.Struct(">BxxxL")


def split_frames(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Output of a container, piece by piece, each with the number of its stream (API: "Attach to a container").

    A last piece that is cut counts as far as it goes.
    """
    position = 0
    while position + _FRAME.size <= len(raw):
        stream, length = _FRAME.unpack_from(raw, position)
        position += _FRAME.size
        yield stream, raw[position : position + length]
        position += length


class FrameReader:
    """Takes apart what arrives in pieces; a frame that is not complete waits for its rest."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, raw: bytes) -> list[tuple[int, bytes]]:
        """The frames that are complete with this piece, each with its stream."""
        self._rest += raw
        frames = []
        while len(self._rest) >= _FRAME.size:
            stream, length = _FRAME.unpack_from(self._rest)
            end = _FRAME.size + length
            if len(self._rest) < end:
                break
            frames.append((stream, self._rest[_FRAME.size : end]))
            self._rest = self._rest[end:]
        return frames


def log_lines(raw: bytes) -> list[LogLine]:
    """The lines of a log that was asked for with timestamps, each with the moment of its first piece.

    The engine cuts lines at 16 KiB, and puts a moment before each piece.
    """
    lines: list[LogLine] = []
    begun: dict[int, LogLine] = {}
    for stream, piece in split_frames(raw):
        stamp, _, text = piece.decode(errors="replace").partition(" ")
        first = begun.pop(stream, None) or LogLine(moment(stamp), "")
        line = LogLine(first.when, first.text + text.rstrip("\r\n"))
        if text.endswith("\n"):
            lines.append(line)
        else:
            begun[stream] = line
    return [*lines, *begun.values()]


def moment(text: str) -> float:
    """Seconds of the epoch of a moment as engines write it (RFC 3339, up to nanoseconds); 0 for one that never was."""
    found = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", text)
    if not found or text.startswith("0001-"):
        return 0
    zone = "+00:00" if found[3] == "Z" else found[3]
    return datetime.fromisoformat(found[1] + zone).timestamp() + float(found[2] or 0)
