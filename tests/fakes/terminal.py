"""A pseudo-terminal, and what a person would see on it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence

import pyte


class Terminal:
    """A terminal of some size. What is written to `out` shows in `read()`."""

    def __init__(self, columns: int, lines: int) -> None:
        self._ours, self._theirs = pty.openpty()
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.out = os.fdopen(os.dup(self._theirs), "w", encoding="utf-8")
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)

    def read(self) -> list[str]:
        """The lines on the screen, down to the last that is not empty."""
        self.out.flush()
        self._feed(0)
        lines = [line.rstrip() for line in self.screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def run(self, argv: Sequence[str], env: Mapping[str, str], interrupt_at: str = "") -> list[list[str]]:
        """Every screen that was seen while a command ran in it; the last one is what it has left.

        When a text shows for the first time, Ctrl-C is pressed: the terminal shows that too.
        """
        process = subprocess.Popen(argv, env=env, stdin=self._theirs, stdout=self._theirs, stderr=self._theirs)
        screens = [self.read()]
        deadline = time.monotonic() + 60
        while process.poll() is None:
            assert time.monotonic() < deadline, "\n".join(screens[-1])
            self._feed(0.05)
            if self.read() != screens[-1]:
                screens.append(self.read())
            if interrupt_at and any(interrupt_at in line for line in screens[-1]):
                os.write(self._ours, b"\x03")
                process.send_signal(signal.SIGINT)
                interrupt_at = ""
        self._feed(0)  # what it wrote last
        return [*screens, self.read()]

    def close(self) -> None:
        self.out.close()
        os.close(self._ours)
        os.close(self._theirs)

    def _feed(self, timeout_s: float) -> None:
        while select.select([self._ours], [], [], timeout_s)[0]:
            self._stream.feed(os.read(self._ours, 1 << 16))
            timeout_s = 0
