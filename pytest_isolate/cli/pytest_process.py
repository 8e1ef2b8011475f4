"""Asks a pytest what it sees: the declarations are read by the plugin itself, in a pytest of the command's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from pytest_isolate.sharing.command import REQUEST_VARIABLE, Replies, Request
from pytest_isolate.sharing.folders import process_folder

_POLL_S = 0.05


class PytestResult(Struct, frozen=True):
    """Outcome of pytest, and its output."""

    exit_code: int
    output: str
    is_interrupted: bool = False


def ask_pytest(
    what: str, names: Sequence[str], args: Sequence[str], on_answer: Callable[[dict[str, Any]], None]
) -> PytestResult:
    """Run pytest in this folder with our plugin in it; `on_answer` is called with each answer as it comes."""
    with process_folder("ask") as folder:
        path, output = folder / "answers", folder / "output"
        request = Request(what=what, answers=str(path), names=tuple(names))
        env = {**os.environ, REQUEST_VARIABLE: request.encode()}
        command = [sys.executable, "-m", "pytest", "-p", "pytest_isolate.plugin.command.manual", *args]
        answers = Replies(path)
        with output.open("wb") as file:
            process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file)  # noqa: S603  # our own interpreter
            exit_code, is_interrupted = _follow(process, answers, on_answer)
        return PytestResult(exit_code, output.read_text(encoding="utf-8", errors="replace"), is_interrupted)


def _follow(
    process: subprocess.Popen[bytes], answers: Replies, on_answer: Callable[[dict[str, Any]], None]
) -> tuple[int, bool]:
    """Exit code of pytest, and whether it was interrupted."""
    is_interrupted = False
    while True:
        try:
            exit_code = process.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            exit_code = None
        except KeyboardInterrupt:
            is_interrupted = True
            continue  # pytest has heard it too, and ends in order
        for answer in answers.new():
            on_answer(answer)
        if exit_code is not None:
            return exit_code, is_interrupted
