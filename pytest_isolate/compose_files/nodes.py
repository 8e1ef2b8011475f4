"""Tree of a Compose file, in which every part knows its line, and what can be asked of such a part."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.declarations.values import read_seconds
from pytest_isolate.model.host_path import join_path
from pytest_isolate.model.location import Location

_TRUE = ("true", "yes", "on", "y", "1")
_FALSE = ("false", "no", "off", "n", "0")


class Node(Struct, frozen=True):
    """Part of a file: a text, nothing, a list or a table. `path` names it for people, such as `services.web.image`.

    Numbers and flags are texts too, those that Docker Compose prints for them.
    """

    value: str | tuple[Node, ...] | Mapping[str, Node] | None
    location: Location
    path: str
    tag: str = ""

    def holding(self, value: str | tuple[Node, ...] | Mapping[str, Node] | None) -> Node:
        """Put another value in its place."""
        return replace(self, value=value)

    def with_table(self, **values: str | bool | None) -> Node:
        """Put a table of texts in its place; what is None is left out."""
        texts = {key: str(value).lower() if isinstance(value, bool) else value for key, value in values.items()}
        return self.holding({key: replace(self, value=text, tag="") for key, text in texts.items() if text is not None})

    @property
    def kind(self) -> str:
        """Name of the kind of value, for people."""
        if self.value is None:
            return "nothing"
        return "a text" if isinstance(self.value, str) else "a list" if isinstance(self.value, tuple) else "a table"

    def get(self, key: str) -> Node | None:
        """Return the entry of a table if it holds something. An empty text is often a variable without a value."""
        found = self.value.get(key) if isinstance(self.value, Mapping) else None
        return found if found is not None and found.value not in (None, "") else None


class NodeError(Exception):
    """A part that is wrong, or that cannot be honoured; the keys around it are looked at all the same.

    `permission` is the name in `allow=[...]` that would have the part honoured, for the service `service`.
    """

    def __init__(
        self,
        node: Node,
        reason: str,
        valid: str = "",
        *,
        is_wrong: bool = True,
        permission: str = "",
        service: str = "",
    ) -> None:
        super().__init__(reason)
        self.node = node
        self.reason = reason
        self.valid = valid
        self.is_wrong = is_wrong
        self.permission = permission
        self.service = service


def unsupported(node: Node, reason: str) -> NodeError:
    """Make the error of a part that is right, and that a stack of containers cannot honour."""
    return NodeError(node, reason, is_wrong=False)


def seconds_of(node: Node) -> float:
    """Return a duration in seconds."""
    text = text_of(node)
    seconds = 0.0 if text == "0" else read_seconds(text)
    if seconds is None:
        raise NodeError(node, f"{text!r} is not a duration", "such as 30s, 1m30s or 500ms")
    return seconds


def text_of(node: Node) -> str:
    """Return the text of a part that is one."""
    if not isinstance(node.value, str):
        raise NodeError(node, f"is {node.kind}", "a text")
    return node.value


def flag_of(node: Node) -> bool:
    """Return true if it says yes."""
    word = text_of(node).lower()
    if word not in _TRUE + _FALSE:
        raise NodeError(node, f"{word!r} is neither true nor false", "true, false")
    return word in _TRUE


def whole_number_of(node: Node) -> int:
    """Return a whole number."""
    text = text_of(node)
    try:
        return int(text, 0) if not text.lstrip("+-").isdigit() else int(text)
    except ValueError:
        raise NodeError(node, f"{text!r} is not a whole number", "a whole number") from None


def number_of(node: Node) -> float:
    """Return a number."""
    text = text_of(node)
    try:
        return float(text)
    except ValueError:
        raise NodeError(node, f"{text!r} is not a number", "a number") from None


def items_of(node: Node) -> tuple[Node, ...]:
    """Return the parts of a list; none of nothing."""
    if node.value is None:
        return ()
    if not isinstance(node.value, tuple):
        raise NodeError(node, f"is {node.kind}", "a list")
    return node.value


def words_of(node: Node) -> list[str]:
    """Return the texts of a list, or the one text that stands for a list of one."""
    return [node.value] if isinstance(node.value, str) else [text_of(item) for item in items_of(node)]


def table_of(node: Node) -> Mapping[str, Node]:
    """Return the entries of a table; none of nothing."""
    if node.value is None:
        return {}
    if not isinstance(node.value, Mapping):
        raise NodeError(node, f"is {node.kind}", "a table")
    return node.value


def texts_of(node: Node) -> dict[str, str]:
    """Return the texts of a table by key; an empty text for an entry without one."""
    return {key: "" if entry.value is None else text_of(entry) for key, entry in table_of(node).items()}


def says_something(node: Node) -> bool:
    """Return true if it asks for anything: `privileged: false` does not."""
    return bool(node.value) and not (isinstance(node.value, str) and node.value.lower() in ("false", "no", "0", "off"))


def walk(node: Node, change: Callable[[Node], Node]) -> Node:
    """Change each text, and each part without a value, of a tree."""
    if isinstance(node.value, tuple):
        return node.holding(tuple(walk(item, change) for item in node.value))
    if isinstance(node.value, Mapping):
        return node.holding({key: walk(entry, change) for key, entry in node.value.items()})
    return change(node)


def resolve(path: str, folder: str, home: str = "") -> str:
    """Make a path that a file names absolute, from the folder that its paths are relative to."""
    if path == "~" or path.startswith("~/"):
        path = join_path(home or "~", path[2:])
    return join_path(folder, path)


def entries_of(table: Node, key: str) -> tuple[Node, ...]:
    """Return the parts of a list that is an entry of a table; none where the table has no such entry."""
    found = table.get(key)
    return () if found is None else items_of(found)


def is_external(node: Node) -> bool:
    """Return true if a volume, network, secret or config is declared as one that others have made."""
    external = node.get("external")
    return external is not None and (isinstance(external.value, Mapping) or flag_of(external))
