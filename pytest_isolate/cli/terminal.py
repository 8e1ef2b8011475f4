"""This process's terminal, made another program's for a while: each system has its own way."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Modes of Windows' consoles (consoleapi.h): what a key does before a program reads it; keys and output as sequences.
_LINES_ECHO_AND_SIGNALS, _KEYS_AS_SEQUENCES, _OUTPUT_AS_SEQUENCES = 0x1 | 0x2 | 0x4, 0x200, 0x4
_INPUT, _OUTPUT = -10, -11


@contextmanager
def raw_terminal(resized: Callable[[], None]) -> Iterator[None]:
    """Hand every key on as it is for the block. `resized` is called at first, and whenever the size has changed."""
    if sys.platform == "win32":
        keys = _console_mode(_INPUT, _KEYS_AS_SEQUENCES, _LINES_ECHO_AND_SIGNALS)
        with keys, _console_mode(_OUTPUT, _OUTPUT_AS_SEQUENCES, 0):
            resized()  # Windows tells of no later change
            yield
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    handler = signal.signal(signal.SIGWINCH, lambda *_: resized())
    try:
        # What was typed before is not thrown away, as the default would.
        tty.setraw(sys.stdin, termios.TCSADRAIN)
        resized()
        yield
    finally:
        signal.signal(signal.SIGWINCH, handler)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextmanager
def _console_mode(number: int, with_bits: int, without_bits: int) -> Iterator[None]:
    if sys.platform != "win32":
        raise NotImplementedError
    import ctypes
    from ctypes import wintypes

    console = ctypes.windll.kernel32
    handle, before = console.GetStdHandle(number), wintypes.DWORD()
    console.GetConsoleMode(handle, ctypes.byref(before))
    console.SetConsoleMode(handle, (before.value & ~without_bits) | with_bits)
    try:
        yield
    finally:
        console.SetConsoleMode(handle, before)
