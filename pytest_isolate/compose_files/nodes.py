"""A Compose file's content as a tree in which every part knows its line, and what can be asked of such a part."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.declarations.values import read_seconds
from pytest_isolate.model.location import Location


def seconds_of(node: Node) -> float:
    """A duration in seconds."""
    text = text_of(node)
    seconds = read_seconds(text)
    if seconds is None:
        raise NodeError(node, f"{text!r} is not a duration", "such as 30s, 1m30s or 500ms")
    return seconds


_TRUE = ("true", "yes", "on", "y", "1")
_FALSE = ("false", "no", "off", "n", "0")


class Node(Struct, frozen=True):
    """A part of a file: a text, nothing, a list or a table. `path` names it for people, such as `services.web.image`.

    Texts stay as they are written: `22:22` is no number, and `1.10` keeps its last digit.
    """

    value: str | tuple[Node, ...] | Mapping[str, Node] | None
    location: Location
    path: str
    tag: str = ""

    def holding(self, value: str | tuple[Node, ...] | Mapping[str, Node] | None) -> Node:
        """Another value in its place."""
        return replace(self, value=value)

    def with_table(self, **values: str | bool | None) -> Node:
        """A table of texts in its place; what is None is left out."""
        texts = {key: str(value).lower() if isinstance(value, bool) else value for key, value in values.items()}
        return self.holding({key: replace(self, value=text, tag="") for key, text in texts.items() if text is not None})

    @property
    def kind(self) -> str:
        """What it is, for people."""
        if self.value is None:
            return "nothing"
        return "a text" if isinstance(self.value, str) else "a list" if isinstance(self.value, tuple) else "a table"

    def get(self, key: str) -> Node | None:
        """The entry of a table, where it is there and holds something."""
        found = self.value.get(key) if isinstance(self.value, Mapping) else None
        return found if found is not None and found.value is not None else None


class NodeError(Exception):
    """A part that is wrong, or that cannot be honoured; the keys around it are looked at all the same."""

    def __init__(self, node: Node, reason: str, valid: str = "", *, is_wrong: bool = True) -> None:
        super().__init__(reason)
        self.node = node
        self.reason = reason
        self.valid = valid
        self.is_wrong = is_wrong


def unsupported(node: Node, reason: str) -> NodeError:
    """What to raise for a part that is right, and that a stack of containers cannot honour."""
    return NodeError(node, reason, is_wrong=False)


def text_of(node: Node) -> str:
    """Its text."""
    if not isinstance(node.value, str):
        raise NodeError(node, f"is {node.kind}", "a text")
    return node.value


def flag_of(node: Node) -> bool:
    """Whether it says yes."""
    word = text_of(node).lower()
    if word not in _TRUE + _FALSE:
        raise NodeError(node, f"{word!r} is neither true nor false", "true, false")
    return word in _TRUE


def whole_number_of(node: Node) -> int:
    """A whole number; octal where it is written so."""
    text = text_of(node)
    try:
        return int(text, 0) if not text.lstrip("+-").isdigit() else int(text)
    except ValueError:
        raise NodeError(node, f"{text!r} is not a whole number", "a whole number") from None


def number_of(node: Node) -> float:
    """A number."""
    text = text_of(node)
    try:
        return float(text)
    except ValueError:
        raise NodeError(node, f"{text!r} is not a number", "a number") from None


def items_of(node: Node) -> tuple[Node, ...]:
    """The parts of a list; none of nothing."""
    if node.value is None:
        return ()
    if not isinstance(node.value, tuple):
        raise NodeError(node, f"is {node.kind}", "a list")
    return node.value


def words_of(node: Node) -> list[str]:
    """The texts of a list, or the one text that stands for a list of one."""
    return [node.value] if isinstance(node.value, str) else [text_of(item) for item in items_of(node)]


def table_of(node: Node) -> Mapping[str, Node]:
    """The entries of a table; none of nothing."""
    if node.value is None:
        return {}
    if not isinstance(node.value, Mapping):
        raise NodeError(node, f"is {node.kind}", "a table")
    return node.value


def texts_of(node: Node) -> dict[str, str]:
    """The texts of a table by key; an empty text for an entry without one."""
    return {key: "" if entry.value is None else text_of(entry) for key, entry in table_of(node).items()}


def walk(node: Node, change: Callable[[Node], Node]) -> Node:
    """The same tree with each text and nothing changed."""
    if isinstance(node.value, tuple):
        return node.holding(tuple(walk(item, change) for item in node.value))
    if isinstance(node.value, Mapping):
        return node.holding({key: walk(entry, change) for key, entry in node.value.items()})
    return change(node)


def tables_in(node: Node) -> Iterator[Mapping[str, Node]]:
    """The tables of a list."""
    yield from map(table_of, items_of(node))


def resolve(path: str, folder: str, home: str = "") -> str:
    """A path that a file names, from the folder that its paths are relative to."""
    if path == "~" or path.startswith("~/"):
        path = posixpath.join(home or "~", path[2:])
    return posixpath.normpath(posixpath.join(folder, path))
