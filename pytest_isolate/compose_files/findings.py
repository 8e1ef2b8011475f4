"""Findings about Compose files: what is wrong, what cannot be honoured, and what only deserves a note."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from msgspec.structs import replace

from pytest_isolate.compose_files.nodes import Node, NodeError
from pytest_isolate.errors import Problem, suggest
from pytest_isolate.text import count

# Readers skip a longer list of valid keys.
_MANY = 20
_WARN = (
    'unsupported="warn" makes it a warning, and the services start without it\n'
    "services=[...] starts only the services that it names, with their dependencies"
)


def keys(words: str) -> dict[str, None]:
    """Return the keys that a table may have."""
    return dict.fromkeys(words.split())


class Findings:
    """A list that every step adds to, so that all of it is told at once."""

    def __init__(self) -> None:
        self.wrong: list[Problem] = []
        self.notes: list[Problem] = []
        self._unsupported: dict[Problem, str] = {}
        self._needing: dict[str, set[str]] = {}

    def add(self, refused: NodeError) -> None:
        """Add a part that was refused."""
        where = {"place": str(refused.node.location), "subject": refused.node.path or "file"}
        if refused.is_wrong:
            _add_once(Problem(**where, reason=refused.reason, valid=refused.valid), self.wrong)
            return
        problem = Problem(**where, reason=f"cannot be honoured: {refused.reason}", hint=_WARN)
        self._unsupported.setdefault(problem, refused.permission)
        if refused.permission:
            self._needing.setdefault(refused.permission, set()).add(refused.service)

    def note(self, node: Node, reason: str) -> None:
        """Note what is taken in another way than Docker Compose takes it, or what it would warn of too."""
        _add_once(Problem(place=str(node.location), subject=node.path, reason=reason), self.notes)

    def unsupported(self, services: int) -> list[Problem]:
        """Return all that cannot be honoured, with the permission that would have it honoured.

        Each says how many of so many services need that permission.
        """
        return [self._with_permission(problem, name, services) for problem, name in self._unsupported.items()]

    def _with_permission(self, problem: Problem, permission: str, services: int) -> Problem:
        if not permission:
            return problem
        needing = len(self._needing[permission])
        hint = (
            f'allow=["{permission}"] permits it: {needing} of {count(services, "service")} '
            f"{'needs' if needing == 1 else 'need'} that permission"
        )
        return replace(problem, hint=f"{hint}\n{_WARN}")

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Add what is refused within a block, and go on behind it."""
        try:
            yield
        except NodeError as refused:
            self.add(refused)

    def check_keys(self, table: Mapping[str, Node], known: Mapping[str, object]) -> None:
        """Refuse every key that Compose does not know; those that begin with x- are free for other programs."""
        for key, entry in table.items():
            if key not in known and not key.startswith("x-"):
                reason = f"unknown key {key!r}{suggest(key, [*known])}"
                valid = ", ".join(known) if len(known) < _MANY else "a key of the Compose specification, or one with x-"
                self.add(NodeError(entry, reason, valid))


def try_change(findings: Findings, change: Callable[[Node], Node], node: Node) -> Node | None:
    """Change a part; None where it is refused."""
    with findings.collecting():
        return change(node)
    return None


def _add_once(problem: Problem, problems: list[Problem]) -> None:
    if problem not in problems:
        problems.append(problem)
