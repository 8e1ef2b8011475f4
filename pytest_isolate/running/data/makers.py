"""Which process made a copy, and whether it is provably gone: only then may another one drop what it has made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pytest_isolate.model.identity import Owner, parse_owner
from pytest_isolate.running.data.names import CopyName, parse_copy_name
from pytest_isolate.sharing.owners import judge
from pytest_isolate.sharing.board import Board


@dataclass(frozen=True, slots=True, kw_only=True)
class Makers:
    """The processes that use an instance, as they have signed up on its board."""

    board: Board
    here: Owner
    read_start_time: Callable[[int], str | None]
    time: Callable[[], float]

    def sign_up(self, run_id: str, worker: str) -> None:
        """Say who this process is. Call it before it makes its first copy."""
        maker = CopyName(run_id, worker, 0).maker
        self.board.publish(_code(maker), {"owner": self.here.encode()})

    def sign_off(self, run_id: str, worker: str) -> None:
        """This process has left nothing behind."""
        self.board.withdraw(_code(CopyName(run_id, worker, 0).maker))

    def is_dead(self, maker: tuple[str, str]) -> bool:
        """Whether a process has signed up, and is provably gone."""
        return self._is_dead(maker)

    def spare(self, name: str, until: float) -> None:
        """Have nobody drop a copy before this time, in seconds of the epoch."""
        self.board.publish(_spared_code(name), {"until": until})

    def orphans(self, names: Iterable[str]) -> list[str]:
        """The copies among these databases whose makers are dead; in doubt a maker lives."""
        verdicts: dict[tuple[str, str], bool] = {}
        found = []
        for name in names:
            copy = parse_copy_name(name)
            if copy is None or self._is_spared(name):
                continue
            maker = copy.maker
            if maker not in verdicts:
                verdicts[maker] = self._is_dead(maker)
            if verdicts[maker]:
                found.append(name)
        return found

    def _is_spared(self, name: str) -> bool:
        record = self.board.read(_spared_code(name))
        return record is not None and self.time() < record["until"]

    def _is_dead(self, maker: tuple[str, str]) -> bool:
        record = self.board.read(_code(maker))
        return record is not None and judge(parse_owner(record["owner"]), self.here, self.read_start_time).is_dead


def _code(maker: tuple[str, str]) -> str:
    return f"maker of copies {' '.join(maker)}"


def _spared_code(name: str) -> str:
    return f"spared copy {name}"
