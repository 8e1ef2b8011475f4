"""Waits of a run, as lines for people. Pure: `display` says when and where they are shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from pytest_isolate.running.timeline import UnderWay
from pytest_isolate.text import one_line

_DOING = {
    "image": "waits for its image",
    "dependencies": "waits for what it needs",
    "budget": "waits for room in the run's budget",
    "network": "joins its network",
    "create": "creates its container",
    "ready": "waits until it answers",
    "reused": "waits until it answers",
    "snapshot": "saves its first state",
    "reset": "is reset",
    "copy": "makes a fresh copy",
    "clean-up": "cleans up",
}
_MEGABYTE = 1_000_000
# By verbosity: after how long a wait gets a plain line, and after how long at most the next one.
_TOLD_FROM_S = {-1: 30.0, 0: 5.0, 1: 1.0}
_TOLD_EVERY_S = {-1: 120.0, 0: 60.0, 1: 5.0}


class Item(Struct, frozen=True, kw_only=True):
    """One thing that is waited for. `total` is 0 where that is not known."""

    subject: str
    doing: str
    text: str = ""
    seconds: float
    done: int = 0
    total: int = 0
    unit: str = ""
    worker: str = ""

    @property
    def words(self) -> str:
        """The step that is being done, how far it has come, and the last answer."""
        if not self.text:
            return _DOING.get(self.doing, "starts")
        if self.unit == "steps" and self.total:
            return f"building, step {self.done} of {self.total}: {self.text}"
        if self.unit == "bytes" and self.total:
            return f"{self.text}, {self.done / _MEGABYTE:.1f} of {self.total / _MEGABYTE:.1f} MB"
        return self.text

    def as_note(self) -> dict[str, Any]:
        """In plain types, for another process."""
        return dict(to_builtins(self))


def read_items(notes: Iterable[Mapping[str, Any]]) -> list[Item]:
    """The items that other processes have noted."""
    return [Item(**item) for note in notes for item in note["items"]]


def build_items(under_way: Iterable[UnderWay], worker: str = "") -> list[Item]:
    """The items to show of all that goes on in this process."""
    items = [_build_item(one, worker) for one in under_way]
    # A wait for dependencies is shown where nothing is known of these: another process starts them.
    return [item for item in items if item.doing != "dependencies"] or items


def merge(items: Sequence[Item]) -> list[Item]:
    """Each thing once, the longest first, though several workers may wait for it; workers where they tell it apart."""
    longest_last = sorted(items, key=lambda item: item.seconds)
    answered = {(item.subject, item.text): item for item in longest_last if item.text}
    known = {subject for subject, _ in answered}
    silent = {item.subject: item for item in longest_last if not item.text and item.subject not in known}
    chosen = sorted([*answered.values(), *silent.values()], key=lambda item: -item.seconds)
    workers = Counter(subject for subject, _ in {(item.subject, item.worker) for item in chosen})
    return [
        replace(i, subject=f"{i.subject} ({i.worker})") if workers[i.subject] > 1 and i.worker else i for i in chosen
    ]


def plain_line(item: Item, others: int = 0) -> str:
    """One line of a log, with the number of others of the same name."""
    more = f" (and {others} more)" if others else ""
    return f"isolate: {item.seconds:5.1f} s  {item.subject}{more}: {item.words}"


class Schedule:
    """Decides which items are due as plain lines: later ones at ever longer distances, so that a log stays short."""

    def __init__(self, verbosity: int) -> None:
        level = max(-1, min(1, verbosity))
        self._first, self._longest = _TOLD_FROM_S[level], _TOLD_EVERY_S[level]
        self._tells_steps = level > 0
        self._last: dict[tuple[str, str], Item] = {}

    def lines(self, items: Sequence[Item]) -> list[str]:
        """The lines that are due now: one for all of the same name, as in several modules, that do the same."""
        alike: dict[tuple[str, str], list[Item]] = {}
        for item in sorted(items, key=lambda item: -item.seconds):
            alike.setdefault((item.subject, item.doing), []).append(item)
        due = []
        for key, (longest, *others) in alike.items():
            last = self._last.get(key)
            if last and last.seconds > longest.seconds:  # another one of this name
                del self._last[key]
            if self._is_due(longest):
                self._last[key] = longest
                due.append(plain_line(longest, len(others)))
        return due

    def _is_due(self, item: Item) -> bool:
        last = self._last.get((item.subject, item.doing))
        if last is None:
            return item.seconds >= self._first
        has_moved = self._tells_steps and item.unit == "steps" and item.done != last.done
        return has_moved or item.seconds - last.seconds >= min(max(last.seconds, self._first), self._longest)


def _build_item(one: UnderWay, worker: str) -> Item:
    progress = one.progress
    item = Item(subject=one.subject, doing=one.what, seconds=one.seconds, worker=worker)
    if progress is None:
        return item
    return replace(item, text=one_line(progress.text), done=progress.done, total=progress.total, unit=progress.unit)
