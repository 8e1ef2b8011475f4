"""Output of containers that start, searched for the patterns of log probes as it comes, and not kept.

The engine hands over what a container writes at once and at little cost. From its log the same comes line by line, at
16,000 lines a second on a busy machine.
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Iterable

from pytest_isolate.engine.api import Engine, OutputStream
from pytest_isolate.errors import EngineError
from pytest_isolate.model.probes import Log
from pytest_isolate.model.service import ServiceSpec

# What a match may span. Text that lies further back is searched no more.
_WINDOW = 64 * 1024
# So much is searched at once; less where a probe asks before.
_MOST_UNSEARCHED = 1 << 20
# A line that is longer counts as several.
_LONGEST_LINE = 1 << 20


class LogSearch:
    """Counts the matches of a pattern in a text that comes piece by piece; `^` and `$` stand for ends of lines."""

    def __init__(self, pattern: str) -> None:
        self._pattern = re.compile(pattern, re.MULTILINE)
        self._text = ""
        self._begin = 0
        self._before = 0
        # A pattern that an empty text matches is found in a log without a line.
        self.count = len(self._pattern.findall(""))

    def add(self, text: str) -> None:
        """Search on."""
        self._text += text
        ends = [(match.start(), match.end()) for match in self._pattern.finditer(self._text, self._begin)]
        self.count = self._before + len(ends)
        cut = self._text.rfind("\n", self._begin, max(0, len(self._text) - _WINDOW)) + 1
        # A match across the cut may go on; it is looked at again as a whole.
        cut = next((start for start, end in ends if start < cut < end), cut)
        if cut > self._begin:
            self._before += sum(end <= cut for _, end in ends)
            # The character before stays, so that the pattern sees whether a line begins here.
            self._text, self._begin = self._text[cut - 1 :], 1


class LineJoiner:
    """Puts the lines of two streams together that come in pieces."""

    def __init__(self) -> None:
        self._begun: dict[int, bytes] = defaultdict(bytes)

    def add(self, stream: int, piece: bytes) -> bytes:
        """The lines that are complete with this piece; their ends are plain ones."""
        lines, newline, rest = piece.rpartition(b"\n")
        whole = b"".join((self._begun.pop(stream, b""), lines, newline)) if newline else b""
        self._begun[stream] += rest
        if len(self._begun[stream]) > _LONGEST_LINE:
            whole += self._begun.pop(stream) + b"\n"
        return re.sub(rb"\r+\n", b"\n", whole) if b"\r" in whole else whole


class Output:
    """The output of one container from its start on, searched in a thread of its own until `close()`."""

    def __init__(self, stream: OutputStream, probes: Iterable[Log]) -> None:
        self._stream = stream
        self._searches = {probe: LogSearch(probe.pattern) for probe in probes}
        self._lock = threading.Lock()
        self._joiner = LineJoiner()
        self._unsearched: list[bytes] = []
        self._size = 0
        self._has_ended = False
        self._thread = threading.Thread(target=self._read, name="isolate-output", daemon=True)
        self._thread.start()

    def count(self, probe: Log) -> int | None:
        """The number of matches so far; None where it has ended: then the log tells all of it."""
        with self._lock:
            if self._has_ended:
                return None
            self._search()
            return self._searches[probe].count

    def close(self) -> None:
        """Listen no more. Safe to repeat."""
        self._stream.close()

    def _read(self) -> None:
        try:
            for stream, piece in self._stream:
                with self._lock:
                    lines = self._joiner.add(stream, piece)
                    self._unsearched.append(lines)
                    self._size += len(lines)
                    if self._size > _MOST_UNSEARCHED:
                        self._search()
        except (EngineError, ValueError):
            pass  # who asks next reads the log, and gets this error in full
        finally:
            with self._lock:
                self._has_ended = True
                self._unsearched.clear()

    def _search(self) -> None:
        text = b"".join(self._unsearched).decode(errors="replace")
        self._unsearched, self._size = [], 0
        for search in self._searches.values():
            search.add(text)


class Outputs:
    """The outputs of containers that start, from just before that until a wait takes them over."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._outputs: dict[str, Output] = {}

    def listen(self, container_id: str, spec: ServiceSpec) -> None:
        """Listen to a container that is about to start, where a probe wants its log and the engine can hand it over."""
        probes = [probe for probe in spec.ready if isinstance(probe, Log)]
        stream = self._engine.listen(container_id) if probes else None
        if stream is not None:
            self._outputs[container_id] = Output(stream, probes)

    def take(self, container_id: str) -> Output | None:
        """The output of a container, for the caller to close; None where it is not listened to."""
        return self._outputs.pop(container_id, None)

    def drop(self, container_id: str) -> None:
        """Listen no more to a container that is not waited for. Safe to repeat."""
        output = self.take(container_id)
        if output is not None:
            output.close()
