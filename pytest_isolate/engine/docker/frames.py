"""Output of containers as the Docker Engine API hands it over: in frames, each with its stream. Pure."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache

from pytest_isolate.engine.api import LogLine

# A frame's header (API: "Attach to a container"): which stream, three bytes of nothing, the length.
_FRAME = struct.Struct(">BxxxL")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)")


def split_frames(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Output of a container in pieces, each with the number of its stream; the last one may be cut."""
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
        rest, position, frames = self._rest + raw, 0, []
        while position + _FRAME.size <= len(rest):
            stream, length = _FRAME.unpack_from(rest, position)
            end = position + _FRAME.size + length
            if len(rest) < end:
                break
            frames.append((stream, rest[position + _FRAME.size : end]))
            position = end
        self._rest = rest[position:]
        return frames

    def take_rest(self) -> list[tuple[int, bytes]]:
        """The beginning of a frame that was cut off; call it when there is nothing more to feed."""
        rest, self._rest = self._rest, b""
        return list(split_frames(rest))


def log_lines(pieces: Iterable[bytes]) -> Iterator[LogLine]:
    """The lines of a log that was asked for with timestamps, each with the moment of its first piece."""
    # The engine cuts lines at 16 KiB, and puts a moment before each piece.
    begun: dict[int, tuple[float, list[str]]] = {}
    for stream, piece in read_frames(pieces):
        stamp, _, text = piece.decode(errors="replace").partition(" ")
        if stream in begun:
            when, before = begun.pop(stream)
        else:
            when, before = moment(stamp), []
        before.append(text.rstrip("\r\n"))
        if text.endswith("\n"):
            yield LogLine(when, "".join(before))
        else:
            begun[stream] = when, before
    for when, before in begun.values():
        yield LogLine(when, "".join(before))


def read_frames(pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The frames of an answer that comes in pieces of any length; the last one may be cut."""
    reader = FrameReader()
    for piece in pieces:
        yield from reader.feed(piece)
    yield from reader.take_rest()


def moment(text: str) -> float:
    """Seconds of the epoch of a moment as engines write it (RFC 3339, up to nanoseconds); 0 for one that never was."""
    # As Docker writes it; the expression takes three times as long, and logs are long.
    if text[19:20] == "." and text.endswith("Z") and not text.startswith("0001-"):
        return _whole_seconds(text[:19], "Z") + float(text[19:-1])
    found = _MOMENT.match(text)
    if not found or text.startswith("0001-"):
        return 0
    return _whole_seconds(found[1], found[3]) + float(found[2] or 0)


@lru_cache(maxsize=8)  # lines of one second come one after another
def _whole_seconds(moment: str, zone: str) -> float:
    return datetime.fromisoformat(moment + ("+00:00" if zone == "Z" else zone)).timestamp()
