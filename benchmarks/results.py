"""RESULTS.md: one section for each benchmark, with the date and the machine that it was measured on."""

from __future__ import annotations

import datetime
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

FILE = Path(__file__).parent / "RESULTS.md"
_HEAD = "# Results\n\nWritten by `make bench`; each section is replaced when its benchmark runs again.\n"


def write_section(name: str, text: str) -> None:
    """Put a benchmark's section into the file, in place of the one that it has there."""
    sections = _read_sections()
    sections[name] = f"{text}\n"
    FILE.write_text("\n".join([_HEAD, *(f"## {title}\n\n{body}" for title, body in sorted(sections.items()))]))


def build_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; all columns but the first are numbers."""
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _read_sections() -> dict[str, str]:
    text = FILE.read_text() if FILE.exists() else ""
    found = re.findall(r"^## (.+?)\n\n(.*?)(?=\n## |\Z)", text, re.MULTILINE | re.DOTALL)
    return {title: f"{body.rstrip()}\n" for title, body in found}


def describe_machine(load: str) -> str:
    """The date, the machine, and what is to be said of its load."""
    today = datetime.datetime.now(datetime.timezone.utc).date()
    system = f"{platform.system()} {platform.release()} ({platform.machine()}), {os.cpu_count()} processors"
    return f"{today}, {system}, Python {platform.python_version()}. {load}"
