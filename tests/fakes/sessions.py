"""Commands of the fake engine's containers that are processes of this host: what its programs cannot do for it."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_isolate.engine.api import ExecResult
from pytest_isolate.errors import EngineError

BIN = Path(__file__).parent / "bin"


def environment(root: Path, *tables: Mapping[str, str]) -> dict[str, str]:
    path = os.pathsep.join([str(BIN), str(Path(sys.executable).parent), os.environ["PATH"]])
    merged = {name: value for table in tables for name, value in table.items()}
    return {**merged, "PATH": path, "FAKE_ROOT": str(root)}


def run(argv: Sequence[str], env: Mapping[str, str]) -> ExecResult:
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    return ExecResult(exit_code=done.returncode, stdout=done.stdout, stderr=done.stderr)


class FakeSession:
    """A process, as a session in a container."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self._argv = argv
        try:
            self._process = subprocess.Popen(
                argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except OSError:
            # A real engine finds this out when it has handed over the line, and tells it there.
            said = ["sh", "-c", f"echo 'exec: {argv[0]}: not found in $PATH'; exit 126"]
            self._process = subprocess.Popen(
                said, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        self._selector = selectors.DefaultSelector()
        self._is_closed = False
        for number, stream in ((1, self._process.stdout), (2, self._process.stderr)):
            assert stream
            self._selector.register(stream, selectors.EVENT_READ, number)

    def send(self, text: bytes) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(text)
            self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise EngineError(f"{self._argv[0]} does not listen", found=str(error)) from error

    def receive(self, timeout_s: float) -> tuple[int, bytes] | None:
        while self._selector.get_map():
            ready = self._selector.select(timeout_s)
            if not ready:
                raise EngineError(f"{self._argv[0]} is silent", found=[f"no answer within {timeout_s:g} s"])
            key = ready[0][0]
            piece = os.read(key.fd, 1 << 16)
            if piece:
                return key.data, piece
            self._selector.unregister(key.fileobj)
        return None

    def exit_code(self) -> int:
        return self._process.wait(10)

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._selector.close()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream
            try:
                stream.close()
            except OSError:
                pass
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """The container has ended."""
        self._process.kill()
