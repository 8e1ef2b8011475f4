"""The names of what is made on a server. They tell its maker, so that nothing of a living process is dropped."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from msgspec import Struct

from pytest_isolate.model.identity import Owner, parse_owner
from pytest_isolate.sharing.board import Board
from pytest_isolate.sharing.owners import judge


class Makers(Struct, frozen=True, kw_only=True):
    """The processes that use an instance, as they have signed up on its board."""

    board: Board
    here: Owner
    read_start_time: Callable[[int], str | None]
    time: Callable[[], float]

    def register(self, run_id: str, worker: str) -> None:
        """Note who this process is. Call it before it makes its first copy."""
        maker = CopyName(run_id, worker, 0).maker
        self.board.publish(_code(maker), {"owner": self.here.encode()})

    def unregister(self, run_id: str, worker: str) -> None:
        """Note that this process has left nothing behind."""
        self.board.withdraw(_code(CopyName(run_id, worker, 0).maker))

    def is_dead(self, maker: tuple[str, str]) -> bool:
        """True for a process that has signed up, and is provably gone."""
        record = self.board.read(_code(maker))
        return record is not None and judge(parse_owner(record["owner"]), self.here, self.read_start_time).is_dead

    def retain(self, name: str, until: float) -> None:
        """Have a copy stay until this time, in seconds of the epoch."""
        self.board.publish(_retained_code(name), {"until": until})

    def orphans(self, names: Iterable[str]) -> list[str]:
        """The copies among these databases whose makers are dead; in doubt a maker lives."""
        verdicts: dict[tuple[str, str], bool] = {}
        found = []
        for name in names:
            copy = parse_copy_name(name)
            if copy is None or self._is_retained(name):
                continue
            if copy.maker not in verdicts:
                verdicts[copy.maker] = self.is_dead(copy.maker)
            if verdicts[copy.maker]:
                found.append(name)
        return found

    def _is_retained(self, name: str) -> bool:
        record = self.board.read(_retained_code(name))
        return record is not None and self.time() < record["until"]


def _code(maker: tuple[str, str]) -> str:
    return f"maker of copies {' '.join(maker)}"


def _retained_code(name: str) -> str:
    return f"spared copy {name}"


# Nothing ever connects to it, so it can be copied at any time.
PRISTINE = "isolate_pristine"
# PostgreSQL cuts names at 63 bytes.
_COPY = re.compile(r"isolate_copy_([0-9a-z]+)_([0-9a-z]*)_([0-9]+)")
_OWN = re.compile(r"isolate_(?:pristine|template_[0-9a-f]{20}|copy(?=\w+_[0-9]+))_([0-9a-z]+)_([0-9a-z]*)(?:_[0-9]+)?")


class CopyName(Struct, frozen=True):
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
    """Parse the name of a copy; None where the database is no copy of ours."""
    match = _COPY.fullmatch(name)
    return CopyName(match[1], match[2], int(match[3])) if match else None


def template_name(digest: str, suffix: str = "") -> str:
    """The template for an initial state; with a suffix, too, no longer than PostgreSQL's names may be."""
    return f"isolate_template_{digest[: 20 if suffix else 32]}{suffix}"


def own_suffix(run_id: str, worker: str) -> str:
    """Suffix of a process's names, on a server that other runs use too."""
    return f"_{_plain(run_id)}_{_plain(worker)}"


def creator_of(name: str) -> tuple[str, str] | None:
    """The process that made a database on such a server, copies included; None for what is none of ours."""
    match = _OWN.fullmatch(name)
    return (match[1], match[2]) if match else None


def _plain(word: str) -> str:
    return re.sub(r"[^0-9a-z]", "", word.lower())
