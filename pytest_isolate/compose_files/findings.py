"""What is found wrong in Compose files, what of them cannot be honoured, and what only deserves a word."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from pytest_isolate.compose_files.nodes import Node, NodeError
from pytest_isolate.errors import Problem, suggest

# More than that are not read by anybody.
_MANY = 20
_WARN = 'unsupported="warn" makes it a warning, and the services start without it'


def keys(words: str) -> dict[str, None]:
    """The keys that a table may have."""
    return dict.fromkeys(words.split())


class Findings:
    """A list that every step adds to, so that all of it is told at once."""

    def __init__(self) -> None:
        self.wrong: list[Problem] = []
        self.unsupported: list[Problem] = []
        self.notes: list[Problem] = []

    def add(self, refused: NodeError) -> None:
        """A part that was refused."""
        where = {"place": str(refused.node.location), "subject": refused.node.path or "file"}
        if refused.is_wrong:
            _add_once(Problem(**where, reason=refused.reason, valid=refused.valid), self.wrong)
        else:
            _add_once(Problem(**where, reason=f"cannot be honoured: {refused.reason}", hint=_WARN), self.unsupported)

    def note(self, node: Node, reason: str) -> None:
        """What Compose would only warn of too."""
        _add_once(Problem(place=str(node.location), subject=node.path, reason=reason), self.notes)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Note what is refused within a block, and go on behind it."""
        try:
            yield
        except NodeError as refused:
            self.add(refused)

    def check_keys(self, table: Mapping[str, Node], known: Mapping[str, object]) -> None:
        """Every key that Compose does not know is wrong; those that begin with x- are anybody's."""
        for key, entry in table.items():
            if key not in known and not key.startswith("x-"):
                reason = f"unknown key {key!r}{suggest(key, [*known])}"
                valid = ", ".join(known) if len(known) < _MANY else "a key of the Compose specification, or one with x-"
                self.add(NodeError(entry, reason, valid))


def try_change(findings: Findings, change: Callable[[Node], Node], node: Node) -> Node | None:
    """The part, changed; nothing where it is refused."""
    with findings.collecting():
        return change(node)
    return None


def _add_once(problem: Problem, problems: list[Problem]) -> None:
    if problem not in problems:
        problems.append(problem)
