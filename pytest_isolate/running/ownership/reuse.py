"""Instances that are kept for the next run: their users, how long they have been idle, and when they have to go."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pytest_isolate.engine.api import Labelled
from pytest_isolate.model.identity import LABEL_INSTANCE, LABEL_REUSE, Owner, Run, parse_owner
from pytest_isolate.model.service import Pairs
from pytest_isolate.sharing.board import Board
from pytest_isolate.sharing.cache import ensure_secret
from pytest_isolate.sharing.owners import Verdict, judge

_USERS = "users"
_MANUAL = "up-"
ReadStartTime = Callable[[int], "str | None"]


def project_code(project: str) -> str:
    """A short word for a project: by default its root folder, so that two clones never share."""
    return hashlib.sha256(project.encode(errors="surrogatepass")).hexdigest()[:12]


def manual_code(project: str) -> str:
    """The word for what `pytest-isolate up` starts of a project: apart from what its runs keep."""
    return f"{_MANUAL}{project_code(project)}"


def is_manual(code: str) -> bool:
    """True for a word of what `pytest-isolate up` has started, which stays until `pytest-isolate down`."""
    return code.startswith(_MANUAL)


class ReuseStore:
    """The instances that one project keeps. `folder` holds its board and its secret, readable by this user only."""

    def __init__(self, folder: Path, time: Callable[[], float], extra_labels: Pairs = ()) -> None:
        self.board = Board(folder)
        self._folder = folder
        self._time = time
        self._labels = ((LABEL_REUSE, folder.name), *extra_labels)

    def run(self, owner: Owner) -> Run:
        """The run that kept objects belong to. Their passwords come from a secret that stays in the folder."""
        return Run(run_id=self._run_id, owner=owner, secret=ensure_secret(self._folder), extra_labels=self._labels)

    @property
    def _run_id(self) -> str:
        code = self._folder.name
        return code if is_manual(code) else f"kept-{code}"

    def exclusive(self) -> AbstractContextManager[None]:
        """Return a lock: no other process starts or removes what is kept here while it is held."""
        return self.board.claim("alone", lambda: None)

    def clear(self, remove: Callable[[], None]) -> None:
        """Remove all that is kept, and forget it."""
        with self.exclusive(), self._claim():
            remove()
            self.board.clear()

    def join(self, owner: Owner, idle_s: float) -> None:
        """Note that a run uses what is kept, which may later be idle for so many seconds."""
        with self._claim():
            users = [*self._users(), owner.encode()]
            self.board.publish(_USERS, {"users": users, "idle_s": idle_s})

    def enter_alone(self, owner: Owner) -> None:
        """Note that only this process uses what is kept, which the holder of `exclusive` knows."""
        with self._claim():
            self.board.publish(_USERS, {"users": [owner.encode()], "idle_s": 0})

    def leave(self, owner: Owner, used: Sequence[str]) -> None:
        """Note that the run has ended, and which instances it has used: their idle time begins."""
        with self._claim():
            users = [user for user in self._users() if user != owner.encode()]
            self.board.publish(_USERS, {"users": users, "idle_s": self._idle_s()})
            for code in used:
                record = self.board.read(code)
                if record:
                    self.board.publish(code, {**record, "used": self._time()})

    def evict_other_versions(
        self,
        service: str,
        code: str,
        owner: Owner,
        read_start_time: ReadStartTime,
        remove: Callable[[Mapping[str, Any]], None],
    ) -> bool:
        """Have other versions of a service removed; False, and nothing is, where another run may be using them."""
        with self._claim():
            older = [r for r in self.board.records() if r.get("service") == service and r["code"] != code]
            if older and self._has_other_users(owner, read_start_time):
                return False
            for record in older:
                self.board.withdraw(record["code"])
                remove(record)
            return True

    def judge(self, found: Labelled, here: Owner, read_start_time: ReadStartTime) -> Verdict:
        """Judge whether a kept object has been idle for too long. In doubt it stays."""
        if is_manual(self._folder.name):
            return Verdict(False, "started by pytest-isolate up, until pytest-isolate down")
        in_use = self._judge_users(here, read_start_time)
        if in_use:
            return in_use
        code = found.labels.get(LABEL_INSTANCE)
        if code is None:
            containers = [record for record in self.board.records() if "used" in record]
            return Verdict(all(map(self._is_idle, containers)), "kept together with its stack's containers")
        record = self.board.read(code)
        if record is None:
            return Verdict(True, "kept, but its project does not know it any more")
        idle = self._time() - record["used"]
        allowed, do = f"allowed: {self._idle_s():.0f} s", f"pytest-isolate remove {self._run_id}"
        return Verdict(self._is_idle(record), f"kept, and idle for {idle:.0f} s ({allowed}; {do})")

    def judge_discarded(self, here: Owner, read_start_time: ReadStartTime) -> Verdict:
        """Judge whether all that is kept may be removed, however short the time since it was used."""
        return self._judge_users(here, read_start_time) or Verdict(True, "kept for later runs, which start it anew")

    def expire(
        self,
        found: Sequence[Labelled],
        here: Owner,
        read_start_time: ReadStartTime,
        remove: Callable[[Sequence[Labelled]], None],
    ) -> None:
        """Remove what has been idle for too long; no run can begin to use it meanwhile."""
        with self._claim():
            alive = [u for u in self._users() if not judge(parse_owner(u), here, read_start_time).is_dead]
            self.board.publish(_USERS, {"users": alive, "idle_s": self._idle_s()})
            containers = [o for o in found if LABEL_INSTANCE in o.labels]
            dead = [o for o in containers if self.judge(o, here, read_start_time).is_dead]
            for item in dead:
                self.board.withdraw(item.labels[LABEL_INSTANCE])
            remove(dead)
            others = [o for o in found if LABEL_INSTANCE not in o.labels]
            gone = [o for o in others if self.judge(o, here, read_start_time).is_dead]
            if gone:
                self.board.clear(but=(_USERS,))
                remove(gone)

    def discard(self, here: Owner, read_start_time: ReadStartTime, remove: Callable[[], None]) -> None:
        """Remove all that is kept, unless a run uses it; no run can begin to use it meanwhile."""
        with self._claim():
            if self.judge_discarded(here, read_start_time).is_dead:
                self.board.clear(but=(_USERS,))
                remove()

    def _judge_users(self, here: Owner, read_start_time: ReadStartTime) -> Verdict | None:
        """The verdict that what is kept stays, where a run may be using it."""
        for user in self._users():
            verdict = judge(parse_owner(user), here, read_start_time)
            if not verdict.is_dead:
                return Verdict(False, f"kept, and in use: {verdict.reason}")
        return None

    def _has_other_users(self, owner: Owner, read_start_time: ReadStartTime) -> bool:
        others = (parse_owner(user) for user in self._users() if user != owner.encode())
        return any(not judge(other, owner, read_start_time).is_dead for other in others)

    def _is_idle(self, record: Mapping[str, Any]) -> bool:
        return bool(self._time() - record["used"] >= self._idle_s())

    def _claim(self) -> Any:
        return self.board.claim(_USERS, lambda: None)

    def _users(self) -> list[str]:
        return list((self.board.read(_USERS) or {}).get("users", ()))

    def _idle_s(self) -> float:
        return float((self.board.read(_USERS) or {}).get("idle_s", 0))
