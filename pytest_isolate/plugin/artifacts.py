"""The folder in which the logs of failed tests are stored whole: --isolate-artifacts=DIR."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from pytest_isolate.running.evidence.render import Evidence, render_whole

_LONGEST = 80


class Artifacts:
    """A folder for each failed test, with a file for each service; without a folder nothing is stored."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def store(self, test: str, evidence: Evidence, *, is_first: bool) -> str:
        """The path of the file that holds all lines now, empty where there is none."""
        if self._folder is None or not evidence.parts:
            return ""
        path = self._folder / file_name(test) / f"{file_name(evidence.service)}.log"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w" if is_first else "a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in render_whole(evidence))
        except OSError as error:
            return f"not stored: {error}"
        return str(path)


def file_name(text: str) -> str:
    """A name that every file system takes; what it cannot say in full is told apart by a digest."""
    name = re.sub(r"[^\w.-]+", "-", text, flags=re.ASCII).strip("-.")
    if name == text and len(name) <= _LONGEST:
        return name
    return f"{name[:_LONGEST]}-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}"
