"""The names of what is made on a server. They say whose it is: nobody drops what a living process has made."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Nobody is ever connected to it, so it can be copied at any time.
PRISTINE = "isolate_pristine"
_TEMPLATE = "isolate_template_"
# PostgreSQL cuts names at 63 bytes.
_COPY = re.compile(r"isolate_copy_([0-9a-z]+)_([0-9a-z]*)_([0-9]+)")


@dataclass(frozen=True, slots=True)
class CopyName:
    """A copy's maker, which is one process of a run, and its number there: no name is ever used twice."""

    run_id: str
    worker: str
    number: int

    def __str__(self) -> str:
        return f"isolate_copy_{_plain(self.run_id)}_{_plain(self.worker)}_{self.number}"

    @property
    def maker(self) -> tuple[str, str]:
        """The process that made it, as names write it."""
        return _plain(self.run_id), _plain(self.worker)


def parse_copy_name(name: str) -> CopyName | None:
    """Whose copy a database is; None where it is no copy of ours."""
    match = _COPY.fullmatch(name)
    return CopyName(match[1], match[2], int(match[3])) if match else None


def template_name(digest: str) -> str:
    """The template for an initial state."""
    return f"{_TEMPLATE}{digest[:32]}"


def _plain(word: str) -> str:
    return re.sub(r"[^0-9a-z]", "", word.lower())
